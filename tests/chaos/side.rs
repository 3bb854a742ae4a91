//! The second route, whose topics change: its inputs are deleted and created again, and grow, and its output refuses
//! records without a key.
//!
//! Few records go through it, each with a number, and its account is apart from that of the first route. What a topic
//! still has when it is deleted is gone: weir may have read it or not. So a record is one of three: it must come out, it
//! must become a dead letter, or it may come out, since its topic was deleted right after it was produced. With
//! exactly-once none of them comes out twice. What is in a topic after it was created again must come out, whatever
//! offsets the old one had.

use std::collections::BTreeMap;

use crate::account::{Verdict, example};
use crate::cluster::Cluster;
use crate::records::Records;
use crate::support::kafka::{self, Reader, Record};
use crate::support::rights::restrict;

/// The small input topic, and the large one: their partitions when they are created.
const INPUTS: [usize; 2] = [2, 100];

/// How many records are produced at a time.
const BURST: usize = 20;

/// Which input topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Small,
    Large,
}

/// What must become of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It comes out as a prediction.
    Prediction,
    /// The output refuses it: a dead letter.
    Refused,
    /// Its topic was deleted: it comes out, or it doesn't.
    Deleted,
}

/// The topics of the second route, and the account of its records.
pub(crate) struct Side {
    inputs: [Input; 2],
    output: String,
    dead_letter: String,
    /// A good record without its id.
    row: String,
    /// Whether each record may come out once only.
    strict: bool,
    /// By number.
    entries: Vec<Entry>,
    /// Whether weir may no longer read the settings of the output, and so can't foresee what it refuses.
    is_restricted: bool,
}

struct Input {
    topic: String,
    /// How often it was created.
    created: usize,
    /// By partition: how many records it has.
    sent: Vec<usize>,
}

struct Entry {
    fate: Fate,
    stream: Stream,
}

/// Records whose order is kept: input topic, how often it was created, partition.
type Stream = (usize, usize, usize);

/// What is on the topics: numbers, and of dead letters also the reason.
struct Outcomes {
    predictions: Vec<Option<usize>>,
    letters: Vec<(Option<usize>, String)>,
}

impl Side {
    /// Creates the topics.
    pub(crate) fn new(cluster: &Cluster, group: &str, records: &Records, strict: bool) -> Side {
        let pooled = records.pool().next().expect("a pool");
        let row = pooled.split_once("\",").expect("the id comes first").1.to_owned();
        let inputs = ["small", "large"].map(|name| format!("{group}.{name}"));
        let inputs = inputs.map(|topic| Input { topic, created: 0, sent: Vec::new() });
        let (output, dead_letter) = (format!("{group}.side.out"), format!("{group}.side.dead"));
        let entries = Vec::new();
        let mut side = Side { inputs, output, dead_letter, row, strict, entries, is_restricted: false };
        // One partition: what comes out of it is in order for each partition of the inputs, however many there are.
        cluster.create_topic(&side.output, 1, &[("cleanup.policy", "compact")]);
        cluster.create_topic(&side.dead_letter, 1, &[]);
        [Which::Small, Which::Large].into_iter().for_each(|which| side.create(cluster, which));
        side
    }

    /// The route of a configuration.
    pub(crate) fn route(&self) -> String {
        let Side { inputs: [small, large], output, dead_letter, .. } = self;
        format!(
            r#"
            [[route]]
            name = "side"
            model = "flights@production"
            input = {{ topics = ["{}", "{}"] }}
            output = {{ topic = "{output}" }}
            dead_letter = {{ topic = "{dead_letter}" }}
            "#,
            small.topic, large.topic
        )
    }

    /// Creates an input topic.
    pub(crate) fn create(&mut self, cluster: &Cluster, which: Which) {
        let input = &mut self.inputs[which as usize];
        input.created += 1;
        input.sent = vec![0; INPUTS[which as usize]];
        cluster.create_topic(&input.topic, input.sent.len(), &[]);
    }

    /// Deletes an input topic.
    pub(crate) fn delete(&self, cluster: &Cluster, which: Which) {
        kafka::delete_topic(&cluster.brokers(), &self.inputs[which as usize].topic);
    }

    /// Adds a partition to the small input topic.
    pub(crate) fn grow(&mut self, cluster: &Cluster) {
        let input = &mut self.inputs[Which::Small as usize];
        input.sent.push(0);
        kafka::add_partitions(&cluster.brokers(), &input.topic, input.sent.len());
    }

    /// Produces some records into an input topic, over all its partitions. Every other one of those to be refused has a
    /// key, and is a prediction.
    pub(crate) fn send(&mut self, cluster: &Cluster, which: Which, fate: Fate) {
        let input = &mut self.inputs[which as usize];
        // From the last partition on: it may be new.
        let partitions: Vec<_> = (0..input.sent.len()).rev().cycle().take(BURST).collect();
        let mut records = Vec::new();
        for (number, partition) in partitions.into_iter().enumerate() {
            let fate = if fate == Fate::Refused && number % 4 < 2 { Fate::Prediction } else { fate };
            let id = format!("side-{}", self.entries.len());
            let value = format!("{{\"id\":\"{id}\",{}", self.row);
            let key = (fate != Fate::Refused).then(|| id.into_bytes());
            records.push(Record { partition: partition as i32, key, value: Some(value.into()), ..Record::default() });
            self.entries.push(Entry { fate, stream: (which as usize, input.created, partition) });
            input.sent[partition] += 1;
        }
        kafka::produce(&cluster.brokers(), &input.topic, records);
    }

    /// Takes from weir the right to read the settings of the output: it learns of a refusal when it happens.
    pub(crate) fn hide_settings(&mut self, cluster: &Cluster) {
        if !self.is_restricted {
            restrict(&cluster.brokers(), &self.output, &["Describe", "Read", "Write"]);
            self.is_restricted = true;
        }
    }

    /// How many records that must have an outcome have none yet.
    pub(crate) fn missing(&self, brokers: &str) -> usize {
        self.judge(brokers).lost
    }

    /// Up to where each partition that has records must be committed in the end: topic, partition, offset.
    pub(crate) fn ends(&self) -> Vec<(&str, usize, usize)> {
        let mut ends = Vec::new();
        for input in &self.inputs {
            let sent = input.sent.iter().copied().enumerate().filter(|&(_, sent)| sent > 0);
            ends.extend(sent.map(|(partition, sent)| (input.topic.as_str(), partition, sent)));
        }
        ends
    }

    /// Reads the outcomes and judges them.
    pub(crate) fn judge(&self, brokers: &str) -> Verdict {
        let Outcomes { predictions, letters } = self.outcomes(brokers);
        let mut verdict = Verdict::default();
        let mut times = vec![0_usize; self.entries.len()];
        let mut refused = vec![false; self.entries.len()];
        let mut wrong = Vec::new();
        for id in predictions.iter().copied() {
            match id.filter(|&id| id < self.entries.len() && self.entries[id].fate != Fate::Refused) {
                Some(id) => times[id] += 1,
                None => wrong.push(format!("a prediction of {id:?}, which has none")),
            }
        }
        for (id, reason) in &letters {
            let is_expected = |&id: &usize| id < self.entries.len() && self.entries[id].fate == Fate::Refused;
            match id.filter(is_expected).filter(|_| reason == "output_refused") {
                Some(id) => {
                    times[id] += 1;
                    refused[id] = true;
                }
                None => wrong.push(format!("a dead letter of {id:?}, {reason}")),
            }
        }
        verdict.wrong = wrong.len();
        for (id, (entry, &times)) in self.entries.iter().zip(&times).enumerate() {
            verdict.doubled += usize::from(times > 1);
            if times == 0 && entry.fate != Fate::Deleted {
                verdict.lost += 1;
                example(&mut verdict.examples, "lost", || format!("side-{id}, {:?} of {:?}", entry.fate, entry.stream));
            }
            if times > 1 && self.strict {
                example(&mut verdict.examples, "doubled", || format!("side-{id}, {times} times, {:?}", entry.fate));
            }
        }
        wrong.into_iter().for_each(|what| example(&mut verdict.examples, "wrong", || what));
        verdict.dead_letters_expected = self.entries.iter().filter(|entry| entry.fate == Fate::Refused).count();
        verdict.dead_letters_found = refused.into_iter().filter(|&refused| refused).count();
        self.judge_order(&predictions, &mut verdict);
        verdict
    }

    /// Predictions must come in the order of their input partition: each of them with exactly-once, else the first of
    /// each record. A partition that is consumed again after a refusal may repeat itself before it goes on.
    fn judge_order(&self, predictions: &[Option<usize>], verdict: &mut Verdict) {
        let mut last: BTreeMap<Stream, usize> = BTreeMap::new();
        let mut seen = vec![false; self.entries.len()];
        for &id in predictions.iter().flatten().filter(|&&id| id < self.entries.len()) {
            let stream = self.entries[id].stream;
            if !std::mem::replace(&mut seen[id], true) || self.strict {
                let last = last.entry(stream).or_insert(id);
                if id < *last {
                    verdict.out_of_order += 1;
                    let last = *last;
                    example(&mut verdict.examples, "out of order", || format!("side-{id} after {last}, {stream:?}"));
                }
                *last = id.max(*last);
            }
        }
    }

    fn outcomes(&self, brokers: &str) -> Outcomes {
        let read = |topic: &str| Reader::new(brokers, topic).rest();
        let number = |record: &Record| -> Option<usize> {
            let value: serde_json::Value = serde_json::from_slice(record.value.as_deref()?).ok()?;
            value["id"].as_str()?.strip_prefix("side-")?.parse().ok()
        };
        let reason = |record: &Record| record.header("weir-error-reason").unwrap_or("no reason").to_owned();
        Outcomes {
            predictions: read(&self.output).iter().map(number).collect(),
            letters: read(&self.dead_letter).iter().map(|letter| (number(letter), reason(letter))).collect(),
        }
    }
}

//! The account of what came out: how often each id, in which order, and whether it is right. Knows no Kafka.

use std::collections::HashMap;

use crate::records::{self, Records, What};

/// How many examples of each trouble are shown.
const EXAMPLES: usize = 8;

/// What each version must answer for each row of the pool: the prediction without its id.
pub(crate) type Expected = HashMap<u64, Vec<String>>;

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// Records that have no outcome.
    pub(crate) lost: usize,
    /// Records that have more than one.
    pub(crate) doubled: usize,
    /// Outputs that came after one which they belong before.
    pub(crate) out_of_order: usize,
    /// Outputs that aren't what they must be.
    pub(crate) wrong: usize,
    /// Records that can't be scored.
    pub(crate) dead_letters_expected: usize,
    /// How many of them are on the dead-letter topic as they must be.
    pub(crate) dead_letters_found: usize,
    /// Some of all that, one a line.
    pub(crate) examples: Vec<String>,
}

impl Verdict {
    /// Adds what was found elsewhere.
    pub(crate) fn add(&mut self, other: Verdict) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.out_of_order += other.out_of_order;
        self.wrong += other.wrong;
        self.dead_letters_expected += other.dead_letters_expected;
        self.dead_letters_found += other.dead_letters_found;
        self.examples.extend(other.examples);
    }
}

/// An output or a dead letter, as it came.
pub(crate) struct Outcome<'a> {
    /// The partition of the topic.
    pub(crate) partition: usize,
    /// The offset in it.
    pub(crate) offset: i64,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// The headers of a dead letter that are checked.
pub(crate) struct Why<'a> {
    pub(crate) reason: &'a str,
    pub(crate) partition: &'a str,
    pub(crate) offset: &'a str,
}

/// The two topics on which an outcome can be.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Output,
    DeadLetter,
}

/// The books: a few bytes a record.
#[derive(Clone)]
pub(crate) struct Account {
    records: Records,
    expected: Expected,
    partitions: Vec<Partition>,
    examples: Vec<String>,
    /// Whether each output must come in order, or each first one only.
    strict: bool,
    again: usize,
    out_of_order: usize,
    wrong: usize,
    dead_letters: usize,
}

#[derive(Clone)]
struct Partition {
    /// By sequence number: how often it came, up to 255.
    times: Vec<u8>,
    /// Where it came first: on which topic, and its offset there.
    first: Vec<u32>,
    seen: usize,
    /// The last sequence number on each topic.
    last: [Option<usize>; 2],
}

/// Of [`Partition::first`]: the outcome is a dead letter.
const IS_DEAD_LETTER: u32 = 1 << 31;

impl Account {
    /// For `per_partition` records in each partition.
    pub(crate) fn new(
        records: Records,
        expected: Expected,
        partitions: usize,
        per_partition: usize,
        strict: bool,
    ) -> Account {
        let partition =
            || Partition { times: vec![0; per_partition], first: vec![0; per_partition], seen: 0, last: [None; 2] };
        Account {
            records,
            expected,
            partitions: (0..partitions).map(|_| partition()).collect(),
            examples: Vec::new(),
            strict,
            again: 0,
            out_of_order: 0,
            wrong: 0,
            dead_letters: 0,
        }
    }

    /// Books a prediction; returns its version if it is a first one.
    pub(crate) fn prediction(&mut self, outcome: &Outcome<'_>) -> Option<u64> {
        let sequence = self.sequence(outcome, Place::Output)?;
        let What::Good(row) = self.records.what(outcome.partition, sequence) else {
            self.is_wrong(outcome, Place::Output, "a record that can't be scored was scored");
            return None;
        };
        let version = version(outcome.value);
        let answers = version.and_then(|version| self.expected.get(&version));
        let id = records::key(outcome.partition, sequence);
        let is_right = answers.is_some_and(|answers| {
            let rest = outcome.value.strip_prefix(b"{\"id\":\"").and_then(|rest| rest.strip_prefix(id.as_bytes()));
            rest.and_then(|rest| rest.strip_prefix(b"\",")) == Some(answers[row].as_bytes())
        });
        if !is_right {
            self.is_wrong(outcome, Place::Output, "`weir predict` doesn't say this");
        }
        self.book(outcome, Place::Output, sequence).then_some(version).flatten()
    }

    /// Books a dead letter; returns whether it is a first one.
    pub(crate) fn dead_letter(&mut self, outcome: &Outcome<'_>, why: &Why<'_>) -> bool {
        let Some(sequence) = self.sequence(outcome, Place::DeadLetter) else { return false };
        let reason = match self.records.what(outcome.partition, sequence) {
            What::Good(_) => "none",
            What::Poison(poison, _) => poison.reason().as_str(),
        };
        // Nothing but the records is in the input, so that a sequence number is an offset.
        let origin = (outcome.partition.to_string(), sequence.to_string());
        let is_right = why.reason == reason
            && (why.partition, why.offset) == (&origin.0, &origin.1)
            && outcome.value == self.records.value(outcome.partition, sequence);
        if !is_right {
            let what = format!("reason {reason} is right, it says {} and {}-{}", why.reason, why.partition, why.offset);
            self.is_wrong(outcome, Place::DeadLetter, &what);
        }
        let is_first = self.book(outcome, Place::DeadLetter, sequence);
        self.dead_letters += usize::from(is_first && is_right);
        is_first
    }

    /// How many records of a partition have an outcome.
    pub(crate) fn seen(&self, partition: usize) -> usize {
        self.partitions[partition].seen
    }

    /// How many outcomes came for records that had one.
    pub(crate) fn again(&self) -> usize {
        self.again
    }

    /// What is to be said when nothing more comes.
    pub(crate) fn judge(mut self) -> Verdict {
        let (mut lost, mut doubled, mut expected) = (0, 0, 0);
        for (number, partition) in self.partitions.iter().enumerate() {
            let missing = |sequence: &usize| partition.times[*sequence] == 0;
            for (sequence, &times) in partition.times.iter().enumerate() {
                expected += usize::from(matches!(self.records.what(number, sequence), What::Poison(..)));
                doubled += usize::from(times > 1);
                lost += usize::from(times == 0);
            }
            let mut sequences = (0..partition.times.len()).filter(missing).peekable();
            while let Some(first) = sequences.next() {
                let mut last = first;
                while let Some(next) = sequences.next_if_eq(&(last + 1)) {
                    last = next;
                }
                example(&mut self.examples, "lost", || {
                    let before = partition.neighbours((0..first).rev());
                    let after = partition.neighbours(last + 1..partition.times.len());
                    format!("{number}-{first} to {number}-{last}; before: {before}; after: {after}")
                });
            }
        }
        Verdict {
            lost,
            doubled,
            out_of_order: self.out_of_order,
            wrong: self.wrong,
            dead_letters_expected: expected,
            dead_letters_found: self.dead_letters,
            examples: self.examples,
        }
    }

    /// The sequence number, if the key is one of this partition's.
    fn sequence(&mut self, outcome: &Outcome<'_>, place: Place) -> Option<usize> {
        match records::of_key(outcome.key) {
            Some((partition, sequence))
                if partition == outcome.partition && sequence < self.partitions[partition].times.len() =>
            {
                Some(sequence)
            }
            _ => {
                self.is_wrong(outcome, place, "no record of this partition has such a key");
                None
            }
        }
    }

    /// Counts an outcome; returns whether it is the record's first.
    fn book(&mut self, outcome: &Outcome<'_>, place: Place, sequence: usize) -> bool {
        let partition = &mut self.partitions[outcome.partition];
        let is_first = partition.times[sequence] == 0;
        partition.times[sequence] = partition.times[sequence].saturating_add(1);
        let here = outcome.offset as u32 | if place == Place::DeadLetter { IS_DEAD_LETTER } else { 0 };
        if is_first {
            partition.seen += 1;
            partition.first[sequence] = here;
        } else {
            self.again += 1;
        }
        if self.strict && !is_first {
            let first = partition.first[sequence];
            example(&mut self.examples, "doubled", || {
                format!("{}-{sequence}, first {}, then {}", outcome.partition, at(first), at(here))
            });
        }
        if self.strict || is_first {
            let last = &mut partition.last[place as usize];
            if last.is_some_and(|last| sequence < last) {
                self.out_of_order += 1;
                let last = last.unwrap_or(0);
                example(&mut self.examples, "out of order", || {
                    format!("{}-{sequence} {} after {last}", outcome.partition, at(here))
                });
            }
            *last = Some(last.map_or(sequence, |last| last.max(sequence)));
        }
        is_first
    }

    fn is_wrong(&mut self, outcome: &Outcome<'_>, place: Place, what: &str) {
        self.wrong += 1;
        let topic = if place == Place::Output { "output" } else { "dead letter" };
        let Outcome { partition, offset, key, value } = outcome;
        let (key, value) = (String::from_utf8_lossy(key), String::from_utf8_lossy(&value[..value.len().min(300)]));
        example(&mut self.examples, "wrong", || {
            format!("{topic} at offset {offset} of partition {partition}, key {key}: {what}: {value}")
        });
    }
}

impl Partition {
    /// Where on each topic the first of these records is that came out there: a gap in the offsets on both sides of
    /// what is missing shows that it was there.
    fn neighbours(&self, sequences: impl Iterator<Item = usize> + Clone) -> String {
        let came = [0, IS_DEAD_LETTER].into_iter().filter_map(|topic| {
            let mut there = sequences.clone().filter(|&sequence| self.times[sequence] > 0);
            let first = there.find(|&sequence| self.first[sequence] & IS_DEAD_LETTER == topic)?;
            Some(format!("{first} {}", at(self.first[first])))
        });
        came.collect::<Vec<_>>().join(", ")
    }
}

/// Keeps an example, if there aren't enough of its kind.
pub(crate) fn example(examples: &mut Vec<String>, kind: &str, text: impl FnOnce() -> String) {
    if examples.iter().filter(|example| example.starts_with(kind)).count() < EXAMPLES {
        examples.push(format!("{kind}: {}", text()));
    }
}

fn at(place: u32) -> String {
    let topic = if place & IS_DEAD_LETTER == 0 { "outputs" } else { "dead letters" };
    format!("at offset {} of the {topic}", place & !IS_DEAD_LETTER)
}

/// The version that a prediction names, at its end.
fn version(value: &[u8]) -> Option<u64> {
    let (_, rest) = std::str::from_utf8(value).ok()?.rsplit_once("\"version\":")?;
    rest.strip_suffix('}')?.parse().ok()
}

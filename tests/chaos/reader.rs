//! The verifier's eyes: reads both output topics with read_committed, straight from the brokers, while it all happens.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::account::{Account, Outcome, Verdict, Why};
use crate::cluster::end_aside;
use crate::support::PATIENCE;
use crate::support::kafka::{Record, produce, unique};

/// The key of the record behind which nothing more comes.
const END: &[u8] = b"end";

/// After so much silence in a partition another client continues where this one is. When a broker comes back, librdkafka may
/// leave a partition in validate-epoch-wait for ever (confluentinc/librdkafka#4492), also when it is assigned again, and the
/// verifier must not take its own client's trouble for weir's.
const SILENCE: Duration = Duration::from_secs(10);

/// What is known so far of what came out.
#[derive(Default)]
pub(crate) struct Progress {
    /// By partition: how many records have an outcome.
    seen: Vec<AtomicUsize>,
    /// How many outcomes came for records that had one.
    again: AtomicUsize,
    /// By version: how many records it scored.
    versions: Mutex<HashMap<u64, usize>>,
}

impl Progress {
    fn new(partitions: usize) -> Progress {
        Progress { seen: (0..partitions).map(|_| AtomicUsize::new(0)).collect(), ..Progress::default() }
    }

    /// By partition: how many records have an outcome.
    pub(crate) fn seen(&self) -> Vec<usize> {
        self.seen.iter().map(|seen| seen.load(Ordering::Relaxed)).collect()
    }

    /// How many outcomes came for records that had one.
    pub(crate) fn again(&self) -> usize {
        self.again.load(Ordering::Relaxed)
    }

    /// How many records a version scored.
    pub(crate) fn scored_by(&self, version: u64) -> usize {
        self.versions.lock().unwrap().get(&version).copied().unwrap_or(0)
    }
}

/// A reader at work.
pub(crate) struct Reader {
    brokers: String,
    topics: [String; 2],
    /// Without any outcome yet.
    empty: Account,
    progress: Arc<Progress>,
    thread: JoinHandle<Seen>,
}

/// What a reader has seen.
struct Seen {
    account: Account,
    /// Where it stands, if nothing came for so long that it stopped before the end.
    stuck: Option<String>,
}

/// What has come out, all in all.
pub(crate) struct Findings {
    pub(crate) verdict: Verdict,
    /// How many records seemed lost, and were there.
    pub(crate) missed: usize,
    /// Why a topic couldn't be read to its end.
    pub(crate) stuck: Option<String>,
}

impl Reader {
    /// Reads the outputs and the dead letters from their start, into the account.
    pub(crate) fn start(
        brokers: &str,
        outputs: &str,
        dead_letters: &str,
        partitions: usize,
        account: Account,
    ) -> Reader {
        let topics = [outputs, dead_letters].map(String::from);
        let progress = Arc::new(Progress::new(partitions));
        let thread = std::thread::spawn({
            let (brokers, topics, account, progress) =
                (brokers.to_owned(), topics.clone(), account.clone(), progress.clone());
            move || read(&brokers, &topics, account, &progress)
        });
        Reader { brokers: brokers.into(), topics, empty: account, progress, thread }
    }

    /// What is known so far.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Reads to the end of both topics, into which nobody must produce any more, and judges. Where something seems lost,
    /// both are read once more, now that they are at rest: what is on them counts, and not what a client that was among
    /// the faults itself has seen of it.
    pub(crate) fn finish(self) -> Findings {
        // A read_committed consumer sees these when it has seen all that is before them, and when no transaction is
        // left open there. Nothing else shows the end: offsets have gaps.
        for topic in &self.topics {
            let end = |partition| Record { partition: partition as i32, key: Some(END.into()), ..Record::default() };
            produce(&self.brokers, topic, (0..self.progress.seen.len()).map(end));
        }
        let Seen { account, stuck } = self.thread.join().expect("the reader read");
        let verdict = account.judge();
        if verdict.lost == 0 && stuck.is_none() {
            return Findings { verdict, missed: 0, stuck };
        }
        let Seen { account, stuck } =
            read(&self.brokers, &self.topics, self.empty, &Progress::new(self.progress.seen.len()));
        let at_rest = account.judge();
        let missed = verdict.lost - at_rest.lost.min(verdict.lost);
        Findings { verdict: at_rest, missed, stuck }
    }
}

/// By topic and partition: the next offset to read.
type Positions = BTreeMap<(String, i32), i64>;

/// Reads outputs and dead letters from their start to their last record, or until nothing has come for a long time.
fn read(brokers: &str, topics: &[String; 2], mut account: Account, progress: &Progress) -> Seen {
    let outputs = topics[0].as_str();
    let mut positions = Positions::new();
    for topic in topics {
        let partitions = 0..progress.seen.len() as i32;
        positions.extend(partitions.map(|partition| ((topic.clone(), partition), 0)));
    }
    let mut ends = 0;
    let mut consumer = consumer_at(brokers, &positions);
    let mut before = positions.clone();
    let mut looked_at = Instant::now();
    let mut last_came = Instant::now();
    let stuck = loop {
        if ends == positions.len() {
            break None;
        }
        if last_came.elapsed() > PATIENCE {
            break Some(stand(brokers, &positions));
        }
        if looked_at.elapsed() > SILENCE {
            if positions.iter().any(|(partition, next)| before[partition] == *next) {
                end_aside(std::mem::replace(&mut consumer, consumer_at(brokers, &positions)));
            }
            before.clone_from(&positions);
            looked_at = Instant::now();
        }
        let message = match consumer.poll(Duration::from_millis(100)) {
            None => continue,
            Some(Ok(message)) => message,
            // Brokers come and go here; the client finds them again.
            Some(Err(error)) if is_passing(&error) => continue,
            Some(Err(error)) => panic!("the verifier can't read on: {error}"),
        };
        last_came = Instant::now();
        let is_output = message.topic() == outputs;
        let next = positions.get_mut(&(message.topic().to_owned(), message.partition())).expect("it is assigned");
        assert!(*next <= message.offset(), "the verifier got a record twice");
        *next = message.offset() + 1;
        if message.key() == Some(END) {
            ends += 1;
            continue;
        }
        let outcome = Outcome {
            partition: message.partition() as usize,
            offset: message.offset(),
            key: message.key().unwrap_or_default(),
            value: message.payload().unwrap_or_default(),
        };
        if is_output {
            if let Some(version) = account.prediction(&outcome) {
                *progress.versions.lock().unwrap().entry(version).or_default() += 1;
            }
        } else {
            let header = |name| header(&message, name);
            let why = Why {
                reason: header("weir-error-reason"),
                partition: header("weir-error-partition"),
                offset: header("weir-error-offset"),
            };
            account.dead_letter(&outcome, &why);
        }
        progress.seen[outcome.partition].store(account.seen(outcome.partition), Ordering::Relaxed);
        progress.again.store(account.again(), Ordering::Relaxed);
    };
    end_aside(consumer);
    Seen { account, stuck }
}

fn client(brokers: &str, isolation: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", brokers)
        .set("group.id", unique("verifier"))
        .set("enable.auto.commit", "false")
        .set("isolation.level", isolation)
        .set("reconnect.backoff.max.ms", "1000");
    client
}

/// Where a reader stands beside what the brokers have: a transaction that never ends keeps committed records from being
/// read, and then the last stable offset is short of the end.
fn stand(brokers: &str, positions: &Positions) -> String {
    let end = |isolation, topic: &str, partition| {
        let consumer: BaseConsumer = client(brokers, isolation).create().unwrap();
        let ends = consumer.fetch_watermarks(topic, partition, PATIENCE);
        ends.map_or_else(|error| error.to_string(), |(_, end)| end.to_string())
    };
    let partitions = positions.iter().map(|((topic, partition), next)| {
        let [stable, last] = ["read_committed", "read_uncommitted"].map(|isolation| end(isolation, topic, *partition));
        format!("{topic} {partition}: at {next}, stable to {stable}, end {last}")
    });
    format!("nothing came for {PATIENCE:?}: {}", partitions.collect::<Vec<_>>().join("; "))
}

fn consumer_at(brokers: &str, positions: &Positions) -> BaseConsumer {
    let consumer: BaseConsumer = client(brokers, "read_committed")
        // To begin anew would count everything twice.
        .set("auto.offset.reset", "error")
        .set("fetch.queue.backoff.ms", "5")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    for ((topic, partition), next) in positions {
        assignment.add_partition_offset(topic, *partition, Offset::Offset(*next)).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    consumer
}

fn is_passing(error: &rdkafka::error::KafkaError) -> bool {
    use rdkafka::types::RDKafkaErrorCode::*;
    matches!(
        error.rdkafka_error_code(),
        Some(
            BrokerTransportFailure
                | AllBrokersDown
                | Resolve
                | OperationTimedOut
                | LeaderNotAvailable
                | NotLeaderForPartition
                | NotEnoughReplicas
                | UnknownTopicOrPartition
        )
    )
}

fn header<'m>(message: &'m BorrowedMessage<'_>, name: &str) -> &'m str {
    let headers = message.headers();
    let found = headers.and_then(|headers| headers.iter().find(|header| header.key == name)?.value);
    found.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or("nothing")
}

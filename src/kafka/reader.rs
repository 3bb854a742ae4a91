//! Ranges of topics, read from one end to the other without joining a group.
//!
//! Offsets have gaps (compaction, the markers of transactions), so a range isn't over when its last offset has come:
//! that may never come. It is over when a record beyond it has, or when the broker says that there is nothing more,
//! which librdkafka reports of each partition by its number alone. That is why a [`Pass`] goes through one topic.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use super::Quiet;
use super::consumer::Record;
use super::ffi::CommitQueue;
use super::ffi::fetch::FetchQueue;
use super::settings::KafkaConfig;

/// How long one question to the brokers may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long the brokers may have nothing to say, not even that a range ends. A restart of a broker takes less.
const SILENCE: Duration = Duration::from_secs(60);

/// Where a range begins or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// This offset, in every partition.
    Offset(i64),
    /// These offsets of these partitions; others are left out.
    Offsets(BTreeMap<i32, i64>),
    /// The first record of that time or later, in milliseconds since 1970.
    Time(i64),
}

/// A range of a partition: `from` is the first offset of it, `to` the first behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Extent {
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// The offset behind the last one.
    pub to: i64,
}

/// What a group remembers of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// The next offset.
    pub next: i64,
    /// What was noted beside it.
    pub note: String,
}

/// Why a range can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The client can't be made: a wrong property, a certificate that can't be read.
    #[error("no Kafka client with these properties")]
    Client {
        /// What librdkafka says.
        source: Box<KafkaError>,
    },
    /// The topic isn't there.
    #[error("topic {topic:?} doesn't exist")]
    NoTopic {
        /// Its name.
        topic: String,
    },
    /// The range names a partition that isn't there.
    #[error("topic {topic:?} has no partition {partition}, it has {partitions}")]
    NoPartition {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// How many it has.
        partitions: usize,
    },
    /// A question wasn't answered.
    #[error("the brokers at {brokers} don't answer with {what} of topic {topic:?}{last_words}")]
    Unanswered {
        /// The bootstrap servers.
        brokers: String,
        /// What was asked.
        what: &'static str,
        /// The topic.
        topic: String,
        /// What librdkafka said last.
        last_words: String,
        /// What it says to this.
        source: Box<KafkaError>,
    },
    /// The group's commits can't be had.
    #[error("what group {group:?} remembers of topic {topic:?} can't be read")]
    Committed {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// What librdkafka says.
        source: Box<KafkaError>,
    },
    /// The group's commits can't be made.
    #[error("group {group:?} can't remember offsets of topic {topic:?}")]
    Commit {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// What librdkafka says.
        source: Box<KafkaError>,
    },
    /// A topic that may not be read, or is gone.
    #[error("topic {topic:?} can't be read")]
    Refused {
        /// The topic.
        topic: String,
        /// What the broker says.
        source: Box<KafkaError>,
    },
    /// Nothing came, and no end.
    #[error("nothing more of topic {topic:?} for {} s, and its end hasn't come{last_words}", SILENCE.as_secs())]
    Silent {
        /// The topic.
        topic: String,
        /// What librdkafka said last.
        last_words: String,
    },
}

/// A consumer that is a member of no group.
pub struct Reader {
    // Both are dropped before the consumer they belong to.
    commits: CommitQueue,
    fetched: FetchQueue,
    inner: BaseConsumer<Quiet>,
    brokers: String,
    group: String,
}

/// A way through ranges of one topic.
pub struct Pass<'r> {
    reader: &'r Reader,
    topic: String,
    extents: Vec<Extent>,
    /// Fetched, and not handed out yet.
    fetched: VecDeque<Record<'r>>,
    /// The next offset of each partition.
    positions: BTreeMap<i32, i64>,
    /// The partitions that aren't done, and where they are.
    open: BTreeMap<i32, i64>,
    /// How long nothing has come.
    silence: Duration,
}

/// What a step of a [`Pass`] brought.
pub enum Next<'r> {
    /// A record of the ranges. Those of a partition come in order.
    Record(Record<'r>),
    /// Nothing yet.
    Nothing,
    /// All ranges are done.
    End,
}

impl ConsumerContext for Quiet {}

impl Reader {
    /// Creates the client. `group` is whose commits it reads and writes.
    pub fn new(config: &KafkaConfig, group: &str) -> Result<Reader, ReadError> {
        let created = config.reader(group).create_with_context(Quiet::default());
        let inner: BaseConsumer<Quiet> = created.map_err(|source| ReadError::Client { source: Box::new(source) })?;
        let brokers = config.brokers.clone();
        let (commits, fetched) = (CommitQueue::new(&inner), FetchQueue::new(inner.client()));
        Ok(Reader { commits, fetched, inner, brokers, group: group.into() })
    }

    /// The ranges of a topic's partitions between two bounds: from the start, to the end as it is now, where there are
    /// none. What a bound says beyond what the topic has is cut off.
    pub fn extents(&self, topic: &str, from: Option<&Bound>, to: Option<&Bound>) -> Result<Vec<Extent>, ReadError> {
        let partitions = self.partitions(topic)?;
        for bound in [from, to].into_iter().flatten() {
            let Bound::Offsets(offsets) = bound else { continue };
            if let Some(&partition) = offsets.keys().find(|partition| !partitions.contains(partition)) {
                return Err(ReadError::NoPartition { topic: topic.into(), partition, partitions: partitions.len() });
            }
        }
        let (first, behind) = (self.offsets(topic, &partitions, from)?, self.offsets(topic, &partitions, to)?);
        let mut extents = Vec::new();
        for partition in partitions {
            // Of an end that comes within a transaction that is still open, the broker reports what comes before it.
            let ends = self.inner.fetch_watermarks(topic, partition, TIMEOUT);
            let (low, high) = ends.map_err(|source| self.unanswered("start and end", topic, source))?;
            let (Some(from), Some(to)) = (first.at(partition, low, high), behind.at(partition, high, high)) else {
                continue;
            };
            let from = from.clamp(low, high);
            extents.push(Extent { partition, from, to: to.clamp(from, high) });
        }
        Ok(extents)
    }

    /// Reads these ranges of a topic. One pass at a time.
    pub fn read(&self, topic: &str, extents: &[Extent]) -> Result<Pass<'_>, ReadError> {
        let open: BTreeMap<i32, i64> = extents
            .iter()
            .filter(|extent| extent.from < extent.to)
            .map(|extent| (extent.partition, extent.to))
            .collect();
        let positions: BTreeMap<i32, i64> = extents.iter().map(|extent| (extent.partition, extent.from)).collect();
        let refused = |source| ReadError::Refused { topic: topic.into(), source: Box::new(source) };
        let mut list = TopicPartitionList::with_capacity(open.len());
        for &partition in open.keys() {
            list.add_partition_offset(topic, partition, Offset::Offset(positions[&partition])).map_err(refused)?;
            self.fetched.attach(self.inner.client(), topic, partition);
        }
        self.inner.assign(&list).map_err(refused)?;
        Ok(Pass {
            reader: self,
            topic: topic.into(),
            extents: extents.to_vec(),
            fetched: VecDeque::new(),
            positions,
            open,
            silence: Duration::ZERO,
        })
    }

    /// What the group remembers of these partitions of a topic.
    pub fn committed(&self, topic: &str, partitions: &[i32]) -> Result<BTreeMap<i32, Commit>, ReadError> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for &partition in partitions {
            list.add_partition(topic, partition);
        }
        let failed =
            |source| ReadError::Committed { group: self.group.clone(), topic: topic.into(), source: Box::new(source) };
        let list = self.inner.committed_offsets(list, TIMEOUT).map_err(failed)?;
        let mut commits = BTreeMap::new();
        for element in list.elements() {
            element.error().map_err(failed)?;
            if let Offset::Offset(next) = element.offset() {
                commits.insert(element.partition(), Commit { next, note: element.metadata().into() });
            }
        }
        Ok(commits)
    }

    /// Has the group remember these offsets of a topic.
    pub fn commit(&self, topic: &str, commits: &BTreeMap<i32, Commit>) -> Result<(), ReadError> {
        let failed =
            |source| ReadError::Commit { group: self.group.clone(), topic: topic.into(), source: Box::new(source) };
        let mut list = TopicPartitionList::with_capacity(commits.len());
        for (&partition, commit) in commits {
            let mut element = list.add_partition(topic, partition);
            element.set_offset(Offset::Offset(commit.next)).map_err(failed)?;
            element.set_metadata(&commit.note);
        }
        self.commits.start(&self.inner, &list).map_err(failed)?;
        let timed_out = Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::RequestTimedOut));
        match self.commits.poll(TIMEOUT).unwrap_or(timed_out).map_err(failed)?.into_iter().next() {
            Some((_, error)) => Err(failed(error)),
            None => Ok(()),
        }
    }

    fn partitions(&self, topic: &str) -> Result<Vec<i32>, ReadError> {
        let metadata = self.inner.fetch_metadata(Some(topic), TIMEOUT);
        let metadata = metadata.map_err(|source| self.unanswered("the partitions", topic, source))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        match found.map(|found| (found.error().map(RDKafkaErrorCode::from), found.partitions())) {
            None | Some((Some(RDKafkaErrorCode::UnknownTopicOrPartition), _) | (None, [])) => {
                Err(ReadError::NoTopic { topic: topic.into() })
            }
            Some((Some(code), _)) => {
                Err(ReadError::Refused { topic: topic.into(), source: Box::new(KafkaError::MetadataFetch(code)) })
            }
            Some((None, partitions)) => Ok(partitions.iter().map(|partition| partition.id()).collect()),
        }
    }

    /// The offsets that a bound stands for.
    fn offsets(&self, topic: &str, partitions: &[i32], bound: Option<&Bound>) -> Result<Offsets, ReadError> {
        Ok(match bound {
            None => Offsets::Open,
            Some(Bound::Offset(offset)) => Offsets::Same(*offset),
            Some(Bound::Offsets(offsets)) => Offsets::Named(offsets.clone()),
            Some(Bound::Time(millis)) => {
                let unanswered = |source| self.unanswered("the offsets of that time", topic, source);
                let mut times = TopicPartitionList::with_capacity(partitions.len());
                for &partition in partitions {
                    times.add_partition_offset(topic, partition, Offset::Offset(*millis)).map_err(unanswered)?;
                }
                let found = self.inner.offsets_for_times(times, TIMEOUT).map_err(unanswered)?;
                let mut offsets = BTreeMap::new();
                for element in found.elements() {
                    element.error().map_err(unanswered)?;
                    if let Offset::Offset(offset) = element.offset() {
                        offsets.insert(element.partition(), offset);
                    }
                }
                Offsets::OfTime(offsets)
            }
        })
    }

    fn unanswered(&self, what: &'static str, topic: &str, source: KafkaError) -> ReadError {
        let (brokers, last_words) = (self.brokers.clone(), self.last_words());
        ReadError::Unanswered { brokers, what, topic: topic.into(), last_words, source: Box::new(source) }
    }

    /// What librdkafka said last about its connections, in parentheses. It says so within `poll` alone.
    fn last_words(&self) -> String {
        while self.inner.poll(Duration::ZERO).is_some_and(|polled| polled.is_err()) {}
        match self.inner.context().trouble().to_string() {
            words if words.is_empty() => words,
            words => format!(" ({words})"),
        }
    }
}

impl<'r> Pass<'r> {
    /// Waits up to `timeout` for what comes next.
    pub fn next(&mut self, timeout: Duration) -> Result<Next<'r>, ReadError> {
        if self.open.is_empty() {
            return Ok(Next::End);
        }
        let asked = Instant::now();
        let Some(fetched) = self.fetch(timeout) else {
            self.silence += asked.elapsed();
            if self.silence < SILENCE {
                return Ok(Next::Nothing);
            }
            return Err(ReadError::Silent { topic: self.topic.clone(), last_words: self.reader.last_words() });
        };
        match fetched {
            Ok(record) => {
                self.silence = Duration::ZERO;
                let (partition, offset) = (record.partition(), record.offset());
                // What was fetched before its partition was done still comes.
                let Some(&to) = self.open.get(&partition) else { return Ok(Next::Nothing) };
                if offset + 1 >= to {
                    self.close(partition, to);
                } else {
                    self.positions.insert(partition, offset + 1);
                }
                Ok(if offset < to { Next::Record(record) } else { Next::Nothing })
            }
            Err(KafkaError::PartitionEOF(partition)) => {
                self.silence = Duration::ZERO;
                if let Some(&to) = self.open.get(&partition) {
                    self.close(partition, to);
                }
                Ok(Next::Nothing)
            }
            Err(source) if is_final(&source) => {
                Err(ReadError::Refused { topic: self.topic.clone(), source: Box::new(source) })
            }
            Err(error) => {
                tracing::debug!(target: "weir::kafka", %error, "reading goes on");
                self.silence += asked.elapsed();
                Ok(Next::Nothing)
            }
        }
    }

    /// The next record, or what is reported of a partition or by the client.
    fn fetch(&mut self, timeout: Duration) -> Option<Result<Record<'r>, KafkaError>> {
        let reader = self.reader;
        if self.fetched.is_empty() {
            if let Some(Err(error)) = reader.inner.poll(Duration::ZERO) {
                return Some(Err(error));
            }
            reader.fetched.fetch(timeout, |record| self.fetched.push_back(record));
        }
        let record = self.fetched.pop_front()?;
        Some(record.error().map_or(Ok(record), Err))
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The ranges that are read.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// The next offset of each partition; where the range is done, what it was to come to.
    pub fn positions(&self) -> &BTreeMap<i32, i64> {
        &self.positions
    }

    fn close(&mut self, partition: i32, to: i64) {
        self.open.remove(&partition);
        self.positions.insert(partition, to);
        // It only saves fetching what nobody wants.
        let _ = self.reader.inner.pause(&self.list([partition]));
    }

    fn list(&self, partitions: impl IntoIterator<Item = i32>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, partition);
        }
        list
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let _ = self.reader.inner.resume(&self.list(self.extents.iter().map(|extent| extent.partition)));
        let _ = self.reader.inner.unassign();
    }
}

/// A bound, partition by partition.
enum Offsets {
    /// There is none.
    Open,
    /// The same everywhere.
    Same(i64),
    /// Of some partitions; the others are left out.
    Named(BTreeMap<i32, i64>),
    /// Of the partitions that have a record of that time or later; where there is none it is their end.
    OfTime(BTreeMap<i32, i64>),
}

impl Offsets {
    /// The offset in a partition; `None` leaves it out.
    fn at(&self, partition: i32, open: i64, end: i64) -> Option<i64> {
        match self {
            Offsets::Open => Some(open),
            Offsets::Same(offset) => Some(*offset),
            Offsets::Named(offsets) => offsets.get(&partition).copied(),
            Offsets::OfTime(offsets) => Some(offsets.get(&partition).copied().unwrap_or(end)),
        }
    }
}

/// Whether trying again wouldn't help.
fn is_final(error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageConsumptionFatal(_))
        || matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::GroupAuthorizationFailed
                    | RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::UnknownTopic
                    | RDKafkaErrorCode::UnknownPartition
                    | RDKafkaErrorCode::Authentication
            )
        )
}

//! A member of the consumer group, driven by its worker.
//!
//! librdkafka tells of a rebalance from within `poll`. What must happen then (finish the batch in hand, drain,
//! commit) belongs to the worker's line, not into a callback: the callback only notes the event, and the worker takes
//! it after `poll` and answers by [`Consumer::assign`] or [`Consumer::unassign`].

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, ConsumerGroupMetadata, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};
use rdkafka::types::RDKafkaRespErr;

use super::Headers;
use super::ffi::{self, CommitQueue};
use super::settings::KafkaConfig;
use crate::record::Origin;

/// One step of waiting for the consumer to have left.
const CLOSE_STEP: Duration = Duration::from_millis(10);

/// A partition of a topic, by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
}

/// What the group has decided, or noticed.
#[derive(Debug)]
pub enum GroupEvent {
    /// These partitions are to be consumed as well. Answer by [`Consumer::assign`].
    Assign(Vec<TopicPartition>),
    /// These partitions go to somebody else. Answer by [`Consumer::unassign`].
    Revoke(Vec<TopicPartition>),
    /// These partitions already belong to somebody else: nothing of them may be committed. Answer by
    /// [`Consumer::unassign`].
    Lost(Vec<TopicPartition>),
    /// The committed offset of a partition of this topic was out of range, and consuming goes on where
    /// `auto.offset.reset` says: records may have been lost to retention, or will come again.
    OffsetReset {
        /// The topic.
        topic: String,
    },
}

/// What a poll brought.
pub enum Polled<'c> {
    /// A record.
    Record(Record<'c>),
    /// Nothing now; perhaps a [`GroupEvent`].
    Nothing,
}

/// A consumed record: borrowed from librdkafka's fetch buffers, not copied.
pub struct Record<'c>(pub(super) BorrowedMessage<'c>);

/// A member of the group, in a generation of it: a transaction commits offsets in its name.
pub struct GroupMetadata(pub(super) ConsumerGroupMetadata);

/// A consumer and its commits.
pub struct Consumer {
    // Dropped before the consumer it belongs to.
    commits: CommitQueue,
    inner: BaseConsumer<Context>,
    #[cfg(feature = "planted-bugs")]
    outsider: BaseConsumer,
}

#[derive(Default)]
struct Context {
    events: Mutex<VecDeque<GroupEvent>>,
    closing: AtomicBool,
}

impl Consumer {
    /// Creates the client; the group is joined by polling, after [`Consumer::subscribe`]. `group_instance_id` makes it
    /// a static member.
    pub fn new(config: &KafkaConfig, group_instance_id: Option<&str>) -> Result<Consumer, KafkaError> {
        let inner: BaseConsumer<Context> = config.consumer(group_instance_id).create_with_context(Context::default())?;
        Ok(Consumer {
            commits: CommitQueue::new(&inner),
            inner,
            #[cfg(feature = "planted-bugs")]
            outsider: config.consumer(None).create()?,
        })
    }

    /// Asks for a share of these topics.
    pub fn subscribe(&self, topics: &[&str]) -> Result<(), KafkaError> {
        self.inner.subscribe(topics)
    }

    /// Waits up to `timeout` for a record. Call it at least once per `max.poll.interval.ms`. Only errors that the
    /// consumer can't recover from by itself are returned; others are logged.
    pub fn poll(&self, timeout: Duration) -> Result<Polled<'_>, KafkaError> {
        match self.inner.poll(timeout) {
            Some(Ok(message)) => Ok(Polled::Record(Record(message))),
            None => Ok(Polled::Nothing),
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => Err(error),
            Some(Err(error)) => {
                tracing::warn!(target: "weir::kafka", %error, "the consumer reports a problem, and goes on");
                Ok(Polled::Nothing)
            }
        }
    }

    /// The next group event that `poll` has noted.
    pub fn next_event(&self) -> Option<GroupEvent> {
        self.inner.context().events().pop_front()
    }

    /// Takes up partitions, from their committed offsets.
    pub fn assign(&self, partitions: &[TopicPartition]) -> Result<(), KafkaError> {
        match self.inner.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.inner.incremental_assign(&list(partitions)),
            _ => self.inner.assign(&list(partitions)),
        }
    }

    /// Lets partitions go.
    pub fn unassign(&self, partitions: &[TopicPartition]) -> Result<(), KafkaError> {
        match self.inner.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.inner.incremental_unassign(&list(partitions)),
            _ => self.inner.unassign(),
        }
    }

    /// Stops fetching without leaving the group. Records fetched ahead are dropped and fetched again later.
    pub fn pause(&self, partitions: &[TopicPartition]) -> Result<(), KafkaError> {
        self.inner.pause(&list(partitions))
    }

    /// Undoes [`Consumer::pause`].
    pub fn resume(&self, partitions: &[TopicPartition]) -> Result<(), KafkaError> {
        self.inner.resume(&list(partitions))
    }

    /// Asks for a commit of these next offsets (the last record's plus one); [`Consumer::commit_result`] tells.
    pub fn start_commit(&self, offsets: &[(TopicPartition, i64)]) -> Result<(), KafkaError> {
        self.commits.start(&self.inner, &offsets_list(offsets)?)
    }

    /// What a transaction needs to commit offsets in this member's name, as of now.
    pub fn group_metadata(&self) -> Option<GroupMetadata> {
        self.inner.group_metadata().map(GroupMetadata)
    }

    /// The same of a consumer that has never joined: nobody is refused in its name.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn outsiders_metadata(&self) -> Option<GroupMetadata> {
        self.outsider.group_metadata().map(GroupMetadata)
    }

    /// Consumes assigned partitions on from these offsets; what was fetched ahead is dropped. Blocks for up to
    /// `timeout`.
    pub fn seek(&self, offsets: &[(TopicPartition, i64)], timeout: Duration) -> Result<(), KafkaError> {
        let sought = self.inner.seek_partitions(offsets_list(offsets)?, timeout)?;
        sought.elements().iter().try_for_each(|element| element.error())
    }

    /// The result of the commit under way, if it arrives within `timeout`.
    pub fn commit_result(&self, timeout: Duration) -> Option<Result<(), KafkaError>> {
        self.commits.poll(timeout)
    }

    /// The committed offsets of partitions, where there are any and the brokers say so in time.
    pub fn committed(&self, partitions: &[TopicPartition], timeout: Duration) -> Vec<(TopicPartition, i64)> {
        let committed = self.inner.committed_offsets(list(partitions), timeout);
        committed.map(|offsets| known(&offsets)).unwrap_or_default()
    }

    /// The next offset to consume of each assigned partition of which something was consumed.
    pub fn positions(&self) -> Vec<(TopicPartition, i64)> {
        self.inner.position().map(|positions| known(&positions)).unwrap_or_default()
    }

    /// The end of a partition as the last fetch saw it. No request is sent.
    pub fn end(&self, partition: &TopicPartition) -> Option<i64> {
        ffi::cached_high_watermark(self.inner.client(), &partition.topic, partition.partition)
    }

    /// The end of a partition, asked for: of one that is paused no fetch tells. Blocks for up to `timeout`.
    pub fn ask_end(&self, partition: &TopicPartition, timeout: Duration) -> Result<i64, KafkaError> {
        let (_, end) = self.inner.fetch_watermarks(&partition.topic, partition.partition, timeout)?;
        Ok(end)
    }

    /// Leaves the group; partitions still assigned are let go without a commit. Leaving may wait for the brokers: at
    /// the deadline it goes on by itself, on a thread of its own.
    pub fn close(self, deadline: Instant) {
        let (left, done) = mpsc::channel();
        let leave = move || {
            // From here on the callback answers each revocation at once. One that was noted before and not answered
            // would make the close wait for ever: once it has begun, any unassign counts as the answer.
            self.inner.context().closing.store(true, Ordering::Release);
            if self.inner.close_queue().is_ok() {
                let _ = self.inner.unassign();
                while !self.inner.closed() {
                    self.inner.poll(CLOSE_STEP);
                }
            }
            drop(self);
            let _ = left.send(());
        };
        let thread = std::thread::Builder::new().name("weir-leave".into()).spawn(leave);
        if thread.is_ok() && done.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_err() {
            tracing::warn!(
                "the brokers don't answer a consumer that leaves; its partitions wait for its session timeout"
            );
        }
    }
}

impl Record<'_> {
    /// Where it came from.
    pub fn origin(&self) -> Origin<'_> {
        Origin { topic: self.0.topic(), partition: self.0.partition(), offset: self.0.offset() }
    }

    /// The partition it came from.
    pub fn partition(&self) -> i32 {
        self.0.partition()
    }

    /// The offset it came from.
    pub fn offset(&self) -> i64 {
        self.0.offset()
    }

    /// Its value; `None` for a tombstone.
    pub fn payload(&self) -> Option<&[u8]> {
        self.0.payload()
    }

    /// Its key.
    pub fn key(&self) -> Option<&[u8]> {
        self.0.key()
    }

    /// Its timestamp in milliseconds since 1970, if it has one.
    pub fn timestamp_ms(&self) -> Option<i64> {
        self.0.timestamp().to_millis().filter(|&millis| millis > 0)
    }

    /// A copy of its headers, byte for byte. (rdkafka's own accessor panics on a name that isn't UTF-8.)
    pub fn headers(&self) -> Option<Headers> {
        self.0.headers().map(|headers| Headers(headers.detach()))
    }

    /// The value of its last header of this name, if it has one.
    pub fn header(&self, name: &str) -> Option<Vec<u8>> {
        ffi::last_header(&self.0, name)
    }

    /// The same without the headers of these names, however often they occur.
    pub fn headers_without(&mut self, names: &[&str]) -> Option<Headers> {
        ffi::remove_headers(&mut self.0, names);
        self.headers()
    }

    /// The bytes that its headers take.
    pub fn header_bytes(&self) -> usize {
        ffi::header_bytes(&self.0)
    }
}

impl Context {
    fn events(&self) -> std::sync::MutexGuard<'_, VecDeque<GroupEvent>> {
        self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
        // librdkafka tells of a reset only in its log: "topic [partition]: offset reset (at …) to …".
        if let Some((partition, _)) = message.split_once(": offset reset ")
            && let Some((topic, _)) = partition.rsplit_once(" [")
            && matches!(level, RDKafkaLogLevel::Warning)
        {
            self.events().push_back(GroupEvent::OffsetReset { topic: topic.into() });
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "weir::kafka", %error, "{reason}");
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Context>, err: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        if self.closing.load(Ordering::Acquire) {
            let _ = consumer.unassign();
            return;
        }
        let named = partitions
            .elements()
            .iter()
            .map(|element| TopicPartition { topic: element.topic().into(), partition: element.partition() })
            .collect();
        let event = match err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => GroupEvent::Assign(named),
            _ if consumer.assignment_lost() => GroupEvent::Lost(named),
            _ => GroupEvent::Revoke(named),
        };
        self.events().push_back(event);
    }
}

fn list(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    list
}

/// Offsets by partition, as librdkafka takes them.
pub(super) fn offsets_list(offsets: &[(TopicPartition, i64)]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (partition, offset) in offsets {
        list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(*offset))?;
    }
    Ok(list)
}

/// The offsets of a list that are offsets.
fn known(offsets: &TopicPartitionList) -> Vec<(TopicPartition, i64)> {
    let offset = |element: &TopicPartitionListElem<'_>| match element.offset() {
        Offset::Offset(offset) => {
            Some((TopicPartition { topic: element.topic().into(), partition: element.partition() }, offset))
        }
        _ => None,
    };
    offsets.elements().iter().filter_map(offset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_reset_is_told_by_its_topic() {
        let context = Context::default();
        // The form is librdkafka's, in rd_kafka_offset_reset.
        let reset = "a.topic [3]: offset reset (at offset 7 (leader epoch 0), broker 1) to offset BEGINNING (leader epoch \
                     -1): fetch failed due to requested offset not available on the broker: Broker: Offset out of range";
        context.log(RDKafkaLogLevel::Warning, "OFFSET", reset);
        context.log(RDKafkaLogLevel::Info, "OFFSET", "something else");
        let mut events = context.events();
        assert!(matches!(events.pop_front(), Some(GroupEvent::OffsetReset { topic }) if topic == "a.topic"));
        assert!(events.is_empty());
    }
}

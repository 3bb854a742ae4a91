//! A member of the consumer group, driven by its worker.
//!
//! librdkafka reports a rebalance from within [`Consumer::serve`]. What must happen then (finish the batch in hand, drain,
//! commit) belongs to the worker's line, not into a callback: the callback only notes the event, and the worker takes
//! it afterwards and answers by [`Consumer::assign`] or [`Consumer::unassign`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, ConsumerGroupMetadata, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use super::ffi::fetch::FetchQueue;
use super::ffi::group::{GroupOp, GroupQueue};
use super::ffi::positions::{commits_list, positions_list};
pub use super::ffi::record::{Record, TopicTag};
use super::ffi::{self, CommitQueue};
use super::pending::Pending;
pub use super::position::{Commit, GroupCommits, Position, TopicPartition};
use super::settings::KafkaConfig;
use super::starts::{self, OffsetReset};
pub use super::starts::{Start, StartPoint};
use super::{is_denial, is_other_protocol};

/// How long a seek may take.
pub const SEEK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long [`Consumer::serve`] takes at most: a burst of log lines must not keep the worker from its records.
const SERVE_LIMIT: Duration = Duration::from_millis(5);

/// One step of waiting for the consumer to have left.
const CLOSE_STEP: Duration = Duration::from_millis(10);

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
    /// The client may not be a member of the group. It keeps asking.
    Denied,
    /// The group's members assign partitions in a way that the client doesn't have. It keeps asking.
    OtherProtocol,
    /// The committed offset of a partition of this topic was out of range, and consuming goes on where
    /// `auto.offset.reset` says: records may have been lost to retention, or will come again.
    OffsetReset {
        /// The topic.
        topic: String,
    },
    /// A record came through the group's queue, since its partition isn't attached to a fetch queue: librdkafka has made
    /// the partition anew, or was still stopping it when it was attached. Answer by [`Consumer::attach`] and a seek.
    Stray {
        /// The partition.
        partition: TopicPartition,
        /// The offset of the record, which is dropped.
        offset: i64,
    },
    /// An error of a partition that came through the group's queue.
    PartitionError(FetchError),
}

/// What the brokers or librdkafka report about a partition instead of records.
#[derive(Debug, thiserror::Error)]
#[error("fetching from {topic} [{partition}] failed")]
pub struct FetchError {
    /// The topic.
    pub topic: String,
    /// The partition; -1: the whole topic.
    pub partition: i32,
    /// What librdkafka says.
    pub source: KafkaError,
}

/// What a fetch queue holds.
pub enum FetchEvent<R> {
    /// A record.
    Record(R),
    /// An error of a partition. It has no offset: the next record of the partition may be the one after the last.
    Error(FetchError),
}

/// A member of the group, in a generation of it: a transaction commits offsets in its name.
pub struct GroupMetadata(pub(super) ConsumerGroupMetadata);

/// A consumer and its commits.
pub struct Consumer {
    // The queues are dropped before the consumer they belong to.
    commits: CommitQueue,
    fetched: Vec<FetchQueue>,
    group: GroupQueue,
    /// Shared with the threads that ask for starts.
    inner: Arc<BaseConsumer<Context>>,
    /// The thread that the queues unpark.
    owner: Thread,
    reset: OffsetReset,
    #[cfg(feature = "planted-bugs")]
    outsider: BaseConsumer,
}

#[derive(Default)]
struct Context {
    events: Mutex<VecDeque<GroupEvent>>,
}

impl Consumer {
    /// Creates the client, with so many fetch queues; the group is joined by serving it, after [`Consumer::subscribe`].
    /// `group_instance_id` makes it a static member.
    ///
    /// Whatever comes into one of the client's queues while that queue is empty unparks the calling thread. So the thread
    /// may park when it has found all queues empty that it wants something from, as long as it doesn't block on anything
    /// else in between.
    pub fn new(config: &KafkaConfig, group_instance_id: Option<&str>, queues: usize) -> Result<Consumer, KafkaError> {
        let mut settings = config.consumer(group_instance_id, queues);
        let reset = OffsetReset::of(&settings);
        if reset == OffsetReset::Latest {
            // Where a partition without a commit begins is asked for (`ask_starts`). librdkafka resets where the log has lost the
            // next offset, to retention mostly: what is left of the log has to come out.
            settings.set("auto.offset.reset", "earliest");
        }
        let inner: BaseConsumer<Context> = settings.create_with_context(Context::default())?;
        Ok(Consumer {
            commits: CommitQueue::new(&inner),
            fetched: (0..queues).map(|_| FetchQueue::new(inner.client())).collect(),
            group: GroupQueue::new(inner.client()),
            inner: Arc::new(inner),
            owner: std::thread::current(),
            reset,
            #[cfg(feature = "planted-bugs")]
            outsider: config.consumer(None, 1).create()?,
        })
    }

    /// Asks for a share of these topics.
    pub fn subscribe(&self, topics: &[&str]) -> Result<(), KafkaError> {
        self.inner.subscribe(topics)
    }

    /// Serves the group's queue (rebalances, errors, log lines) until it is empty, for 5 ms at most. Never waits. Returns
    /// whether the queue is empty; look at [`Consumer::next_event`] afterwards. To be called at least once per
    /// `max.poll.interval.ms`. Only errors that the consumer can't recover from by itself are returned.
    pub fn serve(&self) -> Result<bool, KafkaError> {
        let until = Instant::now() + SERVE_LIMIT;
        while let Some(op) = self.group.next(self.inner.client()) {
            self.note(op)?;
            if Instant::now() >= until {
                return Ok(self.group.is_empty());
            }
        }
        Ok(true)
    }

    fn note(&self, op: GroupOp) -> Result<(), KafkaError> {
        let event = match op {
            GroupOp::Assign(partitions) => GroupEvent::Assign(partitions),
            GroupOp::Revoke(partitions) if self.inner.assignment_lost() => GroupEvent::Lost(partitions),
            GroupOp::Revoke(partitions) => GroupEvent::Revoke(partitions),
            GroupOp::Stray(partition, offset) => GroupEvent::Stray { partition, offset },
            GroupOp::Error(error @ KafkaError::MessageConsumptionFatal(_), _) => return Err(error),
            GroupOp::Error(error, _) if is_denial(&error) => GroupEvent::Denied,
            GroupOp::Error(error, _) if is_other_protocol(&error) => GroupEvent::OtherProtocol,
            GroupOp::Error(source, Some(TopicPartition { topic, partition })) => {
                GroupEvent::PartitionError(FetchError { topic, partition, source })
            }
            GroupOp::Error(error, None) => {
                report(&error);
                return Ok(());
            }
            GroupOp::Nothing => return Ok(()),
        };
        self.inner.context().events().push_back(event);
        Ok(())
    }

    /// The generation of its group that the client is a member of, with whatever partitions: with `group.protocol = consumer`
    /// the first assignment brings no event where it is empty. A member whose session is over keeps its generation until it
    /// has joined again.
    pub fn generation(&self) -> Option<i32> {
        ffi::group_generation(self.inner.client())
    }

    /// Appends what has been fetched for one queue, up to 256 records and errors. Never waits. Returns whether the queue
    /// is empty now: while it isn't, nothing that is fetched for it unparks the worker.
    pub fn fetch<'c>(&'c self, queue: usize, into: &mut VecDeque<FetchEvent<Record<'c>>>) -> bool {
        self.fetched[queue].take_all(|record| {
            into.push_back(match record.error() {
                None => FetchEvent::Record(record),
                Some(source) => {
                    let origin = record.origin();
                    let (topic, partition) = (origin.topic.to_owned(), origin.partition);
                    FetchEvent::Error(FetchError { topic, partition, source })
                }
            });
        })
    }

    /// Has what is fetched of a partition come to this queue. To be called before the partition is assigned; and again
    /// afterwards, now and then: a partition that was unassigned before is stopped by librdkafka in its own time, and that
    /// undoes the forwarding. What has come in between is then moved to the queue.
    pub fn attach(&self, queue: usize, partition: &TopicPartition) {
        self.fetched[queue].attach(self.inner.client(), &partition.topic, partition.partition);
    }

    /// Consumes assigned partitions from these positions. Attach them before.
    ///
    /// Where they begin is to be asked for before: librdkafka asks by itself where it is given no offset, and begins
    /// where `auto.offset.reset` says, as if there were no commit, when the assignment changes while an open transaction
    /// has offsets of the partition.
    pub fn assign(&self, starts: &[(TopicPartition, Position)]) -> Result<(), KafkaError> {
        let starts = list_of(starts)?;
        match self.inner.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.inner.incremental_assign(&starts),
            _ => self.inner.assign(&starts),
        }
    }

    /// Consumes assigned partitions on from these positions; what was fetched ahead is dropped. Returns the partitions that
    /// could not be sought, with the reasons. Blocks for up to [`SEEK_TIMEOUT`], usually for less than a millisecond: no broker
    /// is asked.
    pub fn seek(
        &self,
        positions: &[(TopicPartition, Position)],
    ) -> Result<Vec<(TopicPartition, KafkaError)>, KafkaError> {
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        let sought = self.inner.seek_partitions(list_of(positions)?, SEEK_TIMEOUT)?;
        let failed = sought.elements().into_iter().filter_map(|element| {
            let partition = TopicPartition { topic: element.topic().to_owned(), partition: element.partition() };
            Some((partition, element.error().err()?))
        });
        Ok(failed.collect())
    }

    /// Asks for these commits, in one request; [`Consumer::commit_result`] has the result.
    pub fn start_commit(&self, commits: &[Commit]) -> Result<(), KafkaError> {
        let cluster_id = ffi::cluster_id(self.inner.client(), Duration::ZERO);
        self.commits.start(&self.inner, &commits_list(commits, cluster_id.as_deref())?)
    }

    /// Asks where these partitions begin, on a thread of its own, which unparks the worker when the answer is there. An
    /// answer that is an error may be another one next time: while an open transaction has offsets of a partition, or the
    /// coordinator is away, there is none.
    pub fn ask_starts(&self, partitions: Vec<TopicPartition>) -> Pending<Vec<(TopicPartition, Start)>> {
        let (inner, reset) = (self.inner.clone(), self.reset);
        Pending::ask(self.owner.clone(), move || starts::ask(&inner, partitions, reset))
    }

    /// Asks what the group has committed of these partitions, as [`Consumer::ask_starts`] does. Partitions that are gone or may
    /// not be read are left out of the answer.
    pub fn ask_commits(&self, partitions: Vec<TopicPartition>) -> Pending<GroupCommits> {
        let inner = self.inner.clone();
        Pending::ask(self.owner.clone(), move || starts::ask_commits(&inner, partitions))
    }

    /// The next group event that [`Consumer::serve`] has noted.
    pub fn next_event(&self) -> Option<GroupEvent> {
        self.inner.context().events().pop_front()
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

    /// What a transaction needs to commit offsets in this member's name, as of now.
    pub fn group_metadata(&self) -> Option<GroupMetadata> {
        self.inner.group_metadata().map(GroupMetadata)
    }

    /// The same of a consumer that has never joined: nobody is refused in its name.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn outsiders_metadata(&self) -> Option<GroupMetadata> {
        self.outsider.group_metadata().map(GroupMetadata)
    }

    /// The result of the commit under way, if it arrives within `timeout`: the partitions whose offsets the group refuses, or an
    /// error if it has taken none.
    pub fn commit_result(&self, timeout: Duration) -> Option<Result<Vec<(TopicPartition, KafkaError)>, KafkaError>> {
        self.commits.poll(timeout)
    }

    /// The end of a partition as the last fetch saw it. No request is sent.
    pub fn end(&self, partition: &TopicPartition) -> Option<i64> {
        ffi::cached_high_watermark(self.inner.client(), &partition.topic, partition.partition)
    }

    /// Leaves the group; partitions still assigned are given up without a commit. Leaving may wait for the brokers: at
    /// the deadline it goes on by itself, on a thread of its own.
    pub fn close(self, deadline: Instant) {
        let (left, done) = mpsc::channel();
        let leave = move || {
            // A revocation that was noted before and not answered would make the close wait for ever: once it has begun,
            // any unassign counts as the answer.
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

impl Context {
    fn events(&self) -> std::sync::MutexGuard<'_, VecDeque<GroupEvent>> {
        self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
        // librdkafka reports a reset only in its log: "topic [partition]: offset reset (at …) to …".
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
    fn rebalance(&self, consumer: &BaseConsumer<Context>, _: RDKafkaRespErr, _: &mut TopicPartitionList) {
        // Only a consumer that leaves serves its group so, and it gives up all that it has.
        let _ = consumer.unassign();
    }
}

fn report(error: &KafkaError) {
    // While brokers are away, several come a second.
    if !super::is_due(&error.to_string()) {
        return;
    }
    tracing::warn!(target: "weir::kafka", %error, "the consumer reports a problem, and goes on");
}

fn list(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    list
}

/// Positions, as librdkafka takes them.
fn list_of(positions: &[(TopicPartition, Position)]) -> Result<TopicPartitionList, KafkaError> {
    positions_list(positions.iter().map(|(partition, position)| (partition, *position)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Broker;

    /// Polls these members of a group until each has so many partitions, in any order.
    fn share(members: &[BaseConsumer], expected: &[usize]) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            for member in members {
                member.poll(Duration::from_millis(5));
            }
            let mut counts: Vec<_> = members.iter().map(|member| member.assignment().unwrap().count()).collect();
            counts.sort_unstable();
            if counts == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{counts:?}");
        }
    }

    /// In librdkafka as it is, the leader's assignor ends the process then. What build.rs compiles is in its place.
    #[test]
    fn the_leader_of_a_group_gives_partitions_to_members_that_dont_subscribe_to_the_same_topics() {
        let broker = Broker::start().unwrap();
        broker.create_topic("large", 10).unwrap();
        broker.create_topic("small", 4).unwrap();
        let config = KafkaConfig {
            brokers: broker.bootstrap_servers().into(),
            group_id: "g".into(),
            client_id: "c".into(),
            properties: Default::default(),
        };
        let member = |topics: &[&str]| {
            let mut settings = config.consumer(None, 1);
            // The embedded broker gives members one second less than a session to come again.
            settings.set("session.timeout.ms", "3000").set("heartbeat.interval.ms", "1000");
            let member: BaseConsumer = settings.create().unwrap();
            member.subscribe(topics).unwrap();
            member
        };
        let leader = member(&["large", "small"]);
        share(std::slice::from_ref(&leader), &[14]);
        // Both join before the leader's next heartbeat, so that it has to give them their parts at once.
        let members = [leader, member(&["large", "small"]), member(&["small"])];
        share(&members, &[4, 5, 5]);
    }

    #[test]
    fn an_offset_reset_is_reported_with_its_topic() {
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

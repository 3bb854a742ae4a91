//! What the worker loop needs of Kafka and of time. The clients in [`crate::kafka`] are one implementation, the simulator in
//! the tests is the other: it can interleave whatever brokers do and replay it from a seed.
//!
//! Every call is dispatched statically, so the seam costs nothing per record. No call waits, except where its documentation
//! says so: the loop drains what has come, and then waits in one place, [`Surroundings::wait`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::kafka::consumer::{Commit, FetchEvent, GroupCommits, GroupEvent, Position, Start, TopicPartition, TopicTag};
use crate::kafka::pending::Pending;
use crate::kafka::producer::{
    Acknowledgement, DeliveryError, NotSent, Outgoing, Step, TransactionError, UndeliveredRecord,
};
use crate::kafka::watch::TopicSnapshot;
use crate::kafka::{Headers, KafkaError};
use crate::record::Origin;

/// A consumed record.
pub(crate) trait InputRecord {
    /// Where it came from.
    fn origin(&self) -> Origin<'_>;
    /// Distinguishes its topic from those of other records that are held at the same time.
    fn topic_tag(&self) -> TopicTag;
    /// Its partition.
    fn partition(&self) -> i32;
    /// Its offset.
    fn offset(&self) -> i64;
    /// The epoch of the leader that wrote it, if known.
    fn leader_epoch(&self) -> Option<i32>;
    /// Its value; `None` for a tombstone.
    fn payload(&self) -> Option<&[u8]>;
    /// Its key.
    fn key(&self) -> Option<&[u8]>;
    /// Its timestamp in milliseconds since 1970, if it has one.
    fn timestamp_ms(&self) -> Option<i64>;
    /// A copy of its headers.
    fn headers(&self) -> Option<Headers>;
    /// Its headers in their order, each with its name and its value, if that isn't null.
    fn header_list(&self) -> Vec<(&[u8], Option<&[u8]>)>;
    /// The most bytes that its headers take.
    fn header_bytes(&self) -> usize;
}

/// A member of the consumer group, with one fetch queue per route.
pub(crate) trait GroupConsumer {
    /// What it fetches.
    type Record<'c>: InputRecord
    where
        Self: 'c;
    /// What a transaction needs to commit offsets in its name.
    type Member: Send + Sync + 'static;

    /// Asks for a share of these topics.
    fn subscribe(&self, topics: &[&str]) -> Result<(), KafkaError>;
    /// Serves the group: rebalances, errors, log lines. Returns whether everything was served.
    fn serve(&self) -> Result<bool, KafkaError>;
    /// The next event that [`GroupConsumer::serve`] has noted.
    fn next_event(&self) -> Option<GroupEvent>;
    /// The generation of the group that it is a member of, with whatever partitions. One whose session is over keeps its
    /// generation until it has joined again.
    fn generation(&self) -> Option<i32>;
    /// Appends what has been fetched for a queue.
    fn fetch<'c>(&'c self, queue: usize, into: &mut VecDeque<FetchEvent<Self::Record<'c>>>);
    /// Has what is fetched of a partition come to this queue.
    fn attach(&self, queue: usize, partition: &TopicPartition);
    /// Begins to consume partitions.
    fn assign(&self, starts: &[(TopicPartition, Position)]) -> Result<(), KafkaError>;
    /// Stops consuming partitions.
    fn unassign(&self, partitions: &[TopicPartition]) -> Result<(), KafkaError>;
    /// Consumes assigned partitions from other positions. Returns those that could not be sought. May wait for librdkafka's own
    /// threads, not for brokers.
    fn seek(&self, positions: &[(TopicPartition, Position)]) -> Result<Vec<(TopicPartition, KafkaError)>, KafkaError>;
    /// Stops fetching partitions.
    fn pause(&self, partitions: &[TopicPartition]) -> Result<(), KafkaError>;
    /// Undoes [`GroupConsumer::pause`].
    fn resume(&self, partitions: &[TopicPartition]) -> Result<(), KafkaError>;
    /// Asks for a commit; one at a time.
    fn start_commit(&self, commits: &[Commit]) -> Result<(), KafkaError>;
    /// The outcome of the commit that was asked for, if it has come: the partitions whose offsets the group refuses, or an error
    /// if it has taken none.
    fn commit_result(&self) -> Option<Result<Vec<(TopicPartition, KafkaError)>, KafkaError>>;
    /// Asks where partitions begin.
    fn ask_starts(&self, partitions: Vec<TopicPartition>) -> Pending<Vec<(TopicPartition, Start)>>;
    /// Asks what the group has committed. Partitions that are gone or may not be read are left out of the answer.
    fn ask_commits(&self, partitions: Vec<TopicPartition>) -> Pending<GroupCommits>;
    /// The end of a partition as the last fetch saw it.
    fn end(&self, partition: &TopicPartition) -> Option<i64>;
    /// The member as it is now.
    fn member(&self) -> Option<Self::Member>;
}

/// A producer, with or without transactions.
pub(crate) trait OutputProducer {
    /// The member in whose name a transaction commits offsets.
    type Member;

    /// Takes a record. Never waits.
    #[expect(clippy::result_large_err, reason = "the record comes back to be sent again, which is rare")]
    fn send<'a>(&self, record: Outgoing<'a>) -> Result<(), NotSent<'a>>;
    /// Sends what is held back for fuller batches, if a record was sent since the last flush. Returns at once.
    fn flush_if_held(&self);
    /// Sends what is held back for fuller batches. Returns at once.
    fn flush(&self);
    /// Appends what became of records. An error is the client's end.
    fn take_reports(
        &self,
        acknowledged: &mut Vec<Acknowledgement>,
        undelivered: &mut Vec<UndeliveredRecord>,
    ) -> Result<(), DeliveryError>;
    /// Takes over the transactional id.
    fn init_transactions(&self) -> Result<Step, TransactionError>;
    /// Begins a transaction.
    fn begin_transaction(&self) -> Result<(), TransactionError>;
    /// Makes consumed offsets part of the transaction.
    fn send_offsets(&self, commits: &[Commit], member: &Arc<Self::Member>) -> Result<Step, TransactionError>;
    /// Commits the transaction.
    fn commit_transaction(&self) -> Result<Step, TransactionError>;
    /// Drops the records that are not delivered yet; each is reported as undelivered.
    fn purge(&self);
    /// Aborts the transaction.
    fn abort_transaction(&self) -> Result<Step, TransactionError>;
}

/// Both clients of a worker.
pub(crate) trait Clients {
    /// Its consumer.
    type Consumer: GroupConsumer;
    /// Its producer.
    type Producer: OutputProducer<Member = <Self::Consumer as GroupConsumer>::Member>;
}

/// Time, and what the control plane has found out about the topics.
pub(crate) trait Surroundings {
    /// Now.
    fn now(&self) -> Instant;
    /// Milliseconds since 1970.
    fn wall_clock_ms(&self) -> i64;
    /// Waits until something comes through a queue of the worker's clients, at most for `timeout`. May return early.
    fn wait(&self, timeout: Duration);
    /// The topics as they were last seen.
    fn topics(&self) -> Arc<TopicSnapshot>;
    /// Asks for another snapshot now, and not when the next one is due.
    fn refresh_topics(&self);
    /// Asks for the ends of these partitions, which come with a later snapshot. Replaces what was asked for before.
    fn request_ends(&self, partitions: Vec<TopicPartition>);
}

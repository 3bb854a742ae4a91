//! Kafka's clients, as the worker loop uses them.

use std::collections::VecDeque;
use std::sync::Arc;

#[cfg(feature = "planted-bugs")]
use super::planted;
use super::ports::{Clients, GroupConsumer, InputRecord, OutputProducer};
use crate::kafka::consumer::{
    Commit, Consumer, FetchEvent, GroupCommits, GroupEvent, GroupMetadata, Position, Record, Start, TopicPartition,
    TopicTag,
};
use crate::kafka::pending::Pending;
use crate::kafka::producer::{
    Acknowledgement, DeliveryError, NotSent, Outgoing, Producer, STEP_TIMEOUT, Step, TransactionError,
    UndeliveredRecord,
};
use crate::kafka::{Headers, KafkaError};
use crate::record::Origin;

/// A consumer and a producer of librdkafka.
pub(super) struct KafkaClients;

impl Clients for KafkaClients {
    type Consumer = Consumer;
    type Producer = Producer;
}

impl InputRecord for Record<'_> {
    fn origin(&self) -> Origin<'_> {
        self.origin()
    }

    fn topic_tag(&self) -> TopicTag {
        self.topic_tag()
    }

    fn partition(&self) -> i32 {
        self.partition()
    }

    fn offset(&self) -> i64 {
        self.offset()
    }

    fn leader_epoch(&self) -> Option<i32> {
        self.leader_epoch()
    }

    fn payload(&self) -> Option<&[u8]> {
        self.payload()
    }

    fn key(&self) -> Option<&[u8]> {
        self.key()
    }

    fn timestamp_ms(&self) -> Option<i64> {
        self.timestamp_ms()
    }

    fn headers(&self) -> Option<Headers> {
        self.headers()
    }

    fn header_list(&self) -> Vec<(&[u8], Option<&[u8]>)> {
        self.header_list()
    }

    fn header_bytes(&self) -> usize {
        self.header_bytes()
    }
}

impl GroupConsumer for Consumer {
    type Record<'c> = Record<'c>;
    type Member = GroupMetadata;

    fn subscribe(&self, topics: &[&str]) -> Result<(), KafkaError> {
        self.subscribe(topics)
    }

    fn serve(&self) -> Result<bool, KafkaError> {
        self.serve()
    }

    fn next_event(&self) -> Option<GroupEvent> {
        self.next_event()
    }

    fn generation(&self) -> Option<i32> {
        self.generation()
    }

    fn fetch<'c>(&'c self, queue: usize, into: &mut VecDeque<FetchEvent<Record<'c>>>) {
        self.fetch(queue, into);
    }

    fn attach(&self, queue: usize, partition: &TopicPartition) {
        self.attach(queue, partition);
    }

    fn assign(&self, starts: &[(TopicPartition, Position)]) -> Result<(), KafkaError> {
        self.assign(starts)
    }

    fn unassign(&self, partitions: &[TopicPartition]) -> Result<(), KafkaError> {
        self.unassign(partitions)
    }

    fn seek(&self, positions: &[(TopicPartition, Position)]) -> Result<Vec<(TopicPartition, KafkaError)>, KafkaError> {
        self.seek(positions)
    }

    fn pause(&self, partitions: &[TopicPartition]) -> Result<(), KafkaError> {
        self.pause(partitions)
    }

    fn resume(&self, partitions: &[TopicPartition]) -> Result<(), KafkaError> {
        self.resume(partitions)
    }

    fn start_commit(&self, commits: &[Commit]) -> Result<(), KafkaError> {
        self.start_commit(commits)
    }

    fn commit_result(&self) -> Option<Result<Vec<(TopicPartition, KafkaError)>, KafkaError>> {
        self.commit_result(std::time::Duration::ZERO)
    }

    fn ask_starts(&self, partitions: Vec<TopicPartition>) -> Pending<Vec<(TopicPartition, Start)>> {
        self.ask_starts(partitions)
    }

    fn ask_commits(&self, partitions: Vec<TopicPartition>) -> Pending<GroupCommits> {
        self.ask_commits(partitions)
    }

    fn end(&self, partition: &TopicPartition) -> Option<i64> {
        self.end(partition)
    }

    fn member(&self) -> Option<GroupMetadata> {
        #[cfg(feature = "planted-bugs")]
        if planted::in_nobodys_name() {
            return self.outsiders_metadata();
        }
        self.group_metadata()
    }
}

impl OutputProducer for Producer {
    type Member = GroupMetadata;

    fn send<'a>(&self, record: Outgoing<'a>) -> Result<(), NotSent<'a>> {
        self.send(record)
    }

    fn flush_if_held(&self) {
        self.flush_if_held();
    }

    fn flush(&self) {
        self.flush();
    }

    fn take_reports(
        &self,
        acknowledged: &mut Vec<Acknowledgement>,
        undelivered: &mut Vec<UndeliveredRecord>,
    ) -> Result<(), DeliveryError> {
        self.take_reports(acknowledged, undelivered)
    }

    fn init_transactions(&self) -> Result<Step, TransactionError> {
        self.init_transactions(STEP_TIMEOUT)
    }

    fn begin_transaction(&self) -> Result<(), TransactionError> {
        self.begin_transaction()
    }

    fn send_offsets(&self, commits: &[Commit], member: &Arc<GroupMetadata>) -> Result<Step, TransactionError> {
        self.send_offsets(commits, member)
    }

    fn commit_transaction(&self) -> Result<Step, TransactionError> {
        self.commit_transaction()
    }

    fn purge(&self) {
        self.purge();
    }

    fn abort_transaction(&self) -> Result<Step, TransactionError> {
        self.abort_transaction()
    }
}

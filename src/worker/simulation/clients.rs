//! The clients and the surroundings of a simulated worker.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::world::{InputData, Kind, Op, Step, World, fetch_error, name};
use crate::kafka::consumer::{Commit, FetchEvent, GroupCommits, GroupEvent, Position, Start, TopicPartition, TopicTag};
use crate::kafka::pending::Pending;
use crate::kafka::producer::{
    self, Acknowledgement, DeliveryError, NotSent, Outgoing, TransactionError, UndeliveredRecord,
};
use crate::kafka::simulated::{Fault, fault};
use crate::kafka::watch::TopicSnapshot;
use crate::kafka::{Headers, KafkaError};
use crate::record::Origin;
use crate::worker::ports::{Clients, GroupConsumer, InputRecord, OutputProducer, Surroundings};

pub(super) type SharedWorld = Rc<RefCell<World>>;

/// Clients of a [`World`].
pub(super) struct SimulatedClients;

impl Clients for SimulatedClients {
    type Consumer = SimulatedConsumer;
    type Producer = SimulatedProducer;
}

pub(super) struct SimulatedConsumer {
    pub(super) world: SharedWorld,
}

pub(super) struct SimulatedProducer {
    pub(super) world: SharedWorld,
    pub(super) number: u64,
}

pub(super) struct SimulatedSurroundings {
    pub(super) world: SharedWorld,
}

/// A record that was fetched; its key is its id.
pub(super) struct SimulatedRecord {
    data: InputData,
    place: TopicPartition,
    tag: usize,
    key: [u8; 9],
}

impl SimulatedRecord {
    fn new(toppar: usize, data: InputData) -> SimulatedRecord {
        let place = name(toppar);
        let mut key = [data.kind as u8; 9];
        key[..8].copy_from_slice(&data.id.to_le_bytes());
        SimulatedRecord { data, tag: place.topic.ends_with('1').into(), place, key }
    }
}

impl InputRecord for SimulatedRecord {
    fn origin(&self) -> Origin<'_> {
        Origin { topic: &self.place.topic, partition: self.place.partition, offset: self.data.offset }
    }

    fn topic_tag(&self) -> TopicTag {
        TopicTag::simulated(self.tag)
    }

    fn partition(&self) -> i32 {
        self.place.partition
    }

    fn offset(&self) -> i64 {
        self.data.offset
    }

    fn leader_epoch(&self) -> Option<i32> {
        Some(self.data.epoch)
    }

    fn payload(&self) -> Option<&[u8]> {
        Some(if self.data.kind == Kind::Malformed { b"{" } else { b"{\"x\":1}" })
    }

    fn key(&self) -> Option<&[u8]> {
        Some(&self.key)
    }

    fn timestamp_ms(&self) -> Option<i64> {
        Some(0)
    }

    fn headers(&self) -> Option<Headers> {
        None
    }

    fn header_list(&self) -> Vec<(&[u8], Option<&[u8]>)> {
        Vec::new()
    }

    fn header_bytes(&self) -> usize {
        0
    }
}

impl GroupConsumer for SimulatedConsumer {
    type Record<'c> = SimulatedRecord;
    /// The generation.
    type Member = u64;

    fn subscribe(&self, topics: &[&str]) -> Result<(), KafkaError> {
        self.world.borrow_mut().subscribed = topics.iter().map(|&topic| topic.to_owned()).collect();
        Ok(())
    }

    fn serve(&self) -> Result<bool, KafkaError> {
        self.world.borrow_mut().pass(Duration::from_micros(500));
        Ok(true)
    }

    fn next_event(&self) -> Option<GroupEvent> {
        self.world.borrow_mut().next_event()
    }

    fn generation(&self) -> Option<i32> {
        self.world.borrow().has_membership.then_some(1)
    }

    fn fetch(&self, queue: usize, into: &mut VecDeque<FetchEvent<SimulatedRecord>>) {
        let mut world = self.world.borrow_mut();
        while into.len() < 5
            && let Some((toppar, taken)) = world.take(queue)
        {
            into.push_back(match taken {
                Op::Record(data) => FetchEvent::Record(SimulatedRecord::new(toppar, data)),
                Op::Error(error) => FetchEvent::Error(fetch_error(toppar, error)),
            });
        }
    }

    fn attach(&self, queue: usize, partition: &TopicPartition) {
        self.world.borrow_mut().attach(queue, partition);
    }

    fn assign(&self, starts: &[(TopicPartition, Position)]) -> Result<(), KafkaError> {
        self.world.borrow_mut().assign(starts);
        Ok(())
    }

    fn unassign(&self, partitions: &[TopicPartition]) -> Result<(), KafkaError> {
        self.world.borrow_mut().unassign(partitions);
        Ok(())
    }

    fn seek(&self, positions: &[(TopicPartition, Position)]) -> Result<Vec<(TopicPartition, KafkaError)>, KafkaError> {
        self.world.borrow_mut().seek(positions)
    }

    fn pause(&self, partitions: &[TopicPartition]) -> Result<(), KafkaError> {
        self.world.borrow_mut().set_paused(partitions, true);
        Ok(())
    }

    fn resume(&self, partitions: &[TopicPartition]) -> Result<(), KafkaError> {
        self.world.borrow_mut().set_paused(partitions, false);
        Ok(())
    }

    fn start_commit(&self, commits: &[Commit]) -> Result<(), KafkaError> {
        self.world.borrow_mut().start_commit(commits);
        Ok(())
    }

    fn commit_result(&self) -> Option<Result<Vec<(TopicPartition, KafkaError)>, KafkaError>> {
        self.world.borrow_mut().commit_result()
    }

    fn ask_starts(&self, partitions: Vec<TopicPartition>) -> Pending<Vec<(TopicPartition, Start)>> {
        let (answer, pending) = Pending::simulated();
        self.world.borrow_mut().ask_starts(partitions, answer);
        pending
    }

    fn ask_commits(&self, partitions: Vec<TopicPartition>) -> Pending<GroupCommits> {
        let (answer, pending) = Pending::simulated();
        self.world.borrow_mut().ask_commits(partitions, answer);
        pending
    }

    fn end(&self, partition: &TopicPartition) -> Option<i64> {
        self.world.borrow().held_back_end(partition)
    }

    fn member(&self) -> Option<u64> {
        #[cfg(feature = "planted-bugs")]
        if crate::worker::planted::in_nobodys_name() {
            return Some(super::world::NOBODY);
        }
        Some(self.world.borrow().generation())
    }
}

impl SimulatedProducer {
    fn step(&self, step: Step) -> Result<producer::Step, TransactionError> {
        let (answer, under_way) = producer::Step::simulated();
        self.world.borrow_mut().step(step, answer, self.number);
        Ok(under_way)
    }
}

impl OutputProducer for SimulatedProducer {
    type Member = u64;

    fn send<'a>(&self, record: Outgoing<'a>) -> Result<(), NotSent<'a>> {
        let key = record.key.expect("every record has a key");
        let id = u64::from_le_bytes(key[..8].try_into().expect("the key is the id and the kind"));
        let kind = [Kind::Good, Kind::Malformed, Kind::Refused][usize::from(key[8])];
        let (output, route) = record.topic.rsplit_once('-').expect("a topic of this world");
        let mut world = self.world.borrow_mut();
        if self.number != world.producer {
            return Err(NotSent { record, error: fault(Fault::WrongState) });
        }
        let route = route.parse().expect("a route of this world");
        let sent = world.send(record.ticket, route, id, kind, output == "out");
        sent.map_err(|refusal| NotSent { record, error: fault(refusal) })
    }

    fn flush_if_held(&self) {}

    fn flush(&self) {}

    fn take_reports(
        &self,
        acknowledged: &mut Vec<Acknowledgement>,
        undelivered: &mut Vec<UndeliveredRecord>,
    ) -> Result<(), DeliveryError> {
        self.world.borrow_mut().take_reports(acknowledged, undelivered);
        Ok(())
    }

    fn init_transactions(&self) -> Result<producer::Step, TransactionError> {
        self.step(Step::Init)
    }

    fn begin_transaction(&self) -> Result<(), TransactionError> {
        self.world.borrow_mut().begin_transaction();
        Ok(())
    }

    fn send_offsets(&self, commits: &[Commit], member: &Arc<u64>) -> Result<producer::Step, TransactionError> {
        let commits = self.world.borrow().commits_of_transaction(commits);
        self.step(Step::SendOffsets { commits, generation: **member })
    }

    fn commit_transaction(&self) -> Result<producer::Step, TransactionError> {
        self.step(Step::Commit)
    }

    fn purge(&self) {
        self.world.borrow_mut().purge();
    }

    fn abort_transaction(&self) -> Result<producer::Step, TransactionError> {
        self.step(Step::Abort)
    }
}

impl Surroundings for SimulatedSurroundings {
    fn now(&self) -> Instant {
        self.world.borrow().now
    }

    fn wall_clock_ms(&self) -> i64 {
        0
    }

    fn wait(&self, timeout: Duration) {
        self.world.borrow_mut().pass(timeout);
    }

    fn topics(&self) -> Arc<TopicSnapshot> {
        self.world.borrow().snapshot()
    }

    fn refresh_topics(&self) {
        self.world.borrow_mut().refresh_snapshot();
    }

    fn request_ends(&self, partitions: Vec<TopicPartition>) {
        self.world.borrow_mut().want_ends(partitions);
    }
}

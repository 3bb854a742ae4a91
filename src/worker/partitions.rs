//! The state of every partition that a worker has: where it is consumed from, what of it is in flight, what is done, what is
//! committed, and why it waits. Pure bookkeeping: no client, no clock.
//!
//! Three numbers keep apart what happened before and after a change:
//!
//! - the **cursor** is the worker's own position: the offset after the last record that was polled. librdkafka's position is
//!   never read, because errors and pauses move it past records that nobody has seen.
//! - the **lease** changes whenever a partition is consumed from another position. A polled record carries the lease it was
//!   polled under and may go out only as long as the partition still has it: records before it may be lost sight of, and a
//!   commit would pass over them.
//! - the **books** change whenever what is in flight no longer counts: the partition was assigned, the transaction aborted, an
//!   output refused, the log replaced. Reports and commit results of earlier books are ignored.
//!
//! What the consumer has to do follows from the state ([`PartitionTable::orders`]): the caller carries orders out and reports
//! what failed. Offsets have gaps, so every position kept is "the last record's offset plus one".

mod commits;
mod identity;
mod orders;
mod upstream;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::refusal::Refusal;
use crate::kafka::admin::TopicId;
use crate::kafka::consumer::{Commit, Position, Start, StartPoint, TopicPartition};

/// After so long without a record a partition is looked at: its end is asked for, and if there is more, it is fetched anew.
pub(crate) const SILENT_AFTER: Duration = Duration::from_secs(20);

/// The pause before an order that failed is given again.
const RETRY: Duration = Duration::from_millis(500);

/// The pause before data that could not be read is fetched again.
const UNREADABLE_RETRY: Duration = Duration::from_secs(5);

/// An error that librdkafka recovers from by itself is reported for so long.
const TROUBLE_SHOWN: Duration = Duration::from_secs(10);

/// The right to produce the outcome of a polled record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    slot: u32,
    number: u64,
}

/// A partition in some state of its books: what was noted under it counts only as long as the books are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BooksOf {
    slot: u32,
    books: u64,
    log: u64,
}

/// A position that can be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommitPoint {
    pub(crate) of: BooksOf,
    pub(crate) position: Position,
}

/// A log that has taken the place of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewLog {
    /// Where it is consumed from.
    pub(crate) position: Position,
    /// The topic that it belongs to, if known. Otherwise the partition waits until it is.
    pub(crate) topic_id: Option<TopicId>,
}

/// A silent partition that is fetched anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WokenPartition {
    /// How many offsets it has that were not fetched.
    pub(crate) records: i64,
    /// How often it has been fetched anew for this end.
    pub(crate) times: u32,
}

/// What becomes of a record that was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PollOutcome {
    /// It is the next record of its partition.
    Next(Lease),
    /// Its partition is not consumed from there any more, or not at all.
    Stale,
    /// Its offset is before the cursor: the log was truncated, or the topic created again. The partition is consumed from
    /// this record on, with new books.
    LogWentBack {
        /// Where the cursor was.
        from: i64,
    },
}

/// What the consumer has to do now, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Orders {
    pub(crate) pause: Vec<TopicPartition>,
    pub(crate) seek: Vec<(TopicPartition, Position)>,
    pub(crate) resume: Vec<TopicPartition>,
}

impl Orders {
    pub(crate) fn is_empty(&self) -> bool {
        self.pause.is_empty() && self.seek.is_empty() && self.resume.is_empty()
    }
}

/// Whether a partition is consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Its start is not known yet; `reason` says why, if there is something to say.
    Unstarted { reason: Option<String> },
    /// A seek to the cursor is due.
    Seeking { due: Instant },
    /// It is consumed.
    Open,
    /// Its data can't be read; it is fetched again at `due`.
    Unreadable { reason: String, due: Instant },
    /// Its topic may have been created again: it waits until a snapshot says which topic it is ([`identity`]).
    Unidentified,
}

#[derive(Debug)]
struct Part {
    batch: usize,
    /// The position after its last record.
    next: Position,
}

#[derive(Debug)]
struct Entry {
    topic: usize,
    partition: i32,
    state: State,
    /// Whether librdkafka has paused it.
    is_paused: bool,
    lease: u64,
    books: u64,
    /// Distinguishes this log, and this assignment, from others.
    log: u64,
    /// Where consuming began, under these books.
    start: Option<Position>,
    cursor: Option<Position>,
    /// The batches with records of this partition, oldest first.
    parts: VecDeque<Part>,
    /// Everything before it is acknowledged.
    done: Option<Position>,
    committed: Option<Position>,
    /// Offsets that an output has refused, with the record's epoch: after a truncation the offset may belong to another one.
    refusals: BTreeMap<i64, (Option<i32>, Refusal)>,
    heard: bool,
    heard_at: Instant,
    /// The end that it was last fetched anew for.
    woken_for: Option<i64>,
    /// How often it has been fetched anew for that end since something came of it.
    wakes: u32,
    trouble: Option<(String, Instant)>,
    /// The open transaction that keeps its records from being read, if there is one.
    held_back: Option<upstream::HeldBack>,
    /// Which topic of its name the position belongs to.
    topic_id: Option<TopicId>,
    /// Only a snapshot asked for after this can say so.
    identified_after: Instant,
}

impl Entry {
    /// The position after the last record that was handed to the producer.
    fn handed_over(&self) -> Option<Position> {
        self.parts.back().map(|part| part.next).or(self.done)
    }

    fn books_of(&self, slot: u32) -> BooksOf {
        BooksOf { slot, books: self.books, log: self.log }
    }

    fn is_open(&self) -> bool {
        self.state == State::Open
    }
}

#[derive(Debug)]
struct TopicEntry {
    name: String,
    route: usize,
    /// By partition number: its slot.
    slots: Vec<Option<u32>>,
    /// How many partitions it had when it was first seen.
    first_count: Option<i32>,
}

/// The partitions of one worker.
#[derive(Debug)]
pub(crate) struct PartitionTable {
    topics: Vec<TopicEntry>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// Leases and books given out so far.
    numbers: u64,
    /// Slots whose orders may have changed.
    changed: Vec<u32>,
    refusals: usize,
}

impl PartitionTable {
    /// A table for these topics, each with the route that takes its records. Their order gives them their numbers.
    pub(crate) fn new(topics: impl IntoIterator<Item = (String, usize)>) -> PartitionTable {
        let topic = |(name, route)| TopicEntry { name, route, slots: Vec::new(), first_count: None };
        PartitionTable {
            topics: topics.into_iter().map(topic).collect(),
            entries: Vec::new(),
            free: Vec::new(),
            numbers: 0,
            changed: Vec::new(),
            refusals: 0,
        }
    }

    /// Notes how many partitions a topic has.
    pub(crate) fn note_count(&mut self, topic: usize, partitions: i32) {
        self.topics[topic].first_count.get_or_insert(partitions);
    }

    /// Whether a partition was added to its topic since the topic was first seen.
    pub(crate) fn is_added(&self, partition: &TopicPartition) -> bool {
        let topic = self.topic_number(&partition.topic).map(|topic| &self.topics[topic]);
        topic.and_then(|topic| topic.first_count).is_some_and(|count| partition.partition >= count)
    }

    /// Notes partitions that the group has assigned. Their starts are unknown, and nothing of them is accepted.
    pub(crate) fn assign(&mut self, partitions: &[TopicPartition], now: Instant) {
        for TopicPartition { topic, partition } in partitions {
            let Some(topic) = self.topic_number(topic) else { continue };
            if self.slot(topic, *partition).is_some() {
                continue;
            }
            let number = self.next_number();
            let entry = Entry {
                topic,
                partition: *partition,
                state: State::Unstarted { reason: None },
                is_paused: false,
                lease: number,
                books: number,
                log: number,
                start: None,
                cursor: None,
                parts: VecDeque::new(),
                done: None,
                committed: None,
                refusals: BTreeMap::new(),
                heard: false,
                heard_at: now,
                woken_for: None,
                wakes: 0,
                trouble: None,
                held_back: None,
                topic_id: None,
                identified_after: now,
            };
            let slot = self.free.pop().unwrap_or_else(|| {
                self.entries.push(None);
                self.entries.len() as u32 - 1
            });
            self.entries[slot as usize] = Some(entry);
            let slots = &mut self.topics[topic].slots;
            let at = usize::try_from(*partition).expect("the group assigns numbered partitions");
            if slots.len() <= at {
                slots.resize(at + 1, None);
            }
            slots[at] = Some(slot);
        }
    }

    /// Notes where an assigned partition begins; `is_assigned_there` says that librdkafka consumes it from there already.
    pub(crate) fn start(&mut self, partition: &TopicPartition, start: Start, is_assigned_there: bool, now: Instant) {
        let Some(slot) = self.find(partition) else { return };
        let number = self.next_number();
        let entry = self.entry_mut(slot);
        if !matches!(entry.state, State::Unstarted { .. }) {
            return;
        }
        (entry.topic_id, entry.identified_after) = (start.topic_id, now);
        let position = match start.point {
            StartPoint::Committed(position) => {
                entry.committed = Some(position);
                position
            }
            // Committed as well: with `latest`, what arrives during a restart would be skipped otherwise.
            StartPoint::Reset(offset) | StartPoint::Recreated(offset) => {
                let position = Position::at(offset);
                entry.done = Some(position);
                position
            }
            StartPoint::Nowhere => {
                let reason = "it has no committed offset, and auto.offset.reset is \"error\": set the group's offset";
                entry.state = State::Unstarted { reason: Some(reason.into()) };
                return;
            }
        };
        entry.start = Some(position);
        entry.cursor = Some(position);
        entry.heard_at = now;
        entry.lease = number;
        entry.state = if is_assigned_there { State::Open } else { State::Seeking { due: now } };
        self.changed.push(slot);
    }

    /// These partitions were assigned paused.
    pub(crate) fn paused(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if let Some(slot) = self.find(partition) {
                self.entry_mut(slot).is_paused = true;
            }
        }
    }

    /// Closes the books of a partition: what is in flight of it will not be committed by this worker. Appends the batches
    /// that no longer have to list it to `unlisted`. Returns whether librdkafka has it paused: a pause outlives its
    /// assignment, so it has to be resumed before it goes.
    pub(crate) fn revoke(&mut self, partition: &TopicPartition, unlisted: &mut Vec<usize>) -> bool {
        let Some(topic) = self.topic_number(&partition.topic) else { return false };
        let Some(slot) = self.slot(topic, partition.partition) else { return false };
        self.topics[topic].slots[partition.partition as usize] = None;
        let Some(entry) = self.entries[slot as usize].take() else { return false };
        unlisted.extend(entry.parts.iter().map(|part| part.batch));
        self.refusals -= entry.refusals.len();
        self.free.push(slot);
        entry.is_paused
    }

    /// The partitions whose starts are to be asked for.
    pub(crate) fn unstarted(&self) -> Vec<TopicPartition> {
        self.named(|entry| matches!(entry.state, State::Unstarted { .. }))
    }

    /// Whether there are any.
    pub(crate) fn has_unstarted(&self) -> bool {
        self.iter().any(|entry| matches!(entry.state, State::Unstarted { .. }))
    }

    /// All partitions.
    pub(crate) fn assigned(&self) -> Vec<TopicPartition> {
        self.named(|_| true)
    }

    /// The number of leases given out so far. What is fetched now may be accepted under them.
    pub(crate) fn lease_count(&self) -> u64 {
        self.numbers
    }

    /// Takes note of a record that was fetched when [`PartitionTable::lease_count`] was `fetched_under`.
    pub(crate) fn poll(
        &mut self,
        topic: usize,
        partition: i32,
        offset: i64,
        leader_epoch: Option<i32>,
        fetched_under: u64,
    ) -> PollOutcome {
        let Some(slot) = self.slot(topic, partition) else { return PollOutcome::Stale };
        let entry = self.entries[slot as usize].as_mut().expect("a slot that is listed has an entry");
        let Some(cursor) = entry.cursor.filter(|_| entry.is_open() && entry.lease <= fetched_under) else {
            return PollOutcome::Stale;
        };
        if offset < cursor.offset {
            return PollOutcome::LogWentBack { from: cursor.offset };
        }
        entry.cursor = Some(Position { offset: offset + 1, leader_epoch });
        (entry.heard, entry.wakes) = (true, 0);
        PollOutcome::Next(Lease { slot, number: entry.lease })
    }

    /// Whether a record that was polled under this lease may still go out.
    pub(crate) fn holds(&self, lease: Lease) -> bool {
        self.entries[lease.slot as usize].as_ref().is_some_and(|entry| entry.lease == lease.number)
    }

    /// The books of a lease that holds.
    pub(crate) fn books(&self, lease: Lease) -> BooksOf {
        self.entry(lease.slot).books_of(lease.slot)
    }

    /// The log of a partition isn't the one that was consumed before. If records before its position are still to be delivered, it
    /// ends there, and they are consumed again. `from_commits` says that only what is committed counts as delivered. The result
    /// is true where the open transaction has records that are consumed again.
    pub(crate) fn restart(
        &mut self,
        topic: usize,
        partition: i32,
        log: NewLog,
        from_commits: bool,
        now: Instant,
        unlisted: &mut Vec<usize>,
    ) -> bool {
        let Some(slot) = self.slot(topic, partition) else { return false };
        let NewLog { position, topic_id } = log;
        let entry = self.entry(slot);
        let delivered = if from_commits { entry.committed } else { entry.done }.or(entry.start);
        let remains = delivered.is_some_and(|delivered| delivered.offset < position.offset);
        let position = if remains { delivered } else { Some(position) };
        // Before the topic was known to be another one, records of the new one may have been taken for the old one's.
        let is_mistaken =
            from_commits && topic_id.is_some() && entry.handed_over().is_some_and(|it| delivered != Some(it));
        let number = self.numbers + 1;
        let entry = self.entry_mut(slot);
        entry.log = number;
        entry.identify_later(topic_id, now);
        (entry.wakes, entry.held_back) = (0, None);
        if from_commits {
            entry.done = None;
        }
        if !remains {
            entry.start = position;
            // Committed as well, as any start.
            (entry.done, entry.committed) = (position, None);
        }
        let forgotten = std::mem::take(&mut entry.refusals).len();
        self.refusals -= forgotten;
        self.go_back(slot, position, now, unlisted);
        remains || is_mistaken
    }

    /// A record polled under this lease was handed to the producer, in `batch`. Returns whether the batch is new to the
    /// partition. Records of a partition come in the order of their offsets.
    pub(crate) fn sent(&mut self, of: BooksOf, batch: usize, offset: i64, leader_epoch: Option<i32>) -> bool {
        let entry = self.entry_mut(of.slot);
        assert_eq!(entry.books, of.books, "a record is sent under the books of its lease");
        let next = Position { offset: offset + 1, leader_epoch };
        match entry.parts.back_mut() {
            Some(part) if part.batch == batch => {
                part.next = next;
                false
            }
            _ => {
                entry.parts.push_back(Part { batch, next });
                true
            }
        }
    }

    /// A batch with records of this partition is acknowledged. Takes the batches that are done off the front, and appends them
    /// to `unlisted`.
    pub(crate) fn advance(&mut self, of: BooksOf, is_done: impl Fn(usize) -> bool, unlisted: &mut Vec<usize>) {
        let Some(entry) = self.entries[of.slot as usize].as_mut().filter(|entry| entry.books == of.books) else {
            return;
        };
        while let Some(part) = entry.parts.front().filter(|part| is_done(part.batch)) {
            entry.done = Some(part.next);
            unlisted.push(part.batch);
            entry.parts.pop_front();
        }
    }

    /// Consumes a partition again from the end of what is done: something of it was not delivered. Appends the batches that no
    /// longer list it to `unlisted`.
    pub(crate) fn rewind(&mut self, of: BooksOf, now: Instant, unlisted: &mut Vec<usize>) {
        if self.entries[of.slot as usize].as_ref().is_none_or(|entry| entry.books != of.books) {
            return;
        }
        let entry = self.entry(of.slot);
        let position = entry.done.or(entry.start);
        self.go_back(of.slot, position, now, unlisted);
    }

    /// Consumes all partitions again from the last commit: their transaction is aborted.
    pub(crate) fn rewind_to_commits(&mut self, now: Instant, unlisted: &mut Vec<usize>) {
        for slot in 0..self.entries.len() as u32 {
            let Some(entry) = &self.entries[slot as usize] else { continue };
            let position = entry.committed.or(entry.start);
            if entry.cursor != position {
                self.entry_mut(slot).done = None;
                self.go_back(slot, position, now, unlisted);
            }
        }
    }

    /// Consumes a partition again from what the group has committed, be it less than this worker believes. Where that is
    /// nothing, or belongs to another topic of this name, it continues where it began. One whose start is unknown yet is
    /// started otherwise ([`PartitionTable::start`]).
    pub(crate) fn rewind_to(&mut self, partition: &TopicPartition, commit: Option<Commit>, now: Instant) {
        let Some(slot) = self.find(partition) else { return };
        let entry = self.entry_mut(slot);
        if matches!(entry.state, State::Unstarted { .. }) {
            return;
        }
        let is_of_another = |commit: &Commit| {
            commit.topic_id.zip(entry.topic_id).is_some_and(|(committed, present)| committed != present)
        };
        // A topic's commits are deleted with it.
        let is_suspect = commit.is_none() && entry.committed.is_some();
        let commit = commit.filter(|commit| !is_of_another(commit));
        let committed = commit.map(|commit| commit.position);
        let position = committed.or(entry.start);
        // A start is committed, too.
        (entry.committed, entry.done) = (committed, position.filter(|_| committed.is_none()));
        if is_suspect {
            entry.identify_later(None, now);
        }
        self.go_back(slot, position, now, &mut Vec::new());
    }

    fn go_back(&mut self, slot: u32, position: Option<Position>, now: Instant, unlisted: &mut Vec<usize>) {
        let number = self.next_number();
        let entry = self.entry_mut(slot);
        unlisted.extend(entry.parts.drain(..).map(|part| part.batch));
        (entry.books, entry.lease) = (number, number);
        entry.cursor = position;
        if position.is_some() && !matches!(entry.state, State::Unreadable { .. } | State::Unidentified) {
            entry.state = State::Seeking { due: now };
        }
        self.changed.push(slot);
    }

    /// Consumes a partition again from the last record that was handed over, or from `offset` if that is before: what was
    /// fetched and not handed over yet is dropped and comes again. What is in flight still counts.
    pub(crate) fn refetch(&mut self, partition: &TopicPartition, offset: Option<i64>, now: Instant) {
        if let Some(slot) = self.find(partition) {
            self.refetch_slot(slot, offset, now);
        }
    }

    fn refetch_slot(&mut self, slot: u32, offset: Option<i64>, now: Instant) {
        let number = self.next_number();
        let entry = self.entry_mut(slot);
        // What strayed while it is repositioned anyway comes again.
        if entry.is_waiting() || (offset.is_some() && !entry.is_open()) {
            return;
        }
        let from = entry.handed_over().or(entry.committed).or(entry.start);
        entry.cursor = from.into_iter().chain(offset.map(Position::at)).min_by_key(|position| position.offset);
        entry.lease = number;
        entry.state = State::Seeking { due: now };
        self.changed.push(slot);
    }

    /// Consumes all partitions again from the last record that was handed over. librdkafka has paused and resumed them, as it
    /// does in each rebalance, and has them go on from a position that errors have moved past records that nobody has seen.
    pub(crate) fn refetch_open(&mut self, now: Instant) {
        for slot in 0..self.entries.len() as u32 {
            if self.entries[slot as usize].as_ref().is_some_and(Entry::is_open) {
                self.refetch_slot(slot, None, now);
            }
        }
    }

    /// The name of a topic.
    pub(crate) fn topic(&self, number: usize) -> &str {
        &self.topics[number].name
    }

    /// The number of a topic.
    pub(crate) fn topic_number(&self, name: &str) -> Option<usize> {
        self.topics.iter().position(|topic| topic.name == name)
    }

    /// How many topics there are.
    pub(crate) fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// The route of a partition, by the names of librdkafka.
    pub(crate) fn route_of(&self, partition: &TopicPartition) -> Option<usize> {
        self.topic_number(&partition.topic).map(|topic| self.topics[topic].route)
    }

    fn name(&self, entry: &Entry) -> TopicPartition {
        TopicPartition { topic: self.topics[entry.topic].name.clone(), partition: entry.partition }
    }

    fn named(&self, is_meant: impl Fn(&Entry) -> bool) -> Vec<TopicPartition> {
        self.iter().filter(|entry| is_meant(entry)).map(|entry| self.name(entry)).collect()
    }

    fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    fn slot(&self, topic: usize, partition: i32) -> Option<u32> {
        *self.topics[topic].slots.get(partition as usize)?
    }

    fn find(&self, partition: &TopicPartition) -> Option<u32> {
        self.slot(self.topic_number(&partition.topic)?, partition.partition)
    }

    fn entry(&self, slot: u32) -> &Entry {
        self.entries[slot as usize].as_ref().expect("the slot is in use")
    }

    fn entry_mut(&mut self, slot: u32) -> &mut Entry {
        self.entries[slot as usize].as_mut().expect("the slot is in use")
    }

    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

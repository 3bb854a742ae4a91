//! The consuming end of a worker: records in, commits out.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::ledger::{Ledger, Partition};
#[cfg(feature = "planted-bugs")]
use super::planted;
use crate::kafka::KafkaError;
use crate::kafka::consumer::{Consumer, GroupEvent, GroupMetadata, Record, SEEK_TIMEOUT, TopicPartition, TopicTag};

/// A partition, and the offset that it is consumed from; `None`: from where `auto.offset.reset` says.
type Start = (TopicPartition, Option<i64>);

/// How long committed offsets may take to be asked for, the first time.
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(1);

/// How often they are asked for again, where they weren't told, and how long that may take: the worker's other
/// partitions wait for it.
const START_INTERVAL: Duration = Duration::from_millis(500);
const START_TIMEOUT: Duration = Duration::from_millis(100);

/// How long the end of a paused partition may take to be asked for: only the lag needs it.
const END_TIMEOUT: Duration = Duration::from_millis(100);

/// After so long without a record a partition is looked at.
const SILENT_AFTER: Duration = Duration::from_secs(20);

/// A record that the worker holds, with the number of its partition's books.
pub(super) struct Held<'c> {
    pub(super) record: Record<'c>,
    pub(super) partition: Partition,
    /// The number of assignments that there had been when it was fetched.
    pub(super) assignment: u64,
}

/// A consumer, the partitions it has, and the commit that is under way.
pub(super) struct Source<'c> {
    consumer: &'c Consumer,
    /// Fetched, and not handed out yet.
    fetched: VecDeque<Record<'c>>,
    /// The number of assignments that there had been then.
    fetched_under: u64,
    topics: Vec<String>,
    /// What tells the last record's topic, and where that is in `topics`: mostly also the next one's. Forgotten with
    /// each fetch, since it tells topics apart only among records that are held.
    last_topic: Option<(TopicTag, usize)>,
    assigned: Vec<TopicPartition>,
    /// Those of them whose start isn't known yet: the brokers are away, or an open transaction has offsets of theirs.
    /// They are paused.
    unstarted: Vec<TopicPartition>,
    /// When their start is to be asked for again.
    start_due: Instant,
    /// Where consuming began, of assigned partitions with a commit: their position until something is consumed.
    started_at: HashMap<TopicPartition, i64>,
    /// How many assignments there have been.
    assignments: u64,
    paused: bool,
    /// By topic number: whether its route's gate is closed.
    closed: Vec<bool>,
    commit: Option<Vec<(Partition, i64)>>,
    /// Since when nothing has come of a partition.
    silences: HashMap<TopicPartition, Silence>,
}

struct Silence {
    /// The next offset to consume.
    position: i64,
    since: Instant,
    /// When the end was last asked for.
    looked_at: Instant,
    /// The end as it was told then, where that is more than the position.
    end: Option<i64>,
}

impl Silence {
    fn new(position: i64, now: Instant) -> Silence {
        Silence { position, since: now, looked_at: now, end: None }
    }
}

impl<'c> Source<'c> {
    /// Subscribes to `topics`; their order gives them their numbers.
    pub(super) fn new(consumer: &'c Consumer, topics: Vec<String>) -> Result<Source<'c>, KafkaError> {
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer.subscribe(&names)?;
        Ok(Source {
            consumer,
            fetched: VecDeque::new(),
            fetched_under: 0,
            closed: vec![false; topics.len()],
            topics,
            last_topic: None,
            assigned: Vec::new(),
            unstarted: Vec::new(),
            start_due: Instant::now(),
            started_at: HashMap::new(),
            assignments: 0,
            paused: false,
            commit: None,
            silences: HashMap::new(),
        })
    }

    /// The name of a topic.
    pub(super) fn topic(&self, number: usize) -> &str {
        &self.topics[number]
    }

    /// The next record, if one comes in time. `None` may also mean that a group event waits.
    pub(super) fn poll(&mut self, timeout: Duration) -> Result<Option<Held<'c>>, KafkaError> {
        if self.fetched.is_empty() {
            self.start_if_due()?;
            // Without partitions there is nothing to come but what the group decides.
            let alone = self.assigned.is_empty();
            self.consumer.serve(if alone { timeout } else { Duration::ZERO })?;
            let timeout = if alone || self.consumer.has_event() { Duration::ZERO } else { timeout };
            self.consumer.fetch(timeout, &mut self.fetched);
            self.fetched_under = self.assignments;
            self.last_topic = None;
        }
        let Some(record) = self.fetched.pop_front() else { return Ok(None) };
        let topic = match self.last_topic {
            Some((tag, topic)) if tag == record.topic_tag() => topic,
            _ => {
                // The subscription is by name: nothing else comes.
                let topic = self.number_of(record.origin().topic).unwrap_or(0);
                self.last_topic = Some((record.topic_tag(), topic));
                topic
            }
        };
        let partition = Partition { topic, partition: record.partition() };
        Ok(Some(Held { record, partition, assignment: self.fetched_under }))
    }

    /// Takes part in the group without taking records.
    pub(super) fn serve(&self) -> Result<(), KafkaError> {
        self.consumer.serve(Duration::ZERO)
    }

    /// The next group event.
    pub(super) fn next_event(&self) -> Option<GroupEvent> {
        self.consumer.next_event()
    }

    /// How many assignments there have been.
    pub(super) fn assignments(&self) -> u64 {
        self.assignments
    }

    /// The number of an assignment that begins now: what was polled before it is told apart.
    pub(super) fn next_assignment(&mut self) -> u64 {
        self.assignments += 1;
        self.assignments
    }

    /// Whether fetching is stopped.
    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Takes up partitions that the group gives to this worker.
    pub(super) fn take_up(&mut self, partitions: Vec<TopicPartition>, ledger: &mut Ledger) -> Result<(), KafkaError> {
        match self.starts(&partitions, COMMITTED_TIMEOUT) {
            Ok(starts) => {
                self.consumer.assign(&starts)?;
                self.started(starts);
            }
            Err(error) => {
                tracing::info!(%error, "the committed offsets aren't told; the partitions wait for them");
                // Paused, they stand anywhere.
                let anywhere: Vec<_> = partitions.iter().map(|partition| (partition.clone(), Some(0))).collect();
                self.consumer.assign(&anywhere)?;
                self.unstarted.extend_from_slice(&partitions);
                self.start_due = Instant::now() + START_INTERVAL;
            }
        }
        let waiting = self.waiting(&partitions);
        if !waiting.is_empty() {
            self.consumer.pause(&waiting)?;
        }
        let assignment = self.next_assignment();
        for partition in &partitions {
            if let Some(numbered) = self.numbered(partition) {
                ledger.assign(numbered, assignment);
            }
        }
        self.assigned.extend(partitions);
        Ok(())
    }

    /// Starts the partitions whose start wasn't known, if it is told now.
    fn start_if_due(&mut self) -> Result<(), KafkaError> {
        if self.unstarted.is_empty() || Instant::now() < self.start_due {
            return Ok(());
        }
        self.start_due = Instant::now() + START_INTERVAL;
        // librdkafka may still be stopping a partition that has just gone and come back.
        let sought = self.starts(&self.unstarted, START_TIMEOUT).and_then(|starts| {
            self.consumer.seek(&starts, SEEK_TIMEOUT)?;
            Ok(starts)
        });
        let starts = match sought {
            Ok(starts) => starts,
            Err(error) => {
                tracing::debug!(%error, "the partitions wait for their committed offsets");
                return Ok(());
            }
        };
        self.started(starts);
        let started = std::mem::take(&mut self.unstarted);
        tracing::info!(partitions = started.len(), "the committed offsets are told; the partitions are consumed");
        self.resume(&started)
    }

    fn started(&mut self, starts: Vec<Start>) {
        self.started_at.extend(starts.into_iter().filter_map(|(partition, start)| Some((partition, start?))));
    }

    /// Where each of these partitions begins: at the group's commit, if there is one.
    fn starts(&self, partitions: &[TopicPartition], timeout: Duration) -> Result<Vec<Start>, KafkaError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let committed: HashMap<_, _> = self.consumer.committed(partitions, timeout)?.into_iter().collect();
        Ok(partitions.iter().map(|partition| (partition.clone(), committed.get(partition).copied())).collect())
    }

    /// Lets partitions go, and closes their books.
    pub(super) fn let_go(&mut self, partitions: &[TopicPartition], ledger: &mut Ledger) -> Result<(), KafkaError> {
        for partition in partitions {
            if let Some(numbered) = self.numbered(partition) {
                ledger.revoke(numbered);
            }
        }
        // A pause outlives its assignment: what goes while it is paused would come back so, and stand still. Resumed
        // only after it has come back, it might be fetched from its start a second time.
        let waiting = self.waiting(partitions);
        if !waiting.is_empty() {
            self.consumer.resume(&waiting)?;
        }
        self.assigned.retain(|assigned| !partitions.contains(assigned));
        self.unstarted.retain(|unstarted| !partitions.contains(unstarted));
        self.started_at.retain(|partition, _| !partitions.contains(partition));
        self.silences.retain(|partition, _| !partitions.contains(partition));
        self.consumer.unassign(partitions)
    }

    /// Stops fetching, or starts again.
    pub(super) fn set_paused(&mut self, paused: bool) -> Result<(), KafkaError> {
        if self.paused == paused {
            return Ok(());
        }
        self.paused = paused;
        if paused {
            return self.consumer.pause(&self.assigned);
        }
        self.resume(&self.assigned)
    }

    /// Stops fetching these topics, by their numbers, or starts again.
    pub(super) fn set_closed(&mut self, topics: &[usize], closed: bool) -> Result<(), KafkaError> {
        topics.iter().for_each(|&topic| self.closed[topic] = closed);
        if self.paused {
            return Ok(());
        }
        let is_meant = |partition: &&TopicPartition| topics.iter().any(|&topic| self.topics[topic] == partition.topic);
        let meant: Vec<_> = self.assigned.iter().filter(is_meant).cloned().collect();
        if closed { self.consumer.pause(&meant) } else { self.resume(&meant) }
    }

    /// Fetches those of `partitions` again that nothing keeps waiting.
    fn resume(&self, partitions: &[TopicPartition]) -> Result<(), KafkaError> {
        let open: Vec<_> = partitions.iter().filter(|partition| !self.is_waiting(partition)).cloned().collect();
        self.consumer.resume(&open)
    }

    /// Those of `partitions` that are not to be fetched now.
    fn waiting(&self, partitions: &[TopicPartition]) -> Vec<TopicPartition> {
        partitions.iter().filter(|partition| self.is_waiting(partition)).cloned().collect()
    }

    fn is_waiting(&self, partition: &TopicPartition) -> bool {
        self.paused || self.is_closed(partition) || self.unstarted.contains(partition)
    }

    fn is_closed(&self, partition: &TopicPartition) -> bool {
        self.number_of(&partition.topic).is_some_and(|topic| self.closed[topic])
    }

    /// Starts a commit of what is done, unless one is under way or nothing is new.
    pub(super) fn start_commit(&mut self, ledger: &Ledger) -> Result<(), KafkaError> {
        let offsets = ledger.committable();
        #[cfg(feature = "planted-bugs")]
        let offsets = planted::offsets(ledger, offsets);
        if self.commit.is_some() || offsets.is_empty() {
            return Ok(());
        }
        self.consumer.start_commit(&self.named(&offsets))?;
        self.commit = Some(offsets);
        Ok(())
    }

    /// Offsets with the names of their topics.
    pub(super) fn named(&self, offsets: &[(Partition, i64)]) -> Vec<(TopicPartition, i64)> {
        let named = |&(Partition { topic, partition }, offset): &(Partition, i64)| {
            (TopicPartition { topic: self.topics[topic].clone(), partition }, offset)
        };
        offsets.iter().map(named).collect()
    }

    /// What a transaction needs to commit offsets in this member's name.
    pub(super) fn group_metadata(&self) -> Option<GroupMetadata> {
        #[cfg(feature = "planted-bugs")]
        if planted::in_nobodys_name() {
            return self.consumer.outsiders_metadata();
        }
        self.consumer.group_metadata()
    }

    /// Up to where the group has committed each of these partitions, or its offset as given, where there is no commit
    /// yet. Blocks for a second at the most.
    pub(super) fn committed(&self, starts: &[(Partition, i64)]) -> Result<Vec<(Partition, i64)>, KafkaError> {
        let (names, _): (Vec<_>, Vec<_>) = self.named(starts).into_iter().unzip();
        let committed = self.starts(&names, COMMITTED_TIMEOUT)?.into_iter().zip(starts);
        Ok(committed.map(|((_, committed), &(partition, start))| (partition, committed.unwrap_or(start))).collect())
    }

    /// Consumes partitions on from these offsets.
    pub(super) fn seek(&mut self, offsets: &[(Partition, i64)]) -> Result<(), KafkaError> {
        let start = |(partition, offset)| (partition, Some(offset));
        let starts: Vec<_> = self.named(offsets).into_iter().map(start).collect();
        self.consumer.seek(&starts, SEEK_TIMEOUT)?;
        // A seek leaves no position until something is consumed.
        self.started(starts);
        Ok(())
    }

    /// The outcome of the commit under way, if it comes in time.
    pub(super) fn finish_commit(&mut self, timeout: Duration, ledger: &mut Ledger) -> Option<Result<(), KafkaError>> {
        self.commit.as_ref()?;
        let result = self.consumer.commit_result(timeout)?;
        let offsets = self.commit.take()?;
        if result.is_ok() {
            for (partition, offset) in offsets {
                ledger.committed(partition, offset);
            }
        }
        Some(result)
    }

    /// Whether a commit is under way.
    pub(super) fn is_committing(&self) -> bool {
        self.commit.is_some()
    }

    /// How many records of each assigned partition are still to be consumed, where that is known. Taken from the
    /// position, not from commits: offsets have gaps (compaction, control records).
    pub(super) fn lag(&mut self, now: Instant) -> Vec<(TopicPartition, i64)> {
        self.consumer.attach(&self.assigned);
        let mut positions = self.started_at.clone();
        positions.extend(self.consumer.positions());
        self.wake_a_silent_one(&positions, now);
        // After one question that nobody answers, none is asked any more.
        let mut brokers_answer = true;
        let mut end = |partition: &TopicPartition| {
            if brokers_answer && self.is_waiting(partition) {
                let asked = self.consumer.ask_end(partition, END_TIMEOUT);
                brokers_answer = asked.is_ok();
                return asked.ok();
            }
            self.consumer.end(partition)
        };
        let lag = |(partition, position): (TopicPartition, i64)| {
            let asked = self.silences.get(&partition).and_then(|silence| silence.end);
            let behind = (end(&partition).max(asked)? - position).max(0);
            Some((partition, behind))
        };
        positions.into_iter().filter_map(lag).collect()
    }

    /// Looks at one partition of which nothing has come for a while, and fetches it anew if there is something.
    ///
    /// librdkafka can leave a partition unfetched for ever: when its leader goes away while the offset's epoch is being
    /// validated, it waits in `validate-epoch-wait` for a retry that never comes (its issue 4492), and says nothing. A
    /// seek ends that. Where only a transaction's marker is left to read, it changes nothing.
    fn wake_a_silent_one(&mut self, positions: &HashMap<TopicPartition, i64>, now: Instant) {
        for (partition, &position) in positions {
            let silence = self.silences.entry(partition.clone()).or_insert_with(|| Silence::new(position, now));
            if silence.position != position {
                *silence = Silence::new(position, now);
            }
        }
        if self.paused {
            return;
        }
        let silent = self.silences.iter().filter(|(partition, silence)| {
            now.saturating_duration_since(silence.since) >= SILENT_AFTER && !self.is_closed(partition)
        });
        // One a second, each in its turn: a question to the brokers takes the worker's time.
        let Some((partition, _)) = silent.min_by_key(|(_, silence)| silence.looked_at) else { return };
        let partition = partition.clone();
        let Some(silence) = self.silences.get_mut(&partition) else { return };
        silence.looked_at = now;
        let Ok(end) = self.consumer.ask_end(&partition, END_TIMEOUT) else { return };
        if end <= silence.position || silence.end == Some(end) {
            return;
        }
        silence.end = Some(end);
        let (topic, number) = (partition.topic.clone(), partition.partition);
        let records = end - silence.position;
        match self.consumer.seek(&[(partition, Some(silence.position))], SEEK_TIMEOUT) {
            Ok(()) => tracing::info!(topic, partition = number, records, "nothing has come for a while: fetching anew"),
            Err(error) => tracing::warn!(topic, partition = number, records, %error, "fetching anew failed"),
        }
    }

    fn numbered(&self, partition: &TopicPartition) -> Option<Partition> {
        Some(Partition { topic: self.number_of(&partition.topic)?, partition: partition.partition })
    }

    fn number_of(&self, topic: &str) -> Option<usize> {
        self.topics.iter().position(|name| name == topic)
    }
}

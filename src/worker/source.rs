//! The consuming end of a worker: records in, route by route; what the table of partitions orders, carried out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::WorkerError;
use super::brokers::Brokers;
use super::partitions::{Lease, NewLog, PollOutcome, SILENT_AFTER, WokenPartition};
use super::ports::{Clients, GroupConsumer, InputRecord};
use crate::kafka;
use crate::kafka::consumer::{FetchError, FetchEvent, Position, TopicPartition, TopicTag};
use crate::kafka::refusal::is_unreadable;
use crate::kafka::watch::TopicSnapshot;

/// After so long without a record a partition's queue is attached again: librdkafka undoes that when it stops a partition, in its
/// own time.
const ATTACH_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Seeks fail for a moment while librdkafka still stops a partition. So many in a row, one each half second, are logged.
const FAILED_SEEKS_LOGGED: u32 = 20;

/// A record that the worker holds.
pub(super) struct PolledRecord<R> {
    pub(super) record: R,
    /// Valid as long as its outcome may go out.
    pub(super) lease: Lease,
    /// The number of its topic.
    pub(super) topic: usize,
}

/// What was fetched of a route's topics and not handed out yet.
pub(super) struct RouteQueue<R> {
    fetched: VecDeque<FetchEvent<R>>,
    /// How many leases there had been then.
    fetched_under: u64,
    /// The last record's topic and its number: mostly also the next one's. Forgotten with each fetch, since a tag
    /// distinguishes topics only among records that are held.
    last_topic: Option<(TopicTag, usize)>,
    /// Whether it was asked for records since silence was last looked for. A route that waits doesn't ask: what has come for it stays
    /// in the consumer, and its partitions aren't silent.
    is_asked: bool,
}

impl<R> Default for RouteQueue<R> {
    fn default() -> Self {
        RouteQueue { fetched: VecDeque::new(), fetched_under: 0, last_topic: None, is_asked: false }
    }
}

impl<'c, K: Clients> Brokers<'c, K> {
    /// The next record of a route, if one has come.
    pub(super) fn poll(
        &mut self,
        route: usize,
        now: Instant,
    ) -> Option<PolledRecord<<K::Consumer as GroupConsumer>::Record<'c>>> {
        loop {
            let queue = &mut self.queues[route];
            if queue.fetched.is_empty() {
                queue.is_asked = true;
                self.consumer.fetch(route, &mut queue.fetched);
                queue.fetched_under = self.partitions.lease_count();
                queue.last_topic = None;
            }
            let record = match queue.fetched.pop_front()? {
                FetchEvent::Record(record) => record,
                FetchEvent::Error(error) => {
                    self.fetch_failed(&error, now);
                    continue;
                }
            };
            let topic = match queue.last_topic {
                Some((tag, topic)) if tag == record.topic_tag() => topic,
                _ => {
                    // The subscription is by name: nothing else comes.
                    let Some(topic) = self.partitions.topic_number(record.origin().topic) else { continue };
                    queue.last_topic = Some((record.topic_tag(), topic));
                    topic
                }
            };
            let (partition, offset, leader_epoch) = (record.partition(), record.offset(), record.leader_epoch());
            match self.partitions.poll(topic, partition, offset, leader_epoch, queue.fetched_under) {
                PollOutcome::Next(lease) => return Some(PolledRecord { record, lease, topic }),
                PollOutcome::Stale => {}
                PollOutcome::LogWentBack { from } => {
                    self.log_went_back(topic, partition, from, Position { offset, leader_epoch }, now);
                }
            }
        }
    }

    /// The log of a partition is shorter than it was: its topic was created again, or a leader lost records. It is consumed
    /// from the first record that has come.
    fn log_went_back(&mut self, topic: usize, partition: i32, from: i64, to: Position, now: Instant) {
        let name = self.partitions.topic(topic).to_owned();
        tracing::warn!(
            topic = name,
            partition,
            from,
            to = to.offset,
            "offsets went back: the topic was created again, or a leader lost records; consuming the log as it is now"
        );
        self.metrics.offset_reset(&name);
        self.restart(topic, partition, NewLog { position: to, topic_id: None }, now);
        self.ask_for_identities();
    }

    /// A topic may have been deleted, and perhaps created again: its partitions wait until it is known which topic it is.
    pub(super) fn suspect(&mut self, topic: &str, now: Instant) {
        if let Some(topic) = self.partitions.topic_number(topic) {
            self.partitions.suspect(topic, now);
            self.ask_for_identities();
        }
    }

    /// Asks for a snapshot now, if partitions wait for one to say which topic they belong to.
    pub(super) fn ask_for_identities(&self) {
        if self.partitions.has_unidentified() {
            self.surroundings.refresh_topics();
        }
    }

    fn restart(&mut self, topic: usize, partition: i32, log: NewLog, now: Instant) {
        let is_transactional = self.transaction.is_some();
        self.has_new_starts = true;
        if self.partitions.restart(topic, partition, log, is_transactional, now, &mut self.unlisted) {
            self.doubt_transaction("a log was replaced, and records of it are consumed again");
        }
        self.ledger.unlist(&mut self.unlisted);
    }

    /// An error came in place of records.
    pub(super) fn fetch_failed(&mut self, error: &FetchError, now: Instant) {
        let FetchError { topic, partition, source } = error;
        tracing::warn!(target: "weir::kafka", topic, partition, error = %source, "a partition can't be fetched");
        self.metrics.consumer_error(topic);
        if kafka::is_unknown_topic(source) {
            self.suspect(topic, now);
        }
        let partition = TopicPartition { topic: topic.clone(), partition: *partition };
        self.partitions.failed(&partition, source.to_string(), is_unreadable(source), now);
    }

    /// Carries out what the table of partitions orders, and learns where partitions begin.
    pub(super) fn carry_out_orders(&mut self, now: Instant) -> Result<(), WorkerError> {
        self.learn_starts(now)?;
        let orders = self.partitions.orders(now);
        if orders.is_empty() {
            return Ok(());
        }
        if !orders.pause.is_empty() {
            self.consumer.pause(&orders.pause)?;
        }
        let failed = self.seek(&orders.seek);
        self.partitions.seek_failed(&failed, &orders.resume, now);
        let resume: Vec<_> = orders.resume.into_iter().filter(|partition| !failed.contains(partition)).collect();
        if !resume.is_empty() {
            self.consumer.resume(&resume)?;
        }
        Ok(())
    }

    /// Seeks, and returns the partitions that could not be sought.
    fn seek(&mut self, positions: &[(TopicPartition, Position)]) -> Vec<TopicPartition> {
        if positions.is_empty() {
            return Vec::new();
        }
        let failed = self.consumer.seek(positions).unwrap_or_else(|error| {
            positions.iter().map(|(partition, _)| (partition.clone(), error.clone())).collect()
        });
        self.failed_seeks = if failed.is_empty() { 0 } else { self.failed_seeks + 1 };
        let is_logged = self.failed_seeks.is_multiple_of(FAILED_SEEKS_LOGGED);
        for (TopicPartition { topic, partition }, error) in failed.iter().filter(|_| is_logged) {
            tracing::warn!(topic, partition, %error, "a partition can't be sought; it is tried again");
        }
        failed.into_iter().map(|(partition, _)| partition).collect()
    }

    /// Takes note of the topics as they were last seen: one that was created again is consumed from its beginning, and a
    /// partition that has more than librdkafka fetches is fetched anew.
    pub(super) fn note_topics(&mut self, snapshot: &TopicSnapshot, now: Instant) {
        for topic in 0..self.partitions.topic_count() {
            let Some(facts) = snapshot.topics.get(self.partitions.topic(topic)) else { continue };
            self.partitions.note_count(topic, facts.partitions);
            let Some(id) = facts.id.filter(|_| !snapshot.stale.contains(self.partitions.topic(topic))) else {
                continue;
            };
            for partition in self.partitions.identify(topic, id, snapshot.asked_at) {
                let name = self.partitions.topic(topic).to_owned();
                tracing::warn!(topic = name, partition, "the topic was created again; consuming it from its beginning");
                self.metrics.offset_reset(&name);
                self.restart(topic, partition, NewLog { position: Position::at(0), topic_id: Some(id) }, now);
            }
        }
        for (partition, &end) in snapshot.ends.iter() {
            let Some(route) = self.partitions.route_of(partition) else { continue };
            // What has come and wasn't looked at yet is no silence.
            if !self.queues[route].fetched.is_empty() {
                continue;
            }
            if let Some(WokenPartition { records, times }) = self.partitions.wake(partition, end, now) {
                let TopicPartition { topic, partition } = partition;
                tracing::info!(topic, partition, records, times, "nothing has come for a while; fetching again");
            }
        }
    }

    /// Looks for partitions of which nothing comes, once a second.
    ///
    /// librdkafka can leave a partition unfetched for ever: when its leader goes away while the offset's epoch is being
    /// validated, it waits in `validate-epoch-wait` for a retry that never comes (confluentinc/librdkafka#4492), and says
    /// nothing. A seek mostly ends that. The control plane asks for the ends; where only a transaction's marker is left to read,
    /// seeks change nothing, so there are three for each end at most.
    pub(super) fn look_for_silence(&mut self, now: Instant) {
        let asked: Vec<bool> = self.queues.iter_mut().map(|queue| std::mem::take(&mut queue.is_asked)).collect();
        self.partitions.note_silence(now, |route| asked[route]);
        for (route, partition) in self.partitions.silent(now, ATTACH_AGAIN_AFTER) {
            self.consumer.attach(route, &partition);
        }
        self.surroundings.request_ends(self.partitions.ends_wanted(now, |route| asked[route]));
        self.look_for_open_transactions(now);
        self.ask_for_identities();
        debug_assert!(ATTACH_AGAIN_AFTER < SILENT_AFTER);
    }

    /// Looks for partitions that an open transaction of their producer holds back.
    fn look_for_open_transactions(&mut self, now: Instant) {
        for (partition, &stable_end) in self.surroundings.topics().ends.iter() {
            let Some(end) = self.consumer.end(partition) else { continue };
            if let Some(offsets) = self.partitions.note_stable_end(partition, stable_end, end, now) {
                let TopicPartition { topic, partition } = partition;
                tracing::warn!(
                    topic,
                    partition,
                    offsets,
                    "a transaction of the topic's producer stays open; what comes after it can't be consumed before its end"
                );
            }
        }
    }

    /// Reports where each partition is consumed and how many records are still to come, where that is known. Taken from the
    /// cursor, not from commits: offsets have gaps (compaction, control records).
    pub(super) fn report_lag(&mut self) {
        let snapshot = self.surroundings.topics();
        for (partition, cursor) in self.partitions.cursors() {
            let end = self.consumer.end(&partition).max(snapshot.ends.get(&partition).copied());
            if let Some(end) = end {
                self.metrics.position(&partition.topic, partition.partition, cursor, end);
            }
        }
    }
}

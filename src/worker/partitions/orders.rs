//! What the consumer has to do, and which partitions stand still.

use std::time::{Duration, Instant};

use super::{
    Entry, Orders, PartitionTable, RETRY, SILENT_AFTER, State, TROUBLE_SHOWN, UNREADABLE_RETRY, WokenPartition,
};
use crate::kafka::consumer::{Position, TopicPartition};

/// How often a silent partition is fetched anew for the same end: behind its last record there may be only markers.
const MOST_WAKES: u32 = 3;

impl PartitionTable {
    /// An error came instead of records of a partition. `is_unreadable` says that librdkafka goes on after the data that it
    /// couldn't read: then the partition waits, and the data is fetched again. What was polled before it may still go out:
    /// it often comes along with the error, and would never get out otherwise.
    pub(crate) fn failed(&mut self, partition: &TopicPartition, reason: String, is_unreadable: bool, now: Instant) {
        let Some(slot) = self.find(partition) else { return };
        let entry = self.entry_mut(slot);
        if is_unreadable && !entry.is_waiting() {
            entry.state = State::Unreadable { reason, due: now + UNREADABLE_RETRY };
        } else {
            entry.trouble = Some((reason, now));
        }
        self.changed.push(slot);
    }

    /// Why partitions are not consumed, as "topic [partition]: reason".
    pub(crate) fn troubles(&self, now: Instant) -> Vec<String> {
        let trouble = |entry: &Entry| {
            let reason = match &entry.state {
                State::Unreadable { reason, .. } => Some(reason),
                State::Unstarted { reason } => reason.as_ref(),
                _ => None,
            };
            let recent = || entry.trouble.as_ref().filter(|(_, at)| now.saturating_duration_since(*at) < TROUBLE_SHOWN);
            let reason = reason.or_else(|| recent().map(|(reason, _)| reason)).cloned();
            let reason = reason.or_else(|| entry.held_back.as_ref()?.trouble(now))?;
            Some(format!("{} [{}]: {reason}", self.topics[entry.topic].name, entry.partition))
        };
        self.iter().filter_map(trouble).collect()
    }

    /// What the consumer has to do now.
    pub(crate) fn orders(&mut self, now: Instant) -> Orders {
        let mut orders = Orders::default();
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        for slot in changed {
            let Some(entry) = &self.entries[slot as usize] else { continue };
            let name = self.name(entry);
            let number = self.next_number();
            let entry = self.entry_mut(slot);
            match (&entry.state, entry.cursor) {
                (State::Unstarted { .. } | State::Unreadable { .. } | State::Unidentified, _) => {
                    if !std::mem::replace(&mut entry.is_paused, true) {
                        orders.pause.push(name);
                    }
                    let due = match &self.entry(slot).state {
                        State::Unreadable { due, .. } => *due,
                        // What learns its start, or its topic, orders what follows.
                        _ => continue,
                    };
                    if due <= now {
                        self.refetch_slot(slot, None, now);
                    } else {
                        self.changed.push(slot);
                    }
                }
                (State::Seeking { due }, Some(cursor)) if *due <= now => {
                    entry.state = State::Open;
                    // What was fetched until now came from another position.
                    entry.lease = number;
                    if std::mem::replace(&mut entry.is_paused, false) {
                        orders.resume.push(name.clone());
                    }
                    // A seek changed nothing: perhaps librdkafka waits for its check of the epoch.
                    let leader_epoch = cursor.leader_epoch.filter(|_| entry.wakes < 2);
                    orders.seek.push((name, Position { leader_epoch, ..cursor }));
                }
                (State::Seeking { .. }, _) => self.changed.push(slot),
                (State::Open, _) => {}
            }
        }
        orders
    }

    /// These partitions could not be sought, and none of them was resumed that were to be: both are ordered again after a moment.
    /// librdkafka may still be stopping a partition that has just gone and come back.
    pub(crate) fn seek_failed(&mut self, failed: &[TopicPartition], resume: &[TopicPartition], now: Instant) {
        for partition in failed {
            let Some(slot) = self.find(partition) else { continue };
            let is_paused = resume.contains(partition);
            let entry = self.entry_mut(slot);
            entry.is_paused |= is_paused;
            if entry.is_open() {
                entry.state = State::Seeking { due: now + RETRY };
            }
            self.changed.push(slot);
        }
    }

    /// Looks at all partitions, about once a second: of which has nothing come since the last look? `asked` says whether a
    /// route has asked for records since.
    pub(crate) fn note_silence(&mut self, now: Instant, asked: impl Fn(usize) -> bool) {
        for entry in self.entries.iter_mut().flatten() {
            let is_heard = std::mem::take(&mut entry.heard);
            if is_heard {
                entry.held_back = None;
            }
            if is_heard || !asked(self.topics[entry.topic].route) || !entry.is_open() {
                entry.heard_at = now;
            }
            if entry.trouble.as_ref().is_some_and(|(_, at)| *at < entry.heard_at && *at + TROUBLE_SHOWN < now) {
                entry.trouble = None;
            }
        }
    }

    /// The partitions of which nothing has come for at least so long, each with its route.
    pub(crate) fn silent(&self, now: Instant, least: Duration) -> Vec<(usize, TopicPartition)> {
        let is_silent = |entry: &&Entry| entry.is_open() && now.saturating_duration_since(entry.heard_at) >= least;
        self.iter().filter(is_silent).map(|entry| (self.topics[entry.topic].route, self.name(entry))).collect()
    }

    /// The partitions whose end no fetch reports: silent ones, and those of routes that don't ask for records.
    pub(crate) fn ends_wanted(&self, now: Instant, asked: impl Fn(usize) -> bool) -> Vec<TopicPartition> {
        self.named(|entry| {
            !entry.is_open()
                || !asked(self.topics[entry.topic].route)
                || now.saturating_duration_since(entry.heard_at) >= SILENT_AFTER
        })
    }

    /// Whether there is more of a silent partition than librdkafka fetches: then it is fetched anew, up to three times for each
    /// end, one each [`SILENT_AFTER`].
    pub(crate) fn wake(&mut self, partition: &TopicPartition, end: i64, now: Instant) -> Option<WokenPartition> {
        let slot = self.find(partition)?;
        let entry = self.entry_mut(slot);
        let records = end - entry.cursor?.offset;
        let is_silent = entry.is_open() && now.saturating_duration_since(entry.heard_at) >= SILENT_AFTER;
        let wakes = if entry.woken_for == Some(end) { entry.wakes } else { 0 };
        if !is_silent || records <= 0 || wakes >= MOST_WAKES {
            return None;
        }
        (entry.woken_for, entry.wakes) = (Some(end), wakes + 1);
        entry.heard_at = now;
        let woken = WokenPartition { records, times: entry.wakes };
        self.refetch_slot(slot, None, now);
        Some(woken)
    }

    /// The cursor of each partition that has one.
    pub(crate) fn cursors(&self) -> impl Iterator<Item = (TopicPartition, i64)> {
        self.iter().filter_map(|entry| Some((self.name(entry), entry.cursor?.offset)))
    }
}

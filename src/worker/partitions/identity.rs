//! Which topic of its name a partition belongs to.
//!
//! A topic that is deleted and created again has the same name and other records. Clients fetch by name, so nothing in a record
//! says which of the two it comes from. A commit names the topic's id, so that an offset of the old topic is never taken for one
//! of the new. For that, records of the new topic may not be taken for the old one's: where something indicates that the topic
//! may be another one, its partitions wait until a snapshot says so.

use std::time::Instant;

use super::{Entry, PartitionTable, State};
use crate::kafka::admin::TopicId;

impl Entry {
    /// Whether nothing is known yet that it could be consumed from.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Unstarted { .. } | State::Unidentified)
    }

    /// The topic is this one from now on, as far as that is known. Otherwise the partition waits for a snapshot that is asked for
    /// later, unless the brokers have no ids.
    pub(super) fn identify_later(&mut self, topic_id: Option<TopicId>, now: Instant) {
        self.identified_after = now;
        if topic_id.is_some() {
            self.topic_id = topic_id;
            self.state = State::Seeking { due: now };
        } else if self.topic_id.is_some() {
            self.state = State::Unidentified;
        }
    }
}

impl PartitionTable {
    /// The topic may have been deleted, and perhaps created again. What was fetched of it and not handed over yet is dropped.
    /// Its partitions wait until a snapshot says which topic it is, if the brokers have ids.
    pub(crate) fn suspect(&mut self, topic: usize, now: Instant) {
        let is_meant = |entry: &Entry| entry.topic == topic && !entry.is_waiting() && entry.topic_id.is_some();
        for slot in 0..self.entries.len() as u32 {
            if self.entries[slot as usize].as_ref().is_some_and(is_meant) {
                self.refetch_slot(slot, None, now);
                self.entry_mut(slot).identify_later(None, now);
            }
        }
    }

    /// Whether partitions wait until a snapshot says which topic they belong to.
    pub(crate) fn has_unidentified(&self) -> bool {
        self.iter().any(|entry| entry.state == State::Unidentified)
    }

    /// Takes note of which topic has this name, as of a snapshot that was asked for at `asked_at`. Returns the partitions whose
    /// position belongs to another topic: it was deleted and created again, and they are to be started anew.
    pub(crate) fn identify(&mut self, topic: usize, id: TopicId, asked_at: Instant) -> Vec<i32> {
        let mut replaced = Vec::new();
        for (slot, entry) in self.entries.iter_mut().enumerate() {
            let Some(entry) = entry.as_mut().filter(|entry| entry.topic == topic) else { continue };
            if asked_at <= entry.identified_after {
                continue;
            }
            if entry.topic_id.replace(id).is_some_and(|before| before != id) && entry.cursor.is_some() {
                replaced.push(entry.partition);
            } else if entry.state == State::Unidentified {
                entry.state = State::Seeking { due: asked_at };
                self.changed.push(slot as u32);
            }
        }
        replaced
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::kafka::consumer::{Commit, Position, Start, StartPoint, TopicPartition};
    use crate::worker::partitions::{NewLog, PollOutcome};

    const COMMITTED: Position = Position { offset: 5, leader_epoch: Some(0) };

    fn partition() -> TopicPartition {
        TopicPartition { topic: "t".into(), partition: 0 }
    }

    /// A partition that is consumed from a commit of topic 1.
    fn table(now: Instant) -> PartitionTable {
        let mut table = PartitionTable::new([("t".to_owned(), 0)]);
        table.assign(&[partition()], now);
        let start = Start { point: StartPoint::Committed(COMMITTED), topic_id: Some(TopicId(1)) };
        table.start(&partition(), start, true, now);
        table
    }

    #[test]
    fn a_partition_of_a_suspect_topic_waits_until_a_snapshot_that_is_asked_for_later_names_it() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut table = table(now);
        table.suspect(0, now);
        assert!(table.has_unidentified());
        assert_eq!(table.orders(now).pause, [partition()]);
        assert_eq!(table.poll(0, 0, 5, Some(0), table.lease_count()), PollOutcome::Stale);
        assert_eq!(table.identify(0, TopicId(1), now), [] as [i32; 0]);
        assert!(table.has_unidentified(), "that snapshot may be older");
        assert_eq!(table.identify(0, TopicId(1), later), [] as [i32; 0]);
        let orders = table.orders(later);
        assert_eq!((orders.seek, orders.resume), (vec![(partition(), COMMITTED)], vec![partition()]));
    }

    #[test]
    fn a_suspect_topic_that_is_another_one_is_started_anew() {
        let now = Instant::now();
        let mut table = table(now);
        table.suspect(0, now);
        assert!(table.has_unidentified());
        assert_eq!(table.identify(0, TopicId(2), now + Duration::from_secs(1)), [0]);
    }

    #[test]
    fn an_abort_leaves_a_log_that_was_replaced_unidentified() {
        let now = Instant::now();
        let replaced_where_snapshot_names = |id: u128| {
            let mut table = table(now);
            // Offsets have gone back: of a truncated log or of a new topic, nobody knows yet.
            let log = NewLog { position: Position::at(0), topic_id: None };
            table.restart(0, 0, log, true, now, &mut Vec::new());
            let commit = Commit { partition: partition(), position: COMMITTED, topic_id: Some(TopicId(1)) };
            table.rewind_to(&partition(), Some(commit), now);
            assert!(table.has_unidentified());
            table.identify(0, TopicId(id), now + Duration::from_secs(1))
        };
        assert_eq!(replaced_where_snapshot_names(1), [] as [i32; 0]);
        assert_eq!(replaced_where_snapshot_names(2), [0]);
    }

    #[test]
    fn a_commit_that_is_gone_makes_its_topic_suspect() {
        let now = Instant::now();
        let mut table = table(now);
        table.rewind_to(&partition(), None, now);
        assert!(table.has_unidentified());
    }
}

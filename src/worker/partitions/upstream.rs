//! Records that an open transaction of their producer keeps from being read.
//!
//! Nothing after the first record of an open transaction is handed out to a consumer that reads what is committed. A producer
//! that hangs, or a transaction that lost its marker, stops the partition, and nothing is wrong with weir or its outputs. It
//! shows in two offsets: the one where what is committed ends stays where it is, and the log ends after it.

use std::time::{Duration, Instant};

use super::{Entry, PartitionTable};
use crate::kafka::consumer::TopicPartition;

/// An open transaction is reported after so long in which nothing is committed.
const HELD_AFTER: Duration = Duration::from_secs(20);

/// And makes the worker unready after so long, Kafka's default of `transaction.timeout.ms`: some producers, such as those that
/// commit with their checkpoints, leave transactions open for most of that.
const HELD_LONG_AFTER: Duration = Duration::from_secs(60);

/// An open transaction of the producer of a partition.
#[derive(Debug)]
pub(super) struct HeldBack {
    /// Where what is committed ends.
    stable_end: i64,
    /// How many offsets the log has after that.
    offsets: i64,
    since: Instant,
    is_reported: bool,
}

impl HeldBack {
    fn time(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Why nothing comes of its partition, if that has lasted for long.
    pub(super) fn trouble(&self, now: Instant) -> Option<String> {
        let (time, offsets) = (self.time(now), self.offsets);
        (time >= HELD_LONG_AFTER).then(|| {
            let seconds = time.as_secs();
            format!(
                "a transaction of its producer has been open for {seconds} s, and {offsets} offsets wait for its end"
            )
        })
    }
}

impl PartitionTable {
    /// Notes where what is committed of a partition ends, and where its log ends. Returns how many offsets an open transaction
    /// holds back: once, when that has lasted for a while.
    pub(crate) fn note_stable_end(
        &mut self,
        partition: &TopicPartition,
        stable_end: i64,
        end: i64,
        now: Instant,
    ) -> Option<i64> {
        let slot = self.find(partition)?;
        let held_back = &mut self.entry_mut(slot).held_back;
        let offsets = end - stable_end;
        if offsets <= 0 {
            *held_back = None;
            return None;
        }
        let held = held_back.get_or_insert(HeldBack { stable_end, offsets, since: now, is_reported: false });
        if held.stable_end != stable_end {
            *held = HeldBack { stable_end, offsets, since: now, is_reported: false };
        }
        held.offsets = offsets;
        let is_new = held.time(now) >= HELD_AFTER && !std::mem::replace(&mut held.is_reported, true);
        is_new.then_some(offsets)
    }

    /// The routes of which an open transaction holds records back, some of them perhaps more than once.
    pub(crate) fn held_back_routes(&self, now: Instant) -> impl Iterator<Item = usize> {
        let is_held = move |entry: &&Entry| entry.held_back.as_ref().is_some_and(|held| held.time(now) >= HELD_AFTER);
        self.iter().filter(is_held).map(|entry| self.topics[entry.topic].route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::consumer::{Position, Start, StartPoint};

    /// One partition of route 0, consumed from offset 5 on.
    fn table(now: Instant) -> (PartitionTable, TopicPartition) {
        let partition = TopicPartition { topic: "t".into(), partition: 0 };
        let mut table = PartitionTable::new([("t".to_owned(), 0)]);
        table.assign(std::slice::from_ref(&partition), now);
        let at = Start { point: StartPoint::Committed(Position::at(5)), topic_id: None };
        table.start(&partition, at, true, now);
        (table, partition)
    }

    fn held_back(table: &PartitionTable, now: Instant) -> Vec<usize> {
        table.held_back_routes(now).collect()
    }

    #[test]
    fn a_transaction_is_named_when_nothing_is_committed_for_long() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let (mut table, partition) = table(start);
        assert_eq!(table.note_stable_end(&partition, 5, 5, start), None, "nothing is open");
        // Transactions follow one another.
        for second in 0..60 {
            assert_eq!(table.note_stable_end(&partition, 5 + second as i64 / 10, 99, after(second)), None);
        }
        assert_eq!(held_back(&table, after(60)), [0; 0]);
        // This one hangs.
        let reports: Vec<_> = (60..200).filter_map(|at| table.note_stable_end(&partition, 20, 99, after(at))).collect();
        assert_eq!(reports, [79], "it is reported once");
        assert_eq!(held_back(&table, after(80)), [0]);
        assert_eq!(table.troubles(after(100)), [] as [&str; 0], "that may be meant");
        let trouble = "t [0]: a transaction of its producer has been open for 65 s, and 79 offsets wait for its end";
        assert_eq!(table.troubles(after(125)), [trouble]);

        assert_eq!(table.note_stable_end(&partition, 99, 99, after(200)), None);
        assert_eq!(held_back(&table, after(200)), [0; 0]);
        assert!(table.troubles(after(200)).is_empty());
    }

    #[test]
    fn a_partition_of_which_something_comes_is_not_held_back() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let (mut table, partition) = table(start);
        table.note_stable_end(&partition, 5, 9, start);
        table.poll(0, 0, 5, None, table.lease_count());
        table.note_silence(after(1), |_| true);
        assert_eq!(table.note_stable_end(&partition, 5, 9, after(21)), None);
    }
}

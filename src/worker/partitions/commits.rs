//! What can be committed, and what outputs have refused.

use std::collections::HashSet;

use super::{CommitPoint, Entry, Lease, PartitionTable};
use crate::kafka::consumer::{Commit, Position, TopicPartition};
use crate::worker::ledger::LostOutcome;
use crate::worker::refusal::Refusal;

impl PartitionTable {
    /// What can be committed now and is not; `with_starts` says whether that includes partitions of which nothing was consumed.
    pub(crate) fn committable(&self, with_starts: bool) -> Vec<CommitPoint> {
        self.commit_points(with_starts, |entry| entry.done)
    }

    /// The positions up to which everything is handed over, acknowledged or not, where that isn't committed: what a
    /// transaction commits along with the outputs, once all of them are delivered.
    pub(crate) fn handed_over(&self, with_starts: bool) -> Vec<CommitPoint> {
        self.commit_points(with_starts, Entry::handed_over)
    }

    fn commit_points(&self, with_starts: bool, position: impl Fn(&Entry) -> Option<Position>) -> Vec<CommitPoint> {
        let new = |(slot, entry): (usize, &Option<Entry>)| {
            let entry = entry.as_ref()?;
            let position = position(entry)?;
            if !with_starts && entry.start == Some(position) {
                return None;
            }
            // The same offset of another epoch is another record: the log was truncated, and has grown again.
            let is_new = entry.committed != Some(position);
            let of = entry.books_of(slot as u32);
            is_new.then_some(CommitPoint { of, position })
        };
        self.entries.iter().enumerate().filter_map(new).collect()
    }

    /// These points are committed, unless the books have changed meanwhile.
    pub(crate) fn committed(&mut self, points: &[CommitPoint]) {
        for CommitPoint { of, position } in points {
            let Some(entry) = self.entries[of.slot as usize].as_mut().filter(|entry| entry.books == of.books) else {
                continue;
            };
            entry.committed = Some(*position);
            let kept = entry.refusals.split_off(&position.offset);
            let forgotten = std::mem::replace(&mut entry.refusals, kept).len();
            self.refusals -= forgotten;
        }
    }

    /// Takes the commit points of these partitions out.
    pub(crate) fn without<'p>(
        &self,
        mut points: Vec<CommitPoint>,
        partitions: impl Iterator<Item = &'p TopicPartition>,
    ) -> Vec<CommitPoint> {
        let slots: HashSet<u32> = partitions.filter_map(|partition| self.find(partition)).collect();
        points.retain(|point| !slots.contains(&point.of.slot));
        points
    }

    /// Commit points as the group takes them; those whose books have changed are left out.
    pub(crate) fn commits(&self, points: &[CommitPoint]) -> Vec<Commit> {
        let named = |point: &CommitPoint| {
            let entry = self.entries[point.of.slot as usize].as_ref().filter(|entry| entry.books == point.of.books)?;
            Some(Commit { partition: self.name(entry), position: point.position, topic_id: entry.topic_id })
        };
        points.iter().filter_map(named).collect()
    }

    /// An output refused the outcome of a record: one that has gone out alone is refused for itself, any other is suspected.
    /// Returns whether it had been refused for itself before, so that it is its dead letter that is refused.
    pub(crate) fn refuse(&mut self, lost: &LostOutcome, reason: String) -> bool {
        let entry = self.entries[lost.of.slot as usize].as_mut().filter(|entry| entry.log == lost.of.log);
        let Some(entry) = entry else { return false };
        match entry.refusals.get_mut(&lost.offset).filter(|(epoch, _)| *epoch == lost.leader_epoch) {
            None => {
                if entry.refusals.insert(lost.offset, (lost.leader_epoch, Refusal::Suspect)).is_none() {
                    self.refusals += 1;
                }
                false
            }
            Some((_, refusal @ Refusal::Suspect)) => {
                *refusal = Refusal::Refused(reason);
                false
            }
            Some((_, Refusal::Refused(_))) => true,
        }
    }

    /// Notes that an output refuses this record for good, as the client said before it was sent.
    pub(crate) fn refuse_unsent(&mut self, lease: Lease, offset: i64, leader_epoch: Option<i32>, reason: String) {
        let Some(entry) = self.entries[lease.slot as usize].as_mut() else { return };
        if entry.refusals.insert(offset, (leader_epoch, Refusal::Refused(reason))).is_none() {
            self.refusals += 1;
        }
    }

    /// What an output said of this record before.
    pub(crate) fn refusal(&self, lease: Lease, offset: i64, leader_epoch: Option<i32>) -> Option<&Refusal> {
        if self.refusals == 0 {
            return None;
        }
        let (epoch, refusal) = self.entries[lease.slot as usize].as_ref()?.refusals.get(&offset)?;
        (*epoch == leader_epoch).then_some(refusal)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::kafka::consumer::{Start, StartPoint, TopicPartition};
    use crate::worker::partitions::PollOutcome;

    #[test]
    fn an_offset_is_committed_again_when_the_log_before_it_is_another_one() {
        let (now, partition) = (Instant::now(), TopicPartition { topic: "t".into(), partition: 0 });
        let at = |offset, epoch| Position { offset, leader_epoch: Some(epoch) };
        let mut table = PartitionTable::new([("t".to_owned(), 0)]);
        table.assign(std::slice::from_ref(&partition), now);
        let start = Start { point: StartPoint::Committed(at(5, 0)), topic_id: None };
        table.start(&partition, start, true, now);
        // A new leader has lost the records from 3 on, and has taken as many others since.
        table.refetch(&partition, Some(3), now);
        table.orders(now);
        for offset in [3, 4] {
            let PollOutcome::Next(lease) = table.poll(0, 0, offset, Some(1), table.lease_count()) else {
                panic!("it is next")
            };
            table.sent(table.books(lease), 0, offset, Some(1));
        }
        let points = table.handed_over(true);
        assert_eq!(points.iter().map(|point| point.position).collect::<Vec<_>>(), [at(5, 1)]);
        table.committed(&points);
        assert_eq!(table.handed_over(true), []);
    }
}

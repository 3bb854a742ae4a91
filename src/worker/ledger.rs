//! Which records are in flight, and up to where each partition is done.
//!
//! Records leave in batches, and a batch takes records of several partitions. A batch is done when the brokers have
//! acknowledged all of its records; a partition is done up to the end of its part of the last batch before which no
//! batch with records of this partition is in flight. Only that is committed, so whatever happens to a worker, what
//! it committed had been delivered.
//!
//! A batch is named by its slot, the number that travels with each of its records as the delivery report's opaque.
//! A slot is used again only after every one of its reports has come, so that a late report (of a partition that
//! has long been revoked) can't be taken for another batch's.
//!
//! Offsets have gaps: what is kept is the last record's offset plus one.

use std::cell::Cell;
use std::collections::VecDeque;

/// A partition, by the number of its topic in the worker's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Partition {
    pub(crate) topic: usize,
    pub(crate) partition: i32,
}

/// The books of one worker.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    batches: Vec<BatchEntry>,
    free: Vec<usize>,
    partitions: Vec<PartitionEntry>,
    /// Where the last partition asked for was: records come in runs of one partition.
    last_found: Cell<usize>,
    in_flight: usize,
}

#[derive(Debug, Default)]
struct BatchEntry {
    /// Records that are not acknowledged yet; one more while the batch is still open.
    outstanding: u32,
    /// Partitions that still list this batch.
    listed: u32,
}

#[derive(Debug)]
struct PartitionEntry {
    partition: Partition,
    /// The number of the assignment that brought it.
    assignment: u64,
    /// The offset of the first record that was handed over.
    first: Option<i64>,
    /// The batches with records of this partition, oldest first, each with the offset after its last one.
    parts: VecDeque<(usize, i64)>,
    /// Everything before this offset is acknowledged.
    done: Option<i64>,
    /// What the broker has as committed, of what this worker did.
    committed: Option<i64>,
}

impl Ledger {
    /// Starts the books of a partition that was assigned; `assignment` is the number of that assignment.
    pub(crate) fn assign(&mut self, partition: Partition, assignment: u64) {
        if self.find(partition).is_none() {
            self.partitions.push(PartitionEntry::new(partition, assignment));
        }
    }

    /// Closes the books of a partition: what is in flight of it will not be committed by this worker.
    pub(crate) fn revoke(&mut self, partition: Partition) {
        let Some(at) = self.find(partition) else { return };
        let entry = self.partitions.swap_remove(at);
        self.forget(entry.parts);
    }

    /// Forgets all that was handed over since the last commit: its transaction is aborted. Returns where each
    /// partition that this concerns has to be consumed from again; what is held of it from before the assignment of
    /// this number must not go out.
    pub(crate) fn rewind(&mut self, assignment: u64) -> Vec<(Partition, i64)> {
        let mut starts = Vec::new();
        let mut parts = VecDeque::new();
        for entry in &mut self.partitions {
            // Consuming began at the last commit, so before the first commit of this assignment that is where the
            // first record was.
            if let Some(start) = entry.committed.or(entry.first)
                && entry.handed_over() > Some(start)
            {
                starts.push((entry.partition, start));
                let mut anew = PartitionEntry::new(entry.partition, assignment);
                anew.committed = entry.committed;
                parts.append(&mut std::mem::replace(entry, anew).parts);
            }
        }
        self.forget(parts);
        starts
    }

    /// Forgets what is in flight: its producer is gone, and no report will come. To be called after
    /// [`Ledger::rewind`], when no partition waits for any of it.
    pub(crate) fn forget_in_flight(&mut self) {
        debug_assert!(self.partitions.iter().all(|entry| entry.parts.is_empty()), "a partition waits for reports");
        self.batches.clear();
        self.free.clear();
        self.in_flight = 0;
    }

    /// Whether this partition is assigned, and has been since before or at the assignment of this number. A record
    /// that was polled earlier than the partition's present assignment must not go out: records before it may be
    /// lost sight of, and a commit would pass over them.
    pub(crate) fn owns_since(&self, partition: Partition, assignment: u64) -> bool {
        self.find(partition).is_some_and(|at| self.partitions[at].assignment <= assignment)
    }

    /// Opens a batch and returns its slot.
    pub(crate) fn open(&mut self) -> usize {
        let batch = self.free.pop().unwrap_or_else(|| {
            self.batches.push(BatchEntry::default());
            self.batches.len() - 1
        });
        self.batches[batch] = BatchEntry { outstanding: 1, listed: 0 };
        batch
    }

    /// A record of a batch has been handed to the producer. Records of a partition come in the order of their offsets.
    pub(crate) fn sent(&mut self, batch: usize, partition: Partition, offset: i64) {
        self.batches[batch].outstanding += 1;
        self.in_flight += 1;
        let Some(at) = self.find(partition) else { return };
        self.partitions[at].first.get_or_insert(offset);
        match self.partitions[at].parts.back_mut() {
            Some((last, next)) if *last == batch => *next = offset + 1,
            _ => {
                self.partitions[at].parts.push_back((batch, offset + 1));
                self.batches[batch].listed += 1;
            }
        }
    }

    /// All records of a batch have been handed over. Returns whether all of them are acknowledged already.
    pub(crate) fn close(&mut self, batch: usize) -> bool {
        self.settle(batch, 1)
    }

    /// So many records of a batch were acknowledged. Returns whether the batch is done by that.
    pub(crate) fn acknowledge(&mut self, batch: usize, records: u32) -> bool {
        self.in_flight -= records as usize;
        self.settle(batch, records)
    }

    /// Records that are handed over and not acknowledged.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The offsets that can be committed now and are not: per partition, the next one to consume.
    pub(crate) fn committable(&self) -> Vec<(Partition, i64)> {
        let new = |entry: &PartitionEntry| entry.done.filter(|_| entry.done > entry.committed);
        self.partitions.iter().filter_map(|entry| Some((entry.partition, new(entry)?))).collect()
    }

    /// The offsets up to which everything is handed over, acknowledged or not, where that isn't committed: what a
    /// transaction commits along with the outputs, once all of them are delivered.
    pub(crate) fn handed_over(&self) -> Vec<(Partition, i64)> {
        let new = |entry: &PartitionEntry| entry.handed_over().filter(|_| entry.handed_over() > entry.committed);
        self.partitions.iter().filter_map(|entry| Some((entry.partition, new(entry)?))).collect()
    }

    /// The broker has this offset as committed.
    pub(crate) fn committed(&mut self, partition: Partition, offset: i64) {
        if let Some(at) = self.find(partition) {
            self.partitions[at].committed = Some(offset);
        }
    }

    fn find(&self, partition: Partition) -> Option<usize> {
        let last = self.last_found.get();
        if self.partitions.get(last).is_some_and(|entry| entry.partition == partition) {
            return Some(last);
        }
        let found = self.partitions.iter().position(|entry| entry.partition == partition)?;
        self.last_found.set(found);
        Some(found)
    }

    fn settle(&mut self, batch: usize, records: u32) -> bool {
        let entry = &mut self.batches[batch];
        entry.outstanding -= records;
        if entry.outstanding > 0 {
            return false;
        }
        for partition in &mut self.partitions {
            while let Some(&(first, next)) = partition.parts.front() {
                if self.batches[first].outstanding > 0 {
                    break;
                }
                partition.parts.pop_front();
                partition.done = Some(next);
                self.batches[first].listed -= 1;
                if first != batch && self.batches[first].listed == 0 {
                    self.free.push(first);
                }
            }
        }
        self.free_if_over(batch);
        true
    }

    /// Batches are no longer listed by a partition.
    fn forget(&mut self, parts: VecDeque<(usize, i64)>) {
        for (batch, _) in parts {
            self.batches[batch].listed -= 1;
            self.free_if_over(batch);
        }
    }

    fn free_if_over(&mut self, batch: usize) {
        let entry = &self.batches[batch];
        if entry.outstanding == 0 && entry.listed == 0 {
            self.free.push(batch);
        }
    }
}

impl PartitionEntry {
    fn new(partition: Partition, assignment: u64) -> PartitionEntry {
        PartitionEntry { partition, assignment, first: None, parts: VecDeque::new(), done: None, committed: None }
    }

    /// The offset after the last record that was handed over.
    fn handed_over(&self) -> Option<i64> {
        self.parts.back().map(|&(_, next)| next).or(self.done)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    const P0: Partition = Partition { topic: 0, partition: 0 };
    const P1: Partition = Partition { topic: 0, partition: 1 };

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.assign(P0, 1);
        ledger.assign(P1, 1);
        ledger
    }

    fn send(ledger: &mut Ledger, records: &[(Partition, i64)]) -> usize {
        let batch = ledger.open();
        for &(partition, offset) in records {
            ledger.sent(batch, partition, offset);
        }
        assert!(!ledger.close(batch));
        batch
    }

    #[test]
    fn only_a_completed_prefix_is_committable() {
        let mut ledger = ledger();
        let first = send(&mut ledger, &[(P0, 4), (P0, 5)]);
        let second = send(&mut ledger, &[(P0, 6), (P1, 9)]);
        assert!(ledger.acknowledge(second, 2));
        assert_eq!(ledger.committable(), [(P1, 10)], "P0 waits for the batch before");
        assert!(!ledger.acknowledge(first, 1));
        assert!(ledger.acknowledge(first, 1));
        assert_eq!(ledger.committable(), [(P0, 7), (P1, 10)]);
        ledger.committed(P0, 7);
        assert_eq!(ledger.committable(), [(P1, 10)]);
    }

    #[test]
    fn a_late_report_of_a_revoked_partition_counts_for_nothing() {
        let mut ledger = ledger();
        let old = send(&mut ledger, &[(P0, 4)]);
        ledger.revoke(P0);
        ledger.assign(P0, 1);
        let new = send(&mut ledger, &[(P0, 2)]);
        assert_ne!(old, new, "a slot with reports outstanding isn't used again");
        ledger.acknowledge(old, 1);
        assert_eq!(ledger.committable(), []);
        ledger.acknowledge(new, 1);
        assert_eq!(ledger.committable(), [(P0, 3)]);
        assert_eq!(ledger.in_flight(), 0);
    }

    #[test]
    fn an_aborted_transaction_is_consumed_again_from_the_last_commit() {
        let mut ledger = ledger();
        let first = send(&mut ledger, &[(P0, 4), (P0, 5)]);
        assert_eq!(ledger.handed_over(), [(P0, 6)], "acknowledged or not");
        ledger.acknowledge(first, 2);
        assert_eq!(ledger.handed_over(), [(P0, 6)]);
        ledger.committed(P0, 6);
        assert_eq!(ledger.handed_over(), []);
        assert_eq!(ledger.rewind(1), [], "all is committed");

        let second = send(&mut ledger, &[(P0, 8), (P1, 20), (P1, 22)]);
        assert_eq!(ledger.handed_over(), [(P0, 9), (P1, 23)]);
        assert_eq!(ledger.rewind(2), [(P0, 6), (P1, 20)], "the commit, else the first record");
        assert_eq!(ledger.handed_over(), []);
        assert!(!ledger.owns_since(P0, 1) && ledger.owns_since(P0, 2));
        assert!(ledger.acknowledge(second, 3), "what is purged is reported, too");
        assert_eq!((ledger.committable(), ledger.in_flight()), (vec![], 0));

        let again = send(&mut ledger, &[(P0, 8), (P1, 20)]);
        ledger.acknowledge(again, 2);
        assert_eq!(ledger.handed_over(), [(P0, 9), (P1, 21)]);
    }

    #[test]
    fn what_a_lost_producer_had_in_flight_is_forgotten() {
        let mut ledger = ledger();
        let first = send(&mut ledger, &[(P0, 4), (P1, 7)]);
        ledger.acknowledge(first, 1);
        assert_eq!(ledger.rewind(1), [(P0, 4), (P1, 7)]);
        ledger.forget_in_flight();
        assert_eq!(ledger.in_flight(), 0);

        let again = send(&mut ledger, &[(P0, 4)]);
        assert!(ledger.acknowledge(again, 1));
        assert_eq!((ledger.committable(), ledger.in_flight()), (vec![(P0, 5)], 0));
    }

    #[test]
    fn a_record_from_before_the_present_assignment_is_not_owned() {
        let mut ledger = Ledger::default();
        ledger.assign(P0, 3);
        assert!(ledger.owns_since(P0, 3) && ledger.owns_since(P0, 4));
        ledger.revoke(P0);
        assert!(!ledger.owns_since(P0, 4));
        ledger.assign(P0, 5);
        assert!(!ledger.owns_since(P0, 4) && ledger.owns_since(P0, 5));
    }

    #[test]
    fn a_batch_whose_reports_come_before_it_is_closed_is_done_at_its_close() {
        let mut ledger = ledger();
        let batch = ledger.open();
        ledger.sent(batch, P0, 0);
        assert!(!ledger.acknowledge(batch, 1));
        ledger.sent(batch, P0, 1);
        assert!(!ledger.acknowledge(batch, 1));
        assert!(ledger.close(batch));
        assert_eq!(ledger.committable(), [(P0, 2)]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Send(Vec<(i32, i64)>),
        Acknowledge(usize),
        Revoke(i32),
        Assign(i32),
        Commit,
        Rewind,
        /// And the producer is lost, with all that is in flight.
        RewindAndForget,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => prop::collection::vec((0..3, 1..3i64), 1..6).prop_map(Step::Send),
            8 => (0..64usize).prop_map(Step::Acknowledge),
            1 => (0..3).prop_map(Step::Revoke),
            1 => (0..3).prop_map(Step::Assign),
            1 => Just(Step::Commit),
            1 => Just(Step::Rewind),
            1 => Just(Step::RewindAndForget),
        ]
    }

    /// The naive model: every record by itself. A partition is done up to its first record that isn't acknowledged.
    #[derive(Default)]
    struct Model {
        /// Of the assigned partitions: the records sent since, in order, by their number.
        assigned: BTreeMap<i32, Vec<(i64, usize)>>,
        outstanding: BTreeSet<usize>,
        committed: BTreeMap<i32, i64>,
    }

    impl Model {
        fn committable(&self, batch_of: &[usize]) -> BTreeMap<i32, i64> {
            let open: BTreeSet<usize> = self.outstanding.iter().map(|&record| batch_of[record]).collect();
            let mut found = BTreeMap::new();
            for (&partition, records) in &self.assigned {
                let done = records.iter().take_while(|(_, record)| !open.contains(&batch_of[*record])).last();
                if let Some(&(offset, _)) = done
                    && self.committed.get(&partition) != Some(&(offset + 1))
                {
                    found.insert(partition, offset + 1);
                }
            }
            found
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_model(steps in prop::collection::vec(step(), 1..80)) {
            let mut ledger = Ledger::default();
            let mut model = Model::default();
            let mut next_offset = [0i64; 3];
            // Per record: a number for its batch, unique over time, and its slot.
            let (mut batch_of, mut slot_of) = (Vec::new(), Vec::new());
            let mut batches = 0;
            for step in steps {
                match step {
                    Step::Send(records) => {
                        let slot = ledger.open();
                        let mut any = false;
                        for (partition, gap) in records {
                            let Some(sent) = model.assigned.get_mut(&partition) else { continue };
                            let offset = next_offset[partition as usize] + gap;
                            next_offset[partition as usize] = offset;
                            sent.push((offset, batch_of.len()));
                            model.outstanding.insert(batch_of.len());
                            batch_of.push(batches);
                            slot_of.push(slot);
                            ledger.sent(slot, Partition { topic: 0, partition }, offset);
                            any = true;
                        }
                        batches += 1;
                        prop_assert_eq!(ledger.close(slot), !any);
                    }
                    Step::Acknowledge(nth) => {
                        let Some(&record) = model.outstanding.iter().nth(nth) else { continue };
                        model.outstanding.remove(&record);
                        let done = !model.outstanding.iter().any(|&other| batch_of[other] == batch_of[record]);
                        prop_assert_eq!(ledger.acknowledge(slot_of[record], 1), done);
                    }
                    Step::Revoke(partition) => {
                        model.assigned.remove(&partition);
                        model.committed.remove(&partition);
                        ledger.revoke(Partition { topic: 0, partition });
                    }
                    Step::Assign(partition) => {
                        model.assigned.entry(partition).or_default();
                        ledger.assign(Partition { topic: 0, partition }, 1);
                    }
                    Step::Commit => {
                        for (partition, offset) in ledger.committable() {
                            ledger.committed(partition, offset);
                            model.committed.insert(partition.partition, offset);
                        }
                    }
                    Step::Rewind | Step::RewindAndForget => {
                        for (partition, start) in ledger.rewind(1) {
                            let sent = model.assigned.get_mut(&partition.partition).expect("only what is assigned");
                            let committed = model.committed.get(&partition.partition);
                            prop_assert_eq!(start, *committed.unwrap_or(&sent[0].0));
                            sent.clear();
                        }
                        let committed = |(partition, sent): (&i32, &Vec<(i64, usize)>)| {
                            sent.last().is_none_or(|(last, _)| model.committed.get(partition) == Some(&(last + 1)))
                        };
                        prop_assert!(model.assigned.iter().all(committed));
                        if matches!(step, Step::RewindAndForget) {
                            ledger.forget_in_flight();
                            model.outstanding.clear();
                        }
                    }
                }
                let told: BTreeMap<i32, i64> =
                    ledger.committable().into_iter().map(|(partition, offset)| (partition.partition, offset)).collect();
                prop_assert_eq!(told, model.committable(&batch_of));
                prop_assert_eq!(ledger.in_flight(), model.outstanding.len());
            }
        }
    }
}

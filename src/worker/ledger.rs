//! Which records are in flight, in which batches.
//!
//! Records leave in batches, and a batch holds records of several partitions of one route. A batch is done when the brokers have
//! acknowledged all of its records; a partition is done up to the end of its part of the last batch before which no batch with
//! records of this partition is in flight. Only that is committed, so whatever happens to a worker, what it committed had been
//! delivered.
//!
//! A batch is named by its slot, which travels with each of its records as the delivery report's opaque. A slot is used again
//! only after every one of its reports has come, so that a late report (of a partition that has long been revoked) can't be
//! taken for another batch's.
//!
//! Wrong bookkeeping would stall or lose records silently, so it is asserted in release builds, too: the supervisor replaces a
//! worker that panics, and its successor begins at the last commit.

use std::time::Instant;

use super::partitions::{BooksOf, Lease, PartitionTable};
use crate::kafka::producer::Ticket;

/// The batches in flight of one worker.
#[derive(Debug)]
pub(crate) struct Ledger {
    batches: Vec<BatchInFlight>,
    free: Vec<usize>,
    /// By route.
    loads: Vec<Load>,
    /// Batches that partitions no longer list, to be looked at; kept to be used again.
    unlisted: Vec<usize>,
}

/// What a route has in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

/// A batch that was handed to the producer.
#[derive(Debug)]
pub(crate) struct BatchInFlight {
    /// The route it came through.
    pub(crate) route: usize,
    /// When it was handed over.
    pub(crate) sent_at: Instant,
    /// The input records' timestamps, in milliseconds since 1970.
    pub(crate) timestamps: Vec<i64>,
    /// Records that are not acknowledged yet; one more while the batch is still open.
    outstanding: u32,
    /// Partitions that still list this batch.
    listed: u32,
    /// The partitions that listed it, as their books were.
    partitions: Vec<BooksOf>,
    /// By row: where the record came from.
    rows: Vec<Row>,
    bytes: usize,
}

/// A record of a batch.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// An index into the partitions of its batch.
    partition: u32,
    leader_epoch: Option<i32>,
    offset: i64,
}

/// A record whose outcome was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LostOutcome {
    pub(crate) route: usize,
    pub(crate) of: BooksOf,
    pub(crate) offset: i64,
    pub(crate) leader_epoch: Option<i32>,
}

impl Ledger {
    /// The books of a worker with so many routes.
    pub(crate) fn new(routes: usize) -> Ledger {
        Ledger { batches: Vec::new(), free: Vec::new(), loads: vec![Load::default(); routes], unlisted: Vec::new() }
    }

    /// Opens a batch of a route and returns its slot.
    pub(crate) fn open(&mut self, route: usize, now: Instant, timestamps: impl Iterator<Item = i64>) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.batches.push(BatchInFlight::unused(now));
            self.batches.len() - 1
        });
        let batch = &mut self.batches[slot];
        assert!(batch.outstanding == 0 && batch.listed == 0, "a slot is used again only when nothing refers to it");
        (batch.route, batch.sent_at, batch.outstanding, batch.bytes) = (route, now, 1, 0);
        batch.partitions.clear();
        batch.rows.clear();
        batch.timestamps.clear();
        batch.timestamps.extend(timestamps);
        slot
    }

    /// Opens another batch for the rest of an open one, which has the last so many of its timestamps. Returns its slot.
    pub(crate) fn split(&mut self, slot: usize, timestamps: usize, now: Instant) -> usize {
        let batch = &mut self.batches[slot];
        let (route, rest) = (batch.route, batch.timestamps.split_off(batch.timestamps.len() - timestamps));
        self.open(route, now, rest.into_iter())
    }

    /// Whether nothing of an open batch has been sent.
    pub(crate) fn is_unsent(&self, slot: usize) -> bool {
        self.batches[slot].rows.is_empty()
    }

    /// What the next record of a batch is called while it is in flight.
    pub(crate) fn next_ticket(&self, slot: usize) -> Ticket {
        Ticket { batch: slot as u32, row: self.batches[slot].rows.len() as u32 }
    }

    /// A record of a batch has been handed to the producer, with an outcome of so many bytes.
    pub(crate) fn sent(
        &mut self,
        slot: usize,
        lease: Lease,
        (offset, leader_epoch): (i64, Option<i32>),
        bytes: usize,
        partitions: &mut PartitionTable,
    ) {
        let batch = &mut self.batches[slot];
        let of = partitions.books(lease);
        if partitions.sent(of, slot, offset, leader_epoch) {
            batch.listed += 1;
            batch.partitions.push(of);
        }
        // Records come in runs of one partition, mostly the last one that was listed.
        let at = batch.partitions.iter().rposition(|listed| *listed == of).expect("a partition lists its batch");
        batch.rows.push(Row { partition: at as u32, leader_epoch, offset });
        batch.outstanding += 1;
        batch.bytes += bytes;
        let load = &mut self.loads[batch.route];
        load.records += 1;
        load.bytes += bytes;
    }

    /// All records of a batch have been handed over. Returns whether all of them are acknowledged already.
    pub(crate) fn close(&mut self, slot: usize, partitions: &mut PartitionTable) -> bool {
        self.settle(slot, 1, partitions)
    }

    /// So many records of a batch were acknowledged. Returns whether the batch is done by that.
    pub(crate) fn acknowledge(&mut self, slot: usize, records: u32, partitions: &mut PartitionTable) -> bool {
        let load = &mut self.loads[self.batches[slot].route];
        load.records = load.records.checked_sub(records as usize).expect("no more is acknowledged than is in flight");
        self.settle(slot, records, partitions)
    }

    /// A record was not delivered, and won't be. The partition it came from has to be consumed again, or its transaction to be
    /// aborted, before the batch may count as done: see [`PartitionTable::rewind`]. Returns where it came from.
    pub(crate) fn lose(&mut self, ticket: Ticket) -> LostOutcome {
        let batch = &self.batches[ticket.batch as usize];
        let Row { partition, leader_epoch, offset } = batch.rows[ticket.row as usize];
        LostOutcome { route: batch.route, of: batch.partitions[partition as usize], offset, leader_epoch }
    }

    /// Partitions no longer list these batches.
    pub(crate) fn unlist(&mut self, slots: &mut Vec<usize>) {
        for slot in slots.drain(..) {
            let batch = &mut self.batches[slot];
            batch.listed = batch.listed.checked_sub(1).expect("a batch is listed by as many partitions as it counts");
            self.free_if_over(slot);
        }
    }

    /// Forgets what is in flight: its producer is gone, and no report will come. No partition may list any of it.
    pub(crate) fn forget_in_flight(&mut self) {
        assert!(self.batches.iter().all(|batch| batch.listed == 0), "a partition waits for reports of a lost producer");
        self.batches.clear();
        self.free.clear();
        self.loads.fill(Load::default());
    }

    /// The batch in this slot.
    pub(crate) fn batch(&self, slot: usize) -> &BatchInFlight {
        &self.batches[slot]
    }

    /// What a route has in flight.
    pub(crate) fn load(&self, route: usize) -> Load {
        self.loads[route]
    }

    /// Records that are handed over and not acknowledged.
    pub(crate) fn in_flight(&self) -> usize {
        self.loads.iter().map(|load| load.records).sum()
    }

    /// What all routes have in flight.
    pub(crate) fn total(&self) -> Load {
        let sum = |sum: Load, load: &Load| Load { records: sum.records + load.records, bytes: sum.bytes + load.bytes };
        self.loads.iter().fold(Load::default(), sum)
    }

    fn settle(&mut self, slot: usize, records: u32, partitions: &mut PartitionTable) -> bool {
        let batch = &mut self.batches[slot];
        batch.outstanding = batch.outstanding.checked_sub(records).expect("no more is acknowledged than was sent");
        if batch.outstanding > 0 {
            return false;
        }
        self.loads[batch.route].bytes -= batch.bytes;
        let mut unlisted = std::mem::take(&mut self.unlisted);
        for &of in &self.batches[slot].partitions {
            partitions.advance(of, |other| self.batches[other].outstanding == 0, &mut unlisted);
        }
        for &other in &unlisted {
            let batch = &mut self.batches[other];
            batch.listed = batch.listed.checked_sub(1).expect("a batch is listed by as many partitions as it counts");
            if other != slot {
                self.free_if_over(other);
            }
        }
        unlisted.clear();
        self.unlisted = unlisted;
        self.free_if_over(slot);
        true
    }

    fn free_if_over(&mut self, slot: usize) {
        let batch = &self.batches[slot];
        if batch.outstanding == 0 && batch.listed == 0 {
            self.free.push(slot);
        }
    }
}

impl BatchInFlight {
    fn unused(now: Instant) -> BatchInFlight {
        BatchInFlight {
            route: 0,
            sent_at: now,
            timestamps: Vec::new(),
            outstanding: 0,
            listed: 0,
            partitions: Vec::new(),
            rows: Vec::new(),
            bytes: 0,
        }
    }
}

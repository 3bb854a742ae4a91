//! Exactly-once: outputs, dead letters and consumed offsets in one transaction.
//!
//! A transaction is open from the first record after a commit to the next commit. Whoever reads only what is committed
//! sees all of it or nothing, and the group's offsets move with it. Offsets are sent in the name of the member as the
//! group knows it now, so a worker that the group has left behind is refused, whatever it still holds.
//!
//! What can't be committed is aborted: the books forget it, and consuming goes on from the last commit. That is
//! routine in a rebalance. Where the brokers have ended a transaction themselves, since it was open for too long (they were
//! away, or the worker was), they don't take its producer any more either: another one takes its place, and the worker
//! stays in its group. Only a producer that somebody else has fenced, or that is broken, takes its worker with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::flow::{Flow, SETTLE_STEP};
use super::ledger::Partition;
use super::sink::{Sent, Sink};
use super::{Activity, WorkerError};
use crate::kafka::consumer::Position;
use crate::kafka::producer::{Producer, STEP_TIMEOUT, Step, TransactionError};
use crate::kafka::settings::TRANSACTION_TIMEOUT;
use crate::monitor::metrics::CommitOutcome;

/// After so many records a transaction is committed before its time: readers buffer what isn't committed.
const MAX_RECORDS: usize = 100_000;

/// How long the coordinator is waited for before the group is served again.
const PATIENCE: Duration = Duration::from_millis(100);

/// The transaction of a worker.
#[derive(Default)]
pub(super) struct Transaction {
    /// Since when it is open, if it is.
    opened_at: Option<Instant>,
    /// Records since then.
    records: usize,
}

impl Flow<'_> {
    /// So many records are about to be produced: begins a transaction, if none is open.
    pub(super) fn begin_if_needed(&mut self, records: usize) -> Result<(), WorkerError> {
        if let Some(transaction) = &mut self.transaction {
            if transaction.opened_at.is_none() {
                self.sink.producer().begin_transaction()?;
                transaction.opened_at = Some(Instant::now());
            }
            transaction.records += records;
        }
        Ok(())
    }

    /// Commits the open transaction when it is time: `commit_interval` after the last commit, so that what comes after
    /// a pause is committed at once.
    pub(super) fn commit_transaction_if_due(&mut self, done: &mut impl FnMut(&mut Sent)) -> Result<(), WorkerError> {
        let Some(transaction) = self.transaction.as_ref().filter(|transaction| transaction.opened_at.is_some()) else {
            return Ok(());
        };
        let now = Instant::now();
        if now < self.commit_due && transaction.records < MAX_RECORDS {
            return Ok(());
        }
        self.commit_transaction(now + TRANSACTION_TIMEOUT, done)
    }

    /// Commits the open transaction; if everything isn't delivered by the deadline, it is to be aborted.
    pub(super) fn commit_transaction(
        &mut self,
        deadline: Instant,
        done: &mut impl FnMut(&mut Sent),
    ) -> Result<(), WorkerError> {
        if !self.is_in_transaction() {
            return Ok(());
        }
        self.pulse.enter(Activity::Commit);
        let assignment = self.source.assignments();
        let offsets = self.ledger.handed_over();
        let position = |(partition, offset)| (partition, Position::at(offset));
        let named: Vec<_> = self.source.named(&offsets).into_iter().map(position).collect();
        let member = self.source.group_metadata().ok_or_else(|| aborted("the consumer has left its group"))?;
        let member = Arc::new(member);
        // While the coordinator works on this, the outputs are delivered on.
        self.persist(Some(deadline), |producer| producer.send_offsets(&named, &member))?;
        self.drain(deadline, done)?;
        if self.ledger.in_flight() > 0 {
            return Err(aborted("its records were not delivered in time"));
        }
        // From here on the coordinator decides, and it has to be asked until it tells.
        self.persist(None, Producer::commit_transaction)?;
        self.transaction = Some(Transaction::default());
        for (partition, offset) in offsets {
            // One that went and came back meanwhile begins where somebody else has committed, which may be further.
            if self.ledger.owns_since(partition, assignment) {
                self.ledger.committed(partition, offset);
            }
        }
        self.metrics.committed(CommitOutcome::Ok);
        self.commit_due = Instant::now() + self.commit_interval;
        Ok(())
    }

    /// Partitions are lost, with records in the open transaction: somebody else consumes those again.
    pub(super) fn doubt_transaction(&self) -> Result<(), WorkerError> {
        if self.is_in_transaction() { Err(aborted("partitions are lost")) } else { Ok(()) }
    }

    /// Aborts the open transaction, and consumes again from the last commit.
    pub(super) fn begin_again(&mut self, cause: &str) -> Result<(), WorkerError> {
        tracing::info!(cause, "a transaction is aborted; its records are consumed again");
        self.pulse.enter(Activity::Commit);
        let starts = self.abort()?;
        if !starts.is_empty() {
            self.source.seek(&starts)?;
        }
        Ok(())
    }

    /// Aborts the open transaction, if there is one: purge, drain, abort. Returns where its partitions have to be
    /// consumed from again: those that the worker has had all the while. One that went and came back begins where
    /// somebody else has committed, which may be further.
    pub(super) fn abort(&mut self) -> Result<Vec<(Partition, i64)>, WorkerError> {
        if !self.is_in_transaction() {
            return Ok(Vec::new());
        }
        let assignment = self.source.next_assignment();
        let mut starts = self.ledger.rewind(assignment);
        self.metrics.committed(CommitOutcome::Aborted);
        while self.ledger.in_flight() > 0 {
            // Again and again: a record that is between two queues, since its partition's leader has changed, escapes a
            // purge, and isn't sent any more.
            self.sink.producer().purge();
            match self.settle(SETTLE_STEP, |_| {}) {
                // Deliveries fail in a transaction that the brokers have ended.
                Ok(()) | Err(WorkerError::Aborted(_)) => {}
                Err(error) => return Err(error),
            }
            self.stay()?;
        }
        match self.persist(None, Producer::abort_transaction) {
            Ok(()) => self.transaction = Some(Transaction::default()),
            Err(WorkerError::Aborted(_)) => starts = self.replace_producer(&starts)?,
            Err(error) => return Err(error),
        }
        starts.retain(|&(partition, _)| self.ledger.owns_since(partition, assignment));
        Ok(starts)
    }

    /// Goes on with another producer, where the brokers have aborted the transaction themselves. Returns where its
    /// partitions have to be consumed from again: a commit whose answer never came may have been taken.
    fn replace_producer(&mut self, starts: &[(Partition, i64)]) -> Result<Vec<(Partition, i64)>, WorkerError> {
        tracing::info!("the brokers have ended the transaction, and its producer with it; another one takes its place");
        self.transaction = Some(Transaction::default());
        self.ledger.forget_in_flight();
        self.sink = Sink::new((self.producers)()?);
        self.persist(None, |producer| producer.init_transactions(STEP_TIMEOUT))?;
        let committed = loop {
            match self.source.committed(starts) {
                Ok(committed) => break committed,
                Err(error) => tracing::debug!(%error, "the committed offsets could not be asked for; asking again"),
            }
            self.stay()?;
        };
        for &(partition, offset) in &committed {
            self.ledger.committed(partition, offset);
        }
        Ok(committed)
    }

    fn is_in_transaction(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| transaction.opened_at.is_some())
    }

    /// Whether the open transaction is older than the brokers let it become.
    fn is_overdue(&self) -> bool {
        let opened_at = self.transaction.as_ref().and_then(|transaction| transaction.opened_at);
        opened_at.is_some_and(|opened_at| opened_at.elapsed() >= TRANSACTION_TIMEOUT)
    }

    /// Takes a step until it is done, up to `until`. Meanwhile the worker stays a member of its group, and gives it
    /// whatever it asks for: nothing more can be finished before.
    fn persist(
        &mut self,
        until: Option<Instant>,
        step: impl Fn(&Producer) -> Result<Step, TransactionError>,
    ) -> Result<(), WorkerError> {
        let mut under_way = step(self.sink.producer())?;
        loop {
            match under_way.wait(PATIENCE) {
                None => {}
                Some(Ok(())) => return Ok(()),
                Some(Err(TransactionError::Retriable(cause))) if until.is_some_and(|until| Instant::now() >= until) => {
                    return Err(aborted(cause));
                }
                Some(Err(TransactionError::Retriable(_))) => under_way = step(self.sink.producer())?,
                Some(Err(TransactionError::Abortable(cause))) => return Err(aborted(cause)),
                Some(Err(TransactionError::Fenced { .. })) if self.is_overdue() => {
                    return Err(aborted("it was open for longer than the brokers allow"));
                }
                Some(Err(error)) => return Err(error.into()),
            }
            self.stay()?;
        }
    }

    /// Keeps the worker in its group, and gives the group whatever it asks for.
    fn stay(&mut self) -> Result<(), WorkerError> {
        self.give_up_after_the_deadline()?;
        self.stay_a_member()?;
        while let Some(event) = self.source.next_event() {
            self.accept(event)?;
        }
        Ok(())
    }
}

fn aborted(why: impl ToString) -> WorkerError {
    WorkerError::Aborted(why.to_string())
}

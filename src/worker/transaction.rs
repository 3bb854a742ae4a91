//! Exactly-once: outputs, dead letters and consumed offsets in one transaction.
//!
//! A transaction is open from the first record after a commit to the next commit. Whoever reads only what is committed sees all
//! of it or nothing, and the group's offsets move with it. Offsets are sent in the name of the member as the group knows it now,
//! so a worker that the group has left behind is refused, whatever it still holds.
//!
//! What can't be committed is aborted: the transaction is in **doubt**, a state that the loop looks at once a round. Then the
//! books forget it, and its records are consumed again from the last commit. That is routine in a rebalance. Where the brokers
//! have ended a transaction themselves, since it was open for too long (they were away, or the worker was), they refuse its
//! producer as well: another one takes its place, and the worker stays in its group. Another one also takes its place when a
//! transaction is aborted while records are on their way: a network may deliver them late, and the brokers would count them as
//! records of the producer's next transaction (KIP-890). They refuse them after the successor has raised the epoch. Only a
//! producer that somebody else has fenced, or that is broken, takes its worker with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::brokers::{Brokers, WAIT_STEP};
use super::ports::{Clients, GroupConsumer, OutputProducer};
use super::{Activity, WorkerError};
use crate::kafka::consumer::{Commit, GroupCommits, Position};
use crate::kafka::pending::Pending;
use crate::kafka::producer::{Step, TransactionError};
use crate::kafka::settings::TRANSACTION_TIMEOUT;
use crate::monitor::metrics::CommitOutcome;

/// After so many records a transaction is committed before its time: readers buffer what isn't committed.
const MAX_RECORDS: usize = 100_000;

/// While more records have come than the worker takes, a transaction lasts so many times as long: each commit waits for the
/// coordinator, and readers wait for what is still to be consumed anyway.
const INTERVALS_BEHIND: u32 = 4;

/// How long the group's offsets may be pending before a worker releases those that may be its own. The brokers end transactions
/// after their timeout, and look for such every 10 s.
const PENDING_OFFSETS_TIMEOUT: Duration = TRANSACTION_TIMEOUT.saturating_mul(2);

/// The transaction of a worker.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    /// Since when it is open, if it is.
    opened_at: Option<Instant>,
    /// Records since then.
    records: usize,
    /// Why it has to be aborted, if it has to be.
    doubt: Option<String>,
    /// Whether records were purged that the brokers may still receive.
    has_purged_in_flight: bool,
}

impl Transaction {
    /// It can't be committed any more. The first reason is kept.
    pub(super) fn doubt(&mut self, reason: impl Into<String>) {
        self.doubt.get_or_insert_with(|| reason.into());
    }

    /// A record was purged after it was sent.
    pub(super) fn note_purged_in_flight(&mut self) {
        self.has_purged_in_flight = true;
    }
}

/// What became of a step.
enum StepOutcome {
    Done,
    /// The transaction has to be aborted.
    Refused(String),
}

impl<K: Clients> Brokers<'_, K> {
    /// So many records are about to be produced: begins a transaction, if none is open. Returns whether records can be sent.
    pub(super) fn begin_if_needed(&mut self, records: usize) -> Result<bool, WorkerError> {
        let now = self.now();
        let Some(transaction) = &mut self.transaction else { return Ok(true) };
        if transaction.doubt.is_some() {
            return Ok(false);
        }
        if transaction.opened_at.is_none() {
            self.producer.begin_transaction()?;
            transaction.opened_at = Some(now);
        }
        transaction.records += records;
        Ok(true)
    }

    /// Commits the open transaction when it is time: `commit_interval` after the last commit, so that what comes after a pause is
    /// committed at once, and [`INTERVALS_BEHIND`] times as long after it while the worker is behind.
    pub(super) fn commit_transaction_if_due(&mut self, now: Instant) -> Result<(), WorkerError> {
        if self.has_new_starts && now >= self.commit_due {
            self.open_for_new_starts(now)?;
        }
        let Some(transaction) = self.transaction.as_ref().filter(|transaction| transaction.opened_at.is_some()) else {
            return Ok(());
        };
        if now < self.transaction_due() && transaction.records < MAX_RECORDS {
            return Ok(());
        }
        self.commit_transaction(now + TRANSACTION_TIMEOUT)
    }

    /// Opens a transaction without records, if none is open, where partitions begin that have no commit. Otherwise what arrives in
    /// a quiet partition during a restart would be skipped, where `auto.offset.reset` is `latest`.
    fn open_for_new_starts(&mut self, now: Instant) -> Result<(), WorkerError> {
        if !self.commits_starts() {
            return Ok(());
        }
        self.has_new_starts = !self.partitions.handed_over(true).is_empty();
        if self.has_new_starts && !self.begin_if_needed(0)? {
            self.commit_due = now + self.commit_interval;
        }
        Ok(())
    }

    /// Commits the open transaction. If everything isn't delivered by the deadline, the transaction is in doubt.
    pub(super) fn commit_transaction(&mut self, deadline: Instant) -> Result<(), WorkerError> {
        if !self.is_in_transaction() || self.is_in_doubt() {
            return Ok(());
        }
        self.heartbeat.enter(Activity::Commit);
        let points = self.partitions.handed_over(self.commits_starts());
        let commits = self.partitions.commits(&points);
        let Some(member) = self.consumer.member() else {
            self.doubt_transaction("the consumer has left its group");
            return Ok(());
        };
        let member = Arc::new(member);
        // While the coordinator works on this, the outputs are delivered on.
        if let StepOutcome::Refused(cause) =
            self.take_step(Some(deadline), |producer| producer.send_offsets(&commits, &member))?
        {
            self.doubt_transaction(cause);
            return Ok(());
        }
        self.drain(deadline)?;
        if self.ledger.in_flight() > 0 {
            self.doubt_transaction("its records were not delivered in time");
        }
        if self.is_in_doubt() {
            return Ok(());
        }
        // From here on the coordinator decides, and it has to be asked until it answers.
        match self.take_step(None, |producer| producer.commit_transaction())? {
            StepOutcome::Refused(cause) => self.doubt_transaction(cause),
            StepOutcome::Done => {
                self.transaction = Some(Transaction::default());
                self.note_commit(&points);
                self.commit_due = self.now() + self.commit_interval;
            }
        }
        Ok(())
    }

    /// The open transaction, if there is one, has to be aborted.
    pub(super) fn doubt_transaction(&mut self, reason: impl Into<String>) {
        if let Some(transaction) = self.transaction.as_mut().filter(|transaction| transaction.opened_at.is_some()) {
            transaction.doubt(reason);
        }
    }

    /// Whether the transaction has to be aborted.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| transaction.doubt.is_some())
    }

    /// Why it has to be.
    pub(super) fn doubt(&self) -> Option<String> {
        self.transaction.as_ref()?.doubt.clone()
    }

    /// Aborts a transaction in doubt; its records are consumed again from the last commit.
    pub(super) fn begin_again_if_in_doubt(&mut self) -> Result<(), WorkerError> {
        let Some(cause) = self.doubt() else { return Ok(()) };
        tracing::info!(cause, "a transaction is aborted; its records are consumed again");
        self.count_failed_commit(cause);
        // Where an output is the cause, its route has to wait, so that the next transaction is spared it.
        self.surroundings.refresh_topics();
        self.heartbeat.enter(Activity::Commit);
        self.abort()
    }

    /// Aborts the open transaction: purge, drain, abort. Nothing that refers to its batches may be left in the loop.
    pub(super) fn abort(&mut self) -> Result<(), WorkerError> {
        if !self.is_in_transaction() {
            self.transaction = Some(Transaction::default());
            return Ok(());
        }
        self.partitions.rewind_to_commits(self.now(), &mut self.unlisted);
        self.ledger.unlist(&mut self.unlisted);
        self.metrics.committed(CommitOutcome::Aborted);
        loop {
            // Again and again: a record that is between two queues, since its partition's leader has changed, escapes a purge, and
            // isn't sent any more.
            self.producer.purge();
            self.acknowledge()?;
            if self.ledger.in_flight() == 0 {
                break;
            }
            self.wait_for_step()?;
        }
        if self.transaction.as_ref().is_some_and(|transaction| transaction.has_purged_in_flight) {
            return self.replace_producer("records of the aborted transaction may still be on their way");
        }
        if !self.take_abort()? {
            return self.replace_producer("the brokers have ended the transaction");
        }
        self.rewind_to_group()
    }

    /// Has the coordinator abort the transaction. Returns whether it has; otherwise the producer is of no use any more.
    fn take_abort(&mut self) -> Result<bool, WorkerError> {
        match self.take_step(None, |producer| producer.abort_transaction()) {
            Ok(StepOutcome::Done) => {
                self.transaction = Some(Transaction::default());
                Ok(true)
            }
            // Where no record has got as far as the brokers, they know of no transaction that could be aborted.
            Ok(StepOutcome::Refused(_)) | Err(WorkerError::Transaction(TransactionError::Fatal(_))) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Replaces the producer. Its successor aborts what it left open.
    fn replace_producer(&mut self, reason: &str) -> Result<(), WorkerError> {
        tracing::info!(reason, "another producer takes the place of this one");
        self.ledger.forget_in_flight();
        self.finished.clear();
        self.init_another_producer()?;
        self.rewind_to_group()
    }

    /// Asks the group where the partitions continue after an abort. A commit whose answer never came may have been taken, and one
    /// that the coordinator has confirmed may be lost: Kafka 4.3 writes no marker to a partition without a leader, and the next
    /// abort takes the outputs along.
    fn rewind_to_group(&mut self) -> Result<(), WorkerError> {
        let mut release_at = self.now() + PENDING_OFFSETS_TIMEOUT;
        let (mut leases, mut question) = self.ask_commits();
        loop {
            match question.try_take() {
                // A partition that was away meanwhile may be further by now.
                Some(Ok(_)) if self.partitions.lease_count() != leases => (leases, question) = self.ask_commits(),
                Some(Ok(commits)) => {
                    let now = self.now();
                    for (partition, commit) in commits {
                        self.has_new_starts |= commit.is_none();
                        self.partitions.rewind_to(&partition, commit, now);
                    }
                    self.ask_for_identities();
                    return Ok(());
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "the committed offsets could not be fetched; asking again");
                    if self.now() >= release_at {
                        self.release_offsets()?;
                        release_at = self.now() + PENDING_OFFSETS_TIMEOUT;
                    }
                    self.wait_for_step()?;
                    (leases, question) = self.ask_commits();
                }
                None => self.wait_for_step()?,
            }
        }
    }

    /// The question what the group has committed, and the number of leases when it was asked.
    fn ask_commits(&self) -> (u64, Pending<GroupCommits>) {
        (self.partitions.lease_count(), self.consumer.ask_commits(self.partitions.assigned()))
    }

    fn init_another_producer(&mut self) -> Result<(), WorkerError> {
        self.transaction = Some(Transaction::default());
        self.producer = (self.producers)()?;
        while let StepOutcome::Refused(cause) = self.take_step(None, |producer| producer.init_transactions())? {
            tracing::debug!(cause, "the coordinator refuses the new producer; it is asked again");
        }
        Ok(())
    }

    /// Releases offsets that hang in the group, if partitions have waited for their starts for long. An open transaction does the
    /// same when it ends.
    pub(super) fn release_offsets_if_pending(&mut self, now: Instant) -> Result<(), WorkerError> {
        let is_long = |since| now.saturating_duration_since(since) >= PENDING_OFFSETS_TIMEOUT;
        let is_idle = self.transaction.as_ref().is_some_and(|transaction| transaction.opened_at.is_none());
        if is_idle && self.starts_unknown_since.is_some_and(is_long) {
            self.starts_unknown_since = None;
            self.release_offsets()?;
        }
        Ok(())
    }

    /// Releases offsets that hang in the group, since a transaction has ended without its marker. They stay pending, and nobody
    /// learns where the partitions begin, until another transaction of the same id with offsets of the group ends. This one is
    /// aborted, so it doesn't matter which offsets it has.
    fn release_offsets(&mut self) -> Result<(), WorkerError> {
        let Some(member) = self.consumer.member() else { return Ok(()) };
        let member = Arc::new(member);
        tracing::warn!(
            "offsets of the group stay pending: the brokers may have ended a transaction without its markers, as Kafka 4.3 \
             does where a partition has no leader; aborting them, so records may come out twice"
        );
        let commit = |partition| Commit { partition, position: Position::at(0), topic_id: None };
        let offsets: Vec<_> = self.partitions.assigned().into_iter().map(commit).collect();
        self.begin_if_needed(0)?;
        let deadline = self.now() + TRANSACTION_TIMEOUT;
        // Refused or not, the group's offsets are part of the transaction now.
        self.take_step(Some(deadline), |producer| producer.send_offsets(&offsets, &member))?;
        if !self.take_abort()? {
            self.init_another_producer()?;
        }
        Ok(())
    }

    /// How long the next commit is still away; never zero.
    pub(super) fn until_commit(&self, now: Instant) -> Duration {
        if self.transaction.is_some() && !self.is_in_transaction() {
            return Duration::MAX;
        }
        self.transaction_due().saturating_duration_since(now).max(Duration::from_millis(1))
    }

    /// When the open transaction is to be committed.
    fn transaction_due(&self) -> Instant {
        if !self.is_behind || self.transaction.is_none() {
            return self.commit_due;
        }
        let longest = TRANSACTION_TIMEOUT / 2;
        let more = (self.commit_interval * (INTERVALS_BEHIND - 1)).min(longest.saturating_sub(self.commit_interval));
        self.commit_due + more
    }

    fn is_in_transaction(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| transaction.opened_at.is_some())
    }

    /// Whether the open transaction is older than the brokers let it become.
    fn is_overdue(&self) -> bool {
        let opened_at = self.transaction.as_ref().and_then(|transaction| transaction.opened_at);
        opened_at.is_some_and(|opened_at| self.now().saturating_duration_since(opened_at) >= TRANSACTION_TIMEOUT)
    }

    /// Takes a step until it is done, up to `until`. Meanwhile the worker stays a member of its group, and gives it whatever it
    /// asks for: nothing more can be finished before.
    fn take_step(
        &mut self,
        until: Option<Instant>,
        start: impl Fn(&K::Producer) -> Result<Step, TransactionError>,
    ) -> Result<StepOutcome, WorkerError> {
        let mut step = start(&self.producer)?;
        loop {
            match step.try_take() {
                None => {}
                Some(Ok(())) => return Ok(StepOutcome::Done),
                Some(Err(TransactionError::Retriable(cause))) => {
                    if until.is_some_and(|until| self.now() >= until) {
                        return Ok(StepOutcome::Refused(cause.to_string()));
                    }
                    step = start(&self.producer)?;
                }
                Some(Err(TransactionError::Abortable(cause))) => {
                    self.note_refused_offsets(&cause);
                    return Ok(StepOutcome::Refused(cause.to_string()));
                }
                Some(Err(TransactionError::Fenced { .. })) if self.is_overdue() => {
                    return Ok(StepOutcome::Refused("it was open for longer than the brokers allow".into()));
                }
                Some(Err(error)) => return Err(error.into()),
            }
            self.wait_for_step()?;
        }
    }

    /// Waits a moment, keeps the worker in its group, and gives the group whatever it asks for.
    fn wait_for_step(&mut self) -> Result<(), WorkerError> {
        self.give_up_after_the_deadline()?;
        self.producer.flush();
        self.surroundings.wait(WAIT_STEP);
        let now = self.now();
        self.heartbeat.polled(now);
        self.consumer.serve()?;
        while let Some(event) = self.consumer.next_event() {
            self.accept(event)?;
        }
        Ok(())
    }
}

//! What is between both ends of a worker: records in flight, room for more, rebalances, commits of offsets. Commits in
//! transactions are in [`super::transaction`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ledger::Ledger;
use super::sink::{Sent, Sink};
use super::source::{Held, Source};
use super::transaction::Transaction;
use super::{Activity, Pulse, Stop, WorkerError};
use crate::http::Condition;
use crate::kafka::consumer::{GroupEvent, TopicPartition};
use crate::kafka::producer::Producer;
use crate::kafka::{self, KafkaError};
use crate::monitor::metrics::{CommitOutcome, Rebalance, WorkerMetrics};

/// How many records a worker may have in flight. At 300,000 records/s that is 60 ms of acknowledgements; beyond it,
/// the brokers are what is slow.
const MAX_IN_FLIGHT: usize = 20_000;

/// How long a worker that has no room waits before it pauses its partitions. A pause throws away what was fetched
/// ahead, so it has to be worth it; but without polling the worker would lose its membership.
const PAUSE_AFTER: Duration = Duration::from_secs(1);

/// How long a revocation may take. The group waits for it, and it must stay below `max.poll.interval.ms`.
pub(crate) const REVOKE_TIMEOUT: Duration = Duration::from_secs(10);

/// After so long without any acknowledgement the worker isn't ready.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// How often lag and records in flight are told.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The pause before a commit that a rebalance refused is tried again.
const COMMIT_RETRY: Duration = Duration::from_millis(20);

/// One step of waiting for acknowledgements, while nothing comes.
pub(super) const SETTLE_STEP: Duration = Duration::from_millis(10);

/// Both ends, and what is in flight between them.
pub(super) struct Flow<'c> {
    pub(super) source: Source<'c>,
    pub(super) sink: Sink,
    pub(super) ledger: Ledger,
    pub(super) metrics: WorkerMetrics,
    pub(super) ready: &'c Condition,
    pub(super) pulse: &'c Pulse,
    /// Whether the group has given this worker its partitions, be they none.
    pub(super) joined: bool,
    /// Why the group doesn't take this worker.
    pub(super) denial: Option<String>,
    pub(super) stop: Arc<Stop>,
    /// With exactly-once.
    pub(super) transaction: Option<Transaction>,
    /// Makes another producer like the sink's.
    pub(super) producers: &'c dyn Fn() -> Result<Producer, KafkaError>,
    pub(super) commit_interval: Duration,
    pub(super) commit_due: Instant,
    pub(super) report_due: Instant,
    /// When something in flight was last acknowledged, or nothing was in flight.
    pub(super) progressed_at: Instant,
}

impl<'c> Flow<'c> {
    /// Takes acknowledgements, waiting up to `timeout` for the first; `done` hears of each batch they complete.
    pub(super) fn settle(&mut self, timeout: Duration, done: impl FnMut(&mut Sent)) -> Result<(), WorkerError> {
        let before = self.ledger.in_flight();
        let settled = self.sink.settle(timeout, &mut self.ledger, done);
        if before == 0 || self.ledger.in_flight() < before {
            self.progressed_at = Instant::now();
        }
        settled.map_err(|error| match self.transaction {
            Some(_) if error.ends_transaction() => WorkerError::Aborted(error.source.to_string()),
            _ => error.into(),
        })
    }

    /// Waits until `records` more can be in flight.
    pub(super) fn make_room(&mut self, records: usize, done: &mut impl FnMut(&mut Sent)) -> Result<(), WorkerError> {
        self.wait_until(|ledger| ledger.in_flight() == 0 || ledger.in_flight() + records <= MAX_IN_FLIGHT, done)
    }

    /// Waits until something of what is in flight is acknowledged: the producer's queue is full.
    pub(super) fn wait_for_progress(&mut self, done: &mut impl FnMut(&mut Sent)) -> Result<(), WorkerError> {
        let before = self.ledger.in_flight();
        self.wait_until(|ledger| ledger.in_flight() < before || before == 0, done)
    }

    /// Waits for a state of the books, by serving acknowledgements. After a second the partitions are paused and the
    /// group is polled as well, so that a slow or absent broker never costs the membership.
    fn wait_until(
        &mut self,
        is_met: impl Fn(&Ledger) -> bool,
        done: &mut impl FnMut(&mut Sent),
    ) -> Result<(), WorkerError> {
        while !is_met(&self.ledger) {
            self.settle(SETTLE_STEP, &mut *done)?;
            if self.transaction.is_none() {
                self.commit_offsets_if_due(Instant::now());
            }
            self.give_up_after_the_deadline()?;
            self.stay_a_member()?;
            while let Some(event) = self.source.next_event() {
                self.serve(event, done)?;
            }
        }
        Ok(())
    }

    /// Pauses and polls, when the group hasn't been polled for a second.
    pub(super) fn stay_a_member(&mut self) -> Result<(), WorkerError> {
        let now = Instant::now();
        if self.pulse.unpolled(now) < PAUSE_AFTER {
            return Ok(());
        }
        if !self.source.is_paused() {
            let in_flight = self.ledger.in_flight();
            tracing::warn!(in_flight, "the brokers are slow to answer; the inputs are paused");
            self.source.set_paused(true)?;
            self.tell_readiness();
        }
        self.pulse.polled(now);
        self.report_if_due(now);
        self.source.serve()?;
        Ok(())
    }

    /// Fetches again, if that was stopped: there is room.
    pub(super) fn resume(&mut self) -> Result<(), WorkerError> {
        if self.source.is_paused() {
            self.source.set_paused(false)?;
            self.tell_readiness();
            tracing::info!("the brokers answer again; the inputs are consumed on");
        }
        Ok(())
    }

    /// Whether a record that is held may still go out.
    pub(super) fn owns(&self, held: &Held<'_>) -> bool {
        self.ledger.owns_since(held.partition, held.assignment)
    }

    /// Answers a group event. Whatever batch the caller could finish before is finished.
    pub(super) fn serve(&mut self, event: GroupEvent, done: &mut impl FnMut(&mut Sent)) -> Result<(), WorkerError> {
        self.pulse.enter(Activity::Rebalance);
        let finished = match event {
            GroupEvent::Revoke(_) => self.commit_now(Instant::now() + REVOKE_TIMEOUT, done),
            GroupEvent::Lost(_) => self.doubt_transaction(),
            _ => Ok(()),
        };
        // Whatever became of that, the group waits for the answer.
        self.accept(event)?;
        finished
    }

    /// Answers a group event when nothing more can be finished before.
    pub(super) fn accept(&mut self, event: GroupEvent) -> Result<(), WorkerError> {
        match event {
            GroupEvent::Assign(partitions) => {
                self.metrics.rebalanced(Rebalance::Assign);
                tracing::info!(partitions = %names(&partitions), "partitions assigned");
                self.source.take_up(partitions, &mut self.ledger)?;
                self.joined = true;
                self.denial = None;
                self.tell_readiness();
            }
            GroupEvent::Revoke(partitions) => {
                self.metrics.rebalanced(Rebalance::Revoke);
                tracing::info!(partitions = %names(&partitions), "partitions revoked");
                self.let_go(&partitions)?;
            }
            GroupEvent::Lost(partitions) => {
                self.metrics.rebalanced(Rebalance::Lost);
                tracing::warn!(partitions = %names(&partitions), "partitions lost; nothing of them is committed");
                self.joined = false;
                self.tell_readiness();
                self.let_go(&partitions)?;
            }
            GroupEvent::Denied { reason } => {
                if self.denial.as_ref() != Some(&reason) {
                    tracing::warn!("the group doesn't take this worker: {reason}");
                }
                self.denial = Some(reason);
                self.tell_readiness();
            }
            GroupEvent::OffsetReset { topic } => self.metrics.offset_reset(&topic),
            // Only where the group is served by `serve_all`.
            GroupEvent::Stray { .. } | GroupEvent::PartitionError(_) => {}
        }
        Ok(())
    }

    /// Waits until everything is acknowledged. Returns at the deadline, whatever is in flight then.
    pub(super) fn drain(&mut self, deadline: Instant, done: &mut impl FnMut(&mut Sent)) -> Result<(), WorkerError> {
        while self.ledger.in_flight() > 0 && Instant::now() < deadline {
            self.settle(SETTLE_STEP, &mut *done)?;
        }
        Ok(())
    }

    /// Commits when it is time.
    pub(super) fn commit_if_due(&mut self, done: &mut impl FnMut(&mut Sent)) -> Result<(), WorkerError> {
        if self.transaction.is_some() {
            return self.commit_transaction_if_due(done);
        }
        self.commit_offsets_if_due(Instant::now());
        Ok(())
    }

    /// Commits all that is done until the deadline, and waits for it.
    pub(super) fn commit_now(
        &mut self,
        deadline: Instant,
        done: &mut impl FnMut(&mut Sent),
    ) -> Result<(), WorkerError> {
        if self.transaction.is_some() {
            return self.commit_transaction(deadline, done);
        }
        self.drain(deadline, done)?;
        self.commit_offsets(deadline);
        Ok(())
    }

    /// Commits what is done when it is time, and takes the outcome of the last commit. Never waits.
    fn commit_offsets_if_due(&mut self, now: Instant) {
        if let Some(result) = self.source.finish_commit(Duration::ZERO, &mut self.ledger) {
            self.count_commit(&result);
        }
        if now >= self.commit_due {
            self.commit_due = now + self.commit_interval;
            self.start_commit();
        }
    }

    /// Commits all that is done, and waits for it until the deadline. While the group changes, for instance since
    /// another worker of this process has just left, commits are refused for a moment: they are tried again.
    pub(super) fn commit_offsets(&mut self, deadline: Instant) {
        loop {
            self.start_commit();
            if !self.source.is_committing() {
                // Nothing is left to commit, or no commit can be started.
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(result) = self.source.finish_commit(left, &mut self.ledger) else {
                tracing::warn!("the brokers did not confirm the last commit in time");
                return self.metrics.committed(CommitOutcome::Failed);
            };
            self.count_commit(&result);
            match result {
                Err(error) if !kafka::is_rebalancing(&error) => return,
                Err(_) => std::thread::sleep(COMMIT_RETRY),
                Ok(()) => {}
            }
        }
    }

    fn start_commit(&mut self) {
        if let Err(error) = self.source.start_commit(&self.ledger) {
            self.count_commit(&Err(error));
        }
    }

    fn count_commit(&self, result: &Result<(), KafkaError>) {
        match result {
            Ok(()) => return self.metrics.committed(CommitOutcome::Ok),
            Err(error) if kafka::is_rebalancing(error) => {
                tracing::debug!(%error, "a rebalance overtook a commit; its offsets go with the next one");
            }
            Err(error) => tracing::warn!(%error, "a commit failed; its offsets go with the next one"),
        }
        self.metrics.committed(CommitOutcome::Failed);
    }

    /// Tells the metrics now and then how many records are in flight, and how far each partition is behind.
    pub(super) fn report_if_due(&mut self, now: Instant) {
        if now < self.report_due {
            return;
        }
        self.report_due = now + REPORT_INTERVAL;
        self.tell_readiness();
        self.metrics.in_flight(self.ledger.in_flight());
        for (TopicPartition { topic, partition }, lag) in self.source.lag(now) {
            self.metrics.lag(&topic, partition, lag);
        }
    }

    fn let_go(&mut self, partitions: &[TopicPartition]) -> Result<(), WorkerError> {
        for TopicPartition { topic, partition } in partitions {
            self.metrics.unassigned(topic, *partition);
        }
        self.source.let_go(partitions, &mut self.ledger)?;
        Ok(())
    }

    fn tell_readiness(&self) {
        let stuck = if self.ledger.in_flight() > 0 { self.progressed_at.elapsed() } else { Duration::ZERO };
        if stuck > STUCK_AFTER {
            let (in_flight, seconds) = (self.ledger.in_flight(), stuck.as_secs());
            self.ready.not_ready(format!("the brokers have acknowledged none of {in_flight} outputs for {seconds} s"));
        } else if self.source.is_paused() {
            self.ready.not_ready("the brokers are slow to answer");
        } else if let Some(denial) = &self.denial {
            self.ready.not_ready(denial.as_str());
        } else if !self.joined {
            self.ready.not_ready("joining the group");
        } else {
            self.ready.ready();
        }
    }

    pub(super) fn give_up_after_the_deadline(&self) -> Result<(), WorkerError> {
        match self.stop.deadline() {
            Some(deadline) if Instant::now() >= deadline => {
                Err(WorkerError::DrainTimeout { in_flight: self.ledger.in_flight() })
            }
            _ => Ok(()),
        }
    }
}

fn names(partitions: &[TopicPartition]) -> String {
    let names: Vec<_> = partitions.iter().map(|p| format!("{}[{}]", p.topic, p.partition)).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

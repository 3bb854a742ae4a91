//! Both ends of a worker, and what is in flight between them.
//!
//! What happens at the consuming end is in [`super::source`], at the producing end in [`super::sink`]. Rebalances are in
//! [`super::rebalance`], commits of offsets in [`super::commits`], and commits in transactions in [`super::transaction`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::commits::{CommitInFlight, FailedCommits};
use super::ledger::Ledger;
use super::membership::Membership;
use super::partitions::PartitionTable;
use super::ports::{Clients, GroupConsumer, OutputProducer, Surroundings};
use super::sink::Refusals;
use super::source::RouteQueue;
use super::transaction::Transaction;
use super::{Heartbeat, Stop, WorkerError};
use crate::health::ReadinessCheck;
use crate::kafka::KafkaError;
use crate::kafka::consumer::{Start, TopicPartition};
use crate::kafka::pending::Pending;
use crate::kafka::watch::TopicSnapshot;
use crate::monitor::metrics::WorkerMetrics;

/// After so long without any acknowledgement the worker isn't ready.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// How often lag, silence and readiness are looked at.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// One step of waiting where the loop has to wait for something in particular.
pub(super) const WAIT_STEP: Duration = Duration::from_millis(10);

/// Both ends of a worker.
pub(super) struct Brokers<'c, K: Clients> {
    pub(super) consumer: &'c K::Consumer,
    pub(super) producer: K::Producer,
    /// Makes another producer like the present one.
    pub(super) producers: &'c dyn Fn() -> Result<K::Producer, KafkaError>,
    pub(super) surroundings: &'c dyn Surroundings,
    pub(super) partitions: PartitionTable,
    /// Input topics that were missing or might not be read when the worker subscribed.
    pub(super) unsubscribed: Vec<String>,
    pub(super) ledger: Ledger,
    /// By route.
    pub(super) queues: Vec<RouteQueue<<K::Consumer as GroupConsumer>::Record<'c>>>,
    /// The question where partitions begin, and when it is to be asked again.
    pub(super) starts: Option<Pending<Vec<(TopicPartition, Start)>>>,
    pub(super) starts_due: Instant,
    /// Since when the brokers have refused to say it.
    pub(super) starts_unknown_since: Option<Instant>,
    /// How many seeks in a row have failed.
    pub(super) failed_seeks: u32,
    pub(super) commit: Option<CommitInFlight>,
    pub(super) commit_interval: Duration,
    pub(super) commit_due: Instant,
    /// Whether every route that takes records has more of them than it could take.
    pub(super) is_behind: bool,
    /// Whether partitions began where the group had no commit, which is to be committed even if nothing comes.
    pub(super) has_new_starts: bool,
    /// Until then they are left out of commits.
    pub(super) starts_held_until: Instant,
    /// Since when something has been delivered that isn't committed.
    pub(super) uncommitted_since: Option<Instant>,
    /// The commits that failed since the last one that was taken.
    pub(super) failed_commits: Option<FailedCommits>,
    /// With exactly-once.
    pub(super) transaction: Option<Transaction>,
    pub(super) refusals: Refusals,
    /// Batches that are done and not observed yet.
    pub(super) finished: Vec<usize>,
    /// Batches that partitions no longer list.
    pub(super) unlisted: Vec<usize>,
    pub(super) metrics: WorkerMetrics,
    pub(super) ready: &'c ReadinessCheck,
    pub(super) heartbeat: &'c Heartbeat,
    pub(super) stop: Arc<Stop>,
    membership: Membership,
    /// Why its group doesn't take it, if that is known, with what to do.
    denied: Option<&'c str>,
    /// What to do when the brokers deny it membership.
    pub(super) denial: &'c str,
    pub(super) report_due: Instant,
    /// When something in flight was last acknowledged, or nothing was in flight.
    pub(super) progressed_at: Instant,
}

/// What [`Brokers::new`] is made from.
pub(super) struct Parts<'c, K: Clients> {
    pub(super) consumer: &'c K::Consumer,
    pub(super) producer: K::Producer,
    pub(super) producers: &'c dyn Fn() -> Result<K::Producer, KafkaError>,
    pub(super) surroundings: &'c dyn Surroundings,
    pub(super) metrics: WorkerMetrics,
    pub(super) ready: &'c ReadinessCheck,
    pub(super) heartbeat: &'c Heartbeat,
    pub(super) stop: Arc<Stop>,
    pub(super) transaction: Option<Transaction>,
    pub(super) commit_interval: Duration,
    /// The session timeout of the group's members.
    pub(super) session: Duration,
    /// What to do when the brokers deny it membership in its group.
    pub(super) denial: &'c str,
}

impl<'c, K: Clients> Brokers<'c, K> {
    /// Subscribes to those topics that can be used, or else to all of them. Each comes with the number of the route that takes
    /// its records.
    ///
    /// One that is missing would be an error every few seconds, and with `group.protocol = consumer` one that may not be seen
    /// keeps the worker out of its group. When such a topic can be used, the worker gets other clients: librdkafka can assert
    /// when a subscription changes while the consumer rejoins (`rd_kafka_cgrp_modify_subscription`).
    pub(super) fn new(
        parts: Parts<'c, K>,
        topics: Vec<(String, usize)>,
        routes: usize,
        snapshot: &TopicSnapshot,
    ) -> Result<Self, WorkerError> {
        let names = topics.iter().map(|(name, _)| name.as_str());
        let (mut subscribed, mut unsubscribed): (Vec<_>, Vec<_>) = names.partition(|name| snapshot.is_usable(name));
        if subscribed.is_empty() {
            std::mem::swap(&mut subscribed, &mut unsubscribed);
        }
        parts.consumer.subscribe(&subscribed)?;
        let unsubscribed = unsubscribed.into_iter().map(str::to_owned).collect();
        let now = parts.surroundings.now();
        Ok(Brokers {
            consumer: parts.consumer,
            producer: parts.producer,
            producers: parts.producers,
            surroundings: parts.surroundings,
            partitions: PartitionTable::new(topics),
            unsubscribed,
            ledger: Ledger::new(routes),
            queues: (0..routes).map(|_| RouteQueue::default()).collect(),
            starts: None,
            starts_due: now,
            starts_unknown_since: None,
            failed_seeks: 0,
            commit: None,
            commit_interval: parts.commit_interval,
            commit_due: now + parts.commit_interval,
            is_behind: false,
            has_new_starts: false,
            starts_held_until: now,
            uncommitted_since: None,
            failed_commits: None,
            transaction: parts.transaction,
            refusals: Refusals::default(),
            finished: Vec::new(),
            unlisted: Vec::new(),
            metrics: parts.metrics,
            ready: parts.ready,
            heartbeat: parts.heartbeat,
            stop: parts.stop,
            membership: Membership::new(parts.session),
            denied: None,
            denial: parts.denial,
            report_due: now + REPORT_INTERVAL,
            progressed_at: now,
        })
    }

    pub(super) fn now(&self) -> Instant {
        self.surroundings.now()
    }

    /// Notes that the group has assigned partitions to this worker, be they none.
    pub(super) fn note_assignment(&mut self) {
        self.membership.assigned();
        self.report_due = self.now();
    }

    /// Notes that the group continues without this worker.
    pub(super) fn note_loss(&mut self) {
        self.membership.lost(self.consumer.generation());
        self.report_due = self.now();
    }

    /// Notes whether the brokers deny this worker membership in its group, as they did or didn't just now, with what to do.
    pub(super) fn set_denied(&mut self, denied: Option<&'c str>) {
        if denied == self.denied {
            return;
        }
        self.denied = denied;
        self.report_due = self.now();
        match denied {
            Some(denial) => tracing::warn!("the brokers deny this worker its group: {denial}"),
            None => tracing::info!("the brokers accept this worker in its group again"),
        }
    }

    /// Waits a moment for something in particular, and stays a member of the group meanwhile.
    pub(super) fn wait_a_moment(&mut self) -> Result<(), WorkerError> {
        self.producer.flush();
        self.surroundings.wait(WAIT_STEP);
        self.heartbeat.polled(self.now());
        self.consumer.serve()?;
        Ok(())
    }

    /// Reports lag and readiness now and then, and looks for partitions that stand still. `refused` says why routes wait for an
    /// output.
    pub(super) fn report_if_due(&mut self, now: Instant, refused: &[String]) {
        if now < self.report_due {
            return;
        }
        self.report_due = now + REPORT_INTERVAL;
        self.look_for_silence(now);
        self.metrics.in_flight(self.ledger.in_flight());
        self.report_lag();
        self.report_commit_age(now);
        self.report_readiness(now, refused);
    }

    /// Reports to readiness what this worker waits for.
    pub(super) fn report_readiness(&mut self, now: Instant, refused: &[String]) {
        let in_flight = self.ledger.in_flight();
        let stuck = if in_flight > 0 { now.saturating_duration_since(self.progressed_at) } else { Duration::ZERO };
        let mut troubles = self.partitions.troubles(now);
        troubles.extend(self.failed_commits.as_ref().and_then(|failed| failed.trouble(now)));
        let may_join = self.denied.is_none() && self.surroundings.topics().unanswered_since.is_none();
        let is_member = self.membership.observe(self.consumer.generation(), may_join, now);
        if stuck > STUCK_AFTER {
            let seconds = stuck.as_secs();
            self.ready.not_ready(format!("the brokers have acknowledged none of {in_flight} outputs for {seconds} s"));
        } else if let Some(denial) = self.denied {
            self.ready.not_ready(denial);
        } else if !is_member {
            self.ready.not_ready("joining the group");
        } else if !troubles.is_empty() || !refused.is_empty() {
            self.ready.not_ready(summary(refused.iter().chain(&troubles)));
        } else {
            self.ready.ready();
        }
    }

    /// For how long this worker has been no member of its group though it may be one, if that is too long.
    pub(super) fn left_out_for(&self, now: Instant) -> Option<Duration> {
        self.membership.left_out_for(now)
    }

    /// Fails when a stop has taken longer than it may.
    pub(super) fn give_up_after_the_deadline(&self) -> Result<(), WorkerError> {
        match self.stop.deadline() {
            Some(deadline) if self.now() >= deadline => {
                Err(WorkerError::DrainTimeout { in_flight: self.ledger.in_flight() })
            }
            _ => Ok(()),
        }
    }
}

/// The first few of many reasons.
fn summary<'a>(reasons: impl Iterator<Item = &'a String>) -> String {
    const SHOWN: usize = 5;
    let reasons: Vec<&str> = reasons.map(String::as_str).collect();
    let more = reasons.len().saturating_sub(SHOWN);
    let shown = reasons.iter().take(SHOWN).copied().collect::<Vec<_>>().join("; ");
    if more == 0 { shown } else { format!("{shown}; and {more} more") }
}

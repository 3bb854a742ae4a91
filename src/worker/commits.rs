//! Commits of offsets without transactions, and stops.

use std::time::{Duration, Instant};

use super::WorkerError;
use super::brokers::Brokers;
use super::partitions::CommitPoint;
#[cfg(feature = "planted-bugs")]
use super::planted;
use super::ports::{Clients, GroupConsumer};
use crate::kafka::consumer::TopicPartition;
use crate::kafka::{self, KafkaError};
use crate::monitor::metrics::CommitOutcome;

/// A commit that the brokers haven't answered yet.
pub(super) struct CommitInFlight {
    points: Vec<CommitPoint>,
}

/// How long bare starts are left out of commits after the brokers have refused offsets of a topic.
const HELD_STARTS_RETRY: Duration = Duration::from_secs(30);

/// After so many commits in a row that failed the worker isn't ready. A rebalance, or records that an output refuses, take fewer.
const MOST_FAILED: u32 = 10;

/// A worker that doesn't try to commit any more is ready again after so long.
const FAILED_SHOWN: Duration = Duration::from_secs(30);

/// Commits in a row that were not taken. With exactly-once a commit is a transaction.
pub(super) struct FailedCommits {
    count: u32,
    /// Why the last one was not.
    reason: String,
    at: Instant,
}

impl FailedCommits {
    /// What is wrong, if that has lasted.
    pub(super) fn trouble(&self, now: Instant) -> Option<String> {
        let FailedCommits { count, reason, at } = self;
        let is_recent = now.saturating_duration_since(*at) < FAILED_SHOWN;
        (*count >= MOST_FAILED && is_recent).then(|| format!("the last {count} commits failed: {reason}"))
    }
}

impl<K: Clients> Brokers<'_, K> {
    /// Commits when it is time.
    pub(super) fn commit_if_due(&mut self, now: Instant) -> Result<(), WorkerError> {
        if self.transaction.is_some() {
            return self.commit_transaction_if_due(now);
        }
        self.take_commit_result();
        if now >= self.commit_due {
            self.commit_due = now + self.commit_interval;
            self.start_commit();
        }
        Ok(())
    }

    /// Commits all that is done until the deadline, and waits for it.
    pub(super) fn commit_now(&mut self, deadline: Instant) -> Result<(), WorkerError> {
        if self.transaction.is_some() {
            return self.commit_transaction(deadline);
        }
        self.drain(deadline)?;
        self.commit_offsets(deadline)
    }

    /// Waits until everything is acknowledged. Returns at the deadline, whatever is in flight then.
    pub(super) fn drain(&mut self, deadline: Instant) -> Result<(), WorkerError> {
        loop {
            self.acknowledge()?;
            if self.ledger.in_flight() == 0 || self.now() >= deadline {
                return Ok(());
            }
            self.wait_a_moment()?;
        }
    }

    /// Commits all that is done, and waits for it until the deadline. While the group changes, for instance since another worker
    /// of this process has just left, commits are refused for a moment: they are tried again.
    pub(super) fn commit_offsets(&mut self, deadline: Instant) -> Result<(), WorkerError> {
        loop {
            if self.commit.is_none() {
                self.start_commit();
                if self.commit.is_none() {
                    // Nothing is left to commit, or no commit can be started.
                    return Ok(());
                }
            }
            match self.take_commit_result() {
                Some(Err(error)) if !kafka::is_rebalancing(&error) => return Ok(()),
                Some(Ok(refused)) if !refused.is_empty() => return Ok(()),
                Some(Ok(_)) => {}
                None if self.now() >= deadline => {
                    tracing::warn!("the brokers did not confirm the last commit in time");
                    self.metrics.committed(CommitOutcome::Failed);
                    return Ok(());
                }
                Some(Err(_)) | None => self.wait_a_moment()?,
            }
        }
    }

    fn start_commit(&mut self) {
        if self.commit.is_some() {
            return;
        }
        let points = self.partitions.committable(self.commits_starts());
        #[cfg(feature = "planted-bugs")]
        let points = planted::points(&self.partitions, points);
        if points.is_empty() {
            return;
        }
        match self.consumer.start_commit(&self.partitions.commits(&points)) {
            Ok(()) => self.commit = Some(CommitInFlight { points }),
            Err(error) => self.note_failed_commit(&error),
        }
    }

    /// Reports how long something has been delivered that isn't committed: with transactions, handed over.
    pub(super) fn report_commit_age(&mut self, now: Instant) {
        let is_committed = match self.transaction {
            Some(_) => self.partitions.handed_over(self.commits_starts()).is_empty(),
            None => self.partitions.committable(self.commits_starts()).is_empty(),
        };
        self.uncommitted_since = if is_committed { None } else { self.uncommitted_since.or(Some(now)) };
        self.metrics.commit_age(self.uncommitted_since);
    }

    /// The brokers have taken a commit: what isn't part of it is younger.
    pub(super) fn note_commit(&mut self, points: &[CommitPoint]) {
        self.partitions.committed(points);
        self.metrics.committed(CommitOutcome::Ok);
        (self.uncommitted_since, self.failed_commits) = (None, None);
        self.set_denied(None);
    }

    /// Whether bare starts are committed now.
    pub(super) fn commits_starts(&self) -> bool {
        self.now() >= self.starts_held_until
    }

    /// The brokers refuse offsets. Those of one partition that is gone, or that may not be read, keep all others from being
    /// committed. Where nothing was consumed, its start can wait.
    pub(super) fn note_refused_offsets(&mut self, error: &KafkaError) {
        // The heartbeats are refused as well, but librdkafka reports that only when the session is over.
        if kafka::is_denial(error) {
            self.set_denied(Some(self.denial));
        }
        if kafka::is_about_topic(error) {
            self.starts_held_until = self.now() + HELD_STARTS_RETRY;
        }
    }

    /// The outcome of the commit under way, if it has come.
    fn take_commit_result(&mut self) -> Option<Result<Vec<(TopicPartition, KafkaError)>, KafkaError>> {
        self.commit.as_ref()?;
        let result = self.consumer.commit_result()?;
        let CommitInFlight { mut points } = self.commit.take()?;
        match &result {
            Ok(refused) => {
                for (partition, error) in refused {
                    points.retain(|point| !self.partitions.is_of(point, partition));
                    self.note_refused_offsets(error);
                    if kafka::is_unknown_topic(error) {
                        self.suspect(&partition.topic, self.now());
                    }
                    let TopicPartition { topic, partition } = partition;
                    tracing::warn!(topic, partition, %error, "the group refuses an offset; it goes with the next commit");
                }
                if refused.is_empty() {
                    self.note_commit(&points);
                } else {
                    self.partitions.committed(&points);
                    self.metrics.committed(CommitOutcome::Failed);
                }
            }
            Err(error) => self.note_failed_commit(error),
        }
        Some(result)
    }

    /// A commit, or a transaction, has failed once more.
    pub(super) fn count_failed_commit(&mut self, reason: String) {
        let count = self.failed_commits.as_ref().map_or(0, |failed| failed.count) + 1;
        self.failed_commits = Some(FailedCommits { count, reason, at: self.now() });
    }

    fn note_failed_commit(&mut self, error: &KafkaError) {
        self.note_refused_offsets(error);
        if kafka::is_rebalancing(error) {
            tracing::debug!(%error, "a rebalance overtook a commit; its offsets go with the next one");
        } else {
            self.count_failed_commit(error.to_string());
            tracing::warn!(%error, "a commit failed; its offsets go with the next one");
        }
        self.metrics.committed(CommitOutcome::Failed);
    }
}

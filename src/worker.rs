//! The workers: named threads that move records from poll to commit.
//!
//! - `main_loop`: the order of things, on one screen
//! - `brokers`: both ends of a worker, and what is in flight between them
//! - `source`, `sink`: the consuming and the producing end
//! - `rebalance`, `commits`, `transaction`: what the group decides, and what is committed
//! - `partitions`: the state of every partition (pure)
//! - `ledger`: the batches in flight (pure)
//! - `membership`: whether a worker is a member of its group (pure)
//! - `refusal`: what is remembered of a record that an output refused
//! - `pipeline`: a route within a worker: its batch, its scorer, where its outputs go
//! - `gate`: why the records of a route wait
//! - `heartbeat`: what a worker is doing, for whoever watches it from outside
//! - `dead_letter`: what a rejected record becomes
//! - `ports`: what all of this needs of Kafka and of time; `clients` is how Kafka's clients give it
//! - `planted`: bugs on purpose, in builds for `tests/chaos` only

mod brokers;
mod clients;
mod commits;
mod dead_letter;
mod gate;
mod heartbeat;
mod ledger;
mod main_loop;
mod membership;
mod partitions;
mod pipeline;
#[cfg(feature = "planted-bugs")]
mod planted;
pub(crate) mod ports;
mod rebalance;
mod refusal;
#[cfg(test)]
mod simulation;
mod sink;
mod source;
mod transaction;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

pub use gate::{Excess, Gate};
pub use heartbeat::{Activity, Heartbeat};
pub use main_loop::{Setup, run};
pub use pipeline::Route;
pub(crate) use rebalance::REVOKE_TIMEOUT;

use crate::kafka::producer::{DeliveryError, TransactionError};
use crate::kafka::settings::TRANSACTION_TIMEOUT;
use crate::kafka::{KafkaError, is_fenced_instance};

/// The `[worker]` section.
#[derive(Clone, Debug, Deserialize)]
pub struct WorkerConfig {
    /// Worker threads; 0 = one per core.
    pub threads: usize,
    /// What is promised about each record.
    pub delivery: Delivery,
    /// What distinguishes this process from others of its group; empty = the host's name.
    pub instance: String,
    /// Whether the group keeps the partitions of a worker that is away for less than its session timeout.
    pub static_membership: bool,
    /// Milliseconds between commits; 0 = what suits the delivery.
    pub commit_interval_ms: u64,
    /// Milliseconds that a stop may take to finish what is in flight.
    pub drain_timeout_ms: u64,
}

/// What is promised about each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// It comes out once, and perhaps again after a fault.
    AtLeastOnce,
    /// Whoever reads only what is committed sees it come out once.
    ExactlyOnce,
}

impl WorkerConfig {
    /// Adds what is wrong with this section to `mistakes`.
    pub fn check(&self, mistakes: &mut Vec<String>) {
        if self.threads > 1_024 {
            mistakes.push(format!("worker.threads is {}: it can be 0 to 1024", self.threads));
        }
        let longest = TRANSACTION_TIMEOUT / 2;
        if self.delivery == Delivery::ExactlyOnce && self.commit_interval() > longest {
            mistakes.push(format!(
                "worker.commit_interval_ms is {}: with exactly_once it can be {} at most, since the brokers abort a \
                 transaction after {} s",
                self.commit_interval_ms,
                longest.as_millis(),
                TRANSACTION_TIMEOUT.as_secs()
            ));
        }
    }

    /// The time between commits.
    pub fn commit_interval(&self) -> Duration {
        Duration::from_millis(match (self.commit_interval_ms, self.delivery) {
            (0, Delivery::AtLeastOnce) => 1_000,
            (0, Delivery::ExactlyOnce) => 100,
            (millis, _) => millis,
        })
    }

    /// What names a worker's transactions, with exactly-once. It is stable over restarts: what a predecessor left open
    /// is then aborted at once.
    pub(crate) fn transactional_id(&self, group: &str, number: usize) -> Option<String> {
        (self.delivery == Delivery::ExactlyOnce).then(|| format!("{group}-{}", self.member(number)))
    }

    /// The name of a worker within its group: the same after a restart.
    fn member(&self, number: usize) -> String {
        let host = || sysinfo::System::host_name().unwrap_or_else(|| "weir".into());
        let instance = if self.instance.is_empty() { host() } else { self.instance.clone() };
        format!("{instance}-{number}")
    }

    /// What names a worker to its group, with static membership.
    pub(crate) fn group_instance_id(&self, number: usize) -> Option<String> {
        self.static_membership.then(|| self.member(number))
    }

    /// The number of threads, with 0 replaced by the number of cores.
    pub fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }
}

/// How a worker ended that didn't fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerExit {
    /// It was asked to stop.
    Stopped,
    /// Its clients can't do what is needed now.
    ClientsOutdated {
        /// Why not.
        reason: String,
    },
}

/// Why a worker ended without being asked to. Whatever it was, nothing is lost: what wasn't committed is consumed
/// again by the worker that takes its place.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A client could not be made, or can't go on.
    #[error("the Kafka client failed")]
    Client(#[source] KafkaError),
    /// Another static member has this worker's name.
    #[error(
        "another member of the group has the group.instance.id of this worker: give each process another worker.instance"
    )]
    InstanceFenced,
    /// A record could not be delivered.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// The transactional producer can't go on.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// A bug of weir.
    #[error("the worker panicked; please report this with the log")]
    Panicked,
    /// A stop took longer than `drain_timeout_ms`.
    #[error(
        "the drain timeout passed with {in_flight} records in flight; they are consumed again after the next start"
    )]
    DrainTimeout {
        /// Records that were not acknowledged.
        in_flight: usize,
    },
    /// A stop could not commit what was consumed.
    #[error("what was consumed last is not committed, so it is consumed again after the next start: {cause}")]
    NotCommitted {
        /// Why.
        cause: String,
    },
}

impl From<KafkaError> for WorkerError {
    fn from(error: KafkaError) -> WorkerError {
        if is_fenced_instance(&error) { WorkerError::InstanceFenced } else { WorkerError::Client(error) }
    }
}

/// Asks workers to stop, and bounds how long they may take.
#[derive(Debug)]
pub struct Stop {
    requested_at: Mutex<Option<Instant>>,
    requested: AtomicBool,
    changed: Condvar,
    drain_timeout: Duration,
}

impl Stop {
    /// Not requested yet.
    pub fn new(drain_timeout: Duration) -> Stop {
        Stop {
            requested_at: Mutex::new(None),
            requested: AtomicBool::new(false),
            changed: Condvar::new(),
            drain_timeout,
        }
    }

    /// Asks. Only the first call counts.
    pub fn request(&self) {
        self.at().get_or_insert_with(Instant::now);
        self.requested.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    /// Whether somebody has asked. Cheap enough for every batch.
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::Acquire)
    }

    /// The end of the time to drain, once asked.
    pub fn deadline(&self) -> Option<Instant> {
        self.requested().then(|| self.at().map(|at| at + self.drain_timeout)).flatten()
    }

    /// Waits for the request, up to `timeout`; returns whether it came.
    pub fn wait(&self, timeout: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.at(), timeout, |at| at.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_some()
    }

    fn at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.requested_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

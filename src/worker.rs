//! The workers: named threads that move records from poll to commit.
//!
//! - `line`: the order of things, on one screen
//! - `flow`: what is between both ends: records in flight, room for more, rebalances, commits
//! - `lane`: a route within a worker: its batch, its scorer, where its outputs go
//! - `source`, `sink`: the consuming and the producing end
//! - `ledger`: up to where each partition is done
//! - `dead_letter`: what a rejected record becomes

mod dead_letter;
mod flow;
mod lane;
mod ledger;
mod line;
mod sink;
mod source;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

pub(crate) use flow::REVOKE_TIMEOUT;
pub use lane::Route;
pub use line::{Setup, run};

use crate::kafka::KafkaError;
use crate::kafka::producer::DeliveryError;

/// The `[worker]` section.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct WorkerConfig {
    /// Worker threads; 0 = one per core.
    pub threads: usize,
    /// Milliseconds between commits.
    pub commit_interval_ms: u64,
    /// Milliseconds that a stop may take to finish what is in flight.
    pub drain_timeout_ms: u64,
}

impl WorkerConfig {
    /// Adds what is wrong with this section to `mistakes`.
    pub fn check(&self, mistakes: &mut Vec<String>) {
        if self.threads > 1_024 {
            mistakes.push(format!("worker.threads is {}: more than 1024 can't be meant", self.threads));
        }
        if self.commit_interval_ms == 0 {
            mistakes.push("worker.commit_interval_ms is 0: say at least 1".into());
        }
    }

    /// The number of threads, with 0 replaced by the number of cores.
    pub fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }
}

/// Why a worker ended without being asked to. Whatever it was, nothing is lost: what wasn't committed is consumed
/// again by the worker that takes its place.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A client could not be made, or can't go on.
    #[error("the Kafka client failed")]
    Client(#[from] KafkaError),
    /// A record could not be delivered.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// A worker was started before its route had a model.
    #[error("route {route:?} has no model yet")]
    NoModel {
        /// The route.
        route: String,
    },
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

//! What a worker is doing, for whoever watches it from outside: a worker that hangs can't say so itself.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a worker spends its time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It makes its clients, or waits for the transaction coordinator.
    Start,
    /// It polls.
    Poll,
    /// It decodes, scores and encodes a batch.
    Score,
    /// It hands a batch to the producer, or waits for room there.
    Produce,
    /// It ends a transaction, or goes back to the last commit.
    Commit,
    /// It answers its group: finishes what must go, starts what comes.
    Rebalance,
    /// It has failed, and its successor isn't there yet.
    Fail,
}

impl Activity {
    const ALL: [Activity; 7] = [
        Activity::Start,
        Activity::Poll,
        Activity::Score,
        Activity::Produce,
        Activity::Commit,
        Activity::Rebalance,
        Activity::Fail,
    ];

    /// What to say of a worker that is at it.
    pub fn as_str(self) -> &'static str {
        match self {
            Activity::Start => "starting its clients",
            Activity::Poll => "polling",
            Activity::Score => "scoring a batch",
            Activity::Produce => "producing outputs",
            Activity::Commit => "committing",
            Activity::Rebalance => "answering a rebalance",
            Activity::Fail => "failed, waiting to be replaced",
        }
    }
}

/// What a worker writes down about itself, once a batch and not once a record.
#[derive(Debug)]
pub struct Heartbeat {
    created: Instant,
    /// Milliseconds from `created` to the last poll.
    polled_ms: AtomicU64,
    activity: AtomicU8,
}

impl Heartbeat {
    /// Of a worker that starts now.
    pub fn new(now: Instant) -> Heartbeat {
        Heartbeat { created: now, polled_ms: AtomicU64::new(0), activity: AtomicU8::new(Activity::Start as u8) }
    }

    /// The worker polls its group.
    pub(crate) fn polled(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.created).as_millis();
        self.polled_ms.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The worker does something else from now on.
    pub(crate) fn enter(&self, activity: Activity) {
        self.activity.store(activity as u8, Ordering::Relaxed);
    }

    /// How long the worker hasn't polled.
    pub fn unpolled(&self, now: Instant) -> Duration {
        let polled = Duration::from_millis(self.polled_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(self.created).saturating_sub(polled)
    }

    /// What the worker is doing.
    pub fn activity(&self) -> Activity {
        Activity::ALL[usize::from(self.activity.load(Ordering::Relaxed))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_records_when_it_polled_and_what_it_does() {
        let start = Instant::now();
        let heartbeat = Heartbeat::new(start);
        assert_eq!(heartbeat.unpolled(start + Duration::from_secs(3)), Duration::from_secs(3));
        heartbeat.polled(start + Duration::from_secs(2));
        assert_eq!(heartbeat.unpolled(start + Duration::from_secs(3)), Duration::from_secs(1));
        for activity in Activity::ALL {
            heartbeat.enter(activity);
            assert_eq!(heartbeat.activity(), activity);
        }
    }
}

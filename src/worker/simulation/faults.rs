//! What goes wrong in a world, and how often: each world has its own mixture, so that some are quiet but for one kind of fault.

use std::time::{Duration, Instant};

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Probabilities, mostly per tenth of a second.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    /// Nothing goes wrong after this time.
    pub(super) last: Duration,
    pub(super) fetch_error: f64,
    pub(super) unreadable: f64,
    pub(super) revoke: f64,
    pub(super) lose: f64,
    pub(super) recreate: f64,
    pub(super) truncate: f64,
    pub(super) refuse_topic: f64,
    pub(super) stall: f64,
    /// Per call.
    pub(super) seek_fails: f64,
    pub(super) commit_fails: f64,
    pub(super) starts_fail: f64,
    pub(super) slow_starts: f64,
    pub(super) slow_steps: f64,
    pub(super) step_retries: f64,
    pub(super) step_refused: f64,
    /// Per transaction that is committed.
    pub(super) markers_lost: f64,
    /// Whether the client reports that a topic is unknown when it was created again, before it fetches on.
    pub(super) announces_recreation: bool,
    /// Per record that is purged.
    pub(super) escapes_purge: f64,
    /// Whether some records are refused by the output topic, and whether brokers name the record.
    pub(super) refuse_records: bool,
    pub(super) refuses_whole_requests: bool,
    /// Whether the client knows that something is refused before it is sent.
    pub(super) refuses_unsent: bool,
    /// Whether rebalances take all partitions.
    pub(super) is_eager: bool,
    /// How many records the producer's queue holds.
    pub(super) queue: usize,
}

impl Faults {
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Faults {
        let mut rate = |most: f64| if rng.random_bool(0.4) { rng.random_range(0.0..most) } else { 0.0 };
        Faults {
            last: Duration::from_secs(0),
            fetch_error: rate(0.3),
            unreadable: rate(0.05),
            revoke: rate(0.1),
            lose: rate(0.05),
            recreate: rate(0.02),
            truncate: rate(0.05),
            refuse_topic: rate(0.02),
            stall: rate(0.02),
            seek_fails: rate(0.3),
            commit_fails: rate(0.3),
            starts_fail: rate(0.5),
            slow_starts: rate(0.5),
            slow_steps: rate(0.1),
            step_retries: rate(0.3),
            step_refused: rate(0.2),
            markers_lost: 0.0,
            announces_recreation: false,
            escapes_purge: rate(0.3),
            refuse_records: rng.random_bool(0.4),
            refuses_whole_requests: rng.random_bool(0.5),
            refuses_unsent: rng.random_bool(0.3),
            is_eager: rng.random_bool(0.3),
            queue: if rng.random_bool(0.3) { rng.random_range(1..20) } else { 100_000 },
        }
        .lasting(Duration::from_millis(rng.random_range(1_000..8_000)))
    }

    fn lasting(self, last: Duration) -> Faults {
        // Between two snapshots nobody can distinguish a log that was truncated from one that was created again, so a world has only one
        // of both.
        let truncate = if self.recreate > 0.0 { 0.0 } else { self.truncate };
        Faults { last, truncate, ..self }
    }
}

/// What a scenario sets, and no seed draws.
#[derive(Default)]
pub(super) struct Course {
    /// Log lines in the group's queue, before its events, and whether they are served one at a time.
    pub(super) log_lines: usize,
    pub(super) serves_one_line: bool,
    /// Whether all that is fetched comes through one queue.
    pub(super) shares_one_queue: bool,
    /// Whether a partition without a commit has no place to begin.
    pub(super) has_no_reset: bool,
    /// Until then no step of a transaction gets an answer.
    pub(super) coordinator_back_at: Option<Instant>,
    /// Looks at something at this time, whatever the worker does then.
    pub(super) probe: Option<(Instant, Box<dyn FnOnce()>)>,
    /// The largest batch that the output of the first route takes.
    pub(super) output_limit: Option<usize>,
}

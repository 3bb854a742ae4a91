//! The gate of a route: it closes when too many of its records are rejected, or by command.
//!
//! After a bad deploy upstream every record is wrong. Without a gate a worker would empty the topic into the
//! dead-letter topic as fast as it can; behind a closed one the records wait on their topic until somebody has looked.
//! A gate can be closed for several reasons at once, and each ends by its own cure: a new version of the model may cure
//! too many rejections, but only a command ends a pause that was commanded.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::monitor::metrics::WaitReason;

/// The window moves in so many steps.
const STEPS: usize = 6;

/// With fewer records within the window a share says little.
const LEAST_RECORDS: u64 = 100;

/// Shared by all workers of a process.
#[derive(Debug)]
pub struct Gate {
    /// The largest share of rejections that is allowed; from 1 on the gate never closes by itself.
    max_ratio: f64,
    step: Duration,
    created: Instant,
    /// The reasons for which it is closed, as bits.
    closed: AtomicU8,
    window: Mutex<[Step; STEPS]>,
}

/// What was counted during a step, and which one since `created`.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    number: u64,
    records: u64,
    rejected: u64,
}

/// What made a gate close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Records within the window.
    pub records: u64,
    /// How many of them were rejected.
    pub rejected: u64,
}

impl Gate {
    /// An open gate that allows this share of rejections over `window`.
    pub fn new(max_ratio: f64, window: Duration, now: Instant) -> Gate {
        Gate {
            max_ratio,
            step: (window / STEPS as u32).max(Duration::from_millis(1)),
            created: now,
            closed: AtomicU8::new(0),
            window: Mutex::default(),
        }
    }

    /// Counts a batch. Returns what was in excess if the gate closes by it: to one of the callers, once.
    pub fn observe(&self, now: Instant, records: u64, rejected: u64) -> Option<Excess> {
        if self.max_ratio >= 1.0 {
            return None;
        }
        let number = (now.saturating_duration_since(self.created).as_nanos() / self.step.as_nanos()) as u64;
        let excess = {
            let mut window = self.window();
            let step = &mut window[number as usize % STEPS];
            if step.number != number {
                *step = Step { number, ..Step::default() };
            }
            step.records += records;
            step.rejected += rejected;
            let recent = window.iter().filter(|step| step.number + STEPS as u64 > number);
            recent.fold(Excess { records: 0, rejected: 0 }, |sum, step| Excess {
                records: sum.records + step.records,
                rejected: sum.rejected + step.rejected,
            })
        };
        let is_over =
            excess.records >= LEAST_RECORDS && excess.rejected as f64 > self.max_ratio * excess.records as f64;
        (is_over && self.close(WaitReason::Ratio)).then_some(excess)
    }

    /// Whether the route's records wait, for whatever reason.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire) != 0
    }

    /// Whether it is closed for this reason.
    pub fn is_closed_for(&self, reason: WaitReason) -> bool {
        self.closed.load(Ordering::Acquire) & bit(reason) != 0
    }

    /// Closes it for this reason; returns whether it wasn't closed for it before.
    pub fn close(&self, reason: WaitReason) -> bool {
        self.closed.fetch_or(bit(reason), Ordering::AcqRel) & bit(reason) == 0
    }

    /// Ends this reason, and forgets the rejections that were counted if it is theirs; returns whether it was closed for it.
    pub fn open(&self, reason: WaitReason) -> bool {
        if reason == WaitReason::Ratio {
            *self.window() = Default::default();
        }
        self.closed.fetch_and(!bit(reason), Ordering::AcqRel) & bit(reason) != 0
    }

    fn window(&self) -> MutexGuard<'_, [Step; STEPS]> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bit(reason: WaitReason) -> u8 {
    1 << reason as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    #[test]
    fn it_closes_when_the_share_within_the_window_is_exceeded() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let gate = Gate::new(0.5, WINDOW, start);
        assert_eq!(gate.observe(start, 99, 99), None, "too few to say");
        assert_eq!(gate.observe(after(1), 99, 0), None, "half of them is allowed");
        assert!(!gate.is_closed());
        assert_eq!(gate.observe(after(2), 1, 1), Some(Excess { records: 199, rejected: 100 }));
        assert!(gate.is_closed());
        assert_eq!(gate.observe(after(2), 10, 10), None, "it is reported once");
        assert!(gate.open(WaitReason::Ratio) && !gate.is_closed() && !gate.open(WaitReason::Ratio));
        assert_eq!(gate.observe(after(3), 100, 50), None, "what was before is forgotten");
    }

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let start = Instant::now();
        let gate = Gate::new(0.1, WINDOW, start);
        assert_eq!(gate.observe(start, 1_000_000, 0), None);
        let later = start + WINDOW;
        assert_eq!(gate.observe(later, 100, 20), Some(Excess { records: 100, rejected: 20 }));
    }

    #[test]
    fn with_a_ratio_of_one_it_never_closes_by_itself() {
        let start = Instant::now();
        let gate = Gate::new(1.0, WINDOW, start);
        assert_eq!(gate.observe(start, 1_000, 1_000), None);
        assert!(!gate.is_closed());
    }

    #[test]
    fn each_reason_ends_by_its_own_cure() {
        let gate = Gate::new(1.0, WINDOW, Instant::now());
        assert!(gate.close(WaitReason::ByHand) && !gate.close(WaitReason::ByHand) && gate.close(WaitReason::Ratio));
        assert!(gate.open(WaitReason::Ratio));
        assert!(gate.is_closed() && gate.is_closed_for(WaitReason::ByHand) && !gate.is_closed_for(WaitReason::Ratio));
        assert!(gate.open(WaitReason::ByHand) && !gate.is_closed());
    }
}

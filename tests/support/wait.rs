//! Waiting for a state, never for a time.

use std::time::{Duration, Instant};

/// How long anything may take on a loaded machine before it counts as hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Asks until there is an answer.
pub(crate) fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, ask)
}

/// Asks until there is an answer, for so long.
pub(crate) fn within<T>(patience: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Asks for so long whether a state stays.
pub(crate) fn stays(what: &str, time: Duration, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        assert!(is(), "no more: {what}");
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

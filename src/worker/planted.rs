//! Bugs on purpose: `tests/chaos` has to find what they do to records. Only builds with the feature `planted-bugs` have
//! them, and there only a process whose environment names one in `WEIR_PLANTED_BUG`.

use std::sync::LazyLock;

use super::partitions::{CommitPoint, PartitionTable};

static PLANTED: LazyLock<String> = LazyLock::new(|| std::env::var("WEIR_PLANTED_BUG").unwrap_or_default());

#[cfg(test)]
thread_local! {
    /// The bug that the simulator plants on its thread.
    pub(super) static SIMULATED: std::cell::Cell<Option<&'static str>> = const { std::cell::Cell::new(None) };
}

fn is_planted(bug: &str) -> bool {
    #[cfg(test)]
    if SIMULATED.get() == Some(bug) {
        return true;
    }
    *PLANTED == bug
}

/// The offsets to commit: with `commit_before_acknowledgement`, of all that is handed to the producer.
pub(super) fn points(partitions: &PartitionTable, right: Vec<CommitPoint>) -> Vec<CommitPoint> {
    if is_planted("commit_before_acknowledgement") { partitions.handed_over(true) } else { right }
}

/// Whether offsets are committed in nobody's name (`zombie_commit`), and whatever has become of their partitions, so that a worker
/// is not refused whose partitions have gone to others.
pub(super) fn in_nobodys_name() -> bool {
    is_planted("zombie_commit")
}

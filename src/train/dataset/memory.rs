//! Whether data fits into memory: reported before it is read, and not by the system's OOM killer.

use std::fmt;

use sysinfo::{MemoryRefreshKind, System};

use super::DatasetError;

/// Bytes that this process may still take: of the machine, or of its control group where that allows less.
pub(super) fn available() -> u64 {
    let mut system = System::new();
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    // 0 where the system doesn't say.
    let machine = Some(system.available_memory()).filter(|&bytes| bytes > 0).unwrap_or(u64::MAX);
    system.cgroup_limits().map_or(machine, |group| machine.min(group.free_memory))
}

/// Bytes per value of a feature, at the most that it takes at one time. While rows are divided there are two copies of
/// it in f64: in the whole table, and in its training or test part. Later there are three, of which the network's input
/// is half as large: in its part, decoded for the signature, and as input.
const PER_VALUE: u64 = (size_of::<f64>() + size_of::<f64>() + size_of::<f32>()) as u64;

/// Bytes per row for what isn't a feature: target, time, order, answers and the summaries for the baseline. With 1,000,000
/// rows of 20 numbers a training took 486 to 506 MB at its highest; this makes it 500.
const PER_ROW: u64 = 100;

fn needed(rows: u64, features: u64) -> u64 {
    rows.saturating_mul(features.saturating_mul(PER_VALUE).saturating_add(PER_ROW))
}

/// Refuses what needs more than is available.
pub(super) fn check(rows: u64, features: u64, available: u64) -> Result<(), DatasetError> {
    let needed = needed(rows, features);
    if needed <= available { Ok(()) } else { Err(DatasetError::TooLarge { rows, features, needed, available }) }
}

/// Bytes for a person.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size(pub(super) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        match self.0 {
            0..1_000_000 => write!(f, "{:.1} kB", bytes / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.1} MB", bytes / 1e6),
            _ => write!(f, "{:.1} GB", bytes / 1e9),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_both_sizes() {
        let needed = 500_000_000;
        assert!(check(1_000_000, 20, needed).is_ok());
        let refused = check(1_000_000, 20, needed - 1).unwrap_err().to_string();
        assert!(
            refused.contains("1000000 rows of 20 features need about 500.0 MB of memory, but 500.0 MB"),
            "{refused}"
        );
        assert!(check(u64::MAX, 3, u64::MAX - 1).is_err());
        assert_eq!(Size(1_234_567_890_123).to_string(), "1234.6 GB");
    }

    #[test]
    fn this_machine_has_memory() {
        assert!((1 << 20..1 << 50).contains(&available()), "{}", available());
    }
}

//! What weir tells about itself and about the data it sees.
//!
//! The hot path only counts, into memory of its own thread ([`metrics::WorkerMetrics`], [`metrics::ModelMetrics`]);
//! about once a second it adds what it counted to the shared series. Everything that needs thought, such as the
//! distance of the live data from the training data ([`drift`]), is computed from those series by the control plane.
pub mod drift;
pub mod metrics;

#[cfg(test)]
pub(crate) mod testing;

use serde::Deserialize;

/// The `[monitor]` section.
#[derive(Clone, Debug, Deserialize)]
pub struct MonitorConfig {
    /// Seconds over which drift is told.
    pub drift_window_s: u64,
}

impl MonitorConfig {
    /// Adds what is wrong with this section to `mistakes`.
    pub fn check(&self, mistakes: &mut Vec<String>) {
        if self.drift_window_s == 0 {
            mistakes.push("monitor.drift_window_s is 0: say at least 1".into());
        }
    }
}

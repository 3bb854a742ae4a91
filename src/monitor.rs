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

use self::drift::DriftWindow;
use crate::route::{is_threshold, one_or_more};

/// Each window keeps 61 copies of a version's bins.
const MOST_WINDOWS: usize = 8;

/// The `[monitor]` section.
#[derive(Clone, Debug, Deserialize)]
pub struct MonitorConfig {
    /// The windows over which drift is computed.
    #[serde(deserialize_with = "one_or_more")]
    pub drift_windows: Vec<DriftWindow>,
    /// Who compares features with the training data.
    pub drift: DriftScope,
    /// The index that counts as drift, unless chance alone may exceed it.
    pub drift_threshold: f64,
    /// Features of a model that are monitored: the first ones of its signature.
    pub max_features: usize,
    /// Classes of a model with series of their own: the most frequent ones.
    pub max_classes: usize,
}

/// Who compares features with the training data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftScope {
    /// Nobody: features aren't counted.
    Off,
    /// Each process, for the rows that it scores.
    Process,
    /// Each process, and Prometheus for the whole fleet, for which the bins are exported.
    Fleet,
}

impl MonitorConfig {
    /// Adds what is wrong with this section to `mistakes`.
    pub fn check(&self, mistakes: &mut Vec<String>) {
        let windows = &self.drift_windows;
        if windows.is_empty() || windows.len() > MOST_WINDOWS {
            mistakes.push(format!(
                "monitor.drift_windows has {} windows: must be 1 to {MOST_WINDOWS} (monitor.drift = \"off\" disables drift)",
                windows.len()
            ));
        }
        for (at, window) in windows.iter().enumerate() {
            if let Some(same) = windows[..at].iter().find(|other| other.span == window.span) {
                mistakes.push(format!(
                    "monitor.drift_windows has {:?} and {:?}, which are the same: remove one",
                    same.name, window.name
                ));
            }
        }
        if !is_threshold(self.drift_threshold) {
            mistakes.push(format!("monitor.drift_threshold = {}: must be a number above 0", self.drift_threshold));
        }
        for (key, value) in [("max_features", self.max_features), ("max_classes", self.max_classes)] {
            if value == 0 {
                mistakes.push(format!("monitor.{key} is 0: say at least 1"));
            }
        }
    }

    /// How many features of a model are monitored.
    pub fn monitored_features(&self) -> usize {
        if self.drift == DriftScope::Off { 0 } else { self.max_features }
    }
}

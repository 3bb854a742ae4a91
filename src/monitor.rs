//! What weir reports about itself and about the data it sees.
//!
//! The hot path only counts, into memory of its own thread ([`metrics::WorkerMetrics`], [`metrics::ModelMetrics`]);
//! about once a second it adds what it counted to the shared series. Everything that needs thought, such as the
//! distance of the live data from the training data ([`drift`]), is computed from those series by the control plane.
pub mod drift;
#[cfg(feature = "program")]
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Config;

    const MINIMAL: &str = include_str!("../config/examples/minimal.toml");

    #[test]
    fn features_are_excluded_from_drift_by_their_names() {
        let text = format!(
            "{MINIMAL}\n[route.drift]\nexclude = [\"Dep Hour\"]\n[route.drift.threshold]\nAge = 0.3\n\"a.b \\\"c\\\"\" = 1\n"
        );
        let drift = Config::parse(&text).unwrap().routes[0].drift.clone();
        assert!(drift.excludes("Dep Hour") && !drift.excludes("dep hour"));
        assert_eq!(drift.threshold, BTreeMap::from([("Age".to_owned(), 0.3), ("a.b \"c\"".to_owned(), 1.0)]));
        let text = text.replace("0.3", "0.0").replace("exclude", "excluded") + "[monitor]\ndrift_threshold = -1\n";
        let message = Config::parse(&text).unwrap_err().mistakes.join("\n");
        for part in [
            "route[0].drift.excluded is not a key of weir (`weir check --defaults` prints them all); did you mean exclude?",
            "route \"flights\": drift.threshold: \"Age\" = 0: must be a number above 0",
            "monitor.drift_threshold = -1: must be a number above 0",
        ] {
            assert!(message.contains(part), "{part:?} is missing in:\n{message}");
        }
        assert_eq!(Config::parse(MINIMAL).unwrap().monitor.drift_threshold, drift::THRESHOLD);
    }

    #[test]
    fn drift_has_one_window_or_several() {
        let load = |windows: &str| Config::parse(&format!("{MINIMAL}\n[monitor]\ndrift_windows = {windows}"));
        let names = |windows: &str| {
            let windows = load(windows).unwrap().monitor.drift_windows;
            windows.into_iter().map(|window| window.name).collect::<Vec<_>>()
        };
        assert_eq!(names("[\"10m\", \"1d\", \"1w\"]"), ["10m", "1d", "1w"]);
        assert_eq!(names("\"1d\""), ["1d"]);
        assert_eq!(names("[\"10m\", \"5000rows\"]"), ["10m", "5000rows"]);
        for (windows, expected) in [
            ("[]", "monitor.drift_windows has 0 windows: must be 1 to 8"),
            ("[\"1d\", \"24h\"]", "monitor.drift_windows has \"1d\" and \"24h\", which are the same: remove one"),
            ("[\"10 min\"]", "\"10 min\" must be a number with s, m, h, d, w or rows, and a year at most"),
            ("600", "monitor.drift_windows: invalid type: integer `600`, expected a list"),
        ] {
            let message = load(windows).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}

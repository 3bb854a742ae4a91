//! The metrics: what weir counts, and how it is scraped.
//!
//! [`Metrics`] owns the series. A worker counts into a [`RouteMetrics`] and, for each model version that it scores
//! with, a [`ModelMetrics`]: memory of its own, no lock and no atomic per record, added to the series by `flush`
//! about once a second. The control plane says which versions serve ([`Metrics::serving`]) and calls
//! [`Metrics::tick`] about once a second, which computes the drift.
//!
//! The names are a contract and stand in one table, [`CATALOGUE`]. Label values are bounded: closed lists, names from
//! the configuration and from signatures, and of model versions only the last few.

mod catalogue;
mod local;
mod versions;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus::core::Collector;
use prometheus::{Registry, TextEncoder};

use catalogue::Families;
pub use catalogue::{
    CATALOGUE, CommitOutcome, ConnectionEnd, Entry, Kind, LoadOutcome, Rebalance, Stage, TimestampFault, WaitReason,
};
pub use local::{ModelMetrics, RouteMetrics, WorkerMetrics};
use versions::Versions;

use crate::model::Model;
use crate::model::reference::{ModelRef, Selector};
use crate::monitor::drift::{DriftWindow, THRESHOLD, WindowSpan};
use crate::monitor::{DriftScope, MonitorConfig};
use crate::route::RouteDrift;

/// The content type of [`Metrics::render`].
pub const TEXT_FORMAT: &str = prometheus::TEXT_FORMAT;

/// The label of each series of a process: its consumer group.
const GROUP: &str = "group";

/// All metrics of a process (no global: tests have as many as they like). Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    registry: Registry,
    families: Families,
    versions: Mutex<Versions>,
    present: Mutex<Present>,
}

/// What the workers report of the present that doesn't just add up.
#[derive(Debug, Default)]
struct Present {
    workers: u64,
    /// By worker: when its oldest record was delivered that isn't committed.
    uncommitted: BTreeMap<u64, Instant>,
    /// How many workers wait, by route and reason.
    waiting: BTreeMap<(String, &'static str), usize>,
}

/// What has been counted so far, over all routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records taken from the input topics.
    pub consumed: u64,
    /// Records that could not be scored.
    pub rejected: u64,
    /// Predictions per model and version.
    pub produced: BTreeMap<(String, u64), u64>,
}

impl Metrics {
    /// Metrics that all stand at zero. `drift_window` is the time over which drift is computed.
    pub fn new(drift_window: Duration) -> Metrics {
        let config = MonitorConfig {
            drift_windows: vec![DriftWindow {
                name: format!("{}s", drift_window.as_secs()),
                span: WindowSpan::Time(drift_window),
            }],
            drift: DriftScope::Fleet,
            drift_threshold: THRESHOLD,
            max_features: usize::MAX,
            max_classes: usize::MAX,
        };
        Metrics::register(Registry::new(), config, BTreeMap::new())
    }

    /// Metrics with the consumer group as a label of each series, so that two fleets can share a `job`.
    ///
    /// `routes` has how each route compares its features.
    pub fn of_group(group: &str, config: MonitorConfig, routes: BTreeMap<String, RouteDrift>) -> Metrics {
        let labels = HashMap::from([(GROUP.to_owned(), group.to_owned())]);
        let registry = Registry::new_custom(None, Some(labels)).expect("no prefix to be wrong");
        Metrics::register(registry, config, routes)
    }

    fn register(registry: Registry, config: MonitorConfig, routes: BTreeMap<String, RouteDrift>) -> Metrics {
        let families = Families::register(&registry).expect("the catalogue is fixed, and every test registers it");
        families
            .build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH])
            .set(1);
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        families.start_time.with_label_values::<&str>(&[]).set(since_1970.as_secs_f64());
        // What has not happened yet is 0, not absent: `rate` and alerts need the zero.
        families.in_flight.with_label_values::<&str>(&[]).set(0);
        families.commit_age.with_label_values::<&str>(&[]).set(0.0);
        families.worker_restarts.with_label_values::<&str>(&[]);
        families.model_load_seconds.with_label_values::<&str>(&[]);
        for kind in Rebalance::ALL {
            families.rebalances.with_label_values(&[kind.as_str()]);
        }
        for code in ["200", "400", "500", "503"] {
            families.http_requests.with_label_values(&[code]);
        }
        for reason in ConnectionEnd::ALL {
            families.http_connections_closed.with_label_values(&[reason.as_str()]);
        }
        for outcome in CommitOutcome::ALL {
            families.commits.with_label_values(&[outcome.as_str()]);
        }
        let versions = Mutex::new(Versions::new(config, routes));
        Metrics { shared: Arc::new(Shared { registry, families, versions, present: Mutex::default() }) }
    }

    /// The text exposition of everything, in the [`TEXT_FORMAT`].
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.shared.registry.gather())
    }

    /// What a worker counts on `route`.
    pub fn route(&self, route: &str) -> RouteMetrics {
        RouteMetrics::new(self.clone(), route)
    }

    /// What a worker that reads these topics, each for a route, reports about itself.
    pub fn worker<'t>(&self, topics: impl IntoIterator<Item = (&'t str, &'t str)>) -> WorkerMetrics {
        WorkerMetrics::new(self.clone(), topics)
    }

    /// A worker failed and is started again.
    pub fn worker_restarted(&self) {
        self.families().worker_restarts.with_label_values::<&str>(&[]).inc();
    }

    /// An HTTP request was answered with this status code.
    pub fn http_answered(&self, code: u16) {
        self.families().http_requests.with_label_values(&[code.to_string()]).inc();
    }

    /// So many rows were scored for an inference request on the model of `route`, `took` after its body had come.
    pub fn http_inferred(&self, route: &str, rows: usize, took: Duration) {
        self.families().http_rows.with_label_values(&[route]).inc_by(rows as u64);
        self.families().http_inference.with_label_values(&[route]).observe(took.as_secs_f64());
    }

    /// weir closed an HTTP connection.
    pub fn http_connection_closed(&self, reason: ConnectionEnd) {
        self.families().http_connections_closed.with_label_values(&[reason.as_str()]).inc();
    }

    /// Whether a route's records wait.
    pub fn route_paused(&self, route: &str, paused: bool) {
        self.families().paused.with_label_values(&[route]).set(paused.into());
    }

    /// So long ago was the last poll of the worker that has waited longest.
    pub fn poll_age(&self, age: Duration) {
        self.families().poll_age.with_label_values::<&str>(&[]).set(age.as_secs_f64());
    }

    /// A version of `model` was loaded within `took`.
    pub fn model_loaded(&self, model: &str, took: Duration) {
        self.count_load(model, LoadOutcome::Loaded);
        self.families().model_load_seconds.with_label_values::<&str>(&[]).observe(took.as_secs_f64());
    }

    /// A version of `model` was refused.
    pub fn model_refused(&self, model: &str) {
        self.count_load(model, LoadOutcome::Refused);
    }

    /// The version of `model` that `route` asks for was refused; `None`: it asks for none that was.
    pub fn refused_version(&self, route: &str, model: &str, version: Option<u64>) {
        let version = version.map_or(0, |version| i64::try_from(version).unwrap_or(i64::MAX));
        self.families().refused_version.with_label_values(&[route, model]).set(version);
    }

    /// `route` scores with `model` from now on; `reference` is what the configuration calls it. What the route had
    /// before loses its series in `weir_model_info`, `weir_drift` and `weir_baseline_bin_ratio`.
    pub fn serving(&self, route: &str, reference: &ModelRef, model: &Model) {
        let alias = match &reference.selector {
            Selector::Alias(alias) => alias,
            Selector::Latest => "latest",
            Selector::Version(_) => "",
        };
        self.versions().serve(self.families(), route, alias, model);
    }

    /// Computes the drift of every serving version and the age of commits, to be called about once a second. `now` never
    /// goes back.
    pub fn tick(&self, now: Instant) {
        self.versions().tick(self.families(), now);
        let oldest = self.present().uncommitted.values().min().copied();
        let age = oldest.map_or(Duration::ZERO, |oldest| now.saturating_duration_since(oldest));
        self.families().commit_age.with_label_values::<&str>(&[]).set(age.as_secs_f64());
    }

    /// The drift of a serving version over the first window, as the last [`Metrics::tick`] saw it: features (and the prediction) with their
    /// population stability index, the strongest first. Empty while the window has too few rows.
    pub fn drift(&self, model: &str, version: u64) -> Vec<(String, f64)> {
        self.versions().drift(model, version)
    }

    /// What the workers have flushed so far.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        each_count(&self.families().consumed, |_, count| totals.consumed += count);
        each_count(&self.families().rejected, |_, count| totals.rejected += count);
        each_count(&self.families().produced, |label, count| {
            // Versions are numbers by construction.
            if let Ok(version) = label("version").parse() {
                *totals.produced.entry((label("model").to_owned(), version)).or_default() += count;
            }
        });
        totals
    }

    fn count_load(&self, model: &str, outcome: LoadOutcome) {
        for each in LoadOutcome::ALL {
            self.families().model_loads.with_label_values(&[model, each.as_str()]).inc_by(u64::from(*each == outcome));
        }
    }

    fn next_worker(&self) -> u64 {
        let mut present = self.present();
        present.workers += 1;
        present.workers
    }

    fn uncommitted_since(&self, worker: u64, oldest: Option<Instant>) {
        match oldest {
            Some(oldest) => self.present().uncommitted.insert(worker, oldest),
            None => self.present().uncommitted.remove(&worker),
        };
    }

    /// A worker begins to wait, or ends.
    fn count_waiting(&self, route: &str, reason: WaitReason, waits: bool) {
        let mut present = self.present();
        let workers = present.waiting.entry((route.to_owned(), reason.as_str())).or_default();
        *workers = if waits { *workers + 1 } else { workers.saturating_sub(1) };
        self.families().waiting.with_label_values(&[route, reason.as_str()]).set((*workers > 0).into());
    }

    /// As [`Metrics::versions`].
    fn present(&self) -> MutexGuard<'_, Present> {
        self.shared.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn families(&self) -> &Families {
        &self.shared.families
    }

    /// A panic elsewhere leaves counts behind that are at worst incomplete: no reason to stop telling.
    fn versions(&self) -> MutexGuard<'_, Versions> {
        self.shared.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Goes through the series of a counter: a function from label to value, and the count.
fn each_count(family: &impl Collector, mut each: impl FnMut(&dyn Fn(&str) -> String, u64)) {
    for family in family.collect() {
        for metric in family.get_metric() {
            let label = |name: &str| {
                let pair = metric.get_label().iter().find(|pair| pair.name() == name);
                pair.map_or_else(String::new, |pair| pair.value().to_owned())
            };
            each(&label, metric.get_counter().get_value() as u64);
        }
    }
}

#[cfg(test)]
mod tests;

//! What is counted per model version of a route, and which versions have series at all.
//!
//! A version that no route serves any more keeps its counters for a while (Prometheus takes the increase of what was
//! still counted), but loses the gauges, which would otherwise stand at their last value for ever. The number of
//! versions with counters is bounded, so a process that has seen a hundred of them is no larger for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use prometheus::{Counter, IntCounter};

use super::catalogue::Families;
use crate::model::Model;
use crate::monitor::drift::{
    Column, Counts, DriftComparison, DriftStatus, DriftWindow, Periods, Plan, Window, WindowSpan,
};
use crate::monitor::{DriftScope, MonitorConfig};
use crate::route::RouteDrift;

/// Versions per route and model whose counters stay, beyond those that serve or that a worker still counts for.
const KEPT: usize = 4;

/// The label `statistic` of `weir_drift`.
const PSI: &str = "psi";

/// The label `status` of features that are compared and above their threshold. Alerts take it where no rule of Prometheus
/// computes the index.
const DRIFTED: &str = "drifted";

/// The shared counters of one model version of a route.
#[derive(Debug)]
pub(super) struct Tally {
    route: String,
    model: String,
    version: String,
    config: MonitorConfig,
    drift: RouteDrift,
    /// The label `created` of `weir_feature_bin_total`. Counters that begin again are other series, so that the counts
    /// of two times can be subtracted from each other.
    created: String,
    plan: Plan,
    /// One per count of the plan.
    bins: Vec<IntCounter>,
    /// One per bin of the plan, if a fleet needs it: the rows expected from training, at the times of the live rows.
    expected: Vec<Option<Counter>>,
    /// What else a bin counts for: `weir_predictions_total`, `weir_feature_missing_total` and their like.
    also: Vec<Option<IntCounter>>,
}

/// The versions that have series.
#[derive(Debug)]
pub(super) struct Versions {
    config: MonitorConfig,
    /// How each route compares its features.
    drift: BTreeMap<String, RouteDrift>,
    /// Which version each route serves, and the labels of its `weir_model_info`.
    routes: BTreeMap<String, Route>,
    /// In the order in which they were first used.
    known: Vec<Version>,
}

#[derive(Debug)]
struct Route {
    model: String,
    version: u64,
    info: [String; 5],
}

#[derive(Debug)]
struct Version {
    route: String,
    model: String,
    version: u64,
    tally: Arc<Tally>,
    windows: Vec<(DriftWindow, Window)>,
    /// When the windows began.
    began: Option<Instant>,
    /// By column of the plan that has rows enough in the first window, the strongest first.
    drift: Vec<(String, f64)>,
}

impl Tally {
    fn new(families: &Families, route: &str, model: &Model, config: &MonitorConfig, drift: RouteDrift) -> Tally {
        let (name, version) = (model.name(), model.version().to_string());
        let monitored = config.monitored_features();
        let plan = Plan::within(&model.baseline, model.signature(), monitored, config.max_classes);
        let features = model.signature().features.len();
        if config.drift != DriftScope::Off && features > monitored {
            tracing::warn!(
                route,
                model = name,
                version,
                features,
                monitored,
                "monitor.max_features leaves features out"
            );
        }
        let mut tally = Tally {
            route: route.to_owned(),
            model: name.to_owned(),
            version: version.clone(),
            config: config.clone(),
            drift,
            created: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().to_string(),
            bins: Vec::with_capacity(plan.counts()),
            expected: Vec::new(),
            also: vec![None; plan.counts()],
            plan,
        };
        tally.warn_of_unknown_features();
        for column in tally.plan.columns() {
            for bin in &column.bins {
                let labels = [route, name, &version, &column.label, bin, &tally.created];
                tally.bins.push(if config.drift == DriftScope::Fleet && !tally.drift.excludes(&column.label) {
                    families.feature_bin.with_label_values(&labels)
                } else {
                    uncollected()
                });
            }
        }
        tally.register_periods(families);
        for column in tally.plan.features() {
            let labels = [route, name, &version, &column.label];
            let mut also = |bin: usize, counter: IntCounter| tally.also[column.place.start + bin] = Some(counter);
            if let Some(bin) = column.missing {
                also(bin, families.feature_missing.with_label_values(&labels));
            }
            if let Some(bin) = column.unknown {
                also(bin, families.feature_unseen.with_label_values(&labels));
            }
            for bin in column.outside.into_iter().flatten() {
                also(bin, families.feature_out_of_range.with_label_values(&labels));
            }
        }
        for column in tally.plan.columns().iter().filter(|column| column.is_classes()) {
            for (place, class) in column.place.clone().zip(&column.bins) {
                tally.also[place] = Some(families.predictions.with_label_values(&[route, name, &version, class]));
            }
        }
        tally
    }

    /// Counters of the periods, which follow those of the bins.
    fn register_periods(&mut self, families: &Families) {
        let Tally { route, model, version, created, config, drift, plan, .. } = &*self;
        let Some(periods) = plan.periods() else { return };
        let is_fleet = config.drift == DriftScope::Fleet;
        let rows = periods.labels().map(|period| match is_fleet {
            true => families.period_rows.with_label_values(&[route, model, version, &period, created]),
            false => uncollected(),
        });
        let expected = plan.columns().iter().flat_map(|column| {
            let is_exported = is_fleet && !column.shares.is_empty() && !drift.excludes(&column.label);
            column.bins.iter().map(move |bin| {
                let labels = [route, model, version, &column.label, bin, created];
                is_exported.then(|| families.feature_expected.with_label_values(&labels))
            })
        });
        let (rows, expected): (Vec<_>, Vec<_>) = (rows.collect(), expected.collect());
        self.bins.extend(rows);
        self.expected = expected;
    }

    /// Another version may have them, so they are no mistake of the configuration.
    fn warn_of_unknown_features(&self) {
        let RouteDrift { exclude, threshold } = &self.drift;
        let is_known = |name: &str| self.plan.columns().iter().any(|column| column.label == name);
        let unknown: Vec<_> = exclude.iter().chain(threshold.keys()).filter(|name| !is_known(name)).collect();
        if self.config.drift != DriftScope::Off && !unknown.is_empty() {
            let Tally { route, model, version, .. } = self;
            tracing::warn!(route, model, version, ?unknown, "[route.drift] names features that aren't monitored");
        }
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Takes over what a worker counted; its counts are zero afterwards.
    pub(super) fn add(&self, counts: &mut Counts) {
        let mut by_period = vec![0; self.plan.periods().map_or(0, |periods| periods.place.len())];
        counts.drain(|bin, count| {
            self.bins[bin].inc_by(count);
            if let Some(also) = &self.also[bin] {
                also.inc_by(count);
            }
            if let Some(period) = self.plan.periods().and_then(|periods| bin.checked_sub(periods.place.start)) {
                by_period[period] += count;
            }
        });
        for (period, &rows) in by_period.iter().enumerate().filter(|(_, rows)| **rows > 0) {
            for column in self.plan.columns().iter().filter(|column| !column.shares.is_empty()) {
                for (expected, share) in self.expected[column.place.clone()].iter().zip(&column.shares[period]) {
                    if let Some(expected) = expected {
                        expected.inc_by(rows as f64 * share);
                    }
                }
            }
        }
    }

    fn cumulative(&self) -> Vec<u64> {
        self.bins.iter().map(IntCounter::get).collect()
    }

    fn set_baseline(&self, families: &Families) {
        if self.config.drift != DriftScope::Fleet {
            return;
        }
        self.for_each_period(|labels, ratio| families.baseline_period.with_label_values(&labels).set(ratio));
        for column in self.plan.columns() {
            let rows = column.training.iter().sum::<u64>();
            // An imported model without a baseline: shares of nothing would look like a baseline of their own.
            if rows == 0 || self.drift.excludes(&column.label) {
                continue;
            }
            let labels = [&self.route, &self.model, &self.version, &column.label];
            families.baseline_rows.with_label_values(&labels).set(rows as i64);
            families.baseline_bins.with_label_values(&labels).set(column.bins.len() as i64);
            let threshold = self.least_threshold(column);
            for window in &self.config.drift_windows {
                let labels = [&self.route, &self.model, &self.version, &column.label, &window.name];
                families.drift_threshold.with_label_values(&labels).set(threshold);
            }
            let rows = rows as f64;
            for (bin, &count) in column.bins.iter().zip(&column.training) {
                let labels = [&self.route, &self.model, &self.version, &column.label, bin];
                families.baseline_bin.with_label_values(&labels).set(count as f64 / rows);
            }
        }
    }

    /// What the configuration says an index of drift is above.
    fn least_threshold(&self, column: &Column) -> f64 {
        *self.drift.threshold.get(&column.label).unwrap_or(&self.config.drift_threshold)
    }

    /// Calls `each` with the labels and the ratio of the periods.
    fn for_each_period(&self, each: impl Fn([&str; 4], f64)) {
        let Some(periods) = self.plan.periods() else { return };
        for (period, &ratio) in periods.labels().zip(&periods.ratios) {
            each([&self.route, &self.model, &self.version, &period], ratio);
        }
    }

    /// `None` removes what said something about the present.
    fn set_drift(&self, families: &Families, column: &Column, window: &str, found: Option<DriftComparison>) {
        let [route, model, version, feature] = [&*self.route, &*self.model, &*self.version, &*column.label];
        match found.and_then(|found| found.psi) {
            Some(psi) => families.drift.with_label_values(&[route, model, version, feature, window, PSI]).set(psi),
            None => forget(families.drift.remove_label_values(&[route, model, version, feature, window, PSI])),
        }
        let is_drift = |found: &DriftComparison| found.exceeds(self.least_threshold(column));
        let status_of = |found: &DriftComparison| if is_drift(found) { DRIFTED } else { found.status.as_str() };
        for status in DriftStatus::ALL.map(DriftStatus::as_str).into_iter().chain([DRIFTED]) {
            let labels = [route, model, version, feature, window, status];
            match found.filter(|found| status_of(found) == status) {
                Some(found) => families.drift_rows.with_label_values(&labels).set(found.rows as i64),
                None => forget(families.drift_rows.remove_label_values(&labels)),
            }
        }
    }

    /// Removes what says something about the present.
    fn forget_gauges(&self, families: &Families) {
        self.for_each_period(|labels, _| forget(families.baseline_period.remove_label_values(&labels)));
        for column in self.plan.columns() {
            for window in &self.config.drift_windows {
                self.set_drift(families, column, &window.name, None);
                let labels = [&self.route, &self.model, &self.version, &column.label, &window.name];
                forget(families.drift_threshold.remove_label_values(&labels));
            }
            let labels = [&self.route, &self.model, &self.version, &column.label];
            forget(families.baseline_rows.remove_label_values(&labels));
            forget(families.baseline_bins.remove_label_values(&labels));
            for bin in &column.bins {
                let labels = [&self.route, &self.model, &self.version, &column.label, bin];
                forget(families.baseline_bin.remove_label_values(&labels));
            }
        }
    }

    fn forget_counters(&self, families: &Families) {
        let [route, model, version] = [&self.route, &self.model, &self.version];
        forget(families.produced.remove_label_values(&[route, model, version]));
        for period in self.plan.periods().into_iter().flat_map(Periods::labels) {
            forget(families.period_rows.remove_label_values(&[route, model, version, &period, &self.created]));
        }
        for column in self.plan.columns() {
            for bin in &column.bins {
                let labels = [route, model, version, &column.label, bin, &self.created];
                forget(families.feature_bin.remove_label_values(&labels));
                forget(families.feature_expected.remove_label_values(&labels));
                if column.is_classes() {
                    forget(families.predictions.remove_label_values(&[route, model, version, bin]));
                }
            }
            let labels = [route, model, version, &column.label];
            for family in [&families.feature_missing, &families.feature_unseen, &families.feature_out_of_range] {
                forget(family.remove_label_values(&labels));
            }
        }
    }
}

/// A counter of which only the process knows.
fn uncollected() -> IntCounter {
    IntCounter::new("bin", "rows").expect("the name is fixed")
}

/// Removing fails only where there is no such series, which is what is wanted.
fn forget(_removed: Result<(), prometheus::Error>) {}

impl Versions {
    pub(super) fn new(config: MonitorConfig, drift: BTreeMap<String, RouteDrift>) -> Versions {
        Versions { config, drift, routes: BTreeMap::new(), known: Vec::new() }
    }

    /// The counters of `model`, for a worker that is going to score with it for `route`.
    pub(super) fn tally_of_route(&mut self, families: &Families, route: &str, model: &Model) -> Arc<Tally> {
        Arc::clone(&self.known(families, route, model).tally)
    }

    fn known(&mut self, families: &Families, route: &str, model: &Model) -> &mut Version {
        let (name, version) = (model.name(), model.version());
        let at = self.known.iter().position(|known| known.is(route, name, version)).unwrap_or_else(|| {
            let drift = self.drift.get(route).cloned().unwrap_or_default();
            let tally = Arc::new(Tally::new(families, route, model, &self.config, drift));
            let windows = self.config.drift_windows.iter();
            self.known.push(Version {
                route: route.to_owned(),
                model: name.to_owned(),
                version,
                windows: windows.map(|it| (it.clone(), Window::new(it.span, tally.plan.counts()))).collect(),
                began: None,
                tally,
                drift: Vec::new(),
            });
            self.known.len() - 1
        });
        &mut self.known[at]
    }

    pub(super) fn serve(&mut self, families: &Families, route: &str, alias: &str, model: &Model) {
        let (name, version) = (model.name(), model.version());
        let info = [route, name, &version.to_string(), alias, model.short_digest()].map(str::to_owned);
        families.model_info.with_label_values(&info).set(1);
        self.known(families, route, model).tally.set_baseline(families);
        let route_now = Route { model: name.to_owned(), version, info };
        let Some(before) = self.routes.insert(route.to_owned(), route_now) else { return };
        if self.routes[route].info != before.info {
            forget(families.model_info.remove_label_values(&before.info));
        }
        if (before.model.as_str(), before.version) != (name, version) {
            let retired = self.known.iter_mut().filter(|known| known.is(route, &before.model, before.version));
            retired.for_each(|known| known.retire(families));
        }
        self.trim(families, route, name);
    }

    pub(super) fn tick(&mut self, families: &Families, now: Instant) {
        if self.config.drift == DriftScope::Off {
            return;
        }
        let Versions { routes, known, .. } = self;
        for version in known.iter_mut().filter(|version| version.serves(routes)) {
            version.tick(families, now);
        }
    }

    pub(super) fn drift(&self, model: &str, version: u64) -> Vec<(String, f64)> {
        let of_version = |known: &&Version| known.model == model && known.version == version;
        self.known.iter().find(of_version).map_or_else(Vec::new, |known| known.drift.clone())
    }

    /// Removes the counters of the oldest versions of `model` that nobody uses for `route`.
    fn trim(&mut self, families: &Families, route: &str, model: &str) {
        let is_of = |known: &Version| known.route == route && known.model == model;
        let of_model = self.known.iter().filter(|known| is_of(known)).count();
        let mut surplus = of_model.saturating_sub(KEPT);
        let known = std::mem::take(&mut self.known);
        let (out, kept) = known.into_iter().partition(|known| {
            // A worker that still holds the tally would count into series that nobody sees.
            let unused = !known.serves(&self.routes) && Arc::strong_count(&known.tally) == 1;
            let goes = surplus > 0 && is_of(known) && unused;
            surplus -= usize::from(goes);
            goes
        });
        self.known = kept;
        let out: Vec<Version> = out;
        out.iter().for_each(|version| version.tally.forget_counters(families));
    }
}

impl Version {
    fn is(&self, route: &str, model: &str, version: u64) -> bool {
        self.route == route && self.model == model && self.version == version
    }

    fn serves(&self, routes: &BTreeMap<String, Route>) -> bool {
        routes.get(&self.route).is_some_and(|route| self.is(&self.route, &route.model, route.version))
    }

    fn tick(&mut self, families: &Families, now: Instant) {
        let Version { tally, windows, began, drift, .. } = self;
        let cumulative = tally.cumulative();
        let age = now.duration_since(*began.get_or_insert(now));
        // Each column has all rows.
        let rows = tally.plan.columns().first().map_or(0, |column| cumulative[column.place.clone()].iter().sum());
        drift.clear();
        for (at, (DriftWindow { name, span }, window)) in windows.iter_mut().enumerate() {
            let position = match span {
                WindowSpan::Time(_) => age.as_millis() as u64,
                WindowSpan::Rows(_) => rows,
            };
            window.push(position, cumulative.clone());
            let live = window.counts();
            for column in tally.plan.columns() {
                let found = match tally.drift.excludes(&column.label) {
                    true => DriftComparison::excluded(&live[column.place.clone()]),
                    false => tally.plan.compare(column, &live),
                };
                tally.set_drift(families, column, name, Some(found));
                if at == 0 {
                    drift.extend(found.psi.map(|psi| (column.label.clone(), psi)));
                }
            }
        }
        drift.sort_by(|a, b| b.1.total_cmp(&a.1));
    }

    fn retire(&mut self, families: &Families) {
        self.tally.forget_gauges(families);
        self.drift.clear();
    }
}

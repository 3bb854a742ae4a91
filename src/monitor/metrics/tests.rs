use std::collections::{BTreeMap, BTreeSet};

use ndarray::{Array2, aview2};

use super::*;
use crate::monitor::drift::{Baseline, DriftWindow};
use crate::monitor::testing::{arithmetic, flights, flights_by_hour};
use crate::record::{Gap, Reason};

mod drift;

const WINDOW: Duration = Duration::from_secs(600);

fn production() -> ModelRef {
    ModelRef { name: "flights".into(), selector: Selector::Alias("production".into()) }
}

/// The samples of the text exposition: `name{labels}` to value.
fn samples(metrics: &Metrics) -> BTreeMap<String, f64> {
    let text = metrics.render().unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.into(), value.parse().unwrap()))
        .collect()
}

fn window(name: &str) -> DriftWindow {
    DriftWindow::try_from(name.to_owned()).unwrap()
}

fn monitoring(drift: DriftScope) -> MonitorConfig {
    MonitorConfig {
        drift_windows: vec![window("10m")],
        drift,
        drift_threshold: 0.05,
        max_features: 100,
        max_classes: 100,
    }
}

/// Delays as in training, all from one origin.
fn delays(rows: usize, origin: f64) -> Array2<f64> {
    Array2::from_shape_fn((rows, 2), |(row, column)| if column == 0 { (row % 100) as f64 } else { origin })
}

/// Uses everything once, with labels of each metric's own.
fn everything() -> (Metrics, WorkerMetrics, RouteMetrics, ModelMetrics) {
    let metrics = Metrics::new(WINDOW);
    let model = flights_by_hour(7);
    metrics.serving("flights", &production(), &model);
    metrics.worker_restarted();
    metrics.model_loaded("flights", Duration::from_millis(20));
    metrics.refused_version("flights", "flights", Some(8));
    let mut worker = metrics.worker([("flights.features", "flights")]);
    worker.offset_reset("flights.features");
    worker.consumer_error("flights.features");
    worker.rebalanced(Rebalance::Assign);
    worker.committed(CommitOutcome::Ok);
    let mut route = metrics.route("flights");
    let mut seen = route.model(&model);
    worker.position("flights.features", 3, 100, 117);
    worker.in_flight(5);
    route.consumed.inc_by(2_000);
    route.rejected(Reason::Malformed).inc();
    route.stage(Stage::Score).observe(0.0002);
    route.delivered(1_000, 1_004);
    route.batch_rows.observe(200.0);
    seen.observe_rows(delays(2_000, 0.0).view());
    seen.observe_times([None; 2_000].into_iter());
    seen.observe_outputs(Array2::from_shape_fn((2_000, 2), |(_, class)| [0.25, 0.75][class]).view());
    seen.produced.inc_by(1_999);
    route.flush();
    seen.flush();
    metrics.tick(Instant::now());
    metrics.route_paused("flights", false);
    metrics.poll_age(Duration::ZERO);
    (metrics, worker, route, seen)
}

#[test]
fn the_exposition_is_what_the_catalogue_says() {
    let (metrics, _worker, _route, _seen) = everything();
    let text = metrics.render().unwrap();
    let mut found = Vec::new();
    for entry in CATALOGUE {
        assert!(text.contains(&format!("# HELP {} {}\n", entry.name, entry.help)), "{}", entry.name);
        assert!(text.contains(&format!("# TYPE {} {}\n", entry.name, entry.kind.as_str())), "{}", entry.name);
        let suffix = if entry.kind == Kind::Histogram { "_count" } else { "" };
        let start = format!("{}{suffix}", entry.name);
        let sample =
            text.lines().find(|line| line.strip_prefix(&start).is_some_and(|rest| rest.starts_with(['{', ' '])));
        let sample = sample.unwrap_or_else(|| panic!("no sample of {}", entry.name));
        let labels: BTreeSet<_> =
            sample.split(['{', ',']).filter_map(|pair| pair.split_once("=\"")).map(|(name, _)| name).collect();
        assert_eq!(labels, entry.labels.iter().copied().collect(), "{sample}");
        found.push(entry.name);
    }
    let exposed: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    found.sort_unstable();
    assert_eq!(exposed, found);
    let counters = CATALOGUE.iter().filter(|entry| entry.kind == Kind::Counter);
    assert!(counters.into_iter().all(|entry| entry.name.ends_with("_total")));
}

#[test]
fn each_series_of_a_group_has_its_name() {
    let metrics = Metrics::of_group("flights-scorer", monitoring(DriftScope::Fleet), BTreeMap::new());
    drop(metrics.route("flights"));
    let samples = samples(&metrics);
    assert!(samples.keys().all(|name| name.contains("group=\"flights-scorer\"")), "{samples:?}");
}

#[test]
fn outcomes_that_are_undone_are_not_counted() {
    let metrics = Metrics::new(WINDOW);
    let (mut route, mut worker) = (metrics.route("flights"), metrics.worker([]));
    let mut seen = route.model(&flights(7));
    let mut transaction = |is_committed: bool| {
        route.consumed.inc_by(3);
        route.rejected(Reason::Malformed).inc();
        route.delivered(1_000, 1_004);
        seen.observe_rows(delays(2, 0.0).view());
        seen.produced.inc_by(2);
        route.flush_activity();
        if is_committed {
            route.flush_outcomes();
            seen.flush();
        } else {
            route.forget_outcomes();
            seen.forget();
        }
        metrics.tick(Instant::now());
        let of_drift = |(name, rows): (&String, &f64)| name.starts_with("weir_drift_rows").then_some(*rows);
        let rows = samples(&metrics).iter().filter_map(of_drift).fold(0.0, f64::max);
        (metrics.totals(), samples(&metrics)["weir_end_to_end_seconds_count{route=\"flights\"}"], rows)
    };
    metrics.serving("flights", &production(), &flights(7));
    let produced = |count: u64| BTreeMap::from([(("flights".to_owned(), 7), count)]);
    assert_eq!(transaction(false), (Totals { consumed: 3, rejected: 0, produced: produced(0) }, 0.0, 0.0));
    assert_eq!(transaction(true), (Totals { consumed: 6, rejected: 1, produced: produced(2) }, 1.0, 2.0));

    worker.committed(CommitOutcome::Failed);
    assert_eq!(worker.take_transaction_end(), None);
    worker.committed(CommitOutcome::Aborted);
    worker.committed(CommitOutcome::Ok);
    assert_eq!(worker.take_transaction_end(), Some(CommitOutcome::Aborted), "the second one had nothing in it");
    assert_eq!(worker.take_transaction_end(), None);
}

#[test]
fn clocks_that_are_wrong_are_counted_and_are_no_latency() {
    let metrics = Metrics::new(WINDOW);
    let mut route = metrics.route("flights");
    let now = 1_800_000_000_000;
    for timestamp in [now + 2_000, now + 1, now, now - 5_000, now - 86_400_000, now - 86_400_001, 0, i64::MIN] {
        route.delivered(timestamp, now);
    }
    route.flush();
    let samples = samples(&metrics);
    let fault =
        |fault: &str| samples[&format!(r#"weir_timestamps_out_of_range_total{{fault="{fault}",route="flights"}}"#)];
    assert_eq!((fault("future"), fault("old")), (2.0, 3.0));
    let end_to_end = |part: &str| samples[&format!(r#"weir_end_to_end_seconds_{part}{{route="flights"}}"#)];
    assert_eq!((end_to_end("count"), end_to_end("sum")), (3.0, 86_405.0));
}

#[test]
fn what_workers_count_arrives_with_the_flush_and_not_before() {
    let metrics = Metrics::new(WINDOW);
    let (mut one, mut two) = (metrics.route("flights"), metrics.route("flights"));
    one.consumed.inc_by(3);
    two.consumed.inc_by(4);
    let value = || samples(&metrics)["weir_records_consumed_total{route=\"flights\"}"];
    assert_eq!(value(), 0.0);
    one.flush();
    two.flush();
    assert_eq!(value(), 7.0);
    one.consumed.inc();
    drop(one);
    assert_eq!(value(), 8.0, "a drop flushes");
}

#[test]
fn a_worker_reports_its_present_state_and_takes_it_back() {
    let metrics = Metrics::new(WINDOW);
    let (mut one, mut two) = (metrics.worker([("topic", "r")]), metrics.worker([("topic", "r")]));
    let value = |name: &str| samples(&metrics).get(name).copied();
    one.in_flight(10);
    two.in_flight(20);
    assert_eq!(value("weir_in_flight_records"), Some(30.0));
    one.in_flight(4);
    assert_eq!(value("weir_in_flight_records"), Some(24.0));
    one.position("topic", 0, 100, 109);
    two.position("topic", 1, 100, 108);
    drop(one);
    assert_eq!(value("weir_in_flight_records"), Some(20.0), "a worker that is gone has nothing in flight");
    assert_eq!(value("weir_consumer_lag{partition=\"0\",route=\"r\",topic=\"topic\"}"), None);
    assert_eq!(value("weir_consumer_lag{partition=\"1\",route=\"r\",topic=\"topic\"}"), Some(8.0));
    assert_eq!(value("weir_consumer_position{partition=\"1\",route=\"r\",topic=\"topic\"}"), Some(100.0));
    two.unassigned("topic", 1);
    assert_eq!(value("weir_consumer_position{partition=\"1\",route=\"r\",topic=\"topic\"}"), None);
    assert_eq!(value("weir_consumer_lag{partition=\"1\",route=\"r\",topic=\"topic\"}"), None);
}

#[test]
fn the_age_of_commits_is_that_of_the_slowest_worker_and_grows_by_itself() {
    let metrics = Metrics::new(WINDOW);
    let (one, two) = (metrics.worker([]), metrics.worker([]));
    let start = Instant::now();
    let age = |seconds: u64| {
        metrics.tick(start + Duration::from_secs(seconds));
        samples(&metrics)["weir_commit_age_seconds"]
    };
    assert_eq!(age(0), 0.0, "nothing is delivered");
    one.commit_age(Some(start));
    two.commit_age(Some(start + Duration::from_secs(4)));
    assert_eq!(age(5), 5.0);
    assert_eq!(age(9), 9.0, "a worker that reports nothing more is seen as well");
    one.commit_age(None);
    assert_eq!(age(10), 6.0);
    drop(two);
    assert_eq!(age(11), 0.0, "a worker that is gone has nothing to commit");
}

#[test]
fn a_route_waits_as_long_as_any_worker_waits_for_that_reason() {
    let metrics = Metrics::new(WINDOW);
    let (mut one, mut two) = (metrics.route("r"), metrics.route("r"));
    let waiting = || {
        let samples = samples(&metrics);
        let of =
            |reason: &WaitReason| samples[&format!(r#"weir_route_waiting{{reason="{}",route="r"}}"#, reason.as_str())];
        WaitReason::ALL.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(waiting(), [0.0; 7]);
    one.waiting(WaitReason::ByHand, true);
    one.waiting(WaitReason::ByHand, true);
    two.waiting(WaitReason::ByHand, true);
    two.waiting(WaitReason::Room, true);
    assert_eq!(waiting(), [0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
    one.waiting(WaitReason::ByHand, false);
    assert_eq!(waiting(), [0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0], "the other worker still waits");
    drop(two);
    assert_eq!(waiting(), [0.0; 7], "a worker that is gone doesn't wait");
}

#[test]
fn the_number_of_series_stays_the_same_however_many_versions_have_served() {
    let metrics = Metrics::new(WINDOW);
    let routes = ["one", "two"];
    let mut of_routes = routes.map(|route| metrics.route(route));
    let mut series = |versions: std::ops::RangeInclusive<u64>| {
        for version in versions {
            let model = flights(version);
            for (name, route) in routes.iter().zip(&mut of_routes) {
                metrics.serving(name, &production(), &model);
                let mut seen = route.model(&model);
                seen.produced.inc();
                seen.observe_rows(delays(1_000, 0.0).view());
                seen.observe_outputs(Array2::from_elem((1_000, 2), 0.5).view());
            }
            metrics.tick(Instant::now());
        }
        samples(&metrics).len()
    };
    let before = series(1..=10);
    assert_eq!(series(11..=40), before);
}

/// What docs/reference/metrics.md says about cost.
#[test]
fn a_version_has_as_many_series_as_the_documentation_says() {
    let model = flights(7);
    let plan = crate::monitor::drift::Plan::new(&model.baseline, model.signature());
    let series = |config: MonitorConfig| {
        let metrics = Metrics::of_group("g", config, BTreeMap::new());
        metrics.serving("flights", &production(), &model);
        let route = metrics.route("flights");
        let mut seen = route.model(&model);
        seen.observe_rows(delays(1_000, 0.0).view());
        seen.observe_outputs(Array2::from_elem((1_000, 2), 0.5).view());
        seen.flush();
        metrics.tick(Instant::now());
        samples(&metrics).into_keys().filter(|name| name.contains("version=\"7\"")).count()
    };
    // weir_model_info and weir_records_produced_total.
    let (always, classes) = (2, 2);
    let bins =
        |features: usize| plan.features()[..features].iter().map(|column| 2 * column.bins.len() + 7).sum::<usize>();
    assert_eq!(series(monitoring(DriftScope::Fleet)), bins(2) + 3 * classes + 5 + always);
    assert_eq!(series(monitoring(DriftScope::Process)), 4 * 2 + classes + 2 + always);
    assert_eq!(series(monitoring(DriftScope::Off)), classes + always);
    let two_windows = |drift| MonitorConfig { drift_windows: vec![window("10m"), window("1d")], ..monitoring(drift) };
    assert_eq!(series(two_windows(DriftScope::Fleet)), series(monitoring(DriftScope::Fleet)) + 3 * 3);
    assert_eq!(series(two_windows(DriftScope::Process)), series(monitoring(DriftScope::Process)) + 2 * 3);
    let one_of_each = MonitorConfig { max_features: 1, max_classes: 1, ..monitoring(DriftScope::Fleet) };
    // The other class is `other`.
    assert_eq!(series(one_of_each), bins(1) + 3 * 2 + 5 + always);
}

#[test]
fn every_closed_list_has_its_own_labels_in_order() {
    let metrics = Metrics::new(WINDOW);
    let mut worker = metrics.route("r");
    for (at, &reason) in Reason::ALL.iter().enumerate() {
        worker.rejected(reason).inc_by(at as u64 + 1);
    }
    for (at, &stage) in Stage::ALL.iter().enumerate() {
        (0..=at).for_each(|_| worker.stage(stage).observe(0.1));
    }
    worker.flush();
    let samples = samples(&metrics);
    for (at, reason) in Reason::ALL.iter().enumerate() {
        let name = format!("weir_records_rejected_total{{reason=\"{reason}\",route=\"r\"}}");
        assert_eq!(samples[&name], at as f64 + 1.0);
    }
    for (at, stage) in Stage::ALL.iter().enumerate() {
        let name = format!("weir_stage_seconds_count{{route=\"r\",stage=\"{}\"}}", stage.as_str());
        assert_eq!(samples[&name], at as f64 + 1.0);
    }
}

#[test]
fn gaps_and_strange_values_are_counted_per_feature() {
    let metrics = Metrics::new(WINDOW);
    let worker = metrics.route("flights");
    let mut seen = worker.model(&flights(7));
    let missing = Gap::Missing.value();
    seen.observe_rows(aview2(&[[missing, missing], [-1.0, Gap::Unknown.value()], [1e9, 1.0], [50.0, 0.0]]));
    seen.observe_outputs(aview2(&[[0.4, 0.6]]));
    seen.flush();
    let samples = samples(&metrics);
    let value = |name: &str, feature: &str, more: &str| {
        let name =
            format!("weir_{name}{{{more}feature=\"{feature}\",model=\"flights\",route=\"flights\",version=\"7\"}}");
        samples.get(&name).copied()
    };
    assert_eq!(value("feature_missing_total", "delay", ""), Some(1.0));
    assert_eq!(value("feature_missing_total", "origin", ""), Some(1.0));
    assert_eq!(value("feature_out_of_range_total", "delay", ""), Some(2.0));
    assert_eq!(value("feature_out_of_range_total", "origin", ""), None);
    assert_eq!(value("feature_unseen_total", "origin", ""), Some(1.0));
    assert_eq!(value("feature_unseen_total", "delay", ""), None);
    let bin = |bin: &str, feature: &str| {
        let start = format!("weir_feature_bin_total{{bin={bin:?},created=\"");
        let end = format!("\",feature={feature:?},model=\"flights\",route=\"flights\",version=\"7\"}}");
        let found = samples.iter().find(|(name, _)| name.starts_with(&start) && name.ends_with(&end));
        found.map(|(_, &value)| value)
    };
    assert_eq!(bin("(39.5,59.5]", "delay"), Some(1.0));
    assert_eq!(bin("JFK", "origin"), Some(1.0));
    assert_eq!(bin("late", "prediction"), Some(1.0));
    assert_eq!(
        samples["weir_predictions_total{class=\"late\",model=\"flights\",route=\"flights\",version=\"7\"}"],
        1.0
    );
    assert_eq!(
        samples["weir_predictions_total{class=\"on_time\",model=\"flights\",route=\"flights\",version=\"7\"}"],
        0.0
    );
}

#[test]
fn a_replaced_version_leaves_its_counters_and_takes_its_gauges() {
    let (metrics, _worker, worker, seen) = everything();
    let of = |version: u64| {
        let label = format!("version=\"{version}\"");
        let names = samples(&metrics).into_keys().filter(|name| name.contains(&label));
        names.filter_map(|name| name.split_once('{').map(|(name, _)| name.to_owned())).collect::<BTreeSet<_>>()
    };
    let gauges = [
        "weir_baseline_bin_ratio",
        "weir_baseline_bins",
        "weir_baseline_rows",
        "weir_drift",
        "weir_drift_rows",
        "weir_drift_threshold",
        "weir_model_info",
    ];
    assert!(gauges.iter().all(|&gauge| of(7).contains(gauge)), "{:?}", of(7));
    metrics.serving("flights", &production(), &flights(8));
    assert!(!gauges.iter().any(|&gauge| of(7).contains(gauge)), "{:?}", of(7));
    assert!(of(7).contains("weir_feature_bin_total") && of(8).contains("weir_model_info"));
    assert_eq!(samples(&metrics).keys().filter(|name| name.starts_with("weir_model_info")).count(), 1);
    metrics.tick(Instant::now());
    assert!(!of(7).contains("weir_drift"), "a tick doesn't bring it back");

    // A worker still holds version 7: it stays, however many come after it.
    for version in 9..=20 {
        metrics.serving("flights", &production(), &flights(version));
    }
    assert!(of(7).contains("weir_predictions_total"));
    drop(seen);
    metrics.serving("flights", &production(), &flights(21));
    assert_eq!(of(7), BTreeSet::new());
    let kept: Vec<_> = (7..=21).filter(|&version| of(version).contains("weir_feature_bin_total")).collect();
    assert_eq!(kept, [18, 19, 20, 21]);
    drop(worker);
}

#[test]
fn a_version_that_another_route_serves_keeps_its_gauges() {
    let metrics = Metrics::new(WINDOW);
    metrics.serving("one", &production(), &flights(1));
    metrics.serving("two", &production(), &flights(1));
    for version in 2..10 {
        metrics.serving("one", &production(), &flights(version));
    }
    let baselines = samples(&metrics).into_keys().filter(|name| name.starts_with("weir_baseline_bin_ratio"));
    let versions: BTreeSet<_> = baselines.map(|name| name.rsplit_once("version=").unwrap().1.to_owned()).collect();
    assert_eq!(versions, BTreeSet::from(["\"1\"}".to_owned(), "\"9\"}".to_owned()]));
}

#[test]
fn regressions_have_a_prediction_per_output_and_no_classes() {
    let metrics = Metrics::new(WINDOW);
    let model = arithmetic(1);
    let mut seen = metrics.route("sums").model(&model);
    seen.observe_outputs(aview2(&[[10.0, -1e9]]));
    seen.flush();
    let samples = samples(&metrics);
    let below = samples.iter().find(|(name, _)| {
        name.starts_with("weir_feature_bin_total{bin=\"below\"") && name.contains("feature=\"prediction.difference\"")
    });
    assert_eq!(below.map(|(_, &rows)| rows), Some(1.0));
    assert!(!samples.keys().any(|name| name.starts_with("weir_predictions_total")));
}

#[test]
fn totals_add_up_over_routes_and_versions() {
    let (metrics, _worker, worker, seen) = everything();
    let mut other = metrics.route("other");
    other.consumed.inc_by(5);
    other.model(&flights(7)).produced.inc_by(5);
    other.model(&flights(8)).produced.inc_by(1);
    other.flush();
    let produced = BTreeMap::from([(("flights".to_owned(), 7), 2_004), (("flights".to_owned(), 8), 1)]);
    assert_eq!(metrics.totals(), Totals { consumed: 2_005, rejected: 1, produced });
    drop((worker, seen));
}

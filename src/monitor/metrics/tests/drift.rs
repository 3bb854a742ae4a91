//! The distance of live rows from training rows, as the gauges show it.

use super::*;

#[test]
fn without_a_baseline_nothing_is_compared() {
    let metrics = Metrics::new(WINDOW);
    let mut model = flights(1);
    model.baseline = Baseline::fit(model.signature(), Array2::zeros((0, 2)).view(), Array2::zeros((0, 2)).view());
    metrics.serving("flights", &production(), &model);
    let mut route = metrics.route("flights");
    let mut seen = route.model(&model);
    seen.observe_rows(delays(2_000, 0.0).view());
    seen.observe_outputs(Array2::from_elem((2_000, 2), 0.5).view());
    route.flush();
    seen.flush();
    metrics.tick(Instant::now());
    let samples = samples(&metrics);
    for (name, value) in &samples {
        let compares = ["weir_baseline", "weir_drift{", "weir_drift_threshold", "weir_feature_out_of_range_total"];
        assert!(!value.is_nan() && !compares.iter().any(|metric| name.starts_with(metric)), "{name} {value}");
        let is_silent = !name.starts_with("weir_drift_rows") || name.contains(r#"status="no_baseline""#);
        assert!(is_silent, "{name}");
    }
    assert_eq!(
        samples[r#"weir_predictions_total{class="on_time",model="flights",route="flights",version="1"}"#],
        2_000.0
    );
}

#[test]
fn drift_is_silent_at_first_and_then_names_the_strongest_feature() {
    let metrics = Metrics::new(WINDOW);
    let model = flights(7);
    metrics.serving("flights", &production(), &model);
    let mut seen = metrics.route("flights").model(&model);
    let gauge = "weir_drift{feature=\"origin\",model=\"flights\",route=\"flights\",statistic=\"psi\",version=\"7\",window=\"600s\"}";
    let start = Instant::now();
    let mut rows = |number: usize| {
        seen.observe_rows(delays(number, 1.0).view());
        seen.flush();
    };
    let status = |status: &str| {
        let name = format!(
            "weir_drift_rows{{feature=\"origin\",model=\"flights\",route=\"flights\",status={status:?},version=\"7\",window=\"600s\"}}"
        );
        samples(&metrics).get(&name).copied()
    };
    rows(199);
    metrics.tick(start);
    assert_eq!(metrics.drift("flights", 7), []);
    assert_eq!(samples(&metrics).get(gauge), None);
    assert_eq!((status("few_rows"), status("compared")), (Some(199.0), None));
    rows(801);
    metrics.tick(start + Duration::from_secs(1));
    assert_eq!((status("few_rows"), status("compared"), status("drifted")), (None, None, Some(1_000.0)));
    let drift = metrics.drift("flights", 7);
    assert_eq!(drift.iter().map(|(feature, _)| feature.as_str()).collect::<Vec<_>>(), ["origin", "delay"]);
    // Bins missing, unknown, EWR, JFK: training (0, 0, 50, 50), live (0, 0, 0, 1000).
    // >>> from math import log
    // >>> -.5 * log(.005 / .505) + .5 * log(1.005 / .505) - (1/1000 + 1/100) * 3
    assert!((drift[0].1 - 2.618_652_45).abs() < 1e-6, "{drift:?}");
    assert_eq!(samples(&metrics)[gauge], drift[0].1);
    // Nothing comes for a whole window: nothing to say.
    metrics.tick(start + WINDOW / 30);
    metrics.tick(start + WINDOW * 2);
    assert_eq!(metrics.drift("flights", 7), []);
    assert_eq!(samples(&metrics).get(gauge), None);
    assert_eq!((status("few_rows"), status("compared")), (Some(0.0), None));
}

#[test]
fn routes_of_one_model_are_counted_apart() {
    let metrics = Metrics::new(WINDOW);
    let model = flights(1);
    for (route, origin) in [("one", 0.0), ("two", 1.0)] {
        metrics.serving(route, &production(), &model);
        let mut seen = metrics.route(route).model(&model);
        seen.observe_rows(delays(1_000, origin).view());
    }
    metrics.tick(Instant::now());
    // Together they are as in training, half and half.
    let drift = |route: &str| {
        let labels =
            format!(r#"feature="origin",model="flights",route="{route}",statistic="psi",version="1",window="600s""#);
        samples(&metrics)[&format!("weir_drift{{{labels}}}")]
    };
    assert!(drift("one") > 1.0 && drift("two") > 1.0, "{} {}", drift("one"), drift("two"));
}

#[test]
fn each_window_has_its_rows_and_its_index() {
    let config = MonitorConfig { drift_windows: vec![window("10m"), window("1d")], ..monitoring(DriftScope::Fleet) };
    let metrics = Metrics::register(Registry::new(), config, BTreeMap::new());
    let model = flights(7);
    metrics.serving("flights", &production(), &model);
    let mut seen = metrics.route("flights").model(&model);
    let start = Instant::now();
    for hour in 0..48 {
        seen.observe_rows(delays(1_000, f64::from(hour % 2)).view());
        seen.flush();
        metrics.tick(start + Duration::from_secs(3_600) * hour);
        // Before the next batch, and after the end of the short window.
        metrics.tick(start + Duration::from_secs(3_600) * hour + WINDOW * 2);
    }
    let samples = samples(&metrics);
    let of = |metric: &str, window: &str| {
        let parts = ["feature=\"origin\"".to_owned(), format!("window={window:?}")];
        let is_it = |name: &&String| name.starts_with(metric) && parts.iter().all(|part| name.contains(part));
        samples.iter().filter(|(name, _)| is_it(name)).map(|(_, &value)| value).collect::<Vec<_>>()
    };
    // One origin an hour, and both in turns over the day, as in training.
    assert_eq!((of("weir_drift_rows", "10m"), of("weir_drift{", "10m")), (vec![0.0], vec![]));
    assert_eq!((of("weir_drift_rows", "1d"), of("weir_drift{", "1d")), (vec![24_000.0], vec![0.0]));
    assert_eq!((of("weir_drift_threshold", "10m"), of("weir_drift_threshold", "1d")), (vec![0.05], vec![0.05]));
}

#[test]
fn a_window_of_rows_waits_for_them() {
    let config =
        MonitorConfig { drift_windows: vec![window("10m"), window("1000rows")], ..monitoring(DriftScope::Fleet) };
    let metrics = Metrics::register(Registry::new(), config, BTreeMap::new());
    let model = flights(7);
    metrics.serving("flights", &production(), &model);
    let mut seen = metrics.route("flights").model(&model);
    let rows = |name: &str, start: Instant, hour: u64| {
        metrics.tick(start + Duration::from_secs(3_600) * hour as u32);
        let parts = ["weir_drift_rows".to_owned(), "feature=\"origin\"".to_owned(), format!("window={name:?}")];
        let samples = samples(&metrics);
        let mut found = samples.iter().filter(|(name, _)| parts.iter().all(|part| name.contains(part)));
        *found.next().unwrap().1
    };
    // A few rows an hour.
    let start = Instant::now();
    for hour in 0..40 {
        seen.observe_rows(delays(50, 1.0).view());
        seen.flush();
        metrics.tick(start + Duration::from_secs(3_600) * hour);
    }
    assert_eq!((rows("10m", start, 40), rows("1000rows", start, 40)), (0.0, 1_000.0));
}

#[test]
fn a_route_excludes_features_and_has_thresholds_of_its_own() {
    let drift = RouteDrift { exclude: vec!["origin".into()], threshold: BTreeMap::from([("delay".into(), 0.3)]) };
    let of_routes = BTreeMap::from([("one".to_owned(), drift)]);
    let metrics = Metrics::register(Registry::new(), monitoring(DriftScope::Fleet), of_routes);
    let model = flights(7);
    for route in ["one", "two"] {
        metrics.serving(route, &production(), &model);
        metrics.route(route).model(&model).observe_rows(delays(1_000, 1.0).view());
    }
    metrics.tick(Instant::now());
    let samples = samples(&metrics);
    let of = |metric: &str, route: &str, feature: &str| {
        let labels = [format!("route={route:?}"), format!("feature={feature:?}")];
        let is_it = |name: &&String| name.starts_with(metric) && labels.iter().all(|label| name.contains(label));
        samples.keys().filter(is_it).cloned().collect::<Vec<_>>()
    };
    for metric in ["weir_drift{", "weir_drift_threshold", "weir_baseline", "weir_feature_bin_total"] {
        assert_eq!(of(metric, "one", "origin"), Vec::<String>::new());
        assert!(!of(metric, "two", "origin").is_empty() && !of(metric, "one", "delay").is_empty(), "{metric}");
    }
    let rows = of("weir_drift_rows", "one", "origin");
    assert!(rows.len() == 1 && rows[0].contains(r#"status="excluded""#) && samples[&rows[0]] == 1_000.0, "{rows:?}");
    assert!(!of("weir_feature_missing_total", "one", "origin").is_empty(), "its gaps are counted nevertheless");
    let threshold = |route: &str, feature: &str| samples[&of("weir_drift_threshold", route, feature)[0]];
    assert_eq!((threshold("one", "delay"), threshold("two", "delay")), (0.3, 0.05));
    assert_eq!(threshold("one", "prediction"), 0.05);
}

#[test]
fn a_feature_has_drifted_when_its_index_is_above_the_threshold_of_its_route() {
    let drift = RouteDrift { exclude: Vec::new(), threshold: BTreeMap::from([("origin".into(), 5.0)]) };
    let of_routes = BTreeMap::from([("one".to_owned(), drift)]);
    // An alert needs it where no fleet is compared.
    let metrics = Metrics::register(Registry::new(), monitoring(DriftScope::Process), of_routes);
    let model = flights(7);
    for route in ["one", "two"] {
        metrics.serving(route, &production(), &model);
        metrics.route(route).model(&model).observe_rows(delays(1_000, 1.0).view());
    }
    metrics.tick(Instant::now());
    let samples = samples(&metrics);
    let status = |route: &str, feature: &str| {
        let labels = [format!("route={route:?}"), format!("feature={feature:?}")];
        let rows = samples.keys().filter(|name| name.starts_with("weir_drift_rows"));
        let of_feature = rows.filter(|name| labels.iter().all(|label| name.contains(label)));
        of_feature.map(|name| name.split("status=\"").nth(1).unwrap().split('"').next().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((status("one", "origin"), status("two", "origin")), (vec!["compared"], vec!["drifted"]));
    assert_eq!((status("one", "delay"), status("two", "delay")), (vec!["compared"], vec!["compared"]));
}

#[test]
fn rows_are_compared_with_the_training_rows_of_their_hour() {
    const HOUR_MS: i64 = 3_600_000;
    let metrics = Metrics::register(Registry::new(), monitoring(DriftScope::Fleet), BTreeMap::new());
    let model = flights_by_hour(7);
    metrics.serving("flights", &production(), &model);
    let mut seen = metrics.route("flights").model(&model);
    let start = Instant::now();
    let of_origin = |samples: &BTreeMap<String, f64>, metric: &str, more: &str| {
        let is_it =
            |name: &&String| name.starts_with(metric) && name.contains("feature=\"origin\"") && name.contains(more);
        samples.iter().find(|(name, _)| is_it(name)).map(|(_, &value)| value)
    };
    // From EWR, as always at three.
    seen.observe_rows(delays(1_000, 0.0).view());
    seen.observe_times([Some(3 * HOUR_MS); 1_000].into_iter());
    seen.flush();
    metrics.tick(start);
    let at_three = samples(&metrics);
    assert_eq!(of_origin(&at_three, "weir_drift{", ""), Some(0.0));
    assert_eq!(of_origin(&at_three, "weir_feature_expected_total", "bin=\"EWR\""), Some(1_000.0));
    let of_period = |metric: &str, period: &str| {
        let is_it = |name: &&String| name.starts_with(metric) && name.contains(&format!("period={period:?}"));
        at_three.iter().find(|(name, _)| is_it(name)).map(|(_, &value)| value)
    };
    assert_eq!(of_period("weir_period_rows_total", "03"), Some(1_000.0));
    assert_eq!(
        (of_period("weir_period_rows_total", "15"), of_period("weir_period_rows_total", "24")),
        (Some(0.0), None)
    );
    assert_eq!(of_period("weir_baseline_period_ratio", "03"), Some(1.0 / 24.0));
    // What docs/reference/metrics.md says about cost.
    let series = |metric: &str| at_three.keys().filter(|name| name.starts_with(metric)).count();
    assert_eq!(series("weir_feature_expected_total"), series("weir_feature_bin_total"));
    assert_eq!(series("weir_period_rows_total") + series("weir_baseline_period_ratio"), 50);
    // From EWR in the afternoon: half of the rows are not where they belong.
    seen.observe_rows(delays(1_000, 0.0).view());
    seen.observe_times([Some(15 * HOUR_MS); 1_000].into_iter());
    seen.flush();
    metrics.tick(start + Duration::from_secs(1));
    let both = samples(&metrics);
    assert_eq!(of_origin(&both, "weir_feature_expected_total", "bin=\"JFK\""), Some(1_000.0));
    // Bins missing, unknown, EWR, JFK: live (0, 0, 2000, 0), and and half and half of what 4800 / 12 = 400 training rows had.
    // >>> from math import log
    // >>> .5 * log((1 + 1/800) / (.5 + 1/800)) - .5 * log(1/800 / (.5 + 1/800)) - (1/2000 + 1/400) * 3
    let index = of_origin(&both, "weir_drift{", "").unwrap();
    assert!((index - 3.333_930_47).abs() < 1e-6, "{index}");
    drop(seen);
    for version in 8..14 {
        metrics.serving("flights", &production(), &flights_by_hour(version));
    }
    let gone = samples(&metrics);
    let of_the_first = |name: &&String| name.contains("version=\"7\"") && !name.starts_with("weir_records_");
    assert_eq!(gone.keys().filter(of_the_first).collect::<Vec<_>>(), [""; 0]);
}

//! The queries of the chart's dashboard, on a real Prometheus that scrapes a real weir.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::prometheus::Prometheus;
use super::rules::{list, metrics_of_the_rules, read, text};

/// Metrics that only models of `--baseline-by` have.
const OF_CYCLES: [&str; 3] = ["weir_baseline_period_ratio", "weir_feature_expected_total", "weir_period_rows_total"];

/// Every query of the dashboard, those of its variables included, with its variables filled in.
pub(crate) fn dashboard_queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("helm/weir/dashboards/weir.json")).unwrap();
    let panels = list(&dashboard["panels"]).iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let panels = panels.map(|target| text(&target["expr"]).to_owned());
    // label_values(SERIES, LABEL): the series are what must be there.
    let variables = list(&dashboard["templating"]["list"]).iter().filter_map(|variable| {
        let series = variable["definition"].as_str()?.strip_prefix("label_values(")?.rsplit_once(',')?.0;
        Some(series.to_owned())
    });
    let fill = |query: String| {
        let query = query.replace("$__rate_interval", "10s");
        ["$job", "$route", "$model", "$feature", "$window"]
            .iter()
            .fold(query, |query, variable| query.replace(variable, ".*"))
    };
    panels.chain(variables).map(fill).collect()
}

/// Lets a Prometheus with the chart's rules scrape `metrics_addr` (host:port) every second, until each query of the
/// dashboard has answered a number, each metric that the rules name exists, and each rule can be evaluated.
///
/// What is scraped must meanwhile score over 100 records a second, and have rejected some. Panics after a minute
/// with what is still missing.
pub(crate) fn assert_every_query_gives_data(metrics_addr: &str) {
    let queries = dashboard_queries();
    assert!(queries.len() > 20, "the dashboard has {} queries", queries.len());
    let mut prometheus = Prometheus::scraping(&[metrics_addr]);
    // A query once answered stays so: a rare event needn't lie within the last ten seconds at the very end.
    let mut open: Vec<_> = queries.iter().map(String::as_str).collect();
    eventually(Duration::from_secs(60), || {
        prometheus.assert_running();
        open.retain(|query| !prometheus.answers(query));
        if !open.is_empty() {
            return Err(format!("no data for:\n{}", open.join("\n")));
        }
        let known = prometheus.metric_names();
        let is_missing = |name: &String| !known.contains(name) && !OF_CYCLES.contains(&name.as_str());
        let missing: Vec<_> = metrics_of_the_rules().into_iter().filter(is_missing).collect();
        if !missing.is_empty() {
            return Err(format!("the rules name metrics that don't exist: {missing:?}"));
        }
        prometheus.rules_are_healthy()
    });
}

fn eventually(patience: Duration, mut attempt: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + patience;
    while let Err(reason) = attempt() {
        assert!(Instant::now() < deadline, "after {patience:?}: {reason}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

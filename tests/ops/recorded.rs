//! The alerts, on series that real weirs exported (`tests/support/states.rs`). Nothing but time is added to them: how long a
//! weir stays in its state, and when it can't be scraped.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::succeed;
use crate::support::rules::{RULE_FILES, root};
use crate::support::states::state_file;
use crate::support::tools::tool;

/// Cycles of a process that is up for 2 minutes and down for 3.
const CRASHES: usize = 12;

#[test]
fn the_states_of_a_real_weir_raise_their_alert_and_no_other() {
    let stays = |state: &str, alerts: &[&str]| {
        let series = scraped("a", &kept(state), |_, value| format!("{value}x40"));
        case(state, [series, up("a", "1x40")].concat(), &[(40, alerts)])
    };
    let moves = |state: &str, alerts: &[&str]| {
        let (early, late) = (kept(state), kept(&format!("{state}_later")));
        let series = scraped("a", &early, |name, value| format!("{value}{:+}x40", (late[name] - value) / 40.0));
        case(state, [series, up("a", "1x40")].concat(), &[(40, alerts)])
    };
    run(&[
        stays("healthy", &[]),
        stays("no_model", &["WeirNoModel"]),
        stays("paused", &["WeirRoutePaused"]),
        stays("output_refused", &["WeirOutputRefused"]),
        stays("version_refused", &["WeirModelRefused"]),
        moves("route_stalled", &["WeirStalled"]),
        moves("transactions_aborted", &["WeirCommitsFailing"]),
    ]);
}

#[test]
fn a_real_weir_that_is_gone_or_crashes_raises_its_alert_until_it_is_back() {
    let healthy = kept("healthy");
    let of = |instance: &str, values: &dyn Fn(&str, f64) -> String| scraped(instance, &healthy, values);
    let one_of_two = [
        of("a", &|_, value| format!("{value}x90")),
        up("a", "1x90"),
        of("b", &|_, value| format!("{value}x10 stale _x49 {value}x30")),
        up("b", "1x10 0x50 1x30"),
    ];
    let seven_hours = [of("a", &|_, value| format!("{value}x10 stale _x419 {value}x30")), up("a", "1x10 0x420 1x30")];
    let starts = |name: &str, value: f64| {
        let value_at = |cycle: usize| match name.starts_with("weir_start_time_seconds") {
            true => value + 300.0 * cycle as f64,
            false => value,
        };
        let cycles = (0..CRASHES).map(|cycle| format!("{}x1 stale _ _ ", value_at(cycle)));
        cycles.collect::<String>() + &format!("{}x60", value_at(CRASHES))
    };
    let crash_loop = [of("a", &starts), up("a", &("1x1 0x2 ".repeat(CRASHES) + "1x60"))];
    run(&[
        case("one worker of two is dead", one_of_two.concat(), &[(12, &[]), (40, &["WeirWorkerDown"]), (80, &[])]),
        case(
            "an outage of seven hours",
            seven_hours.concat(),
            &[(12, &[]), (20, &["WeirGone"]), (429, &["WeirGone"]), (450, &[])],
        ),
        case(
            "a crash loop",
            crash_loop.concat(),
            &[(12, &[]), (20, &["WeirCrashLoop"]), (58, &["WeirCrashLoop"]), (105, &[])],
        ),
    ]);
}

/// The series of a state, without the closing brace, and their values.
fn kept(state: &str) -> BTreeMap<String, f64> {
    let file = state_file(state);
    let text = fs::read_to_string(&file).unwrap_or_else(|error| {
        panic!("{}: {error}. WEIR_RECORD=1 lets the tests with await_state write it", file.display())
    });
    let series = text.lines().map(|line| line.rsplit_once("} ").unwrap());
    series.map(|(series, value)| (series.to_owned(), value.parse().unwrap())).collect()
}

/// What Prometheus has of these series: `values` has the values for a series and what was recorded of it.
fn scraped(instance: &str, kept: &BTreeMap<String, f64>, values: impl Fn(&str, f64) -> String) -> Vec<Value> {
    let series = kept.iter().map(|(name, &value)| {
        let labels = format!("{name}, job=\"weir\", instance=\"{instance}\"}}");
        json!({"series": labels, "values": values(name, value)})
    });
    series.collect()
}

fn up(instance: &str, values: &str) -> Vec<Value> {
    vec![json!({"series": format!("up{{job=\"weir\", instance=\"{instance}\"}}"), "values": values})]
}

/// A case of promtool: the minutes at which exactly these alerts fire.
fn case(name: &str, series: Vec<Value>, checks: &[(u32, &[&str])]) -> Value {
    let checks = checks.iter().map(|(minute, alerts)| {
        let samples: Vec<_> =
            alerts.iter().map(|alert| json!({"labels": format!("{{alertname=\"{alert}\"}}"), "value": 1})).collect();
        let firing = "group by (alertname) (ALERTS{alertstate=\"firing\"})";
        json!({"expr": firing, "eval_time": format!("{minute}m"), "exp_samples": samples})
    });
    let checks: Vec<_> = checks.collect();
    json!({"name": name, "interval": "1m", "input_series": series, "promql_expr_test": checks})
}

fn run(tests: &[Value]) {
    let rule_files = RULE_FILES.map(|file| root().join(file));
    let tests = json!({"rule_files": rule_files, "evaluation_interval": "1m", "tests": tests});
    let folder = tempfile::tempdir().unwrap();
    // JSON is YAML.
    let file = folder.path().join("states_test.yaml");
    fs::write(&file, tests.to_string()).unwrap();
    succeed(Command::new(tool("promtool")).args(["test", "rules"]).arg(file));
}

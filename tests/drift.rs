//! How often drift detection is wrong, in a short form of `cargo bench --bench drift`; and that `weir evaluate --drift`,
//! the gauge of a process and the recording rule of a fleet compute the same number of the same rows.

use std::collections::BTreeMap;
use std::fs;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use crate::ops::Prometheus;
use crate::support::eventually;
use crate::support::kafka::{self, Record, produce};
use crate::support::populations::{alarms, changes, kinds};
use crate::support::weir::{Setup, Weir, command};

/// Windows for each population here; 1,000 in the long form.
const WINDOWS: u64 = 60;

const PARTITIONS: i32 = 4;

/// How far two computations of an index may be apart.
const TOLERANCE: f64 = 1e-6;

#[test]
fn undrifted_windows_raise_no_alarm() {
    for (name, population) in kinds() {
        for training_rows in [100, 1_000] {
            let found = alarms((&population, &population), (training_rows, &[200, 2_000]), WINDOWS);
            // 1 % is promised, and with 1 % four of 60 are found once in 300 times.
            assert!(found < 4, "{name}, {training_rows} training rows: {found} of {WINDOWS} windows");
        }
    }
}

#[test]
fn changes_are_found_within_2000_records() {
    for (name, before, after) in changes() {
        let found = alarms((&before, &after), (2_000, &[2_000]), WINDOWS);
        assert!(found >= WINDOWS * 9 / 10, "{name}: {found} of {WINDOWS} windows");
    }
}

/// A constant, one but for rounding, many zeros, two values, few integers: each has broken an index of drift somewhere.
#[test]
fn constants_and_heaps_drift_when_they_move_and_only_then() {
    let place = TrainedModel::new(20_000);
    let live = place.drift(&rows(5_000, 1, false));
    assert!(live.values().all(|&index| index < 0.05), "{live:?}");
    let moved = place.drift(&rows(5_000, 2, true));
    assert!(moved["constant"] > 0.2 && moved["zeros"] > 0.2, "{moved:?}");
    let rest = moved.iter().filter(|(feature, _)| !["constant", "zeros", "prediction"].contains(&feature.as_str()));
    assert!(rest.into_iter().all(|(_, &index)| index < 0.05), "{moved:?}");
}

/// Two processes, one of which stops before all rows are there, and a Prometheus with the chart's rules. The route excludes a
/// feature and has a threshold for another one, which `weir evaluate` doesn't know.
#[test]
fn process_fleet_and_evaluation_agree() {
    let place = TrainedModel::new(150);
    place.setup.create_topics(PARTITIONS);
    let config = place.setup.config(&format!("[route.drift]\nexclude = [{EXCLUDED:?}]\nthreshold = {{ two = 7 }}"));
    let evaluated = |rows: &[Map<String, Value>], figure: &str| {
        let mut found = place.evaluated(rows, figure);
        assert!(found.remove(EXCLUDED).is_some());
        found
    };
    let (first, second) = (Weir::ready(&config), Weir::ready(&config));
    eventually("both have partitions", || {
        [&first, &second].iter().all(|weir| weir.partitions().len() == 2).then_some(())
    });
    let mut prometheus = Prometheus::scraping(&[&first.http, &second.http]);
    let all = rows(1_500, 3, true);
    place.send(&all[..900]);
    let of_fleet = |prometheus: &mut Prometheus, rows: usize| {
        eventually("the rule has all rows", || {
            prometheus.assert_running();
            // The rules that come after this one have been evaluated, too, if it had all rows two seconds ago.
            let counted = prometheus.by_feature("weir:feature_rows:increase offset 2s");
            (counted.len() == COLUMNS.len() + 1 && counted.values().all(|&count| count == rows as f64)).then_some(())
        });
        prometheus.by_feature("weir:drift:psi")
    };
    assert_same(&of_fleet(&mut prometheus, 900), &evaluated(&all[..900], "psi"));
    assert!(first.stop().success());
    eventually("the other one has all partitions", || (second.partitions().len() == 4).then_some(()));
    place.send(&all[900..]);
    assert_same(&of_fleet(&mut prometheus, 1_500), &evaluated(&all, "psi"));
    let mut thresholds = evaluated(&all, "threshold");
    thresholds.insert("two".into(), 7.0);
    assert_same(&prometheus.by_feature("weir:drift:threshold"), &thresholds);

    // A process that has all rows itself.
    let group = format!("{}-alone", place.setup.group);
    let config = fs::read_to_string(&config).unwrap().replace(&place.setup.group, &group);
    // Its topics are called like the group.
    let config = config.replace(&format!("{group}."), &format!("{}.", place.setup.group));
    let file = place.setup.folder.path().join("alone.toml");
    fs::write(&file, config).unwrap();
    let alone = Weir::ready(&file);
    let of_process = eventually("it has all rows", || {
        let metrics = alone.get("/metrics").1;
        let rows = by_feature(&metrics, "weir_drift_rows");
        let is_whole = rows.len() == COLUMNS.len() + 2 && rows.values().all(|&rows| rows == 1_500.0);
        is_whole.then(|| by_feature(&metrics, "weir_drift"))
    });
    assert_same(&of_process, &evaluated(&all, "psi"));
}

/// One of these columns, which the route of a test doesn't compare.
const EXCLUDED: &str = "few";

const COLUMNS: [&str; 6] = ["constant", "rounding", "zeros", "two", "few", "tenth"];

/// A model of these columns and `x`, in the store of a setup.
struct TrainedModel {
    setup: Setup,
}

impl TrainedModel {
    fn new(training_rows: usize) -> TrainedModel {
        let place = TrainedModel { setup: Setup::named(kafka::brokers()) };
        let train = place.write("train", &rows(training_rows, 10, false));
        let test = place.write("test", &rows(1_000, 11, false));
        let mut command = command();
        command.args(["train", &train, "--test", &test, "--target", "t", "--name", "flights"]);
        command.args(["--promote", "production", "--store", &place.store()]);
        let output = command.args(["--max-iter", "2", "--hidden-layer-sizes", "8"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        place
    }

    fn store(&self) -> String {
        format!("file:{}", self.setup.store().display())
    }

    /// The index of each feature that `weir evaluate --drift` computes for these rows.
    fn drift(&self, rows: &[Map<String, Value>]) -> BTreeMap<String, f64> {
        self.evaluated(rows, "psi")
    }

    /// A figure of each feature in the JSON report of `weir evaluate --drift`.
    fn evaluated(&self, rows: &[Map<String, Value>], figure: &str) -> BTreeMap<String, f64> {
        let table = self.write("live", rows);
        let mut evaluate = command();
        evaluate.args(["evaluate", "flights@production", &table, "--drift", "--json", "--store", &self.store()]);
        let output = evaluate.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let found = report["drift"].as_array().unwrap().iter();
        found.map(|it| (it["feature"].as_str().unwrap().into(), it[figure].as_f64().unwrap())).collect()
    }

    fn write(&self, name: &str, rows: &[Map<String, Value>]) -> String {
        let path = self.setup.folder.path().join(format!("{name}.csv"));
        let header: Vec<_> = rows[0].keys().cloned().collect();
        let line = |row: &Map<String, Value>| {
            let cells = row.values().map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
            cells.collect::<Vec<_>>().join(",")
        };
        let lines: Vec<_> = std::iter::once(header.join(",")).chain(rows.iter().map(line)).collect();
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn send(&self, rows: &[Map<String, Value>]) {
        let record = |(number, row): (usize, &Map<String, Value>)| Record {
            partition: number as i32 % PARTITIONS,
            value: Some(Value::from(row.clone()).to_string().into()),
            ..Record::default()
        };
        produce(&self.setup.brokers, &self.setup.input, rows.iter().enumerate().map(record));
    }
}

/// Rows of one population; `moved` changes the constant and the share of zeros.
fn rows(count: usize, seed: u64, moved: bool) -> Vec<Map<String, Value>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut row = || {
        let x = rng.random_range(-1.0..1.0);
        let is_zero = rng.random_bool(if moved { 0.80 } else { 0.97 });
        let rounding = [0.3, 0.1 + 0.2, 0.300_000_000_000_000_04][rng.random_range(0..3)];
        let row = json!({
            "constant": if moved { 8.0 } else { 7.0 },
            "rounding": rounding,
            "zeros": if is_zero { 0.0 } else { f64::from(rng.random_range(1..4_000)) / 100.0 },
            "two": rng.random_range(0..2),
            "few": rng.random_range(0..3) * rng.random_range(0..3),
            "tenth": f64::from(rng.random_range(1..10)) / 10.0,
            "x": x,
            "t": if x > 0.0 { "up" } else { "down" },
        });
        row.as_object().unwrap().clone()
    };
    (0..count).map(|_| row()).collect()
}

/// The values of a metric in the text format, by the label `feature`.
fn by_feature(metrics: &str, name: &str) -> BTreeMap<String, f64> {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
    let series = lines.filter_map(|line| {
        let feature = line.split_once("feature=\"")?.1.split_once('"')?.0;
        Some((feature.to_owned(), line.rsplit_once(' ')?.1.parse().ok()?))
    });
    series.collect()
}

#[track_caller]
fn assert_same(found: &BTreeMap<String, f64>, expected: &BTreeMap<String, f64>) {
    assert!(found.keys().eq(expected.keys()), "{found:?}, not {expected:?}");
    for (feature, index) in expected {
        assert!((found[feature] - index).abs() < TOLERANCE, "{feature}: {found:?}, not {expected:?}");
    }
}

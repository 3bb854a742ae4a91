//! How often drift detection is wrong, in a short form of `cargo bench --bench drift`; and that `weir evaluate --drift`,
//! the gauge of a process and the recording rule of a fleet compute the same number of the same rows.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use crate::support::eventually;
use crate::support::kafka::{self, Record, produce};
use crate::support::populations::{alarms, changes, kinds};
use crate::support::prometheus::Prometheus;
use crate::support::weir::{Setup, Weir, command};

/// Windows for each population here; 1,000 in the long form.
const WINDOWS: u64 = 60;

const PARTITIONS: i32 = 6;

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
    let live = place.drift(&rows(5_000, (1, 24), false));
    assert!(live.values().all(|&index| index < 0.05), "{live:?}");
    let moved = place.drift(&rows(5_000, (2, 24), true));
    assert!(moved["constant"] > 0.2 && moved["zeros"] > 0.2, "{moved:?}");
    let rest = moved.iter().filter(|(feature, _)| !["constant", "zeros", "prediction"].contains(&feature.as_str()));
    assert!(rest.into_iter().all(|(_, &index)| index < 0.05), "{moved:?}");
}

/// Three processes, of which one is replaced while a version is; dead letters of the first version that the second one takes;
/// and a Prometheus with the chart's rules. The first version compares with all of training, the second one by hour. The route
/// excludes a feature and has a threshold for another one, which `weir evaluate` doesn't know.
#[test]
fn process_fleet_and_evaluation_agree() {
    let mut place = TrainedModel::new(150);
    place.train(2_400, &["--baseline-by", "hour", "--impute", "x=mean"]);
    place.setup.threads = 1;
    place.setup.create_topics(PARTITIONS);
    let config = place.setup.config(&format!("[route.drift]\nexclude = [{EXCLUDED:?}]\nthreshold = {{ two = 7 }}"));
    place.promote(1);
    let evaluated = |version: u64, rows: &[Row], figure: &str| {
        let mut found = place.evaluated(version, rows, figure);
        assert!(found.remove(EXCLUDED).is_some());
        found
    };
    let fourth = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut fleet = vec![Weir::ready(&config), Weir::ready(&config), Weir::ready(&config)];
    await_shared(&fleet);
    let targets: Vec<&str> = fleet.iter().map(|weir| &*weir.http).chain([&*fourth]).collect();
    let mut prometheus = Prometheus::scraping(&targets);
    let mut of_fleet = |version, rows, figure| of_fleet(&mut prometheus, version, rows, figure);

    // Every tenth row lacks what the first version needs.
    let mut all = rows(1_500, (3, 7), true);
    all[..900].iter_mut().step_by(10).for_each(|row| row["x"] = Value::Null);
    let lacking: Vec<Row> = all[..900].iter().step_by(10).cloned().collect();
    place.send(&all[..900]);
    assert_same(&of_fleet(1, 810, "psi"), &evaluated(1, &all[..900], "psi"));

    place.promote(2);
    eventually("each has version 2", || {
        // Only the second version has hours.
        fleet.iter().all(|weir| weir.get("/metrics").1.contains("weir_baseline_period_ratio{")).then_some(())
    });
    place.send(&all[900..1_200]);
    of_fleet(2, 300, "psi");
    assert!(fleet.remove(0).stop().success());
    fleet.push(Weir::start_with(&config, &[("WEIR__HTTP__LISTEN", &fourth)]));
    await_shared(&fleet);
    place.send(&all[1_200..]);
    place.redrive(&config, lacking.len() as u64);
    let of_second = [&all[900..], &lacking].concat();
    assert_same(&of_fleet(2, 690, "psi"), &evaluated(2, &of_second, "psi"));
    let mut thresholds = evaluated(2, &of_second, "threshold");
    thresholds.insert("two".into(), 7.0);
    assert_same(&of_fleet(2, 690, "threshold"), &thresholds);

    let of_process = of_process(&place.setup, &config, 1_590.0);
    assert_same(&of_process, &evaluated(2, &[&all[..], &lacking].concat(), "psi"));
}

/// Waits until each of three processes has two of the partitions.
fn await_shared(fleet: &[Weir]) {
    eventually("each has two partitions", || fleet.iter().all(|weir| weir.partitions().len() == 2).then_some(()));
}

/// A figure of each feature as the chart's rules compute it of all processes, once they have so many rows.
fn of_fleet(prometheus: &mut Prometheus, version: u64, rows: usize, figure: &str) -> BTreeMap<String, f64> {
    eventually("the rule has all rows", || {
        prometheus.assert_running();
        // The rules that come after this one have been evaluated, too, if it had all rows two seconds ago.
        let counted = format!("weir:feature_rows:increase{{version=\"{version}\"}} offset 2s");
        let counted = prometheus.by_feature(&counted);
        (counted.len() == COLUMNS.len() + 1 && counted.values().all(|&count| count == rows as f64)).then_some(())
    });
    prometheus.by_feature(&format!("weir:drift:{figure}{{version=\"{version}\"}}"))
}

/// The index of each feature by a process in a group of its own, once it has so many rows: all that there are.
fn of_process(setup: &Setup, config: &Path, expected: f64) -> BTreeMap<String, f64> {
    let group = format!("{}-alone", setup.group);
    let config = fs::read_to_string(config).unwrap().replace(&setup.group, &group);
    // Its topics are called like the group.
    let config = config.replace(&format!("{group}."), &format!("{}.", setup.group));
    let file = setup.folder.path().join("alone.toml");
    fs::write(&file, config).unwrap();
    let alone = Weir::ready(&file);
    eventually("it has all rows", || {
        let metrics = alone.get("/metrics").1;
        let rows = by_feature(&metrics, "weir_drift_rows");
        let is_whole = rows.len() == COLUMNS.len() + 2 && rows.values().all(|&rows| rows == expected);
        is_whole.then(|| by_feature(&metrics, "weir_drift"))
    })
}

/// One of these columns, which the route of a test doesn't compare.
const EXCLUDED: &str = "few";

const COLUMNS: [&str; 6] = ["constant", "rounding", "zeros", "two", "few", "tenth"];

type Row = Map<String, Value>;

/// Versions of a model of these columns and `x`, in the store of a setup.
struct TrainedModel {
    setup: Setup,
}

impl TrainedModel {
    /// With one version.
    fn new(training_rows: usize) -> TrainedModel {
        let place = TrainedModel { setup: Setup::named(kafka::brokers()) };
        place.train(training_rows, &[]);
        place
    }

    /// One more version.
    fn train(&self, training_rows: usize, options: &[&str]) {
        let train = self.write("train", &rows(training_rows, (10, 24), false));
        let test = self.write("test", &rows(1_000, (11, 24), false));
        let mut command = command();
        command.args(["train", &train, "--test", &test, "--target", "t", "--time", "when", "--name", "flights"]);
        command.args(["--store", &self.store(), "--max-iter", "2", "--hidden-layer-sizes", "8"]).args(options);
        succeed(&mut command);
    }

    fn promote(&self, version: u64) {
        let reference = format!("flights@{version}");
        succeed(command().args(["model", "promote", &reference, "production", "--store", &self.store()]));
    }

    fn store(&self) -> String {
        format!("file:{}", self.setup.store().display())
    }

    /// The index of each feature that `weir evaluate --drift` computes for these rows.
    fn drift(&self, rows: &[Row]) -> BTreeMap<String, f64> {
        self.evaluated(1, rows, "psi")
    }

    /// A figure of each feature in the JSON report of `weir evaluate --drift`.
    fn evaluated(&self, version: u64, rows: &[Row], figure: &str) -> BTreeMap<String, f64> {
        let (table, model) = (self.write("live", rows), format!("flights@{version}"));
        let mut evaluate = command();
        evaluate.args(["evaluate", &model, &table, "--drift", "--time", "when", "--json", "--store", &self.store()]);
        let report: Value = serde_json::from_slice(&succeed(&mut evaluate)).unwrap();
        let found = report["drift"].as_array().unwrap().iter();
        found.map(|it| (it["feature"].as_str().unwrap().into(), it[figure].as_f64().unwrap())).collect()
    }

    fn write(&self, name: &str, rows: &[Row]) -> String {
        let path = self.setup.folder.path().join(format!("{name}.csv"));
        let header: Vec<_> = rows[0].keys().cloned().collect();
        let line = |row: &Row| {
            let cells = row.values().map(|value| match value {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                value => value.to_string(),
            });
            cells.collect::<Vec<_>>().join(",")
        };
        let lines: Vec<_> = std::iter::once(header.join(",")).chain(rows.iter().map(line)).collect();
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Sends so many dead letters again, as soon as they are there.
    fn redrive(&self, config: &Path, count: u64) {
        let mut sent = 0;
        eventually("all dead letters are sent again", || {
            let mut redrive = command();
            redrive.args(["dead-letter", "redrive", "--execute", "--first-run", "--json", "-c"]).arg(config);
            let report: Value = serde_json::from_slice(&succeed(&mut redrive)).unwrap();
            let topics = report["topics"].as_array().unwrap().iter();
            let reasons = topics.flat_map(|topic| topic["sent"].as_array().unwrap());
            sent += reasons.map(|reason| reason["records"].as_u64().unwrap()).sum::<u64>();
            (sent == count).then_some(())
        });
    }

    fn send(&self, rows: &[Row]) {
        let record = |(number, row): (usize, &Row)| Record {
            timestamp: row["when"].as_i64().unwrap(),
            partition: number as i32 % PARTITIONS,
            value: Some(Value::from(row.clone()).to_string().into()),
            ..Record::default()
        };
        produce(&self.setup.brokers, &self.setup.input, rows.iter().enumerate().map(record));
    }
}

/// Rows of one population, from the hours after yesterday's midnight; `moved` changes the constant and the share of zeros. One
/// of the columns follows the hour.
fn rows(count: usize, (seed, hours): (u64, usize), moved: bool) -> Vec<Row> {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let midnight_s = now_s - now_s % 86_400 - 86_400;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut row = |number: usize| {
        let hour = number % hours;
        let x = rng.random_range(-1.0..1.0);
        let is_zero = rng.random_bool(if moved { 0.80 } else { 0.97 });
        let rounding = [0.3, 0.1 + 0.2, 0.300_000_000_000_000_04][rng.random_range(0..3)];
        let row = json!({
            "when": 1_000 * (midnight_s + 3_600 * hour as u64) + number as u64,
            "constant": if moved { 8.0 } else { 7.0 },
            "rounding": rounding,
            "zeros": if is_zero { 0.0 } else { f64::from(rng.random_range(1..4_000)) / 100.0 },
            "two": rng.random_range(0..2),
            "few": rng.random_range(0..3) * rng.random_range(0..3),
            "tenth": f64::from((rng.random_range(0..4) + hour as u32 / 3) % 9 + 1) / 10.0,
            "x": x,
            "t": if x > 0.0 { "up" } else { "down" },
        });
        row.as_object().unwrap().clone()
    };
    (0..count).map(&mut row).collect()
}

/// What a command that succeeds prints.
fn succeed(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
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

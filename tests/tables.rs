//! A table as a data scientist has it: from a first training with its warnings to the answers of `weir serve`.

use std::path::PathBuf;
use std::process::Command;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use weir::model::store::Store;

use crate::support::kafka::{Reader, Record, produce};
use crate::support::weir::{Setup, Weir, command};

const ROWS: usize = 20_000;

const FEATURES: &str = "id;amount;hour;country;foreign;booked";

/// Payments that are predicted by file, by topic and over HTTP.
const LIVE: usize = 200;

/// A payment. Two in a hundred are fraud.
struct Payment {
    id: usize,
    /// With two decimals.
    amount: String,
    hour: u32,
    country: &'static str,
    foreign: bool,
    booked: String,
    is_fraud: bool,
}

impl Payment {
    fn draw(id: usize, rng: &mut StdRng) -> Payment {
        let (cents, hour, day) = (rng.random_range(100..50_000), rng.random_range(0..24), rng.random_range(0..336));
        let is_suspect = cents > 35_000 && hour < 6;
        Payment {
            id,
            amount: format!("{}.{:02}", cents / 100, cents % 100),
            hour,
            country: ["DE", "FR", "NA", "IT", "PL"][rng.random_range(0..5)],
            foreign: rng.random_bool(0.2),
            booked: format!("2026-{:02}-{:02}", 1 + day / 28, 1 + day % 28),
            is_fraud: rng.random_bool(if is_suspect { 0.15 } else { 0.009 }),
        }
    }

    /// The features as Excel writes them where decimals have a comma.
    fn csv(&self) -> String {
        let Payment { id, amount, hour, country, foreign, booked, .. } = self;
        let foreign = if *foreign { "TRUE" } else { "FALSE" };
        format!("{id};{};{hour};{country};{foreign};{booked}", amount.replace('.', ","))
    }

    /// With what is no feature: a column that is the same everywhere, one that is known when the fraud is, and the target in
    /// other words.
    fn labelled(&self, rng: &mut StdRng) -> String {
        let is_charged_back = rng.random_bool(if self.is_fraud { 0.97 } else { 0.0005 });
        let chargeback = if is_charged_back { self.amount.replace('.', ",") } else { "0,00".into() };
        let [state, fraud] = if self.is_fraud { ["blocked", "yes"] } else { ["fine", "no"] };
        format!("{};EUR;{chargeback};{state};{fraud}\n", self.csv())
    }

    fn json(&self) -> String {
        let Payment { id, amount, hour, country, foreign, booked, .. } = self;
        format!(
            r#"{{"id":{id},"amount":{amount},"hour":{hour},"country":"{country}","foreign":{foreign},"booked":"{booked}"}}"#
        )
    }
}

/// A request for all of them, by [`Payment::json`].
fn request(payments: &[Payment]) -> Value {
    let records: Vec<Value> = payments.iter().map(|payment| serde_json::from_str(&payment.json()).unwrap()).collect();
    let tensor = |(name, datatype): (&str, &str)| {
        let data: Vec<&Value> = records.iter().map(|record| &record[name]).collect();
        json!({ "name": name, "datatype": datatype, "shape": [data.len()], "data": data })
    };
    let columns =
        [("amount", "FP64"), ("hour", "INT64"), ("country", "BYTES"), ("foreign", "BOOL"), ("booked", "BYTES")];
    json!({ "inputs": columns.map(tensor) })
}

/// A rare class in a table, and a store for models of it.
struct RareClass {
    setup: Setup,
    store: String,
    data: PathBuf,
    rng: StdRng,
}

impl RareClass {
    fn new() -> RareClass {
        let setup = Setup::on_kafka(1);
        let (store, data) = (format!("file:{}", setup.store().display()), setup.folder.path().join("payments.csv"));
        let mut rng = StdRng::seed_from_u64(1);
        let rows: String = (0..ROWS).map(|id| Payment::draw(id, &mut rng).labelled(&mut rng)).collect();
        std::fs::write(&data, format!("{FEATURES};currency;chargeback;state;fraud\n{rows}")).unwrap();
        RareClass { setup, store, data, rng }
    }

    /// Trains a version, and returns the report.
    fn train(&self, options: &[&str]) -> Value {
        let mut train = command();
        train.arg("train").arg(&self.data).args(["--target", "fraud", "--id", "id", "--name", "flights"]);
        train.args(["--max-iter", "10", "--positive", "yes", "--threshold", "cost=fp:1,fn:50", "--json"]);
        serde_json::from_str(&succeed(train.args(["--store", &self.store]).args(options))).unwrap()
    }

    /// What `weir predict` answers to these payments.
    fn predict(&self, payments: &[Payment]) -> String {
        let live = self.setup.folder.path().join("live.csv");
        let rows: String = payments.iter().map(|payment| payment.csv() + "\n").collect();
        std::fs::write(&live, format!("{FEATURES}\n{rows}")).unwrap();
        let mut predict = command();
        succeed(predict.args(["predict", "flights@production", "--store", &self.store, "--fields", "id"]).arg(&live))
    }
}

/// What a command that succeeds prints.
fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The report warns of each column that is no feature, and notes how the table is written.
fn assert_warns(report: &Value) {
    let warned = report["warnings"].as_array().unwrap().iter();
    let warned: Vec<_> = warned.map(|warning| [&warning["kind"], &warning["column"]].map(Value::as_str)).collect();
    let expected =
        [("date_as_category", "booked"), ("constant", "currency"), ("leak", "chargeback"), ("target_copy", "state")];
    assert_eq!(warned, expected.map(|(kind, column)| [Some(kind), Some(column)]), "{report}");
    let note = report["notes"][0]["message"].as_str().unwrap();
    assert!(note.ends_with("payments.csv: ';' separates the cells, decimals have a comma"), "{note}");
}

/// HTTP answers as the topic does, and both by this threshold, which differs from 0.5 for some payments.
fn assert_same_by_http(weir: &Weir, payments: &[Payment], by_topic: &[Record], threshold: f64) {
    let (status, answer) = weir.post("/v2/models/flights/infer", &request(payments));
    assert_eq!(status, 200, "{answer}");
    let output = |name: &str| {
        let outputs = answer["outputs"].as_array().unwrap();
        outputs.iter().find(|output| output["name"] == name).unwrap()["data"].as_array().unwrap()
    };
    let mut counts = [0; 2];
    for (at, answer) in by_topic.iter().map(Record::json).enumerate() {
        let probability = answer["probabilities"]["yes"].as_f64().unwrap();
        let is_flagged = answer["prediction"] == "yes";
        assert_eq!(is_flagged, probability >= threshold, "{answer}, {threshold}");
        counts[usize::from(is_flagged && probability < 0.5)] += 1;
        assert_eq!(output("prediction")[at], answer["prediction"]);
        assert_eq!(output("probabilities")[2 * at + 1], answer["probabilities"]["yes"]);
    }
    assert!(counts.iter().all(|&count| count > 0), "the threshold decides: {counts:?}");
}

#[test]
fn a_rare_class_is_trained_with_warnings_and_served_by_its_threshold() {
    let mut rare = RareClass::new();
    assert_warns(&rare.train(&[]));

    // Without them there is nothing to warn about.
    let options = ["--drop", "currency,chargeback,state", "--datetime", "booked=weekday,month"];
    rare.train(&[&options[..], &["--fail-on", "warning", "--promote", "production"]].concat());
    let decision = Store::open(&rare.store).unwrap().draft("flights", 2).unwrap().decision.unwrap();
    let threshold = decision.threshold.unwrap();
    assert!(decision.positive == "yes" && threshold > 0.0 && threshold < 0.3, "{decision:?}");

    let payments: Vec<Payment> = (0..LIVE).map(|id| Payment::draw(id, &mut rare.rng)).collect();
    let setup = &rare.setup;
    let weir = Weir::ready(&setup.config("fields = [\"id\"]"));
    let records = payments.iter().map(|payment| Record { value: Some(payment.json().into()), ..Record::default() });
    produce(&setup.brokers, &setup.input, records);
    let by_topic = Reader::new(&setup.brokers, &setup.output).take(LIVE);
    let lines: String =
        by_topic.iter().map(|record| String::from_utf8(record.value.clone().unwrap()).unwrap() + "\n").collect();
    assert_eq!(lines, rare.predict(&payments));
    assert_same_by_http(&weir, &payments, &by_topic, threshold);
    assert!(weir.stop().success());
}

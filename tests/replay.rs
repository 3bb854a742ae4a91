//! `weir replay`: a range of the input through other versions, beside `weir predict` and beside whatever serves.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Output;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use weir::demo::flights::Departure;
use weir::train::preparation::Preparation;

use crate::support::PATIENCE;
use crate::support::kafka::{Reader, Record, create_topic, produce, produce_in_transaction};
use crate::support::models::{publish, year};
use crate::support::weir::{Setup, command};

const CLASSES: [&str; 2] = ["on_time", "late"];

fn weir(config: &Path, arguments: &[&str]) -> Output {
    command().args(["replay", "-c"]).arg(config).args(arguments).output().unwrap()
}

/// What a successful run reports as JSON.
fn run_json(config: &Path, arguments: &[&str]) -> Value {
    let output = weir(config, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What `weir predict` answers, by id: the whole line.
fn predicted(setup: &Setup, version: u64, file: &Path) -> HashMap<String, String> {
    let store = format!("file:{}", setup.store().display());
    let model = format!("flights@{version}");
    let output = command().args(["predict", &model, "--store", &store, "--fields", "id"]).arg(file).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| (id(line), line.to_owned())).collect()
}

fn id(line: &str) -> String {
    let value: Value = serde_json::from_str(line).unwrap();
    value["id"].as_str().unwrap().to_owned()
}

fn probabilities(line: &str) -> [f32; 2] {
    let value: Value = serde_json::from_str(line).unwrap();
    CLASSES.map(|class| value["probabilities"][class].as_f64().unwrap_or_else(|| panic!("{line}")) as f32)
}

fn class(line: &str) -> String {
    let value: Value = serde_json::from_str(line).unwrap();
    value["prediction"].as_str().unwrap().to_owned()
}

/// Where this group would go on, if it has ever committed.
fn committed(setup: &Setup) -> Vec<Offset> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &setup.brokers).set("group.id", &setup.group).create().unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_range(&setup.input, 0, 1);
    let offsets = consumer.committed_offsets(partitions, PATIENCE).unwrap();
    offsets.elements().iter().map(|element| element.offset()).collect()
}

/// Two versions, and departures on an input of two partitions, in turn, with three records after them that are no JSON.
struct Replayed {
    setup: Setup,
    config: PathBuf,
    versions: [u64; 2],
    departures: Vec<Departure>,
    inputs: Vec<Record>,
}

impl Replayed {
    fn new(departures: usize) -> Replayed {
        let setup = Setup::on_kafka(2);
        let config = setup.config("");
        let versions = [1, 2].map(|seed| publish(&setup.store(), seed, Preparation::default()));
        let departures = year()[..departures].to_vec();
        let record = |(number, departure): (usize, &Departure)| Record {
            partition: number as i32 % 2,
            key: Some(id(&departure.json).into()),
            value: Some(departure.json.clone().into()),
            headers: vec![("origin".into(), vec![0, 255])],
            timestamp: 1_600_000_000_000 + number as i64,
        };
        let inputs: Vec<_> = departures.iter().enumerate().map(record).collect();
        produce(&setup.brokers, &setup.input, inputs.iter().cloned());
        let broken = |partition| Record { partition, value: Some("no JSON".into()), ..Record::default() };
        produce(&setup.brokers, &setup.input, [broken(0), broken(1), broken(1)]);
        Replayed { setup, config, versions, departures, inputs }
    }

    /// What `weir predict` answers by each version, by id.
    fn predicted(&self) -> [HashMap<String, String>; 2] {
        let file = self.setup.folder.path().join("departures.jsonl");
        let lines = self.departures.iter().map(|departure| format!("{}\n", departure.json));
        std::fs::write(&file, lines.collect::<String>()).unwrap();
        self.versions.map(|version| predicted(&self.setup, version, &file))
    }
}

/// How the answers to a departure differ: by class, and which classes were predicted.
struct Change {
    by_class: [f64; 2],
    classes: [String; 2],
    partition: usize,
    offset: usize,
}

impl Change {
    fn of(number: usize, answers: [&str; 2]) -> Change {
        let [first, second] = answers.map(probabilities);
        Change {
            by_class: [0, 1].map(|class| (f64::from(first[class]) - f64::from(second[class])).abs()),
            classes: answers.map(class),
            partition: number % 2,
            offset: number / 2,
        }
    }

    fn largest(&self) -> f64 {
        self.by_class[0].max(self.by_class[1])
    }
}

/// The report's `difference` is what these changes come to.
fn assert_describes(difference: &Value, changes: &[Change]) {
    let count = changes.len();
    let agreeing = changes.iter().filter(|change| change.classes[0] == change.classes[1]).count();
    assert!(agreeing < count, "they differ");
    assert_eq!(difference["agreement"], agreeing as f64 / count as f64);
    assert_eq!(difference["compared"], count);

    let mut moves: BTreeMap<[String; 2], u64> = BTreeMap::new();
    changes.iter().for_each(|change| *moves.entry(change.classes.clone()).or_default() += 1);
    let reported = difference["classes"].as_array().unwrap().iter().map(|moved| {
        let names = ["first", "second"].map(|of| moved[of].as_str().unwrap().to_owned());
        (names, moved["records"].as_u64().unwrap())
    });
    assert_eq!(reported.collect::<BTreeMap<_, _>>(), moves);

    for output in difference["outputs"].as_array().unwrap() {
        let class = CLASSES.iter().position(|class| output["name"] == *class).unwrap();
        let mut of_class: Vec<f64> = changes.iter().map(|change| change.by_class[class]).collect();
        of_class.sort_by(f64::total_cmp);
        let figure = |name: &str| output[name].as_f64().unwrap();
        let p99 = of_class[count * 99 / 100 - 1];
        assert_eq!(figure("max"), of_class[count - 1]);
        assert!((figure("mean") - of_class.iter().sum::<f64>() / count as f64).abs() < 1e-12);
        assert!((p99..=p99 * 1.01).contains(&figure("p99")), "{output} {p99}");
    }

    let most = changes.iter().rev().max_by(|a, b| a.largest().total_cmp(&b.largest())).unwrap();
    let reported = &difference["most_changed"][0];
    assert_eq!(reported["change"], most.largest());
    assert_eq!((&reported["partition"], &reported["offset"]), (&json!(most.partition), &json!(most.offset)));
}

#[test]
fn two_versions_differ_as_weir_predict_says() {
    let replayed = Replayed::new(5_000);
    let output = replayed.setup.folder.path().join("predictions.jsonl");
    let arguments = ["--models", "flights@1,flights@2", "--output-file", output.to_str().unwrap()];
    let report = run_json(&replayed.config, &arguments);
    let expected = replayed.predicted();

    let lines = std::fs::read_to_string(&output).unwrap();
    assert_eq!(lines.lines().count(), 2 * replayed.departures.len());
    for (at, line) in lines.lines().enumerate() {
        assert_eq!(line, expected[at % 2][&id(line)], "the first version's, then the second's");
    }

    assert_eq!((&report["read"], &report["interrupted"]), (&json!(5_003), &json!(false)));
    let of_version =
        |version| json!({ "model": "flights", "version": version, "predicted": 5_000, "rejected": { "malformed": 3 } });
    assert_eq!(report["models"], json!(replayed.versions.map(of_version)));
    let changes =
        replayed.departures.iter().enumerate().map(|(number, departure)| {
            Change::of(number, expected.each_ref().map(|lines| &*lines[&id(&departure.json)]))
        });
    assert_describes(&report["difference"], &changes.collect::<Vec<_>>());

    let text = String::from_utf8(weir(&replayed.config, &["--models", "flights@1,flights@2"]).stdout).unwrap();
    assert!(text.contains("5,003 records through flights@1 and flights@2"), "{text}");
    let agreement = report["difference"]["agreement"].as_f64().unwrap();
    assert!(text.contains(&format!("the same class for {:.2} %", agreement * 100.0)), "{text}");
}

#[test]
fn a_range_goes_to_a_topic_and_the_group_is_left_alone() {
    let replayed = Replayed::new(300);
    let setup = &replayed.setup;
    let trial = format!("{}.trial", setup.group);
    create_topic(&setup.brokers, &trial, 2, &[]);
    let arguments = ["--models", "flights@2", "--from", "1:100", "--to", "1:150", "--output", &trial];
    assert_eq!(run_json(&replayed.config, &arguments)["read"], 50);
    let out = Reader::new(&setup.brokers, &trial).rest();
    assert_eq!(out.len(), 50);
    let [_, expected] = replayed.predicted();
    for (record, offset) in out.iter().zip(100..) {
        let input = &replayed.inputs[2 * offset + 1];
        assert_eq!((record.partition, &record.key, record.timestamp), (1, &input.key, input.timestamp));
        let source = format!("{}/1/{offset}", setup.input);
        assert_eq!(record.headers, [input.headers[0].clone(), ("weir-source".into(), source.into())]);
        let line = std::str::from_utf8(record.value.as_ref().unwrap()).unwrap();
        assert_eq!(line, expected[&id(line)]);
    }
    assert!(committed(setup).iter().all(|offset| *offset == Offset::Invalid), "the group was left alone");
}

#[test]
fn ranges_end_within_transactions_and_at_times() {
    let setup = Setup::on_kafka(2);
    let config = setup.config("");
    publish(&setup.store(), 1, Preparation::default());
    let departures = &year()[..8];
    let record = |number: usize| Record {
        partition: number as i32 % 2,
        value: Some(departures[number].json.clone().into()),
        timestamp: 1_000_000 * (number as i64 + 1),
        ..Record::default()
    };
    produce_in_transaction(&setup.brokers, &setup.input, (0..6).map(record), true);
    produce_in_transaction(&setup.brokers, &setup.input, (6..8).map(record), false);
    // In each partition: three records and a marker, one that was taken back and a marker.
    let all = run_json(&config, &["--models", "flights@latest"]);
    let partition = |partition| json!({ "partition": partition, "from": 0, "to": 6 });
    assert_eq!(all["topics"], json!([{ "topic": setup.input, "partitions": [partition(0), partition(1)] }]));
    assert_eq!((&all["read"], &all["difference"]), (&json!(6), &json!(null)));
    let read =
        |arguments: &[&str]| run_json(&config, &[arguments, &["--models", "flights@1"]].concat())["read"].clone();
    assert_eq!(read(&["--from", "2"]), 2);
    assert_eq!(read(&["--from", "3"]), 0, "only markers and what was taken back");
    assert_eq!(read(&["--to", "0:2,1:5"]), 5);
    assert_eq!(read(&["--from", "0:1", "--to", "2"]), 1);
    // The records have the times 1,000 s, 2,000 s, …
    assert_eq!(read(&["--from", "1970-01-01T00:33:21Z"]), 4);
    assert_eq!(read(&["--from", "1970-01-01T00:33:20Z", "--to", "1970-01-01T01:23:20Z"]), 3);

    // To standard output, and the report beside it.
    let output = weir(&config, &["--models", "flights@1", "--from", "2", "--output-file", "-"]);
    let lines = String::from_utf8_lossy(&output.stdout);
    let mut ids: Vec<_> = lines.lines().map(id).collect();
    ids.sort();
    let mut expected = [4, 5].map(|number: usize| id(&departures[number].json));
    expected.sort();
    assert_eq!(ids, expected);
    assert!(String::from_utf8_lossy(&output.stderr).contains("2 records through flights@1"), "{output:?}");
}

#[test]
fn what_cannot_be_replayed_is_one_clear_line() {
    let setup = Setup::on_kafka(1);
    let config = setup.config("");
    publish(&setup.store(), 1, Preparation::default());
    let refused = |arguments: &[&str], code: i32, words: &str| {
        let output = weir(&config, arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words) && said.lines().count() == 1, "{said}");
    };
    refused(&["--models", "flights@1,flights@1,flights@1"], 2, "one version or two, not 3");
    refused(&["--models", "flights@1", "--output", &setup.input], 2, "is an input topic");
    refused(&["--models", "flights@1", "--route", "trains"], 2, "there is no route \"trains\"");
    refused(&["--models", "flights@2"], 1, "has no version 2");
    refused(&["--models", "flights@1", "--output", "nowhere"], 1, "topic \"nowhere\" doesn't exist");
    refused(&["--models", "flights@1", "--from", "7:0"], 1, "has no partition 7, it has 1");
    refused(&["--models", "flights@1", "--output-file", "no/such/place"], 1, "can't write no/such/place");
    let empty = run_json(&config, &["--models", "flights@1,flights@latest"]);
    assert_eq!((&empty["read"], &empty["difference"]["agreement"]), (&json!(0), &json!(null)));
}

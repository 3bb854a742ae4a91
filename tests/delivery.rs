//! Records through `weir serve` on a real Kafka: each once, in order, over swaps, stops and rebalances.

use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir::demo::flights::Departure;
use weir::train::preparation::Preparation;

use crate::support::dashboard::assert_every_query_gives_data;
use crate::support::departures::{PARTITIONS, assert_once_and_in_order, id, records, value};
use crate::support::kafka::{Reader, Record, produce};
use crate::support::models::{promote, publish, year};
use crate::support::states::await_state;
use crate::support::weir::{Setup, Weir, command};
use crate::support::{eventually, models};

fn version(json: &str) -> u64 {
    let (_, rest) = json.rsplit_once("\"version\":").expect("a version");
    rest.trim_end_matches('}').parse().expect("a number")
}

/// What `weir predict` answers for all of these, by id.
fn predictions(setup: &Setup, version: u64, departures: &[Departure]) -> HashMap<String, String> {
    let path = setup.folder.path().join("departures.jsonl");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    departures.iter().for_each(|departure| writeln!(file, "{}", departure.json).unwrap());
    file.flush().unwrap();
    let store = format!("file:{}", setup.store().display());
    let output = command()
        .args(["predict", &format!("flights@{version}"), "--store", &store, "--fields", "id"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| (id(line).to_owned(), line.to_owned())).collect()
}

#[test]
fn a_year_of_flights_passes_while_the_alias_moves_twice() {
    let departures = year();
    assert!(departures.len() > 300_000);
    let setup = Setup::on_kafka(PARTITIONS);
    let versions = [1, 2, 3].map(|seed| publish(&setup.store(), seed, Preparation::default()));
    promote(&setup.store(), "production", versions[0]);
    let inputs = records(&departures);
    let weir = Weir::ready(&setup.config(""));
    let reader = Reader::new(&setup.brokers, &setup.output);
    let mut outputs = Vec::with_capacity(inputs.len());
    thread::scope(|scope| {
        scope.spawn(|| {
            // A third each: the rest is produced only when the version before has shown itself, so that each of them
            // scores some, however fast it all goes.
            for (third, version) in inputs.chunks(inputs.len().div_ceil(3)).zip(versions) {
                let labels = format!("version=\"{version}\"");
                let serves = || weir.metric("weir_model_info", &labels) == 1.0;
                eventually("the version serves", || serves().then_some(()));
                let (head, tail) = third.split_at(third.len() - 30_000);
                produce(&setup.brokers, &setup.input, head.iter().cloned());
                // The alias moves under load: in the middle of what is still to be scored.
                if let Some(&next) = versions.iter().find(|&&next| next > version) {
                    promote(&setup.store(), "production", next);
                }
                produce(&setup.brokers, &setup.input, tail.iter().cloned());
            }
        });
        outputs = reader.take(inputs.len());
    });

    assert_once_and_in_order(&inputs, &outputs);
    let seen: BTreeSet<u64> = outputs.iter().map(|output| version(value(output))).collect();
    assert_eq!(seen, BTreeSet::from(versions), "each version scored some");
    for version_of in versions {
        let expected = predictions(&setup, version_of, &departures);
        let of_version = outputs.iter().map(value).filter(|json| version(json) == version_of);
        let differing = of_version.filter(|json| expected[id(json)] != **json).count();
        assert_eq!(differing, 0, "predictions of version {version_of} that `weir predict` doesn't make");
    }
    assert!(weir.stop().success());
    assert_eq!(reader.rest().len(), 0, "nothing came out twice");
}

#[test]
fn a_stop_in_the_middle_loses_nothing_and_doubles_nothing() {
    let departures = &models::year()[..60_000];
    let setup = Setup::on_kafka(PARTITIONS);
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    let inputs = records(departures);
    let config = setup.config("");
    let reader = Reader::new(&setup.brokers, &setup.output);
    let mut outputs = Vec::new();
    thread::scope(|scope| {
        let first = Weir::ready(&config);
        let feeder = scope.spawn(|| produce(&setup.brokers, &setup.input, inputs.iter().cloned()));
        outputs.extend(reader.take(5_000));
        assert!(first.stop().success(), "SIGTERM drains, commits and ends with 0");
        let second = Weir::ready(&config);
        outputs.extend(reader.take(inputs.len() - outputs.len()));
        feeder.join().unwrap();
        assert!(second.stop().success());
    });
    assert_eq!(reader.rest().len(), 0, "an orderly stop commits all that it delivered");
    assert_once_and_in_order(&inputs, &outputs);
}

#[test]
fn a_process_that_joins_and_one_that_leaves_lose_nothing() {
    let departures = &models::year()[..60_000];
    // No commit but those of a rebalance and of a stop: what they leave out comes twice.
    let setup = Setup { commit_interval_ms: 600_000, ..Setup::on_kafka(PARTITIONS) };
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    let inputs = records(departures);
    let config = setup.config("");
    let reader = Reader::new(&setup.brokers, &setup.output);
    let first = Weir::ready(&config);
    let (early, late) = inputs.split_at(inputs.len() / 2);
    produce(&setup.brokers, &setup.input, early.iter().cloned());
    // Four workers in two processes, four partitions.
    let second = Weir::ready(&config);
    let assigned = |weir: &Weir| weir.metric("weir_consumer_lag", &setup.input) >= 0.0 && weir.partitions().len() == 2;
    eventually("the partitions are shared", || (assigned(&first) && assigned(&second)).then_some(()));
    produce(&setup.brokers, &setup.input, late[..20_000].iter().cloned());
    assert!(first.stop().success());
    produce(&setup.brokers, &setup.input, late[20_000..].iter().cloned());
    let outputs = reader.take(inputs.len());
    assert!(second.stop().success());
    assert_eq!(reader.rest().len(), 0, "each rebalance finished and committed what it took away");
    assert_once_and_in_order(&inputs, &outputs);
}

#[test]
fn key_timestamp_and_headers_are_kept_and_asked_for_headers_added() {
    let setup = Setup::on_kafka(2);
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    let weir = Weir::ready(&setup.config(
        r#"headers = ["weir-model", "weir-version", "weir-digest", "weir-source"]
           fields = ["id", "dest"]"#,
    ));
    let input = Record {
        partition: 1,
        key: Some(b"the key".to_vec()),
        value: Some(models::year()[0].json.clone().into()),
        headers: vec![
            ("traceparent".into(), b"00-ab-cd-01".to_vec()),
            ("twice".into(), b"1".to_vec()),
            ("twice".into(), b"2".to_vec()),
        ],
        timestamp: 1_700_000_000_123,
    };
    produce(&setup.brokers, &setup.input, [input.clone()]);
    let output = Reader::new(&setup.brokers, &setup.output).take(1).remove(0);
    assert_eq!((output.partition, &output.key, output.timestamp), (1, &input.key, input.timestamp));
    assert_eq!(output.headers[..3], input.headers[..]);
    assert_eq!(output.header("weir-model"), Some("flights"));
    assert_eq!(output.header("weir-version"), Some("1"));
    assert_eq!(output.header("weir-digest").map(str::len), Some(12));
    assert_eq!(output.header("weir-source"), Some(format!("{}/1/0", setup.input).as_str()));
    assert_eq!(output.json()["dest"], "IAH");
    assert!(weir.stop().success());
}

#[test]
fn one_process_serves_several_routes() {
    let setup = Setup::on_kafka(2);
    let nested = Setup::on_kafka(1);
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    promote(&setup.store(), "canary", publish(&setup.store(), 2, Preparation::default()));
    let weir = Weir::ready(&setup.config(&format!(
        r#"
        [[route]]
        name = "nested"
        model = "flights@canary"
        input = {{ topics = ["{}"], features = "payload.features" }}
        output = {{ topic = "{}", fields = ["case"] }}
        dead_letter = {{ topic = "{}" }}
        "#,
        nested.input, nested.output, nested.dead_letter
    )));
    let json = &models::year()[0].json;
    let record = |value: String| [Record { value: Some(value.into()), ..Record::default() }];
    produce(&setup.brokers, &setup.input, record(json.clone()));
    produce(&setup.brokers, &nested.input, record(format!(r#"{{"case":[1,2],"payload":{{"features":{json}}}}}"#)));
    let flat = Reader::new(&setup.brokers, &setup.output).take(1).remove(0).json();
    let inner = Reader::new(&setup.brokers, &nested.output).take(1).remove(0).json();
    assert_eq!((&flat["version"], &inner["version"]), (&1.into(), &2.into()));
    assert_eq!(inner["case"], json!([1, 2]));
    assert_eq!(inner.get("id"), None, "only what the route asks for is copied");
    assert!(weir.stop().success());
}

#[test]
fn a_broken_version_is_refused_and_the_running_one_serves_on() {
    let setup = Setup::on_kafka(1);
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    let weir = Weir::ready(&setup.config(""));
    let broken = publish(&setup.store(), 2, Preparation::default());
    let weights = setup.store().join(format!("flights/{broken}/weights.safetensors"));
    let mut bytes = std::fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    promote(&setup.store(), "production", broken);
    eventually("the broken version is refused", || {
        (weir.metric("weir_model_loads_total", "refused") == 1.0).then_some(())
    });
    produce(
        &setup.brokers,
        &setup.input,
        [Record { value: Some(models::year()[0].json.clone().into()), ..Record::default() }],
    );
    let output = Reader::new(&setup.brokers, &setup.output).take(1).remove(0);
    assert_eq!(output.json()["version"], 1);
    assert_eq!(weir.get("/readyz").0, 200);
    // As long as the alias names it.
    assert_eq!(weir.metric("weir_model_refused_version", "flights"), broken as f64);
    await_state(&weir, "version_refused", &[&setup]);
    promote(&setup.store(), "production", 1);
    eventually("version 1 is asked for again", || {
        (weir.metric("weir_model_refused_version", "flights") == 0.0).then_some(())
    });
    await_state(&weir, "healthy", &[&setup]);
    assert!(weir.stop().success());
}

/// The answer of HTTP to a departure, in tensors as the model's metadata has them.
fn infer(weir: &Weir, departure: &Departure) -> Value {
    let (status, metadata) = weir.get("/v2/models/flights");
    assert_eq!(status, 200, "{metadata}");
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let record: Value = serde_json::from_str(&departure.json).unwrap();
    let tensor = |input: &Value| {
        let name = input["name"].as_str().unwrap();
        json!({"name": name, "datatype": input["datatype"], "shape": [1, 1], "data": [record.get(name)]})
    };
    let inputs: Vec<_> = metadata["inputs"].as_array().unwrap().iter().map(tensor).collect();
    let (status, answer) = weir.post("/v2/models/flights/infer", &json!({"id": "q", "inputs": inputs}));
    assert_eq!(status, 200, "{answer}");
    answer
}

#[test]
fn http_answers_as_the_topic_does_and_every_query_of_the_dashboard_has_data() {
    let setup = Setup::on_kafka(PARTITIONS);
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    let weir = Weir::ready(&setup.config(""));
    let departures = &models::year()[..20_000];
    let (stop, stopped) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let setup = &setup;
        scope.spawn(move || {
            // Some hundred records a second, one in a hundred of them broken, until the test has seen enough.
            for chunk in records(departures).chunks(100).cycle() {
                let mut chunk = chunk.to_vec();
                chunk[0].value = Some(b"broken".to_vec());
                produce(&setup.brokers, &setup.input, chunk);
                if stopped.recv_timeout(Duration::from_millis(200)) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        assert_every_query_gives_data(&weir.http);
        drop(stop);
    });

    let departure = &departures[7];
    let expected = &predictions(&setup, 1, std::slice::from_ref(departure))[id(&departure.json)];
    let expected: Value = serde_json::from_str(expected).unwrap();
    let answer = infer(&weir, departure);
    let output = |name: &str| {
        let outputs = answer["outputs"].as_array().unwrap();
        outputs.iter().find(|output| output["name"] == name).expect("the output")["data"].clone()
    };
    assert_eq!(output("prediction")[0], expected["prediction"]);
    let probabilities = expected["probabilities"].as_object().unwrap().values().cloned().collect::<Vec<_>>();
    assert_eq!(output("probabilities").as_array().unwrap(), &probabilities);
    assert!(weir.stop().success());
}

#[test]
fn outputs_of_a_dry_topic_wait_for_no_linger() {
    // The worker is idle after each record. If nothing flushed the producer, each output would wait for the linger.
    const LINGER: Duration = Duration::from_secs(5);
    const RECORDS: u32 = 10;
    for delivery in ["at_least_once", "exactly_once"] {
        let (worker, properties) =
            (format!("delivery = \"{delivery}\""), format!("\"linger.ms\" = {}", LINGER.as_millis()));
        let setup = Setup { worker, properties, ..Setup::on_kafka(PARTITIONS) };
        promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
        let weir = Weir::ready(&setup.config(""));
        let reader = Reader::new(&setup.brokers, &setup.output);
        let began = Instant::now();
        for record in records(&year()[..RECORDS as usize]) {
            produce(&setup.brokers, &setup.input, [record]);
            reader.take(1);
        }
        let (took, lingers) = (began.elapsed(), LINGER * RECORDS);
        assert!(
            took < lingers / 2,
            "{delivery}: {took:?} for {RECORDS} records one after another, lingers are {lingers:?}"
        );
        assert!(weir.stop().success());
    }
}

//! Headers and keys of all kinds: they come through byte for byte, and those that look like weir's fool nobody.

use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use weir::kafka::reader::{Next, Reader};
use weir::train::preparation::Preparation;

use crate::support::models::{promote, publish, year};
use crate::support::weir::{Setup, Weir, command};
use crate::support::{PATIENCE, eventually};

type Headers = Vec<(String, Option<Vec<u8>>)>;

/// What a record is beside its value.
#[derive(Clone, Debug, PartialEq)]
struct Envelope {
    key: Option<Vec<u8>>,
    headers: Headers,
}

/// Null, empty, twice, not UTF-8, without a name, in hundreds, and weir's own names; keys: none, empty, of NULs.
fn oddities() -> Vec<Envelope> {
    let header = |name: &str, value: Option<&[u8]>| (name.to_owned(), value.map(<[u8]>::to_vec));
    let kinds: [(Option<&[u8]>, Headers); 8] = [
        (None, vec![header("h", None)]),
        (Some(b""), vec![header("h", Some(b""))]),
        (Some(b"\0\0"), vec![header("h", Some(b"1")), header("h", Some(b"2")), header("h", None)]),
        (Some(b"k"), vec![header("h", Some(b"\xff\xfe\x00"))]),
        (None, vec![header("", Some(b"x"))]),
        (Some(b"k"), (0..300).map(|number| header(&format!("n{number}"), Some(b"v"))).collect()),
        (
            Some(b"forged"),
            vec![
                header("weir-model", Some(b"forged")),
                header("weir-error-reason", Some(b"forged")),
                header("weir-error-omitted", Some(b"value")),
                header("weir-attempt", Some(b"9")),
            ],
        ),
        (Some(b"none"), vec![]),
    ];
    kinds.into_iter().map(|(key, headers)| Envelope { key: key.map(<[u8]>::to_vec), headers }).collect()
}

fn produce(brokers: &str, topic: &str, value: &[u8]) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    for Envelope { key, headers } in oddities() {
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: value.as_deref() }));
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).payload(value).partition(0).headers(headers);
        record.key = key.as_deref();
        producer.send(record).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

/// The first records of a topic of one partition, in order, once there are so many.
fn read(config: &Path, topic: &str, count: usize) -> Vec<Envelope> {
    let config = weir::config::Config::load(config).unwrap();
    let reader = Reader::new(&config.kafka, "headers").unwrap();
    let extents = || reader.extents(topic, None, None).unwrap();
    let there = || extents().iter().map(|extent| extent.to - extent.from).sum::<i64>() >= count as i64;
    eventually("the records are there", || there().then_some(()));
    let mut pass = reader.read(topic, &extents()).unwrap();
    let mut records = Vec::new();
    loop {
        match pass.next(Duration::from_millis(100)).unwrap() {
            Next::Record(record) => records.push(Envelope {
                key: record.key().map(<[u8]>::to_vec),
                headers: record
                    .header_list()
                    .into_iter()
                    .map(|(name, value)| (String::from_utf8(name.to_vec()).unwrap(), value.map(<[u8]>::to_vec)))
                    .collect(),
            }),
            Next::Nothing => {}
            Next::End => return records,
        }
    }
}

fn dead_letter(config: &Path, arguments: &[&str]) -> Value {
    let output = command().arg("dead-letter").args(arguments).arg("--json").arg("-c").arg(config).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn headers_and_keys_of_all_kinds_come_through_and_forged_ones_fool_nobody() {
    let setup = Setup::on_kafka(1);
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    let config = setup.config("");
    let kinds = oddities();
    let good = year().into_iter().find(|departure| departure.json.matches("\":").count() == 18).unwrap().json;
    produce(&setup.brokers, &setup.input, good.as_bytes());
    produce(&setup.brokers, &setup.input, b"nonsense");
    let weir = Weir::ready(&config);

    assert_eq!(read(&config, &setup.output, kinds.len()), kinds, "predictions");
    let letters = read(&config, &setup.dead_letter, kinds.len());
    for (letter, kind) in letters.iter().zip(&kinds) {
        let (record, own) = letter.headers.split_at(kind.headers.len());
        assert_eq!((&letter.key, record), (&kind.key, &kind.headers[..]), "dead letters");
        assert_eq!((own.len(), own[0].clone()), (9, ("weir-error-reason".into(), Some(b"malformed".to_vec()))));
        assert_eq!(own[8], ("weir-error-attempt".into(), Some(b"1".to_vec())), "it was never sent again");
    }

    let listed = dead_letter(&config, &["list"]);
    assert_eq!((&listed["letters"], &listed["foreign"]), (&kinds.len().into(), &0.into()));
    assert_eq!(listed["counts"].as_array().unwrap().len(), 1, "all of them are malformed: {listed}");
    let redriven = |attempt: usize| {
        let report = dead_letter(&config, &["redrive", "--execute", "--first-run"]);
        assert_eq!(report["topics"][0]["sent"][0]["records"], kinds.len(), "attempt {attempt}: {report}");
        let inputs = read(&config, &setup.input, (1 + attempt) * kinds.len());
        for (input, kind) in inputs[attempt * kinds.len()..].iter().zip(&kinds) {
            let (record, own) = input.headers.split_at(kind.headers.len());
            assert_eq!((&input.key, record), (&kind.key, &kind.headers[..]), "redriven, attempt {attempt}");
            assert_eq!(own[0], ("weir-attempt".into(), Some(attempt.to_string().into_bytes())));
            assert_eq!((own.len(), own[1].0.as_str()), (2, "weir-redriven-from"));
        }
        let letters = read(&config, &setup.dead_letter, attempt * kinds.len());
        for letter in &letters[(attempt - 1) * kinds.len()..] {
            let last = letter.headers.last().unwrap();
            assert_eq!(*last, ("weir-error-attempt".into(), Some(attempt.to_string().into_bytes())));
        }
    };
    redriven(2);
    redriven(3);
    let report = dead_letter(&config, &["redrive", "--execute"]);
    assert_eq!(report["topics"][0]["kept"]["tried_too_often"], kinds.len(), "{report}");
    assert!(weir.stop().success());
}

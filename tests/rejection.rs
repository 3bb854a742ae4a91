//! Records that can't be scored: each becomes a dead letter with its reason and its own bytes, and weir lives on.

use weir::train::preparation::Preparation;

use crate::support::eventually;
use crate::support::kafka::{Reader, Record, brokers, create_topic, produce, unique};
use crate::support::models::{promote, publish, year};
use crate::support::weir::{Setup, Weir};

/// A value of the input, and the reason for which it is rejected.
type Poison = (Option<Vec<u8>>, &'static str);

/// A departure that lacks nothing: the model here forgives nothing.
fn complete() -> String {
    let complete = year().into_iter().find(|departure| departure.json.matches("\":").count() == 18);
    complete.expect("a departure with all its weather").json
}

/// A departure without one of its members.
fn without(departure: &str, name: &str) -> String {
    let mut record: serde_json::Value = serde_json::from_str(departure).unwrap();
    record.as_object_mut().unwrap().remove(name);
    record.to_string()
}

/// A departure with another value of a member, as it stands in JSON.
fn with(departure: &str, name: &str, value: &str) -> Vec<u8> {
    format!("{},\"{name}\":{value}}}", without(departure, name).trim_end_matches('}')).into()
}

/// What can be wrong with a record, made of a good one.
fn poison(good: &str) -> Vec<Poison> {
    let noise: Vec<u8> = (0..997_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let nested = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let id = |length: usize| format!("\"{}\"", "x".repeat(length));
    let positional = format!("{{\"id\":1,\"features\":[{}]}}", ["1"; 3].join(","));
    vec![
        (None, "malformed"),
        (Some(Vec::new()), "malformed"),
        (Some(noise), "malformed"),
        (Some(good.as_bytes()[..good.len() / 2].to_vec()), "malformed"),
        (Some(b"[1,2,3]".to_vec()), "malformed"),
        (Some(with(good, "temp", "NaN")), "malformed"),
        (Some("[".repeat(100_000).into()), "malformed"),
        (Some(with(good, "nested", &nested)), "malformed"),
        (Some(b"{\"id\":\"\xff\xfe\"}".to_vec()), "malformed"),
        (Some(with(good, "temp", "\"warm\"")), "wrong_type"),
        (Some(with(good, "temp", "{}")), "wrong_type"),
        (Some(with(good, "temp", "1e999")), "not_finite"),
        (Some(with(good, "temp", "null")), "missing_feature"),
        (Some(without(good, "carrier").into()), "missing_feature"),
        (Some(positional.into()), "wrong_length"),
        (Some(with(good, "id", &id(5 << 20))), "too_large"),
        (Some(with(good, "id", &id(4_000))), "output_too_large"),
    ]
}

/// The poison, whose keys are its numbers, and after each record of it a good one, in the same batches.
fn among_good_ones(poison: &[Poison], good: &str) -> Vec<Record> {
    let records = poison.iter().enumerate().map(|(number, (value, _))| {
        let bad = Record {
            partition: number as i32 % 2,
            key: Some(number.to_string().into()),
            value: value.clone(),
            headers: vec![("origin".into(), vec![0, 255, number as u8])],
            timestamp: 1_600_000_000_000 + number as i64,
        };
        let neighbour = Record {
            partition: bad.partition,
            key: Some(format!("good {number}").into()),
            value: Some(good.into()),
            ..Record::default()
        };
        [bad, neighbour]
    });
    records.flatten().collect()
}

/// The letter has the record as it was, and says why and from where it was rejected.
fn assert_is_letter_of(letter: &Record, input: &Record, reason: &str, topic: &str) {
    assert!(letter.value == input.value, "{reason}: the original bytes");
    assert_eq!((&letter.headers[0], letter.timestamp), (&input.headers[0], input.timestamp));
    let partition = input.partition.to_string();
    for (name, expected) in [
        ("reason", reason),
        ("topic", topic),
        ("partition", &*partition),
        ("route", "flights"),
        ("model", "flights"),
        ("version", "1"),
        ("attempt", "1"),
    ] {
        let message = letter.header("weir-error-message");
        assert_eq!(letter.header(&format!("weir-error-{name}")), Some(expected), "{name}: {message:?}");
    }
    assert!(letter.header("weir-error-offset").unwrap().parse::<i64>().is_ok());
    assert!(!letter.header("weir-error-message").unwrap().is_empty());
}

/// Topics of which the input and the dead letters take large records and the output only small ones, and a model that imputes
/// nothing.
fn setup() -> Setup {
    let setup = Setup::named(brokers());
    let large = [("max.message.bytes", "10000000")];
    create_topic(&setup.brokers, &setup.input, 2, &large);
    create_topic(&setup.brokers, &setup.output, 2, &[("max.message.bytes", "3000")]);
    create_topic(&setup.brokers, &setup.dead_letter, 1, &large);
    let version = publish(&setup.store(), 1, Preparation { dropna: true, ..Preparation::default() });
    promote(&setup.store(), "production", version);
    setup
}

#[test]
fn every_kind_of_poison_becomes_a_dead_letter() {
    let setup = setup();
    let weir = Weir::ready(&setup.config(""));
    let good = complete();
    let poison = poison(&good);
    let inputs = among_good_ones(&poison, &good);
    produce(&setup.brokers, &setup.input, inputs.clone());

    let predictions = Reader::new(&setup.brokers, &setup.output).take(poison.len());
    assert!(predictions.iter().all(|output| output.key.as_ref().is_some_and(|key| key.starts_with(b"good"))));
    for letter in Reader::new(&setup.brokers, &setup.dead_letter).take(poison.len()) {
        let number: usize = String::from_utf8_lossy(letter.key.as_ref().unwrap()).parse().unwrap();
        assert_is_letter_of(&letter, &inputs[2 * number], poison[number].1, &setup.input);
    }

    eventually("the counts are flushed", || {
        (weir.metric("weir_records_consumed_total", "") == inputs.len() as f64).then_some(())
    });
    for (_, reason) in &poison {
        let expected = poison.iter().filter(|(_, of)| of == reason).count();
        let counted = weir.metric("weir_records_rejected_total", &format!("\"{reason}\""));
        assert_eq!(counted, expected as f64, "{reason}");
    }
    assert_eq!(weir.metric("weir_records_produced_total", ""), poison.len() as f64);
    assert!(weir.stop().success());
}

#[test]
fn a_value_that_the_dead_letter_topic_does_not_take_is_left_out_and_reported() {
    let setup = Setup::named(brokers());
    create_topic(&setup.brokers, &setup.input, 1, &[]);
    create_topic(&setup.brokers, &setup.output, 1, &[]);
    create_topic(&setup.brokers, &setup.dead_letter, 1, &[("max.message.bytes", "5000")]);
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    let weir = Weir::ready(&setup.config(""));
    let record =
        Record { key: Some(unique("key").into()), value: Some("no JSON ".repeat(10_000).into()), ..Record::default() };
    produce(&setup.brokers, &setup.input, [record.clone()]);
    let letter = Reader::new(&setup.brokers, &setup.dead_letter).take(1).remove(0);
    assert_eq!((letter.key.as_ref(), letter.value.as_ref()), (record.key.as_ref(), None));
    assert_eq!(letter.header("weir-error-omitted"), Some("value (80000 bytes)"));
    assert_eq!(letter.header("weir-error-reason"), Some("malformed"));
    assert!(weir.stop().success());
}

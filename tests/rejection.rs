//! Records that can't be scored: each becomes a dead letter with its reason and its own bytes, and weir lives on.

use weir::train::preparation::Preparation;

use crate::support::kafka::{Reader, Record, create_topic, produce, unique};
use crate::support::models::{promote, publish, year};
use crate::support::weir::{Setup, Weir};

/// A departure that lacks nothing: the model here forgives nothing.
fn complete() -> String {
    let complete = year().into_iter().find(|departure| departure.json.matches("\":").count() == 18);
    complete.expect("a departure with all its weather").json
}

#[test]
fn every_kind_of_poison_becomes_a_dead_letter() {
    let setup = Setup::named(crate::support::kafka::brokers());
    let large = [("max.message.bytes", "10000000")];
    create_topic(&setup.brokers, &setup.input, 2, &large);
    create_topic(&setup.brokers, &setup.output, 2, &[("max.message.bytes", "3000")]);
    create_topic(&setup.brokers, &setup.dead_letter, 1, &large);
    promote(
        &setup.store(),
        "production",
        publish(&setup.store(), 1, Preparation { dropna: true, ..Preparation::default() }),
    );
    let weir = Weir::ready(&setup.config(""));

    let good = complete();
    let noise: Vec<u8> = (0..997_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let without = |name: &str| {
        let mut record: serde_json::Value = serde_json::from_str(&good).unwrap();
        record.as_object_mut().unwrap().remove(name);
        record.to_string()
    };
    let with = |name: &str, value: &str| {
        let rest = without(name);
        format!("{},\"{name}\":{value}}}", rest.trim_end_matches('}'))
    };
    let positional = format!("{{\"id\":1,\"features\":[{}]}}", ["1"; 3].join(","));
    let poison: Vec<(Option<Vec<u8>>, &str)> = vec![
        (None, "malformed"),
        (Some(Vec::new()), "malformed"),
        (Some(noise), "malformed"),
        (Some(good.as_bytes()[..good.len() / 2].to_vec()), "malformed"),
        (Some(b"[1,2,3]".to_vec()), "malformed"),
        (Some(with("temp", "NaN").into()), "malformed"),
        (Some("[".repeat(100_000).into()), "malformed"),
        (Some(with("nested", &format!("{}{}", "[".repeat(50_000), "]".repeat(50_000))).into()), "malformed"),
        (Some(b"{\"id\":\"\xff\xfe\"}".to_vec()), "malformed"),
        (Some(with("temp", "\"warm\"").into()), "wrong_type"),
        (Some(with("temp", "{}").into()), "wrong_type"),
        (Some(with("temp", "1e999").into()), "not_finite"),
        (Some(with("temp", "null").into()), "missing_feature"),
        (Some(without("carrier").into()), "missing_feature"),
        (Some(positional.into()), "wrong_length"),
        (Some(with("id", &format!("\"{}\"", "x".repeat(5 << 20))).into()), "too_large"),
        (Some(with("id", &format!("\"{}\"", "x".repeat(4_000))).into()), "output_too_large"),
    ];
    let mut inputs = Vec::new();
    for (number, (value, _)) in poison.iter().enumerate() {
        inputs.push(Record {
            partition: number as i32 % 2,
            key: Some(number.to_string().into()),
            value: value.clone(),
            headers: vec![("origin".into(), vec![0, 255, number as u8])],
            timestamp: 1_600_000_000_000 + number as i64,
        });
        // Neighbours of the poison, in the same batches.
        inputs.push(Record {
            partition: number as i32 % 2,
            key: Some(format!("good {number}").into()),
            value: Some(good.clone().into()),
            ..Record::default()
        });
    }
    produce(&setup.brokers, &setup.input, inputs.clone());

    let predictions = Reader::new(&setup.brokers, &setup.output).take(poison.len());
    assert!(predictions.iter().all(|output| output.key.as_ref().is_some_and(|key| key.starts_with(b"good"))));
    let letters = Reader::new(&setup.brokers, &setup.dead_letter).take(poison.len());
    for letter in &letters {
        let number: usize = String::from_utf8_lossy(letter.key.as_ref().unwrap()).parse().unwrap();
        let (value, reason) = &poison[number];
        let input = &inputs[2 * number];
        assert_eq!(letter.header("weir-error-reason"), Some(*reason), "{:?}", letter.header("weir-error-message"));
        assert!(letter.value == *value, "{reason}: the original bytes");
        assert_eq!((&letter.headers[0], letter.timestamp), (&input.headers[0], input.timestamp));
        assert_eq!(letter.header("weir-error-topic"), Some(setup.input.as_str()));
        assert_eq!(letter.header("weir-error-partition"), Some(input.partition.to_string().as_str()));
        assert!(letter.header("weir-error-offset").unwrap().parse::<i64>().is_ok());
        assert_eq!(letter.header("weir-error-route"), Some("flights"));
        assert_eq!(
            (letter.header("weir-error-model"), letter.header("weir-error-version")),
            (Some("flights"), Some("1"))
        );
        assert_eq!(letter.header("weir-error-attempt"), Some("1"));
        assert!(!letter.header("weir-error-message").unwrap().is_empty());
    }

    let metric = |name: &str, labels: &str| weir.metric(name, labels);
    crate::support::eventually("the counts are flushed", || {
        (metric("weir_records_consumed_total", "") == inputs.len() as f64).then_some(())
    });
    for reason in
        ["malformed", "wrong_type", "not_finite", "missing_feature", "wrong_length", "too_large", "output_too_large"]
    {
        let expected = poison.iter().filter(|(_, of)| *of == reason).count();
        assert_eq!(metric("weir_records_rejected_total", &format!("\"{reason}\"")), expected as f64, "{reason}");
    }
    assert_eq!(metric("weir_records_produced_total", ""), poison.len() as f64);
    assert!(weir.stop().success());
}

#[test]
fn a_value_that_the_dead_letter_topic_does_not_take_is_left_out_and_reported() {
    let setup = Setup::named(crate::support::kafka::brokers());
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

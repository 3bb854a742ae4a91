//! `weir dead-letter`: what was rejected is counted, and sent again once and not twice.

use std::path::Path;
use std::process::{Child, Output, Stdio};

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::kafka::{Reader, Record, brokers, create_topic, produce, produce_in_transaction};
use crate::support::models::{setup_with_model, year};
use crate::support::weir::{Setup, Weir, command, extend_section};

fn weir(verb: &str, config: &Path, arguments: &[&str]) -> Output {
    command().args(["dead-letter", verb, "-c"]).arg(config).args(arguments).output().unwrap()
}

/// What a successful run prints.
fn said(verb: &str, config: &Path, arguments: &[&str]) -> String {
    let output = weir(verb, config, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The same as JSON.
fn run_json(verb: &str, config: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&said(verb, config, &[arguments, &["--json"]].concat())).unwrap()
}

/// Records sent and kept by a redrive.
fn redriven(config: &Path, arguments: &[&str]) -> (Value, Value) {
    let report = run_json("redrive", config, arguments);
    let [topic] = &report["topics"].as_array().unwrap()[..] else { panic!("{report}") };
    let sent = topic["sent"].as_array().unwrap().iter();
    let sent = sent.map(|sent| (sent["reason"].as_str().unwrap().to_owned(), sent["records"].clone())).collect();
    (Value::Object(sent), topic["kept"].clone())
}

fn start_redrive(config: &Path) -> Child {
    let mut redrive = command();
    redrive.args(["dead-letter", "redrive", "--execute", "--first-run", "-c"]).arg(config);
    redrive.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// A letter as weir writes it, of a record out of `partition` of the input.
fn letter(setup: &Setup, key: &str, reason: &str, partition: i32) -> Record {
    let text = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    Record {
        key: Some(key.into()),
        value: Some(format!("value of {key}").into()),
        headers: vec![
            ("kept".into(), vec![0, 255, 7]),
            text("weir-error-reason", reason),
            text("weir-error-message", "what was found"),
            text("weir-error-topic", &setup.input),
            text("weir-error-partition", &partition.to_string()),
            text("weir-error-offset", "17"),
            text("weir-error-route", "flights"),
            text("weir-error-model", "flights"),
            text("weir-error-version", "1"),
            text("weir-error-attempt", "1"),
        ],
        timestamp: 1_600_000_000_000,
        ..Record::default()
    }
}

/// The same with another header.
fn with(mut letter: Record, name: &str, value: &str) -> Record {
    match letter.headers.iter_mut().find(|(of, _)| of == name) {
        Some((_, old)) => *old = value.into(),
        None => letter.headers.push((name.into(), value.into())),
    }
    letter
}

fn keys(records: &[Record]) -> Vec<String> {
    let mut keys: Vec<_> =
        records.iter().map(|record| String::from_utf8(record.key.clone().unwrap()).unwrap()).collect();
    keys.sort();
    keys
}

/// A departure with a number in quotes.
fn quoted_departure() -> String {
    let departure = &year()[0].json;
    let (before, after) = departure.split_once("\"dep_delay\":").unwrap();
    let (number, after) = after.split_once(',').unwrap();
    format!("{before}\"dep_delay\":\"{number}\",{after}")
}

/// A record that is no JSON and three with a number in quotes.
fn unfit_records() -> [Record; 4] {
    let quoted = quoted_departure();
    let record = |key: &str, value: &str, partition| Record {
        partition,
        key: Some(key.into()),
        value: Some(value.into()),
        headers: vec![("origin".into(), vec![0, 255])],
        timestamp: 1_600_000_000_000,
    };
    [
        record("quoted 0", &quoted, 0),
        record("broken 0", "no JSON", 0),
        record("quoted 1", &quoted, 1),
        record("quoted 2", &quoted, 1),
    ]
}

/// A prediction has its input's partition, time and header, and how the input came back.
fn assert_is_second_attempt(prediction: &Record, inputs: &[Record], setup: &Setup) {
    let input = inputs.iter().find(|input| input.key == prediction.key).unwrap();
    assert_eq!((prediction.partition, prediction.timestamp), (input.partition, input.timestamp));
    assert_eq!(prediction.headers[..2], [input.headers[0].clone(), ("weir-attempt".into(), b"2".into())]);
    let from = prediction.header("weir-redriven-from").unwrap();
    assert!(from.starts_with(&format!("{}/0/", setup.dead_letter)), "{from}");
    assert_eq!(prediction.headers.len(), 3);
}

#[test]
fn after_a_fix_what_was_rejected_is_scored() {
    let setup = setup_with_model(brokers(), 2);
    let config = setup.config("");
    let inputs = unfit_records();
    let weir = Weir::ready(&config);
    produce(&setup.brokers, &setup.input, inputs.clone());
    Reader::new(&setup.brokers, &setup.dead_letter).take(4);
    assert!(weir.stop().success());
    let text = said("list", &config, &[]);
    assert!(text.contains("4 dead letters\n") && text.contains("malformed   1 "), "{text}");

    // The fix: numbers may come as strings.
    extend_section(&config, "[route.input]", "numeric_strings = true");
    let weir = Weir::ready(&config);
    let dry = said("redrive", &config, &["--reason", "wrong_type"]);
    assert!(dry.contains(&format!("would send 3 to {}: wrong_type", setup.input)), "{dry}");
    assert!(dry.contains("kept 1: of other reasons") && dry.contains("Nothing was sent"), "{dry}");
    let sent_to_input = || Reader::new(&setup.brokers, &setup.input).rest().len();
    assert_eq!(sent_to_input(), 4, "a dry run sends nothing");
    let (sent, _) = redriven(&config, &["--reason", "wrong_type", "--execute", "--first-run"]);
    assert_eq!(sent, json!({ "wrong_type": 3 }));
    let scored = Reader::new(&setup.brokers, &setup.output).take(3);
    assert_eq!(keys(&scored), ["quoted 0", "quoted 1", "quoted 2"]);
    scored.iter().for_each(|prediction| assert_is_second_attempt(prediction, &inputs, &setup));
    assert_eq!(sent_to_input(), 4 + 3);
    assert!(weir.stop().success());
}

#[test]
fn what_is_rejected_again_counts_its_attempts_up_to_the_limit() {
    let setup = setup_with_model(brokers(), 1);
    let config = setup.config("");
    let first = letter(&setup, "broken", "malformed", 0);
    produce(&setup.brokers, &setup.dead_letter, [first.clone()]);
    let letters = Reader::new(&setup.brokers, &setup.dead_letter);
    letters.take(1);
    let weir = Weir::ready(&config);
    for (attempt, options) in [(2, &["--execute", "--first-run"][..]), (3, &["--execute"][..])] {
        let (sent, kept) = redriven(&config, options);
        assert_eq!(sent, json!({ "malformed": 1 }), "attempt {attempt}, kept {kept}");
        let letter = letters.take(1).remove(0);
        assert_eq!(letter.header("weir-error-attempt"), Some(attempt.to_string().as_str()));
        assert_eq!((&letter.key, &letter.value), (&first.key, &first.value));
        assert_eq!(letter.headers.iter().filter(|(name, _)| name == "weir-error-reason").count(), 1);
    }
    assert_eq!(redriven(&config, &["--execute"]), (json!({}), json!({ "tried_too_often": 1 })));
    assert_eq!(redriven(&config, &["--execute"]), (json!({}), json!({})), "that is remembered as well");
    let (sent, _) = redriven(&config, &["--from", "0:2", "--max-attempts", "4"]);
    assert_eq!(sent, json!({ "malformed": 1 }), "but it can be looked for, and the limit moved");
    assert!(weir.stop().success());
    assert_eq!(Reader::new(&setup.brokers, &setup.input).rest().len(), 2);
}

#[test]
fn dead_letters_are_counted_by_reason_and_shown() {
    let setup = Setup::on_kafka(1);
    let wrong = ["a", "b", "c"].map(|key| letter(&setup, key, "wrong_type", 0));
    let malformed = letter(&setup, "broken", "malformed", 0);
    produce(&setup.brokers, &setup.dead_letter, wrong.into_iter().chain([malformed]));
    let listed = run_json("list", &setup.config(""), &["--samples", "2"]);
    let time = json!(1_600_000_000_000_i64);
    let figures = ["letters", "foreign", "first_ms", "last_ms"].map(|name| &listed[name]);
    assert_eq!(figures, [&json!(4), &json!(0), &time, &time]);

    let [malformed, wrong] = &listed["counts"].as_array().unwrap()[..] else { panic!("{listed}") };
    assert_eq!((&malformed["reason"], &malformed["letters"]), (&json!("malformed"), &json!(1)));
    assert_eq!((&wrong["reason"], &wrong["letters"]), (&json!("wrong_type"), &json!(3)));
    let made_by = ["model", "version", "route"].map(|name| &wrong[name]);
    assert_eq!(made_by, [&json!("flights"), &json!("1"), &json!("flights")]);

    assert_eq!(wrong["samples"].as_array().unwrap().len(), 2);
    let sample = &malformed["samples"][0];
    assert_eq!(sample["origin"], json!({ "topic": setup.input, "partition": 0, "offset": 17 }));
    let shown = ["value", "key", "attempt"].map(|name| &sample[name]);
    assert_eq!(shown, [&json!("value of broken"), &json!("broken"), &json!(1)]);
}

/// Letters of several routes, topics and reasons, with some that can't be sent again.
fn mixed_letters(setup: &Setup) -> [Record; 8] {
    [
        letter(setup, "a", "wrong_type", 0),
        letter(setup, "b", "malformed", 1),
        Record { key: Some("foreign".into()), value: Some("not weir's".into()), ..Record::default() },
        letter(setup, "c", "wrong_type", 2),
        with(letter(setup, "other route", "malformed", 0), "weir-error-route", "trains"),
        with(letter(setup, "other topic", "malformed", 0), "weir-error-topic", "elsewhere"),
        with(letter(setup, "cut", "malformed", 0), "weir-error-omitted", "value (80000 bytes)"),
        letter(setup, "d", "not_finite", 1),
    ]
}

/// The input has the record of this letter, which is the one at `offset`, as it was.
fn assert_is_record_of(input: &Record, letter: &Record, setup: &Setup, offset: usize) {
    assert_eq!((&input.value, input.timestamp), (&letter.value, letter.timestamp));
    let from = format!("{}/0/{offset}", setup.dead_letter);
    let added: [(String, Vec<u8>); 2] =
        [("weir-attempt".into(), b"2".into()), ("weir-redriven-from".into(), from.into_bytes())];
    assert_eq!(input.headers, [&letter.headers[..1], &added[..]].concat());
    assert_eq!(letter.header("weir-error-partition"), Some(input.partition.to_string().as_str()));
}

#[test]
fn each_letter_is_sent_once_whatever_the_runs_select() {
    let setup = Setup::on_kafka(3);
    let config = setup.config("");
    let letters = mixed_letters(&setup);
    produce(&setup.brokers, &setup.dead_letter, letters.clone());
    // Kafka may have forgotten what was sent before: weir doesn't guess.
    let forgotten = weir("redrive", &config, &["--execute"]);
    assert_eq!(forgotten.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&forgotten.stderr).contains("--first-run"), "{forgotten:?}");
    let first = redriven(&config, &["--reason", "wrong_type", "--execute", "--first-run"]);
    let kept = json!({ "other_reason": 4, "foreign": 1, "other_route": 1 });
    assert_eq!(first, (json!({ "wrong_type": 2 }), kept));
    assert_eq!(redriven(&config, &["--reason", "wrong_type", "--execute"]), (json!({}), json!({})));
    // A part of the rest, and then all of it: what was sent by its reason isn't sent again.
    assert_eq!(redriven(&config, &["--to", "2", "--execute"]).0, json!({ "malformed": 1 }));
    let (sent, kept) = redriven(&config, &["--execute"]);
    assert_eq!(sent, json!({ "not_finite": 1 }));
    assert_eq!(kept, json!({ "foreign": 1, "sent_before": 1, "other_route": 1, "other_topic": 1, "incomplete": 1 }));
    assert_eq!(redriven(&config, &["--execute"]), (json!({}), json!({})));
    let again = said("redrive", &config, &["--execute"]);
    assert!(again.contains(&format!("as group {}.redrive remembers", setup.group)), "{again}");

    let inputs = Reader::new(&setup.brokers, &setup.input).rest();
    assert_eq!(keys(&inputs), ["a", "b", "c", "d"]);
    for input in &inputs {
        let offset = letters.iter().position(|letter| letter.key == input.key).unwrap();
        assert_is_record_of(input, &letters[offset], &setup, offset);
    }
}

#[test]
fn a_range_that_is_given_is_sent_each_time_and_not_remembered() {
    let setup = Setup::on_kafka(3);
    let config = setup.config("");
    produce(&setup.brokers, &setup.dead_letter, mixed_letters(&setup));
    redriven(&config, &["--execute", "--first-run"]);
    let trial = format!("{}.trial", setup.group);
    create_topic(&setup.brokers, &trial, 2, &[]);
    for _ in 0..2 {
        let arguments = ["--from", "0:3", "--to", "0:6", "--output", &trial, "--execute"];
        assert_eq!(redriven(&config, &arguments).0, json!({ "wrong_type": 1, "malformed": 1 }));
    }
    assert_eq!(keys(&Reader::new(&setup.brokers, &trial).rest()), ["c", "c", "other topic", "other topic"]);
    produce(&setup.brokers, &setup.dead_letter, [letter(&setup, "e", "too_large", 0)]);
    assert_eq!(redriven(&config, &["--execute"]), (json!({ "too_large": 1 }), json!({})));
}

#[test]
fn options_that_fit_nothing_are_named() {
    let setup = Setup::on_kafka(1);
    let config = setup.config("");
    let own = weir("redrive", &config, &["--output", &setup.dead_letter]);
    assert!(String::from_utf8_lossy(&own.stderr).contains("is a dead-letter topic itself"));
    assert_eq!(own.status.code(), Some(2));
    assert_eq!(weir("redrive", &config, &["--reason", "bad_luck"]).status.code(), Some(2));
    let route = weir("list", &config, &["--route", "trains"]);
    assert!(String::from_utf8_lossy(&route.stderr).contains("there is no route \"trains\", there is flights"));
    assert_eq!(route.status.code(), Some(2));
}

#[test]
fn a_redrive_that_is_killed_goes_on_where_it_was() {
    let setup = Setup::on_kafka(1);
    let config = setup.config("");
    let all: Vec<_> = (0..20_000).map(|number| letter(&setup, &format!("{number:05}"), "malformed", 0)).collect();
    produce(&setup.brokers, &setup.dead_letter, all.iter().cloned());
    let mut first = start_redrive(&config);
    let inputs = Reader::new(&setup.brokers, &setup.input);
    let mut came = inputs.take(2_500);
    first.kill().unwrap();
    first.wait().unwrap();
    let (sent, _) = redriven(&config, &["--execute"]);
    came.extend(inputs.rest());
    let mut distinct = keys(&came);
    distinct.dedup();
    assert_eq!(distinct, keys(&all), "none is lost");
    let twice = came.len() - distinct.len();
    assert!(twice <= 1_000, "{twice} came twice, more than there are between two commits");
    assert!(sent["malformed"].as_u64().unwrap() < 20_000, "it began anew");
}

#[test]
fn an_interrupted_redrive_sends_nothing_twice() {
    // The other group protocol remembers as well.
    let properties = r#""group.protocol" = "consumer""#.into();
    let setup = Setup { properties, ..Setup::on_kafka(1) };
    let config = setup.config("");
    let all: Vec<_> = (0..20_000).map(|number| letter(&setup, &format!("{number:05}"), "malformed", 0)).collect();
    produce(&setup.brokers, &setup.dead_letter, all.iter().cloned());
    let first = start_redrive(&config);
    let inputs = Reader::new(&setup.brokers, &setup.input);
    let mut came = inputs.take(500);
    std::process::Command::new("kill").args(["-INT", &first.id().to_string()]).status().unwrap();
    let output = first.wait_with_output().unwrap();
    // It may have been faster than the signal.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    redriven(&config, &["--execute"]);
    came.extend(inputs.rest());
    assert_eq!(keys(&came), keys(&all), "each once");
}

#[test]
fn a_run_that_is_refused_for_one_topic_sends_nothing_from_another() {
    let first = Setup::on_kafka(1);
    // The topics are taken in their order by name.
    let second = Setup { dead_letter: format!("{}.second", first.dead_letter), ..Setup::named(&first.brokers) };
    second.create_topics(1);
    let config = first.config(&second.as_second_route());
    let inputs = Reader::new(&first.brokers, &first.input);
    produce(&first.brokers, &first.dead_letter, [letter(&first, "a", "malformed", 0)]);
    redriven(&config, &["--route", "flights", "--execute", "--first-run"]);
    assert_eq!(keys(&inputs.take(1)), ["a"]);

    produce(&first.brokers, &first.dead_letter, [letter(&first, "b", "malformed", 0)]);
    let of_second = with(letter(&second, "c", "malformed", 0), "weir-error-route", "second");
    produce(&second.brokers, &second.dead_letter, [of_second]);
    let refused = weir("redrive", &config, &["--execute"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains(&second.dead_letter), "{refused:?}");
    assert_eq!(inputs.rest(), []);
    said("redrive", &config, &["--execute", "--first-run"]);
    assert_eq!(keys(&inputs.take(1)), ["b"]);
    assert_eq!(keys(&Reader::new(&second.brokers, &second.input).take(1)), ["c"]);
}

#[test]
fn a_topic_with_transactions_has_an_end() {
    let setup = Setup::on_kafka(1);
    let config = setup.config("");
    let letter = |key: &str, timestamp| Record { timestamp, ..letter(&setup, key, "malformed", 0) };
    produce_in_transaction(
        &setup.brokers,
        &setup.dead_letter,
        [letter("early", 1_000_000), letter("late", 2_000_000)],
        true,
    );
    produce_in_transaction(&setup.brokers, &setup.dead_letter, [letter("never", 3_000_000)], false);
    // Two records and a marker, a record that doesn't count and a marker.
    let listed = run_json("list", &config, &[]);
    assert_eq!(listed["topics"][0]["partitions"], json!([{ "partition": 0, "from": 0, "to": 5 }]));
    assert_eq!(listed["letters"], 2);
    let letters = |arguments: &[&str]| run_json("list", &config, arguments)["letters"].clone();
    assert_eq!(letters(&["--to", "4"]), 2, "the range ends within what was aborted");
    assert_eq!(letters(&["--from", "2"]), 0, "nothing but markers and what was aborted");
    assert_eq!(letters(&["--from", "1970-01-01T00:30:00Z"]), 1);
    assert_eq!(letters(&["--to", "1970-01-01T00:30:00Z"]), 1);
    assert_eq!(letters(&["--from", "1970-01-01T02:00:00Z"]), 0);
    assert_eq!(redriven(&config, &["--execute", "--first-run"]).0, json!({ "malformed": 2 }));
    assert_eq!(redriven(&config, &["--execute"]), (json!({}), json!({})));
    eventually("both are there", || (Reader::new(&setup.brokers, &setup.input).rest().len() == 2).then_some(()));
}

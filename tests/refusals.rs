//! Records that an output refuses for good. What is wrong with one record becomes its dead letter, what concerns a topic
//! makes its route wait, and a second route of the same worker notices neither.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::eventually;
use crate::support::kafka::{
    Reader, Record, add_partitions, alter_topic, brokers, committed, create_topic, delete_topic, keys, produce,
};
use crate::support::models::{keyed, publish_first, setup_with_model};
use crate::support::rights::{guarded_brokers, lift_restrictions, restrict};
use crate::support::states::await_state;
use crate::support::weir::{Setup, Weir, extend_section};

const COMPACTED: [(&str, &str); 1] = [("cleanup.policy", "compact")];

const DAY_MS: i64 = 86_400_000;

/// A topic that takes timestamps of the last day and of the next hour.
const RECENT: [(&str, &str); 2] =
    [("message.timestamp.before.max.ms", "86400000"), ("message.timestamp.after.max.ms", "3600000")];

/// All operations that weir needs on an output, without the one by which it reads the topic's settings.
const WITHOUT_DESCRIBE_CONFIGS: [&str; 3] = ["Describe", "Read", "Write"];

#[test]
fn a_record_without_a_key_for_a_compacted_topic_becomes_a_dead_letter() {
    one_refused_record_becomes_a_dead_letter(&Routes::new(brokers(), "at_least_once", &COMPACTED, &[]), keyless());
}

#[test]
fn a_record_without_a_key_for_a_compacted_topic_becomes_a_dead_letter_exactly_once() {
    one_refused_record_becomes_a_dead_letter(&Routes::new(brokers(), "exactly_once", &COMPACTED, &[]), keyless());
}

#[test]
fn a_refusal_that_could_not_be_foreseen_becomes_a_dead_letter() {
    let routes = Routes::new(guarded_brokers(), "at_least_once", &COMPACTED, &[]);
    restrict(&routes.refusing.brokers, &routes.refusing.output, &WITHOUT_DESCRIBE_CONFIGS);
    one_refused_record_becomes_a_dead_letter(&routes, keyless());
}

#[test]
fn a_refusal_that_could_not_be_foreseen_becomes_a_dead_letter_exactly_once() {
    let routes = Routes::new(guarded_brokers(), "exactly_once", &COMPACTED, &[]);
    restrict(&routes.refusing.brokers, &routes.refusing.output, &WITHOUT_DESCRIBE_CONFIGS);
    one_refused_record_becomes_a_dead_letter(&routes, keyless());
}

#[test]
fn a_record_that_is_larger_than_a_limit_that_weir_may_not_read_becomes_a_dead_letter() {
    // All predictions but one fit into a batch.
    let limit = [("max.message.bytes", "50000")];
    let routes = Routes::new(guarded_brokers(), "at_least_once", &limit, &[]);
    restrict(&routes.refusing.brokers, &routes.refusing.output, &WITHOUT_DESCRIBE_CONFIGS);
    // The prediction has the record's id, which doesn't compress well.
    let id: String = (0..20_000_u32).map(|n| format!("{:08x}", n.wrapping_mul(2_654_435_761))).collect();
    let value = String::from_utf8(keyed("large", 1)[0].value.clone().unwrap()).unwrap();
    let (_, rest) = value.split_once(',').unwrap();
    let value = format!("{{\"id\":\"{id}\",{rest}");
    one_refused_record_becomes_a_dead_letter(
        &routes,
        Record { key: Some(b"large".to_vec()), value: Some(value.into()), ..Record::default() },
    );
}

fn one_refused_record_becomes_a_dead_letter(routes: &Routes, refused: Record) {
    let early = keyed("early", 100);
    let mut inputs = early.clone();
    // In one batch with its neighbours.
    inputs.insert(50, refused.clone());
    produce(&routes.refusing.brokers, &routes.refusing.input, inputs);
    let weir = Weir::start(&routes.config);
    let letter = routes.letters.take(1).remove(0);
    assert_eq!(letter.header("weir-error-reason"), Some("output_refused"));
    assert_eq!(letter.header("weir-error-offset"), Some("50"));
    assert_eq!((letter.key, letter.value), (refused.key, refused.value));
    routes.outputs.await_all(&early);
    routes.assert_that_the_other_goes_on(&early);

    let late = keyed("late", 100);
    produce(&routes.refusing.brokers, &routes.refusing.input, late.clone());
    routes.outputs.await_all(&late);
    weir.await_ready();
    eventually("the rejection is counted", || {
        (weir.metric("weir_records_rejected_total", "output_refused") >= 1.0).then_some(())
    });
    routes.finish(weir, 201);
}

#[test]
fn a_timestamp_that_the_output_refuses_is_sent_as_now() {
    let routes = Routes::new(brokers(), "at_least_once", &RECENT, &RECENT);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let mut inputs = keyed("record", 6);
    let times = [now - 3 * DAY_MS, now + 2 * DAY_MS, now - DAY_MS / 2, now - 4 * DAY_MS, now + 3 * DAY_MS, now];
    inputs.iter_mut().zip(times).for_each(|(record, time)| record.timestamp = time);
    // These two become dead letters, which have timestamps as well.
    inputs[3].value = Some(b"broken".to_vec());
    inputs[4].value = Some(b"broken".to_vec());
    produce(&routes.refusing.brokers, &routes.refusing.input, inputs);
    let weir = Weir::start(&routes.config);
    let outputs = routes.outputs.take(4);
    assert_eq!(keys(&outputs), ["record 0", "record 1", "record 2", "record 5"]);
    assert_eq!(outputs[2].timestamp, times[2], "a timestamp that the output takes is kept");
    let letters = routes.letters.take(2);
    assert_eq!(keys(&letters), ["record 3", "record 4"]);
    assert!(letters.iter().all(|letter| letter.header("weir-error-reason") == Some("malformed")));
    for record in outputs[..2].iter().chain(&letters) {
        let age = record.timestamp - now;
        assert!((0..DAY_MS / 24).contains(&age), "{:?} has a timestamp of {age} ms from now", record.key);
    }
    routes.assert_that_the_other_goes_on(&keyed("other", 10));
    routes.finish(weir, 6);
}

#[test]
fn a_dead_letter_that_is_refused_makes_its_route_wait_until_the_topic_takes_it() {
    let routes = Routes::new(brokers(), "at_least_once", &[], &COMPACTED);
    let weir = Weir::ready(&routes.config);
    let poison = Record { key: None, value: Some(b"broken".to_vec()), ..Record::default() };
    produce(&routes.refusing.brokers, &routes.refusing.input, [poison.clone()]);
    eventually("the route waits", || (weir.metric("weir_route_waiting", "route=\"flights\"") >= 1.0).then_some(()));
    await_state(&weir, "output_refused", &[&routes.refusing, &routes.other]);
    routes.assert_that_the_other_goes_on(&keyed("other", 100));

    alter_topic(&routes.refusing.brokers, &routes.refusing.dead_letter, "cleanup.policy", "delete");
    let letter = routes.letters.take(1).remove(0);
    assert_eq!((letter.key.as_ref(), letter.value.as_ref()), (None, poison.value.as_ref()));
    produce(&routes.refusing.brokers, &routes.refusing.input, keyed("after", 10));
    routes.outputs.await_all(&keyed("after", 10));
    routes.finish(weir, 11);
}

#[test]
fn many_records_that_are_refused_cost_few_repeats() {
    let routes = Routes::new(guarded_brokers(), "at_least_once", &COMPACTED, &[]);
    let Setup { brokers, input, output, .. } = &routes.refusing;
    restrict(brokers, output, &WITHOUT_DESCRIBE_CONFIGS);
    let taken = keyed("taken", 180);
    let mut inputs = taken.clone();
    (0..20).for_each(|at| inputs.insert(at * 10, keyless()));
    produce(brokers, input, inputs);
    let weir = Weir::ready(&routes.config);
    let letters = routes.letters.take(20);
    assert!(letters.iter().all(|letter| letter.header("weir-error-reason") == Some("output_refused")));
    routes.outputs.await_all(&taken);
    // What went out before the first refusal may come twice.
    assert!(routes.outputs.rest().len() <= taken.len());
    routes.finish(weir, 200);
}

#[test]
fn a_route_waits_while_write_is_denied_on_its_output() {
    a_route_waits_without_the_right_to_write("at_least_once");
}

#[test]
fn a_route_waits_while_write_is_denied_on_its_output_exactly_once() {
    a_route_waits_without_the_right_to_write("exactly_once");
}

fn a_route_waits_without_the_right_to_write(delivery: &str) {
    let routes = Routes::new(guarded_brokers(), delivery, &[], &[]);
    let Setup { brokers, input, output, .. } = &routes.refusing;
    let weir = Weir::ready(&routes.config);
    produce(brokers, input, keyed("before", 10));
    routes.outputs.take(10);
    restrict(brokers, output, &["Describe", "Read"]);
    weir.await_not_ready(&format!("no WRITE on topic {output}"));
    produce(brokers, input, keyed("denied", 100));
    eventually("the route waits", || (weir.metric("weir_route_waiting", "route=\"flights\"") >= 1.0).then_some(()));
    routes.assert_that_the_other_goes_on(&keyed("other", 100));

    lift_restrictions(brokers, output);
    routes.outputs.await_all(&keyed("denied", 100));
    weir.await_ready();
    routes.finish(weir, 110);
}

#[test]
fn a_route_waits_while_its_output_is_out_of_sight() {
    a_route_waits_without_any_right("at_least_once");
}

#[test]
fn a_route_waits_while_its_output_is_out_of_sight_exactly_once() {
    a_route_waits_without_any_right("exactly_once");
}

/// Without the right to see a topic the client refuses records at once, and says so for no record in particular.
fn a_route_waits_without_any_right(delivery: &str) {
    let routes = Routes::new(guarded_brokers(), delivery, &[], &[]);
    let [brokers, input, output] =
        [&routes.refusing.brokers, &routes.refusing.input, &routes.refusing.output].map(String::clone);
    let weir = Weir::ready(&routes.config);
    produce(&brokers, &input, keyed("before", 10));
    routes.outputs.take(10);
    restrict(&brokers, &output, &["Create"]);
    weir.await_not_ready(&format!("no WRITE on topic {output}"));
    for round in 0..5 {
        produce(&brokers, &input, keyed(&format!("denied {round}"), 20));
        routes.assert_that_the_other_goes_on(&keyed(&format!("other {round}"), 20));
        eventually("the route waits", || (weir.metric("weir_route_waiting", "route=\"flights\"") >= 1.0).then_some(()));
    }

    lift_restrictions(&brokers, &output);
    weir.await_ready();
    // The reader that was there before couldn't see the topic, either.
    let routes = Routes { outputs: Reader::new(&brokers, &output), ..routes };
    let denied: Vec<Record> = (0..5).flat_map(|round| keyed(&format!("denied {round}"), 20)).collect();
    routes.outputs.await_all(&denied);
    routes.finish(weir, 110);
}

#[test]
fn a_start_that_cannot_be_committed_delays_no_other_route_exactly_once() {
    let routes = Routes::new(guarded_brokers(), "exactly_once", &[], &[]);
    let Setup { brokers, input, .. } = &routes.refusing;
    extend_section(&routes.config, "[kafka.properties]", "\"topic.metadata.refresh.interval.ms\" = 1000");
    let weir = Weir::ready(&routes.config);
    produce(brokers, input, keyed("before", 10));
    routes.outputs.take(10);
    restrict(brokers, input, &["Describe", "Write", "Alter"]);
    weir.await_not_ready(&format!("no READ on topic {input}"));
    add_partitions(brokers, input, 2);
    eventually("the new partition is assigned", || {
        weir.partitions().iter().any(|partition| partition.contains(input) && partition.contains('1')).then_some(())
    });
    for round in 0..3 {
        routes.assert_that_the_other_goes_on(&keyed(&format!("other {round}"), 20));
    }

    lift_restrictions(brokers, input);
    produce(brokers, input, [Record { partition: 1, ..keyed("added", 1).remove(0) }]);
    routes.outputs.await_all(&keyed("added", 1));
    weir.await_ready();
    routes.finish(weir, 10);
}

#[test]
fn an_output_that_is_deleted_delays_no_other_route_exactly_once() {
    let routes = Routes::new(brokers(), "exactly_once", &[], &[]);
    let [brokers, input, output] =
        [&routes.refusing.brokers, &routes.refusing.input, &routes.refusing.output].map(String::clone);
    let weir = Weir::ready(&routes.config);
    delete_topic(&brokers, &output);
    weir.await_not_ready(&output);
    for round in 0..3 {
        produce(&brokers, &input, keyed(&format!("waits {round}"), 20));
        routes.assert_that_the_other_goes_on(&keyed(&format!("other {round}"), 20));
    }

    create_topic(&brokers, &output, 1, &[]);
    weir.await_ready();
    let routes = Routes { outputs: Reader::new(&brokers, &output), ..routes };
    let waiting: Vec<Record> = (0..3).flat_map(|round| keyed(&format!("waits {round}"), 20)).collect();
    routes.outputs.await_all(&waiting);
    routes.finish(weir, 60);
}

#[test]
fn an_output_that_gets_more_partitions_costs_no_worker() {
    let setup = setup_with_model(brokers(), 2);
    let output = format!("{}.narrow", setup.output);
    create_topic(&setup.brokers, &output, 1, &[]);
    let setup = Setup { output, threads: 1, ..setup };
    let reader = Reader::new(&setup.brokers, &setup.output);
    let weir = Weir::ready(&setup.config(""));
    produce(&setup.brokers, &setup.input, keyed("before", 10));
    reader.take(10);
    add_partitions(&setup.brokers, &setup.output, 2);
    let reader = Reader::new(&setup.brokers, &setup.output);
    let mut sent = 10;
    eventually("the new partition is written to", || {
        let record = Record { partition: 1, ..keyed("after", 1).remove(0) };
        produce(&setup.brokers, &setup.input, [record]);
        sent += 1;
        reader.next(Duration::from_millis(500)).filter(|output| output.partition == 1)
    });
    eventually("everything is consumed", || {
        (weir.metric("weir_records_produced_total", "") == f64::from(sent)).then_some(())
    });
    assert_eq!(weir.metric("weir_worker_restarts_total", ""), 0.0);
    assert!(weir.stop().success());
}

#[test]
fn an_output_whose_limit_is_raised_takes_larger_records_without_a_new_worker() {
    let routes = Routes::new(brokers(), "at_least_once", &[], &[]);
    let Setup { brokers, input, output, .. } = &routes.refusing;
    alter_topic(brokers, input, "max.message.bytes", "5000000");
    extend_section(&routes.config, "[route.input]", "max_bytes = 4000000");
    let weir = Weir::ready(&routes.config);
    let id = "i".repeat(2_000_000);
    let value = String::from_utf8(keyed("large", 1)[0].value.clone().unwrap()).unwrap();
    let (_, rest) = value.split_once(',').unwrap();
    let large = || Record {
        key: Some(b"large".to_vec()),
        value: Some(format!("{{\"id\":\"{id}\",{rest}").into()),
        ..Record::default()
    };
    produce(brokers, input, [large()]);
    assert_eq!(routes.letters.take(1)[0].header("weir-error-reason"), Some("output_too_large"));

    alter_topic(brokers, output, "max.message.bytes", "5000000");
    let mut sent = 1;
    eventually("the prediction comes out", || {
        produce(brokers, input, [large()]);
        sent += 1;
        routes.outputs.next(Duration::from_secs(1))
    });
    assert_eq!(weir.metric("weir_worker_restarts_total", ""), 0.0);
    assert!(weir.stop().success());
    assert_eq!(committed(brokers, &routes.refusing.group, input, 0), Some(sent));
}

/// One worker with two routes: one whose outputs refuse something, and another.
struct Routes {
    refusing: Setup,
    other: Setup,
    config: PathBuf,
    outputs: Reader,
    letters: Reader,
    other_outputs: Reader,
}

impl Routes {
    /// Topics of one partition. The settings are those of the first route's output and dead-letter topic.
    fn new(brokers: &str, delivery: &str, output: &[(&str, &str)], dead_letter: &[(&str, &str)]) -> Routes {
        let worker = format!("delivery = \"{delivery}\"");
        let refusing = Setup { threads: 1, worker, ..Setup::named(brokers) };
        let any_time = [("message.timestamp.after.max.ms", "9223372036854775807")];
        create_topic(brokers, &refusing.input, 1, &any_time);
        create_topic(brokers, &refusing.output, 1, output);
        create_topic(brokers, &refusing.dead_letter, 1, dead_letter);
        publish_first(&refusing.store());
        let other = Setup::named(brokers);
        other.create_topics(1);
        let config = refusing.config(&other.as_second_route());
        let [outputs, letters, other_outputs] =
            [&refusing.output, &refusing.dead_letter, &other.output].map(|topic| Reader::new(brokers, topic));
        Routes { refusing, other, config, outputs, letters, other_outputs }
    }

    /// Sends these records through the other route and reads them, each once and in order.
    fn assert_that_the_other_goes_on(&self, records: &[Record]) {
        produce(&self.other.brokers, &self.other.input, records.iter().cloned());
        assert_eq!(keys(&self.other_outputs.take(records.len())), keys(records));
    }

    /// Stops weir. Everything is committed, no worker was replaced, and no record of the other route came out again.
    fn finish(&self, weir: Weir, records: i64) {
        assert_eq!(weir.metric("weir_worker_restarts_total", ""), 0.0);
        assert!(weir.stop().success());
        assert_eq!(self.other_outputs.rest(), []);
        assert_eq!(self.letters.rest(), []);
        let Setup { brokers, group, input, .. } = &self.refusing;
        assert_eq!(committed(brokers, group, input, 0), Some(records));
        if self.refusing.worker.contains("exactly_once") {
            assert_eq!(self.outputs.rest(), []);
        }
    }
}

fn keyless() -> Record {
    Record { key: None, ..keyed("keyless", 1).remove(0) }
}

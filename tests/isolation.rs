//! Routes and processes that mustn't suffer from others: a large topic that is deleted, a large route that is paused, a
//! topic that is idle, an output that is away.

use std::time::{Duration, Instant};

use rdkafka::producer::BaseProducer;

use crate::support::kafka::{
    Kafka, Reader, Record, brokers, cluster, create_replicated_topic, create_topic, create_topic_on, delete_topic,
    keys, produce, producer, send, start_all,
};
use crate::support::models::{keyed, publish_first, setup_with_model};
use crate::support::states::await_state;
use crate::support::weir::{Setup, Weir};
use crate::support::{eventually, within};

/// Partitions of a large topic.
const MANY: i32 = 300;

#[test]
fn a_process_that_joins_after_a_large_topic_was_deleted_gets_partitions_soon() {
    let (small, large) = small_and_large();
    let first = Weir::ready(&small.config(&large.as_second_route()));
    let reader = Reader::new(&small.brokers, &small.output);
    let inputs = spread("before", 400, 4);
    produce(&small.brokers, &small.input, inputs.clone());
    reader.take(inputs.len());
    await_each_partition(&large);
    delete_topic(&large.brokers, &large.input);

    let second = Weir::start(&small.config(""));
    // Without the deletion it takes five seconds, and by the busiest machine not so long.
    within(Duration::from_secs(60), "the process that joined has partitions", || {
        (!second.partitions().is_empty()).then_some(())
    });
    let inputs = spread("after", 400, 4);
    produce(&small.brokers, &small.input, inputs.clone());
    reader.await_all(&inputs);
    assert!(first.stop().success() && second.stop().success());
}

#[test]
fn a_paused_route_of_many_partitions_delays_no_other_route() {
    let (small, large) = small_and_large();
    let config = small.config(&large.as_second_route());
    let weir = Weir::ready(&config);
    await_each_partition(&large);
    let (producer, reader) = (producer(&small.brokers), Reader::new(&small.brokers, &small.output));
    let before = median_latency(&producer, &reader, &small, Duration::from_secs(4));
    weir.route("pause", "second", &config);
    let paused = median_latency(&producer, &reader, &small, Duration::from_secs(8));
    assert!(paused < before * 5 + Duration::from_millis(50), "{before:?} before the pause, {paused:?} after it");
    assert!(weir.stop().success());
}

#[test]
fn an_idle_topic_costs_no_connection() {
    let setup = Setup { threads: 1, ..setup_with_model(brokers(), 1) };
    let weir = Weir::ready(&setup.config(""));
    let reader = Reader::new(&setup.brokers, &setup.output);
    produce(&setup.brokers, &setup.input, keyed("before", 1));
    reader.take(1);
    let quiet_from = weir.log().len();
    // Longer than the silence after which weir looks at a partition anew.
    assert_eq!(reader.next(Duration::from_secs(32)), None);
    let log = weir.log().split_off(quiet_from);
    let trouble = ["REQTMOUT", "FAIL", "timed out", "isconnected"];
    let lines: Vec<_> = log.lines().filter(|line| trouble.iter().any(|word| line.contains(word))).collect();
    assert_eq!(lines, [""; 0], "the broker is there all the time");
    produce(&setup.brokers, &setup.input, keyed("after", 1));
    assert_eq!(keys(&reader.take(1)), ["after 0"]);
    assert!(weir.stop().success());
}

#[test]
fn an_output_without_a_leader_stops_no_other_route() {
    let data = tempfile::tempdir().unwrap();
    let nodes = cluster(3, data.path());
    let mut kafkas = start_all(&nodes);
    let brokers: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let (waits, goes_on) = (Setup { threads: 1, ..Setup::named(&brokers.join(",")) }, Setup::named(&brokers.join(",")));
    for topic in [&waits.input, &waits.dead_letter, &goes_on.input, &goes_on.output, &goes_on.dead_letter] {
        create_replicated_topic(&waits.brokers, topic, 1, 3, &[]);
    }
    // Only the last broker has it.
    create_topic_on(&waits.brokers, &waits.output, &[&[3]]);
    publish_first(&waits.store());
    let weir = Weir::ready(&waits.config(&goes_on.as_second_route()));
    let [outputs, others] = [&waits, &goes_on].map(|setup| Reader::new(&setup.brokers, &setup.output));
    let mut last = kafkas.pop().unwrap();
    last.process.kill().unwrap();
    drop(last);

    // More than a worker may have in flight.
    let waiting = keyed("waiting", 30_000);
    produce(&waits.brokers, &waits.input, waiting.clone());
    await_standstill(&weir);
    await_state(&weir, "route_stalled", &[&waits, &goes_on]);
    produce(&goes_on.brokers, &goes_on.input, keyed("other", 1_000));
    assert_eq!(keys(&others.take(1_000)), keys(&keyed("other", 1_000)));
    eventually("what the other route consumed is counted", || {
        (weir.metric("weir_consumer_position", "second") == 1_000.0).then_some(())
    });
    await_state(&weir, "route_stalled_later", &[&waits, &goes_on]);

    let _last = Kafka::start_with(&nodes[2].arguments);
    outputs.await_all(&waiting);
    assert_eq!(weir.metric("weir_worker_restarts_total", ""), 0.0);
    assert!(weir.stop().success());
    assert_eq!(others.rest(), []);
}

/// A setup whose input has four partitions, for one worker, and topics for a second route of many.
fn small_and_large() -> (Setup, Setup) {
    let small = Setup { threads: 1, ..setup_with_model(brokers(), 4) };
    let large = Setup::named(brokers());
    for (topic, partitions) in [(&large.input, MANY), (&large.output, 1), (&large.dead_letter, 1)] {
        create_topic(&large.brokers, topic, partitions, &[]);
    }
    (small, large)
}

/// Records spread over partitions in turn.
fn spread(name: &str, count: usize, partitions: i32) -> Vec<Record> {
    let mut records = keyed(name, count);
    records.iter_mut().enumerate().for_each(|(number, record)| record.partition = number as i32 % partitions);
    records
}

/// Waits until a record of each partition has come out.
fn await_each_partition(large: &Setup) {
    let inputs = spread("large", MANY as usize, MANY);
    produce(&large.brokers, &large.input, inputs.clone());
    Reader::new(&large.brokers, &large.output).await_all(&inputs);
}

/// The median of the time from a record to its output, one after the other for so long.
fn median_latency(producer: &BaseProducer, reader: &Reader, setup: &Setup, duration: Duration) -> Duration {
    let begun = Instant::now();
    let mut latencies = Vec::new();
    while begun.elapsed() < duration {
        let sent = Instant::now();
        send(producer, &setup.input, keyed("latency", 1));
        reader.take(1);
        latencies.push(sent.elapsed());
        assert_eq!(reader.next(Duration::from_millis(50)), None);
    }
    latencies.sort_unstable();
    latencies[latencies.len() / 2]
}

/// Waits until records are in flight and nothing has changed about them for some reports.
fn await_standstill(weir: &Weir) {
    let in_flight = || weir.metric("weir_in_flight_records", "");
    let (mut last, mut since) = (0.0, Instant::now());
    eventually("the route's records wait", || {
        let now = in_flight();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        (now > 0.0 && since.elapsed() > Duration::from_secs(4)).then_some(())
    });
}

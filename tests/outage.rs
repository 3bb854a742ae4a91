//! Brokers that are absent at the start, and later, or that refuse: weir waits or begins anew, says so, and goes on.

use std::collections::BTreeSet;

use weir::train::preparation::Preparation;

use crate::support::departures::{PARTITIONS, records};
use crate::support::eventually;
use crate::support::kafka::{
    Kafka, Reader, Record, alter_topic, cluster, create_replicated_topic, create_topic, create_topic_on, delete_topic,
    free_port, produce, start_all,
};
use crate::support::models::{promote, publish, year};
use crate::support::weir::{Setup, Weir};

#[test]
fn weir_waits_for_its_brokers_and_outlives_their_absence() {
    let port = free_port();
    let setup = Setup::named(&format!("127.0.0.1:{port}"));
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    let data = tempfile::tempdir().unwrap();
    let flight =
        |key: &str| Record { key: Some(key.into()), value: Some(year()[0].json.clone().into()), ..Record::default() };
    let not_ready = |weir: &Weir, reason: &str| {
        let (status, body) = weir.get("/readyz");
        (status == 503 && body.contains(reason)).then_some(())
    };

    // No broker: alive, not ready, and the reason.
    let weir = Weir::start(&setup.config(""));
    eventually("it says that no broker answers", || not_ready(&weir, "no answer from the brokers"));
    assert_eq!(weir.get("/livez").0, 200);

    // A broker without the topics: which ones are missing.
    let kafka = Kafka::start(port, Some(data.path()), &[]);
    eventually("it says which topic is missing", || not_ready(&weir, &format!("topic \\\"{}\\\"", setup.output)));
    setup.create_topics(2);
    eventually("it is ready", || (weir.get("/readyz").0 == 200).then_some(()));
    produce(&setup.brokers, &setup.input, [flight("before")]);
    let reader = Reader::new(&setup.brokers, &setup.output);
    assert_eq!(reader.take(1)[0].key.as_deref(), Some(b"before".as_slice()));

    // The broker goes, and comes back.
    drop(kafka);
    eventually("it sees that the broker is gone", || not_ready(&weir, "broker"));
    let _kafka = Kafka::start(port, Some(data.path()), &[]);
    produce(&setup.brokers, &setup.input, [flight("after")]);
    let reader = Reader::new(&setup.brokers, &setup.output);
    let keys: Vec<_> = reader.take(2).into_iter().map(|record| record.key.unwrap()).collect();
    assert!(keys.contains(&b"after".to_vec()), "{keys:?}");
    eventually("it is ready again", || (weir.get("/readyz").0 == 200).then_some(()));
    assert_eq!(weir.metric("weir_worker_restarts_total", ""), 0.0, "an outage costs no worker");
    assert!(weir.stop().success());
}

#[test]
fn a_record_that_is_refused_after_the_limit_fell_becomes_a_dead_letter_and_costs_no_worker() {
    let setup = Setup::on_kafka(1);
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    let weir = Weir::ready(&setup.config(""));
    // While weir runs, the output topic's limit falls below what any prediction takes: the broker refuses it.
    alter_topic(&setup.brokers, &setup.output, "max.message.bytes", "100");
    let record =
        Record { key: Some(b"refused".into()), value: Some(year()[0].json.clone().into()), ..Record::default() };
    produce(&setup.brokers, &setup.input, [record.clone()]);
    let letter = Reader::new(&setup.brokers, &setup.dead_letter).take(1).remove(0);
    // Unless the topic watch has seen the new limit before.
    let reason = letter.header("weir-error-reason").unwrap();
    assert!(["output_refused", "output_too_large"].contains(&reason), "{reason}");
    assert_eq!((letter.key, letter.value), (record.key, record.value));
    assert_eq!(weir.metric("weir_worker_restarts_total", ""), 0.0);
    eventually("it is ready", || (weir.get("/readyz").0 == 200).then_some(()));
    assert!(weir.stop().success());
}

#[test]
fn outputs_that_nobody_acknowledges_wait_and_readiness_says_so() {
    let kafka = Kafka::start(0, None, &[]);
    // A producer with room for few records makes the worker wait for each of them, so that some are in flight when the
    // broker freezes, and many are still to come.
    let properties = "\"queue.buffering.max.messages\" = 3".into();
    let setup = Setup { properties, ..Setup::named(&kafka.brokers) };
    setup.create_topics(PARTITIONS);
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    let weir = Weir::ready(&setup.config(""));
    let inputs = records(&year()[..60_000]);
    let reader = Reader::new(&setup.brokers, &setup.output);
    produce(&setup.brokers, &setup.input, inputs.iter().cloned());
    eventually("records are in flight", || (weir.metric("weir_in_flight_records", "") > 0.0).then_some(()));
    // The broker neither answers nor hangs up.
    kafka.signal("STOP");
    eventually("it isn't ready, and says why", || {
        let (status, body) = weir.get("/readyz");
        (status == 503 && body.contains("the brokers have acknowledged none of")).then_some(())
    });
    kafka.signal("CONT");
    let mut outputs = reader.take(inputs.len());
    eventually("it is ready again", || (weir.get("/readyz").0 == 200).then_some(()));
    assert_eq!(weir.metric("weir_worker_restarts_total", ""), 0.0, "no worker was lost by it");
    assert!(weir.stop().success());
    outputs.extend(reader.rest());
    assert!(keys(&outputs) == keys(&inputs), "at least once");
}

#[test]
fn a_producer_that_is_full_makes_the_worker_wait_and_costs_no_record() {
    let setup = Setup::on_kafka(PARTITIONS);
    // Room for a few of a batch of 512.
    let properties = "\"queue.buffering.max.messages\" = 20".into();
    let setup = Setup { properties, ..setup };
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    let inputs = records(&year()[..2_000]);
    produce(&setup.brokers, &setup.input, inputs.iter().cloned());
    let weir = Weir::ready(&setup.config(""));
    let reader = Reader::new(&setup.brokers, &setup.output);
    let mut outputs = reader.take(inputs.len());
    assert_eq!(weir.metric("weir_worker_restarts_total", ""), 0.0, "no worker was lost by it");
    assert!(weir.stop().success());
    outputs.extend(reader.rest());
    let order = |records: &[Record]| {
        let mut of_partition = vec![Vec::new(); PARTITIONS as usize];
        records.iter().for_each(|record| of_partition[record.partition as usize].push(record.key.clone()));
        of_partition
    };
    assert!(order(&outputs) == order(&inputs), "each once, in order");
}

#[test]
fn an_output_topic_that_is_deleted_and_made_again_costs_no_record() {
    let setup = Setup::on_kafka(PARTITIONS);
    // By default librdkafka believes in a topic for half a minute after it has gone.
    let properties =
        "\"topic.metadata.propagation.max.ms\" = 1000\n\"topic.metadata.refresh.interval.ms\" = 1000".into();
    let setup = Setup { properties, ..setup };
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    let weir = Weir::ready(&setup.config(""));
    delete_topic(&setup.brokers, &setup.output);
    let inputs = records(&year()[..10_000]);
    produce(&setup.brokers, &setup.input, inputs.iter().cloned());
    eventually("it isn't ready, and names the topic", || {
        let (status, body) = weir.get("/readyz");
        (status == 503 && body.contains(&setup.output)).then_some(())
    });
    create_topic(&setup.brokers, &setup.output, PARTITIONS, &[]);
    let outputs = Reader::new(&setup.brokers, &setup.output).take(inputs.len());
    assert!(keys(&outputs) == keys(&inputs), "at least once");
    eventually("it is ready again", || (weir.get("/readyz").0 == 200).then_some(()));
    assert!(weir.stop().success());
}

#[test]
fn a_partition_of_the_output_without_a_leader_holds_up_its_own_records_only() {
    let data = tempfile::tempdir().unwrap();
    let nodes = cluster(3, data.path());
    let mut kafkas = start_all(&nodes);
    let brokers: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let setup = Setup::named(&brokers.join(","));
    create_replicated_topic(&setup.brokers, &setup.input, PARTITIONS, 3, &[]);
    create_replicated_topic(&setup.brokers, &setup.dead_letter, 1, 3, &[]);
    // Only the last broker has the last partition.
    create_topic_on(&setup.brokers, &setup.output, &[&[1], &[2], &[1], &[3]]);
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    let weir = Weir::ready(&setup.config(""));
    let inputs = records(&year()[..4_000]);
    let (first, second) = inputs.split_at(2_000);
    let reader = Reader::new(&setup.brokers, &setup.output);
    produce(&setup.brokers, &setup.input, first.iter().cloned());
    let mut outputs = reader.take(first.len());

    let mut last = kafkas.pop().unwrap();
    last.process.kill().unwrap();
    drop(last);
    produce(&setup.brokers, &setup.input, second.iter().cloned());
    let led = second.len() / PARTITIONS as usize * 3;
    outputs.extend(reader.take(led));
    eventually("it isn't ready, and says how much waits", || {
        let (status, body) = weir.get("/readyz");
        let waiting = format!("the brokers have acknowledged none of {} outputs", second.len() - led);
        (status == 503 && body.contains(&waiting)).then_some(())
    });

    let _last = Kafka::start_with(&nodes[2].arguments);
    outputs.extend(reader.take(second.len() - led));
    eventually("it is ready again", || (weir.get("/readyz").0 == 200).then_some(()));
    assert_eq!(weir.metric("weir_worker_restarts_total", ""), 0.0, "an outage costs no worker");
    assert!(weir.stop().success());
    outputs.extend(reader.rest());
    assert!(keys(&outputs) == keys(&inputs), "at least once");
}

fn keys(records: &[Record]) -> BTreeSet<Option<Vec<u8>>> {
    records.iter().map(|record| record.key.clone()).collect()
}

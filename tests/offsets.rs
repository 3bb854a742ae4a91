//! Where weir continues to consume: after a time without the right to read, in a topic that was created again, where
//! nothing is committed yet, and before a batch that can't be read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rdkafka::producer::Producer;
use serde_json::json;

use crate::support::kafka::{
    Kafka, Reader, add_partitions, brokers, cluster, commit, commits, committed, create_topic, create_topic_on,
    delete_records, delete_topic, free_port, keys, leader, open_transaction, produce, recreate_topic, start_all,
};
use crate::support::models::{keyed, publish_first, setup_with_model};
use crate::support::rights::{guarded_brokers, lift_restrictions, restrict, run_kafka_tool};
use crate::support::weir::{Setup, Weir};
use crate::support::{PATIENCE, eventually};

/// How many records a topic has before it is created again.
const OLD_RECORDS: usize = 1_000;

#[test]
fn records_that_arrive_while_read_is_denied_come_out_afterwards() {
    let setup = setup_with_model(guarded_brokers(), 1);
    let weir = Weir::ready(&setup.config(""));
    let reader = Reader::new(&setup.brokers, &setup.output);
    produce(&setup.brokers, &setup.input, keyed("before", 20));
    reader.take(20);
    deny_reading(&setup, &weir);
    produce(&setup.brokers, &setup.input, keyed("denied", 10));
    // Longer than the silence after which weir looks at a partition anew.
    assert_eq!(reader.next(Duration::from_secs(26)), None);

    lift_restrictions(&setup.brokers, &setup.input);
    assert_eq!(keys(&reader.take(10)), keys(&keyed("denied", 10)));
    assert!(weir.stop().success());
    assert_eq!(reader.rest(), []);
    assert_eq!(committed_offset(&setup), Some(30));
}

#[test]
fn a_pause_while_read_is_denied_skips_no_record() {
    let setup = setup_with_model(guarded_brokers(), 1);
    let config = setup.config("");
    let weir = Weir::ready(&config);
    let reader = Reader::new(&setup.brokers, &setup.output);
    produce(&setup.brokers, &setup.input, keyed("before", 20));
    reader.take(20);
    deny_reading(&setup, &weir);
    produce(&setup.brokers, &setup.input, keyed("denied", 10));
    weir.route("pause", "flights", &config);
    lift_restrictions(&setup.brokers, &setup.input);
    weir.route("resume", "flights", &config);
    assert_eq!(keys(&reader.take(10)), keys(&keyed("denied", 10)));
    assert!(weir.stop().success());
    assert_eq!(reader.rest(), []);
    assert_eq!(committed_offset(&setup), Some(30));
}

#[test]
fn records_of_an_open_transaction_are_lag_and_come_when_it_ends() {
    let setup = Setup { threads: 1, ..setup_with_model(brokers(), 1) };
    let weir = Weir::ready(&setup.config(""));
    let transaction = open_transaction(&setup.brokers, &setup.input, keyed("open", 5));
    // Otherwise nobody would notice a transaction that hangs.
    eventually("they are lag", || (weir.metric("weir_consumer_lag", "") == 5.0).then_some(()));
    transaction.commit_transaction(PATIENCE).unwrap();
    Reader::new(&setup.brokers, &setup.output).await_all(&keyed("open", 5));
    assert!(weir.stop().success());
}

#[test]
fn a_topic_that_is_created_again_is_consumed_and_committed_from_its_start() {
    records_of_a_recreated_topic_come_out_once("at_least_once");
}

#[test]
fn a_topic_that_is_created_again_is_consumed_and_committed_from_its_start_exactly_once() {
    records_of_a_recreated_topic_come_out_once("exactly_once");
}

fn records_of_a_recreated_topic_come_out_once(delivery: &str) {
    let (setup, config) = setup(delivery);
    let reader = Reader::new(&setup.brokers, &setup.output);
    let weir = with_old_records(&setup, &config, &reader);
    recreate_topic(&setup.brokers, &setup.input, 1);
    produce(&setup.brokers, &setup.input, keyed("new", 150));
    assert_eq!(keys(&reader.take(150)), keys(&keyed("new", 150)));
    eventually("the new offsets are committed", || (committed_offset(&setup) == Some(150)).then_some(()));
    assert!(weir.stop().success());

    let weir = Weir::ready(&config);
    produce(&setup.brokers, &setup.input, keyed("last", 1));
    assert_eq!(keys(&reader.take(1)), ["last 0"], "a restart doubles nothing");
    assert!(weir.stop().success());
    assert_eq!(reader.rest(), []);
    assert_eq!(committed_offset(&setup), Some(151));
}

#[test]
fn a_topic_that_is_created_again_and_has_grown_beyond_the_old_offset_loses_no_record() {
    let (setup, config) = setup("at_least_once");
    let reader = Reader::new(&setup.brokers, &setup.output);
    let weir = with_old_records(&setup, &config, &reader);
    // When weir looks next, the old offset is one that the new log has, too.
    weir.signal("STOP");
    recreate_topic(&setup.brokers, &setup.input, 1);
    let new = keyed("new", 3 * OLD_RECORDS);
    produce(&setup.brokers, &setup.input, new.clone());
    weir.signal("CONT");
    reader.await_all(&new);
    let end = Some(new.len() as i64);
    eventually("the new offsets are committed", || (committed_offset(&setup) == end).then_some(()));
    assert!(weir.stop().success());
}

#[test]
fn topics_that_are_created_again_on_another_broker_are_consumed_and_produced_to() {
    let data = tempfile::tempdir().unwrap();
    let nodes = cluster(2, data.path());
    let _kafkas = start_all(&nodes);
    let setup = Setup { threads: 1, ..Setup::named(&format!("127.0.0.1:{}", nodes[0].port)) };
    publish_first(&setup.store());
    create_topic(&setup.brokers, &setup.dead_letter, 1, &[]);
    let moved = [&setup.input, &setup.output];
    for topic in moved {
        create_topic_on(&setup.brokers, topic, &[&[1]]);
    }
    // Each election raises the leader epoch, and that of a new topic is 0.
    move_to_broker_2(&setup, &moved, data.path());
    let weir = Weir::ready(&setup.config(""));
    produce(&setup.brokers, &setup.input, keyed("old", 10));
    Reader::new(&setup.brokers, &setup.output).take(10);
    eventually("the old offsets are committed", || (committed_offset(&setup) == Some(10)).then_some(()));

    for topic in moved {
        delete_topic(&setup.brokers, topic);
        create_topic_on(&setup.brokers, topic, &[&[1]]);
    }
    produce(&setup.brokers, &setup.input, keyed("new", 10));
    let reader = Reader::new(&setup.brokers, &setup.output);
    assert_eq!(keys(&reader.take(10)), keys(&keyed("new", 10)));
    assert_eq!(weir.metric("weir_worker_restarts_total", ""), 0.0, "that isn't a failure");
    assert!(weir.stop().success());
    assert_eq!(reader.rest(), []);
}

/// Moves partition 0 of these topics to broker 2.
fn move_to_broker_2(setup: &Setup, topics: &[&String], folder: &Path) {
    let partitions: Vec<_> =
        topics.iter().map(|topic| json!({"topic": topic, "partition": 0, "replicas": [2]})).collect();
    let plan = folder.join("plan.json");
    std::fs::write(&plan, json!({"version": 1, "partitions": partitions}).to_string()).unwrap();
    let class = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
    run_kafka_tool(class, &setup.brokers, &["--execute", "--reassignment-json-file", plan.to_str().unwrap()]);
    eventually("broker 2 leads them", || {
        topics.iter().all(|topic| leader(&setup.brokers, topic, 0) == 2).then_some(())
    });
}

#[test]
fn a_commit_of_a_topic_that_had_the_name_before_is_no_place_to_begin() {
    let (setup, config) = setup("at_least_once");
    let reader = Reader::new(&setup.brokers, &setup.output);
    assert!(with_old_records(&setup, &config, &reader).stop().success());
    let old = commits(&setup.brokers, &setup.group, &setup.input, 0);
    recreate_topic(&setup.brokers, &setup.input, 1);
    let new = keyed("new", 3 * OLD_RECORDS);
    produce(&setup.brokers, &setup.input, new.clone());
    // As a worker does that hasn't noticed yet.
    commit(&setup.brokers, &setup.group, &old);
    let weir = Weir::ready(&config);
    assert_eq!(keys(&reader.take(new.len())), keys(&new));
    assert!(weir.stop().success());
    assert_eq!(committed_offset(&setup), Some(new.len() as i64));

    // What an operator sets says nothing about topics, and is meant as it is.
    let set = commits(&setup.brokers, &setup.group, &setup.input, 0);
    set.elements()[0].set_metadata("set by hand");
    set.elements()[0].set_offset(rdkafka::Offset::Offset(new.len() as i64 - 1)).unwrap();
    commit(&setup.brokers, &setup.group, &set);
    let weir = Weir::ready(&config);
    assert_eq!(keys(&reader.take(1)), keys(&new[new.len() - 1..]));
    assert!(weir.stop().success());
    assert_eq!(reader.rest(), []);
}

#[test]
fn a_commit_that_was_copied_from_another_cluster_is_continued() {
    let (setup, config) = setup("at_least_once");
    let reader = Reader::new(&setup.brokers, &setup.output);
    assert!(with_old_records(&setup, &config, &reader).stop().success());
    let copied = commits(&setup.brokers, &setup.group, &setup.input, 0);
    let metadata = copied.elements()[0].metadata().to_owned();
    let (topic, cluster) = metadata.split_once(" cluster-id=").unwrap();
    assert_ne!(cluster, "");
    assert_ne!(topic, "topic-id=00000000000000000000000000000007");
    copied.elements()[0].set_metadata("topic-id=00000000000000000000000000000007 cluster-id=another");
    commit(&setup.brokers, &setup.group, &copied);
    produce(&setup.brokers, &setup.input, keyed("new", 10));
    let weir = Weir::ready(&config);
    assert_eq!(keys(&reader.take(10)), keys(&keyed("new", 10)));
    eventually("the commit names this cluster", || {
        let own = commits(&setup.brokers, &setup.group, &setup.input, 0);
        (own.elements()[0].metadata() == metadata).then_some(())
    });
    assert!(weir.stop().success());
    assert_eq!(reader.rest(), []);
}

#[test]
fn a_pause_after_a_topic_was_created_again_skips_no_record() {
    let (setup, config) = setup("at_least_once");
    let reader = Reader::new(&setup.brokers, &setup.output);
    let weir = with_old_records(&setup, &config, &reader);
    recreate_topic(&setup.brokers, &setup.input, 1);
    produce(&setup.brokers, &setup.input, keyed("new", 100));
    assert_eq!(keys(&reader.take(100)), keys(&keyed("new", 100)));
    weir.route("pause", "flights", &config);
    produce(&setup.brokers, &setup.input, keyed("paused", 1_000));
    // Time for the worker to notice the pause.
    assert_eq!(reader.rest(), []);
    assert_eq!(reader.next(Duration::from_secs(2)), None);
    weir.route("resume", "flights", &config);
    assert_eq!(keys(&reader.take(1_000)), keys(&keyed("paused", 1_000)));
    assert!(weir.stop().success());
    assert_eq!(committed_offset(&setup), Some(1_100));
}

#[test]
fn what_is_delivered_and_not_committed_ages_until_it_is() {
    let setup = Setup { commit_interval_ms: 5_000, ..setup_with_model(brokers(), 1) };
    let reader = Reader::new(&setup.brokers, &setup.output);
    let weir = Weir::ready(&setup.config(""));
    let age = || weir.metric("weir_commit_age_seconds", "");
    eventually("the start is committed, and nothing else is to be", || (age() == 0.0).then_some(()));
    produce(&setup.brokers, &setup.input, keyed("new", 10));
    reader.take(10);
    eventually("what is delivered ages", || (age() >= 1.0).then_some(()));
    assert!(age() < 10.0, "the age is in seconds");
    eventually("what is committed doesn't", || (age() == 0.0).then_some(()));
    assert_eq!(committed_offset(&setup), Some(10));
    assert!(weir.stop().success());
}

#[test]
fn with_a_reset_to_latest_records_that_arrive_during_a_restart_come_out() {
    what_arrives_during_a_restart_comes_out("at_least_once");
}

#[test]
fn with_a_reset_to_latest_records_that_arrive_during_a_restart_come_out_exactly_once() {
    what_arrives_during_a_restart_comes_out("exactly_once");
}

fn what_arrives_during_a_restart_comes_out(delivery: &str) {
    let properties = "\"auto.offset.reset\" = \"latest\"".into();
    let worker = format!("delivery = \"{delivery}\"");
    let setup = Setup { properties, worker, ..setup_with_model(brokers(), 2) };
    let reader = Reader::new(&setup.brokers, &setup.output);
    let weir = Weir::ready(&setup.config(""));
    // What arrives before weir has found the end of the partition isn't its business.
    eventually("partition 0 is consumed", || {
        produce(&setup.brokers, &setup.input, keyed("first", 1));
        reader.next(Duration::from_millis(500))
    });
    assert!(weir.stop().success());
    reader.rest();

    let mut inputs = keyed("during the restart", 10);
    inputs.iter_mut().for_each(|record| record.partition = 1);
    produce(&setup.brokers, &setup.input, inputs.clone());
    let weir = Weir::ready(&setup.config(""));
    // A record of partition 0 may have come too late for the process before.
    let mut outputs = Vec::new();
    while outputs.len() < 10 {
        outputs.extend(reader.take(1).into_iter().filter(|record| record.partition == 1));
    }
    assert_eq!(keys(&outputs), keys(&inputs));
    assert!(weir.stop().success());
    assert!(reader.rest().iter().all(|record| record.partition == 0));
}

#[test]
fn with_a_reset_to_latest_what_retention_has_left_comes_out() {
    let properties = "\"auto.offset.reset\" = \"latest\"".into();
    let setup = Setup { properties, ..setup_with_model(brokers(), 1) };
    let reader = Reader::new(&setup.brokers, &setup.output);
    let weir = Weir::ready(&setup.config(""));
    eventually("the start is committed", || committed_offset(&setup));
    produce(&setup.brokers, &setup.input, keyed("before", 10));
    reader.take(10);
    assert!(weir.stop().success());

    let inputs = keyed("during the stop", 30);
    produce(&setup.brokers, &setup.input, inputs.clone());
    let next = committed_offset(&setup).unwrap();
    delete_records(&setup.brokers, &setup.input, &[(0, next + 20)]);
    let weir = Weir::ready(&setup.config(""));
    assert_eq!(keys(&reader.take(10)), keys(&inputs[20..]));
    assert!(weir.stop().success());
    assert_eq!(committed_offset(&setup), Some(next + 30));
    assert_eq!(reader.rest(), []);
}

#[test]
fn a_stop_that_cannot_commit_says_so() {
    // Less than weir notes beside each offset.
    let kafka = Kafka::start(0, None, &["offset.metadata.max.bytes=8"]);
    let setup = setup_with_model(&kafka.brokers, 1);
    let weir = Weir::ready(&setup.config(""));
    produce(&setup.brokers, &setup.input, keyed("uncommitted", 10));
    Reader::new(&setup.brokers, &setup.output).take(10);
    eventually("commits are refused", || (weir.metric("weir_commits_total", "failed") >= 1.0).then_some(()));
    weir.signal("TERM");
    let log = eventually("it ends", || Some(weir.log()).filter(|log| log.contains("stopped: ")));
    assert!(log.contains("stopped: not everything is committed"), "{log}");
    assert!(log.contains("so it is consumed again after the next start"), "{log}");
}

#[test]
fn a_partition_that_is_added_is_consumed_from_its_start() {
    an_added_partition_is_consumed_from_its_start("earliest");
}

#[test]
fn with_a_reset_to_latest_a_partition_that_is_added_is_consumed_from_its_start() {
    an_added_partition_is_consumed_from_its_start("latest");
}

fn an_added_partition_is_consumed_from_its_start(reset: &str) {
    // By default librdkafka looks for new partitions every five minutes.
    let properties = format!("\"topic.metadata.refresh.interval.ms\" = 1000\n\"auto.offset.reset\" = \"{reset}\"");
    let setup = Setup { properties, ..setup_with_model(brokers(), 1) };
    let weir = Weir::ready(&setup.config(""));
    let reader = Reader::new(&setup.brokers, &setup.output);
    eventually("the start is committed", || committed_offset(&setup));
    produce(&setup.brokers, &setup.input, keyed("old partition", 10));
    reader.take(10);
    add_partitions(&setup.brokers, &setup.input, 2);
    let mut inputs = keyed("new partition", 10);
    inputs.iter_mut().for_each(|record| record.partition = 1);
    produce(&setup.brokers, &setup.input, inputs.clone());
    assert_eq!(keys(&reader.take(10)), keys(&inputs));
    assert!(weir.stop().success());
    assert_eq!(reader.rest(), []);
}

#[test]
fn a_batch_that_fails_its_checksum_is_not_skipped() {
    let (port, data) = (free_port(), tempfile::tempdir().unwrap());
    let kafka = Kafka::start(port, Some(data.path()), &[]);
    let properties = "\"check.crcs\" = true".into();
    let setup = Setup { properties, ..setup_with_model(&kafka.brokers, 1) };
    let parts = ["first", "second", "third"].map(|name| keyed(name, 10));
    parts.iter().for_each(|part| produce(&setup.brokers, &setup.input, part.clone()));
    drop(kafka);
    spoil_batch(&data.path().join(format!("data/{}-0/00000000000000000000.log", setup.input)), 10);
    let _kafka = Kafka::start(port, Some(data.path()), &[]);

    let reader = Reader::new(&setup.brokers, &setup.output);
    let weir = Weir::start(&setup.config(""));
    assert_eq!(keys(&reader.take(10)), keys(&parts[0]));
    weir.await_not_ready(&setup.input);
    assert_eq!(reader.next(Duration::from_secs(3)), None, "nothing behind the batch comes out before it");
    assert!(weir.stop().success());
    assert_eq!(committed_offset(&setup), Some(10));
}

/// Flips a bit in the last byte of the batch that begins at this offset.
fn spoil_batch(segment: &Path, offset: u64) {
    let mut bytes = std::fs::read(segment).unwrap();
    let mut start = 0;
    loop {
        // A batch begins with its first offset, and the length of all that follows these two.
        let first = u64::from_be_bytes(bytes[start..start + 8].try_into().unwrap());
        let length = u32::from_be_bytes(bytes[start + 8..start + 12].try_into().unwrap());
        let end = start + 12 + length as usize;
        if first == offset {
            bytes[end - 1] ^= 1;
            break;
        }
        start = end;
    }
    std::fs::write(segment, bytes).unwrap();
}

/// One partition, one worker.
fn setup(delivery: &str) -> (Setup, PathBuf) {
    let worker = format!("delivery = \"{delivery}\"");
    let setup = Setup { worker, threads: 1, ..setup_with_model(brokers(), 1) };
    let config = setup.config("");
    (setup, config)
}

/// Starts weir and has it consume and commit the old records.
fn with_old_records(setup: &Setup, config: &Path, reader: &Reader) -> Weir {
    let weir = Weir::ready(config);
    produce(&setup.brokers, &setup.input, keyed("old", OLD_RECORDS));
    reader.take(OLD_RECORDS);
    eventually("the old offsets are committed", || (committed_offset(setup) == Some(OLD_RECORDS as i64)).then_some(()));
    weir
}

/// Takes the right to read the input away, and waits until weir has noticed.
fn deny_reading(setup: &Setup, weir: &Weir) {
    restrict(&setup.brokers, &setup.input, &["Describe", "Write"]);
    weir.await_not_ready(&format!("no READ on topic {}", setup.input));
}

fn committed_offset(setup: &Setup) -> Option<i64> {
    committed(&setup.brokers, &setup.group, &setup.input, 0)
}

//! `worker.delivery = "exactly_once"` on a real Kafka: a reader of what is committed sees each record come out once and
//! in order, whatever happens to the workers.

use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use weir::train::preparation::Preparation;

use crate::support::departures::{PARTITIONS, assert_once_and_in_order, records};
use crate::support::kafka::{Kafka, Reader, Record, free_port, produce, unique};
use crate::support::models::{promote, publish, year};
use crate::support::proxy::{Link, Mode};
use crate::support::weir::{Setup, Weir};
use crate::support::{PATIENCE, eventually};

/// Topics and a model, for workers that send in transactions.
fn setup() -> Setup {
    // A stopped worker is thrown out of the group soon.
    let properties = "\"session.timeout.ms\" = 6000\n\"heartbeat.interval.ms\" = 500".into();
    let setup = Setup { commit_interval_ms: 100, properties, ..Setup::on_kafka(PARTITIONS) };
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    setup
}

/// A process of this name within its group.
fn start(setup: &mut Setup, instance: &str) -> Weir {
    setup.worker = format!("delivery = \"exactly_once\"\ninstance = \"{instance}\"");
    Weir::ready(&setup.config(""))
}

/// Records of which one in fifty can't be scored.
fn mixed(count: usize) -> Vec<Record> {
    let mut inputs = records(&year()[..count]);
    inputs.iter_mut().step_by(50).for_each(|record| record.value = Some(b"broken".to_vec()));
    inputs
}

/// Reads predictions and dead letters until `count` of both have come, and checks that each record of `inputs` came out
/// once and in order.
fn assert_exactly_once(setup: &Setup, inputs: &[Record], outputs: Vec<Record>, reader: &Reader) {
    let (broken, good): (Vec<_>, Vec<_>) =
        inputs.iter().cloned().partition(|record| record.value.as_deref() == Some(b"broken"));
    let mut outputs = outputs;
    outputs.extend(reader.take(good.len() - outputs.len()));
    assert_once_and_in_order(&good, &outputs);
    let letters = Reader::new(&setup.brokers, &setup.dead_letter);
    let mut keys: Vec<_> = letters.take(broken.len()).into_iter().map(|letter| letter.key).collect();
    keys.sort_unstable();
    let mut expected: Vec<_> = broken.into_iter().map(|record| record.key).collect();
    expected.sort_unstable();
    assert!(keys == expected, "each broken record is one dead letter");
    assert_eq!((reader.rest().len(), letters.rest().len()), (0, 0), "nothing comes twice");
}

#[test]
fn killed_in_the_middle_again_and_again_each_record_comes_out_once() {
    let mut setup = setup();
    let inputs = mixed(40_000);
    produce(&setup.brokers, &setup.input, inputs.iter().cloned());
    let reader = Reader::new(&setup.brokers, &setup.output);
    let mut outputs = Vec::new();
    for _ in 0..3 {
        let weir = start(&mut setup, "one");
        outputs.extend(reader.take(4_000));
        // Dropped: SIGKILL, in the middle of a transaction.
        drop(weir);
    }
    let weir = start(&mut setup, "one");
    assert_exactly_once(&setup, &inputs, outputs, &reader);
    assert!(weir.stop().success());
}

#[test]
fn a_zombie_whose_partitions_are_taken_over_commits_nothing_more() {
    let mut setup = setup();
    let inputs = mixed(60_000);
    let (early, late) = inputs.split_at(40_000);
    let reader = Reader::new(&setup.brokers, &setup.output);
    // Its transactions take seconds and more records come than it has taken: it holds something when it stops.
    let prompt = std::mem::replace(&mut setup.commit_interval_ms, 5_000);
    let zombie = start(&mut setup, "zombie");
    setup.commit_interval_ms = prompt;
    let feeder = thread::spawn({
        let (brokers, topic, early) = (setup.brokers.clone(), setup.input.clone(), early.to_vec());
        move || produce(&brokers, &topic, early)
    });
    let consumed = || zombie.metric("weir_records_consumed_total", "");
    eventually("the zombie is amid its work", || (consumed() > 5_000.0).then_some(()));
    zombie.signal("STOP");
    feeder.join().unwrap();
    let heir = start(&mut setup, "heir");
    eventually("the heir has all partitions", || (heir.partitions().len() == PARTITIONS as usize).then_some(()));
    let outputs = reader.take(10_000);
    zombie.signal("CONT");
    eventually("the zombie is a member again", || {
        (zombie.partitions().len() == 2 && heir.partitions().len() == 2).then_some(())
    });
    produce(&setup.brokers, &setup.input, late.iter().cloned());
    assert_exactly_once(&setup, &inputs, outputs, &reader);
    // The brokers end a transaction after 10 s, which fences the producer; before, its offsets are refused.
    let ended = zombie.metric("weir_commits_total", "aborted") + zombie.metric("weir_worker_restarts_total", "");
    assert!(ended > 0.0, "what it held was not committed");
    assert!(zombie.stop().success() && heir.stop().success());
}

#[test]
fn an_outage_that_outlasts_a_transaction_costs_neither_worker_nor_membership() {
    // The brokers end a transaction after 10 s.
    let outage = Duration::from_secs(12);
    let (network, proxy) = (Link::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (proxied, port) = (proxy.local_addr().unwrap(), free_port());
    network.serve(proxy, SocketAddr::from(([127, 0, 0, 1], port)));
    // Both workers join in one generation.
    let settings =
        ["transaction.abort.timed.out.transaction.cleanup.interval.ms=100", "group.initial.rebalance.delay.ms=3000"];
    let listener = format!("WEIR:{port}:{}", proxied.port());
    let arguments = ["--port", "0", "--listener", &listener, "--set", settings[0], "--set", settings[1]];
    let kafka = Kafka::start_with(&arguments.map(str::to_owned));
    // A producer with room for few records makes the workers slow, so that the next transactions are open when the first
    // are committed.
    let properties = "\"queue.buffering.max.messages\" = 3\n\"reconnect.backoff.max.ms\" = 1000".into();
    let mut setup = Setup { commit_interval_ms: 100, properties, ..Setup::named(&kafka.brokers) };
    setup.create_topics(PARTITIONS);
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    setup.brokers = proxied.to_string();
    let weir = start(&mut setup, "one");
    setup.brokers.clone_from(&kafka.brokers);
    let inputs = mixed(60_000);
    let (early, late) = inputs.split_at(55_000);
    produce(&setup.brokers, &setup.input, early.iter().cloned());
    let reader = Reader::new(&setup.brokers, &setup.output);
    let outputs = reader.take(1_000);
    network.set(Mode::Refused);
    let cut = Instant::now();
    eventually("it says that nothing is acknowledged", || {
        let (status, body) = weir.get("/readyz");
        assert!(!body.contains("hasn't polled"), "it stays in its group: {body}");
        (status == 503 && cut.elapsed() > outage).then_some(())
    });
    network.set(Mode::Open);
    produce(&setup.brokers, &setup.input, late.iter().cloned());
    assert_exactly_once(&setup, &inputs, outputs, &reader);
    weir.await_ready();
    assert!(weir.metric("weir_commits_total", "aborted") > 0.0, "what was open was aborted");
    assert_eq!(weir.metric("weir_worker_restarts_total", ""), 0.0, "an outage costs no worker");
    assert_eq!(weir.metric("weir_rebalances_total", ""), 2.0, "nor its partitions");
    assert!(weir.stop().success());
}

#[test]
fn a_process_that_joins_and_one_that_leaves_double_nothing() {
    let mut setup = setup();
    let inputs = mixed(60_000);
    let reader = Reader::new(&setup.brokers, &setup.output);
    let first = start(&mut setup, "first");
    let feeder = thread::spawn({
        let (brokers, topic, inputs) = (setup.brokers.clone(), setup.input.clone(), inputs.clone());
        move || produce(&brokers, &topic, inputs)
    });
    let mut outputs = reader.take(2_000);
    let second = start(&mut setup, "second");
    outputs.extend(reader.take(20_000));
    assert!(first.stop().success());
    assert_exactly_once(&setup, &inputs, outputs, &reader);
    feeder.join().unwrap();
    assert!(second.stop().success());
}

#[test]
fn two_processes_of_one_name_are_reported() {
    let mut setup = setup();
    let first = start(&mut setup, "same");
    let second = start(&mut setup, "same");
    produce(&setup.brokers, &setup.input, mixed(1_000));
    eventually("one of them says that it is fenced", || {
        [&first, &second].iter().any(|weir| weir.log().contains("worker.instance")).then_some(())
    });
}

#[test]
fn a_rebalance_while_offsets_are_pending_starts_nothing_over() {
    let mut setup = setup();
    let inputs = records(&year()[..1_000]);
    produce(&setup.brokers, &setup.input, inputs.iter().cloned());
    let up_to = |offset| {
        let mut offsets = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            offsets.add_partition_offset(&setup.input, partition, Offset::Offset(offset)).unwrap();
        }
        offsets
    };
    let consumed = 50;
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &setup.brokers).set("group.id", &setup.group);
    let consumer: BaseConsumer = client.create().unwrap();
    consumer.commit(&up_to(consumed), CommitMode::Sync).unwrap();
    // Somebody else's transaction has offsets of the group, and hasn't ended.
    let producer: BaseProducer = client.set("transactional.id", unique("pending")).create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    let member = consumer.group_metadata().expect("it has a group");
    producer.send_offsets_to_transaction(&up_to(consumed + 10), &member, PATIENCE).unwrap();

    let first = start(&mut setup, "first");
    // It asks for its offsets when half of its partitions go.
    let second = start(&mut setup, "second");
    eventually("the other has its share", || {
        (second.log().matches(&format!("assigned partitions={}[", setup.input)).count() == 2).then_some(())
    });
    producer.abort_transaction(PATIENCE).unwrap();
    let reader = Reader::new(&setup.brokers, &setup.output);
    let expected: Vec<_> = inputs.into_iter().skip((consumed as usize) * PARTITIONS as usize).collect();
    assert_exactly_once(&setup, &expected, Vec::new(), &reader);
    assert!(first.stop().success() && second.stop().success());
}

#[test]
fn records_that_come_now_and_then_wait_for_no_connection() {
    let setup = Setup { worker: "delivery = \"exactly_once\"".into(), threads: 1, ..setup() };
    let weir = Weir::ready(&setup.config(""));
    let reader = Reader::new(&setup.brokers, &setup.output);
    let mut latencies = Vec::new();
    for record in records(&year()[..7]) {
        // Long enough for the producer to close its connections.
        assert_eq!(reader.next(Duration::from_millis(3_500)), None);
        let sent = Instant::now();
        produce(&setup.brokers, &setup.input, [record]);
        reader.take(1);
        latencies.push(sent.elapsed());
    }
    assert!(latencies.iter().all(|latency| *latency < Duration::from_secs(3)), "{latencies:?}");
    assert!(weir.stop().success());
}

//! Topics that change while weir runs: they are deleted, grow, get another configuration. The topic watch sees it, readiness
//! names what is missing, and nothing is created.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::Producer;
use tokio::runtime::Runtime;
use weir::kafka::admin::{Needs, Topic};
use weir::kafka::consumer::TopicPartition;
use weir::kafka::watch::{TopicSnapshot, TopicWatch};
use weir::train::preparation::Preparation;

use crate::support::departures::{PARTITIONS, records};
use crate::support::kafka::{
    self, Kafka, Reader, Record, add_partitions, alter_topic, create_topic, delete_topic, open_transaction, produce,
};
use crate::support::models::{promote, publish, year};
use crate::support::weir::{Setup, Weir, command};
use crate::support::{PATIENCE, eventually};

#[test]
fn topics_that_are_deleted_make_weir_unready_and_nothing_is_created() {
    let kafka = Kafka::start(0, None, &["auto.create.topics.enable=true"]);
    // The clients ask for their topics often, and would create them.
    let properties = "\"topic.metadata.refresh.interval.ms\" = 500".into();
    let setup = Setup { properties, ..Setup::named(&kafka.brokers) };
    let topics = [(&setup.input, PARTITIONS), (&setup.output, PARTITIONS), (&setup.dead_letter, 1)];
    let create = |topic: &str, partitions| create_topic(&setup.brokers, topic, partitions, &[]);
    topics.iter().for_each(|(topic, partitions)| create(topic, *partitions));
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    let weir = Weir::ready(&setup.config(""));
    // A prediction and a dead letter, so that the producer has met both topics.
    let broken = Record { value: Some(b"?".to_vec()), ..Record::default() };
    produce(&setup.brokers, &setup.input, records(&year()[..1]).into_iter().chain([broken]));
    Reader::new(&setup.brokers, &setup.output).take(1);
    Reader::new(&setup.brokers, &setup.dead_letter).take(1);

    let unready = |missing: &[&String]| {
        let (status, body) = weir.get("/readyz");
        let names = |topic: &&String| body.contains(&format!("topic \\\"{topic}\\\" doesn't exist"));
        (status == 503 && missing.iter().all(names)).then_some(())
    };
    // Each time that another one is named, all have been asked about again.
    let mut missing = Vec::new();
    for (topic, _) in &topics {
        delete_topic(&setup.brokers, topic);
        missing.push(*topic);
        eventually("it names every topic that is missing", || unready(&missing));
    }
    let existing = existing_topics(&setup.brokers);
    assert!(topics.iter().all(|(topic, _)| !existing.contains(*topic)), "created by asking: {existing:?}");

    // They come back one by one, and only the last makes it ready.
    for (topic, partitions) in &topics {
        unready(&missing).expect("it isn't ready before all are there");
        create(topic, *partitions);
        missing.remove(0);
    }
    weir.await_ready();
    assert!(weir.log().contains("the brokers answer, and all topics and rights are there"), "{}", weir.log());
    assert!(weir.stop().success());
}

#[test]
fn a_check_creates_no_topic() {
    let kafka = Kafka::start(0, None, &["auto.create.topics.enable=true"]);
    let setup = Setup::named(&kafka.brokers);
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    let output = command().args(["check", "-c"]).arg(setup.config("")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for topic in [&setup.input, &setup.output, &setup.dead_letter] {
        assert!(said.contains(&format!("topic {topic:?} doesn't exist")), "{said}");
        assert!(!existing_topics(&setup.brokers).contains(topic), "weir check created {topic}");
    }
}

#[test]
fn a_check_creates_missing_topics_when_it_is_asked_to() {
    let setup = Setup::named(kafka::brokers());
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    let config = setup.config("");
    let check =
        || command().args(["check", "--create-topics", "--partitions", "3", "-c"]).arg(&config).output().unwrap();
    let output = check();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    for (topic, partitions) in [(&setup.input, 3), (&setup.output, 3), (&setup.dead_letter, 1)] {
        assert!(said.contains(&format!("topic {topic}: created")), "{said}");
        assert!(said.contains(&format!("topic {topic}: {partitions} partitions")), "{said}");
    }
    let output = check();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && !said.contains("created"), "what is there stays: {said}");
}

#[test]
fn the_snapshot_follows_the_topics() {
    let setup = Setup::on_kafka(PARTITIONS);
    let watch = Watching::start(&setup);
    let first = watch.until("every topic is described", |snapshot| snapshot.problems.is_empty());
    assert!(first.unusable.is_empty() && first.unanswered_since.is_none());
    let described = |snapshot: &TopicSnapshot, topic: &str| snapshot.topics[topic];
    let [input, output] = [&setup.input, &setup.output].map(|topic| described(&first, topic));
    assert_eq!((input.partitions, output.partitions), (PARTITIONS, PARTITIONS));
    assert_eq!(input.max_message_bytes, 1_048_588);
    assert!(input.id.is_some() && input.id != output.id, "{first:?}");
    assert!(!output.is_compacted && output.timestamp_before_max_ms.is_none(), "{first:?}");
    assert_eq!(output.timestamp_after_max_ms, Some(3_600_000), "Kafka's default");

    add_partitions(&setup.brokers, &setup.input, 7);
    watch.until("the partitions are counted again", |snapshot| described(snapshot, &setup.input).partitions == 7);

    alter_topic(&setup.brokers, &setup.output, "cleanup.policy", "compact");
    watch.until("the policy is seen", |snapshot| described(snapshot, &setup.output).is_compacted);
    alter_topic(&setup.brokers, &setup.output, "message.timestamp.before.max.ms", "86400000");
    watch.until("the bound is seen, and the policy is the default again", |snapshot| {
        let bounded = Topic { timestamp_before_max_ms: Some(86_400_000), ..output };
        described(snapshot, &setup.output) == bounded
    });
    alter_topic(&setup.brokers, &setup.output, "max.message.bytes", "1000");
    watch.until("the limit is seen", |snapshot| described(snapshot, &setup.output).max_message_bytes == 1_000);

    delete_topic(&setup.brokers, &setup.output);
    let gone = watch.until("the topic is missing", |snapshot| snapshot.unusable.contains_key(&setup.output));
    assert_eq!(described(&gone, &setup.output).max_message_bytes, 1_000, "the last facts stay");
    create_topic(&setup.brokers, &setup.output, 2, &[]);
    let again = watch.until("the topic is there again", |snapshot| snapshot.problems.is_empty());
    let again = described(&again, &setup.output);
    assert!(again.id.is_some() && again.id != output.id, "it is another topic: {again:?}");
    assert_eq!((again.partitions, again.max_message_bytes), (2, 1_048_588));
}

#[test]
fn the_ends_of_many_partitions_come_with_one_answer() {
    const MANY: i32 = 300;
    let setup = Setup::on_kafka(MANY);
    let watch = Watching::start(&setup);
    let partition = |partition| TopicPartition { topic: setup.input.clone(), partition };
    let of_partition = |partition, count: i32| {
        (0..count).map(move |_| Record { partition, value: Some(b"{}".to_vec()), ..Record::default() })
    };
    produce(&setup.brokers, &setup.input, of_partition(0, 3).chain(of_partition(MANY - 1, 5)));
    // Two workers; a partition that doesn't exist takes nothing from the others.
    watch.watch.request_ends(0, (0..MANY / 2).map(partition).collect());
    watch.watch.request_ends(1, (MANY / 2..=MANY).map(partition).collect());
    let asked = Instant::now();
    // The partitions of a new topic get their leaders one after another.
    let snapshot = watch.until("there are all ends", |snapshot| snapshot.ends.len() == MANY as usize);
    assert!(snapshot.ends_asked_at <= Instant::now() && snapshot.ends_asked_at + Duration::from_secs(5) > asked);
    let distinct: BTreeSet<i32> = snapshot.ends.keys().map(|partition| partition.partition).collect();
    assert!(distinct.into_iter().eq(0..MANY));
    let ends = [0, 1, MANY - 1].map(|number| snapshot.ends[&partition(number)]);
    assert_eq!(ends, [3, 0, 5]);

    // An open transaction holds the end back, as it holds the consumers back.
    produce(&setup.brokers, &setup.input, of_partition(1, 4));
    watch.until("the end moves", |snapshot| snapshot.ends.get(&partition(1)) == Some(&4));
    let transaction = open_transaction(&setup.brokers, &setup.input, of_partition(1, 2));
    produce(&setup.brokers, &setup.input, of_partition(0, 1));
    let during = watch.until("the other end moves", |snapshot| snapshot.ends.get(&partition(0)) == Some(&4));
    assert_eq!(during.ends[&partition(1)], 4);
    transaction.commit_transaction(PATIENCE).unwrap();
    watch.until("records and marker count", |snapshot| snapshot.ends.get(&partition(1)) == Some(&7));

    watch.watch.request_ends(1, vec![]);
    watch.until("what nobody requests is asked for no more", |snapshot| snapshot.ends.len() == MANY as usize / 2);
}

/// A topic watch on a runtime of its own.
struct Watching {
    watch: Arc<TopicWatch>,
    _runtime: Runtime,
}

impl Watching {
    /// Watches the topics of a set-up's route.
    fn start(setup: &Setup) -> Watching {
        let config = weir::config::Config::load(&setup.config("")).unwrap();
        let watch = TopicWatch::new(&config.kafka, Needs::of(&config.routes).of_topics()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(watch.clone().run(|_| {}));
        Watching { watch, _runtime: runtime }
    }

    /// The first snapshot of which this is true.
    fn until(&self, what: &str, is_met: impl Fn(&Arc<TopicSnapshot>) -> bool) -> Arc<TopicSnapshot> {
        eventually(what, || Some(self.watch.snapshot()).filter(|snapshot| is_met(snapshot)))
    }
}

/// All topics of a cluster, asked for by a client that creates none.
fn existing_topics(brokers: &str) -> BTreeSet<String> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let metadata = consumer.fetch_metadata(None, PATIENCE).unwrap();
    metadata.topics().iter().map(|topic| topic.name().to_owned()).collect()
}

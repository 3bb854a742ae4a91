//! What makes weir unready: input topics that are absent, deleted, or have no place to start from, and a group that denies
//! it membership, has lost it, or assigns partitions in another way. It names them, and creates none.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::support::kafka::{
    Reader, brokers, committed, create_topic, delete_topic, keys, produce, topic_exists, unique,
};
use crate::support::models::{keyed, promote, publish_first, setup_with_model};
use crate::support::rights::{change, guarded_brokers};
use crate::support::states::await_state;
use crate::support::weir::{Setup, Weir, command};
use crate::support::{PATIENCE, eventually, stays};

#[test]
fn deleted_inputs_are_named_by_readiness_and_not_created() {
    let (setup, second) = (setup_with_model(brokers(), 2), Setup::on_kafka(3));
    let weir = Weir::ready(&setup.config(&second.as_second_route()));
    delete_topic(&setup.brokers, &setup.input);
    delete_topic(&setup.brokers, &second.input);
    weir.await_not_ready(&setup.input);
    weir.await_not_ready(&second.input);
    // Several times as long as it takes weir to ask for its topics again.
    stays("the topics are missing and weir isn't ready", Duration::from_secs(12), || {
        let exist = [&setup, &second].map(|setup| topic_exists(&setup.brokers, &setup.input));
        exist == [false, false] && weir.get("/readyz").0 == 503
    });

    create_topic(&setup.brokers, &setup.input, 2, &[]);
    create_topic(&second.brokers, &second.input, 3, &[]);
    weir.await_ready();
    let reader = Reader::new(&second.brokers, &second.output);
    produce(&second.brokers, &second.input, keyed("new", 10));
    assert_eq!(keys(&reader.take(10)), keys(&keyed("new", 10)));
    assert!(weir.stop().success());
}

#[test]
fn a_route_without_a_model_waits_alone() {
    let (setup, second) = (setup_with_model(brokers(), 2), Setup::on_kafka(1));
    let route = second.as_second_route().replace("flights@production", "flights@candidate");
    let weir = Weir::start(&setup.config(&route));
    weir.await_not_ready("flights@candidate");
    produce(&second.brokers, &second.input, keyed("waits", 10));
    produce(&setup.brokers, &setup.input, keyed("one", 10));
    Reader::new(&setup.brokers, &setup.output).take(10);
    assert_eq!(weir.metric("weir_records_consumed_total", "second"), 0.0);
    let waits = || weir.metric("weir_route_waiting", r#"reason="model",route="second""#) == 1.0;
    eventually("its reason to wait is a metric", || waits().then_some(()));
    await_state(&weir, "no_model", &[&setup, &second]);

    promote(&setup.store(), "candidate", 1);
    weir.await_ready();
    Reader::new(&second.brokers, &second.output).await_all(&keyed("waits", 10));
    eventually("it doesn't wait any more", || (!waits()).then_some(()));
    assert!(weir.stop().success());
}

#[test]
fn a_route_whose_topics_are_missing_at_the_start_waits_alone() {
    let (setup, second) = (setup_with_model(brokers(), 2), Setup::named(brokers()));
    let weir = Weir::start(&setup.config(&second.as_second_route()));
    produce(&setup.brokers, &setup.input, keyed("one", 10));
    let reader = Reader::new(&setup.brokers, &setup.output);
    reader.take(10);
    weir.await_not_ready(&format!("route second, topics: topic \\\"{}\\\" doesn't exist", second.input));
    let waits = || weir.metric("weir_route_waiting", r#"reason="input",route="second""#) == 1.0;
    eventually("its reason to wait is a metric", || waits().then_some(()));

    second.create_topics(2);
    produce(&second.brokers, &second.input, keyed("two", 10));
    Reader::new(&second.brokers, &second.output).await_all(&keyed("two", 10));
    weir.await_ready();
    assert!(!waits() && !weir.log().contains("the worker failed"), "{}", weir.log());
    produce(&setup.brokers, &setup.input, keyed("three", 10));
    assert_eq!(keys(&reader.take(10)), keys(&keyed("three", 10)));
    assert!(weir.stop().success());
}

#[test]
fn a_partition_without_a_commit_and_without_a_reset_makes_weir_unready() {
    let properties = "\"auto.offset.reset\" = \"error\"".into();
    let setup = Setup { properties, ..setup_with_model(brokers(), 1) };
    produce(&setup.brokers, &setup.input, keyed("one", 10));
    let weir = Weir::start(&setup.config(""));
    weir.await_not_ready("auto.offset.reset");
    assert!(weir.get("/readyz").1.contains(&setup.input), "{}", weir.get("/readyz").1);
    assert!(weir.stop().success());
}

#[test]
fn a_group_that_may_not_be_read_makes_weir_unready_at_the_next_commit() {
    is_unready_without_its_group("at_least_once");
}

#[test]
fn a_group_that_may_not_be_read_makes_weir_unready_at_the_next_commit_exactly_once() {
    is_unready_without_its_group("exactly_once");
}

fn is_unready_without_its_group(delivery: &str) {
    // So long that the heartbeats don't report the missing right within the test.
    let properties = "\"session.timeout.ms\" = 290000".into();
    let worker = format!("delivery = \"{delivery}\"");
    let setup = Setup { properties, worker, threads: 1, ..setup_with_model(guarded_brokers(), 1) };
    let weir = Weir::ready(&setup.config(""));
    let reader = Reader::new(&setup.brokers, &setup.output);
    produce(&setup.brokers, &setup.input, keyed("before", 10));
    reader.take(10);
    let group = ["--group", setup.group.as_str()];
    let describe = ["--add", "--allow-principal", "User:*", "--operation", "Describe"];
    change(&setup.brokers, &[&describe[..], &group].concat());
    produce(&setup.brokers, &setup.input, keyed("denied", 10));
    weir.await_not_ready(&format!("no READ on group {}", setup.group));
    if delivery == "exactly_once" {
        let aborted = || weir.metric("weir_commits_total", "aborted");
        eventually("a transaction is aborted", || (aborted() > 0.0).then_some(()));
        let before = aborted();
        await_state(&weir, "transactions_aborted", &[&setup]);
        eventually("two more are", || (aborted() > before + 1.0).then_some(()));
        await_state(&weir, "transactions_aborted_later", &[&setup]);
    }

    change(&setup.brokers, &[&["--remove", "--force"], &group[..]].concat());
    weir.await_ready();
    reader.await_all(&keyed("denied", 10));
    eventually("everything is committed", || {
        (committed(&setup.brokers, &setup.group, &setup.input, 0) == Some(20)).then_some(())
    });
    assert!(weir.stop().success());
    if delivery == "exactly_once" {
        assert_eq!(reader.rest(), []);
    }
}

#[test]
fn a_worker_that_its_group_has_lost_is_unready_until_it_has_joined_again() {
    let assignor = "\"partition.assignment.strategy\" = \"range\"";
    let properties = format!("{assignor}\n\"session.timeout.ms\" = 6000\n\"heartbeat.interval.ms\" = 500");
    let setup = Setup { properties, threads: 1, ..setup_with_model(brokers(), 2) };
    let weir = Weir::ready(&setup.config(""));
    // It gives its partition up, and lets the group continue, only when it is polled.
    let other = member(&setup, "range");
    weir.await_ready();
    weir.signal("STOP");
    eventually("the group waits for its other member", || {
        let groups = other.fetch_group_list(Some(&setup.group), PATIENCE).unwrap();
        (groups.groups()[0].state() == "PreparingRebalance").then_some(())
    });
    weir.signal("CONT");
    weir.await_not_ready("joining the group");
    // Longer than a member without partitions waits for an event.
    stays("weir is no member and isn't ready", Duration::from_secs(4), || weir.get("/readyz").0 == 503);
    drop(other);
    weir.await_ready();
    assert!(weir.stop().success());
}

#[test]
fn a_group_whose_members_assign_partitions_in_another_way_is_named() {
    let setup = Setup { threads: 1, ..setup_with_model(brokers(), 1) };
    let other = member(&setup, "range");
    let weir = Weir::start(&setup.config(""));
    weir.await_not_ready("its other members have another partition.assignment.strategy");
    drop(other);
    weir.await_ready();
    assert!(weir.stop().success());
}

/// Another member of the group, with partitions. It stays a member while nobody polls it.
fn member(setup: &Setup, assignor: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &setup.brokers).set("group.id", &setup.group);
    let member: BaseConsumer = config.set("partition.assignment.strategy", assignor).create().unwrap();
    member.subscribe(&[&setup.input]).unwrap();
    eventually("the other member has partitions", || {
        drop(member.poll(Duration::ZERO));
        (member.assignment().unwrap().count() > 0).then_some(())
    });
    member
}

#[test]
fn weir_check_creates_no_topic() {
    let setup = Setup::named(brokers());
    publish_first(&setup.store());
    let output = command().args(["check", "-c"]).arg(setup.config("")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{text}");
    // A broker creates topics in the order in which it is asked for them.
    let later = unique("later");
    create_topic(&setup.brokers, &later, 1, &[]);
    assert!(topic_exists(&setup.brokers, &later));
    for topic in [&setup.input, &setup.output, &setup.dead_letter] {
        assert!(text.contains(&format!("{topic:?} doesn't exist")), "{text}");
        assert!(!topic_exists(&setup.brokers, topic), "weir check has created {topic}");
    }
}

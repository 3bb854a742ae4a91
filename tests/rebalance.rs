//! Partitions that move between processes, under each of Kafka's group protocols: what goes is finished and committed
//! first, so that nothing is lost and nothing comes twice.

use std::thread;

use weir::train::preparation::Preparation;

use crate::support::departures::{PARTITIONS, assert_once_and_in_order, records};
use crate::support::eventually;
use crate::support::kafka::{Reader, brokers, keys, produce};
use crate::support::models::{keyed, promote, publish, setup_with_model, year};
use crate::support::weir::{Setup, Weir};

const EAGER: &str = r#""partition.assignment.strategy" = "range,roundrobin""#;
const BY_THE_BROKER: &str = r#""group.protocol" = "consumer""#;

/// Topics and a model; between rebalances and stops hardly a commit: what those leave out comes twice.
fn setup(properties: &str, commit_interval_ms: u32) -> Setup {
    let setup = Setup { commit_interval_ms, properties: properties.into(), ..Setup::on_kafka(PARTITIONS) };
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    setup
}

/// A process of this name, with these lines in its section `[worker]`.
fn start(setup: &mut Setup, instance: &str, worker: &str) -> Weir {
    setup.worker = format!("instance = \"{instance}\"\n{worker}");
    Weir::ready(&setup.config(""))
}

/// While records come, a second process joins the first, and the first leaves.
fn one_joins_and_one_leaves(mut setup: Setup, worker: &str) {
    let inputs = records(&year()[..60_000]);
    let reader = Reader::new(&setup.brokers, &setup.output);
    let first = start(&mut setup, "first", worker);
    let feeder = thread::spawn({
        let (brokers, input, inputs) = (setup.brokers.clone(), setup.input.clone(), inputs.clone());
        move || produce(&brokers, &input, inputs)
    });
    let mut outputs = reader.take(2_000);
    let second = start(&mut setup, "second", worker);
    eventually("the partitions are shared", || {
        (first.partitions().len() == 2 && second.partitions().len() == 2).then_some(())
    });
    assert!(first.stop().success());
    outputs.extend(reader.take(inputs.len() - outputs.len()));
    feeder.join().unwrap();
    assert!(second.stop().success());
    assert_eq!(reader.rest().len(), 0, "each rebalance finished and committed what it took away");
    assert_once_and_in_order(&inputs, &outputs);
}

#[test]
fn with_an_eager_assignor() {
    one_joins_and_one_leaves(setup(EAGER, 600_000), "");
}

#[test]
fn with_an_eager_assignor_exactly_once() {
    one_joins_and_one_leaves(setup(EAGER, 100), r#"delivery = "exactly_once""#);
}

#[test]
fn with_the_brokers_as_assignors() {
    one_joins_and_one_leaves(setup(BY_THE_BROKER, 600_000), "");
}

#[test]
fn with_the_brokers_as_assignors_exactly_once() {
    one_joins_and_one_leaves(setup(BY_THE_BROKER, 100), r#"delivery = "exactly_once""#);
}

#[test]
fn a_static_member_that_restarts_keeps_its_partitions_and_costs_no_rebalance() {
    let mut setup = setup("", 600_000);
    let inputs = records(&year()[..20_000]);
    let reader = Reader::new(&setup.brokers, &setup.output);
    let stays = start(&mut setup, "stays", "static_membership = true");
    let restarts = start(&mut setup, "restarts", "static_membership = true");
    let (early, late) = inputs.split_at(inputs.len() / 2);
    produce(&setup.brokers, &setup.input, early.iter().cloned());
    eventually("the partitions are shared", || {
        (stays.partitions().len() == 2 && restarts.partitions().len() == 2).then_some(())
    });
    let (before, rebalances) = (restarts.partitions(), stays.metric("weir_rebalances_total", ""));
    let mut outputs = reader.take(1_000);
    assert!(restarts.stop().success());
    produce(&setup.brokers, &setup.input, late.iter().cloned());
    let restarts = start(&mut setup, "restarts", "static_membership = true");
    outputs.extend(reader.take(inputs.len() - outputs.len()));
    eventually("it has the partitions it had", || (restarts.partitions() == before).then_some(()));
    assert_eq!(stays.metric("weir_rebalances_total", ""), rebalances, "the other process noticed nothing");
    assert!(restarts.stop().success() && stays.stop().success());
    assert_eq!(reader.rest().len(), 0, "a stop commits, whether the member leaves or not");
    assert_once_and_in_order(&inputs, &outputs);
}

#[test]
fn a_worker_without_partitions_is_ready_with_the_brokers_as_assignors() {
    // Two workers, one partition.
    let setup = Setup { properties: BY_THE_BROKER.into(), ..setup_with_model(brokers(), 1) };
    let weir = Weir::ready(&setup.config(""));
    let reader = Reader::new(&setup.brokers, &setup.output);
    produce(&setup.brokers, &setup.input, keyed("one", 10));
    assert_eq!(keys(&reader.take(10)), keys(&keyed("one", 10)));
    assert!(weir.stop().success());
}

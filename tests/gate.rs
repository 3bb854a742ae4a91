//! `dead_letter.max_ratio`: a route whose records are rejected pauses, and goes on by command or with a new version.

use std::path::PathBuf;
use std::time::Duration;

use weir::train::preparation::Preparation;

use crate::support::departures::{PARTITIONS, assert_once_and_in_order, records};
use crate::support::eventually;
use crate::support::kafka::{Reader, Record, brokers, keys, produce};
use crate::support::models::{keyed, promote, publish, setup_with_model, year};
use crate::support::states::await_state;
use crate::support::weir::{Setup, Weir, extend_section};

/// A configuration whose route allows one rejection in twenty.
fn config(setup: &Setup) -> PathBuf {
    let config = setup.config("");
    extend_section(&config, "[route.dead_letter]", "max_ratio = 0.05");
    config
}

#[test]
fn a_partition_that_went_while_it_was_paused_is_consumed_when_it_comes_back() {
    let setup = Setup::on_kafka(PARTITIONS);
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    let config = config(&setup);
    let first = Weir::ready(&config);
    let inputs = records(&year()[..2_000]);
    let (early, late) = inputs.split_at(1_000);
    let reader = Reader::new(&setup.brokers, &setup.output);
    produce(&setup.brokers, &setup.input, early.iter().cloned());
    let mut outputs = reader.take(early.len());
    first.route("pause", "flights", &config);
    let second = Weir::ready(&config);
    eventually("the partitions are shared", || {
        (first.partitions().len() == 2 && second.partitions().len() == 2).then_some(())
    });
    first.route("resume", "flights", &config);
    assert!(second.stop().success());
    eventually("all partitions are back", || (first.partitions().len() == PARTITIONS as usize).then_some(()));
    produce(&setup.brokers, &setup.input, late.iter().cloned());
    outputs.extend(reader.take(late.len()));
    assert!(first.stop().success());
    assert_once_and_in_order(&inputs, &outputs);
}

#[test]
fn a_route_pauses_when_too_much_is_rejected_and_resumes_by_hand_or_with_a_new_version() {
    let setup = Setup::on_kafka(1);
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    let config = config(&setup);
    let weir = Weir::ready(&config);
    let is_paused = |weir: &Weir| weir.metric("weir_route_paused", "flights") == 1.0;
    let broken = |count| (0..count).map(|_| Record { value: Some(b"broken".into()), ..Record::default() });
    let good: Vec<Record> =
        records(&year()[..1_000]).into_iter().map(|record| Record { partition: 0, ..record }).collect();
    let outputs = Reader::new(&setup.brokers, &setup.output);
    let letters = Reader::new(&setup.brokers, &setup.dead_letter);

    // A hundred are needed to say anything: the route pauses at the last of them.
    produce(&setup.brokers, &setup.input, broken(100));
    eventually("the route is paused", || is_paused(&weir).then_some(()));
    produce(&setup.brokers, &setup.input, good.iter().cloned());
    eventually("the records wait", || (weir.metric("weir_consumer_lag", &setup.input) == 1_000.0).then_some(()));
    assert_eq!(weir.metric("weir_records_consumed_total", ""), 100.0);
    await_state(&weir, "paused", &[&setup]);
    assert!(weir.log().contains("weir route resume flights"), "{}", weir.log());

    assert_eq!(weir.route("resume", "flights", &config), format!("route flights at {} goes on\n", weir.http));
    let keys: Vec<_> = outputs.take(1_000).into_iter().map(|output| output.key).collect();
    assert!(keys == good.iter().map(|record| record.key.clone()).collect::<Vec<_>>(), "in their order");

    // 53 of 1,053 are more than 5 percent: it pauses before all of these are through.
    produce(&setup.brokers, &setup.input, broken(200));
    eventually("the route is paused again", || is_paused(&weir).then_some(()));
    produce(&setup.brokers, &setup.input, good.iter().cloned());
    promote(&setup.store(), "production", publish(&setup.store(), 2, Preparation::default()));
    eventually("version 2 serves", || (weir.metric("weir_model_info", "version=\"2\"") == 1.0).then_some(()));
    // If more than a hundred of the broken ones are left, they close it once more.
    eventually("all the rest is through", || {
        if is_paused(&weir) {
            weir.route("resume", "flights", &config);
        }
        (weir.metric("weir_records_consumed_total", "") == 2_300.0).then_some(())
    });
    let new = outputs.take(1_000);
    assert!(new.iter().all(|output| output.json()["version"] == 2));
    assert_eq!(letters.take(300).len(), 300);
    assert!(weir.stop().success());
    assert_eq!((outputs.rest().len(), letters.rest().len()), (0, 0), "nothing comes twice");
}

#[test]
fn a_route_that_was_paused_by_hand_stays_paused_in_every_process_and_over_a_restart() {
    let setup = setup_with_model(brokers(), 1);
    let config = setup.config("");
    let reader = Reader::new(&setup.brokers, &setup.output);
    let is_paused = |weir: &Weir| weir.metric("weir_route_paused", "flights") == 1.0;
    let weir = Weir::ready(&config);
    let other = Weir::ready(&config);
    weir.route("pause", "flights", &config);
    eventually("the other process follows", || is_paused(&other).then_some(()));
    assert!(weir.stop().success() && other.stop().success());
    produce(&setup.brokers, &setup.input, keyed("waits", 100));
    let weir = Weir::ready(&config);
    assert!(is_paused(&weir));
    assert_eq!(reader.next(Duration::from_secs(3)), None, "only a resume ends the pause");
    let resumed = weir.route("resume", "flights", &config);
    assert!(!resumed.contains("as it was before"), "{resumed}");
    assert_eq!(keys(&reader.take(100)), keys(&keyed("waits", 100)));
    assert!(weir.stop().success());
}

#[test]
fn a_route_that_was_paused_by_hand_stays_paused_when_a_new_version_is_promoted() {
    let setup = setup_with_model(brokers(), 1);
    let config = setup.config("");
    let weir = Weir::ready(&config);
    let reader = Reader::new(&setup.brokers, &setup.output);
    weir.route("pause", "flights", &config);
    promote(&setup.store(), "production", publish(&setup.store(), 2, Preparation::default()));
    eventually("version 2 serves", || (weir.metric("weir_model_info", "version=\"2\"") == 1.0).then_some(()));
    produce(&setup.brokers, &setup.input, keyed("waits", 100));
    assert_eq!(reader.next(Duration::from_secs(3)), None, "only a resume ends the pause");
    assert_eq!(weir.metric("weir_route_paused", "flights"), 1.0);

    let resumed = weir.route("resume", "flights", &config);
    assert!(!resumed.contains("as it was before"), "{resumed}");
    let outputs = reader.take(100);
    assert_eq!(keys(&outputs), keys(&keyed("waits", 100)));
    assert!(outputs.iter().all(|output| output.json()["version"] == 2));
    assert!(weir.stop().success());
}

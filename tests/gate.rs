//! `dead_letter.max_ratio`: a route whose records are rejected pauses, and goes on by command or with a new version.

use std::path::{Path, PathBuf};

use weir::train::preparation::Preparation;

use crate::delivery::{PARTITIONS, assert_once_and_in_order, records};
use crate::support::eventually;
use crate::support::kafka::{Reader, Record, produce};
use crate::support::models::{promote, publish, year};
use crate::support::weir::{Setup, Weir, command};

/// A configuration whose route bears one rejection in twenty, and which has a token.
fn config(setup: &Setup) -> PathBuf {
    let config = setup.config("");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text
        .replace("[route.dead_letter]", "[route.dead_letter]\nmax_ratio = 0.05")
        .replace("listen =", "tokens = [\"open sesame\"]\nlisten =");
    std::fs::write(&config, text).unwrap();
    config
}

/// Pauses or resumes the route of a process; returns what is said.
fn tell(action: &str, weir: &Weir, config: &Path) -> String {
    let told = command().args(["route", action, "flights", "--at", &weir.http, "-c"]).arg(config).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    String::from_utf8(told.stdout).unwrap()
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
    tell("pause", &first, &config);
    let second = Weir::ready(&config);
    eventually("the partitions are shared", || {
        (first.partitions().len() == 2 && second.partitions().len() == 2).then_some(())
    });
    tell("resume", &first, &config);
    assert!(second.stop().success());
    eventually("all partitions are back", || (first.partitions().len() == PARTITIONS as usize).then_some(()));
    produce(&setup.brokers, &setup.input, late.iter().cloned());
    outputs.extend(reader.take(late.len()));
    assert!(first.stop().success());
    assert_once_and_in_order(&inputs, &outputs);
}

#[test]
fn a_route_pauses_when_too_much_is_rejected_and_goes_on_when_told_or_with_a_new_version() {
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
    assert!(weir.log().contains("weir route resume flights"), "{}", weir.log());

    assert_eq!(tell("resume", &weir, &config), format!("route flights at {} goes on\n", weir.http));
    let keys: Vec<_> = outputs.take(1_000).into_iter().map(|output| output.key).collect();
    assert!(keys == good.iter().map(|record| record.key.clone()).collect::<Vec<_>>(), "in their order");

    // 53 of 1,053 are more than 5 percent: it pauses before all of these are through.
    produce(&setup.brokers, &setup.input, broken(200));
    eventually("the route is paused again", || is_paused(&weir).then_some(()));
    produce(&setup.brokers, &setup.input, good.iter().cloned());
    promote(&setup.store(), "production", publish(&setup.store(), 2, Preparation::default()));
    // If more than a hundred of the broken ones are left, they close it once more.
    eventually("all the rest is through", || {
        if is_paused(&weir) {
            tell("resume", &weir, &config);
        }
        (weir.metric("weir_records_consumed_total", "") == 2_300.0).then_some(())
    });
    let new = outputs.take(1_000);
    assert!(new.iter().all(|output| output.json()["version"] == 2));
    assert_eq!(letters.take(300).len(), 300);
    assert!(weir.stop().success());
    assert_eq!((outputs.rest().len(), letters.rest().len()), (0, 0), "nothing comes twice");
}

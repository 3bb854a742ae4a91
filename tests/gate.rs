//! `dead_letter.max_ratio`: a route whose records are rejected pauses, and goes on by command or with a new version.

use weir::train::preparation::Preparation;

use crate::delivery::records;
use crate::support::eventually;
use crate::support::kafka::{Reader, Record, produce};
use crate::support::models::{promote, publish, year};
use crate::support::weir::{Setup, Weir, command};

#[test]
fn a_route_pauses_when_too_much_is_rejected_and_goes_on_when_told_or_with_a_new_version() {
    let setup = Setup::on_kafka(1);
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    let config = setup.config("");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text
        .replace("[route.dead_letter]", "[route.dead_letter]\nmax_ratio = 0.05")
        .replace("listen =", "tokens = [\"open sesame\"]\nlisten =");
    std::fs::write(&config, text).unwrap();
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

    let told = command().args(["route", "resume", "flights", "--at", &weir.http, "-c"]).arg(&config).output().unwrap();
    assert_eq!(String::from_utf8(told.stdout).unwrap(), format!("route flights at {} goes on\n", weir.http));
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
            command().args(["route", "resume", "flights", "--at", &weir.http, "-c"]).arg(&config).output().unwrap();
        }
        (weir.metric("weir_records_consumed_total", "") == 2_300.0).then_some(())
    });
    let new = outputs.take(1_000);
    assert!(new.iter().all(|output| output.json()["version"] == 2));
    assert_eq!(letters.take(300).len(), 300);
    assert!(weir.stop().success());
    assert_eq!((outputs.rest().len(), letters.rest().len()), (0, 0), "nothing comes twice");
}

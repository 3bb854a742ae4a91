//! What every backend has to hold, whatever it is made of. A backend runs all of it by [`conformance_tests!`], each case on a
//! store of its own that nothing has been written to.

use std::collections::BTreeSet;
use std::thread;

use super::resolve;
use crate::model::bundle::Draft;
use crate::model::evaluation::Evaluation;
use crate::model::store::{Store, StoreError};
use crate::model::testing;

/// A test for each case. `$fresh` makes what keeps a new store alive, and the store.
macro_rules! conformance_tests {
    ($fresh:expr) => {
        $crate::model::store::tests::conformance::conformance_tests! {
            $fresh,
            an_empty_place_is_no_store_yet
            versions_are_numbered
            aliases_move
            what_is_not_there_is_named
            a_draft_that_does_not_load_is_not_published
            probing_leaves_nothing
            a_deleted_version_is_gone_for_good
            a_version_that_an_alias_points_to_is_not_deleted
            the_evaluation_is_kept
            routes_are_paused_by_group
            publishers_at_the_same_time_get_numbers_of_their_own
            a_version_that_is_seen_is_whole
            aliases_moved_at_the_same_time_are_all_kept
            routes_paused_at_the_same_time_are_all_kept
        }
    };
    ($fresh:expr, $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                let (_kept, store) = $fresh;
                $crate::model::store::tests::conformance::$case(&store);
            }
        )*
    };
}
pub(super) use conformance_tests;

/// Publishes a version of `flights` that answers with `bias`.
fn publish(store: &Store, bias: f32) -> u64 {
    store.publish(&testing::regression("flights", bias)).unwrap()
}

/// Publishes versions 1 and 2.
fn publish_two(store: &Store) {
    assert_eq!((publish(store, 1.0), publish(store, 2.0)), (1, 2));
}

/// What a version of `flights` answers.
fn bias(store: &Store, version: u64) -> f32 {
    let model = store.load("flights", version).unwrap();
    let mut out = ndarray::array![[0.0_f32]];
    model.score(ndarray::array![[0.0]].view(), out.view_mut(), &mut model.scratch());
    out[[0, 0]]
}

pub(super) fn an_empty_place_is_no_store_yet(store: &Store) {
    for _ in 0..2 {
        assert!(matches!(store.models(), Err(StoreError::NoStore { .. })));
        assert!(matches!(resolve(store, "flights@production"), Err(StoreError::NoStore { .. })));
        assert!(matches!(resolve(store, "flights@latest"), Err(StoreError::NoStore { .. })));
        assert!(matches!(store.load("flights", 1), Err(StoreError::NoStore { .. })));
        assert!(matches!(store.promote("flights", "production", 1), Err(StoreError::NoStore { .. })));
        assert!(store.versions("flights").unwrap().is_empty());
        assert!(store.aliases("flights").unwrap().is_empty());
        assert!(store.paused_routes("group").unwrap().is_empty());
    }
}

pub(super) fn versions_are_numbered(store: &Store) {
    publish_two(store);
    assert_eq!(store.publish(&testing::classification("cancelled")).unwrap(), 1);
    assert_eq!(store.models().unwrap(), ["cancelled", "flights"]);
    assert_eq!(store.versions("flights").unwrap(), [1, 2]);
    let manifest = store.manifest("flights", 2).unwrap();
    assert_eq!((manifest.name.as_str(), manifest.version), ("flights", 2));
    humantime::parse_rfc3339(&manifest.created).unwrap();
    assert_eq!([bias(store, 1), bias(store, 2)], [1.0, 2.0]);
    let digest = store.digest("flights", 1).unwrap();
    assert_eq!(digest.len(), 64);
    assert_ne!(store.digest("flights", 2).unwrap(), digest);
}

pub(super) fn aliases_move(store: &Store) {
    publish_two(store);
    assert_eq!(store.promote("flights", "production", 1).unwrap(), None);
    assert_eq!(resolve(store, "flights@production").unwrap(), 1);
    assert_eq!(store.promote("flights", "production", 2).unwrap(), Some(1));
    assert_eq!(store.promote("flights", "old", 1).unwrap(), None);
    assert_eq!(store.aliases("flights").unwrap(), [("old".into(), 1), ("production".into(), 2)].into());
    assert_eq!(resolve(store, "flights@production").unwrap(), 2);
    assert_eq!(resolve(store, "flights@latest").unwrap(), 2);
    assert_eq!(resolve(store, "flights@1").unwrap(), 1);
}

pub(super) fn what_is_not_there_is_named(store: &Store) {
    publish(store, 1.0);
    store.promote("flights", "production", 1).unwrap();
    assert!(matches!(resolve(store, "weather@latest"), Err(StoreError::NoModel { .. })));
    assert!(matches!(resolve(store, "flights@3"), Err(StoreError::NoVersion { version: 3, .. })));
    assert!(matches!(resolve(store, "flights@canary"), Err(StoreError::NoAlias { .. })));
    assert!(matches!(store.promote("flights", "production", 3), Err(StoreError::NoVersion { .. })));
    assert!(matches!(store.promote("flights", "latest", 1), Err(StoreError::Name(_))));
    assert!(matches!(store.versions("../flights"), Err(StoreError::Name(_))));
    assert!(matches!(store.delete("flights", 2), Err(StoreError::NoVersion { .. })));
    assert_eq!(resolve(store, "flights@production").unwrap(), 1, "a refused promotion moves nothing");
}

pub(super) fn a_draft_that_does_not_load_is_not_published(store: &Store) {
    let draft = Draft { golden_rows: Vec::new(), ..testing::regression("flights", 1.0) };
    assert!(matches!(store.publish(&draft), Err(StoreError::Draft { .. })));
    assert!(matches!(store.publish(&testing::regression("../x", 1.0)), Err(StoreError::Name(_))));
    assert!(matches!(store.models(), Err(StoreError::NoStore { .. })));
    assert_eq!(publish(store, 1.0), 1, "it took no number");
}

pub(super) fn probing_leaves_nothing(store: &Store) {
    store.expect_writable("flights").unwrap();
    assert!(matches!(store.models(), Err(StoreError::NoStore { .. })));
    publish(store, 1.0);
    store.expect_writable("flights").unwrap();
    store.expect_writable("weather").unwrap();
    assert_eq!(store.models().unwrap(), ["flights"]);
    assert_eq!(publish(store, 2.0), 2);
}

pub(super) fn a_deleted_version_is_gone_for_good(store: &Store) {
    publish_two(store);
    let size = store.size("flights", 2).unwrap();
    assert!(size > 0);
    assert_eq!(store.delete("flights", 2).unwrap(), size);
    assert_eq!(store.versions("flights").unwrap(), [1]);
    assert_eq!(resolve(store, "flights@latest").unwrap(), 1);
    assert!(matches!(store.load("flights", 2), Err(StoreError::NoVersion { .. })));
    assert!(matches!(store.promote("flights", "production", 2), Err(StoreError::NoVersion { .. })));
    assert!(matches!(store.delete("flights", 2), Err(StoreError::NoVersion { .. })));
    assert_eq!(publish(store, 3.0), 3, "its number stays taken");
    store.delete("flights", 1).unwrap();
    store.delete("flights", 3).unwrap();
    assert!(store.models().unwrap().is_empty());
    assert_eq!(publish(store, 4.0), 4);
}

pub(super) fn a_version_that_an_alias_points_to_is_not_deleted(store: &Store) {
    publish_two(store);
    store.promote("flights", "production", 1).unwrap();
    let refused = store.delete("flights", 1).unwrap_err();
    assert!(matches!(&refused, StoreError::InUse { aliases, .. } if *aliases == ["production"]), "{refused}");
    assert_eq!(bias(store, 1), 1.0);
    store.promote("flights", "production", 2).unwrap();
    store.delete("flights", 1).unwrap();
}

pub(super) fn the_evaluation_is_kept(store: &Store) {
    let metrics = [("r2".to_owned(), 0.1 + 0.2)].into();
    let evaluation = Evaluation { rows: 4, metrics, losses: vec![0.5], ..Evaluation::default() };
    let draft = |evaluation| Draft { evaluation, ..testing::regression("flights", 1.0) };
    store.publish(&draft(Some(evaluation.clone()))).unwrap();
    assert_eq!(store.evaluation("flights", 1).unwrap(), Some(evaluation.clone()));
    store.publish(&draft(None)).unwrap();
    assert_eq!(store.evaluation("flights", 2).unwrap(), None);
    // JSON has no NaN: what couldn't be read again isn't published.
    let unreadable = draft(Some(Evaluation { losses: vec![f64::NAN], ..evaluation }));
    assert!(matches!(store.publish(&unreadable), Err(StoreError::Draft { .. })));
    assert_eq!(store.versions("flights").unwrap(), [1, 2]);
}

pub(super) fn routes_are_paused_by_group(store: &Store) {
    publish(store, 1.0);
    for _ in 0..2 {
        store.pause_route("one", "flights", true).unwrap();
    }
    store.pause_route("one", "weather", true).unwrap();
    store.pause_route("two", "flights", true).unwrap();
    assert_eq!(store.paused_routes("one").unwrap(), ["flights", "weather"].map(String::from).into());
    store.pause_route("one", "flights", false).unwrap();
    assert_eq!(store.paused_routes("one").unwrap(), ["weather".into()].into());
    assert_eq!(store.paused_routes("two").unwrap(), ["flights".into()].into());
    assert!(store.paused_routes("three").unwrap().is_empty());
}

pub(super) fn publishers_at_the_same_time_get_numbers_of_their_own(store: &Store) {
    const PUBLISHERS: usize = 8;
    const EACH: usize = 5;
    let of_publisher = |publisher: usize| {
        let biases = (0..EACH).map(move |turn| (publisher * EACH + turn) as f32);
        biases.map(|bias| (publish(store, bias), bias)).collect::<Vec<_>>()
    };
    let mut published: Vec<(u64, f32)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..PUBLISHERS).map(|publisher| scope.spawn(move || of_publisher(publisher))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    published.sort_by_key(|&(version, _)| version);
    let versions: Vec<_> = published.iter().map(|&(version, _)| version).collect();
    assert_eq!(versions, (1..=(PUBLISHERS * EACH) as u64).collect::<Vec<_>>());
    assert_eq!(store.versions("flights").unwrap(), versions);
    for (version, expected) in published {
        assert_eq!(bias(store, version), expected, "version {version} is the one that its publisher wrote");
    }
}

pub(super) fn a_version_that_is_seen_is_whole(store: &Store) {
    const VERSIONS: u64 = 20;
    let mut seen = BTreeSet::new();
    thread::scope(|scope| {
        let publisher =
            scope.spawn(|| (1..=VERSIONS).for_each(|version| assert_eq!(publish(store, version as f32), version)));
        let mut is_last = false;
        while !is_last {
            is_last = publisher.is_finished();
            for version in store.versions("flights").unwrap() {
                if seen.insert(version) {
                    assert_eq!(bias(store, version), version as f32);
                }
            }
        }
    });
    assert_eq!(seen.len() as u64, VERSIONS);
}

pub(super) fn aliases_moved_at_the_same_time_are_all_kept(store: &Store) {
    const ALIASES: usize = 8;
    publish_two(store);
    thread::scope(|scope| {
        for alias in 0..ALIASES {
            scope.spawn(move || {
                for version in [1, 2, 1, 2] {
                    store.promote("flights", &format!("alias-{alias}"), version).unwrap();
                }
            });
        }
    });
    let aliases = store.aliases("flights").unwrap();
    assert_eq!(aliases.len(), ALIASES);
    assert!(aliases.values().all(|&version| version == 2), "{aliases:?}");
}

pub(super) fn routes_paused_at_the_same_time_are_all_kept(store: &Store) {
    const ROUTES: usize = 8;
    publish(store, 1.0);
    thread::scope(|scope| {
        for route in 0..ROUTES {
            scope.spawn(move || {
                for is_paused in [true, false, true] {
                    store.pause_route("group", &format!("route-{route}"), is_paused).unwrap();
                }
            });
        }
    });
    assert_eq!(store.paused_routes("group").unwrap().len(), ROUTES);
}

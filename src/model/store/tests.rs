use std::fs;
use std::path::Path;
use std::thread;

use tempfile::TempDir;

use super::*;
use crate::logging::chain;
use crate::model::testing;

fn store() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("models").to_str().unwrap()).unwrap();
    (directory, store)
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

fn resolve(store: &Store, reference: &str) -> Result<u64, StoreError> {
    store.resolve(&reference.parse().unwrap())
}

#[test]
fn urls_name_directories() {
    for (url, place) in [
        ("file:models", "models"),
        ("file:./a b", "./a b"),
        ("file:/srv/models", "/srv/models"),
        ("file:///srv/models", "/srv/models"),
        ("models", "models"),
        ("./s3:odd", "./s3:odd"),
    ] {
        assert_eq!(Store::open(url).unwrap().place(), place);
    }
    for url in ["", "file:", "file://", "file://host/models", "s3://bucket/models", "gs:bucket", "models:x"] {
        assert!(matches!(Store::open(url), Err(StoreError::Url { .. })), "{url}");
    }
}

#[test]
fn a_directory_that_does_not_exist_is_no_store_yet() {
    let (directory, store) = store();
    assert!(matches!(store.models(), Err(StoreError::NoStore { .. })));
    assert!(matches!(resolve(&store, "flights@production"), Err(StoreError::NoStore { .. })));
    assert!(store.versions("flights").unwrap().is_empty());
    assert!(store.aliases("flights").unwrap().is_empty());
    assert!(matches!(resolve(&store, "flights@latest"), Err(StoreError::NoStore { .. })));
    assert!(matches!(store.load("flights", 1), Err(StoreError::NoStore { .. })));
    assert!(matches!(store.promote("flights", "production", 1), Err(StoreError::NoStore { .. })));
    assert!(names(directory.path()).is_empty(), "reading creates nothing");
}

#[test]
fn versions_are_numbered_and_aliases_move() {
    let (directory, store) = store();
    assert_eq!(store.publish(&testing::regression("flights", 1.0)).unwrap(), 1);
    assert_eq!(store.publish(&testing::regression("flights", 2.0)).unwrap(), 2);
    assert_eq!(store.publish(&testing::classification("cancelled")).unwrap(), 1);
    assert_eq!(store.models().unwrap(), ["cancelled", "flights"]);
    assert_eq!(store.versions("flights").unwrap(), [1, 2]);
    assert_eq!(names(&directory.path().join("models/flights")), ["1", "2"]);
    assert_eq!(store.load("flights", 2).unwrap().version(), 2);
    let manifest = store.manifest("flights", 2).unwrap();
    assert_eq!((manifest.name.as_str(), manifest.version), ("flights", 2));
    humantime::parse_rfc3339(&manifest.created).unwrap();

    assert_eq!(store.promote("flights", "production", 1).unwrap(), None);
    assert_eq!(resolve(&store, "flights@production").unwrap(), 1);
    assert_eq!(store.promote("flights", "production", 2).unwrap(), Some(1));
    assert_eq!(store.promote("flights", "old", 1).unwrap(), None);
    assert_eq!(store.aliases("flights").unwrap(), [("old".into(), 1), ("production".into(), 2)].into());
    assert_eq!(resolve(&store, "flights@production").unwrap(), 2);
    assert_eq!(resolve(&store, "flights@latest").unwrap(), 2);
    assert_eq!(resolve(&store, "flights@1").unwrap(), 1);

    assert!(matches!(resolve(&store, "flights@3"), Err(StoreError::NoVersion { version: 3, .. })));
    assert!(matches!(resolve(&store, "flights@canary"), Err(StoreError::NoAlias { .. })));
    assert!(matches!(store.promote("flights", "production", 3), Err(StoreError::NoVersion { .. })));
    assert!(matches!(store.promote("flights", "latest", 1), Err(StoreError::Name(_))));
    assert_eq!(resolve(&store, "flights@production").unwrap(), 2, "a refused promotion moves nothing");
}

#[test]
fn what_is_not_a_whole_version_is_not_seen() {
    let (directory, store) = store();
    store.publish(&testing::regression("flights", 1.0)).unwrap();
    let model = directory.path().join("models/flights");
    for leftover in [".new-1-0", "3", "007", "0", "+4", "-5", "notes"] {
        fs::create_dir(model.join(leftover)).unwrap();
    }
    fs::write(model.join(".new-1-0/model.json"), "{}").unwrap();
    fs::write(model.join("007/model.json"), "{}").unwrap();
    fs::write(model.join("2"), "a file").unwrap();
    fs::write(directory.path().join("models/README"), "a file").unwrap();
    fs::create_dir(directory.path().join("models/empty")).unwrap();
    fs::create_dir(directory.path().join("models/.hidden")).unwrap();
    assert_eq!(store.models().unwrap(), ["flights"]);
    assert_eq!(store.versions("flights").unwrap(), [1]);
    assert_eq!(resolve(&store, "flights@latest").unwrap(), 1);
    assert!(resolve(&store, "flights@3").is_err());

    // The directory of a version that was deleted keeps its number.
    assert_eq!(store.publish(&testing::regression("flights", 2.0)).unwrap(), 4);
    assert_eq!(store.versions("flights").unwrap(), [1, 4]);
}

#[test]
fn a_draft_that_does_not_load_leaves_nothing_behind() {
    let (directory, store) = store();
    let mut draft = testing::regression("flights", 1.0);
    draft.golden_rows.clear();
    assert!(matches!(store.publish(&draft), Err(StoreError::Draft { .. })));
    assert!(matches!(store.publish(&testing::regression("../x", 1.0)), Err(StoreError::Name(_))));
    assert!(names(directory.path()).is_empty());
}

#[test]
fn a_failed_write_leaves_nothing_behind() {
    let (directory, store) = store();
    let files: [(&str, &[u8]); 2] = [("weights", b"w"), ("no/such/directory", b"x")];
    let error = store.local.publish("flights", &files, |_| Ok(Vec::new())).unwrap_err();
    assert!(matches!(error, StoreError::Io { action: "write", .. }));
    assert!(names(&directory.path().join("models/flights")).is_empty());
}

#[test]
fn a_deleted_version_is_gone_for_good() {
    let (_directory, store) = store();
    for bias in [1.0, 2.0] {
        store.publish(&testing::regression("flights", bias)).unwrap();
    }
    store.promote("flights", "production", 1).unwrap();
    let refused = store.delete("flights", 1).unwrap_err();
    assert!(matches!(&refused, StoreError::InUse { aliases, .. } if *aliases == ["production"]), "{refused}");
    assert_eq!(store.load("flights", 1).unwrap().version(), 1);

    let size = store.size("flights", 2).unwrap();
    assert_eq!(store.delete("flights", 2).unwrap(), size);
    assert_eq!(store.versions("flights").unwrap(), [1]);
    assert!(matches!(store.promote("flights", "production", 2), Err(StoreError::NoVersion { .. })));
    assert!(matches!(store.delete("flights", 2), Err(StoreError::NoVersion { .. })));
    assert_eq!(store.publish(&testing::regression("flights", 3.0)).unwrap(), 3);
}

#[test]
fn publishers_at_the_same_time_get_numbers_of_their_own() {
    const PUBLISHERS: usize = 8;
    const EACH: usize = 5;
    let (directory, store) = store();
    let publish = |publisher: usize| {
        let store = store.clone();
        move || -> Vec<(u64, f32)> {
            let biases = (0..EACH).map(|turn| (publisher * EACH + turn) as f32);
            biases.map(|bias| (store.publish(&testing::regression("flights", bias)).unwrap(), bias)).collect()
        }
    };
    let threads: Vec<_> = (0..PUBLISHERS).map(|publisher| thread::spawn(publish(publisher))).collect();
    let mut published: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    published.sort_by_key(|&(version, _)| version);
    let versions: Vec<_> = published.iter().map(|&(version, _)| version).collect();
    assert_eq!(versions, (1..=(PUBLISHERS * EACH) as u64).collect::<Vec<_>>());
    assert_eq!(store.versions("flights").unwrap(), versions);
    for (version, bias) in published {
        let model = store.load("flights", version).unwrap();
        let mut out = ndarray::array![[0.0]];
        model.score(ndarray::array![[0.0]].view(), out.view_mut(), &mut model.scratch());
        assert_eq!(out[[0, 0]], bias, "version {version} is the one that its publisher wrote");
    }
    assert_eq!(names(&directory.path().join("models/flights")).len(), PUBLISHERS * EACH, "no leftovers");
}

#[test]
fn a_number_that_another_publisher_took_is_passed_over() {
    let (directory, store) = store();
    store.publish(&testing::regression("flights", 1.0)).unwrap();
    let model = directory.path().join("models/flights");
    let mut asked = Vec::new();
    let version = store.local.publish("flights", &[], |version| {
        asked.push(version);
        if version == 2 {
            // Another publisher is faster between the choice of the number and the rename.
            fs::create_dir(model.join("2")).unwrap();
            fs::write(model.join("2/model.json"), "theirs").unwrap();
        }
        Ok(version.to_string().into_bytes())
    });
    assert_eq!(version.unwrap(), 3);
    assert_eq!(asked, [2, 3]);
    assert_eq!(fs::read(model.join("2/model.json")).unwrap(), b"theirs");
    assert_eq!(fs::read(model.join("3/model.json")).unwrap(), b"3");
}

#[test]
fn aliases_moved_at_the_same_time_are_all_kept() {
    const ALIASES: usize = 8;
    let (_directory, store) = store();
    store.publish(&testing::regression("flights", 1.0)).unwrap();
    store.publish(&testing::regression("flights", 2.0)).unwrap();
    let move_alias = |alias: usize| {
        let store = store.clone();
        move || {
            for version in [1, 2, 1, 2] {
                store.promote("flights", &format!("alias-{alias}"), version).unwrap();
            }
        }
    };
    let threads: Vec<_> = (0..ALIASES).map(|alias| thread::spawn(move_alias(alias))).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let aliases = store.aliases("flights").unwrap();
    assert_eq!(aliases.len(), ALIASES);
    assert!(aliases.values().all(|&version| version == 2), "{aliases:?}");
}

#[test]
fn damage_is_named() {
    let (directory, store) = store();
    store.publish(&testing::regression("flights", 1.0)).unwrap();
    let model = directory.path().join("models/flights");

    fs::create_dir(model.join("2")).unwrap();
    for file in names(&model.join("1")) {
        fs::copy(model.join("1").join(&file), model.join("2").join(&file)).unwrap();
    }
    let error = store.load("flights", 2).unwrap_err();
    assert!(matches!(error, StoreError::Misplaced { version: 2, found_version: 1, .. }), "{error}");
    assert!(matches!(store.manifest("flights", 2), Err(StoreError::Misplaced { .. })));

    fs::remove_file(model.join("1/golden.json")).unwrap();
    let error = store.load("flights", 1).unwrap_err();
    assert!(error.to_string().contains("flights/1/golden.json"), "{error}");
    fs::write(model.join("2/model.json"), "{\"name\":").unwrap();
    assert!(matches!(store.load("flights", 2), Err(StoreError::Bundle { version: 2, .. })));
    assert!(matches!(store.manifest("flights", 2), Err(StoreError::Bundle { version: 2, .. })));

    fs::write(model.join("aliases.json"), "[]").unwrap();
    let error = resolve(&store, "flights@production").unwrap_err();
    assert!(error.to_string().contains("aliases.json"), "{error}");
    assert!(store.promote("flights", "production", 2).is_err());
    assert_eq!(fs::read(model.join("aliases.json")).unwrap(), b"[]", "what can't be read isn't overwritten");
}

#[test]
fn the_evaluation_is_kept_beside_what_is_loaded() {
    let (directory, store) = store();
    let evaluation = Evaluation {
        rows: 4,
        metrics: [("r2".to_owned(), 0.1 + 0.2)].into(),
        losses: vec![0.5],
        ..Evaluation::default()
    };
    let draft = Draft { evaluation: Some(evaluation.clone()), ..testing::regression("m", 1.0) };
    store.publish(&draft).unwrap();
    assert_eq!(store.evaluation("m", 1).unwrap(), Some(evaluation.clone()));
    let mut checks = Vec::new();
    store.verify("m", 1, |check| checks.push(check)).unwrap();
    assert!(checks.contains(&Check::Digest { file: bundle::EVALUATION }), "{checks:?}");

    // A worker has no need of it; who looks at it or verifies the version learns that it was changed.
    let path = directory.path().join("models/m/1/evaluation.json");
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("0.5", "0.1")).unwrap();
    store.load("m", 1).unwrap();
    for error in [store.evaluation("m", 1).unwrap_err(), store.verify("m", 1, |_| {}).unwrap_err()] {
        let StoreError::Bundle { source: bundle::BundleError::Digest { file, .. }, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(file, bundle::EVALUATION);
    }
    fs::remove_file(&path).unwrap();
    assert!(store.verify("m", 1, |_| {}).is_err());
    store.load("m", 1).unwrap();

    store.publish(&testing::regression("m", 2.0)).unwrap();
    assert_eq!(store.evaluation("m", 2).unwrap(), None);
    // JSON has no NaN: what couldn't be read again isn't published.
    let evaluation = Evaluation { losses: vec![f64::NAN], ..evaluation };
    let refused = store.publish(&Draft { evaluation: Some(evaluation), ..testing::regression("m", 3.0) });
    assert!(matches!(refused, Err(StoreError::Draft { .. })));
}

#[test]
fn a_file_that_can_not_be_one_of_a_version_is_refused_before_it_is_read() {
    let (directory, store) = store();
    store.publish(&testing::regression("m", 1.0)).unwrap();
    let path = |file: &str| directory.path().join("models/m/1").join(file);
    let refused = || chain(&store.load("m", 1).unwrap_err());
    for file in [bundle::WEIGHTS, bundle::GOLDEN] {
        let bytes = fs::read(path(file)).unwrap();
        // All holes: it takes no place on the disk.
        fs::File::options().write(true).open(path(file)).unwrap().set_len(3 << 30).unwrap();
        assert!(refused().contains("it has 3221225472 bytes"), "{}", refused());
        fs::remove_file(path(file)).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(path(file)).status().unwrap().success());
        assert!(refused().contains("it is no regular file"), "{}", refused());
        fs::remove_file(path(file)).unwrap();
        fs::write(path(file), bytes).unwrap();
    }
    store.load("m", 1).unwrap();
    let manifest = fs::read(path(bundle::MANIFEST)).unwrap();
    fs::remove_file(path(bundle::MANIFEST)).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(path(bundle::MANIFEST)).status().unwrap().success());
    assert!(refused().contains("it is no regular file"), "{}", refused());
    fs::remove_file(path(bundle::MANIFEST)).unwrap();
    fs::write(path(bundle::MANIFEST), manifest).unwrap();
    store.load("m", 1).unwrap();
}

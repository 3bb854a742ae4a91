use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::logging::chain;
use crate::model::testing;

mod conformance;

/// The suite on a directory.
mod local {
    use super::conformance::conformance_tests;

    conformance_tests!(super::store());
}

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
fn a_directory_has_nothing_but_what_was_published() {
    let (directory, store) = store();
    assert!(resolve(&store, "flights@production").is_err());
    assert!(store.versions("flights").unwrap().is_empty());
    store.expect_writable("flights").unwrap();
    assert!(names(directory.path()).is_empty(), "neither reading nor probing creates anything");
    let draft = Draft { golden_rows: Vec::new(), ..testing::regression("flights", 1.0) };
    assert!(store.publish(&draft).is_err());
    assert!(store.publish(&testing::regression("../x", 1.0)).is_err());
    assert!(names(directory.path()).is_empty(), "what is refused isn't begun");
    for bias in [1.0, 2.0] {
        store.publish(&testing::regression("flights", bias)).unwrap();
    }
    assert_eq!(names(&directory.path().join("models/flights")), ["1", "2"]);
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
fn a_failed_write_leaves_nothing_behind() {
    let (directory, store) = store();
    let files: [(&str, &[u8]); 2] = [("weights", b"w"), ("no/such/directory", b"x")];
    let error = store.backend.publish("flights", &files, &mut |_| Ok(Vec::new())).unwrap_err();
    let place = directory.path().join("models/flights/.new-");
    assert!(error.to_string().starts_with(&format!("can't write {}", place.display())), "{error}");
    assert!(names(&directory.path().join("models/flights")).is_empty());
}

#[test]
fn a_number_that_another_publisher_took_is_passed_over() {
    let (directory, store) = store();
    store.publish(&testing::regression("flights", 1.0)).unwrap();
    let model = directory.path().join("models/flights");
    let mut asked = Vec::new();
    let version = store.backend.publish("flights", &[], &mut |version| {
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
fn a_changed_evaluation_is_noticed_by_those_who_read_it() {
    let (directory, store) = store();
    let evaluation = Evaluation { losses: vec![0.5], ..Evaluation::default() };
    let draft = Draft { evaluation: Some(evaluation), ..testing::regression("m", 1.0) };
    store.publish(&draft).unwrap();
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

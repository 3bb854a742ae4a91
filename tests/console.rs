//! What the verbs say, and to whom: a reader that goes away, a store that isn't there, names that a terminal would obey.

use std::io;
use std::path::Path;
use std::process::{Output, Stdio};

use crate::support::weir::command;

const TABLE: &str = "x,colour,y\n1,red,yes\n2,blue,no\n3,red,yes\n4,blue,no\n5,red,no\n6,red,yes\n";

/// A folder with a table, records, and a store with a model `m` of two versions.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("table.csv"), TABLE).unwrap();
    std::fs::write(folder.path().join("rows.jsonl"), "{\"x\":1,\"colour\":\"red\"}\n".repeat(20_000)).unwrap();
    for _ in 0..2 {
        let trained = run(folder.path(), &TRAIN, Stdio::piped());
        assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));
    }
    folder
}

const TRAIN: [&str; 10] =
    ["train", "table.csv", "--target", "y", "--name", "m", "--max-iter", "2", "--store", "file:store"];

fn run(folder: &Path, arguments: &[&str], stdout: Stdio) -> Output {
    command().args(arguments).current_dir(folder).stdout(stdout).stderr(Stdio::piped()).output().unwrap()
}

/// A pipe that nobody reads.
fn nobody() -> Stdio {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn every_verb_ends_silently_when_its_reader_goes_away() {
    let folder = folder();
    let verbs: &[&[&str]] = &[
        &["--help"],
        &["model", "import", "--help"],
        &["check", "--defaults"],
        &["model", "list", "--store", "file:store"],
        &["model", "list", "--json", "--store", "file:store"],
        &["model", "show", "m@1", "--store", "file:store"],
        &["model", "show", "m@1", "--json", "--store", "file:store"],
        &["model", "verify", "m@1", "--store", "file:store"],
        &["model", "promote", "m@1", "production", "--store", "file:store"],
        &["model", "export", "m@1", "--onnx", "m.onnx", "--store", "file:store"],
        &["model", "import", "m.onnx", "--name", "imported", "--store", "file:store"],
        &["model", "quantize", "m@1", "--to", "f16", "--force", "--store", "file:store"],
        &["model", "delete", "m@2", "m@3", "--store", "file:store"],
        &["evaluate", "m@1", "table.csv", "--store", "file:store"],
        &["evaluate", "m@1", "table.csv", "--json", "--store", "file:store"],
        &["predict", "m@1", "rows.jsonl", "--store", "file:store"],
        &TRAIN,
    ];
    for verb in verbs {
        let output = run(folder.path(), verb, nobody());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{verb:?}: {said}");
        for word in ["roken pipe", "panicked", "weir: "] {
            assert!(!said.contains(word), "{verb:?}: {said}");
        }
    }
    // What they did, they did to the end.
    let listed = run(folder.path(), &["model", "list", "--store", "file:store"], Stdio::piped());
    let listed = String::from_utf8(listed.stdout).unwrap();
    let versions: Vec<Vec<&str>> =
        listed.lines().skip(1).map(|line| line.split_whitespace().take(3).collect()).collect();
    assert_eq!(versions, [["imported", "1", "-"], ["m", "1", "production"], ["m", "4", "-"]], "{listed}");
}

#[test]
fn the_reader_of_errors_may_go_away_too() {
    let folder = folder();
    std::fs::write(folder.path().join("wrong.jsonl"), "nonsense\n".repeat(20_000)).unwrap();
    // Nothing was predicted, so nothing shows that standard output has no reader: the rejections still count.
    let predict = ["predict", "m@1", "wrong.jsonl", "--store", "file:store"];
    for (verb, code) in [(&predict[..], 1), (&TRAIN, 0)] {
        let status =
            command().args(verb).current_dir(folder.path()).stdout(nobody()).stderr(nobody()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{verb:?}");
    }
}

#[test]
fn a_store_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for verb in [&["model", "list"][..], &["model", "show", "m@latest"], &["model", "verify", "m@production"]] {
        let output = run(folder.path(), &[verb, &["--store", "file:nowhere"]].concat(), Stdio::piped());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{verb:?}: {said}");
        assert!(said.contains("there is no store at nowhere"), "{verb:?}: {said}");
    }
    assert!(!folder.path().join("nowhere").exists());
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    let output = run(folder.path(), &["model", "list", "--store", "file:empty"], Stdio::piped());
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("no models in "), "an empty store is one");
}

#[test]
fn names_reach_a_terminal_as_text() {
    let folder = tempfile::tempdir().unwrap();
    let evil = "e\u{1b}[2J\u{1b}[31m";
    let rows: String =
        (0..20).map(|row| format!("{row},\"a\nweir: ok{evil}\",{}\n", ["no\nweir: ok", evil][row % 2])).collect();
    let rows = rows.replace("no\nweir: ok", "\"no\nweir: ok\"");
    std::fs::write(folder.path().join("table.csv"), format!("x{evil},colour,y\n{rows}")).unwrap();
    let trained = run(folder.path(), &TRAIN, Stdio::piped());
    assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));
    let store = ["--store", "file:store"];
    let shown = run(folder.path(), &[&["model", "show", "m@1"][..], &store].concat(), Stdio::piped());
    let evaluated = run(folder.path(), &[&["evaluate", "m@1", "table.csv"][..], &store].concat(), Stdio::piped());
    let refused = run(folder.path(), &[&TRAIN[..], &["--drop", "z"]].concat(), Stdio::piped());
    assert!(!refused.status.success());
    for output in [trained, shown, evaluated, refused] {
        for said in [output.stdout, output.stderr] {
            let said = String::from_utf8(said).unwrap();
            assert!(!said.contains('\u{1b}'), "{}", said.escape_debug());
            assert!(!said.lines().any(|line| line.starts_with("weir: ok")), "{said}");
        }
    }
}

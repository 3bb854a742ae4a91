//! Text that users read, kept in `tests/snapshots/`, so that a change of wording is a diff to read. After a change,
//! `UPDATE_SNAPSHOTS=1 cargo test tidy::snapshots` writes the files.

use std::fmt::Write;
use std::fs;

use super::pages::{help, leaves};
use super::{absolute, read};
use crate::support::weir::command;

#[test]
fn help_of_every_verb() {
    let mut text = String::new();
    let verbs = [vec![], vec!["model".to_owned()], vec!["route".to_owned()], vec!["dead-letter".to_owned()]];
    for verb in verbs.into_iter().chain(leaves(&[])) {
        let name: String = verb.iter().map(|word| format!(" {word}")).collect();
        writeln!(text, "$ weir{name} --help\n{}", help(&verb).unwrap()).unwrap();
    }
    assert_snapshot("help", &text);
}

#[test]
fn findings_of_check() {
    let mut text = String::new();
    for (config, path) in
        [("a configuration", "config/examples/flights.toml"), ("mistakes", "tests/snapshots/mistakes.toml")]
    {
        let output =
            command().args(["check", "--offline", "-c", path]).current_dir(absolute("")).env_clear().output().unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        writeln!(text, "--- {config}: {}\n{stdout}{stderr}", output.status).unwrap();
    }
    assert_snapshot("check", &text);
}

/// The text is that of `tests/snapshots/NAME.txt`.
fn assert_snapshot(name: &str, text: &str) {
    let path = format!("tests/snapshots/{name}.txt");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(absolute(&path), text).unwrap();
    }
    let kept = read(&path);
    let difference = kept.lines().zip(text.lines()).position(|(kept, line)| kept != line);
    let at = difference.unwrap_or_else(|| kept.lines().count().min(text.lines().count()));
    let line = |text: &str| text.lines().nth(at).unwrap_or("the end").to_owned();
    assert!(
        kept == text,
        "line {} of {path} was\n  {}\nand is\n  {}\nIf that is meant: UPDATE_SNAPSHOTS=1 cargo test tidy::snapshots",
        at + 1,
        line(&kept),
        line(text)
    );
}

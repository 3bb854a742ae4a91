//! Data that can't be trained on, given to the real binary: one line on standard error that says what to do, exit code 1
//! or 2, and nothing in the store.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use crate::support::weir::command;

const GOOD: &str = "x,colour,y\n1,red,yes\n2,blue,no\n3,red,yes\n4,blue,no\n5,red,no\n";

/// A folder with files, and a training that must fail in it.
struct Folder(TempDir);

impl Folder {
    fn with(files: &[(&str, &[u8])]) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, bytes)| std::fs::write(folder.path().join(name), bytes).unwrap());
        Folder(folder)
    }

    /// What `weir train` of these arguments says.
    fn refused(&self, arguments: &[&str]) -> String {
        let folder = self.0.path();
        let fixed = ["--target", "y", "--name", "m", "--store", "file:store", "--max-iter", "2"];
        let fixed = if arguments.contains(&"--target") { &fixed[2..] } else { &fixed };
        let output = command().arg("train").args(arguments).args(fixed).current_dir(folder).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let what = format!("{arguments:?}: {said}");
        assert!(matches!(output.status.code(), Some(1 | 2)), "{what}");
        assert_eq!(said.lines().count(), 1, "{what}");
        assert!(!said.contains("panicked"), "{what}");
        assert!(published(&folder.join("store")).is_empty(), "{what}");
        said
    }

    /// That `weir train` takes it.
    fn taken(&self, arguments: &[&str]) {
        let fixed = ["--target", "y", "--name", "m", "--store", "file:store", "--max-iter", "2"];
        let output = command().arg("train").args(arguments).args(fixed).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn published(store: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(store) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// That one CSV file is refused with these words.
fn assert_refused(csv: &str, options: &[&str], words: &[&str]) {
    let folder = Folder::with(&[("data.csv", csv.as_bytes())]);
    let said = folder.refused(&[&["data.csv"], options].concat());
    for word in words {
        assert!(said.contains(word), "expected {word:?}: {said}");
    }
}

#[test]
fn columns_that_are_not_what_was_said() {
    assert_refused(GOOD, &["--target", "z"], &["there is no column \"z\" (--target)", "it has x, colour, y"]);
    assert_refused(GOOD, &["--drop", "z"], &["there is no column \"z\" (--drop)"]);
    assert_refused(GOOD, &["--drop", "y"], &["can't be the --target and be left out"]);
    assert_refused(GOOD, &["--numeric", "colour"], &["data.csv, line 2, column \"colour\"", "\"red\" isn't a number"]);
    assert_refused(GOOD, &["--task", "regression"], &["line 2, column \"y\": \"yes\" isn't a number"]);
    assert_refused(&GOOD.replace("x,", ","), &[], &["column 1 has no name", "index=False"]);
    assert_refused(&GOOD.replace("x,", "y,"), &[], &["two columns are called \"y\""]);
    assert_refused("y\na\nb\n", &[], &["no column is left that could be a feature"]);
}

/// What is said of one CSV file with several faults.
fn assert_all_reported(csv: &str, options: &[&str], words: &[&str]) {
    let folder = Folder::with(&[("data.csv", csv.as_bytes())]);
    let fixed = ["train", "data.csv", "--name", "m", "--store", "file:store"];
    let output = command().args(fixed).args(options).current_dir(folder.0.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1 + words.len(), "{said}");
    for (line, word) in said.lines().skip(1).zip(words) {
        assert!(line.starts_with("  - ") && line.contains(word), "expected {word:?}: {line}");
    }
    assert!(published(&folder.0.path().join("store")).is_empty());
}

#[test]
fn all_faults_of_the_columns_are_reported_at_once() {
    assert_all_reported(
        "a,,b,a,\n1,2,3,4,5\n",
        &["--target", "b"],
        &["column 2 has no name", "two columns are called \"a\"", "column 5 has no name"],
    );
    assert_all_reported(
        GOOD,
        &["--target", "z", "--drop", "u,v", "--categorical", "x", "--numeric", "x"],
        &["\"z\" (--target)", "\"u\" (--drop)", "\"v\" (--drop)", "both --categorical and --numeric"],
    );
    assert_all_reported(
        "x,colour,z,y\n1,red,1,yes\ninf,blue,2,no\n3,red,-inf,yes\n",
        &["--target", "y", "--task", "regression", "--numeric", "colour", "--test-size", "0"],
        &["line 2, column \"y\"", "line 3, column \"x\"", "line 2, column \"colour\"", "line 4, column \"z\""],
    );
}

#[test]
fn a_row_without_end_is_refused_before_it_fills_the_memory() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(b"x,y\n1,a\n\"").unwrap();
    let megabyte = vec![b'x'; 1 << 20];
    (0..100).for_each(|_| gzip.write_all(&megabyte).unwrap());
    let cell = gzip.finish().unwrap();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    (0..100).for_each(|_| gzip.write_all(&megabyte).unwrap());
    let header = gzip.finish().unwrap();
    let folder = Folder::with(&[("cell.csv.gz", &cell), ("header.csv.gz", &header)]);
    for file in ["cell.csv.gz", "header.csv.gz"] {
        let said = folder.refused(&[file]);
        assert!(said.contains("a row has more than 64 MiB: --limit-factor raises the limit"), "{file}: {said}");
    }
    let said = folder.refused(&["cell.csv.gz", "--limit-factor", "2"]);
    assert!(said.contains("line 3: 1 cells, but the header has 2"), "the row is read: {said}");
}

#[test]
fn long_names_and_texts_are_refused_unless_the_limits_are_raised() {
    let (name, text) = ("n".repeat(1025), "t".repeat((64 << 10) + 1));
    let folder = Folder::with(&[
        ("name.csv", format!("{name},y\n1,a\n2,b\n3,a\n").as_bytes()),
        ("text.csv", format!("x,y\n{text},a\nu,b\n{text},a\n").as_bytes()),
        // The table that is shown has no room for it.
        ("vast.csv", format!("{},y\n1,a\n2,b\n3,a\n", "n".repeat(70_000)).as_bytes()),
    ]);
    for (file, words) in [
        ("name.csv", "column 1: the name \"nnn"),
        ("text.csv", "its text is longer than 65536 bytes"),
        ("vast.csv", "has 70000 bytes, 1024 are the limit: --limit-factor raises it"),
    ] {
        let said = folder.refused(&[file]);
        assert!(said.contains(words) && said.len() < 400, "{file}: {} bytes, {said}", said.len());
    }
    for (file, factor) in [("name.csv", "2"), ("text.csv", "2"), ("vast.csv", "100")] {
        folder.taken(&[file, "--limit-factor", factor, "--test-size", "0"]);
    }
}

#[test]
fn a_pipe_is_no_table() {
    let folder = Folder::with(&[]);
    assert!(Command::new("mkfifo").arg(folder.0.path().join("pipe.csv")).status().unwrap().success());
    for file in ["pipe.csv", "/dev/null", "/dev/stdin"] {
        let said = folder.refused(&[file]);
        assert!(said.contains("is a pipe or a device") && said.contains("write it to a file first"), "{file}: {said}");
    }
}

#[test]
fn rows_that_are_not_what_the_header_says() {
    assert_refused("", &[], &["the file is empty"]);
    assert_refused("x,y\n", &[], &["no rows with a target"]);
    assert_refused("x,y\n1,\n2,NA\n", &[], &["no rows with a target (2 rows lack it)"]);
    assert_refused("x,y\n1,a\n\n2\n", &[], &["data.csv, line 4: 1 cells, but the header has 2"]);
    assert_refused("x,y\n1,a\n2,b,c\n", &[], &["data.csv, line 3: 3 cells, but the header has 2"]);
    assert_refused("x,y\n1,a\ninf,b\n", &[], &["line 3, column \"x\": \"inf\" isn't finite", "make it empty"]);
    assert_refused("x,y\n1,1\n2,1e400\n", &["--task", "regression"], &["line 3, column \"y\"", "isn't finite"]);
}

#[test]
fn rows_that_teach_nothing() {
    assert_refused("x,y\n1,a\n2,a\n3,a\n", &[], &["only one class of \"y\": \"a\"", "two"]);
    let holes = "x,z,y\n1,,a\n,2,b\n3,,a\n,4,b\n5,,a\n";
    assert_refused(holes, &["--dropna"], &["of the 4 training rows lacks a value", "without --dropna"]);
    assert_refused("x,z,y\n1,,a\n2,,b\n3,,a\n", &["--test-size", "0"], &["column \"z\" has no value", "--drop z"]);
    assert_refused(GOOD, &["--split-by", "time"], &["--time"]);
    let numbers = "x,y\n1,0.5\n2,1.5\n3,2.5\n";
    assert_refused(numbers, &["--split-by", "stratified"], &["a stratified split needs classes"]);
    assert_refused(
        "x,y\n-1,a\n2,b\n3,a\n",
        &["--log1p", "x", "--test-size", "0"],
        &["--log1p x", "have -1,", "--clip"],
    );
    assert_refused(GOOD, &["--log1p", "colour"], &["--log1p", "\"colour\" is categorical"]);
    assert_refused(GOOD, &["--impute", "colour=mean"], &["--impute colour=mean", "most_frequent"]);
    assert_refused(GOOD, &["--impute", "z=mean"], &["there is no feature \"z\""]);
    assert_refused(GOOD, &["--impute", "mean", "--impute", "median"], &["--impute is given twice"]);
    assert_refused(GOOD, &["--max-categories", "1"], &["--max-categories must be at least 2"]);
}

#[test]
fn ten_thousand_categories() {
    let rows: String = (0..10_000).map(|row| format!("v{row},{}\n", row % 2)).collect();
    let csv = format!("x,y\n{rows}");
    let words = ["column \"x\"", "more than 1000 different texts, such as \"v1", "--max-categories"];
    assert_refused(&csv, &[], &words);
    Folder::with(&[("data.csv", csv.as_bytes())]).taken(&["data.csv", "--max-categories", "20"]);
    assert_refused(&csv.replace("x,y", "y,x"), &[], &["the target \"y\"", "more than 1000 different values"]);
}

#[test]
fn files_that_are_not_data() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(GOOD.repeat(100).as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstandard = zstd::encode_all(GOOD.repeat(100).as_bytes(), 1).unwrap();
    let folder = Folder::with(&[
        ("cut.csv.gz", &gzip[..gzip.len() / 2]),
        ("cut.csv.zst", &zstandard[..zstandard.len() - 5]),
        ("broken.csv.gz", &[&gzip[..20], &b"not gzip"[..]].concat()),
        ("cut.parquet", b"PAR1 and nothing else"),
        ("latin.csv", b"x,y\n\n1,caf\xe9\n2,a\n"),
        ("excel.txt", &[b"\xff\xfe".to_vec(), GOOD.encode_utf16().flat_map(u16::to_le_bytes).collect()].concat()),
        ("good.csv", GOOD.as_bytes()),
        ("other.csv", &GOOD.replace("colour", "size").into_bytes()),
    ]);
    std::fs::create_dir(folder.0.path().join("folder")).unwrap();
    for (file, words) in [
        ("cut.csv.gz", "cut.csv.gz is damaged or ends too early"),
        ("cut.csv.zst", "cut.csv.zst is damaged or ends too early"),
        ("broken.csv.gz", "broken.csv.gz is damaged or ends too early"),
        ("cut.parquet", "cut.parquet can't be read as Parquet"),
        ("latin.csv", "latin.csv, line 3: the text isn't UTF-8"),
        ("excel.txt", "excel.txt, line 1: the text isn't UTF-8"),
        ("folder", "folder is a directory"),
        ("*.arrow", "no file matches \"*.arrow\""),
        ("nowhere.csv", "can't read nowhere.csv"),
    ] {
        let said = folder.refused(&[file]);
        assert!(said.contains(words), "{file}: {said}");
    }
    let said = folder.refused(&["good.csv", "other.csv"]);
    assert!(said.contains("other.csv: there is no column \"colour\", which good.csv has"), "{said}");
    let said = folder.refused(&["good.csv", "./good.csv"]);
    assert!(said.contains("is named twice"), "{said}");
    let said = folder.refused(&["good.csv", "--test", "other.csv"]);
    assert!(said.contains("there is no column \"colour\", which the training data has"), "{said}");
}

#[test]
fn odd_data_that_can_be_trained_on() {
    let folder = Folder::with(&[
        ("constant.csv", b"x,c,y\n1,a,yes\n1,a,no\n1,a,yes\n1,a,no\n1,a,no\n"),
        ("part-1.csv", GOOD.as_bytes()),
        ("part-2.csv", GOOD.as_bytes()),
    ]);
    for options in [&["--scale", "minmax"][..], &["--clip", "0.1,0.9"], &["--log1p", "x", "--indicator"]] {
        folder.taken(&[&["constant.csv", "--test-size", "0"], options].concat());
    }
    folder.taken(&["part-*.csv", "--test-size", "0"]);
}

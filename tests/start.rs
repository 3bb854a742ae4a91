//! docs/start.md and the guides, typed as they stand: from a table to predictions and dead letters on topics.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::weir::{Weir, extend_section};
use crate::support::{eventually, kafka};

/// What the test puts in place of what the page says.
struct Place {
    folder: tempfile::TempDir,
    topics: String,
    http: Option<String>,
    /// Functions of the shell that later blocks use.
    functions: String,
}

impl Place {
    /// A folder with weir on its PATH and the files that the page uses.
    fn new() -> Place {
        let place = Place {
            folder: tempfile::tempdir().unwrap(),
            topics: kafka::unique("flights"),
            http: None,
            functions: String::new(),
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = place.folder.path();
        symlink(root.join("examples"), folder.join("examples")).unwrap();
        fs::create_dir(folder.join("bin")).unwrap();
        symlink(env!("CARGO_BIN_EXE_weir"), folder.join("bin/weir")).unwrap();
        fs::create_dir_all(folder.join("config/examples")).unwrap();
        let config = fs::read_to_string(root.join("config/examples/flights.toml")).unwrap();
        let config = place.fit(&config).replace("file:models", &format!("file:{}/models", folder.display()));
        fs::write(place.config(), format!("{config}\n[http]\nlisten = \"127.0.0.1:0\"\n")).unwrap();
        extend_section(&place.config(), "[store]", "poll_ms = 100");
        place
    }

    fn config(&self) -> std::path::PathBuf {
        self.folder.path().join("config/examples/flights.toml")
    }

    /// The text with the topics, the broker and the address of this run.
    fn fit(&self, text: &str) -> String {
        let mut text = text.replace("localhost:9092", kafka::brokers());
        for part in PARTS {
            text = text.replace(&format!("flights.{part}"), &format!("{}.{part}", self.topics));
        }
        text = text.replace("weir-flights", &self.topics);
        match &self.http {
            Some(http) => text.replace("localhost:8080", http),
            None => text,
        }
    }

    /// Whether the broker knows the topics of this run.
    fn has_topics(&self) -> bool {
        PARTS.iter().all(|part| kafka::topic_exists(kafka::brokers(), &format!("{}.{part}", self.topics)))
    }

    /// Runs a block of commands; every one of them has to succeed. Returns what it prints.
    fn run(&mut self, block: &str) -> String {
        let block = self.fit(block);
        for line in block.lines().filter(|line| line.contains("() {")) {
            self.functions.push_str(line);
            self.functions.push('\n');
        }
        let path = format!("{}/bin:{}", self.folder.path().display(), std::env::var("PATH").unwrap());
        let mut bash = Command::new("bash");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WEIR__")) {
            bash.env_remove(name);
        }
        let script = format!("set -eu\n{}\n{block}", self.functions);
        let bash = bash.args(["-c", &script]).current_dir(self.folder.path()).env("PATH", path);
        let output = bash.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "a page has a command that fails:\n{block}\n{text}");
        text.into_owned()
    }
}

/// What the topics' names end with.
const PARTS: [&str; 3] = ["features", "predictions", "dead-letter"];

/// The pages in the order in which they are typed: the guides go on from what the start page leaves.
const PAGES: [&str; 5] = [
    "docs/start.md",
    "docs/guides/evaluate-and-shrink.md",
    "docs/guides/replay.md",
    "docs/guides/dead-letters.md",
    "docs/guides/train.md",
];

/// The blocks of commands of all pages. A block that is marked `sh no-test` isn't one of them.
fn blocks() -> Vec<String> {
    let read = |page: &&str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let blocks = |page: String| {
        let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
        blocks.collect::<Vec<_>>()
    };
    PAGES.iter().map(read).flat_map(blocks).collect()
}

#[test]
fn the_pages_lead_to_predictions() {
    let mut place = Place::new();
    let mut weir = None;
    let mut printed = String::new();
    for block in blocks() {
        if block.starts_with("weir serve ") {
            assert_eq!(block, "weir serve -c config/examples/flights.toml\n");
            let served = Weir::ready(&place.config());
            place.http = Some(served.http.clone());
            weir = Some(served);
            continue;
        }
        printed.push_str(&place.run(&block));
        if block.contains("--create-topics") {
            assert!(place.has_topics(), "weir check has created them");
        }
        if let (Some(weir), true) = (&weir, block.contains("weir produce")) {
            eventually("all records have an outcome", || {
                let outcomes =
                    weir.metric("weir_records_produced_total", "") + weir.metric("weir_records_rejected_total", "");
                (outcomes == 32_854.0 && weir.metric("weir_in_flight_records", "") == 0.0).then_some(())
            });
        }
    }
    let weir = weir.expect("the page serves");
    eventually("version 2 serves", || weir.log().contains("version=2").then_some(()));
    for expected in [
        "published flights@1, and production points to it",
        "\"id\":\"2013-01-01-UA1545-EWR\",\"prediction\":\"on_time\"",
        "goldens pass",
        "{\"ready\":true}",
        "\"model\":\"flights\",\"version\":1}",
        "32,854 records sent to ",
        "missing_feature: feature \"month\" is missing or null; the record has \"id\", \"dep_delay\"",
        "flights@1 and flights@2 on july.csv.gz",
        "flights@production: version 1 → 2",
        "version 2 with int8 weights",
        "32,854 records through flights@1 and flights@2",
        "Nothing was sent",
    ] {
        assert!(printed.contains(expected), "{expected} isn't in what the commands print:\n{printed}");
    }
    assert!(weir.stop().success());
}

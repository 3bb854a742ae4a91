//! The versions of the model: some that are sound, with what each must answer for the pool, and one that is broken.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use weir::train::preparation::Preparation;

use crate::account::Expected;
use crate::records::Records;
use crate::support::models::{promote, publish};
use crate::support::weir::command;

/// How many sound versions there are.
pub(crate) const VERSIONS: usize = 3;

/// A store with all versions.
pub(crate) struct Models {
    folder: PathBuf,
    /// The store, as a configuration names it.
    pub(crate) url: String,
    /// What each sound version must answer.
    pub(crate) expected: Expected,
    sound: Vec<u64>,
    broken: u64,
}

impl Models {
    /// Trains and publishes them, and asks `weir predict` what they answer.
    pub(crate) fn publish(folder: &Path, records: &Records) -> Models {
        let store = folder.join("models");
        let url = format!("file:{}", store.display());
        // Nothing is imputed: a record that lacks a feature can't be scored.
        let preparation = || Preparation { dropna: true, ..Preparation::default() };
        let sound: Vec<u64> = (1..=VERSIONS as u64).map(|seed| publish(&store, seed, preparation())).collect();
        let broken = publish(&store, 0, preparation());
        let weights = store.join(format!("flights/{broken}/weights.safetensors"));
        let mut bytes = fs::read(&weights).unwrap();
        *bytes.last_mut().expect("weights") ^= 1;
        fs::write(&weights, bytes).unwrap();

        let pool = folder.join("pool.jsonl");
        let mut file = BufWriter::new(File::create(&pool).unwrap());
        records.pool().for_each(|record| writeln!(file, "{record}").unwrap());
        file.flush().unwrap();
        let expected = sound.iter().map(|&version| (version, answers(version, &url, &pool))).collect();
        Models { folder: store, url, expected, sound, broken }
    }

    /// Points the alias to a sound version, by its place; returns its number.
    pub(crate) fn promote(&self, version: usize) -> u64 {
        promote(&self.folder, "production", self.sound[version]);
        self.sound[version]
    }

    /// Points the alias to the broken version.
    pub(crate) fn promote_broken(&self) {
        promote(&self.folder, "production", self.broken);
    }
}

/// What `weir predict` says of each record of the pool, without the id.
fn answers(version: u64, store: &str, pool: &Path) -> Vec<String> {
    let reference = format!("flights@{version}");
    let output =
        command().args(["predict", &reference, "--store", store, "--fields", "id"]).arg(pool).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let rest = |(number, line): (usize, &str)| {
        line.strip_prefix(&format!("{{\"id\":\"{number}\",")).expect("the answers are in the order of the pool").into()
    };
    lines.lines().enumerate().map(rest).collect()
}

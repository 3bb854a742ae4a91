//! States of a real weir that the alerts are about.
//!
//! `tests/helm/states` has what weir exported in each of them, and a test of the alerts gives it to promtool. The tests that
//! bring weir into a state hold that it still exports the same. `WEIR_RECORD=1` lets them write the files anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use weir::monitor::metrics::{CATALOGUE, Kind};

use super::eventually;
use super::weir::{Setup, Weir};

/// The gauges that say what the state is.
const STATE: [&str; 4] = ["weir_model_info", "weir_model_refused_version", "weir_route_paused", "weir_route_waiting"];

/// The file of a state.
pub(crate) fn state_file(state: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/helm/states/{state}.prom"))
}

/// Waits until weir has the series that are kept for a state, and the same values of the gauges that make the state. `setups`
/// are those of its routes.
pub(crate) fn await_state(weir: &Weir, state: &str, setups: &[&Setup]) {
    let file = state_file(state);
    if std::env::var_os("WEIR_RECORD").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, recorded(weir, setups)).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let kept: BTreeSet<_> = kept.lines().map(comparable).collect();
    let what = format!("weir exports what {} has. WEIR_RECORD=1 writes it anew", file.display());
    eventually(&what, || {
        let now = recorded(weir, setups);
        (now.lines().map(comparable).collect::<BTreeSet<_>>() == kept).then_some(())
    });
}

/// What weir exports now for the alerts that aren't about drift or latency, sorted, with names that are the same in each run.
fn recorded(weir: &Weir, setups: &[&Setup]) -> String {
    let rules = include_str!("../../helm/weir/rules/weir.yaml");
    let words: BTreeSet<_> = rules.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).collect();
    let is_wanted = |line: &&str| {
        let entry = CATALOGUE.iter().find(|entry| line.split(['{', ' ']).next() == Some(entry.name));
        entry.is_some_and(|entry| {
            let is_drift = entry.labels.iter().any(|label| ["feature", "period"].contains(label));
            words.contains(entry.name) && entry.kind != Kind::Histogram && !is_drift
        })
    };
    let text = weir.get("/metrics").1;
    let mut lines: Vec<String> = text.lines().filter(is_wanted).map(str::to_owned).collect();
    for line in &mut lines {
        for (number, setup) in setups.iter().enumerate() {
            for (name, kept) in [
                (&setup.input, "features"),
                (&setup.output, "predictions"),
                (&setup.dead_letter, "dead-letter"),
                (&setup.group, "group"),
            ] {
                *line = line.replace(&format!("\"{name}\""), &format!("\"{kept}-{number}\""));
            }
        }
        let masked: &[&str] =
            if line.starts_with("weir_build_info") { &["version", "os", "arch"] } else { &["digest"] };
        masked.iter().for_each(|label| mask(line, label));
    }
    lines.sort_unstable();
    lines.iter().map(|line| line.clone() + "\n").collect()
}

/// Replaces the value of a label, if it is there, by an x.
fn mask(line: &mut String, label: &str) {
    let name = format!("{label}=\"");
    let Some(start) = line.find(&name).map(|at| at + name.len()) else { return };
    let end = start + line[start..].find('"').unwrap();
    line.replace_range(start..end, "x");
}

/// A line, without its value unless that is the state. Room in flight comes and goes.
fn comparable(line: &str) -> &str {
    let is_state = STATE.iter().any(|name| line.starts_with(name)) && !line.contains("reason=\"room\"");
    if is_state { line } else { line.rsplit_once(' ').unwrap().0 }
}

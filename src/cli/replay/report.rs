//! What came of a replay, as text and as JSON.

use std::collections::BTreeSet;
use std::io::Write;

use serde_json::{Value, json};

use crate::cli::range;
use crate::kafka::reader::Extent;
use crate::replay::difference::{ChangedAnswer, DifferenceReport, VersionDifference};
use crate::replay::{Replay, ReplayedVersion};
use crate::report::{count, number, plain, write_table};

/// Classes that are listed.
const MAX_CLASSES: usize = 50;

/// Classes with more have a table that is too wide for a terminal.
const MAX_TABLE: usize = 12;

pub(super) struct ReplayReport<'r> {
    pub(super) route: &'r str,
    pub(super) ranges: &'r [(&'r str, Vec<Extent>)],
    pub(super) replay: &'r Replay,
    /// Predictions that the output topic was too small for.
    pub(super) too_large: u64,
    pub(super) interrupted: bool,
    pub(super) seconds: f64,
}

impl ReplayReport<'_> {
    pub(super) fn write_json(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let topics: Vec<Value> =
            self.ranges.iter().map(|(topic, extents)| json!({ "topic": topic, "partitions": extents })).collect();
        let version = |version: &ReplayedVersion| {
            json!({
                "model": version.model().name(),
                "version": version.model().version(),
                "predicted": version.predicted,
                "rejected": version.rejected,
            })
        };
        let report = json!({
            "route": self.route,
            "topics": topics,
            "read": self.replay.read,
            "models": self.replay.versions.iter().map(version).collect::<Vec<_>>(),
            "difference": self.replay.difference.as_ref().map(VersionDifference::report),
            "too_large_for_output": self.too_large,
            "interrupted": self.interrupted,
            "seconds": self.seconds,
        });
        writeln!(out, "{report:#}")?;
        Ok(())
    }

    pub(super) fn write_text(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        for (topic, extents) in self.ranges {
            writeln!(out, "{topic}: {}", range::describe(extents))?;
        }
        let names: Vec<String> = self.replay.versions.iter().map(name).collect();
        let read = count(self.replay.read);
        let end = if self.interrupted { ", interrupted before the end" } else { "" };
        writeln!(out, "{read} records through {} in {:.1} s{end}", names.join(" and "), self.seconds)?;
        self.write_outcomes(&names, out)?;
        if self.too_large > 0 {
            writeln!(out, "{} predictions left out that the output topic is too small for", count(self.too_large))?;
        }
        match &self.replay.difference {
            Some(difference) => write_difference(difference, &names, out),
            None => Ok(()),
        }
    }

    fn write_outcomes(&self, names: &[String], out: &mut dyn Write) -> anyhow::Result<()> {
        let versions = &self.replay.versions;
        let row = |head: &str, of: &dyn Fn(&ReplayedVersion) -> u64| {
            [head.to_owned()].into_iter().chain(versions.iter().map(|version| count(of(version)))).collect::<Vec<_>>()
        };
        let mut table = vec![[String::new()].into_iter().chain(names.iter().cloned()).collect()];
        table.push(row("predicted", &|version| version.predicted));
        table.push(row("rejected", &|version| version.rejected.values().sum()));
        let reasons: BTreeSet<&str> = versions.iter().flat_map(|version| version.rejected.keys().copied()).collect();
        for reason in reasons {
            table.push(row(&format!("  {reason}"), &|version| version.rejected.get(reason).copied().unwrap_or(0)));
        }
        Ok(write_table(out, table)?)
    }
}

fn name(version: &ReplayedVersion) -> String {
    format!("{}@{}", version.model().name(), version.model().version())
}

fn write_difference(difference: &VersionDifference, names: &[String], out: &mut dyn Write) -> anyhow::Result<()> {
    let report = difference.report();
    let percent = |share: Option<f64>| share.map_or("-".into(), |share| format!("{:.2} %", share * 100.0));
    writeln!(out, "{} records predicted by both", count(report.compared))?;
    if difference.is_classification() {
        writeln!(out, "  the same class for {}", percent(report.agreement))?;
    }
    writeln!(out, "  the same answer to the bit for {}", percent(report.identical))?;

    let of = if difference.is_classification() { "probability" } else { "prediction" };
    writeln!(out, "absolute change of the {of}")?;
    let mut table = vec![["", "mean", "p99", "max"].map(String::from).to_vec()];
    for output in report.outputs.iter().take(MAX_CLASSES) {
        table.push(vec![plain(output.name), number(output.mean), number(output.p99), number(output.max)]);
    }
    write_table(out, table)?;
    if report.outputs.len() > MAX_CLASSES {
        writeln!(out, "  … and {} more, with --json", report.outputs.len() - MAX_CLASSES)?;
    }
    if difference.is_classification() {
        write_classes(difference, &report, names, out)?;
    }
    if !report.most_changed.is_empty() {
        writeln!(out, "changed most")?;
        let mut table = vec![["", "change", &names[0], &names[1]].map(String::from).to_vec()];
        for changed in report.most_changed {
            let ChangedAnswer { topic, partition, offset, change, first, second } = changed;
            let place = format!("{topic}/{partition}/{offset}");
            table.push(vec![place, number(*change), answer(difference, 0, first), answer(difference, 1, second)]);
        }
        write_table(out, table)?;
    }
    Ok(())
}

fn write_classes(
    difference: &VersionDifference,
    report: &DifferenceReport<'_>,
    names: &[String],
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let classes: Vec<&str> = difference.names().collect();
    if classes.len() > MAX_TABLE {
        writeln!(out, "classes that became others, of {}: with --json", classes.len())?;
        return Ok(());
    }
    writeln!(out, "classes: rows are what {} predicts, columns what {} does", names[0], names[1])?;
    let mut table = vec![[String::new()].into_iter().chain(classes.iter().map(|class| plain(class))).collect()];
    for first in &classes {
        let records = |second: &&str| {
            let found = report.classes.iter().find(|moved| moved.first == *first && moved.second == *second);
            count(found.map_or(0, |moved| moved.records))
        };
        table.push([plain(first)].into_iter().chain(classes.iter().map(records)).collect());
    }
    Ok(write_table(out, table)?)
}

/// What a version answers, shortly.
fn answer(difference: &VersionDifference, version: usize, outputs: &[f32]) -> String {
    if difference.is_classification() {
        let class = difference.decisions()[version].class(outputs);
        let name = difference.names().nth(class).unwrap_or_default();
        return format!("{} {}", plain(name), number(outputs[class].into()));
    }
    let numbers: Vec<String> = outputs.iter().map(|&output| number(output.into())).collect();
    numbers.join(", ")
}

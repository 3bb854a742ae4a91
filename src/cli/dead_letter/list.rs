//! `weir dead-letter list`: what was rejected, and why.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::by_topic;
use crate::cli::interrupt::Interrupt;
use crate::cli::model::write_table;
use crate::cli::range::{self, RangeArgs};
use crate::cli::reading::Reading;
use crate::cli::topics;
use crate::config::Config;
use crate::dead_letter::survey::{GroupKey, LetterGroup, LetterSample, LetterSurvey};
use crate::kafka::reader::{Extent, Next, Reader};
use crate::report::{count, plain};

pub(super) const EXAMPLES: &str = "Examples:\n  weir dead-letter list -c flights.toml\n  \
    weir dead-letter list -c flights.toml --from 2026-11-24T06:00:00Z --samples 5 --json";

/// What is said at the first signal, and at the second.
const SIGNALS: [&str; 2] = ["telling what was read so far", "stopped by a second signal"];

/// What is counted.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file (TOML).
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,

    /// Letters of this route alone.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,

    #[command(flatten)]
    range: RangeArgs,

    /// How many letters to show of each reason: the last ones.
    #[arg(long, value_name = "N", default_value_t = 1)]
    samples: usize,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// A group in `--json`.
#[derive(Serialize)]
struct GroupReport<'s> {
    #[serde(flatten)]
    group: &'s GroupKey,
    #[serde(flatten)]
    counted: &'s LetterGroup,
}

pub(super) fn run(args: Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config)?;
    let routes = topics::routes(&config, args.route.as_deref())?;
    let interrupt = Interrupt::listen(Some(SIGNALS))?;
    // It neither asks nor changes its group.
    let reader = Reader::new(&config.kafka, &config.kafka.group_id)?;
    let mut survey = LetterSurvey::default();
    let mut read: Vec<(&str, Vec<Extent>)> = Vec::new();
    let mut reading = Reading::new(args.json);
    for topic in by_topic(&routes).into_keys() {
        let extents = reader.extents(topic, args.range.from.as_ref(), args.range.to.as_ref())?;
        let mut pass = reader.read(topic, &extents)?;
        while !interrupt.asked() {
            reading.show(&pass);
            match pass.next(Duration::from_millis(100))? {
                Next::Record(record) => {
                    let is_wanted = |route: &str| args.route.as_deref().is_none_or(|wanted| wanted == route);
                    survey.add(topic, &record, is_wanted, args.samples);
                }
                Next::Nothing => {}
                Next::End => break,
            }
        }
        read.push((topic, extents));
    }
    reading.finish();
    if args.json {
        write_json(&survey, &read, interrupt.asked(), out)?;
    } else {
        write_text(&survey, &read, out)?;
    }
    Ok(if interrupt.asked() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn write_json(
    survey: &LetterSurvey,
    read: &[(&str, Vec<Extent>)],
    interrupted: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let topics: Vec<_> = read.iter().map(|(topic, extents)| json!({ "topic": topic, "partitions": extents })).collect();
    let counts: Vec<_> = survey.groups.iter().map(|(group, counted)| GroupReport { group, counted }).collect();
    let report = json!({
        "topics": topics,
        "letters": survey.letters(),
        "first_ms": survey.groups.values().filter_map(|counted| counted.first_ms).min(),
        "last_ms": survey.groups.values().filter_map(|counted| counted.last_ms).max(),
        "counts": counts,
        "other_routes": survey.other_routes,
        "foreign": survey.foreign,
        "interrupted": interrupted,
    });
    writeln!(out, "{report:#}")?;
    Ok(())
}

fn write_text(survey: &LetterSurvey, read: &[(&str, Vec<Extent>)], out: &mut impl Write) -> anyhow::Result<()> {
    for (topic, extents) in read {
        writeln!(out, "{topic}: {}", range::describe(extents))?;
    }
    writeln!(out, "{} dead letters", count(survey.letters()))?;
    if survey.letters() > 0 {
        write_table(out, "  ", table(survey))?;
    }
    for (what, records) in
        [("dead letters of other routes", survey.other_routes), ("records that aren't weir's", survey.foreign)]
    {
        if records > 0 {
            writeln!(out, "{} {what}", count(records))?;
        }
    }
    for (group, counted) in &survey.groups {
        for sample in &counted.samples {
            write_sample(group, sample, out)?;
        }
    }
    Ok(())
}

/// A line per group below the heads; topics, routes and models are named where they differ.
fn table(survey: &LetterSurvey) -> Vec<Vec<String>> {
    let common = |group: &GroupKey| {
        let GroupKey { dead_letter_topic, route, model, version, .. } = group;
        [dead_letter_topic.clone(), plain(route), plain(&format!("{model}@{version}"))]
    };
    let groups: Vec<_> = survey.groups.keys().map(common).collect();
    let differs = [0, 1, 2].map(|column| groups.iter().any(|group| group[column] != groups[0][column]));
    let row = |common: [String; 3], own: [String; 5]| -> Vec<String> {
        let shown = common.into_iter().zip(differs).filter(|(_, differs)| *differs).map(|(cell, _)| cell);
        shown.chain(own).collect()
    };
    let time = |millis: Option<i64>| millis.map_or("-".into(), range::time);
    let heads = ["REASON", "LETTERS", "ATTEMPTS", "FIRST", "LAST"];
    let mut rows = vec![row(["TOPIC", "ROUTE", "MODEL"].map(String::from), heads.map(String::from))];
    for (common, (group, counted)) in groups.iter().zip(&survey.groups) {
        let LetterGroup { letters, attempts, first_ms, last_ms, .. } = counted;
        let own = [plain(&group.reason), count(*letters), attempts.to_string(), time(*first_ms), time(*last_ms)];
        rows.push(row(common.clone(), own));
    }
    rows
}

fn write_sample(group: &GroupKey, sample: &LetterSample, out: &mut impl Write) -> io::Result<()> {
    let LetterSample { partition, offset, origin, attempt, message, key, value, omitted, .. } = sample;
    writeln!(out)?;
    writeln!(out, "{}/{partition}/{offset}  {}: {}", group.dead_letter_topic, plain(&group.reason), plain(message))?;
    let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
    writeln!(out, "  from   {}/{}/{}{again}", plain(&origin.topic), origin.partition, origin.offset)?;
    if let Some(key) = key {
        writeln!(out, "  key    {}", plain(key))?;
    }
    match (value, omitted) {
        (Some(value), _) => writeln!(out, "  value  {}", plain(value)),
        (None, Some(omitted)) => writeln!(out, "  left out: {}", plain(omitted)),
        (None, None) => writeln!(out, "  no value (a tombstone)"),
    }
}

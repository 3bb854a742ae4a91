//! `weir dead-letter redrive`: rejected records, sent again.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::by_topic;
use crate::cli::interrupt::Interrupt;
use crate::cli::range::{self, RangeArgs};
use crate::cli::reading::Reading;
use crate::cli::topics::{self, usage};
use crate::config::Config;
use crate::dead_letter::progress::LetterSelection;
use crate::dead_letter::redrive::{Beginning, KeepReason, Redrive, RedriveCounts, RedrivePlan};
use crate::kafka::admin::{OutputLimits, Topic};
use crate::kafka::producer::Producer;
use crate::kafka::reader::{Extent, Reader};
use crate::record::Reason;
use crate::report::{count, plain};
use crate::route::RouteConfig;

pub(super) const EXAMPLES: &str = "Examples:\n  weir dead-letter redrive -c flights.toml\n  \
    weir dead-letter redrive -c flights.toml --reason wrong_type --execute --first-run\n  \
    weir dead-letter redrive -c flights.toml --from 0:1203 --to 0:1204 --output flights.trial --execute";

/// What is said at the first signal, and at the second.
const SIGNALS: [&str; 2] = [
    "waiting for what was sent; once more stops at once",
    "stopped by a second signal; what was sent last may be sent again by the next run",
];

/// What is sent again, and where to.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file (TOML).
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,

    /// Letters of this route alone.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,

    /// Letters of these reasons alone.
    #[arg(long, value_name = "REASON,…", value_delimiter = ',', value_parser = parse_reason)]
    reason: Vec<Reason>,

    #[command(flatten)]
    range: RangeArgs,

    /// Send all of them to this topic [default: where each came from].
    #[arg(long, value_name = "TOPIC")]
    output: Option<String>,

    /// Keep letters that have been tried so often.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: u32,

    /// Send them; without this, only what would be sent is printed.
    #[arg(long)]
    execute: bool,

    /// Nothing has been sent again yet: begin at the start, where nothing is remembered.
    #[arg(long, conflicts_with = "from")]
    first_run: bool,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What was done with a dead-letter topic.
struct TopicReport {
    topic: String,
    beginning: Beginning,
    extents: Vec<Extent>,
    counts: RedriveCounts,
}

pub(super) fn run(args: Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config)?;
    let routes = topics::routes(&config, args.route.as_deref())?;
    if let Some(output) = &args.output {
        let is_dead_letters = config.routes.iter().any(|route| route.dead_letter.topic == *output);
        if is_dead_letters {
            return Err(usage(format!("--output: {output:?} is a dead-letter topic itself")));
        }
    }
    let targets = args.targets(&config, &routes)?;
    let interrupt = Interrupt::listen(Some(SIGNALS))?;
    let group = format!("{}.redrive", config.kafka.group_id);
    let reader = Reader::new(&config.kafka, &group)?;
    let producer = args.execute.then(|| Producer::new(&config.kafka, &OutputLimits::over(targets.values()), None));
    let producer = producer.transpose().context("no Kafka producer with these properties")?;

    let mut redrives = Vec::new();
    for (topic, routes) in by_topic(&routes) {
        let redrive = Redrive::prepare(&reader, args.plan(topic, &routes, &targets))?;
        let has_letters = redrive.extents().iter().any(|extent| extent.from < extent.to);
        // Before anything is sent from any topic: a refused run sends nothing.
        if args.execute && redrive.beginning() == Beginning::Fresh && has_letters && !args.first_run {
            return Err(usage(format!(
                "topic {topic:?}: group {group} remembers nothing. Is this the first run, then say --first-run. If not, \
                 Kafka has forgotten what was sent, 7 days after the last run (offsets.retention.minutes): say by --from \
                 where to begin, or all of it is sent again"
            )));
        }
        redrives.push((topic, redrive));
    }
    let mut all = Vec::new();
    for (topic, redrive) in redrives {
        let (beginning, extents) = (redrive.beginning(), redrive.extents().to_vec());
        if !args.json {
            write_beginning(topic, beginning, &extents, &group, out)?;
        }
        let mut reading = Reading::new(args.json);
        let counts = redrive.run(producer.as_ref(), &mut |pass| {
            reading.show(pass);
            if interrupt.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        reading.finish();
        let counts = counts.with_context(|| match beginning {
            Beginning::Remembered | Beginning::Fresh if args.execute => format!(
                "topic {topic:?}: another run goes on where this one last committed, at most 1,000 letters come twice"
            ),
            _ => format!("topic {topic:?}"),
        })?;
        if !args.json {
            write_counts(&counts, args.execute, out)?;
        }
        all.push(TopicReport { topic: topic.into(), beginning, extents, counts });
    }
    let interrupted = all.iter().any(|done| done.counts.interrupted);
    if args.json {
        write_json(&all, &group, args.execute, out)?;
    } else if interrupted {
        writeln!(out, "interrupted before the end")?;
    } else if !args.execute {
        writeln!(out, "Nothing was sent: add --execute to send them.")?;
    }
    Ok(if interrupted { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Args {
    fn plan(&self, topic: &str, routes: &[&RouteConfig], targets: &BTreeMap<String, Topic>) -> RedrivePlan {
        let reasons = self.reason.iter().map(|reason| Some(reason.as_str().to_owned()));
        let reasons = if self.reason.is_empty() { vec![None] } else { reasons.collect() };
        let selection = |reason| LetterSelection { route: self.route.clone(), reason };
        RedrivePlan {
            topic: topic.into(),
            routes: routes.iter().map(|route| (route.name.clone(), route.input.topics.clone())).collect(),
            selections: reasons.into_iter().map(selection).collect(),
            from: self.range.from.clone(),
            to: self.range.to.clone(),
            output: self.output.clone(),
            max_attempts: self.max_attempts,
            targets: targets.clone(),
        }
    }

    /// What the topics are like to which letters may go.
    fn targets(&self, config: &Config, routes: &[&RouteConfig]) -> anyhow::Result<BTreeMap<String, Topic>> {
        let names: Vec<String> = match &self.output {
            Some(output) => vec![output.clone()],
            None => routes.iter().flat_map(|route| route.input.topics.iter().cloned()).collect(),
        };
        topics::describe(config, &names)
    }
}

fn parse_reason(text: &str) -> Result<Reason, String> {
    Reason::ALL.into_iter().find(|reason| reason.as_str() == text).ok_or_else(|| {
        let known = Reason::ALL.map(Reason::as_str).join(", ");
        format!("the reasons are {known}")
    })
}

fn write_beginning(
    topic: &str,
    beginning: Beginning,
    extents: &[Extent],
    group: &str,
    out: &mut impl Write,
) -> io::Result<()> {
    let why = match beginning {
        Beginning::Given => "as --from says; this isn't remembered".into(),
        Beginning::Remembered => format!("where the last run ended, as group {group} remembers"),
        Beginning::Fresh => format!("from the start: group {group} remembers nothing"),
    };
    writeln!(out, "{topic}: {}\n  {why}", range::describe(extents))
}

fn write_counts(counts: &RedriveCounts, executed: bool, out: &mut impl Write) -> io::Result<()> {
    let verb = if executed { "sent" } else { "would send" };
    if counts.sent.is_empty() {
        writeln!(out, "  {verb} nothing")?;
    }
    for ((target, reason), records) in &counts.sent {
        writeln!(out, "  {verb} {} to {target}: {}", count(*records), plain(reason))?;
    }
    for (&kept, &records) in &counts.kept {
        writeln!(out, "  kept {}: {}", count(records), why(kept))?;
    }
    Ok(())
}

fn why(kept: KeepReason) -> &'static str {
    match kept {
        KeepReason::SentBefore => "sent by a run before",
        KeepReason::TriedTooOften => "tried too often (--max-attempts)",
        KeepReason::Incomplete => {
            "the dead-letter topic was too small for their values, which must come from their source again"
        }
        KeepReason::TooLarge => "larger than the topic takes that they would go to",
        KeepReason::OtherTopic => "from topics that their routes don't read any more (--output sends them elsewhere)",
        KeepReason::OtherReason => "of other reasons",
        KeepReason::OtherRoute => "of other routes",
        KeepReason::Foreign => "no dead letters of weir's",
    }
}

fn write_json(all: &[TopicReport], group: &str, executed: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let topic = |done: &TopicReport| {
        let sent: Vec<Value> = done
            .counts
            .sent
            .iter()
            .map(|((topic, reason), records)| json!({ "topic": topic, "reason": reason, "records": records }))
            .collect();
        let kept: Map<String, Value> =
            done.counts.kept.iter().map(|(kept, records)| (kept.as_str().into(), json!(records))).collect();
        json!({
            "topic": done.topic,
            "beginning": done.beginning.as_str(),
            "partitions": done.extents,
            "read": done.counts.read,
            "sent": sent,
            "kept": kept,
            "interrupted": done.counts.interrupted,
        })
    };
    let report = json!({
        "executed": executed,
        "group": group,
        "topics": all.iter().map(topic).collect::<Vec<_>>(),
    });
    writeln!(out, "{report:#}")?;
    Ok(())
}

//! `weir replay`: what one or two versions answer to a range of what has come in.

mod report;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;

use self::report::ReplayReport;
use super::console;
use super::evaluate::same_outputs;
use super::interrupt::Interrupt;
use super::range::RangeArgs;
use super::reading::Reading;
use super::topics::{self, usage};
use crate::config::Config;
use crate::kafka::admin::{OutputLimits, Topic};
use crate::kafka::delivery::Delivery;
use crate::kafka::producer::Producer;
use crate::kafka::reader::Reader;
use crate::model::Model;
use crate::model::reference::ModelRef;
use crate::model::store::Store;
use crate::replay::{Replay, ReplayOutput, TopicOutput};
use crate::route::RouteConfig;

/// What is said at the first signal, and at the second.
const SIGNALS: [&str; 2] = ["telling what was read so far; once more stops at once", "stopped by a second signal"];

/// Read a part of a route's input again, through one or two versions, and report how their answers differ.
///
/// The records are scored as the route scores them, beside whatever serves it: its group isn't joined and no offset is
/// committed. The predictions are those of the route; with two versions each record has two, which say their version.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  weir replay -c flights.toml --models flights@production,flights@8\n  \
        weir replay -c flights.toml --models flights@8 --from 2026-11-24T06:00:00Z --output flights.trial\n  \
        weir replay -c flights.toml --models flights@8 --from 0:0 --to 0:1000 --output-file predictions.jsonl")]
pub struct Args {
    /// The configuration file (TOML).
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,

    /// The route, if there are several.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,

    /// One version, or two to compare: each NAME@VERSION, NAME@ALIAS or NAME@latest, out of the configuration's store.
    #[arg(long, value_name = "MODEL_REF[,MODEL_REF]", value_delimiter = ',', required = true)]
    models: Vec<ModelRef>,

    #[command(flatten)]
    range: RangeArgs,

    /// Write the predictions to this topic, with the header weir-source.
    #[arg(long, value_name = "TOPIC", conflicts_with = "output_file")]
    output: Option<String>,

    /// Write the predictions as JSON lines; "-" is standard output, and the report then goes to standard error.
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    replay(&args)
}

fn replay(args: &Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config)?;
    let route = args.route(&config)?;
    let interrupt = Interrupt::listen(Some(SIGNALS))?;
    let mut replay = args.versions(&config, route)?;
    // It neither asks nor changes its group.
    let reader = Reader::new(&config.kafka, &config.kafka.group_id)?;
    let mut ranges = Vec::new();
    for topic in &route.input.topics {
        ranges.push((topic.as_str(), reader.extents(topic, args.range.from.as_ref(), args.range.to.as_ref())?));
    }
    let producer;
    let mut output = match (&args.output, &args.output_file) {
        (Some(name), _) => {
            let (target, input_partitions) = args.output_topic(&config, route, name)?;
            producer = Producer::new(&config.kafka, &OutputLimits::over([&target]), None)
                .context("no Kafka producer with these properties")?;
            let delivery = Delivery::new(&producer);
            ReplayOutput::Topic(TopicOutput { name, facts: target, input_partitions, delivery, too_large: 0 })
        }
        (None, Some(path)) if path.as_os_str() == "-" => {
            ReplayOutput::Lines(Box::new(BufWriter::new(io::stdout().lock())))
        }
        (None, Some(path)) => {
            let file = File::create(path).with_context(|| format!("can't write {}", path.display()))?;
            ReplayOutput::Lines(Box::new(BufWriter::new(file)))
        }
        (None, None) => ReplayOutput::Nowhere,
    };

    let started = Instant::now();
    let mut reading = Reading::new(args.json);
    let asked = || if interrupt.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let mut end = ControlFlow::Continue(());
    for (topic, extents) in &ranges {
        end = replay.run(&reader, topic, extents, &mut output, &mut |pass| {
            reading.show(pass);
            asked()
        })?;
        if end.is_break() {
            break;
        }
    }
    output.finish(&mut &asked)?;
    reading.finish();

    let report = ReplayReport {
        route: &route.name,
        ranges: &ranges,
        replay: &replay,
        too_large: if let ReplayOutput::Topic(topic) = &output { topic.too_large } else { 0 },
        interrupted: end.is_break(),
        seconds: started.elapsed().as_secs_f64(),
    };
    let takes_stdout = args.output_file.as_ref().is_some_and(|path| path.as_os_str() == "-");
    drop(output);
    let mut out: Box<dyn Write> = if takes_stdout { Box::new(console::stderr()) } else { Box::new(console::stdout()) };
    if args.json {
        report.write_json(&mut out)?
    } else {
        report.write_text(&mut out)?
    }
    Ok(if end.is_break() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Args {
    fn route<'c>(&self, config: &'c Config) -> anyhow::Result<&'c RouteConfig> {
        match topics::routes(config, self.route.as_deref())?[..] {
            [route] => Ok(route),
            _ => Err(usage(format!("--route: there are several, say which of {}", topics::names(config)))),
        }
    }

    fn versions(&self, config: &Config, route: &RouteConfig) -> anyhow::Result<Replay> {
        let store = Store::open(&config.store.url)?;
        let load = |reference: &ModelRef| -> anyhow::Result<Arc<Model>> {
            Ok(Arc::new(store.load(&reference.name, store.resolve(reference)?)?))
        };
        let (first, second) = match &self.models[..] {
            [first] => (load(first)?, None),
            [first, second] => {
                let models = [load(first)?, load(second)?];
                let order = same_outputs(&models[0].signature().target, &models[1].signature().target);
                let order = order.with_context(|| format!("{first} and {second}"))?;
                let [first, second] = models;
                (first, Some((second, order)))
            }
            more => return Err(usage(format!("--models: one version or two, not {}", more.len()))),
        };
        Ok(Replay::new(first, second, &route.score_options()))
    }

    /// What the output topic is like, and how many partitions the input topics have.
    fn output_topic(
        &self,
        config: &Config,
        route: &RouteConfig,
        name: &str,
    ) -> anyhow::Result<(Topic, BTreeMap<String, i32>)> {
        if config.routes.iter().any(|route| route.input.topics.iter().any(|topic| topic == name)) {
            return Err(usage(format!("--output: {name:?} is an input topic, the predictions would be scored")));
        }
        let names: Vec<String> = [name.to_owned()].into_iter().chain(route.input.topics.iter().cloned()).collect();
        let mut topics = topics::describe(config, &names)?;
        let target = topics.remove(name).unwrap_or_default();
        Ok((target, topics.into_iter().map(|(name, topic)| (name, topic.partitions)).collect()))
    }
}

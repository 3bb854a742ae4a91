//! Weir beside its peers, on a real Kafka, in one run.
//!
//! Every contender reads the same topic, scores each record with the same network, and writes to a topic of as many
//! partitions; each runs alone, in processes and with a group of its own. The measure of it all is the plain loop, which
//! polls each record and produces its bytes on: what passing records through Kafka costs when scoring is free. It takes part
//! with several `linger.ms`. Throughput is compared with the fastest of them with as many workers, latency with linger 0.
//!
//! - [`workload`]: the topics, the records, the network
//! - [`contender`]: who takes part, and how each is started; benches/peers/README.md has the peers' settings
//! - [`throughput`]: records/s, CPU per record and memory, while there is more to read than can be read
//! - [`batching`]: weir's latency against load, with and without waiting for fuller batches
//! - [`scale`]: weir in several processes, on few and on many partitions
//! - [`soak`]: weir for half an hour
//! - [`latency`]: from the call that produces a record to the arrival of its output, at a steady rate
//!
//! It is run so:
//!
//!     cargo bench --bench peers -- [--records N] [--partitions N,…] [--rounds N] [--latency] [--workload mlp|large|crayfish]
//!                                  [--only NAME,…] [--all] [--batching] [--scale] [--soak MINUTES] [--results DIR]
//!
//! Without `--all` or `--only` only the plain loop and weir take part, which need no other languages.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that can't go on panics, and it prints")]

mod batching;
mod contender;
mod latency;
mod plain_loop;
mod process;
mod scale;
mod soak;
mod throughput;
mod workload;

#[allow(dead_code, reason = "the benchmark needs a part of what the tests do")]
#[path = "../../tests/support"]
mod support {
    pub(crate) mod kafka;
    pub(crate) mod noise;
    pub(crate) mod provenance;
    mod wait;
    pub(crate) mod weir;

    pub(crate) use wait::{PATIENCE, eventually};
}

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use contender::Contender;
use support::kafka::Kafka;
use support::provenance::{commit, machine, today};
use workload::{Kind, Workload};

#[derive(Debug, Parser)]
#[command(name = "peers", args_override_self = true)]
struct Options {
    /// How many records there are to read.
    #[arg(long, default_value_t = 1_000_000)]
    records: usize,

    /// How many partitions each topic has: 4, and with --scale 1 to 4,096. Throughput is measured with each of these in turn.
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    partitions: Vec<i32>,

    /// How often everybody has a turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// What is scored.
    #[arg(long, value_enum, default_value_t = Kind::Mlp)]
    workload: Kind,

    /// Measure latency at steady rates instead of throughput.
    #[arg(long)]
    latency: bool,

    /// Run weir alone at steady rates, with and without waiting for fuller batches.
    #[arg(long)]
    batching: bool,

    /// Run weir alone, in one to four processes, on few and on many partitions.
    #[arg(long)]
    scale: bool,

    /// Run weir alone for so many minutes at a steady rate, swapping models, and look at its memory.
    #[arg(long, value_name = "MINUTES")]
    soak: Option<usize>,

    /// How long each rate is held, in seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u64,

    /// All contenders; the peers have to be there (`scripts/setup peers`).
    #[arg(long)]
    all: bool,

    /// Only contenders whose names contain one of these.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    only: Vec<String>,

    /// Write the tables to a file in this folder.
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,

    /// Be the plain loop: brokers, input, output, group, threads, linger. Not for people.
    #[arg(long, num_args = 6, hide = true)]
    plain_loop: Vec<String>,

    /// Cargo says this to each benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let [brokers, input, output, group, threads, linger_ms] = &options.plain_loop[..] {
        plain_loop::run(brokers, input, output, group, threads.parse().unwrap(), linger_ms);
        return ExitCode::SUCCESS;
    }
    // As it is now: while it runs, somebody may go on.
    let commit = commit();
    let contenders: Vec<Contender> =
        Contender::all().into_iter().filter(|contender| options.wants(contender)).collect();
    // The members of a contender join in one generation, so that no rebalance falls into what is measured.
    let kafka = Kafka::start(0, None, &["group.initial.rebalance.delay.ms=1000"]);
    let mut is_right = true;
    let tables = if options.scale {
        scale::measure(&kafka, options.workload, options.partitions(), options.records)
    } else {
        // Steady rates are fed while they are measured.
        let is_steady = options.latency || options.batching || options.soak.is_some();
        let records = if is_steady { 0 } else { options.records };
        println!("producing {records} records");
        let workload = |partitions: i32| {
            let workload = Workload::new(&kafka, options.workload, partitions, records);
            if contenders.iter().any(|contender| !contender.is_at_home()) {
                workload.export_model();
            }
            workload
        };
        if let Some(minutes) = options.soak {
            let (table, is_flat) = soak::run(&workload(options.partitions()[0]), &Contender::weir(2), minutes);
            is_right = is_flat;
            table
        } else if options.batching {
            batching::measure(&workload(options.partitions()[0]), options.seconds)
        } else if options.latency {
            latency::measure(&workload(options.partitions()[0]), &contenders, options.rounds, options.seconds)
        } else {
            let measure = |&partitions: &i32| {
                let table = throughput::measure(&workload(partitions), &contenders, options.rounds);
                format!("{partitions} partitions:\n\n{table}\n")
            };
            options.partitions().iter().map(measure).collect()
        }
    };
    let page = options.page(commit, &tables);
    println!("\n{page}");
    if let Some(folder) = &options.results {
        fs::create_dir_all(folder).unwrap();
        let path = folder.join(format!("{}-{}.md", today(), options.name()));
        fs::write(&path, page).unwrap();
        println!("written to {}", path.display());
    }
    if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Options {
    fn wants(&self, contender: &Contender) -> bool {
        if !self.only.is_empty() {
            return self.only.iter().any(|name| contender.name.contains(name.as_str()));
        }
        self.all || contender.is_at_home()
    }

    fn partitions(&self) -> &[i32] {
        match &self.partitions[..] {
            [] if self.scale => &scale::PARTITIONS,
            [] => &[4],
            chosen => chosen,
        }
    }

    fn name(&self) -> String {
        let measured = match self {
            Options { scale: true, .. } => "scale",
            Options { batching: true, .. } => "batching",
            Options { soak: Some(_), .. } => "soak",
            Options { latency: true, .. } => "latency",
            _ => "throughput",
        };
        format!("{}-{measured}", self.workload.as_str())
    }

    fn page(&self, commit: String, tables: &str) -> String {
        let mut page = format!("# Peers, {}, {}\n\n| | |\n| --- | --- |\n", self.name(), today());
        let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
        let rounds = if self.scale || self.batching || self.soak.is_some() { 1 } else { self.rounds };
        let facts = [
            ("command", format!("`cargo bench --bench peers -- {}`", arguments.join(" "))),
            ("commit", commit),
            ("machine", machine()),
            ("workload", self.workload.describe().into()),
            ("rounds", format!("{rounds}, medians (smallest to largest)")),
        ];
        facts.iter().for_each(|(name, value)| writeln!(page, "| {name} | {value} |").unwrap());
        page + "\n" + tables
    }
}

/// The middle of values, between the least and the most of them.
fn spread(mut values: Vec<f64>, digits: usize) -> String {
    values.sort_unstable_by(f64::total_cmp);
    let (middle, least, most) = (values[values.len() / 2], values[0], values[values.len() - 1]);
    format!("{middle:.digits$} ({least:.digits$} to {most:.digits$})")
}

/// How a contender's runs compare with what a plain loop did in the same rounds: the middle of the ratios.
fn beside<R>(runs: &[R], plain: &[R], of: fn(&R) -> f64) -> f64 {
    median(runs.iter().zip(plain).map(|(this, plain)| of(this) / of(plain)).collect())
}

/// How much more it was than a plain loop's in the same rounds: the middle of the differences.
fn beyond<R>(runs: &[R], plain: &[R], of: fn(&R) -> f64) -> f64 {
    median(runs.iter().zip(plain).map(|(this, plain)| of(this) - of(plain)).collect())
}

/// The plain loop that a contender is compared with: the best one with as many workers, the best one if there is none, or
/// whoever is first.
fn measure_of(contenders: &[&Contender], at: usize, value: impl Fn(usize) -> f64) -> usize {
    let loops = || (0..contenders.len()).filter(|&other| contenders[other].is_plain_loop());
    let as_many = loops().filter(|&other| contenders[other].workers == contenders[at].workers);
    let best = |a: &usize, b: &usize| value(*a).total_cmp(&value(*b));
    as_many.max_by(best).or_else(|| loops().max_by(best)).unwrap_or(0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

//! Chaos: weir among faults, on a real Kafka, and an account of every record.
//!
//! A feeder produces records that are a function of partition and sequence number ([`records`]). One to three weir
//! processes score them, each behind a network of its own ([`support::proxy`]). Faults are drawn from a seed ([`fault`]) and met
//! one after the other, the next when outputs have come since the last ([`run`]). A verifier reads outputs and dead
//! letters with read_committed, straight from the brokers ([`reader`]), and books each id ([`account`]): how often it came
//! out, in which order, and whether the prediction is that of `weir predict`.
//!
//! A second route has the topics that change: they are deleted and created again, they grow, and they refuse records
//! ([`side`]).
//!
//! To know that the verifier would notice, two bugs that such programs have had before are switched on in weir, in a
//! build with the feature `planted-bugs`; it must find what they do.
//!
//!     cargo test --features planted-bugs --test chaos -- [--seed N] [--faults N] [--records N] [--brokers N]
//!                                                       [--delivery at_least_once|exactly_once] [--results DIR]
//!
//! is the short form: both deliveries, then the bugs. `make chaos` is the long one, on three brokers.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't go on panics, and it prints")]

mod account;
mod cluster;
mod fault;
mod feeder;
mod models;
mod process;
mod reader;
mod records;
mod report;
mod run;
mod side;

#[allow(dead_code, reason = "this needs a part of what the tests do")]
#[path = "../support"]
mod support {
    pub(crate) mod kafka;
    pub(crate) mod models;
    pub(crate) mod provenance;
    pub(crate) mod proxy;
    pub(crate) mod rights;
    mod wait;
    pub(crate) mod weir;

    pub(crate) use wait::{PATIENCE, eventually};
}

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use cluster::Cluster;
use fault::{Fault, Kind};
use models::{Models, VERSIONS};
use records::Records;
use report::Summary;
use run::{Delivery, PARTITIONS, Plan, Report, run};

/// How many processes there are at the start.
const PROCESSES: usize = 2;

const RECORDS_PER_PLANTED_FAULT: usize = 15_000;

/// How often a process is frozen to show `zombie_commit`: one freeze in six finds it between two transactions, and shows nothing.
const FREEZES: usize = 5;

#[derive(Debug, Parser)]
#[command(name = "chaos", args_override_self = true)]
struct Options {
    /// What the faults, and the records, are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// How many faults each delivery meets; with 0, only the planted bugs are tried.
    #[arg(long, default_value_t = 20)]
    faults: usize,

    /// How many records each delivery gets.
    #[arg(long, default_value_t = 150_000)]
    records: usize,

    /// How many brokers there are.
    #[arg(long, default_value_t = 1)]
    brokers: usize,

    /// Only this delivery, and no planted bugs.
    #[arg(long, value_parser = delivery)]
    delivery: Option<Delivery>,

    /// Write the tables to files in this folder.
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,

    /// Run only if "chaos" contains this, as `cargo test NAME` says it to each program.
    filter: Option<String>,

    /// These three do nothing: what is said to `cargo test` behind `--` is said to each program.
    #[arg(long, hide = true)]
    nocapture: bool,
    #[arg(long, hide = true)]
    exact: bool,
    #[arg(long, hide = true)]
    test_threads: Option<usize>,
}

/// A bug that is switched on, and faults among which it shows.
struct Planted {
    bug: &'static str,
    delivery: Delivery,
    faults: Vec<Fault>,
    /// What it does, as the table calls it.
    finds: fn(&Report) -> (&'static str, usize),
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.filter.as_ref().is_some_and(|filter| !"chaos".contains(filter.as_str())) {
        return ExitCode::SUCCESS;
    }
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    end_what_hangs(options.longest(), &folder);
    let result = catch_unwind(AssertUnwindSafe(|| everything(&options, &folder)));
    if let Ok(true) = result {
        let _ = std::fs::remove_dir_all(&folder);
        return ExitCode::SUCCESS;
    }
    println!(
        "\nchaos: FAILED with seed {}; logs, and what the brokers have, are in {}",
        options.seed,
        folder.display()
    );
    println!("again: {}", options.command(options.delivery));
    ExitCode::FAILURE
}

/// Ends this program after so long. Everything here waits for a bounded time, except librdkafka's clients for their own
/// end.
fn end_what_hangs(longest: Duration, folder: &std::path::Path) {
    let folder = folder.display().to_string();
    std::thread::spawn(move || {
        std::thread::sleep(longest);
        println!("\nchaos: FAILED: it hangs, after {longest:?}; logs, and what the brokers have, are in {folder}");
        std::process::exit(1);
    });
}

/// All runs that the options ask for; whether all is right.
fn everything(options: &Options, folder: &std::path::Path) -> bool {
    let records = Records::new(options.seed, &support::models::year());
    println!("chaos: training {VERSIONS} versions, starting {} broker(s)", options.brokers);
    let models = Models::publish(folder, &records);
    let mut cluster = Cluster::start(options.brokers, folder);
    let deliveries = match options.delivery {
        Some(delivery) => vec![delivery],
        None if options.faults == 0 => Vec::new(),
        None => vec![Delivery::AtLeastOnce, Delivery::ExactlyOnce],
    };
    let mut pages = Vec::new();
    let mut all_right = true;
    for delivery in deliveries {
        let faults = fault::draw(options.seed, options.faults, PROCESSES, options.brokers, VERSIONS);
        println!("\nchaos: {}, {} faults, {} records", delivery.as_str(), faults.len(), options.records);
        let plan = Plan {
            delivery,
            per_partition: options.records / PARTITIONS,
            records: records.clone(),
            models: &models,
            faults,
            processes: PROCESSES,
            bug: None,
            folder: folder.join(delivery.as_str()),
        };
        let report = run(&mut cluster, &plan);
        let summary = Summary {
            delivery,
            seed: options.seed,
            brokers: options.brokers,
            records: plan.per_partition * PARTITIONS,
            faults: &plan.faults,
            report: &report,
            command: &options.command(Some(delivery)),
        };
        pages.push(summary.page());
        all_right &= summary.is_right();
        if let Some(results) = &options.results {
            summary.keep(results);
        }
    }
    if options.delivery.is_none() {
        let (page, found) = planted(&mut cluster, &records, &models, folder);
        pages.push(page);
        all_right &= found;
    }
    pages.iter().for_each(|page| println!("\n{page}"));
    all_right
}

/// Runs weir with each of the bugs; whether the verifier found them.
fn planted(cluster: &mut Cluster, records: &Records, models: &Models, folder: &std::path::Path) -> (String, bool) {
    if !cfg!(feature = "planted-bugs") {
        return ("The planted bugs were not tried: they need `--features planted-bugs`.\n".into(), true);
    }
    let mut page = String::from("| planted bug | delivery | what the verifier found |\n| --- | --- | --- |\n");
    let mut all_found = true;
    for planted in bugs() {
        println!("\nchaos: with the planted bug {}", planted.bug);
        let plan = Plan {
            delivery: planted.delivery,
            per_partition: RECORDS_PER_PLANTED_FAULT * planted.faults.len() / PARTITIONS,
            records: records.clone(),
            models,
            faults: planted.faults,
            processes: PROCESSES,
            bug: Some(planted.bug),
            folder: folder.join(planted.bug),
        };
        let report = run(cluster, &plan);
        let (what, count) = (planted.finds)(&report);
        all_found &= count > 0;
        let (bug, delivery) = (planted.bug, planted.delivery.as_str());
        let found = if count > 0 { format!("{count} records {what}") } else { format!("NOTHING {what}") };
        page.push_str(&format!("| {bug} | `{delivery}` | {found} |\n"));
    }
    (page, all_found)
}

fn bugs() -> [Planted; 2] {
    let seconds = Duration::from_secs;
    [
        // Produce requests are held while commits go through: what is committed then is lost with the process.
        Planted {
            bug: "commit_before_acknowledgement",
            delivery: Delivery::AtLeastOnce,
            faults: vec![Fault::new(Kind::StallKill, 0, seconds(2)), Fault::new(Kind::StallKill, 1, seconds(2))],
            finds: |report| ("lost", report.verdict.lost),
        },
        // It wakes when its partitions are somebody else's, and before its transaction has ended.
        Planted {
            bug: "zombie_commit",
            delivery: Delivery::ExactlyOnce,
            faults: (0..FREEZES).map(|freeze| Fault::new(Kind::Freeze, freeze % PROCESSES, seconds(7))).collect(),
            finds: |report| ("doubled", report.verdict.doubled),
        },
    ]
}

impl Options {
    /// What all of it may take: several times what it takes.
    fn longest(&self) -> Duration {
        let deliveries = if self.delivery.is_some() { 1 } else { 2 };
        Duration::from_secs(600 + 30 * self.faults as u64 * deliveries)
    }

    /// The command that runs this again, or this delivery of it.
    fn command(&self, delivery: Option<Delivery>) -> String {
        let Options { seed, faults, records, brokers, .. } = self;
        let delivery = delivery.map_or(String::new(), |delivery| format!(" --delivery {}", delivery.as_str()));
        let arguments = format!("--seed {seed} --faults {faults} --records {records} --brokers {brokers}{delivery}");
        if self.results.is_some() {
            format!("make chaos ARGS=\"{arguments}\"")
        } else {
            let profile = if cfg!(debug_assertions) { "" } else { "--release " };
            format!("cargo test {profile}--features planted-bugs --test chaos -- {arguments}")
        }
    }
}

fn delivery(text: &str) -> Result<Delivery, String> {
    let all = [Delivery::AtLeastOnce, Delivery::ExactlyOnce];
    let found = all.into_iter().find(|delivery| delivery.as_str() == text);
    found.ok_or_else(|| "it is at_least_once or exactly_once".into())
}

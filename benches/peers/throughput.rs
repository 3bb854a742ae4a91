//! Records/s, CPU per record and memory, while there is more to read than can be read.
//!
//! What is measured is the stretch from the tenth to the ninetieth percent of the records, or half a minute of it, by the
//! ends of the output's partitions: not the start, and not the end.

use std::fmt::Write;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::contender::Contender;
use crate::workload::{PARTITIONS, Workload};
use crate::{median, spread};

/// The longest stretch that is measured.
const LONGEST: Duration = Duration::from_secs(30);

/// How long a contender may need to come to the stretch.
const START: Duration = Duration::from_secs(180);

/// What one run of a contender measured.
#[derive(Clone, Copy)]
struct Run {
    records_per_s: f64,
    cpu_us_per_record: f64,
    peak_mib: f64,
}

/// Runs everybody in turn, again and again; the tables.
pub(crate) fn measure(workload: &Workload, contenders: &[Contender], rounds: usize) -> String {
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); contenders.len()];
    for round in 1..=rounds {
        for (contender, runs) in contenders.iter().zip(&mut runs) {
            let output = workload.create_topic("output");
            let run = run(workload, contender, &output);
            crate::support::kafka::delete_topic(&workload.brokers, &output);
            println!(
                "round {round}: {:<28} {:>9.0} records/s  {:>7.2} µs CPU/record  {:>5.0} MiB",
                contender.name, run.records_per_s, run.cpu_us_per_record, run.peak_mib
            );
            runs.push(run);
        }
    }
    let mut table =
        String::from("| contender | records/s | × plain loop | CPU s per million | × plain loop | peak MiB |\n");
    table.push_str("| --- | --- | --- | --- | --- | --- |\n");
    for (contender, ran) in contenders.iter().zip(&runs) {
        // Beside what the loop did in the same round.
        let beside =
            |of: fn(&Run) -> f64| median(ran.iter().zip(&runs[0]).map(|(this, plain)| of(this) / of(plain)).collect());
        let values = |of: fn(&Run) -> f64| ran.iter().map(of).collect::<Vec<f64>>();
        writeln!(
            table,
            "| {} | {} | {:.2} | {} | {:.2} | {} |",
            contender.name,
            spread(values(|run| run.records_per_s), 0),
            beside(|run| run.records_per_s),
            spread(values(|run| run.cpu_us_per_record), 2),
            beside(|run| run.cpu_us_per_record),
            spread(values(|run| run.peak_mib), 0)
        )
        .unwrap();
    }
    table
}

/// Runs a contender until it has passed most of the records on.
fn run(workload: &Workload, contender: &Contender, output: &str) -> Run {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &workload.brokers).create().unwrap();
    let end = || -> i64 {
        let watermark = |partition| consumer.fetch_watermarks(output, partition, Duration::from_secs(30)).unwrap().1;
        (0..PARTITIONS).map(watermark).sum()
    };
    let processes = contender.start(workload, &workload.input, output);
    let wait_for = |share: f64, deadline: Instant| {
        let target = (workload.records as f64 * share) as i64;
        loop {
            let (at, now) = (end(), Instant::now());
            if at >= target || now >= deadline {
                return (at, now);
            }
            thread::sleep(Duration::from_millis(10));
        }
    };
    // Of a slow one not a tenth, but what it does in a while; it is to have begun, though.
    let (begun, _) = wait_for(0.0001, Instant::now() + START);
    assert!(begun > 0, "{} brings nothing out", contender.name);
    let (first, started) = wait_for(0.1, Instant::now() + LONGEST / 3);
    let cpu_before = processes.cpu_seconds();
    let (last, ended) = wait_for(0.9, started + LONGEST);
    let cpu = processes.cpu_seconds() - cpu_before;
    let passed = (last - first) as f64;
    Run {
        records_per_s: passed / (ended - started).as_secs_f64(),
        cpu_us_per_record: cpu / passed * 1e6,
        peak_mib: processes.peak_mib(),
    }
}

//! Weir beside a plain rdkafka loop, on a real Kafka, in one run.
//!
//! The loop polls each record and produces its bytes on, with the client settings that weir has: what passing records
//! through Kafka costs when scoring is free. Both read the same topic (JSON records of 30 features, 4 partitions) with
//! two workers and write to one of 4 partitions; weir decodes, scores by an MLP 30-100-100, and encodes as well, once at
//! least once and once exactly once, with a commit every 100 ms.
//!
//! Each contender runs in turn, in a process of its own and with a group of its own, several rounds. What is measured
//! is the stretch from the tenth to the ninetieth percent of the records, by the ends of the output partitions: not
//! the start, and not the end. CPU is the process's, from /proc.
//!
//!     cargo bench --bench line -- [--records N] [--rounds N]

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that can't go on panics, and it prints")]

#[allow(dead_code, reason = "the benchmark needs a part of what the tests do")]
#[path = "../tests/support"]
mod support {
    pub(crate) mod kafka;
    mod wait;
    pub(crate) mod weir;

    pub(crate) use wait::{PATIENCE, eventually};
}

use std::ops::ControlFlow;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ndarray::Array2;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord};
use weir::model::store::Store;
use weir::train::dataset::{Column, Table, Target, TargetValues};
use weir::train::{Recipe, fit};

use support::kafka::{Kafka, Record, create_topic, produce, unique};
use support::weir::Setup;

const FEATURES: usize = 30;
const PARTITIONS: i32 = 4;
const WORKERS: usize = 2;

const CONTENDERS: [&str; 3] = ["plain loop", "weir", "weir, exactly once"];

/// What one run of a contender measured.
#[derive(Clone, Copy)]
struct Run {
    records_per_s: f64,
    cpu_us_per_record: f64,
    peak_mib: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: usize| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    if let Some(at) = arguments.iter().position(|argument| argument == "--plain-loop") {
        let [brokers, input, output, group] = &arguments[at + 1..at + 5] else { panic!("--plain-loop takes four") };
        return plain_loop(brokers, input, output, group);
    }
    let (records, rounds) = (number("--records", 1_000_000), number("--rounds", 3));

    // Both workers of a contender join in one generation, so that no rebalance falls into what is measured.
    let kafka = Kafka::start(0, None, &["group.initial.rebalance.delay.ms=1000"]);
    let setup = Setup::named(&kafka.brokers);
    setup.create_topics(PARTITIONS);
    let passed = unique("passed");
    create_topic(&setup.brokers, &passed, PARTITIONS, &[]);
    println!("producing {records} records of {FEATURES} features");
    fill(&setup, records);
    publish_model(&setup);

    let mut runs: [Vec<Run>; 3] = Default::default();
    for round in 1..=rounds {
        let this = std::env::current_exe().unwrap();
        let mut command = Command::new(this);
        command.args(["--plain-loop", &setup.brokers, &setup.input, &passed, &unique("loop")]);
        runs[0].push(measure(command, &setup.brokers, &passed, records));
        for (runs, (delivery, commit_interval_ms)) in
            runs[1..].iter_mut().zip([("at_least_once", 1_000), ("exactly_once", 100)])
        {
            let worker = format!("delivery = \"{delivery}\"");
            let setup = Setup { group: unique("weir"), worker, commit_interval_ms, ..setup_of(&setup) };
            let mut command = support::weir::command();
            command.args(["serve", "-c"]).arg(setup.config(""));
            runs.push(measure(command, &setup.brokers, &setup.output, records));
        }
        for (name, runs) in CONTENDERS.iter().zip(&runs) {
            let run = runs.last().unwrap();
            println!(
                "round {round}: {name:<19} {:>9.0} records/s  {:>5.2} µs CPU/record  {:>4.0} MiB",
                run.records_per_s, run.cpu_us_per_record, run.peak_mib
            );
        }
    }

    println!("\n{rounds} rounds of {records} records, two workers, medians (smallest to largest)");
    println!("| contender | records/s | CPU per record | peak memory |");
    println!("| --- | --- | --- | --- |");
    for (name, runs) in CONTENDERS.iter().zip(&runs) {
        println!(
            "| {name} | {} | {} µs | {} MiB |",
            spread(runs, |run| run.records_per_s, 0),
            spread(runs, |run| run.cpu_us_per_record, 2),
            spread(runs, |run| run.peak_mib, 0)
        );
    }
    for (name, upper, lower) in [("weir / loop", 1, 0), ("exactly once / at least once", 2, 1)] {
        let ratio = |of: fn(&Run) -> f64| {
            let mut ratios: Vec<f64> =
                runs[upper].iter().zip(&runs[lower]).map(|(upper, lower)| of(upper) / of(lower)).collect();
            ratios.sort_unstable_by(f64::total_cmp);
            ratios[ratios.len() / 2]
        };
        println!(
            "| {name} | {:.2} × | {:.2} × | |",
            ratio(|run| run.records_per_s),
            ratio(|run| run.cpu_us_per_record)
        );
    }
}

fn spread(runs: &[Run], of: fn(&Run) -> f64, digits: usize) -> String {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_unstable_by(f64::total_cmp);
    let (median, least, most) = (values[values.len() / 2], values[0], values[values.len() - 1]);
    format!("{median:.digits$} ({least:.digits$} to {most:.digits$})")
}

/// Another test setup with the same topics and store.
fn setup_of(setup: &Setup) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(setup.store(), folder.path().join("models")).unwrap();
    Setup {
        folder,
        brokers: setup.brokers.clone(),
        input: setup.input.clone(),
        output: setup.output.clone(),
        dead_letter: setup.dead_letter.clone(),
        group: setup.group.clone(),
        commit_interval_ms: 1_000,
        worker: String::new(),
        properties: String::new(),
    }
}

fn fill(setup: &Setup, records: usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let record = |number: usize| {
        let mut json = format!("{{\"id\":{number}");
        for feature in 0..FEATURES {
            json.push_str(&format!(",\"f{feature}\":{:.6}", rng.random_range(-3.0..3.0)));
        }
        json.push('}');
        Record {
            partition: number as i32 % PARTITIONS,
            key: Some(number.to_string().into()),
            value: Some(json.into()),
            ..Record::default()
        }
    };
    produce(&setup.brokers, &setup.input, (0..records).map(record));
}

/// A classifier 30-100-100 on noise: what it answers doesn't matter, what it costs does.
fn publish_model(setup: &Setup) {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let rows = Array2::from_shape_simple_fn((2_000, FEATURES), || rng.random_range(-3.0..3.0));
    let classes = rows.rows().into_iter().map(|row| usize::from(row[0] > 0.0)).collect();
    let features = (0..FEATURES).map(|n| Column { name: format!("f{n}"), categories: None }).collect();
    let table = Table {
        features,
        rows,
        target: Target {
            name: "y".into(),
            values: TargetValues::Classes { names: vec!["no".into(), "yes".into()], rows: classes },
        },
        times: None,
        without_target: 0,
    };
    let recipe = Recipe { hidden_layer_sizes: vec![100, 100], max_iter: 2, ..Recipe::default() };
    let trained = fit(&table, &table.select(&[]), &recipe, &mut |_| ControlFlow::Continue(())).unwrap();
    let store = Store::open(&format!("file:{}", setup.store().display())).unwrap();
    let version = store.publish(&trained.into_draft("flights", [])).unwrap();
    store.promote("flights", "production", version).unwrap();
}

/// Runs a contender until the output topic has `records` more.
fn measure(mut command: Command, brokers: &str, output: &str, records: usize) -> Run {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let end = || -> i64 {
        let watermark = |partition| consumer.fetch_watermarks(output, partition, Duration::from_secs(30)).unwrap().1;
        (0..PARTITIONS).map(watermark).sum()
    };
    let before = end();
    let mut process = command.stderr(Stdio::null()).spawn().unwrap();
    let wait_for = |share: f64| {
        let target = before + (records as f64 * share) as i64;
        let deadline = Instant::now() + Duration::from_secs(300);
        loop {
            let at = end();
            if at >= target {
                return (at, Instant::now());
            }
            assert!(Instant::now() < deadline, "{:.0} % did not come out", share * 100.0);
            thread::sleep(Duration::from_millis(5));
        }
    };
    let (first, started) = wait_for(0.1);
    let cpu_before = cpu_seconds(&process);
    let (last, ended) = wait_for(0.9);
    let cpu = cpu_seconds(&process) - cpu_before;
    let peak_mib = peak_mib(&process);
    wait_for(1.0);
    process.kill().unwrap();
    process.wait().unwrap();
    let passed = (last - first) as f64;
    Run { records_per_s: passed / (ended - started).as_secs_f64(), cpu_us_per_record: cpu / passed * 1e6, peak_mib }
}

/// User and system time of a process, all threads. The kernel counts in hundredths of a second.
fn cpu_seconds(process: &Child) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    // Behind the name, which ends with the last parenthesis: fields 3 on; 14 and 15 are the times.
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let ticks: u64 = rest.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    ticks as f64 / 100.0
}

fn peak_mib(process: &Child) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// The contender: each record's bytes, as they are. Ends when it is killed.
fn plain_loop(brokers: &str, input: &str, output: &str, group: &str) {
    let failed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| pass_on(brokers, input, output, group, &failed));
        }
    });
}

fn pass_on(brokers: &str, input: &str, output: &str, group: &str, failed: &AtomicUsize) {
    // The settings of weir's clients.
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.max.messages.kbytes", "16384")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .create()
        .unwrap();
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "0")
        .set("partitioner", "murmur2_random")
        .set("batch.size", "1000000")
        .set("queue.buffering.max.kbytes", "65536")
        .set("linger.ms", "1")
        .create()
        .unwrap();
    consumer.subscribe(&[input]).unwrap();
    let mut commit_at = Instant::now() + Duration::from_secs(1);
    for count in 0_usize.. {
        if let Some(message) = consumer.poll(Duration::from_millis(10)) {
            let Ok(message) = message else {
                failed.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(output).partition(message.partition());
            record.key = message.key();
            record.payload = message.payload();
            record.timestamp = message.timestamp().to_millis();
            while let Err((_, again)) = producer.send(record) {
                record = again;
                producer.poll(Duration::from_millis(1));
            }
        }
        if count % 256 == 0 {
            producer.poll(Duration::ZERO);
            if Instant::now() >= commit_at {
                commit_at = Instant::now() + Duration::from_secs(1);
                if let Ok(position) = consumer.position() {
                    let _ = consumer.commit(&position, CommitMode::Async);
                }
            }
        }
    }
}

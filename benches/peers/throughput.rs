//! Records/s, CPU per record and memory, while there is more to read than can be read.
//!
//! What is measured is the stretch from the tenth to the ninetieth percent of the records, or half a minute of it, by the
//! ends of the output's partitions: not the start, and not the end.

use std::fmt::Write;
use std::thread;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};

use crate::contender::Contender;
use crate::process::{self, Processes};
use crate::support::eventually;
use crate::support::kafka::{delete_topic, produce, unique};
use crate::workload::Workload;
use crate::{beside, beyond, measure_of, median, spread};

/// The longest stretch that is measured.
const LONGEST: Duration = Duration::from_secs(30);

/// How long a contender may need to come to the stretch.
const START: Duration = Duration::from_secs(180);

/// How many records MLServer gets.
const MLSERVER_RECORDS: usize = 10_000;

/// What one run of a contender measured.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub(crate) records_per_s: f64,
    pub(crate) cpu_us_per_record: f64,
    /// What the broker took meanwhile.
    broker_us_per_record: f64,
    pub(crate) peak_mib: f64,
}

/// Runs everybody in turn, again and again; the tables.
///
/// Before that the quick ones have a turn that doesn't count: on few cores a broker whose JVM is still compiling slows
/// whoever comes first, by a quarter on two.
pub(crate) fn measure(workload: &Workload, contenders: &[Contender], rounds: usize) -> String {
    for contender in contenders.iter().filter(|contender| contender.is_at_home()) {
        println!("warming the broker up: {}", contender.name);
        run(workload, contender);
    }
    let contenders: Vec<&Contender> = contenders.iter().collect();
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); contenders.len()];
    for round in 1..=rounds {
        for (contender, runs) in contenders.iter().zip(&mut runs) {
            let run = run(workload, contender);
            println!(
                "round {round}: {:<32} {:>9.0} records/s  {:>6.2} µs CPU/record  {:>6.2} µs of the broker's  {:>5.0} MiB",
                contender.name, run.records_per_s, run.cpu_us_per_record, run.broker_us_per_record, run.peak_mib
            );
            runs.push(run);
        }
    }
    let mut table = String::from(
        "| contender | records/s | × fastest loop | CPU µs/record | beyond that loop's | broker's CPU µs/record | peak MiB |\n",
    );
    table.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
    let speed = |at: usize| median(runs[at].iter().map(|run| run.records_per_s).collect());
    for (at, (contender, ran)) in contenders.iter().zip(&runs).enumerate() {
        let plain = &runs[measure_of(&contenders, at, speed)];
        let values = |of: fn(&Run) -> f64| ran.iter().map(of).collect::<Vec<f64>>();
        writeln!(
            table,
            "| {} | {} | {:.2} | {} | {:+.2} | {} | {} |",
            contender.name,
            spread(values(|run| run.records_per_s), 0),
            beside(ran, plain, |run| run.records_per_s),
            spread(values(|run| run.cpu_us_per_record), 2),
            beyond(ran, plain, |run| run.cpu_us_per_record),
            spread(values(|run| run.broker_us_per_record), 2),
            spread(values(|run| run.peak_mib), 0)
        )
        .unwrap();
    }
    table
}

/// Runs a contender until it has passed most of the records on, to a topic of its own.
fn run(workload: &Workload, contender: &Contender) -> Run {
    let output = workload.create_topic("output");
    let run = if contender.is_mlserver() {
        run_mlserver(workload, contender, &output)
    } else {
        let processes = contender.start(workload, &workload.input, &output, &unique("peer"));
        measure_processes(&[processes], workload, &output, &contender.name, 0, workload.records)
    };
    delete_topic(&workload.brokers, &output);
    run
}

/// It reads a topic of its own from the end on, with a task for each record there is: few records, while it runs.
fn run_mlserver(workload: &Workload, contender: &Contender, output: &str) -> Run {
    let input = workload.create_topic("requests");
    let processes = [contender.start(workload, &input, output, &unique("peer"))];
    let ends = Ends::new(workload, output);
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let deadline = Instant::now() + START;
    while ends.sum() == 0 {
        assert!(Instant::now() < deadline, "{} brings nothing out", contender.name);
        produce(&workload.brokers, &input, [workload.request(0, &mut rng)]);
        thread::sleep(Duration::from_millis(500));
    }
    let before = ends.sum();
    produce(&workload.brokers, &input, (0..MLSERVER_RECORDS).map(|number| workload.request(number, &mut rng)));
    measure_processes(&processes, workload, output, &contender.name, before, MLSERVER_RECORDS)
}

/// Measures what comes out beyond `before`, up to `records`.
pub(crate) fn measure_processes(
    processes: &[Processes],
    workload: &Workload,
    output: &str,
    name: &str,
    before: i64,
    records: usize,
) -> Run {
    let ends = Ends::new(workload, output);
    let cpu_seconds = || processes.iter().map(Processes::cpu_seconds).sum::<f64>();
    let wait_for = |share: f64, deadline: Instant| {
        let target = before + (records as f64 * share).ceil() as i64;
        loop {
            let (at, now) = (ends.sum(), Instant::now());
            if at >= target || now >= deadline {
                return (at, now);
            }
            thread::sleep(Duration::from_millis(10));
        }
    };
    // Of a slow one not a tenth, but what it does in a while; it is to have begun, though.
    let (begun, _) = wait_for(0.0001, Instant::now() + START);
    assert!(begun > before, "{name} brings nothing out");
    let (first, started) = wait_for(0.1, Instant::now() + LONGEST / 3);
    let (cpu_before, broker_before) = (cpu_seconds(), process::cpu_seconds(workload.broker));
    let (last, ended) = wait_for(0.9, started + LONGEST);
    let (cpu, broker_cpu) = (cpu_seconds() - cpu_before, process::cpu_seconds(workload.broker) - broker_before);
    let passed = (last - first) as f64;
    Run {
        records_per_s: passed / (ended - started).as_secs_f64(),
        cpu_us_per_record: cpu / passed * 1e6,
        broker_us_per_record: broker_cpu / passed * 1e6,
        peak_mib: processes.iter().map(Processes::peak_mib).sum(),
    }
}

/// The ends of a topic's partitions.
pub(crate) struct Ends {
    consumer: BaseConsumer,
    partitions: TopicPartitionList,
}

impl Ends {
    pub(crate) fn new(workload: &Workload, topic: &str) -> Ends {
        let consumer = ClientConfig::new().set("bootstrap.servers", &workload.brokers).create().unwrap();
        let mut partitions = TopicPartitionList::new();
        for partition in 0..workload.partitions {
            // In place of a time: the end.
            partitions.add_partition_offset(topic, partition, Offset::End).unwrap();
        }
        Ends { consumer, partitions }
    }

    /// How many offsets the partitions have together, asked for with one request.
    pub(crate) fn sum(&self) -> i64 {
        let offset = |element: TopicPartitionListElem<'_>| match (element.error(), element.offset()) {
            (Ok(()), Offset::Offset(offset)) => Some(offset),
            _ => None,
        };
        // A topic that has just been created may have no leader yet.
        let ask = || {
            let ends = self.consumer.offsets_for_times(self.partitions.clone(), Duration::from_secs(30)).ok()?;
            ends.elements().into_iter().map(offset).sum()
        };
        eventually("the broker reports the ends of the partitions", ask)
    }
}

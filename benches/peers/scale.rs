//! Weir in several processes, on topics of few and of many partitions, and with one route and with many: throughput while
//! there is more to read than can be read, and at rest how long a start, a join and a stop take.

use std::fmt::Write;
use std::time::Instant;

use crate::contender::Contender;
use crate::support::kafka::{Kafka, delete_topic, unique};
use crate::support::weir::Weir;
use crate::throughput::{self, Ends, Run};
use crate::workload::{Kind, Workload};

const PROCESSES: [usize; 3] = [1, 2, 4];

pub(crate) const PARTITIONS: [i32; 5] = [1, 8, 64, 512, 4_096];

const ROUTES: [i32; 3] = [1, 8, 32];

/// How many partitions the routes have together.
const ROUTED_PARTITIONS: i32 = 32;

/// Runs all of it; the table.
pub(crate) fn measure(kafka: &Kafka, kind: Kind, partitions: &[i32], records: usize) -> String {
    let mut table = String::from(
        "| partitions | processes | records/s | CPU µs per record | MiB each | start s | join s | stop s |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for &count in partitions {
        let workload = Workload::new(kafka, kind, count, records);
        for processes in PROCESSES {
            let row = row(&workload, processes);
            println!("{row}");
            writeln!(table, "{row}").unwrap();
        }
        [&workload.input, &workload.dead_letter].iter().for_each(|topic| delete_topic(&kafka.brokers, topic));
    }
    table.push_str(
        "\n| routes | partitions of each | records/s | CPU µs per record | MiB |\n| --- | --- | --- | --- | --- |\n",
    );
    for routes in ROUTES {
        let row = routes_row(kafka, kind, routes, records);
        println!("{row}");
        writeln!(table, "{row}").unwrap();
    }
    table
}

/// One process whose records come by so many routes, from equally many partitions in all.
fn routes_row(kafka: &Kafka, kind: Kind, routes: i32, records: usize) -> String {
    let of_each = ROUTED_PARTITIONS / routes;
    // All write to one topic, with as many partitions as each reads: so a record keeps its partition.
    let workload = Workload::new(kafka, kind, of_each, records / routes as usize);
    let more: Vec<String> = (1..routes).map(|_| workload.create_topic("features")).collect();
    more.iter().for_each(|input| workload.fill(input));
    let output = workload.create_topic("output");
    let inputs: Vec<&str> = std::iter::once(&workload.input).chain(&more).map(String::as_str).collect();
    let running = [Contender::weir(1).start_routes(&workload, &inputs, &output, &unique("scale"))];
    let run = throughput::measure_processes(&running, &workload, &output, "weir", 0, records);
    drop(running);
    let topics = [&workload.input, &workload.dead_letter, &output];
    topics.into_iter().chain(&more).for_each(|topic| delete_topic(&kafka.brokers, topic));
    let Run { records_per_s, cpu_us_per_record, peak_mib, .. } = run;
    format!("| {routes} | {of_each} | {records_per_s:.0} | {cpu_us_per_record:.2} | {peak_mib:.0} |")
}

fn row(workload: &Workload, processes: usize) -> String {
    let output = workload.create_topic("output");
    let contender = Contender::weir(1);
    let group = unique("scale");
    let running: Vec<_> = (0..processes).map(|_| contender.start(workload, &workload.input, &output, &group)).collect();
    let Run { records_per_s, cpu_us_per_record, peak_mib, .. } =
        throughput::measure_processes(&running, workload, &output, "weir", 0, workload.records);
    drop(running);
    let [start, join, stop] = times(workload, processes);
    delete_topic(&workload.brokers, &output);
    format!(
        "| {} | {processes} | {records_per_s:.0} | {cpu_us_per_record:.2} | {:.0} | {start:.2} | {join:.2} | {stop:.2} |",
        workload.partitions,
        peak_mib / processes as f64
    )
}

/// On topics without records, in seconds: from the start of all processes until each has its partitions, the same for one
/// more, and from SIGTERM to its end.
fn times(workload: &Workload, processes: usize) -> [f64; 3] {
    let (input, output) = (workload.create_topic("features"), workload.create_topic("output"));
    let group = unique("scale");
    let config = Contender::weir(1).weir_config(workload, &[&input], &output, &group);
    // Hundreds of partitions need a while to get their leaders.
    [&input, &output].iter().for_each(|topic| assert_eq!(Ends::new(workload, topic).sum(), 0));
    let start = Instant::now();
    let members: Vec<Weir> = (0..processes).map(|_| Weir::start(&config)).collect();
    members.iter().for_each(Weir::await_ready);
    let started = start.elapsed().as_secs_f64();
    let join = Instant::now();
    let one_more = Weir::ready(&config);
    let joined = join.elapsed().as_secs_f64();
    let stop = Instant::now();
    assert!(one_more.stop().success());
    let stopped = stop.elapsed().as_secs_f64();
    drop(members);
    [input, output].iter().for_each(|topic| delete_topic(&workload.brokers, topic));
    [started, joined, stopped]
}

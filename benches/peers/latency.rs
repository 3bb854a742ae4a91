//! From the call that produces a record to the arrival of its output, at a steady rate.
//!
//! One thread produces, a few records each millisecond, and sleeps in between; another consumes what comes out. Both are
//! this process, so there is one clock, and nobody spins.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::contender::Contender;
use crate::process::Processes;
use crate::support::kafka::unique;
use crate::workload::Workload;
use crate::{beside, measure_of, spread};

/// Records a second.
const RATES: [u64; 2] = [1_000, 20_000];

/// What comes before is not measured: a runtime that compiles, a connection that opens.
const WARM_UP: Duration = Duration::from_secs(5);

/// How long a contender may need to answer its first record.
const START: Duration = Duration::from_secs(180);

/// How often the feeder wakes up.
const TICK: Duration = Duration::from_millis(1);

/// Different records, so that nobody has only one to parse.
const VALUES: usize = 1_024;

/// Percentiles in milliseconds, and the CPU that the contender took.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// Share of one core.
    pub(crate) cpu: f64,
}

/// Runs everybody in turn, again and again, at each rate; the tables.
pub(crate) fn measure(workload: &Workload, contenders: &[Contender], rounds: usize, seconds: u64) -> String {
    // MLServer, which wants another form, has no part in this, and loops that linger only at full speed.
    let takes_part = |contender: &&Contender| !contender.is_mlserver() && !contender.lingers();
    let contenders: Vec<&Contender> = contenders.iter().filter(takes_part).collect();
    let mut runs: Vec<Vec<Vec<Run>>> = vec![vec![Vec::new(); contenders.len()]; RATES.len()];
    for round in 1..=rounds {
        for (at, contender) in contenders.iter().enumerate() {
            let feed = Feed::new(workload, contender);
            for (rate, runs) in RATES.iter().zip(&mut runs) {
                let Some(run) = feed.hold(*rate, Duration::from_secs(seconds)) else {
                    println!("round {round}: {:<32} {rate:>6}/s: does not keep up", contender.name);
                    continue;
                };
                println!(
                    "round {round}: {:<32} {rate:>6}/s  p50 {:>8.2}  p99 {:>8.2}  p99.9 {:>8.2} ms  {:>4.0} % of a core",
                    contender.name,
                    run.p50,
                    run.p99,
                    run.p999,
                    run.cpu * 100.0
                );
                runs[at].push(run);
            }
        }
    }
    let mut tables = String::new();
    for (rate, runs) in RATES.iter().zip(&runs) {
        write!(
            tables,
            "{rate} records/s, milliseconds:\n\n| contender | p50 | × loop | p99 | × loop | p99.9 | core |\n"
        )
        .unwrap();
        tables.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
        for (at, (contender, ran)) in contenders.iter().zip(runs).enumerate() {
            if ran.is_empty() {
                writeln!(tables, "| {} | does not keep up | | | | | |", contender.name).unwrap();
                continue;
            }
            let plain = &runs[measure_of(&contenders, at, |_| 0.0)];
            let beside = |of: fn(&Run) -> f64| beside(ran, plain, of);
            let values = |of: fn(&Run) -> f64| ran.iter().map(of).collect::<Vec<f64>>();
            writeln!(
                tables,
                "| {} | {} | {:.2} | {} | {:.2} | {} | {} % |",
                contender.name,
                spread(values(|run| run.p50), 2),
                beside(|run| run.p50),
                spread(values(|run| run.p99), 2),
                beside(|run| run.p99),
                spread(values(|run| run.p999), 2),
                spread(values(|run| run.cpu * 100.0), 0)
            )
            .unwrap();
        }
        tables.push('\n');
    }
    tables
}

/// A contender that runs, with topics of its own.
pub(crate) struct Feed {
    input: String,
    partitions: u64,
    values: Vec<String>,
    producer: ThreadedProducer<DefaultProducerContext>,
    consumer: BaseConsumer,
    pub(crate) processes: Processes,
}

impl Feed {
    /// Starts it, and waits until it answers.
    pub(crate) fn new(workload: &Workload, contender: &Contender) -> Feed {
        let (input, output) = (workload.create_topic("features"), workload.create_topic("output"));
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &workload.brokers)
            .set("linger.ms", "0")
            .set("acks", "all")
            .create()
            .unwrap();
        // Whoever is exactly once is measured by a reader that sees what is committed.
        let isolation = if contender.is_exactly_once() { "read_committed" } else { "read_uncommitted" };
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &workload.brokers)
            .set("group.id", "latency")
            .set("enable.auto.commit", "false")
            .set("isolation.level", isolation)
            .set("fetch.queue.backoff.ms", "1")
            .create()
            .unwrap();
        let mut partitions = TopicPartitionList::new();
        for partition in 0..workload.partitions {
            partitions.add_partition_offset(&output, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&partitions).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let values = (0..VALUES).map(|number| workload.kind.json(number, &mut rng)).collect();
        let processes = contender.start(workload, &input, &output, &unique("peer"));
        let feed = Feed { input, partitions: workload.partitions as u64, values, producer, consumer, processes };
        feed.await_first(contender);
        feed
    }

    /// Sends a record now and then until one comes out.
    fn await_first(&self, contender: &Contender) {
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            self.send(0, u64::MAX);
            if self.consumer.poll(Duration::from_millis(200)).is_some_and(|polled| polled.is_ok()) {
                return;
            }
        }
        panic!("{} brings nothing out", contender.name);
    }

    fn send(&self, value: usize, id: u64) {
        let key = id.to_string();
        let record = BaseRecord::to(&self.input)
            .partition((id % self.partitions) as i32)
            .key(&key)
            .payload(&self.values[value % VALUES]);
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
    }

    /// Holds a rate for `time`; `None` if what comes out falls behind by more than a second.
    pub(crate) fn hold(&self, rate: u64, time: Duration) -> Option<Run> {
        let total = rate * (WARM_UP + time).as_secs();
        let warm = rate * WARM_UP.as_secs();
        // When each record was sent, in nanoseconds since the start.
        let sent: Vec<AtomicU64> = (0..total).map(|_| AtomicU64::new(0)).collect();
        let (start, fed) = (Instant::now(), AtomicBool::new(false));
        let mut latencies = Vec::with_capacity((total - warm) as usize);
        let mut cpu = (0.0, start);
        thread::scope(|scope| {
            scope.spawn(|| {
                for id in 0..total {
                    let due = Duration::from_nanos(id * 1_000_000_000 / rate);
                    // Records of one tick go together; a tick is late rather than spun for.
                    while start.elapsed() < due {
                        thread::sleep(TICK);
                    }
                    sent[id as usize].store(start.elapsed().as_nanos() as u64, Ordering::Release);
                    self.send(id as usize, id);
                }
                self.producer.flush(Duration::from_secs(10)).unwrap();
                fed.store(true, Ordering::Release);
            });
            let mut deadline = None;
            let mut arrived = 0;
            while arrived < total {
                let polled = self.consumer.poll(Duration::from_millis(50));
                if fed.load(Ordering::Acquire) {
                    let deadline = *deadline.get_or_insert_with(|| Instant::now() + Duration::from_secs(5));
                    if Instant::now() > deadline {
                        break;
                    }
                }
                let Some(Ok(message)) = polled else { continue };
                let now = start.elapsed().as_nanos() as u64;
                let key = std::str::from_utf8(message.key().unwrap_or_default()).unwrap();
                let Some(id) = key.parse::<u64>().ok().filter(|&id| id < total) else { continue };
                arrived += 1;
                if id == warm {
                    cpu = (self.processes.cpu_seconds(), Instant::now());
                }
                if id >= warm {
                    latencies.push((now - sent[id as usize].load(Ordering::Acquire)) as f64 / 1e6);
                }
            }
        });
        let core = (self.processes.cpu_seconds() - cpu.0) / cpu.1.elapsed().as_secs_f64();
        latencies.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
        let complete = latencies.len() as u64 == total - warm;
        (complete && at(0.5) < 1_000.0).then(|| Run { p50: at(0.5), p99: at(0.99), p999: at(0.999), cpu: core })
    }
}

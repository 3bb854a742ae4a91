//! One run: feeder, processes and verifier, the faults one after the other, and the end.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::account::{Account, Verdict};
use crate::cluster::{Cluster, NAMES, SESSION_TIMEOUT_MS, end_aside};
use crate::fault::{Fault, Kind};
use crate::feeder::{Feeder, Pace};
use crate::models::Models;
use crate::process::{Process, how};
use crate::reader::{Findings, Reader};
use crate::records::{ANY_TIME, MAX_BYTES, Records, TIMELY};
use crate::side::{Fate, Side, Which};
use crate::support::PATIENCE;
use crate::support::kafka::unique;
use crate::support::proxy::Mode;
use crate::support::rights::{lift_restrictions, restrict};

/// As many as workers in three processes.
pub(crate) const PARTITIONS: usize = 6;

/// What weir promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    AtLeastOnce,
    ExactlyOnce,
}

impl Delivery {
    /// As the configuration calls it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Delivery::AtLeastOnce => "at_least_once",
            Delivery::ExactlyOnce => "exactly_once",
        }
    }
}

/// What a run is made of.
pub(crate) struct Plan<'p> {
    pub(crate) delivery: Delivery,
    pub(crate) per_partition: usize,
    pub(crate) records: Records,
    pub(crate) models: &'p Models,
    pub(crate) faults: Vec<Fault>,
    /// How many processes there are at the start: the first of [`NAMES`].
    pub(crate) processes: usize,
    /// The bug that is switched on in all of them.
    pub(crate) bug: Option<&'static str>,
    /// Where configurations and logs go.
    pub(crate) folder: PathBuf,
}

/// What a run has shown.
pub(crate) struct Report {
    pub(crate) verdict: Verdict,
    /// What else was not as it must be.
    pub(crate) complaints: Vec<String>,
    /// How many of the faults there were: all of them, unless weir stood still.
    pub(crate) faults: usize,
    pub(crate) took: Duration,
}

/// Runs it.
pub(crate) fn run(cluster: &mut Cluster, plan: &Plan<'_>) -> Report {
    let started = Instant::now();
    let mut world = World::new(cluster, plan);
    let pace = Pace::new(plan.faults.len());
    let feeder = Feeder::start(
        &world.cluster.brokers(),
        &world.input,
        plan.records.clone(),
        PARTITIONS,
        plan.per_partition,
        pace.clone(),
    );
    for process in 0..plan.processes {
        world.start(process);
    }
    world.wait_for_progress(true, 0);
    let begun = Instant::now();
    let per_fault = (plan.per_partition * PARTITIONS) as f64 / plan.faults.len() as f64;
    let mut done = 0;
    for (number, fault) in plan.faults.iter().enumerate() {
        print!("{} {:>3}  {fault}", time(), number + 1);
        std::io::stdout().flush().unwrap();
        let before = world.reader.progress().again();
        let goes_on =
            world.meet(fault) && world.wait_for_progress(fault.all_partitions, (fault.outputs * per_fault) as usize);
        world.look_after();
        match world.reader.progress().again() - before {
            0 => println!(),
            again => println!(", {again} came again"),
        }
        if !goes_on {
            break;
        }
        done += 1;
        pace.set(plan.faults.len() - done, done, begun.elapsed());
    }
    pace.hurry();
    feeder.finish();
    println!("{}      all faults are over", time());
    let (verdict, complaints) = world.end();
    Report { verdict, complaints, faults: done, took: started.elapsed() }
}

struct World<'w> {
    cluster: &'w mut Cluster,
    plan: &'w Plan<'w>,
    input: String,
    output: String,
    dead_letter: String,
    group: String,
    side: Side,
    /// By place in [`NAMES`].
    processes: [Option<Process>; NAMES.len()],
    /// The version that the alias names, by its place among the sound ones.
    version: usize,
    reader: Reader,
    /// Asks for the group's commits.
    group_client: BaseConsumer,
    complaints: Vec<String>,
}

impl<'w> World<'w> {
    fn new(cluster: &'w mut Cluster, plan: &'w Plan<'w>) -> World<'w> {
        let group = unique("chaos");
        let [input, output, dead_letter] = ["in", "out", "dead"].map(|topic| format!("{group}.{topic}"));
        for (topic, times) in [(&input, &ANY_TIME[..]), (&output, &TIMELY), (&dead_letter, &TIMELY)] {
            cluster.create_topic(topic, PARTITIONS, times);
        }
        plan.models.promote(0);
        let strict = plan.delivery == Delivery::ExactlyOnce;
        let side = Side::new(cluster, &group, &plan.records, strict);
        let expected = plan.models.expected.clone();
        let account = Account::new(plan.records.clone(), expected, PARTITIONS, plan.per_partition, strict);
        let reader = Reader::start(&cluster.brokers(), &output, &dead_letter, PARTITIONS, account);
        fs::create_dir_all(&plan.folder).unwrap();
        let group_client = ClientConfig::new()
            .set("bootstrap.servers", cluster.brokers())
            .set("group.id", &group)
            .set("reconnect.backoff.max.ms", "1000")
            .create()
            .unwrap();
        World {
            cluster,
            plan,
            input,
            output,
            dead_letter,
            group,
            side,
            processes: NAMES.map(|_| None),
            version: 0,
            reader,
            group_client,
            complaints: Vec::new(),
        }
    }

    /// Lets a fault happen, up to its end. Returns whether weir goes on, as far as the fault itself waits for it.
    fn meet(&mut self, fault: &Fault) -> bool {
        let Fault { process, hold, .. } = *fault;
        match fault.kind {
            Kind::Kill => {
                self.kill(process);
                thread::sleep(hold);
                self.start(process);
            }
            Kind::Terminate => {
                self.terminate(process);
                thread::sleep(hold);
                self.start(process);
            }
            Kind::Join => self.start(process),
            Kind::Leave => self.terminate(process),
            Kind::Handover => {
                self.start(fault.joins);
                thread::sleep(hold);
                self.terminate(process);
            }
            Kind::Broker => {
                self.cluster.kill(fault.node);
                thread::sleep(hold);
                self.cluster.restart(fault.node);
            }
            Kind::Freeze => {
                self.running(process).freeze();
                thread::sleep(hold);
                self.running(process).thaw();
            }
            Kind::Refuse => self.link(process, Mode::Refused, hold),
            Kind::Hold => self.link(process, Mode::Held, hold),
            Kind::Slow => {
                let mode = Mode::Slow { latency: Duration::from_millis(40), bytes_per_s: 400_000 };
                self.link(process, mode, hold);
            }
            Kind::Stall => self.link(process, Mode::ProduceHeld, hold),
            Kind::StallKill => {
                self.cluster.link(process).set(Mode::ProduceHeld);
                thread::sleep(hold);
                self.kill(process);
                // What was held is gone with the process.
                self.cluster.link(process).set(Mode::Refused);
                self.cluster.link(process).set(Mode::Open);
                self.start(process);
            }
            Kind::Swap => {
                let version = self.plan.models.promote(fault.version);
                self.version = fault.version;
                let before = self.reader.progress().scored_by(version);
                return self
                    .wait("the new version scores", |world| world.reader.progress().scored_by(version) > before);
            }
            Kind::Broken => {
                let refusals = |world: &World<'_>| -> Vec<f64> {
                    world.processes.iter().flatten().map(Process::refusals).collect()
                };
                let before = refusals(self);
                self.plan.models.promote_broken();
                let is_refused = self.wait("every process refuses the broken version", |world| {
                    before.iter().zip(refusals(world)).all(|(before, now)| now > *before)
                });
                self.plan.models.promote(self.version);
                return is_refused;
            }
            Kind::Deny => {
                let brokers = self.cluster.brokers();
                // A single rule, which allows Describe as well: rules are made and removed one by one, and between two of
                // them the feeder would be refused.
                restrict(&brokers, &self.input, &["Write"]);
                thread::sleep(hold);
                lift_restrictions(&brokers, &self.input);
            }
            Kind::Pause => {
                let config = self.config(process);
                self.running(process).route("pause", &config);
                thread::sleep(hold);
                self.running(process).route("resume", &config);
            }
            Kind::Recreate => return self.recreate(Which::Small, hold),
            Kind::RecreateLarge => return self.recreate(Which::Large, hold),
            Kind::Grow => {
                self.side.grow(self.cluster);
                self.side.send(self.cluster, Which::Small, Fate::Prediction);
                return self.wait_for_side();
            }
            Kind::Refused => {
                self.side.hide_settings(self.cluster);
                self.side.send(self.cluster, Which::Small, Fate::Refused);
                return self.wait_for_side();
            }
        }
        true
    }

    /// Deletes an input of the second route while it has records, and creates it again.
    fn recreate(&mut self, which: Which, hold: Duration) -> bool {
        self.side.send(self.cluster, which, Fate::Prediction);
        if !self.wait_for_side() {
            return false;
        }
        self.side.send(self.cluster, which, Fate::Deleted);
        self.side.delete(self.cluster, which);
        thread::sleep(hold);
        self.side.create(self.cluster, which);
        self.side.send(self.cluster, which, Fate::Prediction);
        self.wait_for_side()
    }

    /// Waits until all records of the second route have their outcome.
    fn wait_for_side(&mut self) -> bool {
        self.wait("the second route's records come out", |world| world.side.missing(&world.cluster.brokers()) == 0)
    }

    fn start(&mut self, process: usize) {
        let config = self.config(process);
        let log = self.plan.folder.join(format!("{}.log", NAMES[process]));
        self.processes[process] = Some(Process::start(&config, &log, self.plan.bug));
    }

    fn kill(&mut self, process: usize) {
        let killed = self.processes[process].take().expect("it runs");
        self.look_for_panics(process, &killed);
        killed.kill();
    }

    /// Stops a process, which must end in order.
    fn terminate(&mut self, process: usize) {
        let stopping = self.processes[process].take().expect("it runs");
        stopping.terminate();
        self.end_of(process, stopping);
    }

    fn end_of(&mut self, process: usize, mut stopping: Process) {
        let status = stopping.ended();
        self.look_for_panics(process, &stopping);
        if !status.success() {
            let log = stopping.log();
            let last = log.lines().last().unwrap_or_default();
            self.complaints.push(format!("{} was to stop in order: {}: {last}", NAMES[process], how(status)));
        }
    }

    /// Starts again what has ended by itself, which is a complaint.
    fn look_after(&mut self) {
        for (process, name) in NAMES.iter().enumerate() {
            let Some(running) = self.processes[process].as_mut() else { continue };
            if let Some(status) = running.has_ended() {
                self.complaints.push(format!("{name} ended by itself: {}", how(status)));
                self.kill(process);
                self.start(process);
            }
        }
    }

    fn look_for_panics(&mut self, process: usize, ended: &Process) {
        if let Some(line) = ended.log().lines().find(|line| line.contains("panicked")) {
            self.complaints.push(format!("{} panicked: {line}", NAMES[process]));
        }
    }

    fn link(&mut self, process: usize, mode: Mode, hold: Duration) {
        self.cluster.link(process).set(mode);
        thread::sleep(hold);
        self.cluster.link(process).set(Mode::Open);
    }

    fn running(&self, process: usize) -> &Process {
        self.processes[process].as_ref().expect("it runs")
    }

    /// Waits until so many outputs have come, and some of all partitions, if that is asked for; whether they came.
    fn wait_for_progress(&mut self, all_partitions: bool, outputs: usize) -> bool {
        let before = self.reader.progress().seen();
        let end = self.plan.per_partition;
        self.wait("outputs come again", |world| {
            let now = world.reader.progress().seen();
            let has_moved = |(&before, &now): (&usize, &usize)| now > before || now == end;
            let came: usize = now.iter().zip(&before).map(|(now, before)| now - before).sum();
            let are_enough = came > outputs || now.iter().all(|&seen| seen == end);
            are_enough && (!all_partitions || before.iter().zip(&now).all(has_moved))
        })
    }

    /// Waits for a state; whether it came. If it doesn't, that is a complaint.
    fn wait(&mut self, what: &str, is: impl Fn(&World<'_>) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let complaints = self.complaints.len();
            self.look_after();
            if self.complaints.len() > complaints {
                return false;
            }
            if is(self) {
                return true;
            }
            if Instant::now() > deadline {
                let (seen, committed) = (self.reader.progress().seen(), self.committed());
                let of = self.plan.per_partition;
                self.complaints.push(format!(
                    "waited {PATIENCE:?} in vain until {what}; by partition, {seen:?} of {of} records have come out; \
                     commits: {committed:?}"
                ));
                for (name, process) in NAMES.iter().zip(&self.processes) {
                    let Some(process) = process else { continue };
                    let path = self.plan.folder.join(format!("{name}.metrics"));
                    fs::write(path, process.get("/readyz") + &process.get("/metrics")).unwrap();
                }
                return false;
            }
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Waits until everything has come out, stops everything, and judges.
    fn end(mut self) -> (Verdict, Vec<String>) {
        let all = vec![self.plan.per_partition; PARTITIONS];
        // What is committed won't come any more, whether it came or not: the verdict will show it.
        self.wait("everything has come out", |world| {
            world.reader.progress().seen() == all || world.committed().as_ref() == Ok(&all)
        });
        println!("{}      the processes stop", time());
        for process in self.processes.iter().flatten() {
            process.terminate();
        }
        for process in 0..NAMES.len() {
            if let Some(stopping) = self.processes[process].take() {
                self.end_of(process, stopping);
            }
        }
        let committed = self.committed();
        if committed.as_ref() != Ok(&all) {
            self.complaints.push(format!("after all processes have stopped, commits are {committed:?}, not {all:?}"));
        }
        self.look_at_commits_of_side();
        println!("{}      outputs and dead letters are read to their ends", time());
        let Findings { mut verdict, missed, stuck } = self.reader.finish();
        verdict.add(self.side.judge(&self.cluster.brokers()));
        if missed > 0 {
            println!("{missed} records that the verifier's client hadn't seen among the faults are there");
        }
        println!("{}      all is read", time());
        end_aside(self.group_client);
        self.complaints.extend(stuck.map(|why| format!("not all can be read: {why}")));
        (verdict, self.complaints)
    }

    /// Whether everything in the inputs of the second route is committed.
    fn look_at_commits_of_side(&mut self) {
        let ends = self.side.ends();
        let mut partitions = TopicPartitionList::new();
        ends.iter().for_each(|&(topic, partition, _)| _ = partitions.add_partition(topic, partition as i32));
        match self.group_client.committed_offsets(partitions, Duration::from_secs(20)) {
            Err(error) => self.complaints.push(format!("commits of the second route: {error}")),
            Ok(committed) => {
                for (topic, partition, end) in ends {
                    let found = committed.find_partition(topic, partition as i32).map(|found| found.offset());
                    if found != Some(Offset::Offset(end as i64)) {
                        self.complaints.push(format!("{topic} {partition} ends at {end}, its commit is {found:?}"));
                    }
                }
            }
        }
    }

    /// Up to where the group has committed, or why that isn't known: a commit may be pending.
    fn committed(&self) -> Result<Vec<usize>, String> {
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_range(&self.input, 0, PARTITIONS as i32 - 1);
        let committed = self.group_client.committed_offsets(partitions, Duration::from_secs(20));
        let committed = committed.map_err(|error| error.to_string())?;
        let offset = |partition| match committed.find_partition(&self.input, partition).map(|of| of.offset()) {
            Some(Offset::Offset(offset)) => offset as usize,
            _ => 0,
        };
        Ok((0..PARTITIONS as i32).map(offset).collect())
    }

    fn config(&self, process: usize) -> PathBuf {
        let path = self.plan.folder.join(format!("{}.toml", NAMES[process]));
        let (name, brokers) = (NAMES[process], self.cluster.bootstrap(process));
        let World { group, input, output, dead_letter, .. } = self;
        let (delivery, store) = (self.plan.delivery.as_str(), &self.plan.models.url);
        let heartbeat = SESSION_TIMEOUT_MS / 4;
        let text = format!(
            r#"
            [kafka]
            brokers = "{brokers}"
            group_id = "{group}"
            [kafka.properties]
            "session.timeout.ms" = {SESSION_TIMEOUT_MS}
            "heartbeat.interval.ms" = {heartbeat}
            "reconnect.backoff.max.ms" = 1000
            "topic.metadata.refresh.interval.ms" = 2000
            [worker]
            threads = 2
            delivery = "{delivery}"
            instance = "{name}"
            commit_interval_ms = 200
            [store]
            url = "{store}"
            poll_ms = 100
            [http]
            listen = "127.0.0.1:0"
            tokens = ["open sesame"]
            [log]
            level = "info"
            [[route]]
            name = "flights"
            model = "flights@production"
            input = {{ topics = ["{input}"], max_bytes = {MAX_BYTES} }}
            output = {{ topic = "{output}" }}
            dead_letter = {{ topic = "{dead_letter}" }}
            {}
            "#,
            self.side.route()
        );
        fs::write(&path, text).unwrap();
        path
    }
}

/// Now, as the logs say it.
fn time() -> String {
    let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    now["2000-01-01T".len().."2000-01-01T00:00:00.000".len()].into()
}

//! Who takes part, and how each is started.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::Processes;
use crate::support::weir;
use crate::workload::{Kind, Workload};

/// What passes records from topic to topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    PlainLoop,
    Weir,
    Python,
    KafkaStreams,
    Quix,
    MlServer,
}

/// The plain loop's `linger.ms`, one contender each: nothing waits at rest, weir's own before its batches followed the
/// load, the default of Java's producers, and batches that librdkafka can't make much larger.
const LINGERS_MS: [u32; 4] = [0, 1, 5, 20];

/// One who takes part.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) name: String,
    program: Program,
    exactly_once: bool,
    /// Threads or processes that consume.
    pub(crate) workers: usize,
    /// Weir's `batch.max_delay_us`.
    max_delay_us: u64,
    /// The plain loop's `linger.ms`.
    linger_ms: u32,
}

impl Contender {
    /// Everybody, the measure of it all first.
    pub(crate) fn all() -> Vec<Contender> {
        let mut all = Vec::new();
        for workers in [2, 1] {
            all.extend(LINGERS_MS.map(|linger_ms| Contender::plain_loop(linger_ms, workers)));
            all.extend([Contender::weir(workers), Contender::weir(workers).exactly_once()]);
        }
        all.push(Contender::new("Python", Program::Python, 2));
        all.push(Contender::new("Kafka Streams", Program::KafkaStreams, 2));
        all.push(Contender::new("Kafka Streams", Program::KafkaStreams, 2).exactly_once());
        all.push(Contender::new("Quix Streams", Program::Quix, 2));
        all.push(Contender::new("MLServer", Program::MlServer, 1));
        all
    }

    /// Weir, at least once, with so many workers.
    pub(crate) fn weir(workers: usize) -> Contender {
        Contender::new(of("weir", workers), Program::Weir, workers)
    }

    fn plain_loop(linger_ms: u32, workers: usize) -> Contender {
        let name = of(&format!("plain loop (linger {linger_ms})"), workers);
        Contender { linger_ms, ..Contender::new(name, Program::PlainLoop, workers) }
    }

    fn new(name: impl Into<String>, program: Program, workers: usize) -> Contender {
        Contender { name: name.into(), program, exactly_once: false, workers, max_delay_us: 0, linger_ms: 0 }
    }

    fn exactly_once(self) -> Contender {
        Contender { name: format!("{}, exactly once", self.name), exactly_once: true, ..self }
    }

    /// The same with this `batch.max_delay_us`.
    pub(crate) fn with_max_delay(self, max_delay_us: u64) -> Contender {
        Contender { max_delay_us, ..self }
    }

    /// Whether it is a plain loop, whatever its linger.
    pub(crate) fn is_plain_loop(&self) -> bool {
        self.program == Program::PlainLoop
    }

    /// Whether it is a plain loop whose producer holds records back.
    pub(crate) fn lingers(&self) -> bool {
        self.is_plain_loop() && self.linger_ms > 0
    }

    /// Whether it needs nothing but this build.
    pub(crate) fn is_at_home(&self) -> bool {
        matches!(self.program, Program::PlainLoop | Program::Weir)
    }

    /// Whether it reads a topic from its end on, in a form of its own, and keeps up with few records only.
    pub(crate) fn is_mlserver(&self) -> bool {
        self.program == Program::MlServer
    }

    /// Whether its outputs count once they are committed.
    pub(crate) fn is_exactly_once(&self) -> bool {
        self.exactly_once
    }

    /// Starts it, in this group.
    pub(crate) fn start(&self, workload: &Workload, input: &str, output: &str, group: &str) -> Processes {
        self.start_routes(workload, &[input], output, group)
    }

    /// Starts it with a route for each of these topics, if it is weir.
    pub(crate) fn start_routes(&self, workload: &Workload, inputs: &[&str], output: &str, group: &str) -> Processes {
        let input = inputs[0];
        let mut command = match self.program {
            Program::PlainLoop => {
                let mut command = Command::new(std::env::current_exe().unwrap());
                let workers = self.workers.to_string();
                let linger_ms = self.linger_ms.to_string();
                command.args(["--plain-loop", &workload.brokers, input, output, group, &workers, &linger_ms]);
                command
            }
            Program::Weir => {
                let mut command = weir::command();
                command.args(["serve", "-c"]).arg(self.weir_config(workload, inputs, output, group));
                command
            }
            Program::Python => python("worker.py"),
            Program::Quix => python("quix.py"),
            Program::KafkaStreams => {
                let mut command = Command::new("java");
                command.args([
                    "-Xms512m",
                    "-Xmx512m",
                    "-XX:+UseParallelGC",
                    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                ]);
                command.arg(format!("-Djava.io.tmpdir={}", workload.folder().display()));
                command.arg("-cp").arg(cache().join("streams/*")).arg("peers.Main");
                command
            }
            Program::MlServer => Command::new(folder().join("mlserver/start")),
        };
        let delivery = if self.exactly_once { "exactly_once" } else { "at_least_once" };
        let format = if workload.kind == Kind::Crayfish { "array" } else { "named" };
        command
            .env("BROKERS", &workload.brokers)
            .env("INPUT", input)
            .env("OUTPUT", output)
            .env("GROUP", group)
            .env("MODEL", workload.matrix_onnx())
            .env("WORKERS", self.workers.to_string())
            .env("DELIVERY", delivery)
            .env("FEATURES", workload.kind.features().to_string())
            .env("FORMAT", format)
            // These slow numpy and OpenBLAS down.
            .env_remove("OPENBLAS_CORETYPE")
            .env_remove("OPENBLAS_L2_SIZE");
        Processes::start(&command, &workload.file("log"))
    }

    /// Weir's configuration, a route for each of these topics.
    pub(crate) fn weir_config(&self, workload: &Workload, inputs: &[&str], output: &str, group: &str) -> PathBuf {
        let Workload { brokers, dead_letter, .. } = workload;
        let Contender { workers, max_delay_us, .. } = self;
        let delivery = if self.exactly_once { "exactly_once" } else { "at_least_once" };
        let path = workload.file("weir.toml");
        let mut text = format!(
            r#"
            [kafka]
            brokers = "{brokers}"
            group_id = "{group}"
            [worker]
            threads = {workers}
            delivery = "{delivery}"
            [batch]
            max_delay_us = {max_delay_us}
            [store]
            url = "file:{}"
            [http]
            listen = "127.0.0.1:0"
            "#,
            workload.store().display()
        );
        for input in inputs {
            write!(
                text,
                r#"
                [[route]]
                name = "{input}"
                model = "peers@production"
                [route.input]
                topics = ["{input}"]
                [route.output]
                topic = "{output}"
                [route.dead_letter]
                topic = "{dead_letter}"
                "#
            )
            .unwrap();
        }
        fs::write(&path, text).unwrap();
        path
    }
}

/// A name that says how many workers there are, where that isn't two.
fn of(name: &str, workers: usize) -> String {
    if workers == 2 { name.into() } else { format!("{name}, {workers} worker") }
}

/// A Python program of benches/peers.
pub(crate) fn python(program: &str) -> Command {
    let mut command = Command::new(cache().join("peers/bin/python"));
    command.arg(folder().join("python").join(program));
    command
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers")
}

/// Where scripts/setup puts things.
fn cache() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty());
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    cache.map_or_else(home, PathBuf::from).join("weir")
}

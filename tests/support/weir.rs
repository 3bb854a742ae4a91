//! The real binary, as an operator runs it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::{eventually, kafka};

/// How many lines of its log a test that fails shows.
const LOG_TAIL: usize = 200;

/// Topics of a test's own, a store, and the configuration that joins them.
pub(crate) struct Setup {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) brokers: String,
    pub(crate) input: String,
    pub(crate) output: String,
    pub(crate) dead_letter: String,
    pub(crate) group: String,
    pub(crate) commit_interval_ms: u32,
    /// Worker threads.
    pub(crate) threads: u32,
    /// More lines of the section `[worker]`.
    pub(crate) worker: String,
    /// Lines of the section `[kafka.properties]`.
    pub(crate) properties: String,
}

impl Setup {
    /// Names for topics, none created yet.
    pub(crate) fn named(brokers: &str) -> Setup {
        let name = kafka::unique("flights");
        Setup {
            folder: tempfile::tempdir().unwrap(),
            brokers: brokers.into(),
            input: format!("{name}.features"),
            output: format!("{name}.predictions"),
            dead_letter: format!("{name}.dead-letter"),
            group: name,
            commit_interval_ms: 200,
            threads: 2,
            worker: String::new(),
            properties: String::new(),
        }
    }

    /// Topics on the real Kafka, with this many partitions for input and output.
    pub(crate) fn on_kafka(partitions: i32) -> Setup {
        let setup = Setup::named(kafka::brokers());
        setup.create_topics(partitions);
        setup
    }

    /// A second route of the same process, with the topics of `self`: goes to the end of another's configuration.
    pub(crate) fn as_second_route(&self) -> String {
        let Setup { input, output, dead_letter, .. } = self;
        format!(
            r#"
            [[route]]
            name = "second"
            model = "flights@production"
            input = {{ topics = ["{input}"] }}
            output = {{ topic = "{output}" }}
            dead_letter = {{ topic = "{dead_letter}" }}
            "#
        )
    }

    /// Creates the topics.
    pub(crate) fn create_topics(&self, partitions: i32) {
        kafka::create_topic(&self.brokers, &self.input, partitions, &[]);
        kafka::create_topic(&self.brokers, &self.output, partitions, &[]);
        kafka::create_topic(&self.brokers, &self.dead_letter, 1, &[]);
    }

    /// Where the models are.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("models")
    }

    /// Writes the configuration; `more` is added to its end, within the route's `output` section.
    pub(crate) fn config(&self, more: &str) -> PathBuf {
        let path = self.folder.path().join("weir.toml");
        let Setup {
            brokers, input, output, dead_letter, group, commit_interval_ms, threads, worker, properties, ..
        } = self;
        let text = format!(
            r#"
            [kafka]
            brokers = "{brokers}"
            group_id = "{group}"
            [kafka.properties]
            {properties}
            [worker]
            threads = {threads}
            commit_interval_ms = {commit_interval_ms}
            {worker}
            [store]
            url = "file:{}"
            poll_ms = 100
            [http]
            listen = "127.0.0.1:0"
            tokens = ["open sesame"]
            [[route]]
            name = "flights"
            model = "flights@production"
            [route.input]
            topics = ["{input}"]
            [route.dead_letter]
            topic = "{dead_letter}"
            [route.output]
            topic = "{output}"
            {more}
            "#,
            self.store().display()
        );
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// Adds a line to the first section of this name in a configuration.
pub(crate) fn extend_section(config: &Path, section: &str, line: &str) {
    let text = std::fs::read_to_string(config).unwrap();
    assert!(text.contains(section), "{text}");
    std::fs::write(config, text.replacen(section, &format!("{section}\n{line}"), 1)).unwrap();
}

/// A running `weir serve`; killed when dropped.
pub(crate) struct Weir {
    process: Child,
    pub(crate) http: String,
    log: Arc<Mutex<String>>,
}

impl Weir {
    /// Starts `weir serve` and waits until it listens.
    pub(crate) fn start(config: &Path) -> Weir {
        Weir::start_with(config, &[])
    }

    /// The same, with variables in its environment.
    pub(crate) fn start_with(config: &Path, environment: &[(&str, &str)]) -> Weir {
        let mut command = command();
        command.args(["serve", "-c"]).arg(config).envs(environment.iter().copied());
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut log = String::new();
        let http = loop {
            let line_start = log.len();
            assert!(stderr.read_line(&mut log).unwrap() > 0, "weir ended at once:\n{log}");
            let line = &log[line_start..];
            if let Some((_, rest)) = line.split_once("http=") {
                break rest.split_whitespace().next().unwrap().to_owned();
            }
        };
        let log = Arc::new(Mutex::new(log));
        // The pipe has to be emptied; what it says is shown when a test fails.
        std::thread::spawn({
            let log = log.clone();
            move || {
                let mut line = String::new();
                while stderr.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                    log.lock().unwrap().push_str(&line);
                    line.clear();
                }
            }
        });
        Weir { process, http, log }
    }

    /// Starts `weir serve` and waits until it is ready.
    pub(crate) fn ready(config: &Path) -> Weir {
        let weir = Weir::start(config);
        weir.await_ready();
        weir
    }

    /// Waits until it is ready.
    pub(crate) fn await_ready(&self) {
        eventually("weir is ready", || (self.get("/readyz").0 == 200).then_some(()));
    }

    /// Waits until it isn't ready, for a reason that contains `reason`.
    pub(crate) fn await_not_ready(&self, reason: &str) {
        eventually(&format!("weir isn't ready: {reason}"), || {
            let (status, body) = self.get("/readyz");
            (status == 503 && body.contains(reason)).then_some(())
        });
    }

    /// Pauses or resumes a route by `weir route`, with the token of `config`. Returns the output of the command.
    pub(crate) fn route(&self, action: &str, route: &str, config: &Path) -> String {
        let output = command().args(["route", action, route, "--at", &self.http, "-c"]).arg(config).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A GET request: status and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut response = agent.get(format!("http://{}{path}", self.http)).call().expect("weir answers");
        let mut body = String::new();
        response.body_mut().as_reader().read_to_string(&mut body).unwrap();
        (response.status().as_u16(), body)
    }

    /// A POST request with a JSON body: status and answer.
    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut response = agent.post(format!("http://{}{path}", self.http)).send_json(body).expect("weir answers");
        (response.status().as_u16(), response.body_mut().read_json().unwrap())
    }

    /// The sum of a metric over the series whose labels contain `labels`.
    pub(crate) fn metric(&self, name: &str, labels: &str) -> f64 {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200);
        let of_name = text.lines().filter_map(|line| line.strip_prefix(name));
        let of_name = of_name.filter(|rest| rest.starts_with(['{', ' ']) && rest.contains(labels));
        of_name.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// The partitions that it has and knows a lag of, as the labels of that metric.
    pub(crate) fn partitions(&self) -> Vec<String> {
        let metrics = self.get("/metrics").1;
        let lags = metrics.lines().filter_map(|line| line.strip_prefix("weir_consumer_lag{")?.split_once('}'));
        lags.map(|(labels, _)| labels.to_owned()).collect()
    }

    /// Asks for an orderly stop (SIGTERM) and waits for it.
    pub(crate) fn stop(mut self) -> ExitStatus {
        let status = Command::new("kill").arg(self.process.id().to_string()).status().unwrap();
        assert!(status.success());
        self.process.wait().unwrap()
    }

    /// A line of `/proc/PID/status`, such as `VmRSS`, in bytes.
    pub(crate) fn memory(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':')?.strip_suffix("kB"));
        value.unwrap_or_else(|| panic!("no {line} in\n{status}")).trim().parse::<u64>().unwrap() << 10
    }

    /// Has the kernel count `VmHWM`, the peak of `VmRSS`, from now on.
    pub(crate) fn forget_peak_memory(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").unwrap();
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Sends a signal, by its name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = self.log.lock().map_or_else(|_| String::new(), |log| log.clone());
            // A test that fails drops its brokers first, and a client reports each attempt to reach them.
            let outage = ["Connection refused", "BrokerTransportFailure", "AllBrokersDown"];
            let lines: Vec<_> = log.lines().filter(|line| !outage.iter().any(|sign| line.contains(sign))).collect();
            let skipped = lines.len().saturating_sub(LOG_TAIL);
            eprintln!("the log of weir, {skipped} lines skipped:\n{}", lines[skipped..].join("\n"));
        }
    }
}

/// The binary, without configuration from this environment.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WEIR__")) {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1");
    command
}

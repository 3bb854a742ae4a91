//! The real binary as a process that is killed, stopped, frozen and started again under one name.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::support::weir::command;
use crate::support::{PATIENCE, eventually};

/// A running `weir serve`; killed when dropped.
pub(crate) struct Process {
    child: Child,
    http: String,
    log: PathBuf,
    /// Where this process begins in the log, which those before it of the same name have written, too.
    begins: usize,
}

impl Process {
    /// Starts `weir serve` with this configuration, and waits until it listens. Its log is added to that file.
    pub(crate) fn start(config: &Path, log: &Path, bug: Option<&str>) -> Process {
        let weir = command();
        let file = File::options().create(true).append(true).open(log).unwrap();
        let begins = file.metadata().unwrap().len() as usize;
        // Whatever becomes of this test, the kernel ends what it has started.
        let mut child = Command::new("setpriv");
        child.args(["--pdeathsig", "KILL"]).arg(weir.get_program()).args(["serve", "-c"]).arg(config);
        for (name, value) in weir.get_envs() {
            match value {
                Some(value) => child.env(name, value),
                None => child.env_remove(name),
            };
        }
        if let Some(bug) = bug {
            child.env("WEIR_PLANTED_BUG", bug);
        }
        let child = child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn().unwrap();
        let mut process = Process { child, http: String::new(), log: log.into(), begins };
        process.http = eventually("weir listens", || {
            let log = process.log();
            let (_, rest) = log.split_once("http=")?;
            // The whole line is there.
            rest.contains('\n').then(|| rest.split_whitespace().next().unwrap().to_owned())
        });
        process
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap();
        String::from_utf8_lossy(&bytes[self.begins..]).into_owned()
    }

    /// What it answers to a GET request.
    pub(crate) fn get(&self, path: &str) -> String {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build();
        let agent: ureq::Agent = agent.into();
        let mut answer = agent.get(format!("http://{}{path}", self.http)).call().expect("weir answers");
        answer.body_mut().read_to_string().unwrap()
    }

    /// Pauses or resumes its route.
    pub(crate) fn route(&self, action: &str, config: &Path) {
        let mut route = command();
        route.args(["route", action, "flights", "--at", &self.http, "-c"]).arg(config);
        let output = route.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// How often a version was refused.
    pub(crate) fn refusals(&self) -> f64 {
        let metrics = self.get("/metrics");
        let of_loads = metrics.lines().filter(|line| line.starts_with("weir_model_loads_total{"));
        let refused = of_loads.filter(|line| line.contains("refused"));
        refused.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop in order.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// How it ended, if it has.
    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        eventually("weir has stopped", || self.child.try_wait().unwrap())
    }

    /// Stops it where it stands, until `thaw`.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(status.success(), "kill -{name}: {status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a process ended, for a person.
pub(crate) fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no status".into(),
    }
}

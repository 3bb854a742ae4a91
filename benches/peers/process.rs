//! A contender's processes, as the kernel counts them.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What was started, and all that it has started since: a process group, killed when this is dropped, or when this
/// process ends in whatever way.
pub(crate) struct Processes(Child);

/// Runs its arguments in the background until its input closes; then nothing of the group is left.
const GUARD: &str = "\"$@\" & cat >/dev/null; kill -KILL 0";

impl Processes {
    pub(crate) fn start(command: &Command, log: &Path) -> Processes {
        let log = fs::File::create(log).unwrap();
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "sh"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => guard.env(name, value),
                None => guard.env_remove(name),
            };
        }
        guard.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::piped()).process_group(0);
        Processes(guard.spawn().unwrap())
    }

    /// User and system time of all of them, in seconds. The kernel counts in hundredths of a second.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.members().iter().map(|(_, stat)| seconds(stat)).sum()
    }

    /// The most memory that each of them has had, added up, in MiB.
    pub(crate) fn peak_mib(&self) -> f64 {
        self.status_mib("VmHWM:")
    }

    /// The memory that they have now, in MiB.
    pub(crate) fn memory_mib(&self) -> f64 {
        self.status_mib("VmRSS:")
    }

    fn status_mib(&self, field: &str) -> f64 {
        let kib = |pid: u32| -> Option<f64> {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix(field))?;
            line.trim().trim_end_matches(" kB").parse().ok()
        };
        self.members().iter().filter_map(|&(pid, _)| kib(pid)).sum::<f64>() / 1024.0
    }

    /// The processes of the group, but for the guard's own, with what /proc says of each from its state on.
    fn members(&self) -> Vec<(u32, Vec<String>)> {
        let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let of_group = |pid: u32| {
            let (name, fields) = stat(pid)?;
            let is_guard = name == "sh" || name == "cat";
            (fields[2] == self.0.id().to_string() && !is_guard).then_some((pid, fields))
        };
        pids.filter_map(of_group).collect()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// User and system time of one process, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let (_, fields) = stat(pid).expect("the process runs");
    seconds(&fields)
}

/// A process's name, and what /proc says of it from its state on.
fn stat(pid: u32) -> Option<(String, Vec<String>)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is between parentheses, and may contain some.
    let (head, rest) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    Some((name.into(), rest.split_whitespace().map(String::from).collect()))
}

/// User and system time: fields 14 and 15, where the state is field 3.
fn seconds(stat: &[String]) -> f64 {
    stat[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum::<u64>() as f64 / 100.0
}

//! A contender's processes, as the kernel counts them.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// What was started, and all that it has started since: a process group, killed when dropped.
pub(crate) struct Processes(Child);

impl Processes {
    pub(crate) fn start(mut command: Command, log: &std::path::Path) -> Processes {
        let log = fs::File::create(log).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null()).process_group(0);
        Processes(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// User and system time of all of them, in seconds. The kernel counts in hundredths of a second.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        // Fields 14 and 15, where the state is field 3.
        let ticks =
            |stat: &Vec<String>| -> u64 { stat[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum() };
        self.members().iter().map(|(_, stat)| ticks(stat)).sum::<u64>() as f64 / 100.0
    }

    /// The most memory that each of them has had, added up, in MiB.
    pub(crate) fn peak_mib(&self) -> f64 {
        let peak = |pid: u32| -> Option<f64> {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.trim().trim_end_matches(" kB").parse().ok()
        };
        self.members().iter().filter_map(|&(pid, _)| peak(pid)).sum::<f64>() / 1024.0
    }

    /// The processes of the group, with what /proc says of each from its state on.
    fn members(&self) -> Vec<(u32, Vec<String>)> {
        let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let of_group = |pid: u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // Behind the name, which ends with the last parenthesis.
            let fields: Vec<String> = stat.rsplit_once(')')?.1.split_whitespace().map(String::from).collect();
            (fields[2] == self.0.id().to_string()).then_some((pid, fields))
        };
        pids.filter_map(of_group).collect()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.0.wait();
    }
}

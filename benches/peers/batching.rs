//! What waiting for a fuller batch costs, and what it saves: weir's latency and CPU against the load, with and without
//! `batch.max_delay_us`.
//!
//! Without a delay a batch is what has come while the one before was under way, so it grows with the load by itself.

use std::fmt::Write;
use std::time::Duration;

use crate::contender::Contender;
use crate::latency::{Feed, Run};
use crate::workload::Workload;

/// Records a second.
const RATES: [u64; 7] = [1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000];

/// Microseconds.
const DELAYS: [u64; 3] = [0, 2_000, 10_000];

/// Holds each rate for `seconds`; a table and a picture, as Mermaid.
pub(crate) fn measure(workload: &Workload, seconds: u64) -> String {
    let mut runs: Vec<Vec<Option<Run>>> = Vec::new();
    for delay in DELAYS {
        let feed = Feed::new(workload, &Contender::weir(2).with_max_delay(delay));
        let hold = |&rate: &u64| {
            let run = feed.hold(rate, Duration::from_secs(seconds));
            println!("max_delay_us {delay}, {rate}/s: {}", cell(run));
            run
        };
        runs.push(RATES.iter().map(hold).collect());
    }
    let mut page = String::from("p50 / p99 in ms, and share of a core, by `batch.max_delay_us`:\n\n| records/s |");
    DELAYS.iter().for_each(|delay| write!(page, " {delay} |").unwrap());
    writeln!(page, "\n|{}", " --- |".repeat(1 + DELAYS.len())).unwrap();
    for (at, rate) in RATES.iter().enumerate() {
        write!(page, "| {rate} |").unwrap();
        runs.iter().for_each(|runs| write!(page, " {} |", cell(runs[at])).unwrap());
        page.push('\n');
    }
    // What not all of them can hold has no place in the picture.
    let held = (0..RATES.len()).take_while(|&at| runs.iter().all(|runs| runs[at].is_some())).count();
    page.push_str("\n```mermaid\nxychart-beta\n    title \"p50 in ms, one line per max_delay_us");
    write!(page, " ({DELAYS:?} µs)\"\n    x-axis \"records/s\" {:?}\n    y-axis \"ms\"\n", &RATES[..held]).unwrap();
    for runs in &runs {
        let medians: Vec<String> = runs[..held].iter().flatten().map(|run| format!("{:.2}", run.p50)).collect();
        writeln!(page, "    line [{}]", medians.join(", ")).unwrap();
    }
    page + "```\n"
}

fn cell(run: Option<Run>) -> String {
    run.map_or_else(
        || "does not keep up".into(),
        |run| format!("{:.2} / {:.2}, {:.0} %", run.p50, run.p99, run.cpu * 100.0),
    )
}

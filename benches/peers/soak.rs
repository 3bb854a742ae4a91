//! Weir for a long time at a steady rate, with a swap of the model every quarter of a minute: is its memory flat, and is it
//! as quick at the end as at the start?

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use weir::model::store::Store;

use crate::contender::Contender;
use crate::latency::Feed;
use crate::support::noise::publish_noise;
use crate::workload::Workload;

const RATE: u64 = 20_000;

/// How much more memory the second half may need at its most.
const GROWTH: f64 = 1.05;

const SWAP_EVERY: Duration = Duration::from_secs(15);

/// Runs for so many minutes; the table, and whether memory was flat.
pub(crate) fn run(workload: &Workload, contender: &Contender, minutes: usize) -> (String, bool) {
    let kind = workload.kind;
    publish_noise(&workload.store(), "peers", kind.features(), &kind.hidden(), &kind.classes());
    let store = Store::open(&format!("file:{}", workload.store().display())).unwrap();
    let feed = Feed::new(workload, contender);
    let over = AtomicBool::new(false);
    let mut table = String::from("| minute | MiB | p50 ms | p99 ms | p99.9 ms |\n| --- | --- | --- | --- | --- |\n");
    let mut memory = Vec::new();
    thread::scope(|scope| {
        let swaps = scope.spawn(|| {
            for version in [2, 1].into_iter().cycle() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                store.promote("peers", "production", version).unwrap();
                thread::park_timeout(SWAP_EVERY);
            }
        });
        for minute in 1..=minutes {
            let run = feed.hold(RATE, Duration::from_secs(55)).expect("weir keeps up");
            let mib = feed.processes.memory_mib();
            let row = format!("| {minute} | {mib:.0} | {:.2} | {:.2} | {:.2} |", run.p50, run.p99, run.p999);
            println!("{row}");
            writeln!(table, "{row}").unwrap();
            memory.push(mib);
        }
        over.store(true, Ordering::Release);
        swaps.thread().unpark();
    });
    let (first, second) = memory.split_at(memory.len() / 2);
    let most = |of: &[f64]| of.iter().copied().fold(0.0, f64::max);
    let growth = most(second) / most(first);
    writeln!(table, "\nThe second half needed {growth:.3} × the memory of the first, at the most of each.").unwrap();
    (table, growth <= GROWTH)
}

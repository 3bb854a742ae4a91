//! Weir for a long time at a steady rate, with swaps of the model in every other minute: is its memory flat, is it as quick
//! at the end as at the start, and as quick with swaps as without?

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use weir::model::store::Store;

use crate::contender::Contender;
use crate::latency::Feed;
use crate::support::noise::publish_noise;
use crate::workload::Workload;
use crate::{beside, median};

const RATE: u64 = 20_000;

/// How much more memory the second half may need at its most.
const GROWTH: f64 = 1.05;

const SWAP_EVERY: Duration = Duration::from_secs(7);

/// What of each minute is measured.
const HELD: Duration = Duration::from_secs(55);

/// Runs for so many minutes; the table, and whether memory was flat.
pub(crate) fn run(workload: &Workload, contender: &Contender, minutes: usize) -> (String, bool) {
    let kind = workload.kind;
    publish_noise(&workload.store(), "peers", kind.features(), &kind.hidden(), &kind.classes());
    let store = Store::open(&format!("file:{}", workload.store().display())).unwrap();
    let feed = Feed::new(workload, contender);
    let mut table =
        String::from("| minute | swaps | MiB | p50 ms | p99 ms | p99.9 ms |\n| --- | --- | --- | --- | --- | --- |\n");
    let (mut memory, mut swapped, mut unswapped) = (Vec::new(), Vec::new(), Vec::new());
    let mut versions = [2, 1].into_iter().cycle();
    for minute in 1..=minutes {
        let over = AtomicBool::new(minute % 2 == 0);
        let (run, swaps) = thread::scope(|scope| {
            let swapping = scope.spawn(|| {
                let mut swaps = 0;
                while !over.load(Ordering::Acquire) {
                    store.promote("peers", "production", versions.next().unwrap()).unwrap();
                    swaps += 1;
                    thread::park_timeout(SWAP_EVERY);
                }
                swaps
            });
            let run = feed.hold(RATE, HELD).expect("weir keeps up");
            over.store(true, Ordering::Release);
            swapping.thread().unpark();
            (run, swapping.join().unwrap())
        });
        let mib = feed.processes.memory_mib();
        let row = format!("| {minute} | {swaps} | {mib:.0} | {:.2} | {:.2} | {:.2} |", run.p50, run.p99, run.p999);
        println!("{row}");
        writeln!(table, "{row}").unwrap();
        memory.push(mib);
        (if swaps > 0 { &mut swapped } else { &mut unswapped }).push(run.p999);
    }
    let (first, second) = memory.split_at(memory.len() / 2);
    let most = |of: &[f64]| of.iter().copied().fold(0.0, f64::max);
    let growth = most(second) / most(first);
    writeln!(table, "\nThe second half needed {growth:.3} × the memory of the first, at the most of each.").unwrap();
    let ratio = beside(&swapped, &unswapped, |p999| *p999);
    let (with, without) = (median(swapped), median(unswapped));
    writeln!(
        table,
        "The median p99.9 of the minutes with swaps is {with:.2} ms, without {without:.2} ms; that of their ratios, \
         minute by minute, {ratio:.2}."
    )
    .unwrap();
    (table, growth <= GROWTH)
}

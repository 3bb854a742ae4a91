//! How far the reading of a topic is, on stderr: a bar on a terminal, now and then a line elsewhere.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::console::say;
use crate::kafka::reader::Pass;
use crate::report::count;

/// How often a bar moves.
const BAR_INTERVAL: Duration = Duration::from_millis(100);

/// How often a line is written where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

pub(super) struct Reading {
    quiet: bool,
    terminal: bool,
    due: Instant,
    bar: Option<ProgressBar>,
}

impl Reading {
    /// From now on; a quiet one shows nothing.
    pub(super) fn new(quiet: bool) -> Reading {
        let terminal = io::stderr().is_terminal();
        let interval = if terminal { BAR_INTERVAL } else { LINE_INTERVAL };
        Reading { quiet, terminal, due: Instant::now() + interval, bar: None }
    }

    /// Shows where the reading is, if it is time to. Call it as often as you like.
    pub(super) fn show(&mut self, pass: &Pass<'_>) {
        let now = Instant::now();
        if self.quiet || now < self.due {
            return;
        }
        let all: i64 = pass.extents().iter().map(|extent| extent.to - extent.from).sum();
        let left: i64 = pass.extents().iter().map(|extent| extent.to - pass.positions()[&extent.partition]).sum();
        let (all, done) = (all.unsigned_abs(), (all - left).unsigned_abs());
        if self.terminal {
            self.due = now + BAR_INTERVAL;
            let bar = self.bar.get_or_insert_with(|| {
                let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} offsets, {per_sec}");
                ProgressBar::new(all).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            });
            bar.set_length(all);
            bar.set_message(pass.topic().to_owned());
            bar.set_position(done);
        } else {
            self.due = now + LINE_INTERVAL;
            say!("{}: {} of {} offsets", pass.topic(), count(done), count(all));
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

//! How far the training is, on stderr: a bar on a terminal, a line per epoch elsewhere.

use std::io::{self, IsTerminal};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use super::super::console::say;
use crate::train::Epoch;

pub(super) struct Progress {
    quiet: bool,
    started: Instant,
    /// Epochs seen: one that was resumed doesn't begin with the first.
    epochs: usize,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// From now on; a quiet one shows nothing.
    pub(super) fn new(quiet: bool) -> Progress {
        Progress { quiet, started: Instant::now(), epochs: 0, bar: None }
    }

    pub(super) fn show(&mut self, epoch: &Epoch) {
        self.epochs += 1;
        if self.quiet {
            return;
        }
        let rate = (self.epochs * epoch.rows) as f64 / self.started.elapsed().as_secs_f64();
        let score = epoch.score.map(|score| format!(", validation score {score:.4}")).unwrap_or_default();
        let figures = format!("loss {:.6}{score}, {rate:.0} rows/s", epoch.loss);
        if io::stderr().is_terminal() {
            let bar = self.bar.get_or_insert_with(|| {
                let style = ProgressStyle::with_template("epoch {pos}/{len} {wide_bar} {msg}");
                ProgressBar::new(epoch.of as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            });
            bar.set_position(epoch.number as u64);
            bar.set_message(figures);
        } else {
            say!("epoch {}/{}: {figures}", epoch.number, epoch.of);
        }
    }

    /// Takes the bar away; the seconds since the beginning.
    pub(super) fn finish(self) -> f64 {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        self.started.elapsed().as_secs_f64()
    }
}

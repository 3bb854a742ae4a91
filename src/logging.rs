//! The `[log]` section: what is logged, and how.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

/// The `[log]` section.
#[derive(Clone, Debug, Deserialize)]
pub struct LogConfig {
    /// A level, or a filter such as `info,weir::kafka=debug`.
    pub level: String,
    /// Text for people or JSON for machines.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// An object a line.
    Json,
}

impl LogConfig {
    /// Adds what is wrong with this section to `mistakes`.
    pub fn check(&self, mistakes: &mut Vec<String>) {
        if !self.level.is_ascii() {
            // The filter's parser cuts text by bytes, and panics where that is within a character.
            mistakes.push(format!("log.level {:?}: levels and modules have plain names", self.level));
        } else if let Err(error) = EnvFilter::try_new(&self.level) {
            mistakes.push(format!("log.level {:?}: {error}", self.level));
        }
    }

    /// Sends the log to stderr from now on. The first call in a process counts.
    pub fn start(&self) {
        let filter = EnvFilter::try_new(&self.level).unwrap_or_else(|_| EnvFilter::new("info"));
        // weir's clients log all that matters, as weir::kafka; rdkafka itself would call each orderly close an error.
        let filter = match "rdkafka=off".parse() {
            Ok(directive) => filter.add_directive(directive),
            Err(_) => filter,
        };
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let lines = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
        // Who doesn't read the log any more must not stop the workers: what can't be written would be reported by a macro that
        // panics.
        let lines = lines.log_internal_errors(false);
        let _ = match self.format {
            LogFormat::Text => lines.try_init(),
            LogFormat::Json => lines.json().flatten_event(true).try_init(),
        };
    }
}

/// How often a line of one kind is logged at most.
const PACE: Duration = Duration::from_secs(60);

/// How many kinds of lines a [`LogPace`] remembers.
const MOST_KINDS: usize = 1_000;

/// Keeps lines that come again and again from filling the log: a line of each kind is logged once a minute.
#[derive(Debug)]
pub(crate) struct LogPace {
    /// By kind: when a line was logged, and how many were left out since.
    kinds: BTreeMap<String, (Instant, u64)>,
}

impl LogPace {
    /// Nothing was logged yet.
    pub(crate) const fn new() -> LogPace {
        LogPace { kinds: BTreeMap::new() }
    }

    /// Whether a line of this kind is to be logged now. If it is, the result is how many of them were left out before it.
    pub(crate) fn take(&mut self, kind: &str, now: Instant) -> Option<u64> {
        if let Some((logged_at, left_out)) = self.kinds.get_mut(kind) {
            if now.saturating_duration_since(*logged_at) < PACE {
                *left_out += 1;
                return None;
            }
            *logged_at = now;
            return Some(std::mem::take(left_out));
        }
        if self.kinds.len() >= MOST_KINDS {
            self.kinds.clear();
        }
        self.kinds.insert(kind.to_owned(), (now, 0));
        Some(0)
    }
}

/// An error and its causes on one line. A cause that an error names already isn't repeated.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text_of_cause = cause.to_string();
        if !text.ends_with(&text_of_cause) {
            text.push_str(": ");
            text.push_str(&text_of_cause);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Cause {
        text: &'static str,
        source: Option<Box<Cause>>,
    }

    #[test]
    fn a_line_of_each_kind_is_logged_once_a_minute() {
        let start = Instant::now();
        let mut pace = LogPace::new();
        let logged: Vec<_> =
            (0..180).filter_map(|second| pace.take("a", start + Duration::from_secs(second))).collect();
        assert_eq!(logged, [0, 59, 59]);
        assert_eq!(pace.take("b", start), Some(0));
        for kind in 0..2 * MOST_KINDS {
            pace.take(&kind.to_string(), start);
        }
        assert!(pace.kinds.len() <= MOST_KINDS);
    }

    #[test]
    fn a_chain_names_each_cause_once() {
        let disk = Cause { text: "no space left", source: None };
        let file = Cause { text: "can't write: no space left", source: Some(Box::new(disk)) };
        let outer = Cause { text: "the version isn't published", source: Some(Box::new(file)) };
        assert_eq!(chain(&outer), "the version isn't published: can't write: no space left");
    }
}

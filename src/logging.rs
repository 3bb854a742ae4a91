//! The `[log]` section: what is logged, and how.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

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
        if let Err(problem) = self.filter() {
            mistakes.push(format!("log.level = {:?}: {problem}", self.level));
        }
    }

    fn filter(&self) -> Result<EnvFilter, String> {
        // The filter's parser cuts text by bytes, and panics where that is within a character. Blanks it keeps.
        if !self.level.is_ascii() {
            return Err("levels and modules have plain names".into());
        }
        let directives: Vec<&str> = self.level.split(',').map(str::trim).filter(|text| !text.is_empty()).collect();
        // To the parser any other word is a module, of which everything is logged.
        let is_word = |text: &&str| !text.contains(['=', '[', ']']) && !text.starts_with("weir");
        let unknown = directives.iter().copied().filter(is_word).find(|text| text.parse::<LevelFilter>().is_err());
        if directives.is_empty() || unknown.is_some() {
            let what = unknown.map(|word| format!("{word:?} is no level: ")).unwrap_or_default();
            return Err(format!(
                "{what}must be error, warn, info, debug or trace, or a filter such as \"info,weir::kafka=debug\""
            ));
        }
        EnvFilter::try_new(directives.join(",")).map_err(|error| error.to_string())
    }

    /// Sends the log to stderr from now on. The first call in a process counts.
    pub fn start(&self) {
        let filter = self.filter().unwrap_or_else(|_| EnvFilter::new("info"));
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
    fn a_level_is_one_or_a_filter_that_names_one() {
        let mistakes = |level: &str| {
            let mut mistakes = Vec::new();
            LogConfig { level: level.into(), format: LogFormat::Text }.check(&mut mistakes);
            mistakes.concat()
        };
        for level in ["info", "WARN", "off", "info,weir::kafka=debug", "info, weir::kafka=debug", "weir=trace", "weir"]
        {
            assert_eq!(mistakes(level), "", "{level}");
        }
        for (level, part) in [
            ("loud", "\"loud\" is no level: must be error, warn"),
            ("weir=debug,wran", "\"wran\" is no level"),
            ("weir::kafka=loud", "log.level = \"weir::kafka=loud\": "),
            ("", "must be error, warn"),
            (" , ", "must be error, warn"),
            ("größer", "plain names"),
        ] {
            assert!(mistakes(level).contains(part), "{level}: {:?}", mistakes(level));
        }
        // Its parser takes a blank for a part of the module's name.
        let filter = LogConfig { level: "info, weir::kafka=debug".into(), format: LogFormat::Text }.filter().unwrap();
        assert!(filter.to_string().contains("weir::kafka=debug"), "{filter}");
    }

    #[test]
    fn a_chain_names_each_cause_once() {
        let disk = Cause { text: "no space left", source: None };
        let file = Cause { text: "can't write: no space left", source: Some(Box::new(disk)) };
        let outer = Cause { text: "the version isn't published", source: Some(Box::new(file)) };
        assert_eq!(chain(&outer), "the version isn't published: can't write: no space left");
    }
}

//! The `[log]` section: what is logged, and how.

use std::error::Error;
use std::io::IsTerminal;

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
    fn a_chain_names_each_cause_once() {
        let disk = Cause { text: "no space left", source: None };
        let file = Cause { text: "can't write: no space left", source: Some(Box::new(disk)) };
        let outer = Cause { text: "the version isn't published", source: Some(Box::new(file)) };
        assert_eq!(chain(&outer), "the version isn't published: can't write: no space left");
    }
}

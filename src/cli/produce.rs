//! `weir produce`: lines of a file become records of a topic.

use std::io::{self, BufRead};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::console::say;
use super::data::LimitArgs;
use super::interrupt::Interrupt;
use super::topics::{self, only_topic};
use crate::config::Config;
use crate::kafka::admin::OutputLimits;
use crate::kafka::delivery::Delivery;
use crate::kafka::producer::{Outgoing, Producer, Ticket};
use crate::printable::shown;
use crate::report::count;
use crate::train::dataset;

/// What is printed at the first signal, and at the second.
const SIGNALS: [&str; 2] =
    ["waiting for the brokers to acknowledge what was sent; once more stops at once", "stopped by a second signal"];

/// Send each line of a file to a topic, as one record.
///
/// A line is sent as it stands, and empty lines are skipped. The command ends when the brokers have acknowledged every record.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  weir produce -c flights.toml july.jsonl.gz --key id\n  \
        echo '{\"id\": 1}' | weir produce -c flights.toml --topic flights.features")]
pub struct Args {
    /// The configuration file (TOML), for the brokers and how to connect to them.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,

    /// Lines, plain or gzipped [default: standard input].
    #[arg(value_name = "DATA")]
    data: Option<PathBuf>,

    /// The topic to write to [default: the input topic, if the configuration has only one].
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,

    /// Member of each JSON record that becomes its key, as a name or a dotted path [default: no key].
    #[arg(long, value_name = "PATH")]
    key: Option<String>,

    #[command(flatten)]
    limits: LimitArgs,
}

/// Runs the verb.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config)?;
    let inputs = config.routes.iter().flat_map(|route| route.input.topics.iter().map(String::as_str));
    let topic = only_topic(args.topic.as_deref(), "input", inputs)?;
    let name = args.data.as_ref().map_or("standard input".into(), |path| path.display().to_string());
    let mut input: Box<dyn BufRead> = match &args.data {
        Some(path) => dataset::open(path).with_context(|| format!("can't read {name}"))?,
        None => Box::new(io::stdin().lock()),
    };
    let described = topics::describe(&config, &[topic.to_owned()])?;
    let producer = Producer::new(&config.kafka, &OutputLimits::over(described.values()), None)
        .context("no Kafka producer with these properties")?;
    let interrupt = Interrupt::listen(Some(SIGNALS))?;
    let mut watch = || if interrupt.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };

    let mut delivery = Delivery::new(&producer);
    let (mut line, mut number, mut sent) = (Vec::new(), 0_u64, 0_u64);
    let mut mistake = Ok(());
    while !interrupt.asked() {
        line.clear();
        number += 1;
        if args.limits.limits().read_line(&mut input, &mut line).with_context(|| format!("can't read {name}"))? == 0 {
            break;
        }
        let value = line.trim_ascii_end();
        if value.trim_ascii_start().is_empty() {
            continue;
        }
        let key = match args.key.as_deref().map(|path| key_of(value, path)).transpose() {
            Ok(key) => key,
            Err(error) => {
                mistake = Err(error.context(format!("{name}, line {number}")));
                break;
            }
        };
        let record = Outgoing {
            topic,
            partition: None,
            key: key.as_deref(),
            value: Some(value),
            timestamp_ms: None,
            headers: None,
            ticket: Ticket::default(),
        };
        delivery.send(record, &mut watch)?;
        sent += 1;
    }
    delivery.settle(&mut watch)?;
    say!("{} records sent to {topic}", count(sent));
    mistake?;
    Ok(if interrupt.asked() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The bytes of the member at a dotted path: those of a text, or the JSON of another value.
fn key_of(record: &[u8], path: &str) -> anyhow::Result<Vec<u8>> {
    let record: Value = serde_json::from_slice(record).context("not JSON, so it has no member for --key")?;
    // A name may have dots itself, so the whole path is tried first, as output.fields does.
    let member = record.get(path).or_else(|| path.split('.').try_fold(&record, |value, name| value.get(name)));
    let member = member.filter(|member| !member.is_null());
    ensure!(member.is_some(), "no member {path:?} for --key in {}", shown(&record.to_string()));
    Ok(match member {
        Some(Value::String(text)) => text.clone().into_bytes(),
        other => other.map(Value::to_string).unwrap_or_default().into_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_text_as_it_is_and_other_values_as_json() {
        let key = |record: &str, path| key_of(record.as_bytes(), path).map(|key| String::from_utf8(key).unwrap());
        assert_eq!(key(r#"{"id":"a b"}"#, "id").unwrap(), "a b");
        assert_eq!(key(r#"{"id":17}"#, "id").unwrap(), "17");
        assert_eq!(key(r#"{"after":{"id":true}}"#, "after.id").unwrap(), "true");
        assert_eq!(key(r#"{"after.id":1,"after":{"id":2}}"#, "after.id").unwrap(), "1");
    }

    #[test]
    fn a_record_without_its_key_is_a_mistake_that_shows_the_record() {
        for record in [r#"{"ID":1}"#, r#"{"id":null}"#, "[1]"] {
            let error = key_of(record.as_bytes(), "id").unwrap_err().to_string();
            assert_eq!(error, format!("no member \"id\" for --key in {record:?}"));
        }
        assert!(key_of(b"id=1", "id").unwrap_err().to_string().contains("not JSON"));
    }
}

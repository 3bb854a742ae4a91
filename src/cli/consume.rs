//! `weir consume`: the records of a topic, printed.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::console;
use super::interrupt::Interrupt;
use super::range::RangeArgs;
use super::topics::only_topic;
use crate::config::Config;
use crate::kafka::consumer::Record;
use crate::kafka::reader::{Next, Reader};

/// How long a step waits for a record, and how long `--follow` waits before it asks again how far the topic goes.
const STEP: Duration = Duration::from_millis(100);

/// Print the records of a topic, one a line.
///
/// Without --follow, what is in the topic now is printed. No group is joined, and no offset is committed. Records come in the
/// order of their partition. A record without a value (a tombstone) is printed as null.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  weir consume -c flights.toml --limit 3\n  \
        weir consume -c flights.toml --topic flights.dead-letter --json --follow")]
pub struct Args {
    /// The configuration file (TOML), for the brokers and how to connect to them.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,

    /// The topic to read [default: the output topic, if the configuration has only one].
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,

    #[command(flatten)]
    range: RangeArgs,

    /// Stop after this many records.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,

    /// Wait for more records at the end of the topic.
    #[arg(long, conflicts_with = "to")]
    follow: bool,

    /// Print each record as a JSON object with topic, partition, offset, timestamp_ms, key, headers and value. Bytes that
    /// aren't UTF-8 are replaced.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config)?;
    let outputs = config.routes.iter().map(|route| route.output.topic.as_str());
    let topic = only_topic(args.topic.as_deref(), "output", outputs)?;
    let interrupt = Interrupt::listen(None)?;
    // It neither asks nor changes its group.
    let reader = Reader::new(&config.kafka, &config.kafka.group_id)?;
    let mut out = output();
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut positions = BTreeMap::new();
    let mut extents = reader.extents(topic, args.range.from.as_ref(), args.range.to.as_ref())?;
    loop {
        let mut pass = reader.read(topic, &extents)?;
        while left > 0 && !interrupt.asked() {
            match pass.next(STEP)? {
                Next::Record(record) => {
                    print(topic, &record, args.json, &mut out)?;
                    left -= 1;
                }
                Next::Nothing => out.flush()?,
                Next::End => break,
            }
        }
        out.flush()?;
        if !args.follow || left == 0 || interrupt.asked() {
            return Ok(ExitCode::SUCCESS);
        }
        positions.extend(pass.positions());
        drop(pass);
        std::thread::sleep(STEP);
        // Partitions that were added meanwhile are read from their start.
        extents = reader.extents(topic, None, None)?;
        for extent in &mut extents {
            let from = positions.get(&extent.partition).copied().unwrap_or(extent.from);
            extent.from = from.clamp(extent.from, extent.to);
        }
    }
}

/// Standard output: byte for byte into a pipe or a file, as harmless text on a terminal.
fn output() -> Box<dyn Write> {
    if io::stdout().is_terminal() { Box::new(console::stdout()) } else { Box::new(BufWriter::new(io::stdout().lock())) }
}

fn print(topic: &str, record: &Record<'_>, json: bool, out: &mut dyn Write) -> io::Result<()> {
    if !json {
        out.write_all(record.payload().unwrap_or(b"null"))?;
        return out.write_all(b"\n");
    }
    let text = |bytes: Option<&[u8]>| bytes.map_or(Value::Null, |bytes| String::from_utf8_lossy(bytes).into());
    let headers: Vec<Value> =
        record.header_list().into_iter().map(|(name, value)| json!([text(Some(name)), text(value)])).collect();
    let object = json!({
        "topic": topic,
        "partition": record.partition(),
        "offset": record.offset(),
        "timestamp_ms": record.timestamp_ms(),
        "key": text(record.key()),
        "headers": headers,
        "value": text(record.payload()),
    });
    writeln!(out, "{object}")
}

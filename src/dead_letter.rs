//! Dead letters: what they say of themselves, and what is done with them afterwards.
//!
//! The worker writes them; [`survey`] counts them, and [`redrive`] sends them again, as far as [`memory`] says that
//! this hasn't been done.

pub mod memory;
pub mod redrive;
pub mod survey;

use crate::kafka::consumer::Record;

/// A header that weir adds to a record that it rejects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Why, out of the closed list of reasons.
    Reason,
    /// What was found, for a person.
    Message,
    /// The input topic.
    Topic,
    /// The partition of that topic.
    Partition,
    /// The offset in that partition.
    Offset,
    /// The route.
    Route,
    /// The model that the record was meant for.
    Model,
    /// Its version.
    Version,
    /// How often the record has been tried.
    Attempt,
    /// What of the record the dead-letter topic was too small for.
    Omitted,
}

impl Header {
    /// Every header.
    pub const ALL: [Header; 10] = [
        Header::Reason,
        Header::Message,
        Header::Topic,
        Header::Partition,
        Header::Offset,
        Header::Route,
        Header::Model,
        Header::Version,
        Header::Attempt,
        Header::Omitted,
    ];

    /// The header's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Header::Reason => "weir-error-reason",
            Header::Message => "weir-error-message",
            Header::Topic => "weir-error-topic",
            Header::Partition => "weir-error-partition",
            Header::Offset => "weir-error-offset",
            Header::Route => "weir-error-route",
            Header::Model => "weir-error-model",
            Header::Version => "weir-error-version",
            Header::Attempt => "weir-error-attempt",
            Header::Omitted => "weir-error-omitted",
        }
    }
}

/// The header of an input record that says which attempt it is: one that was never sent again has none.
pub const ATTEMPT: &str = "weir-attempt";

/// Which attempt an input record is, from 1.
pub fn attempt(record: &Record<'_>) -> u32 {
    attempt_in(record.header(ATTEMPT).as_deref())
}

/// Which attempt this value of the header [`ATTEMPT`] says, from 1.
pub(crate) fn attempt_in(value: Option<&[u8]>) -> u32 {
    let attempt = value.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    attempt.filter(|&attempt| attempt > 0).unwrap_or(1)
}

/// What the headers of a dead letter say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Why the record was rejected; another weir may know reasons that this one doesn't.
    pub reason: String,
    /// What was found.
    pub message: String,
    /// The topic that the record came from.
    pub topic: String,
    /// The partition of that topic.
    pub partition: i32,
    /// The offset in that partition.
    pub offset: i64,
    /// The route.
    pub route: String,
    /// The model.
    pub model: String,
    /// Its version.
    pub version: String,
    /// Which attempt was rejected, from 1.
    pub attempt: u32,
    /// What of the record isn't there.
    pub omitted: Option<String>,
}

impl Letter {
    /// The letter that a record is; `None` if weir didn't write it.
    pub fn of(record: &Record<'_>) -> Option<Letter> {
        Some(Letter {
            reason: text(record, Header::Reason)?,
            message: text(record, Header::Message).unwrap_or_default(),
            topic: text(record, Header::Topic)?,
            partition: parsed(record, Header::Partition.as_str())?,
            offset: parsed(record, Header::Offset.as_str())?,
            route: text(record, Header::Route)?,
            model: text(record, Header::Model).unwrap_or_default(),
            version: text(record, Header::Version).unwrap_or_default(),
            attempt: parsed(record, Header::Attempt.as_str()).unwrap_or(1),
            omitted: text(record, Header::Omitted),
        })
    }
}

fn text(record: &Record<'_>, header: Header) -> Option<String> {
    record.header(header.as_str()).map(|value| String::from_utf8_lossy(&value).into_owned())
}

fn parsed<T: std::str::FromStr>(record: &Record<'_>, name: &str) -> Option<T> {
    std::str::from_utf8(&record.header(name)?).ok()?.parse().ok()
}

//! Dead letters: what they say of themselves, and what is done with them afterwards.
//!
//! The worker writes them; [`survey`] counts them, and [`redrive`] sends them again, as far as [`memory`] says that
//! this hasn't been done.

pub mod progress;
pub mod redrive;
pub mod survey;

use std::ops::Range;

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
    /// Every header, in the order in which they are added; the last one only where it is needed.
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

/// The header after [`ATTEMPT`], which says which dead letter the record was: `topic/partition/offset`.
pub const REDRIVEN_FROM: &str = "weir-redriven-from";

/// Which attempt an input record with these headers is, from 1, on a route with this dead-letter topic.
pub(crate) fn attempt(headers: &HeaderList<'_>, dead_letter_topic: &str) -> u32 {
    redriven(headers, dead_letter_topic).map_or(1, |(attempt, _)| attempt)
}

/// Which attempt a record is that was a letter of this topic, and where the two headers are that say so. What a producer
/// calls [`ATTEMPT`], or what is left of a redrive of another route, doesn't count.
fn redriven(headers: &HeaderList<'_>, dead_letter_topic: &str) -> Option<(u32, usize)> {
    let is_from_here = |value: Option<&[u8]>| {
        let rest = value.and_then(|value| value.strip_prefix(dead_letter_topic.as_bytes()));
        rest.is_some_and(|rest| rest.starts_with(b"/"))
    };
    let place = headers.windows(2).rposition(|pair| {
        pair[0].0 == ATTEMPT.as_bytes() && pair[1].0 == REDRIVEN_FROM.as_bytes() && is_from_here(pair[1].1)
    })?;
    Some((parsed(headers[place].1).filter(|&attempt| attempt > 0)?, place))
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
        let list = record.header_list();
        let own = &list[own_headers(&list)?];
        let value = |header: Header| own.iter().find(|(name, _)| *name == header.as_str().as_bytes())?.1;
        let text = |header| value(header).map(|value| String::from_utf8_lossy(value).into_owned());
        Some(Letter {
            reason: text(Header::Reason)?,
            message: text(Header::Message).unwrap_or_default(),
            topic: text(Header::Topic)?,
            partition: parsed(value(Header::Partition))?,
            offset: parsed(value(Header::Offset))?,
            route: text(Header::Route)?,
            model: text(Header::Model).unwrap_or_default(),
            version: text(Header::Version).unwrap_or_default(),
            attempt: parsed(value(Header::Attempt)).unwrap_or(1),
            omitted: text(Header::Omitted),
        })
    }
}

type HeaderList<'r> = [(&'r [u8], Option<&'r [u8]>)];

/// Where the headers are that weir added to a record when it rejected it: all of them, in their order, in one piece. What a
/// record brought under the same names is before them, and is the record's own.
fn own_headers(headers: &HeaderList<'_>) -> Option<Range<usize>> {
    let always = &Header::ALL[..Header::ALL.len() - 1];
    let are_all = |found: &HeaderList<'_>| found.iter().zip(always).all(|(has, is)| has.0 == is.as_str().as_bytes());
    let start = headers.windows(always.len()).rposition(are_all)?;
    let end = start + always.len();
    let omitted = headers.get(end).is_some_and(|(name, _)| *name == Header::Omitted.as_str().as_bytes());
    Some(start..end + usize::from(omitted))
}

/// The places of all headers that weir added to a letter of this topic, when it rejected the record and when it sent it again.
fn added_headers(record: &Record<'_>, dead_letter_topic: &str) -> Vec<usize> {
    let list = record.header_list();
    let own = own_headers(&list).unwrap_or_default();
    let again = redriven(&list[..own.start], dead_letter_topic).map(|(_, place)| place..place + 2);
    again.unwrap_or_default().chain(own).collect()
}

fn parsed<T: std::str::FromStr>(value: Option<&[u8]>) -> Option<T> {
    std::str::from_utf8(value?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Headers = Vec<(&'static [u8], Option<&'static [u8]>)>;

    fn named(names: &[&'static str]) -> Headers {
        names.iter().map(|name| (name.as_bytes(), Some(&b"1"[..]))).collect()
    }

    fn written(omitted: bool) -> Headers {
        named(&Header::ALL.map(Header::as_str)[..9 + usize::from(omitted)])
    }

    #[test]
    fn own_headers_are_distinguished_from_others_of_the_same_names() {
        let forged = named(&["weir-error-omitted", "weir-error-reason", "x", "weir-error-attempt"]);
        assert_eq!(own_headers(&written(false)), Some(0..9));
        assert_eq!(own_headers(&written(true)), Some(0..10));
        assert_eq!(own_headers(&[forged.clone(), written(false)].concat()), Some(4..13));
        assert_eq!(own_headers(&[written(true), written(false)].concat()), Some(10..19), "the last ones are weir's");
        assert_eq!(own_headers(&[written(false), named(&["x"])].concat()), Some(0..9));
        for others in [vec![], forged, written(false)[1..].to_vec(), written(false)[..8].to_vec()] {
            assert_eq!(own_headers(&others), None, "{others:?}");
        }
    }

    #[test]
    fn an_attempt_counts_if_a_redrive_from_this_topic_wrote_it() {
        let pair = |attempt: &'static str, from: &'static str| -> Headers {
            vec![(b"weir-attempt", Some(attempt.as_bytes())), (b"weir-redriven-from", Some(from.as_bytes()))]
        };
        let at = |headers: &Headers| redriven(headers, "dead");
        assert_eq!(at(&pair("2", "dead/0/17")), Some((2, 0)));
        assert_eq!(at(&[named(&["weir-attempt"]), pair("3", "dead/0/17")].concat()), Some((3, 1)));
        assert_eq!(at(&[pair("2", "dead/0/17"), named(&["weir-attempt", "x"])].concat()), Some((2, 0)));
        for forged in [
            named(&["weir-attempt"]),
            pair("9", "dead-letters/0/17"),
            pair("9", "dead"),
            pair("many", "dead/0/17"),
            pair("0", "dead/0/17"),
            [named(&["weir-redriven-from"]), named(&["weir-attempt"])].concat(),
            vec![(b"weir-attempt", None), (b"weir-redriven-from", None)],
        ] {
            assert_eq!(at(&forged), None, "{forged:?}");
        }
    }
}

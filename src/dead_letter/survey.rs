//! Counts dead letters by what they say, and keeps some of them to be looked at.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::Letter;
use crate::kafka::consumer::Record;

/// How much of a value a sample shows.
const EXCERPT_BYTES: usize = 200;

/// What a dead-letter topic has.
#[derive(Debug, Default)]
pub struct LetterSurvey {
    /// Letters of the routes that were asked for, in groups.
    pub groups: BTreeMap<GroupKey, LetterGroup>,
    /// Letters of other routes.
    pub other_routes: u64,
    /// Records that aren't dead letters of weir's.
    pub foreign: u64,
}

/// What letters have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GroupKey {
    /// The dead-letter topic.
    pub dead_letter_topic: String,
    /// The route.
    pub route: String,
    /// The model.
    pub model: String,
    /// Its version.
    pub version: String,
    /// Why they are there.
    pub reason: String,
}

/// The letters of a group.
#[derive(Debug, Default, Serialize)]
pub struct LetterGroup {
    /// How many.
    pub letters: u64,
    /// Those among them that lack their value.
    pub incomplete: u64,
    /// The most attempts that one of them has behind it.
    pub attempts: u32,
    /// The time of the earliest, in milliseconds since 1970: the input record's own, as long as the dead-letter topic
    /// keeps what producers say.
    pub first_ms: Option<i64>,
    /// The time of the latest.
    pub last_ms: Option<i64>,
    /// The last ones that were read.
    pub samples: VecDeque<LetterSample>,
}

/// A letter to be looked at.
#[derive(Debug, Serialize)]
pub struct LetterSample {
    /// Where it is in the dead-letter topic.
    pub partition: i32,
    /// The offset there.
    pub offset: i64,
    /// Its time, in milliseconds since 1970.
    pub time_ms: Option<i64>,
    /// Where it came from.
    pub origin: LetterOrigin,
    /// Which attempt it was.
    pub attempt: u32,
    /// What was found.
    pub message: String,
    /// Its key.
    pub key: Option<String>,
    /// The beginning of its value.
    pub value: Option<String>,
    /// What of it isn't there.
    pub omitted: Option<String>,
}

/// Where a letter came from.
#[derive(Debug, Serialize)]
pub struct LetterOrigin {
    /// The input topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl LetterSurvey {
    /// Counts a record of a dead-letter topic. `is_wanted` chooses routes; of each group the last `samples` are kept.
    pub fn add(&mut self, topic: &str, record: &Record<'_>, is_wanted: impl Fn(&str) -> bool, samples: usize) {
        let Some(letter) = Letter::of(record) else {
            self.foreign += 1;
            return;
        };
        if !is_wanted(&letter.route) {
            self.other_routes += 1;
            return;
        }
        let group = GroupKey {
            dead_letter_topic: topic.into(),
            route: letter.route.clone(),
            model: letter.model.clone(),
            version: letter.version.clone(),
            reason: letter.reason.clone(),
        };
        let counted = self.groups.entry(group).or_default();
        let time_ms = record.timestamp_ms();
        counted.letters += 1;
        counted.incomplete += u64::from(letter.omitted.is_some());
        counted.attempts = counted.attempts.max(letter.attempt);
        counted.first_ms = counted.first_ms.into_iter().chain(time_ms).min();
        counted.last_ms = counted.last_ms.max(time_ms);
        if samples > 0 {
            if counted.samples.len() == samples {
                counted.samples.pop_front();
            }
            counted.samples.push_back(sample(record, letter));
        }
    }

    /// Letters of the routes that were asked for.
    pub fn letters(&self) -> u64 {
        self.groups.values().map(|counted| counted.letters).sum()
    }
}

fn sample(record: &Record<'_>, letter: Letter) -> LetterSample {
    LetterSample {
        partition: record.partition(),
        offset: record.offset(),
        time_ms: record.timestamp_ms(),
        origin: LetterOrigin { topic: letter.topic, partition: letter.partition, offset: letter.offset },
        attempt: letter.attempt,
        message: letter.message,
        key: record.key().map(excerpt),
        value: record.payload().map(excerpt),
        omitted: letter.omitted,
    }
}

/// The beginning of some bytes, as text.
fn excerpt(bytes: &[u8]) -> String {
    if bytes.len() <= EXCERPT_BYTES {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    // Not within a character, unless it is none.
    let is_start = |&at: &usize| bytes[at] & 0xC0 != 0x80;
    let end = (EXCERPT_BYTES - 3..=EXCERPT_BYTES).rev().find(is_start).unwrap_or(EXCERPT_BYTES);
    format!("{}…", String::from_utf8_lossy(&bytes[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_ends_between_characters() {
        assert_eq!(excerpt(b"short"), "short");
        assert_eq!(excerpt("ä".repeat(200).as_bytes()), format!("{}…", "ä".repeat(100)));
        assert_eq!(excerpt(format!("x{}", "ä".repeat(200)).as_bytes()), format!("x{}…", "ä".repeat(99)));
        assert_eq!(excerpt(&[0xFF; 300]).chars().last(), Some('…'));
    }
}

//! What a rejected record becomes: its own bytes, and headers that say why.

use super::ports::InputRecord;
use crate::dead_letter::{Header, attempt};
use crate::kafka::Headers;
use crate::kafka::admin::Topic;
use crate::model::Model;
use crate::record::Rejection;

/// A rejected record on its way to the dead-letter topic.
pub(super) struct DeadLetter<'r> {
    pub(super) key: Option<&'r [u8]>,
    pub(super) value: Option<&'r [u8]>,
    pub(super) headers: Headers,
}

/// What a dead letter leaves out of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Omission {
    Nothing,
    Value,
    Everything,
}

impl Omission {
    /// What a letter to `topic` leaves out whose value, whose key and headers of the record, and whose headers of weir have so
    /// many bytes. A topic that takes not even weir's headers takes no letter: nothing is left out, and the letter waits until
    /// the topic takes larger ones.
    fn of(topic: &Topic, value: usize, key_and_headers: usize, own: usize) -> Omission {
        let limit = topic.record_bytes();
        if value + key_and_headers + own <= limit || own > topic.max_message_bytes {
            Omission::Nothing
        } else if key_and_headers + own <= limit {
            Omission::Value
        } else {
            Omission::Everything
        }
    }
}

/// The key, value and headers of `record`, byte for byte, and why it is here. What `topic`, which is called `topic_name`,
/// can't hold is left out (the value first, then everything else), and a header says so.
pub(super) fn dead_letter<'r>(
    record: &'r impl InputRecord,
    rejection: &Rejection,
    route: &str,
    model: &Model,
    topic_name: &str,
    topic: &Topic,
) -> DeadLetter<'r> {
    let mut message = rejection.message.as_str();
    if message.len() > MESSAGE_BYTES {
        let end = (0..=MESSAGE_BYTES).rev().find(|&at| message.is_char_boundary(at)).unwrap_or(0);
        message = &message[..end];
    }
    let origin = record.origin();
    let said = [
        (Header::Reason, rejection.reason.as_str()),
        (Header::Message, message),
        (Header::Topic, origin.topic),
        (Header::Partition, &origin.partition.to_string()),
        (Header::Offset, &origin.offset.to_string()),
        (Header::Route, route),
        (Header::Model, model.name()),
        (Header::Version, &model.version().to_string()),
        (Header::Attempt, &attempt(&record.header_list(), topic_name).to_string()),
    ];
    let own = said.iter().map(|(header, value)| header.as_str().len() + value.len() + LENGTHS_BYTES).sum();
    let (key, value) = (record.key(), record.payload());
    let value_bytes = value.map_or(0, <[u8]>::len);
    let omission = Omission::of(topic, value_bytes, key.map_or(0, <[u8]>::len) + record.header_bytes(), own);
    let (key, value, headers, omitted) = match omission {
        Omission::Nothing => (key, value, record.headers(), None),
        Omission::Value => (key, None, record.headers(), Some(format!("value ({value_bytes} bytes)"))),
        Omission::Everything => (None, None, None, Some("value, key and headers".to_owned())),
    };
    let said = said.into_iter().chain(omitted.as_deref().map(|omitted| (Header::Omitted, omitted)));
    let headers = said
        .fold(headers.unwrap_or_default(), |headers, (header, value)| headers.with(header.as_str(), value.as_bytes()));
    DeadLetter { key, value, headers }
}

/// The longest message that a header carries; it may quote what the record says.
const MESSAGE_BYTES: usize = 1_024;

/// What a record has for each header beside its name and value: their lengths.
const LENGTHS_BYTES: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_leaves_out_only_what_makes_it_fit() {
        // The overhead of a batch counts.
        let topic = |max_message_bytes| Topic { max_message_bytes, ..Topic::default() };
        let of = |max| Omission::of(&topic(max), 10_000, 300, 331);
        assert_eq!(of(20_000), Omission::Nothing);
        assert_eq!(of(5_000), Omission::Value);
        assert_eq!(of(1_000), Omission::Everything);
        assert_eq!(of(400), Omission::Everything, "it may fit");
        assert_eq!(of(100), Omission::Nothing, "no letter fits");
    }
}

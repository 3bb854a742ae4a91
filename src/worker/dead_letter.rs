//! What a rejected record becomes: its own bytes, and headers that say why.

use super::ports::InputRecord;
use crate::dead_letter::{Header, attempt};
use crate::kafka::Headers;
use crate::model::Model;
use crate::record::Rejection;

/// A rejected record on its way to the dead-letter topic.
pub(super) struct DeadLetter<'r> {
    pub(super) key: Option<&'r [u8]>,
    pub(super) value: Option<&'r [u8]>,
    pub(super) headers: Headers,
}

/// The key, value and headers of `record`, byte for byte, and why it is here. What a topic that takes `limit` bytes
/// can't hold is left out (the value first, then everything else), and a header says so.
pub(super) fn dead_letter<'r>(
    record: &'r impl InputRecord,
    rejection: &Rejection,
    route: &str,
    model: &Model,
    topic: &str,
    limit: usize,
) -> DeadLetter<'r> {
    let (mut key, mut value) = (record.key(), record.payload());
    let own = OWN_HEADERS_BYTES + route.len() + model.name().len() + record.origin().topic.len();
    let kept = key.map_or(0, <[u8]>::len) + record.header_bytes() + own;
    let mut headers = record.headers();
    let mut omitted = None;
    if kept + value.map_or(0, <[u8]>::len) > limit {
        omitted = Some(format!("value ({} bytes)", value.map_or(0, <[u8]>::len)));
        value = None;
        if kept > limit {
            omitted = Some("value, key and headers".into());
            (key, headers) = (None, None);
        }
    }
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
        (Header::Attempt, &attempt(&record.header_list(), topic).to_string()),
    ];
    let said = said.into_iter().chain(omitted.as_deref().map(|omitted| (Header::Omitted, omitted)));
    let headers = said
        .fold(headers.unwrap_or_default(), |headers, (header, value)| headers.with(header.as_str(), value.as_bytes()));
    DeadLetter { key, value, headers }
}

/// The longest message that a header carries; it may quote what the record says.
const MESSAGE_BYTES: usize = 1_024;

/// What the headers above take beside the names of route, model and topic.
const OWN_HEADERS_BYTES: usize = MESSAGE_BYTES + 512;

//! What a rejected record becomes: its own bytes, and headers that say why.

use crate::kafka::Headers;
use crate::kafka::consumer::Record;
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
    record: &'r Record<'_>,
    rejection: &Rejection,
    route: &str,
    model: &Model,
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
    let mut headers = headers
        .unwrap_or_default()
        .with("weir-error-reason", rejection.reason.as_str().as_bytes())
        .with("weir-error-message", message.as_bytes())
        .with("weir-error-topic", origin.topic.as_bytes())
        .with("weir-error-partition", origin.partition.to_string().as_bytes())
        .with("weir-error-offset", origin.offset.to_string().as_bytes())
        .with("weir-error-route", route.as_bytes())
        .with("weir-error-model", model.name().as_bytes())
        .with("weir-error-version", model.version().to_string().as_bytes())
        .with("weir-error-attempt", b"1");
    if let Some(omitted) = omitted {
        headers = headers.with("weir-error-omitted", omitted.as_bytes());
    }
    DeadLetter { key, value, headers }
}

/// The longest message that a header carries; it may quote what the record says.
const MESSAGE_BYTES: usize = 1_024;

/// What the headers above take beside the names of route, model and topic.
const OWN_HEADERS_BYTES: usize = MESSAGE_BYTES + 512;

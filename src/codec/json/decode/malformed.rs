//! What a value is that isn't a JSON record: people send all kinds of things, and a byte's number says little.

use crate::codec::json::scan::Malformed;
use crate::record::{Reason, Rejection};

/// The rejection of a payload that can't be read from some byte on.
#[cold]
pub(super) fn rejection(malformed: Malformed, payload: &[u8]) -> Rejection {
    let what = explain(payload, malformed.position());
    let Rejection { message, .. } = malformed.into();
    Rejection::new(Reason::Malformed, what.map_or(message.clone(), |what| format!("{message}: {what}")))
}

fn explain(payload: &[u8], at: usize) -> Option<String> {
    let text = payload.strip_prefix(BYTE_ORDER_MARK).unwrap_or(payload).trim_ascii_start();
    if text.is_empty() {
        return Some("the value is empty".into());
    }
    if payload.len() - at >= text.len() {
        return not_an_object(text);
    }
    let rest = payload.get(at..).unwrap_or_default();
    Some(match rest {
        [] => CUT_OFF.into(),
        [0, ..] => UTF_16.into(),
        [b'N', b'a', b'N', ..] => {
            "NaN isn't JSON, though Python's json writes it; write null, or set input.nan = \"missing\"".into()
        }
        [b'I', b'n', b'f', ..] => "Infinity isn't JSON, though Python's json writes it; write null, or a number".into(),
        [b'n', b'a', b'n', ..] | [b'i', b'n', b'f', ..] => {
            "JSON has only finite numbers; write null, or a number".into()
        }
        [b'\'', ..] => {
            "JSON has no single quotes; it may be the text of a Python dict, which json.dumps writes as JSON".into()
        }
        _ if [&b"None"[..], b"True", b"False"].iter().any(|word| rest.starts_with(word)) => {
            "None, True and False aren't JSON; it may be the text of a Python dict, which json.dumps writes as JSON"
                .into()
        }
        [b'{', ..] if payload[..at].trim_ascii_end().ends_with(b"}") => {
            "there is more than one record; send each as a value of its own".into()
        }
        _ => return None,
    })
}

/// What a value is that doesn't start as an object does.
fn not_an_object(text: &[u8]) -> Option<String> {
    let compressed =
        |by: &str| format!("it is compressed by {by}; let the producer compress (compression.type), weir reads that");
    Some(match text {
        [0x1f, 0x8b, ..] => compressed("gzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => compressed("Zstandard"),
        [0x04, 0x22, 0x4d, 0x18, ..] => compressed("LZ4"),
        [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', ..] => compressed("Snappy"),
        // A line of UTF-16 that was cut at its line feed begins, or ends, with half a character.
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, b'{', 0, ..] | [0] => UTF_16.into(),
        [0, a, b, c, d, ..] => format!(
            "it starts with the five bytes of a schema registry (schema {}); use a plain JSON serializer",
            u32::from_be_bytes([*a, *b, *c, *d])
        ),
        // A map of many members, or a short one whose first key is a short string.
        [0xde | 0xdf, _, ..] | [0x81..=0x8f, 0xa0..=0xbf | 0xd9, ..] => {
            "it may be MessagePack, which input.format = \"msgpack\" reads".into()
        }
        [b'O', b'b', b'j', 1, ..] => "it is an Avro file".into(),
        [0xc3, 0x01, ..] => "it may be Avro, which input.format = \"avro\" reads".into(),
        [b'P', b'A', b'R', b'1', ..] => "it is a Parquet file".into(),
        [b'<', ..] => "it may be XML".into(),
        [b'[', rest @ ..] if rest.trim_ascii_start().starts_with(b"{") => {
            "it is an array of records; send each as a value of its own (of a file: jq -c '.[]')".into()
        }
        [b'[', ..] => "it is an array; give it a name, as in {\"features\":[…]}".into(),
        [b'"', rest @ ..] => match rest.iter().position(|&byte| byte == b'"') {
            Some(end) if rest[end + 1..].trim_ascii_start().starts_with(b":") => PRETTY.into(),
            _ if rest.trim_ascii_start().starts_with(b"{") => {
                "it is a string with JSON in it; it was encoded twice".into()
            }
            _ => "it is a string".into(),
        },
        [b'}' | b']', ..] => PRETTY.into(),
        b"null" => "it is null; send a tombstone, or a record".into(),
        [b'-' | b'0'..=b'9', ..] => "it is a number, or CSV, which input.format = \"csv\" reads".into(),
        _ => return None,
    })
}

/// UTF-8's, which some writers put before each text.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

const UTF_16: &str = "it is UTF-16; write UTF-8";

const CUT_OFF: &str = "the value ends here; it was cut off, or it is a line of a pretty-printed file (jq -c writes one record a \
                       line)";

const PRETTY: &str = "it looks like a line of a pretty-printed file; write one record a line (jq -c does)";

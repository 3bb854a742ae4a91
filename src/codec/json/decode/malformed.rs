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
    let (read, rest) = payload.split_at(at.min(payload.len()));
    let what = match rest {
        [] => Some(CUT_OFF),
        // An object in UTF-16 begins with half a character.
        [0, ..] if at == 1 => Some(UTF_16),
        [0, ..] => Some("it has a NUL byte, which JSON has only as \\u0000"),
        _ => no_json_value(rest).or_else(|| misplaced(read.trim_ascii_end(), rest)),
    };
    what.map(Into::into)
}

/// What stands for a value, but not in JSON.
fn no_json_value(rest: &[u8]) -> Option<&'static str> {
    const WORDS: [(&[&[u8]], &str); 6] = [
        (&[b"NaN"], "NaN isn't JSON, though Python's json writes it; write null, or set input.nan = \"missing\""),
        (&[b"Inf"], "Infinity isn't JSON, though Python's json writes it; write null, or a number"),
        (&[b"nan", b"inf"], "JSON has only finite numbers; write null, or a number"),
        (
            &[b"None", b"True", b"False"],
            "None, True and False aren't JSON; it may be the text of a Python dict, which json.dumps writes as JSON",
        ),
        (
            &[b"NULL", b"Null", b"TRUE", b"FALSE", b"undefined", b"nil"],
            "JSON has null, true and false, in lower case, and no other word without quotes",
        ),
        (&[b"//", b"/*", b"#"], "JSON has no comments"),
    ];
    let is_there = |words: &[&[u8]]| words.iter().any(|word| rest.starts_with(word));
    let found = WORDS.iter().find(|(words, _)| is_there(words));
    found.map(|(_, what)| *what).or_else(|| match rest {
        [b'\'', ..] => {
            Some("JSON has no single quotes; it may be the text of a Python dict, which json.dumps writes as JSON")
        }
        [b'+' | b'.', b'0'..=b'9' | b'.', ..] => Some("a JSON number starts with a digit or a minus sign"),
        _ if rest.starts_with("\u{201c}".as_bytes()) => Some("JSON has straight quotes only (\")"),
        _ => None,
    })
}

/// What is wrong with what comes after the part that could be read.
fn misplaced(read: &[u8], rest: &[u8]) -> Option<&'static str> {
    Some(match (read.last(), rest) {
        (Some(b'}'), [b'{', ..]) => "there is more than one record; send each as a value of its own",
        (Some(b'}'), [b',' | b']', ..]) if matches!(rest.trim_ascii_end(), b"," | b"]" | b"],") => {
            "it is a line of an array of records; write one record a line (jq -c '.[]')"
        }
        (Some(b','), [b'}' | b']', ..]) => "JSON has no comma before a closing bracket",
        (Some(b'{' | b','), [b'a'..=b'z' | b'A'..=b'Z' | b'_', ..]) => {
            "JSON has names in double quotes; it may be the text of a JavaScript object"
        }
        (Some(b':'), [b'a'..=b'z' | b'A'..=b'Z', ..]) => "JSON has texts in double quotes",
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
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => compressed("zlib"),
        [b'B', b'Z', b'h', ..] => compressed("bzip2"),
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
        [b'e', b'y', b'J', ..] => "it is JSON in base64; send the JSON itself".into(),
        [0x1e, ..] => "it starts with a record separator (RFC 7464); send the JSON without it".into(),
        // No text starts so.
        [0x01..=0x08 | 0x0e..=0x1f | 0x80..=0xbf, ..] => {
            "it is binary, such as MessagePack or Protobuf; write JSON".into()
        }
        [b'#', ..] | [b'/', b'/' | b'*', ..] => "it is a comment; JSON has none".into(),
        b"[" => PRETTY.into(),
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

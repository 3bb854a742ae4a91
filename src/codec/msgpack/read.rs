//! The MessagePack grammar over a slice of bytes.

use crate::codec::field::{FieldValue, Fields, write_base64, write_quoted};
use crate::record::{Reason, Rejection};

/// The deepest nesting of a value that is copied.
const MAX_DEPTH: usize = 64;

/// A value, or how a value of several parts begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'a> {
    Nil,
    Boolean(bool),
    Integer(i64),
    /// Only beyond the range of an i64.
    Unsigned(u64),
    Single(f32),
    Double(f64),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    /// So many values follow.
    Array(usize),
    /// So many keys follow, each with its value.
    Map(usize),
    /// The extension for a date and time, in seconds since 1970.
    Timestamp(f64),
    Extension,
}

impl Token<'_> {
    /// What it is, for a message.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Token::Nil => "nil",
            Token::Boolean(_) => "a boolean",
            Token::Integer(_) | Token::Unsigned(_) | Token::Single(_) | Token::Double(_) => "a number",
            Token::Text(_) => "a string",
            Token::Bytes(_) => "bytes",
            Token::Array(_) => "an array",
            Token::Map(_) => "a map",
            Token::Timestamp(_) => "a timestamp",
            Token::Extension => "an extension",
        }
    }
}

/// A place in a payload.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// How many bytes have been read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Result<(), Rejection> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            rest => Err(malformed(format!("{rest} bytes after the record"))),
        }
    }

    /// The next value. The parts of an array or a map come after it.
    #[inline]
    pub(super) fn token(&mut self) -> Result<Token<'a>, Rejection> {
        let start = self.at;
        let [byte] = self.array()?;
        Ok(match byte {
            0..=0x7f => Token::Integer(i64::from(byte)),
            0x80..=0x8f => self.map(usize::from(byte & 0x0f))?,
            0x90..=0x9f => self.sequence(usize::from(byte & 0x0f))?,
            0xa0..=0xbf => Token::Text(self.take(usize::from(byte & 0x1f))?),
            0xc0 => Token::Nil,
            0xc2 | 0xc3 => Token::Boolean(byte == 0xc3),
            0xc4..=0xc6 => {
                let length = self.length(byte - 0xc4)?;
                Token::Bytes(self.take(length)?)
            }
            0xc7..=0xc9 => {
                let length = self.length(byte - 0xc7)?;
                self.extension(length)?
            }
            0xca => Token::Single(f32::from_be_bytes(self.array()?)),
            0xcb => Token::Double(f64::from_be_bytes(self.array()?)),
            0xcc => Token::Integer(i64::from(u8::from_be_bytes(self.array()?))),
            0xcd => Token::Integer(i64::from(u16::from_be_bytes(self.array()?))),
            0xce => Token::Integer(i64::from(u32::from_be_bytes(self.array()?))),
            0xcf => {
                let number = u64::from_be_bytes(self.array()?);
                i64::try_from(number).map_or(Token::Unsigned(number), Token::Integer)
            }
            0xd0 => Token::Integer(i64::from(i8::from_be_bytes(self.array()?))),
            0xd1 => Token::Integer(i64::from(i16::from_be_bytes(self.array()?))),
            0xd2 => Token::Integer(i64::from(i32::from_be_bytes(self.array()?))),
            0xd3 => Token::Integer(i64::from_be_bytes(self.array()?)),
            0xd4..=0xd8 => self.extension(1 << (byte - 0xd4))?,
            0xd9..=0xdb => {
                let length = self.length(byte - 0xd9)?;
                Token::Text(self.take(length)?)
            }
            0xdc | 0xdd => {
                let values = self.length(byte - 0xdc + 1)?;
                self.sequence(values)?
            }
            0xde | 0xdf => {
                let members = self.length(byte - 0xde + 1)?;
                self.map(members)?
            }
            0xe0..=0xff => Token::Integer(i64::from(byte as i8)),
            0xc1 => return Err(malformed(format!("a byte that MessagePack never uses, 0xc1, at byte {start}"))),
        })
    }

    /// Steps over a value.
    pub(super) fn skip(&mut self) -> Result<(), Rejection> {
        let token = self.token()?;
        self.skip_within(token)
    }

    /// Steps over the parts of a value that began with this token.
    pub(super) fn skip_within(&mut self, token: Token<'_>) -> Result<(), Rejection> {
        // No recursion: there are at most as many parts to come as bytes, which `token` has checked.
        let mut parts = parts(token);
        while parts > 0 {
            let token = self.token()?;
            parts = parts - 1 + self::parts(token);
        }
        Ok(())
    }

    /// Appends the next value as JSON. Keys that aren't strings are written as such.
    pub(super) fn write_json(&mut self, out: &mut Vec<u8>) -> Result<(), Rejection> {
        self.write_value(out, MAX_DEPTH)
    }

    fn write_value(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), Rejection> {
        let value = match self.token()? {
            Token::Nil | Token::Timestamp(_) | Token::Extension => FieldValue::Null,
            Token::Boolean(boolean) => FieldValue::Boolean(boolean),
            Token::Integer(number) => FieldValue::Integer(number),
            Token::Unsigned(number) => FieldValue::Unsigned(number),
            Token::Single(number) => FieldValue::Single(number),
            Token::Double(number) => FieldValue::Double(number),
            Token::Text(text) => {
                write_quoted(utf8(text)?, out);
                return Ok(());
            }
            Token::Bytes(bytes) => {
                write_base64(bytes, out);
                return Ok(());
            }
            token @ (Token::Array(_) | Token::Map(_)) => {
                let depth =
                    depth.checked_sub(1).ok_or_else(|| malformed("a copied value is nested too deeply".into()))?;
                return self.write_parts(token, out, depth);
            }
        };
        Fields { payload: &[], texts: &[], values: &[] }.write_json(value, out);
        Ok(())
    }

    fn write_parts(&mut self, token: Token<'_>, out: &mut Vec<u8>, depth: usize) -> Result<(), Rejection> {
        let (is_map, count) = match token {
            Token::Map(members) => (true, members),
            token => (false, parts(token)),
        };
        out.push(if is_map { b'{' } else { b'[' });
        for part in 0..count {
            if part > 0 {
                out.push(b',');
            }
            if is_map {
                match self.token()? {
                    Token::Text(name) => write_quoted(utf8(name)?, out),
                    Token::Integer(number) => write_quoted(&number.to_string(), out),
                    _ => return Err(malformed("a copied value has keys that are neither strings nor integers".into())),
                }
                out.push(b':');
            }
            self.write_value(out, depth)?;
        }
        out.push(if is_map { b'}' } else { b']' });
        Ok(())
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Rejection> {
        let bytes = self.bytes[self.at..].first_chunk::<N>().ok_or_else(|| self.cut_off())?;
        self.at += N;
        Ok(*bytes)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Rejection> {
        let bytes = self.bytes[self.at..].get(..length).ok_or_else(|| self.cut_off())?;
        self.at += length;
        Ok(bytes)
    }

    /// A length of 1, 2 or 4 bytes.
    fn length(&mut self, power: u8) -> Result<usize, Rejection> {
        Ok(match power {
            0 => usize::from(u8::from_be_bytes(self.array()?)),
            1 => usize::from(u16::from_be_bytes(self.array()?)),
            _ => u32::from_be_bytes(self.array()?) as usize,
        })
    }

    fn extension(&mut self, length: usize) -> Result<Token<'a>, Rejection> {
        let [kind] = self.array()?;
        let bytes = self.take(length)?;
        // -1 is the one kind that MessagePack itself gives a meaning.
        let timestamp = Some(bytes).filter(|_| kind == 0xff).and_then(timestamp);
        Ok(timestamp.map_or(Token::Extension, Token::Timestamp))
    }

    /// Each part takes at least a byte.
    fn sequence(&self, values: usize) -> Result<Token<'a>, Rejection> {
        if values > self.bytes.len() - self.at { Err(self.cut_off()) } else { Ok(Token::Array(values)) }
    }

    fn map(&self, members: usize) -> Result<Token<'a>, Rejection> {
        if members > (self.bytes.len() - self.at) / 2 { Err(self.cut_off()) } else { Ok(Token::Map(members)) }
    }

    #[cold]
    fn cut_off(&self) -> Rejection {
        malformed(format!("the value ends within the value at byte {}", self.at))
    }
}

/// The seconds since 1970 of a timestamp, in each of its three sizes: seconds in 32 bits, nanoseconds in the upper 30 of 64 bits
/// and seconds in the others, and 32 bits of nanoseconds before 64 of seconds.
fn timestamp(bytes: &[u8]) -> Option<f64> {
    let (seconds, nanoseconds) = match *bytes {
        [a, b, c, d] => (i64::from(u32::from_be_bytes([a, b, c, d])), 0),
        [a, b, c, d, e, f, g, h] => {
            let both = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            ((both & ((1 << 34) - 1)) as i64, (both >> 34) as u32)
        }
        [a, b, c, d, ref seconds @ ..] => {
            (i64::from_be_bytes(seconds.try_into().ok()?), u32::from_be_bytes([a, b, c, d]))
        }
        _ => return None,
    };
    Some(seconds as f64 + f64::from(nanoseconds) / 1e9)
}

/// How many values are within the value that began with this token.
fn parts(token: Token<'_>) -> usize {
    match token {
        Token::Array(values) => values,
        Token::Map(members) => members * 2,
        _ => 0,
    }
}

/// Text that becomes a part of JSON.
pub(super) fn utf8(text: &[u8]) -> Result<&str, Rejection> {
    std::str::from_utf8(text).map_err(|_| malformed("a copied string isn't UTF-8".into()))
}

#[cold]
pub(super) fn malformed(message: String) -> Rejection {
    Rejection::new(Reason::Malformed, message)
}

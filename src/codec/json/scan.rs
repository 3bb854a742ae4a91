//! The JSON grammar over a slice of bytes: whitespace, strings, numbers, and values nobody asked for.
//!
//! What this accepts is exactly what `serde_json::from_slice::<serde_json::Value>` accepts, down to the depth of
//! nesting, so that a record that passes here can be read by whoever reads it next. The one difference is up to the
//! caller: [`Cursor::number`] yields an infinity for `1e999`, which serde_json refuses and so does [`Cursor::skip`].

mod array;
mod number;

use crate::record::{Reason, Rejection};

pub(super) use array::{BLOCK, WINDOW};

/// serde_json's limit, which keeps the recursion of [`Cursor::skip`] bounded too.
const MAX_DEPTH: u8 = 127;

/// Why the bytes aren't JSON, and at which of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    problem: &'static str,
    at: usize,
}

impl Malformed {
    /// The byte at which it shows.
    pub(super) fn position(&self) -> usize {
        self.at
    }
}

impl From<Malformed> for Rejection {
    fn from(malformed: Malformed) -> Rejection {
        Rejection::new(Reason::Malformed, format!("{} at byte {}", malformed.problem, malformed.at))
    }
}

/// The content of a string, still as it stands between the quotes; the scan has found it well-formed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    raw: &'a [u8],
    escaped: bool,
}

impl<'a> Text<'a> {
    /// The text in UTF-8. `scratch` is overwritten when there are escapes to undo.
    pub(super) fn unescape<'s>(self, scratch: &'s mut Vec<u8>) -> Result<&'s [u8], Malformed>
    where
        'a: 's,
    {
        if !self.escaped {
            return Ok(self.raw);
        }
        scratch.clear();
        let mut cursor = Cursor::new(self.raw);
        while let Some(&byte) = self.raw.get(cursor.at) {
            if byte == b'\\' {
                let character = cursor.escape()?;
                scratch.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                scratch.push(byte);
                cursor.at += 1;
            }
        }
        Ok(scratch)
    }
}

/// Bytes that are likely to come next. The first 16 are compared as one word, which beats a call of `memcmp`.
#[derive(Debug)]
pub(super) struct Prefix {
    text: Box<[u8]>,
    word: u128,
    mask: u128,
}

impl Prefix {
    pub(super) fn new(text: &[u8]) -> Prefix {
        let (mut word, mut mask) = ([0; 16], [0; 16]);
        for (index, &byte) in text.iter().take(16).enumerate() {
            word[index] = byte;
            mask[index] = 0xff;
        }
        Prefix { text: text.into(), word: u128::from_le_bytes(word), mask: u128::from_le_bytes(mask) }
    }
}

/// A place in the payload. Every method starts at the cursor and leaves it behind what it read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u8,
    /// Whether Python's `NaN`, `Infinity` and `-Infinity` are values.
    not_finite: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0, depth: 0, not_finite: false }
    }

    /// A cursor to which Python's `NaN`, `Infinity` and `-Infinity` are values, or not.
    pub(super) fn with_not_finite(bytes: &'a [u8], not_finite: bool) -> Cursor<'a> {
        Cursor { not_finite, ..Cursor::new(bytes) }
    }

    /// How many bytes have been read.
    #[inline]
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Goes on where another cursor over the same bytes has got to within the same array or object.
    #[inline]
    pub(super) fn follow(&mut self, other: Cursor<'a>) {
        debug_assert_eq!(self.depth, other.depth);
        self.at = other.at;
    }

    /// Goes back to where an earlier copy of this cursor is.
    #[inline]
    pub(super) fn go_back(&mut self, earlier: Cursor<'_>) {
        (self.at, self.depth) = (earlier.at, earlier.depth);
    }

    /// The bytes from `start` to the cursor.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    /// The next byte; 0, which no token starts with, at the end.
    #[inline]
    pub(super) fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    /// Whether a number starts here.
    #[inline]
    pub(super) fn at_number(&self) -> bool {
        matches!(self.peek(), b'-' | b'0'..=b'9')
    }

    /// Nothing but whitespace may be left.
    pub(super) fn end(&mut self) -> Result<(), Malformed> {
        self.whitespace();
        if self.at < self.bytes.len() { Err(self.expected("expected the end of the record")) } else { Ok(()) }
    }

    #[inline]
    pub(super) fn whitespace(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\t' | b'\r') {
            self.at += 1;
        }
    }

    /// Steps over `bytes` if they come next.
    #[inline]
    pub(super) fn eat(&mut self, bytes: &[u8]) -> bool {
        let eaten = self.bytes[self.at..].starts_with(bytes);
        if eaten {
            self.at += bytes.len();
        }
        eaten
    }

    /// Steps over these bytes if they come next.
    #[inline]
    pub(super) fn eat_prefix(&mut self, prefix: &Prefix) -> bool {
        let Some(chunk) = self.bytes[self.at..].first_chunk::<16>() else { return self.eat(&prefix.text) };
        if (u128::from_le_bytes(*chunk) ^ prefix.word) & prefix.mask != 0 {
            return false;
        }
        if prefix.text.len() > 16 {
            return self.eat(&prefix.text);
        }
        self.at += prefix.text.len();
        true
    }

    /// Steps over a comma, these bytes, and spaces behind either, if that is what comes next.
    #[inline(always)]
    pub(super) fn eat_next(&mut self, prefix: &Prefix) -> bool {
        let Some(window) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<18>()) else { return false };
        if window[0] != b',' {
            return false;
        }
        let [_, chunk @ .., _] = window;
        let [_, _, chunk_behind_space @ ..] = window;
        let differ = |chunk: &[u8; 16]| (u128::from_le_bytes(*chunk) ^ prefix.word) & prefix.mask != 0;
        let mut start = self.at + 1;
        if differ(chunk) {
            if chunk[0] != b' ' || differ(chunk_behind_space) {
                return false;
            }
            start += 1;
        }
        if prefix.text.len() > 16 && !self.bytes[start..].starts_with(&prefix.text) {
            return false;
        }
        self.at = start + prefix.text.len();
        // A loop and not an `if`: it must be a branch, which is guessed, and not an addition, which the next read waits for.
        while self.peek() == b' ' {
            self.at += 1;
        }
        true
    }

    /// What is wrong at the cursor.
    #[cold]
    pub(super) fn expected(self, problem: &'static str) -> Malformed {
        Malformed { problem, at: self.at }
    }

    /// Enters the array or object that starts here and ends with `close`; whether it has a first item.
    #[inline]
    pub(super) fn open(&mut self, close: u8) -> Result<bool, Malformed> {
        if self.depth == MAX_DEPTH {
            return Err(self.expected("nested deeper than 127 arrays and objects"));
        }
        self.at += 1;
        self.whitespace();
        if self.peek() == close {
            self.at += 1;
            return Ok(false);
        }
        self.depth += 1;
        Ok(true)
    }

    /// Behind an item: whether another one follows. If not, the array or object has been left.
    #[inline(always)]
    pub(super) fn next(&mut self, close: u8) -> Result<bool, Malformed> {
        self.whitespace();
        let byte = self.peek();
        if byte == b',' {
            self.at += 1;
            self.whitespace();
            Ok(true)
        } else if byte == close {
            self.at += 1;
            self.depth -= 1;
            Ok(false)
        } else if close == b'}' {
            Err(self.expected("expected `,` or `}`"))
        } else {
            Err(self.expected("expected `,` or `]`"))
        }
    }

    /// The colon between a key and its value, and the whitespace around it.
    #[inline]
    pub(super) fn colon(&mut self) -> Result<(), Malformed> {
        self.whitespace();
        if self.peek() != b':' {
            return Err(self.expected("expected `:`"));
        }
        self.at += 1;
        self.whitespace();
        Ok(())
    }

    /// `null`, `true` or `false`.
    pub(super) fn literal(&mut self, literal: &'static str) -> Result<(), Malformed> {
        if self.eat(literal.as_bytes()) { Ok(()) } else { Err(self.expected("expected a value")) }
    }

    /// The name of a member.
    pub(super) fn key(&mut self) -> Result<Text<'a>, Malformed> {
        if self.peek() != b'"' {
            return Err(self.expected("expected a name in quotes"));
        }
        self.string()
    }

    /// The string that starts here as one word, zeros behind it, if it has at most 7 bytes, all of them ASCII and none
    /// escaped; otherwise the cursor stays.
    #[inline(always)]
    pub(super) fn short_string(&mut self) -> Option<u64> {
        let [b'"', chunk @ ..] = self.bytes.get(self.at..)?.first_chunk::<9>()? else { return None };
        let chunk = u64::from_le_bytes(*chunk);
        let length = stops(chunk).trailing_zeros() as usize / 8;
        if length == 8 || chunk.to_le_bytes()[length] != b'"' {
            return None;
        }
        let text = chunk & ((1 << (8 * length)) - 1);
        if text & HIGH_BITS != 0 {
            return None;
        }
        self.at += length + 2;
        Some(text)
    }

    /// The string whose opening quote is next.
    pub(super) fn string(&mut self) -> Result<Text<'a>, Malformed> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        let mut seen = 0;
        loop {
            self.plain(&mut seen);
            match self.bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    self.escape()?;
                    escaped = true;
                }
                Some(_) => return Err(self.expected("expected no control character in a string")),
                None => return Err(self.expected("expected `\"`")),
            }
        }
        let raw = &self.bytes[start..self.at];
        if seen & HIGH_BITS != 0 {
            std::str::from_utf8(raw)
                .map_err(|error| Malformed { problem: "expected UTF-8", at: start + error.valid_up_to() })?;
        }
        self.at += 1;
        Ok(Text { raw, escaped })
    }

    /// Steps over bytes of a string up to a quote, a backslash, a control character or the end, eight at a time, and
    /// or-s what it sees into `seen`, so that only strings with other bytes than ASCII are checked for UTF-8.
    #[inline]
    fn plain(&mut self, seen: &mut u64) {
        while let Some(chunk) = self.bytes[self.at..].first_chunk::<8>() {
            let chunk = u64::from_le_bytes(*chunk);
            let stop = stops(chunk);
            *seen |= chunk;
            if stop != 0 {
                self.at += stop.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
        while let Some(&byte) = self.bytes.get(self.at) {
            if byte < 0x20 || byte == b'"' || byte == b'\\' {
                return;
            }
            *seen |= u64::from(byte);
            self.at += 1;
        }
    }

    /// The character behind the backslash that is next. A surrogate must come with its other half.
    fn escape(&mut self) -> Result<char, Malformed> {
        self.at += 1;
        let character = match self.peek() {
            byte @ (b'"' | b'\\' | b'/') => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => return Err(self.expected("expected an escape")),
        };
        self.at += 1;
        Ok(character)
    }

    fn unicode_escape(&mut self) -> Result<char, Malformed> {
        let start = self.at - 1;
        let mut code = self.code_unit()?;
        if (0xd800..0xdc00).contains(&code) && self.eat(b"\\") {
            let low = self.code_unit()?;
            if (0xdc00..0xe000).contains(&low) {
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            }
        }
        char::from_u32(code).ok_or(Malformed { problem: "expected a pair of surrogates", at: start })
    }

    /// `u` and four hexadecimal digits.
    fn code_unit(&mut self) -> Result<u32, Malformed> {
        let mut code = 0;
        if self.peek() != b'u' {
            return Err(self.expected("expected `u`"));
        }
        for _ in 0..4 {
            self.at += 1;
            let digit = char::from(self.peek()).to_digit(16);
            code = code * 16 + digit.ok_or_else(|| self.expected("expected a hexadecimal digit"))?;
        }
        self.at += 1;
        Ok(code)
    }

    /// Steps over any value.
    pub(super) fn skip(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            b'"' => self.string().map(drop),
            b'-' | b'0'..=b'9' => self.skip_number(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            b'[' => {
                let mut more = self.open(b']')?;
                while more {
                    self.skip()?;
                    more = self.next(b']')?;
                }
                Ok(())
            }
            b'{' => {
                let mut more = self.open(b'}')?;
                while more {
                    self.key()?;
                    self.colon()?;
                    self.skip()?;
                    more = self.next(b'}')?;
                }
                Ok(())
            }
            _ => self.skip_not_finite(),
        }
    }

    #[cold]
    fn skip_not_finite(&mut self) -> Result<(), Malformed> {
        let is_value = self.not_finite && (self.eat(b"NaN") || self.eat(b"Infinity"));
        if is_value { Ok(()) } else { Err(self.expected("expected a value")) }
    }

    /// Steps over the rest of a `-Infinity` of which the sign has been read, where that is a value.
    #[cold]
    pub(super) fn minus_infinity(&mut self, start: usize, error: Malformed) -> Result<(), Malformed> {
        let is_value = self.not_finite && self.since(start) == b"-" && self.eat(b"Infinity");
        if is_value { Ok(()) } else { Err(error) }
    }
}

const HIGH_BITS: u64 = each(0x80);

/// Has the high bit of each byte that is a quote, a backslash or a control character.
///
/// A byte is below `n` where `byte - n` borrows into its high bit and it had none before. The lowest of the bits is
/// right; above it a borrow may have travelled on.
#[inline(always)]
fn stops(chunk: u64) -> u64 {
    let below = |word: u64, n: u8| word.wrapping_sub(each(n)) & !word;
    let (quote, backslash) = (below(chunk ^ each(b'"'), 1), below(chunk ^ each(b'\\'), 1));
    (below(chunk, 0x20) | quote | backslash) & HIGH_BITS
}

/// A word with this byte in each place.
const fn each(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

#[cfg(test)]
mod tests;

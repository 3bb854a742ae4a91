//! The JSON grammar over a slice of bytes: whitespace, strings, numbers, and values nobody asked for.
//!
//! What this accepts is exactly what `serde_json::from_slice::<serde_json::Value>` accepts, down to the depth of
//! nesting, so that a record that passes here can be read by whoever reads it next. The one difference is up to the
//! caller: [`Cursor::number`] yields an infinity for `1e999`, which serde_json refuses and so does [`Cursor::skip`].

use crate::record::{Reason, Rejection};

/// serde_json's limit, which keeps the recursion of [`Cursor::skip`] bounded too.
const MAX_DEPTH: u8 = 127;

/// Why the bytes aren't JSON, and at which of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    problem: &'static str,
    at: usize,
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
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0, depth: 0 }
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
    ///
    /// A byte is below `n` where `byte - n` borrows into its high bit and it had none before. The lowest of the bits
    /// is right; above it a borrow may have travelled on.
    #[inline]
    fn plain(&mut self, seen: &mut u64) {
        while let Some(chunk) = self.bytes[self.at..].first_chunk::<8>() {
            let chunk = u64::from_le_bytes(*chunk);
            let below = |word: u64, n: u8| word.wrapping_sub(each(n)) & !word;
            let control = below(chunk, 0x20);
            let quote = below(chunk ^ each(b'"'), 1);
            let backslash = below(chunk ^ each(b'\\'), 1);
            let stop = (control | quote | backslash) & HIGH_BITS;
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

    /// The number that starts here, rounded correctly; an infinity if it is beyond the range of an f64.
    #[inline(always)]
    pub(super) fn number(&mut self) -> Result<f64, Malformed> {
        let start = self.at;
        let number = self.decimal()?;
        Ok(number.exact().unwrap_or_else(|| rounded(&self.bytes[start..self.at])))
    }

    /// Reads a number's text into its parts.
    #[inline(always)]
    fn decimal(&mut self) -> Result<Decimal, Malformed> {
        let negative = self.peek() == b'-';
        if negative {
            self.at += 1;
        }
        let (mut digits, mut significand) = match self.peek() {
            b'0' => (1, 0),
            b'1'..=b'9' => digits(&self.bytes[self.at..], 0),
            _ => return Err(self.expected("expected a digit")),
        };
        self.at += digits;
        let mut exponent = 0;
        if self.peek() == b'.' {
            self.at += 1;
            let fraction;
            (fraction, significand) = self::digits(&self.bytes[self.at..], significand);
            if fraction == 0 {
                return Err(self.expected("expected a digit"));
            }
            self.at += fraction;
            digits += fraction;
            exponent -= fraction as i64;
        }
        if matches!(self.peek(), b'e' | b'E') {
            exponent += self.exponent()?;
        }
        Ok(Decimal { negative, significand, digits, exponent })
    }

    /// The exponent behind `e`. It stops growing where no number is finite or above zero any more.
    #[inline]
    fn exponent(&mut self) -> Result<i64, Malformed> {
        self.at += 1;
        let negative = self.peek() == b'-';
        if matches!(self.peek(), b'+' | b'-') {
            self.at += 1;
        }
        if !self.peek().is_ascii_digit() {
            return Err(self.expected("expected a digit"));
        }
        let mut exponent = 0;
        while let digit @ b'0'..=b'9' = self.peek() {
            if exponent < i64::from(u32::MAX) {
                exponent = exponent * 10 + i64::from(digit - b'0');
            }
            self.at += 1;
        }
        Ok(if negative { -exponent } else { exponent })
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
            _ => Err(self.expected("expected a value")),
        }
    }

    fn skip_number(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        let number = self.decimal()?;
        let large = number.exponent.saturating_add_unsigned(number.digits as u64) > 308;
        if large && rounded(self.since(start)).is_infinite() {
            return Err(Malformed { problem: "expected a number within the range of an f64", at: start });
        }
        Ok(())
    }
}

/// A number as it was written: `±significand · 10^exponent`.
#[derive(Clone, Copy, Debug)]
struct Decimal {
    negative: bool,
    /// Modulo 2^64, so right up to 19 digits.
    significand: u64,
    digits: usize,
    exponent: i64,
}

impl Decimal {
    /// The value where it takes one rounding only: both significand and power of ten are exact as f64 (W. D. Clinger,
    /// "How to Read Floating Point Numbers Accurately", 1990).
    #[inline]
    fn exact(self) -> Option<f64> {
        if self.digits > 19 || self.significand > 1 << 53 {
            return None;
        }
        let significand = self.significand as f64;
        let power = *EXACT_POWERS_OF_TEN.get(self.exponent.unsigned_abs() as usize)?;
        let value = if self.exponent < 0 { significand / power } else { significand * power };
        Some(if self.negative { -value } else { value })
    }
}

/// Appends the digits that `bytes` starts with to `significand`, modulo 2^64. Returns their count first.
///
/// Eight bytes at a time: a byte is no digit where `(byte ^ '0') + 0x76` has its high bit. The lowest such byte ends the
/// number; those before it are moved up so that zeros stand in front, and become a number by three multiplications
/// (D. Lemire, "Quickly parsing eight digits", 2018).
#[inline]
fn digits(bytes: &[u8], mut significand: u64) -> (usize, u64) {
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk::<8>() {
        let digits = u64::from_le_bytes(*chunk) ^ each(b'0');
        let others = (digits.wrapping_add(each(0x76)) | digits) & HIGH_BITS;
        let count = others.trailing_zeros() / 8;
        if count == 0 {
            return (at, significand);
        }
        let digits = digits << (64 - 8 * count);
        let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
        let first = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
        let second = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
        let value = first.wrapping_add(second) >> 32;
        significand = significand.wrapping_mul(POWERS_OF_TEN[count as usize]).wrapping_add(value);
        at += count as usize;
        if count < 8 {
            return (at, significand);
        }
    }
    for digit in bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()) {
        significand = significand.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        at += 1;
    }
    (at, significand)
}

/// The value of any well-formed number.
#[cold]
fn rounded(text: &[u8]) -> f64 {
    // fast-float2 stops reading an exponent at 65,536, which is no longer the same as infinity when as many digits of
    // the significand can balance it.
    let value = if text.len() < 0xf000 { fast_float2::parse(text).ok() } else { serde_json::from_slice(text).ok() };
    // Only serde_json can fail here, and only for being out of range.
    value.unwrap_or(f64::INFINITY)
}

const HIGH_BITS: u64 = each(0x80);

/// A word with this byte in each place.
const fn each(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

const POWERS_OF_TEN: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The powers of ten that an f64 holds exactly.
const EXACT_POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

#[cfg(test)]
mod tests;

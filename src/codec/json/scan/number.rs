//! Numbers: from digits to the nearest f64.
//!
//! Nearly all that a record has are short, and are read by [`usual`]; [`Cursor::decimal`] knows the whole grammar, and
//! what takes more than one rounding is left to others.

use super::{Cursor, HIGH_BITS, Malformed, each};

impl Cursor<'_> {
    /// The number that starts here, rounded correctly; an infinity if it is beyond the range of an f64.
    #[inline]
    pub(in crate::codec::json) fn number(&mut self) -> Result<f64, Malformed> {
        match self.usual_number() {
            Some(number) => Ok(number),
            None => self.any_number(),
        }
    }

    /// The number that starts here if it is one of the usual kind; otherwise the cursor stays, and [`Cursor::number`] knows
    /// what it is. Small enough to be part of the loops over members and items.
    #[inline(always)]
    pub(in crate::codec::json) fn usual_number(&mut self) -> Option<f64> {
        let (number, length) = match self.bytes.get(self.at..)?.first_chunk() {
            Some(window) => usual(window)?,
            None => usual(&padded(&self.bytes[self.at..]))?,
        };
        self.at += length;
        Some(number)
    }

    #[inline(never)]
    fn any_number(&mut self) -> Result<f64, Malformed> {
        let start = self.at;
        let rest = &self.bytes[start..];
        if rest.len() < FAST_FLOAT_BYTES
            && has_point(rest)
            && let Ok((number, length)) = fast_float2::parse_partial(rest)
        {
            self.at += length;
            return Ok(number);
        }
        let number = self.decimal()?;
        Ok(number.exact().unwrap_or_else(|| rounded(&self.bytes[start..self.at])))
    }

    /// Reads a number's text into its parts.
    #[inline]
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

    /// Steps over a number, which must be within the range of an f64.
    pub(super) fn skip_number(&mut self) -> Result<(), Malformed> {
        if self.usual_number().is_some() {
            return Ok(());
        }
        let start = self.at;
        let number = match self.decimal() {
            Ok(number) => number,
            Err(error) => return self.minus_infinity(start, error),
        };
        let large = number.exponent.saturating_add_unsigned(number.digits as u64) > 308;
        if large && rounded(self.since(start)).is_infinite() {
            return Err(Malformed { problem: "expected a number within the range of an f64", at: start });
        }
        Ok(())
    }
}

/// What is shorter than this can be left to fast-float2: it stops reading an exponent at 65,536, which is no longer the same
/// as infinity when as many digits of the significand can balance it.
const FAST_FLOAT_BYTES: usize = 0xf000;

/// As many bytes as [`usual`] looks at, and some.
const WINDOW: usize = 32;

/// The number that the bytes start with, and its length: if it has no exponent, and up to 7 digits, or a point and
/// digits that one rounding is enough for. That takes no loop, and no branch on the sign or on how many digits there are.
///
/// The digits on both sides of the point are put together into one word; mostly there is one before it.
#[inline(always)]
fn usual(window: &[u8; WINDOW]) -> Option<(f64, usize)> {
    let word_at =
        |at: usize| window.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |w| u64::from_le_bytes(*w));
    let is_negative = window[0] == b'-';
    let start = usize::from(is_negative);
    let sign = u64::from(is_negative) << 63;
    let signed = |value: f64| f64::from_bits(value.to_bits() ^ sign);

    let (digits, before_point) = if window[start + 1] == b'.' {
        ((word_at(start + 1) & !0xff | u64::from(window[start])) ^ each(b'0'), 1)
    } else {
        let digits = word_at(start) ^ each(b'0');
        let count = leading(digits);
        if count == 0 || count == 8 || (count > 1 && window[start] == b'0') {
            return None;
        }
        let end = window[start + count];
        if end != b'.' {
            return (end | 0x20 != b'e').then(|| (signed(first(digits, count) as i64 as f64), start + count));
        }
        let bits = 8 * count;
        let behind_point = word_at(start + count + 1) ^ each(b'0');
        (digits & ((1 << bits) - 1) | behind_point << bits, count)
    };

    let mut count = leading(digits);
    if count <= before_point {
        return None;
    }
    let mut significand = first(digits, count);
    if count == 8 {
        let digits = word_at(start + 9) ^ each(b'0');
        let more = leading(digits);
        if more > 0 {
            significand = significand * POWERS_OF_TEN[more] + first(digits, more);
            count += more;
        }
    }
    if count == 16 {
        let digits = word_at(start + 17) ^ each(b'0');
        let more = leading(digits);
        if more > 3 {
            return None;
        }
        if more > 0 {
            significand = significand * POWERS_OF_TEN[more] + first(digits, more);
            count += more;
        }
    }
    if window[start + count + 1] | 0x20 == b'e' {
        return None;
    }
    let power = count - before_point;
    let value = if significand <= MOST_EXACT {
        // Both are exact: see `Decimal::exact`.
        significand as i64 as f64 / EXACT_POWERS_OF_TEN[power]
    } else {
        quotient(significand, power)?
    };
    Some((signed(value), start + count + 1))
}

/// `significand / 10^power`, rounded, for a significand above 2^53 and at least one digit behind the point: the product
/// with the reciprocal of 5^power in 64 bits (D. Lemire, "Number Parsing at a Gigabyte per Second", 2021). `None` where it
/// would take more bits to know on which side of a tie it is: one time in 256.
#[inline(always)]
fn quotient(significand: u64, power: usize) -> Option<f64> {
    let (reciprocal, scale) = RECIPROCALS[power];
    let shift = significand.leading_zeros();
    let product = u128::from(significand << shift) * u128::from(reciprocal);
    // The reciprocal is rounded down by less than one, so this is right or one too small.
    let high = (product >> 64) as u64;
    if matches!(high & 0x1ff, 0 | 0x1ff) {
        return None;
    }
    // One bit less, so that it fits an i64; rounding needs to know only that the rest isn't zero.
    let rounded = (high >> 1 | high & 1) as i64 as f64;
    let power_of_two = u64::from(1_023 + 65 - scale - shift) << 52;
    Some(rounded * f64::from_bits(power_of_two))
}

/// Whether the bytes start with a number of up to 7 digits before its point and one behind it at least. What fast-float2
/// reads from there on is what JSON allows; of an exponent without digits it reads nothing, and `e` is left.
#[inline]
fn has_point(bytes: &[u8]) -> bool {
    let unsigned = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let Some(chunk) = unsigned.first_chunk() else { return false };
    let count = leading(u64::from_le_bytes(*chunk) ^ each(b'0'));
    let is_whole = count == 1 || (count > 1 && chunk[0] != b'0');
    is_whole && unsigned.get(count) == Some(&b'.') && unsigned.get(count + 1).is_some_and(u8::is_ascii_digit)
}

/// The last bytes of a record, and zeros.
#[inline(never)]
fn padded(rest: &[u8]) -> [u8; WINDOW] {
    let mut window = [0; WINDOW];
    window.iter_mut().zip(rest).for_each(|(to, &byte)| *to = byte);
    window
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
        if self.digits > 19 || self.significand > MOST_EXACT {
            return None;
        }
        let significand = self.significand as f64;
        let power = *EXACT_POWERS_OF_TEN.get(self.exponent.unsigned_abs() as usize)?;
        let value = if self.exponent < 0 { significand / power } else { significand * power };
        Some(if self.negative { -value } else { value })
    }
}

/// Appends the digits that `bytes` starts with to `significand`, modulo 2^64. Returns their count first.
#[inline]
fn digits(bytes: &[u8], mut significand: u64) -> (usize, u64) {
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk::<8>() {
        let digits = u64::from_le_bytes(*chunk) ^ each(b'0');
        let count = leading(digits);
        if count > 0 {
            significand = significand.wrapping_mul(POWERS_OF_TEN[count]).wrapping_add(first(digits, count));
            at += count;
        }
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

/// How many of eight bytes, each `^ '0'`, are digits up to the first that isn't: a byte is none where adding 0x76 reaches
/// its high bit. Above that byte a carry may have travelled on.
#[inline(always)]
fn leading(digits: u64) -> usize {
    let others = (digits.wrapping_add(each(0x76)) | digits) & HIGH_BITS;
    others.trailing_zeros() as usize / 8
}

/// The number that the first `count` of eight digits make, at least one. They are moved up, so that zeros stand in front,
/// and become a number by three multiplications (D. Lemire, "Quickly parsing eight digits", 2018).
#[inline(always)]
fn first(digits: u64, count: usize) -> u64 {
    let digits = digits << (64 - 8 * count);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let odd = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let even = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    odd.wrapping_add(even) >> 32
}

/// The value of any well-formed number.
#[cold]
fn rounded(text: &[u8]) -> f64 {
    let value =
        if text.len() < FAST_FLOAT_BYTES { fast_float2::parse(text).ok() } else { serde_json::from_slice(text).ok() };
    // Only serde_json can fail here, and only for being out of range.
    value.unwrap_or(f64::INFINITY)
}

/// Up to here an f64 holds every whole number.
const MOST_EXACT: u64 = 1 << 53;

const POWERS_OF_TEN: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The powers of ten that an f64 holds exactly.
const EXACT_POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// By power: `r` with 2^63 ≤ r < 2^64 and `s`, so that 10^-power is `r · 2^-s`, rounded down. The first one isn't used.
const RECIPROCALS: [(u64, u32); 20] = {
    let mut reciprocals = [(0, 0); 20];
    let (mut power, mut five) = (1, 5_u128);
    while power < reciprocals.len() {
        let bits = 128 - five.leading_zeros();
        reciprocals[power] = ((((1_u128) << (63 + bits)) / five) as u64, 63 + bits + power as u32);
        (power, five) = (power + 1, five * 5);
    }
    reciprocals
};

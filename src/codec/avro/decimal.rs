//! Decimals: whole numbers in two's complement, big-endian, of which so many digits come after the point.

use std::io::Write;

/// Digits after the point that a schema may ask for.
pub(super) const MAX_SCALE: usize = 1_000;

/// Appends the number as it is written in decimal, as in `-12.50`. A number of more than 16 bytes is rounded to 64 bits of
/// floating point, and is `null` beyond their range.
pub(super) fn write(bytes: &[u8], scale: usize, out: &mut Vec<u8>) {
    let Some(unscaled) = unscaled(bytes) else {
        let rounded = rounded(bytes, scale);
        let mut buffer = zmij::Buffer::new();
        out.extend_from_slice(if rounded.is_finite() { buffer.format_finite(rounded).as_bytes() } else { b"null" });
        return;
    };
    if unscaled < 0 {
        out.push(b'-');
    }
    let width = scale + 1;
    write!(out, "{:0width$}", unscaled.unsigned_abs()).unwrap_or_else(|_| unreachable!("a Vec takes all bytes"));
    if scale > 0 {
        out.insert(out.len() - scale, b'.');
    }
}

/// The nearest number of 64 bits. `scratch` is overwritten.
pub(super) fn number(bytes: &[u8], scale: usize, scratch: &mut Vec<u8>) -> f64 {
    let Some(unscaled) = unscaled(bytes) else { return rounded(bytes, scale) };
    scratch.clear();
    write!(scratch, "{unscaled}e-{scale}").unwrap_or_else(|_| unreachable!("a Vec takes all bytes"));
    fast_float2::parse(scratch.as_slice()).unwrap_or_else(|_| unreachable!("a number in decimal"))
}

/// The whole number, if it fits.
fn unscaled(bytes: &[u8]) -> Option<i128> {
    let start = 16_usize.checked_sub(bytes.len())?;
    let sign = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [sign; 16];
    wide[start..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

fn rounded(bytes: &[u8], scale: usize) -> f64 {
    let first = bytes.first().map_or(0.0, |&byte| f64::from(byte as i8));
    let whole = bytes.iter().skip(1).fold(first, |sum, &byte| sum * 256.0 + f64::from(byte));
    whole / 10_f64.powi(i32::try_from(scale).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_what_they_are_written_as() {
        for (bytes, scale, text, value) in [
            (&[0x04, 0xe2][..], 2, "12.50", 12.5),
            (&[0xfb, 0x1e], 2, "-12.50", -12.5),
            (&[0x05], 2, "0.05", 0.05),
            (&[0xff], 3, "-0.001", -0.001),
            (&[], 2, "0.00", 0.0),
            (&[0x7f], 0, "127", 127.0),
        ] {
            let mut out = b"x".to_vec();
            write(bytes, scale, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("x{text}"));
            assert_eq!(number(bytes, scale, &mut Vec::new()), value);
        }
        let mut wide = vec![0; 20];
        wide[2] = 1;
        assert_eq!(number(&wide, 0, &mut Vec::new()), 256_f64.powi(17));
        assert_eq!(number(&[0xff; 20], 1, &mut Vec::new()), -0.1);
        let mut out = Vec::new();
        write(&[0x7f; 200], 1, &mut out);
        assert_eq!(out, b"null");
    }
}

//! Avro's primitive types over a slice of bytes.

use crate::record::{Reason, Rejection};

/// A place in a payload.
pub(super) struct Bytes<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A block of an array or a map.
pub(super) struct Block {
    pub(super) items: usize,
    /// How many bytes they take, if the writer says it.
    pub(super) bytes: Option<usize>,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Bytes<'a> {
        Bytes { bytes, at }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub(super) fn rest(&self) -> usize {
        self.bytes.len() - self.at
    }

    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Rejection> {
        let bytes = self.bytes[self.at..].get(..length).ok_or_else(|| self.cut_off())?;
        self.at += length;
        Ok(bytes)
    }

    #[inline]
    pub(super) fn long(&mut self) -> Result<i64, Rejection> {
        let number = self.unsigned()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    #[inline]
    pub(super) fn int(&mut self) -> Result<i64, Rejection> {
        let number = self.long()?;
        if i32::try_from(number).is_ok() { Ok(number) } else { Err(malformed(format!("{number} isn't an int"))) }
    }

    #[inline]
    fn unsigned(&mut self) -> Result<u64, Rejection> {
        let mut number = 0;
        for (place, &byte) in self.bytes[self.at..].iter().take(10).enumerate() {
            // The tenth byte has room for one bit.
            if place == 9 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                self.at += place + 1;
                return Ok(number);
            }
        }
        Err(if self.rest() < 10 { self.cut_off() } else { malformed(format!("no number ends at byte {}", self.at)) })
    }

    #[inline]
    pub(super) fn single(&mut self) -> Result<f32, Rejection> {
        self.array().map(f32::from_le_bytes)
    }

    #[inline]
    pub(super) fn double(&mut self) -> Result<f64, Rejection> {
        self.array().map(f64::from_le_bytes)
    }

    pub(super) fn boolean(&mut self) -> Result<bool, Rejection> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(malformed(format!("{other} isn't a boolean"))),
        }
    }

    /// Bytes after their length.
    #[inline]
    pub(super) fn sized(&mut self) -> Result<&'a [u8], Rejection> {
        let length = self.size()?;
        self.take(length)
    }

    /// A place among so many.
    #[inline]
    pub(super) fn choice(&mut self, of: usize, what: &str) -> Result<usize, Rejection> {
        let number = self.long()?;
        let place = usize::try_from(number).ok().filter(|&place| place < of);
        place.ok_or_else(|| malformed(format!("there is no {what} with the number {number}")))
    }

    /// The next block; none at the end of the array or the map.
    pub(super) fn block(&mut self) -> Result<Option<Block>, Rejection> {
        let count = self.long()?;
        if count == 0 {
            return Ok(None);
        }
        let items = usize::try_from(count.unsigned_abs()).map_err(|_| self.cut_off())?;
        let bytes = if count < 0 { Some(self.size()?) } else { None };
        Ok(Some(Block { items, bytes }))
    }

    fn size(&mut self) -> Result<usize, Rejection> {
        let size = self.long()?;
        usize::try_from(size).map_err(|_| malformed(format!("a length of {size}")))
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Rejection> {
        let bytes = self.bytes[self.at..].first_chunk::<N>().ok_or_else(|| self.cut_off())?;
        self.at += N;
        Ok(*bytes)
    }

    #[cold]
    fn cut_off(&self) -> Rejection {
        malformed(format!("the record ends within the value at byte {}", self.at))
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

//! Records that follow each other in a file without anything between them.

use std::io::{self, ErrorKind, Read};

use crate::limits::{Limits, too_long};

/// Bytes that are read at once, or as many as a record has so far.
const BLOCK: usize = 1 << 16;

/// The records of a file, one after the other. At most one of them is held, and a block.
pub(super) struct Records<L> {
    limits: Limits,
    /// The length of the first record in these bytes, if it ends there.
    length: L,
    buffer: Vec<u8>,
    /// Where the next record begins.
    at: usize,
}

impl<L: Fn(&[u8]) -> Option<usize>> Records<L> {
    pub(super) fn new(limits: Limits, length: L) -> Records<L> {
        Records { limits, length, buffer: Vec::new(), at: 0 }
    }

    /// The next record. What the file ends with may be a part of one.
    pub(super) fn next(&mut self, input: &mut impl Read) -> io::Result<Option<&[u8]>> {
        let start = loop {
            let rest = &self.buffer[self.at..];
            if let Some(length) = (self.length)(rest).filter(|&length| length > 0) {
                self.at += length;
                break self.at - length;
            }
            let most = self.limits.row_bytes();
            if rest.len() > most {
                return Err(io::Error::new(ErrorKind::FileTooLarge, too_long("a record", most)));
            }
            self.buffer.drain(..self.at);
            self.at = 0;
            let more = self.buffer.len().max(BLOCK).min(most + 1 - self.buffer.len()) as u64;
            if input.by_ref().take(more).read_to_end(&mut self.buffer)? == 0 {
                self.at = self.buffer.len();
                break 0;
            }
        };
        Ok(Some(&self.buffer[start..self.at]).filter(|record| !record.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_those_that_were_written_one_after_the_other() {
        // The first byte is the length of the rest, in thousands.
        let length = |bytes: &[u8]| {
            let length = 1 + usize::from(*bytes.first()?) * 1_000;
            (length <= bytes.len()).then_some(length)
        };
        let record = |thousands: u8| [vec![thousands], vec![7; usize::from(thousands) * 1_000]].concat();
        let written: Vec<Vec<u8>> = (0..=100).map(record).collect();
        let bytes = [written.concat(), vec![5, 7, 7]].concat();
        let mut input = bytes.as_slice();
        let mut records = Records::new(Limits::default(), length);
        for expected in &written {
            assert!(records.next(&mut input).unwrap() == Some(expected), "{} bytes", expected.len());
        }
        assert_eq!(records.next(&mut input).unwrap(), Some(&[5, 7, 7][..]));
        assert_eq!(records.next(&mut input).unwrap(), None);
    }

    #[test]
    fn a_record_without_an_end_is_refused() {
        let mut records = Records::new(Limits::default(), |_: &[u8]| None);
        let error = records.next(&mut io::repeat(7)).unwrap_err().to_string();
        assert!(error.starts_with("a record has more than"), "{error}");
    }
}

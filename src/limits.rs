//! How much a file may make weir hold. A file of a few kilobytes may claim or decompress to any size, so what is read is
//! bounded before memory is taken. docs/reference/limits.md has the table.

use std::fs;
use std::io::{self, BufRead, ErrorKind, Read as _};
use std::num::NonZeroU32;
use std::path::Path;

use crate::printable::shown;

/// Bytes of a row of CSV, the header among them, or of a line of JSON.
const ROW_BYTES: usize = 64 << 20;

/// Bytes of the name of a column, a feature or a class: it is in every message, metric or prediction about it.
const NAME_BYTES: usize = 1 << 10;

/// How many times the limits of the table a person allows: `--limit-factor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits(NonZeroU32);

/// A name has more bytes than the limits allow.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name {} has {} bytes, {most} are the limit: --limit-factor raises it", shown(name), name.len())]
pub struct LongNameError {
    name: String,
    most: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits(NonZeroU32::MIN)
    }
}

impl Limits {
    /// The limits, each times a factor.
    pub fn times(factor: NonZeroU32) -> Limits {
        Limits(factor)
    }

    /// A limit of the table, as this raises it.
    pub fn raise(self, limit: usize) -> usize {
        limit.saturating_mul(self.0.get() as usize)
    }

    /// Bytes that a row of CSV or a line of JSON may have.
    pub fn row_bytes(self) -> usize {
        self.raise(ROW_BYTES)
    }

    /// Whether a name is short enough.
    pub fn check_name(self, name: &str) -> Result<(), LongNameError> {
        let most = self.raise(NAME_BYTES);
        if name.len() <= most { Ok(()) } else { Err(LongNameError { name: name.into(), most }) }
    }

    /// Reads the rest of a line, its line feed included, behind what is in `line`. Returns the bytes read, 0 at the end.
    ///
    /// # Errors
    ///
    /// Those of `input`, and [`ErrorKind::FileTooLarge`] for a line of more than [`row_bytes`](Limits::row_bytes).
    pub fn read_line(self, input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
        let most = self.row_bytes();
        let read = input.take(most as u64 + 1).read_until(b'\n', line)?;
        if read > most {
            return Err(io::Error::new(ErrorKind::FileTooLarge, too_long("a line", most)));
        }
        Ok(read)
    }
}

/// Reads a file of another system. Its size is what it takes of memory, so it must have one.
///
/// # Errors
///
/// Those of the file system, and [`ErrorKind::InvalidInput`] for a pipe or a device.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // Looked at before it is opened: opening a FIFO waits for its writer.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file: copy what it gives to one"));
    }
    fs::read(path)
}

/// The message for a row or a line of more bytes than this.
pub(crate) fn too_long(what: &str, most: usize) -> String {
    format!("{what} has more than {} MiB: --limit-factor raises the limit", most >> 20)
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// A device has no end, and a FIFO may have no writer.
    #[test]
    fn only_regular_files_are_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let [file, fifo] = ["file", "fifo"].map(|name| folder.path().join(name));
        fs::write(&file, "x").unwrap();
        assert_eq!(read_file(&file).unwrap(), b"x");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for path in [&*fifo, Path::new("/dev/zero")] {
            assert_eq!(read_file(path).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        assert_eq!(read_file(folder.path()).unwrap_err().kind(), ErrorKind::IsADirectory);
    }

    #[test]
    fn a_line_has_as_many_bytes_as_the_factor_allows() {
        let text = |bytes: usize| [vec![b'x'; bytes - 1], b"\nnext".to_vec()].concat();
        let read = |bytes: usize, factor: u32| {
            let mut line = Vec::new();
            let limits = Limits::times(NonZeroU32::new(factor).unwrap());
            limits.read_line(&mut BufReader::new(&*text(bytes)), &mut line).map(|read| (read, line.len()))
        };
        assert_eq!(read(ROW_BYTES, 1).unwrap(), (ROW_BYTES, ROW_BYTES));
        let error = read(ROW_BYTES + 1, 1).unwrap_err().to_string();
        assert_eq!(error, "a line has more than 64 MiB: --limit-factor raises the limit");
        assert_eq!(read(ROW_BYTES + 1, 2).unwrap().0, ROW_BYTES + 1);
        assert_eq!(Limits::times(NonZeroU32::MAX).raise(usize::MAX), usize::MAX);
    }

    #[test]
    fn a_name_that_is_too_long_is_not_quoted_whole() {
        let [fits, longer] = [NAME_BYTES, NAME_BYTES + 1].map(|bytes| "x".repeat(bytes));
        assert_eq!(Limits::default().check_name(&fits), Ok(()));
        let problem = Limits::default().check_name(&longer).unwrap_err().to_string();
        assert!(problem.ends_with("x\"… has 1025 bytes, 1024 are the limit: --limit-factor raises it"), "{problem}");
        assert_eq!(Limits::times(NonZeroU32::new(2).unwrap()).check_name(&longer), Ok(()));
    }
}

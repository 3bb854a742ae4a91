//! Standard output and standard error of the verbs.
//!
//! A reader that has gone away (`| head -1`) is no error: a verb that does something still does it, says no more, and
//! ends with 0. What files and records bring along reaches a terminal only as text: no character of it is obeyed.

use std::io::{self, ErrorKind, StderrLock, StdoutLock, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::printable::harmless;
use crate::replay::ReplayError;

/// Writes a line to standard error, whether or not it is still read.
macro_rules! say {
    ($($argument:tt)*) => {
        $crate::cli::console::say_line(&format!($($argument)*))
    };
}
pub(crate) use say;

/// Whether standard output had a reader that has gone away.
static READER_GONE: AtomicBool = AtomicBool::new(false);

/// Standard output, for what a verb has to say. Once its reader has gone away, what is written is dropped.
pub(crate) fn stdout() -> Console<StdoutLock<'static>> {
    Console { inner: io::stdout().lock(), gone: Some(&READER_GONE) }
}

/// The same on standard error.
pub(crate) fn stderr() -> Console<StderrLock<'static>> {
    Console { inner: io::stderr().lock(), gone: None }
}

/// Whether the reader of standard output has gone away.
pub(crate) fn reader_is_gone() -> bool {
    READER_GONE.load(Ordering::Relaxed)
}

/// Whether an error is that a reader has gone away.
pub(crate) fn is_reader_gone(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let kind = match (cause.downcast_ref::<io::Error>(), cause.downcast_ref::<serde_json::Error>()) {
            (Some(error), _) => Some(error.kind()),
            (None, Some(error)) => error.io_error_kind(),
            (None, None) => match cause.downcast_ref::<ReplayError>() {
                Some(ReplayError::Write(error)) => Some(error.kind()),
                _ => None,
            },
        };
        kind == Some(ErrorKind::BrokenPipe)
    })
}

/// See [`say!`].
pub(crate) fn say_line(line: &str) {
    // Who doesn't read it any more doesn't miss it.
    let _ = writeln!(stderr(), "{line}");
}

/// A stream that a person may read.
pub(crate) struct Console<W> {
    inner: W,
    /// Where it is noted that the reader has gone away.
    gone: Option<&'static AtomicBool>,
}

impl<W: Write> Write for Console<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = if bytes.iter().all(|byte| matches!(byte, b'\n' | b'\t' | b' '..=b'~')) {
            self.inner.write_all(bytes)
        } else {
            // Line breaks and tabs are the verb's own; those of names are escaped where names are written.
            let text = String::from_utf8_lossy(bytes);
            let shown = text.split_inclusive(['\n', '\t']).map(|part| {
                let end = part.len() - usize::from(part.ends_with(['\n', '\t']));
                [&*harmless(&part[..end]), &part[end..]].concat()
            });
            self.inner.write_all(shown.collect::<String>().as_bytes())
        };
        self.forgive(written).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.inner.flush();
        self.forgive(flushed)
    }
}

impl<W> Console<W> {
    fn forgive(&self, written: io::Result<()>) -> io::Result<()> {
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                if let Some(gone) = self.gone {
                    gone.store(true, Ordering::Relaxed);
                }
                Ok(())
            }
            written => written,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_text() {
        let mut written = Vec::new();
        writeln!(Console { inner: &mut written, gone: None }, "a\tb\u{1b}[2Jc\r\nünd \u{9b}31m\u{202e}").unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), "a\tb\\u{1b}[2Jc\\r\nünd \\u{9b}31m\\u{202e}\n");
    }

    #[test]
    fn a_reader_that_goes_away_is_no_error() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        static GONE: AtomicBool = AtomicBool::new(false);
        let mut console = Console { inner: writer, gone: Some(&GONE) };
        assert!(writeln!(console, "unheard").is_ok() && console.flush().is_ok());
        assert!(GONE.load(Ordering::Relaxed));
    }

    #[test]
    fn a_reader_that_is_gone_is_found_among_the_causes() {
        let pipe = || io::Error::from(ErrorKind::BrokenPipe);
        assert!(is_reader_gone(&anyhow::Error::new(pipe()).context("writing")));
        assert!(is_reader_gone(&ReplayError::Write(pipe()).into()));
        assert!(is_reader_gone(&serde_json::Error::io(pipe()).into()));
        assert!(!is_reader_gone(&io::Error::from(ErrorKind::NotFound).into()));
    }
}

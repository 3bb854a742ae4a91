//! What the user says about how files are written; the rest is detected.

use crate::limits::Limits;
use crate::texts;

/// How files of data are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadOptions {
    /// How much they may hold.
    pub limits: Limits,
    /// What separates the cells of CSV, a byte of ASCII; `None`: what the file shows.
    pub delimiter: Option<u8>,
    /// What decimals have in CSV, a point or a comma; `None`: what the file shows.
    pub decimal: Option<char>,
    /// Texts that stand for a missing value in CSV, besides those of [`texts::is_missing`].
    pub na: Vec<String>,
    /// Columns that are dates or times.
    pub datetime: Vec<String>,
}

impl ReadOptions {
    /// Whether a cell of CSV is a missing value.
    pub(super) fn is_missing(&self, text: &str) -> bool {
        texts::is_missing(text) || !self.na.is_empty() && self.na.iter().any(|word| word.trim() == text.trim())
    }
}

impl From<Limits> for ReadOptions {
    fn from(limits: Limits) -> ReadOptions {
        ReadOptions { limits, ..ReadOptions::default() }
    }
}

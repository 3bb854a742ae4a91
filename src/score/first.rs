//! What the first records of a scorer all lack: a name that nobody sends is a mistake in the configuration or in the
//! model, and one of the first thousand records can't show it, but all of them together can.

use std::fmt;

use crate::codec::FieldValue;
use crate::printable::listed;
use crate::record::Gap;

/// So many records are looked at.
const FIRST: usize = 1_000;

/// Counts over the first decoded records.
#[derive(Debug)]
pub(super) struct FirstRecords {
    seen: usize,
    /// Whether what all of them lacked has been taken.
    taken: bool,
    /// Of each feature, whether no record has had it.
    features: Vec<bool>,
    /// The same of each copied field.
    fields: Vec<bool>,
}

/// Names that none of the first records had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// How many records that were.
    pub records: usize,
    /// The model's features.
    pub features: Vec<String>,
    /// The fields to copy.
    pub fields: Vec<String>,
}

impl FirstRecords {
    pub(super) fn new(features: usize, fields: usize) -> FirstRecords {
        FirstRecords { seen: 0, taken: false, features: vec![true; features], fields: vec![true; fields] }
    }

    /// Whether more records are wanted.
    #[inline]
    pub(super) fn is_counting(&self) -> bool {
        self.seen < FIRST
    }

    /// Counts a decoded record.
    pub(super) fn count(&mut self, row: &[f64], fields: &[FieldValue]) {
        self.seen += 1;
        for (lacked, value) in self.features.iter_mut().zip(row) {
            *lacked &= value.to_bits() == Gap::Missing.value().to_bits();
        }
        for (lacked, value) in self.fields.iter_mut().zip(fields) {
            *lacked &= value.is_absent();
        }
    }

    /// Whether the count has just become complete: `true` once.
    pub(super) fn take_complete(&mut self) -> bool {
        !self.is_counting() && self.take()
    }

    /// Whether the count hasn't been taken before: `true` once.
    pub(super) fn take(&mut self) -> bool {
        !std::mem::replace(&mut self.taken, true)
    }

    pub(super) fn lacking<'a>(
        &self,
        features: impl Iterator<Item = &'a String>,
        fields: &'a [String],
    ) -> Option<Lacking> {
        fn lacked<'a>(names: impl Iterator<Item = &'a String>, lacked: &[bool]) -> Vec<String> {
            names.zip(lacked).filter(|(_, lacked)| **lacked).map(|(name, _)| name.clone()).collect()
        }
        let lacking = Lacking {
            records: self.seen,
            features: lacked(features, &self.features),
            fields: lacked(fields.iter(), &self.fields),
        };
        let is_something = !lacking.features.is_empty() || !lacking.fields.is_empty();
        (self.seen > 0 && is_something).then_some(lacking)
    }
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lacking { records, features, fields } = self;
        match records {
            1 => f.write_str("the only record doesn't have ")?,
            _ => write!(f, "none of the first {records} records has ")?,
        }
        let names = |names: &[String]| listed(names.iter().map(String::as_str));
        if !features.is_empty() {
            write!(f, "{} {} (a name or input.features may be wrong)", counted("feature", features), names(features))?;
        }
        if !fields.is_empty() {
            let and = if features.is_empty() { "" } else { ", nor " };
            write!(f, "{and}{} {} to copy (output.fields)", counted("field", fields), names(fields))?;
        }
        Ok(())
    }
}

fn counted(noun: &str, names: &[String]) -> String {
    if names.len() == 1 { format!("the {noun}") } else { format!("the {noun}s") }
}

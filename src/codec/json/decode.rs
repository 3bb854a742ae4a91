//! From a JSON record to a row, in one pass over the bytes.
//!
//! Features come by name, at the top level or in the object that [`DecodeOptions::features`] leads to, or as an array
//! in signature order, at the end of that path or in a top-level member called `features`. A member that comes twice
//! counts as it came last, whatever the first one was. What a record says is therefore decided at its end, and only
//! then may it be rejected for anything but its grammar.

mod categories;
mod copies;
mod describe;
mod malformed;

use super::keys::{Keys, Meaning, Member, START};
use super::scan::{BLOCK, Cursor, Malformed, WINDOW};
use crate::codec::{DecodeOptions, FieldValue, NanPolicy, Span};
use crate::model::signature::{self, Signature};
use crate::record::{Gap, Reason, Rejection};
use crate::texts;
pub(crate) use categories::Categories;
pub(in crate::codec) use categories::json_number;
use copies::{Copied, Copies, Wanted};
use malformed::BYTE_ORDER_MARK;

/// The top-level member that holds the features in signature order, unless a feature is called so.
const POSITIONAL: &str = "features";

/// Turns JSON records into rows. Compiled once per (options, signature); it remembers the order of the members.
#[derive(Debug)]
pub struct Decoder {
    /// The members to look for at the top level, then at each step of the path, then in objects that have only fields.
    levels: Vec<Keys>,
    copies: Vec<Copied>,
    features: Vec<Kind>,
    /// The names of the steps to the features.
    path: Vec<String>,
    numeric_strings: bool,
    nan: NanPolicy,
    fields: usize,
    scratch: Vec<u8>,
    /// For [`Cursor::numbers`]: so many places as there are features, and some.
    ends: Box<[u32]>,
    /// Which pass has found the member of each feature's exact name to be null.
    nulls: Box<[u64]>,
    /// How often an object of features has been begun.
    passes: u64,
}

/// What a feature's value is turned into.
#[derive(Debug)]
pub(in crate::codec) enum Kind {
    Numeric,
    Time,
    Categorical(Categories),
}

impl Decoder {
    /// A decoder for records that a model with this signature scores.
    ///
    /// `options.features` is split at dots: a member with a dot in its name can't be a step of it.
    pub fn new(signature: &Signature, options: &DecodeOptions) -> Decoder {
        let named = || {
            signature.features.iter().enumerate().map(|(i, f)| {
                let meaning =
                    if matches!(f.kind, signature::Kind::Numeric) { Meaning::Number(i) } else { Meaning::Feature(i) };
                (f.name.as_str(), meaning)
            })
        };
        let path: Vec<String> = match options.features.as_str() {
            "" => Vec::new(),
            path => path.split('.').map(String::from).collect(),
        };
        let wanted = Wanted::new(&options.fields);
        let (mut copies, mut levels, mut here) = (Copies::new(path.len() + 1), Vec::new(), Some(&wanted));
        for step in path.iter().map(Some).chain([None]) {
            let step = step.map(String::as_str);
            let copied = here.map(|here| copies.of_object(here, step)).unwrap_or_default();
            levels.push(match step {
                Some(step) => Keys::new([(step, Meaning::Step)], copied),
                // First, so that a feature of that name takes its place.
                None if path.is_empty() => {
                    Keys::new([(POSITIONAL, Meaning::Positional)].into_iter().chain(named()), copied)
                }
                None => Keys::new(named(), copied),
            });
            here = here.zip(step).and_then(|(here, step)| here.at(step));
        }
        levels.append(&mut copies.tables);
        Decoder {
            levels,
            copies: copies.members,
            features: signature.features.iter().map(|feature| Kind::new(&feature.kind)).collect(),
            path,
            numeric_strings: options.numeric_strings,
            nan: options.nan,
            fields: options.fields.len(),
            scratch: Vec::new(),
            ends: vec![0; signature.features.len() + BLOCK].into(),
            nulls: vec![0; signature.features.len()].into(),
            passes: 0,
        }
    }

    /// Fills `row` with one value per feature (gaps as [`Gap`] says) and `fields` with one value per field, JSON as it is in
    /// the payload.
    ///
    /// A category is a string, a number or a boolean. Where no category is called exactly so, [`crate::texts`] says which one
    /// is meant: the same number (`3` and `3.0`), the same boolean (`true` and `True`), the same text but for blanks.
    /// A time is a string or a number, see [`crate::texts::moment`].
    /// `true` and `false` are 1 and 0 as numbers. Null is the same as absent, also on the way to the features. So is a string
    /// that stands for a missing value in CSV, such as an empty one, unless a category is called so. A byte order mark before
    /// the record is skipped. With [`NanPolicy::Missing`] `NaN` is the same as absent, and `Infinity` is a value. An
    /// array called `features` at the top level makes the features beside it meaningless.
    ///
    /// # Errors
    /// `malformed`: not a JSON object. This is so for exactly what serde_json refuses as well, except that a feature
    /// may be a number beyond the range of an f64: that is a [`Gap::NotFinite`]. `wrong_length`: an array with more or
    /// fewer values than there are features. `wrong_type`: the path leads to something else than an object or an
    /// array.
    ///
    /// # Panics
    /// When `row` or `fields` has another length than the signature or the options given to [`Decoder::new`].
    pub fn decode(&mut self, payload: &[u8], row: &mut [f64], fields: &mut [FieldValue]) -> Result<(), Rejection> {
        assert_eq!(row.len(), self.features.len(), "one value per feature");
        assert_eq!(fields.len(), self.fields, "one value per field");
        if u32::try_from(payload.len()).is_err() {
            return Err(Rejection::new(Reason::TooLarge, format!("{} bytes of JSON", payload.len())));
        }
        let mut pass = self.pass(payload, row, fields);
        pass.record().map_err(|malformed| malformed::rejection(malformed, payload))?;
        if pass.array_revoked {
            // The array has overwritten features that count after all.
            pass = self.pass(payload, row, fields);
            pass.names_only = true;
            pass.record().map_err(|malformed| malformed::rejection(malformed, payload))?;
        }
        let found = pass.found;
        self.judge(found)
    }

    fn pass<'a>(&'a mut self, payload: &'a [u8], row: &'a mut [f64], fields: &'a mut [FieldValue]) -> Pass<'a> {
        Pass {
            cursor: Cursor::with_not_finite(payload, self.nan == NanPolicy::Missing),
            path: self.path.len(),
            levels: &mut self.levels,
            copies: &self.copies,
            row,
            fields,
            features: &self.features,
            numeric_strings: self.numeric_strings,
            nan: self.nan,
            scratch: &mut self.scratch,
            ends: &mut self.ends,
            nulls: &mut self.nulls,
            passes: &mut self.passes,
            found: Found::Named,
            array_revoked: false,
            names_only: false,
        }
    }

    fn judge(&self, found: Found) -> Result<(), Rejection> {
        let features = self.features.len();
        match found {
            Found::Array { values } if values != features => Err(Rejection::new(
                Reason::WrongLength,
                format!("the array of features has {values} values, the model takes {features}"),
            )),
            Found::Other { level, kind } => {
                let (path, last) = (self.path[..=level].join("."), level + 1 == self.path.len());
                let expected = if last { "an object or an array" } else { "an object" };
                Err(Rejection::new(Reason::WrongType, format!("{path:?}: expected {expected}, found {kind}")))
            }
            Found::Array { .. } | Found::Named => Ok(()),
        }
    }
}

/// In what shape the record has its features, as far as it has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// By name, or not at all.
    Named,
    /// In an array of so many values.
    Array { values: usize },
    /// Neither: step `level` of the path leads to something else.
    Other { level: usize, kind: &'static str },
}

/// One pass over one record.
struct Pass<'a> {
    cursor: Cursor<'a>,
    /// How many steps lead to the features.
    path: usize,
    levels: &'a mut [Keys],
    copies: &'a [Copied],
    row: &'a mut [f64],
    fields: &'a mut [FieldValue],
    features: &'a [Kind],
    numeric_strings: bool,
    nan: NanPolicy,
    scratch: &'a mut Vec<u8>,
    ends: &'a mut [u32],
    nulls: &'a mut [u64],
    passes: &'a mut u64,
    found: Found,
    /// A positional array was followed by another value for the same member.
    array_revoked: bool,
    /// Positional arrays are to be ignored: it is known that the last such member isn't one.
    names_only: bool,
}

impl Pass<'_> {
    fn record(&mut self) -> Result<(), Malformed> {
        self.forget();
        self.fields.fill(FieldValue::Absent);
        self.cursor.whitespace();
        if self.cursor.peek() != b'{' {
            self.byte_order_mark()?;
        }
        self.object(0)?;
        self.cursor.end()
    }

    /// No feature has been found yet.
    fn forget(&mut self) {
        self.row.fill(Gap::Missing.value());
        *self.passes += 1;
    }

    /// What doesn't start with a brace may start with a byte order mark, which RFC 8259 lets a parser skip.
    #[cold]
    fn byte_order_mark(&mut self) -> Result<(), Malformed> {
        if self.cursor.position() == 0 && self.cursor.eat(BYTE_ORDER_MARK) {
            self.cursor.whitespace();
        }
        if self.cursor.peek() == b'{' { Ok(()) } else { Err(self.cursor.expected("expected an object")) }
    }

    /// The object at this level: 0 is the top.
    ///
    /// The usual members, which are as they were guessed, are read by a copy of the cursor that stays in registers, and
    /// numbers among them right here: that is two thirds of the time of a record of numbers. All else works on
    /// `self.cursor`.
    fn object(&mut self, level: usize) -> Result<(), Malformed> {
        let mut previous = START;
        let mut more = self.cursor.open(b'}')?;
        while more {
            previous = self.member(level, previous)?;
            let mut cursor = self.cursor;
            while let Some((index, member)) = self.levels[level].guess_next(&mut cursor, previous) {
                previous = index;
                if let Member { meaning: Meaning::Number(feature), copy: None, .. } = *member
                    && self.found == Found::Named
                    && let Some(number) = cursor.usual_number()
                {
                    self.row[feature] = number;
                } else {
                    let member = *member;
                    self.cursor.follow(cursor);
                    self.cursor.whitespace();
                    self.member_value(level, member)?;
                    cursor.follow(self.cursor);
                }
            }
            self.cursor = cursor;
            more = self.cursor.next(b'}')?;
        }
        Ok(())
    }

    /// A member of any kind, whose key comes next. Returns the member to guess the next one by.
    fn member(&mut self, level: usize, previous: usize) -> Result<usize, Malformed> {
        let member = match self.levels[level].guess(&mut self.cursor, previous) {
            Some(member) => Some(member),
            None => self.levels[level].look_up(&mut self.cursor, previous, self.scratch)?,
        };
        match member {
            Some(member) => self.member_value(level, member).map(|()| member.index),
            None => self.cursor.skip().map(|()| previous),
        }
    }

    /// The value of a member.
    fn member_value(&mut self, level: usize, Member { meaning, copy, .. }: Member) -> Result<(), Malformed> {
        let start = self.cursor;
        let copied = copy.map(|copy| &self.copies[copy]);
        if let Some(copied) = copied {
            copied.beneath.iter().for_each(|&field| self.fields[field] = FieldValue::Absent);
        }
        match meaning {
            Meaning::Alias(feature) => {
                let value = self.value(feature)?;
                // A member that has the feature's exact name counts, wherever it is and even if it is null.
                let is_open = Gap::of(self.row[feature]) == Some(Gap::Missing) && self.nulls[feature] != *self.passes;
                if self.found == Found::Named && is_open {
                    self.row[feature] = value;
                }
            }
            Meaning::Number(feature) | Meaning::Feature(feature) => {
                let value = self.value(feature)?;
                // A positional array outranks the names. They are still read as features, not skipped: what is
                // malformed mustn't depend on the order of the members.
                if self.found == Found::Named {
                    self.row[feature] = value;
                    if Gap::of(value) == Some(Gap::Missing) {
                        self.nulls[feature] = *self.passes;
                    }
                }
            }
            Meaning::Step => self.step(level)?,
            Meaning::Positional => self.positional()?,
            Meaning::Copied => self.cursor.skip()?,
        }
        match copied {
            Some(copied) => self.copy(start, copied),
            None => Ok(()),
        }
    }

    /// Copies the member whose value has been read, and what is within it.
    fn copy(&mut self, start: Cursor<'_>, copied: &Copied) -> Result<(), Malformed> {
        if let Some(field) = copied.field {
            let span = Span { start: start.position() as u32, end: self.cursor.position() as u32 };
            self.fields[field] = FieldValue::Json(span);
            // A prediction must be JSON, whatever the record may be.
            if self.nan == NanPolicy::Missing && Cursor::new(self.cursor.since(start.position())).skip().is_err() {
                self.fields[field] = FieldValue::Absent;
            }
        }
        if let Some(table) = copied.inside
            && start.peek() == b'{'
        {
            let end = self.cursor;
            self.cursor.go_back(start);
            self.object(table)?;
            self.cursor = end;
        }
        Ok(())
    }

    /// The value of step `level` of the path. What an earlier one has said is forgotten.
    fn step(&mut self, level: usize) -> Result<(), Malformed> {
        self.forget();
        self.found = Found::Named;
        let last = level + 1 == self.path;
        let kind = match self.cursor.peek() {
            b'{' => return self.object(level + 1),
            b'[' if last => return self.array(),
            b'n' => return self.cursor.skip(),
            b'[' => "an array",
            b'"' => "a string",
            b't' | b'f' => "a boolean",
            _ => "a number",
        };
        self.found = Found::Other { level, kind };
        self.cursor.skip()
    }

    /// The top-level member that may hold the features in signature order.
    fn positional(&mut self) -> Result<(), Malformed> {
        if self.cursor.peek() == b'[' && !self.names_only {
            return self.array();
        }
        if self.found != Found::Named {
            self.array_revoked = true;
            self.found = Found::Named;
        }
        self.cursor.skip()
    }

    /// The features in signature order.
    fn array(&mut self) -> Result<(), Malformed> {
        let mut values = 0;
        let mut more = self.cursor.open(b']')?;
        let mut at_once = self.features.iter().take_while(|kind| matches!(kind, Kind::Numeric)).count();
        // As in `object`, by a copy that stays in registers.
        let mut cursor = self.cursor;
        while more {
            if values < at_once && cursor.position() >= WINDOW {
                let count = cursor.numbers(&mut self.row[values..at_once], self.ends);
                values += count;
                // Once is enough: behind what is unusual there may be more of it.
                at_once = 0;
                if count > 0 {
                    more = cursor.next(b']')?;
                    continue;
                }
            }
            if let Some(Kind::Numeric) = self.features.get(values)
                && let Some(number) = cursor.usual_number()
            {
                self.row[values] = number;
            } else {
                self.cursor.follow(cursor);
                if values < self.row.len() {
                    self.row[values] = self.value(values)?;
                } else {
                    self.cursor.skip()?;
                }
                cursor.follow(self.cursor);
            }
            values += 1;
            more = cursor.next(b']')?;
        }
        self.cursor = cursor;
        self.array_revoked = false;
        self.found = Found::Array { values };
        Ok(())
    }

    /// The value of a feature.
    fn value(&mut self, feature: usize) -> Result<f64, Malformed> {
        let features = self.features;
        match &features[feature] {
            Kind::Numeric => self.numeric(),
            Kind::Time => self.time(),
            Kind::Categorical(categories) => self.categorical(categories),
        }
    }

    fn numeric(&mut self) -> Result<f64, Malformed> {
        if self.cursor.at_number() {
            let start = self.cursor.position();
            return match self.cursor.number() {
                Ok(number) => Ok(finite(number)),
                Err(error) => self.cursor.minus_infinity(start, error).map(|()| Gap::NotFinite.value()),
            };
        }
        match self.cursor.peek() {
            b't' => self.cursor.literal("true").map(|()| 1.0),
            b'f' => self.cursor.literal("false").map(|()| 0.0),
            b'"' if self.numeric_strings => Ok(numeric_string(self.cursor.string()?.unescape(self.scratch)?, self.nan)),
            _ => self.gap(),
        }
    }

    /// A date or time, as a text or as a number.
    fn time(&mut self) -> Result<f64, Malformed> {
        match self.cursor.peek() {
            b'"' => {
                let text = std::str::from_utf8(self.cursor.string()?.unescape(self.scratch)?).unwrap_or_default();
                Ok(texts::moment(text).unwrap_or_else(Gap::value))
            }
            b't' | b'f' => self.cursor.skip().map(|()| Gap::Boolean.value()),
            _ => self.numeric().map(|number| if number.is_nan() { number } else { texts::epoch(number) }),
        }
    }

    fn categorical(&mut self, categories: &Categories) -> Result<f64, Malformed> {
        if let Some(name) = self.cursor.short_string() {
            return Ok(categories.short_or(name, Gap::Unknown));
        }
        let start = self.cursor.position();
        match self.cursor.peek() {
            b'"' => Ok(categories.index_or(self.cursor.string()?.unescape(self.scratch)?, Gap::Unknown)),
            b'-' | b'0'..=b'9' => match self.cursor.number() {
                Ok(number) => Ok(categories.number(self.cursor.since(start), number)),
                Err(error) => self.cursor.minus_infinity(start, error).map(|()| Gap::NotFinite.value()),
            },
            b't' | b'f' => {
                let is_true = self.cursor.peek() == b't';
                self.cursor.skip()?;
                Ok(categories.boolean(is_true))
            }
            _ => self.gap(),
        }
    }

    /// Steps over a value that no feature takes.
    fn gap(&mut self) -> Result<f64, Malformed> {
        let gap = match self.cursor.peek() {
            b'"' => return Ok(not_a_number(self.cursor.string()?.unescape(self.scratch)?).value()),
            // Where it is no value, skipping it says so.
            b'I' => Gap::NotFinite,
            b'[' => Gap::Array,
            b'{' => Gap::Object,
            _ => Gap::Missing,
        };
        self.cursor.skip()?;
        Ok(gap.value())
    }
}

/// The row value that a string stands for where numbers are expected.
pub(in crate::codec) fn numeric_string(text: &[u8], nan: NanPolicy) -> f64 {
    let unsigned = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    match json_number(text) {
        Some(number) => finite(number),
        None if nan == NanPolicy::Missing && unsigned.eq_ignore_ascii_case(b"nan") => Gap::Missing.value(),
        None if NOT_FINITE.iter().any(|name| unsigned.eq_ignore_ascii_case(name)) => Gap::NotFinite.value(),
        None => not_a_number(text).value(),
    }
}

/// What a text is where a number is expected: blanks alone are a missing value.
pub(in crate::codec) fn not_a_number(text: &[u8]) -> Gap {
    let is_blank = std::str::from_utf8(text).is_ok_and(|text| text.trim().is_empty());
    if is_blank { Gap::Missing } else { Gap::String }
}

/// How languages write what JSON can't, but for case and sign.
const NOT_FINITE: [&[u8]; 3] = [b"nan", b"inf", b"infinity"];

#[inline]
fn finite(number: f64) -> f64 {
    if number.is_finite() { number } else { Gap::NotFinite.value() }
}

impl Kind {
    pub(in crate::codec) fn new(kind: &signature::Kind) -> Kind {
        match kind {
            signature::Kind::Numeric => Kind::Numeric,
            signature::Kind::Time => Kind::Time,
            signature::Kind::Categorical { categories, .. } => Kind::Categorical(Categories::new(categories)),
        }
    }
}

#[cfg(test)]
mod tests;

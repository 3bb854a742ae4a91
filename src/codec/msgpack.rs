//! MessagePack: one map or array per record. Members are found by name, as in JSON, and values mean what they mean there.

mod read;

use std::sync::Arc;

use super::DecodeOptions;
use super::features::Features;
use super::field::{FieldValue, Span, write_base64, written_since};
use super::wanted::WantedNode;
use crate::model::signature::Signature;
use crate::printable::{listed, shown};
use crate::record::{Gap, Reason, Rejection};
use read::{Reader, Token};

/// Members whose order is remembered, of each map.
const REMEMBERED: usize = 1_024;

/// Turns such records into rows. Compiled once per (options, signature); it remembers the order of the members.
#[derive(Debug)]
pub struct Decoder {
    features: Features,
    levels: Vec<Level>,
    /// Of the record in hand, by feature: whether a member with its exact name is a missing value.
    nulls: Vec<bool>,
}

/// A map in which something is wanted.
#[derive(Debug)]
struct Level {
    /// Sorted by name.
    members: Vec<(Box<[u8]>, Member)>,
    /// By place in the map: which member came there last.
    order: Vec<Option<u16>>,
}

/// What is wanted of a member.
#[derive(Clone, Debug)]
struct Member {
    feature: Option<usize>,
    /// Whether it is the feature only where no member has the feature's exact name.
    is_alias: bool,
    field: Option<usize>,
    is_positional: bool,
    /// The level of a map here.
    level: Option<usize>,
    /// The dotted path, if the features are here or within.
    step: Option<Arc<str>>,
}

impl Decoder {
    pub(super) fn new(signature: &Signature, options: &DecodeOptions) -> Decoder {
        let mut levels = Vec::new();
        add_level(&WantedNode::new(signature, options), &mut levels);
        let features = Features::new(signature, options);
        Decoder { nulls: vec![false; features.len()], features, levels }
    }

    /// Fills `row` and `fields`. Bytes are copied in base64, and an extension, a timestamp too, is null.
    pub(super) fn decode(
        &mut self,
        payload: &[u8],
        row: &mut [f64],
        fields: &mut [FieldValue],
        texts: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        assert_eq!(row.len(), self.features.len(), "one value per feature");
        row.fill(Gap::Missing.value());
        fields.fill(FieldValue::Absent);
        let Decoder { features, levels, nulls } = self;
        nulls.fill(false);
        let reader = Reader::new(payload);
        let mut pass = Pass { reader, payload, features, levels, nulls, row, fields, texts, is_array: false };
        match pass.reader.token()? {
            Token::Map(members) => pass.map(0, members)?,
            token => return Err(wrong_start(token)),
        }
        pass.reader.end()
    }

    /// The members of a record.
    pub(super) fn describe(&self, payload: &[u8]) -> String {
        let names = || -> Result<Vec<String>, Rejection> {
            let mut reader = Reader::new(payload);
            let Token::Map(members) = reader.token()? else { return Ok(Vec::new()) };
            (0..members)
                .map(|_| {
                    let start = reader.position();
                    let name = match reader.token()? {
                        Token::Text(name) => String::from_utf8_lossy(name).into_owned(),
                        token => {
                            reader.skip_within(token)?;
                            format!("a key of {} bytes that is no text", reader.position() - start)
                        }
                    };
                    reader.skip()?;
                    Ok(name)
                })
                .collect()
        };
        match names() {
            Ok(names) => format!("the record has {}", listed(names.iter().map(String::as_str))),
            Err(_) => "its members can't be listed".into(),
        }
    }
}

/// The record as JSON.
pub(super) fn readable(payload: &[u8]) -> Option<String> {
    let (mut reader, mut out) = (Reader::new(payload), Vec::new());
    reader.write_json(&mut out).and_then(|()| reader.end()).ok()?;
    String::from_utf8(out).ok()
}

/// The length of the value that `bytes` begins with, if it ends there.
pub(super) fn record_length(bytes: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(bytes);
    reader.skip().ok().map(|()| reader.position())
}

/// Adds the level of a node, and those within. Returns its number.
fn add_level(node: &WantedNode, levels: &mut Vec<Level>) -> usize {
    let number = levels.len();
    levels.push(Level { members: Vec::new(), order: Vec::new() });
    let members = node.members.iter().map(|(name, wanted)| {
        let level = (!wanted.members.is_empty()).then(|| add_level(wanted, levels));
        let &WantedNode { feature, is_alias, field, is_positional, .. } = wanted;
        let step = wanted.step.as_deref().map(Arc::from);
        (name.as_bytes().into(), Member { feature, is_alias, field, is_positional, level, step })
    });
    levels[number].members = members.collect();
    number
}

impl Level {
    /// The member of this name, which comes at this place of the map.
    fn find(&mut self, place: usize, name: &[u8]) -> Option<Member> {
        let guess = self.order.get(place).copied().flatten().map(usize::from);
        let found = match guess.filter(|&guess| *self.members[guess].0 == *name) {
            Some(guess) => guess,
            None => {
                let Some(found) = self.position(name) else { return self.find_alike(name) };
                if place < REMEMBERED {
                    if self.order.len() <= place {
                        self.order.resize(place + 1, None);
                    }
                    self.order[place] = u16::try_from(found).ok();
                }
                found
            }
        };
        Some(self.members[found].1.clone())
    }

    fn position(&self, name: &[u8]) -> Option<usize> {
        self.members.binary_search_by(|(member, _)| member.as_ref().cmp(name)).ok()
    }

    /// The feature that a name means which is wanted nowhere: it differs by blanks around it.
    fn find_alike(&self, name: &[u8]) -> Option<Member> {
        let trimmed = std::str::from_utf8(name).ok()?.trim();
        if trimmed.len() == name.len() {
            return None;
        }
        let feature = self.members[self.position(trimmed.as_bytes())?].1.feature?;
        Some(Member {
            feature: Some(feature),
            is_alias: true,
            field: None,
            is_positional: false,
            level: None,
            step: None,
        })
    }
}

/// One pass over one record.
struct Pass<'a> {
    reader: Reader<'a>,
    payload: &'a [u8],
    features: &'a Features,
    levels: &'a mut [Level],
    /// By feature: whether a member with its exact name is a missing value.
    nulls: &'a mut [bool],
    row: &'a mut [f64],
    fields: &'a mut [FieldValue],
    texts: &'a mut Vec<u8>,
    /// Whether the features came in an array, which outranks names.
    is_array: bool,
}

impl Pass<'_> {
    /// The members of a map.
    fn map(&mut self, level: usize, members: usize) -> Result<(), Rejection> {
        for place in 0..members {
            let member = match self.reader.token()? {
                Token::Text(name) => self.levels[level].find(place, name),
                key => {
                    self.reader.skip_within(key)?;
                    None
                }
            };
            match member {
                Some(member) => self.value(&member)?,
                None => self.reader.skip()?,
            }
        }
        Ok(())
    }

    /// A value of which something is wanted.
    fn value(&mut self, member: &Member) -> Result<(), Rejection> {
        let start = self.reader.position();
        let token = self.reader.token()?;
        if member.step.is_some() {
            // What an earlier member of this name has said is forgotten.
            self.row.fill(Gap::Missing.value());
            self.nulls.fill(false);
            self.is_array = false;
        }
        if let Some(feature) = member.feature.filter(|_| !self.is_array) {
            let is_missing = |value: f64| Gap::of(value) == Some(Gap::Missing);
            if !member.is_alias {
                self.row[feature] = self.features.value(feature, token);
                self.nulls[feature] |= is_missing(self.row[feature]);
            } else if is_missing(self.row[feature]) && !self.nulls[feature] {
                self.row[feature] = self.features.value(feature, token);
            }
        }
        match token {
            Token::Map(members) if member.level.is_some() => {
                self.map(member.level.unwrap_or_else(|| unreachable!("has just been seen")), members)?;
            }
            Token::Array(values) if member.is_positional => self.array(values)?,
            token => {
                if let Some(path) = member.step.as_deref().filter(|_| token != Token::Nil) {
                    let (path, found) = (shown(path), token.as_str());
                    let message = format!("{path}: expected a map or an array, found {found}");
                    return Err(Rejection::new(Reason::WrongType, message));
                }
                self.reader.skip_within(token)?;
            }
        }
        if let Some(field) = member.field {
            self.fields[field] = self.field(start, token)?;
        }
        Ok(())
    }

    /// The features in signature order.
    fn array(&mut self, values: usize) -> Result<(), Rejection> {
        let features = self.features.len();
        if values != features {
            let message = format!("the array of features has {values} values, the model takes {features}");
            return Err(Rejection::new(Reason::WrongLength, message));
        }
        self.is_array = true;
        for feature in 0..features {
            let token = self.reader.token()?;
            self.row[feature] = self.features.value(feature, token);
            self.reader.skip_within(token)?;
        }
        Ok(())
    }

    /// The value that began with this token, to be copied.
    fn field(&mut self, start: usize, token: Token<'_>) -> Result<FieldValue, Rejection> {
        Ok(match token {
            Token::Nil => FieldValue::Null,
            Token::Boolean(boolean) => FieldValue::Boolean(boolean),
            Token::Integer(number) => FieldValue::Integer(number),
            Token::Unsigned(number) => FieldValue::Unsigned(number),
            Token::Single(number) => FieldValue::Single(number),
            Token::Double(number) => FieldValue::Double(number),
            Token::Text(text) => {
                read::utf8(text)?;
                let end = self.reader.position();
                // The caller has bounded the payload.
                FieldValue::Text(Span { start: (end - text.len()) as u32, end: end as u32 })
            }
            Token::Bytes(bytes) => {
                let before = self.texts.len();
                write_base64(bytes, self.texts);
                written_since(before, self.texts)
            }
            Token::Timestamp(_) | Token::Extension => FieldValue::Null,
            Token::Array(_) | Token::Map(_) => {
                let before = self.texts.len();
                Reader::new(&self.payload[start..self.reader.position()]).write_json(self.texts)?;
                written_since(before, self.texts)
            }
        })
    }
}

impl Features {
    /// The row value of a feature.
    #[inline]
    fn value(&self, feature: usize, token: Token<'_>) -> f64 {
        match token {
            Token::Nil => Gap::Missing.value(),
            Token::Boolean(boolean) => self.boolean(feature, boolean),
            Token::Integer(number) => self.integer(feature, number),
            Token::Unsigned(number) => self.unsigned(feature, number),
            Token::Single(number) => self.single(feature, number),
            Token::Double(number) => self.double(feature, number),
            Token::Text(text) | Token::Bytes(text) => self.text(feature, text),
            Token::Timestamp(seconds) => self.time(feature, seconds),
            Token::Array(_) => Gap::Array.value(),
            Token::Map(_) | Token::Extension => Gap::Object.value(),
        }
    }
}

#[cold]
fn wrong_start(token: Token<'_>) -> Rejection {
    let hint = match token {
        // `{`, and digits, are such numbers.
        Token::Integer(123) => ": it may be JSON, which input.format = \"json\" reads",
        Token::Array(_) => ": give it a name, as in {\"features\": […]}",
        _ => "",
    };
    Rejection::new(Reason::Malformed, format!("expected a map, found {}{hint}", token.as_str()))
}

#[cfg(test)]
mod tests;

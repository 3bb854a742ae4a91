//! A walk along the bytes of a record, by the nodes of a plan.

mod bytes;

use super::decimal;
use super::plan::{Kind, Node, Plan, Record, TimeUnit};
use crate::codec::features::Features;
use crate::codec::field::{FieldValue, Fields, Span, write_base64, write_quoted, written_since};
use crate::printable::shown;
use crate::record::{Gap, Reason, Rejection};
use bytes::{Bytes, malformed, utf8};

/// The deepest nesting of values.
const MAX_DEPTH: usize = 128;

/// Values of a record that take no byte of their own.
const MAX_EMPTY: usize = 1 << 16;

/// Bytes of the copied fields that weir writes as JSON, for each byte of the record, and for a record of any size: a record of a
/// few bytes may have many names.
const MAX_WRITTEN: (usize, usize) = (8, 1 << 16);

/// A value that has no parts, or what it is if it has some.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value<'a> {
    Null,
    Boolean(bool),
    Integer(i64),
    Moment(i64, TimeUnit),
    Single(f32),
    Double(f64),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    /// Bytes, and how many digits come after the point.
    Decimal(&'a [u8], usize),
    Uuid(&'a [u8]),
    /// Its place among those of the node.
    Symbol(usize),
    Array,
    Object,
}

impl Value<'_> {
    /// What it is, for a message.
    fn as_str(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Boolean(_) => "a boolean",
            Value::Integer(_) | Value::Moment(..) | Value::Single(_) | Value::Double(_) | Value::Decimal(..) => {
                "a number"
            }
            Value::Text(_) | Value::Uuid(_) => "a string",
            Value::Bytes(_) => "bytes",
            Value::Symbol(_) => "a symbol of an enum",
            Value::Array => "an array",
            Value::Object => "a record or a map",
        }
    }
}

/// One pass over one record.
pub(super) struct Pass<'a> {
    nodes: &'a [Node],
    root: usize,
    features: &'a Features,
    payload: &'a [u8],
    bytes: Bytes<'a>,
    /// How many more values may take no bytes.
    budget: usize,
    /// The most bytes that the texts may have after the record.
    most_texts: usize,
    row: &'a mut [f64],
    fields: &'a mut [FieldValue],
    texts: &'a mut Vec<u8>,
    scratch: &'a mut Vec<u8>,
    /// Whether the features came in an array, which outranks names.
    is_array: bool,
}

impl<'a> Pass<'a> {
    #[expect(clippy::too_many_arguments, reason = "each is a buffer of its own")]
    pub(super) fn new(
        plan: &'a Plan,
        features: &'a Features,
        payload: &'a [u8],
        start: usize,
        row: &'a mut [f64],
        fields: &'a mut [FieldValue],
        texts: &'a mut Vec<u8>,
        scratch: &'a mut Vec<u8>,
    ) -> Pass<'a> {
        let (each, any) = MAX_WRITTEN;
        let most_written = payload.len().saturating_mul(each).saturating_add(any);
        Pass {
            nodes: &plan.nodes,
            root: plan.root,
            features,
            payload,
            bytes: Bytes::new(payload, start),
            budget: payload.len() + MAX_EMPTY,
            // Places in texts have 32 bits.
            most_texts: texts.len().saturating_add(most_written).min(u32::MAX as usize),
            row,
            fields,
            texts,
            scratch,
            is_array: false,
        }
    }

    /// The whole payload.
    pub(super) fn record(mut self) -> Result<(), Rejection> {
        self.row.fill(Gap::Missing.value());
        self.fields.fill(FieldValue::Absent);
        self.wanted(self.root, MAX_DEPTH)?;
        match self.bytes.rest() {
            0 => Ok(()),
            rest => Err(malformed(format!("{rest} bytes after the record"))),
        }
    }

    /// A value of which something is wanted, here or within.
    fn wanted(&mut self, number: usize, depth: usize) -> Result<(), Rejection> {
        let nodes = self.nodes;
        let node = &nodes[number];
        let start = self.bytes.position();
        match &node.kind {
            Kind::Union(branches) => {
                let branch = self.branch(branches)?;
                return self.wanted(branch, depth);
            }
            Kind::Record(record) => {
                self.members(record, within(depth)?)?;
                self.put(node, Value::Object)?;
            }
            Kind::Map(value, members) if !members.is_empty() => {
                self.map(*value, members, within(depth)?)?;
                self.put(node, Value::Object)?;
            }
            Kind::Array(item) if node.is_positional => {
                self.positional(*item, within(depth)?)?;
                self.put(node, Value::Array)?;
            }
            _ => {
                let value = self.value(number, depth)?;
                if let Some(path) = node.step.as_deref().filter(|_| value != Value::Null) {
                    return Err(wrong_type(path, value));
                }
                self.put(node, value)?;
            }
        }
        match (node.field, &node.kind) {
            (Some(field), Kind::Record(_) | Kind::Map(..) | Kind::Array(_)) => self.copy_parts(field, number, start),
            _ => Ok(()),
        }
    }

    fn members(&mut self, record: &Record, depth: usize) -> Result<(), Rejection> {
        self.spend_on_empty(record)?;
        for &(feature, value) in record.defaults.iter().filter(|_| !self.is_array) {
            self.row[feature] = value;
        }
        for (field, json) in &record.default_fields {
            let before = self.texts.len();
            self.texts.extend_from_slice(json);
            self.fields[*field] = self.written(before)?;
        }
        for (_, node) in &record.fields {
            if self.nodes[*node].is_wanted { self.wanted(*node, depth)? } else { self.skip(*node, depth)? }
        }
        Ok(())
    }

    fn map(&mut self, value: usize, members: &[(Box<[u8]>, usize)], depth: usize) -> Result<(), Rejection> {
        while let Some(block) = self.bytes.block()? {
            for _ in 0..block.items {
                let key = self.bytes.sized()?;
                match members.binary_search_by(|(name, _)| name.as_ref().cmp(key)) {
                    Ok(place) => self.entry(members[place].1, depth)?,
                    Err(_) => self.skip(value, depth)?,
                }
            }
        }
        Ok(())
    }

    /// A wanted value of a map. A writer may repeat a key, and the last value counts.
    fn entry(&mut self, number: usize, depth: usize) -> Result<(), Rejection> {
        if self.nodes[number].step.is_some() {
            self.row.fill(Gap::Missing.value());
            self.is_array = false;
        }
        self.wanted(number, depth)
    }

    /// The features in signature order.
    fn positional(&mut self, item: usize, depth: usize) -> Result<(), Rejection> {
        self.is_array = true;
        let features = self.features.len();
        let mut values = 0;
        while let Some(block) = self.bytes.block()? {
            for _ in 0..block.items {
                if values < features {
                    let (node, value) = self.value_of_branch(item, depth)?;
                    self.row[values] = self.row_value(node, values, value);
                } else {
                    self.skip(item, depth)?;
                }
                values += 1;
            }
        }
        if values == features {
            return Ok(());
        }
        let message = format!("the array of features has {values} values, the model takes {features}");
        Err(Rejection::new(Reason::WrongLength, message))
    }

    /// Puts a value where it is wanted.
    #[inline]
    fn put(&mut self, node: &Node, value: Value<'_>) -> Result<(), Rejection> {
        let row = &*self.row;
        let counts = |feature: usize| !node.is_alias || Gap::of(row[feature]) == Some(Gap::Missing);
        if let Some(feature) = node.feature.filter(|&feature| !self.is_array && counts(feature)) {
            self.row[feature] = match (value, &node.kind) {
                (Value::Symbol(symbol), Kind::Enum(symbols)) => symbols[symbol].value,
                (value, _) => self.row_value(node, feature, value),
            };
        }
        match node.field {
            None => Ok(()),
            Some(field) => {
                self.fields[field] = self.field(node, value)?;
                Ok(())
            }
        }
    }

    #[inline]
    fn row_value(&mut self, node: &Node, feature: usize, value: Value<'_>) -> f64 {
        let features = self.features;
        match value {
            Value::Double(number) => features.double(feature, number),
            Value::Integer(number) => features.integer(feature, number),
            Value::Moment(number, unit) => {
                let seconds = features.time(feature, unit.seconds(number));
                if seconds.is_nan() { features.integer(feature, number) } else { seconds }
            }
            Value::Single(number) => features.single(feature, number),
            Value::Null => Gap::Missing.value(),
            Value::Boolean(boolean) => features.boolean(feature, boolean),
            Value::Text(text) | Value::Bytes(text) => features.text(feature, text),
            Value::Symbol(symbol) => features.text(feature, symbol_name(node, symbol).as_bytes()),
            Value::Decimal(bytes, scale) => {
                // A category is called as the number is written, or is the same number.
                self.scratch.clear();
                decimal::write(bytes, scale, self.scratch);
                let value = features.text(feature, self.scratch);
                if value.is_nan() {
                    features.double(feature, decimal::number(bytes, scale, self.scratch))
                } else {
                    value
                }
            }
            Value::Uuid(bytes) => features.text(feature, &uuid(bytes)),
            Value::Array => Gap::Array.value(),
            Value::Object => Gap::Object.value(),
        }
    }

    /// A value to be copied; nothing yet of one with parts.
    fn field(&mut self, node: &Node, value: Value<'_>) -> Result<FieldValue, Rejection> {
        Ok(match value {
            Value::Null => FieldValue::Null,
            Value::Boolean(boolean) => FieldValue::Boolean(boolean),
            Value::Integer(number) | Value::Moment(number, _) => FieldValue::Integer(number),
            Value::Single(number) => FieldValue::Single(number),
            Value::Double(number) => FieldValue::Double(number),
            Value::Text(text) => {
                utf8(text)?;
                let end = self.bytes.position();
                // The caller has bounded the payload.
                FieldValue::Text(Span { start: (end - text.len()) as u32, end: end as u32 })
            }
            Value::Array | Value::Object => FieldValue::Absent,
            value => {
                let before = self.texts.len();
                write_value(node, value, self.texts)?;
                self.written(before)?
            }
        })
    }

    /// What has been written since the texts had `before` bytes.
    fn written(&self, before: usize) -> Result<FieldValue, Rejection> {
        self.check_texts()?;
        Ok(written_since(before, self.texts))
    }

    fn check_texts(&self) -> Result<(), Rejection> {
        if self.texts.len() <= self.most_texts {
            return Ok(());
        }
        Err(Rejection::new(Reason::TooLarge, "its copied fields are far larger as JSON: copy fewer of them"))
    }

    /// Copies a value with parts, which began at `start`.
    #[cold]
    fn copy_parts(&mut self, field: usize, number: usize, start: usize) -> Result<(), Rejection> {
        let end = std::mem::replace(&mut self.bytes, Bytes::new(self.payload, start));
        // The values have been counted once.
        let budget = std::mem::replace(&mut self.budget, self.payload.len() + MAX_EMPTY);
        let before = self.texts.len();
        self.write_json(number, MAX_DEPTH)?;
        self.fields[field] = self.written(before)?;
        (self.bytes, self.budget) = (end, budget);
        Ok(())
    }

    /// Appends the next value to the texts as JSON.
    fn write_json(&mut self, number: usize, depth: usize) -> Result<(), Rejection> {
        let nodes = self.nodes;
        self.check_texts()?;
        match &nodes[number].kind {
            Kind::Union(branches) => {
                let branch = self.branch(branches)?;
                self.write_json(branch, depth)
            }
            Kind::Record(record) => {
                self.spend_on_empty(record)?;
                let depth = within(depth)?;
                self.texts.push(b'{');
                for (place, (name, node)) in record.fields.iter().enumerate() {
                    if place > 0 {
                        self.texts.push(b',');
                    }
                    write_quoted(name, self.texts);
                    self.texts.push(b':');
                    self.write_json(*node, depth)?;
                }
                self.texts.push(b'}');
                Ok(())
            }
            Kind::Array(item) => self.write_items(*item, false, depth),
            Kind::Map(value, _) => self.write_items(*value, true, depth),
            _ => {
                let value = self.value(number, depth)?;
                write_value(&nodes[number], value, self.texts)
            }
        }
    }

    fn write_items(&mut self, item: usize, has_keys: bool, depth: usize) -> Result<(), Rejection> {
        let depth = within(depth)?;
        let mut is_first = true;
        self.texts.push(if has_keys { b'{' } else { b'[' });
        while let Some(block) = self.bytes.block()? {
            for _ in 0..block.items {
                if !std::mem::replace(&mut is_first, false) {
                    self.texts.push(b',');
                }
                if has_keys {
                    write_quoted(utf8(self.bytes.sized()?)?, self.texts);
                    self.texts.push(b':');
                }
                self.write_json(item, depth)?;
            }
        }
        self.texts.push(if has_keys { b'}' } else { b']' });
        Ok(())
    }

    /// The next value with its node, where a union is the one of its branch.
    fn value_of_branch(&mut self, number: usize, depth: usize) -> Result<(&'a Node, Value<'a>), Rejection> {
        let nodes = self.nodes;
        let number = match &nodes[number].kind {
            Kind::Union(branches) => self.branch(branches)?,
            _ => number,
        };
        Ok((&nodes[number], self.value(number, depth)?))
    }

    /// The next value. What is within one with parts is skipped.
    #[inline]
    fn value(&mut self, number: usize, depth: usize) -> Result<Value<'a>, Rejection> {
        let nodes = self.nodes;
        Ok(match &nodes[number].kind {
            Kind::Double => Value::Double(self.bytes.double()?),
            Kind::Long => Value::Integer(self.bytes.long()?),
            Kind::Int => Value::Integer(self.bytes.int()?),
            Kind::Moment(TimeUnit::Days) => Value::Moment(self.bytes.int()?, TimeUnit::Days),
            &Kind::Moment(unit) => Value::Moment(self.bytes.long()?, unit),
            Kind::Rounded => Value::Single(self.bytes.long()? as f32),
            Kind::Float => Value::Single(self.bytes.single()?),
            Kind::Text => Value::Text(self.bytes.sized()?),
            Kind::Null => {
                self.spend()?;
                Value::Null
            }
            Kind::Boolean => Value::Boolean(self.bytes.boolean()?),
            Kind::Bytes => Value::Bytes(self.bytes.sized()?),
            &Kind::Fixed(size) => Value::Bytes(self.fixed(size)?),
            Kind::Uuid => Value::Uuid(self.bytes.take(16)?),
            &Kind::Decimal { size: None, scale } => Value::Decimal(self.bytes.sized()?, scale),
            &Kind::Decimal { size: Some(size), scale } => Value::Decimal(self.fixed(size)?, scale),
            Kind::Enum(symbols) => Value::Symbol(self.bytes.choice(symbols.len(), "symbol of an enum")?),
            Kind::Union(branches) => {
                let branch = self.branch(branches)?;
                return self.value(branch, depth);
            }
            Kind::Array(_) => {
                self.skip(number, depth)?;
                Value::Array
            }
            Kind::Map(..) | Kind::Record(_) => {
                self.skip(number, depth)?;
                Value::Object
            }
        })
    }

    /// Steps over a value of which nothing is wanted.
    fn skip(&mut self, number: usize, depth: usize) -> Result<(), Rejection> {
        let nodes = self.nodes;
        match &nodes[number].kind {
            Kind::Record(record) => {
                self.spend_on_empty(record)?;
                let depth = within(depth)?;
                record.fields.iter().try_for_each(|(_, node)| self.skip(*node, depth))
            }
            Kind::Union(branches) => {
                let branch = self.branch(branches)?;
                self.skip(branch, depth)
            }
            &Kind::Array(item) => self.skip_items(item, false, within(depth)?),
            &Kind::Map(value, _) => self.skip_items(value, true, within(depth)?),
            _ => self.value(number, depth).map(drop),
        }
    }

    fn skip_items(&mut self, item: usize, has_keys: bool, depth: usize) -> Result<(), Rejection> {
        while let Some(block) = self.bytes.block()? {
            if let Some(size) = block.bytes {
                self.bytes.take(size)?;
                continue;
            }
            for _ in 0..block.items {
                if has_keys {
                    self.bytes.sized()?;
                }
                self.skip(item, depth)?;
            }
        }
        Ok(())
    }

    fn branch(&mut self, branches: &[usize]) -> Result<usize, Rejection> {
        Ok(branches[self.bytes.choice(branches.len(), "branch of a union")?])
    }

    fn fixed(&mut self, size: usize) -> Result<&'a [u8], Rejection> {
        if size == 0 {
            self.spend()?;
        }
        self.bytes.take(size)
    }

    fn spend_on_empty(&mut self, record: &Record) -> Result<(), Rejection> {
        if record.fields.is_empty() { self.spend() } else { Ok(()) }
    }

    /// Counts a value without bytes: how many there are must be bounded too. Every other value has a byte, or such a value
    /// within.
    #[inline]
    fn spend(&mut self) -> Result<(), Rejection> {
        self.budget = self.budget.checked_sub(1).ok_or_else(|| malformed("too many values without bytes".into()))?;
        Ok(())
    }
}

/// The depth that is left within a value.
#[inline]
fn within(depth: usize) -> Result<usize, Rejection> {
    depth.checked_sub(1).ok_or_else(|| malformed(format!("values are nested more than {MAX_DEPTH} deep")))
}

fn symbol_name(node: &Node, symbol: usize) -> &str {
    match &node.kind {
        Kind::Enum(symbols) => &symbols[symbol].name,
        _ => unreachable!("the node of a symbol is that of an enum"),
    }
}

/// Appends a value without parts as JSON.
fn write_value(node: &Node, value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Rejection> {
    let value = match value {
        Value::Null | Value::Array | Value::Object => FieldValue::Null,
        Value::Boolean(boolean) => FieldValue::Boolean(boolean),
        Value::Integer(number) | Value::Moment(number, _) => FieldValue::Integer(number),
        Value::Single(number) => FieldValue::Single(number),
        Value::Double(number) => FieldValue::Double(number),
        Value::Text(text) => return utf8(text).map(|text| write_quoted(text, out)),
        Value::Bytes(bytes) => {
            write_base64(bytes, out);
            return Ok(());
        }
        Value::Decimal(bytes, scale) => {
            decimal::write(bytes, scale, out);
            return Ok(());
        }
        Value::Uuid(bytes) => return utf8(&uuid(bytes)).map(|text| write_quoted(text, out)),
        Value::Symbol(symbol) => {
            write_quoted(symbol_name(node, symbol), out);
            return Ok(());
        }
    };
    Fields { payload: &[], texts: &[], values: &[] }.write_json(value, out);
    Ok(())
}

/// 16 bytes as RFC 9562 writes them.
fn uuid(bytes: &[u8]) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (place, byte) in bytes.iter().enumerate().take(16) {
        if matches!(place, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 15)];
        at += 2;
    }
    text
}

#[cold]
fn wrong_type(path: &str, value: Value<'_>) -> Rejection {
    let (path, found) = (shown(path), value.as_str());
    Rejection::new(Reason::WrongType, format!("{path}: expected a record, a map or an array, found {found}"))
}

//! From a schema and what is wanted of its records to nodes.
//!
//! Each place at which something is wanted has a node of its own. Values of a named type in which nothing is wanted share
//! one, so that a schema that refers to itself makes finitely many.

use std::collections::HashMap;
use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, RecordField, RecordSchema, UuidSchema};
use serde_json::Value as Json;

use crate::codec::CodecError;
use crate::codec::features::Features;
use crate::codec::wanted::WantedNode;
use crate::printable::listed;
use crate::record::Gap;

/// More nodes would come of a schema only if it was made to.
const MAX_NODES: usize = 1 << 20;

/// How the records of a schema are read.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) nodes: Vec<Node>,
    pub(super) root: usize,
    /// By feature: whether a record can have it.
    pub(super) has_feature: Vec<bool>,
}

/// How the values at one place are read.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// The feature that the value is.
    pub(super) feature: Option<usize>,
    /// The field that is copied from here.
    pub(super) field: Option<usize>,
    /// Whether an array is the features in order.
    pub(super) is_positional: bool,
    /// The dotted path, if the features are here or within.
    pub(super) step: Option<Arc<str>>,
    /// Whether something is wanted here or within.
    pub(super) is_wanted: bool,
}

/// Of what type the values are, and how they are encoded.
#[derive(Debug)]
pub(super) enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    /// 16 bytes that are written as text.
    Uuid,
    /// A whole number in so many bytes, or in as many as come, and how many of its digits come after the point.
    Decimal {
        size: Option<usize>,
        scale: usize,
    },
    Enum(Vec<Symbol>),
    Array(usize),
    /// The node of a value whose key isn't wanted, and those of others by key.
    Map(usize, Vec<(Box<[u8]>, usize)>),
    Union(Vec<usize>),
    Record(Record),
}

/// A symbol of an enum.
#[derive(Debug)]
pub(super) struct Symbol {
    pub(super) name: Box<str>,
    /// The row value, where the enum is a feature.
    pub(super) value: f64,
}

#[derive(Debug, Default)]
pub(super) struct Record {
    /// In the order of the schema.
    pub(super) fields: Vec<(Box<str>, usize)>,
    /// The row values of features that the writer doesn't have and the reader has a default for.
    pub(super) defaults: Vec<(usize, f64)>,
    /// The same of copied fields, as JSON.
    pub(super) default_fields: Vec<(usize, Box<[u8]>)>,
}

impl Plan {
    /// A plan for records that `writer` wrote. Features and fields are found by the writer's names and aliases; with a
    /// `reader` by its names and aliases too, and its defaults stand in for fields that the writer doesn't have.
    pub(super) fn new(
        writer: &Schema,
        reader: Option<&Schema>,
        wanted: &WantedNode,
        features: &Features,
    ) -> Result<Plan, CodecError> {
        let mut compiler = Compiler {
            names: names_of(writer),
            reader_names: reader.map(names_of).unwrap_or_default(),
            features,
            nodes: Vec::new(),
            shared: HashMap::new(),
            has_feature: vec![false; features.len()],
        };
        let root = compiler.add(writer, reader, Some(wanted))?;
        Ok(Plan { nodes: compiler.nodes, root, has_feature: compiler.has_feature })
    }

    /// The fields of a record.
    pub(super) fn describe(&self) -> String {
        match &self.nodes[self.root].kind {
            Kind::Record(record) => {
                format!("the schema has {}", listed(record.fields.iter().map(|(name, _)| name.as_ref())))
            }
            _ => "the schema isn't a record".into(),
        }
    }
}

/// The named types within a schema, by their full names.
type Names<'s> = HashMap<String, &'s Schema>;

fn names_of(schema: &Schema) -> Names<'_> {
    let mut names = Names::new();
    collect(schema, &mut names);
    names
}

fn collect<'s>(schema: &'s Schema, names: &mut Names<'s>) {
    if let Some(name) = name_of(schema) {
        names.insert(name, schema);
    }
    match schema {
        Schema::Record(record) => record.fields.iter().for_each(|field| collect(&field.schema, names)),
        Schema::Array(array) => collect(&array.items, names),
        Schema::Map(map) => collect(&map.types, names),
        Schema::Union(union) => union.variants().iter().for_each(|variant| collect(variant, names)),
        _ => {}
    }
}

/// The full name of a type that has one. The parser has completed it.
fn name_of(schema: &Schema) -> Option<String> {
    Some(match schema {
        Schema::Record(record) => record.name.fullname(None),
        Schema::Enum(symbols) => symbols.name.fullname(None),
        Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => {
            fixed.name.fullname(None)
        }
        Schema::Decimal(decimal) => match &decimal.inner {
            InnerDecimalSchema::Fixed(fixed) => fixed.name.fullname(None),
            InnerDecimalSchema::Bytes => return None,
        },
        _ => return None,
    })
}

fn resolve<'s>(names: &Names<'s>, schema: &'s Schema) -> Result<&'s Schema, CodecError> {
    let Schema::Ref { name } = schema else { return Ok(schema) };
    let name = name.fullname(None);
    let unknown = || CodecError::Schema(format!("it refers to {name:?}, which it doesn't define"));
    names.get(&name).copied().ok_or_else(unknown)
}

struct Compiler<'s> {
    names: Names<'s>,
    reader_names: Names<'s>,
    features: &'s Features,
    nodes: Vec<Node>,
    /// By full name: the nodes of types in which nothing is wanted.
    shared: HashMap<String, usize>,
    has_feature: Vec<bool>,
}

impl<'s> Compiler<'s> {
    /// Adds the node of a place, and all within. Returns its number.
    fn add(
        &mut self,
        schema: &'s Schema,
        reader: Option<&'s Schema>,
        wanted: Option<&WantedNode>,
    ) -> Result<usize, CodecError> {
        let schema = resolve(&self.names, schema)?;
        let reader = reader.map(|reader| resolve(&self.reader_names, reader)).transpose()?;
        let shared_name = if wanted.is_none() { name_of(schema) } else { None };
        if let Some(&node) = shared_name.as_ref().and_then(|name| self.shared.get(name)) {
            return Ok(node);
        }
        if self.nodes.len() == MAX_NODES {
            return Err(CodecError::Schema(format!("it has more than {MAX_NODES} places")));
        }
        let number = self.nodes.len();
        self.nodes.push(Node {
            kind: Kind::Null,
            feature: wanted.and_then(|wanted| wanted.feature),
            field: wanted.and_then(|wanted| wanted.field),
            is_positional: wanted.is_some_and(|wanted| wanted.is_positional),
            step: wanted.and_then(|wanted| wanted.step.as_deref()).map(Arc::from),
            is_wanted: wanted.is_some(),
        });
        if let Some(name) = shared_name {
            self.shared.insert(name, number);
        }
        if let Some(feature) = wanted.and_then(|wanted| wanted.feature) {
            self.has_feature[feature] = true;
        }
        self.nodes[number].kind = self.kind(schema, reader, wanted)?;
        Ok(number)
    }

    fn kind(
        &mut self,
        schema: &'s Schema,
        reader: Option<&'s Schema>,
        wanted: Option<&WantedNode>,
    ) -> Result<Kind, CodecError> {
        Ok(match schema {
            Schema::Null => Kind::Null,
            Schema::Boolean => Kind::Boolean,
            Schema::Int | Schema::Date | Schema::TimeMillis => Kind::Int,
            Schema::Long
            | Schema::TimeMicros
            | Schema::TimestampMillis
            | Schema::TimestampMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => Kind::Long,
            Schema::Float => Kind::Float,
            Schema::Double => Kind::Double,
            Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => Kind::Bytes,
            Schema::String | Schema::Uuid(UuidSchema::String) => Kind::Text,
            Schema::Uuid(UuidSchema::Fixed(_)) => Kind::Uuid,
            Schema::Fixed(fixed) | Schema::Duration(fixed) => Kind::Fixed(fixed.size),
            Schema::Decimal(decimal) => {
                let size = match &decimal.inner {
                    InnerDecimalSchema::Bytes => None,
                    InnerDecimalSchema::Fixed(fixed) => Some(fixed.size),
                };
                Kind::Decimal { size, scale: decimal.scale }
            }
            Schema::Enum(symbols) => {
                let feature = wanted.and_then(|wanted| wanted.feature);
                let value = |name: &str| feature.map_or(0.0, |feature| self.features.text(feature, name.as_bytes()));
                let symbol = |name: &String| Symbol { name: name.as_str().into(), value: value(name) };
                Kind::Enum(symbols.symbols.iter().map(symbol).collect())
            }
            Schema::Array(array) => {
                if wanted.is_some_and(|wanted| wanted.is_positional) {
                    self.has_feature.fill(true);
                }
                Kind::Array(self.add(&array.items, None, None)?)
            }
            Schema::Map(map) => {
                let types = match reader {
                    Some(Schema::Map(reader)) => Some(&*reader.types),
                    _ => None,
                };
                let mut members = Vec::new();
                for (key, member) in wanted.into_iter().flat_map(|wanted| &wanted.members) {
                    members.push((key.as_bytes().into(), self.add(&map.types, types, Some(member))?));
                }
                Kind::Map(self.add(&map.types, None, None)?, members)
            }
            Schema::Union(union) => {
                let nodes = union.variants().iter().map(|variant| self.add(variant, reader, wanted));
                Kind::Union(nodes.collect::<Result<_, _>>()?)
            }
            Schema::Record(record) => Kind::Record(self.record(record, reader, wanted)?),
            Schema::Ref { .. } => unreachable!("resolved"),
        })
    }

    fn record(
        &mut self,
        record: &'s RecordSchema,
        reader: Option<&'s Schema>,
        wanted: Option<&WantedNode>,
    ) -> Result<Record, CodecError> {
        let mut plan = Record::default();
        let reader = reader.and_then(|reader| record_in(reader, &self.reader_names));
        // By field of the writer: what is wanted of it, and the reader's schema of it.
        let mut found: Vec<Option<(WantedNode, Option<&'s Schema>)>> = vec![None; record.fields.len()];
        let members = || wanted.into_iter().flat_map(|wanted| &wanted.members);
        // What is called so comes first: two names may lead to one field.
        let has = |name: &str| record.fields.iter().any(|field| field.name == name);
        for (name, member) in members().filter(|(name, _)| has(name)).chain(members().filter(|(name, _)| !has(name))) {
            let field = reader.and_then(|reader| field_named(&reader.fields, name));
            let mut names = vec![name.as_str()];
            if let Some(field) = field {
                names.insert(0, &field.name);
                names.extend(field.aliases.iter().map(String::as_str));
            }
            match (names.iter().find_map(|name| place_named(&record.fields, name)), field) {
                (Some(place), _) => {
                    let before = found[place].take().map(|(before, _)| before).unwrap_or_default();
                    found[place] = Some((before.merged(member), field.map(|field| &field.schema)));
                }
                (None, Some(RecordField { default: Some(default), .. })) => self.default(default, member, &mut plan),
                (None, _) => {}
            }
        }
        for (field, found) in record.fields.iter().zip(found) {
            let (wanted, reader) = found.unzip();
            let node = self.add(&field.schema, reader.flatten(), wanted.as_ref())?;
            plan.fields.push((field.name.as_str().into(), node));
        }
        Ok(plan)
    }

    /// What a default of the reader gives.
    fn default(&mut self, default: &Json, wanted: &WantedNode, plan: &mut Record) {
        if let Some(feature) = wanted.feature {
            self.has_feature[feature] = true;
            plan.defaults.push((feature, self.row_value(feature, default)));
        }
        if let Some(field) = wanted.field {
            plan.default_fields.push((field, default.to_string().into_bytes().into()));
        }
        for (name, member) in &wanted.members {
            if let Some(within) = default.get(name) {
                self.default(within, member, plan);
            }
        }
    }

    fn row_value(&self, feature: usize, value: &Json) -> f64 {
        match value {
            Json::Null => Gap::Missing.value(),
            Json::Bool(boolean) => self.features.boolean(feature, *boolean),
            Json::Number(number) => match number.as_i64() {
                Some(number) => self.features.integer(feature, number),
                None => self.features.double(feature, number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => self.features.text(feature, text.as_bytes()),
            Json::Array(_) => Gap::Array.value(),
            Json::Object(_) => Gap::Object.value(),
        }
    }
}

/// The record that a reader's schema is, or has as a branch.
fn record_in<'s>(reader: &'s Schema, names: &Names<'s>) -> Option<&'s RecordSchema> {
    match resolve(names, reader).ok()? {
        Schema::Record(record) => Some(record),
        Schema::Union(union) => union.variants().iter().find_map(|variant| match resolve(names, variant).ok()? {
            Schema::Record(record) => Some(record),
            _ => None,
        }),
        _ => None,
    }
}

/// The field of this name, or else the one with this alias.
fn field_named<'f>(fields: &'f [RecordField], name: &str) -> Option<&'f RecordField> {
    place_named(fields, name).map(|place| &fields[place])
}

fn place_named(fields: &[RecordField], name: &str) -> Option<usize> {
    let by_name = fields.iter().position(|field| field.name == name);
    by_name.or_else(|| fields.iter().position(|field| field.aliases.iter().any(|alias| alias == name)))
}

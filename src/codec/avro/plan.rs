//! From a schema and what is wanted of its records to nodes.
//!
//! Each place at which something is wanted has a node of its own. Values of a named type in which nothing is wanted share
//! one, so that a schema that refers to itself makes finitely many.

mod defaults;

use std::collections::HashMap;
use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::schema::{EnumSchema, InnerDecimalSchema, RecordField, RecordSchema, UuidSchema};

use super::decimal::MAX_SCALE;
use super::schema::DEFAULT;
use crate::codec::CodecError;
use crate::codec::features::Features;
use crate::codec::wanted::WantedNode;
use crate::printable::listed;
use crate::record::Gap;

/// Nodes and symbols of a plan: more come of a schema only if it was made to.
const MAX_PLACES: usize = 1 << 18;

/// How deep a plan is nested: types may refer to others, and so be nested deeper than the text of their schema.
const MAX_DEPTH: usize = 256;

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
    /// Whether a value of the feature's own name counts more.
    pub(super) is_alias: bool,
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
    /// A whole number where the reader has one of 32 bits of floating point.
    Rounded,
    /// A time since 1970.
    Moment(TimeUnit),
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

/// What a time is counted in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum TimeUnit {
    Days,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl TimeUnit {
    pub(super) fn seconds(self, number: i64) -> f64 {
        match self {
            TimeUnit::Days => number as f64 * 86_400.0,
            TimeUnit::Milliseconds => number as f64 / 1e3,
            TimeUnit::Microseconds => number as f64 / 1e6,
            TimeUnit::Nanoseconds => number as f64 / 1e9,
        }
    }
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
    /// `reader` by its names and aliases too, and its defaults stand in for fields that the writer doesn't have. The writer may
    /// name types of the `references`.
    pub(super) fn new(
        writer: &Schema,
        references: &[Schema],
        reader: Option<&Schema>,
        wanted: &WantedNode,
        features: &Features,
    ) -> Result<Plan, CodecError> {
        let mut names = names_of(writer);
        references.iter().for_each(|schema| collect(schema, &mut names));
        let mut compiler = Compiler {
            names,
            reader_names: reader.map(names_of).unwrap_or_default(),
            features,
            nodes: Vec::new(),
            places: 0,
            depth: 0,
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
        for alias in schema.aliases().into_iter().flatten() {
            names.entry(alias.fullname(None)).or_insert(schema);
        }
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
    /// What counts towards [`MAX_PLACES`].
    places: usize,
    /// Within how many nodes the next one is.
    depth: usize,
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
        let symbols = if let Schema::Enum(symbols) = schema { symbols.symbols.len() } else { 0 };
        self.count(1 + symbols)?;
        let number = self.nodes.len();
        self.nodes.push(Node {
            kind: Kind::Null,
            feature: wanted.and_then(|wanted| wanted.feature),
            is_alias: wanted.is_some_and(|wanted| wanted.is_alias),
            field: wanted.and_then(|wanted| wanted.field),
            is_positional: wanted.is_some_and(|wanted| wanted.is_positional),
            step: wanted.and_then(|wanted| wanted.step.as_deref()).map(Arc::from),
            is_wanted: wanted.is_some(),
        });
        if let Some(name) = shared_name {
            self.shared.insert(name, number);
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(CodecError::Schema(format!("its types are nested more than {MAX_DEPTH} deep")));
        }
        self.nodes[number].kind = self.kind(schema, reader, wanted)?;
        self.depth -= 1;
        if let Some(feature) = wanted.and_then(|wanted| wanted.feature) {
            self.has_feature[feature] |= self.can_be(number, feature);
        }
        Ok(number)
    }

    fn count(&mut self, places: usize) -> Result<(), CodecError> {
        self.places += places;
        if self.places > MAX_PLACES {
            return Err(CodecError::Schema(format!("it has more than {MAX_PLACES} places")));
        }
        Ok(())
    }

    /// Whether a value of this node can be the value of a feature.
    fn can_be(&self, node: usize, feature: usize) -> bool {
        match &self.nodes[node].kind {
            Kind::Null | Kind::Array(_) | Kind::Map(..) | Kind::Record(_) => false,
            Kind::Bytes | Kind::Text | Kind::Fixed(_) | Kind::Uuid | Kind::Enum(_) => {
                // What depends on the text is for each record to show.
                Gap::of(self.features.text(feature, b"1")) != Some(Gap::String)
            }
            Kind::Boolean => {
                Gap::of(self.features.boolean(feature, true)) != Some(Gap::Boolean)
                    || Gap::of(self.features.boolean(feature, false)) != Some(Gap::Boolean)
            }
            Kind::Union(branches) => branches.iter().any(|branch| self.can_be(*branch, feature)),
            _ => true,
        }
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
            Schema::Int | Schema::Long if reader.is_some_and(|reader| self.is_single(schema, reader)) => Kind::Rounded,
            Schema::Int | Schema::TimeMillis => Kind::Int,
            Schema::Long | Schema::TimeMicros => Kind::Long,
            Schema::Date => Kind::Moment(TimeUnit::Days),
            Schema::TimestampMillis | Schema::LocalTimestampMillis => Kind::Moment(TimeUnit::Milliseconds),
            Schema::TimestampMicros | Schema::LocalTimestampMicros => Kind::Moment(TimeUnit::Microseconds),
            Schema::TimestampNanos | Schema::LocalTimestampNanos => Kind::Moment(TimeUnit::Nanoseconds),
            Schema::Float => Kind::Float,
            Schema::Double => Kind::Double,
            Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => Kind::Bytes,
            Schema::String | Schema::Uuid(UuidSchema::String) => Kind::Text,
            Schema::Uuid(UuidSchema::Fixed(_)) => Kind::Uuid,
            Schema::Fixed(fixed) | Schema::Duration(fixed) => Kind::Fixed(fixed.size),
            Schema::Decimal(decimal) if decimal.scale > MAX_SCALE => {
                return Err(CodecError::Schema(format!("a decimal has more than {MAX_SCALE} digits after the point")));
            }
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
                let reader = reader.and_then(|reader| enum_in(reader, &self.reader_names));
                let symbol = |name: &String| {
                    let name = resolved_symbol(name, reader);
                    Symbol { name: name.into(), value: value(name) }
                };
                Kind::Enum(symbols.symbols.iter().map(symbol).collect())
            }
            Schema::Array(array) => {
                let item = self.add(&array.items, None, None)?;
                if wanted.is_some_and(|wanted| wanted.is_positional) {
                    for feature in 0..self.features.len() {
                        self.has_feature[feature] |= self.can_be(item, feature);
                    }
                }
                Kind::Array(item)
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
                (None, Some(field)) => {
                    if let Some(default) = field.custom_attributes.get(DEFAULT) {
                        self.default(&field.schema, default, member, &mut plan)?;
                    }
                }
                (None, None) => {}
            }
        }
        for (field, found) in record.fields.iter().zip(found) {
            let (wanted, reader) = found.unzip();
            let node = self.add(&field.schema, reader.flatten(), wanted.as_ref())?;
            plan.fields.push((field.name.as_str().into(), node));
        }
        Ok(plan)
    }

    /// Whether a reader has 32 bits of floating point for the whole numbers of a writer. Of a union counts the branch of the
    /// writer's type, and then the first one that takes its numbers.
    fn is_single(&self, writer: &Schema, reader: &'s Schema) -> bool {
        let Schema::Union(union) = reader else { return matches!(reader, Schema::Float) };
        let variants = || union.variants().iter().filter_map(|variant| resolve(&self.reader_names, variant).ok());
        let is_same =
            |reader: &Schema| matches!((writer, reader), (Schema::Int, Schema::Int) | (Schema::Long, Schema::Long));
        let takes = |reader: &&Schema| matches!(reader, Schema::Long | Schema::Float | Schema::Double);
        !variants().any(is_same) && matches!(variants().find(takes), Some(Schema::Float))
    }
}

/// What a reader makes of a symbol: its default for those that it doesn't have.
fn resolved_symbol<'n>(name: &'n str, reader: Option<&'n EnumSchema>) -> &'n str {
    let lacking = reader.filter(|reader| !reader.symbols.iter().any(|symbol| symbol == name));
    lacking.and_then(|reader| reader.default.as_deref()).unwrap_or(name)
}

/// The record that a reader's schema is, or has as a branch.
fn record_in<'s>(reader: &'s Schema, names: &Names<'s>) -> Option<&'s RecordSchema> {
    find_branch(reader, names, |schema| if let Schema::Record(record) = schema { Some(record) } else { None })
}

/// The enum that a reader's schema is, or has as a branch.
fn enum_in<'s>(reader: &'s Schema, names: &Names<'s>) -> Option<&'s EnumSchema> {
    find_branch(reader, names, |schema| if let Schema::Enum(symbols) = schema { Some(symbols) } else { None })
}

fn find_branch<'s, T>(
    reader: &'s Schema,
    names: &Names<'s>,
    find: impl Fn(&'s Schema) -> Option<&'s T>,
) -> Option<&'s T> {
    match resolve(names, reader).ok()? {
        Schema::Union(union) => union.variants().iter().find_map(|variant| find(resolve(names, variant).ok()?)),
        schema => find(schema),
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

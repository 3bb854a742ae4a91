//! A route: input topics, a model, an output topic, a dead-letter topic.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, IntoDeserializer as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::codec::{self, CodecError, DecodeOptions, Format, Framing, NanPolicy};
use crate::model::decision::check_threshold;
use crate::model::reference::ModelRef;
use crate::model::signature::MIN_FEATURES;
use crate::score;

/// A `[[route]]` section.
#[derive(Clone, Debug, Deserialize)]
pub struct RouteConfig {
    /// The name, which is also the metrics' label.
    pub name: String,
    /// The model that scores.
    pub model: ModelRef,
    /// Where the records come from.
    pub input: Input,
    /// Where the predictions go.
    pub output: Output,
    /// Where the rejected records go.
    pub dead_letter: DeadLetter,
    /// From which probability on the positive class is predicted, in place of the model's own threshold.
    #[serde(default, deserialize_with = "model_or_number")]
    pub threshold: Option<f64>,
    /// How the features are compared with the training data.
    #[serde(default)]
    pub drift: RouteDrift,
}

/// Where the records of a route come from, and how they are read.
#[derive(Clone, Debug, Deserialize)]
pub struct Input {
    /// The topics.
    #[serde(deserialize_with = "one_or_more")]
    pub topics: Vec<String>,
    /// The format of their values.
    #[serde(default = "json")]
    pub format: Format,
    /// The dotted path of the features within a record; empty: the top level.
    #[serde(default)]
    pub features: String,
    /// Whether a number may come as a string.
    #[serde(default)]
    pub numeric_strings: bool,
    /// What becomes of `NaN`.
    #[serde(default)]
    pub nan: NanPolicy,
    /// Of a CSV line, the names of its columns.
    #[serde(default, deserialize_with = "one_or_more")]
    pub columns: Vec<String>,
    /// What separates them.
    #[serde(default = "comma")]
    pub delimiter: char,
    /// The text of the file with the schema of the records.
    #[serde(default, deserialize_with = "text_of_file")]
    pub schema: Option<Arc<str>>,
    /// The text of the file with a schema whose aliases and defaults count too.
    #[serde(default, deserialize_with = "text_of_file")]
    pub reader_schema: Option<Arc<str>>,
    /// What comes before each record.
    #[serde(default)]
    pub framing: Framing,
    /// The largest value that is read, in bytes.
    #[serde(default = "one_mebibyte")]
    pub max_bytes: usize,
    /// The share of the model's features that a record must have.
    #[serde(default = "half")]
    pub min_features: f64,
}

/// Where the predictions of a route go, and what they say.
#[derive(Clone, Debug, Deserialize)]
pub struct Output {
    /// The topic.
    pub topic: String,
    /// The format of its values.
    #[serde(default = "json")]
    pub format: Format,
    /// Members of the input that are copied.
    #[serde(default = "id", deserialize_with = "one_or_more")]
    pub fields: Vec<String>,
    /// Headers that are added to the input's.
    #[serde(default, deserialize_with = "one_or_more")]
    pub headers: Vec<OutputHeader>,
}

/// Where the rejected records of a route go.
#[derive(Clone, Debug, Deserialize)]
pub struct DeadLetter {
    /// The topic.
    pub topic: String,
    /// The largest share of rejections that is allowed: over it, the route pauses. 1: it never does.
    #[serde(default = "all")]
    pub max_ratio: f64,
    /// Over how many seconds that share is taken.
    #[serde(default = "a_minute")]
    pub window_s: u64,
}

/// How the features of a route are compared with the training data. Features go by the label `feature` of the metrics,
/// so `prediction` is one of them.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RouteDrift {
    /// Features that aren't compared.
    #[serde(default, deserialize_with = "one_or_more")]
    pub exclude: Vec<String>,
    /// The index that counts as drift, for features that don't take `monitor.drift_threshold`.
    #[serde(default)]
    pub threshold: BTreeMap<String, f64>,
}

impl RouteDrift {
    /// Whether the feature isn't compared.
    pub fn excludes(&self, feature: &str) -> bool {
        self.exclude.iter().any(|excluded| excluded == feature)
    }
}

/// A header that a prediction can carry. None does by default: four of them cost a third to a half of the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum OutputHeader {
    /// The model's name.
    #[serde(rename = "weir-model")]
    Model,
    /// The model's version.
    #[serde(rename = "weir-version")]
    Version,
    /// The first characters of the bundle's sha256.
    #[serde(rename = "weir-digest")]
    Digest,
    /// `topic/partition/offset` of the input record.
    #[serde(rename = "weir-source")]
    Source,
}

impl OutputHeader {
    /// The header's name.
    pub fn as_str(self) -> &'static str {
        match self {
            OutputHeader::Model => "weir-model",
            OutputHeader::Version => "weir-version",
            OutputHeader::Digest => "weir-digest",
            OutputHeader::Source => "weir-source",
        }
    }
}

impl Input {
    fn check(&self, wrong: &mut dyn FnMut(String)) {
        let topics = &self.topics;
        if topics.is_empty() {
            wrong("input.topics is empty".into());
        }
        for (at, topic) in topics.iter().enumerate() {
            if topic.is_empty() || topic.starts_with('^') {
                wrong(format!("input topic {topic:?} can't be: name each topic, patterns aren't supported"));
            } else if !is_topic(topic) {
                wrong(format!("input.topics: {}", no_topic(topic)));
            } else if topics[..at].contains(topic) {
                wrong(format!("input.topics: {topic:?} is listed twice"));
            }
        }
        if !self.features.is_empty() && self.features.split('.').any(str::is_empty) {
            wrong(format!("input.features = {:?}: has a dot too many", self.features));
        }
        if self.max_bytes == 0 {
            wrong("input.max_bytes is 0: every record would be rejected".into());
        }
        if !(0.0..=1.0).contains(&self.min_features) {
            wrong(format!("input.min_features = {}: must be a share between 0 and 1", self.min_features));
        }
    }
}

impl RouteConfig {
    /// Adds what is wrong with this route to `mistakes`.
    pub fn check(&self, mistakes: &mut Vec<String>) {
        let name = &self.name;
        let mut wrong = |what: String| mistakes.push(format!("route {name:?}: {what}"));
        if name.trim().is_empty() || name.contains(char::is_control) {
            wrong("name: must be a text without control characters".into());
        }
        self.input.check(&mut wrong);
        if let Some(problem) = self.threshold.and_then(|threshold| check_threshold(threshold).err()) {
            wrong(format!("threshold: {problem}"));
        }
        for (key, topic) in [("output.topic", &self.output.topic), ("dead_letter.topic", &self.dead_letter.topic)] {
            if topic.is_empty() {
                wrong(format!("{key} is empty"));
            } else if !is_topic(topic) {
                wrong(format!("{key}: {}", no_topic(topic)));
            }
            if self.input.topics.contains(topic) {
                wrong(format!("{key} {topic:?} is also an input: its records would come round again"));
            }
        }
        let DeadLetter { max_ratio, window_s, .. } = self.dead_letter;
        if !(0.0..=1.0).contains(&max_ratio) {
            wrong(format!("dead_letter.max_ratio is {max_ratio}: it is a share, from 0 to 1"));
        }
        if !(1..=86_400).contains(&window_s) {
            wrong(format!("dead_letter.window_s is {window_s}: say 1 s to a day (86400)"));
        }
        if self.output.topic == self.dead_letter.topic {
            wrong(format!(
                "predictions and rejected records both go to {:?}: give them a topic each",
                self.output.topic
            ));
        }
        for (feature, &threshold) in self.drift.threshold.iter().filter(|(_, threshold)| !is_threshold(**threshold)) {
            wrong(format!("drift.threshold: {feature:?} = {threshold}: must be a number above 0"));
        }
        if let Err(error) = codec::check_options(self.input.format, &self.decode_options()) {
            wrong(format!("input.{error}"));
        }
        if self.output.format != Format::Json {
            wrong(format!("output.{}", CodecError::NotWritten(self.output.format)));
        }
        if let Err(error) = codec::validate_fields(&self.output.fields) {
            wrong(format!("output.fields: {error}"));
        }
        let headers = &self.output.headers;
        for (_, header) in headers.iter().enumerate().filter(|&(at, header)| headers[..at].contains(header)) {
            wrong(format!("output.headers: {:?} is listed twice", header.as_str()));
        }
    }

    /// The topics that this route produces to.
    pub fn outputs(&self) -> [&String; 2] {
        [&self.output.topic, &self.dead_letter.topic]
    }

    /// All topics that it needs.
    pub fn topics(&self) -> impl Iterator<Item = &String> {
        self.input.topics.iter().chain(self.outputs())
    }

    fn decode_options(&self) -> DecodeOptions {
        let input = self.input.clone();
        let Input { features, numeric_strings, nan, columns, delimiter, schema, reader_schema, framing, .. } = input;
        let delimiter = Some(delimiter).filter(|&delimiter| delimiter != comma());
        // A record without names has no member called `id`, which is the default.
        let fields = if self.input.format == Format::F32 { Vec::new() } else { self.output.fields.clone() };
        let na = Vec::new();
        DecodeOptions { features, numeric_strings, nan, fields, columns, delimiter, schema, reader_schema, framing, na }
    }

    /// How its records are read and written.
    pub fn score_options(&self) -> score::Options {
        score::Options {
            input: self.input.format,
            decode: self.decode_options(),
            max_bytes: self.input.max_bytes,
            min_features: self.input.min_features,
            threshold: self.threshold,
            output: self.output.format,
        }
    }
}

/// Whether a topic can have this name: Kafka's rule.
fn is_topic(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        && !matches!(name, "." | "..")
}

fn no_topic(name: &str) -> String {
    format!("no topic can be called {name:?}: use 1 to 249 letters, digits, \".\", \"_\" and \"-\"")
}

/// Whether an index of drift can be compared with it.
pub(crate) fn is_threshold(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

/// A list, or the only element of one: `topics = "flights"` can mean nothing else.
pub(crate) fn one_or_more<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Vec<T>, D::Error> {
    struct List<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
            T::deserialize(text.into_deserializer()).map(|only| vec![only])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(list))
        }
    }

    value.deserialize_any(List(PhantomData))
}

/// What the file at a path says; nothing for an empty path.
fn text_of_file<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Arc<str>>, D::Error> {
    let path = String::deserialize(value)?;
    if path.is_empty() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path);
    text.map(|text| Some(text.into())).map_err(|error| de::Error::custom(format!("can't read {path}: {error}")))
}

/// A number, or `"model"` for none.
fn model_or_number<'de, D: Deserializer<'de>>(value: D) -> Result<Option<f64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected \"model\" or a number between 0 and 1")]
    enum Threshold {
        Number(f64),
        Text(String),
    }

    match Threshold::deserialize(value)? {
        Threshold::Number(number) => Ok(Some(number)),
        Threshold::Text(text) if text == "model" => Ok(None),
        Threshold::Text(text) => text.parse().map(Some).map_err(|_| {
            de::Error::custom(format!("threshold = {text:?}: write \"model\" or a number between 0 and 1"))
        }),
    }
}

fn json() -> Format {
    Format::Json
}

fn comma() -> char {
    ','
}

fn one_mebibyte() -> usize {
    1 << 20
}

fn half() -> f64 {
    MIN_FEATURES
}

fn all() -> f64 {
    1.0
}

fn a_minute() -> u64 {
    60
}

fn id() -> Vec<String> {
    vec!["id".into()]
}

//! Reading on behind a mistake: a value that is wrong is replaced by one that isn't, so that one run names all mistakes.

use std::collections::BTreeMap;

use config::{Value, ValueKind};
use serde_path_to_error::{Path, Segment};

use super::DEFAULTS;

/// What the names that stand in for wrong ones begin with; no mistake that says so is shown.
pub(super) const STAND_IN: &str = "weir-stand-in";

/// How alike two keys must be for one to be meant by the other, from 0 to 1.
const ALIKE: f64 = 0.6;

/// A value of each key: the defaults, and those of the route that the defaults describe in a comment. The keys of routes are
/// under `route[]`.
pub(super) fn examples() -> BTreeMap<String, Value> {
    let mut examples = BTreeMap::new();
    let route = DEFAULTS.lines().skip_while(|line| *line != "# [[route]]").filter_map(|line| line.strip_prefix('#'));
    for text in [DEFAULTS, &route.collect::<Vec<_>>().join("\n")] {
        let parsed =
            config::Config::builder().add_source(config::File::from_str(text, config::FileFormat::Toml)).build();
        if let Ok(Ok(table)) = parsed.map(|parsed| parsed.cache.into_table()) {
            table.into_iter().for_each(|(key, value)| gather(key, value, &mut examples));
        }
    }
    // There is no default that would be of use.
    examples.insert("kafka.brokers".into(), Value::from("localhost:9092"));
    // Of a table the one key that it must have.
    for (table, key) in [("input", "topics"), ("output", "topic"), ("dead_letter", "topic")] {
        if let Some(value) = examples.get(&format!("route[].{table}.{key}")).cloned() {
            examples.insert(format!("route[].{table}"), Value::from(config::Map::from([(key.to_owned(), value)])));
        }
    }
    examples
}

fn gather(path: String, value: Value, examples: &mut BTreeMap<String, Value>) {
    match value.kind {
        ValueKind::Table(table) if !table.is_empty() => {
            table.into_iter().for_each(|(key, value)| gather(format!("{path}.{key}"), value, examples));
        }
        ValueKind::Array(list) if path == "route" => {
            list.into_iter().for_each(|route| gather("route[]".into(), route, examples));
        }
        _ => {
            examples.insert(path, value);
        }
    }
}

/// The names along a path, up to a list.
pub(super) fn keys(path: &Path) -> Vec<String> {
    path.iter()
        .map_while(|segment| match segment {
            Segment::Map { key } => Some(key.clone()),
            _ => None,
        })
        .collect()
}

/// The last name of the field that serde misses.
pub(super) fn missing_field(reason: &str) -> Option<&str> {
    let (field, _) = reason.strip_prefix("missing configuration field \"")?.split_once('"')?;
    field.rsplit('.').next()
}

/// A reason without the key, which the message starts with, and without names of Rust's types.
pub(super) fn readable(reason: &str) -> String {
    let without_key = reason.rsplit_once(" for key `").and_then(|(reason, rest)| {
        let (_, source) = rest.split_once('`')?;
        Some(format!("{reason}{source}"))
    });
    let reason = without_key.unwrap_or_else(|| reason.to_owned());
    if let Some((_, value)) = reason.split_once(" does not have variant constructor ") {
        return format!("{value:?} is not one of the values that there are");
    }
    let reason = reason
        .replace("invalid type: sequence", "invalid type: list")
        .replace("invalid type: map", "invalid type: table");
    match reason.split_once(", expected struct ") {
        Some((problem, _)) => format!("{problem}, expected a table"),
        None => reason,
    }
}

/// The path of a key in a section, without the number of a route.
pub(super) fn generic(section: &str, keys: &[String]) -> String {
    let section = if section.starts_with("route[") { "route[]" } else { section };
    [section].into_iter().chain(keys.iter().map(String::as_str)).collect::<Vec<_>>().join(".")
}

/// What to write instead.
pub(super) fn advice(key: &str, example: Option<&Value>) -> String {
    let name = key.rsplit('.').next().unwrap_or(key);
    match example.and_then(|example| shown(&example.kind)) {
        Some(example) => format!("; write for instance {name} = {example}"),
        None => String::new(),
    }
}

fn shown(kind: &ValueKind) -> Option<String> {
    Some(match kind {
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Array(list) => {
            format!("[{}]", list.iter().map(|item| shown(&item.kind)).collect::<Option<Vec<_>>>()?.join(", "))
        }
        ValueKind::Table(table) if !table.is_empty() => {
            let entries = table.iter().map(|(key, value)| Some(format!("{key} = {}", shown(&value.kind)?)));
            format!("{{ {} }}", entries.collect::<Option<Vec<_>>>()?.join(", "))
        }
        ValueKind::Table(_) | ValueKind::Nil => return None,
        other => other.to_string(),
    })
}

/// What takes the place of a wrong value; `None` takes it away, and the default holds.
pub(super) fn stand_in(section: &str, key: &str, example: Option<Value>) -> Option<Value> {
    let name = || Value::from(format!("{STAND_IN}-{}-{}", section, key.replace(['[', ']', '.'], "-")));
    let table = |entries: &[(&str, Value)]| {
        let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        Some(Value::from(entries.collect::<config::Map<String, Value>>()))
    };
    match key {
        "route[].name" | "route[].output.topic" | "route[].dead_letter.topic" => Some(name()),
        "route[].model" => Some(Value::from(format!("{STAND_IN}@1"))),
        "route[].input.topics" => Some(Value::from(vec![name()])),
        "route[].input" => table(&[("topics", Value::from(vec![name()]))]),
        "route[].output" | "route[].dead_letter" => table(&[("topic", name())]),
        _ if key.starts_with("route[]") => None,
        _ => example,
    }
}

/// What takes the place of a whole section that isn't a table.
pub(super) fn whole(section: &str, examples: &BTreeMap<String, Value>) -> Value {
    let generic = generic(section, &[]);
    let members = examples.iter().filter_map(|(key, example)| {
        let name = key.strip_prefix(&generic)?.strip_prefix('.').filter(|name| !name.contains('.'))?;
        Some((name.to_owned(), stand_in(section, key, Some(example.clone()))?))
    });
    Value::from(members.collect::<config::Map<String, Value>>())
}

/// Puts a value in the place that the keys lead to, or takes away what is there; whether there is such a place.
pub(super) fn replace(value: &mut Value, keys: &[String], by: Option<Value>) -> bool {
    let ValueKind::Table(table) = &mut value.kind else { return false };
    match (keys, by) {
        ([], _) => false,
        ([last], Some(by)) => {
            table.insert(last.clone(), by);
            true
        }
        ([last], None) => table.remove(last).is_some(),
        ([first, rest @ ..], by) => table.get_mut(first).is_some_and(|inner| replace(inner, rest, by)),
    }
}

/// The name of the key or section that may be meant by one that there isn't: in the same section, and almost the same.
pub(super) fn nearest<'k>(key: &str, known: impl Iterator<Item = &'k String>) -> Option<&'k str> {
    let key = match key.split_once('[').zip(key.split_once(']')) {
        Some(((section, _), (_, rest))) => format!("{section}[]{rest}"),
        None => key.into(),
    };
    let (place, name) = key.rsplit_once('.').map_or(("", &*key), |(place, name)| (place, name));
    let beside = known.filter_map(|known| {
        let rest = if place.is_empty() { known } else { known.strip_prefix(place)?.strip_prefix('.')? };
        rest.split(['.', '[']).next()
    });
    let alike = beside.map(|other| (strsim::normalized_damerau_levenshtein(name, other), other));
    let alike = alike.filter(|(alike, _)| *alike >= ALIKE);
    alike.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, known)| known)
}

//! The chart's rules of alerts and of drift, and reading YAML and JSON.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::tools::{run_json, tool};

/// The rules of alerts and of drift, and those of the longer windows.
pub(crate) const RULE_FILES: [&str; 2] = ["helm/weir/rules/weir.yaml", "helm/weir/rules/windows.yaml"];

/// The rules of all groups.
pub(crate) fn rules() -> Vec<Value> {
    rule_groups(&RULE_FILES).iter().flat_map(|group| list(&group["rules"]).to_vec()).collect()
}

pub(crate) fn rule_groups(files: &[&str]) -> Vec<Value> {
    files.iter().flat_map(|file| list(&yaml_file(file)["groups"]).to_vec()).collect()
}

/// The names of weir's own metrics in the rules.
pub(crate) fn metrics_of_the_rules() -> BTreeSet<String> {
    let rules = rules();
    let words =
        rules.iter().flat_map(|rule| text(&rule["expr"]).split(|c: char| c != '_' && !c.is_ascii_alphanumeric()));
    words.filter(|word| word.starts_with("weir_")).map(str::to_owned).collect()
}

pub(crate) fn yaml_file(path: &str) -> Value {
    let mut documents = yaml(&read(path));
    assert_eq!(documents.len(), 1, "{path}");
    documents.remove(0)
}

/// The documents of a YAML text. PyYAML is there for kubernetes-validate anyway.
pub(crate) fn yaml(text: &str) -> Vec<Value> {
    const TO_JSON: &str =
        "import json, sys, yaml; json.dump([d for d in yaml.safe_load_all(sys.stdin) if d], sys.stdout)";
    let documents = run_json(Command::new(tool("python")).args(["-c", TO_JSON]), text.into());
    documents.as_array().unwrap().clone()
}

/// The project's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}"))
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("not an array: {value}"))
}

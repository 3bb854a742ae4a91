//! The order of the modules: each names only those of its own row and of the rows above it.

use super::{assert_none, code_of, files_under, read, sources};

/// From what needs nothing to what needs everything. Modules in one row may name each other. A part of a module that isn't
/// listed belongs to the module.
const ORDER: &str = "
    printable
    limits logging record repeat texts
    engine batch health
    model/decision model/evaluation model/preprocess model/reference model/signature model/target_scale
    monitor/drift
    model
    codec
    score
    route
    model/import model/onnx model/safetensors model/shrink
    train
    report
    kafka
    broker dead_letter
    monitor
    worker
    replay
    pauses
    http
    config
    serve
    demo
    cli";

#[test]
fn modules_name_only_those_before_them() {
    let mut found = Vec::new();
    for source in sources() {
        let module = source.module.as_str();
        // The crates' own files, and the worker's tests in simulated time.
        if ["lib", "main"].contains(&module) || source.is_in(&["engine", "worker/simulation"]) {
            continue;
        }
        let own = row(module).unwrap_or_else(|| panic!("src/{module}.rs has no place in ORDER: give it one"));
        for (number, line) in source.code.lines().enumerate() {
            let later = named(module, line).into_iter().filter(|name| row(name).is_some_and(|row| row > own));
            found.extend(later.map(|name| format!("{}:{} names {name}", source.path, number + 1)));
        }
    }
    assert_none(&found, "a module names one that comes after it in ORDER: move what both need to the earlier one");
}

#[test]
fn the_order_lists_modules_that_exist() {
    let sources = sources();
    let gone = ORDER.split_whitespace().filter(|name| !sources.iter().any(|source| source.is_in(&[name])));
    assert_none(&gone.map(String::from).collect::<Vec<_>>(), "ORDER has modules that are gone");
}

/// What several test modules need is in `tests/support/`, so that a test can be read, moved and deleted by itself.
#[test]
fn tests_import_nothing_from_other_tests() {
    let mut found = Vec::new();
    for path in files_under("tests", "rs") {
        let own = path["tests/".len()..].split(['/', '.']).next().unwrap_or_default();
        // Chaos is a program of its own.
        if ["chaos", "tests"].contains(&own) {
            continue;
        }
        for (number, line) in code_of(&read(&path)).lines().enumerate() {
            let modules = line.split("crate::").skip(1).filter_map(|rest| rest.split(&[':', ';', ' '][..]).next());
            let others = modules.filter(|module| ![own, "support"].contains(module));
            found.extend(others.map(|module| format!("{path}:{} imports {module}", number + 1)));
        }
    }
    assert_none(&found, "a test imports another one: move what both need to tests/support");
}

#[test]
fn paths_are_found_in_code() {
    assert_eq!(named("worker/sink", "use crate::kafka::producer::Producer;"), ["kafka/producer"]);
    assert_eq!(
        named("model/onnx/graph", "let a = super::super::store::open(super::Graph);"),
        ["model/store/open", "model/onnx"]
    );
    assert_eq!(named("worker", "pub(super) fn a() { the_crate::kafka(notsuper::a) }"), [""; 0]);
    assert!(row("monitor/drift/bins") < row("monitor/metrics"));
}

/// The row of a module, from the top.
fn row(module: &str) -> Option<usize> {
    let mut name = module;
    loop {
        let found = ORDER.lines().position(|row| row.split_whitespace().any(|listed| listed == name));
        if found.is_some() {
            return found;
        }
        name = name.rsplit_once('/')?.0;
    }
}

/// The modules, and what else begins with a small letter, that a line of a module names by `crate::` or `super::`.
fn named(module: &str, line: &str) -> Vec<String> {
    let mut names = Vec::new();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    // `pub(super)` names nothing.
    for path in line.split(|c: char| !is_name(c) && c != ':').filter(|path| path.contains("::")) {
        let mut parts = path.split("::").peekable();
        let mut base: Vec<&str> = match parts.peek() {
            Some(&"crate") => Vec::new(),
            Some(&"super") => module.split('/').collect(),
            _ => continue,
        };
        parts.next_if_eq(&"crate");
        while parts.next_if_eq(&"super").is_some() {
            base.pop();
        }
        base.extend(parts.take_while(|part| part.starts_with(|c: char| c.is_ascii_lowercase())));
        names.push(base.join("/"));
    }
    names
}

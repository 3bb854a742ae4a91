//! Rules that execute: what keeps the modules apart, and what keeps the pages true to the code. Where one fails, it says
//! what to do.

mod modules;
mod pages;
mod snapshots;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use config::{File, FileFormat, Value, ValueKind};

use weir::config::{Config, DEFAULTS};
use weir::monitor::metrics::{CATALOGUE, Kind};
use weir::record::Reason;

/// Modules that are tested without Kafka, without a runtime and without waiting: they take what they need as arguments.
const PURE: [&str; 20] = [
    "record",
    "printable",
    "texts",
    "limits",
    "codec",
    "batch",
    "engine",
    "model/bundle",
    "model/evaluation",
    "model/signature",
    "model/preprocess",
    "monitor/drift",
    "worker/ledger",
    "worker/membership",
    "worker/partitions",
    "worker/refusal",
    "dead_letter/progress",
    "replay/difference",
    "train",
    "report",
];

/// Where `unsafe` may stand: vector instructions, in the engine and for arrays of numbers, and the calls to librdkafka
/// that rdkafka doesn't wrap.
const UNSAFE: [&str; 6] =
    ["engine/kernel", "engine/dense", "engine/training", "engine/tests", "kafka/ffi", "codec/json/scan/array"];

/// The crate that is the module `engine`.
const ENGINE: &str = "crates/engine/src";

/// The pages of the documentation with a table that is compared with the code.
const CONFIGURATION: &str = "docs/reference/configuration.md";
const METRICS: &str = "docs/reference/metrics.md";
const REASONS: &str = "docs/reference/reasons.md";

/// A file that passes this is two ideas.
const MAX_LINES: usize = 600;

/// An integration test of more lines does several things.
const MAX_TEST_LINES: usize = 60;

#[test]
fn only_the_kafka_side_names_rdkafka() {
    let others = sources().into_iter().filter(|source| !source.is_in(&["kafka", "broker"]));
    let found: Vec<_> = others.flat_map(|source| source.lines_with(&source.code, &["rdkafka"])).collect();
    assert_none(&found, "rdkafka is named only in src/kafka.rs, src/kafka/ and src/broker.rs: do there what needs it");
}

#[test]
fn pure_modules_know_no_clock_and_no_network() {
    let sources = sources();
    for module in PURE {
        assert!(sources.iter().any(|source| source.is_in(&[module])), "{module} is gone: correct PURE in this file");
    }
    let words = ["tokio", "rdkafka", "SystemTime", "Instant::now"];
    let pure = sources.iter().filter(|source| source.is_in(&PURE));
    let found: Vec<_> = pure.flat_map(|source| source.lines_with(&source.code, &words)).collect();
    assert_none(&found, "this module is pure: pass time and data in as arguments, and let the caller wait");
}

#[test]
fn unsafe_code_stays_where_it_is() {
    let others = sources().into_iter().filter(|source| !source.is_in(&UNSAFE));
    let found: Vec<_> = others.flat_map(|source| source.lines_with(&source.all, &["unsafe"])).collect();
    assert_none(&found, "unsafe code is for vector instructions and src/kafka/ffi.rs: do this safely, or there");
}

#[test]
fn a_file_is_one_idea() {
    let mut found = Vec::new();
    for path in ["src", "crates", "tests", "benches"].into_iter().flat_map(|folder| files_under(folder, "rs")) {
        let lines = read(&path).lines().count();
        if lines > MAX_LINES {
            found.push(format!("{path} has {lines} lines: split it by its ideas, {MAX_LINES} are the limit"));
        }
        if path.ends_with("/mod.rs") {
            found.push(format!("{path}: call it by its module's name, beside the folder"));
        }
    }
    assert_none(&found, "files that are hard to read or to find");
}

#[test]
fn a_test_is_read_on_one_screen() {
    let mut found = Vec::new();
    for path in files_under("tests", "rs") {
        let text = read(&path);
        let lines: Vec<&str> = text.lines().collect();
        for start in (0..lines.len()).filter(|&at| lines[at].trim() == "#[test]") {
            let indent = lines[start].len() - lines[start].trim_start().len();
            let length = lines[start..].iter().position(|line| line.len() == indent + 1 && line.trim() == "}");
            if length.is_none_or(|length| length > MAX_TEST_LINES) {
                found.push(format!("{path}:{}: {length:?} lines", start + 1));
            }
        }
    }
    assert_none(&found, "give set-up and comparisons a name of their own, for several tests those of tests/support");
}

#[test]
fn the_docs_have_every_key_of_the_configuration() {
    let expected = keys(DEFAULTS).into_iter().map(|(key, default)| (key, format!("`{default}`"))).collect();
    assert_keys("| key | default |", &expected);
}

#[test]
fn the_docs_have_every_key_of_a_route() {
    let minimal = read("config/examples/minimal.toml");
    let commented = DEFAULTS.split_once("# [[route]]").expect("config/weir.toml shows a route, commented out").1;
    let uncommented = commented.lines().map(|line| line.strip_prefix('#').unwrap_or(line).trim_start());
    let template = format!("[[route]]\n{}", uncommented.collect::<Vec<_>>().join("\n"));

    let required = route_keys(&minimal);
    let expected = route_keys(&template).into_iter().map(|(key, default)| {
        let default = if required.contains_key(&key) { "required".to_owned() } else { format!("`{default}`") };
        (key, default)
    });
    assert_keys("| key of `[[route]]` | default |", &expected.collect());

    // The two name the same model and topics, so what else differs is a default that isn't one.
    let routes = |text: &str| format!("{:#?}", Config::parse(text).unwrap().routes);
    assert_eq!(
        routes(&format!("[kafka]\nbrokers = \"localhost:9092\"\n{template}")),
        routes(&minimal),
        "the route in config/weir.toml doesn't show the defaults of src/route.rs: make them the same"
    );
}

#[test]
fn the_docs_have_every_metric() {
    let expected = CATALOGUE.iter().map(|metric| {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let cells = [&format!("`{}`", metric.name), metric.kind.as_str(), &labels.join(", "), metric.help];
        format!("|{}|", cells.map(|cell| if cell.is_empty() { " ".into() } else { format!(" {cell} ") }).join("|"))
    });
    let (expected, found) = (expected.collect::<Vec<_>>().join("\n"), table(METRICS, "| metric |").join("\n"));
    assert!(
        expected == found,
        "the table in {METRICS} isn't that of the catalogue; replace its rows by these:\n\n{expected}\n"
    );
}

#[test]
fn what_names_a_metric_names_one_that_exists() {
    let rules = files_under("helm/weir/rules", "yaml");
    let mut recorded = BTreeSet::new();
    for text in rules.iter().map(|path| read(path)) {
        recorded.extend(text.lines().filter_map(|line| Some(line.trim().strip_prefix("- record: ")?.to_owned())));
    }
    let known = |name: &str| {
        let is = |metric: &str, kind: Option<Kind>| {
            CATALOGUE.iter().any(|entry| entry.name == metric && kind.is_none_or(|kind| entry.kind == kind))
        };
        let part_of_histogram = |suffix| name.strip_suffix(suffix).is_some_and(|base| is(base, Some(Kind::Histogram)));
        recorded.contains(name) || is(name, None) || ["_bucket", "_sum", "_count"].into_iter().any(part_of_histogram)
    };
    let mut found = Vec::new();
    for path in rules.iter().cloned().chain(files_under("helm/weir/dashboards", "json")).chain(pages()) {
        let text = read(&path);
        let names = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
        // A recorded series is called level:metric:operation.
        let is_recorded = |name: &str| name.split(':').filter(|part| !part.is_empty()).count() == 3;
        let names = names.filter(|name| name.starts_with("weir_") || name.starts_with("weir:") && is_recorded(name));
        let names: BTreeSet<_> = names.collect();
        found.extend(names.into_iter().filter(|name| !known(name)).map(|name| format!("{path} names {name}")));
    }
    assert_none(
        &found,
        "no metric of src/monitor/metrics/catalogue.rs and no recording rule is called so: correct the name",
    );
}

#[test]
fn the_docs_have_every_reason() {
    let expected: Vec<_> = Reason::ALL.iter().map(|reason| format!("`{reason}`")).collect();
    let found: Vec<_> = table(REASONS, "| reason |").iter().map(|row| cells(row)[0].to_owned()).collect();
    assert_eq!(
        found, expected,
        "the table in {REASONS} (left) must have the reasons of record::Reason::ALL (right), in their order"
    );
}

#[test]
fn what_is_shown_as_a_configuration_is_one() {
    let examples = files_under("config/examples", "toml");
    assert!(examples.len() >= 2, "config/examples has no examples");
    for path in examples {
        // Without the environment, which could mend or break it.
        let mut check = Command::new(env!("CARGO_BIN_EXE_weir"));
        let output = check.args(["check", "--offline", "-c"]).arg(absolute(&path)).env_clear().output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{path} isn't what `weir check --offline` accepts; correct it:\n{said}");
    }
    let mut blocks = 0;
    for page in pages() {
        for block in read(&page).split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            blocks += 1;
            if let Err(error) = Config::parse(block) {
                panic!("{page} shows a configuration that weir refuses, correct it: {error}\n{block}");
            }
        }
    }
    assert!(blocks > 0, "no page shows a configuration in a ```toml block");
}

/// A file of weir's crates, without what the compiler doesn't see.
struct Source {
    path: String,
    /// Its module, as `engine/kernel/avx2`.
    module: String,
    /// The code, with the line breaks of the file.
    all: String,
    /// The same without what is compiled for tests only.
    code: String,
}

impl Source {
    /// Whether it is one of these modules, or within one.
    fn is_in(&self, modules: &[&str]) -> bool {
        modules
            .iter()
            .any(|module| self.module.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }

    /// The lines of `code` that have one of these words.
    fn lines_with(&self, code: &str, words: &[&str]) -> Vec<String> {
        let of_name = |c: char| c.is_alphanumeric() || c == '_';
        let has = |line: &str, word: &str| {
            line.match_indices(word)
                .any(|(at, _)| !line[..at].ends_with(of_name) && !line[at + word.len()..].starts_with(of_name))
        };
        let mut found = Vec::new();
        for (number, line) in code.lines().enumerate() {
            for word in words.iter().filter(|word| has(line, word)) {
                found.push(format!("{}:{}: {word}", self.path, number + 1));
            }
        }
        found
    }
}

fn sources() -> Vec<Source> {
    let mut tests = Vec::new();
    let mut sources = Vec::new();
    let engine = files_under(ENGINE, "rs").into_iter().map(|path| {
        let module = path[ENGINE.len()..path.len() - ".rs".len()].to_owned();
        (path, format!("engine{}", if module == "/lib" { String::new() } else { module }))
    });
    let weir = files_under("src", "rs").into_iter().map(|path| {
        let module = path["src/".len()..path.len() - ".rs".len()].to_owned();
        (path, module)
    });
    for (path, module) in weir.chain(engine) {
        let all = code_of(&read(&path));
        let (code, test_modules) = without_tests(&all);
        let folder = if module == "lib" { String::new() } else { format!("{module}/") };
        tests.extend(test_modules.into_iter().map(|name| format!("{folder}{name}")));
        sources.push(Source { path, module, all, code });
    }
    let tests: Vec<&str> = tests.iter().map(String::as_str).collect();
    for source in sources.iter_mut().filter(|source| source.is_in(&tests)) {
        source.code.clear();
    }
    sources
}

/// Rust without its comments and without the content of its strings and characters.
fn code_of(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skipped = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => quoted(rest, '"'),
            // A lifetime has no quote behind its first letter.
            '\'' if rest[1..].starts_with('\\') || rest.chars().nth(2) == Some('\'') => quoted(rest, '\''),
            'r' if !code.ends_with(|c: char| c.is_alphanumeric() && c != 'b' || c == '_') => raw(rest),
            _ => 0,
        };
        if skipped == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..skipped].chars().filter(|&c| c == '\n'));
            rest = &rest[skipped..];
        }
    }
    code
}

/// The length of a string or character with escapes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a raw string; 0 if it is none.
fn raw(text: &str) -> usize {
    let hashes = text[1..].chars().take_while(|&c| c == '#').count();
    if !text[1 + hashes..].starts_with('"') {
        return 0;
    }
    let (start, end) = (hashes + 2, format!("\"{}", "#".repeat(hashes)));
    text[start..].find(&end).map_or(text.len(), |at| start + at + end.len())
}

/// Code without its `#[cfg(test)]` items, and the names of the files that these are.
fn without_tests(code: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let (mut kept, mut modules) = (String::new(), Vec::new());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        let (before, item) = rest.split_at(at);
        let mut depth = 0;
        let end = item.find(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0 && (c == ';' || c == '}')
        });
        let (item, after) = item.split_at(end.map_or(item.len(), |end| end + 1));
        if let Some((_, name)) = item.strip_suffix(';').and_then(|item| item.rsplit_once("mod ")) {
            modules.push(name.to_owned());
        }
        kept.push_str(before);
        kept.extend(item.chars().filter(|&c| c == '\n'));
        rest = after;
    }
    kept.push_str(rest);
    (kept, modules)
}

/// The keys of a TOML text and their values, as TOML.
fn keys(toml: &str) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    flatten("", &parse(toml).cache, &mut keys);
    keys
}

/// The same, of the one route in it.
fn route_keys(toml: &str) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    flatten("", &parse(toml).get_array("route").expect("a [[route]]")[0], &mut keys);
    keys
}

fn parse(toml: &str) -> config::Config {
    let parsed = config::Config::builder().add_source(File::from_str(toml, FileFormat::Toml)).build();
    parsed.unwrap_or_else(|error| panic!("{error} in\n{toml}"))
}

fn flatten(prefix: &str, value: &Value, keys: &mut BTreeMap<String, String>) {
    match &value.kind {
        ValueKind::Table(table) if !table.is_empty() || prefix.is_empty() => {
            for (name, value) in table {
                let dot = if prefix.is_empty() { "" } else { "." };
                flatten(&format!("{prefix}{dot}{name}"), value, keys);
            }
        }
        _ => drop(keys.insert(prefix.to_owned(), literal(value))),
    }
}

fn literal(value: &Value) -> String {
    match &value.kind {
        ValueKind::Table(_) => "{}".into(),
        ValueKind::Array(values) => format!("[{}]", values.iter().map(literal).collect::<Vec<_>>().join(", ")),
        ValueKind::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

/// The table of the configuration page with this header has these keys and defaults, and no others.
fn assert_keys(header: &str, expected: &BTreeMap<String, String>) {
    let rows = table(CONFIGURATION, header);
    let found: BTreeMap<_, _> = rows.iter().map(|row| (cells(row)[0].trim_matches('`'), cells(row)[1])).collect();
    assert_eq!(found.len(), rows.len(), "{CONFIGURATION} has a key twice under {header:?}: leave one of them");
    let mut wrong = Vec::new();
    for (key, default) in expected {
        match found.get(key.as_str()) {
            None => wrong.push(format!("{CONFIGURATION} lacks `{key}`, default {default}: add a row")),
            Some(shown) if shown != default => wrong.push(format!("`{key}` = {shown}: its default is {default}")),
            Some(_) => {}
        }
    }
    let gone = found.keys().filter(|key| !expected.contains_key(**key));
    wrong.extend(gone.map(|key| format!("`{key}` isn't in config/weir.toml: remove or correct it")));
    assert_none(&wrong, &format!("the table {header:?} in {CONFIGURATION} differs from config/weir.toml"));
}

/// The rows of a page's table whose header begins so.
fn table(page: &str, header: &str) -> Vec<String> {
    let text = read(page);
    let mut lines = text.lines().skip_while(|line| !line.starts_with(header));
    assert!(lines.next().is_some(), "{page} has no table that begins {header:?}: tests/tidy.rs finds it by that");
    lines.skip(1).take_while(|line| line.starts_with('|')).map(String::from).collect()
}

fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

fn assert_none(found: &[String], what_to_do: &str) {
    assert!(found.is_empty(), "{what_to_do}:\n  {}", found.join("\n  "));
}

/// The Markdown files that readers of the documentation see.
fn pages() -> Vec<String> {
    let top = ["ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "README.md", "SECURITY.md"].map(String::from);
    let folders = ["benches", "docs", "examples", "helm", "tests"];
    top.into_iter().chain(folders.into_iter().flat_map(|folder| files_under(folder, "md"))).collect()
}

/// The files with this ending in a folder of the project and below it, in order.
fn files_under(folder: &str, ending: &str) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(absolute(folder)).unwrap_or_else(|error| panic!("{folder}: {error}")) {
        let path = entry.unwrap_or_else(|error| panic!("{folder}: {error}")).path();
        let name = format!("{folder}/{}", path.file_name().expect("an entry has a name").to_string_lossy());
        if path.is_dir() {
            files.extend(files_under(&name, ending));
        } else if name.ends_with(&format!(".{ending}")) {
            files.push(name);
        }
    }
    files.sort_unstable();
    files
}

fn read(path: &str) -> String {
    fs::read_to_string(absolute(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn absolute(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

//! Rules for the Markdown pages: links lead somewhere, commands and messages exist, and the English stays plain.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::{absolute, assert_none, cells, files_under, pages, read};
use crate::support::weir::command;

/// The largest README, in bytes: it is read in a minute, and the rest is in docs/.
const README_BYTES: usize = 10_000;

/// Phrases that a reader stumbles over. STYLE: subject first, the field's verbs.
const PHRASES: [&str; 26] = [
    "tell",
    "tells",
    "told",
    "goes on",
    "go on",
    "going on",
    "somebody",
    "whoever",
    "says so",
    "say so",
    "said so",
    "has the say",
    "have the say",
    "can't be meant",
    "is there already",
    "anew",
    "bears",
    "borne",
    "mended",
    "so many",
    "let go",
    "lets go",
    "take up",
    "takes up",
    "of a stranger",
    "otherwise than",
];

/// Those of them that are gone from code, comments, configuration and charts, too.
const GONE_FROM_CODE: [&str; 13] = [
    "tell",
    "tells",
    "told",
    "said so",
    "has the say",
    "have the say",
    "can't be meant",
    "is there already",
    "bears",
    "borne",
    "let go",
    "lets go",
    "of a stranger",
];

#[test]
fn links_lead_to_files_and_headings() {
    let mut found = Vec::new();
    for page in pages() {
        for target in links(&prose(&read(&page))) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = target.split_once('#').map_or((&*target, None), |(path, anchor)| (path, Some(anchor)));
            let file = if path.is_empty() { page.clone() } else { beside(&page, path) };
            if !absolute(&file).exists() {
                found.push(format!("{page}: no file {target}"));
            } else if let Some(anchor) = anchor
                && !headings(&read(&file)).contains(anchor)
            {
                found.push(format!("{page}: no heading {target}"));
            }
        }
    }
    assert_none(&found, "links that lead nowhere");
}

#[test]
fn every_page_of_the_docs_is_linked() {
    let linked: BTreeSet<_> = pages()
        .iter()
        .flat_map(|page| {
            links(&prose(&read(page))).into_iter().map(|link| beside(page, link.split('#').next().unwrap()))
        })
        .collect();
    let found: Vec<_> = files_under("docs", "md").into_iter().filter(|page| !linked.contains(page)).collect();
    assert_none(&found, "no page links to these: add them to README.md");
}

#[test]
fn the_readme_is_short() {
    let bytes = read("README.md").len();
    assert!(
        bytes <= README_BYTES,
        "README.md has {bytes} bytes, {README_BYTES} are the limit: move something to docs/"
    );
}

#[test]
fn prose_is_plain() {
    let mut found = Vec::new();
    for page in written_pages() {
        for (number, line) in prose(&read(&page)).lines().enumerate() {
            // The descriptions of metrics are those of the code.
            if line.starts_with("| weir_") {
                continue;
            }
            if line.contains(';') {
                found.push(format!("{page}:{}: a semicolon: make two sentences of it", number + 1));
            }
            found.extend(phrases(line, &PHRASES).map(|phrase| format!("{page}:{}: \"{phrase}\"", number + 1)));
        }
    }
    assert_none(&found, "English that most readers have to read twice");
}

#[test]
fn code_is_plain() {
    let rust = ["src", "crates", "tests", "benches"].into_iter().flat_map(|folder| files_under(folder, "rs"));
    let others =
        [("config", "toml"), ("helm", "yaml")].into_iter().flat_map(|(folder, kind)| files_under(folder, kind));
    let mut found = Vec::new();
    for path in rust.chain(others).filter(|path| path != "tests/tidy/pages.rs") {
        for (number, line) in read(&path).lines().enumerate() {
            found.extend(phrases(line, &GONE_FROM_CODE).map(|phrase| format!("{path}:{}: \"{phrase}\"", number + 1)));
        }
    }
    assert_none(&found, "English that most readers have to read twice");
}

/// Which of `all` a line has, as whole words.
fn phrases<'p>(line: &str, all: &'p [&str]) -> impl Iterator<Item = &'p str> {
    let words = format!(" {} ", line.to_lowercase().replace(|c: char| !c.is_alphanumeric() && c != '\'', " "));
    all.iter().copied().filter(move |phrase| words.contains(&format!(" {phrase} ")))
}

#[test]
fn commands_that_pages_show_exist() {
    let mut helps = BTreeMap::new();
    let mut found = Vec::new();
    for page in written_pages() {
        for line in commands(&read(&page)) {
            let words: Vec<_> = line.split_whitespace().skip(1).take_while(|word| !ENDS.contains(word)).collect();
            let verb = verb(&words);
            let help = helps.entry(verb.clone()).or_insert_with(|| help(&verb));
            let Some(help) = help else {
                found.push(format!("{page}: no command `weir {}` in `{line}`", verb.join(" ")));
                continue;
            };
            let options = words.iter().filter(|word| word.starts_with("--"));
            let names = options.map(|option| option.split('=').next().unwrap().trim_end_matches([',', '.', ')']));
            found.extend(
                names
                    .filter(|name| !has_option(help, name))
                    .map(|name| format!("{page}: no option {name} in `{line}`")),
            );
        }
    }
    assert_none(&found, "commands that weir doesn't have");
}

#[test]
fn options_that_pages_show_exist() {
    let helps: Vec<_> = leaves(&[]).iter().filter_map(|verb| help(verb)).collect();
    let mut found = Vec::new();
    for page in files_under("docs", "md") {
        for span in spans(&read(&page)) {
            let name = span.split([' ', '=']).next().unwrap();
            // Those of cargo.
            let is_other = ["--features", "--bench"].contains(&name);
            if name.starts_with("--") && !is_other && !helps.iter().any(|help| has_option(help, name)) {
                found.push(format!("{page}: {name}"));
            }
        }
    }
    assert_none(&found, "options that no command has");
}

#[test]
fn the_docs_have_every_command() {
    let page = read("docs/reference/command-line.md");
    let missing = leaves(&[]).into_iter().filter(|verb| !page.contains(&format!("`weir {}", verb.join(" "))));
    let missing: Vec<_> = missing.map(|verb| format!("weir {}", verb.join(" "))).collect();
    assert_none(&missing, "docs/reference/command-line.md lacks commands");
}

#[test]
fn the_docs_have_every_path_of_http() {
    let code = read("src/http.rs");
    let path = |row: &str| cells(row)[0].to_owned();
    let expected: Vec<_> = code
        .lines()
        .filter_map(|line| line.strip_prefix("//! "))
        .filter(|row| row.starts_with("| `"))
        .map(path)
        .collect();
    let found: Vec<_> = super::table("docs/reference/http.md", "| path |").iter().map(|row| path(row)).collect();
    assert_eq!(found, expected, "docs/reference/http.md (left) must have the paths that src/http.rs lists (right)");
}

#[test]
fn the_docs_have_every_property_that_is_refused() {
    let code = read("src/kafka/settings.rs");
    let list =
        code.split_once("const OWNED").and_then(|(_, rest)| rest.split_once("];")).expect("a list of properties").0;
    let names = list.lines().filter_map(|line| line.trim().strip_prefix("(\"")?.split('"').next());
    let page = read(super::CONFIGURATION);
    let missing: Vec<_> = names.filter(|name| !page.contains(&format!("`{name}`"))).map(String::from).collect();
    assert_none(&missing, "the configuration page lacks properties that weir refuses");
}

#[test]
fn the_docs_have_every_alert() {
    let rules = read("helm/weir/rules/weir.yaml");
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let rows = super::table("docs/operating/monitoring.md", "| alert |");
    let found: Vec<_> = rows.iter().map(|row| cells(row)[0].trim_matches('`')).collect();
    assert_eq!(found, alerts, "docs/operating/monitoring.md (left) must have the alerts of helm/weir/rules (right)");
}

#[test]
fn each_invariant_names_tests_that_exist() {
    let sources = ["src", "crates", "tests"].into_iter().flat_map(|folder| files_under(folder, "rs"));
    let code: String = sources.map(|path| read(&path)).collect();
    let mut found = Vec::new();
    for row in super::table("ARCHITECTURE.md", "| invariant |") {
        let tests: Vec<_> = cells(&row)[1].split('`').skip(1).step_by(2).map(String::from).collect();
        let gone = tests.iter().filter(|test| !code.contains(&format!("fn {test}(")));
        found.extend(gone.map(|test| format!("no test {test}")));
        if tests.is_empty() {
            found.push(format!("no test for {row}"));
        }
    }
    assert_none(&found, "ARCHITECTURE.md: each invariant names the tests that hold it");
}

#[test]
fn messages_in_troubleshooting_are_those_of_the_code() {
    let mut code = String::new();
    for path in files_under("src", "rs") {
        code.push_str(&read(&path));
    }
    // A string that is continued on the next line is one string.
    let code = code
        .split("\\\n")
        .enumerate()
        .fold(String::new(), |code, (at, part)| code + if at == 0 { part } else { part.trim_start() });
    let code = code.replace("\\\"", "\"");
    let mut found = Vec::new();
    let page = read("docs/operating/troubleshooting.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    for row in rows {
        let message = cells(row)[0].split('`').nth(1).unwrap();
        let parts = message.split('…').map(str::trim).filter(|part| part.len() > 2);
        found.extend(parts.filter(|part| !code.contains(*part)).map(|part| format!("`{part}` of `{message}`")));
    }
    assert_none(&found, "docs/operating/troubleshooting.md has messages that aren't in src/ (… stands for a value)");
}

/// What ends a command within a line.
const ENDS: [&str; 6] = ["|", ">", "&&", "#", "…", "2>&1"];

/// The pages that people write. Results of benchmarks and chaos are written by programs.
fn written_pages() -> impl Iterator<Item = String> {
    pages().into_iter().filter(|page| !page.contains("/results/"))
}

/// The text without blocks of code and without the content of code spans, line by line as in the page. Only names of metrics
/// stay: they mark rows whose text is the code's.
fn prose(page: &str) -> String {
    let mut prose = String::new();
    for (at, part) in unfenced(page).split('`').enumerate() {
        if at % 2 == 0 || part.starts_with("weir_") {
            prose.push_str(part);
        } else {
            prose.extend(part.chars().filter(|&c| c == '\n'));
        }
    }
    prose
}

/// The text without blocks of code, line by line as in the page.
fn unfenced(page: &str) -> String {
    let mut text = String::new();
    let mut is_fenced = false;
    for line in page.lines() {
        let is_fence = line.trim_start().starts_with("```");
        is_fenced ^= is_fence;
        if !is_fence && !is_fenced && !line.starts_with("    ") {
            text.push_str(line);
        }
        text.push('\n');
    }
    text
}

/// The targets of `[text](target)`.
fn links(prose: &str) -> Vec<String> {
    prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// The path of a link's target below the project's folder.
fn beside(page: &str, target: &str) -> String {
    let folder = Path::new(page).parent().unwrap();
    let mut path = PathBuf::new();
    for component in folder.join(target).components() {
        match component {
            Component::ParentDir => drop(path.pop()),
            other => path.push(other),
        }
    }
    path.display().to_string()
}

/// The anchors of a page's headings, as GitHub makes them.
fn headings(page: &str) -> BTreeSet<String> {
    let text = unfenced(page);
    let lines = text.lines().filter(|line| line.starts_with('#'));
    lines.map(|line| slug(line.trim_start_matches('#').trim())).collect()
}

fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|&c| c.is_alphanumeric() || c == ' ' || c == '-' || c == '_');
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The content of code spans, with spaces in place of line breaks.
fn spans(page: &str) -> Vec<String> {
    unfenced(page).replace('\n', " ").split('`').skip(1).step_by(2).map(String::from).collect()
}

/// The command lines of weir that a page shows: in blocks of code and in code spans.
fn commands(page: &str) -> Vec<String> {
    let prose = unfenced(page);
    let code = page.lines().zip(prose.lines()).filter(|(_, prose)| prose.is_empty()).map(|(line, _)| line);
    let code = code.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let lines = code.lines().map(|line| line.trim().trim_start_matches("$ ").to_owned()).chain(spans(page));
    let is_command = |line: &String| {
        let verb = line.strip_prefix("weir ").and_then(|rest| rest.split_whitespace().next());
        verb.is_some_and(|verb| verb.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
    };
    lines.filter(is_command).collect()
}

/// The words of a command line that name the verb.
fn verb(words: &[&str]) -> Vec<String> {
    let length = match words.first() {
        Some(&("model" | "route" | "dead-letter")) => 2,
        _ => 1,
    };
    words.iter().take(length).map(|word| (*word).to_owned()).collect()
}

/// What `--help` prints, if there is such a verb.
pub(super) fn help(verb: &[String]) -> Option<String> {
    let output = command().args(verb).arg("--help").output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

fn has_option(help: &str, name: &str) -> bool {
    help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|word| word == name)
}

/// Every verb that does something, below this one.
pub(super) fn leaves(verb: &[String]) -> Vec<Vec<String>> {
    let help = help(verb).expect("--help lists verbs that exist");
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return vec![verb.to_vec()] };
    let names =
        list.lines().take_while(|line| line.starts_with("  ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").flat_map(|name| leaves(&[verb, &[name.to_owned()]].concat())).collect()
}

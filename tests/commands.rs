//! The verbs of the command line, as a newcomer tries them.

use std::path::Path;
use std::process::Output;

use weir::train::preparation::Preparation;

use crate::support::models::{promote, publish, year};
use crate::support::weir::{Setup, command};

fn weir(arguments: &[&str]) -> Output {
    command().args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn url(store: &Path) -> String {
    format!("file:{}", store.display())
}

#[test]
fn the_recipe_of_the_flights_reaches_its_mark() {
    let folder = tempfile::tempdir().unwrap();
    let store = url(folder.path());
    let recipe = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/flights/README.md")).unwrap();
    let command_line = recipe.split("    weir train ").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap();
    let words: Vec<_> = command_line.split_whitespace().filter(|word| *word != "\\").collect();
    let words: Vec<_> = words.into_iter().map(|word| if word == "file:models" { &store } else { word }).collect();
    let trained = weir(&[&["train"], words.as_slice(), &["--json"]].concat());
    assert!(trained.status.success(), "{}", text(&trained));
    let report: serde_json::Value = serde_json::from_slice(&trained.stdout).unwrap();
    let auc = report["metrics"]["roc_auc"].as_f64().unwrap();
    assert!(auc >= 0.88, "trained on January to June, tested on July to December: ROC AUC {auc}");

    for (verb, expected) in [("show", "month"), ("verify", "golden")] {
        let output = weir(&["model", verb, "flights@production", "--store", &store]);
        assert!(output.status.success() && text(&output).contains(expected), "{}", text(&output));
    }
    let list = weir(&["model", "list", "--store", &store]);
    assert!(text(&list).contains("production"), "{}", text(&list));
    let moved = weir(&["model", "promote", "flights@1", "canary", "--store", &store]);
    assert!(moved.status.success(), "{}", text(&moved));
    let absent = weir(&["model", "promote", "flights@9", "canary", "--store", &store]);
    assert_eq!(absent.status.code(), Some(1), "{}", text(&absent));
}

#[test]
fn check_finds_everything_at_once() {
    let setup = Setup::on_kafka(2);
    let config = setup.config("");
    let config = config.to_str().unwrap();
    let without_model = weir(&["check", "-c", config]);
    assert_eq!(without_model.status.code(), Some(1), "{}", text(&without_model));
    assert!(
        text(&without_model).contains("FAILED   route flights, model flights@production"),
        "{}",
        text(&without_model)
    );
    assert!(text(&without_model).contains(&format!("ok       topic {}: 2 partitions", setup.input)));

    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    let complete = weir(&["check", "-c", config, "--json"]);
    assert_eq!(complete.status.code(), Some(0), "{}", text(&complete));
    let findings: Vec<serde_json::Value> = serde_json::from_slice(&complete.stdout).unwrap();
    assert!(findings.iter().all(|finding| finding["level"] == "ok"), "{findings:?}");

    let wrong = Setup { output: "no-such-topic".into(), ..Setup::named(&setup.brokers) };
    let config = wrong.config("");
    let output = weir(&["check", "-c", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    for part in ["topic \"no-such-topic\" doesn't exist", "flights@production"] {
        assert!(text(&output).contains(part), "{}", text(&output));
    }
}

#[test]
fn a_wrong_configuration_is_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weir.toml");
    std::fs::write(&path, "[kafka]\nbrokers = \"\"\n[batch]\nmax_rows = 0\n").unwrap();
    for verb in ["serve", "check"] {
        let output = weir(&[verb, "-c", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        for part in ["kafka.brokers is empty", "batch.max_rows is 0", "no [[route]]"] {
            assert!(text(&output).contains(part), "{verb}: {}", text(&output));
        }
    }
    assert_eq!(weir(&["serve", "-c", "/nonexistent/weir.toml"]).status.code(), Some(2));
    assert_eq!(weir(&["serve"]).status.code(), Some(2));
}

#[test]
fn every_verb_has_help_with_an_example() {
    for verb in "demo serve init check train evaluate predict produce consume replay"
        .split(' ')
        .map(|verb| vec![verb])
        .chain([vec!["model", "list"], vec!["model", "promote"]])
    {
        let output = weir(&[&verb[..], &["--help"]].concat());
        assert!(output.status.success());
        assert!(text(&output).contains("Example"), "{verb:?}: {}", text(&output));
    }
}

#[test]
fn predict_names_the_line_that_it_rejects() {
    let setup = Setup::named("unused:1");
    promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
    let lines = setup.folder.path().join("lines.jsonl");
    std::fs::write(&lines, format!("{}\nbroken\n{}\n", year()[0].json, year()[1].json)).unwrap();
    let store = url(&setup.store());
    let output = weir(&["predict", "flights@production", lines.to_str().unwrap(), "--store", &store, "--fields", "id"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 2);
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 2: malformed"), "{}", text(&output));
}

#[test]
fn records_that_are_produced_are_consumed() {
    let setup = Setup::on_kafka(2);
    let (config, lines) = (setup.config(""), setup.folder.path().join("lines.jsonl"));
    let config = config.to_str().unwrap();
    std::fs::write(&lines, "{\"id\":\"a\",\"n\":1}\n\n{\"id\":7}\n{\"id\":\"a\",\"n\":2}\n").unwrap();
    let produced = weir(&["produce", "-c", config, lines.to_str().unwrap(), "--key", "id"]);
    assert!(produced.status.success(), "{}", text(&produced));
    assert_eq!(text(&produced), format!("3 records sent to {}\n", setup.input));

    let consume = |more: &[&str]| weir(&[&["consume", "-c", config, "--topic", &setup.input], more].concat());
    let objects = consume(&["--json"]);
    let objects: Vec<serde_json::Value> =
        text(&objects).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_key = |key: &str| -> Vec<&str> {
        let records = objects.iter().filter(|object| object["key"] == key);
        records.map(|object| object["value"].as_str().unwrap()).collect()
    };
    assert_eq!(of_key("a"), ["{\"id\":\"a\",\"n\":1}", "{\"id\":\"a\",\"n\":2}"]);
    assert_eq!(of_key("7"), ["{\"id\":7}"]);
    assert_eq!(text(&consume(&[])).lines().count(), 3);
    assert_eq!(text(&consume(&["--limit", "2"])).lines().count(), 2);
    assert_eq!(text(&consume(&["--follow", "--limit", "3"])).lines().count(), 3);
    let last = objects.iter().rfind(|object| object["key"] == "a").unwrap();
    let from = consume(&["--from", &format!("{}:{}", last["partition"], last["offset"])]);
    assert!(text(&from).starts_with("{\"id\":\"a\",\"n\":2}"), "{}", text(&from));

    std::fs::write(&lines, "{\"id\":1}\n{\"ID\":2}\n").unwrap();
    let mistaken = weir(&["produce", "-c", config, lines.to_str().unwrap(), "--key", "id"]);
    assert_eq!(mistaken.status.code(), Some(1));
    assert!(text(&mistaken).contains("line 2: no member \"id\" for --key"), "{}", text(&mistaken));
    assert!(text(&mistaken).contains("1 records sent"), "{}", text(&mistaken));
}

//! The configuration: TOML and environment variables make one, or every mistake names its key or line.

use std::collections::HashMap;

use weir::config::{Config, DEFAULTS};

use super::driver::{TEXT, Target, fuzz};

const MINIMAL: &str = include_str!("../../config/examples/minimal.toml");

const VARIABLES: &str = "WEIR__BATCH__MAX_ROWS=64\nWEIR__KAFKA__PROPERTIES__SASL_PASSWORD=0123\nWEIR__LOG__LEVEL=debug\nWEIR__HTTP__LISTEN=127.0.0.1:0\nWEIR__KAFKA__BROKERS=b:1\nWEIR__WORKER__THREADS=4";

const SECTIONS: [&str; 8] = ["kafka", "worker", "batch", "store", "http", "monitor", "log", "route"];

/// What configurations are made of.
const WORDS: &[&[u8]] = &[
    b"[kafka]\n",
    b"[[route]]\n",
    b"[kafka.properties]\n",
    b"\"acks\" = \"1\"\n",
    b"max_rows = 0\n",
    b"WEIR__KAFKA=x\n",
    b"WEIR__ROUTE__0__NAME=x\n",
    b"WEIR____=x\n",
    b"WEIR__KAFKA__PROPERTIES={}\n",
    b"\"\"\"",
    b"'''",
    b"2026-01-01T00:00:00Z",
    b"#",
    b" = ",
    b".",
    b"threads = -1\n",
    b"level = \"=\"\n",
    b"\0",
];

#[test]
fn a_configuration_is_read_or_each_mistake_names_its_place() {
    // Before a zero byte stands the file, behind it the environment, a variable a line.
    let example = include_str!("../../config/examples/flights.toml");
    let seeds = [MINIMAL, example, DEFAULTS].map(|text| format!("{text}\0{VARIABLES}").into_bytes());
    let mut run = |input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        let (file, environment) = text.split_once('\0').unwrap_or((&text, ""));
        let variables: HashMap<_, _> = environment
            .lines()
            .filter_map(|line| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
            .collect();
        match Config::parse_with(file, variables.clone()) {
            Ok(config) if config.routes.is_empty() => Err("it has no route".into()),
            Ok(_) => Ok("a configuration".into()),
            Err(error) if error.mistakes.is_empty() => Err("it is refused without a reason".into()),
            Err(error) => {
                // The names of unknown sections are whatever the input says.
                let names_its_place = |mistake: &String| {
                    SECTIONS.iter().any(|section| mistake.contains(section))
                        || mistake.contains(", line ")
                        || mistake.contains("is not a key of weir")
                };
                match error.mistakes.iter().find(|mistake| !names_its_place(mistake)) {
                    Some(mistake) => Err(format!("which key? {mistake}")),
                    None => Ok(error.mistakes.join("; ")),
                }
            }
        }
    };
    let words = [TEXT, WORDS].concat();
    fuzz(Target { name: "configuration", share: 10, seeds: seeds.into(), words: &words, run: &mut run });
}

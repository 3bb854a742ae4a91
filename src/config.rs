//! The configuration: defaults < file < environment, and every mistake reported at once.
//!
//! Each module owns its section and checks it; here they are gathered, and what concerns several sections is checked.

mod repair;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::Path;

use config::{Environment, File, FileFormat, Value, ValueKind};
use serde::de::DeserializeOwned;

use crate::batch::BatchConfig;
use crate::http::HttpConfig;
use crate::kafka::settings::KafkaConfig;
use crate::logging::LogConfig;
use crate::model::store::StoreConfig;
use crate::monitor::MonitorConfig;
use crate::route::RouteConfig;
use crate::worker::{Delivery, REVOKE_TIMEOUT, WorkerConfig};

/// Every key with its default and a line that says what it is.
pub const DEFAULTS: &str = include_str!("../config/weir.toml");

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The brokers and the group.
    pub kafka: KafkaConfig,
    /// The worker threads.
    pub worker: WorkerConfig,
    /// When batches fire.
    pub batch: BatchConfig,
    /// Where the models are.
    pub store: StoreConfig,
    /// Where metrics, health and inference are served.
    pub http: HttpConfig,
    /// What is watched.
    pub monitor: MonitorConfig,
    /// How logs are written.
    pub log: LogConfig,
    /// What is done.
    pub routes: Vec<RouteConfig>,
}

/// Everything that is wrong with a configuration.
#[derive(Debug)]
pub struct ConfigError {
    /// One mistake each, ready to print.
    pub mistakes: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mistakes.as_slice() {
            [only] => write!(f, "the configuration can't be used: {only}"),
            all => {
                write!(f, "the configuration can't be used, for {} reasons:", all.len())?;
                all.iter().try_for_each(|mistake| write!(f, "\n  - {mistake}"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the defaults, the file and the environment variables `WEIR__SECTION__KEY`, and checks the whole.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        // Values from the environment stay text: a number is read as one where one is expected, and a password of
        // digits keeps its leading zeros.
        let environment = Environment::with_prefix("WEIR").separator("__");
        match std::fs::read_to_string(path) {
            Ok(text) => Config::from_text(&text, &path.display().to_string(), environment),
            Err(error) => Err(ConfigError { mistakes: vec![format!("can't read {}: {error}", path.display())] }),
        }
    }

    /// Reads the defaults and this text alone, and checks the whole.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse_with(text, Default::default())
    }

    /// Reads the defaults, this text and these in place of the process's environment variables, and checks the whole.
    pub fn parse_with(text: &str, variables: HashMap<String, String>) -> Result<Config, ConfigError> {
        let environment = Environment::with_prefix("WEIR").separator("__").source(Some(variables));
        Config::from_text(text, "the text", environment)
    }

    fn from_text(text: &str, name: &str, environment: Environment) -> Result<Config, ConfigError> {
        // A syntax error as toml shows it comes with the line, which may be that of a password.
        if let Err(error) = text.parse::<toml::Table>() {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            let mistake = format!("{name}, line {line}, isn't TOML: {}", error.message());
            return Err(ConfigError { mistakes: vec![mistake] });
        }
        Config::from_sources(File::from_str(text, FileFormat::Toml), environment)
    }

    fn from_sources(
        file: impl config::Source + Send + Sync + 'static,
        environment: Environment,
    ) -> Result<Config, ConfigError> {
        let merged = config::Config::builder()
            .add_source(File::from_str(DEFAULTS, FileFormat::Toml))
            .add_source(file)
            .add_source(environment)
            .build()
            .and_then(|config| config.try_deserialize::<HashMap<String, Value>>())
            .map_err(|error| ConfigError { mistakes: vec![error.to_string()] })?;
        Config::from_sections(merged)
    }

    fn from_sections(sections: HashMap<String, Value>) -> Result<Config, ConfigError> {
        let mut sections = Sections { sections, mistakes: Vec::new(), examples: repair::examples() };
        let (kafka, worker, batch) = (sections.take("kafka"), sections.take("worker"), sections.take("batch"));
        let (store, http) = (sections.take("store"), sections.take("http"));
        let (monitor, log) = (sections.take("monitor"), sections.take("log"));
        let routes = sections.take_routes();
        let Sections { sections, mut mistakes, examples } = sections;
        mistakes.extend(sections.keys().map(|name| unknown_key(name, &examples)));
        let complete = (|| {
            Some(Config {
                kafka: kafka?,
                worker: worker?,
                batch: batch?,
                store: store?,
                http: http?,
                monitor: monitor?,
                log: log?,
                routes: routes?,
            })
        })();
        if let Some(config) = &complete {
            let mut found = Vec::new();
            config.check(&mut found);
            // What is said of a value that only stands in for a wrong one is nothing to the user.
            mistakes.extend(found.into_iter().filter(|mistake| !mistake.contains(repair::STAND_IN)));
        }
        match complete {
            Some(config) if mistakes.is_empty() => Ok(config),
            _ => Err(ConfigError { mistakes }),
        }
    }

    fn check(&self, mistakes: &mut Vec<String>) {
        self.kafka.check(mistakes);
        self.worker.check(mistakes);
        self.batch.check(mistakes);
        self.store.check(mistakes);
        self.http.check(mistakes);
        self.monitor.check(mistakes);
        self.log.check(mistakes);
        for route in &self.routes {
            route.check(mistakes);
        }
        self.check_routes_together(mistakes);
        if self.worker.delivery == Delivery::ExactlyOnce
            && self.kafka.property("isolation.level").is_some_and(|level| level == "read_uncommitted")
        {
            mistakes.push(
                "kafka.properties.\"isolation.level\" is read_uncommitted: with exactly_once weir reads only what is \
                 committed"
                    .into(),
            );
        }
        let limit = self.kafka.property("max.poll.interval.ms").and_then(|value| value.parse().ok());
        if limit.is_some_and(|limit: u128| limit <= REVOKE_TIMEOUT.as_millis()) {
            mistakes.push(format!(
                "kafka.properties.\"max.poll.interval.ms\" has to be more than the {} s that finishing a revoked \
                 partition may take",
                REVOKE_TIMEOUT.as_secs()
            ));
        }
    }

    fn check_routes_together(&self, mistakes: &mut Vec<String>) {
        if self.routes.is_empty() {
            mistakes.push("there is no [[route]]: say which topics go through which model".into());
        }
        let mut readers: HashMap<&str, &str> = HashMap::new();
        let mut names = HashSet::new();
        for route in &self.routes {
            if !names.insert(&route.name) {
                mistakes.push(format!("two routes are called {:?}", route.name));
            }
            let topics = route.input.topics.iter().enumerate();
            for (_, topic) in topics.filter(|&(at, topic)| !route.input.topics[..at].contains(topic)) {
                if let Some(other) = readers.insert(topic, &route.name) {
                    mistakes.push(format!(
                        "topic {topic:?} is read by routes {other:?} and {:?}: a group reads a topic once, so run one \
                         of them with a kafka.group_id of its own",
                        route.name
                    ));
                }
            }
        }
        for route in &self.routes {
            if self.comes_round(route) {
                mistakes.push(format!(
                    "route {:?}: what it puts out comes back to its input by way of other routes, round and round",
                    route.name
                ));
            }
        }
    }

    /// Whether records of this route's outputs reach its input again.
    fn comes_round(&self, start: &RouteConfig) -> bool {
        let feeds = |from: &RouteConfig, to: &RouteConfig| from.outputs().iter().any(|t| to.input.topics.contains(t));
        let mut reached: Vec<&RouteConfig> = vec![start];
        let mut at = 0;
        while let Some(&from) = reached.get(at) {
            at += 1;
            for to in self.routes.iter().filter(|to| to.name != from.name && feeds(from, to)) {
                if to.name == start.name {
                    return true;
                }
                if !reached.iter().any(|known| known.name == to.name) {
                    reached.push(to);
                }
            }
        }
        false
    }
}

/// The sections that are not read yet, and what was wrong with those that are.
struct Sections {
    sections: HashMap<String, Value>,
    mistakes: Vec<String>,
    /// A value of each key, by its path.
    examples: BTreeMap<String, Value>,
}

impl Sections {
    fn take<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let value = self.sections.remove(name)?;
        self.read(name, value)
    }

    fn take_routes(&mut self) -> Option<Vec<RouteConfig>> {
        let Some(value) = self.sections.remove("route") else { return Some(Vec::new()) };
        let is_table = matches!(value.kind, ValueKind::Table(_));
        let routes = match value.clone().into_array() {
            Ok(routes) => routes,
            Err(_) => {
                self.mistakes.push("route: it is a list, so each one is headed [[route]]".into());
                vec![if is_table { value } else { repair::whole("route[0]", &self.examples) }]
            }
        };
        let read: Vec<_> =
            routes.into_iter().enumerate().map(|(at, route)| self.read(&format!("route[{at}]"), route)).collect();
        read.into_iter().collect()
    }

    /// Reads a section; notes unknown keys, and each value that isn't what it should be. A value that can stand in for such
    /// a one takes its place, so that what follows is read and checked as well.
    fn read<T: DeserializeOwned>(&mut self, name: &str, mut value: Value) -> Option<T> {
        let mut known = HashSet::new();
        for _ in 0..MOST_REPAIRS {
            let mut note = |path: serde_ignored::Path<'_>| {
                let key = format!("{name}.{path}");
                if known.insert(key.clone()) {
                    self.mistakes.push(unknown_key(&key, &self.examples));
                }
            };
            let result = serde_path_to_error::deserialize(serde_ignored::Deserializer::new(value.clone(), &mut note));
            let error = match result {
                Ok(read) => return Some(read),
                Err(error) => error,
            };
            let path = error.path().to_string();
            let mut keys = repair::keys(error.path());
            let reason = error.into_inner().to_string();
            let missing = repair::missing_field(&reason);
            keys.extend(missing.map(String::from));
            let path = [Some(name), Some(&*path).filter(|path| *path != "."), missing];
            let at = path.into_iter().flatten().collect::<Vec<_>>().join(".");
            let generic = repair::generic(name, &keys);
            let example = self.examples.get(&generic).cloned();
            let problem = match (at.as_str(), missing) {
                // What stands there instead of properties may be the value of one.
                ("kafka.properties", _) => ": a table of librdkafka's properties is expected".into(),
                (_, Some(_)) => " is missing".into(),
                (_, None) => format!(": {}", repair::readable(&reason)),
            };
            self.mistakes.push(format!("{at}{problem}{}", repair::advice(&generic, example.as_ref())));
            if keys.is_empty() || !repair::replace(&mut value, &keys, repair::stand_in(name, &generic, example)) {
                value = repair::whole(name, &self.examples);
            }
        }
        None
    }
}

/// More mistakes of one section than anybody makes.
const MOST_REPAIRS: usize = 100;

fn unknown_key(key: &str, examples: &BTreeMap<String, Value>) -> String {
    let meant = repair::nearest(key, examples.keys());
    let meant = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
    format!("{key} is not a key of weir (`weir check --defaults` prints them all){meant}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"
        [kafka]
        brokers = "localhost:9092"
        [[route]]
        name = "flights"
        model = "flights@production"
        input = { topics = ["in"] }
        output = { topic = "out" }
        dead_letter = { topic = "dead" }
    "#;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::parse_with(text, environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn defaults_then_file_then_environment() {
        let config = load(MINIMAL, &[]).unwrap();
        assert_eq!(config.batch.max_rows, 512);
        assert_eq!(config.routes[0].output.fields, ["id"]);
        let text = format!("{MINIMAL}\n[batch]\nmax_rows = 64");
        assert_eq!(load(&text, &[]).unwrap().batch.max_rows, 64);
        assert_eq!(load(&text, &[("WEIR__BATCH__MAX_ROWS", "32")]).unwrap().batch.max_rows, 32);
    }

    #[test]
    fn a_secret_from_the_environment_arrives_as_it_is() {
        let config = load(MINIMAL, &[("WEIR__KAFKA__PROPERTIES__SASL_PASSWORD", "0123")]).unwrap();
        assert_eq!(config.kafka.property("sasl.password").as_deref(), Some("0123"));
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let text = r#"
            [kafka]
            brokers = ""
            brokres = "localhost:9092"
            properties = { "acks" = "0" }
            [batch]
            max_rows = 0
            [worke]
            threads = 2
            [[route]]
            name = "a"
            model = "flights@production"
            input = { topics = ["in"], fromat = "json" }
            output = { topic = "in" }
            dead_letter = { topic = "dead" }
            [[route]]
            name = "a"
            model = "flights@production"
            input = { topics = ["in"] }
            output = { topic = "out" }
            dead_letter = { topic = "out" }
        "#;
        let message = load(text, &[]).unwrap_err().mistakes.join("\n");
        for part in [
            "kafka.brokers is empty",
            "kafka.brokres is not a key",
            "\"acks\" can't be set",
            "batch.max_rows is 0",
            "worke is not a key",
            "route[0].input.fromat is not a key",
            "output.topic \"in\" is also an input",
            "two routes are called \"a\"",
            "topic \"in\" is read by routes",
            "both go to \"out\"",
        ] {
            assert!(message.contains(part), "{part:?} is missing in:\n{message}");
        }
    }

    #[test]
    fn a_wrong_type_says_where() {
        let message = load(&MINIMAL.replace("[\"in\"]", "7"), &[]).unwrap_err().to_string();
        assert!(message.contains("route[0].input.topics"), "{message}");
        let message = load(&MINIMAL.replace("flights@production", "flights"), &[]).unwrap_err().to_string();
        assert!(message.contains("route[0].model"), "{message}");
    }

    #[test]
    fn every_wrong_value_is_reported_at_once_with_what_to_write() {
        let text = r#"
            [kafka]
            brokers = ["a:9092", "b:9092"]
            group_id = ""
            propertis = {}
            [batsh]
            [batch]
            max_rows = "many"
            max_delay_us = -1
            [log]
            format = "yaml"
            [[route]]
            name = "a"
            model = "flights"
            input = { topic = "in", max_bytes = "1 MB", fromat = "json", min_features = 2 }
            output = { topic = "out", fields = 7 }
            [[route]]
            name = "b"
            model = "flights@production"
            input = { topics = "in" }
            output = { topic = "in" }
            dead_letter = "dead"
        "#;
        let message = load(text, &[]).unwrap_err().mistakes.join("\n");
        for part in [
            "kafka.brokers: invalid type: list, expected a string; write for instance brokers = \"localhost:9092\"",
            "kafka.propertis is not a key of weir (`weir check --defaults` prints them all); did you mean properties?",
            "batsh is not a key of weir (`weir check --defaults` prints them all); did you mean batch?",
            "batch.max_rows: invalid type: string \"many\", expected an integer; write for instance max_rows = 512",
            "batch.max_delay_us: ",
            "log.format: \"yaml\" is not one of the values that there are; write for instance format = \"text\"",
            "route[0].model: ",
            "write for instance model = \"flights@production\"",
            "route[0].input.topic is not a key of weir (`weir check --defaults` prints them all); did you mean topics?",
            "route[0].input.fromat is not a key of weir (`weir check --defaults` prints them all); did you mean format?",
            "route[0].input.topics is missing; write for instance topics = [\"flights.features\"]",
            "route[0].input.max_bytes: ",
            "route[0].output.fields: ",
            "route[0].dead_letter is missing; write for instance dead_letter = { topic = \"flights.dead-letter\" }",
            "route \"a\": input.min_features = 2: must be a share between 0 and 1",
            "route[1].dead_letter: invalid type: string \"dead\", expected a table; write for instance dead_letter = {",
            "route \"b\": output.topic \"in\" is also an input",
        ] {
            assert!(message.contains(part), "{part:?} is missing in:\n{message}");
        }
        assert!(!message.contains(repair::STAND_IN), "{message}");
        assert!(!message.contains("for key") && !message.contains("two routes"), "{message}");
    }

    #[test]
    fn a_section_that_is_no_table_hides_no_other_mistake() {
        let text = r#"
            batch = 5
            store = { url = "s3://bucket/models", poll_ms = 0 }
            http = { listen = "nowhere", tokens = [[1]] }
            log = { level = "loud" }
            [kafka]
            brokers = "b:http"
            [kafka.properties]
            "linger.ms" = [1]
            "no.such" = 1
            [route]
            name = ""
            model = "m@1"
            input = { topics = ["a b", "x", "x"], features = "a..b" }
            output = { topic = "o/o", headers = ["weir-model", "weir-model"] }
            dead_letter = { topic = ".." }
        "#;
        let mistakes = load(text, &[]).unwrap_err().mistakes;
        let message = mistakes.join("\n");
        for part in [
            "batch: invalid type: integer `5`, expected a table",
            "store.url: store \"s3://bucket/models\" can't be opened: only directories are known",
            "store.poll_ms is 0",
            "http.listen = \"nowhere\": must be HOST:PORT",
            "http.tokens: expected a list of texts",
            "log.level = \"loud\": \"loud\" is no level",
            "kafka.brokers: \"b:http\" must be HOST:PORT",
            "linger.ms: expected a text, a number, a boolean or { file = PATH }",
            "\"no.such\"",
            "route: it is a list",
            "route \"\": name: must be",
            "input.topics: no topic can be called \"a b\"",
            "input.topics: \"x\" is listed twice",
            "input.features = \"a..b\"",
            "output.topic: no topic can be called \"o/o\"",
            "output.headers: \"weir-model\" is listed twice",
            "dead_letter.topic: no topic can be called \"..\"",
        ] {
            assert!(message.contains(part), "{part:?} is missing in:\n{message}");
        }
        assert_eq!(mistakes.len(), 17, "{message}");
        // Of a list of routes, too, and where a section is a text of the environment.
        let text = "route = [7]\n[log]\nlevel = \"loud\"";
        let mistakes = load(text, &[("WEIR__BATCH", "x"), ("WEIR__KAFKA__BROKERS", ":1")]).unwrap_err().mistakes;
        let message = mistakes.join("\n");
        for part in ["route[0]: invalid type", "batch: invalid type", "log.level", "kafka.brokers: \":1\""] {
            assert!(message.contains(part), "{part:?} is missing in:\n{message}");
        }
        assert_eq!(mistakes.len(), 4, "{message}");
    }

    #[test]
    fn a_list_of_one_may_come_without_brackets() {
        let text = MINIMAL
            .replace("[\"in\"]", "\"in\"")
            .replace("topic = \"out\"", "topic = \"out\", fields = \"key\", headers = \"weir-model\"");
        let config = load(&text, &[]).unwrap();
        assert_eq!(config.routes[0].input.topics, ["in"]);
        assert_eq!(config.routes[0].output.fields, ["key"]);
        assert_eq!(config.routes[0].output.headers.len(), 1);
    }

    #[test]
    fn records_must_not_come_round() {
        let route = |name: &str, input: &str, output: &str| {
            format!(
                "[[route]]\nname = \"{name}\"\nmodel = \"m@latest\"\ninput = {{ topics = [\"{input}\"] }}\n\
                 output = {{ topic = \"{output}\" }}\ndead_letter = {{ topic = \"dead\" }}\n"
            )
        };
        let kafka = "[kafka]\nbrokers = \"b:1\"\n";
        let chain = [kafka.into(), route("a", "x", "y"), route("b", "y", "z")].concat();
        assert!(load(&chain, &[]).is_ok(), "one route may feed another");
        let message = load(&[chain, route("c", "z", "x")].concat(), &[]).unwrap_err().to_string();
        assert!(message.contains("round and round"), "{message}");
    }

    #[test]
    fn there_has_to_be_a_route() {
        let message = load("[kafka]\nbrokers = \"b:1\"", &[]).unwrap_err().to_string();
        assert!(message.contains("there is no [[route]]"), "{message}");
    }
}

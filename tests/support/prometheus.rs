//! A Prometheus that evaluates the chart's rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::TcpListener;
use std::process::{Child, Command};

use serde_json::{Value, json};

use super::rules::{RULE_FILES, list, root, text};
use super::tools::tool;

/// A Prometheus of Debian's on a free port, stopped when dropped.
pub(crate) struct Prometheus {
    process: Child,
    folder: tempfile::TempDir,
    api: String,
    agent: ureq::Agent,
}

impl Prometheus {
    /// Scrapes these (host:port) as one job every second, and evaluates the chart's rules.
    pub(crate) fn scraping(targets: &[&str]) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        // A group of an interval of its own isn't evaluated before that is over.
        let rule_files = RULE_FILES.map(|file| {
            let rules = fs::read_to_string(root().join(file)).unwrap();
            let rules: Vec<&str> = rules.lines().filter(|line| !line.trim_start().starts_with("interval:")).collect();
            let copy = folder.path().join(file.rsplit('/').next().unwrap());
            fs::write(&copy, rules.join("\n")).unwrap();
            copy
        });
        // JSON is YAML.
        let configuration = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": rule_files,
            "scrape_configs": [{"job_name": "weir", "static_configs": [{"targets": targets}]}],
        });
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, configuration.to_string()).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let process = Command::new(tool("prometheus"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        // An error's body says more than its status.
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        Prometheus { process, folder, api: format!("http://{address}/api/v1"), agent }
    }

    pub(crate) fn assert_running(&mut self) {
        if let Some(status) = self.process.try_wait().unwrap() {
            panic!("prometheus, {status}: {}", fs::read_to_string(self.folder.path().join("log")).unwrap());
        }
    }

    /// The data of an answer; `None` as long as Prometheus isn't up.
    fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Option<Value> {
        let request = self.agent.get(format!("{}/{path}", self.api)).query_pairs(parameters.iter().copied());
        let mut answer: Value = request.call().ok()?.body_mut().read_json().ok()?;
        assert_eq!(answer["status"], "success", "{parameters:?}: {answer}");
        Some(answer["data"].take())
    }

    /// Does the query give at least one number? NaN and the infinities are none.
    pub(super) fn answers(&self, query: &str) -> bool {
        let data = self.get("query", &[("query", query)]);
        let is_number = |series: &Value| text(&series["value"][1]).parse().is_ok_and(f64::is_finite);
        data.is_some_and(|data| list(&data["result"]).iter().any(is_number))
    }

    /// The values of a query by the label `feature`.
    pub(crate) fn by_feature(&self, query: &str) -> BTreeMap<String, f64> {
        let data = self.get("query", &[("query", query)]).unwrap_or_default();
        let series = data["result"].as_array().into_iter().flatten();
        let value = |it: &Value| (text(&it["metric"]["feature"]).to_owned(), text(&it["value"][1]).parse().unwrap());
        series.map(value).collect()
    }

    pub(super) fn metric_names(&self) -> BTreeSet<String> {
        let names = self.get("label/__name__/values", &[]).unwrap_or_default();
        names.as_array().into_iter().flatten().map(|name| text(name).to_owned()).collect()
    }

    pub(super) fn rules_are_healthy(&self) -> Result<(), String> {
        let groups = self.get("rules", &[]).ok_or("no answer about the rules")?;
        let mut rules = list(&groups["groups"]).iter().flat_map(|group| list(&group["rules"]));
        match rules.find(|rule| rule["health"] != "ok") {
            Some(rule) => Err(format!("a rule can't be evaluated: {rule}")),
            None => Ok(()),
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

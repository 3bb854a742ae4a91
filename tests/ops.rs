//! What operators install, judged by the tools that will judge it there: the chart by helm, by the Kubernetes schemas and
//! by `weir check`, the rules by promtool, the dashboard by a Prometheus that scrapes a running weir.
//!
//! The value sets and the tests of the rules are in `tests/helm/`. `scripts/setup test` brings the tools.

mod recorded;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

use weir::monitor::metrics::CATALOGUE;

use crate::support::dashboard::dashboard_queries;
use crate::support::rules::{RULE_FILES, list, read, root, rule_groups, rules, text, yaml, yaml_file};
use crate::support::tools::tool;

/// The value sets, by file name in `tests/helm/`.
const VALUE_SETS: [&str; 4] = ["minimal", "full", "sasl-tls", "operators"];

const RULE_TESTS: [&str; 5] = [
    "tests/helm/rules_test.yaml",
    "tests/helm/windows_test.yaml",
    "tests/helm/week_test.yaml",
    "tests/helm/gaps_test.yaml",
    "tests/helm/outage_test.yaml",
];

/// The oldest Kubernetes that the chart says it supports.
const KUBERNETES: &str = "1.27.0";

#[test]
fn helm_finds_nothing_to_complain_about() {
    for set in VALUE_SETS {
        succeed(helm("lint").args(["--strict", "--values"]).arg(values_file(set)).arg(chart()));
    }
}

#[test]
fn kubernetes_accepts_what_the_chart_renders() {
    for set in VALUE_SETS {
        let folder = tempfile::tempdir().unwrap();
        let own = Chart::render(set, &[]).0.into_iter().filter(|object| !is_custom(object));
        let files: Vec<_> = own
            .enumerate()
            .map(|(at, object)| {
                let file = folder.path().join(format!("{at}-{}.yaml", text(&object["kind"])));
                fs::write(&file, object.to_string()).unwrap();
                file
            })
            .collect();
        // The oldest version that the chart supports, and the newest that the schemas know.
        for version in [Some(KUBERNETES), None] {
            let mut validate = Command::new(tool("kubernetes-validate"));
            validate.arg("--strict").args(version.iter().flat_map(|version| ["--kubernetes-version", version]));
            let output = succeed(validate.args(&files));
            // A kind without a schema is a warning only.
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("WARN"), "{set}: {said}");
            assert_eq!(said.matches(" passed ").count(), files.len(), "{set}: {said}");
        }
    }
}

#[test]
fn custom_resources_say_what_their_operators_need() {
    let chart = Chart::render("operators", &[]);
    let deployment = chart.workload();
    let pod = &deployment["spec"]["template"];

    let monitor = chart.only("PodMonitor");
    assert_eq!(monitor["apiVersion"], "monitoring.coreos.com/v1");
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    let selected = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
    assert!(selected.iter().all(|(label, value)| pod["metadata"]["labels"][label] == *value), "{monitor}");
    let endpoint = &monitor["spec"]["podMetricsEndpoints"];
    assert_eq!(*endpoint, json!([{"port": "http", "path": "/metrics", "interval": "5s"}]));
    assert_eq!(pod["spec"]["containers"][0]["ports"][0]["name"], "http");

    let rules = chart.only("PrometheusRule");
    assert_eq!(rules["apiVersion"], "monitoring.coreos.com/v1");
    assert_eq!(rules["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(rules["spec"]["groups"], json!(rule_groups(&RULE_FILES[..1])));
    let windows = Chart::render("operators", &["--set", "config.monitor.drift_windows={10m,1d}"]);
    assert_eq!(windows.only("PrometheusRule")["spec"]["groups"], json!(rule_groups(&RULE_FILES)));

    let scaled = chart.only("ScaledObject");
    assert_eq!(scaled["apiVersion"], "keda.sh/v1alpha1");
    assert_eq!(scaled["spec"]["scaleTargetRef"], json!({"kind": "Deployment", "name": deployment["metadata"]["name"]}),);
    assert!(deployment["spec"]["replicas"].is_null(), "helm would undo at each upgrade what KEDA has scaled");
    assert_eq!((&scaled["spec"]["minReplicaCount"], &scaled["spec"]["maxReplicaCount"]), (&json!(2), &json!(12)));
    let trigger = |topic| {
        json!({
            "type": "kafka",
            "metadata": {"bootstrapServers": "kafka:9092", "consumerGroup": "weir", "topic": topic,
                "lagThreshold": "1000000", "offsetResetPolicy": "earliest", "sasl": "scram_sha512", "tls": "enable"},
            "authenticationRef": {"name": "kafka"},
        })
    };
    let topics = ["flights.features", "flights.backfill", "fares.features"];
    assert_eq!(scaled["spec"]["triggers"], Value::from_iter(topics.map(trigger)));
}

#[test]
fn the_chart_brings_the_dashboard_and_asks_for_no_operator() {
    let chart = Chart::render("operators", &[]);
    let dashboards =
        chart.0.iter().find(|object| !object["metadata"]["labels"]["grafana_dashboard"].is_null()).unwrap();
    let dashboard: Value = serde_json::from_str(text(&dashboards["data"]["weir.json"])).unwrap();
    assert_eq!(dashboard, serde_json::from_str::<Value>(&read("helm/weir/dashboards/weir.json")).unwrap());

    let minimal = Chart::render("minimal", &[]);
    assert!(!minimal.0.iter().any(is_custom), "a cluster without those operators takes the defaults");
}

#[test]
fn pods_are_confined_probed_and_given_the_time_to_drain() {
    for set in VALUE_SETS {
        let chart = Chart::render(set, &[]);
        let spec = &chart.workload()["spec"]["template"]["spec"];
        let container = &spec["containers"][0];

        assert_eq!(spec["automountServiceAccountToken"], false);
        assert_eq!(
            (&spec["securityContext"]["runAsNonRoot"], &spec["securityContext"]["runAsUser"]),
            (&json!(true), &json!(10001))
        );
        assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let confined = json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        });
        assert_eq!(container["securityContext"], confined);
        assert!(container["resources"]["limits"]["memory"].is_string());

        for (probe, path) in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
            assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "http"}));
        }
        let configuration = chart.configuration();
        let port = &container["ports"][0]["containerPort"];
        assert!(text(&configuration["http"]["listen"]).ends_with(&format!(":{port}")), "{set}: port {port}");
        let (grace, drain) = (&spec["terminationGracePeriodSeconds"], &configuration["worker"]["drain_timeout_ms"]);
        assert!(grace.as_u64().unwrap() * 1000 > drain.as_u64().unwrap(), "{set}: {grace} s for a drain of {drain} ms");

        let store = text(&configuration["store"]["url"]).strip_prefix("file:").unwrap();
        let mounts: BTreeSet<_> = list(&container["volumeMounts"]).iter().map(|mount| text(&mount["name"])).collect();
        let volumes: BTreeSet<_> = list(&spec["volumes"]).iter().map(|volume| text(&volume["name"])).collect();
        assert_eq!(mounts, volumes, "{set}");
        assert!(list(&container["volumeMounts"]).iter().any(|mount| mount["mountPath"] == store), "{set}: no {store}");
    }
}

#[test]
fn static_members_are_pods_that_keep_their_names() {
    let kind = |arguments: &[&str]| Chart::render("minimal", arguments).workload()["kind"].clone();
    assert_eq!(kind(&[]), "Deployment");
    assert_eq!(kind(&["--set", "config.worker.static_membership=true"]), "StatefulSet");
}

#[test]
fn a_changed_configuration_rolls_the_pods() {
    let checksum = |arguments: &[&str]| {
        let chart = Chart::render("minimal", arguments);
        chart.workload()["spec"]["template"]["metadata"]["annotations"]["checksum/config"].clone()
    };
    let before = checksum(&[]);
    assert_eq!(before, checksum(&["--set", "replicas=5"]));
    assert_ne!(before, checksum(&["--set", "config.batch.max_rows=64"]));
    assert_ne!(before, checksum(&["--set", "routes[0].model=flights@8"]));
}

#[test]
fn values_come_back_from_the_rendered_configuration() {
    for set in VALUE_SETS {
        let values = yaml_file(&format!("tests/helm/{set}.yaml"));
        let rendered = Chart::render(set, &[]).configuration();
        assert_eq!(rendered["route"], values["routes"], "{set}");
        for (section, keys) in values["config"].as_object().unwrap() {
            for (key, value) in keys.as_object().unwrap() {
                match (value.as_object(), &rendered[section][key]) {
                    (None, found) => assert_eq!(found, value, "{set}: {section}.{key}"),
                    // librdkafka's properties are strings, whatever YAML takes them for.
                    (Some(properties), found) => {
                        let string = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
                        let wanted: BTreeMap<_, _> =
                            properties.iter().map(|(key, value)| (key, string(value))).collect();
                        assert_eq!(*found, json!(wanted), "{set}: {section}.{key}");
                    }
                }
            }
        }
    }
}

#[test]
fn weir_accepts_the_rendered_configuration() {
    for set in VALUE_SETS {
        let chart = Chart::render(set, &[]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weir.toml");
        fs::write(&file, chart.toml()).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_weir"));
        check.args(["check", "--offline", "-c"]).arg(&file);
        let container = &chart.workload()["spec"]["template"]["spec"]["containers"][0];
        for variable in container["env"].as_array().into_iter().flatten() {
            check.env(text(&variable["name"]), variable["value"].as_str().unwrap_or("from a Secret"));
        }
        succeed(&mut check);
    }
}

#[test]
fn the_chart_has_every_key_of_the_configuration_and_its_default() {
    let reference = read("config/weir.toml");
    let (mut defaults, mut chart) = (toml(&reference), Chart::render("minimal", &[]).configuration());
    // A pod's instance is its name, and secrets come by the environment: a ConfigMap mustn't hold them.
    for (section, key) in [("worker", "instance"), ("http", "tokens")] {
        assert!(defaults[section].as_object_mut().unwrap().remove(key).is_some());
    }
    assert!(chart.as_object_mut().unwrap().remove("route").is_some());
    // Where a pod differs from a process on someone's machine; values.yaml says why.
    let own = [
        ("/kafka/brokers", json!("kafka:9092")),
        ("/worker/threads", json!(1)),
        ("/store/url", json!("file:/models")),
        ("/http/listen", json!("0.0.0.0:8080")),
        ("/log/format", json!("json")),
    ];
    for (key, value) in own {
        let found = chart.pointer_mut(key).unwrap();
        assert_eq!(*found, value);
        *found = defaults.pointer(key).unwrap().clone();
    }
    assert_eq!(chart, defaults);

    // The route is an example in comments; its keys are in the schema.
    let example = reference.lines().skip_while(|line| *line != "# [[route]]");
    let example: String = example.map(|line| format!("{}\n", line.trim_start_matches('#'))).collect();
    let schema: Value = serde_json::from_str(&read("helm/weir/values.schema.json")).unwrap();
    let mut in_schema = BTreeSet::new();
    for (key, value) in schema["$defs"]["route"]["properties"].as_object().unwrap() {
        match value["properties"].as_object() {
            Some(inner) => in_schema.extend(inner.keys().map(|inner| format!("{key}.{inner}"))),
            None => _ = in_schema.insert(key.clone()),
        }
    }
    assert_eq!(leaves("", &toml(&example)["route"][0]), in_schema);
}

#[test]
fn wrong_values_are_refused_with_the_place() {
    let cases: [(&[&str], &str); 13] = [
        (&["--set", "replicas=two"], "replicas"),
        (&["--set", "replica=2"], "'replica'"),
        (&["--set", "config.batch.max_row=5"], "'max_row'"),
        (&["--set", "config.batch.max_rows=0"], "max_rows"),
        (&["--set-string", "config.worker.threads=2"], "threads"),
        (&["--set", "config.kafka.brokers=kafka"], "brokers"),
        (&["--set", "config.http.listen=0.0.0.0:0"], "listen"),
        (&["--set", "routes[0].output.topics=x"], "'topics'"),
        (&["--set", "routes[0].model=flights"], "model"),
        (&["--set", "routes[0].output.headers[0]=weir-mode"], "headers"),
        (&["--set", "keda.minReplicas=0"], "minReplicas"),
        // Not for the schema, but for the templates.
        (&["--set", r"config.kafka.properties.sasl\.password=x"], "WEIR__KAFKA__PROPERTIES__SASL_PASSWORD"),
        (&["--set", "config.store.url=file:models"], "config.store.url"),
    ];
    for (arguments, place) in cases {
        let message = fail(template("minimal").args(arguments));
        assert!(message.contains(place), "{arguments:?}: {message}");
    }
    let nothing_set = fail(helm("template").arg("w").arg(chart()));
    assert!(nothing_set.contains("brokers") && nothing_set.contains("routes"), "{nothing_set}");
}

#[test]
fn the_charts_readme_has_every_value() {
    let mut values = yaml_file("helm/weir/values.yaml");
    // Documented where it belongs, in config/weir.toml.
    let _ = values.as_object_mut().unwrap().remove("config").unwrap();
    let readme = read("helm/weir/README.md");
    let rows = readme.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()));
    let mut documented: BTreeSet<_> = rows.collect();
    assert!(documented.remove("config"));
    assert_eq!(documented, leaves("", &values));
}

#[test]
fn alerts_are_tested_and_say_what_to_do() {
    succeed(Command::new(tool("promtool")).args(["check", "rules"]).args(RULE_FILES.map(|file| root().join(file))));
    succeed(Command::new(tool("promtool")).args(["test", "rules"]).args(RULE_TESTS.map(|file| root().join(file))));

    let tests = read(RULE_TESTS[0]);
    for rule in rules().iter().filter(|rule| rule["alert"].is_string()) {
        let name = text(&rule["alert"]);
        let fires = format!(r#"ALERTS{{alertname="{name}", alertstate="firing""#);
        assert!(tests.contains(&fires), "no test lets {name} fire");
        for annotation in ["summary", "description", "action"] {
            assert!(rule["annotations"][annotation].is_string(), "{name} has no {annotation}");
        }
        assert!(["warning", "critical"].contains(&text(&rule["labels"]["severity"])), "{name}");
    }
}

/// An alert that is tested with series that no weir has can't fire. Prometheus adds some labels, and `le` is a histogram's.
#[test]
fn the_tests_of_the_rules_have_the_series_that_weir_has() {
    const OTHERS: [&str; 6] = ["job", "group", "instance", "namespace", "pod", "le"];
    let tests = RULE_TESTS.map(read).concat();
    let series = tests.lines().filter_map(|line| line.split_once("{series: 'weir_")?.1.split_once("}'"));
    let names: Vec<_> = series.map(|(series, _)| series.split_once('{').unwrap()).collect();
    assert!(names.len() > 100, "{} series", names.len());
    for (name, labels) in names {
        let name = format!("weir_{}", name.trim_end_matches("_bucket"));
        let entry = CATALOGUE.iter().find(|entry| entry.name == name);
        let entry = entry.unwrap_or_else(|| panic!("{name} is in the tests of the rules and not in the catalogue"));
        let labels = labels.split("\", ").map(|label| label.split_once('=').unwrap().0);
        let labels: BTreeSet<_> = labels.filter(|label| !OTHERS.contains(label)).collect();
        let expected: BTreeSet<_> = entry.labels.iter().copied().collect();
        let is_right = if name.ends_with("_info") { labels.is_subset(&expected) } else { labels == expected };
        assert!(is_right, "{name} has the labels {expected:?}, in the tests of the rules {labels:?}");
    }
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard: Value = serde_json::from_str(&read("helm/weir/dashboards/weir.json")).unwrap();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in list(&dashboard["panels"]) {
        let title = text(&panel["title"]);
        assert!(ids.insert(panel["id"].as_u64()), "{title}: its id is taken");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        let place = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
        assert!(x + w <= 24 && place.into_iter().all(|cell| cells.insert(cell)), "{title}: it lies over another");
        if panel["type"] != "row" {
            assert!(panel["description"].is_string(), "{title}: no description");
            let targets = list(&panel["targets"]);
            assert!(targets.iter().all(|target| target["datasource"]["uid"] == "${datasource}"), "{title}");
        }
    }
    // What is left of a `$` is a variable that nothing fills in.
    assert!(dashboard_queries().iter().all(|query| !query.contains('$')), "{:?}", dashboard_queries());
}

/// What the chart makes of a value set.
struct Chart(Vec<Value>);

impl Chart {
    fn render(set: &str, arguments: &[&str]) -> Chart {
        let output = succeed(template(set).args(arguments));
        Chart(yaml(&String::from_utf8(output.stdout).unwrap()))
    }

    /// What runs the pods.
    fn workload(&self) -> &Value {
        let is_workload = |object: &&Value| object["kind"] == "Deployment" || object["kind"] == "StatefulSet";
        self.0.iter().find(is_workload).expect("a workload")
    }

    /// The object of this kind, where there is one.
    fn only(&self, kind: &str) -> &Value {
        let found: Vec<_> = self.0.iter().filter(|object| object["kind"] == kind).collect();
        assert_eq!(found.len(), 1, "{kind}");
        found[0]
    }

    fn toml(&self) -> &str {
        self.0.iter().find_map(|object| object["data"]["weir.toml"].as_str()).unwrap()
    }

    fn configuration(&self) -> Value {
        toml(self.toml())
    }
}

fn is_custom(object: &Value) -> bool {
    ["monitoring.coreos.com/v1", "keda.sh/v1alpha1"].contains(&text(&object["apiVersion"]))
}

fn template(set: &str) -> Command {
    let mut command = helm("template");
    command.arg("w").arg(chart()).arg("--values").arg(values_file(set));
    command
}

fn helm(verb: &str) -> Command {
    let mut command = Command::new(tool("helm"));
    // A helm built by `go install` takes itself for a client of Kubernetes 1.20.
    command.args([verb, "--kube-version", KUBERNETES]);
    command
}

fn chart() -> PathBuf {
    root().join("helm/weir")
}

fn values_file(set: &str) -> PathBuf {
    root().join(format!("tests/helm/{set}.yaml"))
}

/// The dotted paths of all values that aren't objects with members.
fn leaves(path: &str, value: &Value) -> BTreeSet<String> {
    match value.as_object().filter(|object| !object.is_empty()) {
        None => BTreeSet::from([path.to_owned()]),
        Some(object) => {
            let dot = if path.is_empty() { "" } else { "." };
            object.iter().flat_map(|(key, value)| leaves(&format!("{path}{dot}{key}"), value)).collect()
        }
    }
}

fn toml(text: &str) -> Value {
    let source = config::File::from_str(text, config::FileFormat::Toml);
    config::Config::builder().add_source(source).build().unwrap().try_deserialize().unwrap()
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    output
}

/// What the command says when it refuses.
fn fail(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{command:?} should fail");
    String::from_utf8(output.stderr).unwrap()
}

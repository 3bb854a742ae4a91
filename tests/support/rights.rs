//! Rights on brokers that have an authorizer, changed by Kafka's own tool.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::kafka::Kafka;

/// Settings of a broker on which everybody may do everything with a topic that has no rules.
pub(crate) const AUTHORIZER: [&str; 2] = [
    "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found=true",
];

/// A broker with an authorizer, which is started once for all tests that take rights away.
pub(crate) fn guarded_brokers() -> &'static str {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    &KAFKA.get_or_init(|| Kafka::start(0, None, &AUTHORIZER)).brokers
}

/// Leaves only these operations on a topic to everybody.
pub(crate) fn restrict(brokers: &str, topic: &str, operations: &[&str]) {
    let operations = operations.iter().flat_map(|operation| ["--operation", operation]).collect::<Vec<_>>();
    change(brokers, &[&["--add", "--allow-principal", "User:*", "--topic", topic], &operations[..]].concat());
}

/// Gives all operations on a topic back to everybody.
pub(crate) fn lift_restrictions(brokers: &str, topic: &str) {
    change(brokers, &["--remove", "--force", "--topic", topic]);
}

/// Changes rights by the options of `kafka-acls.sh`.
pub(crate) fn change(brokers: &str, arguments: &[&str]) {
    run_kafka_tool("org.apache.kafka.tools.AclCommand", brokers, arguments);
}

/// Runs one of Kafka's own tools, from the jars that scripts/kafka uses.
pub(crate) fn run_kafka_tool(class: &str, brokers: &str, arguments: &[&str]) {
    let pom = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka-pom.xml")).unwrap();
    let version = pom.split_once("<kafka.version>").unwrap().1.split_once('<').unwrap().0;
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| std::env::home_dir().unwrap().join(".cache"));
    let jars = cache.join(format!("weir/kafka-{version}/*"));
    let mut java = Command::new("java");
    java.args(["-XX:TieredStopAtLevel=1", "-cp"])
        .arg(jars)
        .args([class, "--bootstrap-server", brokers])
        .args(arguments);
    let output = java.output().unwrap();
    let text = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{class} {arguments:?}: {text}");
}

//! `weir check --create-topics`: the topics of a configuration that aren't there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::CheckReport;
use crate::config::Config;
use crate::kafka::admin::{Admin, AdminError, Needs, Topic};
use crate::logging::chain;

/// How long the brokers may take until each of them knows a topic that was created, and how long to wait before asking again.
const TIMEOUT: Duration = Duration::from_secs(20);
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// How topics are created that aren't there.
pub(super) struct NewTopics {
    /// The partitions of input topics, if they aren't to be as many as the brokers' default.
    pub(super) partitions: Option<i32>,
}

impl NewTopics {
    /// Creates inputs first, since outputs get as many partitions. What can't be created is a finding, and every topic that
    /// is still missing becomes one when the routes are checked.
    pub(super) async fn run(&self, config: &Config, admin: &Admin, report: &mut CheckReport) {
        let inputs = config.routes.iter().flat_map(|route| &route.input.topics);
        let inputs = inputs.map(|topic| (topic.as_str(), self.partitions)).collect();
        let Some(described) = create_missing(inputs, admin, report).await else { return };
        let mut others = BTreeMap::new();
        for route in &config.routes {
            let widest =
                route.input.topics.iter().filter_map(|topic| described.get(topic)).map(|topic| topic.partitions);
            others.insert(route.output.topic.as_str(), widest.max());
        }
        for route in &config.routes {
            others.entry(&route.dead_letter.topic).or_insert(None);
        }
        create_missing(others, admin, report).await;
    }
}

/// Creates those of the topics that the brokers don't know, and describes those that can be described.
async fn create_missing(
    topics: BTreeMap<&str, Option<i32>>,
    admin: &Admin,
    report: &mut CheckReport,
) -> Option<BTreeMap<String, Topic>> {
    let names: Vec<String> = topics.keys().map(|&name| name.into()).collect();
    let needs = Needs::to_describe(&names);
    let survey = admin.survey(&needs).await.ok()?;
    let missing: Vec<(&str, Option<i32>)> = survey
        .errors
        .iter()
        .filter_map(|error| if let AdminError::NoTopic { topic } = error { Some(topic.as_str()) } else { None })
        .map(|name| (name, topics[name]))
        .collect();
    if missing.is_empty() {
        return Some(survey.topics);
    }
    if let Err(error) = admin.create_topics(&missing).await {
        report.failed("brokers", chain(&error));
        return None;
    }
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let survey = admin.survey(&needs).await.ok()?;
        if missing.iter().all(|(name, _)| survey.topics.contains_key(*name)) || Instant::now() > deadline {
            for (name, _) in &missing {
                report.ok(format!("topic {name}"), "created");
            }
            return Some(survey.topics);
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

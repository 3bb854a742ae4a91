//! The topic watch: one client per process that asks the brokers about the topics of all routes, every few seconds, and
//! publishes the answers.
//!
//! Workers read a [`TopicSnapshot`], one atomic read, and never wait for an answer. There are two questions, each for
//! everything at once: what the topics are like, and where the partitions end that workers have requested. Neither waits
//! for the other. The client is the watch's own, so that a question never stands behind a fetch on a worker's
//! connection, or costs it that connection.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;

use super::admin::{Admin, AdminError, Needs, Resource, Topic, TopicSurvey};
use super::consumer::TopicPartition;
use super::settings::KafkaConfig;
use crate::logging::chain;
use crate::route::RouteConfig;

/// How often the topics are asked about, and how often while something is wrong with them.
const SURVEY_INTERVAL: Duration = Duration::from_secs(5);
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How often the requested ends are asked for, at most.
const ENDS_INTERVAL: Duration = Duration::from_secs(1);

/// A question about many partitions costs librdkafka time that grows with their square. The pause after it is so many
/// times as long as the question took, but no longer than the longest.
const ENDS_PAUSE_FACTOR: u32 = 20;
const LONGEST_ENDS_PAUSE: Duration = Duration::from_secs(5);

/// What is known about the topics. It doesn't change: the watch publishes another one.
#[derive(Clone, Debug)]
pub struct TopicSnapshot {
    /// When the question was put that was last answered, about `topics`, `unusable` and `problems`: what happened
    /// before it is in the answer. The time of the watch's start until then.
    pub asked_at: Instant,
    /// What each topic is like, by name. A topic that is missing now is as it was last.
    pub topics: BTreeMap<String, Topic>,
    /// Topics that can't be used as they are meant to be, each with the reason: it doesn't exist, or a right is missing.
    pub unusable: BTreeMap<String, String>,
    /// Those of `topics` that the last answer says nothing about: they are unusable, or may not be described.
    pub stale: BTreeSet<String>,
    /// Everything that keeps the routes from working: topics that are missing, rights that are missing, brokers that
    /// don't answer. Each says what to do.
    pub problems: Vec<String>,
    /// Since when the brokers haven't answered, if they don't.
    pub unanswered_since: Option<Instant>,
    /// When the question was put whose answer `ends` is.
    pub ends_asked_at: Instant,
    /// The ends of the partitions that were requested, as the consumer's isolation level has them. A partition that
    /// isn't here has no end that is known.
    pub ends: Arc<HashMap<TopicPartition, i64>>,
}

/// Watches the topics of all routes of a process.
pub struct TopicWatch {
    admin: Admin,
    needs: Needs,
    snapshot: ArcSwap<TopicSnapshot>,
    /// By worker: the partitions whose ends it wants.
    requests: Mutex<BTreeMap<usize, Vec<TopicPartition>>>,
    /// Somebody wants an answer soon.
    hurry: Notify,
    /// Changes with each answer about the topics.
    surveyed: watch::Sender<()>,
}

impl TopicWatch {
    /// Makes the client; nothing is asked before [`TopicWatch::run`].
    pub fn new(config: &KafkaConfig, needs: Needs) -> Result<Arc<TopicWatch>, AdminError> {
        Ok(Arc::new(TopicWatch {
            admin: Admin::new(config)?,
            needs,
            snapshot: ArcSwap::from_pointee(TopicSnapshot::new(Instant::now())),
            requests: Mutex::default(),
            hurry: Notify::new(),
            surveyed: watch::Sender::new(()),
        }))
    }

    /// What is known now. Cheap enough for every batch.
    pub fn snapshot(&self) -> Arc<TopicSnapshot> {
        self.snapshot.load_full()
    }

    /// Replaces what `worker` wants to know the ends of. All workers' partitions are asked for with the next question.
    pub fn request_ends(&self, worker: usize, partitions: Vec<TopicPartition>) {
        if partitions.is_empty() {
            self.requests().remove(&worker);
        } else {
            self.requests().insert(worker, partitions);
        }
    }

    /// Asks about the topics now, and not when the next question is due.
    pub fn refresh(&self) {
        self.hurry.notify_one();
    }

    /// Waits until this is true of what is known.
    pub async fn wait_for(&self, is_met: impl Fn(&TopicSnapshot) -> bool) {
        let mut surveyed = self.surveyed.subscribe();
        while !is_met(&self.snapshot()) {
            // The sender is this value's own.
            let _ = surveyed.changed().await;
        }
    }

    /// Asks again and again, without end. `observe` gets each answer about the topics.
    pub async fn run(self: Arc<Self>, observe: impl FnMut(&TopicSnapshot)) {
        tokio::join!(self.run_surveys(observe), self.run_ends());
    }

    async fn run_surveys(self: &Arc<Self>, mut observe: impl FnMut(&TopicSnapshot)) {
        loop {
            let (asked_at, watch) = (Instant::now(), Arc::clone(self));
            let runtime = Handle::current();
            match spawn_blocking(move || runtime.block_on(watch.admin.survey(&watch.needs))).await {
                Ok(answer) => {
                    self.publish(|snapshot| snapshot.with_survey(asked_at, &answer));
                    self.surveyed.send_replace(());
                }
                Err(error) => tracing::error!(%error, "asking about the topics failed"),
            }
            let snapshot = self.snapshot();
            observe(&snapshot);
            let pause = if snapshot.problems.is_empty() { SURVEY_INTERVAL } else { RETRY_INTERVAL };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.hurry.notified() => {}
            }
        }
    }

    async fn run_ends(self: &Arc<Self>) {
        loop {
            let asked_at = Instant::now();
            let partitions = self.requested();
            if partitions.is_empty() {
                if !self.snapshot().ends.is_empty() {
                    self.publish(|snapshot| snapshot.with_ends(asked_at, Arc::default()));
                }
            } else {
                let watch = Arc::clone(self);
                match spawn_blocking(move || watch.admin.ends(&partitions)).await {
                    Ok(Ok(ends)) => {
                        let ends = Arc::new(ends);
                        self.publish(|snapshot| snapshot.with_ends(asked_at, Arc::clone(&ends)));
                    }
                    Ok(Err(error)) => tracing::debug!(%error, "the ends of partitions can't be asked for"),
                    Err(error) => tracing::error!(%error, "asking for the ends of partitions failed"),
                }
            }
            let pause = (asked_at.elapsed() * ENDS_PAUSE_FACTOR).clamp(ENDS_INTERVAL, LONGEST_ENDS_PAUSE);
            tokio::time::sleep(pause).await;
        }
    }

    /// What all workers have requested, each partition once.
    fn requested(&self) -> Vec<TopicPartition> {
        let requests = self.requests();
        let distinct: HashSet<&TopicPartition> = requests.values().flatten().collect();
        distinct.into_iter().cloned().collect()
    }

    fn publish(&self, change: impl Fn(&TopicSnapshot) -> TopicSnapshot) {
        self.snapshot.rcu(|snapshot| change(snapshot));
    }

    /// No state here is half changed: a panic of another holder does no harm.
    fn requests(&self) -> MutexGuard<'_, BTreeMap<usize, Vec<TopicPartition>>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TopicSnapshot {
    /// A snapshot of topics that nobody has to ask about.
    #[cfg(test)]
    pub(crate) fn simulated(
        asked_at: Instant,
        topics: BTreeMap<String, Topic>,
        ends: HashMap<TopicPartition, i64>,
    ) -> TopicSnapshot {
        let ends = Arc::new(ends);
        TopicSnapshot { topics, ends, ends_asked_at: asked_at, problems: Vec::new(), ..TopicSnapshot::new(asked_at) }
    }

    /// Whether a topic was described and can be used as it is meant to be.
    pub fn is_usable(&self, topic: &str) -> bool {
        self.topics.contains_key(topic) && !self.unusable.contains_key(topic)
    }

    /// Whether all topics of a route can be used.
    pub fn has_all_of(&self, route: &RouteConfig) -> bool {
        route.topics().all(|topic| self.is_usable(topic))
    }

    /// Nothing is known yet.
    fn new(now: Instant) -> TopicSnapshot {
        TopicSnapshot {
            asked_at: now,
            topics: BTreeMap::new(),
            unusable: BTreeMap::new(),
            stale: BTreeSet::new(),
            problems: vec!["the brokers haven't answered yet".into()],
            unanswered_since: None,
            ends_asked_at: now,
            ends: Arc::default(),
        }
    }

    /// This snapshot after an answer about the topics. Where an answer says nothing, the last one stands.
    fn with_survey(&self, asked_at: Instant, answer: &Result<TopicSurvey, AdminError>) -> TopicSnapshot {
        match answer {
            Err(error) => TopicSnapshot {
                unanswered_since: self.unanswered_since.or(Some(asked_at)),
                problems: vec![chain(error)],
                ..self.clone()
            },
            Ok(survey) => {
                let mut topics = self.topics.clone();
                for (name, topic) in &survey.topics {
                    let before = topics.get(name).filter(|before| before.id == topic.id);
                    let topic = match before {
                        Some(before) if survey.unconfigured.contains(name) => topic.configured_as(before),
                        _ => *topic,
                    };
                    topics.insert(name.clone(), topic);
                }
                let unusable = survey.errors.iter().filter_map(|error| match error {
                    AdminError::NoTopic { topic } | AdminError::Denied { resource: Resource::Topic(topic), .. } => {
                        Some((topic.clone(), chain(error)))
                    }
                    _ => None,
                });
                let stale = topics.keys().filter(|name| !survey.topics.contains_key(*name)).cloned().collect();
                TopicSnapshot {
                    asked_at,
                    topics,
                    stale,
                    unusable: unusable.collect(),
                    problems: survey.errors.iter().map(|error| chain(error)).collect(),
                    unanswered_since: None,
                    ..self.clone()
                }
            }
        }
    }

    /// This snapshot after an answer about ends.
    fn with_ends(&self, asked_at: Instant, ends: Arc<HashMap<TopicPartition, i64>>) -> TopicSnapshot {
        TopicSnapshot { ends_asked_at: asked_at, ends, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::admin::TopicId;
    use crate::kafka::trouble::Trouble;

    fn survey(topics: &[(&str, Topic)], errors: Vec<AdminError>) -> Result<TopicSurvey, AdminError> {
        let topics = topics.iter().map(|(name, topic)| ((*name).to_owned(), *topic)).collect();
        Ok(TopicSurvey { topics, errors, ..TopicSurvey::default() })
    }

    fn unreachable() -> Result<TopicSurvey, AdminError> {
        Err(AdminError::Unreachable { brokers: "there".into(), trouble: Trouble::NobodyThere })
    }

    #[test]
    fn a_survey_replaces_what_it_answers_and_leaves_the_rest() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let (small, large) = (Topic { partitions: 2, ..Topic::default() }, Topic { partitions: 5, ..Topic::default() });
        let first = TopicSnapshot::new(start).with_survey(after(1), &survey(&[("in", small), ("out", small)], vec![]));
        assert_eq!((first.asked_at, first.problems.as_slice()), (after(1), [].as_slice()));
        assert_eq!(first.topics["in"], small);

        // One grows, the other is gone.
        let gone = AdminError::NoTopic { topic: "out".into() };
        let second = first.with_survey(after(2), &survey(&[("in", large)], vec![gone]));
        assert_eq!(second.topics["in"], large);
        assert_eq!(second.topics["out"], small, "the last facts of a missing topic stay");
        assert_eq!(second.unusable.keys().collect::<Vec<_>>(), ["out"]);
        assert_eq!(second.stale, BTreeSet::from(["out".to_owned()]));
        assert_eq!(["in", "out", "other"].map(|topic| second.is_usable(topic)), [true, false, false]);
        assert_eq!(second.problems, ["topic \"out\" doesn't exist: create it, or correct its name"]);

        // No answer, and again none.
        let third = second.with_survey(after(3), &unreachable()).with_survey(after(4), &unreachable());
        assert_eq!((third.asked_at, third.unanswered_since), (after(2), Some(after(3))));
        assert_eq!((&third.topics, &third.unusable), (&second.topics, &second.unusable));
        assert!(third.problems.len() == 1 && third.problems[0].starts_with("no answer from the brokers at there"));

        let fourth = third.with_survey(after(5), &survey(&[("in", large), ("out", large)], vec![]));
        assert_eq!((fourth.asked_at, fourth.unanswered_since), (after(5), None));
        assert!(fourth.problems.is_empty() && fourth.unusable.is_empty() && fourth.stale.is_empty());
    }

    #[test]
    fn a_configuration_that_is_not_answered_stays_unless_the_topic_is_another() {
        let start = Instant::now();
        let topic = |id, partitions| Topic { id: Some(TopicId(id)), partitions, ..Topic::default() };
        let known = Topic { is_compacted: true, max_message_bytes: 100, ..topic(1, 2) };
        let snapshot = TopicSnapshot::new(start).with_survey(start, &survey(&[("t", known)], vec![]));
        let unconfigured = |topic| {
            let survey = survey(&[("t", topic)], vec![]).unwrap();
            let answer = Ok(TopicSurvey { unconfigured: BTreeSet::from(["t".to_owned()]), ..survey });
            snapshot.with_survey(start, &answer).topics["t"]
        };
        assert_eq!(unconfigured(topic(1, 3)), Topic { partitions: 3, ..known });
        assert_eq!(unconfigured(topic(2, 3)), topic(2, 3));
    }

    #[test]
    fn the_requests_of_all_workers_are_one_question_without_repetition() {
        let config = KafkaConfig {
            brokers: "localhost:1".into(),
            group_id: "g".into(),
            client_id: "c".into(),
            properties: Default::default(),
        };
        let watch = TopicWatch::new(&config, Needs::default()).unwrap();
        let partition = |partition| TopicPartition { topic: "t".into(), partition };
        let requested = || watch.requested().iter().map(|partition| partition.partition).collect::<BTreeSet<_>>();
        watch.request_ends(0, vec![partition(0), partition(1)]);
        watch.request_ends(1, vec![partition(1), partition(2)]);
        assert_eq!(watch.requested().len(), 3);
        assert_eq!(requested(), BTreeSet::from([0, 1, 2]));
        watch.request_ends(0, vec![partition(3)]);
        assert_eq!(requested(), BTreeSet::from([1, 2, 3]), "a request replaces the worker's last one");
        watch.request_ends(1, vec![]);
        assert_eq!(requested(), BTreeSet::from([3]));
    }
}

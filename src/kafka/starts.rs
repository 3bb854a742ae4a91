//! Where assigned partitions begin: at the group's commit, or where `auto.offset.reset` says.
//!
//! librdkafka would ask by itself, but it takes offsets that are pending in an open transaction for none at all when the
//! assignment changes meanwhile.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;
use rdkafka::types::RDKafkaErrorCode;

use super::admin::TopicId;
use super::ffi::ask::{TopicAnswer, describe_topics};
use super::ffi::cluster_id;
use super::ffi::positions::{each_position, positions, topic_ids};
use super::is_about_topic;
use super::position::{Commit, GroupCommits, Position, TopicPartition};

/// How long each question may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where consuming of an assigned partition begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Where.
    pub point: StartPoint,
    /// Of which topic with this name, as far as the brokers say.
    pub topic_id: Option<TopicId>,
}

/// A place in a partition, and why consuming begins there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartPoint {
    /// The group's commit.
    Committed(Position),
    /// The group has no commit: the start or the end of the log as it is now, as `auto.offset.reset` says.
    Reset(i64),
    /// The group's commit belongs to a topic that had this name before: the start of the log as it is now.
    Recreated(i64),
    /// The group has no commit, and `auto.offset.reset = error`.
    Nowhere,
}

/// Where partitions without a commit begin: the property `auto.offset.reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OffsetReset {
    Earliest,
    Latest,
    Error,
}

impl OffsetReset {
    /// What a consumer with this configuration does, by all names that librdkafka accepts.
    pub(super) fn of(config: &ClientConfig) -> OffsetReset {
        match config.get("auto.offset.reset").unwrap_or_default().to_ascii_lowercase().as_str() {
            "latest" | "largest" | "end" => OffsetReset::Latest,
            "error" => OffsetReset::Error,
            _ => OffsetReset::Earliest,
        }
    }
}

/// Asks where these partitions begin: four questions at the most, however many there are. Blocks for up to 20 s.
///
/// While an open transaction has offsets of one of the partitions, the answer is an error: ask again then.
pub(super) fn ask<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: Vec<TopicPartition>,
    reset: OffsetReset,
) -> Result<Vec<(TopicPartition, Start)>, KafkaError> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let mut committed = committed(consumer, &partitions)?;
    // After the commits: a topic that they don't belong to has replaced theirs.
    let topics = topic_ids_by_name(consumer, &partitions)?;
    let mut bounds = TopicPartitionList::new();
    let mut starts = Vec::with_capacity(partitions.len());
    let cluster_id = cluster_id(consumer.client(), TIMEOUT);
    let committed_ids = topic_ids(&mut committed, cluster_id.as_deref());
    for ((partition, position), committed_id) in
        partitions.into_iter().zip(positions(&mut committed)?).zip(committed_ids)
    {
        let topic_id = topics.get(&partition.topic).copied();
        let is_replaced = committed_id.is_some() && topic_id.is_some() && committed_id != topic_id;
        let (point, bound) = match (position, reset) {
            (Some(_), _) if is_replaced => (StartPoint::Recreated(0), Some(Offset::Beginning)),
            (Some(position), _) => (StartPoint::Committed(position), None),
            (None, OffsetReset::Earliest) => (StartPoint::Reset(0), Some(Offset::Beginning)),
            (None, OffsetReset::Latest) => (StartPoint::Reset(0), Some(Offset::End)),
            (None, OffsetReset::Error) => (StartPoint::Nowhere, None),
        };
        if let Some(bound) = bound {
            // As "timestamps" the two offsets stand for the start and the end of the log: librdkafka passes them on, and
            // ListOffsets takes them so.
            bounds.add_partition_offset(&partition.topic, partition.partition, bound)?;
        }
        starts.push((partition, Start { point, topic_id }));
    }
    if bounds.count() > 0 {
        let mut found = positions(&mut consumer.offsets_for_times(bounds, TIMEOUT)?)?.into_iter();
        for (_, start) in &mut starts {
            if let StartPoint::Reset(offset) | StartPoint::Recreated(offset) = &mut start.point {
                let unanswered = KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset);
                *offset = found.next().flatten().ok_or(unanswered)?.offset;
            }
        }
    }
    Ok(starts)
}

/// What the group has committed of these partitions, in their order, as librdkafka answers.
fn committed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &[TopicPartition],
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for TopicPartition { topic, partition } in partitions {
        list.add_partition(topic, *partition);
    }
    consumer.committed_offsets(list, TIMEOUT)
}

/// Asks what the group has committed of these partitions. Those that are gone or may not be read are left out. Blocks for
/// up to 10 s, and fails while an open transaction has offsets of one of them.
pub(super) fn ask_commits<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: Vec<TopicPartition>,
) -> Result<GroupCommits, KafkaError> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let mut list = committed(consumer, &partitions)?;
    let cluster_id = cluster_id(consumer.client(), TIMEOUT);
    let topic_ids = topic_ids(&mut list, cluster_id.as_deref());
    let mut commits = Vec::with_capacity(partitions.len());
    for ((partition, position), topic_id) in partitions.into_iter().zip(each_position(&mut list)).zip(topic_ids) {
        match position {
            Ok(position) => {
                let commit = position.map(|position| Commit { partition: partition.clone(), position, topic_id });
                commits.push((partition, commit));
            }
            Err(error) if is_about_topic(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(commits)
}

/// Which topics have these partitions' names now, as far as the brokers say.
fn topic_ids_by_name<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &[TopicPartition],
) -> Result<HashMap<String, TopicId>, KafkaError> {
    let names: BTreeSet<&str> = partitions.iter().map(|partition| partition.topic.as_str()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let (_, answers) = describe_topics(consumer.client(), &names, TIMEOUT)?;
    let known = |(name, answer): (&str, TopicAnswer)| Some((name.to_owned(), TopicId(answer.id?)));
    Ok(names.into_iter().zip(answers).filter_map(known).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reset_has_all_of_librdkafkas_names() {
        for (value, reset) in [
            (None, OffsetReset::Earliest),
            (Some("smallest"), OffsetReset::Earliest),
            (Some("beginning"), OffsetReset::Earliest),
            (Some("Latest"), OffsetReset::Latest),
            (Some("largest"), OffsetReset::Latest),
            (Some("end"), OffsetReset::Latest),
            (Some("error"), OffsetReset::Error),
        ] {
            let mut config = ClientConfig::new();
            if let Some(value) = value {
                config.set("auto.offset.reset", value);
                config.create_native_config().expect("librdkafka takes it");
            }
            assert_eq!(OffsetReset::of(&config), reset, "{value:?}");
        }
    }
}

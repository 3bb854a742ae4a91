//! Where assigned partitions begin: at the group's commit, or where `auto.offset.reset` says.
//!
//! librdkafka would ask by itself, but it takes offsets that are pending in an open transaction for none at all when the
//! assignment changes meanwhile.

use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;
use rdkafka::types::RDKafkaErrorCode;

use super::ffi::positions::positions;
use super::position::{Position, TopicPartition};

/// How long each of the two questions may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where consuming of an assigned partition begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the group's commit.
    Committed(Position),
    /// The group has no commit: at the start or the end of the log as it is now, as `auto.offset.reset` says.
    Reset(i64),
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

/// Asks where these partitions begin: two questions at the most, however many there are. Blocks for up to 10 s.
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
    let mut committed = TopicPartitionList::with_capacity(partitions.len());
    for TopicPartition { topic, partition } in &partitions {
        committed.add_partition(topic, *partition);
    }
    let committed = positions(&mut consumer.committed_offsets(committed, TIMEOUT)?)?;
    let offset = match reset {
        OffsetReset::Earliest => Offset::Beginning,
        OffsetReset::Latest => Offset::End,
        OffsetReset::Error => {
            let start = |position: Option<Position>| position.map_or(Start::Nowhere, Start::Committed);
            return Ok(partitions.into_iter().zip(committed.into_iter().map(start)).collect());
        }
    };
    let mut bounds = TopicPartitionList::new();
    for (TopicPartition { topic, partition }, _) in
        partitions.iter().zip(&committed).filter(|(_, committed)| committed.is_none())
    {
        // As "timestamps" the two offsets stand for the start and the end of the log: librdkafka passes them on, and
        // ListOffsets takes them so.
        bounds.add_partition_offset(topic, *partition, offset)?;
    }
    let mut bounds = match bounds.count() {
        0 => Vec::new(),
        _ => positions(&mut consumer.offsets_for_times(bounds, TIMEOUT)?)?,
    }
    .into_iter();
    let start = |committed: Option<Position>| match committed {
        Some(position) => Ok(Start::Committed(position)),
        None => {
            let unanswered = KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset);
            Ok(Start::Reset(bounds.next().flatten().ok_or(unanswered)?.offset))
        }
    };
    let starts = committed.into_iter().map(start).collect::<Result<Vec<_>, KafkaError>>()?;
    Ok(partitions.into_iter().zip(starts).collect())
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

//! Offsets with leader epochs, as librdkafka takes and gives them. rdkafka's lists have no epochs.

use rdkafka::TopicPartitionList;
use rdkafka::bindings as rd;
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;

use crate::kafka::admin::TopicId;
use crate::kafka::position::{Commit, Position, TopicPartition};

/// What librdkafka has where an epoch is unknown.
const UNKNOWN_EPOCH: i32 = -1;

/// A list of positions, in their order.
pub(crate) fn positions_list<'p>(
    positions: impl IntoIterator<Item = (&'p TopicPartition, Position)>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (TopicPartition { topic, partition }, Position { offset, leader_epoch }) in positions {
        list.add_partition_offset(topic, *partition, Offset::Offset(offset))?;
        let last = elements(&mut list).last_mut().expect("an element was added");
        // SAFETY: the element is alive and only borrowed here.
        unsafe { rd::rd_kafka_topic_partition_set_leader_epoch(last, leader_epoch.unwrap_or(UNKNOWN_EPOCH)) };
    }
    Ok(list)
}

/// A list of commits, in their order. Without the cluster's id their metadata don't name their topics' ids, either.
pub(crate) fn commits_list(commits: &[Commit], cluster_id: Option<&str>) -> Result<TopicPartitionList, KafkaError> {
    let list = positions_list(commits.iter().map(|commit| (&commit.partition, commit.position)))?;
    for (mut element, commit) in list.elements().into_iter().zip(commits) {
        if let (Some(topic_id), Some(cluster_id)) = (commit.topic_id, cluster_id) {
            element.set_metadata(topic_id.commit_metadata(cluster_id));
        }
    }
    Ok(list)
}

/// The ids of the topics of this cluster that the commits in a list were made for, in its order, where their metadata have them.
pub(crate) fn topic_ids(list: &mut TopicPartitionList, cluster_id: Option<&str>) -> Vec<Option<TopicId>> {
    let id = |element: &mut rd::rd_kafka_topic_partition_t| {
        if element.metadata.is_null() {
            return None;
        }
        // SAFETY: the element is alive and only borrowed here, and its metadata has so many bytes. They may be anybody's.
        let metadata = unsafe { std::slice::from_raw_parts(element.metadata.cast::<u8>(), element.metadata_size) };
        TopicId::from_commit_metadata(metadata, cluster_id?)
    };
    elements(list).iter_mut().map(id).collect()
}

/// The positions in a list, in its order; `None` where it has no offset. The first error in it is returned.
pub(crate) fn positions(list: &mut TopicPartitionList) -> Result<Vec<Option<Position>>, KafkaError> {
    each_position(list).into_iter().collect()
}

/// The positions in a list, in its order, each with its own error.
pub(crate) fn each_position(list: &mut TopicPartitionList) -> Vec<Result<Option<Position>, KafkaError>> {
    let errors: Vec<_> = list.elements().iter().map(|element| element.error()).collect();
    let position = |element: &mut rd::rd_kafka_topic_partition_t| {
        // SAFETY: the element is alive and only borrowed here.
        let epoch = unsafe { rd::rd_kafka_topic_partition_get_leader_epoch(element) };
        let leader_epoch = Some(epoch).filter(|&epoch| epoch >= 0);
        (element.offset >= 0).then_some(Position { offset: element.offset, leader_epoch })
    };
    errors.into_iter().zip(elements(list)).map(|(error, element)| error.map(|()| position(element))).collect()
}

fn elements(list: &mut TopicPartitionList) -> &mut [rd::rd_kafka_topic_partition_t] {
    // SAFETY: the list is alive and borrowed mutably, and its elements, so many, belong to it.
    unsafe {
        let list = &*list.ptr();
        if list.cnt == 0 { &mut [] } else { std::slice::from_raw_parts_mut(list.elems, list.cnt as usize) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_keep_their_order_and_epochs() {
        let partition = |partition| TopicPartition { topic: "t".into(), partition };
        let given = [
            (partition(7), Position { offset: 12, leader_epoch: Some(3) }),
            (partition(0), Position { offset: 0, leader_epoch: Some(0) }),
            (partition(3), Position { offset: 5, leader_epoch: None }),
        ];
        let mut list = positions_list(given.iter().map(|(partition, position)| (partition, *position))).unwrap();
        let numbers: Vec<_> = list.elements().iter().map(|element| element.partition()).collect();
        assert_eq!(numbers, [7, 0, 3]);
        list.add_partition("t", 9);
        let expected: Vec<_> = given.iter().map(|(_, position)| Some(*position)).chain([None]).collect();
        assert_eq!(positions(&mut list).unwrap(), expected);
    }

    #[test]
    fn metadata_name_the_topic_of_this_cluster() {
        let commit = |partition, topic_id| Commit {
            partition: TopicPartition { topic: "t".into(), partition },
            position: Position::at(12),
            topic_id,
        };
        let known = Some(TopicId(0x0123_4567_89ab_cdef_0000_0000_0000_0001));
        let mut list = commits_list(&[commit(0, known), commit(1, None), commit(2, None)], Some("here")).unwrap();
        list.elements()[2].set_metadata("another program's, of topic-id=7 cluster-id=here");
        assert_eq!(topic_ids(&mut list, Some("here")), [known, None, None]);
        for elsewhere in [Some("there"), None] {
            assert_eq!(topic_ids(&mut list, elsewhere), [None; 3], "{elsewhere:?}");
        }
        assert_eq!(TopicId::from_commit_metadata(b"topic-id=\xff cluster-id=here", "here"), None);
        let mut unnamed = commits_list(&[commit(0, known)], None).unwrap();
        assert_eq!(topic_ids(&mut unnamed, Some("here")), [None]);
        assert_eq!(positions(&mut list).unwrap(), [Some(Position::at(12)); 3]);
    }
}

//! Where partitions are consumed from and committed up to.

use super::admin::TopicId;

/// A partition of a topic, by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
}

/// Where a partition is consumed from, or committed up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The next offset.
    pub offset: i64,
    /// The epoch of the leader that wrote the record before it, by which brokers detect that the log has been truncated
    /// since (KIP-320); `None`: unknown, and nothing is checked.
    pub leader_epoch: Option<i32>,
}

/// A position that is to be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The partition.
    pub partition: TopicPartition,
    /// Everything before it is done.
    pub position: Position,
    /// Which topic of this name the position belongs to, if known. It goes into the commit's metadata: whoever begins there
    /// can see that the topic has been created again since.
    pub topic_id: Option<TopicId>,
}

/// What a group has committed, by partition.
pub type GroupCommits = Vec<(TopicPartition, Option<Commit>)>;

impl Position {
    /// A position without an epoch.
    pub fn at(offset: i64) -> Position {
        Position { offset, leader_epoch: None }
    }
}

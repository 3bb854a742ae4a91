//! Faults that weir had once, put back: the simulator has to find each of them. They act between worker and world, as if the worker
//! still had them.

/// A fault that was fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PutBack {
    /// A partition goes on where librdkafka's own position is, which errors and pauses move.
    ResumesWithoutSeek,
    /// Commits don't say which topic they belong to.
    CommitsNameNoTopic,
    /// An offset isn't committed again when only its leader epoch is another one.
    CommitsOffsetsOnly,
    /// Records below the cursor are dropped, and nobody looks whether the topic is another one.
    IgnoresLogsThatWentBack,
    /// Where partitions begin isn't committed before something comes.
    LeavesStartsUncommitted,
    /// Data that can't be read is passed over.
    SkipsUnreadable,
    /// A record that comes through the group's queue is dropped.
    DropsStrays,
    /// A revocation that comes during a step of a transaction is dropped.
    DropsRevocations,
    /// A partition's queue is forwarded only once.
    AttachesOnce,
    /// Offsets that are pending in a transaction are taken for none.
    TakesPendingForNone,
    /// An abort purges only once.
    PurgesOnce,
    /// A topic is consumed on although the client doesn't know it any more.
    ConsumesUnknownTopicsOn,
    /// A producer is used again whose records were purged on their way.
    KeepsProducer,
    /// A record that an output refuses is a failure of the worker.
    FailsAtRefusals,
    /// What is handed to the producer is committed, acknowledged or not.
    #[cfg(feature = "planted-bugs")]
    CommitsBeforeAcknowledgement,
    /// Transactions commit offsets in nobody's name, whatever has become of their partitions.
    #[cfg(feature = "planted-bugs")]
    CommitsInNobodysName,
}

impl PutBack {
    pub(super) const ALL: &[PutBack] = &[
        PutBack::ResumesWithoutSeek,
        PutBack::CommitsNameNoTopic,
        PutBack::CommitsOffsetsOnly,
        PutBack::IgnoresLogsThatWentBack,
        PutBack::LeavesStartsUncommitted,
        PutBack::SkipsUnreadable,
        PutBack::DropsStrays,
        PutBack::DropsRevocations,
        PutBack::AttachesOnce,
        PutBack::TakesPendingForNone,
        PutBack::PurgesOnce,
        PutBack::ConsumesUnknownTopicsOn,
        PutBack::KeepsProducer,
        PutBack::FailsAtRefusals,
        #[cfg(feature = "planted-bugs")]
        PutBack::CommitsBeforeAcknowledgement,
        #[cfg(feature = "planted-bugs")]
        PutBack::CommitsInNobodysName,
    ];

    /// The seed to begin with. Where it isn't 0, the seeds before it don't find the fault.
    pub(super) fn first_seed(self) -> u64 {
        match self {
            PutBack::CommitsOffsetsOnly => 18_000,
            _ => 0,
        }
    }

    /// Its name for [`planted`](crate::worker::planted), where it is a bug of the worker itself.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn planted(self) -> Option<&'static str> {
        match self {
            PutBack::CommitsBeforeAcknowledgement => Some("commit_before_acknowledgement"),
            PutBack::CommitsInNobodysName => Some("zombie_commit"),
            _ => None,
        }
    }
}

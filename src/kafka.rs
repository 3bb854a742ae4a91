//! Everything that names rdkafka.
//!
//! - [`settings`]: the `[kafka]` section, and the client settings that weir owns, with their reasons
//! - [`consumer`]: a member of the group, driven by its worker: poll, rebalance events, commits with a deadline
//! - [`position`], [`starts`]: where partitions are consumed from, and where they begin
//! - [`pending`]: answers that are waited for on threads of their own
//! - [`producer`]: outputs in, delivery reports out, counted by batch
//! - `flusher`: sends what a producer holds back, as soon as nothing more comes
//! - [`delivery`]: records sent and waited for, by those who keep no ledger
//! - [`reader`]: ranges of topics from one end to the other, without a group
//! - [`refusal`]: what a failed delivery is about
//! - [`admin`]: what the topics are like (partitions, size limits), and which rights are missing
//! - [`watch`]: asks so all the time, for a whole process, and publishes the answers
//! - [`trouble`]: why a connection fails, in words that say what to do
//! - `ffi`: the calls that librdkafka has and rdkafka doesn't wrap

pub mod admin;
pub mod consumer;
pub mod delivery;
pub(crate) mod ffi;
mod flusher;
pub mod pending;
pub mod position;
pub mod producer;
pub mod reader;
pub mod refusal;
pub mod settings;
#[cfg(test)]
pub(crate) mod simulated;
pub mod starts;
pub mod trouble;
pub mod watch;

use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
pub use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

pub use ffi::headers::Headers;
use trouble::Trouble;

/// How a key chooses its partition: as Java clients do it. librdkafka's own default is another hash.
pub(crate) const PARTITIONER: &str = "murmur2_random";

/// Whether a commit was refused only because the group is changing just then: the member's next generation is on its
/// way. One that has been thrown out is refused so as well, until it joins again.
pub(crate) fn is_rebalancing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::StaleMemberEpoch
        )
    )
}

/// Whether the brokers deny the client membership in its group.
pub(crate) fn is_denial(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed)
}

/// Whether the group's members assign partitions in a way that the client doesn't have.
pub(crate) fn is_other_protocol(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::InconsistentGroupProtocol)
}

/// Whether another member of the group has taken the client's `group.instance.id`.
pub(crate) fn is_fenced_instance(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::FencedInstanceId)
}

/// Whether the group takes no offset of a topic: it is gone, has fewer partitions, or may not be read.
pub(crate) fn is_about_topic(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::TopicAuthorizationFailed)
    )
}

/// Whether the brokers, or the client, don't know a topic: it was deleted, and may have been created again since.
pub(crate) fn is_unknown_topic(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicId
        )
    )
}

/// Sends librdkafka's own log lines to `tracing`, at their levels.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::error!(target: "weir::kafka", facility, "{message}");
        }
        RDKafkaLogLevel::Warning => tracing::warn!(target: "weir::kafka", facility, "{message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "weir::kafka", facility, "{message}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "weir::kafka", facility, "{message}"),
    }
}

/// The context of a client that only asks: it keeps what was said about its connections, which says more than an error
/// code.
#[derive(Default)]
pub(crate) struct Quiet {
    trouble: Mutex<Option<Trouble>>,
}

impl Quiet {
    /// The last cause of trouble that is known.
    pub(crate) fn trouble(&self) -> Trouble {
        self.noted().clone().unwrap_or(Trouble::Other(String::new()))
    }

    /// The brokers have answered: what was before is over.
    pub(crate) fn forget(&self) {
        *self.noted() = None;
    }

    fn note(&self, code: Option<RDKafkaErrorCode>, words: &str) {
        let mut noted = self.noted();
        match Trouble::read(code, words) {
            // What follows a telling cause is often only that the connection is gone.
            Some(Trouble::Other(_)) if !matches!(*noted, None | Some(Trouble::Other(_))) => {}
            Some(trouble) => *noted = Some(trouble),
            None => {}
        }
    }

    fn noted(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        // Whoever asks says what came of it, once.
        tracing::debug!(target: "weir::kafka", facility, "{message}");
        // A connection that is closed before anything was answered is reported only here.
        if facility == "FAIL" {
            self.note(None, message);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "weir::kafka", %error, "{reason}");
        self.note(error.rdkafka_error_code(), reason);
    }
}

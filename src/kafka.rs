//! Everything that names rdkafka.
//!
//! - [`settings`]: the `[kafka]` section, and the client settings that weir owns, with their reasons
//! - [`consumer`]: a member of the group, driven by its worker: poll, rebalance events, commits with a deadline
//! - [`producer`]: outputs in, delivery reports out, counted by batch
//! - [`admin`]: what the topics are like: partitions, size limits
//! - `ffi`: the calls that librdkafka has and rdkafka doesn't wrap

pub mod admin;
pub mod consumer;
pub(crate) mod ffi;
pub mod producer;
pub mod settings;

use std::sync::{Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
pub use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::types::RDKafkaErrorCode;

/// How a key chooses its partition: as Java clients do it. librdkafka's own default is another hash.
pub(crate) const PARTITIONER: &str = "murmur2_random";

/// The headers of a record on its way out: in order, names may repeat.
#[derive(Debug, Default)]
pub struct Headers(OwnedHeaders);

impl Headers {
    /// Appends a header.
    pub fn with(self, name: &str, value: &[u8]) -> Headers {
        Headers(self.0.insert(Header { key: name, value: Some(value) }))
    }
}

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

/// The context of a client that only asks: it keeps librdkafka's last words, which say more than its error codes.
#[derive(Default)]
pub(crate) struct Quiet {
    last_words: Mutex<String>,
}

impl Quiet {
    /// What librdkafka said last, such as why a connection failed.
    pub(crate) fn last_words(&self) -> String {
        self.last_words.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "weir::kafka", %error, "{reason}");
        *self.last_words.lock().unwrap_or_else(PoisonError::into_inner) = reason.to_owned();
    }
}

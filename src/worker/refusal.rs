//! What is remembered of a record whose outcome an output refused, until its partition is committed past it.
//!
//! A partition with a refused outcome is consumed again from the end of what is done. Brokers often refuse a whole batch for one
//! record in it, so the record that was named goes out alone the next time. Refused alone, it is the culprit, and becomes a dead
//! letter.

/// What is known of a record that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its batch was refused: its outcome is to be sent alone.
    Suspect,
    /// Its prediction was refused alone; the reason, as the broker gives it.
    Refused(String),
}

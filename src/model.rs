//! Models: what they take and answer.

pub mod preprocess;
pub mod signature;

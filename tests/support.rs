//! Starting things, feeding and reading topics. Whatever is started here stops with the test, or with the test run.

pub(crate) mod dashboard;
pub(crate) mod departures;
pub(crate) mod kafka;
pub(crate) mod models;
pub(crate) mod populations;
pub(crate) mod prometheus;
#[allow(dead_code, reason = "chaos needs the rest")]
pub(crate) mod proxy;
pub(crate) mod rights;
pub(crate) mod rules;
pub(crate) mod samples;
pub(crate) mod states;
pub(crate) mod tools;
pub(crate) mod wait;
pub(crate) mod weir;

pub(crate) use wait::{PATIENCE, eventually, stays, within};

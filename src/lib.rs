//! weir: a streaming inference worker for Apache Kafka.
//!
//! One record's way, one straight line on one thread:
//!
//! ```text
//! poll ─ batch ─ decode ─ score ─ encode ─ produce ─ acknowledge ─ commit
//! ```
//!
//! In reading order: [`record`] is what travels; [`limits`] is how much of a file is read; [`texts`] is what a text
//! means; [`codec`] turns payloads into
//! rows and predictions into payloads;
//! [`batch`] says when rows go together; [`engine`] is the network; [`model`] is a version of it with all that belongs
//! to it, on disk and in memory; [`score`] puts these together for a batch; [`kafka`] is all that names rdkafka;
//! [`worker`] is the line, and [`dead_letter`] what becomes of the records that it rejects; [`replay`] reads a range again,
//! through other versions; [`serve`] starts and stops it; [`pauses`] keeps which routes wait by hand; [`health`] says whether weir is ready; [`monitor`] counts and
//! [`http`] reports; [`train`] makes models and [`report`] shows how good they are; [`config`] and [`cli`] are how people reach
//! it.

pub mod batch;
pub mod broker;
pub mod cli;
pub mod codec;
pub mod config;
pub mod dead_letter;
pub mod demo;
pub mod health;
pub mod http;
pub mod kafka;
pub mod limits;
pub mod logging;
pub mod model;
pub mod monitor;
pub mod pauses;
pub mod printable;
pub mod record;
mod repeat;
pub mod replay;
pub mod report;
pub mod route;
pub mod score;
pub mod serve;
pub mod texts;
pub mod train;
pub mod worker;

pub use weir_engine as engine;

//! weir: a streaming inference worker for Apache Kafka.
//!
//! One record's way, one straight line on one thread:
//!
//! ```text
//! poll ─ batch ─ decode ─ score ─ encode ─ produce ─ acknowledge ─ commit
//! ```
//!
//! In reading order: [`record`] is what travels; [`limits`] is how much of a file is read; [`texts`] is what a text
//! means; [`codec`] turns payloads into rows and predictions into payloads; [`batch`] says when rows go together;
//! [`engine`] is the network; [`model`] is a version of it with all that belongs to it, on disk and in memory;
//! [`score`] puts these together for a batch; [`kafka`] is all that names rdkafka; [`worker`] is the line, and
//! [`dead_letter`] what becomes of the records that it rejects; [`replay`] reads a range again, through other versions;
//! [`serve`] starts and stops it; [`pauses`] keeps which routes wait by hand; [`health`] says whether weir is ready;
//! [`monitor`] counts and [`http`] reports; [`train`] makes models and [`report`] shows how good they are; [`config`]
//! and [`cli`] are how people reach it.

#![cfg_attr(not(feature = "program"), allow(dead_code, unused_imports, reason = "the program uses it"))]

pub mod batch;
#[cfg(feature = "program")]
pub mod broker;
#[cfg(feature = "program")]
pub mod cli;
pub mod codec;
#[cfg(feature = "program")]
pub mod config;
#[cfg(feature = "program")]
pub mod dead_letter;
#[cfg(feature = "program")]
pub mod demo;
#[cfg(feature = "program")]
pub mod health;
#[cfg(feature = "program")]
pub mod http;
#[cfg(feature = "program")]
pub mod kafka;
pub mod limits;
#[cfg(feature = "program")]
pub mod logging;
pub mod model;
pub mod monitor;
#[cfg(feature = "program")]
pub mod pauses;
pub mod printable;
pub mod record;
#[cfg(feature = "program")]
mod repeat;
#[cfg(feature = "program")]
pub mod replay;
#[cfg(feature = "program")]
pub mod report;
pub mod route;
pub mod score;
#[cfg(feature = "program")]
pub mod serve;
pub mod texts;
#[cfg(feature = "program")]
pub mod train;
#[cfg(feature = "program")]
pub mod worker;

pub use weir_engine as engine;

//! The records as structs, for serde_json and sonic-rs.

#![expect(dead_code, reason = "serde has to build them; nobody reads them")]

use serde::{Deserialize, Serialize};

/// 30 floats in an array.
#[derive(Deserialize)]
pub(crate) struct Positional<'a> {
    id: &'a str,
    features: [f64; 30],
}

/// Declares a struct of an id and f64 members.
macro_rules! named {
    ($name:ident: $($field:ident)*) => {
        /// 30 floats by name.
        #[derive(Deserialize)]
        pub(crate) struct $name<'a> { id: &'a str, $($field: f64),* }
    };
}

named!(Named: f0 f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 f11 f12 f13 f14 f15 f16 f17 f18 f19 f20 f21 f22 f23 f24 f25 f26 f27 f28
    f29);

/// A departure of examples/flights.
#[derive(Deserialize)]
pub(crate) struct Flight<'a> {
    id: &'a str,
    time: &'a str,
    month: f64,
    weekday: f64,
    minute_of_day: f64,
    dep_delay: Option<f64>,
    carrier: &'a str,
    origin: &'a str,
    dest: &'a str,
    distance: f64,
    temp: Option<f64>,
    dewp: Option<f64>,
    humid: Option<f64>,
    wind_dir: Option<f64>,
    wind_speed: Option<f64>,
    precip: Option<f64>,
    pressure: Option<f64>,
    visib: Option<f64>,
}

/// What a model says about a flight.
#[derive(Serialize)]
pub(crate) struct Prediction<'a> {
    pub(crate) id: &'a str,
    pub(crate) prediction: &'a str,
    pub(crate) probabilities: Probabilities,
    pub(crate) model: &'a str,
    pub(crate) version: u64,
}

/// A probability per class.
#[derive(Serialize)]
pub(crate) struct Probabilities {
    pub(crate) on_time: f32,
    pub(crate) late: f32,
}

/// The vector instructions that sonic-rs has been compiled with.
pub(crate) fn instructions() -> &'static str {
    if cfg!(all(target_feature = "avx2", target_feature = "pclmulqdq")) {
        "AVX2"
    } else if cfg!(target_arch = "x86_64") {
        "SSE2"
    } else {
        std::env::consts::ARCH
    }
}

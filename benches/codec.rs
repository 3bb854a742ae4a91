//! What it takes to read a JSON record and to write a prediction, beside serde_json and sonic-rs.
//!
//! `cargo bench --bench codec` prints a table of medians over rounds in which all of them take turns, on the same bytes.
//! The others read into structs and write out of them, which is the fastest way they have; the names of the members are
//! known to them at compile time, as in a consumer written by hand, and to weir only from the model. Numbers are rounded
//! correctly by all three (serde_json by its feature float_roundtrip). sonic-rs chooses its vector instructions when it
//! is compiled: `RUSTFLAGS="-C target-cpu=native" cargo bench --bench codec` gives it those of this machine.

#![allow(clippy::print_stdout, missing_docs)] // its table is what it is for

#[path = "codec/typed.rs"]
mod typed;

use std::hint::black_box;
use std::time::Instant;

use serde::Deserialize;
use weir::codec::{DecodeOptions, Decoder, Encoder, FieldValue, Fields, Format, Span};
use weir::model::decision::ClassDecision;
use weir::model::signature::{Feature, Kind, Missing, Signature, Target, Unknown};

use typed::{Flight, Named, Positional, Prediction, Probabilities};

/// Rounds of turns, and how long a turn is: short, so that whatever else the machine does meets all alike.
const ROUNDS: usize = 101;
const TURN_SECONDS: f64 = 0.001;

fn main() {
    // `cargo test --benches` and `cargo bench` both start this; only the latter wants figures.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { ROUNDS } else { 1 };
    println!("sonic-rs compiled for {}", typed::instructions());
    println!("{:<34}{:>8}{:>10}{:>22}{:>22}", "", "bytes", "weir", "serde_json typed", "sonic-rs typed");
    for digits in [6, 17] {
        let numbers = floats(digits);
        let array = format!(r#"{{"id":"7","features":[{}]}}"#, numbers.join(","));
        decode::<Positional<'_>>(rounds, &format!("30 floats of {digits} digits, array"), &float_features(), &array);
        let members = numbers.iter().enumerate().map(|(index, number)| format!(r#","f{index}":{number}"#));
        let named = format!(r#"{{"id":"7"{}}}"#, members.collect::<String>());
        decode::<Named<'_>>(rounds, &format!("30 floats of {digits} digits, members"), &float_features(), &named);
    }
    decode::<Flight<'_>>(rounds, "a flight", &flight_features(), FLIGHT);
    encode(rounds);
}

/// Reads a record by turns, and prints a line.
fn decode<'a, T: Deserialize<'a>>(rounds: usize, name: &str, features: &[Feature], record: &'a str) {
    let options = DecodeOptions { fields: vec!["id".into()], ..DecodeOptions::default() };
    let mut decoder =
        Decoder::new(Format::Json, &signature(features.to_vec()), &options).expect("JSON needs no options");
    let (mut row, mut fields) = (vec![0.0; features.len()], [FieldValue::Absent]);
    let mut texts = Vec::new();
    let payload = record.as_bytes();
    turns(
        rounds,
        name,
        payload.len(),
        [
            &mut || {
                decoder.decode(black_box(payload), &mut row, &mut fields, &mut texts).expect("a good record");
                black_box((&row, &fields));
            },
            &mut || {
                black_box(serde_json::from_slice::<T>(black_box(payload)).expect("a good record"));
            },
            &mut || {
                black_box(sonic_rs::from_slice::<T>(black_box(payload)).expect("a good record"));
            },
        ],
    );
}

/// Writes the prediction for a flight by turns, and prints a line.
fn encode(rounds: usize) {
    let target = signature(Vec::new()).target;
    let encoder = Encoder::new(Format::Json, "flights", 7, &target, ClassDecision::default(), &["id".into()]);
    let encoder = encoder.expect("JSON can be written");
    let id = [FieldValue::Json(Span { start: 6, end: 32 })];
    let fields = Fields { payload: FLIGHT.as_bytes(), texts: b"", values: &id };
    let outputs = [0.213_498_7, 0.786_501_3];
    let [on_time, late] = outputs;
    let prediction = Prediction {
        id: &FLIGHT[7..31],
        prediction: "late",
        probabilities: Probabilities { on_time, late },
        model: "flights",
        version: 7,
    };
    let [mut ours, mut serdes, mut sonics] = [Vec::new(), Vec::new(), Vec::new()];
    encoder.encode(fields, &outputs, &mut ours).expect("finite outputs");
    assert_eq!(ours, serde_json::to_vec(&prediction).expect("a prediction"), "the same prediction");
    let bytes = ours.len();
    turns(
        rounds,
        "the flight's prediction, written",
        bytes,
        [
            &mut || {
                encoder.encode(black_box(fields), black_box(&outputs), &mut ours).expect("finite outputs");
                black_box(&ours);
            },
            &mut || {
                serdes.clear();
                serde_json::to_writer(&mut serdes, black_box(&prediction)).expect("a prediction");
                black_box(&serdes);
            },
            &mut || {
                sonics.clear();
                sonic_rs::to_writer(&mut sonics, black_box(&prediction)).expect("a prediction");
                black_box(&sonics);
            },
        ],
    );
}

/// Lets weir, serde_json and sonic-rs take turns, and prints the median times and how many times faster weir is.
fn turns(rounds: usize, name: &str, bytes: usize, mut contenders: [&mut dyn FnMut(); 3]) {
    let timed = |contender: &mut dyn FnMut(), repeats: usize| {
        let start = Instant::now();
        (0..repeats).for_each(|_| contender());
        start.elapsed().as_secs_f64() / repeats as f64
    };
    let repeats = contenders.each_mut().map(|contender| {
        let once = timed(*contender, 100);
        ((TURN_SECONDS / once) as usize).clamp(1, 100_000)
    });
    let (mut times, mut ratios): ([Vec<f64>; 3], [Vec<f64>; 3]) = Default::default();
    for _ in 0..rounds {
        let mut round = [0.0; 3];
        for (i, contender) in contenders.iter_mut().enumerate() {
            round[i] = timed(*contender, repeats[i]);
            times[i].push(round[i]);
            ratios[i].push(round[i] / round[0]);
        }
    }
    let [weir, serde, sonic] = times.each_mut().map(|times| median(times) * 1e9);
    let [_, than_serde, than_sonic] = ratios.each_mut().map(|ratios| median(ratios));
    println!(
        "{name:<34}{bytes:>8}{weir:>7.0} ns{serde:>9.0} ns, {than_serde:>5.2} ×{sonic:>9.0} ns, {than_sonic:>5.2} ×"
    );
}

/// The middle one; NaN of none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// 30 numbers in 0..1 whose digits are of no pattern, as measurements are.
fn floats(digits: usize) -> Vec<String> {
    let number = |index: u64| (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) as f64 / 2f64.powi(64);
    (0..30)
        .map(|index| if digits == 17 { number(index).to_string() } else { format!("{:.digits$}", number(index)) })
        .collect()
}

fn numeric(name: &str) -> Feature {
    Feature { name: name.into(), kind: Kind::Numeric, missing: Missing::Mean { value: 0.0 } }
}

fn float_features() -> Vec<Feature> {
    (0..30).map(|index| numeric(&format!("f{index}"))).collect()
}

/// A departure of examples/flights.
const FLIGHT: &str = concat!(
    r#"{"id":"UA1545-EWR-20130101-0515","time":"2013-01-01T10:15:00Z","month":1,"weekday":1,"minute_of_day":315,"#,
    r#""dep_delay":2,"carrier":"UA","origin":"EWR","dest":"IAH","distance":1400,"temp":39.02,"dewp":28.04,"#,
    r#""humid":64.43,"wind_dir":260,"wind_speed":12.65858,"precip":0,"pressure":null,"visib":10}"#
);

/// The destinations of the flights, as a model would list them.
const AIRPORTS: &str = "ABQ ACK ALB ANC ATL AUS AVL BDL BGR BHM BNA BOS BQN BTV BUF BUR BWI BZN CAE CAK CHO CHS CLE CLT CMH \
    CRW CVG DAY DCA DEN DFW DSM DTW EGE EYW FLL GRR GSO GSP HDN HNL HOU IAD IAH ILM IND JAC JAX LAS LAX LEX LGB MCI MCO \
    MDW MEM MHT MIA MKE MSN MSP MSY MTJ MVY MYR OAK OKC OMA ORD ORF PBI PDX PHL PHX PIT PSE PSP PVD PWM RDU RIC ROC RSW \
    SAN SAT SAV SBN SDF SEA SFO SJC SJU SLC SMF SNA SRQ STL STT SYR TPA TUL TVC TYS XNA";

fn flight_features() -> Vec<Feature> {
    let categorical = |name: &str, categories: &str| Feature {
        name: name.into(),
        kind: Kind::Categorical {
            categories: categories.split_whitespace().map(String::from).collect(),
            unknown: Unknown::Zeros,
        },
        missing: Missing::Zeros,
    };
    let before = ["month", "weekday", "minute_of_day", "dep_delay"].map(numeric);
    let between = [
        categorical("carrier", "9E AA AS B6 DL EV F9 FL HA MQ OO UA US VX WN YV"),
        categorical("origin", "EWR JFK LGA"),
        categorical("dest", AIRPORTS),
    ];
    let after = ["distance", "temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"];
    before.into_iter().chain(between).chain(after.map(numeric)).collect()
}

fn signature(features: Vec<Feature>) -> Signature {
    let classes = vec!["on_time".into(), "late".into()];
    Signature { features, target: Target::Classification { name: "late".into(), classes } }
}

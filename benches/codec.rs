//! What it takes to read a JSON record and to write a prediction, beside serde_json.
//!
//! Run with `cargo bench --bench codec`. Two records: 30 named floats, and a departure of `examples/flights`. The keys of
//! the typed structs are known at compile time, which is what a hand-written consumer would do; weir's are not.

#![allow(missing_docs)] // criterion_group! makes a public function.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use weir::codec::{DecodeOptions, Decoder, Encoder, Format, Span};
use weir::model::signature::{Feature, Kind, Missing, Signature, Target, Unknown};

/// Declares a struct of f64 members for serde.
macro_rules! floats {
    ($name:ident: $($field:ident)*) => {
        #[derive(Deserialize)]
        #[expect(dead_code, reason = "serde has to build them; nobody reads them")]
        struct $name { $($field: f64),* }
    };
}

floats!(Floats: f0 f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 f11 f12 f13 f14 f15 f16 f17 f18 f19 f20 f21 f22 f23 f24 f25 f26 f27 f28
    f29);

#[derive(Deserialize)]
#[expect(dead_code, reason = "serde has to build them; nobody reads them")]
struct Flight<'a> {
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

/// Features with these names; those with a list of categories beside them are categorical.
fn signature(features: &[(&str, &str)]) -> Signature {
    let feature = |&(name, categories): &(&str, &str)| match categories {
        "" => Feature { name: name.into(), kind: Kind::Numeric, missing: Missing::Mean { value: 0.0 } },
        _ => Feature {
            name: name.into(),
            kind: Kind::Categorical {
                categories: categories.split_whitespace().map(String::from).collect(),
                unknown: Unknown::Zeros,
            },
            missing: Missing::Zeros,
        },
    };
    let classes = vec!["on_time".into(), "late".into()];
    Signature {
        features: features.iter().map(feature).collect(),
        target: Target::Classification { name: "late".into(), classes },
    }
}

fn weir(criterion: &mut Criterion, name: &str, signature: &Signature, payload: &[u8]) {
    let options = DecodeOptions { fields: vec!["id".into()], ..DecodeOptions::default() };
    let mut decoder = Decoder::new(Format::Json, signature, &options);
    let mut row = vec![0.0; signature.features.len()];
    let mut fields = [Span::default()];
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(payload.len() as u64));
    group.bench_function("weir", |bencher| {
        bencher.iter(|| {
            decoder.decode(black_box(payload), &mut row, &mut fields).expect("a good record");
            black_box(&row);
        });
    });
    group.bench_function("serde_json::Value", |bencher| {
        bencher.iter(|| serde_json::from_slice::<serde_json::Value>(black_box(payload)).expect("JSON"));
    });
    group.finish();
}

fn decode(criterion: &mut Criterion) {
    let names: Vec<String> = (0..30).map(|index| format!("f{index}")).collect();
    let features: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    // Values of 6 decimals whose digits are of no pattern, as measurements are.
    let members = (0..30_u64).map(|index| {
        let digits = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        format!("\"f{index}\":0.{:06}", digits % 1_000_000)
    });
    let floats = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
    weir(criterion, "decode 30 floats", &signature(&features), floats.as_bytes());
    criterion.benchmark_group("decode 30 floats").bench_function("serde_json typed", |bencher| {
        bencher.iter(|| serde_json::from_slice::<Floats>(black_box(floats.as_bytes())).expect("a good record"));
    });

    let flight = [
        ("month", ""),
        ("weekday", ""),
        ("minute_of_day", ""),
        ("dep_delay", ""),
        ("carrier", "9E AA AS B6 DL EV F9 FL HA MQ OO UA US VX WN YV"),
        ("origin", "EWR JFK LGA"),
        ("dest", AIRPORTS),
        ("distance", ""),
        ("temp", ""),
        ("dewp", ""),
        ("humid", ""),
        ("wind_dir", ""),
        ("wind_speed", ""),
        ("precip", ""),
        ("pressure", ""),
        ("visib", ""),
    ];
    weir(criterion, "decode a flight", &signature(&flight), FLIGHT.as_bytes());
    criterion.benchmark_group("decode a flight").bench_function("serde_json typed", |bencher| {
        bencher.iter(|| serde_json::from_slice::<Flight<'_>>(black_box(FLIGHT.as_bytes())).expect("a good record"));
    });
}

fn encode(criterion: &mut Criterion) {
    let target = signature(&[]).target;
    let encoder = Encoder::new(Format::Json, "flights", 7, &target, &["id".into()]);
    let payload = FLIGHT.as_bytes();
    let id = [Span { start: 6, end: 32 }];
    let mut out = Vec::new();
    criterion.bench_function("encode a flight", |bencher| {
        bencher.iter(|| {
            encoder
                .encode(payload, black_box(&id), black_box(&[0.2134987, 0.7865013]), &mut out)
                .expect("finite outputs");
            black_box(&out);
        });
    });
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);

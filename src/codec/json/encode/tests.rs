//! The contract of the output, and predictions read back by serde_json.

use proptest::collection::{hash_set, vec};
use proptest::prelude::*;
use serde_json::Value;

use super::Encoder;
use crate::codec::json::samples::{serde, value};
use crate::codec::{FieldValue, Fields, Span};
use crate::engine::predicted_class;
use crate::model::decision::ClassDecision;
use crate::model::signature::Target;
use crate::record::{Reason, Rejection};

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn classes(names: &[&str]) -> Target {
    Target::Classification { name: "y".into(), classes: strings(names) }
}

fn encode(encoder: &Encoder, outputs: &[f32]) -> Result<String, Rejection> {
    let mut out = b"what was there before".to_vec();
    encoder.encode(Fields { payload: b"", texts: b"", values: &[] }, outputs, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn a_classification_is_rendered_as_the_contract_says() {
    let payload = br#"{"time":[1, 2],"age":30,"id":"a\/b"}"#;
    let json = |start, end| FieldValue::Json(Span { start, end });
    let values = [json(29, 35), FieldValue::Absent, json(8, 14)];
    let fields = strings(&["id", "note", "time"]);
    let encoder = Encoder::new("flights", 7, &classes(&["on_time", "late"]), ClassDecision::default(), &fields);
    let mut out = Vec::new();
    encoder.encode(Fields { payload, texts: b"", values: &values }, &[0.21, 0.79], &mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"id":"a\/b","time":[1, 2],"prediction":"late","probabilities":{"on_time":0.21,"late":0.79},"#.to_owned()
            + r#""model":"flights","version":7}"#
    );
    assert!(encode(&encoder, &[0.5, 0.5]).unwrap().starts_with(r#"{"prediction":"on_time","#), "the first on ties");
}

#[test]
fn a_regression_is_a_number_or_an_array() {
    let target = |names: &[&str]| Target::Regression { names: strings(names) };
    let one = Encoder::new("m", 1, &target(&["y"]), ClassDecision::default(), &[]);
    assert_eq!(encode(&one, &[12.3]).unwrap(), r#"{"prediction":12.3,"model":"m","version":1}"#);
    let two = Encoder::new("m", 1, &target(&["y", "z"]), ClassDecision::default(), &[]);
    assert_eq!(encode(&two, &[12.3, -4.0]).unwrap(), r#"{"prediction":[12.3,-4.0],"model":"m","version":1}"#);
}

#[test]
fn an_answer_that_is_not_finite_is_rejected() {
    let encoder = Encoder::new("m", 1, &classes(&["a", "b"]), ClassDecision::default(), &[]);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(encode(&encoder, &[0.5, bad]).unwrap_err().reason, Reason::PredictionNotFinite);
    }
}

proptest! {
    #[test]
    fn predictions_read_back_as_what_they_were(
        names in hash_set(any::<String>(), 2..6),
        model in any::<String>(),
        version in any::<u64>(),
        field in any::<String>(),
        copied in value(),
        outputs in vec(any::<f32>().prop_filter("finite", |x| x.is_finite()), 6),
    ) {
        let names: Vec<String> = names.into_iter().collect();
        let outputs = &outputs[..names.len()];
        let target = Target::Classification { name: "y".into(), classes: names.clone() };
        let names_of_fields = [format!("_{field}")];
        let encoder = Encoder::new(&model, version, &target, ClassDecision::default(), &names_of_fields);
        let mut out = Vec::new();
        let span = Span { start: 0, end: copied.len() as u32 };
        let fields = Fields { payload: copied.as_bytes(), texts: b"", values: &[FieldValue::Json(span)] };
        encoder.encode(fields, outputs, &mut out).unwrap();
        let record = serde(&out).unwrap();
        prop_assert_eq!(record.as_object().unwrap().len(), 5);
        prop_assert_eq!(&record[&names_of_fields[0]], &serde(copied.as_bytes()).unwrap());
        prop_assert_eq!(&record["prediction"], &Value::from(names[predicted_class(outputs)].as_str()));
        prop_assert_eq!(&record["model"], &Value::from(model));
        prop_assert_eq!(&record["version"], &Value::from(version));
        for (name, output) in names.iter().zip(outputs) {
            let probability = record["probabilities"][name].as_f64().unwrap() as f32;
            prop_assert_eq!(probability.to_bits(), output.to_bits());
        }
    }
}

#[test]
fn a_number_far_from_0_is_written_with_all_its_digits() {
    let target = Target::Regression { names: vec!["eta".into()] };
    let scale = |mean, std| Some(crate::model::target_scale::TargetScale { mean, std });
    let encoder = |scale| Encoder::new("m", 1, &target, ClassDecision::default(), &[]).with_scale(scale);
    let record = encode(&encoder(scale(1.764e9, 600.0)), &[0.5]).unwrap();
    assert_eq!(record, r#"{"prediction":1764000300.0,"model":"m","version":1}"#);
    let rejected = encode(&encoder(scale(0.0, 1e308)), &[3.0]).unwrap_err();
    assert_eq!(rejected.reason, Reason::PredictionNotFinite);
}

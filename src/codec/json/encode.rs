//! From a prediction to a JSON record:
//! `{"id":…,"prediction":"late","probabilities":{"on_time":0.21,"late":0.79},"model":"flights","version":7}`.
//!
//! Copied fields come first, those of a JSON record as they stand in it. Numbers are the shortest that read back as the same f32.

use super::quoted;
use crate::codec::Fields;
use crate::model::decision::ClassDecision;
use crate::model::signature::Target;
use crate::model::target_scale::TargetScale;
use crate::record::{Reason, Rejection};

/// Turns predictions into JSON records. Compiled once per (model version, fields): what is the same in every record
/// is rendered in advance.
#[derive(Debug)]
pub struct Encoder {
    /// `"name":` of each copied member.
    fields: Vec<String>,
    answer: Answer,
    /// Which class is predicted.
    decision: ClassDecision,
    /// What a number stands for, if it isn't on the target's own scale.
    scale: Option<TargetScale>,
    outputs: usize,
    /// From behind the answer to the end.
    tail: String,
}

#[derive(Debug)]
enum Answer {
    Classes(Vec<Class>),
    Number,
    Numbers,
}

#[derive(Debug)]
struct Class {
    /// From `"prediction":` to the brace of the probabilities, for when this class is predicted.
    prediction: String,
    /// `"name":`, with a comma before it if it isn't the first.
    label: String,
}

impl Encoder {
    /// An encoder for the predictions of this model version; `fields` are the names of the copied members, which
    /// [`validate_fields`](crate::codec::validate_fields) has let pass.
    pub fn new(model: &str, version: u64, target: &Target, decision: ClassDecision, fields: &[String]) -> Encoder {
        let origin = format!(",\"model\":{},\"version\":{version}}}", quoted(model));
        let (answer, tail) = match target {
            Target::Classification { classes, .. } => {
                let class = |(index, name): (usize, &String)| Class {
                    prediction: format!("\"prediction\":{},\"probabilities\":{{", quoted(name)),
                    label: format!("{}{}:", if index == 0 { "" } else { "," }, quoted(name)),
                };
                (Answer::Classes(classes.iter().enumerate().map(class).collect()), format!("}}{origin}"))
            }
            Target::Regression { names } if names.len() == 1 => (Answer::Number, origin),
            Target::Regression { .. } => (Answer::Numbers, format!("]{origin}")),
        };
        let fields = fields.iter().map(|name| format!("{}:", quoted(name))).collect();
        Encoder { fields, answer, decision, scale: None, outputs: target.outputs(), tail }
    }

    /// For numbers on this scale.
    pub fn with_scale(self, scale: Option<TargetScale>) -> Encoder {
        Encoder { scale, ..self }
    }

    /// Replaces `out` by the prediction record.
    ///
    /// `fields` are the values that the decoder found, absent ones are left out. `outputs` is the model's answer for this
    /// row: a probability per class, or a number per target column.
    ///
    /// # Errors
    /// `prediction_not_finite`: an output is NaN or infinite. `out` is then empty.
    ///
    /// # Panics
    /// When there are more or fewer outputs than the target has classes or columns.
    pub fn encode(&self, fields: Fields<'_>, outputs: &[f32], out: &mut Vec<u8>) -> Result<(), Rejection> {
        assert_eq!(outputs.len(), self.outputs, "one output per class or target column");
        out.clear();
        if let Some(output) = outputs.iter().find(|output| !output.is_finite()) {
            return Err(Rejection::new(Reason::PredictionNotFinite, format!("the model answered {output}")));
        }
        out.push(b'{');
        for (name, &value) in self.fields.iter().zip(fields.values) {
            if !value.is_absent() {
                out.extend_from_slice(name.as_bytes());
                fields.write_json(value, out);
                out.push(b',');
            }
        }
        match &self.answer {
            Answer::Classes(classes) => {
                out.extend_from_slice(classes[self.decision.class(outputs)].prediction.as_bytes());
                for (class, &probability) in classes.iter().zip(outputs) {
                    out.extend_from_slice(class.label.as_bytes());
                    push_number(out, probability);
                }
            }
            Answer::Number => {
                out.extend_from_slice(b"\"prediction\":");
                self.push_scaled(outputs[0], out)?;
            }
            Answer::Numbers => {
                out.extend_from_slice(b"\"prediction\":[");
                for (index, &number) in outputs.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    push_number(out, number);
                }
            }
        }
        out.extend_from_slice(self.tail.as_bytes());
        Ok(())
    }

    /// The only number of an answer, on the target's own scale.
    fn push_scaled(&self, output: f32, out: &mut Vec<u8>) -> Result<(), Rejection> {
        let Some(scale) = self.scale else {
            push_number(out, output);
            return Ok(());
        };
        let number = scale.undo(output);
        if !number.is_finite() {
            out.clear();
            return Err(Rejection::new(Reason::PredictionNotFinite, format!("the model answered {number}")));
        }
        out.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
        Ok(())
    }
}

/// A finite number, as JSON: zmij writes `0.21`, `1.0`, `1e-7`, `3.4028235e38`.
fn push_number(out: &mut Vec<u8>, number: f32) {
    out.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
}

#[cfg(test)]
mod tests;

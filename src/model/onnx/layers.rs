//! From the chain of a graph's operations to layers: what is affine is folded into the weights beside it, in f64 and
//! rounded once; activations and norms find their places in a layer.

use ndarray::{Array1, Array2, Axis};

use super::chain::{Link, Op};
use crate::engine::{Activation, Layer, Norm, NormPlace, Weights};

/// Wider layers than this aren't added where the engine needs one that the graph doesn't have: their weights would be
/// the square of it.
const WIDEST_ADDED: usize = 4_096;

/// A layer in f64.
struct Draft {
    weights: Array2<f64>,
    bias: Array1<f64>,
    activation: Option<Activation>,
    slopes: Option<Array1<f64>>,
    norm: Option<DraftNorm>,
    /// How many of its outputs, the last ones, pass beside activation and norm.
    passed: usize,
    /// What is done to its outputs, to be folded into the weights behind it.
    after: Option<Affine>,
}

struct DraftNorm {
    affine: Affine,
    epsilon: f64,
    place: NormPlace,
}

/// `x · factor + shift`, elementwise.
struct Affine {
    factor: Array1<f64>,
    shift: Array1<f64>,
}

impl Affine {
    fn identity(width: usize) -> Affine {
        Affine { factor: Array1::ones(width), shift: Array1::zeros(width) }
    }

    fn then(&mut self, factor: &Array1<f64>, shift: &Array1<f64>) {
        self.factor *= factor;
        self.shift = &self.shift * factor + shift;
    }
}

/// The layers of a chain without its [`Op::Source`], from `width` inputs on; at least one.
pub(super) fn layers<'a>(
    links: impl IntoIterator<Item = &'a Link>,
    first: impl FnOnce(&Array2<f64>, &mut Array1<f64>) -> Array2<f64>,
    width: usize,
) -> Result<Vec<Layer>, String> {
    let mut drafts: Vec<Draft> = Vec::new();
    for link in links {
        match &link.op {
            Op::Source(_) => {}
            Op::Sum { .. } | Op::Concat { .. } => return Err("it joins branches within a chain".into()),
            Op::Linear { weights, bias } => linear(&mut drafts, weights, Array1::from(bias.clone())),
            Op::Pick { places } => match last(&mut drafts, width)? {
                draft if draft.norm.is_none() && draft.passed == 0 => draft.pick(places),
                draft => {
                    // A norm is over all outputs.
                    let mut weights = Array2::zeros((draft.bias.len(), places.len()));
                    places.iter().enumerate().for_each(|(to, &from)| weights[[from, to]] = 1.0);
                    linear(&mut drafts, &weights, Array1::zeros(places.len()));
                }
            },
            Op::Scale { factor, shift } => {
                let draft = last(&mut drafts, width)?;
                draft.scale(&Array1::from(factor.clone()), &Array1::from(shift.clone()));
            }
            Op::Activation(activation) => open(&mut drafts, width)?.activation = Some(*activation),
            Op::PRelu { slopes } => {
                let draft = open(&mut drafts, width)?;
                (draft.activation, draft.slopes) = (Some(Activation::PRelu), Some(slopes.clone().into()));
            }
            Op::Beside { operations, passed } => {
                let draft = open(&mut drafts, width)?;
                let draft = if draft.takes_norm() { draft } else { added(&mut drafts)? };
                draft.beside(operations, *passed)?;
            }
            Op::Norm { epsilon } => {
                let draft = last(&mut drafts, width)?;
                let draft = if draft.takes_norm() { draft } else { added(&mut drafts)? };
                let place = match draft.activation {
                    None => NormPlace::BeforeActivation,
                    Some(_) => NormPlace::AfterActivation,
                };
                let affine = Affine::identity(draft.bias.len());
                draft.norm = Some(DraftNorm { affine, epsilon: *epsilon, place });
            }
        }
    }
    last(&mut drafts, width)?;
    if drafts.last().is_some_and(|draft| draft.after.is_some()) {
        added(&mut drafts)?;
    }
    if let Some(draft) = drafts.first_mut() {
        draft.weights = first(&draft.weights, &mut draft.bias);
    }
    Ok(drafts.into_iter().map(Draft::round).collect())
}

/// A layer more, which takes in what is left to do to the outputs of the last one.
fn linear(drafts: &mut Vec<Draft>, weights: &Array2<f64>, bias: Array1<f64>) {
    let draft = match drafts.last_mut().and_then(|draft| draft.after.take()) {
        None => Draft::new(weights.clone(), bias),
        Some(Affine { factor, shift }) => {
            let bias = bias + shift.dot(weights);
            Draft::new(weights * &factor.insert_axis(Axis(1)), bias)
        }
    };
    drafts.push(draft);
}

/// The layer that comes last; one that changes nothing if there is none.
fn last(drafts: &mut Vec<Draft>, width: usize) -> Result<&mut Draft, String> {
    if drafts.is_empty() {
        drafts.push(Draft::diagonal(Affine::identity(width))?);
    }
    drafts.last_mut().ok_or_else(|| "it has no layers".into())
}

/// The layer that comes last, if it takes an activation, else a layer more.
fn open(drafts: &mut Vec<Draft>, width: usize) -> Result<&mut Draft, String> {
    match last(drafts, width)?.takes_activation() {
        true => last(drafts, width),
        false => added(drafts),
    }
}

/// A layer more, which does what is left to do to the outputs of the last one.
fn added(drafts: &mut Vec<Draft>) -> Result<&mut Draft, String> {
    let width = drafts.last().map_or(0, |draft| draft.bias.len());
    let after = drafts.last_mut().and_then(|draft| draft.after.take());
    drafts.push(Draft::diagonal(after.unwrap_or_else(|| Affine::identity(width)))?);
    last(drafts, width)
}

impl Draft {
    fn new(weights: Array2<f64>, bias: Array1<f64>) -> Draft {
        Draft { weights, bias, activation: None, slopes: None, norm: None, passed: 0, after: None }
    }

    fn diagonal(affine: Affine) -> Result<Draft, String> {
        let width = affine.factor.len();
        if width > WIDEST_ADDED {
            return Err(format!(
                "{width} values are normalised or activated where no layer is: up to {WIDEST_ADDED} can be; put a \
                 linear layer before them"
            ));
        }
        Ok(Draft::new(Array2::from_diag(&affine.factor), affine.shift))
    }

    /// Keeps some of the outputs, of a layer without a norm.
    fn pick(&mut self, places: &[usize]) {
        let some = |values: &Array1<f64>| values.select(Axis(0), places);
        self.weights = self.weights.select(Axis(1), places);
        self.bias = some(&self.bias);
        self.slopes = self.slopes.as_ref().map(some);
        if let Some(after) = &mut self.after {
            *after = Affine { factor: some(&after.factor), shift: some(&after.shift) };
        }
    }

    fn takes_activation(&self) -> bool {
        let after = self.norm.as_ref().is_some_and(|norm| norm.place == NormPlace::AfterActivation);
        self.activation.is_none() && self.after.is_none() && !after && self.passed == 0
    }

    fn takes_norm(&self) -> bool {
        self.norm.is_none() && self.after.is_none() && self.passed == 0
    }

    /// Does something to the first outputs only, of a layer that does nothing yet.
    fn beside(&mut self, operations: &[Op], passed: usize) -> Result<(), String> {
        self.passed = passed;
        for operation in operations {
            match (operation, &mut self.norm) {
                (Op::Norm { epsilon }, None) => {
                    let affine = Affine::identity(self.bias.len() - passed);
                    self.norm = Some(DraftNorm { affine, epsilon: *epsilon, place: NormPlace::BeforeActivation });
                }
                (Op::Scale { factor, shift }, Some(norm)) if self.activation.is_none() => {
                    norm.affine.then(&Array1::from(factor.clone()), &Array1::from(shift.clone()));
                }
                (Op::Activation(activation), _) if self.activation.is_none() => self.activation = Some(*activation),
                _ => return Err("it does more beside numbers that pass than one layer does".into()),
            }
        }
        Ok(())
    }

    fn scale(&mut self, factor: &Array1<f64>, shift: &Array1<f64>) {
        match (&mut self.norm, self.activation) {
            _ if self.passed > 0 => {
                self.after.get_or_insert_with(|| Affine::identity(factor.len())).then(factor, shift);
            }
            (None, None) => {
                self.weights *= factor;
                self.bias = &self.bias * factor + shift;
            }
            (Some(norm), None) => norm.affine.then(factor, shift),
            (Some(norm), Some(_)) if norm.place == NormPlace::AfterActivation => norm.affine.then(factor, shift),
            (_, Some(_)) => self.after.get_or_insert_with(|| Affine::identity(factor.len())).then(factor, shift),
        }
    }

    /// The layer in f32.
    fn round(self) -> Layer {
        let norm = self.norm.map(|norm| Norm {
            scale: norm.affine.factor.mapv(|value| value as f32),
            shift: norm.affine.shift.mapv(|value| value as f32),
            epsilon: norm.epsilon as f32,
            place: norm.place,
        });
        Layer {
            weights: Weights::F32(self.weights.mapv(|weight| weight as f32)),
            bias: self.bias.mapv(|bias| bias as f32),
            activation: self.activation.unwrap_or(Activation::Identity),
            slopes: self.slopes.map(|slopes| slopes.mapv(|slope| slope as f32)),
            norm,
            passed: self.passed,
        }
    }
}

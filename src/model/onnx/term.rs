//! What a graph computes from one number where the operations aren't steps of the preprocessing one by one: they are kept
//! as they are, and compared as a whole with what an exporter writes for a transformer that weir has.

use std::rc::Rc;

use crate::model::preprocess::Step;

/// Operations in one term. What skl2onnx writes for a transformer has fewer than 100.
const LARGEST: usize = 500;

/// A computation from one number, or a part of it.
#[derive(Debug, PartialEq)]
pub(super) enum Term {
    /// The number itself.
    Number,
    /// A constant, by its bits: NaN is a constant as well.
    Constant(u64),
    /// An operator of ONNX, and what it takes.
    Applied { operator: String, operands: Vec<Rc<Term>>, size: usize },
}

impl Term {
    pub(super) fn constant(value: f64) -> Rc<Term> {
        Rc::new(Term::Constant(value.to_bits()))
    }

    /// What an operator makes of these; an error if it is too much to compare.
    pub(super) fn apply(operator: &str, operands: &[&Rc<Term>]) -> Result<Rc<Term>, String> {
        let size = operands.iter().fold(1_usize, |size, term| size.saturating_add(term.size()));
        if size > LARGEST {
            return Err(format!("with it {size} operations on one number are no step of the preprocessing"));
        }
        let operands = operands.iter().map(|&term| Rc::clone(term)).collect();
        Ok(Rc::new(Term::Applied { operator: operator.into(), operands, size }))
    }

    fn size(&self) -> usize {
        match self {
            Term::Number | Term::Constant(_) => 1,
            Term::Applied { size, .. } => *size,
        }
    }

    /// The step that computes the same, if this is what skl2onnx writes for PowerTransformer.
    pub(super) fn step(&self) -> Option<Step> {
        // Both end with a sum.
        if !matches!(self, Term::Applied { operator, .. } if operator == "Add") {
            return None;
        }
        let lambda = self.exponent()?;
        // For these it writes terms that are 0 or no number whatever comes: they would divide by 0.
        if lambda == 0.0 || lambda == 2.0 {
            return None;
        }
        let steps = [(yeo_johnson(lambda), Step::YeoJohnson { lambda }), (box_cox(lambda), Step::BoxCox { lambda })];
        steps.into_iter().find(|(term, _)| term.as_ref().is_ok_and(|term| **term == *self)).map(|(_, step)| step)
    }

    /// The exponent of the first power.
    fn exponent(&self) -> Option<f64> {
        let Term::Applied { operator, operands, .. } = self else { return None };
        match (&**operator, operands.get(1).map(|term| &**term)) {
            ("Pow", Some(&Term::Constant(bits))) => Some(f64::from_bits(bits)),
            _ => operands.iter().find_map(|operand| operand.exponent()),
        }
    }
}

/// `by` where the term is `value`.
fn imputed(term: &Rc<Term>, value: f64) -> Result<Rc<Term>, String> {
    Term::apply("Imputer", &[term, &Term::constant(value), &Term::constant(0.0)])
}

/// What the converter of skl2onnx (power_transformer.py) writes for a column's lambda, in f32.
fn yeo_johnson(lambda: f64) -> Result<Rc<Term>, String> {
    let apply = Term::apply;
    let x = &Rc::new(Term::Number);
    let (one, is_used, is_unused) = (&apply("Div", &[x, x])?, &Term::constant(1.0), &Term::constant(0.0));
    let is_negative = &apply("Less", &[x, &apply("Sub", &[x, x])?])?;
    let up = &apply("Add", &[x, one])?;
    let down = &apply("Sub", &[one, x])?;

    let lambda_up = &Term::constant(lambda);
    let power = apply("Div", &[&apply("Sub", &[&apply("Pow", &[up, lambda_up])?, one])?, lambda_up])?;
    let power = apply("Mul", &[&imputed(&power, f64::INFINITY)?, is_used])?;
    let logarithm = apply("Mul", &[&apply("Log", &[up])?, is_unused])?;
    let positive = imputed(&apply("Add", &[&power, &logarithm])?, f64::NAN)?;
    let positive = apply("Mul", &[&positive, &apply("Not", &[is_negative])?])?;

    let lambda_down = &Term::constant(f64::from(2.0 - lambda as f32));
    let power = apply("Div", &[&apply("Sub", &[one, &apply("Pow", &[down, lambda_down])?])?, lambda_down])?;
    let power = apply("Mul", &[&imputed(&power, f64::INFINITY)?, is_used])?;
    let logarithm = apply("Mul", &[&apply("Neg", &[&apply("Log", &[down])?])?, is_unused])?;
    let negative = imputed(&apply("Add", &[&power, &logarithm])?, f64::NAN)?;
    let negative = apply("Mul", &[&negative, is_negative])?;
    apply("Add", &[&positive, &negative])
}

fn box_cox(lambda: f64) -> Result<Rc<Term>, String> {
    let apply = Term::apply;
    let x = &Rc::new(Term::Number);
    let lambda = &Term::constant(lambda);
    let one = &apply("Div", &[x, x])?;
    let power = apply("Div", &[&apply("Sub", &[&apply("Pow", &[x, lambda])?, one])?, lambda])?;
    let power = apply("Mul", &[&imputed(&power, f64::INFINITY)?, &Term::constant(1.0)])?;
    let logarithm = imputed(&apply("Log", &[x])?, f64::NAN)?;
    apply("Add", &[&power, &apply("Mul", &[&logarithm, &Term::constant(0.0)])?])
}

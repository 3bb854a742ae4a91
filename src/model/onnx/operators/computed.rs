//! Operations between columns, and others that are no steps of the preprocessing one by one: they are gathered into a
//! term, until that is a transformer as a whole.

use std::rc::Rc;

use super::arithmetic::apply;
use super::combined;
use crate::model::onnx::tensor::{Array, Element};
use crate::model::onnx::term::Term;
use crate::model::onnx::value::{Cell, Columns, Form, Value};
use crate::model::preprocess::Step;

/// What arithmetic or a comparison makes of two values, where that is no step: one of them may be constant. `None` where
/// it is for others to say.
pub(super) fn binary(operator: &str, a: &Value, b: &Value) -> Result<Option<Value>, String> {
    let has_terms = |columns: &Columns| columns.cells.iter().any(|cell| matches!(cell, Cell::Computed { .. }));
    let columns = match (a, b) {
        (Value::Columns(a), Value::Columns(b)) => {
            if a.tail != b.tail {
                return Err(format!("it computes with columns of shapes {:?} and {:?}", a.tail, b.tail));
            }
            if operator == "Mul" && !has_terms(a) && !has_terms(b) {
                return combined::products(a, b).map(|columns| Some(Value::Columns(columns)));
            }
            let cells = a.cells.iter().zip(&b.cells).map(|(a, b)| {
                let ((number, a), (other, b)) = (term_of(a)?, term_of(b)?);
                if number != other {
                    return Err("it computes one column with another: compute such columns in the table, and fit the \
                                pipeline with them"
                        .to_owned());
                }
                computed(number, Term::apply(operator, &[&a, &b])?)
            });
            Columns { cells: cells.collect::<Result<_, _>>()?, ..a.clone() }
        }
        (Value::Columns(columns), Value::Constant(array)) if has_terms(columns) || operator == "Pow" => {
            let constants = constants(array, &columns.tail)?;
            with_constants(columns, &constants, |term, constant| Term::apply(operator, &[term, constant]))?
        }
        (Value::Constant(array), Value::Columns(columns)) if has_terms(columns) => {
            let constants = constants(array, &columns.tail)?;
            with_constants(columns, &constants, |term, constant| Term::apply(operator, &[constant, term]))?
        }
        // The mean of calibrated classifiers.
        (&Value::Answer { answer, form: Form::Times(count) }, Value::Constant(array))
            if operator == "Div" && array.scalar() == Some(count as f64) =>
        {
            return Ok(Some(Value::Answer { answer, form: Form::Probabilities }));
        }
        (Value::Answer { .. }, Value::Constant(array)) if operator == "Div" && array.scalar() == Some(1.0) => {
            return Ok(Some(a.clone()));
        }
        _ => return Ok(None),
    };
    let element = if operator == "Less" { Element::Boolean } else { columns.element };
    Ok(Some(Value::Columns(Columns { element, ..columns })))
}

/// A function of each number.
pub(super) fn function(operator: &str, columns: &Columns) -> Result<Columns, String> {
    let cells = columns.cells.iter().map(|cell| {
        let (number, term) = term_of(cell)?;
        computed(number, Term::apply(operator, &[&term])?)
    });
    Ok(Columns { cells: cells.collect::<Result<_, _>>()?, ..columns.clone() })
}

/// A value of a term in place of another; `None` where the cell is no term.
pub(super) fn imputed(cell: &Cell, replaced: f64, by: f64) -> Result<Option<Cell>, String> {
    let Cell::Computed { number, term } = cell else { return Ok(None) };
    let term = Term::apply("Imputer", &[term, &Term::constant(replaced), &Term::constant(by)])?;
    computed((**number).clone(), term).map(Some)
}

/// One number for each column.
fn constants(array: &Array, tail: &[usize]) -> Result<Vec<f64>, String> {
    super::arithmetic::per_column(array, tail)
}

fn with_constants(
    columns: &Columns,
    constants: &[f64],
    apply: impl Fn(&Rc<Term>, &Rc<Term>) -> Result<Rc<Term>, String>,
) -> Result<Columns, String> {
    let cells = columns.cells.iter().zip(constants).map(|(cell, &constant)| {
        let (number, term) = term_of(cell)?;
        computed(number, apply(&term, &Term::constant(constant))?)
    });
    Ok(Columns { cells: cells.collect::<Result<_, _>>()?, ..columns.clone() })
}

/// The number that a cell is computed from, and how.
fn term_of(cell: &Cell) -> Result<(Cell, Rc<Term>), String> {
    match cell {
        Cell::Number { .. } | Cell::Product { .. } | Cell::Normalized { .. } => {
            Ok((cell.clone(), Rc::new(Term::Number)))
        }
        Cell::Computed { number, term } => Ok(((**number).clone(), Rc::clone(term))),
        _ => Err("it computes with categories or bins in a way that weir has no step for".into()),
    }
}

/// The cell that a term of a number makes: a number with a step more, where the term is one.
fn computed(number: Cell, term: Rc<Term>) -> Result<Cell, String> {
    match term.step() {
        None => Ok(Cell::Computed { number: Box::new(number), term }),
        Some(step) => {
            let mut number = number;
            apply(&mut number, step)?;
            apply(&mut number, Step::Round)?;
            Ok(number)
        }
    }
}

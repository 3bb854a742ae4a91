//! What scikit-learn's transformers do to single columns: casts, imputation, one-hot encoding.

use std::rc::Rc;

use half::{bf16, f16};

use super::arithmetic::apply;
use super::{Encoded, Feature, Walk, calibrated, computed, discrete, is_last, kind, own};
use crate::model::onnx::proto::{DataType, Node};
use crate::model::onnx::tensor::{Array, Data, Element};
use crate::model::onnx::value::{Cell, Columns, Form, Moment, Value};
use crate::model::preprocess::Step;
use crate::model::signature::{Missing, Unknown};

/// What skl2onnx writes for NaN where the input is of integers, which can't have one.
const NO_INTEGER: i64 = i64::MIN;

pub(super) fn cast(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let to = i32::try_from(node.int("to", 0)).ok().and_then(Element::of);
    let to = to.ok_or_else(|| format!("it casts to the type {}, in which weir doesn't compute", node.int("to", 0)))?;
    let value = match walk.input(node, 0)?.clone() {
        Value::Constant(array) => {
            let mut array = cast_constant(&array, to)?;
            if let Data::Numbers(numbers) = &mut array.data {
                numbers.iter_mut().for_each(|number| *number = in_16_bits(*number, node.int("to", 0)));
            }
            Value::Constant(Rc::new(array))
        }
        Value::Columns(columns) => Value::Columns(cast_columns(&mut walk.features, columns, to)?),
        Value::Moment { of, moment: Moment::Sum } if to == Element::Boolean => {
            Value::Moment { of, moment: Moment::HasSum }
        }
        other @ (Value::Inner(_)
        | Value::Moment { .. }
        | Value::Answer { form: Form::Probabilities | Form::Part(_), .. })
            if !matches!(to, Element::Float | Element::Double) =>
        {
            return Err(format!(
                "it casts {} to {}: export the model without the Cast (.long(), .int(), .bool()), and convert the predictions",
                kind(&other),
                if to == Element::Boolean { "booleans" } else { "integers, which cuts fractions off" },
            ));
        }
        // The network computes in f32; a class stays the same class.
        other => other,
    };
    Ok(vec![value])
}

/// The number nearest to this one that a type of 16 bits has; the number itself for other types.
fn in_16_bits(number: f64, data_type: i64) -> f64 {
    match i32::try_from(data_type).ok().and_then(|data_type| DataType::try_from(data_type).ok()) {
        Some(DataType::Float16) => f16::from_f64(number).to_f64(),
        Some(DataType::Bfloat16) => bf16::from_f64(number).to_f64(),
        _ => number,
    }
}

fn cast_constant(array: &Array, to: Element) -> Result<Array, String> {
    let data = match to {
        Element::Float => Data::Numbers(array.numbers()?.into_iter().map(|value| f64::from(value as f32)).collect()),
        Element::Double => Data::Numbers(array.numbers()?),
        Element::Integer => match &array.data {
            Data::Integers(values) => Data::Integers(values.clone()),
            _ => Data::Integers(array.numbers()?.into_iter().map(|value| value as i64).collect()),
        },
        Element::Boolean => Data::Integers(array.numbers()?.into_iter().map(|value| i64::from(value != 0.0)).collect()),
        Element::Text => Data::Texts(array.names()),
    };
    Ok(Array { shape: array.shape.clone(), data, element: to })
}

fn cast_columns(features: &mut [Feature], mut columns: Columns, to: Element) -> Result<Columns, String> {
    let from = columns.element;
    for cell in &mut columns.cells {
        match (&mut *cell, from, to) {
            (Cell::IsText { .. }, _, Element::Boolean) => {}
            (Cell::Text { feature, replaced: None }, Element::Text, Element::Float | Element::Double) => {
                *cell = Cell::Number { feature: *feature, fill: None, steps: Vec::new() };
            }
            (Cell::Text { .. }, Element::Text, Element::Text) => {}
            (Cell::Number { feature, fill: None, steps }, Element::Integer, Element::Text) if steps.is_empty() => {
                *cell = Cell::Text { feature: *feature, replaced: None };
            }
            (Cell::Number { feature, .. }, Element::Integer, Element::Float | Element::Double)
                if !matches!(features[*feature].element, Element::Integer | Element::Boolean) =>
            {
                return Err("it takes columns that were cast to integers, which cuts fractions off: export the model \
                            without the Cast (.long(), .int(), .bool())"
                    .into());
            }
            // What comes behind must be an encoder: it looks at whole numbers only.
            (Cell::Number { .. }, Element::Float | Element::Double | Element::Integer, Element::Integer) => {}
            (Cell::Category { special, rest, unknown, .. }, _, Element::Integer) => {
                let numbers = special.iter_mut().map(|(_, number)| number).chain([rest, unknown]);
                numbers.for_each(|number| *number = number.trunc());
            }
            (
                Cell::Number { .. } | Cell::Category { .. } | Cell::Product { .. } | Cell::Normalized { .. },
                _,
                Element::Float | Element::Double,
            ) => {}
            (Cell::Product { .. }, _, Element::Integer) => {
                return Err("PolynomialFeatures of scikit-learn multiplies integers: export the pipeline with float \
                            inputs (FloatTensorType)"
                    .into());
            }
            (Cell::IsMissing { .. }, _, Element::Float | Element::Double) => {}
            // A comparison's 0 or 1.
            (Cell::Computed { .. }, Element::Boolean | Element::Float, Element::Float) => {}
            (Cell::Bins { values, .. }, _, Element::Integer) => {
                values.iter_mut().for_each(|value| *value = value.trunc())
            }
            (Cell::Bins { .. }, _, Element::Float | Element::Double) => {}
            (Cell::Place { .. }, Element::Integer, Element::Float | Element::Double | Element::Integer) => {
                *cell = discrete::of_place(features, cell)?;
            }
            (_, from, to) => return Err(format!("it casts columns from {from:?} to {to:?}")),
        }
        if to == Element::Float && from != Element::Float {
            apply(cell, Step::Round)?;
        }
    }
    columns.element = to;
    Ok(columns)
}

pub(super) fn imputer(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let Value::Columns(mut columns) = walk.input(node, 0)?.clone() else {
        return Err("it imputes something else than columns before the network".into());
    };
    let integers = columns.element == Element::Integer;
    let fills: Vec<f64> = if integers {
        node.ints("imputed_value_int64s").iter().map(|&value| value as f64).collect()
    } else {
        node.floats("imputed_value_floats").iter().map(|&value| f64::from(value)).collect()
    };
    let replaced = match (integers, node.int("replaced_value_int64", 0)) {
        (true, NO_INTEGER) => f64::NAN,
        (true, number) => number as f64,
        (false, _) => node.float("replaced_value_float", 0.0),
    };
    if fills.len() != 1 && fills.len() != columns.cells.len() {
        let (fills, columns) = (fills.len(), columns.cells.len());
        return Err(format!("it has {fills} values for {columns} columns"));
    }
    for (place, cell) in columns.cells.iter_mut().enumerate() {
        let value = fills[place % fills.len()];
        if let Some(imputed) = computed::imputed(cell, replaced, value)? {
            *cell = imputed;
        } else if !replaced.is_nan() {
            impute_number(cell, replaced, value)?;
        } else if let Cell::Number { fill: fill @ None, steps, .. } = cell {
            if steps.iter().any(|step| matches!(step, Step::YeoJohnson { .. })) {
                return Err(
                    "it imputes after PowerTransformer, whose export by skl2onnx turns missing values into 0: \
                            impute before it"
                        .into(),
                );
            }
            *fill = Some(before(steps, value)?);
        }
    }
    Ok(vec![Value::Columns(columns)])
}

/// SimpleImputer of a number that stands for what is missing, such as -999: in a record it is a number as any other.
fn impute_number(cell: &mut Cell, value: f64, by: f64) -> Result<(), String> {
    match cell {
        Cell::Number { .. } if value.is_finite() && by.is_finite() => apply(cell, Step::Replace { value, by }),
        _ => Err(format!("it imputes {value} by {by} where only columns of finite numbers can be imputed")),
    }
}

/// The number that these steps turn into `value`: imputation comes before all steps.
fn before(steps: &[Step], value: f64) -> Result<f64, String> {
    let undone = steps.iter().rev().fold(value, |value, step| step.undo(value));
    let again = steps.iter().fold(undone, |value, step| step.apply(value));
    if (again - value).abs() <= 1e-6 * value.abs().max(1.0) {
        return Ok(undone);
    }
    Err(format!("it imputes {value} into a scaled column, which no number is scaled to: impute before scaling"))
}

pub(super) fn one_hot(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let Value::Columns(columns) = walk.input(node, 0)?.clone() else {
        return Err("it encodes something else than columns before the network".into());
    };
    let names = match node.strings("cats_strings")? {
        texts if texts.is_empty() => node.ints("cats_int64s").iter().map(i64::to_string).collect(),
        texts => texts,
    };
    let unknown = if node.int("zeros", 1) == 1 { Unknown::Zeros } else { Unknown::Reject };
    let mut cells = Vec::with_capacity(columns.cells.len() * names.len());
    for cell in &columns.cells {
        if matches!(cell, Cell::Bins { .. }) {
            cells.extend(discrete::one_hot(cell, &names)?);
            continue;
        }
        let feature = cell.encoded_feature()?;
        let (encoded, alias) = encoded(cell, names.clone(), unknown)?;
        for index in 0..names.len() {
            let alias = alias.filter(|&(_, to)| to == index).map(|(from, _)| (from, 1.0));
            let special = [(index, 1.0)].into_iter().chain(alias).collect();
            cells.push(Cell::Category { feature, special, rest: 0.0, unknown: 0.0 });
        }
        walk.features[feature].encode(encoded)?;
    }
    let tail = [columns.tail, vec![names.len()]].concat();
    Ok(vec![Value::Columns(Columns { cells, tail, element: Element::Float })])
}

/// How a column is encoded; and which category, if any, stands for another one.
pub(super) fn encoded(
    cell: &Cell,
    mut categories: Vec<String>,
    unknown: Unknown,
) -> Result<(Encoded, Option<(usize, usize)>), String> {
    let or_else = if unknown == Unknown::Zeros { Missing::Zeros } else { Missing::Reject };
    let place = |categories: &[String], name: &str| categories.iter().position(|category| category == name);
    let (mut missing, mut alias) = (or_else, None);
    match cell {
        Cell::Place { places, rest, .. } => {
            return Ok((own::encoded(places, *rest, &categories, unknown)?, None));
        }
        Cell::Text { replaced: None, .. } => {}
        Cell::Text { replaced: Some((from, to)), .. } => {
            let to = place(&categories, to);
            missing = to.map_or(or_else, |index| Missing::Category { index });
            if let (Some(to), None) = (to, place(&categories, from)) {
                alias = Some((categories.len(), to));
                categories.push(from.clone());
            }
        }
        Cell::Number { fill, steps, .. } if steps.iter().all(|step| *step == Step::Round) => {
            if let Some(fill) = fill {
                let to = place(&categories, &(fill.trunc() as i64).to_string());
                missing = to.map_or(or_else, |index| Missing::Category { index });
            }
        }
        _ => return Err("it encodes a column after computing with it: encode the column as it comes".into()),
    }
    Ok((Encoded { categories, unknown, missing }, alias))
}

/// In what skl2onnx writes for `SimpleImputer` on texts: a lookup of the text that is missing, and of its replacement.
pub(super) fn label_encoder(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let refuse =
        || Err("it encodes labels otherwise than to impute them: encode categories by OneHotEncoder".to_owned());
    match walk.input(node, 0)? {
        Value::Constant(array) => {
            let (keys, texts) = (node.ints("keys_int64s"), node.strings("values_strings")?);
            let default = node.string("default_string")?.unwrap_or_else(|| "_Unused".into());
            let Data::Integers(values) = &array.data else { return refuse() };
            if keys.len() != texts.len() || texts.is_empty() {
                return refuse();
            }
            let text = |value| keys.iter().position(|key| key == value).map_or(&default, |place| &texts[place]);
            let data = Data::Texts(values.iter().map(|value| text(value).clone()).collect());
            Ok(vec![Value::Constant(Rc::new(Array { shape: array.shape.clone(), data, element: Element::Text }))])
        }
        Value::Columns(columns) => {
            let (keys, values) = (node.strings("keys_strings")?, node.ints("values_int64s"));
            let rest = node.has("default_int64").then(|| node.int("default_int64", -1));
            let ([text], [1], Some(0)) = (&*keys, values, rest) else {
                if let Some(places) = own::places(columns, keys, values, rest) {
                    return Ok(vec![Value::Columns(places)]);
                }
                let columns = columns.clone();
                return Ok(vec![Value::Columns(discrete::ordinal(walk, node, columns)?)]);
            };
            let is_text = |cell: &Cell| match cell {
                Cell::Text { feature, replaced: None } => Some(Cell::IsText { feature: *feature, text: text.clone() }),
                _ => None,
            };
            let Some(cells) = columns.cells.iter().map(is_text).collect() else { return refuse() };
            let columns = Columns { cells, tail: columns.tail.clone(), element: Element::Integer };
            Ok(vec![Value::Columns(columns)])
        }
        _ => refuse(),
    }
}

/// `Where`: one text, or what is missing, by another value.
pub(super) fn replace(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let refuse = || Err("it chooses between values otherwise than to impute a text".to_owned());
    let (Value::Columns(which), Value::Constant(by), Value::Columns(columns)) =
        (walk.input(node, 0)?, walk.input(node, 1)?, walk.input(node, 2)?)
    else {
        return refuse();
    };
    if !matches!(by.data, Data::Texts(_)) {
        return Ok(vec![Value::Columns(own::impute(which, by, columns)?)]);
    }
    let (Data::Texts(by), true) = (&by.data, which.tail == columns.tail) else { return refuse() };
    let [by] = &**by else { return refuse() };
    let mut changed = columns.clone();
    for (cell, which) in changed.cells.iter_mut().zip(&which.cells) {
        match (cell, which) {
            (Cell::Text { feature, replaced: replaced @ None }, Cell::IsText { feature: same, text })
                if feature == same =>
            {
                *replaced = Some((text.clone(), by.clone()));
            }
            _ => return refuse(),
        }
    }
    Ok(vec![Value::Columns(changed)])
}

/// The sum of one-hot columns: what skl2onnx writes for infrequent categories.
pub(super) fn reduce_sum(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let axes = walk.integers(node, 1, "axes")?;
    let columns = match walk.input(node, 0)? {
        Value::Columns(columns) => columns,
        Value::Inner(_) => return calibrated::row_sum(walk, node, axes.as_deref()),
        other => return Err(format!("it sums {}: only one-hot columns can be summed", kind(other))),
    };
    let refuse = || Err("it sums other columns than those of one one-hot group".to_owned());
    let [axis] = axes.as_deref().unwrap_or(&[]) else { return refuse() };
    if !is_last(*axis, &columns.tail)? || columns.tail.last() != Some(&columns.cells.len()) {
        return refuse();
    }
    let Some((Cell::Category { feature, special, rest, unknown }, others)) = columns.cells.split_first() else {
        return refuse();
    };
    let (mut special, mut rest_of_all, mut unknown_of_all) = (special.clone(), *rest, *unknown);
    for other in others {
        match other {
            // Where both have a rest of 0, the sum of the special ones is the sum.
            Cell::Category { feature: same, special: more, rest: 0.0, unknown } if same == feature && *rest == 0.0 => {
                special.extend(more);
                unknown_of_all += unknown;
            }
            _ => return refuse(),
        }
    }
    special.sort_by_key(|&(index, _)| index);
    special.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        kept.1 += if same { next.1 } else { 0.0 };
        same
    });
    rest_of_all += 0.0;
    let cell = Cell::Category { feature: *feature, special, rest: rest_of_all, unknown: unknown_of_all };
    let mut tail = columns.tail.clone();
    match node.int("keepdims", 1) {
        0 => drop(tail.pop()),
        _ => tail.iter_mut().next_back().into_iter().for_each(|dim| *dim = 1),
    }
    Ok(vec![Value::Columns(Columns { cells: vec![cell], tail, element: columns.element })])
}

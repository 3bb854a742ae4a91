//! Numbers that become one of a few: bins (KBinsDiscretizer, Binarizer), and categories by a number each
//! (OrdinalEncoder).

use super::encoding::encoded;
use super::{Feature, Walk, activation, axis, computed, kind, network};
use crate::model::onnx::proto::Node;
use crate::model::onnx::tensor::Element;
use crate::model::onnx::value::{Cell, Columns, Moment, Value};
use crate::model::preprocess::Step;
use crate::model::signature::Unknown;

/// `Less`, `Greater` and their like: 1 and 0 on both sides of a constant.
pub(super) fn compare(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let (a, b) = (walk.input(node, 0)?, walk.input(node, 1)?);
    if [a, b].iter().any(|value| matches!(value, Value::Inner(_))) {
        return activation::compare(walk, node);
    }
    let (columns, array) = match (a, b) {
        (Value::Columns(columns), Value::Constant(array)) => (columns, array),
        _ => {
            let compared = if node.op_type == "Less" { computed::binary("Less", a, b)? } else { None };
            let refuse = || format!("it compares {} with {}: only columns with constants can be", kind(a), kind(b));
            return Ok(vec![compared.ok_or_else(refuse)?]);
        }
    };
    let constants = array.numbers()?;
    let width = columns.cells.len();
    if constants.iter().any(|constant| !constant.is_finite()) || !(width == 1 || [1, width].contains(&constants.len()))
    {
        return Err(format!("it compares {width} columns with {} constants", constants.len()));
    }
    // Where one column is compared with several constants there is a column for each.
    let count = width.max(constants.len());
    let compared = |at: usize| below(&columns.cells[at % width], constants[at % constants.len()], &node.op_type);
    let cells = (0..count).map(compared).collect::<Result<_, _>>()?;
    let tail = if count == width { columns.tail.clone() } else { vec![count] };
    if count != width && columns.tail != [1] {
        return Err(format!("it compares rows of shape {:?} with {count} constants", columns.tail));
    }
    Ok(vec![Value::Columns(Columns { cells, tail, element: Element::Boolean })])
}

/// A number compared with a constant.
fn below(cell: &Cell, constant: f64, operator: &str) -> Result<Cell, String> {
    let Cell::Number { feature, fill, steps } = cell else {
        return Err(match cell {
            Cell::Product { .. } | Cell::Normalized { .. } => {
                "it compares a column that PolynomialFeatures or Normalizer of scikit-learn made of several: put Binarizer \
                 or KBinsDiscretizer before them"
            }
            _ => "it compares something else than a number",
        }
        .into());
    };
    let (edge, values) = match operator {
        "Less" => (constant, [1.0, 0.0]),
        "GreaterOrEqual" => (constant, [0.0, 1.0]),
        "LessOrEqual" => (constant.next_up(), [1.0, 0.0]),
        _ => (constant.next_up(), [0.0, 1.0]),
    };
    let (fill, steps) = (*fill, steps.clone());
    Ok(Cell::Bins { feature: *feature, fill, steps, edges: vec![edge], values: values.to_vec() })
}

pub(super) fn not(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let columns = match walk.input(node, 0)? {
        Value::Columns(columns) => columns,
        &Value::Moment { of, moment: Moment::HasSum } => {
            return Ok(vec![Value::Moment { of, moment: Moment::IsEmpty }]);
        }
        other => return Err(format!("it negates {}", kind(other))),
    };
    let is_computed = columns.cells.iter().any(|cell| matches!(cell, Cell::Computed { .. }));
    if is_computed || columns.element != Element::Boolean {
        return Ok(vec![Value::Columns(computed::function("Not", columns)?)]);
    }
    let mut columns = columns.clone();
    for cell in &mut columns.cells {
        let Cell::Bins { values, .. } = cell else { return Err("it negates something else than bins".into()) };
        values.iter_mut().for_each(|value| *value = 1.0 - *value);
    }
    Ok(vec![Value::Columns(columns)])
}

/// scikit-learn's Binarizer: 1 above its threshold.
pub(super) fn binarizer(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let Value::Columns(columns) = walk.input(node, 0)? else {
        return Err("it makes labels that don't exclude each other: they need a model each".into());
    };
    let threshold = node.float("threshold", 0.0);
    let cells = columns.cells.iter().map(|cell| below(cell, threshold, "Greater"));
    Ok(vec![Value::Columns(Columns { cells: cells.collect::<Result<_, _>>()?, ..columns.clone() })])
}

/// The first bin that a number is in, of comparisons with rising edges: KBinsDiscretizer. Otherwise the class of a row.
pub(super) fn arg_max(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let Value::Columns(columns) = walk.input(node, 0)? else { return network::arg_max(walk, node) };
    if columns.tail.len() != 1 || axis(node.int("axis", 0), 2)? != 1 || node.int("select_last_index", 0) != 0 {
        return Err("it looks for the largest of something else than a row".into());
    }
    let bin = largest(&columns.cells).ok_or("it looks for the largest of columns that aren't bins of one number")?;
    let tail = if node.int("keepdims", 1) == 0 { vec![] } else { vec![1] };
    Ok(vec![Value::Columns(Columns { cells: vec![bin], tail, element: Element::Integer })])
}

/// The place of the largest of some cells, all of which are constant or bins of the same number.
fn largest(cells: &[Cell]) -> Option<Cell> {
    let number = |cell: &Cell| match cell {
        Cell::Bins { feature, fill, steps, .. } => Some((*feature, *fill, steps.clone())),
        _ => None,
    };
    let (feature, fill, steps) = cells.iter().find_map(number)?;
    let mut edges = Vec::new();
    for cell in cells {
        match cell {
            Cell::Bins { edges: more, .. } if number(cell)? == (feature, fill, steps.clone()) => edges.extend(more),
            other => {
                constant(other)?;
            }
        }
    }
    edges.sort_by(f64::total_cmp);
    edges.dedup();
    // The first bin begins below all edges.
    let starts = [f64::NEG_INFINITY].into_iter().chain(edges.iter().copied());
    let place = |start: f64| {
        let mut best = (0, f64::NEG_INFINITY);
        for (place, cell) in cells.iter().enumerate() {
            let value = match cell {
                Cell::Bins { edges, values, .. } => values[edges.partition_point(|&edge| edge <= start)],
                other => constant(other)?,
            };
            best = if value > best.1 { (place, value) } else { best };
        }
        Some(best.0 as f64)
    };
    let values = starts.map(place).collect::<Option<_>>()?;
    Some(Cell::Bins { feature, fill, steps, edges, values })
}

/// What a number times 0 becomes.
fn constant(cell: &Cell) -> Option<f64> {
    let Cell::Number { steps, .. } = cell else { return None };
    let zero = steps.iter().rposition(|step| *step == Step::Multiply { value: 0.0 })?;
    Some(steps[zero + 1..].iter().fold(0.0, |value, step| step.apply(value)))
}

/// OneHotEncoder of the places of bins.
pub(super) fn one_hot(cell: &Cell, names: &[String]) -> Result<Vec<Cell>, String> {
    let Cell::Bins { values: bins, .. } = cell else { return Err("it encodes something else than bins".into()) };
    let column = |name: &String| {
        let number: f64 = name.parse().map_err(|_| format!("it encodes bins by {name:?}"))?;
        let mut column = cell.clone();
        if let Cell::Bins { values, .. } = &mut column {
            *values = bins.iter().map(|&bin| f64::from(u8::from(bin == number))).collect();
        }
        Ok(column)
    };
    names.iter().map(column).collect()
}

/// LabelEncoder from categories to numbers: OrdinalEncoder.
pub(super) fn ordinal(walk: &mut Walk<'_>, node: &Node, columns: Columns) -> Result<Columns, String> {
    let mut keys = node.strings("keys_strings")?;
    if keys.is_empty() {
        keys = node.ints("keys_int64s").iter().map(i64::to_string).collect();
    }
    if keys.is_empty() {
        let floats = node.floats("keys_floats");
        if let Some(key) = floats.iter().find(|key| key.fract() != 0.0) {
            return Err(format!(
                "OrdinalEncoder of scikit-learn has the category {key}: impute before it, and make texts or whole \
                 numbers of such categories"
            ));
        }
        keys = floats.iter().map(|key| format!("{key}")).collect();
    }
    let (mut values, mut rest) = (Vec::new(), None);
    for value in node.ints("values_int64s") {
        values.push(*value as f64);
        rest = node.has("default_int64").then(|| node.int("default_int64", -1) as f64);
    }
    for value in node.floats("values_floats") {
        values.push(f64::from(*value));
        rest = node.has("default_float").then(|| node.float("default_float", 0.0));
    }
    if keys.len() != values.len() || keys.is_empty() || values.iter().chain(&rest).any(|value| !value.is_finite()) {
        return Err("it encodes labels otherwise than to impute them or to number them (OrdinalEncoder with a finite \
                    unknown_value): encode categories by OneHotEncoder"
            .into());
    }
    let cells = columns.cells.iter().map(|cell| numbered(&mut walk.features, cell, keys.clone(), &values, rest));
    let cells = cells.collect::<Result<_, _>>()?;
    let element = if node.ints("values_int64s").is_empty() { Element::Float } else { Element::Integer };
    Ok(Columns { cells, tail: columns.tail, element })
}

/// A text's place in a list, as a number.
pub(super) fn of_place(features: &mut [Feature], cell: &Cell) -> Result<Cell, String> {
    let Cell::Place { feature, places, rest } = cell else { return Err("it takes something else for places".into()) };
    let text = Cell::Text { feature: *feature, replaced: None };
    let (keys, values): (Vec<_>, Vec<_>) = places.iter().map(|(key, value)| (key.clone(), *value as f64)).unzip();
    numbered(features, &text, keys, &values, rest.map(|rest| rest as f64))
}

/// A number for each category, and for those that aren't known.
fn numbered(
    features: &mut [Feature],
    cell: &Cell,
    keys: Vec<String>,
    values: &[f64],
    rest: Option<f64>,
) -> Result<Cell, String> {
    let unknown = if rest.is_some() { Unknown::Zeros } else { Unknown::Reject };
    let (encoded, alias) = encoded(cell, keys, unknown)?;
    let alias = alias.map(|(from, to)| (from, values[to]));
    let special = values.iter().copied().enumerate().chain(alias).collect();
    let feature = cell.encoded_feature()?;
    features[feature].encode(encoded)?;
    let rest = rest.unwrap_or(0.0);
    Ok(Cell::Category { feature, special, rest, unknown: rest })
}

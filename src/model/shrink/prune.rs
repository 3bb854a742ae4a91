//! Fewer neurons.

use ndarray::{Array1, ArrayView2, Axis};

use super::{ShrinkError, walk};
use crate::engine::{Layer, Weights};

/// The same layers without some of each hidden layer's neurons, `share` of them (rounded down; one stays).
///
/// The smallest ones go: those whose weights into the neuron times those out of it, each as a Euclidean norm, have the
/// smallest product. It doesn't change when one side is scaled up and the other down, as relu allows. What a neuron gave
/// the next layer on average goes into that one's bias: its mean over `inputs` of the network, rows × columns, or
/// without these what it says where the layer before it is silent. Layers with a norm keep their neurons.
///
/// # Errors
/// If `share` is not between 0 and 1, or no neuron would go.
pub fn prune(layers: &[Layer], share: f64, inputs: Option<ArrayView2<'_, f32>>) -> Result<Vec<Layer>, ShrinkError> {
    if !(share > 0.0 && share < 1.0) {
        return Err(ShrinkError::Share(share));
    }
    let mut said: Vec<Array1<f32>> = layers.iter().map(silent).collect();
    if let Some(inputs) = inputs {
        let mut means: Vec<Array1<f64>> = layers.iter().map(|layer| Array1::zeros(layer.inputs())).collect();
        walk(layers, inputs, |layer, x| means[layer] += &x.mapv(f64::from).sum_axis(Axis(0)))?;
        // What a layer says is what the next one reads.
        for (said, mean) in said.iter_mut().zip(means.into_iter().skip(1)) {
            *said = mean.mapv(|sum| (sum / inputs.nrows() as f64) as f32);
        }
    }

    let mut pruned = layers.to_vec();
    let mut gone = 0;
    for index in 1..pruned.len() {
        let (layer, next) = (&pruned[index - 1], &pruned[index]);
        let count = neurons(share, layer.outputs()).min(layer.outputs() - 1);
        // Nor may numbers go that a later layer needs.
        if count == 0 || layer.norm.is_some() || layer.passed > 0 {
            continue;
        }
        let mut order: Vec<usize> = (0..layer.outputs()).collect();
        let magnitude: Vec<f64> =
            norms(&layer.weights, Axis(0)).iter().zip(&norms(&next.weights, Axis(1))).map(|(a, b)| a * b).collect();
        order.sort_by(|&a, &b| magnitude[a].total_cmp(&magnitude[b]));
        let mut keep = order.split_off(count);
        keep.sort_unstable();

        let outgoing = next.weights.to_f32();
        let mut bias = next.bias.clone();
        for &neuron in order.iter().filter(|&&neuron| said[index - 1][neuron].is_finite()) {
            bias.scaled_add(said[index - 1][neuron], &outgoing.row(neuron));
        }
        let next = Layer { weights: select(&next.weights, Axis(0), &keep), bias, ..next.clone() };
        let bias = layer.bias.select(Axis(0), &keep);
        let slopes = layer.slopes.as_ref().map(|slopes| slopes.select(Axis(0), &keep));
        pruned[index - 1] = Layer { weights: select(&layer.weights, Axis(1), &keep), bias, slopes, ..layer.clone() };
        pruned[index] = next;
        gone += count;
    }
    if gone == 0 { Err(ShrinkError::NothingToPrune) } else { Ok(pruned) }
}

/// How many of a layer's neurons a share of them is. 0.29 of 100 is 28.999… in f64, and 29 is meant.
fn neurons(share: f64, of: usize) -> usize {
    (share * of as f64 + 1e-9) as usize
}

/// What the neurons of a layer say to inputs of 0.
fn silent(layer: &Layer) -> Array1<f32> {
    let mut said = layer.bias.to_vec();
    layer.activate(&mut said);
    said.into()
}

/// The Euclidean norms of the lanes along an axis.
fn norms(weights: &Weights, axis: Axis) -> Array1<f64> {
    weights.to_f32().map_axis(axis, |lane| lane.iter().map(|&weight| f64::from(weight).powi(2)).sum::<f64>().sqrt())
}

/// Some rows (axis 0) or columns (axis 1) of the weights.
fn select(weights: &Weights, axis: Axis, keep: &[usize]) -> Weights {
    match weights {
        Weights::F32(weights) => Weights::F32(weights.select(axis, keep)),
        Weights::F16(weights) => Weights::F16(weights.select(axis, keep)),
        Weights::Bf16(weights) => Weights::Bf16(weights.select(axis, keep)),
        Weights::Int8 { values, scales, input } => Weights::Int8 {
            values: values.select(axis, keep),
            scales: if axis == Axis(1) { scales.select(Axis(0), keep) } else { scales.clone() },
            input: *input,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::neurons;

    #[test]
    fn a_share_of_hundred_neurons_is_that_percentage() {
        for percent in 1..100 {
            let share: f64 = format!("0.{percent:02}").parse().unwrap_or_default();
            assert_eq!(neurons(share, 100), percent, "{share}");
            assert_eq!(neurons(share, 1_000), 10 * percent, "{share}");
        }
        assert_eq!((neurons(0.5, 5), neurons(0.299, 100)), (2, 29));
    }
}

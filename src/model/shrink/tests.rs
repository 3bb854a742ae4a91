use half::f16;
use ndarray::{Array1, array};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::engine::{Activation, Int8Input, Norm, NormPlace};

fn layers(widths: &[usize]) -> Vec<Layer> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut layer = |pair: &[usize]| {
        let scale = 1.0 / (pair[0] as f32).sqrt();
        let weights = Array2::from_shape_simple_fn((pair[0], pair[1]), || rng.random_range(-scale..scale));
        let bias = Array1::from_shape_simple_fn(pair[1], || rng.random_range(-0.5..0.5));
        Layer::new(weights, bias, Activation::Relu)
    };
    let mut layers: Vec<Layer> = widths.windows(2).map(&mut layer).collect();
    layers.last_mut().unwrap().activation = Activation::Identity;
    layers
}

fn rows(rows: usize, columns: usize) -> Array2<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    Array2::from_shape_simple_fn((rows, columns), || rng.random_range(-2.0..2.0))
}

fn answers(layers: &[Layer], x: &Array2<f32>) -> Array2<f32> {
    let mlp = Mlp::new(layers.to_vec(), Output::Identity).unwrap();
    let mut out = Array2::zeros((x.nrows(), mlp.outputs()));
    mlp.forward(x.view(), out.view_mut(), &mut mlp.scratch());
    out
}

/// The largest difference, relative to the largest answer.
fn loss(before: &[Layer], after: &[Layer], x: &Array2<f32>) -> f32 {
    let largest = |values: Array2<f32>| values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    let expected = answers(before, x);
    largest(answers(after, x) - &expected) / largest(expected)
}

#[test]
fn narrow_weights_answer_nearly_the_same() {
    let (wide, x) = (layers(&[100, 128, 128, 5]), rows(500, 100));
    for (to, bound) in [(Dtype::F32, 0.0), (Dtype::F16, 1e-3), (Dtype::Bf16, 1e-2), (Dtype::Int8, 0.05)] {
        for inputs in [None, Some(x.view())] {
            let narrow = quantize(&wide, to, inputs).unwrap();
            assert!(narrow.iter().all(|layer| layer.weights.dtype() == to));
            let loss = loss(&wide, &narrow, &x);
            assert!(loss <= bound && (loss > 0.0 || to == Dtype::F32), "{to}: {loss}");
        }
    }
}

#[test]
fn weights_shrink_by_their_bits() {
    let ratio = |widths: &[usize], to| {
        let wide = layers(widths);
        bytes(&wide) as f64 / bytes(&quantize(&wide, to, None).unwrap()) as f64
    };
    for widths in [&[512, 512][..], &[512, 128], &[784, 512, 512], &[1024, 1024, 1024]] {
        assert!(ratio(widths, Dtype::Int8) >= 3.9, "{widths:?}: {}", ratio(widths, Dtype::Int8));
    }
    assert!(ratio(&[30, 100, 100, 2], Dtype::Int8) >= 3.6, "{}", ratio(&[30, 100, 100, 2], Dtype::Int8));
    assert!(ratio(&[512, 512], Dtype::F16) >= 1.99);
}

#[test]
fn int8_products_are_for_layers_that_gain() {
    let wide = layers(&[95, 100, 64, 100, 63]);
    let inputs = |layers: Vec<Layer>| -> Vec<Int8Input> {
        let input = |layer: &Layer| match &layer.weights {
            Weights::Int8 { input, .. } => *input,
            weights => panic!("{weights:?}"),
        };
        layers.iter().map(input).collect()
    };
    let dynamic = inputs(quantize(&wide, Dtype::Int8, None).unwrap());
    assert_eq!(dynamic, [Int8Input::F32, Int8Input::Dynamic, Int8Input::F32, Int8Input::F32]);

    // Calibrated: the second layer reads what the first one says, and relu says nothing below 0.
    let x = rows(2000, 95);
    let calibrated = inputs(quantize(&wide, Dtype::Int8, Some(x.view())).unwrap());
    let largest = answers(&wide[..1], &x).iter().fold(0.0_f32, |most, &value| most.max(value));
    assert_eq!(calibrated[1], Int8Input::Range { low: 0.0, high: largest });
    // Rows of which nothing can be learned.
    let (zeros, nan) = (Array2::zeros((5, 96)), Array2::from_elem((5, 96), f32::NAN));
    for x in [zeros, nan] {
        assert_eq!(inputs(quantize(&layers(&[96, 64]), Dtype::Int8, Some(x.view())).unwrap()), [Int8Input::Dynamic]);
    }
}

#[test]
fn scales_are_each_outputs_own() {
    let wide = [Layer::new(array![[127.0, 1e-3, 0.0], [-63.6, -1e-3, 0.0]], Array1::zeros(3), Activation::Identity)];
    let narrow = quantize(&wide, Dtype::Int8, None).unwrap();
    let Weights::Int8 { values, scales, .. } = &narrow[0].weights else { panic!("{narrow:?}") };
    assert_eq!(values, array![[127, 127, 0], [-64, -127, 0]]);
    assert_eq!(scales, array![1.0, 1e-3 / 127.0, 1.0]);
    // Smaller than any scale could be.
    let wide = [Layer::new(array![[1e-40]], array![0.5], Activation::Identity)];
    assert_eq!(answers(&quantize(&wide, Dtype::Int8, None).unwrap(), &array![[1.0]]), array![[0.5]]);
}

#[test]
fn what_can_not_be_quantized_is_refused() {
    let mut wide = layers(&[4, 4, 4]);
    wide[1].weights = Weights::F32(Array2::from_elem((4, 4), -65_520.0));
    let overflow = ShrinkError::Overflow { layer: 1, weight: -65_520.0 };
    assert_eq!(quantize(&wide, Dtype::F16, None).unwrap_err(), overflow);
    quantize(&wide, Dtype::Bf16, None).unwrap();
    wide[1].weights = Weights::F16(Array2::from_elem((4, 4), f16::ONE));
    let narrow = ShrinkError::Narrow { layer: 1, dtype: Dtype::F16 };
    assert_eq!(quantize(&wide, Dtype::Int8, None).unwrap_err(), narrow);
}

#[test]
fn neurons_that_say_nothing_go_without_a_trace() {
    let mut whole = layers(&[6, 10, 10, 3]);
    // Neurons 2 and 7 of the first hidden layer hear nothing: they say their bias. Neuron 4 isn't heard.
    for neuron in [2, 7] {
        let Weights::F32(weights) = &mut whole[0].weights else { panic!("f32") };
        weights.column_mut(neuron).fill(0.0);
        whole[0].bias[neuron] = 0.25;
    }
    let Weights::F32(weights) = &mut whole[1].weights else { panic!("f32") };
    weights.row_mut(4).fill(0.0);
    // The same in the second one.
    weights.column_mut(0).fill(0.0);
    weights.column_mut(1).fill(0.0);
    weights.column_mut(9).fill(0.0);

    let x = rows(100, 6);
    for inputs in [None, Some(x.view())] {
        let pruned = prune(&whole, 0.3, inputs).unwrap();
        let shape = |layers: &[Layer]| layers.iter().map(|it| (it.inputs(), it.outputs())).collect::<Vec<_>>();
        assert_eq!(shape(&pruned), [(6, 7), (7, 7), (7, 3)]);
        assert!(loss(&whole, &pruned, &x) < 1e-6, "{}", loss(&whole, &pruned, &x));
    }
    for to in [Dtype::F16, Dtype::Bf16, Dtype::Int8] {
        let narrow = quantize(&whole, to, None).unwrap();
        let pruned = prune(&narrow, 0.3, None).unwrap();
        assert_eq!(pruned[0].weights.dtype(), to);
        assert!(loss(&narrow, &pruned, &x) < 1e-6, "{to}: {}", loss(&narrow, &pruned, &x));
    }
}

#[test]
fn the_mean_of_what_a_neuron_said_stays() {
    // One of the two neurons says 10 on average.
    let first = Layer::new(array![[1.0, 0.1]], array![0.0, 10.0], Activation::Identity);
    let second = Layer::new(array![[1.0], [1.0]], array![0.0], Activation::Identity);
    let x = array![[-3.0], [1.0], [5.0]];
    let pruned = prune(&[first, second], 0.5, Some(x.view())).unwrap();
    assert_eq!(pruned[1].bias, array![10.1]);
    for (found, expected) in answers(&pruned, &x).iter().zip([7.1, 11.1, 15.1]) {
        assert!((found - expected).abs() < 1e-5, "{found}, expected {expected}");
    }
}

#[test]
fn a_norm_keeps_its_neurons() {
    let mut whole = layers(&[6, 10, 10, 3]);
    let place = NormPlace::BeforeActivation;
    whole[0].norm = Some(Norm { scale: Array1::ones(10), shift: Array1::zeros(10), epsilon: 1e-5, place });
    let pruned = prune(&whole, 0.5, None).unwrap();
    assert_eq!((pruned[0].outputs(), pruned[1].inputs(), pruned[1].outputs()), (10, 10, 5));
    whole[1].passed = 2;
    assert_eq!(prune(&whole, 0.5, None), Err(ShrinkError::NothingToPrune));
    whole[1].passed = 0;
    whole[1].norm = whole[0].norm.clone();
    assert_eq!(prune(&whole, 0.5, None), Err(ShrinkError::NothingToPrune));
}

#[test]
fn what_can_not_be_pruned_is_refused() {
    for share in [0.0, 1.0, -0.5, f64::INFINITY] {
        assert_eq!(prune(&layers(&[2, 4, 2]), share, None), Err(ShrinkError::Share(share)));
    }
    assert!(matches!(prune(&layers(&[2, 4, 2]), f64::NAN, None), Err(ShrinkError::Share(_))));
    assert_eq!(prune(&layers(&[2, 4, 2]), 0.2, None), Err(ShrinkError::NothingToPrune));
    assert_eq!(prune(&layers(&[2, 4]), 0.5, None), Err(ShrinkError::NothingToPrune));
    // One neuron always stays.
    assert_eq!(prune(&layers(&[2, 4, 2]), 0.999, None).unwrap()[0].outputs(), 1);
}

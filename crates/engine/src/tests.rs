//! Every kernel that the machine has, against f64: all small shapes, odd ones, large ones, and what must not depend on the
//! batch. `cargo test -- --nocapture kernels_of_this_machine` shows which kernels those were.

mod narrow;

use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::dense::Dense;
use super::dense::int8::Quantized;
use super::kernel::{Backend, Operation, Portable, Simd};
use super::*;

fn layer(rng: &mut ChaCha8Rng, inputs: usize, outputs: usize, activation: Activation) -> Layer {
    let scale = 1.0 / (inputs as f32).sqrt();
    let weights = Array2::from_shape_simple_fn((inputs, outputs), || rng.random_range(-scale..scale));
    let bias = Array1::from_shape_simple_fn(outputs, || rng.random_range(-1.0..1.0));
    Layer::new(weights, bias, activation)
}

/// Layers of these widths, from the inputs to the outputs, the last one with identity.
fn layers(rng: &mut ChaCha8Rng, widths: &[usize], activation: Activation) -> Vec<Layer> {
    let last = widths.len() - 2;
    let activation = |i| if i == last { Activation::Identity } else { activation };
    widths.windows(2).enumerate().map(|(i, pair)| layer(rng, pair[0], pair[1], activation(i))).collect()
}

fn rows(rng: &mut ChaCha8Rng, rows: usize, columns: usize) -> Array2<f32> {
    Array2::from_shape_simple_fn((rows, columns), || rng.random_range(-2.0..2.0))
}

fn forward(mlp: &Mlp, x: ArrayView2<'_, f32>) -> Array2<f32> {
    let mut out = Array2::from_elem((x.nrows(), mlp.outputs()), f32::NAN);
    mlp.forward(x, out.view_mut(), &mut mlp.scratch());
    out
}

fn bits(matrix: ArrayView2<'_, f32>) -> Vec<u32> {
    matrix.iter().map(|value| value.to_bits()).collect()
}

/// The answers in f64.
fn reference(layers: &[Layer], output: Output, x: ArrayView2<'_, f32>) -> Array2<f64> {
    let mut values = x.mapv(f64::from);
    for Layer { weights, bias, activation, slopes, norm, passed } in layers {
        let sums = values.dot(&weights.to_f32().mapv(f64::from)) + bias.mapv(f64::from);
        let (active, passed) = sums.view().split_at(Axis(1), sums.ncols() - passed);
        values = active.to_owned();
        match norm {
            Some(norm) if norm.place == NormPlace::BeforeActivation => normalize(norm, &mut values),
            _ => {}
        }
        values.mapv_inplace(|value| activation.exact(value));
        for mut row in values.rows_mut() {
            let below = row.iter_mut().zip(slopes.iter().flatten()).filter(|(value, _)| **value < 0.0);
            below.for_each(|(value, slope)| *value *= f64::from(*slope));
        }
        match norm {
            Some(norm) if norm.place == NormPlace::AfterActivation => normalize(norm, &mut values),
            _ => {}
        }
        values = ndarray::concatenate![Axis(1), values, passed];
    }
    match output {
        Output::Identity => values,
        Output::Normalized => &values / &values.sum_axis(Axis(1)).insert_axis(Axis(1)),
        Output::Logistic => ndarray::concatenate![Axis(1), -&values, values].mapv(|z| Activation::Logistic.exact(z)),
        Output::Softmax => {
            for mut row in values.rows_mut() {
                let largest = row.fold(f64::NEG_INFINITY, |a, &b| a.max(b));
                row.mapv_inplace(|z| (z - largest).exp());
                let sum = row.sum();
                row /= sum;
            }
            values
        }
    }
}

/// The norm in f64.
fn normalize(norm: &Norm, values: &mut Array2<f64>) {
    for mut row in values.rows_mut() {
        let mean = row.mean().unwrap();
        let deviation = (row.mapv(|y| (y - mean).powi(2)).mean().unwrap() + f64::from(norm.epsilon)).sqrt();
        let parameters = norm.scale.iter().zip(&norm.shift);
        for (y, (&scale, &shift)) in row.iter_mut().zip(parameters) {
            *y = (*y - mean) / deviation * f64::from(scale) + f64::from(shift);
        }
    }
}

#[track_caller]
fn assert_close(kernel: Kernel, actual: &Array2<f32>, expected: &Array2<f64>, tolerance: f64) {
    assert_eq!(actual.dim(), expected.dim());
    for ((place, &actual), &expected) in actual.indexed_iter().zip(expected) {
        let error = (f64::from(actual) - expected).abs();
        assert!(error <= tolerance * expected.abs().max(1.0), "{kernel} at {place:?}: {actual}, should be {expected}");
    }
}

#[test]
fn kernels_of_this_machine() {
    let kernels = kernels();
    println!("kernels: {kernels:?}, in use: {}", Backend::best().kernel());
    assert_eq!(kernels[0], Backend::best().kernel());
    assert!(kernels.contains(&Kernel::Portable));
    for kernel in Kernel::ALL {
        let layers = layers(&mut ChaCha8Rng::seed_from_u64(0), &[1, 1], Activation::Relu);
        match Mlp::with_kernel(layers, Output::Identity, kernel) {
            Ok(mlp) => assert!(kernels.contains(&kernel) && mlp.kernel() == kernel),
            Err(error) => assert!(!kernels.contains(&kernel) && error == EngineError::Kernel(kernel)),
        }
    }
}

#[test]
fn all_small_layers_match_f64() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    // The last ones have vectors of inputs, and some that are left.
    for inputs in (1..=20).chain([32, 39, 47]) {
        for outputs in 1..=40 {
            let layers = vec![layer(&mut rng, inputs, outputs, Activation::Relu)];
            let x = rows(&mut rng, 26, inputs);
            let expected = reference(&layers, Output::Identity, x.view());
            for kernel in kernels() {
                let mlp = Mlp::with_kernel(layers.clone(), Output::Identity, kernel).unwrap();
                for n in 1..=x.nrows() {
                    let actual = forward(&mlp, x.slice(s![..n, ..]));
                    assert_close(kernel, &actual, &expected.slice(s![..n, ..]).to_owned(), 2e-6);
                }
            }
        }
    }
}

#[test]
fn networks_match_f64_and_rows_do_not_depend_on_their_batch() {
    let cases: [(&[usize], usize); 9] = [
        (&[1, 1, 1], 7),
        (&[30, 100, 100, 2], 256),
        (&[784, 512, 256, 10], 50),
        (&[17, 1023, 33], 193),
        (&[2048, 3, 2048], 49),
        (&[5, 4, 3, 2, 1], 400),
        (&[3000, 1], 13),
        (&[1, 3000, 5], 13),
        (&[9; 65], 100),
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for (widths, n) in cases {
        for (activation, output) in [
            (Activation::Relu, Output::Softmax),
            (Activation::Gelu, Output::Identity),
            (Activation::Tanh, Output::Logistic),
        ] {
            if output == Output::Logistic && widths[widths.len() - 1] != 1 {
                continue;
            }
            let layers = layers(&mut rng, widths, activation);
            let x = rows(&mut rng, n, widths[0]);
            let expected = reference(&layers, output, x.view());
            for kernel in kernels() {
                let mlp = Mlp::with_kernel(layers.clone(), output, kernel).unwrap();
                let all = forward(&mlp, x.view());
                assert_close(kernel, &all, &expected, 2e-5);
                for (i, row) in x.outer_iter().enumerate() {
                    let alone = forward(&mlp, row.insert_axis(Axis(0)));
                    assert_eq!(bits(alone.view()), bits(all.slice(s![i..=i, ..])), "{kernel}, {widths:?}, row {i}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_row_has_the_same_bits_in_any_batch(
        widths in prop::collection::vec(1..70usize, 2..5),
        activation in prop::sample::select(&Activation::ALL[..]),
        output in prop::sample::select(&[Output::Identity, Output::Softmax][..]),
        n in 1..300usize,
        cuts in prop::collection::vec(1..60usize, 300),
        seed: u64,
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let layers = layers(&mut rng, &widths, activation);
        let x = rows(&mut rng, n, widths[0]);
        for kernel in kernels() {
            let mlp = Mlp::with_kernel(layers.clone(), output, kernel).unwrap();
            let all = forward(&mlp, x.view());
            let mut start = 0;
            for cut in &cuts {
                let end = (start + cut).min(n);
                let part = forward(&mlp, x.slice(s![start..end, ..]));
                prop_assert_eq!(bits(part.view()), bits(all.slice(s![start..end, ..])));
                start = end;
            }
        }
    }
}

/// A layer's outputs by the kernel it runs with.
struct OneLayer<'a> {
    layer: &'a Layer,
    x: ArrayView2<'a, f32>,
}

impl Operation for OneLayer<'_> {
    type Output = Array2<f32>;

    #[inline(always)]
    fn call<S: Simd>(self, s: S) -> Array2<f32> {
        let dense = Dense::pack(self.layer, S::LANES, false);
        let mut quantized = Quantized::new(self.x.nrows(), dense.quantized_bytes());
        let mut y = Array2::from_elem((self.x.nrows(), dense.width()), f32::NAN);
        let (x, stride, rows) = (self.x.to_slice().unwrap(), self.x.ncols(), self.x.nrows());
        dense.forward(s, x, stride, rows, y.as_slice_mut().unwrap(), &mut quantized);
        y.slice_move(s![.., ..dense.outputs()])
    }
}

/// What is particular about AVX-512 and NEON tiles, as far as a machine without them can check it.
#[test]
fn tiles_of_other_kernels_match_f64() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for outputs in 1..=100 {
        let layer = layer(&mut rng, 7, outputs, Activation::Silu);
        let x = rows(&mut rng, 40, 7);
        let expected = reference(std::slice::from_ref(&layer), Output::Identity, x.view());
        for n in 1..=x.nrows() {
            let (x, expected) = (x.slice(s![..n, ..]), expected.slice(s![..n, ..]).to_owned());
            let avx512 = Portable::<16, 12>.run(OneLayer { layer: &layer, x });
            assert_close(Kernel::Avx512, &avx512, &expected, 2e-6);
            let neon = Portable::<4, 12>.run(OneLayer { layer: &layer, x });
            assert_close(Kernel::Neon, &neon, &expected, 2e-6);
        }
    }
}

#[test]
fn norms_match_f64() {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    for outputs in (1..=40).chain([100, 1000]) {
        for place in [NormPlace::BeforeActivation, NormPlace::AfterActivation] {
            let mut layer = layer(&mut rng, 1, outputs, Activation::Silu);
            layer.bias *= 100.0; // a mean far from 0
            layer.norm = Some(Norm {
                scale: Array1::from_shape_simple_fn(outputs, || rng.random_range(0.5..2.0)),
                shift: Array1::from_shape_simple_fn(outputs, || rng.random_range(-1.0..1.0)),
                epsilon: 1e-5,
                place,
            });
            let x = rows(&mut rng, 14, 1);
            let expected = reference(std::slice::from_ref(&layer), Output::Identity, x.view());
            for kernel in kernels() {
                let mlp = Mlp::with_kernel(vec![layer.clone()], Output::Identity, kernel).unwrap();
                assert_close(kernel, &forward(&mlp, x.view()), &expected, 1e-5);
            }
        }
    }
}

#[test]
fn each_output_has_its_own_slope() {
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    for outputs in (1..=20).chain([100]) {
        for place in [None, Some(NormPlace::BeforeActivation), Some(NormPlace::AfterActivation)] {
            let mut layer = layer(&mut rng, 9, outputs, Activation::PRelu);
            let mut vector = |low, high| Array1::from_shape_simple_fn(outputs, || rng.random_range(low..high));
            layer.slopes = Some(vector(-0.5, 1.5));
            layer.norm =
                place.map(|place| Norm { scale: vector(0.5, 2.0), shift: vector(-1.0, 1.0), epsilon: 1e-5, place });
            let int8 = Weights::Int8 {
                values: layer.weights.to_f32().mapv(|weight| (weight * 300.0) as i8),
                scales: Array1::from_elem(outputs, 1.0 / 300.0),
                input: Int8Input::F32,
            };
            for layer in [Layer { weights: int8, ..layer.clone() }, layer] {
                let x = rows(&mut rng, 14, 9);
                let expected = reference(std::slice::from_ref(&layer), Output::Identity, x.view());
                for kernel in kernels() {
                    let mlp = Mlp::with_kernel(vec![layer.clone()], Output::Identity, kernel).unwrap();
                    assert_close(kernel, &forward(&mlp, x.view()), &expected, 1e-5);
                }
            }
        }
    }
    let prelu = layer(&mut rng, 3, 2, Activation::PRelu);
    let wrong = |slopes, activation| Mlp::new(vec![Layer { slopes, activation, ..prelu.clone() }], Output::Identity);
    let error = wrong(None, Activation::PRelu).unwrap_err();
    assert_eq!(error, EngineError::Slopes { layer: 0, wanted: 2, slopes: 0 });
    let error = wrong(Some(Array1::zeros(2)), Activation::Relu).unwrap_err();
    assert_eq!(error, EngineError::Slopes { layer: 0, wanted: 0, slopes: 2 });
    assert!(wrong(None, Activation::Celu { alpha: -1.0 }).is_err());
}

/// Whatever vectors a kernel has, the numbers that pass are the sums, to the bit, and the others those of a layer in which
/// nothing passes.
#[test]
fn numbers_pass_beside_activations_and_norms() {
    let mut rng = ChaCha8Rng::seed_from_u64(23);
    for (active, passed) in [(1, 1), (3, 30), (7, 9), (8, 8), (16, 1), (17, 5), (31, 2), (40, 40)] {
        for place in [None, Some(NormPlace::BeforeActivation), Some(NormPlace::AfterActivation)] {
            let mut layer = layer(&mut rng, 9, active + passed, Activation::GeluTanh);
            let mut vector = |low, high| Array1::from_shape_simple_fn(active, || rng.random_range(low..high));
            layer.norm =
                place.map(|place| Norm { scale: vector(0.5, 2.0), shift: vector(-1.0, 1.0), epsilon: 1e-5, place });
            layer.passed = passed;
            let values = layer.weights.to_f32().mapv(|weight| (weight * 300.0) as i8);
            let (scales, input) = (Array1::from_elem(active + passed, 1.0 / 300.0), Int8Input::F32);
            let int8 = Layer { weights: Weights::Int8 { values, scales, input }, ..layer.clone() };
            let last = self::layer(&mut rng, active + passed, 3, Activation::Identity);
            for layer in [int8, layer] {
                let x = rows(&mut rng, 14, 9);
                let plain = Layer { activation: Activation::Identity, norm: None, passed: 0, ..layer.clone() };
                let network = [layer.clone(), last.clone()];
                let expected = reference(&network, Output::Identity, x.view());
                for kernel in kernels() {
                    let run = |layers: &[Layer]| {
                        forward(&Mlp::with_kernel(layers.to_vec(), Output::Identity, kernel).unwrap(), x.view())
                    };
                    let (sums, found) = (run(std::slice::from_ref(&plain)), run(std::slice::from_ref(&layer)));
                    assert_eq!(bits(found.slice(s![.., active..])), bits(sums.slice(s![.., active..])), "{kernel}");
                    assert_close(kernel, &run(&network), &expected, 1e-5);
                }
            }
        }
    }
}

#[test]
fn forward_applies_the_very_activations() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let x = rows(&mut rng, 31, 9);
    for activation in Activation::ALL {
        let mut layers = vec![layer(&mut rng, 9, 21, Activation::Identity)];
        let mut expected = forward(&Mlp::new(layers.clone(), Output::Identity).unwrap(), x.view());
        activation.apply(expected.as_slice_mut().unwrap());
        layers[0].activation = activation;
        let actual = forward(&Mlp::new(layers, Output::Identity).unwrap(), x.view());
        assert_eq!(bits(actual.view()), bits(expected.view()), "{activation}");
    }
}

/// A network that gives its inputs to the output function.
fn output_only(columns: usize, output: Output, kernel: Kernel) -> Mlp {
    let layer = Layer::new(Array2::eye(columns), Array1::zeros(columns), Activation::Identity);
    Mlp::with_kernel(vec![layer], output, kernel).unwrap()
}

#[test]
fn values_are_divided_by_their_sum() {
    let mut rng = ChaCha8Rng::seed_from_u64(29);
    for columns in [1, 2, 3, 17] {
        let mut values = rows(&mut rng, 40, columns).mapv(f32::abs);
        let expected = reference(&[], Output::Normalized, values.view());
        for kernel in kernels() {
            let mlp = output_only(columns, Output::Normalized, kernel);
            assert_close(kernel, &forward(&mlp, values.view()), &expected, 1e-6);
        }
        values.row_mut(0).fill(0.0);
        values[[1, columns - 1]] = f32::NAN;
        values[[2, columns - 1]] = -f32::NAN;
        for kernel in kernels() {
            let found = forward(&output_only(columns, Output::Normalized, kernel), values.view());
            assert_eq!(found.row(0).to_vec(), vec![1.0 / columns as f32; columns], "{kernel}");
            assert!([1, 2].iter().all(|&row| found.row(row).iter().all(|value| value.is_nan())), "{kernel}: {found}");
        }
    }
}

#[test]
fn both_logistic_columns_keep_their_digits() {
    let z = Array2::from_shape_fn((2001, 1), |(i, _)| (i as f32 - 1000.0) * 0.087);
    let expected = ndarray::concatenate![Axis(1), z.mapv(|z| -f64::from(z)), z.mapv(f64::from)]
        .mapv(|z| Activation::Logistic.exact(z));
    for kernel in kernels() {
        let actual = forward(&output_only(1, Output::Logistic, kernel), z.view());
        for (&actual, &expected) in actual.iter().zip(&expected) {
            assert!((f64::from(actual) / expected - 1.0).abs() < 3e-7, "{kernel}: {actual}, should be {expected}");
        }
    }
}

#[test]
fn softmax_keeps_its_error_bound_and_never_overflows() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for (classes, offset) in [1, 2, 3, 7, 8, 9, 100].into_iter().flat_map(|classes| [(classes, 0.0), (classes, 1e4)]) {
        let z = Array2::from_shape_simple_fn((33, classes), || rng.random_range(-80.0..80.0f32) + offset);
        let layer = Layer::new(Array2::eye(classes), Array1::zeros(classes), Activation::Identity);
        let expected = reference(&[layer], Output::Softmax, z.view());
        for kernel in kernels() {
            let answer = forward(&output_only(classes, Output::Softmax, kernel), z.view());
            for ((z, answer), expected) in z.outer_iter().zip(answer.outer_iter()).zip(expected.outer_iter()) {
                let largest = z.fold(f32::NEG_INFINITY, |largest, &z| largest.max(z));
                for ((&z, &actual), &expected) in z.iter().zip(answer).zip(expected) {
                    let distance = f64::from(largest) - f64::from(z);
                    let bound = (3.5 + classes as f64 + distance / 2.0) * f64::from(f32::EPSILON);
                    let error = (f64::from(actual) - expected).abs();
                    assert!(error <= bound * expected + 1e-36, "{kernel}: {actual}, should be {expected}");
                }
            }
        }
    }
}

#[test]
fn nan_passes_through_and_harm_no_other_row() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    for activation in Activation::ALL {
        let layers = layers(&mut rng, &[5, 19, 18, 3], activation);
        for output in [Output::Identity, Output::Softmax] {
            for kernel in kernels() {
                let mlp = Mlp::with_kernel(layers.clone(), output, kernel).unwrap();
                let clean = rows(&mut rng, 30, 5);
                let before = forward(&mlp, clean.view());
                for bad in [0, 13, 29] {
                    let mut x = clean.clone();
                    x[[bad, 4]] = f32::NAN;
                    let after = forward(&mlp, x.view());
                    for (i, (before, after)) in before.outer_iter().zip(after.outer_iter()).enumerate() {
                        if i == bad {
                            assert!(after.iter().all(|y| y.is_nan()), "{kernel} {activation}: {after}");
                        } else {
                            assert_eq!(before, after, "{kernel} {activation}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn softmax_of_infinities() {
    let inf = f32::INFINITY;
    for kernel in kernels() {
        let mlp = output_only(2, Output::Identity, kernel);
        // 0 · ∞ in the identity matrix: what a layer makes of an infinity shows.
        assert!(forward(&mlp, ndarray::arr2(&[[inf, 0.0]]).view())[[0, 1]].is_nan());

        let bias = |bias: [f32; 2]| {
            let layer = Layer::new(Array2::zeros((1, 2)), bias.to_vec().into(), Activation::Identity);
            forward(&Mlp::with_kernel(vec![layer], Output::Softmax, kernel).unwrap(), Array2::zeros((1, 1)).view())
        };
        assert_eq!(bias([0.0, -inf]), ndarray::arr2(&[[1.0, 0.0]]));
        assert!(bias([0.0, inf]).iter().all(|p| p.is_nan()));
        assert!(bias([f32::NAN, 0.0]).iter().all(|p| p.is_nan()));
    }
}

#[test]
fn any_layout_of_weights_and_answers() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let standard = layer(&mut rng, 6, 11, Activation::Tanh);
    let x = rows(&mut rng, 20, 6);
    let expected = forward(&Mlp::new(vec![standard.clone()], Output::Softmax).unwrap(), x.view());

    let mut transposed = standard;
    let weights = transposed.weights.to_f32().t().as_standard_layout().to_owned().reversed_axes();
    assert!(!weights.is_standard_layout());
    transposed.weights = Weights::F32(weights);
    let mlp = Mlp::new(vec![transposed], Output::Softmax).unwrap();
    let mut out = Array2::zeros((11, 20)).reversed_axes();
    mlp.forward(x.view(), out.view_mut(), &mut mlp.scratch());
    assert_eq!(out, expected);
}

#[test]
fn forward_allocates_nothing() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    for (widths, output) in
        [(&[30, 100, 100, 2][..], Output::Softmax), (&[3, 200, 1], Output::Logistic), (&[9, 2], Output::Identity)]
    {
        let mlp = Mlp::new(layers(&mut rng, widths, Activation::Gelu), output).unwrap();
        assert_forward_allocates_nothing(&mlp, rows(&mut rng, 300, widths[0]).view());
    }
}

fn assert_forward_allocates_nothing(mlp: &Mlp, x: ArrayView2<'_, f32>) {
    let mut out = Array2::zeros((x.nrows(), mlp.outputs()));
    let mut scratch = mlp.scratch();
    let allocations = allocation_counter::measure(|| {
        for n in [0, 1, 7, x.nrows()] {
            mlp.forward(x.slice(s![..n, ..]), out.slice_mut(s![..n, ..]), &mut scratch);
        }
    });
    assert_eq!(allocations.count_total, 0);
}

#[test]
fn wrong_shapes_are_errors() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut layer = |inputs, outputs| layer(&mut rng, inputs, outputs, Activation::Relu);
    let error = |layers, output| Mlp::new(layers, output).unwrap_err();

    assert_eq!(error(vec![], Output::Identity), EngineError::NoLayers);
    let empty = Layer::new(Array2::zeros((3, 0)), Array1::zeros(0), Activation::Relu);
    assert_eq!(error(vec![empty], Output::Identity), EngineError::EmptyLayer { layer: 0, inputs: 3, outputs: 0 });
    let empty = Layer::new(Array2::zeros((0, 3)), Array1::zeros(3), Activation::Relu);
    assert_eq!(error(vec![empty], Output::Identity), EngineError::EmptyLayer { layer: 0, inputs: 0, outputs: 3 });
    let mut short = layer(4, 3);
    short.bias = Array1::zeros(2);
    assert_eq!(error(vec![layer(2, 4), short], Output::Identity), EngineError::Bias { layer: 1, outputs: 3, bias: 2 });
    assert_eq!(
        error(vec![layer(2, 4), layer(5, 1)], Output::Identity),
        EngineError::Chain { layer: 1, inputs: 5, previous: 4 }
    );
    assert_eq!(error(vec![layer(2, 2)], Output::Logistic), EngineError::Logits(2));

    let mut unscaled = layer(2, 3);
    unscaled.weights = Weights::Int8 { values: Array2::zeros((2, 3)), scales: Array1::zeros(2), input: Int8Input::F32 };
    assert_eq!(error(vec![unscaled], Output::Identity), EngineError::Scales { layer: 0, outputs: 3, scales: 2 });
    let mut normed = layer(2, 3);
    let (scale, shift) = (Array1::zeros(3), Array1::zeros(1));
    normed.norm = Some(Norm { scale, shift, epsilon: 0.0, place: NormPlace::AfterActivation });
    let mut passing = |passed, activation| Layer { passed, activation, ..layer(2, 3) };
    assert_eq!(
        error(vec![passing(3, Activation::Relu)], Output::Identity),
        EngineError::Passed { layer: 0, outputs: 3, passed: 3 }
    );
    let sloped = Layer { slopes: Some(Array1::zeros(3)), ..passing(1, Activation::PRelu) };
    assert_eq!(error(vec![sloped], Output::Identity), EngineError::Passed { layer: 0, outputs: 3, passed: 1 });
    assert_eq!(error(vec![normed], Output::Identity), EngineError::Norm { layer: 0, outputs: 3, scale: 3, shift: 1 });
}

#[test]
#[should_panic(expected = "standard layout")]
fn columns_of_a_wider_matrix_are_refused() {
    let mut rng = ChaCha8Rng::seed_from_u64(10);
    let mlp = Mlp::new(vec![layer(&mut rng, 3, 2, Activation::Relu)], Output::Identity).unwrap();
    forward(&mlp, rows(&mut rng, 4, 5).slice(s![.., ..3]));
}

#[test]
#[should_panic(expected = "smaller network")]
fn the_scratch_of_a_smaller_network_is_refused() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let small = Mlp::new(vec![layer(&mut rng, 3, 2, Activation::Relu)], Output::Identity).unwrap();
    let large = Mlp::new(vec![layer(&mut rng, 3, 200, Activation::Relu)], Output::Identity).unwrap();
    let mut out = Array2::zeros((1, 200));
    large.forward(rows(&mut rng, 1, 3).view(), out.view_mut(), &mut small.scratch());
}

#[test]
fn a_network_is_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Mlp>();
    shared::<Scratch>();
}

#[test]
fn the_predicted_class_is_the_first_of_the_largest() {
    assert_eq!(predicted_class(&[0.2, 0.5, 0.3]), 1);
    assert_eq!(predicted_class(&[0.1, 0.45, 0.45]), 1);
    assert_eq!(predicted_class(&[-2.0, -1.0]), 1);
    assert_eq!(predicted_class(&[]), 0);
}

//! Weights of 16 and 8 bits: the same numbers as widened ones, and the same integers on every kernel.

use half::{bf16, f16};

use super::*;
use crate::dense::int8::MAX_INPUTS;

/// The layer with int8 weights, one scale per output.
fn int8(layer: &Layer, input: Int8Input) -> Layer {
    let weights = layer.weights.to_f32();
    let largest = weights.map_axis(Axis(0), |weights| weights.iter().fold(0.0_f32, |a, b| a.max(b.abs())));
    let scales = largest / 127.0;
    let values = (&*weights / &scales).mapv(|weight| weight.round() as i8);
    Layer { weights: Weights::Int8 { values, scales, input }, ..layer.clone() }
}

fn norm(rng: &mut ChaCha8Rng, outputs: usize, place: NormPlace) -> Norm {
    Norm {
        scale: Array1::from_shape_simple_fn(outputs, || rng.random_range(0.5..2.0)),
        shift: Array1::from_shape_simple_fn(outputs, || rng.random_range(-1.0..1.0)),
        epsilon: 1e-5,
        place,
    }
}

/// What an int8 layer without a norm must answer, to the bit: the formula, value by value.
fn formula(layer: &Layer, x: ArrayView2<'_, f32>) -> Array2<f32> {
    let Weights::Int8 { values, scales, input } = &layer.weights else { panic!("not int8") };
    let mut y = Array2::zeros((x.nrows(), layer.outputs()));
    for (x, mut y) in x.outer_iter().zip(y.rows_mut()) {
        let (low, high) = match *input {
            Int8Input::Range { low, high } => (low, high),
            _ => (x.fold(0.0, |a: f32, &b| a.min(b)), x.fold(0.0, |a: f32, &b| a.max(b))),
        };
        let per_step = 127.0 / (high - low);
        let zero = (-low * per_step).round_ties_even().min(127.0);
        let q = x.mapv(|x| (x * per_step + zero).clamp(0.0, 127.0).round_ties_even() as i64);
        for (output, y) in y.iter_mut().enumerate() {
            let products = q.iter().zip(values.column(output)).map(|(q, &w)| (q - zero as i64) * i64::from(w));
            let sum = products.sum::<i64>() as f32;
            *y = sum * scales[output] * ((high - low) / 127.0) + layer.bias[output];
        }
        layer.activation.apply(y.as_slice_mut().unwrap());
    }
    y
}

#[test]
fn int8_is_its_formula_to_the_bit_on_every_kernel() {
    let mut rng = ChaCha8Rng::seed_from_u64(20);
    let shapes = (1..=20).flat_map(|inputs| (1..=40).map(move |outputs| (inputs, outputs)));
    for (inputs, outputs) in shapes.chain([(100, 100), (1023, 65), (513, 257)]) {
        for input in [Int8Input::Dynamic, Int8Input::Range { low: -1.0, high: 1.5 }] {
            let layer = int8(&layer(&mut rng, inputs, outputs, Activation::Relu), input);
            let mut x = rows(&mut rng, 26, inputs);
            x.row_mut(0).fill(2.0); // nothing but the largest
            x.row_mut(1).mapv_inplace(f32::abs); // no zero point
            let expected = formula(&layer, x.view());
            for kernel in kernels() {
                let mlp = Mlp::with_kernel(vec![layer.clone()], Output::Identity, kernel).unwrap();
                for n in [1, 2, 3, 5, 13, 26] {
                    let actual = forward(&mlp, x.slice(s![..n, ..]));
                    assert_eq!(bits(actual.view()), bits(expected.slice(s![..n, ..])), "{kernel} {inputs}-{outputs}");
                }
            }
            // What is particular about the shapes of AVX-512 and NEON.
            for actual in [
                Portable::<16, 12>.run(OneLayer { layer: &layer, x: x.view() }),
                Portable::<4, 12>.run(OneLayer { layer: &layer, x: x.view() }),
            ] {
                assert_eq!(bits(actual.view()), bits(expected.view()), "{inputs}-{outputs}");
            }
        }
    }
}

#[test]
fn int8_sums_never_saturate() {
    // The largest products there are, of both signs, as many as fit.
    let inputs = 4096;
    let values = Array2::from_shape_fn((inputs, 3), |(input, output)| [127, -127, [127, -127][input / 2 % 2]][output]);
    let weights = Weights::Int8 { values, scales: Array1::ones(3), input: Int8Input::Dynamic };
    let layer = Layer { weights, ..Layer::new(Array2::zeros((1, 1)), Array1::zeros(3), Activation::Identity) };
    let x = Array2::from_elem((14, inputs), 127.0);
    for kernel in kernels() {
        let mlp = Mlp::with_kernel(vec![layer.clone()], Output::Identity, kernel).unwrap();
        let most = (inputs * 127 * 127) as f32;
        for row in forward(&mlp, x.view()).outer_iter() {
            assert_eq!(row.to_vec(), [most, -most, 0.0], "{kernel}");
        }
    }
}

#[test]
fn int8_is_close_to_f32() {
    let mut rng = ChaCha8Rng::seed_from_u64(21);
    let wide = layers(&mut rng, &[100, 200, 200, 3], Activation::Gelu);
    let x = rows(&mut rng, 200, 100);
    let expected = forward(&Mlp::new(wide.clone(), Output::Softmax).unwrap(), x.view());
    for input in [Int8Input::Dynamic, Int8Input::Range { low: -2.0, high: 2.0 }, Int8Input::F32] {
        let narrow = wide.iter().map(|layer| int8(layer, input)).collect();
        let actual = forward(&Mlp::new(narrow, Output::Softmax).unwrap(), x.view());
        let worst = (actual - &expected).iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        assert!(worst < 0.02, "{input:?}: {worst}");
    }
}

#[test]
fn layers_up_to_the_last_int8_product_have_the_same_bits_on_every_kernel() {
    let mut rng = ChaCha8Rng::seed_from_u64(22);
    for activation in Activation::ALL {
        let mut layers = layers(&mut rng, &[33, 70, 41, 50, 3], activation);
        layers[0] = int8(&layers[0], Int8Input::F32);
        layers[0].norm = Some(norm(&mut rng, 70, NormPlace::BeforeActivation));
        layers[1] = int8(&layers[1], Int8Input::Range { low: -3.0, high: 5.0 });
        layers[1].norm = Some(norm(&mut rng, 41, NormPlace::AfterActivation));
        layers[3] = int8(&layers[3], Int8Input::Dynamic);
        let x = rows(&mut rng, 100, 33);
        let portable = Mlp::with_kernel(layers.clone(), Output::Identity, Kernel::Portable).unwrap();
        let expected = forward(&portable, x.view());
        assert_close(Kernel::Portable, &expected, &reference(&layers, Output::Identity, x.view()), 0.5);
        for kernel in kernels() {
            let mlp = Mlp::with_kernel(layers.clone(), Output::Identity, kernel).unwrap();
            assert_eq!(bits(forward(&mlp, x.view()).view()), bits(expected.view()), "{kernel} {activation}");
        }
    }
}

#[test]
fn weights_of_16_bits_answer_as_the_same_numbers_in_32() {
    let mut rng = ChaCha8Rng::seed_from_u64(23);
    // The second is large enough to stay narrow in memory.
    for (inputs, outputs) in [(7, 21), (401, 403)] {
        let wide = layer(&mut rng, inputs, outputs, Activation::Silu);
        let mut weights = wide.weights.to_f32().into_owned();
        weights[[0, 0]] = 3e-6; // subnormal in f16
        weights[[1, 0]] = -65_504.0;
        let x = rows(&mut rng, 29, inputs);
        for narrow in [Weights::F16(weights.mapv(f16::from_f32)), Weights::Bf16(weights.mapv(bf16::from_f32))] {
            let narrow = Layer { weights: narrow, ..wide.clone() };
            let widened = Layer { weights: Weights::F32(narrow.weights.to_f32().into_owned()), ..wide.clone() };
            for kernel in kernels() {
                let run = |layer: &Layer, n: usize| {
                    let mlp = Mlp::with_kernel(vec![layer.clone()], Output::Identity, kernel).unwrap();
                    bits(forward(&mlp, x.slice(s![..n, ..])).view())
                };
                for n in [1, 29] {
                    assert_eq!(run(&narrow, n), run(&widened, n), "{kernel} {:?} x{n}", narrow.weights.dtype());
                }
            }
        }
    }
}

/// Reads every half and bfloat16.
struct LoadAll;

impl Operation for LoadAll {
    type Output = [Vec<f32>; 2];

    #[inline(always)]
    fn call<S: Simd>(self, s: S) -> [Vec<f32>; 2] {
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        let mut floats = [vec![0.0; bits.len()], vec![0.0; bits.len()]];
        for at in (0..bits.len()).step_by(S::LANES) {
            // SAFETY: the vectors lie in `bits`, and both types have the layout of u16.
            let vectors = unsafe { [s.load_f16(bits[at..].as_ptr().cast()), s.load_bf16(bits[at..].as_ptr().cast())] };
            floats.iter_mut().zip(vectors).for_each(|(floats, vector)| s.write(vector, &mut floats[at..]));
        }
        floats
    }
}

#[test]
fn every_half_is_widened_exactly() {
    for kernel in kernels() {
        let [halves, bfloats] = kernel.backend().unwrap().run(LoadAll);
        for bits in 0..=u16::MAX {
            let (half, bfloat) = (f16::from_bits(bits), bf16::from_bits(bits));
            if half.is_finite() {
                assert_eq!(halves[usize::from(bits)].to_bits(), half.to_f32().to_bits(), "{kernel} {half:e}");
            }
            if bfloat.is_finite() {
                assert_eq!(bfloats[usize::from(bits)].to_bits(), bfloat.to_f32().to_bits(), "{kernel} {bfloat:e}");
            }
        }
    }
}

#[test]
fn a_row_of_an_int8_network_depends_on_that_row_alone() {
    let mut rng = ChaCha8Rng::seed_from_u64(24);
    let wide = layers(&mut rng, &[37, 90, 50, 3], Activation::Tanh);
    let calibrated = Int8Input::Range { low: -0.5, high: 0.5 };
    let forms = [[Int8Input::Dynamic; 3], [calibrated; 3], [Int8Input::F32, Int8Input::Dynamic, Int8Input::F32]];
    for (form, kernel) in forms.iter().flat_map(|form| kernels().into_iter().map(move |kernel| (form, kernel))) {
        let narrow = wide.iter().zip(form).map(|(layer, &input)| int8(layer, input)).collect();
        let mlp = Mlp::with_kernel(narrow, Output::Softmax, kernel).unwrap();
        let clean = rows(&mut rng, 250, 37);
        let all = forward(&mlp, clean.view());
        for (i, row) in clean.outer_iter().enumerate() {
            let alone = forward(&mlp, row.insert_axis(Axis(0)));
            assert_eq!(bits(alone.view()), bits(all.slice(s![i..=i, ..])), "{kernel} {form:?}, row {i}");
        }
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = clean.clone();
            x[[7, 36]] = bad;
            for (i, (before, after)) in all.outer_iter().zip(forward(&mlp, x.view()).outer_iter()).enumerate() {
                match i {
                    7 if form[0] == Int8Input::F32 && bad.is_infinite() => {} // tanh makes a number of it
                    7 => assert!(after.iter().all(|y| y.is_nan()), "{kernel} {form:?} {bad}: {after}"),
                    _ => assert_eq!(before, after, "{kernel} {form:?}"),
                }
            }
        }
    }
}

#[test]
fn rows_of_nothing_but_zeros_or_of_tiny_numbers_give_the_bias() {
    let mut rng = ChaCha8Rng::seed_from_u64(25);
    let layer = int8(&layer(&mut rng, 30, 20, Activation::Identity), Int8Input::Dynamic);
    for kernel in kernels() {
        let mlp = Mlp::with_kernel(vec![layer.clone()], Output::Identity, kernel).unwrap();
        for x in [0.0, -0.0, 1e-45, -1e-44, 1e-38] {
            let y = forward(&mlp, Array2::from_elem((3, 30), x).view());
            y.outer_iter().for_each(|row| assert_eq!(row, layer.bias, "{kernel} {x:e}"));
        }
        let y = forward(&mlp, Array2::from_shape_fn((2, 30), |(_, i)| if i < 15 { f32::MAX } else { f32::MIN }).view());
        assert!(y.iter().all(|y| !y.is_finite()), "{kernel}: {y}");
    }
}

#[test]
fn narrow_networks_allocate_nothing() {
    let mut rng = ChaCha8Rng::seed_from_u64(26);
    let mut layers: Vec<Layer> =
        layers(&mut rng, &[9, 700, 400, 3], Activation::Gelu).iter().map(|it| int8(it, Int8Input::Dynamic)).collect();
    layers[1].weights = Weights::F16(layers[1].weights.to_f32().mapv(f16::from_f32));
    layers[1].norm = Some(norm(&mut rng, 400, NormPlace::BeforeActivation));
    let mlp = Mlp::new(layers, Output::Softmax).unwrap();
    assert_forward_allocates_nothing(&mlp, rows(&mut rng, 300, 9).view());
}

#[test]
fn too_many_inputs_for_int8_are_an_error() {
    let inputs = MAX_INPUTS + 1;
    let values = Array2::zeros((inputs, 1));
    let weights = Weights::Int8 { values, scales: Array1::ones(1), input: Int8Input::Dynamic };
    let layer = Layer { weights, ..Layer::new(Array2::zeros((1, 1)), Array1::zeros(1), Activation::Identity) };
    let error = Mlp::new(vec![layer], Output::Identity).unwrap_err();
    assert_eq!(error, EngineError::Int8Inputs { layer: 0, inputs });
}

#[test]
#[should_panic(expected = "smaller network")]
fn the_scratch_of_a_network_without_int8_is_refused() {
    let mut rng = ChaCha8Rng::seed_from_u64(27);
    let wide = vec![layer(&mut rng, 3, 2, Activation::Relu)];
    let narrow = Mlp::new(vec![int8(&wide[0], Int8Input::Dynamic)], Output::Identity).unwrap();
    let wide = Mlp::new(wide, Output::Identity).unwrap();
    narrow.forward(rows(&mut rng, 1, 3).view(), Array2::zeros((1, 2)).view_mut(), &mut wide.scratch());
}

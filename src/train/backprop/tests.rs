use std::ops::ControlFlow;

use ndarray::Array2;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::engine::{Activation, Output};
use crate::train::descent::{Descent, TrainingData};
use crate::train::distributed::tests::on_ranks;
use crate::train::recipe::{BatchSize, Recipe, Solver};
use crate::train::validation::Division;

/// The losses of the first and the twentieth epoch beside scikit-learn's 1.9, from the same weights on the same rows
/// in the same order, with a last batch smaller than the others. Its side of it:
///
/// ```python
/// n = 20
/// X = np.sin(np.arange(n * 3) * 1.7).reshape(n, 3).astype(np.float32)
/// s = X.sum(1)
/// y = {"binary": s > 0, "three": np.digitize(s, [-0.5, 0.5]), "number": (s / 2).astype(np.float32)}[kind]
/// class M(MLPRegressor if kind == "number" else MLPClassifier):
///     k = 0
///     def _init_coef(self, i, o, dtype):
///         def take(c):
///             self.k += c
///             return (0.5 * np.sin(np.arange(self.k - c, self.k) + 1.0)).astype(dtype)
///         return take(i * o).reshape(i, o), take(o)
/// M(hidden_layer_sizes=(4, 3), activation=activation, batch_size=8, shuffle=False, max_iter=20, tol=0,
///   n_iter_no_change=1000, alpha=0.1, **kw).fit(X, y).loss_curve_
/// ```
#[test]
fn the_loss_falls_as_scikit_learns_does() {
    let sgd = |rate, momentum, nesterovs_momentum| Recipe {
        solver: Solver::Sgd,
        learning_rate_init: rate,
        momentum,
        nesterovs_momentum,
        ..Recipe::default()
    };
    let adam = || Recipe { solver: Solver::Adam, learning_rate_init: 0.01, ..Recipe::default() };
    let (binary, three, number) = (Output::Logistic, Output::Softmax, Output::Identity);
    let cases = [
        (binary, Activation::Relu, sgd(0.1, 0.9, true), 0.724_595_777_421_603_1, 0.697_189_256_974_116_5),
        (binary, Activation::Tanh, sgd(0.1, 0.9, false), 0.707_673_086_655_397, 0.160_587_696_489_893_52),
        (three, Activation::Logistic, sgd(0.5, 0.0, false), 1.148_811_929_232_653, 1.105_229_110_207_859),
        (three, Activation::Relu, adam(), 1.160_490_414_791_284, 1.075_703_105_076_339_7),
        (number, Activation::Identity, sgd(0.01, 0.5, true), 0.246_982_541_680_336, 0.035_656_854_510_307_31),
        (number, Activation::Tanh, adam(), 0.212_860_876_321_792_6, 0.019_502_071_291_208_27),
    ];
    for (output, activation, recipe, first, last) in cases {
        let x = Array2::from_shape_fn((20, 3), |(row, column)| ((row * 3 + column) as f64 * 1.7).sin() as f32);
        let sums = x.rows().into_iter().map(|row| row.sum());
        let (truth, logits) = match output {
            Output::Logistic => (Truth::Classes(sums.map(|sum| usize::from(sum > 0.0)).collect()), 1),
            Output::Softmax => {
                (Truth::Classes(sums.map(|sum| usize::from(sum >= -0.5) + usize::from(sum >= 0.5)).collect()), 3)
            }
            Output::Identity => (Truth::Numbers(sums.map(|sum| sum / 2.0).collect()), 1),
            Output::Normalized => unreachable!("no training has it"),
        };
        let mut network = Network::zeros(&[3, 4, 3, logits], activation, output);
        for (index, parameter) in network.parameters.iter_mut().enumerate() {
            *parameter = (0.5 * (index as f64 + 1.0).sin()) as f32;
        }
        let recipe = Recipe {
            activation,
            batch_size: BatchSize::Rows(8),
            shuffle: false,
            max_iter: 20,
            tol: 0.0,
            n_iter_no_change: 1000,
            alpha: 0.1,
            ..recipe
        };
        let division = Division { learn: (0..20).collect(), validate: vec![] };
        let x = Inputs::of_numbers(x);
        let training_data =
            TrainingData { x: &x, truth: &truth, sample_weight: None, division: &division, target_scale: None };
        let mut descent = Descent::new(network, &recipe, ChaCha8Rng::seed_from_u64(0));
        descent.run(&training_data, &recipe, &Workers::default(), None, &mut |_| ControlFlow::Continue(())).unwrap();
        let losses = descent.losses;
        for (epoch, expected) in [(1, first), (20, last)] {
            let found = losses[epoch - 1];
            assert!(
                (found / expected - 1.0).abs() < 1e-4,
                "{output:?} {activation:?} {:?}, epoch {epoch}: {found}, expected {expected}",
                recipe.solver
            );
        }
    }
}

#[test]
fn random_parameters_keep_to_glorots_bound() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let network = Network::random(&[50, 100, 2], Activation::Relu, Output::Softmax, &mut rng);
    let first = &network.parameters[..50 * 100 + 100];
    let bound = (6.0_f32 / 150.0).sqrt();
    assert!(first.iter().all(|value| value.abs() <= bound));
    assert!(first.iter().any(|value| value.abs() > 0.95 * bound));
    assert_eq!(network.parameters.len(), 51 * 100 + 101 * 2);
    assert_eq!(network.layers()[1].activation, Activation::Identity);
}

#[test]
fn rescaling_changes_the_answers_only() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut network = Network::random(&[2, 3, 1], Activation::Tanh, Output::Identity, &mut rng);
    let x = Inputs::of_numbers(ndarray::array![[0.3_f32, -0.2], [1.0, 2.0]]);
    let workers = Workers::default();
    let answers = |network: &Network| {
        let mut pass = Pass::new(network, &x, 2, &workers);
        pass.answer(network, &[0, 1]).column(0).to_vec()
    };
    let before = answers(&network);
    network.rescale(100.0, 5.0);
    for (before, after) in before.into_iter().zip(answers(&network)) {
        assert!((after - (before * 5.0 + 100.0)).abs() < 1e-4, "{before} became {after}");
    }
}

/// The loss of the rows in f64, by its definition.
fn exact_loss(
    network: &Network,
    parameters: &[f64],
    x: &Array2<f32>,
    truth: &Truth,
    weights: &[f32],
    alpha: f64,
) -> f64 {
    let (mut sum, mut total, mut squares) = (0.0, 0.0, 0.0);
    for (row, input) in x.rows().into_iter().enumerate() {
        let mut values: Vec<f64> = input.iter().map(|&value| f64::from(value)).collect();
        for shape in &network.shapes {
            let neuron = |output: usize| {
                let weight = |input: usize| parameters[shape.start + input * shape.outputs + output];
                let products = values.iter().enumerate().map(|(input, value)| value * weight(input));
                shape.activation.exact(products.sum::<f64>() + parameters[shape.weights_end() + output])
            };
            values = (0..shape.outputs).map(neuron).collect();
        }
        let loss = match truth {
            Truth::Numbers(numbers) => (values[0] - f64::from(numbers[row])).powi(2) / 2.0,
            Truth::Classes(classes) if network.output == Output::Logistic => {
                let sign = if classes[row] == 1 { -1.0 } else { 1.0 };
                (sign * values[0]).exp().ln_1p()
            }
            Truth::Classes(classes) => values.iter().map(|value| value.exp()).sum::<f64>().ln() - values[classes[row]],
        };
        sum += loss * f64::from(weights[row]);
        total += f64::from(weights[row]);
    }
    for shape in &network.shapes {
        squares += parameters[shape.start..shape.weights_end()].iter().map(|weight| weight * weight).sum::<f64>();
    }
    (sum + alpha / 2.0 * squares) / total
}

#[test]
fn gradients_are_those_of_finite_differences() {
    const STEP: f64 = 1e-5;
    let x = Array2::from_shape_fn((7, 3), |(row, column)| ((row * 3 + column) as f64 * 1.7).sin() as f32);
    let rows: Vec<usize> = (0..7).collect();
    let weights: Vec<f32> = rows.iter().map(|&row| 0.5 + row as f32 / 4.0).collect();
    let classes = |count: usize| Truth::Classes((0..7).map(|row| row % count).collect());
    let numbers = Truth::Numbers((0..7).map(|row| row as f32 / 3.0 - 1.0).collect());
    let targets = [
        (Output::Logistic, 1, classes(2)),
        (Output::Softmax, 3, classes(3)),
        (Output::Softmax, 2, classes(2)),
        (Output::Identity, 1, numbers),
    ];
    let (inputs, workers) = (Inputs::of_numbers(x.clone()), Workers::default());
    let turned = [Activation::LeakyRelu { slope: -0.5 }, Activation::Elu { alpha: -0.5 }];
    for activation in Activation::ALL.into_iter().chain(turned) {
        for (output, last, truth) in &targets {
            let mut rng = ChaCha8Rng::seed_from_u64(5);
            let network = Network::random(&[3, 5, 4, *last], activation, *output, &mut rng);
            let mut pass = Pass::new(&network, &inputs, 7, &workers);
            let loss = pass.run(&network, truth, Some(&weights), &rows, 0.3);
            let mut parameters: Vec<f64> = network.parameters.iter().map(|&value| f64::from(value)).collect();
            let expected = exact_loss(&network, &parameters, &x, truth, &weights, 0.3);
            assert!((loss - expected).abs() < 1e-6, "{activation} {output:?}: loss {loss}, expected {expected}");
            for (at, &found) in pass.gradient().iter().enumerate() {
                let middle = parameters[at];
                let mut beside = |value| {
                    parameters[at] = value;
                    exact_loss(&network, &parameters, &x, truth, &weights, 0.3)
                };
                let expected = (beside(middle + STEP) - beside(middle - STEP)) / (2.0 * STEP);
                parameters[at] = middle;
                assert!(
                    (f64::from(found) - expected).abs() < 2e-6 + 1e-5 * expected.abs(),
                    "{activation} {output:?}, parameter {at}: {found}, expected {expected}"
                );
            }
        }
    }
}

#[test]
fn equal_weights_change_nothing() {
    let x = Array2::from_shape_fn((6, 2), |(row, column)| (row * 2 + column) as f32 / 5.0 - 1.0);
    let network = Network::random(&[2, 4, 1], Activation::Tanh, Output::Logistic, &mut ChaCha8Rng::seed_from_u64(1));
    let truth = Truth::Classes(vec![0, 1, 1, 0, 1, 0]);
    let (x, workers) = (Inputs::of_numbers(x), Workers::default());
    let run = |weights| {
        let mut pass = Pass::new(&network, &x, 6, &workers);
        let loss = pass.run(&network, &truth, weights, &[0, 2, 3, 5], 0.1);
        (loss, pass.gradient().to_vec())
    };
    assert_eq!(run(None), run(Some(&[1.0; 6])));
}

/// Three one-hot features between numbers, some rows without one of them, and the same with all columns as numbers.
fn sparse_and_dense(rows: usize) -> (Inputs, Inputs) {
    let category = |row: usize, feature: usize, categories: usize| match (row * 7 + feature * 5) % (categories + 1) {
        at if at == categories => None,
        at => Some(at),
    };
    let sparse = Inputs::testing(
        rows,
        &[(2, 3), (1, 1), (0, 150), (1, 0)],
        |row, number| ((row * 5 + number) as f32 * 1.3).sin(),
        category,
    );
    let dense = Inputs::of_numbers(sparse.dense(0..rows));
    (sparse, dense)
}

#[test]
fn one_hot_columns_are_columns() {
    let (sparse, dense) = sparse_and_dense(40);
    let truth = Truth::Classes((0..40).map(|row| row % 3).collect());
    let weights: Vec<f32> = (0..40).map(|row| 0.5 + row as f32 / 8.0).collect();
    let rows: Vec<usize> = (0..40).rev().step_by(2).collect();
    for hidden in [5, 9, 100] {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let network = Network::random(&[158, hidden, 3], Activation::Tanh, Output::Softmax, &mut rng);
        let run = |x| {
            let workers = Workers::default();
            let mut pass = Pass::new(&network, x, 20, &workers);
            let loss = pass.run(&network, &truth, Some(&weights), &rows, 0.1);
            (loss, pass.gradient().to_vec(), pass.answer(&network, &rows).to_owned())
        };
        let (found, expected) = (run(&sparse), run(&dense));
        assert!((found.0 - expected.0).abs() < 1e-6);
        for (at, (found, expected)) in found.1.iter().zip(&expected.1).enumerate() {
            assert!((found - expected).abs() < 1e-6, "parameter {at}: {found}, expected {expected}");
        }
        assert!(found.2.iter().zip(&expected.2).all(|(found, expected)| (found - expected).abs() < 1e-6));
    }
}

/// Also with more rows than a block has, and with fewer than threads.
#[test]
fn the_bits_are_the_same_with_any_number_of_threads() {
    let rows = 2 * BLOCK_ROWS + 31;
    let (x, _) = sparse_and_dense(rows);
    let truth = Truth::Numbers((0..rows).map(|row| (row as f32).cos()).collect());
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let network = Network::random(&[158, 70, 30, 1], Activation::Silu, Output::Identity, &mut rng);
    for count in [1, 2, 50, rows] {
        let rows: Vec<usize> = (0..count).collect();
        let run = |threads| {
            let workers = Workers { threads, ..Workers::default() };
            let mut pass = Pass::new(&network, &x, count, &workers);
            let loss = pass.run(&network, &truth, None, &rows, 0.1);
            (loss, pass.gradient().to_vec(), pass.answer(&network, &rows).to_owned())
        };
        let one = run(1);
        for threads in [2, 3, 7] {
            assert!(run(threads) == one, "{count} rows, {threads} threads");
        }
    }
}

/// Also where a rank has no rows.
#[test]
fn ranks_compute_what_one_would() {
    let (x, _) = sparse_and_dense(50);
    let truth = Truth::Classes((0..50).map(|row| row % 2).collect());
    let weights: Vec<f32> = (0..50).map(|row| 0.5 + row as f32 / 8.0).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let network = Network::random(&[158, 20, 1], Activation::Relu, Output::Logistic, &mut rng);
    for rows in [vec![7], (0..50).collect()] {
        let run = |ranks: &Ranks| {
            let workers = Workers { threads: 2, ranks: ranks.clone() };
            let mut pass = Pass::new(&network, &x, 50, &workers);
            let loss = pass.run(&network, &truth, Some(&weights), &rows, 0.1);
            (loss, pass.gradient().to_vec())
        };
        let expected = run(&Ranks::alone());
        for found in on_ranks(3, run) {
            assert!((found.0 - expected.0).abs() < 1e-6, "loss {}, expected {}", found.0, expected.0);
            for (at, (found, expected)) in found.1.iter().zip(&expected.1).enumerate() {
                assert!((found - expected).abs() < 1e-6, "parameter {at}: {found}, expected {expected}");
            }
        }
    }
}

use std::ops::ControlFlow;

use ndarray::Array2;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::train::descent::descend;
use crate::train::recipe::{BatchSize, Recipe, Solver};

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
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let go_on = &mut |_: &_| ControlFlow::Continue(());
        let (losses, _) = descend(&mut network, x.view(), &truth, &recipe, &mut rng, go_on).unwrap();
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
    let x = ndarray::array![[0.3_f32, -0.2], [1.0, 2.0]];
    let answers = |network: &Network| {
        let mut pass = Pass::new(network, 2);
        pass.run(network, x.view(), &Truth::Numbers(vec![0.0; 2]), &[0, 1], 0.0);
        pass.levels[1].post.column(0).to_vec()
    };
    let before = answers(&network);
    network.rescale(100.0, 5.0);
    for (before, after) in before.into_iter().zip(answers(&network)) {
        assert!((after - (before * 5.0 + 100.0)).abs() < 1e-4, "{before} became {after}");
    }
}

//! How to train: what scikit-learn's `MLPClassifier` and `MLPRegressor` call their parameters, with the same names,
//! defaults, ranges and meaning, and how features are prepared.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::class_weight::ClassWeight;
use super::evaluate::ThresholdRule;
use super::preparation::Preparation;
use crate::engine::Activation;
use crate::monitor::drift::Cycle;

/// Everything that training depends on besides the data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recipe {
    /// What happens to the features before the network.
    pub preparation: Preparation,
    /// Neurons of each hidden layer; none of them makes a linear model.
    pub hidden_layer_sizes: Vec<usize>,
    /// The function behind each hidden layer.
    pub activation: Activation,
    /// How the weights follow the gradient.
    pub solver: Solver,
    /// L2 penalty: `alpha / 2 · ‖W‖²`, divided by the rows of the batch, is added to the loss; biases are free.
    pub alpha: f64,
    /// Rows per step, at most all of them.
    pub batch_size: BatchSize,
    /// How the step size changes from epoch to epoch; sgd only.
    pub learning_rate: LearningRate,
    /// The step size, at first.
    pub learning_rate_init: f64,
    /// The exponent of [`LearningRate::Invscaling`].
    pub power_t: f64,
    /// How much of the last step goes on into the next; sgd only.
    pub momentum: f64,
    /// Nesterov's momentum instead of the plain one; sgd only.
    pub nesterovs_momentum: bool,
    /// How much of the mean of the gradients is kept in each step; adam only.
    pub beta_1: f64,
    /// How much of the mean of their squares is kept in each step; adam only.
    pub beta_2: f64,
    /// What is added to the root of that mean, which divides; adam only.
    pub epsilon: f64,
    /// Epochs at most.
    pub max_iter: usize,
    /// An epoch whose training loss isn't lower than the best one by at least this counts as without improvement; with
    /// early stopping, one whose validation score isn't higher by that.
    pub tol: f64,
    /// Training stops after more than this many epochs in a row without improvement; `usize::MAX`, written `inf`: never.
    #[serde(serialize_with = "or_inf")]
    pub n_iter_no_change: usize,
    /// Whether some of the training rows validate each epoch instead of training; the weights with the best score
    /// (accuracy, or R²) are the result.
    pub early_stopping: bool,
    /// The share of the rows that early stopping and the choice of a threshold set aside; a part of a row counts as a
    /// whole one.
    pub validation_fraction: f64,
    /// How much a row counts, by its class.
    pub class_weight: Option<ClassWeight>,
    /// The scale on which a regression learns its target; the loss, `alpha` and `tol` are on it too.
    pub target_scale: TargetScaling,
    /// Of two classes the one that metrics and the threshold are about; `None`: the second one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub positive: Option<String>,
    /// From which probability on the positive class is predicted; `None`: where it is the more probable one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<ThresholdRule>,
    /// Whether each epoch takes the rows in a new order.
    pub shuffle: bool,
    /// The cycle of which each period gets a drift baseline of its own, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_by: Option<Cycle>,
    /// The seed of everything random: the first weights, the order of the rows, and the random splits.
    pub random_state: u64,
}

impl Default for Recipe {
    fn default() -> Recipe {
        Recipe {
            preparation: Preparation::default(),
            hidden_layer_sizes: vec![100],
            activation: Activation::Relu,
            solver: Solver::Adam,
            alpha: 1e-4,
            batch_size: BatchSize::Auto,
            learning_rate: LearningRate::Constant,
            learning_rate_init: 1e-3,
            power_t: 0.5,
            momentum: 0.9,
            nesterovs_momentum: true,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            max_iter: 200,
            tol: 1e-4,
            n_iter_no_change: 10,
            early_stopping: false,
            validation_fraction: 0.1,
            class_weight: None,
            target_scale: TargetScaling::Standard,
            positive: None,
            threshold: None,
            shuffle: true,
            baseline_by: None,
            random_state: 0,
        }
    }
}

impl Recipe {
    /// Whether some of the training rows are set aside: to stop early by, to choose a threshold by.
    pub fn sets_rows_aside(&self) -> bool {
        self.early_stopping || self.threshold.is_some_and(ThresholdRule::needs_rows)
    }

    /// What is wrong with these values, if anything, in the words of the options; the ranges are scikit-learn's.
    pub fn validate(&self) -> Result<(), String> {
        self.preparation.validate()?;
        let reals = [
            ("--alpha", self.alpha, "[0, inf)", self.alpha >= 0.0),
            ("--learning-rate-init", self.learning_rate_init, "(0, inf)", self.learning_rate_init > 0.0),
            ("--power-t", self.power_t, "[0, inf)", self.power_t >= 0.0),
            ("--momentum", self.momentum, "[0, 1]", (0.0..=1.0).contains(&self.momentum)),
            ("--beta-1", self.beta_1, "[0, 1)", (0.0..1.0).contains(&self.beta_1)),
            ("--beta-2", self.beta_2, "[0, 1)", (0.0..1.0).contains(&self.beta_2)),
            ("--epsilon", self.epsilon, "(0, inf)", self.epsilon > 0.0),
            ("--tol", self.tol, "[0, inf)", self.tol >= 0.0),
            (
                "--validation-fraction",
                self.validation_fraction,
                "[0, 1)",
                (0.0..1.0).contains(&self.validation_fraction),
            ),
        ];
        for (option, value, range, within) in reals {
            if !within || value.is_infinite() {
                return Err(format!("{option} must be a number in the range {range}, got {value}"));
            }
        }
        let least_rows = if let BatchSize::Rows(rows) = self.batch_size { rows } else { 1 };
        let counts = [
            ("--hidden-layer-sizes", self.hidden_layer_sizes.iter().copied().min().unwrap_or(1)),
            ("--batch-size", least_rows),
            ("--max-iter", self.max_iter),
            ("--n-iter-no-change", self.n_iter_no_change),
        ];
        match counts.into_iter().find(|(_, count)| *count == 0) {
            Some((option, _)) => Err(format!("{option} must be a whole number in the range [1, inf), got 0")),
            None => Ok(()),
        }
    }
}

/// How the weights follow the gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Solver {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Kingma and Ba, <https://arxiv.org/abs/1412.6980>.
    Adam,
}

/// The scale on which a regression learns its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetScaling {
    /// Its own, as scikit-learn's `MLPRegressor`.
    None,
    /// Mean 0 and deviation 1, as scikit-learn's `TransformedTargetRegressor` with a `StandardScaler`.
    Standard,
}

/// How the step size of sgd changes from epoch to epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LearningRate {
    /// Not at all.
    Constant,
    /// It is `learning_rate_init / (t + 1)^power_t` after an epoch, where t counts the rows trained on so far, all
    /// epochs together.
    Invscaling,
    /// Where the training would stop for want of improvement, it is divided by 5, until it is 1e-6 or less.
    Adaptive,
}

/// Rows per step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSize {
    /// 200.
    Auto,
    /// This many.
    Rows(usize),
}

impl BatchSize {
    /// Rows per step out of `rows`.
    pub fn of(self, rows: usize) -> usize {
        let wanted = match self {
            BatchSize::Auto => 200,
            BatchSize::Rows(wanted) => wanted,
        };
        wanted.min(rows)
    }
}

impl FromStr for Solver {
    type Err = String;

    fn from_str(text: &str) -> Result<Solver, String> {
        match text {
            "sgd" => Ok(Solver::Sgd),
            "adam" => Ok(Solver::Adam),
            "lbfgs" => Err("weir has no lbfgs: expected sgd or adam".into()),
            _ => Err("expected sgd or adam".into()),
        }
    }
}

impl FromStr for TargetScaling {
    type Err = String;

    fn from_str(text: &str) -> Result<TargetScaling, String> {
        match text {
            "none" => Ok(TargetScaling::None),
            "standard" => Ok(TargetScaling::Standard),
            _ => Err("expected none or standard".into()),
        }
    }
}

impl fmt::Display for TargetScaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == TargetScaling::None { "none" } else { "standard" })
    }
}

impl FromStr for LearningRate {
    type Err = String;

    fn from_str(text: &str) -> Result<LearningRate, String> {
        match text {
            "constant" => Ok(LearningRate::Constant),
            "invscaling" => Ok(LearningRate::Invscaling),
            "adaptive" => Ok(LearningRate::Adaptive),
            _ => Err("expected constant, invscaling or adaptive".into()),
        }
    }
}

impl FromStr for BatchSize {
    type Err = String;

    fn from_str(text: &str) -> Result<BatchSize, String> {
        match text {
            "auto" => Ok(BatchSize::Auto),
            rows => rows.parse().map(BatchSize::Rows).map_err(|_| "expected auto or a number of rows".into()),
        }
    }
}

impl fmt::Display for BatchSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BatchSize::Auto => f.write_str("auto"),
            BatchSize::Rows(rows) => write!(f, "{rows}"),
        }
    }
}

impl Serialize for BatchSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            BatchSize::Auto => serializer.serialize_str("auto"),
            BatchSize::Rows(rows) => serializer.serialize_u64(*rows as u64),
        }
    }
}

/// JSON has no infinity, and nobody recognises the largest integer.
fn or_inf<S: Serializer>(count: &usize, serializer: S) -> Result<S::Ok, S::Error> {
    match *count {
        usize::MAX => serializer.serialize_str("inf"),
        count => serializer.serialize_u64(count as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_is_written_in_the_words_of_the_options() {
        let recipe = Recipe { batch_size: BatchSize::Rows(32), ..Recipe::default() };
        let json = serde_json::to_value(&recipe).unwrap();
        assert_eq!(json["preparation"]["impute"], "mean");
        assert_eq!(json["batch_size"], 32);
        assert_eq!(json["solver"], "adam");
        assert_eq!((&json["learning_rate"], &json["n_iter_no_change"]), (&"constant".into(), &10.into()));
        assert_eq!(json["activation"], "relu");
    }

    #[test]
    fn impossible_values_are_named() {
        assert_eq!(Recipe::default().validate(), Ok(()));
        let wrong = |recipe: Recipe| recipe.validate().unwrap_err();
        assert_eq!(
            wrong(Recipe { momentum: 1.5, ..Recipe::default() }),
            "--momentum must be a number in the range [0, 1], got 1.5"
        );
        assert_eq!(
            wrong(Recipe { hidden_layer_sizes: vec![3, 0], ..Recipe::default() }),
            "--hidden-layer-sizes must be a whole number in the range [1, inf), got 0"
        );
        for (option, recipe) in [
            ("--alpha", Recipe { alpha: -1.0, ..Recipe::default() }),
            ("--learning-rate-init", Recipe { learning_rate_init: f64::INFINITY, ..Recipe::default() }),
            ("--power-t", Recipe { power_t: -0.5, ..Recipe::default() }),
            ("--beta-1", Recipe { beta_1: 1.0, ..Recipe::default() }),
            ("--beta-2", Recipe { beta_2: -0.1, ..Recipe::default() }),
            ("--epsilon", Recipe { epsilon: 0.0, ..Recipe::default() }),
            ("--tol", Recipe { tol: f64::NAN, ..Recipe::default() }),
            ("--validation-fraction", Recipe { validation_fraction: 1.0, ..Recipe::default() }),
            ("--batch-size", Recipe { batch_size: BatchSize::Rows(0), ..Recipe::default() }),
            ("--max-iter", Recipe { max_iter: 0, ..Recipe::default() }),
            ("--n-iter-no-change", Recipe { n_iter_no_change: 0, ..Recipe::default() }),
        ] {
            let message = wrong(recipe);
            assert!(message.starts_with(&format!("{option} must be")), "{option}: {message}");
        }
    }
}

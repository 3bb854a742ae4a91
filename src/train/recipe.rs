//! How to train: what scikit-learn's `MLPClassifier` and `MLPRegressor` call their parameters, with the same names,
//! defaults and meaning, and how missing and unknown values are treated.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::engine::Activation;
use crate::model::signature::Unknown;

/// Everything that training depends on besides the data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recipe {
    /// What happens to missing values.
    pub impute: Impute,
    /// What happens to categories that the training rows don't have.
    pub unknown: Unknown,
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
    /// The step size.
    pub learning_rate_init: f64,
    /// How much of the last step goes on into the next; sgd only.
    pub momentum: f64,
    /// Nesterov's momentum instead of the plain one; sgd only.
    pub nesterovs_momentum: bool,
    /// Epochs at most.
    pub max_iter: usize,
    /// An epoch whose training loss isn't lower than the best one by at least this counts as without improvement.
    pub tol: f64,
    /// Training stops after more than this many epochs in a row without improvement.
    pub n_iter_no_change: usize,
    /// Whether each epoch takes the rows in a new order.
    pub shuffle: bool,
    /// The seed of everything random: the first weights, the order of the rows, and a random split.
    pub random_state: u64,
}

impl Default for Recipe {
    fn default() -> Recipe {
        Recipe {
            impute: Impute::Mean,
            unknown: Unknown::Zeros,
            hidden_layer_sizes: vec![100],
            activation: Activation::Relu,
            solver: Solver::Adam,
            alpha: 1e-4,
            batch_size: BatchSize::Auto,
            learning_rate_init: 1e-3,
            momentum: 0.9,
            nesterovs_momentum: true,
            max_iter: 200,
            tol: 1e-4,
            n_iter_no_change: 10,
            shuffle: true,
            random_state: 0,
        }
    }
}

impl Recipe {
    /// What is wrong with these values, if anything, in the words of the options.
    pub fn validate(&self) -> Result<(), String> {
        let checks = [
            (self.hidden_layer_sizes.contains(&0), "--hidden-layer-sizes: a layer needs at least one neuron"),
            (!(self.alpha.is_finite() && self.alpha >= 0.0), "--alpha must not be negative"),
            (self.batch_size == BatchSize::Rows(0), "--batch-size must be at least 1"),
            (
                !(self.learning_rate_init.is_finite() && self.learning_rate_init > 0.0),
                "--learning-rate-init must be above 0",
            ),
            (!(0.0..=1.0).contains(&self.momentum), "--momentum must be from 0 to 1"),
            (self.max_iter == 0, "--max-iter must be at least 1"),
            (self.tol.is_nan() || self.tol < 0.0, "--tol must not be negative"),
        ];
        checks.into_iter().find(|(wrong, _)| *wrong).map_or(Ok(()), |(_, message)| Err(message.into()))
    }
}

/// What a missing value of a numeric feature becomes. A missing category sets none of its columns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Impute {
    /// The mean of the training rows.
    Mean,
    /// The median of the training rows.
    Median,
    /// This number.
    Constant(f64),
    /// Nothing: rows with a missing value, numeric or not, are left out of training and rejected in serving.
    Reject,
}

/// How the weights follow the gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Solver {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Kingma and Ba, <https://arxiv.org/abs/1412.6980>, with their β₁ = 0.9, β₂ = 0.999 and ε = 1e-8.
    Adam,
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

impl FromStr for Impute {
    type Err = String;

    fn from_str(text: &str) -> Result<Impute, String> {
        match text.split_once(':') {
            None if text == "mean" => Ok(Impute::Mean),
            None if text == "median" => Ok(Impute::Median),
            None if text == "reject" => Ok(Impute::Reject),
            Some(("constant", value)) => match value.parse() {
                Ok(value) if f64::is_finite(value) => Ok(Impute::Constant(value)),
                _ => Err(format!("{value:?} isn't a finite number")),
            },
            _ => Err("expected mean, median, reject or constant:VALUE".into()),
        }
    }
}

impl fmt::Display for Impute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Impute::Mean => f.write_str("mean"),
            Impute::Median => f.write_str("median"),
            Impute::Constant(value) => write!(f, "constant:{value}"),
            Impute::Reject => f.write_str("reject"),
        }
    }
}

impl Serialize for Impute {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Solver {
    type Err = String;

    fn from_str(text: &str) -> Result<Solver, String> {
        match text {
            "sgd" => Ok(Solver::Sgd),
            "adam" => Ok(Solver::Adam),
            _ => Err("expected sgd or adam".into()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_is_written_in_the_words_of_the_options() {
        let recipe = Recipe { impute: Impute::Constant(-1.5), batch_size: BatchSize::Rows(32), ..Recipe::default() };
        let json = serde_json::to_value(&recipe).unwrap();
        assert_eq!(json["impute"], "constant:-1.5");
        assert_eq!("constant:-1.5".parse(), Ok(recipe.impute));
        assert_eq!(json["batch_size"], 32);
        assert_eq!(json["solver"], "adam");
        assert_eq!(json["activation"], "relu");
        assert!("constant:inf".parse::<Impute>().is_err());
        assert!("mode".parse::<Impute>().is_err());
    }

    #[test]
    fn impossible_values_are_named() {
        assert_eq!(Recipe::default().validate(), Ok(()));
        let recipe = Recipe { momentum: 1.5, ..Recipe::default() };
        assert!(recipe.validate().unwrap_err().contains("--momentum"));
        let recipe = Recipe { tol: f64::NAN, ..Recipe::default() };
        assert!(recipe.validate().unwrap_err().contains("--tol"));
    }
}

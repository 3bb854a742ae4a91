//! The options that scikit-learn's networks have as parameters, with the same names, defaults and meaning.

use std::str::FromStr;

use crate::engine::Activation;
use crate::train::Recipe;
use crate::train::class_weight::ClassWeight;
use crate::train::evaluate::ThresholdRule;
use crate::train::recipe::{BatchSize, LearningRate, Solver, TargetScaling};

#[derive(Debug, clap::Args)]
pub(super) struct TrainingArgs {
    /// Neurons of each hidden layer.
    #[arg(long, value_name = "N,…", default_value = "100")]
    hidden_layer_sizes: LayerSizes,
    /// identity, relu, leaky_relu, elu, selu, celu, tanh, logistic, gelu, gelu_tanh, silu, softplus, mish, softsign,
    /// hard_swish, hard_sigmoid, thresholded_relu or clamp; parameters as in "leaky_relu(slope=0.2)".
    #[arg(long, default_value = "relu", value_parser = trained_activation)]
    activation: Activation,
    /// sgd or adam.
    #[arg(long, default_value = "adam")]
    solver: Solver,
    /// L2 penalty.
    #[arg(long, default_value_t = Recipe::default().alpha)]
    alpha: f64,
    /// Rows per step; auto is 200.
    #[arg(long, default_value_t = BatchSize::Auto)]
    batch_size: BatchSize,
    /// How the step size changes (sgd): constant, invscaling, or adaptive: a fifth where the loss doesn't fall any more.
    #[arg(long, default_value = "constant")]
    learning_rate: LearningRate,
    /// The step size, at first.
    #[arg(long, default_value_t = Recipe::default().learning_rate_init)]
    learning_rate_init: f64,
    /// The exponent of --learning-rate invscaling.
    #[arg(long, default_value_t = Recipe::default().power_t)]
    power_t: f64,
    /// How much of the last step goes on into the next (sgd).
    #[arg(long, default_value_t = Recipe::default().momentum)]
    momentum: f64,
    /// Nesterov's momentum instead of the plain one (sgd).
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    nesterovs_momentum: bool,
    /// How much of the gradients' mean is kept in each step (adam).
    #[arg(long = "beta-1", value_name = "BETA_1", default_value_t = Recipe::default().beta_1)]
    beta_1: f64,
    /// How much of the mean of their squares is kept in each step (adam).
    #[arg(long = "beta-2", value_name = "BETA_2", default_value_t = Recipe::default().beta_2)]
    beta_2: f64,
    /// Added to the root of that mean (adam).
    #[arg(long, default_value_t = Recipe::default().epsilon)]
    epsilon: f64,
    /// Epochs at most.
    #[arg(long, default_value_t = Recipe::default().max_iter)]
    max_iter: usize,
    /// By how much an epoch's loss must be lower than the best one; its validation score higher, with --early-stopping.
    #[arg(long, default_value_t = Recipe::default().tol)]
    tol: f64,
    /// Stop after more than this many epochs in a row that weren't; inf: never.
    #[arg(long, value_parser = count_or_inf, default_value_t = Recipe::default().n_iter_no_change)]
    n_iter_no_change: usize,
    /// Set some training rows aside, stop when their score doesn't rise any more, and keep the weights of the best.
    #[arg(long)]
    early_stopping: bool,
    /// The share of those rows.
    #[arg(long, value_name = "SHARE", default_value_t = Recipe::default().validation_fraction)]
    validation_fraction: f64,
    /// How much the rows of each class count: balanced, or some weights, 1 for the classes without one.
    #[arg(long, value_name = "balanced|CLASS:WEIGHT,…")]
    class_weight: Option<ClassWeight>,
    /// The scale on which a regression learns its target: standard (mean 0, deviation 1) or none. The printed loss,
    /// --alpha and --tol are on that scale.
    #[arg(long, value_name = "none|standard", default_value_t = Recipe::default().target_scale)]
    target_scale: TargetScaling,
    /// Of two classes the one that metrics, curves and --threshold are about [default: the second in order].
    #[arg(long, value_name = "CLASS")]
    positive: Option<String>,
    /// Predict the positive class from this probability on: a number, or precision>=0.5, recall>=0.9, f1 or
    /// cost=fp:1,fn:50, chosen on training rows that --validation-fraction sets aside. The version keeps it
    /// [default: the more probable class].
    #[arg(long, value_name = "RULE")]
    threshold: Option<ThresholdRule>,
    /// Whether each epoch takes the rows in a new order.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    shuffle: bool,
    /// The seed of the weights, the order of the rows, and the random splits.
    #[arg(long, default_value_t = Recipe::default().random_state)]
    pub(super) random_state: u64,
}

impl TrainingArgs {
    /// The recipe, but for what these options don't say.
    pub(super) fn recipe(&self) -> Recipe {
        Recipe {
            hidden_layer_sizes: self.hidden_layer_sizes.0.clone(),
            activation: self.activation,
            solver: self.solver,
            alpha: self.alpha,
            batch_size: self.batch_size,
            learning_rate: self.learning_rate,
            learning_rate_init: self.learning_rate_init,
            power_t: self.power_t,
            momentum: self.momentum,
            nesterovs_momentum: self.nesterovs_momentum,
            beta_1: self.beta_1,
            beta_2: self.beta_2,
            epsilon: self.epsilon,
            max_iter: self.max_iter,
            tol: self.tol,
            n_iter_no_change: self.n_iter_no_change,
            early_stopping: self.early_stopping,
            validation_fraction: self.validation_fraction,
            class_weight: self.class_weight.clone(),
            target_scale: self.target_scale,
            positive: self.positive.clone(),
            threshold: self.threshold,
            shuffle: self.shuffle,
            random_state: self.random_state,
            ..Recipe::default()
        }
    }
}

/// The neurons of some layers.
#[derive(Clone, Debug)]
struct LayerSizes(Vec<usize>);

impl FromStr for LayerSizes {
    type Err = String;

    /// `100,50`; a comma at the end, as Python's tuple of one has it, is taken.
    fn from_str(text: &str) -> Result<LayerSizes, String> {
        let text = text.trim().trim_start_matches('(').trim_end_matches(')').trim().trim_end_matches(',');
        let size = |size: &str| size.trim().parse().map_err(|_| format!("{size:?} isn't a number of neurons"));
        text.split(',').map(size).collect::<Result<_, String>>().map(LayerSizes)
    }
}

fn trained_activation(text: &str) -> Result<Activation, String> {
    match text.parse() {
        Ok(Activation::PRelu) => Err("slopes can't be trained: use leaky_relu(slope=0.25)".into()),
        Ok(activation) => Ok(activation),
        Err(_) if text == "sigmoid" => Err("scikit-learn's name for it is logistic".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn count_or_inf(text: &str) -> Result<usize, String> {
    match text {
        "inf" => Ok(usize::MAX),
        count => count.parse().map_err(|_| "expected a whole number or inf".into()),
    }
}

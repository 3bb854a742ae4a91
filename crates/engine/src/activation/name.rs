//! An activation as text: `relu`, `leaky_relu(slope=0.2)`, `clamp(low=0, high=6)`.

use std::fmt;
use std::str::FromStr;

use super::Activation;
use crate::EngineError;

/// Far below 2²², where the kernels stop rounding.
const MOST: f32 = 1e6;

/// PyTorch's name for a clamp from 0 to 6.
const RELU6: (&str, Activation) = ("relu6", Activation::Clamp { low: 0.0, high: 6.0 });

impl Activation {
    /// The name without parameters.
    pub fn as_str(self) -> &'static str {
        match self {
            Activation::Identity => "identity",
            Activation::Relu => "relu",
            Activation::LeakyRelu { .. } => "leaky_relu",
            Activation::PRelu => "prelu",
            Activation::Elu { .. } => "elu",
            Activation::Selu => "selu",
            Activation::Celu { .. } => "celu",
            Activation::Tanh => "tanh",
            Activation::Logistic => "logistic",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_tanh",
            Activation::Silu => "silu",
            Activation::Softplus => "softplus",
            Activation::Mish => "mish",
            Activation::Softsign => "softsign",
            Activation::HardSwish => "hard_swish",
            Activation::HardSigmoid { .. } => "hard_sigmoid",
            Activation::ThresholdedRelu { .. } => "thresholded_relu",
            Activation::Clamp { .. } => "clamp",
            Activation::Round { .. } => "round",
        }
    }

    /// Whether the function can be computed with these parameters.
    ///
    /// # Errors
    /// If a parameter is not finite (a clamp's bound may be missing, but not both), an alpha of celu is not above 0, one of
    /// hard_sigmoid is 0, or a clamp's bounds are in the wrong order.
    pub fn validate(self) -> Result<(), EngineError> {
        let reason = match self {
            Activation::Clamp { low, high } if low.is_nan() || high.is_nan() || low > high => {
                "low must not be above high"
            }
            Activation::Clamp { low: f32::INFINITY, .. } | Activation::Clamp { high: f32::NEG_INFINITY, .. } => {
                "bounds must be finite"
            }
            Activation::Clamp { low: f32::NEG_INFINITY, high: f32::INFINITY } => "it needs low, high or both",
            Activation::Celu { alpha } if alpha.is_nan() || alpha <= 0.0 => "alpha must be above 0",
            Activation::Round { low, high } if low > high || low < -MOST || high > MOST => {
                "low must not be above high, and both within a million"
            }
            Activation::Round { low, high } if low.fract() != 0.0 || high.fract() != 0.0 => {
                "bounds must be whole numbers"
            }
            Activation::HardSigmoid { alpha: 0.0, .. } => "alpha must not be 0",
            _ if self.parameters().any(|(_, value)| !value.is_finite()) => "its parameters must be finite",
            _ => return Ok(()),
        };
        Err(EngineError::Activation { activation: self.to_string(), reason })
    }

    /// Names and values of the parameters; bounds that a clamp doesn't have are none.
    fn parameters(self) -> impl Iterator<Item = (&'static str, f32)> {
        let parameters = match self {
            Activation::LeakyRelu { slope } => [Some(("slope", slope)), None],
            Activation::Elu { alpha } | Activation::Celu { alpha } | Activation::ThresholdedRelu { alpha } => {
                [Some(("alpha", alpha)), None]
            }
            Activation::HardSigmoid { alpha, beta } => [Some(("alpha", alpha)), Some(("beta", beta))],
            Activation::Round { low, high } => [Some(("low", low)), Some(("high", high))],
            Activation::Clamp { low, high } => {
                [(low > f32::NEG_INFINITY).then_some(("low", low)), (high < f32::INFINITY).then_some(("high", high))]
            }
            _ => [None, None],
        };
        parameters.into_iter().flatten()
    }

    /// With another value of a parameter, if there is one of this name.
    fn with(self, name: &str, value: f32) -> Option<Activation> {
        Some(match (self, name) {
            (Activation::LeakyRelu { .. }, "slope") => Activation::LeakyRelu { slope: value },
            (Activation::Elu { .. }, "alpha") => Activation::Elu { alpha: value },
            (Activation::Celu { .. }, "alpha") => Activation::Celu { alpha: value },
            (Activation::ThresholdedRelu { .. }, "alpha") => Activation::ThresholdedRelu { alpha: value },
            (Activation::HardSigmoid { beta, .. }, "alpha") => Activation::HardSigmoid { alpha: value, beta },
            (Activation::HardSigmoid { alpha, .. }, "beta") => Activation::HardSigmoid { alpha, beta: value },
            (Activation::Round { high, .. }, "low") => Activation::Round { low: value, high },
            (Activation::Round { low, .. }, "high") => Activation::Round { low, high: value },
            (Activation::Clamp { high, .. }, "low") => Activation::Clamp { low: value, high },
            (Activation::Clamp { low, .. }, "high") => Activation::Clamp { low, high: value },
            _ => return None,
        })
    }

    /// The activation of this name with what holds where no parameter is given.
    fn named(name: &str) -> Option<Activation> {
        let round = Activation::Round { low: f32::NEG_INFINITY, high: f32::INFINITY };
        let all = Activation::ALL.into_iter().chain([Activation::PRelu, round]);
        match all.into_iter().find(|activation| activation.as_str() == name)? {
            Activation::Clamp { .. } => Some(Activation::Clamp { low: f32::NEG_INFINITY, high: f32::INFINITY }),
            activation => Some(activation),
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        if Activation::named(self.as_str()) == Some(*self) {
            return Ok(());
        }
        let parameters: Vec<_> = self.parameters().map(|(name, value)| format!("{name}={value}")).collect();
        write!(f, "({})", parameters.join(", "))
    }
}

impl FromStr for Activation {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Activation, EngineError> {
        let unknown = || EngineError::UnknownActivation(text.to_owned());
        if text == RELU6.0 {
            return Ok(RELU6.1);
        }
        let (name, parameters) = match text.split_once('(') {
            Some((name, rest)) => (name, rest.strip_suffix(')').ok_or_else(unknown)?),
            None => (text, ""),
        };
        let mut activation = Activation::named(name).ok_or_else(unknown)?;
        for parameter in parameters.split(',').filter(|parameter| !parameter.trim().is_empty()) {
            let (name, value) = parameter.split_once('=').ok_or_else(unknown)?;
            let value = value.trim().parse().map_err(|_| unknown())?;
            activation = activation.with(name.trim(), value).ok_or_else(unknown)?;
        }
        activation.validate()?;
        Ok(activation)
    }
}

impl From<Activation> for String {
    fn from(activation: Activation) -> String {
        activation.to_string()
    }
}

impl TryFrom<String> for Activation {
    type Error = EngineError;

    fn try_from(text: String) -> Result<Activation, EngineError> {
        text.parse()
    }
}

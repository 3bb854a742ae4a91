//! Transformers and models of scikit-learn that can't be imported: known by the operators that skl2onnx writes for each, so
//! that a refusal has a name that its reader knows.

use super::OnnxError;
use super::proto::{ML, Node};

/// What can't be imported, and how it is known.
struct Refusal {
    /// Operators all of which are there; the first one is where it is.
    operators: &'static [&'static str],
    /// What it is, why not, and what to do.
    reason: &'static str,
}

const REFUSALS: [Refusal; 2] = [
    Refusal {
        operators: &["GreaterOrEqual", "LessOrEqual", "Or", "Gather"],
        reason: "QuantileTransformer of scikit-learn looks numbers up in a table of quantiles, for which weir has no \
                 step: use KBinsDiscretizer, PowerTransformer or RobustScaler",
    },
    Refusal {
        operators: &["ArgMin", "Abs", "ArrayFeatureExtractor"],
        reason: "CalibratedClassifierCV of scikit-learn with method=\"isotonic\" is no layer of a network: calibrate with \
                 method=\"sigmoid\"",
    },
];

/// Refuses what is known not to be importable, by its name.
pub(super) fn check(nodes: &[Node]) -> Result<(), OnnxError> {
    // Only skl2onnx writes operators of this set.
    if !nodes.iter().any(|node| node.domain == ML) {
        return Ok(());
    }
    let find = |operator: &str| nodes.iter().find(|node| node.op_type == operator);
    let refuse = |node: &Node, reason: &str| Err(OnnxError::Node { node: node.label(), reason: reason.into() });
    // Those of CalibratedClassifierCV have a logistic function each.
    let several = nodes.iter().filter(|node| node.op_type == "LinearClassifier" && find("Exp").is_none());
    if let Some(second) = several.into_iter().nth(1) {
        let reason = "it is one of several classifiers in one, as in OneVsRestClassifier or VotingClassifier of \
                      scikit-learn: fit LogisticRegression, which takes several classes at once";
        return refuse(second, reason);
    }
    for Refusal { operators, reason } in REFUSALS {
        if operators.iter().all(|operator| find(operator).is_some())
            && let Some(node) = operators.first().and_then(|operator| find(operator))
        {
            return refuse(node, reason);
        }
    }
    Ok(())
}

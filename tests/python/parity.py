"""Loss curves of scikit-learn's networks, with the weights that they begin with.

Reads a list of cases, each `{"task", "class_weight", "params"}`; prints the data of each task, and for each case the
initial layers and the loss of each epoch.
"""

import json
import sys
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.class_weight import compute_sample_weight

warnings.simplefilter("ignore", ConvergenceWarning)


def data():
    """Rows whose target depends on them, not linearly and with noise; classes of different sizes."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(450, 8)).astype(np.float32)
    signal = X[:, 0] * X[:, 1] + np.sin(2 * X[:, 2]) + 0.5 * X[:, 3] + 0.3 * rng.normal(size=len(X))
    number = (signal - signal.mean()) / signal.std()
    return X, {
        "binary": np.where(number > 0.6, "yes", "no"),
        "three": np.array(["low", "middle", "top"])[np.digitize(number, [-0.7, 0.9])],
        "number": number,
    }


def recording(base):
    class Recording(base):
        def _initialize(self, *args):
            super()._initialize(*args)
            self.initial = [(w.tolist(), b.tolist()) for w, b in zip(self.coefs_, self.intercepts_)]

    return Recording


def run(case, X, y):
    base = MLPRegressor if case["task"] == "number" else MLPClassifier
    params = dict(case["params"])
    if params["n_iter_no_change"] == "inf":
        params["n_iter_no_change"] = np.inf
    weight = case["class_weight"] and compute_sample_weight(case["class_weight"], y)
    model = recording(base)(**params).fit(X, y, sample_weight=weight)
    return {"initial": model.initial, "losses": model.loss_curve_}


X, targets = data()
cases = json.load(sys.stdin)
json.dump(
    {
        "X": X.astype(float).tolist(),
        "targets": {task: y.tolist() for task, y in targets.items()},
        "cases": [run(case, X, targets[case["task"]]) for case in cases],
    },
    sys.stdout,
)

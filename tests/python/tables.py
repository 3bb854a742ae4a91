"""Random tables, and how well scikit-learn's networks predict them after several seeds.

Reads `{"tables", "seeds"}`; prints for each table its rows, its target (names of classes, or numbers), the parameters, and of
each seed the rows that test and the metrics on them. Every third table is a regression: their targets have deviations from
1e-9 to 1e12 and lie up to 1e12 from 0.
"""

import json
import sys
import warnings

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

warnings.simplefilter("ignore", ConvergenceWarning)


def draw(number, tables):
    rng = np.random.default_rng(number)
    rows, columns = rng.integers(240, 400), rng.integers(2, 9)
    X = rng.normal(size=(rows, columns))
    hidden = np.tanh(X @ rng.normal(size=(columns, 6)))
    X = (X + rng.normal(size=columns) * 5) * 10 ** rng.uniform(-4, 6, size=columns)
    params = {
        "hidden_layer_sizes": [[16], [32], [16, 8]][rng.integers(3)],
        "activation": ["relu", "tanh", "logistic"][rng.integers(3)],
        "alpha": 10 ** rng.uniform(-4, 0),
        "batch_size": int(rng.choice([32, 64, 200])),
        "max_iter": 60,
    }
    if rng.random() < 0.3:
        params |= {"solver": "sgd", "learning_rate_init": 0.05, "momentum": 0.9}
    else:
        params |= {"solver": "adam", "learning_rate_init": 0.01}
    if number % 3 == 0:
        y = hidden @ rng.normal(size=6)
        y = (y - y.mean()) / y.std() + 0.2 * rng.normal(size=rows)
        deviation = 10 ** (-9 + 21 * number / (tables - 1))
        offset = [0, 1e4, 1e9][number // 3 % 3] * deviation
        return X, y * deviation + min(offset, 1e12) * rng.choice([-1, 1]), params
    classes = rng.choice([2, 2, 3, 4])
    while True:
        scores = 3 * hidden @ rng.normal(size=(6, classes))
        y = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
        if np.bincount(y, minlength=classes).min() >= 20:
            return X, np.array([f"class {label}" for label in y]), params


def metrics(X, y, train, test, params, seed):
    is_classes = y.dtype.kind == "U"
    network = (MLPClassifier if is_classes else MLPRegressor)(random_state=seed, **params)
    if not is_classes:
        network = TransformedTargetRegressor(network, transformer=StandardScaler())
    network = make_pipeline(StandardScaler(), network).fit(X[train], y[train])
    answers = network.predict(X[test])
    if not is_classes:
        return {"r2": r2_score(y[test], answers)}
    loss = log_loss(y[test], network.predict_proba(X[test]), labels=network.classes_)
    return {"log_loss": loss, "accuracy": accuracy_score(y[test], answers)}


def run(number, request):
    X, y, params = draw(number, request["tables"])
    runs = []
    for seed in range(request["seeds"]):
        strata = y if y.dtype.kind == "U" else None
        train, test = train_test_split(np.arange(len(y)), test_size=0.3, random_state=seed, stratify=strata)
        runs.append({"test": test.tolist(), "metrics": metrics(X, y, train, test, params, seed)})
    return {"X": X.tolist(), "y": y.tolist(), "params": params, "seeds": runs}


request = json.load(sys.stdin)
json.dump([run(number, request) for number in range(request["tables"])], sys.stdout)

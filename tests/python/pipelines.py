"""Pipelines of scikit-learn, drawn at random, for tests/pipelines.rs.

Reads {"folder": where to write, "seed", "pipelines": how many, "rows": how many, "example": code}. Draws pipelines of the
transformers that weir imports, fits them, exports them by skl2onnx, and writes for each the table that it was fitted on
and rows that have missing values, unknown categories and extremes where the pipeline takes them. `example` is the code
that `weir model import --help` shows: it prints records with scikit-learn's answers. Prints a list of {"name", "file",
"table", "records", "target", "classes", "steps"}.
"""

import contextlib
import io
import json
import pathlib
import sys
import warnings

import numpy as np
import pandas as pd
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)

warnings.filterwarnings("ignore")
FITTED = 400
NUMBERS = ["age", "income", "delay", "weight", "share"]
TEXTS = ["colour", "town", "grade"]
TYPES = {"level": Int64TensorType([None, 1]), "shift": Int64TensorType([None, 1])}


def frame_of(rng, rows):
    """Columns of all kinds, without gaps."""
    frame = pd.DataFrame(
        {
            "age": rng.normal(40, 12, rows),
            "income": rng.lognormal(3, 1, rows),
            "delay": rng.normal(0, 30, rows),
            "weight": rng.gamma(2, 3, rows) + 0.1,
            "share": rng.random(rows),
        }
    ).astype(np.float32)
    frame["colour"] = rng.choice(["red", "green", "blue"], rows).astype(object)
    frame["town"] = rng.choice(["Ulm", "Bonn", "Köln", 'a "b"'], rows).astype(object)
    frame["grade"] = rng.choice(["low", "mid", "high"], rows).astype(object)
    frame["level"] = rng.integers(-1, 4, rows)
    frame["shift"] = rng.integers(0, 3, rows)
    return frame


def imputer(rng):
    strategy = rng.choice(["mean", "median", "most_frequent", "constant"])
    return SimpleImputer(strategy=strategy, **({"fill_value": 1.5} if strategy == "constant" else {}))


def number_steps(rng, positive):
    """One to three transformers of single columns; those that make bins come last but for a scaler."""
    scaler = lambda: [StandardScaler(), MinMaxScaler(), RobustScaler(), MaxAbsScaler()][rng.integers(4)]
    bins = lambda encode: KBinsDiscretizer(int(rng.integers(2, 8)), encode=encode, quantile_method="averaged_inverted_cdf")
    kinds = [
        lambda: [scaler()],
        lambda: [RobustScaler(with_centering=bool(rng.integers(2)), quantile_range=(10, 90)), MinMaxScaler((-1, 1), clip=True)],
        lambda: [PowerTransformer(standardize=bool(rng.integers(2))), scaler()],
        lambda: [PowerTransformer("box-cox")] if positive else [PowerTransformer()],
        lambda: [bins("onehot-dense")],
        lambda: [scaler(), bins("ordinal"), StandardScaler()],
        lambda: [StandardScaler(), Binarizer(threshold=float(rng.normal() / 4))],
        lambda: [],
    ]
    return kinds[rng.integers(len(kinds))]()


def polynomial(rng):
    return PolynomialFeatures(
        int(rng.integers(2, 4)), interaction_only=bool(rng.integers(2)), include_bias=bool(rng.integers(2))
    )


def joint_steps(rng, kind):
    """Transformers of several columns at once."""
    kinds = {
        "polynomial": [
            lambda: [StandardScaler(), polynomial(rng)],
            lambda: [polynomial(rng), StandardScaler()],
            lambda: [RobustScaler(), polynomial(rng), MinMaxScaler()],
        ],
        "normalizer": [
            lambda: [Normalizer(["l1", "l2"][rng.integers(2)])],
            lambda: [StandardScaler(), Normalizer(["l1", "l2"][rng.integers(2)]), StandardScaler()],
            # Without negative numbers: skl2onnx and ONNX take the largest number, scikit-learn the largest magnitude.
            lambda: [MinMaxScaler(clip=True), Normalizer("max")],
        ],
    }[kind]
    return kinds[rng.integers(len(kinds))]()


def draw(rng, frame, kind):
    """A ColumnTransformer, the columns it takes, those that may be missing, and those that may be unknown."""
    parts, columns, missing, unknown = [], [], [], []
    numbers = list(map(str, rng.permutation(NUMBERS)[: rng.integers(2, 6)]))
    if kind in ("polynomial", "normalizer"):
        together, numbers = numbers[:3], numbers[3:]
        steps = joint_steps(rng, kind)
        if rng.random() < 0.6:
            steps.insert(0, imputer(rng))
            missing += together
        parts.append((kind, make_pipeline(*steps), together))
        columns += together
    for index, name in enumerate(numbers):
        steps = number_steps(rng, positive=(frame[name] > 0).all())
        if rng.random() < 0.6:
            steps.insert(0, imputer(rng))
            missing.append(name)
        parts.append((f"n{index}", make_pipeline(*steps) if steps else "passthrough", [name]))
        columns.append(name)
    names = [*TEXTS, *TYPES]
    for index, name in enumerate(map(str, rng.permutation(names)[: rng.integers(1, 5)])):
        ignores = bool(rng.integers(2))
        if rng.integers(2):
            encoder = OneHotEncoder(handle_unknown="ignore" if ignores else "error", sparse_output=False)
        else:
            options = {"handle_unknown": "use_encoded_value", "unknown_value": -1} if ignores else {}
            encoder = OrdinalEncoder(**options)
        if ignores:
            unknown.append(name)
        steps = [encoder, *([StandardScaler()] if rng.random() < 0.3 else [])]
        parts.append((f"c{index}", make_pipeline(*steps), [name]))
        columns.append(name)
    return ColumnTransformer(parts), columns, missing, unknown


def estimator(rng, task):
    hidden = {"hidden_layer_sizes": (int(rng.integers(4, 12)),), "max_iter": 60, "random_state": 1}
    if task == "number":
        return [LinearRegression(), Ridge(), MLPRegressor(**hidden)][rng.integers(3)]
    kinds = [LogisticRegression(), MLPClassifier(**hidden)]
    kinds.append(CalibratedClassifierCV(LogisticRegression(), cv=3, ensemble=task == "two"))
    return kinds[rng.integers(len(kinds))]


def target(rng, frame, task):
    score = (frame.age - 40) / 12 + (frame.colour == "red") + frame.level / 3 + 0.3 * rng.normal(size=len(frame))
    if task == "number":
        return score.to_numpy() * 3
    names = np.array(["early", "late"] if task == "two" else ["high", "low", "mid"])
    return names[np.digitize(score, [0.5] if task == "two" else [0, 1])]


def asked(rng, frame, columns, missing, unknown, rows):
    """Rows of the table's kind: some as they are, some with extremes, gaps and categories that were never seen."""
    X = frame_of(rng, rows)[columns]
    for name in columns:
        at = rng.random(rows)
        if name in NUMBERS:
            # Within what both compute in f32, and of one sign: Box-Cox takes nothing else.
            far = np.where(at < 0.05, 1e4, np.where(at < 0.1, 1e-4, 1.0))
            X[name] = (X[name] * far).astype(np.float32)
            edges = rng.choice(frame[name], rows)
            X[name] = np.where((at > 0.1) & (at < 0.2), edges, X[name]).astype(np.float32)
        if name in missing:
            X.loc[rng.random(rows) < 0.15, name] = np.nan
        if name in unknown:
            X.loc[rng.random(rows) < 0.15, name] = 77 if name in TYPES else "never seen"
    return X


class Regression:
    """A regression, for the example, which asks for probabilities."""

    def __init__(self, pipeline):
        self.pipeline = pipeline

    def predict_proba(self, X):
        return np.asarray(self.pipeline.predict(X)).reshape(len(X), -1)


def main():
    request = json.load(sys.stdin)
    folder, made = pathlib.Path(request["folder"]), []
    for index in range(request["pipelines"]):
        rng = np.random.default_rng([request["seed"], index])
        frame = frame_of(rng, FITTED)
        task = ["two", "two", "three", "number"][rng.integers(4)]
        # In each third pipeline some numbers go through a transformer of several columns, in another all columns do.
        kind = ["polynomial", "normalizer", "all", None, None, None][index % 6]
        transformer, columns, missing, unknown = draw(rng, frame, kind)
        of_all = [[PolynomialFeatures(2, interaction_only=True), MaxAbsScaler()], [Normalizer()]][index % 4 // 2]
        y = target(rng, frame, task)
        fitted = frame[columns].copy()
        for name in missing:
            fitted.loc[rng.random(FITTED) < 0.1, name] = np.nan
        last = of_all if kind == "all" else []
        pipeline = make_pipeline(transformer, *last, estimator(rng, task)).fit(fitted, y)
        kinds = {**TYPES, **{name: StringTensorType([None, 1]) for name in TEXTS}}
        types = [(name, kinds.get(name, FloatTensorType([None, 1]))) for name in columns]
        options = {"zipmap": False} if task != "number" else None
        model = to_onnx(pipeline, initial_types=types, options=options)
        name = f"drawn-{index}"
        file, table, records = (folder / f"{name}{end}" for end in (".onnx", ".csv", ".jsonl"))
        file.write_bytes(model.SerializeToString())
        fitted.assign(outcome=y).to_csv(table, index=False)
        X = asked(rng, frame, columns, missing, unknown, request["rows"])
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            asks = pipeline if task != "number" else Regression(pipeline)
            exec(request["example"], {"X": X, "pipeline": asks, "json": json})
        records.write_text(printed.getvalue(), encoding="utf-8")
        made.append(
            {
                "name": name,
                "file": str(file),
                "table": str(table),
                "records": str(records),
                "steps": str(pipeline).replace("\n", " "),
            }
        )
    json.dump(made, sys.stdout)


main()

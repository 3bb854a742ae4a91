"""Models for tests/import.rs, and what onnxruntime answers for them.

Reads {"folder": where to write, "fixtures": [ONNX files], "rows": how many}. Exports pipelines of scikit-learn by
skl2onnx and the networks of onnx_networks.py and onnx_keras.py into the folder; writes for each of them and for each
fixture sample rows, as `weir model import --check` takes them, with the outputs of onnxruntime; prints a list of
{"name", "file", "samples", "columns"}.
"""

import json
import pathlib
import sys
import warnings

import numpy as np
import onnxruntime
import pandas as pd
from onnx_keras import keras
from onnx_networks import CATEGORIES, WIDTH, branched, networks, quantised
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

warnings.filterwarnings("ignore")
rng = np.random.default_rng(7)


def classifier(*hidden, **parameters):
    return MLPClassifier(hidden_layer_sizes=hidden or (16, 8), max_iter=30, random_state=1, **parameters)


def regressor(*hidden, **parameters):
    return MLPRegressor(hidden_layer_sizes=hidden or (16, 8), max_iter=30, random_state=1, **parameters)


def resampled(x, rows):
    """Random rows that look like those of x, and some that don't."""
    picked = x[rng.integers(0, len(x), rows)]
    noise = rng.normal(size=picked.shape) * x.std(axis=0) * rng.choice([0.1, 1.0, 5.0], size=(rows, 1))
    return picked + noise


def with_gaps(x, share=0.1):
    x = np.array(x, dtype=np.float64)
    x[rng.random(x.shape) < share] = np.nan
    return x


def mixed(rows):
    """Columns of all kinds; `level` has numbers for categories, `town` lacks some."""
    return pd.DataFrame(
        {
            "age": rng.normal(40, 12, rows).astype(np.float32),
            "income": (rng.lognormal(10, 1, rows)).astype(np.float32),
            "colour": rng.choice(["red", "green", "blue", "naïve \"q\""], rows),
            "town": rng.choice(["", "Ulm", "Bonn", "Köln"], rows, p=[0.1, 0.5, 0.3, 0.1]),
            "level": rng.integers(-1, 5, rows),
        }
    )


def table_types(frame, number):
    kinds = {"O": StringTensorType, "U": StringTensorType, "T": StringTensorType, "i": Int64TensorType, "f": number}
    kind = lambda column: "T" if isinstance(column.dtype, pd.StringDtype) else column.dtype.kind
    return [(name, kinds[kind(frame[name])]([None, 1])) for name in frame.columns]


def matrix_models():
    """Name, fitted pipeline, what its matrix is like, random rows, options of the export."""
    cancer, wine, digits, iris = load_breast_cancer(), load_wine(), load_digits(), load_iris()
    diabetes = load_diabetes(scaled=False)
    plain = {"zipmap": False}
    f32, f64, i64 = np.float32, np.float64, np.int64

    def model(name, pipeline, x, y, kind, options=None, gaps=False, **export):
        pipeline.fit(with_gaps(x) if gaps else x, y)
        return name, pipeline, x, kind, options, gaps, export

    yield model("cancer", make_pipeline(StandardScaler(), classifier()), cancer.data, cancer.target, f32)
    yield model("cancer-double", make_pipeline(StandardScaler(), classifier()), cancer.data, cancer.target, f64, plain)
    names = cancer.target_names[cancer.target]
    yield model("cancer-names", make_pipeline(MinMaxScaler(), classifier()), cancer.data, names, f32)
    yield model("cancer-columns", make_pipeline(StandardScaler(), classifier()), cancer.data, names, f32, {"zipmap": "columns"})
    yield model("wine", make_pipeline(StandardScaler(), classifier(activation="tanh")), wine.data, wine.target, f32, plain)
    yield model("wine-gaps", make_pipeline(SimpleImputer(), StandardScaler(), classifier()), wine.data, wine.target, f32, plain, gaps=True)
    median = SimpleImputer(strategy="median")
    yield model("wine-gaps-median", make_pipeline(median, MinMaxScaler(), classifier(activation="logistic")), wine.data, wine.target, f32, gaps=True)
    yield model("wine-scaled-gaps", make_pipeline(StandardScaler(), SimpleImputer(), classifier()), wine.data, wine.target, f32, plain, gaps=True)
    yield model("iris-opset-13", make_pipeline(StandardScaler(), classifier()), iris.data, iris.target_names[iris.target], f32, target_opset={"": 13, "ai.onnx.ml": 1})
    yield model("iris-identity", make_pipeline(MinMaxScaler((-1, 1), clip=True), classifier(activation="identity")), iris.data, iris.target, f32, plain)
    yield model("digits", make_pipeline(MinMaxScaler(), classifier(32)), digits.data, digits.target, f32)
    yield model("digits-int64", make_pipeline(StandardScaler(), classifier(32)), digits.data.astype(i64), digits.target, i64, plain)
    yield model("digits-plain", classifier(24, 12), digits.data, digits.target, f32, plain)
    yield model("diabetes", make_pipeline(StandardScaler(), regressor()), diabetes.data, diabetes.target, f32)
    yield model("diabetes-double", make_pipeline(MinMaxScaler(), regressor(activation="logistic")), diabetes.data, diabetes.target, f64)
    yield model("diabetes-robust", make_pipeline(RobustScaler(), MaxAbsScaler(), regressor(activation="tanh")), diabetes.data, diabetes.target, f32)
    outputs = np.c_[diabetes.target, diabetes.data[:, 0], -diabetes.target / 50]
    yield model("diabetes-outputs", make_pipeline(StandardScaler(), regressor()), diabetes.data, outputs, f32)
    # A Unix time: f32 has steps of 128 s there, and onnxruntime has them too.
    seconds = np.c_[1.7e9 + rng.uniform(0, 1e6, 400), rng.normal(size=400)]
    yield model("seconds", make_pipeline(StandardScaler(), regressor(max_fun=100)), seconds, seconds[:, 1], f32)
    parts = ColumnTransformer([("z", StandardScaler(), [2, 0]), ("unit", MinMaxScaler(), [7])], remainder="passthrough")
    yield model("wine-parts", make_pipeline(parts, classifier()), wine.data[:, :9], wine.target, f32, plain)
    dropped = ColumnTransformer([("z", make_pipeline(SimpleImputer(), StandardScaler()), [5, 1])], remainder="drop")
    yield model("wine-dropped", make_pipeline(dropped, classifier()), wine.data[:, :9], wine.target, f32, plain)
    some = wine.data[:, :5]
    yield model("wine-polynomial", make_pipeline(StandardScaler(), PolynomialFeatures(3), classifier()), some, wine.target, f32, plain)
    interactions = PolynomialFeatures(interaction_only=True, include_bias=False)
    yield model("wine-interactions", make_pipeline(SimpleImputer(), interactions, StandardScaler(), classifier()), some, wine.target, f32, plain, gaps=True)
    for norm, scaler in (("l1", StandardScaler()), ("l2", StandardScaler()), ("max", MinMaxScaler(clip=True))):
        normal = make_pipeline(SimpleImputer(), scaler, Normalizer(norm), classifier())
        yield model(f"iris-{norm}", normal, iris.data, iris.target, f32, plain, gaps=True)
    whole = np.c_[rng.integers(0, 4, 500), rng.normal(size=500), rng.integers(10, 13, 500)].astype(f64)
    encoded = ColumnTransformer([("one", OneHotEncoder(handle_unknown="ignore"), [0, 2]), ("z", StandardScaler(), [1])])
    yield model("whole-numbers", make_pipeline(encoded, classifier()), whole, (whole[:, 0] + whole[:, 1] > 2).astype(int), f32, plain)


def table_models():
    """Name, fitted pipeline, columns, the kind of its floats."""
    frame = mixed(600)
    late = ((frame.age > 40) ^ (frame.colour == "red")).map({True: "late", False: "on time"})
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    towns = make_pipeline(SimpleImputer(strategy="most_frequent", missing_values=""), OneHotEncoder(handle_unknown="ignore"))
    every = ColumnTransformer(
        [
            ("numbers", numbers, ["age", "income"]),
            ("colour", OneHotEncoder(handle_unknown="ignore"), ["colour"]),
            ("town", towns, ["town"]),
            ("level", OneHotEncoder(), ["level"]),
        ]
    )
    yield "table", make_pipeline(every, classifier()).fit(frame, late), frame, FloatTensorType
    # onnxruntime can't impute doubles.
    double = ColumnTransformer([("z", StandardScaler(), ["age", "income"]), ("town", towns, ["town"])])
    columns = frame[["age", "income", "town"]]
    yield "table-double", make_pipeline(double, regressor()).fit(columns, frame.age / 10), columns, DoubleTensorType
    dropping = ColumnTransformer(
        [("colour", OneHotEncoder(drop="first"), ["colour", "level"]), ("unit", MinMaxScaler(), ["age"])],
        remainder="drop",
    )
    yield "table-drop-first", make_pipeline(dropping, classifier()).fit(frame, frame.level), frame[["age", "colour", "level"]], FloatTensorType
    encoded = [("one", OneHotEncoder(sparse_output=False, handle_unknown="ignore"), ["colour"]), ("z", StandardScaler(), ["age"])]
    crossed = make_pipeline(ColumnTransformer(encoded), PolynomialFeatures(2), classifier())
    yield "table-crossed", crossed.fit(frame, late), frame[["age", "colour"]], FloatTensorType
    rare = ColumnTransformer([("rare", OneHotEncoder(min_frequency=110), ["level", "town"]), ("age", "passthrough", ["age"])])
    yield "table-infrequent", make_pipeline(rare, regressor(activation="tanh")).fit(frame, frame.age / 10), frame[["age", "town", "level"]], FloatTensorType
    scaled = make_pipeline(
        ColumnTransformer([("one", OneHotEncoder(sparse_output=False, handle_unknown="ignore"), ["colour"]), ("age", "passthrough", ["age"])]),
        StandardScaler(),
        classifier(),
    )
    yield "table-scaled-one-hot", scaled.fit(frame, late), frame[["age", "colour"]], FloatTensorType


def json_number(value):
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and np.isnan(value) else value


def outputs_of(session, feed):
    """Rows × outputs: probabilities if there are any, else numbers."""
    count = len(next(iter(feed.values())))
    names = [output.name for output in session.get_outputs()]
    answers = dict(zip(names, session.run(None, feed)))
    maps = next((answer for answer in answers.values() if isinstance(answer, list)), None)
    if maps is not None:
        return np.array([list(row.values()) for row in maps])
    if len(names) > 2:
        return np.stack([answers[name] for name in names[1:]], axis=1)
    return answers[names[-1]].reshape(count, -1)


def write_samples(path, records, outputs):
    with open(path, "w", encoding="utf-8") as file:
        for record, output in zip(records, outputs):
            file.write(json.dumps({**record, "outputs": [float(value) for value in output]}) + "\n")


def session_of(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if path.stem.startswith("quantised"):
        # Else it computes with the integers, which it rounds in another way.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def main():
    request = json.load(sys.stdin)
    folder, count = pathlib.Path(request["folder"]), request["rows"]
    made = []

    def add(name, file, records, outputs):
        samples = folder / f"{name}.jsonl"
        write_samples(samples, records, outputs)
        made.append({"name": name, "file": str(file), "samples": str(samples), "columns": outputs.shape[1]})

    for name, pipeline, x, kind, options, gaps, export in matrix_models():
        file = folder / f"{name}.onnx"
        model = to_onnx(pipeline, x[:1].astype(kind), options=options, **export)
        file.write_bytes(model.SerializeToString())
        rows = x[rng.integers(0, len(x), count)] if name == "whole-numbers" else resampled(x, count)
        rows = with_gaps(rows) if gaps else np.round(rows) if kind is np.int64 else rows
        outputs = outputs_of(session_of(file), {"X": rows.astype(kind)})
        add(name, file, ({"features": [json_number(value) for value in row]} for row in rows), outputs)

    for name, pipeline, frame, number in table_models():
        file = folder / f"{name}.onnx"
        options = {"zipmap": False} if hasattr(pipeline, "predict_proba") else None
        model = to_onnx(pipeline, initial_types=table_types(frame, number), options=options)
        file.write_bytes(model.SerializeToString())
        rows = mixed(count)[frame.columns]
        if name == "table":
            rows.loc[rng.random(count) < 0.1, "income"] = np.nan
        if name in ("table", "table-crossed", "table-scaled-one-hot"):
            rows.loc[rng.random(count) < 0.1, "colour"] = "a new colour"
        dtypes = {FloatTensorType: np.float32, DoubleTensorType: np.float64, Int64TensorType: np.int64, StringTensorType: object}
        feed = {
            column: rows[[column]].to_numpy().astype(dtypes[type(kind)]) for column, kind in table_types(frame, number)
        }
        outputs = outputs_of(session_of(file), feed)
        records = [{column: json_number(value) for column, value in row.items()} for row in rows.to_dict("records")]
        # A text that is missing is absent, or the empty text that the imputer looks for.
        for index, record in enumerate(records):
            if name in ("table", "table-double") and record["town"] == "" and index % 2 == 0:
                del record["town"]
        add(name, file, records, outputs)

    written = []
    for name, network in [*networks(), *quantised(folder), *branched(), *keras()]:
        written.append(folder / f"{name}.onnx")
        written[-1].write_bytes(network.SerializeToString())
    for file in [*written, *map(pathlib.Path, request["fixtures"])]:
        session = session_of(file)
        feeds, batch = {}, count
        for tensor in session.get_inputs():
            batch = tensor.shape[0] if isinstance(tensor.shape[0], int) else batch
            tail = [size if isinstance(size, int) else WIDTH for size in tensor.shape[1:]]
            if tensor.type == "tensor(int64)":
                feeds[tensor.name] = rng.integers(0, CATEGORIES, size=(count, *tail))
                continue
            rows = rng.normal(size=(count, *tail)) * rng.choice([0.3, 1.0, 4.0], size=(count, *[1] * len(tail)))
            feeds[tensor.name] = rows.astype(np.float32)
        at_once = lambda at: {name: rows[at : at + batch] for name, rows in feeds.items()}
        parts = [outputs_of(session, at_once(at)) for at in range(0, count, batch)]
        whole = np.concatenate([rows.reshape(count, -1).astype(object) for rows in feeds.values()], axis=1)
        records = ({"features": [json_number(value) for value in row]} for row in whole)
        add(file.stem, file, records, np.concatenate(parts))

    json.dump(made, sys.stdout)


main()

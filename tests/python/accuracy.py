"""The test accuracy of scikit-learn's MLPClassifier on real data, over several seeds.

Reads `{"seeds", "flights", "params": {data set: parameters}}`, where `flights` is the path of a CSV file; prints for each
data set its rows and classes (but for the flights, which the test reads itself), and of each seed the rows that test and
the accuracy on them.
"""

import json
import sys
import warnings

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

warnings.simplefilter("ignore", ConvergenceWarning)

LOADERS = {"digits": load_digits, "wine": load_wine, "breast cancer": load_breast_cancer}


def load(name, flights):
    if name != "flights":
        return LOADERS[name](return_X_y=True)
    table = pd.read_csv(flights).dropna(subset=["late"]).drop(columns=["id", "time"])
    return table.drop(columns="late"), table["late"].to_numpy()


def preprocessing(name):
    if name != "flights":
        return StandardScaler()
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    transformer = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (categories, make_column_selector(dtype_exclude="number")),
    )
    return make_pipeline(transformer, FunctionTransformer(lambda X: X.astype(np.float32)))


def run(name, params, request):
    X, y = load(name, request["flights"])
    result = {"seeds": []} if name == "flights" else {"X": X.tolist(), "y": y.tolist(), "seeds": []}
    for seed in range(request["seeds"]):
        train, test = train_test_split(np.arange(len(y)), test_size=0.2, random_state=seed)
        take = (lambda rows: X.iloc[rows]) if name == "flights" else (lambda rows: X[rows])
        pipeline = make_pipeline(preprocessing(name), MLPClassifier(random_state=seed, **params))
        accuracy = pipeline.fit(take(train), y[train]).score(take(test), y[test])
        result["seeds"].append({"test": test.tolist(), "accuracy": accuracy})
    return result


request = json.load(sys.stdin)
json.dump({name: run(name, params, request) for name, params in request["params"].items()}, sys.stdout)

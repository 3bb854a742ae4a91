#!/usr/bin/env python3
"""What scikit-learn reaches on the flights, as a mark for weir's own training.

Trains on January to June, tests on July to December. Needs scikit-learn 1.9 and pandas.

    reference.py [FILE] [OPTION=VALUE ...]     FILE: sample.csv.gz (the default) or flights.csv.gz;
                                               options of MLPClassifier, as alpha=0.001
"""

import ast
import pathlib
import sys
import warnings

import pandas
from sklearn.compose import make_column_transformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NUMERIC = ["month", "weekday", "minute_of_day", "dep_delay", "distance"]
NUMERIC += ["temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]
CATEGORIES = ["carrier", "origin", "dest"]

# The recipe of README.md.
RECIPE = {
    "hidden_layer_sizes": (32, 16),
    "solver": "sgd",
    "learning_rate_init": 0.01,
    "alpha": 0.1,
    "batch_size": 64,
    "max_iter": 10,
}


def main():
    arguments = sys.argv[1:]
    options = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    files = [argument for argument in arguments if "=" not in argument]
    file = files[0] if files else pathlib.Path(__file__).resolve().parent / "sample.csv.gz"

    flights = pandas.read_csv(file, dtype=dict.fromkeys(CATEGORIES, "str")).dropna(subset="late")
    train = flights[flights["month"] <= 6]
    test = flights[flights["month"] > 6]

    model = make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(strategy="mean"), StandardScaler()), NUMERIC),
            (OneHotEncoder(handle_unknown="ignore", sparse_output=False), CATEGORIES),
        ),
        MLPClassifier(**{"random_state": 0, **RECIPE, **{key: ast.literal_eval(value) for key, value in options.items()}}),
    )
    warnings.simplefilter("ignore", ConvergenceWarning)  # ten epochs are meant: more of them overfit the sample
    model.fit(train, train["late"] == "late")
    late = test["late"] == "late"
    probability = model.predict_proba(test)[:, 1]
    print(
        f"trained on {len(train):,}, tested on {len(test):,}, always on time {1 - late.mean():.4f}: "
        f"accuracy {accuracy_score(late, probability > 0.5):.4f}, ROC AUC {roc_auc_score(late, probability):.4f}, "
        f"log loss {log_loss(late, probability):.4f}"
    )


if __name__ == "__main__":
    main()

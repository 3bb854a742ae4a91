"""What scikit-learn makes of features.

Reads {"train": FILE, "test": FILE, "cases": [{numbers: [...], categories: [...], and weir's options}]}; prints for each
case the matrix of the test rows, fitted on the training rows, its columns in weir's order: feature by feature, a number's
indicator behind it.
"""

import json
import sys

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

# A text that no category is called.
NONE = "\0"


def main():
    question = json.load(sys.stdin)
    train, test = (read(question[name], question["categories"]) for name in ("train", "test"))
    json.dump([matrix(train, test, question, case) for case in question["cases"]], sys.stdout)


def read(path, categories):
    return pd.read_csv(path, dtype={name: object for name in categories})


def matrix(train, test, question, case):
    if case["dropna"]:
        train, test = train.dropna(), test.dropna()
    columns = [number(train[name], test[name], name, case) for name in question["numbers"]]
    columns += [category(train[name], test[name], case) for name in question["categories"]]
    return np.hstack(columns).tolist()


def number(train, test, name, case):
    method, _, value = case["impute"].partition(":")
    options = {"fill_value": float(value)} if method == "constant" else {}
    imputer = SimpleImputer(strategy=method, add_indicator=case["indicator"], **options).fit(train.to_frame().to_numpy())
    both = [imputer.transform(rows.to_frame().to_numpy()) for rows in (train, test)]
    (fitted, answer), indicator = (rows[:, :1] for rows in both), both[1][:, 1:]
    if case["clip"]:
        low, high = np.quantile(train.dropna(), case["clip"])
        fitted, answer = np.clip(fitted, low, high), np.clip(answer, low, high)
    if name in case["log1p"]:
        fitted, answer = np.log1p(fitted), np.log1p(answer)
    if case["scale"] != "none":
        scaler = {"standard": StandardScaler, "minmax": MinMaxScaler}[case["scale"]]()
        answer = scaler.fit(fitted).transform(answer)
    return np.hstack([answer, indicator])


def category(train, test, case):
    method, _, value = case["impute_categories"].partition(":")
    if method == "zeros":
        train, test = train.dropna(), test.fillna(NONE)
    else:
        options = {"fill_value": value} if method == "constant" else {}
        imputer = SimpleImputer(strategy=method, **options).fit(train.to_frame())
        train, test = (pd.Series(imputer.transform(rows.to_frame())[:, 0]) for rows in (train, test))
    most = case["max_categories"]
    encoder = OneHotEncoder(
        handle_unknown="infrequent_if_exist" if most else "ignore", max_categories=most, sparse_output=False
    )
    return encoder.fit(train.to_frame().to_numpy()).transform(test.to_frame().to_numpy())


if __name__ == "__main__":
    main()

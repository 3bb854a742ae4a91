"""What scikit-learn says of predictions.

Reads {"classifications": [{classes, actual, probabilities}], "regressions": [{actual, predicted}]}; prints for each what
weir's evaluation must be, null where scikit-learn warns that a metric is undefined, refuses, or answers NaN.
"""

import json
import math
import sys
import warnings

import numpy as np
from sklearn import metrics as m
from sklearn.calibration import calibration_curve
from sklearn.preprocessing import label_binarize


def main():
    warnings.simplefilter("ignore")
    cases = json.load(sys.stdin)
    json.dump(
        {
            "classifications": [classification(**case) for case in cases["classifications"]],
            "regressions": [regression(**case) for case in cases["regressions"]],
        },
        sys.stdout,
    )


def classification(classes, actual, probabilities):
    labels = list(range(classes))
    y, p = np.array(actual), np.array(probabilities, dtype=np.float64)
    predicted = p.argmax(axis=1)
    scores = {
        "accuracy": m.accuracy_score(y, predicted),
        "balanced_accuracy": m.balanced_accuracy_score(y, predicted),
        "log_loss": m.log_loss(y, p, labels=labels),
        "brier_score": m.brier_score_loss(y, p, labels=labels),
    }
    for average in ["macro", "weighted"] + ["binary"] * (classes == 2):
        suffix = "" if average == "binary" else f"_{average}"
        for name, score in ("precision", m.precision_score), ("recall", m.recall_score), ("f1", m.f1_score):
            scores[name + suffix] = score(y, predicted, average=average, zero_division=0)
    if classes == 2:
        scores["roc_auc"] = m.roc_auc_score(y, p[:, 1])
        # It answers 0, but warns, where there is no positive row.
        scores["average_precision"] = m.average_precision_score(y, p[:, 1]) if y.any() else None
    else:
        ovr = {"multi_class": "ovr", "labels": labels}
        scores["roc_auc_ovr"] = m.roc_auc_score(y, p, average="macro", **ovr)
        scores["roc_auc_ovr_weighted"] = m.roc_auc_score(y, p, average="weighted", **ovr)
        # It refuses where a class doesn't occur.
        complete = len(np.unique(y)) == classes
        scores["average_precision_macro"] = m.average_precision_score(y, p, average="macro") if complete else None
        one_hot = label_binarize(y, classes=labels)
        scores["average_precision_weighted"] = m.average_precision_score(one_hot, p, average="weighted")
    return {
        "metrics": without_undefined(scores),
        "confusion": m.confusion_matrix(y, predicted, labels=labels).tolist(),
        "classes": [one_class(y == label, predicted == label, p[:, label]) for label in labels],
    }


def one_class(positive, found, scores):
    precision, recall, f1, _ = m.precision_recall_fscore_support(positive, found, average="binary", zero_division=0)
    values = {"rows": positive.sum(), "precision": precision, "recall": recall, "f1": f1}
    share, mean_probability = calibration_curve(positive, scores, n_bins=10)
    result = {"calibration": np.c_[mean_probability, share].tolist()}
    if positive.any():
        values["average_precision"] = m.average_precision_score(positive, scores)
        precisions, recalls, _ = m.precision_recall_curve(positive, scores)
        # The last of them is the curve's end, which belongs to no threshold.
        result["precision_recall"] = np.c_[recalls, precisions][-2::-1].tolist()
    if positive.any() and not positive.all():
        values["roc_auc"] = m.roc_auc_score(positive, scores)
        result["roc"] = np.array(m.roc_curve(positive, scores, drop_intermediate=False)[:2]).T.tolist()
    return {"metrics": without_undefined(values), **result}


def regression(actual, predicted):
    y, p = np.array(actual), np.array(predicted)
    score = {
        "mae": m.mean_absolute_error,
        "rmse": m.root_mean_squared_error,
        "r2": m.r2_score,
    }
    outputs = [{name: f(y[:, i], p[:, i]) for name, f in score.items()} for i in range(y.shape[1])]
    return {
        "metrics": without_undefined({name: f(y, p) for name, f in score.items()}),
        "outputs": [without_undefined(output) for output in outputs],
    }


def without_undefined(values):
    return {name: float(value) for name, value in values.items() if value is not None and not math.isnan(value)}


main()

"""What onnxruntime answers: for each of `models` (`path` and `rows`, objects of values by input name) its outputs by
name. onnx.checker must accept the file. What is null or absent is NaN for a number and "" for a string.
"""

import json
import sys

import numpy
import onnx
import onnxruntime

TYPES = {
    "tensor(double)": (numpy.float64, numpy.nan),
    "tensor(float)": (numpy.float32, numpy.nan),
    "tensor(string)": (object, ""),
}


def answers(path, rows):
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feed = {}
    for value in session.get_inputs():
        dtype, missing = TYPES[value.type]
        column = [missing if row.get(value.name) is None else row[value.name] for row in rows]
        feed[value.name] = numpy.array(column, dtype=dtype).reshape(-1, 1)
    names = [value.name for value in session.get_outputs()]
    return {name: output.tolist() for name, output in zip(names, session.run(names, feed))}


if __name__ == "__main__":
    models = json.load(sys.stdin)["models"]
    json.dump([answers(model["path"], model["rows"]) for model in models], sys.stdout)

"""A model that `weir model export` wrote, in the form that is fastest for whoever runs it by ONNX Runtime.

weir exports one input per feature, in double, so that a model says by itself what it takes. A contender that filled 30
or 784 inputs of one column each would lose most of its time there. So this puts one matrix in their place: `features`,
N x F float32, imputed and standardised by one node each. Of the outputs only `probabilities` stays: a label is an
index, and a tensor of strings is slow. The layers and their weights are left as they are.

    python matrix.py EXPORTED.onnx MATRIX.onnx
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def main(exported, matrix):
    model = onnx.load(exported)
    graph = model.graph
    names = [value.name for value in graph.input]
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    joined = next(index for index, node in enumerate(graph.node) if node.op_type == "Concat")
    unknown = {node.op_type for node in graph.node[:joined]} - {"IsNaN", "Where", "Sub", "Div", "Cast"}
    if unknown:
        sys.exit(f"{exported}: knows only features that are imputed and standardised, not {', '.join(sorted(unknown))}")

    def column(kind, otherwise):
        return np.array([constants.get(f"{name}.{kind}", otherwise) for name in names], dtype=np.float32)

    first = [
        helper.make_node("IsNaN", ["features"], ["missing"]),
        helper.make_node("Where", ["missing", "fill", "features"], ["filled"]),
        helper.make_node("Sub", ["filled", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], [graph.node[joined].output[0]]),
    ]
    parameters = {"fill": column("fill", np.nan), "mean": column("mean", 0.0), "std": column("std", 1.0)}
    layers = [node for node in graph.node[joined + 1 :] if node.op_type not in ("ArgMax", "Gather")]
    layers = [node for node in layers if node.output[0] != "label"]
    used = {name for node in layers for name in node.input}
    weights = [tensor for tensor in graph.initializer if tensor.name in used]

    graph = helper.make_graph(
        nodes=first + layers,
        name=graph.name,
        inputs=[helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", len(names)])],
        outputs=[value for value in graph.output if value.name == "probabilities"],
        initializer=[numpy_helper.from_array(value, name) for name, value in parameters.items()] + weights,
    )
    model.graph.CopyFrom(graph)
    onnx.checker.check_model(model)
    onnx.save(model, matrix)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Networks as tf2onnx writes them for models of Keras: names with slashes and colons, MatMul and Add for a Dense layer,
and activations and norms written out. tf2onnx itself needs TensorFlow, so its forms are written here by hand. For
onnx_models.py."""

import numpy as np
from onnx import TensorProto, helper
from onnx_networks import CATEGORIES, HIDDEN, OUTPUTS, WIDTH, Graph


class Keras(Graph):
    """A graph whose nodes and values are named as by tf2onnx."""

    def constant(self, values, dtype=np.float32):
        name = super().constant(values, dtype)
        self.constants[-1].name = f"network/dense/{name}/ReadVariableOp:0"
        return self.constants[-1].name

    def add(self, op, *inputs, domain="", **attributes):
        name = f"network/dense_{len(self.nodes)}/{op}"
        self.nodes.append(helper.make_node(op, list(inputs), [f"{name}:0"], name=name, domain=domain, **attributes))
        return f"{name}:0"

    def linear(self, inputs, outputs, scale=1.0):
        weights = self.rng.normal(size=(inputs, outputs)) * scale / np.sqrt(inputs)
        self.then("MatMul", self.constant(weights))
        self.then("Add", self.constant(self.rng.normal(size=outputs)))

    def ended(self, opset=15, outputs=OUTPUTS, inputs=None):
        """The model: its output is called Identity:0."""
        self.nodes.append(helper.make_node("Identity", [self.last], ["Identity:0"], name="Identity"))
        inputs = inputs or [("x", TensorProto.FLOAT, ["unk__8", WIDTH])]
        inputs = [helper.make_tensor_value_info(*each) for each in inputs]
        shape = ["unk__9", outputs] if outputs else ["unk__9"]
        output = helper.make_tensor_value_info("Identity:0", TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "tf2onnx", inputs, [output], self.constants)
        sets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 2)]
        return helper.make_model(graph, opset_imports=sets, producer_name="tf2onnx", ir_version=8)


def swish(graph, width):
    graph.last = graph.add("Mul", graph.last, graph.add("Sigmoid", graph.last))


def prelu(graph, width):
    """relu(x) - alpha · relu(-x)"""
    positive = graph.add("Relu", graph.last)
    negative = graph.add("Relu", graph.add("Neg", graph.last))
    alpha = graph.constant(-graph.rng.uniform(0.05, 0.5, width))
    graph.last = graph.add("Add", positive, graph.add("Mul", alpha, negative))


def elu(graph, width):
    """alpha times the negative part"""
    part = graph.add("Elu", graph.last)
    above = graph.add("Greater", graph.last, graph.constant(0.0))
    graph.last = graph.add("Where", above, part, graph.add("Mul", graph.constant(0.4), part))


def gelu(graph, width):
    half = graph.add("Mul", graph.constant(0.5), graph.last)
    erf = graph.add("Erf", graph.add("Div", graph.last, graph.constant(np.sqrt(2))))
    graph.last = graph.add("Mul", half, graph.add("Add", graph.constant(1.0), erf))


def gelu_tanh(graph, width):
    cube = graph.add("Pow", graph.last, graph.constant(3.0))
    inner = graph.add("Add", graph.last, graph.add("Mul", graph.constant(0.044715), cube))
    tanh = graph.add("Tanh", graph.add("Mul", graph.constant(np.sqrt(2 / np.pi)), inner))
    half = graph.add("Mul", graph.constant(0.5), graph.last)
    graph.last = graph.add("Mul", half, graph.add("Add", graph.constant(1.0), tanh))


def hard_sigmoid(graph, width):
    graph.then("Mul", graph.constant(0.2))
    graph.then("Add", graph.constant(0.5))
    graph.then("Min", graph.constant(1.0))
    graph.then("Max", graph.constant(0.0))


def hard_sigmoid_6(graph, width):
    """As Keras 3 has it: relu6(x + 3) / 6"""
    graph.then("Add", graph.constant(3.0))
    graph.then("Relu")
    graph.then("Min", graph.constant(6.0))
    graph.then("Mul", graph.constant(1 / 6))


def relu_max(graph, width):
    graph.then("Relu")
    graph.then("Min", graph.constant(4.0))


def mish(graph, width):
    graph.last = graph.add("Mul", graph.last, graph.add("Tanh", graph.add("Softplus", graph.last)))


def batch_norm(graph, width):
    """In inference a factor and a shift."""
    graph.then("Mul", graph.constant(graph.rng.uniform(0.5, 2, width)))
    graph.then("Add", graph.constant(graph.rng.normal(size=width)))


def batch_norm_rsqrt(graph, width):
    """The same before constants are folded: the scale is gamma / sqrt(variance + epsilon)."""
    variance, gamma = (graph.constant(graph.rng.uniform(0.5, 2, width)) for _ in range(2))
    mean, beta = (graph.constant(graph.rng.normal(size=width)) for _ in range(2))
    root = graph.add("Sqrt", graph.add("Add", variance, graph.constant(1e-3)))
    scale = graph.add("Mul", graph.add("Reciprocal", root), gamma)
    shift = graph.add("Sub", beta, graph.add("Mul", mean, scale))
    graph.last = graph.add("Add", graph.add("Mul", graph.last, scale), shift)


def layer_norm(graph, width):
    """(x - mean) · rsqrt(variance + epsilon) · gamma + beta"""
    mean = graph.add("ReduceMean", graph.last, axes=[-1], keepdims=1)
    off = graph.add("Sub", graph.last, mean)
    variance = graph.add("ReduceMean", graph.add("Mul", off, off), axes=[-1], keepdims=1)
    root = graph.add("Sqrt", graph.add("Add", variance, graph.constant(1e-3)))
    graph.last = graph.add("Mul", off, graph.add("Reciprocal", root))
    graph.then("Mul", graph.constant(graph.rng.uniform(0.5, 2, width)))
    graph.then("Add", graph.constant(graph.rng.normal(size=width)))


def layer_norm_centred(graph, width):
    """(x - mean) / sqrt(variance + epsilon) · gamma + beta"""
    mean = graph.add("ReduceMean", graph.last, axes=[-1], keepdims=1)
    off = graph.add("Sub", graph.last, mean)
    variance = graph.add("ReduceMean", graph.add("Pow", off, graph.constant(2.0)), axes=[-1], keepdims=1)
    root = graph.add("Sqrt", graph.add("Add", variance, graph.constant(1e-3)))
    graph.last = graph.add("Mul", graph.add("Div", off, root), graph.constant(graph.rng.uniform(0.5, 2, width)))
    graph.then("Add", graph.constant(graph.rng.normal(size=width)))


HIDDEN_PARTS = [
    swish, prelu, elu, gelu, gelu_tanh, hard_sigmoid, hard_sigmoid_6, relu_max, mish, batch_norm,
    batch_norm_rsqrt, layer_norm, layer_norm_centred,
]  # fmt: skip


def keras():
    """Name and model."""
    for seed, part in enumerate(HIDDEN_PARTS):
        graph = Keras(300 + seed)
        graph.linear(WIDTH, HIDDEN, 2.0)
        part(graph, HIDDEN)
        graph.linear(HIDDEN, OUTPUTS)
        yield f"keras-{part.__name__}", graph.ended()
    for name, opset in [("Relu", 9), ("Tanh", 11), ("Elu", 12), ("Selu", 13), ("Softplus", 15), ("LeakyRelu", 17)]:
        graph = Keras(330 + opset)
        # Normalization, whose statistics were learnt, and Rescaling.
        graph.then("Sub", graph.constant(graph.rng.normal(size=(1, WIDTH))))
        graph.then("Div", graph.constant(graph.rng.uniform(0.5, 3, (1, WIDTH))))
        graph.linear(WIDTH, HIDDEN)
        graph.then(name, **({"alpha": 0.3} if name == "LeakyRelu" else {}))
        graph.linear(HIDDEN, OUTPUTS)
        graph.then("Softmax", axis=-1 if opset >= 13 else 1)
        yield f"keras-scaled-{name}", graph.ended(opset)
    graph = Keras(350)
    graph.linear(WIDTH, HIDDEN)
    graph.then("Relu")
    graph.then("Reshape", graph.constant([-1, HIDDEN], np.int64))
    graph.linear(HIDDEN, 1)
    graph.then("Sigmoid")
    yield "keras-sigmoid", graph.ended(outputs=1)
    graph = Keras(351)
    graph.then("Mul", graph.constant(1 / 255))
    graph.then("Add", graph.constant(-0.5))
    graph.linear(WIDTH, HIDDEN)
    graph.then("Relu")
    graph.linear(HIDDEN, 1)
    graph.then("Squeeze", graph.constant([1], np.int64))
    yield "keras-squeezed", graph.ended(outputs=0)
    graph = Keras(352)
    parts, inputs = [], [("age", TensorProto.FLOAT, ["unk__1", 1]), ("income", TensorProto.FLOAT, ["unk__2", 1])]
    parts = [graph.add("Sub", name, graph.constant([[centre]])) for (name, *_), centre in zip(inputs, [0.4, -1.5])]
    table = graph.constant(graph.rng.normal(size=(CATEGORIES, 3)))
    # A column of a whole number becomes 1 × 3 numbers, which Flatten puts into a row.
    looked_up = graph.add("Gather", table, graph.add("Cast", "town", to=TensorProto.INT32))
    parts.append(graph.add("Reshape", looked_up, graph.constant([-1, 3], np.int64)))
    graph.last = graph.add("Concat", *parts, axis=1)
    graph.linear(5, HIDDEN)
    graph.then("Relu")
    before = graph.last
    graph.linear(HIDDEN, HIDDEN)
    graph.then("Relu")
    graph.last = graph.add("Add", before, graph.last)
    graph.linear(HIDDEN, OUTPUTS)
    graph.then("Softmax", axis=-1)
    inputs.append(("town", TensorProto.INT64, ["unk__3", 1]))
    yield "keras-functional", graph.ended(13, inputs=inputs)

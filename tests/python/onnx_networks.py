"""Networks written with onnx.helper, as exporters write them: every activation with its own parameters, local functions,
older opsets, inputs without a width, slices, branches, embeddings, and graphs of onnxruntime's quantiser. For
onnx_models.py."""

import logging

import numpy as np
from onnx import TensorProto, helper, load, numpy_helper, save
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

WIDTH, HIDDEN, OUTPUTS = 6, 9, 3
# Rows of an embedding.
CATEGORIES = 5


class Graph:
    """A graph under construction; `last` is the value that the next node takes."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.constants, self.functions = [], [], []
        self.last = "x"

    def constant(self, values, dtype=np.float32):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def add(self, op, *inputs, domain="", **attributes):
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], domain=domain, **attributes))
        return output

    def then(self, op, *more, **attributes):
        self.last = self.add(op, self.last, *more, **attributes)

    def linear(self, inputs, outputs, scale=1.0):
        weights = self.rng.normal(size=(inputs, outputs)) * scale / np.sqrt(inputs)
        self.then("Gemm", self.constant(weights), self.constant(self.rng.normal(size=outputs)))

    def model(self, opset, width=WIDTH, rows="N", outputs=OUTPUTS):
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, width])
        y = helper.make_tensor_value_info(self.last, TensorProto.FLOAT, [rows, outputs])
        graph = helper.make_graph(self.nodes, "network", [x], [y], self.constants)
        imports = [helper.make_opsetid("", opset)]
        imports += [helper.make_opsetid(domain, 1) for domain in sorted({function.domain for function in self.functions})]
        return helper.make_model(graph, opset_imports=imports, functions=self.functions, ir_version=8)


def activations():
    """Name, opset, and what adds the activation to a graph of this width."""

    def op(name, opset=17, **attributes):
        return name, opset, lambda graph, width: graph.then(name, **attributes)

    def clip(low, high):
        bound = lambda graph, value: "" if value is None else graph.constant(value)
        return "Clip", 13, lambda graph, width: graph.then("Clip", bound(graph, low), bound(graph, high))

    def prelu(count):
        return "PRelu", 16, lambda graph, width: graph.then(
            "PRelu", graph.constant(graph.rng.uniform(-0.5, 1.5, count or width))
        )

    def leaky_max(graph, width):
        graph.last = graph.add("Max", graph.last, graph.add("Mul", graph.last, graph.constant(0.3)))

    def mish(graph, width):
        graph.last = graph.add("Mul", graph.last, graph.add("Tanh", graph.add("Softplus", graph.last)))

    def hard_swish(graph, width):
        moved = graph.add("Add", graph.last, graph.constant(3.0))
        part = graph.add("Clip", moved, graph.constant(0.0), graph.constant(6.0))
        graph.last = graph.add("Div", graph.add("Mul", graph.last, part), graph.constant(6.0))

    def softplus(graph, width):
        scaled = graph.add("Mul", graph.last, graph.constant(2.0))
        soft = graph.add("Div", graph.add("Softplus", scaled), graph.constant(2.0))
        far = graph.add("Greater", scaled, graph.constant(20.0))
        graph.last = graph.add("Where", far, graph.last, soft)

    def threshold(graph, width):
        above = graph.add("Greater", graph.last, graph.constant(0.0))
        graph.last = graph.add("Where", above, graph.last, graph.add("Mul", graph.last, graph.constant(0.1)))

    def quick_gelu(graph, width):
        gate = graph.add("Sigmoid", graph.add("Mul", graph.last, graph.constant(1.702)))
        graph.last = graph.add("Mul", graph.last, gate)

    yield from (op(name) for name in ["Relu", "Tanh", "Sigmoid", "Selu", "Softplus", "Softsign", "HardSwish", "Abs"])
    yield from (op("LeakyRelu", alpha=alpha) for alpha in [0.2, 0.5, -0.1])
    yield from (op("Elu", alpha=alpha) for alpha in [0.3, 2.0])
    yield from (op("Celu", alpha=alpha) for alpha in [0.4, 3.0])
    yield op("Selu", alpha=1.2, gamma=0.9)
    yield op("Mish", 18)
    yield op("ThresholdedRelu", alpha=0.7)
    yield op("HardSigmoid")
    yield op("HardSigmoid", alpha=1 / 6, beta=0.5)
    yield op("Gelu", 20)
    yield op("Gelu", 20, approximate="tanh")
    yield from (clip(low, high) for low, high in [(0, 6), (0, 20), (-1, 1), (None, 2.5), (-0.25, None), (-100, 100)])
    yield from (prelu(count) for count in [None, None, 1])
    yield "Clip", 10, lambda graph, width: graph.then("Clip", min=0.0, max=6.0)
    for make in [leaky_max, mish, hard_swish, softplus, threshold, quick_gelu]:
        yield make.__name__, 13, make


def with_functions():
    """As torch 2.1 wrote them: aten operators as functions of the file, one calling another, with attributes."""
    domain = "pkg.onnxscript.torch_lib"
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(domain, 1)]

    def function(name, inputs, nodes, attributes=(), defaults=()):
        return helper.make_function(
            domain, name, inputs, ["result"], nodes, imports, attributes, attribute_protos=list(defaults)
        )

    alpha = helper.make_node("LeakyRelu", ["self"], ["result"])
    leaky = function("aten_leaky_relu", ["self"], [alpha], ["negative_slope"])
    attribute = leaky.node[0].attribute.add()
    attribute.name, attribute.ref_attr_name, attribute.type = "alpha", "negative_slope", 1
    turned = function("aten_t", ["self"], [helper.make_node("Transpose", ["self"], ["result"], perm=[1, 0])])
    product = function(
        "aten_linear",
        ["self", "weight", "bias"],
        [
            helper.make_node("aten_t", ["weight"], ["turned"], domain=domain),
            helper.make_node("MatMul", ["self", "turned"], ["product"]),
            helper.make_node("Add", ["product", "bias"], ["result"]),
        ],
    )
    graph = Graph(50)
    graph.functions = [leaky, turned, product]
    for inputs, outputs in [(WIDTH, HIDDEN), (HIDDEN, OUTPUTS)]:
        weights = graph.constant(graph.rng.normal(size=(outputs, inputs)))
        graph.then("aten_linear", weights, graph.constant(graph.rng.normal(size=outputs)), domain=domain)
        if outputs == HIDDEN:
            graph.then("aten_leaky_relu", domain=domain, negative_slope=0.3)
    return graph.model(18)


def sliced():
    """A slice of all rows before the one that is meant, and one of neurons."""
    graph = Graph(51)
    lists = lambda *values: [graph.constant([value], np.int64) for value in values]
    graph.then("Slice", *lists(0, 2**63 - 1, 0, 1))
    graph.then("Slice", *lists(1, 5, 1, 1))
    graph.linear(4, HIDDEN)
    graph.then("Tanh")
    graph.then("Slice", *lists(-7, 2**31 - 1, 1, 2))
    graph.then("Gather", graph.constant([0, 1, 2, 3], np.int64), axis=1)
    graph.linear(4, OUTPUTS)
    return graph.model(13)


class Calibration(CalibrationDataReader):
    def __init__(self, rng):
        self.rows = iter([{"x": rng.normal(size=(200, WIDTH)).astype(np.float32)}])

    def get_next(self):
        return next(self.rows, None)


def quantised(folder):
    """Name and model of networks as onnxruntime's quantiser writes them."""
    logging.disable(logging.WARNING)  # it advises to optimise the graph before
    for seed, (per_channel, kind) in enumerate((per, kind) for per in (False, True) for kind in (QuantType.QInt8, QuantType.QUInt8)):
        graph = Graph(80 + seed)
        graph.linear(WIDTH, HIDDEN, 2.0)
        graph.then("Relu")
        graph.linear(HIDDEN, HIDDEN)
        graph.then("Tanh")
        graph.linear(HIDDEN, OUTPUTS)
        plain, file = folder / "plain.onnx", folder / "quantised.onnx"
        save(graph.model(13), plain)
        quantize_static(
            plain, file, Calibration(graph.rng), quant_format=QuantFormat.QDQ, per_channel=per_channel, activation_type=kind
        )
        yield f"quantised-{seed}", load(file)


def residual(graph, width, hidden, activation="Relu", norm=None):
    """x + f(x), as PyTorch exports it; with a norm at the start as ResNets for tables and transformers have it."""
    start = graph.last
    if norm == "LayerNormalization":
        graph.then(norm, graph.constant(graph.rng.uniform(0.5, 2, width)), graph.constant(np.zeros(width)))
    elif norm:
        graph.then("BatchNormalization", *(graph.constant(graph.rng.uniform(0.5, 2, width)) for _ in range(4)))
    graph.linear(width, hidden)
    graph.then(activation)
    graph.linear(hidden, width, 0.5)
    graph.last = graph.add("Add", start, graph.last)


def named_inputs(graph, inputs, opset, outputs):
    """A model with inputs of these names, types and shapes."""
    inputs = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs]
    y = helper.make_tensor_value_info(graph.last, TensorProto.FLOAT, ["N", outputs])
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(
        helper.make_graph(graph.nodes, "network", inputs, [y], graph.constants), opset_imports=imports, ir_version=8
    )


def branched():
    """Residual networks, wide and deep ones, several inputs, and embeddings beside numbers."""
    kinds = [
        (None, "Relu", None),
        ("BatchNormalization", "Relu", None),
        (None, "Relu", "Relu"),
        (None, "Relu", "LayerNormalization"),
        (None, "Tanh", None),
        ("BatchNormalization", "Elu", None),
        ("LayerNormalization", "Sigmoid", None),
    ]
    for seed, (norm, activation, after) in enumerate(kinds):
        graph = Graph(200 + seed)
        graph.linear(WIDTH, HIDDEN)
        for _ in range(3):
            residual(graph, HIDDEN, 2 * HIDDEN, activation, norm)
            if after == "Relu":
                graph.then(after)
            elif after:
                graph.then(after, graph.constant(np.ones(HIDDEN)), graph.constant(np.zeros(HIDDEN)))
        graph.linear(HIDDEN, OUTPUTS)
        yield f"branches-residual-{seed}", graph.model(17)
    for joined in ["Add", "Concat"]:
        graph = Graph(210)
        graph.linear(WIDTH, OUTPUTS)
        wide, graph.last = graph.last, "x"
        for inputs, outputs in [(WIDTH, 16), (16, HIDDEN)]:
            graph.linear(inputs, outputs, 2.0)
            graph.then("LeakyRelu", alpha=0.1)
        graph.linear(HIDDEN, OUTPUTS)
        attributes = {"axis": 1} if joined == "Concat" else {}
        graph.last = graph.add(joined, wide, graph.last, **attributes)
        if joined == "Concat":
            graph.linear(2 * OUTPUTS, OUTPUTS)
        yield f"branches-wide-and-deep-{joined}", graph.model(13)
    graph = Graph(220)
    parts = []
    for name, width in [("customer", 4), ("product", 3), ("price", 1)]:
        graph.last = name
        graph.linear(width, HIDDEN)
        graph.then("Tanh")
        parts.append(graph.last)
    graph.last = graph.add("Concat", *parts, axis=1)
    graph.linear(3 * HIDDEN, OUTPUTS)
    floats = [(name, TensorProto.FLOAT, ["N", width]) for name, width in [("customer", 4), ("product", 3), ("price", 1)]]
    yield "branches-inputs", named_inputs(graph, floats, 17, OUTPUTS)
    graph = Graph(230)
    table, other = graph.constant(graph.rng.normal(size=(CATEGORIES, 4))), graph.constant(graph.rng.normal(size=(CATEGORIES, 2)))
    first, second = (graph.constant(place, np.int64) for place in (0, 1))
    looked_up = [graph.add("Gather", table, graph.add("Gather", "kinds", first, axis=1))]
    looked_up.append(graph.add("Gather", other, graph.add("Gather", "kinds", second, axis=1)))
    graph.last = graph.add("Concat", *looked_up, "x", axis=1)
    graph.linear(4 + 2 + WIDTH, HIDDEN)
    graph.then("Relu")
    residual(graph, HIDDEN, HIDDEN)
    graph.linear(HIDDEN, OUTPUTS)
    inputs = [("kinds", TensorProto.INT64, ["N", 2]), ("x", TensorProto.FLOAT, ["N", WIDTH])]
    yield "branches-embedding", named_inputs(graph, inputs, 17, OUTPUTS)


def networks():
    """Name and model."""
    for seed, (name, opset, add) in enumerate(activations()):
        graph = Graph(seed)
        graph.linear(WIDTH, HIDDEN, 2.0)
        add(graph, HIDDEN)
        graph.linear(HIDDEN, OUTPUTS)
        yield f"network-{seed}-{name}", graph.model(opset)
        graph = Graph(seed + 1000)
        graph.linear(WIDTH, OUTPUTS, 2.0)
        add(graph, OUTPUTS)
        yield f"network-{seed}-{name}-last", graph.model(opset)
    yield "network-functions", with_functions()
    yield "network-sliced", sliced()
    for name, width in [("columns", None), ("shape", "columns")]:
        graph = Graph(52)
        graph.then("Sub", graph.constant(graph.rng.normal(size=WIDTH)))
        graph.linear(WIDTH, OUTPUTS)
        yield f"network-without-{name}", graph.model(13, width=width)
    for opset in range(7, 23):
        graph = Graph(60 + opset)
        graph.linear(WIDTH, HIDDEN)
        graph.then("BatchNormalization", *(graph.constant(graph.rng.uniform(0.5, 2, HIDDEN)) for _ in range(4)))
        graph.then("Elu", alpha=0.7)
        graph.linear(HIDDEN, OUTPUTS)
        graph.then("Softmax", axis=1)
        yield f"network-opset-{opset}", graph.model(opset)

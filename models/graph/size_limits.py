"""Limits on the memory and the work of a graph, checked before anything is run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...spelling import first_line
from .conversion_error import ConversionError
from .view import GraphView, attribute

if TYPE_CHECKING:
    import onnx

LARGEST_SUM = 1 << 28  # numbers that all layers together give for one face; MobileFaceNet's give 5 million
MOST_WORK = 1 << 38  # multiplications for one face; MobileFaceNet does 230 million, IResNet-100 24 billion
SMALL = 4096  # numbers: shapes and the like, whose values decide the sizes of others
MOST_VISITS = 400_000  # of nodes, in all rounds of folding and inferring; LeViT's 500 nodes need 27 rounds

Shape = tuple[int, ...]


def check_sizes(model: onnx.ModelProto, name: str) -> None:
    """Refuses a graph that would fill the memory, or run for hours, on one face.

    The shapes that the file states are not trusted: shapes are inferred from the input and the weights. Nodes that
    compute shapes are small, so they are evaluated here, and shapes are inferred again, until all are known.

    Raises:
        ConversionError: Shapes contradict each other, or are not known without running the graph, or are too large.
    """
    skeleton, shapes = _with_shapes(model, name)
    total = work = 0
    for node in skeleton.graph.node:
        for output in filter(None, node.output):
            shape = shapes.get(output)
            if shape is None or min(shape, default=1) < 0:
                raise ConversionError(
                    f"{name}: how large {output!r} ({node.op_type}) becomes is not known before it is run; "
                    "export it with a fixed input size"
                )
            total += math.prod(shape)
        if total > LARGEST_SUM:
            raise ConversionError(
                f"{name}: {node.op_type} {node.name or node.output[0]!r} gives {_shown(shapes, node)} numbers; "
                f"all layers together may give {LARGEST_SUM}"
            )
        work += _work(node, shapes)
        if work > MOST_WORK:
            raise ConversionError(
                f"{name} does {work:.0e} multiplications up to {node.op_type} {node.name or node.output[0]!r}; "
                f"at most {MOST_WORK:.0e} are run"
            )


def shapes_for_one_face(model: onnx.ModelProto, name: str) -> dict[str, Shape]:
    """Gives the shape of every value that follows from the input and the weights, whatever the file states.

    Raises:
        ConversionError: Shapes contradict each other.
    """
    shapes = _with_shapes(model, name)[1]
    return {value: shape for value, shape in shapes.items() if min(shape, default=1) >= 0}


def _with_shapes(model: onnx.ModelProto, name: str) -> tuple[onnx.ModelProto, dict[str, Shape]]:
    skeleton = _skeleton(model)
    for _ in range(1 + MOST_VISITS // (1 + len(skeleton.graph.node))):
        shapes = _inferred(skeleton, name)
        if not _fold(skeleton, shapes):
            break
    return skeleton, shapes


def _skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """Gives the graph for one face, with large weights as inputs of their shape and without the shapes it states."""
    import onnx

    graph = model.graph
    small = [tensor for tensor in graph.initializer if math.prod(tensor.dims) <= SMALL]
    large = [tensor for tensor in graph.initializer if math.prod(tensor.dims) > SMALL]
    faces = GraphView(graph).entries()
    inputs = [*faces, *(onnx.helper.make_tensor_value_info(one.name, one.data_type, one.dims) for one in large)]
    outputs = [onnx.helper.make_empty_tensor_value_info(output.name) for output in graph.output]
    nodes = [
        onnx.helper.make_node("Identity", node.input[:1], node.output, name=node.name)
        if node.op_type == "GroupNormalization"  # onnx does not infer its shape
        else node
        for node in graph.node
    ]
    bare = onnx.helper.make_graph(nodes, "skeleton", inputs, outputs, small)
    for value in bare.input[: len(faces)]:
        sides = value.type.tensor_type.shape.dim
        if len(sides) and not sides[0].HasField("dim_value"):
            sides[0].dim_value = 1
    return onnx.helper.make_model(bare, opset_imports=model.opset_import, ir_version=max(model.ir_version, 4))


def _inferred(skeleton: onnx.ModelProto, name: str) -> dict[str, Shape]:
    """Gives each shape that follows from the input and the weights; a side that is not known is -1."""
    import onnx

    try:
        known = onnx.shape_inference.infer_shapes(skeleton, strict_mode=True, data_prop=True)
    except Exception as error:
        raise ConversionError(f"{name}: its shapes contradict each other: {first_line(error)}") from error
    shapes = {tensor.name: tuple(tensor.dims) for tensor in skeleton.graph.initializer}
    for value in (*known.graph.input, *known.graph.value_info, *known.graph.output):
        if value.type.tensor_type.HasField("shape"):
            sides = value.type.tensor_type.shape.dim
            shapes[value.name] = tuple(int(side.dim_value) if side.HasField("dim_value") else -1 for side in sides)
    return shapes


def _fold(skeleton: onnx.ModelProto, shapes: Mapping[str, Shape]) -> bool:
    """Evaluates small constants, in place; returns whether there were any.

    Given   Shape(x), x: (1, 64, 7, 7)  ->  Gather 0  ->  Reshape
    Result  constant 1                                ->  Reshape
    """
    import onnx

    graph, opset = skeleton.graph, skeleton.opset_import[0].version
    values: dict[str, NDArray[Any]] = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    before, kept = len(values), []
    for node in graph.node:
        result = _value(node, values, shapes, opset)
        if result is None:
            kept.append(node)
        else:
            values[node.output[0]] = result
            graph.initializer.append(onnx.numpy_helper.from_array(result, node.output[0]))
    outputs = {output.name for output in graph.output} & set(values)
    if len(values) == before or outputs:
        return False
    GraphView(graph).set_nodes(kept)
    return True


def _value(
    node: onnx.NodeProto, values: Mapping[str, NDArray[Any]], shapes: Mapping[str, Shape], opset: int
) -> NDArray[Any] | None:
    """Gives the one small constant that `node` makes of small constants, if it does."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    shape = shapes.get(node.output[0])
    if len(node.output) != 1 or shape is None or min(shape, default=1) < 0 or math.prod(shape) > SMALL:
        return None
    if node.op_type == "Shape":
        source = shapes.get(node.input[0], (-1,))
        start, end = attribute(node, "start"), attribute(node, "end")
        return np.array(source[start:end], np.int64) if min(source, default=1) >= 0 else None
    if not all(name in values for name in node.input if name):
        return None
    known = {name: values[name] for name in node.input if name}
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(one.dtype), one.shape)
        for name, one in known.items()
    ]
    alone = onnx.helper.make_graph([node], "one", inputs, [onnx.helper.make_empty_tensor_value_info(node.output[0])])
    try:
        model = onnx.helper.make_model(alone, opset_imports=[onnx.helper.make_opsetid("", opset)])
        (result,) = ReferenceEvaluator(model).run(None, known)
    except Exception:  # an operator that the evaluator lacks, or numbers that it cannot take
        return None
    result = np.asarray(result)
    return result if result.size <= SMALL and result.dtype.kind in "biuf" else None


def _work(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    """Gives about how many multiplications a node does; what maps each value by itself does none."""
    given = [shapes.get(name, ()) for name in node.input]
    result = math.prod(shapes.get(node.output[0], ()))
    match node.op_type:
        case "Conv" | "ConvInteger" | "QLinearConv" | "DeformConv":
            weight = given[3 if node.op_type == "QLinearConv" else 1]
            return result * math.prod(weight[1:])
        case "ConvTranspose":
            return math.prod(given[0]) * math.prod(given[1][1:])
        case "MatMul" | "Gemm" | "MatMulInteger" | "QLinearMatMul":
            return result * max(given[0], default=1)
        case "Einsum" | "Attention" | "RNN" | "GRU" | "LSTM":
            return math.prod(math.prod(shape) for shape in given[:2])
        case kind if kind.endswith("Pool"):
            return int(result * math.prod(attribute(node, "kernel_shape", ())))
    return 0


def _shown(shapes: Mapping[str, Shape], node: onnx.NodeProto) -> str:
    return " and ".join("x".join(map(str, shapes[name])) for name in node.output if name in shapes)

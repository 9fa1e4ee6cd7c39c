"""Simplifies an ONNX graph: constants folded, and what only its exporter needed dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...spelling import first_line
from ..quiet import quiet
from .conversion_error import ConversionError
from .idioms import recognise_prelus
from .size_limits import check_sizes
from .view import GraphView, attribute

if TYPE_CHECKING:
    import onnx


def simplified(model: onnx.ModelProto, name: str, fold_norms: bool = True) -> onnx.ModelProto:
    """Folds constants and batch norms (onnxsim), writes PReLUs whole, and drops what only the exporter's authors need.

    Given   Conv -> BatchNormalization -> Relu, and Shape, Gather, Concat -> Reshape
    Result  Conv (weights times scale, bias plus shift) -> Relu, and constant -> Reshape

    Args:
        model: The graph; left as it is.
        name: Of the network, for errors.
        fold_norms: False leaves batch norms what they are, for training.

    Raises:
        ConversionError: A value is too large to be computed here, or onnxsim fails.
    """
    import onnx
    import onnxsim

    before = ", ".join(sorted({node.op_type for node in model.graph.node if node.domain not in ("", "ai.onnx")}))
    if before:
        raise ConversionError(f"{name} uses operators that are not ONNX's own: {before}")
    check_sizes(model, name)  # onnxsim computes constants of any size
    try:
        with quiet():
            smaller, same = onnxsim.simplify(model, skip_fuse_bn=not fold_norms)
    except Exception as error:  # onnxsim passes on any error of onnxruntime
        raise ConversionError(f"{name} cannot be simplified: {first_line(error)}") from error
    if not same:
        raise ConversionError(f"{name}: the simplified graph computes something else")
    # Traces and paths of the exporting machine are private, and differ from run to run.
    del smaller.metadata_props[:]
    smaller.doc_string, smaller.graph.doc_string = "", ""
    smaller.producer_name, smaller.producer_version, smaller.graph.name = "pocketface", "", "embedder"
    for item in (*smaller.graph.node, *smaller.graph.value_info, *smaller.graph.input, *smaller.graph.output):
        item.doc_string = ""
        del item.metadata_props[:]
    for tensor in smaller.graph.initializer:
        del tensor.metadata_props[:]
    straighten_gemms(smaller)
    result: onnx.ModelProto = onnx.shape_inference.infer_shapes(smaller)
    straighten_gathers(result)
    recognise_prelus(result.graph)
    return result


def straighten_gathers(model: onnx.ModelProto) -> None:
    """Writes a Gather of all values of a row in their order as what it is, a Reshape.

    Given   ReduceMean -> Reshape (C,) -> Gather 0, 1, ... of shape (1, C, 1, 1)      how torch writes `as_strided`
    Result  ReduceMean -> Reshape (C,) -> Reshape (1, C, 1, 1)

    The shapes of values are known.
    """
    view = GraphView(model.graph)
    for node in model.graph.node:
        indices = view.constant(node.input[1]) if node.op_type == "Gather" else None
        if indices is None or view.shape(node.input[0]) != (indices.size,):
            continue
        if (indices.reshape(-1) == np.arange(indices.size)).all():
            node.op_type = "Reshape"
            del node.attribute[:]
            sides = np.array(indices.shape, np.int64)
            node.input[1] = view.set_constant(f"{node.output[0]}/sides", sides)
    view.drop_unread()


def straighten_gemms(model: onnx.ModelProto) -> None:
    """Turns the rows of a Gemm by a Transpose of its own, which onnxsim put into the Gemm.

    Given   Gemm(x, W, transA=1)
    Result  Transpose(x) -> Gemm        a Transpose costs nothing in TFLite; Core ML has no such product
    """
    import onnx

    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "Gemm" and attribute(node, "transA", 0):
            rows = f"{node.output[0]}/rows"
            nodes.append(onnx.helper.make_node("Transpose", [node.input[0]], [rows], name=rows, perm=[1, 0]))
            node.input[0] = rows
            kept = [one for one in node.attribute if one.name != "transA"]
            del node.attribute[:]
            node.attribute.extend(kept)
        nodes.append(node)
    GraphView(model.graph).set_nodes(nodes)

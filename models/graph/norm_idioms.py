"""Norms that a file spells out in simple operators: by a length, by mean and variance, by the mean square.

Found as all idioms are, see `idioms`: by what a cone of operators computes of a few numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .idioms import CLOSE, SMOOTH, Numbers, cones, node_of, replace_nodes, run_cone
from .view import GraphView, attribute

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

EPSILON = 1e-2  # the largest that a norm adds to a variance
LEAST_EPSILON = 1e-12  # of a norm that adds none, so that zeros stay zeros


def recognise_norms(graph: GraphProto) -> int:
    """Writes norms as the one operator that each is; gives how many.

    Divisions by a length become LpNormalization, layer norms LayerNormalization, norms by the mean square
    RMSNormalization. Shapes must be known. For converters alone: the graph need not be one that its opset allows.

    Given   Mul(x, x) -> ReduceSum -> Max 1e-12 -> Sqrt -> Reciprocal -> Mul(x)
    Result  LpNormalization(x); a norm along the channels of (N, C, H, W) between two transposes, as the operator
            normalises what lies last
    """
    view = GraphView(graph)
    order = {id(node): place for place, node in enumerate(graph.node)}
    found: dict[str, list[NodeProto]] = {}
    inside: set[str] = set()  # results of the scales and shifts that a norm took in
    for end in graph.node:
        if end.op_type not in ("Div", "Mul") or end.output[0] in inside:
            continue
        layer, within = list["NodeProto"](), list["NodeProto"]()
        for source, nodes in cones(view, end, SMOOTH, order):  # what is centred first is a layer norm: the last counts
            if one := _norm_of(view, source, nodes, end):
                layer, within = one, nodes
        if layer:
            for node in within:  # an L2 norm that is scaled then
                found.pop(node.output[0], None)
            inside |= _between(view, end.output[0], layer[-1].output[0])
            found[layer[-1].output[0]] = layer
    return replace_nodes(view, found)


def _norm_of(view: GraphView, source: str, nodes: Sequence[NodeProto], end: NodeProto) -> list[NodeProto]:
    axis, shape = _reduced_axis(view, source, nodes), view.shape(source)
    if axis is None or shape is None:
        return []
    if layer := _length_norm(view, source, nodes, end, axis):
        return layer
    if axis != len(shape) - 1 and (axis, len(shape)) != (1, 4):
        return []
    return _layer_norm(view, source, nodes, end, axis) or _rms_norm(view, source, nodes, end, axis)


def _between(view: GraphView, first: str, last: str) -> set[str]:
    """Gives the values of the chain of sole readers from `first` to `last`, without `first`."""
    names: set[str] = set()
    while first != last and (reader := view.sole_consumer(first)) is not None:
        first = reader.output[0]
        names.add(first)
    return names


def _length_norm(
    view: GraphView, source: str, nodes: Sequence[NodeProto], end: NodeProto, axis: int
) -> list[NodeProto]:
    """Gives the node that divides by the length along one axis, if the cone does."""
    for number, size in enumerate((1.0, 30.0)):
        x = _probe(view, source, number) * size
        result = run_cone(view, source, x, nodes, SMOOTH)
        wanted = x / np.linalg.norm(x, axis=axis, keepdims=True)
        if result is None or result.shape != wanted.shape or not np.allclose(result, wanted, rtol=0, atol=CLOSE):
            return []
    return [node_of("LpNormalization", [source], end.output[0], axis=axis, p=2)]


def _layer_norm(view: GraphView, source: str, nodes: Sequence[NodeProto], end: NodeProto, axis: int) -> list[NodeProto]:
    """Gives the layer norm that the cone computes, along the last axis or an image's channels, with scale and shift."""
    scalars = [view.constants[name] for node in nodes for name in node.input if name in view.constants]
    for epsilon in [float(one.reshape(-1)[0]) for one in scalars if one.size == 1 and one.dtype.kind == "f"] + [0.0]:
        if not 0 <= epsilon <= EPSILON:
            continue
        for number, size in enumerate((1.0, 0.01)):
            x = _probe(view, source, number) * size
            centred = x - x.mean(axis, keepdims=True)
            wanted = centred / np.sqrt((centred**2).mean(axis, keepdims=True) + epsilon)
            result = run_cone(view, source, x, nodes, SMOOTH)
            if result is None or result.shape != wanted.shape or not np.allclose(result, wanted, rtol=0, atol=1e-4):
                break
        else:
            weights, output = _affine(view, source, end.output[0], axis, ("Mul", "Add"))
            return _along(view, "LayerNormalization", source, weights, output, axis, epsilon)
    return []


def _rms_norm(view: GraphView, source: str, nodes: Sequence[NodeProto], end: NodeProto, axis: int) -> list[NodeProto]:
    """Gives the norm by the root of the mean square, if x / sqrt(mean of x^2 + epsilon) * w is what the cone computes.

    Of large numbers the epsilon vanishes, which gives w; of small ones what is left gives the epsilon.

    Source: Zhang and Sennrich, Root Mean Square Layer Normalization, NeurIPS 2019, eq. 4.
    """
    large, small = (
        (x, run_cone(view, source, x, nodes, SMOOTH)) for x in (_probe(view, source, 0) * size for size in (1e6, 1e-3))
    )
    if large[1] is None or small[1] is None or not large[1].shape == small[1].shape == large[0].shape:
        return []
    others = tuple(other for other in range(large[0].ndim) if other != axis)
    with np.errstate(all="ignore"):
        scales = np.median(large[1] * _root_mean_square(large[0], axis) / large[0], axis=others, keepdims=True)
        epsilon = float(np.median((small[0] * scales / small[1]) ** 2 - np.mean(small[0] ** 2, axis, keepdims=True)))
    if not (np.isfinite(scales).all() and scales.any() and abs(epsilon) <= EPSILON):
        return []
    if np.allclose(scales, scales.reshape(-1)[0]) and not np.allclose(scales, 1):
        return []  # a scaled length
    epsilon = max(epsilon, LEAST_EPSILON)
    for number, size in enumerate((1.0, 0.01), 1):
        x = _probe(view, source, number) * size
        result = run_cone(view, source, x, nodes, SMOOTH)
        wanted = x / _root_mean_square(x, axis, epsilon) * scales
        if result is None or not np.allclose(result, wanted, rtol=1e-4, atol=1e-4 * np.abs(scales).max()):
            return []
    (more, *_), output = _affine(view, source, end.output[0], axis, ("Mul",))
    weights = scales.reshape(-1) * view.constants[more]
    name = view.set_constant(f"{output}/scales", weights.astype(np.float32))
    return _along(view, "RMSNormalization", source, [name], output, axis, float(np.float32(epsilon)))


def _root_mean_square(x: Numbers, axis: int, epsilon: float = 0.0) -> Numbers:
    return np.asarray(np.sqrt(np.mean(x**2, axis, keepdims=True) + epsilon))


def _along(
    view: GraphView, kind: str, source: str, weights: Sequence[str], output: str, axis: int, epsilon: float
) -> list[NodeProto]:
    """Gives a norm of the last axis, or one of an image's channels between two transposes."""
    import onnx

    shape = view.shape(source) or ()
    is_last = axis == len(shape) - 1
    result, given = (output, source) if is_last else (f"{output}/last", f"{output}/given")
    node = node_of(kind, [given, *weights], result, axis=-1, epsilon=float(epsilon))
    if is_last:
        return [node]
    lying = [shape[0], shape[2], shape[3], shape[1]]
    for name in (given, result):
        view.graph.value_info.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, lying))
    there = node_of("Transpose", [source], given, perm=[0, 2, 3, 1])
    return [there, node, node_of("Transpose", [result], output, perm=[0, 3, 1, 2])]


def _affine(view: GraphView, source: str, name: str, axis: int, kinds: Sequence[str]) -> tuple[list[str], str]:
    """Gives the names of a scale and a shift, one number a channel, that follow `name`, and of the last node's result.

    Args:
        view: The graph.
        source: What is normalised.
        name: Of the result, which is scaled.
        axis: Of the channels.
        kinds: "Mul", and "Add" where the norm has a shift.
    """
    shape = view.shape(source) or ()
    size = (shape[axis], *(1,) * (len(shape) - 1 - axis))  # the constants may have more axes in front
    weights: list[str] = []
    for kind in kinds:
        node = view.sole_consumer(name)
        constants = [] if node is None else [one for one in node.input if one in view.constants]
        taken = constants[0] if node is not None and node.op_type == kind and len(constants) == 1 else None
        if taken is not None and view.constants[taken].shape in [(1,) * front + size for front in range(3)]:
            assert node is not None
            name = node.output[0]
            weights.append(view.set_constant(f"{name}/{kind}", view.constants[taken].reshape(-1).astype(np.float32)))
        elif kind == "Mul":
            weights.append(view.set_constant(f"{name}/ones", np.ones(size[0], np.float32)))
    return weights, name


def _reduced_axis(view: GraphView, source: str, nodes: Sequence[NodeProto]) -> int | None:
    """Gives the one axis that the cone's reductions go over, counted from the front; None where there is no one."""
    shape = view.shape(source)
    reductions = [node for node in nodes if node.op_type.startswith("Reduce")]
    if not reductions or shape is None or not all(shape):
        return None
    axes: set[int | None] = set()
    for node in reductions:
        given = _axes(view, node)
        axes |= {None} if given is None or len(given) != 1 else {int(given[0]) % len(shape)}
    return axes.pop() if len(axes) == 1 else None


def _axes(view: GraphView, node: NodeProto) -> Sequence[int] | None:
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1:
        axes = view.constant(node.input[1])
    return None if axes is None else [int(axis) for axis in np.reshape(axes, -1)]


def _probe(view: GraphView, source: str, seed: int) -> Numbers:
    return np.random.default_rng(seed).standard_normal(view.shape(source))

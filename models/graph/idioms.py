"""Layers that a file spells out in simple operators, found by what these compute and not by how they are written.

A spelling is a cone: nodes that lead from one value to another and read nothing else but constants. The cone is
computed here on a few numbers; where these are what the layer gives, the layer takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .view import GraphView, attribute, clip_bounds

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

Numbers = NDArray[np.float64]
Function = Callable[..., Numbers]

LARGEST_CONE = 12  # nodes
CLOSE = 1e-5  # of numbers about one
EPSILON = 1e-2  # the largest that a norm adds to a variance


def recognise_prelus(graph: GraphProto) -> int:
    """Writes PReLUs that are spelt out as PRelu; gives how many.

    The nodes of such a cone are positively homogeneous, f(t x) = t f(x) for t > 0: so what it gives for 1 and for -1 is
    all that it does. A PReLU gives 1 and the negative slope.

    Given   Relu(x), Neg -> Relu -> Mul -a, Add        Keras; TensorFlow 1 writes (x - |x|) * a / 2
    Result  PRelu(x, a)
    """
    view = GraphView(graph)
    order = {id(node): place for place, node in enumerate(graph.node)}
    found: dict[str, list[NodeProto]] = {}
    for end in graph.node:
        if end.op_type not in ("Add", "Sub", "Sum", "Max", "Min"):
            continue
        for source, nodes in cones(view, end, HOMOGENEOUS, order):
            slopes = _slopes(view, source, nodes)
            if slopes is not None:
                name = view.set_constant(f"{end.output[0]}/slopes", slopes)
                found[end.output[0]] = [_node("PRelu", [source, name], end.output[0])]
    return replace_nodes(view, found)


def recognise_norms(graph: GraphProto) -> int:
    """Writes divisions by a length as LpNormalization, and layer norms as LayerNormalization; gives how many.

    Shapes must be known. For converters alone: the graph need not be one that its opset allows.

    Given   Mul(x, x) -> ReduceSum -> Max 1e-12 -> Sqrt -> Reciprocal -> Mul(x)
    Result  LpNormalization(x); a layer norm along the channels of (N, C, H, W) between two transposes, as the
            operator normalises what lies last
    """
    view = GraphView(graph)
    order = {id(node): place for place, node in enumerate(graph.node)}
    found: dict[str, list[NodeProto]] = {}
    for end in graph.node:
        if end.op_type not in ("Div", "Mul"):
            continue
        for source, nodes in cones(view, end, SMOOTH, order):
            layer = _length_norm(view, source, nodes, end) or _layer_norm(view, source, nodes, end)
            if layer:
                found[layer[-1].output[0]] = layer
    return replace_nodes(view, found)


def cones(
    view: GraphView, end: NodeProto, functions: Mapping[str, Function], order: Mapping[int, int]
) -> Iterator[tuple[str, list[NodeProto]]]:
    """Gives the values that all of `end` is computed from, nearest first, with the nodes from there, in order.

    Args:
        view: The graph.
        end: The cone's last node.
        functions: Operators that a cone may have.
        order: Place of each node in the graph, by its id.
    """
    nodes, frontier = [end], _computed(view, end)
    while len(nodes) < LARGEST_CONE:
        if len(frontier) == 1 and len(nodes) > 1:
            yield next(iter(frontier)), nodes[::-1]
        makers = [(order[id(maker)], name) for name in frontier if (maker := view.producer(name)) is not None]
        if not makers:
            return
        _, name = max(makers)
        maker = view.producer(name)
        if maker is None or maker.op_type not in functions or len(maker.output) > 1:
            return
        nodes.append(maker)
        frontier = (frontier - {name}) | _computed(view, maker)
        nodes.sort(key=lambda node: -order[id(node)])


def _computed(view: GraphView, node: NodeProto) -> set[str]:
    return {name for name in node.input if name and view.constant(name) is None}


def run_cone(
    view: GraphView, source: str, value: Numbers, nodes: Sequence[NodeProto], functions: Mapping[str, Function]
) -> Numbers | None:
    """Computes a cone; None where it has a form that is not known."""
    values = {source: value}
    for node in nodes:
        given: list[Numbers | None] = []
        for name in node.input:
            constant = view.constant(name) if name else None
            given.append(values.get(name) if constant is None else np.asarray(constant, np.float64))
        try:
            with np.errstate(all="ignore"):
                values[node.output[0]] = functions[node.op_type](node, *given)
        except (ValueError, TypeError, KeyError, IndexError):
            return None
    return values[nodes[-1].output[0]]


def _is_homogeneous(view: GraphView, node: NodeProto) -> bool:
    """Says whether f(t x) = t f(x) for t > 0: products have one computed factor, sums and bounds no constants but 0."""
    constants = [values for name in node.input if (values := view.constant(name)) is not None]
    if node.op_type in ("Mul", "Div"):
        computed = [place for place, name in enumerate(node.input) if view.constant(name) is None]
        return computed == [0] or (node.op_type == "Mul" and len(computed) == 1)
    if node.op_type == "Clip":
        given = [view.constant(name) for name in node.input[1:]]
        if any(name and value is None for name, value in zip(node.input[1:], given, strict=True)):
            return False
        return set(clip_bounds(node, *given)) <= {0.0, np.inf, -np.inf}
    return node.op_type in ("PRelu", "LeakyRelu") or not any(values.any() for values in constants)


def _slopes(view: GraphView, source: str, nodes: Sequence[NodeProto]) -> NDArray[np.float32] | None:
    """Gives the slopes of a PReLU, (), (C,) or (C, 1, 1), if that is what the nodes compute of `source`."""
    shape = view.shape(source)
    if shape is None or len(shape) not in (2, 4) or not all(_is_homogeneous(view, node) for node in nodes):
        return None
    above, below = (run_cone(view, source, np.full((1,) * len(shape), end), nodes, HOMOGENEOUS) for end in (1.0, -1.0))
    if above is None or below is None or not np.allclose(above, 1, rtol=0, atol=CLOSE):
        return None
    slopes = -below
    one_a_channel = (1, shape[1], *(1,) * (len(shape) - 2))
    if slopes.shape not in (one_a_channel, (1,) * len(shape)) or np.allclose(slopes, 1, rtol=0, atol=CLOSE):
        return None
    return np.asarray(slopes[0], np.float32)


def _length_norm(view: GraphView, source: str, nodes: Sequence[NodeProto], end: NodeProto) -> list[NodeProto]:
    """Gives the node that divides by the length along one axis, if the cone does."""
    axis = _reduced_axis(view, source, nodes)
    if axis is None:
        return []
    for number, size in enumerate((1.0, 30.0)):
        x = _probe(view, source, number) * size
        result = run_cone(view, source, x, nodes, SMOOTH)
        wanted = x / np.linalg.norm(x, axis=axis, keepdims=True)
        if result is None or result.shape != wanted.shape or not np.allclose(result, wanted, rtol=0, atol=CLOSE):
            return []
    return [_node("LpNormalization", [source], end.output[0], axis=axis, p=2)]


def _layer_norm(view: GraphView, source: str, nodes: Sequence[NodeProto], end: NodeProto) -> list[NodeProto]:
    """Gives the layer norm that the cone computes, along the last axis or an image's channels, with scale and shift."""
    import onnx

    axis, shape = _reduced_axis(view, source, nodes), view.shape(source)
    if axis is None or shape is None or (axis != len(shape) - 1 and (axis, len(shape)) != (1, 4)):
        return []
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
            after = (1,) * (len(shape) - 1 - axis)  # axes behind the one that is normalised
            weights, output = _affine(view, end.output[0], (shape[axis], *after))
            is_last = not after
            result_name, given = (output, source) if is_last else (f"{output}/last", f"{output}/given")
            node = _node("LayerNormalization", [given, *weights], result_name, axis=-1)
            node.attribute.append(onnx.helper.make_attribute("epsilon", float(epsilon)))
            if is_last:
                return [node]
            lying = [shape[0], shape[2], shape[3], shape[1]]
            for name in (given, result_name):
                view.graph.value_info.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, lying))
            there = _node("Transpose", [source], given, perm=[0, 2, 3, 1])
            return [there, node, _node("Transpose", [result_name], output, perm=[0, 3, 1, 2])]
    return []


def _affine(view: GraphView, name: str, size: tuple[int, ...]) -> tuple[list[str], str]:
    """Gives the names of a scale and a shift, one number a channel, that follow `name`, and of the last node's result.

    Args:
        view: The graph.
        name: Of what is scaled.
        size: (C,), with a 1 for each axis behind the channels; the constants may have more in front.
    """
    weights: list[str] = []
    for kind in ("Mul", "Add"):
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


def _node(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> NodeProto:
    import onnx

    return onnx.helper.make_node(kind, inputs, [output], name=output, **attributes)


def replace_nodes(view: GraphView, found: Mapping[str, list[NodeProto]]) -> int:
    """Puts nodes in the place of the one with such a result, drops what is not needed then; gives how many."""
    if not found:
        return 0
    view.set_nodes([step for node in view.graph.node for step in found.get(node.output[0], [node])])
    view.drop_unneeded()
    return len(found)


# ---- what nodes compute: positively homogeneous ones, and those of norms


def _clip(node: NodeProto, x: Numbers, low: Numbers | None = None, high: Numbers | None = None) -> Numbers:
    return np.clip(x, *clip_bounds(node, low, high))


def _of_axes(reduce: Callable[[Numbers, tuple[int, ...] | None, bool], Numbers]) -> Function:
    def apply(node: NodeProto, x: Numbers, axes: Numbers | None = None) -> Numbers:
        given = attribute(node, "axes") if axes is None else axes
        over = None if given is None else tuple(int(axis) for axis in np.reshape(given, -1))
        return reduce(x, over, bool(attribute(node, "keepdims", 1)))

    return apply


def _fold(function: Callable[[Numbers, Numbers], Numbers]) -> Function:
    def apply(node: NodeProto, first: Numbers, *others: Numbers) -> Numbers:
        for other in others:
            first = function(first, other)
        return first

    return apply


HOMOGENEOUS: dict[str, Function] = {
    "Abs": lambda node, x: np.abs(x),
    "Add": _fold(np.add),
    "Clip": _clip,
    "Div": _fold(np.divide),
    "LeakyRelu": lambda node, x: np.where(x < 0, attribute(node, "alpha", 0.01) * x, x),
    "Max": _fold(np.maximum),
    "Min": _fold(np.minimum),
    "Mul": _fold(np.multiply),
    "Neg": lambda node, x: -x,
    "PRelu": lambda node, x, slope: np.where(x < 0, slope * x, x),
    "Relu": lambda node, x: np.maximum(x, 0),
    "Sub": _fold(np.subtract),
    "Sum": _fold(np.add),
}
"""Operators of cones in which f(t x) = t f(x) for t > 0, as far as `_is_homogeneous` says so of a node."""

SMOOTH: dict[str, Function] = {
    "Abs": lambda node, x: np.abs(x),
    "Add": _fold(np.add),
    "Clip": _clip,
    "Div": _fold(np.divide),
    "Expand": lambda node, x, shape: np.broadcast_to(
        x, np.broadcast_shapes(x.shape, tuple(int(side) for side in shape))
    ),
    "Max": _fold(np.maximum),
    "Mul": _fold(np.multiply),
    "Pow": _fold(np.power),
    "Reciprocal": lambda node, x: 1 / x,
    "ReduceL2": _of_axes(lambda x, axes, keep: np.sqrt((x * x).sum(axes, keepdims=keep))),
    "ReduceMean": _of_axes(lambda x, axes, keep: x.mean(axes, keepdims=keep)),
    "ReduceSum": _of_axes(lambda x, axes, keep: x.sum(axes, keepdims=keep)),
    "ReduceSumSquare": _of_axes(lambda x, axes, keep: (x * x).sum(axes, keepdims=keep)),
    "Sqrt": lambda node, x: np.sqrt(x),
    "Sub": _fold(np.subtract),
}

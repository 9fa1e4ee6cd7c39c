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
                found[end.output[0]] = [node_of("PRelu", [source, name], end.output[0])]
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


def node_of(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> NodeProto:
    """Makes a node, named after its one result."""
    import onnx

    return onnx.helper.make_node(kind, inputs, [output], name=output, **attributes)


def replace_nodes(view: GraphView, found: Mapping[str, list[NodeProto]]) -> int:
    """Puts nodes in the place of the one with such a result, drops what is not needed then; gives how many."""
    if not found:
        return 0
    view.set_nodes([step for node in view.graph.node for step in found.get(node.output[0], [node])])
    view.drop_unneeded()
    return len(found)


# ---- what nodes compute: positively homogeneous ones, and smooth ones


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
    "Min": _fold(np.minimum),
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

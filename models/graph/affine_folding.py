"""Affine folding: a scale or shift per channel becomes part of the layer before it, or of the one after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .channel_paths import (
    MOVES,
    NORMS,
    axis_after,
    axis_before,
    by_input,
    channels_of,
    filter_axis,
    is_last_axis_norm,
    layer_takes,
    scale_results,
    scales_itself,
)
from .view import Array, GraphView, attribute, copied, with_shapes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


@dataclass(frozen=True)
class Affine:
    """A product or a sum of what is computed and a constant along one axis, or a single number."""

    node: NodeProto
    place: int  # of the computed operand
    axis: int | None  # of the channels; None: one number for all
    values: Array  # (C,) or (1,), to multiply by or to add
    shifts: bool  # whether it adds; else it multiplies


def fold_channel_affines(model: ModelProto, forward: bool = True) -> tuple[ModelProto, int]:
    """Folds each product, quotient, sum and difference with a constant per channel into a layer.

    Given:   MatMul W -> Reshape -> Mul g -> Transpose -> Add          the layer scale of ConvNeXt, EdgeNeXt, CaiT
    Result:  MatMul W g -> Reshape -> Transpose -> Add

    Given:   Gelu -> Mul a -> Add b -> Conv W, c                       an affine that no layer stands before
    Result:  Gelu -> Conv W a, c + sum of W b                          a shift only where nothing is padded

    What is computed stays the same, up to the rounding of float32; one operator less is rounded to int8.

    Args:
        model: Batch 1; changed in a copy.
        forward: Whether a layer takes in what stands before it too.

    Returns:
        The network, and how many scales and shifts are gone.
    """
    result = with_shapes(copied(model))
    view, count = GraphView(result.graph), 0
    ways = ((_fold_into_earlier, list), (_fold_into_later, reversed))  # from the layer outwards
    for fold, nodes in ways if forward else ways[:1]:
        for node in list(nodes(list(result.graph.node))):
            affine = _affine(view, node)
            if affine and fold(view, affine):
                view.take_out(node, affine.place)
                count += 1
    view.drop_unread()
    return result, count


def _affine(view: GraphView, node: NodeProto) -> Affine | None:
    if node.op_type not in ("Mul", "Add", "Div", "Sub"):
        return None
    places = [place for place, name in enumerate(node.input) if name not in view.constants]
    shape = view.shape(node.output[0])
    if len(places) != 1 or not shape or view.shape(node.input[places[0]]) != shape:
        return None
    values = view.constants[node.input[1 - places[0]]]
    wide = [axis - values.ndim for axis, side in enumerate(values.shape) if side != 1]
    if len(wide) > 1 or values.dtype != np.float32:
        return None
    axis, numbers = len(shape) + wide[0] if wide else None, values.reshape(-1)
    if node.op_type in ("Div", "Sub"):
        if places[0] or (node.op_type == "Div" and not numbers.all()):
            return None
        numbers = 1 / numbers if node.op_type == "Div" else -numbers
    return Affine(node, places[0], axis, numbers, node.op_type in ("Add", "Sub"))


def _fold_into_earlier(view: GraphView, affine: Affine) -> bool:
    """Scales the filters of the layer that the channels come from, if nobody else reads what it gives."""
    name, axis = affine.node.input[affine.place], affine.axis
    while view.sole_consumer(name) is not None and (layer := view.producer(name)) is not None:
        if layer.op_type not in MOVES:
            break
        if axis is not None and (axis := axis_before(view, layer, axis)) is None:
            return False
        name = layer.input[0]
    else:
        return False
    own, sides = _channels_of(view, layer), view.shape(name) or ()
    if own is None or axis not in (None, own) or not view.has_constant_weights(layer) or not sides[own]:
        return False
    values = np.broadcast_to(affine.values, sides[own])
    if affine.shifts:
        return _shift(view, layer, values)
    scale_results(view, layer, values, "scaled")
    return True


def _channels_of(view: GraphView, layer: NodeProto) -> int | None:
    """Gives the axis along which a layer or a norm has one scale or filter each."""
    rank = len(view.shape(layer.output[0]) or ())
    if not rank:
        return None
    if layer.op_type in NORMS:
        return rank - 1 if is_last_axis_norm(view, layer) else None
    if layer.op_type == "BatchNormalization":
        return 1 if len(layer.output) == 1 else None
    return None if scales_itself(layer) else channels_of(view, layer)


def _fold_into_later(view: GraphView, affine: Affine) -> bool:
    """Scales the inputs of the one layer that reads the channels."""
    layers = None if affine.axis is None else _readers(view, affine.node.output[0], affine.axis)
    if not layers or len(layers) > 1:
        return False
    scale, shift = (np.ones_like(affine.values), affine.values) if affine.shifts else (affine.values, None)
    return _fold_into(view, layers, scale, shift)


def _readers(view: GraphView, name: str, axis: int) -> list[NodeProto] | None:
    """Gives the layers that read channels, perhaps moved before; None where anything else reads them."""
    if name in view.outputs or not view.consumers(name):
        return None
    layers: list[NodeProto] = []
    for node in view.consumers(name):
        if node.op_type in MOVES:
            later = axis_after(view, node, axis)
            beyond = None if later is None else _readers(view, node.output[0], later)
            if beyond is None:
                return None
            layers += beyond
        elif node.input[0] == name and layer_takes(view, node, axis):
            layers.append(node)
        else:
            return None
    return layers


def _fold_into(view: GraphView, layers: list[NodeProto], scale: Array, shift: Array | None) -> bool:
    if shift is not None and not all(_can_shift(layer) for layer in layers):
        return False
    for layer in layers:
        weights = view.constants[layer.input[1]]
        if shift is not None:
            added = by_input(layer, weights, shift)
            reduced = added.sum(axis=tuple(axis for axis in range(weights.ndim) if axis != filter_axis(layer, weights)))
            _shift(view, layer, reduced)
        scaled = by_input(layer, weights, scale)
        layer.input[1] = view.set_constant(f"{layer.output[0]}/unscaled", scaled.astype(np.float32))
    return True


def _can_shift(layer: NodeProto) -> bool:
    if layer.op_type == "MatMul":
        return False  # it has no bias
    padded = any(attribute(layer, "pads", ())) or attribute(layer, "auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    return not padded


def _shift(view: GraphView, layer: NodeProto, values: Array) -> bool:
    """Adds to a layer's bias; one that has none gets it."""
    if layer.op_type in ("MatMul", "RMSNormalization"):
        return False
    bias = view.constants[layer.input[2]] if len(layer.input) > 2 else np.zeros(len(values), np.float32)
    name = view.set_constant(f"{layer.output[0]}/shifted", np.asarray(bias + values, np.float32))
    layer.input[:] = [*layer.input[:2], name]
    return True

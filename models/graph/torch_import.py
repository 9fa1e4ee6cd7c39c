"""An ONNX file becomes a network that can be trained and pruned; the file itself is what it is proven against."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ...faces.contract import InputContract
from ...spelling import first_line
from ..rendered_inputs import rendered_inputs
from .adoption import INPUT, OUTPUT, foreign_graph
from .affine_folding import fold_channel_affines
from .conversion_error import ConversionError
from .import_rewrites import gathers_to_reshapes, slices_to_splits, unfold_norms
from .imported_network import ImportedNetwork, NetworkStep
from .imported_node import Compute, ImportedNode, Operation
from .parallel_branches import merge_branches
from .reading import parse_onnx
from .simplification import simplified
from .size_limits import check_sizes, shapes_for_one_face
from .torch_arithmetic import ARITHMETIC
from .torch_layers import LAYERS
from .torch_shapes import SHAPES
from .transposed_convolutions import cut_uneven_pads
from .view import Array, GraphView

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

OPERATORS = LAYERS | ARITHMETIC | SHAPES
"""Every ONNX operator that can be trained, with what makes a layer or a function of it."""

WEIGHTS_OF = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "BatchNormalization": (1, 2, 3, 4),
    "Gemm": (1, 2),
    "MatMul": (0, 1),
    "PRelu": (1,),
    "LayerNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "RMSNormalization": (1,),
}
"""The inputs that are weights even where they are a single number."""

DECIDES_SHAPE = {"Resize": (1, 2, 3), "Upsample": (1,), "Pad": (2,), "Clip": (1, 2)}
"""The inputs that are read once, when the network is built, though they are fractions."""

RESERVED = ("onnx_graph", "training")  # what a network calls parts of its own
MOST_WEIGHTS = 1 << 28  # numbers in all layers together; 1 GiB
LARGEST_DIFFERENCE = 1e-4  # of unit embeddings: float32 sums in another order
PROVEN_ON = 3  # rendered faces


def import_onnx(path: Path, contract: InputContract) -> ImportedNetwork:
    """Reads an ONNX file as a network of `torch.nn` layers, in evaluation mode.

    Batch norms stay where the file has them, and where they were folded there are new ones, see `unfold_norms`; scales
    and shifts that follow a layer become part of it, and parallel branches one convolution, see `merge_branches`. The
    network is proven on rendered faces, alone and together, against the file in onnxruntime.

    Args:
        path: The file; it is not trusted.
        contract: What it must be fed.

    Returns:
        The network; with `checkpoint.save_checkpoint` it is saved without the file.

    Raises:
        ConversionError: The file is damaged or hostile, or no embedder of `contract`, or has what cannot be trained:
            the sentence names the node.
    """
    adopted = foreign_graph(path, contract).model
    cut_uneven_pads(adopted)
    model, count = gathers_to_reshapes(simplified(adopted, path.name, fold_norms=False))
    model, merged = merge_branches(simplified(model, path.name, fold_norms=False) if count else model)
    model, _ = fold_channel_affines(model, forward=False)
    model = slices_to_splits(model, shapes_for_one_face(model, path.name))
    model = unfold_norms(model, shapes_for_one_face(model, path.name), merged)
    graph, weights = without_weights(model)
    known = shapes_for_one_face(graph, path.name)
    try:
        network = _built(graph, weights, known)
    except ConversionError as error:
        raise ConversionError(f"{path.name} {error}") from None
    _prove(network, adopted, contract, path.name)
    return network


def rebuild(graph: bytes, name: str) -> ImportedNetwork:
    """Builds the network of a weight-free graph, as `ImportedNetwork.onnx_graph` holds it; its weights are zeros.

    Args:
        graph: Not trusted: it is checked like any ONNX file.
        name: Of the file, for errors.

    Returns:
        The network, in evaluation mode.

    Raises:
        ConversionError: The graph is damaged or hostile, or has what cannot be trained.
    """
    model = parse_onnx(graph, name)
    check_sizes(model, name)
    known = shapes_for_one_face(model, name)
    try:
        return _built(model, None, known)
    except ConversionError as error:
        raise ConversionError(f"{name} {error}") from None
    except Exception as error:  # of torch: layers that do not fit what the graph says of them
        raise ConversionError(f"{name} is damaged: {first_line(error)}") from error


def without_weights(model: ModelProto) -> tuple[ModelProto, dict[str, Array]]:
    """Gives the graph with its weights as inputs that have a shape but no values, and the weights by name.

    Given   input: input          initializer: conv.weight (64, 3, 3, 3), sides (1, 512)
    Result  input: input, conv.weight (64, 3, 3, 3)        initializer: sides (1, 512)
    """
    import onnx

    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    found = _weights(model)
    kept = [tensor for tensor in graph.graph.initializer if tensor.name not in found]
    for name, values in found.items():
        graph.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, values.shape))
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)
    del graph.graph.value_info[:]
    return graph, found


def _weights(model: ModelProto) -> dict[str, Array]:
    """Gives the constants that are weights: of layers, and all other fractions but single ones and those of a shape."""
    view = GraphView(model.graph)
    found: dict[str, Array] = {}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            values = view.constant(name)
            if values is None or values.dtype != np.float32 or place in DECIDES_SHAPE.get(node.op_type, ()):
                continue
            if values.size > 1 or place in WEIGHTS_OF.get(node.op_type, ()):
                found[name] = values
    return found


def _built(
    graph: ModelProto, weights: Mapping[str, Array] | None, known: dict[str, tuple[int, ...]]
) -> ImportedNetwork:
    """Builds the network; the sentences of its errors go on after the file's name."""
    inputs = {value.name: value for value in graph.graph.input}
    if weights is None:
        shapes = {name: _sides(value) for name, value in inputs.items() if name != INPUT}
        if sum(int(np.prod(shape, dtype=object)) for shape in shapes.values()) > MOST_WEIGHTS:
            raise ConversionError(f"claims more than {MOST_WEIGHTS} weights; an embedder has some million")
        weights = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    opset = next(entry.version for entry in graph.opset_import if entry.domain in ("", "ai.onnx"))
    if not any(OUTPUT in node.output for node in graph.graph.node):
        raise ConversionError("gives the same numbers for every face")
    builder = _Builder(GraphView(graph.graph), weights, known, opset)
    for node in graph.graph.node:
        builder.add(node)
    return builder.network(graph)


def _sides(value: Any) -> tuple[int, ...]:
    return tuple(int(side.dim_value) for side in value.type.tensor_type.shape.dim)


class _Builder:
    """Collects the steps and layers of a network, node by node."""

    def __init__(
        self, view: GraphView, weights: Mapping[str, Array], shapes: dict[str, tuple[int, ...]], opset: int
    ) -> None:
        self.view, self.weights, self.opset = view, weights, opset
        self.shapes = shapes | {name: values.shape for name, values in (view.constants | dict(weights)).items()}
        self.steps: list[NetworkStep] = []
        self.layers: dict[str, nn.Module] = {}
        self.constants: dict[str, tuple[str, Tensor, bool]] = {}
        self.raw = {INPUT}  # what no layer has touched: constants that meet it prepare the pixels, and are not trained
        self.done: set[str] = set()  # results of nodes whose work another node's operation does

    def add(self, node: NodeProto) -> None:
        if node.op_type == "Constant" or node.output[0] in self.done:
            return
        one = ImportedNode(node, self.view, self.shapes, self.weights, self.opset)
        if node.op_type not in OPERATORS:
            raise one.refuse("has no form in PyTorch here")
        operation = OPERATORS[node.op_type](one)
        inputs = tuple(self._input(node.input[place], one) for place in operation.inputs)
        last = operation.follower or node
        self.done.add(last.output[0])
        if self.raw >= {name for name in inputs if isinstance(name, str) and name not in self.constants}:
            self.raw |= set() if self._has_weights(operation) else set(last.output)
        compute: Compute | str = operation.compute
        if isinstance(operation.compute, nn.Module):
            compute = self._free_name(one.label)
            self.layers[compute] = operation.compute
        outputs = tuple(name for name in last.output if name) if len(inputs) else ()
        many = node.op_type == "Split"
        self.steps.append(NetworkStep(compute, inputs, tuple(last.output) if many else outputs[:1], operation.prepare))

    def network(self, graph: ModelProto) -> ImportedNetwork:
        """Gives the network; values are freed behind the last step that reads them."""
        last: dict[str, int] = {}
        for n, step in enumerate(self.steps):
            last |= {name: n for name in (*step.outputs, *step.inputs) if isinstance(name, str)}
        last.pop(OUTPUT, None)
        steps = []
        for n, step in enumerate(self.steps):
            frees = tuple(dict.fromkeys(name for name in (*step.inputs, *step.outputs) if last.get(str(name)) == n))
            steps.append(NetworkStep(step.compute, step.inputs, step.outputs, step.prepare, tuple(map(str, frees))))
        content = graph.SerializeToString(deterministic=True)
        return ImportedNetwork(content, INPUT, OUTPUT, steps, self.layers, self.constants).eval()

    def _input(self, name: str, one: ImportedNode) -> str | float:
        values = self.weights.get(name, self.view.constant(name))
        if values is None or name in self.constants:
            return name
        if values.size == 1 and name not in self.weights and values.ndim <= len(one.result_shape()):
            return values.reshape(-1)[0].item()  # type: ignore[no-any-return]
        computed = {other for other in one.node.input if other} - set(self.weights) - set(self.view.constants)
        trained = name in self.weights and not computed <= self.raw
        self.constants[name] = (self._free_name(name), torch.from_numpy(np.array(values)), trained)
        return name

    def _has_weights(self, operation: Operation) -> bool:
        layer = operation.compute
        return isinstance(layer, nn.Module) and any(True for _ in layer.parameters())

    def _free_name(self, label: str) -> str:
        """Gives a name that a module of the network may have, like `label`."""
        name = re.sub(r"\W+", "_", label, flags=re.ASCII)[-100:].strip("_")
        name = name if name and not name[0].isdigit() else f"layer_{name}"
        taken = {*self.layers, *(own for own, _, _ in self.constants.values()), *dir(ImportedNetwork), *RESERVED}
        number, free = 1, name
        while free in taken:
            number += 1
            free = f"{name}_{number}"
        return free


def _prove(network: ImportedNetwork, model: ModelProto, contract: InputContract, name: str) -> None:
    """Compares the network with the file on rendered faces, one by one and together.

    Raises:
        ConversionError: They differ, or the network computes with the batch of 1 that it was exported with.
    """
    import onnxruntime as ort

    faces = rendered_inputs(contract, PROVEN_ON)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        rows = [session.run([OUTPUT], {INPUT: face[None].numpy()})[0].reshape(1, -1) for face in faces]
    except Exception as error:  # onnxruntime has a class for each of its failures
        raise ConversionError(f"{name} cannot be run by onnxruntime: {first_line(error)}") from error
    expected = np.concatenate(rows)
    try:
        with torch.inference_mode():
            alone = network(faces[:1]).numpy()
    except Exception as error:
        raise ConversionError(f"{name} cannot be run in PyTorch: {first_line(error)}") from error
    lengths = np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-12)
    if alone.shape != expected[:1].shape or not _near(alone, expected[:1], lengths[:1]):
        raise ConversionError(f"{name} embeds differently in PyTorch; it can be exported and measured as it is")
    hint = "export it with a dynamic batch to train it; it can be exported and measured as it is"
    try:
        with torch.inference_mode():
            together = network(faces).numpy()
    except Exception as error:
        raise ConversionError(f"{name} computes with the batch of 1 it was exported with; {hint}") from error
    if together.shape != expected.shape or not _near(together, expected, lengths):
        raise ConversionError(f"{name} mixes the faces of a batch; {hint}")


def _near(ours: Array, theirs: Array, lengths: Array) -> bool:
    return bool((np.abs(ours - theirs) <= LARGEST_DIFFERENCE * lengths).all())

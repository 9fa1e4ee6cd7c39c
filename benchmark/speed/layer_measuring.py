"""The cost of each layer of a network at all widths it may be cut to: measured once, and cached."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ...export.artifact import Card
from ...export.graph.to_onnx import to_onnx
from ...export.tflite.context import Context, Value
from ...export.tflite.flatbuffer import pack
from ...export.tflite.operators import OPERATORS
from ...export.tflite.to_tflite import to_tflite
from ...files import Memo
from ...models.embedder import Embedder
from ...models.layer_costs import GRIDS, CostTable, Grid
from ...models.layer_runs import LayerShape, layer_runs
from .meters import Meter

LARGE, WIDTHS_OF_LARGE = 4_000_000, 4  # layers with more weights are measured at fewer widths: their files are large


def layer_costs(embedder: Embedder, meter: Meter, progress: Callable[[str], None] = print) -> CostTable:
    """Gives what every layer of `embedder` costs, at its own width and below.

    Each layer shape is exported alone at some widths, as the exporter writes it, and measured. So is the whole network:
    the cost beyond its layers is assumed to shrink as they do. Earlier measurements with the same meter are read from
    $XDG_CACHE_HOME/pocketface/layer-costs (~/.cache without that variable). A MobileFaceNet takes about half a minute.
    `cost_meters.meter_of` gives a meter; `progress` gets a line for each shape.

    Raises:
        ValueError: The network cannot be exported, or there is no emulator.
    """
    cache = CostCache.of(meter)
    runs = [(run.shape, run.inputs, run.outputs) for run in layer_runs(embedder) if run.shape is not None]
    widest = widest_of(runs)
    missing = [shape for shape, widths in widest.items() if cache.grid(shape, *widths) is None]
    for number, shape in enumerate(missing, 1):
        progress(f"measuring {meter.unit} of layers, {number} of {len(missing)}: {shape}")
        cache.grids.append((shape, measure_shape(shape, *widest[shape], meter)))
        cache.write()
    table = CostTable(
        meter.unit,
        meter.device,
        meter.runtime,
        meter.threads,
        {shape: grid for shape, widths in widest.items() if (grid := cache.grid(shape, *widths)) is not None},
    )
    name = embedder.sha256
    if name not in cache.wholes:
        progress(f"measuring {meter.unit} of the whole network")
        cache.wholes[name] = measure_network(embedder, meter)
        cache.write()
    layers = sum(table.cost(*run) for run in runs)
    progress(f"the network takes {cache.wholes[name]:,.6g} {meter.unit}, its layers measured alone {layers:,.6g}")
    return dataclasses.replace(table, scale=cache.wholes[name] / layers)


def widest_of(runs: Iterable[tuple[LayerShape, int, int]]) -> dict[LayerShape, tuple[int, int]]:
    """Gives, by shape, the most inputs (1 for layers that treat each channel alone) and the most outputs."""
    widest: dict[LayerShape, tuple[int, int]] = {}
    for shape, inputs, outputs in runs:
        most_inputs, most_outputs = widest.get(shape, (0, 0))
        widest[shape] = max(most_inputs, inputs if shape.kind == "dense" else 1), max(most_outputs, outputs)
    return widest


def measure_shape(shape: LayerShape, inputs: int, outputs: int, meter: Meter) -> Grid:
    """Measures a layer shape at widths up to `inputs` and `outputs`."""
    large = shape.kind == "dense" and inputs * outputs * shape.kernel[0] * shape.kernel[1] > LARGE
    of_outputs = widths_up_to(outputs, WIDTHS_OF_LARGE if large else meter.widths)
    quarters = widths_up_to(inputs, 4)
    of_inputs = tuple(dict.fromkeys((quarters[0], quarters[-1])))  # between the two every cost is a line
    with TemporaryDirectory() as folder:
        paths = []
        for number, widths in enumerate(product(of_inputs, of_outputs)):
            paths.append(Path(folder, f"{number}.tflite"))
            paths[-1].write_bytes(layer_file(shape, *widths))
        costs = np.reshape(meter.measure(paths), (len(of_inputs), len(of_outputs)))
    return Grid(of_inputs, of_outputs, tuple(tuple(map(float, row)) for row in costs)).monotone()


def widths_up_to(width: int, count: int) -> tuple[int, ...]:
    """Gives multiples of 8 up to `width`, about `count` of them in even steps, and `width` itself.

    >>> widths_up_to(44, 32), widths_up_to(512, 4), widths_up_to(3, 32)
    ((8, 16, 24, 32, 40, 44), (128, 256, 384, 512), (3,))
    """
    step = 8 * -(-width // (8 * count))
    return (*range(step, width, step), width)


def layer_file(shape: LayerShape, inputs: int, outputs: int) -> bytes:
    """Gives a .tflite file of one layer as the exporter writes it; its numbers do not matter."""
    from onnx import TensorProto, helper, numpy_helper

    height, width = shape.size
    if shape.kind != "dense":
        inputs = outputs
    top, left, bottom, right = shape.padding
    attributes: dict[str, Any] = {}
    if shape.kind == "slopes":
        constants: dict[str, Any] = {"slopes": np.full((outputs, 1, 1), 0.25, np.float32)}
    else:
        groups = 1 if shape.kind == "dense" else outputs
        kernel = np.full((outputs, inputs // groups, *shape.kernel), 0.01, np.float32)
        constants = {"kernel": kernel, "bias": np.zeros(outputs, np.float32)}
        attributes = {"strides": shape.stride, "dilations": shape.dilation, "group": groups}
        attributes |= {"pads": (top, left, bottom, right)}
    node = helper.make_node("PRelu" if shape.kind == "slopes" else "Conv", ["x", *constants], ["y"], **attributes)
    sides = [
        (size + padding - dilation * (taps - 1) - 1) // stride + 1
        for size, padding, dilation, taps, stride in zip(
            shape.size, (top + bottom, left + right), shape.dilation, shape.kernel, shape.stride, strict=True
        )
    ]
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, inputs, height, width))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, outputs, *sides))],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    context = Context(graph, str(shape))
    image = context.writer.tensor("input", (1, height, width, inputs))
    context.values["x"] = Value(image, (1, height, width, inputs))
    OPERATORS[node.op_type](context, node)
    return pack(context.writer.finish({"input": image}, {"output": context.values["y"].tensor}))


def measure_network(embedder: Embedder, meter: Meter) -> float:
    """Exports `embedder` to fp32 TFLite and measures it."""
    with TemporaryDirectory() as folder:
        return float(meter.measure([tflite_of(embedder, Path(folder))])[0])


def tflite_of(embedder: Embedder, folder: Path) -> Path:
    """Exports `embedder` to fp32 TFLite, beside the ONNX file that it is made from."""
    card = Card(embedder.name, embedder.contract, embedder.embedding_size)
    onnx = to_onnx(embedder, card, folder / f"{embedder.name}.onnx")
    return to_tflite(onnx.path, card, folder / f"{embedder.name}.tflite").path


@dataclass
class CostCache:
    """What one meter measured before.

    Entries never change: the same table is given again, so that a killed prune can be resumed.
    """

    memo: Memo
    grids: list[tuple[LayerShape, Grid]]
    wholes: dict[str, float]  # cost of a whole network, by the hash of its embedder

    @classmethod
    def of(cls, meter: Meter) -> CostCache:
        """Reads the file of that meter; a missing or damaged one counts as empty."""
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        memo = Memo(Path(root) / "pocketface" / "layer-costs" / f"{meter.key}.json", meter.key)
        read = memo.read(lambda costs: cls(memo, GRIDS.validate_python(costs["grids"]), dict(costs["wholes"])))
        return read or cls(memo, [], {})

    def grid(self, shape: LayerShape, inputs: int, outputs: int) -> Grid | None:
        """Gives the first grid of the shape that covers these widths, if there is one."""
        return next((grid for known, grid in self.grids if known == shape and grid.covers(inputs, outputs)), None)

    def write(self) -> None:
        """Writes the file, whole or not at all."""
        self.memo.write(grids=GRIDS.dump_python(self.grids, mode="json"), wholes=self.wholes)

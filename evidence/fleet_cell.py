"""One cell of fleet.py, in a process of its own: one network, as PyTorch or as the ONNX file of one exporter.

    python evidence/fleet_cell.py NETWORK ORIGIN --out FILE [--weights FOLDER]

Writes the rows of the cell; fleet.py says what they hold.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fleet_networks import launch
from rows import write_rows
from torch import Tensor, nn

from pocketface.benchmark.machine import device_name
from pocketface.benchmark.measurement import Measurement
from pocketface.export.exporter import export
from pocketface.export.recipe import ExportRecipe
from pocketface.export.reference import embed_source
from pocketface.export.targets import ForeignOnnx, Source
from pocketface.export.tflite.delegation import delegation
from pocketface.faces.folders import LabelledFaces
from pocketface.models.checkpoint import load_checkpoint, open_embedder, save_checkpoint
from pocketface.models.embedder import Embedder
from pocketface.prune.pruner import prune
from pocketface.prune.recipe import PruneRecipe

PRUNED = PruneRecipe(remove=0.25, steps=1, epochs=0, variants=1, images=16, criterion="l2")
RUNTIMES = {"onnx": "onnxruntime", "tflite": "litert", "coreml": "coreml-evaluator", "pytorch": "torch"}
DEEP = {  # what else is done to the network, where it comes from so; else it is only written as TFLite in fp32
    "pytorch": ("onnx", "tflite-fp32", "coreml-fp32", "tflite-w8a8", "pruned"),
    "legacy-17": ("tflite-fp32", "coreml-fp32", "imported"),
    "dynamo-18": ("tflite-fp32", "coreml-fp32", "imported"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("origin")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        cell = Cell(options.network, options.origin, Path(folder))
        write_rows(cell.rows(options.weights), options.out)


@dataclass(frozen=True)
class Cell:
    """A network and where it comes from: "pytorch", or an exporter of torch and the opset that it is asked for."""

    network: str
    origin: str
    folder: Path

    def rows(self, weights: Path | None) -> Iterator[Measurement]:
        """Does what the origin asks for, and yields a row for each result."""
        started = time.perf_counter()
        embedder, network, faces = launch(self.network, weights)
        source: Source = embedder
        if self.origin != "pytorch":
            source = ForeignOnnx(self.folder / "foreign.onnx", self.network, embedder.contract)
            if reason := export_by_torch(network, embedder.example(), self.origin, source.path):
                yield self.row("onnx", "exportable", None, reason)
                return
        steps = DEEP.get(self.origin, ("tflite-fp32",))
        yield from self.files(source, faces, [step for step in steps if "-" in step or step == "onnx"])
        trained: Embedder | None = embedder
        if isinstance(source, ForeignOnnx) and "imported" in steps:
            trained = None
            try:
                trained = open_embedder(source.path, contract=source.contract, name=self.network)
                expected = embed_source(source, faces.faces).embeddings
                difference = float(np.abs(trained.embed(faces.faces) - expected).max())
                yield self.row("pytorch", "import_difference", difference)
            except ValueError as error:
                yield self.row("pytorch", "import_difference", None, str(error))
        if trained is not None and "pruned" in steps:
            yield from self.pruned(trained, faces)
        yield self.row("pytorch", "cell_s", round(time.perf_counter() - started, 1), unit="s")

    def files(
        self, source: Source, faces: LabelledFaces, targets: list[str], metric: str = ""
    ) -> Iterator[Measurement]:
        """Exports, and compares each file with its source."""
        recipe = ExportRecipe(
            targets=tuple(targets), largest_difference=1e-5, calibration_faces=len(faces.faces), parity_faces=4
        )
        try:
            files = export(source, faces.faces, recipe, self.folder / (metric or "whole"))
        except ValueError as error:  # the source is refused as a whole
            yield self.row("tflite", metric or "largest_difference", None, str(error))
            return
        for made in files:
            if made.target not in targets:
                continue
            kind, _, precision = made.target.partition("-")
            name = metric or ("largest_difference" if precision in ("", "fp32") else "parity_cosine_mean")
            if made.parity is None or made.artifact is None:
                yield self.row(kind, name, None, made.reason, precision)
                continue
            figure = made.parity.cosine_mean if name == "parity_cosine_mean" else made.parity.largest_difference
            yield self.row(kind, name, figure, precision=precision)
            if kind == "tflite":
                yield self.row(kind, "xnnpack_partitions", delegation(made.artifact.path).partitions, "", precision)

    def pruned(self, embedder: Embedder, faces: LabelledFaces) -> Iterator[Measurement]:
        """Prunes a quarter, saves, reads it back, and exports again."""
        try:
            smaller = prune(embedder, faces, PRUNED, lambda line: None)
            factory = embedder.architecture if ":" in embedder.architecture else None
            reloaded = load_checkpoint(save_checkpoint(smaller, self.folder / "checkpoint"), factory)
            difference = float(np.abs(reloaded.embed(faces.faces) - smaller.embed(faces.faces)).max())
            before, after = smaller.ancestry[-1]["parameters"]
        except ValueError as error:
            yield self.row("pytorch", "pruned_share", None, str(error))
            return
        yield self.row("pytorch", "pruned_share", 1 - after / before)
        yield self.row("pytorch", "reload_difference", difference)
        yield from self.files(reloaded, faces, ["tflite-fp32"], "pruned_largest_difference")

    def row(
        self,
        format: str,
        metric: str,
        value: float | None,
        reason: str = "",
        precision: str = "fp32",
        unit: str = "1",
    ) -> Measurement:
        """Gives the row of one result; where there is a reason there is no result."""
        where = {"origin": self.origin}
        known = (self.network, "", format, precision or "fp32", RUNTIMES[format], device_name())
        return Measurement(*known, metric, value, unit, valid=not reason, reason=reason, conditions=where)


def export_by_torch(network: nn.Module, face: Tensor, origin: str, path: Path) -> str:
    """Writes a network by one of torch's exporters; says why where torch itself cannot."""
    exporter, _, opset = origin.partition("-")
    import onnx

    try:
        torch.onnx.export(
            network.eval(),
            (face,),
            str(path),
            dynamo=exporter == "dynamo",
            opset_version=int(opset),
            **({"external_data": False} if exporter == "dynamo" else {}),
        )
    except Exception as error:  # of torch, onnxscript or the network
        return f"torch cannot export it: {next(iter(str(error).splitlines()), type(error).__name__)}"
    written = next(one.version for one in onnx.load(path).opset_import if one.domain in ("", "ai.onnx"))
    return "" if written == int(opset) else f"torch writes opset {written} where {opset} is asked for"


if __name__ == "__main__":
    main()

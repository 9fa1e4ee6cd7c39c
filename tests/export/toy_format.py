"""A format of one record and one writer: a .toy file is a zip of the ONNX graph and the card."""

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocketface.export.artifact import Artifact, Card, ConversionError
from pocketface.export.formats import Format
from pocketface.export.targets import ExportJob, FromFile, Target
from pocketface.files import written_whole


class ToySession:
    """A .toy file in onnxruntime; a child process finds it by the name that the record gives."""

    runtime = "toy-runtime"

    def __init__(self, path: Path, threads: int = 1) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = ort.InferenceSession(_read(path)["graph.onnx"], options, providers=["CPUExecutionProvider"])

    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps (N, 3, H, W) preprocessed faces to (N, D), of whatever length the file gives."""
        return np.concatenate([self._session.run(None, {"input": face[None]})[0] for face in inputs])


def read_toy_card(path: Path) -> Card | None:
    """Gives the card in a .toy file."""
    return Card.from_json(_read(path)["card.json"])


def write_toy_card(path: Path, card: Card, to: Path) -> None:
    """Writes the .toy file at `path` with another card."""
    _write(_read(path)["graph.onnx"], card, to)


def toy_weights(path: Path) -> int:
    """Gives the bytes of the weights; for this toy those of the graph."""
    return len(_read(path)["graph.onnx"])


def to_toy(job: ExportJob, base: Artifact, path: Path) -> Artifact:
    """Writes the .onnx file `base` as a .toy file."""
    _write(base.path.read_bytes(), base.card, path)
    return Artifact(path, "toy", base.card)


def _read(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in ("graph.onnx", "card.json")}
    except (zipfile.BadZipFile, KeyError) as error:
        raise ConversionError(f"{path.name} is damaged or no .toy file") from error


def _write(graph: bytes, card: Card, path: Path) -> None:
    with written_whole(path) as beside, zipfile.ZipFile(beside, "w") as archive:
        archive.writestr(zipfile.ZipInfo("graph.onnx"), graph)  # without a date: the same card gives the same bytes
        archive.writestr(zipfile.ZipInfo("card.json"), card.to_json())


RECORD = Format(
    name="toy",
    title="Toy",
    suffix=".toy",
    runtime="toy-runtime",
    package="onnxruntime",
    opener="toy_format:ToySession",
    read_card=read_toy_card,
    write_card=write_toy_card,
    weigh=toy_weights,
    least_cosines={"fp32": 0.99999},
)
WRITER = Target("toy", ".toy", FromFile("onnx", to_toy))

"""How large a file is: on the disk, as a store ships it, and what of it are weights."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from ..export.artifact import Format
from ..export.session import format_of
from .measurement import Measurement, RowMaker

BLOCK = 1 << 20  # bytes read at a time


def size_bytes(path: Path) -> int:
    """Sums the bytes of a file, or of all files in a folder (Core ML, checkpoints).

    Raises:
        ValueError: There is nothing at `path`.
    """
    return sum(file.stat().st_size for file in _files(path))


def compressed_bytes(path: Path) -> int:
    """Gives what the same files take in a zip: each deflated by itself, as an app store ships an app.

    The names and tables of the zip, some 100 bytes a file, are left out.

    Raises:
        ValueError: There is nothing at `path`.
    """
    return sum(_deflated(file) for file in _files(path))


def weights_bytes(path: Path) -> int | None:
    """Gives the bytes of all constants in a file, as they are stored: the weights, and what else the graph needs.

    Returns:
        None where the format does not say (ExecuTorch), the file holds none, or it is damaged.
    """
    try:
        weigh = WEIGHTS.get(format_of(path))
        found = 0 if weigh is None else weigh(path)
        return found if 0 < found <= size_bytes(path) else None  # or it claims more than there is
    except (ValueError, TypeError, AttributeError, OSError, struct.error):
        return None


def size_rows(path: Path, row: RowMaker) -> list[Measurement]:
    """Gives the rows of a file's size, its compressed size and, where the format tells it, that of its weights."""
    weights = weights_bytes(path)
    rows = [
        row.value("size_bytes", size_bytes(path)),
        row.value("compressed_bytes", compressed_bytes(path), method="deflate 6"),
    ]
    return rows if weights is None else [*rows, row.value("weights_bytes", weights)]


def _in_tflite(path: Path) -> int:
    """Sums the buffers but for those of the metadata."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes())
    about = {model.Metadata(i).Buffer() for i in range(model.MetadataLength())}
    buffers = (model.Buffers(i) for i in range(model.BuffersLength()) if i not in about)
    return sum(buffer.Size() if buffer.Offset() > 1 else buffer.DataLength() for buffer in buffers)


def _in_onnx(path: Path) -> int:
    """Sums the initializers and the values of Constant nodes."""
    from onnx.helper import tensor_dtype_to_np_dtype

    from ..export.graph.reading import read_onnx, tensors

    return sum(
        len(tensor.raw_data) or math.prod(tensor.dims) * tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in tensors(read_onnx(path))
    )


def _in_ort(path: Path) -> int:
    """Sums the initializers of the graph that onnxruntime has optimised."""
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import InferenceSession

    graph = InferenceSession.GetRootAs(path.read_bytes()).Model().Graph()
    return sum(graph.Initializers(i).RawDataLength() for i in range(graph.InitializersLength()))


def _in_coreml(path: Path) -> int:
    """Gives the size of the file in which a package keeps its weights; small constants lie in the program."""
    return sum(file.stat().st_size for file in path.glob("Data/*/weights/*.bin"))


def _in_checkpoint(path: Path) -> int:
    """Gives what safetensors hold behind their header, whose length is in the first eight bytes."""
    file = path / "weights.safetensors"
    with file.open("rb") as stream:
        (header,) = struct.unpack("<Q", stream.read(8))
    return file.stat().st_size - 8 - int(header)


WEIGHTS: dict[Format, Callable[[Path], int]] = {
    "pytorch": _in_checkpoint,
    "onnx": _in_onnx,
    "ort": _in_ort,
    "tflite": _in_tflite,
    "coreml": _in_coreml,
}


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    if not path.is_file():
        raise ValueError(f"no file or folder at {path}; nothing to weigh")
    weights = path.with_name(path.name + ".data")  # where PyTorch puts the weights of a large ONNX graph
    return [path, weights] if path.suffix == ".onnx" and weights.is_file() else [path]


def _deflated(file: Path) -> int:
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return sum(len(deflate.compress(block)) for block in _blocks(file)) + len(deflate.flush())


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            yield block

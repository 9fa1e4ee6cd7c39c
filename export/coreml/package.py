"""The contents of an .mlpackage: a manifest, a protobuf that holds the program (MIL), and a file of weights."""

from __future__ import annotations

import importlib.util
import json
import struct
import sys
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...files import is_within, sha256_of, written_whole
from ...models.quiet import quiet
from ..artifact import METADATA_KEY, Card

LARGEST_PACKAGE = 1 << 31  # bytes; protobuf reads no more
MANIFEST = "Manifest.json"  # what every package holds
DATA, AUTHOR = "Data", "com.apple.CoreML"
WEIGHTS = "weights/weight.bin"  # beside the model, as the program's "@model_path" says

# MIL's data types: NumPy's name, bits. Sub-byte numbers are packed, lowest bit first. Source: MIL.proto.
DATA_TYPES: dict[str, tuple[str, int]] = {
    "BOOL": ("bool", 8),
    "FLOAT16": ("float16", 16),
    "FLOAT32": ("float32", 32),
    "FLOAT64": ("float64", 64),
    "INT8": ("int8", 8),
    "INT16": ("int16", 16),
    "INT32": ("int32", 32),
    "INT64": ("int64", 64),
    "INT4": ("int8", 4),
    "UINT8": ("uint8", 8),
    "UINT16": ("uint16", 16),
    "UINT32": ("uint32", 32),
    "UINT64": ("uint64", 64),
    "UINT6": ("uint8", 6),
    "UINT4": ("uint8", 4),
    "UINT3": ("uint8", 3),
    "UINT2": ("uint8", 2),
    "UINT1": ("uint8", 1),
}


# What coremltools would load where it is installed, for front ends and trainers that are not used here: it takes 2.4
# seconds of a processor without them, 12 with them, and 500 MB less memory.
UNUSED = ("tensorflow", "executorch", "torchao", "sklearn", "transformers")
ABSENT = "Core ML needs coremltools, which is not installed (there is none for Windows): pip install coremltools"


def import_coremltools() -> Any:
    """Gives the module `coremltools`, without what it prints about the versions of other libraries.

    Raises:
        ValueError: It is not installed; there is none for Windows.
    """
    without = [name for name in UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(without))  # type: ignore[arg-type]  # None: as if not installed
    try:
        with quiet():
            import coremltools
    except ModuleNotFoundError as error:
        if error.name != "coremltools":
            raise
        raise ValueError(ABSENT) from None
    finally:
        for name in without:
            del sys.modules[name]
    return coremltools


@cache
def import_protobuf() -> Any:
    """Gives coremltools' package `proto`, the messages of a package's file, without the rest of coremltools.

    It is read under a name of ours, for that of coremltools would load all of it; the classes are the same.

    Raises:
        ValueError: coremltools is not installed.
    """
    coremltools = importlib.util.find_spec("coremltools")
    if coremltools is None or coremltools.origin is None:
        raise ValueError(ABSENT)
    folder = Path(coremltools.origin).parent / "proto"
    spec = importlib.util.spec_from_file_location(
        f"{__package__}.proto", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None  # that of a file of Python
    proto = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    with quiet():
        spec.loader.exec_module(proto)
    return proto


@dataclass(frozen=True)
class Package:
    """An opened .mlpackage."""

    name: str
    model: Any  # the protobuf message Model
    weights: bytes

    @property
    def program(self) -> Any:
        """The block of the main function: its operations in order, and the names of its outputs.

        Raises:
            ValueError: The package holds no ML program, but one of Core ML's older kinds.
        """
        if self.model.WhichOneof("Type") != "mlProgram" or "main" not in self.model.mlProgram.functions:
            raise ValueError(
                f"{self.name} holds no ML program with a function main; convert it anew for iOS 15 or later"
            )
        function = self.model.mlProgram.functions["main"]
        if function.opset not in function.block_specializations:
            raise ValueError(f"{self.name} is damaged: it has no program for its own opset {function.opset!r}")
        return function.block_specializations[function.opset]


def read_package(path: Path) -> Package:
    """Opens a saved package.

    Raises:
        ValueError: It is missing, incomplete, damaged or too large.
    """
    proto = import_protobuf()
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if not path.is_dir():
        raise ValueError(f"no Core ML package at {path}: an .mlpackage is a folder")
    model_path = path / DATA / _root(path)
    files = (model_path, model_path.parent / WEIGHTS)
    size = sum(file.stat().st_size for file in files if file.is_file())
    if size > LARGEST_PACKAGE:
        raise ValueError(f"{path.name} has {size} bytes; at most {LARGEST_PACKAGE} are read")
    model = proto.Model_pb2.Model()
    try:
        model.ParseFromString(model_path.read_bytes())
    except (DecodeError, OSError) as error:
        raise ValueError(f"{path.name} is damaged: {model_path.name} cannot be read ({error})") from None
    return Package(path.name, model, files[1].read_bytes() if files[1].is_file() else b"")


def read_coreml_card(path: Path) -> Card | None:
    """Gives the card in a package's metadata, or None.

    Raises:
        ValueError: The package is damaged, or its card cannot be read.
    """
    return card_of(read_package(path))


def card_of(package: Package) -> Card | None:
    """Gives the card of a package that was read already."""
    metadata = package.model.description.metadata.userDefined
    return Card.from_json(metadata[METADATA_KEY]) if METADATA_KEY in metadata else None


def _root(path: Path) -> str:
    """Gives the model's path inside Data, from the manifest."""
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        root = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
        is_inside = is_within(root)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path.name} is damaged: {MANIFEST} names no model ({type(error).__name__})") from None
    if not is_inside:
        raise ValueError(f"{path.name} is damaged: its manifest points outside the package, to {root!r}")
    return str(root)


def write_package(path: Path, model: Any, weights: bytes) -> None:
    """Writes a package that is a function of its content: the same model and weights give the same bytes.

    (coremltools names the manifest's entries at random, and makes the model readable to its owner only.)
    """
    with written_whole(path, MANIFEST) as beside:
        folder = beside / DATA / AUTHOR
        (folder / WEIGHTS).parent.mkdir(parents=True)
        (folder / "model.mlmodel").write_bytes(model.SerializeToString(deterministic=True))
        (folder / WEIGHTS).write_bytes(weights)
        content = uuid.uuid5(uuid.NAMESPACE_OID, sha256_of(folder))
        root, beside_root = (str(uuid.uuid5(content, part)) for part in ("model", "weights"))
        manifest = {
            "fileFormatVersion": "1.0.0",
            "itemInfoEntries": {
                root: {
                    "author": AUTHOR,
                    "description": "CoreML Model Specification",
                    "name": "model.mlmodel",
                    "path": f"{AUTHOR}/model.mlmodel",
                },
                beside_root: {
                    "author": AUTHOR,
                    "description": "CoreML Model Weights",
                    "name": "weights",
                    "path": f"{AUTHOR}/weights",
                },
            },
            "rootModelIdentifier": root,
        }
        (beside / MANIFEST).write_text(json.dumps(manifest, indent=4) + "\n", encoding="utf-8")


def read_value(package: Package, value: Any) -> NDArray[Any] | str:
    """Gives a constant of the program: a string, or an array of its shape (packed numbers unpacked).

    Raises:
        ValueError: The weights are cut off, or the type is none that is known.
    """
    proto = import_protobuf()
    tensor = value.type.tensorType
    kind = proto.MIL_pb2.DataType.Name(tensor.dataType)
    shape = tuple(int(dimension.constant.size) for dimension in tensor.dimensions)
    if kind != "STRING" and kind not in DATA_TYPES:
        raise ValueError(f"{package.name} has constants of type {kind}, which the evaluator does not know")
    if value.WhichOneof("value") == "blobFileValue":
        return _unpacked(package.name, _blob(package, value.blobFileValue), kind, shape)
    immediate = value.immediateValue.tensor
    field = immediate.WhichOneof("value")
    content = getattr(immediate, field).values if field else b""  # an empty list has no field
    if kind == "STRING":
        return str(content[0]) if content else ""
    if field in ("bytes", None):
        return _unpacked(package.name, content, kind, shape)
    if len(content) != int(np.prod(shape)):
        raise ValueError(f"{package.name} is damaged: a constant of shape {shape} has {len(content)} numbers")
    return np.array(content, DATA_TYPES[kind][0]).reshape(shape)


def _blob(package: Package, place: Any) -> bytes:
    """Gives the bytes that a header at `place` announces. Source: coremltools' MILBlob, storage format 2."""
    sentinel, header = 0xDEADBEEF, struct.Struct("<IIQQ")  # sentinel, kind, size, where the data starts
    if place.fileName.rsplit("/", 1)[-1] != Path(WEIGHTS).name:
        raise ValueError(f"{package.name} keeps weights in {place.fileName!r}; a package keeps them in {WEIGHTS}")
    if place.offset + header.size > len(package.weights):
        raise ValueError(f"{package.name} is damaged: {WEIGHTS} is missing or cut off at {len(package.weights)} bytes")
    found, _, size, start = header.unpack_from(package.weights, place.offset)
    if found != sentinel:
        raise ValueError(f"{package.name} is damaged: {WEIGHTS} has no weights at byte {place.offset}")
    if start + size > len(package.weights):
        raise ValueError(f"{package.name} is damaged: {WEIGHTS} is cut off at {len(package.weights)} bytes")
    return package.weights[start : start + size]


def _unpacked(name: str, data: bytes, kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
    dtype, bits = DATA_TYPES[kind]
    count = int(np.prod(shape))
    if len(data) < -(-count * bits // 8):
        raise ValueError(f"{name} is damaged: a constant of {count} {kind} has {len(data)} bytes")
    if bits >= 8:
        return np.frombuffer(data, np.dtype(dtype).newbyteorder("<"), count).reshape(shape)
    numbers = unpacked_bits(np.frombuffer(data, np.uint8), bits, count)
    if dtype == "int8":  # two's complement in `bits` bits
        numbers = np.where(numbers >= 1 << (bits - 1), numbers - (1 << bits), numbers)
    return numbers.astype(dtype).reshape(shape)


def unpacked_bits(data: NDArray[np.uint8], bits: int, count: int) -> NDArray[Any]:
    """Gives `count` numbers of `bits` bits each, which are packed lowest bit first.

    >>> unpacked_bits(np.uint8([0b11100100]), 2, 4).tolist()
    [0, 1, 2, 3]
    """
    ones = np.unpackbits(data, bitorder="little")[: count * bits].reshape(count, bits)
    return np.asarray(ones @ (1 << np.arange(bits)))


def is_half(value: Any) -> bool:
    """Says whether a value of the program has half precision."""
    return bool(value.type.tensorType.dataType == import_protobuf().MIL_pb2.FLOAT16)

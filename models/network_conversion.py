"""Networks in files of other tools become ONNX files: once, in a process of its own with limits, and proven there.

The process reads the file, computes some faces with the tool that the file is of and with the ONNX file, and writes it
only where both give the same. What it wrote is kept by the hash of the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..bounds import limit_memory
from ..children import last_line, run_child, signal_name
from ..files import DAMAGE, sha256_of, written_whole
from ..lazy import opener_of
from .file_kinds import FileKind, kind_of, way_in
from .graph.conversion_error import ConversionError
from .graph.reading import LARGEST_FILE, parse_onnx

if TYPE_CHECKING:
    import onnx

SECONDS = 600  # that a conversion may take; TensorFlow needs some ten
LARGEST_DIFFERENCE = 1e-5  # of embeddings of unit length: float32 sums in another order
MOST_BYTES = 1 << 31  # of a file or folder
PROVEN_ON = 3
FACTS = "facts.json"
LONGEST_STEM = 100  # of the name of the ONNX file
WEIGHTS_BESIDE = (".data", "_data")  # what is added to the name of an ONNX file
SUFFIXES = (".tflite", ".keras", ".h5", ".hdf5")

Sides = tuple[int, int]
Batch = NDArray[np.float32]


@dataclass(frozen=True)
class OtherNetwork:
    """A network as the process of the conversion has it: an ONNX graph, and the tool that the file is of."""

    graph: onnx.ModelProto  # its image as input (B, C, H, W)
    run: Callable[[Batch], Mapping[str, Batch]]  # (B, H, W, C) -> what the tool itself gives, by the graph's names


@dataclass(frozen=True)
class ConvertedNetwork:
    """The network of a file as an ONNX file."""

    file: Path  # what was given
    kind: str  # "a TFLite file"
    sha256: str  # of the file
    onnx: Path
    difference: float  # the largest between both, of embeddings of unit length

    @property
    def origin(self) -> dict[str, Any]:
        """Gives what the history of the embedder says of the file."""
        converted = {"architecture": self.kind, "weights": self.file.name, "sha256": self.sha256}
        return {"stage": "source", **converted, "difference": self.difference}


def onnx_origin(path: Path) -> dict[str, Any]:
    """Gives what the history of an embedder says of the ONNX file that it comes from."""
    return {"stage": "source", "architecture": "an ONNX file", "weights": path.name, "sha256": sha256_of(path)}


def is_other_network(path: Path) -> bool:
    """Says whether `path` holds a network of another tool than PyTorch and ONNX, or is called like one."""
    if path.suffix in SUFFIXES:
        return True
    kind = kind_of(path)
    return kind is not None and bool(kind.converter)


def converted(path: Path, sides: Sides | None = None) -> ConvertedNetwork:
    """Gives the network in a file of another tool as an ONNX file.

    What was converted before is taken from $XDG_CACHE_HOME/pocketface/networks (~/.cache without that variable).

    Args:
        path: The file or folder; it is not trusted.
        sides: Height and width of a face, of a network that takes any.

    Raises:
        ConversionError: It is damaged, holds code, is quantised, has an operator that is not known, or the conversion
            does not give what the tool itself gives.
    """
    kind = kind_of(path)
    if kind is None or not kind.converter:
        what = way_in(path) or "is no network that is known"
        raise ConversionError(f"{path} {what}" if path.exists() else f"there is no file {path}")
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    if (size := sum(file.stat().st_size for file in files)) > MOST_BYTES:
        raise ConversionError(f"{path} has {size} bytes; an embedder has at most {MOST_BYTES}")
    digest = sha256_of(path)
    identity = f"{path.name} {digest} {kind.converter} {sides} {_version()}"
    network, difference = _kept(
        identity, f"{path.name[:LONGEST_STEM]}.onnx", lambda out: _convert(path, kind, sides, out)
    )
    return ConvertedNetwork(path, kind.title, digest, network, difference)


def with_weights_inside(path: Path) -> Path:
    """Gives an ONNX file that holds its weights: `path`, or a copy of it with those of the file beside it.

    `torch.onnx.export` writes net.onnx and net.onnx.data, tools of Hugging Face net.onnx and net.onnx_data. No other
    file is read, whatever the ONNX file names. The copy bears the same name and is kept where conversions are.

    Args:
        path: Any file; neither it nor the one beside it is trusted.

    Raises:
        ConversionError: They are damaged, too large, or the ONNX file takes weights from elsewhere.
    """
    both = (path.with_name(path.name + ending) for ending in WEIGHTS_BESIDE)
    beside = next((file for file in both if file.is_file() and not file.is_symlink()), None)
    if path.suffix != ".onnx" or beside is None or not path.is_file():
        return path
    if (size := path.stat().st_size + beside.stat().st_size) > LARGEST_FILE:
        raise ConversionError(
            f"{path.name} and {beside.name} have {size} bytes; an embedder has at most {LARGEST_FILE}"
        )

    def written(out: Path) -> float:
        model = parse_onnx(path.read_bytes(), path.name, beside)
        out.write_bytes(model.SerializeToString(deterministic=True))
        return 0.0

    return _kept(f"{path.name} {sha256_of(path)} {beside.name} {sha256_of(beside)}", path.name, written)[0]


def _kept(identity: str, name: str, write: Callable[[Path], float]) -> tuple[Path, float]:
    """Gives the file called `name` that `write` makes of what `identity` tells, or made before, and its number."""
    folder = _cache() / hashlib.sha256(identity.encode()).hexdigest()[:32]
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        if sha256_of(folder / name) == facts["onnx_sha256"]:
            return folder / name, float(facts["difference"])
    except DAMAGE:  # or nothing there: it is made
        pass
    with written_whole(folder, FACTS) as beside:
        beside.mkdir(parents=True)
        difference = write(beside / name)
        facts = {"difference": difference, "onnx_sha256": sha256_of(beside / name)}
        (beside / FACTS).write_text(json.dumps(facts), encoding="utf-8")
    return folder / name, difference


def _cache() -> Path:
    """Gives the folder of earlier conversions; without a home, one that ends with this process."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(root) / "pocketface" / "networks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.gettempdir()) / "pocketface-networks"
    return folder if os.access(folder, os.W_OK) else Path(tempfile.gettempdir()) / "pocketface-networks"


def _version() -> str:
    """Gives the hash of the code that converts: another gives another file."""
    here = Path(__file__).parent
    modules = [Path(__file__), here / "keras_networks.py", *sorted((here / "tflite").glob("*.py"))]
    return hashlib.sha256(b"".join(module.read_bytes() for module in modules)).hexdigest()


def _convert(path: Path, kind: FileKind, sides: Sides | None, out: Path) -> float:
    """Converts in a process of its own; gives the largest difference."""
    request = {"path": str(path.absolute()), "converter": kind.converter, "sides": sides, "out": str(out)}
    command = [sys.executable, "-P", "-m", __name__, json.dumps(request)]
    try:
        done = run_child(command, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise ConversionError(f"{path.name} was not converted within {SECONDS} s; it is damaged or too large") from None
    if done.returncode < 0:
        raise ConversionError(
            f"{path.name} is damaged: it crashes what reads {kind.title} with {signal_name(-done.returncode)}"
        )
    said = done.stdout.strip().splitlines()
    if done.returncode or not said:
        raise ConversionError(said[-1] if said else f"{path.name} cannot be converted: {last_line(done)}")
    return float(said[-1])


def _main() -> int:
    request = json.loads(sys.argv[1])
    path, sides = Path(request["path"]), request["sides"]
    limit_memory(path)
    module, _, function = request["converter"].partition(":")
    try:
        read = opener_of(f"{__package__}.{module}:{function}")
        network: OtherNetwork = read(path, None if sides is None else tuple(sides))
        taken = [[side.dim_value for side in one.type.tensor_type.shape.dim] for one in network.graph.graph.input]
        if len(taken) != 1 or len(taken[0]) != 4:
            print(f"{path.name} is no embedder: it takes {taken}, which is no batch of faces")
            return 1
        difference = _difference(network)
        if not difference <= LARGEST_DIFFERENCE:
            print(f"{path.name} gives other embeddings once it is converted: they differ by {difference:.1e} of 1")
            return 1
        Path(request["out"]).write_bytes(network.graph.SerializeToString(deterministic=True))
    except ValueError as error:
        print(" ".join(str(error).split()))
        return 1
    except Exception as error:  # whatever a foreign tool throws, MemoryError too
        print(f"{path.name} cannot be converted: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        return 1
    print(difference)
    return 0


def _difference(network: OtherNetwork) -> float:
    """Compares what the tool gives for random pictures, scaled as networks want them or as pixels, with the graph."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = ort.InferenceSession(network.graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    face, names = session.get_inputs()[0], [output.name for output in session.get_outputs()]
    batch, channels, height, width = face.shape
    draw, worst = np.random.default_rng(0), 0.0
    for _ in range(PROVEN_ON):
        pixels = draw.uniform(0, 255, (batch, height, width, channels)).round()
        scaled = pixels if face.type == "tensor(uint8)" else (pixels - 127.5) / 128
        for faces in (pixels, scaled):
            given: NDArray[Any] = faces.astype(np.uint8 if face.type == "tensor(uint8)" else np.float32)
            theirs = network.run(given)
            ours = session.run(names, {face.name: np.ascontiguousarray(given.transpose(0, 3, 1, 2))})
            for name, values in zip(names, ours, strict=True):
                worst = max(worst, _apart(np.asarray(values), np.asarray(theirs[name])))
    return worst


def _apart(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    if ours.shape != theirs.shape or not np.isfinite(theirs).all():
        return np.inf
    ours, theirs = ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1)
    lengths = np.maximum(np.linalg.norm(theirs, axis=1, keepdims=True), 1e-12)
    return float((np.abs(ours - theirs) / lengths).max())


if __name__ == "__main__":
    sys.exit(_main())

"""Runs a file: ONNX Runtime, LiteRT, the Core ML evaluator and PyTorch behind one protocol."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ..faces.contract import Faces, InputContract
from .artifact import Artifact, Card, ConversionError, Format

if TYPE_CHECKING:
    from ..models.embedder import Embeddings


class Session(Protocol):
    """An open file, ready to embed."""

    runtime: str

    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps (N, 3, H, W) preprocessed faces to (N, D), of whatever length the file gives."""
        ...


class OnnxRuntimeSession:
    """An .onnx or .ort file in onnxruntime, on the CPU."""

    runtime = "onnxruntime"

    def __init__(self, path: Path, threads: int = 1) -> None:
        """Opens `path`; a file that onnxruntime refuses is a ValueError."""
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what goes wrong is raised, too
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class for each of its failures
            raise ConversionError(f"onnxruntime cannot open {path.name}: {str(error).splitlines()[0]}") from error
        port = self._session.get_inputs()[0]
        self._name, self._input = path.name, port.name
        self._one_by_one = port.shape[0] == 1

    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Session.run`."""
        batches = [inputs[i : i + 1] for i in range(len(inputs))] if self._one_by_one else [inputs]
        try:
            rows = [self._session.run(None, {self._input: batch})[0] for batch in batches]
        except Exception as error:  # see above
            raise ConversionError(f"onnxruntime cannot run {self._name}: {str(error).splitlines()[0]}") from error
        return np.concatenate(rows).astype(np.float32, copy=False)


class TorchSession:
    """A checkpoint in eager PyTorch, on the CPU."""

    runtime = "torch"

    def __init__(self, path: Path, threads: int = 1, factory: str | None = None) -> None:
        """Opens the checkpoint folder `path`; see `load_checkpoint` for `factory`."""
        import torch

        from ..models.checkpoint import load_checkpoint

        torch.set_num_threads(threads)
        embedder = load_checkpoint(path, factory)
        self._backbone, self._contract = embedder.backbone.eval(), embedder.contract

    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Session.run`."""
        import torch

        with torch.inference_mode():
            return np.asarray(self._backbone(torch.from_numpy(inputs)).numpy())


def _litert(path: Path, threads: int) -> Session:
    from .tflite.litert import LiteRTSession

    return LiteRTSession(path, threads)


def _coreml(path: Path, threads: int) -> Session:
    import torch

    from .coreml.evaluator import CoreMLEvaluator

    torch.set_num_threads(threads)
    return CoreMLEvaluator(path)


def _executorch(path: Path, threads: int) -> Session:
    from .executorch_session import ExecuTorchSession

    return ExecuTorchSession(path, threads)


SESSIONS: dict[Format, Callable[[Path, int], Session]] = {
    "pytorch": TorchSession,
    "onnx": OnnxRuntimeSession,
    "ort": OnnxRuntimeSession,
    "tflite": _litert,
    "coreml": _coreml,
    "executorch": _executorch,
}

SUFFIXES: dict[str, Format] = {
    ".onnx": "onnx",
    ".ort": "ort",
    ".tflite": "tflite",
    ".mlpackage": "coreml",
    ".pte": "executorch",
}


def format_of(path: Path) -> Format:
    """Tells a file's format by its name, a checkpoint by what lies in it.

    Raises:
        ValueError: It is none that pocketface runs, or not there.
    """
    if not path.exists():
        raise ValueError(f"no file at {path}")
    if path.suffix in SUFFIXES:
        return SUFFIXES[path.suffix]
    if (path / "embedder.json").is_file():
        return "pytorch"
    raise ValueError(f"{path} is no checkpoint and ends in none of {', '.join(SUFFIXES)}")


def open_session(path: Path, threads: int = 1, factory: str | None = None) -> Session:
    """Opens `path` in the runtime of its format.

    Args:
        path: A converted file, or a checkpoint folder.
        threads: Of the CPU.
        factory: The code of a checkpoint whose network is not of the zoo; see `load_checkpoint`.

    Returns:
        The open file, ready to embed.

    Raises:
        ValueError: It is not there, of no known format, or its runtime refuses it.
    """
    kind = format_of(path)
    return TorchSession(path, threads, factory) if kind == "pytorch" else SESSIONS[kind](path, threads)


def _onnx_card(path: Path) -> Card | None:
    from .graph.to_onnx import read_card

    return read_card(path)


def _ort_card(path: Path) -> Card | None:
    from .ort_format import read_card

    return read_card(path)


def _tflite_card(path: Path) -> Card | None:
    from .tflite.litert import read_card

    return read_card(path)


def _coreml_card(path: Path) -> Card | None:
    from .coreml.evaluator import read_card

    return read_card(path)


def _executorch_card(path: Path) -> Card | None:
    from .executorch_session import read_card

    return read_card(path)


CARDS: dict[Format, Callable[[Path], Card | None]] = {
    "onnx": _onnx_card,
    "ort": _ort_card,
    "tflite": _tflite_card,
    "coreml": _coreml_card,
    "executorch": _executorch_card,
}


def read_artifact(path: Path, contract: InputContract | None = None) -> Artifact:
    """Describes a converted file by its own card.

    Args:
        path: A file that ends in one of `SUFFIXES`.
        contract: What to feed a file without a card; a file with one is fed by it.

    Returns:
        The file, its format, and what its card says.

    Raises:
        ValueError: There is no card and no contract.
    """
    kind = format_of(path)
    card = CARDS[kind](path)
    if card is None:
        if contract is None:
            raise ValueError(f"{path.name} does not say what it must be fed; give --mean and --scale")
        card = Card(path.stem, contract, 0)
    return Artifact(path, kind, card)


def raw_embeddings(session: Session, contract: InputContract, faces: Faces, batch: int = 32) -> NDArray[np.float32]:
    """Embeds (N, H, W, 3) uint8 RGB crops: preprocessed by `contract`, run; (N, D) of whatever length.

    Raises:
        ConversionError: The file gives numbers that are not finite.
    """
    rows = [session.run(contract.preprocess(faces[i : i + batch])) for i in range(0, len(faces), batch)]
    raw = np.concatenate(rows)
    if not np.isfinite(raw).all():
        raise ConversionError(f"{session.runtime} gives embeddings that are not finite")
    return raw


def embed(session: Session, contract: InputContract, faces: Faces) -> Embeddings:
    """Embeds as `raw_embeddings` does, and makes unit vectors.

    Args:
        session: The open file.
        contract: What the file must be fed.
        faces: (N, H, W, 3) uint8 RGB crops of the contract's size.

    Returns:
        (N, D) float32 of unit length.
    """
    from ..models.embedder import unit

    return unit(raw_embeddings(session, contract, faces))

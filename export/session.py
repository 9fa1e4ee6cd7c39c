"""An open file behind one protocol, whatever runs it: here onnxruntime, PyTorch and the Core ML evaluator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..faces.contract import Faces, InputContract
from ..models.graph.ports import Port, ports_of
from .artifact import ConversionError

if TYPE_CHECKING:
    from ..models.embedder import Embeddings


class Session(Protocol):
    """An open file, ready to embed.

    A session may also have `ports` (what the file takes and gives), `arena_bytes` and `load_ms`.
    """

    runtime: str

    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps (N, C, H, W) preprocessed faces to (N, D), of any length."""
        ...


class OnnxRuntimeSession:
    """An .onnx or .ort file in onnxruntime, on the CPU."""

    runtime = "onnxruntime"

    def __init__(self, path: Path, threads: int = 1, output: str = "") -> None:
        """Opens `path`; `output` names the embedding where it has several outputs.

        Raises:
            ConversionError: onnxruntime refuses the file, or it is no embedder.
        """
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors are raised anyway
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class for each of its failures
            raise ConversionError(f"onnxruntime cannot open {path.name}: {str(error).splitlines()[0]}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self.ports = ports_of(path.name, list(map(_port, inputs)), list(map(_port, outputs)), output)

    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Session.run`."""
        return self.ports.run(self._call, inputs)

    def _call(self, faces: NDArray[Any]) -> NDArray[Any]:
        try:
            return np.asarray(self._session.run([self.ports.embedding.name], {self.ports.face.name: faces})[0])
        except Exception as error:  # see above
            raise ConversionError(f"onnxruntime cannot run {self.ports.file}: {str(error).splitlines()[0]}") from error


def _port(value: Any) -> Port:
    """Describes an input or output of onnxruntime's, whose sides are numbers, names or None."""
    sides = tuple(side if isinstance(side, int) else None for side in value.shape)
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    return Port(value.name, sides, {"float": "float32", "double": "float64"}.get(kind, kind))


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


def open_core_ml(path: Path, threads: int = 1, output: str = "") -> Session:
    """Opens an .mlpackage in the evaluator, which computes in PyTorch; see `CoreMLEvaluator`."""
    import torch

    from .coreml.evaluator import CoreMLEvaluator

    torch.set_num_threads(threads)
    return CoreMLEvaluator(path, output=output)


def raw_embeddings(session: Session, contract: InputContract, faces: Faces, batch: int = 16) -> NDArray[np.float32]:
    """Embeds (N, H, W, 3) uint8 RGB crops: preprocessed by `contract`; gives (N, D) of any length.

    Raises:
        ConversionError: An embedding is not finite.
    """
    rows = [session.run(contract.preprocess(faces[i : i + batch])) for i in range(0, len(faces), batch)]
    raw = np.concatenate(rows)
    if not np.isfinite(raw).all():
        raise ConversionError(f"{session.runtime} gives embeddings that are not finite")
    return raw


def unit_embeddings(session: Session, contract: InputContract, faces: Faces) -> Embeddings:
    """Embeds as `raw_embeddings` does, and scales to unit length.

    Args:
        session: The open file.
        contract: What the file must be fed.
        faces: (N, H, W, 3) uint8 RGB crops of the contract's size.

    Returns:
        (N, D) float32 of unit length.
    """
    from ..models.embedder import unit

    return unit(raw_embeddings(session, contract, faces))

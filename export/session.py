"""An open file behind one protocol, whatever runs it: here onnxruntime, PyTorch and the Core ML evaluator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ..faces.contract import Faces, InputContract
from .artifact import ConversionError

if TYPE_CHECKING:
    from ..models.embedder import Embeddings


class Session(Protocol):
    """An open file, ready to embed.

    A session may also say `takes` (the type and quantisation of its input), `arena_bytes` and `load_ms`.
    """

    runtime: str

    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps (N, 3, H, W) preprocessed faces to (N, D), of any length."""
        ...


class OnnxRuntimeSession:
    """An .onnx or .ort file in onnxruntime, on the CPU."""

    runtime = "onnxruntime"

    def __init__(self, path: Path, threads: int = 1) -> None:
        """Opens `path`.

        Raises:
            ConversionError: onnxruntime refuses the file.
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


def open_core_ml(path: Path, threads: int = 1) -> Session:
    """Opens an .mlpackage in the evaluator, which computes in PyTorch."""
    import torch

    from .coreml.evaluator import CoreMLEvaluator

    torch.set_num_threads(threads)
    return CoreMLEvaluator(path)


def raw_embeddings(session: Session, contract: InputContract, faces: Faces, batch: int = 32) -> NDArray[np.float32]:
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

"""Torch's own files (.pth, .pt): tensors, read in a process of its own with limits; no code in them runs.

The pickle in such a file may ask for any memory and any time before anything can be checked, and the archive around it
is read by native code. The process writes what it found as safetensors, which this one reads.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..bounds import SECONDS, limit_memory
from ..children import run_child, signal_name

MOST_TENSORS = 100_000
DEEPEST = 20  # tables in one another


def read_torch_file(path: Path) -> dict[str, Any]:
    """Gives the tables of tensors in a file that `torch.save` wrote; all else in them is left out.

    Args:
        path: The file, of PyTorch 1.6 or later or of the form before.

    Returns:
        Tensors, and tables of them: `{"epoch": 3, "model": {"0.weight": t}}` gives `{"model": {"0.weight": t}}`. A
        table by other keys than text, as an optimiser's, is left out.

    Raises:
        ValueError: It is damaged, holds code or no tables of tensors, or takes too much time or memory.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "tensors.safetensors"
        try:
            done = run_child([sys.executable, "-P", "-m", __name__, path.absolute(), out], timeout=2 * SECONDS)
        except subprocess.TimeoutExpired:
            raise ValueError(f"{path} was not read within {2 * SECONDS} s; it is damaged or too large") from None
        if done.returncode < 0:
            raise ValueError(f"{path} is damaged: it crashes torch with {signal_name(-done.returncode)}")
        if done.returncode or not out.is_file():
            raise ValueError(f"{path} is damaged or holds more than tensors; save its state_dict as safetensors")
        tables: dict[str, Any] = {}
        for keys, tensor in load_file(out).items():
            *outer, last = json.loads(keys)
            table = tables
            for key in outer:
                table = table.setdefault(key, {})
            table[last] = tensor
    return tables


def _found(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    if isinstance(value, Tensor):
        yield keys, value
    elif isinstance(value, Mapping) and len(keys) < DEEPEST and all(isinstance(key, str) for key in value):
        for key, inner in value.items():
            yield from _found(inner, (*keys, key))


def _main(path: Path, out: Path) -> None:
    size = path.stat().st_size
    limit_memory(path)
    value = torch.load(path, map_location="cpu", weights_only=True)
    tensors: dict[str, Tensor] = {}
    left = 4 * size + (1 << 20)  # a tensor may be a view that repeats one number a billion times
    for keys, tensor in _found(value):
        left -= tensor.numel() * tensor.element_size()
        if left < 0 or len(tensors) >= MOST_TENSORS or not keys or tensor.layout != torch.strided:
            raise ValueError("no plain tensors")
        tensors[json.dumps(keys)] = tensor.detach().clone().contiguous()
    save_file(tensors, out)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))

"""Runs a .pte file in ExecuTorch's own runtime (the extra `executorch`); its card is read without that."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models.graph.reading import LARGEST_FILE
from ..models.quiet import quiet, quiet_native
from ..spelling import first_line
from .artifact import METADATA_KEY, Card, ConversionError

MISSING = "ExecuTorch files need executorch: pip install 'pocketface[executorch]'"
IDENTIFIER = b"ET12"  # of the flatbuffer
MOST_TABLES = 100  # the card is of a method that has one value
STRING = 6  # the kind of a value, in ExecuTorch's program.fbs


class ExecuTorchSession:
    """A .pte file in ExecuTorch, on the CPU."""

    runtime = "executorch"

    def __init__(self, path: Path, threads: int = 1) -> None:
        """Opens `path`; a malicious file may make ExecuTorch end the process.

        Raises:
            ConversionError: ExecuTorch is not installed, or refuses the file.
        """
        content = _content(path)
        try:
            with quiet():  # torchao, which it imports, warns of kernels for other machines
                from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
                from executorch.runtime import Runtime, Verification
        except ImportError as error:
            raise ConversionError(MISSING) from error
        self._name = path.name
        try:
            with quiet_native():
                _unsafe_reset_threadpool(threads)  # of the process; unsafe only while something runs
                self._program = Runtime.get().load_program(content, verification=Verification.InternalConsistency)
                self._forward = self._program.load_method("forward")
        except Exception as error:  # ExecuTorch raises what its C++ raises
            raise ConversionError(f"ExecuTorch cannot open {path.name}: {first_line(error)}") from error

    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Session.run`."""
        import torch

        assert self._forward is not None
        rows = []
        for face in inputs:
            try:
                (row,) = self._forward.execute([torch.from_numpy(np.ascontiguousarray(face[None]))])
            except Exception as error:  # see above
                raise ConversionError(f"ExecuTorch cannot run {self._name}: {first_line(error)}") from error
            rows.append(np.array(row.detach().numpy(), np.float32))  # the program writes the next one over it
        return np.concatenate(rows)


def read_executorch_card(path: Path) -> Card | None:
    """Gives the card that the program's method `pocketface` would return, or None; nothing is run.

    Raises:
        ConversionError: The file is too large or damaged.
    """
    content = _content(path)
    try:
        text = _constant(content, METADATA_KEY.encode())
    except (struct.error, IndexError, TypeError) as error:
        raise ConversionError(f"{path.name} is damaged or no ExecuTorch file: {first_line(error)}") from error
    return None if text is None else Card.from_json(text)


def _constant(content: bytes, method: bytes) -> bytes | None:
    """Gives the text of a method that only returns one: Program.execution_plan[method].values[outputs[0]]."""
    from flatbuffers import encode, number_types, table

    root = table.Table(content, encode.Get(number_types.UOffsetTFlags.packer_type, content, 0))
    for plan in _tables(root, 1):
        name = plan.Offset(4)
        if not name or plan.String(name + plan.Pos) != method:
            continue
        values, outputs = list(_tables(plan, 2)), plan.Offset(4 + 2 * 4)
        index = plan.Get(number_types.Int32Flags, plan.Vector(outputs)) if outputs else -1
        value = values[index] if 0 <= index < len(values) else None
        if value is None or value.Get(number_types.Uint8Flags, value.Pos + value.Offset(4)) != STRING:
            return None
        text = table.Table(content, value.Indirect(value.Pos + value.Offset(6)))
        return bytes(text.String(text.Pos + text.Offset(4)))
    return None


def _tables(owner: Any, field: int) -> Iterator[Any]:
    """Gives the tables in the vector that is the `field`th of `owner`, a hundred at most."""
    from flatbuffers import table

    offset = owner.Offset(4 + 2 * field)
    for i in range(min(owner.VectorLen(offset), MOST_TABLES) if offset else 0):
        yield table.Table(owner.Bytes, owner.Indirect(owner.Vector(offset) + 4 * i))


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise ConversionError(f"no ExecuTorch file at {path}")
    if path.stat().st_size > LARGEST_FILE:
        raise ConversionError(f"{path.name} has {path.stat().st_size} bytes; at most {LARGEST_FILE} are read")
    content = path.read_bytes()
    if content[4:8] != IDENTIFIER:
        raise ConversionError(f"{path.name} is damaged or no ExecuTorch file")
    return content

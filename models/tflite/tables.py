"""A .tflite file's tables, checked before they become objects; what they carry as metadata."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

DAMAGES = (struct.error, IndexError, TypeError, AttributeError, KeyError, OverflowError, MemoryError, AssertionError)
"""What the schema's generated reader and writer raise for offsets, sizes and numbers that are none."""

_MOST_METADATA = 1000  # entries looked through; a file has a handful


def unpack(content: bytes) -> Any:
    """Gives the schema's model of a file, every buffer inside it.

    Raises:
        ValueError: What its tables list is more than the file can hold: they share what they point to.
    """
    from ai_edge_litert import schema_py_generated as schema

    root = schema.Model.GetRootAs(content)
    _check_counts(root, len(content))
    model = schema.ModelT.InitFromObj(root)
    for buffer in model.buffers:
        if buffer.offset > 1:  # behind the FlatBuffer, where runtimes before 2024 do not look
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
        buffer.offset = buffer.size = 0
    return model


def read_metadata(content: bytes, key: str, most: int) -> bytes | None:
    """Gives what the file carries under `key`, or None.

    Takes time in proportion to the file, whatever it holds, and never more than `most` bytes out of it.

    Raises:
        ValueError: No TFLite file, cut short, or damaged where the metadata lie.
    """
    from ai_edge_litert import schema_py_generated as schema

    if content[4:8] != b"TFL3":
        raise ValueError("no TFLite file: it has no TFL3 at byte 4")
    try:
        model = schema.Model.GetRootAs(content)
        # The codes were written last and the weights next to last: what lacks them was cut short.
        for index in range(_checked(model.OperatorCodesLength(), content)):
            model.OperatorCodes(index).BuiltinCode()
        for index in range(_checked(model.BuffersLength(), content)):
            _span(model.Buffers(index), content)
        for index in range(min(model.MetadataLength(), _MOST_METADATA)):
            entry = model.Metadata(index)
            if name_text(entry.Name()) == key:
                start, length = _span(model.Buffers(entry.Buffer()), content)
                if length > most:
                    raise ValueError(f"its {key} metadata has {length} bytes; at most {most} are read")
                return content[start : start + length]
    except DAMAGES as error:
        raise ValueError("cut short or damaged: its tables point outside of it") from error
    return None


def name_text(name: bytes | str | None) -> str:
    """Gives the text of a name in a table; "" where there is none."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name or ""


def _checked(length: int, content: bytes) -> int:
    """Gives the length of a vector of tables, four bytes an entry at least."""
    if length > len(content) // 4:
        raise ValueError("cut short or damaged: it lists more than it holds")
    return length


def _check_counts(model: Any, most: int) -> None:
    """Counts what becomes objects, before any does: two tables of a hostile file may be the same bytes."""
    left = most
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        vectors = [graph.TensorsLength(), graph.OperatorsLength(), graph.InputsLength(), graph.OutputsLength()]
        left -= sum(vectors)
        for index in range(graph.TensorsLength() if left >= 0 else 0):
            tensor = graph.Tensors(index)
            scales = tensor.Quantization()
            left -= tensor.ShapeLength() + len(tensor.Name() or b"")
            left -= 0 if scales is None else scales.ScaleLength() + scales.ZeroPointLength()
            if left < 0:
                break
        for index in range(graph.OperatorsLength() if left >= 0 else 0):
            operator = graph.Operators(index)
            left -= operator.InputsLength() + operator.OutputsLength() + operator.CustomOptionsLength()
            if left < 0:
                break
        if left < 0:
            raise ValueError("cut short or damaged: it lists more than it holds")


def _span(buffer: Any, content: bytes) -> tuple[int, int]:
    """Gives first byte and length of a buffer, once they are known to lie inside the file."""
    if buffer.Offset() > 1:
        start, length = buffer.Offset(), buffer.Size()
    else:
        length = buffer.DataLength()
        field = buffer._tab.Offset(4)  # of `data`
        start = buffer._tab.Vector(field) if field else 0
    if start < 0 or start + length > len(content):
        raise ValueError("cut short or damaged: a buffer ends outside of it")
    return start, length

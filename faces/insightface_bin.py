"""InsightFace's `.bin`: verification pairs in a pickle, read without running any of its code.

The file is a pickle of (list of JPEG files, list of bool); images 2i and 2i + 1 are pair i. `pickle.load` would run
whatever code it holds. Here the opcodes are replayed on a stack of lists, tuples, bytes and whole numbers, with
stand-ins for the few functions that real files call: nothing is imported, nothing else is called, and limits on bytes
and opcodes bound the memory.

Source: insightface/recognition/_datasets_/lfw2pack.py; opcodes: pickletools of the standard library.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

LARGEST_FILE = 1 << 30  # bytes; the largest that InsightFace published has 0.1 GB
MOST_STEPS = 4_000_000  # opcodes; 6,000 pairs of NumPy arrays take 0.4 million


def read_bin(path: Path) -> tuple[list[bytes], list[bool]]:
    """Reads the encoded images and the verdicts: 2P images, P booleans.

    Images may be bytes of Python 2 or 3, of any pickle protocol from 1 up, or NumPy arrays of bytes; verdicts
    may be booleans, 0 and 1, NumPy scalars, or one NumPy array. A file has at most 1 GiB.

    Raises:
        ValueError: No such file, too large, cut off, not of this form, or it calls another function.
    """
    if not path.is_file():
        raise ValueError(f"no file {path}")
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"{path} has {path.stat().st_size} bytes; a .bin of pairs has at most {LARGEST_FILE}")
    try:
        images, same = _pairs(_replay(path.read_bytes()))
    except _Refused as refused:
        raise ValueError(f"{path} is refused: {refused}; a .bin of pairs holds only images and booleans") from None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"{path} is cut off or no .bin of pairs: {str(error)[:200]}") from None
    if len(images) != 2 * len(same) or not same:
        raise ValueError(f"{path} has {len(images)} images for {len(same)} pairs; a pair is two images")
    return images, same


class _Refused(Exception):
    """The pickle uses something that no file of pairs needs."""


@dataclass
class _Array:
    """Stand-in for a NumPy array while the pickle is replayed."""

    dtype: str = "u1"
    data: bytes = b""

    def numbers(self, most: int) -> list[int]:
        return [int(number) for number in np.frombuffer(self.data, self.dtype)[:most]]


@dataclass
class _Dtype:
    name: str


DTYPES = ("u1", "i1", "b1", "i4", "i8")


def _dtype(name: str | bytes, *_: object) -> _Dtype:
    text = _text(name)
    if text not in DTYPES:
        raise _Refused(f"it has an array of {text[:40]!r}")
    return _Dtype(text)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value[:]


def _encode(text: str, *_: object) -> bytes:
    return text.encode("latin-1")  # so Python 3 writes bytes for Python 2


def _array(*_: object) -> _Array:
    return _Array()  # its content follows in BUILD


def _bytes(data: object = b"") -> bytes:
    if not isinstance(data, bytes):  # bytes(9**9) would be a gigabyte
        raise TypeError("bytes that are not made of bytes")
    return data


def _from_buffer(data: object, dtype: _Dtype, *_: object) -> _Array:
    return _Array(dtype.name, _bytes(data))


def _scalar(dtype: _Dtype, data: object) -> int:
    return _Array(dtype.name, _bytes(data)).numbers(1)[0]


def _no_array(*_: object) -> None:
    raise TypeError("an array without content")


# The functions that real files call, and their stand-ins. NumPy 2 renamed numpy.core to numpy._core.
STAND_INS: dict[str, Callable[..., Any]] = {
    "_codecs encode": _encode,
    "__builtin__ bytes": _bytes,
    "builtins bytearray": _bytes,
    "numpy ndarray": _no_array,
    "numpy dtype": _dtype,
    "numpy.core.multiarray _reconstruct": _array,
    "numpy._core.multiarray _reconstruct": _array,
    "numpy.core.multiarray scalar": _scalar,
    "numpy._core.multiarray scalar": _scalar,
    "numpy.core.numeric _frombuffer": _from_buffer,
    "numpy._core.numeric _frombuffer": _from_buffer,
}

# Opcodes that push a value, and how it is made from the opcode's argument.
LITERALS: dict[str, Callable[[Any], Any]] = {
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_LIST": lambda _: [],
    "EMPTY_TUPLE": lambda _: (),
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1"), lambda number: number),
    **dict.fromkeys(("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), lambda text: text),
    **dict.fromkeys(("SHORT_BINSTRING", "BINSTRING"), _encode),  # Python 2's str, which pickletools reads as Latin-1
    **dict.fromkeys(("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"), bytes),
}

TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _replay(pickled: bytes) -> Any:
    """Replays the opcodes and gives the value on top of the stack at STOP."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    copied = 0
    argument: Any
    for step, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(pickled))):
        if step > MOST_STEPS:
            raise _Refused(f"it has more than {MOST_STEPS} opcodes")
        match opcode.name:
            case name if name in LITERALS:
                stack.append(LITERALS[name](argument))
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                marks.append(len(stack))
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case name if name in TUPLES:
                stack.append(tuple(_pop(stack, len(stack) - TUPLES[name])))
            case "TUPLE":
                stack.append(tuple(_pop(stack, marks.pop())))
            case "LIST":
                stack.append(_pop(stack, marks.pop()))
            case "APPENDS" | "APPEND":
                items = _pop(stack, marks.pop() if opcode.name == "APPENDS" else len(stack) - 1)
                if not isinstance(stack[-1], list):
                    raise TypeError("it appends to what is no list")
                stack[-1].extend(items)
            case "GLOBAL":
                stack.append(_stand_in(argument))
            case "STACK_GLOBAL":
                stack.append(_stand_in(" ".join(_pop(stack, len(stack) - 2))))
            case "REDUCE":
                function, arguments = _pop(stack, len(stack) - 2)
                stack.append(function(*arguments))  # only `_stand_in` puts functions on the stack
                copied += len(stack[-1]) if function is _encode else 0
                if copied > len(pickled):  # one text in the file could be encoded again and again
                    raise _Refused("it makes more bytes than it holds")
            case "BUILD":
                (state,) = _pop(stack, len(stack) - 1)
                _build(stack[-1], state)
            case "STOP":
                return stack.pop()
            case name:
                raise _Refused(f"it uses the opcode {name}")
    raise ValueError("it has no end")


def _pop(stack: list[Any], start: int) -> list[Any]:
    if not 0 <= start <= len(stack):
        raise IndexError("an opcode finds too few values")
    items = stack[start:]
    del stack[start:]
    return items


def _stand_in(name: str) -> Callable[..., Any]:
    if name not in STAND_INS:
        raise _Refused(f"it would call {name[:80].replace(' ', '.')!r}")
    return STAND_INS[name]


def _build(target: Any, state: Any) -> None:
    """Fills an array, or checks the byte order of a type, as NumPy's `__setstate__` does."""
    if isinstance(target, _Array):
        _, _, dtype, _, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
            raise TypeError("an array without bytes")
        target.dtype, target.data = dtype.name, data
    elif not isinstance(target, _Dtype) or _text(state[1]) not in "<|":
        raise _Refused("it sets the state of an object")


def _pairs(value: Any) -> tuple[list[bytes], list[bool]]:
    """Gives images and verdicts, if the pickled value is of that form."""
    if not isinstance(value, (tuple, list)) or len(value) != 2 or not isinstance(value[0], list):
        raise ValueError("it holds no (images, verdicts)")
    images = [image.data if isinstance(image, _Array) else image for image in value[0]]
    if not all(isinstance(image, bytes) for image in images):
        raise ValueError("an image is no bytes")
    same = value[1].numbers(len(images)) if isinstance(value[1], _Array) else value[1]
    if not isinstance(same, list) or not all(isinstance(one, int) and one in (0, 1) for one in same):
        raise ValueError("a verdict is neither true nor false")
    return images, [bool(one) for one in same]

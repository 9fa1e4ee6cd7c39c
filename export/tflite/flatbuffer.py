"""TFLite's file format: a graph is written operator by operator, and metadata are read and replaced."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAME, VALID = 0, 1  # numbers of the schema's enum Padding
REFLECT, SYMMETRIC = 0, 1  # of MirrorPadMode
ACTIVATIONS = {"NONE": 0, "RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}  # of ActivationFunctionType

OPTIONS = {  # operators that carry options, and the schema's table for them
    "ABS": "AbsOptions",
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "BROADCAST_TO": "BroadcastToOptions",
    "CAST": "CastOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "COS": "CosOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "DEPTH_TO_SPACE": "DepthToSpaceOptions",
    "DIV": "DivOptions",
    "EQUAL": "EqualOptions",
    "EXP": "ExpOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "GATHER": "GatherOptions",
    "GELU": "GeluOptions",
    "GREATER": "GreaterOptions",
    "GREATER_EQUAL": "GreaterEqualOptions",
    "HARD_SWISH": "HardSwishOptions",
    "L2_NORMALIZATION": "L2NormOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "LESS": "LessOptions",
    "LESS_EQUAL": "LessEqualOptions",
    "LOGICAL_AND": "LogicalAndOptions",
    "LOGICAL_NOT": "LogicalNotOptions",
    "LOGICAL_OR": "LogicalOrOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "MIRROR_PAD": "MirrorPadOptions",
    "MUL": "MulOptions",
    "NEG": "NegOptions",
    "PAD": "PadOptions",
    "PADV2": "PadV2Options",
    "POW": "PowOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "RESHAPE": "ReshapeOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "SELECT_V2": "SelectV2Options",
    "SLICE": "SliceOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SPACE_TO_DEPTH": "SpaceToDepthOptions",
    "SPLIT": "SplitOptions",
    "SPLIT_V": "SplitVOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "SUB": "SubOptions",
    "SUM": "ReducerOptions",
    "TILE": "TileOptions",
    "TRANSPOSE": "TransposeOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
}

CONSTANTS: dict[str, tuple[str, type[np.generic]]] = {"i": ("INT32", np.int32), "b": ("BOOL", np.bool_)}
"""By NumPy's kind of a constant: the schema's type, and how it is stored; all else is float32."""

DAMAGES = (struct.error, IndexError, TypeError, AttributeError, KeyError, OverflowError, MemoryError, AssertionError)
"""What the schema's generated reader and writer raise for offsets, sizes and numbers that are none."""

_MOST_METADATA = 1000  # entries looked through; a file has a handful


class Writer:
    """One TFLite graph in the making."""

    def __init__(self) -> None:
        """Starts with the empty buffer 0 that the format requires."""
        from ai_edge_litert import schema_py_generated as schema

        self._schema = schema
        self._model = schema.ModelT(version=3, operatorCodes=[], buffers=[schema.BufferT()], metadata=[])
        self._graph = schema.SubGraphT(name="main", tensors=[], operators=[])
        self._model.subgraphs = [self._graph]
        self._codes: dict[tuple[str, int], int] = {}
        self._names: set[str] = set()

    def tensor(self, name: str, shape: Sequence[int], kind: str = "FLOAT32") -> int:
        """Adds a tensor that is computed, of the schema's type `kind`; gives its index. A taken name gets a number."""
        return self._tensor(name, shape, 0, kind)

    def constant(self, name: str, values: NDArray[Any]) -> int:
        """Adds a tensor that is known; int32 and int64 are stored as int32, truths as such, all else as float32."""
        kind, dtype = CONSTANTS.get(values.dtype.kind, ("FLOAT32", np.float32))
        self._model.buffers.append(_buffer(self._schema, np.ascontiguousarray(values, dtype).tobytes()))
        return self._tensor(name, values.shape, len(self._model.buffers) - 1, kind)

    def operator(
        self, code: str, inputs: Sequence[int], outputs: Sequence[int], version: int = 1, **options: Any
    ) -> None:
        """Appends operator `code` (the schema's name) with `options` (the schema's field names)."""
        if (code, version) not in self._codes:
            number = getattr(self._schema.BuiltinOperator, code)
            row = self._schema.OperatorCodeT(
                builtinCode=number, deprecatedBuiltinCode=min(number, 127), version=version
            )
            self._model.operatorCodes.append(row)
            self._codes[code, version] = len(self._model.operatorCodes) - 1
        operator = self._schema.OperatorT(
            opcodeIndex=self._codes[code, version], inputs=list(inputs), outputs=list(outputs)
        )
        if code in OPTIONS:
            operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, OPTIONS[code])
            operator.builtinOptions = getattr(self._schema, OPTIONS[code] + "T")(**options)
        self._graph.operators.append(operator)

    def finish(self, inputs: dict[str, int], outputs: dict[str, int]) -> Any:
        """Closes the graph with the signature `serving_default` and gives the schema's model."""
        self._graph.inputs, self._graph.outputs = list(inputs.values()), list(outputs.values())
        entries = [
            [self._schema.TensorMapT(name=name, tensorIndex=index) for name, index in side.items()]
            for side in (inputs, outputs)
        ]
        signature = self._schema.SignatureDefT(
            signatureKey="serving_default", subgraphIndex=0, inputs=entries[0], outputs=entries[1]
        )
        self._model.signatureDefs = [signature]
        return self._model

    def _tensor(self, name: str, shape: Sequence[int], buffer: int, kind: str) -> int:
        free, number = name, 1
        while free in self._names:  # the quantiser knows tensors by their names
            free, number = f"{name}_{number}", number + 1
        self._names.add(free)
        kind_number = getattr(self._schema.TensorType, kind)
        self._graph.tensors.append(
            self._schema.TensorT(name=free, shape=[int(side) for side in shape], type=kind_number, buffer=buffer)
        )
        return len(self._graph.tensors) - 1


def pack(model: Any) -> bytes:
    """Gives the bytes of a .tflite file; the same model gives the same bytes.

    Every buffer lies inside the FlatBuffer at a multiple of 16 bytes, as the schema's `force_align` requires: the
    generated Python writer does not align, and 32-bit ARM traps on unaligned floats.
    """
    import flatbuffers

    model.buffers = [_Aligned(buffer.data) for buffer in model.buffers]
    size = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    builder = flatbuffers.Builder(size + (1 << 18))  # grows by doubling and copying where that is too small
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


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


def set_metadata(model: Any, key: str, value: bytes) -> None:
    """Puts `value` under `key` into the model's metadata, replacing an earlier value."""
    from ai_edge_litert import schema_py_generated as schema

    model.metadata = model.metadata or []
    buffer = _buffer(schema, value)
    for entry in model.metadata:
        if _text(entry.name) == key:
            model.buffers[entry.buffer] = buffer
            return
    model.buffers.append(buffer)
    model.metadata.append(schema.MetadataT(name=key, buffer=len(model.buffers) - 1))


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
            if _text(entry.Name()) == key:
                start, length = _span(model.Buffers(entry.Buffer()), content)
                if length > most:
                    raise ValueError(f"its {key} metadata has {length} bytes; at most {most} are read")
                return content[start : start + length]
    except DAMAGES as error:
        raise ValueError("cut short or damaged: its tables point outside of it") from error
    return None


def _buffer(schema: Any, content: bytes) -> Any:
    return schema.BufferT(data=np.frombuffer(content, np.uint8))


def _text(name: bytes | str | None) -> str:
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


class _Aligned:
    """A buffer that is written at a multiple of 16 bytes."""

    def __init__(self, data: NDArray[np.uint8] | None) -> None:
        self.data = data if data is not None and len(data) else None

    def Pack(self, builder: Any) -> int:
        from ai_edge_litert import schema_py_generated as schema

        vector = None
        if self.data is not None:
            builder.StartVector(1, len(self.data), 16)
            builder.head -= len(self.data)
            builder.Bytes[builder.head : builder.head + len(self.data)] = self.data.tobytes()
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return int(schema.BufferEnd(builder))

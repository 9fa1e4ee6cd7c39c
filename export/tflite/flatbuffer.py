"""TFLite's file format: a graph is written operator by operator, and metadata are replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...models.tflite.tables import name_text

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


def set_metadata(model: Any, key: str, value: bytes) -> None:
    """Puts `value` under `key` into the model's metadata, replacing an earlier value."""
    from ai_edge_litert import schema_py_generated as schema

    model.metadata = model.metadata or []
    buffer = _buffer(schema, value)
    for entry in model.metadata:
        if name_text(entry.name) == key:
            model.buffers[entry.buffer] = buffer
            return
    model.buffers.append(buffer)
    model.metadata.append(schema.MetadataT(name=key, buffer=len(model.buffers) - 1))


def _buffer(schema: Any, content: bytes) -> Any:
    return schema.BufferT(data=np.frombuffer(content, np.uint8))


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

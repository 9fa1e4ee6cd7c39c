"""Networks of Keras and TensorFlow: TensorFlow writes them as a float .tflite file, which is read like any other.

A Lambda layer, or a layer of somebody's own, is code in a model file, and refused; so are operators of TensorFlow that
reach beyond the graph. All of this runs in the process of a conversion.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..spelling import first_line
from .graph.conversion_error import ConversionError
from .network_conversion import Batch, OtherNetwork, Sides
from .quiet import quiet
from .tflite.from_tflite import tflite_to_onnx

USUAL_SIDES = (112, 112)
LARGEST_CONFIG = 16 << 20  # bytes
OWN_CODE = "write it as TFLite where its code is (tf.lite.TFLiteConverter.from_keras_model) and give the .tflite file"
KERAS_MODULES = ("keras", "builtins", "tf_keras", "tensorflow.python.keras", "tensorflow.keras")

SAFE_OPERATORS = frozenset(
    "Abs Add AddN AddV2 All Any AssignVariableOp AvgPool BatchMatMul BatchMatMulV2 BatchMatMulV3 BatchToSpaceND "
    "BiasAdd BroadcastTo Cast ClipByValue ConcatV2 Const Conv2D Conv2DBackpropInput DepthwiseConv2dNative "
    "DisableCopyOnRead Einsum Elu Equal Erf Exp ExpandDims Fill FloorDiv "
    "FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 GatherV2 Greater "
    "GreaterEqual Identity IdentityN L2Loss LRN LeakyRelu Less LessEqual Log MatMul Max MaxPool MaxPoolV2 Maximum "
    "Mean MergeV2Checkpoints Min Minimum MirrorPad Mul Neg NoOp NotEqual Pack Pad PadV2 PartitionedCall Placeholder "
    "PlaceholderWithDefault Pow PreventGradient Prod ReadVariableOp RealDiv Reciprocal Relu Relu6 Reshape "
    "ResizeBilinear ResizeNearestNeighbor RestoreV2 Rsqrt SaveV2 Select SelectV2 Shape ShardedFilename Sigmoid Slice "
    "Softmax Softplus SpaceToBatchND Split SplitV Sqrt Square SquaredDifference Squeeze StatefulPartitionedCall "
    "StaticRegexFullMatch StopGradient StridedSlice StringJoin Sub Sum Tanh Tile Transpose Unpack VarHandleOp "
    "VarIsInitializedOp ZerosLike".split()
)
"""What a SavedModel may compute with; those of its checkpoint only reach its own folder."""


def read_keras(path: Path, sides: Sides | None = None) -> OtherNetwork:
    """Reads a .keras file, or an .h5 file with a whole network.

    Args:
        path: The file.
        sides: Height and width of a face, of a network that takes any; None: 112.

    Raises:
        ConversionError: TensorFlow is not installed; the file is damaged, holds weights only or code, or Keras cannot
            open it; or its network cannot be read.
    """
    _refuse_code(path, _keras_config(path))
    _tensorflow(path)
    import keras

    try:
        with quiet():
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises all kinds
        version = keras.__version__
        why = first_line(error)
        raise ConversionError(f"{path.name} cannot be opened by Keras {version} ({why}); {OWN_CODE}") from None
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        raise ConversionError(f"{path.name} is no embedder: it takes {[tuple(one.shape) for one in model.inputs]}")
    return _by_tflite(path, lambda faces: model(faces, training=False), tuple(model.inputs[0].shape), sides)


def read_saved_model(path: Path, sides: Sides | None = None) -> OtherNetwork:
    """Reads the signature `serving_default` of a SavedModel's folder; see `read_keras`."""
    tf = _tensorflow(path)
    _refuse_operators(path)
    try:
        with quiet():
            model = tf.saved_model.load(str(path))
    except Exception as error:  # TensorFlow raises all kinds
        raise ConversionError(f"{path.name} cannot be opened by TensorFlow: {first_line(error)}") from None
    signature = model.signatures.get("serving_default")
    if signature is None:
        raise ConversionError(f"{path.name} has no signature 'serving_default'; it has {', '.join(model.signatures)}")
    _, inputs = signature.structured_input_signature
    if len(inputs) != 1 or len((spec := next(iter(inputs.values()))).shape) != 4:
        raise ConversionError(f"{path.name} is no embedder: it takes {[str(one.shape) for one in inputs.values()]}")
    return _by_tflite(path, lambda faces: signature(**{next(iter(inputs)): faces}), tuple(spec.shape), sides)


def _tensorflow(path: Path) -> Any:
    if importlib.util.find_spec("tensorflow") is None:
        raise ConversionError(f"{path.name} is read by TensorFlow: pip install 'pocketface[tensorflow]'")
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(1)
    return tensorflow


def _by_tflite(path: Path, call: Any, shape: tuple[int | None, ...], sides: Sides | None) -> OtherNetwork:
    """Has TensorFlow write the network for one face as a .tflite file, and reads that."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    height, width = (own or given for own, given in zip(shape[1:3], sides or USUAL_SIDES, strict=True))
    spec = tf.TensorSpec([1, height, width, shape[3]], tf.float32, name="face")
    with tempfile.TemporaryDirectory() as folder:
        lite = Path(folder) / f"{path.name}.tflite"
        try:
            with quiet():
                one_face = tf.function(call).get_concrete_function(spec)
                frozen = convert_variables_to_constants_v2(one_face)
                lite.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert())
        except Exception as error:  # the converter raises all kinds
            raise ConversionError(f"{path.name} cannot be written as TFLite: {first_line(error)}") from None
        graph = tflite_to_onnx(lite)
    names = [output.name for output in graph.graph.output]

    def run(faces: Batch) -> Mapping[str, Batch]:
        given = frozen(tf.constant(faces))
        results = given if isinstance(given, list | tuple) else [given]
        return dict(zip(names, (np.asarray(one) for one in results), strict=True))

    return OtherNetwork(graph, run)


def _keras_config(path: Path) -> Any:
    """Gives the layers that a file says it has, before Keras builds any."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if archive.getinfo("config.json").file_size > LARGEST_CONFIG:
                    raise ConversionError(f"{path.name} describes its layers in more than {LARGEST_CONFIG} bytes")
                return json.loads(archive.read("config.json"))
        import h5py

        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
    except ConversionError:
        raise
    except Exception as error:  # h5py raises all kinds for damage
        raise ConversionError(f"{path.name} is damaged or no Keras model: {first_line(error)}") from None
    if config is None:
        raise ConversionError(f"{path.name} holds weights without their network; save the whole with model.save")
    return json.loads(config)


def _refuse_code(path: Path, config: Any) -> None:
    for entry in _tables(config):
        layer, module = entry.get("class_name"), entry.get("module")
        if layer in ("Lambda", "TFOpLambda") or entry.get("class_name") == "__lambda__":
            raise ConversionError(f"{path.name} has a {layer} layer, which is code in a model file; {OWN_CODE}")
        if isinstance(module, str) and not module.startswith(KERAS_MODULES):
            raise ConversionError(f"{path.name} has {layer!r} of {module}, which is not Keras' own; {OWN_CODE}")


def _tables(value: Any) -> Iterator[Mapping[str, Any]]:
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            yield one
            left += one.values()
        elif isinstance(one, list):
            left += one


def _refuse_operators(path: Path) -> None:
    """Reads what a SavedModel computes with before TensorFlow opens it: some operators read and write files."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((path / "saved_model.pb").read_bytes())
    except Exception as error:  # protobuf raises its own kind
        raise ConversionError(f"{path.name} is damaged: {first_line(error)}") from None
    for meta in saved.meta_graphs:
        bodies = [meta.graph_def.node, *(function.node_def for function in meta.graph_def.library.function)]
        if unknown := sorted({node.op for body in bodies for node in body} - SAFE_OPERATORS):
            raise ConversionError(
                f"{path.name} computes with {', '.join(unknown[:5])}, which no embedder needs; write it as TFLite "
                "(tf.lite.TFLiteConverter.from_saved_model) and give the .tflite file"
            )

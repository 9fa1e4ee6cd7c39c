"""Every value that a file computes, under the name that it has in the ONNX graph: what `trace` compares."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models.graph.reading import read_onnx
from .artifact import ConversionError

Array = NDArray[np.float32]
Values = dict[str, Array]  # name -> (N, ...), channels first except in .tflite files


def onnx_values(path: Path, inputs: Array) -> Values:
    """Gives what onnxruntime computes for every node of a file, unoptimised."""
    import onnx
    import onnxruntime as ort

    model = read_onnx(path)
    names = [node.output[0] for node in model.graph.node if node.op_type != "Constant"]
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        port = session.get_inputs()[0].name
        faces = [dict(zip(names, session.run(names, {port: face[None]}), strict=True)) for face in inputs]
    except Exception as error:  # onnxruntime has a class for each of its failures
        raise ConversionError(f"onnxruntime cannot run {path.name}: {str(error).splitlines()[0]}") from error
    values = _stacked(faces)
    # A quantised file clips and rounds a value where it is read, under this name.
    return values | {name: values[read] for name in values if (read := f"{name}_DequantizeLinear_Output") in values}


def tflite_values(path: Path, inputs: Array) -> Values:
    """Gives every tensor of a file as LiteRT's plain kernels compute it, dequantised, channels last."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from .tflite.litert import open_interpreter, port_of

    open_interpreter(path)  # raises a sentence where it cannot be open_interpreter
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that keeping all values is for debugging, which this is
        interpreter = Interpreter(
            model_path=str(path),
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,  # XNNPACK hides values
            experimental_preserve_all_tensors=True,
        )
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    constant = {int(index) for op in interpreter._get_ops_details() for index in op["inputs"]}
    constant -= {int(index) for op in interpreter._get_ops_details() for index in op["outputs"]}
    details = [one for one in interpreter.get_tensor_details() if one["name"] and one["index"] not in constant]
    faces = []
    for image in port_of(given).numbers(inputs.transpose(0, 2, 3, 1)):
        interpreter.set_tensor(given["index"], image[None])
        interpreter.invoke()
        faces.append({one["name"]: port_of(one).values(interpreter.get_tensor(one["index"])) for one in details})
    return _stacked(faces)


def coreml_values(path: Path, inputs: Array) -> Values:
    """Gives every value of a package's program as the evaluator computes it; names as `onnx_name` spells them."""
    from .coreml.evaluator import CoreMLEvaluator

    evaluator = CoreMLEvaluator(path)
    return _stacked(
        [
            {name.removesuffix("_cast_fp16"): value for name, value in evaluator.values(face[None]).items()}
            for face in inputs
        ]
    )


def _stacked(faces: list[dict[str, NDArray[Any]]]) -> Values:
    """Joins the values of all faces; leaves out what is not of a face (weights that the file dequantises)."""
    return {
        name: np.concatenate([face[name] for face in faces]).astype(np.float32)
        for name, value in faces[0].items()
        if value.shape[:1] == (1,)
    }

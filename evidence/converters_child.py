"""One conversion by one tool, in a process of its own; converters.py starts it and chooses the Python.

    python evidence/converters_child.py TOOL PRECISION --recipe R --weights FOLDER --onnx FILE --faces FILE --out FILE

Takes up to half a minute. The recipe names the network; the ONNX file is the same network (TensorFlow reads no
PyTorch); the faces are an .npy of (N, 3, 112, 112) float32, preprocessed, which set the int8 ranges.
"""

import argparse
import importlib
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("precision", choices=("fp32", "w8a8"))
    for name in ("--recipe", "--weights", "--onnx", "--faces", "--out"):
        parser.add_argument(name, type=Path, required=True)
    options = parser.parse_args()
    TOOLS[options.tool](options)
    status = Path("/proc/self/status").read_text()  # a parent would see its own peak in what the system tells of us
    print("peak memory, KiB:", next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def pocketface(options: argparse.Namespace) -> None:
    """What `pocketface export` makes, from the PyTorch network on, without its checks."""
    from pocketface.export.artifact import Card
    from pocketface.export.recipe import ExportRecipe
    from pocketface.export.targets import TARGETS, ExportJob, with_bases
    from pocketface.inputs import open_source
    from pocketface.run_recipe import Roots, read_recipe

    roots = Roots(options.recipe.parent, None, options.weights)
    source = open_source(roots.resolve(read_recipe(options.recipe)))
    card = Card(source.name, source.contract, source.embedding_size)
    target = f"tflite-{options.precision}"
    job = ExportJob(source, card, np.load(options.faces), ExportRecipe(targets=(target,)))
    made = {}
    for name in with_bases((target,)):
        path = options.out if name == target else options.out.with_suffix(TARGETS[name].suffix)
        made[name] = TARGETS[name].make(job, made, path)


def litert_torch(options: argparse.Namespace) -> None:
    """litert-torch, channels last at the input as its guide says; int8 by ai-edge-quantizer's own static recipe."""
    import litert_torch
    import torch

    net = litert_torch.to_channel_last_io(published(options), args=[0])
    made = options.out if options.precision == "fp32" else options.out.with_suffix(".fp32.tflite")
    litert_torch.convert(net, (torch.zeros(1, 112, 112, 3),)).export(str(made))
    if options.precision == "w8a8":
        from ai_edge_quantizer import recipe
        from ai_edge_quantizer.quantizer import Quantizer

        quantizer = Quantizer(str(made), recipe.static_wi8_ai8())
        port = next(iter(signature_inputs(made)))
        samples = [{port: face} for face in faces(options)]
        ranges = quantizer.calibrate({"serving_default": samples})
        options.out.write_bytes(bytes(quantizer.quantize(ranges).quantized_model))


def tensorflow(options: argparse.Namespace) -> None:
    """TensorFlow's converter over a tf.function; int8 by its own post-training quantisation, int8 in and out."""
    import tensorflow as tf

    graph = tf.function(graph_of(options.onnx), input_signature=[tf.TensorSpec((1, 112, 112, 3), tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([graph.get_concrete_function()])
    if options.precision == "w8a8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([face] for face in faces(options))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    options.out.write_bytes(converter.convert())


def published(options: argparse.Namespace) -> Any:
    """The trained network in PyTorch."""
    from safetensors.torch import load_file

    recipe = tomllib.loads(options.recipe.read_text(encoding="utf-8"))
    sys.path.insert(0, str(options.recipe.parent))
    file, _, factory = recipe["embedder"].partition(".py:")
    net = getattr(importlib.import_module(file), factory)()
    net.load_state_dict(load_file(options.weights / recipe["weights"]), strict=False)
    return net.eval()


def faces(options: argparse.Namespace) -> Iterator[np.ndarray]:
    """(1, 112, 112, 3) each."""
    for face in np.load(options.faces):
        yield np.ascontiguousarray(face.transpose(1, 2, 0)[None])


def signature_inputs(path: Path) -> dict[str, Any]:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path)).get_signature_runner("serving_default")
    details: dict[str, Any] = runner.get_input_details()
    return details


def graph_of(path: Path) -> Callable[[Any], Any]:
    """The ONNX graph as TensorFlow operators, channels last, as one would port a MobileFaceNet by hand."""
    import onnx
    import tensorflow as tf

    graph = onnx.load(str(path)).graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}

    def conv(x: Any, node: Any, given: dict[str, Any]) -> Any:
        weights = constants[node.input[1]].transpose(2, 3, 1, 0)  # H, W, I, O
        pads, strides = given.get("pads", [0] * 4), list(given.get("strides", [1, 1]))
        if any(pads):
            x = tf.pad(x, [[0, 0], [pads[0], pads[2]], [pads[1], pads[3]], [0, 0]])
        if given.get("group", 1) > 1:
            y = tf.nn.depthwise_conv2d(x, weights.transpose(0, 1, 3, 2), [1, *strides, 1], "VALID")
        else:
            y = tf.nn.conv2d(x, weights, strides, "VALID")
        return y + constants[node.input[2]] if len(node.input) > 2 else y

    def run(faces: Any) -> Any:
        values = {graph.input[0].name: faces}
        for node in graph.node:
            given = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
            inputs = [values.get(name, constants.get(name)) for name in node.input]
            match node.op_type:
                case "Conv":
                    result = conv(inputs[0], node, given)
                case "PRelu":
                    result = tf.nn.relu(inputs[0]) - inputs[1].reshape(-1) * tf.nn.relu(-inputs[0])
                case "Relu":
                    result = tf.nn.relu(inputs[0])
                case "Clip":
                    result = tf.nn.relu6(inputs[0])
                case "Add":
                    result = inputs[0] + inputs[1]
                case "Flatten" | "Reshape":  # of one pixel: the order of its channels stays
                    result = tf.reshape(inputs[0], (1, -1))
                case _:
                    raise ValueError(f"no TensorFlow counterpart of {node.op_type} here")
            values[node.output[0]] = result
        return values[graph.output[0].name]

    return run


TOOLS = {"pocketface": pocketface, "litert-torch": litert_torch, "tensorflow": tensorflow}


if __name__ == "__main__":
    main()

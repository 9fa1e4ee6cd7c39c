"""Files that are damaged or mean harm: one sentence each, no crash, bounded memory and time."""

import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from pocketface.export.exporter import export
from pocketface.export.recipe import ExportRecipe
from pocketface.export.targets import ForeignOnnx
from pocketface.faces.contract import InputContract

MEMORY = 300_000_000  # bytes that refusing a file may take, over what the program takes by itself
SECONDS = 30
SIDE = 16
DAMAGES = 40  # of each format

Model = onnx.ModelProto
Build = Callable[[Path], None]


# ---- a small file in order, to spoil


def network(
    nodes: Iterable[onnx.NodeProto] | None = None,
    constants: dict[str, NDArray[Any]] | None = None,
    *,
    face: Iterable[int | str | None] = (1, 3, SIDE, SIDE),
    embedding: Iterable[int | str | None] | None = (1, 4),
    kind: int = TensorProto.FLOAT,
    opset: int = 18,
    **more: Any,
) -> Model:
    """A convolution, a ReLU, the mean and a matrix: 16x16 faces in, 4 numbers out; or `nodes` from `face` to `out`."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "m": rng.normal(size=(4, 4)).astype(np.float32),
    }
    usual = [
        helper.make_node("Conv", ["face", "w"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["out"]),
    ]
    graph = helper.make_graph(
        usual if nodes is None else nodes,
        "net",
        [helper.make_tensor_value_info("face", kind, face)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, embedding)],
        [numpy_helper.from_array(values, name) for name, values in (weights | (constants or {})).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9, **more)


def node(kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, outputs, **attributes)


def tail(*nodes: onnx.NodeProto, **more: Any) -> Model:
    """The usual network, with `nodes` between its first layers and its mean: from `c` to `r`."""
    usual = network()
    kept = [one for one in usual.graph.node if one.op_type != "Relu"]
    return network([kept[0], *nodes, *kept[1:]], **more)


def saved(model: Model, path: Path) -> None:
    path.write_bytes(model.SerializeToString())


def spoilt(change: Callable[[Model], None], **more: Any) -> Build:
    def build(path: Path) -> None:
        model = network(**more)
        change(model)
        saved(model, path)

    return build


def made(make: Callable[[], Model]) -> Build:
    return lambda path: saved(make(), path)


def branch(*nodes: onnx.NodeProto, output: str) -> onnx.GraphProto:
    return helper.make_graph(nodes, "branch", [], [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)])


# ---- how each is spoilt


def pointing(place: str) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", place), ("offset", "0"), ("length", "432")):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value

    return change


def symlinked(path: Path) -> None:
    (path.parent / "weights.bin").symlink_to("/etc/hostname")
    spoilt(pointing("weights.bin"))(path)


def external_in_a_constant(path: Path) -> None:
    model = tail(node("Constant", [], ["k"], value=numpy_helper.from_array(np.ones(1, np.float32), "k")),
                 node("Add", ["c", "k"], ["r"]))  # fmt: skip
    tensor = model.graph.node[1].attribute[0].t
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    saved(model, path)


def dims(*sides: int) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(sides)

    return change


def weight(value: float) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        values = numpy_helper.to_array(model.graph.initializer[0]).copy()
        values[0, 0, 0, 0] = value
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "w"))

    return change


def without_output(model: Model) -> None:
    del model.graph.output[:]


def uncomputed_output(model: Model) -> None:
    model.graph.output[0].name = "nobody"


def without_nodes(model: Model) -> None:
    del model.graph.node[:]


def second_input(model: Model) -> None:
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 3, SIDE, SIDE]))


def double_weight(model: Model) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def cyclic() -> Model:
    return tail(node("Add", ["c", "late"], ["early"]), node("Relu", ["early"], ["late"]), node("Relu", ["late"], ["r"]))


def endless(levels: int) -> Model:
    inner = branch(node("Identity", ["c"], ["b0"]), output="b0")
    for level in range(1, levels):
        both = dict(then_branch=inner, else_branch=inner) if level < 3 else dict(then_branch=inner)
        inner = branch(node("If", ["yes"], [f"b{level}"], **both), output=f"b{level}")
    return tail(node("If", ["yes"], ["r"], then_branch=inner), constants={"yes": np.array(True)})


def laughing() -> Model:
    """Functions that call the next twice, 40 deep: 2^40 nodes when written out."""
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    functions = [
        helper.make_function(
            "own", f"f{i}", ["x"], ["y"],
            [node(f"f{i + 1}", ["x"], ["z"], domain="own"), node(f"f{i + 1}", ["z"], ["y"], domain="own")], opsets,
        )
        for i in range(40)
    ]  # fmt: skip
    functions.append(helper.make_function("own", "f40", ["x"], ["y"], [node("Relu", ["x"], ["y"])], opsets))
    model = tail(node("f0", ["c"], ["r"], domain="own"), functions=functions)
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def loop() -> Model:
    body = helper.make_graph(
        [node("Identity", ["go"], ["again"]), node("Relu", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
        ],
    )
    times = {"times": np.array(2**62), "yes": np.array(True)}
    return tail(node("Loop", ["times", "yes", "c"], ["r"], body=body), constants=times)


def filled(*sides: int) -> Model:
    """A constant that the file asks to make: added to the image after its mean is taken."""
    return tail(
        node("ConstantOfShape", ["sides"], ["k"]),
        node("ReduceMean", ["k"], ["mean"], keepdims=0),
        node("Add", ["c", "mean"], ["r"]),
        constants={"sides": np.array(sides)},
    )


def hidden_size() -> Model:
    """The same, its size computed by what shape inference does not follow: 10^12 as 10 to the 12th."""
    return tail(
        node("Pow", ["ten", "twelve"], ["float"]),
        node("Cast", ["float"], ["sides"], to=TensorProto.INT64),
        node("ConstantOfShape", ["sides"], ["k"]),
        node("ReduceMean", ["k"], ["mean"], keepdims=0),
        node("Add", ["c", "mean"], ["r"]),
        constants={"ten": np.array([10.0]), "twelve": np.array([12.0])},
    )


def doubled(times: int) -> Model:
    """Joins an image to itself, again and again: 2^times images."""
    names = ["c", *(f"d{i}" for i in range(times))]
    joins = [node("Concat", [one, one], [two], axis=2) for one, two in itertools.pairwise(names)]
    return tail(*joins, node("Relu", [names[-1]], ["r"]))


def resized() -> Model:
    scales = np.array([1, 1, 3e5, 3e5], np.float32)
    return tail(node("Resize", ["c", "", "scales"], ["r"], mode="nearest"), constants={"scales": scales})


def transposed() -> Model:
    kernel = np.ones((4, 4, 1, 1), np.float32)
    return tail(node("ConvTranspose", ["c", "k"], ["r"], strides=[200_000, 200_000]), constants={"k": kernel})


def padded() -> Model:
    wide = np.array([0, 0, 0, 0, 0, 0, 2**40, 2**40])
    return tail(node("Pad", ["c", "wide"], ["r"]), constants={"wide": wide})


def tiled() -> Model:
    return tail(node("Tile", ["c", "times"], ["r"]), constants={"times": np.array([1, 1, 10**6, 10**6])})


def hours() -> Model:
    """Small tensors, 10^15 products: a convolution whose kernel is as large as its image."""
    return tail(
        node("Resize", ["c", "", "s"], ["image"], mode="nearest"),
        node("ConstantOfShape", ["kernel"], ["k"]),
        node("Conv", ["image", "k"], ["r"], pads=[1024] * 4),
        constants={"s": np.array([1, 1, 256, 256], np.float32), "kernel": np.array([4, 4, 2048, 2048])},
    )


def reshaped() -> Model:
    return tail(node("Reshape", ["c", "to"], ["r"]), constants={"to": np.array([1, 10**12])})


def strings() -> Model:
    model = tail(node("Relu", ["c"], ["r"]))
    model.graph.initializer.append(helper.make_tensor("s", TensorProto.STRING, [1], [b"x" * 100]))
    return model


def narrow(kind: int) -> Callable[[], Model]:
    def make() -> Model:
        tensor = TensorProto(name="q", data_type=kind, dims=[2], raw_data=b"\x01\x02")
        model = tail(node("Cast", ["q"], ["k"], to=TensorProto.FLOAT), node("Relu", ["c"], ["r"]), opset=21)
        model.ir_version = 10
        model.graph.initializer.append(tensor)
        return model

    return make


def sparse(model: Model) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "w")
    places = numpy_helper.from_array(np.zeros(1, np.int64))
    del model.graph.initializer[0]
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [10**6, 10**6]))


def opset(number: int) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        model.opset_import[0].version = number

    return change


def twice(model: Model) -> None:
    model.opset_import.append(helper.make_opsetid("", 11))


def nowhere(model: Model) -> None:
    del model.opset_import[:]


def many_nodes() -> Model:
    names = ["c", *(f"n{i}" for i in range(25_000))]
    chain = [node("Relu", [one], [two]) for one, two in itertools.pairwise(names)]
    return tail(*chain, node("Relu", [names[-1]], ["r"]))


def attributeless(model: Model) -> None:
    model.graph.node[0].attribute[0].type = onnx.AttributeProto.STRING


def big_stride(model: Model) -> None:
    model.graph.node[0].CopyFrom(node("Conv", ["face", "w"], ["c"], strides=[0, -(2**62)], pads=[2**62] * 4))


def big_group(model: Model) -> None:
    model.graph.node[0].CopyFrom(node("Conv", ["face", "w"], ["c"], group=0))


def truncated(path: Path) -> None:
    path.write_bytes(network().SerializeToString()[:-200])


def renamed_tflite(path: Path) -> None:
    path.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(200))


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"state_dict": list(range(100))}))


def message(field: int, content: bytes) -> bytes:
    """A field of protobuf that holds bytes."""
    size, length = len(content), b""
    while size >= 128:
        length, size = length + bytes([size % 128 | 128]), size // 128
    return bytes([field << 3 | 2]) + length + bytes([size]) + content


def many_empty(path: Path) -> None:
    """Two bytes a node: 2 MB that are a million nodes, 250 MB, once they are read."""
    path.write_bytes(b"\x08\x09" + message(7, message(1, b"") * 1_000_000) + message(8, b"\x10\x12"))


def nested(path: Path) -> None:
    """A graph in an attribute of a node of a graph, 10,000 deep: what recurses over it runs out of stack."""
    graph = b""
    for _ in range(10_000):
        graph = message(1, message(5, message(6, graph)))
    path.write_bytes(b"\x08\x09" + message(7, graph) + message(8, b"\x10\x12"))


def channels_last() -> Model:
    return network(
        [
            node("Transpose", ["face"], ["t"], perm=[0, 3, 1, 2]),
            node("Conv", ["t", "w"], ["c"]),
            node("GlobalAveragePool", ["c"], ["p"]),
            node("Flatten", ["p"], ["out"]),
        ],
        face=(1, SIDE + 2, SIDE + 2, 3),
    )


def of_bytes() -> Model:
    return network(
        [
            node("Cast", ["face"], ["x"], to=TensorProto.FLOAT),
            node("Conv", ["x", "w"], ["c"]),
            node("GlobalAveragePool", ["c"], ["p"]),
            node("Flatten", ["p"], ["out"]),
        ],
        kind=TensorProto.UINT8,
    )


HOSTILE: dict[str, tuple[Build, str]] = {
    # no ONNX file at all
    "empty": (Path.touch, "has 0 bytes; an embedder's ONNX file has 1 to 1073741824"),
    "directory": (Path.mkdir, "is a folder; an ONNX file is wanted"),
    "text": (lambda path: path.write_text("weights: none\n" * 50) and None, "it is no protobuf message"),
    "zeros": (lambda path: path.write_bytes(bytes(4096)) and None, "is damaged or no ONNX file"),
    "pickle": (pickled, "is damaged or no ONNX file: it is no protobuf message"),
    "tflite": (renamed_tflite, "is damaged or no ONNX file: it is no protobuf message"),
    "truncated": (truncated, "is cut short or damaged: a part ends outside of it"),
    # more structure than an embedder has
    "many_empty_nodes": (many_empty, "lists more than 200000 things; an embedder has some thousand"),
    "many_nodes": (made(many_nodes), "has 25005 nodes; an embedder has at most 20000"),
    "graph_in_graph": (nested, "nests graphs more than 40 messages deep; an embedder's is a plain list"),
    "if_in_if": (made(lambda: endless(20)), "nests graphs more than 40 messages deep"),
    "if": (made(lambda: endless(2)), "has control flow (If 'r'); trace it in eval mode with a fixed input size"),
    "loop": (made(loop), "has control flow (Loop 'r'); trace it in eval mode with a fixed input size"),
    "functions": (made(laughing), "has functions of its own; write them out with onnx.inliner.inline_local_functions"),
    # weights elsewhere
    "external_absolute": (spoilt(pointing("/etc/passwd")), "keeps weights in other files ('w'); put the file of its"),
    "external_above": (spoilt(pointing("../../../../etc/passwd")), "keeps weights in other files ('w')"),
    "external_symlink": (symlinked, "keeps weights in other files ('w')"),
    "external_in_a_constant": (external_in_a_constant, "keeps weights in other files ('k')"),
    # weights that are not what they claim
    "two_gigabytes": (spoilt(dims(512, 1024, 1024)), "has 'w' of shape 512x1024x1024, but 108 numbers for it"),
    "dims_overflow": (spoilt(dims(2**62, 2**62, 3, 3)), "x3x3, but 108 numbers for it; save it anew"),
    "dims_negative": (spoilt(dims(-4, 3, 3, 3)), "has 'w' of shape -4x3x3x3; every side is at least 1"),
    "fewer_bytes": (spoilt(dims(5, 3, 3, 3)), "has 'w' of shape 5x3x3x3, but 108 numbers for it; save it anew"),
    "more_bytes": (spoilt(dims(3, 3, 3, 3)), "has 'w' of shape 3x3x3x3, but 108 numbers for it; save it anew"),
    "zero_channels": (spoilt(dims(0, 3, 3, 3)), "has 'w' of shape 0x3x3x3; every side is at least 1"),
    "not_a_number": (spoilt(weight(np.nan)), "has numbers in 'w' that are not finite; its training went wrong"),
    "infinite": (spoilt(weight(np.inf)), "has numbers in 'w' that are not finite; its training went wrong"),
    "strings": (made(strings), "has 's' of type STRING; known: FLOAT, FLOAT16"),
    "float8": (made(narrow(TensorProto.FLOAT8E4M3FN)), "has 'q' of type FLOAT8E4M3FN; known: FLOAT, FLOAT16"),
    "int4": (made(narrow(TensorProto.INT4)), "has 'q' of type INT4; known: FLOAT, FLOAT16"),
    "sparse": (spoilt(sparse), "has sparse weights; save them dense"),
    # inputs and outputs
    "zero_sized_face": (made(lambda: network(face=(1, 3, 0, SIDE))), "takes 1x3x0x16; the contract says 1x3x16x16"),
    "negative_face": (made(lambda: network(face=(1, 3, -1, SIDE))), "takes 1x3x-1x16; the contract says 1x3x16x16"),
    "absurd_face": (made(lambda: network(face=(1, 3, 2**40, 2**40))), "takes 1x3x1099511627776x1099511627776; the"),
    "wrong_face": (made(lambda: network(face=(1, 3, 112, 112))), "the contract says 1x3x16x16; give its own size with"),
    "five_axes": (made(lambda: network(face=(1, 3, SIDE, SIDE, 1))), "takes 1x3x16x16x1, which is no batch of faces"),
    "channels_last": (made(channels_last), "takes 1x18x18x3, channels last; the contract says 1x3x16x16; give its own"),
    "uint8_face": (
        made(of_bytes),
        "takes uint8 that stand for 0 to 255; by the contract pixels become -0.9",
    ),
    "text_as_face": (made(lambda: network(kind=TensorProto.STRING)), "takes 1x3x16x16 of type string"),
    "two_inputs": (spoilt(second_input), "has 2 inputs and 1 outputs; an embedder has one of each"),
    "no_outputs": (spoilt(without_output), "has 1 inputs and 0 outputs; an embedder has one of each"),
    "image_as_output": (
        made(lambda: network([node("Conv", ["face", "w"], ["out"])], embedding=(1, 4, 14, 14))),
        "gives 'out' (1, 4, 14, 14); an embedder gives a row of numbers",
    ),
    # the graph
    "no_nodes": (spoilt(without_nodes), "is damaged or no ONNX file: it has no nodes"),
    "uncomputed_output": (spoilt(uncomputed_output), "is damaged: nothing computes its output 'nobody'"),
    "weights_named_twice": (spoilt(double_weight), "is damaged: two weights have one name"),
    "values_named_twice": (
        made(lambda: tail(node("Relu", ["c"], ["r"]), node("Abs", ["c"], ["r"]))),
        "is damaged: 'r' is computed twice",
    ),
    "cycle": (
        made(cyclic),
        "Add reads 'late', which it only computes later: its nodes are out of order, or in a circle",
    ),
    "undefined_input": (made(lambda: tail(node("Add", ["c", "ghost"], ["r"]))), "Add reads 'ghost', which it never"),
    "unknown_operator": (
        made(lambda: tail(node("Embiggen", ["c"], ["r"]))),
        "uses Embiggen 'r', which ONNX has not in",
    ),
    "custom_domain": (
        made(lambda: tail(node("Gelu", ["c"], ["r"], domain="com.microsoft"))),
        "uses operators that are not ONNX's own: Gelu",
    ),
    "random_numbers": (
        made(lambda: tail(node("RandomNormalLike", ["c"], ["n"]), node("Add", ["c", "n"], ["r"]))),
        "draws random numbers (RandomNormalLike 'n'); export it in eval mode",
    ),
    "opset_3": (spoilt(opset(3)), "says opset 3; export it with one of 7 to"),
    "opset_999": (spoilt(opset(999)), "says opset 999; export it with one of 7 to"),
    "opset_overflow": (spoilt(opset(2**62)), "says opset 4611686018427387904; export it with one of 7 to"),
    "two_opsets": (spoilt(twice), "says opset 18, 11; export it with one of 7 to"),
    "no_opset": (spoilt(nowhere), "says opset none; export it with one of 7 to"),
    "attribute_of_another_kind": (spoilt(attributeless), "type field and data field mismatch in attribute pads"),
    "stride_overflow": (spoilt(big_stride), "its shapes contradict each other: "),
    "no_groups": (spoilt(big_group), "onnxruntime cannot run no_groups.onnx: "),
    # what a small file makes large
    "constant_of_10^12": (made(lambda: filled(10**6, 10**6)), "ConstantOfShape 'k' gives 1000000x1000000 numbers; all"),
    "constant_of_2^63": (made(lambda: filled(2**31, 2**32)), "ConstantOfShape 'k' gives 2147483648x4294967296 numbers"),
    "constant_of_hidden_size": (made(hidden_size), "ConstantOfShape 'k' gives 999999995904 numbers; all layers togeth"),
    "reshape_to_10^12": (made(reshaped), "its shapes contradict each other: "),
    "resize": (made(resized), "Resize 'r' gives 1x4x2400000x2400000 numbers; all layers together may give 268435456"),
    "transposed_convolution": (made(transposed), "ConvTranspose 'r' gives 1x4x1400001x1400001 numbers; all layers"),
    "pad": (made(padded), "Pad 'r' gives 1x4x1099511627784x1099511627784 numbers; all layers together may give"),
    "tile": (made(tiled), "Tile 'r' gives 1x4x8000000x8000000 numbers; all layers together may give 268435456"),
    "joined_40_times": (made(lambda: doubled(40)), "Concat 'd19' gives 1x4x8388608x8 numbers; all layers together may"),
    "joined_70_times": (made(lambda: doubled(70)), "its shapes contradict each other: "),
    "hours_of_work": (made(hours), "does 3e+14 multiplications up to Conv 'r'; at most 3e+11 are run"),
}
"""How each is made, and what must be said of it."""

DRIVER = """
import json, os, resource, signal, sys, time
from pathlib import Path

import numpy as np, onnx, onnxruntime, onnxsim, torch
from onnx.reference import ReferenceEvaluator
from ai_edge_litert import interpreter

from pocketface import __main__, chain
from pocketface.export import exporter
from pocketface.export.coreml.package import import_coremltools
from pocketface.export.formats import open_session, read_artifact

import_coremltools()
torch.set_num_threads(1)
faces, memory, seconds, *files = sys.argv[1:]
page = os.sysconf("SC_PAGE_SIZE")


def work(file):
    if "damaged" in file:
        read_artifact(Path(file))
        open_session(Path(file)).run(np.zeros((1, 3, 16, 16), np.float32))
        return
    sys.argv = ["pocketface", "export", file, "--mean", "127.5", "--scale", "0.0078125", "--size", "16",
                "--faces", faces, "--target", "tflite-fp32", "--target", "coreml-fp32", "--out", file + ".out"]
    __main__.main()


for file in files:
    started, child = time.perf_counter(), os.fork()  # a crash, or a gigabyte, is the child's alone
    if not child:
        limit = int(Path("/proc/self/statm").read_text().split()[0]) * page + 8 * int(memory)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(int(seconds))
        said = os.open(file + ".said", os.O_CREAT | os.O_WRONLY)
        os.dup2(said, 1), os.dup2(said, 2)
        code = 0
        try:
            work(file)
        except SystemExit as exit_:
            code = exit_.code or 0
        except ValueError as error:
            print(error)
            code = 2
        except BaseException as error:
            print(f"escaped: {error!r}")
            code = 99
        sys.stdout.flush()
        os._exit(code)
    _, status, usage = os.wait4(child, 0)
    print(json.dumps({
        "file": file, "code": os.waitstatus_to_exitcode(status), "seconds": time.perf_counter() - started,
        "bytes": 1024 * usage.ru_maxrss, "said": Path(file + ".said").read_text(errors="replace"),
    }), flush=True)
"""


def asked(files: list[Path], faces: Path) -> list[dict[str, Any]]:
    """Gives what the program said to each file, exit code, seconds and the most bytes it held."""
    arguments = [str(faces), str(MEMORY), str(SECONDS), *map(str, files)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", DRIVER, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(answers) == len(files), run.stderr
    return answers


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    for person, crop in zip("AB", pixels, strict=True):
        (folder / person).mkdir()
        Image.fromarray(crop).save(folder / person / "1.png")
    return folder


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "good.onnx"
    saved(network(), path)
    return path


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, good: Path, faces: Path) -> dict[str, dict[str, Any]]:
    """One process asks for all: its imports take longer than the work."""
    folder, files = tmp_path_factory.mktemp("hostile"), {"good": good}
    for name, (build, _) in HOSTILE.items():
        files[name] = folder / name.replace("^", "") / f"{name.replace('^', '')}.onnx"
        files[name].parent.mkdir()
        build(files[name])
    files |= damaged_artifacts(good, tmp_path_factory.mktemp("damaged"))
    return dict(zip(files, asked(list(files.values()), faces), strict=True))


def damaged_artifacts(good: Path, folder: Path) -> dict[str, Path]:
    """Files that were made here, with bytes that are changed, cut off or zeroed."""
    source = ForeignOnnx(good, "damaged", InputContract(SIDE, SIDE))
    crops = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    files = {}
    for result in export(source, crops, ExportRecipe(targets=("onnx", "tflite-fp32", "coreml-fp32")), folder):
        assert result.artifact is not None
        path, inside = result.artifact.path, ""
        if path.is_dir():
            inside = "Data/com.apple.CoreML/model.mlmodel"
        for number in range(DAMAGES):
            copy = folder / str(number) / path.name
            copy.parent.mkdir(exist_ok=True)
            (shutil.copytree if inside else shutil.copy)(path, copy)
            (copy / inside).write_bytes(damaged((path / inside).read_bytes(), np.random.default_rng(number)))
            files[f"{result.artifact.format} {number}"] = copy
    return files


def test_the_file_that_is_spoilt_below_is_in_order(answers: dict[str, dict[str, Any]]) -> None:
    assert answers["good"]["code"] == 0, answers["good"]["said"]
    assert "good.mlpackage: cosine to the source 1.00000" in answers["good"]["said"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_sentence_and_little_memory(name: str, answers: dict[str, dict[str, Any]]) -> None:
    answer = answers[name]
    assert answer["code"] == 2, answer["said"]
    said = answer["said"].splitlines()
    assert len(said) == 1 and said[0].startswith("pocketface: ")
    assert HOSTILE[name][1] in said[0] and len(said[0]) < 500
    assert Path(answer["file"]).name in said[0]
    assert answer["bytes"] - answers["good"]["bytes"] < MEMORY
    assert answer["seconds"] < SECONDS


@pytest.mark.parametrize("kind", ["onnx", "tflite", "coreml"])
def test_a_damaged_artifact_never_crashes(kind: str, answers: dict[str, dict[str, Any]]) -> None:
    """It is opened and run as a benchmark does: it works, or says what is wrong."""
    codes = [answers[f"{kind} {number}"]["code"] for number in range(DAMAGES)]
    assert set(codes) <= {0, 2} and codes.count(2) > DAMAGES // 2


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(content)))
    match rng.integers(4):
        case 0:
            return content[:place]
        case 1:
            return content[:place] + bytes(16) + content[place + 16 :]
        case 2:
            return content[: place & ~3] + b"\xff\xff\xff\x7f" + content[(place & ~3) + 4 :]
    spoilt = bytearray(content)
    for where in rng.integers(len(content), size=8):
        spoilt[where] = rng.integers(256)
    return bytes(spoilt)

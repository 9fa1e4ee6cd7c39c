"""Files that somebody else made, as their exporters write them: each becomes every format, equal to the file itself."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pocketface.export.artifact import Card, ConversionError
from pocketface.export.exporter import export
from pocketface.export.formats import open_session
from pocketface.export.graph.to_onnx import adopt_onnx
from pocketface.export.recipe import ExportRecipe
from pocketface.export.reference import embed_source
from pocketface.export.session import unit_embeddings
from pocketface.export.targets import ForeignOnnx
from pocketface.faces.contract import Faces, InputContract
from pocketface.models.embedder import Embeddings, unit
from pocketface.models.graph.adoption import foreign_graph
from pocketface.models.graph.reading import parse_onnx
from pocketface.models.graph.size_limits import check_sizes

SIDE = 16
CONTRACT = InputContract(SIDE, SIDE)
CARD = Card("net", CONTRACT, 4)
NEWEST = onnx.defs.onnx_opset_version()
ALL = ("onnx", "tflite-fp32", "coreml-fp32")


@pytest.fixture(scope="module")
def faces() -> Faces:
    return np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)


def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def weights() -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(1)
    norms = {
        f"{name}_{part}": rng.uniform(0.5, 1.5, width) * (1 if part in ("scale", "variance") else 0.3)
        for name, width in (("n1", 6), ("n2", 6), ("n3", 4))
        for part in ("scale", "shift", "mean", "variance")
    }
    others = {
        "w1": rng.normal(size=(6, 3, 3, 3)) / 5,
        "slope": rng.uniform(-0.5, 0.5, (6, 1, 1)),
        "w2": rng.normal(size=(6, 1, 3, 3)) / 3,
        "low": np.array(0.0),
        "high": np.array(6.0),
        "m": rng.normal(size=(4, 6)),
        "b": rng.normal(size=4),
    }
    return {name: values.astype(np.float32) for name, values in (norms | others).items()}


def network(
    opset: int = 17, batch: int | str = 1, tail: list[onnx.NodeProto] | None = None, **changed: NDArray[Any]
) -> onnx.ModelProto:
    """As PyTorch's older exporter writes it: batch norms live, a flatten that computes its shape, a dropout."""
    integers = {
        "first": np.array(0),
        "rest": np.array([-1]),
        "front": np.array([0]),
        "ratio": np.array(0.5, np.float32),
    }
    new = opset >= 13
    nodes = [
        node("Conv", "face w1", "c1", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("BatchNormalization", "c1 n1_scale n1_shift n1_mean n1_variance", "b1"),
        node("PRelu", "b1 slope", "p1"),
        node("Conv", "p1 w2", "c2", group=6, pads=[1, 1, 1, 1]),
        node("BatchNormalization", "c2 n2_scale n2_shift n2_mean n2_variance", "b2"),
        node("Clip", "b2 low high", "r2"),
        node("Add", "r2 p1", "a"),
        node("GlobalAveragePool", "a", "g"),
        node("Shape", "g", "sides"),
        node("Gather", "sides first", "count", axis=0),
        node("Unsqueeze", "count front", "row") if new else node("Unsqueeze", "count", "row", axes=[0]),
        node("Concat", "row rest", "flat", axis=0),
        node("Reshape", "g flat", "f"),
        node("Dropout", "f ratio", "d") if opset >= 12 else node("Dropout", "f", "d", ratio=0.5),
        node("Gemm", "d m b", "e", transB=1),
        node("BatchNormalization", "e n3_scale n3_shift n3_mean n3_variance", "out" if tail is None else "n"),
        *(tail or []),
    ]
    constants = weights() | integers | changed
    used = {name for one in nodes for name in one.input}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("face", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, 4])],
        [numpy_helper.from_array(values, name) for name, values in constants.items() if name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 22 else 10)


def as_it_is(model: onnx.ModelProto, faces: Faces, dtype: Any = np.float32) -> Embeddings:
    """What onnxruntime makes of the file that was given, face by face."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    port = session.get_inputs()[0].name
    inputs = CONTRACT.preprocess(faces).astype(dtype)
    return unit(np.concatenate([session.run(None, {port: face[None]})[0] for face in inputs]).astype(np.float32))


def files_of(model: onnx.ModelProto, faces: Faces, folder: Path, targets: tuple[str, ...] = ALL) -> list[Any]:
    folder.mkdir(exist_ok=True)
    onnx.save(model, folder / "theirs.onnx")
    made = export(ForeignOnnx(folder / "theirs.onnx", "net", CONTRACT), faces, ExportRecipe(targets=targets), folder)
    assert [result.reason for result in made] == [""] * len(targets)
    return [result.artifact for result in made]


def check(
    model: onnx.ModelProto,
    faces: Faces,
    folder: Path,
    expected: Embeddings | None = None,
    targets: tuple[str, ...] = ALL,
) -> list[Any]:
    """Exports `model`; every file gives what onnxruntime makes of the file itself."""
    expected = as_it_is(model, faces) if expected is None else expected
    made = files_of(model, faces, folder, targets)
    for artifact in made:
        found = unit_embeddings(open_session(artifact.path), CONTRACT, faces)
        assert np.abs(found - expected).max() <= 1e-5, artifact.path.name
    return made


@pytest.mark.parametrize("opset", [11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26])
def test_every_opset_from_11_on(opset: int, faces: Faces, tmp_path: Path) -> None:
    check(network(opset), faces, tmp_path, targets=ALL if opset in (11, 18, 26) else ALL[:2])


@pytest.mark.parametrize("opset", range(27, NEWEST + 1))
def test_opsets_that_onnxruntime_does_not_run_yet(opset: int, faces: Faces, tmp_path: Path) -> None:
    check(network(opset), faces, tmp_path, as_it_is(network(18), faces))


@pytest.mark.parametrize("batch", ["N", -1])
def test_a_free_batch_becomes_one(batch: Any, faces: Faces, tmp_path: Path) -> None:
    model = network(batch="N")
    if batch == -1:
        model.graph.input[0].type.tensor_type.shape.dim[0].ClearField("dim_param")
    onnx_file = check(model, faces, tmp_path)[0]
    (port,) = onnx.load(onnx_file.path).graph.input
    assert (port.name, [side.dim_value for side in port.type.tensor_type.shape.dim]) == ("input", [1, 3, 16, 16])


@pytest.mark.parametrize("shape", [(6, 1, 1), (1, 6, 1, 1), (1,), (1, 1, 1)])
def test_slopes_of_every_shape(shape: tuple[int, ...], faces: Faces, tmp_path: Path) -> None:
    slope = np.linspace(-0.5, 0.5, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    check(network(slope=slope), faces, tmp_path)


def test_slopes_that_onnxruntime_would_lay_along_the_width_are_laid_along_the_channels(
    faces: Faces, tmp_path: Path
) -> None:
    slope = weights()["slope"]
    expected = as_it_is(network(slope=slope), faces)
    made = check(network(slope=slope.reshape(6)), faces, tmp_path, expected)
    said = "PReLU slopes of 1 layers along the channels"
    assert [[str(each) for each in artifact.card.rewrites] for artifact in made] == [[said]] * 3


def test_slopes_along_a_width_that_fits_stay_there(faces: Faces, tmp_path: Path) -> None:
    slope = np.linspace(-0.5, 0.5, 8, dtype=np.float32)  # the image is 8 wide, with 6 channels
    check(network(slope=slope), faces, tmp_path, targets=("onnx",))


def test_weights_that_are_listed_as_inputs_are_weights(faces: Faces, tmp_path: Path) -> None:
    model = network(11)
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    onnx_file = check(model, faces, tmp_path)[0]
    assert len(onnx.load(onnx_file.path).graph.input) == 1


def test_weights_in_constant_nodes(faces: Faces, tmp_path: Path) -> None:
    model = network()
    constants = [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in model.graph.initializer]
    nodes = [*constants, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.node.extend(nodes)
    check(model, faces, tmp_path)


@pytest.mark.parametrize(("stored", "said"), [(np.float16, "float16 to float32"), (np.float64, "double to float32")])
def test_weights_that_are_stored_in_another_precision(stored: Any, said: str, faces: Faces, tmp_path: Path) -> None:
    model = network(w1=weights()["w1"].astype(stored), m=weights()["m"].astype(stored))
    casts = [helper.make_node("Cast", [name], [f"{name}_wide"], to=TensorProto.FLOAT) for name in ("w1", "m")]
    for one in model.graph.node:
        one.input[:] = [f"{name}_wide" if name in ("w1", "m") else name for name in one.input]
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    made = check(model, faces, tmp_path)
    assert [str(each) for each in made[1].card.rewrites] == [said]


def all_in(kind: int) -> onnx.ModelProto:
    model = network()
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(dtype), tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = kind
    return model


def test_a_net_in_double_is_computed_in_single(faces: Faces, tmp_path: Path) -> None:
    """Which onnxruntime has no convolution for."""
    made = check(all_in(TensorProto.DOUBLE), faces, tmp_path, as_it_is(network(), faces))
    assert [str(each) for each in made[0].card.rewrites] == ["double to float32"]


def test_a_net_in_half_precision_is_computed_in_single(faces: Faces, tmp_path: Path) -> None:
    """Which rounds less than the file itself: near it, not equal."""
    model = all_in(TensorProto.FLOAT16)
    theirs = as_it_is(model, faces, np.float16)
    for artifact in files_of(model, faces, tmp_path):
        found = unit_embeddings(open_session(artifact.path), CONTRACT, faces)
        assert (found * theirs).sum(1).min() > 0.99999
        assert np.abs(found - theirs).max() > 1e-6
        assert [str(each) for each in artifact.card.rewrites] == ["float16 to float32"]


LENGTHS = {
    "LpNormalization": [node("LpNormalization", "n", "out", axis=1)],
    "ReduceL2": [
        node("ReduceL2", "n", "l", axes=[1]),
        node("Clip", "l tiny", "k"),
        node("Shape", "n", "s"),
        node("Expand", "k s", "x"),
        node("Div", "n x", "out"),
    ],
}


@pytest.mark.parametrize("kind", LENGTHS)
def test_an_output_of_length_one_is_recognised(kind: str, faces: Faces, tmp_path: Path) -> None:
    model = network(tail=LENGTHS[kind], tiny=np.array(1e-12, np.float32))
    assert [artifact.card.normalised for artifact in check(model, faces, tmp_path)] == [True] * 3


def test_an_output_of_another_length_is_none(faces: Faces, tmp_path: Path) -> None:
    assert not files_of(network(), faces, tmp_path, ("onnx",))[0].card.normalised


def test_the_reference_is_the_file_itself(faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that adoption changed by mistake is refused."""
    onnx.save(network(), tmp_path / "theirs.onnx")
    source = ForeignOnnx(tmp_path / "theirs.onnx", "net", CONTRACT)
    assert np.abs(embed_source(source, faces).embeddings - as_it_is(network(), faces)).max() < 1e-6
    other = weights()["m"] * np.float32([[1], [1], [1], [1.1]])
    with monkeypatch.context() as patched:
        from pocketface.export.graph import to_onnx

        changed = foreign_graph(tmp_path / "theirs.onnx", CONTRACT)
        for tensor in changed.model.graph.initializer:
            if tensor.name == "m":
                tensor.CopyFrom(numpy_helper.from_array(other, "m"))
        patched.setattr(to_onnx, "foreign_graph", lambda *_: changed)
        (made,) = export(source, faces, ExportRecipe(targets=("onnx",)), tmp_path / "out")
    assert "net.onnx differs from its source by" in made.reason


def test_names_that_are_taken_make_room(faces: Faces, tmp_path: Path) -> None:
    """Their image is called `embedding`, and a weight `input`."""
    model = network()
    for one in model.graph.node:
        one.input[:] = [{"p1": "embedding", "w2": "input"}.get(name, name) for name in one.input]
        one.output[:] = [{"p1": "embedding"}.get(name, name) for name in one.output]
    next(tensor for tensor in model.graph.initializer if tensor.name == "w2").name = "input"
    check(model, faces, tmp_path)


def test_batch_norms_and_shapes_are_folded(faces: Faces, tmp_path: Path) -> None:
    onnx.save(network(), tmp_path / "theirs.onnx")
    adopted = onnx.load(adopt_onnx(tmp_path / "theirs.onnx", CARD, tmp_path / "ours.onnx").path)
    kinds = [one.op_type for one in adopted.graph.node]
    assert not {"Shape", "Gather", "Unsqueeze", "Concat", "Dropout"} & set(kinds)
    assert kinds.count("BatchNormalization") <= 1  # the one that follows the Gemm


def test_a_bound_may_be_infinite_but_nothing_may_be_no_number(faces: Faces, tmp_path: Path) -> None:
    check(network(high=np.array(np.inf, np.float32)), faces, tmp_path)
    for bad in (network(high=np.array(np.nan, np.float32)), network(b=np.full(4, -np.inf, np.float32))):
        with pytest.raises(ConversionError, match="that are not finite; its training went wrong"):
            parse_onnx(bad.SerializeToString(), "net.onnx")


def test_what_is_refused(tmp_path: Path) -> None:
    onnx.save(network(6, 1), tmp_path / "theirs.onnx")
    with pytest.raises(ConversionError, match=r"theirs\.onnx says opset 6; export it with one of 7 to"):
        adopt_onnx(tmp_path / "theirs.onnx", CARD, tmp_path / "ours.onnx")


def test_sizes_do_not_believe_what_the_file_says_of_its_values() -> None:
    model = network()
    doubling = [
        node("Concat", f"{'a' if not i else f'a{i}'} {'a' if not i else f'a{i}'}", f"a{i + 1}", axis=2)
        for i in range(30)
    ]
    nodes = [one for one in model.graph.node if one.op_type != "GlobalAveragePool"]
    place = next(i for i, one in enumerate(nodes) if one.op_type == "Shape")
    nodes[place:place] = [*doubling, node("GlobalAveragePool", "a30", "g")]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.value_info.append(helper.make_tensor_value_info("a30", TensorProto.FLOAT, [1, 6, 8, 8]))
    with pytest.raises(ConversionError, match=r"net: Concat 'a\d+' gives 1x6x\d+x8 numbers; all layers together may"):
        check_sizes(model, "net")


def test_the_published_foreign_file(shared: Path, tmp_path: Path) -> None:
    contract = InputContract(mean=(123.675, 116.28, 103.53), scale=(1 / 58.395, 1 / 57.12, 1 / 57.375))
    faces = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), np.uint8)
    path = shared / "models" / "foreign_mobilefacenet_relu6.onnx"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    theirs = unit(np.concatenate([session.run(None, {"input0": face[None]})[0] for face in contract.preprocess(faces)]))
    source = ForeignOnnx(path, "foreign", contract)
    for result in export(source, faces, ExportRecipe(targets=ALL), tmp_path):
        assert result.artifact is not None, result.reason
        assert np.abs(unit_embeddings(open_session(result.artifact.path), contract, faces) - theirs).max() <= 1e-5

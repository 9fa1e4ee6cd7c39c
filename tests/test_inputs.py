"""What users' names open: networks, ONNX files, faces and pairs."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import pocketface as pf
from pocketface.export import ForeignOnnx, export
from pocketface.export.trace import trace
from pocketface.faces.rendering.synthetic import synthetic_faces
from pocketface.inputs import open_faces, open_pairs, open_source, source_of
from pocketface.models import create, save_checkpoint
from pocketface.models import open_embedder as open_trainable
from pocketface.run_recipe import RunRecipe

SMALL = pf.InputContract(32, 32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An ONNX file of another tool: the mean of each channel, times a matrix."""
    weights = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
            onnx.helper.make_node("Flatten", ["mean"], ["flat"]),
            onnx.helper.make_node("MatMul", ["flat", "w"], ["y"]),
        ],
        "net",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 32, 32])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def test_an_onnx_file_is_opened_and_exported(file: Path, tmp_path: Path) -> None:
    source = pf.open_embedder(file, contract=SMALL, licence="MIT")
    assert source == ForeignOnnx(file, "net", SMALL, "MIT")
    faces = open_faces("synthetic", SMALL, identities=2)
    results = export(source, faces.faces, pf.ExportRecipe(targets=("onnx", "tflite-fp32")), tmp_path / "out")
    assert [result.reason for result in results] == ["", ""]
    assert all(result.artifact is not None and result.artifact.path.is_file() for result in results)


def test_an_onnx_file_without_a_contract_or_that_is_none(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"net\.onnx does not say what it must be fed; give --mean and --scale"):
        pf.open_embedder(file)
    with pytest.raises(ValueError, match=r"there is no file nosuch\.onnx"):
        pf.open_embedder("nosuch.onnx", contract=SMALL)
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"net\.onnx"):
        pf.open_embedder(str(file), contract=SMALL)


def test_a_name_and_a_checkpoint_give_an_embedder(tmp_path: Path) -> None:
    folder = save_checkpoint(create("mobilefacenet", width=0.25), tmp_path / "checkpoint")
    for opened in (pf.open_embedder(folder), open_source(RunRecipe(embedder=str(folder)))):
        assert isinstance(opened, pf.Embedder) and opened.architecture == "mobilefacenet"
    named = pf.open_embedder("mobilefacenet", name="mine", options={"width": 0.25}, contract=pf.ARCFACE)
    assert isinstance(named, pf.Embedder) and named.name == "mine"


def test_rendered_people_of_training_are_never_those_of_the_pairs() -> None:
    faces, pairs = open_faces("synthetic", SMALL, identities=3), open_pairs("synthetic", None, SMALL)
    assert len(faces) == 12 and faces.names == ("synthetic/0", "synthetic/1", "synthetic/2")
    assert faces.faces.shape == (12, 32, 32, 3) and pairs.faces.shape[1:] == (32, 32, 3)
    assert set(pairs.identities.tolist()).isdisjoint(range(250))


def test_rendered_faces_that_are_not_square_are_the_middle_of_square_ones() -> None:
    narrow, square = (open_faces("synthetic", pf.InputContract(40, side), 1).faces for side in (32, 40))
    assert narrow.shape == (4, 40, 32, 3)
    assert np.array_equal(narrow, square[:, :, 4:36])
    assert open_pairs("synthetic", None, pf.InputContract(32, 40)).faces.shape[1:] == (32, 40, 3)


def test_a_folder_per_person_is_paired_across_people(tmp_path: Path) -> None:
    pixels, labels = synthetic_faces(4, 2, size=32)
    for number, (face, label) in enumerate(zip(pixels, labels, strict=True)):
        (tmp_path / str(label)).mkdir(exist_ok=True)
        Image.fromarray(face).save(tmp_path / str(label) / f"{number}.png")
    pairs = open_pairs(str(tmp_path), None, SMALL)
    assert (int(pairs.same.sum()), int((~pairs.same).sum()), pairs.whole) == (4, 4, True)
    with pytest.raises(ValueError, match="is a folder of people, whose images lie in it; leave out images"):
        open_pairs(str(tmp_path), tmp_path, SMALL)


def test_the_source_of_a_file_is_the_one_that_its_card_names(file: Path, tmp_path: Path) -> None:
    faces = open_faces("synthetic", SMALL, identities=2).faces
    for number, source in enumerate((pf.open_embedder(file, contract=SMALL), open_trainable(file, contract=SMALL))):
        (made,) = export(source, faces, pf.ExportRecipe(targets=("onnx",)), tmp_path / str(number))
        assert made.artifact is not None
        found = source_of(made.artifact, str(file))
        assert type(found) is type(source)
        assert all(layer.difference < 1e-5 for layer in trace(found, made.artifact, faces[:1]).layers)

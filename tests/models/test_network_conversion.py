"""Files of other tools become ONNX files in a process of their own, proven, and once."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

sys.path.insert(0, str(Path(__file__).parent / "tflite"))

from lite_files import LiteNet

from pocketface.export.formats import open_session, read_artifact
from pocketface.export.session import unit_embeddings
from pocketface.faces.contract import InputContract
from pocketface.inputs import open_embedder
from pocketface.models import open_embedder as open_trainable
from pocketface.models.graph.conversion_error import ConversionError
from pocketface.models.network_conversion import converted, is_other_network, with_weights_inside

EIGHT = InputContract(8, 8, mean=(0.0,) * 3, scale=(1 / 255,) * 3)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pocketface" / "networks"


def lite_file(path: Path) -> Path:
    net = LiteNet((2, 8, 8, 3))
    x = net.conv(net.face, 4, 2, fusedActivationFunction=3)
    row = net.op("RESHAPE", [x, net.constant(np.array([2, 64]))], (2, 64), newShape=[2, 64])
    return net.save(path, net.op("FULLY_CONNECTED", [row, net.weights(5, 64), net.weights(5)], (2, 5)))


def test_a_tflite_file_is_a_source_with_its_own_name_kind_and_hash(tmp_path: Path, own_cache: Path) -> None:
    path = lite_file(tmp_path / "app.tflite")
    source = open_embedder(path, contract=EIGHT)
    assert source.name == "app" and source.path.name == "app.tflite.onnx" and source.path.is_relative_to(own_cache)
    (origin,) = source.ancestry
    digest = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
    assert (origin["weights"], origin["architecture"], origin["sha256"]) == ("app.tflite", "a TFLite file", digest)
    assert 0 <= origin["difference"] < 1e-5
    assert [one.op_type for one in onnx.load(source.path).graph.node] == ["Conv", "Clip", "Reshape", "Gemm"]


def test_the_same_network_can_be_trained(tmp_path: Path) -> None:
    embedder = open_trainable(lite_file(tmp_path / "app.tflite"), contract=EIGHT)
    assert embedder.embedding_size == 5 and embedder.ancestry[0]["weights"] == "app.tflite"
    assert sum(parameter.numel() for parameter in embedder.backbone.parameters()) >= 3 * 3 * 3 * 4 + 64 * 5


def test_what_was_converted_before_is_kept_and_what_is_damaged_is_made_again(tmp_path: Path) -> None:
    path = lite_file(tmp_path / "app.tflite")
    first = converted(path)
    content, made = first.onnx.read_bytes(), first.onnx.stat().st_mtime_ns
    assert converted(path).onnx.stat().st_mtime_ns == made
    first.onnx.write_bytes(b"damaged")
    assert converted(path).onnx.read_bytes() == content


def split_file(folder: Path, ending: str = ".data", **changed: str) -> Path:
    """An ONNX file as `torch.onnx.export` writes it: weights in net.onnx.data, beside it; `changed` in what it says."""
    whole = onnx.load(converted(lite_file(folder / "app.tflite")).onnx)
    path = folder / "net.onnx"
    onnx.save_model(whole, path, save_as_external_data=True, location=f"net.onnx{ending}", size_threshold=0)
    split = onnx.load(path, load_external_data=False)
    for tensor in split.graph.initializer:
        for entry in tensor.external_data:
            entry.value = changed.get(entry.key, entry.value)
    path.write_bytes(split.SerializeToString())
    return path


@pytest.mark.parametrize("ending", [".data", "_data"])
def test_an_onnx_file_comes_with_the_weights_beside_it(ending: str, tmp_path: Path) -> None:
    path = split_file(tmp_path, ending)
    faces = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
    expected = open_trainable(tmp_path / "app.tflite", contract=EIGHT).embed(faces)
    embedder = open_trainable(path, contract=EIGHT)
    np.testing.assert_allclose(embedder.embed(faces), expected, atol=1e-6)
    assert embedder.name == "net" and embedder.ancestry[0]["weights"] == "net.onnx"
    for opened in (open_embedder(path, contract=EIGHT).path, read_artifact(path, EIGHT).path):
        np.testing.assert_allclose(unit_embeddings(open_session(opened), EIGHT, faces), expected, atol=1e-6)


def test_other_weights_beside_the_same_file_are_another_network(tmp_path: Path) -> None:
    path = split_file(tmp_path)
    first = with_weights_inside(path)
    assert with_weights_inside(path) == first != path
    beside = tmp_path / "net.onnx.data"
    beside.write_bytes(np.zeros(beside.stat().st_size // 4, np.float32).tobytes())
    assert with_weights_inside(path) != first


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            {"location": "../net.onnx.data"},
            r"net\.onnx keeps weights in '\.\./net\.onnx\.data'; only net\.onnx\.data, beside it",
        ),
        ({"location": "/etc/passwd"}, "keeps weights in '/etc/passwd'; only"),
        ({"offset": "1000000"}, "from where net.onnx.data has no such bytes"),
        ({"offset": "-4"}, "from where net.onnx.data has no such bytes"),
        ({"length": "many"}, "from where net.onnx.data has no such bytes"),
        ({"length": "8"}, "of shape .*, but 2 numbers for it"),
    ],
)
def test_nothing_but_the_weights_beside_it_is_read(said: dict[str, str], reason: str, tmp_path: Path) -> None:
    path = split_file(tmp_path, **said)
    with pytest.raises(ConversionError, match=reason):
        open_embedder(path, contract=EIGHT)


def test_weights_that_are_a_link_or_are_not_there_are_refused(tmp_path: Path) -> None:
    path = split_file(tmp_path)
    beside = tmp_path / "net.onnx.data"
    beside.rename(tmp_path / "elsewhere")
    reason = (
        "keeps weights in other files .*; put the file of its weights beside it, called as the tool that wrote it did"
    )
    with pytest.raises(ConversionError, match=reason):
        open_embedder(path, contract=EIGHT)
    beside.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConversionError, match=reason):
        open_embedder(path, contract=EIGHT)


def test_a_file_that_is_none_says_what_it_is(tmp_path: Path) -> None:
    page, missing, cut = tmp_path / "page.tflite", tmp_path / "missing.tflite", tmp_path / "cut.tflite"
    page.write_text("<!DOCTYPE html><html>")
    cut.write_bytes(lite_file(tmp_path / "app.tflite").read_bytes()[:600])
    for path, sentence in ((page, "is an HTML page"), (missing, "there is no file"), (cut, "cut.tflite is cut short")):
        assert is_other_network(path)
        with pytest.raises(ValueError, match=sentence):
            open_embedder(path, contract=EIGHT)


def test_a_file_whose_input_nobody_states_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mean"):
        open_embedder(lite_file(tmp_path / "app.tflite"))
    with pytest.raises(ValueError, match="mean"):
        open_trainable(tmp_path / "app.tflite")


KERAS = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
from keras import Input, Model, layers
keras.utils.set_random_seed(0)
x = face = Input((8, 8, 3))
slopes = keras.initializers.RandomUniform(-0.2, 0.4)
x = layers.PReLU(slopes, shared_axes=[1, 2])(layers.BatchNormalization()(layers.Conv2D(4, 3, 2, "same")(x)))
x = layers.Dense(5)(layers.Dropout(0.4)(layers.Flatten()(x)))
folder = sys.argv[1]
Model(face, x).save(f"{folder}/net.keras")
Model(face, x).export(f"{folder}/saved", verbose=False)
"""


@pytest.fixture(scope="module")
def keras_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tensorflow", reason="wants the extra `tensorflow`")
    folder = tmp_path_factory.mktemp("keras")
    subprocess.run([sys.executable, "-c", KERAS, str(folder)], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(
    ("name", "kind"),
    [("net.keras", "a Keras model"), ("saved", "a TensorFlow SavedModel")],
)
def test_networks_of_keras_are_read(name: str, kind: str, keras_files: Path) -> None:
    found = converted(keras_files / name)
    assert found.kind == kind and found.difference < 1e-5
    assert [one.op_type for one in onnx.load(found.onnx).graph.node] == ["Conv", "PRelu", "Reshape", "Gemm"]


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (
            {"module": "keras.layers", "class_name": "Lambda"},
            r"has a Lambda layer, which is code in a model file; write",
        ),
        ({"module": "os", "class_name": "Dense"}, r"has 'Dense' of os, which is not Keras' own; write it as TFLite"),
    ],
)
def test_code_in_a_keras_model_is_refused_before_keras_opens_it(
    layer: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"config": {"layers": [{"config": {"layer": layer}}]}}))
    with pytest.raises(ConversionError, match=sentence):
        converted(tmp_path / "net.keras")


def test_weights_of_keras_alone_are_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="wants the extra `tensorflow`")
    with h5py.File(tmp_path / "net.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.zeros((2, 2), np.float32)
    with pytest.raises(ConversionError, match=r"holds weights without their network; save the whole with model.save"):
        converted(tmp_path / "net.weights.h5")


def test_a_saved_model_that_reaches_for_files_is_refused_before_tensorflow_opens_it(
    keras_files: Path, tmp_path: Path
) -> None:
    content = (keras_files / "saved" / "saved_model.pb").read_bytes()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(content.replace(b"BiasAdd", b"ReadAll"))
    with pytest.raises(ConversionError, match=r"saved computes with ReadAll, which no embedder needs"):
        converted(tmp_path / "saved")

"""Bytes counted against bytes written, and against Python's own zip files."""

import zipfile

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from torch import nn

from pocketface.benchmark.measurement import RowMaker
from pocketface.benchmark.size import compressed_bytes, size_bytes, size_rows, weights_bytes
from pocketface.benchmark.speed.layer_measuring import tflite_of
from pocketface.faces.contract import InputContract
from pocketface.models.checkpoint import save_checkpoint
from pocketface.models.embedder import Embedder

ROW = RowMaker(model="m", artifact="a", format="coreml", precision="fp16", runtime="", device="")


@pytest.fixture
def package(tmp_path):
    """A folder like an .mlpackage: 3000 zeros in one file, 1000 random bytes in a deeper one."""
    inner = tmp_path / "net.mlpackage" / "Data"
    inner.mkdir(parents=True)
    (inner.parent / "Manifest.json").write_bytes(bytes(3000))
    (inner / "weight.bin").write_bytes(np.random.default_rng(0).bytes(1000))
    return inner.parent


def test_a_file_has_the_bytes_that_were_written(tmp_path):
    (tmp_path / "net.tflite").write_bytes(bytes(1234))
    assert size_bytes(tmp_path / "net.tflite") == 1234


def test_a_folder_has_the_bytes_of_all_its_files(package):
    assert size_bytes(package) == 4000


def test_a_link_out_of_the_folder_weighs_nothing(package, tmp_path):
    (tmp_path / "large").write_bytes(bytes(9999))
    (package / "link").symlink_to(tmp_path / "large")
    assert size_bytes(package) == 4000


def test_weights_beside_an_onnx_graph_belong_to_it(tmp_path):
    (tmp_path / "net.onnx").write_bytes(bytes(100))
    (tmp_path / "net.onnx.data").write_bytes(bytes(900))
    assert size_bytes(tmp_path / "net.onnx") == 1000


def test_compressed_bytes_are_those_of_a_zip(package):
    with zipfile.ZipFile(package.parent / "app.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for file in ("Manifest.json", "Data/weight.bin"):
            archive.write(package / file, file)
        theirs = sum(candidate.compress_size for candidate in archive.infolist())
    assert compressed_bytes(package) == theirs


def test_random_bytes_do_not_shrink_and_zeros_do(package):
    assert compressed_bytes(package / "Data" / "weight.bin") >= 1000
    assert compressed_bytes(package / "Manifest.json") < 50


def test_nothing_has_no_size(tmp_path):
    with pytest.raises(ValueError, match="nothing to weigh"):
        size_bytes(tmp_path / "net.onnx")


def test_rows_are_in_bytes(package):
    rows = size_rows(package, ROW)
    assert [(row.metric, row.value, row.unit) for row in rows] == [
        ("size_bytes", 4000, "bytes"),
        ("compressed_bytes", compressed_bytes(package), "bytes"),
    ]


def dense(rows=64):
    """A network of one matrix, rows x 192, and as many biases."""
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(192, rows))
    return Embedder("dense", backbone, InputContract(8, 8), architecture="tests:dense")


def test_the_weights_of_every_format_are_those_of_the_network(tmp_path):
    embedder = dense()
    tflite = tflite_of(embedder, tmp_path)
    floats = 64 * 192 + 64
    assert weights_bytes(save_checkpoint(embedder, tmp_path / "checkpoint")) == 4 * floats
    for file in (tflite, tflite.with_suffix(".onnx")):
        beside = weights_bytes(file) - 4 * floats  # shapes of reshapes and the like
        assert 0 <= beside <= 64
        assert weights_bytes(file) < size_bytes(file)
    model = onnx.load(tflite.with_suffix(".onnx"))
    initializers = sum(numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer)
    assert weights_bytes(tflite.with_suffix(".onnx")) >= initializers
    metrics = {row.metric: row.value for row in size_rows(tflite, ROW)}
    assert metrics["weights_bytes"] == weights_bytes(tflite)


def test_the_weights_of_a_package_are_its_weight_file(package):
    weights = package / "Data" / "com.apple.CoreML" / "weights"
    weights.mkdir(parents=True)
    (weights / "weight.bin").write_bytes(bytes(700))
    assert weights_bytes(package) == 700


def test_a_damaged_file_has_no_weights_to_tell(tmp_path):
    for name in ("net.tflite", "net.onnx", "net.ort", "net.pte"):
        (tmp_path / name).write_bytes(b"\0\0\0\0TFL3" + bytes(range(200)))
        assert weights_bytes(tmp_path / name) is None

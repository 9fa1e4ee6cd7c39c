"""Files on a folder of faces without labels."""

from pathlib import Path

import onnx
from PIL import Image

from pocketface.benchmark.recipe import BenchmarkRecipe
from pocketface.benchmark.unlabelled_runner import compare_unlabelled
from pocketface.faces.contract import InputContract
from pocketface.faces.rendering.synthetic import synthetic_faces


def test_files_on_a_folder_of_faces_without_labels(tmp_path: Path) -> None:
    faces, _ = synthetic_faces(20, 1, size=32)
    (tmp_path / "faces").mkdir()
    for number, face in enumerate(faces):
        Image.fromarray(face).save(tmp_path / "faces" / f"{number:02d}.png")
    paths = [colours(tmp_path / name, grid) for name, grid in (("source.onnx", 8), ("coarse.onnx", 16))]
    recipe = BenchmarkRecipe(threads=(1,), minimum_runs=5, minimum_seconds=0, rounds=1)
    contract = InputContract(32, 32)
    rows = compare_unlabelled(paths, tmp_path / "faces", recipe, tmp_path / "out", threshold=-1.0, contract=contract)
    assert (tmp_path / "out" / "measurements.json").is_file()
    found = {(row.artifact, row.metric): row for row in rows}
    source, coarse = found["source.onnx", "jitter_consistency"], found["coarse.onnx", "jitter_consistency"]
    assert 0.5 < (source.value or 0) < (coarse.value or 0) < 1  # larger cells see less of two pixels
    assert coarse.conditions["source"] == source.value
    assert ("source.onnx", "neighbour_overlap_10") not in found
    overlap = found["coarse.onnx", "neighbour_overlap_10"]
    assert (overlap.n, overlap.conditions["to"]) == (20, "source")
    assert 10 / 19 < (overlap.value or 0) <= 1  # better than chance
    transported = found["coarse.onnx", "transported_threshold_1e-3"]  # the source accepts all: so does this
    assert (transported.conditions["accepted"], transported.n) == (190, 190)
    assert found["coarse.onnx", "embedding_cosine_mean"].reason == "source gives 48 numbers per face, this file 12"
    assert any(row.metric == "latency_ms_p50" for row in rows)


def colours(path: Path, grid: int) -> Path:
    """Writes a network whose embedding is the mean colour of each cell of `grid` x `grid` pixels."""
    pool = onnx.helper.make_node("AveragePool", ["input"], ["p"], kernel_shape=[grid, grid], strides=[grid, grid])
    flat = onnx.helper.make_node("Flatten", ["p"], ["embedding"])
    value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    ports = [value("input", kind, [1, 3, 32, 32])], [value("embedding", kind, [1, 3 * (32 // grid) ** 2])]
    graph = onnx.helper.make_graph([pool, flat], "g", *ports)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    return path

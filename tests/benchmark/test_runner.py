"""The stage on files that fail: a reason in the row, never a number of something else."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest

from pocketface.benchmark.measurement import is_of_rendered_faces
from pocketface.benchmark.recipe import BenchmarkRecipe
from pocketface.benchmark.runner import benchmark_files
from pocketface.faces.contract import InputContract
from pocketface.faces.drawn_pairs import cross_pairs, synthetic_pairs
from pocketface.faces.folders import LabelledFaces

QUICK = BenchmarkRecipe(threads=(1,), minimum_runs=5, minimum_seconds=0, rounds=1)


def mean_colour(path: Path, factor: float) -> Path:
    """Writes a network whose embedding is the mean of each channel, times `factor`."""
    nodes = [
        onnx.helper.make_node("GlobalAveragePool", ["input"], ["g"]),
        onnx.helper.make_node("Flatten", ["g"], ["f"]),
        onnx.helper.make_node("Mul", ["f", "factor"], ["embedding"]),
    ]
    value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    constants = [onnx.numpy_helper.from_array(np.float32([factor]), "factor")]
    ports = [value("input", kind, [1, 3, 32, 32])], [value("embedding", kind, [1, 3])]
    graph = onnx.helper.make_graph(nodes, "g", *ports, constants)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_without_the_source_nothing_is_compared_with_another_file(tmp_path: Path) -> None:
    files = [mean_colour(tmp_path / "source.onnx", 3e38), mean_colour(tmp_path / "copy.onnx", 2.0)]
    contract = InputContract(32, 32, scale=(1.0, 1.0, 1.0))  # beyond float32
    rows = benchmark_files(
        files, lambda _: synthetic_pairs(20, 2, 0, 32, 0), QUICK, tmp_path / "out", contract=contract
    )
    (source,) = [row for row in rows if row.artifact == "source.onnx" and row.metric == "verification_accuracy"]
    assert source.value is None and "not finite" in source.reason
    (cosine,) = [row for row in rows if row.metric == "embedding_cosine_mean"]
    assert (cosine.artifact, cosine.value, cosine.valid) == ("copy.onnx", None, False)
    assert "not finite" in cosine.reason
    assert [row.artifact for row in rows if row.metric == "verification_accuracy" and row.valid] == ["copy.onnx"]


def test_rows_and_lines_of_rendered_pairs_say_so(tmp_path: Path) -> None:
    files, contract = [mean_colour(tmp_path / "a.onnx", 1.0)], InputContract(32, 32)
    pairs, lines = synthetic_pairs(20, 2, 0, 32, 0), list[str]()
    rows = benchmark_files(files, lambda _: pairs, QUICK, tmp_path / "drawn", lines.append, contract)
    accuracy = next(row for row in rows if row.metric == "verification_accuracy")
    assert accuracy.conditions["faces_kind"] == "rendered" and is_of_rendered_faces(accuracy)
    (line,) = [line for line in lines if line.startswith("a.onnx: accuracy ")]
    assert line.endswith(" % (rendered faces, not people)")
    photos = dataclasses.replace(pairs, rendered=False)
    rows = benchmark_files(files, lambda _: photos, QUICK, tmp_path / "photos", contract=contract)
    assert not any(map(is_of_rendered_faces, rows))


def test_low_fars_of_a_folder_of_people_count_every_pair_of_its_faces(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    colours = random.integers(0, 256, (40, 1, 3)) + random.integers(-9, 10, (40, 2, 3))
    pixels = np.broadcast_to(np.clip(colours, 0, 255).reshape(80, 1, 1, 3), (80, 32, 32, 3)).astype(np.uint8)
    folder = LabelledFaces(pixels, np.repeat(np.arange(40), 2), tuple(f"p{number}" for number in range(40)), "")
    rows = benchmark_files(
        [mean_colour(tmp_path / "a.onnx", 1.0)],
        lambda _: cross_pairs(folder),
        QUICK,
        tmp_path / "out",
        contract=InputContract(32, 32),
    )
    by_metric = {row.metric: row for row in rows}
    accuracy, threshold = by_metric["verification_accuracy"], by_metric["threshold_at_far_1e-2"]
    assert accuracy.n == 80
    assert accuracy.conditions["sample_of_pairs"] == (
        "40 of 40 genuine pairs, and 40 of 240 impostor pairs of two people in one fold"  # 10 x 6 couples x 4
    )
    assert (threshold.n, threshold.conditions["impostor_pairs"], threshold.valid) == (3160, 3120, True)  # 80 x 79 / 2
    assert threshold.conditions["measured_far"] == 31 / 3120 and threshold.low < threshold.value < threshold.high
    refused = by_metric["threshold_at_far_1e-3"]
    assert refused.reason == "FAR 0.001 wants at least 30,000 impostor pairs, of which it accepts 30; there are 3,120"
    assert len([row for row in rows if row.metric == "tar_at_far_1e-2"]) == 1


def test_layers_of_a_file_without_its_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pocketface trace SOURCE FILE"):
        benchmark_files([], lambda _: synthetic_pairs(2, 2, 0, 32, 0), BenchmarkRecipe(layers=True), tmp_path)

"""Disturbed crops: where pixels go, and what a network that sees colours or places makes of it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from pocketface.benchmark.findings.disturbances import DISTURBANCES, compressed, displaced, jittered
from pocketface.benchmark.findings.robustness import disturbed_sample, disturbed_verdicts
from pocketface.benchmark.measurement import Measurement
from pocketface.benchmark.recipe import BenchmarkRecipe
from pocketface.benchmark.runner import benchmark_files
from pocketface.faces.contract import Faces, InputContract
from pocketface.faces.drawn_pairs import synthetic_pairs
from pocketface.faces.rendering.synthetic import synthetic_faces
from pocketface.models.embedder import unit


def spot(x: float, y: float, count: int = 20) -> Faces:
    """Crops of 112x112 with one soft spot at (x, y), in pixels from the left and top edge."""
    across = np.arange(112) + 0.5
    light = 200 * np.exp(-((across - x) ** 2 + (across[:, None] - y) ** 2) / 18)
    return np.repeat(np.rint(light).astype(np.uint8)[None, ..., None], count, 0).repeat(3, 3)


def centres(faces: Faces) -> Any:
    light = faces[..., 0].astype(float)
    across = np.arange(faces.shape[1]) + 0.5
    total = light.sum((1, 2))
    return np.stack([(light * across).sum((1, 2)) / total, (light * across[:, None]).sum((1, 2)) / total], 1)


def test_a_shift_moves_every_crop_as_far_each_in_its_own_direction() -> None:
    found = centres(displaced(spot(56, 56), np.random.default_rng(0), shift=4)) - 56
    assert np.hypot(*found.T) == pytest.approx(np.full(20, 4), abs=0.15)
    assert len(np.unique(np.rint(np.degrees(np.arctan2(*found.T)) / 30))) >= 6


def test_a_turn_is_about_the_centre_to_either_side() -> None:
    found = centres(displaced(spot(86, 56), np.random.default_rng(0), turn=5)) - 56  # 30 pixels right of the centre
    assert np.hypot(*found.T) == pytest.approx(np.full(20, 30), abs=0.05)
    angles = np.degrees(np.arctan2(found[:, 1], found[:, 0]))
    assert np.abs(angles) == pytest.approx(np.full(20, 5), abs=0.1)
    assert 5 <= (angles > 0).sum() <= 15


def test_a_scale_is_larger_or_smaller() -> None:
    found = np.hypot(*(centres(displaced(spot(86, 56), np.random.default_rng(0), scale=0.05)) - 56).T)
    larger = found > 30
    assert found[larger] == pytest.approx(np.full(larger.sum(), 31.5), abs=0.05)
    assert found[~larger] == pytest.approx(np.full((~larger).sum(), 30 / 1.05), abs=0.05)
    assert 5 <= larger.sum() <= 15


def test_small_crops_move_by_as_large_a_part() -> None:
    halved = spot(56, 56)[:, ::2, ::2]
    found = centres(displaced(halved, np.random.default_rng(0), shift=4)) - centres(halved)
    assert np.hypot(*found.T) == pytest.approx(np.full(20, 2), abs=0.15)


def test_without_a_move_nothing_changes() -> None:
    faces, _ = synthetic_faces(2, 1, size=64)
    assert np.array_equal(displaced(faces, np.random.default_rng(0)), faces)


def test_a_seed_always_gives_the_same_crops() -> None:
    faces, _ = synthetic_faces(2, 1, size=64)
    assert np.array_equal(jittered(faces, 3), jittered(faces, 3))
    assert not np.array_equal(jittered(faces, 3), jittered(faces, 4))


def test_lower_quality_is_farther_from_the_original() -> None:
    faces, _ = synthetic_faces(4, 1)
    far = [float(np.abs(compressed(faces, quality).astype(int) - faces).mean()) for quality in (95, 60, 30)]
    assert 0 < far[0] < far[1] < far[2]


def test_swapped_channels_and_half_the_brightness() -> None:
    random, pixel = np.random.default_rng(0), np.full((1, 8, 8, 3), (200, 100, 50), np.uint8)
    assert DISTURBANCES["BGR"](pixel, random)[0, 0, 0].tolist() == [50, 100, 200]
    assert DISTURBANCES["half as bright"](pixel, random)[0, 0, 0].tolist() == [100, 50, 25]


def test_a_sample_is_half_genuine_and_holds_each_face_once_per_condition() -> None:
    pairs = synthetic_pairs(20, 3, size=32)
    sample = disturbed_sample(pairs, 20)
    assert (len(sample.same), int(sample.same.sum())) == (20, 10)
    assert sample.conditions == ("as they are", *DISTURBANCES)
    faces = len(sample.crops) // 9
    first, chosen = sample.crops[:faces], sample.pairs
    assert np.array_equal(first[sample.left], pairs.faces[pairs.left[chosen]])
    assert np.array_equal(first[sample.right], pairs.faces[pairs.right[chosen]])
    assert np.array_equal(sample.crops[7 * faces : 8 * faces], first[..., ::-1])  # BGR
    assert len(disturbed_sample(pairs, 1000).same) == len(pairs)


def test_disturbed_pairs_are_judged_by_the_undisturbed_threshold() -> None:
    sample = disturbed_sample(synthetic_pairs(20, 3, size=32), 20)
    faces = len(sample.crops) // 9
    alone = np.eye(faces, dtype=np.float32)
    person = alone.copy()
    for left, right in zip(sample.left[sample.same], sample.right[sample.same], strict=True):
        person[right] = person[left]
    together = np.repeat(unit(np.ones((1, faces), np.float32)), faces, 0)
    # As they are: genuine pairs alike. First disturbance: nobody is like anybody. Second: all are alike.
    verdicts = disturbed_verdicts(np.concatenate([person, alone, together, *[person] * 6]), sample)
    shares = [verdicts.right[name].mean() for name in sample.conditions[:4]]
    assert shares[0] == shares[3] >= 0.9
    assert shares[1:3] == [0.5, 0.5]
    assert verdicts.cosine["as they are"] == pytest.approx(1)
    assert verdicts.cosine["shift 4 px"] == pytest.approx(1 / np.sqrt(faces))


def colours(path: Path, weights: tuple[float, float, float]) -> Path:
    """Writes a network whose embedding is the mean of each channel by its weight, in 16 cells."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("AveragePool", ["input"], ["p"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Mul", ["p", "weights"], ["w"]),
        helper.make_node("Flatten", ["w"], ["embedding"]),
    ]
    constants = [onnx.numpy_helper.from_array(np.float32(weights).reshape(1, 3, 1, 1), "weights")]
    value = helper.make_tensor_value_info
    ports = [value("input", kind, [1, 3, 32, 32])], [value("embedding", kind, [1, 48])]
    graph = helper.make_graph(nodes, "g", *ports, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_file_that_sees_no_colour_does_not_mind_that_channels_are_swapped(tmp_path: Path) -> None:
    files = [colours(tmp_path / "red.onnx", (1, 0, 0)), colours(tmp_path / "green.onnx", (0, 1, 0))]
    recipe = BenchmarkRecipe(threads=(1,), minimum_runs=5, minimum_seconds=0, rounds=1, robustness=20, arm64=())
    rows = benchmark_files(
        files, lambda _: synthetic_pairs(20, 2, size=32), recipe, tmp_path / "out", contract=InputContract(32, 32)
    )

    def of(file: str, metric: str, part: str) -> Measurement:
        (found,) = [
            row for row in rows if (row.artifact, row.metric, row.conditions.get("part")) == (file, metric, part)
        ]
        return found

    assert of("green.onnx", "disturbed_cosine_mean", "BGR").value == pytest.approx(1)
    assert (of("red.onnx", "disturbed_cosine_mean", "BGR").value or 0) < 0.999
    swapped = of("green.onnx", "disturbed_accuracy", "BGR")
    assert (swapped.n, swapped.value) == (20, swapped.conditions["undisturbed"])
    compared = of("green.onnx", "disturbed_accuracy_difference", "BGR")
    red = of("red.onnx", "disturbed_accuracy", "BGR")
    assert compared.value == pytest.approx((swapped.value or 0) - (red.value or 0))
    assert compared.conditions["lost"] == 0
    assert compared.conditions["source_lost"] == pytest.approx(red.conditions["undisturbed"] - (red.value or 0))

"""The evaluator: its modes, pictures, many faces at once, and what it refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketface.export.coreml.evaluator import CoreMLEvaluator
from pocketface.export.coreml.package import import_coremltools
from pocketface.export.formats import read_artifact
from pocketface.faces.contract import InputContract

from .conftest import numbers, two_layers


def test_fp16_mode_rounds_each_result_and_exact_does_not(package: Callable[..., Path], tmp_path: Path) -> None:
    def build(mb: Any, x: Any) -> Any:
        x = mb.add(x=mb.reduce_mean(x=x, axes=[2, 3], keep_dims=False), y=np.float32(2048))
        return mb.sub(x=x, y=np.float32(2048))  # half precision counts in twos from 2048 on, halfway to even

    path = package(tmp_path / "a.mlpackage", build, half=True)
    face = np.ones((1, 3, 4, 4), np.float32) * np.array([1, 1.5, 3], np.float32).reshape(3, 1, 1)
    assert CoreMLEvaluator(path, "exact").run(face).tolist() == [[1, 1.5, 3]]
    assert CoreMLEvaluator(path).run(face).tolist() == [[0, 2, 4]]


def test_a_naive_norm_overflows_beyond_256_where_squares_are_summed_in_half_precision(
    package: Callable[..., Path],
    tmp_path: Path,
) -> None:
    def build(mb: Any, x: Any) -> Any:
        x = mb.mul(x=mb.reshape(x=x, shape=[1, 48]), y=np.float32(500))
        return mb.real_div(x=x, y=mb.reduce_l2_norm(x=x, axes=[1], keep_dims=True))

    path, face = package(tmp_path / "a.mlpackage", build, half=True), numbers(1, 3, 4, 4)
    lengths = {mode: np.linalg.norm(CoreMLEvaluator(path, mode).run(face)) for mode in ("fp16", "fp16acc")}  # type: ignore[arg-type]
    assert lengths == {"fp16": pytest.approx(1, abs=1e-3), "fp16acc": 0}


@pytest.mark.parametrize(("layout", "expected"), [("RGB", [21, 41, 61]), ("BGR", [61, 41, 21])])
def test_a_picture_comes_to_the_program_in_the_order_of_colours_that_it_asks_for(
    package: Callable[..., Path], layout: str, expected: list[int], tmp_path: Path
) -> None:
    build: Any = lambda mb, x: mb.reduce_mean(x=x, axes=[2, 3], keep_dims=False)  # noqa: E731
    ct = import_coremltools()
    entry = ct.ImageType(
        name="input", shape=(1, 3, 8, 8), scale=2.0, bias=[1, 1, 1], color_layout=layout, channel_first=True
    )
    session = CoreMLEvaluator(package(tmp_path / "a.mlpackage", build, entry=entry))
    red, green, blue = (np.full((8, 8), value, np.float32) for value in (10.2, 20, 30))  # pixels are whole numbers
    assert session.run(np.stack([red, green, blue])[None]).tolist() == [expected]


def test_a_picture_in_grey_is_given_luma(package: Callable[..., Path], tmp_path: Path) -> None:
    entry = import_coremltools().ImageType(name="input", shape=(1, 1, 8, 8), color_layout="G", channel_first=True)
    path = package(tmp_path / "a.mlpackage", lambda mb, x: mb.reshape(x=x, shape=[1, 64]), entry=entry)
    contract = read_artifact(path).card.contract
    assert contract == InputContract(8, 8, "gray", (0.0,) * 3, (1.0,) * 3)
    red = np.broadcast_to(np.uint8([255, 0, 0]), (1, 8, 8, 3))
    assert CoreMLEvaluator(path).run(contract.preprocess(red)).tolist() == [[76.0] * 64]  # 0.299 * 255


def test_a_foreign_picture_is_given_the_picture_whatever_else_is_stated(
    package: Callable[..., Path], tmp_path: Path
) -> None:
    def build(mb: Any, x: Any) -> Any:
        return mb.reduce_mean(x=x, axes=[2, 3], keep_dims=False)

    ct = import_coremltools()
    entry = ct.ImageType(name="input", shape=(1, 3, 8, 8), scale=1 / 127.5, bias=[-1, -1, -1], channel_first=True)
    path = package(tmp_path / "a.mlpackage", build, entry=entry)
    face = np.broadcast_to(np.uint8([255, 0, 51]), (1, 8, 8, 3))
    for stated in (None, InputContract(8, 8)):
        artifact = read_artifact(path, stated)
        found = CoreMLEvaluator(path).run(artifact.card.contract.preprocess(face))
        np.testing.assert_allclose(found, [[1, -1, -0.6]], atol=1e-6)
        assert artifact.card.input == "image"


def test_a_flexible_batch_takes_any_number_of_faces(package: Callable[..., Path], tmp_path: Path) -> None:
    def build(mb: Any, x: Any) -> Any:
        return mb.reshape(x=mb.reduce_mean(x=x, axes=[2, 3], keep_dims=True), shape=[0, 3])  # 0 keeps the side

    ct = import_coremltools()
    entry = ct.TensorType(name="input", shape=(ct.RangeDim(1, 8, 1), 3, 8, 8))
    path = package(tmp_path / "a.mlpackage", build, entry=entry)
    assert read_artifact(path, InputContract(8, 8)).batch is None
    faces = np.arange(2 * 3, dtype=np.float32).reshape(2, 3, 1, 1) * np.ones((2, 3, 8, 8), np.float32)
    assert CoreMLEvaluator(path).run(faces).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_the_named_output_of_a_program_with_several_is_run(tmp_path: Path) -> None:
    ct = import_coremltools()
    from coremltools.converters.mil import Builder as mb

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3, 4, 4))], opset_version=ct.target.iOS16)
    def program(x: Any) -> Any:
        means = mb.reduce_mean(x=x, axes=[2, 3], keep_dims=False, name="means")
        return (
            mb.reduce_mean(x=means, axes=[1], keep_dims=True, name="mean"),
            means,
            mb.add(x=means, y=means, name="sums"),
        )

    exact, target = ct.precision.FLOAT32, ct.target.iOS16
    model = ct.convert(program, compute_precision=exact, minimum_deployment_target=target, skip_model_load=True)
    model.save(str(tmp_path / "a.mlpackage"))
    with pytest.raises(ValueError, match=r"2 outputs that may be the embedding, 'means' \(1, 3\), 'sums' \(1, 3\)"):
        CoreMLEvaluator(tmp_path / "a.mlpackage")
    face = np.float32([1, 2, 3]).reshape(1, 3, 1, 1) * np.ones((1, 3, 4, 4), np.float32)
    assert CoreMLEvaluator(tmp_path / "a.mlpackage", output="sums").run(face).tolist() == [[2, 4, 6]]


def test_many_faces_give_what_each_gives_alone(package: Callable[..., Path], tmp_path: Path) -> None:
    session = CoreMLEvaluator(package(tmp_path / "a.mlpackage", two_layers))
    faces = numbers(19, 3, 4, 4, seed=5)
    alone = np.concatenate([session.run(face[None]) for face in faces])
    np.testing.assert_allclose(session.run(faces), alone, rtol=1e-5, atol=1e-5)
    assert session.run(faces[:0]).shape == (0, 64)


@pytest.mark.parametrize(
    "build",
    [
        lambda mb, x: mb.reshape(x=mb.transpose(x=x, perm=[1, 0, 2, 3]), shape=[1, 48]),
        lambda mb, x: mb.reshape(x=mb.softmax(x=x, axis=0), shape=[1, 48]),
        lambda mb, x: mb.reshape(x=mb.reduce_sum(x=x, axes=[0, 1], keep_dims=False), shape=[1, 16]),
        lambda mb, x: mb.reshape(x=mb.mul(x=x, y=mb.reduce_max(x=x, axes=[1, 2], keep_dims=False)), shape=[1, 48]),
    ],
    ids=["transpose", "softmax", "reduce", "broadcast"],
)
def test_a_program_that_mixes_its_first_axis_never_mixes_faces(
    package: Callable[..., Path], build: Any, tmp_path: Path
) -> None:
    session = CoreMLEvaluator(package(tmp_path / "a.mlpackage", build))
    faces = numbers(4, 3, 4, 4)
    alone = np.concatenate([session.run(face[None]) for face in faces])
    np.testing.assert_allclose(session.run(faces), alone, rtol=1e-6)


def test_inputs_of_another_size_are_refused(package: Callable[..., Path], tmp_path: Path) -> None:
    session = CoreMLEvaluator(package(tmp_path / "a.mlpackage", two_layers))
    with pytest.raises(ValueError, match=r"takes \(N, 3, 4, 4\), not \(1, 3, 5, 4\)"):
        session.run(numbers(1, 3, 5, 4))


def test_an_operator_that_the_evaluator_has_not_is_named(package: Callable[..., Path], tmp_path: Path) -> None:
    path = package(tmp_path / "a.mlpackage", lambda mb, x: mb.reshape(x=mb.atan(x=x), shape=[1, 48]))
    with pytest.raises(ValueError, match="has no operator atan"):
        CoreMLEvaluator(path)


def test_an_unknown_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no mode 'int8'; known: exact, fp16, fp16acc"):
        CoreMLEvaluator(tmp_path, "int8")  # type: ignore[arg-type]

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketface.export.coreml.known_issues import FLEXIBLE, KNOWN_ISSUES, known_issues_of
from pocketface.export.coreml.package import import_coremltools

from .conftest import Array

Build = Callable[[Any, Any], Any]
Compress = Callable[[Any, Any], Any]


def numbers(*shape: int) -> Array:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


SHAPE = (1, 6, 8, 8)


def conv(mb: Any, x: Any) -> Any:
    return mb.conv(x=x, weight=numbers(64, 6, 4, 4), pad_type="valid")


def grouped(groups: int, activation: str = "relu") -> Build:
    return lambda mb, x: getattr(mb, activation)(x=mb.conv(x=x, weight=numbers(6, 6 // groups, 3, 3), groups=groups))


def mean(exclude: bool, pad: int) -> Build:
    return lambda mb, x: mb.avg_pool(
        x=x,
        kernel_sizes=[7, 7],
        strides=[4, 4],
        pad_type="custom",
        pad=[pad] * 4,
        exclude_padding_from_average=exclude,
    )


def unit(scaled: bool) -> Build:
    def build(mb: Any, x: Any) -> Any:
        if scaled:
            x = mb.real_div(x=x, y=mb.reduce_max(x=mb.abs(x=x), axes=[1], keep_dims=True))
        return mb.reduce_l2_norm(x=x, axes=[1], keep_dims=True)

    return build


def layer_norm(epsilon: float) -> Build:
    return lambda mb, x: mb.layer_norm(x=x, axes=[-1], epsilon=np.float32(epsilon))


def linear(**how: Any) -> Compress:
    return lambda optimize, model: optimize.linear_quantize_weights(
        model, optimize.OptimizationConfig(optimize.OpLinearQuantizerConfig(mode="linear_symmetric", **how))
    )


def palette(**how: Any) -> Compress:
    return lambda optimize, model: optimize.palettize_weights(
        model, optimize.OptimizationConfig(optimize.OpPalettizerConfig(mode="uniform", **how))
    )


BLOCKS: dict[str, Any] = {"granularity": "per_block", "block_size": 2}
SCALED: dict[str, Any] = {"granularity": "per_grouped_channel", "group_size": 64, "enable_per_channel_scale": True}

# What is built, made small how, for which iOS, and the beginnings of what is said.
CASES: dict[str, tuple[Build, Compress | None, str, list[str]]] = {
    "plain": (conv, None, "iOS16", []),
    "int8": (conv, linear(dtype="int8"), "iOS16", ["1 x weights in int8: wrong results"]),
    "uint8": (conv, linear(dtype="uint8"), "iOS16", ["1 x weights in uint8: right where int8 is wrong"]),
    "int8 of iOS 18": (conv, linear(dtype="int8"), "iOS18", []),
    "int8 in blocks": (conv, linear(dtype="int8", **BLOCKS), "iOS18", ["1 x weights of 8 bits with a scale for each"]),
    "int4 in blocks": (conv, linear(dtype="int4", **BLOCKS), "iOS18", []),
    "palette of 6 bits": (conv, palette(nbits=6), "iOS16", []),
    "palette of 4 bits": (conv, palette(nbits=4), "iOS16", ["1 x palette of 4 bits"]),
    "palette of 4 bits of iOS 18": (conv, palette(nbits=4), "iOS18", ["1 x palette of 4 bits"]),
    "palette and scales": (conv, palette(nbits=6, **SCALED), "iOS18", ["1 x palette with a scale for each channel"]),
    "depthwise": (grouped(6), None, "iOS16", []),
    "groups": (grouped(3), None, "iOS16", ["1 x convolution in groups of several channels"]),
    "groups alone": (grouped(3, "square"), None, "iOS16", []),
    "mean with padding": (mean(False, 3), None, "iOS16", ["1 x mean that counts padding"]),
    "mean without": (mean(True, 3), None, "iOS16", []),
    "mean of the inside": (mean(False, 0), None, "iOS16", []),
    "length": (unit(False), None, "iOS16", ["1 x sum of squares in half precision"]),
    "length of what is scaled": (unit(True), None, "iOS16", []),
    "tiny epsilon": (layer_norm(1e-6), None, "iOS16", ["1 x epsilon below 6.1e-5"]),
    "epsilon": (layer_norm(1e-4), None, "iOS16", []),
}


@pytest.mark.parametrize("name", CASES)
def test_a_doubtful_form_is_named_and_a_sound_one_is_not(
    package: Callable[..., Path], name: str, tmp_path: Path
) -> None:
    build, compress, target, expected = CASES[name]
    found = known_issues_of(package(tmp_path / "a.mlpackage", build, True, target, compress, SHAPE))
    assert [note[: len(start)] for note, start in zip(found, expected, strict=True)] == expected


def test_every_doubt_is_tried() -> None:
    starts = [start.removeprefix("1 x ") for *_, expected in CASES.values() for start in expected]
    assert all(any(issue.sentence.startswith(start) for start in starts) for issue in KNOWN_ISSUES)


def test_a_form_that_occurs_twice_is_counted(package: Callable[..., Path], tmp_path: Path) -> None:
    path = package(tmp_path / "a.mlpackage", lambda mb, x: grouped(2)(mb, grouped(3)(mb, x)), True, shape=SHAPE)
    assert [note[:3] for note in known_issues_of(path)] == ["2 x"]


def test_a_shape_that_is_not_fixed_is_named(package: Callable[..., Path], tmp_path: Path) -> None:
    ct = import_coremltools()
    entry = ct.TensorType(name="input", shape=(ct.RangeDim(1, 8), 6, 8, 8))
    assert known_issues_of(package(tmp_path / "a.mlpackage", lambda mb, x: mb.relu(x=x), True, entry=entry)) == (
        FLEXIBLE,
    )

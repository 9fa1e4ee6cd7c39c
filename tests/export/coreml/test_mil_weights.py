"""Stored weights are what coremltools makes of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketface.export.coreml.evaluator import constants_of
from pocketface.export.coreml.package import import_coremltools, read_package
from pocketface.models.quiet import quiet

from .conftest import two_layers


def linear(**how: Any) -> Callable[[Any, Any], Any]:
    return lambda optimize, model: optimize.linear_quantize_weights(
        model,
        optimize.OptimizationConfig(optimize.OpLinearQuantizerConfig(weight_threshold=100, **how)),
        joint_compression=_is_sparse(model),
    )


def palette(**how: Any) -> Callable[[Any, Any], Any]:
    return lambda optimize, model: optimize.palettize_weights(
        model,
        optimize.OptimizationConfig(optimize.OpPalettizerConfig(mode="uniform", weight_threshold=100, **how)),
        joint_compression=_is_sparse(model),
    )


def _is_sparse(model: Any) -> bool:
    return "constexpr_sparse_to_dense" in str(model.get_spec().mlProgram)


def pruned(optimize: Any, model: Any) -> Any:
    how = optimize.OpMagnitudePrunerConfig(target_sparsity=0.6, weight_threshold=100)
    return optimize.prune_weights(model, optimize.OptimizationConfig(how))


def both(how: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda optimize, model: how(optimize, pruned(optimize, model))


@pytest.mark.parametrize(
    ("target", "compress", "kind"),
    [
        ("iOS18", both(linear(mode="linear", dtype="int8")), "constexpr_sparse_blockwise_shift_scale"),
        ("iOS18", both(palette(nbits=4)), "constexpr_lut_to_sparse"),
        ("iOS16", linear(mode="linear_symmetric", dtype="uint8"), "constexpr_affine_dequantize"),
        ("iOS16", linear(mode="linear", dtype="int8"), "constexpr_affine_dequantize"),
        ("iOS16", palette(nbits=4), "constexpr_lut_to_dense"),
        ("iOS16", palette(nbits=6), "constexpr_lut_to_dense"),
        ("iOS16", pruned, "constexpr_sparse_to_dense"),
        ("iOS18", linear(mode="linear_symmetric", dtype="int8"), "constexpr_blockwise_shift_scale"),
        ("iOS18", linear(mode="linear", dtype="int4"), "constexpr_blockwise_shift_scale"),
        ("iOS18", linear(dtype="uint4", granularity="per_block", block_size=16), "constexpr_blockwise_shift_scale"),
        ("iOS18", palette(nbits=3), "constexpr_lut_to_dense"),
        ("iOS18", palette(nbits=2, granularity="per_grouped_channel", group_size=16), "constexpr_lut_to_dense"),
        ("iOS18", pruned, "constexpr_sparse_to_dense"),
    ],
)
@pytest.mark.parametrize("half", [True, False])
def test_stored_weights_are_what_coremltools_decompresses(
    package: Callable[..., Path], target: str, compress: Any, kind: str, half: bool, tmp_path: Path
) -> None:
    path = package(tmp_path / "a.mlpackage", two_layers, half, target, compress)
    weights = constants_of(read_package(path))
    with quiet():
        from coremltools.converters.mil.frontend.milproto.load import load

        model = import_coremltools().models.MLModel(str(path), skip_model_load=True)
        program = load(model.get_spec(), model.get_spec().specificationVersion, model.weights_dir)
    compressed = program.functions["main"].find_ops(op_type=kind)
    assert compressed
    for operation in compressed:
        expected = operation.materialized_val_inference()
        for result, value in zip(
            operation.outputs, expected if len(operation.outputs) > 1 else [expected], strict=True
        ):
            assert np.array_equal(np.asarray(weights[result.name], np.float32), np.asarray(value, np.float32))
    for operation in program.functions["main"].find_ops(op_type="const"):
        value = weights.get(operation.outputs[0].name)  # coremltools invents names for attributes
        if isinstance(value, np.ndarray):
            assert np.array_equal(value, np.asarray(operation.outputs[0].val))

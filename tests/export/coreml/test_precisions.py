"""How small weights are stored, what it costs, and palettes by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketface.export.coreml.evaluator import CoreMLEvaluator, constants_of
from pocketface.export.coreml.package import import_coremltools, read_package
from pocketface.export.coreml.precisions import palette
from pocketface.export.coreml.to_coreml import to_coreml
from pocketface.models.embedder import unit
from pocketface.models.quiet import quiet

from .conftest import SIDE, card, make, numbers


@pytest.mark.parametrize(
    ("precision", "least"), [("fp16", 0.99999), ("w8", 0.9995), ("w6", 0.998), ("w4", 0.98), ("w8a8", 0.999)]
)
def test_smaller_precisions_stay_close(
    run_onnx: Callable[..., Any], precision: Any, least: float, tiny: Path, tmp_path: Path
) -> None:
    package = make(tiny, tmp_path / "a.mlpackage", precision)
    faces = numbers(8, 3, SIDE, SIDE, seed=4)
    cosine = (unit(CoreMLEvaluator(package).run(faces)) * unit(run_onnx(tiny, faces))).sum(1)
    assert least < cosine.min() < 1 - 1e-9


def test_w8_stores_unsigned_bytes_around_127_with_a_scale_for_each_channel(tiny: Path, tmp_path: Path) -> None:
    package = read_package(to_coreml(tiny, card(16), tmp_path / "a.mlpackage", "w8").path)
    from coremltools.proto import MIL_pb2

    (stored,) = [one for one in package.program.operations if one.type.startswith("constexpr")]
    assert stored.type == "constexpr_affine_dequantize"
    types = {key: value.type.tensorType for key, value in stored.attributes.items()}
    assert types["quantized_data"].dataType == types["zero_point"].dataType == MIL_pb2.UINT8
    assert [one.constant.size for one in types["scale"].dimensions] == [96]
    with quiet():
        ct = import_coremltools()
        model = ct.models.MLModel(str(tmp_path / "a.mlpackage"), skip_model_load=True)
        from coremltools.converters.mil.frontend.milproto.load import load

        program = load(model.get_spec(), model.get_spec().specificationVersion, model.weights_dir)
    (op,) = program.functions["main"].find_ops(op_type="constexpr_affine_dequantize")
    assert set(op.zero_point.val.tolist()) == {127}
    assert 0 <= op.quantized_data.val.min() and op.quantized_data.val.max() <= 254


@pytest.mark.parametrize(("precision", "entries"), [("w6", 64), ("w4", 16)])
def test_palettes_hold_the_weights_of_large_layers(precision: Any, entries: int, tiny: Path, tmp_path: Path) -> None:
    package = read_package(make(tiny, tmp_path / "a.mlpackage", precision))
    (stored,) = [one for one in package.program.operations if one.type.startswith("constexpr")]  # 2,592; not 1,536
    assert stored.type == "constexpr_lut_to_dense"
    weights = constants_of(package)[stored.outputs[0].name]
    assert isinstance(weights, np.ndarray) and len(np.unique(weights)) == entries
    assert np.abs(weights - numbers(96, 3, 3, 3)).mean() < 1.5 / entries


def test_two_clusters_are_their_means() -> None:
    lut, indices = palette(np.float32([[-1, 9], [-2, 8]]), 1)
    assert lut.tolist() == [-1.5, 8.5] and indices.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("bits", [4, 6])
def test_a_palette_is_nearer_than_the_k_means_of_scikit_learn(bits: int) -> None:
    sklearn = pytest.importorskip("sklearn.cluster", reason="wants the extra `test`")
    weights = np.random.default_rng(0).laplace(size=(50, 60)).astype(np.float32)
    lut, indices = palette(weights, bits)
    theirs = sklearn.KMeans(2**bits, n_init=1, random_state=0).fit(weights.reshape(-1, 1)).inertia_
    assert ((lut[indices] - weights.ravel()) ** 2).sum() < theirs


def test_half_precision_stays_and_each_weight_takes_its_nearest_entry() -> None:
    weights = np.random.default_rng(0).normal(size=1000).astype(np.float16)
    lut, indices = palette(weights, 4)
    assert lut.dtype == np.float16 and indices.dtype == np.uint8 and (np.diff(lut) >= 0).all()
    nearest = np.abs(weights[:, None].astype(float) - lut.astype(float)).min(1)
    assert np.array_equal(np.abs(weights.astype(float) - lut[indices].astype(float)), nearest)


def test_fewer_numbers_than_entries_are_kept_exactly() -> None:
    weights = np.float32([0.5, -3, 0.5, 7, -3])
    lut, indices = palette(weights, 4)
    assert len(lut) == 16 and np.allclose(lut[indices], weights, rtol=1e-6)


def test_weights_that_are_all_alike_are_kept() -> None:
    lut, indices = palette(np.full(9, 0.25, np.float32), 6)
    assert len(lut) == 64 and (lut[indices] == 0.25).all()

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pocketface.export.artifact import Card
from pocketface.export.coreml.evaluator import CoreMLEvaluator, constants_of
from pocketface.export.coreml.mil_half_sums import HALF_SUMS
from pocketface.export.coreml.mil_operators import OPERATORS
from pocketface.export.coreml.package import import_coremltools, quietly, read_coreml_card, read_package, write_package
from pocketface.faces.contract import InputContract

Array = NDArray[Any]
WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def package(
    path: Path,
    build: Callable[[Any, Any], Any],
    half: bool = False,
    target: str = "iOS16",
    compress: Callable[[Any, Any], Any] | None = None,
    side: int = 4,
    entry: Any = None,
    channels: int = 3,
) -> Path:
    """Saves, by coremltools itself, the program that `build(mb, x)` makes of x (1, 3, side, side)."""
    with quietly():
        ct = import_coremltools()
        from coremltools.converters.mil import Builder as mb
        from coremltools.converters.mil.mil import Function, Placeholder, Program, types

        face = Placeholder(sym_shape=(1, channels, side, side), dtype=types.fp32, name="input")
        program = Program()
        with Function({"input": face}, opset_version=getattr(ct.target, target)) as function:
            function.set_outputs([build(mb, function.inputs["input"])])
        program.add_function("main", function)
        model = ct.convert(
            program,
            source="milinternal",
            convert_to="mlprogram",
            inputs=[entry or ct.TensorType(name="input", shape=(1, 3, side, side))],
            compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
            minimum_deployment_target=getattr(ct.target, target),
            skip_model_load=True,
        )
        if compress is not None:
            model = compress(ct.optimize.coreml, model)
        model.save(str(path))
    return path


def two_layers(mb: Any, x: Any) -> Any:
    x = mb.conv(x=x, weight=numbers(64, 3, 4, 4), bias=numbers(64), pad_type="valid")
    return mb.linear(x=mb.squeeze(x=x, axes=[2, 3]), weight=numbers(64, 64, seed=1), bias=numbers(64, seed=2))


# ---- operators, against numbers that one can count


def test_convolution_pads_top_bottom_left_right() -> None:
    x = torch.ones(1, 1, 2, 2)
    pads = {"pad_type": "custom", "pad": [1, 0, 0, 2]}
    result = OPERATORS["conv"]({"x": x, "weight": torch.ones(1, 1, 2, 2), **pads})
    assert result.tolist() == [[[[2, 1, 0], [4, 2, 0]]]]


def test_same_padding_puts_the_odd_column_at_the_end_and_same_lower_at_the_start() -> None:
    x = torch.tensor([[[[1.0, 2, 3]]]])
    for kind, expected in {"same": [[3, 5, 3]], "same_lower": [[1, 3, 5]]}.items():
        given = {"x": x, "weight": torch.ones(1, 1, 1, 2), "pad_type": kind, "strides": [1, 1]}
        assert OPERATORS["conv"](given)[0, 0].tolist() == expected


def test_padding_is_never_the_largest_of_a_window() -> None:
    window = {"kernel_sizes": [2, 2], "strides": [2, 2], "pad_type": "custom", "pad": [1, 0, 1, 0]}
    result = OPERATORS["max_pool"]({"x": torch.full((1, 1, 3, 3), -5.0), **window})
    assert result.tolist() == [[[[-5, -5], [-5, -5]]]]


@pytest.mark.parametrize(("exclude", "corner"), [(True, 4.0), (False, 1.0)])
def test_average_pool_counts_padding_or_leaves_it_out(exclude: bool, corner: float) -> None:
    window = {"kernel_sizes": [2, 2], "strides": [2, 2], "pad_type": "custom", "pad": [1, 1, 1, 1]}
    given = {"x": torch.full((1, 1, 2, 2), 4.0), "exclude_padding_from_average": exclude, **window}
    assert OPERATORS["avg_pool"](given)[0, 0].tolist() == [[corner, corner], [corner, corner]]


def test_prelu_multiplies_what_is_negative_by_its_channels_slope() -> None:
    x = torch.tensor([[[[-2.0, 4]], [[-2, 4]]]])
    assert OPERATORS["prelu"]({"x": x, "alpha": torch.tensor([0.5, -1])}).tolist() == [[[[-1, 4]], [[2, 4]]]]


def test_pad_widens_start_and_end_of_the_last_axes() -> None:
    result = OPERATORS["pad"]({"x": torch.ones(1, 1, 1, 1), "pad": [1, 0, 0, 2], "constant_val": 7})
    assert result.tolist() == [[[[7, 7, 7], [1, 7, 7]]]]


def test_quantize_rounds_to_the_even_integer_and_keeps_within_its_type() -> None:
    x = torch.tensor([-300.0, -3, -1, 1, 3, 300])
    given = {"input": x, "scale": torch.tensor(2.0), "zero_point": 5}
    assert OPERATORS["quantize"](given | {"output_dtype": "int8"}).tolist() == [-128, 3, 5, 5, 7, 127]
    assert OPERATORS["quantize"](given | {"output_dtype": "uint8"}).tolist() == [0, 3, 5, 5, 7, 155]


def test_dequantize_takes_one_scale_or_one_for_each_slice() -> None:
    x = torch.tensor([[1.0, 2], [3, 4]])
    assert OPERATORS["dequantize"]({"input": x, "scale": torch.tensor(0.5), "zero_point": 1}).tolist() == [
        [0, 0.5],
        [1, 1.5],
    ]
    each = {"input": x, "scale": torch.tensor([1.0, 10]), "zero_point": [0, 3], "axis": 0}
    assert OPERATORS["dequantize"](each).tolist() == [[1, 2], [0, 10]]


@pytest.mark.parametrize(("interleave", "expected"), [(False, [1, 2, 3, 4]), (True, [1, 3, 2, 4])])
def test_concat_joins_one_after_the_other_or_in_turns(interleave: bool, expected: list[int]) -> None:
    values = [torch.tensor([[[[1.0]], [[2]]]]), torch.tensor([[[[3.0]], [[4]]]])]
    joined = OPERATORS["concat"]({"values": values, "axis": 1, "interleave": interleave})
    assert joined.flatten().tolist() == expected  # type: ignore[union-attr]


def test_split_gives_parts_of_given_sizes_or_alike() -> None:
    x = torch.arange(6.0)[None]
    by_size = OPERATORS["split"]({"x": x, "split_sizes": [1, 5], "axis": 1})
    alike = OPERATORS["split"]({"x": x, "num_splits": 3, "axis": -1})
    assert [part.tolist() for part in by_size] == [[[0]], [[1, 2, 3, 4, 5]]]
    assert [part.tolist() for part in alike] == [[[0, 1]], [[2, 3]], [[4, 5]]]


def test_gather_puts_the_axes_of_the_indices_in_place_of_its_own() -> None:
    x = torch.tensor([[1.0, 2, 3]])
    assert OPERATORS["gather"]({"x": x, "indices": [[2], [0]], "axis": 1}).tolist() == [[[3], [1]]]


def test_half_sums_round_each_addition_and_end_at_65504() -> None:
    x = torch.tensor([[2048.0, 1, 1, 0], [60000, 60000, -60000, -60000]])
    assert HALF_SUMS["reduce_sum"]({"x": x, "axes": [1]}).tolist()[0] == 2048  # type: ignore[union-attr]
    exact = OPERATORS["reduce_sum"]({"x": x, "axes": [1]})
    assert exact.tolist() == [2050, 0]  # type: ignore[union-attr]
    assert HALF_SUMS["reduce_l2_norm"]({"x": x[1:], "axes": [1]}).tolist() == [float("inf")]  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["reduce_mean", "reduce_sum_square", "reduce_l2_norm", "l2_norm", "layer_norm"])
def test_half_sums_of_small_numbers_are_near_the_exact_ones(kind: str) -> None:
    given = {"x": torch.from_numpy(numbers(2, 3, 5, 7)), "axes": [1, 3], "keep_dims": True}
    if kind == "layer_norm":
        given |= {"axes": [3], "gamma": torch.arange(7.0), "beta": torch.ones(7)}
    near, exact = HALF_SUMS[kind](given), OPERATORS[kind](given)
    assert isinstance(near, torch.Tensor) and isinstance(exact, torch.Tensor) and near.shape == exact.shape
    torch.testing.assert_close(near, exact, rtol=4e-3, atol=4e-3)
    assert not torch.equal(near, exact)


# ---- programs


def test_fp16_mode_rounds_each_result_and_exact_does_not(tmp_path: Path) -> None:
    def build(mb: Any, x: Any) -> Any:
        x = mb.add(x=mb.reduce_mean(x=x, axes=[2, 3], keep_dims=False), y=np.float32(2048))
        return mb.sub(x=x, y=np.float32(2048))  # half precision counts in twos from 2048 on, halfway to even

    path = package(tmp_path / "a.mlpackage", build, half=True)
    face = np.ones((1, 3, 4, 4), np.float32) * np.array([1, 1.5, 3], np.float32).reshape(3, 1, 1)
    assert CoreMLEvaluator(path, "exact").run(face).tolist() == [[1, 1.5, 3]]
    assert CoreMLEvaluator(path).run(face).tolist() == [[0, 2, 4]]


def test_a_naive_norm_overflows_beyond_256_where_squares_are_summed_in_half_precision(
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
    layout: str, expected: list[int], tmp_path: Path
) -> None:
    build: Any = lambda mb, x: mb.reduce_mean(x=x, axes=[2, 3], keep_dims=False)  # noqa: E731
    ct = import_coremltools()
    entry = ct.ImageType(
        name="input", shape=(1, 3, 8, 8), scale=2.0, bias=[1, 1, 1], color_layout=layout, channel_first=True
    )
    session = CoreMLEvaluator(package(tmp_path / "a.mlpackage", build, side=8, entry=entry))
    red, green, blue = (np.full((8, 8), value, np.float32) for value in (10.2, 20, 30))  # pixels are whole numbers
    assert session.run(np.stack([red, green, blue])[None]).tolist() == [expected]


def test_a_picture_in_grey_is_refused(tmp_path: Path) -> None:
    entry = import_coremltools().ImageType(name="input", shape=(1, 1, 8, 8), color_layout="G", channel_first=True)
    path = package(
        tmp_path / "a.mlpackage", lambda mb, x: mb.reshape(x=x, shape=[1, 64]), side=8, entry=entry, channels=1
    )
    with pytest.raises(ValueError, match="takes a picture in grayscale; an embedder takes one in colour"):
        CoreMLEvaluator(path)


def test_many_faces_give_what_each_gives_alone(tmp_path: Path) -> None:
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
def test_a_program_that_mixes_its_first_axis_never_mixes_faces(build: Any, tmp_path: Path) -> None:
    session = CoreMLEvaluator(package(tmp_path / "a.mlpackage", build))
    faces = numbers(4, 3, 4, 4)
    alone = np.concatenate([session.run(face[None]) for face in faces])
    np.testing.assert_allclose(session.run(faces), alone, rtol=1e-6)


def test_inputs_of_another_size_are_refused(tmp_path: Path) -> None:
    session = CoreMLEvaluator(package(tmp_path / "a.mlpackage", two_layers))
    with pytest.raises(ValueError, match=r"takes \(N, 3, 4, 4\), not \(1, 3, 5, 4\)"):
        session.run(numbers(1, 3, 5, 4))


def test_an_operator_that_the_evaluator_has_not_is_named(tmp_path: Path) -> None:
    path = package(tmp_path / "a.mlpackage", lambda mb, x: mb.atan(x=x))
    with pytest.raises(ValueError, match="has no operator atan"):
        CoreMLEvaluator(path)


def test_an_unknown_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no mode 'int8'; known: exact, fp16, fp16acc"):
        CoreMLEvaluator(tmp_path, "int8")  # type: ignore[arg-type]


# ---- weights, against coremltools' own reader


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
    target: str, compress: Any, kind: str, half: bool, tmp_path: Path
) -> None:
    path = package(tmp_path / "a.mlpackage", two_layers, half, target, compress)
    weights = constants_of(read_package(path))
    with quietly():
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


# ---- what can be wrong with a file


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return package(tmp_path / "net.mlpackage", two_layers)


def test_the_embedding_depends_on_every_kilobyte_of_the_weights(saved: Path) -> None:
    face = numbers(1, 3, 4, 4, seed=3)
    before = CoreMLEvaluator(saved).run(face)
    whole = (saved / WEIGHTS).read_bytes()
    for start in range(1024, len(whole) - 1024, 4096):
        (saved / WEIGHTS).write_bytes(whole[:start] + bytes(4) + whole[start + 4 :])
        assert not np.array_equal(CoreMLEvaluator(saved).run(face), before), start


@pytest.mark.parametrize("size", [0, 30, 100, 5000, -1])
def test_weights_that_are_cut_off_are_one_sentence(size: int, saved: Path) -> None:
    (saved / WEIGHTS).write_bytes((saved / WEIGHTS).read_bytes()[:size])
    with pytest.raises(ValueError, match=r"net\.mlpackage is damaged: weights/weight\.bin is (missing or )?cut off"):
        CoreMLEvaluator(saved)


def test_missing_weights_are_one_sentence(saved: Path) -> None:
    (saved / WEIGHTS).unlink()
    with pytest.raises(ValueError, match=r"weights/weight\.bin is missing"):
        CoreMLEvaluator(saved)


def test_weights_of_another_file_are_one_sentence(saved: Path) -> None:
    (saved / WEIGHTS).write_bytes(bytes(1 << 16))
    with pytest.raises(ValueError, match="has no weights at byte"):
        CoreMLEvaluator(saved)


def test_a_model_that_is_cut_off_is_one_sentence(saved: Path) -> None:
    model = saved / "Data/com.apple.CoreML/model.mlmodel"
    model.chmod(0o644)
    model.write_bytes(model.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"net\.mlpackage is damaged: model\.mlmodel cannot be read"):
        CoreMLEvaluator(saved)


def test_no_package_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no Core ML package at"):
        read_coreml_card(tmp_path / "none.mlpackage")


def test_a_manifest_without_a_model_is_one_sentence(saved: Path) -> None:
    (saved / "Manifest.json").write_text("{}")
    with pytest.raises(ValueError, match=r"Manifest\.json names no model"):
        CoreMLEvaluator(saved)


@pytest.mark.parametrize("path", ["../../../secret", "/etc/hostname"])
def test_a_manifest_that_points_outside_is_refused(path: str, saved: Path) -> None:
    manifest = json.loads((saved / "Manifest.json").read_text())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = path
    (saved / "Manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="points outside the package"):
        CoreMLEvaluator(saved)


def test_a_model_of_an_older_kind_is_refused(tmp_path: Path) -> None:
    proto = import_coremltools().proto
    model = proto.Model_pb2.Model(specificationVersion=4, neuralNetwork=proto.NeuralNetwork_pb2.NeuralNetwork())
    model.description.input.add(name="input").type.multiArrayType.shape.extend([1, 3, 4, 4])
    write_package(tmp_path / "old.mlpackage", model, b"")
    with pytest.raises(ValueError, match=r"old\.mlpackage holds no ML program"):
        CoreMLEvaluator(tmp_path / "old.mlpackage")


# ---- cards, and coremltools itself


def test_a_package_of_somebody_else_has_no_card(saved: Path) -> None:
    assert read_coreml_card(saved) is None


def test_a_damaged_card_is_refused(saved: Path, tmp_path: Path) -> None:
    model = import_coremltools().proto.Model_pb2.Model()
    model.ParseFromString((saved / "Data/com.apple.CoreML/model.mlmodel").read_bytes())
    model.description.metadata.userDefined["pocketface"] = Card("a", InputContract(), 8).to_json()[:-9]
    write_package(tmp_path / "card.mlpackage", model, (saved / WEIGHTS).read_bytes())
    with pytest.raises(ValueError, match="is no card"):
        read_coreml_card(tmp_path / "card.mlpackage")


def test_a_package_may_be_moved(saved: Path, tmp_path: Path) -> None:
    face = numbers(1, 3, 4, 4)
    before = CoreMLEvaluator(saved).run(face)
    shutil.move(saved, tmp_path / "elsewhere.mlpackage")
    assert np.array_equal(CoreMLEvaluator(tmp_path / "elsewhere.mlpackage").run(face), before)


def test_without_coremltools_the_error_says_what_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(ValueError, match="Core ML wants coremltools, which is not installed"):
        import_coremltools()


def test_tensorflow_can_still_be_imported_afterwards() -> None:
    loaded = sys.modules.get("tensorflow")
    import_coremltools()
    assert sys.modules.get("tensorflow", loaded) is loaded and sys.modules.get("tensorflow", ...) is not None

"""The record of a verification: what goes in comes out, and what is no record is refused in one sentence."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from pocketface.benchmark.accuracy.record import read_record, write_record
from pocketface.benchmark.recipe import BenchmarkRecipe
from pocketface.benchmark.runner import benchmark_files
from pocketface.faces.contract import InputContract
from pocketface.faces.drawn_pairs import synthetic_pairs

THREE: Any = SimpleNamespace(
    left=np.array([0, 1, 2]),
    right=np.array([1, 2, 0]),
    same=np.array([True, False, False]),
    fold=np.array([0, 0, 1]),
    identities=np.array([7, 7, 8]),
    sha256="abc",
)


def arrays(**changed: Any) -> dict[str, Any]:
    whole = dict(
        same=THREE.same,
        fold=THREE.fold,
        left=np.array([7, 7, 8]),
        right=np.array([7, 8, 7]),
        sha256=np.array("abc"),
    )
    return whole | {"similarity/a.onnx": np.array([0.9, 0.1, 0.2])} | changed


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "verification.npz"
    write_record(path, THREE, {"artifacts/a.onnx": np.array([0.9, 0.1, 1 / 3])})
    record = read_record(path)
    assert (record.left.tolist(), record.right.tolist()) == ([7, 7, 8], [7, 8, 7])
    assert (record.same.tolist(), record.fold.tolist()) == ([True, False, False], [0, 0, 1])
    assert (record.sha256, list(record.similarity)) == ("abc", ["artifacts/a.onnx"])
    assert record.similarity["artifacts/a.onnx"].tolist() == [0.9, 0.1, 1 / 3]
    assert list(tmp_path.iterdir()) == [path]


def test_who_is_not_known_gives_no_people(tmp_path: Path) -> None:
    pairs = SimpleNamespace(**{**vars(THREE), "identities": np.array([7, 7, -1])})
    write_record(tmp_path / "verification.npz", pairs, {})  # type: ignore[arg-type]
    assert read_record(tmp_path / "verification.npz").people is None
    write_record(tmp_path / "verification.npz", THREE, {})
    assert read_record(tmp_path / "verification.npz").people is not None


def test_a_record_of_rendered_pairs_knows_their_hash(tmp_path: Path) -> None:
    pairs = synthetic_pairs(4, 2, size=32)
    write_record(tmp_path / "v.npz", pairs, {"a": np.zeros(len(pairs))})
    assert read_record(tmp_path / "v.npz").sha256 == pairs.sha256


def test_a_run_records_what_each_file_made_of_the_pairs(tmp_path: Path) -> None:
    value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    nodes = [
        onnx.helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
        onnx.helper.make_node("Flatten", ["mean"], ["embedding"]),
    ]
    ports = [value("input", kind, [1, 3, 32, 32])], [value("embedding", kind, [1, 3])]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", *ports), opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.save(model, tmp_path / "mean.onnx")
    pairs = synthetic_pairs(20, 2, size=32)
    recipe = BenchmarkRecipe(threads=(1,), minimum_runs=5, minimum_seconds=0, rounds=1)
    plain = InputContract(32, 32, mean=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0))
    benchmark_files([tmp_path / "mean.onnx"], lambda _: pairs, recipe, tmp_path / "out", contract=plain)
    record = read_record(tmp_path / "out" / "verification.npz")
    colour = pairs.faces.astype(np.float64).mean(axis=(1, 2))
    colour /= np.linalg.norm(colour, axis=1, keepdims=True)
    expected = (colour[pairs.left] * colour[pairs.right]).sum(axis=1)
    assert record.similarity["mean.onnx"] == pytest.approx(expected, abs=1e-5)
    assert (record.sha256, record.same.tolist()) == (pairs.sha256, pairs.same.tolist())
    assert record.people is not None


def test_similarities_for_other_pairs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.onnx has similarities of shape \(2,\) for 3 pairs"):
        write_record(tmp_path / "v.npz", THREE, {"a.onnx": np.zeros(2)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"fold": np.zeros(2, int)}, "'fold' is int64 of shape"),
        ({"same": np.ones(3)}, "'same' is float64"),
        ({"sha256": np.array(["abc"])}, "'sha256' is <U3 of shape"),
        ({"similarity/a.onnx": np.array([0.9, 0.1])}, r"'similarity/a.onnx' is float64 of shape \(2,\)"),
        ({"similarity/a.onnx": np.array([0.9, 0.1, np.nan])}, "not finite"),
        ({"similarity/a.onnx": np.array([0.9, None, 0.1])}, "no record of a verification: .*allow_pickle"),
        ({"similarity/a.onnx": np.zeros(1_000_000)}, "larger than 3 pairs can be"),
    ],
)
def test_what_is_no_record_is_refused_with_what_is_wrong(tmp_path: Path, changed: dict[str, Any], why: str) -> None:
    np.savez_compressed(tmp_path / "v.npz", **arrays(**changed))
    with pytest.raises(ValueError, match=why):
        read_record(tmp_path / "v.npz")


def test_a_missing_array_and_a_damaged_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    without = {name: values for name, values in arrays().items() if name != "fold"}
    np.savez_compressed(path, **without)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="it holds no 'fold'"):
        read_record(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="is no record of a verification"):
        read_record(path)

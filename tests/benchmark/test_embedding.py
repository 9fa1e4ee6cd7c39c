"""Flip-sum: a network that sees the left half of a face only, so that its mirror image tells the other half."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from pocketface.benchmark.embedding import EmbeddingJob, embed_all, flip_summed
from pocketface.benchmark.recipe import BenchmarkRecipe
from pocketface.benchmark.runner import benchmark_files
from pocketface.export.artifact import Card
from pocketface.export.formats import read_card
from pocketface.export.graph.to_onnx import write_onnx
from pocketface.faces.contract import InputContract
from pocketface.faces.drawn_pairs import synthetic_pairs

CONTRACT = InputContract(32, 32, mean=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0))
QUICK = BenchmarkRecipe(threads=(1,), minimum_runs=5, minimum_seconds=0, rounds=1, arm64=())


@pytest.fixture
def left_half(tmp_path: Path) -> Path:
    """Writes a network whose embedding is the mean of each channel's left half."""
    nodes = [
        onnx.helper.make_node("Slice", ["input", "start", "end", "axis"], ["left"]),
        onnx.helper.make_node("GlobalAveragePool", ["left"], ["g"]),
        onnx.helper.make_node("Flatten", ["g"], ["embedding"]),
    ]
    value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    numbers = {"start": 0, "end": 16, "axis": 3}
    constants = [onnx.numpy_helper.from_array(np.int64([number]), name) for name, number in numbers.items()]
    ports = [value("input", kind, [1, 3, 32, 32])], [value("embedding", kind, [1, 3])]
    graph = onnx.helper.make_graph(nodes, "g", *ports, constants)
    path = tmp_path / "left.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_flip_sum_is_the_mean_of_both_raw_embeddings(left_half: Path, tmp_path: Path) -> None:
    faces = np.zeros((2, 32, 32, 3), np.uint8)
    faces[0, :, :16], faces[0, :, 16:] = 10, 30
    faces[1, :, 16:] = 8
    jobs = [EmbeddingJob(left_half, CONTRACT, "left")]
    embedded = embed_all(jobs, faces, tmp_path / "embeddings")
    (summed,) = flip_summed(jobs, embedded, faces, tmp_path / "embeddings")
    assert embedded[0].tolist() == [[10, 10, 10], [0, 0, 0]]
    assert summed.tolist() == [[20, 20, 20], [4, 4, 4]]
    assert len(list((tmp_path / "embeddings").glob("*.npy"))) == 2  # neither takes the other's place


def test_a_file_that_cannot_embed_has_no_flip_sum_but_a_reason(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    jobs = [EmbeddingJob(tmp_path / "broken.onnx", CONTRACT, "broken")]
    faces = np.zeros((2, 32, 32, 3), np.uint8)
    (reason,) = flip_summed(jobs, embed_all(jobs, faces, tmp_path / "e"), faces, tmp_path / "e")
    assert isinstance(reason, str) and "broken.onnx" in reason


def test_flip_is_declared_and_leaves_no_certificate(left_half: Path, tmp_path: Path) -> None:
    write_onnx(onnx.load(left_half), Card("left", CONTRACT, 3), left_half, batch=None)
    rows = benchmark_files(
        [left_half],
        lambda _: synthetic_pairs(40, 2, 0, 32, 0),
        QUICK.model_copy(update={"flip": True, "fars": (1e-6,)}),
        tmp_path / "out",
        pairs_name="synthetic",
    )
    metrics = {row.metric: row for row in rows}
    for metric in ("verification_accuracy", "eer", "tar_at_far_1e-2", "rank1", "tpir_at_fpir_1e-1"):
        assert metrics[metric].conditions["flip"] is True
    assert metrics["tar_at_far_1e-6"].reason == "FAR 1e-6 wants at least 1,000,000 impostor pairs; there are 40"
    # The thresholds are of sums; an app that reads one from the file would hold single embeddings to it.
    card = read_card(left_half)
    assert card is not None and card.certificate is None


@pytest.mark.parametrize("damage", ["empty", "cut", "other faces", "integers", "not an array"])
def test_damaged_embeddings_are_made_again_and_said(left_half: Path, tmp_path: Path, damage: str) -> None:
    faces, jobs, said = np.full((2, 32, 32, 3), 7, np.uint8), [EmbeddingJob(left_half, CONTRACT, "left")], []
    (first,) = embed_all(jobs, faces, tmp_path)
    (path,) = tmp_path.glob("*.npy")
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "not an array":
        path.write_bytes(b"something else")
    else:
        np.save(path, np.zeros((1, 3), np.float32) if damage == "other faces" else np.zeros((2, 3), np.int64))
    (again,) = embed_all(jobs, faces, tmp_path, said.append)
    assert again.tolist() == first.tolist() == [[7, 7, 7], [7, 7, 7]]
    assert said[0].startswith(f"{path} is damaged, and made again: ") and said[1:] == [
        "embedding 2 faces with each file",
        "embedded 2 faces with left.onnx",
    ]


def test_a_child_that_is_killed_is_tried_again_by_the_same_command(left_half: Path, tmp_path: Path) -> None:
    (tmp_path / "dies.py").write_text(
        "import os\nfrom pocketface.export.formats import open_session\n"
        "def opener(path, threads):\n"
        f"    if not os.path.exists({str(tmp_path / 'second')!r}): os.kill(os.getpid(), 9)\n"
        "    return open_session(path, threads)\n"
    )
    job = EmbeddingJob(left_half, CONTRACT, "left", opener="dies:opener")
    faces = np.full((1, 32, 32, 3), 7, np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        (reason,) = embed_all([job], faces, tmp_path / "e")
        assert reason == (
            "left.onnx was not run: its process was killed, perhaps for want of memory; the same command tries it again"
        )
        (tmp_path / "second").touch()
        (embedded,) = embed_all([job], faces, tmp_path / "e")
    assert embedded.tolist() == [[7, 7, 7]]


def test_the_faces_that_a_killed_process_left_on_disk_are_removed(left_half: Path, tmp_path: Path) -> None:
    faces, jobs = np.full((1, 32, 32, 3), 7, np.uint8), [EmbeddingJob(left_half, CONTRACT, "left")]
    embed_all(jobs, faces, tmp_path / "e")
    (tmp_path / "e" / "crops.npy").touch()
    embed_all(jobs, faces, tmp_path / "e")
    assert [path.suffix for path in (tmp_path / "e").iterdir()] == [".npy"]
    assert not (tmp_path / "e" / "crops.npy").exists()

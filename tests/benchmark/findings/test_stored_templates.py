"""Templates stored as int8: their rows beside the float32 embeddings of the same file."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pocketface.benchmark.accuracy.verification import verify
from pocketface.benchmark.findings.stored_templates import stored_template_rows, template_similarities
from pocketface.benchmark.measurement import Measurement, RowMaker
from pocketface.faces.pairs import Pairs
from pocketface.models.embedder import unit

ROW = RowMaker("m", "a", "tflite", "fp32", "litert", "d")


def pairs_of(same: Any) -> Pairs:
    """Pair p compares face 2p with face 2p + 1."""
    left = np.arange(len(same)) * 2
    faces = np.zeros((2 * len(same), 8, 8, 3), np.uint8)
    fold, unknown = np.arange(len(same)) * 10 // len(same), np.full(2 * len(same), -1)
    return Pairs(faces, left, left + 1, same, fold, (), unknown, "abc")


def rows_of(embeddings: Any, pairs: Pairs) -> dict[str, Measurement]:
    recipe = SimpleNamespace(margin=0.002)
    file: Any = SimpleNamespace(
        embeddings=embeddings, verification=verify(embeddings, pairs), pairs=pairs, recipe=recipe
    )
    return {row.metric: row for row in stored_template_rows(file, ROW)}


@pytest.fixture(scope="module")
def rows() -> dict[str, Measurement]:
    random = np.random.default_rng(0)
    same = np.arange(8000) % 2 == 0
    first, second = random.normal(size=(2, 8000, 128))
    second = np.where(same[:, None], first + random.normal(size=first.shape), second)  # genuine: a cosine of some 0.7
    return rows_of(unit(np.float32(np.stack([first, second], 1).reshape(-1, 128))), pairs_of(same))


def test_the_cosine_of_templates_is_the_product_of_integers_over_both_lengths() -> None:
    templates = np.int8([[3, 4], [4, -3], [127, 0], [-127, 0], [0, 0], [5, 0]])
    found = template_similarities(templates, pairs_of(np.array([True, False, False])))
    assert found.tolist() == [0.0, -1.0, 0.0]
    assert template_similarities(np.int8([[3, 4], [6, 8]]), pairs_of(np.array([True]))).tolist() == [1.0]


def test_a_template_takes_a_quarter_and_keeps_the_accuracy(rows: dict[str, Measurement]) -> None:
    size = rows["int8_template_bytes"]
    assert (size.value, size.unit, size.conditions["float32_bytes"]) == (128, "bytes", 512)
    assert (rows["int8_template_cosine_min"].value or 0) > 0.9995
    difference = rows["int8_template_accuracy_difference"]
    assert difference.low is not None and difference.high is not None
    assert difference.low <= 0 <= difference.high and difference.conditions["verdict"] == "equal"


def test_each_threshold_stands_beside_that_of_float32_with_the_decisions_it_flips(rows: dict[str, Measurement]) -> None:
    row = rows["int8_template_threshold_at_far_1e-2"]
    assert row.value == pytest.approx(row.conditions["float32_threshold"], abs=2e-3)
    assert row.low is not None and row.low <= (row.value or 0) and 0 < row.conditions["template_scale"] < 1
    assert (rows["int8_template_flipped_1e-2"].value or 0) < 0.002
    rare = rows["int8_template_threshold_at_far_1e-3"]  # 4,000 impostor pairs: 4 are accepted
    assert not rare.valid and "wants at least 30,000 impostor pairs" in rare.reason


def test_all_rows_are_one_part_so_that_they_fill_no_column_of_the_table(rows: dict[str, Measurement]) -> None:
    assert {row.conditions["part"] for row in rows.values()} == {"one scale for all"}


def test_zeros_are_a_reason() -> None:
    found = rows_of(np.zeros((80, 4), np.float32), pairs_of(np.arange(40) % 2 == 0))
    assert [(row.metric, row.valid) for row in found.values()] == [("int8_template_accuracy", False)]

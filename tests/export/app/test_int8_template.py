"""Templates of one byte a number: rounding, clipping, and the scale that clips none."""

import numpy as np
import pytest

from pocketface.export.app.int8_template import int8_templates, kept_cosines, lengths, template_scale
from pocketface.models.embedder import unit


def test_components_are_steps_of_the_scale_and_halves_go_to_the_even_one() -> None:
    vectors = np.float32([[0.0, 0.25, 0.5, 0.75, -0.25, 127.0, 200.0, -200.0]])
    assert int8_templates(vectors, 63.5).tolist() == [[0, 0, 1, 2, 0, 127, 127, -127]]  # 0, 0.5, 1, 1.5, ... steps


def test_embeddings_that_int8_holds_exactly_keep_their_largest_component_as_scale() -> None:
    vectors = np.float32([[1, 0], [0, -1], [1, 0]])
    assert template_scale(vectors) == 1.0
    assert kept_cosines(vectors, 1.0).tolist() == [1.0, 1.0, 1.0]


def test_the_scale_is_the_largest_component_so_that_none_is_clipped() -> None:
    vectors = unit(np.float32([[1, -3, 2], [2, 2, 2]]))
    assert template_scale(vectors) == 0.801784  # 3 / sqrt(14)
    assert int8_templates(vectors, 0.801784)[0].tolist() == [42, -127, 85]  # thirds of 127


def test_what_is_lost_is_what_rounding_to_steps_loses() -> None:
    vectors = unit(np.float32(np.random.default_rng(0).normal(size=(2000, 128))))
    scale = template_scale(vectors)
    assert scale is not None
    # rounding adds noise of step / sqrt(12) to each of D numbers: 1 - cosine is about D step^2 / 24
    assert 1 - kept_cosines(vectors, scale).mean() == pytest.approx(128 * (scale / 127) ** 2 / 24, rel=0.05)


def test_zeros_have_no_scale_and_no_length_below_one() -> None:
    assert template_scale(np.zeros((3, 4), np.float32)) is None
    assert lengths(np.int8([[0, 0], [3, -4]])).tolist() == [1.0, 5.0]
    assert lengths(np.full((1, 512), -127, np.int8)).tolist() == pytest.approx([127 * np.sqrt(512)])

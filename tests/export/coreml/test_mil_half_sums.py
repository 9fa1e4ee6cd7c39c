"""Sums in half precision, by hand and against exact ones."""

import pytest
import torch

from pocketface.export.coreml.mil_half_sums import HALF_SUMS
from pocketface.export.coreml.mil_operators import OPERATORS

from .conftest import numbers


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

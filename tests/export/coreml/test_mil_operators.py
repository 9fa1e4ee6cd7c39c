"""Operators of the evaluator, by hand."""

import pytest
import torch

from pocketface.export.coreml.mil_operators import OPERATORS


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


def test_linear_resizing_counts_places_as_apples_sampling_modes_do() -> None:
    x = torch.tensor([[[[0.0, 4]]]])
    expected = {
        "DEFAULT": [0, 2, 4, 4],  # places 0, 0.5, 1, 1.5
        "STRICT_ALIGN_CORNERS": [0, 4 / 3, 8 / 3, 4],
        "UNALIGN_CORNERS": [0, 1, 3, 4],  # places -0.25, 0.25, 0.75, 1.25
    }
    for mode, row in expected.items():
        given = {"x": x, "target_size_height": 1, "target_size_width": 4, "sampling_mode": mode}
        torch.testing.assert_close(OPERATORS["resize_bilinear"](given)[0, 0, 0], torch.tensor(row, dtype=torch.float32))


def test_blocks_of_pixels_lie_in_the_outer_places_of_the_channels() -> None:
    x = torch.arange(8.0).reshape(1, 8, 1, 1)
    spread = OPERATORS["depth_to_space"]({"x": x, "block_size": 2})
    assert spread.tolist() == [[[[0, 2], [4, 6]], [[1, 3], [5, 7]]]]
    assert torch.equal(OPERATORS["space_to_depth"]({"x": spread, "block_size": 2}), x)


def test_a_transposed_convolution_cuts_its_padding_off_and_refuses_another_shape() -> None:
    given = {"x": torch.ones(1, 1, 2, 1), "weight": torch.ones(1, 1, 3, 1), "strides": [2, 1]}
    padded = {**given, "pad_type": "custom", "pad": [1, 0, 0, 0], "output_shape": [1, 1, 4, 1]}
    assert OPERATORS["conv_transpose"](padded).flatten().tolist() == [1, 2, 1, 1]
    with pytest.raises(ValueError, match="makes 4 x 1"):
        OPERATORS["conv_transpose"]({**padded, "output_shape": [1, 1, 5, 1]})

"""Precisions told from tensors: of files that pocketface made, whose cards say what is right, and of foreign ones."""

import pytest

from pocketface.export.stored_precision import DYNAMIC, Layer, told


@pytest.mark.parametrize(
    ("layers", "right"),
    [
        ([("float32", "float32", 9)], "fp32"),
        ([("float16", "float32", 9)], "fp16"),
        ([("int8", "float32", 9)], "w8"),
        ([("int8", DYNAMIC, 9)], "w8-dynamic"),
        ([("int8", "int8", 9)], "w8a8"),
        ([("uint8", "uint8", 9)], "w8a8"),
        ([("int8", "int16", 9)], "w8a16"),
        ([("int4", "float32", 9)], "w4"),
        ([("uint6", "float16", 9)], "w6"),
        ([("int8", "int8", 9), ("float32", "float32", 5)], "w8a8"),
        ([("uint3", "float32", 9)], "unknown"),
        ([], "unknown"),
    ],
)
def test_the_precision_of_most_weights_is_the_files(layers: list[Layer], right: str) -> None:
    assert told(layers) == right

"""What to make: the targets, and how close to the source they must stay."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from .graph.ranges import RangeMethod
from .targets import known_target

DEFAULT = (
    "onnx",
    "onnx-dynamic",
    "tflite-fp32",
    "tflite-fp16",
    "tflite-w8",
    "tflite-w8a8",
    "coreml-fp32",
    "coreml-fp16",
    "coreml-w8",
)
"""The targets of a recipe that names none."""


class ExportRecipe(BaseModel):
    """The files to make from one embedder."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    targets: tuple[str, ...] = DEFAULT  # kinds of files to make
    largest_difference: float = Field(1e-5, gt=0)  # of an fp32 file to its source, on unit embeddings
    least_fp16_cosine: float = Field(0.999, gt=0, le=1)  # least cosine of an fp16 file to its source
    least_w8_cosine: float = Field(0.99, gt=0, le=1)  # least mean cosine of a file with int8 weights to its source
    least_w8_dynamic_cosine: float = Field(0.97, gt=0, le=1)  # the same where activations become int8 as they come
    least_w8a8_cosine: float = Field(0.9, gt=0, le=1)  # the same of an int8 file
    least_w8a16_cosine: float = Field(0.99, gt=0, le=1)  # the same of one with 16-bit activations
    least_w6_cosine: float = Field(0.9, gt=0, le=1)  # the same of one with weights of 6 bits
    least_w4_cosine: float = Field(0.5, gt=0, le=1)  # the same of one with weights of 4 bits
    allow_drift: bool = False  # writes files below these cosines too; each says so in its notes
    parity_faces: int = Field(16, ge=1)  # faces on which each file is compared with its source
    calibration_faces: int = Field(200, ge=1)  # faces that set the int8 ranges
    ranges: RangeMethod = "mse"  # how the calibration faces set the int8 ranges, see `activation_ranges`
    least_int8_cosine: float = Field(0.994, gt=0, le=1)  # least cosine of tflite-int8, on faces that set no range
    least_mixed_cosine: float = Field(0.998, gt=0, le=1)  # the same of tflite-w8a8-mixed
    seed: int = Field(0, ge=0)  # seed of the choice of faces
    minimum_ios: Literal[15, 16, 17, 18] = 16  # of Core ML files; a precision that needs a later one gets it
    coreml_image: bool = False  # Core ML files take a picture (CVPixelBuffer) instead of prepared numbers

    @field_validator("targets")
    @classmethod
    def _known(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(map(known_target, targets)))

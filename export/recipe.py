"""What to make: the targets, and how close to the source they must stay."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..spelling import known_names
from .graph.ranges import How

TARGETS = (
    "onnx",
    "onnx-dynamic",
    "onnx-ort",
    "onnx-fp16",
    "onnx-w8a8",
    "ort",
    "executorch",
    "tflite-fp32",
    "tflite-fp16",
    "tflite-fp16-arithmetic",
    "tflite-w8",
    "tflite-w8a8",
    "tflite-w8a8-skip",
    "tflite-w8a8-mixed",
    "tflite-w8a16",
    "coreml-fp32",
    "coreml-fp16",
    "coreml-w8",
    "coreml-w6",
    "coreml-w4",
    "coreml-w8a8",
)
"""All kinds of files, in the order of `targets.TARGETS`."""

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
"""What is made where nobody says what."""


class ExportRecipe(BaseModel):
    """The files to make from one embedder."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    targets: tuple[str, ...] = DEFAULT
    largest_difference: float = Field(1e-5, gt=0)  # of fp32 files to the source, on unit embeddings
    least_fp16_cosine: float = Field(0.999, gt=0, le=1)
    parity_faces: int = Field(16, ge=1)
    calibration_faces: int = Field(200, ge=1)  # set the int8 ranges
    ranges: How = "mse"  # how they set them: minmax, smooth, percentile, mse; see `activation_ranges`
    least_int8_cosine: float = Field(0.998, gt=0, le=1)  # of tflite-w8a8-mixed, on faces that set no range
    seed: int = Field(0, ge=0)  # chooses the faces
    minimum_ios: Literal[15, 16, 17, 18] = 16  # of Core ML files; what says more than it knows asks for a later one
    coreml_image: bool = False  # Core ML files take a picture (CVPixelBuffer) in place of prepared numbers

    @field_validator("targets")
    @classmethod
    def _known(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        for target in targets:
            if target not in TARGETS:
                raise ValueError(f"no target {target!r}; {known_names(target, TARGETS)}")
        return tuple(dict.fromkeys(targets))

"""What to make: the targets, and how close to the source they must stay."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

TARGETS = (
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

    model_config = ConfigDict(extra="forbid", frozen=True)

    targets: tuple[str, ...] = DEFAULT
    largest_difference: float = Field(1e-5, gt=0)  # of fp32 files to the source, on unit embeddings
    least_fp16_cosine: float = Field(0.999, gt=0, le=1)
    parity_faces: int = Field(16, ge=1)
    calibration_faces: int = Field(200, ge=1)  # set the int8 ranges
    seed: int = 0  # chooses them

    @field_validator("targets")
    @classmethod
    def _known(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        for target in targets:
            if target not in TARGETS:
                raise ValueError(f"no target {target!r}; known: {', '.join(TARGETS)}")
        return tuple(dict.fromkeys(targets))

"""What was made: a converted file, and what it says about itself."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ..faces.contract import InputContract

Format = Literal["pytorch", "onnx", "tflite", "coreml", "executorch"]
Precision = Literal["fp32", "fp16", "w8", "w8a8", "w8a16", "w6", "w4"]

METADATA_KEY = "pocketface"
"""Under this key every format carries its card, one JSON object."""

LARGEST_CARD = 1 << 20  # bytes; a card is a page, and a file may be hostile


class ConversionError(ValueError):
    """A format cannot express this network, or the file does not compute what it should."""


@dataclass(frozen=True)
class Card:
    """What an app must know to use the file, written into the file's own metadata."""

    model: str
    contract: InputContract
    embedding_size: int
    precision: Precision = "fp32"
    normalised: bool = False  # False: the app divides the output by its length before it compares cosines
    licence: str = "unknown"
    rewrites: tuple[str, ...] = ()
    source_sha256: str = ""  # of the weights, or of the ONNX file, that it was made from
    calibration_sha256: str = ""
    tools: tuple[str, ...] = ()  # "onnx 1.23.2"

    def to_json(self) -> str:
        """Gives one JSON object with sorted keys: the same card is the same text."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Card:
        """Reads what `to_json` gave.

        Raises:
            ValueError: Too long, not JSON, or with keys or values that no card has.
        """
        if len(text) > LARGEST_CARD:
            raise ValueError(f"the file's pocketface metadata has {len(text)} bytes; a card has at most {LARGEST_CARD}")
        try:
            values: dict[str, Any] = json.loads(text)
            values["contract"] = InputContract.from_dict(values["contract"])
            for name in ("rewrites", "tools"):
                values[name] = tuple(values.get(name, ()))
            card = cls(**values)
        except (TypeError, KeyError, AttributeError, RecursionError, json.JSONDecodeError) as error:
            raise ValueError(f"the file's pocketface metadata is no card: {error}") from error
        if card.precision not in get_args(Precision):
            raise ValueError(f"no precision {card.precision!r}; known: {', '.join(get_args(Precision))}")
        return card

    def but(self, **changes: Any) -> Card:
        """Gives the same card with some fields changed."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class Artifact:
    """A converted file on disk (a folder for Core ML)."""

    path: Path
    format: Format
    card: Card
    batch: int | None = 1  # None: any number of faces at once
    notes: tuple[str, ...] = ()  # what whoever exports it should read, a sentence each

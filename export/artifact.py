"""What was made: a converted file, and what it says about itself."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

from ..faces.contract import InputContract
from .certificate import Certificate

Format = Literal["pytorch", "onnx", "ort", "tflite", "coreml", "executorch"]
Precision = Literal["fp32", "fp16", "w8", "w8a8", "w8a16", "w6", "w4"]
Input = Literal["tensor", "image"]  # numbers that the app prepares; a picture that the file prepares itself

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
    input: Input = "tensor"
    normalised: bool = False  # False: the app divides the output by its length before it compares cosines
    licence: str = "unknown"
    rewrites: tuple[str, ...] = ()
    source_sha256: str = ""  # of the weights, or of the ONNX file, that it was made from
    calibration_sha256: str = ""
    tools: tuple[str, ...] = ()  # "onnx 1.23.2"
    pruned_from: str = ""  # the model that was pruned to this one; "" where it was not pruned
    ancestry: tuple[str, ...] = ()  # what was done to the weights, oldest first, a sentence each
    certificate: Certificate | None = None  # thresholds of this very file; None: not verified yet

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
            for name in ("rewrites", "tools", "ancestry"):
                values[name] = tuple(values.get(name, ()))
            if values.get("certificate") is not None:
                values["certificate"] = Certificate.from_dict(values["certificate"])
            card = cls(**values)
            words = (card.model, card.licence, card.pruned_from, card.source_sha256, card.calibration_sha256)
            if not all(isinstance(word, str) for word in (*words, *card.rewrites, *card.tools, *card.ancestry)):
                raise TypeError("a name is no text")
            if type(card.embedding_size) is not int or card.embedding_size < 0 or type(card.normalised) is not bool:
                raise TypeError("the embedding is not described")
        except (TypeError, KeyError, AttributeError, RecursionError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"the file's pocketface metadata is no card: {error}") from error
        if card.precision not in get_args(Precision):
            raise ValueError(f"no precision {card.precision!r}; known: {', '.join(get_args(Precision))}")
        if card.input not in get_args(Input):
            raise ValueError(f"no input {card.input!r}; known: {', '.join(get_args(Input))}")
        return card

    def sentences(self) -> dict[str, str]:
        """Gives what somebody without pocketface should read, under the names that other tools use for it."""
        contract = self.contract
        order = {"rgb": "red, green, blue", "bgr": "blue, green, red"}[contract.channel_order]
        mean, scale = (", ".join(f"{number:.6g}" for number in three) for three in (contract.mean, contract.scale))
        fed = {
            "tensor": f"channels in the order {order}. Each value is (pixel - mean) * scale, with pixel 0 to 255, "
            f"mean ({mean}), scale ({scale}).",
            "image": "a picture of any pixel format: colours are ordered, and mean and scale applied, within.",
        }[self.input]
        length = "It has length one." if self.normalised else "Divide it by its length before you compare cosines."
        texts = {
            "description": f"Face embedder {self.model}, {self.precision}",
            "license": "" if self.licence == "unknown" else self.licence,
            "input": (
                f"One face, {contract.height} pixels high and {contract.width} wide, aligned by five landmarks to the "
                f"{contract.template} template, {fed}"
            ),
            "output": f"The face's embedding, {self.embedding_size} numbers. {length}",
            "ancestry": " ".join(self.ancestry),
            "threshold": self.certificate.sentence() if self.certificate else "",
        }
        return {name: text for name, text in texts.items() if text}

    def with_tools(self, *packages: str) -> Card:
        """Gives the same card with the installed versions of `packages` among its tools, each once."""
        versions = (f"{package} {version(package)}" for package in packages)
        return self.but(tools=tuple(dict.fromkeys((*self.tools, *versions))))

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

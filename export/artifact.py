"""A converted file, and what it says about itself: its card, what was rewritten, what an app should know."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, get_args

from ..faces.contract import InputContract
from ..files import checked_name
from ..models.graph.conversion_error import ConversionError as ConversionError
from ..models.graph.rewrite import Rewrite
from .certificate import Certificate

Precision = Literal["fp32", "fp16", "w8", "w8-dynamic", "w8a8", "w8a16", "w6", "w4", "unknown"]
Input = Literal["tensor", "image"]  # prepared numbers; a picture, which the file prepares itself
NoteKind = Literal[
    "one-partition",
    "partitions",
    "slow",
    "layout",
    "float-layers",
    "float-sums",
    "precision",
    "later-ios",
    "known-issue",
    "drift",
    "output",
    "other",
]

METADATA_KEY = "pocketface"
"""Every format carries its card, one JSON object, under this key."""

LARGEST_CARD = 1 << 20  # bytes; a card is short, and a file may be hostile


ABOUT_SPEED: frozenset[NoteKind] = frozenset({"partitions", "slow", "layout", "float-layers"})
"""Kinds of notes that say why a file may be slower than another; a single partition is as fast as can be."""


@dataclass(frozen=True)
class Note:
    """Something that whoever exports a file should read; programs read the kind."""

    kind: NoteKind
    text: str
    count: int | None = None  # of what the kind counts: XNNPACK partitions

    def __str__(self) -> str:
        """The sentence."""
        return self.text

    @classmethod
    def from_plain(cls, value: Any) -> Note:
        """Reads a note of `exported.json`; what is not one, as an older record's sentence, is of kind "other"."""
        if isinstance(value, dict) and value.get("kind") in get_args(NoteKind):
            count = value.get("count")
            return cls(value["kind"], str(value.get("text", "")), count if type(count) is int else None)
        return cls("other", str(value))


@dataclass(frozen=True)
class Card:
    """What an app must know to use a file, written into the file's own metadata."""

    model: str
    contract: InputContract
    embedding_size: int
    precision: Precision = "fp32"
    input: Input = "tensor"
    normalised: bool = False  # False: the app divides the output by its length before it compares cosines
    licence: str = "unknown"
    rewrites: tuple[Rewrite, ...] = ()  # of the graph, in their order
    source_sha256: str = ""  # of the weights, or of the ONNX file, that it was made from
    calibration_sha256: str = ""
    tools: tuple[str, ...] = ()  # what made the file: "onnx 1.23.2"
    pruned_from: str = ""  # the model that was pruned to this one; "" where it was not pruned
    ancestry: tuple[str, ...] = ()  # what was done to the weights, oldest first, a sentence each
    certificate: Certificate | None = None  # thresholds of this very file; None: not verified yet

    def to_json(self) -> str:
        """Gives one JSON object with sorted keys: the same card is the same text."""
        values = dataclasses.asdict(self) | {"rewrites": [rewrite.to_plain() for rewrite in self.rewrites]}
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Card:
        """Reads what `to_json` gave.

        Raises:
            ValueError: Too long, not JSON, or with unknown keys or values.
        """
        if len(text) > LARGEST_CARD:
            raise ValueError(f"the file's pocketface metadata has {len(text)} bytes; a card has at most {LARGEST_CARD}")
        try:
            values: dict[str, Any] = json.loads(text)
            values["contract"] = InputContract.from_dict(values["contract"])
            values["rewrites"] = tuple(map(Rewrite.from_plain, values.get("rewrites", ())))
            for name in ("tools", "ancestry"):
                values[name] = tuple(values.get(name, ()))
            if values.get("certificate") is not None:
                values["certificate"] = Certificate.from_dict(values["certificate"])
            card = cls(**values)
            words = (card.model, card.licence, card.pruned_from, card.source_sha256, card.calibration_sha256)
            if not all(isinstance(word, str) for word in (*words, *card.tools, *card.ancestry)):
                raise TypeError("a name is no text")
            checked_name(card.model, "model")
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
        """Gives what a reader without pocketface needs, under the names that other tools use."""
        contract = self.contract
        orders = {"rgb": "channels in the order red, green, blue", "bgr": "channels in the order blue, green, red"}
        order = orders.get(contract.channel_order, "one channel of luma (ITU-R 601)")
        count = contract.channels
        mean, scale = (
            ", ".join(f"{number:.6g}" for number in each[:count]) for each in (contract.mean, contract.scale)
        )
        fed = {
            "tensor": f"{order}. Each value is (pixel - mean) * scale, with pixel 0 to 255, "
            f"mean ({mean}), scale ({scale}).",
            "image": "a picture of any pixel format; the file itself orders the colours and applies mean and scale.",
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
        """Gives the same card with the installed versions of `packages` among its tools, each once.

        Raises:
            ConversionError: One is not installed.
        """
        try:
            versions = [f"{package} {version(package)}" for package in packages]
        except PackageNotFoundError as error:
            raise ConversionError(f"{error.name} is not installed: pip install {error.name}") from error
        return self.but(tools=tuple(dict.fromkeys((*self.tools, *versions))))

    def tools_are_installed(self) -> bool:
        """Tells whether the packages that made the file are here in the very versions that it names."""
        try:
            return all(tool == f"{package} {version(package)}" for tool in self.tools for package in [tool.split()[0]])
        except (PackageNotFoundError, IndexError):
            return False

    def but(self, **changes: Any) -> Card:
        """Gives the same card with some fields changed."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class Artifact:
    """A converted file on disk (a folder for Core ML)."""

    path: Path
    format: str  # a key of `formats.FORMATS`
    card: Card
    batch: int | None = 1  # None: any number of faces at once
    notes: tuple[Note, ...] = ()
    output: str = ""  # the name of the embedding, where somebody had to choose among several outputs

"""What a file takes and gives, as the file itself says: one record, which every format's session runs by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...faces.contract import InputContract, Stated, contract_of
from .conversion_error import ConversionError

COVERED = 0.4  # least share of an integer input's range that pixels fill; a symmetric one wastes half
STEPS_OVER = 0.1  # of that range: calibration may have cut so much off at either end

FLOATS = ("float32", "float16", "float64", "bfloat16")
INTEGERS = ("uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64")

Call = Callable[[NDArray[Any]], NDArray[Any]]
"""Runs a file once: what its input takes -> what its embedding's output gives."""


@dataclass(frozen=True)
class Port:
    """One input or output. A number in it stands for `(number - zero) * scale` where it has a scale."""

    name: str
    shape: tuple[int | None, ...]  # None: free; (): the file does not say
    dtype: str = "float32"  # NumPy's name
    scale: float = 0.0
    zero: int = 0
    picture: str = ""  # "rgb", "bgr" or "gray": no tensor but a picture in these colours

    def __str__(self) -> str:
        """Its name and shape, as a sentence names it."""
        return f"{self.name!r} ({self.shown.replace('x', ', ')})"

    @property
    def shown(self) -> str:
        """Its shape for people: 1x3x112x112, with ? where it is free."""
        return "x".join("?" if side is None else str(side) for side in self.shape)

    @property
    def is_float(self) -> bool:
        """Whether it holds floating-point numbers."""
        return self.dtype in FLOATS

    def numbers(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Gives `values` as the port holds them: rounded to its steps and clipped to its type."""
        if self.dtype == "bfloat16":
            raise ConversionError(
                f"{self.name!r} takes bfloat16, which NumPy does not have; `pocketface export` widens it"
            )
        if self.is_float:
            return values.astype(self.dtype, copy=False)
        steps = np.round(values / np.float32(self.scale) + self.zero) if self.scale else np.round(values)
        limits = np.iinfo(self.dtype)
        return np.clip(steps, limits.min, limits.max).astype(self.dtype)

    def values(self, numbers: NDArray[Any]) -> NDArray[np.float32]:
        """Gives what `numbers` of the port stand for."""
        if self.is_float or not self.scale:
            return numbers.astype(np.float32)
        return np.asarray((numbers.astype(np.float32) - self.zero) * np.float32(self.scale), np.float32)


@dataclass(frozen=True)
class Ports:
    """The input that takes faces and the output that gives embeddings."""

    file: str  # its name, for sentences
    face: Port
    embedding: Port
    ignored: tuple[str, ...] = ()  # outputs that are no embedding

    @property
    def channels_last(self) -> bool:
        """Whether a face is (H, W, C) in the file; all else here is (C, H, W)."""
        return self.face.shape[3] in (1, 3) and self.face.shape[1] not in (1, 3)

    @property
    def sides(self) -> tuple[int | None, int | None, int | None]:
        """Channels, height and width of a face, None where free."""
        _, first, second, third = self.face.shape
        return (third, first, second) if self.channels_last else (first, second, third)

    @property
    def batch(self) -> int | None:
        """Faces that a call takes; None: any number."""
        return self.face.shape[0]

    @property
    def embedding_size(self) -> int:
        """D; 0 where the file does not say."""
        return _row(self.embedding, self.batch) or 0

    def stated(self) -> dict[str, Any]:
        """Gives the fields of an `InputContract` that the file itself states.

        A picture, or integers without a scale, are pixels: mean 0, scale 1.
        """
        channels, height, width = self.sides
        fields: dict[str, Any] = {"height": height, "width": width} if height and width else {}
        if channels == 1:
            fields["channel_order"] = "gray"
        if self.face.picture or not (self.face.is_float or self.face.scale):
            fields |= {"mean": (0.0,) * 3, "scale": (1.0,) * 3}
        return fields

    def check(self, contract: InputContract) -> None:
        """Refuses a contract that the input cannot take.

        Raises:
            ConversionError: Another size or number of channels, or pixels that miss the range of an integer input.
        """
        wanted = (contract.channels, contract.height, contract.width)
        if any(side not in (None, want) for side, want in zip(self.sides, wanted, strict=True)):
            layout = ", channels last" if self.channels_last else ""
            hint = "give its own size with --size"
            if self.sides[0] not in (None, contract.channels):
                hint = "an embedder takes three colours, or one channel with --channel-order gray"
            raise ConversionError(
                f"{self.file} takes {self.face.shown}{layout}; the contract says {'x'.join(map(str, (1, *wanted)))}; "
                f"{hint}"
            )
        if self.face.is_float or self.face.picture:
            return
        limits = np.iinfo(self.face.dtype)
        low, high = (float(self.face.values(np.array(end))) for end in (limits.min, limits.max))
        least, most = contract.reach
        over = STEPS_OVER * (high - low)
        hint = "give the --mean and --scale that it was quantised with"
        if not self.face.scale:
            hint = "it prepares pixels itself: leave --mean and --scale out"
        if least < low - over or most > high + over or most - least < COVERED * (high - low):
            raise ConversionError(
                f"{self.file} takes {self.face.dtype} that stand for {low:.4g} to {high:.4g}; by the contract pixels "
                f"become {least:.4g} to {most:.4g}; {hint}"
            )

    def filled(self, inputs: NDArray[np.float32]) -> NDArray[Any]:
        """Gives what the file takes for each face: a batch larger than one is filled with copies of it.

        Args:
            inputs: (N, C, H, W) float32, preprocessed.

        Returns:
            (N, batch, C, H, W) or (N, batch, H, W, C), in the input's type; batch is 1 where it is free.

        Raises:
            ConversionError: The inputs have another shape.
        """
        if inputs.ndim != 4 or any(s not in (None, have) for s, have in zip(self.sides, inputs.shape[1:], strict=True)):
            wanted = ", ".join("?" if side is None else str(side) for side in self.sides)
            raise ConversionError(f"{self.file} takes (N, {wanted}), not {inputs.shape}")
        faces = self.face.numbers(inputs.transpose(0, 2, 3, 1) if self.channels_last else inputs)
        return np.broadcast_to(faces[:, None], (len(faces), self.batch or 1, *faces.shape[1:]))

    def rows(self, numbers: NDArray[Any], count: int) -> NDArray[np.float32]:
        """Gives (count, D) of what a call for `count` faces gave, without sides of 1.

        Raises:
            ConversionError: It is no row of numbers for each face.
        """
        if numbers.size % count or sum(side > 1 for side in numbers.shape) > 1 + (count > 1):
            raise ConversionError(
                f"{self.file} gives {tuple(numbers.shape)} for {count} face{'s' if count > 1 else ''}; "
                "an embedder gives a row of numbers for each"
            )
        return self.embedding.values(numbers.reshape(count, -1))

    def run(self, call: Call, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeds preprocessed faces by `call`: all at once where the batch is free, else one by one.

        Args:
            call: Runs the file.
            inputs: (N, C, H, W) float32.

        Returns:
            (N, D) float32, of any length.

        Raises:
            ConversionError: The inputs have another shape, or the file gives no row of numbers for a face.
        """
        filled = self.filled(inputs)
        if not len(filled):
            return np.zeros((0, self.embedding_size), np.float32)
        if self.batch is None:
            return self.rows(call(np.ascontiguousarray(filled[:, 0])), len(filled))
        return np.concatenate([self.rows(call(np.ascontiguousarray(batch)), self.batch)[:1] for batch in filled])

    def sentence(self) -> str:
        """Says which output is taken where the file has several, else ""."""
        if not self.ignored:
            return ""
        return f"{self.file}: its output {self.embedding.name!r} is the embedding; not used: {', '.join(self.ignored)}"


def ports_of(file: str, inputs: Sequence[Port], outputs: Sequence[Port], output: str = "") -> Ports:
    """Chooses the input and the output of an embedder among those of a file.

    Args:
        file: Its name, for sentences.
        inputs: All that it must be given.
        outputs: All that it gives, in its order.
        output: The name of the embedding. "": the only output that gives a row of two or more numbers for a face.

    Raises:
        ConversionError: Not one input of four axes, no output of that name, none that can be an embedding, or several.
    """
    if len(inputs) != 1 or not outputs:
        raise ConversionError(
            f"{file} has {len(inputs)} inputs and {len(outputs)} outputs; an embedder has one of each"
        )
    (face,) = inputs
    if len(face.shape) != 4:
        shown = face.shown or "something that it does not describe"
        raise ConversionError(f"{file} is no embedder: it takes {shown}, which is no batch of faces (N, C, H, W)")
    if face.dtype not in (*FLOATS, *INTEGERS):
        raise ConversionError(f"{file} is no embedder: it takes {face.shown} of type {face.dtype}")
    batch = face.shape[0]
    rows = [one for one in outputs if _row(one, batch) is not None]
    if output:
        rows = [one for one in outputs if one.name == output]
        if not rows:
            raise ConversionError(f"{file} has no output {output!r}; it has {', '.join(map(str, outputs))}")
    if not rows:
        raise ConversionError(
            f"{file} is no embedder: it gives {', '.join(map(str, outputs))}; an embedder gives a row of numbers (N, D)"
        )
    if len(rows) > 1:
        raise ConversionError(
            f"{file} has {len(rows)} outputs that may be the embedding, {', '.join(map(str, rows))}; "
            "name the right one with --output"
        )
    ignored = tuple(one.name for one in outputs if one is not rows[0])
    return Ports(file, face, rows[0], ignored)


def _row(output: Port, batch: int | None) -> int | None:
    """Gives D where an output gives a row of D numbers for a face, 0 where it may, and None where it does not."""
    sides = output.shape
    if len(sides) > 1 and sides[0] in (None, batch):
        sides = sides[1:]
    long = [side for side in sides if side not in (None, 1)]
    if len(long) < 2 and (long or not sides or None in sides):
        return long[0] if long else 0
    return None


def stated_by(ports: Ports, contract: Stated | None) -> InputContract | None:
    """Completes what a user states of a file's input by what the file itself says.

    Args:
        ports: Of the file.
        contract: A whole contract; or some of its fields; None: nothing.

    Returns:
        The contract; None where nobody states mean and scale.

    Raises:
        ValueError: What is stated is no contract.
    """
    own = ports.stated()
    if ports.face.picture:  # whatever other files of the command are fed
        return InputContract(**own)
    if contract is None and "mean" not in own:
        return None
    return contract_of({} if contract is None else contract, own)

"""Evaluates a saved .mlpackage on any operating system: the program and the weights that an app would ship.

It is a reference interpreter of the file, not Apple's runtime: it shows whether the file computes what it should,
and what rounding to half precision costs. It shows neither errors of GPU or Neural Engine kernels nor latency.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .images import picture_of
from .mil_half_sums import HALF_SUMS
from .mil_operators import OPERATORS, SELECTING, Operator
from .mil_shape_operators import Inputs
from .mil_weights import CONSTANTS
from .package import Package, card_of, is_half, read_package, read_value
from .package_ports import package_ports, side_of

Mode = Literal["exact", "fp16", "fp16acc"]

FACES_AT_ONCE = 4  # their activations stay in a CPU's cache: a third quicker than 32


@dataclass(frozen=True)
class Step:
    """One operator of the program, ready to run."""

    name: str
    operator: Operator
    constants: Inputs
    variables: dict[str, str | list[str | Tensor]]  # input -> the value, or list of values and constants, that it takes
    results: tuple[str, ...]
    shape: tuple[int | None, ...]  # of the first result, for one face; None: flexible
    rounded: bool  # to half precision
    last_used: tuple[str, ...]  # values that no later step reads


class CoreMLEvaluator:
    """A Core ML program that maps one preprocessed face to one embedding, run on any number of faces.

    Modes: "fp16" rounds each result that the program types as half precision (sums inside an operator are kept in
    float32); "fp16acc" also squares and sums within reductions in half precision, as hardware may; "exact" keeps all
    in float32, so that only the stored weights are rounded. A program of float32 gives the same in all three.

    A package that takes a picture is given the one that the preprocessed face was made from.
    """

    runtime = "coreml-evaluator"

    def __init__(self, path: Path, mode: Mode = "fp16", output: str = "") -> None:
        """Opens the package at `path`; `output` names the embedding where it has several outputs.

        Raises:
            ValueError: It is missing or damaged, no embedder, or has operators that the evaluator does not know.
        """
        if mode not in get_args(Mode):
            raise ValueError(f"no mode {mode!r}; known: {', '.join(get_args(Mode))}")
        package = read_package(Path(path))
        package.program  # noqa: B018 - refuses one of an older kind
        if not package.model.description.output:
            raise ValueError(f"{package.name} is damaged: it describes no output")
        self.ports, self._name = package_ports(package, output), package.name
        self._picture = picture_of(self.ports, card_of(package))
        self._steps = _steps(package, mode, self.ports.embedding.name)
        ranks = {self.ports.face.name: 4} | {name: len(step.shape) for step in self._steps for name in step.results}
        self._apart = all(_keeps_faces_apart(step, ranks) for step in self._steps)

    @torch.inference_mode()
    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps (N, C, H, W) preprocessed faces to (N, D), of whatever length the program gives.

        Raises:
            ValueError: The inputs have another shape.
        """
        given = self._picture.pixels(inputs) if self._picture else inputs
        if (self.ports.batch or 1) > 1 or not len(given):
            return self.ports.run(self._call, given)
        faces, at_once = self.ports.filled(given)[:, 0], FACES_AT_ONCE if self._apart else 1
        parts = [faces[i : i + at_once] for i in range(0, len(faces), at_once)]
        return np.concatenate([self.ports.rows(self._call(part), len(part)) for part in parts])

    def _call(self, faces: NDArray[Any]) -> NDArray[np.float32]:
        tensor = torch.from_numpy(np.array(faces, np.float32))
        return np.asarray(self._values(tensor)[self.ports.embedding.name].numpy())

    @torch.inference_mode()
    def values(self, inputs: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Gives every value of the program by its name, for one (1, C, H, W) preprocessed face."""
        given = self._picture.pixels(inputs) if self._picture else inputs
        values = self._values(torch.from_numpy(np.ascontiguousarray(given, np.float32)), keep=True)
        return {name: value.numpy() for name, value in values.items()}

    def _values(self, faces: Tensor, keep: bool = False) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {self.ports.face.name: faces.contiguous(memory_format=torch.channels_last)}
        for step in self._steps:
            given: Inputs = dict(step.constants)
            try:
                for name, taken in step.variables.items():
                    given[name] = (
                        values[taken]
                        if isinstance(taken, str)
                        else [values[one] if isinstance(one, str) else one for one in taken]
                    )
                if step.name == "reshape":  # the program states the shape for one face, or for any number
                    sides = _sides(step, given["x"])
                    given["shape"] = (len(faces), *sides[1:]) if self._apart else sides
                result = step.operator(given)
            except (RuntimeError, IndexError, KeyError, TypeError) as error:
                reason = str(error).splitlines()[0]
                at = f"{step.name} {step.results[0]!r}"
                raise ValueError(f"{self._name}: {at} cannot be computed: {reason}") from error
            results = (result,) if isinstance(result, Tensor) else result
            for name, one in zip(step.results, results, strict=True):
                values[name] = one.copy_(one.half()) if step.rounded else one
            for name in () if keep else step.last_used:
                del values[name]
        return values


def _sides(step: Step, x: Tensor) -> list[int]:
    """Gives the shape that a reshape makes of `x`; a 0 in what it asks for keeps the side of `x`."""
    if None not in step.shape:
        return [int(side) for side in step.shape if side is not None]
    stated = step.constants.get("shape")
    if stated is None:  # computed from the batch, which is the only free side
        return [len(x) if side is None else side for side in step.shape]
    return [x.shape[axis] if side == 0 else int(side) for axis, side in enumerate(stated)]


def constants_of(package: Package) -> dict[str, NDArray[Any] | str]:
    """Gives each constant of the program, decompressed and rounded to its type in the program.

    Raises:
        ValueError: One is damaged or cut off.
    """
    arrays: dict[str, NDArray[Any] | str] = {}
    for operation in package.program.operations:
        if operation.type not in CONSTANTS:
            continue
        name = operation.outputs[0].name
        given = {key: read_value(package, value) for key, value in operation.attributes.items() if key != "name"}
        for key, argument in operation.inputs.items():
            (binding,) = argument.arguments
            given[key] = arrays[binding.name] if binding.name in arrays else read_value(package, binding.value)
        try:
            value: Any = CONSTANTS[operation.type](given)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, ArithmeticError) as error:
            raise ValueError(f"{package.name} is damaged: {operation.type} {name!r} does not fit ({error!r})") from None
        for result, one in zip(operation.outputs, value if isinstance(value, tuple) else (value,), strict=True):
            half = is_half(result) and isinstance(one, np.ndarray)
            arrays[result.name] = one.astype(np.float16) if half else one
    return arrays


def _operand(value: NDArray[Any] | str) -> Any:
    if isinstance(value, str):
        return value
    if value.dtype.kind != "f":
        return value.tolist()
    tensor = torch.from_numpy(np.array(value, np.float32))
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _steps(package: Package, mode: Mode, output: str) -> list[Step]:
    known = constants_of(package)
    steps: list[Step] = []
    needed = {output}
    for operation in reversed([one for one in package.program.operations if one.type not in CONSTANTS]):
        result = operation.outputs[0]
        if not any(one.name in needed for one in operation.outputs):
            continue
        if operation.type not in OPERATORS or operation.blocks:
            raise ValueError(f"{package.name}: the evaluator has no operator {operation.type} ({result.name!r})")
        constants: Inputs = {}
        variables: dict[str, str | list[str | Tensor]] = {}
        for key, argument in operation.inputs.items():
            names = [binding.name for binding in argument.arguments]
            if not names[0]:
                constants[key] = _operand(read_value(package, argument.arguments[0].value))
            elif len(names) == 1 and key != "values":
                if names[0] in known:
                    constants[key] = _operand(known[names[0]])
                else:
                    variables[key] = names[0]
            else:
                variables[key] = [_operand(known[name]) if name in known else name for name in names]
        if operation.type == "reshape":  # whose shape is known without being computed
            variables.pop("shape", None)
        shape = tuple(side_of(dimension) for dimension in result.type.tensorType.dimensions)
        taken = [one for each in variables.values() for one in ([each] if isinstance(each, str) else each)]
        used = {one for one in taken if isinstance(one, str)}
        half = mode != "exact" and is_half(result)
        rounded = half and operation.type not in SELECTING
        operator = OPERATORS[operation.type]
        if half and mode == "fp16acc":
            operator = HALF_SUMS.get(operation.type, operator)
        last_used = tuple(used - needed)
        results = tuple(one.name for one in operation.outputs)
        steps.append(Step(operation.type, operator, constants, variables, results, shape, rounded, last_used))
        needed |= used
    return steps[::-1]


def _keeps_faces_apart(step: Step, ranks: dict[str, int]) -> bool:
    """Says whether a step of a program for one face treats its first axis as faces, so that it can run many at once.

    `ranks` are the numbers of axes of the values before it.
    """
    before = [ranks.get(taken, 0) for taken in step.variables.values() if isinstance(taken, str)]
    rank = max(before, default=len(step.shape))
    if step.shape[:1] not in ((1,), (None,)):
        return False
    given = step.constants
    match step.name:
        case "matmul":
            return rank > 2 or "y" in given
        case "transpose":
            return bool(given["perm"][0] % rank == 0)
        case "concat" | "softmax" | "split" | "gather":
            return bool(given.get("axis", 0 if step.name == "gather" else -1) % len(step.shape) != 0)
        case "expand_dims":
            return all(axis % len(step.shape) != 0 for axis in given["axes"])
        case "tile":
            return bool(given["reps"][0] == 1)
        case "slice_by_index":
            return bool(given.get("begin_mask", [False])[0] and given.get("end_mask", [False])[0])
        case "l2_norm":
            return rank > 3
        case name if name.startswith("reduce_") or name in ("squeeze", "layer_norm"):
            return "axes" in given and all(axis % rank != 0 for axis in given["axes"])
        case "reshape":
            return True
        case _:  # elementwise, or of images: broadcasting aligns the last axes, so both sides want the first one
            return all(axes == rank for axes in before)

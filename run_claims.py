"""Whose a run folder is: the recipe and the inputs that it was begun with, in recipe.toml and manifest.json."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .benchmark.run_files import check_measurements, named_values, read_mapping
from .export.targets import Source, source_sha256
from .faces.folders import LabelledFaces
from .faces.pairs import Pairs
from .files import sha256_of, written_whole
from .run_recipe import RunRecipe, validated

RECIPE, MANIFEST = "recipe.toml", "manifest.json"
READ_BY = {
    "embedder": "embedder",
    "weights": "embedder",
    "train": "train",
    "pairs": "pairs",
    "images": "pairs",
    "benchmark.templates": "templates",
    "benchmark.attributes": "attributes",
}
"""The fields that name files, and the input whose hash tells whether another spelling names the same ones."""
PACKAGES = ("numpy", "torch", "onnx", "onnxruntime", "ai-edge-litert", "ai-edge-quantizer", "coremltools")


@dataclass(frozen=True)
class Claim:
    """A run folder, as far as it is known to be of this recipe."""

    folder: Path
    recipe: RunRecipe
    spelled: Mapping[str, tuple[str, str]]  # fields that name files by other paths: here, and in the folder
    recorded: Mapping[str, Any]  # the inputs that the folder was begun with; none in a new one
    damaged: bool  # recipe.toml cannot be read: what the recipe decides, and no hash tells, is made again
    started: float = field(default_factory=time.monotonic)  # not the time of day: that may be set back

    def settle(self, source: Source, train: LabelledFaces, pairs: Pairs) -> None:
        """Checks that paths that are spelled in another way lead to the same contents; writes recipe and inputs.

        Raises:
            ValueError: They lead to others; names the field.
        """
        inputs = self._inputs(source, train, pairs)
        for name, (here, there) in self.spelled.items():
            kind = READ_BY[name]
            if _content(kind, self.recorded) != _content(kind, inputs):
                raise ValueError(_other(self.folder, name, here, there))
        self._write(inputs, {})
        with written_whole(self.folder / RECIPE) as beside:
            beside.write_text(self.recipe.to_toml(), encoding="utf-8")

    def finish(
        self, source: Source, train: LabelledFaces, pairs: Pairs, stages: Sequence[Mapping[str, str | float]] = ()
    ) -> None:
        """Writes the manifest of a run that ended: also how many seconds this try took, and each of its `stages`."""
        seconds = round(time.monotonic() - self.started, 1)
        self._write(self._inputs(source, train, pairs), {"seconds": seconds, "stages": list(stages)})

    def _inputs(self, source: Source, train: LabelledFaces, pairs: Pairs) -> dict[str, dict[str, Any]]:
        recipe = self.recipe
        tables = {"templates": recipe.benchmark.templates, "attributes": recipe.benchmark.attributes}
        return {
            "embedder": {"name": source.name, "sha256": source_sha256(source), "licence": source.licence},
            "train": {"name": recipe.train_name, "faces": len(train.faces), "sha256": train.sha256},
            "pairs": {"name": Path(recipe.pairs).name, "pairs": len(pairs), "sha256": pairs.sha256},
            **{key: {"name": path.name, "sha256": sha256_of(path)} for key, path in tables.items() if path is not None},
        }

    def _write(self, inputs: Mapping[str, Any], more: Mapping[str, Any]) -> None:
        manifest = {
            "command": " ".join(["pocketface", *sys.argv[1:]]),
            "inputs": inputs,
            "versions": {
                "pocketface": importlib.metadata.version("pocketface"),
                "python": sys.version.split()[0],
                **{package: _version(package) for package in PACKAGES},
            },
            **more,
        }
        with written_whole(self.folder / MANIFEST) as beside:
            beside.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def claim(folder: Path, recipe: RunRecipe, progress: Callable[[str], None]) -> Claim:
    """Checks, before anything slow, that a run folder is a new one, or begun with this recipe.

    Args:
        folder: The run folder.
        recipe: Its paths may be spelled in other ways than those in the folder; `Claim.settle` compares what is there.
        progress: Told of a damaged recipe.toml.

    Raises:
        ValueError: It is of another recipe, and the first field that differs; or it holds the measurements of another
            stage.
    """
    path = folder / RECIPE
    if not path.exists():
        check_measurements(folder, "run")
        return Claim(folder, recipe, {}, {}, False)
    try:
        recorded = read_mapping(folder / MANIFEST).get("inputs")
    except (ValueError, OSError):
        recorded = None
    text = path.read_bytes()
    if text == recipe.to_toml().encode():
        return Claim(folder, recipe, {}, recorded if isinstance(recorded, dict) else {}, False)
    if not isinstance(recorded, dict):
        raise ValueError(f"{folder} holds another recipe; name another folder with --out")
    try:
        values = tomllib.loads(text.decode())
    except (ValueError, RecursionError):
        values = {}
    if not values:
        progress(f"{path} is damaged: it is written again, and what depends on it is made again")
        return Claim(folder, recipe, {}, recorded, True)
    try:
        before = _fields(validated(RunRecipe, values))
    except ValueError as error:
        raise ValueError(f"{folder} holds a run of another recipe ({error}); name another folder with --out") from None
    now = _fields(recipe)
    spelled = {}
    for name in dict.fromkeys((*now, *before)):
        here, there = now.get(name, "not set"), before.get(name, "not set")
        if name not in READ_BY and here != there:
            raise ValueError(_other(folder, name, here, there))
        if name in READ_BY and os.path.realpath(here) != os.path.realpath(there):
            spelled[name] = (here, there)
    return Claim(folder, recipe, spelled, recorded, False)


def _fields(recipe: RunRecipe) -> dict[str, str]:
    values = recipe.model_dump(mode="json", exclude_none=True)
    tables = {name: "set" for name, value in values.items() if isinstance(value, dict)}  # one may be missing as a whole
    return tables | dict(named_values(values, "."))


def _other(folder: Path, name: str, here: str, there: str) -> str:
    return (
        f"{folder} holds a run of another recipe: {name} is {there} there and {here} here; "
        "name another folder with --out"
    )


def _content(kind: str, inputs: Mapping[str, Any]) -> list[Any]:
    entry = inputs.get(kind)
    keys = ("sha256", "name") if kind == "embedder" else ("sha256",)  # files are called by an embedder's name
    return [entry.get(key) for key in keys] if isinstance(entry, Mapping) else []


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # coremltools has no wheel for Windows
        return "not installed"

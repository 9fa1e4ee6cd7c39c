"""The recipe of a run: what it may say, how it is read from TOML or YAML, and what is wrong with one."""

from __future__ import annotations

import re
import reprlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import tomli_w
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from .benchmark.recipe import BenchmarkRecipe
from .export.recipe import ExportRecipe
from .faces.contract import stated_contract
from .models.network_names import EMBEDDED_DEFAULT, is_network_file
from .prune.recipe import PruneRecipe
from .spelling import did_you_mean, known_names
from .sweep_recipe import SweepRecipe, SweptNetwork

SYNTHETIC = "synthetic"  # in place of a path: faces that pocketface renders itself
PATHS_OF_BENCHMARK = ("templates", "attributes")  # fields that name files about the faces
LARGEST_FILE = 1 << 20  # bytes
MOST_LEVELS = 20  # of tables and lists in one another
PLAIN = {"tuple_type": "it must be a list", "model_type": "it must be a table", "dict_type": "it must be a table"}

Recipe = TypeVar("Recipe", bound=BaseModel)


class RunRecipe(BaseModel):
    """What a run does; without a table `prune` nothing is pruned, the other stages have defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    embedder: str = (
        EMBEDDED_DEFAULT  # zoo name, checkpoint folder, file.py:factory, or a file: .onnx, .tflite, .keras, .h5
    )
    weights: Path | None = None  # file of weights for a zoo name or a factory: safetensors, or a torch file of tensors
    name: str | None = None  # name in files and reports; without one, that of the weights or the architecture
    licence: str = "unknown"  # licence of the weights
    options: dict[str, Any] = {}  # keyword arguments of the constructor
    contract: dict[str, Any] | None = None  # what the network is fed; a factory and a file need it
    train: str | tuple[str, ...] = (
        SYNTHETIC  # faces to recover and calibrate on: a folder per person, shards, or several
    )
    pairs: str = SYNTHETIC  # pairs.txt, .csv, .bin, or a folder with a folder per person; for verification only
    images: Path | None = None  # folder of the images that the pairs name
    prune: PruneRecipe | None = None  # how to prune; without this table nothing is pruned
    sensitivity: bool = False  # also measures what cutting each layer alone would cost
    export: ExportRecipe = ExportRecipe()  # which files to make
    compare: tuple[str, ...] = ("onnx", "tflite-fp32")  # targets that are made from the unpruned embedder too
    benchmark: BenchmarkRecipe = BenchmarkRecipe()  # how to measure
    sweep: SweepRecipe | None = None  # what `pocketface sweep` varies; a run leaves it alone

    @field_validator("contract")
    @classmethod
    def _readable(cls, contract: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if contract is None else stated_contract(contract).to_dict()

    @field_validator("train")
    @classmethod
    def _places(cls, train: str | tuple[str, ...]) -> str | tuple[str, ...]:
        places = face_places(train)
        return places[0] if len(places) == 1 else places

    @property
    def train_name(self) -> str:
        """What the faces to recover and calibrate on are called: the last part of their path, of several each."""
        return " + ".join(Path(place).name for place in face_places(self.train))

    @field_validator("compare")
    @classmethod
    def _known(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        return ExportRecipe(targets=targets).targets

    @field_validator("options")
    @classmethod
    def _writable(cls, options: dict[str, Any]) -> dict[str, Any]:
        try:
            tomli_w.dumps(options)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"this cannot be written as TOML: {error}") from error
        return options

    def to_toml(self) -> str:
        """Gives the recipe as the text of a TOML file, every field that has a value named."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def default_recipe() -> RunRecipe:
    """Gives the recipe of a run without one: the embedded default, 30 % of its parameters removed.

    Returns:
        A recipe that takes minutes on a laptop and needs no files.
    """
    return RunRecipe(
        prune=PruneRecipe(remove=0.3, steps=2, epochs=4, epochs_between=0.5, variants=2, images=128),
        # 2,400 rendered pairs do not tell less than 2 points apart
        benchmark=BenchmarkRecipe(rounds=1, minimum_runs=100, minimum_seconds=0.3, margin=0.02),
    )


@dataclass(frozen=True)
class Roots:
    """The folders that the relative paths of a recipe start from."""

    recipe: Path = Path()
    faces: Path | None = None  # None: where the recipe lies
    weights: Path | None = None

    def resolve(self, recipe: RunRecipe) -> RunRecipe:
        """Gives `recipe` with every path made absolute."""
        faces = self.faces or self.recipe
        tables = {key: getattr(recipe.benchmark, key) for key in PATHS_OF_BENCHMARK}
        trained = tuple(
            place if place == SYNTHETIC else str((faces / place).absolute()) for place in face_places(recipe.train)
        )
        absolute = {key: path and (faces / path).absolute() for key, path in tables.items()}
        sweep = recipe.sweep
        if sweep is not None:
            networks = tuple(each.model_copy(update=self._network(each)) for each in sweep.networks)
            sweep = sweep.model_copy(update={"networks": networks})
        return recipe.model_copy(
            update={
                "benchmark": recipe.benchmark.model_copy(update=absolute),
                **self._network(recipe),
                "train": trained[0] if len(trained) == 1 else trained,
                "pairs": recipe.pairs if recipe.pairs == SYNTHETIC else str((faces / recipe.pairs).absolute()),
                "images": recipe.images and (faces / recipe.images).absolute(),
                "sweep": sweep,
            }
        )

    def _network(self, recipe: RunRecipe | SweptNetwork) -> dict[str, Any]:
        """Gives the fields that name a network's files, their paths made absolute."""
        weights = self.weights or self.recipe
        place, colon, factory = recipe.embedder.rpartition(":")
        embedder = recipe.embedder
        if place.endswith(".py"):
            embedder = str((self.recipe / place).absolute()) + colon + factory
        elif is_network_file(weights / embedder):
            embedder = str((weights / embedder).absolute())
        return {"embedder": embedder, "weights": recipe.weights and (weights / recipe.weights).absolute()}


def read_recipe(path: Path | str) -> RunRecipe:
    """Reads a run's recipe from TOML, or from YAML where the name ends in `.yaml` or `.yml`.

    Args:
        path: The file, at most 1 MiB.

    Returns:
        The recipe; its relative paths are as the file says, see `Roots`.

    Raises:
        ValueError: It cannot be read, or has a key or a value that no recipe has; the nearest known one is named.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no recipe at {path}")
    if (size := path.stat().st_size) > LARGEST_FILE:
        raise ValueError(f"{path} has {size:,} bytes; a recipe has at most {LARGEST_FILE:,}")
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.load(text, _Loader) if path.suffix in (".yaml", ".yml") else tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"{path}: tables and lists are nested too deeply") from None
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is no TOML or YAML: {' '.join(str(error).split())}") from error
    try:
        return validated(RunRecipe, {} if values is None else values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def with_settings(recipe: RunRecipe, settings: Mapping[str, Any]) -> RunRecipe:
    """Gives `recipe` with some fields changed.

    Args:
        recipe: Left as it is.
        settings: New values by key, those of a table's fields in a mapping: `{"benchmark": {"rounds": 1}}`.

    Returns:
        The new recipe; a field that neither names keeps its default, and still counts as not named.

    Raises:
        ValueError: No recipe has such a key or value.
    """
    return validated(RunRecipe, merge_tables(recipe.model_dump(exclude_unset=True), settings))


def merge_tables(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Gives `values` with `changes` put in, table by table.

    >>> merge_tables({"a": 1, "t": {"x": 1, "y": 2}}, {"t": {"y": 3}})
    {'a': 1, 't': {'x': 1, 'y': 3}}
    """
    result = dict(values)
    for key, value in changes.items():
        table = result.get(key)
        result[key] = (
            merge_tables(table if isinstance(table, Mapping) else {}, value) if isinstance(value, Mapping) else value
        )
    return result


def face_places(faces: str | Sequence[str]) -> tuple[str, ...]:
    """Gives each of the places that faces lie in, or "synthetic" alone.

    Raises:
        ValueError: There is none, or rendered faces are among others.
    """
    places = (faces,) if isinstance(faces, str) else tuple(faces)
    if not places:
        raise ValueError(f"name a folder of faces, or {SYNTHETIC!r}")
    if SYNTHETIC in places and len(places) > 1:
        raise ValueError(f"{SYNTHETIC!r} faces do not mix with others; leave one out")
    return places


def with_ranges_for(recipe: ExportRecipe, faces: str | Sequence[str]) -> ExportRecipe:
    """Gives `recipe` with the way to set int8 ranges that suits `faces`, paths or "synthetic", unless it names one."""
    if face_places(faces) != (SYNTHETIC,) or "ranges" in recipe.model_fields_set:
        return recipe
    return recipe.model_copy(update={"ranges": "minmax"})  # photos reach further than rendered faces: cut nothing off


def validated(model: type[Recipe], values: Any) -> Recipe:
    """Makes a recipe of plain values.

    Args:
        model: The kind of recipe.
        values: As TOML, YAML or JSON gives them.

    Returns:
        The recipe.

    Raises:
        ValueError: One sentence: which key or value no such recipe has, and the nearest known one.
    """
    if not _flat(values, MOST_LEVELS):
        raise ValueError(f"tables and lists are nested too deeply; {MOST_LEVELS} levels are read")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ValueError(_explain(error, model)) from error


def _flat(values: Any, levels: int) -> bool:
    inside = values.values() if isinstance(values, Mapping) else values if isinstance(values, list) else ()
    return levels > 0 and all(_flat(value, levels - 1) for value in inside)


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = sorted(_table(model, first["loc"][:-1]).model_fields)
        hint = did_you_mean(first["loc"][-1], known) or f"known: {', '.join(known)}"
        return f"there is no {where!r}; {hint}"
    value, message = reprlib.repr(first["input"]), first["msg"].removeprefix("Value error, ")
    message = PLAIN.get(first["type"], message.replace("Input should be", "it must be"))
    if first["type"] == "model_type" and not where:
        return f"a recipe is a table of keys and values, not {value}"
    if first["type"] == "literal_error" and (names := re.findall(r"'([^']*)'", first["ctx"]["expected"])):
        message = f"there is no such value; {known_names(first['input'], names)}"
    return f"{where} = {value}: {message}" if first["loc"] else message


def _table(model: type[BaseModel], keys: tuple[int | str, ...]) -> type[BaseModel]:
    """Finds the recipe that lies under `keys` in `model`."""
    for key in keys:
        annotation = model.model_fields[str(key)].annotation
        kinds = (annotation, *get_args(annotation))
        model = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return model


class _Loader(yaml.SafeLoader):
    """Reads plain values, and no aliases: ten lines of them can stand for a billion values."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias is not read; write its value out")
        return super().compose_node(parent, index)

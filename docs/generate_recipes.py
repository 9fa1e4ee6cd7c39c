"""Writes docs/recipes.md: every field of every recipe, as the models define them.

python docs/generate_recipes.py

Types, defaults and limits come from the pydantic models, a field's description from its `Field(description=...)` or the
comment behind it in the source. A test checks that the page is up to date.
"""

import inspect
import io
import tokenize
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pocketface.benchmark.adb.recipe import PhoneRecipe
from pocketface.benchmark.recipe import BenchmarkRecipe
from pocketface.export.recipe import ExportRecipe
from pocketface.prune.recipe import PruneRecipe, TrainingRecipe
from pocketface.run_recipe import RunRecipe
from pocketface.sweep_recipe import SweepGoal, SweepRecipe

PAGE = Path(__file__).with_name("recipes.md")
PARTS: tuple[tuple[type[BaseModel], str, str], ...] = (
    (
        RunRecipe,
        "A run",
        "What `pocketface run` is given: the top of the file. Paths are relative to the recipe; those of faces and "
        "weights\nto `--faces` and `--weights`, where these are given.",
    ),
    (
        PruneRecipe,
        "`[prune]`",
        "`pocketface prune --set FIELD=VALUE`. Without this table a run prunes nothing. The "
        "[fields of training](#training)\nbelong to it too, except `precision` and `activation`, which are for "
        "`pocketface recover`.",
    ),
    (TrainingRecipe, "Training", "`pocketface recover --set FIELD=VALUE`, and in `[prune]`."),
    (ExportRecipe, "`[export]`", "`pocketface export --set FIELD=VALUE`."),
    (BenchmarkRecipe, "`[benchmark]`", "`pocketface benchmark --set FIELD=VALUE`."),
    (
        SweepRecipe,
        "`[sweep]`",
        "What `pocketface sweep` varies, see [sweep.md](sweep.md); `--set sweep.FIELD=VALUE`. Lists of values that the "
        "fields\nof `[prune]` take in turn.",
    ),
    (SweepGoal, "`[sweep.goal]`", "The options `--max-drop`, `--max-mb` and `--max-ms` set it too."),
    (PhoneRecipe, "A phone", "`pocketface phone --set FIELD=VALUE`."),
)
CONTRACT = """\
## `[contract]`

What the embedder must be fed; a crop enters the network as `(pixel - mean) * scale`, channels first.

| field | default | what it is |
| --- | --- | --- |
| `height`, `width` | `112` | of a crop, in pixels |
| `channel_order` | `"rgb"` | or `"bgr"`; `"gray"`: one channel of luma (ITU-R 601), with one mean and one scale |
| `mean` | `[127.5, 127.5, 127.5]` | in pixels, 0 to 255, in the order of `channel_order` |
| `scale` | 1 / 127.5 three times | factor after the mean |
| `template` | `"arcface"` | landmark template of the crops; `"arcface-80"`: the face 80 % as large |
"""
LIMITS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "a multiple of", "min_length": "length ≥"}


def page() -> str:
    """Gives the whole page."""
    parts = [
        "# Recipes\n\nEvery field of every recipe, written from the models by `python docs/generate_recipes.py`. "
        "A recipe is\nTOML or YAML. An unknown field is an error that names the nearest known one.\n"
    ]
    for model, title, text in PARTS:
        parts.append(f"## {title}\n\n{text}\n\n{table(model)}")
        if model is RunRecipe:
            parts.append(CONTRACT)
    return "\n".join(parts)


def table(model: type[BaseModel]) -> str:
    """Gives a line for each field that the model itself defines."""
    described = comments(model)
    lines = ["| field | type | default | what it is |", "| --- | --- | --- | --- |"]
    for name in model.__annotations__:
        if name in model.model_fields:
            field = model.model_fields[name]
            text = field.description or described.get(name, "")
            cells = [f"`{name}`", kind(field.annotation) + limits(field), default(field), text]
            lines.append(f"| {' | '.join(cell.replace('|', '¦') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def comments(model: type[BaseModel]) -> dict[str, str]:
    """Gives the comment behind each field of a class, by the field's name."""
    found, field = {}, ""
    for token in tokenize.generate_tokens(io.StringIO(inspect.getsource(model)).readline):
        if token.type == tokenize.NAME and token.start[1] == 4:
            field = token.string
        elif token.type == tokenize.COMMENT and token.start[1] > 4:
            found[field] = token.string.lstrip("# ")
    return found


def kind(annotation: Any) -> str:
    """Names a type as somebody reads it who writes TOML."""
    arguments = get_args(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(kind(argument) for argument in arguments if argument is not types.NoneType)
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if get_origin(annotation) is tuple:
        return f"list of {kind(arguments[0])}"
    if get_origin(annotation) is dict or (inspect.isclass(annotation) and issubclass(annotation, BaseModel)):
        return "table"
    if arguments and hasattr(annotation, "__metadata__"):
        return kind(arguments[0]) + limits(annotation.__metadata__[0])
    return {"str": "text", "float": "number", "int": "whole number", "bool": "true or false", "Path": "path"}.get(
        annotation.__name__, annotation.__name__
    )


def limits(field: FieldInfo) -> str:
    """Gives what a value is held to: ", ≥ 0"."""
    return "".join(f", {text}" for text in _limits(field))


def _limits(field: FieldInfo) -> Iterator[str]:
    for constraint in field.metadata:
        for name, sign in LIMITS.items():
            if getattr(constraint, name, None) is not None:
                yield f"{sign} {getattr(constraint, name)}"


def default(field: FieldInfo) -> str:
    """Gives a default as TOML would have it, or a dash for none."""
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "–"
    if isinstance(value, BaseModel):
        return "its defaults"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(written, value))}]`"
    return f"`{written(value)}`"


def written(value: object) -> str:
    """Gives a plain value in TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

"""What every command shares: options, `--set`, tables, lines on the terminal, and one sentence for a mistake."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

from typer import Argument, Exit, Option

from .command_output import CommandResult, OutputOptions, is_first_process, the_display
from .files import error_sentence, full_disk
from .held_folders import hold_folder, own_temporary_folder
from .interruptions import ending_on_signals
from .spelling import printable

if TYPE_CHECKING:
    from pydantic import BaseModel

    from .faces.contract import InputContract

Recipe = TypeVar("Recipe", bound="BaseModel")
Options = TypeVar("Options")


def _show_version(show: bool) -> None:
    if show:
        from . import __version__

        print(f"pocketface {__version__}")
        raise Exit


Version = Annotated[bool, Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")]
Network = Annotated[
    str, Argument(help="Zoo name, checkpoint folder, file.py:factory, or a file: .onnx, .tflite, .keras, .h5.")
]
Probed = Annotated[str, Argument(help="Converted file, checkpoint folder, zoo name, or file.py:factory.")]
Faces = Annotated[
    list[str],
    Option(help="Folder of aligned faces with one folder per person, or WebDataset shards; may be repeated."),
]
RENDERED = ["synthetic"]  # faces where none are named
Weights = Annotated[
    Path | None, Option(help="Weights for a zoo name or a factory: safetensors, or a torch file of tensors.")
]
Criterion = Annotated[
    str | None,
    Option(
        help="How channels are scored: gauss-newton (needs no labels), taylor, taylor-activation, taylor-gate, "
        "feature-map, l1, l2, fpgm, bn-scale, random.",
        show_default="gauss-newton",
    ),
]
Threads = Annotated[
    list[int] | None, Option(help="Number of threads to time on; may be repeated.", show_default="the recipe's")
]
Targets = Annotated[
    list[str] | None,
    Option("--target", help="Kind of file to make, e.g. tflite-w8a8; may be repeated.", show_default="nine usual ones"),
]
AllowDrift = Annotated[
    bool | None,
    Option("--allow-drift", help="Write files that embed too unlike their source too.", show_default=False),
]
Settings = Annotated[
    list[str] | None,
    Option("--set", metavar="KEY=VALUE", help="Any other field of the recipe, e.g. round_to=16; may be repeated."),
]
RunSettings = Annotated[
    list[str] | None,
    Option("--set", metavar="KEY=VALUE", help="Changes the recipe, e.g. prune.target=700_000; may be repeated."),
]
Images = Annotated[
    Path | None, Option(help="Folder of the images that the pairs name.", show_default="where the pairs lie")
]
Threshold = Annotated[float | None, Option(help="With --faces: the threshold at which the first file is used today.")]
Cores = Annotated[
    str | None, Option(help="Cores to run on: big, all, or a hexadecimal mask such as f0.", show_default="big")
]
Landmarks = Annotated[
    str | None,
    Option(help="If the image is a photo: x and y of eyes, nose tip and mouth corners, ten numbers with commas."),
]
Pairs = Annotated[str, Option(help="Pairs to verify on: pairs.txt, .csv, .bin, a folder per person, or 'synthetic'.")]
Size = Annotated[
    str | None,
    Option(help="Size of a face crop in pixels: 112, or height x width: 112x96.", show_default="the file's own"),
]
Output = Annotated[
    str,
    Option("--output", help="Name of the output that is the embedding, of a file with several.", show_default=False),
]
Track = Annotated[
    list[str] | None,
    Option(help="Tracker that is told of losses and results, several times for several.", show_default=False),
]
Out = Annotated[Path, Option("--out", help="Folder for the results.")]


@dataclass(frozen=True)
class ContractOptions:
    """The options that say what a network must be fed, where no file says so."""

    mean: Annotated[
        str | None,
        Option(help="Mean to subtract from pixels (0 to 255): one number, or three with commas."),
    ] = None
    scale: Annotated[
        str | None,
        Option(help="Factor applied after the mean is subtracted: one number, or three with commas; e.g. 0.0078125."),
    ] = None
    size: Size = None
    channel_order: Annotated[
        str | None, Option(help="Order of the colours, rgb or bgr; or gray, for one channel.", show_default="rgb")
    ] = None
    template: Annotated[
        str | None, Option(help="Landmark template that the crops were aligned by.", show_default="arcface")
    ] = None
    output: Output = ""

    def contract(self) -> InputContract | None:
        """Gives the input contract that the options spell, None if they say nothing."""
        from .faces.contract import stated_contract

        values = self.stated()
        return None if values is None else stated_contract(values)

    def stated(self) -> dict[str, Any] | None:
        """Gives the fields of an input contract that the options spell, None if they say nothing."""
        values: dict[str, Any] = {}
        for key, text in (("mean", self.mean), ("scale", self.scale)):
            if text is not None:
                try:
                    numbers = [float(part) for part in text.split(",")]
                except ValueError:
                    raise ValueError(f"--{key} takes one number or three with commas, not {text!r}") from None
                values[key] = numbers * 3 if len(numbers) == 1 else numbers
        if self.size is not None:
            values |= dict(zip(("height", "width"), sides_of(self.size), strict=True))
        if self.channel_order is not None:
            values["channel_order"] = self.channel_order
        if self.template is not None:
            values["template"] = self.template
        return values or None


def sides_of(size: str) -> tuple[int, int]:
    """Reads a height and width: "112", or "112x96".

    >>> sides_of("112x96")
    (112, 96)
    """
    sides = size.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdecimal() for side in sides):
        raise ValueError(f"--size takes a number of pixels or height x width, such as 112x96, not {size!r}")
    return int(sides[0]), int(sides[-1])


@dataclass(frozen=True)
class NetworkOptions(ContractOptions):
    """The options that describe a network besides its name: what it is fed, its weights, its licence."""

    weights: Weights = None
    name: Annotated[
        str | None, Option(help="Name of the network in files and reports.", show_default="the file's name")
    ] = None
    licence: Annotated[str, Option(help="Licence of the weights, if possible by its SPDX name.")] = "unknown"

    def keywords(self) -> dict[str, Any]:
        """Gives the options as `open_embedder` takes them."""
        return dict(weights=self.weights, contract=self.contract(), name=self.name, licence=self.licence)


def with_options(command: Callable[..., CommandResult | None]) -> Callable[..., None]:
    """Gives `command` the fields of its dataclass parameters as options of their own.

    Given:   def export(embedder, *, network: NetworkOptions) -> CommandResult
    Result:  export(embedder, *, mean, scale, size, channel_order, output, weights, name, licence, quiet, verbose,
             as_json), as Typer reads it; the last three only of a command that gives a `CommandResult`, which is shown
    """
    hints = get_type_hints(command, include_extras=True)
    shown = hints.pop("return", None) in (CommandResult, CommandResult | None)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name in groups:
            parameters += _parameters_of(groups[name])
        else:
            parameters.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))
    parameters += _parameters_of(OutputOptions) if shown else []

    @functools.wraps(command)
    def expanded(**values: Any) -> None:
        speaking = _taken_from(values, OutputOptions) if shown else None
        for name, group in groups.items():
            values[name] = _taken_from(values, group)
        if speaking is None:
            command(**values)
        else:
            speaking.speak(functools.partial(command, **values))

    expanded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return expanded


def _parameters_of(group: type[Any]) -> list[inspect.Parameter]:
    types = get_type_hints(group, include_extras=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(field.name, kind, default=field.default, annotation=types[field.name])
        for field in fields(group)
    ]


def _taken_from(values: dict[str, Any], group: type[Options]) -> Options:
    return group(**{field.name: values.pop(field.name) for field in fields(group)})  # type: ignore[arg-type]


def writes_out(command: Callable[..., CommandResult | None]) -> Callable[..., None]:
    """Gives `command` what `with_options` gives, and keeps others from working in its folder OUT meanwhile."""

    @functools.wraps(command)
    def holding(**values: Any) -> CommandResult | None:
        with hold_folder(values["out"]) if is_first_process() else nullcontext():
            return command(**values)

    return with_options(holding)


def recipe_of(model: type[Recipe], settings: Sequence[str] | None, **options: Any) -> Recipe:
    """Makes a recipe of a command's options, as far as they were given, and of `--set`, which wins."""
    from .run_recipe import merge_tables, validated

    given = {key: value for key, value in options.items() if value not in (None, [])}
    return validated(model, merge_tables(given, values_of(settings)))


def values_of(settings: Sequence[str] | None) -> dict[str, Any]:
    """Reads `--set`: a key, with dots into tables, and a TOML value or a word without quotes.

    >>> values_of(["benchmark.rounds=1", "benchmark.flip=true", "prune.criterion=l1"])
    {'benchmark': {'rounds': 1, 'flip': True}, 'prune': {'criterion': 'l1'}}
    """
    import tomllib

    from .run_recipe import merge_tables

    values: dict[str, Any] = {}
    for setting in settings or ():
        key, equals, text = (part.strip() for part in setting.partition("="))
        if not (key and equals):
            raise ValueError(f"--set takes KEY=VALUE, such as round_to=16, not {setting!r}")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (tomllib.TOMLDecodeError, RecursionError):
            value = text
        for part in reversed(key.split(".")):
            value = {part: value}
        values = merge_tables(values, value)
    return values


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Prints a table as wide as the terminal; `right` names the columns of numbers."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, justify="right" if title in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(printable(cell)) for cell in row))
    Console().print(table)


def sentence_of(error: Exception) -> str:
    """Says in one line what is wrong."""
    if isinstance(error, OSError) and error.strerror:
        return error_sentence(error)
    return " ".join(str(error).split())


def guarded(run: Callable[[], object]) -> None:
    """Runs a program; a user's mistake, and a full disk, is one sentence on stderr and exit code 2, a signal another.

    Args:
        run: What the program does.
    """
    with ending_on_signals(), own_temporary_folder():
        try:
            with closing(the_display()):
                run()
        except Exception as error:
            mistake = error if isinstance(error, (ValueError, OSError)) else full_disk(error)
            if mistake is None:
                raise
            print(f"pocketface: {printable(sentence_of(mistake))}", file=sys.stderr)
            sys.exit(2)


def check_named(network: str) -> None:
    """Refuses what names no network, before a command loads torch, which takes seconds; see `check_network`."""
    from .models.network_names import check_network

    check_network(network)


def check_out(out: Path, measured_by: str = "") -> None:
    """Refuses, before anything slow begins, a folder whose `checkpoint` is not one of pocketface's.

    Args:
        out: Where results go.
        measured_by: The command, if it writes measurements.json: another's is not replaced either.
    """
    from .benchmark.run_files import check_measurements
    from .files import refuse_foreign
    from .models.network_names import DESCRIPTION

    refuse_foreign(out / "checkpoint", DESCRIPTION)
    if measured_by:
        check_measurements(out, measured_by)

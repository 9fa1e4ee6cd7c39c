"""The command line: arguments in, a stage called, a line printed. Heavy imports happen inside the commands."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="pocketface",
    help="A trained face embedder goes in; files that a phone app ships come out, measured on faces.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Out = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
Weights = Annotated[Path | None, typer.Option(help="safetensors, or a torch file of tensors.")]
Faces = Annotated[str, typer.Option(help="Folder of aligned faces, one folder per identity; or 'synthetic'.")]
Mean = Annotated[str | None, typer.Option(help="Pixel mean, one number or three (R,G,B), in 0..255.")]
Scale = Annotated[str | None, typer.Option(help="Factor after the mean, one number or three, e.g. 0.0078125.")]
Size = Annotated[int | None, typer.Option(help="Height and width of a crop in pixels.")]
Order = Annotated[str | None, typer.Option("--channel-order", help="rgb or bgr.")]
Name = Annotated[str | None, typer.Option(help="What to call it.")]


@app.command()
def run(
    recipe: Annotated[Path | None, typer.Argument(help="TOML or YAML; none: the embedded default.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder [runs/<recipe>].")] = None,
    faces: Annotated[Path | None, typer.Option(help="Where the recipe's faces lie.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Where the recipe's weights lie.")] = None,
) -> None:
    """Prunes, exports, benchmarks and reports; goes on where an earlier try stopped."""
    from . import chain

    roots = chain.Roots(recipe.parent if recipe else Path(), faces, weights)
    resolved = roots.resolve(chain.read_recipe(recipe) if recipe else chain.default_recipe())
    report = chain.run(resolved, out or Path("runs") / (recipe.stem if recipe else "default"), say)
    say(f"report: {report}")


@app.command()
def prune(
    embedder: Annotated[str, typer.Argument(help="Zoo name, checkpoint folder, or file.py:factory.")],
    weights: Weights = None,
    faces: Faces = "synthetic",
    criterion: Annotated[str, typer.Option(help="gauss-newton (no labels) or taylor.")] = "gauss-newton",
    by: Annotated[str, typer.Option(help="What to remove a share of: filters, parameters or macs.")] = "parameters",
    remove: Annotated[float, typer.Option(help="The share to remove, 0 to 1.")] = 0.3,
    steps: Annotated[int, typer.Option(help="Cuts, with recovery between them.")] = 6,
    epochs: Annotated[float, typer.Option(help="Of the last recovery.")] = 10,
    round_to: Annotated[int, typer.Option(help="Widths are multiples of this.")] = 8,
    seed: int = 0,
    mean: Mean = None,
    scale: Scale = None,
    size: Size = None,
    channel_order: Order = None,
    name: Name = None,
    licence: Annotated[str, typer.Option(help="Of the weights.")] = "unknown",
    out: Out = Path("runs/prune"),
) -> None:
    """Makes a smaller embedder that embeds like the original: DIR/checkpoint."""
    from . import chain
    from .models.checkpoint import open_embedder, save_checkpoint
    from .models.complexity import macs, parameters
    from .prune.pruner import prune as prune_stage
    from .prune.recipe import PruneRecipe

    settings = dict(criterion=criterion, by=by, remove=remove, steps=steps, epochs=epochs, round_to=round_to, seed=seed)
    recipe = PruneRecipe.model_validate(settings)
    contract = contract_of(mean, scale, size, channel_order)
    source = open_embedder(embedder, weights, contract=contract, name=name, licence=licence)
    train = chain.read_train(faces, source.contract)
    smaller = prune_stage(source, train, recipe, say, out / "unfinished")
    folder = save_checkpoint(smaller, out / "checkpoint")
    shutil.rmtree(out / "unfinished", ignore_errors=True)
    say(
        f"{folder}: {parameters(source.backbone):,} -> {parameters(smaller.backbone):,} parameters, "
        f"{macs(source) / 1e6:.0f} -> {macs(smaller) / 1e6:.0f} M MACs"
    )


@app.command()
def export(
    embedder: Annotated[str, typer.Argument(help="Checkpoint folder, .onnx file, zoo name, or file.py:factory.")],
    weights: Weights = None,
    faces: Faces = "synthetic",
    target: Annotated[list[str] | None, typer.Option(help="One of the targets; may be repeated [all].")] = None,
    mean: Mean = None,
    scale: Scale = None,
    size: Size = None,
    channel_order: Order = None,
    name: Name = None,
    licence: Annotated[str, typer.Option(help="Of the weights.")] = "unknown",
    out: Out = Path("runs/export"),
) -> None:
    """Writes ONNX, TFLite and Core ML files, each checked against its source: DIR/artifacts."""
    from . import chain
    from .export.exporter import ForeignOnnx
    from .export.exporter import export as export_stage
    from .export.recipe import ExportRecipe
    from .export.to_onnx import read_onnx
    from .models.checkpoint import open_embedder

    recipe = ExportRecipe.model_validate({"targets": target} if target else {})
    contract = contract_of(mean, scale, size, channel_order)
    if embedder.endswith(".onnx"):
        if contract is None:
            raise ValueError(f"{embedder} does not say what it must be fed; give --mean and --scale")
        path = Path(embedder)
        read_onnx(path)  # before any face is rendered
        source: Any = ForeignOnnx(path, name or path.stem, contract, licence)
    else:
        source = open_embedder(embedder, weights, contract=contract, name=name, licence=licence)
    train = chain.read_train(faces, source.contract, chain.CALIBRATION_IDENTITIES)
    made = export_stage(source, train.faces, recipe, out / "artifacts", say)
    failed = [result for result in made if result.artifact is None]
    if failed:
        raise ValueError(f"{len(failed)} of {len(made)} targets failed; the first: {failed[0].reason}")


@app.command()
def benchmark(
    files: Annotated[list[Path], typer.Argument(help="Converted files, checkpoints, or folders of them.")],
    pairs: Annotated[str, typer.Option(help="pairs.txt, .csv, .bin; or 'synthetic'.")] = "synthetic",
    images: Annotated[Path | None, typer.Option(help="Folder that the pairs name images of.")] = None,
    threads: Annotated[list[int] | None, typer.Option(help="Thread counts; may be repeated [1 2].")] = None,
    embedder: Annotated[str | None, typer.Option(help="file.py:factory that built a foreign checkpoint.")] = None,
    mean: Mean = None,
    scale: Scale = None,
    size: Size = None,
    channel_order: Order = None,
    out: Out = Path("runs/benchmark"),
) -> None:
    """Measures size, latency and verification accuracy: DIR/measurements.json."""
    from . import chain
    from .benchmark.recipe import BenchmarkRecipe
    from .benchmark.runner import benchmark_files

    recipe = BenchmarkRecipe.model_validate({"threads": threads} if threads else {})
    rows = benchmark_files(
        files,
        lambda contract: chain.read_test(pairs, images, contract),
        recipe,
        out,
        say,
        contract=contract_of(mean, scale, size, channel_order),
        factory=embedder,
    )
    say(f"{out / 'measurements.json'}: {len(rows)} rows")


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(help="Run folders with measurements.json.")],
    out: Annotated[Path | None, typer.Option("--out", help="Where to [the first folder].")] = None,
) -> None:
    """Writes report.html and report.md from measurements."""
    from .benchmark.report import write_report

    page, text = write_report(folders, out or folders[0])
    say(f"{page}\n{text}")


@app.command()
def models() -> None:
    """Lists the zoo: parameters, MACs, input and paper."""
    import torch
    from rich.console import Console
    from rich.table import Table

    from .models.complexity import macs, parameters
    from .models.zoo import ZOO, create

    table = Table(box=None, pad_edge=False)
    for title in ("name", "parameters", "MACs", "input", "D", "paper"):
        table.add_column(title, justify="right" if title in ("parameters", "MACs", "D") else "left")
    for name, architecture in ZOO.items():
        with torch.device("meta"):  # shapes alone: no weights are made
            embedder = create(name)
        contract = embedder.contract
        table.add_row(
            name,
            f"{parameters(embedder.backbone):,}",
            f"{macs(embedder) / 1e6:,.0f} M",
            f"{contract.height}x{contract.width} {contract.channel_order}",
            str(embedder.embedding_size),
            architecture.paper,
        )
    Console().print(table)


@app.command()
def align(
    photos: Annotated[Path, typer.Argument(help="Folder of photos.")],
    detector: Annotated[Path, typer.Option(help="A YuNet face detector, .onnx.")],
    size: Annotated[int, typer.Option(help="Side of a crop in pixels.")] = 112,
    out: Out = Path("aligned"),
) -> None:
    """Cuts aligned faces out of photos."""
    from .faces.alignment import align_folder
    from .faces.contract import InputContract

    say(str(align_folder(photos, out, detector, InputContract(size, size))))


@app.command()
def doctor() -> None:
    """Says what runs on this machine, what is missing, and the line that installs it."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from .benchmark.doctor import examine

    table = Table(box=None, pad_edge=False)
    for title in ("part", "state", "what would do"):
        table.add_column(title, overflow="fold")
    for finding in examine():
        table.add_row(*(escape(text) for text in (finding.part, finding.state, finding.remedy)))
    Console().print(table)


def contract_of(mean: str | None, scale: str | None, size: int | None, channel_order: str | None) -> Any:
    """Gives the input contract that the options spell, or None if they say nothing."""
    from .faces.contract import InputContract

    values: dict[str, Any] = {}
    for key, text in (("mean", mean), ("scale", scale)):
        if text is not None:
            try:
                numbers = [float(part) for part in text.split(",")]
            except ValueError:
                raise ValueError(f"--{key} wants one number or three with commas, not {text!r}") from None
            values[key] = numbers * 3 if len(numbers) == 1 else numbers
    if size is not None:
        values |= {"height": size, "width": size}
    if channel_order is not None:
        values["channel_order"] = channel_order
    return InputContract.from_dict(values) if values else None


def say(line: str) -> None:
    """Prints one line at once, also into a pipe."""
    print(line, flush=True)


def main() -> None:
    """Runs the command line; a user's mistake is one sentence on stderr and exit code 2."""
    try:
        app()
    except (ValueError, OSError) as error:
        from_recipe = type(error).__name__ == "ValidationError"
        print(f"pocketface: {_sentence(error, from_recipe)}", file=sys.stderr)
        sys.exit(2)


def _sentence(error: Exception, from_recipe: bool) -> str:
    if from_recipe:
        from .chain import explain

        return explain(error)  # type: ignore[arg-type]
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())


if __name__ == "__main__":
    main()

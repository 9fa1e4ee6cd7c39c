"""The command line: arguments in, a stage called, a line printed. Heavy imports happen inside the commands."""

from __future__ import annotations

import os
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
Signal = Annotated[
    str | None, typer.Option(help="distillation (no labels), softmax, arcface or cosface [distillation].")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any other field of the recipe, e.g. --set round_to=16; may be repeated."),
]
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
    criterion: Annotated[
        str | None,
        typer.Option(
            help="gauss-newton (no labels), taylor, taylor-activation, taylor-gate, feature-map, l1, l2, fpgm, "
            "bn-scale, random [gauss-newton]."
        ),
    ] = None,
    schedule: Annotated[str | None, typer.Option(help="iterative, epoch or one-shot [iterative].")] = None,
    by: Annotated[
        str | None,
        typer.Option(help="Budget: parameters, macs, filters, bytes, milliseconds, instructions, score [parameters]."),
    ] = None,
    remove: Annotated[float | None, typer.Option(help="The share to remove, 0 to 1 [0.3].")] = None,
    target: Annotated[float | None, typer.Option(help="What to leave of the budget, instead of --remove.")] = None,
    steps: Annotated[int | None, typer.Option(help="Cuts, with recovery between them [6].")] = None,
    signal: Signal = None,
    epochs: Annotated[float | None, typer.Option(help="Of the last recovery [10].")] = None,
    control: Annotated[bool, typer.Option("--control", help="Train as long, cut nothing.")] = False,
    settings: Settings = None,
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
    from .benchmark.measurement import write_measurements
    from .benchmark.speed.speedup import speedup
    from .models.checkpoint import open_embedder, save_checkpoint
    from .prune.channels.sizes import size_of
    from .prune.pruner import told
    from .prune.recipe import PruneRecipe

    given = dict(criterion=criterion, schedule=schedule, by=by, remove=remove, target=target, signal=signal)
    given |= dict(steps=steps, epochs=epochs, control=control, seed=seed)
    recipe = PruneRecipe.model_validate(chosen(given, settings))
    source = open_embedder(
        embedder, weights, contract=contract_of(mean, scale, size, channel_order), name=name, licence=licence
    )
    train = chain.read_train(faces, source.contract)
    smaller = chain.prune_on(source, train, recipe, say, out / "unfinished")
    if not is_first_process():
        return
    folder = save_checkpoint(smaller, out / "checkpoint")
    shutil.rmtree(out / "unfinished", ignore_errors=True)
    say(f"{folder}: {told(size_of(smaller))}; before {told(size_of(source))}")
    rows, verdict = speedup(source, smaller, say)
    write_measurements(rows, out / "measurements.json")
    say(verdict)


@app.command()
def recover(
    student: Annotated[str, typer.Argument(help="Zoo name, checkpoint folder, or file.py:factory: what learns.")],
    weights: Weights = None,
    start: Annotated[Path | None, typer.Option(help="Weights to start from where they fit, e.g. ImageNet's.")] = None,
    teacher: Annotated[Path | None, typer.Option(help="Checkpoint folder to learn from; none: from labels.")] = None,
    faces: Faces = "synthetic",
    signal: Signal = None,
    epochs: Annotated[float | None, typer.Option(help="1 = as many crops as there are faces [10].")] = None,
    settings: Settings = None,
    seed: int = 0,
    mean: Mean = None,
    scale: Scale = None,
    size: Size = None,
    channel_order: Order = None,
    name: Name = None,
    licence: Annotated[str, typer.Option(help="Of the weights.")] = "unknown",
    out: Out = Path("runs/recover"),
) -> None:
    """Trains an embedder, from a teacher or from labels: DIR/checkpoint."""
    from . import chain
    from .models.checkpoint import load_checkpoint, open_embedder, save_checkpoint
    from .models.warm_start import warm_start
    from .prune.recipe import TrainingRecipe
    from .prune.training.trainer import recover as recover_stage

    usual = "distillation" if teacher is not None else "arcface"
    recipe = TrainingRecipe.model_validate(chosen(dict(signal=signal or usual, epochs=epochs, seed=seed), settings))
    learner = open_embedder(
        student, weights, contract=contract_of(mean, scale, size, channel_order), name=name, licence=licence
    )
    if start is not None:
        learner, left = warm_start(learner, start)
        say(f"{start.name}: all tensors taken but {', '.join(left[:3]) or 'none'}{' …' if len(left) > 3 else ''}")
    train = chain.read_train(faces, learner.contract)
    code = student if ":" in student else None  # the teacher's too, where that is foreign
    knows = load_checkpoint(teacher, code) if teacher is not None else None
    trained = recover_stage(learner, train, recipe, knows, say, out / "unfinished")
    if not is_first_process():
        return
    folder = save_checkpoint(trained, out / "checkpoint")
    shutil.rmtree(out / "unfinished", ignore_errors=True)
    say(f"{folder}")


@app.command()
def sensitivity(
    embedder: Annotated[str, typer.Argument(help="Zoo name, checkpoint folder, or file.py:factory.")],
    weights: Weights = None,
    faces: Faces = "synthetic",
    criterion: Annotated[str, typer.Option(help="As for prune.")] = "gauss-newton",
    mean: Mean = None,
    scale: Scale = None,
    size: Size = None,
    channel_order: Order = None,
    name: Name = None,
    out: Out = Path("runs/sensitivity"),
) -> None:
    """Measures what cutting each group of channels alone would cost: DIR/sensitivity.json, and a plot in its report."""
    from . import chain
    from .models.checkpoint import open_embedder
    from .prune.recipe import PruneRecipe
    from .prune.sensitivity import sensitivity as sensitivity_stage
    from .prune.sensitivity import write_sensitivity

    source = open_embedder(embedder, weights, contract=contract_of(mean, scale, size, channel_order), name=name)
    train = chain.read_train(faces, source.contract)
    rows = sensitivity_stage(source, train, PruneRecipe.model_validate({"criterion": criterion}), progress=say)
    write_sensitivity(rows, out / "sensitivity.json")
    say(str(out / "sensitivity.json"))


@app.command()
def export(
    embedder: Annotated[str, typer.Argument(help="Checkpoint folder, .onnx file, zoo name, or file.py:factory.")],
    weights: Weights = None,
    faces: Faces = "synthetic",
    target: Annotated[list[str] | None, typer.Option(help="A kind of file; may be repeated [the usual ones].")] = None,
    mean: Mean = None,
    scale: Scale = None,
    size: Size = None,
    channel_order: Order = None,
    name: Name = None,
    licence: Annotated[str, typer.Option(help="Of the weights.")] = "unknown",
    settings: Settings = None,
    out: Out = Path("runs/export"),
) -> None:
    """Writes ONNX, TFLite and Core ML files, each checked against its source: DIR/artifacts."""
    from . import chain
    from .export.exporter import export as export_stage
    from .export.graph.reading import read_onnx
    from .export.recipe import ExportRecipe
    from .export.targets import ForeignOnnx
    from .models.checkpoint import open_embedder

    recipe = chain.calibrated(ExportRecipe.model_validate(chosen({"targets": target or None}, settings)), faces)
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
def trace(
    embedder: Annotated[str, typer.Argument(help="What the file was made from: as for export.")],
    file: Annotated[Path, typer.Argument(help="The .onnx, .tflite or .mlpackage.")],
    weights: Weights = None,
    faces: Faces = "synthetic",
) -> None:
    """Compares a file with its source layer by layer, and names the first layer where it leaves it."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from . import chain
    from .export.session import read_artifact
    from .export.targets import ForeignOnnx
    from .export.trace import FACES
    from .export.trace import trace as trace_layers
    from .models.checkpoint import open_embedder

    artifact = read_artifact(file)
    contract, name = artifact.card.contract, artifact.card.model
    foreign = embedder.endswith(".onnx")
    source: Any = (
        ForeignOnnx(Path(embedder), name, contract) if foreign else open_embedder(embedder, weights, contract=contract)
    )
    found = trace_layers(source, artifact, chain.read_train(faces, contract, 1).faces[:FACES])
    table = Table(box=None, pad_edge=False)
    for title in ("layer", "operator", "difference / range", "cosine"):
        table.add_column(title, overflow="fold")
    for layer in found.layers:
        scaled = " (channels scaled)" if layer.scaled else ""
        table.add_row(escape(layer.name), layer.kind, f"{layer.difference:.1e}{scaled}", f"{layer.cosine:.6f}")
    Console().print(table)
    if found.missing:
        say(f"not in the file, or part of another layer there: {', '.join(found.missing)}")
    say(f"{file.name}: {found.verdict()}")


@app.command()
def benchmark(
    files: Annotated[list[Path], typer.Argument(help="Converted files, checkpoints, or folders of them.")],
    pairs: Annotated[str, typer.Option(help="pairs.txt, .csv, .bin; or 'synthetic'.")] = "synthetic",
    images: Annotated[Path | None, typer.Option(help="Folder that the pairs name images of.")] = None,
    faces: Annotated[Path | None, typer.Option(help="Folder of faces without labels, instead of pairs.")] = None,
    threshold: Annotated[float | None, typer.Option(help="With --faces: what the first file is used with.")] = None,
    threads: Annotated[list[int] | None, typer.Option(help="Thread counts; may be repeated [1 2].")] = None,
    embedder: Annotated[str | None, typer.Option(help="file.py:factory that built a foreign checkpoint.")] = None,
    certify: Annotated[bool, typer.Option("--certify", help="Write each file's thresholds into it.")] = False,
    settings: Settings = None,
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
    from .benchmark.unlabelled_runner import compare_unlabelled

    recipe = BenchmarkRecipe.model_validate(chosen({"threads": threads or None}, settings))
    contract = contract_of(mean, scale, size, channel_order)
    if faces is not None:
        rows = compare_unlabelled(files, faces, recipe, out, say, threshold, contract, embedder)
    else:
        name = Path(pairs).name if certify else None
        rows = benchmark_files(
            files,
            lambda wanted: chain.read_test(pairs, images, wanted),
            recipe,
            out,
            say,
            contract=contract,
            factory=embedder,
            pairs_name=name,
        )
    say(f"{out / 'measurements.json'}: {len(rows)} rows")


@app.command()
def phone(
    files: Annotated[
        list[Path] | None, typer.Argument(help=".tflite files, or folders of them; none: lists the phones.")
    ] = None,
    serial: Annotated[str | None, typer.Option(help="Which phone, where adb finds several.")] = None,
    benchmark_model: Annotated[
        Path | None, typer.Option(help="LiteRT's tool of that name for Android; none: our runner, tried on no phone.")
    ] = None,
    threads: Annotated[list[int] | None, typer.Option(help="Thread counts; may be repeated [1].")] = None,
    cores: Annotated[str | None, typer.Option(help="big (unless told), all, or a hexadecimal mask such as f0.")] = None,
    settings: Settings = None,
    out: Out = Path("runs/phone"),
) -> None:
    """Times .tflite files on a phone over adb: into DIR/measurements.json. Tested on a loopback device, on no phone."""
    from .benchmark.adb.measuring import files_in, measure_on_phone
    from .benchmark.adb.phone import phone_sentences
    from .benchmark.adb.phone_rows import keep
    from .benchmark.adb.recipe import PhoneRecipe

    recipe = PhoneRecipe.model_validate(chosen({"threads": threads or None, "cores": cores}, settings))
    if not files:
        for sentence in phone_sentences():
            say(sentence)
        return
    rows = measure_on_phone(files_in(files), serial, benchmark_model, out, recipe, say)
    say(f"{keep(rows, out)}: {len(rows)} rows")
    if invalid := [row for row in rows if not row.valid]:
        raise ValueError(f"{len(invalid)} of {len(rows)} rows do not count; the first: {invalid[0].reason}")


@app.command()
def handoff(
    files: Annotated[list[Path], typer.Argument(help="Converted files, or run folders.")],
    out: Out = Path("runs/handoff"),
) -> None:
    """Writes what an app needs besides the files: golden faces and their embeddings, Kotlin, Swift, a Mac's script."""
    from .export.app.handoff import handoff as hand_off

    say(str(hand_off(files, out) / "README.md"))


@app.command()
def diagnose(
    file: Annotated[Path, typer.Argument(help="The file that the app runs.")],
    golden: Annotated[str, typer.Option(help="golden-0 ... golden-3, or an image that the app was given.")],
    vector: Annotated[str, typer.Option(help="What the app got: a .npy or text file, or the numbers themselves.")],
    landmarks: Annotated[
        str | None, typer.Option(help="Of a photo: x and y of eyes, nose tip, mouth corners, ten numbers with commas.")
    ] = None,
    mean: Mean = None,
    scale: Scale = None,
    size: Size = None,
    channel_order: Order = None,
) -> None:
    """Names the mistake in an app's preprocessing from one vector that it produced."""
    from .export.app.diagnose import diagnose as diagnosed
    from .export.app.diagnose import read_vector
    from .export.app.golden import open_golden
    from .export.session import read_artifact

    artifact = read_artifact(file, contract_of(mean, scale, size, channel_order))
    points = None if landmarks is None else read_vector(landmarks).tolist()
    found = diagnosed(artifact, open_golden(golden, artifact.card.contract, points), read_vector(vector))
    say(f"{found.verdict}: {found}" if found.verdict in ("mistake", "other weights") else str(found))
    say(f"length {found.length:.4f}")
    for score in found.scores[:8]:
        say(f"  {score.cosine:9.6f}  {' + '.join(score.mistakes) or 'right'}")


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(help="Run folders with measurements.json.")],
    out: Annotated[Path | None, typer.Option("--out", help="Where to [the first folder].")] = None,
    max_mb: Annotated[float | None, typer.Option(help="Largest file that the app takes, in MB of 10^6 bytes.")] = None,
    max_ms: Annotated[float | None, typer.Option(help="Longest median latency on 1 thread, in ms.")] = None,
    max_drop: Annotated[float | None, typer.Option(help="Most points of accuracy to lose [the run's margin].")] = None,
) -> None:
    """Recommends a file: report.html, report.md, .csv and .json, and a model card per file."""
    from .benchmark.report.page import write_report

    page, text = write_report(folders, out or folders[0], max_mb, max_ms, max_drop)
    say(f"{page}\n{text}")


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(help="Run folder: before.")],
    run_b: Annotated[Path, typer.Argument(help="Run folder: after.")],
    gate: Annotated[
        bool,
        typer.Option("--gate", help="Exit with 1 where a file is worse by more than noise and by more than allowed."),
    ] = False,
    margin: Annotated[float, typer.Option(help="Allowed loss in accuracy, a share above 0; called equal.")] = 0.002,
    max_slower: Annotated[float, typer.Option(min=0, help="Allowed growth of the latency, a share.")] = 0.05,
    max_larger: Annotated[float, typer.Option(min=0, help="Allowed growth of the size, a share.")] = 0.0,
    out: Annotated[Path | None, typer.Option("--out", help="Markdown file to write it to, whole.")] = None,
) -> None:
    """Says what changed from one run to another, and whether it is more than noise."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from .benchmark.compare import Limits, write_comparison
    from .benchmark.compare import compare as compare_runs

    found = compare_runs(run_a, run_b, Limits(margin, max_slower, max_larger))
    titles, rows = found.table()
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for cells in rows:
        table.add_row(*(escape(cell) for cell in cells))
    if len(titles) > 1:  # something differs
        Console().print(table)
    if out is not None:
        write_comparison(found, out)
    shut = [f"gate: {failure}" for failure in found.failures] if gate else []
    for line in [*found.sentences(), *([] if out is None else [str(out)]), *shut]:
        say(line)
    if gate:
        say(f"gate: {'shut' if shut else 'open'}")
    if shut:
        raise typer.Exit(1)


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


def chosen(given: dict[str, Any], settings: list[str] | None) -> dict[str, Any]:
    """Gives the options that were given, and those of `--set` as TOML reads them."""
    import tomllib

    values = {key: value for key, value in given.items() if value is not None}
    for setting in settings or []:
        key, _, value = setting.partition("=")
        try:
            values |= tomllib.loads(f"{key.strip()} = {value}")
        except tomllib.TOMLDecodeError:
            values[key.strip()] = value  # a word without quotes
    return values


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


def is_first_process() -> bool:
    """Says whether this is the process that speaks and writes; `accelerate launch` starts several."""
    return os.environ.get("RANK", "0") == "0"


def say(line: str) -> None:
    """Prints one line at once, also into a pipe."""
    if is_first_process():
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

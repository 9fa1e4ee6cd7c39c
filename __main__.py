"""The command line: arguments in, a stage called, a line printed. Heavy imports happen inside the commands."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from . import command_line as cli
from .command_output import CommandResult, hush_libraries, say, share_cores
from .files import check_present
from .network_results import JudgingOptions
from .probe_options import ProbeOptions
from .prune_options import PruneOptions
from .report_options import ReportedFolders, ReportOptions, ReportOut
from .run_options import RecipeOrNetwork, RunOptions
from .sweep_options import SweepOptions, SweptRecipe
from .training_options import RecoverOptions

app = typer.Typer(
    name="pocketface",
    help="A trained face embedder goes in; files that a phone app ships come out, measured on faces.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def pocketface(version: cli.Version = False) -> None:
    """Prunes, exports and measures face embedders for phones."""


@app.command()
@cli.with_options
def run(
    recipe: RecipeOrNetwork = None,
    allow_drift: cli.AllowDrift = None,
    settings: cli.RunSettings = None,
    *,
    given: RunOptions,
    out: Annotated[Path | None, Option("--out", help="Folder of the run.", show_default="runs/<recipe>")] = None,
) -> CommandResult:
    """Prune, export, benchmark and report. The same command, given again, resumes where the run stopped."""
    return given.run(recipe, allow_drift, settings, out)


@app.command()
@cli.with_options
def sweep(recipe: SweptRecipe, *, given: SweepOptions, out: cli.Out = Path("runs/sweep")) -> CommandResult:
    """Prune, export and measure at many sizes. The trade-off is plotted; the same command resumes where it stopped."""
    return given.sweep(recipe, out)


@app.command()
@cli.writes_out
def prune(
    embedder: cli.Network,
    faces: cli.Faces = cli.RENDERED,
    *,
    pruning: PruneOptions,
    settings: cli.Settings = None,
    judging: JudgingOptions,
    network: cli.NetworkOptions,
    out: cli.Out = Path("runs/prune"),
) -> CommandResult | None:
    """Make a smaller embedder that embeds like the original. Writes OUT/checkpoint."""
    return pruning.prune(embedder, faces, settings, network, judging, out)


@app.command()
@cli.writes_out
def recover(
    student: cli.Network,
    faces: cli.Faces = cli.RENDERED,
    *,
    training: RecoverOptions,
    settings: cli.Settings = None,
    judging: JudgingOptions,
    network: cli.NetworkOptions,
    out: cli.Out = Path("runs/recover"),
) -> CommandResult | None:
    """Train an embedder, from a teacher or from labels. Writes OUT/checkpoint."""
    return training.recover(student, faces, settings, network, judging, out)


@app.command()
@cli.writes_out
def sensitivity(
    embedder: cli.Network,
    faces: cli.Faces = cli.RENDERED,
    criterion: cli.Criterion = None,
    settings: cli.Settings = None,
    *,
    network: cli.NetworkOptions,
    out: cli.Out = Path("runs/sensitivity"),
) -> None:
    """Measure what cutting each group of channels alone costs. Writes OUT/sensitivity.json, which the report plots."""
    cli.check_named(embedder)
    from .inputs import open_faces
    from .models.checkpoint import open_embedder
    from .models.group_sensitivity import write_sensitivity
    from .prune.recipe import PruneRecipe
    from .prune.sensitivity_analysis import sensitivity as sensitivity_stage

    recipe = cli.recipe_of(PruneRecipe, settings, criterion=criterion)
    source = open_embedder(embedder, **network.keywords())
    rows = sensitivity_stage(source, open_faces(faces, source.contract), recipe, progress=say)
    write_sensitivity(rows, out / "sensitivity.json")
    say(str(out / "sensitivity.json"))


@app.command()
@cli.writes_out
def export(
    embedder: cli.Network,
    faces: cli.Faces = cli.RENDERED,
    target: cli.Targets = None,
    allow_drift: cli.AllowDrift = None,
    settings: cli.Settings = None,
    *,
    network: cli.NetworkOptions,
    out: cli.Out = Path("runs/export"),
) -> CommandResult:
    """Convert to ONNX, TFLite and Core ML, and check each file. Writes OUT/artifacts."""
    cli.check_named(embedder)
    from .benchmark.cost_meters import phone_cost
    from .export.exporter import export as export_stage
    from .export.recipe import ExportRecipe
    from .inputs import CALIBRATION_IDENTITIES, open_embedder, open_faces
    from .run_recipe import with_ranges_for
    from .stage_results import export_result

    recipe = with_ranges_for(cli.recipe_of(ExportRecipe, settings, targets=target, allow_drift=allow_drift), faces)
    source = open_embedder(embedder, **network.keywords() | {"contract": network.stated(), "output": network.output})
    train = open_faces(faces, source.contract, CALIBRATION_IDENTITIES)
    exported = export_stage(source, train.faces, recipe, out / "artifacts", say, int8_cost=phone_cost)
    return export_result(embedder, source.name, exported, out / "artifacts")


@app.command()
@cli.with_options
def trace(
    embedder: cli.Network,
    file: Annotated[Path, Argument(help="The .onnx, .tflite or .mlpackage made from it.")],
    weights: cli.Weights = None,
    faces: cli.Faces = cli.RENDERED,
    *,
    contract: cli.ContractOptions,
) -> None:
    """Compare a file with its source layer by layer. Names the first layer that differs."""
    check_present(file)
    from .export.formats import read_artifact
    from .export.trace import FACES
    from .export.trace import trace as trace_layers
    from .inputs import open_faces, source_of

    artifact = read_artifact(file, contract.stated(), contract.output)
    source = source_of(artifact, embedder, weights, contract.output)
    found = trace_layers(source, artifact, open_faces(faces, artifact.card.contract, 1).faces[:FACES])
    cli.print_table(("layer", "operator", "difference / range", "cosine"), found.rows())
    if found.missing:
        say(f"not in the file, or part of another layer there: {', '.join(found.missing)}")
    say(f"{file.name}: {found.verdict()}")


@app.command()
@cli.writes_out
def benchmark(
    files: Annotated[list[Path], Argument(help="Converted files, checkpoints, or their folders.")],
    pairs: cli.Pairs = "synthetic",
    images: cli.Images = None,
    faces: Annotated[list[Path] | None, Option(help="Folder of faces without labels, instead of pairs.")] = None,
    threshold: cli.Threshold = None,
    threads: cli.Threads = None,
    embedder: Annotated[str | None, Option(help="file.py:factory that built a foreign checkpoint.")] = None,
    certify: Annotated[bool, Option("--certify", help="Write into each file the thresholds measured for it.")] = False,
    settings: cli.Settings = None,
    *,
    contract: cli.ContractOptions,
    out: cli.Out = Path("runs/benchmark"),
) -> CommandResult:
    """Measure size, latency and accuracy. Writes OUT/measurements.json."""
    for file in files:
        check_present(file)
    from .benchmark.recipe import BenchmarkRecipe
    from .benchmark.runner import benchmark_files
    from .benchmark.unlabelled_runner import compare_unlabelled
    from .inputs import open_pairs
    from .stage_results import benchmark_result

    recipe = cli.recipe_of(BenchmarkRecipe, settings, threads=threads)
    if faces:
        rows = compare_unlabelled(
            files, faces, recipe, out, say, threshold, contract.stated(), embedder, contract.output
        )
    else:
        name = Path(pairs).name if certify else None
        read = partial(open_pairs, pairs, images)
        rows = benchmark_files(files, read, recipe, out, say, contract.stated(), embedder, name, contract.output)
    return benchmark_result(rows, out)


@app.command()
def phone(
    files: Annotated[
        list[Path] | None, Argument(help=".tflite files or folders; without any, the phones are listed.")
    ] = None,
    serial: Annotated[str | None, Option(help="Serial number of the phone, if adb finds several.")] = None,
    benchmark_model: Annotated[
        Path | None, Option(help="LiteRT's benchmark_model for Android.", show_default="our own runner")
    ] = None,
    accelerators: Annotated[
        list[str] | None,
        Option("--accelerator", help="cpu, cpu-fp16, gpu, gpu-fp32, nnapi; may be repeated.", show_default="cpu"),
    ] = None,
    threads: cli.Threads = None,
    cores: cli.Cores = None,
    settings: cli.Settings = None,
    out: cli.Out = Path("runs/phone"),
) -> None:
    """Time .tflite files on an Android phone over adb. Adds to OUT/measurements.json. No real phone has been tried."""
    from .benchmark.adb.measuring import files_in, measure_on_phone
    from .benchmark.adb.phone import phone_sentences
    from .benchmark.adb.phone_rows import keep
    from .benchmark.adb.recipe import PhoneRecipe
    from .held_folders import hold_folder

    recipe = cli.recipe_of(PhoneRecipe, settings, accelerators=accelerators, threads=threads, cores=cores)
    if not files:
        for sentence in phone_sentences():
            say(sentence)
        return
    with hold_folder(out):
        rows = measure_on_phone(files_in(files), serial, benchmark_model, out, recipe, say)
        say(f"{keep(rows, out)}: {len(rows)} rows")
    if invalid := [row for row in rows if not row.valid]:
        raise ValueError(f"{len(invalid)} of {len(rows)} rows do not count; the first: {invalid[0].reason}")


@app.command()
@cli.with_options
def handoff(
    files: Annotated[list[Path], Argument(help="Converted files, or run folders.")],
    *,
    contract: cli.ContractOptions,
    out: cli.Out = Path("runs/handoff"),
) -> None:
    """Write golden faces, Kotlin and Swift for an app. A script that measures on a Mac is written too."""
    from .export.app.handoff import handoff as hand_off

    say(str(hand_off(files, out, contract.stated(), contract.output) / "README.md"))


@app.command()
@cli.with_options
def diagnose(
    file: Annotated[Path, Argument(help="The file that the app runs.")],
    golden: Annotated[str, Option(help="What the app was given: golden-0 ... golden-3, or an image.")],
    vector: Annotated[str, Option(help="The embedding that the app got: a .npy or text file, or the numbers.")],
    landmarks: cli.Landmarks = None,
    *,
    contract: cli.ContractOptions,
) -> None:
    """Name the mistake in an app's preprocessing. The app's embedding is compared with those of known mistakes."""
    check_present(file)
    from .export.app.diagnose import diagnose as diagnose_vector
    from .export.app.diagnose import read_vector
    from .export.app.golden import open_golden
    from .export.formats import read_artifact

    artifact = read_artifact(file, contract.stated(), contract.output)
    points = None if landmarks is None else read_vector(landmarks).tolist()
    found = diagnose_vector(artifact, open_golden(golden, artifact.card.contract, points), read_vector(vector))
    for line in found.lines():
        say(line)
    if found.verdict != "right":
        raise typer.Exit(1)


@app.command()
@cli.with_options
def probe(network: cli.Probed, *, given: ProbeOptions) -> None:
    """Find out what a network must be fed. The usual contracts are tried on faces; the options to give are printed."""
    given.probe(network)


@app.command()
@cli.with_options
def report(folders: ReportedFolders, *, given: ReportOptions, out: ReportOut = None) -> CommandResult:
    """Recommend a file to ship. Writes report.html, .md and .csv; of runs also .json, and a model card per file."""
    return given.report(folders, out)


@app.command()
@cli.with_options
def compare(
    run_a: Annotated[Path, Argument(help="Run folder before the change.")],
    run_b: Annotated[Path, Argument(help="Run folder after the change.")],
    gate: Annotated[bool, Option("--gate", help="Exit with 1 if a file is worse or cannot be judged.")] = False,
    allow_unjudged: Annotated[bool, Option("--allow-unjudged", help="Let pass what cannot be judged.")] = False,
    margin: Annotated[float, Option(help="Loss of accuracy that still counts as equal; 0.002 is 0.2 points.")] = 0.002,
    max_slower: Annotated[float, Option(min=0, help="Growth of the latency that is allowed; 0.05 is 5 %.")] = 0.05,
    max_larger: Annotated[float, Option(min=0, help="Growth of the size that is allowed; 0.01 is 1 %.")] = 0.01,
    out: Annotated[Path | None, Option("--out", help="Markdown file to write the whole comparison to.")] = None,
) -> CommandResult:
    """Show what changed between two runs, and whether it is noise."""
    from .benchmark.compare import GateLimits, write_comparison
    from .benchmark.compare import compare as compare_runs
    from .stage_results import comparison_result

    found = compare_runs(run_a, run_b, GateLimits(margin, max_slower, max_larger, allow_unjudged))
    if out is not None:
        write_comparison(found, out)
    return comparison_result(found, gate, out)


@app.command()
def models() -> None:
    """List the zoo: parameters, MACs, input and paper."""
    from .models.complexity import zoo_rows

    cli.print_table(("name", "parameters", "MACs", "input", "D", "paper"), zoo_rows(), ("parameters", "MACs", "D"))


@app.command()
def align(
    photos: Annotated[Path, Argument(help="Folder of photos.")],
    detector: Annotated[Path | None, Option(help="YuNet face detector, an .onnx file.", show_default=False)] = None,
    size: Annotated[str, Option(help="Size of a face crop in pixels: 112, or height x width: 112x96.")] = "112",
    template: Annotated[str, Option(help="Landmark template: arcface, or arcface-80 for a looser crop.")] = "arcface",
    out: cli.Out = Path("aligned"),
) -> None:
    """Cut aligned faces out of photos. A contact sheet beside OUT shows what was cut."""
    from .faces.alignment import align_folder
    from .faces.contract import InputContract

    contract = InputContract(*cli.sides_of(size), template=template)
    for line in str(align_folder(photos, out, detector, contract)).splitlines():
        say(line)


@app.command()
def doctor() -> None:
    """Show what runs here, and how to install what is missing."""
    from .benchmark.doctor import examine

    cli.print_table(("part", "state", "what to do"), [(one.part, one.state, one.remedy) for one in examine()])


def main() -> None:
    """Runs the command line; a user's mistake, and a full disk, is one sentence on stderr and exit code 2."""
    hush_libraries()
    share_cores()
    cli.guarded(app)


if __name__ == "__main__":
    main()

"""A sweep: the stages at every point of a grid, or in a search for the smallest network, and a page about them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .benchmark.machine import device_name
from .benchmark.report.limits import ShippingLimits
from .benchmark.report.sweep_data import write_swept
from .benchmark.report.sweep_page import write_sweep_report
from .benchmark.report.swept import SweptPoint
from .files import DAMAGE, written_whole
from .held_folders import hold_folder
from .inputs import open_source
from .run_recipe import RunRecipe
from .sweep_archive import RECORD, CellArchive
from .sweep_cells import faces_of, finished, pairs_of
from .sweep_engines import started
from .sweep_goal import BudgetSearch, most_trials, search
from .sweep_order import Engine, Outcome, make_all
from .sweep_plan import (
    Hashes,
    PlannedPoint,
    PointCells,
    SweepCell,
    at_share,
    cells_of,
    networks_of,
    points_of,
    source_cell,
    source_files,
)
from .sweep_results import point_of_sweep, source_of_sweep
from .tracking import TRACKED, Tracking

RECIPE, CELLS = "recipe.toml", "cells"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class PlannedNetwork:
    """One source network of a sweep, and the cells of all that is made from it."""

    name: str
    hashes: Hashes
    source: SweepCell
    files: SweepCell  # of the source itself
    timing: SweepCell | None
    points: tuple[PointCells, ...]

    @property
    def cells(self) -> list[SweepCell]:
        """Every cell once, each after those that it needs."""
        cells = [self.source, self.files, *([self.timing] if self.timing else [])]
        for point in self.points:
            cells += [point.cut, point.recovered, point.files, *([point.timing] if point.timing else [])]
        return list({cell.folder: cell for cell in cells}.values())

    def with_points(self, points: Sequence[PlannedPoint]) -> PlannedNetwork:
        """Gives the network with other points."""
        cells = tuple(cells_of(points, self.hashes, self.name, self.source, self.files))
        return PlannedNetwork(self.name, self.hashes, self.source, self.files, self.timing, cells)


def sweep(
    recipe: RunRecipe,
    out: Path | str,
    progress: Progress = print,
    *,
    jobs: int = 1,
    cells: Path | None = None,
    engine: str = "local",
    address: str | None = None,
    track: Sequence[str] = (),
    archive: str = "",
) -> Path:
    """Prunes, recovers, exports and measures at every point of a grid, or on a search, and reports.

    What was made before is kept, whichever sweep made it, if it lies in the folder `cells`.

    Args:
        recipe: Its table `sweep` says what varies; its relative paths start here, see `Roots`.
        out: The folder of the report.
        progress: Gets a line now and then.
        jobs: How many cells are made at a time, each in a process of its own; latencies are always taken alone.
        cells: The folder of cells, which several sweeps may share; None: `out`/cells.
        engine: "local", or "ray" for a cluster, whose machines must all see `cells` and the recipe's files.
        address: Of the Ray cluster; None: one is started on this machine.
        track: Trackers that are told the losses of trainings and what was measured: "tensorboard", "mlflow", ...
        archive: Where finished cells are kept too, for machines that do not see `cells`: s3://bucket/cells, or what
            else fsspec can reach.

    Returns:
        The path of the report.

    Raises:
        ValueError: An input is missing or wrong, or nothing could be made.
    """
    out = Path(out)
    tracking = Tracking.checked(track, out / TRACKED, out.absolute().name)
    kept = CellArchive.opened(archive) if archive else None
    with started(engine, jobs, address, progress) as begun, hold_folder(out):
        return _sweep(recipe, out, cells or out / CELLS, begun, progress, tracking, kept)


def _sweep(
    recipe: RunRecipe,
    out: Path,
    store: Path,
    engine: Engine,
    progress: Progress,
    tracking: Tracking,
    archive: CellArchive | None,
) -> Path:
    def make(cells: Sequence[SweepCell]) -> Outcome:
        return make_all(cells, store, engine, progress, tracking, archive)

    planned = plan(recipe, progress, engine.timing_device)
    if tracking.names:  # a tracker that fails is told here, as other processes cannot
        with tracking.run("plan", {}, progress) as run:
            run.results({f"{each.name}/cells": len(each.cells) for each in planned})
    with written_whole(out / RECIPE) as beside:
        beside.write_text(recipe.to_toml(), encoding="utf-8")
    goal = recipe.sweep.goal if recipe.sweep is not None else None
    failed: dict[str, str] = {}
    searches: list[BudgetSearch] = []
    if goal is None:
        failed |= make([cell for each in planned for cell in each.cells])
    for number, network in enumerate(planned if goal is not None else ()):
        assert goal is not None
        trial = _trial(network, store, out, make, failed)
        found = [search(cells.point, goal, trial, progress) for cells in network.points]
        searches += found
        planned[number] = network.with_points([point for each in found for point in each.tried])
        failed |= make(planned[number].cells)
    sources = [source_of_sweep(each.name, each.files, each.timing, each.points, store, out, failed) for each in planned]
    if not any(point.network for source in sources for point in source.points):
        raise ValueError(f"nothing could be made: {next(iter(failed.values()), 'the grid is empty')}")
    limits = ShippingLimits() if goal is None else ShippingLimits(goal.max_mb, goal.max_ms, goal.max_drop)
    said = [sentence for each in searches for sentence in each.sentences()]
    for sentence in said:
        progress(sentence)
    inputs = _inputs(recipe, planned)
    write_swept(sources, inputs, out)
    return write_sweep_report(sources, out, limits, said, inputs)


def plan(
    recipe: RunRecipe, progress: Progress = lambda line: None, timing_device: Callable[[], str] = device_name
) -> list[PlannedNetwork]:
    """Gives every cell of a sweep, of a search those of the networks that it begins with; nothing is made.

    Args:
        recipe: As for `sweep`.
        progress: Told of the networks that are opened.
        timing_device: Names the machine that takes latencies, see `Engine`; asked where any are taken.

    Raises:
        ValueError: An input is missing or wrong, or a combination of values is no recipe.
    """
    points, goal = points_of(recipe), None if recipe.sweep is None else recipe.sweep.goal
    if goal is not None:  # what each search begins with
        firsts = {(point.network, point.series): at_share(point, goal.most) for point in points}
        points = list(firsts.values())
        progress(f"a search: up to {most_trials(goal)} networks for each of {len(points)} series, planned as they come")
    planned, device = [], timing_device() if recipe.benchmark.threads else ""
    for number, each in enumerate(networks_of(recipe)):
        source = open_source(each)
        train, pairs = faces_of(each, source.contract), pairs_of(each, source.contract)
        hashes = Hashes(source.sha256, train.sha256, len(train), pairs.sha256, device)
        kept = source_cell(each, hashes, source.name)
        files, timing = source_files(each, hashes, source.name, kept)
        of_network = [point for point in points if point.network == number]
        cells = tuple(cells_of(of_network, hashes, source.name, kept, files))
        progress(f"{source.name}: {len(of_network)} networks; {len(train):,} faces to learn from, {len(pairs):,} pairs")
        planned.append(PlannedNetwork(source.name, hashes, kept, files, timing, cells))
    if twice := [each.name for each in planned if [other.name for other in planned].count(each.name) > 1]:
        raise ValueError(f"two networks are called {twice[0]}; give each a name of its own")
    return planned


def plan_sentences(
    planned: Sequence[PlannedNetwork], store: Path, jobs: int = 1, archive: CellArchive | None = None
) -> Iterator[str]:
    """Says how many cells a sweep has, how many are made, and how much time and disk the others will take.

    The estimate is that finished cells of a kind took as long for each crop, or file, as these will.

    Args:
        planned: By `plan`.
        store: The folder of cells.
        jobs: How many are made at a time.
        archive: Has some of them, too.
    """
    cells = [cell for network in planned for cell in network.cells]
    missing = [cell for cell in cells if finished(cell, store) is None and not (archive and archive.has(cell.folder))]
    yield f"{len(cells)} cells, {len(cells) - len(missing)} of them made"
    costs = _costs(store)
    seconds, size, unknown = 0.0, 0.0, []
    for kind in dict.fromkeys(cell.kind for cell in missing):
        of_kind = [cell for cell in missing if cell.kind == kind]
        if kind not in costs:
            unknown.append(kind)
            yield f"{kind}: {len(of_kind)} to make, time not known yet"
            continue
        per_work, per_cell = costs[kind]
        took = sum(cell.work for cell in of_kind) * per_work
        seconds += took if kind == "timing" else took / jobs
        size += per_cell * len(of_kind)
        yield f"{kind}: {len(of_kind)} to make, about {_duration(took)}"
    if missing:
        rest = f", and what is not known yet of {', '.join(unknown)}" if unknown else ""
        known = (
            f"about {_duration(seconds)} and {size / 1e6:,.0f} MB"
            if len(unknown) < len({c.kind for c in missing})
            else ""
        )
        yield f"in all {known or 'not known yet'}{rest if known else ''}"


def _costs(store: Path) -> dict[str, tuple[float, float]]:
    """Gives, by kind, the seconds for each unit of work and the bytes of a cell, of all finished cells."""
    sums: dict[str, list[float]] = {}
    for path in sorted(store.glob(f"*/{RECORD}")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            each = [float(record["seconds"]), float(record["work"]), float(sum(record["files"].values())), 1.0]
        except DAMAGE:
            continue
        of_kind = sums.setdefault(str(record["kind"]), [0.0] * 4)
        sums[str(record["kind"])] = [a + b for a, b in zip(of_kind, each, strict=True)]
    return {kind: (took / max(work, 1e-9), size / count) for kind, (took, work, size, count) in sums.items()}


def _trial(
    network: PlannedNetwork,
    store: Path,
    out: Path,
    make: Callable[[Sequence[SweepCell]], Outcome],
    failed: dict[str, str],
) -> Callable[[PlannedPoint], SweptPoint]:
    """Gives what makes one point of a search, all but its latency, and gives what became of it."""

    def trial(point: PlannedPoint) -> SweptPoint:
        (cells,) = network.with_points([point]).points
        with_needs = [network.source, network.files, cells.cut, cells.recovered, cells.files]
        distinct = {cell.folder: cell for cell in with_needs}  # the cut and the recovered network may be one
        failed.update(make(list(distinct.values())))
        return point_of_sweep(cells, network.name, store, out, failed)

    return trial


def _inputs(recipe: RunRecipe, planned: Sequence[PlannedNetwork]) -> dict[str, str]:
    facts = {"faces to learn from": recipe.train_name, "pairs": Path(recipe.pairs).name}
    return facts | {f"hash of the pairs, {each.name}": each.hashes.pairs for each in planned}


def _duration(seconds: float) -> str:
    """Writes a duration as people say it.

    >>> _duration(42), _duration(600), _duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

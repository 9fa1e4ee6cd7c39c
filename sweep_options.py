"""The options of `pocketface sweep`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from .command_line import RunSettings, Track, values_of
from .command_output import CommandResult, say

if TYPE_CHECKING:
    from .run_recipe import RunRecipe

SweptRecipe = Annotated[Path, Argument(help="Recipe, TOML or YAML, whose table [sweep] says what varies.")]


@dataclass(frozen=True)
class SweepOptions:
    """Where a sweep's paths start, what it searches for, and where its cells are made."""

    faces: Annotated[
        Path | None, Option(help="Folder in which the recipe's paths of faces start.", show_default="the recipe's")
    ] = None
    weights: Annotated[
        Path | None, Option(help="Folder in which the recipe's paths of weights start.", show_default="the recipe's")
    ] = None
    max_drop: Annotated[
        float | None, Option(help="Searches for the smallest network that loses at most so many points of accuracy.")
    ] = None
    max_mb: Annotated[float | None, Option(help="With --max-drop: largest file, in MB of 10^6 bytes.")] = None
    max_ms: Annotated[float | None, Option(help="With --max-drop: longest median latency on one thread, in ms.")] = None
    dry_run: Annotated[bool, Option("--dry-run", help="Print the plan, and what it will take; make nothing.")] = False
    jobs: Annotated[int, Option(help="Cells to make at a time; latencies are taken alone.")] = 1
    cells: Annotated[Path | None, Option(help="Folder of cells, which sweeps may share.", show_default="OUT/cells")] = (
        None
    )
    archive: Annotated[
        str, Option(help="Place that keeps finished cells too: s3://bucket/cells, or what else fsspec reaches.")
    ] = ""
    engine: Annotated[str, Option(help="Where cells are made: local, or ray.")] = "local"
    address: Annotated[str | None, Option(help="Address of the Ray cluster.", show_default="one is started here")] = (
        None
    )
    track: Track = None
    settings: RunSettings = None

    def sweep(self, recipe: Path, out: Path) -> CommandResult:
        """Sweeps, or plans; gives the result."""
        from .stage_results import sweep_result
        from .sweep_archive import CellArchive
        from .sweep_engines import started
        from .sweeper import CELLS, plan, plan_sentences, sweep

        resolved, cells = self.swept_recipe(recipe), self.cells or out / CELLS
        if self.dry_run:
            engine = self.engine if self.address else "local"  # a cluster that sweep starts is this machine
            with started(engine, self.jobs, self.address, say) as begun:
                planned = plan(resolved, say, begun.timing_device)
            count = len({cell.folder for network in planned for cell in network.cells})
            facts = {"command": "sweep", "report": None, "cells": count}
            archive = CellArchive.opened(self.archive) if self.archive else None
            return CommandResult([*plan_sentences(planned, cells, self.jobs, archive)], facts)
        report = sweep(
            resolved,
            out,
            say,
            jobs=self.jobs,
            cells=cells,
            engine=self.engine,
            address=self.address,
            track=self.track or (),
            archive=self.archive,
        )
        return sweep_result(report)

    def swept_recipe(self, path: Path) -> RunRecipe:
        """Gives the recipe in the file `path`, with the options put in."""
        from .run_recipe import Roots, merge_tables, read_recipe, with_settings

        limits = {name: getattr(self, name) for name in ("max_drop", "max_mb", "max_ms")}
        given = {name: value for name, value in limits.items() if value is not None}
        changes = merge_tables({"sweep": {"goal": given}} if given else {}, values_of(self.settings))
        recipe = with_settings(read_recipe(path), changes)
        if recipe.sweep is None:
            raise ValueError(f"{path} has no table [sweep]; such as [sweep] remove = [0.15, 0.3, 0.5] says what varies")
        return Roots(path.parent, self.faces, self.weights).resolve(recipe)

"""The options of `pocketface report`: what an app allows a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from .command_output import CommandResult, say

ReportedFolders = Annotated[list[Path], Argument(help="Run folders with measurements.json, and folders of sweeps.")]
ReportOut = Annotated[Path | None, Option("--out", help="Folder for the report.", show_default="the first folder")]


@dataclass(frozen=True)
class ReportOptions:
    """The limits that files are recommended for."""

    max_mb: Annotated[float | None, Option(help="Largest file that the app takes, in MB of 10^6 bytes.")] = None
    max_ms: Annotated[float | None, Option(help="Longest median latency on one thread, in ms.")] = None
    max_drop: Annotated[
        float | None, Option(help="Largest loss of accuracy, in points.", show_default="the run's margin")
    ] = None

    def report(self, folders: Sequence[Path], out: Path | None) -> CommandResult:
        """Writes the report of runs, or of sweeps with runs beside them, and gives the result."""
        from .benchmark.report.page import write_report
        from .benchmark.report.sweep_folders import is_swept, write_folders_report
        from .stage_results import report_result, sweep_result

        limits = self.max_mb, self.max_ms, self.max_drop
        if any(is_swept(folder) for folder in folders):
            page, *_ = write_folders_report(folders, out or folders[0], *limits)
            return sweep_result(page, "report")
        page, *_ = write_report(folders, out or folders[0], *limits, say)
        return report_result(folders, page, "report", limits)

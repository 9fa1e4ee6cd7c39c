"""Our own program for the phone, where there is no benchmark_model: LiteRT for ARM64 Linux with its C libraries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..arm64.emulator import LIBRARIES, setup
from ..arm64.libraries import RUNTIMES
from .benchmark_model import RunLimits, Tool

LOADER = "ld-linux-aarch64.so.1"
SYSTEM = (LOADER, "libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1")


def runner(progress: Callable[[str], None] = lambda line: None) -> Tool:
    """Gives the runner of the ARM64 emulator with all that it loads, started by its own loader; on one thread.

    It ran in an emulator behind the loopback device. Android is not a GNU/Linux; that its kernel runs this bundle is
    expected, and UNTESTED. benchmark_model is known to work on phones. `progress` gets one line per step of building.

    Raises:
        ValueError: It cannot be built here; says what would help.
    """
    folder, litert = setup(progress).folder, RUNTIMES["litert"]
    files: tuple[Path, ...] = (folder / "runner", folder / litert.library, *(LIBRARIES / name for name in SYSTEM))

    def timing(graph: str, how: RunLimits) -> str:
        seconds = f"{how.minimum_seconds:g} {how.most_seconds:g}"
        return f"./{LOADER} --library-path . ./runner time {graph} {how.runs} {seconds}"

    return Tool(
        "runner",
        f"litert {litert.version}",
        files,
        timing,
        profiling=None,
        most_threads=1,
        abi="arm64-v8a",
        only_cpu=True,
    )

"""An emulator of ARM64 phone cores: qemu, a runtime's library for ARM64 and two small C programs, kept in a cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ...children import last_line, run_child
from .cores import CORES, Core
from .libraries import EmulatedRuntime, call, runtime_of

REMEDY = "apt-get install --no-install-recommends qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc libc6-dev"
PROGRAMS = ("qemu-aarch64", "aarch64-linux-gnu-gcc", "gcc")
LIBRARIES = Path("/usr/aarch64-linux-gnu/lib")  # where Debian puts libraries of ARM64 on another machine
NEEDED = ("ld-linux-aarch64.so.1", "libstdc++.so.6", "libc.so")
HERE = Path(__file__).parent
COUNTER, RUNNER = HERE / "counter.c", HERE / "runner.c"
SOURCES = (COUNTER, RUNNER, HERE / "runner.h", HERE / "cores.py", Path(__file__))  # a change of any builds anew


@dataclass(frozen=True)
class Emulator:
    """A folder with all that is needed to run ARM64 programs here and to count their instructions."""

    folder: Path

    def versions(self) -> dict[str, str]:
        """Gives what made a count: qemu's version, and the hash of the counter's sources."""
        said = run_child(["qemu-aarch64", "--version"]).stdout
        match = re.search(r"version (\S+)", said)
        return {"emulator": f"qemu {match[1] if match else 'unknown'}", "counter": self.folder.name.rpartition("-")[2]}

    @property
    def runner(self) -> Path:
        """The program made of runner.c, linked with the runtime."""
        return self.folder / "runner"

    def run(self, core: Core, program: Path, *arguments: str | Path) -> list[Counter[str]]:
        """Runs an ARM64 program of one thread to its end.

        Returns:
            Per mark (see counter.c) how many instructions of each class the program had executed by then.

        Raises:
            ValueError: The program failed; gives its last line.
        """
        # no names or variables of this machine reach the program: they would change its heap, and so the counts
        qemu = [shutil.which("qemu-aarch64") or "qemu-aarch64", "-cpu", core.qemu, "-L", str(self.folder / core.name)]
        command = [*qemu, "-plugin", str(self.folder / "counter.so"), "-0", "program", program, *arguments]
        process = run_child(command, environment={})
        if process.returncode:
            raise ValueError(f"on an emulated {core.name}: {last_line(process)}")
        return [_totals(line) for line in process.stdout.splitlines() if line.startswith("counts ")]


def installed() -> str | None:
    """Gives None if this machine can emulate ARM64, else what `setup` lacks and cannot make; `REMEDY` installs it."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    missing += [name for name in NEEDED if not (LIBRARIES / name).exists()]
    if missing:
        return f"emulating ARM64 wants {', '.join(missing)}"
    usage = run_child(["qemu-aarch64", "-help"]).stdout
    if "-plugin" not in usage:
        return "emulating ARM64 wants a qemu-aarch64 that takes plugins, as the qemu-user of Debian 12 does"
    return None


def setup(progress: Callable[[str], None] = lambda line: None, runtime: str = "litert") -> Emulator:
    """Gives the emulator; builds it where the cache has none of this runtime's version yet.

    That takes about 3 s and a download (LiteRT 14 MB, onnxruntime 23 MB). The cache is
    $XDG_CACHE_HOME/pocketface/arm64 (~/.cache without that variable). Two processes may build at once.

    Args:
        progress: Gets one line per step.
        runtime: A name of `RUNTIMES`.

    Raises:
        ValueError: Programs of the system are missing, or the library cannot be fetched, or something does not compile.
    """
    emulated = runtime_of(runtime)
    key = hashlib.sha256(b"".join(source.read_bytes() for source in (*SOURCES, emulated.source))).hexdigest()[:12]
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache, "pocketface", "arm64", f"{runtime}-{emulated.version}-{key}")
    if missing := installed():
        raise ValueError(f"{missing}: {REMEDY}")
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=".part-") as beside:
            whole = Path(beside, "emulator")
            whole.mkdir()
            _build(whole, emulated, progress)
            try:
                whole.rename(folder)
            except OSError:  # another process was first
                if not folder.is_dir():
                    raise
    return Emulator(folder)


def _build(folder: Path, runtime: EmulatedRuntime, progress: Callable[[str], None]) -> None:
    progress(f"fetching {runtime.name} {runtime.version} for ARM64")
    runtime.fetch(folder)
    progress("compiling the instruction counter and the runner")
    call("gcc", "-O2", "-shared", "-fPIC", "-o", folder / "counter.so", COUNTER)
    linked = ("-L", folder, f"-l:{runtime.library}", "-Wl,--allow-shlib-undefined")  # its C++ library is found later
    call("aarch64-linux-gnu-gcc", "-O2", "-o", folder / "runner", RUNNER, runtime.source, *linked)
    for core in CORES.values():
        core.write(folder / core.name, LIBRARIES)
        (folder / core.name / "usr/lib").mkdir(parents=True)
        (folder / core.name / "usr/lib" / runtime.library).symlink_to(f"../../../{runtime.library}")


def _totals(line: str) -> Counter[str]:
    totals: Counter[str] = Counter()
    for item in line.split()[1:]:
        name, number = item.split("=")
        totals[name] += int(number)
    return totals

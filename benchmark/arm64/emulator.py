"""An emulator of ARM64 phone cores: qemu, LiteRT's library for ARM64 and two small C programs, kept in a cache."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ...children import last_line, run_child
from .cores import CORES, Core

REMEDY = "apt-get install --no-install-recommends qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc libc6-dev"
PROGRAMS = ("qemu-aarch64", "aarch64-linux-gnu-gcc", "gcc")
LIBRARIES = Path("/usr/aarch64-linux-gnu/lib")  # where Debian puts libraries of ARM64 on another machine
NEEDED = ("ld-linux-aarch64.so.1", "libstdc++.so.6", "libc.so")
COUNTER, RUNNER = (Path(__file__).with_name(f"{name}.c") for name in ("counter", "runner"))
SOURCES = (COUNTER, RUNNER, Path(__file__), Path(__file__).with_name("cores.py"))  # a change of any builds anew
LITERT = "libLiteRt.so"


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
        """The program made of runner.c."""
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


def setup(progress: Callable[[str], None] = lambda line: None) -> Emulator:
    """Gives the emulator; builds it where the cache has none of this LiteRT yet (about 3 s and a download of 14 MB).

    The cache is $XDG_CACHE_HOME/pocketface/arm64 (~/.cache without that variable). Two processes may build at once.
    `progress` gets one line per step.

    Raises:
        ValueError: Programs of the system are missing, or LiteRT cannot be fetched, or the programs do not compile.
    """
    version = importlib.metadata.version("ai-edge-litert")
    key = hashlib.sha256(b"".join(source.read_bytes() for source in SOURCES)).hexdigest()[:12]
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache, "pocketface", "arm64", f"litert-{version}-{key}")
    if missing := installed():
        raise ValueError(f"{missing}: {REMEDY}")
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=".part-") as beside:
            whole = Path(beside, "emulator")
            whole.mkdir()
            _build(whole, version, progress)
            try:
                whole.rename(folder)
            except OSError:  # another process was first
                if not folder.is_dir():
                    raise
    return Emulator(folder)


def _build(folder: Path, version: str, progress: Callable[[str], None]) -> None:
    progress(f"fetching LiteRT {version} for ARM64")
    _fetch(version, folder)
    progress("compiling the instruction counter and the runner")
    _call("gcc", "-O2", "-shared", "-fPIC", "-o", folder / "counter.so", COUNTER)
    linked = ("-L", folder, "-lLiteRt", "-Wl,--allow-shlib-undefined")  # its C++ library is found when it runs
    _call("aarch64-linux-gnu-gcc", "-O2", "-o", folder / "runner", RUNNER, *linked)
    for core in CORES.values():
        core.write(folder / core.name, LIBRARIES)
        (folder / core.name / "usr/lib").mkdir(parents=True)
        (folder / core.name / "usr/lib" / LITERT).symlink_to(f"../../../{LITERT}")


def _fetch(version: str, folder: Path) -> None:
    """Puts LiteRT's ARM64 library into `folder`, from the wheel that an ARM64 machine would install."""
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in range(17, 37)]  # up to Debian 12's C library
    python = f"--python-version={sys.version_info.major}.{sys.version_info.minor}"
    with TemporaryDirectory() as wheels:
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--implementation=cp", python, *platforms]
        _call(sys.executable, "-m", "pip", "download", *options, "--dest", wheels, f"ai-edge-litert=={version}")
        (wheel,) = Path(wheels).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (folder / LITERT).write_bytes(archive.read(f"ai_edge_litert/{LITERT}"))


def _call(*command: str | Path) -> None:
    process = run_child(command)
    if process.returncode:
        called = " ".join(map(str, command[:4]))
        raise ValueError(f"the ARM64 emulator cannot be built: {called} ...: {last_line(process)}")


def _totals(line: str) -> Counter[str]:
    totals: Counter[str] = Counter()
    for item in line.split()[1:]:
        name, number = item.split("=")
        totals[name] += int(number)
    return totals

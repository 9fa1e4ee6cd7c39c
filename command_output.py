"""How a command speaks: progress, the result that it ends with, for people or as JSON, and what libraries say."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from typer import Exit, Option

from .progress_display import Lines, display
from .spelling import printable


@dataclass(frozen=True)
class CommandResult:
    """What a command ends with: lines for people, and the same facts for programs."""

    lines: Sequence[str]  # a table that fits the terminal, what came out, what to do next, and where it lies
    facts: Mapping[str, Any]  # as JSON takes them: numbers and kinds, no sentences
    details: Sequence[str] = ()  # lines that --verbose adds
    code: int = 0  # that the command exits with
    failure: str = ""  # what went wrong all the same: a sentence on standard error, and exit code 2


@dataclass(frozen=True)
class OutputOptions:
    """How much a command says, and in which form it gives its result."""

    quiet: Annotated[bool, Option("--quiet", "-q", help="Print the result and errors only.")] = False
    verbose: Annotated[
        bool, Option("--verbose", "-v", help="Print what libraries log and warn of, and the result's details, too.")
    ] = False
    as_json: Annotated[
        bool, Option("--json", help="Print the result as one JSON object, and all else on standard error.")
    ] = False

    def speak(self, command: Callable[[], CommandResult | None]) -> None:
        """Runs a command with as much progress as is wanted, and shows the result.

        Args:
            command: Gives the result; None: there is none, as of a plan that was only shown.

        Raises:
            ValueError: Both quiet and verbose; or what the command raises, or its result calls a failure.
            typer.Exit: The result has an exit code.
        """
        if self.quiet and self.verbose:
            raise ValueError("--quiet and --verbose contradict each other; give one of them")
        hush_libraries(self.verbose)
        the_display().muted = self.quiet
        try:
            with _stdout_on_stderr() if self.as_json else contextlib.nullcontext():
                result = command()
                the_display().close()
                if result is not None and not (self.as_json and self.quiet):
                    _print_lines([*(result.details if self.verbose else ()), *result.lines])
        finally:
            the_display().muted = False
        if result is None:
            return
        if self.as_json and is_first_process():
            print(json.dumps(result.facts, indent=1, ensure_ascii=False), flush=True)
        if result.failure:
            raise ValueError(result.failure)
        if result.code:
            raise Exit(result.code)


def is_first_process() -> bool:
    """Says whether this is the process that speaks and writes; `accelerate launch` starts several."""
    return os.environ.get("RANK", "0") == "0"


def say(line: str) -> None:
    """Prints one line at once, also into a pipe; what names of files may tell a terminal to do is spelt out."""
    if is_first_process():
        the_display().show(line)


@functools.cache
def the_display() -> Lines:
    """Gives the one display of this process."""
    return display()


def share_cores() -> None:
    """Makes threads of OpenMP that wait for each other sleep, here and in processes that are started from here.

    By default they spin, which on a machine that has other work costs a training its share many times over. torch
    reads the variable when it is imported. Whoever has set it is obeyed.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def hush_libraries(verbose: bool = False) -> None:
    """Keeps what libraries print about themselves off the terminal, in this process and in those that it starts.

    Args:
        verbose: Lets them print it after all, on standard error.
    """
    # TensorFlow counts: from 2 on errors only
    for name, talkative, hushed in (("TF_CPP_MIN_LOG_LEVEL", "0", "2"), ("OPENCV_LOG_LEVEL", "INFO", "ERROR")):
        if verbose or name not in os.environ:
            os.environ[name] = talkative if verbose else hushed
    for name in ("torch.utils._pytree", "torch.onnx"):
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.ERROR)
    if verbose:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s: %(message)s")
    if not sys.warnoptions:  # whoever starts Python with -W looks for warnings
        action: Literal["default", "ignore"] = "default" if verbose else "ignore"
        warnings.simplefilter(action)
        os.environ["PYTHONWARNINGS"] = action


@contextlib.contextmanager
def _stdout_on_stderr() -> Iterator[None]:
    """Sends to standard error what is printed on standard output meanwhile, by native code and other programs too."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _print_lines(lines: Sequence[str]) -> None:
    if is_first_process():
        for line in lines:
            print(printable(line), flush=True)

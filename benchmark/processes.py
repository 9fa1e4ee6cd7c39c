"""Work in a Python process of its own: a request goes in as JSON, an answer comes out, or one sentence why not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ..bounds import SECONDS
from ..children import last_line, run_child, signal_name
from ..files import full_disk

OUT_OF_TIME = {getattr(signal, name, 0) for name in ("SIGPROF", "SIGALRM")}  # `limited_time` ends a process with them
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def ask(
    module: str, request: Mapping[str, Any], name: str, task: str, threads: int = 1, timeout: float | None = None
) -> dict[str, Any]:
    """Runs `module`, which ends in `answer(...)`, in a new Python process; gives its answer.

    Args:
        module: "pocketface.benchmark.speed.stopwatch".
        request: What it is asked, JSON's types.
        name: What it works on, for the sentences below.
        task: What is done to that: "timed".
        threads: That its libraries may start.
        timeout: Seconds that it may take; None: as long as it wants.

    Raises:
        RuntimeError: "NAME could not be TASK: ...", "NAME was not TASK within ...", "NAME crashed its process ...", or
            "NAME was not TASK: its process was killed ...".
        OSError: The disk is full, which says nothing of the file.
    """
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
    # -P: a numpy.py in the folder where somebody works is not ours
    command = [sys.executable, "-P", "-m", module, json.dumps(request)]
    try:
        process = run_child(command, environment, timeout)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{name} was not {task} within {timeout:g} s") from None
    if process.returncode == -9:
        hint = "perhaps for want of memory; the same command tries it again"
        raise RuntimeError(f"{name} was not {task}: its process was killed, {hint}")
    if process.returncode < 0 and -process.returncode in OUT_OF_TIME:
        raise RuntimeError(f"{name} was not {task}: it did not embed one face within {SECONDS} s of processor")
    if process.returncode < 0:
        raise RuntimeError(f"{name} crashed its process with {signal_name(-process.returncode)}")
    answers = [json.loads(line) for line in process.stdout.splitlines() if line.startswith("{")]  # runtimes print too
    if process.returncode or not answers:
        raise RuntimeError(f"{name} could not be {task}: {last_line(process)}")
    reply: dict[str, Any] = answers[-1]
    if "full" in reply:
        raise OSError(*reply["full"])
    if "error" in reply:
        raise RuntimeError(f"{name} could not be {task}: {reply['error']}")
    return reply


def answer(work: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Prints what `work` makes of the request on the command line, as a line of JSON; or why it makes nothing."""
    try:
        reply = work(json.loads(sys.argv[1]))
    except ValueError as error:
        reply = {"error": str(error)}
    except Exception as error:  # whatever a runtime throws is a reason for the table
        reply = {"error": f"{type(error).__name__}: {error}"}
        if full := full_disk(error):
            reply["full"] = (full.errno, full.strerror, full.filename)
    print("\n" + json.dumps(reply))

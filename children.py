"""Programs that pocketface starts, and the cores they may use: they end when it ends, however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

# Linux: prctl(PR_SET_PDEATHSIG, SIGKILL), which outlives exec; what lost its parent before that leaves at once. Python
# changes LC_CTYPE where there is no locale, which the program must not see. Not preexec_fn: that runs
# Python between fork and exec, where another thread may hold a lock.
_LAUNCHER = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.getppid() == int(sys.argv[1]) or os._exit(1); "
    "os.environ.pop('LC_CTYPE', None); os.environ.update({'LC_CTYPE': sys.argv[2]} if sys.argv[2] else {}); "
    "os.execvp(sys.argv[3], sys.argv[3:])"
)

_running: set[subprocess.Popen[str]] = set()
_stopped = threading.Event()


def lent_cores() -> int:
    """Gives how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_child(
    command: Sequence[str | Path],
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
    merged: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end and gives what it printed; it is killed when pocketface ends before it.

    Args:
        command: The program and its arguments. Nothing is on its standard input.
        environment: Its variables; None: ours.
        timeout: Seconds that it may take; None: as long as it wants.
        merged: Whether its errors are to be among its output, in their order.

    Raises:
        RuntimeError: `stop_children` was called.
        OSError: There is no such program, where the system is not Linux; on Linux it is the exit status 1.
        subprocess.TimeoutExpired: It took longer, and was killed.
    """
    variables = os.environ if environment is None else environment
    words = [str(word) for word in command]
    if sys.platform == "linux":
        words = [sys.executable, "-ISc", _LAUNCHER, str(os.getpid()), variables.get("LC_CTYPE", ""), *words]
    if _stopped.is_set():
        raise RuntimeError("pocketface is ending, and starts nothing any more")
    process = subprocess.Popen(
        words,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merged else subprocess.PIPE,
        text=True,
        errors="replace",
        process_group=0 if os.name == "posix" else None,  # of its own, so that what it starts can be ended with it
    )
    _running.add(process)
    try:
        if _stopped.is_set():  # since the line above
            _kill(process)
        with process:
            try:
                output, errors = process.communicate(timeout=timeout)
            except BaseException:
                _kill(process)
                raise
    finally:
        _running.discard(process)
    return subprocess.CompletedProcess(words, process.returncode, output, errors)


def stop_children() -> None:
    """Kills every program that `run_child` runs, in any thread, and lets it start no other."""
    _stopped.set()
    for process in list(_running):
        _kill(process)


def last_line(process: subprocess.CompletedProcess[str]) -> str:
    """Gives the last line that a process wrote to its standard error; its exit status where it wrote none."""
    return (process.stderr.strip().splitlines() or [f"exit {process.returncode}"])[-1]


def signal_name(number: int) -> str:
    """Gives the name of a signal: "SIGSEGV" of 11."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _kill(process: subprocess.Popen[str]) -> None:
    if process.returncode is not None:  # its number may be another's by now
        return
    with contextlib.suppress(OSError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()

"""Programs that pocketface starts: what they print comes back, and none of them outlives it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pocketface.children import run_child

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the system has no prctl(PR_SET_PDEATHSIG)")

PARENT = """
import sys
from pocketface.children import run_child
run_child([sys.executable, "-c", "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)",
           sys.argv[1]])
"""


def alive(process: int) -> bool:
    """Tells whether there is such a process, one that only waits to be fetched by its parent left out."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def test_output_errors_and_status_come_back() -> None:
    done = run_child([sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"])
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 3)


def test_errors_can_be_among_the_output() -> None:
    code = "import sys; print('one', flush=True); print('two', file=sys.stderr, flush=True); print('three')"
    assert run_child([sys.executable, "-c", code], merged=True).stdout == "one\ntwo\nthree\n"


@LINUX
def test_a_program_sees_the_variables_that_it_is_given_and_no_others() -> None:
    assert run_child(["/usr/bin/env"], environment={}).stdout == ""
    printed = run_child(["/usr/bin/env"], environment={"LC_CTYPE": "C", "A": "b c"}).stdout
    assert sorted(printed.splitlines()) == ["A=b c", "LC_CTYPE=C"]


def test_nothing_is_on_its_standard_input() -> None:
    assert run_child([sys.executable, "-c", "import sys; print(repr(sys.stdin.read()))"]).stdout == "''\n"


def test_a_program_that_takes_too_long_is_killed_with_what_it_started(tmp_path: Path) -> None:
    note = tmp_path / "note"
    code = f"sleep 60 & echo $! > {note}.part && mv {note}.part {note}; wait"
    with pytest.raises(subprocess.TimeoutExpired):
        run_child(["/bin/sh", "-c", code], timeout=1)
    time.sleep(0.1)
    assert not alive(int(note.read_text()))


@LINUX
def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "note"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(note)])
    end = time.monotonic() + 30
    while not note.exists() or not note.read_text():
        assert parent.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    child = int(note.read_text())
    assert alive(child) and os.getpgid(child) != os.getpgid(parent.pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    end = time.monotonic() + 2
    while alive(child) and time.monotonic() < end:
        time.sleep(0.01)
    assert not alive(child)

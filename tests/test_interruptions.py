"""Signals end the program with one sentence and its number; what it started and made for the while goes with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import sys, tempfile, time
from pathlib import Path
from pocketface.command_line import guarded
from pocketface.children import run_child
from pocketface.files import written_whole

SLEEP = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"

def work():
    note = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder, written_whole(note.with_name("result")) as beside:
        beside.write_text("half")
        run_child([sys.executable, "-c", SLEEP, str(note)])

def native():
    import hashlib
    Path(sys.argv[1]).write_text("0")
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000_000)  # minutes in C, where no signal handler runs

def deaf():
    Path(sys.argv[1]).write_text("0")
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

guarded(globals()[sys.argv[2]])
"""


def started(folder: Path, what: str) -> tuple[subprocess.Popen[str], int]:
    """Starts the program, and waits until its child runs; gives both."""
    (folder / "tmp").mkdir()
    note = folder / "note"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(note), what],
        env={**os.environ, "TMPDIR": str(folder / "tmp")},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: [signal.signal(n, signal.SIG_DFL) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
    )
    end = time.monotonic() + 30
    while not note.exists() or not note.read_text():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    return process, int(note.read_text())


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_is_one_sentence_and_leaves_nothing(tmp_path: Path, name: str, status: int) -> None:
    process, child = started(tmp_path, "work")
    begun = time.monotonic()
    process.send_signal(getattr(signal, name))
    _, errors = process.communicate(timeout=10)
    assert time.monotonic() - begun < 2
    assert errors == f"pocketface: ended by {name}; the same command goes on from what is done\n"
    assert process.returncode == status
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["note", "tmp"]


@pytest.mark.parametrize("what", ["native", "deaf"])
def test_code_that_does_not_return_is_left(tmp_path: Path, what: str) -> None:
    process, _ = started(tmp_path, what)
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=10)
    assert time.monotonic() - begun < 2
    assert (errors.count("\n"), process.returncode) == (1, 143)


def test_an_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    code = (
        "import os, signal\nfrom pocketface.command_line import guarded\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "guarded(lambda: (os.kill(os.getpid(), signal.SIGHUP), print('goes on')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "goes on\n"


def test_outside_the_program_signals_are_as_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    from pocketface.interruptions import ending_on_signals

    with ending_on_signals():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before

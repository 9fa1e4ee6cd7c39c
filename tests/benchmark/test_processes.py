"""Children that answer, refuse, crash, leave or sleep."""

import re
import textwrap
from pathlib import Path

import pytest

from pocketface.benchmark.processes import ask

CHILD = """
import os, sys, time
from pocketface.benchmark.processes import answer

def work(request):
    print("a runtime that talks {", flush=True)
    if request["do"] == "refuse": raise ValueError("there is no such file")
    if request["do"] == "raise": raise KeyError("tensor 7")
    if request["do"] == "die": os.kill(os.getpid(), 11)
    if request["do"] == "be killed": os.kill(os.getpid(), 9)
    if request["do"] == "fill the disk": raise RuntimeError("I/O error: No space left on device (os error 28)")
    if request["do"] == "leave": sys.exit("no way")
    if request["do"] == "sleep": time.sleep(60)
    return {"echo": request, "threads": os.environ["OMP_NUM_THREADS"]}

answer(work)
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "child.py").write_text(textwrap.dedent(CHILD))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    return "child"


def test_the_answer_comes_back_though_the_child_prints_other_lines(child: str) -> None:
    found = ask(child, {"do": "echo", "n": 1}, "net", "timed", threads=3)
    assert found == {"echo": {"do": "echo", "n": 1}, "threads": "3"}


@pytest.mark.parametrize(
    ("do", "sentence"),
    [
        ("refuse", "net could not be timed: there is no such file"),
        ("raise", "net could not be timed: KeyError: 'tensor 7'"),
        ("die", "net crashed its process with SIGSEGV"),
        (
            "be killed",
            "net was not timed: its process was killed, perhaps for want of memory; the same command tries it again",
        ),
        ("leave", "net could not be timed: no way"),
        ("sleep", "net was not timed within 2 s"),
    ],
)
def test_a_failure_is_one_sentence(child: str, do: str, sentence: str) -> None:
    with pytest.raises(RuntimeError, match=f"^{re.escape(sentence)}$"):
        ask(child, {"do": do}, "net", "timed", timeout=2 if do == "sleep" else 60)


def test_a_full_disk_says_nothing_of_the_file(child: str) -> None:
    with pytest.raises(OSError, match="No space left on device") as caught:
        ask(child, {"do": "fill the disk"}, "net", "timed")
    assert caught.value.errno == 28


def test_a_module_in_the_working_folder_is_not_imported(
    child: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "signal.py").write_text("raise SystemExit('a stranger')")
    monkeypatch.chdir(here)
    assert ask(child, {"do": "echo"}, "net", "timed")["echo"] == {"do": "echo"}

"""How progress is shown: plain lines that say how far the work is, and a bar in a terminal."""

import os
import pty
import subprocess
import sys

import pytest

from pocketface.progress_display import Bar, Lines, Pace, display
from pocketface.steps import ProgressStep


def test_the_time_that_is_left_is_told_from_the_steps_that_were_seen():
    now = iter([100.0, 110.0, 130.0, 150.0, 160.0])
    pace = Pace(lambda: next(now))
    steps = [ProgressStep("a", "embedding", done, 4) for done in (0, 1, 2, 4)]
    assert [pace.text(step) for step in steps] == [
        "0/4, 0:10",
        "1/4, 0:30, 1:00 left",
        "2/4, 0:50, 0:40 left",
        "4/4, 1:00",
    ]


def test_a_task_that_goes_on_where_an_earlier_run_stopped_is_not_thought_quick():
    now = iter([0.0, 0.0, 20.0])
    pace = Pace(lambda: next(now))
    pace.text(ProgressStep("a", "training", 80, 100))
    assert pace.text(ProgressStep("a", "training", 90, 100)) == "90/100, 0:20, 0:20 left"


def test_each_task_has_a_pace_of_its_own():
    now = iter([0.0, 0.0, 1.0, 50.0, 52.0])
    pace = Pace(lambda: next(now))
    told = [pace.text(ProgressStep("", task, done, 3)) for task in ("a", "b") for done in (0, 1)]
    assert told == ["0/3, 0:00", "1/3, 0:01, 0:02 left", "0/3, 0:50", "1/3, 0:52, 0:04 left"]


def test_plain_lines_stay_and_steps_say_how_far_they_are(capsys: pytest.CaptureFixture[str]):
    lines = Lines()
    for line in ("faces: 4", ProgressStep("embedded with a.tflite", "embedding", 1, 2), "a\x1b[31m"):
        lines.show(line)
    assert capsys.readouterr().out == "faces: 4\n[1/2, 0:00] embedded with a.tflite\na\\x1b[31m\n"


def test_a_pipe_gets_lines(monkeypatch: pytest.MonkeyPatch):
    assert type(display()) is Lines


@pytest.mark.skipif(os.name != "posix", reason="a terminal of this kind is POSIX's")
def test_a_terminal_gets_a_bar_that_goes_away_and_keeps_its_cursor():
    code = (
        "import time\n"
        "from contextlib import closing\n"
        "from pocketface.progress_display import display\n"
        "from pocketface.steps import ProgressStep\n"
        "with closing(display()) as shown:\n"
        "    for done in range(3):\n"
        "        shown.show(ProgressStep(f'line {done}', 'embedding', done, 4))\n"
        "        time.sleep(0.3)\n"
        "print('end')\n"
    )
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=terminal, stderr=terminal, env={**os.environ, "TERM": "xterm"}
    )
    os.close(terminal)
    written = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # Linux: the other end is closed
            break
        if not part:
            break
        written += part
    os.close(master)
    assert process.wait() == 0
    text = written.decode()
    assert all(f"line {done}\r\n" in text for done in range(3)) and "2/4" in text
    assert text.rstrip().endswith("end") and "\x1b[?25l" not in text


def test_a_bar_that_showed_no_step_prints_lines(capsys: pytest.CaptureFixture[str]):
    bar = Bar()
    bar.show("a line")
    bar.close()
    assert capsys.readouterr().out == "a line\n"

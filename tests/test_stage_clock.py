"""What a stage took: seconds by the clock, and of processors."""

import sys
import time

import pytest

from pocketface.children import run_child
from pocketface.stage_clock import StageClock


def test_a_stage_that_waits_takes_no_processor() -> None:
    clock = StageClock()
    with clock.stage("wait"):
        time.sleep(0.3)
    (wait,) = clock.to_plain()
    assert wait["stage"] == "wait" and float(wait["seconds"]) >= 0.3 and float(wait["cpu_seconds"]) <= 0.1


def test_a_stage_adds_up_and_counts_the_programs_that_it_starts() -> None:
    clock = StageClock()
    for _ in range(2):
        with clock.stage("export"):
            run_child([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"])
    (export,) = clock.to_plain()
    assert float(export["cpu_seconds"]) >= 0.5


def test_a_stage_that_fails_is_counted_too() -> None:
    clock = StageClock()
    with pytest.raises(ValueError, match="it failed"), clock.stage("prune"):
        raise ValueError("it failed")
    assert [row["stage"] for row in clock.to_plain()] == ["prune"]

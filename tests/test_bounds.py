"""A process under bounds fails by itself: more memory is an error in it, more time its end."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="Windows limits no memory")


def ran(code: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"import sys\nfrom pathlib import Path\nfrom pocketface import bounds\n{code}"]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_memory_is_six_gigabytes_and_four_times_the_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(1000))
    code = "import resource; bounds.limit_memory(Path(sys.argv[1])); print(resource.getrlimit(resource.RLIMIT_AS)[0])"
    assert int(ran(code, tmp_path / "x").stdout) == (6 << 30) + 4000
    assert int(ran(code, tmp_path).stdout) == (6 << 30) + 4000  # the files of a folder count
    refused = ran("bounds.limit_memory(Path(sys.argv[1])); bytearray(7 << 30)", tmp_path / "x")
    assert refused.stderr.splitlines()[-1] == "MemoryError"


def test_a_stricter_limit_stays(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    code = (
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (5 << 30, 5 << 30))\n"
        "bounds.limit_memory(Path(sys.argv[1]))\nprint(*resource.getrlimit(resource.RLIMIT_AS))"
    )
    assert ran(code, tmp_path / "x").stdout == f"{5 << 30} {5 << 30}\n"


def test_what_never_ends_is_killed_and_what_ends_is_not() -> None:
    code = "bounds.SECONDS = 1\nwith bounds.limited_time():\n    {}\nimport time; time.sleep(1.2); print('after')"
    assert ran(code.format("pass")).stdout == "after\n"
    ended = ran(code.format("while True: pass"))
    assert (ended.returncode, ended.stdout) == (-signal.SIGPROF, "")


def test_what_waits_may_take_ten_times_as_long() -> None:
    code = "import time\nbounds.SECONDS = {}\nwith bounds.limited_time():\n    time.sleep(1)\nprint('after')"
    assert ran(code.format(0.2)).stdout == "after\n"  # a busy machine is no damage
    ended = ran(code.format(0.05))
    assert (ended.returncode, ended.stdout) == (-signal.SIGALRM, "")

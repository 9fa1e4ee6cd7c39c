"""Kills `pocketface run` at random moments and at renames, resumes it, and compares what it made with a calm run.

    python evidence/kills.py [--kills 200] [--children 10] [--signals 9] [--every 4] [--out runs/evidence/kills]

Run it from the repository root, on Linux; it needs no files. The network, its faces and its recipe are tiny, and the
packages are imported once: each run is a fork. A kill takes some 10 s on a busy core, resuming included. Half of the
kills are at random moments, half before or after the k-th rename of a run; every fourth is followed by a run to its
end, whose files are compared and whose folders are searched for what was left. Then single children are killed, and
runs are ended by SIGINT, SIGTERM and SIGHUP. Writes evidence/kills.jsonl, a row per kill and per run to the end. Its
rows are of two campaigns: 192 kills by the seed 0, the others by `--kills 10 --seed 1`.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rows import write_rows

from pocketface.benchmark.machine import device_name
from pocketface.benchmark.measurement import Measurement

HERE = Path(__file__).parent
NET = """
import torch
from torch import nn

def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 24, 3, 2, 1), nn.BatchNorm2d(24), nn.ReLU(),
        nn.Flatten(), nn.Linear(24 * 16, 16),
    )
"""
RECIPE = """
embedder = "net.py:net"
name = "tiny"
train = "faces"
pairs = "faces/pairs.txt"
compare = []

[contract]
height = 16
width = 16
mean = [127.5, 127.5, 127.5]
scale = [0.0078125, 0.0078125, 0.0078125]

[prune]
remove = 0.2
steps = 1
epochs = 1
epochs_between = 0.5
variants = 1
images = 16
batch_size = 16

[export]
targets = ["tflite-fp32"]
calibration_faces = 16

[benchmark]
threads = [1]
runtimes = ["litert"]
rounds = 1
minimum_runs = 5
minimum_seconds = 0.0
arm64 = []
"""
OTHERWISE_EACH_TIME = ("latency_", "cpu_ms", "load_ms", "first_ms", "peak_memory")  # metrics
TIMES = ("seconds", "command", "stages")  # keys of JSON
NOT_COMPARED = ("latency.json", "report.html", "report.md", "report.csv", "report.json", "files.csv", "cards")
GRACE = 2.0  # seconds after which no process may be alive


def write_inputs(folder: Path) -> Path:
    """Writes twenty people of two photos, pairs, a network and a recipe; gives the recipe."""
    noise = np.random.default_rng(0)
    for person in range(20):
        base = noise.integers(0, 256, (4, 4, 3))
        (folder / "faces" / f"P{person}").mkdir(parents=True)
        for shot in (1, 2):
            pixels = np.clip(base + noise.normal(0, 10, base.shape), 0, 255).astype(np.uint8)
            place = folder / "faces" / f"P{person}" / f"P{person}_{shot:04d}.png"
            Image.fromarray(pixels).resize((16, 16)).save(place)
    lines = ["2\t5"]
    for fold in (0, 10):
        lines += [f"P{fold + i}\t1\t2" for i in range(5)]
        lines += [f"P{fold + i}\t1\tP{fold + i + 5}\t2" for i in range(5)]
    (folder / "faces" / "pairs.txt").write_text("\n".join(lines) + "\n")
    (folder / "net.py").write_text(NET)
    (folder / "recipe.toml").write_text(RECIPE)
    return folder / "recipe.toml"


class Try:
    """One `pocketface run`, in a session of its own."""

    def __init__(
        self, recipe: Path, out: Path, temporary: Path, die_at: int = 0, before: bool = True, log: Path | None = None
    ) -> None:
        """Starts it; it kills itself before or after its `die_at`-th rename, 0: never."""
        self.log = log or out.with_suffix(".log")
        self.status: int | None = None
        self.begun = time.monotonic()
        self.process = os.fork()
        if not self.process:
            self._run(["pocketface", "run", str(recipe), "--out", str(out)], temporary, die_at, before)

    def _run(self, command: list[str], temporary: Path, die_at: int, before: bool) -> None:
        os.setsid()
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1), os.dup2(log, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.environ["TMPDIR"], tempfile.tempdir, sys.argv = str(temporary), None, command
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        replace, count = os.replace, 0

        def counted(source: Any, target: Any, **others: Any) -> None:
            nonlocal count
            count += 1
            if count == die_at and before:
                note(target)
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target, **others)
            if count == die_at:
                note(target)
                os.kill(os.getpid(), signal.SIGKILL)

        def note(target: Any) -> None:
            os.write(2, f"\ndies at {Path(target).name}\n".encode())

        os.replace = counted
        status = 0
        try:
            from pocketface.__main__ import main

            main()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        except BaseException:
            import traceback

            traceback.print_exc()
            status = 1
        sys.stdout.flush(), sys.stderr.flush()
        os.write(2, f"\nrenames: {count}\n".encode())
        os._exit(status)

    def ended(self, seconds: float | None = None) -> int | None:
        """Waits so many seconds, or for ever; gives the exit status, as subprocess counts it; None: it runs."""
        end = None if seconds is None else time.monotonic() + seconds
        while self.status is None:
            process, status = os.waitpid(self.process, os.WNOHANG)
            if process:
                self.seconds = time.monotonic() - self.begun
                self.status = os.waitstatus_to_exitcode(status)
                break
            if end is not None and time.monotonic() > end:
                break
            time.sleep(0.01)
        return self.status

    def alive(self) -> list[int]:
        """Gives the processes of its session but itself, those left out that nobody has fetched yet."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, IndexError):
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == self.process and fields[0] not in "ZX" and int(place.name) != self.process:
                    found.append(int(place.name))
        return found

    def left_alive(self) -> int:
        """Gives how many processes live two seconds after it ended."""
        end = time.monotonic() + GRACE
        while time.monotonic() < end and self.alive():
            time.sleep(0.05)
        return len(self.alive())

    def said(self) -> str:
        """Gives what it printed."""
        return self.log.read_text(errors="replace")


def contents(out: Path) -> dict[str, str]:
    """Gives the hash of every file of a run folder, times and what is made of them left out."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_file() and name.partition("/")[0] not in NOT_COMPARED:
            data = path.read_bytes()
            if path.suffix == ".json":
                data = json.dumps(timeless(json.loads(data)), sort_keys=True).encode()
            found[name] = hashlib.sha256(data).hexdigest()
    return found


def timeless(value: Any) -> Any:
    """Gives a value of JSON without times."""
    if isinstance(value, list):
        return [timeless(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if str(value.get("metric", "")).startswith(OTHERWISE_EACH_TIME):
        return {key: value[key] for key in ("model", "artifact", "runtime", "metric")}
    return {key: timeless(inner) for key, inner in value.items() if key not in TIMES}


def litter(out: Path, temporary: Path) -> list[str]:
    """Gives what a run must not leave."""
    ours = [path for path in out.rglob("*") if path.name.startswith(".") or path.name in ("crops.npy", "unfinished")]
    return sorted(path.name for path in [*ours, *temporary.iterdir()])


class KillRows:
    """The rows of a campaign so far."""

    def __init__(self, name: str) -> None:
        """They are written to the file of that name, beside this one, whenever there is one more."""
        self.path, self.rows = HERE / name, list[Measurement]()

    def row(self, metric: str, tried: Try, failures: list[str], **conditions: Any) -> None:
        identity = ("tiny", "", "", "", "", device_name())
        value, reason = round(tried.seconds, 2), "; ".join(failures)
        self.rows.append(
            Measurement(*identity, metric, value, "s", valid=not failures, reason=reason, conditions=conditions)
        )
        print(f"{len(self.rows)}: {metric} {value} s {conditions} {reason}", flush=True)
        write_rows(self.rows, self.path)

    def tell(self) -> None:
        print(f"{len(self.rows)} rows, {sum(not row.valid for row in self.rows)} of them bad")


class Campaign(KillRows):
    """The calm run, the tries so far in the folder that is killed, and the rows."""

    def __init__(self, out: Path, every: int, seed: int) -> None:
        super().__init__("kills.jsonl")
        shutil.rmtree(out, ignore_errors=True)
        self.folder, self.temporary, self.every = out / "run", out / "tmp", every
        self.temporary.mkdir(parents=True)
        self.recipe, self.random = write_inputs(out / "inputs"), random.Random(seed)
        self.kills = 0  # since the last run to its end
        calm = self.start(out / "calm")
        assert calm.ended() == 0, calm.said()
        self.calm, self.length = contents(out / "calm"), calm.seconds
        self.renames = int(calm.said().rpartition("renames: ")[2])
        print(f"calm run: {self.length:.0f} s, {self.renames} renames, {len(self.calm)} files compared", flush=True)

    def start(self, folder: Path | None = None, **death: Any) -> Try:
        return Try(self.recipe, folder or self.folder, self.temporary, **death)

    def finish(self, tried: Try | None = None) -> None:
        """Runs to the end what was killed, and compares."""
        tried = tried or self.start()
        status = tried.ended()
        failures = [] if status == 0 else [f"exit {status}: {tried.said()[-300:]}"]
        found = contents(self.folder) if not failures else self.calm
        differ = [name for name in {*found, *self.calm} if found.get(name) != self.calm.get(name)]
        failures += [f"{name} differs" for name in sorted(differ)]
        failures += [f"{name} was left" for name in litter(self.folder, self.temporary)]
        self.row("run_to_end_s", tried, failures, kills=self.kills, files=len(self.calm))
        self.kills = 0
        shutil.rmtree(self.folder, ignore_errors=True)

    def after(self, tried: Try, status: int | None, metric: str, failures: list[str], **conditions: Any) -> None:
        """Notes a kill, and goes on to the end after some of them."""
        if alive := tried.left_alive():
            failures.append(f"{alive} processes live after {GRACE:g} s")
        self.kills += 1
        self.row(metric, tried, failures, exit=status, **conditions)
        if self.kills >= self.every:
            self.finish()

    def moment(self) -> float:
        """Gives after how many seconds to kill: a try that resumes is soon at its end."""
        return self.random.uniform(0.2, self.length / (3 if self.kills else 1))

    def kill_at_random(self) -> bool:
        tried = self.start()
        if tried.ended(self.moment()) is not None:
            self.finish(tried)
            return False
        os.kill(tried.process, signal.SIGKILL)
        self.after(tried, tried.ended(), "kill_s", [], at="a random moment")
        return True

    def kill_at_rename(self, number: int) -> bool:
        before = number % 2 == 0
        tried = self.start(die_at=1 + self.random.randrange(self.renames), before=before)
        status = tried.ended()
        if status != -signal.SIGKILL:
            self.finish(tried)
            return False
        name = tried.said().rpartition("dies at ")[2].strip()
        self.after(tried, status, "kill_s", [], at=f"{'before' if before else 'after'} a rename", file=name)
        return True

    def kill_child(self) -> bool:
        """Kills one child; the run goes on, and the same command makes what is missing."""
        tried = self.start()
        moment = time.monotonic() + self.moment()
        while (status := tried.ended(0.0)) is None:
            children = tried.alive()
            if children and time.monotonic() > moment:
                os.kill(children[0], signal.SIGKILL)
                break
        if status is not None:
            self.finish(tried)
            return False
        status = tried.ended()
        failures = [] if status == 0 else [f"exit {status}: {tried.said()[-300:]}"]
        self.kills += 1
        self.row("kill_s", tried, failures, exit=status, at="a child", said=killed_line(tried.said()))
        self.finish()
        return True

    def end_by(self, name: str) -> bool:
        tried = self.start()
        if tried.ended(self.moment()) is not None:
            self.finish(tried)
            return False
        number = getattr(signal, name)
        told = time.monotonic()
        os.kill(tried.process, number)
        status = tried.ended()
        seconds = time.monotonic() - told
        failures = [] if status == 128 + number else [f"exit {status}"]
        failures += [] if seconds < GRACE else [f"it took {seconds:.1f} s to end"]
        sentence = f"pocketface: ended by {name}; the same command goes on from what is done"
        failures += [] if tried.said().count(sentence) == 1 else [f"it said {tried.said()[-300:]}"]
        self.after(tried, status, "kill_s", failures, at=name, seconds_to_end=round(seconds, 2))
        return True


def killed_line(said: str) -> str:
    return next((line.strip() for line in said.splitlines() if "was killed" in line), "")


def until(wanted: int, kill: Callable[[int], bool]) -> None:
    """Calls `kill` until so many were killed: a try may be at its end before."""
    killed = 0
    while killed < wanted:
        killed += kill(killed)


def warm_up() -> None:
    """Imports what a run imports, so that a fork need not."""
    import onnxruntime  # noqa: F401
    import onnxscript  # noqa: F401
    import torch._dynamo
    import torch.onnx._internal.exporter._core  # noqa: F401

    import pocketface.chain
    import pocketface.export.graph.to_onnx
    import pocketface.export.tflite.to_tflite  # noqa: F401


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--children", type=int, default=10)
    parser.add_argument("--signals", type=int, default=9)
    parser.add_argument("--every", type=int, default=4, help="kills before a run to the end")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/evidence/kills"))
    options = parser.parse_args()
    warm_up()
    campaign = Campaign(options.out.absolute(), options.every, options.seed)
    until(options.kills, lambda n: campaign.kill_at_random() if n % 2 else campaign.kill_at_rename(n // 2))
    until(options.children, lambda n: campaign.kill_child())
    until(options.signals, lambda n: campaign.end_by(("SIGINT", "SIGTERM", "SIGHUP")[n % 3]))
    if campaign.kills:
        campaign.finish()
    campaign.tell()


if __name__ == "__main__":
    main()

"""Damaged files of every kind that pocketface reads, each through the real command line in a process with limits.

    python evidence/fuzz.py [--inputs 10000] [--seed 0] [--kinds onnx tflite] [--out runs/fuzz]

10,000 inputs take hours on one core; Linux only. It goes on after a kill, and with more --inputs, from
OUT/tried.jsonl. Writes evidence/fuzz.jsonl: a row for each kind of file and outcome. What did not end well is kept
below OUT, with its command and what it printed.

One process imports everything and forks one for each input, which calls the command line's own `main`; processes that
the command starts for a part of its work are forked from it too, which saves their imports and nothing else. An input
may take 4 GB of address space, 10 seconds of processor and 120 seconds in all. Outcomes:

    ok          exit code 0: the damage did not matter
    refused     exit code 2 and one sentence on standard error
    noise       anything else on the terminal: more lines, control characters, another exit code
    traceback   Python's
    crash       a signal
    hang        no end within the seconds
    memory      MemoryError
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import re
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from pathlib import Path
from random import Random
from tempfile import TemporaryFile
from typing import Any

import fuzz_changes as change
import numpy as np
import tomli_w
import yaml
from rows import write_rows

from pocketface.benchmark.machine import device_name
from pocketface.benchmark.measurement import Measurement
from pocketface.benchmark.speed.stopwatch import memory_bytes
from pocketface.children import run_child

HERE = Path(__file__).parent
BEGUN = " numbers per face"  # of a run whose recipe is in order after all: it may take its time
OUTCOMES = ("ok", "refused", "noise", "traceback", "crash", "hang", "memory")
MEMORY, PROCESSOR_SECONDS, SECONDS = 4 << 30, 10, 120
EXTRA = 2 << 30  # of address space, which the imports take before an input is read

FED = "--mean 127.5 --scale 0.0078125 --size 16"
PEOPLE = {"Ann": "jpg", "Bob": "png", "Cleo": "bmp", "Dan": "webp"}
TARGETS = "onnx tflite-fp32 tflite-w8a8 coreml-fp32 coreml-w8 ort executorch".split()
QUICK = "--threads 1 --set minimum_runs=5 --set minimum_seconds=0 --set rounds=1 --set warm_up_seconds=0 --set arm64=[]"
VECTOR = "--vector 1,2,3,4,5,6,7,8"


@dataclass(frozen=True)
class Kind:
    """A kind of file: one in order, the parts of it that are damaged and how, and commands that read it."""

    seeds: tuple[str, ...]  # files or folders
    parts: Mapping[str, change.Change]  # glob within a folder; "" for a file -> how it is damaged
    commands: tuple[str, ...]  # {x}: the damaged file; {o}: a folder to write to; others: seeds


RUNS_IT = (
    f"diagnose {{x}} {FED} --golden golden-0 {VECTOR}",
    "handoff {x} --out {o}",
    f"benchmark {{x}} {FED} --pairs pairs.txt --images faces {QUICK} --out {{o}}",
    "trace net.onnx {x} --faces faces",
)
FACES = (
    f"export net.onnx {FED} --faces {{x}} --target onnx --out {{o}}",
    f"benchmark net.onnx {FED} --pairs {{x}} {QUICK} --out {{o}}",
)
CHECKPOINT = (
    "export {x} --faces nowhere --out {o}",
    f"benchmark {{x}} --pairs pairs.txt --images crops {QUICK} --out {{o}}",
)
PAIRS = (f"benchmark net.onnx {FED} --pairs {{x}} --images faces {QUICK} --out {{o}}",)
JSONS = ("measurements.json", "exported.json", "manifest.json", "pruned.json", "similarities.json", "sensitivity.json")

KINDS: dict[str, Kind] = {
    "onnx": Kind(
        ("net.onnx",),
        {"": change.protobuf},
        (
            f"export {{x}} {FED} --faces faces --target onnx --target tflite-fp32 --out {{o}}",
            *RUNS_IT,
            "align faces --detector {x} --out {o}",
        ),
    ),
    "tflite": Kind(("net.tflite", "net.w8a8.tflite"), {"": change.words}, RUNS_IT),
    "mlpackage": Kind(
        ("net.mlpackage", "net.w8.mlpackage"),
        {"Manifest.json": change.json_text, "**/*.mlmodel": change.protobuf, "**/*.bin": change.words},
        RUNS_IT,
    ),
    "ort": Kind(("net.ort",), {"": change.words}, RUNS_IT),
    "pte": Kind(("net.pte",), {"": change.words}, RUNS_IT),
    "checkpoint": Kind(
        ("checkpoint",), {"embedder.json": change.json_text, "weights.safetensors": change.safetensors}, CHECKPOINT
    ),
    "pth": Kind(
        ("net.pth", "old.pth"),
        {"": change.zipped},
        (f"export net.py:net {FED} --weights {{x}} --faces faces --target onnx --out {{o}}",),
    ),
    "image": Kind(
        ("faces",),
        dict.fromkeys(("*/*.jpg", "*/*.png", "*/*.bmp", "*/*.webp"), change.any_bytes),
        FACES,
    ),
    "pairs": Kind(("pairs.txt", "pairs.csv"), {"": change.lines}, PAIRS),
    "bin": Kind(
        ("pairs.bin",), {"": change.any_bytes}, (f"benchmark net.onnx {FED} --pairs {{x}} {QUICK} --out {{o}}",)
    ),
    "tar": Kind(("faces.tar",), {"": change.tar}, FACES),
    "recipe": Kind(("recipe.toml", "recipe.yaml"), {"": lambda random, content: recipe(random, content)}, ("run {x}",)),
    "run folder": Kind(
        ("run",),
        {**dict.fromkeys(JSONS, change.json_text), "recipe.toml": lambda random, content: recipe(random, content)},
        ("report {x} --out {o}", "compare run {x}", "compare {x} run --gate", "handoff {x} --out {o}"),
    ),
    "vector": Kind(
        ("vector.npy", "vector.txt"), {"": change.any_bytes}, ("diagnose net.tflite --golden golden-0 --vector {x}",)
    ),
}


def recipe(random: Random, content: bytes) -> bytes:
    """Changes values of a TOML or YAML text, or its words; what is left in order names a network that is not there."""
    chance = random.random()
    if chance < 0.3:
        return change.lines(random, content)
    toml = b" = " in content
    try:
        values = tomllib.loads(content.decode()) if toml else yaml.safe_load(content)
        for _ in range(random.choice((1, 1, 2, 4))):
            values = change.table(random, values)
        return (tomli_w.dumps(values) if toml else yaml.safe_dump(values)).encode()
    except Exception:  # a value that the format cannot hold
        return change.any_bytes(random, content)


# ---- files in order


NET = """
from torch import nn

def net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.PReLU(8),
        nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU(), nn.Conv2d(8, 16, 1), nn.BatchNorm2d(16), nn.PReLU(16),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 8),
    )
"""
RECIPE = """
embedder = "net.py:net"
train = "faces"
pairs = "pairs.txt"
images = "faces"
compare = ["onnx"]
sensitivity = true
[contract]
height = 16
width = 16
mean = [127.5, 127.5, 127.5]
scale = [0.0078125, 0.0078125, 0.0078125]
[prune]
remove = 0.2
steps = 1
epochs = 0.0
images = 4
round_to = 2
least_width = 2
[export]
targets = ["onnx", "tflite-fp32"]
allow_drift = true
[benchmark]
threads = [1]
minimum_runs = 5
minimum_seconds = 0.0
rounds = 1
warm_up_seconds = 0.0
arm64 = []
"""


def make_seeds(folder: Path, targets: Sequence[str] = TARGETS, run: bool = True) -> None:
    """Writes files in order into `folder`, by pocketface itself, torch and Pillow: of every kind, or of some.

    Args:
        folder: Is made, and is the current one from then on.
        targets: Of `pocketface export`.
        run: Whether a run folder is made too, which takes longest.
    """
    import torch
    from PIL import Image

    from pocketface.models.checkpoint import save_checkpoint
    from pocketface.models.zoo import create

    folder.mkdir(parents=True)
    os.chdir(folder)
    Path("net.py").write_text(NET)
    rng = np.random.default_rng(0)
    names, photos = [], []
    for person, suffix in PEOPLE.items():
        Path("faces", person).mkdir(parents=True)
        for shot in (1, 2):
            face = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
            names.append(f"{person}/{person}_000{shot}.{suffix}")
            face.save(f"faces/{names[-1]}")
            Path("crops", person).mkdir(parents=True, exist_ok=True)
            face.resize((112, 112)).save(f"crops/{names[-1]}")
            packed = BytesIO()
            face.save(packed, "JPEG")
            photos.append(packed.getvalue())
    rows = [f"{names[i]},{names[j]},{int(i // 2 == j // 2)}" for i in range(8) for j in range(i)]
    Path("pairs.csv").write_text("left,right,same\n" + "\n".join(rows) + "\n")
    people = list(PEOPLE)
    genuine = [f"{person} 1 2" for person in people]
    impostors = [f"{person} 1 {people[i - 1]} 2" for i, person in enumerate(people)]
    Path("pairs.txt").write_text("\n".join([*genuine, *impostors, ""]).replace(" ", "\t"))
    Path("pairs.bin").write_bytes(pickle.dumps((photos, [i % 2 == 0 for i in range(4)]), protocol=2))
    with tarfile.open("faces.tar", "w") as tar:
        for name in names:
            tar.add(f"faces/{name}")
    torch.manual_seed(0)
    backbone = runpy.run_path("net.py")["net"]()
    torch.save({"state_dict": backbone.state_dict()}, "net.pth")
    torch.save(backbone.state_dict(), "old.pth", _use_new_zipfile_serialization=False)
    save_checkpoint(create("mobilefacenet", width=0.125), Path("checkpoint"))
    Path("recipe.toml").write_text(RECIPE)
    Path("recipe.yaml").write_text(yaml.safe_dump(tomllib.loads(RECIPE)))
    np.save("vector.npy", np.arange(8, dtype=np.float32))
    Path("vector.txt").write_text("[1, 2, 3, 4, 5, 6, 7, 8.5]")
    words = [word for target in targets for word in ("--target", target)]
    made = f"export net.py:net {FED} --weights net.pth --faces faces --allow-drift --name net --out made".split()
    for arguments in ([*made, *words], *([["run", "recipe.toml", "--out", "run"]] if run else [])):
        if (ended := forked(lambda words=arguments: command_line(words), 600, limited=False)).code:
            sys.exit(f"no files in order could be made: {ended.error}")
    for path in Path("made/artifacts").iterdir():
        path.rename(path.name)
    Path("recipe.toml").write_text(RECIPE.replace("net.py:net", "nobody"))  # what is read well ends soon
    Path("recipe.yaml").write_text(yaml.safe_dump(tomllib.loads(Path("recipe.toml").read_text())))


# ---- processes


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it printed."""

    code: int  # negative: a signal
    output: str
    error: str
    seconds: float
    memory: int  # bytes, at most, beyond those of the process that it was forked from
    hung: bool = False


def forked(work: Callable[[], Any], seconds: float, limited: bool = True, environment: Any = None) -> Ended:
    """Does `work` in a fork of this process that may take so many seconds, and is ended with all that it started."""
    started, own = time.monotonic(), memory_bytes("VmRSS") or 0
    with TemporaryFile() as output, TemporaryFile() as error:
        if not (process := os.fork()):
            code = 1
            try:
                os.setsid()
                os.environ.update(environment or {})
                os.dup2(output.fileno(), 1)
                os.dup2(error.fileno(), 2)
                sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
                sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
                if limited:
                    resource.setrlimit(resource.RLIMIT_AS, (MEMORY + EXTRA, MEMORY + EXTRA))
                    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS + 1))
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                code = work()
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code or 0)
        status, hung = 0, False
        while not (ended := os.wait4(process, os.WNOHANG))[0]:
            if time.monotonic() - started > seconds:
                hung = True
                os.killpg(process, signal.SIGKILL)
            time.sleep(0.002)
        status = ended[1]
        with suppress(ProcessLookupError):  # what it left behind
            os.killpg(process, signal.SIGKILL)
        texts = []
        for stream in (output, error):
            stream.seek(0)
            texts.append(stream.read(1 << 20).decode("utf-8", "backslashreplace"))
        code = os.waitstatus_to_exitcode(status)
        memory = max(0, 1024 * ended[2].ru_maxrss - own)
        return Ended(code, *texts, time.monotonic() - started, memory, hung or code == -signal.SIGXCPU)


def command_line(arguments: Sequence[str]) -> int:
    """Calls what the command `pocketface` calls."""
    from pocketface.__main__ import main

    sys.argv = ["pocketface", *arguments]
    main()
    return 0


def run_forked(
    command: Sequence[str | Path], environment: Any = None, timeout: float | None = None, merged: bool = False
) -> subprocess.CompletedProcess[str]:
    """Does what `children.run_child` does, for `python -P -m pocketface.MODULE ...` in a fork, without its imports."""
    if list(command[:3]) != [sys.executable, "-P", "-m"]:
        return run_child(command, environment, timeout, merged)

    def work() -> int:
        sys.argv = [str(command[3]), *map(str, command[4:])]
        runpy.run_module(str(command[3]), run_name="__main__")
        return 0

    ended = forked(work, timeout or SECONDS, False, environment)
    if ended.hung and timeout is not None:  # else a limit of the campaign's own ended it
        raise subprocess.TimeoutExpired(command, ended.seconds)
    return subprocess.CompletedProcess(list(command), ended.code, ended.output, ended.error)


def outcome_of(ended: Ended) -> str:
    """Names how a command ended."""
    said = ended.output + ended.error
    if ended.hung:
        return "ok" if BEGUN in ended.output and not ended.error else "hang"
    if re.search("^MemoryError", ended.error, re.MULTILINE) or ("bad_alloc" in said and ended.code < 0):
        return "memory"
    if ended.code < 0:
        return "crash"
    if "Traceback (most recent call last)" in said:
        return "traceback"
    if any(not (letter.isprintable() or letter == "\n") for letter in said):
        return "noise"
    if ended.code == 0 and not ended.error:
        return "ok"
    one = ended.error.startswith("pocketface: ") and ended.error.count("\n") == 1
    return "refused" if ended.code == 2 and one else "ok" if ended.code in (0, 1) and not ended.error else "noise"


# ---- the campaign


def damage(kind: Kind, random: Random, seeds: Path, to: Path) -> Path:
    """Copies one of the kind's files or folders to `to` with one part damaged; gives its path there."""
    seed = seeds / random.choice([name for name in kind.seeds if (seeds / name).exists()])
    path = to / (seed.name if random.random() < 0.95 else f"a\x1b[2J\nb{seed.suffix}")
    if seed.is_file():
        path.write_bytes(kind.parts[""](random, seed.read_bytes()))
        return path
    shutil.copytree(seed, path)
    found = [(file, how) for pattern, how in kind.parts.items() for file in sorted(path.glob(pattern))]
    file, how = random.choice(found)
    file.write_bytes(how(random, file.read_bytes()))
    return path


def attempt(name: str, number: int, seed: int, seeds: Path, work: Path) -> tuple[str, list[str], Ended]:
    """Tries input `number` of a kind; gives the outcome, the command and how it ended."""
    random = Random(f"{seed} {name} {number}")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    kind = KINDS[name]
    damaged = damage(kind, random, seeds, work)
    words = random.choice(kind.commands).split()
    arguments = [word.replace("{x}", str(damaged)).replace("{o}", str(work / "out")) for word in words]
    os.chdir(seeds)
    ended = forked(lambda: command_line(arguments), SECONDS)
    return outcome_of(ended), arguments, ended


def fork_children(change: Callable[[Any], None]) -> None:
    """Calls `change` with each module of pocketface that starts children by `run_child`."""
    for name, module in list(sys.modules.items()):
        if name.startswith("pocketface.") and getattr(module, "run_child", None) is run_child:
            change(module)


def import_all() -> None:
    """Imports what the commands import, so that forks need not."""
    names = "cv2 jinja2 onnx onnxruntime onnxsim pandas rich.table scipy.stats tomli_w torch yaml PIL.Image"
    for name in (*names.split(), "ai_edge_litert.interpreter", "ai_edge_quantizer", "executorch.runtime"):
        with suppress(ImportError):
            import_module(name)
    from pocketface.export.coreml.package import import_coremltools

    import_coremltools()
    root = Path(import_module("pocketface").__file__ or "").parent
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[0] not in ("tests", "evidence", "examples", "docs", "build"):
            with suppress(ImportError):  # an extra that is not installed
                import_module(".".join(("pocketface", *parts)).removesuffix(".__init__"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"))
    options = parser.parse_args()
    out, here = options.out.absolute(), Path.cwd()
    import_all()
    fork_children(lambda module: setattr(module, "run_child", run_forked))
    if not (out / "seeds").is_dir():
        make_seeds(out / "unfinished")
        os.chdir(here)
        (out / "unfinished").rename(out / "seeds")
    record = out / "tried.jsonl"
    tried = [json.loads(line) for line in record.read_text().splitlines()] if record.is_file() else []
    done = {(name, number) for name, number, *_ in tried}
    each = -(-options.inputs // len(options.kinds))
    for number in range(each):
        for name in options.kinds:
            if (name, number) in done:
                continue
            outcome, arguments, ended = attempt(name, number, options.seed, out / "seeds", out / "work")
            tried.append([name, number, outcome, round(ended.seconds, 1)])
            with record.open("a") as lines:
                lines.write(json.dumps(tried[-1]) + "\n")
            if outcome not in ("ok", "refused"):
                kept = out / outcome / f"{name}-{number}"
                shutil.rmtree(kept, ignore_errors=True)
                shutil.copytree(out / "work", kept)
                (kept / "said.txt").write_text(f"{arguments}\n{ended.code}\n{ended.output}\n{ended.error}")
                last = (ended.error.strip().splitlines() or [f"exit {ended.code}"])[-1]
                print(f"{outcome}: {name} {number}: {arguments[0]}: {last[:200]!r}", flush=True)
        if number % 20 == 0 or number == each - 1:
            print(number, dict(Counter(outcome for _, _, outcome, _ in tried)), flush=True)
            os.chdir(here)
            write_rows(rows_of(tried, options.seed), HERE / "fuzz.jsonl")


def rows_of(tried: Sequence[tuple[str, int, str, float]], seed: int) -> list[Measurement]:
    """Gives a row for each kind of file and outcome."""
    rows = []
    counts = Counter((name, outcome) for name, _, outcome, _ in tried)
    for name in dict.fromkeys(name for name, *_ in tried):
        seconds = [each for kind, _, _, each in tried if kind == name]
        for outcome in OUTCOMES:
            conditions = {"outcome": outcome, "seed": seed, "slowest_seconds": max(seconds)}
            rows.append(
                Measurement(
                    *("pocketface", name, name, "", "", device_name()),
                    *("fuzzed_inputs", counts[name, outcome], "1"),
                    n=len(seconds),
                    conditions=conditions,
                )
            )
    return rows


if __name__ == "__main__":
    main()

"""Same input, same bytes: whichever process makes a file, and in whatever order Python walks its sets."""

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pocketface.export.targets import TARGETS

CHILD = """
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pocketface.export.exporter import export
from pocketface.export.recipe import ExportRecipe
from pocketface.faces.contract import InputContract
from pocketface.models.embedder import Embedder

torch.manual_seed(0)
torch.set_num_threads(1)
backbone = nn.Sequential(
    nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.PReLU(8), nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.PReLU(8),
    nn.Conv2d(8, 16, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
)
embedder = Embedder("net", backbone.eval(), InputContract(16, 16), "none.py:net", licence="MIT")
faces = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)
for result in export(embedder, faces, ExportRecipe(targets=tuple(sys.argv[2:]), parity_faces=4), Path(sys.argv[1])):
    print(result.target, result.reason or "made", sep="\\t")
"""


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], list[dict[str, str]]]:
    """What two processes that hash differently made: the outcome of each target, and the hash of each file."""
    targets = [name for name in TARGETS if name != "executorch" or importlib.util.find_spec("executorch")]
    told, hashes = [], []
    for seed in ("1", "4242"):
        folder = tmp_path_factory.mktemp(f"made{seed}")
        environment = os.environ | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        run = subprocess.run(
            [sys.executable, "-c", CHILD, str(folder), *targets],
            capture_output=True, text=True, env=environment, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        told.append(dict(line.split("\t") for line in run.stdout.splitlines() if "\t" in line))
        hashes.append(
            {
                path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(folder.rglob("*"))
                if path.is_file() and path.name != "exported.json"  # which holds the seconds it took
            }
        )
    assert told[0] == told[1]
    return told[0], hashes


def test_every_target_is_made(twice: tuple[dict[str, str], list[dict[str, str]]]) -> None:
    told, _ = twice
    assert {target: outcome for target, outcome in told.items() if outcome != "made"} == {}


def test_two_processes_make_the_same_bytes(twice: tuple[dict[str, str], list[dict[str, str]]]) -> None:
    _, (first, second) = twice
    assert list(first) == list(second)
    assert [name for name in first if first[name] != second[name]] == []


def test_the_same_weights_are_in_the_packages(twice: tuple[dict[str, str], list[dict[str, str]]]) -> None:
    _, (first, _) = twice
    assert sum(Path(name).name == "weight.bin" for name in first) >= 3

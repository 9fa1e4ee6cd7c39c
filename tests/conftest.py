"""What several tests need."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # of the commands that tests start; before torch reads it here

import torch

torch.set_num_threads(1)  # small nets gain nothing from more, and lose much beside other processes


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real faces and trained weights, which are not redistributable: absent on most machines."""
    here = Path(os.environ.get("POCKETFACE_SHARED", Path(__file__).parents[2] / "shared"))
    if not (here / "faces" / "lfw112" / "pairs.txt").is_file():
        pytest.skip("no folder with real faces and weights; set POCKETFACE_SHARED to one")
    return here

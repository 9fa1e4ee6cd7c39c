"""Two processes learn what one learns with twice the batch."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# Every process runs this: the same faces, a fresh teacher and a fresh student with batch norms.
SCRIPT = """
import json, sys
import numpy as np, torch
from torch import nn
from accelerate import Accelerator
from pocketface.faces.contract import InputContract
from pocketface.faces.folders import LabelledFaces
from pocketface.models.embedder import Embedder
from pocketface.prune.recipe import TrainingRecipe
from pocketface.prune.training.trainer import recover

def embedder(seed):
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, 8, 4, 4, bias=False), nn.BatchNorm2d(8), nn.PReLU(8), nn.Conv2d(8, 4, 4), nn.Flatten()
    return Embedder("tiny", nn.Sequential(*layers).eval(), InputContract(16, 16), architecture="tests:tiny")

torch.set_num_threads(1)
faces = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3)).astype(np.uint8)
labelled = LabelledFaces(faces, np.arange(64) % 8, tuple("abcdefgh"), "of the test")
batch, accumulate = int(sys.argv[1]), int(sys.argv[4])
recipe = TrainingRecipe(batch_size=batch, accumulate=accumulate, epochs=5, variants=2, signal=sys.argv[3])
teacher = embedder(0) if sys.argv[3] == "distillation" else None
student = recover(embedder(1), labelled, recipe, teacher, progress=lambda line: None)
Accelerator().wait_for_everyone()
if Accelerator().is_main_process:
    weights = {name: tensor.tolist() for name, tensor in student.backbone.state_dict().items()}
    note = student.ancestry[-1]["phases"][0]
    json.dump({"processes": Accelerator().num_processes, "note": note, "weights": weights}, open(sys.argv[2], "w"))
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def learnt(tmp_path: Path, processes: int, batch: int, signal: str = "distillation", accumulate: int = 1):
    script, result = tmp_path / "learn.py", tmp_path / f"{processes}-{batch}-{accumulate}.json"
    script.write_text(SCRIPT)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", str(processes)]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch += [str(script), str(batch), str(result), signal, str(accumulate)]
    port, running = str(free_port()), []
    for rank in range(processes):  # without MPI each rank has a launcher of its own, and its place in the environment
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)} if processes > 1 else {}
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        launch_here = [*launch[:3], "--main_process_port", port, *launch[3:]]
        running.append(subprocess.Popen(launch_here, env={**os.environ, **where, **place}, stderr=subprocess.PIPE))
    for process in running:
        complaint = process.communicate(timeout=300)[1]
        assert process.returncode == 0, complaint.decode()[-2000:]
    return json.loads(result.read_text())


@pytest.mark.parametrize("signal", ["distillation", "arcface"])
def test_two_processes_learn_what_one_learns_with_twice_the_batch(tmp_path, signal):
    one, two = learnt(tmp_path, 1, 16, signal), learnt(tmp_path, 2, 8, signal)
    assert (one["processes"], two["processes"]) == (1, 2)
    assert one["note"]["batches"] == two["note"]["batches"] == 20  # 5 epochs of 64 faces, 16 at a time
    assert two["note"]["loss_first"] == pytest.approx(one["note"]["loss_first"], rel=1e-5)
    assert two["note"]["loss_last"] == pytest.approx(one["note"]["loss_last"], rel=1e-3)
    for name, weight in one["weights"].items():
        np.testing.assert_allclose(two["weights"][name], weight, rtol=1e-2, atol=1e-3)


def test_gradients_can_be_accumulated(tmp_path):
    # Batch norms see half a batch each time, so the curves are alike, not the same.
    whole, halves = learnt(tmp_path, 1, 16), learnt(tmp_path, 1, 8, accumulate=2)
    assert halves["note"]["batches"] == whole["note"]["batches"] == 20
    assert halves["note"]["loss_last"] == pytest.approx(whole["note"]["loss_last"], rel=0.2)

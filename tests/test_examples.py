"""The examples are recipes that can be read, and a script that runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from pocketface.__main__ import app
from pocketface.run_recipe import read_recipe

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_recipe_can_be_read(path: Path) -> None:
    assert read_recipe(path).prune is not None


def test_the_workflow_of_the_gate_gives_commands_that_there_are() -> None:
    steps = yaml.safe_load((EXAMPLES / "gate.yml").read_text(encoding="utf-8"))["jobs"]["measure"]["steps"]
    commands = [step["run"].split() for step in steps if step.get("run", "").startswith("pocketface ")]
    assert [command[1] for command in commands] == ["run", "compare"]
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for _, name, *arguments in commands:
        known[name].make_context(name, arguments)  # raises where an option is unknown


def test_python_api_prunes_exports_and_measures(tmp_path: Path) -> None:
    command = [sys.executable, EXAMPLES / "python_api.py", "--out", "out", "--epochs", "0", "--people", "10"]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out" / "measurements.json").read_text(encoding="utf-8"))
    accuracies = {row["artifact"].rpartition("-pruned-")[2] for row in rows if row["metric"] == "verification_accuracy"}
    assert {name.partition("M.")[2] for name in accuracies} == {"onnx", "tflite", "w8a8.tflite"}
    assert "verification_accuracy" in done.stdout

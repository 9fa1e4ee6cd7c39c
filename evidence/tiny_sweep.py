"""The tiny sweep of the scripts beside this one: its inputs, and what its cells must hold however they were made."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from kills import timeless, write_inputs

SWEEP = """
[sweep]
criterion = ["l1"]
remove = [0.15, 0.3]
"""
NOT_COMPARED = ("cell.json", "latency.json", "exported.json")  # when, how long and where


def write_sweep(folder: Path) -> Path:
    """Writes the faces, pairs and network of kills.py, and a recipe of two sizes; gives the recipe."""
    recipe = write_inputs(folder)
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("remove = 0.2\n", "") + SWEEP, encoding="utf-8")
    return recipe


def nowhere(value: Any) -> Any:
    """Gives rows without the machine that measured them."""
    return [{**row, "device": ""} for row in value] if isinstance(value, list) else value


def made(store: Path) -> dict[str, str]:
    """Gives the hash of every file of every finished cell, times and machines left out, and latencies altogether."""
    found = {}
    for record in store.glob("*/cell.json"):
        if record.parent.name.startswith("timing-"):
            continue
        for name in json.loads(record.read_text(encoding="utf-8"))["files"]:
            path = record.parent / name
            data = path.read_bytes()
            if path.suffix == ".json":
                data = json.dumps(nowhere(timeless(json.loads(data))), sort_keys=True).encode()
            if path.name not in NOT_COMPARED:
                found[f"{record.parent.name}/{name}"] = hashlib.sha256(data).hexdigest()
    return found


def differing(store: Path, calm: dict[str, str]) -> list[str]:
    """Names what is not as in a calm sweep: missing, additional or other files."""
    found = made(store)
    return sorted(name for name in {*found, *calm} if found.get(name) != calm.get(name))


def makers(store: Path) -> dict[str, int]:
    """Gives how many cells each machine made."""
    names = [json.loads(path.read_text(encoding="utf-8"))["machine"] for path in store.glob("*/cell.json")]
    return {name: names.count(name) for name in sorted(set(names))}

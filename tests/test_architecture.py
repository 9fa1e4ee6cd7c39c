"""The rooms know each other as docs/architecture.md draws it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ABOVE = {"__init__", "__main__", "chain", "command_line", "inputs", "run_recipe"}  # modules of the root that know rooms
GROUND = {path.stem for path in ROOT.glob("*.py")} - ABOVE
KNOWS = {
    "faces": set[str](),
    "models": {"faces"},
    "prune": {"models", "faces"},
    "export": {"models", "faces"},
    "benchmark": {"export", "models", "faces"},
}


def imported(path: Path) -> Iterator[str]:
    """Yields the top name below pocketface of each import, also inside functions."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((*base, *name.split("."))[0] for name in names)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not any(name.partition(".")[0] == "pocketface" for name in modules), f"{path}: import relatively"


@pytest.mark.parametrize("room", KNOWS)
def test_a_room_knows_only_rooms_below(room: str) -> None:
    known = {room} | KNOWS[room] | GROUND
    for path in (ROOT / room).rglob("*.py"):
        assert set(imported(path)) <= known, path


def test_the_ground_knows_nobody() -> None:
    for name in GROUND:
        assert set(imported(ROOT / f"{name}.py")) <= GROUND, name

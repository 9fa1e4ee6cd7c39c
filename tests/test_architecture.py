"""Who knows whom: read from the imports of every module, those inside functions and for type checkers too."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OUTSIDE = ("tests", "evidence", "examples", "docs", "build", "dist", "runs")

GROUND = ("files", "lazy", "spelling")
KNOWS = {
    **{name: () for name in GROUND},
    "faces": GROUND,
    "models": (*GROUND, "faces"),
    "prune": (*GROUND, "faces", "models"),
    "export": (*GROUND, "faces", "models"),
    "benchmark": (*GROUND, "faces", "models", "export"),
}
"""Each room, and all that it may know; what is not listed stands above the stages."""


def modules() -> dict[str, Path]:
    """Gives every module of the package by its name below `pocketface`; the package itself is ""."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0] not in OUTSIDE and not parts[0].startswith("."):
            found[".".join(parts).removesuffix("__init__").rstrip(".")] = path
    return found


MODULES = modules()


def imports(name: str) -> set[str]:
    """Gives the modules of the package that a module imports, anywhere in it."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [part for part in package if part][: len(package) - node.level + 1]
            target = ".".join([*base, *(node.module.split(".") if node.module else [])])
            for alias in node.names:
                inner = f"{target}.{alias.name}".lstrip(".")
                found.add(inner if inner in MODULES else target)
    return found - {name}


GRAPH = {name: imports(name) for name in MODULES}


def room(name: str) -> str:
    return name.split(".")[0]


@pytest.mark.parametrize("name", KNOWS)
def test_a_room_knows_only_those_below_it(name: str) -> None:
    strangers = {
        f"{module} imports {other}"
        for module, others in GRAPH.items()
        if room(module) == name
        for other in others
        if room(other) not in (name, *KNOWS[name])
    }
    assert strangers == set()


def test_the_rooms_are_those_of_the_repository() -> None:
    stages = {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()} - set(OUTSIDE)
    assert stages == {"models", "faces", "prune", "export", "benchmark"}


def test_every_import_names_a_module_that_is_there() -> None:
    assert {other for others in GRAPH.values() for other in others if other not in MODULES} == set()

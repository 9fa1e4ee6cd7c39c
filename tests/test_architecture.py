"""Who knows whom: read from the imports of every module, those inside functions and for type checkers too."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OUTSIDE = ("tests", "evidence", "examples", "docs", "build", "dist", "runs")

GROUND = ("bounds", "children", "files", "freed_memory", "lazy", "spelling", "steps")
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


# ---- inside a room: floors, so that nothing runs up

UPWARD = {
    # the recipe lists the cores that can be asked for, and what qemu is told of each lies with the emulator
    ("benchmark.recipe", "benchmark.arm64.cores"),
}
"""The imports that run up, each with its reason."""

ROOMS = {".".join(path.parent.relative_to(ROOT).parts) for path in MODULES.values() if path.name == "__init__.py"}


def inner_room(name: str) -> str:
    """Gives the room within a stage that a module lies in; a module that lies in the stage itself stands for itself."""
    package = name if name in ROOMS else name.rpartition(".")[0]
    return package if "." in package else name


def round_trips(arrows: dict[str, set[str]]) -> set[str]:
    """Gives the nodes that lead back to themselves: those left when all that lead nowhere have been taken away."""
    left = {name: {other for other in others if other != name} for name, others in arrows.items()}
    while ends := {name for name, others in left.items() if not others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in ends}
    while starts := left.keys() - {other for others in left.values() for other in others}:
        left = {name: others for name, others in left.items() if name not in starts}
    return set(left)


def test_round_trips_are_found() -> None:
    assert round_trips({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == {"b", "c"}
    assert round_trips({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == set()


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert round_trips(GRAPH) == set()


def test_rooms_within_a_stage_stand_on_floors() -> None:
    arrows: dict[str, set[str]] = {}
    for name, others in GRAPH.items():
        known = {inner_room(other) for other in others if (name, other) not in UPWARD}
        arrows.setdefault(inner_room(name), set()).update(known)
    assert round_trips(arrows) == set()


def test_each_exception_is_still_needed() -> None:
    assert {(name, other) for name, other in UPWARD if other not in GRAPH[name]} == set()


# ---- sizes and names

SAME_NAME = {
    "recipe": "each stage has one, and a stage's recipe lies in its recipe.py",
    "main": "what a program calls first",
    "open_embedder": "the front door's also opens ONNX files, all else it leaves to that of models",
}
"""What two modules, classes or functions may both be called."""


def test_no_module_is_longer_than_350_lines_but_the_command_line() -> None:
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    most = {"__main__": 400, "command_line": 400}
    assert {name: count for name, count in lengths.items() if count > most.get(name, 350)} == {}


def test_a_name_stands_for_one_thing() -> None:
    modules: dict[str, list[str]] = {}
    defined: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        if path.name != "__init__.py":
            modules.setdefault(module.rpartition(".")[2], []).append(module)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and module != "__main__":  # its commands: the stages'
                defined.setdefault(node.name, []).append(module)
    twice = {
        name: places
        for names in (modules, defined)
        for name, places in names.items()
        if len(places) > 1 and not name.startswith("_") and name not in SAME_NAME
    }
    assert twice == {}

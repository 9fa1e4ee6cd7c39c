"""Fills the table of floors in docs/architecture.md from the imports of the package.

python docs/generate_floors.py

A module stands one floor above the highest module of its own room that it imports; a test checks that the page is up to
date.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = Path(__file__).with_name("architecture.md")
ROOMS = ("faces", "models", "prune", "export", "benchmark")
TABLE = re.compile(r"(<!-- floors -->\n).*?(<!-- end -->)", re.DOTALL)


def packages() -> Iterator[Path]:
    """Yields the folders of modules, rooms before the rooms inside them."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("__init__.py")):
            yield path.parent


def imported(module: Path) -> set[str]:
    """Gives the modules of its own folder that a module imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            names |= {node.module.partition(".")[0]} if node.module else {alias.name for alias in node.names}
    return {name for name in names if (module.parent / f"{name}.py").is_file()} - {module.stem}


def floors(folder: Path) -> list[list[str]]:
    """Gives the modules of each floor, the ground first; modules that import each other share one."""
    left = {path.stem: imported(path) for path in folder.glob("*.py") if path.stem != "__init__"}
    built: list[list[str]] = []
    while left:
        free = sorted(name for name, needs in left.items() if not needs & set(left)) or sorted(left)
        built.append(free)
        left = {name: needs for name, needs in left.items() if name not in free}
    return built


def filled(page: str) -> str:
    """Gives the page with the table anew."""
    lines = ["| room | floors, the ground first |", "| --- | --- |"]
    for folder in packages():
        if storeys := floors(folder):
            cells = " ▸ ".join(", ".join(names) for names in storeys)
            lines.append(f"| `{folder.relative_to(ROOT).as_posix()}/` | {cells} |")
    table = "".join(f"{line}\n" for line in lines)
    return TABLE.sub(lambda match: match[1] + table + match[2], page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

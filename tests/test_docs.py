"""What docstrings, README.md and docs/ say is true: examples run, commands exist, tables are those of the rows."""

import doctest
import importlib
import importlib.util
import os
import pkgutil
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

import pocketface
from pocketface.__main__ import app
from pocketface.run_recipe import RunRecipe

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(pocketface.__path__, "pocketface.")
    if module.name.split(".")[1] not in ("tests", "evidence", "examples", "docs", "__main__")
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"^    (.*pocketface .*)$", re.MULTILINE)
INLINE = re.compile(r"`(pocketface [^`]+)`")
REMOVED = ("evidence/prune_findings.html", "evidence/statistics.py")  # of which CHANGELOG.md tells
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def blocks(page: Path, language: str) -> list[str]:
    return [code for kind, code in FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    """All blocks in order, in a process of their own; a block that begins with a file's name is that file."""
    code = []
    for block in blocks(page, "python"):
        if named := re.match(r"# (\w+\.py)\n", block):
            (tmp_path / named[1]).write_text(block, encoding="utf-8")
        else:
            code.append(block)
    (tmp_path / "page.py").write_text("\n".join(code), encoding="utf-8")
    places = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    done = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")], ids=name_of)
def test_toml_of_a_page_is_a_recipe(page: Path) -> None:
    for code in blocks(page, "toml"):
        RunRecipe.model_validate(tomllib.loads(code))


def commands() -> dict[str, Any]:
    return typer.main.get_command(app).commands  # type: ignore[attr-defined]


def command_lines(page: Path) -> list[str]:
    lines = INDENTED.findall(re.sub(r" \\\n +", " ", page.read_text(encoding="utf-8")))  # continued lines are one
    parts = (part.partition("#")[0].strip() for line in lines for part in line.split("&&"))
    return [part for part in parts if part.startswith("pocketface ")]


@pytest.mark.parametrize("page", [page for page in PAGES if command_lines(page)], ids=name_of)
def test_commands_of_a_page_can_be_given(page: Path) -> None:
    for line in command_lines(page):
        name, *arguments = shlex.split(line)[1:]
        if name != "COMMAND":
            commands()[name].make_context(name, arguments)  # a usage error is raised


@pytest.mark.parametrize("page", [page for page in PAGES if INLINE.search(page.read_text("utf-8"))], ids=name_of)
def test_commands_and_options_that_a_page_names_are_there(page: Path) -> None:
    known_commands = commands()
    for line in INLINE.findall(page.read_text(encoding="utf-8")):
        name, *rest = line.split()[1:]
        if name.isupper() or name.startswith("-"):
            continue
        known = {option for parameter in known_commands[name].params for option in parameter.opts} | {"--help"}
        named = {word.strip("[]") for word in rest if word.strip("[").startswith("--")}
        assert named <= known, f"`{line}` has options that the command does not have"


def test_every_command_has_a_line() -> None:
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    for name in commands():
        assert f"| `pocketface {name}" in text, name


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if not link.startswith("http"):
            place, _, anchor = link.partition("#")
            target = (page.parent / place).resolve() if place else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=name_of)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8")).partition("\n## 0.1.0")[0]
    for name in re.findall(r"`((?:faces|models|prune|export|benchmark|tests|evidence|docs)/[\w/]*\w+\.\w+)", text):
        assert (ROOT / name).is_file() or name in REMOVED, name


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_tables_of_results_are_those_of_the_rows() -> None:
    results = script("generate_results")
    for page in results.PAGES:
        text = page.read_text(encoding="utf-8")
        assert results.filled(text) == text, "run python docs/generate_results.py"
    assert all(f"<!-- table: {name} -->" in "".join(map(Path.read_text, results.PAGES)) for name in results.TABLES)


def test_every_field_of_every_recipe_is_described() -> None:
    recipes = script("generate_recipes")
    assert recipes.PAGE.read_text(encoding="utf-8") == recipes.page(), "run python docs/generate_recipes.py"
    assert "|  |" not in recipes.page(), "a field has neither a description nor a comment behind it"


def test_floors_are_those_of_the_imports() -> None:
    floors = script("generate_floors")
    text = floors.PAGE.read_text(encoding="utf-8")
    assert floors.filled(text) == text, "run python docs/generate_floors.py"


def test_readme_is_short_and_has_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    setup = "python3 -m venv .venv && . .venv/bin/activate && pip install -e"
    assert len(text.splitlines()) <= 130
    assert f"{setup} . && pocketface run\n" in text
    assert f'{setup} ".[test]" && python -m pytest -n auto\n' in text

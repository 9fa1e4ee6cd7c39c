"""The names that users write: which there are, what they say of themselves, and that they cost nothing until used."""

import ast
import importlib
import importlib.metadata
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NAMES = {
    "pocketface": """ARCFACE Artifact BenchmarkRecipe Embedder ExportRecipe IMAGENET InputContract Measurement
        PruneRecipe RunRecipe TrainingRecipe __version__ default_recipe open_embedder probe read_faces read_pairs
        read_recipe run sweep to_frame""",
    "pocketface.models": "Embedder Embeddings ZOO create load_checkpoint open_embedder save_checkpoint unit",
    "pocketface.faces": """ARCFACE Faces IMAGENET InputContract LabelledFaces Pairs TEMPLATES align_folder read_faces
        read_pairs synthetic_faces synthetic_pairs""",
    "pocketface.prune": """PruneRecipe Sensitivity TrainingRecipe prune read_sensitivity recover sensitivity
        write_sensitivity""",
    "pocketface.export": """Artifact Card ConversionError ExportRecipe Exported ForeignOnnx Session export
        open_session read_artifact unit_embeddings""",
    "pocketface.benchmark": """BenchmarkRecipe Measurement Subject benchmark benchmark_files read_measurements to_frame
        write_measurements""",
}
FUNCTIONS = {
    value: f"{module}.{name}"
    for module in reversed(NAMES)
    for name in importlib.import_module(module).__all__
    if inspect.isfunction(value := getattr(importlib.import_module(module), name))
}


@pytest.mark.parametrize("module", NAMES)
def test_public_names_are_there(module: str) -> None:
    package = importlib.import_module(module)
    assert sorted(package.__all__) == NAMES[module].split()
    assert set(package.__all__) <= {*dir(package), "__version__"}
    for name in package.__all__:
        assert getattr(package, name) is not None


@pytest.mark.parametrize("module", NAMES)
def test_type_checkers_see_the_same_names(module: str) -> None:
    path = importlib.import_module(module).__file__
    assert path is not None
    (block,) = [node for node in ast.parse(Path(path).read_text()).body if isinstance(node, ast.If)]
    seen = {
        alias.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    package = importlib.import_module(module)
    given = {name: home.lstrip(".") for home, names in package._MODULES.items() for name in names}
    assert seen == given


@pytest.mark.parametrize("function", FUNCTIONS, ids=FUNCTIONS.values())
def test_every_public_function_says_what_it_takes_gives_and_raises(function: Callable[..., Any]) -> None:
    text = inspect.getdoc(function) or ""
    signature = inspect.signature(function)
    assert not signature.parameters or "\nArgs:\n" in text
    for name in signature.parameters:
        assert f"\n    {name}: " in text, name
    assert signature.return_annotation in (None, "None") or "\nReturns:\n" in text
    assert "raise " not in inspect.getsource(function) or "\nRaises:\n" in text


def test_a_function_is_given_though_its_module_was_imported_before() -> None:
    code = (
        "import pocketface.chain, pocketface.prune.pruner, pocketface.export.exporter, pocketface.benchmark.runner\n"
        "from pocketface.prune import prune, recover, sensitivity\n"
        "from pocketface.export import export\n"
        "from pocketface.benchmark import benchmark, to_frame\n"
        "print({type(each).__name__ for each in (prune, recover, sensitivity, export, benchmark, to_frame)})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "{'function'}\n"


def test_importing_pocketface_loads_nothing_heavy() -> None:
    heavy = {"numpy", "torch", "pydantic", "onnx", "yaml", "importlib.metadata"}
    code = (
        "import sys; before = set(sys.modules); import pocketface as pf, pocketface.models, pocketface.faces\n"
        "import pocketface.prune, pocketface.export, pocketface.benchmark; dir(pf), pf.__all__, pf.__doc__\n"
        f"print(sorted({heavy!r} & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_name_that_is_not_there() -> None:
    import pocketface

    with pytest.raises(AttributeError, match="module 'pocketface' has no attribute 'prun'"):
        pocketface.prun  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'quantise'"):
        from pocketface.export import quantise  # noqa: F401


def test_the_version_is_that_of_the_distribution() -> None:
    import pocketface

    assert pocketface.__version__ == importlib.metadata.version("pocketface")

"""Every example in a docstring is true."""

import doctest
import importlib
import pkgutil

import pytest

import pocketface

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(pocketface.__path__, "pocketface.")
    if module.name.split(".")[1] in ("models", "faces", "prune", "export", "benchmark", "chain")
)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0

"""The names that users write."""

import importlib

import pytest

NAMES = {
    "pocketface.models": [
        "Embedder",
        "Embeddings",
        "load_checkpoint",
        "open_embedder",
        "save_checkpoint",
        "unit",
    ],
    "pocketface.faces": ["ARCFACE", "Faces", "IMAGENET", "InputContract", "TEMPLATES"],
    "pocketface.chain": ["RunRecipe", "default_recipe", "read_recipe", "run"],
}


@pytest.mark.parametrize(("module", "names"), NAMES.items())
def test_public_names_are_there(module: str, names: list[str]) -> None:
    assert sorted(importlib.import_module(module).__all__) == names

"""Where weights come from, in sentences: what an embedder's ancestry says, without the machine that it was made on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

LONGEST = 400  # characters of a sentence: the entries of a foreign checkpoint may hold anything


def provenance_sentences(ancestry: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Tells an embedder's `ancestry`, oldest first, one sentence an entry.

    >>> source = {"stage": "source", "architecture": "/home/me/net.py:build", "weights": "w.pth", "sha256": "abcd"}
    >>> provenance_sentences([source])
    ('Weights w.pth (sha256 abcd) of net.py:build.',)
    """
    return tuple(_sentence(entry)[:LONGEST] for entry in ancestry)


def fusion_sentences(ancestry: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Tells of the branches that were fused when the network was opened, or why they were not.

    >>> fusion_sentences([{"stage": "source"}, {"stage": "fuse", "modules": 22, "methods": {"reparameterize": 22}}])
    ('22 modules fused by `reparameterize`.',)
    """
    return provenance_sentences(entry for entry in ancestry if entry.get("stage") == "fuse")


def _sentence(entry: Mapping[str, Any]) -> str:
    stage = str(entry.get("stage", "unknown step"))
    if stage == "source":
        architecture = _name(entry.get("architecture", "an unnamed network"))
        if "weights" in entry:
            difference = entry.get("difference")
            apart = f", read within {difference:.1e} of its embeddings" if isinstance(difference, float) else ""
            return f"Weights {_name(entry['weights'])}{_hash(entry)} of {architecture}{apart}."
        trained = f", trained on faces {entry['faces']}" if "faces" in entry else ""
        return f"Weights of {architecture}{trained}."
    if stage == "fuse":
        return _fusion(entry)
    recipe = entry.get("recipe")
    recipe = recipe if isinstance(recipe, Mapping) else {}
    faces = entry.get("faces")
    on = f" on {faces:,} faces" if isinstance(faces, int) else ""
    inputs = _hash(entry, "weights, faces and recipe: ")
    if stage == "prune":
        before, after = _pair(entry.get("parameters"))
        how = "Trained on without a cut" if recipe.get("control") else f"Pruned by {recipe.get('criterion', 'unknown')}"
        return f"{how} from {before} to {after} parameters{on}{inputs}."
    if stage == "recover":
        teacher = entry.get("teacher")
        by = f" from {teacher.get('name')}{_hash(teacher)}" if isinstance(teacher, Mapping) else ""
        return f"Trained by {recipe.get('signal', 'unknown')}{by}{on}{inputs}."
    if stage == "warm start":
        return f"Started from {_name(entry.get('weights', 'unknown weights'))}{_hash(entry)}."
    return f"{stage.capitalize()}{_hash(entry)}."


def _fusion(entry: Mapping[str, Any]) -> str:
    methods = entry.get("methods")
    by = " and ".join(f"`{name}`" for name in methods) if isinstance(methods, Mapping) else ""
    if reason := entry.get("reason"):
        return f"Branches are not fused{f' by {by}' if by else ''}: {reason}."
    return f"{entry.get('modules')} modules fused by {by}."


def _hash(entry: Mapping[str, Any], of: str = "") -> str:
    digest = entry.get("sha256")
    return f" ({of}sha256 {digest[:12]})" if isinstance(digest, str) else ""


def _name(place: Any) -> str:
    """Gives the last part of a path: the folder may be private."""
    return str(place).replace("\\", "/").rpartition("/")[2]


def _pair(values: Any) -> tuple[str, str]:
    if isinstance(values, list | tuple) and len(values) == 2 and all(isinstance(value, int) for value in values):
        return f"{values[0]:,}", f"{values[1]:,}"
    return "?", "?"

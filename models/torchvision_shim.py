"""Makes torchvision importable beside a CPU-only torch."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import torch

Imported = TypeVar("Imported")


def import_torchvision() -> ModuleType:
    """Imports torchvision, also where its compiled operators do not load.

    Raises:
        ImportError: torchvision is not installed, or does not import for another reason.
    """
    try:
        return beside_torchvision(lambda: importlib.import_module("torchvision"))
    except RuntimeError as error:
        raise ImportError(f"torchvision does not import beside torch {torch.__version__}: {error}") from error


def beside_torchvision(import_it: Callable[[], Imported]) -> Imported:
    """Runs what imports torchvision, itself or by another package, also where its compiled operators do not load.

    The usual wheels are linked against CUDA. Beside a CPU-only torch their `_C.so` does not load, and the import fails
    where torchvision describes operators that were never declared. Declaring their signatures is enough for its models
    and transforms; the compiled code of `torchvision.ops` stays unavailable. A working install is not changed.

    Args:
        import_it: Is run a second time where the first ended so.

    Returns:
        What it gave.

    Raises:
        Exception: What it raised.
    """
    try:
        return import_it()
    except RuntimeError as error:  # "operator torchvision::nms does not exist"
        if "operator torchvision::" not in str(error):
            raise
    _declare_described_operators()
    return import_it()


def _declare_described_operators() -> None:
    # All at once, as an import that fails after the first description cannot be repeated.
    package = importlib.util.find_spec("torchvision")
    assert package is not None and package.origin is not None
    descriptions = Path(package.origin).with_name("_meta_registrations.py").read_text(encoding="utf-8")
    for operator in re.findall(r'register_fake\("torchvision::(\w+)"', descriptions):
        torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

"""Makes torchvision importable beside a CPU-only torch."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import torch

T = TypeVar("T")
_LACKS_OPERATORS = "operator torchvision::"  # "operator torchvision::nms does not exist"


def import_torchvision() -> ModuleType:
    """Imports torchvision, also where its compiled operators do not load.

    The usual wheels are linked against CUDA. Beside a CPU-only torch their `_C.so` does not load, and the import fails
    where torchvision describes operators that were never declared. Declaring their signatures is enough for its models
    and transforms; the compiled code of `torchvision.ops` stays unavailable. A working install is not changed.

    Raises:
        ImportError: torchvision is not installed, or does not import for another reason.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if _LACKS_OPERATORS not in str(error):
            version = torch.__version__
            raise ImportError(f"torchvision does not import beside torch {version}: {error}") from error
    _declare_described_operators()
    return importlib.import_module("torchvision")


def with_torchvision(work: Callable[[], T]) -> T:
    """Does `work`, somebody's code that may import torchvision by itself, as timm does.

    Where that fails as `import_torchvision` tells, it is done once more with torchvision imported.

    Raises:
        Exception: What `work` raises.
    """
    try:
        return work()
    except RuntimeError as error:
        if _LACKS_OPERATORS not in str(error) or "torchvision" in sys.modules:
            raise
    import_torchvision()
    return work()


def _declare_described_operators() -> None:
    # All at once, as an import that fails after the first description cannot be repeated.
    package = importlib.util.find_spec("torchvision")
    assert package is not None and package.origin is not None
    descriptions = Path(package.origin).with_name("_meta_registrations.py").read_text(encoding="utf-8")
    for operator in re.findall(r'register_fake\("torchvision::(\w+)"', descriptions):
        torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

"""Names whose modules are imported when one is used: those that a package offers (PEP 562), and openers of files."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any


def lazy_names(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """Gives a package its `__all__`, `__getattr__` and `__dir__`.

    A package lists its names twice: in `modules`, which is read when the program runs, and in imports below
    `if TYPE_CHECKING`, which editors and type checkers read.

    Args:
        package: The package's `__name__`.
        modules: For each module, relative to the package as in `".checkpoint"`, the names that it defines.

    Returns:
        The names; what imports the module of a name when the name is first used; what lists the names.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(homes[name], package), name)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted(homes)

    return sorted(homes), __getattr__, __dir__


def opener_of(name: str, factory: str | None = None, output: str = "") -> Callable[..., Any]:
    """Gives the function that "module:function" names; it opens a path with so many threads.

    Args:
        name: Of the function.
        factory: The code of a checkpoint that is not of the zoo; the function is given it too.
        output: The name of the embedding, where a file has several outputs; likewise.
    """
    module, _, function = name.partition(":")
    open_file: Callable[..., Any] = getattr(importlib.import_module(module), function)
    more = {key: value for key, value in (("factory", factory), ("output", output)) if value}
    return partial(open_file, **more) if more else open_file

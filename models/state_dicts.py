"""State dicts as training code saves them: inside a dict of other things, with a prefix, with a classifier."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeVar

from torch import Tensor

T = TypeVar("T")

DEEPEST = 4  # dicts inside dicts
USUAL = "state_dict"  # of several dicts of tensors, the one of this name is the network's


def state_dict_in(found: Any) -> dict[str, Tensor]:
    """Gives the one dict of tensors in what a torch file holds.

    Given:   {"epoch": 9, "model": {"conv.weight": tensor}, "optimizer": ...}
    Result:  {"conv.weight": tensor}

    Raises:
        ValueError: There is none, or there are several and none is called "state_dict".
    """
    dicts = dict(_dicts(found, ()))
    if not dicts:
        raise ValueError("holds no state dict of tensors; save `model.state_dict()` as safetensors")
    for path, state in dicts.items():
        if len(dicts) == 1 or path == () or path == (USUAL,):
            return state
    names = ", ".join(repr(".".join(path)) for path in dicts)
    raise ValueError(f"holds several dicts of tensors, {names}; save the network's alone, as safetensors")


def without_prefix(state: Mapping[str, T], own: Collection[str]) -> dict[str, T]:
    """Gives `state` without the prefix that hides most of the names `own`; names that do not have it stay whole.

    >>> without_prefix({"module.a.weight": 1, "head.weight": 2}, ["a.weight"])
    {'a.weight': 1, 'head.weight': 2}
    """
    parts = [name.split(".") for name in state]
    prefixes = {"": None} | {".".join(words[:i]) + ".": None for words in parts for i in range(1, len(words))}
    known = set(own)
    best = max(prefixes, key=lambda prefix: sum(prefix + name in state for name in known))
    renamed = {name.removeprefix(best): value for name, value in state.items()}
    return renamed if len(renamed) == len(state) else dict(state)


def _dicts(found: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    if not isinstance(found, Mapping) or len(path) > DEEPEST or not all(isinstance(key, str) for key in found):
        return
    if found and all(isinstance(value, Tensor) for value in found.values()):
        yield path, dict(found)
        return
    for key, value in found.items():
        yield from _dicts(value, (*path, key))

"""Branches that a network was trained with become the one convolution that they equal, by the network's own methods.

RepVGG, MobileOne, FastViT, RepViT, RepGhost and their like are trained with several branches side by side, and their
authors give the modules a method that adds the branches up. A phone should only ever run the sum.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from ..faces.contract import InputContract
from .embedder import Embedder
from .rendered_inputs import rendered_inputs

METHODS = (
    "reparameterize",  # MobileOne, FastViT, timm
    "reparametrize",
    "reparam",
    "switch_to_deploy",  # RepVGG, RepGhost, DBB
    "convert_to_deploy",
    "merge_kernel",  # RepLKNet
    "fuse_repvgg_block",  # YOLO
    "fuse_self",
    "fuse",  # RepViT, LeViT, FaceLiVT
)
"""What the authors of such modules call the method, without arguments; the first that a module has is called."""

STAGE = "fuse"  # of the entry in an embedder's ancestry
LEAST_COSINE = 1 - 1e-5  # of an embedding to that of the network with its branches
PROVEN_ON = 4  # rendered faces


@dataclass(frozen=True)
class Fusion:
    """What was fused in a network: the network, and how many modules by which method."""

    backbone: nn.Module
    counts: dict[str, int]


class _Failed(Exception):
    """A module's method raised something."""


def fused(backbone: nn.Module) -> Fusion:
    """Calls the methods of `METHODS` of all modules that have one, the innermost first, on a copy of the network.

    What a method makes is taken where it spares a layer. A module that only folds a norm into the convolution before it
    stays what it is: every format folds those, and a network that is pruned recovers better with its norms. Which
    modules are fused follows from the architecture alone, so that of a checkpoint is fused before its weights come.

    Given   y = relu(norm(conv 3x3 (x)) + norm(conv 1x1 (x)) + norm(x))
    Result  y = relu(conv 3x3 (x))

    Args:
        backbone: Left as it is; its code is run.

    Returns:
        The fused copy, or `backbone` itself where no module can be fused.

    Raises:
        ValueError: A method fails; the sentence goes on after the network's name.

    Source: Ding et al., RepVGG: Making VGG-style ConvNets Great Again, CVPR 2021, sec. 3.3.
    """
    if not any(_method(module) for module in backbone.modules()):
        return Fusion(backbone, {})
    try:
        whole, counts = copy.deepcopy(backbone), Counter[str]()
        with torch.no_grad():
            whole = _fused(whole, "", counts, {})
    except _Failed as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # of somebody's own way to copy a module
        raise ValueError(f"cannot be copied: {error}") from error
    return Fusion(whole.train(backbone.training), dict(counts)) if counts else Fusion(backbone, {})


def with_fused_modules(embedder: Embedder) -> Embedder:
    """Fuses the modules of an embedder as `fused` does, once it is proven that it still embeds alike.

    Args:
        embedder: With its weights; left as it is.

    Returns:
        The fused embedder, whose ancestry says how many modules were fused by which method. Where a method fails or
        changes the embeddings, `embedder` with the reason in its ancestry; where there are no such modules, itself.
    """
    fusion = Fusion(embedder.backbone, {})
    try:
        fusion = fused(embedder.backbone)
        if not fusion.counts:
            return embedder
        difference = _difference(embedder.backbone, fusion.backbone, embedder.contract)
        reason = "" if 1 - difference >= LEAST_COSINE else f"the embeddings change to a cosine of {1 - difference:.5f}"
    except ValueError as error:
        reason = str(error)
    except Exception as error:  # of the fused network
        reason = f"the network does not run then: {next(iter(str(error).splitlines()), type(error).__name__)}"
    if reason:
        entry = {"stage": STAGE, "modules": 0, "methods": fusion.counts, "reason": reason}
        return dataclasses.replace(embedder, ancestry=(*embedder.ancestry, entry))
    entry = {"stage": STAGE, "modules": sum(fusion.counts.values()), "methods": fusion.counts}
    return dataclasses.replace(embedder, backbone=fusion.backbone, ancestry=(*embedder.ancestry, entry))


def is_fused(ancestry: Iterable[Mapping[str, Any]]) -> bool:
    """Says whether an embedder of that ancestry has fused modules."""
    return any(entry.get("stage") == STAGE and entry.get("modules") for entry in ancestry)


def _fused(module: nn.Module, name: str, counts: Counter[str], done: dict[int, nn.Module]) -> nn.Module:
    """Fuses what is in `module`, in place, and then `module` itself; gives what is to stand in its place."""
    if id(module) in done:
        return done[id(module)]
    before = counts.total()
    for part, child in list(module.named_children()):
        result = _fused(child, f"{name}.{part}" if name else part, counts, done)
        if result is not child:
            setattr(module, part, result)
    method, result = _method(module), module
    if method and _layers(module) > 1:
        try:
            result = _called(module, method)
        except Exception as error:  # whatever somebody else's code raises
            if counts.total() == before:  # else the parts that it would fuse are fused
                raise _Failed(f"{name or 'the network'}.{method}() fails: {error}") from error
        if result is not module:
            counts[method] += 1
    done[id(module)] = result
    return result


def _called(module: nn.Module, method: str) -> nn.Module:
    """Calls the method of a copy; gives `module` where that spares no layer."""
    changed = copy.deepcopy(module)
    answer = getattr(changed, method)()
    changed = answer if isinstance(answer, nn.Module) else changed
    if _layers(changed) >= _layers(module):
        return module
    for parameter in changed.parameters():
        parameter.detach_().requires_grad_(parameter.is_floating_point())  # the methods leave them without gradients
    return changed


def _method(module: nn.Module) -> str:
    """Gives the name of the method that fuses `module`; "": it has none that wants no arguments."""
    for name in METHODS:
        method = getattr(module, name, None)
        if inspect.ismethod(method):
            try:
                inspect.signature(method).bind()
            except TypeError:
                continue
            return name
    return ""


def _layers(module: nn.Module) -> int:
    """Counts the layers with weights and the norms; a layer and a norm beside each other, which folds into it, are one.

    Given   norm, convolution, norm, convolution, norm
    Result  3
    """
    count, single = 0, None  # single: whether the last part is a norm, while nothing is folded into it
    for part in module.modules():
        if not isinstance(part, _BatchNorm | _ConvNd | nn.Linear):
            continue
        norm = isinstance(part, _BatchNorm)
        folds = single is (not norm)
        count, single = (count, None) if folds else (count + 1, norm)
    return count


def _difference(before: nn.Module, after: nn.Module, contract: InputContract) -> float:
    """Gives the largest of 1 - cosine on rendered faces."""
    faces = rendered_inputs(contract, PROVEN_ON)
    with torch.inference_mode():
        with_branches, without = (network.eval()(faces).double() for network in (before, after))
    return float((1 - nn.functional.cosine_similarity(with_branches, without)).max())

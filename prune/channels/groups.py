"""Groups of channels that must be cut together, in any network, and how they are cut."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...models.widths import resize, widths_of
from .coupling import CoupledChannels, Side, coupled_channels, is_through


@dataclass(frozen=True)
class Share:
    """The channels of one layer in a group.

    `out`: the layer's filters make the channels. `in`: it reads them. `through`: it does both, channel by channel
    (depthwise convolution, batch norm, PReLU).
    """

    layer: str
    side: Side
    index: Tensor  # (width, k) int64: the k channels of the layer that belong to each channel of the group


@dataclass(frozen=True)
class Group:
    """Channels that are cut together: if one is cut, every share loses its channels of it."""

    name: str  # the first layer that makes them
    width: int
    shares: tuple[Share, ...]  # in the order of the network's modules

    @property
    def readers(self) -> tuple[Share, ...]:
        """The layers that read the channels as inputs."""
        return tuple(share for share in self.shares if share.side == "in")

    def makers(self, backbone: nn.Module) -> tuple[Share, ...]:
        """The convolutions and linear layers whose filters make the channels, depthwise ones included."""
        return tuple(
            share
            for share in self.shares
            if share.side != "in" and isinstance(backbone.get_submodule(share.layer), nn.Conv2d | nn.Linear)
        )


def find_groups(backbone: nn.Module, example: Tensor) -> tuple[Group, ...]:
    """Finds every group of channels that can be cut from `backbone`, whatever its architecture.

    Every group is verified: with some of its channels cut, the network must compute what it computes when the readers
    ignore them. So groups that Torch-Pruning traces wrongly (shuffled channels, split attention heads) are left out,
    as are those that reach the embedding, a layer norm, a grouped convolution or a bare parameter.

    Args:
        backbone: Any network that autograd can trace; it is not changed.
        example: (N, 3, H, W) of the network's input size; the values do not matter.

    Returns:
        The groups in the order of the network's modules, disjoint.

    Raises:
        ValueError: The network cannot be copied or traced, or no group can be cut.
    """
    traced = _untrained(backbone)
    coupled = list(coupled_channels(traced, example))
    candidates = [group for group in _groups(traced, coupled) if group.width > 1]
    # Any input without two equal pixels shows a wrong cut.
    noise = torch.randn(2, *example.shape[1:], generator=torch.Generator().manual_seed(0)).to(example.device)
    groups = candidates
    if not _is_exact(traced, candidates, noise):  # all at once first: each check costs two copies of the network
        groups = []
        for group in candidates:
            if _is_exact(traced, [*groups, group], noise):
                groups.append(group)
    if not groups:
        why = _first(_uncut_reasons(traced, coupled, ()))
        raise ValueError(f"nothing in {type(backbone).__name__} can be pruned: {why}")
    return tuple(groups)


def uncut_reasons(backbone: nn.Module, example: Tensor, groups: Sequence[Group]) -> dict[str, str]:
    """Gives why convolutions and linear layers cannot be cut.

    Args:
        backbone: Any network.
        example: (N, 3, H, W) of the network's input size.
        groups: Its groups, from `find_groups`.

    Returns:
        The reason, by layer that has no filter in any of the groups, in the order of the network's modules.
    """
    traced = _untrained(backbone)
    return _uncut_reasons(traced, coupled_channels(traced, example), groups)


def cut_channels(backbone: nn.Module, groups: Sequence[Group], cuts: Mapping[str, Tensor]) -> None:
    """Cuts channels from `backbone` in place; the other weights keep their values.

    Given:
        conv1(3 -> 16) -> bn1(16) -> conv2(16 -> 8), group "conv1" of width 16
    Result of `cuts={"conv1": tensor([0, 5])}`:
        conv1(3 -> 14) -> bn1(14) -> conv2(14 -> 8)

    Args:
        backbone: The network that `groups` were found in.
        groups: The groups; those that `cuts` does not name are not cut.
        cuts: By group name, which of its channels are cut.
    """
    widths, state = widths_of(backbone), backbone.state_dict()
    for name, (kept_in, kept_out) in _kept(backbone, groups, cuts).items():
        layer = backbone.get_submodule(name)
        for key in ("weight", "bias", "running_mean", "running_var"):
            tensor = state.get(f"{name}.{key}")
            if tensor is not None:
                tensor = tensor[kept_out.to(tensor.device)]
                if key == "weight" and tensor.ndim > 1 and not is_through(layer):
                    tensor = tensor[:, kept_in.to(tensor.device)]
                state[f"{name}.{key}"] = tensor
        inputs, outputs = int(kept_in.sum()), int(kept_out.sum())
        match layer:
            case nn.Conv2d():
                widths[name] = [inputs, outputs, outputs if is_through(layer) else 1]
            case nn.Linear():
                widths[name] = [inputs, outputs]
            case _:
                widths[name] = [outputs]
    resize(backbone, widths)
    backbone.load_state_dict(state)


def _kept(backbone: nn.Module, groups: Sequence[Group], cuts: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Gives, for every layer that loses channels, masks of the inputs and of the outputs that remain."""
    masks: dict[str, tuple[Tensor, Tensor]] = {}
    for group in groups:
        for share in group.shares if len(cuts.get(group.name, ())) else ():
            width = widths_of(backbone.get_submodule(share.layer))[""]
            if share.layer not in masks:
                outputs = width[0 if len(width) == 1 else 1]
                masks[share.layer] = torch.ones(width[0], dtype=torch.bool), torch.ones(outputs, dtype=torch.bool)
            lost = share.index[cuts[group.name]].flatten()
            if share.side != "out":
                masks[share.layer][0][lost] = False
            if share.side != "in":
                masks[share.layer][1][lost] = False
    return masks


def _untrained(backbone: nn.Module) -> nn.Module:
    """Copies `backbone` and sets all parameters but its weight matrices to values around 1.

    A fresh layer scale of 1e-6, or a last batch norm that starts at 0, would hide errors behind it.
    """
    try:
        traced = copy.deepcopy(backbone).eval().requires_grad_(True)
    except RuntimeError as error:
        first = str(error).partition(". ")[0]
        raise ValueError(f"{type(backbone).__name__} cannot be copied: {first}") from error
    matrices = {id(layer.weight) for layer in traced.modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in traced.parameters():
            if id(parameter) not in matrices:
                parameter.copy_(0.5 + torch.rand(parameter.shape, generator=generator))
    return traced


def _is_exact(backbone: nn.Module, groups: Sequence[Group], example: Tensor) -> bool:
    """Tells whether cutting a quarter of one group's channels, three quarters of the next's, equals ignoring them."""
    generator, cuts = torch.Generator().manual_seed(0), {}
    for i, group in enumerate(groups):  # unequal shares, as the halves of a layer may be cut unequally
        count = max(1, group.width * (3 if i % 2 else 1) // 4)
        cuts[group.name] = torch.randperm(group.width, generator=generator)[:count]
    smaller, ignoring = copy.deepcopy(backbone), copy.deepcopy(backbone)
    try:
        with torch.no_grad():
            for group in groups:
                for share in group.readers:
                    weight = ignoring.get_submodule(share.layer).weight
                    assert isinstance(weight, Tensor)
                    weight[:, share.index[cuts[group.name]].flatten()] = 0
            cut_channels(smaller, groups, cuts)
            actual, expected = smaller(example), ignoring(example)
    except Exception:  # reshapes, heads and layers that count their channels fail on other widths
        return False
    if actual.shape != expected.shape:
        return False
    return torch.allclose(actual, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def _uncut_reasons(backbone: nn.Module, coupled: Iterable[CoupledChannels], groups: Sequence[Group]) -> dict[str, str]:
    makers = {share.layer for group in groups for share in group.makers(backbone)}
    reasons: dict[str, str] = {}
    for channels in coupled:
        for layer, side in channels.parts:
            if side != "in" and isinstance(backbone.get_submodule(layer), nn.Conv2d | nn.Linear):
                reasons[layer] = reasons.get(layer) or channels.obstacle
    return {
        name: reasons.get(name, "the embedding does not depend on them") or "a cut would change what others compute"
        for name, layer in backbone.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and name not in makers
    }


def _first(reasons: Mapping[str, str]) -> str:
    layer, reason = next(iter(reasons.items()), ("", ""))
    return f"the channels of {layer!r} cannot go, as {reason}" if layer else "it has no convolution and no linear layer"


def _groups(backbone: nn.Module, coupled: Iterable[CoupledChannels]) -> list[Group]:
    """Collects coupled channels with equal shares into groups; those with an obstacle are left out."""
    order = {name: place for place, (name, _) in enumerate(backbone.named_modules())}
    alike: dict[tuple[Any, ...], list[dict[tuple[str, Side], list[int]]]] = defaultdict(list)
    for parts in (channels.parts for channels in coupled if not channels.obstacle):
        if any(side == "out" for _, side in parts):
            signature = sorted(((order[layer], layer, side, len(index)) for (layer, side), index in parts.items()))
            alike[tuple(signature)].append(parts)
    groups = []
    for key_of_all, channels in sorted(alike.items()):
        keys: list[tuple[str, Side]] = [(layer, side) for _, layer, side, _ in key_of_all]
        first = next(key for key in keys if key[1] == "out")
        channels.sort(key=lambda parts: parts[first])
        shares = tuple(Share(*key, torch.tensor([parts[key] for parts in channels])) for key in keys)
        groups.append(Group(first[0], len(channels), shares))
    return _with_own_names(groups)


def _with_own_names(groups: Sequence[Group]) -> list[Group]:
    """Numbers the groups that begin in the same layer: its channels may feed two branches."""
    counts: dict[str, int] = defaultdict(int)
    renamed = []
    for group in groups:
        counts[group.name] += 1
        number = counts[group.name]
        renamed.append(Group(group.name if number == 1 else f"{group.name}#{number}", group.width, group.shares))
    return renamed

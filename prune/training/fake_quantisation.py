"""Quantisation-aware training: a network that rounds as its int8 file will, so that its weights adapt to it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind

from ...models.embedder import Embedder

LAYERS = ("conv2d", "linear")  # whose weights are rounded, a step per filter
FUSED = ("relu", "relu6", "hardtanh")  # are fused into what they follow
COMPUTING = (*LAYERS, *FUSED, "batch_norm", "add", "sub", "mul", "prelu", "leaky_relu")  # others only move values
HOMOGENEOUS = ("relu", "prelu", "leaky_relu")  # f(s x) = s f(x) for s > 0
LARGEST_SCALE = 64.0  # limits how far a nearly silent channel is scaled up
HEADROOM = 1.25  # room between a channel's maximum in the batch and the clip above it
LEAST_RANGE = 1e-9  # of a tensor that is all zeros


class FakeQuantised(nn.Module):
    """A backbone that computes in floats what its w8a8 file computes in int8; its own parameters are trained.

    It does what the exporter does, with the batch as calibration faces, and keeps no state. Channels between two
    convolutions are equalised. A layer's weights, with the batch norm folded into them, are rounded to -127..127 with
    a step per filter, and the mean error of that is subtracted from the bias. Activations are rounded to 256 levels
    between their minimum and maximum; PReLU itself is computed in floats between two roundings. Gradients pass a
    rounding unchanged, and are zero where a value is clipped. Batch norms keep their statistics, dropout is off.

    Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
    CVPR 2018, sec. 3; Nagel et al., A White Paper on Neural Network Quantization, arXiv 2106.08295, sec. 4
    (batch norms folded statically).
    """

    def __init__(self, embedder: Embedder) -> None:
        """Traces `embedder`'s backbone and keeps it as `backbone`.

        Raises:
            ValueError: torch.export cannot trace it for any number of faces.
        """
        super().__init__()
        self.backbone = embedder.backbone.eval()
        try:
            batch = torch.export.Dim("batch")
            self._program = torch.export.export(self.backbone, (embedder.example(2),), dynamic_shapes=({0: batch},))
        except Exception as error:  # the traced code may raise anything, and so does torch
            raise ValueError(
                f"{embedder.name} cannot be traced, so it can be trained in fp32 only: {str(error).splitlines()[0]}"
            ) from error
        self._plan = FakeQuantisationPlan(self._program.graph, self._program.graph_signature.user_inputs)

    def forward(self, faces: Tensor) -> Tensor:
        """Embeds (N, 3, H, W)."""
        result: tuple[Tensor, ...] = _Rounding(self._program.graph_module, self._plan).run(*self._inputs(faces))
        return result[0]

    def _inputs(self, faces: Tensor) -> Iterator[Any]:
        """Yields the traced graph's inputs: parameters and buffers as they are now, and the faces."""
        for spec in self._program.graph_signature.input_specs:
            match spec.kind:
                case InputKind.PARAMETER:
                    yield self.backbone.get_parameter(str(spec.target))
                case InputKind.BUFFER:
                    yield self.backbone.get_buffer(str(spec.target))
                case InputKind.USER_INPUT:
                    yield faces
                case _:
                    yield self._program.constants[str(spec.target)].to(faces.device)


@dataclass(frozen=True)
class EqualisedSpan:
    """The nodes between two convolutions, whose channels the exporter equalises."""

    second: fx.Node  # the convolution that reads it
    strength: float  # 1: all channels alike; 0.5: half of the way
    ceiling: float  # the value they clip to, such as the 6 of ReLU6


class FakeQuantisationPlan:
    """Where in a traced graph values are rounded.

    Given:   conv -> batch_norm -> relu -> conv -> batch_norm -> prelu -> flatten
    Result:  conv with folded weights -> relu, rounded -> conv with folded weights, rounded -> prelu, rounded -> flatten
    """

    def __init__(self, graph: fx.Graph, inputs: Collection[Any]) -> None:
        """Reads `graph`, which is not changed; `inputs` names those of its inputs that are not parameters."""
        self.norms: dict[fx.Node, fx.Node] = {}  # by the layer that they are folded into
        for layer in graph.nodes:
            following = sole_reader(layer)
            if operator_of(layer) in LAYERS and following is not None and operator_of(following) == "batch_norm":
                self.norms[layer] = following
        self.folded_norms = frozenset(self.norms.values())
        self.rounded_nodes = {node for node in graph.nodes if node.name in inputs or self._is_rounded(node)}
        self.spans: dict[fx.Node, EqualisedSpan] = {}  # by each of their nodes
        self.entered: dict[fx.Node, EqualisedSpan] = {}  # by the convolution that reads them
        for layer in graph.nodes:
            if operator_of(layer) == "conv2d":
                self._add_span(layer)

    def _is_rounded(self, node: fx.Node) -> bool:
        """Says whether a node's result is int8 in the file."""
        following = sole_reader(node)
        if following is not None and (following in self.folded_norms or operator_of(following) in FUSED):
            return False
        return operator_of(node) in COMPUTING

    def _add_span(self, layer: fx.Node) -> None:
        between, ceiling = [self.norms.get(layer, layer)], math.inf
        following = sole_reader(between[-1])
        while following is not None and ceiling == math.inf:
            ceiling = ceiling_of(following)
            if ceiling == math.inf and operator_of(following) not in HOMOGENEOUS:
                break
            between.append(following)
            following = sole_reader(following)
        if following is None or operator_of(following) != "conv2d":
            return
        groups = following.args[6] if len(following.args) > 6 else 1
        depthwise = following.args[1].meta["val"].shape[1] == 1  # type: ignore[union-attr]  # a parameter's node
        if depthwise or (groups == 1 and ceiling == math.inf):
            self.entered[following] = EqualisedSpan(following, 1.0 if depthwise else 0.5, ceiling)
            self.spans |= dict.fromkeys(between, self.entered[following])


class _Rounding(fx.Interpreter):
    """One forward through a traced graph, with rounding where the plan has it."""

    def __init__(self, module: fx.GraphModule, plan: FakeQuantisationPlan) -> None:
        super().__init__(module)
        self._plan = plan
        self._scales: dict[EqualisedSpan, Tensor] = {}  # (C,) factors on the channels of this batch

    def run_node(self, n: fx.Node) -> Any:
        plan = self._plan
        if n in plan.folded_norms:
            value = self.env[n.all_input_nodes[0]]
        elif operator_of(n) in LAYERS:
            value = self._layer(n)
        else:
            value = super().run_node(n)
        if n not in plan.rounded_nodes:
            return value
        span = plan.spans.get(n)
        if span is not None and span not in self._scales:
            self._scales[span] = equalising_scales(value, span.strength, span.ceiling)
        return round_activations(value, self._scales[span] if span else None)

    def _layer(self, node: fx.Node) -> Tensor:
        """Computes a convolution or a linear layer with rounded weights and its batch norm folded into them."""
        arguments, _ = self.fetch_args_kwargs_from_env(node)
        inputs, weight, bias, *rest = (*arguments, None) if len(arguments) == 2 else arguments
        norm = self._plan.norms.get(node)
        if norm is not None:
            # The inputs of a batch norm stand at the head of the graph, so they are computed already.
            read = [self.env[entry] if isinstance(entry, fx.Node) else None for entry in norm.args[1:5]]
            gain, offset = folded_norm(*read, eps=norm.args[7])  # type: ignore[arg-type, misc]  # a node's are of any kind
            weight = weight * gain.view(-1, *[1] * (weight.ndim - 1))
            bias = offset if bias is None else bias * gain + offset
        span = self._plan.entered.get(node)
        if span is None or span.strength == 1.0:  # a depthwise filter has one channel: its step absorbs the scale
            near = round_weights(weight)
        else:
            scale = self._scales[span].view(1, -1, 1, 1)
            near = round_weights(weight / scale) * scale
        bias = -mean_shift(near - weight, inputs) if bias is None else bias - mean_shift(near - weight, inputs)
        result: Tensor = node.target(inputs, near, bias, *rest)  # type: ignore[operator]  # the traced operator
        return result


def folded_norm(
    weight: Tensor | None, bias: Tensor | None, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Gives the factor (C,) and the offset (C,) of a batch norm in eval mode."""
    gain = (var + eps).rsqrt()
    gain = gain if weight is None else gain * weight
    return gain, -mean * gain if bias is None else bias - mean * gain


def round_weights(weight: Tensor) -> Tensor:
    """Rounds (O, ...) to int8 multiples of a step per row; the largest magnitude of a row is 127 steps.

    >>> round_weights(torch.tensor([[127.0, 0.6], [63.5, 0.6]]))
    tensor([[127.0000,   1.0000],
            [ 63.5000,   0.5000]])
    """
    steps = weight.detach().abs().flatten(1).amax(1).clamp(min=LEAST_RANGE) / 127
    steps = steps.view(-1, *[1] * (weight.ndim - 1))
    return round_to_levels(weight / steps, -127, 127) * steps


@torch.no_grad()
def mean_shift(error: Tensor, inputs: Tensor) -> Tensor:
    """Gives (O,) the mean change of the outputs by an error of the weights (O, I, ...), ignoring borders."""
    means = inputs.mean((0, *range(2, inputs.ndim)))
    sums = error.flatten(2).sum(2) if error.ndim > 2 else error
    return (sums * means.view(-1, sums.shape[1]).repeat_interleave(len(sums) * sums.shape[1] // len(means), 0)).sum(1)


def round_activations(values: Tensor, scale: Tensor | None = None) -> Tensor:
    """Rounds (N, C, ...) to 256 levels, zero among them, from the minimum to the maximum.

    Args:
        values: Activations.
        scale: (C,) factor on each channel, divided out afterwards; None: 1.
    """
    factors = 1.0 if scale is None else scale.view(1, -1, *[1] * (values.ndim - 2))
    detached, places = values.detach(), (0, *range(2, values.ndim))
    low = float((detached.amin(places, keepdim=True) * factors).amin().clamp(max=0))
    high = float((detached.amax(places, keepdim=True) * factors).amax().clamp(min=0))
    step = max(high - low, LEAST_RANGE) / 255
    first = round(low / step)
    return round_to_levels(values * (factors / step), first, first + 255) * (step / factors)


def round_to_levels(values: Tensor, low: int, high: int) -> Tensor:
    """Rounds to the whole numbers from `low` to `high`; the gradient is 1 where nothing is clipped, else 0."""
    result: Tensor = _Levels.apply(values, low, high)  # type: ignore[no-untyped-call]
    return result


class _Levels(torch.autograd.Function):
    """As torch.fake_quantize_per_tensor_affine with step 1, in a sixth of its time on a CPU."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, low: int, high: int) -> Tensor:
        ctx.save_for_backward(values)
        ctx.bounds = low - 0.5, high + 0.5
        return values.round().clamp_(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return torch.ops.aten.hardtanh_backward(gradient, *ctx.saved_tensors, *ctx.bounds), None, None


@torch.no_grad()
def equalising_scales(values: Tensor, strength: float, ceiling: float = math.inf) -> Tensor:
    """Gives (C,) the factors that scale each channel of (N, C, ...) to the largest range, below the ceiling.

    >>> equalising_scales(torch.tensor([[8.0, -4.0, 1.0, 0.0]]), 1.0)
    tensor([ 1.,  2.,  8., 64.])
    """
    peaks = values.abs().amax((0, *range(2, values.ndim)))
    top = peaks.amax().clamp(min=LEAST_RANGE)
    scale = (top / torch.maximum(peaks, top / LARGEST_SCALE)) ** strength
    return torch.minimum(scale, (ceiling / HEADROOM / peaks.clamp(min=LEAST_RANGE)).clamp(min=1))


def ceiling_of(node: fx.Node) -> float:
    """Gives the upper bound of a node that clips from 0, such as the 6 of ReLU6; infinite if it does not clip so."""
    if operator_of(node) == "relu6":
        return 6.0
    if operator_of(node) == "hardtanh" and len(node.args) == 3 and node.args[1] == 0:
        return float(node.args[2])  # type: ignore[arg-type]  # a node's are of any kind
    return math.inf


def operator_of(node: fx.Node) -> str:
    """Gives the name of a traced operator; in-place forms have the same: aten.relu_.default is a relu."""
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return ""
    return str(node.target.overloadpacket.__name__).rstrip("_")


def sole_reader(node: fx.Node) -> fx.Node | None:
    """Gives the node that reads this one, if there is exactly one."""
    return next(iter(node.users)) if len(node.users) == 1 else None

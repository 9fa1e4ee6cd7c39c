import pytest
import torch
from torch import Tensor, nn

from pocketface.faces.contract import InputContract
from pocketface.models.complexity import mac_layers, macs, parameters
from pocketface.models.embedder import Embedder
from pocketface.models.layer_runs import LayerRun, LayerShape
from pocketface.models.zoo import create


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.depthwise = nn.Conv2d(4, 4, (1, 3), padding=(0, 1), groups=4, bias=False)
        self.head = nn.Linear(4, 5)

    def forward(self, faces: Tensor) -> Tensor:
        x = self.depthwise(self.norm(self.stem(faces)))
        return self.head(x.mean((2, 3)))


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(3, 3, bias=False)

    def forward(self, faces: Tensor) -> Tensor:
        tokens = faces.flatten(2).transpose(1, 2)  # (N, 64, 3)
        return self.mix(self.mix(tokens)).mean(1)


def embedder(backbone: nn.Module, side: int = 8) -> Embedder:
    return Embedder("tiny", backbone, InputContract(side, side), "tiny")


def test_layers_match_a_hand_counted_network() -> None:
    stem = LayerShape("dense", (8, 8), (3, 3), (2, 2), (1, 1), (1, 1, 1, 1))
    depthwise = LayerShape("depthwise", (4, 4), (1, 3), (1, 1), (1, 1), (0, 1, 0, 1))
    assert mac_layers(embedder(Tiny())) == [
        LayerRun("stem", "Conv2d", 3, 4, 1, (3, 3), 4, 4, 3 * 4 * 9 + 4, 3 * 4 * 9 * 16, stem),
        LayerRun("depthwise", "Conv2d", 4, 4, 4, (1, 3), 4, 4, 4 * 3, 4 * 3 * 16, depthwise),
        LayerRun("head", "Linear", 4, 5, 1, (1, 1), 1, 1, 4 * 5 + 5, 4 * 5, LayerShape("dense", (1, 1))),
    ]


def test_macs_add_the_layers_up() -> None:
    assert macs(embedder(Tiny())) == 1728 + 192 + 20


def test_parameters_count_batch_norms_scale_and_shift_but_not_its_statistics() -> None:
    assert parameters(Tiny()) == 112 + 8 + 12 + 25


def test_a_layer_that_runs_twice_on_many_tokens_counts_each_time() -> None:
    twice = mac_layers(embedder(Tokens()))
    assert [(layer.name, layer.height, layer.macs) for layer in twice] == [("mix", 64, 576), ("mix", 64, 576)]
    assert parameters(Tokens()) == 9


def test_counting_leaves_no_hook_behind() -> None:
    backbone = Tiny()
    mac_layers(embedder(backbone))
    assert not any(module._forward_hooks for module in backbone.modules())


def test_counting_leaves_no_hook_behind_when_the_network_fails() -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(7, 1))
    with pytest.raises(RuntimeError):
        mac_layers(embedder(backbone))
    assert not any(module._forward_hooks for module in backbone.modules())


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("mobilefacenet", {}, 1_003_136),  # as InsightFace's published model-y1
        (
            "squeezefacenet",
            {},
            1_243_384,
        ),  # SqueezeNet 1.1: 1,235,496, and a scale and a shift for 3,944 filters
        ("mobilenetv2", {}, 2_223_872),  # torchvision's 3,504,872 less its classifier
        ("resnet50", {}, 23_508_032),  # torchvision's 25,557,032 less its classifier
        ("resnet50v2", {}, 23_519_360 + 2048 * 512 + 512),  # Keras's trainable without top, and the embedding
        ("vgg16", {}, 14_714_688 + 512 * 512 + 512),  # Keras's without top, and the embedding
    ],
)
def test_parameters_are_the_published_ones(name: str, options: dict[str, object], expected: int) -> None:
    assert parameters(create(name, **options).backbone) == expected


@pytest.mark.parametrize(
    ("name", "options", "millions"),
    [
        ("mobilefacenet", {}, 221),
        ("squeezefacenet", {"pools": "late"}, 687),
        ("squeezefacenet", {"pools": "early"}, 353),
        ("resnet50v2", {}, 3481),  # 7.0 B FLOPs in Diba & Khosravi, table 3
    ],
)
def test_macs_are_the_known_ones(name: str, options: dict[str, object], millions: int) -> None:
    assert round(macs(create(name, **options)) / 1e6) == millions


def test_macs_are_half_of_what_torchs_own_counter_counts() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    network = create("mobilenetv2")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.backbone.eval()(network.example())
    assert 2 * macs(network) == counter.get_total_flops()

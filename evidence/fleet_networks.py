"""The fleet: the networks of fleet.py, each as pocketface opens it, with an embedding of 128 numbers or its own.

Those of timm and torchvision have a fresh linear head and fresh weights; in a fresh network many scales and shifts are
0, 1 or 1e-6, so that whole branches compute nothing and no fault in them would show: `awaken` moves them apart.
"""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pocketface.faces.contract import ARCFACE, IMAGENET, InputContract
from pocketface.faces.folders import LabelledFaces
from pocketface.faces.rendering.synthetic import synthetic_faces
from pocketface.models.batch_norm import reestimate_batch_norms
from pocketface.models.checkpoint import open_embedder
from pocketface.models.embedder import Embedder
from pocketface.models.factories import build_foreign, load_weights
from pocketface.models.zoo import ZOO, create

HERE = Path(__file__)
PUBLISHED = HERE.parents[1] / "examples" / "published_mobilefacenets.py"
TIMM = (
    "convnext_atto convnextv2_atto edgenext_xx_small efficientnet_lite0 "
    "efficientvit_b0 efficientvit_m0 fastvit_t8 fbnetc_100 ghostnet_100 ghostnetv2_100 ghostnetv3_050 hardcorenas_a "
    "inception_next_atto lcnet_050 levit_128s mixnet_s mnasnet_small mobilenetv1_100 mobilenetv2_050 "
    "mobilenetv3_large_100 mobilenetv3_small_050 mobilenetv4_conv_small mobileone_s0 mobilevit_xxs mobilevitv2_050 "
    "poolformer_s12 regnety_002 repghostnet_050 repvgg_a0 repvit_m0_9 resnet18d rexnet_100 semnasnet_075 shvit_s1 "
    "starnet_s1 swiftformer_xs tinynet_e tiny_vit_5m_224 vit_tiny_patch16_224 xcit_nano_12_p8_224"
).split()
TORCHVISION = ("shufflenet_v2_x0_5", "squeezenet1_1", "googlenet")
SIZED = ("vit_tiny_patch16_224", "xcit_nano_12_p8_224", "levit_128s", "efficientvit_m0")
"""Networks that are built for one size of image."""


@dataclass(frozen=True)
class Ship:
    """A network of the fleet, as `open_embedder` opens it."""

    architecture: str
    options: dict[str, str]
    contract: InputContract | None = ARCFACE
    weights: str = ""  # a file of the folder of weights; "": fresh ones


FLEET: dict[str, Ship] = {
    "mobilefacenet_relu6": Ship(f"{PUBLISHED}:foamliu", {}, IMAGENET, "mobilefacenet_relu6.safetensors"),
    "mobilefacenet_prelu": Ship(
        f"{PUBLISHED}:insightface_y1",
        {},
        InputContract(112, 112, mean=(127.5,) * 3, scale=(1 / 128,) * 3),
        "mobilefacenet_prelu.safetensors",
    ),
    "edgeface_xxs": Ship(f"{HERE}:edgeface_xxs", {}, ARCFACE, "edgeface_xxs.safetensors"),
    **{f"zoo-{name}": Ship(name, {}, None) for name in ZOO},
    **{name: Ship(f"{HERE}:of_timm", {"name": name}) for name in TIMM},
    "efficientformerv2_s0": Ship(f"{HERE}:of_timm", {"name": "efficientformerv2_s0"}, InputContract(128, 128)),
    **{name: Ship(f"{HERE}:of_torchvision", {"name": name}) for name in TORCHVISION},
}


def launch(name: str, weights: Path | None) -> tuple[Embedder, nn.Module, LabelledFaces]:
    """Opens a network of the fleet; a fresh one is awakened.

    Returns:
        The embedder as pocketface opens it; the network as its authors built it, whose branches are not fused; and
        rendered faces, four of each of four people.

    Raises:
        ValueError: It cannot be opened, or its weights are elsewhere.
    """
    ship = FLEET[name]
    if ship.weights and weights is None:
        raise ValueError(f"{name} has the weights {ship.weights}; name their folder with --weights")
    contract = ship.contract or ZOO[ship.architecture].contract
    crops, labels = synthetic_faces(4, 4, size=(contract.height, contract.width))
    faces = LabelledFaces(crops, labels, tuple("abcd"), f"rendered, {contract.height}x{contract.width}")
    network = fresh(ship)
    with tempfile.TemporaryDirectory() as folder:
        file = (weights or Path()) / ship.weights
        if ship.weights:
            load_weights(network, file)
        else:
            file = Path(folder) / "awake.safetensors"
            awaken(network, [torch.from_numpy(contract.preprocess(crops))])
            save_file(network.state_dict(), file)
        embedder = open_embedder(ship.architecture, file, contract=contract, name=name, options=ship.options)
    return embedder, network, faces


def fresh(ship: Ship) -> nn.Module:
    """Gives the network with fresh weights."""
    if ":" in ship.architecture:
        return build_foreign(ship.architecture, ship.options).eval()
    return create(ship.architecture).backbone.eval()


@torch.no_grad()
def awaken(backbone: nn.Module, batches: Iterable[Tensor]) -> None:
    """Gives each parameter that is one number throughout different ones, and batch norms the statistics of `batches`.

    Given   scale 1, 1, 1        shift 0, 0, 0            layer scale 1e-6, 1e-6, 1e-6
    Result  scale 0.8, 1.3, 0.6  shift 0.04, -0.1, 0.2    layer scale 0.1, -0.2, 0.04
    """
    generator = torch.Generator().manual_seed(0)
    for parameter in backbone.parameters():
        if parameter.numel() > 1 and parameter.min() == parameter.max():
            if abs(float(parameter.max())) < 0.05:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
            else:
                parameter.mul_(0.5 + torch.rand(parameter.shape, generator=generator))
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in backbone.modules()):
        reestimate_batch_norms(backbone, batches)


# ---- factories that pocketface calls ----


def of_timm(name: str) -> nn.Module:
    """A network of timm with a linear head of 128."""
    import timm

    torch.manual_seed(0)
    size = {name: {"img_size": 112} for name in SIZED} | {"efficientformerv2_s0": {"img_size": 128}}
    network: nn.Module = timm.create_model(name, num_classes=128, **size.get(name, {}))
    return network


def of_torchvision(name: str) -> nn.Module:
    """A network of torchvision with a linear head of 128."""
    from torchvision import models

    torch.manual_seed(0)
    extra = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    network: nn.Module = getattr(models, name)(num_classes=128, **extra)
    return network


class EdgeFaceXXS(nn.Module):
    """EdgeFace XXS as its authors build it: timm's EdgeNeXt XX small with a head of 512. Source: arXiv 2307.01838."""

    def __init__(self) -> None:
        super().__init__()
        import timm

        self.model = timm.create_model("edgenext_xx_small")
        self.model.reset_classifier(512)

    def forward(self, x: Tensor) -> Tensor:
        embedding: Tensor = self.model(x)
        return embedding


def edgeface_xxs() -> nn.Module:
    """The network of `edgeface_xxs.safetensors`."""
    return EdgeFaceXXS()

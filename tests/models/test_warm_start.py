"""What fits of a sibling's weights is taken, the rest is named."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pocketface.faces.contract import InputContract
from pocketface.models.checkpoint import save_checkpoint
from pocketface.models.embedder import Embedder
from pocketface.models.factories import load_embedder
from pocketface.models.torchvision_shim import import_torchvision
from pocketface.models.warm_start import warm_start
from pocketface.models.zoo import create


def of_torchvision(name):
    import_torchvision()
    from torchvision import models

    torch.manual_seed(1)
    return getattr(models, name)(weights=None).eval()


@pytest.mark.parametrize("own, theirs", [("mobilenetv2", "mobilenet_v2"), ("resnet50", "resnet50")])
def test_a_backbone_of_torchvision_takes_all_its_weights(own, theirs, tmp_path):
    sibling = of_torchvision(theirs)
    save_file(sibling.state_dict(), tmp_path / "imagenet.safetensors")
    started, left = warm_start(create(own), tmp_path / "imagenet.safetensors")
    assert left == ()
    given = sibling.state_dict()
    assert all(torch.equal(tensor, given[name]) for name, tensor in started.backbone.state_dict().items())
    assert started.ancestry[-1]["stage"] == "warm start"


def test_squeezenet_goes_under_other_names_and_lacks_batch_norms(tmp_path):
    sibling = of_torchvision("squeezenet1_1")
    torch.save(sibling.state_dict(), tmp_path / "imagenet.pth")
    started, left = warm_start(create("squeezefacenet"), tmp_path / "imagenet.pth")
    backbone = started.backbone
    assert torch.equal(backbone.conv1[0].weight, sibling.features[0].weight)
    assert torch.equal(backbone.fires[-1].expand3x3[0].bias, sibling.features[12].expand3x3.bias)
    assert torch.equal(backbone.conv10[0].weight, sibling.classifier[1].weight)
    assert len(left) == 26 * 4  # weight, bias, mean and variance of a batch norm after each of 26 convolutions


def test_vgg_keeps_its_own_embedding(tmp_path):
    from torchvision.models.vgg import cfgs, make_layers

    features = torch.nn.ModuleDict({"features": make_layers(cfgs["D"])})
    save_file(features.state_dict(), tmp_path / "vgg.safetensors")
    _, left = warm_start(create("vgg16"), tmp_path / "vgg.safetensors")
    assert left == ("embedding.weight", "embedding.bias")


def test_weights_of_another_network_are_refused(tmp_path):
    save_file(of_torchvision("squeezenet1_1").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="fits 0% of mobilenetv2"):
        warm_start(create("mobilenetv2"), tmp_path / "w.safetensors")


BRANCHED = """
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide, self.narrow, self.whole = nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(4, 4, 1), None

    def forward(self, x):
        return torch.relu(self.wide(x) + self.narrow(x) if self.whole is None else self.whole(x))

    def switch_to_deploy(self):
        whole = nn.Conv2d(4, 4, 3, 1, 1)
        whole.weight.data = self.wide.weight.data.clone()
        whole.weight.data[:, :, 1, 1] += self.narrow.weight.data[:, :, 0, 0]
        whole.bias.data = self.wide.bias.data + self.narrow.bias.data
        self.whole = whole
        del self.wide, self.narrow


def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), Block(), nn.Flatten(), nn.Linear(4 * 8 * 8, 8))
"""


@pytest.mark.parametrize("form", ["weights", "with a prefix", "checkpoint", "checkpoint without branches"])
def test_weights_with_branches_are_taken_before_the_branches_are_fused(form: str, tmp_path: Path) -> None:
    code = tmp_path / "branched.py"
    code.write_text(BRANCHED)
    contract = InputContract(16, 16)
    torch.manual_seed(1)
    factory = f"{code}:net"
    learner = load_embedder(factory, contract=contract)  # of other numbers
    space: dict[str, object] = {}
    exec(BRANCHED, space)
    trained = Embedder("trained", space["net"]().eval(), contract, factory)  # type: ignore[operator]
    state = trained.backbone.state_dict()
    assert "1.wide.weight" in state and "1.whole.weight" in learner.backbone.state_dict()
    start = tmp_path / "start.safetensors"
    if form == "weights":
        save_file(state, start)
    elif form == "with a prefix":
        save_file({f"module.{name}": tensor for name, tensor in state.items()}, start)
    elif form == "checkpoint":
        start = save_checkpoint(trained, tmp_path / "start")
    else:
        save_file(state, start)
        start = save_checkpoint(load_embedder(factory, start, contract=contract), tmp_path / "start")
    started, left = warm_start(learner, start)
    faces = torch.randn(2, 3, 16, 16)
    assert left == ()
    torch.testing.assert_close(started.backbone(faces), trained.backbone(faces), atol=1e-6, rtol=0)
    assert "1.whole.weight" in started.backbone.state_dict()
    assert {entry["stage"] for entry in started.ancestry} >= {"warm start", "fuse"}


def test_what_the_start_lacks_stays_what_the_learner_has(tmp_path: Path) -> None:
    code = tmp_path / "branched.py"
    code.write_text(BRANCHED)
    learner = load_embedder(f"{code}:net", contract=InputContract(16, 16))
    space: dict[str, object] = {}
    exec(BRANCHED, space)
    state = space["net"]().state_dict()  # type: ignore[operator]
    kept = {name: tensor for name, tensor in state.items() if not name.startswith("0.")}
    save_file(kept, tmp_path / "start.safetensors")
    started, left = warm_start(learner, tmp_path / "start.safetensors")
    assert left == ("0.weight", "0.bias")
    assert torch.equal(started.backbone[0].weight, learner.backbone[0].weight)

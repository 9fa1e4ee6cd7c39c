"""What fits of a sibling's weights is taken, the rest is named."""

import pytest
import torch
from safetensors.torch import save_file

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

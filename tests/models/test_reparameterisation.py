"""Branches that a network was trained with are fused by its own methods, proven, told, and found again."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from pocketface.export.provenance import provenance_sentences
from pocketface.faces.contract import InputContract
from pocketface.models.batch_norm import reestimate_batch_norms
from pocketface.models.checkpoint import load_checkpoint, save_checkpoint
from pocketface.models.factories import load_embedder
from pocketface.models.reparameterisation import fused
from pocketface.models.torchvision_shim import import_torchvision
from pocketface.prune.channels.groups import cut_channels, find_groups

CONTRACT = InputContract(16, 16)
REPVGG = '''
import torch
from torch import nn


class Block(nn.Module):
    """RepVGG's, without a norm: a 3x3 and a 1x1 convolution and the input itself, added."""

    def __init__(self, width, wrong=False, fails=False):
        super().__init__()
        self.square, self.point = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 1)
        self.wrong, self.fails, self.whole = wrong, fails, None

    def forward(self, x):
        if self.whole is not None:
            return torch.relu(self.whole(x))
        return torch.relu(self.square(x) + self.point(x) + x)

    def switch_to_deploy(self):
        if self.fails:
            raise KeyError("rbr_dense")
        width = len(self.point.bias)
        whole = nn.Conv2d(width, width, 3, 1, 1)
        whole.weight.data = self.square.weight.data.clone()
        whole.weight.data[:, :, 1, 1] += self.point.weight.data[:, :, 0, 0]
        if not self.wrong:
            whole.weight.data[:, :, 1, 1] += torch.eye(width)
        whole.bias.data = self.square.bias.data + self.point.bias.data
        self.whole = whole
        for parameter in self.parameters():
            parameter.detach_().requires_grad_(False)
        del self.square, self.point


class Folded(nn.Sequential):
    """A convolution and its norm, as LeViT's."""

    def fuse(self):
        return nn.utils.fusion.fuse_conv_bn_eval(self[0].eval(), self[1].eval())


class Net(nn.Module):
    def __init__(self, **kind):
        super().__init__()
        self.stem = Folded(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16))
        self.blocks = nn.Sequential(Block(16, **kind), Block(16, **kind))
        self.last = nn.Conv2d(16, 8, 8)

    def forward(self, x):
        return self.last(self.blocks(self.stem(x))).flatten(1)

    def fuse(self, verbose):
        raise AssertionError("wants an argument, so it is none of those methods")


def build(wrong=False, fails=False):
    torch.manual_seed(0)
    return Net(wrong=wrong, fails=fails)
'''


@pytest.fixture
def opened(tmp_path):
    """Gives a function that opens the network above, and its factory."""
    (tmp_path / "net.py").write_text(REPVGG)
    factory = f"{tmp_path / 'net.py'}:build"
    return lambda **options: load_embedder(factory, contract=CONTRACT, name="net", options=options), factory


def test_branches_become_one_convolution_and_a_norm_behind_one_stays(opened):
    embedder = opened[0]()
    kinds = [type(module).__name__ for module in embedder.backbone.modules()]
    assert (kinds.count("Conv2d"), kinds.count("BatchNorm2d")) == (4, 1)  # stem, two blocks, last; that of the stem
    assert all(parameter.requires_grad for parameter in embedder.backbone.parameters())
    assert embedder.ancestry[1:] == ({"stage": "fuse", "modules": 2, "methods": {"switch_to_deploy": 2}},)
    assert provenance_sentences(embedder.ancestry[1:]) == ("2 modules fused by `switch_to_deploy`.",)


def test_a_fused_network_embeds_as_its_branches_do(opened, monkeypatch):
    fused_embedder = opened[0]()
    monkeypatch.setattr("pocketface.models.factories.with_fused_modules", lambda embedder: embedder)
    branches = opened[0]()
    face = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(fused_embedder.backbone(face), branches.backbone(face), atol=1e-5)
    assert len(list(branches.backbone.parameters())) > len(list(fused_embedder.backbone.parameters()))


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("fails", "Branches are not fused: blocks.0.switch_to_deploy() fails: 'rbr_dense'."),
        ("wrong", "Branches are not fused by `switch_to_deploy`: the embeddings change to a cosine of "),
    ],
)
def test_a_method_that_fails_or_changes_the_embeddings_leaves_the_branches(opened, kind, sentence):
    embedder = opened[0](**{kind: True})
    assert sum(isinstance(module, nn.Conv2d) for module in embedder.backbone.modules()) == 6
    assert provenance_sentences(embedder.ancestry[1:])[0].startswith(sentence)


def test_a_fused_and_cut_checkpoint_is_read_back(opened, tmp_path):
    embedder = opened[0]()
    groups = find_groups(embedder.backbone, embedder.example())
    cut_channels(embedder.backbone, groups, {groups[0].name: range(4)})
    embeddings = embedder.backbone.eval()(torch.ones(1, 3, 16, 16))
    reloaded = load_checkpoint(save_checkpoint(embedder, tmp_path / "checkpoint"), opened[1])
    assert torch.equal(reloaded.backbone(torch.ones(1, 3, 16, 16)), embeddings)
    assert reloaded.ancestry == embedder.ancestry


def test_weights_with_branches_load_before_they_are_fused(opened, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("pocketface.models.factories.with_fused_modules", lambda embedder: embedder)
        branches = opened[0]().backbone
    for parameter in branches.parameters():
        parameter.data.mul_(1.5)
    torch.save(branches.state_dict(), tmp_path / "net.pth")
    embedder = load_embedder(opened[1], tmp_path / "net.pth", contract=CONTRACT)
    face = torch.ones(1, 3, 16, 16)
    assert torch.allclose(embedder.backbone(face), branches.eval()(face), rtol=1e-4)


FUSED = {
    "repvgg_a0": {"reparameterize": 22},
    "mobileone_s0": {"reparameterize": 43},
    "fastvit_t8": {"reparameterize": 20},
    "repvit_m0_9": {"fuse": 24},
    "repghostnet_050": {"reparameterize": 32},
    "levit_128s": {},  # only folds norms
}


@pytest.mark.parametrize("name", FUSED)
def test_networks_of_timm_are_fused(name):
    import_torchvision()
    timm = pytest.importorskip("timm", reason="wants the extra `test`")
    torch.manual_seed(0)
    size = {"img_size": 64} if name == "levit_128s" else {}
    network = timm.create_model(name, num_classes=32, **size).eval()
    faces = torch.rand(4, 3, 64, 64)
    reestimate_batch_norms(network, [faces])
    before = copy.deepcopy(network)
    fusion = fused(network)
    assert fusion.counts == FUSED[name]
    with torch.inference_mode():
        assert torch.nn.functional.cosine_similarity(fusion.backbone(faces), before(faces)).min() > 1 - 1e-6


def test_a_factory_that_imports_torchvision_by_itself_runs_beside_a_torch_of_another_build(tmp_path):
    (tmp_path / "net.py").write_text(
        "from torchvision.models import squeezenet1_1\n\ndef build():\n    return squeezenet1_1(num_classes=8)\n"
    )
    script = "import sys; from pocketface.models.factories import build_foreign; build_foreign(sys.argv[1], {})"
    subprocess.run([sys.executable, "-c", script, f"{tmp_path / 'net.py'}:build"], check=True, cwd=Path.cwd())

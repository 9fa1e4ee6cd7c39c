"""Networks that others made: of convolutions and attention, with shuffled channels, or given as a file."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pocketface.export.exporter import export
from pocketface.export.recipe import ExportRecipe
from pocketface.faces.contract import ARCFACE
from pocketface.faces.folders import LabelledFaces
from pocketface.models.checkpoint import load_checkpoint, save_checkpoint
from pocketface.models.factories import load_embedder
from pocketface.models.torchvision_shim import import_torchvision
from pocketface.prune.channels.groups import cut_channels, find_groups, uncut_reasons
from pocketface.prune.pruner import prune
from pocketface.prune.recipe import PruneRecipe

FACE = torch.zeros(1, 3, 112, 112)
PUBLISHED = Path(__file__).parents[2] / "examples" / "published_mobilefacenets.py"


def network(name):
    """Gives a fresh network of timm, or of torchvision, with 64 outputs."""
    models = import_torchvision().models
    if hasattr(models, name):
        return getattr(models, name)(num_classes=64)
    timm = pytest.importorskip("timm", reason="wants the extra `test`")
    return timm.create_model(name, num_classes=64)


def edgenext():
    """What EdgeFace is made of: convolutions, attention across channels, and a linear head."""
    return network("edgenext_xx_small")


class Odd(nn.Module):
    """Shuffled channels, a convolution in four groups, and an attention whose heads are split by hand."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 8, 8)
        self.grouped = nn.Conv2d(32, 32, 3, 2, 1, groups=4)
        self.qkv = nn.Linear(32, 96)
        self.hidden = nn.Linear(32, 48)
        self.back = nn.Linear(48, 32)
        self.embedding = nn.Linear(32, 16)

    def forward(self, x):
        x = self.stem(x).relu()
        x = self.grouped(x.unflatten(1, (4, 8)).transpose(1, 2).flatten(1, 2))
        x = x.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(x).unflatten(2, (3, 4, 8)).permute(2, 0, 3, 1, 4)
        x = x + ((q @ k.transpose(2, 3)).softmax(3) @ v).transpose(1, 2).flatten(2)
        x = x + self.back(self.hidden(x).relu())
        return self.embedding(x.mean(1))


def odd():
    return Odd()


# What stays whole: what makes the embedding; in EdgeNeXt all but the hidden channels of its MLPs, as all others go
# through layer norms; in ShuffleNetV2 what is shuffled.
NETWORKS = {
    "edgenext_xx_small": r"^(?!.*mlp\.fc1$)",
    "edgenext_x_small": r"^(?!.*mlp\.fc1$)",
    "mobilenetv3_small_100": r"^classifier$",
    "ghostnet_100": r"^classifier$",
    "mobileone_s0": r"^head\.fc$",
    "repvit_m0_9": r"^head\.head(_dist)?\.l$",
    "shufflenet_v2_x0_5": r"branch1\.2$|branch2\.5$|^stage[34]\.0\.branch1\.0$|^fc$",
}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_cut_from_a_network_of_others_is_what_its_readers_then_do_without(name):
    torch.manual_seed(0)
    backbone = network(name).eval()
    for key, parameter in backbone.named_parameters():
        if "gamma" in key:  # layer scales start at 1e-6: nothing in their branches would be seen
            nn.init.ones_(parameter)
    layers = [key for key, layer in backbone.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    groups = find_groups(backbone, FACE)
    assert list(uncut_reasons(backbone, FACE, groups)) == [key for key in layers if re.search(NETWORKS[name], key)]
    gone = {group.name: torch.arange(group.width)[i % 3 :: 3] for i, group in enumerate(groups)}
    faces = torch.randn(2, 3, 112, 112)
    expected = without(backbone, groups, gone, faces)
    cut_channels(backbone, groups, gone)
    torch.testing.assert_close(backbone(faces), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert expected.shape == (2, 64)


def without(backbone, groups, gone, faces):
    """Embeds with zeros where the readers of channels that are gone would see them."""
    lost = {}
    for group in groups:
        for share in group.readers:
            lost.setdefault(share.layer, []).extend(share.index[gone[group.name]].flatten().tolist())
    hooks = [backbone.get_submodule(layer).register_forward_pre_hook(hide(lost[layer])) for layer in lost]
    with torch.no_grad():
        embeddings = backbone(faces)
    for hook in hooks:
        hook.remove()
    return embeddings


def hide(channels):
    def before(layer, inputs):
        axis = 1 if isinstance(layer, nn.Conv2d) else -1
        return (inputs[0].index_fill(axis, torch.tensor(channels), 0),)

    return before


def test_an_edgenext_loses_the_hidden_channels_of_its_mlps_and_says_why_nothing_else():
    backbone = edgenext()
    groups = find_groups(backbone, FACE)
    assert all(group.name.endswith(".mlp.fc1") for group in groups)
    assert [group.width for group in groups] == [96] * 2 + [192] * 2 + [352] * 6 + [672] * 2  # four times the stage's
    hidden = {share.layer for group in groups for share in group.shares}
    share = sum(p.numel() for name in hidden for p in backbone.get_submodule(name).parameters())
    assert share > 0.7 * sum(parameter.numel() for parameter in backbone.parameters())
    whole = uncut_reasons(backbone, FACE, groups)
    assert whole["stem.0"] == "they reach 'stem.1', a LayerNorm2d"
    assert whole["stages.1.blocks.1.xca.qkv"] == "they meet the bare parameter 'stages.1.blocks.1.xca.temperature'"
    assert whole["head.fc"] == "they make the embedding"
    assert not set(whole) & {group.name for group in groups}


def test_of_an_odd_network_goes_what_can_and_the_rest_has_its_reason():
    backbone = odd()
    groups = find_groups(backbone, FACE)
    assert [(group.name, group.width) for group in groups] == [("hidden", 48)]
    whole = uncut_reasons(backbone, FACE, groups)
    assert list(whole) == ["stem", "grouped", "qkv", "back", "embedding"]
    assert whole["stem"] == whole["grouped"] == "they reach 'grouped', a convolution in 4 groups"
    assert whole["embedding"] == "they make the embedding"


def test_a_network_of_which_nothing_can_go_is_refused_in_a_sentence_that_names_the_layer():
    with pytest.raises(ValueError) as refusal:
        find_groups(network("convnextv2_atto"), FACE)
    assert str(refusal.value) == (
        "nothing in ConvNeXt can be pruned: "
        "the channels of 'stem.0' cannot go, as they reach 'stages.0.blocks.1.norm', a LayerNorm2d"
    )


@pytest.mark.parametrize("factory", ["edgenext", "odd", "insightface_y1"])
def test_a_network_given_by_file_is_pruned_and_its_checkpoint_embeds_bit_for_bit_the_same(factory, tmp_path):
    architecture = f"{PUBLISHED if factory == 'insightface_y1' else __file__}:{factory}"
    embedder = load_embedder(architecture, contract=ARCFACE)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 112, 112, 3)).astype(np.uint8)
    faces = LabelledFaces(pixels, np.arange(4), tuple("abcd"), "noise")
    recipe = PruneRecipe(by="parameters", remove=0.05, steps=1, epochs=0, variants=1, images=4)
    pruned = prune(embedder, faces, recipe, lambda line: None)
    before, after = pruned.ancestry[-1]["parameters"]
    assert 0.9 * before < after <= 0.95 * before
    folder = save_checkpoint(pruned, tmp_path / "checkpoint")
    np.testing.assert_array_equal(load_checkpoint(folder, architecture).embed(pixels), pruned.embed(pixels))


def test_a_pruned_edgenext_is_the_same_in_every_format(tmp_path):
    embedder = load_embedder(f"{__file__}:edgenext", contract=ARCFACE)
    groups = find_groups(embedder.backbone, FACE)
    cut_channels(embedder.backbone, groups, {group.name: torch.arange(0, group.width, 3) for group in groups})
    pixels = np.random.default_rng(0).integers(0, 256, (4, 112, 112, 3)).astype(np.uint8)
    targets = ("onnx", "tflite-fp32", "tflite-w8a8", "coreml-fp32")
    made = {each.target: each for each in export(embedder, pixels, ExportRecipe(targets=targets), tmp_path)}
    assert {target: each.reason for target, each in made.items() if each.parity is None} == {}
    assert max(made[target].parity.largest_difference for target in targets if "fp32" in target) <= 1e-5
    assert made["onnx"].parity.largest_difference <= 1e-5
    assert made["tflite-w8a8"].parity.cosine_mean >= 0.999
    assert made["tflite-fp32"].artifact.notes[0].text.startswith("5 XNNPACK partitions; fall off: 6 L2_NORMALIZATION")

"""Networks that others made: of convolutions and attention, with shuffled channels, or given as a file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pocketface.export.exporter import export
from pocketface.export.recipe import ExportRecipe
from pocketface.faces.folders import LabelledFaces
from pocketface.models.checkpoint import load_checkpoint, save_checkpoint
from pocketface.models.foreign import load_embedder
from pocketface.models.torchvision_shim import import_torchvision
from pocketface.prune.groups import cut, find_groups, left_whole
from pocketface.prune.pruner import prune
from pocketface.prune.recipe import PruneRecipe

FACE = torch.zeros(1, 3, 112, 112)
PUBLISHED = Path(__file__).parents[1] / "examples" / "published_mobilefacenets.py"


def edgenext(name="edgenext_xx_small"):
    """What EdgeFace is made of: convolutions, then attention across channels, and a linear head."""
    return of_timm(name)


def of_timm(name):
    import_torchvision()
    timm = pytest.importorskip("timm", reason="wants the extra `test`")
    return timm.create_model(name, num_classes=64)


def shuffled(name):
    models = import_torchvision().models
    return getattr(models, name)(num_classes=64)


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


def unprunable():
    return nn.Sequential(nn.Conv2d(3, 8, 16, 16), nn.GroupNorm(2, 8), nn.Flatten(), nn.Linear(392, 16))


NETWORKS = [
    (of_timm, "edgenext_xx_small", 12),
    (of_timm, "edgenext_x_small", 18),
    (of_timm, "mobilenetv3_small_100", 27),
    (of_timm, "ghostnet_100", 31),
    (of_timm, "mobileone_s0", 4),
    (of_timm, "repvit_m0_9", 41),
    (of_timm, "fastvit_t8", 11),
    (shuffled, "shufflenet_v2_x0_5", 18),
]


@pytest.mark.parametrize(("build", "name", "groups_found"), NETWORKS)
def test_what_is_cut_from_a_network_of_others_is_what_its_readers_then_do_without(build, name, groups_found):
    torch.manual_seed(0)
    whole = build(name).eval()
    for key, parameter in whole.named_parameters():
        if "gamma" in key:  # layer scales start at 1e-6: nothing in their branches would be seen
            nn.init.ones_(parameter)
    groups = find_groups(whole, FACE)
    assert len(groups) == groups_found
    gone = {group.name: torch.arange(group.width)[i % 3 :: 3] for i, group in enumerate(groups)}
    faces, before = torch.randn(2, 3, 112, 112), sum(parameter.numel() for parameter in whole.parameters())
    expected = ignoring(whole, groups, gone)(faces)
    cut(whole, groups, gone)
    torch.testing.assert_close(whole(faces), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert sum(parameter.numel() for parameter in whole.parameters()) < 0.85 * before


def ignoring(backbone, groups, gone):
    """Puts zeros where readers would see the channels that are gone."""

    def embed(faces):
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

    return embed


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
    whole = left_whole(backbone, FACE, groups)
    assert whole["stem.0"] == "they reach 'stem.1', a LayerNorm2d"
    assert whole["stages.1.blocks.1.xca.qkv"] == "they meet the bare parameter 'stages.1.blocks.1.xca.temperature'"
    assert whole["head.fc"] == "they make the embedding"
    assert not set(whole) & {group.name for group in groups}


def test_of_an_odd_network_goes_what_can_and_the_rest_has_its_reason():
    backbone = odd()
    groups = find_groups(backbone, FACE)
    assert [(group.name, group.width) for group in groups] == [("hidden", 48)]
    whole = left_whole(backbone, FACE, groups)
    assert list(whole) == ["stem", "grouped", "qkv", "back", "embedding"]
    assert whole["stem"] == whole["grouped"] == "they reach 'grouped', a convolution in 4 groups"
    assert whole["embedding"] == "they make the embedding"


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (
            unprunable,
            "nothing in Sequential can be pruned: the channels of '0' cannot go, as they reach '1', a GroupNorm",
        ),
        (
            lambda: of_timm("convnextv2_atto"),
            "nothing in ConvNeXt can be pruned: the channels of 'stem.0' cannot go, as they reach "
            "'stages.0.blocks.1.norm', a LayerNorm2d",
        ),
    ],
)
def test_a_network_of_which_nothing_can_go_is_refused_in_a_sentence_that_names_the_layer(build, sentence):
    with pytest.raises(ValueError) as refusal:
        find_groups(build(), FACE)
    assert str(refusal.value) == sentence


@pytest.mark.parametrize("factory", [f"{__file__}:edgenext", f"{__file__}:odd", f"{PUBLISHED}:insightface_y1"])
def test_a_network_given_by_file_is_pruned_and_its_checkpoint_embeds_bit_for_bit_the_same(factory, tmp_path):
    embedder = load_embedder(factory)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 112, 112, 3)).astype(np.uint8)
    faces = LabelledFaces(pixels, np.arange(4), tuple("abcd"), "noise")
    recipe = PruneRecipe(by="parameters", remove=0.05, steps=1, epochs=0, variants=1, images=4)
    pruned = prune(embedder, faces, recipe, lambda line: None)
    before, after = pruned.ancestry[-1]["parameters"]
    assert 0.9 * before < after <= 0.95 * before
    folder = save_checkpoint(pruned, tmp_path / "checkpoint")
    np.testing.assert_array_equal(load_checkpoint(folder, factory).embed(pixels), pruned.embed(pixels))


def test_a_pruned_edgenext_is_the_same_in_onnx(tmp_path):
    embedder = load_embedder(f"{__file__}:edgenext")
    groups = find_groups(embedder.backbone, FACE)
    cut(embedder.backbone, groups, {group.name: torch.arange(0, group.width, 3) for group in groups})
    pixels = np.random.default_rng(0).integers(0, 256, (4, 112, 112, 3)).astype(np.uint8)
    (made,) = export(embedder, pixels, ExportRecipe(targets=("onnx",)), tmp_path)
    assert made.parity is not None, made.reason
    assert made.parity.largest_difference <= 1e-5

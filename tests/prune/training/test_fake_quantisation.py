"""What the int8 file will compute, computed in floats, and learnt from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert.schema_py_generated import BuiltinOperator, TensorType
from torch import nn

from pocketface.export.exporter import export
from pocketface.export.formats import open_session
from pocketface.export.recipe import ExportRecipe
from pocketface.faces.contract import InputContract
from pocketface.faces.folders import LabelledFaces, content_sha256
from pocketface.models.checkpoint import load_checkpoint, save_checkpoint
from pocketface.models.embedder import Embedder
from pocketface.models.tflite.tables import unpack
from pocketface.prune.recipe import PruneRecipe, TrainingRecipe
from pocketface.prune.training import trainer as training
from pocketface.prune.training.fake_quantisation import (
    FakeQuantised,
    equalising_scales,
    mean_shift,
    round_activations,
    round_to_levels,
    round_weights,
)
from pocketface.prune.training.trainer import recover

HERE = Path(__file__)


class Tiny(nn.Module):
    """Activations as modules, as functions and in place; a residual; a batch norm with nothing to fold it into."""

    def __init__(self, prelu=False):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.wide = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.BatchNorm2d(16))
        self.activation = nn.PReLU(16) if prelu else nn.ReLU6(inplace=True)
        self.narrow = nn.Sequential(nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16))
        self.alone = nn.BatchNorm2d(16)
        self.embedding = nn.Linear(16 * 64, 8)

    def forward(self, x):
        x = self.norm(self.stem(x))
        x = self.activation(x) if isinstance(self.activation, nn.PReLU) else x.relu()
        x = x + self.narrow(self.activation(self.wide(x)))
        return self.embedding(self.alone(x).relu_().flatten(1))


def tiny(prelu=False):
    """An embedder whose batch norms have seen something, and whose channels are not alike."""
    torch.manual_seed(0)
    backbone = Tiny(prelu)
    for layer in backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.2)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.2, 2.0)
            nn.init.normal_(layer.bias, std=0.3)
        if isinstance(layer, nn.PReLU):
            nn.init.uniform_(layer.weight, -0.5, 0.9)
    return Embedder("tiny", backbone.eval(), InputContract(16, 16), architecture="tests:tiny")


@pytest.fixture(scope="module")
def faces():
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 256, (24, 4, 4, 3)).repeat(4, 1).repeat(4, 2).astype(np.uint8), np.arange(24)
    return LabelledFaces(pixels, labels, tuple(map(str, labels)), content_sha256(pixels, labels))


def silent(line):
    pass


def embedded(network, embedder, faces):
    with torch.no_grad():
        return network(torch.from_numpy(embedder.contract.preprocess(faces.faces))).numpy()


def cosine(left, right):
    return ((left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)).mean()


def test_256_levels_lie_between_the_least_and_the_largest_and_zero_is_one_of_them():
    values = torch.tensor([[[1.0, 0.333]], [[2.55, 0.017]]])
    assert torch.allclose(round_activations(values), torch.tensor([[[1.0, 0.33]], [[2.55, 0.02]]]))
    assert torch.allclose(round_activations(-values), torch.tensor([[[-1.0, -0.33]], [[-2.55, -0.02]]]))
    assert round_activations(torch.tensor([[[-1.0, 0.0, 1.7]]]))[0, 0, 1] == 0


def test_each_channel_is_rounded_at_its_own_scale():
    crops = torch.tensor([[[2.55, 0.004], [0.255, 0.0104]]])
    assert torch.allclose(round_activations(crops), torch.tensor([[[2.55, 0.0], [0.26, 0.01]]]))
    assert torch.allclose(
        round_activations(crops, torch.tensor([1.0, 10.0])), torch.tensor([[[2.55, 0.0], [0.255, 0.010]]])
    )


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_the_shift_is_what_wrong_weights_add_on_the_average(groups):
    generator = torch.Generator().manual_seed(0)
    faces, error = (torch.randn(*shape, generator=generator) for shape in ((4, 6, 5, 5), (6, 6 // groups, 1, 1)))
    added = torch.conv2d(faces + 1, error, groups=groups).mean((0, 2, 3))
    assert torch.allclose(mean_shift(error, faces + 1), added, atol=1e-5)


def test_rounding_is_torchs_own_forward_and_backward():
    torch.manual_seed(0)
    values = torch.cat([torch.randn(2000) * 80, torch.tensor([-128.0, 127.0, 127.4, 127.6, -128.6])]).requires_grad_()
    theirs = torch.fake_quantize_per_tensor_affine(values, 1.0, 0, -128, 127)
    (wanted,) = torch.autograd.grad(theirs.sum(), values)
    ours = round_to_levels(values, -128, 127)
    (found,) = torch.autograd.grad(ours.sum(), values)
    assert torch.equal(ours, theirs) and torch.equal(found, wanted)


def test_weights_round_as_torch_rounds_them_with_a_step_per_filter():
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    steps = weight.abs().flatten(1).amax(1) / 127
    wanted = torch.fake_quantize_per_channel_affine(weight, steps, torch.zeros(4, dtype=torch.int32), 0, -127, 127)
    assert torch.allclose(round_weights(weight), wanted, atol=1e-6)


def test_nothing_at_all_rounds_to_nothing():
    assert torch.equal(round_activations(torch.zeros(2, 3, 4, 4)), torch.zeros(2, 3, 4, 4))
    assert torch.equal(round_weights(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_quiet_channels_are_scaled_to_the_loudest_and_half_of_the_way_to_its_root():
    values = torch.tensor([[[4.0, -16.0], [1.0, 0.5]]])
    assert equalising_scales(values, 1.0).tolist() == [1, 16] and equalising_scales(values, 0.5).tolist() == [1, 4]


def test_a_clip_leaves_room_for_a_quarter_more():
    values = torch.tensor([[[6.0, 0.0], [1.2, 0.5], [0.0, 0.0]]])
    assert equalising_scales(values, 1.0, 6.0).tolist() == pytest.approx([1, 4, 64])


@pytest.mark.parametrize("prelu", [False, True])
def test_it_rounds_where_the_file_rounds_and_computes_what_the_file_computes(faces, tmp_path, prelu):
    embedder, one = tiny(prelu), LabelledFaces(faces.faces[:1], faces.labels[:1], ("0",), "one")
    made = export(embedder, one.faces, ExportRecipe(targets=("tflite-w8a8",), ranges="minmax"), tmp_path)
    path = next(result.artifact.path for result in made if result.target == "tflite-w8a8")
    network = FakeQuantised(embedder)
    assert len(network._plan.rounded_nodes) == 1 + int8_results(path)  # and the faces
    file = open_session(path).run(embedder.contract.preprocess(one.faces))
    ours = embedded(network, embedder, one)
    assert np.abs(ours - file).max() < 1.3 * np.ptp(ours) / 255  # a step of the last int8, in ties


def int8_results(path):
    """Counts the operators that give int8 and do more than move it."""
    model = unpack(path.read_bytes())
    graph, codes = model.subgraphs[0], [code.builtinCode for code in model.operatorCodes]
    moving = BuiltinOperator.PAD, BuiltinOperator.RESHAPE
    computing = [operator for operator in graph.operators if codes[operator.opcodeIndex] not in moving]
    return sum(graph.tensors[operator.outputs[0]].type == TensorType.INT8 for operator in computing)


def test_its_parameters_are_the_embedders_own(faces):
    embedder = tiny()
    network = FakeQuantised(embedder)
    names = {name.removeprefix("backbone.") for name, _ in network.named_parameters()}
    assert names == {name for name, _ in embedder.backbone.named_parameters()}
    network(torch.from_numpy(embedder.contract.preprocess(faces.faces))).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in embedder.backbone.parameters())


QUICK = TrainingRecipe(precision="w8a8", epochs=6, batch_size=8, variants=1, learning_rate=1e-3)


def coarse():
    """An embedder that int8 hurts: two of its channels are twenty times as loud as the others."""
    embedder = tiny()
    with torch.no_grad():
        embedder.backbone.norm.weight[0] *= 20
        embedder.backbone.wide[0].weight[0] /= 20
        embedder.backbone.alone.weight[3] *= 20
    return embedder


def test_what_learns_through_the_rounding_loses_less_by_it(faces):
    teacher = coarse()
    learnt = recover(teacher, faces, QUICK.model_copy(update={"epochs": 40}), teacher, silent)
    wanted = embedded(teacher.backbone, teacher, faces)
    before = 1 - cosine(embedded(FakeQuantised(teacher), teacher, faces), wanted)
    after = 1 - cosine(embedded(FakeQuantised(learnt), learnt, faces), wanted)
    assert after < 0.5 * before


def test_what_comes_out_is_an_ordinary_checkpoint(faces, tmp_path):
    embedder = tiny()
    learnt = recover(embedder, faces, QUICK, embedder, silent)
    assert type(learnt.backbone) is Tiny and learnt.ancestry[-1]["recipe"]["precision"] == "w8a8"
    before, after = embedder.backbone.state_dict(), learnt.backbone.state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name, _ in embedder.backbone.named_parameters()}  # statistics stay
    save_checkpoint(learnt, tmp_path / "checkpoint")
    read = load_checkpoint(tmp_path / "checkpoint", f"{HERE}:Tiny")
    np.testing.assert_array_equal(read.embed(faces.faces), learnt.embed(faces.faces))


@pytest.mark.parametrize("lines_heard", [2, 7])
def test_a_killed_recovery_that_is_resumed_ends_with_the_same_bits(faces, tmp_path, monkeypatch, lines_heard):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_SAVES", 0.0)  # after every batch, not only every half minute
    embedder, heard = tiny(prelu=True), []

    def killer(line):
        heard.append(line)
        if len(heard) == lines_heard:
            raise KeyboardInterrupt

    expected = recover(embedder, faces, QUICK, embedder, silent)
    with pytest.raises(KeyboardInterrupt):
        recover(embedder, faces, QUICK, embedder, killer, tmp_path)
    resumed = recover(embedder, faces, QUICK, embedder, silent, tmp_path)
    mine, other = resumed.backbone.state_dict(), expected.backbone.state_dict()
    assert all(torch.equal(mine[name], other[name]) for name in mine)


class Moody(Tiny):
    """A network that looks at its numbers before it decides what to do."""

    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)


def test_what_cannot_be_traced_is_refused():
    embedder = Embedder("moody", Moody().eval(), InputContract(16, 16), architecture="tests:moody")
    with pytest.raises(ValueError, match="moody cannot be traced, so it can be trained in fp32 only"):
        FakeQuantised(embedder)


def test_pruning_itself_learns_in_fp32():
    with pytest.raises(ValueError, match="when recovering after pruning, not for pruning itself"):
        PruneRecipe(precision="w8a8")

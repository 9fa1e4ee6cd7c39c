"""PReLUs become cheaper activations, and the network learns to do without them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pocketface.faces.contract import InputContract
from pocketface.faces.folders import LabelledFaces, content_sha256
from pocketface.models.activations import activations_of, replace_activations
from pocketface.models.checkpoint import load_checkpoint, save_checkpoint
from pocketface.models.embedder import Embedder
from pocketface.models.zoo import create
from pocketface.prune.recipe import PruneRecipe, TrainingRecipe
from pocketface.prune.training import trainer as training
from pocketface.prune.training.fading_activations import fading, finish_fading
from pocketface.prune.training.trainer import recover

HERE = Path(__file__)


def backbone():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 4, 4), nn.PReLU(8), nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.PReLU(8)
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 4))
    for at in (1, 4):
        nn.init.uniform_(network[at].weight, -0.5, 0.8)
    return network.eval()


@pytest.fixture
def embedder():
    return Embedder("tiny", backbone(), InputContract(16, 16), architecture="tests:tiny")


@pytest.fixture(scope="module")
def faces():
    pixels = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3)).astype(np.uint8)
    return LabelledFaces(pixels, np.arange(24), tuple(map(str, range(24))), content_sha256(pixels, np.arange(24)))


def silent(line):
    pass


QUICK = TrainingRecipe(epochs=6, batch_size=8, variants=1, learning_rate=3e-3, activation="leaky")

SLOPES = torch.tensor([-0.5, 0.25, 1.0])  # their mean is 0.25
INPUTS = torch.tensor([[-4.0, -4.0, -4.0], [8.0, 5.0, 7.0]])


@pytest.mark.parametrize(
    ("kind", "start", "half", "end"),
    [
        ("relu", [2, -1, -4], [1, -0.5, -2], [[0, 0, 0], [8, 5, 7]]),
        ("relu6", [2, -1, -4], [1, -0.5, -2], [[0, 0, 0], [6, 5, 6]]),
        ("leaky", [2, -1, -4], [0.5, -1, -2.5], [[-1, -1, -1], [8, 5, 7]]),
    ],
)
def test_a_prelu_fades_in_half_of_the_training(kind, start, half, end):
    network = nn.Sequential(nn.PReLU(3))
    network[0].weight.data.copy_(SLOPES)
    with fading(network, TrainingRecipe(activation=kind)) as tell:
        assert network(INPUTS)[0].tolist() == start
        tell(0.25)
        assert network(INPUTS)[0].tolist() == half
        for done in (0.5, 1.0):
            tell(done)
            assert network(INPUTS).tolist() == end
    assert network(INPUTS)[0].tolist() == start  # nothing was put in its place yet
    finish_fading(network, TrainingRecipe(activation=kind))
    assert network(INPUTS).tolist() == end and not list(network.parameters())


def test_only_the_first_are_replaced(embedder):
    finish_fading(embedder.backbone, TrainingRecipe(activation="relu6", activation_layers=1))
    assert activations_of(embedder.backbone) == {"1": "relu6", "4": "prelu"}


def test_nothing_is_replaced_where_nothing_is_asked(embedder, faces):
    recipe = QUICK.model_copy(update={"activation": None})
    assert activations_of(recover(embedder, faces, recipe, embedder, silent).backbone) == {"1": "prelu", "4": "prelu"}


@pytest.mark.parametrize("kind", ["relu", "relu6", "leaky"])
def test_a_network_learns_to_do_without_prelus(embedder, faces, kind):
    recipe = QUICK.model_copy(update={"epochs": 60, "activation": kind})
    wanted = embedder.embed(faces.faces)
    at_once = embedder.clone()
    finish_fading(at_once.backbone, recipe)
    learnt = recover(embedder, faces, recipe, embedder, silent)
    before, after = (1 - (net.embed(faces.faces) * wanted).sum(1).mean() for net in (at_once, learnt))
    assert after < 0.3 * before
    assert not any(isinstance(layer, nn.PReLU) for layer in learnt.backbone.modules())
    assert activations_of(embedder.backbone) == {"1": "prelu", "4": "prelu"}  # the given one stays


def test_its_checkpoint_says_what_stands_where(embedder, faces, tmp_path):
    learnt = recover(embedder, faces, QUICK, embedder, silent)
    slopes = activations_of(learnt.backbone)
    assert learnt.ancestry[-1]["recipe"]["activation"] == "leaky" and all(isinstance(s, float) for s in slopes.values())
    save_checkpoint(learnt, tmp_path / "checkpoint")
    read = load_checkpoint(tmp_path / "checkpoint", f"{HERE}:backbone")
    assert activations_of(read.backbone) == slopes
    np.testing.assert_array_equal(read.embed(faces.faces), learnt.embed(faces.faces))


def test_a_network_of_the_zoo_is_read_back_too(tmp_path):
    embedder = create("mobilefacenet", width=0.25)
    first = next(iter(activations_of(embedder.backbone)))
    replace_activations(embedder.backbone, {first: 0.125})
    read = load_checkpoint(save_checkpoint(embedder, tmp_path / "checkpoint"))
    kinds = list(activations_of(read.backbone).values())
    assert kinds == [0.125, *["prelu"] * 32]


@pytest.mark.parametrize("lines_heard", [2, 10])
def test_a_killed_recovery_that_is_resumed_ends_with_the_same_bits(embedder, faces, tmp_path, monkeypatch, lines_heard):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_SAVES", 0.0)  # after every batch, not only every half minute
    heard = []

    def killer(line):
        heard.append(line)
        if len(heard) == lines_heard:
            raise KeyboardInterrupt

    expected = recover(embedder, faces, QUICK, embedder, silent)
    with pytest.raises(KeyboardInterrupt):
        recover(embedder, faces, QUICK, embedder, killer, tmp_path)
    for _ in range(2):  # a finished one is not trained again
        resumed = recover(embedder, faces, QUICK, embedder, silent, tmp_path)
        mine, other = resumed.backbone.state_dict(), expected.backbone.state_dict()
        assert mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)
        assert activations_of(resumed.backbone) == activations_of(expected.backbone)


def test_more_prelus_than_there_are_cannot_be_replaced(embedder, faces):
    recipe = QUICK.model_copy(update={"activation_layers": 3})
    with pytest.raises(ValueError, match="3 PReLUs cannot become leaky: the network has 2"):
        recover(embedder, faces, recipe, embedder, silent)


@pytest.mark.parametrize(
    ("recipe", "values", "sentence"),
    [
        (TrainingRecipe, {"activation": "swish"}, "activation"),
        (TrainingRecipe, {"activation_layers": 3}, "set activation to what replaces them"),
        (TrainingRecipe, {"activation": "relu", "precision": "w8a8"}, "activations are replaced in fp32"),
        (PruneRecipe, {"activation": "relu"}, "not for pruning"),
    ],
)
def test_a_recipe_that_means_nothing_is_refused(recipe, values, sentence):
    with pytest.raises(ValueError, match=sentence):
        recipe(**values)

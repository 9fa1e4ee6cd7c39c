"""Activations are read off a backbone and set on it."""

import pytest
import torch
from torch import nn

from pocketface.faces.contract import InputContract
from pocketface.models.activations import activations_of, replace_activations
from pocketface.models.embedder import Embedder


def tiny():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.PReLU(4), nn.ReLU6(), nn.LeakyReLU(0.25), nn.Sigmoid())


def test_each_kind_has_its_name_and_a_leaky_one_its_slope():
    assert activations_of(tiny()) == {"1": "prelu", "2": "relu6", "3": 0.25}


def test_what_was_read_off_one_network_can_be_set_on_another():
    backbone, other = tiny(), tiny()
    replace_activations(backbone, {"1": -0.5, "3": "relu"})
    assert activations_of(backbone) == {"1": -0.5, "2": "relu6", "3": "relu"}
    assert backbone[1](torch.tensor([-2.0, 3.0])).tolist() == [1, 3]
    replace_activations(other, activations_of(backbone))
    assert activations_of(other) == activations_of(backbone)


def test_another_activation_is_another_embedder_even_with_the_same_weights():
    embedder = Embedder("tiny", tiny(), InputContract(8, 8), "tiny")
    other = embedder.clone()
    replace_activations(other.backbone, {"2": "relu"})
    assert embedder.clone().sha256 == embedder.sha256 != other.sha256


def test_what_stays_keeps_its_weights():
    backbone = tiny()
    slopes = backbone[1].weight
    replace_activations(backbone, {"1": "prelu", "2": "relu"})
    assert backbone[1].weight is slopes


def test_an_activation_that_is_used_twice_is_replaced_twice():
    shared = nn.PReLU()
    backbone = nn.ModuleDict({"a": nn.Sequential(shared), "b": nn.Sequential(shared)})
    replace_activations(backbone, {"a.0": "relu6"})
    assert isinstance(backbone["b"][0], nn.ReLU6) and backbone["a"][0] is backbone["b"][0]


@pytest.mark.parametrize(
    ("activations", "sentence"),
    [
        ({"0": "relu"}, "there is none at '0'"),
        ({"9": "relu"}, "there is none at '9'"),
        ({"2": "prelu"}, "'2' cannot become 'prelu'"),
        ({"2": "os.system"}, "cannot become 'os.system'"),
        ({"2": float("nan")}, "cannot become nan"),
        ({"2": True}, "cannot become True"),
        ({"2": [0.1]}, "cannot become"),
    ],
)
def test_what_cannot_be_is_refused(activations, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace_activations(tiny(), activations)

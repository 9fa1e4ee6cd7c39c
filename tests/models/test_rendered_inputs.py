"""Faces for proofs: of any size and number of channels, of different people, the same in every call."""

import torch

from pocketface.faces.contract import InputContract
from pocketface.models.rendered_inputs import rendered_inputs


def test_faces_are_in_the_contracts_range_and_of_different_people():
    faces = rendered_inputs(InputContract(24, 16), 2)
    assert faces.shape == (2, 3, 24, 16)
    assert -1 <= float(faces.min()) < 0 < float(faces.max()) <= 1
    assert float((faces[0] - faces[1]).abs().mean()) > 0.05
    assert torch.equal(faces, rendered_inputs(InputContract(24, 16), 2))


def test_a_gray_network_gets_one_channel():
    assert rendered_inputs(InputContract(20, 20, channel_order="gray"), 1).shape == (1, 1, 20, 20)

"""Classifier heads on two or three people in the plane, where angles are seen."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pocketface.prune.training.classifier_heads import (
    LOSSES,
    ClassifierHead,
    arcface_loss,
    cosface_loss,
    random_rows,
    softmax_loss,
)

AXES = torch.eye(2)  # two people, at 0 and at 90 degrees
FIRST = torch.tensor([0])


def at(*degrees, length=1.0):
    """Embeddings at these angles to the first person."""
    angles = torch.tensor([math.radians(degree) for degree in degrees], dtype=torch.float64)
    return (length * torch.stack([angles.cos(), angles.sin()], 1)).float()


def from_logits(right, wrong):
    """The cross-entropy of two logits: log(1 + exp(wrong - right))."""
    return math.log1p(math.exp(wrong - right))


def test_softmax_is_the_cross_entropy_of_a_linear_layer():
    embeddings = torch.tensor([[1.0, 0.0], [2.0, 3.0]])
    assert softmax_loss(embeddings, torch.tensor([0, 0]), AXES, torch.zeros(2)).item() == pytest.approx(
        (0.3132617 + 1.3132617) / 2  # log(1 + 1/e) and log(1 + e)
    )
    assert softmax_loss(embeddings[:1], FIRST, AXES, torch.tensor([0.0, 1.0])).item() == pytest.approx(math.log(2))


def test_arcface_adds_half_a_radian_to_the_angle():
    # 30 degrees and half a radian are 58.648 degrees, whose cosine is 0.520296; the other person is 60 degrees away.
    loss = arcface_loss(at(30, length=7), FIRST, AXES).item()
    assert loss == pytest.approx(from_logits(64 * 0.520296, 64 * 0.5), abs=1e-4)
    assert loss == pytest.approx(0.241234, abs=1e-5)


def test_arcface_falls_on_along_a_line_where_the_angle_would_pass_half_a_turn():
    # At 180 degrees: cos(180 degrees) - 0.5 sin(0.5) = -1.239713. The other person is 90 degrees away.
    assert arcface_loss(at(180), FIRST, AXES).item() == pytest.approx(64 * 1.239713, abs=1e-2)


def test_arcface_falls_with_every_degree():
    # The other person lies across the plane of the angle, so that only the right logit changes.
    angles = torch.arange(0.0, 181.0)
    embeddings = torch.cat([at(*angles.tolist()), torch.zeros(181, 1)], 1)
    weight = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    losses = torch.stack([arcface_loss(embedding[None], FIRST, weight) for embedding in embeddings])
    assert (losses.diff()[50:] > 0).all()  # before that exp(-64 cos) is less than a float's last digit
    assert losses[-1] - losses[50] > 64


def test_cosface_takes_its_margin_off_the_cosine():
    assert cosface_loss(at(60, length=9), FIRST, AXES).item() == pytest.approx(
        from_logits(64 * (0.5 - 0.35), 64 * 0.8660254), abs=1e-4
    )


@pytest.mark.parametrize("loss", [arcface_loss, cosface_loss])
def test_without_a_margin_a_softmax_of_64_cosines_is_left(loss):
    torch.manual_seed(0)
    embeddings, weight, labels = torch.randn(9, 5), torch.randn(4, 5), torch.arange(9) % 4
    cosines = torch.nn.CosineSimilarity(dim=2)(embeddings[:, None], weight[None])
    torch.testing.assert_close(loss(embeddings, labels, weight, margin=0.0), F.cross_entropy(64 * cosines, labels))


@pytest.mark.parametrize("loss", [arcface_loss, cosface_loss])
def test_the_length_of_an_embedding_and_of_a_row_counts_for_nothing(loss):
    torch.testing.assert_close(loss(at(50), FIRST, AXES), loss(at(50, length=40), FIRST, 0.01 * AXES))


@pytest.mark.parametrize("loss", [arcface_loss, cosface_loss])
@pytest.mark.parametrize("degrees", [0, 180])
def test_gradients_are_finite_where_embedding_and_row_are_parallel(loss, degrees):
    embeddings, weight = at(degrees).requires_grad_(), AXES.clone().requires_grad_()
    loss(embeddings, FIRST, weight).backward()
    assert torch.isfinite(embeddings.grad).all()
    assert torch.isfinite(weight.grad).all()


@pytest.mark.parametrize("degrees", [5, 40, 100, 140, 170])
@pytest.mark.parametrize("loss", [arcface_loss, cosface_loss])
def test_gradients_are_those_of_differences(loss, degrees):
    embeddings = at(degrees, length=2).double().requires_grad_()
    weight = torch.tensor([[1.0, 0.1], [0.3, 1.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda e, w: loss(e, FIRST, w), (embeddings, weight))


# Heads


def test_a_head_begins_with_the_rows_it_is_given():
    rows = np.array([[0, 1], [1, 0], [0, -1]], np.float32)
    head = ClassifierHead("cosface", rows)
    rows[:] = 9
    assert head.weight.tolist() == [[0, 1], [1, 0], [0, -1]]
    assert head.loss(torch.tensor([[0.0, 5.0]]), FIRST).item() == pytest.approx(0, abs=1e-6)


def test_a_softmax_has_a_bias_and_a_margin_has_none():
    rows = np.eye(3, dtype=np.float32)
    names = {signal: sorted(name for name, _ in ClassifierHead(signal, rows).named_parameters()) for signal in LOSSES}
    assert names == {"softmax": ["bias", "weight"], "arcface": ["weight"], "cosface": ["weight"]}


@pytest.mark.parametrize("signal", LOSSES)
def test_a_head_learns_who_is_who(signal):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    embeddings = 4 * torch.eye(3)[labels] + 0.3 * torch.randn(60, 3, generator=generator)
    head = ClassifierHead(signal, random_rows(3, 3, seed=0))
    optimiser = torch.optim.SGD(head.parameters(), 0.05)
    losses = []
    for _ in range(60):
        loss = head.loss(embeddings, labels)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < 0.2 * losses[0]
    assert (F.normalize(head.weight, dim=1) @ embeddings.T).argmax(0).tolist() == labels.tolist()


def test_an_unknown_signal_names_the_known_ones():
    with pytest.raises(ValueError, match="no head for the signal 'triplet'; known: arcface, cosface, softmax"):
        ClassifierHead("triplet", np.eye(2, dtype=np.float32))


def test_random_rows_are_of_unit_length_and_follow_the_seed():
    rows = random_rows(50, 20, seed=1)
    assert rows.dtype == np.float32
    assert np.allclose((rows**2).sum(1), 1)
    assert abs(rows.mean()) < 0.03
    assert np.array_equal(rows, random_rows(50, 20, seed=1))
    assert not np.array_equal(rows, random_rows(50, 20, seed=2))

"""Which layers have a cost of their own, and how they run."""

from torch import nn

from pocketface.faces.contract import InputContract
from pocketface.models.embedder import Embedder
from pocketface.models.layer_runs import LayerShape, layer_runs


def embedder_of(*layers):
    return Embedder("tiny", nn.Sequential(*layers, nn.Flatten()), InputContract(16, 16), architecture="tests:tiny")


def shaped_runs(embedder):
    """By layer, each run of one that can be cut: its shape, inputs and outputs."""
    runs = {}
    for run in layer_runs(embedder):
        if run.shape is not None:
            runs.setdefault(run.name, []).append((run.shape, run.inputs, run.outputs))
    return runs


def test_layers_run_as_they_are_shaped():
    embedder = embedder_of(
        nn.Conv2d(3, 8, 3, stride=2, padding=(1, 0)),  # 16 x 16 -> 8 x 7
        nn.PReLU(8),
        nn.Conv2d(8, 8, (2, 3), groups=8, padding="same"),
        nn.Flatten(),
        nn.Linear(448, 4),
    )
    assert shaped_runs(embedder) == {
        "0": [(LayerShape("dense", (16, 16), (3, 3), (2, 2), (1, 1), (1, 0, 1, 0)), 3, 8)],
        "1": [(LayerShape("slopes", (8, 7)), 8, 8)],
        "2": [(LayerShape("depthwise", (8, 7), (2, 3), (1, 1), (1, 1), (0, 1, 1, 1)), 8, 8)],
        "4": [(LayerShape("dense", (1, 1)), 448, 4)],
    }


def test_batch_norms_cost_where_they_cannot_be_folded():
    embedder = embedder_of(
        nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 16), nn.BatchNorm2d(4)
    )
    assert shaped_runs(embedder)["3"] == [(LayerShape("depthwise", (16, 16)), 8, 8)]
    assert "1" not in shaped_runs(embedder) and "5" not in shaped_runs(embedder)


def test_what_is_never_cut_is_left_out():
    embedder = embedder_of(nn.Conv2d(3, 8, 1), nn.PReLU(), nn.Conv2d(8, 8, 1, groups=2), nn.Conv2d(8, 4, 16))
    assert list(shaped_runs(embedder)) == ["0", "3"]


def test_a_layer_that_runs_twice_has_two_runs():
    once = nn.Conv2d(8, 8, 1)
    embedder = embedder_of(nn.Conv2d(3, 8, 1), once, nn.MaxPool2d(2), once, nn.Conv2d(8, 4, 8))
    assert [shape.size for shape, _, _ in shaped_runs(embedder)["1"]] == [(16, 16), (8, 8)]

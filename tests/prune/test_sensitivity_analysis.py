"""What a group alone would lose, on networks of eight channels of which it is known what each is worth."""

import numpy as np
import pytest
import torch
from torch import nn

from pocketface.faces.contract import InputContract
from pocketface.faces.folders import LabelledFaces
from pocketface.models.batch_norm import reestimate_batch_norms
from pocketface.models.complexity import parameters
from pocketface.models.embedder import Embedder
from pocketface.models.widths import widths_of
from pocketface.prune.recipe import PruneRecipe
from pocketface.prune.sensitivity_analysis import (
    counts_of,
    sensitivity,
)

BY_WEIGHT = PruneRecipe(criterion="l1", round_to=1)  # the smallest filters go first, whatever the faces
UNUSED = 4  # of eight channels, the smallest ones


class Eight(nn.Module):
    """Eight channels, each larger than the one before; the embedding hears only the last four."""

    def __init__(self, norm: bool = False):
        super().__init__()
        self.make = nn.Conv2d(3, 8, 1, bias=False)
        self.norm = nn.BatchNorm2d(8) if norm else nn.Identity()
        self.read = nn.Linear(8, 5, bias=False)
        with torch.no_grad():
            self.make.weight *= torch.arange(1, 9)[:, None, None, None] / self.make.weight.abs().sum(1, keepdim=True)
            self.read.weight[:, :UNUSED] = 0

    def forward(self, x):
        return self.read(self.norm(self.make(x)).relu().mean((2, 3)))


class Residual(nn.Module):
    """A group that feeds an addition, `stem`, and one that does not, `inner`."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner, self.back = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 1), nn.Conv2d(16, 8, 1)
        self.read = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x).relu()
        return self.read((x + self.back(self.inner(x).relu())).mean((2, 3)))


def embedder(network, *arguments):
    torch.manual_seed(0)
    return Embedder("net", network(*arguments).eval(), InputContract(8, 8), architecture="tests:net")


@pytest.fixture(scope="module")
def faces():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    return LabelledFaces(pixels, np.arange(40) % 4, ("a", "b", "c", "d"), "")


def measured(net, faces, shares, recipe=BY_WEIGHT, **more):
    return sensitivity(net, faces, recipe, shares, progress=lambda line: None, **more)


@pytest.mark.parametrize(
    ("width", "shares", "round_to", "counts"),
    [
        (64, (0.125, 0.25, 0.5, 0.75), 8, [8, 16, 32, 48]),
        (64, (0.1,), 8, [8]),  # 57.6 would be left: 56 is the nearest multiple
        (16, (0.125, 0.25, 0.5, 0.75), 8, [2, 4, 8, 12]),  # only a half leaves a multiple; no bunch fits elsewhere
        (20, (0.5,), 8, [12]),
        (4, (0.01, 0.99), 8, [1, 3]),  # at least one goes, at least one stays
        (64, (0.24, 0.25, 0.26), 8, [16]),
        (1, (0.5,), 8, []),
    ],
)
def test_what_is_left_is_a_multiple_where_one_is_near(width, shares, round_to, counts):
    assert counts_of(width, shares, round_to) == counts


def test_cutting_what_nothing_hears_costs_nothing_and_the_rest_does(faces):
    rows = measured(embedder(Eight), faces, (0.25, 0.5, 0.75))
    assert [(row.group, row.layers, row.width, row.cut, row.share) for row in rows] == [
        ("make", ("make",), 8, 2, 0.25),
        ("make", ("make",), 8, 4, 0.5),
        ("make", ("make",), 8, 6, 0.75),
    ]
    assert [row.drift for row in rows[:2]] == pytest.approx([0, 0], abs=1e-6)
    assert rows[2].drift > 1e-3


def test_drift_is_one_minus_the_mean_cosine_to_the_whole_network_on_the_faces_held_out(faces):
    net, seen = embedder(Eight), []

    class Source:
        """Faces that remember which of them were asked for."""

        shape = faces.faces.shape

        def __len__(self):
            return len(faces.faces)

        def __getitem__(self, chosen):
            seen.append(np.asarray(chosen))
            return faces.faces[chosen]

    (row,) = measured(net, LabelledFaces(Source(), faces.labels, faces.names, ""), (0.75,))
    *looked_at, held_out = seen
    assert len(held_out) == 20 and not set(held_out) & set(np.concatenate(looked_at))

    x = (faces.faces[held_out].reshape(20, 64, 3) / 255 * 2 - 1).astype(np.float64)
    make, read = (net.backbone.get_parameter(f"{name}.weight").detach().numpy() for name in ("make", "read"))
    channels = np.maximum(x @ make[:, :, 0, 0].T, 0).mean(1)
    whole, smaller = channels @ read.T, channels[:, 6:] @ read[:, 6:].T
    cosines = (whole * smaller).sum(1) / np.linalg.norm(whole, axis=1) / np.linalg.norm(smaller, axis=1)
    assert row.drift == pytest.approx(1 - cosines.mean(), abs=1e-6)


def test_what_other_faces_do_to_batch_norms_is_no_drift(faces):
    net = embedder(Eight, True)  # its batch norm remembers mean 0 and variance 1, which no face has
    settled = net.clone()
    reestimate_batch_norms(settled.backbone, [torch.from_numpy(net.contract.preprocess(faces.faces))])
    assert 1 - (net.embed(faces.faces) * settled.embed(faces.faces)).sum(1).mean() > 1e-3
    means = []
    half, most = measured(net, faces, (0.5, 0.75), judge=lambda e: means.append(e.backbone.norm.running_mean) or 0.5)
    assert half.drift < 1e-6 < 1e-3 < most.drift
    assert [bool(mean.abs().min() > 0) for mean in means] == [True, True]  # the cut networks' are taken anew too


def test_each_group_is_cut_alone_and_the_embedder_stays_as_it_is(faces):
    net, seen = embedder(Residual), []
    before = {name: tensor.clone() for name, tensor in net.backbone.state_dict().items()}

    def judge(smaller):
        widths = widths_of(smaller.backbone)
        seen.append((widths["stem"][1], widths["inner"][1]))
        return parameters(smaller.backbone) / 1000

    rows = measured(net, faces, (0.25, 0.5), judge=judge)
    assert [(row.group, row.cut) for row in rows] == [("stem", 2), ("stem", 4), ("inner", 4), ("inner", 8)]
    assert rows[0].layers == ("stem", "back")
    assert seen == [(6, 16), (4, 16), (8, 12), (8, 8)]
    # stem and back 8 -> 6 wide: 6*4 + 16*7 + 6*17 + 5*7
    assert rows[0].accuracy == 0.273
    assert all(torch.equal(before[name], tensor) for name, tensor in net.backbone.state_dict().items())


def test_the_scope_of_the_papers_leaves_out_what_feeds_an_addition(faces):
    recipe = BY_WEIGHT.model_copy(update={"scope": "papers"})
    assert [row.group for row in measured(embedder(Residual), faces, (0.5,), recipe)] == ["inner"]


def test_a_line_is_told_for_each_group(faces):
    heard = []
    sensitivity(embedder(Residual), faces, BY_WEIGHT, (0.5,), progress=heard.append)
    assert [line.split(":")[0] for line in heard] == [
        "group 1 of 2, stem, 8 channels",
        "group 2 of 2, inner, 16 channels",
    ]


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 25.0])
def test_a_share_that_is_none_is_refused(faces, share):
    with pytest.raises(ValueError, match=r"between 0 and 1, and .* are not all; 0\.25 is a quarter"):
        measured(embedder(Eight), faces, (0.5, share))


def test_too_few_faces_are_refused(faces):
    few = LabelledFaces(faces.faces[:3], faces.labels[:3], faces.names, "")
    with pytest.raises(ValueError, match="measured on faces, and 3 are too few"):
        measured(embedder(Eight), few, (0.5,))

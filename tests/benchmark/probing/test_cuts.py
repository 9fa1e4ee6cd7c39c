"""Ways to cut faces, on photos whose landmarks are known and crops whose pixels are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pocketface as pf
from pocketface.benchmark.accuracy.intervals import Estimate
from pocketface.benchmark.probing.cuts import Cut, are_crops, cuts_of_crops, cuts_of_photos, found_faces
from pocketface.benchmark.probing.networks import open_network
from pocketface.benchmark.probing.race import race_cuts
from pocketface.benchmark.probing.result import ProbeResult, TriedContract, TriedCut
from pocketface.benchmark.probing.samples import unlabelled_sample
from pocketface.faces.contract import ARCFACE, InputContract

from .conftest import SIDE, red_faces

NOISE = np.random.default_rng(0).integers(0, 256, (20, 112, 112, 3), np.uint8)


def detector(landmarks):
    """Gives a detector that finds one face with these landmarks, in a box 25 pixels around them, in every photo."""
    low, high = landmarks.min(axis=0) - 25, landmarks.max(axis=0) + 25
    row = np.array([[*low, *(high - low), *landmarks.ravel(), 1.0]])
    return lambda photo: row


def test_pictures_whose_landmarks_lie_on_the_template_are_crops():
    found = found_faces(NOISE, range(20), detector(ARCFACE.landmarks + 3))
    assert are_crops(found) and [face.person for face in found] == list(range(20))


def test_pictures_whose_landmarks_lie_elsewhere_are_photos():
    assert not are_crops(found_faces(NOISE, range(20), detector(ARCFACE.landmarks + 8)))


def test_faces_in_too_few_photos_are_refused():
    with pytest.raises(ValueError, match="finds a face in 0 of 20 pictures; 20 are the fewest"):
        found_faces(NOISE, range(20), lambda photo: np.zeros((0, 15)))


def test_a_photo_is_cut_by_each_template_and_without_alignment():
    wide = np.zeros((20, 300, 400, 3), np.uint8)
    wide[:, 100:212, 150:262] = NOISE  # aligned crops in the middle of black photos
    found = found_faces(wide, range(20), detector(ARCFACE.landmarks + np.array([150, 100])))
    cuts = {cut.name: cut for cut in cuts_of_photos(found, False, 112)}
    assert np.abs(cuts["aligned"].sample.crops[::2].astype(int) - NOISE).max() <= 1
    looser = cuts["aligned, looser: face 80 % as large"]
    assert looser.template == "arcface-80"
    assert not looser.sample.crops[::2, :11].any() and looser.sample.crops[::2, 12:100, 12:100].any()
    assert cuts["not aligned: whole pictures"].template == ""
    assert [cut.template for cut in cuts.values()].count("") == 3


def test_tighter_crops_are_the_middle_of_those_given():
    columns = np.broadcast_to(np.arange(112, dtype=np.uint8)[None, None, :, None], (20, 112, 112, 3)).copy()
    given, *tighter = cuts_of_crops(unlabelled_sample(columns), aligned=True)
    assert (given.name, given.template) == ("as given", "arcface")
    assert [cut.template for cut in tighter] == ["arcface-112", "arcface-125"]
    assert tighter[1].sample.crops[0, 50, [0, 55, 111], 0].tolist() == pytest.approx([11, 55, 100], abs=1)
    assert len(cuts_of_crops(unlabelled_sample(columns), aligned=False)) == 1


def test_the_usual_cut_is_best_unless_another_separates_better_for_sure(network, tmp_path: Path):
    opened = open_network(str(network()), None, tmp_path).opened
    contract = InputContract(SIDE, SIDE)
    told, same = unlabelled_sample(red_faces()), unlabelled_sample(red_faces(seed=3)[:, ::-1])
    best, other = race_cuts(opened, contract, [Cut("usual", "arcface", told), Cut("other", "", same)])
    assert (best.name, best.behind) == ("usual", None) and other.behind is not None
    grey = np.broadcast_to(red_faces()[:1], (40, SIDE, SIDE, 3)).copy()
    best, usual = race_cuts(
        opened, contract, [Cut("usual", "arcface", unlabelled_sample(grey)), Cut("other", "", told)]
    )
    assert best.name == "other" and usual.behind is not None and usual.behind.low > 0


@pytest.mark.parametrize(
    ("template", "photos", "said"),
    [
        ("arcface", False, "crops: as given, not tighter (the next best, other, "),
        ("arcface", True, "crops: aligned by the usual template ("),
        ("arcface-80", True, "cut them by pocketface align --template arcface-80"),
        ("", True, "it was not trained on aligned faces, and pocketface align cuts no such crops"),
    ],
)
def test_it_is_said_how_to_cut(template: str, photos: bool, said: str):
    behind = Estimate(0.5, 0.2, 0.8)
    cuts = (TriedCut("best", template, 6.0, None), TriedCut("other", "arcface-90", 5.5, behind))
    found = ProbeResult("net", "found", ARCFACE, (), (), (), (), None, "faces", 0.4, cuts, photos)
    assert [each.row() for each in cuts] == [("best", "6.00", ""), ("other", "5.50", "0.500 (0.200 to 0.800)")]
    sentence = next(each for each in found.sentences() if each.startswith("crops: "))
    assert said in sentence
    assert ("aligned crops cannot tell: give photos" in sentence) == (not photos)


def test_pictures_of_several_sizes_are_no_crops(network, tmp_path: Path):
    for number in range(20):
        Image.fromarray(NOISE[number, : 100 + number % 2]).save(tmp_path / f"{number}.png")
    with pytest.raises(ValueError, match=r"pictures of several sizes \(.*\), so these are no aligned crops"):
        pf.probe(network(), faces=tmp_path)


def test_pictures_without_eyes_are_told(network, folder):
    found = pf.probe(network(), faces=folder)
    assert not found.shows_eyes and found.cuts == ()
    assert any("show no eyes where aligned crops have them" in sentence for sentence in found.sentences())


@pytest.mark.parametrize(
    ("scale", "said"), [(1 / 255, "not sure: net separates these faces best with"), (2 / 255, "net was trained with")]
)
def test_a_tie_with_another_usual_contract_is_not_called_sure(scale, said):
    tied = TriedContract(InputContract(mean=(0, 0, 0), scale=(scale,) * 3), 6.0, 1.0, Estimate(0.1, -0.1, 0.3), 120)
    found = ProbeResult("net", "tie", ARCFACE, (), (tied,), (tied,), (), None, "faces", 0.4)
    assert found.sentences()[0].startswith(said)

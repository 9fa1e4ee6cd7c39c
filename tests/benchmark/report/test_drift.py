"""The verdict without labels, on rows whose answer one sees."""

import json
from collections import defaultdict
from pathlib import Path

import pytest

from pocketface.benchmark.measurement import Measurement
from pocketface.benchmark.report.drift import KEEPS, WORSE
from pocketface.benchmark.report.limits import ShippingLimits
from pocketface.benchmark.report.recommendation import recommend
from pocketface.benchmark.report.summary import summarise
from pocketface.benchmark.report.verdict import advice_on

EVIDENCE = Path(__file__).parents[3] / "evidence" / "label_free_limits.jsonl"


def file(name, mb, cosine=None, overlap=None, lowest=None, reason=""):
    known = ("net", name, "tflite", "fp32", "litert", "a CPU")
    jitter = 0.95 if not reason else None
    numbers = {"embedding_cosine_mean": cosine, "neighbour_overlap_10": overlap, "embedding_cosine_min": lowest}
    if overlap is not None:
        numbers["transported_threshold_1e-3"] = 0.31
    return [
        Measurement(*known, "size_bytes", mb * 1e6, "bytes"),
        Measurement(*known, "jitter_consistency", jitter, "1", valid=not reason, reason=reason),
        *(Measurement(*known, metric, value, "1") for metric, value in numbers.items() if value is not None),
    ]


SOURCE = file("source.tflite", 4.0)


@pytest.mark.parametrize(
    ("cosine", "overlap", "lowest", "verdict"),
    [
        (0.99, 0.88, 0.9, "keeps"),
        (0.99, 0.87, 0.9, "cannot tell"),
        (0.97, 0.90, 0.9, "cannot tell"),
        (0.9342, 0.7278, 0.8, "worse"),  # a network without a tenth of its parameters, which lost 0.4 points
        (1.0, 0.60, 0.99995, "keeps"),  # the source's own embeddings
        (None, 0.90, None, "keeps"),  # embeddings of another length
        (None, 0.60, None, "worse"),
    ],
)
def test_drift_is_judged_as_files_were_whose_losses_are_known(cosine, overlap, lowest, verdict):
    lines = summarise([*SOURCE, *file("small.tflite", 1.0, cosine, overlap, lowest)])
    (_, choice), *_ = recommend(lines, ShippingLimits()).choices
    assert {judged.line.name: judged.accuracy for judged in choice.files} == {
        "source.tflite": "keeps",
        "small.tflite": verdict,
    }
    assert choice.best is not None
    assert choice.best.line.name == ("small.tflite" if verdict == "keeps" else "source.tflite")


def test_the_limits_are_those_of_the_files_that_were_measured_on_both():
    files = defaultdict(dict)
    for row in map(json.loads, EVIDENCE.read_text().splitlines()):
        files[row["model"], row["artifact"]][row["metric"]] = row["value"]
    lost = {"keeps": [], "worse": [], "": []}
    for file in files.values():
        near = all(file[metric] >= least for metric, least in KEEPS.items())
        far = any(file[metric] < least for metric, least in WORSE.items())
        lost["keeps" if near else "worse" if far else ""].append(-100 * file["accuracy_difference"])
    assert [len(losses) for losses in lost.values()] == [7, 5, 8]
    assert round(max(lost["keeps"]), 2) == 0.16 and round(min(lost["worse"]), 2) == 0.41


def test_a_smaller_loss_than_drift_can_show_is_not_promised():
    lines = summarise([*SOURCE, *file("small.tflite", 1.0, 0.99, 0.9, 0.9)])
    (_, choice), *_ = recommend(lines, ShippingLimits(max_drop=0.1)).choices
    assert [(judged.accuracy) for judged in choice.files] == ["keeps", "cannot tell"]


def test_a_file_that_did_not_run_is_not_measured_and_says_why():
    lines = summarise([*SOURCE, *file("broken.tflite", 1.0, reason="no such operator")])
    (_, choice), *_ = recommend(lines, ShippingLimits()).choices
    assert [(judged.line.name, why) for judged, why in choice.others] == [("broken.tflite", "no such operator")]


def test_the_advice_ends_in_a_file_and_its_threshold_and_says_that_no_accuracy_was_measured():
    warning, other, advice = advice_on([*SOURCE, *file("small.tflite", 1.0, 0.99, 0.9, 0.9)], ShippingLimits())
    assert warning == (
        "No accuracy was measured, as the faces have no labels: files were judged by their drift from the source."
    )
    assert other == "not source.tflite: larger: 4.00 MB against 1.00 MB"
    assert advice.startswith("Any phone: Ship small.tflite: size 1.00 MB")
    assert "threshold for FAR 1e-3, estimated without labels 0.310 (without labels)" in advice

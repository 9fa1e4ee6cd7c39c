"""The result in the terminal, on rows whose table one sees."""

import dataclasses

import pytest

from pocketface.benchmark.report.limits import ShippingLimits
from pocketface.benchmark.report.recommendation import recommend
from pocketface.benchmark.report.summary import summarise
from pocketface.benchmark.report.terminal import QUESTION, result_lines

from .conftest import ROWS, row

LIMITS = ShippingLimits()


def told(rows=ROWS, width=80, limits=LIMITS):
    return result_lines(recommend(summarise(rows), limits), width)


def test_the_table_has_a_block_for_each_model_and_a_sentence_for_each_use():
    assert told(width=100) == [
        "file            MB    ms         accuracy %                points  verdict",
        "net",
        ".tflite       4.00  2.00  99.2 [98.9, 99.4]                     –  keeps",
        "net-pruned",
        ".w8a8.tflite  0.33  0.90  98.7 [98.3, 99.0]  -0.05 [-0.15, +0.05]  ship",
        ".mlpackage    0.61     –  98.8 [98.4, 99.1]  +0.00 [-0.10, +0.10]  ship",
        "",
        "Any phone: ship net-pruned.w8a8.tflite, because it is the fastest that meets the limits (at most 0.2",
        "points of accuracy below the source); next: hand it to the app's developers (pocketface handoff).",
        "Core ML: ship net-pruned.mlpackage, because it is the smallest that meets the limits (at most 0.2",
        "points of accuracy below the source); next: hand it to the app's developers (pocketface handoff).",
    ]


def test_a_narrow_terminal_leaves_out_the_interval_of_the_difference():
    assert told(width=70)[4] == ".w8a8.tflite  0.33  0.90  98.7 [98.3, 99.0]   -0.05  ship"


def test_long_names_are_cut_in_their_middle_so_that_the_table_fits():
    long = [dataclasses.replace(row, artifact=f"artifacts/{'x' * 60}.w8a8.tflite") for row in ROWS[5:11]]
    lines = told([*ROWS[:5], *long])
    assert max(map(len, lines)) <= 80
    assert lines[4].startswith("xxxx") and "….w8a8.tflite" not in lines[4] and ".w8a8.tflite" in lines[4]


def test_emulated_counts_have_a_column():
    file = ("net", "artifacts/net.tflite", "tflite", "fp32")
    lines = told([*ROWS[:5], row(file, "arm64_instructions", 40_000_000, "count", "litert-arm64-a53")])
    assert lines[0].split() == ["file", "MB", "ms", "ARM64", "a53", "accuracy", "%", "points", "verdict"]
    assert "40.0 M" in lines[1]


def test_a_number_that_does_not_count_is_marked_and_the_mark_is_explained():
    disturbed = dataclasses.replace(ROWS[2], valid=False, reason="disturbed")
    lines = told([*ROWS[:2], disturbed, *ROWS[3:]])
    assert "2.00 ?" in lines[2] and QUESTION in lines


def test_a_file_that_misses_a_limit_says_which_and_no_file_is_a_sentence_too():
    lines = told(limits=ShippingLimits(max_mb=0.1))
    assert [line.split("  ")[-1] for line in (lines[2], lines[4], lines[5])] == ["size", "size", "size"]
    assert "Any phone: ship none, because no file meets the limits for sure" in " ".join(lines)


def test_files_that_tell_nobody_apart_lead_to_the_probe():
    chance = [dataclasses.replace(ROWS[4], value=0.51, low=0.49, high=0.53)]
    assert "next: find out what it must be fed (pocketface probe)." in " ".join(told([*ROWS[:4], *chance]))


@pytest.mark.parametrize(
    ("kind", "then"), [(None, "hand it to the app's developers"), ("rendered", "measure it on photos of people")]
)
def test_what_to_do_next_depends_on_whether_people_were_measured(kind, then):
    rows = [
        dataclasses.replace(row, conditions={**row.conditions, "faces_kind": kind}) if kind else row for row in ROWS
    ]
    assert then in " ".join(told(rows))


def test_no_files_have_no_table():
    assert told([ROWS[-1]]) == []


def unlabelled(name, mb, ms, cosine=None, overlap=None):
    file = ("net", f"artifacts/{name}", "tflite", "fp32")
    numbers = {"embedding_cosine_mean": cosine, "neighbour_overlap_10": overlap, "jitter_consistency": 0.95}
    return [
        row(file, "size_bytes", mb * 1e6, "bytes", ""),
        row(file, "latency_ms_p50", ms, "ms", threads=1, batch=1),
        *(row(file, metric, value) for metric, value in numbers.items() if value is not None),
    ]


def test_without_labels_the_table_has_what_files_were_judged_by():
    rows = [*unlabelled("net.tflite", 4.0, 2.0), *unlabelled("net.w8.tflite", 1.1, 1.5, 0.99941, 0.96)]
    lines = told([*rows, *unlabelled("net.w4.tflite", 0.6, 1.4, 0.91, 0.7)])
    assert lines[:4] == [
        "file          MB    ms  cosine  nearest %  verdict",
        ".tflite     4.00  2.00       –          –  keeps",
        ".w8.tflite  1.10  1.50  0.9994       96.0  ship",
        ".w4.tflite  0.60  1.40  0.9100       70.0  worse",
    ]
    said = " ".join(lines[4:])
    assert "files were judged by their drift from the first" in said
    assert said.endswith("next: verify it on labelled pairs of people (--pairs).")
    assert max(map(len, lines)) <= 80

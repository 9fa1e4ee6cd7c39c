"""The verdict in words, and the pick of each format."""

import dataclasses

from pocketface.benchmark.report.limits import ShippingLimits
from pocketface.benchmark.report.recommendation import recommend
from pocketface.benchmark.report.summary import summarise
from pocketface.benchmark.report.verdict import outcome, picks_of, recommendation_sentences, warnings_of

from .conftest import ROWS


def picks(rows, limits=None):
    lines = summarise(rows)
    return picks_of(lines, recommend(lines, limits or ShippingLimits()))


def test_each_format_has_a_pick_the_recommended_ones_first():
    assert [(pick.format, pick.line.name, pick.meets, pick.first) for pick in picks(ROWS)] == [
        ("TFLite", "net-pruned.w8a8.tflite", True, True),
        ("Core ML", "net-pruned.mlpackage", True, True),
    ]


def test_pick_is_the_nearest_file_where_none_meets_the_limits():
    pick = picks(ROWS, ShippingLimits(max_mb=0.3))[0]
    assert (pick.line.name, pick.meets, pick.first) == ("net-pruned.w8a8.tflite", False, False)
    assert pick.why == "Does not meet the limits for sure: 0.33 MB is above 0.3 MB."


def test_verdict_says_what_was_done():
    assert outcome(summarise(ROWS)) == (
        "net (1.00 M parameters) was pruned to net-pruned (300 k parameters). "
        "2 TFLite and 1 Core ML files were measured; 1 could not be made."
    )


def test_pruning_is_told_by_the_rows_and_not_by_a_models_name():
    acme = [dataclasses.replace(each, model="acme-pruned-net", source="") for each in ROWS[:5]]
    assert outcome(summarise(acme)) == (
        "No pruning is recorded for acme-pruned-net (1.00 M parameters). 1 TFLite file was measured."
    )
    smaller = [dataclasses.replace(each, model="tiny", source="net") for each in ROWS[5:9]]
    assert outcome(summarise([*ROWS[:5], *smaller])).startswith(
        "net (1.00 M parameters) was pruned to tiny (300 k parameters). "
    )


def test_recommendation_is_a_sentence_with_its_numbers():
    lines = summarise(ROWS)
    assert recommendation_sentences(lines, recommend(lines, ShippingLimits()))[0] == (
        "Any phone",
        "Ship net-pruned.w8a8.tflite: size 0.33 MB (12× smaller), median latency on 1 thread 0.90 ms (2.2× faster, "
        "litert on a CPU), accuracy 98.7 % [98.3, 99.0] (on 6,000 pairs), accuracy against the source -0.05 points "
        "[-0.15, +0.05] (net). It is the fastest that meets the limits. Speed was judged by this "
        "machine's latency, as no phone was timed, and no ARM64 instructions were counted that tell these "
        "files apart; a phone may order the files differently. Compared with net.tflite.",
    )


def enrolled(value, low, high, **conditions):
    """The rows with one of how the recommended file fares with the source's templates."""
    of_file = next(each for each in ROWS if each.artifact.endswith("w8a8.tflite") and each.metric == "size_bytes")
    row = dataclasses.replace(
        of_file, metric="cross_accuracy_difference", value=value, low=low, high=high, unit="1", **conditions
    )
    lines = summarise([*ROWS, row])
    return recommendation_sentences(lines, recommend(lines, ShippingLimits()))[0][1].partition("net.tflite. ")[2]


def test_it_says_whether_people_must_enrol_anew():
    worse = {"to": "net", "verdict": "worse", "said": "worse by 0.5 points (0.2 to 0.8)"}
    assert enrolled(-0.005, -0.008, -0.002, conditions=worse) == (
        "Enrol people anew: with templates that net made, accuracy is worse by 0.5 points (0.2 to 0.8) than with new "
        "ones."
    )
    equal = {"to": "net", "verdict": "equal", "said": "equal within 0.2 points"}
    assert enrolled(0.0, -0.001, 0.001, conditions=equal) == (
        "People need not enrol anew: with templates that net made, accuracy is equal within 0.2 points."
    )
    unknown = {"to": "net", "verdict": "cannot tell", "said": "cannot tell with these pairs"}
    assert enrolled(0.0, -0.01, 0.01, conditions=unknown) == (
        "Whether people must enrol anew these pairs cannot tell: with templates that net made, accuracy changes by "
        "+0.00 points [-1.00, +1.00]."
    )


def test_a_source_of_another_size_wants_people_enrolled_anew():
    why = "net and f give 512 and 128 numbers per face: old templates do not fit the new file"
    assert enrolled(None, None, None, conditions={"to": "net"}, valid=False, reason=why) == f"Enrol people anew: {why}."


def rendered(rows):
    return [dataclasses.replace(each, conditions={**each.conditions, "faces_kind": "rendered"}) for each in rows]


def test_rendered_faces_are_called_so_before_any_number_and_beside_it():
    assert warnings_of(summarise(ROWS)) == []
    lines = summarise(rendered(ROWS))
    assert warnings_of(lines) == [
        "Rendered faces, not people: the accuracies tell files apart, but not how well people are recognised. Measure "
        "on photos for that."
    ]
    (_, sentence), _ = recommendation_sentences(lines, recommend(lines, ShippingLimits()))
    assert "accuracy 98.7 % [98.3, 99.0] (on 6,000 pairs of rendered faces, not people)" in sentence


def test_the_run_whose_faces_are_rendered_is_named():
    lines = [*summarise(rendered(ROWS), "drawn"), *summarise(ROWS, "photos")]
    first, second = warnings_of(lines)  # neither run says on which pairs
    assert first.startswith("Rendered faces, not people: the accuracies in drawn tell files apart")
    assert second == "These runs were verified on different pairs: their accuracies do not compare."

"""The table of metrics: names and patterns, units, titles."""

import pytest

from pocketface.benchmark.metrics import FAMILIES, METRICS, known_metric, metric_of


def test_a_parameter_is_read_out_of_the_name_and_written_into_the_title() -> None:
    metric = metric_of("decisions_flipped_2.5e-4")
    assert (metric.parameter, metric.kind, metric.better) == ("2.5e-4", "share", "low")
    assert metric.title == "Decisions flipped at the source's threshold for FAR 2.5e-4"


def test_the_longer_pattern_is_not_taken_for_the_shorter() -> None:
    assert metric_of("tar_at_far_1e-3").kind == "share"
    assert metric_of("tar_at_far_1e-3_difference").kind == "points"
    assert metric_of("template_tar_at_far_1e-3").family == "Templates of several images"


def test_the_unit_is_what_the_rows_give() -> None:
    names = ("size_bytes", "latency_ms_p50", "eer", "arm64_instructions", "macs", "latency_ratio")
    assert [metric_of(name).unit for name in names] == ["bytes", "ms", "1", "count", "1", "1"]


@pytest.mark.parametrize("name", ["conversion_s", "tar_at_far_", "tar_at_far_low", "latency", ""])
def test_a_metric_that_the_table_does_not_hold_is_a_plain_one(name: str) -> None:
    assert known_metric(name) is None
    assert (metric_of(name).family, metric_of(name).kind) == ("Other", "any")


def test_names_are_given_once_and_families_are_known() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    assert {metric.family for metric in METRICS} <= set(FAMILIES)

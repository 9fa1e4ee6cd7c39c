"""Keys of a file's numbers and their titles."""

import pytest

from pocketface.benchmark.metric_keys import key_of, phrase_of, title_of

from .conftest import row


@pytest.mark.parametrize(
    ("metric", "fields", "key", "title"),
    [
        ("latency_ms_p50", {"conditions": {"threads": 1}}, "latency_ms_p50@1", "Median latency on 1 thread"),
        (
            "latency_ms_p50",
            {"conditions": {"threads": 2, "batch": 8}},
            "latency_ms_p50@2, batch 8",
            "Median latency on 2 threads, batch 8",
        ),
        ("latency_ratio", {"conditions": {"threads": 1}}, "latency_ratio", "Faster"),
        ("latency_ratio", {"conditions": {"threads": 4}}, "latency_ratio@4", "Faster on 4 threads"),
        ("arm64_instructions", {"runtime": "litert-arm64-a53"}, "arm64_instructions@a53", "Instructions, A53"),
        ("eer", {"runtime": "litert-arm64-a76"}, "eer@a76", "EER, emulated A76"),
        ("energy_per_face", {}, "energy_per_face", "energy per face"),
    ],
)
def test_threads_batch_and_core_are_part_of_the_key(metric: str, fields: dict, key: str, title: str) -> None:
    assert (key_of(row(metric, 1.0, **fields)), title_of(key)) == (key, title)


def test_a_repeated_measurement_has_a_title_of_its_own() -> None:
    assert title_of("verification_accuracy+flip (measurement 2)") == "Accuracy, flip-sum (measurement 2)"


def test_abbreviations_stay_upper_case_in_a_sentence() -> None:
    assert [phrase_of(key) for key in ("size_bytes", "eer", "macs", "tar_at_far_1e-3")] == [
        "size", "EER", "MACs", "TAR at FAR 1e-3",
    ]  # fmt: skip

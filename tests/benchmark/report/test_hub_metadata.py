"""The head of a model card, read by the Hub's own library."""

from pocketface.benchmark.measurement import Measurement
from pocketface.benchmark.report.hub_metadata import hub_metadata
from pocketface.benchmark.report.summary import summarise
from pocketface.export.artifact import Card
from pocketface.faces.contract import InputContract

FILE = ("net", "artifacts/net.tflite", "tflite", "w8a8", "litert", "a CPU")


def head(licence: str, **conditions: str) -> str:
    rows = [
        Measurement(*FILE, "verification_accuracy", 0.9913, "1", conditions=conditions),
        Measurement(*FILE, "tar_at_far_1e-3", 0.973, "1", conditions=conditions),
        Measurement(*FILE, "size_bytes", 1000.0, "bytes"),
    ]
    return hub_metadata(summarise(rows), Card("net", InputContract(), 128, "w8a8", licence=licence), "lfw.txt")


def test_the_hub_reads_licence_tags_and_results() -> None:
    from huggingface_hub import ModelCard

    data = ModelCard(f"---\n{head('Apache-2.0')}---\n\n# net\n").data
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "litert", "image-feature-extraction")
    assert data.tags == ["face-recognition", "face-verification", "tflite", "w8a8", "pocketface"]
    assert data.model_name == "net.tflite"
    assert [(each.metric_type, each.metric_value, each.dataset_name, each.task_type) for each in data.eval_results] == [
        ("verification_accuracy", 0.9913, "lfw.txt", "face-verification"),
        ("tar_at_far_1e-3", 0.973, "lfw.txt", "face-verification"),
    ]


def test_a_licence_that_the_hub_does_not_know_has_its_name() -> None:
    assert "license: other\nlicense_name: research-only-ask-us\n" in head("Research only: ask us")
    assert "license" not in head("unknown")


def test_rendered_faces_are_no_result() -> None:
    assert "model-index" not in head("MIT", faces_kind="rendered")

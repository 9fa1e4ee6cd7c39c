"""A model card per file."""

from onnx import helper

from pocketface.benchmark.measurement import write_measurements
from pocketface.export.artifact import Card
from pocketface.export.graph.to_onnx import write_onnx
from pocketface.faces.contract import InputContract

from .conftest import NO_MAC, report, row, written_run


def test_every_file_has_a_card_that_says_what_was_not_measured(tmp_path):
    report(tmp_path, written_run(tmp_path / "run"))
    cards = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "out" / "cards").iterdir()}
    assert sorted(cards) == ["net-pruned.mlpackage.md", "net-pruned.w8a8.tflite.md", "net.tflite.md"]
    apple = cards["net-pruned.mlpackage.md"]
    assert f"| Median latency on 1 thread | not measured | {NO_MAC} |" in apple
    assert "| Accuracy | 98.8 % \\[98.4, 99.1\\] | coreml-evaluator, a CPU, n = 6000 |" in apple
    assert "SHA-256: not known: the file is not there" in apple
    for heading in ("Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data"):
        assert f"## {heading}\n" in apple
    assert "| Threshold at FAR 1e-3 | 0.2500 \\[0.20, 0.30\\] |" in cards["net-pruned.w8a8.tflite.md"]


def test_a_files_own_card_is_told(tmp_path):
    run = written_run(tmp_path / "run")
    contract = InputContract(112, 112)
    card = Card("net-pruned", contract, 128, "w8a8", licence="MIT", source_sha256="ab12", ancestry=("Pruned by half.",))
    (run / "artifacts").mkdir()
    ports = [helper.make_tensor_value_info(name, 1, [1, 128]) for name in ("face", "embedding")]
    net = helper.make_graph([helper.make_node("Identity", ["face"], ["embedding"])], "net", ports[:1], ports[1:])
    write_onnx(helper.make_model(net), card, run / "artifacts" / "net.onnx", batch=None)
    rows = [row(("net-pruned", "artifacts/net.onnx", "onnx", "fp32"), "size_bytes", 1.0, "bytes")]
    write_measurements(rows, run / "measurements.json")
    report(tmp_path, run)
    text = (tmp_path / "out" / "cards" / "net.onnx.md").read_text(encoding="utf-8")
    for fact in ("Licence of the weights: MIT", "Made from (SHA-256): ab12", "Pruned by half.", "128 numbers"):
        assert fact in text


def test_a_manifest_whose_command_is_no_text_is_no_record(tmp_path):
    run = written_run(tmp_path / "run")
    (run / "manifest.json").write_text('{"command": 1.5}', encoding="utf-8")
    report(tmp_path, run)
    card = (tmp_path / "out" / "cards" / "net.tflite.md").read_text(encoding="utf-8")
    assert "The run folder has no record of its command." in card

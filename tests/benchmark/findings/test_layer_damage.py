"""Each layer of a quantised file is held against the source's."""

from pathlib import Path

from pocketface.benchmark.findings.layer_damage import layer_rows
from pocketface.benchmark.subjects import Subject
from pocketface.export.exporter import export
from pocketface.export.recipe import ExportRecipe
from pocketface.faces.rendering.synthetic import synthetic_faces
from pocketface.models.checkpoint import open_embedder
from pocketface.models.network_names import EMBEDDED_DEFAULT


def test_int8_loses_a_little_in_every_layer_and_fp32_is_not_asked(tmp_path: Path) -> None:
    embedder = open_embedder(EMBEDDED_DEFAULT)
    faces, _ = synthetic_faces(5, 2)
    made = export(embedder, faces, ExportRecipe(targets=("tflite-fp32", "tflite-w8a8")), tmp_path)
    rows = layer_rows([Subject(embedder, tmp_path, made)], faces, tmp_path)
    assert {row.artifact for row in rows} == {f"{embedder.name}.w8a8.tflite"}
    cosine = {row.conditions["part"]: row.value for row in rows if row.metric == "layer_cosine"}
    change = {row.conditions["part"]: row.value for row in rows if row.metric == "layer_change"}
    assert cosine.keys() == change.keys() and len(cosine) > 30
    assert all("(" in part for part in cosine)
    quantised = [value for part, value in cosine.items() if not part.startswith("source")]
    assert 0.9 < min(quantised) < 0.9999
    assert 1e-4 < max(change.values()) < 0.5

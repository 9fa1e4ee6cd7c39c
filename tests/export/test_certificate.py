"""A certificate inside a finished file: its numbers, and that nothing else of the file changes."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from coremltools.models.utils import load_spec
from torch import nn

from pocketface.benchmark.accuracy.all_pairs import compare_all
from pocketface.benchmark.accuracy.verification import verify
from pocketface.benchmark.findings.certification import certificate_of, certify
from pocketface.benchmark.recipe import BenchmarkRecipe
from pocketface.benchmark.runner import benchmark_files
from pocketface.export.artifact import Card
from pocketface.export.certificate import Certificate, Point, why_unfit
from pocketface.export.exporter import Exported, export
from pocketface.export.formats import open_session, read_artifact, read_card, uncertified_sha256, write_card
from pocketface.export.recipe import ExportRecipe
from pocketface.export.session import unit_embeddings
from pocketface.faces.contract import InputContract
from pocketface.faces.drawn_pairs import cross_pairs, synthetic_pairs
from pocketface.faces.folders import LabelledFaces
from pocketface.faces.pairs import Pairs
from pocketface.files import sha256_of
from pocketface.models.embedder import Embedder

TARGETS = ("onnx", "tflite-fp32", "tflite-w8a8", "coreml-fp16")
CERTIFICATE = Certificate(
    points=(
        Point(1e-3, reason="FAR 0.001 wants at least 30,000 impostor pairs, of which it accepts 30; there are 3,000"),
        Point(1e-2, 0.41, 0.39, 0.44, 0.95, 0.92, 0.97, 0.0067),
    ),
    pairs=3300,
    genuine=300,
    impostor=3000,
    identities=40,
    pairs_name="pairs.txt",
    pairs_sha256="ab" * 32,
    runtime="litert 2.3.0",
)


@pytest.fixture(scope="module")
def tiny() -> Embedder:
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 8)
    )
    return Embedder(
        "tiny", backbone.eval(), InputContract(32, 32), "mobilefacenet", licence="MIT",
        ancestry=({"stage": "source", "architecture": "/secret/place/net.py:tiny"},),
    )  # fmt: skip


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return synthetic_pairs(30, 3, 0, 32, 0)


@pytest.fixture(scope="module")
def exported(tiny: Embedder, pairs: Pairs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export(tiny, pairs.faces[:8], ExportRecipe(targets=TARGETS), folder)
    return folder


@pytest.fixture
def made(tiny: Embedder, pairs: Pairs, exported: Path, tmp_path: Path) -> list[Exported]:
    """A copy of the exported files, which the test may change."""
    shutil.copytree(exported, tmp_path / "artifacts")
    made = export(tiny, pairs.faces[:8], ExportRecipe(targets=TARGETS), tmp_path / "artifacts")
    assert [result.reason for result in made] == [""] * 4
    return made


def paths(made: list[Exported]) -> list[Path]:
    return [result.artifact.path for result in made if result.artifact]


def bytes_of(path: Path) -> list[bytes]:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return [file.read_bytes() for file in files]


def test_the_old_card_gives_the_old_bytes_and_a_certificate_leaves_the_fingerprint(made: list[Exported]) -> None:
    for path in paths(made):
        before, hash_before, card = bytes_of(path), sha256_of(path), read_card(path)
        assert card is not None and card.certificate is None
        assert uncertified_sha256(path) == hash_before
        write_card(path, card.but(certificate=CERTIFICATE))
        certified = bytes_of(path)
        assert certified != before and sha256_of(path) != hash_before
        assert uncertified_sha256(path) == hash_before
        assert read_artifact(path).card.certificate == CERTIFICATE
        write_card(path, card.but(certificate=CERTIFICATE))
        assert bytes_of(path) == certified
        write_card(path, card)
        assert bytes_of(path) == before


def test_other_weights_have_another_fingerprint_though_the_card_is_the_same(made: list[Exported]) -> None:
    path = paths(made)[0]
    card = read_card(path)
    assert card is not None
    write_card(path, card.but(certificate=CERTIFICATE))
    before = uncertified_sha256(path)
    model = onnx.load(path)
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0]) * 2
    model.graph.initializer[0].raw_data = weights.tobytes()
    onnx.save(model, path)
    assert uncertified_sha256(path) != before


def test_weights_and_graph_stay_byte_for_byte_what_they_were(made: list[Exported]) -> None:
    onnx_path, tflite_path, _, coreml_path = paths(made)
    graph = onnx.load(onnx_path).graph.SerializeToString(deterministic=True)
    buffers = tflite_buffers(tflite_path)
    weights = (coreml_path / "Data/com.apple.CoreML/weights/weight.bin").read_bytes()
    program = load_spec(str(coreml_path)).mlProgram.SerializeToString(deterministic=True)
    for path in (onnx_path, tflite_path, coreml_path):
        card = read_card(path)
        assert card is not None
        write_card(path, card.but(certificate=CERTIFICATE))
    assert onnx.load(onnx_path).graph.SerializeToString(deterministic=True) == graph
    assert tflite_buffers(tflite_path) == buffers
    assert (coreml_path / "Data/com.apple.CoreML/weights/weight.bin").read_bytes() == weights
    assert load_spec(str(coreml_path)).mlProgram.SerializeToString(deterministic=True) == program


def tflite_buffers(path: Path) -> list[bytes]:
    """The weights' bytes by TensorFlow's own schema, without those of the metadata."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes()))
    theirs = {entry.buffer for entry in model.metadata}
    kept = [buffer.data for index, buffer in enumerate(model.buffers) if index not in theirs]
    return [b"" if data is None else bytes(data) for data in kept]


def test_certified_files_embed_bit_by_bit_as_before(made: list[Exported], tiny: Embedder, pairs: Pairs) -> None:
    for path in paths(made):
        before = unit_embeddings(open_session(path), tiny.contract, pairs.faces[:3])
        card = read_card(path)
        assert card is not None
        write_card(path, card.but(certificate=CERTIFICATE))
        assert np.array_equal(unit_embeddings(open_session(path), tiny.contract, pairs.faces[:3]), before)


def test_somebody_without_pocketface_reads_what_matters(made: list[Exported]) -> None:
    onnx_path, tflite_path, _, coreml_path = paths(made)
    for path in (onnx_path, tflite_path, coreml_path):
        card = read_card(path)
        assert card is not None
        write_card(path, card.but(certificate=CERTIFICATE))
    props = {item.key: item.value for item in onnx.load(onnx_path).metadata_props}
    threshold = "0.4100 at FAR 0.01"
    assert props["license"] == "MIT" and threshold in props["threshold"] and "mean (127.5" in props["input"]
    described = schema.Model.GetRootAs(tflite_path.read_bytes()).Description().decode()
    assert threshold in described and "Divide it by its length" in described
    metadata = load_spec(str(coreml_path)).description.metadata
    assert metadata.license == "MIT" and threshold in metadata.userDefined["threshold"]
    assert json.loads(metadata.userDefined["pocketface"])["certificate"]["pairs_name"] == "pairs.txt"
    assert metadata.userDefined["ancestry"] == "Weights of net.py:tiny."


def test_a_threshold_is_looked_up_by_its_rate_or_refused_with_the_reason() -> None:
    assert CERTIFICATE.threshold(0.01) == 0.41
    with pytest.raises(ValueError, match=r"no threshold at FAR 0\.001: FAR 0\.001 wants at least 30,000 impostor"):
        CERTIFICATE.threshold(1e-3)
    with pytest.raises(ValueError, match=r"no threshold at FAR 1e-06; known: 0\.001, 0\.01"):
        CERTIFICATE.threshold(1e-6)


def test_the_scale_of_int8_templates_is_kept_and_older_certificates_have_none() -> None:
    scaled = dataclasses.replace(CERTIFICATE, template_scale=0.3125)
    assert Certificate.from_dict(scaled.to_dict()).template_scale == 0.3125
    said = " An int8 template holds round(127 * number / 0.3125) of the embedding."
    assert scaled.sentence() == CERTIFICATE.sentence() + said
    older = CERTIFICATE.to_dict()
    del older["template_scale"]
    assert Certificate.from_dict(older) == CERTIFICATE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"similarity": "l2"}, "no similarity 'l2'; known: cosine"),
        ({"points": []}, "1 to 32 thresholds, not 0"),
        ({"points": [{"far": 2.0, "threshold": 0.5}]}, "FAR 2.0 is no rate"),
        ({"points": [{"far": 0.01, "threshold": float("nan")}]}, "at FAR 0.01 is no cosine"),
        ({"points": [{"far": 0.01, "threshold": "0.5"}]}, "at FAR 0.01 is no cosine"),
        ({"points": [{"far": 0.01}]}, "either a threshold or a reason"),
        ({"points": [{"far": 0.01, "threshold": 0.5, "tar": 1.5}]}, "a share at FAR 0.01 lies outside"),
        ({"pairs": -1}, "a count or a name is of another kind"),
        ({"runtime": 5}, "a count or a name is of another kind"),
        ({"template_scale": 0}, "the scale of int8 templates is 0; it lies above 0 and at most at 1"),
        ({"template_scale": "0.5"}, "the scale of int8 templates is '0.5'"),
        ({"template_scale": float("nan")}, "the scale of int8 templates is nan"),
        ({"valid_for": "all"}, "unexpected keyword argument 'valid_for'"),
    ],
)
def test_a_certificate_that_cannot_be_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        Certificate.from_dict({**CERTIFICATE.to_dict(), **change})


def test_the_certificate_holds_what_the_verification_found(pairs: Pairs) -> None:
    """3,000 impostor pairs at 0.0000 .. 0.8997, genuine pairs at 0.5 and 0.95: FAR 1e-2 admits the 30 above 0.8907."""
    impostor = np.arange(3000) * 0.0003
    cosines = np.concatenate([impostor, [0.5, 0.95]])
    vectors = np.concatenate([[[1.0, 0.0]], np.stack([cosines, np.sqrt(1 - cosines**2)], 1)]).astype(np.float32)
    same = np.arange(3002) >= 3000
    count = dataclasses.replace(
        pairs, faces=np.zeros((3003, 32, 32, 3), np.uint8), left=np.zeros(3002, np.int64), right=np.arange(1, 3003),
        same=same, fold=np.arange(3002) % 2, identities=np.full(3003, -1),
    )  # fmt: skip
    certificate = certificate_of(verify(vectors, count), count, "few.csv", "litert 2.3.0")
    rare, common = certificate.points
    assert rare.threshold is None
    assert rare.reason == "FAR 0.001 wants at least 30,000 impostor pairs, of which it accepts 30; there are 3,000"
    assert common.threshold == pytest.approx(0.89085, abs=1e-5)  # midway between the 30th and the 31st impostor
    assert (common.tar, common.measured_far) == (0.5, 0.01)
    counts = certificate.pairs, certificate.genuine, certificate.impostor, certificate.identities
    assert counts == (3002, 2, 3000, None)


def test_a_folder_of_people_certifies_what_all_its_pairs_carry() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(300), 2)
    vectors = np.float32(random.normal(size=(300, 16))[labels] + 0.5 * random.normal(size=(600, 16)))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    faces = LabelledFaces(np.zeros((600, 32, 32, 3), np.uint8), labels, tuple(map(str, range(300))), "")
    pairs = cross_pairs(faces)
    every = compare_all(vectors, labels, [1e-2, 1e-3])
    certificate = certificate_of(verify(vectors, pairs, labels), pairs, "mine", "litert 2.3.0", every)
    counts = certificate.pairs, certificate.genuine, certificate.impostor, certificate.identities
    assert counts == (179_700, 300, 179_400, 300)  # 600 x 599 / 2
    assert [point.far for point in certificate.points if point.threshold is not None] == [1e-3, 1e-2]
    assert certificate.threshold(1e-3) == every.points[1e-3].threshold.value
    assert Certificate.from_dict(certificate.to_dict()) == certificate


def test_rendered_faces_give_no_threshold_to_write_or_to_read() -> None:
    measured = dataclasses.replace(CERTIFICATE, pairs_name="synthetic")
    read = Certificate.from_dict(measured.to_dict())  # as a file holds it that was certified before
    assert [point.threshold for point in read.points] == [None, None]
    assert read.points[1].reason == "FAR 0.01 was measured on rendered faces, not people"
    assert read.sentence() == (
        "The threshold is not set: measure on photos of your users. FAR 0.001 was measured on rendered faces, not "
        "people; FAR 0.01 was measured on rendered faces, not people (3,300 pairs of synthetic, by litert 2.3.0)."
    )
    with pytest.raises(ValueError, match="FAR 0.01 was measured on rendered".replace(".", r"\.")):
        read.threshold(0.01)


@pytest.mark.parametrize(("far", "fewest"), [(1e-2, 3_000), (1e-3, 30_000), (1e-6, 30_000_000), (0.5, 60)])
def test_thirty_impostors_carry_a_threshold_and_twenty_nine_do_not(far: float, fewest: int) -> None:
    assert why_unfit(far, fewest) == ""
    assert f"wants at least {fewest:,} impostor pairs" in why_unfit(far, fewest - 1)


def test_a_benchmark_certifies_a_file_and_a_second_one_changes_nothing(
    tiny: Embedder, pairs: Pairs, made: list[Exported], tmp_path: Path
) -> None:
    quick = BenchmarkRecipe(threads=(1,), minimum_runs=5, minimum_seconds=0, rounds=1)
    _, path, *_ = paths(made)
    rows = benchmark_files([path], lambda _: pairs, quick, tmp_path / "out", pairs_name="few.txt")
    first, kept = path.read_bytes(), sorted((tmp_path / "out" / "embeddings").iterdir())
    certificate = read_artifact(path).card.certificate
    assert certificate is not None and certificate.pairs_sha256 == pairs.sha256
    assert (certificate.pairs_name, certificate.identities) == ("few.txt", 30)
    (threshold,) = [row for row in rows if row.metric == "threshold_at_far_1e-2"]
    assert certificate.points[1].threshold is None and threshold.value is None  # of 90 impostor pairs
    again = benchmark_files([path], lambda _: pairs, quick, tmp_path / "out", pairs_name="few.txt")
    assert path.read_bytes() == first
    assert sorted((tmp_path / "out" / "embeddings").iterdir()) == kept
    assert [(row.metric, row.value) for row in again] == [(row.metric, row.value) for row in rows]

    said: list[str] = []
    found = export(tiny, pairs.faces[:8], ExportRecipe(targets=TARGETS), tmp_path / "artifacts", said.append)
    assert [line.endswith("(kept)") for line in said if ": cosine" in line] == [True] * 4
    assert all(result.artifact and result.artifact.card.certificate is None for result in found)  # nobody inherits it


def test_a_file_without_a_card_is_not_certified(made: list[Exported], tmp_path: Path) -> None:
    model = onnx.load(paths(made)[0])
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    artifact = read_artifact(tmp_path / "bare.onnx", InputContract(32, 32))
    assert not certify(artifact, CERTIFICATE)
    with pytest.raises(ValueError, match=r"bare\.onnx carries no card to replace; files that `pocketface export`"):
        write_card(artifact.path, Card("x", InputContract(32, 32), 8))

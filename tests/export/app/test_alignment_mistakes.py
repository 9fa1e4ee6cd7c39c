"""Mistakes in aligning, each made here by OpenCV on photos with a detector's landmarks, are named."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pocketface.export.app.alignment_mistakes import wrong_cuts
from pocketface.export.app.diagnose import MISTAKES, diagnose
from pocketface.export.app.golden import Golden, aligned, golden_faces
from pocketface.export.artifact import Artifact, Card
from pocketface.export.formats import open_session
from pocketface.export.graph.to_onnx import to_onnx
from pocketface.faces.alignment import central_face, read_photo, yunet
from pocketface.faces.contract import InputContract
from pocketface.models.checkpoint import open_embedder

Pixels = NDArray[np.uint8]
TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
PHOTOS = (3, 17, 41)  # of raw_lfw, 250x250


@pytest.fixture(scope="module")
def trained(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    factory = Path(__file__).parents[3] / "examples" / "published_mobilefacenets.py"
    contract = InputContract(mean=(123.675, 116.28, 103.53), scale=(1 / 58.395, 1 / 57.12, 1 / 57.375))
    weights = shared / "models" / "mobilefacenet_relu6.safetensors"
    embedder = open_embedder(f"{factory}:foamliu", weights, contract=contract)
    path = tmp_path_factory.mktemp("trained") / "net.onnx"
    return to_onnx(embedder, Card(embedder.name, contract, embedder.embedding_size), path)


def similarity(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solves crop x = a x - b y + c, crop y = b x + a y + d by NumPy's least squares."""
    rows = [row for x, y in found for row in ((x, -y, 1, 0), (y, x, 0, 1))]
    a, b, c, d = np.linalg.lstsq(np.array(rows), wanted.reshape(-1), rcond=None)[0]
    return np.array([[a, -b, c], [b, a, d]])


def planted(photo: Pixels, points: NDArray[np.float64]) -> dict[str, Pixels]:
    cv2 = pytest.importorskip("cv2", reason="no OpenCV: pip install 'pocketface[align]'")

    def warped(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> Pixels:
        return np.asarray(cv2.warpAffine(photo, similarity(found, wanted), (112, 112)))

    return {
        "right": warped(points, TEMPLATE),
        "two-eyes": warped(points[:2], TEMPLATE[:2]),
        "swapped": warped(points[[1, 0, 2, 4, 3]], TEMPLATE),
        "half-pixel": warped(points + 0.5, TEMPLATE),
        "template": warped(points, TEMPLATE - (8, 0)),
        "crop-size": cv2.resize(
            cv2.warpAffine(photo, similarity(points, TEMPLATE), (128, 128)), (112, 112), interpolation=cv2.INTER_AREA
        ),
    }


@pytest.mark.parametrize("number", PHOTOS)
def test_each_planted_mistake_is_named(shared: Path, trained: Artifact, number: int) -> None:
    photo = read_photo(sorted((shared / "faces" / "raw_lfw").glob("*.jpg"))[number])
    faces = yunet(shared / "models" / "yunet_n.onnx")(photo)
    points = faces[central_face(faces, *photo.shape[:2]), 4:14].reshape(5, 2)
    contract = trained.card.contract
    golden = Golden("photo", aligned(photo, points, contract), photo, points)
    session, named = open_session(trained.path), {}
    for mistake, crop in planted(photo, points).items():
        raw = session.run(contract.preprocess(crop[None]))[0]
        told = diagnose(trained, golden, raw / np.linalg.norm(raw))
        named[mistake] = told.mistakes, round(told.scores[0].cosine, 4)
    assert {mistake: told for mistake, (told, _) in named.items()} == {
        mistake: () if mistake == "right" else (mistake,) for mistake in named
    }, named


def test_a_mistake_and_another_beside_it_are_both_named(trained: Artifact) -> None:
    contract = trained.card.contract
    golden = golden_faces(contract)[2]
    crop = dict(wrong_cuts(golden, contract))["swapped"]
    raw = open_session(trained.path).run(contract.preprocess(crop[None, :, :, ::-1]))[0]
    told = diagnose(trained, golden, raw / np.linalg.norm(raw))
    assert (told.verdict, told.mistakes, told.sure) == ("mistake", ("swapped", "bgr"), True)


def test_each_cut_has_a_name_that_is_explained_and_a_crop_alone_has_none() -> None:
    contract = InputContract(56, 48)
    golden = golden_faces(contract)[0]
    cuts = list(wrong_cuts(golden, contract))
    assert {name for name, _ in cuts} == {"two-eyes", "swapped", "half-pixel", "template", "crop-size", "unaveraged"}
    assert {name for name, _ in cuts} <= set(MISTAKES) and {crop.shape for _, crop in cuts} == {(56, 48, 3)}
    assert list(wrong_cuts(Golden("crop", golden.crop), contract)) == []

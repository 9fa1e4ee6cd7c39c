"""Each mistake, made here by hand on a face, is named; so is what cannot be told."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pocketface.export.app.diagnose import diagnose, read_vector
from pocketface.export.app.golden import Golden, aligned, golden_faces, open_golden
from pocketface.export.artifact import Artifact, Card
from pocketface.export.formats import open_session
from pocketface.export.graph.to_onnx import to_onnx
from pocketface.export.tflite.to_tflite import to_tflite
from pocketface.faces.alignment import central_face, read_photo, yunet
from pocketface.faces.contract import InputContract
from pocketface.models.checkpoint import open_embedder
from pocketface.models.embedder import Embedder
from pocketface.models.network_names import EMBEDDED_DEFAULT

Planted = dict[str, NDArray[np.float32]]


def exported(embedder: Embedder, folder: Path) -> dict[str, Artifact]:
    card = Card(embedder.name, embedder.contract, embedder.embedding_size)
    onnx = to_onnx(embedder, card, folder / "net.onnx")
    return {"onnx": onnx, "tflite": to_tflite(onnx.path, card, folder / "net.tflite")}


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    return exported(open_embedder(EMBEDDED_DEFAULT), tmp_path_factory.mktemp("default"))


@pytest.fixture(scope="module")
def trained(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    factory = Path(__file__).parents[3] / "examples" / "published_mobilefacenets.py"
    contract = InputContract(mean=(123.675, 116.28, 103.53), scale=(1 / 58.395, 1 / 57.12, 1 / 57.375))
    weights = shared / "models" / "mobilefacenet_relu6.safetensors"
    embedder = open_embedder(f"{factory}:foamliu", weights, contract=contract)
    return exported(embedder, tmp_path_factory.mktemp("trained"))


def on_a_table(crop: NDArray[np.uint8], tilt: float) -> Golden:
    """Lays an aligned crop onto a grey photo, turned; its landmarks are the template's, turned likewise."""
    points = np.array(
        [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
    )
    wide = Image.new("RGB", (240, 260), (120, 130, 140))
    wide.paste(Image.fromarray(crop), (60, 90))
    photo = wide.rotate(tilt, Image.Resampling.BILINEAR, center=(116, 146))
    angle = np.deg2rad(tilt)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    moved = (points + 0.5 + (60, 90) - (116, 146)) @ turn.T + (116, 146) - 0.5
    return Golden("table", aligned(np.asarray(photo), moved, InputContract()), np.asarray(photo), moved)


def plant(golden: Golden, contract: InputContract) -> Planted:
    """What the network is fed, per mistake: written out anew, by nothing but NumPy and Pillow."""
    pixels = golden.crop.astype(np.float32)
    mean, scale = np.float32(contract.mean), np.float32(contract.scale)
    divisor = 128 / 127.5 if contract.scale[0] == 1 / 128 else 127.5 / 128
    right = (pixels - mean) * scale

    def planes(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.moveaxis(values, 2, 0)

    planted = {
        "right": planes(right),
        "bgr": planes((pixels[:, :, ::-1] - mean) * scale),
        "128": planes(right * np.float32(divisor)),
        "no-mean": planes(pixels * scale),
        "0..1": planes(pixels / 255),
        "nhwc": right.reshape(3, *right.shape[:2]),
        "mirrored": planes(right[:, ::-1]),
        "bgr and mirrored": planes((pixels[:, ::-1, ::-1] - mean) * scale),
    }
    if golden.photo is not None and golden.landmarks is not None:
        x, y = golden.landmarks.mean(axis=0)
        half = 1.5 * np.linalg.norm(golden.landmarks[0] - golden.landmarks[4])
        box = tuple(int(side) for side in (x - 0.85 * half, y - 1.1 * half, x + 0.85 * half, y + 0.9 * half))
        cut = Image.fromarray(golden.photo).crop(box).resize((112, 112), Image.Resampling.BICUBIC)
        planted["unaligned"] = planes((np.float32(np.asarray(cut)) - mean) * scale)
    return planted


def named(artifact: Artifact, golden: Golden, planted: Planted) -> dict[str, tuple[str, tuple[str, ...], str]]:
    session = open_session(artifact.path)
    found = {}
    for mistake, values in planted.items():
        raw = session.run(np.ascontiguousarray(values[None], np.float32))[0]
        told = diagnose(artifact, golden, raw / np.linalg.norm(raw))
        found[mistake] = (told.verdict, told.mistakes)
    raw = session.run(planted["right"][None])[0]
    told = diagnose(artifact, golden, raw)
    found["not normalised"] = (told.verdict, told.mistakes)
    return found


EXPECTED = {
    "right": ("right", ()),
    "bgr": ("mistake", ("bgr",)),
    "128": ("mistake", ("128",)),
    "no-mean": ("mistake", ("no-mean",)),
    "0..1": ("mistake", ("0..1",)),
    "nhwc": ("mistake", ("nhwc",)),
    "mirrored": ("mistake", ("mirrored",)),
    "bgr and mirrored": ("mistake", ("mirrored", "bgr")),
    "unaligned": ("mistake", ("unaligned",)),
    "not normalised": ("mistake", ("not-normalised",)),
}


@pytest.mark.parametrize(("kind", "number"), [("onnx", 0), ("tflite", 3)])
def test_every_mistake_on_a_rendered_face_is_named(default: dict[str, Artifact], kind: str, number: int) -> None:
    artifact = default[kind]
    golden = golden_faces(artifact.card.contract)[number]
    assert named(artifact, golden, plant(golden, artifact.card.contract)) == EXPECTED


@pytest.mark.parametrize(("kind", "person"), [("onnx", 0), ("tflite", 1), ("tflite", 2)])
def test_every_mistake_on_a_real_face_is_named(
    shared: Path, trained: dict[str, Artifact], kind: str, person: int
) -> None:
    artifact = trained[kind]
    golden = on_a_table(real_face(shared, person), 10.0)
    assert named(artifact, golden, plant(golden, artifact.card.contract)) == EXPECTED


def real_face(shared: Path, person: int) -> NDArray[np.uint8]:
    folders = sorted((shared / "faces" / "train112" / "cfp").iterdir())
    return read_photo(sorted(folders[person].glob("frontal_*.jpg"))[0])


def test_a_real_photo_cut_out_by_a_detectors_box_is_unaligned(shared: Path, trained: dict[str, Artifact]) -> None:
    artifact, detect = trained["tflite"], yunet(shared / "models" / "yunet_n.onnx")
    photo = read_photo(sorted((shared / "faces" / "raw_lfw").glob("*.jpg"))[20])
    face = (faces := detect(photo))[central_face(faces, *photo.shape[:2])]
    left, top, wide, high = face[:4]
    cut = Image.fromarray(photo).crop((int(left), int(top), int(left + wide), int(top + high))).resize((112, 112))
    raw = open_session(artifact.path).run(artifact.card.contract.preprocess(np.asarray(cut)[None]))[0]
    points = face[4:14].reshape(5, 2)
    golden = Golden("photo", aligned(photo, points, artifact.card.contract), photo, points)
    told = diagnose(artifact, golden, raw / np.linalg.norm(raw))
    assert (told.verdict, told.mistakes, told.sure) == ("mistake", ("unaligned",), False)
    assert "not aligned by its five landmarks" in str(told) and "the nearest of what was tried" in str(told)


def test_two_published_nets_of_the_same_shape_are_told_apart(shared: Path, trained: dict[str, Artifact]) -> None:
    factory = Path(__file__).parents[3] / "examples" / "published_mobilefacenets.py"
    contract = InputContract(scale=(1 / 128, 1 / 128, 1 / 128))
    weights = shared / "models" / "mobilefacenet_prelu.safetensors"
    other = open_embedder(f"{factory}:insightface_y1", weights, contract=contract)
    golden = on_a_table(real_face(shared, 3), -8.0)
    told = diagnose(trained["tflite"], golden, other.embed(golden.crop[None])[0])
    assert (told.verdict, told.mistakes) == ("other weights", ("other-weights",))
    assert told.scores[0].cosine < 0.5


@pytest.fixture
def right(default: dict[str, Artifact]) -> Callable[[int], tuple[Artifact, Golden, NDArray[np.float32]]]:
    def embedded(number: int) -> tuple[Artifact, Golden, NDArray[np.float32]]:
        artifact = default["tflite"]
        golden = golden_faces(artifact.card.contract)[number]
        raw = open_session(artifact.path).run(artifact.card.contract.preprocess(golden.crop[None]))[0]
        return artifact, golden, raw / np.linalg.norm(raw)

    return embedded


def test_rounding_hides_the_divisor_and_it_is_said(right: Callable[..., tuple[Artifact, Golden, np.ndarray]]) -> None:
    artifact, golden, vector = right(0)
    told = diagnose(artifact, golden, np.round(vector, 2))  # printed with two digits
    assert (told.verdict, told.mistakes, told.open) == ("cannot tell", (), ("128",))
    assert "cannot tell whether pixels are divided by 128" in str(told)
    assert diagnose(artifact, golden, np.round(vector, 5)).verdict == "right"


def test_a_mistake_is_certain_though_the_divisor_beside_it_is_not(
    right: Callable[..., tuple[Artifact, Golden, np.ndarray]],
) -> None:
    artifact, golden, _ = right(0)
    raw = open_session(artifact.path).run(artifact.card.contract.preprocess(golden.crop[None, :, ::-1]))[0]
    told = diagnose(artifact, golden, np.round(raw / np.linalg.norm(raw), 2))
    assert (told.verdict, told.mistakes, told.open) == ("cannot tell", ("mirrored",), ("128",))
    assert str(told).startswith("certain: the picture is mirrored. cannot tell whether")


def test_it_says_how_near_each_hypothesis_is(right: Callable[..., tuple[Artifact, Golden, np.ndarray]]) -> None:
    artifact, golden, vector = right(2)
    told = diagnose(artifact, golden, vector)
    assert told.sure and told.length == pytest.approx(1, abs=1e-5)
    assert told.scores[0].mistakes == () and told.scores[0].cosine == pytest.approx(1, abs=1e-6)
    cosines = [score.cosine for score in told.scores]
    assert cosines == sorted(cosines, reverse=True)
    assert told.margin == pytest.approx(cosines[0] - cosines[1])


def test_a_vector_of_another_length_is_of_other_weights(
    right: Callable[..., tuple[Artifact, Golden, np.ndarray]],
) -> None:
    artifact, golden, vector = right(0)
    told = diagnose(artifact, golden, np.append(vector, 0))
    assert (told.verdict, told.mistakes, told.scores) == ("other weights", ("other-weights",), ())


def test_a_vector_from_nowhere_is_of_other_weights(
    right: Callable[..., tuple[Artifact, Golden, np.ndarray]],
) -> None:
    artifact, golden, vector = right(1)
    strange = np.random.default_rng(0).standard_normal(vector.shape)
    told = diagnose(artifact, golden, strange / np.linalg.norm(strange))
    assert (told.verdict, told.mistakes) == ("other weights", ("other-weights",))
    assert "comes from other weights" in str(told)


def test_a_sibling_of_the_file_is_of_other_weights_and_not_unaligned(
    right: Callable[..., tuple[Artifact, Golden, np.ndarray]],
) -> None:
    """As a pruned version embeds: with a cosine of 0.93 to the file itself."""
    artifact, golden, vector = right(1)
    aside = np.random.default_rng(1).standard_normal(vector.shape)
    told = diagnose(artifact, golden, vector + 0.4 * aside / np.linalg.norm(aside))
    assert told.verdict == "other weights"
    assert told.scores[0].mistakes in ((), ("128",)) and told.scores[0].cosine == pytest.approx(0.93, abs=0.03)


@pytest.mark.parametrize("bad", [[], [0.0] * 64, [float("nan")] * 64])
def test_what_is_no_embedding_is_refused(
    right: Callable[..., tuple[Artifact, Golden, np.ndarray]], bad: list[float]
) -> None:
    artifact, golden, _ = right(0)
    with pytest.raises(ValueError, match="numbers is empty, zero or not finite: no embedding"):
        diagnose(artifact, golden, np.array(bad))


def test_vectors_are_read_as_apps_print_them(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.float32([[1.5, -2]]))
    (tmp_path / "v.json").write_text("[1.5, -2.0]")
    for text in ("1.5 -2", "1.5,-2", "[1.5, -2]", "1.5;\n-2", str(tmp_path / "v.npy"), str(tmp_path / "v.json")):
        assert read_vector(text).tolist() == [1.5, -2.0]
    assert read_vector(" ".join(["0.125"] * 64)).shape == (64,)  # longer than a file's name may be


def test_a_pickle_is_no_vector(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for text in (str(tmp_path / "v.npy"), "vector", '{"a": 1}', "[" * 5000, f"[{10**400}]"):
        with pytest.raises(ValueError, match="no vector in"):
            read_vector(text)


def test_a_golden_face_is_a_name_or_an_image(tmp_path: Path) -> None:
    contract = InputContract()
    golden = open_golden("golden-1", contract)
    assert golden.photo is not None and golden.landmarks is not None
    Image.fromarray(golden.crop).save(tmp_path / "crop.png")
    Image.fromarray(golden.photo).save(tmp_path / "photo.png")
    assert np.array_equal(open_golden(str(tmp_path / "crop.png"), contract).crop, golden.crop)
    again = open_golden(str(tmp_path / "photo.png"), contract, golden.landmarks.ravel().tolist())
    assert np.array_equal(again.crop, golden.crop)
    with pytest.raises(ValueError, match="of a photo give --landmarks too"):
        open_golden(str(tmp_path / "photo.png"), contract)
    with pytest.raises(ValueError, match="no golden face 'golden-9' and no image of that name; known: golden-0"):
        open_golden("golden-9", contract)


@pytest.mark.parametrize("header", [b"{'descr': n_order'* F!lse, 'shape': (128,), }\n", b"{" * 40, b"", b"\xff" * 20])
def test_a_damaged_npy_vector_is_one_sentence(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "vector.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ValueError, match=r"^no vector in [^\n]+$"):
        read_vector(str(path))

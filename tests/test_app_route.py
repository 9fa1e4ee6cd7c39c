"""The route of an app's developer: photos, aligned crops, somebody's ONNX file, a hand-off, its Kotlin on a photo."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pocketface.__main__ import app
from pocketface.export.app.golden import aligned
from pocketface.export.formats import open_session, read_artifact
from pocketface.faces.alignment import central_face, read_photo, yunet
from pocketface.models.embedder import unit

MEAN, SCALE = "123.675,116.28,103.53", "0.017124753831663668,0.01750700280112045,0.017429193899782137"
MAIN = """
import java.io.File
import javax.imageio.ImageIO
import pocketface.*
fun main(words: Array<String>) {
    val image = ImageIO.read(File(words[0]))
    val points = words.drop(2).map { it.toDouble() }.chunked(2).map { (x, y) -> Point(x, y) }
    val similarity = similarityOf(anchors(points.take(2), points[2], points.takeLast(2)))
    val part = partFor(similarity, image.width, image.height)
    val crop = cut(image.getRGB(part.left, part.top, part.width, part.height, null, 0, part.width), part, similarity)
    File(words[1]).writeBytes(ByteArray(crop.size * 3) { i -> (crop[i / 3] shr (16 - 8 * (i % 3))).toByte() })
}
"""


def given(*words: object) -> None:
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 0, (result.output, result.exception)


@pytest.fixture(scope="module")
def photos(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number, path in enumerate(sorted((shared / "faces" / "raw_lfw").glob("*.jpg"))[20:28]):
        (folder / f"person{number}").mkdir()
        shutil.copy(path, folder / f"person{number}" / path.name)
    return folder


def test_kotlin_gives_the_network_what_align_gives_it(shared: Path, photos: Path, tmp_path: Path) -> None:
    compiler = shutil.which("kotlinc")
    if compiler is None or shutil.which("java") is None:
        pytest.skip("no Kotlin compiler: npm install -g kotlin-compiler, and put its bin folder on the PATH")
    detector = shared / "models" / "yunet_n.onnx"
    given("align", photos, "--detector", detector, "--out", tmp_path / "crops")
    source = shared / "models" / "foreign_mobilefacenet_relu6.onnx"
    fed = ("--mean", MEAN, "--scale", SCALE, "--faces", tmp_path / "crops")
    given("export", source, *fed, "--target", "tflite-fp32", "--out", tmp_path / "run")
    given("handoff", tmp_path / "run", "--out", tmp_path / "ship")

    logic = tmp_path / "FaceLogic.kt"  # nobody certified the file: a number in the place of its threshold
    code = tmp_path / "ship" / "android" / "src" / "main" / "kotlin" / "pocketface"
    text = (code / "FaceLogic.kt").read_text(encoding="utf-8")
    logic.write_text(text.replace("THRESHOLD_NOT_SET_MEASURE_ON_PHOTOS_OF_YOUR_USERS", "0.5"), encoding="utf-8")
    (tmp_path / "Main.kt").write_text(MAIN, encoding="utf-8")
    sources = [str(logic), str(code / "FaceAlignment.kt"), str(tmp_path / "Main.kt")]
    jar, environment = str(tmp_path / "app.jar"), {**os.environ, "JAVA_OPTS": "-Xmx1g"}
    built = subprocess.run(
        [compiler, *sources, "-include-runtime", "-d", jar], env=environment, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr

    detect = yunet(detector)
    (file,) = (tmp_path / "ship" / "models").glob("*.tflite")
    contract, session = read_artifact(file).card.contract, open_session(file)
    for path in sorted(photos.glob("*/*.jpg"))[:3]:
        photo = read_photo(path)
        points = detect(photo)[central_face(detect(photo), *photo.shape[:2]), 4:14]
        png = tmp_path / "photo.png"  # Java's JPEG decoder and Pillow's differ by a level here and there
        Image.fromarray(photo).save(png)
        words = ["java", "-cp", jar, "MainKt", str(png), str(tmp_path / "crop.bin"), *map(str, points)]
        subprocess.run(words, check=True)
        crop = np.fromfile(tmp_path / "crop.bin", np.uint8).reshape(1, 112, 112, 3)
        ours = aligned(photo, points.reshape(5, 2), contract)[None]
        kept = np.asarray(Image.open(tmp_path / "crops" / path.relative_to(photos)))[None]  # a JPEG of quality 95
        kotlin, python, jpeg = (unit(session.run(contract.preprocess(each)))[0] for each in (crop, ours, kept))
        assert kotlin @ python > 0.999 and kotlin @ jpeg > 0.99

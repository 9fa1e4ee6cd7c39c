"""The hand-off: its numbers are the files' own, its Kotlin compiles and runs, its Swift parses."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pocketface.benchmark.report.mac_results import read_mac_results
from pocketface.export.app.diagnose import diagnose
from pocketface.export.app.golden import golden_faces
from pocketface.export.app.handoff import UNSET_NAME, _plain_text, handoff
from pocketface.export.app.int8_template import int8_templates
from pocketface.export.certificate import Certificate, Point
from pocketface.export.exporter import export
from pocketface.export.formats import open_session, read_artifact, read_card, write_card
from pocketface.export.recipe import ExportRecipe
from pocketface.faces.alignment import similarity_transform, warp
from pocketface.faces.contract import InputContract
from pocketface.models.embedder import Embedder, unit

KOTLIN = Path("android") / "src" / "main" / "kotlin" / "pocketface"
SWIFT = Path("ios") / "Sources" / "PocketFace"
CONTRACT = InputContract(
    48, 48, "bgr", (123.675, 116.28, 103.53), (0.017124753831663668, 0.01750700280112045, 0.017429193899782137)
)
TARGETS = ("onnx", "tflite-fp32", "tflite-w8a8", "coreml-fp16")


SCALE = 0.40625  # of int8 templates; some components of the golden embeddings are larger


def certify(path: Path, pairs_name: str, impostor: int = 30_000, scale: float | None = None) -> None:
    points = Point(1e-2, 0.25), Point(1e-3, 0.4375)
    card = read_card(path)
    assert card is not None
    certificate = Certificate(points, 5 + impostor, 5, impostor, None, pairs_name, "", "litert", template_scale=scale)
    write_card(path, card.but(certificate=certificate))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, 16)
    )
    embedder = Embedder("tiny", backbone.eval(), CONTRACT, "none.py:tiny", licence="MIT")
    folder = tmp_path_factory.mktemp("run")
    faces = np.stack([face.crop for face in golden_faces(CONTRACT)])
    export(embedder, faces, ExportRecipe(targets=TARGETS), folder / "artifacts")
    for name in ("tiny.tflite", "tiny.w8a8.tflite"):
        certify(folder / "artifacts" / name, "pairs.txt", scale=SCALE)
    return handoff([folder], folder / "handoff")


def index_of(bundle: Path) -> dict:
    return json.loads((bundle / "golden.json").read_text())


def test_golden_tensors_are_the_crops_as_the_contract_says(bundle: Path) -> None:
    index = index_of(bundle)
    assert [face["name"] for face in index["faces"]] == ["golden-0", "golden-1", "golden-2", "golden-3"]
    for face in index["faces"]:
        pixels = np.asarray(Image.open(bundle / "golden" / face["png"])).astype(np.float32)[..., ::-1]  # BGR
        values = (pixels - np.float32(CONTRACT.mean)) * np.float32(CONTRACT.scale)
        nhwc = np.fromfile(bundle / "golden" / face["nhwc"], "<f4").reshape(48, 48, 3)
        nchw = np.fromfile(bundle / "golden" / face["nchw"], "<f4").reshape(3, 48, 48)
        assert np.array_equal(nhwc, values) and np.array_equal(nchw, values.transpose(2, 0, 1))


def test_expected_embeddings_are_what_the_copied_files_give(bundle: Path) -> None:
    index = index_of(bundle)
    assert [each["format"] for each in index["artifacts"]] == ["coreml", "onnx", "tflite", "tflite"]
    for artifact in index["artifacts"]:
        session = open_session(bundle / artifact["file"])
        for face, expected in zip(index["faces"], artifact["embeddings"], strict=True):
            tensor = np.fromfile(bundle / "golden" / face["nchw"], "<f4").reshape(1, 3, 48, 48)
            assert np.array_equal(session.run(tensor)[0], np.fromfile(bundle / "golden" / expected, "<f4"))


def test_a_file_that_takes_int8_has_its_int8_input(bundle: Path) -> None:
    (artifact,) = [each for each in index_of(bundle)["artifacts"] if each["precision"] == "w8a8"]
    assert artifact["input"]["kind"] == "int8" and artifact["least_cosine"] == 0.999
    values = np.fromfile(bundle / "golden" / "golden-2.nhwc.bin", "<f4")
    steps = np.clip(np.round(values / np.float32(artifact["input"]["scale"]) + artifact["input"]["zero"]), -128, 127)
    assert np.array_equal(np.fromfile(bundle / "golden" / "golden-2.tiny.w8a8.tflite.i8.bin", np.int8), steps)


def test_landmarks_of_the_photo_lead_to_the_crop(bundle: Path) -> None:
    face = index_of(bundle)["faces"][3]
    photo = np.asarray(Image.open(bundle / "golden" / face["photo"]))
    assert photo.shape == (460, 400, 3) and len(face["landmarks"]) == 5
    left_eye, right_eye = face["landmarks"][:2]
    assert abs(left_eye[1] - right_eye[1]) > 5  # tilted: who does not align gets something else


def test_the_readme_says_what_was_not_run_and_which_threshold_is_whose(bundle: Path) -> None:
    text = (bundle / "README.md").read_text()
    assert "Nothing in here was run on a phone or a" in text and "which is not Apple's runtime" in text
    assert "| `models/tiny.tflite` | tflite | fp32 | 0.99999 | 0.4375 |" in text
    assert "| `models/tiny.w8a8.tflite` | tflite | w8a8 | 0.999 | 0.4375 |" in text
    assert "| `models/tiny.onnx` | onnx | fp32 | 0.99999 | not set: measure on photos of your users |" in text
    assert "0.2500 at FAR 0.01; 0.4375 at FAR 0.001" in text and "Licence of the weights: MIT." in text


def test_a_card_s_words_are_one_line_without_html_in_the_readme() -> None:
    words = 'MIT <script>alert(1)</script>\n# A title & "more"'
    assert _plain_text(words) == 'MIT &lt;script&gt;alert(1)&lt;/script&gt; # A title &amp; "more"'


@pytest.mark.parametrize(
    ("pairs_name", "impostor", "kotlin", "why"),
    [
        ("pairs.txt", 30_000, "0.4375", "0.2500 at FAR 0.01; 0.4375 at FAR 0.001"),
        (
            "pairs.txt",
            3_000,
            "0.25",
            "FAR 0.001 wants at least 30,000 impostor pairs, of which it accepts 30; there",
        ),
        ("pairs.txt", 2_999, UNSET_NAME, "FAR 0.01 wants at least 3,000 impostor pairs, of which it accepts 30; there"),
        ("synthetic", 30_000, UNSET_NAME, "FAR 0.01 was measured on rendered faces, not people"),
    ],
)
def test_no_code_holds_a_threshold_that_must_not_be_used(
    bundle: Path, tmp_path: Path, pairs_name: str, impostor: int, kotlin: str, why: str
) -> None:
    (tmp_path / "artifacts").mkdir()
    path = tmp_path / "artifacts" / "tiny.tflite"
    shutil.copy(bundle / "models" / "tiny.tflite", path)
    certify(path, pairs_name, impostor)
    out = handoff([tmp_path], tmp_path / "handoff")
    code = (out / KOTLIN / "FaceLogic.kt").read_text()
    assert f'FaceFile("tiny.tflite", 0.99999, {kotlin}),' in code and "val threshold: Double," in code  # not Double?
    assert why in (out / "README.md").read_text()
    unset = kotlin == UNSET_NAME
    assert ("does not compile until" in code) == unset
    assert ("The threshold is not set: measure on photos of your users." in (out / "README.md").read_text()) == unset
    assert not re.search(rf"(val|let|const) {UNSET_NAME}", code)  # nothing defines it


def test_swift_says_the_same(bundle: Path) -> None:
    code = (bundle / SWIFT / "FaceLogic.swift").read_text()  # of the Core ML file, which nobody certified
    assert f"threshold: {UNSET_NAME})" in code and "let threshold: Double\n" in code and "threshold: nil" not in code


def test_a_second_hand_off_is_the_same_and_no_other_folder_is_overwritten(bundle: Path, tmp_path: Path) -> None:
    again = handoff([bundle.parent], tmp_path / "again")
    files = sorted(path.relative_to(bundle) for path in bundle.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((bundle / file).read_bytes() == (again / file).read_bytes() for file in files)
    (again / "mac" / "mac_results.json").write_text("brought back")
    handoff([bundle.parent], again)
    assert (again / "mac" / "mac_results.json").read_text() == "brought back"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(ValueError, match="holds something other than a hand-off; name another folder with --out"):
        handoff([bundle.parent], tmp_path / "mine")


def test_what_cannot_be_handed_off_is_said(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no converted file to hand off"):
        handoff([tmp_path], tmp_path / "out")
    shutil.copy(bundle / "models" / "tiny.tflite", tmp_path / 'x")); evil(".tflite')
    with pytest.raises(ValueError, match="has characters other than letters"):
        handoff([tmp_path], tmp_path / "out")
    with pytest.raises(ValueError, match=r"two files are called tiny\.tflite"):
        handoff([bundle / "models" / "tiny.tflite"] * 2, tmp_path / "out")
    shutil.copy(bundle / "models" / "tiny.onnx", tmp_path / "other.onnx")
    card = read_card(tmp_path / "other.onnx")
    assert card is not None
    write_card(tmp_path / "other.onnx", card.but(contract=dataclasses.replace(CONTRACT, channel_order="rgb")))
    with pytest.raises(ValueError, match="these files need different inputs"):
        handoff([tmp_path / "other.onnx", bundle / "models" / "tiny.tflite"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


STUBS = """
package org.tensorflow.lite
import java.nio.ByteBuffer
enum class DataType { FLOAT32, INT8 }
class Steps(val scale: Float, val zeroPoint: Int)
class Tensor(private val bytes: Int, private val type: DataType, private val steps: Steps) {
    fun numBytes() = bytes
    fun dataType() = type
    fun quantizationParams() = steps
}
/** Knows by heart what the real network made of each golden input, and nothing else. */
class Interpreter(model: ByteBuffer, options: Options) {
    class Options { fun setNumThreads(threads: Int) = this }
    companion object {
        lateinit var known: Map<List<Byte>, ByteArray>
        lateinit var input: Tensor
        lateinit var output: Tensor
    }
    fun getInputTensor(index: Int) = input
    fun getOutputTensor(index: Int) = output
    fun run(given: Any, got: Any) {
        val bytes = ByteArray((given as ByteBuffer).remaining()).also { given.get(it) }
        (got as ByteBuffer).put(checkNotNull(known[bytes.toList()]) { "an input that is no golden one" })
    }
    fun close() {}
}
"""
ANDROID = """
package android.content.res
import java.io.File
import java.io.FileInputStream
class Opened(private val stream: FileInputStream) : AutoCloseable {
    val fileDescriptor get() = stream.fd
    val startOffset = 0L
    val declaredLength get() = stream.channel.size()
    override fun close() = stream.close()
}
class AssetManager {
    fun open(name: String) = File(System.getProperty("assets"), name).inputStream()
    fun openFd(name: String) = Opened(open(name))
}
"""
GRAPHICS = """
package android.graphics
import java.io.ByteArrayInputStream
import javax.imageio.ImageIO
class Bitmap(private val argb: IntArray, val width: Int, val height: Int) {
    enum class Config { ARGB_8888, HARDWARE }
    val config = Config.ARGB_8888
    fun copy(config: Config, mutable: Boolean) = this
    fun getPixels(into: IntArray, offset: Int, stride: Int, x: Int, y: Int, w: Int, h: Int) {
        for (row in 0 until h) for (column in 0 until w)
            into[offset + row * stride + column] = argb[(y + row) * width + x + column]
    }
}
object BitmapFactory {
    class Options { var inScaled = true }
    fun decodeByteArray(data: ByteArray, offset: Int, length: Int, options: Options): Bitmap? {
        val image = ImageIO.read(ByteArrayInputStream(data))
        return Bitmap(image.getRGB(0, 0, image.width, image.height, null, 0, image.width), image.width, image.height)
    }
}
"""
MAIN = """
import android.content.res.AssetManager
import java.io.File
import org.tensorflow.lite.DataType
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.Steps
import org.tensorflow.lite.Tensor
import pocketface.*
fun main() {
    val assets = File(System.getProperty("assets"))
    fun bytes(name: String) = File(assets, name).readBytes()
    for (file in FILES) {
        val whole = file.name.contains("w8a8")
        val given = if (whole) "${file.name}.i8.bin" else "nhwc.bin"
        Interpreter.input = if (whole) Tensor(48 * 48 * 3, DataType.INT8, Steps(%(scale)sf, %(zero)d))
            else Tensor(48 * 48 * 12, DataType.FLOAT32, Steps(0f, 0))
        Interpreter.output = Tensor(64, DataType.FLOAT32, Steps(0f, 0))
        Interpreter.known = GOLDEN.associate {
            bytes("${it.name}.$given").toList() to bytes("${it.name}.${file.name}.bin")
        }
        FaceEmbedder(AssetManager(), file).use { embedder ->
            embedder.selfTest(AssetManager()).forEach { println("${file.name} $it") }
        }
    }
    val (a, b) = GOLDEN.take(2).map { normalise(floats(bytes("${it.name}.tiny.tflite.bin"))) }
    println("pair ${similarity(a, b)} ${samePerson(a, b, 0.4375)}")
    val wrong = check("wrong", IntArray(48 * 48), IntArray(48 * 48), floats(bytes("golden-0.nhwc.bin")), a, 0.99) { b }
    println(wrong)
    val (s, t) = listOf(a, b).map { template(it, FILES[0].templateScale!!) }
    println("stored ${s.toList()} ${similarity(s, t)} ${nearest(t, listOf(s, t))} ${nearest(t, listOf<ByteArray>())}")
    println("nearest ${nearest(a, listOf(b, a))} ${nearest(a, emptyList())}")
    for (line in File(assets, "photos.txt").readLines()) {
        val (name, numbers) = line.split(" ", limit = 2)
        val found = numbers.split(" ").map { it.toDouble() }.chunked(2).map { (x, y) -> Point(x, y) }
        val image = javax.imageio.ImageIO.read(File(assets, "$name.png"))
        val nose = if (found.size == 5) found[2] else null
        val similarity = similarityOf(anchors(found.take(2).reversed(), nose, found.takeLast(2))) // in any order
        val part = partFor(similarity, image.width, image.height)
        val argb = image.getRGB(part.left, part.top, part.width, part.height, null, 0, part.width)
        val crop = cut(argb, part, similarity)
        File(assets, "$name.crop").writeBytes(
            ByteArray(crop.size * 3) { i -> (crop[i / 3] shr intArrayOf(16, 8, 0)[i %% 3]).toByte() })
        println("part $name ${part.left} ${part.top} ${part.width} ${part.height}")
    }
    val six = floatArrayOf(0.4f, 0.6f, 0.5f, 0.5f, 0.3f, 0.7f) to floatArrayOf(0.4f, 0.4f, 0.5f, 0.6f, 0.4f, 0.4f)
    println("six " + mediaPipeDetector(six.first, six.second, 100, 200).joinToString { "${it.found.x} ${it.found.y}" })
}
"""


LEFT, RIGHT, NOSE, MOUTH = (38.0, 52.0), (74.0, 51.0), (56.0, 71.0), ((42.0, 92.0), (71.0, 92.0))
PHOTOS = {  # name -> height, width, the five points of an upright face of 112 pixels or but four, and where they go
    "large": (900, 700, (LEFT, RIGHT, NOSE, *MOUTH), 4.3, 0.5, (230, 100)),  # averaged down by 10
    "edge": (300, 260, (LEFT, RIGHT, NOSE, *MOUTH), 1.1, -0.3, (190, 200)),  # partly outside
    "small": (40, 50, (LEFT, RIGHT, *MOUTH), 0.35, 0.1, (1, 2)),  # enlarged
}


def photo_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    """A photo of noise, and the landmarks that a detector would give."""
    height, width, points, size, angle, place = PHOTOS[name]
    turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return noise, np.array(points) @ turn.T + place


@pytest.fixture(scope="module")
def kotlin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kotlin")


@pytest.fixture(scope="module")
def kotlin_output(bundle: Path, kotlin_folder: Path) -> list[str]:
    """What a program prints that is made of the bundle's two Kotlin files and stand-ins for Android and LiteRT."""
    compiler = shutil.which("kotlinc")
    if compiler is None or shutil.which("java") is None:
        pytest.skip("no Kotlin compiler: npm install -g kotlin-compiler, and put its bin folder on the PATH")
    folder = kotlin_folder
    (artifact,) = [each for each in index_of(bundle)["artifacts"] if each["precision"] == "w8a8"]
    main = MAIN % {"scale": np.float32(artifact["input"]["scale"]), "zero": artifact["input"]["zero"]}
    for name, text in (("Lite.kt", STUBS), ("Content.kt", ANDROID), ("Graphics.kt", GRAPHICS), ("Main.kt", main)):
        (folder / name).write_text(text)
    sources = [*folder.glob("*.kt"), *(bundle / KOTLIN).glob("*.kt")]
    environment = {**os.environ, "JAVA_OPTS": "-Xmx1g"}
    built = subprocess.run(
        [compiler, *map(str, sources), "-include-runtime", "-d", str(folder / "app.jar")],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert "warning:" not in built.stderr
    (folder / "assets").mkdir()
    for file in (*(bundle / "golden").iterdir(), *(bundle / "models").glob("*.tflite")):
        shutil.copy(file, folder / "assets" / file.name)
    lines = []
    for name in PHOTOS:
        noise, found = photo_of(name)
        Image.fromarray(noise).save(folder / "assets" / f"{name}.png")
        lines.append(" ".join([name, *map(repr, found.reshape(-1).tolist())]))
    (folder / "assets" / "photos.txt").write_text("\n".join(lines) + "\n")
    command = ["java", f"-Dassets={folder / 'assets'}", "-cp", str(folder / "app.jar"), "MainKt"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_the_kotlin_self_test_passes_on_every_golden_face(kotlin_output: list[str]) -> None:
    tests = [line for line in kotlin_output if line.startswith("tiny")]
    assert len(tests) == 8 and all(line.endswith(": passed") for line in tests)
    assert all("crop off by 0, input off by 0.0, cosine " in line for line in tests)


@pytest.mark.parametrize("name", PHOTOS)
def test_kotlin_cuts_the_crop_that_pocketface_cuts(kotlin_output: list[str], kotlin_folder: Path, name: str) -> None:
    photo, found = photo_of(name)
    template = CONTRACT.landmarks if len(found) == 5 else CONTRACT.landmarks[[0, 1, 3, 4]]
    expected = warp(photo, similarity_transform(found, template), 48, 48)
    crop = np.fromfile(kotlin_folder / "assets" / f"{name}.crop", np.uint8).reshape(48, 48, 3)
    off = np.abs(crop.astype(int) - expected)
    assert off.max() <= 1 and (off > 0).mean() < 0.02  # Pillow rounds a mean of a half down where ours goes up
    assert (expected == 0).all(-1).any() == (name != "large")  # black beyond the photo


def test_kotlin_reads_no_more_of_a_photo_than_the_crop_needs(kotlin_output: list[str]) -> None:
    (line,) = [line for line in kotlin_output if line.startswith("part large")]
    left, top, width, height = map(int, line.split()[2:])
    assert left % 10 == 0 and top % 10 == 0 and width * height < 900 * 700


def test_kotlin_finds_the_nearest_of_many(kotlin_output: list[str]) -> None:
    (line,) = [line for line in kotlin_output if line.startswith("nearest")]
    assert re.fullmatch(r"nearest \(1, (1\.0|0\.9999)\d*\) null", line)


def test_kotlin_takes_the_six_points_of_a_detector_without_mouth_corners(kotlin_output: list[str]) -> None:
    (line,) = [line for line in kotlin_output if line.startswith("six")]  # shares of 100 x 200 pixels
    assert np.allclose(
        np.array(re.findall(r"[\d.]+", line), float).reshape(-1, 2),
        [[39.5, 79.5], [59.5, 79.5], [49.5, 99.5], [49.5, 119.5]],
        atol=1e-4,
    )


def test_kotlin_compares_as_numpy_does(kotlin_output: list[str], bundle: Path) -> None:
    a, b = (np.fromfile(bundle / "golden" / f"golden-{i}.tiny.tflite.bin", "<f4").astype(np.float64) for i in (0, 1))
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    (line,) = [line for line in kotlin_output if line.startswith("pair")]
    _, found, same = line.split()
    assert float(found) == pytest.approx(cosine, abs=1e-6) and same == str(cosine >= 0.4375).lower()


def test_kotlin_stores_and_compares_int8_templates_as_pocketface_does(kotlin_output: list[str], bundle: Path) -> None:
    vectors = np.stack([np.fromfile(bundle / "golden" / f"golden-{i}.tiny.tflite.bin", "<f4") for i in (0, 1)])
    stored = int8_templates(unit(vectors), SCALE).astype(np.int64)
    assert (np.abs(stored) == 127).any()  # a component beyond the scale
    cosine = stored[0] @ stored[1] / np.linalg.norm(stored[0]) / np.linalg.norm(stored[1])
    (line,) = [line for line in kotlin_output if line.startswith("stored")]
    found = re.fullmatch(r"stored (\[.*\]) (\S+) \(1, (\S+)\) null", line)
    assert found is not None and json.loads(found[1]) == stored[0].tolist()
    assert float(found[2]) == pytest.approx(cosine, abs=1e-12) and float(found[3]) == pytest.approx(1, abs=1e-12)


def test_the_scale_of_templates_is_in_the_code_where_the_certificate_has_one(bundle: Path, tmp_path: Path) -> None:
    code = (bundle / KOTLIN / "FaceLogic.kt").read_text()
    assert 'FaceFile("tiny.tflite", 0.99999, 0.4375, 0.40625),' in code
    assert index_of(bundle)["artifacts"][2]["certificate"]["template_scale"] == SCALE
    package = tmp_path / "tiny.mlpackage"
    shutil.copytree(next((bundle / "models").glob("*.mlpackage")), package)
    certify(package, "pairs.txt", scale=SCALE)
    code = (handoff([package], tmp_path / "handoff") / SWIFT / "FaceLogic.swift").read_text()
    assert "threshold: 0.4375, templateScale: 0.40625)," in code


def test_kotlin_fails_a_wrong_picture(kotlin_output: list[str]) -> None:
    (line,) = [line for line in kotlin_output if line.startswith("wrong")]
    assert line.endswith("FAILED")


def test_kotlin_without_a_threshold_does_not_compile(bundle: Path, tmp_path: Path) -> None:
    compiler = shutil.which("kotlinc")
    if compiler is None:
        pytest.skip("no Kotlin compiler: npm install -g kotlin-compiler, and put its bin folder on the PATH")
    shutil.copy(bundle / "models" / "tiny.tflite", tmp_path / "tiny.tflite")
    certify(tmp_path / "tiny.tflite", "synthetic")
    source = handoff([tmp_path / "tiny.tflite"], tmp_path / "handoff") / KOTLIN / "FaceLogic.kt"
    command = [compiler, str(source), "-d", str(tmp_path / "app.jar")]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode != 0 and UNSET_NAME in built.stderr


def test_the_swift_files_parse(bundle: Path) -> None:
    parser = pytest.importorskip("tree_sitter", reason="no Swift parser: pip install tree-sitter tree-sitter-swift")
    grammar = pytest.importorskip("tree_sitter_swift", reason="no Swift parser: pip install tree-sitter-swift")
    swift = parser.Parser(parser.Language(grammar.language()))
    for path in sorted((bundle / "ios").rglob("*.swift")):
        tree = swift.parse(path.read_bytes())
        assert not tree.root_node.has_error, f"{path.name}: {broken(tree.root_node)}"
    assert swift.parse(b"func f( { let }").root_node.has_error


def broken(node: object) -> list[str]:
    wrong = [f"line {node.start_point[0] + 1}"] if node.is_error or node.is_missing else []  # type: ignore[attr-defined]
    return wrong + [each for child in node.children for each in broken(child)]  # type: ignore[attr-defined]


def test_the_swift_logic_compiles_and_agrees(bundle: Path, tmp_path: Path) -> None:
    compiler = shutil.which("swiftc")
    if compiler is None:
        pytest.skip("no Swift compiler: neither Debian 12 nor PyPI nor npm has one")
    golden = bundle / "golden"
    rgba = np.asarray(Image.open(golden / "golden-0.png").convert("RGBA"))
    (tmp_path / "rgba.bin").write_bytes(rgba.tobytes())
    (tmp_path / "main.swift").write_text(
        f"""
        import Foundation
        func read(_ path: String) throws -> Data {{ try Data(contentsOf: URL(fileURLWithPath: path)) }}
        let rgba = [UInt8](try read("{tmp_path}/rgba.bin"))
        let expected = floats(try read("{golden}/golden-0.tiny.fp16.mlpackage.bin"))
        let tensor = floats(try read("{golden}/golden-0.nchw.bin"))
        print(check(face: "golden-0", rgba: rgba, tensor: tensor, expected: expected, leastCosine: 0.999) {{ _ in
            normalise(expected)
        }})
        """
    )
    sources = [str(tmp_path / "main.swift"), str(bundle / SWIFT / "FaceLogic.swift")]
    subprocess.run([compiler, *sources, "-o", str(tmp_path / "app")], check=True)
    output = subprocess.run([str(tmp_path / "app")], capture_output=True, text=True, check=True).stdout
    assert output.strip().endswith("passed") and "off by 0.0" in output


STAND_IN = """
import sys, types, numpy as np
from pocketface.export.formats import open_session
from pocketface.export.coreml.package import import_coremltools
real = import_coremltools()
class MLModel:
    def __init__(self, path, compute_units):
        if compute_units == "CPU_AND_NE":
            raise RuntimeError("no Neural Engine\\nhere")
        self.session, self.path, self.known = open_session(__import__("pathlib").Path(path)), path, {}
    def get_spec(self):
        return real.models.utils.load_spec(self.path)
    def predict(self, inputs):
        key = inputs["input"].tobytes()
        if key not in self.known:
            self.known[key] = self.session.run(inputs["input"])
        return {"embedding": self.known[key]}
units = types.SimpleNamespace(**{name: name for name in ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL")})
real.models.MLModel, real.ComputeUnit = MLModel, units
import runpy
sys.argv = [sys.argv[1]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def mac_results(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the Mac's script writes with our evaluator in place of Apple's runtime."""
    copy = tmp_path_factory.mktemp("mac") / "copied"
    shutil.copytree(bundle, copy)
    command = [sys.executable, "-c", STAND_IN, str(copy / "mac" / "measure.py")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=copy.parent)
    assert ran.returncode == 0, ran.stderr
    return copy / "mac" / "mac_results.json"


def test_what_the_mac_script_writes_is_read_as_measurements(mac_results: Path) -> None:
    rows = read_mac_results(mac_results)
    assert {row.runtime for row in rows} == {
        f"coreml {unit}" for unit in ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL")
    }
    median = {row.runtime: row for row in rows if row.metric == "latency_ms_p50"}
    assert median["coreml ALL"].valid and median["coreml ALL"].n == 200 and median["coreml ALL"].value > 0
    assert median["coreml ALL"].artifact == "tiny.fp16.mlpackage" and median["coreml ALL"].precision == "fp16"
    assert (median["coreml CPU_AND_NE"].valid, median["coreml CPU_AND_NE"].reason) == (False, "no Neural Engine here")
    (parity,) = [row for row in rows if row.metric == "parity_cosine_min" and row.runtime == "coreml CPU_ONLY"]
    assert parity.value == pytest.approx(1, abs=1e-6) and parity.n == 4


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("pocketface_mac_results",), 2, "another version of the script"),
        (("device",), None, "'device' is missing or of another kind"),
        (("device", "chip"), "x" * 1000, "is no name"),
        (("device", "chip"), "a\x1b[31m", "is no name"),
        (("rows",), {}, "'rows' is missing or of another kind"),
        (("rows",), [{}] * 1001, "it has 1001 rows"),
        (("rows", 0), "row", "'precision' is missing"),
        (("rows", 0, "precision"), "fp8", "no precision 'fp8'"),
        (("rows", 0, "median_ms"), "fast", "'median_ms' is no number"),
        (("rows", 0, "median_ms"), float("nan"), "'median_ms' is no number"),
        (("rows", 0, "median_ms"), -1, "'median_ms' is -1"),
        (("rows", 0, "p90_ms"), True, "'p90_ms' is no number"),
        (("rows", 0, "cosine_min"), 7, "'cosine_min' is 7"),
        (("rows", 0, "runs"), 10**30, "'runs' is 1000"),
        (("rows", 0, "placement"), {"ane": "many"}, "'ane' is missing or of another kind"),
    ],
)
def test_hostile_results_are_refused_in_one_sentence(
    mac_results: Path, tmp_path: Path, path: tuple, value: object, said: str
) -> None:
    results = json.loads(mac_results.read_text())
    place = results
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (tmp_path / "r.json").write_text(json.dumps(results))
    with pytest.raises(ValueError, match=said) as caught:
        read_mac_results(tmp_path / "r.json")
    assert str(caught.value).startswith("r.json holds no results of a Mac: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[" * 100_000, "null", '{"pocketface_mac_results": 1}', "\x00"])
def test_other_files_are_no_results_of_a_mac(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ValueError, match=r"r\.json holds no results of a Mac"):
        read_mac_results(tmp_path / "r.json")


def test_two_megabytes_of_results_are_not_parsed(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(" " * (2 << 20))
    with pytest.raises(ValueError, match="results of a Mac have at most 1048576"):
        read_mac_results(tmp_path / "r.json")


def test_a_grey_network_of_another_shape_is_handed_off_with_one_channel(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(240, 16))
    contract = InputContract(48, 40, "gray")
    embedder = Embedder("grey", backbone.eval(), contract, "none.py:grey")
    faces = np.stack([face.crop for face in golden_faces(contract)])
    made = export(embedder, faces, ExportRecipe(targets=("tflite-fp32",)), tmp_path / "artifacts")
    assert [result.reason for result in made] == ["", ""]
    bundle = handoff([tmp_path], tmp_path / "handoff")
    tensor = np.fromfile(bundle / "golden" / "golden-0.nchw.bin", "<f4").reshape(1, 48, 40)
    luma = np.asarray(Image.open(bundle / "golden" / "golden-0.png").convert("L"), np.float32)
    np.testing.assert_allclose(tensor[0], (luma - 127.5) / 127.5, atol=1e-6)
    assert index_of(bundle)["template"][:2] == [round((38.2946 * 48 / 112) - 4, 4), round(51.6963 * 48 / 112, 4)]
    assert "val luma = (19595 * red + 38470 * green" in (bundle / KOTLIN / "FaceLogic.kt").read_text()
    artifact = read_artifact(bundle / "models" / "grey.tflite")
    vector = open_session(artifact.path).run(contract.preprocess(faces[:1]))[0]
    assert diagnose(artifact, golden_faces(contract)[0], vector / np.linalg.norm(vector)).verdict == "right"

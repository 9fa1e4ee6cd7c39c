"""Photo to crop: transforms whose answer one sees, OpenCV as the oracle, real photos."""

import math
import sys

import numpy as np
import pytest
from PIL import Image

from pocketface.faces import alignment
from pocketface.faces.alignment import align_folder, central_face, read_photo, similarity_transform, warp
from pocketface.faces.contract import ARCFACE, TEMPLATES, InputContract
from pocketface.faces.recutting import recut

TEMPLATE = np.array(TEMPLATES["arcface"])


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def photo(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


# The transform


def test_the_template_itself_needs_no_transform():
    assert similarity_transform(TEMPLATE, TEMPLATE) == pytest.approx(np.eye(2, 3), abs=1e-12)


def test_a_shift_is_undone():
    expected = [[1, 0, -30], [0, 1, 7]]
    assert similarity_transform(TEMPLATE + np.array([30, -7]), TEMPLATE) == pytest.approx(np.array(expected), abs=1e-9)


def test_a_scale_is_undone():
    expected = [[0.25, 0, 0], [0, 0.25, 0]]
    assert similarity_transform(TEMPLATE * 4, TEMPLATE) == pytest.approx(np.array(expected), abs=1e-9)


def test_a_quarter_turn_is_undone():
    turned = np.column_stack([-TEMPLATE[:, 1], TEMPLATE[:, 0]])  # (x, y) to (-y, x)
    assert similarity_transform(turned, TEMPLATE) == pytest.approx(np.array([[0, 1, 0], [-1, 0, 0]]), abs=1e-9)


def test_turn_scale_and_shift_together_are_undone():
    angle, scale = math.radians(20), 1.7
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    points = TEMPLATE @ turn.T + [12, 34]
    got = similarity_transform(points, TEMPLATE)
    assert points @ got[:, :2].T + got[:, 2] == pytest.approx(TEMPLATE, abs=1e-9)


def test_a_mirrored_face_is_not_mirrored_back():
    got = similarity_transform(TEMPLATE * [-1, 1], TEMPLATE)
    assert np.linalg.det(got[:, :2]) > 0


def test_no_other_similarity_comes_nearer_to_the_template():
    random = np.random.default_rng(3)
    points = TEMPLATE * 2 + random.normal(0, 8, (5, 2))
    # A similarity is [[a, -b, x], [b, a, y]]: linear in its four numbers, so lstsq is an independent oracle.
    rows = np.zeros((10, 4))
    rows[0::2] = np.column_stack([points[:, 0], -points[:, 1], np.ones(5), np.zeros(5)])
    rows[1::2] = np.column_stack([points[:, 1], points[:, 0], np.zeros(5), np.ones(5)])
    a, b, x, y = np.linalg.lstsq(rows, TEMPLATE.ravel(), rcond=None)[0]
    assert similarity_transform(points, TEMPLATE) == pytest.approx(np.array([[a, -b, x], [b, a, y]]), abs=1e-9)


@pytest.mark.parametrize("points", [np.ones((5, 2)), np.full((5, 2), np.nan)])
def test_landmarks_that_coincide_are_refused(points):
    with pytest.raises(ValueError, match="coincide or are no numbers"):
        similarity_transform(points, TEMPLATE)


def test_another_number_of_landmarks_is_refused():
    with pytest.raises(ValueError, match=r"like the template's \(5, 2\), not \(4, 2\)"):
        similarity_transform(TEMPLATE[:4], TEMPLATE)


# The crop


def test_a_whole_shift_copies_pixels():
    pixels = noise(40, 50)
    assert np.array_equal(warp(pixels, [[1, 0, -13], [0, 1, -6]], 20, 30), pixels[6:26, 13:43])


def test_beyond_the_photo_it_is_black():
    crop = warp(np.full((10, 10, 3), 200, np.uint8), [[1, 0, 5], [0, 1, 0]], 10, 20)
    assert crop[5, :, 0].tolist() == [0] * 5 + [200] * 10 + [0] * 5


def test_half_a_pixel_is_the_mean_of_two():
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, 4:] = 100
    assert warp(pixels, [[1, 0, -0.5], [0, 1, 0]], 8, 6)[4, :, 0].tolist() == [0, 0, 0, 50, 100, 100]


def test_opencv_cuts_the_same_crop():
    cv2 = pytest.importorskip("cv2", reason="the oracle is OpenCV's warpAffine")
    smooth = np.asarray(Image.fromarray(noise(20, 20)).resize((250, 250), Image.Resampling.BICUBIC))
    points = TEMPLATE * 1.1 + [60, 70] + np.random.default_rng(1).normal(0, 4, (5, 2))
    transform = similarity_transform(points, TEMPLATE)
    theirs = cv2.warpAffine(smooth, transform, (112, 112))
    difference = np.abs(warp(smooth, transform, 112, 112).astype(int) - theirs)
    assert difference.max() <= 6  # OpenCV rounds positions to 1/32 pixel
    assert difference.mean() < 0.6


def test_a_large_photo_is_averaged_and_does_not_alias():
    checks = np.indices((400, 400)).sum(axis=0) % 2 * 255
    crop = warp(np.repeat(checks[..., None], 3, axis=2).astype(np.uint8), [[0.25, 0, 0], [0, 0.25, 0]], 100, 100)
    assert np.abs(crop[2:-2, 2:-2].astype(int) - 127).max() <= 1


def test_averaging_down_keeps_the_place():
    ramp = np.tile(np.arange(240, dtype=np.uint8)[:, None, None], (1, 240, 3))
    crop = warp(ramp, [[0.25, 0, 0], [0, 0.25, 0]], 60, 60)
    assert crop[5:55, 30, 0] == pytest.approx(np.arange(5, 55) * 4, abs=1)


# The choice among faces


def test_the_face_in_the_middle_goes_before_a_larger_one_at_the_edge():
    edge, middle = [0, 0, 60, 60], [110, 110, 40, 40]
    assert central_face(np.array([edge, middle], float), 250, 250) == 1


def test_of_two_faces_in_the_middle_the_larger_one_is_taken():
    assert central_face(np.array([[110, 100, 30, 30], [90, 90, 80, 80]], float), 250, 250) == 1


# Folders, with a detector whose answer we know


@pytest.fixture
def known_face(monkeypatch):
    """A detector that sees the template, moved by (20, 10), in every photo that is not black."""

    def detect(pixels):
        if not pixels.any():
            return np.zeros((0, 15))
        return np.array([[20, 10, 112, 112, *(TEMPLATE + np.array([20, 10])).ravel(), 0.9]])

    monkeypatch.setattr(alignment, "yunet", lambda path: detect)


def test_crops_keep_folders_and_names_and_what_failed_is_listed(tmp_path, known_face):
    photo(tmp_path / "in" / "ann" / "one.png", noise(150, 150))
    photo(tmp_path / "in" / "two.jpg", noise(150, 150))
    photo(tmp_path / "in" / "black.png", np.zeros((150, 150, 3), np.uint8))
    (tmp_path / "in" / "bad.jpg").write_bytes(b"bad")
    got = align_folder(tmp_path / "in", tmp_path / "out", tmp_path / "yunet.onnx", ARCFACE)
    assert got.written == ("ann/one.png", "two.jpg")
    assert got.without_face == ("black.png",)
    assert got.unreadable == ("bad.jpg",)
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert found == ["ann/one.jpg", "two.jpg"]


def test_the_summary_counts_and_names_what_failed():
    told = str(alignment.Alignment(("a.jpg", "b.jpg"), ("sky.jpg",), ("bad.jpg",)))
    assert told.splitlines() == ["2 of 4 photos became crops", "no face found: sky.jpg", "unreadable: bad.jpg"]


def test_the_crop_is_what_the_landmarks_say(tmp_path, known_face):
    smooth = np.asarray(Image.fromarray(noise(10, 10)).resize((160, 150), Image.Resampling.BICUBIC))
    photo(tmp_path / "in" / "x.png", smooth)
    align_folder(tmp_path / "in", tmp_path / "out", tmp_path / "yunet.onnx", ARCFACE)
    with Image.open(tmp_path / "out" / "x.jpg") as crop:
        assert crop.format == "JPEG"
        assert np.abs(np.asarray(crop).astype(int) - smooth[10:122, 20:132]).mean() < 3


def test_the_template_grows_with_the_contract(tmp_path, known_face):
    photo(tmp_path / "in" / "x.png", noise(150, 160))
    align_folder(tmp_path / "in", tmp_path / "out", tmp_path / "yunet.onnx", InputContract(224, 224))
    with Image.open(tmp_path / "out" / "x.jpg") as crop:
        assert crop.size == (224, 224)
        corner = np.asarray(crop.resize((112, 112), Image.Resampling.BOX)).astype(int)
    assert np.abs(corner[:5, :5].mean() - noise(150, 160)[10:15, 20:25].mean()) < 12


def test_two_photos_that_would_become_one_crop_are_told(tmp_path, known_face):
    for ending in ("jpg", "png"):
        photo(tmp_path / "in" / f"x.{ending}", noise(150, 150))
    with pytest.raises(ValueError, match=r"x\.jpg and .*x\.png would both become .*x\.jpg: rename one"):
        align_folder(tmp_path / "in", tmp_path / "out", tmp_path / "yunet.onnx", ARCFACE)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("inside", [".", "crops"])
def test_crops_do_not_go_among_the_photos(tmp_path, inside):
    with pytest.raises(ValueError, match=r"would be read as photos of .* name a folder outside"):
        align_folder(tmp_path, tmp_path / inside, tmp_path / "yunet.onnx", ARCFACE)


def test_an_empty_folder_is_told(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(ValueError, match=r"in holds no photos; files that end in \.jpg"):
        align_folder(tmp_path / "in", tmp_path / "out", tmp_path / "yunet.onnx", ARCFACE)


def test_a_missing_detector_is_told(tmp_path):
    photo(tmp_path / "in" / "x.png", noise(20, 20))
    with pytest.raises(ValueError, match=r"no detector .*yunet\.onnx"):
        align_folder(tmp_path / "in", tmp_path / "out", tmp_path / "yunet.onnx", ARCFACE)


def test_a_missing_opencv_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    (tmp_path / "yunet.onnx").write_bytes(b"")
    with pytest.raises(ValueError) as error:
        alignment.yunet(tmp_path / "yunet.onnx")
    assert str(error.value) == "alignment needs OpenCV: pip install 'pocketface[align]'"


def test_a_file_that_is_no_detector_is_told(tmp_path):
    pytest.importorskip("cv2", reason="OpenCV reads the detector")
    (tmp_path / "yunet.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"yunet\.onnx is no YuNet detector"):
        alignment.yunet(tmp_path / "yunet.onnx")


def test_a_photo_is_turned_upright(tmp_path):
    pixels = np.zeros((20, 10, 3), np.uint8)
    pixels[:10] = 200
    exif = Image.Exif()
    exif[0x0112] = 3  # stored upside down
    photo(tmp_path / "x.png", pixels, exif=exif)
    assert np.array_equal(read_photo(tmp_path / "x.png"), pixels[::-1])


def test_a_photo_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(alignment, "LARGEST_PHOTO", 399)
    photo(tmp_path / "x.png", noise(20, 20))
    with pytest.raises(ValueError, match="has 400 pixels; 399 are the most"):
        read_photo(tmp_path / "x.png")


# Real photos


def test_real_photos_give_the_crops_that_others_cut(shared, tmp_path):
    pytest.importorskip("cv2", reason="OpenCV runs the detector")
    faces = shared / "faces"
    names = ("Baz_Luhrmann_0001", "Gerry_Adams_0006", "Jim_Hardin_0001", "Tony_Blair_0133", "LK_Advani_0003")
    for name in names:
        photo(tmp_path / "in" / f"{name}.png", read_photo(faces / "raw_lfw" / f"{name}.jpg"))
    got = align_folder(tmp_path / "in", tmp_path / "out", shared / "models" / "yunet_n.onnx", ARCFACE)
    assert (len(got.written), got.without_face, got.unreadable) == (5, (), ())
    for name in names:
        theirs = read_photo(faces / "lfw112" / name[:-5] / f"{name}.jpg").astype(int)
        assert np.abs(read_photo(tmp_path / "out" / f"{name}.jpg") - theirs).mean() < 2


def test_a_face_in_a_large_photo_is_found_where_it_is(shared, tmp_path):
    pytest.importorskip("cv2", reason="OpenCV runs the detector")
    detect = alignment.yunet(shared / "models" / "yunet_n.onnx")
    small = read_photo(shared / "faces" / "raw_lfw" / "Jim_Hardin_0001.jpg")
    large = np.asarray(Image.fromarray(small).resize((2000, 2000), Image.Resampling.BICUBIC))
    # The face is 90 of 250 pixels wide; YuNet's landmarks tremble by about 3 when a photo changes its size.
    assert detect(large)[0, 4:14] / 8 == pytest.approx(detect(small)[0, 4:14], abs=6)


def test_a_photo_without_a_face_has_none(shared):
    pytest.importorskip("cv2", reason="OpenCV runs the detector")
    assert alignment.yunet(shared / "models" / "yunet_n.onnx")(noise(200, 300)).shape == (0, 15)


def test_another_network_than_a_detector_is_one_sentence(tmp_path):
    pytest.importorskip("cv2")
    onnx = pytest.importorskip("onnx")
    ports = [onnx.helper.make_tensor_value_info(name, 1, [1, 3, 320, 320]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "net", ports[:1], ports[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(ValueError, match=r"net\.onnx is no YuNet detector[^\n]+$"):
        alignment.yunet(tmp_path / "net.onnx")


@pytest.mark.parametrize("size", [(112, 96), (128, 128), (160, 160), (224, 224)])
def test_a_crop_of_another_size_shows_the_same_face(shared, tmp_path, size):
    """A photo of a known face, turned and enlarged on a canvas: the crop is the known one, at that size."""
    pytest.importorskip("cv2", reason="OpenCV runs the detector")
    face = Image.open(shared / "faces" / "train112" / "cfp" / "002" / "frontal_01.jpg")
    turned = face.resize((300, 300), Image.Resampling.BICUBIC).rotate(15, Image.Resampling.BICUBIC, expand=True)
    canvas = Image.new("RGB", (640, 480), (90, 90, 90))
    canvas.paste(turned, (150, 50))
    photo(tmp_path / "in" / "a.png", np.asarray(canvas))
    got = align_folder(tmp_path / "in", tmp_path / "out", shared / "models" / "yunet_n.onnx", InputContract(*size))
    assert got.written == ("a.png",)
    crop = read_photo(tmp_path / "out" / "a.jpg")
    assert crop.shape == (*size, 3)
    known = recut(np.asarray(face)[None], *size)[0]
    high, wide = (side // 4 for side in size)  # the middle, where neither is black
    middle = np.s_[high:-high, wide:-wide]
    assert np.corrcoef(crop[middle].ravel(), known[middle].ravel())[0, 1] > 0.9


def test_without_a_detector_it_is_said_where_to_get_one(tmp_path):
    photo(tmp_path / "in" / "a.png", noise(8, 8))
    with pytest.raises(ValueError, match=r"needs a face detector: download .*_2023mar\.onnx .*https:"):
        align_folder(tmp_path / "in", tmp_path / "out", None, ARCFACE)


def test_a_pointer_to_the_detector_is_not_the_detector(tmp_path):
    pointer = tmp_path / "face_detection_yunet_2023mar.onnx"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match=r"\(43 bytes\) is not that file of OpenCV's zoo, by its SHA-256"):
        alignment.yunet(pointer)


def test_the_contact_sheet_lies_beside_the_crops_and_shows_every_photo(shared, tmp_path):
    pytest.importorskip("cv2", reason="OpenCV runs the detector")
    photo(tmp_path / "in" / "face.png", read_photo(shared / "faces" / "raw_lfw" / "Jim_Hardin_0001.jpg"))
    photo(tmp_path / "in" / "noise.png", noise(200, 300))
    got = align_folder(tmp_path / "in", tmp_path / "out", shared / "models" / "yunet_n.onnx", ARCFACE)
    assert got.sheet == tmp_path / "out-contact-sheet.jpg"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["face.jpg"]
    sheet = read_photo(got.sheet).astype(int)
    assert sheet.shape == (120, 864, 3)
    crop = read_photo(tmp_path / "out" / "face.jpg").astype(int)
    assert np.abs(sheet[4:116, 120:232] - crop).mean() < 5
    assert str(got).splitlines()[-1] == f"what was cut: {got.sheet}"


def test_a_photo_of_an_iphone_is_read(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="wants the extra `heic`")
    heif.register_heif_opener()
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[:, :48] = (250, 20, 20)  # the left half is red
    Image.fromarray(pixels).save(tmp_path / "a.heic", quality=95)
    read = read_photo(tmp_path / "a.heic")
    assert read.shape == (64, 96, 3)
    assert read[32, 20, 0] > 200 and read[32, 70, 0] < 50
    (tmp_path / "b.heic").write_bytes((tmp_path / "a.heic").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"b\.heic cannot be read as an image"):
        read_photo(tmp_path / "b.heic")


def test_names_that_a_terminal_would_obey_and_formats_that_are_not_read_are_spelt_out():
    said = str(alignment.Alignment((), ("a\x1b[2J\nb.jpg",), (), ("c.heic",))).splitlines()
    assert said == [
        "0 of 2 photos became crops",
        r"no face found: a\x1b[2J\nb.jpg",
        "not read, save it as JPEG or PNG, or pip install 'pocketface[heic]': c.heic",
    ]

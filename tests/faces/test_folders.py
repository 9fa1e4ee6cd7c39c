"""Folders of crops, written here pixel by pixel."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pocketface.faces.folders import fingerprint, read_folder, read_image, read_images


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)
    return path


def plain(value, height=8, width=8):
    return np.full((height, width, 3), value, np.uint8)


# Folders


def test_the_identity_is_the_folder_that_holds_the_image(tmp_path):
    save(tmp_path / "lfw" / "AJ_Cook" / "AJ_Cook_0001.png", plain(10))
    save(tmp_path / "cfp" / "001" / "frontal_01.png", plain(20))
    save(tmp_path / "cfp" / "001" / "profile_01.png", plain(30))
    read = read_folder(tmp_path, 8, 8)
    assert read.names == ("cfp/001", "lfw/AJ_Cook")
    assert read.labels.tolist() == [0, 0, 1]
    assert read.faces[:, 0, 0, 0].tolist() == [20, 30, 10]
    assert (len(read), read.faces.dtype, read.labels.dtype) == (3, np.uint8, np.int64)


def test_images_directly_in_the_folder_are_one_identity_called_dot(tmp_path):
    save(tmp_path / "a.png", plain(1))
    save(tmp_path / "b" / "c.png", plain(2))
    read = read_folder(tmp_path, 8, 8)
    assert (read.names, read.labels.tolist()) == ((".", "b"), [0, 1])


def test_other_files_and_hidden_ones_are_passed_over(tmp_path):
    save(tmp_path / "a" / "x.PNG", plain(1))
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / "._x.png").write_bytes(b"left by macOS")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "y.png").write_bytes(b"hidden")
    assert len(read_folder(tmp_path, 8, 8)) == 1


def test_links_are_followed_and_loops_end(tmp_path):
    save(tmp_path / "elsewhere" / "ann" / "x.png", plain(1))
    (tmp_path / "faces" / "bob").mkdir(parents=True)
    (tmp_path / "faces" / "ann").symlink_to(tmp_path / "elsewhere" / "ann")
    (tmp_path / "faces" / "bob" / "up").symlink_to(tmp_path / "faces")
    (tmp_path / "faces" / "broken.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "faces" / "self.png").symlink_to(tmp_path / "faces" / "self.png")
    assert read_folder(tmp_path / "faces", 8, 8).names == ("ann",)


def test_the_fingerprint_changes_with_a_pixel_and_with_an_identity_and_with_nothing_else(tmp_path):
    for folder, value, name in [("one", 1, "x"), ("again", 1, "y"), ("pixel", 2, "x")]:
        save(tmp_path / folder / "ann" / f"{name}.png", plain(value))
    save(tmp_path / "person" / "bob" / "x.png", plain(1))
    one, again, pixel, person = (
        read_folder(tmp_path / folder, 8, 8).sha256 for folder in ("one", "again", "pixel", "person")
    )
    assert one == again
    assert len({one, pixel, person}) == 3


def test_the_fingerprint_depends_on_shape_and_type():
    flat = np.zeros(4, np.uint8)
    assert len({fingerprint(flat), fingerprint(flat.reshape(2, 2)), fingerprint(flat.astype(bool))}) == 3


def test_an_empty_folder_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"holds no image; files that end in \.jpg, \.jpeg, \.png"):
        read_folder(tmp_path, 8, 8)


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"no folder .*nowhere"):
        read_folder(tmp_path / "nowhere", 8, 8)


def test_of_many_bad_images_the_first_is_named(tmp_path):
    paths = [save(tmp_path / f"{i:03d}.png", plain(0)) for i in range(60)]
    for path in paths[7:]:
        path.write_bytes(b"bad")
    with pytest.raises(ValueError, match=r"007\.png cannot be read"):
        read_images(paths, 8, 8)


# One image


def test_pixels_come_as_they_are_stored(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    assert np.array_equal(read_image(save(tmp_path / "x.png", pixels), 8, 9), pixels)


def test_grey_becomes_three_equal_channels(tmp_path):
    path = save(tmp_path / "x.png", np.full((8, 8), 77))
    assert np.array_equal(read_image(path, 8, 8), plain(77))


def test_sixteen_bits_of_grey_keep_their_upper_eight(tmp_path):
    Image.fromarray(np.full((8, 8), 0x4D12, np.uint16)).save(tmp_path / "x.png")
    assert np.array_equal(read_image(tmp_path / "x.png", 8, 8), plain(0x4D))


def test_alpha_is_dropped(tmp_path):
    pixels = np.dstack([plain(50), np.zeros((8, 8), np.uint8)])
    assert np.array_equal(read_image(save(tmp_path / "x.png", pixels), 8, 8), plain(50))


def test_a_palette_is_looked_up(tmp_path):
    Image.fromarray(plain((255, 0, 0))).convert("P").save(tmp_path / "x.png")
    assert np.array_equal(read_image(tmp_path / "x.png", 8, 8), plain((255, 0, 0)))


def test_cmyk_is_converted(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "x.jpg")  # no cyan: red
    assert np.abs(read_image(tmp_path / "x.jpg", 8, 8).astype(int) - (255, 0, 0)).max() < 12


def test_exif_orientation_is_ignored(tmp_path):
    pixels = plain(0)
    pixels[:4] = 200
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    path = save(tmp_path / "x.png", pixels, exif=exif)
    assert np.array_equal(read_image(path, 8, 8), pixels)


def test_a_png_that_is_called_jpg_is_read(tmp_path):
    path = save(tmp_path / "x.png", plain(9)).rename(tmp_path / "x.jpg")
    assert np.array_equal(read_image(path, 8, 8), plain(9))


def test_a_decoder_that_is_not_in_the_table_never_runs(tmp_path):
    path = save(tmp_path / "x.tiff", plain(9)).rename(tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"x\.png cannot be read as an image"):
        read_image(path, 8, 8)


def test_another_size_says_what_would_do(tmp_path):
    path = save(tmp_path / "x.jpg", plain(0, 250, 200))
    with pytest.raises(ValueError) as error:
        read_image(path, 112, 112)
    assert str(error.value) == (
        f"{path} is 250x200, the embedder wants 112x112: align the photos first (pocketface align)"
    )


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"no image .*x\.jpg$"):
        read_image(tmp_path / "x.jpg", 8, 8)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_what_is_no_image_is_one_sentence_with_the_path(tmp_path, content):
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.jpg cannot be read as an image: ."):
        read_image(tmp_path / "x.jpg", 8, 8)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp", ".webp"])
def test_a_file_that_is_cut_off_is_refused(tmp_path, ending):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = save(tmp_path / f"x{ending}", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(ValueError, match="cannot be read as an image"):
        read_image(path, 64, 64)


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 9000, 8000, 8, 2, 0, 0, 0))
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"no pixels to decode"))
    with pytest.raises(ValueError, match=r"x\.png is 8000x9000, the embedder wants 112x112"):
        read_image(tmp_path / "x.png", 112, 112)


# Real faces


def test_the_real_training_folder_has_its_people(shared):
    read = read_folder(shared / "faces" / "train112", 112, 112)
    assert len(read) == 3523
    assert read.faces.shape == (3523, 112, 112, 3)
    assert sum(name.startswith("lfw/") for name in read.names) == 1468
    assert sum(name.startswith("cfp/") for name in read.names) == 141

"""One image file: what is read of it, and what is refused."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pocketface.faces.image_files import read_image


def save(path, pixels, **options):
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)
    return path


def plain(value, height=8, width=8):
    return np.full((height, width, 3), value, np.uint8)


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
        f"{path} is 250x200, the embedder expects 112x112: align the photos first (pocketface align)"
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
    with pytest.raises(ValueError, match=r"x\.png is 8000x9000, the embedder expects 112x112"):
        read_image(tmp_path / "x.png", 112, 112)

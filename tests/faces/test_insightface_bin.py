"""InsightFace's .bin: files as they are found, and files as an attacker would write them."""

import io
import os
import pickle
import pickletools
import struct

import numpy as np
import pytest

from pocketface.faces import insightface_bin
from pocketface.faces.insightface_bin import read_bin

IMAGES = [b"\xff\xd8one", b"\x00two\n", b"\xff\xd8one", b""]
SAME = [True, False]


def written(tmp_path, content):
    path = tmp_path / "lfw.bin"
    path.write_bytes(content)
    return path


def refuse(tmp_path, content):
    with pytest.raises(ValueError) as error:
        read_bin(written(tmp_path, content))
    assert "lfw.bin" in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


# Files as they are found


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_bytes_of_every_protocol_are_read(tmp_path, protocol):
    assert read_bin(written(tmp_path, pickle.dumps((IMAGES, SAME), protocol))) == (IMAGES, SAME)


def test_a_file_of_python_2_is_read(tmp_path):
    # cPickle.dumps((["\xff\xd8", "\x00"], [True]), 2)
    content = b"\x80\x02]q\x01(U\x02\xff\xd8q\x02U\x01\x00q\x03e]q\x04\x88a\x86q\x05."
    assert read_bin(written(tmp_path, content)) == ([b"\xff\xd8", b"\x00"], [True])


def test_a_long_string_of_python_2_is_read(tmp_path):
    image = bytes(range(256)) * 2
    content = b"\x80\x02](T" + struct.pack("<I", 512) + image + b"U\x01xe](I01\nI00\ne\x86."
    with pytest.raises(ValueError, match="2 images for 2 pairs"):
        read_bin(written(tmp_path, content))
    assert read_bin(written(tmp_path, content.replace(b"I00\n", b""))) == ([image, b"x"], [True])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_numpy_arrays_of_bytes_are_read(tmp_path, protocol):
    arrays = [np.frombuffer(image, np.uint8) for image in IMAGES]
    assert read_bin(written(tmp_path, pickle.dumps((arrays, SAME), protocol))) == (IMAGES, SAME)


@pytest.mark.parametrize("protocol", [2, 5])
def test_columns_as_opencv_encodes_them_are_read(tmp_path, protocol):
    arrays = [np.frombuffer(image, np.uint8).reshape(-1, 1).copy() for image in IMAGES]
    assert read_bin(written(tmp_path, pickle.dumps((arrays, SAME), protocol))) == (IMAGES, SAME)


def test_arrays_of_numpy_1_are_read(tmp_path):
    content = pickle.dumps(([np.frombuffer(image, np.uint8) for image in IMAGES], SAME), 2)
    old = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert old != content
    assert read_bin(written(tmp_path, old)) == (IMAGES, SAME)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    "verdicts", [[1, 0], list(np.array(SAME)), np.array(SAME), np.array([1, 0]), np.array([1, 0], np.int32)]
)
def test_verdicts_of_every_kind_are_read(tmp_path, verdicts, protocol):
    _, same = read_bin(written(tmp_path, pickle.dumps((IMAGES, verdicts), protocol)))
    assert same == SAME
    assert all(type(one) is bool for one in same)


def test_a_list_of_two_lists_is_read_as_a_tuple_is(tmp_path):
    assert read_bin(written(tmp_path, pickle.dumps([IMAGES, SAME]))) == (IMAGES, SAME)


# Files as an attacker would write them


class Calls:
    """Pickles into a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_shell_command_is_refused_and_not_run(tmp_path, protocol):
    trace = tmp_path / "ran"
    content = pickle.dumps((IMAGES, [Calls(os.system, f"touch {trace}")]), protocol)
    assert f"it would call '{os.system.__module__}.system'" in refuse(tmp_path, content)
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"(S'1'\ni__builtin__\neval\n.",  # INST
        b"(c__builtin__\neval\nS'1'\no.",  # OBJ
        b"\x80\x02c__builtin__\nobject\n)\x81.",  # NEWOBJ
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.",
        b"\x80\x04\x8c\x05numpy\x8c\x0ccore._reload\x93)R.",
        b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.",
        b"\x80\x02\x82\x01.",  # EXT1
        b"Pstranger\n.",  # PERSID
        b"\x80\x05\x97.",  # NEXT_BUFFER
        b"}.",
    ],
)
def test_no_other_way_to_call_or_to_import_is_open(tmp_path, content):
    assert "is refused: it" in refuse(tmp_path, content)


def test_a_stand_in_takes_no_state(tmp_path):
    assert "refused" in refuse(tmp_path, b"]N" + b"b.")
    assert "refused" in refuse(tmp_path, b"c_codecs\nencode\nNb.")


def test_a_size_that_the_file_does_not_have_costs_no_memory(tmp_path):
    for opcode in (b"\x8e", b"\x96", b"\x8d"):  # BINBYTES8, BYTEARRAY8, BINUNICODE8
        assert "cut off" in refuse(tmp_path, b"\x80\x05" + opcode + struct.pack("<Q", 1 << 40) + b"x")
    assert "cut off" in refuse(tmp_path, b"\x80\x02T" + struct.pack("<i", -1) + b"x")


def test_a_far_memo_slot_costs_no_memory(tmp_path):
    content = b"\x80\x03](C\x01aC\x01ber\xff\xff\xff\xff]\x88a\x86."  # LONG_BINPUT 4294967295
    assert read_bin(written(tmp_path, content)) == ([b"a", b"b"], [True])


def test_one_text_is_not_encoded_again_and_again(tmp_path):
    text = "x" * 10_000
    again = b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"
    content = b"\x80\x02(X" + struct.pack("<I", len(text)) + text.encode() + b"q\x00" + again * 50 + b"t."
    assert "more bytes than it holds" in refuse(tmp_path, content)


def test_bytes_are_not_made_from_a_number(tmp_path):
    assert "made of bytes" in refuse(tmp_path, b"c__builtin__\nbytes\n(I99999999999\ntR.")
    assert "made of bytes" in refuse(tmp_path, b"cbuiltins\nbytearray\n(I99999999999\ntR.")


def test_the_number_of_opcodes_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(insightface_bin, "MOST_STEPS", 1000)
    assert "more than 1000 opcodes" in refuse(tmp_path, b"]" * 2000)


def test_the_size_of_the_file_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(insightface_bin, "LARGEST_FILE", 10)
    assert "has 11 bytes; a .bin of pairs has at most 10" in refuse(tmp_path, b"]" * 11)


def test_an_array_of_objects_is_refused(tmp_path):
    content = pickle.dumps(([np.array([b"a", b"b"], object)], [True]), 2)
    assert "it has an array of 'O8'" in refuse(tmp_path, content)


# Files that are something else


@pytest.mark.parametrize(
    "value",
    [
        IMAGES,
        (IMAGES,),
        (IMAGES, SAME, SAME),
        (tuple(IMAGES), SAME),
        ((b"ab", b"cd"), b"ab"),
        (["text", "text"], [True]),
        ([b"a", b"b"], [2]),
        ([b"a", b"b"], [None]),
        ([b"a", b"b"], np.array([7])),
        None,
    ],
)
def test_a_pickle_of_something_else_is_told(tmp_path, value):
    assert "no .bin of pairs: " in refuse(tmp_path, pickle.dumps(value))


@pytest.mark.parametrize(("images", "pairs"), [(4, 1), (3, 2), (0, 0), (2, 2)])
def test_a_pair_is_two_images(tmp_path, images, pairs):
    content = pickle.dumps(([b"x"] * images, [True] * pairs))
    assert f"has {images} images for {pairs} pairs; a pair is two images" in refuse(tmp_path, content)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"no file .*cfp_fp\.bin"):
        read_bin(tmp_path / "cfp_fp.bin")


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_file_that_is_cut_off_anywhere_is_one_sentence(tmp_path, protocol):
    arrays = [np.frombuffer(image, np.uint8) for image in IMAGES[:2]]
    content = pickle.dumps((arrays + IMAGES[:2], [True, np.bool_(False)]), protocol)
    for length in range(len(content)):
        assert "cut off or no .bin" in refuse(tmp_path, content[:length])


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_flipped_byte_gives_pairs_or_one_sentence(tmp_path, protocol):
    content = pickle.dumps(([np.frombuffer(b"ab", np.uint8), b"c"], [np.bool_(True)]), protocol)
    for position in range(len(content)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(content)
            damaged[position] ^= flip
            try:
                images, same = read_bin(written(tmp_path, bytes(damaged)))
            except ValueError:
                continue
            assert all(isinstance(image, bytes) for image in images)
            assert 2 * len(same) == len(images)


def test_the_standard_unpickler_agrees_on_what_was_accepted():
    content = pickle.dumps((IMAGES, SAME), 4)
    assert [opcode.name for opcode, _, _ in pickletools.genops(io.BytesIO(content))][-1] == "STOP"
    assert insightface_bin._replay(content) == pickle.loads(content)

"""Verification pairs: small files written here, and the real LFW."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image

from pocketface.faces.pairs import deal_folds, read_pairs
from pocketface.faces.shards import read_faces


def save(path, value, ending=".png"):
    """One plain crop: which one it is can be read from its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(path.with_name(path.name + ending))


@pytest.fixture
def people(tmp_path):
    """Ann has crops of grey 11 and 12, Bob 21 and 22, Cy 31."""
    for name, tens, count in [("Ann", 10, 2), ("Bob", 20, 2), ("Cy", 30, 1)]:
        for number in range(1, count + 1):
            save(tmp_path / name / f"{name}_{number:04d}", tens + number)
    return tmp_path


def greys(read):
    """(left, right) of each pair, as the greys of its crops."""
    grey = read.faces[:, 0, 0, 0]
    return list(zip(grey[read.left].tolist(), grey[read.right].tolist(), strict=True))


def read(folder, name, text, images=None):
    (folder / name).write_text(text, encoding="utf-8")
    return read_pairs(folder / name, images, 8, 8)


# LFW


def test_lfw_pairs_are_read_by_name_and_number(people):
    got = read(people, "pairs.txt", "1\t2\nAnn\t1\t2\nBob\t2\t1\nAnn\t1\tCy\t1\nBob\t1\tCy\t1\n")
    assert greys(got) == [(11, 12), (22, 21), (11, 31), (21, 31)]
    assert got.same.tolist() == [True, True, False, False]
    assert got.names == (
        "Ann/Ann_0001.png",
        "Ann/Ann_0002.png",
        "Bob/Bob_0002.png",
        "Bob/Bob_0001.png",
        "Cy/Cy_0001.png",
    )
    assert got.identities.tolist() == [0, 0, 1, 1, 2]
    assert len(got) == 4


def test_paths_may_be_texts_and_crops_are_112_pixels_by_default(tmp_path):
    (tmp_path / "pairs.txt").write_text("Ann 1 2\n")
    for number, grey in ((1, 5), (2, 6)):
        (tmp_path / "Ann").mkdir(exist_ok=True)
        Image.new("RGB", (112, 112), (grey,) * 3).save(tmp_path / "Ann" / f"Ann_000{number}.png")
    assert greys(read_pairs(str(tmp_path / "pairs.txt"), str(tmp_path))) == [(5, 6)]
    assert read_faces(str(tmp_path)).faces.shape == (2, 112, 112, 3)


def test_a_crop_that_several_pairs_share_is_held_once(people):
    got = read(people, "pairs.txt", "Ann 1 2\nAnn 1 Bob 1\nAnn 1 Cy 1\n")
    assert got.faces.shape == (4, 8, 8, 3)
    assert got.left.tolist() == [0, 0, 0]


def test_the_header_gives_the_folds(people):
    text = "3 1\n" + "Ann 1 2\nAnn 1 Bob 1\n" * 3
    assert read(people, "pairs.txt", text).fold.tolist() == [0, 0, 1, 1, 2, 2]


def test_without_a_header_pairs_are_dealt_into_folds(people):
    text = "Ann 1 2\n" * 20 + "Ann 1 Bob 1\n" * 20
    assert read(people, "pairs.txt", text).fold.tolist() == [f for _ in "gi" for f in range(10) for _ in "12"]


def test_a_header_of_one_number_is_genuine_pairs_then_impostors(people):
    got = read(people, "pairsDevTest.txt", "2\nAnn 1 2\nBob 1 2\nAnn 1 Bob 1\nBob 2 Cy 1\n")
    assert got.same.tolist() == [True, True, False, False]
    assert got.fold.tolist() == [0, 1, 0, 1]


def test_names_with_spaces_are_read_where_tabs_part_them(tmp_path):
    for number in (1, 2):
        save(tmp_path / "Ann Lee" / f"Ann Lee_{number:04d}", number)
    assert greys(read(tmp_path, "pairs.txt", "Ann Lee\t1\t2\n")) == [(1, 2)]


def test_names_of_digits_are_no_header(tmp_path):
    for number in (1, 2):
        save(tmp_path / "001" / f"001_{number:04d}", number)
    assert greys(read(tmp_path, "pairs.txt", "001 1 2\n")) == [(1, 2)]


def test_jpg_goes_before_png(people):
    save(people / "Cy" / "Cy_0001", 99, ".jpg")
    assert read(people, "pairs.txt", "Ann 1 Cy 1\n").names == ("Ann/Ann_0001.png", "Cy/Cy_0001.jpg")


def test_images_may_lie_elsewhere(people, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("lists")
    assert greys(read(elsewhere, "pairs.txt", "Ann 1 2\n", images=people)) == [(11, 12)]


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm(people):
    (people / "pairs.txt").write_bytes(b"\xef\xbb\xbf1 1\r\nAnn 1 2\r\nAnn 1 Bob 1\r\n\r\n")
    assert len(read_pairs(people / "pairs.txt", None, 8, 8)) == 2


def test_a_missing_image_is_told_with_its_line_and_both_names(people):
    with pytest.raises(ValueError) as error:
        read(people, "pairs.txt", "1 1\nAnn 1 2\n\nAnn 1 Bob 7\n")
    missing = f"no image Bob/Bob_0007 below {people}, of Ann/Ann_0001 and Bob/Bob_0007"
    assert str(error.value) == f"{people / 'pairs.txt'} line 4: {missing}"


@pytest.mark.parametrize("line", ["Ann 1", "Ann one 2", "Ann 1 Bob", "Ann 1 Bob 2 3", "Ann -1 2", "Ann 1 Ann 2"])
def test_a_malformed_line_is_told_with_its_number(people, line):
    with pytest.raises(ValueError, match=r"pairs\.txt line 3: '.*' is neither `Name 1 2` nor `Name 1 Other 2`"):
        read(people, "pairs.txt", f"Ann 1 2\nBob 1 2\n{line}\n")


def test_a_header_that_promises_more_is_told(people):
    with pytest.raises(ValueError, match=r"promises 10 x 2 x 300 pairs in its first line and holds 1$"):
        read(people, "pairs.txt", "10 300\nAnn 1 2\n")


@pytest.mark.parametrize("text", ["", "\n\n", "0 0\n"])
def test_a_file_without_pairs_is_told(people, text):
    with pytest.raises(ValueError, match=r"pairs\.txt holds no pairs"):
        read(people, "pairs.txt", text)


def test_a_file_that_is_no_text_is_told(people):
    (people / "pairs.txt").write_bytes(b"Ann 1 2\n\xff\n")
    with pytest.raises(ValueError, match="is no UTF-8 text: byte 8 is 0xff"):
        read_pairs(people / "pairs.txt", None, 8, 8)


@pytest.mark.parametrize("name", ["../secret", "/etc/secret"])
def test_a_name_that_leaves_the_folder_is_refused(people, name):
    with pytest.raises(ValueError, match=r"line 1: '.*secret.*' leaves .*; paths are relative to that folder"):
        read(people, "pairs.txt", f"{name} 1 2\n")


def test_an_image_of_another_size_is_told(people):
    with pytest.raises(ValueError, match=r"Ann_000.\.png is 8x8, the embedder expects 112x112: align"):
        (people / "pairs.txt").write_text("Ann 1 2\n")
        read_pairs(people / "pairs.txt", None, 112, 112)


# CSV


def test_a_table_names_paths_below_the_images(people):
    text = "left, right, same\nAnn/Ann_0001.png, Ann/Ann_0002.png, 1\nAnn/Ann_0001.png, Cy/Cy_0001.png, 0\n"
    got = read(people, "pairs.csv", text)
    assert greys(got) == [(11, 12), (11, 31)]
    assert got.same.tolist() == [True, False]


def test_columns_come_in_any_order_and_verdicts_as_words(people):
    rows = [
        "same,note,right,left",
        "True,,Bob/Bob_0002.png,Bob/Bob_0001.png",
        "FALSE,x,Ann/Ann_0001.png,Cy/Cy_0001.png",
    ]
    got = read(people, "pairs.csv", "\n".join(rows))
    assert greys(got) == [(21, 22), (31, 11)]
    assert got.same.tolist() == [True, False]


def test_folds_of_a_table_are_numbered_from_zero(people):
    rows = [f"Ann/Ann_0001.png,Ann/Ann_0002.png,1,{fold}" for fold in (3, 7, 3, 9)]
    assert read(people, "pairs.csv", "\n".join(["left,right,same,fold", *rows])).fold.tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no column 'left'; its first line needs: left,right,same"),
        ("left,right\na,b\n", "has no column 'same'"),
        ("left,right,same\n", "holds no pairs"),
        ("left,right,same\na.png,b.png\n", "line 2 has 2 cells, the first line 3"),
        ("left,right,same\na.png,b.png,1,2\n", "line 2 has 4 cells, the first line 3"),
        ("left,right,same\na.png,b.png,maybe\n", "line 2: same is 'maybe'; known: 1, true, 0, false"),
        ("left,right,same,fold\na.png,b.png,1,x\n", "line 2: fold is 'x', not 0, 1, 2"),
        ("left,right,same\na.png,b.png,1\n", r"line 2: no image a\.png below .*, of a\.png and b\.png"),
        ('left,right,same\n"a.png,b.png,1\n', "line 2: unexpected end of data"),
    ],
)
def test_a_malformed_table_is_told(tmp_path, text, sentence):
    with pytest.raises(ValueError, match=rf"pairs\.csv {sentence}"):
        read(tmp_path, "pairs.csv", text)


# People


def test_a_table_may_name_the_people_on_each_image(tmp_path):
    for grey, name in enumerate("abcd", 1):
        save(tmp_path / name, grey)
    lines = ["left,right,same,left_person,right_person", "a.png,b.png,1,Ann,Ann", "a.png,c.png,0,Ann,Bob"]
    got = read(tmp_path, "pairs.csv", "\n".join([*lines, "c.png,d.png,1,Bob,Bob"]))
    assert got.identities.tolist() == [0, 0, 1, 1]


def test_folders_name_the_people_where_no_verdict_contradicts(people):
    lines = ["left,right,same", "Ann/Ann_0001.png,Ann/Ann_0002.png,1", "Ann/Ann_0001.png,Cy/Cy_0001.png,0"]
    assert read(people, "pairs.csv", "\n".join(lines)).identities.tolist() == [0, 0, 1]
    contradicted = [*lines, "Bob/Bob_0001.png,Bob/Bob_0002.png,0"]
    assert read(people, "pairs.csv", "\n".join(contradicted)).identities.tolist() == [-1] * 5


def test_an_image_whose_person_is_not_named_is_of_nobody_known(tmp_path):
    for grey, name in enumerate("abc", 1):
        save(tmp_path / name, grey)
    lines = ["left,right,same,left_person,right_person", "a.png,b.png,1,Ann,Ann", "a.png,c.png,0,Ann,"]
    assert read(tmp_path, "pairs.csv", "\n".join(lines)).identities.tolist() == [0, 0, -1]


@pytest.mark.parametrize(
    ("header", "lines", "sentence"),
    [
        ("left_person,right_person", ["a,b,1,Ann,Bob"], "line 2: the pair shows one person, of the names Ann and Bob"),
        ("left_person,right_person", ["a,b,0,Ann,Ann"], "line 2: the pair shows two people, of the names Ann and Ann"),
        ("left_person,right_person", ["a,b,1,A,A", "a,c,0,B,C"], "line 3: a shows B; before, it showed A"),
        ("left_person,other", ["a,b,1,Ann,Ann"], "has a column 'left_person' and none 'right_person'"),
        ("other,right_person", ["a,b,1,Ann,Ann"], "has a column 'right_person' and none 'left_person'"),
    ],
)
def test_people_who_contradict_a_table_are_told(tmp_path, header, lines, sentence):
    for grey, name in enumerate("abc", 1):
        save(tmp_path / name, grey)
    with pytest.raises(ValueError, match=rf"pairs\.csv {sentence}"):
        read(tmp_path, "pairs.csv", "\n".join([f"left,right,same,{header}", *lines]))


def test_lfw_in_a_table_is_read_as_its_text(people):
    text = "name,imagenum1,imagenum2,\nAnn,1,2,\nBob,2,1,\nAnn,1,Cy,1\nBob,1,Cy,1\n"
    got = read(people, "pairs.csv", text)
    assert greys(got) == [(11, 12), (22, 21), (11, 31), (21, 31)]
    assert got.same.tolist() == [True, True, False, False]
    assert got.identities.tolist() == [0, 0, 1, 1, 2]


def test_a_text_may_list_two_paths_and_a_verdict(people):
    text = "Ann/Ann_0001.png Ann/Ann_0002.png 1\n0 Ann/Ann_0001.png Cy/Cy_0001.png\n"
    got = read(people, "pairs.txt", text)
    assert greys(got) == [(11, 12), (11, 31)]
    assert got.same.tolist() == [True, False]
    assert got.identities.tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match=r"pairs\.txt line 3: 'Ann 1 2' is no two paths and a verdict"):
        read(people, "pairs.txt", text + "Ann 1 2\n")


# InsightFace


def encoded(value):
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_a_bin_holds_its_images_two_by_two(tmp_path):
    images = [encoded(1), encoded(2), encoded(3), encoded(1)]
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps((images, [True, False])))
    got = read_pairs(tmp_path / "lfw.bin", None, 8, 8)
    assert greys(got) == [(1, 2), (3, 1)]
    assert got.same.tolist() == [True, False]
    assert got.names == ("lfw.bin[0]", "lfw.bin[1]", "lfw.bin[2]")
    assert got.identities.tolist() == [-1, -1, -1]


def test_folds_of_a_bin_are_those_of_an_unshuffled_k_fold(tmp_path):
    model_selection = pytest.importorskip("sklearn.model_selection", reason="the oracle is scikit-learn's KFold")
    (tmp_path / "x.bin").write_bytes(pickle.dumps(([encoded(1)] * 46, [True] * 23)))
    got = read_pairs(tmp_path / "x.bin", None, 8, 8)
    for fold, (_, test) in enumerate(model_selection.KFold(10).split(np.zeros(23))):
        assert np.flatnonzero(got.fold == fold).tolist() == test.tolist()


def test_a_bad_image_in_a_bin_is_named_by_its_place(tmp_path):
    (tmp_path / "x.bin").write_bytes(pickle.dumps(([encoded(1), b"bad"], [True])))
    with pytest.raises(ValueError, match=r"x\.bin\[1\] cannot be read as an image"):
        read_pairs(tmp_path / "x.bin", None, 8, 8)


# All forms


def test_an_unknown_form_names_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"no reader for '\.json' pairs; known: \.bin, \.csv, \.txt"):
        read_pairs(tmp_path / "pairs.json", None, 8, 8)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"no file of pairs .*pairs\.txt"):
        read_pairs(tmp_path / "pairs.txt", None, 8, 8)


def test_three_forms_of_the_same_pairs_have_the_same_fingerprint(people):
    txt = read(people, "pairs.txt", "Ann 1 2\nAnn 1 Bob 1\n")
    csv = read(
        people,
        "pairs.csv",
        "left,right,same\nAnn/Ann_0001.png,Ann/Ann_0002.png,1\nAnn/Ann_0001.png,Bob/Bob_0001.png,0\n",
    )
    assert txt.sha256 == csv.sha256
    assert len(txt.sha256) == 64


def test_the_fingerprint_changes_with_a_verdict_and_with_a_fold(people):
    head, row = "left,right,same,fold\n", "Ann/Ann_0001.png,Ann/Ann_0002.png,"
    texts = [head + row + "1,0\n" + row + end for end in ("1,1\n", "0,1\n", "1,0\n")]
    assert len({read(people, "pairs.csv", text).sha256 for text in texts}) == 3


def test_genuine_and_impostors_are_dealt_evenly():
    same = np.array([True] * 30 + [False] * 50)
    fold = deal_folds(same)
    assert np.bincount(fold[same]).tolist() == [3] * 10
    assert np.bincount(fold[~same]).tolist() == [5] * 10


def test_pairs_of_one_kind_make_one_fold():
    assert deal_folds(np.array([True, True, True])).tolist() == [0, 0, 0]


# Real faces


def test_the_real_lfw_has_its_published_shape(shared):
    got = read_pairs(shared / "faces" / "lfw112" / "pairs.txt", None, 112, 112)
    assert got.faces.shape == (7701, 112, 112, 3)
    assert (len(got), int(got.same.sum())) == (6000, 3000)
    assert np.bincount(got.fold).tolist() == [600] * 10
    assert np.bincount(got.fold[got.same]).tolist() == [300] * 10
    assert len(np.unique(got.identities)) == 4281
    assert np.array_equal(got.identities[got.left] == got.identities[got.right], got.same)
    assert got.names[got.left[0]] == "Abel_Pacheco/Abel_Pacheco_0001.jpg"

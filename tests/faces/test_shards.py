"""WebDataset shards, written here with Python's tarfile."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from pocketface.faces import folders, image_files
from pocketface.faces.folders import StoredFaces
from pocketface.faces.shards import read_faces, read_shards


def encoded(value, ending="PNG", side=8):
    file = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(file, ending)
    return file.getvalue()


def shard(path, files, **options):
    """Writes (name, bytes) in their order."""
    with tarfile.open(path, "w", **options) as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def sample(key, value, label):
    return [(f"{key}.cls", str(label).encode()), (f"{key}.png", encoded(value))]


def values(read):
    return read.faces[:][:, 0, 0, 0].tolist()


@pytest.fixture
def disk(monkeypatch):
    """Nothing fits in memory."""
    monkeypatch.setattr(folders, "LARGEST_IN_MEMORY", 0)


# Samples


def test_a_sample_is_an_image_and_its_label(tmp_path):
    path = shard(tmp_path / "x.tar", [*sample("0", 10, 7), *sample("1", 20, 3), *sample("2", 30, 7)])
    read = read_shards(path, 8, 8)
    assert (values(read), read.labels.tolist(), read.names) == ([10, 20, 30], [0, 1, 0], ("7", "3"))
    assert (len(read), read.faces.dtype, read.labels.dtype) == (3, np.uint8, np.int64)


def test_labels_may_end_in_a_line_end_and_be_names(tmp_path):
    path = shard(tmp_path / "x.tar", [*sample("0", 1, "12\n"), *sample("1", 2, "AJ Cook")])
    assert read_shards(path, 8, 8).names == ("12", "AJ Cook")


@pytest.mark.parametrize("key", ["label", "identity"])
@pytest.mark.parametrize("value", [41, "41"])
def test_labels_may_stand_in_json(tmp_path, key, value):
    files = [("0.jpg", encoded(9, "JPEG")), ("0.json", json.dumps({"age": 30, key: value}).encode())]
    assert read_shards(shard(tmp_path / "x.tar", files), 8, 8).names == ("41",)


@pytest.mark.parametrize("note", [[], [("0.json", b'{"age": 30}')], [("0.json", b"[1]")], [("0.txt", b"a face")]])
def test_samples_without_labels_are_one_nameless_identity(tmp_path, note):
    path = shard(tmp_path / "x.tar", [("0.png", encoded(1)), *note, ("1.png", encoded(2))])
    read = read_shards(path, 8, 8)
    assert (values(read), read.labels.tolist(), read.names) == ([1, 2], [0, 0], (".",))


@pytest.mark.parametrize(
    ("name", "ending"), [("a.JPG", "JPEG"), ("a.jpeg", "JPEG"), ("a.webp", "WEBP"), ("a.bmp", "BMP")]
)
def test_images_of_several_kinds_are_read(tmp_path, name, ending):
    read = read_shards(shard(tmp_path / "x.tar", [(name, encoded(9, ending))]), 8, 8)
    assert read.faces.shape == (1, 8, 8, 3)


def test_a_key_ends_at_the_first_dot_behind_the_folders(tmp_path):
    files = [("./v1.0/000.png", encoded(1)), ("./v1.0/000.cls", b"5"), ("./v1.0/001.png", encoded(2))]
    files += [("./v1.0/001.cls", b"6"), ("./v2.0/001.cls", b"7"), ("./v2.0/001.png", encoded(3))]
    read = read_shards(shard(tmp_path / "x.tar", files), 8, 8)
    assert (values(read), read.names) == ([1, 2, 3], ("5", "6", "7"))


def test_hidden_files_and_files_of_other_kinds_are_passed_over(tmp_path):
    files = [
        ("._0.png", b"left by macOS"),
        ("README", b""),
        ("index.json", b"{}"),
        *sample("0", 4, 1),
        ("0.depth.png", b""),
    ]
    assert values(read_shards(shard(tmp_path / "x.tar", files), 8, 8)) == [4]


def test_links_devices_and_folders_are_passed_over(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for kind, size in [(tarfile.SYMTYPE, 0), (tarfile.LNKTYPE, 0), (tarfile.CHRTYPE, 0), (tarfile.FIFOTYPE, 0)]:
            info = tarfile.TarInfo("0.png")
            info.type, info.size, info.linkname = kind, size, "/etc/passwd"
            tar.addfile(info)
        info = tarfile.TarInfo("folder.png")
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
        info = tarfile.TarInfo("1.png")
        info.size = len(encoded(5))
        tar.addfile(info, io.BytesIO(encoded(5)))
    assert values(read_shards(tmp_path / "x.tar", 8, 8)) == [5]


# Which shards


def test_a_folder_is_its_tars_in_the_order_of_names(tmp_path):
    for number in (2, 0, 1):
        shard(tmp_path / f"x-{number:06d}.tar", sample("0", number, number))
    (tmp_path / ".x-000003.tar").write_bytes(b"hidden")
    (tmp_path / "x-000000.idx").write_bytes(b"no tar")
    assert values(read_shards(tmp_path, 8, 8)) == [0, 1, 2]


def test_a_pattern_counts_with_leading_zeros(tmp_path):
    for number in range(8, 12):
        shard(tmp_path / f"x-{number:03d}.tar", sample("0", number, 5))
    read = read_faces(tmp_path / "x-{008..010}.tar", 8, 8)
    assert (values(read), read.names) == ([8, 9, 10], ("5",))


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    assert values(read_faces(shard(tmp_path / "x-{0..1}.tar", sample("0", 3, 5)), 8, 8)) == [3]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("x-{0..2}.tar", r"no shard .*x-1\.tar"),
        ("x-{2..0}.tar", r"is -1 shards; 1 to 100000 can be read"),
        ("x-{0..999999999999}.tar", r"is 1000000000000 shards; 1 to 100000 can be read"),
        ("y.tar", r"no shard .*y\.tar"),
    ],
)
def test_shards_that_are_not_there_are_told(tmp_path, name, sentence):
    shard(tmp_path / "x-0.tar", sample("0", 1, 1))
    with pytest.raises(ValueError, match=sentence):
        read_shards(tmp_path / name, 8, 8)


def test_shards_and_folders_are_told_apart(tmp_path):
    shard(tmp_path / "x.tar", sample("0", 1, 77))
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "x.png").write_bytes(encoded(2))
    assert [read_faces(tmp_path / path, 8, 8).names for path in ("x.tar", ".", "ann")] == [("77",), ("77",), (".",)]
    with pytest.raises(ValueError, match=r"no folder .*nowhere"):
        read_faces(tmp_path / "nowhere", 8, 8)


# On disk


def test_faces_are_read_at_random_where_they_lie(tmp_path, disk):
    for number in (0, 1):
        files = [file for row in range(6) for file in sample(f"people/{row:04d}", 10 * number + row, row % 3)]
        shard(tmp_path / f"x-{number}.tar", files)
    read = read_shards(tmp_path, 8, 8)
    assert isinstance(read.faces, StoredFaces)
    assert read.faces[np.array([11, 0, 6, 11])][:, 0, 0, 0].tolist() == [15, 0, 10, 15]
    assert read.labels.tolist() == [0, 1, 2] * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x-0.tar", "x-1.tar"]


def test_the_same_faces_have_the_same_fingerprint_in_shards_and_in_folders(tmp_path):
    for name in ("ann", "bob"):
        (tmp_path / "folder" / name).mkdir(parents=True)
        (tmp_path / "folder" / name / "0.png").write_bytes(encoded(ord(name[0])))
    path = shard(tmp_path / "x.tar", [*sample("0", ord("a"), "ann"), *sample("1", ord("b"), "bob")])
    assert read_faces(path, 8, 8).sha256 == read_faces(tmp_path / "folder", 8, 8).sha256


def test_the_fingerprint_of_faces_on_disk_changes_with_names_sizes_and_labels(tmp_path, disk):
    contents = [("0", encoded(1), "5"), ("0", encoded(1), "5"), ("1", encoded(1), "5"), ("0", encoded(1) + b"x", "5")]
    contents.append(("0", encoded(1), "6"))
    one, again, *others = (
        read_shards(shard(tmp_path / f"{i}.tar", [(f"{key}.cls", label.encode()), (f"{key}.png", image)]), 8, 8).sha256
        for i, (key, image, label) in enumerate(contents)
    )
    assert one == again
    assert len({one, *others}) == 4


def test_a_bad_image_is_named_by_shard_and_member(tmp_path, disk):
    path = shard(tmp_path / "x.tar", [("people/0.png", encoded(1)), ("people/1.png", b"bad")])
    read = read_shards(path, 8, 8)
    with pytest.raises(ValueError, match=r"x\.tar: people/1\.png cannot be read as an image"):
        read.faces[1]


def test_an_image_of_another_size_is_told_at_once(tmp_path, disk):
    path = shard(tmp_path / "x.tar", sample("0", 1, 1))
    with pytest.raises(ValueError, match=r"x\.tar: 0\.png is 8x8, the embedder expects 112x112: align"):
        read_shards(path, 112, 112)


# What is no sample


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ([], r"holds no image; files whose names end at their first dot with \.jpg, \.jpeg, \.png"),
        ([("0.face.png", encoded(1))], "holds no image"),
        ([("0.png", encoded(1)), ("0.jpg", encoded(2))], "the sample '0' has 2 images; it needs one"),
        ([("0.png", encoded(1)), ("0.png", encoded(2))], "the sample '0' has 2 images; it needs one"),
        ([("0.png", encoded(1)), ("1.png", encoded(2)), ("0.cls", b"1")], "the sample '0' has 0 images"),
        ([*sample("0", 1, 5), ("1.png", encoded(2))], "some samples have an identity and some do not"),
        (sample("0", 1, ""), "the label of '0' cannot be read: '' is neither a whole number nor a name"),
        ([("0.cls", b"\xff"), ("0.png", encoded(1))], "label of '0' cannot be read: 'utf-8' codec"),
        (
            [("0.cls", b"1" * 70_000), ("0.png", encoded(1))],
            "the label of '0' cannot be read: 70000 bytes are more than 65536",
        ),
        ([("0.json", b"{"), ("0.png", encoded(1))], "the label of '0' cannot be read: Expecting"),
        ([("0.json", b"[" * 60_000), ("0.png", encoded(1))], "the label of '0' cannot be read: "),
        ([("0.json", b'{"label": 1.5}'), ("0.png", encoded(1))], "1.5 is neither a whole number nor a name"),
        ([("0.json", b'{"label": true}'), ("0.png", encoded(1))], "True is neither a whole number nor a name"),
        (
            [("0.json", b'{"label": "\\ud800"}'), ("0.png", encoded(1))],
            "the label of '0' cannot be read: 'utf-8' codec",
        ),
    ],
)
def test_what_is_no_sample_is_told(tmp_path, files, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_shards(shard(tmp_path / "x.tar", files), 8, 8)


def test_a_folder_without_shards_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"holds no \.tar file"):
        read_shards(tmp_path, 8, 8)


# Real faces


def test_the_real_training_folder_reads_the_same_from_shards(shared, tmp_path, disk):
    folder = shared / "faces" / "train112"
    paths = [folder / name for name in image_files.image_names(folder)[:60]]
    files = [(f"{row:06d}.jpg", path.read_bytes()) for row, path in enumerate(paths)]
    read = read_faces(shard(tmp_path / "x.tar", files), 112, 112)
    assert np.array_equal(read.faces[::-1], folders.read_images(paths, 112, 112)[::-1])

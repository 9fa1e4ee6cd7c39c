"""Folders of crops, written here pixel by pixel."""

import numpy as np
import pytest
from PIL import Image

from pocketface.faces import folders
from pocketface.faces.folders import (
    LabelledFaces,
    StoredFaces,
    content_sha256,
    read_folder,
    read_images,
    split_identities,
)


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
    assert len({content_sha256(flat), content_sha256(flat.reshape(2, 2)), content_sha256(flat.astype(bool))}) == 3


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


# Faces that stay on disk


@pytest.fixture
def disk(monkeypatch):
    """Nothing fits in memory."""
    monkeypatch.setattr(folders, "LARGEST_IN_MEMORY", 0)


@pytest.fixture
def people(tmp_path):
    """Crops of noise: 5 of ann, 4 of bob, 1 of cy."""
    for row, name in enumerate(
        ["ann/0", "ann/1", "ann/2", "ann/3", "ann/4", "bob/0", "bob/1", "bob/2", "bob/3", "cy/0"]
    ):
        save(tmp_path / f"{name}.png", np.random.default_rng(row).integers(0, 256, (8, 8, 3), np.uint8))
    return tmp_path


@pytest.mark.parametrize(
    "chosen",
    [
        slice(None),
        slice(2, 9, 3),
        slice(-3, None),
        slice(4, 100),
        slice(5, 5),
        np.array([7, 0, 7, -1]),
        np.array([], np.int64),
        np.arange(10) % 2 == 0,
        3,
        np.int64(-2),
    ],
)
def test_faces_on_disk_are_indexed_as_an_array_is(people, chosen, monkeypatch):
    array = read_folder(people, 8, 8)
    monkeypatch.setattr(folders, "LARGEST_IN_MEMORY", 0)
    stored = read_folder(people, 8, 8)
    assert isinstance(array.faces, np.ndarray)
    assert isinstance(stored.faces, StoredFaces)
    assert (len(stored.faces), stored.faces.shape) == (10, array.faces.shape)
    assert (stored.names, stored.labels.tolist()) == (array.names, array.labels.tolist())
    got = stored.faces[chosen]
    assert got.dtype == np.uint8
    assert np.array_equal(got, array.faces[chosen])


@pytest.mark.parametrize("chosen", [10, np.array([0, 10])])
def test_a_number_beyond_the_last_face_is_an_index_error(people, disk, chosen):
    with pytest.raises(IndexError):
        read_folder(people, 8, 8).faces[chosen]


def test_one_byte_decides_whether_faces_stay_on_disk(people, monkeypatch):
    monkeypatch.setattr(folders, "LARGEST_IN_MEMORY", 10 * 8 * 8 * 3)
    assert isinstance(read_folder(people, 8, 8).faces, np.ndarray)
    save(people / "cy" / "1.png", plain(0))
    assert isinstance(read_folder(people, 8, 8).faces, StoredFaces)


def test_a_face_on_disk_is_refused_when_it_is_asked_for(people, disk):
    (people / "bob" / "0.png").write_bytes(b"bad")
    read = read_folder(people, 8, 8)
    assert read.faces[:5].shape == (5, 8, 8, 3)
    with pytest.raises(ValueError, match=r"bob/0\.png cannot be read as an image"):
        read.faces[4:6]


def test_faces_on_disk_of_another_size_are_told_at_once(people, disk):
    with pytest.raises(ValueError, match="is 8x8, the embedder expects 112x112"):
        read_folder(people, 112, 112)


def test_the_fingerprint_of_faces_on_disk_changes_with_names_and_sizes(people, disk):
    one = read_folder(people, 8, 8).sha256
    again = read_folder(people, 8, 8).sha256
    (people / "cy" / "0.png").rename(people / "cy" / "1.png")
    renamed = read_folder(people, 8, 8).sha256
    save(people / "cy" / "1.png", plain(0))
    smaller = read_folder(people, 8, 8).sha256
    assert one == again
    assert len({one, renamed, smaller}) == 3


# People held out


def crowd(*counts):
    """As many crops of each person as `counts` says; a crop's pixels are its number."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return LabelledFaces(
        np.stack([plain(number) for number in range(len(labels))]), labels, tuple(map(str, range(len(counts)))), "x"
    )


def test_people_are_on_one_side_only_with_all_their_faces():
    whole = crowd(2, 3, 1, 4, 2, 5, 1, 2, 2, 3)
    rest, held_out = split_identities(whole, 0.25, seed=0)
    assert (len(rest.names), len(held_out.names)) == (8, 2)  # a quarter of the 8 with two faces
    assert not set(rest.names) & set(held_out.names)
    numbers = []
    for side in (rest, held_out):
        numbers += side.faces[:, 0, 0, 0].tolist()
        assert np.unique(side.labels).tolist() == list(range(len(side.names)))
        was = whole.labels[side.faces[:, 0, 0, 0]]
        assert [side.names[label] for label in side.labels] == [whole.names[label] for label in was]
    assert sorted(numbers) == list(range(25))


def test_people_with_one_face_are_never_held_out():
    for seed in range(5):
        _, held_out = split_identities(crowd(1, 1, 2, 2, 2, 1), 0.9, seed)
        assert set(held_out.names) < {"2", "3", "4"}


def test_the_share_held_out_is_at_least_two_people_and_never_all():
    assert [len(split_identities(crowd(2, 2, 2, 2), share, 0)[1].names) for share in (0.01, 0.99)] == [2, 3]


def test_who_is_held_out_follows_the_seed():
    one, again, other = (split_identities(crowd(*[2] * 20), 0.5, seed)[1] for seed in (1, 1, 2))
    assert (one.names, one.sha256) == (again.names, again.sha256)
    assert one.names != other.names
    assert one.sha256 != other.sha256


def test_faces_on_disk_are_split_without_decoding(monkeypatch):
    whole = crowd(2, 2, 2)
    decoded = []
    stored = StoredFaces(lambda number: decoded.append(number) or whole.faces[number], np.arange(6), 8, 8)
    rest, held_out = split_identities(LabelledFaces(stored, whole.labels, whole.names, "x"), 0.5, 0)
    assert decoded == []
    in_memory, _ = split_identities(whole, 0.5, 0)
    assert np.array_equal(rest.faces[:], in_memory.faces)
    assert (len(rest.faces), len(held_out.faces), len(decoded)) == (2, 4, 2)


@pytest.mark.parametrize("counts", [(2, 2), (5, 1, 1, 1), (1,) * 9])
def test_too_few_people_to_hold_out_are_told(counts):
    with pytest.raises(ValueError, match=r"^[012] people have two faces or more; of 3 some can be held out"):
        split_identities(crowd(*counts), 0.5, 0)


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_told(share):
    with pytest.raises(ValueError, match=r"share .* cannot be held out; between 0 and 1 can"):
        split_identities(crowd(2, 2, 2), share, 0)


# Real faces


def test_the_real_training_folder_has_its_people(shared):
    read = read_folder(shared / "faces" / "train112", 112, 112)
    assert len(read) == 3523
    assert read.faces.shape == (3523, 112, 112, 3)
    assert sum(name.startswith("lfw/") for name in read.names) == 1468
    assert sum(name.startswith("cfp/") for name in read.names) == 141


def test_images_of_formats_that_are_not_read_are_named(tmp_path):
    (tmp_path / "Ann").mkdir()
    (tmp_path / "Ann" / "1.HEIC").write_bytes(b"?")
    with pytest.raises(ValueError, match=r"no image; .*; 1 of other formats is not read, such as Ann/1\.HEIC: save"):
        read_folder(tmp_path, 8, 8)
    Image.new("RGB", (8, 8)).save(tmp_path / "Ann" / "2.png")
    with pytest.raises(ValueError, match="holds 1 images that can be read; 1 of other formats is not read, such"):
        read_folder(tmp_path, 8, 8)

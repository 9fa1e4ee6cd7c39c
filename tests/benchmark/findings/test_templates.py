"""Templates by a table: what is read, what is compared, and a small protocol counted by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from pocketface.benchmark.accuracy.roc import eer
from pocketface.benchmark.findings.templates import read_templates, template_comparisons, template_rows
from pocketface.benchmark.measurement import RowMaker
from pocketface.models.embedder import unit

ROW = RowMaker(model="m", artifact="a", format="onnx", precision="fp32", runtime="r", device="d")
NAMES = ("a1.jpg", "a2.jpg", "a3.jpg", "b1.jpg", "b2.jpg", "b3.jpg")
TABLE = """image,person,template,pose
a1.jpg,ann,0,frontal
a2.jpg,ann,0,frontal
a3.jpg,ann,0,profile
b1.jpg,bob,0,frontal
b2.jpg,bob,1,frontal
b3.jpg,bob,0,profile
"""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "templates.csv"
    path.write_text(TABLE)
    return path


def test_rows_of_one_person_pose_and_number_are_one_template(table):
    templates = read_templates(table, NAMES)
    assert [faces.tolist() for faces in templates.faces] == [[0, 1], [2], [3], [4], [5]]
    assert templates.person.tolist() == [0, 0, 1, 1, 1]
    assert templates.poses == ("frontal", "profile")


def test_a_template_is_the_unit_mean_of_unit_vectors(table):
    vectors = np.float32([[1, 0], [0, 1], [1, 0], [1, 0], [1, 0], [1, 0]])
    embeddings = read_templates(table, NAMES).embed(vectors)
    assert embeddings[0] == pytest.approx([np.sqrt(0.5), np.sqrt(0.5)])


def test_single_images_keep_person_and_pose(table):
    singles = read_templates(table, NAMES).apart()
    assert [faces.tolist() for faces in singles.faces] == [[0], [1], [2], [3], [4], [5]]
    assert singles.person.tolist() == [0, 0, 0, 1, 1, 1]
    assert singles.pose == ("frontal", "frontal", "profile", "frontal", "frontal", "profile")


def test_within_a_pose_none_meets_itself_and_across_all_meet(table):
    templates = read_templates(table, NAMES)
    embeddings = np.eye(5, dtype=np.float32)
    _, same, people = template_comparisons(templates, embeddings, ("frontal", "frontal"))
    assert list(zip(*(side.tolist() for side in people), strict=True)) == [(0, 1), (0, 1), (1, 1)]
    assert same.tolist() == [False, False, True]
    similarity, same, _ = template_comparisons(templates, embeddings, ("frontal", "profile"))
    assert same.tolist() == [True, False, False, True, False, True]
    assert similarity.tolist() == [0.0] * 6
    assert len(template_comparisons(templates, embeddings)[0]) == 10


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("image,person\na1.jpg,ann\n", "no column 'template'; its first line needs: image,person,template"),
        ("image,person,template\nc.jpg,ann,0\n", "line 2: no face 'c.jpg' among the pairs' 6"),
        ("image,person,template\na1.jpg,ann,0\na1.jpg,ann,1\n", "line 3: a1.jpg is in line 2 already"),
        ("image,person,template\na1.jpg,ann\n", "line 2 has 2 cells, the first line 3"),
        ("image,person,template\n", "holds no template"),
        ('image,person,template\n"a1.jpg', "line 2: unexpected end of data"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, table, sentence):
    path = tmp_path / "wrong.csv"
    path.write_text(table)
    with pytest.raises(ValueError, match=sentence):
        read_templates(path, NAMES)


def test_a_table_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no table of templates .*none\.csv"):
        read_templates(tmp_path / "none.csv", NAMES)


def photos(tmp_path, people=40, spread=0.8):
    """Four photos of each person, frontal ones more like each other: (the table, names, embeddings)."""
    random = np.random.default_rng(0)
    centres, turn = random.standard_normal((people, 32)), random.standard_normal(32)
    names, vectors, lines = [], [], ["image,person,template,pose"]
    for person in range(people):
        for number in range(4):
            names.append(f"{person}/{number}.jpg")
            noise = spread * random.standard_normal(32)
            vectors.append(centres[person] + noise + turn * (number > 1))
            lines.append(f"{names[-1]},{person},{person},{'frontal' if number < 2 else 'profile'}")
    path = tmp_path / "photos.csv"
    path.write_text("\n".join(lines))
    return path, tuple(names), unit(np.float32(vectors))


def test_rows_per_two_poses_agree_with_a_plain_loop(tmp_path):
    path, names, embeddings = photos(tmp_path)
    seen = SimpleNamespace(
        embeddings=embeddings, pairs=SimpleNamespace(names=names), recipe=SimpleNamespace(templates=path)
    )
    rows = template_rows(seen, ROW)
    of_part = {(row.metric, row.conditions.get("part")): row for row in rows}
    means = [unit(embeddings[i : i + 2].mean(0, keepdims=True))[0].astype(float) for i in range(0, 160, 2)]
    frontal, profile = means[::2], means[1::2]
    similarity = np.array([[float(one @ other) for other in profile] for one in frontal])
    row = of_part["template_similarity_mean", "frontal x profile"]
    assert row.value == pytest.approx(np.mean(np.diag(similarity)))
    assert row.low < row.value < row.high
    assert row.n == 1600
    assert row.conditions["protocol"] == "templates of 2 images"
    found = of_part["template_eer", "frontal x profile"]
    assert found.value == pytest.approx(eer(similarity.ravel(), np.eye(40, dtype=bool).ravel()))
    bar = np.sort(similarity[~np.eye(40, dtype=bool)])[-16]  # 15 of 1,560 impostors may be above
    tar = of_part["template_tar_at_far_1e-2", "frontal x profile"]
    assert tar.value == pytest.approx(np.mean(np.diag(similarity) > bar))


def test_headline_details_and_refusals(tmp_path):
    path, names, embeddings = photos(tmp_path)
    seen = SimpleNamespace(
        embeddings=embeddings, pairs=SimpleNamespace(names=names), recipe=SimpleNamespace(templates=path)
    )
    rows = template_rows(seen, ROW)
    assert [row.metric for row in rows if "part" not in row.conditions] == [
        "template_similarity_mean",
        "template_eer",
        "template_tar_at_far_1e-2",
        "template_tar_at_far_1e-3",
    ]
    parts = list(dict.fromkeys(row.conditions.get("part") for row in rows))
    couples = ["frontal x frontal", "frontal x profile", "profile x profile"]
    assert parts == [None, *couples, *(f"{couple}, single images" for couple in couples)]
    (alone,) = [row for row in rows if row.conditions.get("part") == "frontal x frontal"]
    assert (alone.metric, alone.value) == ("template_eer", None)
    assert alone.reason == "all 780 comparisons are of different people"
    single = [row for row in rows if row.conditions.get("part") == "frontal x frontal, single images"]
    assert [row.valid for row in single] == [True] * 4
    assert single[0].n == 80 * 79 // 2


def test_without_a_table_there_are_no_rows():
    assert template_rows(SimpleNamespace(recipe=SimpleNamespace(templates=None)), ROW) == []

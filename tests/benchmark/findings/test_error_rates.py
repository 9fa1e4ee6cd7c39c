"""Rows of verification and identification."""

from types import SimpleNamespace

import numpy as np

from pocketface.benchmark.accuracy.verification import verify
from pocketface.benchmark.findings.error_rates import identification_rows, verification_rows
from pocketface.benchmark.measurement import RowMaker
from pocketface.models.embedder import unit

ROW = RowMaker("m", "a.tflite", "tflite", "fp32", "litert", "d")


def scores(pairs, seed=0, ties=False):
    """Genuine pairs around 0.5, impostor pairs around 0; with ties, rounded to tenths."""
    random = np.random.default_rng(seed)
    same = np.arange(pairs) % 2 == 0
    similarity = np.clip(random.normal(np.where(same, 0.5, 0.0), 0.2), -1, 1)
    return (similarity.round(1) if ties else similarity), same


def labelled(same, fold, side=8):
    """Pair p compares face 2p with face 2p + 1."""
    left = np.arange(len(same)) * 2
    faces = np.zeros((2 * len(same), side, side, 3), np.uint8)
    return SimpleNamespace(faces=faces, left=left, right=left + 1, same=same, fold=fold, sha256="abc")


def embeddings_with(similarity):
    """(2P, 2) unit vectors of which 2p and 2p + 1 have the cosine similarity[p]."""
    angle = np.arccos(similarity)
    pairs = np.stack([np.ones_like(angle), np.zeros_like(angle), np.cos(angle), np.sin(angle)], axis=1)
    return pairs.reshape(-1, 2)


def people(count, noise, seed=0):
    """Three faces of each of `count` people, then as many strangers of one face."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((2 * count, 16))
    whose = np.concatenate([np.repeat(np.arange(count), 3), np.arange(count, 2 * count)])
    return unit((centres[whose] + noise * random.standard_normal((len(whose), 16))).astype(np.float32)), whose


def test_a_threshold_that_few_impostors_set_is_a_reason():
    similarity, same = scores(400)
    verification = verify(embeddings_with(similarity), labelled(same, np.arange(400) // 40))
    rows = {row.metric: row for row in verification_rows(verification, ROW, certified=True, impostor=200)}
    threshold = rows["threshold_at_far_1e-2"]
    assert (threshold.value, threshold.valid) == (None, False) and threshold.conditions["certified"] is None
    assert threshold.reason == "FAR 0.01 wants at least 3,000 impostor pairs, of which it accepts 30; there are 200"
    assert rows["tar_at_far_1e-2"].value is not None
    assert rows["threshold_at_far_1e-3"].reason == "FAR 1e-3 wants at least 1,000 impostor pairs; there are 200"
    many = {row.metric: row for row in verification_rows(verification, ROW, certified=True, impostor=3000)}
    assert many["threshold_at_far_1e-2"].conditions["certified"] == "in the file's own metadata"


def test_rows_carry_interval_protocol_and_reason():
    similarity, same = scores(400)
    rows = verification_rows(verify(embeddings_with(similarity), labelled(same, np.arange(400) // 40)), ROW)
    assert [row.metric for row in rows] == [
        "verification_accuracy",
        "verification_accuracy_fold_sd",
        "eer",
        "auc",
        "tar_at_far_1e-2",
        "threshold_at_far_1e-2",
        "tar_at_far_1e-3",
        "threshold_at_far_1e-3",
    ]
    assert {(row.unit, row.n) for row in rows} == {("1", 400)}
    assert [row.valid for row in rows] == [True] * 6 + [False] * 2
    assert rows[-1].value is None
    assert rows[-1].reason == "FAR 1e-3 wants at least 1,000 impostor pairs; there are 200"
    assert rows[0].low < rows[0].value < rows[0].high
    assert rows[0].conditions["flip"] is False
    assert rows[0].conditions["crops"] == "8x8"
    assert rows[0].conditions["pairs_sha256"] == "abc"
    assert rows[4].conditions["measured_far"] <= 0.01


def seen(embeddings, identities):
    return SimpleNamespace(embeddings=embeddings, pairs=SimpleNamespace(identities=identities))


def test_rows_say_what_the_gallery_was():
    rows = identification_rows(seen(*people(150, 0.5)), ROW)
    assert [row.metric for row in rows] == ["rank1", "tpir_at_fpir_1e-1", "tpir_at_fpir_1e-2"]
    assert [row.n for row in rows] == [300, 450, 450]
    assert all(row.valid and row.low <= row.value <= row.high for row in rows)
    assert (rows[0].conditions["enrolled"], rows[0].conditions["non_mated_probes"]) == (150, 150)
    assert rows[2].conditions["measured_fpir"] <= 0.01


def test_it_is_said_why_nobody_is_looked_up():
    embeddings, whose = people(150, 0.5)
    (unknown,) = identification_rows(seen(embeddings, np.where(whose == 3, -1, whose)), ROW)
    (few,) = identification_rows(seen(embeddings[:12], whose[:12]), ROW)
    assert (unknown.metric, unknown.value, few.metric, few.value) == ("rank1", None, "rank1", None)
    assert unknown.reason == "the pairs do not say who is on every image, so that nobody can be looked up"
    assert few.reason == "2 people can be enrolled; 1:N wants at least 10 who have two images"

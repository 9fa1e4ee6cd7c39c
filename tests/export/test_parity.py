"""A file whose embeddings are not those of its source is not written, unless somebody asked for it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pocketface.export.artifact import Artifact, Card, ConversionError, Precision
from pocketface.export.exporter import export
from pocketface.export.parity import Parity, check_parity, measure_parity
from pocketface.export.recipe import ExportRecipe
from pocketface.faces.contract import Faces, InputContract
from pocketface.models.embedder import Embedder

CONTRACT = InputContract(16, 16)


def file(precision: Precision) -> Artifact:
    return Artifact(Path("net.w8a8.tflite"), "tflite", Card("net", CONTRACT, 4, precision))


def test_parity_of_vectors_whose_cosines_one_sees() -> None:
    parity = measure_parity(np.float32([[1, 0], [0.6, 0.8]]), np.float32([[1, 0], [1, 0]]))
    assert parity == Parity(pytest.approx(0.8), pytest.approx(0.6), pytest.approx(0.8), 2)  # type: ignore[arg-type]
    with pytest.raises(ConversionError, match="gives embeddings of 2 numbers, not 3"):
        measure_parity(np.zeros((1, 2), np.float32), np.zeros((1, 3), np.float32))


@pytest.mark.parametrize(
    ("precision", "least"),
    [("w8", 0.99), ("w8-dynamic", 0.97), ("w8a8", 0.9), ("w8a16", 0.99), ("w6", 0.9), ("w4", 0.5)],
)
def test_each_precision_has_a_floor(precision: Precision, least: float) -> None:
    check_parity(file(precision), Parity(0.1, -1, least, 16), ExportRecipe())
    with pytest.raises(
        ConversionError, match=rf"16 faces; at least {least} is asked of {precision}, and --allow-drift"
    ):
        check_parity(file(precision), Parity(0.1, -1, least - 1e-6, 16), ExportRecipe())


def test_the_floor_of_fp16_is_that_of_the_worst_face() -> None:
    with pytest.raises(ConversionError, match=r"a cosine of 0\.99800 to its source on 16 faces; at least 0\.999"):
        check_parity(file("fp16"), Parity(0.1, 0.998, 0.9999, 16), ExportRecipe())


def test_the_loss_is_named_or_noted() -> None:
    ruined = Parity(0.5, 0.1, 0.387, 16)
    with pytest.raises(ConversionError) as refused:
        check_parity(file("w8a8"), ruined, ExportRecipe())
    assert str(refused.value) == (
        "net.w8a8.tflite has a cosine of 0.38700 to its source on 16 faces; at least 0.9 is asked of w8a8, "
        "and --allow-drift (allow_drift in a recipe) writes it all the same; "
        "tflite-int8 looks for a way that loses less"
    )
    (note,) = check_parity(file("w8a8"), ruined, ExportRecipe(allow_drift=True)).notes
    assert note.kind == "drift" and "a cosine of 0.38700 to its source on 16 faces; at least 0.9" in note.text
    assert check_parity(file("w8a8"), ruined, ExportRecipe(least_w8a8_cosine=0.3)).notes == ()
    for broken in (ExportRecipe(), ExportRecipe(allow_drift=True)):
        with pytest.raises(ConversionError, match="a cosine of nan"):
            check_parity(file("w8a8"), Parity(0.5, np.nan, np.nan, 16), broken)


@pytest.fixture
def outlier() -> Embedder:
    """A net with one channel 3,000 times larger than those that tell faces apart, which the embedding does not use.

    One int8 scale for the whole tensor rounds all others to zero.
    """
    torch.manual_seed(0)
    first, last = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(32, 4)
    backbone = nn.Sequential(first, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), last)
    with torch.no_grad():
        first.weight[0] *= 3000
        last.weight[:, :4] = 0  # what comes of that channel
        last.bias[:] = 0
    return Embedder("outlier", backbone.eval(), CONTRACT, "none.py:outlier")


def faces() -> Faces:
    return np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3), np.uint8)


def test_a_ruined_int8_file_is_removed_unless_drift_is_allowed(outlier: Embedder, tmp_path: Path) -> None:
    _, _, made = export(outlier, faces(), ExportRecipe(targets=("tflite-fp32", "tflite-w8a8")), tmp_path)
    assert made.artifact is None and "at least 0.9 is asked of w8a8, and --allow-drift" in made.reason
    assert not (tmp_path / "outlier.w8a8.tflite").exists() and (tmp_path / "outlier.tflite").is_file()
    said: list[str] = []
    allowed = ExportRecipe(targets=("tflite-w8a8",), allow_drift=True)
    for _ in range(2):  # made, then kept
        *_, made = export(outlier, faces(), allowed, tmp_path, said.append)
        assert made.artifact is not None and made.artifact.path.is_file()
        assert [note.kind for note in made.artifact.notes if note.kind == "drift"] == ["drift"]
    assert sum("and drift is allowed" in line for line in said) == 2

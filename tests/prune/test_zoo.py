"""Every embedder of the zoo, pruned by every criterion: it reloads to the same bits, and its files are right."""

from functools import cache
from typing import get_args

import numpy as np
import pytest
import torch

from pocketface.export.exporter import export
from pocketface.export.recipe import ExportRecipe
from pocketface.faces.folders import LabelledFaces
from pocketface.faces.rendering.synthetic import synthetic_faces
from pocketface.models.batch_norm import reestimate_batch_norms
from pocketface.models.checkpoint import load_checkpoint, save_checkpoint
from pocketface.models.widths import widths_of
from pocketface.models.zoo import create
from pocketface.prune.pruner import prune
from pocketface.prune.recipe import CriterionName, PruneRecipe

QUICK = PruneRecipe(by="filters", remove=0.3, cost="filters", steps=1, epochs=0, variants=1, images=4, least_kept=0.1)
FILES = ExportRecipe(targets=("onnx", "tflite-fp32", "coreml-fp32"), parity_faces=4, calibration_faces=4)
CRITERIA = get_args(CriterionName)

NETWORKS = ("mobilefacenet", "squeezefacenet", "mobilenetv2", "vgg16", "resnet50", "resnet50v2")

# The large ones are slow and have two or three each; prune_zoo.py in evidence has every pair.
FEWER = {"resnet50": CRITERIA[::4], "resnet50v2": CRITERIA[1::4], "vgg16": CRITERIA[2::4]}
PAIRS = [(name, criterion) for name in NETWORKS for criterion in FEWER.get(name, CRITERIA)]
EXPORTED = list(zip(2 * NETWORKS, CRITERIA, strict=False))  # each criterion once, the lighter networks twice


@cache
def fresh(name):
    """Gives a fresh embedder whose batch norms have seen faces, and the faces: two of each of four people."""
    embedder = create(name)
    crops, labels = synthetic_faces(4, 2, size=embedder.contract.height)
    reestimate_batch_norms(embedder.backbone, [torch.from_numpy(embedder.contract.preprocess(crops))])
    return embedder, LabelledFaces(crops, labels, tuple("abcd"), f"rendered, {embedder.contract.height} pixels")


def pruned_by(criterion, embedder, faces):
    return prune(embedder, faces, QUICK.model_copy(update={"criterion": criterion}), lambda line: None)


@pytest.mark.parametrize(("name", "criterion"), PAIRS)
def test_three_tenths_of_the_filters_go_and_the_checkpoint_embeds_bit_for_bit_the_same(name, criterion, tmp_path):
    embedder, faces = fresh(name)
    pruned = pruned_by(criterion, embedder, faces)
    before, after = pruned.ancestry[-1]["filters"]
    assert 0.69 * before < after <= 0.7 * before
    wide, narrow = widths_of(embedder.backbone), widths_of(pruned.backbone)
    assert sum(narrow[layer] != wide[layer] for layer in wide) > 5
    embeddings = pruned.embed(faces.faces)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)
    reloaded = load_checkpoint(save_checkpoint(pruned, tmp_path / "checkpoint"))
    np.testing.assert_array_equal(reloaded.embed(faces.faces), embeddings)


@pytest.mark.parametrize(("name", "criterion"), EXPORTED)
def test_a_pruned_embedder_is_the_same_in_onnx_tflite_and_core_ml(name, criterion, tmp_path):
    embedder, faces = fresh(name)
    made = export(pruned_by(criterion, embedder, faces), faces.faces, FILES, tmp_path)
    assert [file.target for file in made] == list(FILES.targets)
    for file in made:
        assert file.parity is not None, file.reason
        assert file.parity.largest_difference <= 1e-5


def test_a_network_without_batch_norms_cannot_be_ranked_by_their_scales():
    embedder, faces = fresh("vgg16")
    with pytest.raises(ValueError, match="scales of batch norms, and group 'features"):
        pruned_by("bn-scale", embedder, faces)

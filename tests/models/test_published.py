import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from pocketface.faces.contract import IMAGENET, Faces, InputContract
from pocketface.models.complexity import parameters
from pocketface.models.embedder import Embedder

FILE = Path(__file__).parents[2] / "examples" / "published_mobilefacenets.py"
PUBLISHED = {
    "foamliu": ("mobilefacenet_relu6.safetensors", IMAGENET),
    "insightface_y1": ("mobilefacenet_prelu.safetensors", InputContract(scale=(1 / 128, 1 / 128, 1 / 128))),
}


@pytest.fixture(scope="module")
def published() -> ModuleType:
    spec = importlib.util.spec_from_file_location("published_mobilefacenets", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def some_pairs(lfw: Path, every: int = 100) -> Iterator[tuple[bool, Path, Path]]:
    """Gives one in so many of the 6,000 pairs: same person or not, and where the two crops lie."""
    for line in (lfw / "pairs.txt").read_text(encoding="utf-8").splitlines()[1::every]:
        fields = line.split()
        one, other = fields[0], fields[-2] if len(fields) == 4 else fields[0]
        yield len(fields) == 3, crop(lfw, one, fields[1]), crop(lfw, other, fields[-1])


def crop(lfw: Path, person: str, number: str) -> Path:
    return lfw / person / f"{person}_{int(number):04d}.jpg"


def read(paths: list[Path]) -> Faces:
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])


@pytest.mark.parametrize(("factory", "expected"), [("foamliu", 999_936), ("insightface_y1", 1_003_136)])
def test_parameters_are_the_published_ones(published: ModuleType, factory: str, expected: int) -> None:
    assert parameters(getattr(published, factory)()) == expected


@pytest.mark.parametrize("factory", sorted(PUBLISHED))
def test_published_weights_fit_strictly_and_tell_people_apart(
    published: ModuleType, shared: Path, factory: str
) -> None:
    weights, contract = PUBLISHED[factory]
    backbone = getattr(published, factory)()
    backbone.load_state_dict(load_file(shared / "models" / weights), strict=True)
    embedder = Embedder(factory, backbone, contract, f"{FILE}:{factory}")
    same, ones, others = (list(column) for column in zip(*some_pairs(shared / "faces" / "lfw112"), strict=True))
    cosines = (embedder.embed(read(ones)) * embedder.embed(read(others))).sum(axis=1)
    genuine, impostor = cosines[same], cosines[np.logical_not(same)]
    assert len(genuine) == len(impostor) == 30
    assert genuine.mean() > 0.5 and abs(impostor.mean()) < 0.1
    assert np.quantile(genuine, 0.05) > impostor.max()

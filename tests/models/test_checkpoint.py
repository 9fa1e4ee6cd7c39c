"""A checkpoint holds everything and comes back bit for bit, or says what is wrong."""

import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from pocketface.faces.contract import InputContract
from pocketface.models.checkpoint import load_checkpoint, open_embedder, same_bits, save_checkpoint
from pocketface.models.embedder import Embedder
from pocketface.models.widths import resize, widths_of
from pocketface.models.zoo import ZOO, create

FACTORY = """
from torch import nn

def tiny(width=8):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))
"""


@pytest.fixture
def foreign(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(FACTORY)
    return f"{tmp_path / 'mine.py'}:tiny"


@pytest.fixture
def checkpoint(tmp_path: Path, foreign: str) -> Path:
    return save_checkpoint(
        open_embedder(foreign, contract=InputContract(16, 16), name="tiny"), tmp_path / "saved"
    )


def halved(backbone: nn.Module) -> dict[str, list[int]]:
    """Widths of some layers halved by hand: enough to be another shape than the architecture's."""
    widths = widths_of(backbone)
    first = next(name for name, width in widths.items() if len(width) == 3)
    widths[first] = [widths[first][0], widths[first][1] // 2, 1]
    return widths


@pytest.mark.parametrize("name", sorted(ZOO))
def test_a_zoo_net_of_other_widths_comes_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    embedder = create(name)
    resize(embedder.backbone, halved(embedder.backbone))
    with torch.no_grad():
        for parameter in embedder.backbone.parameters():
            parameter.uniform_(-1, 1)
    description = {"sha256": embedder.sha256}
    folder = tmp_path / "checkpoint"
    # the halved net does not run (one layer was halved by hand), so it is saved around the embedding size
    object.__setattr__(embedder, "ancestry", (description,))
    save_checkpoint(Sized(embedder), folder)
    again = load_checkpoint(folder)
    assert same_bits(embedder, again)
    assert again.sha256 == embedder.sha256
    assert widths_of(again.backbone) == widths_of(embedder.backbone)
    assert again.contract == embedder.contract
    assert again.ancestry == (description,)


def Sized(embedder: Embedder) -> Embedder:
    class Fixed(Embedder):
        @property
        def embedding_size(self) -> int:
            return 128

    return Fixed(**{name: getattr(embedder, name) for name in Embedder.__dataclass_fields__})


def test_a_foreign_checkpoint_wants_its_code_named_by_the_user(checkpoint: Path, foreign: str) -> None:
    with pytest.raises(ValueError, match="name that code yourself"):
        load_checkpoint(checkpoint)
    assert load_checkpoint(checkpoint, foreign).name == "tiny"


def test_the_code_that_a_checkpoint_names_is_never_run(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("import pathlib; pathlib.Path(__file__).with_name('ran').touch()\n")
    path = checkpoint / "embedder.json"
    path.write_text(path.read_text().replace("mine.py", "evil.py"))
    with pytest.raises(ValueError):
        load_checkpoint(checkpoint)
    assert not (tmp_path / "ran").exists()


def test_truncated_weights_are_refused(checkpoint: Path, foreign: str) -> None:
    weights = checkpoint / "weights.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    with pytest.raises(ValueError, match=r"weights\.safetensors is damaged"):
        load_checkpoint(checkpoint, foreign)


def test_weights_of_another_net_are_refused_by_tensor_name(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="holds the weights of another network: '0.bias' is not in the network"
    ):
        open_embedder("mobilefacenet", checkpoint / "weights.safetensors")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"widths": {"0": [3, 8, 1]}}, "another architecture"),
        ({"widths": 7}, "damaged"),
        ({"contract": {"colour": "red"}}, "input contract has no 'colour'"),
        ({"sha256": "0"}, "damaged"),
    ],
)
def test_a_damaged_description_is_one_sentence(
    checkpoint: Path, foreign: str, change: dict[str, object], sentence: str
) -> None:
    path = checkpoint / "embedder.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=sentence):
        load_checkpoint(checkpoint, foreign)


def test_a_save_that_fails_leaves_the_old_checkpoint(
    checkpoint: Path, foreign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = load_checkpoint(checkpoint, foreign)
    before = sorted((file.name, file.read_bytes()) for file in checkpoint.iterdir())
    broken = Embedder(
        **{name: getattr(embedder, name) for name in Embedder.__dataclass_fields__} | {"licence": b"?"}
    )
    with pytest.raises(TypeError):
        save_checkpoint(broken, checkpoint)
    assert sorted((file.name, file.read_bytes()) for file in checkpoint.iterdir()) == before
    assert [path.name for path in checkpoint.parent.iterdir() if "part" in path.name] == []

"""A checkpoint holds everything and comes back bit for bit, or says what is wrong."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from pocketface.faces.contract import InputContract
from pocketface.faces.folders import LabelledFaces
from pocketface.faces.rendering.synthetic import synthetic_faces
from pocketface.models import checkpoint as checkpoint_module
from pocketface.models.activations import replace_activations
from pocketface.models.checkpoint import load_checkpoint, open_embedder, save_checkpoint
from pocketface.models.complexity import parameters
from pocketface.models.embedder import Embedder
from pocketface.models.network_names import EMBEDDED_DEFAULT
from pocketface.models.widths import widths_of
from pocketface.models.zoo import ZOO, create
from pocketface.prune.channels.groups import cut_channels, find_groups
from pocketface.prune.pruner import prune
from pocketface.prune.recipe import PruneRecipe

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
    return save_checkpoint(open_embedder(foreign, contract=InputContract(16, 16), name="tiny"), tmp_path / "saved")


def same_bits(left: Embedder, right: Embedder) -> bool:
    a, b = left.backbone.state_dict(), right.backbone.state_dict()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_a_name_may_be_a_path_or_a_text(checkpoint: Path, foreign: str) -> None:
    rebuilt = open_embedder(foreign, checkpoint)
    assert same_bits(rebuilt, open_embedder(foreign, str(checkpoint)))
    weights = str(checkpoint / "weights.safetensors")
    again = open_embedder(foreign, weights, contract=InputContract(16, 16), licence="MIT")
    assert same_bits(again, rebuilt) and again.licence == "MIT"
    default = Path(checkpoint_module.__file__).parent / EMBEDDED_DEFAULT
    assert same_bits(open_embedder(default), open_embedder(EMBEDDED_DEFAULT))


@pytest.mark.parametrize("name", sorted(ZOO))
def test_every_pruned_zoo_net_comes_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    embedder = create(name)
    size = embedder.contract.height
    faces, labels = synthetic_faces(2, 2, size=size)
    recipe = PruneRecipe(by="filters", remove=0.3, steps=1, epochs=0, variants=1, images=4)
    pruned = prune(embedder, LabelledFaces(faces, labels, ("a", "b"), ""), recipe, lambda line: None)
    assert parameters(pruned.backbone) < parameters(embedder.backbone)
    again = load_checkpoint(save_checkpoint(pruned, tmp_path / "checkpoint"))
    assert same_bits(pruned, again)
    assert np.array_equal(again.embed(faces), pruned.embed(faces))
    assert (again.contract, again.name, again.licence) == (pruned.contract, pruned.name, pruned.licence)
    assert json.dumps(again.ancestry) == json.dumps(pruned.ancestry)
    assert again.ancestry[-1]["stage"] == "prune"


def test_a_foreign_checkpoint_wants_its_code_named_by_the_user(checkpoint: Path, foreign: str) -> None:
    with pytest.raises(ValueError, match=r"a checkpoint runs no code; name that code yourself: give .*:\w+ for the "):
        load_checkpoint(checkpoint)
    assert open_embedder(foreign, checkpoint).name == "tiny"  # as that sentence says
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
    missing = r"holds the weights of another network: 'blocks\.0\.depthwise\.0\.weight' is missing"
    with pytest.raises(ValueError, match=missing):
        open_embedder("mobilefacenet", checkpoint / "weights.safetensors")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"widths": {"0": [3, 8, 1]}}, "another architecture"),
        ({"widths": 7}, "damaged"),
        ({"widths": {"0": [3, [8], 1], "3": [8, 4]}}, "damaged"),
        ({"options": 7}, "damaged"),
        ({"activations": ["relu"]}, "damaged"),
        ({"ancestry": [7]}, "damaged"),
        ({"ancestry": None}, "damaged"),
        ({"contract": {"colour": "red"}}, "input contract has no 'colour'"),
        ({"sha256": "0"}, "damaged"),
        ({"name": "../x"}, "name '../x' has '/'"),
        ({"name": "/tmp/x"}, "name '/tmp/x' has '/'"),
    ],
)
def test_a_damaged_description_is_one_sentence(
    checkpoint: Path, foreign: str, change: dict[str, object], sentence: str
) -> None:
    path = checkpoint / "embedder.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=sentence):
        load_checkpoint(checkpoint, foreign)


@contextmanager
def memory_left(most: int) -> Iterator[None]:
    """Lets this process have `most` bytes more than it has, of address space."""
    resource = pytest.importorskip("resource", reason="Windows limits no memory")
    if not Path("/proc/self/statm").is_file():
        pytest.skip("the size of this process is read from /proc")
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        # 65,536 x 65,536 kernels of float32: 17 GB, of 3x3 155 GB
        ({"widths": {"top.0": [65536, 65536, 1]}}, r"'top\.0\.weight' is \[\d+, \d+, 1, 1\], the net.* \[65536"),
        ({"widths": {"top.0": [1 << 40, 1 << 40, 1]}}, r"layer 'top\.0' cannot be \[1099511627776, \d+, 1\] wide"),
        ({"options": {"embedding_size": 10**13}}, r"the network expects \[10000000000000"),  # 1 PB and more
    ],
)
def test_sizes_that_the_weights_do_not_bear_out_take_no_memory(
    tmp_path: Path, changes: dict[str, dict[str, object]], sentence: str
) -> None:
    saved = save_checkpoint(create("mobilefacenet", width=0.125), tmp_path / "saved")
    description = json.loads((saved / "embedder.json").read_text())
    for key, values in changes.items():
        description[key] |= values
        if key == "options":
            with torch.device("meta"):
                description["widths"] = widths_of(create("mobilefacenet", **description["options"]).backbone)
    (saved / "embedder.json").write_text(json.dumps(description))
    with memory_left(1 << 30), pytest.raises(ValueError, match=sentence):
        load_checkpoint(saved)


def test_a_save_that_fails_leaves_the_old_checkpoint(
    checkpoint: Path, foreign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = load_checkpoint(checkpoint, foreign)
    before = sorted((file.name, file.read_bytes()) for file in checkpoint.iterdir())
    broken = Embedder(**{name: getattr(embedder, name) for name in Embedder.__dataclass_fields__} | {"licence": b"?"})
    with pytest.raises(TypeError):
        save_checkpoint(broken, checkpoint)
    assert sorted((file.name, file.read_bytes()) for file in checkpoint.iterdir()) == before
    assert [path.name for path in checkpoint.parent.iterdir() if "part" in path.name] == []


def test_a_folder_of_something_else_is_not_replaced(checkpoint: Path, foreign: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("years of work")
    with pytest.raises(ValueError, match="mine holds something that pocketface did not write"):
        save_checkpoint(load_checkpoint(checkpoint, foreign), tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "years of work"


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    """A small network as another tool wrote it, its batch norm folded into the convolution."""
    rng = np.random.default_rng(0)
    weights = {"w": (8, 3, 3, 3), "b": (8,), "slope": (8, 1, 1), "v": (6, 8, 3, 3), "fc": (4, 6)}
    tensors = [
        onnx.numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), name)
        for name, shape in weights.items()
    ]
    nodes = [
        onnx.helper.make_node("Conv", ["face", "w", "b"], ["c"], name="stem"),
        onnx.helper.make_node("PRelu", ["c", "slope"], ["r"], name="slopes"),
        onnx.helper.make_node("Conv", ["r", "v"], ["d"], name="body"),
        onnx.helper.make_node("GlobalAveragePool", ["d"], ["g"]),
        onnx.helper.make_node("Flatten", ["g"], ["f"]),
        onnx.helper.make_node("Gemm", ["f", "fc"], ["y"], transB=1, name="head"),
    ]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("face", [1, 3, 16, 16]), ("y", [1, 4]))
    ]
    graph = onnx.helper.make_graph(nodes, "net", ends[:1], ends[1:], tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def cut(embedder: Embedder) -> Embedder:
    """Cuts 3 channels of the first layer, and replaces its PReLU."""
    smaller = embedder.clone()
    groups = find_groups(smaller.backbone, smaller.example())
    cut_channels(smaller.backbone, groups, {"stem": torch.tensor([1, 4, 5])})
    replace_activations(smaller.backbone, {"slopes": "relu"})
    return smaller


def test_a_cut_onnx_file_comes_back_bit_for_bit_without_the_file(onnx_file: Path, tmp_path: Path) -> None:
    source = open_embedder(onnx_file, contract=InputContract(16, 16), licence="MIT")
    smaller = cut(source)
    onnx_file.unlink()
    folder = save_checkpoint(smaller, tmp_path / "saved")
    assert sorted(path.name for path in folder.iterdir()) == ["embedder.json", "graph.pb", "weights.safetensors"]
    again = load_checkpoint(folder)
    assert (again.name, again.architecture, again.licence) == ("net", "onnx", "MIT")
    assert again.ancestry[0]["weights"] == "net.onnx"
    assert again.sha256 == smaller.sha256 != source.sha256
    assert again.backbone.get_submodule("stem").out_channels == 5
    faces = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    assert same_bits(again, smaller)
    assert np.array_equal(again.embed(faces), smaller.embed(faces))


def test_two_graphs_with_the_same_weights_are_two_networks(onnx_file: Path) -> None:
    model = onnx.load(onnx_file)
    first = open_embedder(onnx_file, contract=InputContract(16, 16))
    model.graph.node[2].attribute.append(onnx.helper.make_attribute("pads", [1, 1, 1, 1]))
    del model.graph.value_info[:]
    onnx.save(model, onnx_file)
    assert open_embedder(onnx_file, contract=InputContract(16, 16)).sha256 != first.sha256


def test_a_graph_that_is_missing_damaged_or_of_another_network_is_said(onnx_file: Path, tmp_path: Path) -> None:
    folder = save_checkpoint(open_embedder(onnx_file, contract=InputContract(16, 16)), tmp_path / "saved")
    graph = (folder / "graph.pb").read_bytes()
    (folder / "graph.pb").unlink()
    with pytest.raises(ValueError, match=r"saved is no checkpoint: graph\.pb is missing"):
        load_checkpoint(folder)
    (folder / "graph.pb").write_bytes(graph[:-1])
    with pytest.raises(ValueError, match=r"graph\.pb is damaged: its SHA-256 is not the one"):
        load_checkpoint(folder)
    (folder / "graph.pb").write_bytes(b"\x08\x08")
    description = json.loads((folder / "embedder.json").read_text())
    description["graph_sha256"] = hashlib.sha256(b"\x08\x08").hexdigest()
    (folder / "embedder.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match=r"graph\.pb is damaged or no ONNX file"):
        load_checkpoint(folder)


def test_an_onnx_file_wants_a_contract_and_no_other_weights(onnx_file: Path) -> None:
    with pytest.raises(ValueError, match=r"net\.onnx does not say what it must be fed"):
        open_embedder(onnx_file)
    with pytest.raises(ValueError, match=r"net\.onnx has its own weights and layers; leave out weights"):
        open_embedder(onnx_file, "w.safetensors", contract=InputContract(16, 16))

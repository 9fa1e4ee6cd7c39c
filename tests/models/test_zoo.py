import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from pocketface.models.batch_norm import reestimate_batch_norms
from pocketface.models.embedder import Embedder
from pocketface.models.zoo import ZOO, create

SIZES = {
    "mobilefacenet": (112, 128),
    "mobilenetv2": (113, 1280),
    "resnet50": (113, 2048),
    "resnet50v2": (112, 512),
    "squeezefacenet": (113, 1000),
    "vgg16": (112, 512),
}


def faces(embedder: Embedder, batch: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, embedder.contract.height, embedder.contract.width, generator=generator)


@pytest.fixture(scope="module", params=sorted(ZOO))
def embedder(request: pytest.FixtureRequest) -> Embedder:
    return create(request.param)


def test_the_zoo_has_the_papers_networks_under_their_own_names() -> None:
    assert {name: architecture.name for name, architecture in ZOO.items()} == {name: name for name in SIZES}


def test_two_faces_give_two_raw_embeddings(embedder: Embedder) -> None:
    side, size = SIZES[embedder.name]
    assert (embedder.contract.height, embedder.contract.width) == (side, side)
    with torch.inference_mode():
        embeddings = embedder.backbone.eval()(faces(embedder))
    assert embeddings.shape == (2, size)
    assert (embeddings.norm(dim=1) - 1).abs().min() > 1e-3  # no unit length inside the network


def test_fresh_weights_keep_the_signal_alive(embedder: Embedder) -> None:
    with torch.inference_mode():
        embeddings = embedder.backbone.eval()(faces(embedder))
    assert 1e-3 < embeddings.abs().mean() < 1e5


def test_trains_on_two_faces(embedder: Embedder) -> None:
    backbone = embedder.clone().backbone.to("meta").train()  # shapes without arithmetic
    backbone(faces(embedder).to("meta")).square().mean().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_exports_to_the_same_numbers(embedder: Embedder) -> None:
    backbone, two = embedder.backbone.eval(), faces(embedder)
    program = torch.export.export(backbone, (two,))
    torch.testing.assert_close(program.module()(two), backbone(two), rtol=1e-4, atol=1e-4)


def test_same_seed_same_weights_whatever_the_generator_did_before() -> None:
    torch.manual_seed(1)
    first = create("mobilefacenet", seed=3).backbone.state_dict()
    torch.manual_seed(2)
    second = create("mobilefacenet", seed=3).backbone.state_dict()
    other = create("mobilefacenet", seed=4).backbone.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["stem.0.weight"], other["stem.0.weight"])


def test_creating_leaves_torchs_generator_as_it_was() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    create("mobilefacenet", seed=9)
    assert torch.equal(torch.rand(3), expected)


def test_embedder_remembers_how_it_was_built() -> None:
    embedder = create("mobilefacenet", activation="relu6", width=0.5, embedding_size=64)
    assert embedder.architecture == "mobilefacenet"
    assert embedder.options == {"activation": "relu6", "width": 0.5, "embedding_size": 64}
    assert embedder.embedding_size == 64


def test_width_rounds_channels_to_multiples_of_eight() -> None:
    backbone = create("mobilefacenet", width=0.3).backbone
    widths = {layer.out_channels for layer in backbone.modules() if isinstance(layer, nn.Conv2d)}
    # 64, 128 and 512 times 0.3 are 19.2, 38.4 and 153.6; bottlenecks widen 16 by 2 and 4, 40 by 2 and 4
    assert widths == {16, 32, 64, 40, 80, 160, 152, 128}


def test_relu6_takes_the_place_of_every_prelu() -> None:
    kinds = [type(layer) for layer in create("mobilefacenet", activation="relu6").backbone.modules()]
    assert kinds.count(nn.PReLU) == 0
    assert kinds.count(nn.ReLU6) == 33


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("facenet", {}, "no embedder 'facenet'; known: mobilefacenet, mobilenetv2, resnet50,"),
        ("mobilefacenet", {"depth": 3}, "no option 'depth'; known: activation, embedding_size, width"),
        ("mobilenetv2", {"width": 0.5}, "mobilenetv2 has no option 'width'; it has none"),
        ("mobilefacenet", {"activation": "swish"}, "no activation 'swish'; known: prelu, relu6"),
        ("mobilefacenet", {"width": "0.5"}, "width needs a value such as 1.0, not '0.5'"),
        ("mobilefacenet", {"width": 0}, "width 0 makes no MobileFaceNet"),
        ("mobilefacenet", {"width": float("nan")}, "width nan makes no MobileFaceNet"),
        ("mobilefacenet", {"embedding_size": 0}, "embedding_size 0 leaves no embedding"),
        ("mobilefacenet", {"embedding_size": True}, "embedding_size needs a value such as 128, not True"),
        ("squeezefacenet", {"pools": "never"}, "no pools 'never'; known: early, late"),
        ("resnet50", {"first_stride": 3}, "no first_stride 3; known: 1, 2"),
        ("resnet50v2", {"embedding_size": -1}, "embedding_size -1 leaves no embedding"),
        ("vgg16", {"embedding_size": 0}, "embedding_size 0 leaves no embedding"),
    ],
)
def test_wrong_names_and_options_are_told_in_a_sentence(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as error:
        create(name, **options)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "gone", "own"),
    [
        ("mobilenetv2", {"classifier.1.weight", "classifier.1.bias"}, set()),
        ("resnet50", {"fc.weight", "fc.bias"}, set()),
        (
            "vgg16",
            {f"classifier.{i}.{kind}" for i in (0, 3, 6) for kind in ("weight", "bias")},
            {"embedding.weight", "embedding.bias"},
        ),
    ],
)
def test_torchvisions_weights_fit_by_name_and_shape(name: str, gone: set[str], own: set[str]) -> None:
    embedder = create(name)  # torchvision imports from here on
    import torchvision

    build = torchvision.models.mobilenet_v2 if name == "mobilenetv2" else getattr(torchvision.models, name)
    with torch.device("meta"):
        imagenet = {key: value.shape for key, value in build(weights=None).state_dict().items()}
    ours = {key: value.shape for key, value in embedder.backbone.state_dict().items()}
    assert set(imagenet) - set(ours) == gone
    assert set(ours) - set(imagenet) == own
    assert all(ours[key] == imagenet[key] for key in set(ours) - own)


def test_torchvision_imports_even_after_it_failed_to() -> None:
    script = (
        "try:\n import torchvision\nexcept RuntimeError:\n pass\n"
        "from pocketface.models.torchvision_shim import import_torchvision as load\n"
        "first = load()\n"
        "import torchvision\n"
        "assert load() is first is torchvision and callable(torchvision.models.resnet50)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_zoo_imports_without_torchvision() -> None:
    script = (
        "import sys\n"
        "from pocketface.models.zoo import create\n"
        "create('mobilefacenet')\n"
        "assert 'torchvision' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def two_values(first: float, second: float) -> Tensor:
    return torch.tensor([first, second], dtype=torch.float32).reshape(2, 1, 1, 1)


def test_batch_norms_remember_the_plain_average_of_the_batches() -> None:
    backbone = nn.Sequential(nn.BatchNorm2d(1))
    reestimate_batch_norms(backbone, [two_values(0, 2), two_values(4, 10)])
    norm = backbone[0]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    assert norm.running_mean.item() == 4  # of 1 and 7
    assert norm.running_var.item() == 10  # of 2 and 18, each over n - 1


def test_reestimating_leaves_momentum_and_modes_as_they_were() -> None:
    backbone = nn.Sequential(nn.BatchNorm2d(1, momentum=0.3), nn.Dropout(), nn.BatchNorm2d(1)).train()
    backbone[2].eval()
    reestimate_batch_norms(backbone, [two_values(0, 2)])
    assert backbone[0].momentum == 0.3
    assert [layer.training for layer in backbone] == [True, True, False]


def test_dropout_stays_off_while_batch_norms_are_reestimated() -> None:
    backbone = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm2d(1)).train()
    reestimate_batch_norms(backbone, [two_values(2, 4)])
    norm = backbone[1]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
    assert norm.running_mean.item() == 3


def test_no_batch_leaves_the_batch_norms_alone() -> None:
    backbone = nn.Sequential(nn.BatchNorm2d(1))
    reestimate_batch_norms(backbone, [two_values(0, 2)])
    with pytest.raises(ValueError, match="no batch at all"):
        reestimate_batch_norms(backbone, [])
    norm = backbone[0]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
    assert norm.running_mean.item() == 1


def test_reestimated_batch_norms_spread_a_fresh_networks_embeddings() -> None:
    embedder = create("mobilefacenet")
    reestimate_batch_norms(embedder.backbone, [faces(embedder, batch=8, seed=1)])
    with torch.inference_mode():
        embeddings = embedder.backbone.eval()(faces(embedder, batch=8, seed=1))
    torch.testing.assert_close(embeddings.mean(0), torch.zeros(128), rtol=0, atol=0.1)
    torch.testing.assert_close(embeddings.var(0), torch.ones(128), rtol=0, atol=0.25)

"""A network of shapes alone has every shape and no number, and neither it nor a checkpoint loads torch's compiler."""

import subprocess
import sys

import pytest
import torch

from pocketface.models.complexity import parameters
from pocketface.models.initialisation import shapes_alone
from pocketface.models.zoo import create

COMPILER = "import sys; left = {'sympy', 'torch._dynamo'} & set(sys.modules); assert not left, left"


def test_a_network_of_shapes_has_as_many_parameters_as_one_with_weights() -> None:
    with shapes_alone():
        shapes = create("mobilefacenet", width=0.5).backbone
    assert all(parameter.is_meta for parameter in shapes.parameters())
    assert parameters(shapes) == parameters(create("mobilefacenet", width=0.5).backbone)


def test_weights_are_drawn_as_ever_after_a_network_of_shapes() -> None:
    before = create("mobilefacenet", width=0.5).sha256
    with shapes_alone():
        create("mobilefacenet", width=0.5)
        tensor = torch.empty(3, device="cpu").normal_()  # one with memory is filled inside too
    assert create("mobilefacenet", width=0.5).sha256 == before and tensor.abs().sum() > 0


@pytest.mark.parametrize(
    "work",
    [
        "from pocketface.models.checkpoint import open_embedder; open_embedder('embedded-default')",
        "from pocketface.models.initialisation import shapes_alone; from pocketface.models.zoo import create\n"
        "with shapes_alone(): create('mobilefacenet')",
    ],
)
def test_neither_a_checkpoint_nor_shapes_load_the_compiler(work: str) -> None:
    subprocess.run([sys.executable, "-c", f"{work}\n{COMPILER}"], check=True)

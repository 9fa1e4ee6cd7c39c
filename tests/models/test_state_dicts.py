"""State dicts as face repositories save them: the same network comes out of each wrapping."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pocketface.models.factories import load_weights
from pocketface.models.state_dicts import state_dict_in


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


STATE = {
    "0.weight": torch.arange(6.0).reshape(3, 2),
    "0.bias": torch.ones(3),
    "1.weight": torch.ones(1, 3),
    "1.bias": torch.zeros(1),
}
ADAM = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}


@pytest.mark.parametrize(
    "saved",
    [
        STATE,
        {"state_dict": STATE},
        {"net_state_dict": STATE, "epoch": 1},
        {"model": STATE, "optimizer": ADAM},
        {"state_dict": STATE, "head": {"weight": torch.ones(9, 1)}},
        {"checkpoint": {"model": STATE, "step": 3}},
        {f"module.{name}": tensor for name, tensor in STATE.items()},
        {"model": {f"_orig_mod.module.{name}": tensor for name, tensor in STATE.items()}},
    ],
)
def test_one_state_dict_is_found_however_it_is_wrapped(saved: Any, tmp_path: Path) -> None:
    torch.save(saved, tmp_path / "net.pth")
    net = network()
    load_weights(net, tmp_path / "net.pth")
    # 0 * 1 + 1 * 2 + 1, 2 * 1 + 3 * 2 + 1, 4 * 1 + 5 * 2 + 1: 3 + 9 + 15
    assert net(torch.tensor([[1.0, 2.0]])).tolist() == [[27.0]]


def test_a_classifier_that_is_left_over_is_named_with_how_to_leave_it_out(tmp_path: Path) -> None:
    torch.save({**STATE, "classifier.weight": torch.zeros(10, 1)}, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=r"net\.pth holds the weights of another network") as refused:
        load_weights(network(), tmp_path / "net.pth")
    assert str(refused.value).endswith(
        "'classifier.weight' is not in the network; if it is left over from a classifier, save the state dict without "
        "it: {k: v for k, v in state.items() if not k.startswith('classifier')}"
    )


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    torch.save({"module.0.weight": STATE["0.weight"]}, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=r"net\.pth holds the weights of another network: '0\.bias' is missing"):
        load_weights(network(), tmp_path / "net.pth")


@pytest.mark.parametrize(
    ("saved", "sentence"),
    [
        ({"epoch": 3}, "holds no state dict of tensors; save `model.state_dict()` as safetensors"),
        ([STATE], "holds no state dict of tensors; save `model.state_dict()` as safetensors"),
        (
            {"student": STATE, "teacher": STATE},
            "holds several dicts of tensors, 'student', 'teacher'; save the",
        ),
    ],
)
def test_what_holds_no_one_network_is_said(saved: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"^holds") as refused:
        state_dict_in(saved)
    assert str(refused.value).startswith(sentence)

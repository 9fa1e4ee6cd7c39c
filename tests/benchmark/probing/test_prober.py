"""Probes of networks whose contract is known by construction."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import pocketface as pf
from pocketface.__main__ import main


@pytest.mark.parametrize("labelled", [True, False], ids=["labels", "no labels"])
@pytest.mark.parametrize(
    ("built", "options"),
    [
        ({"low": -1, "high": 1}, "--mean 127.5 --scale 0.00784313725"),
        ({"low": 0, "high": 1, "channel": 2}, "--mean 0 --scale 0.00392156863 --channel-order bgr"),
        ({"low": 0, "high": 255}, "--mean 0 --scale 1"),
    ],
)
def test_the_contract_that_it_was_made_for_is_named(network, folder, built, options, labelled) -> None:
    given = {"pairs": folder / "pairs.csv"} if labelled else {"faces": folder}
    found = pf.probe(network(**built), **given)
    assert found.outcome in ("found", "tie")
    assert found.options == f"{options} --size 24x24"
    assert found.contract is not None and found.contract.height == 24


def test_128_instead_of_127_5_is_as_good_and_is_told(network, folder) -> None:
    found = pf.probe(network(), faces=folder)
    assert [each.scale[0] for each in found.alike] == [1 / 128]
    assert "nearly the same numbers, and as good: (pixel - 127.5) / 128, RGB, 24x24" in found.sentences()


def test_a_network_that_sees_nothing_of_it_gets_no_contract(network, folder) -> None:
    found = pf.probe(network(low=1e4, high=2e4), faces=folder)
    assert (found.outcome, found.contract, found.options) == ("unsure", None, "")
    assert found.sentences()[0].startswith(
        "not sure: net.onnx tells these faces apart by no usual contract much better"
    )


def test_where_the_file_takes_any_size_sizes_are_tried(network, folder) -> None:
    found = pf.probe(network(side="n"), faces=folder)
    assert {(each.contract.height, each.contract.width) for each in found.sizes} >= {(112, 112), (112, 96)}
    assert found.contract is not None and found.contract.mean == (127.5,) * 3


def test_json_is_all_that_is_on_standard_output(network, folder, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["pocketface", "probe", str(network()), "--faces", str(folder), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert told["outcome"] == "found"
    assert told["contract"]["mean"] == [127.5, 127.5, 127.5]
    assert "contracts may be right" in printed.err


def test_pairs_and_faces_together_are_refused(network, folder) -> None:
    with pytest.raises(ValueError, match="give --pairs or --faces, one of them"):
        pf.probe(network(), pairs=folder / "pairs.csv", faces=folder)
    with pytest.raises(ValueError, match="give --pairs or --faces, one of them"):
        pf.probe(network())


def test_what_is_no_network_is_said(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"net\.onnx"):
        pf.probe(tmp_path / "net.onnx", faces=folder)
    with pytest.raises(ValueError, match="there is no file or folder"):
        pf.probe(tmp_path / "no.onnx", faces=folder)


FACTORY = """
import torch
from torch import nn


class Reds(nn.Module):
    def forward(self, x):
        centres = torch.linspace(-0.9, 0.9, 12).reshape(1, 12, 1, 1)
        return (0.1 - (x[:, :1] - centres).abs()).relu().mean((2, 3)) - 0.001


def build():
    net = Reds()
    net.unused = nn.Parameter(torch.zeros(1))
    return net
"""


def test_a_factory_needs_no_contract_here(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "reds.py").write_text(FACTORY, encoding="utf-8")
    found = pf.probe(f"{tmp_path}/reds.py:build", faces=folder, size=(24, 24))
    assert found.options == "--mean 127.5 --scale 0.00784313725 --size 24x24"
    assert found.own is None


def test_an_unknown_contract_points_to_the_probe(network) -> None:
    with pytest.raises(ValueError, match=r"net\.onnx does not say what it must be fed.*`pocketface probe` finds them"):
        pf.open_embedder(network())


def test_separations_are_those_of_the_last_round(network, folder) -> None:
    found = pf.probe(network(), pairs=folder / "pairs.csv")
    crops = [each.crops for each in found.tried]
    assert crops == sorted(crops, reverse=True)
    assert found.tried[0].behind is None
    assert np.isfinite([each.separation for each in found.tried]).all()

"""The usual ways to feed a network: which there are, which are alike, and what they are called."""

import dataclasses

import numpy as np
import pytest

from pocketface.faces.contract import IMAGENET, InputContract
from pocketface.faces.usual_contracts import USUAL, alike, distinct, preprocessing_of


def test_bgr_puts_the_means_of_the_colours_in_its_order() -> None:
    imagenet = next(each for each in USUAL if each.mean == IMAGENET.mean and each.scale == IMAGENET.scale)
    bgr = imagenet.contract("bgr", 112, 96)
    assert bgr.mean == (103.53, 116.28, 123.675)
    assert (bgr.height, bgr.width, bgr.channel_order) == (112, 96, "bgr")
    pixel = np.full((1, 112, 96, 3), (200, 100, 50), np.uint8)
    rgb = imagenet.contract("rgb", 112, 96).preprocess(pixel)[0, :, 0, 0]
    assert bgr.preprocess(pixel)[0, :, 0, 0].tolist() == rgb[::-1].tolist()


def test_of_128_and_127_5_one_is_tried() -> None:
    contracts = [each.contract("rgb", 112, 112) for each in USUAL]
    kept = distinct(contracts)
    assert len(contracts) - len(kept) == 2  # (x - 127.5) / 128 and x / 127.5 have their like
    assert InputContract() in kept and InputContract(scale=(1 / 128,) * 3) not in kept


def test_contracts_of_other_colours_or_sizes_are_not_alike() -> None:
    assert not alike(InputContract(), InputContract(channel_order="bgr"))
    assert not alike(InputContract(), InputContract(128, 128))
    assert not alike(InputContract(), IMAGENET)


@pytest.mark.parametrize("way", USUAL, ids=lambda way: way.name)
def test_numbers_that_were_rounded_keep_their_name(way) -> None:
    for order in ("rgb", "bgr"):
        contract = way.contract(order, 160, 160)
        rounded = tuple(float(f"{scale:.6g}") for scale in contract.scale)
        assert preprocessing_of(dataclasses.replace(contract, scale=rounded)) is way


def test_another_contract_has_no_name() -> None:
    assert preprocessing_of(InputContract(mean=(131.0912, 103.8827, 91.4953), scale=(1.0,) * 3)) is None

"""The fastest way to int8 is kept, of those that are near enough; the trade-off is told."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pocketface.export.artifact import Artifact, ConversionError
from pocketface.export.calibration import PartedFaces
from pocketface.export.tflite.fastest_int8 import FileCost, WayToInt8, fastest_int8, time_here
from pocketface.export.tflite.litert import LiteRTSession
from pocketface.export.tflite.quantise import quantise_tflite
from pocketface.models.embedder import unit

RNG = np.random.default_rng(0)
FACES = RNG.normal(0, 1, (24, 3, 8, 8)).astype(np.float32)
JUDGED = RNG.normal(0, 1, (8, 3, 8, 8)).astype(np.float32)


def never() -> Artifact:
    raise AssertionError("the slow search is not wanted")


def fails() -> Artifact:
    raise ConversionError("no choice of layers comes near")


def costing(**shares: float) -> FileCost:
    """A cost that is known by the name of the file."""
    return FileCost("the table of this test", lambda fp32, path: shares[path.stem])


USUAL = costing(w8a8=0.5, w8=1)


def taken(
    fp32: Artifact, least: float, nearer: Callable[[], Artifact], lines: list[str], cost: FileCost = USUAL
) -> Artifact:
    exact = unit(LiteRTSession(fp32.path).run(JUDGED))
    makers = {
        name: partial(quantise_tflite, fp32, name, fp32.path.with_name(f"{name}.tflite"), FACES)
        for name in ("w8a8", "w8")
    }
    ways = {"w8a8": WayToInt8(makers["w8a8"], nearer), "w8": WayToInt8(makers["w8"])}
    return fastest_int8(fp32.path, ways, PartedFaces(FACES, JUDGED, exact), least, cost, lines.append)


def test_int8_that_a_loud_channel_ruins_gives_way_to_weights_only(net: Callable[..., Artifact], tmp_path: Path) -> None:
    lines: list[str] = []
    artifact = taken(net(tmp_path, loud=200), 0.995, fails, lines)
    assert artifact.card.precision == "w8"
    assert [line.split(":")[0] for line in lines][:2] == ["w8a8", "w8"]
    told = "w8 is the fastest way to int8 with a cosine of 0.995 on 8 faces, by the table of this test"
    assert str(artifact.notes[-len(lines) - 1]) == told
    assert [str(note) for note in artifact.notes[-len(lines) :]] == lines


def test_what_keeps_the_bound_needs_no_slow_search(net: Callable[..., Artifact], tmp_path: Path) -> None:
    lines: list[str] = []
    artifact = taken(net(tmp_path), 0.9, never, lines)
    assert artifact.card.precision == "w8a8" and len(lines) == 2


def test_another_cost_chooses_another_file(net: Callable[..., Artifact], tmp_path: Path) -> None:
    slow_int8 = costing(w8a8=1.2, w8=1)
    assert taken(net(tmp_path), 0.9, never, [], slow_int8).card.precision == "w8"


def test_of_equally_fast_files_the_nearer_to_the_source_is_taken(net: Callable[..., Artifact], tmp_path: Path) -> None:
    assert taken(net(tmp_path), 0.9, never, [], costing(w8a8=0.97, w8=1)).card.precision == "w8"


def test_a_file_costs_here_what_itself_costs(net: Callable[..., Artifact], tmp_path: Path) -> None:
    path = net(tmp_path).path
    assert 0.5 < time_here().share(path, path) < 2


def test_a_file_that_cannot_be_counted_takes_no_part(net: Callable[..., Artifact], tmp_path: Path) -> None:
    def share(fp32: Path, path: Path) -> float:
        if path.stem == "w8a8":
            raise ValueError("on an emulated Cortex-A76: no such kernel")
        return 1.0

    lines: list[str] = []
    artifact = taken(net(tmp_path), 0.9, never, lines, FileCost("what runs", share))
    assert artifact.card.precision == "w8" and lines[0] == "w8a8: on an emulated Cortex-A76: no such kernel"


def test_a_bound_that_nothing_keeps_names_how_near_each_way_comes(net: Callable[..., Artifact], tmp_path: Path) -> None:
    lines: list[str] = []
    with pytest.raises(ConversionError, match=r"no way to int8 keeps a cosine of 1\.0: w8a8: cosine 0\.\d{4}, "):
        taken(net(tmp_path), 1.0, fails, lines)
    assert lines[-1] == "w8a8-mixed: no choice of layers comes near"

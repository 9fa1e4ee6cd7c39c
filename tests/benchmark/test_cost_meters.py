"""Int8 files for phones are chosen by ARM64 instructions where they can be counted, else by time here."""

from pathlib import Path

import pytest

from pocketface.benchmark.arm64.emulator import installed
from pocketface.benchmark.cost_meters import phone_cost
from pocketface.export.tflite.quantise import quantise_tflite

from .arm64.conftest import faces, network


@pytest.mark.skipif(installed() is not None, reason="counts ARM64 instructions, which wants qemu and a compiler")
def test_phones_gain_by_int8_arithmetic_and_not_by_expanded_weights(tmp_path: Path) -> None:
    fp32, cost = network(tmp_path, 2), phone_cost()
    weights, int8 = (quantise_tflite(fp32, kind, tmp_path / f"{kind}.tflite", faces(4)) for kind in ("w8", "w8a8"))
    assert cost.unit == "instructions on an emulated ARM64 a76"
    assert cost.share(fp32.path, fp32.path) == 1
    assert cost.share(fp32.path, weights.path) == pytest.approx(1, abs=0.01)
    assert cost.share(fp32.path, int8.path) < 0.5  # sdot multiplies 16 pairs where fmla has 4


def test_without_an_emulator_time_here_is_taken_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert phone_cost().unit.startswith("CPU time on this machine, as no emulator of ARM64 is here")

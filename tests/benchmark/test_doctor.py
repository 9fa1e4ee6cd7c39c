"""What doctor says."""

import pytest

from pocketface.benchmark.arm64 import emulator as arm64_emulator
from pocketface.benchmark.doctor import arm64


def test_a_machine_without_the_arm64_emulator_is_told_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    finding = arm64()
    assert finding.state.startswith("emulating ARM64 wants qemu-aarch64, aarch64-linux-gnu-gcc, gcc")
    assert finding.remedy.startswith("apt-get install ")
    assert "qemu-user" in finding.remedy


def test_a_machine_with_the_arm64_emulator_has_nothing_to_do() -> None:
    if missing := arm64_emulator.installed():
        pytest.skip(missing)
    assert (arm64().state, arm64().remedy) == ("ok", "")

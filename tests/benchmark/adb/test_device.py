"""Finding and choosing a device with the real `adb`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pocketface.benchmark.adb.device import VanishedError, chosen_device, listed_devices
from pocketface.benchmark.adb.phone import describe_phone

from .conftest import adb
from .loopback import Loopback


def test_the_only_device_is_chosen_and_says_what_it_is(device: Loopback) -> None:
    (found,) = listed_devices()
    assert (found.serial, found.state, found.model) == (device.serial, "device", "Back_1")
    phone = describe_phone(chosen_device())
    assert (phone.model, phone.soc, phone.android, phone.abi) == ("Loop Back 1", "Host", "15", "arm64-v8a")
    assert phone.clusters == "2 x 1.70 GHz, 2 x 2.40 GHz, 1 x 2.90 GHz"
    assert phone.features == ("fp16", "dotprod")


def test_no_device_says_what_would_do(server: None) -> None:
    with pytest.raises(ValueError, match=r"^adb finds no device; connect one and allow USB debugging"):
        chosen_device()


def test_no_adb_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match=r"^there is no program `adb`: apt-get install adb"):
        chosen_device()


def test_of_several_devices_one_must_be_named(connect: Callable[..., Loopback]) -> None:
    one, other = sorted((connect(), connect()), key=lambda device: device.serial)
    with pytest.raises(ValueError, match=r"^adb finds 2 devices, .*; say which with --serial$"):
        chosen_device()
    assert chosen_device(other.serial).serial == other.serial
    with pytest.raises(ValueError, match=f"^adb finds no device phone; there is {one.serial}, {other.serial}$"):
        chosen_device("phone")


def test_a_device_that_does_not_trust_this_computer(connect: Callable[..., Loopback]) -> None:
    device = connect(authorised=False)
    with pytest.raises(ValueError, match=f"^{device.serial} does not trust this computer; unlock it and accept"):
        chosen_device()


def test_a_device_that_is_offline(device: Loopback) -> None:
    device.silent = True
    device.cut()
    with pytest.raises(ValueError, match=f"^{device.serial} is offline; plug it in again"):
        chosen_device()


def test_what_is_pushed_comes_back_and_a_status_too(device: Loopback, tmp_path: Path) -> None:
    sent, back = tmp_path / "sent", tmp_path / "back"
    sent.write_bytes(bytes(range(256)) * 4000)
    phone = chosen_device()
    phone.push([sent], "/data/local/tmp")
    phone.pull("/data/local/tmp/sent", back)
    assert back.read_bytes() == sent.read_bytes()
    answer = phone.shell("echo one; echo two >&2; exit 7")
    assert (answer.text, answer.status) == ("one\ntwo\n", 7)
    assert phone.shell("printf %s '$HOME & #'").text == "$HOME & #"
    with pytest.raises(ValueError, match=r"^missing cannot be fetched from the device: failed to stat"):
        phone.pull("/data/local/tmp/missing", back)
    with pytest.raises(ValueError, match=r"^the device does not take sent: "):
        phone.push([sent], "/proc/cpuinfo/no/such/")


def test_a_device_that_is_gone_is_told_from_a_command_that_fails(device: Loopback) -> None:
    phone = chosen_device()
    assert phone.shell("false").status == 1
    device.vanish()
    with pytest.raises(VanishedError, match="vanished before its answer was complete"):
        phone.shell("true")
    assert adb("devices").count(device.serial) <= 1

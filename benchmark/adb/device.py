"""A device that the `adb` program reaches: shell, push and pull, each with a time limit and one sentence if it fails.

Tested with the real `adb` against a loopback device that speaks its protocol; no phone was used.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...children import run_child, signal_name

REMEDY = "apt-get install adb, or Android's platform tools"
PATIENCE = 30.0  # seconds for a call that should take a moment
PROBE = 5.0  # seconds to answer after a call that took too long
SLOWEST_LINK = 1 << 20  # bytes per second: a push that is slower counts as hung
LONGEST_ANSWER = 1 << 18  # bytes of a command's output, the last ones
LONGEST_TEXT = 160  # characters of what a device says, in a sentence
EXIT = "pocketface-exit"
NO_DEVICE = "adb finds no device; connect one and allow USB debugging in its developer options"
STATES = {
    "offline": "is offline; plug it in again, or restart `adb`",
    "unauthorized": "does not trust this computer; unlock it and accept the question on its screen",
    "no permissions": "may not be opened by this user; its udev rules are missing",
}


class VanishedError(ValueError):
    """The device cannot be reached any more: it will answer nothing else."""


@dataclass(frozen=True)
class ListedDevice:
    """A line of `adb devices -l`."""

    serial: str
    state: str  # "device" if it can be used
    model: str = ""

    @property
    def trouble(self) -> str:
        """Why it cannot be used; empty if it can."""
        if self.state == "device":
            return ""
        return f"{self.serial} {STATES.get(self.state, f'is in state {self.state!r}; start Android on it')}"


@dataclass(frozen=True)
class Answer:
    """What a command on the device printed, errors included, and its exit status."""

    text: str
    status: int

    @property
    def failure(self) -> str:
        """What went wrong, in a few words; empty if nothing did."""
        if not self.status:
            return ""
        lines = [clean(line) for line in self.text.splitlines() if line.strip()]
        said = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "")
        if self.status == 127:
            return f"it is not there: {said}"
        if self.status == 126:
            return f"the device refuses to execute it: {said}"
        if self.status > 128:
            return f"it was ended by {signal_name(self.status - 128)}"
        return f"it ends with status {self.status}: {said or 'it says nothing'}"


@dataclass(frozen=True)
class Device:
    """A device that is connected."""

    serial: str

    def shell(self, command: str, patience: float = PATIENCE) -> Answer:
        """Runs a line in the device's shell.

        Args:
            command: For `sh`; quote what is not yours.
            patience: Seconds until the device counts as hung.

        Raises:
            VanishedError: No answer, or not all of it.
            ValueError: The command takes too long; it may go on.
        """
        # The status is printed: devices before Android 7 return none, and without it the connection must have broken.
        status = f"printf '\\n{EXIT} %s\\n' $?"
        line = f"{{ ( {command}\n) 2>&1 </dev/null; {status}; }} | tail -c {LONGEST_ANSWER}"
        output, _ = self._adb("shell", line, patience=patience)
        text, matches, number = output.rpartition(f"\n{EXIT} ")
        if not matches or not number.strip().isdigit():
            raise self._vanished(output)
        return Answer(text, int(number))

    def push(self, files: Sequence[Path], folder: str) -> None:
        """Copies files into a folder on the device.

        Raises:
            VanishedError: The device is gone.
            ValueError: It has no room for them, or refuses them.
        """
        total = sum(file.stat().st_size for file in files)
        names = ", ".join(file.name for file in files)
        room = self.room_bytes(folder)
        if room is not None and total > room:
            raise ValueError(f"the device has no room for {names}: {_mb(total)} are wanted, {_mb(room)} are free")
        patience = PATIENCE + total / SLOWEST_LINK
        failed = self._transfer("push", *(str(file.absolute()) for file in files), folder, patience=patience)
        if "No space left" in failed:
            raise ValueError(f"the device is full: {names} ({_mb(total)}) did not fit")
        if failed:
            raise ValueError(f"the device does not take {names}: {failed}")

    def pull(self, path: str, to: Path) -> None:
        """Copies a file from the device.

        Raises:
            VanishedError: The device is gone.
            ValueError: The file cannot be read.
        """
        failed = self._transfer("pull", path, str(to), patience=2 * PATIENCE)
        if failed or not to.is_file():
            raise ValueError(f"{Path(path).name} cannot be fetched from the device: {failed or 'it is no file'}")

    def room_bytes(self, folder: str) -> int | None:
        """Gives the free bytes of the file system of `folder`; None where the device does not say."""
        answer = self.shell(f"df -kP {shlex.quote(folder)}")
        words = answer.text.splitlines()[-1].split() if answer.text.strip() else []
        return int(words[3]) * 1024 if not answer.status and len(words) > 4 and words[3].isdigit() else None

    def _transfer(self, *words: str, patience: float) -> str:
        """Gives why a push or pull failed; empty if it did not."""
        output, status = self._adb(*words, patience=patience)
        failed = _error(output) or (f"adb ends with status {status}" if status else "")
        if failed and self._state() != "device":
            raise self._vanished(failed)
        return failed

    def _adb(self, *words: str, patience: float) -> tuple[str, int]:
        try:
            return _call("-s", self.serial, *words, patience=patience)
        except subprocess.TimeoutExpired:
            slow = f"did not finish `adb {words[0]}` within {patience:.0f} s"
        try:
            _call("-s", self.serial, "shell", "echo", patience=PROBE)
        except subprocess.TimeoutExpired:
            raise VanishedError(f"the phone {slow} and answers nothing else") from None
        raise ValueError(f"the phone {slow}")

    def _state(self) -> str:
        try:
            return next((one.state for one in listed_devices() if one.serial == self.serial), "")
        except ValueError:
            return ""

    def _vanished(self, output: str) -> VanishedError:
        state = self._state()
        if state in STATES and state != "offline":
            return VanishedError(f"the phone {STATES[state]}")
        gone = {"": "vanished", "offline": "vanished", "device": "broke the connection"}.get(state, f"is now {state!r}")
        said = clean(output.strip().splitlines()[-1]) if output.strip() else "nothing"
        return VanishedError(f"the phone {gone} before its answer was complete; adb says {said!r}")


def listed_devices() -> list[ListedDevice]:
    """Gives the devices that adb knows, usable or not; starts adb's server where there is none.

    Raises:
        ValueError: There is no adb, or it does not answer.
    """
    try:
        output, status = _call("devices", "-l", patience=PATIENCE)
    except subprocess.TimeoutExpired:
        raise ValueError(f"`adb devices` did not answer within {PATIENCE:.0f} s; try `adb kill-server`") from None
    if status:
        raise ValueError(f"`adb devices` fails: {_error(output) or clean(output)}")
    lines = output.partition("List of devices attached")[2].splitlines()
    return [_listed(line) for line in lines if line.strip() and not line.startswith("*")]


def chosen_device(serial: str | None = None) -> Device:
    """Gives the device of that serial number; without one, the only device there is.

    Raises:
        ValueError: No adb, no such device, several to choose from, or one that cannot be used; says what would do.
    """
    devices = listed_devices()
    matches = [one for one in devices if serial is None or one.serial == serial]
    serials = ", ".join(one.serial for one in devices)
    if not matches:
        raise ValueError(f"adb finds no device {serial}; there is {serials}" if serials else NO_DEVICE)
    if len(matches) > 1:
        raise ValueError(f"adb finds {len(matches)} devices, {serials}; say which with --serial")
    (one,) = matches
    if one.trouble:
        raise ValueError(one.trouble)
    return Device(one.serial)


def clean(text: str) -> str:
    """Makes a line of the device's text fit for a sentence: printable, at most `LONGEST_TEXT` characters."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.split())[:LONGEST_TEXT]


def _listed(line: str) -> ListedDevice:
    serial, _, rest = line.partition(" ") if "\t" not in line else line.partition("\t")
    rest = rest.strip()
    state = "no permissions" if rest.startswith("no permissions") else rest.split(" ")[0]
    model = re.search(r"\bmodel:(\S+)", rest)
    return ListedDevice(clean(serial), clean(state), clean(model[1]) if model else "")


def _call(*words: str, patience: float) -> tuple[str, int]:
    """Gives what adb printed and its exit status; adb is killed when it takes too long."""
    program = shutil.which("adb")
    if program is None:
        raise ValueError(f"there is no program `adb`: {REMEDY}")
    process = run_child([program, *words], timeout=patience, merged=True)
    return process.stdout, process.returncode


def _error(output: str) -> str:
    errors = [line.rpartition("error:")[2] for line in output.splitlines() if "error:" in line]
    return clean(errors[-1]) if errors else ""


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"

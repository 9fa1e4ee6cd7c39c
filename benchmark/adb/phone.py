"""A phone: its name, its cores and which of them to use, its temperature and clock at the moment."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from .device import NO_DEVICE, Device, clean, listed_devices

CPU, THERMAL = "/sys/devices/system/cpu", "/sys/class/thermal"
PROPERTIES = (
    "ro.product.manufacturer",
    "ro.product.model",
    "ro.soc.model",
    "ro.board.platform",
    "ro.build.version.release",
    "ro.product.cpu.abi",
)
FEATURES = {"asimdhp": "fp16", "asimddp": "dotprod", "i8mm": "i8mm"}  # as Linux names them: as Arm does
MOST_CORES = 64
CHIP = "cpu|soc|big|mid|little|cluster|tsens"  # in the names of sensors of the processor
DEGREES = (1.0, 150.0)  # a sensor beyond is broken, or measures something else


@dataclass(frozen=True)
class PhoneCore:
    """One core of the phone."""

    number: int
    megahertz: int  # the most it runs at; 0 where the phone does not say


@dataclass(frozen=True)
class Phone:
    """What the phone says of itself."""

    model: str  # "Google Pixel 8"
    soc: str  # "Tensor G3"
    android: str  # "15"
    abi: str  # "arm64-v8a"
    serial_hash: str  # six hexadecimal digits that distinguish two phones of one model without naming them
    cores: tuple[PhoneCore, ...]
    features: tuple[str, ...]  # "dotprod", "i8mm", "fp16": what makes int8 and fp16 fast

    def __str__(self) -> str:
        """What rows call the device: "Google Pixel 8 (Tensor G3), Android 15, serial hash 3f9a1c"."""
        return f"{self.model} ({self.soc}), Android {self.android}, serial hash {self.serial_hash}"

    @property
    def clusters(self) -> str:
        """The cores by their speed: "4 x 1.70 GHz, 4 x 2.37 GHz, 1 x 2.91 GHz"."""
        speeds = sorted({core.megahertz for core in self.cores})
        counts = {speed: sum(core.megahertz == speed for core in self.cores) for speed in speeds}
        return ", ".join(
            f"{count} x {speed / 1000:.2f} GHz" if speed else f"{count} cores" for speed, count in counts.items()
        )

    def pinned(self, cores: str, threads: int) -> tuple[int, ...]:
        """Gives the numbers of the cores to run on.

        Args:
            cores: "big": the fastest kind, and the next where that has fewer cores than threads; "all"; or a mask in
                hexadecimal, as taskset takes it: "f0" is cores 4 to 7.
            threads: So many run at once.

        Raises:
            ValueError: The mask is malformed, names a core that is not there, or fewer cores than threads.
        """
        there = {core.number for core in self.cores}
        if cores == "all":
            numbers = there
        elif cores == "big":
            numbers = set()
            for speed in sorted({core.megahertz for core in self.cores}, reverse=True):
                numbers |= {core.number for core in self.cores if core.megahertz == speed}
                if len(numbers) >= threads:
                    break
        else:
            if not re.fullmatch("(0x)?[0-9a-fA-F]{1,16}", cores) or not (mask := int(cores, 16)):
                raise ValueError(f"no cores {cores!r}; they are big, all, or a hexadecimal mask such as f0")
            numbers = {number for number in range(MOST_CORES) if mask >> number & 1}
            if numbers - there:
                raise ValueError(f"mask {cores} names core {max(numbers - there)}; the phone has {_ranges(there)}")
        if len(numbers) < threads:
            raise ValueError(f"{threads} threads want as many cores; of {cores!r} there are {len(numbers)}")
        return tuple(sorted(numbers))


@dataclass(frozen=True)
class PhoneState:
    """How the phone is doing."""

    celsius: float | None  # the hottest sensor of the processor, else of any part; None where none can be read
    megahertz: int | None  # the fastest of the cores asked for: others may be idle


def describe_phone(device: Device) -> Phone:
    """Asks a phone what it is.

    Raises:
        VanishedError: It does not answer.
        ValueError: It answers nonsense.
    """
    command = "; ".join(f'echo "{name}=$(getprop {name})"' for name in PROPERTIES)
    values = dict(line.partition("=")[::2] for line in device.shell(command).text.splitlines() if "=" in line)
    properties = {name: clean(value) or "unknown" for name, value in values.items()}
    model = properties.get("ro.product.model", "unknown")
    maker = properties.get("ro.product.manufacturer", "unknown")
    soc = properties.get("ro.soc.model", "unknown")
    frequencies = device.shell(
        f"for core in {CPU}/cpu[0-9]*; do "
        'echo "core ${core##*/cpu} $(cat $core/cpufreq/cpuinfo_max_freq 2>/dev/null)"; done; cat /proc/cpuinfo'
    ).text
    cores = tuple(
        PhoneCore(int(number), int(kilohertz or 0) // 1000)
        for number, kilohertz in re.findall(r"^core (\d{1,2}) (\d{0,9})$", frequencies, re.MULTILINE)
        if int(number) < MOST_CORES
    )
    if not cores:
        raise ValueError(f"the phone tells no cores: {clean(frequencies) or 'it says nothing'}")
    flags = set(re.findall(r"\w+", " ".join(re.findall(r"^Features\s*:(.*)$", frequencies, re.MULTILINE))))
    return Phone(
        model=model if maker == "unknown" or model.lower().startswith(maker.lower()) else f"{maker} {model}",
        soc=properties.get("ro.board.platform", "unknown") if soc == "unknown" else soc,
        android=properties.get("ro.build.version.release", "unknown"),
        abi=properties.get("ro.product.cpu.abi", "unknown"),
        serial_hash=hashlib.sha256(device.serial.encode()).hexdigest()[:6],
        cores=tuple(sorted(cores, key=lambda core: core.number)),
        features=tuple(name for flag, name in FEATURES.items() if flag in flags),
    )


def phone_sentences() -> list[str]:
    """Describes each device that adb finds, or says why it cannot be used; a line each.

    Raises:
        ValueError: There is no adb, or it finds none.
    """
    if not (found := listed_devices()):
        raise ValueError(NO_DEVICE)
    return [one.trouble or _sentence(one.serial) for one in found]


def state_command(cores: Sequence[int]) -> str:
    """Gives the shell line whose output `read_state` reads; it takes some milliseconds."""
    # speeds first, before the cores rest; `read`, because a phone has a hundred zones and starting `cat` takes 5 ms
    numbers = " ".join(map(str, cores))
    return (
        f"for core in {numbers}; do s=; "
        f'{{ read -r s <{CPU}/cpu$core/cpufreq/scaling_cur_freq; }} 2>/dev/null; echo "speed $s"; done; '
        f"for zone in {THERMAL}/thermal_zone*; do n=; t=; "
        '{ read -r n <$zone/type; read -r t <$zone/temp; } 2>/dev/null; echo "zone $n $t"; done'
    )


def battery_command() -> str:
    """Gives the line for phones that hide their thermal zones, as many do since Android 10."""
    return "dumpsys battery 2>/dev/null | grep temperature"


def read_state(text: str) -> PhoneState:
    """Reads the lines of `state_command` or `battery_command`, wherever they stand in `text`."""
    told = [(name, float(value)) for name, value in re.findall(r"^zone (\S+) (-?\d{1,9})$", text, re.MULTILINE)]
    # most phones give thousandths of a degree
    zones = [(name, value / 1000 if abs(value) >= 1000 else value) for name, value in told]
    zones += [("battery", int(tenths) / 10) for tenths in re.findall(r"^\s*temperature: (\d{1,5})\s*$", text, re.M)]
    temperatures = [(name, degrees) for name, degrees in zones if DEGREES[0] <= degrees <= DEGREES[1]]
    chip = [degrees for name, degrees in temperatures if re.search(CHIP, name.lower())]
    kilohertz = [int(value) for value in re.findall(r"^speed (\d{1,9})$", text, re.MULTILINE)]
    return PhoneState(
        max(chip or [degrees for _, degrees in temperatures], default=None),
        max(kilohertz) // 1000 if kilohertz else None,
    )


def _sentence(serial: str) -> str:
    try:
        phone = describe_phone(Device(serial))
    except ValueError as error:
        return f"{serial}: {error}"
    return f"{serial}: {phone}; {phone.clusters}; {' '.join(phone.features) or 'no dotprod, no i8mm'}"


def _ranges(numbers: set[int]) -> str:
    return f"cores {min(numbers)} to {max(numbers)}" if len(numbers) > 1 else f"core {min(numbers)}"

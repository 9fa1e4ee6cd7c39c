"""Which cores of a phone are used, and what is read of its state."""

import pytest

from pocketface.benchmark.adb.phone import Phone, PhoneCore, read_state

SPEEDS = (1704, 1704, 1704, 1704, 2367, 2367, 2367, 2367, 2914)
PHONE = Phone("Pixel 8", "Tensor G3", "15", "arm64-v8a", "3f9a1c", tuple(map(PhoneCore, range(9), SPEEDS)), ("i8mm",))


@pytest.mark.parametrize(
    ("cores", "threads", "taken"),
    [
        ("big", 1, (8,)),
        ("big", 2, (4, 5, 6, 7, 8)),
        ("big", 6, (0, 1, 2, 3, 4, 5, 6, 7, 8)),
        ("all", 1, (0, 1, 2, 3, 4, 5, 6, 7, 8)),
        ("f0", 4, (4, 5, 6, 7)),
        ("0x101", 2, (0, 8)),
    ],
)
def test_cores_to_run_on(cores: str, threads: int, taken: tuple[int, ...]) -> None:
    assert PHONE.pinned(cores, threads) == taken


@pytest.mark.parametrize(
    ("cores", "threads", "reason"),
    [
        ("small", 1, "no cores 'small'; they are big, all, or a hexadecimal mask such as f0"),
        ("0", 1, "no cores '0'"),
        ("1; rm -rf /", 1, "no cores '1; rm -rf /'"),
        ("200", 1, "mask 200 names core 9; the phone has cores 0 to 8"),
        ("3", 4, "4 threads want as many cores; of '3' there are 2"),
        ("big", 10, "10 threads want as many cores; of 'big' there are 9"),
    ],
)
def test_cores_that_the_phone_has_not(cores: str, threads: int, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}"):
        PHONE.pinned(cores, threads)


def test_a_phone_names_its_kind_and_not_itself() -> None:
    assert str(PHONE) == "Pixel 8 (Tensor G3), Android 15, serial hash 3f9a1c"
    assert PHONE.clusters == "4 x 1.70 GHz, 4 x 2.37 GHz, 1 x 2.91 GHz"


@pytest.mark.parametrize(
    ("text", "celsius", "megahertz"),
    [
        ("speed 1704000\nspeed 2914000\nzone battery 29000\nzone cpu-0-0 41500\nzone modem 55000", 41.5, 2914),
        ("speed \nzone skin 35\nzone pa-therm 36\n", 36.0, None),  # degrees; no zone of the processor
        ("zone cpu0 -274000\nzone cpu1 999000\nzone cpu2 0\nzone cpu3 \nzone  \n", None, None),  # broken sensors
        ("  temperature: 305\n", 30.5, None),  # of the battery, as dumpsys says it
        ("sh: no such file\n", None, None),
    ],
)
def test_the_state_is_read_from_what_the_phone_tells(text: str, celsius: float | None, megahertz: int | None) -> None:
    state = read_state(text)
    assert (state.celsius, state.megahertz) == (celsius, megahertz)

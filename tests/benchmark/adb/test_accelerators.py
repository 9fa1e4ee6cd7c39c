"""What benchmark_model says about how much of a network an accelerator ran, in its own words."""

import pytest

from pocketface.benchmark.adb.accelerators import ACCELERATORS, AcceleratorName

GPU = "INFO: Explicitly applied GPU delegate, and the model graph will be"
NNAPI = "INFO: Though NNAPI delegate is explicitly applied, the model graph will not be executed by the delegate.\n"


@pytest.mark.parametrize(
    ("name", "text", "taken"),
    [
        ("gpu", f"{GPU} completely executed by the delegate.", "completely"),
        ("gpu-fp32", f"{GPU} partially executed by the delegate w/ 3 delegate kernels.", "partially"),
        ("gpu", f"{NNAPI}{GPU} completely executed by the delegate.", "completely"),
        ("gpu", "INFO: count=2", "untold"),
        ("cpu", NNAPI, ""),
        ("cpu-fp16", "INFO: Explicitly applied XNNPACK delegate, and the model graph will be completely", ""),
    ],
)
def test_the_part_that_it_took_is_told(name: AcceleratorName, text: str, taken: str) -> None:
    assert ACCELERATORS[name].taken(text) == taken


def test_what_it_refused_is_an_error() -> None:
    with pytest.raises(ValueError, match="the NNAPI delegate takes no part of it, and the CPU ran it instead"):
        ACCELERATORS["nnapi"].taken(NNAPI)

"""What runs a network on a phone: the CPU, the GPU, or what Android's NNAPI offers; a line in `ACCELERATORS` each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

AcceleratorName = Literal["cpu", "cpu-fp16", "gpu", "gpu-fp32", "nnapi"]

NOT_TAKEN = r"Though {delegate} delegate is explicitly applied, the model graph will not be executed"
TAKEN = r"Explicitly applied {delegate} delegate, and the model graph will be (completely|partially) executed"


@dataclass(frozen=True)
class Accelerator:
    """A way to run a network, in benchmark_model's words."""

    flags: str
    delegate: str = ""  # as benchmark_model names it; "" where nothing but the CPU can run the network

    def taken(self, text: str) -> str:
        """Says how much of the network it ran, by what benchmark_model printed.

        What a delegate refuses runs on the CPU, whose times look plausible: that is an error here.

        Args:
            text: The output.

        Returns:
            "completely", "partially", "untold" by versions that do not say, or "" for the CPU.

        Raises:
            ValueError: It ran nothing of it.
        """
        if not self.delegate:
            return ""
        if re.search(NOT_TAKEN.format(delegate=self.delegate), text):
            raise ValueError(f"the {self.delegate} delegate takes no part of it, and the CPU ran it instead")
        told = re.search(TAKEN.format(delegate=self.delegate), text)
        return told[1] if told else "untold"


ACCELERATORS: Mapping[AcceleratorName, Accelerator] = {
    "cpu": Accelerator("--use_xnnpack=true"),
    "cpu-fp16": Accelerator("--use_xnnpack=true --xnnpack_force_fp16=true"),
    "gpu": Accelerator("--use_gpu=true", "GPU"),  # in half precision
    "gpu-fp32": Accelerator("--use_gpu=true --gpu_precision_loss_allowed=false", "GPU"),
    "nnapi": Accelerator("--use_nnapi=true --disable_nnapi_cpu=true", "NNAPI"),
}
"""Flags as the README of TensorFlow's TFLite Model Benchmark Tool and that of its delegate providers have them."""

assert tuple(ACCELERATORS) == get_args(AcceleratorName)


def phone_runtime(tool: str, accelerator: AcceleratorName = "cpu") -> str:
    """Gives the runtime that rows of a phone name.

    >>> phone_runtime("benchmark_model"), phone_runtime("benchmark_model", "gpu")
    ('adb benchmark_model', 'adb benchmark_model gpu')
    """
    return f"adb {tool}" if accelerator == "cpu" else f"adb {tool} {accelerator}"

"""What runs on this machine, what is missing, and the line that installs it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..children import last_line, run_child
from .arm64 import emulator as arm64_emulator
from .machine import device_name


@dataclass(frozen=True)
class Finding:
    """One part of the toolchain."""

    part: str
    state: str  # "ok 2.13.0", "missing", "broken: ..."
    remedy: str = ""  # the exact line, empty if nothing is wrong


CORE_ML = "pocketface.export.coreml.package:import_coremltools"  # without the seconds of what is not used

# part, distribution, module to import or how to load it, what installs it
PARTS: tuple[tuple[str, str, str, str], ...] = (
    ("PyTorch", "torch", "torch", "pip install pocketface"),
    ("Torch-Pruning", "torch-pruning", "torch_pruning", "pip install pocketface"),
    ("ONNX", "onnx", "onnx", "pip install pocketface"),
    ("ONNX exporter", "onnxscript", "onnxscript", "pip install pocketface"),
    ("onnxsim", "onnxsim", "onnxsim", "pip install pocketface"),
    ("ONNX Runtime", "onnxruntime", "onnxruntime", "pip install pocketface"),
    ("LiteRT", "ai-edge-litert", "ai_edge_litert.interpreter", "pip install pocketface"),
    ("LiteRT quantizer", "ai-edge-quantizer", "ai_edge_quantizer.quantizer", "pip install pocketface"),
    ("Core ML converter", "coremltools", CORE_ML, "pip install pocketface  # no wheel for Windows"),
    ("TensorFlow Lite (second opinion)", "tensorflow", "tensorflow", "pip install 'pocketface[tensorflow]'"),
    ("ExecuTorch", "executorch", "executorch", "pip install 'pocketface[executorch]'"),
    ("OpenCV (align)", "opencv-python-headless", "cv2", "pip install 'pocketface[align]'"),
)


def examine() -> list[Finding]:
    """Looks at everything that a stage may need; nothing is installed or changed."""
    with ThreadPoolExecutor() as pool:
        packages = list(pool.map(lambda part: package(*part), PARTS))
    return [machine(), *packages, torchvision(), core_ml(), arm64(), *(tool(*row) for row in TOOLS)]


def machine() -> Finding:
    """Names the interpreter and the processor."""
    return Finding("machine", f"{device_name()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}")


def package(part: str, distribution: str, module: str, remedy: str) -> Finding:
    """Imports a package, as a stage would; `module` may be "module:function", which does so."""
    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        if distribution == "tensorflow":
            return package(part, "tensorflow-cpu", module, remedy)
        return Finding(part, "missing", remedy)
    name, _, function = module.partition(":")
    code = f"from {name} import {function} as load; load()" if function else f"import {name}"
    return _imported(part, version, code, f"pip install --force-reinstall {distribution}")


def torchvision() -> Finding:
    """Imports torchvision the way the zoo does, also beside a CPU-only torch."""
    version = importlib.metadata.version("torchvision")
    code = "from pocketface.models.torchvision_shim import import_torchvision as f; f()"
    return _imported("torchvision", version, code, "pip install pocketface")


def core_ml() -> Finding:
    """Tells whether Core ML files can be run or only evaluated."""
    if platform.system() == "Darwin":
        return Finding("Core ML runtime", "ok: this is a Mac")
    return Finding(
        "Core ML runtime",
        "absent: Core ML files are evaluated for numerics, their latency is not measured",
        "measure them on a Mac",
    )


def arm64() -> Finding:
    """Tells whether instructions of phone cores can be counted."""
    missing = arm64_emulator.installed()
    return Finding("ARM64 emulator", missing, arm64_emulator.REMEDY) if missing else Finding("ARM64 emulator", "ok")


TOOLS: tuple[tuple[str, str, str], ...] = (
    ("C++ compiler (torch-compiled)", "c++", "apt-get install g++"),
    ("Chromium (browser tests)", "chromium", "apt-get install chromium chromium-driver"),
    ("adb (phones)", "adb", "apt-get install adb"),
)


def tool(part: str, command: str, remedy: str) -> Finding:
    """Looks for a program on the path."""
    return Finding(part, "ok") if shutil.which(command) else Finding(part, "missing", remedy)


def _imported(part: str, version: str, code: str, remedy: str) -> Finding:
    # in a process of its own: a broken library may crash it, and some greet at length
    process = run_child([sys.executable, "-c", code])
    if process.returncode:
        return Finding(part, f"broken {version}: {last_line(process)}", remedy)
    return Finding(part, f"ok {version}")

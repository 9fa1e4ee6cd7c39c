"""Phone cores to emulate: their settings for qemu, and the files in which ARM64 Linux describes a core to programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...spelling import known_names

ARMV8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32"
ARMV8_2 = f"{ARMV8} atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
ARMV9 = f"{ARMV8_2} sha3 sha512 asimdfhm dit uscat ilrcpc flagm ssbs sb dcpodp flagm2 frint i8mm bf16"


@dataclass(frozen=True)
class Core:
    """One core of a phone's processor.

    A runtime chooses its kernels by the available instructions (qemu emulates no others) and, for some fp32 kernels,
    by the name of the core.
    """

    name: str
    part: int  # what Arm calls it in the register MIDR_EL1; source: the core's Technical Reference Manual
    qemu: str  # of qemu-aarch64 -cpu: has these instructions
    features: str  # the same, as Linux names them
    level2_kib: int
    megahertz: int

    @property
    def has_int8_dot_products(self) -> bool:
        """Whether it has sdot, which int8 kernels are fast by."""
        return "asimddp" in self.features.split()

    def files(self) -> Mapping[str, str]:
        """Gives the text of the files that describe a phone with one such core, by their path below the root."""
        cpu = "sys/devices/system/cpu"
        cpuinfo = {
            "processor": "0",
            "Features": self.features,
            "CPU implementer": "0x41",  # Arm
            "CPU architecture": "8",
            "CPU variant": "0x1",
            "CPU part": f"0x{self.part:03x}",
            "CPU revision": "0",
        }
        return {
            "proc/cpuinfo": "".join(f"{key}\t: {value}\n" for key, value in cpuinfo.items()),
            f"{cpu}/kernel_max": "0\n",
            f"{cpu}/possible": "0\n",
            f"{cpu}/present": "0\n",
            f"{cpu}/cpu0/cpufreq/cpuinfo_max_freq": f"{self.megahertz}000\n",
            f"{cpu}/cpu0/cpufreq/cpuinfo_min_freq": "300000\n",
            f"{cpu}/cpu0/topology/physical_package_id": "0\n",
            f"{cpu}/cpu0/topology/cluster_cpus_list": "0\n",
            f"{cpu}/cpu0/cache/index2/level": "2\n",
            f"{cpu}/cpu0/cache/index2/size": f"{self.level2_kib}K\n",
            f"{cpu}/cpu0/cache/index2/shared_cpu_list": "0\n",
        }

    def write(self, folder: Path, libraries: Path) -> None:
        """Makes `folder` a root for qemu: the files of this core, and ARM64 system libraries under lib."""
        for name, text in self.files().items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        (folder / "lib").symlink_to(libraries)


# qemu 7.2 knows no Cortex-A55, but the A76 has the same instructions; nor cores with 8-bit matrix multiplication
# (i8mm): its `max` has that, and also SVE and SME, which no core of these phones offers to LiteRT's kernels.
CORES: dict[str, Core] = {
    "a53": Core("Cortex-A53", 0xD03, "cortex-a53", ARMV8, 512, 1800),
    "a55": Core("Cortex-A55", 0xD05, "cortex-a76", ARMV8_2, 128, 1800),
    "a76": Core("Cortex-A76", 0xD0B, "cortex-a76", ARMV8_2, 512, 2400),
    "i8mm": Core("Cortex-A710", 0xD47, "max,sve=off,sme=off", ARMV9, 512, 2500),
}


def emulated_runtime(core: str, runtime: str = "litert") -> str:
    """Gives what rows call a runtime on an emulated core."""
    return f"{runtime}-arm64-{core}"


def core_of(name: str) -> Core:
    """Gives the core of that name.

    Raises:
        ValueError: There is none.
    """
    if name not in CORES:
        raise ValueError(f"no core {name!r} to emulate; {known_names(name, CORES)}")
    return CORES[name]

"""Stage 3: size, latency and verification accuracy of the files that ship, and the report."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .measurement import Measurement as Measurement
    from .measurement import read_measurements as read_measurements
    from .measurement import write_measurements as write_measurements
    from .recipe import BenchmarkRecipe as BenchmarkRecipe
    from .report.frame import to_frame as to_frame
    from .runner import benchmark as benchmark
    from .runner import benchmark_files as benchmark_files
    from .subjects import Subject as Subject

_MODULES = {
    ".report.frame": ["to_frame"],
    ".measurement": ["Measurement", "read_measurements", "write_measurements"],
    ".recipe": ["BenchmarkRecipe"],
    ".runner": ["benchmark", "benchmark_files"],
    ".subjects": ["Subject"],
}
__all__, __getattr__, __dir__ = lazy_names(__name__, _MODULES)

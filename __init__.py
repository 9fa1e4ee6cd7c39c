"""pocketface: a trained face embedder goes in; files that a phone app ships come out, measured on faces."""

from typing import TYPE_CHECKING, Any

from .lazy import lazy_names

if TYPE_CHECKING:
    from .benchmark.measurement import Measurement as Measurement
    from .benchmark.recipe import BenchmarkRecipe as BenchmarkRecipe
    from .benchmark.report.frame import to_frame as to_frame
    from .chain import run as run
    from .contract_probe import probe as probe
    from .export.artifact import Artifact as Artifact
    from .export.recipe import ExportRecipe as ExportRecipe
    from .faces.contract import ARCFACE as ARCFACE
    from .faces.contract import IMAGENET as IMAGENET
    from .faces.contract import InputContract as InputContract
    from .faces.pairs import read_pairs as read_pairs
    from .faces.shards import read_faces as read_faces
    from .inputs import open_embedder as open_embedder
    from .models.embedder import Embedder as Embedder
    from .prune.recipe import PruneRecipe as PruneRecipe
    from .prune.recipe import TrainingRecipe as TrainingRecipe
    from .run_recipe import RunRecipe as RunRecipe
    from .run_recipe import default_recipe as default_recipe
    from .run_recipe import read_recipe as read_recipe
    from .sweeper import sweep as sweep

    __version__: str

_MODULES = {
    ".benchmark.report.frame": ["to_frame"],
    ".benchmark.measurement": ["Measurement"],
    ".benchmark.recipe": ["BenchmarkRecipe"],
    ".chain": ["run"],
    ".contract_probe": ["probe"],
    ".export.artifact": ["Artifact"],
    ".export.recipe": ["ExportRecipe"],
    ".faces.contract": ["ARCFACE", "IMAGENET", "InputContract"],
    ".faces.pairs": ["read_pairs"],
    ".faces.shards": ["read_faces"],
    ".inputs": ["open_embedder"],
    ".models.embedder": ["Embedder"],
    ".prune.recipe": ["PruneRecipe", "TrainingRecipe"],
    ".run_recipe": ["RunRecipe", "default_recipe", "read_recipe"],
    ".sweeper": ["sweep"],
}
_names, _lazy, __dir__ = lazy_names(__name__, _MODULES)
__all__ = [*_names, "__version__"]


def __getattr__(name: str) -> Any:
    if name != "__version__":
        return _lazy(name)
    from importlib.metadata import version  # a slow import

    return version("pocketface")

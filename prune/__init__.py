"""Stage 1: a smaller embedder that still embeds like the original."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .pruner import prune as prune
    from .recipe import PruneRecipe as PruneRecipe
    from .recipe import TrainingRecipe as TrainingRecipe
    from .sensitivity_analysis import Sensitivity as Sensitivity
    from .sensitivity_analysis import read_sensitivity as read_sensitivity
    from .sensitivity_analysis import sensitivity as sensitivity
    from .sensitivity_analysis import write_sensitivity as write_sensitivity
    from .training.trainer import recover as recover

_MODULES = {
    ".pruner": ["prune"],
    ".recipe": ["PruneRecipe", "TrainingRecipe"],
    ".sensitivity_analysis": ["Sensitivity", "read_sensitivity", "sensitivity", "write_sensitivity"],
    ".training.trainer": ["recover"],
}
__all__, __getattr__, __dir__ = lazy_names(__name__, _MODULES)

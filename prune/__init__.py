"""Stage 1: a smaller embedder that still embeds like the original."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from ..models.group_sensitivity import Sensitivity as Sensitivity
    from ..models.group_sensitivity import read_sensitivity as read_sensitivity
    from ..models.group_sensitivity import write_sensitivity as write_sensitivity
    from .pruner import prune as prune
    from .recipe import PruneRecipe as PruneRecipe
    from .recipe import TrainingRecipe as TrainingRecipe
    from .sensitivity_analysis import sensitivity as sensitivity
    from .training.trainer import recover as recover

_MODULES = {
    "..models.group_sensitivity": ["Sensitivity", "read_sensitivity", "write_sensitivity"],
    ".pruner": ["prune"],
    ".recipe": ["PruneRecipe", "TrainingRecipe"],
    ".sensitivity_analysis": ["sensitivity"],
    ".training.trainer": ["recover"],
}
__all__, __getattr__, __dir__ = lazy_names(__name__, _MODULES)

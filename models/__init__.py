"""What embeds: architectures, the zoo, checkpoints on disk, parameters and MACs."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .checkpoint import load_checkpoint as load_checkpoint
    from .checkpoint import open_embedder as open_embedder
    from .checkpoint import save_checkpoint as save_checkpoint
    from .embedder import Embedder as Embedder
    from .embedder import Embeddings as Embeddings
    from .embedder import unit as unit
    from .zoo import ZOO as ZOO
    from .zoo import create as create

_MODULES = {
    ".checkpoint": ["load_checkpoint", "open_embedder", "save_checkpoint"],
    ".embedder": ["Embedder", "Embeddings", "unit"],
    ".zoo": ["ZOO", "create"],
}
__all__, __getattr__, __dir__ = lazy_names(__name__, _MODULES)

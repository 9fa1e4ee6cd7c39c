"""What embeds: architectures, the zoo, checkpoints on disk, parameters and MACs."""

from .checkpoint import load_checkpoint, open_embedder, save_checkpoint
from .embedder import Embedder, Embeddings, unit

__all__ = ["Embedder", "Embeddings", "load_checkpoint", "open_embedder", "save_checkpoint", "unit"]

"""What is embedded: the input contract, readers, synthetic faces."""

from .contract import ARCFACE, IMAGENET, TEMPLATES, Faces, InputContract

__all__ = ["ARCFACE", "IMAGENET", "TEMPLATES", "Faces", "InputContract"]

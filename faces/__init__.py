"""What is embedded: the input contract, readers, synthetic faces."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .alignment import align_folder as align_folder
    from .contract import ARCFACE as ARCFACE
    from .contract import IMAGENET as IMAGENET
    from .contract import TEMPLATES as TEMPLATES
    from .contract import Faces as Faces
    from .contract import InputContract as InputContract
    from .drawn_pairs import synthetic_pairs as synthetic_pairs
    from .folders import LabelledFaces as LabelledFaces
    from .pairs import Pairs as Pairs
    from .pairs import read_pairs as read_pairs
    from .rendering.synthetic import synthetic_faces as synthetic_faces
    from .shards import read_faces as read_faces

_MODULES = {
    ".alignment": ["align_folder"],
    ".contract": ["ARCFACE", "IMAGENET", "TEMPLATES", "Faces", "InputContract"],
    ".drawn_pairs": ["synthetic_pairs"],
    ".folders": ["LabelledFaces"],
    ".pairs": ["Pairs", "read_pairs"],
    ".rendering.synthetic": ["synthetic_faces"],
    ".shards": ["read_faces"],
}
__all__, __getattr__, __dir__ = lazy_names(__name__, _MODULES)

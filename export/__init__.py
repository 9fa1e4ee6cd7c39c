"""Stage 2: one ONNX graph, and from it the files that phones run, each checked against its source."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .artifact import Artifact as Artifact
    from .artifact import Card as Card
    from .artifact import ConversionError as ConversionError
    from .exporter import Exported as Exported
    from .exporter import export as export
    from .formats import open_session as open_session
    from .formats import read_artifact as read_artifact
    from .recipe import ExportRecipe as ExportRecipe
    from .session import Session as Session
    from .session import unit_embeddings as unit_embeddings
    from .targets import ForeignOnnx as ForeignOnnx

_MODULES = {
    ".artifact": ["Artifact", "Card", "ConversionError"],
    ".exporter": ["Exported", "export"],
    ".recipe": ["ExportRecipe"],
    ".formats": ["open_session", "read_artifact"],
    ".session": ["Session", "unit_embeddings"],
    ".targets": ["ForeignOnnx"],
}
__all__, __getattr__, __dir__ = lazy_names(__name__, _MODULES)

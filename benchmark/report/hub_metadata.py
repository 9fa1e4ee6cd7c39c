"""The head of a model card by which the Hugging Face Hub shows licence, tags and results.

Source: https://huggingface.co/docs/hub/model-cards, "Model card metadata".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from ...export.artifact import Card
from ..measurement import is_of_rendered_faces
from ..metrics import metric_of
from .summary import ACCURACY, Line

LICENCES = (  # that the Hub knows by these names; any other is "other" with its own name
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"),
    *("cc-by-nc-sa-4.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "unlicense"),
)
LIBRARIES = {"tflite": "litert", "onnx": "onnx", "ort": "onnx", "coreml": "coreml", "executorch": "executorch"}
TASK = {"type": "face-verification", "name": "Face verification"}
RESULTS = (ACCURACY, "tar_at_far_1e-3", "eer")


def hub_metadata(lines: Sequence[Line], card: Card | None, pairs: str) -> str:
    """Gives the YAML that stands between lines of three dashes, with the newline at its end.

    Args:
        lines: Of one file, in every runtime.
        card: The file's own.
        pairs: What the pairs are called on which it was verified, "" where nobody knows.
    """
    line = lines[0]
    facts: dict[str, Any] = {
        **({} if card is None else _licence(card.licence)),
        "library_name": LIBRARIES.get(line.format, line.format),
        "pipeline_tag": "image-feature-extraction",
        "tags": ["face-recognition", "face-verification", line.format, line.precision, "pocketface"],
        "model-index": [{"name": line.name, "results": list(_results(lines, pairs))}],
    }
    if not facts["model-index"][0]["results"]:
        del facts["model-index"]
    return yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)


def _licence(name: str) -> dict[str, str]:
    """Gives the keys of a licence by its SPDX name; none where it is unknown.

    >>> _licence("Apache-2.0")
    {'license': 'apache-2.0'}
    >>> _licence("InsightFace, research only")
    {'license': 'other', 'license_name': 'insightface-research-only'}
    """
    if not name or name == "unknown":
        return {}
    if name.lower() in LICENCES:
        return {"license": name.lower()}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")}


def _results(lines: Sequence[Line], pairs: str) -> Iterator[dict[str, Any]]:
    rows = [next((line.cells[key] for line in lines if line.value(key) is not None), None) for key in RESULTS]
    metrics = [
        {"type": row.metric, "name": metric_of(row.metric).title, "value": round(row.value, 5)}
        for row in rows
        if row is not None and row.value is not None and not is_of_rendered_faces(row)  # which are not people
    ]
    if metrics:
        dataset = {"type": "pairs", "name": pairs or "pairs of faces"}
        yield {"task": TASK, "dataset": dataset, "metrics": metrics}

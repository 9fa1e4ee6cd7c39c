"""Verification of templates of several photos, within and across poses, grouped by a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...faces.csv_tables import read_csv_table
from ...models.embedder import Embeddings, unit
from ..accuracy.curve_intervals import eer_with_interval, tars_with_intervals
from ..accuracy.intervals import Booleans, Estimate, Floats, Integers
from ..accuracy.roc import rate_name
from ..accuracy.units import independent_units
from ..accuracy.verification import similarities, usual_fars
from ..measurement import Measurement, RowMaker

if TYPE_CHECKING:
    from ..subjects import VerifiedFile

MOST = 20_000_000  # comparisons of one kind


@dataclass(frozen=True, eq=False)
class Templates:
    """Groups of faces, each of one person and one pose."""

    faces: tuple[Integers, ...]  # T, which faces each is made of
    person: Integers  # (T,)
    pose: tuple[str, ...]  # T; "" where the table has no such column

    def __len__(self) -> int:
        """T."""
        return len(self.faces)

    @property
    def poses(self) -> tuple[str, ...]:
        """In the order of the table, each once."""
        return tuple(dict.fromkeys(self.pose))

    def apart(self) -> Templates:
        """Gives every face as a template of its own."""
        sizes = [len(rows) for rows in self.faces]
        pose = [name for name, size in zip(self.pose, sizes, strict=True) for _ in range(size)]
        singles = tuple(rows[i : i + 1] for rows in self.faces for i in range(len(rows)))
        return Templates(singles, np.repeat(self.person, sizes), tuple(pose))

    def embed(self, embeddings: Embeddings) -> Embeddings:
        """Gives the unit mean of each template's unit embeddings, (T, D), of (M, D)."""
        return unit(np.stack([embeddings[rows].mean(0) for rows in self.faces]))


def read_templates(path: Path, names: Sequence[str]) -> Templates:
    """Reads a table with a header: image, person, template and, if wanted, pose (any word).

    Rows that agree in person, template and pose are one template; so templates may be numbered through, or
    anew for each person and pose.

    Args:
        path: Of the .csv.
        names: Of the faces that are embedded, as in `Pairs.names`.

    Raises:
        ValueError: It cannot be read, a column is missing, an image is not among the faces or stands there twice.
    """
    index = {name: face for face, name in enumerate(names)}
    groups: dict[tuple[str, str, str], list[int]] = {}
    lines: dict[int, int] = {}
    _, rows = read_csv_table(path, "templates", ("image", "person", "template"), ("pose",))
    for line, cells in rows:
        face = index.get(cells["image"])
        if face is None:
            raise ValueError(f"{path} line {line}: no face {cells['image'][:80]!r} among the pairs' {len(names):,}")
        if face in lines:
            twice = f"{cells['image']} is in line {lines[face]} already"
            raise ValueError(f"{path} line {line}: {twice}; one template each")
        lines[face] = line
        groups.setdefault((cells["person"], cells.get("pose", ""), cells["template"]), []).append(face)
    if not groups:
        raise ValueError(f"{path} holds no template")
    people = {person: number for number, person in enumerate(dict.fromkeys(person for person, _, _ in groups))}
    return Templates(
        faces=tuple(np.array(rows) for rows in groups.values()),
        person=np.array([people[person] for person, _, _ in groups]),
        pose=tuple(pose for _, pose, _ in groups),
    )


def template_comparisons(
    templates: Templates, embeddings: Embeddings, poses: tuple[str, str] | None = None
) -> tuple[Floats, Booleans, tuple[Integers, Integers]]:
    """Compares each template of one pose with each of the other (None: all with all), never one with itself.

    Args:
        templates: T of them.
        embeddings: (T, D) of unit length.
        poses: Equal ones compare within a pose.

    Returns:
        (P,) cosines, (P,) whether they are of one person, and the two people of each.

    Raises:
        ValueError: They are more than 20 million.
    """
    pose = np.array(templates.pose)
    first, second = (
        np.arange(len(pose)) if poses is None else np.flatnonzero(pose == name) for name in poses or (0, 1)
    )
    within = poses is None or poses[0] == poses[1]
    count = len(first) * (len(first) - 1) // 2 if within else len(first) * len(second)
    if count > MOST:
        raise ValueError(f"{len(first):,} x {len(second):,} templates are {count:,} comparisons; at most {MOST:,} fit")
    left, right = np.triu_indices(len(first), 1) if within else np.indices((len(first), len(second))).reshape(2, -1)
    left, right = first[left], second[right]
    people = templates.person[left], templates.person[right]
    return similarities(embeddings, left, right), people[0] == people[1], people


def template_rows(file: VerifiedFile, row: RowMaker) -> list[Measurement]:
    """Gives mean similarity, EER and TAR@FAR of all templates and of each two poses; also of their single images.

    Sources: Cao et al., VGGFace2, FG 2018, sec. 4 (templates of five images by pose); Whitelam et al., IARPA Janus
    Benchmark-B, CVPRW 2017 (a template is compared as one).
    """
    if file.recipe.templates is None:
        return []
    templates = read_templates(file.recipe.templates, file.pairs.names)
    sizes = {len(faces) for faces in templates.faces}
    kinds = [(f"templates of {_span(sizes)}", templates)]
    if sizes != {1}:
        kinds.append(("single images", templates.apart()))
    rows: list[Measurement] = []
    for protocol, kind in kinds:
        embeddings = kind.embed(file.embeddings)
        couples = list(combinations_with_replacement(kind.poses, 2)) if len(kind.poses) > 1 else []
        for poses in couples if couples and kind is not templates else (None, *couples):
            parts = ([] if poses is None else [" x ".join(poses)]) + ([] if kind is templates else [protocol])
            conditions = {"protocol": protocol, "templates": len(kind), **({"part": ", ".join(parts)} if parts else {})}
            rows += _rows(kind, embeddings, poses, row.under(**conditions))
    return rows


def _rows(
    templates: Templates, embeddings: Embeddings, poses: tuple[str, str] | None, row: RowMaker
) -> list[Measurement]:
    try:
        similarity, same, people = template_comparisons(templates, embeddings, poses)
        if same.all() or not same.any():
            raise ValueError(
                f"all {len(same):,} comparisons are of {'one person' if same.any() else 'different people'}"
            )
    except ValueError as error:
        return [row.missing("template_eer", str(error))]
    units = independent_units(len(same), people)
    estimates = {
        "template_similarity_mean": _mean(similarity[same], people[0][same]),
        "template_eer": eer_with_interval(similarity, same, units),
    }
    for far, point in tars_with_intervals(similarity, same, usual_fars(same), units).items():
        estimates[f"template_tar_at_far_{rate_name(far)}"] = point.tar
    interval = f"closed form, {units.name}"
    return [row.estimate(metric, estimate, len(same), interval=interval) for metric, estimate in estimates.items()]


def _mean(similarity: Floats, person: NDArray[np.int64]) -> Estimate:
    """Gives the mean over genuine comparisons; each is of one person, who may have several."""
    units, value = independent_units(len(similarity), (person, person)), float(similarity.mean())
    reach = units.quantile() * float(np.sqrt(units.variance((similarity - value) / len(similarity))))
    return Estimate(value, value - reach, value + reach)


def _span(sizes: set[int]) -> str:
    least, most = min(sizes), max(sizes)
    if most == 1:
        return "one image"
    return f"{most} images" if least == most else f"{least} to {most} images"

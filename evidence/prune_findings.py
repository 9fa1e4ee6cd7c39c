"""Which layers lose filters: two findings of the papers, tested on two small networks.

    python evidence/prune_findings.py --faces FOLDER --weights FOLDER     # prunes; about five minutes on two cores
    python evidence/prune_findings.py --draw                              # draws the committed rows; a second

Run it from the repository root. The folders are described in examples/lfw_relu6.toml. Writes
evidence/prune_findings.jsonl and, to look at, OUT/prune_findings.html (`--out`, runs/prune-findings).

    width   Alonso-Fernandez et al., Pattern Recognition Letters 2025: filters of layers with many output channels tend
            to go first. Scored by Taylor on every mini-batch of an epoch, cut at its end, three times.
    depth   Diba & Khosravi, IASC 38(3), 2024: the share removed grows with depth. Filters go whose maps are dead or
            copies in 80 % of 100 faces, all at once.

The papers' networks, faces and numbers of epochs are not available here: a published MobileFaceNet is trained on 987
faces of 141 people (CFP), and the small embedded default on 1,000 rendered ones. The result is recorded whether it
agrees with the papers or not.
"""

import argparse
import html
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rows import read_rows, write_rows
from scipy.stats import spearmanr

from pocketface.benchmark.machine import device_name
from pocketface.benchmark.measurement import Measurement
from pocketface.faces.folders import LabelledFaces, content_sha256, read_folder
from pocketface.inputs import open_faces, open_source
from pocketface.models.embedder import Embedder
from pocketface.prune.channels.groups import find_groups
from pocketface.prune.channels.selection import groups_in_scope
from pocketface.prune.pruner import prune
from pocketface.prune.recipe import PruneRecipe
from pocketface.run_recipe import SYNTHETIC, Roots, RunRecipe, read_recipe

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
ROWS = HERE / "prune_findings.jsonl"
FACES_OF_EACH = 7  # of CFP's 14, so that an epoch takes less than a minute

# As the papers do: single filters, no addition's, hardly a floor, learning from labels.
PAPERS = PruneRecipe(scope="papers", signal="softmax", round_to=1, least_width=1, least_kept=0.02, epochs=0.0)
RECIPES = {
    "width": {"schedule": "epoch", "criterion": "taylor", "by": "filters", "cost": "filters", "steps": 3},
    "depth": {
        "schedule": "one-shot",
        "criterion": "feature-map",
        "by": "score",
        "target": 0.2,
        "images": 100,
        "epochs_before": 1.0,
    },
}
CLAIMS = {
    "width": "Alonso-Fernandez et al. find that wide layers lose more: scored by Taylor, the lowest cut each epoch",
    "depth": "Diba & Khosravi find that deep layers lose more: dead, or copies, in 80 % of 100 faces, cut at once",
}

DISCLAIMER = (
    "Not the papers' networks, faces or numbers of epochs: two small networks, pruned by the papers' methods after few "
    "epochs. Each point is a layer that may lose filters; a layer whose output is added to another's may not."
)


class Loss(NamedTuple):
    """What one layer lost."""

    layer: str
    depth: int  # its place among the layers that may lose filters, 1, 2, ...
    width: int  # its filters before
    removed: float  # the share of them that went


class Panel(NamedTuple):
    """One finding, tested on one network."""

    finding: str
    model: str
    faces: str
    losses: list[Loss]

    def correlation(self, by: str) -> tuple[float, float] | None:
        """Spearman's rank correlation of the share removed with `width` or `depth`, and its p; none where all are one.

        In these networks width grows with depth, so that one alone tells little.
        """
        shares = [loss.removed for loss in self.losses]
        if len(set(shares)) == 1:
            return None
        rho, p = spearmanr([getattr(loss, by) for loss in self.losses], shares)
        return float(rho), float(p)

    def __str__(self) -> str:
        """Gives the result in one sentence."""
        parts = []
        for by in CLAIMS:
            found = self.correlation(by)
            parts.append(f"with {by} " + ("none" if found is None else f"{found[0]:.2f} (p = {found[1]:.2g})"))
        removed = sum(loss.removed * loss.width for loss in self.losses) / sum(loss.width for loss in self.losses)
        return (
            f"{self.model}, {self.faces}: {removed:.1%} of the filters of {len(self.losses)} layers removed; "
            f"rank correlation {', '.join(parts)}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--draw", action="store_true", help="only draw the committed rows")
    parser.add_argument("--out", type=Path, default=Path("runs/prune-findings"))
    options = parser.parse_args()
    if not options.draw:
        if options.faces is None or options.weights is None:
            parser.error("--faces and --weights are needed, or --draw")
        write_rows((row for panel in pruned(options.faces, options.weights) for row in rows_of(panel)), ROWS)
    options.out.mkdir(parents=True, exist_ok=True)
    drawing = options.out / "prune_findings.html"
    drawing.write_text(page(panels_of(read_rows(ROWS))), encoding="utf-8")
    print(drawing)


def pruned(faces_folder: Path, weights_folder: Path) -> list[Panel]:
    """Prunes both networks by both papers' methods."""
    default = open_source(RunRecipe())
    roots = Roots(EXAMPLES, faces_folder, weights_folder)
    published = open_source(roots.resolve(read_recipe(EXAMPLES / "lfw_relu6.toml")))
    panels = []
    for embedder, faces, described in (
        (published, some_of_each(read_folder(faces_folder / "train112" / "cfp", 112, 112)), "CFP, 141 people"),
        (default, open_faces(SYNTHETIC, default.contract), "rendered, 250 people"),
    ):
        for finding, settings in RECIPES.items():
            recipe = PruneRecipe.model_validate(PAPERS.model_dump() | settings)
            smaller = prune(embedder, faces, recipe, lambda line: print(line, flush=True))
            losses = losses_of(embedder, smaller)
            panels.append(Panel(finding, embedder.name, f"{len(faces):,} faces ({described})", losses))
            print(f"{finding}: {panels[-1]}", flush=True)
    return panels


def panels_of(rows: list[Measurement]) -> list[Panel]:
    """Gives the panels that `rows_of` made rows of."""
    panels = {}
    for row in rows:
        key = row.model, row.conditions["finding"]
        if "faces" in row.conditions:
            panels.setdefault(key, Panel(row.conditions["finding"], row.model, row.conditions["faces"], []))
        else:
            loss = Loss(row.conditions["layer"], row.conditions["depth"], row.n, row.value)
            panels[key].losses.append(loss)
    return list(panels.values())


def some_of_each(faces: LabelledFaces) -> LabelledFaces:
    """Keeps every second face of each person, frontal and profile."""
    numbers = [np.flatnonzero(faces.labels == label) for label in range(len(faces.names))]
    chosen = np.concatenate([own[:: math.ceil(len(own) / FACES_OF_EACH)] for own in numbers])
    pixels, labels = faces.faces[chosen], faces.labels[chosen]
    return LabelledFaces(pixels, labels, faces.names, content_sha256(pixels, labels))


def losses_of(embedder: Embedder, pruned: Embedder) -> list[Loss]:
    """Reads from the provenance what each layer that may be cut lost; depthwise layers go with those before them."""
    groups = groups_in_scope(find_groups(embedder.backbone, embedder.example()), embedder.backbone, PAPERS.scope)
    makers = [share.layer for group in groups for share in group.shares if share.side == "out"]
    widths = pruned.ancestry[-1]["widths"]
    losses = []
    for layer in (name for name in widths if name in makers):  # in the order of the network
        before, after = (width[1] for width in widths[layer])
        losses.append(Loss(layer, len(losses) + 1, before, 1 - after / before))
    return losses


def rows_of(panel: Panel) -> list[Measurement]:
    """Gives the rank correlations, then what each layer lost."""
    file = (panel.model, "", "pytorch", "fp32", "torch", device_name())
    recipe = PAPERS.model_dump() | RECIPES[panel.finding]
    rows = []
    for by in CLAIMS:
        rho, p = panel.correlation(by) or (None, None)
        rows.append(
            Measurement(
                *(*file, f"rank_correlation_removed_{by}", rho, "1"),
                n=len(panel.losses),
                valid=rho is not None,
                reason="" if rho is not None else "every layer lost the same share",
                conditions={"finding": panel.finding, "faces": panel.faces, "p": p, "recipe": recipe},
            )
        )
    for loss in panel.losses:
        where = {"finding": panel.finding, "layer": loss.layer, "depth": loss.depth}
        rows.append(Measurement(*(*file, "filters_removed", loss.removed, "1"), n=loss.width, conditions=where))
    return rows


def page(panels: list[Panel]) -> str:
    """Gives a page that needs nothing but a browser: a plot for each finding and network."""
    figures = []
    for finding, claim in CLAIMS.items():
        figures.append(f"<h2>{html.escape(claim)}</h2><div>")
        figures += [figure(panel) for panel in panels if panel.finding == finding]
        figures.append("</div>")
    style = (
        ":root { color-scheme: light dark } body { font: 15px/1.5 system-ui, sans-serif; max-width: 64rem; "
        "margin: 2rem auto; padding: 0 1rem } h2 { font-size: 1.05rem; margin-top: 2rem } div { display: flex; "
        "flex-wrap: wrap; gap: 1rem 2rem } figure { margin: 0; flex: 1 26rem } svg { width: 100%; height: auto } "
        "text { font-size: 12px; fill: currentColor; opacity: .75 } line { stroke: currentColor; opacity: .15 } "
        "circle { fill: light-dark(#0b57d0, #8ab4f8); fill-opacity: .65 } figcaption { font-size: .85rem; opacity: .8 }"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Which layers lose filters</title>'
        f"<style>{style}</style></head>\n<body><h1>Which layers lose filters</h1>\n<p>{html.escape(DISCLAIMER)}</p>\n"
        + "\n".join(figures)
        + "\n</body></html>\n"
    )


def figure(panel: Panel) -> str:
    """Draws a point for each layer: the share it lost against its width, or depth."""
    numbers = [getattr(loss, panel.finding) for loss in panel.losses]
    values = [math.log2(number) if panel.finding == "width" else number for number in numbers]
    low, high, most = min(values), max(values), max(0.1, *(loss.removed for loss in panel.losses))
    top = math.ceil(most * 10) / 10
    points, marks = [], []
    for loss, value in zip(panel.losses, values, strict=True):
        x, y = 50 + 340 * (value - low) / max(high - low, 1), 200 - 180 * loss.removed / top
        title = html.escape(f"{loss.layer}: {loss.removed:.1%} of {loss.width}")
        points.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"><title>{title}</title></circle>')
    for share in (0, top / 2, top):
        y = 200 - 180 * share / top
        marks.append(f'<line x1="40" x2="400" y1="{y:.1f}" y2="{y:.1f}"/>')
        marks.append(f'<text x="34" y="{y + 4:.1f}" text-anchor="end">{share:.0%}</text>')
    for number, value in sorted(set(zip(numbers, values, strict=True))):
        if panel.finding == "width" or number % 5 == 1:
            x = 50 + 340 * (value - low) / max(high - low, 1)
            marks.append(f'<text x="{x:.1f}" y="218" text-anchor="middle">{number}</text>')
    across = "filters of the layer" if panel.finding == "width" else "place of the layer in the network"
    marks.append(f'<text x="220" y="238" text-anchor="middle">{across}</text>')
    caption, drawing = html.escape(str(panel)), "".join(marks + points)
    return (
        f'<figure><svg viewBox="0 0 410 245" role="img" aria-label="{caption}">{drawing}</svg>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


if __name__ == "__main__":
    main()

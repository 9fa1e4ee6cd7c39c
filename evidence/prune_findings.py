"""Which layers lose filters: two findings of the papers, looked for in two small networks.

    python evidence/prune_findings.py --faces FOLDER --weights FOLDER

    width   Alonso-Fernandez et al., Pattern Recognition Letters 2025: filters of layers with many output channels tend
            to go first. Scored by Taylor on every mini-batch of an epoch, cut at its end, three times.
    depth   Diba & Khosravi, IASC 38(3), 2024: the share removed grows with depth. Filters go whose maps are dead or
            copies in 80 % of 100 faces, all at once.

The papers' networks, faces and epochs are not to be had here: a published MobileFaceNet sees 987 faces of 141 people
(CFP), and the small one that comes with pocketface 1,000 rendered ones. Whatever comes out, for or against, lies
beside this file: prune_findings.json and, to look at, prune_findings.html. The folders are described in
examples/lfw_relu6.toml. Takes about five minutes on two cores.
"""

import argparse
import html
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import spearmanr

from pocketface import chain
from pocketface.benchmark.machine import device_name
from pocketface.benchmark.measurement import Measurement, write_measurements
from pocketface.faces.folders import LabelledFaces, fingerprint, read_folder
from pocketface.models.embedder import Embedder
from pocketface.prune.channels.groups import find_groups
from pocketface.prune.channels.selection import in_scope
from pocketface.prune.pruner import prune
from pocketface.prune.recipe import PruneRecipe

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
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

TOLD = (
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
    """One finding, looked for in one network."""

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
        """Says what was found."""
        told = []
        for by in CLAIMS:
            found = self.correlation(by)
            told.append(f"with {by} " + ("none" if found is None else f"{found[0]:.2f} (p = {found[1]:.2g})"))
        removed = sum(loss.removed * loss.width for loss in self.losses) / sum(loss.width for loss in self.losses)
        return (
            f"{self.model}, {self.faces}: {removed:.1%} of the filters of {len(self.losses)} layers removed; "
            f"rank correlation {', '.join(told)}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    options = parser.parse_args()
    default = chain.open_source(chain.RunRecipe())
    roots = chain.Roots(EXAMPLES, options.faces, options.weights)
    published = chain.open_source(roots.resolve(chain.read_recipe(EXAMPLES / "lfw_relu6.toml")))
    panels = []
    for embedder, faces, told in (
        (published, some_of_each(read_folder(options.faces / "train112" / "cfp", 112, 112)), "CFP, 141 people"),
        (default, chain.read_train(chain.SYNTHETIC, default.contract), "rendered, 250 people"),
    ):
        for finding, settings in RECIPES.items():
            recipe = PruneRecipe.model_validate(PAPERS.model_dump() | settings)
            pruned = prune(embedder, faces, recipe, lambda line: print(line, flush=True))
            panels.append(Panel(finding, embedder.name, f"{len(faces):,} faces ({told})", losses_of(embedder, pruned)))
            print(f"{finding}: {panels[-1]}", flush=True)
    write_measurements([row for panel in panels for row in rows_of(panel)], HERE / "prune_findings.json")
    (HERE / "prune_findings.html").write_text(page(panels), encoding="utf-8")


def some_of_each(faces: LabelledFaces) -> LabelledFaces:
    """Keeps every second face of each person, frontal and profile."""
    numbers = [np.flatnonzero(faces.labels == label) for label in range(len(faces.names))]
    chosen = np.concatenate([own[:: math.ceil(len(own) / FACES_OF_EACH)] for own in numbers])
    pixels, labels = faces.faces[chosen], faces.labels[chosen]
    return LabelledFaces(pixels, labels, faces.names, fingerprint(pixels, labels))


def losses_of(embedder: Embedder, pruned: Embedder) -> list[Loss]:
    """Reads off the ancestry what each layer lost that may be cut; depthwise ones go with those before them."""
    groups = in_scope(find_groups(embedder.backbone, embedder.example()), embedder.backbone, PAPERS.scope)
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
        f"<style>{style}</style></head>\n<body><h1>Which layers lose filters</h1>\n<p>{html.escape(TOLD)}</p>\n"
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
    said, drawing = html.escape(str(panel)), "".join(marks + points)
    return (
        f'<figure><svg viewBox="0 0 410 245" role="img" aria-label="{said}">{drawing}</svg>'
        f"<figcaption>{said}</figcaption></figure>"
    )


if __name__ == "__main__":
    main()

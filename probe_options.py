"""The options of `pocketface probe`, which says what a network must be fed."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Option

from .command_line import Images, Output, Size, Weights, print_table, sides_of
from .command_output import say
from .spelling import printable


@dataclass(frozen=True)
class ProbeOptions:
    """What contracts are tried on, and how the network is opened."""

    pairs: Annotated[
        str | None, Option(help="Pairs with labels: pairs.txt, .csv, .bin, or a folder per person.", show_default=False)
    ] = None
    images: Images = None
    faces: Annotated[
        Path | None, Option(help="Folder of aligned faces without labels, instead of pairs.", show_default=False)
    ] = None
    detector: Annotated[
        Path | None,
        Option(help="YuNet face detector: of photos it is tried whether they are to be aligned.", show_default=False),
    ] = None
    weights: Weights = None
    embedder: Annotated[str | None, Option(help="file.py:factory that built a foreign checkpoint.")] = None
    size: Size = None
    output: Output = ""
    as_json: Annotated[bool, Option("--json", help="Print the result as JSON, and progress on standard error.")] = False

    def probe(self, network: str) -> None:
        """Probes `network` and prints what was found."""
        from .benchmark.probing.result import TITLES, TITLES_OF_CUTS
        from .contract_probe import probe

        found = probe(
            network,
            self.weights,
            pairs=self.pairs,
            images=self.images,
            faces=self.faces,
            detector=self.detector,
            size=None if self.size is None else sides_of(self.size),
            output=self.output,
            factory=self.embedder,
            progress=_on_stderr if self.as_json else say,
        )
        if self.as_json:
            print(json.dumps(found.to_dict(), indent=1))
            return
        if rows := [each.row() for each in (*found.tried, *found.sizes) if each.separation is not None]:
            print_table(TITLES, rows, TITLES[1:])
        if found.cuts:
            print_table(TITLES_OF_CUTS, [each.row() for each in found.cuts], TITLES_OF_CUTS[1:])
        for sentence in found.sentences():
            say(sentence)


def _on_stderr(line: str) -> None:
    print(printable(line), file=sys.stderr, flush=True)

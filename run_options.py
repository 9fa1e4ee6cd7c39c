"""The options of `pocketface run`, which is given a recipe, or a network and no recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from .command_line import ContractOptions, Images, values_of
from .command_output import CommandResult, say

if TYPE_CHECKING:
    from .run_recipe import RunRecipe

RecipeOrNetwork = Annotated[
    str | None,
    Argument(
        help="Recipe, TOML or YAML; or a network: zoo name, checkpoint folder, file.py:factory, or a file: .onnx, "
        ".tflite, .keras, .h5.",
        show_default="the embedded default",
    ),
]
FacesOfRun = Annotated[
    list[Path] | None,
    Option(
        help="Folder in which the recipe's paths of faces start; of a network, faces to train and calibrate on, which "
        "may be several.",
        show_default="the recipe's; of a network, synthetic",
    ),
]
WeightsOfRun = Annotated[
    Path | None,
    Option(
        help="Folder in which the recipe's paths of weights start; of a network, its file of weights.",
        show_default="the recipe's",
    ),
]


@dataclass(frozen=True)
class RunOptions(ContractOptions):
    """The options of a run: where a recipe's paths start, or what a network is trained, measured and fed with."""

    faces: FacesOfRun = None
    weights: WeightsOfRun = None
    pairs: Annotated[
        str | None, Option(help="Pairs to verify on, as for benchmark.", show_default="the recipe's, or synthetic")
    ] = None
    images: Images = None
    name: Annotated[
        str | None, Option(help="Name of the network in files and reports.", show_default="the file's name")
    ] = None
    licence: Annotated[
        str | None, Option(help="Licence of the weights, if possible by its SPDX name.", show_default="unknown")
    ] = None

    def run(
        self, what: str | None, allow_drift: bool | None, settings: Sequence[str] | None, out: Path | None
    ) -> CommandResult:
        """Runs every stage, and gives the result."""
        changes = values_of([*(["export.allow_drift=true"] if allow_drift else []), *(settings or ())])
        name = self.name or (Path(what).stem if what else "default")
        recipe, folder = self.run_recipe(what, changes), out or Path("runs") / name
        from .chain import run as run_all  # which loads torch: not before the recipe is known to be one
        from .stage_results import report_result

        return report_result([folder], run_all(recipe, folder, say), "run")

    def run_recipe(self, what: str | None, changes: Mapping[str, Any]) -> RunRecipe:
        """Gives the recipe in the file `what`, or one for the network `what`, with the options and `changes` put in."""
        from .models.file_kinds import way_in
        from .models.network_names import is_network
        from .run_recipe import (
            SYNTHETIC,
            Roots,
            RunRecipe,
            default_recipe,
            merge_tables,
            read_recipe,
            validated,
            with_settings,
        )

        contract = self.contract()
        given = {
            "pairs": self.pairs if self.pairs in (None, SYNTHETIC) else str(Path(str(self.pairs)).absolute()),
            "images": None if self.images is None else self.images.absolute(),
            "contract": None if contract is None else contract.to_dict(),
            "name": self.name,
            "licence": self.licence,
        }
        changes = merge_tables({key: value for key, value in given.items() if value is not None}, changes)
        if what is not None and is_network(what):
            faces = [str(place) for place in self.faces or ()] or SYNTHETIC
            network = {"embedder": what, "train": faces, "weights": self.weights}
            return Roots().resolve(validated(RunRecipe, merge_tables(network, changes)))
        if what is not None and (known := way_in(Path(what))):
            raise ValueError(f"{what} {known}")
        recipe = default_recipe() if what is None else read_recipe(what)
        if len(self.faces or ()) > 1:
            raise ValueError(
                "a recipe's paths of faces start in one --faces; name several folders in it: train = [...]"
            )
        start = self.faces[0] if self.faces else None
        roots = Roots(Path() if what is None else Path(what).parent, start, self.weights)
        return roots.resolve(with_settings(recipe, changes))

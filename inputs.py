"""What the stages start from, by the names that users give it: an embedder or an ONNX file, faces, and pairs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .export.artifact import Artifact
from .export.targets import ForeignOnnx, Source, source_sha256
from .faces.contract import ARCFACE, InputContract, Stated, contract_of, unstated_contract
from .faces.drawn_pairs import cross_pairs, synthetic_pairs
from .faces.folders import LabelledFaces, content_sha256
from .faces.pairs import Pairs, read_pairs
from .faces.several_folders import read_all_faces
from .faces.shards import read_faces
from .models import checkpoint
from .models.embedder import Embedder
from .models.graph.conversion_error import ConversionError
from .models.graph.onnx_ports import onnx_ports
from .models.graph.ports import stated_by
from .models.network_conversion import converted, with_weights_inside
from .models.network_names import is_network_file
from .run_recipe import SYNTHETIC, RunRecipe, face_places

TRAIN_IDENTITIES, TRAIN_SHOTS = 250, 4
CALIBRATION_IDENTITIES = 50
TEST_IDENTITIES, TEST_SHOTS = 200, 4
FIRST_TEST_IDENTITY = 1_000_000  # no identity of training is ever tested


def open_embedder(
    name_or_path: str | Path,
    weights: Path | str | None = None,
    *,
    contract: Stated | None = None,
    name: str | None = None,
    licence: str = "unknown",
    options: Mapping[str, Any] | None = None,
    output: str = "",
) -> Source:
    """Opens an embedder in PyTorch, or a file that another tool wrote.

    Args:
        name_or_path: A zoo name, "embedded-default", a checkpoint folder, `path/to/file.py:factory`,
            `package.module:factory`, or a file that holds a network: .onnx, .tflite, .keras, .h5, or the folder of a
            SavedModel. The code of a factory runs: name only code that you trust.
        weights: For a zoo name or a factory: a safetensors file, or a torch file of tensors.
        contract: What the network must be fed. An .onnx file and a factory need one; None is the zoo's own. A
            checkpoint knows its own. Fields that a mapping lacks are the .onnx file's own, such as its size.
        name: What to call it. None: the file's name, or that of the weights or the architecture.
        licence: Of the weights, an SPDX name if there is one.
        options: Keyword arguments of the zoo's constructor or the factory.
        output: The name of the embedding, where an .onnx file has several outputs that may be it.

    Returns:
        A `ForeignOnnx` of a file that holds a network, which can be exported and measured as it is; of all else an
        `Embedder`, which can be pruned and trained too. `pocketface.models.open_embedder` makes one of such a file.

    Raises:
        ValueError: There is no such embedder or file, it is damaged, or it does not fit the weights or the contract.
    """
    path = Path(name_or_path)
    if not is_network_file(path):
        fed = None if contract is None else contract_of(contract, {})
        return checkpoint.open_embedder(
            name_or_path, weights, contract=fed, name=name, licence=licence, options=options
        )
    if not path.exists():
        raise ValueError(f"there is no file {path}")
    whole = None if path.suffix == ".onnx" else converted(path, _sides(contract))
    network = with_weights_inside(path) if whole is None else whole.onnx
    ports = onnx_ports(network, output)  # what is damaged is said before any face is rendered
    stated = stated_by(ports, contract)
    if stated is None:
        raise ValueError(unstated_contract(path))
    ports.check(stated)
    return ForeignOnnx(network, name or path.stem, stated, licence, output, whole)


def _sides(contract: Stated | None) -> tuple[int, int] | None:
    """Gives height and width, where both are stated."""
    values = contract.to_dict() if isinstance(contract, InputContract) else dict(contract or {})
    return (values["height"], values["width"]) if {"height", "width"} <= set(values) else None


def source_of(artifact: Artifact, name: str, weights: Path | None = None, output: str = "") -> Source:
    """Opens what a file was made from.

    A run makes its files from the network in a file where that can be trained, and from the file as it is where not;
    the hash in the card tells which.

    Args:
        artifact: The file; its card says what its source is fed.
        name: Of the source, as `open_embedder` takes it.
        weights: Likewise.
        output: Likewise.

    Raises:
        ValueError: See `open_embedder`.
    """
    contract, made_from = artifact.card.contract, artifact.card.source_sha256
    source = open_embedder(name, weights, contract=contract, output=output)
    if isinstance(source, ForeignOnnx) and made_from not in ("", source_sha256(source)):
        with contextlib.suppress(ConversionError):  # it cannot be trained
            trained = checkpoint.open_embedder(name, contract=contract)
            return trained if trained.sha256 == made_from else source
    return source


def open_source(recipe: RunRecipe) -> Embedder:
    """Opens the embedder that `recipe` names; its relative paths start here, see `Roots`."""
    contract = None if recipe.contract is None else InputContract.from_dict(recipe.contract)
    return checkpoint.open_embedder(
        recipe.embedder,
        recipe.weights,
        contract=contract,
        name=recipe.name,
        licence=recipe.licence,
        options=recipe.options,
    )


def source_of_run(recipe: RunRecipe) -> Source:
    """Opens what `recipe` starts from: an `Embedder`, or an .onnx file as it is where nothing in it is to be trained.

    Raises:
        ValueError: As `open_source`; of an .onnx file that cannot be trained only where `recipe` prunes it or measures
            its sensitivity.
    """
    try:
        return open_source(recipe)
    except ConversionError:
        if not is_network_file(Path(recipe.embedder)) or recipe.prune is not None or recipe.sensitivity:
            raise
    contract = None if recipe.contract is None else InputContract.from_dict(recipe.contract)
    return open_embedder(recipe.embedder, contract=contract, name=recipe.name, licence=recipe.licence)


def open_faces(what: str | Sequence[str], contract: InputContract, identities: int = TRAIN_IDENTITIES) -> LabelledFaces:
    """Reads faces to train or calibrate on, or renders some.

    Args:
        what: A folder with a folder of crops per identity, WebDataset shards, or several of these (a folder of the same
            name in two of them is two people, see `read_all_faces`); or "synthetic".
        contract: What the crops must be like.
        identities: How many to render.

    Returns:
        The faces; of those rendered four of each identity.

    Raises:
        ValueError: There are none, or one cannot be read or has another size.
    """
    if (places := face_places(what)) != (SYNTHETIC,):
        return read_all_faces(places, contract.height, contract.width)
    _check_template(contract)
    from .faces.rendering.synthetic import synthetic_faces  # which loads SciPy

    faces, labels = synthetic_faces(identities, TRAIN_SHOTS, size=(contract.height, contract.width))
    names = tuple(f"{SYNTHETIC}/{label}" for label in range(identities))
    return LabelledFaces(faces, labels, names, content_sha256(faces, labels))


def open_pairs(what: str, images: Path | None, contract: InputContract) -> Pairs:
    """Reads pairs to verify on, or renders them from identities that `open_faces` never renders.

    Args:
        what: A pairs.txt, .csv or .bin file; a folder with a folder per person, or WebDataset shards, of which each
            face is paired with each other (see `cross_pairs`); or "synthetic".
        images: The folder that the pairs name images of; None: where the file lies. A folder of people has none.
        contract: What the crops must be like.

    Returns:
        The pairs.

    Raises:
        ValueError: There are none, or one cannot be read or has another size.
    """
    if what != SYNTHETIC and (Path(what).is_dir() or Path(what).suffix == ".tar"):
        if images is not None:
            raise ValueError(f"{what} is a folder of people, whose images lie in it; leave out images ({images})")
        return cross_pairs(read_faces(Path(what), contract.height, contract.width))
    if what != SYNTHETIC:
        return read_pairs(Path(what), images, contract.height, contract.width)
    _check_template(contract)
    return synthetic_pairs(TEST_IDENTITIES, TEST_SHOTS, 0, (contract.height, contract.width), FIRST_TEST_IDENTITY)


def _check_template(contract: InputContract) -> None:
    if contract.template != ARCFACE.template:
        wanted, drawn = contract.template, ARCFACE.template
        raise ValueError(f"rendered faces are cut by the template {drawn}, not by {wanted}: name crops of people")

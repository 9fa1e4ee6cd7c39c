"""ONNX to Core ML: an ML program in an .mlpackage, for one face at a time, made without a Mac."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...models.graph.activation_idioms import recognise_activations
from ...models.graph.adoption import INPUT, OUTPUT
from ...models.graph.idioms import recognise_prelus
from ...models.graph.norm_idioms import recognise_norms
from ...models.graph.reading import read_onnx
from ...models.graph.resizing import rewrite_upsamples
from ...models.graph.view import with_shapes
from ...models.quiet import quiet
from ...spelling import first_line
from ..artifact import METADATA_KEY, Artifact, Card, ConversionError, Note, Precision
from ..graph.composition import compose_lacking
from ..graph.compositions import COMPOSITIONS
from .images import image_type, one_scale
from .known_issues import known_issues_of
from .mil_lowering import OPERATORS, mil_lacks
from .mil_program import Ranges, mil_program
from .package import WEIGHTS, import_coremltools, read_package, write_package
from .precisions import PRECISIONS, CoreMLPrecision

IOS = (15, 16, 17, 18)


def to_coreml(
    onnx_path: Path,
    card: Card,
    path: Path,
    precision: Precision = "fp32",
    *,
    minimum_ios: int = 16,
    image: bool = False,
    ranges: Ranges | None = None,
) -> Artifact:
    """Writes the network of `onnx_path` as a Core ML package.

    Input "input": (1, 3, H, W) float32, preprocessed as the card's contract says, or a picture of H x W pixels.
    Output "embedding": (1, D) float32. The card is in the package's metadata, and the contract in words in its
    descriptions. Every byte of the package follows from the arguments and coremltools' version.

    Args:
        onnx_path: A simplified graph for one face.
        card: Goes into the package's metadata; its precision and input are set here.
        path: Ends in .mlpackage; an existing package is replaced.
        precision: A key of `PRECISIONS`.
        minimum_ios: 15 to 18; a precision that needs a later one gets it, and a note says so.
        image: Whether the input is a picture (a CVPixelBuffer in an app), prepared within the program.
        ranges: For w8a8: what the graph's values reach, by name; see `activation_ranges`.

    Raises:
        ValueError: The path, the precision or the iOS is impossible; coremltools is not installed.
        ConversionError: Core ML has no form for a part of the network, or its output is not as the card says.
    """
    if path.suffix != ".mlpackage":
        raise ValueError(f"a Core ML package is a folder that ends in .mlpackage, not {path.name!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"no Core ML precision {precision!r}; known: {', '.join(PRECISIONS)}")
    if minimum_ios not in IOS:
        raise ValueError(f"no Core ML programs for iOS {minimum_ios}; there are for {', '.join(map(str, IOS))}")
    how = PRECISIONS[precision]
    if how.activations and not ranges:
        raise ValueError(f"{precision} needs the ranges of the activations; pass those of calibration faces")
    ct = import_coremltools()
    ios = max(minimum_ios, how.least_ios)
    target = getattr(ct.target, f"iOS{ios}")
    card = card.but(precision=precision, input="image" if image else "tensor")
    contract = card.contract
    shape = (1, contract.channels, contract.height, contract.width)
    network = with_shapes(read_onnx(onnx_path))
    rewrite_upsamples(network.graph)
    recognise_prelus(network.graph)
    recognise_norms(network.graph)
    recognise_activations(network.graph, OPERATORS)
    graph = compose_lacking(network, mil_lacks, COMPOSITIONS).graph
    known = dict(ranges or {}) if how.activations else {}
    if image:
        contract = one_scale(graph, contract)
        least, most = contract.reach
        reach = (min(least, 0.0), max(most, 0.0))
        known |= {value.name: reach for value in graph.input if value.name in known}
    with quiet():
        program = mil_program(graph, shape, (1, card.embedding_size), (INPUT, OUTPUT), target, known)
        entry = image_type(ct, INPUT, contract) if image else ct.TensorType(name=INPUT, shape=shape)
        try:
            model = _converted(ct, program, entry, how, ios)
        except Exception as error:  # coremltools' passes raise whatever they stumble over
            raise ConversionError(
                f"{onnx_path.name}: coremltools cannot make a {precision} program: {first_line(error)}"
            ) from error
    specification = model.get_spec()
    describe_model(specification.description, card)
    weights = Path(model.weights_dir) / Path(WEIGHTS).name
    write_package(path, specification, weights.read_bytes() if weights.is_file() else b"")
    later = Note("later-ios", f"{precision} needs iOS {ios}, later than the {minimum_ios} that was asked for")
    issues = (Note("known-issue", sentence) for sentence in known_issues_of(path))
    return Artifact(path, "coreml", card, notes=(*([later] if ios > minimum_ios else []), *issues))


def write_coreml_card(path: Path, card: Card, to: Path) -> None:
    """Writes the package at `path` with another card.

    Raises:
        ValueError: The package is damaged.
    """
    package = read_package(path)
    if not (package.model.description.input and package.model.description.output):
        raise ValueError(f"{path.name} is damaged: it describes no input or no output")
    describe_model(package.model.description, card)
    write_package(to, package.model, package.weights)


def describe_model(description: Any, card: Card) -> None:
    """Writes into the model's description what Xcode shows and what a program reads."""
    texts = card.sentences()
    description.input[0].shortDescription = texts["input"]
    description.output[0].shortDescription = texts["output"]
    metadata = description.metadata
    metadata.shortDescription = texts["description"]
    metadata.author = "pocketface"
    metadata.license = card.licence
    metadata.versionString = card.source_sha256[:12]
    metadata.userDefined.clear()  # a date among them
    metadata.userDefined[METADATA_KEY] = card.to_json()
    for name in ("ancestry", "threshold"):
        if name in texts:
            metadata.userDefined[name] = texts[name]


def _converted(ct: Any, program: Any, entry: Any, how: CoreMLPrecision, ios: int) -> Any:
    model = ct.convert(
        program,
        source="milinternal",
        convert_to="mlprogram",
        inputs=[entry],
        compute_precision=getattr(ct.precision, how.compute),
        minimum_deployment_target=getattr(ct.target, f"iOS{ios}"),
        skip_model_load=True,
    )
    return how.compress(model, ios) if how.compress else model

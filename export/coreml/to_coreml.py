"""ONNX to Core ML: an ML program in an .mlpackage, for one face at a time, made without a Mac."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..artifact import METADATA_KEY, Artifact, Card, ConversionError, Precision
from ..graph.to_onnx import INPUT, OUTPUT, read_onnx
from .mil_program import mil_program
from .package import WEIGHTS, import_coremltools, quietly, write_package

SMALLEST_QUANTISED = 2048  # weights; what is smaller stays in half precision: it costs accuracy and saves no bytes


def to_coreml(onnx_path: Path, card: Card, path: Path, precision: Precision = "fp32") -> Artifact:
    """Writes the network of `onnx_path` as a Core ML package for iOS 16 and later.

    Input "input": (1, 3, H, W) float32, preprocessed as the card's contract says. Output "embedding": (1, D) float32.
    The card lies in the package's metadata, and the contract in words in its descriptions. Every byte of the package
    follows from the arguments and coremltools' version.

    Args:
        onnx_path: A simplified graph for one face.
        card: What to say about the file; its precision is set here.
        path: Ends in .mlpackage; what lies there is replaced.
        precision: A key of `PRECISIONS`.

    Raises:
        ValueError: The path or the precision is none that can be; coremltools is not installed.
        ConversionError: Core ML has no form for a part of the network, or its output is not as the card says.
    """
    if path.suffix != ".mlpackage":
        raise ValueError(f"a Core ML package is a folder that ends in .mlpackage, not {path.name!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"no Core ML precision {precision!r}; known: {', '.join(PRECISIONS)}")
    ct = import_coremltools()
    card = card.but(precision=precision)
    contract = card.contract
    shape = (1, 3, contract.height, contract.width)
    graph = read_onnx(onnx_path).graph
    with quietly():
        program = mil_program(graph, shape, (1, card.embedding_size), (INPUT, OUTPUT), ct.target.iOS16)
        try:
            model = PRECISIONS[precision](ct, program, shape)
        except Exception as error:  # coremltools' passes raise whatever they stumble over
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ConversionError(
                f"{onnx_path.name}: coremltools cannot make a {precision} program: {reason}"
            ) from error
    specification = model.get_spec()
    describe(specification.description, card)
    weights = Path(model.weights_dir) / Path(WEIGHTS).name
    write_package(path, specification, weights.read_bytes() if weights.is_file() else b"")
    return Artifact(path, "coreml", card)


def describe(description: Any, card: Card) -> None:
    """Writes into the model's description what Xcode shows and what a program reads."""
    contract = card.contract
    order = {"rgb": "red, green, blue", "bgr": "blue, green, red"}[contract.channel_order]
    mean, scale = (", ".join(f"{number:.6g}" for number in three) for three in (contract.mean, contract.scale))
    description.input[0].shortDescription = (
        f"One face, {contract.height} pixels high and {contract.width} wide, aligned by five landmarks to the "
        f"{contract.template} template. Channels first, in the order {order}. Each value is (pixel - mean) * scale, "
        f"with pixel 0 to 255, mean ({mean}), scale ({scale})."
    )
    length = "It has length one." if card.normalised else "Divide it by its length before you compare cosines."
    description.output[0].shortDescription = f"The face's embedding, {card.embedding_size} numbers. {length}"
    metadata = description.metadata
    metadata.shortDescription = f"Face embedder {card.model}, {card.precision}"
    metadata.author = "pocketface"
    metadata.license = card.licence
    metadata.versionString = card.source_sha256[:12]
    metadata.userDefined.clear()  # a date among them
    metadata.userDefined[METADATA_KEY] = card.to_json()


def fp32(ct: Any, program: Any, shape: tuple[int, ...]) -> Any:
    """Everything in float32: on a phone it runs on CPU and GPU."""
    return _converted(ct, program, shape, ct.precision.FLOAT32)


def fp16(ct: Any, program: Any, shape: tuple[int, ...]) -> Any:
    """Everything in half precision but input and output: what the Neural Engine wants."""
    return _converted(ct, program, shape, ct.precision.FLOAT16)


def w8(ct: Any, program: Any, shape: tuple[int, ...]) -> Any:
    """As `fp16`, with weights of 8 bits: symmetric, a scale for each output channel, computed in half precision.

    The numbers -127 to 127 are stored as uint8 with zero point 127. For int8 in this operator wrong results on GPU
    and Neural Engine are reported, and the unsigned form of the same numbers is the proposed cure; one report doubts
    it too, so check on a phone before shipping.
    Source: github.com/apple/coremltools, issue 2114, pull requests 2675 and 2677.
    """
    import coremltools.optimize.coreml as optimize

    how = optimize.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype="uint8", granularity="per_channel", weight_threshold=SMALLEST_QUANTISED
    )
    return optimize.linear_quantize_weights(fp16(ct, program, shape), optimize.OptimizationConfig(global_config=how))


def _converted(ct: Any, program: Any, shape: tuple[int, ...], compute: Any) -> Any:
    return ct.convert(
        program,
        source="milinternal",
        convert_to="mlprogram",
        inputs=[ct.TensorType(name=INPUT, shape=shape)],
        compute_precision=compute,
        minimum_deployment_target=ct.target.iOS16,
        skip_model_load=True,
    )


PRECISIONS: dict[str, Callable[[Any, Any, tuple[int, ...]], Any]] = {"fp32": fp32, "fp16": fp16, "w8": w8}

"""What a Core ML package takes and gives, as its description and its program say."""

from __future__ import annotations

from typing import Any

from ...models.graph.ports import Port, Ports, ports_of
from .package import Package

COLOURS = {"RGB": "rgb", "BGR": "bgr", "GRAYSCALE": "gray"}
TYPES = {"FLOAT32": "float32", "FLOAT16": "float16", "DOUBLE": "float64", "INT32": "int32", "INT8": "int8"}


def package_ports(package: Package, output: str = "") -> Ports:
    """Describes the package's face and embedding; see `ports_of`.

    Raises:
        ValueError: It is damaged, or no embedder.
    """
    shapes = {
        result.name: tuple(side_of(dimension) for dimension in result.type.tensorType.dimensions)
        for operation in package.program.operations
        for result in operation.outputs
    }
    inputs = [_input(package, one) for one in package.model.description.input]
    outputs = [Port(str(name), shapes.get(name, ())) for name in package.program.outputs]
    return ports_of(package.name, inputs, outputs, output)


def side_of(dimension: Any) -> int | None:
    """Gives a side that the program states, None for a flexible one, which some programs state as 0."""
    return int(dimension.constant.size) or None if dimension.WhichOneof("dimension") == "constant" else None


def _input(package: Package, feature: Any) -> Port:
    name, kind = str(feature.name), feature.type.WhichOneof("Type")
    if kind == "imageType":
        image = feature.type.imageType
        colours = type(image).ColorSpace.Name(image.colorSpace)
        if colours not in COLOURS:
            raise ValueError(f"{package.name} takes a picture in {colours.lower()}; known: {', '.join(COLOURS)}")
        channels = 1 if colours == "GRAYSCALE" else 3
        return Port(name, (1, channels, int(image.height), int(image.width)), picture=COLOURS[colours])
    if kind != "multiArrayType":
        raise ValueError(f"{package.name} does not take one array or picture, as the evaluator gives it")
    array = feature.type.multiArrayType
    ranges = array.shapeRange.sizeRanges
    free = [
        len(ranges) == len(array.shape) and ranges[i].lowerBound != ranges[i].upperBound for i in range(len(ranges))
    ]
    sides = tuple(None if any(free[i : i + 1]) else int(side) for i, side in enumerate(array.shape))
    return Port(name, sides, TYPES.get(type(array).ArrayDataType.Name(array.dataType), "float32"))

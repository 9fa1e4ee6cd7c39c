"""The hand-off: golden faces with the embeddings that each file gives, and the code that an app needs besides."""

from __future__ import annotations

import html
import json
import math
import platform
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from ...faces.contract import InputContract, Stated
from ...files import sha256_of, written_whole
from ...models.embedder import unit
from ...models.graph.ports import Port
from ...spelling import printable
from ..artifact import Artifact, ConversionError
from ..certificate import UNSET
from ..formats import FORMATS, Format, find_files, open_session, read_artifact, suffixes
from ..trial import try_in_child
from .golden import Golden, golden_faces, least_cosine

UNSET_NAME = "THRESHOLD_NOT_SET_MEASURE_ON_PHOTOS_OF_YOUR_USERS"  # an app's code does not compile with it
FAR = 1e-3  # of the threshold in the code; FALLBACK where a file has none at FAR
FALLBACK = 1e-2
TENSOR_DIFFERENCE = 1e-5  # share of the largest value by which float32 rounding may change an app's input
INDEX = "golden.json"  # what every hand-off holds
FROM_A_MAC = Path("mac") / "mac_results.json"
RESOURCES = Path("ios") / "Sources" / "PocketFace" / "Resources"  # a Swift package holds its own


@dataclass(frozen=True, eq=False)
class Expected:
    """One file and what it gave for the golden faces here."""

    artifact: Artifact
    raw: NDArray[np.float32]  # (F, D), as the network gives it
    runtime: str  # "litert 2.3.0"
    takes: dict[str, Any]  # "kind": float32, int8 or image; for int8 also scale and zero


def handoff(paths: Iterable[Path], out: Path, stated: Stated | None = None, output: str = "") -> Path:
    """Writes a hand-off of converted files into `out`, whole or not at all, and gives `out`.

    Args:
        paths: Converted files, or folders (of a run) that hold some; all for one input contract.
        out: Replaced if it is there.
        stated: What to feed files without a card; fields that are missing are the file's own.
        output: The name of the embedding of files without a card that have several outputs.

    Raises:
        ValueError: There is no file, one has no card and nothing is stated, or they need different inputs.
    """
    folders = [path / "artifacts" if (path / "artifacts").is_dir() else path for path in paths]
    artifacts = [
        read_artifact(path, stated, output)
        for path in find_files(folders, (each for each in FORMATS.values() if each.suffix))
    ]
    if not artifacts:
        raise ValueError(f"no converted file to hand off; they end in {suffixes()}")
    contract = artifacts[0].card.contract
    if any(artifact.card.contract != contract for artifact in artifacts):
        raise ValueError("these files need different inputs; make a hand-off of each contract by itself")
    names = [artifact.path.name for artifact in artifacts]
    strange = next((name for name in names if not re.fullmatch(r"[\w .+-]+", name)), None)
    if strange is not None:  # names go into source code
        raise ValueError(
            f"the file name {strange!r} has characters other than letters, digits, space and . + - _; rename it"
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two files are called {twice}; hand off one of them")
    faces = golden_faces(contract)
    expected, skipped = [], []
    for artifact in artifacts:
        try:
            expected.append(_expected(artifact, faces))
        except ValueError as error:  # a runtime that is not installed, or a file that does not run
            skipped.append((artifact.path.name, " ".join(str(error).split())))
    if not expected:
        raise ConversionError(f"no file could be run: {skipped[0][1]}")
    _check_is_ours(out)
    with written_whole(out, INDEX) as beside:
        _write_faces(faces, contract, beside / "golden")
        for each in expected:
            _write_file(each, faces, beside)
        index = _index(faces, expected, contract)
        (beside / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
        _write_texts(faces, expected, skipped, contract, beside)
        if (out / FROM_A_MAC).is_file():  # brought back from a Mac
            shutil.copyfile(out / FROM_A_MAC, beside / FROM_A_MAC)
    return out


def _check_is_ours(out: Path) -> None:
    if out.exists() and not (out / INDEX).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} holds something other than a hand-off; name another folder with --out")


def _expected(artifact: Artifact, faces: Sequence[Golden]) -> Expected:
    try_in_child(artifact.path, artifact.card.contract, artifact.output)
    session = open_session(artifact.path, output=artifact.output)
    if unfit := _unfit(artifact):
        raise ConversionError(f"{artifact.path.name} {unfit}; `pocketface export` makes one that fits")
    inputs = artifact.card.contract.preprocess(np.stack([face.crop for face in faces]))
    raw = session.run(inputs)
    if not np.isfinite(raw).all():
        raise ConversionError(f"{artifact.path.name} gives embeddings that are not finite")
    runtime = f"{session.runtime} {version(FORMATS[artifact.format].package)}"
    return Expected(artifact, raw, runtime, _takes(artifact, session))


def _unfit(artifact: Artifact) -> str:
    """Says why the app's code cannot run a file of another tool, "" if it can: it gives one face, and takes one row."""
    read_ports = FORMATS[artifact.format].ports
    if read_ports is None or FORMATS[artifact.format].read_card(artifact.path) is not None:
        return ""
    ports = read_ports(artifact.path, artifact.output)
    if ports.batch not in (None, 1):
        return f"takes {ports.batch} faces at once, and the app's code gives one"
    if ports.ignored:
        return f"gives {', '.join(ports.ignored)} too, and the app's code takes one output"
    if FORMATS[artifact.format].channels_last and not ports.channels_last:
        return "takes channels first, and the app's code gives them last"
    if not ports.face.picture and ports.face.dtype not in ("float32", "int8"):
        return f"takes {ports.face.dtype}, and the app's code gives float32 or int8"
    return ""


def _takes(artifact: Artifact, session: Any) -> dict[str, Any]:
    if artifact.card.input == "image":
        return {"kind": "image"}
    ports = getattr(session, "ports", None)
    if ports is None or ports.face.is_float:
        return {"kind": "float32"}
    return {"kind": ports.face.dtype, "scale": ports.face.scale, "zero": ports.face.zero}


def _write_faces(faces: Sequence[Golden], contract: InputContract, folder: Path) -> None:
    folder.mkdir(parents=True)
    for face in faces:
        tensor = contract.preprocess(face.crop[None])[0]
        Image.fromarray(face.crop).save(folder / f"{face.name}.png")
        if face.photo is not None:
            Image.fromarray(face.photo).save(folder / f"{face.name}-photo.png")
        _write_floats(folder / f"{face.name}.nchw.bin", tensor)
        _write_floats(folder / f"{face.name}.nhwc.bin", tensor.transpose(1, 2, 0))


def _write_file(expected: Expected, faces: Sequence[Golden], folder: Path) -> None:
    """Copies the file; writes its embeddings and, if it takes int8, its inputs beside the golden faces."""
    path = expected.artifact.path
    (folder / "models").mkdir(exist_ok=True)
    _copy(path, folder / "models" / path.name)
    for face, raw in zip(faces, expected.raw, strict=True):
        _write_floats(folder / "golden" / f"{face.name}.{path.name}.bin", raw)
        if expected.takes["kind"] not in ("float32", "image"):
            tensor = expected.artifact.card.contract.preprocess(face.crop[None]).transpose(0, 2, 3, 1)
            port = Port("", tensor.shape, expected.takes["kind"], expected.takes["scale"], expected.takes["zero"])
            integers = port.numbers(tensor)
            (folder / "golden" / f"{face.name}.{path.name}.i8.bin").write_bytes(integers.tobytes())


def _copy(path: Path, to: Path) -> None:
    shutil.copytree(path, to) if path.is_dir() else shutil.copyfile(path, to)


def _write_floats(path: Path, values: NDArray[np.float32]) -> None:
    path.write_bytes(np.ascontiguousarray(values, "<f4").tobytes())


def _index(faces: Sequence[Golden], expected: Sequence[Expected], contract: InputContract) -> dict[str, Any]:
    return {
        "pocketface_handoff": 1,
        "contract": contract.to_dict(),
        "template": _template(contract),
        "most_tensor_difference": _tensor_difference(contract),
        "faces": [
            {
                "name": face.name,
                "png": f"{face.name}.png",
                "photo": f"{face.name}-photo.png",
                "landmarks": None if face.landmarks is None else face.landmarks.tolist(),
                "nchw": f"{face.name}.nchw.bin",
                "nhwc": f"{face.name}.nhwc.bin",
            }
            for face in faces
        ],
        "artifacts": [
            {
                "file": f"models/{each.artifact.path.name}",
                "sha256": sha256_of(each.artifact.path),
                "model": each.artifact.card.model,
                "format": each.artifact.format,
                "precision": each.artifact.card.precision,
                "embedding_size": each.raw.shape[1],
                "normalised": each.artifact.card.normalised,
                "input": each.takes,
                "runtime": each.runtime,
                "least_cosine": least_cosine(each.artifact),
                "embeddings": [f"{face.name}.{each.artifact.path.name}.bin" for face in faces],
                "certificate": each.artifact.card.certificate and each.artifact.card.certificate.to_dict(),
            }
            for each in expected
        ],
    }


def _write_texts(
    faces: Sequence[Golden],
    expected: Sequence[Expected],
    skipped: Sequence[tuple[str, str]],
    contract: InputContract,
    folder: Path,
) -> None:
    pages = Environment(
        loader=PackageLoader(__name__.rpartition(".")[0], "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    values = _template_values(faces, expected, skipped, contract)
    _put(folder / "README.md", pages.get_template("README.md.jinja").render(values))
    for file_format in _formats(expected):
        of_format = [each for each in expected if each.artifact.format == file_format.name]
        values = _template_values(faces, of_format, skipped, contract)
        for name in pages.list_templates():
            if name.partition("/")[0] in file_format.app_code:
                _put(folder / name.removesuffix(".jinja"), pages.get_template(name).render(values))
        if "ios" in file_format.app_code:
            _write_resources(faces, of_format, folder)


def _write_resources(faces: Sequence[Golden], expected: Sequence[Expected], folder: Path) -> None:
    """Copies the files and the golden faces into the Swift package, which cannot hold what lies outside it."""
    resources = folder / RESOURCES
    resources.mkdir()
    for each in expected:
        _copy(each.artifact.path, resources / each.artifact.path.name)
        endings = ".png", "-photo.png", ".nchw.bin", f".{each.artifact.path.name}.bin"
        for name in (f"{face.name}{ending}" for face in faces for ending in endings):
            shutil.copyfile(folder / "golden" / name, resources / name)


def _formats(expected: Sequence[Expected]) -> list[Format]:
    present = {each.artifact.format for each in expected}
    return [each for each in FORMATS.values() if each.name in present]


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _plain_text(text: str) -> str:
    """Gives a text that anybody may have written as Markdown shows it: one line, and no HTML."""
    return html.escape(printable(" ".join(text.split())), quote=False)


def _template_values(
    faces: Sequence[Golden], expected: Sequence[Expected], skipped: Sequence[tuple[str, str]], contract: InputContract
) -> dict[str, Any]:
    """Gives the values for the templates."""
    cards = [each.artifact.card for each in expected]
    files = [_file(each) for each in expected]
    vectors = unit(expected[0].raw[:2]).astype(np.float64)
    pair = (
        f"golden-0 and golden-1 show one person: the cosine of their embeddings is {vectors[0] @ vectors[1]:.4f} "
        f"by {expected[0].artifact.path.name}."
    )
    texts = cards[0].but(input="tensor").sentences()
    return {
        "title": _plain_text(", ".join(dict.fromkeys(card.model for card in cards))),
        "system": f"{platform.system()} {platform.machine()}",
        "runtimes": ", ".join(dict.fromkeys(each.runtime for each in expected)),
        "formats": _formats(expected),
        "licences": _plain_text(", ".join(dict.fromkeys(card.licence for card in cards))),
        "ancestry": [_plain_text(each) for each in dict.fromkeys(each for card in cards for each in card.ancestry)],
        "integers": any(each.takes["kind"] == "int8" for each in expected),
        "files": files,
        "unset": any(file["threshold"] is None for file in files),
        "unset_name": UNSET_NAME,
        "unset_text": UNSET,
        "skipped": [(_plain_text(name), _plain_text(reason)) for name, reason in skipped],
        "contract": contract,
        "input": texts["input"],
        "output": texts["output"],
        "template": _template(contract),
        "landmarks": contract.landmarks.reshape(-1).tolist(),
        "thresholds": [
            f"`{e.artifact.path.name}`: {_plain_text(c.sentence())}"
            for e in expected
            if (c := e.artifact.card.certificate)
        ],
        "count": len(expected[0].raw),
        "pair": pair,
        "golden": [(face.name, face.landmarks.reshape(-1).tolist()) for face in faces if face.landmarks is not None],
        "tensor_difference": _plain(_tensor_difference(contract)),
        "kotlin_floats": lambda values: ", ".join(f"{_plain(value)}f" for value in values),
        "swift_floats": lambda values: ", ".join(_plain(value) for value in values),
    }


def _file(expected: Expected) -> dict[str, Any]:
    """Gives the values of a file for the tables in the templates."""
    card = expected.artifact.card
    point = None
    if card.certificate:
        points = {point.far: point for point in card.certificate.points if point.threshold is not None}
        point = points.get(FAR) or points.get(FALLBACK)
    about = f"same person at FAR {point.far:g}, {card.certificate.pairs_name}" if point and card.certificate else ""
    return {
        "name": expected.artifact.path.name,
        "format": expected.artifact.format,
        "precision": card.precision,
        "least_cosine": least_cosine(expected.artifact),
        "threshold": None if point is None or point.threshold is None else round(point.threshold, 6),
        "template_scale": card.certificate.template_scale if card.certificate else None,
        "about": "".join(letter for letter in about if letter.isprintable()) or UNSET,
    }


def _tensor_difference(contract: InputContract) -> float:
    black, white = (np.full((1, contract.height, contract.width, 3), pixel, np.uint8) for pixel in (0, 255))
    largest = max(float(np.abs(contract.preprocess(face)).max()) for face in (black, white))
    return float(f"{TENSOR_DIFFERENCE * max(1.0, largest):.2g}")


def _template(contract: InputContract) -> list[float]:
    return [round(float(value), 4) for value in contract.landmarks.reshape(-1)]


def _plain(value: float) -> str:
    """Writes a number so that Kotlin and Swift read the very float32 that NumPy holds."""
    text = np.format_float_positional(np.float32(value), unique=True, trim="0")
    assert math.isclose(float(text), value, rel_tol=1e-6)
    return text

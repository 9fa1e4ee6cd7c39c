"""Every kind of file, a record each: what opens it, reads and writes its card, and what an app gets with it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..faces.contract import Stated, contract_of, unstated_contract
from ..files import check_present, sha256_of
from ..lazy import opener_of
from ..models.file_kinds import kind_of, way_in
from ..models.graph.onnx_ports import onnx_ports
from ..models.graph.ports import Ports, stated_by
from ..models.network_conversion import with_weights_inside
from .artifact import Artifact, Card, Input, Note, Precision
from .coreml.mil_program import onnx_name
from .coreml.package import read_coreml_card, read_package
from .coreml.package_ports import package_ports
from .coreml.to_coreml import write_coreml_card
from .executorch_session import read_executorch_card
from .graph.to_onnx import read_onnx_card, write_onnx_card
from .layer_values import Array, Values, coreml_values, onnx_values, tflite_values
from .ort_format import ort_ports, read_ort_card, write_ort_card
from .session import Session
from .stored_precision import coreml_precision, onnx_precision, ort_precision, tflite_precision
from .stored_weights import checkpoint_weights, coreml_weights, onnx_weights, ort_weights, tflite_weights
from .tflite.litert import read_tflite_card
from .tflite.structure import tflite_ports
from .tflite.to_tflite import write_tflite_card

# The least cosine between two machines' embeddings of one face by one file. Measured, ARM64 emulated against x86 on a
# MobileFaceNet: fp32 1 - 1e-10; LiteRT's w8a8 equal to the bit; arithmetic in half precision 0.99991; onnxruntime's
# w8a8 0.9973, for it fuses other operators on each. The rest is a margin for what could not be tried: real phones.
SINGLE, HALF, INTEGER, FUSED_INTEGER = 0.99999, 0.999, 0.999, 0.99

NOT_TIMED = (
    "latency is not measured off a Mac: the evaluator that checks the numbers is no phone runtime; "
    "on a Mac run mac/measure.py of the hand-off, or look at the Performance tab of Xcode"
)
EVALUATED = "Core ML's numbers come from pocketface's own evaluator of the saved package, which is not Apple's runtime."


@dataclass(frozen=True)
class Format:
    """All that the rest of the package knows about one kind of file."""

    name: str  # in rows and cards: "tflite"
    title: str  # for people: "TFLite"
    suffix: str  # of the file or folder: ".tflite"; "" where `marker` tells it
    runtime: str  # in which its files are verified and timed
    package: str  # the distribution that brings this runtime
    opener: str  # module:callable(path, threads[, factory][, output]) -> Session; text, for a child process to find it
    read_card: Callable[[Path], Card | None] = lambda path: None
    write_card: Callable[[Path, Card, Path], None] | None = None  # file, card, where to; None: a card is final
    marker: str = ""  # a file in a folder of this format
    companion: str = ""  # appended to the name of a file that may lie beside it and holds its weights
    module: str = ""  # what `package` is imported as, if that is another name
    extra: str = ""  # of pocketface, that installs `package`
    values: Callable[[Path, Array], Values] | None = None  # all that it computes of (N, 3, H, W); None: not visible
    value_name: Callable[[str], str] = str  # how the file spells the name of an ONNX value
    channels_last: bool = False  # in the values inside
    ports: Callable[[Path, str], Ports] | None = None  # read without a runtime; the name of the embedding may be given
    precision: Callable[[Path], Precision] = lambda path: "unknown"  # told from the tensors of a file without a card
    weigh: Callable[[Path], int] | None = None  # bytes of the weights; None: the format does not say
    least_cosines: Mapping[Precision, float] = field(default_factory=dict)  # between two machines; else HALF
    app_code: tuple[str, ...] = ()  # folders of templates of the hand-off
    caveat: str = ""  # for readers of the hand-off
    why_no_latency: str = ""  # why this machine's latency would say nothing of a phone's
    apple_only: bool = False  # runs on Apple's systems and nowhere else
    in_litert: bool = False  # LiteRT runs it: on a phone over adb, and on emulated ARM64 cores

    def is_at(self, path: Path) -> bool:
        """Tells by its name, or by what lies in it, whether `path` is of this format."""
        return path.suffix == self.suffix if self.suffix else (path / self.marker).is_file()

    def open(self, path: Path, threads: int = 1, factory: str | None = None, output: str = "") -> Session:
        """Opens a file with `threads` CPU threads.

        Args:
            path: The file.
            threads: Of the CPU.
            factory: The code of a checkpoint that is not of the zoo.
            output: The name of the embedding, where a file has several outputs.
        """
        session: Session = opener_of(self.opener, factory, output)(path, threads)
        return session


OPENER = "pocketface.export.formats:open_session"
"""Opens a file of any known format, as `Format.opener` opens those of one."""

CHECKPOINT = "pytorch"
"""The one format that is not converted."""

_SESSIONS = "pocketface.export.session"

_ALL = (
    Format(
        name="tflite",
        title="TFLite",
        suffix=".tflite",
        runtime="litert",
        package="ai-edge-litert",
        opener="pocketface.export.tflite.litert:LiteRTSession",
        module="ai_edge_litert",
        read_card=read_tflite_card,
        write_card=write_tflite_card,
        values=tflite_values,
        channels_last=True,
        ports=tflite_ports,
        precision=tflite_precision,
        weigh=tflite_weights,
        # with fp16 only the weights are halved: a CPU computes in single precision
        least_cosines={
            "fp32": SINGLE,
            "fp16": SINGLE,
            "w8": SINGLE,
            "w8-dynamic": INTEGER,
            "w8a8": INTEGER,
            "w8a16": INTEGER,
        },
        app_code=("android",),
        in_litert=True,
    ),
    Format(
        name="coreml",
        title="Core ML",
        suffix=".mlpackage",
        runtime="coreml-evaluator",
        package="coremltools",
        opener=f"{_SESSIONS}:open_core_ml",
        read_card=read_coreml_card,
        write_card=write_coreml_card,
        values=coreml_values,
        value_name=onnx_name,
        ports=lambda path, output: package_ports(read_package(path), output),
        precision=coreml_precision,
        weigh=coreml_weights,
        least_cosines={"fp32": SINGLE},
        app_code=("ios", "mac"),
        caveat=EVALUATED,
        why_no_latency=NOT_TIMED,
        apple_only=True,
    ),
    Format(
        name="executorch",
        title="ExecuTorch",
        suffix=".pte",
        runtime="executorch",
        package="executorch",
        opener="pocketface.export.executorch_session:ExecuTorchSession",
        extra="executorch",
        read_card=read_executorch_card,
    ),
    Format(
        name="onnx",
        title="ONNX",
        suffix=".onnx",
        runtime="onnxruntime",
        package="onnxruntime",
        opener=f"{_SESSIONS}:OnnxRuntimeSession",
        read_card=read_onnx_card,
        write_card=write_onnx_card,
        values=onnx_values,
        ports=onnx_ports,
        precision=onnx_precision,
        weigh=onnx_weights,
        companion=".data",  # where PyTorch puts the weights of a large graph
        least_cosines={"fp32": SINGLE, "w8a8": FUSED_INTEGER},
    ),
    Format(
        name="ort",
        title="ORT format",
        suffix=".ort",
        runtime="onnxruntime",
        package="onnxruntime",
        opener=f"{_SESSIONS}:OnnxRuntimeSession",
        read_card=read_ort_card,
        write_card=write_ort_card,
        ports=ort_ports,
        precision=ort_precision,
        weigh=ort_weights,
    ),
    Format(
        name=CHECKPOINT,
        title="PyTorch",
        suffix="",
        runtime="torch",
        package="torch",
        opener=f"{_SESSIONS}:TorchSession",
        marker="embedder.json",
        weigh=checkpoint_weights,
    ),
)

FORMATS: dict[str, Format] = {each.name: each for each in _ALL}
"""By name, in the order of the report's recommendations."""


def suffixes() -> str:
    """Gives the suffixes of converted files, for a sentence."""
    return ", ".join(each.suffix for each in FORMATS.values() if each.suffix)


def format_title(name: str) -> str:
    """Gives a format's name for people; rows from elsewhere may have a format that is not known here."""
    return FORMATS[name].title if name in FORMATS else name


def format_of(path: Path) -> Format:
    """Tells a file's format by its name, a checkpoint's by what lies in it.

    Raises:
        ValueError: There is no file, or it is of no known format.
    """
    check_present(path)
    known = next((each for each in FORMATS.values() if each.is_at(path)), None)
    kind = kind_of(path) if known is None else None
    if kind is not None and kind.converter:
        raise ValueError(f"{path} is {kind.title}; `pocketface export` makes files of it that can be measured")
    if kind is not None:
        raise ValueError(f"{path} {way_in(path)}")
    if known is None:
        raise ValueError(f"{path} is no checkpoint and ends in none of {suffixes()}")
    return known


def find_files(paths: Iterable[Path], formats: Iterable[Format]) -> list[Path]:
    """Gives the paths that are files, and of folders the files of `formats` that lie in them."""
    kinds, files = tuple(formats), list[Path]()
    for path in paths:
        if not path.is_dir() or any(each.is_at(path) for each in kinds):
            files.append(path)
        else:
            files += sorted(inside for inside in path.rglob("*") if any(each.is_at(inside) for each in kinds))
    return files


def open_session(path: Path, threads: int = 1, factory: str | None = None, output: str = "") -> Session:
    """Opens `path` in the usual runtime of its format.

    Args:
        path: A converted file, or a checkpoint folder.
        threads: Of the CPU.
        factory: The code of a checkpoint whose network is not of the zoo; see `load_checkpoint`.
        output: The name of the embedding, where a file has several outputs that may be it.

    Returns:
        The open file, ready to embed.

    Raises:
        ValueError: It is not there, of no known format, or its runtime refuses it.
    """
    return format_of(path).open(path, threads, factory, output)


def read_artifact(path: Path, contract: Stated | None = None, output: str = "") -> Artifact:
    """Describes a converted file by its own card, or a foreign one by what its tensors say and a user states.

    Args:
        path: A file of a known format.
        contract: How to feed a file without a card; of the fields of a mapping, those that are missing are the file's
            own. A file with a card is fed by that, a picture is given as it is.
        output: The name of the embedding, where a file without a card has several outputs that may be it.

    Returns:
        The file, its format, and what its card says; a foreign file's name, size, batch and precision.

    Raises:
        ValueError: There is no card and no contract, or the file is no embedder that such faces can be fed to.
    """
    file_format, path = format_of(path), with_weights_inside(path)
    card = file_format.read_card(path)
    if card is not None:
        return Artifact(path, file_format.name, card)
    ports = None if file_format.ports is None else file_format.ports(path, output)
    if ports is not None:
        stated = stated_by(ports, contract)
    else:
        stated = None if contract is None else contract_of(contract, {})
    if stated is None:
        raise ValueError(unstated_contract(path.name))
    if ports is None:
        return Artifact(path, file_format.name, Card(path.stem, stated, 0, file_format.precision(path)), output=output)
    ports.check(stated)
    kind: Input = "image" if ports.face.picture else "tensor"
    card = Card(path.stem, stated, ports.embedding_size, file_format.precision(path), kind)
    notes = (Note("output", ports.sentence()),) if ports.ignored else ()
    return Artifact(path, file_format.name, card, ports.batch, notes, output)


def read_card(path: Path) -> Card | None:
    """Gives the card that a file carries, or None.

    Raises:
        ValueError: The file is missing, damaged or of no known format, or its card cannot be read.
    """
    return format_of(path).read_card(path)


def write_card(path: Path, card: Card) -> None:
    """Gives the file at `path` another card; its graph and weights stay what they are.

    The bytes depend on nothing but the file and the card: the old card again gives the old file.

    Raises:
        ValueError: The format has no card that can be replaced, or the file has none yet.
    """
    write = format_of(path).write_card
    if write is None or read_card(path) is None:
        raise ValueError(f"{path.name} carries no card to replace; files that `pocketface export` wrote do")
    write(path, card, path)


def uncertified_sha256(path: Path) -> str:
    """Gives the SHA-256 that the file had before it was certified: a certificate does not change it.

    Args:
        path: A converted file, or a checkpoint folder, which is never certified.

    Returns:
        64 hexadecimal digits; those of the file as it is where it is damaged, for then nobody certified it.
    """
    file_format = format_of(path)
    card = file_format.read_card(path)
    if card is None or card.certificate is None or file_format.write_card is None:
        return sha256_of(path)
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / path.name
        try:
            file_format.write_card(path, card.but(certificate=None), bare)
        except ValueError:
            return sha256_of(path)
        return sha256_of(bare)

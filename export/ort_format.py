"""ONNX -> .ort: onnxruntime's own flatbuffer, which its builds for phones read without the ONNX parser."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import written_whole
from ..models.graph.ports import Port, Ports, ports_of
from ..models.graph.reading import LARGEST_FILE
from ..spelling import first_line
from .artifact import METADATA_KEY, Artifact, Card, ConversionError, Note

if TYPE_CHECKING:
    import onnx

MOST_PROPERTIES = 1000
MOST_VALUES, MOST_PORTS = 100_000, 100
STATED = 1  # a side's kind in the format's DimensionValueType: a number
ALIGNMENT = 16  # bytes: of any value in a flatbuffer

ANY_CPU = Note(
    "layout",
    "its weights are laid out for no CPU in particular; an .onnx file's are for the CPU that opens it: faster on x86",
)


def to_ort(model: onnx.ModelProto, card: Card, path: Path) -> Artifact:
    """Writes a network in the ORT format, optimised for any CPU.

    The optimisations are onnxruntime's level "extended": what it fuses (convolutions with their activations, int8
    layers) every CPU computes. The level above lays weights out for the machine it runs on, and a lower one leaves
    the fusing undone: onnxruntime does none when it loads such a file. The same network gives the same bytes.

    Args:
        model: Batch 1, our names.
        card: Goes into the file's metadata.
        path: Where to.

    Raises:
        ConversionError: onnxruntime cannot open or write it.
    """
    import onnx
    import onnxruntime as ort

    card = card.with_tools("onnxruntime")
    carded = onnx.ModelProto()
    carded.CopyFrom(model)
    onnx.helper.set_model_props(carded, {METADATA_KEY: ""})  # the card's place; the card itself is the file's end
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.add_session_config_entry("session.save_model_format", "ORT")
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "model.ort"
        options.optimized_model_filepath = str(written)
        try:
            ort.InferenceSession(carded.SerializeToString(), options, providers=["CPUExecutionProvider"])
            content = written.read_bytes()
        except Exception as error:  # onnxruntime has a class for each of its failures
            raise ConversionError(f"{card.model} cannot be written as .ort: {first_line(error)}") from error
    with written_whole(path) as beside:
        beside.write_bytes(_with_card(_in_order(content), card))
    return Artifact(path, "ort", card, notes=(ANY_CPU,))


def read_ort_card(path: Path) -> Card | None:
    """Gives the card in an .ort file's metadata, or None.

    Raises:
        ConversionError: The file is too large or damaged.
    """
    content = _content(path)
    try:
        place = _card_place(content)
        if place is None:
            return None
        start = place + struct.unpack_from("<I", content, place)[0]
        (length,) = struct.unpack_from("<I", content, start)
        return Card.from_json(content[start + 4 : start + 4 + length]) if length else None
    except (struct.error, AttributeError, IndexError, TypeError) as error:
        raise ConversionError(f"{path.name} is damaged or no .ort file: {first_line(error)}") from error


def ort_ports(path: Path, output: str = "") -> Ports:
    """Describes face and embedding of the .ort file at `path`; see `ports_of`.

    Raises:
        ConversionError: It is damaged, or no embedder.
    """
    content = _content(path)
    try:
        graph = _session(content).Model().Graph()
        ports = {}
        for value in map(graph.NodeArgs, range(min(graph.NodeArgsLength(), MOST_VALUES))):
            port = _port(value)
            ports[port.name] = port
        inputs = [
            ports[graph.Inputs(i).decode("utf-8", "replace")] for i in range(min(graph.InputsLength(), MOST_PORTS))
        ]
        outputs = [
            ports[graph.Outputs(i).decode("utf-8", "replace")] for i in range(min(graph.OutputsLength(), MOST_PORTS))
        ]
    except (struct.error, AttributeError, IndexError, TypeError, KeyError) as error:
        raise ConversionError(f"{path.name} is damaged or no .ort file: {first_line(error)}") from error
    return ports_of(path.name, inputs, outputs, output)


def _port(value: Any) -> Port:
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.TensorDataType import TensorDataType
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.TensorTypeAndShape import TensorTypeAndShape

    name, tensor = value.Name().decode("utf-8", "replace"), TensorTypeAndShape()
    kinds = {number: kind.lower() for kind, number in vars(TensorDataType).items() if isinstance(number, int)}
    union = value.Type().Value() if value.Type() is not None else None
    if union is None:
        return Port(name, ())
    tensor.Init(union.Bytes, union.Pos)
    shape, sides = tensor.Shape(), list[int | None]()
    for i in range(min(shape.DimLength(), MOST_PORTS) if shape is not None else 0):
        side = shape.Dim(i).Value()
        sides.append(int(side.DimValue()) if side is not None and side.DimType() == STATED else None)
    kind = kinds[tensor.ElemType()]
    return Port(name, tuple(sides), {"float": "float32", "double": "float64"}.get(kind, kind))


def write_ort_card(path: Path, card: Card, to: Path) -> None:
    """Writes the .ort file at `path`, which has a card, with another one; the old card again gives the old bytes."""
    content = _content(path)
    with written_whole(to) as beside:
        beside.write_bytes(_with_card(content, card))


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise ConversionError(f"no .ort file at {path}")
    if path.stat().st_size > LARGEST_FILE:
        raise ConversionError(f"{path.name} has {path.stat().st_size} bytes; at most {LARGEST_FILE} are read")
    content = path.read_bytes()
    if content[4:8] != b"ORTM":
        raise ConversionError(f"{path.name} is damaged or no .ort file")
    return content


def _session(content: bytes) -> Any:
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import InferenceSession

    return InferenceSession.GetRootAs(content, 0)


def _card_place(content: bytes) -> int | None:
    """Gives where the file says how far away the card is."""
    model = _session(content).Model()
    for i in range(min(model.MetadataPropsLength(), MOST_PROPERTIES)):
        entry = model.MetadataProps(i)
        if entry.Key() == METADATA_KEY.encode():
            return int(entry._tab.Pos + entry._tab.Offset(6))  # the second field: the value
    return None


def _with_card(content: bytes, card: Card) -> bytes:
    """Puts the card behind all else.

    Given:   ... "pocketface": -> old card ... | old card
    Result:  ... "pocketface": -> new card ... | new card
    """
    place = _card_place(content)
    assert place is not None
    start = place + struct.unpack_from("<I", content, place)[0]
    (length,) = struct.unpack_from("<I", content, start)
    body = content[:start] if length else content + bytes(-len(content) % ALIGNMENT)
    text = card.to_json().encode()
    body = body[:place] + struct.pack("<I", len(body) - place) + body[place + 4 :]
    return body + struct.pack("<I", len(text)) + text + b"\0"


def _in_order(content: bytes) -> bytes:
    """Sorts the table of the operators' types, which onnxruntime writes first and in an order of chance.

    Given:   root, types of Conv, types of Add | model
    Result:  root, types of Add, types of Conv | model
    """
    session = _session(content)
    model = session.Model()._tab
    vtable = model.Pos - struct.unpack_from("<i", content, model.Pos)[0]
    start = min(model.Pos, vtable)  # what is not of the table lies from here on
    front = _front(session)
    front += bytes((start - len(front)) % ALIGNMENT)
    (root,) = struct.unpack_from("<I", front)
    fields = root - struct.unpack_from("<i", front, root)[0]
    for slot, target in ((4, _version_place(session)), (6, model.Pos)):
        place = root + struct.unpack_from("<H", front, fields + slot)[0]
        struct.pack_into("<I", front, place, target - start + len(front) - place)
    return bytes(front) + content[start:]


def _version_place(session: Any) -> int:
    place = session._tab.Pos + session._tab.Offset(4)
    return int(place + struct.unpack_from("<I", session._tab.Bytes, place)[0])


def _front(session: Any) -> bytearray:
    """Gives the root and the sorted table; the version and the model are somewhere else, so empty here."""
    import flatbuffers
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs import ArgTypeAndIndex as arg
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs import InferenceSession as root
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs import KernelTypeStrArgsEntry as kind
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs import KernelTypeStrResolver as table
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs import OpIdKernelTypeStrArgsEntry as row

    builder = flatbuffers.Builder()

    def vector(offsets: list[int]) -> int:
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    def argument(old: Any) -> int:
        arg.Start(builder)
        arg.AddArgType(builder, old.ArgType())
        arg.AddIndex(builder, old.Index())
        return int(arg.End(builder))

    def kernel(old: Any) -> int:
        name = builder.CreateString(old.KernelTypeStr())
        arguments = vector([argument(old.Args(i)) for i in range(old.ArgsLength())])
        kind.Start(builder)
        kind.AddKernelTypeStr(builder, name)
        kind.AddArgs(builder, arguments)
        return int(kind.End(builder))

    def operator(old: Any) -> int:
        name = builder.CreateString(old.OpId())
        kinds = [old.KernelTypeStrArgs(i) for i in range(old.KernelTypeStrArgsLength())]
        kernels = vector([kernel(one) for one in sorted(kinds, key=lambda one: bytes(one.KernelTypeStr()))])
        row.Start(builder)
        row.AddOpId(builder, name)
        row.AddKernelTypeStrArgs(builder, kernels)
        return int(row.End(builder))

    old = session.KernelTypeStrResolver()
    rows = [old.OpKernelTypeStrArgs(i) for i in range(old.OpKernelTypeStrArgsLength())]
    operators = vector([operator(one) for one in sorted(rows, key=lambda one: bytes(one.OpId()))])
    table.Start(builder)
    table.AddOpKernelTypeStrArgs(builder, operators)
    resolver = table.End(builder)
    elsewhere = builder.CreateString("")
    root.Start(builder)
    for add in (root.AddOrtVersion, root.AddModel):
        add(builder, elsewhere)
    root.AddKernelTypeStrResolver(builder, resolver)
    builder.Finish(root.End(builder), b"ORTM")
    return bytearray(builder.Output())

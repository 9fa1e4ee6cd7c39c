"""What a file is, told from its first bytes and name: how its network is read, or which other way leads in."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HEAD = 512  # bytes that are looked at
MOST_ENTRIES = 10_000  # of a zip's table

BY_TORCH = 'where you trust it, python -c "import torch; torch.onnx.export({call})" writes net.onnx: give that file'
"""TorchScript may map and write files, and torch.export.load unpickles: neither is opened here."""
BY_SOURCE = "to make other files, give the PyTorch network or the ONNX file that it was made from"
BY_WEIGHTS = "name the network too: path/to/file.py:factory --weights {path}"


RUNTIMES = (".ort", ".pte", ".engine", ".plan", ".trt", ".mnn", ".rknn", ".dlc", ".tnnmodel", ".hef", ".om", ".nb")
"""The files of onnxruntime, ExecuTorch, TensorRT, MNN, Rockchip, Qualcomm, TNN, Hailo, Ascend and Paddle Lite."""


@dataclass(frozen=True)
class Clues:
    """What is known of a file without reading it: its suffix, its first bytes, the names in a zip or folder."""

    suffix: str
    head: bytes
    inside: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> Clues:
        """Looks at `path`; what cannot be read has no clues."""
        head, inside = b"", tuple[str, ...]()
        try:
            if path.is_dir():
                inside = tuple(entry.name for entry in path.iterdir())
            else:
                with path.open("rb") as stream:
                    head = stream.read(HEAD)
                if head[:2] == b"PK":
                    with zipfile.ZipFile(path) as archive:
                        inside = tuple(archive.namelist()[:MOST_ENTRIES])
        except Exception:  # a damaged zip raises many kinds
            return cls(path.suffix.lower(), head, ())
        return cls(path.suffix.lower(), head, inside)

    def holds(self, *names: str) -> bool:
        """Whether something inside ends in one of `names`."""
        return any(entry.endswith(names) for entry in self.inside)


@dataclass(frozen=True)
class FileKind:
    """One kind of file, and what its owner can do."""

    title: str
    way: str  # `{path}` stands for the file; "" of a network that is read
    fits: Callable[[Clues], bool]
    converter: str = ""  # "module:function" that reads its network, see `network_conversion`


def _text(clues: Clues) -> str:
    return clues.head.decode("utf-8", "replace").lstrip("\ufeff \t\r\n").lower()


NO_NETWORKS: tuple[FileKind, ...] = (
    FileKind(
        "a Git LFS pointer, not the file itself",
        "fetch that with `git lfs pull`",
        lambda clues: clues.head.startswith(b"version https://git-lfs"),
    ),
    FileKind(
        "an HTML page, as a link gives that needs a click or a login",
        "download the file itself",
        lambda clues: _text(clues).startswith(("<!doctype html", "<html")),
    ),
)
"""What stands in for a file of any kind."""

KINDS: tuple[FileKind, ...] = (
    *NO_NETWORKS,
    FileKind(
        "a PyTorch program (torch.export), which runs code when it is opened",
        BY_TORCH.replace("{call}", "torch.export.load('{path}'), (), 'net.onnx', external_data=False"),
        lambda clues: clues.holds("serialized_exported_program.json", "models/model.json"),
    ),
    FileKind(
        "a TorchScript file, which runs code when it is opened",
        BY_TORCH.replace(
            "{call}", "torch.jit.load('{path}'), (torch.zeros(1, 3, 112, 112),), 'net.onnx', dynamo=False"
        ),
        lambda clues: clues.holds("/constants.pkl"),
    ),
    FileKind("PyTorch weights without their network", BY_WEIGHTS, lambda clues: clues.holds("/data.pkl")),
    FileKind(
        "weights without their network",
        BY_WEIGHTS,
        lambda clues: clues.suffix in (".pt", ".pth", ".ckpt", ".safetensors", ".npz") or clues.head[:2] == b"\x80\x02",
    ),
    FileKind(
        "a Keras model",
        "",
        lambda clues: clues.suffix in (".keras", ".h5", ".hdf5") or clues.head.startswith(b"\x89HDF"),
        "keras_networks:read_keras",
    ),
    FileKind(
        "a TensorFlow SavedModel",
        "",
        lambda clues: clues.holds("saved_model.pb"),
        "keras_networks:read_saved_model",
    ),
    FileKind(
        "a TFLite file",
        "",
        lambda clues: clues.head[4:8] == b"TFL3" or clues.suffix == ".tflite",
        "tflite.tflite_network:read_tflite",
    ),
    FileKind(
        "a Core ML model; `pocketface benchmark` measures an .mlpackage as it is",
        BY_SOURCE,
        lambda clues: clues.suffix in (".mlpackage", ".mlmodel", ".mlmodelc"),
    ),
    FileKind(
        "part of an MXNet model",
        "write symbol and params as ONNX (mxnet.onnx.export_model) and give the .onnx file",
        lambda clues: clues.suffix == ".params" or (clues.suffix == ".json" and '"nodes"' in _text(clues)),
    ),
    FileKind(
        "an ncnn model, which no tool turns back",
        "give the PyTorch network or the ONNX file that it was made from",
        lambda clues: clues.suffix == ".param" or clues.head.startswith(b"7767517"),
    ),
    FileKind(
        "a Caffe model",
        "convert it with caffe2onnx and give the .onnx file",
        lambda clues: clues.suffix in (".caffemodel", ".prototxt"),
    ),
    FileKind(
        "a Paddle model",
        "convert it with paddle2onnx and give the .onnx file",
        lambda clues: clues.suffix in (".pdmodel", ".pdiparams", ".pdparams"),
    ),
    FileKind(
        "a frozen TensorFlow graph",
        "write it as TFLite (tf.compat.v1.lite.TFLiteConverter.from_frozen_graph) and give the .tflite file",
        lambda clues: clues.suffix in (".pb", ".pbtxt", ".meta"),
    ),
    FileKind(
        "an OpenVINO model, which no tool turns back",
        BY_SOURCE,
        lambda clues: clues.suffix == ".xml" and "<net " in _text(clues),
    ),
    FileKind(
        "a file for one runtime, which no tool turns back",
        BY_SOURCE,
        lambda clues: clues.suffix in RUNTIMES,
    ),
    FileKind(
        "a pickle, which is code",
        "write the network as ONNX (torch.onnx.export) where its code is and give the .onnx file",
        lambda clues: clues.suffix in (".pkl", ".pickle", ".joblib"),
    ),
    FileKind(
        "an archive",
        "unpack it and give the file inside",
        lambda clues: clues.suffix in (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"),
    ),
)
"""The kinds that are told apart, the surest first."""


def kind_of(path: Path, kinds: tuple[FileKind, ...] = KINDS) -> FileKind | None:
    """Gives the kind of the file or folder at `path`; None if it is unknown."""
    clues = Clues.of(path)
    return next((kind for kind in kinds if kind.fits(clues)), None)


def way_in(path: Path, kinds: tuple[FileKind, ...] = KINDS) -> str:
    """Gives what `path` is and which way leads in: the end of a sentence that begins with its name; "" if unknown."""
    kind = kind_of(path, kinds)
    return "" if kind is None else f"is {kind.title}; {kind.way.replace('{path}', str(path))}".removesuffix("; ")

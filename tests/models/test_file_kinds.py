"""What is no embedder says what it is and which way leads in."""

import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from pocketface.models.checkpoint import open_embedder
from pocketface.models.file_kinds import way_in

WEIGHTS = "name the network too: path/to/file.py:factory --weights "
CONTENTS = {
    "net.onnx": (
        b"version https://git-lfs.github.com/spec/v1\n",
        "a Git LFS pointer",
        "fetch that with `git lfs pull`",
    ),
    "a.tflite": (b"\n<!DOCTYPE html><html>", "an HTML page", "download the file itself"),
    "net.safetensors": (b"\x08\0\0\0\0\0\0\0{}", "weights without their network", WEIGHTS),
    "old.pth": (b"\x80\x02\x8a\nl\xfc", "weights without their network", WEIGHTS),
    "net-0000.params": (b"\x12\x01\0\0", "part of an MXNet model", "mxnet.onnx.export_model"),
    "net-symbol.json": (b'{"nodes": []}', "part of an MXNet model", "mxnet.onnx.export_model"),
    "net.param": (b"7767517\n75 83\n", "an ncnn model", "give the PyTorch network or the ONNX file"),
    "net.ort": (b"\0\0\0\0ORTM", "a file for one runtime", "give the PyTorch network or the ONNX file"),
    "net.engine": (b"ftrt", "a file for one runtime", "give the PyTorch network or the ONNX file"),
    "net.xml": (
        b'<?xml version="1.0"?>\n<net name="face">',
        "an OpenVINO model",
        "give the PyTorch network or the ONNX",
    ),
    "facenet.pb": (b"\n\x1f", "a frozen TensorFlow graph", "tf.compat.v1.lite.TFLiteConverter.from_frozen_graph"),
    "net.pkl": (b"\x80\x04", "a pickle, which is code", "torch.onnx.export"),
    "net.zip": (b"PK\x05\x06", "an archive", "unpack it"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_says_what_it_is_and_which_way_leads_in(name: str, tmp_path: Path) -> None:
    content, kind, way = CONTENTS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"is a|is part|is weights") as refused:
        open_embedder(tmp_path / name)
    said = str(refused.value)
    assert said.startswith(f"{tmp_path / name} is {kind}") and way in said and "\n" not in said


def test_folders_and_zips_are_told_by_what_lies_in_them(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    (tmp_path / "net.mlpackage").mkdir()
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    net = nn.Linear(2, 1)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    torch.jit.trace(net, torch.zeros(1, 2)).save(str(tmp_path / "traced.pt"))
    kinds = {
        "saved": "is a TensorFlow SavedModel",
        "net.mlpackage": "is a Core ML model; `pocketface benchmark` measures an .mlpackage as it is",
        "net.keras": "is a Keras model",
        "net.pt": f"is PyTorch weights without their network; {WEIGHTS}{tmp_path / 'net.pt'}",
        "traced.pt": "is a TorchScript file, which runs code when it is opened; where you trust it, python -c",
    }
    for name, sentence in kinds.items():
        assert way_in(tmp_path / name).startswith(sentence), name


def test_what_is_not_known_is_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    assert way_in(tmp_path / "notes.txt") == ""

"""Which runtimes a recipe means, and that they give the same embedding of the same file."""

from dataclasses import replace

import numpy as np
import pytest

from pocketface.benchmark import runtimes as module
from pocketface.benchmark.recipe import BenchmarkRecipe
from pocketface.benchmark.runtimes import RUNTIMES, Runtime, runtimes_for, usual_runtime
from pocketface.export.formats import FORMATS, open_session
from pocketface.export.tflite.delegation import delegation
from pocketface.lazy import opener_of
from pocketface.models.embedder import unit

FACES = np.random.default_rng(0).uniform(-1, 1, (3, 3, 112, 112)).astype(np.float32)
KNOWN = {runtime.name: runtime for runtime in RUNTIMES}


def names(kind, *wanted):
    return [runtime.name for runtime in runtimes_for(kind, wanted)]


def test_every_format_has_a_usual_runtime():
    assert {kind: usual_runtime(kind).name for kind in FORMATS} == {
        "pytorch": "torch",
        "onnx": "onnxruntime",
        "ort": "onnxruntime",
        "tflite": "litert",
        "coreml": "coreml-evaluator",
        "executorch": "executorch",
    }


def test_a_recipe_that_names_none_means_the_usual_one():
    assert names("tflite") == ["litert"]
    assert names("tflite", "litert-no-xnnpack") == ["litert-no-xnnpack"]
    assert names("onnx", "litert-no-xnnpack") == []


def test_all_means_those_that_work_here_and_a_name_means_that_one_anyway(monkeypatch):
    table = (
        Runtime("works", ("tflite",), ("numpy",), "numpy"),
        Runtime("absent", ("tflite",), ("no-such-package", "nor-this"), "numpy"),
        Runtime("hindered", ("tflite",), ("numpy",), "numpy", hindrance=lambda: "not on a Tuesday"),
        Runtime("extra", ("onnx",), ("no-such-package",), "numpy", extra="more"),
    )
    tflite = replace(FORMATS["tflite"], runtime="usual", package="no-such-package", module="no_such_module")
    monkeypatch.setitem(FORMATS, "tflite", tflite)
    monkeypatch.setattr(module, "RUNTIMES", table)
    assert names("tflite", "all") == ["usual", "works"]
    assert names("tflite", "all", "hindered") == ["usual", "works", "hindered"]
    assert [runtime.missing for runtime in (usual_runtime("tflite"), *table)] == [
        "usual is not installed: pip install no-such-package",
        "",
        "absent is not installed: pip install no-such-package",
        "not on a Tuesday",
        "extra is not installed: pip install 'pocketface[more]'",
    ]


def test_a_name_that_is_not_in_the_table_is_refused():
    with pytest.raises(ValueError, match="no runtime 'ncnn'; known: litert, litert-no-xnnpack, "):
        BenchmarkRecipe(runtimes=("ncnn",))
    assert BenchmarkRecipe(runtimes=("all",)).runtimes == ("all",)


def test_tflite_runtime_says_why_it_cannot_run_here():
    if int(np.__version__.split(".")[0]) < 2:
        pytest.skip("NumPy 1")
    assert "cannot run beside" in KNOWN["tflite-runtime"].missing


def test_litert_without_xnnpack_runs_its_own_kernels_to_the_same_end(files):
    session = opener_of(KNOWN["litert-no-xnnpack"].opener)(files["tflite"], 1)
    litert = open_session(files["tflite"])
    assert session.runtime == "litert-no-xnnpack"
    assert delegation(files["tflite"]).partitions == 1
    assert "DELEGATE" not in {operator["op_name"] for operator in session._interpreter._get_ops_details()}
    difference = np.abs(unit(session.run(FACES)) - unit(litert.run(FACES))).max()
    assert 0 < difference < 1e-5  # other kernels add in another order


def test_the_arena_holds_the_largest_layer_and_less_than_all(files):
    session = opener_of(KNOWN["litert-no-xnnpack"].opener)(files["tflite"], 1)
    details = session._interpreter.get_tensor_details()
    written = {index for op in session._interpreter._get_ops_details() for index in op["outputs"]}
    sizes = [4 * int(np.prod(tensor["shape"])) for tensor in details if tensor["index"] in written]
    # at its widest the network goes from 32 to 64 channels of 56x56: both lie there at once
    assert 4 * 56 * 56 * (32 + 64) <= session.arena_bytes < sum(sizes)
    assert open_session(files["tflite"]).arena_bytes is None  # XNNPACK keeps it to itself


@pytest.mark.skipif(KNOWN["tf.lite"].missing != "", reason=KNOWN["tf.lite"].missing)
def test_tensorflow_gives_litert_s_embedding(files):
    session = opener_of(KNOWN["tf.lite"].opener)(files["tflite"], 1)
    assert session.runtime == "tf.lite"
    np.testing.assert_allclose(unit(session.run(FACES)), unit(open_session(files["tflite"]).run(FACES)), atol=1e-5)


@pytest.mark.skipif(KNOWN["torch-compiled"].missing != "", reason=KNOWN["torch-compiled"].missing)
def test_a_compiled_network_gives_pytorch_s_embedding(tmp_path):
    from torch import nn

    from pocketface.faces.contract import InputContract
    from pocketface.models.checkpoint import save_checkpoint
    from pocketface.models.embedder import Embedder

    code = "from torch import nn\ndef make():\n    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten())"
    (tmp_path / "net.py").write_text(code)
    factory = f"{tmp_path / 'net.py'}:make"
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten())
    path = save_checkpoint(Embedder("two", backbone, InputContract(16, 16), architecture=factory), tmp_path / "c")
    session = opener_of(KNOWN["torch-compiled"].opener)(path, 1, factory)
    faces = FACES[:1, :, :16, :16].copy()
    np.testing.assert_allclose(session.run(faces), open_session(path, 1, factory).run(faces), atol=1e-6)
    assert session.load_ms > 0

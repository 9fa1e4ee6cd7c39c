"""Tables of layer costs: what is measured, what is kept, and what they predict."""

import dataclasses
import json
from functools import partial

import pytest
from torch import nn

from pocketface.benchmark.arm64.emulator import installed
from pocketface.benchmark.cost_meters import instruction_meter, meter_of
from pocketface.benchmark.speed.layer_measuring import layer_costs, layer_file, tflite_of, widths_up_to
from pocketface.benchmark.speed.meters import Meter, fastest_ms, stopwatch_meter
from pocketface.faces.contract import InputContract
from pocketface.models.embedder import Embedder
from pocketface.models.layer_runs import LayerShape, layer_runs
from pocketface.models.zoo import create
from pocketface.prune.channels.sizes import size_of

quiet = partial(layer_costs, progress=lambda line: None)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "pocketface" / "layer-costs"


@pytest.fixture
def quick_export(monkeypatch):
    """Exports whole networks in no time, as a file of as many bytes; for tests of what is kept."""

    def export(embedder, folder):
        path = folder / "whole.tflite"
        path.write_bytes(bytes(size_of(embedder).bytes))
        return path

    monkeypatch.setattr("pocketface.benchmark.speed.layer_measuring.tflite_of", export)


def small(first=16, second=24, size=16):
    backbone = nn.Sequential(
        nn.Conv2d(3, first, 3, stride=2, padding=1),
        nn.BatchNorm2d(first),
        nn.PReLU(first),
        nn.Conv2d(first, first, 3, padding=1, groups=first),
        nn.Conv2d(first, second, 1),
        nn.ReLU(),
        nn.Conv2d(second, 4, size // 2),
        nn.Flatten(),
    )
    return Embedder("small", backbone, InputContract(size, size), architecture="tests:small")


class Scales:
    """Weighs files: a cost that is known, and the same each time."""

    def __init__(self, widths=4):
        self.weighed = 0
        self.meter = Meter("milliseconds", "scales", 1, self.measure, widths)

    def measure(self, paths):
        self.weighed += len(paths)
        return [path.stat().st_size for path in paths]


def details(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    return interpreter


def test_every_layer_is_in_the_table_at_its_own_width_and_below(quick_export):
    table = quiet(small(), meter=Scales().meter)
    grids = {str(shape): (grid.inputs, grid.outputs) for shape, grid in table.grids.items()}
    assert grids == {
        "dense 3x3 stride 2 on 16x16": ((3,), (8, 16)),
        "slopes stride 1 on 8x8": ((1,), (8, 16)),
        "depthwise 3x3 stride 1 on 8x8": ((1,), (8, 16)),
        "dense 1x1 stride 1 on 8x8": ((8, 16), (8, 16, 24)),
        "dense 8x8 stride 1 on 8x8": ((8, 24), (4,)),
    }


def test_the_table_predicts_the_whole_network_as_measured(quick_export):
    embedder = small()
    table = quiet(embedder, meter=Scales().meter)
    assert size_of(embedder, table).measured == pytest.approx(size_of(embedder).bytes)  # which the scales weighed


def test_of_other_weights_only_the_whole_is_measured(quick_export):
    first, again = quiet(small(), meter=Scales().meter), Scales()
    assert quiet(small(), meter=again.meter).grids == first.grids
    assert again.weighed == 1


def test_the_same_network_is_measured_once(quick_export):
    embedder, scales = small(), Scales()
    first, weighed = quiet(embedder, meter=scales.meter), scales.weighed
    assert quiet(embedder, meter=scales.meter).sha256 == first.sha256
    assert scales.weighed == weighed


def test_a_narrower_network_needs_only_the_whole_measured_and_a_wider_one_more(quick_export):
    quiet(small(), meter=Scales().meter)
    narrower, wider = Scales(), Scales()
    quiet(small(8, 16), meter=narrower.meter)
    quiet(small(16, 32), meter=wider.meter)
    # 1x1 at 2 widths of inputs and 4 of outputs, 8x8 at 2 and 1, the whole
    assert (narrower.weighed, wider.weighed) == (1, 2 * 4 + 2 * 1 + 1)


def test_a_wider_network_changes_no_table_that_was_given_before(quick_export):
    embedder = small()
    first = quiet(embedder, meter=Scales().meter)
    quiet(small(32, 64), meter=Scales().meter)
    assert quiet(embedder, meter=Scales().meter).sha256 == first.sha256


@pytest.mark.parametrize("change", [{"device": "other"}, {"threads": 2}, {"unit": "instructions"}, {"runtime": "x"}])
def test_another_device_runtime_or_unit_is_measured_anew(change, quick_export):
    embedder, scales = small(), Scales()
    quiet(embedder, meter=scales.meter)
    weighed = scales.weighed
    quiet(embedder, meter=dataclasses.replace(scales.meter, **change))
    assert scales.weighed == 2 * weighed


def test_what_a_killed_try_measured_is_kept(quick_export):
    embedder, scales = small(), Scales()

    def dies(line):
        if "4 of 5" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        layer_costs(embedder, scales.meter, dies)
    weighed = scales.weighed
    quiet(embedder, meter=scales.meter)
    untouched = Scales()
    untouched.meter = dataclasses.replace(untouched.meter, device="fresh")
    quiet(embedder, meter=untouched.meter)
    assert weighed == 3 * 2
    assert scales.weighed == untouched.weighed


def test_a_damaged_cache_is_measured_anew(cache, quick_export):
    embedder, scales = small(), Scales()
    first = quiet(embedder, meter=scales.meter)
    (file,) = cache.iterdir()
    for content in ("", "[]", '{"grids": [[1, 2]]}', json.dumps({"grids": [], "wholes": 3})):
        file.write_text(content)
        assert quiet(embedder, meter=scales.meter).sha256 == first.sha256


def test_a_unit_that_nothing_measures_is_refused():
    with pytest.raises(ValueError, match="nothing here measures 'joules'; known: milliseconds, instructions"):
        layer_costs(small(), meter_of("joules"))


def test_widths_lie_on_multiples_of_eight_in_even_steps():
    assert widths_up_to(64, 64) == (8, 16, 24, 32, 40, 48, 56, 64)
    assert widths_up_to(1024, 64) == tuple(range(16, 1025, 16))
    assert widths_up_to(8, 4) == (8,)
    assert widths_up_to(4, 4) == (4,)
    assert widths_up_to(45, 4) == (16, 32, 45)


@pytest.mark.parametrize(
    ("shape", "inputs", "outputs", "operators", "size"),
    [
        (LayerShape("dense", (9, 7), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)), 5, 8, ["CONV_2D"], (9, 7, 8)),
        # PyTorch pads the first row, TFLite's SAME the last: it cannot be said without a PAD
        (LayerShape("dense", (8, 8), (3, 3), (2, 2), (1, 1), (1, 1, 1, 1)), 5, 8, ["PAD", "CONV_2D"], (4, 4, 8)),
        (LayerShape("dense", (9, 9), (3, 3), (1, 1), (2, 2), (0, 0, 0, 0)), 5, 8, ["CONV_2D"], (5, 5, 8)),
        (LayerShape("dense", (1, 1)), 5, 8, ["CONV_2D"], (1, 1, 8)),
        (LayerShape("depthwise", (8, 8), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)), 1, 8, ["DEPTHWISE_CONV_2D"], (8, 8, 8)),
        (LayerShape("slopes", (8, 6)), 1, 8, ["PRELU"], (8, 6, 8)),
    ],
)
def test_a_layer_is_written_as_the_exporter_writes_it(tmp_path, shape, inputs, outputs, operators, size):
    path = tmp_path / "layer.tflite"
    path.write_bytes(layer_file(shape, inputs, outputs))
    interpreter = details(path)
    written = [op["op_name"] for op in interpreter._get_ops_details() if op["op_name"] != "DELEGATE"]
    assert written == operators
    assert tuple(interpreter.get_output_details()[0]["shape"]) == (1, *size)
    assert tuple(interpreter.get_input_details()[0]["shape"]) == (
        1,
        *shape.size,
        inputs if "CONV_2D" in operators else 8,
    )


def test_the_layers_of_a_network_are_the_operators_of_its_file(tmp_path):
    embedder = create("mobilefacenet", width=0.125)
    whole = [op["op_name"] for op in details(tflite_of(embedder, tmp_path))._get_ops_details()]
    alone = []
    for number, run in enumerate(run for run in layer_runs(embedder) if run.shape):
        path = tmp_path / f"{number}.tflite"
        path.write_bytes(layer_file(run.shape, run.inputs, run.outputs))
        alone += [op["op_name"] for op in details(path)._get_ops_details()]
    beside = {"ADD", "RESHAPE", "DELEGATE"}  # what is no layer
    assert sorted(name for name in alone if name not in beside) == sorted(name for name in whole if name not in beside)


def test_more_work_takes_more_time(tmp_path):
    shape = LayerShape("dense", (28, 28), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
    paths = []
    for width in (16, 128):
        paths.append(tmp_path / f"{width}.tflite")
        paths[-1].write_bytes(layer_file(shape, 32, width))
    few, many = fastest_ms(paths)
    assert 0 < 2 * few < many < 100


def test_a_real_table_prefers_the_narrower_network():
    table = quiet(small(32, 64), meter=stopwatch_meter())
    whole, narrow = (size_of(net, table).measured for net in (small(32, 64), small(8, 16)))
    assert 0 < narrow < whole
    assert (table.unit, table.threads) == ("milliseconds", 1)
    assert table.runtime.startswith("LiteRT ")


@pytest.mark.skipif(installed() is not None, reason=str(installed()))
def test_instructions_of_a_narrower_network_are_predicted_to_three_percent(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")  # where the emulator lies
    monkeypatch.setattr("pocketface.benchmark.speed.layer_measuring.CostCache.write", lambda cache: None)
    meter = dataclasses.replace(instruction_meter("a76"), device=f"a test {tmp_path}")
    table = quiet(small(64, 64, size=56), meter=meter)
    narrow = small(32, 40, size=56)
    (counted,) = meter.measure([tflite_of(narrow, tmp_path)])
    assert size_of(narrow, table).measured == pytest.approx(counted, rel=0.03)

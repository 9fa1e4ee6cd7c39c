"""The pivot, the front, the verdict and both files of a report, on a few literal rows."""

import csv
import dataclasses
import json
import re
from pathlib import Path

import pytest
from onnx import helper

from pocketface.benchmark.measurement import Measurement, write_measurements
from pocketface.benchmark.report.columns import columns_of
from pocketface.benchmark.report.conditions import how
from pocketface.benchmark.report.figures import written
from pocketface.benchmark.report.limits import Limits
from pocketface.benchmark.report.page import write_report
from pocketface.benchmark.report.pruned_layers import changed
from pocketface.benchmark.report.recommendation import recommend
from pocketface.benchmark.report.summary import Line, pareto_front, summarise
from pocketface.benchmark.report.verdict import picks_of, recommended, verdict
from pocketface.export.artifact import Card
from pocketface.export.graph.to_onnx import write_onnx
from pocketface.faces.contract import InputContract
from pocketface.prune.sensitivity_analysis import Sensitivity, write_sensitivity

DEVICE = "a CPU"
NO_MAC = "latency is not measured off a Mac"


def row(file, metric, value, unit="1", runtime="litert", low=None, high=None, n=None, reason="", **conditions):
    model, artifact, format, precision = file
    return Measurement(
        *(model, artifact, format, precision, runtime, DEVICE, metric, value, unit, low, high, n),
        valid=not reason,
        reason=reason,
        conditions=conditions,
    )


WHOLE = ("net", "artifacts/net.tflite", "tflite", "fp32")
SMALL = ("net-pruned", "artifacts/net-pruned.w8a8.tflite", "tflite", "w8a8")
APPLE = ("net-pruned", "artifacts/net-pruned.mlpackage", "coreml", "fp16")
ROWS = [
    row(WHOLE, "size_bytes", 4_000_000, "bytes", ""),
    row(WHOLE, "parameters", 1_000_000, runtime=""),
    row(WHOLE, "latency_ms_p50", 2.0, "ms", threads=1, batch=1, runtime_version="2.3"),
    row(WHOLE, "latency_ms_p50", 1.2, "ms", threads=2, batch=1, runtime_version="2.3"),
    row(WHOLE, "verification_accuracy", 0.992, low=0.989, high=0.994, n=6000, runtime_version="2.3"),
    row(SMALL, "size_bytes", 330_000, "bytes", ""),
    row(SMALL, "parameters", 300_000, runtime=""),
    row(SMALL, "latency_ms_p50", 0.9, "ms", threads=1, batch=1, runtime_version="2.3"),
    row(SMALL, "verification_accuracy", 0.987, low=0.983, high=0.990, n=6000, runtime_version="2.3"),
    row(SMALL, "accuracy_difference", -0.0005, low=-0.0015, high=0.0005, n=6000, to="net"),
    row(SMALL, "threshold_at_far_1e-3", 0.25, low=0.2, high=0.3, n=6000),
    row(APPLE, "size_bytes", 610_000, "bytes", ""),
    row(APPLE, "latency_ms_p50", None, "ms", "coreml-evaluator", reason=NO_MAC, threads=1),
    row(APPLE, "verification_accuracy", 0.988, runtime="coreml-evaluator", low=0.984, high=0.991, n=6000),
    row(APPLE, "accuracy_difference", 0.0, runtime="coreml-evaluator", low=-0.001, high=0.001, n=6000, to="net"),
    row(("net-pruned", "", "tflite", "w4"), "export", None, runtime="", reason="no kernel takes w4"),
]


def written_run(folder: Path, rows=ROWS) -> Path:
    folder.mkdir(parents=True)
    write_measurements(rows, folder / "measurements.json")
    return folder


def layer(name, filters, parameters, macs, kind="Conv2d", kernel=(3, 3), groups=(1, 1)):
    before_after = {"groups": groups, "filters": filters, "parameters": parameters, "macs": macs}
    return {"name": name, "kind": kind, "kernel": kernel, **before_after}


PRUNED = {
    "stage": "prune",
    "recipe": {"schedule": "one-shot", "criterion": "l1", "by": "macs", "scope": "papers", "signal": "arcface"},
    "filters": [208, 136],
    "parameters": [1_000_000, 700_000],
    "macs": [200_000_000, 150_000_000],
    "layers": [
        layer("stem", [64, 48], [1728, 1296], [5_400_000, 4_100_000]),
        layer("stem.dw", [64, 48], [576, 432], [1_800_000, 1_350_000], groups=(64, 48)),
        layer("head", [80, 40], [12_000, 6000], [12_000, 6000], "Linear", (1, 1)),
    ],
}


def written_checkpoint(folder: Path, name="net-pruned", ancestry=(PRUNED,)) -> Path:
    folder.mkdir(parents=True)
    (folder / "embedder.json").write_text(json.dumps({"name": name, "ancestry": ancestry}))
    return folder


def report(folder: Path, *runs: Path) -> tuple[str, str]:
    page, markdown = write_report(runs, folder / "out")
    return page.read_text(encoding="utf-8"), markdown.read_text(encoding="utf-8")


def lines_of(*points: tuple[float | None, float | None]) -> list[Line]:
    """A line per (cost, gain)."""
    return [
        Line("", f"m{i}", "", "onnx", "fp32", "", "", {
            key: row((f"m{i}", "", "onnx", "fp32"), key, value)
            for key, value in (("cost", cost), ("gain", gain))
            if value is not None
        })
        for i, (cost, gain) in enumerate(points)
    ]  # fmt: skip


# ---- one line per file and runtime ----


def test_rows_of_one_file_and_runtime_become_one_line():
    small = summarise(ROWS)[1]
    assert (small.name, small.format, small.precision, small.runtime, small.device) == (
        "net-pruned.w8a8.tflite", "tflite", "w8a8", "litert", DEVICE,
    )  # fmt: skip
    assert {key: small.value(key) for key in ("size_bytes", "parameters", "latency_ms_p50@1")} == {
        "size_bytes": 330_000, "parameters": 300_000, "latency_ms_p50@1": 0.9,
    }  # fmt: skip


def test_latency_has_a_cell_per_number_of_threads():
    whole = summarise(ROWS)[0]
    assert (whole.value("latency_ms_p50@1"), whole.value("latency_ms_p50@2")) == (2.0, 1.2)


def test_size_belongs_to_every_runtime_of_the_file():
    rows = [*ROWS[:1], row(WHOLE, "eer", 0.01, runtime="litert"), row(WHOLE, "eer", 0.02, runtime="tf.lite")]
    assert [(line.runtime, line.value("size_bytes"), line.value("eer")) for line in summarise(rows)] == [
        ("litert", 4_000_000, 0.01),
        ("tf.lite", 4_000_000, 0.02),
    ]


def test_two_devices_are_two_lines():
    phone = dataclasses.replace(ROWS[2], device="a phone", value=5.0)
    lines = summarise([ROWS[0], ROWS[2], phone])
    assert [(line.device, line.value("latency_ms_p50@1")) for line in lines] == [(DEVICE, 2.0), ("a phone", 5.0)]


def test_parameters_of_the_model_reach_its_other_files():
    assert summarise(ROWS)[2].value("parameters") == 300_000


def test_same_metric_under_other_conditions_is_kept():
    flipped = dataclasses.replace(ROWS[4], value=0.6, conditions={"flip": True})
    again = dataclasses.replace(ROWS[4], value=0.5, conditions={"crops": "224x224"})
    cells = summarise([ROWS[4], flipped, again])[0].cells
    assert {key: cell.value for key, cell in cells.items()} == {
        "verification_accuracy": 0.992,
        "verification_accuracy+flip": 0.6,
        "verification_accuracy (measurement 2)": 0.5,
    }


def test_speed_is_told_against_the_unpruned_fp32_of_the_same_runtime():
    cell = summarise(ROWS)[1].cells["latency_ratio"]
    assert cell.value == pytest.approx(2.0 / 0.9)
    assert cell.conditions == {"against": "net.tflite"}


def test_speed_is_told_against_the_first_line_where_no_unpruned_fp32_ran():
    first = [row(SMALL, "latency_ms_p50", 0.9, "ms", threads=1)]
    second = [row((*SMALL[:1], "b.tflite", "tflite", "w8"), "latency_ms_p50", 1.8, "ms", threads=1)]
    assert summarise(first + second)[1].value("latency_ratio") == 0.5


def test_size_is_told_against_the_unpruned_fp32_of_another_runtime_where_its_own_has_none():
    cell = summarise(ROWS)[2].cells["size_ratio"]
    assert (round(cell.value, 2), cell.conditions["against"]) == (6.56, "net.tflite")


def test_metric_that_no_column_names_gets_its_own():
    lines = summarise([row(WHOLE, "energy_per_face", 3.5, "mJ")])
    assert [(column.key, column.title) for column in columns_of(lines[0].cells.items())] == [
        ("energy_per_face", "energy per face, mJ")
    ]


# ---- the front ----


def test_front_holds_what_nothing_beats():
    #                  front  front  dearer and worse than 1  front
    lines = lines_of((1, 10), (2, 20), (3, 15), (4, 30))
    assert pareto_front(lines, ["cost"], ["gain"]) == [0, 1, 3]


def test_equals_stay_on_the_front_together():
    assert pareto_front(lines_of((1, 10), (1, 10)), ["cost"], ["gain"]) == [0, 1]


def test_as_good_but_dearer_is_beaten():
    assert pareto_front(lines_of((1, 10), (2, 10), (1, 9)), ["cost"], ["gain"]) == [0]


def test_lines_without_a_number_take_no_part_in_the_front():
    assert pareto_front(lines_of((None, 99), (5, 10), (1, None)), ["cost"], ["gain"]) == [1]


def test_front_of_two_costs_takes_less_of_both():
    assert pareto_front(lines_of((1, 5), (5, 1), (5, 5)), ["cost", "gain"], []) == [0, 1]


def test_front_of_nothing_is_empty():
    assert pareto_front([], ["cost"], ["gain"]) == []


# ---- numbers and words ----


@pytest.mark.parametrize(
    ("kind", "value", "low", "high", "text"),
    [
        ("share", 0.98712, 0.9834, 0.9902, "98.7 % [98.3, 99.0]"),
        ("share", 0.71, 0.52, 0.85, "71 % [52, 85]"),
        ("share", 0.99912, 0.9989, 0.9993, "99.91 % [99.89, 99.93]"),
        ("share", 0.98712, float("nan"), 0.99, "98.7 %"),
        ("bytes", 330_000, None, None, "0.33 MB"),
        ("bytes", 45_100, None, None, "45.1 kB"),
        ("ms", 0.9, 0.88, 0.95, "0.90 ms [0.88, 0.95]"),
        ("ms", 0.0123, None, None, "0.012 ms"),
        ("ms", 143.2, None, None, "143 ms"),
        ("count", 993_000, None, None, "993 k"),
        ("count", 1_200_000_000, None, None, "1.20 G"),
        ("cosine", 0.96812, None, None, "0.9681"),
        ("cosine", 0.999998, None, None, "0.999998"),
        ("tiny", 3.14e-6, None, None, "3.1e-06"),
    ],
)
def test_numbers_have_the_digits_they_are_worth(kind, value, low, high, text):
    assert " ".join(written(row(WHOLE, "m", value, low=low, high=high), kind)).strip() == text


def picks(rows, limits=None):
    lines = summarise(rows)
    return picks_of(lines, recommend(lines, limits or Limits()))


def test_each_format_has_a_pick_the_recommended_ones_first():
    assert [(pick.format, pick.line.name, pick.meets, pick.first) for pick in picks(ROWS)] == [
        ("TFLite", "net-pruned.w8a8.tflite", True, True),
        ("Core ML", "net-pruned.mlpackage", True, True),
    ]


def test_pick_is_the_nearest_file_where_none_meets_the_limits():
    pick = picks(ROWS, Limits(max_mb=0.3))[0]
    assert (pick.line.name, pick.meets, pick.first) == ("net-pruned.w8a8.tflite", False, False)
    assert pick.why == "Does not meet the limits for sure: 0.33 MB is above 0.3 MB."


def test_verdict_says_what_was_done():
    assert verdict(summarise(ROWS)) == (
        "net (1.00 M parameters) was pruned to net-pruned (300 k parameters). "
        "2 TFLite and 1 Core ML files were measured; 1 could not be made."
    )


def test_recommendation_is_a_sentence_with_its_numbers():
    lines = summarise(ROWS)
    assert recommended(lines, recommend(lines, Limits()))[0] == (
        "Any phone",
        "Ship net-pruned.w8a8.tflite: size 0.33 MB (12× smaller), latency on 1 thread 0.90 ms (2.2× faster, litert on "
        "a CPU), accuracy 98.7 % [98.3, 99.0] (on 6,000 pairs), accuracy against the source -0.05 points "
        "[-0.15, +0.05] (net). It is the fastest that meets the limits. Compared with net.tflite.",
    )


def test_conditions_that_are_alike_are_told_once_with_the_runtimes_versions():
    rows = [
        row(WHOLE, "eer", 0.01, n=6000, flip=False, runtime_version="2.3", samples=[1, 2]),
        row(WHOLE, "eer", 0.01, n=6000, flip=False, runtime="torch", runtime_version="2.9"),
    ]
    assert how(rows) == [("Verification", "litert 2.3, torch 2.9", DEVICE, "flip: False; n: 6000")]


# ---- the files ----


def test_markdown_table_is_literal(tmp_path):
    _, markdown = report(tmp_path, written_run(tmp_path / "run"))
    table = markdown.split("## All files\n\n")[1].split("\n\n")[0]
    assert table == "\n".join((
        "| File | Nr | Format | Precision | Runtime | Size | Latency on 1 thread | Faster | Accuracy "
        "| Against the source |",
        "| --- | ---: | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
        "| net.tflite ◆ | 1 | tflite | fp32 | litert | 4.00 MB | 2.00 ms |  | 99.2 % \\[98.9, 99.4\\] |  |",
        "| net-pruned.w8a8.tflite ★ ◆ | 2 | tflite | w8a8 | litert | 0.33 MB | 0.90 ms | 2.2× "
        "| 98.7 % \\[98.3, 99.0\\] | -0.05 points \\[-0.15, +0.05\\] |",
        "| net-pruned.mlpackage ★ ◆ | 3 | coreml | fp16 | coreml-evaluator | 0.61 MB | not measured (1) |  "
        "| 98.8 % \\[98.4, 99.1\\] | +0.00 points \\[-0.10, +0.10\\] |",
        "| net-pruned tflite w4 | 4 | tflite | w4 | not made (2) |  |  |  |  |  |",
    ))  # fmt: skip


def test_what_could_not_be_measured_is_listed_with_its_reason(tmp_path):
    page, markdown = report(tmp_path, written_run(tmp_path / "run"))
    assert markdown.split("slower, and why\n\n")[1].split("\n\n")[0] == (
        f"1. {NO_MAC}\n   - net-pruned.mlpackage: Latency on 1 thread\n"
        "2. no kernel takes w4\n   - net-pruned tflite w4: export"
    )
    assert f'title="not measured: {NO_MAC}">not measured<sup><a href="#why-1"' in page
    assert f'<li id="why-1" value="1">{NO_MAC}' in page


def test_threshold_is_told_as_cosine_and_as_squared_distance(tmp_path):
    _, markdown = report(tmp_path, written_run(tmp_path / "run"))
    assert "| net-pruned.w8a8.tflite | litert | 1e-3 | 0.2500 \\[0.20, 0.30\\] | 1.5000 | 6000 |" in markdown


def test_emulated_runtime_is_said_to_be_emulated(tmp_path):
    for text in report(tmp_path, written_run(tmp_path / "run")):
        assert "Rows of runtime coreml-evaluator are emulated" in text


def test_hostile_names_stay_text(tmp_path):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>|`*[a](b)"
    rows = [dataclasses.replace(each, model=evil, reason=each.reason and evil) for each in ROWS]
    page, markdown = report(tmp_path, written_run(tmp_path / "run", rows))
    assert page.count("</script>") == 2  # the data and the code: as in any other report
    assert "<img" not in page and "<img" not in markdown and "<script" not in markdown
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert data["points"][0]["where"] == f"{evil}, litert"


def test_page_loads_nothing(tmp_path):
    page, _ = report(tmp_path, written_run(tmp_path / "run"))
    assert "default-src 'none'" in page
    assert set(re.findall(r'(?:src|href)="([^"#]*)"', page)) == {"data:,"}
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(", page)


def test_manifest_and_recipe_are_told(tmp_path):
    run = written_run(tmp_path / "run")
    manifest = {"command": ["pocketface", "run", "a b.toml"], "seed": 7, "inputs": [{"path": "w", "sha256": "ab12"}]}
    (run / "manifest.json").write_text(json.dumps(manifest))
    (run / "recipe.toml").write_text('embedder = "net"\n')
    page, markdown = report(tmp_path, run)
    assert "    pocketface run 'a b.toml'\n\n- seed: 7\n- inputs 1 path: w\n- inputs 1 sha256: ab12\n" in markdown
    assert "<dt>inputs 1 sha256</dt><dd>ab12</dd>" in page
    assert "embedder = &#34;net&#34;" in page


def test_several_runs_become_one_report_and_each_has_its_own_reference(tmp_path):
    slower = [dataclasses.replace(each, value=each.value and each.value * 2) for each in ROWS[:9]]
    _, markdown = report(tmp_path, written_run(tmp_path / "laptop"), written_run(tmp_path / "phone", slower))
    rows = re.findall(r"^\| net-pruned\.w8a8\.tflite.*\| (\d) \| (\w+) \|.* (\S+ ms) \| (\S+) \|", markdown, re.M)
    assert rows == [("2", "laptop", "0.90 ms", "2.2×"), ("6", "phone", "1.80 ms", "2.2×")]


def test_runs_of_one_name_are_told_by_their_paths(tmp_path):
    first, second = written_run(tmp_path / "a" / "run"), written_run(tmp_path / "b" / "run")
    _, markdown = report(tmp_path, first, second)
    assert f"**{first}.**" in markdown and f"**{second}.**" in markdown


def test_run_without_rows_is_still_a_report(tmp_path):
    page, markdown = report(tmp_path, written_run(tmp_path / "run", []))
    assert "No files were measured." in page and "No files were measured." in markdown


def test_missing_measurements_are_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"^.*/none has no measurements.json; `pocketface benchmark` writes one$"):
        write_report([tmp_path / "none"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_folder_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="at least one run folder"):
        write_report([], tmp_path)


def test_broken_manifest_is_one_sentence(tmp_path):
    run = written_run(tmp_path / "run")
    (run / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest\.json is no JSON"):
        write_report([run], tmp_path / "out")


def test_csv_has_every_row_as_it_was_measured(tmp_path):
    report(tmp_path, written_run(tmp_path / "run"))
    with (tmp_path / "out" / "report.csv").open(encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    number = {name: lambda text: float(text) if text else None for name in ("value", "low", "high")}
    read = {**number, "n": lambda text: int(text) if text else None, "conditions": json.loads, "valid": "true".__eq__}
    rows = [
        Measurement(**{name: read.get(name, str)(text) for name, text in each.items() if name != "run"})
        for each in table
    ]
    assert rows == ROWS and {each["run"] for each in table} == {"run"}


def test_json_tells_lines_and_the_recommendation(tmp_path):
    report(tmp_path, written_run(tmp_path / "run"))
    told = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    choice = told["recommendations"][0]["choices"][0]
    assert (choice["for"], choice["artifact"]) == ("Any phone", SMALL[1])
    assert [(each["artifact"], each["why_not"]) for each in choice["files"]] == [
        (SMALL[1], ""),
        (WHOLE[1], "slower: 2.00 ms against 0.90 ms"),
    ]
    cells = next(line for line in told["lines"] if line["artifact"] == APPLE[1])["cells"]
    assert (cells["latency_ms_p50@1"]["valid"], cells["latency_ms_p50@1"]["reason"]) == (False, NO_MAC)


def test_limits_reach_the_page(tmp_path):
    run = written_run(tmp_path / "run")
    _, markdown = write_report([run], tmp_path / "out", max_mb=0.3)
    assert "Recommended for: at most 0.3 MB, at most 0.2 points of accuracy below the source" in markdown.read_text()
    assert "nearest is net-pruned.w8a8.tflite, which misses only size: 0.33 MB is above 0.3 MB." in markdown.read_text()


# ---- a slower file, parts, and a card per file ----


def test_a_slower_file_has_the_reason_that_its_export_noted(tmp_path):
    run = written_run(
        tmp_path / "run", [dataclasses.replace(row, value=9.0) if row is ROWS[7] else row for row in ROWS]
    )
    (run / "artifacts").mkdir()
    note = "3 XNNPACK partitions; fall off: 2 PRELU (XNNPACK's PRELU is float)"
    record = {"key": "", "targets": {"tflite-w8a8": {"file": "net-pruned.w8a8.tflite", "notes": [note]}}}
    (run / "artifacts" / "exported.json").write_text(json.dumps(record))
    page, markdown = report(tmp_path, run)
    assert f"slower than net.tflite: {note}\n   - net-pruned.w8a8.tflite: Faster" in markdown
    assert '<td class="num slower"' in page


def test_a_slower_file_without_a_note_says_that_none_explains_it(tmp_path):
    rows = [dataclasses.replace(row, value=9.0) if row is ROWS[7] else row for row in ROWS]
    _, markdown = report(tmp_path, written_run(tmp_path / "run", rows))
    assert "slower than net.tflite: nothing that the export noted explains it" in markdown


def test_parts_are_told_in_a_table_per_file(tmp_path):
    parts = [
        row(SMALL, "slice_accuracy", 0.97, low=0.96, high=0.98, n=2000, part="brightness: darkest third"),
        row(SMALL, "slice_accuracy_difference", -0.01, low=-0.02, high=0.0, n=2000, part="brightness: darkest third"),
        row(SMALL, "slice_accuracy", 0.99, low=0.985, high=0.995, n=2000, part="brightness: brightest third"),
        row(SMALL, "slice_accuracy_difference", None, reason="no pair", part="brightness: brightest third"),
    ]
    page, markdown = report(tmp_path, written_run(tmp_path / "run", [*ROWS, *parts]))
    assert "lowest: brightness: darkest third, -1.00 points \\[-2.00, +0.00\\]</summary>\n" in markdown
    assert (
        "| Part | accuracy | against the source |\n| --- | ---: | ---: |\n"
        "| brightness: darkest third | 97.0 % \\[96.0, 98.0\\] | -1.00 points \\[-2.00, +0.00\\] |\n"
        "| brightness: brightest third | 99.0 % \\[98.5, 99.5\\] | not measured |\n\nNot measured: no pair\n"
    ) in markdown
    assert "<details open><summary>net-pruned.w8a8.tflite" in page  # a recommended file's are unfolded


def test_every_file_has_a_card_that_says_what_was_not_measured(tmp_path):
    report(tmp_path, written_run(tmp_path / "run"))
    cards = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "out" / "cards").iterdir()}
    assert sorted(cards) == ["net-pruned.mlpackage.md", "net-pruned.w8a8.tflite.md", "net.tflite.md"]
    apple = cards["net-pruned.mlpackage.md"]
    assert f"| Latency on 1 thread | not measured | {NO_MAC} |" in apple
    assert "| Accuracy | 98.8 % \\[98.4, 99.1\\] | coreml-evaluator, a CPU, n = 6000 |" in apple
    assert "SHA-256: not known: the file is not there" in apple
    for heading in ("Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data"):
        assert f"## {heading}\n" in apple
    assert "| Threshold at FAR 1e-3 | 0.2500 \\[0.20, 0.30\\] |" in cards["net-pruned.w8a8.tflite.md"]


def test_a_files_own_card_is_told(tmp_path):
    run = written_run(tmp_path / "run")
    contract = InputContract(112, 112)
    card = Card("net-pruned", contract, 128, "w8a8", licence="MIT", source_sha256="ab12", ancestry=("Pruned by half.",))
    (run / "artifacts").mkdir()
    ports = [helper.make_tensor_value_info(name, 1, [1, 128]) for name in ("face", "embedding")]
    net = helper.make_graph([helper.make_node("Identity", ["face"], ["embedding"])], "net", ports[:1], ports[1:])
    write_onnx(helper.make_model(net), card, run / "artifacts" / "net.onnx", batch=None)
    rows = [row(("net-pruned", "artifacts/net.onnx", "onnx", "fp32"), "size_bytes", 1.0, "bytes")]
    write_measurements(rows, run / "measurements.json")
    report(tmp_path, run)
    text = (tmp_path / "out" / "cards" / "net.onnx.md").read_text(encoding="utf-8")
    for fact in ("Licence of the weights: MIT", "Made from (SHA-256): ab12", "Pruned by half.", "128 numbers"):
        assert fact in text


def test_report_is_the_same_each_time(tmp_path):
    run = written_run(tmp_path / "run")
    assert report(tmp_path, run) == report(tmp_path, run)


# ---- what was pruned ----


def test_layers_that_lost_filters_are_told_before_and_after(tmp_path):
    run = written_run(tmp_path / "run")
    written_checkpoint(run / "checkpoints" / "net-pruned")
    page, markdown = report(tmp_path, run)
    assert markdown.split("## What was pruned\n\n")[1].split("\n\n</details>")[0] == "\n".join((
        "### net-pruned",
        "",
        "Parameters 1.00 M → 700 k (−30 %), MACs 200 M → 150 M (−25 %), filters 208 → 136 (−35 %). "
        "Recipe: schedule one-shot, criterion l1, by macs, scope papers, signal arcface.",
        "",
        "<details><summary>The layers that lost filters</summary>",
        "",
        "| Layer | Kind | Filters | Kept | Parameters | MACs |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
        "| stem | convolution 3x3 | 64 → 48 | 75.0 % | 1728 → 1296 | 5.40 M → 4.10 M |",
        "| stem.dw | depthwise 3x3 | 64 → 48 | 75.0 % | 576 → 432 | 1.80 M → 1.35 M |",
        "| head | linear | 80 → 40 | 50.0 % | 12.0 k → 6000 | 12.0 k → 6000 |",
    ))  # fmt: skip
    assert '<tr id="bar-1-3"><th scope="row">head</th>' in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert [(bar["name"], bar["kept"]) for bar in data["bars"][0]] == [("stem", 0.75), ("stem.dw", 0.75), ("head", 0.5)]


def test_the_latest_pruning_of_each_checkpoint_is_told_and_what_lost_nothing_is_left_out(tmp_path):
    run, earlier = written_run(tmp_path / "run"), {**PRUNED, "macs": [7, 7]}
    whole = {**PRUNED, "layers": [layer("stem", [64, 64], [1728, 1728], [9, 9])]}
    written_checkpoint(run / "checkpoints" / "b", "twice", [earlier, {"stage": "recover"}, PRUNED])
    written_checkpoint(run / "checkpoints" / "c", "control", [whole])
    written_checkpoint(run / "checkpoints" / "d", "unpruned", [])
    written_checkpoint(run / "checkpoint", "alone")
    _, markdown = report(tmp_path, run)
    assert re.findall(r"^### (\S+)\n\n.*MACs (\S+) M →", markdown, re.M) == [("alone", "200"), ("twice", "200")]


def test_what_stayed_is_written_once():
    assert [changed(pair) for pair in [(64, 40), (64, 64), (12_000, 9000)]] == ["64 → 40", "64", "12.0 k → 9000"]


def test_a_run_without_pruning_says_nothing_of_it(tmp_path):
    for text in report(tmp_path, written_run(tmp_path / "run")):
        assert not re.search("(<h2>|## )(What was pruned|What each layer alone)", text)


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "a", "ancestry": [{"stage": "prune", "layers": [{}]}]}'])
def test_a_damaged_checkpoint_is_one_sentence(tmp_path, text):
    run = written_run(tmp_path / "run")
    written_checkpoint(run / "checkpoint").joinpath("embedder.json").write_text(text)
    with pytest.raises(ValueError, match=r"checkpoint/embedder\.json is damaged: "):
        write_report([run], tmp_path / "out")


# ---- what each layer alone would lose ----

CUTS = [
    Sensitivity("stem", ("stem", "stem.dw"), 64, 16, 0.25, 0.0123),
    Sensitivity("stem", ("stem", "stem.dw"), 64, 32, 0.5, 0.2),
    Sensitivity("head", ("head",), 80, 40, 0.5, 0.00001),
]


def test_each_group_has_a_curve_and_a_row_per_cut(tmp_path):
    run = written_run(tmp_path / "run")
    write_sensitivity(CUTS, run / "sensitivity.json")
    page, markdown = report(tmp_path, run)
    assert markdown.split("| --- | ---: | --- |\n")[1].split("\n\n")[0] == (
        "| stem | 64 | 25.0 %: 0.0123, 50.0 %: 0.2000 |\n| head | 80 | 50.0 %: 0.0000 |"
    )
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert [(curve["name"], curve["where"], curve["points"]) for curve in data["curves"][0]] == [
        ("stem", "stem, stem.dw", [[0.25, 0.0123, None], [0.5, 0.2, None]]),
        ("head", "head", [[0.5, 0.00001, None]]),
    ]
    assert page.count('<tr class="curve-1-') == 3 and "<option" not in page


def test_accuracy_is_told_where_it_was_measured(tmp_path):
    run = written_run(tmp_path / "run")
    write_sensitivity([dataclasses.replace(CUTS[0], accuracy=0.9871)], run / "sensitivity.json")
    page, markdown = report(tmp_path, run)
    assert "25.0 %: 0.0123 (accuracy 98.7 %)" in markdown
    assert '<option value="accuracy">' in page and 'data-value="0.9871">98.7 %</td>' in page


def test_a_folder_with_sensitivities_alone_has_a_report(tmp_path):
    write_sensitivity(CUTS, tmp_path / "sensitivity.json")
    page, _ = report(tmp_path, tmp_path)
    assert "What each layer alone would lose" in page


def test_hostile_layers_and_groups_stay_text(tmp_path):
    evil, run = '</script><img src=x onerror=alert(1)>"|', written_run(tmp_path / "run")
    written_checkpoint(run / "checkpoint", evil, [{**PRUNED, "layers": [layer(evil, [2, 1], [2, 1], [2, 1])]}])
    write_sensitivity([dataclasses.replace(CUTS[0], group=evil, layers=(evil,))], run / "sensitivity.json")
    page, markdown = report(tmp_path, run)
    assert page.count("</script>") == 2 and "<img" not in page and "<img" not in markdown

"""What was pruned, and what each layer alone would lose."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from pocketface.benchmark.report.page import write_report
from pocketface.benchmark.report.pruned_layers import before_and_after
from pocketface.models.group_sensitivity import Sensitivity, write_sensitivity

from .conftest import report, written_run


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
    assert [before_and_after(pair) for pair in [(64, 40), (64, 64), (12_000, 9000)]] == [
        "64 → 40",
        "64",
        "12.0 k → 9000",
    ]


def test_a_run_without_pruning_says_nothing_of_it(tmp_path):
    for text in report(tmp_path, written_run(tmp_path / "run")):
        assert not re.search("(<h2>|## )(What was pruned|Sensitivity to pruning)", text)


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "a", "ancestry": [{"stage": "prune", "layers": [{}]}]}'])
def test_a_damaged_checkpoint_is_one_sentence(tmp_path, text):
    run = written_run(tmp_path / "run")
    written_checkpoint(run / "checkpoint").joinpath("embedder.json").write_text(text)
    with pytest.raises(ValueError, match=r"checkpoint/embedder\.json is damaged: "):
        write_report([run], tmp_path / "out")


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
    assert "Sensitivity to pruning" in page


def test_hostile_layers_and_groups_stay_text(tmp_path):
    evil, run = '</script><img src=x onerror=alert(1)>"|', written_run(tmp_path / "run")
    written_checkpoint(run / "checkpoint", evil, [{**PRUNED, "layers": [layer(evil, [2, 1], [2, 1], [2, 1])]}])
    write_sensitivity([dataclasses.replace(CUTS[0], group=evil, layers=(evil,))], run / "sensitivity.json")
    page, markdown = report(tmp_path, run)
    assert page.count("</script>") == 2 and "<img" not in page and "<img" not in markdown


@pytest.mark.parametrize("text", ["{", '{"a": 1}', "[1]", '[{"group": "stem"}]', "[" * 100_000])
def test_damaged_sensitivities_are_one_sentence(tmp_path, text):
    (tmp_path / "sensitivity.json").write_text(text)
    with pytest.raises(ValueError, match=r"sensitivity\.json holds no sensitivities: "):
        write_report([tmp_path], tmp_path / "out")

"""Both files of a report, on a few literal rows."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from pocketface.benchmark.measurement import Measurement
from pocketface.benchmark.report.page import write_report

from .conftest import ROWS, report, written_run


def test_markdown_table_is_literal(tmp_path):
    _, markdown = report(tmp_path, written_run(tmp_path / "run"))
    table = markdown.split("## All files\n\n")[1].split("\n\n")[0]
    assert table == "\n".join((
        "| File | Nr | Format | Precision | Runtime | Size | Median latency on 1 thread | Faster | Accuracy "
        "| Accuracy against the source |",
        "| --- | ---: | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
        "| net.tflite ◆ | 1 | tflite | fp32 | litert | 4.00 MB | 2.00 ms |  | 99.2 % \\[98.9, 99.4\\] |  |",
        "| net-pruned.w8a8.tflite ★ ◆ | 2 | tflite | w8a8 | litert | 0.33 MB | 0.90 ms | 2.2× "
        "| 98.7 % \\[98.3, 99.0\\] | -0.05 points \\[-0.15, +0.05\\] |",
        "| net-pruned.mlpackage ★ ◆ | 3 | coreml | fp16 | coreml-evaluator | 0.61 MB | not measured (1) |  "
        "| 98.8 % \\[98.4, 99.1\\] | +0.00 points \\[-0.10, +0.10\\] |",
        "| net-pruned tflite w4 | 4 | tflite | w4 | not made (2) |  |  |  |  |  |",
    ))  # fmt: skip


def test_threshold_is_told_as_cosine_and_as_squared_distance(tmp_path):
    _, markdown = report(tmp_path, written_run(tmp_path / "run"))
    assert "| net-pruned.w8a8.tflite | litert | 1e-3 | 0.2500 \\[0.20, 0.30\\] | 1.5000 | 6000 |" in markdown


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
    manifest["stages"] = [{"stage": "prune", "seconds": 61.0, "cpu_seconds": 118.3}, "damaged"]
    (run / "manifest.json").write_text(json.dumps(manifest))
    (run / "recipe.toml").write_text('embedder = "net"\n')
    page, markdown = report(tmp_path, run)
    assert "    pocketface run 'a b.toml'\n\n- seed: 7\n- inputs 1 path: w\n- inputs 1 sha256: ab12\n" in markdown
    assert "<dt>inputs 1 sha256</dt><dd>ab12</dd>" in page and "<dt>stages" not in page
    assert '<th scope="row">prune</th><td class="num">61.0</td><td class="num">118.3</td>' in page
    assert "| prune | 61.0 | 118.3 |" in markdown
    assert "embedder = &#34;net&#34;" in page


def test_several_runs_become_one_report_and_each_has_its_own_reference(tmp_path):
    slower = [dataclasses.replace(each, value=each.value and each.value * 2) for each in ROWS[:9]]
    _, markdown = report(tmp_path, written_run(tmp_path / "laptop"), written_run(tmp_path / "phone", slower))
    rows = re.findall(r"^\| net-pruned\.w8a8\.tflite.*\| (\d) \| (\w+) \|.* (\S+ ms) \| (\S+) \|", markdown, re.M)
    assert rows == [("2", "laptop", "0.90 ms", "2.2×"), ("6", "phone", "1.80 ms", "2.2×")]


def test_run_without_rows_is_still_a_report(tmp_path):
    page, markdown = report(tmp_path, written_run(tmp_path / "run", []))
    assert "No files were measured." in page and "No files were measured." in markdown


def test_no_folder_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="at least one run folder"):
        write_report([], tmp_path)


def test_limits_reach_the_page(tmp_path):
    run = written_run(tmp_path / "run")
    _, markdown = write_report([run], tmp_path / "out", max_mb=0.3)
    assert "Recommended for: at most 0.3 MB, at most 0.2 points of accuracy below the source" in markdown.read_text()
    assert "nearest is net-pruned.w8a8.tflite, which misses only size: 0.33 MB is above 0.3 MB." in markdown.read_text()


def test_report_is_the_same_each_time(tmp_path):
    run = written_run(tmp_path / "run")
    assert report(tmp_path, run) == report(tmp_path, run)


def on_pairs(sha256: str) -> list[Measurement]:
    return [dataclasses.replace(each, conditions={**each.conditions, "pairs_sha256": sha256}) for each in ROWS]


def test_runs_on_the_same_pairs_have_a_common_front(tmp_path: Path) -> None:
    runs = [written_run(tmp_path / name, on_pairs("abc")) for name in ("one", "two")]
    page, markdown = report(tmp_path, *runs)
    assert "◆ No other file" in markdown and "different pairs" not in page + markdown


@pytest.mark.parametrize("other", ["def", ""])
def test_runs_on_different_pairs_have_no_common_front_and_it_is_said(tmp_path: Path, other: str) -> None:
    runs = [written_run(tmp_path / name, on_pairs(sha)) for name, sha in (("one", "abc"), ("two", other))]
    page, markdown = report(tmp_path, *runs)
    said = "These runs were verified on different pairs: their accuracies do not compare."
    assert said in page and said in markdown
    assert "◆" not in page + markdown and '"fronts": null' in page


def test_rendered_faces_are_named_on_the_first_screen_and_on_the_terminal(tmp_path: Path) -> None:
    rows = [dataclasses.replace(each, conditions={**each.conditions, "faces_kind": "rendered"}) for each in ROWS]
    said: list[str] = []
    page, markdown = write_report([written_run(tmp_path / "run", rows)], tmp_path / "out", progress=said.append)
    (warning,) = said
    assert warning.startswith("Rendered faces, not people: ")
    assert f'<h1>net</h1>\n<p class="warning">{warning}</p>\n' in page.read_text(encoding="utf-8")
    assert markdown.read_text(encoding="utf-8").splitlines()[2] == f"**{warning}**"


def test_the_contents_lead_to_sections_that_are_there(tmp_path):
    page, _ = report(tmp_path, written_run(tmp_path / "run"))
    nav = page[page.index('<nav class="contents"') :].partition("</nav>")[0]
    links = re.findall(r'href="#([\w-]+)"', nav)
    assert {"plots", "files", "thresholds", "measured", "failures", "reproduce"} <= set(links)
    assert [link for link in links if f'<section id="{link}"' not in page and f' id="{link}">' not in page] == []


def test_the_head_says_which_file_and_why_and_the_card_has_the_numbers(tmp_path):
    page, _ = report(tmp_path, written_run(tmp_path / "run"))
    head = page.partition("</header>")[0]
    assert "Ship net-pruned.w8a8.tflite: the fastest that meets the limits. Speed was judged by " in head
    assert "0.33 MB" not in head and page.count("Speed was judged by this") == 1
    assert "<dd>0.33 MB" in page

"""The report of a sweep on a few literal rows: the files it writes, and the page in a real browser."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from pocketface.benchmark.measurement import Measurement
from pocketface.benchmark.report.limits import ShippingLimits
from pocketface.benchmark.report.sweep_page import write_sweep_report
from pocketface.benchmark.report.swept import SweptLayer, SweptPoint, SweptSource, layers_of, lines_of, sizes_of
from pocketface.stage_results import sweep_result

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
EVIL = "</script><img src=x onerror=alert(1)>"


def rows(model: str, artifact: str, format: str, accuracy: float, lost: float | None, size: int) -> list[Measurement]:
    file = (model, artifact, format, "fp32", "litert" if format == "tflite" else "torch", "a CPU")
    found = [
        Measurement(*file, "size_bytes", size, "bytes"),
        Measurement(*file, "verification_accuracy", accuracy, "1", accuracy - 0.01, accuracy + 0.01, 600),
    ]
    if lost is not None:
        found.append(Measurement(*file, "accuracy_difference", -lost, "1", -lost - 0.001, -lost + 0.001, 600))
    return found


def point(name: str, series: str, share: float, before: float, after: float) -> SweptPoint:
    made = rows(name, "cut", "pytorch", before, 0.99 - before, 4000)
    made += rows(name, "recovered", "pytorch", after, 0.99 - after, 4000)
    made += rows(name, f"artifacts/{name}.tflite", "tflite", after, 0.99 - after, round(4e6 * (1 - share)))
    file = (name, f"{name}.tflite", "tflite", "fp32", "litert", "a CPU")
    timed = [Measurement(*file, "latency_ms_p50", 10 * (1 - share), "ms", conditions={"threads": 1})]
    cut, network, tflite = lines_of(made, timed, f"cells/{name}")
    kept = round(100 * (1 - share))
    sizes = {"filters": (100, kept), "parameters": (1000, 10 * kept), "macs": (5000, 50 * kept)}
    layers = (SweptLayer("stem", 40, 40), SweptLayer("body", 60, kept - 40))
    level = f"{100 * share:g} % of filters"
    return SweptPoint(
        name, series, level, {"criterion": series}, sizes, layers, cut, network, (tflite,), f"cells/{name}"
    )


def source(name: str = "net") -> SweptSource:
    made = rows(name, "source", "pytorch", 0.99, None, 4000)
    (network,) = lines_of(made, [], "cells/source")
    lost = SweptPoint("net-l1-less99", "l1", "99 % of filters", {"criterion": "l1"}, {}, (), None, None, (), "", EVIL)
    whole = SweptPoint(name, "", "source", {}, {}, (), None, network, (), "cells/source")
    points = [
        point(f"net-{one}-less{level}", one, level / 100, 0.9, 0.989) for one in ("l1", "fpgm") for level in (20, 50)
    ]
    return SweptSource(name, whole, (*points, lost))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_sweep_report([source()], tmp_path, ShippingLimits(max_drop=0.5), ["found: x"], {"pairs": "pairs.txt"})
    return tmp_path


def test_programs_read_the_networks_and_what_to_ship(written: Path) -> None:
    facts = json.loads((written / "sweep.json").read_text())
    assert [each["made"] for each in facts["networks"]] == [True] * 5 + [False]
    assert facts["networks"][-1]["verification_accuracy"] is None and EVIL not in json.dumps(facts)
    assert {each["for"] for each in facts["ship"]} == {"Any phone"}
    lines = sweep_result(written / "sweep.html").lines
    assert lines[0].split() == ["network", "parameters", "MACs", "accuracy", "%", "points"]
    assert len(lines[6].split()) == 5


def test_the_table_has_a_line_for_each_network_and_file(written: Path) -> None:
    table = list(csv.DictReader((written / "sweep.csv").open()))
    assert [row["stage"] for row in table] == ["source", *["before recovery", "after recovery", "file"] * 4, "not made"]
    file = table[3]
    assert (file["file"], file["criterion"]) == ("cells/net-l1-less20/artifacts/net-l1-less20.tflite", "l1")
    numbers = ("removed_filters", "size_bytes", "latency_ms_p50@1", "accuracy_difference_low")
    assert [round(float(file[key]), 6) for key in numbers] == [0.2, 3_200_000, 8, -0.002]
    assert table[-1]["reason"] == EVIL and table[-1]["verification_accuracy"] == ""


def test_the_fastest_file_within_the_limits_is_recommended(written: Path) -> None:
    text = (written / "sweep.md").read_text()
    assert "- found: x" in text
    assert "- Any phone: Ship net-l1-less50.tflite: " in text
    assert "| net-l1-less50.tflite ★ | 7 | l1 | 50 % of filters | tflite | fp32 | 2.00 MB | 5.00 ms |" in text


def test_hostile_names_stay_text(written: Path) -> None:
    page = (written / "sweep.html").read_text()
    assert page.count("</script>") == 2 and "<img" not in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert [series["name"] for series in data["sweep"]["curves"][0]["series"]] == ["l1", "fpgm"]
    assert set(re.findall(r'(?:src|href)="([^"#]*)"', page)) == {"data:,"}


def test_layers_and_sizes_are_those_of_the_first_network_and_of_the_last_cut() -> None:
    def cut(filters: list[int], parameters: list[int]) -> dict[str, object]:
        layer = {"name": "stem", "filters": filters}
        return {"stage": "prune", "layers": [layer], "filters": filters, "parameters": parameters, "macs": [9, 9]}

    history = [cut([64, 48], [900, 700]), {"stage": "recover"}, cut([48, 32], [700, 400])]
    assert layers_of(history) == (SweptLayer("stem", 64, 32),)
    assert sizes_of(history) == {"filters": (64, 32), "parameters": (900, 400), "macs": (9, 9)}


def test_a_file_is_one_line_where_another_machine_verified_it() -> None:
    made = rows("net", "net.tflite", "tflite", 0.99, None, 4000)
    file = ("net", "net.tflite", "tflite", "fp32", "litert", "another CPU")
    (line,) = lines_of(made, [Measurement(*file, "latency_ms_p50", 10, "ms", conditions={"threads": 1})], "cells/net")
    assert (line.device, line.value("latency_ms_p50@1")) == ("another CPU", 10)
    assert line.value("verification_accuracy") == 0.99


@pytest.mark.skipif(not (BROWSER and DRIVER), reason="the page is tested with chromium and chromedriver")
def test_the_page_draws_and_answers(written: Path) -> None:
    webdriver = pytest.importorskip("selenium.webdriver", reason="the page is tested with selenium")
    from selenium.webdriver.common.by import By

    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    try:
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True},
        )
        driver.get((written / "sweep.html").as_uri())
        assert len(driver.find_elements(By.CSS_SELECTOR, ".tradeoff path.line")) == 4  # two series, before and after
        assert len(driver.find_elements(By.CSS_SELECTOR, ".layers rect")) == 4  # two layers, two networks
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
        driver.find_element(By.CSS_SELECTOR, ".tradeoff button.key").click()
        assert len(driver.find_elements(By.CSS_SELECTOR, ".tradeoff path.line")) == 2
        found = driver.find_element(By.CSS_SELECTOR, ".limits .found")
        assert found.text.startswith(
            "4 of 4 files meet these limits. Smallest: 7 net-l1-less50.tflite (2.00 MB, 5.00 ms"
        )
        slide = "const s = document.querySelector('[name=mb]'); s.value = 1; s.dispatchEvent(new Event('input'))"
        driver.execute_script(slide)
        assert found.text == "None of 4 files meets these limits for sure."
        assert driver.get_log("browser") == []
    finally:
        driver.quit()

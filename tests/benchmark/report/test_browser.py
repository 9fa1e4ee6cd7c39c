"""The page in a real browser: it draws, answers and asks nobody for anything."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pocketface.benchmark.accuracy.record import write_record
from pocketface.benchmark.measurement import Measurement, write_measurements
from pocketface.benchmark.report.page import write_report
from pocketface.faces.pairs import Pairs
from pocketface.models.group_sensitivity import Sensitivity, write_sensitivity

webdriver = pytest.importorskip("selenium.webdriver", reason="the page is tested with selenium")

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="the page is tested with chromium and chromedriver")

EVIL = '</script><img src="http://example.invalid/x" onerror="document.title=1">'
FILES = [  # name, format, precision, size in bytes, latency in ms, accuracy
    ("b.onnx", "onnx", "fp32", 4_000_000, 10.0, 0.99),
    ("a.tflite", "tflite", "w8a8", 400_000, 9.0, 0.98),
    ("c.tflite", "tflite", "fp16", 2_000_000, 11.0, 0.97),
]


def rows():
    for number, (name, format, precision, size, latency, accuracy) in enumerate(FILES):
        file = (EVIL, name, format, precision, "a runtime", "a CPU")
        yield Measurement(*file, "size_bytes", size, "bytes")
        yield Measurement(*file, "latency_ms_p50", latency, "ms", conditions={"threads": 1})
        yield Measurement(*file, "verification_accuracy", accuracy, "1", accuracy - 0.01, accuracy + 0.005, 600)
        yield Measurement(*file, "slice_accuracy", accuracy, "1", conditions={"part": "dark"})
        if number:
            yield Measurement(*file, "accuracy_difference", 0.0, "1", -0.001, 0.001, 600)
    yield Measurement(
        *(EVIL, "d.mlpackage", "coreml", "fp16", "coreml-evaluator", "", "latency_ms_p50", None, "ms"),
        valid=False,
        reason="no Mac",
    )


def similarities():
    """Ten genuine and a hundred impostor pairs; b, the source, takes one of each for the other kind."""
    same = np.arange(110) < 10
    source = np.where(same, 0.6, 0.1)
    source[0], source[10] = 0.05, 0.3
    pairs = Pairs(
        faces=np.zeros((2, 1, 1, 3), np.uint8),
        left=np.zeros(110, np.int64),
        right=np.ones(110, np.int64),
        same=same,
        fold=np.arange(110) % 10,
        names=("x", "y"),
        identities=np.array([-1, -1]),
        sha256="ab12",
    )
    return pairs, {"b.onnx": source, "a.tflite": source - 0.01, "c.tflite": source + 0.01 * (np.arange(110) % 2)}


def ancestry():
    """Three layers: the second keeps its filters."""
    for name, filters in (("stem", [64, 16]), ("block", [32, 32]), ("head", [20, 10])):
        change = {"filters": filters, "parameters": [2000, 1000], "macs": [2000, 1000], "groups": [1, 1]}
        yield {"name": name, "kind": "Conv2d", "kernel": [3, 3], **change}


CUTS = [
    Sensitivity("stem", ("stem", "block"), 64, 16, 0.25, 0.01, 0.98),
    Sensitivity("stem", ("stem", "block"), 64, 32, 0.5, 0.1, 0.9),
    Sensitivity("head", ("head",), 20, 5, 0.25, 0.00001, 0.985),
    Sensitivity("head", ("head",), 20, 10, 0.5, 0.002, 0.97),
]


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--window-size=1280,1600")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, tmp_path: Path):
    run = tmp_path / "run"
    run.mkdir()
    write_measurements(rows(), run / "measurements.json")
    write_sensitivity(CUTS, run / "sensitivity.json")
    write_record(run / "verification.npz", *similarities())
    sizes = {"filters": [116, 58], "parameters": [6000, 3000], "macs": [6000, 3000]}
    entry = {"stage": "prune", "recipe": {"criterion": "l1"}, "layers": list(ancestry()), **sizes}
    (run / "checkpoint").mkdir()
    (run / "checkpoint" / "embedder.json").write_text(json.dumps({"name": "net", "ancestry": [entry]}))
    path, _ = write_report([run], tmp_path / "out")
    browser.get_log("performance")  # what an earlier test asked for
    browser.get(path.as_uri())
    return browser


def find(page, selector: str):
    return page.find_element("css selector", selector)


def texts(page, selector: str) -> list[str]:
    return [element.text for element in page.find_elements("css selector", selector)]


def names(page) -> list[str]:
    return [text.removesuffix(" ◆").removesuffix(" ★") for text in texts(page, "#lines tbody th")]


def test_page_draws_every_measured_file_without_an_error(page):
    assert len(page.find_elements("css selector", "#plot .point")) == 3
    assert find(page, "#absent").text == "Not measured, so not in this plot: 4."
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_page_asks_for_nothing_but_itself(page):
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in sent if not url.startswith("data:")] == [page.current_url]


def test_markup_in_a_name_is_shown_as_text(page):
    assert find(page, "h1").text == EVIL
    assert page.find_elements("css selector", "img") == []


def test_hovering_a_point_shows_the_files_name_and_numbers(page):
    tip = find(page, "#tip")
    assert not tip.is_displayed()
    point = find(page, '#plot .point[data-index="1"]')
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    webdriver.ActionChains(page).move_to_element(point).perform()
    assert tip.is_displayed()
    assert tip.find_element("css selector", "b").text == "2 a.tflite"
    assert "Accuracy 98.0 % [97.0, 98.5]" in tip.text


def test_points_answer_the_keyboard(page):
    page.execute_script("document.querySelector('#plot .point[data-index=\"0\"]').focus()")
    assert find(page, "#tip b").text == "1 b.onnx"
    webdriver.ActionChains(page).send_keys("\ue00c").perform()  # Escape
    assert not find(page, "#tip").is_displayed()


def test_clicking_a_header_sorts_numbers_both_ways_with_missing_ones_last(page):
    header = next(
        h for h in page.find_elements("css selector", "#lines thead th") if h.text.startswith("Median latency")
    )
    header.find_element("css selector", "button").click()
    assert (names(page)[:3], header.get_attribute("aria-sort")) == (["a.tflite", "b.onnx", "c.tflite"], "ascending")
    header.find_element("css selector", "button").click()
    assert (names(page)[:3], header.get_attribute("aria-sort")) == (["c.tflite", "b.onnx", "a.tflite"], "descending")
    assert names(page)[3] == "d.mlpackage"


def test_clicking_a_legend_item_hides_and_shows_its_points(page):
    key = next(k for k in page.find_elements("css selector", "#legend button") if k.text == "tflite w8a8")
    key.click()
    assert key.get_attribute("aria-pressed") == "false"
    assert len(page.find_elements("css selector", "#plot .point")) == 2
    key.click()
    assert len(page.find_elements("css selector", "#plot .point")) == 3


def test_beaten_files_are_grey_and_another_axis_draws_another_front(page):
    assert find(page, ".beaten").get_attribute("data-index") == "2"  # c is larger and worse than a
    find(page, '#x option[value="latency_ms_p50@1"]').click()
    assert "Median latency on 1 thread, ms" in texts(page, "#plot .title")


def test_all_columns_are_shown_on_demand(page):
    assert "Smaller" not in texts(page, "#lines thead th")
    find(page, "#all").click()
    assert "Smaller" in texts(page, "#lines thead th")


def test_page_does_not_scroll_sideways_on_a_phone(page):
    screen = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        assert page.execute_script("return document.documentElement.scrollWidth") == 390
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def hover(page, selector: str):
    mark = find(page, selector)
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    webdriver.ActionChains(page).move_to_element(mark).perform()


def test_each_layer_has_a_bar_as_high_as_the_share_it_kept(page):
    heights = [
        float(bar.get_attribute("height")) for bar in page.find_elements("css selector", ".bars .kept, .bars .whole")
    ]
    assert [round(height / heights[1], 6) for height in heights] == [0.25, 1.0, 0.5]
    assert len(page.find_elements("css selector", ".bars .whole")) == 1


def test_hovering_a_bar_names_its_layer_and_lights_its_row(page):
    hover(page, '.bars g[data-index="2"]')
    tip = find(page, ".bars + .tip")
    assert tip.find_element("css selector", "b").text == "3 head"
    assert "Filters 20 → 10, 50.0 % kept" in tip.text
    assert find(page, "tr.lit").get_attribute("id") == "bar-1-3"


def test_hovering_a_curve_names_its_group_and_layers(page):
    hover(page, '.curves g[data-index="0"] circle')
    tip = find(page, ".curves + .tip")
    assert tip.text.splitlines()[:2] == ["1 stem", "stem, block"]
    assert "16 of 64 cut drift 0.0100, accuracy 98.0 %" in tip.text
    assert len(page.find_elements("css selector", "tr.lit")) == 2


def test_curves_rise_with_drift_and_fall_with_accuracy(page):
    def heights() -> list[float]:
        circles = page.find_elements("css selector", '.curves g[data-index="0"] circle')
        return [float(circle.get_attribute("cy")) for circle in circles]  # downwards

    assert heights()[0] > heights()[1]
    find(page, 'select option[value="accuracy"]').click()
    assert heights()[0] < heights()[1]
    assert "Accuracy, %" in texts(page, ".curves .title")


def test_the_table_of_layers_unfolds_and_sorts(page):
    details = page.find_element("xpath", "//details[summary[contains(., 'All 3 layers')]]")
    details.find_element("css selector", "summary").click()
    header = next(h for h in details.find_elements("css selector", "th") if h.text == "Kept")
    header.find_element("css selector", "button").click()
    rows = details.find_elements("css selector", "tbody th")
    assert [row.text for row in rows] == ["stem", "head", "block"]


# ---- what was verified ----


def test_source_and_recommended_file_have_a_curve_and_others_one_on_demand(page):
    assert [g.get_attribute("data-row") for g in page.find_elements("css selector", ".det g")] == ["1", "2"]
    next(k for k in page.find_elements("css selector", ".verified .key") if "c.tflite" in k.text).click()
    assert [g.get_attribute("data-row") for g in page.find_elements("css selector", ".det g")] == ["1", "2", "3"]


def test_a_curves_point_tells_far_frr_and_threshold_to_the_pointer_and_the_keyboard(page):
    hover(page, '.det g[data-row="1"] .reach')
    assert find(page, ".det + .tip").is_displayed()
    page.execute_script("document.querySelector('.det g[data-row=\"1\"]').focus()")
    webdriver.ActionChains(page).send_keys("\ue012" * 5).perform()  # left, to the first point
    lines = find(page, ".det + .tip").text.splitlines()
    assert lines == ["1 b.onnx", "FAR 1 %", "FRR 10 %", "Threshold 0.2000"]  # above 99 impostors, below 9 genuine
    assert "lit" in find(page, "#line-1").get_attribute("class")


def test_the_change_of_similarity_is_drawn_for_the_file_that_is_chosen(page):
    assert "Mean -0.01, standard deviation" in find(page, ".moved").text  # a.tflite: each pair 0.01 lower
    assert len(page.find_elements("css selector", ".drift rect")) == 41
    find(page, '.verified select option[value="0"]').click()
    assert texts(page, ".drift text") == ["This is the source: nothing moved."]


def test_parts_of_the_recommended_file_are_unfolded(page):
    unfolded = page.find_elements("css selector", ".details details[open] summary")
    assert [summary.text for summary in unfolded] == ["a.tflite"]


def test_the_recommended_file_is_ringed_and_starred(page):
    assert [p.get_attribute("data-index") for p in page.find_elements("css selector", "#plot .chosen")] == ["1"]
    assert find(page, "#lines tr.chosen th").text.startswith("a.tflite ★")


def test_the_page_draws_without_a_record_of_the_pairs(browser, tmp_path):
    write_measurements(rows(), tmp_path / "measurements.json")
    path, _ = write_report([tmp_path], tmp_path / "out")
    browser.get(path.as_uri())
    assert len(browser.find_elements("css selector", "#plot .point")) == 3
    assert browser.find_elements("css selector", ".verified") == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []

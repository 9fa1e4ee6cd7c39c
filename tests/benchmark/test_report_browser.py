"""The page in a real browser: it draws, answers and asks nobody for anything."""

import json
import shutil
from pathlib import Path

import pytest

from pocketface.benchmark.measurement import Measurement, write_measurements
from pocketface.benchmark.report import write_report

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
    for name, format, precision, size, latency, accuracy in FILES:
        file = (EVIL, name, format, precision, "a runtime", "a CPU")
        yield Measurement(*file, "size_bytes", size, "bytes")
        yield Measurement(*file, "latency_ms_p50", latency, "ms", conditions={"threads": 1})
        yield Measurement(*file, "verification_accuracy", accuracy, "1", accuracy - 0.01, accuracy + 0.005, 600)
    yield Measurement(
        *(EVIL, "d.mlpackage", "coreml", "fp16", "coreml-evaluator", "", "latency_ms_p50", None, "ms"),
        valid=False,
        reason="no Mac",
    )


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
    path, _ = write_report([run], tmp_path / "out")
    browser.get_log("performance")  # what an earlier test asked for
    browser.get(path.as_uri())
    return browser


def find(page, selector: str):
    return page.find_element("css selector", selector)


def texts(page, selector: str) -> list[str]:
    return [element.text for element in page.find_elements("css selector", selector)]


def names(page) -> list[str]:
    return [text.removesuffix(" ◆") for text in texts(page, "#lines tbody th")]


def test_page_draws_every_measured_file_without_an_error(page):
    assert len(page.find_elements("css selector", "#plot .point")) == 3
    assert find(page, "#absent").text == "Not in this plot for want of a number: 4."
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
    header = next(h for h in page.find_elements("css selector", "#lines thead th") if h.text.startswith("Latency"))
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
    assert "Latency on 1 thread, ms" in texts(page, "#plot .title")


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

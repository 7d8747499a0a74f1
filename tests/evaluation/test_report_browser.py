import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from lightning_codec.evaluation.plots import MEASURED_COLOURS
from lightning_codec.evaluation.report import write_report
from tests.evaluation.small_report import HOSTILE, small_report

pytestmark = pytest.mark.slow
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("Chromium and its driver are not installed: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)) as started:
        yield started


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(folder / "report.html", small_report(folder / "pictures"))
    return folder / "report.html"


@pytest.fixture
def page(chromium: webdriver.Chrome, report: Path) -> Iterator[webdriver.Chrome]:
    """The report, just opened; afterwards nothing may have been complained of or asked for."""
    chromium.get_log("browser")
    chromium.get_log("performance")
    chromium.set_window_size(1280, 900)
    chromium.get(report.as_uri())
    WebDriverWait(chromium, 30).until(lambda page: page.find_elements(By.CSS_SELECTOR, ".plot .marker"))
    yield chromium
    assert chromium.get_log("browser") == []
    assert requests(chromium, report.as_uri()) == [report.as_uri()]


def requests(page: webdriver.Chrome, document: str) -> list[str]:
    """What a document asked for since the last look, pictures from within it aside."""
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    # The browser's own start page, which may still be loading, asks for files of the browser.
    urls = [request["request"]["url"] for request in asked if request["documentURL"] == document]
    return [url for url in urls if not url.startswith("data:")]


def find(page: webdriver.Chrome, selector: str) -> WebElement:
    return page.find_element(By.CSS_SELECTOR, selector)


def texts(page: webdriver.Chrome, selector: str) -> list[str]:
    return [element.text for element in page.find_elements(By.CSS_SELECTOR, selector)]


def set_range(page: webdriver.Chrome, selector: str, value: int) -> None:
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
    page.execute_script(script, find(page, selector), value)


def evaluate(page: webdriver.Chrome, script: str) -> Any:
    return page.execute_script(f"return {script}")


def choose(page: webdriver.Chrome, name: str, value: str) -> None:
    find(page, f"input[name={name}][value='{value}']").click()


def brightness(page: webdriver.Chrome, picture: str) -> float:
    """Mean of what a picture shows, when it is loaded."""
    WebDriverWait(page, 30).until(
        lambda page: evaluate(page, f"document.querySelector('{picture}').complete && innerWidth > 0")
    )
    script = """(() => {
        const picture = document.querySelector('%s');
        const canvas = new OffscreenCanvas(picture.naturalWidth, picture.naturalHeight);
        const context = canvas.getContext('2d');
        context.drawImage(picture, 0, 0);
        const values = context.getImageData(0, 0, canvas.width, canvas.height).data;
        return values.reduce((a, b, i) => (i %% 4 === 3 ? a : a + b), 0) / (0.75 * values.length);
    })()"""
    return float(evaluate(page, script % picture))


def test_tables_are_sorted_by_a_click_with_absent_values_last(page):
    def column(index: int) -> list[str]:
        return texts(page, f"#results tbody td:nth-child({index})")

    buttons = page.find_elements(By.CSS_SELECTOR, "#results th button")
    heads = [button.text for button in buttons]
    assert heads[:7] == ["codec", "setting", "images", "bpp", "PSNR (dB) ↑", "LPIPS (AlexNet) ↓", "KID/256 ↓"]
    buttons[3].click()
    assert column(4) == ["0.100", "0.200", "0.450", "0.500", "1.100", "1.300"]
    assert find(page, "#results th:nth-child(4)").get_attribute("aria-sort") == "ascending"
    buttons[3].send_keys(Keys.ENTER)
    assert column(4) == ["1.300", "1.100", "0.500", "0.450", "0.200", "0.100"]
    assert find(page, "#results th:nth-child(4)").get_attribute("aria-sort") == "descending"
    for _ in range(2):
        buttons[6].click()
        assert column(7) == ["0.001000"] * 5 + ["–"]
    assert find(page, "#results th:nth-child(4)").get_attribute("aria-sort") is None
    assert "too few samples" in (find(page, "#results td.absent").get_attribute("title") or "")
    buttons[1].click()
    assert column(2) == ["9", "9", "50", "50", "90", "90"]


def test_a_plot_tells_the_nearest_point_to_the_pointer(page):
    marker = find(page, ".plot:first-child g.m1 .marker:nth-of-type(2)")  # ours at 50: a square is a polygon
    plot, tip = find(page, ".plot:first-child svg"), find(page, ".plot:first-child .tip")
    assert not tip.is_displayed()
    ActionChains(page).move_to_element_with_offset(marker, 6, 4).perform()
    assert tip.text.splitlines() == ["ours, setting 50", "0.4500 bpp", "PSNR (dB): 31"]
    below = marker.rect["y"] + marker.rect["height"] / 2 - tip.rect["y"] - tip.rect["height"]
    assert below == pytest.approx(6, abs=2)  # the tip does not hide the point
    dashed = find(page, ".plot:first-child g.published .marker")
    ActionChains(page).move_to_element(dashed).perform()
    assert tip.text.splitlines() == ["<i>HiFiC</i>", "0.2000 bpp", "PSNR (dB): 30", "published: a & b"]
    corner = -plot.size["width"] // 2 + 2, -plot.size["height"] // 2 + 2
    ActionChains(page).move_to_element_with_offset(plot, *corner).perform()  # far from every point
    assert not tip.is_displayed()
    ActionChains(page).move_to_element(dashed).perform()
    assert tip.is_displayed()
    ActionChains(page).move_to_element(find(page, "h1")).perform()
    assert not tip.is_displayed()


def test_the_points_of_a_plot_are_read_with_the_arrow_keys(page):
    plot, tip = find(page, ".plot:nth-child(2) svg"), find(page, ".plot:nth-child(2) .tip")
    plot.send_keys(Keys.ARROW_RIGHT)
    first = tip.text
    plot.send_keys(Keys.ARROW_RIGHT)
    assert (first.splitlines()[0], tip.text.splitlines()[0]) == ("ours, setting 9", "ours, setting 50")
    plot.send_keys(Keys.ARROW_UP)
    assert tip.text.splitlines()[0] == "jpeg, setting 50"
    plot.send_keys(Keys.ESCAPE)
    assert not tip.is_displayed()


def test_codecs_are_switched_off_and_on_in_all_plots(page):
    def drawn() -> list[int]:
        return [len(page.find_elements(By.CSS_SELECTOR, f".plot {kind} .curve")) for kind in ("g.m0", "g.m1", "g.p0")]

    assert texts(page, ".plot figcaption") == ["PSNR (dB), higher is better", "LPIPS (AlexNet), lower is better"]
    assert drawn() == [2, 2, 1]
    boxes = page.find_elements(By.CSS_SELECTOR, "#legend input")
    assert texts(page, "#legend label") == ["jpeg", "ours", "<i>HiFiC</i>"]
    boxes[1].click()
    assert drawn() == [2, 0, 1]
    boxes[2].send_keys(Keys.SPACE)
    assert drawn() == [2, 0, 0]
    find(page, "#legend button[aria-label='show none of the measured curves']").click()
    assert drawn() == [0, 0, 0]
    assert texts(page, ".plot:first-child text") == ["no curve is chosen"]
    find(page, "#legend button[aria-label='show all of the measured curves']").click()
    assert drawn() == [2, 2, 0]


def test_plots_have_the_colours_of_the_plots_in_files(page):
    for index, colour in enumerate(MEASURED_COLOURS[:2]):
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        shown = find(page, f".plot g.m{index}").value_of_css_property("color")
        assert shown in (f"rgba({red}, {green}, {blue}, 1)", f"rgb({red}, {green}, {blue})")


def test_the_slider_divides_original_and_reconstruction(page):
    def clipped() -> str:
        return str(evaluate(page, "document.getElementById('right-picture').style.clipPath"))

    assert texts(page, ".captions span") == ["◀ original", "jpeg 50, 0.500 bpp ▶"]
    assert clipped() == "inset(0px 0px 0px 32px)"
    find(page, "#slider").send_keys(Keys.ARROW_RIGHT * 25)
    assert clipped() == "inset(0px 0px 0px 48px)"
    canvas = find(page, "#canvas")
    ActionChains(page).move_to_element(canvas).click_and_hold().move_by_offset(-16, 0).release().perform()
    assert clipped() == "inset(0px 0px 0px 16px)"
    assert evaluate(page, "document.getElementById('divider').style.left") == "16px"
    left, right = brightness(page, "#left-picture"), brightness(page, "#right-picture")
    assert right == pytest.approx(0.75 * left, rel=0.02)


def test_settings_are_those_nearest_to_the_rate(page):
    def shown() -> list[tuple[str, str]]:
        rows = page.find_elements(By.CSS_SELECTOR, "#choices tbody tr")[1:]
        cells = [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows]
        return [(row[4], row[5]) for row in cells]

    # 0.5 and 0.45 lie closest together: 0.2 and 0.1 differ by a factor of two.
    assert find(page, "#target-text").text == "0.500 bpp"
    assert shown() == [("0.5000", "+0 %"), ("0.4500", "−10 %")]
    set_range(page, "#target", 0)
    assert find(page, "#target-text").text == "0.100 bpp"
    assert shown() == [("0.2000", "+100 %"), ("0.1000", "+0 %")]
    assert len(page.find_elements(By.CSS_SELECTOR, "#choices .far")) == 1
    assert texts(page, ".captions span")[1] == "jpeg 9, 0.200 bpp ▶"
    set_range(page, "#target", 1000)
    assert shown() == [("1.3000", "+0 %"), ("1.1000", "−15 %")]
    Select(find(page, "#choices select")).select_by_visible_text("50 (0.500 bpp)")
    assert shown()[0] == ("0.5000", "−62 %")
    assert texts(page, ".captions span")[1] == "jpeg 50, 0.500 bpp ▶"
    find(page, "input[name=left][aria-label='ours on the left']").click()
    assert texts(page, ".captions span")[0] == "◀ ours 90, 1.100 bpp"
    assert brightness(page, "#left-picture") > brightness(page, "#right-picture")


def test_another_image_is_chosen_whatever_its_name(page):
    before = brightness(page, "#left-picture")
    images = Select(find(page, "#image"))
    assert [option.text for option in images.options] == ["plain.png", HOSTILE]
    images.select_by_index(1)
    assert find(page, "#left-picture").get_attribute("alt") == f"{HOSTILE}, original"
    assert texts(page, ".captions span")[1] == "jpeg 50, 0.510 bpp ▶"
    assert abs(brightness(page, "#left-picture") - before) > 0.5
    assert page.title == "A <small> report"
    assert any(HOSTILE in text for text in texts(page, "#failures li"))


def test_zoom_and_side_by_side(page):
    choose(page, "zoom", "4")
    assert find(page, "#left-picture").size == {"width": 256, "height": 192}
    assert find(page, "#left-picture").value_of_css_property("image-rendering") == "pixelated"
    assert find(page, "#stage").size["width"] == 256
    assert evaluate(page, "document.getElementById('right-picture').style.clipPath") == "inset(0px 0px 0px 128px)"
    choose(page, "mode", "side")
    assert not find(page, "#wipe").is_displayed()
    assert texts(page, "#side figcaption") == ["original", "jpeg 50, 0.500 bpp", "ours 50, 0.450 bpp"]
    original, jpeg, ours = (brightness(page, f"#side figure:nth-child({i}) img") for i in (1, 2, 3))
    assert (jpeg, ours) == pytest.approx((0.75 * original, 0.75 * original), rel=0.02)
    assert {picture.size["width"] for picture in page.find_elements(By.CSS_SELECTOR, "#side img")} == {256}
    choose(page, "mode", "wipe")
    choose(page, "zoom", "1")
    assert find(page, "#left-picture").size == {"width": 64, "height": 48}


def test_scrolling_keeps_pictures_together_and_the_divider_in_sight(page):
    page.set_window_size(500, 900)
    choose(page, "mode", "side")
    choose(page, "zoom", "4")
    evaluate(page, "document.querySelectorAll('.panel').forEach((panel) => (panel.style.width = '100px'))")
    evaluate(page, "document.querySelectorAll('.panel')[1].scrollLeft = 70")
    positions = "Array.from(document.querySelectorAll('.panel'), (panel) => panel.scrollLeft)"
    WebDriverWait(page, 10).until(lambda page: evaluate(page, positions) == [70, 70, 70])
    choose(page, "mode", "wipe")
    evaluate(page, "document.getElementById('stage').style.width = '100px'")
    evaluate(page, "document.getElementById('stage').scrollLeft = 70")
    clip = "document.getElementById('right-picture').style.clipPath"
    WebDriverWait(page, 10).until(lambda page: evaluate(page, clip) == "inset(0px 0px 0px 120px)")
    choose(page, "zoom", "2")  # what was in the middle stays there: 120 of 256 is 60 of 128
    assert evaluate(page, "document.getElementById('stage').scrollLeft") == 10


@pytest.mark.parametrize("width", [1280, 800])
def test_nothing_is_wider_than_the_window(page, width):
    page.set_window_size(width, 900)
    assert evaluate(page, "document.documentElement.scrollWidth <= window.innerWidth")
    plots = page.find_elements(By.CSS_SELECTOR, ".plot")
    assert all(plot.rect["x"] + plot.rect["width"] <= width for plot in plots)
    assert (plots[0].rect["y"] == plots[1].rect["y"]) == (width == 1280)


def test_a_dark_screen_has_dark_colours(page):
    def background() -> int:
        colour = find(page, "body").value_of_css_property("background-color")
        return sum(map(int, colour[colour.index("(") + 1 : -1].split(",")[:3]))

    assert background() == 3 * 255
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        assert background() < 100
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

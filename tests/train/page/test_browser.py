"""The page in a real browser: plots drawn, tables sorted by mouse and keys, nothing wider than a phone, no errors.

Needs Chromium and its driver: `make test-browser`; `make test` leaves it out.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from mixproof.train.page.render import render_page

if TYPE_CHECKING:
    from mixproof.train.page.evidence import Evidence

pytestmark = pytest.mark.browser
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_SECONDS = 120


class Browser:
    """Chromium on one page."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver, self.url = driver, url

    def open(self, width: int, fragment: str = "", *, dark: bool = False) -> None:
        """Open the page on a screen of that width, and wait until its plots are drawn."""
        self.driver.get("about:blank")
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(self.url + fragment)
        self.wait("return document.documentElement.dataset.drawn === 'yes'")

    def ask(self, script: str, *arguments: object) -> object:
        """What a script on the page gives."""
        found: object = self.driver.execute_script(script, *arguments)
        return found

    def wait(self, script: str) -> None:
        """Wait until a script gives something true."""
        WebDriverWait(self.driver, PATIENCE_SECONDS).until(lambda _: self.ask(script))

    def find(self, selector: str) -> list[WebElement]:
        """All elements that match."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def press(self, element: WebElement, *keys: str) -> None:
        """Put the focus on an element and press keys, as somebody without a mouse does."""
        self.ask("arguments[0].focus()", element)
        element.send_keys(*keys)

    def click(self, element: WebElement) -> None:
        """Bring an element to the middle of the screen and click on it with the mouse."""
        self.ask("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        element.click()

    def column(self, table: str, place: int) -> list[str]:
        """Texts of one column, from the top down."""
        return [cell.text.splitlines()[-1] for cell in self.find(f"#{table} tbody td:nth-child({place})")]

    def too_wide(self) -> object:
        """Pixels by which the page is wider than the screen."""
        return self.ask("const page = document.documentElement; return page.scrollWidth - page.clientWidth")

    def errors(self) -> list[str]:
        """What the console complained of since it was asked last."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]


@pytest.fixture
def browser(evidence: Evidence, driver: webdriver.Chrome, tmp_path: Path) -> Browser:
    """Chromium, with the page written to a file."""
    path = tmp_path / "report.html"
    path.write_text(render_page(evidence))
    return Browser(driver, path.as_uri())


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Chromium without a window, with a profile of its own."""
    options = Options()
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium and driver, "the browser tests need chromium and chromedriver; .ci/run installs them"
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=Service(driver))
    yield made
    made.quit()


@pytest.mark.parametrize("width", [360, 768, 1360])
@pytest.mark.parametrize("dark", [False, True])
def test_every_plot_is_drawn_without_a_complaint_and_nothing_is_wider_than_the_screen(
    browser: Browser, width: int, dark: bool
) -> None:
    browser.open(width, dark=dark)
    assert browser.errors() == []
    places = browser.find(".plot")
    assert len(places) == 7
    for place in places:
        (svg, *_) = place.find_elements(By.CSS_SELECTOR, "svg.main-svg")
        assert 0 < svg.rect["width"] <= width
    for id_, marks, number in (
        ("ranking-0", ".scatterlayer .point", 3 + 6),
        ("delivered-0", ".barlayer .point", 9),
        ("curves-0", ".scatterlayer .js-line", 6),
        ("dedup-0", ".heatmaplayer .hm", 1),
    ):
        assert len(browser.find(f"#{id_} {marks}")) == number, id_
    browser.wait("return document.querySelectorAll('#flow-0 path.sankey-link').length > 20")
    assert browser.too_wide() == 0
    for part in browser.find("details"):
        browser.ask("arguments[0].open = true", part)
    assert browser.too_wide() == 0


def test_the_page_opens_no_connection(browser: Browser) -> None:
    browser.open(1360)
    assert browser.ask("return performance.getEntriesByType('resource').length") == 0


@pytest.mark.parametrize("width", [360, 1360])
def test_tables_are_sorted_by_mouse_and_by_keys(browser: Browser, width: int) -> None:
    browser.open(width)
    _, mixture, objective, *_ = browser.find("#ranking-table-0 th")
    assert browser.column("ranking-table-0", 2) == ["wordy", "even", "code_first"]
    browser.click(mixture.find_element(By.TAG_NAME, "button"))
    assert browser.column("ranking-table-0", 2) == ["code_first", "even", "wordy"]
    assert mixture.get_attribute("aria-sort") == "ascending"
    browser.press(objective.find_element(By.TAG_NAME, "button"), Keys.ENTER)
    assert browser.column("ranking-table-0", 3) == ["1.5687", "1.8020", "2.0020"]
    browser.press(objective.find_element(By.TAG_NAME, "button"), Keys.SPACE)
    assert browser.column("ranking-table-0", 3) == ["2.0020", "1.8020", "1.5687"]
    assert objective.get_attribute("aria-sort") == "descending"
    assert mixture.get_attribute("aria-sort") == "none"


def test_numbers_are_sorted_as_numbers(browser: Browser) -> None:
    browser.open(1360)
    button = browser.find("#account-table-0 th button")[5]
    browser.ask("arguments[0].click()", button)
    assert browser.column("account-table-0", 6) == ["227,125", "237,500", "237,500"]
    button = browser.find("#delivered-table-0 th button")[3]
    browser.ask("arguments[0].click()", button)
    tokens = [int(text.replace(",", "")) for text in browser.column("delivered-table-0", 4)]
    assert tokens == sorted(tokens) and tokens[-1] == 30_720


def test_the_flow_is_measured_in_another_unit_by_keys_alone(browser: Browser) -> None:
    browser.open(1360)
    assert "exact duplicate 25KB" in browser.find("#flow-0")[0].text
    browser.press(browser.find("input[value=bytes]")[0], Keys.ARROW_RIGHT)
    browser.wait("return document.querySelector('#flow-0').textContent.includes('exact duplicate 25')")
    browser.wait("return document.querySelector('#flow-0').textContent.includes('invalid json 10')")
    captions = [caption for caption in browser.find("figure[data-figure=flow-0] figcaption") if caption.is_displayed()]
    assert [caption.text.partition(".")[0] for caption in captions] == [
        "Records and documents, from reading to the training and held-out sets"
    ]


def test_a_number_leads_to_the_line_that_states_it(browser: Browser, evidence: Evidence) -> None:
    browser.open(1360)
    link = browser.find("#delivered-table-0 tbody tr:nth-child(2) td:nth-child(5) a")[0]
    assert link.text == "20,480"
    browser.press(link, Keys.ENTER)
    browser.wait("return document.querySelector('pre mark') !== null")
    (mark,) = browser.find("pre mark")
    assert mark.text.strip() == '"tokens": 20480,'
    assert browser.ask("return document.activeElement.tagName") == "MARK"
    assert browser.ask("return document.querySelector('pre mark').closest('details').open")
    browser.driver.back()
    build = evidence.builds[0]
    browser.open(1360, f"#{build.anchor}:/sources/code/ledger/1/dropped/too_short/documents")
    assert browser.find("pre mark")[0].text.strip() == '"documents": 30'
    browser.open(1360, f"#{build.anchor}:/dedup_matrix/1/bytes")
    assert browser.find("pre mark")[0].text.strip() == '"bytes": 5000,'


def test_a_mean_leads_to_the_seeds_behind_it(browser: Browser) -> None:
    browser.open(360)
    browser.ask("arguments[0].click()", browser.find("#ranking-table-0 tbody tr:nth-child(2) td:nth-child(3) a")[0])
    browser.wait("return document.querySelector('tr.hit') !== null")
    assert browser.find("tr.hit")[0].is_displayed()
    assert browser.find("tr.hit td")[0].text == "even"


def test_the_theme_follows_the_reader(browser: Browser) -> None:
    grounds = []
    for dark in (False, True):
        browser.open(1360, dark=dark)
        grounds.append(browser.ask("return getComputedStyle(document.body).backgroundColor"))
        drawn = browser.ask("return document.querySelector('#ranking-0 .main-svg').style.background")
        assert drawn == grounds[-1]
    assert grounds == ["rgb(253, 252, 249)", "rgb(20, 21, 24)"]


def test_print_keeps_every_plot_and_opens_the_tables(browser: Browser) -> None:
    browser.open(1360, dark=True)
    browser.ask("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.ask("return [...document.querySelectorAll('details.data')].every((part) => part.open)")
    drawn = "[...document.querySelectorAll('.plot .svg-container')]"
    widths = browser.ask(f"return {drawn}.map((part) => part.getBoundingClientRect().width)")
    assert isinstance(widths, list) and len(widths) == 7
    assert max(widths) <= 681
    browser.ask("window.dispatchEvent(new Event('afterprint'))")
    assert not browser.ask("return [...document.querySelectorAll('details.data')].some((part) => part.open)")
    assert browser.errors() == []

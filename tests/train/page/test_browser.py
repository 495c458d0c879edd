"""The page in a real browser: plots drawn, tables sorted by mouse and keys, nothing wider than a phone, no errors.

Needs Chromium and its driver: `make test-browser`; `make test` leaves it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from chromium import Browser, chromium
from mixproof.train.page.render import render_page
from small_manifest import manifest, with_every_filter

if TYPE_CHECKING:
    from mixproof.train.page.evidence import Evidence

    from .conftest import MakeRun

Compare = Callable[..., "Evidence"]
LEADING_PX = 4
"""By which the boxes of two lines may overlap: a box has the height of the font, with room that no letter uses."""

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Chromium."""
    with chromium(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def browser(evidence: Evidence, driver: webdriver.Chrome, tmp_path: Path) -> Browser:
    """Chromium, with the page written to a file."""
    path = tmp_path / "report.html"
    path.write_text(render_page(evidence))
    return Browser(driver, path.as_uri())


@pytest.mark.parametrize("width", [360, 768, 1360])
@pytest.mark.parametrize("dark", [False, True])
def test_every_plot_is_drawn_without_a_complaint_and_nothing_is_wider_than_the_screen(
    browser: Browser, width: int, dark: bool
) -> None:
    browser.open(width, dark=dark)
    assert browser.errors() == []
    assert browser.too_wide() == 0
    browser.unfold()
    places = browser.find(".plot")
    assert len(places) == 6
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
    drawn = [svg for svg in browser.find("#flow-0 svg") if svg.is_displayed()]
    assert [svg.get_attribute("class") for svg in drawn] == ["sankey wide" if width > 960 else "sankey narrow"]
    assert browser.too_wide() == 0
    for part in browser.find("details"):
        browser.ask("arguments[0].open = true", part)
    assert browser.too_wide() == 0


def test_the_page_opens_no_connection(browser: Browser) -> None:
    browser.open(1360)
    assert browser.ask("return performance.getEntriesByType('resource').length") == 0


PLANTED = """<img src=x onerror="document.title = 'owned'"><p id=planted style="position: fixed">
<a href="javascript:document.title = 'owned'">x</a><svg onload="document.title = 'owned'"></svg>"""


def test_names_with_markup_are_drawn_as_text_and_html_that_got_in_would_do_nothing(
    driver: webdriver.Chrome, compare_runs: Compare, make_run: MakeRun, tmp_path: Path
) -> None:
    names = ("</script><img src=x onerror=alert(1)>", '<a href="javascript:alert(1)">x</a>', "${7*7}{{7*7}}")
    runs = [make_run("even", seed, mixture=name) for name in names for seed in (1, 2)]
    path = tmp_path / "report.html"
    path.write_text(render_page(compare_runs([*runs, make_run("wordy", 1, proxy=names[0])])))
    browser = Browser(driver, path.as_uri())
    browser.open(1360)
    browser.unfold()
    assert browser.errors() == []
    title = browser.driver.title
    assert "owned" not in title and not browser.find("main img, main a[href^='javascript']")
    assert set(browser.column("ranking-table-0", 2)) == set(names)
    assert any(part.text.startswith("</script><img") for part in browser.find("#ranking-0 text"))
    browser.ask("document.body.insertAdjacentHTML('afterbegin', arguments[0])", PLANTED)
    browser.ask("document.querySelector('#planted a').click()")
    assert browser.ask("return getComputedStyle(document.querySelector('#planted')).position") == "static"
    assert browser.driver.title == title
    assert len([error for error in browser.errors() if "Content Security Policy" in error]) >= 4


@pytest.mark.parametrize("width", [360, 1360])
def test_tables_are_sorted_by_mouse_and_by_keys(browser: Browser, width: int) -> None:
    browser.open(width)
    browser.unfold()
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
    assert "exact duplicate 25KB" in " ".join(browser.find("#flow-0")[0].text.split())
    browser.press(browser.find("input[value=bytes]")[0], Keys.ARROW_RIGHT)
    shown = " ".join(browser.find("#flow-0")[0].text.split())
    assert "exact duplicate 25 · 2.6%" in shown and "invalid json 10 · 0.3%" in shown
    captions = [caption for caption in browser.find("#flow-0 figcaption") if caption.is_displayed()]
    assert [caption.text.partition(".")[0] for caption in captions] == [
        "Records and documents, from reading to the training and held-out sets"
    ]


BOXES = """
const shown = [...document.querySelectorAll("#flow-0 svg")].filter((svg) => svg.clientWidth > 0);
return shown.map((svg) => [svg, ...svg.querySelectorAll("text")].map((part) => {
  const box = part.getBoundingClientRect();
  return [box.left, box.top, box.right, box.bottom];
}));
"""


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("unit", ["bytes", "documents"])
def test_labels_of_the_flow_never_overlap_with_every_filter_in_use(
    width: int, unit: str, driver: webdriver.Chrome, compare_runs: Compare, make_run: MakeRun, tmp_path: Path
) -> None:
    made = with_every_filter(manifest())
    path = tmp_path / "report.html"
    path.write_text(render_page(compare_runs([make_run("even", 1)], made=made)))
    browser = Browser(driver, path.as_uri())
    browser.open(width)
    browser.unfold()
    browser.click(browser.find(f"#flow-0 input[value={unit}]")[0])
    found = browser.ask(BOXES)
    assert isinstance(found, list)
    ((canvas, *labels),) = found
    assert len(labels) > 60
    for left, top, right, bottom in labels:
        assert canvas[0] <= left and canvas[1] <= top and right <= canvas[2] and bottom <= canvas[3]
    for one, other in combinations(labels, 2):
        across = min(one[2], other[2]) - max(one[0], other[0])
        down = min(one[3], other[3]) - max(one[1], other[1])
        assert across <= 0 or down <= LEADING_PX, (one, other)


def test_sections_are_folded_on_a_phone_and_open_by_the_table_of_contents(browser: Browser) -> None:
    browser.open(390)
    assert browser.ask("return document.documentElement.scrollHeight < 2500")
    assert not [part for part in browser.find("details.fold") if part.get_attribute("open")]
    browser.click(browser.find("nav a[href='#loss']")[0])
    browser.wait("return document.querySelector('#heldout-0 svg.main-svg') !== null")
    assert [part.get_attribute("open") for part in browser.find("#loss > details")] == ["true"]
    browser.open(1440)
    assert all(part.get_attribute("open") for part in browser.find("details.fold"))


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
    browser.unfold()
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
    assert isinstance(widths, list) and len(widths) == 6
    assert max(widths) <= 681
    browser.ask("window.dispatchEvent(new Event('afterprint'))")
    assert not browser.ask("return [...document.querySelectorAll('details.data')].some((part) => part.open)")
    assert browser.errors() == []

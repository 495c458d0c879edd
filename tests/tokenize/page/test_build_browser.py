"""The page of a build in a real browser: nothing wider than the screen, no errors, units chosen by keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from selenium import webdriver

from chromium import Browser, chromium
from mixproof.ledger.store import Store
from mixproof.tokenize.page.build_evidence import BuildEvidence, Statement
from mixproof.tokenize.page.build_page import render_build
from small_manifest import manifest, with_every_filter

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Chromium."""
    with chromium(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_every_screen(width: int, dark: bool, driver: webdriver.Chrome, tmp_path: Path) -> None:
    store, made = Store(tmp_path), with_every_filter(manifest())
    for source in made.sources.values():
        for part in source.train.datasets:
            path = store.path(part.provenance)
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table({"tokens": pa.array(range(1, 5_000), pa.int32())}), path)
    page = tmp_path / "build.html"
    statement = Statement("/store/manifest.json", made.to_bytes().decode())
    page.write_text(render_build(store, BuildEvidence(made, statement, {}), "trial", "0.1.0"))
    browser = Browser(driver, page.as_uri())
    browser.show(width, dark=dark)
    assert browser.errors() == []
    assert browser.too_wide() == 0
    folded = [part for part in browser.find("details.fold") if not part.get_attribute("open")]
    assert bool(folded) == (width < 700)
    browser.ask("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert browser.too_wide() == 0
    bars = [bar for bar in browser.find(".multiples rect") if bar.is_displayed()]
    assert len(bars) == 3 * 13  # lengths from 1 to 4,999 in each of three sources

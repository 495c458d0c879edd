"""Chromium for the tests of pages; `make test-browser` runs them, and .ci/run installs it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

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
        self.show(width, fragment, dark=dark)
        self.wait("return document.documentElement.dataset.drawn === 'yes'")

    def show(self, width: int, fragment: str = "", *, dark: bool = False) -> None:
        """Open the page on a screen of that width."""
        self.driver.get("about:blank")
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(self.url + fragment)

    def ask(self, script: str, *arguments: object) -> object:
        """What a script on the page gives."""
        found: object = self.driver.execute_script(script, *arguments)
        return found

    def unfold(self) -> None:
        """Open every section, and wait until its plots are drawn."""
        self.ask("document.querySelectorAll('details.fold').forEach((part) => { part.open = true; })")
        self.wait("return [...document.querySelectorAll('.plot')].every((plot) => plot.querySelector('svg.main-svg'))")

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


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """Chromium without a window, with a new profile."""
    options = Options()
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert program and driver, "the browser tests need chromium and chromedriver; .ci/run installs them"
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield made
    finally:
        made.quit()

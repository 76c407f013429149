"""A real Chromium behind chromedriver: what a page logs, asks for and shows.

In:  a file; a window's width.
Out: `Browser`, a context manager; `MISSING`, the reason why there is none, or "".
Left out: what a page should hold.
"""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)


def missing() -> str:
    """Return why no browser can be driven here, or an empty text."""
    if find_spec("selenium") is None:
        return "needs selenium (pip install selenium)"
    if CHROMIUM is None or DRIVER is None:
        return "needs Chromium (apt-get install chromium chromium-driver)"
    return ""


class Browser:
    """One window of `width` pixels; as a phone it has touch and a phone's pixel ratio."""

    def __init__(self, width: int, *, phone: bool = False) -> None:
        self.width, self.phone = width, phone

    def __enter__(self) -> Browser:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in (*FLAGS, f"--user-data-dir={self.folder.name}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
        self.driver.set_page_load_timeout(60)
        size = {
            "width": self.width,
            "height": 900,
            "mobile": self.phone,
            "deviceScaleFactor": 3 if self.phone else 1,
        }
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Log.enable", {})
        return self

    def __exit__(self, *problem: object) -> None:
        self.driver.quit()
        self.folder.cleanup()

    def open(self, file: Path) -> None:
        """Load a file and forget what was logged before."""
        self.driver.get_log("performance")
        self.driver.get(file.as_uri())

    def run(self, script: str, *values: Any) -> Any:
        """Return what JavaScript returns."""
        return self.driver.execute_script(script, *values)

    def click(self, selector: str) -> None:
        """Click as a person does: only what is in view and not covered."""
        from selenium.webdriver.common.by import By

        element = self.driver.find_element(By.CSS_SELECTOR, selector)
        self.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        element.click()

    def type(self, selector: str, text: str) -> None:
        """Type into a field, key by key."""
        from selenium.webdriver.common.by import By

        self.driver.find_element(By.CSS_SELECTOR, selector).send_keys(text)

    def complaints(self) -> list[str]:
        """Return what stands in the console."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def complains_of(self, words: str) -> bool:
        """Wait until the console says it: messages reach the log when the browser has time."""
        return self._comes(lambda: any(words in line for line in self.complaints()))

    def asks_for(self, address: str) -> bool:
        """Wait until the page has asked for an address that ends so."""
        return self._comes(lambda: any(url.endswith(address) for url in self.requests()))

    @staticmethod
    def _comes(seen: Callable[[], bool], patience: int = 150) -> bool:
        for _ in range(patience):
            if seen():
                return True
            time.sleep(0.1)
        return False

    def requests(self) -> list[str]:
        """Return the addresses that the page asked for, itself among them.

        What the browser's own start page still asks for is not the page's.
        """
        events = [json.loads(entry["message"]) for entry in self.driver.get_log("performance")]
        return [
            event["message"]["params"]["request"]["url"]
            for event in events
            if event["message"]["method"] == "Network.requestWillBeSent"
            and event["message"]["params"]["documentURL"] == self.driver.current_url
        ]

    def picture(self, file: Path) -> None:
        """Write the whole page as a PNG."""
        found = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True}
        )
        file.write_bytes(base64.b64decode(found["data"]))

    def print_pdf(self, file: Path) -> None:
        """Print the page on A4.

        On a busy machine Chromium may print before all pictures are laid out, and then cuts the
        page off: print until two prints have the same number of sheets.
        """
        from pypdf import PdfReader

        paper = {"paperWidth": 8.27, "paperHeight": 11.69, "preferCSSPageSize": True}
        self.driver.execute_async_script("document.fonts.ready.then(arguments[0])")
        before = 0
        for _ in range(6):
            found = self.driver.execute_cdp_cmd("Page.printToPDF", paper)
            file.write_bytes(base64.b64decode(found["data"]))
            sheets = len(PdfReader(file).pages)
            if sheets == before:
                return
            before = sheets

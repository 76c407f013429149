"""The report page: self-contained, escaped, and at work in a real browser."""

from __future__ import annotations

import html.parser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rackmodel.report.html import page, ratio_band

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
VOID = {"meta", "link", "br", "input", "hr", "img"}


class Outline(html.parser.HTMLParser):
    """Collects ids, links and whatever could load something; checks that tags nest."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        facts = dict(attrs)
        if "id" in facts:
            self.ids.append(facts["id"])
        for key in ("src", "data", "srcset", "action"):
            if key in facts:
                self.loads.append(f"{tag} {facts[key]}")
        target = facts.get("href") or facts.get("xlink:href") or ""
        if target.startswith("#"):
            self.targets.append(target[1:])
        elif target and not target.startswith("data:"):
            self.loads.append(f"{tag} {target}")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_well_formed_and_loads_nothing(content):
    text = page(content)
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    assert outline.loads == []
    assert len(outline.ids) == len(set(outline.ids)), "ids must be unique over all pictures"
    assert set(outline.targets) <= set(outline.ids)
    assert "http-equiv" in text
    assert not re.search(r"url\((?!#)", text)


def test_what_comes_from_outside_is_escaped(content):
    content["rows"][0]["topology"] = "<script>alert(1)</script>"
    text = page(content)
    assert "<script>alert" not in text
    assert "&lt;needs&gt;" in text


def test_equal_content_gives_equal_bytes(content):
    assert page(content) == page(content)


def test_page_stands_without_anything_but_results(rows):
    text = page({"rows": rows})
    assert "rackmodel claims" in text
    assert "--validation" in text


def test_band_of_a_ratio_holds_the_ratio_and_grows_with_both_errors(rows):
    low, high = ratio_band(rows[0], rows[1])
    ratio = rows[0]["tokens_per_s_per_gpu"] / rows[1]["tokens_per_s_per_gpu"]
    assert low < ratio < high
    exact = {**rows[1], "step_s_low": rows[1]["step_s"], "step_s_high": rows[1]["step_s"]}
    assert ratio_band(rows[0], exact)[0] > low


def run_browser(*options: str) -> subprocess.CompletedProcess[str]:
    assert BROWSER is not None
    return subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", *options],
        capture_output=True, text=True, timeout=90, check=True,
    )  # fmt: skip


CHECK = """
<script>
window.addEventListener("error", function (event) { document.title = "error " + event.message; });
window.addEventListener("load", function () {
  var table = document.getElementById("numbers");
  var button = table.querySelectorAll("th button")[1];
  var first = function () { return table.tBodies[0].rows[0].cells[0].textContent; };
  button.click(); var up = first(); button.click(); var down = first();
  var input = document.querySelector('input[data-filters="assumptions"]');
  input.value = "leak"; input.dispatchEvent(new Event("input"));
  var left = Array.from(document.getElementById("assumptions").tBodies[0].rows)
    .filter(function (row) { return !row.hidden; }).length;
  var wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  var requests = performance.getEntriesByType("resource").length;
  var mark = document.createElement("p"); mark.id = "checked";
  mark.textContent = [up, down, left, wide, requests, document.title].join("|");
  document.body.appendChild(mark);
});
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="needs chromium (apt-get install chromium)")
@pytest.mark.parametrize("width", [390, 1280])
def test_browser_sorts_filters_and_asks_for_nothing(content, tmp_path: Path, width: int):
    text = page(content).replace("script-src 'unsafe-inline'", "script-src 'unsafe-inline'", 1)
    file = tmp_path / "report.html"
    file.write_text(text.replace("<head>", "<head>" + CHECK, 1))
    done = run_browser(
        f"--window-size={width},900", "--enable-logging=stderr", "--dump-dom", file.as_uri()
    )
    found = re.search(r'id="checked">([^<]*)<', done.stdout)
    assert found, done.stderr[-500:]
    up, down, left, wide, requests, title = found[1].split("|")
    assert (up, down, left) == ("dgx-h100", "gb200-nvl72", "1")
    assert int(wide) <= 0, "the page must not scroll sideways"
    assert requests == "0"
    assert not title.startswith("error")
    assert "CONSOLE" not in done.stderr


@pytest.mark.skipif(BROWSER is None, reason="needs chromium (apt-get install chromium)")
def test_browser_prints_a_pdf(content, tmp_path: Path):
    file, pdf = tmp_path / "report.html", tmp_path / "report.pdf"
    file.write_text(page(content))
    run_browser("--no-pdf-header-footer", f"--print-to-pdf={pdf}", file.as_uri())
    assert pdf.read_bytes().startswith(b"%PDF")
    assert pdf.stat().st_size > 30_000

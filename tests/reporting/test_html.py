"""The report page: self-contained, escaped, and at work in a real browser."""

from __future__ import annotations

import html.parser
import re
from pathlib import Path

import pytest
from browser import Browser, missing

from rackmodel.reporting.html import answers, page

VOID = {"meta", "link", "br", "input", "hr", "img"}


class Outline(html.parser.HTMLParser):
    """Collects ids, links and whatever could load something; checks that tags nest."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.loads: list[str] = []
        self.linked: list[str] = []
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
        elif tag == "a" and target.startswith("https://"):
            self.linked.append(target)  # a link loads nothing until it is followed
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
    assert outline.linked, "sources are links"
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


def test_machines_whose_band_holds_one_are_not_told_apart(rows):
    content = {"rows": [rows[0], {**rows[0], "topology": "other"}]}
    near, far = ({"other": band} for band in ((1.03, 0.9, 1.2), (5.0, 4.0, 6.0)))
    assert "can't be told apart from other" in list(answers({**content, "ratios": near}))[1]
    assert "is 5.00 times (4.00 to 6.00)" in list(answers({**content, "ratios": far}))[1]


@pytest.fixture(scope="module", params=[(390, True), (1280, False)], ids=["phone", "desktop"])
def browser(request):
    if reason := missing():  # .ci/run installs both where it may, and says so where it may not
        pytest.skip(reason)
    width, phone = request.param
    with Browser(width, phone=phone) as one:
        yield one


@pytest.fixture
def file(content, tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    path.write_text(page(content))
    return path


FIRST = "return document.querySelector('#numbers tbody tr').cells[0].textContent"
SHOWN = """
var rows = [...document.querySelectorAll("#assumptions tbody tr")];
return rows.filter(row => row.offsetParent).length"""
SMALLEST = """
var least = 99;
for (const node of document.querySelectorAll("p, li, td, th, caption, figcaption, svg text")) {
  if (!node.offsetParent && !(node instanceof SVGElement)) continue;
  if (!node.textContent.trim()) continue;
  var size = parseFloat(getComputedStyle(node).fontSize);
  var m = node instanceof SVGElement ? node.getScreenCTM() : null;
  if (m) size *= Math.hypot(m.a, m.b);
  least = Math.min(least, size);
}
return least"""
PALE = """
function light(text) {
  var c = text.match(/[0-9.]+/g).map(Number).slice(0, 3).map(v => v / 255);
  c = c.map(v => v <= 0.03928 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4));
  return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2];
}
return [...document.querySelectorAll("p, li, td, th, caption, figcaption, a, button, code")]
  .filter(n => n.offsetParent)
  .filter(n => 1.05 / (light(getComputedStyle(n).color) + 0.05) < 4.5)
  .map(n => n.textContent.slice(0, 40))"""


def test_page_asks_for_nothing_and_logs_nothing(browser, file):
    browser.open(file)
    assert browser.requests() == [file.as_uri()]
    assert browser.complaints() == []


def test_a_request_and_an_error_would_be_seen(browser, tmp_path):
    """The two tests above can fail: a page that does both is caught."""
    bad = tmp_path / "bad.html"
    bad.write_text("<!DOCTYPE html><img src='missing.png'><script>nothing.at.all()</script>")
    browser.open(bad)
    assert browser.asks_for("missing.png")
    assert browser.complains_of("nothing is not defined")


def test_the_policy_of_the_page_stops_what_would_leave_it(browser, content, tmp_path):
    torn = tmp_path / "torn.html"
    away = "<img src='https://example.org/x.png'>"
    torn.write_text(page(content).replace("<main>", f"<main>{away}"))
    browser.open(torn)
    assert browser.complains_of("Content Security Policy")


def test_tables_sort_by_number_and_filter_by_word(browser, file):
    browser.open(file)
    head = "#numbers thead th:nth-child(2) button"
    browser.click(head)
    assert browser.run(FIRST) == "dgx-h100"  # 279, the least
    browser.click(head)
    assert browser.run(FIRST) == "gb200-nvl72"
    all_rows = browser.run(SHOWN)
    browser.type('input[data-filters="assumptions"]', "leak")
    assert (all_rows, browser.run(SHOWN)) == (2, 1)


def test_text_is_readable_and_the_page_does_not_scroll_sideways(browser, file):
    browser.open(file)
    root = "document.documentElement"
    assert browser.run(f"return {root}.scrollWidth - {root}.clientWidth") <= 0
    assert browser.run(SMALLEST) >= 7.0, "CSS pixels; labels in pictures are the smallest"
    assert browser.run(PALE) == [], "contrast of 4.5 : 1 at least (WCAG AA)"


@pytest.mark.parametrize("browser", [(1280, False)], ids=["desktop"], indirect=True)
def test_page_prints(browser, file, tmp_path: Path):
    from pypdf import PdfReader

    browser.open(file)
    pdf = tmp_path / "report.pdf"
    browser.print_pdf(pdf)
    pages = [sheet.extract_text() for sheet in PdfReader(pdf).pages]
    assert 1 < len(pages) < 20
    assert all(sheet.strip() for sheet in pages), "no empty sheet"
    whole = " ".join(pages)
    for words in ("The question", "How sure we are", "rackmodel report --out report.html"):
        assert words in whole

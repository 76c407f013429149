"""The local page: the same gate and words as the command line, in a real browser."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from rackmodel.cli.page import worker
from rackmodel.cli.page.form import form
from rackmodel.errors import InvalidInput
from tests.reporting.browser import Browser, missing

JOB = ["simulate", "dgx-h100", "--model", "gpt3-13b", "--gpus", "16", "--global-batch", "32"]
needs_server = pytest.mark.skipif(
    not (find_spec("starlette") and find_spec("uvicorn")), reason="needs the extra [app]"
)
needs_browser = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.mark.parametrize(
    "words",
    [
        ["simulate", "dgx-h10", *JOB[2:]],
        [*JOB, "--tp", "x"],
        [*JOB, "--power-cap", "500 GB"],
        [*JOB, "--set", "accelerators.h100.nosuch=1"],
        [*JOB, "--nosuch"],
        ["simulate"],
    ],
)
def test_what_is_wrong_is_told_as_on_the_command_line(fails, words):
    found = worker.answer(words)
    told = " ".join(f"rackmodel: {found['message']}".split())
    assert not found["ok"]
    line = fails(found["code"], *words)
    assert re.sub(r" \(Possible options.*?\)", "", line) == told


@pytest.mark.parametrize("more", [["--out", "x"], ["--plot", "x.png"], ["--trace", "t.json"]])
def test_no_words_of_the_page_write_files(more, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = worker.answer([*JOB, *more])
    assert not found["ok"]
    assert "No such option" in found["message"]
    assert list(tmp_path.iterdir()) == []


def test_no_other_command_runs():
    assert "alone" in worker.answer(["report"])["message"]
    assert not worker.answer([])["ok"]


def test_a_held_plan_is_the_plan_that_was_found(run):
    found = worker.answer([*JOB, "--precision", "fp8"])
    held = worker.answer([*JOB, "--precision", "fp8", *found["held"]])
    step = [dict(one["figures"])["step"].split(" ")[0] for one in (found, held)]
    assert step[0] == step[1]
    assert held["held"] == found["held"]
    assert json.loads(run(*held["command"].split()[1:], "--json").stdout)["step_s"] > 0


def test_parts_and_figures_are_those_of_the_result(run):
    words = [*JOB, "--default-plan", "--tp", "8", "--recompute", "full"]
    found, printed = worker.answer(words), json.loads(run(*words, "--json").stdout)
    assert sum(one["value"] for one in found["parts"]) == pytest.approx(printed["step_s"], rel=1e-6)
    trays = sum(one["heat_w"] for one in found["trays"])
    assert trays == pytest.approx(max(r["heat_w"] for r in printed["racks"]), rel=0.02)


HELD = (
    "simulate dgx-h100 --model gpt3-175b --gpus 1024 --global-batch 512 --seq-len 2048"
    " --default-plan --tp 8 --pp 8 --micro-batch 1"
)


@pytest.mark.parametrize("more", ["", "--power-cap 500W", "--precision fp8"])
def test_an_estimate_is_near_what_is_simulated(more):
    words = [*HELD.split(), *more.split()]
    soon, found = worker.estimated(words), worker.answer(words)
    near, told = dict(soon["figures"]), dict(found["figures"])
    read = [float(row["tokens/s per accelerator"].replace(",", "")) for row in (near, told)]
    assert read[0] == pytest.approx(read[1], rel=0.1)
    assert near["HBM used"] == told["HBM used"].split("  ")[0]


@pytest.mark.parametrize(
    "words", ["report", "simulate", "simulate dgx-h10 --model x", HELD.replace("512", "511")]
)
def test_what_can_not_be_estimated_is_left_to_the_simulation(words):
    assert worker.estimated(words.split()) == {}


def test_what_moves_the_site_alone_is_not_simulated_again():
    from rackmodel.assess.kept_steps import keeping

    sites = ["--pue 1.5", "--supply-c 20", "--set prices.h100.capex_usd=9000USD", "--usd-per-kwh 9"]
    apart = [worker.answer([*HELD.split(), *site.split()]) for site in sites]
    with keeping():
        worker.answer(HELD.split())
        begin = time.process_time()
        together = [worker.answer([*HELD.split(), *site.split()]) for site in sites]
        took_s = time.process_time() - begin
    for one, other in zip(apart, together, strict=True):
        assert one["figures"] == other["figures"]
        assert one["trays"] == other["trays"]
    assert took_s < 0.5 * sum(one["took_s"] for one in apart)


def test_every_field_of_the_form_is_an_option_with_its_help():
    found = form()
    for fields in found["tabs"].values():
        for one in fields:
            assert one["help"], one["name"]
            assert one["kind"] == "machine" or one["option"].startswith("--"), one
    nvl72 = next(one for one in found["machines"] if one["name"] == "gb200-nvl72")
    assert [one["size"] for one in nvl72["domains"]] == [8, 16, 24, 36]


def test_a_running_job_can_be_stopped():
    import threading

    slow = ["simulate", "gb200-nvl72", "--model", "llama3.1-405b", "--gpus", "1024"]
    with worker.working() as one:
        heard = []
        asking = threading.Thread(
            target=lambda: heard.append(one.ask([*slow, "--global-batch", "1024", "--no-fold"]))
        )
        asking.start()
        time.sleep(0.5)
        one.stop()
        asking.join(30)
        assert heard[0]["stopped"]
        assert one.ask(["report"])["code"] == 2  # the next one is answered


def test_a_taken_port_is_told(fails):
    from rackmodel.cli.page import server

    if not (find_spec("starlette") and find_spec("uvicorn")):
        with pytest.raises(InvalidInput, match=r"pip install 'rackmodel\[app\]'"):
            server.listening(0)
        return
    with server.listening(0) as taken:
        assert "--port" in fails(2, "app", "--no-browser", "--port", taken.getsockname()[1])
    assert "65,535" in fails(2, "app", "--port", "70000")


@pytest.fixture(scope="module")
def address():
    """The page as a user starts it."""
    words = [sys.executable, "-m", "rackmodel", "app", "--port", "0", "--no-browser"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        found = re.search(r"http://([\d.]+:\d+)/", server.stderr.readline())
        assert found
        yield found[1]
        server.terminate()


def ask(address, path, body, **headers):
    there = http.client.HTTPConnection(address, timeout=60)
    there.request("POST", path, body, headers)
    return there.getresponse()


@needs_server
def test_other_pages_and_other_hosts_are_refused(address):
    body = json.dumps({"words": ["report"]})
    json_type = {"content-type": "application/json"}
    assert ask(address, "/run", body, **json_type).status == 200
    assert ask(address, "/run", body, **{"content-type": "text/plain"}).status == 415
    assert ask(address, "/stop", "{}", **{"content-type": "text/plain"}).status == 415
    assert ask(address, "/run", body, Host="elsewhere.example", **json_type).status == 400
    assert ask(address, "/run", json.dumps({"words": "report"}), **json_type).status == 400
    assert ask(address, "/run", "[" * 200, **json_type).status == 400
    assert ask(address, "/run", " " * 200_000, **json_type).status == 413


def answered(page, number, patience_s=120):
    """Wait for the answer to a job."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        if page.run(
            "return !running && window.shown && window.shown.number >= arguments[0]", number
        ):
            return
        time.sleep(0.1)
    raise AssertionError(page.run("return document.body.innerText"))


#: The simulation may be done before its estimate: here it is shown only after one.
AFTER_ESTIMATE = """
const sent = post;
post = async (path, body) => {
  const found = await sent(path, body);
  while (path === 'run' && !window.drafted) await new Promise(done => setTimeout(done, 20));
  return found;
};
"""


@needs_server
@needs_browser
def test_the_main_path_in_a_browser(address, tmp_path):
    from selenium.webdriver.common.keys import Keys

    with Browser(1280) as page:
        page.driver.get(f"http://{address}/")
        answered(page, 1)
        text = "return document.getElementById(arguments[0]).textContent"
        first = page.run(text, "headline")
        assert "MFU" in first
        page.click("#keep")
        page.run(AFTER_ESTIMATE)
        # by keyboard alone: the slider of the batch one notch up
        page.run("document.getElementById('f-global_batch').focus()")
        page.type("#f-global_batch", Keys.ARROW_RIGHT)
        answered(page, 2)
        assert page.run(text, "headline") != first
        assert "--global-batch 288" in page.run(text, "command")
        assert page.run("return window.drafted") >= 1
        assert "simulating" not in page.run(text, "headline")
        page.click("#keep")
        columns = "return document.querySelectorAll('#compared th[scope=col]').length"
        assert page.run(columns) == 2
        page.type("#f-topology", Keys.CONTROL + "a" + Keys.NULL + "gb200-nvl7" + Keys.TAB)
        answered(page, 3)
        assert "did you mean 'gb200-nvl72'" in page.run(text, "message")
        page.type("#f-topology", Keys.CONTROL + "a" + Keys.NULL + "dgx-h100" + Keys.TAB)
        answered(page, 4)
        assert "dgx-h100" in page.run(text, "command")
        assert page.run("return document.querySelectorAll('#rack rect').length") > 3
        page.click("#tab-serve")
        answered(page, 5)
        assert "a token" in page.run(text, "headline")
        page.driver.refresh()
        answered(page, 1)
        assert page.run(columns) == 2
        assert page.complaints() == []
        assert all(address in url for url in page.requests())


@needs_server
@needs_browser
def test_it_fits_a_phone(address):
    with Browser(390, phone=True) as page:
        page.driver.get(f"http://{address}/")
        answered(page, 1)
        assert page.run("return document.documentElement.scrollWidth") <= 390
        boxes = page.run(
            "return [...document.querySelectorAll('label')].filter(one => !one.htmlFor ||"
            " !document.getElementById(one.htmlFor)).length"
        )
        assert boxes == 0
        assert page.complaints() == []


def test_the_page_loads_nothing_from_elsewhere():
    folder = Path(worker.__file__).parent
    for name in ("index.html", "page.css", "page.js"):
        found = re.findall(r"(?:https?:)?//[\w.]+", (folder / name).read_text("utf-8"))
        assert [one for one in found if "w3.org" not in one] == []

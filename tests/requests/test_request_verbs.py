"""The verbs of requests as events: their keys, power, what is refused, ratios of prefill."""

import json

import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

import rackmodel
from rackmodel import schema
from rackmodel.cli import app
from rackmodel.requests.objective import objective_of

WORDS = {"model": "llama3-8b", "isl": 1024, "osl": 256, "tp": 1, "gpus": 1}
LINE = ["serve", "dgx-h100", "--model", "llama3-8b", "--tp", "1", "--gpus", "1"]
LENGTHS = ["--isl", "1024", "--osl", "256"]


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_what_is_printed_fits_its_schema_and_is_the_same_again(tmp_path):
    words = [*LINE, *LENGTHS, "--rate", 4, "--requests", 200, "--slo", "ttft=1s,tpot=50ms"]
    first, again = (run(*words, "--seed", 3, "--json") for _ in range(2))
    found = json.loads(first.stdout)
    schema.check("requests", found)
    assert first.stdout == again.stdout
    assert found["requests"] == 200
    assert found["placement"]["idle_accelerators"] == 7
    assert found["within_slo"] == 1.0
    assert found["goodput_requests_per_s"] == found["requests_per_s"]
    assert found["ttft_s"]["p50"] <= found["ttft_s"]["p90"] <= found["ttft_s"]["p99"]
    other = run(*words, "--seed", 4, "--json")
    assert json.loads(other.stdout)["ttft_s"] != found["ttft_s"]


def test_a_picture_and_a_table(tmp_path):
    picture = tmp_path / "queue.png"
    done = run(*LINE, *LENGTHS, "--rate", 4, "--requests", 100, "--plot", picture)
    assert done.exit_code == 0
    assert picture.stat().st_size > 10_000
    assert "first token" in done.stdout
    assert "1 of 8; 7 idle (88%)" in done.stdout


def test_a_closed_loop_draws_what_the_steady_state_draws():
    words = {"model": "llama3.1-70b", "isl": 1024, "osl": 256, "tp": 8, "users": 32}
    steady = rackmodel.serve("dgx-h100", **words).to_dict()
    events = rackmodel.serve_requests("dgx-h100", **words, lengths="uniform", requests=500)
    found = events.to_dict()
    assert found["power_w"] == pytest.approx(steady["power"]["it_w"], rel=0.03)
    ax = Figure().add_subplot()
    assert events.plot(ax=ax) is ax
    assert len(ax.patches) == 9  # three percentiles of three times
    watts = events.frame["rack_0_w"]
    assert watts.mean() == pytest.approx(steady["racks"][0]["heat_w"], rel=0.03)


def test_bursts_wait_longer_than_a_clock():
    times = [
        rackmodel.serve_requests(
            "dgx-h100", **WORDS, rate=8, cv=cv, requests=150, seed=1
        ).run.cluster.seen.ttft.at(0.99)
        for cv in (0.0, 1.0, 3.0)
    ]
    assert times[0] < times[1] < times[2]


def test_a_trace_is_read_as_it_is(tmp_path):
    path = tmp_path / "trace.csv"
    rows = [f"{100 + n / 4},{1000 + n},{20 + n % 5},{512 if n % 2 else 0}" for n in range(80)]
    path.write_text("arrival_s,isl,osl,prefix\n" + "\n".join(rows) + "\n")
    words = {"model": "llama3-8b", "tp": 1, "gpus": 2, "trace": path}
    found = rackmodel.serve_requests("dgx-h100", **words, balance="prefix").to_dict()
    assert found["requests"] == 80
    assert found["isl"] == pytest.approx(1039.5)
    assert found["osl"] == pytest.approx(22.0)
    apart = rackmodel.serve_requests("dgx-h100", **words, balance="round-robin").to_dict()
    assert found["ttft_s"]["mean"] < apart["ttft_s"]["mean"] * 1.05
    short = rackmodel.serve_requests("dgx-h100", **words, requests=10).to_dict()
    assert short["requests"] == 10


def test_words_of_an_objective():
    assert objective_of({"tpot": 0.05, "e2e": "2 min"}).e2e_s == 120.0
    for words in (
        "ttft",
        "ttft=",
        "ttft=1s,ttft=2s",
        "wait=1s",
        "tpot=-1s",
        "tpot=5 GB",
        "tpot=30",
    ):
        with pytest.raises(rackmodel.RackModelError):
            objective_of(words)


@pytest.mark.parametrize(
    ("code", "words", "says"),
    [
        (2, [*LENGTHS], "--users"),
        (2, ["--rate", 4], "isl"),
        (2, [*LENGTHS, "--rate", 4, "--users", 4], "give one"),
        (2, [*LENGTHS, "--rate", "x"], "--rate"),
        (2, [*LENGTHS, "--rate", "0"], "rate"),
        (2, [*LENGTHS, "--requests", 5], "give one"),
        (2, [*LENGTHS, "--users", 4, "--cv", 2], "--cv"),
        (2, [*LENGTHS, "--users", 4, "--requests", 9, "--cv", 2], "cv"),
        (2, [*LENGTHS, "--rate", 4, "--slo", "ttft"], "slo"),
        (2, [*LENGTHS, "--rate", 4, "--lengths", "azure-code"], "isl"),
        (2, ["--trace", "/nonexistent.csv"], "nonexistent"),
        (3, [*LENGTHS, "--rate", 4000], "no steady state"),
        (3, ["--isl", 4_000_000, "--osl", 2, "--rate", 0.001], "fit"),
    ],
)
def test_bad_words_are_one_line(code, words, says):
    done = run(*LINE, *words)
    text = done.stderr.strip()
    assert (done.exit_code, text.count("\n")) == (code, 0), text
    assert says in text
    assert "Traceback" not in text

"""Domains that serve: what a larger one gives at the speed that a user sees."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import rackmodel
from rackmodel.argument.sold_domains import sold
from rackmodel.cli import app
from rackmodel.errors import CannotRun, InvalidInput
from rackmodel.reporting.serving import domains_figure

JOB = {
    "model": "deepseek-v3",
    "accelerator": "gb200",
    "gpus": 32,
    "isl": 1024,
    "osl": 1024,
    "weights": "nvfp4",
    "ep": 16,
    "tp": 16,
    "disaggregated": False,
}
WORDS = (
    *("--serve", "--model", "llama3.1-70b", "--gpus", "8", "--isl", "1024", "--osl", "1024"),
    *("--tp", "8", "--domains", "8", "--no-disaggregated"),
)
TRAINED = ("--model", "gpt3-13b", "--gpus", 8, "--global-batch", 8, "--domains", 8)


@pytest.fixture(scope="module")
def found():
    return rackmodel.domains_serving(**JOB, tokens_per_s_per_user=60, domains=(16, 8))


def run(*words):
    return CliRunner().invoke(app, ["domains", *map(str, words)])


def test_a_larger_domain_never_gives_fewer_tokens(found) -> None:
    """Its plans are those of the smaller one, and no exchange has slower links: one tier each."""
    small, large = found["rows"]
    assert (small["domain_accelerators"], large["domain_accelerators"]) == (8, 16)
    assert large["tokens_per_s_per_gpu"] > 1.05 * small["tokens_per_s_per_gpu"]
    assert large["gain"] == pytest.approx(
        large["tokens_per_s_per_gpu"] / small["tokens_per_s_per_gpu"] - 1.0
    )
    assert f"16 give {1 + large['gain']:.2f} times the tokens/s of 8" in found["finding"]


def test_plans_inside_a_domain_do_not_mind_how_large_it_is() -> None:
    words = {**JOB, "tp": 4, "ep": 4, "dp_attention": False}  # four lie on one host in both
    rows = rackmodel.domains_serving(**words, tokens_per_s_per_user=60, domains=(8, 16))["rows"]
    assert rows[0]["tokens_per_s_per_gpu"] == pytest.approx(rows[1]["tokens_per_s_per_gpu"])


def test_every_row_is_what_serve_says_of_its_plan(found) -> None:
    row = found["rows"][0]
    assert row["tokens_per_s_per_user"] >= 60
    plan = {name: row["plan"][name] for name in ("tp", "ep", "dp_attention")}
    words = {name: JOB[name] for name in ("model", "gpus", "isl", "osl", "weights")}
    machine = sold("gb200", 8)
    alone = rackmodel.serve(machine, **words, **plan, users=row["users"]).to_dict()
    for key in ("tokens_per_s_per_gpu", "energy_j_per_token", "tokens_per_s_per_mw", "ttft_s"):
        assert row[key] == pytest.approx(alone[key])
    more = rackmodel.serve(machine, **words, **plan, users=round(1.2 * row["users"]))
    assert 1.0 / more.tpot_s < 60  # no fewer users than the speed allows


def test_quicker_users_leave_fewer_tokens(found) -> None:
    quick = rackmodel.domains_serving(**JOB, tokens_per_s_per_user=90, domains=(16,))["rows"][0]
    assert quick["tokens_per_s_per_gpu"] < found["rows"][1]["tokens_per_s_per_gpu"]
    assert quick["users"] < found["rows"][1]["users"]


def test_a_domain_that_is_too_slow_says_how_quick_it_is() -> None:
    alone = rackmodel.domains_serving(**JOB, tokens_per_s_per_user=1, domains=(8, 16))
    assert not any("reason" in row for row in alone["rows"])
    with pytest.raises(CannotRun, match=r"gives a user .* tokens/s, fewer than 5,000"):
        rackmodel.domains_serving(**JOB, tokens_per_s_per_user=5000, domains=(8,))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"tokens_per_s_per_user": 0}, "tokens_per_s_per_user"),
        ({"tokens_per_s_per_user": -1}, "tokens_per_s_per_user"),
        ({"domains": (8, 64)}, "leave it out"),
        ({"accelerator": "tpu-v5p"}, "can't be varied"),
        ({"osl": 0}, "osl"),
    ],
)
def test_bad_words_are_refused(words, says) -> None:
    with pytest.raises(InvalidInput, match=says):
        rackmodel.domains_serving(**{**JOB, "tokens_per_s_per_user": 60, "domains": (8,), **words})


def test_the_command_prints_rows(tmp_path) -> None:
    picture = tmp_path / "domains.png"
    done = run(*WORDS, "--tokens-per-s-per-user", 100, "--json", "--plot", picture)
    assert done.exit_code == 0, done.stderr
    row = json.loads(done.stdout)["rows"][0]
    assert {"heat_w_per_rack", "usd_per_mtoken", "hbm", "plan", "users"} <= set(row)
    assert picture.stat().st_size > 0
    table = run(*WORDS, "--tokens-per-s-per-user", 100)
    assert "at 100 tokens/s a user" in table.stdout.replace("\n", " ")


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ((*WORDS,), "--tokens-per-s-per-user"),
        ((*WORDS, "--tokens-per-s-per-user", 0), "tokens"),
        ((*WORDS, "--tokens-per-s-per-user", 9, "--global-batch", 8), "--global-batch"),
        ((*WORDS, "--tokens-per-s-per-user", 9, "--precision", "bf16"), "--precision"),
        ((*WORDS, "--tokens-per-s-per-user", 9, "--default-plan"), "--default-plan"),
        ((*TRAINED, "--mtp", 1), "--mtp"),
        ((*TRAINED, "--no-disaggregated"), "--no-disaggregated"),
    ],
)
def test_options_of_the_other_kind_are_refused(words, option) -> None:
    done = run(*words)
    assert done.exit_code == 2
    assert option in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_picture_has_a_bar_for_each_domain(found) -> None:
    ax = domains_figure(found)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["8", "16"]
    assert found["finding"] in ax.get_title(loc="left")

"""The goodput command: failures of a machine over months."""

from __future__ import annotations

import json


def test_llama3_on_the_command_line(run):
    words = ("goodput", "grand-teton-h100-500w", "--gpus", 16384, "--days", 54, "--runs", 2)
    found = json.loads(run(*words, "--json").stdout)
    assert abs(found["expected_interruptions"] - 419) < 10
    assert found["goodput"] > 0.9
    text = run(*words).stdout
    for part in ("94.2% of the time", "interruptions in 54 days", "played out 2 times", "idle dom"):
        assert part in text
    assert run(*words, "--csv").stdout.startswith("part,interruptions_per_day")


def test_options_change_what_they_name(run):
    def goodput(*words):
        told = ("--gpus", 1152, "--runs", 0, "--json", *words)
        return json.loads(run("goodput", "gb200-nvl72", *told).stdout)

    plain = goodput()
    assert "played" not in plain
    assert goodput("--medium", "scale-up=pluggable")["mtbf_s"] < plain["mtbf_s"]
    assert goodput("--restart", "20min")["goodput"] < plain["goodput"]
    assert goodput("--interval", "2h")["goodput"] < plain["goodput"]
    assert goodput("--checkpoint", "6TB", "--storage", "1TB/s")["stall_s"] == 6.0
    assert [row["spares"] for row in goodput("--spares", 8)["domains"]] == [8]
    assert goodput("--repair", "1h")["domains"][0]["useful"] > plain["domains"][0]["useful"]


def test_a_torus_has_no_spares_inside_a_domain(run):
    found = run("goodput", "tpu-v4-pod", "--gpus", 4096, "--runs", 0, "--json")
    assert json.loads(found.stdout)["domains"] == []


def test_bad_words_are_one_line(fails):
    start = ("goodput", "gb200-nvl72", "--gpus", 72)
    assert "--days" in fails(2, *start, "--days", "soon")
    assert "spares: expected 0 to 71" in fails(2, *start, "--spares", 72)
    assert "--stall" in fails(2, *start, "--stall", "5 kg")
    assert "longer than its reach" in fails(3, *start, "--medium", "scale-up=copper:3m")
    assert "events" in fails(2, *start, "--interval", "1ms")
    assert "gb200-nvl7" in fails(2, "goodput", "gb200-nvl7", "--gpus", 72)

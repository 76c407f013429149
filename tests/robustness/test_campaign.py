"""A little of the campaign of robustness; CI runs its short form, `--quick`.

Its seeds are numbers, so that a failure is shown again by
`python -m benchmarks.robustness.fuzz N N+1 -v` and `python -m benchmarks.robustness.laws N 1`.
"""

import ast
from pathlib import Path

import pytest

import rackmodel
from benchmarks.robustness import __main__ as campaign, fuzz, kills, laws, supply
from benchmarks.robustness.state import go_on


def test_tries():
    tally = fuzz.tries(0, 300, fuzz.Tally())
    assert tally.broken == {}
    assert tally.codes["0"] > 15  # what is right is answered


def test_other_seeds_are_other_tries_with_a_state_of_their_own(tmp_path):
    told = [go_on(tmp_path, 3, first) for first in (0, 777_000)]
    alone = fuzz.tries(777_000, 777_003, fuzz.Tally())
    assert [tally.tries for tally in told] == [3, 3]
    assert told[1].codes == alone.codes
    assert {path.name for path in tmp_path.iterdir()} == {"fuzz.json", "fuzz-777000.json"}
    assert go_on(tmp_path, 3, 777_000).cpu_s == told[1].cpu_s  # done; nothing runs again


def test_the_campaign_passes_its_first_number_on(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(campaign, "go_on", lambda *given: asked.append(given) or fuzz.Tally())
    monkeypatch.setattr(kills, "campaign", lambda *given: asked.append(given) or (1, []))
    monkeypatch.setattr(laws, "campaign", lambda *given: asked.append(given) or (1, {}))
    words = ["--tries", "3", "--kills", "1", "--jobs", "2", "--state", str(tmp_path)]
    assert campaign.main([*words, "--first", "777000"]) == 0
    assert asked == [(tmp_path, 3, 777_000), (1, 777_000), (2, 777_000)]


def test_a_first_number_below_0_is_one_clear_line(capsys):
    with pytest.raises(SystemExit) as refused:
        campaign.main(["--first", "-1"])
    assert refused.value.code == 2
    assert "give a number from 0 on" in capsys.readouterr().err


def test_kills():
    done, wrong = kills.campaign(5)
    assert wrong == []
    assert done >= 5


def test_laws():
    ran, broken = laws.campaign(2)
    assert {law: found for law, found in broken.items() if law not in laws.known()} == {}
    assert ran == 2


def test_the_least_versions_are_said_once():
    assert supply.unlike() == []


@pytest.mark.parametrize("law", laws.known())
def test_known_failures_are_failures_still(law):
    told = laws.known()[law]
    assert told["issue"]
    assert told["why"]
    assert laws.still_broken(law, told["job"]), f"{law} holds; take it out of known.toml"


PASSED_ON = {
    "why",
    "wanted",
    "error",
    "remedy",
    "again",
    "first",
}  # names in a message that hold its remedy


def said(node):
    """The literal text of a message and the names in it."""
    inside = list(ast.walk(node))
    text = " ".join(
        one.value for one in inside if isinstance(one, ast.Constant) and isinstance(one.value, str)
    )
    return text, {one.id for one in inside if isinstance(one, ast.Name)}


def test_every_refusal_says_what_to_do():
    package, silent = Path(rackmodel.__file__).parent, []
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "InvalidInput":
                continue
            text, names = said(node)
            if not fuzz.REMEDY.search(text) and not names & PASSED_ON and text:
                silent.append(f"{path.relative_to(package)}:{node.lineno}: {text[:60]}")
    assert silent == []

"""A little of the campaign of robustness; CI runs its short form, `--quick`.

Its seeds are numbers, so that a failure is shown again by
`python -m benchmarks.robustness.fuzz N N+1 -v` and `python -m benchmarks.robustness.laws N 1`.
"""

import ast
from pathlib import Path

import pytest

import rackmodel
from benchmarks.robustness import fuzz, kills, laws, supply


def test_tries():
    tally = fuzz.tries(0, 300, fuzz.Tally())
    assert tally.broken == {}
    assert tally.codes["0"] > 15  # what is right is answered


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

"""The options that say where a machine stands: read, and said again as words.

In:  the fields of `Site`.
Out: `site_options`, groups of options; `said_site`, the words of a command line that say a site.
Left out: whether a machine can stand there (`rackmodel.assess.run`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from inspect import Parameter
from typing import Any

from rackmodel.cli import values
from rackmodel.cli.options import Group, Words, fields_options
from rackmodel.cli.values import clip
from rackmodel.errors import InvalidInput

#: Fields of a site about one rack, and about the hall and a whole run.
RACK = ("power_cap_w", "media", "supply_c", "rise_k", "flow_lpm", "smoothing")
HALL = ("facility_pue", "usd_per_kwh", "run_tokens")


def site_options(*only: str) -> Group:
    """Return the options of a site; its value is {field: value} of those that are given."""

    def options() -> list[Parameter]:
        from rackmodel.assess.site import Site

        return fields_options(Site, "Site", only, left_out="open")

    return Group(options, _collected)


def _collected(words: Words) -> Words:
    if {"flow_lpm", "rise_k"} <= words.keys():
        raise InvalidInput(
            "--flow-lpm: give a flow or --rise-k, not both; each follows from the other"
        )
    if "smoothing" in words:
        words = {**words, "smoothing": _once(words["smoothing"], "--smooth")}
    if "media" not in words:
        return words
    media, lengths = {}, {}
    for tier, medium, length in words["media"]:
        if tier in media:
            raise InvalidInput(f"--medium: {clip(tier)} is given twice")
        media[tier] = medium
        if length is not None:
            lengths[tier] = length
    return {**words, "media": media, "lengths_m": lengths}


def _once(pairs: Sequence[tuple[str, float]], option: str) -> dict[str, float]:
    """Return {name: value} of pairs, no name of which may come twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInput(f"{option}: {twice.split('_')[0]} is given twice; give it once")
    return found


def said_site(site: Mapping[str, Any]) -> list[str]:
    """Return the words of the command line that say a site."""
    from rackmodel.assess.site import Site

    found: list[str] = []
    for one in fields(Site):
        option, value = one.metadata.get("option"), site.get(one.name)
        if not option or value is None:
            continue
        if one.name == "media":
            lengths = {tier: f":{m:g}m" for tier, m in site["lengths_m"].items()}
            words = [f"{tier}={medium}{lengths.get(tier, '')}" for tier, medium in value.items()]
        elif one.name == "smoothing":
            words = _said_smoothing(value)
        else:
            words = [f"{value:g}{'W' if one.metadata['unit'] == 'w' else ''}"]
        found += [part for word in words for part in (option, word)]
    return found


def _said_smoothing(fields: Mapping[str, float]) -> list[str]:
    """Return the HOW=VALUE words of a smoothing.

    >>> _said_smoothing({"floor": 0.8, "ramp_w_per_s": 20000.0})
    ['floor=0.8', 'ramp=20000W/s']
    """
    return [
        f"{name}={fields[field]:g}{dimension.upper()}{after}"
        for name, (field, dimension, after) in values.SMOOTHING.items()
        if field in fields
    ]

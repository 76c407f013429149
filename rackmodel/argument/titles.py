"""What each picture of the study finds, in a line: its title.

In:  the study's frames by name, with those that `trade_offs.with_gains` adds.
Out: `titles`, words by the name of a picture.
Left out: drawing (`reporting.scale_up`), the answers at length (`answers`).

A gain whose band holds zero can't be told apart, and a size is the cheapest together with those
whose band reaches as low. Of many gains a title has the least and the most: two lines of a picture
hold no more, the others are drawn there and told in the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import pandas as pd

from rackmodel.argument.answers import standard
from rackmodel.argument.ratios import like_ratio, percent
from rackmodel.argument.study_parts import Frames, Row, finished, models, records, value_words
from rackmodel.argument.trade_offs import LARGE, RACK, SMALL

APART = "can't be told apart"
NOTHING = 0.0005


def titles(frames: Frames) -> dict[str, str]:
    """Return the finding of every picture that the frames have data for.

    Examples
    --------
    >>> titles({})
    {}
    """
    done = finished(frames)
    done["domain"] = standard(done)
    found = {
        name: say(done) for name, say in _TITLES.items() if _has(done, _SOURCE.get(name, name))
    }
    if _has(done, "same_money"):
        found |= {f"budget-{model}": _budget(part) for model, part in models(done["same_money"])}
    return found


def _has(frames: Frames, name: str) -> bool:
    return name in frames and len(frames[name]) > 0


def apart(value: float, low: float, high: float) -> str:
    """A gain in words; one under a twentieth of a percent is none.

    >>> apart(0.36, 0.31, 0.42), apart(0.01, -0.02, 0.03), apart(0.0002, 0.0, 0.0004)
    ('+36%', "can't be told apart", '0%')
    """
    if low < -NOTHING and high > NOTHING:
        return APART
    return percent(value) if abs(value) >= NOTHING else "0%"


def _gain(ours: Row, base: Row) -> str:
    return apart(*(ratio - 1.0 for ratio in like_ratio(ours, base)))


def _joined(words: Iterable[str]) -> str:
    return ", ".join(words)


def _between(cases: Iterable[tuple[Row, Row, str]]) -> str:
    """The least and the most of gains, each with where it is found; where all are alike one.

    cases : (ours, base, where).
    """
    gains = sorted((like_ratio(ours, base)[0], _gain(ours, base), at) for ours, base, at in cases)
    (_, least, first), (_, most, last) = gains[0], gains[-1]
    if least == most:
        return least if len(gains) > 1 else f"{least} {first}"
    return f"{least} {first} to {most} {last}"


def _by(part: pd.DataFrame, column: str) -> dict[float, Row]:
    """Rows by a column, ascending."""
    return {row[column]: row for row in sorted(records(part), key=lambda row: float(row[column]))}


def _ends(sizes: Mapping[float, Row]) -> tuple[float, float]:
    """The domains that a title compares: 8 and 72 where both are there, else the ends."""
    known = SMALL in sizes and RACK in sizes
    return (SMALL, RACK) if known else (min(sizes), max(sizes))


def _domain(frames: Frames) -> str:
    """What a rack of 72 gains over nodes of 8, and 576 over it: least and most."""
    told: dict[str, list[tuple[Row, Row, str]]] = {}
    for model, part in models(frames["domain"]):
        sizes = _by(part, "domain")
        small, rack = _ends(sizes)
        for low, high in ((small, rack), (rack, LARGE)):
            if high in sizes and high > low:
                case = (sizes[high], sizes[low], f"({model})")
                told.setdefault(f"{high:g} over {low:g}", []).append(case)
    return "; ".join(f"{step}: {_between(cases)}" for step, cases in told.items())


def _waits(frames: Frames) -> str:
    """What a step waits for traffic, in the smallest domain and in the largest."""
    model, part = _shown(frames["domain"])
    sizes = _by(part, "domain")
    axes = ("tp", "cp", "ep", "pp", "dp")
    told = (
        f"{sum(float(sizes[size][f'{axis}_share']) for axis in axes):.0%} in domains of {size:g}"
        for size in dict.fromkeys((*_ends(sizes), max(sizes)))
    )
    return f"Of a step {model} waits for traffic {_joined(told)}"


def _shown(frame: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """The model that pictures of one show."""
    every = dict(models(frame))
    name = "deepseek-v3" if "deepseek-v3" in every else next(iter(every))
    return name, every[name]


def _least(part: pd.DataFrame, column: str) -> tuple[str, str]:
    """The domain at which a token takes least, with those that can't be told from it; the change.

    The change is against the smallest domain, "" where that is the best.
    """
    sizes = _by(part, "domain")
    best = min(sizes.values(), key=lambda row: float(row[column]))
    near = []
    for size, row in sizes.items():
        value, _, high = like_ratio(row, best)
        if float(row[column]) * value / high <= float(best[column]):
            near.append(f"{size:g}")
    if len(near) == len(sizes):
        return "any domain", ""
    first = sizes[min(sizes)]
    change = percent(float(best[column]) / float(first[column]) - 1.0)
    return " or ".join(near), "" if best is first else f" {change}"


def _lowest(what: str, column: str) -> Callable[[Frames], str]:
    """Where a token takes least of something, by domain, against the smallest one."""

    def say(frames: Frames) -> str:
        told: dict[str, list[str]] = {}
        for model, part in models(frames["domain"]):
            place, change = _least(part, column)
            told.setdefault(place, []).append(f"{model}{change}")
        return f"{what} at {'; '.join(f'{at}: {_joined(names)}' for at, names in told.items())}"

    return say


def _heat(frames: Frames) -> str:
    """Kilowatts of the hottest rack by domain, over all models."""
    frame = frames["domain"]
    told = []
    for size in dict.fromkeys((*_ends(_by(frame, "domain")), frame["domain"].max())):
        kw = frame[frame["domain"] == size]["rack_heat_w"] / 1e3
        told.append(f"{_span(kw.min(), kw.max(), '.0f')} kW in domains of {size:g}")
    return f"A rack gives off {_joined(told)}"


def _span(low: float, high: float, form: str) -> str:
    ends = f"{low:{form}}", f"{high:{form}}"
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _hbm_busy(frames: Frames) -> str:
    """How much of the HBM bandwidth steps use: the least and the most."""
    rows = sorted(records(frames["domain"]), key=lambda row: row["hbm_bandwidth_utilisation"])
    told = (
        f"{row['hbm_bandwidth_utilisation']:.0%} ({row['model']}, {row['domain']:g})"
        for row in (rows[0], rows[-1])
    )
    return f"Steps use {' to '.join(told)} of the HBM bandwidth there is"


def _media(frames: Frames) -> str:
    """Watts of the upper tier's media, unthinned, against the most frugal of them."""
    rows = [row for row in records(frames["media"]) if row["taper"] == 1]
    rows.sort(key=lambda row: float(row["it_w_per_gpu"]))
    base = float(rows[0]["it_w_per_gpu"])
    more = (f"{row['medium']} {row['it_w_per_gpu'] - base:+,.0f} W" for row in rows[1:])
    return (
        f"Upper tiers at 1:1 draw least with {rows[0]['medium']}, {base:,.0f} W an accelerator:"
        f" {_joined(more)}"
    )


def _pareto(frames: Frames) -> str:
    model, part = _shown(frames["domain"])
    cheap, frugal = (
        "".join(_least(part, name)) for name in ("usd_per_mtoken", "energy_j_per_token")
    )
    return f"{model}: cheapest tokens at {cheap}, least energy at {frugal}"


def _nics(frames: Frames) -> str:
    """What the fastest NICs gain, by model and domain."""
    told: dict[str, list[str]] = {}
    for model, whole in models(frames["nics"]):
        gains = []
        for size, part in whole.groupby("domain", sort=True):
            rates = _by(part, "nic_gbps")
            base, fast = 400 if 400 in rates else min(rates), max(rates)
            gains.append(f"{_gain(rates[fast], rates[base])} in {size:g}")
        told.setdefault(f"NICs of {fast:,g} over {base:g} Gb/s", []).append(
            f"{model} {_joined(gains)}"
        )
    return "; ".join(f"{head}: {'; '.join(cases)}" for head, cases in told.items())


def _strong(frames: Frames) -> str:
    """What is left of tokens/s per accelerator on the most of them."""
    told, ends = [], (0.0, 0.0)
    for model, whole in models(frames["strong"]):
        kept = []
        for size, part in whole.groupby("domain", sort=True):
            counts = _by(part, "gpus")
            ends = min(counts), max(counts)
            share = like_ratio(counts[ends[1]], counts[ends[0]])[0]
            kept.append(f"{share:.0%} in {size:g}")
        told.append(f"{model} keeps {_joined(kept)}")
    return f"{ends[1]:,.0f} accelerators over {ends[0]:,.0f}, tokens/s of each: {'; '.join(told)}"


def _sequence(frames: Frames) -> str:
    """The least and the most that the larger domain gains, and in sequences of how many tokens."""
    told, heads = [], dict[str, None]()
    for model, whole in models(frames["sequence"]):
        gains = []
        for tokens, part in whole.groupby("seq_len", sort=True):
            sizes = _by(part, "domain")
            small, rack = _ends(sizes)
            if small != rack:
                heads[f"{rack:g} over {small:g}"] = None
                gains.append((sizes[rack], sizes[small], f"at {value_words(tokens)}"))
        if gains:
            told.append(f"{model} {_between(gains)}")
    return f"{_joined(heads)}, tokens a sequence: {'; '.join(told)}"


def _tokens(frames: Frames) -> str:
    """The least and the most that racks add to nodes, and on how much work each."""
    told = []
    for model, part in models(frames["gains"]):
        rows = sorted(records(part), key=lambda row: float(row["gain [%]"]))
        ends = dict.fromkeys(
            f"{_stepped(row)} at {row['tokens an accelerator and step']:,.0f}"
            for row in (rows[0], rows[-1])
        )
        told.append(f"{model} {' to '.join(ends)}")
    return f"{RACK} over {SMALL}, tokens each a step: {'; '.join(told)}"


def _stepped(row: Row) -> str:
    """The gain of a row of `trade_offs.settings` in words."""
    return apart(*(float(row[f"{name} [%]"]) / 100 for name in ("gain", "low", "high")))


def _generations(frames: Frames) -> str:
    """The least and the most that a domain nine times as large gains, and in which generation."""
    told = []
    for model, whole in models(frames["generations"]):
        gains = []
        for name, part in whole.groupby("accelerator", sort=False):
            sizes = _by(part, "domain")
            if len(sizes) > 1:
                gains.append((sizes[max(sizes)], sizes[min(sizes)], f"({name})"))
        if gains:
            told.append(f"{model} {_between(gains)}")
    return f"Nine times the domain: {'; '.join(told)}"


def _distance(frames: Frames) -> str:
    """What the farthest pods lose."""
    told, far = [], 0.0
    for model, whole in models(frames["distance"]):
        for size, part in whole.groupby("domain", sort=True):
            rows = _by(part, "distance_m")
            far = max(rows)
            told.append(f"{model} in {size:g} {_gain(rows[far], rows[min(rows)])}")
    return f"Pods {far / 1e3:,g} km apart: {_joined(told)}"


def _memory(frames: Frames) -> str:
    """What twice the HBM's bandwidth, and twice its capacity, gain."""
    told = []
    for what, other in (("bandwidth", "capacity"), ("capacity", "bandwidth")):
        gains = []
        for model, whole in models(frames["hbm"]):
            rows = _by(whole[whole[f"hbm_{other}"] == 1], f"hbm_{what}")
            if {1, 2} <= set(rows):
                gains.append(f"{model} {_gain(rows[2], rows[1])}")
        if gains:
            told.append(f"twice the HBM {what}: {_joined(gains)}")
    words = "; ".join(told)
    return words[:1].upper() + words[1:]


def _budget(part: pd.DataFrame) -> str:
    """What buys most tokens for the same money, with what can't be told from it."""
    rows: Sequence[Row] = records(part)
    best = max(rows, key=lambda row: float(row["same money"]))
    near = [row for row in rows if row is not best and row["high"] >= best["same money"]]
    place = "{domain} with {rate:,g} Gb/s"
    told, *others = (place.format(domain=row["domain"], rate=row["Gb/s"]) for row in (best, *near))
    words = f", not to be told from {_joined(others)}" if others else ""
    base = min((row for row in rows if row["Gb/s"] == 400), key=lambda row: int(row["domain"]))
    gain = f"{percent(float(best['same money']) - 1.0)} over {base['domain']} with {base['Gb/s']:g}"
    return f"{best['model']}: most tokens for the money from {told} ({gain}){words}"


_SOURCE = {
    **dict.fromkeys(
        ("domain-steps", "domain-cost", "domain-energy", "domain-heat", "domain-hbm"), "domain"
    ),
    "domain-pareto": "domain",
    "tokens": "gains",
}
_TITLES: dict[str, Callable[[Frames], str]] = {
    "domain": _domain,
    "domain-steps": _waits,
    "domain-cost": _lowest("Tokens are cheapest", "usd_per_mtoken"),
    "domain-energy": _lowest("Tokens take least energy", "energy_j_per_token"),
    "domain-heat": _heat,
    "domain-hbm": _hbm_busy,
    "media": _media,
    "domain-pareto": _pareto,
    "nics": _nics,
    "strong": _strong,
    "sequence": _sequence,
    "tokens": _tokens,
    "generations": _generations,
    "distance": _distance,
    "hbm": _memory,
}

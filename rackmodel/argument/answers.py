"""What the study says: its questions, answered in sentences and tables made of its figures.

In:  the study's frames by name (domain, nics, hbm, ...), rows as `scale_up.point` makes them.
Out: `Answer`s in the order of the questions, and the same as Markdown.
Left out: running the study (`rackmodel study`), pictures (`rackmodel.reporting`).

Gains of one machine over another carry a band: both have the same accelerator, so errors of kernels
cancel, and exposed communication is taken 30% up and down (`verdicts.verdict.like_ratio`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd

from rackmodel.argument.ratios import cheapest, dollars_by_links, percent
from rackmodel.argument.scale_up import FIELDS
from rackmodel.argument.study_parts import (
    Answer,
    Frames,
    Row,
    banded,
    finished,
    gain,
    models,
    records,
    value_words,
)
from rackmodel.argument.trade_offs import budget, generations, settings

_POINT = frozenset(FIELDS)
PAYS = 0.02  # a doubling that gains less does not pay


def answers(frames: Frames) -> list[Answer]:
    """Answer what the given frames can answer; jobs that could not run are told at the end."""
    done = finished(frames)
    found = [one for test in _QUESTIONS for one in test(done)]
    return [one for one in (*found, _missing(frames)) if one.rows]


def _missing(frames: Frames) -> Answer:
    """Which points have no figures, and why?"""
    table: dict[str, Row] = {}
    for name, frame in frames.items():
        for row in records(frame):
            if row.get("status", "done") == "done":
                continue
            point = ", ".join(
                f"{column} {value_words(row[column])}"
                for column in frame
                if column in _POINT and len(set(frame[column])) > 1
            )
            table[f"{name}, {point}"] = {"of": name, "point": point, "why": row["reason"]}
    told = f"{len(table)} points could not run; no other is in their place."
    return Answer("missing", "Which points could not run, and why?", (told,), tuple(table.values()))


def markdown(frames: Frames) -> str:
    """Return all answers as Markdown with their tables."""
    lines = ["# Scale-up against scale-out", ""]
    for answer in answers(frames):
        lines += [f"## {answer.question}", "", *(f"- {text}" for text in answer.sentences), ""]
        heads = list(answer.rows[0])
        lines += [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
        lines += [f"| {' | '.join(_cell(row[head]) for head in heads)} |" for row in answer.rows]
        lines.append("")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        if not math.isfinite(value):
            return "–"
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def _by(part: pd.DataFrame, column: str) -> dict[Any, Row]:
    """Rows of a part of a frame by one column, ascending."""
    found = {row[column]: row for row in records(part)}
    return dict(sorted(found.items()))


def _change(ours: Row, base: Row, name: str) -> float:
    return float(ours[name]) / float(base[name]) - 1


def stops(frames: Frames) -> Iterator[Answer]:
    """Where does the domain stop paying?"""
    table: list[Row] = []
    sentences = []
    for model, part in models(standard(frames)):
        sizes = _by(part, "domain")
        first = next(iter(sizes))
        base = sizes[first]
        steps = [(large, gain(sizes[large], sizes[small])) for small, large in pairwise(sizes)]
        paying = [size for size, gain in steps if gain > PAYS]
        fastest = max(sizes, key=lambda size: sizes[size]["tokens_per_s_per_gpu"])
        least = min(sizes, key=lambda size: sizes[size]["usd_per_mtoken"])
        frugal = min(sizes, key=lambda size: sizes[size]["energy_j_per_token"])
        for size, row in sizes.items():
            table.append(
                {
                    "model": model,
                    "domain": size,
                    "tokens/s per accelerator": row["tokens_per_s_per_gpu"],
                    "MFU [%]": 100 * row["mfu"],
                    "tokens/s [%]": 100 * gain(row, base),
                    "$ per token [%]": 100 * _change(row, base, "usd_per_mtoken"),
                    "by prices of its links": dollars_by_links(row, base),
                    "J per token [%]": 100 * _change(row, base, "energy_j_per_token"),
                    "exposed traffic [%]": 100
                    * sum(row[f"{axis}_share"] for axis in ("tp", "cp", "ep", "pp", "dp")),
                    "bound by": row["bound_by"],
                    "plan": row["plan"],
                }
            )
        sentences.append(
            f"{model}: {fastest} is the fastest domain, {banded(sizes[fastest], base)} tokens/s "
            f"over {first}; "
            + (
                f"the last step that gains over {PAYS:.0%} leads to {paying[-1]}"
                if paying
                else f"no step gains over {PAYS:.0%}"
            )
            + f". Tokens cost least at {cheapest(sizes)}: "
            f"{percent(_change(sizes[least], base, 'usd_per_mtoken'))}; they take least energy "
            f"at {frugal} ({percent(_change(sizes[frugal], base, 'energy_j_per_token'))})."
        )
    yield Answer("stops", "Where does the domain stop paying?", tuple(sentences), tuple(table))


def standard(frames: Frames) -> pd.DataFrame:
    """The frame in which only the domain varies: `domain`, else what `quick` has at 400 Gb/s."""
    if "domain" in frames:
        return frames["domain"]
    if "quick" in frames:
        return frames["quick"][frames["quick"]["nic_gbps"] == 400]
    return pd.DataFrame({"model": []})


def _doublings(frames: Frames) -> list[dict[str, Any]]:
    """What doubling the domain and doubling the NICs gain and cost, in every case."""
    if not {"domain", "nics"} <= set(frames):
        return []
    table: list[dict[str, Any]] = []
    for model, part in models(frames["domain"]):
        sizes = _by(part, "domain")
        for small, large in ((8, 16), (72, 144)):
            rates = _by(frames["nics"].query("model == @model and domain == @small"), "nic_gbps")
            if small not in sizes or large not in sizes or not {400, 800} <= set(rates):
                continue
            base, more = sizes[small], sizes[large]
            larger, network = gain(more, base), gain(rates[800], rates[400])
            table.append(
                {
                    "model": model,
                    "from": small,
                    "to": large,
                    "gain of the domain [%]": 100 * larger,
                    "gain of 800 Gb/s NICs [%]": 100 * network,
                    "as good as NICs of [Gb/s]": equal_rate(rates, larger),
                    "worth [$ per accelerator]": larger * base["capital_usd_per_gpu"],
                    "costs [$ per accelerator]": more["capital_usd_per_gpu"]
                    - base["capital_usd_per_gpu"],
                    "worth [W per accelerator]": larger * base["it_w_per_gpu"],
                    "draws [W per accelerator]": more["it_w_per_gpu"] - base["it_w_per_gpu"],
                }
            )
    return table


def doubling(frames: Frames) -> Iterator[Answer]:
    """What is a domain doubling worth, and when does the scale-out network win?"""
    table = _doublings(frames)
    sentences = [
        f"{row['model']}, {row['from']} to {row['to']}: {row['gain of the domain [%]']:+.1f}% "
        f"tokens/s, as much as {_rate_words(row['as good as NICs of [Gb/s]'])} at {row['from']}; "
        f"worth {row['worth [$ per accelerator]']:,.0f} $ and "
        f"{row['worth [W per accelerator]']:,.0f} W of more machines an accelerator, for "
        f"{row['costs [$ per accelerator]']:+,.0f} $ and "
        f"{row['draws [W per accelerator]']:+,.0f} W."
        for row in table
    ]
    yield Answer(
        "doubling",
        "What is a doubling of the domain worth in NIC bandwidth, dollars and watts?",
        tuple(sentences),
        tuple(table),
    )
    yield _winners(table)


def _winners(table: Sequence[Row]) -> Answer:
    """When does scale-out win?"""
    domain, nics = "gain of the domain [%]", "gain of 800 Gb/s NICs [%]"
    won = [row for row in table if row[nics] > max(row[domain], 100 * PAYS)]
    lost = [row for row in table if row[domain] > max(row[nics], 100 * PAYS)]
    verdicts = tuple(
        {
            "model": row["model"],
            "from": row["from"],
            "domain doubled [%]": row[domain],
            "NICs doubled [%]": row[nics],
            "wins": "scale-out" if row in won else "scale-up" if row in lost else "neither",
        }
        for row in table
    )
    return Answer(
        "wins",
        "When does scale-out win?",
        (
            f"Doubling the NICs from 400 to 800 Gb/s gains more than doubling the domain, and over "
            f"{PAYS:.0%}, in {len(won)} of {len(table)} cases{_cases(won)}; the domain wins "
            f"{len(lost)}{_cases(lost)}; in the others neither gains {PAYS:.0%}.",
        ),
        verdicts,
    )


def _cases(rows: Sequence[Row]) -> str:
    names = ", ".join(f"{row['model']} at {row['from']}" for row in rows)
    return f" ({names})" if names else ""


def equal_rate(rates: Mapping[float, Row], gain: float) -> float:
    """Return the NIC rate that gains as much over 400 Gb/s as `gain`; infinite beyond the fastest.

    Interpolated linearly in the logarithm of the rate. [Gb/s]

    >>> speed = lambda value: {"tokens_per_s_per_gpu": value}
    >>> round(equal_rate({400: speed(100.0), 800: speed(110.0), 1600: speed(112.0)}, 0.05))
    566
    >>> equal_rate({400: speed(100.0), 800: speed(110.0)}, 0.2)
    inf
    """
    ordered = sorted(rates)
    base = float(rates[400]["tokens_per_s_per_gpu"])
    gains = [float(rates[rate]["tokens_per_s_per_gpu"]) / base - 1 for rate in ordered]
    if gain <= gains[0]:
        return float(ordered[0])
    for (low, below), (high, above) in pairwise(zip(ordered, gains, strict=True)):
        if below <= gain <= above and above > below:
            share = (gain - below) / (above - below)
            return float(low * (high / low) ** share)
    return math.inf


def _rate_words(rate: float) -> str:
    if not math.isfinite(rate):
        return "no NIC up to 1,600 Gb/s gives"
    return f"NICs of {rate:,.0f} Gb/s in place of 400"


def memory(frames: Frames) -> Iterator[Answer]:
    """How do HBM bandwidth and capacity move it?"""
    table, sentences = [], []
    for model, part in models(frames["hbm"]) if "hbm" in frames else ():
        rows = {(r["hbm_bandwidth"], r["hbm_capacity"]): r for r in records(part)}
        base = rows[1.0, 1.0]
        words = []
        for what, place in (("bandwidth", 0), ("capacity", 1)):
            found = {key[place]: row for key, row in rows.items() if key[1 - place] == 1}
            for factor, row in sorted(found.items()):
                table.append(
                    {
                        "model": model,
                        "HBM": what,
                        "times": factor,
                        "tokens/s [%]": 100 * gain(row, base),
                        "$ per token [%]": 100 * _change(row, base, "usd_per_mtoken"),
                        "bandwidth used [%]": 100 * row["hbm_bandwidth_utilisation"],
                        "plan": row["plan"],
                    }
                )
            words.append(
                f"{what} "
                + ", ".join(
                    f"x{factor:g} {percent(gain(row, base))}"
                    for factor, row in sorted(found.items())
                    if factor != 1
                )
                + ("" if 0.5 in found else " (half does not fit)")
            )
        sentences.append(
            f"{model}: {'; '.join(words)} tokens/s; its step uses "
            f"{base['hbm_bandwidth_utilisation']:.0%} of the HBM bandwidth there is."
        )
    yield Answer(
        "memory", "How do HBM bandwidth and capacity move it?", tuple(sentences), tuple(table)
    )


#: Frame -> question, column that varies, the value that others are compared with.
_VARIED: dict[str, tuple[str, tuple[str, ...], str]] = {
    "fabric": ("What does oversubscription cost?", ("oversubscription",), "domain"),
    "ecmp": (
        "What do the collisions of static ECMP cost?",
        ("routing", "oversubscription"),
        "domain",
    ),
    "micro": ("What do larger micro-batches change?", ("max_micro_batch",), "domain"),
    "wires": ("Does it matter whose wires they are?", ("network",), ""),
    "media": (
        "Which medium should the upper NVLink tier have, and how thin may it be?",
        ("medium", "taper"),
        "domain",
    ),
    "distance": ("What does the distance between pods cost?", ("distance_m",), "domain"),
    "strong": ("How far does the same batch scale (strong scaling)?", ("gpus",), "domain"),
    "sequence": ("Does the length of sequences change it?", ("seq_len",), "domain"),
    "giant": ("What of a mixture of 67 T parameters?", ("domain",), ""),
}


def varied(frames: Frames) -> Iterator[Answer]:
    """One answer for each frame in which something else varies."""
    for name, (question, columns, group) in _VARIED.items():
        if name not in frames or frames[name].empty:
            continue
        table: list[Row] = []
        sentences = []
        for model, whole in models(frames[name]):
            for part, words in _groups(model, whole, group):
                rows = records(part)
                base = rows[0]
                for row in rows:
                    table.append(
                        {
                            "model": model,
                            **({group: row[group]} if group else {}),
                            **{column: row[column] for column in columns},
                            "tokens/s per accelerator": row["tokens_per_s_per_gpu"],
                            "tokens/s [%]": 100 * gain(row, base),
                            "$ per token [%]": 100 * _change(row, base, "usd_per_mtoken"),
                            "J per token [%]": 100 * _change(row, base, "energy_j_per_token"),
                            "bound by": row["bound_by"],
                        }
                    )
                start = " ".join(value_words(base[column]) for column in columns)
                changes = ", ".join(
                    f"{' '.join(value_words(row[name]) for name in columns)} {banded(row, base)}"
                    for row in rows[1:]
                )
                sentences.append(f"{words}: against {start}: {changes} tokens/s per accelerator.")
        yield Answer(name, question, tuple(sentences), tuple(table))


def _groups(model: str, frame: pd.DataFrame, group: str) -> Iterator[tuple[pd.DataFrame, str]]:
    if not group:
        yield frame, model
        return
    for value, part in frame.groupby(group, sort=True):
        yield part, f"{model}, {group} {value_words(value)}"


_QUESTIONS: tuple[Callable[[Frames], Iterator[Answer]], ...] = (
    stops,
    settings,
    doubling,
    budget,
    generations,
    memory,
    varied,
)

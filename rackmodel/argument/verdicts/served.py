"""Claims about serving: the rack over nodes at the speed that users see, and HBM.

In:  domains of GB200 as they are sold, nodes of several parts, served models.
Out: verdicts on serving-domain and serving-hbm.
Left out: training (`domain_claims`), percentiles of single requests (`rackmodel.requests`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from rackmodel.argument.sold_domains import sold
from rackmodel.argument.verdicts.verdict import Verdict, answer, decided, percent
from rackmodel.assess.cost import CAPITAL
from rackmodel.assess.site import Site
from rackmodel.engine.networks import clear_caches
from rackmodel.hardware import Catalog, load_catalog
from rackmodel.serving.pareto import at_speed, front_points, rate
from rackmodel.serving.plans import Tried
from rackmodel.serving.run import serve_job, steps_of
from rackmodel.serving.words import job_of_words
from rackmodel.topology import Topology, load_topology

SMALL, LARGE = 8, 72
SPEEDS = (30.0, 50.0, 75.0, 100.0, 125.0, 150.0, 200.0)  # tokens/s that each user sees
SHAPES = ((1024, 1024), (8192, 1024))  # tokens of prompt and answer
# DeepSeek-R1 as vendors serve it: NVFP4; with drafts three tokens, each right 7 times of 10.
RACK: dict[str, Any] = {
    **{"model": "deepseek-v3", "gpus": LARGE, "weights": "nvfp4", "kv": "fp8"},
    "chunk": 8192,
}
DRAFTED: dict[int, dict[str, Any]] = {3: {"mtp": 3, "acceptance": 0.7}, 0: {}}
WORTH = 0.02  # a gain below can't be told from none
OTHERS = ("dgx-b200",)  # nodes as others sell them
USERS = tuple(2**power for power in range(17))
FEW = tuple(4**power for power in range(8))  # quickly


@dataclass(frozen=True)
class Served:
    """The front of a machine; figures at a speed are those between its two nearest points."""

    machine: Topology
    points: Sequence[Tried]
    parts: Catalog
    _known: dict[int, Mapping[str, Any]] = field(default_factory=dict)

    def at(self, speed: float) -> dict[str, float] | None:
        """Tokens/s of an accelerator, dollars and joules of a token; None if never that quick."""
        tokens = at_speed(self.points, speed)
        if tokens is None:
            return None
        quick = [n for n, one in enumerate(self.points) if 1.0 / one.state.tpot_s >= speed]
        point, told = self.points[quick[-1]], self._told(quick[-1])
        return {
            "tokens_per_s_per_gpu": tokens,
            "usd_per_mtoken": told["cost"]["usd_per_gpu_hour"] / 3600.0 / tokens * 1e6,
            "j_per_token": 1e6 / told["tokens_per_s_per_mw"] * rate(point) / tokens,
            "capital_usd_per_gpu": told["cost"]["capital_usd"] / point.job.gpus,
            "capital_share": sum(told["cost"]["per_hour_usd"][name] for name in CAPITAL)
            / told["cost"]["usd_per_hour"],
        }

    def _told(self, number: int) -> Mapping[str, Any]:
        if number not in self._known:
            job = self.points[number].job
            result = serve_job(self.machine, job, catalog=self.parts, site=Site())
            self._known[number] = result.assessment
        return self._known[number]


def front_of(
    machine: Topology,
    words: Mapping[str, Any],
    users: Sequence[int],
    parts: Catalog,
    *,
    apart: bool,
    speeds: Sequence[float],
) -> Served:
    """Return the front of a machine, close to some speeds; users who only wait do not count."""
    job, fixed = job_of_words(machine, {**words, "users": 1})
    how: dict[str, Any] = {"users": users, "speeds": speeds, "disaggregated": apart}
    how["queued"] = False
    points = front_points(machine, job, fixed, steps=steps_of(machine, parts), **how)
    clear_caches()
    return Served(machine, points, parts)


@lru_cache(maxsize=64)
def rack_front(nodes: str, isl: int, osl: int, drafted: int, quick: bool) -> Served:
    """Return the front of 72 accelerators; nodes : a machine that ships, or a size of GB200's."""
    parts = load_catalog()
    machine = load_topology(nodes) if nodes in OTHERS else sold("gb200", int(nodes), catalog=parts)
    words = {**RACK, **DRAFTED[drafted], "isl": isl, "osl": osl}
    users = FEW if quick else USERS
    return front_of(machine, words, users, parts, apart=True, speeds=SPEEDS)


def domain(quick: bool = False) -> Verdict:
    """serving-domain: tokens, and tokens for the same money, at one speed for each user, 72 over 8.

    A rack that gives no more tokens but is cheaper pays by its price, not by its domain: that does
    not support the claim.
    """
    rows: list[dict[str, Any]] = []
    cases = [(isl, osl, drafted) for isl, osl in SHAPES for drafted in DRAFTED]
    for case in cases[:1] if quick else cases:
        rack = rack_front(str(LARGE), *case, quick)
        over = (str(SMALL), *OTHERS) if case == cases[0] and not quick else (str(SMALL),)
        for nodes in over:
            where = dict(zip(("isl", "osl", "mtp"), case, strict=True)) | {"over": nodes}
            front = rack_front(nodes, *case, quick)
            rows += [{**where, **pair(front, rack, speed)} for speed in SPEEDS]
    like = [row for row in rows if row["over"] == str(SMALL)]
    both = [row for row in like if "usd" in row]
    money, tokens = [100 * row["usd"] for row in both], [row["tokens"] for row in both]
    alone = any(row.get("only") == "rack" for row in like)
    pays = min(tokens) > WORTH and min(money) > 100 * WORTH
    return answer(
        "serving-domain",
        decided(pays, max(tokens) <= WORTH and not alone),
        (sorted(money)[len(money) // 2], min(money), max(money)),
        f"% tokens for the same money, {LARGE} over {SMALL} (median; band: over cases)",
        f"DeepSeek-R1 in NVFP4 on {LARGE} accelerators, a rack of GB200 over nodes of {SMALL}, by "
        f"the tokens/s that each user sees. {told_where(rows)}.",
        rows,
        (
            "rackmodel domains --serve --tokens-per-s-per-user 125 --model deepseek-v3 --gpus 72"
            " --weights nvfp4 --mtp 3 --acceptance 0.7 --isl 1024 --osl 1024 --domains 8,72",
        ),
    )


def pair(nodes: Served, rack: Served, speed: float) -> dict[str, Any]:
    """Return what the rack gives over nodes at a speed; `only` where one of them gets there.

    It may give less: sums of tp over eight lie in one host of a node, and in two of a rack.
    """
    row: dict[str, Any] = {"tokens_per_s_per_user": speed}
    found = {"nodes": nodes.at(speed), "rack": rack.at(speed)}
    for name, one in found.items():
        row |= {f"{name}_{key}": value for key, value in (one or {}).items()}
    small, large = found["nodes"], found["rack"]
    if small is None or large is None:
        return {**row, "only": "none" if small is large else "rack" if large else "nodes"}
    return {
        **row,
        "tokens": large["tokens_per_s_per_gpu"] / small["tokens_per_s_per_gpu"] - 1.0,
        "usd": small["usd_per_mtoken"] / large["usd_per_mtoken"] - 1.0,
        "joules": large["j_per_token"] / small["j_per_token"] - 1.0,
    }


def told_where(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say for each job up to which speed the domain gives nothing, and what it gives above."""
    told = []
    for job in dict.fromkeys((row["isl"], row["mtp"], row["over"]) for row in rows):
        mine = [row for row in rows if (row["isl"], row["mtp"], row["over"]) == job]
        drafts = f"{job[1]} drafted tokens" if job[1] else "no drafts"
        nodes = f", nodes of {job[2]}" if job[2] in OTHERS else ""
        parts = []
        same = [row for row in mine if "usd" in row and abs(row["tokens"]) <= WORTH]
        if same:
            speeds = ", ".join(f"{row['tokens_per_s_per_user']:g}" for row in same)
            prices = [row["usd"] for row in same]
            parts.append(
                f"no more tokens at {speeds} ({percent(min(prices))} to {percent(max(prices))} for "
                "the same money, by the price alone)"
            )
        parts += [
            f"at {row['tokens_per_s_per_user']:g} {percent(row['tokens'])} tokens, "
            f"{percent(row['usd'])} for the same money"
            for row in mine
            if "usd" in row and row not in same
        ]
        parts += [
            f"at {row['tokens_per_s_per_user']:g} only the {row['only']}"
            for row in mine
            if row.get("only") in ("rack", "nodes")
        ]
        told.append(f"Prompts of {job[0]:,}, {drafts}{nodes}: {'; '.join(parts)}")
    return ". ".join(told)


# A mixture, a dense model, and prompts so long that their caches fill what HBM has left.
_HBM_JOBS = (("gpt-oss-120b", 1024), ("llama3.1-70b", 1024), ("llama3.1-70b", 32_768))
_HBM_WORDS = {"gpus": 8, "osl": 1024, "kv": "fp8", "mtp": 0}
_HBM_SPEEDS = (25.0, 50.0, 100.0)
_MORE = {"bandwidth": "hbm_bytes_per_s", "capacity": "hbm_bytes"}


def hbm(quick: bool = False) -> Verdict:
    """serving-hbm: HBM of twice the rate or twice the capacity, and H200 over H100, priced."""
    parts = load_catalog()
    node, price = load_topology("dgx-b200"), parts.prices["hbm3e"]
    part = parts.accelerators["b200"]
    added = {
        "bandwidth": price["usd_per_tb_s"].value * part.hbm_bytes_per_s / 1e12,
        "capacity": price["usd_per_gb"].value * part.hbm_bytes / 1e9,
    }
    rows: list[dict[str, Any]] = []
    for model, isl in _HBM_JOBS[::2] if quick else _HBM_JOBS:
        words = {**_HBM_WORDS, "model": model, "isl": isl}
        how: dict[str, Any] = {"apart": False, "speeds": _HBM_SPEEDS}
        fronts = {"b200": front_of(node, words, USERS, parts, **how)}
        for name, key in _MORE.items():
            more = load_catalog(overrides={f"accelerators.b200.{key}": 2 * getattr(part, key)})
            fronts[name] = front_of(node, words, USERS, more, **how)
        fronts |= {
            name: front_of(load_topology(f"dgx-{name}"), words, USERS, parts, **how)
            for name in ("h100", "h200")
        }
        for speed in _HBM_SPEEDS:
            at = {name: front.at(speed) for name, front in fronts.items()}
            for name, base in (("bandwidth", "b200"), ("capacity", "b200"), ("h200", "h100")):
                row = gain(at[base], at[name], added.get(name, 0.0))
                where = {"model": model, "isl": isl, "tokens_per_s_per_user": speed}
                rows.append({**where, "more": name, **row})
    known = [row for row in rows if "usd" in row]
    gains = [100 * row["usd"] for row in known if row["more"] in _MORE]
    return answer(
        "serving-hbm",
        decided(min(gains) > 100 * WORTH, max(gains) <= 100 * WORTH),
        (sum(gains) / len(gains), min(gains), max(gains)),
        "% tokens for the same money from twice the rate or capacity of HBM (band: models, speeds)",
        _hbm_words(known, added),
        rows,
        ("rackmodel front dgx-h100 dgx-h200 --model gpt-oss-120b --isl 1024 --osl 1024 --gpus 8",),
    )


def gain(
    base: Mapping[str, float] | None, more: Mapping[str, float] | None, added_usd: float
) -> dict[str, float]:
    """Return what more HBM gives and what that costs; nothing where a speed is never reached."""
    if base is None or more is None:
        return {}
    dearer = 1.0 + added_usd / base["capital_usd_per_gpu"] * base["capital_share"]
    return {
        "tokens": more["tokens_per_s_per_gpu"] / base["tokens_per_s_per_gpu"] - 1.0,
        "usd": base["usd_per_mtoken"] / (more["usd_per_mtoken"] * dearer) - 1.0,
        "added_usd": added_usd,
    }


def _hbm_words(rows: Sequence[Mapping[str, Any]], added: Mapping[str, float]) -> str:
    names = {
        "bandwidth": f"Twice the rate of a B200's HBM ({added['bandwidth']:,.0f} $)",
        "capacity": f"Twice its capacity ({added['capacity']:,.0f} $)",
        "h200": "An H200 in place of an H100 (the same arithmetic)",
    }
    told = []
    for name, words in names.items():
        jobs: dict[str, list[str]] = {}
        for row in rows:
            if row["more"] == name:
                job = f"{row['model']}, prompts of {row['isl']:,}"
                jobs.setdefault(job, []).append(
                    f"{percent(row['tokens'])} ({percent(row['usd'])}) at "
                    f"{row['tokens_per_s_per_user']:g}"
                )
        cases = "; ".join(f"{job}: {', '.join(gains)}" for job, gains in jobs.items())
        told.append(f"{words} gives {cases}")
    return (
        "More tokens, in brackets for the same money, by the tokens/s that each user sees. "
        f"{'. '.join(told)}."
    )

"""Tables about serving.

In:  payloads as `--json` prints them.
Out: things that rich can print; the answer first, then why.
Left out: computing.
"""

from __future__ import annotations

from collections.abc import Iterator

from rackmodel.cli.tables import MOST_ROWS, Payload, RenderableType, filled, grid, left_out
from rackmodel.reporting.summary import placement_text, watts_text
from rackmodel.reporting.words import (
    MISSING,
    known,
    part_name,
    percent,
    seconds,
    signed,
    three,
    used_of,
    whole,
)


def plan_text(plan: Payload) -> str:
    """Return a plan in one line.

    >>> plan_text({"tp": 8, "pp": 1, "ep": 8, "dp_attention": True, "workers": 2}
    ...           | {"weights_offload": 0.5})
    '2 x tp 8  ep 8  dp-attention  weights-offload 0.5'
    """
    text = f"{plan['workers']} x {_worker(plan)}"
    if plan.get("prefill"):
        text += f"; {plan['prefill_gpus']} for prompts: {_worker(plan['prefill'])}"
    return text + (f"; mtp {plan['mtp']}" if plan.get("mtp") else "")


def _worker(plan: Payload) -> str:
    words = [f"tp {plan['tp']}"]
    words += [f"{axis} {plan[axis]}" for axis in ("pp", "ep") if plan[axis] > 1]
    words += ["dp-attention"] * bool(plan["dp_attention"])
    away = plan["weights_offload"]
    return "  ".join(words + [f"weights-offload {away:g}"] * bool(away))


def milliseconds(value: float) -> str:
    """Return seconds in ms.

    >>> milliseconds(0.01234)
    '12.3 ms'
    """
    return f"{three(value * 1e3)} ms"


def serving_headline(row: Payload) -> str:
    """Return the line that says what was served."""
    return (
        f"{row['model']} {row['weights']}  {row['users']:,} users, {row['isl']:,} tokens in,"
        f" {row['osl']:,} out"
    )


def serving_rows(row: Payload) -> Iterator[tuple[str, str]]:
    """Yield the answer line by line: what it is, and its figures with units."""
    low, high = milliseconds(row["tpot_s_low"]), milliseconds(row["tpot_s_high"])
    yield "time per token", f"{milliseconds(row['tpot_s'])}  ({low} - {high})"
    yield "tokens/s per user", three(row["tokens_per_s_per_user"])
    yield "time to first token", milliseconds(row["ttft_s"])
    out, into = whole(row["tokens_per_s_per_gpu"]), whole(row["input_tokens_per_s_per_gpu"])
    yield "tokens/s per accelerator", f"{out} out, {into} in"
    yield "plan", plan_text(row["plan"])
    yield "what binds", row["bound_by"]
    used = sum(row["hbm"]["used_bytes"].values())
    yield "HBM used", used_of(used, row["hbm"]["capacity_bytes"])
    yield "HBM bandwidth busy", percent(row["hbm"]["bandwidth_utilisation"])
    yield "users that fit", f"{row['users_most']:,}"
    yield "heat per rack", watts_text(max(row["racks"], key=lambda rack: float(rack["heat_w"])))
    yield (
        "energy, cost",
        f"{three(row['energy_j_per_token'])} J per token,"
        f" ${three(row['cost']['usd_per_mtoken'])} per Mtoken;"
        f" {whole(row['tokens_per_s_per_mw'])} tokens/s per MW",
    )
    if (placed := placement_text(row)) != MISSING:
        yield "placement", placed


def serving_tables(row: Payload) -> Iterator[RenderableType]:
    """Yield the answer, where the time goes, HBM."""
    yield serving_headline(row)
    yield ""
    table = grid()
    table.add_column("", style="dim", no_wrap=True)
    table.add_column(f"{row['topology']} ({row['gpus']:,} x {part_name(row['accelerator'])})")
    for name, text in serving_rows(row):
        table.add_row(name, text, style="bold" if name == "time per token" else "")
    yield table
    yield ""
    total = row["tpot_s"]
    parts = sorted(row["breakdown_s"].items(), key=lambda one: -one[1])
    yield filled(
        ["a token", "ms", "share"],
        [[name, three(value * 1e3), percent(value / total)] for name, value in parts if value],
    )
    yield ""
    yield "In brackets: the band for about 80% of real runs. Details: add --json."


def serving_validation_tables(payload: Payload) -> Iterator[RenderableType]:
    """Yield predicted beside measured, then the errors by group."""
    rows = payload["rows"]
    titles = ("run", "measured", "predicted", "error", "80% band")
    yield filled(
        titles,
        [
            (
                str(row["id"]),
                seconds(row["measured_tpot_s"]),
                seconds(row["predicted_tpot_s"]),
                signed(row["error"]),
                f"{seconds(row['tpot_s_low'])} - {seconds(row['tpot_s_high'])}"
                if known(row["tpot_s_low"])
                else "",
                str(row["reason"] or ""),
            )
            for row in rows[:MOST_ROWS]
        ],
        "why not predicted",
    )
    yield from left_out(rows)
    yield ""
    groups = [(name, group) for name, group in payload["summary"].items() if "rows" in group]
    for by, inside in payload["summary"].items():
        if "rows" not in inside:
            groups += [(f"{by[3:]}: {name}", group) for name, group in inside.items()]
    keys = ("mape", "median", "p90", "bias", "inside_band", "ttft_median", "throughput_median")
    yield filled(
        ("group", "runs", "failed", "mean", "median", "p90", "bias", "in band", "TTFT", "rate"),
        [
            (
                name,
                whole(group["rows"]),
                whole(group["failures"]),
                *(percent(group[key]) for key in keys),
            )
            for name, group in groups
        ],
    )
    yield "Errors of the time per token; TTFT and rate (tokens per accelerator): medians."


def front_tables(payload: Payload) -> Iterator[RenderableType]:
    """Yield the points of each machine's front."""
    titles = (
        "machine",
        "users",
        "tokens/s/user",
        "tokens/s/accelerator",
        "first token",
        "$/Mtoken",
    )
    yield filled(
        titles,
        [
            (
                f"{row['topology']} ({row['gpus']:,})",
                f"{row['users']:,}",
                three(row["tokens_per_s_per_user"]),
                three(row["tokens_per_s_per_gpu"]),
                seconds(row["ttft_s"]),
                three(row["usd_per_mtoken"]),
                plan_text(row["plan"]),
            )
            for row in payload["rows"]
        ],
        "plan",
    )
    for name, share in {row["topology"]: row["idle_share"] for row in payload["rows"]}.items():
        if share:
            yield f"{name}: {percent(share)} of the accelerators of its racks idle, counted in $"


def served_domains_tables(payload: Payload) -> Iterator[RenderableType]:
    """Yield what was found, a row for each domain, then what it rests on."""
    yield (
        f"{payload['model']} on {payload['gpus']:,} {payload['accelerator']},"
        f" {payload['isl']:,} tokens in, {payload['osl']:,} out: {payload['finding']}"
    )
    yield ""
    titles = (
        *("domain", "tokens/s/GPU", "gain", "tokens/s/user (band)", "users", "first token"),
        *("HBM full", "HBM busy", "kW a rack", "J/token", "USD/Mtoken", "tokens/s/MW"),
    )
    ran = [row for row in payload["rows"] if "reason" not in row]
    yield filled(titles, [(*_domain_cells(row), plan_text(row["plan"])) for row in ran], "plan")
    for row in payload["rows"]:
        if "reason" in row:
            yield f"domain {row['domain_accelerators']}: {row['reason']}"
    yield ""
    yield from payload["notes"]
    yield (
        "tokens of answers; J of IT power, MW of facility power that is provided; band: about 80%"
        " of real runs, of each row alone"
    )


def _domain_cells(row: Payload) -> tuple[str, ...]:
    hbm = row["hbm"]
    low, high = (three(row[f"tokens_per_s_per_user_{end}"]) for end in ("low", "high"))
    return (
        str(row["domain_accelerators"]),
        three(row["tokens_per_s_per_gpu"]),
        signed(row["gain"]) if row["gain"] else "",
        f"{three(row['tokens_per_s_per_user'])} ({low} - {high})",
        f"{row['users']:,}",
        seconds(row["ttft_s"]),
        percent(sum(hbm["used_bytes"].values()) / hbm["capacity_bytes"]),
        percent(hbm["bandwidth_utilisation"]),
        three(row["heat_w_per_rack"] / 1e3),
        three(row["energy_j_per_token"]),
        three(row["usd_per_mtoken"]),
        three(row["tokens_per_s_per_mw"]),
    )

"""Tables about requests as events.

In:  payloads as `--json` prints them.
Out: things that rich can print; the answer first, then why.
Left out: computing.
"""

from __future__ import annotations

from collections.abc import Iterator

from rackmodel.cli.tables import Payload, RenderableType, filled, grid
from rackmodel.cli.tables_serving import plan_text
from rackmodel.reporting.summary import placement_text
from rackmodel.reporting.words import MISSING, part_name, percent, seconds, three, whole


def _came(arrivals: Payload) -> str:
    """Return how requests came, in words.

    >>> _came({"kind": "renewals", "rate": 5.0, "cv": 1.0, "lengths": "fixed", "seed": 0})
    '5 requests/s (Poisson)'
    """
    if arrivals["kind"] == "closed loop":
        return f"{arrivals['users']:,} users in a closed loop"
    if arrivals["kind"] == "trace":
        return f"a trace, {three(arrivals['rate'])} requests/s"
    how = "Poisson" if arrivals["cv"] == 1.0 else f"cv {arrivals['cv']:g}"
    return f"{three(arrivals['rate'])} requests/s ({how})"


def requests_tables(row: Payload) -> Iterator[RenderableType]:
    """Yield percentiles, goodput, what was full."""
    yield (
        f"{row['model']} {row['weights']} on {row['topology']} ({row['gpus']:,} x"
        f" {part_name(row['accelerator'])}): {_came(row['arrivals'])},"
        f" {whole(row['isl'])} tokens in, {whole(row['osl'])} out"
    )
    yield ""
    keys = ("p50", "p90", "p99", "mean", "most")
    yield filled(
        ("", *keys),
        [
            (name, *(seconds(row[key][one]) for one in keys))
            for name, key in (
                ("first token", "ttft_s"),
                ("per token", "tpot_s"),
                ("whole answer", "e2e_s"),
            )
        ],
    )
    table = grid()  # its line of titles is empty
    table.add_column("", style="dim", no_wrap=True)
    table.add_column("")
    limits = [f"{key[:-2]} {seconds(value)}" for key, value in row["slo"].items() if value]
    if limits:
        told = f"{percent(row['within_slo'])} ({', '.join(limits)})"
        table.add_row("within the slo", told, style="bold")
        table.add_row("goodput", f"{three(row['goodput_requests_per_s'])} requests/s")
    rate, most = three(row["requests_per_s"]), three(row["capacity_requests_per_s"])
    table.add_row("answered", f"{rate} of at most {most} requests/s")
    table.add_row("tokens/s per accelerator", whole(row["tokens_per_s_per_gpu"]))
    table.add_row("plan", plan_text(row["plan"]))
    over = row["over_time"]
    table.add_row("decode at once", f"up to {whole(max(over['running']))}")
    table.add_row("wait at once", f"up to {three(max(over['waiting']))}")
    table.add_row("KV blocks in use", f"up to {percent(max(over['kv_used_share']))}")
    if row["preemptions"]:
        table.add_row("lost their place", f"{row['preemptions']:,} times")
    hottest = max(row["racks"], key=lambda rack: float(rack["mean_w"]))
    table.add_row(
        "power",
        f"{three(row['power_w'] / 1e3)} kW; a rack {three(hottest['mean_w'] / 1e3)} kW, up to"
        f" {three(hottest['peak_w'] / 1e3)}; {three(row['energy_j_per_token'])} J per token",
    )
    if (placed := placement_text(row)) != MISSING:
        table.add_row("placement", placed)
    yield table
    yield ""
    yield f"{row['requests']:,} requests. Queue, cache and power over time: add --json or --plot."


def goodput_tables(payload: Payload) -> Iterator[RenderableType]:
    """Yield the most requests in time for each share of accelerators that run prompts."""
    titles = (
        *("machine", "prompts : decode", "requests/s", "per accelerator", "tokens/s/accelerator"),
        *("first token p90", "per token p90"),
    )
    yield filled(
        titles,
        [
            (
                f"{row['topology']} ({row['gpus']:,})",
                f"{row['prefill_gpus']} : {row['decode_gpus']}"
                if row["prefill_gpus"]
                else "shared",
                three(row["requests_per_s"]),
                three(row["requests_per_s_per_gpu"]),
                whole(row["tokens_per_s_per_gpu"]),
                seconds(row["ttft_p90_s"]),
                seconds(row["tpot_p90_s"]),
                plan_text(row["plan"]),
            )
            for row in payload["rows"]
        ],
        "plan",
    )
    yield ""
    yield "The most requests/s of which 90% keep the times asked for; the best share first."

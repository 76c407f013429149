"""Timelines, racks and inventories for the assess tests, small enough to work out by hand."""

from __future__ import annotations

import pandas as pd


def piece(
    kind,
    start_s,
    end_s,
    *,
    rank_class=0,
    flops=0.0,
    precision="bf16",
    hbm=0.0,
    wire=0.0,
    stream="compute",
    micro_batch=0,
):
    return {
        "rank_class": rank_class,
        "stage": 0,
        "stream": stream,
        "name": kind,
        "phase": "forward",
        "kind": kind,
        "axis": "",
        "micro_batch": micro_batch,
        "start_s": start_s,
        "end_s": end_s,
        "flops": flops,
        "precision": precision,
        "hbm_bytes": hbm,
        "bare_hbm_s": hbm / 3.35e12,  # beside no arithmetic, on an H100
        "wire_bytes": wire,
        "tier": "",
    }


def frame(*pieces):
    return pd.DataFrame(list(pieces))


def one_kind_of_rack(ranks, count=1):
    return pd.DataFrame([{"rack_class": 0, "count": count, "rank_class": 0, "ranks": ranks}])


def one_rank_class(count):
    return pd.DataFrame([{"rank_class": 0, "count": count}])


def gpt3_step(step_s=10.78, flops=8.82e15, layers=64):
    """A GPT-3 175B step of one of 512 GPUs at 818 TFLOP/s: 32 micro-batches of two layers' worth of
    pieces. Matrix products in fp8 with attention in bf16, memory-bound kernels between them,
    exposed tensor-parallel collectives; then a pipeline drain, the gradient reduction and the
    optimizer. The work is what the published log implies; the shares of time are those of a
    Megatron step."""
    rows, now = [], 0.0
    length = step_s * 0.895 / layers
    for layer in range(layers):
        for kind, share, work, precision, hbm_per_s in (
            ("compute", 0.70, 0.92, "fp8-cs", 1.0e12),
            ("compute", 0.08, 0.08, "bf16", 0.6e12),
            ("compute", 0.14, 0.0, "bf16", 2.6e12),
            ("collective", 0.08, 0.0, "bf16", 0.5e12),
        ):
            span = share * length
            rows.append(
                piece(
                    kind,
                    now,
                    now + span,
                    flops=work * flops / layers,
                    precision=precision,
                    hbm=hbm_per_s * span,
                    wire=3e9 if kind == "collective" else 0.0,
                    micro_batch=layer // 2,
                )
            )
            now += span
    for kind, share, hbm_per_s in (
        ("bubble", 0.06, 0.0),
        ("collective", 0.03, 0.3e12),
        ("compute", 0.015, 2.8e12),
    ):
        span = min(share * step_s, step_s - now)
        rows.append(piece(kind, now, now + span, hbm=hbm_per_s * span, micro_batch=-1))
        now += span
    return frame(*rows)


def inventory(*rows):
    """Rows (part_kind, part, tier, medium, link, count, per)."""
    columns = ["part_kind", "part", "tier", "medium", "link", "count", "per"]
    return pd.DataFrame(list(rows), columns=columns)


def nvl72_inventory(racks=1):
    gpus = 72 * racks
    return inventory(
        ("accelerator", "gb200", "", "", "", gpus, "rack"),
        ("chassis", "gb200-nvl72", "", "", "", racks, "rack"),
        ("switch", "nvswitch4", "scale_up", "", "", 18 * racks, "rack"),
        ("nic", "cx7", "host", "", "ib-ndr", gpus, "rack"),
        ("cable", "copper", "scale_up", "copper", "nvlink5", 18 * gpus, "rack"),
        ("cable", "pluggable-400g", "nic_leaf", "pluggable-400g", "ib-ndr", gpus, "fabric"),
    )


def h100_cluster(gpus=100_000):
    """Nodes of eight on a three-tier non-blocking fat tree of 64-port switches."""
    leaves = -(-gpus // 32)
    return inventory(
        ("accelerator", "h100", "", "", "", gpus, "rack"),
        ("nic", "cx7", "host", "", "ib-ndr", gpus, "rack"),
        ("switch", "quantum2", "leaf", "", "", leaves, "fabric"),
        ("switch", "quantum2", "spine", "", "", leaves, "fabric"),
        ("switch", "quantum2", "core", "", "", leaves // 2, "fabric"),
        ("cable", "pluggable-400g", "nic_leaf", "pluggable-400g", "ib-ndr", gpus, "fabric"),
        ("cable", "pluggable", "leaf_spine", "pluggable", "ib-ndr", gpus, "fabric"),
        ("cable", "pluggable", "spine_core", "pluggable", "ib-ndr", gpus, "fabric"),
    )

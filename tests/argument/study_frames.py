"""Frames as the study writes them, made up but of the right shape: gains that are known."""

from __future__ import annotations

from typing import Any

import pandas as pd


def row(model: str, speed: float, **varied: Any) -> dict[str, Any]:
    """One finished point; exposed traffic is 10% of the step."""
    return {
        "model": model,
        "gpus": 4608,
        "global_batch": 4608,
        "seq_len": 8192,
        "precision": "fp8-mx",
        "domain": 72,
        **varied,
        "status": "done",
        "reason": None,
        "step_s": 1000.0 / speed,
        "step_s_low": 900.0 / speed,
        "step_s_high": 1100.0 / speed,
        "tokens_per_s_per_gpu": speed,
        "mfu": speed / 3000.0,
        "bound_by": "matrix units",
        "tp_share": 0.05,
        "cp_share": 0.0,
        "ep_share": 0.05,
        "pp_share": 0.0,
        "dp_share": 0.0,
        "bubble_share": 0.02,
        "hbm_bandwidth_utilisation": 0.2,
        "usd_per_mtoken": 200.0 / speed,
        "usd_per_mtoken_links_low": 190.0 / speed,
        "usd_per_mtoken_links_high": 210.0 / speed,
        "energy_j_per_token": 1000.0 / speed,
        "capital_usd_per_gpu": 60000.0,
        "it_w_per_gpu": 1800.0,
        "facility_w_per_gpu": 2100.0,
        "rack_heat_w": 120e3,
        "flop_per_scale_up_byte": 5556.0,
        "flop_per_nic_byte": 1e5,
        "plan": "tp=8",
    }


def frames() -> dict[str, pd.DataFrame]:
    """All frames: a model that gains from domains and one that does not."""
    domains = (8, 16, 72, 144, 576)
    speeds = {
        "deepseek-v3": dict(zip(domains, (1000.0, 1100.0, 1300.0, 1310.0, 1312.0), strict=True)),
        "llama3.1-405b": dict.fromkeys(domains, 1000.0),
    }
    nics = {200: 0.9, 400: 1.0, 800: 1.05, 1600: 1.2}
    every = [(model, size, speed) for model, line in speeds.items() for size, speed in line.items()]
    pairs = [(model, size) for model in speeds for size in (8, 72)]
    return {
        "domain": pd.DataFrame([row(m, v, domain=d) for m, d, v in every]),
        "nics": pd.DataFrame(
            [
                row(m, speeds[m][d] * gain, domain=d, nic_gbps=rate)
                for m, d in pairs
                for rate, gain in nics.items()
            ]
        ),
        "hbm": pd.DataFrame(
            [
                row("deepseek-v3", 1300.0 * b**0.1 * c**0.05, hbm_bandwidth=b, hbm_capacity=c)
                for b, c in ((1.0, 1.0), (2.0, 1.0), (4.0, 1.0), (1.0, 2.0))
            ]
            + [
                {
                    **row("deepseek-v3", 1.0, hbm_bandwidth=1.0, hbm_capacity=0.5),
                    "status": "infeasible",
                }
            ]
        ),
        "sequence": pd.DataFrame(
            [row(m, 1000.0 - n / 1e3, domain=d, seq_len=n) for m, d in pairs for n in (4096, 16384)]
        ),
        "strong": pd.DataFrame(
            [
                row("llama3.1-405b", 1000.0 - g / 20, domain=d, gpus=g)
                for d in (8, 72)
                for g in (576, 4608)
            ]
        ),
        "precision": pd.DataFrame(
            [
                row(m, speeds[m][d] * more, domain=d, precision=p)
                for m, d in pairs
                for p, more in (("bf16", 0.6), ("fp8-mx", 1.0))
            ]
        ),
        "batch": pd.DataFrame(
            [row(m, speeds[m][d], domain=d, global_batch=b) for m, d in pairs for b in (2304, 9216)]
        ),
        "groups": pd.DataFrame(
            [
                row("deepseek-v3", speeds["deepseek-v3"][d], domain=d, expert_choice=g)
                for d in (8, 72)
                for g in ("model", "all")
            ]
        ),
        "distance": pd.DataFrame(
            [row(m, speeds[m][d], domain=d, distance_m=f) for m, d in pairs for f in (0.0, 2e4)]
        ),
        "generations": pd.DataFrame(
            [
                row("deepseek-v3", v, domain=d, accelerator=a, precision=p, flop_per_nic_byte=f)
                for a, p, f, speeds_of in (
                    ("a100-80", "bf16", 1e4, {8: 100.0, 72: 105.0}),
                    ("gb200", "fp8-mx", 1e5, {8: 1000.0, 72: 1300.0}),
                )
                for d, v in speeds_of.items()
            ]
        ),
        "budget": pd.DataFrame(
            [
                row(m, speeds[m][d] * gain, domain=d, nic_gbps=rate)
                for m, d in pairs
                for rate, gain in nics.items()
            ]
        ),
        "wires": pd.DataFrame(
            [row("deepseek-v3", v, network=n) for n, v in (("nvlink", 1000.0), ("ualink", 980.0))]
        ),
        "fabric": pd.DataFrame(
            [row("deepseek-v3", v, oversubscription=o) for o, v in ((1.0, 1000.0), (4.0, 700.0))]
        ),
        "ecmp": pd.DataFrame(
            [
                row("deepseek-v3", v, oversubscription=1.0, routing=r)
                for r, v in (("spray", 1000.0), ("ecmp", 800.0))
            ]
        ),
        "media": pd.DataFrame(
            [
                row("deepseek-v3", 1000.0, domain=144, medium=m, taper=1.0)
                for m in ("aec", "pluggable", "cpo")
            ]
        ),
        "giant": pd.DataFrame([row("giant", 30.0 * d**0.1, domain=d) for d in (8, 72)]),
    }

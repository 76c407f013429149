"""Results as `simulate --json` prints them, made up but of the right shape and size."""

from __future__ import annotations

from typing import Any

import pytest


def made_row(
    name: str, speed: float, step_s: float, heat_w: float, liquid: float
) -> dict[str, Any]:
    parts = {"compute": 0.72, "tp": 0.1, "dp_cp": 0.03, "pp": 0.01, "bubble": 0.1, "overhead": 0.04}
    return {
        "topology": name,
        "accelerator": "gb200" if "gb200" in name else "h100",
        "model": "llama3.1-405b",
        "gpus": 1024,
        "global_batch": 1024,
        "seq_len": 8192,
        "precision": "bf16",
        "step_s": step_s,
        "step_s_low": 0.94 * step_s,
        "step_s_high": 1.07 * step_s,
        "tokens_per_s": 1024 * speed,
        "tokens_per_s_per_gpu": speed,
        "model_tflops_per_gpu": 1125.0,
        "peak_flops_per_s": 2.5e15,
        "exposed_s": 0.14 * step_s,
        "mfu": 0.45,
        "hfu": 0.46,
        "bound_by": "compute",
        "waterfall": [{"part": "shapes_and_tiles", "lost": 0.3}, {"part": "tp", "lost": 0.25}],
        "breakdown_s": {key: share * step_s for key, share in parts.items()},
        "plan": {"tp": 8, "pp": 2, "vpp": 4, "dp": 64, "micro_batch": 1, "recompute": "selective"},
        "hbm": {
            "capacity_bytes": 186e9,
            "used_bytes": {"weights": 25e9, "gradients": 50e9, "optimizer": 4e9, "acts": 66e9},
            "bandwidth_utilisation": 0.31,
        },
        "links": [
            {
                "tier": "scale-up",
                "kind": "nvlink",
                "utilisation_mean": 0.2,
                "utilisation_peak": 0.21,
                "bytes": 2.9e15,
            },
        ],
        "racks": [
            {
                "rack": "0",
                "count": 15,
                "heat_w": heat_w,
                "liquid_w": liquid * heat_w,
                "air_w": (1 - liquid) * heat_w,
                "peak_w": 1.3 * heat_w,
                "by_part_w": {"accelerator": 0.8 * heat_w, "cpu": 0.2 * heat_w},
                "coolant": {"flow_lpm": 135.0, "supply_c": 32.0, "return_c": 42.0},
            }
        ],
        "energy_j_per_token": 900.0 / speed,
        "cost": {
            "usd_per_mtoken": 230.0 / speed,
            "usd_per_mtoken_low": 180.0 / speed,
            "usd_per_mtoken_high": 300.0 / speed,
        },
        "power": {"tokens_per_s_per_mw": 1.85e5},
        "simulation": {"events": 2000, "ranks": 1024, "rank_classes": 4, "wall_s": 1.9},
    }


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    return [
        made_row("gb200-nvl72", 738.0, 11.1, 121e3, 0.87),
        made_row("dgx-h100", 279.0, 29.4, 36e3, 0.0),
        made_row("dgx-b200", 532.0, 15.4, 52e3, 0.0),
    ]


@pytest.fixture
def content(rows: list[dict[str, Any]]) -> dict[str, Any]:
    runs = [
        {
            "id": str(i),
            "topology": name,
            "measured_step_s": 0.5 * 1.3**i,
            "predicted_step_s": 0.5 * 1.3**i * (0.93 + 0.02 * (i % 7)),
        }
        for i in range(24)
        for name in ("gb200-nvl72", "dgx-h100")
    ]
    group = {
        "rows": 48,
        "mape": 0.058,
        "median": 0.05,
        "p90": 0.12,
        "bias": 0.01,
        "inside_band": 0.8,
    }
    return {
        "rows": rows,
        "ratios": {row["topology"]: (1.5, 1.2, 1.8) for row in rows},
        "failures": [{"topology": "dgx-2", "reason": "does not fit: <needs> 90 GB"}],
        "verdicts": [
            {
                "id": "copper-returns",
                "claim": "Copper saves 16-21 kW & so on",
                "value": 18.2,
                "verdict": "supported",
                "low": 16.0,
                "high": 21.0,
                "unit": "kW",
                "command": "x",
            },
            {
                "id": "z",
                "claim": "other",
                "verdict": "refuted",
                "value": 2.0,
                "low": 1,
                "high": 3,
                "unit": "ratio",
                "command": "rackmodel claims --only z",
            },
        ],
        "validation": {"rows": runs, "summary": {"core": group, "by_kind": {"moe": group}}},
        "assumptions": [
            {
                "of": "gb200",
                "field": "hbm_bytes_per_s",
                "value": "8 TB/s",
                "grade": "datasheet",
                "source": "DOC-GB200HW",
                "note": "",
            },
            {
                "of": "h100",
                "field": "power.leak_per_k",
                "value": "0.012",
                "grade": "assumed",
                "source": "POWER-MODEL",
                "note": "linear",
            },
        ],
        "sources": {"DOC-GB200HW": f"a data sheet, https://example.org/{'long-address/' * 9}"},
        "command": "rackmodel report --out report.html",
        "version": "0.1.0",
        "hashes": {"code and data (SHA-256)": "ab" * 32},
        "tiers": [
            {
                "machine": "gb200-nvl72",
                "name": name,
                "tier": tier,
                "reach_m": reach,
                "bytes_per_s": rate,
                "j_per_bit": energy,
                "usd_per_gb_per_s": price,
            }
            for name, tier, reach, rate, energy, price in (
                ("HBM", "hbm", 0.01, 8e12, 5e-12, None),
                ("scale-up", "scale-up", 0.6, 9e11, 1.1e-11, 1.5),
                ("core", "scale-out", 540.0, 5e10, 3.6e-10, 150.0),
            )
        ],
    }

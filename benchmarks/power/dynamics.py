"""Measured power over time beside predicted; `benchmarks.power --dynamics FILE` prints it.

In:  a table of measured power with the columns of power_dynamics.csv (system, workload, phase,
     mean_w, peak_w, cap_w, throughput_relative ...), the simulator.
Out: `table`: a row a figure with prediction and error; `bars`: the mean error of each kind.
Left out: rows that state no phase that a job or a kernel could stand for; they are counted.

Where a mean includes start and idle, the highest reading stands for the steady phase.

What a row leaves open is assumed here, once for all rows: lengths of prompts and answers by data
set, users that are the mean batch, operands of benchmarks that are constant where the row says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

import rackmodel
from rackmodel.assess.series import series_of
from rackmodel.assess.steady import Kernel, edge_w, steady
from rackmodel.assess.windows import moving_mean
from rackmodel.errors import DoesNotFit, RackModelError
from rackmodel.hardware import Catalog, load_catalog

BARS = {"gpu": 0.12, "cap": 0.06, "swing": 0.05, "node": 0.08, "rack": 0.08}
LENGTHS = {"lm-arena-chat": (250, 500), "gpqa": (250, 4000)}  # of prompt and answer (assumed)
# Energy of a FLOP on operands of use over that on constant ones, which Blackwell's curve is fitted
# on: products of a 7.78B model hold 1,422 MHz under 1,100 W, constant ones 2,032 (GPU-POWER-LAB).
RANDOM = 1.8
SAMPLE_S = 0.013  # of NVML: 76 Hz
STREAM = 0.9  # of the HBM rate that a stream moves: BabelStream, as kernels.toml has it
MACHINES = {
    "B300 SXM6 AC": ("dgx-b300", "b300-1100w"),
    "B200 SXM": ("dgx-b200", "b200"),
    "H100 SXM": ("dgx-h100", "h100"),
    "H200 SXM": ("dgx-h200", "h200"),
    "MI300X": ("mi300x-platform", "mi300x"),
    "MI325X": ("mi325x-platform", "mi325x"),
    "GB300": ("gb300-nvl72", "gb300"),
    "GB200": ("gb200-nvl72", "gb200"),
}
QWEN3_8B = {
    "layers": 36,
    "hidden": 4096,
    "ffn": 12288,
    "heads": 32,
    "kv_heads": 8,
    "head_dim": 128,
    "vocab": 151_936,
}
QWEN_72B = {
    "layers": 80,
    "hidden": 8192,
    "ffn": 29_568,
    "heads": 64,
    "kv_heads": 8,
    "vocab": 152_064,
}
MODELS: dict[str, tuple[Any, str]] = {  # what a row calls it: of the catalog, format of weights
    "Qwen3-235B-A22B": ("qwen3-235b-a22b", "fp8"),
    "Qwen3-8B": (QWEN3_8B, "bf16"),
    "DeepSeek-R1": ("deepseek-v3", "fp8"),
    "Llama-3.1-405B": ("llama3.1-405b", "fp8"),
    "Llama-3.1-70B": ("llama3.1-70b", "bf16"),
    "gpt-oss-120b": ("gpt-oss-120b", "mxfp4"),
    "Qwen 72B": (QWEN_72B, "bf16"),
}


class Found(NamedTuple):
    """A figure of a row: what is judged, measured, predicted."""

    kind: str
    measured: float
    predicted: float


VARIES = ("power_w", "power.idle_w", "power.e_hbm_j_per_byte")  # of variants of one part


@cache
def catalog(name: str = "") -> Catalog:
    """Return the parts; of a variant of B300, with its values in place of those of B300."""
    plain = load_catalog()
    if not name.startswith("b300-"):
        return plain
    part = plain.accelerators[name]
    values = (part.power_w, part.power.idle_w, part.power.e_hbm_j_per_byte)
    changed = {
        f"accelerators.b300.{field}": value for field, value in zip(VARIES, values, strict=True)
    }
    return load_catalog(overrides=changed)


def machine_of(system: str) -> tuple[str, str]:
    for name, words in MACHINES.items():
        if name in system:
            return words
    raise RackModelError(f"no machine is named by {system!r}")


def used_of(system: str) -> int:
    found = re.search(r"(\d+) used", system)
    return int(found[1]) if found else 1


def kernel_w(row: dict[str, Any], kernel: Kernel, **more: Any) -> tuple[float, float]:
    """Return power and clock of a kernel that runs on and on. [W, over the reference clock]"""
    topology, name = machine_of(row["system"])
    part = catalog().accelerators[name]
    found = steady(part, kernel, chassis=chassis_of_topology(topology), **more)
    return found.power_w, found.clock


@cache
def chassis_of_topology(topology: str) -> Any:
    from rackmodel.assess.chassis import chassis_of
    from rackmodel.topology import load_topology

    return chassis_of(catalog(), load_topology(topology).chassis or "generic-air")


@cache
def served(
    topology: str,
    name: str,
    model: str,
    gpus: int,
    tp: int,
    ep: int,
    users: int,
    isl: int,
    osl: int,
) -> tuple[float, float]:
    """Return power of an accelerator and tokens of answers per second. [W, token/s]"""
    shape, weights = MODELS[model]
    job: dict[str, Any] = {
        "model": shape,
        "users": users,
        "gpus": gpus,
        "tp": tp,
        "ep": ep,
        "pp": 1,
        "dp_attention": False,
        "weights": weights,
        "kv": "bf16",
        "stack": "vllm",
        "disaggregated": False,
        "catalog": catalog(name),
    }
    try:
        result = rackmodel.serve(topology, isl=isl, osl=osl, **job)
    except DoesNotFit as reason:  # it did run: its lengths are at most what fits
        if not (reason.users and reason.users > 0.1 * users):
            raise
        part = 0.98 * reason.users / users
        result = rackmodel.serve(topology, isl=round(part * isl), osl=round(part * osl), **job)
    return result.assessment["power"]["accelerator_w"], result.output_tokens_per_s


@cache
def trained(topology: str, name: str, batch: int, seq: int) -> Any:
    """Return a step of a model of 8 B on one accelerator."""
    return rackmodel.simulate(
        topology,
        model="llama3.1-8b",
        gpus=1,
        global_batch=batch,
        seq_len=seq,
        plan={"tp": 1, "pp": 1, "micro_batch": batch},
        catalog=catalog(name),
    )


def model_of(words: str) -> str:
    return next((name for name in MODELS if words.startswith(name)), "")


def serving(row: dict[str, Any]) -> Iterator[Found]:
    topology, name = machine_of(row["system"])
    words, notes = str(row["workload"]), str(row["notes"])
    gpus, model = used_of(row["system"]), model_of(words)
    if not model:
        return
    if found := re.search(r"mean batch (\d+); .*TP(\d+) EP(\d+)", notes):
        users, tp, ep = map(int, found.groups())
        tp = max(tp, ep)
        data = next(key for key in LENGTHS if key in words)
        isl, osl = LENGTHS[data]
    elif found := re.search(r"(\d+) at once, (\d+) in (\d+) out", words):
        users, isl, osl = map(int, found.groups())
        tp, ep = gpus, 1
    elif (found := re.search(r"(\d+)k/(\d+)k.* (\d+) at once", words)) and "TP" in words:
        isl, osl, users = (
            scale * int(n) for scale, n in zip((922, 922, 1), found.groups(), strict=True)
        )
        tp, ep = gpus, 1
    else:
        return
    watts, _ = served(topology, name, model, gpus, tp, ep, max(1, users), isl, osl)
    whole = "start and idle included" in str(row["quality"])  # then the highest second is steady
    yield Found("gpu", row["peak_w"] if whole else row["mean_w"], watts)


def gemm(row: dict[str, Any]) -> Iterator[Found]:
    """A matrix product that runs on and on, capped or not."""
    words = f"{row['workload']} {row['phase']}"
    precision = "fp8" if "fp8" in words else "bf16"
    cap, relative = row["cap_w"], row["throughput_relative"]
    constant = "gpu-power-lab" in str(row["source"]) and "GEMM bf16" in str(row["workload"])
    blackwell = "B300" in str(row["system"])
    product = Kernel(precision=precision, toggles=RANDOM if blackwell and not constant else 1.0)
    watts, speed = kernel_w(row, product, cap_w=cap)
    if "mean is low" not in str(row["notes"]) and row["mean_w"] == row["mean_w"]:
        yield Found("gpu", row["mean_w"], watts)
    if relative == relative and relative < 0.999:
        yield Found("cap", relative, speed / kernel_w(row, product)[1])


def phases(row: dict[str, Any]) -> Iterator[Found]:
    kernel = {"hbm-bound": Kernel(hbm_share=STREAM)}.get(row["phase"])
    if row["phase"] == "idle":
        holds = "loaded" in str(row["workload"])
        part = catalog().accelerators[machine_of(row["system"])[1]]
        kernel = Kernel(active=part.power.act_wait if holds else 0.0)
    if kernel is not None:
        yield Found("gpu", row["mean_w"], kernel_w(row, kernel)[0])


def training(row: dict[str, Any]) -> Iterator[Found]:
    topology, name = machine_of(row["system"])
    result = trained(topology, name, 2, 4096)
    series = series_of(result)
    (watts,) = series.ranks_w.values()
    if row["phase"] == "whole step":
        yield Found("gpu", row["mean_w"], float(watts.mean()))
        yield Found("swing", row["peak_w"] / row["mean_w"], peak_over_mean(watts, series.bin_s))
    elif row["phase"] == "GEMM only":
        product = Kernel(precision="bf16", toggles=RANDOM)
        yield Found("gpu", row["mean_w"], kernel_w(row, product)[0])
    elif row["phase"] in ("forward", "forward+backward"):
        inside = result.events
        ends = {"forward": ("forward",), "forward+backward": ("forward", "backward")}[row["phase"]]
        last = inside[inside["phase"].isin(ends)]["end_s"].max() / result.step_s
        part = watts[: max(1, round(float(last) * len(watts)))]
        yield Found("gpu", row["mean_w"], float(part.mean()))
        yield Found("swing", row["peak_w"] / row["mean_w"], peak_over_mean(part, series.bin_s))


def peak_over_mean(watts: Any, bin_s: float) -> float:
    return float(moving_mean(watts, bin_s, SAMPLE_S).max() / watts.mean())


def square(row: dict[str, Any]) -> Iterator[Found]:
    on = kernel_w(row, Kernel(precision="bf16"))[0]
    off = kernel_w(row, Kernel(active=0.0))[0]
    if row["mean_w"] == row["mean_w"]:
        yield Found("gpu", row["mean_w"], 0.5 * (on + off))
        yield Found("swing", row["peak_w"] / row["mean_w"], on / (0.5 * (on + off)))
    else:
        yield Found("swing", row["min_w"] / row["peak_w"], off / on)


def overshoot(row: dict[str, Any]) -> Iterator[Found]:
    """Products that begin after a pause under a low cap; pulses shorter than a sample are left."""
    if not row["period_s"] >= 2 * SAMPLE_S:
        return
    topology, name = machine_of(row["system"])
    peak_w = edge_w(
        catalog(name).accelerators[name],
        Kernel(precision="bf16"),
        chassis=chassis_of_topology(topology),
        window_s=SAMPLE_S,
        cap_w=row["cap_w"],
    )
    yield Found("swing", row["peak_w"] / row["cap_w"], peak_w / row["cap_w"])


def training_cap(row: dict[str, Any]) -> Iterator[Found]:
    """A whole step of a large model under a cap."""
    job: dict[str, Any] = {
        "model": "llama3-70b",
        "gpus": 72,
        "global_batch": 144,
        "seq_len": 8192,
        "plan": {"tp": 4, "pp": 1, "micro_batch": 1, "sharding": "zero1"},
    }
    free = rackmodel.simulate("gb200-nvl72", **job)
    held = rackmodel.simulate("gb200-nvl72", **job, site={"power_cap_w": row["cap_w"]})
    yield Found("cap", row["throughput_relative"], free.step_s / held.step_s)


def tray(row: dict[str, Any]) -> Iterator[Found]:
    """A tray or a node at rest or at its limit."""
    from benchmarks.power.rows import at_cap
    from rackmodel.assess.rack_power import idle_accelerator_w

    which = {
        "DGX B200": ("dgx-b200", "b200", 1),
        "DGX B300": ("dgx-b300", "b300", 1),
        "GB300 NVL72 compute tray": ("gb300-nvl72", "gb300", 18),
        "GB200 compute tray": ("gb200-nvl72", "gb200", 18),
        "GB300 NVL72 by": ("gb300-nvl72", "gb300", 1),
    }
    topology, part, trays = next(v for k, v in which.items() if row["system"].startswith(k))
    chassis, parts = chassis_of_topology(topology), catalog().accelerators[part]
    kind, most = row["what"], row["phase"] == "maximum"
    measured = row["mean_w"] if row["mean_w"] == row["mean_w"] else row["peak_w"]
    if trays == 1:
        yield Found(kind, measured, at_cap(chassis.name, part, "high" if most else "mid")[0])
        return
    own = sum(w for k, w in chassis.part_w.items() if "switch" not in k and k != "management")
    each_w, share = parts.power_w, 1.0
    if row["phase"] == "idle":
        each_w = idle_accelerator_w(parts, chassis.supply_c, parts.thermal.r_k_per_w["cold-plate"])
        share = chassis.idle_share
    stage = chassis.dc_stage_loss * (
        own + chassis.dc_stage_accelerator_share * each_w * chassis.accelerators
    )
    whole = each_w * chassis.accelerators + share * own + stage
    yield Found("node", measured, whole / trays)


WAYS: tuple[tuple[Callable[[dict[str, Any]], bool], Callable[[dict[str, Any]], Any]], ...] = (
    (
        lambda row: re.search("serving|vLLM", f"{row['workload']} {row['phase']}") is not None,
        serving,
    ),
    (lambda row: "7.78B" in str(row["workload"]), training),
    (lambda row: row["phase"] == "square wave", square),
    (lambda row: row["phase"] == "overshoot over the cap", overshoot),
    (lambda row: "GEMM" in str(row["workload"]), gemm),
    (lambda row: row["phase"] in ("idle", "hbm-bound") and row["what"] == "gpu", phases),
    (lambda row: row["phase"] == "whole step under a cap", training_cap),
    (
        lambda row: row["what"] in ("node", "rack") and row["unit"] != "ratio",
        tray,
    ),
)


def table(source: str | Path) -> tuple[pd.DataFrame, int]:
    """Return the figures of all rows that state a phase, and how many rows do not."""
    rows, bare = [], 0
    for row in pd.read_csv(source).to_dict("records"):
        way = next((way for asks, way in WAYS if asks(row)), None)
        found: list[Found] = []
        if way is not None:
            try:
                found = [one for one in way(row) if one.measured == one.measured]
            except RackModelError as reason:
                print(f"{row['system']}: {row['workload']}: {reason}")
        bare += not found
        for one in found:
            error = one.predicted - one.measured
            size = error if one.kind == "swing" else error / one.measured
            what = f"{row['system']}: {row['workload']}"[:78]
            kept = {name: row[name] for name in ("phase", "source", "kind", "cap_w")}
            told = {"judged": one.kind, "measured": one.measured, "predicted": one.predicted}
            rows.append({"what": what, "way": way.__name__, **kept, **told, "error": size})
    return pd.DataFrame(rows), bare


def lines(frame: pd.DataFrame) -> Iterator[str]:
    """Yield a line a figure."""
    for row in frame.to_dict("records"):
        yield (
            f"{row['what']:78} {row['phase'][:22]:22} {row['judged']:5} {row['measured']:9.4g}"
            f" {row['predicted']:9.4g} {row['error']:+7.3f}"
        )


def bars(frame: pd.DataFrame) -> Iterator[tuple[str, float, float]]:
    """Yield what is judged, the mean absolute error, its bar."""
    for kind, part in frame.groupby("judged"):
        error = part["error"]
        name = f"{kind}: {len(part)} figures, bias {error.mean():+.3f}; mean absolute error"
        yield name, float(error.abs().mean()), BARS[str(kind)]

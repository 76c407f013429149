"""Measured power beside what the model says, row by row; `python -m benchmarks.power` prints it.

In:  published.csv (figures with their sources), the simulator.
Out: `table`: one row per figure with prediction, error and whether it is within its bar.
Left out: fitting. The phases of every step are those that the simulator finds; a job that can't be
     simulated has no prediction, and its notes say why.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rackmodel.api import simulate
from rackmodel.assess.accelerator_power import Draw
from rackmodel.assess.chassis import Chassis, Level, chassis_of
from rackmodel.assess.coolant import flow_lpm
from rackmodel.assess.power import Assessment, Busy, assess_power
from rackmodel.assess.rack_power import idle_chassis_w, rack_power
from rackmodel.assess.tray_heat import split
from rackmodel.assess.windows import moving_mean
from rackmodel.hardware import load_catalog

PUBLISHED = Path(__file__).with_name("published.csv")
RATED_W = 10_200.0
BERT_LARGE = {"layers": 24, "hidden": 1024, "ffn": 4096, "heads": 16, "vocab": 30592}


def assessed(topology: str, chassis: str | None = None, **job: Any) -> Assessment:
    """Simulate a job and work out the power of its racks; `chassis` None takes the topology's."""
    from rackmodel.topology import load_topology

    result = simulate(topology, check_memory=False, **job)
    known = chassis_of(load_catalog(), chassis or load_topology(topology).chassis or "generic-air")
    return assess_power(
        result.events,
        result.racks,
        result.accelerator,
        known,
        step_s=result.step_s,
        busy=Busy(result.device_busy),
    )


@cache
def gpt3() -> Assessment:
    """GPT-3 175B on 64 nodes of 8 H100, as submitted to MLPerf Training v4.0."""
    return assessed(
        "dgx-h100",
        "hgx-h100-immersion",
        model="gpt3-175b",
        gpus=512,
        global_batch=2048,
        seq_len=2048,
        precision="fp8",
        plan={"tp": 4, "pp": 8, "vpp": 4, "micro_batch": 2, "tp_overlap": True},
    )


@cache
def lora() -> Assessment:
    """Llama 2 70B on one node in the plan of its LoRA submission, its adapters trained."""
    return assessed(
        "dgx-h100",
        "hgx-h100-immersion",
        model="llama2-70b",
        gpus=8,
        global_batch=8,
        seq_len=8192,
        precision="fp8",
        lora=16,
        lora_targets=("attention",),
        plan={"tp": 4, "pp": 1, "micro_batch": 1, "tp_overlap": True},
    )


@cache
def bert() -> Assessment:
    """BERT-large on one node, 48 packed sequences on every accelerator."""
    return assessed(
        "dgx-h100",
        "hgx-h100-immersion",
        model=BERT_LARGE,
        gpus=8,
        global_batch=384,
        seq_len=512,
        precision="fp8",
        plan={"tp": 1, "pp": 1, "micro_batch": 48},
        cuda_graphs=True,
    )


@cache
def air_node() -> Assessment:
    """Llama 2 13B on one air-cooled node."""
    return assessed(
        "dgx-h100",
        model="llama2-13b",
        gpus=8,
        global_batch=64,
        seq_len=4096,
        plan={"tp": 2, "pp": 1, "micro_batch": 1, "sharding": "zero1"},
    )


@cache
def nvl72() -> Assessment:
    """Llama 3.1 405B in one rack of 72."""
    return assessed(
        "gb200-nvl72",
        model="llama3.1-405b",
        gpus=72,
        global_batch=216,
        seq_len=8192,
        plan={"tp": 4, "pp": 1, "cp": 2, "dp": 9, "micro_batch": 1, "sharding": "zero3"},
        repeat="estimate",
    )


def node_w(done: Assessment) -> float:
    """Mean power of a chassis at the plug. [W]"""
    return done.racks_w / sum(rack.count * rack.chassis for rack in done.racks)


def node_dc_w(done: Assessment) -> float:
    """Mean power of a chassis behind its power supplies. [W]"""
    supplies = sum(rack.count * rack.part_w["psu"] for rack in done.racks)
    return (done.racks_w - supplies) / sum(rack.count * rack.chassis for rack in done.racks)


def second_means_w(done: Assessment) -> np.ndarray[Any, Any]:
    """1 s means of the power of a chassis over a step, mean of all chassis. [W]"""
    total = np.sum([rack.count * rack.input_w for rack in done.racks], axis=0)
    node = total / sum(rack.count * rack.chassis for rack in done.racks)
    return moving_mean(node, done.step_s / len(node), 1.0)


def highest_w(done: Assessment) -> float:
    """Highest 1 s mean of any chassis. [W]"""
    return max(
        float(moving_mean(rack.input_w, done.step_s / len(rack.input_w), 1.0).max()) / rack.chassis
        for rack in done.racks
    )


def idle_w(*, dc: bool = False) -> float:
    """An immersed node whose accelerators hold a job and wait. [W]"""
    catalog = load_catalog()
    chassis, part = chassis_of(catalog, "hgx-h100-immersion"), catalog.accelerators["h100"]
    return idle_chassis_w(chassis, part, at_plug=not dc)


def at_cap(chassis: str, accelerator: str, level: Level) -> tuple[float, float]:
    """A rack whose accelerators all draw their cap, without a pause: input, heat to liquid. [W]"""
    catalog = load_catalog()
    known: Chassis = chassis_of(catalog, chassis, level)
    cap_w = catalog.accelerators[accelerator].power_w
    draw = Draw(
        rank_class=0,
        edges_s=np.array([0.0, 1.0]),
        power_w=np.array([cap_w]),
        clock=np.array([1.0]),
        mean_w={"cap": cap_w},
        junction_c=70.0,
        late=1.0,
    )
    full = {"rack_class": 0, "count": 1, "rank_class": 0, "ranks": known.accelerators}
    (rack,) = rack_power([draw], pd.DataFrame([full]), known, idle_w=0.0, bins=64)
    liquid = split(rack.part_w, chassis_of(catalog, chassis)).liquid_w
    return rack.heat_w, sum(liquid.values())


def liquid_share(done: Assessment) -> float:
    """Share of the racks' heat that leaves in liquid."""
    wet = sum(
        rack.count * sum(one.liquid_w.values())
        for rack, one in zip(done.racks, done.splits, strict=True)
    )
    return wet / done.racks_w


PREDICTIONS: dict[str, Callable[[], float]] = {
    "gpt3-64-nodes-ac": lambda: node_w(gpt3()),
    "gpt3-64-nodes-dc": lambda: node_dc_w(gpt3()),
    "gpt3-64-nodes-total": lambda: gpt3().racks_w / 1e3,
    "gpt3-64-nodes-plateau": lambda: float(np.median(second_means_w(gpt3()))),
    "gpt3-64-nodes-highest": lambda: highest_w(gpt3()),
    "gpt3-64-nodes-lowest": lambda: float(second_means_w(gpt3()).min()),
    "lora-1-node-ac": lambda: node_w(lora()),
    "lora-1-node-dc": lambda: node_dc_w(lora()),
    "bert-1-node-ac": lambda: node_w(bert()),
    "air-node-highest": lambda: highest_w(air_node()),
    "air-node-share": lambda: node_w(air_node()) / RATED_W,
    "idle-1-node-ac": idle_w,
    "idle-1-node-dc": lambda: idle_w(dc=True),
    "idle-1-node-bert-ac": idle_w,
    "nvl72-training": lambda: nvl72().racks_w / 1e3,
    "nvl72-liquid-share": lambda: liquid_share(nvl72()),
    "nvl72-rating": lambda: at_cap("gb200-nvl72", "gb200", "high")[0] / 1e3,
    "nvl72-rating-liquid": lambda: at_cap("gb200-nvl72", "gb200", "high")[1] / 1e3,
    "nvl72-rating-air": lambda: float(np.subtract(*at_cap("gb200-nvl72", "gb200", "high")) / 1e3),
    "nvl72-nominal": lambda: at_cap("gb200-nvl72", "gb200", "low")[0] / 1e3,
    "gb300-nvl72": lambda: at_cap("gb300-nvl72", "gb300", "mid")[0] / 1e3,
    "pg25-flow": lambda: flow_lpm(1e3, 10.0, "pg25", 37.0),
    "pg25-cdu": lambda: flow_lpm(1e6, 9.6, "pg25", 36.8),
}


def table(ids: list[str] | None = None) -> pd.DataFrame:
    """Return the figures with what is predicted.

    ids : which; None takes all.

    Returns
    -------
    The columns of published.csv, and predicted, error (relative, signed), within (True, False, or
    None without a bar or a prediction).
    """
    rows = pd.read_csv(PUBLISHED, keep_default_na=False)
    if ids is not None:
        rows = rows[rows["id"].isin(ids)]
    found = []
    for row in rows.to_dict("records"):
        predict = PREDICTIONS.get(row["id"])
        measured = float(row["measured"])
        predicted = predict() if predict else None
        error = predicted / measured - 1.0 if predicted is not None else None
        bar = float(row["bar"]) if row["bar"] != "" else None
        within = abs(error) <= bar if error is not None and bar is not None else None
        found.append(
            {
                **row,
                "measured": measured,
                "bar": bar,
                "predicted": predicted,
                "error": error,
                "within": within,
            }
        )
    return pd.DataFrame(found).astype({"within": object})

"""Laws of heat that hold for any work on any machine: conservation, and which way things go."""

from __future__ import annotations

import math
from functools import cache

import pandas as pd
import pytest
from hypothesis import given, reject, settings, strategies as st
from machines import frame, one_kind_of_rack, piece

from rackmodel.assess.chassis import chassis_of
from rackmodel.assess.power import assess_power
from rackmodel.assess.site import Site
from rackmodel.errors import InvalidInput
from rackmodel.hardware import load_catalog

WET = (
    ("gb200", "gb200-nvl72"),
    ("h100", "hgx-h100-liquid"),
    ("mi355x", "mi355x-platform"),
    ("tpu-v4", "tpu-v4"),
    ("vr200", "vr200-nvl72"),
)
DRY = (("h100", "dgx-h100"), ("a100-80", "dgx-a100"), ("b200", "dgx-b200"), ("v100", "dgx-2"))
catalog_of = cache(load_catalog)


@st.composite
def steps(draw):
    """A step of a few kernels, collectives and bubbles: (timeline, its length)."""
    rows, now = [], 0.0
    for _ in range(draw(st.integers(1, 6))):
        length = draw(st.floats(1e-3, 0.5))
        kind = draw(st.sampled_from(["compute", "collective", "bubble"]))
        busy = kind == "compute"
        rows.append(
            piece(
                kind,
                now,
                now + length,
                flops=length * draw(st.floats(0.0, 2.5e14)) if busy else 0.0,
                hbm=length * draw(st.floats(0.0, 8e11)) if busy else 0.0,
                wire=0.0 if busy else length * draw(st.floats(0.0, 1e11)),
            )
        )
        now += length
    return frame(*rows), now


def assessed(machine, step, **site):
    name, box = machine
    catalog = catalog_of()
    cap_w = site.pop("cap_w", None)
    chassis = Site(**site).at(chassis_of(catalog, box))
    timeline, step_s = step
    racks = one_kind_of_rack(chassis.accelerators)
    part = catalog.accelerators[name]
    return assess_power(timeline, racks, part, chassis, step_s=step_s, cap_w=cap_w)


def hottest_c(done):
    return max(float(tj.max()) for tj in done.junctions_c.values())


@given(machine=st.sampled_from(WET + DRY), step=steps())
@settings(max_examples=30, deadline=None)
def test_every_watt_ends_in_liquid_or_air(machine, step):
    done = assessed(machine, step)
    for rack, one in zip(done.racks, done.splits, strict=True):
        out = math.fsum(one.liquid_w.values()) + math.fsum(one.air_w.values())
        assert out == pytest.approx(float(rack.input_w.mean()), rel=1e-9)
        assert out == pytest.approx(math.fsum(rack.part_w.values()), rel=1e-9)
        assert min(*one.liquid_w.values(), *one.air_w.values()) >= 0.0
    trays = pd.DataFrame(done.trays(), dtype=object)
    assert trays["heat_w"].sum() == pytest.approx(done.racks_w, rel=1e-9)
    assert (trays["liquid_w"] + trays["air_w"]).sum() == pytest.approx(done.racks_w, rel=1e-9)


@given(
    machine=st.sampled_from(WET + DRY),
    step=steps(),
    cold=st.floats(5.0, 40.0),
    more=st.floats(0.0, 18.0),
)
@settings(max_examples=40, deadline=None)
def test_a_hotter_supply_never_cools_a_junction(machine, step, cold, more):
    cool, warm = (assessed(machine, step, supply_c=c) for c in (cold, cold + more))
    assert hottest_c(warm) >= hottest_c(cool) - 0.05
    # Leakage rises, nothing falls but the clock that holds a limit, found to some 1e-5.
    assert warm.racks_w >= cool.racks_w * (1 - 1e-4)


@given(
    machine=st.sampled_from(WET),
    step=steps(),
    lpm_per_kw=st.floats(0.7, 3.0),
    more=st.floats(1.0, 3.0),
)
@settings(max_examples=40, deadline=None)
def test_more_flow_never_heats_anything(machine, step, lpm_per_kw, more):
    chassis = chassis_of(catalog_of(), machine[1])
    flow = lpm_per_kw * chassis.rated_w / 1e3
    try:
        little, much = (assessed(machine, step, flow_lpm=f) for f in (flow, flow * more))
    except InvalidInput:  # a trickle may leave the coolant's range
        reject()
    assert hottest_c(much) <= hottest_c(little) + 0.05
    cold, warm = (one.loops[0] for one in (much, little))
    assert cold.return_c <= warm.return_c + 1e-6
    assert cold.pump_w >= warm.pump_w * (1 - 1e-9)
    assert cold.drop_pa >= warm.drop_pa * (1 - 1e-9)


@given(machine=st.sampled_from(WET + DRY), step=steps(), share=st.floats(0.5, 1.0))
@settings(max_examples=30, deadline=None)
def test_a_lower_cap_never_draws_more(machine, step, share):
    cap_w = catalog_of().accelerators[machine[0]].power_w
    free, capped = (assessed(machine, step, cap_w=w) for w in (cap_w, share * cap_w))
    # Two caps below what holds any clock leave the same one, each found to some 1e-6.
    assert capped.racks_w <= free.racks_w * (1 + 1e-4)
    assert hottest_c(capped) <= hottest_c(free) + 0.05

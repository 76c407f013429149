"""Failures over months: the Llama 3 run from its parts, closed forms against plays, spares."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from rackmodel.assess.availability import availability, idle_domains, spare_rows
from rackmodel.assess.reliability import domain_spares
from rackmodel.assess.site import Site
from rackmodel.assess.stops import Stops
from rackmodel.errors import InvalidInput
from rackmodel.topology import load_topology


# "The Llama 3 Herd of Models", 2024: 16,384 H100 in Grand Teton nodes, 54 days, 419 unexpected and
# 47 planned interruptions, more than 90% effective training time.
def test_the_llama3_run_from_the_parts_of_its_machine(catalog):
    machine = load_topology("grand-teton-h100-500w")
    found = availability(
        catalog,
        machine.inventory(16_384),
        accelerators=16_384,
        domain=8,
        stops=Stops(days=54, runs=16),
    )
    assert found["expected_interruptions"] == pytest.approx(419, rel=0.02)
    assert found["planned_per_day"] * 54 == pytest.approx(47, rel=0.01)
    assert found["goodput"] > 0.90
    played = found["played"]
    assert played["interruptions"] == pytest.approx(419, rel=0.05)
    assert played["goodput"] == pytest.approx(
        found["played_closed_form"], abs=4 * played["goodput_error"] + 0.001
    )
    by_part = {row["part"]: row["interruptions"] for row in found["rows"]}
    assert by_part["accelerator"] == pytest.approx(268, rel=0.01)
    assert by_part["link pluggable"] == pytest.approx(35, rel=0.05)
    assert sum(row["share"] for row in found["rows"]) == pytest.approx(1.0)


@settings(max_examples=6, deadline=None)
@given(
    mtbf_h=st.floats(0.5, 20.0),
    stall=st.floats(1.0, 60.0),
    restart=st.floats(30.0, 1200.0),
    share=st.floats(0.3, 3.0),
)
def test_plays_agree_with_the_closed_form_anywhere(mtbf_h, stall, restart, share):
    from rackmodel.assess.failure_run import simulate_runs
    from rackmodel.assess.reliability import best_interval_s, goodput

    times = {"mtbf_s": mtbf_h * 3600.0, "stall_s": stall, "restart_s": restart}
    tau = share * best_interval_s(times["mtbf_s"], stall)
    span_s = min(400.0 * times["mtbf_s"], 5e4 * tau)
    played = simulate_runs(span_s, interval_s=tau, runs=6, seed=1, **times)
    closed = goodput(tau, **times)
    assert played["goodput"] == pytest.approx(closed, abs=5 * played["goodput_error"] + 0.004)


def played_domain(domain, used, *, failures_per_s, repair_s, repairs, seed=0):
    """Referee: play failures and repairs of a domain one by one; share of time enough work."""
    random = np.random.default_rng(seed)
    events = [(random.exponential(1 / failures_per_s), number) for number in range(domain)]
    heapq.heapify(events)
    broken: set[int] = set()
    now = good = 0.0
    for _ in range(repairs):
        at, number = heapq.heappop(events)
        good += (at - now) * (domain - len(broken) >= used)
        now = at
        if number in broken:
            broken.remove(number)
            heapq.heappush(events, (now + random.exponential(1 / failures_per_s), number))
        else:
            broken.add(number)
            heapq.heappush(events, (now + random.exponential(repair_s), number))
    return good / now


@pytest.mark.parametrize(("domain", "used"), [(8, 8), (8, 7), (72, 72), (72, 70)])
def test_spares_of_a_domain_agree_with_a_play_of_its_failures(domain, used):
    told = {"failures_per_s": 1 / 40.0, "repair_s": 0.5}
    closed = domain_spares(domain, used, **told)["available"]
    played = played_domain(domain, used, repairs=60_000, **told)
    assert played == pytest.approx(closed, abs=0.015)


def test_what_spares_buy():
    rows = spare_rows(72, 9216, failures_per_s=12_623e-9 / 3600, repair_s=14_400.0, whole=0.96)
    bare, racks, *inside = rows
    assert (bare["spares"], bare["idle_domains"], bare["domains"]) == (0, 0, 128)
    assert bare["useful"] < 0.7  # some accelerator of 9,216 is nearly always broken
    assert (racks["idle_domains"], racks["useful"] > 0.9) == (4, True)
    assert [row["spares"] for row in inside] == [1, 2, 4, 8]
    assert inside[-1]["used"] == 64
    assert inside[0]["useful"] > racks["useful"]  # one hot spare of 72 beats four idle racks
    assert inside[-1]["useful"] == pytest.approx(64 / 72 * 0.96, rel=1e-6)
    whole = [row["all_available"] for row in rows if row["idle_domains"] == 0]
    assert whole == sorted(whole)


def test_idle_domains_are_the_fewest_that_do():
    for needed, available in ((8, 0.99), (128, 0.996), (2048, 0.9996)):
        more, chance = idle_domains(needed, available)
        assert chance >= 0.999
        count = needed + more - 1
        less = sum(
            math.comb(count, k) * (1 - available) ** k * available ** (count - k)
            for k in range(more)
        )
        assert less < 0.999


def test_optics_stop_a_job_more_often_than_copper(catalog):
    parts = load_topology("gb200-nvl72").inventory(1152)
    told = {"accelerators": 1152, "domain": 72, "stops": Stops(runs=0)}
    copper = availability(catalog, parts, **told)
    optics = availability(catalog, parts, site=Site(media={"scale-up": "pluggable"}), **told)
    assert optics["mtbf_s"] < copper["mtbf_s"]
    assert optics["goodput"] < copper["goodput"]
    assert optics["best_interval_s"] < copper["best_interval_s"]
    assert "played" not in copper


def test_a_checkpoint_stalls_for_as_long_as_it_takes_to_write(catalog):
    parts = load_topology("gb200-nvl72").inventory(72)
    told = {"accelerators": 72, "domain": 72}
    slow, fast = (
        availability(
            catalog,
            parts,
            stops=Stops(checkpoint_bytes=6e12, storage_bytes_per_s=rate, runs=0),
            **told,
        )
        for rate in (1e11, 2e12)
    )
    assert (slow["stall_s"], fast["stall_s"]) == (60.0, 3.0)
    assert slow["goodput"] < fast["goodput"]
    with pytest.raises(InvalidInput, match="not both"):
        Stops(checkpoint_bytes=1e12, stall_s=5.0)
    with pytest.raises(InvalidInput, match="days: expected more than 0"):
        Stops(days=0.0)
    with pytest.raises(InvalidInput, match="spares: expected 0 to 71"):
        availability(catalog, parts, spares=[72], **told)


def test_what_starts_anew_and_where_copies_lie_decide_what_a_failure_takes(catalog):
    inventory = load_topology("gb200-nvl72").inventory(9216)

    def of(**words):
        stops = Stops(runs=0, **words)
        return availability(catalog, inventory, accelerators=9216, domain=72, stops=stops)

    every = [of(recovery=recovery)["goodput"] for recovery in ("all", "partial", "spares")]
    assert every == sorted(set(every))
    near = of(recovery="spares", in_memory=True)
    assert near["goodput"] > every[-1]
    assert near["interval_s"] < of()["interval_s"]
    assert near["goodput"] == of(restart_s=near["restart_s"], stall_s=near["stall_s"])["goodput"]
    for words in ({"recovery": "partial", "restart_s": 9.0}, {"in_memory": True, "stall_s": 1.0}):
        with pytest.raises(InvalidInput, match=r"not both|leave out"):
            Stops(**words)


def test_ends_of_failure_rates_are_the_ends_of_goodput(catalog):
    inventory = load_topology("dgx-h100").inventory(4096)
    found = availability(catalog, inventory, accelerators=4096, domain=8, stops=Stops(runs=0))
    assert found["goodput_low"] < found["goodput"] < found["goodput_high"] < 1.0

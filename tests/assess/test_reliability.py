import math

import pytest
from machines import nvl72_inventory

from rackmodel.assess.failure_run import simulate_run, simulate_runs
from rackmodel.assess.media import media_rows
from rackmodel.assess.reliability import (
    assess_failures,
    best_interval_s,
    checkpoint_stall_s,
    domain_spares,
    goodput,
    part_rates,
    rates_of,
    time_shares,
    young_interval_s,
)
from rackmodel.errors import InvalidInput

DAYS_54 = 54 * 86400.0
LLAMA_M = DAYS_54 / 419
PLANNED = 47 / DAYS_54


# Llama 3: 16,384 H100, 419 unexpected interruptions in 54 days, more than 90 % effective time.
def test_llama3_from_part_rates(catalog):
    rates = part_rates(catalog, accelerators=16_384, link_ends={"pluggable": 4.3 * 16_384})
    found = assess_failures(catalog, rates)
    assert found["mtbf_s"] == pytest.approx(LLAMA_M, rel=0.01)
    assert sum(rates.values()) * DAYS_54 == pytest.approx(419, rel=0.01)
    by_part = {part: rate * DAYS_54 for part, rate in rates.items()}
    assert by_part["accelerator"] == pytest.approx(148 + 72 + 19 + 17 + 6 + 6, rel=0.01)
    assert by_part["nic"] == pytest.approx(7, rel=0.02)
    assert by_part["link pluggable"] == pytest.approx(35, rel=0.05)
    assert 0.90 < found["goodput"] < 0.96
    assert found["goodput"] == pytest.approx(0.942, abs=0.002)


# POWER.md section 6.
def test_goodput_figures():
    def best(stall, restart, m=LLAMA_M, planned=PLANNED):
        return goodput(
            best_interval_s(m, stall),
            mtbf_s=m,
            stall_s=stall,
            restart_s=restart,
            planned_per_s=planned,
        )

    assert best(5, 300) == pytest.approx(0.942, abs=0.001)
    fixed = goodput(1800, mtbf_s=LLAMA_M, stall_s=5, restart_s=300, planned_per_s=PLANNED)
    assert fixed == pytest.approx(0.891, abs=0.001)
    for stall, minutes in ((5, 12.5), (10, 10.5), (20, 7.5), (30, 5.2)):
        assert best(stall, minutes * 60) == pytest.approx(0.90, abs=0.002)
    assert best(60, 0) < 0.90
    at_100k = LLAMA_M * 16_384 / 100_000
    assert best(5, 300, at_100k) == pytest.approx(0.79, abs=0.01)
    assert best(2, 60, at_100k) == pytest.approx(0.92, abs=0.01)


def test_best_interval_is_best_and_near_young():
    best = best_interval_s(LLAMA_M, 5.0)
    at = {
        t: goodput(t, mtbf_s=LLAMA_M, stall_s=5, restart_s=300)
        for t in (best * 0.9, best, best * 1.1)
    }
    assert max(at, key=at.get) == best
    assert best == pytest.approx(young_interval_s(LLAMA_M, 5.0), rel=0.02)


def test_monte_carlo_agrees_with_the_closed_form():
    tau = best_interval_s(LLAMA_M, 5.0)
    want = goodput(tau, mtbf_s=LLAMA_M, stall_s=5, restart_s=300)
    found = simulate_runs(
        120 * 86400.0, mtbf_s=LLAMA_M, interval_s=tau, stall_s=5, restart_s=300, runs=4
    )
    assert found["goodput"] == pytest.approx(want, abs=0.002)
    assert found["interruptions"] == pytest.approx(120 / 54 * 419, rel=0.05)


@pytest.mark.parametrize("restart_s", [0.0, 60.0, 1500.0])
def test_shares_of_the_time_are_those_of_a_played_run(restart_s):
    times = {"interval_s": 400.0, "mtbf_s": 3000.0, "stall_s": 20.0, "restart_s": restart_s}
    shares = time_shares(**times)
    assert math.fsum(shares.values()) == pytest.approx(1.0)
    run = simulate_run(4e7, **times)
    assert shares["advances"] == pytest.approx(run.goodput, rel=0.01)
    assert shares["restarts"] == pytest.approx(run.restarting_s / run.span_s, rel=0.04)
    saved = run.saved_s / times["interval_s"] * times["stall_s"]  # the others were cut
    lost = run.lost_s + run.stalled_s - saved
    assert shares["work lost"] == pytest.approx(lost / run.span_s, rel=0.04)
    planned = time_shares(**times, planned_per_s=1e-4)
    assert math.fsum(planned.values()) == pytest.approx(1.0)
    assert planned["planned stops"] == pytest.approx(1e-4 * restart_s)


def test_runs_are_repeatable_and_account_for_all_time():
    told = {"mtbf_s": 5000.0, "interval_s": 300.0, "stall_s": 10.0, "restart_s": 200.0}
    one, again = (simulate_run(2e6, seed=3, **told) for _ in range(2))
    assert one == again
    spent = one.saved_s + one.lost_s + one.stalled_s + one.restarting_s
    assert spent == pytest.approx(2e6, abs=500)  # the last piece is still under way
    with pytest.raises(InvalidInput, match="events"):
        simulate_run(1e12, **told)


def test_more_parts_fail_more_often_and_optics_before_copper(catalog):
    few = assess_failures(catalog, part_rates(catalog, accelerators=1024))
    many = assess_failures(catalog, part_rates(catalog, accelerators=8192))
    assert many["mtbf_s"] < few["mtbf_s"]
    assert many["goodput"] < few["goodput"]
    assert many["interval_s"] < few["interval_s"]
    parts = nvl72_inventory()
    copper = rates_of(catalog, parts, accelerators=72)
    swapped = media_rows(parts, catalog, {"scale-up": "pluggable"})
    optics = rates_of(catalog, parts, accelerators=72, links=swapped)
    assert sum(optics.values()) > sum(copper.values())


def test_spares_inside_a_domain():
    rate = 12_623e-9 / 3600
    told = {"failures_per_s": rate, "repair_s": 86_400.0}
    results = [domain_spares(72, used, **told) for used in (72, 71, 70, 68, 64)]
    available = [found["available"] for found in results]
    assert available == sorted(available)
    assert available[-1] > 1 - 1e-9
    assert available[0] == pytest.approx((1 + rate * 86_400) ** -72)
    outages = [found["outages_per_s"] for found in results]
    assert outages == sorted(outages, reverse=True)
    assert outages[0] == pytest.approx(72 * rate * available[0])
    with pytest.raises(InvalidInput, match="1 to 72"):
        domain_spares(72, 73, **told)


def test_edges_of_the_closed_form():
    assert goodput(100.0, mtbf_s=math.inf, stall_s=25.0, restart_s=9.0) == pytest.approx(0.8)
    assert goodput(1e9, mtbf_s=1.0, stall_s=1.0, restart_s=1.0) == 0.0
    assert checkpoint_stall_s(6e12, 2e12) == 3.0
    with pytest.raises(InvalidInput):
        goodput(0.0, mtbf_s=1.0, stall_s=1.0, restart_s=1.0)
    with pytest.raises(InvalidInput):
        best_interval_s(100.0, 0.0)

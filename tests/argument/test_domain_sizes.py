"""Domains as they are sold: built as asked, priced, and compared by one job."""

from __future__ import annotations

from itertools import pairwise

import pytest

import rackmodel
from rackmodel.argument.domain_sizes import SIZES
from rackmodel.argument.sold_domains import COPPER_ENDS, reach, sold
from rackmodel.errors import CannotRun, InvalidInput, UnknownName
from rackmodel.hardware import load_catalog
from rackmodel.reporting.domain_pictures import domains_figure
from rackmodel.topology.shapes import Switched

# In racks of their own; the others stand in nodes of eight.
RACKS = ("gb200", "gb300", "vr200", "rubin-ultra", "mi455x")
NODES = ("h100", "h200", "b200", "a100-80")
JOB = {
    "model": "gpt3-13b",
    "accelerator": "gb200",
    "gpus": 144,
    "global_batch": 144,
    "seq_len": 2048,
    "plan": {"tp": 8, "pp": 1, "micro_batch": 1},
}


@pytest.mark.parametrize("name", [*RACKS, *NODES])
def test_domains_differ_in_size_and_what_it_takes_only(name: str) -> None:
    part = load_catalog().accelerators[name]
    sizes = SIZES if name in RACKS else (8, 16, 64, 72, 288)
    machines = [sold(name, size) for size in sizes]
    for size, machine in zip(sizes, machines, strict=True):
        scale_up = machine.scale_up
        assert isinstance(scale_up, Switched)
        assert machine.domain_accelerators == size
        assert machine.accelerator == name
        assert scale_up.accelerator_bytes_per_s == pytest.approx(
            part.scale_up_bytes_per_s, rel=0.05
        )
        assert machine.nic_bytes_per_s == pytest.approx(machines[0].nic_bytes_per_s)
        assert machine.notes == ()
        if size > COPPER_ENDS:
            assert reach(machine) == "optical"
        if scale_up.upper is not None:  # as much goes up as comes from below
            assert scale_up.spines * scale_up.spine_links == scale_up.group_accelerators
    assert reach(machines[0]) == "copper"


def test_a_node_is_sold_as_a_node_and_a_rack_as_a_rack() -> None:
    assert [sold("gb200", size).rack_accelerators for size in (8, 36, 72, 144)] == [16, 36, 72, 72]
    assert sold("h100", 8).chassis == "dgx-h100"
    assert reach(sold("h100", 16)) == "copper"  # one rack of nodes
    assert reach(sold("h100", 64)) == "optical"


@pytest.mark.parametrize("taper", [1.0, 2.0, 4.0])
def test_a_taper_thins_the_upper_tier(taper: float) -> None:
    scale_up = sold("gb200", 576, taper=taper, medium="pluggable").scale_up
    assert isinstance(scale_up, Switched)
    assert scale_up.upper is not None
    assert scale_up.upper.medium == "pluggable"
    assert scale_up.group_accelerators / scale_up.spines / scale_up.spine_links == taper


@pytest.mark.parametrize("link", ["ualink1-x4", "uec-800"])
def test_other_wires_have_the_same_rate(link: str) -> None:
    for size in (8, 72, 288):
        scale_up = sold("gb200", size, link=link).scale_up
        assert isinstance(scale_up, Switched)
        assert scale_up.wire.link == link
        assert scale_up.accelerator_bytes_per_s == pytest.approx(900e9)


def test_what_cannot_be_is_refused() -> None:
    for name in ("mi300x", "tpu-v5p"):
        with pytest.raises(InvalidInput, match="can't be varied"):
            sold(name, 8)
    with pytest.raises(InvalidInput, match="multiple"):
        sold("h100", 36)
    with pytest.raises(UnknownName, match="gb200"):
        sold("gb20", 8)
    with pytest.raises(InvalidInput, match="do not make that up"):
        sold("gb200", 72, link="neuronlink4")
    with pytest.raises(InvalidInput, match="leave it out"):
        rackmodel.domains(**JOB, domains=(8, 288))
    with pytest.raises(UnknownName, match="gpt3-13b"):
        rackmodel.domains(**{**JOB, "model": "gpt3-13"}, domains=(8,))
    with pytest.raises(CannotRun, match="no domain"):
        rackmodel.domains(**{**JOB, "model": "llama3.1-405b", "gpus": 16}, domains=(8, 16))


@pytest.fixture(scope="module")
def found() -> rackmodel.argument.api.Domains:
    return rackmodel.domains(**JOB, domains=(72, 8, 144))


def test_rows_say_what_a_domain_buys(found) -> None:
    rows = found["rows"]
    assert [row["domain_accelerators"] for row in rows] == [8, 72, 144]
    assert found["copper_ends"] == 144
    assert rows[0]["gain"] == 0.0
    for row in rows:
        assert row["tokens_per_s_per_gpu_low"] < row["tokens_per_s_per_gpu"]
        assert row["gain_low"] <= row["gain"] <= row["gain_high"]
        assert sum(row["exposed"].values()) + row["bubble_share"] < 1.0
        assert row["usd_per_mtoken_low"] < row["usd_per_mtoken"] < row["usd_per_mtoken_high"]
        assert 0.0 <= row["idle_share"] < 1.0
        assert 0.0 < row["useful_share"] <= row["goodput"] < 1.0
        it = row["it_w"] / row["tokens_per_s_per_gpu"] / JOB["gpus"]
        assert row["energy_j_per_token"] == pytest.approx(it)
    heats = [row["heat_w_per_rack"] for row in rows]
    assert heats[0] < heats[1]  # a rack of nodes, a rack of 72
    assert "8 to 144" in found["finding"]


@pytest.mark.parametrize(("end", "usd"), [("low", 900), ("high", 1900)])
def test_what_a_token_costs_by_the_price_of_its_optics_is_what_that_price_makes_it(end, usd):
    job = {**JOB, "gpus": 288, "global_batch": 288, "domains": (72, 288)}
    usual = rackmodel.domains(**job)["rows"]
    dear = load_catalog(overrides={"media.cpo.usd_per_end": f"{usd} USD"})
    other = rackmodel.domains(**job, catalog=dear)["rows"]
    name = f"usd_per_mtoken_links_{end}"
    assert usual[0][name] == pytest.approx(usual[0]["usd_per_mtoken"])  # copper, in the chassis
    assert usual[1][name] == pytest.approx(other[1]["usd_per_mtoken"], rel=0.01)
    assert abs(usual[1][name] / usual[1]["usd_per_mtoken"] - 1.0) > 0.03


def test_another_upper_medium_changes_watts_and_prices_only() -> None:
    job = {**JOB, "gpus": 288, "global_batch": 288, "domains": (288,)}
    rows = [rackmodel.domains(**job, medium=m)["rows"][0] for m in ("cpo", "pluggable")]
    assert rows[0]["step_s"] == pytest.approx(rows[1]["step_s"], rel=1e-3)
    assert rows[0]["it_w"] < rows[1]["it_w"]


def test_values_of_the_machine_act_in_every_domain() -> None:
    job = {**JOB, "domains": (8,)}
    plain = rackmodel.domains(**job)["rows"][0]
    slower = rackmodel.domains(**job, changes={"nics.link_bytes_per_s": "1 GB/s"})
    assert slower["rows"][0]["step_s"] > 1.5 * plain["step_s"]
    assert any("nics.link_bytes_per_s" in note for note in slower["notes"])


def test_the_picture_says_what_was_found(found) -> None:
    figure = domains_figure(found)
    assert figure.get_suptitle().startswith(found["finding"].split(";")[0])
    assert len(figure.axes) == 7


def test_sizes_that_a_job_does_not_fill_are_left_out_and_named() -> None:
    found = rackmodel.domains(**{**JOB, "gpus": 16, "global_batch": 16})
    assert [row["domain_accelerators"] for row in found["rows"]] == [8, 16]
    assert "domains of 36, 64, 72, 144, 288, 576 are left out" in found["notes"][0]
    with pytest.raises(InvalidInput, match="8 accelerators at least"):
        rackmodel.domains(**{**JOB, "gpus": 4, "global_batch": 16})


def test_more_plans_simulated_make_no_domain_slower_and_each_domain_gets_as_many() -> None:
    job = {**JOB, "plan": {"tp": 2, "micro_batch": 1}, "domains": (8, 72)}
    looks = [rackmodel.domains(**job, simulated=most)["rows"] for most in (1, 2, 6)]
    steps = [[row["step_s"] for row in rows] for rows in looks]
    for fewer, more in pairwise(steps):
        assert all(m <= f * (1 + 1e-9) for f, m in zip(fewer, more, strict=True))
    assert [row["plans_simulated"] for row in looks[0]] == [1, 1]
    assert all(row["better_chance"] <= 1.0 for rows in looks for row in rows)


def test_no_schedule_that_is_kept_to_beats_the_best_of_all() -> None:
    plan = {"tp": 1, "cp": 2, "ep": 32, "micro_batch": 1}
    job = {"model": "deepseek-v3", "accelerator": "gb200", "gpus": 384, "global_batch": 1536}
    words = {**job, "seq_len": 4096, "precision": "fp8-mx", "domains": (8,)}
    every = rackmodel.domains(**words, plan=plan)["rows"][0]
    for name in ("interleaved", "dualpipe"):
        kept = rackmodel.domains(**words, plan={**plan, "schedule": name})["rows"][0]
        assert every["tokens_per_s_per_gpu"] >= 0.99 * kept["tokens_per_s_per_gpu"]
    assert "dualpipe" in every["plan"]


def test_sizes_that_hosts_do_not_fill_are_left_out_unless_named() -> None:
    words = {**JOB, "accelerator": "h100", "gpus": 40, "global_batch": 40}
    found = rackmodel.domains(**words)
    assert [row["domain_accelerators"] for row in found["rows"]] == [8, 16]
    assert "domains of 36 are left out: hosts" in found["notes"][1]
    assert "8 to 16" in found["finding"]  # where copper ends at the first of them, too
    assert "was asked" not in found["finding"]
    with pytest.raises(InvalidInput, match="choose a multiple"):
        rackmodel.domains(**words, domains=(8, 36))

"""Validation: rows are read as meant, every row gets an answer, errors are counted right."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from rackmodel.api import search, simulate
from rackmodel.errors import InvalidInput
from rackmodel.hardware import accelerator
from rackmodel.validation.errors import NEEDED, figures, predict, read_runs, validate
from rackmodel.validation.published_runs import filled_in, machine_of, read_run

SMALL = {
    "id": "a",
    "stack": "megatron-bridge-26.04",
    "topology": "dgx-h100",
    "gpus": 8,
    "model": "small",
    "layers": 4,
    "hidden": 1024,
    "ffn": 4096,
    "heads": 8,
    "kv_heads": 8,
    "head_dim": 128,
    "gated_ffn": 0,
    "vocab": 32000,
    "seq_len": 1024,
    "global_batch": 16,
    "micro_batch": 2,
    "tp": 1,
    "pp": 1,
    "cp": 1,
    "dp": 8,
    "sharding": "zero1",
    "recompute": "none",
    "precision": "bf16",
    "tier": "core",
    "measured_step_s": 0.05,
}


def test_a_stated_row_is_one_job_with_the_stated_plan():
    run = read_run({**SMALL, "tp": 2, "dp": 4}, domain=8)
    (job,) = run.jobs
    assert (job.plan.tp, job.plan.dp, job.plan.micro_batch) == (2, 4, 2)
    assert not run.open_recompute
    assert job.plan.tp_overlap  # Megatron recipes since 2023


def test_old_stacks_have_no_sequence_parallelism_and_no_overlap():
    (job,) = read_run({**SMALL, "stack": "mlm-2020", "tp": 2, "dp": 4}, domain=8).jobs
    assert not job.plan.sequence_parallel
    assert not job.plan.tp_overlap
    assert not job.plan.dp_overlap


@pytest.mark.parametrize(
    ("stack", "sharding"), [("titan", "zero3"), ("maxtext", "zero3"), ("nemo2407", "zero1")]
)
def test_unstated_sharding_is_the_habit_of_the_software(stack, sharding):
    (job,) = read_run({**SMALL, "stack": stack, "sharding": math.nan}, domain=8).jobs
    assert job.plan.sharding == sharding


def test_an_open_plan_gives_several_jobs_on_the_same_accelerators():
    cells = {**SMALL, "tp": None, "pp": None, "dp": None, "micro_batch": None}
    jobs = read_run(cells, domain=8).jobs
    assert len(jobs) > 2
    assert {job.gpus for job in jobs} == {8}


def test_notes_give_latent_attention_and_labels_switch_mtp_off():
    notes = "MLA q_lora 1536, kv_lora 512, qk 128+64, v 128"
    cells = {**SMALL, "notes": notes, "model": "x (w/o MTP)", "gated_ffn": 1}
    (job,) = read_run(cells, domain=8).jobs
    assert job.model.mla is not None
    assert job.model.mla.kv_lora == 512
    assert job.model.mtp_layers == 0


@pytest.mark.parametrize(
    ("cell", "value", "word"),
    [
        ("topology", "no-such-machine", "no-such-machine"),
        ("gpus", "many", "gpus"),
        ("layers", None, "layers"),
        ("global_batch", -4, "global_batch"),
        ("precision", "fp7", "fp7"),
        ("tp", 3, "divides"),
        ("sharding", "zero9", "zero9"),
        ("global_batch", 15, "15"),
    ],
)
def test_a_row_that_cannot_run_says_why(cell, value, word):
    answer = predict({**SMALL, cell: value})
    assert answer["predicted_step_s"] is None
    assert word in answer["reason"]


def test_validate_answers_every_row_and_counts_failures():
    rows = [
        SMALL,
        {**SMALL, "id": "b", "measured_step_s": 0.1},
        {**SMALL, "id": "c", "topology": "nowhere"},
        {**SMALL, "id": "d", "tier": "wide", "measured_step_s": None},
    ]
    seen: list[tuple[int, int]] = []
    answer = validate(pd.DataFrame(rows), progress=lambda done, total: seen.append((done, total)))
    first, second, third, fourth = answer["rows"]
    assert first["predicted_step_s"] == second["predicted_step_s"] == fourth["predicted_step_s"]
    assert first["step_s_low"] < first["predicted_step_s"] < first["step_s_high"]
    assert first["error"] == pytest.approx(first["predicted_step_s"] / 0.05 - 1)
    assert third["predicted_step_s"] is None
    assert "nowhere" in third["reason"]
    assert fourth["error"] is None
    assert answer["summary"]["core"]["failures"] == 1
    assert answer["summary"]["core"]["rows"] == 3
    assert seen[-1] == (4, 4)


def test_figures_are_those_of_the_errors():
    table = pd.DataFrame(
        {
            "error": [0.1, -0.3, None],
            "predicted_step_s": [1.1, 0.7, None],
            "inside": [True, False, None],
            "memory_error": [None, 0.2, None],
        }
    )
    found = figures(table)
    assert found["mape"] == pytest.approx(0.2)
    assert found["bias"] == pytest.approx(-0.1)
    assert found["inside_band"] == pytest.approx(0.5)
    assert (found["rows"], found["failures"]) == (3, 1)


def test_a_file_without_a_needed_column_is_refused(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("id,gpus\na,8\n")
    with pytest.raises(InvalidInput, match="topology"):
        read_runs(path)


def test_a_file_that_is_not_a_table_is_refused(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InvalidInput, match=r"runs\.csv"):
        read_runs(path)


def test_xla_overlaps_tp_where_it_pays_so_that_both_are_tried():
    cells = {**SMALL, "stack": "maxtext", "tp": 4, "dp": 2}
    assert {job.plan.tp_overlap for job in read_run(cells, domain=8).jobs} == {True, False}
    (told,) = read_run({**cells, "tp_overlap": 1}, domain=8).jobs
    assert told.plan.tp_overlap


def test_copies_of_sharded_weights_stay_inside_a_slice():
    cells = {**SMALL, "stack": "maxtext", "tp": 4, "dp": 4, "gpus": 16, "sharding": math.nan}
    for job in read_run(cells, domain=8).jobs:
        assert (job.plan.sharding, job.plan.shard_size) == ("hsdp", 2)


def test_whom_an_assumed_sharding_is_over_goes_by_the_software():
    told = {**SMALL, "stack": "paxml", "dp": 64, "gpus": 64, "global_batch": 64, "micro_batch": 1}
    told |= {"sharding": "zero3", "recompute": math.nan}
    (over_all,) = read_run(told, domain=8).jobs
    assert (over_all.plan.sharding, over_all.plan.shard_size) == ("zero3", 0)
    run = read_run({**told, "unstated": "recompute sharding"}, domain=8)
    assert (run.jobs[0].plan.sharding, run.jobs[0].plan.shard_size) == ("hsdp", 8)
    assert "sharding" in run.filled
    for some in ({"notes": "MBS=2; FSDP over 16 of the ranks, DP beyond"}, {"shard_size": 16}):
        (job,) = read_run({**told, **some}, domain=8).jobs
        assert (job.plan.sharding, job.plan.shard_size) == ("hsdp", 16)
    (other,) = read_run({**told, "unstated": "sharding", "stack": "xtuner"}, domain=8).jobs
    assert other.plan.sharding == "zero3"  # DeepSpeed shards over all ranks


def test_states_of_the_optimizer_are_over_as_many_ranks_as_a_row_says():
    cells = {**SMALL, "stack": "internevo-2023-11", "tp": 1, "dp": 16, "gpus": 16}
    cells |= {"global_batch": 16, "micro_batch": 1, "sharding": "zero1"}
    said = {"zero1 inside a node of 8 (hybrid)": 8, "zero1=4 (inside a node)": 4}
    for notes, ranks in {**said, "zero1=-1 (all ranks)": 0, "zero1=16 (inside)": 0}.items():
        (job,) = read_run({**cells, "notes": notes}, domain=8).jobs
        assert (job.plan.sharding, job.plan.shard_size) == ("zero1", ranks)
    (job,) = read_run({**cells, "shard_size": 2}, domain=8).jobs
    assert job.plan.shard_size == 2


@pytest.mark.parametrize(("layers", "sharding", "ranks"), [(4, "hsdp", 8), (70, "hsdp", 16)])
def test_copies_of_weights_lie_in_the_fewest_domains_that_hold_them(layers, sharding, ranks):
    row = {**SMALL, "stack": "paxml", "dp": 64, "gpus": 64, "global_batch": 64, "micro_batch": 1}
    row |= {"hidden": 8192, "ffn": 32768, "heads": 64, "kv_heads": 64, "layers": layers}
    run = read_run({**row, "sharding": math.nan, "recompute": math.nan}, domain=8)
    plan = filled_in(run, run.jobs[0], accelerator("h100")).plan
    assert (plan.sharding, plan.shard_size) == (sharding, ranks)


def test_columns_beyond_the_plan_are_read():
    row = {**SMALL, "cp": 2, "dp": 4, "experts": 8, "topk": 2, "moe_ffn": 1024}
    row |= {"routing": "drop", "capacity_factor": 1.5, "cuda_graphs": 1, "attention": "unfused"}
    (job,) = read_run({**row, "stack": "xtuner"}, domain=8).jobs
    assert (job.capacity_factor, job.cuda_graphs, job.attention) == (1.5, True, "unfused")
    assert job.plan.cp_method == "all-to-all"  # DeepSpeed's Ulysses
    (ring,) = read_run({**row, "stack": "xtuner", "cp_method": "ring"}, domain=8).jobs
    assert ring.plan.cp_method == "ring"
    told = {**row, "capacity_factor": None, "notes": "capacity factor 1.25 (dropped)"}
    assert read_run(told, domain=8).jobs[0].capacity_factor == 1.25
    with pytest.raises(InvalidInput, match="capacity_factor"):
        read_run({**row, "capacity_factor": "many"}, domain=8)


def test_experts_were_cut_over_tp_before_they_had_a_size_of_their_own():
    row = {**SMALL, "experts": 8, "topk": 2, "moe_ffn": 1024, "tp": 2, "dp": 4, "ep": 4, "etp": 1}

    def etp(**changes: object) -> int:
        return read_run({**row, **changes}, domain=8).jobs[0].plan.etp

    assert etp(stack="nemo-24.12") == 2
    assert etp(stack="nemo-25.02") == etp(stack="somebodys-24.12") == 1
    assert etp(stack="nemo-24.12", ep=8) == 1  # not to be had there: as it says


def test_a_plain_pipeline_of_experts_has_no_graph_of_its_whole_iteration_unless_it_says_so():
    row = {**SMALL, "experts": 8, "topk": 2, "moe_ffn": 1024, "stack": "megatron-bridge-26.06"}
    plain = {**row, "pp": 2, "vpp": math.nan, "dp": 4, "layers": 8}

    def graphs(cells):
        return {job.cuda_graphs for job in read_run(cells, domain=8).jobs}

    assert graphs(row) == graphs({**plain, "vpp": 2}) == graphs({**plain, "experts": 0}) == {None}
    assert (graphs(plain), graphs({**plain, "cuda_graphs": 1})) == ({False}, {True})


def test_mtp_that_a_row_calls_unstated_is_trained_where_recipes_train_it():
    row = {**SMALL, "mtp": "unstated"}

    def mtp(**changes):
        return read_run({**row, **changes}, domain=8).jobs[0].model.mtp_layers

    assert mtp(stack="megatron-bridge-26.04") == 1
    assert mtp(stack="somebodys-26.04") == mtp(stack="torchtitan-2026-04") == 0
    assert mtp(model="x (w/o MTP)") == mtp(mtp=0) == mtp(mtp=math.nan) == 0


def test_megatron_of_2020_reduced_gradients_of_its_largest_model_under_the_backward_pass():
    def hides(tp, stack="mlm-2020"):
        row = {**SMALL, "tp": tp, "dp": 8 // tp, "stack": stack}
        return read_run(row, domain=8).jobs[0].plan.dp_overlap

    assert [hides(8), hides(2), hides(8, "megatron-2020-06")] == [True, False, False]


def test_scripts_say_what_rows_of_them_do_not():
    row = {**SMALL, "stack": "megatron-bridge-26.06", "model": "Kimi_K2"}

    def graphs(**changes):
        return read_run({**row, **changes}, domain=8).jobs[0].cuda_graphs

    assert (graphs(), graphs(cuda_graphs=1), graphs(model="x")) == (False, True, None)
    assert graphs(stack="somebodys-26.06") is None
    here = {"model": "DeepSeekV3", "topology": "gb300-nvl72", "precision": "fp8-mx"}
    for other in (
        {},
        {"topology": "dgx-b300"},
        {"stack": "megatron-bridge-26.04"},
        {"fp8_head": 0},
    ):
        (job,) = read_run({**row, **here, **other}, domain=72).jobs
        assert job.plan.fp8_head is not bool(other)


def test_composed_steps_run_what_their_source_does_and_not_what_it_says():
    row = {**SMALL, "stack": "megatron-deepspeed-vtrain", "recompute": "full"}
    for tp, columns in ((1, 50257), (2, 2 * 25128), (8, 8 * 6282)):  # cut, whole, not padded
        (job,) = read_run({**row, "tp": tp, "dp": 8 // tp}, domain=8).jobs
        assert (job.plan.recompute, job.model.vocab) == ("none", columns)


def test_the_host_of_a_traced_layer_hides_its_width():
    row = {**SMALL, "stack": "megatron-deepspeed-vtrain", "topology": "hgx-a100-80-4x200g"}

    def layer_s(**changes):
        sizes = {"heads": 16, "head_dim": "", "gpus": 1, "dp": 1, "sharding": "none", **changes}
        steps = [predict({**row, **sizes, "layers": n})["predicted_step_s"] for n in (12, 24)]
        return (steps[1] - steps[0]) / 12 / (16 / sizes["micro_batch"])

    narrow, wide = (
        [layer_s(hidden=width, ffn=4 * width, micro_batch=tokens) for tokens in (1, 8)]
        for width in (1024, 2048)
    )
    # The source's profiles: 3.00 and 3.24 ms, 8.00 and 16.31 ms.
    assert [narrow[0], wide[0]] == pytest.approx([3.00e-3, 3.24e-3], rel=0.1)
    assert [narrow[1], wide[1]] == pytest.approx([8.00e-3, 16.31e-3], rel=0.2)


@pytest.mark.parametrize(
    ("stack", "gated", "drops"), [("mlm-2020", 0, True), ("mlm-2020", 1, False), ("mpt", 0, False)]
)
def test_megatron_drops_out_unless_a_model_is_like_llama(stack, gated, drops):
    (job,) = read_run({**SMALL, "stack": stack, "gated_ffn": gated}, domain=8).jobs
    assert job.model.dropout is drops


def test_chunks_that_a_row_calls_unstated_are_open():
    row = {**SMALL, "layers": 8, "pp": 2, "dp": 4, "global_batch": 32}
    assert [job.plan.vpp for job in read_run(row, domain=8).jobs] == [1]
    run = read_run({**row, "unstated": "recompute vpp"}, domain=8)
    assert [job.plan.vpp for job in run.jobs] == [1, 2, 4]
    assert "vpp" in run.filled


def test_unknown_software_has_the_ways_of_its_accelerator_and_years():
    def stack(family, year, **cells):
        return read_run({**SMALL, "stack": "somebodys", **cells}, 8, family, "", year).jobs[0].stack

    assert stack("tpu", 2023) == "unknown-xla-2024-07"
    assert stack("nvidia-hopper", 2022) == "unknown-2023-07"
    for pp, dp in ((1, 8), (1.0, 8), (2.0, 4)):  # a column with empty cells is read as floats
        cells = {"sharding": "zero3", "pp": pp, "dp": dp, "global_batch": 32}
        assert stack("nvidia-hopper", 2022, **cells) == "unknown-fsdp-2023-07"
    # Megatron's optimizer shards states; it has no zero2 either.
    assert stack("nvidia-hopper", 2022, sharding="zero2") == "unknown-fsdp-2023-07"
    assert stack("amd-cdna3", 2023, stack="somebodys-2025-03") == "unknown-rocm-2025-03"


def test_nics_of_another_rate_than_the_nearest_machine_has():
    notes = "4 x 100 Gb RoCE a node: nearest shipped machine has 4 x 200"
    row = {**SMALL, "topology": "hgx-a100-80-4x200g"}
    shipped = machine_of(row).nic_bytes_per_s
    assert machine_of({**row, "notes": notes}).nic_bytes_per_s == shipped / 2
    assert machine_of({**row, "nic_gbps": 50}).nic_bytes_per_s == shipped / 4


def test_a_prediction_says_why_its_band_is_wide():
    known, unknown = {**SMALL, "topology": "dgx-a100-80", "gpus": 8}, {"stack": "somebodys"}
    rows = validate(pd.DataFrame([known, {**known, **unknown, "recompute": None}]))["rows"]
    assert rows[0]["band_reason"].startswith("software and accelerator")
    assert rows[1]["band_reason"] == "wide: software unknown, settings filled in"
    widths = [row["step_s_high"] / row["step_s_low"] for row in rows]
    assert widths[1] > widths[0]


@pytest.mark.parametrize("year", [0, 2024])
def test_undated_software_is_as_old_in_simulate_as_in_validate(year):
    """The same job has the same step, whoever asks: no older than its machine unless dated."""
    row = {**SMALL, "topology": "dgx-b200", "stack": f"titan-{year}" if year else "titan"}
    (job,) = read_run({**row, "sharding": "zero3"}, domain=8).jobs
    assert job.stack == row["stack"]  # as a user says it
    found = predict({**row, "sharding": "zero3"})
    result = simulate("dgx-b200", job)
    assert found["predicted_step_s"] == result.step_s
    assert result.step.job.stack == (row["stack"] if year else "titan-2025-07")
    later = simulate("dgx-b200", job.replace(stack="titan-2025-07")).step_s
    assert result.step_s > later if year else result.step_s == later


def test_names_of_runs_are_text_even_where_all_are_digits(tmp_path):
    digits = "1" + "0" * 400
    (tmp_path / "runs.csv").write_text(f"id,{','.join(NEEDED)}\n{digits}{',' * len(NEEDED)}\n")
    assert read_runs(tmp_path / "runs.csv")["id"].tolist() == [digits]


def test_whole_numbers_that_no_float_holds_are_not_told():
    row = dict.fromkeys(NEEDED) | {"id": "a", "stack": "megatron", "uncertainty": 10**400}
    (told,) = validate(pd.DataFrame([row]))["rows"]
    assert told["uncertainty"] is None


@pytest.mark.parametrize("machine", ["dgx-h100", "gb200-nvl72"])
def test_tokens_go_in_simulate_as_in_validate_and_in_a_search(machine):
    """What the plan leaves open is the software's, by accelerator, whoever asks."""
    row = {**SMALL, "topology": machine, "gpus": 32, "stack": "megatron-bridge-26.04"}
    row |= {"experts": 32, "topk": 8, "moe_ffn": 512, "ep": 4}
    row |= {"global_batch": 64, "micro_batch": 1, "dp": 32}
    found = predict(row)
    (job,) = read_run(row, domain=8).jobs
    assert job.plan.dispatcher == ""
    result = simulate(machine, job)
    assert found["predicted_step_s"] == result.step_s
    fused = "deepep" if machine == "gb200-nvl72" else "all-to-all"
    assert result.step.job.plan.dispatcher == fused
    assert simulate(machine, job.replace(dispatcher=fused)).step_s == result.step_s
    other = {"deepep": "all-to-all", "all-to-all": "deepep"}[fused]
    assert simulate(machine, job.replace(dispatcher=other)).step_s != result.step_s
    fixed = {"tp": 1, "pp": 1, "cp": 1, "ep": 4, "micro_batch": 1}
    open_, stated = (
        search(machine, job, plan=fixed | told, top=1).candidates[0]
        for told in ({}, {"dispatcher": fused})
    )
    assert (open_.estimate_s, open_.step_s) == (stated.estimate_s, stated.step_s)

from dataclasses import replace

import pytest

from rackmodel.workload import Job, Plan, load_model, memory, peak_memory, printed_bytes
from rackmodel.workload.stages import chunks_of


def job(name, *, seq_len=2048, batch=64, stack="default", attention="", **plan):
    model = load_model(name)
    return Job(
        model=model,
        plan=Plan(**plan),
        seq_len=seq_len,
        global_batch=batch,
        stack=stack,
        attention=attention,
    )


def test_gpt3_at_tp8_pp8_takes_45_6_gibibytes_of_weights_gradients_and_optimizer():
    need = memory(job("gpt3-175b", tp=8, pp=8, dp=1, sharding="none"), 3)
    total = need["weights"] + need["gradients"] + need["optimizer"]
    assert total / 2**30 == pytest.approx(45.6, abs=0.05)


# Korthikanti et al. 2022, arXiv:2205.05198: sbh(34 + 5as/h) and its tensor-parallel forms, table 2.
@pytest.mark.parametrize("name", ["gpt3-13b", "gpt3-175b"])
@pytest.mark.parametrize(
    ("tp", "sequence_parallel", "recompute", "formula"),
    [
        (1, False, "none", lambda t, r: 34 + 5 * r),
        (8, False, "none", lambda t, r: 10 + 24 / t + 5 * r / t),
        (8, True, "none", lambda t, r: 34 / t + 5 * r / t),
        (8, True, "selective", lambda t, r: 34 / t),
        (8, False, "selective", lambda t, r: 10 + 24 / t),
    ],
)
def test_activations_of_a_layer_are_korthikantis(name, tp, sequence_parallel, recompute, formula):
    one = job(
        name,
        tp=tp,
        dp=1,
        batch=1,
        sharding="none",
        sequence_parallel=sequence_parallel,
        recompute=recompute,
        attention="unfused",
    )
    model = one.model
    layer = next(unit for unit in chunks_of(one)[0][0].units if unit.is_layer)
    kept = sum(step.saved_bytes for step in layer.steps if step.module not in one.modules)
    ratio = model.heads * 2048 / model.hidden
    assert kept == pytest.approx(2048 * model.hidden * formula(tp, ratio), rel=1e-9)


# Rajbhandari et al. 2020, arXiv:1910.02054, figure 1: 7.5B parameters, 64 ranks, K = 12.
@pytest.mark.parametrize(
    ("sharding", "gigabytes"), [("none", 120.0), ("zero1", 31.4), ("zero2", 16.6)]
)
def test_zero_divides_states_as_in_its_paper(sharding, gigabytes):
    one = job("megatron-7.5b", dp=64, sharding=sharding, gradients="bf16")
    scale = 7.5e9 / one.model.parameters
    need = memory(one)
    total = need["weights"] + need["gradients"] + need["optimizer"]
    # The vocabulary is padded and biases are left out of the sum: a fraction of a percent.
    assert total * scale / 1e9 == pytest.approx(gigabytes, rel=0.005)


def test_full_sharding_divides_all_states():
    one = job("megatron-7.5b", dp=64, sharding="zero3", gradients="bf16")
    need = memory(one)
    total = need["weights"] + need["gradients"] + need["optimizer"]
    # Figure 1 prints 1.9 GB for 2 + 2 + 12 bytes over 64 ranks; FSDP's fp32 shard is the master
    # weight, so 4 + 8 + 2 bytes remain.
    assert total / one.model.parameters * 64 == pytest.approx(14.0, rel=0.005)


# What logs print: torch's reserved memory (torchtitan), its allocated memory (MLPerf, inferred).
LOGGED = [
    # MLPerf Training v5.0 and v5.1, NVIDIA's logs; fp8, no recompute.
    (
        "llama3.1-405b",
        58.8,
        {
            "tp": 8,
            "pp": 8,
            "vpp": 8,
            "cp": 2,
            "dp": 4,
            "batch": 1152,
            "seq_len": 8192,
            "precision": "fp8",
            "stack": "mlperf-v5.0-nvidia",
        },
    ),
    (
        "llama3.1-405b",
        109.1,
        {
            "tp": 4,
            "pp": 8,
            "vpp": 8,
            "cp": 2,
            "dp": 8,
            "batch": 1152,
            "seq_len": 8192,
            "precision": "fp8",
            "stack": "mlperf-v5.0-nvidia",
        },
    ),
    (
        "llama3.1-405b",
        92.1,
        {
            "tp": 4,
            "pp": 8,
            "vpp": 8,
            "cp": 2,
            "dp": 16,
            "batch": 768,
            "seq_len": 8192,
            "precision": "fp8",
            "transposes": False,
            "stack": "mlperf-v5.0-nvidia",
        },
    ),
    (
        "llama3.1-8b",
        71.2,
        {"dp": 64, "batch": 64, "seq_len": 8192, "precision": "fp8", "stack": "mlperf-v5.1-nvidia"},
    ),
    # torchtitan, benchmarks/llama3_h100_202412_torchtitan.md, tables 1 and 2, and
    # llama3-8b_h200_202506_trainy-whitefiber.md (GiB there).
    (
        "llama3.1-8b",
        82.5,
        {
            "dp": 8,
            "micro_batch": 2,
            "batch": 16,
            "seq_len": 8192,
            "sharding": "zero3",
            "recompute": "selective",
            "precision": "fp8-cs",
            "stack": "titan",
        },
    ),
    (
        "llama3.1-8b",
        90.1,
        {
            "dp": 8,
            "batch": 8,
            "seq_len": 32768,
            "sharding": "zero3",
            "recompute": "full",
            "precision": "fp8-cs",
            "stack": "titan",
        },
    ),
    (
        "llama3.1-8b",
        51.5,
        {
            "dp": 32,
            "micro_batch": 2,
            "batch": 64,
            "seq_len": 8192,
            "sharding": "zero3",
            "recompute": "selective",
            "precision": "fp8-cs",
            "stack": "titan-h200",
        },
    ),
]


@pytest.mark.parametrize(("name", "gigabytes", "options"), LOGGED)
def test_logged_memory_is_met_within_a_tenth(name, gigabytes, options):
    own = {key: value for key, value in options.items() if key not in ("precision", "transposes")}
    one = job(name, **own).replace(
        precision=options["precision"], transposes=options.get("transposes")
    )
    assert printed_bytes(one, peak_memory(one)[1]) / 1e9 == pytest.approx(gigabytes, rel=0.10)


# BLOOM's candidates on Jean Zay's 80 GB A100s, full recompute, as nvidia-smi saw them.
# (hidden, layers, heads, dp, tp, pp, micro-batch, GB).
PREQUEL = [
    (13824, 84, 64, 4, 8, 12, 2, 39),
    (13824, 84, 64, 4, 8, 12, 4, 52),
    (13824, 84, 64, 8, 8, 6, 4, 56),
    (13824, 78, 96, 8, 8, 6, 4, 59),
    (13824, 78, 128, 8, 8, 6, 4, 54),
    (12288, 96, 64, 8, 1, 48, 1, 58),
    (13824, 78, 64, 8, 4, 12, 2, 48),
    (13824, 78, 96, 8, 4, 12, 2, 48),
    (13824, 78, 96, 16, 4, 6, 4, 75),
]


@pytest.mark.parametrize("row", PREQUEL)
def test_memory_of_bloom_candidates_is_met_within_an_eighth(row):
    hidden, layers, heads, dp, tp, pp, micro_batch, gigabytes = row
    model = replace(
        load_model("bloom-176b"),
        name="candidate",
        layers=layers,
        hidden=hidden,
        ffn=4 * hidden,
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
    )
    plan = Plan(
        tp=tp, pp=pp, dp=dp, micro_batch=micro_batch, recompute="full", sequence_parallel=False
    )
    one = Job(model=model, plan=plan, seq_len=2048, global_batch=64 * dp, stack="bloom-prequel")
    assert printed_bytes(one, peak_memory(one)[1]) / 1e9 == pytest.approx(gigabytes, rel=0.125)

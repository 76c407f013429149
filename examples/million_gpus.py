# %% [markdown]
# # A million accelerators
#
# What is exactly alike is simulated once, so the cost of a step follows the number of distinct
# things and not of accelerators. The step below has 1.5 million ranks.

# %%
import time

import rackmodel

PLAN = {"tp": 8, "pp": 8, "vpp": 2, "micro_batch": 1}
for replicas in (24, 24_000):
    begin = time.perf_counter()
    result = rackmodel.simulate(
        "h100-100k",
        model="gpt3-175b",
        gpus=64 * replicas,
        global_batch=16 * replicas,
        seq_len=2048,
        plan=PLAN,
    )
    counts = result.to_dict()["simulation"]
    print(
        f"{64 * replicas:9,} accelerators: step {result.step_s:.3f} s, "
        f"{counts['rank_classes']} classes of ranks, {counts['events']:,} events"
    )
    assert time.perf_counter() - begin < 60

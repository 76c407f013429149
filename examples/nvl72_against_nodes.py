# %% [markdown]
# # NVL72 racks against 8-GPU nodes
#
# Nine nodes for each rack: a mixture of experts spreads them over 64 accelerators of a rack, or
# over the 8 of a node. What waits, and how much faster is the rack?

# %%
import rackmodel

JOB = {"model": "deepseek-v3", "gpus": 1152, "global_batch": 2304, "seq_len": 4096}
PLANS = {
    "gb200-nvl72": {"pp": 3, "ep": 64, "micro_batch": 1},
    "dgx-b200": {"pp": 8, "ep": 8, "tp": 2, "micro_batch": 1},
}
results = {name: rackmodel.simulate(name, **JOB, plan=plan) for name, plan in PLANS.items()}
for name, result in results.items():
    waits = {part: seconds / result.step_s for part, seconds in result.breakdown_s.items()}
    del waits["compute"], waits["overhead"]
    worst = sorted(waits.items(), key=lambda entry: -entry[1])[:3]
    shares = ", ".join(f"{part} {share:.0%}" for part, share in worst)
    print(f"{name:12} {result.tokens_per_s_per_gpu:6,.0f} tokens/s/GPU; besides compute: {shares}")
rack, nodes = results.values()
ratio = rack.tokens_per_s_per_gpu / nodes.tokens_per_s_per_gpu
print(f"a rack is {ratio:.2f} times as fast as nine nodes")

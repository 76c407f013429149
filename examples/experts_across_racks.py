# %% [markdown]
# # Experts inside a rack, or across racks
#
# Where should an expert-parallel group stand?

# %%
import rackmodel

for ep, pp in ((16, 8), (64, 4)):
    result = rackmodel.simulate(
        "gb200-nvl72",
        model="deepseek-v3",
        gpus=256,
        global_batch=256,
        seq_len=4096,
        plan={"ep": ep, "pp": pp, "micro_batch": 1, "recompute": "selective"},
    )
    packed = rackmodel.simulate("gb200-nvl72", result.step.job, packed=True)
    whole, torn = result.tokens_per_s_per_gpu, packed.tokens_per_s_per_gpu
    print(f"ep {ep:3}: {whole:6,.0f} tokens/s/GPU with whole groups in a rack,", end=" ")
    print(f"{torn:6,.0f} with racks filled to the last")

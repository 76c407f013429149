# %% [markdown]
# # The first rack in ten lines
#
# How fast does one NVL72 rack train a 70B model, and what binds? What is left out of the
# plan would be searched.

# %%
import rackmodel

result = rackmodel.simulate(
    "gb200-nvl72",
    model="llama3-70b",
    gpus=72,
    global_batch=288,
    seq_len=4096,
    plan={"tp": 4, "pp": 2, "vpp": 4, "micro_batch": 1},
)
print(f"step            {result.step_s:.2f} s ({result.step_s_low:.2f} - {result.step_s_high:.2f})")
print(f"tokens/s a GPU  {result.tokens_per_s_per_gpu:,.0f} at an MFU of {result.mfu:.0%}")
print(f"what binds      {result.bound_by}")
print(f"one rack emits  {result.assessment['racks'][0]['heat_w'] / 1e3:.0f} kW")

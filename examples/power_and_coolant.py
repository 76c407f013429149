# %% [markdown]
# # Power and coolant
#
# What a step asks of the hall: watts by part, coolant, joules and dollars a token.

# %%
import rackmodel

result = rackmodel.simulate(
    "gb200-nvl72",
    model="llama3-70b",
    gpus=576,
    global_batch=1152,
    seq_len=4096,
    plan={"tp": 4, "pp": 2, "vpp": 4, "micro_batch": 1},
)
facts = result.assessment
rack = facts["racks"][0]
print(f"{rack['heat_w'] / 1e3:.0f} kW a rack, {rack['liquid_w'] / rack['heat_w']:.0%} into liquid:")
for part, watts in sorted(rack["by_part_w"].items(), key=lambda entry: -entry[1])[:5]:
    print(f"  {part:12} {watts / 1e3:6.1f} kW")
loop = rack["coolant"]
print(f"coolant {loop['flow_lpm']:.0f} l/min, {loop['supply_c']:.0f} to {loop['return_c']:.0f} C")
print(f"{facts['energy_j_per_token']:.2f} J a token")
print(f"{facts['cost']['usd_per_mtoken']:.2f} USD a million tokens")

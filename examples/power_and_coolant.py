# %% [markdown]
# # Power, coolant and a power cap
#
# What a step asks of the hall: watts by part, coolant, joules and dollars a token, and what a cap
# of the accelerators' power leaves of them.

# %%
import rackmodel

job = {
    "model": "llama3-70b",
    "gpus": 576,
    "global_batch": 1152,
    "seq_len": 4096,
    "plan": {"tp": 4, "pp": 2, "vpp": 4, "micro_batch": 1},
}
result = rackmodel.simulate("gb200-nvl72", **job)
facts = result.assessment
rack = facts["racks"][0]
low, high = result.rack_kw_band
print(f"{result.rack_kw:.0f} kW a rack ({low:.0f} to {high:.0f} on 80% of measured machines),")
print(f"{rack['liquid_w'] / rack['heat_w']:.0%} of it into liquid:")
for part, watts in sorted(rack["by_part_w"].items(), key=lambda entry: -entry[1])[:5]:
    print(f"  {part:12} {watts / 1e3:6.1f} kW")
loop = rack["coolant"]
print(f"coolant {loop['flow_lpm']:.0f} l/min, {loop['supply_c']:.0f} to {loop['return_c']:.0f} C")
print(f"{facts['energy_j_per_token']:.2f} J a token")
print(f"{facts['cost']['usd_per_mtoken']:.2f} USD a million tokens")

# %% [markdown]
# Under a cap the clock falls: slower steps, more tokens for each megawatt that is provisioned.

# %%
for cap_w in (1200, 1000, 800):
    held = rackmodel.simulate("gb200-nvl72", **job, site={"power_cap_w": cap_w})
    print(
        f"{cap_w:5} W: {held.step_s:.2f} s a step, {held.rack_kw:.0f} kW a rack, "
        f"{held.tokens_per_s_per_mw:,.0f} tokens/s per MW"
    )

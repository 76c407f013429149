# %% [markdown]
# # The scale-up domain from 8 to 576
#
# The same accelerator in domains as they are sold: nodes of 8, racks of 72 in copper, larger ones
# with optics. The best plan of each is searched; what grows, and what it costs?

# %%
import rackmodel

found = rackmodel.domains(
    model="deepseek-v3",
    accelerator="gb200",
    gpus=1152,
    global_batch=4608,
    seq_len=4096,
    precision="fp8-mx",
    domains=(8, 72, 576),
)
for row in found["rows"]:
    print(
        f"domain {row['domain_accelerators']:3} ({row['medium']}): "
        f"{row['tokens_per_s_per_gpu']:6,.0f} tokens/s/GPU, "
        f"{row['heat_w_per_rack'] / 1e3:5.0f} kW a rack, {row['usd_per_mtoken']:.3f} $ a Mtoken"
    )
print(found["finding"])

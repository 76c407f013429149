# %% [markdown]
# # Serving: a rack against a node at the same users per accelerator
#
# A decode step reads the weights once, so users share the bytes. A closed loop of users is served
# on a node of 8 and on a rack of 72, each with its best plan.

# %%
import rackmodel

for machine, gpus in (("dgx-b200", 8), ("gb200-nvl72", 72)):
    for users in (4, 32):
        found = rackmodel.serve(
            machine, model="deepseek-v3", users=users * gpus, isl=1024, osl=1024, gpus=gpus
        )
        row = found.to_dict()
        print(
            f"{machine:12} {users:3} users/GPU: {row['tokens_per_s_per_user']:5.0f} tokens/s/user, "
            f"{row['tokens_per_s_per_gpu']:6,.0f} tokens/s/GPU, bound by {row['bound_by']}"
        )

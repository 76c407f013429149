# %% [markdown]
# # Your Megatron script
#
# What a launch file says is read, not run: model, plan, batch. The same job is then simulated on
# another machine, and the plan of a search is written back as arguments.

# %%
from pathlib import Path

import rackmodel

here = Path("examples") if Path("examples/runs.csv").exists() else Path("../examples")
read = rackmodel.read_launch(here / "train_gpt3_13b.sh")
words = {**read.words, "gpus": 64}
for machine in ("dgx-h100", "gb200-nvl72"):
    result = rackmodel.simulate(machine, **words, plan=read.plan)
    print(f"{machine:12} {result.step_s:.2f} s a step, MFU {result.mfu:.0%}")

# %% [markdown]
# Without the plan of the file the best one is searched; these are its arguments:

# %%
best = rackmodel.search("gb200-nvl72", **words, top=2)
print(rackmodel.emit(best.job, "megatron"))

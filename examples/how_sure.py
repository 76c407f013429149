# %% [markdown]
# # How sure is it?
#
# Every prediction carries a band for about 80% of real runs of its kind. The runs that ship with
# the package say whether that is kept: here a few of them are predicted again.

# %%
from pathlib import Path

import rackmodel

here = Path("examples") if Path("examples/runs.csv").exists() else Path("../examples")
runs = rackmodel.validate(here / "runs.csv")
for run in runs["rows"]:
    inside = run["step_s_low"] <= run["measured_step_s"] <= run["step_s_high"]
    print(
        f"{run['id']:24} measured {run['measured_step_s']:7.3f} s, predicted "
        f"{run['predicted_step_s']:7.3f} s ({run['error']:+.1%}), "
        f"{'inside' if inside else 'outside'} the band"
    )

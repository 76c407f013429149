"""Scale-up against scale-out: the same accelerator, and one thing varied at a time.

`python -m benchmarks.scale_up_vs_scale_out.study --out runs/study [--workers 2] [--quick]`

In:  the specs beside this file; `rackmodel.study.scale_up.point` turns a job into a row.
Out: a directory with one CSV per spec, pictures (PNG and SVG), answers.md.
Left out: verdicts on claims (`rackmodel claims`).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rackmodel.report.study import domain_plot, pareto, scaling
from rackmodel.report.style import save
from rackmodel.study.jobs import code_digest
from rackmodel.study.scale_up import FIELDS, point
from rackmodel.study.spec import read_spec
from rackmodel.study.sweep import progress_lines, sweep

if TYPE_CHECKING:
    import pandas as pd

HERE = Path(__file__).parent
FULL = ("domain", "nics", "fabric", "media", "machines", "hbm", "sequence")


def run(name: str, out: Path, workers: int) -> pd.DataFrame:
    """Run one spec, or what is left of it."""
    spec = read_spec(HERE / f"{name}.toml", FIELDS)
    progress = progress_lines() if sys.stderr.isatty() else None
    frame = sweep(spec, out / name, point, salt=code_digest(), workers=workers,
                  resume=(out / name).exists(), progress=progress)  # fmt: skip
    frame.to_csv(out / f"{name}.csv", index=False)
    return frame


def good(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of jobs that run."""
    return frame[frame["status"] == "done"]


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return good(frame).to_dict("records")


def draw(frames: Mapping[str, pd.DataFrame], out: Path) -> None:
    """Every picture of the study, as PNG and SVG."""
    for name, paint in PICTURES.items():
        if name.split("-")[0] not in frames:
            continue
        ax = paint(frames[name.split("-")[0]])
        for form in ("png", "svg"):
            save(ax.figure, out / f"{name}.{form}", form)


def _domain(frame: pd.DataFrame) -> Any:
    return domain_plot(rows(frame))


def _cost(frame: pd.DataFrame) -> Any:
    ax = scaling(rows(frame), x="domain", y="usd_per_mtoken", group="model",
                 title="What a larger domain costs")  # fmt: skip
    ax.set_xlabel("accelerators in one scale-up domain")
    ax.set_ylabel("dollars per token, % of the smallest domain")
    return ax


def _pareto(frame: pd.DataFrame) -> Any:
    found = good(frame)
    found = found[found["model"] == "deepseek-v3"]
    return pareto(found.assign(group="NVL" + found["domain"].astype(str)).to_dict("records"),
                  group="group")  # fmt: skip


def _nics(frame: pd.DataFrame) -> Any:
    found = good(frame)
    label = found["model"] + ", NVL" + found["domain"].astype(str)
    ax = scaling(found.assign(group=label).to_dict("records"), x="nic_gbps", group="group",
                 title="What faster NICs are worth beside a small and a large domain")  # fmt: skip
    ax.set_xlabel("scale-out rate of one accelerator [Gb/s]")
    ax.set_ylabel("tokens/s per accelerator, % of 200 Gb/s")
    return ax


def _machines(frame: pd.DataFrame) -> Any:
    found = good(frame)
    return scaling(found.assign(group="NVL" + found["domain"].astype(str)).to_dict("records"),
                   group="group", title="Weak scaling of DeepSeek-V3",
                   edges={"NVL576": 576}, relative=False)  # fmt: skip


PICTURES: dict[str, Callable[[Any], Any]] = {
    "domain": _domain,
    "domain-cost": _cost,
    "domain-pareto": _pareto,
    "nics": _nics,
    "machines": _machines,
    "quick": lambda frame: _domain(frame[frame["nic_gbps"] == 400]),
}


def answers(frames: Mapping[str, pd.DataFrame]) -> str:
    """What the study says, in words made of its figures."""
    lines = ["# Scale-up against scale-out", ""]
    table = good(frames["domain"]) if "domain" in frames else good(frames["quick"])
    if "nic_gbps" in table:
        table = table[table["nic_gbps"] == 400]
    lines += ["## Where does the domain stop paying?", ""]
    for model, part in table.groupby("model", sort=False):
        part = part.sort_values("domain")
        base = part.iloc[0]
        speed = part["tokens_per_s_per_gpu"] / base["tokens_per_s_per_gpu"] - 1
        cost = part["usd_per_mtoken"] / base["usd_per_mtoken"] - 1
        energy = part["energy_j_per_token"] / base["energy_j_per_token"] - 1
        cheapest = part.loc[part["usd_per_mtoken"].idxmin(), "domain"]
        cells = zip(part["domain"], speed, cost, energy, strict=True)
        lines.append(f"- {model}: " + "; ".join(
            f"{size}: {s:+.1%} tokens/s, {c:+.1%} $, {e:+.1%} J" for size, s, c, e in cells
        ) + f". Cheapest tokens: {cheapest}.")  # fmt: skip
    if "nics" in frames:
        lines += ["", "## What is a larger domain worth in NIC bandwidth?", ""]
        table = good(frames["nics"])
        for model, part in table.groupby("model", sort=False):
            for size, some in part.groupby("domain"):
                some = some.set_index("nic_gbps")["tokens_per_s_per_gpu"]
                lines.append(f"- {model}, domain {size}: " + ", ".join(
                    f"{rate:.0f} Gb/s {value / some[400] - 1:+.1%}"
                    for rate, value in some.items()))  # fmt: skip
    for name, columns in (("fabric", ["oversubscription", "routing"]), ("media", ["medium"]),
                          ("machines", ["gpus"]), ("hbm", ["hbm_bandwidth", "hbm_capacity"]),
                          ("sequence", ["seq_len"])):  # fmt: skip
        if name in frames:
            lines += ["", f"## {name}", ""]
            shown = ["model", "domain", *columns, "tokens_per_s_per_gpu", "usd_per_mtoken",
                     "energy_j_per_token", "status"]  # fmt: skip
            frame = frames[name]
            kept = frame[[column for column in shown if column in frame]]
            lines += ["```", kept.to_string(index=False), "```"]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Scale-up against scale-out.")
    parser.add_argument("--out", type=Path, default=Path("runs/scale_up_vs_scale_out"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="six points, under a minute")
    parser.add_argument("--only", nargs="*", choices=FULL, default=FULL)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    started_s = time.perf_counter()
    names = ("quick",) if options.quick else options.only
    frames = {name: run(name, options.out, options.workers) for name in names}
    draw(frames, options.out)
    text = answers(frames) if {"domain", "quick"} & set(frames) else ""
    (options.out / "answers.md").write_text(text, encoding="utf-8")
    print(text)
    print(f"{sum(map(len, frames.values()))} points in {time.perf_counter() - started_s:.0f} s; "
          f"tables and pictures in {options.out}")  # fmt: skip


if __name__ == "__main__":
    main()

"""Pictures of the study: scale-up against scale-out, one thing varied at a time.

In:  the study's frames by name; rows as `study.scale_up.point` makes them.
Out: (name, axes, caption) of every picture that the frames have data for.
Left out: running the study, answers in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rackmodel.reporting.steps import step_breakdown
from rackmodel.reporting.study import domain_plot, pareto, scaling
from rackmodel.reporting.style import COLOURS, dress, look, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Frames = Mapping[str, "pd.DataFrame"]
Make = Callable[[], "Axes"]
EDGES = {"domain of 8": 8, "domain of 72": 72, "domain of 576": 576}


def pictures(
    frames: Frames, size: tuple[float, float] = (7.0, 4.6)
) -> Iterator[tuple[str, Axes, str]]:
    """Yield (name, axes, caption) of each picture, on figures of `size` inches."""
    done = {
        name: frame[frame["status"] == "done"] if "status" in frame else frame
        for name, frame in frames.items()
    }
    for name, (source, paint, caption) in PICTURES.items():
        for one in (source, "quick") if source == "domain" else (source,):
            if one in done and len(done[one]):
                frame = done[one]
                if one == "quick":
                    frame = frame[frame["nic_gbps"] == 400]
                ax = new_figure(*size)[1][0]
                yield name, paint(frame, ax), caption
                break


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _named(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows with `line`: the model, where there are several, and the domain."""
    rows = _rows(frame)
    several = len({row["model"] for row in rows}) > 1
    for row in rows:
        model = f"{row['model']}, " if several else ""
        row["line"] = f"{model}domain {row['domain']}"
    return rows


def _domain(frame: pd.DataFrame, ax: Axes) -> Axes:
    return domain_plot(_rows(frame), ax)


def _cost(frame: pd.DataFrame, ax: Axes) -> Axes:
    ax = scaling(
        _rows(frame),
        ax,
        x="domain",
        y="usd_per_mtoken",
        group="model",
        title="What a larger domain costs",
    )
    ax.set_xlabel("accelerators in one scale-up domain")
    ax.set_ylabel("dollars per token, % of the smallest domain")
    return ax


def _energy(frame: pd.DataFrame, ax: Axes) -> Axes:
    ax = scaling(
        _rows(frame),
        ax,
        x="domain",
        y="energy_j_per_token",
        group="model",
        title="What energy a larger domain takes",
    )
    ax.set_xlabel("accelerators in one scale-up domain")
    ax.set_ylabel("joules per token, % of the smallest domain")
    return ax


def _pareto(frame: pd.DataFrame, ax: Axes) -> Axes:
    model = "deepseek-v3" if "deepseek-v3" in set(frame["model"]) else frame["model"].iloc[0]
    rows = _rows(frame[frame["model"] == model])
    for row in rows:
        row["size"] = f"NVL{row['domain']}"
    pareto(rows, ax, group="size")
    ax.set_title(f"Cost against energy, {model}", loc="left", fontsize=11, fontweight="bold")
    return ax


def _shares(frame: pd.DataFrame, ax: Axes) -> Axes:
    model = "deepseek-v3" if "deepseek-v3" in set(frame["model"]) else frame["model"].iloc[0]
    rows = []
    for row in _rows(frame[frame["model"] == model]):
        waits = {
            axis: row[f"{axis}_share"] * row["step_s"]
            for axis in ("tp", "cp", "ep", "pp", "dp", "bubble")
        }
        rest = row["step_s"] - sum(waits.values())
        rows.append(
            {**row, "label": f"NVL{row['domain']}", "breakdown_s": {"compute": rest, **waits}}
        )
    return step_breakdown(rows, ax, title=f"Where a step of {model} goes")


def _nics(frame: pd.DataFrame, ax: Axes) -> Axes:
    small = frame[frame["domain"].isin(sorted(frame["domain"].unique())[:2])]
    models = list(dict.fromkeys(small["model"]))
    wanted = [name for name in models if name in ("llama3.1-405b", "deepseek-v3", "gpt4-moe-1.8t")]
    ax = scaling(
        _named(small[small["model"].isin(wanted or models[:3])]),
        ax,
        x="nic_gbps",
        group="line",
        title="What faster NICs are worth",
    )
    ax.set_xlabel("scale-out rate of one accelerator [Gb/s, one way]")
    ax.set_ylabel("tokens/s per accelerator, % of 200 Gb/s")
    return ax


def _weak(frame: pd.DataFrame, ax: Axes) -> Axes:
    return scaling(_named(frame), ax, group="line", title="Weak scaling", edges=EDGES)


def _strong(frame: pd.DataFrame, ax: Axes) -> Axes:
    rows = _named(frame)
    ax = scaling(
        rows,
        ax,
        group="line",
        edges=EDGES,
        title="Strong scaling: the same batch on more accelerators",
    )
    return ax


def _sequence(frame: pd.DataFrame, ax: Axes) -> Axes:
    rows = [{**row, "tflops": row["mfu"] * 100} for row in _named(frame)]
    ax = scaling(
        rows, ax, x="seq_len", y="tflops", group="line", relative=False, title="Long sequences"
    )
    ax.set_xlabel("tokens in a sequence")
    ax.set_ylabel("MFU [%]")
    return ax


def _hbm(frame: pd.DataFrame, ax: Axes) -> Axes:
    rows = []
    for row in _rows(frame):
        for what, other in (("bandwidth", "capacity"), ("capacity", "bandwidth")):
            if row[f"hbm_{other}"] == 1:
                line = f"{row['model']}, {what}"
                rows.append({**row, "line": line, "times": row[f"hbm_{what}"]})
    base = {row["line"]: row["tokens_per_s_per_gpu"] for row in rows if row["times"] == 1}
    rows = [
        {**row, "share": 100 * row["tokens_per_s_per_gpu"] / base[row["line"]]}
        for row in rows
        if row["line"] in base
    ]
    ax = scaling(
        rows, ax, x="times", y="share", group="line", relative=False, title="What more HBM is worth"
    )
    ax.set_xlabel("HBM bandwidth or capacity, times that of GB200")
    ax.set_ylabel("tokens/s per accelerator, % of GB200")
    return ax


def doubling_bars(rows: Any, ax: Axes) -> Axes:
    """Draw what doubling the domain and doubling the NICs gain, side by side for every case.

    rows : each with `label`, `domain` and `nics`, gains as shares of tokens/s.
    """
    with look():
        for index, row in enumerate(rows):
            for shift, key, colour, hatch in (
                (-0.19, "domain", COLOURS[0], ""),
                (0.19, "nics", COLOURS[1], "//"),
            ):
                gain = 100 * row[key]
                ax.bar(
                    index + shift,
                    gain,
                    0.36,
                    color=colour,
                    hatch=hatch,
                    edgecolor="white",
                    label={"domain": "domain doubled", "nics": "NICs doubled, 400 to 800 Gb/s"}[key]
                    if index == 0
                    else None,
                )
                ax.annotate(
                    f"{gain:+.1f}",
                    (index + shift, max(gain, 0)),
                    xytext=(0, 2),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8,
                )
        ax.axhline(0, color=COLOURS[-1], linewidth=0.8)
        ax.set_xticks(range(len(rows)), [row["label"] for row in rows], fontsize=8.5)
        ax.tick_params(axis="x", length=0)
        ax.margins(y=0.2)
        ax.legend(loc="upper left", frameon=False)
        return dress(ax, title="Scale-up against scale-out", y="gain of tokens/s [%]")


PICTURES: dict[str, tuple[str, Callable[[Any, Any], Any], str]] = {
    "domain": (
        "domain",
        _domain,
        "Tokens/s per accelerator as only the scale-up domain grows; the same GB200, NICs "
        "and fabric, each point with its best plan.",
    ),
    "domain-steps": (
        "domain",
        _shares,
        "The same steps by what ranks wait for. Exposed traffic is what a larger "
        "domain can take away.",
    ),
    "domain-cost": (
        "domain",
        _cost,
        "Dollars per token, idle accelerators, switches and optics included.",
    ),
    "domain-energy": ("domain", _energy, "Joules per token, of all that stands in the racks."),
    "domain-pareto": ("domain", _pareto, "Dollars of a million tokens against joules of one."),
    "nics": ("nics", _nics, "The other remedy: faster NICs beside a small and a large domain."),
    "machines": (
        "machines",
        _weak,
        "The batch grows with the machine; dotted: the edges of domains of 8, 72, 576.",
    ),
    "strong": (
        "strong",
        _strong,
        "The batch stays; what is lost is bubbles, exposed gradients, small matrices.",
    ),
    "sequence": (
        "sequence",
        _sequence,
        "Tokens per step held, context parallelism from 32k tokens on.",
    ),
    "hbm": (
        "hbm",
        _hbm,
        "A line that ends early has no plan that fits; more bandwidth comes at equal watts.",
    ),
}

"""Pictures of the study: scale-up against scale-out, one thing varied at a time.

In:  the study's frames by name, rows as `argument.scale_up.point` makes them, with those that
     `argument.trade_offs.with_gains` adds; what each picture finds (`argument.titles`).
Out: (name, axes, caption) of every picture that the frames have data for.
Left out: running the study, answers in words.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from rackmodel.reporting.steps import step_breakdown
from rackmodel.reporting.study import ACROSS, mfu_heat_map, pareto, scaling
from rackmodel.reporting.style import COLOURS, dress, look, new_figure

Frames = Mapping[str, pd.DataFrame]
Row = dict[str, Any]
EDGES = {"domain of 8": 8, "domain of 72": 72, "domain of 576": 576}
LETTERS = 10.6  # of a title in an inch


def pictures(
    frames: Frames, titles: Mapping[str, str], size: tuple[float, float] = (7.0, 4.6)
) -> Iterator[tuple[str, Axes, str]]:
    """Yield (name, axes, caption) of each picture, on figures of `size` inches.

    titles : what each finds; a picture without one is not drawn, a line that is too long broken.
    """
    done = {
        name: frame[frame["status"] == "done"] if "status" in frame else frame
        for name, frame in frames.items()
    }
    for name, (source, paint, caption) in PICTURES.items():
        for one in (source, "quick") if source == "domain" else (source,):
            if name in titles and one in done and len(done[one]):
                frame = done[one]
                if one == "quick":
                    frame = frame[frame["nic_gbps"] == 400]
                ax = new_figure(*size)[1][0]
                title = _broken(titles[name], int(LETTERS * (size[0] - 0.6)))
                yield name, paint(frame, ax, title=title), caption
                break


def _broken(title: str, width: int) -> str:
    """Break a title into lines; a number, or what stands in brackets, stays with its word.

    >>> _broken("in domains of 8 deepseek-v3 +36%", 20)
    'in domains of 8\\ndeepseek-v3 +36%'
    """
    kept = re.sub(r"(?<!;) (?=[-+]?\d|\(|Gb/s)", "\N{NO-BREAK SPACE}", title)
    lines = textwrap.wrap(kept, width, break_on_hyphens=False, break_long_words=False)
    return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")


def _rows(frame: pd.DataFrame) -> list[Row]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _models(frame: pd.DataFrame) -> list[Row]:
    """Rows with `line`: the model."""
    return [{**row, "line": row["model"]} for row in _rows(frame)]


def _named(frame: pd.DataFrame) -> list[Row]:
    """Rows with `line`: the model, where there are several, and the domain."""
    rows = _rows(frame)
    several = len({row["model"] for row in rows}) > 1
    for row in rows:
        model = f"{row['model']}, " if several else ""
        row["line"] = f"{model}domain {row['domain']}"
        row["mfu_percent"] = row["mfu"] * 100
    return rows


def _nics(frame: pd.DataFrame) -> list[Row]:
    """The two smallest domains, and three models that say most."""
    small = frame[frame["domain"].isin(sorted(frame["domain"].unique())[:2])]
    models = list(dict.fromkeys(small["model"]))
    wanted = [name for name in models if name in ("llama3.1-405b", "deepseek-v3", "gpt4-moe-1.8t")]
    return _named(small[small["model"].isin(wanted or models[:3])])


def _hbm(frame: pd.DataFrame) -> list[Row]:
    """A line for bandwidth and one for capacity of each model, over the speed with GB200's own."""
    rows = []
    for row in _rows(frame):
        for what, other in (("bandwidth", "capacity"), ("capacity", "bandwidth")):
            if row[f"hbm_{other}"] == 1:
                line = f"{row['model']}, {what}"
                rows.append({**row, "line": line, "times": row[f"hbm_{what}"]})
    base = {row["line"]: row["tokens_per_s_per_gpu"] for row in rows if row["times"] == 1}
    return [
        {**row, "share": 100 * row["tokens_per_s_per_gpu"] / base[row["line"]]}
        for row in rows
        if row["line"] in base
    ]


def _lines(
    rows_of: Callable[[pd.DataFrame], list[Row]], frame: pd.DataFrame, ax: Axes, **words: Any
) -> Axes:
    return scaling(rows_of(frame), ax, group="line", **words)


def _one_model(frame: pd.DataFrame) -> list[Row]:
    """The rows of one model, each with the name of its machine."""
    model = "deepseek-v3" if "deepseek-v3" in set(frame["model"]) else frame["model"].iloc[0]
    rows = _rows(frame[frame["model"] == model])
    return [{**row, "label": f"NVL{row['domain']}"} for row in rows]


def _pareto(frame: pd.DataFrame, ax: Axes, *, title: str) -> Axes:
    pareto(_one_model(frame), ax, group="label")
    ax.set_title(title, loc="left", fontsize=11, fontweight="bold")
    return ax


def _shares(frame: pd.DataFrame, ax: Axes, *, title: str) -> Axes:
    rows = _one_model(frame)
    for row in rows:
        waits = {
            axis: row[f"{axis}_share"] * row["step_s"]
            for axis in ("tp", "cp", "ep", "pp", "dp", "bubble")
        }
        row["breakdown_s"] = {"compute": row["step_s"] - sum(waits.values()), **waits}
    return step_breakdown(rows, ax, title=title)


def _priced(frame: pd.DataFrame) -> list[Row]:
    """Rows of models with what a token costs at either end of the prices of their links."""
    names = [f"usd_per_mtoken_links_{end}" for end in ("low", "high")]
    return [{**row, "ends": tuple(row[name] for name in names)} for row in _models(frame)]


def _percents(frame: pd.DataFrame) -> list[Row]:
    """Rows of models in kilowatts and per cent."""
    return [
        {
            **row,
            "rack_kw": row["rack_heat_w"] / 1e3,
            "hbm_percent": 100 * row["hbm_bandwidth_utilisation"],
        }
        for row in _models(frame)
    ]


def _media(frame: pd.DataFrame, ax: Axes, *, title: str) -> Axes:
    """Bars: watts of an accelerator by medium and taper of the upper tier."""
    rows = _rows(frame)
    with look():
        for place, row in enumerate(rows):
            ax.bar(place, row["it_w_per_gpu"], 0.6, color=COLOURS[0])
            busy = f"{row['it_w_per_gpu']:,.0f} W\nHBM {row['hbm_bandwidth_utilisation']:.0%}"
            ax.annotate(busy, (place, row["it_w_per_gpu"]), ha="center", va="bottom", fontsize=8.5)
        names = [f"{row['medium']}\n{row['taper']:g}:1" for row in rows]
        ax.set_xticks(range(len(rows)), names)
        ax.set_ylim(0, ax.get_ylim()[1] * 1.15)
        return dress(ax, title=title, x="medium and taper", y="W per accelerator", grid="y")


def _gains(frame: pd.DataFrame) -> list[Row]:
    """Rows with `line`, `tokens` of an accelerator in a step or FLOP for a byte, and `gain`."""
    names = {
        "model": "line",
        "tokens an accelerator and step": "tokens",
        "FLOP per byte of the NICs": "flop_per_nic_byte",
        "gain [%]": "gain",
    }
    return _rows(frame.drop(columns="gain", errors="ignore").rename(columns=names))


def _generations(frame: pd.DataFrame) -> list[Row]:
    """`_gains`, each with its generation: A100 has the fewest FLOP for a byte, V100 is older."""
    return [{**row, "point": row["accelerator"]} for row in _gains(frame)]


def _far(frame: pd.DataFrame) -> list[Row]:
    """Rows by kilometres; one hall is none."""
    return [{**row, "km": row["distance_m"] / 1e3} for row in _named(frame)]


def _budget(frame: pd.DataFrame, ax: Axes, *, model: str, title: str) -> Axes:
    """A map of domains and NICs: tokens/s for the same money; the best is framed."""
    part = frame[frame["model"] == model]
    cells = _rows(part.assign(**{"gain": part["same money"] - 1.0, "Gb/s": part["Gb/s"].round()}))
    mfu_heat_map(cells, ax, x="Gb/s", y="domain", value="gain", title=title)
    ax.set_xlabel(ACROSS["nic_gbps"][0])
    ax.set_ylabel(ACROSS["domain"][0])
    return ax


PICTURES: dict[str, tuple[str, Callable[..., Axes], str]] = {
    "domain": (
        "domain",
        partial(_lines, _models, x="domain"),
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
        partial(
            _lines,
            _priced,
            x="domain",
            y="usd_per_mtoken",
        ),
        "Dollars per token, idle accelerators, switches and optics included; bars: links of the "
        "domain at their lowest and highest price.",
    ),
    "domain-energy": (
        "domain",
        partial(
            _lines,
            _models,
            x="domain",
            y="energy_j_per_token",
        ),
        "Joules per token, of all that stands in the racks.",
    ),
    "domain-heat": (
        "domain",
        partial(
            _lines,
            _percents,
            x="domain",
            y="rack_kw",
            relative=False,
        ),
        "Heat of the hottest rack in training; up to 16 accelerators two nodes make one rack.",
    ),
    "domain-hbm": (
        "domain",
        partial(
            _lines,
            _percents,
            x="domain",
            y="hbm_percent",
            relative=False,
        ),
        "Bytes that a step moves over those that the HBM could move in its time; operands that "
        "leave the L2 are read again.",
    ),
    "media": (
        "media",
        _media,
        "Domains of 576 on four media of the upper tier, and thinner ones: watts of all that "
        "stands in the racks, and how busy the HBM is.",
    ),
    "domain-pareto": ("domain", _pareto, "Dollars of a million tokens against joules of one."),
    "nics": (
        "nics",
        partial(_lines, _nics, x="nic_gbps"),
        "The other remedy: faster NICs beside a small and a large domain.",
    ),
    "strong": (
        "strong",
        partial(
            _lines,
            _named,
            edges=EDGES,
        ),
        "The batch stays; what is lost is bubbles, exposed gradients, small matrices.",
    ),
    "sequence": (
        "sequence",
        partial(
            _lines,
            _named,
            x="seq_len",
            y="mfu_percent",
            relative=False,
        ),
        "Tokens per step held, context parallelism from 32k tokens on.",
    ),
    "tokens": (
        "gains",
        partial(
            _lines,
            _gains,
            x="tokens",
            y="gain",
            relative=False,
        ),
        "What domains of 72 add to nodes of 8, by the tokens that an accelerator has in a step: "
        "the same 37.7 M on 2,304 to 73,728 accelerators.",
    ),
    "generations": (
        "generation_gains",
        partial(
            _lines,
            _generations,
            x="flop_per_nic_byte",
            y="gain",
            relative=False,
        ),
        "What a domain nine times as large adds, V100 to Rubin, by what the generation computes "
        "in the time that its NICs send a byte.",
    ),
    "distance": (
        "distance",
        partial(_lines, _far, x="km"),
        "Pods apart at the rate of one hall: only latency grows.",
    ),
    **{
        f"budget-{model}": (
            "same_money",
            partial(_budget, model=model),
            "Tokens/s for the same money, over nodes of 8 with 400 Gb/s; dearer machines have "
            "fewer accelerators. NICs' own price is not counted.",
        )
        for model in ("deepseek-v3", "llama3.1-405b")
    },
    "hbm": (
        "hbm",
        partial(
            _lines,
            _hbm,
            x="times",
            y="share",
            relative=False,
        ),
        "A line that ends early has no plan that fits; more bandwidth comes at equal watts.",
    ),
}

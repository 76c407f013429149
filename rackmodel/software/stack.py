"""What training software is and does: the name of a `stack` -> family, date, kernels, habits.

In:  a `stack` such as "megatron-bridge-26.04", "mpt" or "mlperf-v5.0-nvidia"; data/stacks.toml.
Out: `Software`: what the family had reached at that date, and what it does where a plan is silent.
Left out: anything that depends on a model, a size or a single run.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal

from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.software.constant_files import forget, kept, read_constants

UNKNOWN = "unknown"
RUN_YEARS = 1.5  # from the year of an accelerator to most published runs on it
_added: list[dict[str, Any]] = []  # families that a user registered


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """A family of training software at a date, from its documentation and default settings.

    `known` is False for software that no row describes: it has the kernels of the default at its
    date, and predictions are less certain. `prints` says what the memory figure in its logs counts:
    "allocated" (tensors at their peak), "reserved" (what the allocator holds, with what it can't
    reuse), or "device" (all of it, with context and communicators, as nvidia-smi shows).
    """

    stack: str
    family: str
    kind: str  # whose kernels it has
    date: float  # year with fraction
    known: bool
    attention_kernels: str  # their generation: a key of attention.efficiency in kernels.toml
    launch_s: float  # host time to launch one kernel
    factors: Mapping[str, float]  # kernel family -> time factor, 1 for the latest kernels
    fused_by_family: Mapping[str, float]  # odds by accelerator, where nobody knows: `fused_odds`
    # accelerator and format -> time of a matrix product, 1 for the latest libraries
    products: Mapping[str, Mapping[str, float]]

    # Dated habits of its kind: see the tables `habit.*`.
    sharding: str
    sharded_in_domains: bool
    sequence_parallel: bool
    tp_overlap: Literal["no", "yes", "faster"]
    dp_overlap: bool
    ep_overlap: Literal["no", "between domains", "yes"]
    fused_dispatch: Sequence[str]
    graphs: Sequence[str]
    graphs_experts: Sequence[str]
    pipelines: bool
    accumulates: bool
    batch_a_stage: bool
    expert_groups: bool
    offload: Literal["first", "last", "no"]
    scattered_sends: bool
    fp16_gradients: bool
    adds_gradients: bool
    cp_method: str
    cp_blocks: bool
    merge_bytes: float
    sorts_chunks: bool
    einsum_dispatch: bool
    remat_by_tensor: bool
    loss_in_place: bool
    keeps_sent: bool
    separate_products: bool
    narrow_gathers: bool
    experts_over_tp: bool
    vocab_multiple: int

    # Habits of its family.
    gradients: str = "fp32"  # accumulation and reduction
    gradient_copy_bytes: float = 0.0  # per parameter, kept beside those gradients
    master_bytes: int = 4  # fp32 master weights; 0 where the optimizer works on what is stored
    shard_bytes: int = 4  # a sharded weight under zero3 (it is the master)
    moment_share: float = 1.0  # of the optimizer's fp32 state: 0.5 where it is kept in two bytes
    # What an update of several kernels reads and writes for a parameter, in elements of a moment;
    # 0: one kernel, each of its operands once.
    update_elements: float = 0.0
    shard_gradient_bytes: float = 0.0  # per updated parameter: gradients copied for the update
    allocator_slack: float = 0.03  # of activations and buffers: blocks that don't fit together
    fixed_bytes: float = 0.7e9  # context of the driver, loaded kernels, workspaces (assumed)
    communicator_bytes: float = (
        0.69e9  # buffers of a group of ranks: see the table's `communicators`
    )
    exchange_bytes: float = 0.47e9  # and of a peer in it, where all ranks send to all
    bucket_bytes: float = 0.0  # communication buffers that are always there
    recompute: str = ""  # of its recipes, where a run does not say; "": the least that fits
    # What "selective" recompute means here: modules, or "layers": every second layer as a whole.
    selective: tuple[str, ...] = ("core_attn",)
    logit_bytes: float = 6.0  # kept per logit: bf16 logits, fp32 softmax
    head_in_chunks: bool = True  # of a loss in chunks; False: logits are whole, the loss is not
    narrow_activation_input: bool = False  # fp8 training keeps the input of GELU or SwiGLU in fp8
    # zero1's shards are whole tensors: gradients are summed whole, and after the update each owner
    # broadcasts what it has, one after the other.
    whole_tensors: bool = False
    recipes_overlap: bool = False  # recipes turn on overlaps of tp and ep, off in libraries
    fused_mxfp8: bool = False  # recipes capture mixtures in MXFP8 whole: see `Job.fused_mxfp8`
    drops: bool = False  # dropout of GPT-like models, unless told
    composed: bool = False  # steps are sums of profiles: nothing is lost between kernels
    recipes_mtp: bool = False  # recipes train the MTP layer of models that have one
    copies_carried: bool = False  # loops over layers copy what is gathered or reduced beside them
    gathered_share: float = 1.0  # of a sharded layer: what is whole at one time under zero3
    both_ways: bool = False  # overlapped products take a shard from each neighbour at a time
    early_stop: bool = False  # recompute ends with the last tensor that the backward pass reads
    prints: Literal["allocated", "reserved", "device"] = "device"

    @property
    def attention(self) -> str:
        """Return "fused", or "unfused" where scores go through HBM."""
        return "unfused" if self.attention_kernels == "unfused" else "fused"

    def fused_odds(self, accelerator_family: str) -> float:
        """Return the odds that fused kernels take tokens to experts, where a job doesn't say.

        1 or 0 of software whose habits are known; between of others.
        """
        if accelerator_family in self.fused_dispatch:
            return 1.0
        return self.fused_by_family.get(accelerator_family, 0.0)

    def captures_graphs(self, accelerator_family: str, experts: bool) -> bool:
        """Return whether launches are captured in CUDA graphs, where a job doesn't say."""
        on = self.graphs_experts if experts else self.graphs
        return "all" in on or accelerator_family in on

    def recipes_hide_tp(self, tp: int, sequence_parallel: bool) -> bool:
        """Return whether recipes hide collectives of tp in products, where a plan is silent."""
        return self.recipes_overlap and self.tp_overlap == "yes" and tp > 1 and sequence_parallel

    def hides_ep_above(self, domain: int) -> float:
        """Return the ep above which an interleaved pipeline hides all-to-alls; inf: at no ep.

        domain : accelerators of a scale-up domain.
        """
        return {"no": math.inf, "between domains": max(1, domain), "yes": 1}[self.ep_overlap]

    def recipes_hide_ep_above(self, domain: int) -> float:
        """As `hides_ep_above`, where a plan is silent: inf without recipes that turn it on."""
        return self.hides_ep_above(domain) if self.recipes_overlap else math.inf


@kept
def software_of(stack: str) -> Software:
    """Return the software that a stack names.

    Raises
    ------
    UnknownName
        If no family has that name, with how to say that the software is unknown.

    Examples
    --------
    >>> software_of("Megatron-Bridge-26.04").family, software_of("default").attention_kernels
    ('nemo', 'flash4')
    >>> software_of("unknown-2024-06").known
    False
    """
    row = _row_of(_words(stack) or ("default",))
    if row is None:
        names = [alias for row in _families() for alias in row["aliases"]]
        unknown = UnknownName.among("stack", stack, names)
        raise UnknownName(
            f"{unknown}; `rackmodel list stacks` has them all; for other software of a date say "
            f"stack {UNKNOWN}-2024-06"
        )
    table = stack_table()
    date = _date_in(stack.lower()) or float(row["date"])
    kind = row["kind"]

    def of_kind(section: Mapping[str, Any]) -> Any:
        return next(section[key] for key in (kind, kind.split("-")[0], "other") if key in section)

    def aged(law: Mapping[str, float]) -> float:
        years = max(0.0, float(table["default"]["date"]) - date)
        return float(law["latest"] * law["per_year"] ** years)

    def at_date(points: Sequence[Sequence[Any]]) -> Any:
        return next((v for since, v in reversed(points) if since <= date), points[0][1])

    own = dict(row)
    for older in reversed(row.get("until", [])):
        own |= {k: v for k, v in older.items() if k != "date"} if date < older["date"] else {}
    known = not row["name"].startswith(UNKNOWN)
    habits = {field.name for field in fields(Software)} - {"kind", "date"}
    own = {k: tuple(v) if isinstance(v, list) else v for k, v in own.items() if k in habits}
    return Software(
        stack=stack,
        family=row["name"],
        kind=kind,
        date=date,
        known=known,
        attention_kernels=at_date(of_kind(table["attention"])),
        launch_s=aged(of_kind(table["launch_s"])),
        factors={k: aged(of_kind(v)) for k, v in table["factor"].items()},
        fused_by_family={
            part: interpolate(points, date)
            for part, points in ({} if known else of_kind(table["fused_odds"])).items()
        },
        products={
            part: {form: interpolate(points, date) for form, points in by_form.items()}
            for part, by_form in table["products"].items()
        },
        **({name: at_date(of_kind(section)) for name, section in table["habit"].items()} | own),
    )


def _usual_date(year: int | None) -> float | None:
    """Return the date of most published runs on accelerators of a year; None: not known."""
    return min(year + RUN_YEARS, float(stack_table()["default"]["date"])) if year else None


def dated(stack: str, year: int | None) -> str:
    """Return known software with the date that it has on accelerators of a year.

    No software is older than what it runs on: a name that tells no date is of the later of its
    family's and `RUN_YEARS` after the accelerator.

    >>> dated("torchtitan", 2022), dated("torchtitan", 2024), dated("torchtitan-2024-12", 2024)
    ('torchtitan', 'torchtitan-2025-07', 'torchtitan-2024-12')
    """
    date = _usual_date(year)
    if not date or _date_in(stack.lower()) or software_of(stack).date >= date:
        return stack
    return f"{stack}-{month(date)}"


def stack_or_unknown(
    stack: str, *, family: str = "", year: int | None = None, sharded: bool = False
) -> str:
    """Return a stack as it is if it is known, else unknown software of its accelerator and date.

    Known software is `dated`.

    Parameters
    ----------
    family, year : of the accelerators; unknown software without a date is of `RUN_YEARS` after
        them.
    sharded : gradients or weights are sharded over replicas, as under FSDP and DeepSpeed; software
        of Megatron's kind has no such plans, pipelined or not.

    >>> stack_or_unknown("torchtitan"), stack_or_unknown("somebodys-24.05")
    ('torchtitan', 'unknown-2024-05')
    >>> stack_or_unknown("somebodys", family="tpu", year=2023)
    'unknown-xla-2024-07'
    """
    if _row_of(_words(stack) or ("default",)) is not None:
        return dated(stack, year)
    on, date = stack_table()["unknown_on"], _date_in(stack.lower()) or _usual_date(year)
    kind = next((kind for part, kind in on.items() if family.startswith(part)), "")
    words = [UNKNOWN, kind or ("fsdp" if sharded else ""), month(date) if date else ""]
    return "-".join(word for word in words if word)


def month(date: float) -> str:
    """Return a year with fraction as people write it.

    >>> month(2024.45)
    '2024-06'
    """
    return f"{int(date)}-{int(12 * (date % 1)) + 1:02d}"


def register(
    name: str, *, aliases: Sequence[str], kind: str = "", like: str = "", **habits: Any
) -> None:
    """Add a family of software to the table, for this process.

    Parameters
    ----------
    name, aliases : as a stack names it. kind : whose kernels it has: a kind of
        `rackmodel list stacks`. like : a family whose row it begins with, in place of kind.
    habits : `date` (year with fraction), and habits by the names of `Software`'s fields.

    Raises
    ------
    InvalidInput, UnknownName
        If there is such a family, or no such kind, family or habit.
    """
    rows = {row["name"]: row for row in _families()}
    own = {field.name for field in fields(Software) if field.default is not MISSING}
    if name in rows:
        raise InvalidInput(f"there is software {name!r} already; give yours another name")
    if not like and kind not in (kinds := {row["kind"] for row in rows.values()}):
        raise UnknownName.among("kind of software", kind, kinds)
    if like and like not in rows:
        raise UnknownName.among("software", like, rows)
    for habit in habits:
        if habit not in own | {"date", "until"}:
            raise UnknownName.among("habit of software", habit, own | {"date", "until"})
    row = {"name": name, "aliases": list(aliases), **habits}
    _added.append(row | ({"kind": kind} if kind else {}) | ({"like": like} if like else {}))
    forget()


def families() -> list[dict[str, Any]]:
    """Return the families with kind, date and aliases, in the order of the table."""
    return [
        {
            "name": row["name"],
            "kind": row["kind"],
            "date": month(row["date"]),
            "aliases": ", ".join(row["aliases"]),
        }
        for row in _families()
    ]


@kept
def stack_table() -> dict[str, Any]:
    """Return data/stacks.toml as a dictionary."""
    return read_constants("stacks.toml")


@kept
def _families() -> list[dict[str, Any]]:
    """Return the rows of families, each with what it takes from the one that it is `like`."""
    table, rows = stack_table(), dict[str, dict[str, Any]]()
    for own in [*table["family"], *_added]:
        first = {k: v for k, v in rows.get(own.get("like", ""), {}).items() if k != "aliases"}
        rows[own["name"]] = {"date": table["default"]["date"], **first, **own}
    return list(rows.values())


def interpolate(points: Sequence[Sequence[float]], date: float) -> float:
    """Follow straight lines through (date, value) points, flat beyond both ends.

    >>> interpolate([[2020.0, 2.0], [2024.0, 1.0]], 2022.0)
    1.5
    """
    if date <= points[0][0]:
        return float(points[0][1])
    for (d0, v0), (d1, v1) in itertools.pairwise(points):
        if date <= d1:
            return float(v0 + (v1 - v0) * (date - d0) / (d1 - d0))
    return float(points[-1][1])


def _words(stack: str) -> tuple[str, ...]:
    """Return the words of a name without its versions and dates."""
    words = re.split(r"[^a-z0-9.]+", stack.strip().lower())
    return tuple(w for w in words if w and not re.fullmatch(r"v?[0-9]+(\.[0-9]+)*", w))


def _stands_in(alias: Sequence[str], words: Sequence[str]) -> bool:
    """Return whether an alias stands in a name; a word may go on with a version ("nemo2407")."""

    def begins(word: str, with_: str) -> bool:
        rest = word.removeprefix(with_) if word.startswith(with_) else None
        return rest is not None and (not rest or rest[0].isdecimal() or with_[-1].isdecimal())

    places = range(len(words) - len(alias) + 1)
    return any(all(map(begins, words[i : i + len(alias)], alias)) for i in places)


def _row_of(words: tuple[str, ...]) -> dict[str, Any] | None:
    """Return the row of the family whose longest alias stands in a name."""

    def matches() -> Iterator[tuple[int, int, dict[str, Any]]]:
        for row in _families():
            for alias in row["aliases"]:
                parts = alias.split("-")
                if _stands_in(parts, words):
                    yield len(parts), len(alias), row

    return max(matches(), key=lambda match: match[:2], default=(0, 0, None))[2]


def _date_in(name: str) -> float | None:
    """Read the date that a name itself carries: an MLPerf round, 26.04, 2407, 2024-12, 202412."""
    found = re.search(r"mlperf-v([0-9]+\.[0-9]+)", name)
    if found:
        round_ = found.group(1)  # two rounds a year since v3.0 in mid 2023
        return float(stack_table()["mlperf_rounds"].get(round_, 2020.45 + float(round_)))
    for pattern in (
        r"(?<![0-9])20([12][0-9])[-._]?(0[1-9]|1[0-2])(?![0-9])",
        r"(?<![0-9.])([12][0-9])\.(0[1-9]|1[0-2])(?![0-9])",
        r"(?<![0-9])([12][0-9])(0[1-9]|1[0-2])(?![0-9])",
    ):
        found = re.search(pattern, name)
        if found:
            return 2000.0 + int(found.group(1)) + (int(found.group(2)) - 0.5) / 12.0
    found = re.search(r"(?<![0-9])(20[12][0-9])(?![0-9])", name)
    return float(found.group(1)) + 0.5 if found else None

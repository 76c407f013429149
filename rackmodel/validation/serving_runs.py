"""Published serving runs as jobs: what the columns of a table of runs mean.

In:  rows of a table with the columns of a serving run.
Out: `Case`: the job that a row describes, and how it was measured.
Left out: predictions (`serving_errors`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, cast

from rackmodel.errors import InvalidInput
from rackmodel.serving.steady import Rounds
from rackmodel.validation.recipes import recipe_of
from rackmodel.workload import Model, load_model, model_from_columns
from rackmodel.workload.attention_kinds import Indexer, Mla
from rackmodel.workload.serving.job import (
    ROUTING_SKEW,
    ServingJob,
    Worker,
    check_serving,
)

MARKS = {"isl", "osl", "tpot_ms"}  # columns that tell a table of serving runs
_PREFILL = re.compile(r"prefill (\d+) worker\(s\) of tp(\d+) ep(\d+) dp-attention (\d)")
_MLA = re.compile(r"q_lora (\d+), kv_lora (\d+), qk (\d+)\+(\d+), v (\d+)")
_INPUTS = re.compile(r"inputs up to ([\d,]+)")
_REDUNDANT = re.compile(r"(\d+) redundant experts")
_BALANCED = re.compile(r"balanced experts|(^|; )(simulated )?perfect expert balance")
_STATED = re.compile(r"mtp (\d+)")
_ACCEPTED = re.compile(r"acceptance (\d+)%")
_OFFLOADED = re.compile(r"weights offloaded")
_CACHED = re.compile(r"([\d.]+)% cache hits")
# How often a drafted token of DeepSeek's is right where unstated, by tokens drafted in a step: so
# that one, two and three give 1.79, 2.21 and 2.47 tokens a step, the middle of what is published:
# 1.76 to 1.82 (vLLM, pull request 12755), 2.18 to 2.25, 2.44 (LMSYS, 2025-07-17) to 2.50
# (InferenceX, pull request 649). Later ones are right less often.
ACCEPTED = {1: 0.79, 2: 0.71, 3: 0.683}
DRAFTED = 3  # tokens in a step, where unstated
# Weights of fp8 are scaled in blocks of 128 (DeepSeek-V3, section 3.3), as wide as kernels' tiles;
# parts of less than one do not load (vLLM, issue 52997). A table that says so means whole experts.
NARROWEST = 128
CHUNK = 8192  # most tokens of prompts in a step, where unstated
# Wide groups keep copies of busy experts. Source: DeepSeek open-infra-index, day 6: 32 of 256.
WIDE_EP, REDUNDANT = 32, 32
INPUT_SHARE = 0.3  # mean over longest prompt, where only the longest is stated (assumed)
# Tokens of a prompt where only its data set is named, and where nothing is said (all assumed):
# questions; articles of some 3,000 words.
DATA_ISL = {"OpenOrca": 300.0, "summarisation": 4000.0}
ISL = 1000.0
SPREAD = "0.8-1.0 of"  # lengths are uniform between 0.8 and 1.0 of the nominal ones, else all alike
ROUNDS = 10  # requests of a user in a closed loop, where unstated
# Weights said to be offloaded are those of every second layer's experts: --offload-group-size 2,
# --offload-num-in-group 1. Source: ai-dynamo/dynamo, sglang examples for GB200, prompts in fp4.
OFFLOADED = 0.5
PREFILL_TOKENS = 16_384  # a rank, where a prefill phase does not say

PHASES = ("decode", "prefill")
Kind = Literal["loop", "rate", "full", "decode", "prefill"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One published run.

    kind : "loop", a closed loop of users; "rate", an open one, whose users follow from its rate;
    "full", as many as fit; "decode", "prefill", a phase alone. open_plan : the plan is not stated,
    but for the fields of workers in fixed; apart : prompts run on workers of their own.
    sequences : of a decode worker, 0 for as many as fit. rounds : of users who set out together, in
    a closed loop.
    """

    job: ServingJob
    kind: Kind
    open_plan: bool = False
    apart: bool = False
    fixed: Mapping[str, Any] = field(default_factory=dict)
    sequences: float = 0.0
    rounds: Rounds | None = None


def number(row: Mapping[str, Any], name: str, default: float = math.nan) -> float:
    """Return the number in a cell, or what stands for an empty one."""
    value = row.get(name)
    if value is None or value == "":
        return default
    try:
        found = float(value)
    except ValueError:
        raise InvalidInput(f"{name}: expected a number, found {value!r:.40}") from None
    return default if math.isnan(found) else found


def text(row: Mapping[str, Any], name: str) -> str:
    """Return the words in a cell, "" where it is empty."""
    value = row.get(name)
    return "" if value is None or value != value else str(value)


def model_of(row: Mapping[str, Any]) -> Model:
    """Return the model of a row: of the catalog, or of the shape in its columns."""
    name = text(row, "catalog_model")
    if name:
        return load_model(name)
    words = text(row, "attention")
    if not number(row, "layers", 0):
        raise InvalidInput("the model has neither a catalog_model nor layers; give one")
    if "gated delta net" in words and number(row, "layers") == 60:
        return load_model("qwen3.5-397b-a17b")
    model = model_from_columns({**row, "gated_ffn": 1, "attention_window": ""})
    if found := _MLA.search(words):
        q, kv, nope, rope, v = map(int, found.groups())
        mla = Mla(q_lora=q, kv_lora=kv, qk_nope=nope, qk_rope=rope, v_dim=v)
        model = replace(model, mla=mla)
        if "sparse" in words:  # DeepSeek-V3.2's indexer, half the heads (config.json of GLM-5)
            indexer = Indexer(heads=32, head_dim=128, topk=2048)
            model = replace(model, index=indexer, mixers="I")
    return model


def formats_of(row: Mapping[str, Any], model: Model) -> tuple[str, str]:
    """Return the formats of weights and of KV.

    Weights that are not stated are those that the model is published in. KV that is not stated:
    fp8 beside fp4 weights and in TensorRT-LLM's checkpoints of fp8, else bf16.
    """
    stated = text(row, "weights_precision") or model.published_format or "bf16"
    weights = stated
    if stated == "fp4":
        weights = "mxfp4" if model.published_format == "mxfp4" else "nvfp4"
    narrow = stated == "fp8" and "tensorrt-llm" in text(row, "software")
    kv = "fp8" if narrow or (stated == "fp4" and model.mla is None) else "bf16"
    return weights, text(row, "kv_precision") or kv


def lengths_of(row: Mapping[str, Any]) -> tuple[int, int]:
    """Return the mean tokens of prompts and answers."""
    notes, isl, osl = text(row, "notes"), number(row, "isl"), number(row, "osl")
    share = 0.9 if SPREAD in notes else 1.0
    mode = text(row, "mode")
    if math.isnan(isl) and (found := _INPUTS.search(notes)):
        isl, share = INPUT_SHARE * float(found[1].replace(",", "")), 1.0
    if math.isnan(isl) and mode in ("offline", "aggregated", "disaggregated"):
        isl, share = next((n for word, n in DATA_ISL.items() if word in notes), ISL), 1.0
    if mode in ("decode", "prefill"):
        isl = 2000.0 if math.isnan(isl) else isl
        osl = 1.0 if math.isnan(osl) else osl
    for name, value in (("isl", isl), ("osl", osl)):
        if math.isnan(value):
            raise InvalidInput(f"{name} is empty; give it")
    return max(1, round(isl * share)), max(1, round(osl * share))


def worker_of(row: Mapping[str, Any], model: Model) -> Worker | None:
    """Return the worker of a row; None where its plan is not stated."""
    spread = number(row, "dp_attention", 0) > 0
    ep, tp = number(row, "ep"), number(row, "tp")
    if math.isnan(tp) and (math.isnan(ep) or ep <= 1):
        return None
    ep = 1.0 if math.isnan(ep) or not model.experts else ep
    if math.isnan(tp):
        tp, spread = ep, spread or ep >= WIDE_EP
    if ep > tp:  # large groups are printed with the attention of one rank
        tp, spread = ep, True
    if spread and model.experts and model.moe_ffn * ep / tp < NARROWEST:
        ep = tp
    return Worker(
        tp=int(tp),
        pp=int(number(row, "pp", 1.0)),
        ep=int(ep),
        dp_attention=spread and tp > 1,
        weights_offload=OFFLOADED if _OFFLOADED.search(text(row, "notes")) else 0.0,
    )


def load_of(row: Mapping[str, Any], mode: str, gpus: float) -> tuple[Kind, float]:
    """Return how a run was loaded, and by how many requests; NaN where as many as fit."""
    users = number(row, "concurrency")
    tokens, tpot = number(row, "tokens_per_s_per_gpu"), number(row, "tpot_ms")
    running = tokens * gpus * tpot / 1e3  # by Little's law
    if mode in PHASES:
        running = running if mode == "decode" else users
        return cast(Kind, mode), running if math.isnan(users) else users
    if not math.isnan(users):
        return "loop", users
    if mode != "offline" and not math.isnan(running):
        return "rate", max(1.0, running)
    return "full", users


def copies_of(notes: str, worker: Worker | None, model: Model) -> int:
    """Return the copies of busy experts that a run is said, or by its width known, to have."""
    if not model.experts:
        return 0
    said = _REDUNDANT.search(notes)
    copies = int(said[1]) if said else 0
    if worker is not None and worker.dp_attention and worker.ep >= WIDE_EP:
        copies = max(copies or REDUNDANT, worker.ep - model.experts)
    return copies


def _rounds(notes: str, number: int) -> Rounds:
    return Rounds(number=number, spread=1.0 / 9.0 if SPREAD in notes else 0.0)


def cached_of(notes: str) -> float:
    """Return the share of prompts' tokens that a run found cached."""
    found = _CACHED.search(notes)
    return float(found[1]) / 100.0 if found else 0.0


def _chunk(said: int | str, isl: float) -> int:
    """Return the most tokens of prompts in a step; said : a number, or "prompt" for one prompt."""
    return round(isl) if said == "prompt" else int(said)


def accepted(tokens: int) -> float:
    """Return how often a drafted token is right, where so many in a step are drafted (at least 1).

    >>> [round(sum(accepted(n) ** i for i in range(n + 1)), 2) for n in (1, 2, 3)]
    [1.79, 2.21, 2.47]
    """
    return ACCEPTED[min(max(1, tokens), max(ACCEPTED))]


def drafts_of(mtp: str, notes: str, model: Model, unstated: int = DRAFTED) -> tuple[int, float]:
    """Return the tokens that a run drafts in a step, and how often one is right.

    Where only acceptance is stated a draft is what the model was trained to make: one token.
    unstated : tokens where nothing is said.
    """
    if mtp.startswith("draft"):
        raise InvalidInput(
            "drafts have to come from the model itself (mtp): those of another are not predicted"
        )
    stated, right = (found.search(f"{mtp}; {notes}") for found in (_STATED, _ACCEPTED))
    tokens = int(stated[1]) if stated else (model.mtp_layers if right else unstated)
    acceptance = float(right[1]) / 100.0 if right else accepted(tokens)
    if not mtp.startswith(("mtp", "simulated")) or not model.mtp_layers:
        return 0, acceptance
    return tokens, acceptance


def case_of(row: Mapping[str, Any]) -> Case:
    """Return what a row describes.

    Raises
    ------
    InvalidInput, InvalidPlan, UnknownName
        If it describes no job.
    """
    model, mode = model_of(row), text(row, "mode")
    weights, kv = formats_of(row, model)
    said = recipe_of({name: text(row, name) for name in row}, number(row, "concurrency"))
    worker = worker_of(row, model)
    gpus = number(row, "gpus")
    if math.isnan(gpus):
        if worker is None:
            raise InvalidInput("gpus is empty; give it")
        gpus = worker.gpus
    elif worker is not None and worker.tp > gpus and worker.tp % gpus == 0:
        # ranks of it are parts of accelerators
        worker = replace(worker, tp=int(gpus), ep=min(worker.ep, int(gpus)))
    prefill, prefill_gpus, notes = None, 0, text(row, "notes")
    if mode == "disaggregated":
        found = _PREFILL.search(notes)
        prefill_gpus = int(number(row, "prefill_gpus", 0))
        if found is not None:
            _, tp, ep, spread = map(int, found.groups())
            prefill = Worker(tp=tp, ep=ep, dp_attention=spread > 0 and tp > 1)
    isl, osl = lengths_of(row)
    kind, users = load_of(row, mode, worker.gpus if worker and mode in PHASES else gpus)
    if worker is not None and kind in PHASES:
        gpus = worker.gpus
    drafted, acceptance = drafts_of(text(row, "mtp"), notes, model, said.get("drafts", DRAFTED))
    drafted = drafted if osl > 3 or mode in PHASES else 0
    job = ServingJob(
        model=model,
        worker=worker or Worker(),
        gpus=int(gpus),
        users=1 if math.isnan(users) else max(1, int(users)),
        isl=isl,
        osl=max(osl, drafted + 1),
        weights=weights,
        kv=text(row, "kv_precision") or said.get("kv", kv),
        chunk=_chunk(said.get("chunk", CHUNK), number(row, "isl")),
        admit_every=said.get("admit_every", 1),
        cached=cached_of(notes),
        stack=text(row, "software") or "default",
        prefill=prefill,
        prefill_gpus=prefill_gpus,
        mtp=drafted,
        acceptance=acceptance,
        two_batch="; two-batch overlap" in notes and worker is not None and worker.dp_attention,
        redundant_experts=copies_of(notes, worker, model),
        routing_skew=0.0 if _BALANCED.search(notes) else ROUTING_SKEW,
    )
    opened = worker is None or (mode == "disaggregated" and prefill is None)
    if not opened:
        check_serving(job)
    sequences = 0.0 if math.isnan(users) else users * job.worker.gpus / gpus
    return Case(
        job=job,
        kind=kind,
        open_plan=opened,
        apart=mode == "disaggregated",
        fixed={} if worker is None else asdict(worker),
        sequences=sequences,
        rounds=_rounds(notes, said.get("rounds", ROUNDS)) if kind == "loop" else None,
    )

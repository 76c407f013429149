"""Layers of pipeline stages as Megatron says them, and back.

In:  flat keys: a layout (`Et*3|(tt|)*29m|L`), layers of the first and last rank, ends that count.
Out: `stage_layers` of a plan; the layout of one.
Left out: stages that hold different counts on ranks of one stage, which Megatron doesn't know.

Source: Megatron-LM, megatron/core/transformer/pipeline_parallel_layer_layout.py and
transformer_block.py, get_num_layers_to_build.
"""

from __future__ import annotations

import re

from rackmodel.workload.job import Job
from rackmodel.workload.launch.words import Flat
from rackmodel.workload.stages import places_mtp

_LETTERS = {"embedding": "E", "decoder": "t", "mtp": "m", "loss": "L"}
_REPEATED = re.compile(r"(\([^()]*\)|[EtmL])\*(\d{1,4})")
_MOST = 10_000


def stages_said(keys: Flat, layers: int | None, pp: int, vpp: int) -> tuple[int, list[int]]:
    """Return chunks a rank and layers of each stage, none where the keys leave them even."""
    layout = keys.get("pipeline_model_parallel_layout")
    if layout is not None and pp > 1:
        return _of_layout(keys, layout, pp)
    return vpp, _of_ends(keys, layers, pp, vpp)


def _of_layout(keys: Flat, layout: object, pp: int) -> tuple[int, list[int]]:
    """Layers of each stage of a layout; MTP layers count where they stand before the loss."""
    if isinstance(layout, list) and all(isinstance(one, list) for one in layout):
        text = "|".join("".join(_LETTERS.get(str(w), "?") for w in stage) for stage in layout)
    else:
        text = re.sub(r"[\s,]", "", str(layout))
    for _ in range(8):
        text = _REPEATED.sub(lambda m: m[1].strip("()") * int(m[2]), text)
        if len(text) > _MOST or "*" not in text:
            break
    stages = text.split("|")
    if len(text) > _MOST or not re.fullmatch(r"[EtmL|]+", text) or len(stages) % pp:
        keys.refuse(
            f"pipeline_model_parallel_layout {str(layout)!r:.60} is not read: it has to spell"
            f" a multiple of {pp} stages of E, t, m and L"
        )
    own = "m" in text and "m" not in stages[-1]
    return len(stages) // pp, [one.count("t") + own * one.count("m") for one in stages]


def _of_ends(keys: Flat, layers: int | None, pp: int, vpp: int) -> list[int]:
    """Layers of each stage where the first and the last have another number."""
    first = keys.whole("decoder_first_pipeline_num_layers", "num_layers_in_first_pipeline_stage")
    last = keys.whole("decoder_last_pipeline_num_layers", "num_layers_in_last_pipeline_stage")
    embedding = keys.flag("account_for_embedding_in_pipeline_split")
    loss = keys.flag("account_for_loss_in_pipeline_split")
    said = first is not None or last is not None
    if pp == 1 or not (said or embedding or loss):
        return []
    if not layers:
        keys.refuse("layers of the first and last stage need num_layers beside them; write it")
    if not said:
        each, left = divmod(layers + embedding + loss, pp * vpp)
        found = [each] * (pp * vpp)
        found[0] -= embedding
        found[-1] -= loss
    else:
        between = pp - (first is not None) - (last is not None)
        each, left = divmod(layers - (first or 0) - (last or 0), max(1, between))
        ranks = [each] * pp
        ranks[0] = each if first is None else first
        ranks[-1] = each if last is None else last
        left += sum(one % vpp for one in ranks)
        found = [one // vpp for one in ranks] * vpp
    if left or min(found) < 0:
        keys.refuse(f"{layers} layers do not spread over pp {pp} x vpp {vpp} as it says; mend it")
    return found


def layout_of(job: Job) -> str:
    """Return Megatron's layout of a plan that says the layers of its stages.

    A stage of no layers is an end by itself, or has nothing to say.
    """
    counts, mtp = list(job.plan.stage_layers), job.model.mtp_layers
    letters = ["t" * count for count in counts]
    if places_mtp(job):
        spread = "t" * job.model.layers + "m" * mtp
        letters, place = [], 0
        for count in counts:
            letters.append(spread[place : place + count])
            place += count
        mtp = 0
    letters[0] = "E" + letters[0]
    letters[-1] += "m" * mtp + "L"
    return "|".join(letters)

"""One phase alone: workers that only decode, or only run prompts.

In:  a job, the steps of its machine.
Out: tokens per second of an accelerator.
Left out: where prompts come from, where answers go.
"""

from __future__ import annotations

from rackmodel.serving.run import habits_of
from rackmodel.serving.steps import Steps
from rackmodel.workload.serving.job import ServingJob
from rackmodel.workload.serving.load import Load


def decode_phase(job: ServingJob, steps: Steps, sequences: float) -> tuple[float, float]:
    """Return time per token [s] and tokens per second of an accelerator.

    sequences : that decode at once in one worker.
    """
    worker = job.worker
    load = Load(sequences=sequences / worker.pp, context=job.context, drafted=1 + job.mtp)
    step_s = steps.seconds(job, worker, job.gpus, load) + habits_of(job.stack).host_s
    tpot_s = step_s / job.tokens_a_step
    return tpot_s, sequences / tpot_s / worker.gpus


def prefill_phase(job: ServingJob, steps: Steps, tokens: float) -> float:
    """Return the tokens of prompts, cached ones left out, per second of an accelerator.

    tokens : of a batch on a rank.
    """
    worker, piece = job.worker, job.prompt_tokens
    ranks = worker.tp if worker.dp_attention else 1
    prompts = max(1.0, tokens / piece) * ranks
    load = Load(prompts=prompts, piece=piece, before=job.isl - piece)
    step_s = steps.seconds(job, worker, job.gpus, load) + habits_of(job.stack).host_s
    return worker.pp * prompts * piece / step_s / worker.gpus  # a batch for each stage

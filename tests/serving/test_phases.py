"""Workers that only run prompts, or only decode."""

import rackmodel
from rackmodel.serving.phases import prefill_phase
from rackmodel.serving.run import steps_of
from rackmodel.workload.serving.job import ServingJob, Worker


def test_cached_tokens_are_no_work_but_are_seen():
    """Of prompts half of which is cached the rest is slower than a prompt as short."""
    model, worker = rackmodel.load_model("deepseek-v3"), Worker(tp=8, ep=8, dp_attention=True)
    job = ServingJob(model=model, worker=worker, gpus=8, users=1, isl=8192, osl=1)
    steps = steps_of(rackmodel.load_topology("dgx-h200"))
    long, half, short = (
        prefill_phase(one, steps, 16384)
        for one in (job, job.replace(cached=0.5), job.replace(isl=4096))
    )
    assert max(long, half) < short

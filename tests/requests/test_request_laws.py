"""Laws of requests as events: queues that are known in closed form, conservation, seeds."""

import itertools

import numpy as np
import pytest

import rackmodel
from rackmodel.assess.site import Site
from rackmodel.hardware import load_catalog
from rackmodel.requests.arrivals import Request, lengths_of, read_trace, renewals
from rackmodel.requests.cluster import Cluster, Kind, Objective, Seen
from rackmodel.requests.drafts import Drafts
from rackmodel.requests.measures import Levels, Quantiles
from rackmodel.requests.power import power_over_time
from rackmodel.requests.rules import Rules
from rackmodel.requests.run import Arrivals, simulate_requests, step_times
from rackmodel.requests.transfers import Transfers
from rackmodel.serving.cache_moves import CacheMoves
from rackmodel.serving.run import serve_job, steps_of
from rackmodel.serving.words import job_of_words
from rackmodel.workload.serving.job import Worker
from rackmodel.workload.serving.load import Load


def one_second(sequences, context, prompts, piece, before):
    return 1.0


def kind(*, number=1, blocks=10**6, times=one_second, **rules):
    return Kind(
        number=number, blocks=blocks, times=times, rules=Rules(chunk=100, budget=100, **rules)
    )


def cluster(prompts, answers=None, *, requests, skipped=0, drafts=None, **more):
    return Cluster(
        prompts=prompts,
        answers=answers or prompts,
        drafts=drafts or Drafts(0, 0.0, np.random.default_rng(0)),
        seen=Seen(skipped=skipped, requests=requests),
        objective=Objective(),
        **more,
    )


def served(topology, **words):
    """A job with a complete plan, and the steps of its machine."""
    machine = rackmodel.load_topology(topology)
    job, fixed = job_of_words(machine, words)
    return job.replace(worker=Worker(**{"ep": 1, **fixed})), steps_of(machine)


DENSE = {"model": "llama3.1-70b", "isl": 1024, "osl": 1024, "tp": 8, "gpus": 8}


def lindley(requests, service):
    """Time that all of 20,000 requests take, by Lindley's recursion."""
    free = total = 0.0
    for request in itertools.islice(requests, 20_000):
        free = max(request.arrival_s, free) + service(request)
        total += free - request.arrival_s
    return total


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_one_worker_with_equal_prompts_is_an_m_d_1_queue(load):
    """Mean wait of M/D/1: load / (2 (1 - load)) services (Pollaczek-Khinchine)."""

    def requests():
        rng = np.random.default_rng(2)
        return renewals(load, 1.0, lengths_of("fixed", 100, 1, rng), rng)

    one = cluster(kind(), requests=20_000)
    one.open_loop(requests())
    assert one.seen.ttft.mean == pytest.approx(1.0 + load / (2.0 * (1.0 - load)), rel=0.06)
    assert one.seen.ttft.total == pytest.approx(lindley(requests(), lambda _: 1.0), rel=1e-9)


def test_one_sequence_at_a_time_is_an_m_g_1_queue():
    """Answers of 1 to 40 tokens, one in the cache at a time: rate E[S^2] / (2 (1 - load))."""
    service = np.arange(1, 41)
    rate = 0.6 / service.mean()

    def requests():
        rng = np.random.default_rng(2)
        drawn = lambda count: ([100] * count, rng.choice(service, count).tolist())  # noqa: E731
        return renewals(rate, 1.0, drawn, rng)

    one = cluster(kind(blocks=10), requests=20_000)
    one.open_loop(requests())
    waited = rate * (service**2).mean() / (2.0 * (1.0 - 0.6))
    assert one.seen.e2e.mean - service.mean() == pytest.approx(waited, rel=0.1)
    assert one.seen.e2e.total == pytest.approx(lindley(requests(), lambda r: r.osl), rel=1e-9)


def used_by(one):
    """Blocks that the sequences and prefixes of a worker hold."""
    own = sum(s.blocks for s in one.prompting) + sum(s.blocks + one.grown(s) for s in one.running)
    return own + sum(s.blocks for s in one.pool.shared.values() if s.readers)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("mtp", [0, 2])
def test_blocks_and_tokens_are_conserved_at_every_event(apart, mtp):
    rng = np.random.default_rng(3)
    prefixes = rng.integers(0, 4, 1000).tolist()

    def requests():
        many = renewals(0.2, 1.0, lengths_of("uniform", 100, 60, rng), rng)
        for request, name in zip(many, prefixes, strict=False):
            if name and request.isl > 32:
                request.prefix, request.prefix_tokens = str(name), 32
            yield request

    drafts = Drafts(mtp, 0.6, rng)
    both = kind(number=2, blocks=40, rate=drafts_rate(mtp, 0.6))
    if apart:
        prompts = kind(number=1, blocks=60, hands_over=True)
        answers = kind(number=2, blocks=24, fetches=True, rate=drafts_rate(mtp, 0.6))
        one = cluster(prompts, answers, requests=300, drafts=drafts)
    else:
        one = cluster(both, requests=300, drafts=drafts)
    flying = []

    def move(origin, target, tokens, done):
        flying.append(target)
        pause = one.env.timeout(2.5)
        pause.callbacks.append(lambda _: (flying.remove(target), done()))

    fetched = {}
    fetch, join = one.fetch, {w: w.join for w in one.workers}

    def noted(sequence, replica):
        fetched[sequence] = replica
        fetch(sequence, replica)

    one.fetch = noted
    for worker in one.workers:
        worker.join = lambda s, w=worker: (fetched.pop(s), join[w](s))
    one.move = move
    one.env.process(one.arrivals(requests()))
    while one.seen.answered < 300:
        one.env.step()
        for worker in one.workers:
            held = sum(s.blocks for w, s in one.held.values() if w is worker)
            held += sum(s.blocks for s, w in fetched.items() if w is worker)
            if worker.rules.hands_over:
                assert worker.pool.used >= used_by(worker)
            else:
                assert worker.pool.used == used_by(worker) + held
            assert 0 <= worker.pool.used <= worker.pool.blocks - worker.pool.idle
    assert sum(worker.preemptions for worker in one.workers) > 0
    assert one.seen.tokens <= one.seen.all_tokens


def drafts_rate(mtp, acceptance):
    return sum(acceptance**i for i in range(mtp + 1))


def test_nothing_is_left_when_all_are_answered():
    rng = np.random.default_rng(4)
    one = cluster(kind(number=3, blocks=30), requests=200)
    many = list(
        zip(renewals(0.5, 2.0, lengths_of("uniform", 80, 50, rng), rng), range(200), strict=False)
    )
    one.open_loop(request for request, _ in many)
    assert one.seen.tokens == sum(request.osl for request, _ in many)
    assert [(w.pool.used, w.queue, len(w.running)) for w in one.workers] == [(0, 0, 0)] * 3


def test_drafted_tokens_come_as_often_as_they_are_right():
    """Leviathan et al., arXiv:2211.17192, eq. 1."""
    drafts = Drafts(3, 0.6, np.random.default_rng(5))
    steps = sum(sum(drafts.steps(1000)) for _ in range(300))
    assert 300 * 1000 / steps == pytest.approx(drafts_rate(3, 0.6), rel=0.01)
    assert sum(Drafts(0, 0.0, np.random.default_rng(0)).steps(1000)) == 1000


def test_a_prefix_that_is_cached_is_not_run_again():
    times = lambda n, c, prompts, piece, b: 1e-3 * prompts * piece + 1e-3  # noqa: E731
    found = []
    for shared in (0, 80):
        one = cluster(kind(times=times), requests=50)
        one.open_loop(Request(n, 1.0 * n, 100, 4, "system", shared) for n in range(50))
        found.append(one.seen.ttft)
    assert found[1].at(0.5) == pytest.approx(found[0].at(0.5) - 0.080, rel=0.01)
    assert found[1].largest == pytest.approx(found[0].largest)  # the first one runs it all


def test_who_reserves_whole_answers_preempts_nobody():
    def seen(*, reserves):
        one = cluster(kind(blocks=40, reserves=reserves), requests=100)
        one.open_loop(Request(n, 20.0 * n, 100, 200) for n in range(200))
        return one.workers[0].preemptions, one.seen.e2e.mean

    assert seen(reserves=True)[0] == 0 < seen(reserves=False)[0]


def test_workers_that_are_alike_are_simulated_once_and_exactly(monkeypatch):
    job, steps = served("dgx-h100", **{**DENSE, "users": 16, "tp": 4})
    folded = simulate_requests(job, steps, Arrivals(requests=200), Objective())
    monkeypatch.setattr("rackmodel.requests.run.workers_alike", lambda *_: False)
    whole = simulate_requests(job, steps, Arrivals(requests=400), Objective())
    assert (folded.alike, whole.alike) == (2, 1)
    assert folded.cluster.seen.tpot.bins.keys() == whole.cluster.seen.tpot.bins.keys()
    assert folded.rates[1] == pytest.approx(whole.rates[1], rel=1e-3)


def test_step_times_between_points_are_those_of_the_engine():
    job, steps = served("dgx-h100", **{**DENSE, "users": 16})
    times = step_times(job, job.worker, job.gpus, steps, 0.0)
    rng = np.random.default_rng(6)
    for _ in range(6):
        n, context = int(rng.integers(1, 200)), float(rng.uniform(500, 4000))
        prompts, piece = int(rng.integers(1, 5)), float(rng.uniform(200, 3000))
        for load in (
            Load(sequences=n, context=context),
            Load(sequences=n, context=context, prompts=prompts, piece=piece, before=700.0),
        ):
            asked = (load.sequences, load.context, load.prompts, load.piece, load.before)
            simulated = steps.seconds(job, job.worker, job.gpus, load)
            assert times(*asked) == pytest.approx(simulated, rel=0.03)


def test_one_seed_gives_the_same_and_another_one_does_not():
    job, steps = served("dgx-h100", **{**DENSE, "users": 16})
    runs = [
        simulate_requests(
            job, steps, Arrivals(rate=2.0, lengths="uniform", requests=300, seed=seed), Objective()
        )
        for seed in (1, 1, 2)
    ]
    first, again, other = (
        (run.cluster.seen.ttft.bins, run.cluster.seen.e2e.total, run.rates) for run in runs
    )
    assert first == again != other


def test_more_requests_than_can_be_answered_have_no_steady_state():
    job, steps = served("dgx-h100", **{**DENSE, "users": 16})
    with pytest.raises(rackmodel.CannotRun, match="no steady state: 1000 requests/s come, "):
        simulate_requests(job, steps, Arrivals(rate=1000.0), Objective())


@pytest.mark.parametrize(("prefill", "decode"), [(8, 8), (4, 8), (8, 4)])
def test_a_cache_that_moves_alone_takes_what_the_steady_state_says(prefill, decode):
    words = {"gpus": prefill + decode, "prefill_gpus": prefill, "prefill": {"tp": prefill}}
    job, steps = served("dgx-h100", **{**DENSE, "users": 8, **words, "tp": decode})
    one = cluster(kind(), requests=1)
    moves = Transfers(job, steps, one.env)
    moves.capacity = moves.network.capacity
    moves.traffic.capacity = moves.capacity.tolist()
    ends = []
    moves.move(0, 1, job.isl, lambda: ends.append(one.env.now))
    one.env.run()
    assert ends == [pytest.approx(CacheMoves(job, steps).together_s(1), rel=0.05)]
    for _ in range(3):
        moves.move(0, 1, job.isl, lambda: ends.append(one.env.now))
    begin = one.env.now
    one.env.run()
    assert ends[-1] - begin > 2.0 * ends[0]


def test_power_and_the_steady_state_put_workers_into_the_same_racks():
    """Four workers of prompts fill a rack of 32, so that the one that decodes has another."""
    words = {"tp": 4, "gpus": 36, "prefill_gpus": 32, "prefill": {"tp": 8}, "users": 16}
    job, steps = served("dgx-h100", **{**DENSE, **words})
    run = simulate_requests(job, steps, Arrivals(rate=2.0, requests=100), Objective())
    catalog, site = load_catalog(), Site()
    power = power_over_time(run, steps.machine, catalog, site)
    decode_w = 4.0 * power.accelerator_w["decode"]
    assert power.racks_w[1].max() == pytest.approx(decode_w, rel=1e-6)
    told = serve_job(steps.machine, job, catalog=catalog, site=site).to_dict()["racks"]
    assert sorted(row["accelerators"] for row in told) == [4, 32]


def test_quantiles_and_levels_keep_what_was_added():
    rng = np.random.default_rng(7)
    values = rng.lognormal(0.0, 1.5, 20_000)
    kept = Quantiles()
    for value in values:
        kept.add(float(value))
    for share in (0.5, 0.9, 0.99):
        assert kept.at(share) == pytest.approx(np.quantile(values, share), rel=0.003)
    levels = Levels(1, 1e-3)
    ends = np.sort(rng.uniform(0.0, 50.0, 500))
    for begin, end in zip(ends, ends + 0.7, strict=True):
        levels.add(0, float(begin), float(end), 2.0)
    means = levels.means()[:, 0]
    lengths = np.full(len(means), levels.bin_s)
    lengths[-1] = levels.end_s - levels.bin_s * (len(means) - 1)
    assert (means * lengths).sum() == pytest.approx(500 * 0.7 * 2.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("arrival_s,isl,osl\n", "no requests"),
        ("arrival_s,isl\n0,1\n", "no column osl"),
        ("arrival_s,isl,osl\n1,10,10\n0.5,10,10\n", "row 3 comes at 0.5 s"),
        ("arrival_s,isl,osl\n0,10,0\n", "row 2, osl"),
        ("arrival_s,isl,osl\n0,1.5,1\n", "row 2, isl"),
        ("arrival_s,isl,osl\nnan,1,1\n", "row 2, arrival_s"),
        ("arrival_s,isl,osl,prefix\n0,10,1,11\n", "prefix of 11 is longer"),
    ],
)
def test_a_trace_that_is_none_is_one_line(tmp_path, text, says):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(rackmodel.InvalidInput, match=says) as caught:
        read_trace(path)
    assert "\n" not in str(caught.value)

"""What simulated plans teach a search about those that were not simulated."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from rackmodel.planning.best import FULL_AT, search_job
from rackmodel.planning.candidates import PATIENT, Effort, Queue
from rackmodel.planning.enumeration import enumerate_plans
from rackmodel.planning.missed import COUNTED, SPREAD, SPREAD_OF_FAMILIES, SPREAD_ON_TORUS
from rackmodel.planning.objectives import OBJECTIVES
from rackmodel.planning.planner import Look, Planner
from rackmodel.planning.space import Choices
from rackmodel.topology import load_topology
from rackmodel.workload import Job, Plan, load_model

SLOWER = 1.02  # simulated over estimated step, of every plan
CHOICES = Choices(shardings=("none", "zero1"), max_micro_batch=1, max_vpp=4)
EVENTS_OF_ONE = 10**9  # as long pipelines: more than a search has


@pytest.fixture(scope="module")
def look():
    job = Job(model=load_model("gpt3-13b"), plan=Plan(), seq_len=2048, global_batch=32)
    planner = Planner(load_topology("dgx-h100"), job, 16, None)
    space = enumerate_plans(planner.job, 16, domain=8, fixed={"pp": 2}, choices=CHOICES)
    found = Look(planner, space, planner.part.hbm_bytes * FULL_AT)
    found.closer(np.inf)
    return found


def one_simulated(look, kin):
    """A queue after one plan, which was as much slower than estimated as all plans are."""
    space, step_s = look.space, look.estimates.step_s
    estimate_s = {space.plan(i): look.planner.lost_s(float(step_s[i])) for i in range(len(space))}

    def simulate(plan):
        found = SimpleNamespace(step_s=SLOWER * estimate_s[plan], step=SimpleNamespace(events=1))
        found.filled_in = lambda names: found
        return found

    queue = Queue(look, simulate, OBJECTIVES["tokens"], kin)
    (found,) = queue.simulated(Effort(most=1))
    return queue, found


@pytest.mark.parametrize("kin", [0.0, 0.5, 1.0])
def test_what_a_kind_was_misjudged_by_holds_for_its_family_by_a_share(look, kin):
    queue, found = one_simulated(look, kin)
    plans = [look.space.plan(int(entry)) for entry in queue.queue]
    place = plans.index(found.job.plan)
    waiting = np.isfinite(queue.likely)
    same = (queue.kinds == queue.kinds[place]).all(axis=1)
    family = (queue.kinds[:, :2] == queue.kinds[place, :2]).all(axis=1)
    told = queue.likely[waiting] / queue.scores[waiting]
    wanted = np.where(same, SLOWER, np.where(family, SLOWER**kin, 1.0))[waiting]
    assert all(some[waiting].any() for some in (same, family & ~same, ~family))
    assert told == pytest.approx(wanted)


def test_the_less_holds_for_a_family_the_likelier_is_a_better_plan(look):
    chances = [one_simulated(look, kin)[0].better_chance()[0] for kin in (0.0, 0.5, 1.0)]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > chances[-1]


def test_only_gains_above_the_threshold_count(look):
    queue, found = one_simulated(look, 1.0)
    bounds = look.estimates.bound_s[queue.queue]
    place = int(np.argmin(np.where(np.isfinite(queue.likely), bounds, np.inf)))
    told = []
    for gain in (0.0, COUNTED, 2 * COUNTED):
        queue.likely[:] = np.inf
        queue.likely[place] = found.step_s * (1.0 - gain)
        told.append(queue.better_chance()[0])
    assert told[1] == pytest.approx(0.5)
    assert told[0] < 0.5 < told[2]


def test_estimates_spread_more_on_a_torus(look, monkeypatch):
    def spread():
        return one_simulated(look, 1.0)[0].better_chance()[1]

    assert spread() == pytest.approx(math.hypot(SPREAD, SPREAD_OF_FAMILIES))
    monkeypatch.setattr(look.planner, "machine", load_topology("tpu-v5p-pod"))
    assert spread() == pytest.approx(math.hypot(SPREAD_ON_TORUS, SPREAD_OF_FAMILIES))


def test_a_search_goes_on_while_it_may_well_have_missed_a_plan(look):
    """Long pipelines cost more events than a search has: the first of them is no answer."""
    space, step_s = look.space, look.estimates.step_s
    estimate_s = {space.plan(i): look.planner.lost_s(float(step_s[i])) for i in range(len(space))}
    first = estimate_s[one_simulated(look, 1.0)[1].job.plan]

    def simulate(plan):  # what looked best is 30% slower than estimated, and all cost much
        step_s = estimate_s[plan] * (1.3 if estimate_s[plan] == first else 1.0)
        found = SimpleNamespace(step_s=step_s, step=SimpleNamespace(events=EVENTS_OF_ONE))
        found.filled_in = lambda names: found
        return found

    best, chances, counts = [], [], []
    for chance in (1.0, 0.5, 0.02):
        queue = Queue(look, simulate, OBJECTIVES["tokens"])
        found = queue.simulated(Effort(most=12, events=EVENTS_OF_ONE - 1, chance=chance))
        best.append(min(one.step_s for one in found))
        chances.append(queue.better_chance()[0])
        counts.append(len(found))
    assert counts[0] == 1 < counts[1] <= counts[2] < 12
    assert best[1] < 0.9 * best[0]
    assert chances[0] > 0.9
    assert chances[2] <= 0.02
    for least in ({"most": 1}, {"events": EVENTS_OF_ONE // PATIENT - 1}):  # plans; events
        effort = Effort(**{"most": 12, "chance": 0.02} | least)
        (capped,) = Queue(look, simulate, OBJECTIVES["tokens"]).simulated(effort)
        assert capped.step_s == best[0]


def test_a_search_tells_the_chance_at_which_it_stopped(look):
    """Candidates are told best first, families of plans in the order of their simulation."""
    space, step_s = look.space, look.estimates.step_s
    estimate_s = {space.plan(i): look.planner.lost_s(float(step_s[i])) for i in range(len(space))}
    falls = {}

    def simulate(plan):  # the later, the less slower than estimated
        seconds = estimate_s[plan] * falls.setdefault(plan, 1.3 - 0.05 * len(falls))
        step = SimpleNamespace(events=1, step_s=seconds)
        found = SimpleNamespace(step_s=seconds, step=step)
        found.filled_in = lambda names: found
        return found

    effort = Effort(most=5, sure=2.0)
    found = search_job(
        look.planner.machine,
        look.planner.job,
        16,
        fixed={"pp": 2},
        choices=CHOICES,
        effort=effort,
        simulate=simulate,
    )
    queue = Queue(found.look, simulate, OBJECTIVES["tokens"])
    tried = [one.step_s for one in queue.simulated(effort)]
    assert [one.step_s for one in found.candidates] == sorted(tried) != tried
    assert len(set(queue.families)) > 1
    assert found.better_chance == queue.better_chance()[0] > 0.0

"""`rackmodel flows` against a small plain simulator of max-min fair flows, through files."""

from __future__ import annotations

import csv
import io
import json
import math
import random
from collections import deque

import networkx as nx
import pytest


def shortest_parts(edges, terminals, source, target):
    """Return {edge: part of the flow}: at every node equal parts over the cables of shortest ways.

    `edges` {(a, b): (rate, cables)}; `terminals` forward for nobody.
    """
    before, after = {}, {}
    for a, b in edges:
        after.setdefault(a, []).append(b)
        before.setdefault(b, []).append(a)
    hops, queue = {target: 0}, deque([target])
    while queue:
        node = queue.popleft()
        if node != target and node in terminals:
            continue
        for a in before.get(node, ()):
            if a not in hops:
                hops[a] = hops[node] + 1
                queue.append(a)
    parts, mass = {}, {source: 1.0}
    for left in range(hops[source], 0, -1):
        for node in [n for n in mass if hops[n] == left]:
            ways = [
                b
                for b in after[node]
                if hops.get(b) == left - 1 and (b == target or b not in terminals)
            ]
            total = sum(edges[node, b][1] for b in ways)
            amount = mass.pop(node)
            for b in ways:
                part = amount * edges[node, b][1] / total
                parts[node, b] = parts.get((node, b), 0.0) + part
                mass[b] = mass.get(b, 0.0) + part
    return parts


def filled(flows, edges):
    """Return max-min fair rates of {flow: parts} by progressive filling."""
    spare = {edge: rate for edge, (rate, _) in edges.items()}
    rates, level = {}, 0.0
    growing = dict(flows)
    while growing:
        load = {}
        for parts in growing.values():
            for edge, part in parts.items():
                load[edge] = load.get(edge, 0.0) + part
        step = min(spare[edge] / total for edge, total in load.items())
        level += step
        full = set()
        for edge, total in load.items():
            spare[edge] -= step * total
            if spare[edge] <= 1e-12 * edges[edge][0]:
                full.add(edge)
        for flow in [f for f, parts in growing.items() if full & set(parts)]:
            rates[flow] = level
            del growing[flow]
    return rates


def finishes(edges, terminals, rows):
    """Return when each (source, target, bytes, start) ends, latency aside."""
    known = {}
    for a, b, _, _ in rows:
        if (a, b) not in known:
            known[a, b] = shortest_parts(edges, terminals, a, b)
    ends = [0.0] * len(rows)
    waiting = sorted(range(len(rows)), key=lambda i: rows[i][3])
    now, left = 0.0, {}
    while waiting or left:
        rates = filled({i: known[rows[i][:2]] for i in left}, edges)
        next_end = min((now + left[i] / rates[i] for i in left), default=math.inf)
        next_start = rows[waiting[0]][3] if waiting else math.inf
        moment = min(next_end, next_start)
        for i in list(left):
            due = now + left[i] / rates[i]
            left[i] -= rates[i] * (moment - now)
            if due <= moment * (1 + 1e-13):
                ends[i] = moment
                del left[i]
        now = moment
        while waiting and rows[waiting[0]][3] <= now:
            i = waiting.pop(0)
            left[i] = rows[i][2]
    return ends


class Machine:
    """A node-link graph in the making."""

    def __init__(self, directed):
        self.directed, self.nodes, self.links = directed, {}, {}

    def node(self, name, kind):
        self.nodes[name] = kind
        return name

    def link(self, a, b, rate, count=1):
        self.links[a, b] = (rate, count)

    @property
    def edges(self):
        both = {} if self.directed else {(b, a): v for (a, b), v in self.links.items()}
        return {**self.links, **both}

    @property
    def terminals(self):
        return {n for n, kind in self.nodes.items() if kind == "accelerator"}

    def json(self):
        return json.dumps(
            {
                "directed": self.directed,
                "multigraph": False,
                "graph": {},
                "nodes": [{"id": n, "kind": k} if k else {"id": n} for n, k in self.nodes.items()],
                "edges": [
                    {"source": a, "target": b, "bytes_per_s": r, "latency_s": 0}
                    | ({"count": c} if c > 1 else {})
                    for (a, b), (r, c) in self.links.items()
                ],
            }
        )


def star_of(n, directed=False, rates=None, kind="accelerator", first=0):
    machine = Machine(directed)
    machine.node("sw", "scale_up_switch" if kind else "")
    for i in range(first, first + n):
        rate = 1e9 * (rates[i - first] if rates else 1)
        machine.node(i, kind)
        machine.link(i, "sw", rate)
        if directed:
            machine.link("sw", i, rate / 2)
    return machine


def clos(leaves=3, per_leaf=4, spines=2, uplink=0.5e9, counts=(1, 1)):
    """Hosts with NICs on leaves, spines above them; sprayed over spines by cables."""
    machine = Machine(False)
    for leaf in range(leaves):
        machine.node(f"leaf{leaf}", "leaf")
        for spine in range(spines):
            machine.node(f"spine{spine}", "spine")
            machine.link(f"leaf{leaf}", f"spine{spine}", uplink * counts[spine], counts[spine])
        for i in range(per_leaf):
            gpu = machine.node(f"gpu{leaf}.{i}", "accelerator")
            nic = machine.node(f"nic{leaf}.{i}", "nic")
            machine.link(gpu, nic, 2e9)
            machine.link(nic, f"leaf{leaf}", 1e9)
    return machine


def line(n, directed):
    """Switches in a row, one sender or receiver at each: the parking lot."""
    machine = Machine(directed)
    for i in range(n):
        machine.node(f"s{i}", "leaf")
        machine.node(f"g{i}", "accelerator")
        machine.link(f"g{i}", f"s{i}", 1e9)
        if directed:
            machine.link(f"s{i}", f"g{i}", 1e9)
        if i:
            machine.link(f"s{i - 1}", f"s{i}", 1e9 / 3)
    return machine


def everyone(machine):
    return [
        n
        for n, kind in machine.nodes.items()
        if kind != "scale_up_switch" and n in (machine.terminals or machine.nodes)
    ]


def incast(machine):
    first, *rest = everyone(machine)
    return [(g, first, 1e9 + 1e7 * k, 0.0) for k, g in enumerate(rest)]


def permutation(machine):
    rng, gpus = random.Random(5), everyone(machine)
    to = gpus[1:] + gpus[:1]
    return [(a, b, rng.uniform(1, 9) * 1e9, 0.0) for a, b in zip(gpus, to, strict=True)]


def all_to_all(machine):
    gpus = everyone(machine)
    return [(a, b, 1e8, 0.0) for a in gpus for b in gpus if a != b]


def staggered(machine):
    gpus = everyone(machine)
    pairs = [(a, b) for a in gpus for b in gpus if a != b]
    return [(a, b, 3e8 + k * 1e6, 0.1 * k) for k, (a, b) in enumerate(pairs[::-1][:25])]


def poisson(machine):
    rng, gpus, now, rows = random.Random(7), everyone(machine), 0.0, []
    for _ in range(90):
        now += rng.expovariate(4.0)
        a, b = rng.sample(gpus, 2)
        rows.append((a, b, rng.expovariate(1.0) * 1e9, now))
    rng.shuffle(rows)
    return rows + rows[:3]  # twice the same flow is two flows


def random_fabric(seed, *, directed):
    """Hosts on random switches that are joined at random by bundles of any rate."""
    rng, machine = random.Random(seed), Machine(directed)

    def join(a, b, cables):
        for x, y in [(a, b), (b, a)][: 1 + directed]:
            machine.link(x, y, rng.choice([0.5e9, 1e9, rng.uniform(0.3e9, 3e9)]), cables)

    for i in range(9):
        machine.node(f"s{i}", "leaf")
        if i:
            join(f"s{rng.randrange(i)}", f"s{i}", rng.randint(1, 3))
    for _ in range(9):
        a, b = rng.sample(range(9), 2)
        if not {(f"s{a}", f"s{b}"), (f"s{b}", f"s{a}")} & set(machine.links):
            join(f"s{a}", f"s{b}", rng.randint(1, 3))
    for i in range(12):
        machine.node(f"g{i}", "accelerator")
        join(f"g{i}", f"s{rng.randrange(9)}", 1)
    return machine


def gaps_and_nothing(machine):
    """Long silences, flows that start with others' ends, and flows of a byte beside great ones."""
    a, b, c = everyone(machine)[:3]
    return [
        (a, b, 1e9, 50.0),
        (b, c, 1.0, 50.0),
        (a, c, 2e9, 0.0),
        (c, b, 1e9, 0.0),
        (a, b, 1e9, 1e6),
        (a, c, 1e-3, 1e6),
        (c, b, 3e12, 2e6),
        (b, a, 1e3, 2e6),
    ]


def one_way(machine):
    last = len(machine.terminals) - 1
    rows = [(f"g{i}", f"g{last}", 1e9, 0.0) for i in range(last)]
    return [*rows, ("g0", "g1", 5e9, 0.0)]


CASES = {
    "star": (star_of(6), [incast, permutation, all_to_all, staggered, poisson]),
    "both rates": (star_of(6, directed=True), [incast, all_to_all, poisson]),
    "degraded": (star_of(6, rates=[1, 1, 0.1, 1, 1, 0.5]), [incast, all_to_all, poisson]),
    "large ids": (star_of(4, first=10**18), [all_to_all, poisson]),
    "without kinds": (star_of(5, kind=""), [all_to_all, poisson]),
    "clos": (clos(), [incast, permutation, all_to_all, staggered, poisson]),
    "cables": (clos(counts=(3, 1)), [all_to_all, poisson]),
    "slow uplinks": (clos(leaves=4, per_leaf=2, spines=2, uplink=1e8), [permutation, poisson]),
    "parking lot": (line(6, False), [incast, one_way, all_to_all, poisson]),
    "one way": (line(6, True), [one_way]),
    "any graph": (random_fabric(3, directed=False), [all_to_all, poisson, gaps_and_nothing]),
    "any directed graph": (random_fabric(4, directed=True), [incast, permutation, poisson]),
}


@pytest.mark.parametrize(
    ("machine", "traffic"),
    [pytest.param(m, t, id=f"{name}-{t.__name__}") for name, (m, ts) in CASES.items() for t in ts],
)
def test_every_flow_ends_when_the_plain_simulator_says(run, tmp_path, machine, traffic):
    rows = traffic(machine)
    expected = finishes(machine.edges, machine.terminals, rows)
    found = through_the_command(run, tmp_path, machine.json(), rows)
    assert [row["tag"] for row in found] == [f"{k:03}" for k in range(len(rows))]
    assert [(row["source"], row["target"]) for row in found] == [
        (str(a), str(b)) for a, b, *_ in rows
    ]
    assert [float(row["finish_s"]) for row in found] == pytest.approx(expected, rel=1e-9)


def through_the_command(run, tmp_path, text, rows, name="machine.json"):
    (tmp_path / name).write_text(text)
    table = tmp_path / "flows.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["tag", "source", "target", "bytes", "start_s"])
        writer.writerows(
            [f"{k:03}", a, b, repr(size), repr(at)] for k, (a, b, size, at) in enumerate(rows)
        )
    result = run("flows", tmp_path / name, table, "--csv")
    assert result.exit_code == 0, result.stderr
    return list(csv.DictReader(io.StringIO(result.stdout)))


@pytest.mark.parametrize("words", [False, True])
def test_graphml_says_the_same(run, tmp_path, words):
    machine = clos(leaves=2, per_leaf=2)
    graph = nx.Graph()
    for node, kind in machine.nodes.items():
        graph.add_node(node, kind=kind)
    for (a, b), (rate, count) in machine.links.items():
        graph.add_edge(a, b, bytes_per_s=str(rate) if words else rate, count=count)
    rows = poisson(machine)
    same = through_the_command(run, tmp_path, machine.json(), rows)
    text = "\n".join(nx.generate_graphml(graph))
    assert through_the_command(run, tmp_path, text, rows, "machine.graphml") == same


def test_latency_is_added_once_and_0_means_0(run, tmp_path):
    machine = star_of(3)
    facts = json.loads(machine.json())
    rows = [(0, 1, 1e9, 0.25), (1, 2, 0.0, 1.5), (2, 2, 1e9, 2.0)]
    found = through_the_command(run, tmp_path, json.dumps(facts), rows)
    assert [float(row["finish_s"]) for row in found] == [1.25, 1.5, 2.0]
    for edge in facts["edges"]:
        edge["latency_s"] = 0.125
    found = through_the_command(run, tmp_path, json.dumps(facts), rows)
    assert [float(row["finish_s"]) for row in found] == [1.5, 1.5, 2.0]
    assert [int(row["hops"]) for row in found] == [2, 2, 0]


def test_other_columns_come_out_as_they_went_in(run, tmp_path):
    (tmp_path / "g.json").write_text(star_of(2).json())
    text = 'note,target,source,bytes,n\n"a,""b""\nc",1,0,1e9,007\n,0,1,5e8,NA\nTrue,1,0,1e9,1e5\n'
    (tmp_path / "f.csv").write_text(text)
    result = run("flows", tmp_path / "g.json", tmp_path / "f.csv", "--csv")
    found = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [(row["note"], row["n"]) for row in found] == [
        ('a,"b"\nc', "007"),
        ("", "NA"),
        ("True", "1e5"),
    ]
    assert [float(row["finish_s"]) for row in found] == [2.0, 0.5, 2.0]


def test_accelerators_may_be_given_by_number(run, tmp_path):
    (tmp_path / "f.csv").write_text(
        "source,target,bytes\n0,9,1e9\naccelerator-0,accelerator-9,1e9\n"
    )
    result = run("flows", "dgx-h100", tmp_path / "f.csv", "--gpus", "16", "--csv")
    one, other = csv.DictReader(io.StringIO(result.stdout))
    assert one["finish_s"] == other["finish_s"]

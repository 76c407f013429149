"""Watts, heat of each rack, dollars and failures do not depend on how ranks were folded."""

import pytest

from rackmodel import simulate

CASES = {
    "pipeline, full recompute": ("dgx-h100", "gpt3-1.3b", {"tp": 4, "pp": 2, "recompute": "full"}),
    "parameters gathered ahead": ("dgx-h100", "gpt3-1.3b", {"tp": 1, "pp": 1, "sharding": "zero3"}),
    "gradients beside tp": (
        "dgx-a100-80",
        "gpt3-1.3b",
        {"tp": 2, "pp": 1, "tp_overlap": True, "sharding": "zero1"},
    ),
    "experts, interleaved": ("dgx-h100", "qwen3-30b-a3b", {"pp": 2, "vpp": 2, "ep": 8}),
    "racks of unlike stages": ("gb200-nvl72", "gpt3-1.3b", {"pp": 2, "stage_layers": (7, 17)}),
    "trays of unlike stages": ("gaudi3-node", "gpt3-1.3b", {"tp": 2, "pp": 4}),
    "a slow accelerator": ("dgx-h100", "gpt3-1.3b", {"tp": 2, "pp": 1, "slow": {"gpu3": 1.2}}),
}


def figures(value, path=""):
    """Yield every number below a value with its place."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from figures(inner, f"{path}.{name}")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path, float(value)


def each_rack(racks):
    """Return every rack by itself, in the order of their heat."""
    every = [{**rack, "rack": 0, "count": 1} for rack in racks for _ in range(rack["count"])]
    return dict(enumerate(sorted(every, key=lambda rack: round(rack["heat_w"], 6))))


@pytest.mark.parametrize("case", CASES)
def test_every_figure_of_a_folded_step_is_that_of_all_its_ranks(case):
    machine, model, plan = CASES[case]
    words = {"model": model, "gpus": 16, "global_batch": 16, "seq_len": 1024, "check_memory": False}
    plan = dict(plan)
    words["slow"] = plan.pop("slow", None)
    words["plan"] = {"micro_batch": 1, **plan}
    one, other = (simulate(machine, fold=fold, **words).to_dict() for fold in (True, False))
    assert one["simulation"]["rank_classes"] < other["simulation"]["rank_classes"]
    for row in (one, other):
        del row["simulation"]
        row["racks"] = each_rack(row["racks"])
    found, wanted = dict(figures(one)), dict(figures(other))
    assert found.keys() == wanted.keys()
    wrong = {
        name: (found[name], wanted[name])
        for name in found
        if abs(found[name] - wanted[name]) > 1e-9 * max(abs(wanted[name]), 1e-6)
    }
    assert wrong == {}

"""What `to_dict` gives has exactly the keys that its record names."""

import pytest
from pydantic import ConfigDict, TypeAdapter, with_config

import rackmodel
from rackmodel.errors import InvalidInput
from rackmodel.result import records, serving_records

DEFAULT = {"default_plan": True}
CASES = {
    "dense": {"plan": {"tp": 2, "pp": 2, "micro_batch": 1}, "model": "gpt3-13b", **DEFAULT},
    "experts": {"plan": {"ep": 8, "micro_batch": 1}, "model": "mixtral-8x7b", **DEFAULT},
    "asked": {"run_tokens": 1e12, "site": {"trays": True}, "model": "gpt3-1.3b"},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("machine", ["dgx-h100", "gb200-nvl72"])
def test_a_result_has_the_keys_of_its_record_and_no_others(machine, case):
    words = {"gpus": 16, "global_batch": 16, "seq_len": 2048, "check_memory": False, **CASES[case]}
    found = rackmodel.simulate(machine, **words).to_dict()
    assert set(found) - {"run", "trays"} == set(records.ResultRecord.__required_keys__)
    strict = with_config(ConfigDict(extra="forbid"))
    for name, kind in vars(records).items():
        if name.endswith("Record"):
            strict(kind)
    TypeAdapter(records.ResultRecord).validate_python(found)


def test_only_the_fields_that_are_asked_for_are_worked_out():
    words = {"model": "gpt3-1.3b", "gpus": 8, "global_batch": 8, "seq_len": 1024}
    result = rackmodel.simulate("dgx-h100", plan={"tp": 2, "pp": 1, "micro_batch": 1}, **words)
    some = result.to_dict(fields=["step_s", "mfu", "plan"])
    assert list(some) == ["step_s", "mfu", "plan"]
    assert not {"events", "assessment", "links"} & set(vars(result))
    whole = result.to_dict()
    assert {name: whole[name] for name in some} == some
    assert result.to_dict(fields=["cost", "run"]) == {"cost": whole["cost"]}  # no run asked for
    with pytest.raises(InvalidInput, match="no field 'tokens'"):
        result.to_dict(fields=["tokens"])


@pytest.mark.parametrize("plan", [{}, {"prefill_gpus": 4, "prefill": {"tp": 4}}])
def test_a_served_job_has_the_keys_of_its_record_and_no_others(plan):
    words = {"model": "llama3.1-70b", "users": 16, "isl": 1024, "osl": 64, "tp": 4, "gpus": 8}
    found = rackmodel.serve("dgx-h100", **words, **plan).to_dict()
    assert set(found) == set(serving_records.ServingRecord.__required_keys__)
    assert ("prefill" in found["plan"]) == bool(plan)
    strict = with_config(ConfigDict(extra="forbid"))
    for name, kind in vars(serving_records).items():
        if name.endswith("Record"):
            strict(kind)
    TypeAdapter(serving_records.ServingRecord).validate_python(found)


def test_attributes_are_what_the_assessment_tells():
    words = {"model": "gpt3-1.3b", "gpus": 16, "global_batch": 16, "seq_len": 1024}
    result = rackmodel.simulate("dgx-h100", plan={"tp": 2, "pp": 1, "micro_batch": 1}, **words)
    whole = result.to_dict()
    assert result.rack_kw == max(rack["heat_w"] for rack in whole["racks"]) / 1e3 > 1
    (rack,) = whole["racks"]
    assert result.rack_kw_band == tuple(rack[f"heat_w_{end}"] / 1e3 for end in ("low", "high"))
    assert result.usd_per_mtoken == whole["cost"]["usd_per_mtoken"]
    assert result.energy_j_per_token == whole["energy_j_per_token"]
    assert result.tokens_per_s_per_mw == whole["power"]["tokens_per_s_per_mw"]
    # Joules of racks and fabric, and the hall's above them.
    assert result.tokens_per_s_per_mw * result.energy_j_per_token <= 1e6
    assert f"{result.rack_kw:,.0f} kW" in result._repr_html_()


def test_without_stages_and_slow_parts_nothing_waits():
    plan = {"tp": 4, "pp": 1, "micro_batch": 8}
    words = {"model": "gpt3-13b", "gpus": 16, "global_batch": 32, "plan": plan}
    parts = rackmodel.simulate("dgx-h100", **words).breakdown_s
    assert parts["bubble"] == 0.0  # and not what a sum over stretches leaves, 1e-16 of the step

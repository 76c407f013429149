"""A catalog's digest tells values apart, and nothing else; what a user changed is named."""

import json

import rackmodel
from rackmodel.hardware import load_catalog
from rackmodel.hardware.identity import identity
from rackmodel.reporting.difference import difference

FIELD = "accelerators.h100.hbm_bytes_per_s"
JOB = {"model": "gpt3-1.3b", "gpus": 8, "global_batch": 8, "seq_len": 1024}
PLAN = {"plan": {"tp": 2, "pp": 1, "micro_batch": 1}, "default_plan": True}


def test_a_value_that_is_set_to_what_it_was_changes_nothing():
    shipped = load_catalog()
    same = load_catalog(overrides={FIELD: shipped.accelerators["h100"].hbm_bytes_per_s})
    other = load_catalog(overrides={FIELD: 1e12})
    assert identity(same) == identity(shipped)
    assert identity(other)["digest"] != identity(shipped)["digest"]
    assert identity(other)["changed"] == {FIELD: 1e12}
    assert identity(load_catalog(overrides={FIELD: 1e12})) == identity(other)


def test_two_results_tell_that_their_catalogs_differ_and_in_what():
    slower = load_catalog(overrides={FIELD: 1e12})
    one, other = (
        json.loads(rackmodel.simulate("dgx-h100", catalog=catalog, **JOB, **PLAN).to_json())
        for catalog in (None, slower)
    )
    rows = {row["field"]: row for row in difference(one, other)}
    assert one["version"] == rackmodel.__version__
    assert rows[f"catalog.changed.{FIELD}"]["after"] == 1e12
    assert rows["catalog.digest"]["part"] == "input"
    assert rows["step_s"]["change"] > 0

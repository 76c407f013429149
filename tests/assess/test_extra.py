"""Assessments that users register."""

from __future__ import annotations

import io
import json

import pytest

from rackmodel.api import simulate
from rackmodel.assess.extra import ASSESSMENTS, assessment
from rackmodel.errors import InvalidInput

JOB = {"model": "gpt3-13b", "gpus": 8, "global_batch": 8, "seq_len": 2048}
JOB["plan"] = {"tp": 8, "pp": 1, "micro_batch": 1}


@pytest.fixture
def carbon():
    """Register the carbon of a token, on a grid of 400 g a kWh."""

    @assessment("carbon")
    def of(result):
        energy = result.assessment["power"]["facility_j_per_token"]
        return {"kg_per_mtoken": energy * 1e6 / 3.6e6 * 0.4, "gpus": result.step.job.gpus}

    yield of
    del ASSESSMENTS["carbon"]


def test_figures_of_a_user_stand_beside_the_others(carbon):
    found = json.loads(simulate("dgx-h100", **JOB).to_json())
    energy = found["power"]["facility_j_per_token"]
    assert found["assessments"]["carbon"]["kg_per_mtoken"] == pytest.approx(energy / 9.0)
    assert found["assessments"]["carbon"]["gpus"] == 8


def test_tables_show_the_figures_of_a_user(carbon):
    from rich.console import Console

    from rackmodel.cli.tables_site import money_tables

    console = Console(width=100, record=True, file=io.StringIO())
    for part in money_tables(simulate("dgx-h100", **JOB).to_dict()):
        console.print(part)
    shown = console.export_text()
    assert "carbon" in shown
    assert "kg per" in shown


def test_a_name_is_registered_once(carbon):
    with pytest.raises(InvalidInput, match="'carbon' is registered already"):
        assessment("carbon")


def test_without_any_nothing_is_added():
    assert "assessments" not in simulate("dgx-h100", **JOB).to_dict()

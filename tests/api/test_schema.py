"""The schemas describe what ships and what is printed: every key, of every command."""

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

import rackmodel
from rackmodel import schema
from rackmodel.cli import app
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.result.records import ResultRecord
from rackmodel.topology import topology_names

ROOT = Path(rackmodel.__file__).parents[1]
JOB = ["--model", "gpt3-1.3b", "--gpus", "8", "--global-batch", "8", "--seq-len", "1k"]
PLAN = ["--tp", "2", "--pp", "1", "--dp", "4", "--micro-batch", "1"]


def run(*words):
    found = CliRunner().invoke(app, [str(word) for word in words])
    assert found.exit_code == 0, found.stderr
    return json.loads(found.stdout)


def read(path):
    return tomllib.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("kind", list(schema.KINDS))
def test_every_kind_is_printed_with_its_version(kind):
    found = run("schema", kind)
    assert found["version"] == rackmodel.__version__
    assert found["properties"]


@pytest.mark.parametrize("name", topology_names())
def test_every_machine_that_ships_fits_the_schema(name):
    schema.check("topology", read(ROOT / "topologies" / f"{name}.toml"))


@pytest.mark.parametrize("table", ["accelerators", "links", "switches", "media"])
def test_every_part_that_ships_fits_the_schema(table):
    parts = read(ROOT / "rackmodel" / "hardware" / "data" / f"{table}.toml")
    parts.pop("defaults", None)
    schema.check("parts", {table: parts})


def test_the_design_of_the_examples_fits_the_schema():
    schema.check("design", read(ROOT / "examples" / "racks.toml"))


def test_a_model_needs_its_sizes_only():
    schema.check("models", {"layers": 2, "hidden": 64, "heads": 4, "vocab": 100, "ffn_ratio": 4})
    with pytest.raises(InvalidInput, match="layer"):
        schema.check("models", {"layer": 2, "hidden": 64, "heads": 4, "vocab": 100})


def test_unknown_keys_and_kinds_are_refused():
    with pytest.raises(UnknownName, match="did you mean 'topology'"):
        schema.schema("topologie")
    machine = read(ROOT / "topologies" / "dgx-h100.toml")
    with pytest.raises(InvalidInput, match="hosts"):
        schema.check("topology", {**machine, "hosts": {}})


def keys_of(kind):
    return set(kind.__annotations__)


def test_simulate_prints_what_its_records_say():
    found = run("simulate", "dgx-h100", *JOB, *PLAN, "--tokens", "1T", "--json")
    schema.check("result", found)
    assert set(found) <= keys_of(ResultRecord)
    assert keys_of(ResultRecord) - set(found) <= {"trays", "assessments"}
    deeper = schema.schema("result")["$defs"]
    for name, part in (("power", "PowerRecord"), ("cost", "CostRecord"), ("hbm", "HbmRecord")):
        assert set(found[name]) <= set(deeper[part]["properties"])
    for name, part in (("racks", "RackRecord"), ("links", "LinkRecord")):
        assert all(set(row) <= set(deeper[part]["properties"]) for row in found[name])


def test_serve_prints_what_its_record_says():
    words = ["--model", "llama3.1-70b", "--users", 8, "--isl", 512, "--osl", 64, "--tp", 8]
    found = run("serve", "dgx-h100", *words, "--json")
    schema.check("serving", found)
    with pytest.raises(InvalidInput, match="tpot_s"):
        schema.check("serving", {key: found[key] for key in found if key != "tpot_s"})


# Keys that scripts rely on: of the whole, and of each row.
PRINTED = [
    (["compare", "dgx-h100", *JOB, *PLAN], {"model", "gpus", "global_batch", "rows"}, {"step_s"}),
    (["search", "dgx-h100", *JOB, *PLAN, "--top", "1"], {"plans", "rows"}, {"step_s", "plan"}),
    (["heat", "dgx-h100", *JOB, *PLAN], {"heat_w", "rows", "notes"}, {"tray", "heat_w"}),
    (
        ["collective", "dgx-h100", "--op", "all-reduce", "--bytes", "1MB", "--gpus", "8"],
        {"topology", "op", "gpus", "rows"},
        {"op", "bytes", "gpus", "algorithm", "time_s", "algbw_bytes_per_s", "bound_s", "bound_by"},
    ),
    (
        ["goodput", "dgx-h100", "--gpus", "64", "--runs", "0"],
        {"topology", "goodput", "mtbf_s", "interval_s", "rows", "domains"},
        {"part", "interruptions_per_day", "share"},
    ),
    (["list", "topologies"], {"kind", "rows"}, {"name"}),
    (["list", "stacks"], {"kind", "rows"}, {"name", "date", "aliases"}),
    (["show", "gb200"], {"name", "kind", "rows", "sources"}, {"field", "value", "grade"}),
    (["flows", "dgx-h100", "FLOWS"], {"topology", "rows"}, {"finish_s", "hops", "bottleneck"}),
]


@pytest.mark.parametrize(
    ("words", "keys", "row"), PRINTED, ids=[" ".join(w[:2]) for w, *_ in PRINTED]
)
def test_every_command_prints_its_keys(words, keys, row, tmp_path):
    flows = tmp_path / "flows.csv"
    flows.write_text("source,target,bytes\n0,1,1e6\n")
    found = run(*[flows if word == "FLOWS" else word for word in words], "--json")
    assert keys <= set(found)
    assert all(row <= set(one) for one in found["rows"])


def test_every_field_of_a_topology_file_says_what_it_is():
    found = schema.schema("topology")
    tables = {"": found, **found["$defs"]}
    fields = {(t, n): one for t, own in tables.items() for n, one in own["properties"].items()}
    assert len(fields) > 25
    assert [name for name, one in fields.items() if not one.get("description")] == []

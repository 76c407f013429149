"""The fields of the page, with the help that the command line gives.

In:  the options of the commands, the machines and models that ship, the catalog.
Out: `form`, as JSON can hold it.
Left out: how fields look.
"""

from __future__ import annotations

import inspect
import typing
from typing import TYPE_CHECKING, Any

import rackmodel
from rackmodel.cli.options import expanded
from rackmodel.cli.page.commands import COMMANDS
from rackmodel.errors import InvalidInput

if TYPE_CHECKING:
    from rackmodel.topology import Topology

MOST_UNIT = 576  # accelerators of a domain by which a slider counts; tori count by hosts

#: Fields in order: name of the parameter, label, how it is chosen, and its notches.
_TRAIN = (
    ("topology", "Machine", "machine", ()),
    ("model", "Model", "model", ()),
    ("gpus", "Accelerators", "gpus", ()),
    ("global_batch", "Sequences per accelerator", "batch", (0.125, 0.25, 0.5, 1, 2, 4, 8, 16)),
    ("seq_len", "Tokens per sequence", "notches", (1024, 2048, 4096, 8192, 16384, 32768)),
    ("precision", "Precision", "choice", ()),
)
_SERVE = (
    ("topology", "Machine", "machine", ()),
    ("model", "Model", "model", ()),
    ("gpus", "Accelerators", "gpus", ()),
    ("users", "Users per accelerator", "users", (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128)),
    ("isl", "Tokens of a prompt", "notches", (256, 1024, 2048, 4096, 8192, 16384, 32768)),
    ("osl", "Tokens of an answer", "notches", (128, 256, 512, 1024, 2048, 4096, 8192)),
    ("weights", "Weights", "choice", ()),
)
_SITE = (
    ("power_cap_w", "Power cap of an accelerator", "cap", (0.5, 0.6, 0.7, 0.8, 0.9)),
    ("supply_c", "Coolant or air supplied, °C", "notches", (18, 22, 25, 28, 32, 36, 40, 45)),
    ("facility_pue", "PUE", "notches", (1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.6)),
    ("usd_per_kwh", "Dollars per kWh", "notches", (0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3)),
)
_SETS = (
    (
        "domain",
        "Scale-up domain",
        "domain",
        "Accelerators of a scale-up domain (--set topology.shape.accelerators); the machine's own, "
        "or a smaller one. Domains as they are sold, also larger ones: rackmodel domains.",
    ),
    (
        "price",
        "Price of an accelerator",
        "price",
        "What one accelerator costs (--set prices.NAME.capex_usd); default: the "
        "catalog's, which `rackmodel show NAME` gives with its source.",
    ),
)
_START = {
    "simulate": {"topology": "gb200-nvl72", "model": "llama3-70b", "gpus": 72},
    "serve": {"topology": "gb200-nvl72", "model": "deepseek-v3", "gpus": 72},
}


def form() -> dict[str, Any]:
    """Return machines, models and the fields of both tabs."""
    from rackmodel.workload.catalog import model_names

    return {
        "machines": _machines(),
        "models": model_names(),
        "start": _START,
        "tabs": {
            "simulate": [*_fields("simulate", _TRAIN), *_sets(), *_fields("simulate", _SITE)],
            "serve": [*_fields("serve", _SERVE), *_sets(("price",)), *_fields("serve", _SITE)],
        },
    }


def _fields(command: str, wanted: tuple[Any, ...]) -> list[dict[str, Any]]:
    known = inspect.signature(expanded(COMMANDS[command])).parameters
    found = []
    for name, label, kind, notches in wanted:
        hint, told = typing.get_args(known[name].annotation)
        choices = [
            str(word)
            for part in (hint, *typing.get_args(hint))
            if typing.get_origin(part) is typing.Literal
            for word in typing.get_args(part)
        ]
        names = (getattr(told, "default", ""), *(told.param_decls or ()))
        option = next((one for one in names if str(one).startswith("--")), "")
        default = known[name].default
        found.append(
            {
                "name": name,
                "label": label,
                "kind": kind,
                "option": option,
                "help": told.help,
                "notches": list(notches),
                "choices": choices,
                "site": (name, label, kind, notches) in _SITE,
                "default": default if isinstance(default, str) else "",
            }
        )
    return found


def _sets(wanted: tuple[str, ...] = ("domain", "price")) -> list[dict[str, Any]]:
    return [
        {"name": name, "label": label, "kind": kind, "help": told, "option": "--set", "site": True}
        for name, label, kind, told in _SETS
        if name in wanted
    ]


def _machines() -> list[dict[str, Any]]:
    """Return the machines that ship, with what the notches of their sliders are made of."""
    from rackmodel.assess.cost import price
    from rackmodel.topology import topology_names

    parts = rackmodel.load_catalog()
    found = []
    for name in topology_names():
        machine = rackmodel.load_topology(name)
        domain, accelerator = machine.domain_accelerators, str(machine.accelerator)
        found.append(
            {
                "name": name,
                "title": machine.title,
                "accelerator": accelerator,
                "domain": domain,
                "unit": domain if domain <= MOST_UNIT else _host(machine),
                "most": machine.max_accelerators,
                "power_w": parts.accelerators[accelerator].power_w,
                "usd": price(parts, accelerator, "capex_usd"),
                "domains": _smaller(machine),
            }
        )
    return found


def _host(machine: Topology) -> int:
    """Return the accelerators of a host; all of the domain where there is none."""
    return machine.host.accelerators if machine.host else machine.domain_accelerators


def _smaller(machine: Topology) -> list[dict[str, Any]]:
    """Return smaller scale-up domains with the words that set them; pods keep their size or halve
    until a leaf has the ports."""
    from rackmodel.topology.shapes import Switched

    domain, fabric = machine.domain_accelerators, machine.fabric
    host = _host(machine)
    if not isinstance(machine.scale_up, Switched) or domain <= host or fabric is None:
        return []
    found = []
    for size in (8, 16, 24, 36):
        nics = round(size * machine.nics_per_accelerator)
        if size >= domain or size % host or machine.scale_up.groups > 1:
            continue
        sets = {
            "shape.accelerators": str(size),
            "fabric.rails": str(max(n for n in range(1, fabric.rails + 1) if nics % n == 0)),
            "fabric.pod_units": str(fabric.pod_units * domain // size),
        }
        if _loads(machine.name, sets):
            words = [w for key, n in sets.items() for w in ("--set", f"topology.{key}={n}")]
            found.append({"size": size, "words": words})
    return found


def _loads(name: str, sets: dict[str, str]) -> bool:
    """Halve the pods of `sets` until the machine can be built; tell whether it can."""

    while int(sets["fabric.pod_units"]) >= 1:
        try:
            rackmodel.load_topology(name, overrides=sets)
        except InvalidInput:
            sets["fabric.pod_units"] = str(int(sets["fabric.pod_units"]) // 2)
        else:
            return True
    return False

"""What can be bought: parts with a source for every number.

In:  TOML tables in `data/`, a user's files, overrides.
Out: `load_catalog()`, `accelerator(name)` and the frozen dataclasses of `parts`.
Left out: how parts are joined (topology) and what they do over time (simulate, assess).
"""

from rackmodel.hardware.catalog import accelerator, load_catalog, sources
from rackmodel.hardware.describe import Fact, catalog_rows, describe, show_quantity
from rackmodel.hardware.parts import (
    Accelerator,
    Catalog,
    Link,
    Medium,
    PowerModel,
    Provenance,
    Quantity,
    Source,
    Switch,
    ThermalModel,
    Transport,
)

__all__ = [
    "Accelerator",
    "Catalog",
    "Fact",
    "Link",
    "Medium",
    "PowerModel",
    "Provenance",
    "Quantity",
    "Source",
    "Switch",
    "ThermalModel",
    "Transport",
    "accelerator",
    "catalog_rows",
    "describe",
    "load_catalog",
    "show_quantity",
    "sources",
]

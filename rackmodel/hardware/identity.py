"""Which catalog figures were worked out with: a digest, and what a user has changed in it.

In:  a catalog.
Out: `identity`; `made_with`, with the version of rackmodel.
Left out: what two results have different (`rackmodel.reporting.difference`).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from rackmodel.hardware.catalog import load_catalog, shipped_files
from rackmodel.hardware.parts import Catalog, Quantity
from rackmodel.shipped import kept

DIGITS = 12  # of a digest: enough to tell some million catalogs apart


def identity(catalog: Catalog) -> dict[str, Any]:
    """Return the digest of all values (sources and notes aside), changed: those not as shipped.

    The keys are those of `rackmodel.result.records.CatalogRecord`.

    Examples
    --------
    >>> identity(load_catalog(overrides={"accelerators.h100.power_w": 650}))["changed"]
    {'accelerators.h100.power_w': 650.0}
    """
    shipped = load_catalog()
    if catalog is shipped:
        return {"digest": _shipped_digest(), "changed": {}}
    known = dict(_values(shipped))
    own = dict(_values(catalog))
    changed = {name: one[3] or one[0] for name, one in own.items() if known.get(name) != one}
    return {"digest": _digest(own), "changed": changed}


def made_with(catalog: Catalog | None) -> dict[str, Any]:
    """Return version and catalog as results name them; None: the catalog that ships."""
    version = import_module("rackmodel").__version__
    return {"version": version, "catalog": identity(catalog or load_catalog())}


@functools.cache
def _shipped_digest() -> str:
    files = [*shipped_files(), Path(__file__)]
    found: str = kept("digest", files, lambda: _digest(dict(_values(load_catalog()))))
    return found


def _digest(values: Mapping[str, tuple[float | str, ...]]) -> str:
    text = repr(sorted(values.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def _values(catalog: Catalog) -> Iterator[tuple[str, tuple[float | str, float, float, str]]]:
    """Yield dotted fields with value, bounds and text; the NaN of a text would equal nothing."""
    for kind, parts in catalog.tables.items():
        for part, table in parts.items():
            for field, one in table.items():
                yield f"{kind}.{part}.{field}", _plain(one)


def _plain(one: Quantity) -> tuple[float | str, float, float, str]:
    return ("", 0.0, 0.0, one.text) if one.text else (one.value, one.low, one.high, "")

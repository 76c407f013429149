from __future__ import annotations

import pytest

from rackmodel.assess.chassis import chassis_of
from rackmodel.hardware import load_catalog


@pytest.fixture(scope="session")
def catalog():
    return load_catalog()


@pytest.fixture(scope="session")
def h100(catalog):
    return catalog.accelerators["h100"]


@pytest.fixture(scope="session")
def gb200(catalog):
    return catalog.accelerators["gb200"]


@pytest.fixture(scope="session")
def immersion(catalog):
    return chassis_of(catalog, "hgx-h100-immersion")


@pytest.fixture(scope="session")
def air_node(catalog):
    return chassis_of(catalog, "dgx-h100")


@pytest.fixture(scope="session")
def nvl72(catalog):
    return chassis_of(catalog, "gb200-nvl72")

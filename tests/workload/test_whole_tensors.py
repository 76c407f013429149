"""Shards of the optimizer that are whole tensors: owners broadcast them after the update."""

from dataclasses import replace

import pytest

from rackmodel.workload import Compute
from tests.workload.test_layers import DENSE, axis_bytes, flat, job


@pytest.mark.parametrize(("size", "axis"), [(0, "dp_cp"), (4, "dp_shard")])
def test_owners_of_whole_tensors_broadcast_them_after_the_update(size, axis):
    one = replace(job(dp=8, shard_size=size), stack="internevo")
    assert axis_bytes(one, "dp_cp", "all-reduce") - 8 == pytest.approx(2 * DENSE.parameters)
    assert axis_bytes(one, axis, "broadcast") == pytest.approx(2 * DENSE.parameters)
    operations = list(flat(one))
    sent = [i for i, o in enumerate(operations) if getattr(o, "op", "") == "broadcast"]
    assert len(sent) == (size or 8)  # one for each owner
    before = [o for o in operations[: min(sent)] if isinstance(o, Compute)]
    assert "adam" in {kernel.name for compute in before for kernel in compute.kernels}
    assert all(operations[i].stream == "compute" for i in sent)

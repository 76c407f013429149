"""What NCCL writes of a node by NCCL_TOPO_DUMP_FILE.

In:  the XML element `system`.
Out: a directed graph: GPUs, NVSwitches, NICs, CPUs.
Left out: PCIe switches, which have no kind here: what hangs together below one is joined directly,
a GPU with the NICs of the nearest switch above it that has any.

Rates: an NVLink by generation (25 GB/s each way up to Hopper, 20 on Pascal, 50 from Blackwell on;
data sheets), PCIe by `link_speed` and `link_width` (128b/130b from 8 GT/s on), a port by `speed`
[Mb/s]. The accelerators are named by their PCI device where it is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rackmodel.annotations import DiGraph, Element
from rackmodel.errors import InvalidInput
from rackmodel.gate import shown
from rackmodel.topology.formats.joined import Joined
from rackmodel.topology.kinds import Kind

_SWITCH_CLASS = "0x0680"  # PCI class of an NVSwitch
_NVLINK = ((100, 50e9), (70, 25e9), (60, 20e9))  # from that compute capability on: bytes/s a link
_DEVICES = {
    **{"0x2330": "h100", "0x2335": "h200", "0x20b0": "a100-40", "0x20b2": "a100-80"},
    **{"0x2324": "h800", "0x2329": "h20", "0x2342": "gh200-96", "0x2348": "gh200-141"},
    **{"0x2901": "b200", "0x2941": "gb200", "0x1db5": "v100", "0x1db8": "v100"},
}
_GEN5_X16 = 32e9 / 8 * 16 * 128 / 130


def from_nccl(root: Element, file: str) -> DiGraph[Any]:
    """Return the graph of one node's dump."""
    joined, names = Joined(), _gpu_names(root, file)
    for place, cpu in enumerate(root.findall("cpu")):
        name = f"cpu{place}"
        joined.add(name, Kind.CPU, rack=0)
        _below(joined, cpu, name, names, file)
    if not names:
        raise InvalidInput(f"{file}: <system> holds no <gpu>; add one")
    for gpu, name in names.values():
        _nvlinks(joined, gpu, name, names, file)
    devices = {pci.get("device", "").lower() for pci in _pci_of_gpus(root)}
    parts = {_DEVICES.get(device) for device in devices if device}
    if len(parts) == 1 and (part := parts.pop()):
        from rackmodel.hardware import load_catalog

        if part in load_catalog().accelerators:
            joined.graph.graph["accelerator"] = part
    return joined.graph


def _pci_of_gpus(root: Element) -> Iterator[Element]:
    return (pci for pci in root.iter("pci") if pci.find("gpu") is not None)


def _gpu_names(root: Element, file: str) -> dict[str, tuple[Element, str]]:
    """Each GPU by its bus id: its element and its name."""
    found: dict[str, tuple[Element, str]] = {}
    for place, pci in enumerate(_pci_of_gpus(root)):
        bus = pci.get("busid", f"gpu {place}")
        if bus in found:
            raise InvalidInput(f"{file}: busid {shown(bus)} stands twice; give each its own")
        gpu = pci.find("gpu")
        assert gpu is not None
        found[bus] = gpu, f"gpu{place}"
    return found


def _below(
    joined: Joined, above: Element, cpu: str, names: dict[str, tuple[Element, str]], file: str
) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """Add what hangs below a CPU or a PCIe switch; return GPUs and NICs that want each other.

    GPUs and NICs are joined where both are below the same switch; what is left goes up.
    """
    gpus: list[tuple[str, float]] = []
    nics: list[tuple[str, float]] = []
    for pci in above.findall("pci"):
        rate = _pcie(pci, file)
        bus = pci.get("busid", "")
        if bus in names and pci.find("gpu") is not None:
            joined.add(names[bus][1], Kind.ACCELERATOR, rack=0)
            joined.link(names[bus][1], cpu, rate)
            gpus.append((names[bus][1], rate))
        elif (nic := pci.find("nic")) is not None:
            nics += _nic(joined, nic, rate, file)
        else:
            more = _below(joined, pci, cpu, names, file)
            gpus += [(name, min(rate, one)) for name, one in more[0]]
            nics += [(name, min(rate, one)) for name, one in more[1]]
    for nic in above.findall("nic"):
        nics += _nic(joined, nic, _GEN5_X16, file)
    if not gpus or not nics:
        return gpus, nics
    for place in range(max(len(gpus), len(nics))):
        (gpu, one), (port, other) = gpus[place % len(gpus)], nics[place % len(nics)]
        joined.link(gpu, port, min(one, other))
    return [], []


def _nic(joined: Joined, nic: Element, rate: float, file: str) -> list[tuple[str, float]]:
    """Add the ports of a NIC."""
    found: list[tuple[str, float]] = []
    for net in nic.findall("net"):
        name = net.get("name") or f"nic{net.get('dev', len(found))}"
        speed = _number(net.get("speed", ""), f"{file}: <net> speed") * 1e6 / 8
        joined.add(name, Kind.NIC, rack=0)
        found.append((name, min(rate, speed)))
    return found


def _nvlinks(
    joined: Joined, gpu: Element, name: str, names: dict[str, tuple[Element, str]], file: str
) -> None:
    """Join a GPU by its NVLinks to switches, or one way to other GPUs, which say theirs."""
    capability = _number(gpu.get("sm", "0"), f"{file}: <gpu> sm")
    each = next((rate for since, rate in _NVLINK if capability >= since), 0.0)
    for link in gpu.findall("nvlink"):
        if not each:
            raise InvalidInput(
                f"{file}: <gpu> sm={gpu.get('sm')!r} has no NVLink that is known; expected 60 or"
                " more"
            )
        count = int(_number(link.get("count", "1"), f"{file}: <nvlink> count"))
        target = link.get("target", "")
        if link.get("tclass", "").startswith(_SWITCH_CLASS):
            switch = f"nvswitch {target}"
            if switch not in joined.graph:
                joined.add(switch, Kind.SCALE_UP_SWITCH, rack=0)
            joined.link(name, switch, each * count, count=count)
        elif target in names:
            joined.link(name, names[target][1], each * count, count=count, both=False)


def _pcie(pci: Element, file: str) -> float:
    """Bytes/s of a PCIe link, one direction; where it is not known, of a fifth generation x16."""
    said, width = pci.get("link_speed", "").strip(), pci.get("link_width", "")
    if not said or said.lower().startswith("unknown"):  # as Linux has it
        return _GEN5_X16
    transfers = _number(said.partition("GT/s")[0], f"{file}: <pci> link_speed in GT/s")
    coding = 128 / 130 if transfers >= 8 else 8 / 10
    lanes = _number(width, f"{file}: <pci> link_width") if width else 16
    return transfers * 1e9 / 8 * coding * max(1.0, lanes)


def _number(text: str, where: str) -> float:
    if not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text.strip()):
        raise InvalidInput(f"{where}: expected a number, found {shown(text)}")
    return float(text)

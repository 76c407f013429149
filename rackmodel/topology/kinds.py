"""The words for what stands in a machine and where: kinds of nodes, tiers of links and switches.

In:  nothing.
Out: `Kind` (with the level of a node), `Tier` (with its place), and the tier that two kinds join.
Left out: kinds of links and media, which the hardware catalog names.

Members are texts: files, graphs and JSON hold them as they are written here.
"""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What a node is, from the accelerators upwards."""

    ACCELERATOR = "accelerator"
    CPU = "cpu"
    SCALE_UP_SWITCH = "scale_up_switch"
    NIC = "nic"
    LEAF = "leaf"
    SPINE = "spine"
    CORE = "core"
    OCS = "ocs"

    @property
    def level(self) -> int:
        """How far above the accelerators it stands; NICs and scale-up switches are side by side."""
        return _LEVELS[self]


_LEVELS = {
    Kind.ACCELERATOR: 0,
    Kind.CPU: 0,
    Kind.SCALE_UP_SWITCH: 1,
    Kind.NIC: 1,
    Kind.LEAF: 2,
    Kind.SPINE: 3,
    Kind.CORE: 4,
    Kind.OCS: 5,
}
FABRIC_SWITCHES = (Kind.LEAF, Kind.SPINE, Kind.CORE)


class Tier(StrEnum):
    """Where a link or a switch belongs: a link is named by the kinds of its ends."""

    SCALE_UP = "scale_up"
    SCALE_UP_TOP = "scale_up_top"  # second-tier switches of a domain, and links between switches
    HOST = "host"
    NIC_LEAF = "nic_leaf"
    LEAF_SPINE = "leaf_spine"
    SPINE_CORE = "spine_core"
    LEAF_LEAF = "leaf_leaf"
    LEAF = "leaf"
    SPINE = "spine"
    CORE = "core"
    OCS = "ocs"
    OTHER = "other"

    @property
    def in_fabric(self) -> bool:
        """Whether it belongs to the fabric, and not to a rack."""
        return self not in (Tier.SCALE_UP, Tier.SCALE_UP_TOP, Tier.HOST, Tier.OCS)


ABOVE_LEAVES = (Tier.LEAF_SPINE, Tier.SPINE_CORE, Tier.LEAF_LEAF)
"""Tiers of links between switches of the fabric."""

_TIERS: dict[tuple[str, str], Tier] = {
    (Kind.ACCELERATOR, Kind.ACCELERATOR): Tier.SCALE_UP,
    (Kind.ACCELERATOR, Kind.SCALE_UP_SWITCH): Tier.SCALE_UP,
    (Kind.SCALE_UP_SWITCH, Kind.SCALE_UP_SWITCH): Tier.SCALE_UP_TOP,
    (Kind.ACCELERATOR, Kind.CPU): Tier.HOST,
    (Kind.CPU, Kind.CPU): Tier.HOST,
    (Kind.CPU, Kind.NIC): Tier.HOST,
    (Kind.ACCELERATOR, Kind.NIC): Tier.HOST,
    (Kind.LEAF, Kind.NIC): Tier.NIC_LEAF,
    (Kind.LEAF, Kind.SPINE): Tier.LEAF_SPINE,
    (Kind.CORE, Kind.SPINE): Tier.SPINE_CORE,
    (Kind.LEAF, Kind.LEAF): Tier.LEAF_LEAF,
}


def tier_of(kind_a: str, kind_b: str) -> Tier:
    """Name the tier of a link from the kinds of its ends; "other" for unusual ones.

    >>> print(tier_of("nic", "leaf"), tier_of("scale_up_switch", "accelerator"))
    nic_leaf scale_up
    >>> print(tier_of("leaf", "cpu"))
    other
    """
    return _TIERS.get((kind_a, kind_b)) or _TIERS.get((kind_b, kind_a)) or Tier.OTHER


_REACH = (  # the first pair of kinds that matches names the part of the machine
    ("scale-up", (Kind.SCALE_UP_SWITCH,)),
    ("core", (Kind.CORE,)),
    ("spine", (Kind.SPINE,)),
    ("leaf", (Kind.LEAF,)),
    ("optical", (Kind.OCS,)),
    ("host", (Kind.NIC, Kind.CPU)),
    ("scale-up", (Kind.ACCELERATOR,)),
)


def tier_word(kind_a: str, kind_b: str) -> str:
    """Name the tier that a link leads up to as results call it.

    >>> tier_word("leaf", "accelerator"), tier_word("spine", "leaf"), tier_word("nic", "cpu")
    ('leaf', 'spine', 'host')
    """
    return next((word for word, kinds in _REACH if kind_a in kinds or kind_b in kinds), "other")

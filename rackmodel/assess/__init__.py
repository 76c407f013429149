"""What a simulated step does to its site: power, heat, coolant, money, failures.

In:  the timeline, rank_classes and racks frames of a simulation, the catalog, the machine's
     inventory.
Out: `assess_step` for the front door, and the functions that it is made of, each of which also
     stands alone. Frames in, frames out.
Left out: how long the step takes (simulate), pictures (report).
"""

from rackmodel.assess.availability import availability, spare_rows
from rackmodel.assess.chassis import Chassis, chassis_of
from rackmodel.assess.clock import (
    capped_clock,
    relative_clock,
    repeated_unit,
    settle_clock,
    sustained_clock,
)
from rackmodel.assess.cost import capital, cost_of, training_run
from rackmodel.assess.fabric_share import own_share, shares
from rackmodel.assess.failure_run import simulate_run, simulate_runs
from rackmodel.assess.heat import heat_by_tray
from rackmodel.assess.media import media_rows, swap_tier
from rackmodel.assess.power import Assessment, assess_power, check_coolant
from rackmodel.assess.rack_power import idle_chassis_w, rack_power
from rackmodel.assess.reliability import (
    assess_failures,
    best_interval_s,
    domain_spares,
    goodput,
    part_rates,
    rates_of,
)
from rackmodel.assess.step import assess_step, rack_rows
from rackmodel.assess.throttle import cooled_w, may_overheat
from rackmodel.assess.windows import swings

__all__ = [
    "Assessment",
    "Chassis",
    "assess_failures",
    "assess_power",
    "assess_step",
    "availability",
    "best_interval_s",
    "capital",
    "capped_clock",
    "chassis_of",
    "check_coolant",
    "cooled_w",
    "cost_of",
    "domain_spares",
    "goodput",
    "heat_by_tray",
    "idle_chassis_w",
    "may_overheat",
    "media_rows",
    "own_share",
    "part_rates",
    "rack_power",
    "rack_rows",
    "rates_of",
    "relative_clock",
    "repeated_unit",
    "settle_clock",
    "shares",
    "simulate_run",
    "simulate_runs",
    "spare_rows",
    "sustained_clock",
    "swap_tier",
    "swings",
    "training_run",
]

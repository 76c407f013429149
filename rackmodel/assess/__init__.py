"""What a simulated step does to its site: power, heat, coolant, money, failures.

In:  the timeline, rank_classes and racks frames of a simulation, the catalog, the machine's
     inventory.
Out: `assess_step` for the front door, and the functions that it is made of, each of which also
     stands alone. Frames in, frames out.
Left out: how long the step takes (simulate), pictures (report).
"""

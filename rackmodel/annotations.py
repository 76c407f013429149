"""Types of libraries that take long to load, as names for annotations; nothing is loaded for them.

In:  nothing.
Out: the types for a checker of types; when the package runs a name that means anything.
Left out: the libraries: who draws, tabulates or simulates imports them where that begins.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element as Element

    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure as Figure
    from matplotlib.patches import Rectangle as Rectangle
    from networkx import DiGraph as DiGraph, Graph as Graph
    from pandas import DataFrame as DataFrame, Series as Series
    from simpy import Environment as Environment, Event as Event
else:
    Axes = DataFrame = DiGraph = Element = Environment = Event = Figure = Graph = Any
    Rectangle = Series = Any

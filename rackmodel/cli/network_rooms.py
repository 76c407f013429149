"""Where the command line calls `topology` and `network`, and reads tables of flows.

In:  checked words and paths.
Out: rows, frames, figures.
Left out: parsing of words, printing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from rackmodel.cli.rooms import check_file, name_or_file
from rackmodel.cli.values import clip
from rackmodel.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd

    from rackmodel.hardware import Catalog

Routing: TypeAlias = Literal["spray", "paths", "ecmp", "single", "dimension-order", "rail"]
FLOW_COLUMNS = ("source", "target", "bytes", "start_s")
MOST = {"bytes": 1e24, "start_s": 1e12}  # more is a slip, and sums would lose the small flows


def collective(
    topology: str,
    op: str,
    wanted_bytes: Sequence[float],
    gpus: int,
    *,
    algorithm: str | None,
    routing: Routing,
    seed: int,
    parts: Catalog | None,
) -> list[dict[str, Any]]:
    """Return one row per size, as nccl-tests orders them."""
    word = name_or_file(topology, "TOPOLOGY")
    from rackmodel.network import run_collective
    from rackmodel.topology import load_topology

    machine = load_topology(word, catalog=parts)
    if machine.max_accelerators is not None and gpus > machine.max_accelerators:
        raise InvalidInput(
            f"--gpus {gpus:,}: topology {clip(topology, 60)!r} has at most"
            f" {machine.max_accelerators:,} accelerators; ask for fewer"
        )
    return [
        dict(row)
        for row in run_collective(
            machine, op, wanted_bytes, gpus, algorithm=algorithm, routing=routing, seed=seed
        )
    ]


def uneven(
    topology: str,
    op: str,
    wanted_bytes: Sequence[float],
    gpus: int,
    split: Path,
    *,
    routing: Routing,
    seed: int,
    parts: Catalog | None,
) -> list[dict[str, Any]]:
    """Return one row per size of an all-to-all whose sizes a table splits.

    Raises
    ------
    InvalidInput
        If the operation is another one, or the table is not N x N weights.
    """
    import numpy as np
    import pandas as pd

    from rackmodel.network import Network, all_to_allv
    from rackmodel.topology import load_topology

    if op != "all-to-all":
        raise InvalidInput(f"--split: only all-to-all has uneven sizes, not {op}")
    check_file(split, "--split")
    try:
        weights = pd.read_csv(split, header=None).to_numpy(dtype=np.float64)
    except (ValueError, UnicodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InvalidInput(f"{split}: not a table of numbers ({clip(str(error), 120)})") from error
    if weights.shape != (gpus, gpus) or not np.isfinite(weights).all() or (weights < 0).any():
        shape = " x ".join(map(str, weights.shape))
        raise InvalidInput(
            f"{split}: wanted {gpus} x {gpus} weights of 0 or more (--gpus {gpus}), got {shape}"
        )
    fullest = float(weights.sum(axis=1).max(initial=0.0))
    if fullest <= 0:
        raise InvalidInput(f"{split}: all weights are 0; nobody sends anything")
    machine = load_topology(name_or_file(topology, "TOPOLOGY"), catalog=parts)
    network = Network.from_graph(machine.graph(gpus, bundled=True), routing=routing, seed=seed)
    return [all_to_allv(network, range(gpus), weights * (size / fullest)) for size in wanted_bytes]


def read_flows(path: Path) -> pd.DataFrame:
    """Return the table of flows, every value checked; other columns and the order are kept.

    Raises
    ------
    InvalidInput
        With the file, the row and the value.
    """
    check_file(path, "FLOWS.csv")
    import numpy as np
    import pandas as pd

    try:
        frame = pd.read_csv(
            path,
            header=None,  # pandas would rename a column that stands twice
            dtype=str,  # other columns come out as they went in: 007 stays 007
            encoding="utf-8-sig",
            keep_default_na=False,
        )
    except (ValueError, UnicodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InvalidInput(f"{path}: not a CSV table ({clip(str(error), 120)})") from error
    if not isinstance(frame.index, pd.RangeIndex):
        raise InvalidInput(f"{path}: the rows have more fields than the first line names")
    heads, frame = frame.iloc[0], frame.iloc[1:].reset_index(drop=True)
    frame.columns = [str(column).strip() for column in heads]
    missing = [column for column in FLOW_COLUMNS[:3] if column not in frame]
    if missing:
        raise InvalidInput(
            f"{path}: wanted columns {', '.join(FLOW_COLUMNS)}; missing {', '.join(missing)} "
            f"(found: {clip(', '.join(frame.columns), 120)})"
        )
    if frame.columns.duplicated().any():
        raise InvalidInput(f"{path}: two columns have the same name")
    if "start_s" not in frame:
        frame["start_s"] = "0"
    for column in ("bytes", "start_s"):
        values = frame[column].map(_number).astype(float)
        good = (values.to_numpy() >= 0) & (values.to_numpy() <= MOST[column])
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            raise InvalidInput(
                f"{path}: row {row + 2}: {column} has to be a number from 0 to "
                f"{MOST[column]:g}; "
                f"got {clip(str(frame[column].iloc[row]))!r}"
            )
        frame[column] = values
    for column in ("source", "target"):
        frame[column] = frame[column].str.strip()
    return frame


def _number(word: object) -> float:
    """Return a number to its last bit, NaN where it is none."""
    try:
        text = str(word)
        return float(text) if text.isascii() and "_" not in text else float("nan")
    except ValueError:
        return float("nan")


def flows(
    topology: str,
    table: pd.DataFrame,
    *,
    gpus: int | None,
    routing: Routing,
    seed: int,
    parts: Catalog | None,
    progress: Callable[[int, int], None],
) -> pd.DataFrame:
    """Return `table` with finish_s, mean_bytes_per_s, hops, bottleneck."""
    word = name_or_file(topology, "TOPOLOGY")
    from rackmodel.network import Network, simulate_flows
    from rackmodel.topology import load_topology
    from rackmodel.topology.files import GRAPH_SUFFIXES
    from rackmodel.topology.graph_file import read_flow_graph

    if Path(word[:300]).suffix.lower() in GRAPH_SUFFIXES and gpus is None:
        graph = read_flow_graph(Path(word))
    else:
        machine = load_topology(word, catalog=parts)
        graph = machine.graph(gpus if gpus is not None else machine.rack_accelerators)
    network = Network.from_graph(graph, routing=routing, seed=seed)
    return simulate_flows(network, table, progress=progress)


def drawing(topology: str, what: str, gpus: int | None) -> Any:
    """Return the figure of a machine: its rack, its fabric, or both beside each other."""
    word = name_or_file(topology, "TOPOLOGY")
    from rackmodel.reporting.style import new_figure
    from rackmodel.topology import load_topology
    from rackmodel.topology.draw import fabric_picture, rack_picture

    machine = load_topology(word)
    if what == "both":
        figure, (left, right) = new_figure(14, 8, columns=2, widths=(1, 1.4))
        rack_picture(machine, ax=left)
        fabric_picture(machine, ax=right)
        return figure
    figure, (only,) = new_figure(8, 8)
    (rack_picture if what == "rack" else fabric_picture)(machine, ax=only)
    return figure

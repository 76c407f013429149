"""A schedule of your own: its actions for one pipeline rank, and a few facts.

    rackmodel --extend examples/extend/schedule.py simulate dgx-h100 --model gpt3-13b --gpus 16 \
        --tp 2 --pp 4 --global-batch 32 --micro-batch 1 --schedule one-ahead
    rackmodel --extend examples/extend/schedule.py search dgx-h100 --model gpt3-13b --gpus 16 \
        --global-batch 32 --schedule one-ahead --pp 4
"""

from collections.abc import Iterator

from rackmodel import extend


def bubble(p: int, m: int, v: int) -> float:
    """Return the time of idle stages over that of passes, where all passes take equally long."""
    return (p - 1) / m


@extend.schedule("one-ahead", bubble, needs_pipeline=True)
def one_ahead(p: int, m: int, v: int, rank: int) -> Iterator[extend.Action]:
    """1F1B with one more forward pass in flight: more memory, more slack for slow transfers."""
    ahead = min(p - rank, m)
    for batch in range(ahead):
        yield extend.Action("F", 0, batch)
    for batch in range(m):
        if batch + ahead < m:
            yield extend.Action("F", 0, batch + ahead)
        yield extend.Action("B", 0, batch)

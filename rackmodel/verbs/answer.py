"""What a verb found: its keys, a frame, a picture.

In:  a payload, the name of the picture that shows it.
Out: `Answer`.
Left out: what the keys are (each verb says so).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar, cast

from rackmodel.annotations import Axes, DataFrame, Figure
from rackmodel.errors import InvalidInput
from rackmodel.result.notebook import Framed, drawn

Words = ParamSpec("Words")
Found = TypeVar("Found")


@dataclass(frozen=True, repr=False)
class Answer(Framed, Mapping[str, Any]):
    """What a verb found: a mapping with the keys of the command's `--json`, all SI.

    payload : the keys. picture : the name of a function in `rackmodel.reporting` that draws it, ""
    where there is none; words : its further keywords. main : the key whose rows `frame` holds.

    Examples
    --------
    >>> import rackmodel
    >>> found = rackmodel.collective("dgx-h100", "all-reduce", 1e9, gpus=8)
    >>> found["rows"][0]["algorithm"], list(found.frame["gpus"])
    ('nvls', [8])
    """

    payload: Mapping[str, Any]
    picture: str = ""
    words: Mapping[str, Any] = field(default_factory=dict)
    main: str = "rows"

    def __getitem__(self, key: str) -> Any:
        return self.payload[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.payload)

    def __len__(self) -> int:
        return len(self.payload)

    @property
    def frame(self) -> DataFrame:
        """The rows as a frame, one row each, units in the names of the columns."""
        import pandas as pd

        return pd.DataFrame(list(self.payload[self.main]))

    def plot(self, ax: Axes | None = None) -> Axes | Figure:
        """Draw what the command's `--plot` draws, on `ax` where it is one picture.

        Raises
        ------
        InvalidInput
            Where there is no picture of it.
        """
        if not self.picture:
            raise InvalidInput("plot: there is no picture of this; use .frame")
        words = {**self.words} if ax is None else {**self.words, "ax": ax}
        return cast("Axes | Figure", drawn(self.picture, self.payload[self.main], **words))

    def to_dict(self) -> dict[str, Any]:
        """Return the keys as the command prints them."""
        return dict(self.payload)

    def __repr__(self) -> str:
        """Say what there is."""
        count = len(self.payload[self.main])
        others = ", ".join(k for k in self if k != self.main)
        return f"<Answer: {count:,} rows{'; also ' * bool(others)}{others}>"


def checked(verb: Callable[Words, Found]) -> Callable[Words, Found]:
    """Refuse words that a verb does not have, as `job_words.checked`, loaded when it is called."""

    @wraps(verb)
    def call(*args: Words.args, **words: Words.kwargs) -> Found:
        from rackmodel.planning import job_words

        return job_words.checked(verb)(*args, **words)

    return call


def answering(
    rows_of: Callable[Words, DataFrame], picture: str, module: str
) -> Callable[Words, Answer]:
    """Return the verb that has the words of a function and gives its frame as an `Answer`.

    picture : as in `Answer`. module : where the verb stands under the function's name, by which
    pickle finds it.
    """

    @wraps(rows_of)
    def call(*args: Words.args, **words: Words.kwargs) -> Answer:
        return Answer({"rows": rows_of(*args, **words).to_dict("records")}, picture)

    told = signature(rows_of).replace(return_annotation="Answer")
    call.__signature__ = told  # type: ignore[attr-defined]  # what help() shows
    call.__module__ = module
    return call

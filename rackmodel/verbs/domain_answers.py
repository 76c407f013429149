"""What a larger scale-up domain buys, as an answer with a frame and a picture.

In:  the words of `argument.api`.
Out: `Answer`.
Left out: finding it (`argument`).
"""

from __future__ import annotations

from functools import WRAPPER_ASSIGNMENTS, wraps
from typing import Any

from rackmodel.argument import api
from rackmodel.verbs.answer import Answer

# All but where they stand, by which pickle finds them.
_LIKE = tuple(name for name in WRAPPER_ASSIGNMENTS if name != "__module__")


@wraps(api.domains, assigned=_LIKE)
def domains(*args: Any, **words: Any) -> Answer:
    """As `argument.api.domains`."""
    found = api.domains(*args, **words)
    return Answer(found, "domain_pictures.domains_picture", {"found": found})


@wraps(api.domains_serving, assigned=_LIKE)
def domains_serving(*args: Any, **words: Any) -> Answer:
    """As `argument.api.domains_serving`."""
    found = api.domains_serving(*args, **words)
    return Answer(found, "serving.domains_picture", {"found": found})

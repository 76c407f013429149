"""What a larger scale-up domain buys, as an answer with a frame and a picture.

In:  the words of `argument.api`.
Out: `Answer`.
Left out: finding it (`argument`).
"""

from __future__ import annotations

from functools import wraps
from typing import Any

from rackmodel.argument import api
from rackmodel.verbs.answer import Answer


@wraps(api.domains)
def domains(*args: Any, **words: Any) -> Answer:
    """As `argument.api.domains`."""
    found = api.domains(*args, **words)
    return Answer(found, "domain_pictures.domains_picture", {"found": found})


@wraps(api.domains_serving)
def domains_serving(*args: Any, **words: Any) -> Answer:
    """As `argument.api.domains_serving`."""
    found = api.domains_serving(*args, **words)
    return Answer(found, "serving.domains_picture", {"found": found})

"""XML from strangers.

In:  a text and the name of its file.
Out: an XML element.
Left out: what it means; JSON, TOML and YAML (`rackmodel.files`). Entities, and document types that
declare something, are refused.
"""

from __future__ import annotations

from typing import Any, NoReturn

from rackmodel.annotations import Element
from rackmodel.errors import InvalidInput


def parse_xml(text: str, file: str) -> Element:
    """Return the root of an XML text; expat tells of every document type and entity, and stops.

    A document type that only names itself, as in each platform of SimGrid, is passed over: what it
    names is never fetched.

    Raises
    ------
    InvalidInput
        If it is no XML, or declares anything in it, such as an entity.
    """
    from xml.etree import ElementTree
    from xml.parsers import expat

    def refuse(*_: Any) -> NoReturn:
        raise InvalidInput(
            f"{file}: XML entities are refused, and document types that declare something; remove"
            " <!DOCTYPE ...>"
        )

    def document_type(name: str, system: str | None, public: str | None, declares: int) -> None:
        if declares:
            refuse()

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = document_type
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    try:
        parser.Parse(text.encode(), True)
        return ElementTree.fromstring(text)
    except (expat.ExpatError, ElementTree.ParseError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{file}: not valid XML: {error}; mend it") from None

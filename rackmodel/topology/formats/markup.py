"""XML and YAML from strangers, as plain data.

In:  a text and the name of its file.
Out: an XML element, or what a YAML text holds.
Left out: what it means; JSON and TOML (`rackmodel.files`). Entities, document types that declare
something, references and tags of YAML are refused.
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


def parse_yaml(text: str, file: str) -> object:
    """Return what a YAML text holds: plain data; references, which can blow up, are refused."""
    import yaml

    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if isinstance(token, yaml.AliasToken):
                raise InvalidInput(
                    f"{file}: YAML references (*{token.value}) are refused; write what they"
                    " stand for"
                )
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        told = " ".join(str(error).split())
        raise InvalidInput(f"{file}: not valid YAML: {told[:200]}; mend it") from None

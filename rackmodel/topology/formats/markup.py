"""XML and YAML from strangers, as plain data.

In:  a text and the name of its file.
Out: an XML element, or what a YAML text holds.
Left out: what it means; JSON and TOML (`rackmodel.files`). Document types, entities, references and
tags of YAML are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from rackmodel.errors import InvalidInput

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def parse_xml(text: str, file: str) -> Element:
    """Return the root of an XML text; expat tells of every document type and entity, and stops.

    Raises
    ------
    InvalidInput
        If it is no XML, or declares a document type or an entity.
    """
    from xml.etree import ElementTree
    from xml.parsers import expat

    def refuse(*_: Any) -> NoReturn:
        raise InvalidInput(
            f"{file}: XML document types and entities are refused; remove <!DOCTYPE ...>"
        )

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
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

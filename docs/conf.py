"""What the site looks like: Sphinx with MyST and Furo; nothing is loaded from outside."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import rackmodel
from rackmodel.fields import described

project = "rackmodel"
version = release = rackmodel.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton"]
html_theme = "furo"
html_title = f"rackmodel {version}"
html_show_copyright = False
html_show_sphinx = False
html_extra_path = ["site.css"]
html_css_files = ["../site.css"]
smartquotes = False
source_suffix = {".md": "myst-nb", ".py": "myst-nb"}
include_patterns = ["*.md", "commands/*.md", "tutorials/*.py"]
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True
myst_enable_extensions = ["attrs_inline"]
myst_heading_anchors = 3
autodoc_typehints = "none"  # the signature has them
autodoc_member_order = "bysource"


def _as_help_prints(*words: Any) -> None:
    """Show a docstring as `help` does: its first paragraph as text, the rest as it stands."""
    lines: list[str] = words[-1]
    if is_dataclass(words[3]):
        lines += _fields(words[3])
    end = next((at for at, line in enumerate(lines) if not line.strip()), len(lines))
    rest = lines[end:]
    if any(line.strip() for line in rest):
        lines[end:] = ["", ".. code-block:: text", "", *(f"   {line}" for line in rest), ""]


def _fields(kind: Any) -> Iterator[str]:
    """Yield what each field that users set means, as the command line tells it."""
    told = [one for one in fields(kind) if one.metadata.get("description")]
    yield from ["", "Fields", "------"] if told else []
    for one in told:
        choices = ", ".join(one.metadata["choices"])
        yield f"{one.name} : {described(one.metadata)}{f' One of {choices}.' * bool(choices)}"


def setup(app: Any) -> None:
    """Register what Sphinx calls."""
    app.connect("autodoc-process-docstring", _as_help_prints)

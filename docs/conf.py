"""Configure Sphinx: `make docs` makes a site of the Markdown files where they lie.

The source folder is the whole project, so that a link from one file to another works on
the site as it does in an editor or on a Git host. A page loads nothing from elsewhere.
"""

import re
from typing import Any

from sphinx.application import Sphinx

import verify

project = "Keras RNN recipes"
author = "The Keras RNN recipes authors"
release = verify.__version__

CONTENTS = {
    "Use": [
        *("docs/recipes", "notebooks/README", "docs/checking", "docs/in-tests"),
        *("docs/data", "docs/own-layers", "docs/exported", "docs/converting"),
        *("docs/vectors", "docs/conventions", "docs/exporters"),
    ],
    "Trust": [
        *("docs/supported", "docs/matches", "docs/diagnosis"),
        *("docs/inside", "docs/speed"),
    ],
    "Build": [
        *("docs/architecture", "docs/api", "recipes/README"),
        *("CONTRIBUTING", "CHANGELOG"),
    ],
    "Results": ["benchmarks/results/*", "data/README"],
}
"""The navigation: captions, and the pages beneath each."""

root_doc = "README"
include_patterns = ["*.md", "docs/*", "*/README.md", "benchmarks/results/*.md"]
exclude_patterns = [".*", "site", "runs", "tests", "**/.ipynb_checkpoints"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
myst_heading_anchors = 3
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
default_role = "py:obj"  # docstrings put names between single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_class_signature = "separated"
python_maximum_signature_line_length = 60
add_module_names = False
toc_object_entries = False

html_theme = "furo"
html_title = project
html_additional_pages = {"index": "index.html"}
templates_path = ["templates"]
html_static_path = ["static"]
html_css_files = ["tables.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False


def _add_navigation(app: Sphinx, docname: str, source: list[str]) -> None:
    """Append the navigation to the first page, whose file stays free of directives."""
    if docname == root_doc:
        for caption, pages in CONTENTS.items():
            options = f":hidden:\n:glob:\n:caption: {caption}\n"
            lines = "\n".join(f"/{page}" for page in pages)
            source[0] += f"\n```{{toctree}}\n{options}\n{lines}\n```\n"


def _name_arrays(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, given: str, returned: str
) -> tuple[str, str] | None:
    """Write `Array` in a signature, not the type that it stands for."""
    if given is None:
        return None  # a module or a property
    long = r"~?numpy\.ndarray\[tuple\[[^]]*\], ~?numpy\.dtype\[[^]]*\]\]"
    return re.sub(long, "Array", given), re.sub(long, "Array", returned or "")


def setup(app: Sphinx) -> None:
    """Connect what the settings above cannot say."""
    app.connect("source-read", _add_navigation)
    app.connect("autodoc-process-signature", _name_arrays)

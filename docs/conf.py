"""How the pages of this folder become a site: `make docs`. Nothing is fetched while it is built or read."""

from __future__ import annotations

import sys
from pathlib import Path

from nncift.version import __version__

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "NN-CIFT"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "from_code"]
exclude_patterns = ["_extensions"]

source_suffix = {".md": "markdown"}
smartquotes = False  # pages say what they mean, flags above all
myst_heading_anchors = 3

default_role = "code"  # docstrings put names in single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings give shapes, units and ranges
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "NN-CIFT"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"

"""Sphinx: `make docs` builds docs/_build/html."""

import shutil
from pathlib import Path

from inrcodec import __version__

HERE = Path(__file__).parent

project = "inrcodec"
author = "the inrcodec contributors"
version = release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_click"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_mock_imports = []
exclude_patterns = ["_build"]
copyright = "the inrcodec contributors"
html_theme = "furo"
html_title = f"inrcodec {version}"
suppress_warnings = ["myst.xref_missing", "misc.highlighting_failure"]

# Notebooks live at the top of the repository; pages are made of copies.
copies = HERE / "notebooks"
shutil.rmtree(copies, ignore_errors=True)
copies.mkdir()
for notebook in sorted((HERE.parent / "notebooks").glob("*.ipynb")):
    shutil.copy(notebook, copies)


def setup(app):
    """Beside the pages goes the viewer, ready to decode files of all shipped priors that it knows."""

    def add_viewer(app, error):
        if error is None and app.builder.name == "html":
            from inrcodec.viewer.server import export

            target = Path(app.outdir) / "viewer"
            shutil.rmtree(target, ignore_errors=True)
            export(target)

    app.connect("build-finished", add_viewer)

"""The documentation as a site: ``uv run sphinx-build -W docs dist/site``. A broken link is an error."""

from importlib.metadata import version as version_of

project = "otn_dagster"
release = version_of("otn-dagster")
extensions = ["myst_parser"]
exclude_patterns = ["pictures"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"otn_dagster {release}"
html_extra_path = ["live-dataset.yaml"]

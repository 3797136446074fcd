"""Settings of Sphinx: Markdown pages, no extension but the parser."""

project = "mris"
author = "The authors of mris"
extensions = ["myst_parser"]
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_title = "mris"

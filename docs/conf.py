"""How `make docs` builds the site: Sphinx reads the pages beside this file, MyST their Markdown."""

from __future__ import annotations

project = "lora-autotune"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
default_role = "code"
highlight_language = "none"

# Links to headings are those that GitHub makes.
myst_heading_anchors = 3
napoleon_use_ivar = True

html_theme = "alabaster"
html_theme_options = {
    "page_width": "72rem",
    "body_max_width": "none",
    "fixed_sidebar": True,
    "font_family": "system-ui, sans-serif",
    "head_font_family": "system-ui, sans-serif",
    "font_size": "15px",
}
html_sidebars = {"**": ["about.html", "searchbox.html", "navigation.html"]}
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False

"""Settings of Sphinx. docs_site.py copies this file beside the pages. The build does not use the network."""

import re

from docutils import nodes

project = "flaskops.production"
author = "The flaskops.production contributors"
html_title = "flaskops.production"
extensions = ["myst_parser", "sphinx_antsibull_ext", "sphinx_copybutton"]
# Links between Markdown files use GitHub's names of headings.
myst_heading_anchors = 4
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
html_theme_options = {"source_repository": "https://github.com/flaskops/production/"}
# A command is copied without its prompt and its output.
copybutton_exclude = ".linenos, .gp, .go"
# The reference has a page for each plugin, in a separate table of contents.
suppress_warnings = ["myst.header"]

ANSIBLE = "https://docs.ansible.com/ansible/latest"
LABELS = {
    "common_return_values": "reference_appendices/common_return_values.html",
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
}
PLUGIN = re.compile(r"ansible_collections\.(\w+)\.(\w+)\.(\w+_\w+)\Z")


def resolve_ansible_reference(app, environment, node, content):
    """Link to Ansible's documentation, whose URLs follow from the names, without downloading an inventory."""
    target = node.get("reftarget", "")
    plugin = PLUGIN.match(target)
    if target in LABELS:
        path = LABELS[target]
    elif plugin and plugin[1] != "flaskops":
        path = f"collections/{plugin[1]}/{plugin[2]}/{plugin[3]}.html"
    else:
        return None
    return nodes.reference("", "", content, refuri=f"{ANSIBLE}/{path}", internal=False)


def setup(app):
    app.connect("missing-reference", resolve_ansible_reference)

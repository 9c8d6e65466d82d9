# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles write, rendered by Ansible itself."""

from __future__ import annotations

import json

import pytest

from ansible_collections.flaskops.production.plugins.module_utils import _nginx_text
from ansible_collections.flaskops.production.tests.unit.roles.nginx_site_variants import VARIANTS, version_of_nginx
from ansible_collections.flaskops.production.tests.unit.roles.playing import COLLECTION, message, play, yielded


@pytest.fixture(scope="session")
def gunicorn_files(tmp_path_factory):
    """For each case, by its name, the files by their paths. Cases are hosts, so that one run of Ansible renders all."""

    def render(cases: dict[str, dict]) -> dict[str, dict[str, str]]:
        directory = tmp_path_factory.mktemp("gunicorn")
        hosts = {f"case{number}": case for number, case in enumerate(cases.values())}
        # Nothing for a file that is to be absent.
        texts = "entries | map(attribute='content', default='')"
        contents = f"{{{{ dict(entries | map(attribute='path') | zip({texts})) | to_json }}}}"
        role = {"name": "flaskops.production.gunicorn_systemd", "tasks_from": "description", "public": True}
        names = {"entries": "{{ gunicorn_systemd_description.entries }}", "flask_app_roles": str(COLLECTION / "roles")}
        found = yielded(play(directory, hosts, [{"include_role": role}, {**message(contents), "vars": names}]))
        return {name: json.loads(found[f"case{number}"]) for number, name in enumerate(cases)}

    return render


@pytest.fixture(scope="session")
def nginx_site_templates(tmp_path_factory):
    """The server block of each variant, as the role gives it to the module."""
    directory = tmp_path_factory.mktemp("rendered")
    (directory / "templates").symlink_to(COLLECTION / "roles/nginx_site/templates")
    tasks = [
        {"include_role": {"name": "flaskops.production.nginx_site", "tasks_from": "description", "public": True}},
        message("{{ lookup('ansible.builtin.template', 'etc/nginx/sites-available/app.conf.j2') }}"),
    ]
    return yielded(play(directory, VARIANTS, tasks, "--check"))


@pytest.fixture(scope="session")
def nginx_site_texts(nginx_site_templates):
    """The same, as the module writes it for this machine's Nginx."""
    return {name: _nginx_text.lines_for(text, version_of_nginx()) for name, text in nginx_site_templates.items()}

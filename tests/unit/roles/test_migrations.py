# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The choice of the host that runs a migration, tested in check mode."""

from __future__ import annotations

import re

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._releases.migrations import (
    describe_migration,
    is_migrated,
)
from ansible_collections.flaskops.production.tests.unit.roles.playing import play

# For each application and host: whether an activation is needed, and whether the host has migrated.
HOSTS = {
    "new": {"web1": (True, False), "web2": (True, False)},
    "commandadded": {"web1": (False, False), "web2": (False, False)},
    "done": {"web1": (False, True), "web2": (False, True)},
    "doneonanother": {"web1": (True, False), "web2": (False, True)},
}
EXPECTED = {"new": ["web1"], "commandadded": ["web1"], "done": [], "doneonanother": []}


@pytest.fixture(scope="module")
def migrations(tmp_path_factory):
    """Return the hosts that would run the migration of each application."""
    directory = tmp_path_factory.mktemp("migrations")
    hosts = {
        host: {
            "release_live": {},
            "__release_prepared": {
                app: {"release": "v1", "live": "", "needed": states[host][0], "migrated": states[host][1]}
                for app, states in HOSTS.items()
            },
            "flask_app_root": str(directory),
            "release_migrate_command": "flask db upgrade",
        }
        for host in ("web1", "web2")
    }
    role = {"name": "flaskops.production.release", "tasks_from": "migrate"}
    tasks = [
        {"name": f"APP {app}", "include_role": role, "vars": {"flask_app_name": app}} for app in HOSTS
    ]  # fmt: skip
    done = play(directory, hosts, tasks, "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, list[str]] = {app: [] for app in HOSTS}
    app = ""
    for part in re.split(r"^TASK \[", done.stdout, flags=re.MULTILINE):
        named = re.match(r"APP (\w+)\]", part)
        app = named[1] if named else app
        if "migration | Run the migration]" in part.splitlines()[0]:
            found[app] += re.findall(r"^changed: \[(\w+)\]", part, re.MULTILINE)
    return found


@pytest.mark.parametrize("app", HOSTS)
def test_one_host_migrates_unless_another_has(migrations, app):
    assert migrations[app] == EXPECTED[app]


def test_a_host_beyond_the_limit_is_asked_before_a_migration_is_run_again(tmp_path):
    """A canary has migrated, and later runs are limited to the other hosts."""
    command, hosts = "flask db upgrade", {}
    for host, has_migrated in (("web1", False), ("web2", False), ("canary", True)):
        layout = Layout(str(tmp_path / host))
        ReleaseStore(layout).create_directories()
        migrated = {"migrated": describe_migration(command, layout.env_file)} if has_migrated else {}
        ReleaseStore(layout).write_record("v1", {"digest": "1", "state": "staged", "staged": "", **migrated})
        prepared = {"release": "v1", "live": "", "needed": True, "migrated": has_migrated}
        hosts[host] = {"flask_app_root": layout.root, "__release_prepared": {"my-app": prepared}}
    given = {"flask_app_hosts": "all", "release_migrate_command": command, "release_live": {}}
    role = {"include_role": {"name": "flaskops.production.release", "tasks_from": "migrate"}, "vars": given}
    # Running it would fail, because there is neither a unit nor a virtual environment.
    done = play(tmp_path, hosts, [role], "--limit=web1,web2")
    assert done.returncode == 0, done.stdout + done.stderr
    for host in ("web1", "web2"):
        found = Layout(hosts[host]["flask_app_root"])
        assert is_migrated(ReleaseStore(found).read_record("v1")["migrated"], command, found.env_file)

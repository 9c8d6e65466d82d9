# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command of a release has in common with the service that it belongs to."""

from __future__ import annotations

import os

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._releases import Home, ReleaseError
from ansible_collections.flaskops.production.plugins.modules import release_command

UNITS = r"""# /etc/systemd/system/myapp.service
# Warning: myapp.service changed on disk, the version systemd has loaded is outdated.
[Unit]
Description=myapp
ProtectHome=not-here

[Service]
Type=notify
NotifyAccess=all
Sockets=myapp.socket
User=web
Group=web
SyslogIdentifier=myapp
EnvironmentFile=/srv/myapp/shared/.env
LoadCredential=token:/etc/myapp/token
KillMode=mixed
TimeoutStartSec=60
WorkingDirectory=/srv/myapp/app
ExecStart=/srv/myapp/venv/bin/gunicorn \
    --config /srv/myapp/gunicorn.conf.py \
# a comment is no end of a line that goes on
    wsgi:app
Restart=always
RestartSec=1
UMask=0027
MemoryMax=512M
RestrictRealtime=yes
CapabilityBoundingSet=
ReadWritePaths=-/srv/myapp/run \
    -/srv/myapp/shared
SystemCallFilter=@system-service
SystemCallFilter=~@privileged

[Install]
WantedBy=multi-user.target

# /etc/systemd/system/myapp.service.d/50-gunicorn_systemd.conf
[Service]
Environment=A=1
Environment=PATH=/opt/bin
ExecStartPre=/bin/true
RuntimeDirectory=myapp
StandardOutput=null
PrivateTmp=no
"""

SANDBOX = [
    "UMask=0027",
    "MemoryMax=512M",
    "RestrictRealtime=yes",
    "CapabilityBoundingSet=",
    "ReadWritePaths=-/srv/myapp/run      -/srv/myapp/shared",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged",
]
FILES = ["EnvironmentFile=/srv/myapp/shared/.env", "LoadCredential=token:/etc/myapp/token"]
DROP_IN = ["Environment=A=1", "Environment=PATH=/opt/bin"]


def test_a_migration_has_all_of_the_service_but_its_process():
    assert release_command.inherited(UNITS, "migrate") == [*FILES, *SANDBOX, *DROP_IN, "PrivateTmp=no"]


def test_a_build_has_the_environment_only_because_it_makes_what_the_service_may_not_write():
    assert release_command.inherited(UNITS, "build") == [*FILES, *DROP_IN]


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    (tmp_path / "venvs/abc").mkdir(parents=True)
    home = Home(str(tmp_path))
    home.prepare()
    (tmp_path / ".deploy/environments").mkdir(exist_ok=True)
    (tmp_path / ".deploy/environments/v1").symlink_to("../../venvs/abc")
    return home


PARAMS = {"name": "myapp", "release": "v1", "purpose": "migrate", "user": "web", "group": "www"}


def systemctl(home, script):
    path = os.path.join(home.root, "bin/systemctl")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\n{script}\n")
    os.chmod(path, 0o755)


def lines(home, **more):
    return release_command.unit(home, {**PARAMS, **more}, "/run/script", "/run/output").splitlines()


def test_what_makes_the_command_what_it_is_comes_last(home):
    systemctl(home, f"cat <<'UNIT'\n{UNITS}UNIT")
    unit = lines(home)
    for directive in ("User=web", "Group=www", "Type=oneshot", "ExecStart=/bin/sh /run/script"):
        assert [line for line in unit if line.split("=")[0] == directive.split("=")[0]] == [directive]
    path = [line for line in unit if line.startswith("Environment=PATH=")]
    assert path[-1].startswith(f"Environment=PATH={home.venvs}/abc/bin:"), "the release's own programs come first"
    assert unit.index("UMask=0022") < unit.index("UMask=0027")
    assert "PrivateTmp=no" in unit and "CapabilityBoundingSet=" in unit


def test_without_a_service_there_is_still_the_environment_file(home):
    systemctl(home, "echo 'No files found for myapp.service.' >&2; exit 1")
    unit = lines(home)
    assert f"EnvironmentFile={home.env_file}" in unit and "CapabilityBoundingSet=" not in unit


def test_a_release_without_packages_is_refused(home):
    with pytest.raises(ReleaseError, match="v2 has no set of dependencies"):
        lines(home, release="v2")

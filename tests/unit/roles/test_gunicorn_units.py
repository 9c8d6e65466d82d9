# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox, limits, credentials, overrides and the rotation of log files, as the role writes them."""

from __future__ import annotations

import re

import pytest
import yaml
from generate_docs import ROOT

# Their files are rendered once.
pytestmark = pytest.mark.xdist_group("gunicorn_units")

UNITS = "/etc/systemd/system"
ROTATION = "/etc/logrotate.d/my-app-gunicorn"
CASES = {
    "default": {},
    "relaxed": {
        "gunicorn_systemd_hardening": {
            "ProtectHome": "read-only",
            "PrivateTmp": False,
            "RemoveIPC": "",
            "UMask": "0022",
            "MemoryDenyWriteExecute": True,
            "SystemCallFilter": ["@system-service"],
        },
        "gunicorn_systemd_read_write_paths": ["/var/lib/my-app", "/mnt/data"],
    },
    "limited": {
        "gunicorn_systemd_memory_max": "512M",
        "gunicorn_systemd_tasks_max": 256,
        "gunicorn_systemd_limit_nofile": "65536",
        "gunicorn_systemd_cpu_quota": "150%",
        "gunicorn_systemd_credentials": {"token": "/etc/my-app/token", "db.password": "/run/keys/db"},
    },
    "mapping": {"gunicorn_systemd_unit_overrides": {"Service": {"Nice": 5, "Environment": ["A=1", "B=2"]}}},
    "text": {"gunicorn_systemd_unit_overrides": "[Unit]\nAfter=postgresql.service\n"},
    "files": {"gunicorn_systemd_log_files": True, "gunicorn_systemd_log_rotations": 30},
}


@pytest.fixture(scope="module")
def files(gunicorn_files):
    return gunicorn_files(CASES)


def lines(files, case, unit="my-app"):
    return files[case][f"{UNITS}/{unit}.service"].splitlines()


@pytest.fixture(scope="module")
def sandbox():
    """What the role's variables say, and what its README's table says."""
    return yaml.safe_load((ROOT / "roles/gunicorn_systemd/vars/main.yml").read_text())["__gunicorn_systemd_sandbox"]


@pytest.mark.parametrize("unit", ["my-app", "my-app-next"])
def test_both_services_are_in_the_sandbox(files, sandbox, unit):
    found = lines(files, "default", unit)
    directives = [line.split("=")[0] for line in found]
    assert [name for name in sandbox if name not in directives] == []
    for line in ("CapabilityBoundingSet=", "ProtectSystem=strict", "NoNewPrivileges=yes", "UMask=0027"):
        assert found.count(line) == 1
    assert [line for line in found if line.startswith("ReadWritePaths=")] == [
        "ReadWritePaths=-/srv/my-app/run",
        "ReadWritePaths=-/srv/my-app/shared",
    ]
    assert not {"MemoryMax", "TasksMax", "LimitNOFILE", "CPUQuota", "LoadCredential"} & set(directives)


@pytest.mark.parametrize("unit", ["my-app", "my-app-next"])
def test_a_directive_is_relaxed_dropped_or_added(files, unit):
    found = lines(files, "relaxed", unit)
    for line in (
        "ProtectHome=read-only",
        "UMask=0022",
        "MemoryDenyWriteExecute=yes",
        "SystemCallFilter=@system-service",
    ):
        assert line in found
    assert [line for line in found if line.startswith(("PrivateTmp", "RemoveIPC", "SystemCallFilter=~"))] == []
    assert "ProtectSystem=strict" in found, "the others stay"
    assert found[found.index("ReadWritePaths=-/srv/my-app/shared") + 1 :][:2] == [
        "ReadWritePaths=-/var/lib/my-app",
        "ReadWritePaths=-/mnt/data",
    ]


@pytest.mark.parametrize("unit", ["my-app", "my-app-next"])
def test_limits_and_credentials_are_written(files, unit):
    found = lines(files, "limited", unit)
    for line in (
        *("MemoryMax=512M", "TasksMax=256", "LimitNOFILE=65536", "CPUQuota=150%"),
        *("LoadCredential=token:/etc/my-app/token", "LoadCredential=db.password:/run/keys/db"),
    ):
        assert line in found


@pytest.mark.parametrize("unit", ["my-app", "my-app-next"])
def test_output_is_not_buffered_and_home_is_a_directory_that_may_be_written(files, unit):
    found = lines(files, "default", unit)
    assert found.count("CacheDirectory=flaskops/my-app") == 1
    assert "Environment=PYTHONUNBUFFERED=1 HOME=/var/cache/flaskops/my-app" in found
    names = [line.split("=")[0] for line in found]
    assert names.index("Environment") < names.index("EnvironmentFile")


def test_systemd_waits_longer_than_gunicorn(files):
    assert "graceful_timeout = 60\n" in files["default"]["/srv/my-app/gunicorn.conf.py"]
    assert "TimeoutStopSec=70" in lines(files, "default")


@pytest.mark.parametrize("unit", ["my-app", "my-app-next"])
def test_overrides_are_the_end_of_both_units(files, unit):
    path = f"{UNITS}/{unit}.service"
    for case, text in (
        ("mapping", "[Service]\nNice=5\nEnvironment=A=1\nEnvironment=B=2\n"),
        ("text", "[Unit]\nAfter=postgresql.service\n"),
    ):
        assert files[case][path] == files["default"][path] + f"\n# gunicorn_systemd_unit_overrides\n{text}"


def test_what_takes_effect_with_an_activation_is_all_in_files_that_it_knows(files):
    assert sorted(files["mapping"]) == sorted(files["default"]), "a unit with overrides is one file"
    assert files["default"][ROTATION] == ""


def test_files_are_rotated_without_copying_and_by_their_owner(files):
    text = files["files"][ROTATION]
    assert "/srv/my-app/shared/logs/gunicorn.access.log /srv/my-app/shared/logs/gunicorn.error.log {" in text
    for line in ("su my-app my-app", "rotate 30", "delaycompress", "create 0640 my-app my-app"):
        assert re.search(rf"^    {line}$", text, re.MULTILINE)
    assert "copytruncate" not in text


def test_the_readme_explains_every_directive(sandbox):
    text = (ROOT / "roles/gunicorn_systemd/README.md").read_text()
    table = text[text.index("## Sandbox") : text.index("## Logs")]
    explained = set(re.findall(r"`([A-Z][A-Za-z]+)", table))
    assert set(sandbox) - explained == set()


# The units of an adoption


@pytest.fixture(scope="module")
def candidates(adoption_units):
    cases = {**CASES, "restart": {"gunicorn_systemd_handover": "restart"}}
    return {case: adoption_units(cases[case]) for case in ("default", "restart", "relaxed", "mapping", "text")}


def test_the_candidate_of_an_adoption_listens_on_its_own_socket(candidates):
    socket = candidates["default"]["my-app-adoption.socket"]
    assert "ListenStream=/srv/my-app/run/adoption.sock\n" in socket
    assert "my-app.service" not in socket and "[Install]" not in socket


@pytest.mark.parametrize("case", ["default", "restart", "relaxed", "mapping", "text"])
def test_the_candidate_of_an_adoption_is_the_next_release_on_another_socket(files, candidates, case):
    expected = files["default" if case == "restart" else case][f"{UNITS}/my-app-next.service"]
    expected = expected.replace("my-app.socket", "my-app-adoption.socket")
    found = candidates[case]["my-app-adoption.service"]
    without_description = [
        [line for line in text.splitlines() if not line.startswith("Description=")] for text in (found, expected)
    ]
    assert without_description[0] == without_description[1]
    assert "Type=notify\n" in found and "--check-config" not in found


@pytest.mark.parametrize("case", ["default", "relaxed", "mapping", "text"])
def test_the_write_check_runs_as_the_service_in_its_sandbox(files, candidates, sandbox, case):
    service = files[case][f"{UNITS}/my-app-next.service"].splitlines()
    found = candidates[case]["my-app-adoption-writes.service"].splitlines()
    names = (*sandbox, "User", "Group", "EnvironmentFile", "ReadWritePaths", "WorkingDirectory", "Nice", "UMask")
    kept = [
        line for line in service if line.startswith(tuple(f"{name}=" for name in names)) and "-next.env" not in line
    ]
    assert [line for line in found if line in kept] == kept
    base = "/run/my-app-adoption-writes"
    assert found[-6:] == [
        "[Service]",
        "Type=oneshot",
        "Restart=no",
        "ExecStart=",
        f"ExecStart=/srv/my-app/next/.venv/bin/python -I {base}.py {base}.json",
        f"StandardOutput=truncate:{base}.txt",
    ]
    assert not any(line.startswith(("Requires=", "Sockets=", "NotifyAccess=")) for line in found)

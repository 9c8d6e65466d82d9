# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the doctor with real directories and test data in place of systemd and Nginx."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import socket
import struct
import tempfile
import time
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._app import live_process
from ansible_collections.flaskops.production.plugins.module_utils._doctor import discovery, files
from ansible_collections.flaskops.production.plugins.module_utils._doctor import system as system_module
from ansible_collections.flaskops.production.plugins.module_utils._doctor.catalog import KINDS, SEVERITIES
from ansible_collections.flaskops.production.plugins.module_utils._doctor.examination import examine_facts, read_facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Certificate, Disk, Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import Account, Node, has_permission
from ansible_collections.flaskops.production.plugins.module_utils._python.venv_content import compute_content_digest
from ansible_collections.flaskops.production.plugins.module_utils._systemd import process
from ansible_collections.flaskops.production.plugins.modules import doctor

# Accounts that exist in Debian and are not used by the tests.
USER, NGINX_USER = "games", "www-data"
NGINX = "/etc/nginx/nginx.conf"


def ids(findings, least="note"):
    return sorted({item.id for item in findings if SEVERITIES.index(item.severity) >= SEVERITIES.index(least)})


class Host(system_module.HostSystem):
    """An application in a real directory, with test data in place of systemd and Nginx."""

    def __init__(self, root: Path):
        self.root = root
        self.units = {}
        self.texts = {}
        self.log_lines = []
        self.accepts, self.output = True, ""
        self.served = f"""location ^~ /static/ {{ alias {root}/shared/static/; }}
            location ^~ /media/ {{ alias {root}/shared/media/; }}"""
        self.proxy = f"http://unix:{root}/run/gunicorn.sock"
        self.answer = ""
        self.sockets = []
        self.health = ""
        self.foreign = ""

    def read_unit(self, unit):
        return self.units.get(unit, {"LoadState": "not-found", "Id": unit})

    def read_service_files(self):
        return self.texts

    def read_journal(self, root, unit, since):
        return self.log_lines

    def dump_nginx(self):
        proxy = f"location / {{ proxy_pass {self.proxy}; }}"
        text = f"user {NGINX_USER}; http {{ server {{ server_name _; {self.served} {proxy} }} }}"
        return self.accepts, self.output, {NGINX: text}

    def read_nginx_unit(self):
        return {"ActiveState": "active", "MainPID": "0"}

    def find_health_failure(self, path, health):
        return self.health

    def find_foreign_listener(self, path, name):
        return self.foreign

    def service(self, **values):
        self.units["shop.service"].update(values)

    def listen(self, path: str, mode: int = 0o660):
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen()
        os.chmod(path, mode)
        shutil.chown(path, "root", NGINX_USER)
        self.sockets.append(server)


@pytest.fixture
def host(as_root):
    """Create a healthy deployment outside of /tmp, which is a finding."""
    directory = Path(tempfile.mkdtemp(prefix="doctor-", dir="/var/lib"))
    directory.chmod(0o755)
    root = directory / "shop"
    found = Host(root)
    release = root / "releases/v1"
    for path in ("releases/v1/shop", "venvs/0123456789ab/bin", "shared/static", "shared/media", "shared/logs", "run"):
        (root / path).mkdir(parents=True)
    (release / "wsgi.py").write_text("app = None\n")
    (release / "shop/__init__.py").write_text("")
    (release / ".venv").symlink_to("../../venvs/0123456789ab")
    (root / "app").symlink_to("releases/v1")
    (root / "venv").symlink_to("app/.venv")
    (root / "venvs/0123456789ab/.complete").write_text(
        json.dumps({"content": compute_content_digest(str(root / "venvs/0123456789ab"))})
    )
    (root / "venvs/0123456789ab/bin/gunicorn").write_text("#!/bin/sh\n")
    (root / "venvs/0123456789ab/bin/gunicorn").chmod(0o755)
    (root / "shared/.env").write_text("SECRET_KEY=x\n")
    (root / "shared/.env").chmod(0o640)
    shutil.chown(root / "shared/.env", "root", USER)
    (root / ".deploy/releases").mkdir(parents=True)
    (root / ".deploy/environments").mkdir()
    record = {"state": "active", "digest": "x", "staged": "2026-04-21T12:00:00Z"}
    (root / ".deploy/releases/v1.json").write_text(json.dumps(record))
    (root / ".deploy/activations.log").write_text(
        json.dumps({"release": "v1", "before": None, "action": "deploy", "run": "1", "by": "a", "time": "x"}) + "\n"
    )
    for path in ("shared/media", "shared/logs"):
        shutil.chown(root / path, USER, NGINX_USER)
        (root / path).chmod(0o775)
    shutil.chown(root / "run", "root", NGINX_USER)
    (root / "run").chmod(0o1775)
    found.listen(str(root / "run/gunicorn.sock"))
    # Settings and code are older than the process of the tests.
    found.units["shop.socket"] = {
        "Id": "shop.socket", "LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled",
        "Result": "success",
        "Listen": f"{root}/run/gunicorn.sock (Stream)", "Triggers": "shop.service",
    }  # fmt: skip
    found.units["shop.service"] = {
        "Id": "shop.service", "LoadState": "loaded", "ActiveState": "active", "SubState": "running",
        "Result": "success",
        "UnitFileState": "enabled", "FragmentPath": "", "DropInPaths": "", "NeedDaemonReload": "no", "NRestarts": "0",
        "MainPID": str(os.getpid()), "User": USER, "Group": USER, "WorkingDirectory": f"{root}/app",
        "ExecMainStartTimestampMonotonic": str(int((time.clock_gettime(time.CLOCK_MONOTONIC) + 1) * 1e6)),
        "ExecStart": f"{{ path={root}/venv/bin/gunicorn ; argv[]={root}/venv/bin/gunicorn wsgi:app ; }}",
        "EnvironmentFiles": f"{root}/shared/.env (ignore_errors=no)", "Sockets": "shop.socket",
        "ReadWritePaths": "",
    }  # fmt: skip
    before = os.getcwd()
    os.chdir(release)
    yield found
    os.chdir(before)
    for server in found.sockets:
        server.close()
    shutil.rmtree(directory)


@pytest.fixture(autouse=True)
def ignore_process(monkeypatch):
    # The tests run with another virtual environment.
    monkeypatch.setattr(process, "read_process_venv", lambda pid: None)
    monkeypatch.setattr(live_process, "find_restart_reason", lambda home, name: None)


def examine(host, name="shop", root=None):
    return read_facts(name, str(host.root) if root is None else root, system=host)


def test_healthy_host_has_no_findings(host):
    assert examine_facts(examine(host)) == []


def set_owner(path, user, mode=None):
    shutil.chown(path, user, user)
    if mode is not None:
        path.chmod(mode)


def bind_without_socket_unit(host):
    program = f"{host.root}/venv/bin/gunicorn"
    del host.units["shop.socket"]
    command = f"{program} --bind unix:{host.root}/run/gunicorn.sock wsgi:app"
    host.service(Sockets="", ExecStart=f"{{ path={program} ; argv[]={command} ; }}")


def write_file(path, text="", mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def add_unreadable_record(host):
    (host.root / "releases/v0").mkdir()
    (host.root / ".deploy/releases/v0.json").mkdir()


def remove_socket(host):
    (host.root / "run/gunicorn.sock").unlink()


def leave_stale_socket(host):
    remove_socket(host)
    path = str(host.root / "run/gunicorn.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
    shutil.chown(path, "root", NGINX_USER)
    os.chmod(path, 0o660)


def create_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def replace_link(path, target):
    path.unlink()
    path.symlink_to(target)


def write_lock(host, age):
    path = host.root / ".deploy/lock"
    write_file(path, json.dumps({"run": "1", "by": "ada", "controller": "c", "time": "x"}))
    os.utime(path, (time.time() - age,) * 2)


def update_record(host, **values):
    path = host.root / ".deploy/releases/v1.json"
    write_file(path, json.dumps({**json.loads(path.read_text()), **values}))


def replace_venv(host):
    write_file(host.root / "venvs/ba9876543210/bin/gunicorn", "#!/bin/sh\n", 0o755)
    write_file(host.root / "venvs/ba9876543210/.complete")
    replace_link(host.root / "venv", "venvs/ba9876543210")


def age_code(host):
    for path in host.root.glob("releases/**/*.py"):
        os.utime(path, (time.time() - 3600,) * 2)
    os.utime(host.root / "venvs", (time.time() - 3600,) * 2)
    now = time.clock_gettime(time.CLOCK_MONOTONIC)
    host.service(ExecMainStartTimestampMonotonic=str(int((now - 60) * 1e6)))


FAULTS = [
    ("parent-not-traversable-web", lambda h: (h.root / "shared").chmod(0o750)),
    ("parent-writable", lambda h: h.root.chmod(0o777)),
    ("code-writable-by-runtime", lambda h: set_owner(h.root / "releases/v1/wsgi.py", USER)),
    ("code-world-writable", lambda h: (h.root / "releases/v1/wsgi.py").chmod(0o666)),
    ("code-unreadable", lambda h: (h.root / "releases/v1/wsgi.py").chmod(0o600)),
    ("data-not-writable", lambda h: (h.root / "shared/media").chmod(0o555)),
    ("data-not-writable", lambda h: (set_owner(h.root / "run", "root", 0o755), bind_without_socket_unit(h))),
    ("data-not-writable", lambda h: set_owner(h.root / "shared/logs", "root", 0o755)),
    ("data-world-writable", lambda h: (h.root / "shared/media").chmod(0o777)),
    ("writable-elsewhere", lambda h: set_owner(h.root / "venvs", USER)),
    ("writable-elsewhere", lambda h: write_file(h.root / "shared/notes.txt", mode=0o666)),
    ("served-file-unreadable", lambda h: (h.root / "shared/static").chmod(0o700)),
    ("served-file-unreadable", lambda h: write_file(h.root / "shared/media/cat.png", mode=0o600)),
    ("env-world-readable", lambda h: (h.root / "shared/.env").chmod(0o644)),
    ("env-writable-by-runtime", lambda h: (h.root / "shared/.env").chmod(0o660)),
    ("secret-world-readable", lambda h: write_file(h.root / "shared/tls.key")),
    (
        "upload-in-release",
        lambda h: (h.root / "releases/v1/uploads").mkdir() or set_owner(h.root / "releases/v1/uploads", USER),
    ),
    ("log-in-release", lambda h: write_file(h.root / "releases/v1/shop.log")),
    ("socket-in-release", lambda h: create_socket(h.root / "releases/v1/s.sock")),
    ("venv-in-release", lambda h: write_file(h.root / "releases/v1/env/pyvenv.cfg")),
    ("env-in-release", lambda h: write_file(h.root / "releases/v1/.env", mode=0o600)),
    ("database-in-release", lambda h: write_file(h.root / "releases/v1/shop.sqlite3")),
    ("vcs-in-release", lambda h: write_file(h.root / "releases/v1/.git/HEAD")),
    ("live-missing", lambda h: (h.root / "app").unlink()),
    ("live-dangling", lambda h: replace_link(h.root / "app", "releases/v9")),
    ("live-outside-releases", lambda h: (h.root / "other").mkdir() or replace_link(h.root / "app", "other")),
    ("live-not-a-link", lambda h: (h.root / "app").unlink() or shutil.copytree(h.root / "releases/v1", h.root / "app")),
    ("live-incomplete", lambda h: (h.root / ".deploy/releases/v1.json").unlink()),
    ("record-unreadable", lambda h: write_file(h.root / ".deploy/releases/v1.json", '{"state": "act')),
    ("record-unreadable", lambda h: write_file(h.root / ".deploy/releases/v1.json", "[]")),
    ("record-unreadable", add_unreadable_record),
    ("releases-missing", lambda h: (h.root / "releases").rename(h.root / "releases.away")),
    ("live-rejected", lambda h: update_record(h, state="bad", reason="it did not start")),
    ("venv-incomplete", lambda h: (h.root / "venvs/0123456789ab/.complete").unlink()),
    (
        "venv-interpreter-missing",
        lambda h: (h.root / "venvs/0123456789ab/bin/python").symlink_to("/usr/bin/python3.4"),
    ),
    ("venv-mismatch", replace_venv),
    ("activation-interrupted", lambda h: (h.root / "next").symlink_to("releases/v1")),
    ("activation-unrecorded", lambda h: write_file(h.root / ".deploy/activations.log", '{"release": "v0"}\n')),
    ("release-half-staged", lambda h: (h.root / "releases/.staging-v2").mkdir()),
    ("release-unrecorded", lambda h: (h.root / "releases/backup").mkdir()),
    ("venv-unreferenced", lambda h: (h.root / "venvs/ba9876543210").mkdir()),
    ("lock-stale", lambda h: write_lock(h, 7200)),
    ("lock-held", lambda h: write_lock(h, 1)),
    ("hooks-open", lambda h: write_file(h.root / ".deploy/drained.json", '{"run": "1", "by": "ada", "time": "x"}')),
    ("process-stale-release", lambda h: os.chdir(h.root)),
    ("process-stale-code", lambda h: os.utime(h.root / "releases/v1/wsgi.py", (time.time() + 60,) * 2)),
    ("process-stale-settings", age_code),
    ("health-failing", lambda h: setattr(h, "health", "GET / answered 500, expected 200")),
    ("unit-missing", lambda h: h.units.clear()),
    ("unit-reload-needed", lambda h: h.service(NeedDaemonReload="yes")),
    ("unit-user-root", lambda h: h.service(User="", Group="")),
    ("unit-user-web", lambda h: h.service(User=NGINX_USER, Group=NGINX_USER)),
    ("unit-user-shared", lambda h: h.texts.update({"till.service": f"[Service]\nUser={USER}\n"})),
    ("socket-replaceable", lambda h: set_owner(h.root / "run", USER)),
    ("socket-replaceable", lambda h: (shutil.chown(h.root / "run", "root", USER), (h.root / "run").chmod(0o775))),
    ("unit-user-missing", lambda h: h.service(User="nobody-at-all", Group="")),
    ("unit-directory-missing", lambda h: h.service(WorkingDirectory=f"{h.root}/gone")),
    ("unit-directory-elsewhere", lambda h: h.service(WorkingDirectory="/usr") or os.chdir("/usr")),
    ("unit-pins-release", lambda h: h.service(WorkingDirectory=f"{h.root}/releases/v1")),
    ("unit-exec-missing", lambda h: (h.root / "venvs/0123456789ab/bin/gunicorn").unlink()),
    ("unit-exec-elsewhere", lambda h: h.service(ExecStart="{ path=/bin/sh ; argv[]=/bin/sh -c gunicorn ; }")),
    ("unit-environment-file-missing", lambda h: h.service(EnvironmentFiles="/etc/shop.env (ignore_errors=no)")),
    ("unit-environment-file-elsewhere", lambda h: h.service(EnvironmentFiles="")),
    ("unit-environment-file-elsewhere", lambda h: h.service(EnvironmentFiles="/etc/shop.env (ignore_errors=yes)")),
    ("unit-read-write-path-missing", lambda h: h.service(ReadWritePaths=f"{h.root}/gone -{h.root}/optional")),
    ("unit-sandbox-blocks", lambda h: h.service(ProtectSystem="strict", ReadWritePaths=f"{h.root}/shared/logs")),
    ("unit-not-enabled", lambda h: h.service(UnitFileState="disabled")),
    ("unit-inactive", lambda h: h.service(ActiveState="inactive", MainPID="0")),
    ("unit-failed", lambda h: h.service(ActiveState="failed", MainPID="0", Result="exit-code")),
    ("unit-start-limit", lambda h: h.service(ActiveState="failed", MainPID="0", Result="start-limit-hit")),
    ("unit-restarts", lambda h: h.service(NRestarts="17")),
    (
        "journal-permission-errors",
        lambda h: h.log_lines.append("PermissionError: [Errno 13] Permission denied: '/srv'"),
    ),
    ("socket-missing", remove_socket),
    ("socket-not-listening", leave_stale_socket),
    ("socket-foreign", lambda h: setattr(h, "foreign", "process 7 of user 33 listens")),
    (
        "unit-masked",
        lambda h: h.service(LoadState="masked", UnitFileState="masked", ActiveState="inactive", MainPID="0"),
    ),
    (
        "unit-masked",
        lambda h: setattr(h, "read_nginx_unit", lambda: {"LoadState": "masked", "ActiveState": "inactive"}),
    ),
    ("socket-unreachable", lambda h: os.chown(h.root / "run/gunicorn.sock", 0, 0)),
    ("socket-open-to-all", lambda h: (h.root / "run/gunicorn.sock").chmod(0o777)),
    ("unit-socket-mismatch", lambda h: h.service(Sockets="") or h.units["shop.socket"].update(Triggers="old.service")),
    ("nginx-not-running", lambda h: setattr(h, "read_nginx_unit", lambda: {"ActiveState": "inactive"})),
    ("nginx-missing", lambda h: setattr(h, "dump_nginx", lambda: None)),
    ("nginx-config-invalid", lambda h: setattr(h, "accepts", False)),
    ("nginx-no-site", lambda h: (setattr(h, "proxy", "http://unix:/run/other.sock"), setattr(h, "served", ""))),
    ("nginx-proxy-mismatch", lambda h: setattr(h, "proxy", f"http://unix:{h.root}/run/old.sock")),
    ("nginx-duplicate-name", lambda h: setattr(h, "output", 'conflicting server name "_" on 0.0.0.0:80, ignored')),
    ("nginx-alias-missing", lambda h: setattr(h, "served", f"location /s/ {{ alias {h.root}/shared/gone/; }}")),
    ("nginx-alias-traversal", lambda h: setattr(h, "served", f"location /s {{ alias {h.root}/shared/static/; }}")),
    ("nginx-alias-slash", lambda h: setattr(h, "served", f"location /s/ {{ alias {h.root}/shared/static; }}")),
    ("nginx-pins-release", lambda h: setattr(h, "served", f"location /s/ {{ alias {h.root}/releases/v1/shop/; }}")),
    ("nginx-alias-elsewhere", lambda h: setattr(h, "served", "location /static/ { alias /usr/share/; }")),
    ("nginx-exposes-tree", lambda h: setattr(h, "served", f"location /files/ {{ alias {h.root}/app/; }}")),
    ("certificate-unreadable", lambda h: setattr(h, "served", "ssl_certificate /etc/no/such.pem;")),
]
# Findings that each fault also causes.
CONSEQUENCES = {
    "live-missing": {"live-missing", "unit-directory-missing", "unit-exec-missing", "process-stale-release"},
    "live-dangling": {"process-stale-release"},
    "live-outside-releases": {"process-stale-release", "unit-exec-missing"},
    "live-not-a-link": {"process-stale-release", "unit-exec-missing"},
    "live-incomplete": {"release-unrecorded"},
    "parent-not-traversable-web": {"parent-not-traversable-runtime"},
    "venv-mismatch": {"venv-unreferenced"},
    "unit-directory-missing": {"process-stale-release"},
    "unit-missing": {"nginx-proxy-mismatch"},
}  # fmt: skip


@pytest.mark.parametrize(("expected", "plant"), FAULTS, ids=[f"{n}-{kind}" for n, (kind, __) in enumerate(FAULTS)])
def test_fault_causes_its_finding_and_no_other(host, expected, plant):
    plant(host)
    found = set(ids(examine_facts(examine(host))))
    assert expected in found
    assert found - {expected} <= CONSEQUENCES.get(expected, set()), [
        item for item in examine_facts(examine(host)) if item.id != expected
    ]


def test_findings_are_complete(host):
    for _expected, plant in FAULTS[:8]:
        plant(host)
    for item in examine_facts(examine(host)):
        assert item.found and item.expected and item.reason and item.remedy and "{" not in item.remedy.replace("{}", "")


def test_each_other_finding_is_listed():
    tested = {kind for kind, _plant in FAULTS}
    assert set(KINDS) - tested == {
        "certificate-expired", "certificate-expiring", "disk-full", "disk-nearly-full", "drift-venv",
        "drift-release", "drift-settings", "file-system-noexec", "file-system-read-only", "host-unread",
        "inodes-nearly-full", "nginx-connections-exhausted", "nginx-permission-errors",
        "parent-not-traversable-runtime", "process-replaced-files", "process-stale-dependencies",
        "process-stale-venv", "root-in-home",
        "root-in-tmp", "root-missing", "scan-truncated", "service-outdated", "unit-sandbox-hides",
    }  # fmt: skip


def examine_changed_facts(host, **values):
    facts = examine(host)
    for key, value in values.items():
        setattr(facts, key, value)
    return examine_facts(facts)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"certificates": [Certificate("/c", time.time() - 86400)]}, ["certificate-expired"]),
        ({"certificates": [Certificate("/c", time.time() + 5 * 86400)]}, ["certificate-expiring"]),
        ({"certificates": [Certificate("/c", time.time() + 60 * 86400)]}, []),
        ({"disks": [Disk("/", 10**12, 10**8, 100, 100)]}, ["disk-full"]),
        ({"disks": [Disk("/", 10**10, 5 * 10**8, 100, 100)]}, ["disk-nearly-full"]),
        ({"disks": [Disk("/", 10**13, 5 * 10**11, 100, 100)]}, []),
        ({"disks": [Disk("/", 10**12, 10**12, 1000, 10)]}, ["inodes-nearly-full"]),
        ({"disks": [Disk("/", 10**12, 10**12, 0, 0)]}, []),
        ({"disks": [Disk("/", 10**12, 10**12, 0, 0, read_only=True)]}, ["file-system-read-only"]),
        ({"disks": [Disk("/tmp", 10**12, 10**12, 0, 0, noexec=True)]}, []),
        ({"truncated": True}, ["scan-truncated"]),
        ({"restart_reason": "an activation was interrupted"}, ["service-outdated"]),
        ({"restart_reason": "the unit changed", "changed_settings": "/etc/x"}, ["process-stale-settings"]),
        ({"process_venv": "/srv/old/venvs/1"}, ["process-stale-venv"]),
        ({"replaced_files": ["/usr/bin/python3.11"]}, ["process-replaced-files"]),
        ({"dependencies_changed": time.time() + 86400}, ["process-stale-dependencies"]),
        ({"nginx_exhausted": ["[alert] 7#7: 768 worker_connections are not enough"]}, ["nginx-connections-exhausted"]),
        ({"nginx_errors": ['open() "/srv/shop/x" failed (13: Permission denied)']}, ["nginx-permission-errors"]),
    ],
)
def test_facts_cause_findings(host, values, expected):
    assert ids(examine_changed_facts(host, **values)) == expected


def test_noexec_file_system_is_found_if_it_has_the_programs(host):
    disk = Disk(str(host.root), 10**12, 10**12, 0, 0, noexec=True)
    assert ids(examine_changed_facts(host, disks=[disk])) == ["file-system-noexec"]


@pytest.mark.parametrize("good", [True, False])
def test_remedy_of_a_missing_live_release_works(host, good):
    """If the first release failed, there is no release for a rollback or a start."""
    (host.root / "app").unlink()
    host.service(ActiveState="inactive", MainPID="0")
    update_record(host, state="superseded" if good else "bad")
    (missing,) = (item for item in examine_facts(examine(host)) if item.id == "live-missing")
    assert missing.remedy == f"ansible-playbook flaskops.production.{'rollback' if good else 'deploy'}"
    assert "unit-inactive" not in ids(examine_facts(examine(host)))


def test_directory_with_two_paths_is_reported_once(host, tmp_path):
    host.root.chmod(0o777)
    nodes = examine(host).nodes
    link = tmp_path / "link"
    link.symlink_to(host.root.parent)
    root = str(link / host.root.name)
    facts = examine(host)
    facts.nodes[root] = nodes[str(host.root)]._replace(path=root)
    facts.root = root
    assert [item.id for item in examine_facts(facts)].count("parent-writable") == 1


def test_outages_come_first(host):
    (host.root / "releases/v1/wsgi.py").chmod(0o666)
    host.service(ActiveState="inactive", MainPID="0")
    assert examine_facts(examine(host))[0].id == "unit-inactive"


@pytest.mark.parametrize(("root", "kind"), [("/home/ada/shop", "root-in-home"), ("/tmp/shop", "root-in-tmp")])
def test_location_of_the_root_is_examined(host, root, kind):
    facts = Facts("shop", root, nodes={root: Node(root, "directory", 0o755, 0, 0)})
    assert kind in ids(examine_facts(facts))
    assert "root-missing" not in ids(examine_facts(facts))


def test_sandbox_that_hides_the_application_is_found(host):
    facts = examine(host)
    facts.unit["ProtectHome"] = "yes"
    facts.root = "/home/ada/shop"
    facts.nodes["/home/ada/shop"] = Node("/home/ada/shop", "directory", 0o755, 0, 0)
    assert "unit-sandbox-hides" in ids(examine_facts(facts))


def test_missing_root_is_one_error(host):
    assert "root-missing" in ids(examine_facts(examine(host, root="/srv/does/not/exist")), "error")


# Detection


def test_root_is_detected_from_the_service(host):
    facts = examine(host, root="")
    assert facts.root == str(host.root)
    assert facts.guesses == [], "the layout of this collection is known"
    shutil.rmtree(host.root / ".deploy")
    assert examine(host, root="").guesses == [f"{host.root} is its directory: shop.service runs in {host.root}/app."]


def test_service_is_detected_from_the_root(host):
    host.texts = {"shop.service": f"[Service]\nWorkingDirectory={host.root}/app\n", "other.service": "[Service]\n"}
    facts = examine(host, name="")
    assert facts.name == "shop"
    assert examine_facts(facts) == []
    shutil.rmtree(host.root / ".deploy")
    assert examine(host, name="").guesses == [
        f"shop.service is its service: the unit names {host.root}.",
        "shop is its name: its service has this name.",
    ]


def test_package_called_app_is_not_the_live_code(host, tmp_path):
    code = tmp_path / "shop"
    (code / "app").mkdir(parents=True)
    host.units["shop.service"]["WorkingDirectory"] = str(code)
    found = read_facts("shop", str(code), system=host)
    assert (found.live, found.code) == (str(code), str(code))
    # The working directory of the service is.
    host.units["shop.service"]["WorkingDirectory"] = str(code / "app")
    assert read_facts("shop", str(code), system=host).live == str(code / "app")


def test_targets_of_shared_links_may_be_writable(host):
    data = host.root / "shared/database"
    data.mkdir()
    (data / "shop.db").write_text("")
    shutil.chown(data, USER, USER)
    assert "writable-elsewhere" in ids(examine_facts(examine(host)))
    # SQLite creates a journal beside the database file.
    (host.root / "shared/shop.db").symlink_to("database/shop.db")
    (host.root / "releases/v1/shop.db").symlink_to("../../shared/shop.db")
    assert "writable-elsewhere" not in ids(examine_facts(examine(host)))


def test_data_named_in_the_environment_file_may_be_writable(host):
    data = host.root / "shared/data"
    data.mkdir()
    shutil.chown(data, USER, USER)
    assert "writable-elsewhere" in ids(examine_facts(examine(host)))
    with (host.root / "shared/.env").open("a") as file:
        file.write(f'DATABASE_URL="sqlite:///{data}/shop.db"\n')
    assert "writable-elsewhere" not in ids(examine_facts(examine(host)))


def test_root_with_the_same_prefix_is_another_root(host):
    host.texts = {"shop2.service": f"[Service]\nWorkingDirectory={host.root}2/app\n"}
    assert examine(host, name="").unit == {}


@pytest.mark.parametrize(
    ("directory", "expected"),
    [
        ("/srv/shop/app", "/srv/shop"),
        ("/srv/shop/current", "/srv/shop"),
        ("/srv/shop/releases/20260421", "/srv/shop"),
        ("/srv/shop", "/srv/shop"),
        ("/srv/app", "/srv/app"),
        ("/home/ada/shop/src/", "/home/ada/shop"),
        ("/opt/app/web", "/opt/app/web"),
    ],
)
def test_root_is_derived_from_the_working_directory(directory, expected):
    assert discovery.find_root(directory) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("gunicorn --bind unix:/srv/a/run/a.sock wsgi:app", "unix:/srv/a/run/a.sock"),
        ("gunicorn -b unix:a.sock wsgi:app", "unix:/srv/a/a.sock"),
        ("gunicorn --bind=unix:run/a.sock -m 007 wsgi:app", "unix:/srv/a/run/a.sock"),
        ("gunicorn --bind 0.0.0.0:8000 wsgi:app", "127.0.0.1:8000"),
        ("gunicorn wsgi:app", ""),
    ],
)
def test_listen_address_is_read_from_the_command_line(words, expected):
    unit = {"ExecStart": f"{{ path=/v/bin/gunicorn ; argv[]=/v/bin/{words} ; ignore_errors=no ; }}"}
    assert discovery.find_listen_address(unit, {}, "/srv/a") == expected


def test_listen_address_is_read_from_the_configuration(tmp_path):
    (tmp_path / "conf.py").write_text("workers = 2\nbind = ['unix:run/a.sock']\n")
    unit = {"ExecStart": "{ path=/v/bin/gunicorn ; argv[]=/v/bin/gunicorn -c conf.py wsgi:app ; }"}
    assert discovery.find_listen_address(unit, {}, str(tmp_path)) == f"unix:{tmp_path}/run/a.sock"


# Permissions


@pytest.mark.parametrize(
    ("mode", "acl", "wanted", "expected"),
    [
        (0o640, (), 4, False),
        (0o644, (), 4, True),
        (0o642, (), 2, True),
        # 0x02: a named user; 0x08: a named group; 0x10: the mask
        (0o660, ((0x02, 6, 1001), (0x10, 6, 0)), 2, True),
        (0o640, ((0x02, 6, 1001), (0x10, 4, 0)), 2, False),
        (0o660, ((0x08, 6, 2002), (0x10, 6, 0)), 2, True),
        (0o667, ((0x08, 4, 2002), (0x10, 7, 0)), 2, False),
    ],
)
def test_permissions_follow_mode_and_acl(mode, acl, wanted, expected):
    item = Node("/x", "file", mode, 1, 1, 0, acl)
    assert has_permission(Account("ada", 1001, (2001, 2002)), item, wanted) is expected


def test_owner_has_only_the_owner_bits():
    assert not has_permission(Account("ada", 1001, (1,)), Node("/x", "file", 0o066, 1001, 1), 4)


def test_permissions_agree_with_the_kernel(as_root, tmp_path):
    entry = pwd.getpwnam("nobody")
    account = Account("nobody", entry.pw_uid, (entry.pw_gid,))
    for number, mode in enumerate((0o400, 0o040, 0o004, 0o640, 0o444, 0o777, 0o070)):
        path = tmp_path / str(number)
        path.write_text("")
        os.chown(path, [0, entry.pw_uid, 0][number % 3], [0, 0, entry.pw_gid][number % 3])
        path.chmod(mode)
    tmp_path.chmod(0o755)
    directory = os.open(tmp_path, os.O_RDONLY)
    read, written = os.pipe()
    child = os.fork()
    if not child:
        os.fchdir(directory)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
        granted = [str(int(os.access(str(number), os.R_OK))) for number in range(7)]
        os.write(written, "".join(granted).encode())
        os._exit(0)
    os.waitpid(child, 0)
    expected = os.read(read, 99).decode()
    for fd in (directory, read, written):
        os.close(fd)
    found = [str(int(has_permission(account, files.read_node(str(tmp_path / str(number))), 4))) for number in range(7)]
    assert "".join(found) == expected


def test_route_follows_links(tmp_path):
    (tmp_path / "real/inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    found = [item.path for item in files.list_route(str(tmp_path / "link/inner/file"))]
    assert found[0] == "/"
    assert found[-3:] == [str(tmp_path), str(tmp_path / "real"), str(tmp_path / "real/inner")]


# The module


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({}, "one of the following is required: name, root"),
        ({"root": "srv/shop"}, "root is 'srv/shop', but must be an absolute path, such as /srv/myapp."),
        ({"name": "shop", "recent": 0}, "recent is 0, but must be a number of minutes of at least 1."),
    ],
)
def test_invalid_options_are_refused(run_module, args, message):
    assert message in run_module(doctor, args)["msg"]


def test_module_requires_root(run_module, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "run it with become: true" in run_module(doctor, {"name": "shop"})["msg"]


def test_hidden_files_are_not_served(host):
    write_file(host.root / "shared/media/.cache/part", mode=0o600)
    assert examine_facts(examine(host)) == []


def test_acl_grants_read_permission_to_nginx(host):
    path = host.root / "shared/media/cat.png"
    write_file(path, mode=0o640)
    assert ids(examine_facts(examine(host))) == ["served-file-unreadable"]
    user = pwd.getpwnam(NGINX_USER).pw_uid
    # The owner, the user of Nginx, the group, the mask, others
    entries = [(0x01, 6, 2**32 - 1), (0x02, 4, user), (0x04, 0, 2**32 - 1), (0x10, 4, 2**32 - 1), (0x20, 0, 2**32 - 1)]
    data = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", data)
    except OSError:
        pytest.skip("the file system has no access control lists")
    assert examine_facts(examine(host)) == []


def test_result_contains_no_secrets(host):
    result = doctor.build_result(examine(host))
    assert "SECRET_KEY" not in json.dumps(result)
    assert result["worst"] == "ok"
    assert result["release"] == "v1" and result["environment"] == "0123456789ab"
    assert re.fullmatch("[0-9a-f]{24}", result["settings"])


def test_secrets_are_hidden_in_journal_findings(host):
    (host.root / "shared/.env").write_text("SECRET_KEY=correct-horse-battery\n")
    host.log_lines = ["PermissionError: correct-horse-battery"]
    (finding,) = [item for item in examine_facts(examine(host)) if item.id == "journal-permission-errors"]
    assert "PermissionError" in finding.found and "correct-horse-battery" not in finding.found


def test_examination_changes_nothing(host):
    def state():
        return {path: os.lstat(path).st_ctime_ns for path in host.root.rglob("*")}

    before = state()
    examine_facts(examine(host))
    assert state() == before


def test_failure_of_the_health_check_is_described(tmp_path):
    failure = system_module.HostSystem().find_health_failure(str(tmp_path / "missing.sock"), None)
    assert failure.startswith("GET / answered ") and failure.endswith(", expected a status below 500")

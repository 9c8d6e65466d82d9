# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command of a release has in common with the service that it belongs to."""

from __future__ import annotations

import grp
import json
import os

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._releases import Home, Lock, ReleaseError
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
ExecPaths=/usr
NoExecPaths=/
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
PATHS = ["ExecPaths=/usr", "NoExecPaths=/"]
DROP_IN = ["Environment=A=1", "Environment=PATH=/opt/bin"]


def test_a_migration_has_all_of_the_service_but_its_process():
    assert release_command.inherited(UNITS, "migrate") == [*FILES, *SANDBOX, *DROP_IN, *PATHS, "PrivateTmp=no"]


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
    for directive in ("User=web", "Group=www", "Type=oneshot", "ExecStart=/bin/sh -e /run/script"):
        assert [line for line in unit if line.split("=")[0] == directive.split("=", maxsplit=1)[0]] == [directive]
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


# Running it, with a systemctl that runs ExecStart of the unit as systemd would

RECORD = {"release": "v1", "digest": "d", "staged": "", "built": False, "state": "staged"}
SYSTEMCTL = """
run={run}
case "$1" in
show) echo "ActiveState=$(cat $run/state 2>/dev/null || echo inactive)" ;;
cat) exit 1 ;;
start)
    ls -ln $run/*.sh $run/*.log $run/systemd/system/* >"$run/listing"
    touch "$run/ran"; cat "$run/systemd/system/$2" >"$run/unit"
    command=$(sed -n 's/^ExecStart=//p' "$run/unit")
    output=$(sed -n 's/^StandardOutput=truncate://p' "$run/unit")
    $command >"$output" 2>&1 ;;
esac
"""
MY_GROUP = grp.getgrgid(os.getegid()).gr_name
RUN = {"run": "run-1", "by": "ada", "controller": "ci"}
OTHER_RUN = {"run": "run-2", "by": "grace", "controller": "laptop"}


@pytest.fixture
def command(home, tmp_path, run_module, monkeypatch):
    """Run the module for a release that is there."""
    place = tmp_path / "run"
    place.mkdir()
    systemctl(home, SYSTEMCTL.replace("{run}", str(place)))
    monkeypatch.setattr(release_command, "RUNTIME", str(place))
    monkeypatch.setattr(release_command, "PATIENCE", 0)
    monkeypatch.setattr(release_command.signal, "signal", lambda *_arguments: None)
    home.write_record("v1", RECORD)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/.env").write_text("SECRET_KEY=planted-secret\n")

    def run(text="echo done", check=False, **more):
        args = {**PARAMS, "root": home.root, "user": "web", "group": MY_GROUP, "run": RUN, "command": text}
        before = os.umask(0o077)
        try:
            return run_module(release_command, {**args, **more}, check=check)
        finally:
            os.umask(before)

    run.place = place
    return run


def left(command):
    """What the command and its test left in /run, without the notes of the test."""
    found = sorted(str(path.relative_to(command.place)) for path in command.place.rglob("*") if path.is_file())
    return [name for name in found if name not in ("listing", "ran", "unit", "state")]


def test_check_run_and_again(home, command):
    checked = command(check=True)
    assert checked["changed"] and not (command.place / "ran").exists() and "migrated" not in home.record("v1")
    done = command("echo one\necho two")
    assert done["changed"] and done["output"] == ["one", "two"]
    assert home.record("v1") == {**RECORD, "migrated": True}
    (command.place / "ran").unlink()
    assert not command()["changed"] and not command(check=True)["changed"]
    assert not (command.place / "ran").exists()
    assert left(command) == []


def test_check_mode_reports_a_release_that_is_still_to_come(command):
    assert command(check=True, release="v2")["changed"]


def test_a_release_that_is_not_there_is_refused(command):
    assert command(release="v2")["msg"] == "The release v2 is not on this host: stage it first."


def test_a_group_that_is_not_there_is_named(command):
    assert "The group nobodys, as which the command is to be run" in command(group="nobodys")["msg"]
    assert left(command) == []


def test_who_runs_it_can_read_the_script_and_nobody_else_the_rest_whatever_the_umask(command):
    assert not command().get("failed")
    modes = {line.split()[-1].rpartition("/")[2]: line.split()[0] for line in (command.place / "listing").open()}
    assert modes == {
        "myapp-migrate.sh": "-rw-r-----",
        "myapp-migrate.log": "-rw-------",
        "myapp-migrate.service": "-rw-------",
    }
    groups = {line.split()[-1].rpartition("/")[2]: line.split()[3] for line in (command.place / "listing").open()}
    assert groups["myapp-migrate.sh"] == str(os.getegid())


def test_a_failure_names_command_and_output_without_secrets_and_leaves_nothing(home, command):
    failed = command("echo the planted-secret; exit 3")
    assert failed["failed"] and "planted-secret" not in failed["msg"]
    assert "release_migrate_command 'echo the ********; exit 3' failed in the release v1" in failed["msg"]
    assert failed["msg"].endswith("\nthe ********\nThe live release was not touched.")
    assert left(command) == [] and "migrated" not in home.record("v1")


def test_of_several_lines_the_first_that_fails_ends_it(home, command):
    assert "\none\n" in command("echo one\nfalse\necho two")["msg"]
    assert "migrated" not in home.record("v1")


def test_the_exception_of_a_command_comes_first(command):
    script = "import os; os.mkdir('/proc/logs/x')"
    failed = command(f'echo before; python3 -c "{script}"')
    first, *lines = failed["msg"].split("\n")
    assert first.endswith("FileNotFoundError: [Errno 2] No such file or directory: '/proc/logs/x'.")
    assert lines[0] == '  File "<string>", line 1, in <module>'


def test_a_build_is_recorded_as_one(home, command):
    assert command(purpose="build")["changed"]
    assert home.record("v1")["built"] is True


def test_what_changes_meanwhile_in_the_record_is_kept(home, command):
    record = home.records + "/v1.json"
    command(f"""echo '{json.dumps({**RECORD, "state": "bad"})}' > {record}""")
    assert home.record("v1") == {**RECORD, "state": "bad", "migrated": True}


# One at a time


def test_a_run_that_had_the_lock_keeps_it_and_another_one_leaves_none(home, command):
    command("cat " + home.lock)
    assert not os.path.exists(home.lock)
    lock = Lock(home, RUN)
    lock.acquire()
    lock.leave()
    command(purpose="build")
    assert lock.holder()["run"] == "run-1"


def test_the_lock_is_held_while_the_command_runs(command, home):
    assert json.loads(command("cat " + home.lock)["output"][0])["run"] == "run-1"


def test_while_another_run_has_the_lock_nothing_is_run(home, command):
    lock = Lock(home, OTHER_RUN)
    lock.acquire()
    lock.leave()
    refused = command()
    assert refused["lock_holder"]["run"] == "run-2" and "grace on laptop" in refused["msg"]
    assert not (command.place / "ran").exists()


def test_a_command_that_a_killed_run_left_running_is_not_taken_for_ours(home, command):
    (command.place / "state").write_text("activating")
    refused = command()
    assert "myapp-migrate.service still runs the command of an earlier run" in refused["msg"]
    assert not (command.place / "ran").exists() and "migrated" not in home.record("v1")

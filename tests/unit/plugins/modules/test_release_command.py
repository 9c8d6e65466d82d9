# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of a release: units, scripts, secrets, records and locks."""

from __future__ import annotations

import grp
import json
import os
import pwd
import sys

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.lock import DeployLock
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._files import foreign
from ansible_collections.flaskops.production.plugins.module_utils._files.entries import PathEntry
from ansible_collections.flaskops.production.plugins.module_utils._releases import command as command_module
from ansible_collections.flaskops.production.plugins.module_utils._releases import command_unit, settings_set
from ansible_collections.flaskops.production.plugins.module_utils._releases.options import parse_command_options
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


def test_migration_inherits_the_service_except_its_process():
    assert command_unit.select_directives(UNITS, True) == [*FILES, *SANDBOX, *DROP_IN, *PATHS, "PrivateTmp=no"]


def test_build_inherits_environment_variables_only():
    assert command_unit.select_directives(UNITS, False) == [*FILES, *DROP_IN]


@pytest.fixture
def layout(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    (tmp_path / "venvs/abc/bin").mkdir(parents=True)
    (tmp_path / "venvs/abc/bin/python").symlink_to(sys.executable)
    layout = Layout(str(tmp_path))
    ReleaseStore(layout).create_directories()
    (tmp_path / ".deploy/environments").mkdir(exist_ok=True)
    (tmp_path / ".deploy/environments/v1").symlink_to("../../venvs/abc")
    return layout


PARAMS = {
    **{
        "name": "myapp",
        "root": "",
        "release": "v1",
        "purpose": "migrate",
        "command": "",
        "user": "web",
        "group": "www",
    },
    **{"record_only": False, "timeout": 60, "run": {}},
}


def systemctl(layout, script):
    path = os.path.join(layout.root, "bin/systemctl")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\n{script}\n")
    os.chmod(path, 0o755)


def lines(layout, **more):
    return command_unit.format_unit(
        layout, parse_command_options({**PARAMS, **more}), "/run/start", "/run/script", "/run/output"
    ).splitlines()


def test_directives_of_the_command_come_last(layout):
    systemctl(layout, f"cat <<'UNIT'\n{UNITS}UNIT")
    unit = lines(layout)
    start = f"ExecStart={layout.venvs}/abc/bin/python -I /run/start /bin/bash /run/script"
    for directive in ("User=web", "Group=www", "Type=oneshot", start):
        assert [line for line in unit if line.split("=")[0] == directive.split("=", maxsplit=1)[0]] == [directive]
    assert unit.index("UMask=0022") < unit.index("UMask=0027")
    assert "PrivateTmp=no" in unit and "CapabilityBoundingSet=" in unit


def test_migration_uses_staged_settings(layout, tmp_path, monkeypatch):
    monkeypatch.setattr(foreign, "UNITS", str(tmp_path))
    fragment = f"[Service]\nEnvironmentFile={layout.env_file}\nReadWritePaths=/old\n"
    (tmp_path / "myapp.service").write_text(fragment)
    systemctl(layout, f"cat <<'UNIT'\n# {tmp_path}/myapp.service\n{fragment}\n# of.conf\n[Service]\nNice=5\nUNIT")
    layout = Layout(layout.root, {"run": "run-1"})
    staged = settings_set.SettingsSet(layout, "myapp", layout.staged_settings)
    staged.add_entries([PathEntry(layout.env_file, "file", 0o640, content=b"DATABASE=b\n")])
    environment = f"EnvironmentFile={staged.directory}/.env"
    found = lines(layout)
    assert [line for line in found if "Environment" in line] == [environment] * 2 and "ReadWritePaths=/old" in found
    text = fragment.replace("/old", "/new").encode()
    staged.add_entries([PathEntry(str(tmp_path / "myapp.service"), "file", 0o644, content=text)])
    found = lines(layout)
    assert [line for line in found if "Environment" in line] == [environment] * 2
    assert [line for line in found if "ReadWrite" in line] == ["ReadWritePaths=/new"] and "Nice=5" in found


def test_environment_file_is_used_without_a_service(layout):
    systemctl(layout, "echo 'No files found for myapp.service.' >&2; exit 1")
    unit = lines(layout)
    assert f"EnvironmentFile={layout.env_file}" in unit and "CapabilityBoundingSet=" not in unit


def test_release_without_a_venv_is_refused(layout):
    with pytest.raises(ReleaseError, match="v2 has no virtual environment"):
        lines(layout, release="v2")


# Execution, with a fake systemctl that runs the ExecStart of the unit

RECORD = {"release": "v1", "digest": "d", "staged": "", "built": False, "state": "staged"}
SYSTEMCTL = """
run={run}
case "$1" in
show) echo "ActiveState=$(cat $run/state 2>/dev/null || echo inactive)" ;;
cat) exit 1 ;;
start)
    ls -ln $run/*.py $run/*.sh $run/*.log $run/systemd/system/* >"$run/listing" 2>/dev/null
    touch "$run/ran"; cat "$run/systemd/system/$2" >"$run/unit"
    command=$(sed -n 's/^ExecStart=//p' "$run/unit")
    output=$(sed -n 's/^StandardOutput=[a-z]*://p' "$run/unit")
    copy=$(sed -n 's/^BindPaths=\\(.*\\):.*releases.v1$/\\1/p' "$run/unit")
    cd "${copy:-/}" && $command >"$output" 2>&1 ;;
esac
"""
ME = pwd.getpwuid(os.geteuid()).pw_name
MY_GROUP = grp.getgrgid(os.getegid()).gr_name
RUN = {"run": "run-1", "by": "ada", "controller": "ci"}
OTHER_RUN = {"run": "run-2", "by": "grace", "controller": "laptop"}


@pytest.fixture
def command(layout, tmp_path, run_module, monkeypatch, build_unit):
    """Run the module for an existing release."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    (tmp_path / "releases/v1").mkdir()
    (tmp_path / "releases/v1/wsgi.py").write_text("as it came\n")
    place = tmp_path / "run"
    place.mkdir()
    systemctl(layout, SYSTEMCTL.replace("{run}", str(place)))
    monkeypatch.setattr(command_unit, "RUNTIME", str(place))
    monkeypatch.setattr(command_module, "STEP_TIMEOUT", 0)
    monkeypatch.setattr(release_command.signal, "signal", lambda *_arguments: None)
    ReleaseStore(layout).write_record("v1", RECORD)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/.env").write_text("SECRET_KEY=planted-secret\n")

    def run(text="echo done", check=False, **more):
        args = {
            **PARAMS,
            "root": layout.root,
            "user": ME if more.get("purpose") == "build" else "web",
            "group": MY_GROUP,
            "run": RUN,
            "command": text,
        }
        before = os.umask(0o077)
        try:
            return run_module(release_command, {**args, **more}, check=check)
        finally:
            os.umask(before)

    run.place = place
    return run


def leftovers(command):
    """Return the leftovers of the command in /run."""
    found = sorted(str(path.relative_to(command.place)) for path in command.place.rglob("*") if path.is_file())
    return [name for name in found if name not in ("listing", "ran", "unit", "state")]


def test_check_run_and_repeat(layout, command):
    checked = command(check=True)
    assert (
        checked["changed"]
        and not (command.place / "ran").exists()
        and "migrated" not in ReleaseStore(layout).read_record("v1")
    )
    done = command("echo one\necho two")
    assert done["changed"] and done["output"] == ["one", "two"]
    assert {**ReleaseStore(layout).read_record("v1"), "migrated": None} == {**RECORD, "migrated": None}
    (command.place / "ran").unlink()
    assert not command("echo one\necho two")["changed"] and not command("echo one\necho two", check=True)["changed"]
    assert not (command.place / "ran").exists()
    assert leftovers(command) == []


def test_check_mode_predicts_a_command_for_a_future_release(command):
    assert command(check=True, release="v2")["changed"]


def test_missing_release_is_refused(command):
    assert command(release="v2")["msg"] == "The release v2 is not on this host: stage it first."


def test_missing_group_is_named(command):
    assert "The group nobodys of the command does not exist" in command(group="nobodys")["msg"]
    assert leftovers(command) == []


def test_files_have_restrictive_modes_with_any_umask(command):
    assert not command().get("failed")
    modes = {line.split()[-1].rpartition("/")[2]: line.split()[0] for line in (command.place / "listing").open()}
    assert modes == {
        "myapp-migrate.py": "-rw-r--r--",
        "myapp-migrate.sh": "-rw-r-----",
        "myapp-migrate.log": "-rw-------",
        "myapp-migrate.service": "-rw-------",
    }
    groups = {line.split()[-1].rpartition("/")[2]: line.split()[3] for line in (command.place / "listing").open()}
    assert groups["myapp-migrate.sh"] == str(os.getegid())


def test_failure_shows_command_and_output_without_secrets(layout, command):
    failed = command("echo the planted-secret; exit 3")
    assert failed["failed"] and "planted-secret" not in failed["msg"]
    assert failed["msg"].startswith(
        "release_migrate_command failed in the release v1. The live release was not touched."
    )
    assert "The command was 'echo the ********; exit 3'." in failed["msg"]
    assert failed["msg"].endswith("It wrote last:\nthe ********")
    assert leftovers(command) == [] and "migrated" not in ReleaseStore(layout).read_record("v1")


def test_first_failing_line_ends_the_script(layout, command):
    assert "It wrote last:\none" in command("echo one\nfalse\necho two")["msg"]
    assert "migrated" not in ReleaseStore(layout).read_record("v1")


def test_of_a_long_output_whole_lines_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(command_module, "LOG_BYTES", 10)
    (tmp_path / "log").write_text("a secret\nlast one\n")
    assert command_module.read_end(str(tmp_path / "log")) == "last one\n"
    (tmp_path / "log").write_text("short")
    assert command_module.read_end(str(tmp_path / "log")) == "short"


@pytest.mark.parametrize(
    ("script", "output"),
    [
        ("echo one\ncd /nonexistent && echo migrating\necho seeding", ["one"]),
        ("false | cat\necho two", []),
        ("if true; then\n  echo one\n  false\n  echo two\nfi", ["one"]),
        ("echo one\necho $UNSET_VARIABLE", ["one"]),
        ("printf '%s\\n' \\\n  one && false\necho two", ["one"]),
        ("cat <<END\none\nEND\nfalse && true\necho two", ["one"]),
        ("one() {\n  echo one\n  return 1\n}\none && echo two\necho three", ["one"]),
    ],
)
def test_any_failing_command_ends_the_script(layout, command, script, output):
    failed = command(script)
    shown = failed["msg"].partition("It wrote last:\n")[2].splitlines()
    assert [line for line in shown if "/bash" not in line and ": line " not in line] == output
    assert "migrated" not in ReleaseStore(layout).read_record("v1")


@pytest.mark.parametrize(
    "script",
    [
        "cd /nonexistent 2>&- || true\necho done",
        "for word in a b; do\n  [ $word = a ] && continue\n  true\ndone\necho done",
        "# a comment, and nothing\n\necho done",
        "case x in\nx) echo done ;;\nesac",
        "set +e\nfalse\necho done",
    ],
)
def test_handled_failures_do_not_end_the_script(command, script):
    assert command(script)["output"] == ["done"]


def test_failure_without_output_is_reported(command):
    assert command("false | cat")["msg"].endswith("The command was 'false | cat'. It wrote nothing.")


def test_invalid_script_is_refused_before_it_runs(command):
    assert command("echo one\nif true; then")["msg"].startswith(
        "release_migrate_command is not a script that bash can read: line 3: syntax error"
    )
    assert not (command.place / "ran").exists()


def test_exception_of_a_command_is_shown_first(command):
    script = "import os; os.mkdir('/proc/logs/x')"
    failed = command(f'echo before; python3 -c "{script}"')
    first, *lines = failed["msg"].split("\n")
    assert first.startswith(
        "release_migrate_command failed in the release v1: "
        "FileNotFoundError: [Errno 2] No such file or directory: '/proc/logs/x'. The live release was not touched."
    )
    assert '  File "<string>", line 1, in <module>' in lines


def test_build_is_recorded_and_replaces_the_release(layout, command):
    assert command("echo built >dist\necho $HOME", purpose="build")["changed"]
    assert ReleaseStore(layout).read_record("v1")["built"] is True
    assert sorted(os.listdir(layout.release("v1"))) == ["dist", "wsgi.py"]
    assert os.listdir(layout.releases) == ["v1"]


def test_failed_build_starts_again_from_the_original(layout, command):
    """Otherwise, `mkdir` fails until there is another release."""
    failing = command("mkdir dist\nrm wsgi.py\necho 'ConnectionError: no registry' >&2\nexit 1", purpose="build")
    assert failing["msg"].startswith("release_build_command failed in the release v1: ConnectionError: no registry.")
    assert os.listdir(layout.release("v1")) == ["wsgi.py"] and os.listdir(layout.releases) == ["v1"]
    assert command("mkdir dist\ncat wsgi.py", purpose="build")["output"] == ["as it came"]


def test_leftovers_of_a_killed_build_are_removed(layout, command):
    os.makedirs(layout.releases + "/.staging-build/tree/dist")
    assert command("mkdir dist", purpose="build")["changed"]


def test_build_with_a_link_out_of_the_release_is_refused(layout, command):
    os.symlink("../../shared/media", layout.release("v1") + "/media")
    assert command("ln -s wsgi.py other", purpose="build")["changed"], (
        "its own links, and those that came with it, stay"
    )
    ReleaseStore(layout).write_record("v1", RECORD)
    failing = command("ln -s /etc/passwd out", purpose="build")
    assert "'out' is a link to '/etc/passwd', which leads out of the directory" in failing["msg"]
    assert not os.path.lexists(layout.release("v1") + "/out")


def test_unit_of_a_build_is_sandboxed(layout, command):
    command(purpose="build", timeout=60)
    unit = (command.place / "unit").read_text().splitlines()
    assert {"User=flaskops-build", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "TimeoutStartSec=60"} <= set(unit)
    release = layout.release("v1")
    assert f"BindPaths={layout.releases}/.staging-build/tree:{release}" in unit
    start = [line for line in unit if line.startswith("ExecStart=")]
    assert len(start) == 1 and start[0].startswith(
        f"ExecStart={layout.venvs}/abc/bin/python -I {layout.releases}/.staging-build/"
    )


def test_concurrent_changes_of_the_record_are_kept(layout, command):
    record = layout.records + "/v1.json"
    command(f"""echo '{json.dumps({**RECORD, "state": "bad"})}' > {record}""")
    record = ReleaseStore(layout).read_record("v1")
    assert record["state"] == "bad" and set(record["migrated"]) == {"salt", "digest"}


@pytest.mark.parametrize(
    ("env", "text", "again"),
    [
        ("SECRET_KEY=planted-secret\n", "echo done", False),
        ("# A comment.\n\n  SECRET_KEY=planted-secret", "echo done\n", False),
        ("SECRET_KEY=planted-secret\nDATABASE=other.db\n", "echo done", True),
        ("SECRET_KEY=changed-secret\n", "echo done", True),
        ("SECRET_KEY=planted-secret\n", "echo more", True),
        (None, "echo done", True),
    ],
)
def test_migration_depends_on_command_and_variables(layout, command, env, text, again):
    command()
    if env is None:
        os.unlink(layout.env_file)
    else:
        with open(layout.env_file, "w", encoding="utf-8") as file:
            file.write(env)
    assert command(text, check=True)["changed"] is again
    assert command(text)["changed"] is again
    assert not command(text)["changed"]


def test_migration_record_contains_no_secret_and_differs_between_hosts(layout, command):
    command("echo planted-command")
    first = ReleaseStore(layout).read_record("v1")["migrated"]
    with open(os.path.join(layout.records, "v1.json"), encoding="utf-8") as file:
        assert "planted" not in file.read()
    ReleaseStore(layout).write_record("v1", RECORD)
    command("echo planted-command")
    assert ReleaseStore(layout).read_record("v1")["migrated"] != first


def test_migration_of_another_host_is_recorded_without_running(layout, command):
    assert command(record_only=True)["changed"]
    assert not (command.place / "ran").exists()
    assert not command()["changed"] and not command(record_only=True)["changed"]
    assert not (command.place / "ran").exists()


@pytest.mark.parametrize("migrated", [True, {}, {"salt": "zz", "digest": ""}, {"salt": "00", "digest": "0"}])
def test_invalid_migration_records_are_ignored(layout, command, migrated):
    ReleaseStore(layout).write_record("v1", {**RECORD, "migrated": migrated})
    assert command()["changed"]


@pytest.mark.parametrize("purpose", ["build", "migrate"])
def test_command_uses_its_own_release_for_live_paths(layout, command, monkeypatch, purpose):
    os.makedirs(layout.release("v0"))
    os.symlink("releases/v0", layout.app)
    monkeypatch.setenv("CONFIG", f"{layout.app}/config:{layout.venv}/etc,{layout.root}/app.cfg")
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    message = command('printf "%s\\n" "$CONFIG" "$VIRTUAL_ENV" "$PATH"', purpose=purpose)["output"]
    venv = f"{layout.venvs}/abc"
    assert message[0] == f"{layout.release('v1')}/config:{venv}/etc,{layout.root}/app.cfg"
    assert message[1] == venv and message[2].startswith(f"{venv}/bin:")


def test_build_has_its_own_home(layout, command, monkeypatch):
    monkeypatch.setenv("HOME", "/var/cache/flaskops/myapp")
    monkeypatch.setenv("TMPDIR", "/srv/myapp/shared/tmp")
    text = 'echo "$HOME" "$TMPDIR"'
    work = layout.releases + "/.staging-build"
    assert command(text, purpose="build")["output"] == [f"{work}/home {work}/tmp"]
    assert command(text)["output"] == ["/var/cache/flaskops/myapp /srv/myapp/shared/tmp"]


def test_only_migrations_have_the_directories_of_the_service(layout):
    systemctl(layout, "echo '[Service]'; echo CacheDirectory=flaskops/myapp")
    assert "CacheDirectory=flaskops/myapp" in lines(layout)
    assert "CacheDirectory=flaskops/myapp" not in lines(layout, purpose="build")


# Locks


def test_held_lock_is_kept_and_a_new_lock_is_released(layout, command):
    command("cat " + layout.lock)
    assert not os.path.exists(layout.lock)
    lock = DeployLock(layout, RUN)
    lock.acquire()
    lock.release_guard()
    command(purpose="build")
    assert lock.read_holder()["run"] == "run-1"


def test_lock_is_held_while_the_command_runs(command, layout):
    assert json.loads(command("cat " + layout.lock)["output"][0])["run"] == "run-1"


def test_nothing_runs_while_another_run_holds_the_lock(layout, command):
    lock = DeployLock(layout, OTHER_RUN)
    lock.acquire()
    lock.release_guard()
    refused = command()
    assert refused["lock_holder"]["run"] == "run-2" and "grace on laptop" in refused["msg"]
    assert not (command.place / "ran").exists()


def test_command_of_a_killed_run_is_not_mistaken_for_this_one(layout, command):
    (command.place / "state").write_text("activating")
    refused = command()
    assert "myapp-migrate.service still runs the command of an earlier run" in refused["msg"]
    assert not (command.place / "ran").exists() and "migrated" not in ReleaseStore(layout).read_record("v1")

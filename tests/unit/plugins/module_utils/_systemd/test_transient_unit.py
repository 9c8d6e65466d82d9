# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import stat
import time

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._python import workspace as workspace_module
from ansible_collections.flaskops.production.plugins.module_utils._systemd import transient_unit
from ansible_collections.flaskops.production.plugins.module_utils._systemd.transient_unit import BuildError, Mounts

SPACE = Mounts({"/srv/a/venvs/1": "/srv/a/venvs/1"}, {"/srv/a/releases/1": "/srv/a/releases/1"}, ("/srv",))


def test_unit_is_sandboxed_and_has_its_mounts():
    lines = transient_unit.format_properties(SPACE, 12.9)
    assert {
        "User=flaskops-build",
        "Group=flaskops-build",
        "SupplementaryGroups=",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        "RestrictSUIDSGID=yes",
        "KillMode=control-group",
        "TimeoutStartSec=12",
        "TemporaryFileSystem=/srv:ro",
        "BindReadOnlyPaths=/srv/a/releases/1:/srv/a/releases/1",
        "BindPaths=/srv/a/venvs/1:/srv/a/venvs/1",
    } <= set(lines)


def test_paths_are_quoted_for_systemd():
    lines = transient_unit.format_properties(Mounts({'/a b:c"\\': "/x"}, {}, ()), 5)
    assert lines[-1] == r"BindPaths=/x:/a\ b\:c\"\\"


def test_other_applications_are_hidden(tmp_path, monkeypatch):
    assert transient_unit.list_hidden_directories("/srv/myapp") == ("/home", "/root", "/srv")
    monkeypatch.setattr(transient_unit, "needs_bind_mount", lambda _path, _hidden: False)
    for name in ("myapp/venvs", "other/shared", "another/.deploy", "tools/bin"):
        (tmp_path / name).mkdir(parents=True)
    hidden = transient_unit.list_hidden_directories(transient_unit.find_application_root(f"{tmp_path}/myapp/venvs"))
    assert hidden == ("/home", "/root", "/srv", f"{tmp_path}/myapp", f"{tmp_path}/another", f"{tmp_path}/other")


def test_each_directory_has_its_own_unit():
    names = {
        transient_unit.format_unit_name(path)
        for path in ("/srv/a/venvs", "/srv/a/releases", "/opt/a/venvs", "/srv/b/venvs")
    }
    assert len(names) == 4
    assert all(name.startswith("flaskops-build-") and name.endswith(".service") for name in names)


@pytest.fixture
def run(tmp_path, build_unit):
    """Run a command as a build. Returns its exit status and output."""

    def run(*command, timeout=20, environment=None, more=()):
        script = str(tmp_path / "command")
        transient_unit.write_script(script, list(command), "/", environment or {}, os.getegid())
        return transient_unit.run_script("flaskops-build-test.service", script, SPACE, timeout, more)

    return run


def test_status_and_output_of_a_command_are_returned(run):
    assert run("sh", "-c", "echo one; echo two >&2; exit 3") == (3, "one\ntwo\n")
    assert run("true") == (0, "")


def test_sandbox_failure_is_reported(run):
    code, output = run("sh", "-c", "exit 226")
    message = "x.service: Failed to set up mount namespacing: /gone: No such file or directory"
    assert (code, output) == (226, f"systemd could not set up the command (status 226): {message}\n")


def test_arguments_are_quoted_and_secrets_are_not_in_the_process_list(run, build_unit):
    words = ["it's", "$HOME", "%n", "a  b", "`id`", 'say "x"\\']
    assert run("printf", "%s\n", *words, environment={"TOKEN": "s3cr'et $x"})[1].splitlines() == words
    assert run("printenv", "TOKEN", environment={"TOKEN": "s3cr'et $x"})[1] == "s3cr'et $x\n"
    assert "s3cr" not in (build_unit / "systemd-run.told").read_text()


def test_only_the_end_of_the_output_is_kept(run):
    output = run("sh", "-c", "yes | head -c 3000000; echo end")[1]
    # Without the line that is cut off, which may be a part of a secret.
    assert transient_unit.MAX_OUTPUT_BYTES - len("y\n") <= len(output) <= transient_unit.MAX_OUTPUT_BYTES
    assert output.startswith("y\n") and output.endswith("y\nend\n")


def test_timeout_of_a_command_is_reported(run):
    start = time.monotonic()
    with pytest.raises(transient_unit.BuildTimeoutError):
        run("sleep", "60", timeout=1)
    assert time.monotonic() - start < 30


def test_results_are_read_from_regular_files_only(tmp_path):
    (tmp_path / "file").write_text("text")
    assert transient_unit.read_result(f"{tmp_path}/file") == "text"
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(OSError, match="link"):
        transient_unit.read_result(f"{tmp_path}/link")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BuildError, match="is not a regular file"):
        transient_unit.read_result(f"{tmp_path}/pipe")


def test_host_without_systemd_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(transient_unit.os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        BuildError, match="systemd is not the init system of this host, or systemd-run is not in the PATH"
    ):
        transient_unit.check_host()
    monkeypatch.setattr(transient_unit.os, "geteuid", lambda: 1000)
    with pytest.raises(BuildError, match="set become to true"):
        transient_unit.check_host()


def test_closed_directory_is_found(tmp_path):
    (tmp_path / "open" / "closed" / "bin").mkdir(parents=True)
    (tmp_path / "open" / "closed").chmod(0o750)
    # Other users cannot enter the directories of pytest.
    first = transient_unit.find_closed_directory(f"{tmp_path}/open/python")
    assert transient_unit.find_closed_directory(f"{tmp_path}/open/closed/bin/python") == (
        first or f"{tmp_path}/open/closed"
    )
    assert transient_unit.find_closed_directory("/usr/bin/python3") is None


def test_builds_of_a_host_do_not_run_in_parallel(build_unit):
    with transient_unit.hold_build_lock(time.monotonic()):
        waits = pytest.raises(transient_unit.BuildTimeoutError, match="Another build on this host still holds")
        with waits, transient_unit.hold_build_lock(time.monotonic()):
            pass
    with transient_unit.hold_build_lock(time.monotonic()):
        mode = stat.S_IMODE(os.stat(f"{build_unit}/run").st_mode)
    assert mode == 0o700, "another user could hold the lock"


@pytest.fixture
def workspace(tmp_path):
    workspace = workspace_module.Workspace(str(tmp_path), os.geteuid(), os.getegid())
    workspace.create()
    return workspace


def test_visible_paths_are_mounted_once_and_the_result_is_writable(workspace, tmp_path):
    for name in ("source/wheels", "made"):
        (tmp_path / name).mkdir(parents=True)
    made, source = f"{tmp_path}/made", f"{tmp_path}/source"
    space = workspace.build_mounts(
        {made: made}, [made, source, f"{source}/wheels", "/nonexistent", "/usr"], {"/etc/x": "/copy"}
    )
    assert space.readable == {source: source, workspace.input: workspace.input, "/etc/x": "/copy"}
    assert space.writable == {made: made, workspace.home: workspace.home, workspace.temporary: workspace.temporary}


def test_only_passwords_of_used_hosts_are_copied(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr(workspace_module, "CONFIGURATION", ())
    home = tmp_path / "root"
    (home / ".config/pip").mkdir(parents=True)
    (home / ".config/pip/pip.conf").write_text("[global]\nextra-index-url = https://two.example/simple\n")
    (home / ".netrc").write_text(
        "".join(f"machine {name}.example\nlogin me\npassword of-{name}\n" for name in ("one", "two", "three"))
    )
    workspace.copy_configuration(str(home), ["https://one.example/simple"])
    copied = (tmp_path / ".build/home/.netrc").read_text()
    assert "of-one" in copied and "of-two" in copied and "of-three" not in copied
    assert (tmp_path / ".build/home/.config/pip/pip.conf").is_file()


def test_configuration_that_only_root_can_read_is_replaced_by_a_copy(workspace, tmp_path, monkeypatch):
    (tmp_path / "pip.conf").write_text("[global]\n")
    (tmp_path / "pip.conf").chmod(0o600)
    monkeypatch.setattr(workspace_module, "CONFIGURATION", (f"{tmp_path}/pip.conf", f"{tmp_path}/absent"))
    binds = workspace.copy_configuration("/nonexistent", [])
    assert list(binds) == [f"{tmp_path}/pip.conf"]
    copy = binds[f"{tmp_path}/pip.conf"]
    assert copy.startswith(workspace.input) and stat.S_IMODE(os.stat(copy).st_mode) == 0o640


def test_unreadable_files_named_by_variables_are_copied(workspace, tmp_path):
    (tmp_path / "key.pem").write_text("key")
    (tmp_path / "key.pem").chmod(0o600)
    copied = workspace.copy_files({"PIP_CLIENT_CERT": f"{tmp_path}/key.pem", "SHELL": "/bin/sh", "X": "key.pem"})
    assert list(copied) == ["PIP_CLIENT_CERT"]
    with open(copied["PIP_CLIENT_CERT"], encoding="utf-8") as stream:
        assert stream.read() == "key"

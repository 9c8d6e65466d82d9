#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: release_command
short_description: Run a command of a release once (internal to the roles)
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Runs a command in the directory of a staged release, with the release's own packages first in C(PATH),
    C(VIRTUAL_ENV), and the variables of C(shared/.env), which systemd reads on the host. No secret leaves the host.
  - Paths below C(<root>/app) or C(<root>/venv) in variables are replaced by those of this release.
  - A command is recorded with the release and does not run again. A migration runs again if the command or the
    variables of C(shared/.env) have changed, because the database may be another one.
  - Takes the deploy lock of the application while the command runs. The module waits for a migration of a killed run,
    and stops a build.
  - A build runs as the user C(flaskops-build), in a copy of the release that replaces the release after a success. It
    may write to that copy and its own C(HOME) and C(TMPDIR), which are removed afterwards. It cannot read C(shared/),
    other releases, other applications and the home of root.
attributes:
  check_mode:
    support: full
    description: Predicts whether the command runs.
  diff_mode:
    support: none
    description: The effects of the command are unknown.
options:
  name:
    description: The application's name. The unit that runs the command is named after it.
    type: str
    required: true
  root:
    description: The application's directory, such as C(/srv/myapp).
    type: path
    required: true
  release:
    description: The release to run the command in.
    type: str
    required: true
  purpose:
    description: The kind of the command. A release with a build command cannot be activated before the build.
    type: str
    choices: [build, migrate]
    required: true
  command:
    description:
      - The command, a script for bash with C(set -eu -o pipefail). It exits after the first line that fails, including
        a list such as C(cd web && make). A pipeline fails if any of its commands fails. An unset variable is an error.
      - Append C(|| true) to a command that may fail.
    type: str
    required: true
  user:
    description: The user to run a migration as, and the owner of the result of a build.
    type: str
    required: true
  group:
    description: The group to run a migration as.
    type: str
    required: true
  record_only:
    description:
      - Record the command as run without running it.
      - Used for the other hosts of a fleet after a migration on one of them, so that later runs do not repeat it.
    type: bool
    default: false
  timeout:
    description: The time limit of a build, in seconds. Migrations have no time limit.
    type: int
    default: 1800
extends_documentation_fragment:
  - flaskops.production.attributes
  - flaskops.production.attributes.of_this_run
seealso:
  - module: flaskops.production.release_stage
"""

EXAMPLES = r"""
- name: Migrate the database, once for the fleet
  flaskops.production.release_command:
    name: myapp
    root: /srv/myapp
    release: 2026-04-21-120000-1a2b3c4
    purpose: migrate
    command: flask db upgrade
    user: www-data
    group: www-data
  run_once: true
"""

RETURN = r"""
done:
  description: Whether the command has been run.
  returned: in check mode
  type: bool
  sample: true
output:
  description: The last 200 lines of the command's output, with both streams.
  returned: when the command was run
  type: list
  elements: str
  sample: ["INFO  [alembic.runtime.migration] Running upgrade"]
"""

import contextlib
import grp
import inspect
import os
import signal
import time
from types import MappingProxyType
from typing import Iterator, Mapping

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import PATIENCE, Layout, Lock, LockedError
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._core.module import AnsibleModule
from ansible_collections.flaskops.production.plugins.module_utils._core.secrets import hide_secrets
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import format_error, replace_file
from ansible_collections.flaskops.production.plugins.module_utils._files.links import SymlinkError
from ansible_collections.flaskops.production.plugins.module_utils._python.output import (
    find_error_line,
    get_last_lines,
    strip_escapes,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.workspace import Workspace
from ansible_collections.flaskops.production.plugins.module_utils._releases.build import build_in_copy
from ansible_collections.flaskops.production.plugins.module_utils._releases.cause import find_cause
from ansible_collections.flaskops.production.plugins.module_utils._releases.migrations import (
    describe_migration,
    is_migrated,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.script import (
    SHELL,
    ScriptError,
    build_strict_script,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings import next_unit
from ansible_collections.flaskops.production.plugins.module_utils._systemd.environment import complete_environment
from ansible_collections.flaskops.production.plugins.module_utils._systemd.journal import LOG_BYTES, Tail
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import (
    parse_service_settings,
    read_unit_credentials,
    read_unit_properties,
    read_unit_text,
    run_systemctl,
)
from ansible_collections.flaskops.production.plugins.module_utils._systemd.transient_unit import (
    BuildError,
    BuildTimeoutError,
    Mounts,
    follow_unit,
    format_properties,
    format_unit_name,
    open_named_pipe,
)

# The directives of a service that set environment variables and credentials.
ENVIRONMENT_DIRECTIVES = (
    "Environment",
    "EnvironmentFile",
    "LoadCredential",
    "LoadCredentialEncrypted",
    "SetCredential",
    "SetCredentialEncrypted",
)
# The directives about the process of a service, its socket and its output. ExecPaths is not one of them.
PROCESS_DIRECTIVES = (
    *("Type", "ExitType", "RemainAfterExit", "GuessMainPID", "PIDFile", "BusName"),
    *("ExecCondition", "ExecStartPre", "ExecStart", "ExecStartPost"),
    *("ExecReload", "ExecReloadPost", "ExecStop", "ExecStopPost"),
    *("Restart", "RestartSec", "RestartSteps", "RestartMaxDelaySec", "RestartMode", "RestartPreventExitStatus"),
    *("RestartForceExitStatus", "SuccessExitStatus", "RootDirectoryStartOnly"),
    *("NonBlocking", "NotifyAccess", "Sockets", "OpenFile"),
    *("OOMPolicy", "ReloadSignal", "RefreshOnReload", "FileDescriptorStoreMax", "FileDescriptorStorePreserve"),
    *("USBFunctionDescriptors", "USBFunctionStrings", "TimeoutSec"),
    *("TimeoutStartSec", "TimeoutStopSec", "TimeoutAbortSec"),
    *("TimeoutStartFailureMode", "TimeoutStopFailureMode", "RuntimeMaxSec", "RuntimeRandomizedExtraSec", "WatchdogSec"),
    *("WatchdogSignal", "KillMode", "KillSignal", "RestartKillSignal", "FinalKillSignal", "SendSIGHUP", "SendSIGKILL"),
    *("User", "Group", "WorkingDirectory", "SyslogIdentifier", "SyslogFacility", "SyslogLevel", "SyslogLevelPrefix"),
    *("StandardInput", "StandardInputText", "StandardInputData", "StandardOutput", "StandardError"),
    *("TTYPath", "TTYReset", "TTYVHangup", "TTYVTDisallocate", "TTYColumns", "TTYRows", "UtmpIdentifier", "UtmpMode"),
    # The directory of the service would be removed at the end of the command.
    *("RuntimeDirectory", "RuntimeDirectoryMode", "RuntimeDirectoryPreserve"),
)
# The directory of the unit, its script and its output, which a reboot removes.
RUNTIME = "/run"

# The number of last lines of a command's output in the result, and in a message.
OUTPUT_LINES = 200
MESSAGE_LINES = 30

# The key in the record of a release for each purpose.
RECORD_KEYS = {"build": "built", "migrate": "migrated"}


def get_venv(layout: Layout, release: str) -> str:
    """Return the path of the virtual environment of a release. Raises ReleaseError if it has none."""
    venv = layout.environment(release)
    if venv is None:
        raise ReleaseError(f"The release {release} has no virtual environment yet: build it first.")
    return os.path.join(layout.venvs, venv)


def build_launcher(layout: Layout, release: str, variables: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return a program that sets environment variables as Gunicorn's configuration does, and executes its arguments.

    variables override those of the service and of `shared/.env`.
    """
    paths = (layout.root, layout.release(release), get_venv(layout, release))
    return (
        f"from __future__ import annotations\n\nimport os\nimport re\nimport sys\n\n\n"
        f"{inspect.getsource(complete_environment)}\n\n"
        f"complete_environment(os.environ, {', '.join(map(repr, paths))})\n"
        f"os.environ.update({dict(variables)!r})\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )


def select_directives(text: str, purpose: str) -> list[str]:
    """Return the directives of the service that apply to the command too.

    A migration gets all directives that are not about the process itself, so it has the same access as the application.
    A build gets the environment variables only, because it writes to the release, which the application cannot.
    """
    if purpose == "build":
        return [line for line in parse_service_settings(text) if _parse_name(line) in ENVIRONMENT_DIRECTIVES]
    return [line for line in parse_service_settings(text) if _parse_name(line) not in PROCESS_DIRECTIVES]


def _parse_name(line: str) -> str:
    return line.split("=", 1)[0].strip()


def format_unit(
    layout: Layout, params: dict, start: str, script: str, output: str, mounts: Mounts | None = None
) -> str:
    """Return a unit that runs the command: a migration like the service, a build as an unprivileged user."""
    code, text = read_unit_text(f"{params['name']}.service")
    text = next_unit(layout, params["name"], text)
    # The environment file is used even if the service does not exist yet.
    common = [
        f"EnvironmentFile={layout.next_settings_file(layout.env_file)}",
        *(select_directives(text, params["purpose"]) if code == 0 else []),
    ]
    own = ["Type=oneshot", f"User={params['user']}", f"Group={params['group']}", "TimeoutStartSec=infinity"]
    if mounts:
        own = [line.replace("%", "%%") for line in format_properties(mounts, params["timeout"])]
    lines = "\n".join(["UMask=0022", *common, *own])
    program = f"{get_venv(layout, params['release'])}/bin/python -I {start} {SHELL} {script}"
    return f"""[Unit]
Description={params["name"]}: {params["purpose"]} {params["release"]}

[Service]
{lines}
WorkingDirectory={layout.release(params["release"])}
ExecStart={program}
StandardOutput={output}
StandardError=inherit
"""


def run_command(layout: Layout, params: dict) -> tuple[bool, list[str]]:
    """Run the command. Returns whether it succeeded, and its last lines of output without secrets."""
    script = build_strict_script(params["command"])
    if params["purpose"] == "migrate":
        return run_migration(layout, params, f"{params['name']}-migrate.service", script)
    name = format_unit_name(layout.releases)
    result: tuple[bool, list[str]] = (False, [])

    def command(work: Workspace, mounts: Mounts) -> bool:
        nonlocal result
        start = work.write_input("start", build_launcher(layout, params["release"], work.get_variables()).encode())
        path = work.write_input("command", script.encode("utf-8", "surrogateescape"))
        text = format_unit(layout, params, start, path, f"file:{path}.out", mounts)
        with open_named_pipe(path + ".out") as pipe, install_unit(name, text):
            code, output = follow_unit(["systemctl", "start", name], pipe, name, params["timeout"])
            if code and read_unit_properties(name, "Result").get("Result") == "timeout":
                raise BuildTimeoutError(
                    f"release_build_command took longer than {params['timeout']} s (release_build_timeout) and was "
                    f"stopped. The release {params['release']} was not changed."
                )
            result = (code == 0, format_output(layout, params, output))
        return result[0]

    build_in_copy(layout, params["release"], params["user"], params["timeout"], command)
    return result


@contextlib.contextmanager
def install_unit(name: str, text: str) -> Iterator[None]:
    """Install a unit in /run, and remove it after the context. systemd-run would expose its environment variables."""
    path = os.path.join(RUNTIME, "systemd/system", name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        # The environment variables of the unit and the command may contain secrets.
        write_file(path, text, 0o600)
        run_systemctl("daemon-reload")
        yield
    finally:
        run_systemctl("reset-failed", name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        run_systemctl("daemon-reload")


def run_migration(layout: Layout, params: dict, name: str, text: str) -> tuple[bool, list[str]]:
    """Run the command as the application. It continues if this process is killed, so its output goes to a file."""
    plain_name = name.rpartition(".")[0]
    start, script, output = (os.path.join(RUNTIME, f"{plain_name}.{end}") for end in ("py", "sh", "log"))
    wait_for_unit(name)
    try:
        write_file(start, build_launcher(layout, params["release"]), 0o644)
        write_file(script, text, 0o640, _find_group_id(params["group"]))
        # The output may contain secrets. systemd keeps the mode of an existing file.
        write_file(output, "", 0o600)
        with install_unit(name, format_unit(layout, params, start, script, f"truncate:{output}")):
            # A migration has no time limit. It can be stopped with its unit.
            code, output_text = run_systemctl("start", name, timeout=float("inf"))
            lines = format_output(layout, params, end_of(output))
        return code == 0, lines or ([output_text] if code else [])
    finally:
        for path in (start, script, output):
            if os.path.lexists(path):
                os.unlink(path)


def end_of(path: str) -> str:
    """Return the last lines of a file of any size."""
    tail = Tail(LOG_BYTES)
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_BYTES - 1))
        tail.add(file.read(LOG_BYTES + 1))
    return tail.whole_lines().decode("utf-8", "replace")


def format_output(layout: Layout, params: dict, output: str) -> list[str]:
    """Return the last lines of a command's output without secrets."""
    env_file = layout.next_settings_file(layout.env_file)
    return strip_escapes(
        hide_secrets(output, env_file, read_unit_credentials(f"{params['name']}.service"))
    ).splitlines()[-OUTPUT_LINES:]


def wait_for_unit(name: str) -> None:
    """Wait while the unit runs the command of a killed run, because starting it would not run this command."""
    deadline = time.monotonic() + PATIENCE
    while read_unit_properties(name, "ActiveState").get("ActiveState") in (
        "activating",
        "deactivating",
        "active",
        "reloading",
    ):
        if time.monotonic() > deadline:
            raise ReleaseError(
                f"{name} still runs the command of an earlier run: wait until it ends, or stop the unit, and run again."
            )
        time.sleep(0.5)


def write_file(path: str, text: str, mode: int, gid: int = -1) -> None:
    """Write a file with this mode, independent of the umask."""
    replace_file(path, text.encode("utf-8", "surrogateescape"), mode, gid=gid)


def _find_group_id(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ReleaseError(f"The group {name} of the command does not exist on this host.") from None


def is_done(layout: Layout, record: dict, params: dict) -> bool:
    """Return whether the command was run. A migration must have had the same command and environment variables."""
    if params["purpose"] == "migrate":
        return is_migrated(record.get("migrated"), params["command"], layout.next_settings_file(layout.env_file))
    return bool(record.get(RECORD_KEYS[params["purpose"]]))


def run_and_record(layout: Layout, params: dict) -> dict:
    """Run the command unless it was run before, and record it. Returns the result of the task."""
    release, key = params["release"], RECORD_KEYS[params["purpose"]]
    record = layout.record(release)
    if record is None:
        raise ReleaseError(f"The release {release} is not on this host: stage it first.")
    if is_done(layout, record, params):
        return {"changed": False}
    # The environment file may change during the command, so its digest is computed before.
    env_file = layout.next_settings_file(layout.env_file)
    value = describe_migration(params["command"], env_file) if params["purpose"] == "migrate" else True
    succeeded, output = (True, []) if params["record_only"] else run_command(layout, params)
    if not succeeded:
        command, output_text = hide_secrets(params["command"], env_file).strip(), "\n".join(output)
        cause = find_cause(output_text)
        reason = cause.error.partition("\n")[0].rstrip(".") or find_error_line(output_text)
        raise ReleaseError(
            f"release_{params['purpose']}_command failed in the release {release}"
            + (f": {reason}" if reason else "")
            + f". The live release was not touched. The command was '{command}'. "
            + (
                "It wrote last:\n" + "\n".join(get_last_lines(output_text, MESSAGE_LINES))
                if output_text.strip()
                else "It wrote nothing."
            )
            # Hints are about the running application. A build can write to its release.
            + (f"\nHint: {cause.hint}." if cause.hint and params["purpose"] == "migrate" else "")
        )
    # The record may have changed during the command.
    layout.write_record(release, {**(layout.record(release) or record), key: value})
    return {"changed": True, "output": output}


def run_with_lock(layout: Layout, params: dict) -> dict:
    """Run the command with the deploy lock held. A lock that this run already held is kept."""
    if layout.record(params["release"]) is None:
        # The directory of the lock may be missing too.
        return run_and_record(layout, params)
    lock = Lock(layout, params["run"])
    held = (lock.holder() or {}).get("run") == params["run"]["run"]
    lock.acquire()
    try:
        return run_and_record(layout, params)
    finally:
        if held:
            lock.leave()
        else:
            lock.release()


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "purpose": {"type": "str", "choices": list(RECORD_KEYS), "required": True},
            "command": {"type": "str", "required": True},
            "user": {"type": "str", "required": True},
            "group": {"type": "str", "required": True},
            "record_only": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 1800},
            "run": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    params, layout = module.params, Layout(module.params["root"], module.params["run"])
    try:
        if module.check_mode:
            done = is_done(layout, layout.record(params["release"]) or {}, params)
            module.exit_json(changed=not done, done=done)
        # The result of the command must be recorded even if the connection is lost.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.umask(0o022)
        result = run_with_lock(layout, params)
    except LockedError as error:
        module.fail_json(msg=str(error), **error.result())
    except ScriptError as error:
        module.fail_json(msg=f"release_{params['purpose']}_command is not a script that bash can read: {error}")
    except (ReleaseError, BuildError, SymlinkError, OSError) as error:
        module.fail_json(msg=format_error(error, layout.root))
    module.exit_json(**result)


if __name__ == "__main__":
    main()

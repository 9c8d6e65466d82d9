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
  - Paths below C(<root>/app) or C(<root>/venv) in variables refer to this release in the command.
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
    description: The application's name. Names the unit that runs the command.
    type: str
    required: true
  root:
    description: The application's directory, such as C(/srv/myapp).
    type: path
    required: true
  release:
    description: The release to run it in.
    type: str
    required: true
  purpose:
    description: As what the command is recorded. A release with a build command can't be activated before it has run.
    type: str
    choices: [build, migrate]
    required: true
  command:
    description:
      - The command, a script for bash with C(set -eu -o pipefail). Of several lines, the first that fails ends it, also
        if it is a list such as C(cd web && make). A pipeline fails if any of its commands does. An unset variable is an
        error.
      - Where a command may fail, append C(|| true).
    type: str
    required: true
  user:
    description: The user to run a migration as, and whose the result of a build is.
    type: str
    required: true
  group:
    description: The group to run a migration as.
    type: str
    required: true
  record_only:
    description:
      - Record that the command has been run, and do not run it.
      - For the other hosts of a fleet, once a migration has been run on one of them, so that no later run repeats it.
    type: bool
    default: false
  timeout:
    description: How long a build may take, in seconds. A migration takes as long as it takes.
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
  description: What the command wrote, both streams, the last 200 lines.
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

from ansible_collections.flaskops.production.plugins.module_utils._build_output import cause, plain, tail
from ansible_collections.flaskops.production.plugins.module_utils._build_space import Workspace
from ansible_collections.flaskops.production.plugins.module_utils._build_unit import (
    BuildError,
    BuildTimeoutError,
    Space,
    follow,
    named_pipe,
    properties,
    unit_name,
)
from ansible_collections.flaskops.production.plugins.module_utils._cause import explain
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import put_file, sentence
from ansible_collections.flaskops.production.plugins.module_utils._migrations import describe_migration, is_migrated
from ansible_collections.flaskops.production.plugins.module_utils._module import AnsibleModule
from ansible_collections.flaskops.production.plugins.module_utils._process_environment import complete_environment
from ansible_collections.flaskops.production.plugins.module_utils._release_build import build_in_copy
from ansible_collections.flaskops.production.plugins.module_utils._releases import (
    PATIENCE,
    Home,
    Lock,
    LockedError,
    ReleaseError,
)
from ansible_collections.flaskops.production.plugins.module_utils._script import SHELL, ScriptError, strict
from ansible_collections.flaskops.production.plugins.module_utils._secrets import hide
from ansible_collections.flaskops.production.plugins.module_utils._service import (
    LOG_BYTES,
    cat,
    credentials,
    settings,
    show,
    systemctl,
    whole_lines,
)
from ansible_collections.flaskops.production.plugins.module_utils._settings import next_unit
from ansible_collections.flaskops.production.plugins.module_utils._symlink import SymlinkError

# What of the service is the environment of its programs.
ENVIRONMENT = (
    "Environment",
    "EnvironmentFile",
    "LoadCredential",
    "LoadCredentialEncrypted",
    "SetCredential",
    "SetCredentialEncrypted",
)
# What is about the service's own process, or about its socket and its output. By whole names: ExecPaths is not.
PROCESS = (
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
    # The directory would be removed with the command, and with it what the service has there.
    *("RuntimeDirectory", "RuntimeDirectoryMode", "RuntimeDirectoryPreserve"),
)
# Where the unit, its script and its output are, until the next start of the host at the latest.
RUNTIME = "/run"

# How many of the last lines of a command are kept, and how many of them a message shows.
OUTPUT_LINES = 200
LINES = 30

# The key of the record that says that it has been run.
DONE = {"build": "built", "migrate": "migrated"}


def venv_of(home: Home, release: str) -> str:
    """The virtual environment of a release."""
    environment = home.environment(release)
    if environment is None:
        raise ReleaseError(f"The release {release} has no set of dependencies yet: build it first.")
    return os.path.join(home.venvs, environment)


def launcher(home: Home, release: str, variables: Mapping[str, str] = MappingProxyType({})) -> str:
    """A program that completes the environment as Gunicorn's configuration does, and then runs its arguments.

    The variables replace those of the service and of `shared/.env`.
    """
    paths = (home.root, home.release(release), venv_of(home, release))
    return (
        f"from __future__ import annotations\n\nimport os\nimport re\nimport sys\n\n\n"
        f"{inspect.getsource(complete_environment)}\n\n"
        f"complete_environment(os.environ, {', '.join(map(repr, paths))})\n"
        f"os.environ.update({dict(variables)!r})\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )


def inherited(text: str, purpose: str) -> list[str]:
    """What the command has in common with the service.

    A migration has all that is not about the process itself: it does on the host what the application may do, and
    nothing more. A build makes the release, which the application may not write, so it has the environment only.
    """
    if purpose == "build":
        return [line for line in settings(text) if _name(line) in ENVIRONMENT]
    return [line for line in settings(text) if _name(line) not in PROCESS]


def _name(line: str) -> str:
    return line.split("=", 1)[0].strip()


def unit(home: Home, params: dict, start: str, script: str, output: str, space: Space | None = None) -> str:
    """A unit that runs the command: a migration as the service would be run, a build as a user with no rights."""
    code, text = cat(f"{params['name']}.service")
    text = next_unit(home, params["name"], text)
    # A service that is not there yet, or not this collection's, still has an environment file.
    common = [
        f"EnvironmentFile={home.next_settings_file(home.env_file)}",
        *(inherited(text, params["purpose"]) if code == 0 else []),
    ]
    own = ["Type=oneshot", f"User={params['user']}", f"Group={params['group']}", "TimeoutStartSec=infinity"]
    if space:
        own = [line.replace("%", "%%") for line in properties(space, params["timeout"])]
    lines = "\n".join(["UMask=0022", *common, *own])
    program = f"{venv_of(home, params['release'])}/bin/python -I {start} {SHELL} {script}"
    return f"""[Unit]
Description={params["name"]}: {params["purpose"]} {params["release"]}

[Service]
{lines}
WorkingDirectory={home.release(params["release"])}
ExecStart={program}
StandardOutput={output}
StandardError=inherit
"""


def run(home: Home, params: dict) -> tuple[bool, list[str]]:
    """Run the command to its end; whether it succeeded, and what it wrote last, without the values of `.env`."""
    script = strict(params["command"])
    if params["purpose"] == "migrate":
        return migrate(home, params, f"{params['name']}-migrate.service", script)
    name = unit_name(home.releases)
    result: tuple[bool, list[str]] = (False, [])

    def command(work: Workspace, space: Space) -> bool:
        nonlocal result
        start = work.write("start", launcher(home, params["release"], work.variables()).encode())
        path = work.write("command", script.encode("utf-8", "surrogateescape"))
        text = unit(home, params, start, path, f"file:{path}.out", space)
        with named_pipe(path + ".out") as pipe, started_from(name, text):
            code, output = follow(["systemctl", "start", name], pipe, name, params["timeout"])
            if code and show(name, "Result").get("Result") == "timeout":
                raise BuildTimeoutError(
                    f"release_build_command took longer than {params['timeout']} s (release_build_timeout) and was "
                    f"ended; the release {params['release']} is as it was."
                )
            result = (code == 0, hidden(home, params, output))
        return result[0]

    build_in_copy(home, params["release"], params["user"], params["timeout"], command)
    return result


@contextlib.contextmanager
def started_from(name: str, text: str) -> Iterator[None]:
    """A unit in /run, for as long as it is needed: systemd-run would show everybody its environment."""
    path = os.path.join(RUNTIME, "systemd/system", name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        # The environment that is set in the service's unit is nobody's to read, nor is a password in the command.
        write(path, text, 0o600)
        systemctl("daemon-reload")
        yield
    finally:
        systemctl("reset-failed", name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        systemctl("daemon-reload")


def migrate(home: Home, params: dict, name: str, text: str) -> tuple[bool, list[str]]:
    """Run the command as the application. It goes on if this process is killed, so it writes to a file."""
    plain_name = name.rpartition(".")[0]
    start, script, output = (os.path.join(RUNTIME, f"{plain_name}.{end}") for end in ("py", "sh", "log"))
    wait_for(name)
    try:
        write(start, launcher(home, params["release"]), 0o644)
        write(script, text, 0o640, _group(params["group"]))
        # What the command writes may hold its environment: systemd keeps the mode of a file that is there.
        write(output, "", 0o600)
        with started_from(name, unit(home, params, start, script, f"truncate:{output}")):
            # A migration takes as long as it takes; who wants to end it stops its unit.
            code, said = systemctl("start", name, timeout=float("inf"))
            lines = hidden(home, params, end_of(output))
        return code == 0, lines or ([said] if code else [])
    finally:
        for path in (start, script, output):
            if os.path.lexists(path):
                os.unlink(path)


def end_of(path: str) -> str:
    """The last lines of a file, however large it is."""
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_BYTES))
        cut = file.tell() > 0
        end = file.read(LOG_BYTES)
    return (whole_lines(end) if cut else end).decode("utf-8", "replace")


def hidden(home: Home, params: dict, output: str) -> list[str]:
    """The last lines of what a command wrote, without secrets."""
    env_file = home.next_settings_file(home.env_file)
    return plain(hide(output, env_file, credentials(f"{params['name']}.service"))).splitlines()[-OUTPUT_LINES:]


def wait_for(name: str) -> None:
    """Wait while the unit still runs the command of a killed run: a start would join it, and take it for ours."""
    until = time.monotonic() + PATIENCE
    while show(name, "ActiveState").get("ActiveState") in ("activating", "deactivating", "active", "reloading"):
        if time.monotonic() > until:
            raise ReleaseError(
                f"{name} still runs the command of an earlier run: wait until it ends, or stop that unit, and run "
                "again."
            )
        time.sleep(0.5)


def write(path: str, text: str, mode: int, gid: int = -1) -> None:
    """Write a file, with this mode from the first moment and whatever the umask."""
    put_file(path, text.encode("utf-8", "surrogateescape"), mode, gid=gid)


def _group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ReleaseError(
            f"The group {name}, as which the command is to be run, does not exist on this host."
        ) from None


def is_done(home: Home, record: dict, params: dict) -> bool:
    """Whether the command has been run; a migration counts for its command and the variables that it has seen."""
    if params["purpose"] == "migrate":
        return is_migrated(record.get("migrated"), params["command"], home.next_settings_file(home.env_file))
    return bool(record.get(DONE[params["purpose"]]))


def perform(home: Home, params: dict) -> dict:
    """Run the command unless it has been run, and record it; the result of the task."""
    release, done = params["release"], DONE[params["purpose"]]
    record = home.record(release)
    if record is None:
        raise ReleaseError(f"The release {release} is not on this host: stage it first.")
    if is_done(home, record, params):
        return {"changed": False}
    # Before the command, which may take as long as it likes while the file changes.
    env_file = home.next_settings_file(home.env_file)
    proof = describe_migration(params["command"], env_file) if params["purpose"] == "migrate" else True
    succeeded, output = (True, []) if params["record_only"] else run(home, params)
    if not succeeded:
        command, said = hide(params["command"], env_file).strip(), "\n".join(output)
        why = explain(said)
        reason = why.error.partition("\n")[0].rstrip(".") or cause(said)
        raise ReleaseError(
            f"release_{params['purpose']}_command failed in the release {release}"
            + (f": {reason}" if reason else "")
            + f". The live release was not touched. The command was '{command}'. "
            + ("It wrote last:\n" + "\n".join(tail(said, LINES)) if said.strip() else "It wrote nothing.")
            # A build may write to its release.
            + (f"\nHint: {why.hint}." if why.hint and params["purpose"] == "migrate" else "")
        )
    # Read again: a command may take as long as it likes.
    home.write_record(release, {**(home.record(release) or record), done: proof})
    return {"changed": True, "output": output}


def locked(home: Home, params: dict) -> dict:
    """Perform it with the lock held. A run that had the lock before keeps it."""
    if home.record(params["release"]) is None:
        # There may be no directory for a lock either.
        return perform(home, params)
    lock = Lock(home, params["run"])
    held = (lock.holder() or {}).get("run") == params["run"]["run"]
    lock.acquire()
    try:
        return perform(home, params)
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
            "purpose": {"type": "str", "choices": list(DONE), "required": True},
            "command": {"type": "str", "required": True},
            "user": {"type": "str", "required": True},
            "group": {"type": "str", "required": True},
            "record_only": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 1800},
            "run": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    params, home = module.params, Home(module.params["root"], module.params["run"])
    try:
        if module.check_mode:
            done = is_done(home, home.record(params["release"]) or {}, params)
            module.exit_json(changed=not done, done=done)
        # A connection that is cut must not leave a command whose end nobody records.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.umask(0o022)
        result = locked(home, params)
    except LockedError as error:
        module.fail_json(msg=str(error), **error.result())
    except ScriptError as error:
        module.fail_json(msg=f"release_{params['purpose']}_command is not a script that bash can read: {error}")
    except (ReleaseError, BuildError, SymlinkError, OSError) as error:
        module.fail_json(msg=sentence(error, home.root))
    module.exit_json(**result)


if __name__ == "__main__":
    main()

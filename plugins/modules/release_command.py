#!/usr/bin/python
# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: release_command
short_description: Run a command of a release once, in the environment of its service
version_added: "1.0.0"
author:
  - The flaskops.production contributors (@flaskops)
description:
  - Runs a command in the directory of a release that is staged, with the release's own packages first in C(PATH) and
    the variables of C(shared/.env), which systemd reads on the host. No secret leaves the host.
  - What has been run is recorded with the release and not run again.
  - Takes the lock of the application while the command runs. A command that a killed run has left running is waited
    for.
attributes:
  check_mode:
    support: full
    description: Reports whether the command would be run.
  diff_mode:
    support: none
    description: The module can't know what the command changes.
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
      - The command, a script for C(/bin/sh -e). Of several lines, the first that fails ends it.
    type: str
    required: true
  user:
    description: The user to run it as.
    type: str
    required: true
  group:
    description: The group to run it as.
    type: str
    required: true
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
output:
  description: What the command wrote, both streams, the last 200 lines.
  returned: when the command was run
  type: list
  elements: str
  sample: ["INFO  [alembic.runtime.migration] Running upgrade"]
"""

import grp
import os
import signal
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.flaskops.production.plugins.module_utils._cause import explain
from ansible_collections.flaskops.production.plugins.module_utils._files import put_file, sentence
from ansible_collections.flaskops.production.plugins.module_utils._releases import (
    PATIENCE,
    Home,
    Lock,
    LockedError,
    ReleaseError,
)
from ansible_collections.flaskops.production.plugins.module_utils._secrets import hide
from ansible_collections.flaskops.production.plugins.module_utils._service import (
    cat,
    credentials,
    settings,
    show,
    systemctl,
)

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
# So much of its output is kept: an exception has several lines, of which a message shows a few.
LINES = 200
# Where the unit, its script and its output are, until the next start of the host at the latest.
RUNTIME = "/run"

# The key of the record that says that it has been run.
DONE = {"build": "built", "migrate": "migrated"}


def environment_path(home: Home, release: str) -> str:
    """The directory of the programs that the release's packages bring."""
    environment = home.environment(release)
    if environment is None:
        raise ReleaseError(f"The release {release} has no set of dependencies yet: build it first.")
    return os.path.join(home.venvs, environment, "bin")


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


def unit(home: Home, params: dict, script: str, output: str) -> str:
    """A unit that runs the command as the service would be: user, environment, sandbox, the release's own packages."""
    path = environment_path(home, params["release"]) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    code, text = cat(f"{params['name']}.service")
    # A service that is not there yet, or not this collection's, still has an environment file.
    common = [f"EnvironmentFile={home.env_file}", *(inherited(text, params["purpose"]) if code == 0 else [])]
    common = "\n".join(["UMask=0022", *common, f"Environment=PATH={path}"])
    return f"""[Unit]
Description={params["name"]}: {params["purpose"]} {params["release"]}

[Service]
{common}
Type=oneshot
User={params["user"]}
Group={params["group"]}
WorkingDirectory={home.release(params["release"])}
ExecStart=/bin/sh -e {script}
StandardOutput=truncate:{output}
StandardError=inherit
TimeoutStartSec=infinity
"""


def run(home: Home, params: dict) -> tuple[bool, list[str]]:
    """Run the command to its end; whether it succeeded, and the last lines that it wrote, without the values of `.env`.

    A unit in /run, because systemd-run needs D-Bus, which a small host may lack.
    """
    plain = f"{params['name']}-{params['purpose']}"
    name, units = f"{plain}.service", os.path.join(RUNTIME, "systemd/system")
    script, output = os.path.join(RUNTIME, f"{plain}.sh"), os.path.join(RUNTIME, f"{plain}.log")
    wait_for(name)
    os.makedirs(units, exist_ok=True)
    try:
        # The environment that is set in the service's unit is nobody's to read, nor is a password in the command.
        write(os.path.join(units, name), unit(home, params, script, output), 0o600)
        write(script, params["command"] + "\n", 0o640, _group(params["group"]))
        # What the command writes may hold its environment: systemd keeps the mode of a file that is there.
        write(output, "", 0o600)
        systemctl("daemon-reload")
        secrets = credentials(f"{params['name']}.service")
        # A build or a migration takes as long as it takes; who wants to end it stops its unit.
        code, said = systemctl("start", name, timeout=float("inf"))
        with open(output, encoding="utf-8", errors="replace") as file:
            lines = hide(file.read(), home.env_file, secrets).splitlines()[-LINES:]
        return code == 0, lines or ([said] if code else [])
    finally:
        systemctl("reset-failed", name)
        for path in (os.path.join(units, name), script, output):
            if os.path.lexists(path):
                os.unlink(path)
        systemctl("daemon-reload")


def wait_for(name: str) -> None:
    """Wait while the unit still runs the command of a killed run: a start would join it, and take it for ours."""
    until = time.monotonic() + PATIENCE
    while show(name, "ActiveState").get("ActiveState") in ("activating", "deactivating", "active", "reloading"):
        if time.monotonic() > until:
            raise ReleaseError(
                f"{name} still runs the command of an earlier run: wait until it ends, or end it with "
                f"'systemctl stop {name}', and run again."
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


def perform(home: Home, params: dict) -> dict:
    """Run the command unless it has been run, and record it; the result of the task."""
    release, done = params["release"], DONE[params["purpose"]]
    record = home.record(release)
    if record is None:
        raise ReleaseError(f"The release {release} is not on this host: stage it first.")
    if record.get(done):
        return {"changed": False}
    succeeded, output = run(home, params)
    if not succeeded:
        command, cause = hide(params["command"], home.env_file), explain("\n".join(output))
        error = f": {cause.error}" if cause.error else ""
        raise ReleaseError(
            f"release_{params['purpose']}_command '{command}' failed in the release {release}{error}.\n{cause.text()}\n"
            "The live release was not touched."
        )
    # Read again: a command may take as long as it likes.
    home.write_record(release, {**(home.record(release) or record), done: True})
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
            "run": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    params, home = module.params, Home(module.params["root"])
    try:
        if module.check_mode:
            record = home.record(params["release"]) or {}
            module.exit_json(changed=not record.get(DONE[params["purpose"]]))
        # A connection that is cut must not leave a command whose end nobody records.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.umask(0o022)
        result = locked(home, params)
    except LockedError as error:
        module.fail_json(msg=str(error), lock_holder=error.holder)
    except (ReleaseError, OSError) as error:
        module.fail_json(msg=sentence(error, home.root))
    module.exit_json(**result)


if __name__ == "__main__":
    main()

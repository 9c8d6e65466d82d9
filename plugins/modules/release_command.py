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
attributes:
  check_mode:
    support: full
    description: Reports whether the command would be run.
  diff_mode:
    support: none
    description: The module can't know what the command changes.
  platform:
    support: full
    platforms: linux
    description: The kind of host that the module works on; it needs systemd.
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
    description: The command, for C(/bin/sh -c).
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
  description: What the command wrote, both streams, the last 50 lines.
  returned: when the command was run
  type: list
  elements: str
  sample: ["INFO  [alembic.runtime.migration] Running upgrade"]
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.flaskops.production.plugins.module_utils._files import sentence
from ansible_collections.flaskops.production.plugins.module_utils._releases import Home, ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._secrets import hide
from ansible_collections.flaskops.production.plugins.module_utils._service import cat, systemctl

# What of the service is the environment of its programs.
ENVIRONMENT = (
    "Environment",
    "EnvironmentFile",
    "LoadCredential",
    "LoadCredentialEncrypted",
    "SetCredential",
    "SetCredentialEncrypted",
)
# What is about the service's own process, or about its socket and its output.
PROCESS = (
    *("Exec", "File", "Group", "Guess", "Kill", "Notify", "OOMPolicy", "PIDFile", "RemainAfterExit", "Restart", "Send"),
    *("Sockets", "Standard", "Success", "Syslog", "TTY", "Timeout", "Type", "User", "Watchdog", "WorkingDirectory"),
    # It would be removed with the command, and with it what the service has there.
    "RuntimeDirectory",
)

# The key of the record that says that it has been run.
DONE = {"build": "built", "migrate": "migrated"}


def environment_path(home: Home, release: str) -> str:
    """The directory of the programs that the release's packages bring."""
    environment = home.environment(release)
    if environment is None:
        raise ReleaseError(f"The release {release} has no set of dependencies yet: build it first.")
    return os.path.join(home.venvs, environment, "bin")


def settings(text: str) -> list[str]:
    """The lines below [Service] of what `systemctl cat` shows, in order, each with its continuations."""
    lines, section, pending = [], "", ""
    for line in text.splitlines():
        if line.strip()[:1] in ("#", ";") or not line.strip() and not pending:
            continue
        pending += line
        if line.endswith("\\"):
            # systemd reads a continued line as one, with a blank in between.
            pending = pending[:-1] + " "
            continue
        if pending.strip().startswith("["):
            section = pending.strip()
        elif section == "[Service]":
            lines.append(pending.strip())
        pending = ""
    return lines


def inherited(text: str, purpose: str) -> list[str]:
    """What the command has in common with the service.

    A migration has all that is not about the process itself: it does on the host what the application may do, and
    nothing more. A build makes the release, which the application may not write, so it has the environment only.
    """
    if purpose == "build":
        return [line for line in settings(text) if _name(line) in ENVIRONMENT]
    return [line for line in settings(text) if not _name(line).startswith(PROCESS)]


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
ExecStart=/bin/sh {script}
StandardOutput=truncate:{output}
StandardError=inherit
TimeoutStartSec=infinity
"""


def run(home: Home, params: dict) -> tuple[bool, list[str]]:
    """Run the command to its end; whether it succeeded, and the last lines that it wrote, without the values of `.env`.

    A unit in /run, because systemd-run needs D-Bus, which a small host may lack.
    """
    name = f"{params['name']}-{params['purpose']}.service"
    script, output = f"/run/{params['name']}-{params['purpose']}.sh", f"/run/{params['name']}-{params['purpose']}.log"
    files = {f"/run/systemd/system/{name}": unit(home, params, script, output), script: params["command"] + "\n"}
    try:
        for path, text in files.items():
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        # What the command writes may hold its environment: systemd keeps the mode of a file that is there.
        os.close(os.open(output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
        os.chmod(output, 0o600)
        systemctl("daemon-reload")
        code, said = systemctl("start", name)
        with open(output, encoding="utf-8", errors="replace") as file:
            lines = hide(file.read(), home.env_file).splitlines()[-50:]
        return code == 0, lines or ([said] if code else [])
    finally:
        systemctl("reset-failed", name)
        for path in [*files, output]:
            if os.path.lexists(path):
                os.unlink(path)
        systemctl("daemon-reload")


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
        },
        supports_check_mode=True,
    )
    params, home = module.params, Home(module.params["root"])
    done = DONE[params["purpose"]]
    try:
        record = home.record(params["release"])
        if module.check_mode:
            module.exit_json(changed=not (record and record.get(done)))
        if record is None:
            raise ReleaseError(f"The release {params['release']} is not on this host: stage it first.")
        if record.get(done):
            module.exit_json(changed=False)
        succeeded, output = run(home, params)
        if not succeeded:
            said = "\n".join(output)
            raise ReleaseError(
                f"release_{params['purpose']}_command '{params['command']}' failed in the release {params['release']}; "
                f"the live release was not touched. It wrote last:\n{said}"
            )
        home.write_record(params["release"], {**record, done: True})
    except (ReleaseError, OSError) as error:
        module.fail_json(msg=sentence(error, home.root))
    module.exit_json(changed=True, output=output)


if __name__ == "__main__":
    main()

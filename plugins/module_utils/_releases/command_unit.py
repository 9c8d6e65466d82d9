# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transient unit of a release's command: its directives, and the launcher of the command."""

from __future__ import annotations

import contextlib
import inspect
import os
from types import MappingProxyType
from typing import Iterator, Mapping

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import replace_file
from ansible_collections.flaskops.production.plugins.module_utils._releases.options import CommandOptions
from ansible_collections.flaskops.production.plugins.module_utils._releases.script import SHELL
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings import format_next_unit
from ansible_collections.flaskops.production.plugins.module_utils._systemd.environment import complete_environment
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import (
    parse_service_settings,
    read_unit_text,
    run_systemctl,
)
from ansible_collections.flaskops.production.plugins.module_utils._systemd.transient_unit import (
    Mounts,
    format_properties,
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
# The directory of the unit, its script and its output. A reboot empties it.
RUNTIME = "/run"


def find_venv_path(layout: Layout, release: str) -> str:
    """Return the path of the virtual environment of a release. Raises ReleaseError if it has none."""
    venv = ReleaseStore(layout).find_venv(release)
    if venv is None:
        raise ReleaseError(f"The release {release} has no virtual environment yet: build it first.")
    return os.path.join(layout.venvs, venv)


def build_launcher(layout: Layout, release: str, variables: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return a program that sets environment variables as Gunicorn's configuration does, and executes its arguments.

    variables override those of the service and of `shared/.env`.
    """
    paths = (layout.root, layout.release(release), find_venv_path(layout, release))
    return (
        f"from __future__ import annotations\n\nimport os\nimport re\nimport sys\n\n\n"
        f"{inspect.getsource(complete_environment)}\n\n"
        f"complete_environment(os.environ, {', '.join(map(repr, paths))})\n"
        f"os.environ.update({dict(variables)!r})\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )


def select_directives(text: str, is_migration: bool) -> list[str]:
    """Return the directives of the service that apply to the command too.

    A migration gets all directives that are not about the process itself, so it has the same access as the application.
    A build gets the environment variables only, because it writes to the release, which the application cannot.
    """
    lines = parse_service_settings(text)
    if is_migration:
        return [line for line in lines if _parse_name(line) not in PROCESS_DIRECTIVES]
    return [line for line in lines if _parse_name(line) in ENVIRONMENT_DIRECTIVES]


def _parse_name(line: str) -> str:
    return line.split("=", 1)[0].strip()


def format_unit(
    layout: Layout, options: CommandOptions, start: str, script: str, output: str, mounts: Mounts | None = None
) -> str:
    """Return a unit that runs the command: a migration like the service, a build as an unprivileged user."""
    code, text = read_unit_text(f"{options.name}.service")
    text = format_next_unit(layout, options.name, text)
    # The environment file is used even if the service does not exist yet.
    common = [
        f"EnvironmentFile={layout.find_settings_file(layout.env_file)}",
        *(select_directives(text, options.is_migration) if code == 0 else []),
    ]
    own = ["Type=oneshot", f"User={options.user}", f"Group={options.group}", "TimeoutStartSec=infinity"]
    if mounts:
        own = [line.replace("%", "%%") for line in format_properties(mounts, options.timeout)]
    lines = "\n".join(["UMask=0022", *common, *own])
    program = f"{find_venv_path(layout, options.release)}/bin/python -I {start} {SHELL} {script}"
    return f"""[Unit]
Description={options.name}: {options.purpose} {options.release}

[Service]
{lines}
WorkingDirectory={layout.release(options.release)}
ExecStart={program}
StandardOutput={output}
StandardError=inherit
"""


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


def write_file(path: str, text: str, mode: int, gid: int = -1) -> None:
    """Write a file with this mode, independent of the umask."""
    replace_file(path, text.encode("utf-8", "surrogateescape"), mode, gid=gid)

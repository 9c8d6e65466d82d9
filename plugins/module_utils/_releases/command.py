# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a build or migration command of a release, and record it."""

from __future__ import annotations

import grp
import os
import time
from typing import Any, Mapping

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.lock import STEP_TIMEOUT, DeployLock
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._core.secrets import hide_secrets
from ansible_collections.flaskops.production.plugins.module_utils._python.output import (
    find_error_line,
    get_last_lines,
    strip_escapes,
)
from ansible_collections.flaskops.production.plugins.module_utils._python.workspace import Workspace
from ansible_collections.flaskops.production.plugins.module_utils._releases import command_unit
from ansible_collections.flaskops.production.plugins.module_utils._releases.build import build_in_copy
from ansible_collections.flaskops.production.plugins.module_utils._releases.cause import find_cause
from ansible_collections.flaskops.production.plugins.module_utils._releases.command_unit import (
    build_launcher,
    format_unit,
    install_unit,
    write_file,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.migrations import (
    describe_migration,
    is_migrated,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.options import CommandOptions
from ansible_collections.flaskops.production.plugins.module_utils._releases.script import (
    ScriptError,
    build_strict_script,
)
from ansible_collections.flaskops.production.plugins.module_utils._systemd.journal import LOG_BYTES, Tail
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import (
    read_unit_credentials,
    read_unit_properties,
    run_systemctl,
)
from ansible_collections.flaskops.production.plugins.module_utils._systemd.transient_unit import (
    BuildTimeoutError,
    Mounts,
    follow_unit,
    format_unit_name,
    open_named_pipe,
)

# The number of last lines of a command's output in the result, and in a message.
OUTPUT_LINES = 200
MESSAGE_LINES = 30
# The states of a unit that runs a command.
_RUNNING_STATES = ("activating", "deactivating", "active", "reloading")


class CommandResult:
    """Whether a command succeeded, and its last lines of output without secrets."""

    def __init__(self, succeeded: bool = False, output: list[str] | None = None) -> None:
        self.succeeded, self.output = succeeded, output or []


def is_done(layout: Layout, record: Mapping[str, Any], options: CommandOptions) -> bool:
    """Return whether the command was run. A migration must have had the same command and environment variables."""
    if options.is_migration:
        return is_migrated(record.get("migrated"), options.command, layout.find_settings_file(layout.env_file))
    return bool(record.get("built"))


def run_with_lock(store: ReleaseStore, options: CommandOptions) -> dict[str, Any]:
    """Run the command with the deploy lock held. A lock that this run already held is kept."""
    if store.read_record(options.release) is None:
        # The directory of the lock may be missing too.
        return run_and_record(store, options)
    lock = DeployLock(store.layout, options.run)
    is_held = lock.is_held()
    lock.acquire()
    try:
        return run_and_record(store, options)
    finally:
        lock.end_step(keep=is_held)


def run_and_record(store: ReleaseStore, options: CommandOptions) -> dict[str, Any]:
    """Run the command unless it was run before, and record it. Returns the result of the task."""
    layout, release = store.layout, options.release
    record = store.read_record(release)
    if record is None:
        raise ReleaseError(f"The release {release} is not on this host: stage it first.")
    if is_done(layout, record, options):
        return {"changed": False}
    # The environment file may change during the command, so its digest is computed before.
    env_file = layout.find_settings_file(layout.env_file)
    migration = describe_migration(options.command, env_file) if options.is_migration else None
    result = CommandResult(True) if options.record_only else run_command(layout, options)
    if not result.succeeded:
        raise ReleaseError(format_failure(options, env_file, "\n".join(result.output)))
    # The record may have changed during the command.
    record = store.read_record(release) or record
    if migration is None:
        record["built"] = True
    else:
        record["migrated"] = migration
    store.write_record(release, record)
    return {"changed": True, "output": result.output}


def format_failure(options: CommandOptions, env_file: str, output: str) -> str:
    """Return the message of a failed command: its cause, the command and its last lines of output."""
    command = hide_secrets(options.command, env_file).strip()
    cause = find_cause(output)
    reason = cause.error.partition("\n")[0].rstrip(".") or find_error_line(output)
    written = "It wrote last:\n" + "\n".join(get_last_lines(output, MESSAGE_LINES))
    # Hints are about the running application. A build can write to its release.
    hint = f"\nHint: {cause.hint}." if cause.hint and options.is_migration else ""
    return (
        f"release_{options.purpose}_command failed in the release {options.release}"
        f"{f': {reason}' if reason else ''}. The live release was not touched. The command was '{command}'. "
        f"{written if output.strip() else 'It wrote nothing.'}{hint}"
    )


def run_command(layout: Layout, options: CommandOptions) -> CommandResult:
    """Run the command, a script for bash."""
    try:
        script = build_strict_script(options.command)
    except ScriptError as error:
        raise ReleaseError(f"release_{options.purpose}_command is not a script that bash can read: {error}") from None
    run = run_migration if options.is_migration else run_build
    return run(layout, options, script)


def run_build(layout: Layout, options: CommandOptions, script: str) -> CommandResult:
    """Run a build as an unprivileged user, in a copy of the release that replaces the release after a success."""
    name = format_unit_name(layout.releases)
    result = CommandResult()

    def run(work: Workspace, mounts: Mounts) -> bool:
        start = work.write_input("start", build_launcher(layout, options.release, work.get_variables()).encode())
        path = work.write_input("command", script.encode("utf-8", "surrogateescape"))
        text = format_unit(layout, options, start, path, f"file:{path}.out", mounts)
        with open_named_pipe(path + ".out") as pipe, install_unit(name, text):
            code, output = follow_unit(["systemctl", "start", name], pipe, name, options.timeout)
            if code and read_unit_properties(name, "Result").get("Result") == "timeout":
                raise BuildTimeoutError(
                    f"release_build_command took longer than {options.timeout} s (release_build_timeout) and was "
                    f"stopped. The release {options.release} was not changed."
                )
            result.succeeded, result.output = code == 0, format_output(layout, options, output)
        return result.succeeded

    build_in_copy(layout, options.release, options.user, options.timeout, run)
    return result


def run_migration(layout: Layout, options: CommandOptions, script: str) -> CommandResult:
    """Run a migration as the application. It continues if this process is killed, so its output goes to a file."""
    unit = f"{options.name}-migrate"
    program, command, output = (os.path.join(command_unit.RUNTIME, f"{unit}.{end}") for end in ("py", "sh", "log"))
    name = f"{unit}.service"
    wait_for_unit(name)
    try:
        write_file(program, build_launcher(layout, options.release), 0o644)
        write_file(command, script, 0o640, _find_group_id(options.group))
        # The output may contain secrets. systemd keeps the mode of an existing file.
        write_file(output, "", 0o600)
        with install_unit(name, format_unit(layout, options, program, command, f"truncate:{output}")):
            # A migration has no time limit. It can be stopped with its unit.
            code, text = run_systemctl("start", name, timeout=float("inf"))
            lines = format_output(layout, options, read_end(output))
        return CommandResult(code == 0, lines or ([text] if code else []))
    finally:
        for path in (program, command, output):
            if os.path.lexists(path):
                os.unlink(path)


def read_end(path: str) -> str:
    """Return the last lines of a file of any size."""
    tail = Tail(LOG_BYTES)
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_BYTES - 1))
        tail.add(file.read(LOG_BYTES + 1))
    return tail.whole_lines().decode("utf-8", "replace")


def format_output(layout: Layout, options: CommandOptions, output: str) -> list[str]:
    """Return the last lines of a command's output without secrets."""
    env_file = layout.find_settings_file(layout.env_file)
    shown = hide_secrets(output, env_file, read_unit_credentials(f"{options.name}.service"))
    return strip_escapes(shown).splitlines()[-OUTPUT_LINES:]


def wait_for_unit(name: str) -> None:
    """Wait while the unit runs the command of a killed run, because starting it would not run this command."""
    deadline = time.monotonic() + STEP_TIMEOUT
    while read_unit_properties(name, "ActiveState").get("ActiveState") in _RUNNING_STATES:
        if time.monotonic() > deadline:
            raise ReleaseError(
                f"{name} still runs the command of an earlier run: wait until it ends, or stop the unit, and run again."
            )
        time.sleep(0.5)


def _find_group_id(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ReleaseError(f"The group {name} of the command does not exist on this host.") from None

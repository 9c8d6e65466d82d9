# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the release modules, parsed once."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple

from ansible_collections.flaskops.production.plugins.module_utils._app.health import HEALTH
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ModuleError

# The options that describe a release on a host, documented in the module release_stage.
RELEASE_OPTIONS = {
    "root": {"type": "path", "required": True},
    "app": {"type": "str", "required": True},
    "source": {"type": "dict"},
    "shared_paths": {"type": "list", "elements": "str", "default": []},
    "static_paths": {"type": "list", "elements": "str", "default": []},
    "build": {"type": "str", "default": ""},
    "migrate": {"type": "str", "default": ""},
    "adopt": {"type": "bool", "default": False},
    "owner": {"type": "str", "default": "root"},
    "user": {"type": "str", "required": True},
    "group": {"type": "str", "required": True},
    "web_group": {"type": "str", "default": "www-data"},
    "health": HEALTH,
}
# The settings in the record of a release. A change of them changes the release.
RECORDED_SETTINGS = ("shared_paths", "static_paths", "build")
Run = Mapping[str, str]


class ReleaseOptions(NamedTuple):
    """A release on a host: its source, its settings and the accounts of its files."""

    root: str
    app: str
    source: Mapping[str, Any]
    shared_paths: tuple[str, ...]
    static_paths: tuple[str, ...]
    build: str
    migrate: str
    adopt: bool
    owner: str
    user: str
    group: str
    web_group: str
    health: dict[str, Any] | None

    @property
    def is_on_host(self) -> bool:
        """Whether the source is code on the host, which an adoption copies."""
        return "directory" in self.source

    def format_settings(self) -> dict[str, Any]:
        """Return the recorded settings as they are in a record."""
        return {
            "shared_paths": list(self.shared_paths),
            "static_paths": list(self.static_paths),
            "build": self.build,
        }


class ArchiveOptions(NamedTuple):
    """The archive of a release: its path or its content in Base64, or the URL of its directory."""

    path: str | None
    content: str
    url: str
    credentials: str

    @property
    def is_available(self) -> bool:
        return bool(self.path or self.content or self.url)


class StageOptions(NamedTuple):
    """The options of release_stage."""

    release: ReleaseOptions
    archive: ArchiveOptions
    run: Run
    unlock: bool
    rollout: Mapping[str, Any] | None
    check_mode: bool


class ActivateOptions(NamedTuple):
    """The options of release_activate. timeout is in seconds, 0 for the sum of the timeouts of the units."""

    name: str
    root: str
    release: str | None
    action: str
    health: dict[str, Any] | None
    keep: int
    rollout: Mapping[str, Any] | None
    run: Run
    site: str
    timeout: float
    unlock: bool


class CommandOptions(NamedTuple):
    """The options of release_command. timeout is that of a build, in seconds."""

    name: str
    root: str
    release: str
    purpose: str
    command: str
    user: str
    group: str
    record_only: bool
    timeout: int
    run: Run

    @property
    def is_migration(self) -> bool:
        return self.purpose == "migrate"


def parse_release_options(options: Mapping[str, Any]) -> ReleaseOptions:
    """Parse the options of RELEASE_OPTIONS."""
    values = {name: options[name] for name in RELEASE_OPTIONS}
    return ReleaseOptions(
        **{
            **values,
            "source": options["source"] or {},
            "shared_paths": tuple(options["shared_paths"]),
            "static_paths": tuple(options["static_paths"]),
        }
    )


def parse_stage_options(options: Mapping[str, Any], check_mode: bool) -> StageOptions:
    """Parse the options of release_stage."""
    return StageOptions(
        release=parse_release_options(options),
        archive=ArchiveOptions(
            options["archive"], options["archive_content"], options["pull_url"], options["pull_credentials"]
        ),
        run=options["run"],
        unlock=options["unlock"],
        rollout=options["rollout"],
        check_mode=check_mode,
    )


def parse_activate_options(options: Mapping[str, Any]) -> ActivateOptions:
    """Parse the options of release_activate. Raises ModuleError for a number out of range."""
    if options["timeout"] < 0:
        raise ModuleError(
            f"timeout is {options['timeout']}, but must be seconds, 0 for the timeouts of the units "
            "(release_activation_timeout)."
        )
    if options["keep"] < 1:
        raise ModuleError(f"keep is {options['keep']}, but must be a whole number of at least 1 (release_keep).")
    rollout = options["rollout"]
    values = {name: options[name] for name in ActivateOptions._fields}
    return ActivateOptions(
        **{
            **values,
            "site": options["site"] or "",
            "rollout": {**rollout, "release": options["release"]} if rollout else None,
        }
    )


def parse_command_options(options: Mapping[str, Any]) -> CommandOptions:
    """Parse the options of release_command."""
    return CommandOptions(**{name: options[name] for name in CommandOptions._fields})

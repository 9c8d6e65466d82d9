# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ECHO_PREFIX = "DEMO_"
KNOWN_NAMES = ("SECRET_KEY", "DATABASE_PATH", "MEDIA_ROOT", "MAX_UPLOAD_BYTES")
SECRET_WORDS = ("SECRET", "TOKEN", "PASSWORD", "KEY")


class Unavailable(Exception):
    """A part of the application is not available. The message names the cause and a remedy."""


@dataclass(frozen=True)
class Settings:
    root: Path
    release: str
    database_path: Path | None
    media_root: Path | None
    max_upload_bytes: int
    greeting: str
    names: tuple[str, ...]
    echo: Mapping[str, str]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, root: Path | None = None) -> Settings:
        environment = os.environ if environment is None else environment
        # Resolved at the start, so that the process keeps its release when the link changes.
        root = (root or Path(__file__).parent.parent).resolve()
        return cls(
            root=root,
            release=Path.cwd().resolve().name,
            database_path=find_database(environment, root),
            media_root=find_media(environment, root),
            max_upload_bytes=positive_number(environment, "MAX_UPLOAD_BYTES", 5 * 1024 * 1024),
            greeting=environment.get("DEMO_GREETING", "Hello from Flask"),
            names=tuple(sorted(name for name in environment if name in KNOWN_NAMES or name.startswith(ECHO_PREFIX))),
            echo={name: environment[name] for name in sorted(environment) if may_be_shown(name)},
        )


def may_be_shown(name: str) -> bool:
    """Return whether the value of a DEMO_* variable may be shown. Names of secrets may not."""
    return name.startswith(ECHO_PREFIX) and not any(word in name for word in SECRET_WORDS)


def shared_directory(root: Path) -> Path:
    """Return the shared directory of an application in releases/<release>."""
    return root.parent.parent / "shared"


def normal(path: Path) -> Path:
    return Path(os.path.normpath(path))


def find_database(environment: Mapping[str, str], root: Path) -> Path | None:
    if environment.get("DATABASE_PATH"):
        return normal(root / environment["DATABASE_PATH"])
    for directory in (root / "instance", shared_directory(root) / "instance"):
        if directory.is_dir():
            return directory / "demo.sqlite3"
    return None


def find_media(environment: Mapping[str, str], root: Path) -> Path | None:
    if environment.get("MEDIA_ROOT"):
        return normal(root / environment["MEDIA_ROOT"])
    media = shared_directory(root) / "media"
    return media if media.is_dir() else None


def positive_number(environment: Mapping[str, str], name: str, default: int) -> int:
    value = environment.get(name, str(default))
    if not value.isascii() or not value.isdigit() or int(value) < 1:
        raise ValueError(f"{name} is {value!r}; it must be a whole number above 0.")
    return int(value)


def user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())

# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put a release's archive where a web server serves it to the hosts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import (
    make_temporary_name,
    open_directory_fd,
    remove_if_exists,
    remove_stale_names,
    sync_directory,
)
from ansible_collections.flaskops.production.plugins.plugin_utils._tree import SourceError

PREFIX = ".flaskops-publish-"


def publish(archive: str, directory: str, name: str) -> None:
    """Put the archive into the directory by one rename, readable by the server, unless that name is there already."""
    try:
        if not os.path.lexists(os.path.join(directory, name)):
            _publish(archive, directory, name)
    except OSError as error:
        raise SourceError(
            f"release_pull_directory: {directory} can't take {name} ({error.strerror or error}); name a directory that "
            "the user who runs Ansible may write to, with room for the archive."
        ) from error


def _publish(archive: str, directory: str, name: str) -> None:
    place = open_directory_fd(directory)
    temporary = make_temporary_name(PREFIX)
    try:
        remove_stale_names(place, PREFIX)
        with open(Path(directory, temporary), "xb") as file:
            with open(archive, "rb") as source:
                shutil.copyfileobj(source, file)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.rename(temporary, name, src_dir_fd=place, dst_dir_fd=place)
        sync_directory(place)
    except BaseException:
        remove_if_exists(temporary, place)
        raise
    finally:
        os.close(place)

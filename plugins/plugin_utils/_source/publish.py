# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy a release's archive to a directory from which a web server serves it to the hosts."""

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
from ansible_collections.flaskops.production.plugins.plugin_utils._source.tree import SourceError

PREFIX = ".flaskops-publish-"


def publish_archive(archive: str, directory: str, name: str) -> None:
    """Publish an archive unless its name exists: copy it, make it world-readable, and rename it into directory_fd.

    Raises SourceError if the directory cannot be written.
    """
    try:
        if not os.path.lexists(os.path.join(directory, name)):
            _copy_archive(archive, directory, name)
    except OSError as error:
        raise SourceError(
            f"release_pull_directory: {name} cannot be written to {directory} ({error.strerror or error}); name a "
            "directory with room for the archive that the user who runs Ansible may write to."
        ) from error


def _copy_archive(archive: str, directory: str, name: str) -> None:
    directory_fd = open_directory_fd(directory)
    temporary = make_temporary_name(PREFIX)
    try:
        remove_stale_names(directory_fd, PREFIX)
        with open(Path(directory, temporary), "xb") as file:
            with open(archive, "rb") as source:
                shutil.copyfileobj(source, file)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.rename(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
        sync_directory(directory_fd)
    except BaseException:
        remove_if_exists(temporary, directory_fd)
        raise
    finally:
        os.close(directory_fd)

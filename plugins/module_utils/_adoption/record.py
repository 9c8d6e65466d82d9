# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of an adoption, and the files that it keeps before they are replaced.

Both are below .deploy/, where only root can write.
"""

from __future__ import annotations

import json
import os
import stat

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import (
    open_directory,
    replace_file,
    write_file,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.directory import Directory
from ansible_collections.flaskops.production.plugins.module_utils._files.links import swap_file_link
from ansible_collections.flaskops.production.plugins.module_utils._files.walk import open_directory_safely

# The prefix of temporary names.
TEMPORARY = ".adopting-"
# States of an adoption. Until ACTIVATING, the old deployment is unchanged. From ACTIVATED on, the application writes to
# the new data, and the adoption can only be completed.
COPYING, ACTIVATING, ACTIVATED, DONE = "copying", "activating", "activated", "done"
# Kinds of kept files: nothing was there, a file, a link, or a directory or file that was moved.
ABSENT, FILE, LINK, MOVED = "absent", "file", "link", "moved"


class AdoptionRecord:
    """The record of the adoption of an application, in one file that only root can read."""

    def __init__(self, layout: Layout) -> None:
        self.path = os.path.join(layout.state, "adoption.json")
        self.kept = os.path.join(layout.state, "adopted")

    def read(self) -> dict:
        """Return the record, or an empty dict if there is none. Raises ReleaseError if it is damaged."""
        try:
            with open(self.path, encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise ReleaseError(f"Cannot read {self.path}: {error}.") from error

    def write(self, **values: object) -> dict:
        """Replace these values of the record and return all of them."""
        content = {**self.read(), **values}
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        replace_file(self.path, text.encode(), mode=0o600)
        return content


class KeptFiles:
    """Files that an adoption replaces, kept below their old paths, with a note of the kind of each."""

    def __init__(self, record: AdoptionRecord) -> None:
        self.record = record
        os.makedirs(record.kept, mode=0o700, exist_ok=True)

    def get_place(self, path: str) -> str:
        return self.record.kept + path

    def read_notes(self, group: str = "") -> dict[str, dict]:
        """Return the notes of all kept files, or of those of a group, by path."""
        notes = self.record.read().get("files", {})
        return {path: note for path, note in notes.items() if group in ("", note["group"])}

    def keep(self, path: str, group: str) -> None:
        """Keep a copy of a file or link before it is replaced. A path that is kept already is not kept again."""
        if path in self.read_notes():
            return
        place = self.get_place(path)
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
        self._write_note(path, _keep_copy(path, place), group)

    def move(self, path: str) -> None:
        """Move a directory or file to its kept place."""
        place = self.get_place(path)
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
        self._write_note(path, MOVED, "tree")
        with open_directory_safely(os.path.dirname(path)) as directory:
            os.rename(os.path.basename(path), place, src_dir_fd=directory.fd)

    def _write_note(self, path: str, kind: str, group: str) -> None:
        self.record.write(files={**self.read_notes(), path: {"was": kind, "group": group}})

    def restore(self, group: str) -> bool:
        """Restore all files of a group. Return whether any file differed."""
        changed = False
        for path, note in self.read_notes(group).items():
            if note["was"] == FILE:
                place = self.get_place(path)
                info = os.stat(place)
                with open(place, "rb") as file:
                    write_root_file(path, file.read(), stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid)
                changed = True
            elif note["was"] != ABSENT or os.path.lexists(path):
                with open_directory_safely(os.path.dirname(path)) as directory:
                    changed = self._restore_name(path, note["was"], directory) or changed
        return changed

    def _restore_name(self, path: str, kind: str, directory: Directory) -> bool:
        place, name = self.get_place(path), os.path.basename(path)
        info = directory.try_lstat(name)
        is_link = info is not None and stat.S_ISLNK(info.st_mode)
        if kind == MOVED:
            if not os.path.lexists(place):
                return False
            if is_link:
                os.unlink(name, dir_fd=directory.fd)
            os.rename(place, name, dst_dir_fd=directory.fd)
        elif kind == LINK:
            if is_link and directory.read_link(name) == os.readlink(place):
                return False
            directory.replace_link(name, os.readlink(place), TEMPORARY)
        elif info is not None:
            os.unlink(name, dir_fd=directory.fd)
        return True

    def clear_notes(self) -> None:
        self.record.write(files={})


def _keep_copy(path: str, place: str) -> str:
    """Copy a file or link to a directory of root. Return its kind."""
    try:
        directory = open_directory_safely(os.path.dirname(path))
    except FileNotFoundError:
        return ABSENT
    with directory:
        name = os.path.basename(path)
        info = directory.try_lstat(name)
        if info is not None and stat.S_ISLNK(info.st_mode):
            swap_file_link(place, directory.read_link(name))
            return LINK
        if info is None or not stat.S_ISREG(info.st_mode):
            return ABSENT
        with directory.open_stream(name) as stream:
            replace_file(place, stream.read(), stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid)
        return FILE


def write_root_file(path: str, content: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
    """Write a file in place of the file or link at its path. Missing directories are created."""
    with _open_or_create(os.path.dirname(path)) as directory, open_directory(".", dir_fd=directory.fd) as fd:
        write_file(fd, os.path.basename(path), content, mode, uid, gid)


def _open_or_create(path: str) -> Directory:
    try:
        return open_directory_safely(path)
    except FileNotFoundError:
        with _open_or_create(os.path.dirname(path)) as above:
            return above.make_directory(os.path.basename(path), 0, 0, 0o755, TEMPORARY)

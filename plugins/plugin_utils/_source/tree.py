# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a release as one checked tree, and the archive that is written from it."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

# Limits of a release. A source that exceeds them is a mistake or a decompression bomb.
MAX_FILES = 250_000
MAX_BYTES = 4 * 1024**3
MAX_LINKS = 40
# Bytes. Linux accepts names of 255 and paths of 4095, of which the directories above a release need some.
MAX_NAME, MAX_PATH = 255, 3072

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
GIT_CRYPT = b"\0GITCRYPT\0"
MAX_TIME = 253_402_300_799  # 9999-12-31, the last time that a release name can hold


class SourceError(Exception):
    """The source of a release is not accepted. The message names the setting, its value and the accepted values."""


@dataclasses.dataclass(frozen=True)
class SourceEntry:
    """One file, link or directory of a source. `path` is relative, with single slashes."""

    path: str
    kind: str  # "file", "link" or "directory"
    mtime: int = 0
    size: int = 0
    executable: bool = False
    target: str = ""
    open: Callable[[], IO[bytes]] | None = None

    def open_file(self) -> IO[bytes]:
        """Open a file for reading. Raises ValueError if the entry is not a file."""
        if self.open is None:
            raise ValueError(f"{self.path} is not a file")
        return self.open()


@dataclasses.dataclass(frozen=True)
class SourceTree:
    """The checked entries of a source, with all parent directories, sorted by the bytes of their paths.

    Error messages begin with `label`.
    """

    label: str
    entries: dict[str, SourceEntry]

    def list_top(self) -> list[str]:
        return [e.path + ("/" if e.kind == "directory" else "") for e in self.entries.values() if "/" not in e.path]

    def list_files(self) -> list[SourceEntry]:
        return [entry for entry in self.entries.values() if entry.kind == "file"]

    def find_entry(self, path: str) -> SourceEntry | None:
        """Return the entry that a path leads to after links are resolved, or None if it is missing."""
        return self.entries.get(resolve_links(self.label, self.entries, path) or "")

    def read_file(self, path: str) -> bytes | None:
        entry = self.find_entry(path)
        if entry is None or entry.kind != "file":
            return None
        with entry.open_file() as stream:
            return stream.read()

    def find_newest_time(self) -> int:
        """Return the time of the newest file, or of the newest link if there are no files (seconds since the epoch)."""
        entries = self.list_files() or [entry for entry in self.entries.values() if entry.kind == "link"]
        return min(max([entry.mtime for entry in entries], default=0), MAX_TIME)


@dataclasses.dataclass(frozen=True)
class PackedArchive:
    digest: str
    sha256: str
    size: int
    files: int
    pointers: list[str]
    encrypted: list[str]


def quote(text: str) -> str:
    """Quote a name for a message, and escape control characters and invalid encodings."""
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "backslashreplace").decode("utf-8")


def format_list(names: Sequence[str], limit: int = 8) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def check_member_path(label: str, raw: str) -> str:
    """Return the name of a member as a normalized relative path, empty for the root.

    Raises SourceError for absolute paths, '..', control characters, invalid UTF-8 and paths that are too long.
    """
    if raw.startswith("/") or re.match(r"^[A-Za-z]:[\\/]", raw):
        raise SourceError(f"{label} holds {quote(raw)}, an absolute path; only relative paths are accepted.")
    parts = [part for part in raw.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise SourceError(f"{label} holds {quote(raw)}; paths with '..' are not accepted.")
    path = "/".join(parts)
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise SourceError(f"{label} holds {quote(raw)}, a name that is not UTF-8; rename it.") from None
    if re.search(r"[\x00-\x1f\x7f]", path):
        raise SourceError(f"{label} holds {quote(raw)}, a name with a control character; rename it or leave it out.")
    longest = max(len(part.encode()) for part in parts) if parts else 0
    if longest > MAX_NAME or len(path.encode()) > MAX_PATH:
        raise SourceError(
            f"{label} holds {quote(raw[:60] + '…')}, a path of {len(path.encode())} bytes with a name of {longest}; a "
            f"host accepts names of {MAX_NAME} bytes, and a release paths of {MAX_PATH}: shorten it."
        )
    return path


def resolve_links(label: str, entries: dict[str, SourceEntry], path: str) -> str | None:
    """Resolve the links in a path as the kernel does. Return None if the path leads out of the tree.

    Raises SourceError if a link leads to itself.
    """
    waiting = path.split("/")[::-1]
    done: list[str] = []
    links = 0
    while waiting:
        part = waiting.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not done:
                return None
            done.pop()
            continue
        entry = entries.get("/".join([*done, part]))
        if entry is None or entry.kind != "link":
            done.append(part)
            continue
        links += 1
        if links > MAX_LINKS:
            raise SourceError(f"{label} holds the link {quote(path)}, which leads to itself; remove it.")
        if entry.target.startswith("/"):
            return None
        waiting.extend(reversed(entry.target.split("/")))
    return "/".join(done)


def rebase_entries(entries: Iterable[SourceEntry], strip: int = 0, subdirectory: str = "") -> Iterator[SourceEntry]:
    """Strip the first `strip` components of the paths, and yield the entries below `subdirectory`, relative to it."""
    below = subdirectory.split("/") if subdirectory else []
    for entry in entries:
        parts = entry.path.split("/")[strip:]
        if parts[: len(below)] != below or len(parts) == len(below):
            continue
        yield dataclasses.replace(entry, path="/".join(parts[len(below) :]))


def remove_macos_metadata(entries: Iterable[SourceEntry]) -> Iterator[SourceEntry]:
    """Yield the entries without the metadata that macOS adds to directories and archives."""
    for entry in entries:
        parts = entry.path.split("/")
        if "__MACOSX" not in parts and not any(part.startswith("._") or part == ".DS_Store" for part in parts):
            yield entry


def check_limits(label: str, entries: Iterable[SourceEntry]) -> Iterator[SourceEntry]:
    """Yield the entries of the source. Raises SourceError if they exceed MAX_FILES or MAX_BYTES."""
    total = 0
    for count, entry in enumerate(remove_macos_metadata(entries), 1):
        total += entry.size
        if count > MAX_FILES:
            raise SourceError(f"{label} holds more than {MAX_FILES} files; a release may hold {MAX_FILES} at most.")
        if total > MAX_BYTES:
            raise SourceError(
                f"{label} unpacks to more than {MAX_BYTES // 1024**2} MiB, the most that a release may hold."
            )
        yield entry


def build_tree(label: str, entries: Iterable[SourceEntry]) -> SourceTree:
    """Build a checked tree from entries.

    Raises SourceError for duplicates, files that are used as directories, and links that lead out of the tree.
    """
    found: dict[str, SourceEntry] = {}
    for entry in entries:
        known = found.get(entry.path)
        if known is not None and not known.kind == entry.kind == "directory":
            raise SourceError(f"{label} holds {quote(entry.path)} twice; every path may occur once.")
        found[entry.path] = entry
    for path in list(found):
        parent = path.rpartition("/")[0]
        while parent and parent not in found:
            found[parent] = SourceEntry(parent, "directory")
            parent = parent.rpartition("/")[0]
        if parent and found[parent].kind != "directory":
            kind = found[parent].kind
            raise SourceError(f"{label} holds {quote(path)} below {quote(parent)}, which is a {kind}, not a directory.")
    tree = SourceTree(label, dict(sorted(found.items(), key=lambda item: item[0].encode("utf-8"))))
    for entry in tree.entries.values():
        if entry.kind == "link" and (not entry.target or resolve_links(label, tree.entries, entry.path) is None):
            raise SourceError(
                f"{label} holds the link {quote(entry.path)} to {quote(entry.target)}, which leads out of the release; "
                "only relative links inside it are accepted (data that outlives a release: release_shared_paths)."
            )
    return tree


class _HashingStream:
    """A stream that hashes and counts the bytes that are read from it or written to it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.hash = hashlib.sha256()
        self.size = 0
        self.head = b""

    def _update(self, data: bytes) -> None:
        if not self.size:
            self.head = bytes(data[:64])
        self.size += len(data)
        self.hash.update(data)

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        self._update(data)
        return data

    def write(self, data: bytes) -> int:
        self._update(data)
        return self.stream.write(data)

    def flush(self) -> None:
        self.stream.flush()


def _build_header(entry: SourceEntry, mtime: int) -> tarfile.TarInfo:
    """Build the header of a member. Its owner, mode and time do not depend on the controller."""
    info = tarfile.TarInfo(entry.path)
    info.mtime = mtime
    info.mode = 0o644
    if entry.kind == "directory":
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    elif entry.kind == "link":
        info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, entry.target
    else:
        info.size = entry.size
        if entry.executable:
            info.mode = 0o755
    return info


def _encode_digest_record(entry: SourceEntry, content: str) -> bytes:
    kind = "executable" if entry.executable else entry.kind
    return f"{kind} {content} {entry.path}\0".encode()


def _pack_file(label: str, tar: tarfile.TarFile, info: tarfile.TarInfo, entry: SourceEntry) -> tuple[str, bytes]:
    """Write one file to the archive. Return (the SHA-256 of its content, its first 64 bytes)."""
    try:
        with entry.open_file() as stream:
            source = _HashingStream(stream)
            tar.addfile(info, source)
            grown = bool(stream.read(1))
    except OSError as error:
        raise SourceError(f"{label}: cannot pack {quote(entry.path)} ({error.strerror or error}).") from error
    if grown:
        raise SourceError(f"{label}: {quote(entry.path)} changed while it was read; run again.")
    return source.hash.hexdigest(), source.head


def pack_tree(tree: SourceTree, destination: Path, mtime: int) -> PackedArchive:
    """Write a tree as an archive. The same files and time give the same bytes.

    The digest is the SHA-256 of one record per path, sorted: kind, SHA-256 of the content or of the link's target,
    path, NUL. It includes a directory only if it is empty, so that an archive without directory members gives the same
    digest. Raises SourceError if a file cannot be read or changes while it is read.
    """
    total = hashlib.sha256()
    parents = {path.rpartition("/")[0] for path in tree.entries}
    pointers: list[str] = []
    encrypted: list[str] = []
    count = 0
    with contextlib.ExitStack() as stack:
        out = _HashingStream(stack.enter_context(destination.open("wb")))
        packed = stack.enter_context(gzip.GzipFile("", "wb", compresslevel=6, fileobj=out, mtime=0))
        tar = stack.enter_context(tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8"))
        for entry in tree.entries.values():
            info = _build_header(entry, mtime)
            if entry.kind == "file":
                content, head = _pack_file(tree.label, tar, info, entry)
                if entry.size < 1024 and head.startswith(LFS_POINTER):
                    pointers.append(entry.path)
                if head.startswith(GIT_CRYPT):
                    encrypted.append(entry.path)
            else:
                tar.addfile(info)
                content = hashlib.sha256(entry.target.encode("utf-8", "surrogateescape")).hexdigest()
            if entry.kind != "directory":
                count += 1
            if entry.kind != "directory" or entry.path not in parents:
                total.update(_encode_digest_record(entry, content))
    return PackedArchive(total.hexdigest(), out.hash.hexdigest(), out.size, count, pointers, encrypted)

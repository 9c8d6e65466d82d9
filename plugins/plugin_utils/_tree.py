# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release's files as one checked tree, whatever they came from, and the one archive that is written from it."""

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
from typing import BinaryIO

# Far above any application, far below what fills a disk: what exceeds it is a mistake or a bomb.
MAX_FILES = 250_000
MAX_BYTES = 4 * 1024**3
MAX_LINKS = 40
# Bytes. Linux accepts names of 255 and paths of 4095, of which a host needs some for what is above a release.
MAX_NAME, MAX_PATH = 255, 3072

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
GIT_CRYPT = b"\0GITCRYPT\0"
LATEST = 253_402_300_799  # 9999-12-31, the last second that a release name can tell


class SourceError(Exception):
    """A refusal: one sentence with the variable, the value, and what is accepted."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One file, link or directory of a source. `path` is relative, with single slashes."""

    path: str
    kind: str  # "file", "link" or "directory"
    mtime: int = 0
    size: int = 0
    executable: bool = False
    target: str = ""
    open: Callable[[], BinaryIO] | None = None


@dataclasses.dataclass(frozen=True)
class Tree:
    """Checked entries, sorted by the bytes of their paths, every parent directory present. `label` opens a refusal."""

    label: str
    entries: dict[str, Entry]

    def top(self) -> list[str]:
        return [e.path + ("/" if e.kind == "directory" else "") for e in self.entries.values() if "/" not in e.path]

    def files(self) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.kind == "file"]

    def find(self, path: str) -> Entry | None:
        """The entry that a path leads to, links followed."""
        return self.entries.get(follow(self.label, self.entries, path) or "")

    def read(self, path: str) -> bytes | None:
        entry = self.find(path)
        if entry is None or entry.kind != "file":
            return None
        with entry.open() as stream:
            return stream.read()

    def newest(self) -> int:
        """The time of the newest file (of the newest entry where there are only links)."""
        entries = self.files() or [entry for entry in self.entries.values() if entry.kind == "link"]
        return min(max([entry.mtime for entry in entries], default=0), LATEST)


@dataclasses.dataclass(frozen=True)
class Packed:
    digest: str
    sha256: str
    size: int
    files: int
    pointers: list[str]
    encrypted: list[str]


def quote(text: str) -> str:
    """A name in a message: in quotes, with control characters and broken encodings made visible."""
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "backslashreplace").decode("utf-8")


def listing(names: Sequence[str], limit: int = 8) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def member_path(label: str, raw: str) -> str:
    """A member's name as a clean relative path; '' for the root itself."""
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


def follow(label: str, entries: dict[str, Entry], path: str) -> str | None:
    """Where a path leads once every link in it is followed, as the kernel would; None when it leaves the tree."""
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


def rebase(entries: Iterable[Entry], strip: int = 0, subdirectory: str = "") -> Iterator[Entry]:
    """Entries without their first `strip` components, then only those below `subdirectory`, relative to it."""
    below = subdirectory.split("/") if subdirectory else []
    for entry in entries:
        parts = entry.path.split("/")[strip:]
        if parts[: len(below)] != below or len(parts) == len(below):
            continue
        yield dataclasses.replace(entry, path="/".join(parts[len(below) :]))


def without_metadata(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The same entries without what macOS adds to directories and archives: it is no part of the source."""
    for entry in entries:
        parts = entry.path.split("/")
        if "__MACOSX" not in parts and not any(part.startswith("._") or part == ".DS_Store" for part in parts):
            yield entry


def limited(label: str, entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries that belong to the source; refuses once they are too many or too large in total."""
    total = 0
    for count, entry in enumerate(without_metadata(entries), 1):
        total += entry.size
        if count > MAX_FILES:
            raise SourceError(f"{label} holds more than {MAX_FILES} files; a release may hold {MAX_FILES} at most.")
        if total > MAX_BYTES:
            raise SourceError(
                f"{label} unpacks to more than {MAX_BYTES // 1024**2} MiB, the most that a release may hold."
            )
        yield entry


def plant(label: str, entries: Iterable[Entry]) -> Tree:
    """The checked tree of these entries. Refuses duplicates, files used as directories, and links that leave it."""
    found: dict[str, Entry] = {}
    for entry in entries:
        known = found.get(entry.path)
        if known is not None and not known.kind == entry.kind == "directory":
            raise SourceError(f"{label} holds {quote(entry.path)} twice; every path may occur once.")
        found[entry.path] = entry
    for path in list(found):
        parent = path.rpartition("/")[0]
        while parent and parent not in found:
            found[parent] = Entry(parent, "directory")
            parent = parent.rpartition("/")[0]
        if parent and found[parent].kind != "directory":
            kind = found[parent].kind
            raise SourceError(f"{label} holds {quote(path)} below {quote(parent)}, which is a {kind}, not a directory.")
    tree = Tree(label, dict(sorted(found.items(), key=lambda item: item[0].encode("utf-8"))))
    for entry in tree.entries.values():
        if entry.kind == "link" and (not entry.target or follow(label, tree.entries, entry.path) is None):
            raise SourceError(
                f"{label} holds the link {quote(entry.path)} to {quote(entry.target)}, which leads out of the release; "
                "only relative links inside it are accepted (data that outlives a release: release_shared_paths)."
            )
    return tree


class _Hashing:
    """A stream to read from or write to that hashes and counts what passes."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.hash = hashlib.sha256()
        self.size = 0
        self.head = b""

    def _pass(self, data: bytes) -> None:
        if not self.size:
            self.head = bytes(data[:64])
        self.size += len(data)
        self.hash.update(data)

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        self._pass(data)
        return data

    def write(self, data: bytes) -> int:
        self._pass(data)
        return self.stream.write(data)

    def flush(self) -> None:
        self.stream.flush()


def _header(entry: Entry, mtime: int) -> tarfile.TarInfo:
    """A member's header: owner, mode and time say nothing about the machine that the release was made on."""
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


def _fingerprint(entry: Entry, content: str) -> bytes:
    kind = "executable" if entry.executable else entry.kind
    return f"{kind} {content} {entry.path}\0".encode()


def _add_file(label: str, tar: tarfile.TarFile, info: tarfile.TarInfo, entry: Entry) -> tuple[str, bytes]:
    """Write one file to the archive; (SHA-256 of its bytes, the first of them)."""
    try:
        with entry.open() as stream:
            source = _Hashing(stream)
            tar.addfile(info, source)
            grown = bool(stream.read(1))
    except OSError as error:
        raise SourceError(f"{label}: cannot pack {quote(entry.path)} ({error.strerror or error}).") from error
    if grown:
        raise SourceError(f"{label}: {quote(entry.path)} changed while it was read; run again.")
    return source.hash.hexdigest(), source.head


def pack(tree: Tree, destination: Path, mtime: int) -> Packed:
    """Write the tree's archive, reading every file once. The same files and time give the same bytes.

    The digest is SHA-256 over one record per path, sorted: kind, SHA-256 of the bytes or of the link's target,
    path, NUL.
    A directory counts only when it is empty, so that an archive without directory members gives the same digest.
    """
    total = hashlib.sha256()
    parents = {path.rpartition("/")[0] for path in tree.entries}
    pointers: list[str] = []
    encrypted: list[str] = []
    count = 0
    with contextlib.ExitStack() as stack:
        out = _Hashing(stack.enter_context(destination.open("wb")))
        packed = stack.enter_context(gzip.GzipFile("", "wb", compresslevel=6, fileobj=out, mtime=0))
        tar = stack.enter_context(tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8"))
        for entry in tree.entries.values():
            info = _header(entry, mtime)
            if entry.kind == "file":
                content, head = _add_file(tree.label, tar, info, entry)
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
                total.update(_fingerprint(entry, content))
    return Packed(total.hexdigest(), out.hash.hexdigest(), out.size, count, pointers, encrypted)

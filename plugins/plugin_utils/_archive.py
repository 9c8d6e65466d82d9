# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a tar or zip archive as a release's files. Nothing is ever extracted by name."""

from __future__ import annotations

import bz2
import calendar
import contextlib
import dataclasses
import gzip
import hashlib
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ansible.module_utils.urls import open_url

from ansible_collections.flaskops.production.plugins.plugin_utils import _tree
from ansible_collections.flaskops.production.plugins.plugin_utils._location import public, scrub
from ansible_collections.flaskops.production.plugins.plugin_utils._tree import Entry, SourceError, member_path, quote

try:  # Python 3.14
    from compression import zstd
except ImportError:
    zstd = None

ACCEPTED = "a tar (plain, gzip, bzip2, xz" + (", zstd" if zstd else "") + ") or a zip archive"
CHUNK = 1024 * 1024
# The most that a header of a tar may take: tarfile reads a long name, or the attributes of a file, into memory.
MAX_HEADER = 1024 * 1024
HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
# The end of the year 9999: no calendar has a later time.
LATEST = 253402300799
SPECIAL = "a device, pipe or other special file; only files, directories and links are accepted."
# What the standard library raises on damaged input.
DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    struct.error,
)
DAMAGED += (zstd.ZstdError,) if zstd else ()


@contextlib.contextmanager
def damage_reported(label: str) -> Iterator[None]:
    """Turns whatever a damaged archive raises into one sentence."""
    try:
        yield
    except DAMAGED as error:
        raise SourceError(f"{label} is damaged or cut short ({error}); accepted is {ACCEPTED}.") from error
    except OSError as error:
        # gzip and bz2 report bad data as OSError without a number.
        if error.errno is not None:
            raise SourceError(f"{label}: {error.strerror} ({error.filename or 'while it was read'}).") from error
        raise SourceError(f"{label} is damaged or cut short ({error}); accepted is {ACCEPTED}.") from error


def wanted_checksum(value: str) -> str:
    """The hexadecimal part of release_archive_checksum."""
    match = re.fullmatch(r"(?:sha256:)?([0-9a-f]{64})", value.strip().lower())
    if not match:
        raise SourceError(
            f"release_archive_checksum: {quote(value)} is not accepted; write sha256:<64 hexadecimal digits>, "
            "as sha256sum prints them."
        )
    return match.group(1)


def check_sum(label: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise SourceError(
            f"release_archive_checksum: {label} has the SHA-256 {found}, not {wanted}; "
            "fetch the right archive or correct the checksum."
        )


def download(variable: str, url: str, destination: Path, most: int) -> str:
    """Fetch a URL into a file; its SHA-256. More than `most` bytes are refused."""
    label = f"{variable}: {public(url)}"
    total = hashlib.sha256()
    size = 0
    try:
        # As it is: a server that labels a .tar.gz "Content-Encoding: gzip" must not change the bytes.
        with contextlib.closing(open_url(url, timeout=60, decompress=False)) as response, destination.open("wb") as out:
            while chunk := response.read(CHUNK):
                size += len(chunk)
                if size > most:
                    raise SourceError(f"{label} is larger than {most // 1024**2} MiB, the most that is fetched.")
                total.update(chunk)
                out.write(chunk)
    except SourceError:
        raise
    except Exception as error:  # open_url raises half a dozen unrelated kinds
        raise SourceError(f"{label} cannot be fetched: {scrub(str(error), url)}.") from None
    return total.hexdigest()


@contextlib.contextmanager
def read_archive(label: str, path: Path, work: Path) -> Iterator[Iterator[Entry]]:
    """The archive's entries, readable while the context lasts. `work` takes the unpacked stream of a compressed tar."""
    with path.open("rb") as stream:
        magic = stream.read(6)
    if magic.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        with damage_reported(label), zipfile.ZipFile(path) as archive:
            yield _zip_entries(label, archive)
        return
    opener = _decompressor(magic)
    plain = path
    if opener:
        plain = work / "plain.tar"
        with damage_reported(label), opener(path) as stream, plain.open("wb") as out:
            _unpack(label, stream, out)
    try:
        with damage_reported(label), _open_tar(label, plain) as archive:
            yield _tar_entries(label, archive, plain)
    finally:
        if opener:
            plain.unlink()


def _decompressor(magic: bytes) -> Callable[[Path], BinaryIO] | None:
    if magic.startswith(b"\x1f\x8b"):
        return lambda path: gzip.open(path, "rb")
    if magic.startswith(b"BZh"):
        return lambda path: bz2.open(path, "rb")
    if magic.startswith(b"\xfd7zXZ\x00"):
        return lambda path: lzma.open(path, "rb")
    if zstd and magic.startswith(b"\x28\xb5\x2f\xfd"):
        return lambda path: zstd.open(path, "rb")
    return None


def _unpack(label: str, stream: BinaryIO, out: BinaryIO) -> None:
    """Random access needs the plain tar; a bomb is stopped on the way."""
    size = 0
    # Headers and padding come on top of the files' own bytes.
    limit = _tree.MAX_BYTES + _tree.MAX_FILES * 1024
    while chunk := stream.read(CHUNK):
        size += len(chunk)
        if size > limit:
            raise SourceError(
                f"{label} unpacks to more than {_tree.MAX_BYTES // 1024**2} MiB, the most that a release may hold."
            )
        out.write(chunk)


@contextlib.contextmanager
def _open_tar(label: str, path: Path) -> Iterator[tarfile.TarFile]:
    class Header(tarfile.TarInfo):
        def _proc_member(self, tarfile: object) -> tarfile.TarInfo:
            if self.type in HEADERS and self.size > MAX_HEADER:
                raise SourceError(
                    f"{label} holds a header of {self.size} bytes; {MAX_HEADER} are accepted for the name and the "
                    "attributes of a file."
                )
            return super()._proc_member(tarfile)

    try:
        archive = tarfile.open(path, "r:", tarinfo=Header, encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
    except tarfile.TarError as error:
        raise SourceError(f"{label} is not an archive; accepted is {ACCEPTED}.") from error
    with archive:
        yield archive


def _tar_entries(label: str, archive: tarfile.TarFile, path: Path) -> Iterator[Entry]:
    seen: dict[str, Entry] = {}
    for member in archive:
        name = member_path(label, member.name)
        mtime = _tar_mtime(label, name, member.mtime)
        if member.isdir():
            entry = Entry(name, "directory", mtime)
        elif member.issym():
            entry = Entry(name, "link", mtime, target=member.linkname)
        elif member.islnk():
            entry = _hard_link(label, name, member, seen)
        elif member.isreg() or member.type == tarfile.GNUTYPE_SPARSE:
            executable = bool(member.mode & stat.S_IXUSR)
            entry = Entry(name, "file", mtime, member.size, executable, open=lambda m=member: archive.extractfile(m))
        else:
            raise SourceError(f"{label} holds {quote(member.name)}, {SPECIAL}")
        if name:
            if entry.kind != "directory":
                seen.setdefault(name, entry)
            yield entry
    _complete(archive, path)


def _tar_mtime(label: str, name: str, seconds: float) -> int:
    # Neither infinity nor what is no number is less than or equal to a number.
    if not -LATEST <= seconds <= LATEST:
        raise SourceError(
            f"{label} holds {quote(name)} with the time {seconds}; accepted are seconds since 1970 up to the year 9999."
        )
    return max(int(seconds), 0)


def _hard_link(label: str, name: str, member: tarfile.TarInfo, seen: dict[str, Entry]) -> Entry:
    """A hard link becomes the file that it names, which comes before it in every archive that tar writes."""
    other = seen.get(member_path(label, member.linkname))
    if other is None:
        raise SourceError(
            f"{label} holds {quote(name)}, a hard link to {quote(member.linkname)}, which the archive does not hold; "
            "only links inside it are accepted."
        )
    return dataclasses.replace(other, path=name)


def _complete(archive: tarfile.TarFile, path: Path) -> None:
    """tarfile takes a damaged header for the end: insist on the zero block that ends a tar."""
    with path.open("rb") as stream:
        stream.seek(archive.offset)
        block = stream.read(512)
    if len(block) < 512 or block.strip(b"\0"):
        raise tarfile.ReadError("the end of the archive is missing")


def _zip_entries(label: str, archive: zipfile.ZipFile) -> Iterator[Entry]:
    for info in archive.infolist():
        if "\\" in info.orig_filename:
            raise SourceError(
                f"{label} holds {quote(info.orig_filename)}; a zip's paths are separated by '/', not by a backslash."
            )
        path = member_path(label, info.filename)
        if not path:
            continue
        if info.flag_bits & 0x1:
            raise SourceError(f"{label} holds {quote(path)} encrypted; only archives without a password are accepted.")
        yield _zip_entry(label, archive, info, path)


def _zip_entry(label: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str) -> Entry:
    mode = info.external_attr >> 16 if info.create_system == 3 else 0
    mtime = _zip_mtime(info)
    if info.is_dir():
        return Entry(path, "directory", mtime)
    if stat.S_ISLNK(mode):
        if info.file_size > 4096:
            raise SourceError(
                f"{label} holds the link {quote(path)} with a target of {info.file_size} bytes; 4096 are accepted."
            )
        return Entry(path, "link", mtime, target=os.fsdecode(archive.read(info)))
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise SourceError(f"{label} holds {quote(path)}, {SPECIAL}")
    return Entry(path, "file", mtime, info.file_size, bool(mode & stat.S_IXUSR), open=lambda: archive.open(info))


def _zip_mtime(info: zipfile.ZipInfo) -> int:
    """The exact time where the zip holds it, else the DOS time, read as UTC so that every controller tells the same.

    Programs that keep no time write zeros, which are no date: that is the earliest time.
    """
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        if kind == 0x5455 and size >= 5 and len(extra) >= 9 and extra[4] & 1:
            return max(struct.unpack("<i", extra[5:9])[0], 0)
        extra = extra[4 + size :]
    _year, month, day = info.date_time[:3]
    return max(calendar.timegm((*info.date_time, 0, 0, 0)), 0) if 1 <= month <= 12 and day >= 1 else 0

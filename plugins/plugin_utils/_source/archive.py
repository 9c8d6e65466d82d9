# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a tar or zip archive as the files of a release. Nothing is extracted by name."""

from __future__ import annotations

import bz2
import calendar
import contextlib
import dataclasses
import functools
import gzip
import hashlib
import io
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
from typing import IO, BinaryIO

from ansible.module_utils.urls import open_url

from ansible_collections.flaskops.production.plugins.module_utils._core.transfers import read_blocks
from ansible_collections.flaskops.production.plugins.plugin_utils._source import tree
from ansible_collections.flaskops.production.plugins.plugin_utils._source.location import redact_location, redact_text
from ansible_collections.flaskops.production.plugins.plugin_utils._source.tree import (
    SourceEntry,
    SourceError,
    check_member_path,
    quote,
)

try:  # Python 3.14
    from compression import zstd
except ImportError:
    zstd = None

ACCEPTED_FORMATS = "a tar (plain, gzip, bzip2, xz" + (", zstd" if zstd else "") + ") or a zip archive"
CHUNK = 1024 * 1024
# Bytes that a header of a tar may have. tarfile reads long names and attributes into memory.
MAX_HEADER = 1024 * 1024
HEADER_TYPES = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
# The end of the year 9999 in seconds since the epoch, the last time that Python can format.
MAX_TIME = 253402300799
SPECIAL = "a device, pipe or other special file; only files, directories and links are accepted."
# Exceptions of the standard library for damaged input.
DAMAGE_ERRORS = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    struct.error,
)
DAMAGE_ERRORS += (zstd.ZstdError,) if zstd else ()


@contextlib.contextmanager
def report_damage(label: str) -> Iterator[None]:
    """Raise SourceError in place of the exceptions for damaged archives."""
    try:
        yield
    except DAMAGE_ERRORS as error:
        raise SourceError(f"{label} is damaged or cut short ({error}); accepted is {ACCEPTED_FORMATS}.") from error
    except OSError as error:
        # gzip and bz2 report bad data as OSError without a number.
        if error.errno is not None:
            raise SourceError(f"{label}: {error.strerror} ({error.filename or 'while it was read'}).") from error
        raise SourceError(f"{label} is damaged or cut short ({error}); accepted is {ACCEPTED_FORMATS}.") from error


def parse_checksum(value: str) -> str:
    """Return the hexadecimal part of release_archive_checksum. Raises SourceError for other formats than SHA-256."""
    match = re.fullmatch(r"(?:sha256:)?([0-9a-f]{64})", value.strip().lower())
    if not match:
        raise SourceError(
            f"release_archive_checksum: {quote(value)} is not accepted; write sha256:<64 hexadecimal digits>, "
            "as sha256sum prints them."
        )
    return match.group(1)


def verify_checksum(label: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise SourceError(
            f"release_archive_checksum: {label} has the SHA-256 {found}, not {wanted}; "
            "fetch the right archive or correct the checksum."
        )


def download_file(variable: str, url: str, destination: Path, most: int) -> str:
    """Download a URL into a file, and return its SHA-256.

    Raises SourceError if the URL cannot be fetched, or if its content has more than `most` bytes.
    """
    label = f"{variable}: {redact_location(url)}"
    total = hashlib.sha256()
    size = 0
    try:
        # If a server labels a .tar.gz as "Content-Encoding: gzip", decompression would change the checksum.
        with contextlib.closing(open_url(url, timeout=60, decompress=False)) as response, destination.open("wb") as out:
            for chunk in read_blocks(response):
                size += len(chunk)
                if size > most:
                    raise SourceError(f"{label} is larger than {most // 1024**2} MiB, the most that is fetched.")
                total.update(chunk)
                out.write(chunk)
    except SourceError:
        raise
    except Exception as error:  # open_url raises exceptions of unrelated classes
        raise SourceError(f"{label} cannot be fetched: {redact_text(str(error), url)}.") from None
    return total.hexdigest()


@contextlib.contextmanager
def read_archive(label: str, path: Path, work: Path) -> Iterator[Iterator[SourceEntry]]:
    """Open an archive and provide its entries, which are readable within the context.

    A compressed tar is decompressed to a file in `work`. Raises SourceError if the archive is damaged.
    """
    with path.open("rb") as stream:
        magic = stream.read(6)
    if magic.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        with report_damage(label), zipfile.ZipFile(path) as archive:
            yield _read_zip(label, archive)
        return
    opener = _find_opener(magic)
    plain = path
    if opener:
        plain = work / "plain.tar"
        with report_damage(label), opener(path) as stream, plain.open("wb") as out:
            _decompress(label, stream, out)
    try:
        with report_damage(label), _open_tar(label, plain) as archive:
            yield _read_tar(label, archive, plain)
    finally:
        if opener:
            plain.unlink()


def _find_opener(magic: bytes) -> Callable[[Path], io.BufferedIOBase] | None:
    if magic.startswith(b"\x1f\x8b"):
        return lambda path: gzip.open(path, "rb")
    if magic.startswith(b"BZh"):
        return lambda path: bz2.open(path, "rb")
    if magic.startswith(b"\xfd7zXZ\x00"):
        return lambda path: lzma.open(path, "rb")
    if zstd and magic.startswith(b"\x28\xb5\x2f\xfd"):
        return lambda path: zstd.open(path, "rb")
    return None


def _decompress(label: str, stream: io.BufferedIOBase, out: BinaryIO) -> None:
    """Decompress a tar, for random access. Raises SourceError if it is larger than a release may be."""
    size = 0
    # Allow for the headers and the padding of each file.
    limit = tree.MAX_BYTES + tree.MAX_FILES * 1024
    while chunk := stream.read(CHUNK):
        size += len(chunk)
        if size > limit:
            raise SourceError(
                f"{label} unpacks to more than {tree.MAX_BYTES // 1024**2} MiB, the most that a release may hold."
            )
        out.write(chunk)


@contextlib.contextmanager
def _open_tar(label: str, path: Path) -> Iterator[tarfile.TarFile]:
    class LimitedHeader(tarfile.TarInfo):
        def _proc_member(self, tarfile: object) -> tarfile.TarInfo:
            if self.type in HEADER_TYPES and self.size > MAX_HEADER:
                raise SourceError(
                    f"{label} holds a header of {self.size} bytes; {MAX_HEADER} are accepted for the name and the "
                    "attributes of a file."
                )
            # A method of CPython without a public counterpart.
            return super()._proc_member(tarfile)  # type: ignore[misc]

    try:
        archive = tarfile.open(path, "r:", tarinfo=LimitedHeader, encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
    except tarfile.TarError as error:
        raise SourceError(f"{label} is not an archive; accepted is {ACCEPTED_FORMATS}.") from error
    with archive:
        yield archive


def _open_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(member)
    if stream is None:
        raise ValueError(f"{member.name} is not a file")
    return stream


def _read_tar(label: str, archive: tarfile.TarFile, path: Path) -> Iterator[SourceEntry]:
    seen: dict[str, SourceEntry] = {}
    for member in archive:
        name = check_member_path(label, member.name)
        mtime = _parse_tar_mtime(label, name, member.mtime)
        if member.isdir():
            entry = SourceEntry(name, "directory", mtime)
        elif member.issym():
            entry = SourceEntry(name, "link", mtime, target=member.linkname)
        elif member.islnk():
            entry = _resolve_hard_link(label, name, member, seen)
        elif member.isreg() or member.type == tarfile.GNUTYPE_SPARSE:
            executable = bool(member.mode & stat.S_IXUSR)
            opener = functools.partial(_open_member, archive, member)
            entry = SourceEntry(name, "file", mtime, member.size, executable, open=opener)
        else:
            raise SourceError(f"{label} holds {quote(member.name)}, {SPECIAL}")
        if name:
            if entry.kind != "directory":
                seen.setdefault(name, entry)
            yield entry
    _check_end_of_tar(archive, path)


def _parse_tar_mtime(label: str, name: str, seconds: float) -> int:
    # The comparison is false for NaN, too.
    if not -MAX_TIME <= seconds <= MAX_TIME:
        raise SourceError(
            f"{label} holds {quote(name)} with the time {seconds}; accepted are seconds since 1970 up to the year 9999."
        )
    return max(int(seconds), 0)


def _resolve_hard_link(label: str, name: str, member: tarfile.TarInfo, seen: dict[str, SourceEntry]) -> SourceEntry:
    """Return a copy of the file that a hard link names. tar writes the file before its links."""
    other = seen.get(check_member_path(label, member.linkname))
    if other is None:
        raise SourceError(
            f"{label} holds {quote(name)}, a hard link to {quote(member.linkname)}, which the archive does not hold; "
            "only links inside it are accepted."
        )
    return dataclasses.replace(other, path=name)


def _check_end_of_tar(archive: tarfile.TarFile, path: Path) -> None:
    """Raise ReadError if the archive does not end with a zero block. tarfile reads a damaged header as the end."""
    with path.open("rb") as stream:
        stream.seek(archive.offset)
        block = stream.read(512)
    if len(block) < 512 or block.strip(b"\0"):
        raise tarfile.ReadError("the end of the archive is missing")


def _read_zip(label: str, archive: zipfile.ZipFile) -> Iterator[SourceEntry]:
    for info in archive.infolist():
        if "\\" in info.orig_filename:
            raise SourceError(
                f"{label} holds {quote(info.orig_filename)}; a zip's paths are separated by '/', not by a backslash."
            )
        path = check_member_path(label, info.filename)
        if not path:
            continue
        if info.flag_bits & 0x1:
            raise SourceError(f"{label} holds {quote(path)} encrypted; only archives without a password are accepted.")
        yield _build_zip_entry(label, archive, info, path)


def _build_zip_entry(label: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str) -> SourceEntry:
    mode = info.external_attr >> 16 if info.create_system == 3 else 0
    mtime = _read_zip_mtime(info)
    if info.is_dir():
        return SourceEntry(path, "directory", mtime)
    if stat.S_ISLNK(mode):
        if info.file_size > 4096:
            raise SourceError(
                f"{label} holds the link {quote(path)} with a target of {info.file_size} bytes; 4096 are accepted."
            )
        return SourceEntry(path, "link", mtime, target=os.fsdecode(archive.read(info)))
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise SourceError(f"{label} holds {quote(path)}, {SPECIAL}")
    return SourceEntry(path, "file", mtime, info.file_size, bool(mode & stat.S_IXUSR), open=lambda: archive.open(info))


def _read_zip_mtime(info: zipfile.ZipInfo) -> int:
    """Return the modification time of a member in seconds since the epoch.

    Without an extended timestamp, the DOS time is read as UTC, so that the result does not depend on the controller's
    time zone. Programs that store no time write zeros, which count as 0.
    """
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        if kind == 0x5455 and size >= 5 and len(extra) >= 9 and extra[4] & 1:
            return max(struct.unpack("<i", extra[5:9])[0], 0)
        extra = extra[4 + size :]
    _year, month, day = info.date_time[:3]
    return max(calendar.timegm((*info.date_time, 0, 0, 0)), 0) if 1 <= month <= 12 and day >= 1 else 0

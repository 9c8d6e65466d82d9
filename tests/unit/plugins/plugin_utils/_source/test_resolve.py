# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import socket
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.plugin_utils._source import resolve as resolve_module
from ansible_collections.flaskops.production.plugins.plugin_utils._source import tree
from ansible_collections.flaskops.production.plugins.plugin_utils._source.directory import is_excluded, matches_patterns
from ansible_collections.flaskops.production.plugins.plugin_utils._source.tree import SourceError

NOON = 1_776_772_800  # 2026-04-21 12:00:00 UTC
APP = {
    "wsgi.py": "app = 1\n",
    "requirements.txt": "flask==3.1.0\n",
    "pkg/static/site.css": "a{}",
    "main.py": ("link", "wsgi.py"),
}


def make_tar(path: Path, members, mode: str = "w") -> Path:
    """Write a tar of (name, content) pairs. A content may also be a TarInfo."""
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            info.mtime = info.mtime or NOON
            data = content.encode() if isinstance(content, str) else b""
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def member(kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


def member_with_time(seconds: str) -> tarfile.TarInfo:
    """Return a file with a time in a pax header."""
    info = tarfile.TarInfo()
    info.pax_headers = {"mtime": seconds}
    return info


def make_zip(path: Path, members) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name, (2026, 4, 21, 12, 0, 0))
            info.create_system, info.external_attr, info.compress_type = 3, mode << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def read_archive(release) -> dict:
    """Return the content of a release's archive as path → (mode, text or link target)."""
    found = {}
    with tarfile.open(release["archive"]) as archive:
        for info in archive:
            assert (info.uid, info.gid, info.uname, info.gname) == (0, 0, "", "")
            text = (
                info.linkname if info.issym() else archive.extractfile(info).read().decode() if info.isreg() else None
            )
            found[info.name] = (info.mode, text)
    return found


# Errors in settings


MISSING_DIRECTORY = {"directory": "/nowhere/app"}
REJECTED_REQUESTS = {
    "no source": ({}, ["release_directory", "release_archive", "release_git_repo", "exactly one"]),
    "two sources": (
        {"directory": "/d", "git_repo": "https://u:secret@example.com/x.git"},
        ["release_directory (/d)", "release_git_repo (https://example.com/x.git)", "2 sources", "exactly one"],
    ),
    "three sources": ({"directory": "/d", "archive": "/a", "git_repo": "/g"}, ["3 sources"]),
    "name with a slash": ({**MISSING_DIRECTORY, "name": "a/b"}, ["release_name", '"a/b"', "1 to 64 letters"]),
    "name with a leading dot": ({**MISSING_DIRECTORY, "name": ".hidden"}, ["release_name", '".hidden"']),
    "name with a newline": ({**MISSING_DIRECTORY, "name": "a\n"}, ["release_name", '"a\\n"']),
    "name of 65": ({**MISSING_DIRECTORY, "name": "a" * 65}, ["release_name", "1 to 64"]),
    "missing directory": (MISSING_DIRECTORY, ["release_directory: /nowhere/app", "does not exist", "controller"]),
    "missing archive": ({"archive": "/nowhere/a.tgz"}, ["release_archive: /nowhere/a.tgz", "does not exist", "zip"]),
    "missing repository": (
        {"git_repo": "/nowhere/x.git"},
        ["release_git_repo: /nowhere/x.git", "does not exist", "https"],
    ),
    "URL without a checksum": (
        {"archive": "https://u:secret@example.com/a.tgz?key=secret"},
        ["release_archive_checksum", "https://example.com/a.tgz", "sha256:"],
    ),
    "checksum of another kind": (
        {"archive": "/a", "archive_checksum": "md5:abc"},
        ["release_archive_checksum", '"md5:abc"', "64 hexadecimal"],
    ),
    "checksum cut short": (
        {"archive": "/a", "archive_checksum": "ab" * 31},
        ["release_archive_checksum", "64 hexadecimal"],
    ),
    "ftp URL": ({"archive": "ftp://example.com/a.tgz"}, ["release_archive: ftp://example.com/a.tgz", "https"]),
    "strip below 0": ({"archive": "/a", "strip_components": -1}, ["release_strip_components: -1", "0 or more"]),
    "strip of a directory": (
        {**MISSING_DIRECTORY, "strip_components": 1},
        ["release_strip_components: 1", "release_subdirectory"],
    ),
    "ref that is an option": (
        {"git_repo": "/g", "git_ref": "--upload-pack=x"},
        ["release_git_ref", "--upload-pack=x", "a tag"],
    ),
    "ref that is a range": ({"git_repo": "/g", "git_ref": "a..b"}, ["release_git_ref", '"a..b"']),
    "ref with a colon": ({"git_repo": "/g", "git_ref": "main:x"}, ["release_git_ref", '"main:x"']),
    "repository that is an option": ({"git_repo": "--exec=x"}, ["release_git_repo", "--exec=x"]),
    "subdirectory upwards": (
        {**MISSING_DIRECTORY, "subdirectory": "../x"},
        ["release_subdirectory", '"../x"', "relative"],
    ),
    "absolute requirements": (
        {**MISSING_DIRECTORY, "requirements": ("/etc/r.txt",)},
        ["venv_requirements", '"/etc/r.txt"', "relative"],
    ),
    "requirements upwards": (
        {**MISSING_DIRECTORY, "requirements": ("a/../../r.txt",)},
        ["venv_requirements", "a/../../r.txt"],
    ),
    "absolute static path": (
        {**MISSING_DIRECTORY, "static_paths": ("/static",)},
        ["release_static_paths", '"/static"'],
    ),
    "absolute shared path": (
        {**MISSING_DIRECTORY, "shared_paths": ("/var",)},
        ["release_shared_paths", '"/var"', "relative"],
    ),
    "shared path upwards": ({**MISSING_DIRECTORY, "shared_paths": ("../var/",)}, ["release_shared_paths", '"../var/"']),
    "shared path empty": ({**MISSING_DIRECTORY, "shared_paths": ("",)}, ["release_shared_paths", '""']),
    "shared path as both": (
        {**MISSING_DIRECTORY, "shared_paths": ("var", "var/")},
        ["release_shared_paths", '"var"', '"var/"', "once"],
    ),
    "shared path in another": (
        {**MISSING_DIRECTORY, "shared_paths": ("var/", "var/a.db")},
        ["release_shared_paths", '"var/"', '"var/a.db"', "outer"],
    ),
    "shared .venv": ({**MISSING_DIRECTORY, "shared_paths": (".venv/",)}, ["release_shared_paths", ".venv"]),
}


@pytest.mark.parametrize(("values", "expected"), REJECTED_REQUESTS.values(), ids=REJECTED_REQUESTS)
def test_invalid_settings_are_rejected(resolve, values, expected):
    with pytest.raises(SourceError) as refusal:
        resolve(**values)
    message = str(refusal.value)
    assert [word for word in expected if word not in message] == []
    assert "secret" not in message


# Errors in archives


REJECTED_MEMBERS = {
    "absolute path": ([("/etc/cron.d/x", "x")], ['"/etc/cron.d/x"', "absolute", "relative paths"]),
    "path upwards": ([("app/../../x", "x")], ['"app/../../x"', "'..'"]),
    "link out": (
        [("a", member(tarfile.SYMTYPE, "../x"))],
        ['"a"', '"../x"', "out of the release", "release_shared_paths"],
    ),
    "absolute link": ([("a", member(tarfile.SYMTYPE, "/etc/passwd"))], ['"/etc/passwd"', "out of the release"]),
    "link out through a link": (
        [("a/b/c/up", member(tarfile.SYMTYPE, "../../..")), ("a/b/c/x", member(tarfile.SYMTYPE, "up/../y"))],
        ['"a/b/c/x"', "out of the release"],
    ),
    "link to itself": ([("a", member(tarfile.SYMTYPE, "b")), ("b", member(tarfile.SYMTYPE, "a"))], ["leads to itself"]),
    "file below a link": (
        [("d", None), ("l", member(tarfile.SYMTYPE, "d")), ("l/x", "x")],
        ['"l/x"', 'below "l"', "link, not a directory"],
    ),
    "hard link out": ([("a", member(tarfile.LNKTYPE, "/etc/passwd"))], ['"/etc/passwd"', "absolute"]),
    "hard link to nothing": ([("a", member(tarfile.LNKTYPE, "b"))], ['"a"', 'hard link to "b"', "does not hold"]),
    "pipe": ([("a", member(tarfile.FIFOTYPE))], ['"a"', "pipe", "only files"]),
    "device": ([("a", member(tarfile.CHRTYPE))], ['"a"', "device", "only files"]),
    "duplicate": ([("a", "1"), ("./a", "2")], ['"a" twice', "once"]),
    "file and directory": ([("a", "1"), ("a/b", "2")], ['"a/b"', 'below "a"', "file, not a directory"]),
    "control character": ([("a\nb", "1")], ['"a\\nb"', "control character"]),
    "not UTF-8": ([("a\udcff", "1")], ["a\\udcff", "UTF-8"]),
    "no member": ([], ["is empty", "at least one file"]),
    "directories only": ([("a", member(tarfile.DIRTYPE))], ["is empty"]),
    ".venv at the top": ([(".venv/bin/python", "x")], ['".venv"', "environment"]),
    "long name": ([("a/" + "ä" * 128, "x")], ["a name of 256", "names of 255 bytes", "shorten it"]),
    "long path": ([("directory/" * 310 + "x", "x")], ["a path of 3101 bytes", "paths of 3072", "shorten it"]),
    "endless time": ([("a", member_with_time("inf"))], ['"a" with the time inf', "seconds since 1970"]),
    "time that is no number": ([("a", member_with_time("nan"))], ['"a" with the time nan', "seconds since 1970"]),
    "time beyond all calendars": (
        [("a", member_with_time("1e300"))],
        ['"a" with the time 1e+300', "seconds since 1970"],
    ),
}


@pytest.mark.parametrize(("members", "expected"), REJECTED_MEMBERS.values(), ids=REJECTED_MEMBERS)
def test_unsafe_tar_members_are_rejected(resolve, tmp_path, members, expected):
    path = make_tar(tmp_path / "app.tar", members)
    with pytest.raises(SourceError) as refusal:
        resolve(archive=path)
    message = str(refusal.value)
    assert message.startswith(f"release_archive: {path}")
    assert [word for word in expected if word not in message] == []


REJECTED_ZIPS = {
    "absolute path": ([("/etc/x", "x", 0o100644)], '"/etc/x", an absolute path'),
    "drive": ([("C:/x", "x", 0o100644)], '"C:/x", an absolute path'),
    "path upwards": ([("../x", "x", 0o100644)], '"../x"'),
    "backslash": ([("a\\b", "x", 0o100644)], "backslash"),
    "link out": ([("a", "../../x", stat.S_IFLNK | 0o777)], 'to "../../x", which leads out'),
    "pipe": ([("a", "", stat.S_IFIFO | 0o644)], "pipe"),
    "duplicate": ([("a/b", "x", 0o100644), ("a//b", "x", 0o100644)], '"a/b" twice'),
}


@pytest.mark.parametrize(("members", "expected"), REJECTED_ZIPS.values(), ids=REJECTED_ZIPS)
def test_unsafe_zip_members_are_rejected(resolve, tmp_path, members, expected):
    path = make_zip(tmp_path / "app.zip", members)
    with pytest.raises(SourceError) as refusal:
        resolve(archive=path)
    assert str(refusal.value).startswith(f"release_archive: {path}")
    assert expected in str(refusal.value)


def test_zip_without_times_gets_the_epoch(resolve, tmp_path):
    """Programs that store no time write zeros, which are not a valid date."""
    path = make_zip(tmp_path / "app.zip", [("wsgi.py", "app = None", 0o100644)])
    data = bytearray(path.read_bytes())
    for start, position in ((b"PK\x03\x04", 10), (b"PK\x01\x02", 12)):
        at = data.index(start) + position
        data[at : at + 4] = bytes(4)
    path.write_bytes(data)
    release = resolve(archive=path)
    assert read_archive(release)["wsgi.py"]
    assert release["time"] == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("first", [True, False])
def test_large_tar_header_is_rejected_before_it_is_read(resolve, tmp_path, kind, first):
    """The header has 2 GiB, in a sparse file."""
    path, info = tmp_path / "app.tar", member(kind)
    info.name, info.size = "././@LongLink", 2**31
    with path.open("wb") as file:
        if not first:
            file.write(make_tar_bytes(tmp_path)[:2560])
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(file.tell() + info.size + 1024)
    with pytest.raises(SourceError) as refusal:
        resolve(archive=path)
    assert "holds a header of 2147483648 bytes; 1048576 are accepted" in str(refusal.value)


def test_encrypted_zip_is_rejected(resolve, tmp_path):
    path = make_zip(tmp_path / "app.zip", [("a", "x", 0o100644)])
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(SourceError, match='"a" encrypted.*without a password'):
        resolve(archive=path)


def make_tar_bytes(tmp_path: Path) -> bytes:
    return make_tar(tmp_path / "whole.tar", [(f"f{n}.py", f"{n}" * 2000) for n in range(20)]).read_bytes()


REJECTED_BYTES = {
    "text": (lambda data: b"just a text\n" * 100, "is not an archive"),
    "nothing": (lambda data: b"", "is not an archive"),
    "text in gzip": (lambda data: gzip.compress(b"just a text\n" * 100), "is not an archive"),
    "gzip cut short": (lambda data: gzip.compress(data)[:200], "damaged or cut short"),
    "gzip changed": (lambda data: (z := gzip.compress(data))[:-8] + b"\0\0\0\0" + z[-4:], "damaged or cut short"),
    "bzip2 cut short": (lambda data: bz2.compress(data)[:-20], "damaged or cut short"),
    "bzip2 changed": (lambda data: (z := bz2.compress(data))[:50] + b"\0" * 20 + z[70:], "damaged or cut short"),
    "xz cut short": (lambda data: lzma.compress(data)[:-30], "damaged or cut short"),
    "tar cut in a file": (lambda data: data[:3000], "damaged or cut short"),
    "tar cut between files": (lambda data: data[: (512 + 2048) * 5], "damaged or cut short"),
    "tar with a broken header": (lambda data: data[:2560] + b"x" * 512 + data[3072:], "damaged or cut short"),
    "zip cut short": (lambda data: b"PK\x03\x04" + data[:100], "damaged or cut short"),
}


@pytest.mark.parametrize(("change", "expected"), REJECTED_BYTES.values(), ids=REJECTED_BYTES)
def test_damaged_archives_are_rejected(resolve, tmp_path, change, expected):
    path = tmp_path / "app.tar.gz"
    path.write_bytes(change(make_tar_bytes(tmp_path)))
    with pytest.raises(SourceError) as refusal:
        resolve(archive=path)
    message = str(refusal.value)
    assert message.startswith(f"release_archive: {path}")
    assert expected in message
    assert "accepted is a tar" in message


def test_zip_with_changed_content_is_rejected(resolve, tmp_path):
    path = make_zip(tmp_path / "app.zip", [("a", "content" * 100, 0o100644)])
    data = path.read_bytes()
    path.write_bytes(data.replace(data[31:36], b"\0\0\0\0\0", 1))
    with pytest.raises(SourceError, match="damaged or cut short|cannot pack"):
        resolve(archive=path)


def test_wrong_checksum_is_rejected(resolve, tmp_path):
    path = make_tar(tmp_path / "app.tar", [("a", "1")])
    with pytest.raises(SourceError) as refusal:
        resolve(archive=path, archive_checksum="sha256:" + "0" * 64)
    assert "release_archive_checksum" in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert "0" * 64 in str(refusal.value)


def test_directory_is_rejected_as_an_archive(resolve, tmp_path):
    with pytest.raises(SourceError, match=r"release_archive: .* is not an archive.*release_directory"):
        resolve(archive=tmp_path)


def test_archive_is_rejected_as_a_directory(resolve, tmp_path):
    with pytest.raises(SourceError, match=r"release_directory: .* not a directory.*release_archive"):
        resolve(directory=make_tar(tmp_path / "app.tar", []))


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_decompression_bomb_is_rejected(resolve, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(tree, "MAX_BYTES", 1024 * 1024)
    monkeypatch.setattr(tree, "MAX_FILES", 50)
    content = "\0" * 3 * 1024 * 1024
    if kind == "tar":
        path = make_tar(tmp_path / "bomb", [("zeros", content)], "w:gz")
    else:
        path = make_zip(tmp_path / "bomb", [("zeros", content, 0o100644)])
    assert path.stat().st_size < 20_000
    with pytest.raises(SourceError, match="unpacks to more than 1 MiB"):
        resolve(archive=path)


def test_too_many_files_are_rejected(resolve, tmp_path, monkeypatch):
    monkeypatch.setattr(tree, "MAX_FILES", 5)
    with pytest.raises(SourceError, match="more than 5 files"):
        resolve(archive=make_tar(tmp_path / "app.tar", [(f"f{n}", "") for n in range(6)]))


# Errors in directories


REJECTED_DIRECTORIES = {
    "empty": ({}, {}, ["is empty", "at least one file"]),
    "caches only": ({"__pycache__/x.pyc": "x", ".git/HEAD": "x"}, {}, ["is empty"]),
    "link out": ({**APP, "x": ("link", "../other")}, {}, ['"x"', '"../other"', "out of the release"]),
    "absolute link": ({**APP, "x": ("link", "/etc/hosts")}, {}, ['"x"', '"/etc/hosts"', "out of the release"]),
    "link out through a link to a directory": (
        {**APP, "d": ("link", "pkg"), "x": ("link", "d/../../other")},
        {},
        ['"x"', "out of the release"],
    ),
    ".venv": ({**APP, ".venv/bin/python": "x"}, {"exclude": ()}, ['".venv"', "environment"]),
    "missing subdirectory": (APP, {"subdirectory": "web"}, ["release_subdirectory", '"web"', "not a directory"]),
    "missing requirements": (
        APP,
        {"requirements": ("requirements/prod.txt",)},
        [
            "venv_requirements",
            '"requirements/prod.txt"',
            "its top level holds main.py, pkg/, requirements.txt, wsgi.py",
        ],
    ),
    "requirements elsewhere": (
        {"wsgi.py": "", "web/requirements.txt": ""},
        {"requirements": ("requirements.txt",)},
        ["venv_requirements", "web/requirements.txt"],
    ),
    "everything under one folder": (
        {"app/requirements.txt": ""},
        {"requirements": ("requirements.txt",)},
        ["all files are in app/", "release_subdirectory: app"],
    ),
    "requirements directory": ({**APP, "r/x": ""}, {"requirements": ("r",)}, ["venv_requirements", '"r"']),
    "missing include": (
        {"r/prod.txt": "-r base.txt\nflask\n"},
        {"requirements": ("r/prod.txt",)},
        ["venv_requirements", '"r/base.txt", which r/prod.txt includes', "is not in"],
    ),
    "missing constraints": (
        {"requirements.txt": "-c constraints.txt\nflask\n"},
        {"requirements": ("requirements.txt",)},
        ['"constraints.txt", which requirements.txt includes'],
    ),
    "include outside": (
        {"requirements.txt": "-r ../base.txt\n"},
        {"requirements": ("requirements.txt",)},
        ["venv_requirements", '"../base.txt"', "outside the release"],
    ),
    "unpinned hash": (
        {"requirements.txt": "flask==3.1.0\n"},
        {"requirements": ("requirements.txt",), "require_hashes": True},
        ["venv_require_hashes", "requirements.txt", "flask==3.1.0", "--hash"],
    ),
    "source archive with venv_only_binary": (
        {"requirements.txt": "-r more.txt\n", "more.txt": "flask\n./evil.tar.gz\n"},
        {"requirements": ("requirements.txt",), "only_binary": True},
        ["contradict the settings", "more.txt, line 2: './evil.tar.gz' is not a wheel", "venv_only_binary: true"],
    ),
    "index other than that of the settings": (
        {"requirements.txt": "--index-url https://me:secret@evil.example/simple\nflask\n"},
        {"requirements": ("requirements.txt",), "index": "venv_index_url"},
        ["requirements.txt, line 1: '--index-url https://****@evil.example/simple' contradicts venv_index_url"],
    ),
    "added package without a hash": (
        {"requirements.txt": "flask==3.1.0 --hash=sha256:" + "a" * 64 + "\n"},
        {"requirements": ("requirements.txt",), "packages": ("gunicorn>=24.1.1",), "require_hashes": True},
        ["venv_require_hashes", "gunicorn"],
    ),
    "shared directory that is a file": (
        {**APP, "data": "x"},
        {"shared_paths": ("data/",)},
        ["release_shared_paths", '"data/" is a file', 'write "data"'],
    ),
    "shared file that is a directory": (
        APP,
        {"shared_paths": ("pkg",)},
        ["release_shared_paths", '"pkg" is a directory', 'write "pkg/"'],
    ),
    "shared path below a file": (
        APP,
        {"shared_paths": ("wsgi.py/x",)},
        ["release_shared_paths", '"wsgi.py/x" lies below "wsgi.py"', "file"],
    ),
    "static path that is shared": (
        {**APP, "instance/public/a.css": "x"},
        {"static_paths": ("instance/public",), "shared_paths": ("instance/",)},
        ["release_static_paths has instance/public", "lies in instance of release_shared_paths"],
    ),
    "static link to shared data": (
        {**APP, "static/img/logo.png": ("link", "../../instance/logo.png")},
        {"static_paths": ("static",), "shared_paths": ("instance/",)},
        ["release_static_paths", '"static/img/logo.png" is a link to "instance/logo.png"', "release_shared_paths"],
    ),
    "static file": (APP, {"static_paths": ("wsgi.py",)}, ["release_static_paths", '"wsgi.py" is a file']),
}


@pytest.mark.parametrize(("content", "values", "expected"), REJECTED_DIRECTORIES.values(), ids=REJECTED_DIRECTORIES)
def test_invalid_directories_are_rejected(resolve, files, tmp_path, content, values, expected):
    root = tmp_path / "app"
    root.mkdir()
    with pytest.raises(SourceError) as refusal:
        resolve(directory=files(root, content), **values)
    assert [word for word in expected if word not in str(refusal.value)] == []


def test_static_links_inside_the_release_are_accepted(resolve, files, tmp_path):
    content = {
        **APP,
        "vendor/dist/a.js": "x",
        "static/vendor": ("link", "../vendor/dist"),
        # A build creates the first target. The link to shared/ replaces the second link.
        "static/later": ("link", "../built"),
        "static/uploads": ("link", "../instance/uploads"),
    }
    resolve(
        directory=files(tmp_path / "app", content),
        static_paths=("static",),
        shared_paths=("instance/", "static/uploads/"),
    )


def test_pipes_and_sockets_are_rejected_unless_excluded(resolve, files, tmp_path, monkeypatch):
    root = files(tmp_path / "app", APP)
    os.mkfifo(root / "pipe")
    with pytest.raises(SourceError, match=r'"pipe", a socket, pipe or device.*release_exclude'):
        resolve(directory=root)
    (root / "pipe").unlink()
    monkeypatch.chdir(root)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("app.sock")
        with pytest.raises(SourceError, match='"app.sock", a socket'):
            resolve(directory=root)
        assert resolve(directory=root, exclude=("*.sock",))["files"] == 4


def test_names_that_are_not_utf8_are_rejected(resolve, files, tmp_path):
    root = files(tmp_path / "app", APP)
    (Path(os.fsdecode(os.fsencode(root) + b"/\xff.py"))).write_text("x")
    with pytest.raises(SourceError, match="not UTF-8"):
        resolve(directory=root)


def test_message_suggests_strip_components_for_an_enclosing_folder(resolve, tmp_path):
    path = make_tar(tmp_path / "app.tar", [("app-1.0/requirements.txt", "flask"), ("app-1.0/wsgi.py", "")])
    with pytest.raises(SourceError, match=r"all files are in app-1.0/: set release_strip_components: 1"):
        resolve(archive=path, requirements=("requirements.txt",))
    assert resolve(archive=path, requirements=("requirements.txt",), strip_components=1)["files"] == 2
    with pytest.raises(
        SourceError, match=r"release_strip_components: 5 excludes all files of .*app.tar; its top level holds app-1.0"
    ):
        resolve(archive=path, strip_components=5)
    with pytest.raises(SourceError, match=r'release_subdirectory: "web" excludes all files'):
        resolve(archive=path, subdirectory="web")


# Releases


def test_directory_becomes_a_normalized_archive(resolve, files, tmp_path):
    root = files(
        tmp_path / "app", {**APP, "run.sh": "#!/bin/sh\n", "var": None, ".env": "SECRET=1", "pkg/.git": "gitdir: x"}
    )
    files(
        root, {"__pycache__/a.pyc": "x", "old/__pycache__/a.pyc": "x", "venv/bin/python": "x", "a/node_modules/b": "x"}
    )
    (root / "run.sh").chmod(0o4711)
    (root / "wsgi.py").chmod(0o600)
    release = resolve(directory=root)
    assert read_archive(release) == {
        "main.py": (0o777, "wsgi.py"),
        "pkg": (0o755, None),
        "pkg/static": (0o755, None),
        "pkg/static/site.css": (0o644, "a{}"),
        "requirements.txt": (0o644, "flask==3.1.0\n"),
        "run.sh": (0o755, "#!/bin/sh\n"),
        "var": (0o755, None),
        "wsgi.py": (0o644, "app = 1\n"),
    }
    keys = {"name", "digest", "archive", "sha256", "size", "files", "dropped", "time", "source", "named", "warnings"}
    assert set(release) == keys
    assert release["source"] == {"kind": "directory", "location": str(root), "revision": None, "ref": None}
    assert release["name"] == f"2026-04-21-120000-{release['digest'][:7]}"
    assert release["time"] == "2026-04-21T12:00:00Z"
    assert release["files"] == 5
    assert release["size"] == Path(release["archive"]).stat().st_size
    assert len(release["digest"]) == len(release["sha256"]) == 64


def test_same_content_gives_the_same_archive_and_digest(resolve, files, tmp_path):
    first = resolve(directory=files(tmp_path / "one", APP))
    before = os.umask(0o077)
    try:
        again = files(tmp_path / "two", dict(reversed(APP.items())))
    finally:
        os.umask(before)
    os.utime(again / "pkg", (1, 1))
    second = resolve("other run", directory=again)
    assert Path(first["archive"]).read_bytes() == Path(second["archive"]).read_bytes()
    assert Path(first["archive"]).read_bytes()[4:8] == bytes(4), "the gzip header has no time"
    assert (first["name"], first["digest"], first["sha256"]) == (second["name"], second["digest"], second["sha256"])
    later = resolve(directory=files(tmp_path / "three", APP, NOON + 60))
    assert later["digest"] == first["digest"]
    assert later["name"] == f"2026-04-21-120100-{first['digest'][:7]}"


CHANGES = {
    "bytes": lambda root: (root / "wsgi.py").write_text("app = 2\n"),
    "name": lambda root: (root / "wsgi.py").rename(root / "other.py"),
    "executable bit": lambda root: (root / "wsgi.py").chmod(0o755),
    "link": lambda root: ((root / "main.py").unlink(), (root / "main.py").symlink_to("requirements.txt")),
    "link to file": lambda root: ((root / "main.py").unlink(), (root / "main.py").write_text("wsgi.py")),
    "empty directory": lambda root: (root / "var").mkdir(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_each_change_gives_another_digest(resolve, files, tmp_path, change):
    first = resolve(directory=files(tmp_path / "one", APP))
    root = files(tmp_path / "two", APP)
    change(root)
    assert resolve(directory=root)["digest"] != first["digest"]


def test_digest_of_a_known_tree_is_unchanged(resolve, files, tmp_path):
    """If the digest changes, all releases of all fleets get new names."""
    release = resolve(directory=files(tmp_path / "app", {**APP, "var": None}))
    assert release["digest"] == "187f015015b2389cffbcd8cdac739118badf5487b4508ef78cb6e3837276e03c"


def test_name_from_the_settings_is_used(resolve, files, tmp_path):
    root = files(tmp_path / "app", APP)
    assert resolve(directory=root, name="v1.10.0_rc-1")["name"] == "v1.10.0_rc-1"


@pytest.mark.parametrize("suffix", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_all_formats_give_the_same_release(resolve, files, tmp_path, suffix):
    root = files(tmp_path / "app", {**APP, "run.sh": "#!"})
    (root / "run.sh").chmod(0o755)
    wanted = resolve(directory=root)
    path = tmp_path / "misnamed.txt"
    if suffix == "zip":
        members = [(str(p.relative_to(root)), p) for p in root.rglob("*") if not p.is_dir()]
        make_zip(
            path,
            [
                (name, os.readlink(p) if p.is_symlink() else p.read_text(), p.lstat().st_mode)
                for name, p in reversed(members)
            ],
        )
    else:
        with tarfile.open(path, suffix) as archive:
            archive.add(root, arcname=".")
    release = resolve(archive=path)
    assert (release["name"], release["sha256"]) == (wanted["name"], wanted["sha256"])
    assert release["source"] == {"kind": "archive", "location": str(path), "revision": None, "ref": None}


def test_hard_links_become_files(resolve, tmp_path):
    path = make_tar(tmp_path / "a.tar", [("d/a", "one"), ("d/b", member(tarfile.LNKTYPE, "./d/a"))])
    release = resolve(archive=path, strip_components=1)
    assert read_archive(release) == {"a": (0o644, "one"), "b": (0o644, "one")}


def test_macos_metadata_is_excluded_from_all_sources(resolve, files, repository, tmp_path):
    metadata = ["__MACOSX/app/._x", "._app", "app/._x", "app/.DS_Store", "app/._static/x"]
    members = [("app/x", "1"), *((name, "2") for name in metadata)]
    packed = resolve(archive=make_tar(tmp_path / "a.tar", members), strip_components=1)
    assert list(read_archive(packed)) == ["x"]
    assert packed["warnings"] == [], "no second folder was merged"
    zip_file = make_zip(tmp_path / "a.zip", [(name, text, 0o100644) for name, text in members])
    assert resolve(archive=zip_file, strip_components=1)["digest"] == packed["digest"]
    directory = files(tmp_path / "source", dict(members))
    # Metadata is excluded even if the default list is replaced.
    assert resolve(directory=directory / "app", exclude=())["digest"] == packed["digest"]
    repository.commit(dict(members))
    assert resolve(git_repo=str(repository.path), subdirectory="app")["digest"] == packed["digest"]


def test_git_crypt_files_cause_a_warning(resolve, files, tmp_path):
    secret = b"\0GITCRYPT\0" + bytes(range(64))
    (warning,) = resolve(directory=files(tmp_path / "app", {**APP, "config/secret.ini": secret}))["warnings"]
    assert "git-crypt" in warning and "config/secret.ini" in warning
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(tmp_path / "app", arcname=".")
    assert "git-crypt" in resolve(archive=path)["warnings"][0]


def test_merged_folders_cause_a_warning(resolve, tmp_path):
    path = make_tar(tmp_path / "a.tar", [("one/x", "1"), ("two/y", "2")])
    release = resolve(archive=path, strip_components=1)
    assert list(read_archive(release)) == ["x", "y"]
    assert release["warnings"] == ["release_strip_components: 1 merges 2 different folders into one (one, two)."]


def test_subdirectory_is_the_root_of_the_release(resolve, files, tmp_path):
    root = files(tmp_path / "mono", {f"apps/web/{name}": content for name, content in APP.items()})
    files(root, {"apps/api/x.py": ""}, NOON + 3600)
    release = resolve(directory=root, subdirectory="apps/web")
    assert release["name"].startswith("2026-04-21-120000-")
    assert release["files"] == 4
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(root, arcname="mono-1.0")
    packed = resolve(archive=tmp_path / "a.tar", strip_components=1, subdirectory="apps/web/")
    assert packed["sha256"] == release["sha256"]


def test_included_requirement_files_are_found(resolve, files, tmp_path):
    pinned = "flask==3.1.0 --hash=sha256:" + "a" * 64 + "\n"
    root = files(
        tmp_path / "app",
        {
            "requirements.txt": ("link", "r/prod.txt"),
            "r/prod.txt": "-r base.txt\n",
            "base.txt": pinned,
            "r/base.txt": pinned + "-c ../constraints.txt\n",
            "constraints.txt": "click<9\n",
        },
    )
    assert resolve(directory=root, requirements=("r/prod.txt", "requirements.txt"), require_hashes=True)["files"] == 5


def test_lfs_pointers_cause_a_warning(resolve, files, tmp_path):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (warning,) = resolve(directory=files(tmp_path / "app", {**APP, "logo.png": pointer}))["warnings"]
    assert "LFS" in warning
    assert "logo.png" in warning


def test_long_and_non_ascii_names_are_kept(resolve, files, tmp_path):
    name = "/".join(["lang" * 30] * 3) + "/grüße 日本.txt"
    assert read_archive(resolve(directory=files(tmp_path / "app", {name: "x"})))[name] == (0o644, "x")


def test_file_that_changes_while_it_is_read_is_rejected(tmp_path):
    path = tmp_path / "a"
    path.write_text("longer than it was")
    entry = tree.SourceEntry("a", "file", size=3, open=lambda: path.open("rb"))
    with pytest.raises(SourceError, match='"a" changed while it was read'):
        tree.pack_tree(tree.build_tree("release_directory: /x", [entry]), tmp_path / "out", 0)
    path.write_text("x")
    with pytest.raises(SourceError, match='cannot pack "a"'):
        tree.pack_tree(tree.build_tree("release_directory: /x", [entry]), tmp_path / "out", 0)


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("a/b.pyc", "*.pyc", True),
        ("a/venv", "venv", True),
        ("a/venvy", "venv", False),
        ("docs", "/docs", True),
        ("a/docs", "/docs", False),
        ("a/docs", "a/docs", True),
        ("docs", "docs/", False),
        ("DOCS", "docs", False),
    ],
)
def test_patterns_match_names_and_paths(path, pattern, expected):
    assert matches_patterns(path, [pattern], is_directory=False) is expected


def test_parents_of_a_path_are_matched_too():
    assert is_excluded("node_modules/a/b.js", ["node_modules/"])
    assert is_excluded("a/cache/", ["cache/"])
    assert not is_excluded("a/cache", ["cache/"])


def test_release_name_has_time_and_digest():
    assert resolve_module.format_release_name(NOON, "1a2b3c4d") == "2026-04-21-120000-1a2b3c4"

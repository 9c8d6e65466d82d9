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

from ansible_collections.flaskops.production.plugins.plugin_utils import _source, _tree
from ansible_collections.flaskops.production.plugins.plugin_utils._directory import excluded, excluded_within
from ansible_collections.flaskops.production.plugins.plugin_utils._tree import SourceError

NOON = 1_776_772_800  # 2026-04-21 12:00:00 UTC
APP = {
    "wsgi.py": "app = 1\n",
    "requirements.txt": "flask==3.1.0\n",
    "pkg/static/site.css": "a{}",
    "main.py": ("link", "wsgi.py"),
}


def tar(path: Path, members, mode: str = "w") -> Path:
    """A tar of (name, content) pairs; a TarInfo as content is added as it is."""
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


def timed(seconds: str) -> tarfile.TarInfo:
    """A file whose time stands in a pax header."""
    info = tarfile.TarInfo()
    info.pax_headers = {"mtime": seconds}
    return info


def zipped(path: Path, members) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name, (2026, 4, 21, 12, 0, 0))
            info.create_system, info.external_attr, info.compress_type = 3, mode << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def contents(release) -> dict:
    """What a release's archive holds: path → (mode, text or link target)."""
    found = {}
    with tarfile.open(release["archive"]) as archive:
        for info in archive:
            assert (info.uid, info.gid, info.uname, info.gname) == (0, 0, "", "")
            text = (
                info.linkname if info.issym() else archive.extractfile(info).read().decode() if info.isreg() else None
            )
            found[info.name] = (info.mode, text)
    return found


# Refusals that need no source


GIVEN = {"directory": "/nowhere/app"}
REQUESTS = {
    "no source": ({}, ["release_directory", "release_archive", "release_git_repo", "exactly one"]),
    "two sources": (
        {"directory": "/d", "git_repo": "https://u:secret@example.com/x.git"},
        ["release_directory (/d)", "release_git_repo (https://example.com/x.git)", "2 sources", "exactly one"],
    ),
    "three sources": ({"directory": "/d", "archive": "/a", "git_repo": "/g"}, ["3 sources"]),
    "name with a slash": ({**GIVEN, "name": "a/b"}, ["release_name", '"a/b"', "1 to 64 letters"]),
    "name with a leading dot": ({**GIVEN, "name": ".hidden"}, ["release_name", '".hidden"']),
    "name with a newline": ({**GIVEN, "name": "a\n"}, ["release_name", '"a\\n"']),
    "name of 65": ({**GIVEN, "name": "a" * 65}, ["release_name", "1 to 64"]),
    "missing directory": (GIVEN, ["release_directory: /nowhere/app", "does not exist", "controller"]),
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
    "strip of a directory": ({**GIVEN, "strip_components": 1}, ["release_strip_components: 1", "release_subdirectory"]),
    "ref that is an option": (
        {"git_repo": "/g", "git_ref": "--upload-pack=x"},
        ["release_git_ref", "--upload-pack=x", "a tag"],
    ),
    "ref that is a range": ({"git_repo": "/g", "git_ref": "a..b"}, ["release_git_ref", '"a..b"']),
    "ref with a colon": ({"git_repo": "/g", "git_ref": "main:x"}, ["release_git_ref", '"main:x"']),
    "repository that is an option": ({"git_repo": "--exec=x"}, ["release_git_repo", "--exec=x"]),
    "subdirectory upwards": ({**GIVEN, "subdirectory": "../x"}, ["release_subdirectory", '"../x"', "relative"]),
    "absolute requirements": (
        {**GIVEN, "requirements": ("/etc/r.txt",)},
        ["venv_requirements", '"/etc/r.txt"', "relative"],
    ),
    "requirements upwards": ({**GIVEN, "requirements": ("a/../../r.txt",)}, ["venv_requirements", "a/../../r.txt"]),
    "absolute static path": ({**GIVEN, "static_paths": ("/static",)}, ["release_static_paths", '"/static"']),
    "absolute shared path": ({**GIVEN, "shared_paths": ("/var",)}, ["release_shared_paths", '"/var"', "relative"]),
    "shared path upwards": ({**GIVEN, "shared_paths": ("../var/",)}, ["release_shared_paths", '"../var/"']),
    "shared path empty": ({**GIVEN, "shared_paths": ("",)}, ["release_shared_paths", '""']),
    "shared path as both": (
        {**GIVEN, "shared_paths": ("var", "var/")},
        ["release_shared_paths", '"var"', '"var/"', "once"],
    ),
    "shared path in another": (
        {**GIVEN, "shared_paths": ("var/", "var/a.db")},
        ["release_shared_paths", '"var/"', '"var/a.db"', "outer"],
    ),
    "shared .venv": ({**GIVEN, "shared_paths": (".venv/",)}, ["release_shared_paths", ".venv"]),
}


@pytest.mark.parametrize(("values", "said"), REQUESTS.values(), ids=REQUESTS)
def test_refused_request(resolve, values, said):
    with pytest.raises(SourceError) as refusal:
        resolve(**values)
    message = str(refusal.value)
    assert [word for word in said if word not in message] == []
    assert "secret" not in message


# Refusals of what an archive holds


MEMBERS = {
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
    "endless time": ([("a", timed("inf"))], ['"a" with the time inf', "seconds since 1970"]),
    "time that is no number": ([("a", timed("nan"))], ['"a" with the time nan', "seconds since 1970"]),
    "time beyond all calendars": ([("a", timed("1e300"))], ['"a" with the time 1e+300', "seconds since 1970"]),
}


@pytest.mark.parametrize(("members", "said"), MEMBERS.values(), ids=MEMBERS)
def test_refused_tar(resolve, tmp_path, members, said):
    path = tar(tmp_path / "app.tar", members)
    with pytest.raises(SourceError) as refusal:
        resolve(archive=path)
    message = str(refusal.value)
    assert message.startswith(f"release_archive: {path}")
    assert [word for word in said if word not in message] == []


ZIPPED = {
    "absolute path": ([("/etc/x", "x", 0o100644)], '"/etc/x", an absolute path'),
    "drive": ([("C:/x", "x", 0o100644)], '"C:/x", an absolute path'),
    "path upwards": ([("../x", "x", 0o100644)], '"../x"'),
    "backslash": ([("a\\b", "x", 0o100644)], "backslash"),
    "link out": ([("a", "../../x", stat.S_IFLNK | 0o777)], 'to "../../x", which leads out'),
    "pipe": ([("a", "", stat.S_IFIFO | 0o644)], "pipe"),
    "duplicate": ([("a/b", "x", 0o100644), ("a//b", "x", 0o100644)], '"a/b" twice'),
}


@pytest.mark.parametrize(("members", "said"), ZIPPED.values(), ids=ZIPPED)
def test_refused_zip(resolve, tmp_path, members, said):
    path = zipped(tmp_path / "app.zip", members)
    with pytest.raises(SourceError) as refusal:
        resolve(archive=path)
    assert str(refusal.value).startswith(f"release_archive: {path}")
    assert said in str(refusal.value)


def test_a_zip_without_times(resolve, tmp_path):
    """Programs that keep no time write zeros, as the date of which there is no month."""
    path = zipped(tmp_path / "app.zip", [("wsgi.py", "app = None", 0o100644)])
    data = bytearray(path.read_bytes())
    for start, position in ((b"PK\x03\x04", 10), (b"PK\x01\x02", 12)):
        at = data.index(start) + position
        data[at : at + 4] = bytes(4)
    path.write_bytes(data)
    release = resolve(archive=path)
    assert contents(release)["wsgi.py"]
    assert release["time"] == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("first", [True, False])
def test_a_header_of_a_tar_takes_no_memory(resolve, tmp_path, kind, first):
    """It says that it has 2 GiB, and the file, which has holes, has them."""
    path, info = tmp_path / "app.tar", member(kind)
    info.name, info.size = "././@LongLink", 2**31
    with path.open("wb") as file:
        if not first:
            file.write(whole(tmp_path)[:2560])
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(file.tell() + info.size + 1024)
    with pytest.raises(SourceError) as refusal:
        resolve(archive=path)
    assert "holds a header of 2147483648 bytes; 1048576 are accepted" in str(refusal.value)


def test_refused_encrypted_zip(resolve, tmp_path):
    path = zipped(tmp_path / "app.zip", [("a", "x", 0o100644)])
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(SourceError, match='"a" encrypted.*without a password'):
        resolve(archive=path)


def whole(tmp_path: Path) -> bytes:
    return tar(tmp_path / "whole.tar", [(f"f{n}.py", f"{n}" * 2000) for n in range(20)]).read_bytes()


BYTES = {
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


@pytest.mark.parametrize(("change", "said"), BYTES.values(), ids=BYTES)
def test_refused_bytes(resolve, tmp_path, change, said):
    path = tmp_path / "app.tar.gz"
    path.write_bytes(change(whole(tmp_path)))
    with pytest.raises(SourceError) as refusal:
        resolve(archive=path)
    message = str(refusal.value)
    assert message.startswith(f"release_archive: {path}")
    assert said in message
    assert "accepted is a tar" in message


def test_refused_zip_with_changed_content(resolve, tmp_path):
    path = zipped(tmp_path / "app.zip", [("a", "content" * 100, 0o100644)])
    data = path.read_bytes()
    path.write_bytes(data.replace(data[31:36], b"\0\0\0\0\0", 1))
    with pytest.raises(SourceError, match="damaged or cut short|cannot pack"):
        resolve(archive=path)


def test_refused_wrong_checksum(resolve, tmp_path):
    path = tar(tmp_path / "app.tar", [("a", "1")])
    with pytest.raises(SourceError) as refusal:
        resolve(archive=path, archive_checksum="sha256:" + "0" * 64)
    assert "release_archive_checksum" in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert "0" * 64 in str(refusal.value)


def test_refused_directory_as_archive(resolve, tmp_path):
    with pytest.raises(SourceError, match=r"release_archive: .* is not an archive.*release_directory"):
        resolve(archive=tmp_path)


def test_refused_archive_as_directory(resolve, tmp_path):
    with pytest.raises(SourceError, match=r"release_directory: .* not a directory.*release_archive"):
        resolve(directory=tar(tmp_path / "app.tar", []))


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_refused_bomb(resolve, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(_tree, "MAX_BYTES", 1024 * 1024)
    monkeypatch.setattr(_tree, "MAX_FILES", 50)
    content = "\0" * 3 * 1024 * 1024
    if kind == "tar":
        path = tar(tmp_path / "bomb", [("zeros", content)], "w:gz")
    else:
        path = zipped(tmp_path / "bomb", [("zeros", content, 0o100644)])
    assert path.stat().st_size < 20_000
    with pytest.raises(SourceError, match="unpacks to more than 1 MiB"):
        resolve(archive=path)


def test_refused_too_many_files(resolve, tmp_path, monkeypatch):
    monkeypatch.setattr(_tree, "MAX_FILES", 5)
    with pytest.raises(SourceError, match="more than 5 files"):
        resolve(archive=tar(tmp_path / "app.tar", [(f"f{n}", "") for n in range(6)]))


# Refusals of what a directory holds


DIRECTORIES = {
    "empty": ({}, {}, ["is empty", "at least one file"]),
    "caches only": ({"__pycache__/x.pyc": "x", ".git/HEAD": "x"}, {}, ["is empty"]),
    "link out": ({**APP, "x": ("link", "../other")}, {}, ['"x"', '"../other"', "out of the release"]),
    "absolute link": ({**APP, "x": ("link", "/etc/hosts")}, {}, ['"x"', '"/etc/hosts"', "out of the release"]),
    "link into what is left out, and on": (
        {**APP, "d": ("link", "pkg"), "x": ("link", "d/../../other")},
        {},
        ['"x"', "out of the release"],
    ),
    ".venv": ({**APP, ".venv/bin/python": "x"}, {"exclude": ()}, ['".venv"', "environment"]),
    "missing subdirectory": (APP, {"subdirectory": "web"}, ["release_subdirectory", '"web"', "not a directory"]),
    "missing requirements": (
        APP,
        {"requirements": ("requirements/prod.txt",)},
        ["venv_requirements", '"requirements/prod.txt"', "at its top are main.py, pkg/, requirements.txt, wsgi.py"],
    ),
    "requirements elsewhere": (
        {"wsgi.py": "", "web/requirements.txt": ""},
        {"requirements": ("requirements.txt",)},
        ["venv_requirements", "web/requirements.txt"],
    ),
    "everything under one folder": (
        {"app/requirements.txt": ""},
        {"requirements": ("requirements.txt",)},
        ["everything lies under app/", "release_subdirectory: app"],
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
    "source archive where only wheels are accepted": (
        {"requirements.txt": "-r more.txt\n", "more.txt": "flask\n./evil.tar.gz\n"},
        {"requirements": ("requirements.txt",), "only_binary": True},
        ["contradict the settings", "more.txt, line 2: './evil.tar.gz' is not a wheel", "venv_only_binary: true"],
    ),
    "index beside the index of the settings": (
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


@pytest.mark.parametrize(("content", "values", "said"), DIRECTORIES.values(), ids=DIRECTORIES)
def test_refused_directory(resolve, files, tmp_path, content, values, said):
    root = tmp_path / "app"
    root.mkdir()
    with pytest.raises(SourceError) as refusal:
        resolve(directory=files(root, content), **values)
    assert [word for word in said if word not in str(refusal.value)] == []


def test_static_links_inside_the_release_and_shared_paths_among_static_files_are_accepted(resolve, files, tmp_path):
    content = {
        **APP,
        "vendor/dist/a.js": "x",
        "static/vendor": ("link", "../vendor/dist"),
        # A build makes it, and a link of the release is replaced by that to shared/.
        "static/later": ("link", "../built"),
        "static/uploads": ("link", "../instance/uploads"),
    }
    resolve(
        directory=files(tmp_path / "app", content),
        static_paths=("static",),
        shared_paths=("instance/", "static/uploads/"),
    )


def test_refused_pipe_and_socket(resolve, files, tmp_path, monkeypatch):
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


def test_refused_name_that_is_not_utf8(resolve, files, tmp_path):
    root = files(tmp_path / "app", APP)
    (Path(os.fsdecode(os.fsencode(root) + b"/\xff.py"))).write_text("x")
    with pytest.raises(SourceError, match="not UTF-8"):
        resolve(directory=root)


def test_hint_for_an_archive_with_one_folder(resolve, tmp_path):
    path = tar(tmp_path / "app.tar", [("app-1.0/requirements.txt", "flask"), ("app-1.0/wsgi.py", "")])
    with pytest.raises(SourceError, match=r"everything lies under app-1.0/: set release_strip_components: 1"):
        resolve(archive=path, requirements=("requirements.txt",))
    assert resolve(archive=path, requirements=("requirements.txt",), strip_components=1)["files"] == 2
    with pytest.raises(
        SourceError, match=r"release_strip_components: 5 leaves nothing of .*app.tar; at its top are app-1.0"
    ):
        resolve(archive=path, strip_components=5)
    with pytest.raises(SourceError, match=r'release_subdirectory: "web" leaves nothing'):
        resolve(archive=path, subdirectory="web")


# What becomes of a source


def test_directory(resolve, files, tmp_path):
    root = files(
        tmp_path / "app", {**APP, "run.sh": "#!/bin/sh\n", "var": None, ".env": "SECRET=1", "pkg/.git": "gitdir: x"}
    )
    files(
        root, {"__pycache__/a.pyc": "x", "old/__pycache__/a.pyc": "x", "venv/bin/python": "x", "a/node_modules/b": "x"}
    )
    (root / "run.sh").chmod(0o4711)
    (root / "wsgi.py").chmod(0o600)
    release = resolve(directory=root)
    assert contents(release) == {
        "main.py": (0o777, "wsgi.py"),
        "pkg": (0o755, None),
        "pkg/static": (0o755, None),
        "pkg/static/site.css": (0o644, "a{}"),
        "requirements.txt": (0o644, "flask==3.1.0\n"),
        "run.sh": (0o755, "#!/bin/sh\n"),
        "var": (0o755, None),
        "wsgi.py": (0o644, "app = 1\n"),
    }
    told = {"name", "digest", "archive", "sha256", "size", "files", "dropped", "time", "source", "named", "warnings"}
    assert set(release) == told
    assert release["source"] == {"kind": "directory", "location": str(root), "revision": None, "ref": None}
    assert release["name"] == f"2026-04-21-120000-{release['digest'][:7]}"
    assert release["time"] == "2026-04-21T12:00:00Z"
    assert release["files"] == 5
    assert release["size"] == Path(release["archive"]).stat().st_size
    assert len(release["digest"]) == len(release["sha256"]) == 64


def test_same_content_gives_the_same_release(resolve, files, tmp_path):
    first = resolve(directory=files(tmp_path / "one", APP))
    before = os.umask(0o077)
    try:
        again = files(tmp_path / "two", dict(reversed(APP.items())))
    finally:
        os.umask(before)
    os.utime(again / "pkg", (1, 1))
    second = resolve("other run", directory=again)
    assert Path(first["archive"]).read_bytes() == Path(second["archive"]).read_bytes()
    assert Path(first["archive"]).read_bytes()[4:8] == bytes(4), "gzip tells when it ran"
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
def test_another_content_gives_another_digest(resolve, files, tmp_path, change):
    first = resolve(directory=files(tmp_path / "one", APP))
    root = files(tmp_path / "two", APP)
    change(root)
    assert resolve(directory=root)["digest"] != first["digest"]


def test_the_digest_stays_what_it_was(resolve, files, tmp_path):
    """Every release of every fleet is renamed when this changes."""
    release = resolve(directory=files(tmp_path / "app", {**APP, "var": None}))
    assert release["digest"] == "187f015015b2389cffbcd8cdac739118badf5487b4508ef78cb6e3837276e03c"


def test_a_given_name_is_used_as_it_is(resolve, files, tmp_path):
    root = files(tmp_path / "app", APP)
    assert resolve(directory=root, name="v1.10.0_rc-1")["name"] == "v1.10.0_rc-1"


@pytest.mark.parametrize("suffix", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_every_format_gives_the_same_release(resolve, files, tmp_path, suffix):
    root = files(tmp_path / "app", {**APP, "run.sh": "#!"})
    (root / "run.sh").chmod(0o755)
    wanted = resolve(directory=root)
    path = tmp_path / "misnamed.txt"
    if suffix == "zip":
        members = [(str(p.relative_to(root)), p) for p in root.rglob("*") if not p.is_dir()]
        zipped(
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
    path = tar(tmp_path / "a.tar", [("d/a", "one"), ("d/b", member(tarfile.LNKTYPE, "./d/a"))])
    release = resolve(archive=path, strip_components=1)
    assert contents(release) == {"a": (0o644, "one"), "b": (0o644, "one")}


def test_metadata_of_macos_is_left_out_of_every_source(resolve, files, repository, tmp_path):
    metadata = ["__MACOSX/app/._x", "._app", "app/._x", "app/.DS_Store", "app/._static/x"]
    members = [("app/x", "1"), *((name, "2") for name in metadata)]
    packed = resolve(archive=tar(tmp_path / "a.tar", members), strip_components=1)
    assert list(contents(packed)) == ["x"]
    assert packed["warnings"] == [], "no second folder beside app was merged"
    zip_file = zipped(tmp_path / "a.zip", [(name, text, 0o100644) for name, text in members])
    assert resolve(archive=zip_file, strip_components=1)["digest"] == packed["digest"]
    directory = files(tmp_path / "source", dict(members))
    # A list of one's own replaces the default, and metadata is no part of a source all the same.
    assert resolve(directory=directory / "app", exclude=())["digest"] == packed["digest"]
    repository.commit(dict(members))
    assert resolve(git_repo=str(repository.path), subdirectory="app")["digest"] == packed["digest"]


def test_files_that_git_crypt_has_encrypted_are_told(resolve, files, tmp_path):
    secret = b"\0GITCRYPT\0" + bytes(range(64))
    (warning,) = resolve(directory=files(tmp_path / "app", {**APP, "config/secret.ini": secret}))["warnings"]
    assert "git-crypt" in warning and "config/secret.ini" in warning
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(tmp_path / "app", arcname=".")
    assert "git-crypt" in resolve(archive=path)["warnings"][0]


def test_merging_folders_is_told(resolve, tmp_path):
    path = tar(tmp_path / "a.tar", [("one/x", "1"), ("two/y", "2")])
    release = resolve(archive=path, strip_components=1)
    assert list(contents(release)) == ["x", "y"]
    assert release["warnings"] == ["release_strip_components: 1 merges 2 different folders into one (one, two)."]


def test_subdirectory(resolve, files, tmp_path):
    root = files(tmp_path / "mono", {f"apps/web/{name}": content for name, content in APP.items()})
    files(root, {"apps/api/x.py": ""}, NOON + 3600)
    release = resolve(directory=root, subdirectory="apps/web")
    assert release["name"].startswith("2026-04-21-120000-")
    assert release["files"] == 4
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(root, arcname="mono-1.0")
    packed = resolve(archive=tmp_path / "a.tar", strip_components=1, subdirectory="apps/web/")
    assert packed["sha256"] == release["sha256"]


def test_requirements_with_includes(resolve, files, tmp_path):
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


def test_lfs_pointers_are_told(resolve, files, tmp_path):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (warning,) = resolve(directory=files(tmp_path / "app", {**APP, "logo.png": pointer}))["warnings"]
    assert "LFS" in warning
    assert "logo.png" in warning


def test_long_and_foreign_names_survive(resolve, files, tmp_path):
    name = "/".join(["lang" * 30] * 3) + "/grüße 日本.txt"
    assert contents(resolve(directory=files(tmp_path / "app", {name: "x"})))[name] == (0o644, "x")


def test_a_file_that_grows_is_refused(tmp_path):
    path = tmp_path / "a"
    path.write_text("longer than it was")
    entry = _tree.Entry("a", "file", size=3, open=lambda: path.open("rb"))
    with pytest.raises(SourceError, match='"a" changed while it was read'):
        _tree.pack(_tree.plant("release_directory: /x", [entry]), tmp_path / "out", 0)
    path.write_text("x")
    with pytest.raises(SourceError, match='cannot pack "a"'):
        _tree.pack(_tree.plant("release_directory: /x", [entry]), tmp_path / "out", 0)


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
def test_excluded(path, pattern, expected):
    assert excluded(path, [pattern], is_directory=False) is expected


def test_excluded_within():
    assert excluded_within("node_modules/a/b.js", ["node_modules/"])
    assert excluded_within("a/cache/", ["cache/"])
    assert not excluded_within("a/cache", ["cache/"])


def test_release_name():
    assert _source.release_name(NOON, "1a2b3c4d") == "2026-04-21-120000-1a2b3c4"

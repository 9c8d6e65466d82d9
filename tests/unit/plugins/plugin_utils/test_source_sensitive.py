# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release should not hold: found, told, left out or refused, whatever the source."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.plugin_utils._tree import SourceError

SECRET = "plantedsecret"
APP = {"wsgi.py": "app = 1\n", "README": "read me\n"}
# Split, so that this file is no key itself.
KEY = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nx\n"

FOUND = {
    ".env": SECRET,
    ".env.production": SECRET,
    "config/.env": SECRET,
    ".netrc": SECRET,
    "tls/server.key": KEY,
    "tls/server.pem": KEY.replace("PRIVATE", "RSA PRIVATE"),
    "tls/both.crt": CERTIFICATE * 1000 + KEY.replace("PRIVATE", "EC PRIVATE"),
    "tls/UPPER.PEM": KEY.replace("PRIVATE", "ENCRYPTED PRIVATE"),
    "tls/store.p12": b"\x30\x82",
    "keys/id_ed25519": KEY.replace("PRIVATE", "OPENSSH PRIVATE"),
    "keys/deploy": KEY,
    "keys/signing.key": f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n{SECRET}\n",
    "keys/putty.ppk": f"PuTTY-User-Key-File-3: ssh-ed25519\n{SECRET}\n",
}
LEFT = {
    ".env.example": "SECRET_KEY=change me",
    ".env.production.sample": "",
    ".flaskenv": "FLASK_APP=wsgi",
    "environment.env.py": "",
    "tls/chain.pem": CERTIFICATE,
    "tls/public.key": "-----BEGIN PUBLIC KEY-----\nx\n",
    "keys/id_ed25519.pub": "ssh-ed25519 AAAA",
    "id_generator.py": "def make(): ...\n",
    # A text about keys is no key.
    "docs/keys.md": KEY,
    "env": "",
}


@pytest.mark.parametrize("path", FOUND)
def test_found(resolve, files, tmp_path, path):
    app = files(tmp_path / "app", {**APP, path: FOUND[path]})
    (warning,) = resolve(directory=app, exclude=())["warnings"]
    assert warning.startswith(f"release_directory: {app} holds what looks like secrets or a history ({path})")
    assert "release_sensitive_files to drop, refuse or ignore" in warning
    assert SECRET not in warning


@pytest.mark.parametrize("path", LEFT)
def test_left_alone(resolve, files, tmp_path, path):
    app = files(tmp_path / "app", {**APP, path: LEFT[path]})
    assert resolve(directory=app, exclude=(), sensitive_files="refuse")["warnings"] == []


HISTORY = {".git/config": f"url = https://u:{SECRET}@example.com", ".git/objects/aa/bb": "x", "lib/.git/HEAD": "x"}


def as_directory(files, tmp_path: Path, content: dict, repository) -> dict:
    return {"directory": files(tmp_path / "app", content), "exclude": ()}


def as_tar(files, tmp_path: Path, content: dict, repository) -> dict:
    root = files(tmp_path / "tree", content)
    with tarfile.open(tmp_path / "app.tar.gz", "w:gz") as archive:
        archive.add(root, ".")
    return {"archive": tmp_path / "app.tar.gz"}


def as_zip(files, tmp_path: Path, content: dict, repository) -> dict:
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        for name, text in content.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 4, 21, 12, 0, 0)), text)
    return {"archive": tmp_path / "app.zip"}


def as_git(files, tmp_path: Path, content: dict, repository) -> dict:
    repository.commit(content)
    return {"git_repo": repository.path}


SOURCES = {"directory": as_directory, "tar": as_tar, "zip": as_zip, "git": as_git}
by_source = pytest.mark.parametrize("source", SOURCES)


def content(source: str) -> dict:
    # Git itself takes no .git into a commit.
    return {**APP, **FOUND, **({} if source == "git" else HISTORY)}


def names(release: dict) -> list[str]:
    with tarfile.open(release["archive"]) as archive:
        return [info.name for info in archive if not info.isdir()]


@by_source
def test_default_is_a_warning_with_a_handful_of_names(resolve, files, tmp_path, repository, source):
    given = SOURCES[source](files, tmp_path, content(source), repository)
    release = resolve(**given)
    assert ".env" in names(release)
    assert release["dropped"] == []
    (warning,) = release["warnings"]
    count = len(FOUND) + (0 if source == "git" else 2)
    assert warning.count(", ") == 4 + 2, "five names, and two commas of the sentence"
    assert f"and {count - 5} more)" in warning
    assert SECRET not in warning


@by_source
def test_drop_leaves_them_out_and_gives_the_same_release_each_time(resolve, files, tmp_path, repository, source):
    given = SOURCES[source](files, tmp_path, content(source), repository)
    whole = resolve(**given, sensitive_files="ignore")
    release = resolve(**given, sensitive_files="drop")
    assert release["warnings"] == whole["warnings"] == []
    assert release["dropped"] == sorted([*FOUND, *([] if source == "git" else [".git/", "lib/.git/"])])
    assert names(release) == sorted(APP)
    assert release["digest"] != whole["digest"]
    assert release["name"] != whole["name"]
    again = resolve("another run", **given, sensitive_files="drop")
    assert [again[key] for key in ("name", "digest", "sha256")] == [
        release[key] for key in ("name", "digest", "sha256")
    ]


@by_source
def test_refuse(resolve, files, tmp_path, repository, source):
    given = SOURCES[source](files, tmp_path, content(source), repository)
    with pytest.raises(SourceError) as refusal:
        resolve(**given, sensitive_files="refuse")
    message = str(refusal.value)
    said = ["release_sensitive_files: refuse is set", ".env, .env.production", " more)", "set drop"]
    assert [word for word in said if word not in message] == []
    assert SECRET not in message


def test_by_default_a_directory_leaves_env_and_git_out_before(resolve, files, tmp_path):
    app = files(tmp_path / "app", {**APP, ".env": SECRET, ".git/config": SECRET})
    release = resolve(directory=app, sensitive_files="refuse")
    assert names(release) == sorted(APP)


def test_a_source_of_nothing_else_is_empty(resolve, files, tmp_path):
    app = files(tmp_path / "app", {".env.production": SECRET})
    with pytest.raises(SourceError, match="is empty; a release needs at least one file"):
        resolve(directory=app, sensitive_files="drop")


def test_a_requirement_file_is_not_dropped_silently(resolve, files, tmp_path):
    app = files(tmp_path / "app", {**APP, ".env.txt": "flask\n"})
    with pytest.raises(SourceError, match=r'venv_requirements: ".env.txt", is not in'):
        resolve(directory=app, sensitive_files="drop", requirements=(".env.txt",))


def test_refused_choice(resolve):
    with pytest.raises(
        SourceError, match='release_sensitive_files: "allow" is not accepted; set warn, drop, refuse or'
    ):
        resolve(directory="/nowhere", sensitive_files="allow")


def test_links_are_left_alone(resolve, files, tmp_path):
    """A link holds no secret; what it leads to inside the release is looked at under its own name."""
    app = files(tmp_path / "app", {**APP, ".env": ("link", "README")})
    assert resolve(directory=app, exclude=(), sensitive_files="refuse")["files"] == 3

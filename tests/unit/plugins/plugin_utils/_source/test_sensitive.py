# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sensitive files in all kinds of sources: warn, drop, refuse and ignore."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.plugin_utils._source.tree import SourceError

SECRET = "plantedsecret"
APP = {"wsgi.py": "app = 1\n", "README": "read me\n"}
# Split, so that this file does not look like a key.
KEY = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nx\n"

SENSITIVE = {
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
HARMLESS = {
    ".env.example": "SECRET_KEY=change me",
    ".env.production.sample": "",
    ".flaskenv": "FLASK_APP=wsgi",
    "environment.env.py": "",
    "tls/chain.pem": CERTIFICATE,
    "tls/public.key": "-----BEGIN PUBLIC KEY-----\nx\n",
    "keys/id_ed25519.pub": "ssh-ed25519 AAAA",
    "id_generator.py": "def make(): ...\n",
    # A text about keys is not a key.
    "docs/keys.md": KEY,
    "env": "",
}


@pytest.mark.parametrize("path", SENSITIVE)
def test_sensitive_files_cause_a_warning(resolve, files, tmp_path, path):
    app = files(tmp_path / "app", {**APP, path: SENSITIVE[path]})
    (warning,) = resolve(directory=app, exclude=())["warnings"]
    assert warning.startswith(f"release_directory: {app} holds files that look like secrets or a history ({path})")
    assert "release_sensitive_files to drop, refuse or ignore" in warning
    assert SECRET not in warning


@pytest.mark.parametrize("path", HARMLESS)
def test_harmless_files_are_accepted(resolve, files, tmp_path, path):
    app = files(tmp_path / "app", {**APP, path: HARMLESS[path]})
    assert resolve(directory=app, exclude=(), sensitive_files="refuse")["warnings"] == []


HISTORY = {".git/config": f"url = https://u:{SECRET}@example.com", ".git/objects/aa/bb": "x", "lib/.git/HEAD": "x"}


def make_directory(files, tmp_path: Path, content: dict, repository) -> dict:
    return {"directory": files(tmp_path / "app", content), "exclude": ()}


def make_tar(files, tmp_path: Path, content: dict, repository) -> dict:
    root = files(tmp_path / "tree", content)
    with tarfile.open(tmp_path / "app.tar.gz", "w:gz") as archive:
        archive.add(root, ".")
    return {"archive": tmp_path / "app.tar.gz"}


def make_zip(files, tmp_path: Path, content: dict, repository) -> dict:
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        for name, text in content.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 4, 21, 12, 0, 0)), text)
    return {"archive": tmp_path / "app.zip"}


def make_repository(files, tmp_path: Path, content: dict, repository) -> dict:
    repository.commit(content)
    return {"git_repo": repository.path}


SOURCES = {"directory": make_directory, "tar": make_tar, "zip": make_zip, "git": make_repository}
for_each_source = pytest.mark.parametrize("source", SOURCES)


def make_content(source: str) -> dict:
    # git does not add .git to a commit.
    return {**APP, **SENSITIVE, **({} if source == "git" else HISTORY)}


def list_names(release: dict) -> list[str]:
    with tarfile.open(release["archive"]) as archive:
        return [info.name for info in archive if not info.isdir()]


@for_each_source
def test_warning_names_five_paths_by_default(resolve, files, tmp_path, repository, source):
    given = SOURCES[source](files, tmp_path, make_content(source), repository)
    release = resolve(**given)
    assert ".env" in list_names(release)
    assert release["dropped"] == []
    (warning,) = release["warnings"]
    count = len(SENSITIVE) + (0 if source == "git" else 2)
    assert warning.count(", ") == 4 + 2, "five names, and two commas of the sentence"
    assert f"and {count - 5} more)" in warning
    assert SECRET not in warning


@for_each_source
def test_drop_removes_files_and_gives_a_reproducible_release(resolve, files, tmp_path, repository, source):
    given = SOURCES[source](files, tmp_path, make_content(source), repository)
    whole = resolve(**given, sensitive_files="ignore")
    release = resolve(**given, sensitive_files="drop")
    assert release["warnings"] == whole["warnings"] == []
    assert release["dropped"] == sorted([*SENSITIVE, *([] if source == "git" else [".git/", "lib/.git/"])])
    assert list_names(release) == sorted(APP)
    assert release["digest"] != whole["digest"]
    assert release["name"] != whole["name"]
    again = resolve("another run", **given, sensitive_files="drop")
    assert [again[key] for key in ("name", "digest", "sha256")] == [
        release[key] for key in ("name", "digest", "sha256")
    ]


@for_each_source
def test_refuse_rejects_the_source(resolve, files, tmp_path, repository, source):
    given = SOURCES[source](files, tmp_path, make_content(source), repository)
    with pytest.raises(SourceError) as refusal:
        resolve(**given, sensitive_files="refuse")
    message = str(refusal.value)
    expected = ["release_sensitive_files: refuse is set", ".env, .env.production", " more)", "set drop"]
    assert [word for word in expected if word not in message] == []
    assert SECRET not in message


def test_default_exclude_removes_env_and_git_first(resolve, files, tmp_path):
    app = files(tmp_path / "app", {**APP, ".env": SECRET, ".git/config": SECRET})
    release = resolve(directory=app, sensitive_files="refuse")
    assert list_names(release) == sorted(APP)


def test_source_of_sensitive_files_only_is_empty(resolve, files, tmp_path):
    app = files(tmp_path / "app", {".env.production": SECRET})
    with pytest.raises(SourceError, match="is empty; a release needs at least one file"):
        resolve(directory=app, sensitive_files="drop")


def test_dropped_requirement_file_is_reported(resolve, files, tmp_path):
    app = files(tmp_path / "app", {**APP, ".env.txt": "flask\n"})
    with pytest.raises(SourceError, match=r'venv_requirements: ".env.txt" is not in'):
        resolve(directory=app, sensitive_files="drop", requirements=(".env.txt",))


def test_unknown_choice_is_rejected(resolve):
    with pytest.raises(
        SourceError, match='release_sensitive_files: "allow" is not accepted; set warn, drop, refuse or'
    ):
        resolve(directory="/nowhere", sensitive_files="allow")


def test_links_are_accepted(resolve, files, tmp_path):
    """A link holds no secret. Its target in the release is checked under its own name."""
    app = files(tmp_path / "app", {**APP, ".env": ("link", "README")})
    assert resolve(directory=app, exclude=(), sensitive_files="refuse")["files"] == 3

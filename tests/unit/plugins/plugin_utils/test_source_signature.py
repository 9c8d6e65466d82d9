# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures of archives, commits and tags: real keys, and the tools that a controller has."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.plugin_utils import _archive
from ansible_collections.flaskops.production.plugins.plugin_utils._tree import SourceError
from ansible_collections.flaskops.production.tests.unit.programs import require

# Their keys take seconds.
pytestmark = pytest.mark.xdist_group("signatures")

TOOLS = ("minisign", "gpg", "gpgv", "ssh-keygen", "git")
APP = {"wsgi.py": "app = 1\n"}


def call(*command, **environment) -> bytes:
    require(command[0])
    done = subprocess.run(
        command, check=False, env={**os.environ, **environment}, capture_output=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


class Keys:
    """Of each kind a signer whom we know and a stranger, and in OpenPGP one whose key is expired and one revoked.

    The keys of a kind are made when a test asks for one of them, so that only this test needs their program.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.gnupg = place / "gnupg"
        self.gnupg.mkdir(mode=0o700)

    @functools.cached_property
    def minisign(self) -> Path:
        """The directory of <name>.pub and <name>.key."""
        for name in ("signer", "stranger"):
            call("minisign", "-G", "-W", "-p", self.place / f"{name}.pub", "-s", self.place / f"{name}.key")
        return self.place

    @functools.cached_property
    def ssh(self) -> Path:
        """The directory of <name>.ssh and <name>.signers."""
        for name in ("signer", "stranger"):
            call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", self.place / f"{name}.ssh")
            public = (self.place / f"{name}.ssh.pub").read_text()
            (self.place / f"{name}.signers").write_text(f'{name}@example.org namespaces="git" {public}')
        return self.place

    @functools.cached_property
    def openpgp(self) -> Path:
        """The directory of <name>.gpg and <name>.asc, beside the keyring of GnuPG."""
        require("gpg", "gpg-agent", "gpgv")
        for name in ("signer", "stranger", "expired", "revoked"):
            self.gpg("--quick-gen-key", f"{name}@example.org", "ed25519", "sign", "never")
            self.export(name)
        return self.place

    def gpg(self, *arguments) -> bytes:
        options = ("--batch", "--yes", "--no-tty", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback")
        return call("gpg", *options, *arguments, GNUPGHOME=str(self.gnupg))

    def export(self, name: str) -> None:
        for suffix, option in (("gpg", "--no-armor"), ("asc", "--armor")):
            (self.place / f"{name}.{suffix}").write_bytes(self.gpg(option, "--export", f"{name}@example.org"))

    def withdraw(self, name: str) -> None:
        """Let a key expire, or revoke it, after it has signed what it was to sign."""
        listed = self.gpg("--with-colons", "--list-keys", f"{name}@example.org").decode()
        fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))
        if name == "expired":
            self.gpg("--quick-set-expire", fingerprint, "seconds=1")
            time.sleep(2)
        else:
            # GnuPG keeps it from being imported by accident.
            kept = (self.gnupg / f"openpgp-revocs.d/{fingerprint}.rev").read_text()
            certificate = self.place / "revocation"
            certificate.write_text(kept.replace(":-----BEGIN", "-----BEGIN"))
            self.gpg("--import", certificate)
        self.export(name)

    def sign(self, tool: str, name: str, path: Path) -> Path:
        signature = path.with_name(f"{path.name}.{name}.{tool}")
        if tool == "minisign":
            call("minisign", "-S", "-s", self.minisign / f"{name}.key", "-m", path, "-x", signature)
        else:
            armor = "--armor" if tool == "asc" else "--no-armor"
            assert self.openpgp
            self.gpg(armor, "--local-user", f"{name}@example.org", "--output", signature, "--detach-sign", path)
        return signature

    def git(self, tool: str, name: str) -> list[str]:
        """Options of git that sign."""
        if tool == "ssh":
            return ["-c", "gpg.format=ssh", "-c", f"user.signingkey={self.ssh / name}.ssh"]
        assert self.openpgp
        return ["-c", f"user.signingkey={name}@example.org"]


@pytest.fixture(scope="session")
def keys():
    # The agent's socket needs a short path.
    with tempfile.TemporaryDirectory(prefix="keys-", dir="/tmp") as place:
        made = Keys(Path(place))
        try:
            yield made
        finally:
            if "openpgp" in vars(made):
                call("gpgconf", "--kill", "all", GNUPGHOME=str(made.gnupg))


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "app.tar"
    (tmp_path / "wsgi.py").write_text("app = 1\n")
    with tarfile.open(path, "w") as tar:
        tar.add(tmp_path / "wsgi.py", "wsgi.py")
    return path


@pytest.fixture
def opened(monkeypatch):
    """The archives that were opened."""
    seen = []

    def read(label, path, work):
        seen.append(path)
        return reading(label, path, work)

    reading = _archive.read_archive
    monkeypatch.setattr(_archive, "read_archive", read)
    return seen


@pytest.fixture
def served(tmp_path):
    """The URL of tmp_path."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """A user whose own GnuPG and git accept the stranger, whom nobody else has asked to sign."""

    def befriend(keys: Keys, tool: str) -> None:
        home = tmp_path / "home"
        home.mkdir()
        config = home / "config"
        config.write_text("[gpg]\n program = true\n")
        if tool == "ssh":
            config.write_text(f"{config.read_text()}[gpg.ssh]\n allowedSignersFile = {keys.ssh}/stranger.signers\n")
        elif tool != "minisign":
            (home / ".gnupg").mkdir(mode=0o700)
            options = ("--batch", "--quiet", "--no-autostart")
            call("gpg", *options, "--import", keys.openpgp / "stranger.asc", GNUPGHOME=str(home / ".gnupg"))
            shutil.copy(keys.openpgp / "stranger.gpg", home / ".gnupg/trustedkeys.gpg")
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.delenv("GNUPGHOME", raising=False)
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
        monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
        monkeypatch.setenv("GIT_CONFIG_KEY_0", "gpg.program")
        monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")

    return befriend


# Archives


def key_of(keys: Keys, tool: str, name: str) -> dict:
    """The settings that make `name` the signer whom we know."""
    if tool == "key text":
        return {"archive_minisign_key": (keys.minisign / f"{name}.pub").read_text().splitlines()[1]}
    if tool == "minisign":
        return {"archive_minisign_key": str(keys.minisign / f"{name}.pub")}
    return {"archive_gpg_keyring": str(keys.openpgp / f"{name}.{tool}")}


ARCHIVE_TOOLS = {"minisign": "minisign", "key text": "minisign", "gpg": "gpg", "asc": "asc"}
by_tool = pytest.mark.parametrize(("accepted", "tool"), ARCHIVE_TOOLS.items(), ids=ARCHIVE_TOOLS)


@by_tool
@pytest.mark.parametrize("remote", [False, True], ids=["path", "URL"])
def test_a_signed_archive_is_accepted(resolve, keys, archive, served, alone, accepted, tool, remote):
    signature = keys.sign(tool, "signer", archive)
    alone(keys, tool)
    wanted = key_of(keys, accepted, "signer")
    plain = resolve(archive=archive)
    if remote:
        # What signs needs no checksum.
        release = resolve(
            archive=f"{served}/{archive.name}", archive_signature=f"{served}/{signature.name}?token=x", **wanted
        )
    else:
        release = resolve(archive=archive, archive_signature=str(signature), **wanted)
    assert (release["name"], release["sha256"]) == (plain["name"], plain["sha256"])


def changed(path: Path) -> None:
    """One bit of a file's content, such that the archive still can be read."""
    content = bytearray(path.read_bytes())
    place = content.index(b"app = 1") if b"app = 1" in content else len(content) * 2 // 3
    content[place] ^= 1
    path.write_bytes(content)


def garbage(path: Path) -> None:
    path.write_text("no signature\n")


ARCHIVE_FAULTS = {
    "archive changed": (lambda archive, signature: changed(archive), "signer", "signer"),
    "signature changed": (lambda archive, signature: changed(signature), "signer", "signer"),
    "no signature": (lambda archive, signature: garbage(signature), "signer", "signer"),
    "empty signature": (lambda archive, signature: signature.write_bytes(b""), "signer", "signer"),
    "signed by a stranger": (lambda archive, signature: None, "stranger", "signer"),
    "another key": (lambda archive, signature: None, "signer", "stranger"),
}


@by_tool
@pytest.mark.parametrize(("change", "signer", "known"), ARCHIVE_FAULTS.values(), ids=ARCHIVE_FAULTS)
def test_refused_archive(resolve, keys, archive, alone, opened, accepted, tool, change, signer, known):
    signature = keys.sign(tool, signer, archive)
    change(archive, signature)
    if known == "signer":
        # With the signer's key as the user's own, "another key" could not fail.
        alone(keys, tool)
    with pytest.raises(SourceError) as refusal:
        resolve(archive=archive, archive_signature=str(signature), **key_of(keys, accepted, known))
    message = str(refusal.value)
    said = [f"release_archive_signature: {signature}", str(archive), "accepts (", "correct the key"]
    said.append("release_archive_minisign_key" if tool == "minisign" else "release_archive_gpg_keyring")
    assert [word for word in said if word not in message] == []
    assert opened == []


def test_refused_archive_behind_a_url(resolve, keys, archive, served, opened):
    """What the server gives out is checked, whatever it says, and the key of its URL is not shown."""
    signature = keys.sign("minisign", "signer", archive)
    changed(archive)
    url = served.replace("//", "//bob:hunter22@")
    with pytest.raises(SourceError) as refusal:
        resolve(
            archive=f"{url}/{archive.name}?key=abcdef",
            archive_signature=f"{url}/{signature.name}?key=abcdef",
            **key_of(keys, "minisign", "signer"),
        )
    message = str(refusal.value)
    assert f"{served}/{signature.name} is no signature of {served}/{archive.name}" in message
    assert [secret for secret in ("bob", "hunter22", "abcdef") if secret in message] == []
    assert opened == []


def test_an_archive_with_another_checksum_is_not_opened(resolve, archive, opened):
    with pytest.raises(SourceError, match="release_archive_checksum"):
        resolve(archive=archive, archive_checksum="0" * 64)
    assert opened == []


def test_the_archive_that_was_checked_is_the_one_that_is_read(resolve, keys, archive, monkeypatch):
    """Somebody who may write to its directory replaces it after the check."""
    signature = keys.sign("minisign", "signer", archive)
    plain = resolve(archive=archive)
    reading = _archive.read_archive

    def read(label, path, work):
        changed(archive)
        return reading(label, path, work)

    monkeypatch.setattr(_archive, "read_archive", read)
    release = resolve(archive=archive, archive_signature=str(signature), **key_of(keys, "minisign", "signer"))
    assert release["digest"] == plain["digest"]


def test_the_copy_that_was_checked_is_not_kept(resolve, keys, archive, tmp_path):
    signature = keys.sign("minisign", "signer", archive)
    resolve(archive=archive, archive_signature=str(signature), **key_of(keys, "minisign", "signer"))
    assert [path.name for path in (tmp_path / "run").glob("*/work/*")] == ["release.tar.gz"]


@pytest.mark.parametrize("name", ["expired", "revoked"])
def test_refused_withdrawn_key(resolve, repository, keys, archive, opened, name):
    """An archive, and a commit, that the key had signed before."""
    signature = keys.sign("gpg", name, archive)
    keyring = str(keys.openpgp / f"{name}.gpg")
    commit = signed_commit(repository, keys, "gpg", name)
    assert resolve("before", archive=archive, archive_signature=str(signature), archive_gpg_keyring=keyring)
    assert resolve("before", git_repo=repository.path, git_verify="commit", git_gpg_keyring=keyring)
    keys.withdraw(name)
    with pytest.raises(SourceError, match=rf"release_archive_signature: .*its key [0-9A-F]+ is {name}"):
        resolve(archive=archive, archive_signature=str(signature), archive_gpg_keyring=keyring)
    with pytest.raises(SourceError, match=rf"release_git_verify: .*{commit[:7]}.*its key [0-9A-F]+ is {name}"):
        resolve(git_repo=repository.path, git_verify="commit", git_gpg_keyring=keyring)
    assert len(opened) == 2, "those before"


# Commits and tags


def signed_commit(repository, keys: Keys, tool: str, name: str) -> str:
    os.environ["GNUPGHOME"] = str(keys.gnupg)
    try:
        repository.commit(APP)
        repository.run(*keys.git(tool, name), "commit", "--quiet", "--amend", "--no-edit", "--gpg-sign")
    finally:
        del os.environ["GNUPGHOME"]
    return repository.run("rev-parse", "HEAD")


def signed_tag(repository, keys: Keys, tool: str, name: str, tag: str) -> None:
    os.environ["GNUPGHOME"] = str(keys.gnupg)
    try:
        repository.run(*keys.git(tool, name), "tag", "--sign", "--message=x", tag)
    finally:
        del os.environ["GNUPGHOME"]


def signers(keys: Keys, tool: str, name: str) -> dict:
    if tool == "ssh":
        return {"git_allowed_signers": str(keys.ssh / f"{name}.signers")}
    return {"git_gpg_keyring": str(keys.openpgp / f"{name}.{tool}")}


GIT_TOOLS = ("ssh", "gpg", "asc")


@pytest.mark.parametrize("tool", GIT_TOOLS)
def test_a_signed_commit_is_accepted(resolve, repository, keys, alone, tool):
    commit = signed_commit(repository, keys, tool, "signer")
    alone(keys, tool)
    for ref in ("HEAD", "main", commit, commit[:8]):
        release = resolve(git_repo=repository.path, git_ref=ref, git_verify="commit", **signers(keys, tool, "signer"))
        assert release["source"]["revision"] == commit
    both = {**signers(keys, "ssh", "signer"), **signers(keys, "gpg", "signer")}
    assert resolve("both", git_repo=repository.path, git_verify="commit", **both)["source"]["revision"] == commit


@pytest.mark.parametrize("tool", GIT_TOOLS)
def test_a_signed_tag_is_accepted(resolve, repository, keys, alone, tool):
    commit = repository.commit(APP)
    signed_tag(repository, keys, tool, "signer", "v1")
    alone(keys, tool)
    for ref in ("v1", "refs/tags/v1", "tags/v1"):
        release = resolve(git_repo=repository.path, git_ref=ref, git_verify="tag", **signers(keys, tool, "signer"))
        assert release["source"]["revision"] == commit


@pytest.mark.parametrize("tool", GIT_TOOLS)
@pytest.mark.parametrize("kind", ["commit", "tag"])
def test_refused_signature_of_a_stranger(resolve, repository, keys, alone, opened, tool, kind):
    signed_commit(repository, keys, tool, "stranger")
    signed_tag(repository, keys, tool, "stranger", "v1")
    alone(keys, tool)
    with pytest.raises(SourceError) as refusal:
        resolve(git_repo=repository.path, git_ref="v1", git_verify=kind, **signers(keys, tool, "signer"))
    message = str(refusal.value)
    said = [f"release_git_verify: {kind}", "does not count", "not among them", str(repository.path), "v1", "signer."]
    assert [word for word in said if word not in message] == []
    assert opened == []


@pytest.mark.parametrize("tool", GIT_TOOLS)
@pytest.mark.parametrize("kind", ["commit", "tag"])
def test_refused_content_that_was_not_signed(resolve, repository, keys, opened, tool, kind):
    """The signature of one commit, or tag, under the content of another."""
    signed_commit(repository, keys, tool, "signer")
    signed_tag(repository, keys, tool, "signer", "v1")
    name = "HEAD" if kind == "commit" else "v1"
    content = repository.run("cat-file", kind, name)
    forged = content.replace("a@example.com", "b@example.com")
    assert forged != content
    command = ["git", "-C", repository.path, "hash-object", "-t", kind, "-w", "--stdin"]
    done = subprocess.run(command, input=f"{forged}\n".encode(), capture_output=True, check=True)
    where = "refs/heads/main" if kind == "commit" else "refs/tags/v1"
    repository.run("update-ref", where, done.stdout.decode().strip())
    with pytest.raises(SourceError) as refusal:
        resolve(git_repo=repository.path, git_ref=where, git_verify=kind, **signers(keys, tool, "signer"))
    assert "it is the signature of something else" in str(refusal.value)
    assert opened == []


@pytest.mark.parametrize("tool", GIT_TOOLS)
def test_refused_without_a_signature(resolve, repository, keys, opened, tool):
    """A commit on top of a signed one, an annotated tag, a tag of nothing but a name, and a branch."""
    signed_commit(repository, keys, tool, "signer")
    repository.commit({"second.py": ""})
    repository.run("tag", "--annotate", "--message=x", "v1")
    repository.run("tag", "v2")
    for kind, ref, said in (
        ("commit", "main", "is not signed; sign it"),
        ("tag", "v1", "is not signed; sign it"),
        ("tag", "v2", "is no annotated tag"),
        ("tag", "main", "is no annotated tag"),
    ):
        with pytest.raises(SourceError) as refusal:
            resolve(git_repo=repository.path, git_ref=ref, git_verify=kind, **signers(keys, tool, "signer"))
        assert f"release_git_verify: {kind}" in str(refusal.value)
        assert said in str(refusal.value)
    assert opened == []


@pytest.mark.parametrize("tool", GIT_TOOLS)
def test_refused_signature_of_another_kind(resolve, repository, keys, opened, tool):
    signed_commit(repository, keys, tool, "signer")
    other = signers(keys, "gpg" if tool == "ssh" else "ssh", "signer")
    with pytest.raises(SourceError, match="does not count"):
        resolve(git_repo=repository.path, git_verify="commit", **other)
    assert opened == []


def test_refused_old_tag_under_a_new_name(resolve, repository, keys, opened):
    """Who holds the server has no key, but an old tag that is signed."""
    repository.commit(APP)
    signed_tag(repository, keys, "ssh", "signer", "v1")
    repository.run("update-ref", "refs/tags/v2", "refs/tags/v1")
    with pytest.raises(SourceError, match='the tag "v2" was signed as "v1"'):
        resolve(git_repo=repository.path, git_ref="v2", git_verify="tag", **signers(keys, "ssh", "signer"))
    assert opened == []


# Settings


MISSING_TOOLS = {
    "minisign": ("minisign", "release_archive_minisign_key", "minisign"),
    "gpgv": ("gpg", "release_archive_gpg_keyring", "gpgv"),
    "gpg": ("gpg", "release_git_gpg_keyring", "gpg"),
    "ssh-keygen": ("ssh", "release_git_allowed_signers", "openssh-client"),
}


@pytest.mark.parametrize("missing", MISSING_TOOLS)
def test_refused_without_the_tool(resolve, repository, keys, archive, tmp_path, monkeypatch, missing):
    tool, variable, package = MISSING_TOOLS[missing]
    repository.commit(APP)
    signature = "" if "git" in variable else str(keys.sign(tool, "signer", archive))
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in TOOLS:
        if name != missing and shutil.which(name):
            (programs / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(SourceError) as refusal:
        if signature:
            resolve(archive=archive, archive_signature=signature, **key_of(keys, tool, "signer"))
        else:
            resolve(git_repo=repository.path, git_verify="commit", **signers(keys, tool, "signer"))
    wanted = f"{variable}: the command {missing} is missing on the controller; install it there (on Debian, the package"
    assert str(refusal.value) == f"{wanted} {package})."


SIGNATURE = {"archive": "/a", "archive_signature": "/s"}
KEY = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"
REQUESTS = {
    "signature without a key": (SIGNATURE, ["release_archive_signature: /s", "none of them is set", "exactly one"]),
    "signature with two keys": (
        {**SIGNATURE, "archive_minisign_key": KEY, "archive_gpg_keyring": "/k"},
        ["release_archive_signature: /s", "both of them are set", "exactly one"],
    ),
    "key without a signature": (
        {
            "archive": "https://u:secret@example.com/a.tgz?secret",
            "archive_minisign_key": KEY,
            "archive_checksum": "0" * 64,
        },
        ["release_archive_signature: not set", "release_archive_minisign_key", "https://example.com/a.tgz.minisig"],
    ),
    "keyring without a signature": (
        {"archive": "/a.tgz", "archive_gpg_keyring": "/k"},
        ["release_archive_signature: not set", "release_archive_gpg_keyring", "/a.tgz.asc"],
    ),
    "signature of a directory": (
        {"directory": "/d", "archive_signature": "https://u:secret@example.com/s?secret"},
        ["release_archive_signature: https://example.com/s", "only release_archive"],
    ),
    "signature over ftp": (
        {"archive": "/a", "archive_signature": "ftp://example.com/s", "archive_minisign_key": KEY},
        ["release_archive_signature: ftp://example.com/s", "https"],
    ),
    "signature missing": (
        {"archive": "/a", "archive_signature": "/nowhere/s", "archive_minisign_key": KEY},
        ["release_archive_signature: /nowhere/s does not exist", "a detached signature"],
    ),
    "minisign key that is none": (
        {"archive": "/a", "archive_signature": "/dev/null", "archive_minisign_key": "RWabc"},
        ["release_archive_signature: /dev/null is not a file"],
    ),
    "verify a directory": (
        {"directory": "/d", "git_verify": "commit", "git_gpg_keyring": "/k"},
        ["release_git_verify: commit", "release_directory", "leave it empty"],
    ),
    "verify an archive": (
        {"archive": "/a", "git_verify": "tag", "git_gpg_keyring": "/k"},
        ["release_git_verify: tag", "release_archive", "release_archive_signature"],
    ),
    "verify without keys": (
        {"git_repo": "/g", "git_verify": "commit"},
        ["release_git_verify: commit", "release_git_gpg_keyring or release_git_allowed_signers"],
    ),
    "keys without a demand": (
        {"git_repo": "/g", "git_allowed_signers": "/k"},
        ["release_git_verify: not set", "release_git_allowed_signers", "commit or tag"],
    ),
    "keyring missing": (
        {"git_repo": "/g", "git_verify": "tag", "git_gpg_keyring": "/nowhere/k"},
        ["release_git_gpg_keyring: /nowhere/k does not exist", "gpg --export"],
    ),
    "signers missing": (
        {"git_repo": "/g", "git_verify": "tag", "git_allowed_signers": "/nowhere/k"},
        ["release_git_allowed_signers: /nowhere/k does not exist", "ssh-keygen"],
    ),
}


@pytest.mark.parametrize(("values", "said"), REQUESTS.values(), ids=REQUESTS)
def test_refused_settings(resolve, values, said):
    with pytest.raises(SourceError) as refusal:
        resolve(**values)
    message = str(refusal.value)
    assert [word for word in said if word not in message] == []
    assert "secret" not in message


def test_refused_key_that_is_neither_text_nor_file(resolve, archive, keys):
    signature = keys.sign("minisign", "signer", archive)
    with pytest.raises(
        SourceError, match="release_archive_minisign_key: RWabc does not exist; accepted is a public key"
    ):
        resolve(archive=archive, archive_signature=str(signature), archive_minisign_key="RWabc")


KEYRINGS = {
    "text": b"no key\n",
    "nothing": b"",
    "armor of nothing": b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n-----END PGP PUBLIC KEY BLOCK-----\n",
    "armor that is damaged": b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!\n-----END PGP PUBLIC KEY BLOCK-----\n",
    "private key": b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlFg=\n-----END PGP PRIVATE KEY BLOCK-----\n",
}


@pytest.mark.parametrize("content", KEYRINGS.values(), ids=KEYRINGS)
def test_refused_keyring(resolve, keys, archive, tmp_path, opened, content):
    signature = keys.sign("gpg", "signer", archive)
    (tmp_path / "keyring").write_bytes(content)
    with pytest.raises(SourceError, match="release_archive_gpg_keyring: .* holds no public key; accepted is a file"):
        resolve(archive=archive, archive_signature=str(signature), archive_gpg_keyring=str(tmp_path / "keyring"))
    assert opened == []


def test_a_keybox_and_several_armored_keys_are_keyrings_too(resolve, keys, archive, tmp_path):
    signature = keys.sign("gpg", "signer", archive)
    several = tmp_path / "several.asc"
    several.write_bytes((keys.openpgp / "stranger.asc").read_bytes() + (keys.openpgp / "signer.asc").read_bytes())
    for keyring in (keys.gnupg / "pubring.kbx", several):
        assert resolve(archive=archive, archive_signature=str(signature), archive_gpg_keyring=str(keyring))

# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures of archives, commits and tags, with generated keys and the controller's tools."""

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

from ansible_collections.flaskops.production.plugins.plugin_utils._source import archive as archive_module
from ansible_collections.flaskops.production.plugins.plugin_utils._source.tree import SourceError
from ansible_collections.flaskops.production.tests.unit.programs import require

# The keys take seconds to generate.
pytestmark = pytest.mark.xdist_group("signatures")

TOOLS = ("minisign", "gpg", "gpgv", "ssh-keygen", "git")
APP = {"wsgi.py": "app = 1\n"}


def run_tool(*command, **environment) -> bytes:
    require(command[0])
    done = subprocess.run(
        command, check=False, env={**os.environ, **environment}, capture_output=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


class Keys:
    """Keys of each kind for a known signer and a stranger, and for OpenPGP an expired and a revoked key.

    The keys of a kind are generated on first use, so that only tests that use them need their program.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.gnupg = place / "gnupg"
        self.gnupg.mkdir(mode=0o700)

    @functools.cached_property
    def minisign(self) -> Path:
        """The directory of <name>.pub and <name>.key."""
        for name in ("signer", "stranger"):
            run_tool("minisign", "-G", "-W", "-p", self.place / f"{name}.pub", "-s", self.place / f"{name}.key")
        return self.place

    @functools.cached_property
    def ssh(self) -> Path:
        """The directory of <name>.ssh and <name>.signers."""
        for name in ("signer", "stranger"):
            run_tool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", self.place / f"{name}.ssh")
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
        return run_tool("gpg", *options, *arguments, GNUPGHOME=str(self.gnupg))

    def export(self, name: str) -> None:
        for suffix, option in (("gpg", "--no-armor"), ("asc", "--armor")):
            (self.place / f"{name}.{suffix}").write_bytes(self.gpg(option, "--export", f"{name}@example.org"))

    def invalidate(self, name: str) -> None:
        """Expire or revoke a key after it was used for signing."""
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
            run_tool("minisign", "-S", "-s", self.minisign / f"{name}.key", "-m", path, "-x", signature)
        else:
            armor = "--armor" if tool == "asc" else "--no-armor"
            assert self.openpgp
            self.gpg(armor, "--local-user", f"{name}@example.org", "--output", signature, "--detach-sign", path)
        return signature

    def git(self, tool: str, name: str) -> list[str]:
        """Return options of git for signing."""
        if tool == "ssh":
            return ["-c", "gpg.format=ssh", "-c", f"user.signingkey={self.ssh / name}.ssh"]
        assert self.openpgp
        return ["-c", f"user.signingkey={name}@example.org"]


@pytest.fixture(scope="session")
def keys():
    # The path of the agent's socket must be short.
    with tempfile.TemporaryDirectory(prefix="keys-", dir="/tmp") as place:
        made = Keys(Path(place))
        try:
            yield made
        finally:
            if "openpgp" in vars(made):
                run_tool("gpgconf", "--kill", "all", GNUPGHOME=str(made.gnupg))


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "app.tar"
    (tmp_path / "wsgi.py").write_text("app = 1\n")
    with tarfile.open(path, "w") as tar:
        tar.add(tmp_path / "wsgi.py", "wsgi.py")
    return path


@pytest.fixture
def opened_archives(monkeypatch):
    """Record the archives that are opened."""
    seen = []

    def read(label, path, work):
        seen.append(path)
        return original(label, path, work)

    original = archive_module.read_archive
    monkeypatch.setattr(archive_module, "read_archive", read)
    return seen


@pytest.fixture
def served(tmp_path):
    """Serve tmp_path, and return its URL."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def trust_stranger(monkeypatch, tmp_path):
    """Return a function that makes the user's own GnuPG and git configuration accept the stranger's key."""

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
            run_tool("gpg", *options, "--import", keys.openpgp / "stranger.asc", GNUPGHOME=str(home / ".gnupg"))
            shutil.copy(keys.openpgp / "stranger.gpg", home / ".gnupg/trustedkeys.gpg")
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.delenv("GNUPGHOME", raising=False)
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
        monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
        monkeypatch.setenv("GIT_CONFIG_KEY_0", "gpg.program")
        monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")

    return befriend


# Archives


def archive_settings(keys: Keys, tool: str, name: str) -> dict:
    """Return the settings that accept the key of `name`."""
    if tool == "key text":
        return {"archive_minisign_key": (keys.minisign / f"{name}.pub").read_text().splitlines()[1]}
    if tool == "minisign":
        return {"archive_minisign_key": str(keys.minisign / f"{name}.pub")}
    return {"archive_gpg_keyring": str(keys.openpgp / f"{name}.{tool}")}


ARCHIVE_TOOLS = {"minisign": "minisign", "key text": "minisign", "gpg": "gpg", "asc": "asc"}
by_tool = pytest.mark.parametrize(("accepted", "tool"), ARCHIVE_TOOLS.items(), ids=ARCHIVE_TOOLS)


@by_tool
@pytest.mark.parametrize("remote", [False, True], ids=["path", "URL"])
def test_signed_archive_is_accepted(resolve, keys, archive, served, trust_stranger, accepted, tool, remote):
    signature = keys.sign(tool, "signer", archive)
    trust_stranger(keys, tool)
    wanted = archive_settings(keys, accepted, "signer")
    plain = resolve(archive=archive)
    if remote:
        # A signed archive needs no checksum.
        release = resolve(
            archive=f"{served}/{archive.name}", archive_signature=f"{served}/{signature.name}?token=x", **wanted
        )
    else:
        release = resolve(archive=archive, archive_signature=str(signature), **wanted)
    assert (release["name"], release["sha256"]) == (plain["name"], plain["sha256"])


def change_one_bit(path: Path) -> None:
    """Change one bit of a file's content, so that the archive remains readable."""
    content = bytearray(path.read_bytes())
    place = content.index(b"app = 1") if b"app = 1" in content else len(content) * 2 // 3
    content[place] ^= 1
    path.write_bytes(content)


def write_garbage(path: Path) -> None:
    path.write_text("no signature\n")


REJECTED_ARCHIVES = {
    "archive changed": (lambda archive, signature: change_one_bit(archive), "signer", "signer"),
    "signature changed": (lambda archive, signature: change_one_bit(signature), "signer", "signer"),
    "no signature": (lambda archive, signature: write_garbage(signature), "signer", "signer"),
    "empty signature": (lambda archive, signature: signature.write_bytes(b""), "signer", "signer"),
    "signed by a stranger": (lambda archive, signature: None, "stranger", "signer"),
    "another key": (lambda archive, signature: None, "signer", "stranger"),
}


@by_tool
@pytest.mark.parametrize(("change", "signer", "known"), REJECTED_ARCHIVES.values(), ids=REJECTED_ARCHIVES)
def test_archives_with_wrong_signatures_are_rejected(
    resolve, keys, archive, trust_stranger, opened_archives, accepted, tool, change, signer, known
):
    signature = keys.sign(tool, signer, archive)
    change(archive, signature)
    if known == "signer":
        # The case "another key" must not pass because the user's own keyring holds the signer's key.
        trust_stranger(keys, tool)
    with pytest.raises(SourceError) as refusal:
        resolve(archive=archive, archive_signature=str(signature), **archive_settings(keys, accepted, known))
    message = str(refusal.value)
    expected = [f"release_archive_signature: {signature}", str(archive), "accepts (", "correct the key"]
    expected.append("release_archive_minisign_key" if tool == "minisign" else "release_archive_gpg_keyring")
    assert [word for word in expected if word not in message] == []
    assert opened_archives == []


def test_downloaded_archive_is_verified_and_credentials_are_not_shown(resolve, keys, archive, served, opened_archives):
    """The downloaded archive is verified, and the credentials of its URL are not shown."""
    signature = keys.sign("minisign", "signer", archive)
    change_one_bit(archive)
    url = served.replace("//", "//bob:hunter22@")
    with pytest.raises(SourceError) as refusal:
        resolve(
            archive=f"{url}/{archive.name}?key=abcdef",
            archive_signature=f"{url}/{signature.name}?key=abcdef",
            **archive_settings(keys, "minisign", "signer"),
        )
    message = str(refusal.value)
    assert f"{served}/{signature.name} is not a signature of {served}/{archive.name}" in message
    assert [secret for secret in ("bob", "hunter22", "abcdef") if secret in message] == []
    assert opened_archives == []


def test_archive_with_a_wrong_checksum_is_not_opened(resolve, archive, opened_archives):
    with pytest.raises(SourceError, match="release_archive_checksum"):
        resolve(archive=archive, archive_checksum="0" * 64)
    assert opened_archives == []


def test_archive_is_not_read_again_after_its_verification(resolve, keys, archive, monkeypatch):
    """Another user replaces the archive after its verification."""
    signature = keys.sign("minisign", "signer", archive)
    plain = resolve(archive=archive)
    original = archive_module.read_archive

    def read(label, path, work):
        change_one_bit(archive)
        return original(label, path, work)

    monkeypatch.setattr(archive_module, "read_archive", read)
    release = resolve(archive=archive, archive_signature=str(signature), **archive_settings(keys, "minisign", "signer"))
    assert release["digest"] == plain["digest"]


def test_verified_copy_is_removed(resolve, keys, archive, tmp_path):
    signature = keys.sign("minisign", "signer", archive)
    resolve(archive=archive, archive_signature=str(signature), **archive_settings(keys, "minisign", "signer"))
    assert [path.name for path in (tmp_path / "run").glob("*/work/*")] == ["release.tar.gz"]


@pytest.mark.parametrize("name", ["expired", "revoked"])
def test_expired_and_revoked_keys_are_rejected(resolve, repository, keys, archive, opened_archives, name):
    """The key signed an archive and a commit before it expired or was revoked."""
    signature = keys.sign("gpg", name, archive)
    keyring = str(keys.openpgp / f"{name}.gpg")
    commit = create_signed_commit(repository, keys, "gpg", name)
    assert resolve("before", archive=archive, archive_signature=str(signature), archive_gpg_keyring=keyring)
    assert resolve("before", git_repo=repository.path, git_verify="commit", git_gpg_keyring=keyring)
    keys.invalidate(name)
    with pytest.raises(SourceError, match=rf"release_archive_signature: .*its key [0-9A-F]+ is {name}"):
        resolve(archive=archive, archive_signature=str(signature), archive_gpg_keyring=keyring)
    with pytest.raises(SourceError, match=rf"release_git_verify: .*{commit[:7]}.*its key [0-9A-F]+ is {name}"):
        resolve(git_repo=repository.path, git_verify="commit", git_gpg_keyring=keyring)
    assert len(opened_archives) == 2, "only the archives before that"


# Commits and tags


def create_signed_commit(repository, keys: Keys, tool: str, name: str) -> str:
    os.environ["GNUPGHOME"] = str(keys.gnupg)
    try:
        repository.commit(APP)
        repository.run(*keys.git(tool, name), "commit", "--quiet", "--amend", "--no-edit", "--gpg-sign")
    finally:
        del os.environ["GNUPGHOME"]
    return repository.run("rev-parse", "HEAD")


def create_signed_tag(repository, keys: Keys, tool: str, name: str, tag: str) -> None:
    os.environ["GNUPGHOME"] = str(keys.gnupg)
    try:
        repository.run(*keys.git(tool, name), "tag", "--sign", "--message=x", tag)
    finally:
        del os.environ["GNUPGHOME"]


def git_settings(keys: Keys, tool: str, name: str) -> dict:
    if tool == "ssh":
        return {"git_allowed_signers": str(keys.ssh / f"{name}.signers")}
    return {"git_gpg_keyring": str(keys.openpgp / f"{name}.{tool}")}


GIT_TOOLS = ("ssh", "gpg", "asc")


@pytest.mark.parametrize("tool", GIT_TOOLS)
def test_signed_commit_is_accepted(resolve, repository, keys, trust_stranger, tool):
    commit = create_signed_commit(repository, keys, tool, "signer")
    trust_stranger(keys, tool)
    for ref in ("HEAD", "main", commit, commit[:8]):
        release = resolve(
            git_repo=repository.path, git_ref=ref, git_verify="commit", **git_settings(keys, tool, "signer")
        )
        assert release["source"]["revision"] == commit
    both = {**git_settings(keys, "ssh", "signer"), **git_settings(keys, "gpg", "signer")}
    assert resolve("both", git_repo=repository.path, git_verify="commit", **both)["source"]["revision"] == commit


@pytest.mark.parametrize("tool", GIT_TOOLS)
def test_signed_tag_is_accepted(resolve, repository, keys, trust_stranger, tool):
    commit = repository.commit(APP)
    create_signed_tag(repository, keys, tool, "signer", "v1")
    trust_stranger(keys, tool)
    for ref in ("v1", "refs/tags/v1", "tags/v1"):
        release = resolve(git_repo=repository.path, git_ref=ref, git_verify="tag", **git_settings(keys, tool, "signer"))
        assert release["source"]["revision"] == commit


@pytest.mark.parametrize("tool", GIT_TOOLS)
@pytest.mark.parametrize("kind", ["commit", "tag"])
def test_signature_of_an_unknown_key_is_rejected(
    resolve, repository, keys, trust_stranger, opened_archives, tool, kind
):
    create_signed_commit(repository, keys, tool, "stranger")
    create_signed_tag(repository, keys, tool, "stranger", "v1")
    trust_stranger(keys, tool)
    with pytest.raises(SourceError) as refusal:
        resolve(git_repo=repository.path, git_ref="v1", git_verify=kind, **git_settings(keys, tool, "signer"))
    message = str(refusal.value)
    expected = [
        f"release_git_verify: {kind}",
        "is not accepted",
        "not among them",
        str(repository.path),
        "v1",
        "signer.",
    ]
    assert [word for word in expected if word not in message] == []
    assert opened_archives == []


@pytest.mark.parametrize("tool", GIT_TOOLS)
@pytest.mark.parametrize("kind", ["commit", "tag"])
def test_changed_content_is_rejected(resolve, repository, keys, opened_archives, tool, kind):
    """The signature of a commit or tag is attached to other content."""
    create_signed_commit(repository, keys, tool, "signer")
    create_signed_tag(repository, keys, tool, "signer", "v1")
    name = "HEAD" if kind == "commit" else "v1"
    content = repository.run("cat-file", kind, name)
    forged = content.replace("a@example.com", "b@example.com")
    assert forged != content
    command = ["git", "-C", repository.path, "hash-object", "-t", kind, "-w", "--stdin"]
    done = subprocess.run(command, input=f"{forged}\n".encode(), capture_output=True, check=True)
    where = "refs/heads/main" if kind == "commit" else "refs/tags/v1"
    repository.run("update-ref", where, done.stdout.decode().strip())
    with pytest.raises(SourceError) as refusal:
        resolve(git_repo=repository.path, git_ref=where, git_verify=kind, **git_settings(keys, tool, "signer"))
    assert "it signs other content" in str(refusal.value)
    assert opened_archives == []


@pytest.mark.parametrize("tool", GIT_TOOLS)
def test_missing_signature_is_rejected(resolve, repository, keys, opened_archives, tool):
    """Commits after a signed one, annotated tags, lightweight tags and branches have no signature."""
    create_signed_commit(repository, keys, tool, "signer")
    repository.commit({"second.py": ""})
    repository.run("tag", "--annotate", "--message=x", "v1")
    repository.run("tag", "v2")
    for kind, ref, expected in (
        ("commit", "main", "is not signed; sign it"),
        ("tag", "v1", "is not signed; sign it"),
        ("tag", "v2", "is not an annotated tag"),
        ("tag", "main", "is not an annotated tag"),
    ):
        with pytest.raises(SourceError) as refusal:
            resolve(git_repo=repository.path, git_ref=ref, git_verify=kind, **git_settings(keys, tool, "signer"))
        assert f"release_git_verify: {kind}" in str(refusal.value)
        assert expected in str(refusal.value)
    assert opened_archives == []


@pytest.mark.parametrize("tool", GIT_TOOLS)
def test_signature_of_another_kind_is_rejected(resolve, repository, keys, opened_archives, tool):
    create_signed_commit(repository, keys, tool, "signer")
    other = git_settings(keys, "gpg" if tool == "ssh" else "ssh", "signer")
    with pytest.raises(SourceError, match="is not accepted"):
        resolve(git_repo=repository.path, git_verify="commit", **other)
    assert opened_archives == []


def test_old_tag_under_a_new_name_is_rejected(resolve, repository, keys, opened_archives):
    """An attacker who controls the server has no key, but can serve an old signed tag."""
    repository.commit(APP)
    create_signed_tag(repository, keys, "ssh", "signer", "v1")
    repository.run("update-ref", "refs/tags/v2", "refs/tags/v1")
    with pytest.raises(SourceError, match='the tag "v2" of .* was signed as "v1"'):
        resolve(git_repo=repository.path, git_ref="v2", git_verify="tag", **git_settings(keys, "ssh", "signer"))
    assert opened_archives == []


# Settings


MISSING_TOOLS = {
    "minisign": ("minisign", "release_archive_minisign_key", "minisign"),
    "gpgv": ("gpg", "release_archive_gpg_keyring", "gpgv"),
    "gpg": ("gpg", "release_git_gpg_keyring", "gpg"),
    "ssh-keygen": ("ssh", "release_git_allowed_signers", "openssh-client"),
}


@pytest.mark.parametrize("missing", MISSING_TOOLS)
def test_missing_tool_is_reported_with_its_package(resolve, repository, keys, archive, tmp_path, monkeypatch, missing):
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
            resolve(archive=archive, archive_signature=signature, **archive_settings(keys, tool, "signer"))
        else:
            resolve(git_repo=repository.path, git_verify="commit", **git_settings(keys, tool, "signer"))
    wanted = f"{variable}: the command {missing} is missing on the controller; install it there (on Debian, the package"
    assert str(refusal.value) == f"{wanted} {package})."


SIGNATURE = {"archive": "/a", "archive_signature": "/s"}
KEY = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"
REQUESTS = {
    "signature without a key": (SIGNATURE, ["release_archive_signature: /s", "neither of them is set", "exactly one"]),
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
    "invalid minisign key": (
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
    "keys without release_git_verify": (
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


@pytest.mark.parametrize(("values", "expected"), REQUESTS.values(), ids=REQUESTS)
def test_invalid_settings_are_rejected(resolve, values, expected):
    with pytest.raises(SourceError) as refusal:
        resolve(**values)
    message = str(refusal.value)
    assert [word for word in expected if word not in message] == []
    assert "secret" not in message


def test_key_that_is_neither_text_nor_file_is_rejected(resolve, archive, keys):
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
def test_invalid_keyrings_are_rejected(resolve, keys, archive, tmp_path, opened_archives, content):
    signature = keys.sign("gpg", "signer", archive)
    (tmp_path / "keyring").write_bytes(content)
    with pytest.raises(SourceError, match="release_archive_gpg_keyring: .* holds no public key; accepted is a file"):
        resolve(archive=archive, archive_signature=str(signature), archive_gpg_keyring=str(tmp_path / "keyring"))
    assert opened_archives == []


def test_keybox_and_several_armored_keys_are_accepted(resolve, keys, archive, tmp_path):
    signature = keys.sign("gpg", "signer", archive)
    several = tmp_path / "several.asc"
    several.write_bytes((keys.openpgp / "stranger.asc").read_bytes() + (keys.openpgp / "signer.asc").read_bytes())
    for keyring in (keys.gnupg / "pubring.kbx", several):
        assert resolve(archive=archive, archive_signature=str(signature), archive_gpg_keyring=str(keyring))

# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify signatures: archives with minisign or OpenPGP, commits and tags with OpenPGP or SSH.

The controller's own tools verify them. Only the keys in the settings count; the configuration and the keyring of the
user who runs Ansible are not read.
"""

from __future__ import annotations

import base64
import dataclasses
import os
import re
import shutil
import subprocess
from pathlib import Path

from ansible_collections.flaskops.production.plugins.plugin_utils._source import git
from ansible_collections.flaskops.production.plugins.plugin_utils._source.tree import SourceError, quote

# The text of a minisign public key.
MINISIGN_KEY = re.compile(r"RW[A-Za-z0-9+/]{54}")
MINISIGN_ACCEPTED = "a public key of minisign (RW and 54 more characters), or the path of its file on the controller"
KEYRING_ACCEPTED = "a file on the controller with public keys, as gpg --export writes them, with or without --armor"
SIGNERS_ACCEPTED = "a file of allowed signers on the controller, as ssh-keygen reads it (a principal and a key a line)"
# The Debian packages of the tools.
PACKAGES = {"minisign": "minisign", "gpgv": "gpgv", "gpg": "gpg", "ssh-keygen": "openssh-client"}
ARMOR = re.compile(rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\s*?\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL)
# Status words of GnuPG for signatures that are not accepted, with their meaning. The first match is reported.
SIGNATURE_ERRORS = {
    "BADSIG": "it signs other content",
    "REVKEYSIG": "its key {key} is revoked",
    "EXPKEYSIG": "its key {key} is expired",
    "EXPSIG": "it is expired",
    "NO_PUBKEY": "its key {key} is not among them",
    "ERRSIG": "it cannot be checked",
    "NODATA": "it is not an OpenPGP signature",
}


@dataclasses.dataclass(frozen=True)
class GitKeys:
    """The files with the accepted keys. One of the paths may be empty."""

    gpg_keyring: str
    allowed_signers: str

    def __str__(self) -> str:
        given = {"release_git_gpg_keyring": self.gpg_keyring, "release_git_allowed_signers": self.allowed_signers}
        return " and ".join(f"{variable} ({path})" for variable, path in given.items() if path)


def require_command(tool: str, variable: str) -> None:
    if not shutil.which(tool):
        raise SourceError(
            f"{variable}: the command {tool} is missing on the controller; install it there (on Debian, the package "
            f"{PACKAGES[tool]})."
        )


def _run_command(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="backslashreplace",
        check=False,
    )


# Archives


def verify_minisign(archive: Path, signature: Path, key: str) -> str:
    """Return the reason to reject a signature, or an empty string. The key is its text or the path of its file."""
    require_command("minisign", "release_archive_minisign_key")
    options = ("-P", key) if MINISIGN_KEY.fullmatch(key) else ("-p", key)
    done = _run_command("minisign", "-V", "-q", "-m", str(archive), "-x", str(signature), *options)
    if done.returncode == 0:
        return ""
    output = done.stdout.replace(str(signature), "the signature").replace(str(archive), "the archive")
    return " ".join(output.split()) or SIGNATURE_ERRORS["BADSIG"]


def verify_openpgp(archive: Path, signature: Path, keyring: str, work: Path) -> str:
    """Return the reason to reject a signature, or an empty string."""
    require_command("gpgv", "release_archive_gpg_keyring")
    home = create_gnupg_home("release_archive_gpg_keyring", keyring, work)
    options = ("--homedir", str(home), "--keyring", str(home / "keyring"), "--weak-digest", "SHA1", "--status-fd", "1")
    done = _run_command("gpgv", *options, "--", str(signature), str(archive))
    return _parse_gpg_status(done.stdout, done.returncode == 0)


def _parse_gpg_status(output: str, ok: bool) -> str:
    """Return the reason to reject a signature from GnuPG's status lines, or an empty string.

    The exit status does not suffice: it is 0 for expired and revoked keys, too.
    """
    status = [line.split() for line in output.splitlines() if line.startswith("[GNUPG:] ")]
    found = {words[1]: words[2] if len(words) > 2 else "" for words in status}
    for word, reason in SIGNATURE_ERRORS.items():
        if word in found:
            return reason.format(key=found[word])
    return "" if ok and {"GOODSIG", "VALIDSIG"} <= found.keys() else SIGNATURE_ERRORS["ERRSIG"]


def create_gnupg_home(variable: str, keyring: str, work: Path) -> Path:
    """Create a GnuPG home directory with the keys of this keyring only. Raises SourceError if it has none."""
    home = work / "gnupg"
    home.mkdir(mode=0o700, exist_ok=True)
    (home / "keyring").write_bytes(_read_public_keys(variable, keyring))
    # For gpg, which git runs. gpgv gets the same settings as options.
    settings = ["no-default-keyring", f"keyring {home / 'keyring'}", "trust-model always", "no-autostart", "lock-never"]
    settings += ["no-auto-key-retrieve", "no-auto-key-locate", "weak-digest SHA1"]
    (home / "gpg.conf").write_text("\n".join([*settings, ""]), encoding="utf-8")
    return home


def _read_public_keys(variable: str, keyring: str) -> bytes:
    content = Path(keyring).read_bytes()
    try:
        keys = b"".join(_decode_armor(block) for block in ARMOR.findall(content)) or content
    except ValueError:
        keys = b""
    # A key starts with a packet tag, a keybox (pubring.kbx) has a magic number.
    if not (keys[:1] and keys[0] & 0xFC in (0x98, 0xC4) or keys[8:12] == b"KBXf"):
        raise SourceError(f"{variable}: {keyring} holds no public key; accepted is {KEYRING_ACCEPTED}.")
    return keys


def _decode_armor(armored: bytes) -> bytes:
    """Decode an armored block without its headers and its checksum."""
    lines = [line.strip() for line in armored.splitlines()]
    start = lines.index(b"") + 1 if b"" in lines else 0
    return base64.b64decode(b"".join(line for line in lines[start:] if not line.startswith(b"=")), validate=True)


# Commits and tags


def verify_git(bare: Path, fetched: dict, kind: str, named: tuple[str, str], keys: GitKeys, work: Path) -> None:
    """Raise SourceError unless one of the keys has signed the commit or tag.

    `named` holds the repository and the ref for messages.
    """
    repository, ref = named
    name = f"the commit {fetched['commit'][:7]} of {repository} at {ref}"
    object_hash = fetched["commit"]
    if kind == "tag":
        name, object_hash = f"the tag {quote(ref)} of {repository}", fetched["object"]
        _check_tag_name(bare, object_hash, repository, ref)
    output, ok = _verify_object(bare, kind, object_hash, keys, work)
    reason = _parse_git_output(output, ok)
    if reason is None:
        return
    if not reason:
        raise SourceError(
            f"release_git_verify: {kind} is set, but {name} is not signed; sign it, or name a release_git_ref that is."
        )
    raise SourceError(
        f"release_git_verify: {kind} is set, but the signature of {name} is not accepted ({reason}); accepted are "
        f"signatures of the keys in {keys}."
    )


def _check_tag_name(bare: Path, object_hash: str, repository: str, ref: str) -> None:
    """Raise SourceError unless the tag was signed under this name. A server could serve an old tag under a new name."""
    shown = git.run_git("--git-dir", str(bare), "cat-file", "tag", object_hash)
    if not shown.ok:
        raise SourceError(
            f"release_git_verify: tag is set, but {quote(ref)} of {repository} is not an annotated tag; name a signed "
            "tag as release_git_ref (git tag --sign creates one), or set release_git_verify: commit."
        )
    signed = re.search(r"^tag (.*)$", shown.out.partition("\n\n")[0], re.MULTILINE)
    if not signed or signed[1] != re.sub(r"^(refs/)?tags/", "", ref):
        signed_name = quote(signed[1]) if signed else "no name"
        raise SourceError(
            f"release_git_verify: tag is set, but the tag {quote(ref)} of {repository} was signed as {signed_name}; "
            "name the tag under which it was signed."
        )


def _verify_object(bare: Path, kind: str, object_hash: str, keys: GitKeys, work: Path) -> tuple[str, bool]:
    """Run git verify-commit or verify-tag. Return (its output, whether it succeeded)."""
    home = work / "gnupg"
    home.mkdir(mode=0o700, exist_ok=True)
    if keys.gpg_keyring:
        require_command("gpg", "release_git_gpg_keyring")
        create_gnupg_home("release_git_gpg_keyring", keys.gpg_keyring, work)
    if keys.allowed_signers:
        require_command("ssh-keygen", "release_git_allowed_signers")
    # An empty file accepts no signer. Without a file, git reports that the file is missing.
    signers = keys.allowed_signers or os.devnull
    settings = {"gpg.program": "gpg", "gpg.openpgp.program": "gpg", "gpg.x509.program": "false"}
    settings |= {"gpg.ssh.program": "ssh-keygen", "gpg.ssh.allowedSignersFile": signers, "gpg.ssh.revocationFile": ""}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    isolated = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_COUNT": "0"}
    isolated |= {"GNUPGHOME": str(home), "GIT_NO_REPLACE_OBJECTS": "1"}
    command = (*options, "--git-dir", str(bare), f"verify-{kind}", "--raw", object_hash)
    result = git.run_git(*command, environment=isolated)
    return result.err, result.ok


def _parse_git_output(output: str, ok: bool) -> str | None:
    """Return the reason to reject a signature, an empty string if there is no signature, None if it is accepted."""
    if "[GNUPG:] " in output:
        return _parse_gpg_status(output, ok) or None
    if ok:
        return None
    lines = [line for line in output.splitlines() if "no signature found" not in line]
    if any('Good "git" signature' in line or "No principal matched" in line for line in lines):
        return "its key is not among them"
    if any("Could not verify signature" in line or "incorrect signature" in line for line in lines):
        return SIGNATURE_ERRORS["BADSIG"]
    return lines[-1].rstrip(".") if lines else ""

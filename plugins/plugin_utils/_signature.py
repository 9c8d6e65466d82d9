# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who signed a release: archives with minisign or OpenPGP, commits and tags with OpenPGP or SSH.

The stock tools of the controller decide, by the keys that are named and by no others: neither the configuration nor the
keys of whoever runs Ansible are asked.
"""

from __future__ import annotations

import base64
import dataclasses
import os
import re
import shutil
import subprocess
from pathlib import Path

from ansible_collections.flaskops.production.plugins.plugin_utils import _git
from ansible_collections.flaskops.production.plugins.plugin_utils._tree import SourceError, quote

# A public key of minisign, as its file and its users quote it.
MINISIGN_KEY = re.compile(r"RW[A-Za-z0-9+/]{54}")
MINISIGN_ACCEPTED = "a public key of minisign (RW and 54 more characters), or the path of its file on the controller"
KEYRING_ACCEPTED = "a file on the controller with public keys, as gpg --export writes them, with or without --armor"
SIGNERS_ACCEPTED = "a file of allowed signers on the controller, as ssh-keygen reads it (a principal and a key a line)"
# Debian's packages.
PACKAGES = {"minisign": "minisign", "gpgv": "gpgv", "gpg": "gpg", "ssh-keygen": "openssh-client"}
ARMOR = re.compile(rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\s*?\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL)
# What GnuPG says of a signature that does not count, and how a sentence says it. The first that is found is told.
VERDICTS = {
    "BADSIG": "it is the signature of something else",
    "REVKEYSIG": "its key {key} is revoked",
    "EXPKEYSIG": "its key {key} is expired",
    "EXPSIG": "it is expired",
    "NO_PUBKEY": "its key {key} is not among them",
    "ERRSIG": "it can't be checked",
    "NODATA": "it is no OpenPGP signature",
}


@dataclasses.dataclass(frozen=True)
class GitKeys:
    """Whose signatures count: two paths, of which one may be empty."""

    gpg_keyring: str
    allowed_signers: str

    def __str__(self) -> str:
        given = {"release_git_gpg_keyring": self.gpg_keyring, "release_git_allowed_signers": self.allowed_signers}
        return " and ".join(f"{variable} ({path})" for variable, path in given.items() if path)


def need(tool: str, variable: str) -> None:
    if not shutil.which(tool):
        raise SourceError(
            f"{variable}: the command {tool} is missing on the controller; install it there (on Debian, the package "
            f"{PACKAGES[tool]})."
        )


def _run(*command: str) -> subprocess.CompletedProcess:
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


def check_minisign(archive: Path, signature: Path, key: str) -> str:
    """Why the signature does not count; empty when it does. The key is the text itself or a file."""
    need("minisign", "release_archive_minisign_key")
    of_key = ("-P", key) if MINISIGN_KEY.fullmatch(key) else ("-p", key)
    done = _run("minisign", "-V", "-q", "-m", str(archive), "-x", str(signature), *of_key)
    if done.returncode == 0:
        return ""
    said = " ".join(done.stdout.replace(str(signature), "the signature").replace(str(archive), "the archive").split())
    return said or VERDICTS["BADSIG"]


def check_openpgp(archive: Path, signature: Path, keyring: str, work: Path) -> str:
    """Why the signature does not count; empty when it does."""
    need("gpgv", "release_archive_gpg_keyring")
    home = openpgp_home("release_archive_gpg_keyring", keyring, work)
    options = ("--homedir", str(home), "--keyring", str(home / "keyring"), "--weak-digest", "SHA1", "--status-fd", "1")
    done = _run("gpgv", *options, "--", str(signature), str(archive))
    return _verdict(done.stdout, done.returncode == 0)


def _verdict(said: str, ok: bool) -> str:
    """gpgv ends with 0 for keys that are expired or revoked too: what counts is each line of its status."""
    status = [line.split() for line in said.splitlines() if line.startswith("[GNUPG:] ")]
    found = {words[1]: words[2] if len(words) > 2 else "" for words in status}
    for verdict, sentence in VERDICTS.items():
        if verdict in found:
            return sentence.format(key=found[verdict])
    return "" if ok and {"GOODSIG", "VALIDSIG"} <= found.keys() else VERDICTS["ERRSIG"]


def openpgp_home(variable: str, keyring: str, work: Path) -> Path:
    """A home for GnuPG that knows the keys of this keyring and nothing else."""
    home = work / "gnupg"
    home.mkdir(mode=0o700, exist_ok=True)
    (home / "keyring").write_bytes(_public_keys(variable, keyring))
    # For gpg, which git calls; gpgv is told the same.
    settings = ["no-default-keyring", f"keyring {home / 'keyring'}", "trust-model always", "no-autostart", "lock-never"]
    settings += ["no-auto-key-retrieve", "no-auto-key-locate", "weak-digest SHA1"]
    (home / "gpg.conf").write_text("\n".join([*settings, ""]), encoding="utf-8")
    return home


def _public_keys(variable: str, keyring: str) -> bytes:
    content = Path(keyring).read_bytes()
    try:
        keys = b"".join(_binary(block) for block in ARMOR.findall(content)) or content
    except ValueError:
        keys = b""
    # A key starts with its packet, a keybox (pubring.kbx) tells what it is.
    if not (keys[:1] and keys[0] & 0xFC in (0x98, 0xC4) or keys[8:12] == b"KBXf"):
        raise SourceError(f"{variable}: {keyring} holds no public key; accepted is {KEYRING_ACCEPTED}.")
    return keys


def _binary(armored: bytes) -> bytes:
    """The content of an armored block: what comes after its headers, without its checksum."""
    lines = [line.strip() for line in armored.splitlines()]
    start = lines.index(b"") + 1 if b"" in lines else 0
    return base64.b64decode(b"".join(line for line in lines[start:] if not line.startswith(b"=")), validate=True)


# Commits and tags


def verify_git(bare: Path, fetched: dict, kind: str, named: tuple[str, str], keys: GitKeys, work: Path) -> None:
    """Refuse a commit, or a tag, that none of the keys has signed. `named` is the repository and the ref, as shown."""
    repository, ref = named
    name = f"the commit {fetched['commit'][:7]} of {repository} at {ref}"
    what = fetched["commit"]
    if kind == "tag":
        name, what = f"the tag {quote(ref)} of {repository}", fetched["object"]
        _check_tag(bare, what, repository, ref)
    said, ok = _asked(bare, kind, what, keys, work)
    why = _git_verdict(said, ok)
    if why is None:
        return
    if not why:
        raise SourceError(
            f"release_git_verify: {kind} is set, but {name} is not signed; sign it, or name a release_git_ref that is."
        )
    raise SourceError(
        f"release_git_verify: {kind} is set, but the signature of {name} does not count ({why}); accepted are those of "
        f"the keys in {keys}."
    )


def _check_tag(bare: Path, what: str, repository: str, ref: str) -> None:
    """A tag counts under the name that was signed: whoever holds the server could put an old one under a new name."""
    shown = _git.git("--git-dir", str(bare), "cat-file", "tag", what)
    if not shown.ok:
        raise SourceError(
            f"release_git_verify: tag is set, but {quote(ref)} of {repository} is no annotated tag; name a signed one "
            "as release_git_ref (git tag --sign makes one), or set release_git_verify: commit."
        )
    signed = re.search(r"^tag (.*)$", shown.out.partition("\n\n")[0], re.MULTILINE)
    if not signed or signed[1] != re.sub(r"^(refs/)?tags/", "", ref):
        told = quote(signed[1]) if signed else "no name"
        raise SourceError(
            f"release_git_verify: tag is set, but what {repository} has as the tag {quote(ref)} was signed as {told}; "
            "a tag counts under its own name only."
        )


def _asked(bare: Path, kind: str, what: str, keys: GitKeys, work: Path) -> tuple[str, bool]:
    """(what git says of a signature, whether it is good)."""
    home = work / "gnupg"
    home.mkdir(mode=0o700, exist_ok=True)
    if keys.gpg_keyring:
        need("gpg", "release_git_gpg_keyring")
        openpgp_home("release_git_gpg_keyring", keys.gpg_keyring, work)
    if keys.allowed_signers:
        need("ssh-keygen", "release_git_allowed_signers")
    # An empty file of signers allows none; without one git would only complain about that.
    signers = keys.allowed_signers or os.devnull
    settings = {"gpg.program": "gpg", "gpg.openpgp.program": "gpg", "gpg.x509.program": "false"}
    settings |= {"gpg.ssh.program": "ssh-keygen", "gpg.ssh.allowedSignersFile": signers, "gpg.ssh.revocationFile": ""}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    alone = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_COUNT": "0"}
    alone |= {"GNUPGHOME": str(home), "GIT_NO_REPLACE_OBJECTS": "1"}
    answer = _git.git(*options, "--git-dir", str(bare), f"verify-{kind}", "--raw", what, environment=alone)
    return answer.err, answer.ok


def _git_verdict(said: str, ok: bool) -> str | None:
    """Why a signature does not count; empty where there is none, None when it is good."""
    if "[GNUPG:] " in said:
        return _verdict(said, ok) or None
    if ok:
        return None
    lines = [line for line in said.splitlines() if "no signature found" not in line]
    if any('Good "git" signature' in line or "No principal matched" in line for line in lines):
        return "its key is not among them"
    if any("Could not verify signature" in line or "incorrect signature" in line for line in lines):
        return VERDICTS["BADSIG"]
    return lines[-1].rstrip(".") if lines else ""

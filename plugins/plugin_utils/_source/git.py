# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a commit from a git repository, and the state of a work tree. Only the controller needs git."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from ansible_collections.flaskops.production.plugins.plugin_utils._source.location import (
    has_credentials,
    parse_credentials,
    redact_location,
    redact_text,
    strip_credentials,
)
from ansible_collections.flaskops.production.plugins.plugin_utils._source.tree import SourceError, format_list, quote

FULL_SHA = re.compile(r"^[0-9a-f]{40}$", re.IGNORECASE)
SHORT_SHA = re.compile(r"^[0-9a-f]{7,40}$", re.IGNORECASE)
REF_ACCEPTED = "a branch, a tag, a commit's hash or a full ref (refs/…)"
# git sets these for its hooks. A deploy that is started by a hook must not use the hook's repository.
HOOK_VARIABLES = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX"),
    *("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH", "GIT_NAMESPACE", "GIT_CEILING_DIRECTORIES"),
)
# The bytes of a release must not depend on the user's configuration. LFS objects are not fetched.
NEUTRAL_CONFIG = (
    *("-c", "core.autocrlf=false", "-c", "core.eol=lf", "-c", "tar.umask=0022", "-c", "gc.auto=0"),
    *("-c", "filter.lfs.smudge=", "-c", "filter.lfs.process=", "-c", "filter.lfs.required=false"),
)
# A server that stops answering must not block a run forever.
TRANSPORT_CONFIG = ("-c", "http.lowSpeedLimit=100", "-c", "http.lowSpeedTime=60", "-c", "protocol.version=2")
# A credential helper that reads the credentials from its environment, which only its own user can read.
CREDENTIAL_HELPER = (
    '!answer() { [ "$1" != get ] || '
    'printf "username=%s\\npassword=%s\\n" "$FLASKOPS_GIT_USER" "$FLASKOPS_GIT_PASSWORD"; }; answer'
)
SSH_COMMAND = "ssh -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=15"


@dataclasses.dataclass(frozen=True)
class GitResult:
    ok: bool
    out: str
    err: str


@dataclasses.dataclass(frozen=True)
class WorkTree:
    """A directory in a work tree.

    `commit` and `time` are None unless everything in the directory is committed. `error` is git's reason if it could
    not read the work tree.
    """

    commit: str | None = None
    time: int | None = None
    error: str = ""


def run_git(*arguments: str, environment: dict[str, str] | None = None) -> GitResult:
    """Run a git command without prompts. Raises SourceError if git is missing."""
    env = {name: value for name, value in os.environ.items() if name not in HOOK_VARIABLES}
    env.update(GIT_TERMINAL_PROMPT="0", GIT_OPTIONAL_LOCKS="0", GIT_LITERAL_PATHSPECS="1", LC_ALL="C")
    env.update(environment or {})
    try:
        done = subprocess.run(["git", *arguments], env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except FileNotFoundError:
        raise SourceError(
            "release_git_repo: the command git is missing on the controller; install git there."
        ) from None
    return GitResult(
        done.returncode == 0, os.fsdecode(done.stdout), done.stderr.decode("utf-8", "backslashreplace").strip()
    )


def check_ref(ref: str) -> None:
    if ref.startswith(("-", "/", "+")) or ".." in ref or "@{" in ref or re.search(r"[\s:?*\[\]\\^~\x00-\x1f\x7f]", ref):
        raise SourceError(f"release_git_ref: {quote(ref)} is not accepted; name {REF_ACCEPTED}.")


def fetch_commit(repository: str, ref: str, bare: Path) -> dict[str, str | int]:
    """Fetch one commit into the new repository `bare`, shallowly if the server allows that.

    Returns the hash and the time of the commit, and the hash of the object that `ref` names. Raises SourceError if the
    repository cannot be read, or if `ref` is missing, ambiguous or not a commit.
    """
    check_ref(ref)
    address, environment = _prepare_transport(repository)
    made = run_git("-c", "init.defaultBranch=main", "init", "--quiet", "--bare", "--template=", str(bare))
    if not made.ok:
        raise SourceError(
            f"release_git_repo: git init failed in the run's temporary directory: {_extract_reason(made.err)}."
        )
    _check_ambiguous_ref(repository, address, ref, environment)

    def get(*arguments: str) -> GitResult:
        options = (*TRANSPORT_CONFIG, *NEUTRAL_CONFIG, "--git-dir", str(bare))
        return run_git(*options, "fetch", "--quiet", *arguments, environment=environment)

    answer = get("--depth=1", "--no-tags", "--", address, ref)
    wanted = "FETCH_HEAD"
    if not answer.ok and "shallow" in answer.err:
        answer = get("--no-tags", "--", address, ref)
    if not answer.ok and SHORT_SHA.match(ref):
        # Not every server serves a commit by its hash, and none by an abbreviated hash: fetch all branches and tags.
        every = get("--", address, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        answer, wanted = (every if not every.ok else answer), ref
        if every.ok and _is_commit(bare, wanted):
            return _read_commit(bare, wanted)
    if not answer.ok:
        raise _build_fetch_error(repository, ref, answer.err, environment)
    if not _is_commit(bare, wanted):
        raise SourceError(
            f"release_git_ref: {quote(ref)} of {redact_location(repository)} is not a commit; name {REF_ACCEPTED}."
        )
    return _read_commit(bare, wanted)


def _check_ambiguous_ref(repository: str, address: str, ref: str, environment: dict[str, str]) -> None:
    """Raise SourceError if a branch and a tag of this name are at different commits. git would silently use the tag."""
    if ref == "HEAD" or ref.startswith("refs/") or FULL_SHA.match(ref):
        return
    branch, tag = f"refs/heads/{ref}", f"refs/tags/{ref}"
    listed = run_git(*TRANSPORT_CONFIG, "ls-remote", "--", address, branch, tag, f"{tag}^{{}}", environment=environment)
    found = {name: commit for commit, name in (line.split("\t", 1) for line in listed.out.splitlines() if "\t" in line)}
    if branch in found and tag in found and found[branch] != found.get(f"{tag}^{{}}", found[tag]):
        raise SourceError(
            f"release_git_ref: {quote(ref)} is a branch and a tag of {redact_location(repository)}, at different "
            f"commits; write {branch} or {tag}."
        )


def _prepare_transport(repository: str) -> tuple[str, dict[str, str]]:
    """Return (the address for git's command line, environment variables for git).

    Every user of the controller can read command lines, so they do not hold the credentials of the URL. ssh does not
    prompt, unless the user has configured ssh for git.
    """
    if has_credentials(repository):
        return _prepare_credentials(repository)
    if os.environ.get("GIT_SSH_COMMAND") or os.environ.get("GIT_SSH") or run_git("config", "core.sshCommand").ok:
        return repository, {}
    return repository, {"GIT_SSH_COMMAND": SSH_COMMAND}


def _prepare_credentials(repository: str) -> tuple[str, dict[str, str]]:
    """Return the address and the variables that pass the credentials of a URL to its server only.

    If the URL has no password, git queries the user's credential helpers.
    """
    user, password = parse_credentials(repository)
    address, server = strip_credentials(repository)
    if not password:
        return address, _build_config_environment({f"credential.{server}.username": user})
    # The empty value removes the user's helpers, which must neither replace nor store the credentials of the URL.
    settings = {"credential.helper": "", f"credential.{server}.helper": CREDENTIAL_HELPER}
    variables = {"FLASKOPS_GIT_USER": user, "FLASKOPS_GIT_PASSWORD": password}
    return address, {**_build_config_environment(settings), **variables}


def _build_config_environment(settings: dict[str, str]) -> dict[str, str]:
    """Return environment variables that add these settings to those that the environment passes to git already."""
    first = os.environ.get("GIT_CONFIG_COUNT", "")
    start = int(first) if first.isdecimal() else 0
    found = {"GIT_CONFIG_COUNT": str(start + len(settings))}
    for number, (name, value) in enumerate(settings.items(), start):
        found.update({f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value})
    return found


def _is_commit(bare: Path, name: str) -> bool:
    return run_git("--git-dir", str(bare), "rev-parse", "--quiet", "--verify", f"{name}^{{commit}}").ok


def _read_commit(bare: Path, name: str) -> dict[str, str | int]:
    """Return the hash and the time of a commit, and the hash of the named object (an annotated tag has its own)."""
    shown = run_git("--git-dir", str(bare), "log", "-1", "--no-show-signature", "--format=%H %ct", f"{name}^{{commit}}")
    commit, time = shown.out.split()
    named = run_git("--git-dir", str(bare), "rev-parse", "--verify", name).out.strip()
    return {"commit": commit, "time": int(time), "object": named}


def _extract_reason(message: str) -> str:
    """Return the line of git's message that holds the reason."""
    lines = [line for line in message.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines or ["git gave no reason"]
    before = [line for line in lines[: lines.index(telling[0])] if not line.startswith("hint:")][-1:]
    return " ".join([*before, telling[0]]).rstrip(".")


def _build_fetch_error(repository: str, ref: str, message: str, environment: dict[str, str]) -> SourceError:
    shown = redact_location(repository)
    address = strip_credentials(repository)[0] if has_credentials(repository) else repository
    command = ("ls-remote", "--heads", "--tags", "--refs", "--", address)
    heads = run_git(*TRANSPORT_CONFIG, *command, environment=environment)
    if heads.ok:
        names = [line.split("refs/", 1)[1].split("/", 1)[1] for line in heads.out.splitlines() if "refs/" in line]
        has = f"it has {format_list(names)}" if names else "it has no branch and no tag yet"
        return SourceError(
            f"release_git_ref: {quote(ref)} does not exist in {shown} ({has}); name {REF_ACCEPTED} of that repository."
        )
    why = redact_text(_extract_reason(heads.err or message), repository)
    return SourceError(
        f"release_git_repo: {shown} cannot be read ({why}); accepted is a repository that git on the controller can "
        "fetch without a question: a path, or an https or ssh address."
    )


def export_commit(bare: Path, commit: str, subdirectory: str, destination: Path) -> None:
    """Write the files of a commit as a plain tar. The attributes export-ignore and export-subst apply."""
    below = ["--", subdirectory] if subdirectory else []
    options = ("--format=tar", "-o", str(destination))
    answer = run_git(*NEUTRAL_CONFIG, "--git-dir", str(bare), "archive", *options, commit, *below)
    if not answer.ok:
        raise SourceError(f"release_git_repo: git archive failed for commit {commit}: {_extract_reason(answer.err)}.")


def has_directory(bare: Path, commit: str, path: str) -> bool:
    return run_git("--git-dir", str(bare), "cat-file", "-t", f"{commit}:{path}").out.strip() == "tree"


def list_submodules(bare: Path, commit: str, subdirectory: str) -> list[str]:
    """Return the paths of submodules, which `git archive` writes as empty directories."""
    below = ["--", subdirectory] if subdirectory else []
    listed = run_git("--git-dir", str(bare), "ls-tree", "-r", "-z", "--full-tree", commit, *below).out
    return [line.split("\t", 1)[1] for line in listed.split("\0") if line.startswith("160000 ")]


def read_work_tree(directory: Path, is_excluded: Callable[[str], bool]) -> WorkTree:
    """Return the last commit of a directory if no file differs from it, except those that `is_excluded` accepts."""
    at = ("-C", str(directory), "-c", "core.fsmonitor=false")
    try:
        inside = run_git(*at, "rev-parse", "--is-inside-work-tree", "--show-prefix")
    except SourceError:
        return WorkTree()
    if not inside.ok and "not a git repository" not in inside.err:
        return WorkTree(error=_extract_reason(inside.err))
    answer = inside.out.split("\n")
    if not inside.ok or answer[0] != "true" or not run_git(*at, "rev-parse", "--quiet", "--verify", "HEAD").ok:
        return WorkTree()
    prefix = answer[1]
    status = run_git(*at, "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames", "--", ".")
    if not status.ok:
        return WorkTree(error=_extract_reason(status.err))
    changed = [line[3:].removeprefix(prefix) for line in status.out.split("\0") if line]
    if any(not is_excluded(path) for path in changed):
        return WorkTree()
    # For the root of the work tree, this is HEAD, even if it is a merge, so that a git source gives the same name.
    last = run_git(*at, "log", "-1", "--no-show-signature", "--format=%H %ct", *(("--", ".") if prefix else ()))
    if not last.out.strip():
        return WorkTree()
    commit, time = last.out.split()
    return WorkTree(commit, int(time))

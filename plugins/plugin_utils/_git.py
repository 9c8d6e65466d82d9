# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a commit out of a git repository, and what a work tree says about itself. Needs git on the controller only."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from ansible_collections.flaskops.production.plugins.plugin_utils._location import (
    has_secret_user,
    public,
    scrub,
    user_and_password,
    without_user,
)
from ansible_collections.flaskops.production.plugins.plugin_utils._tree import SourceError, listing, quote

FULL_SHA = re.compile(r"^[0-9a-f]{40}$", re.IGNORECASE)
SHORT_SHA = re.compile(r"^[0-9a-f]{7,40}$", re.IGNORECASE)
REF_ACCEPTED = "a branch, a tag, a commit's hash or a full ref (refs/…)"
# Set by git for its own hooks; a deploy out of a hook must not work on that repository instead.
INHERITED = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES")
INHERITED += ("GIT_PREFIX", "GIT_QUARANTINE_PATH", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_CEILING_DIRECTORIES")
# The bytes of a release must not depend on whose configuration archives them; LFS objects are not fetched.
NEUTRAL = ("-c", "core.autocrlf=false", "-c", "core.eol=lf", "-c", "tar.umask=0022", "-c", "gc.auto=0")
NEUTRAL += ("-c", "filter.lfs.smudge=", "-c", "filter.lfs.process=", "-c", "filter.lfs.required=false")
# A server that stops answering must not hold a run for ever.
PATIENT = ("-c", "http.lowSpeedLimit=100", "-c", "http.lowSpeedTime=60", "-c", "protocol.version=2")
# Answers git's question with what is in its environment, which only its own user can read.
HELPER = (
    '!answer() { [ "$1" != get ] || '
    'printf "username=%s\\npassword=%s\\n" "$FLASKOPS_GIT_USER" "$FLASKOPS_GIT_PASSWORD"; }; answer'
)
SSH = "ssh -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=15"


@dataclasses.dataclass(frozen=True)
class Answer:
    ok: bool
    out: str
    err: str


@dataclasses.dataclass(frozen=True)
class WorkTree:
    """A directory in a work tree. `commit` and `time` are None unless everything in it is committed; `fault` is why
    git would not tell."""

    commit: str | None = None
    time: int | None = None
    fault: str = ""


def git(*arguments: str, environment: dict[str, str] | None = None) -> Answer:
    """One git command, which never asks for anything."""
    env = {name: value for name, value in os.environ.items() if name not in INHERITED}
    env.update(GIT_TERMINAL_PROMPT="0", GIT_OPTIONAL_LOCKS="0", GIT_LITERAL_PATHSPECS="1", LC_ALL="C")
    env.update(environment or {})
    try:
        done = subprocess.run(["git", *arguments], env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except FileNotFoundError:
        raise SourceError(
            "release_git_repo: the command git is missing on the controller; install git there."
        ) from None
    return Answer(
        done.returncode == 0, os.fsdecode(done.stdout), done.stderr.decode("utf-8", "backslashreplace").strip()
    )


def check_ref(ref: str) -> None:
    if ref.startswith(("-", "/", "+")) or ".." in ref or "@{" in ref or re.search(r"[\s:?*\[\]\\^~\x00-\x1f\x7f]", ref):
        raise SourceError(f"release_git_ref: {quote(ref)} is not accepted; name {REF_ACCEPTED}.")


def fetch(repository: str, ref: str, bare: Path) -> dict[str, str | int]:
    """Fetch one commit into the new repository `bare`; its full hash and time, and the hash of what was named. Shallow
    where the server allows it."""
    check_ref(ref)
    address, environment = _transport(repository)
    made = git("-c", "init.defaultBranch=main", "init", "--quiet", "--bare", "--template=", str(bare))
    if not made.ok:
        raise SourceError(f"release_git_repo: git init failed in the run's temporary directory: {_last(made.err)}.")

    _refuse_ambiguous(repository, address, ref, environment)

    def get(*arguments: str) -> Answer:
        return git(*PATIENT, *NEUTRAL, "--git-dir", str(bare), "fetch", "--quiet", *arguments, environment=environment)

    answer = get("--depth=1", "--no-tags", "--", address, ref)
    wanted = "FETCH_HEAD"
    if not answer.ok and "shallow" in answer.err:
        answer = get("--no-tags", "--", address, ref)
    if not answer.ok and SHORT_SHA.match(ref):
        # Not every server hands out a bare commit, none an abbreviated one: look in all that it has.
        every = get("--", address, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        answer, wanted = (every if not every.ok else answer), ref
        if every.ok and _commit(bare, wanted):
            return _described(bare, wanted)
    if not answer.ok:
        raise _fetch_fault(repository, ref, answer.err, environment)
    if not _commit(bare, wanted):
        raise SourceError(
            f"release_git_ref: {quote(ref)} of {public(repository)} is not a commit; name {REF_ACCEPTED}."
        )
    return _described(bare, wanted)


def _refuse_ambiguous(repository: str, address: str, ref: str, environment: dict[str, str]) -> None:
    """Refuse a name that a branch and a tag have, for different commits: git would take the tag without a word."""
    if ref == "HEAD" or ref.startswith("refs/") or FULL_SHA.match(ref):
        return
    branch, tag = f"refs/heads/{ref}", f"refs/tags/{ref}"
    listed = git(*PATIENT, "ls-remote", "--", address, branch, tag, f"{tag}^{{}}", environment=environment)
    found = {name: commit for commit, name in (line.split("\t", 1) for line in listed.out.splitlines() if "\t" in line)}
    if branch in found and tag in found and found[branch] != found.get(f"{tag}^{{}}", found[tag]):
        raise SourceError(
            f"release_git_ref: {quote(ref)} is a branch and a tag of {public(repository)}, at different commits; write "
            f"{branch} or {tag}."
        )


def _transport(repository: str) -> tuple[str, dict[str, str]]:
    """(the repository as git is called with it, what git finds in its environment).

    Every user of a machine can read command lines, so that user and password of a URL are not in them. And ssh asks
    nothing, unless the user has configured ssh for git himself.
    """
    if has_secret_user(repository):
        return _answered(repository)
    if os.environ.get("GIT_SSH_COMMAND") or os.environ.get("GIT_SSH") or git("config", "core.sshCommand").ok:
        return repository, {}
    return repository, {"GIT_SSH_COMMAND": SSH}


def _answered(repository: str) -> tuple[str, dict[str, str]]:
    """User and password for this server and no other; without a password, git asks the user's own helpers for it."""
    user, password = user_and_password(repository)
    address, server = without_user(repository)
    if not password:
        return address, _configured({f"credential.{server}.username": user})
    # The empty one takes away the helpers before: they must neither answer nor store what the URL says.
    settings = {"credential.helper": "", f"credential.{server}.helper": HELPER}
    return address, {**_configured(settings), "FLASKOPS_GIT_USER": user, "FLASKOPS_GIT_PASSWORD": password}


def _configured(settings: dict[str, str]) -> dict[str, str]:
    """Settings of git through its environment, beside those that are there."""
    first = os.environ.get("GIT_CONFIG_COUNT", "")
    start = int(first) if first.isdecimal() else 0
    found = {"GIT_CONFIG_COUNT": str(start + len(settings))}
    for number, (name, value) in enumerate(settings.items(), start):
        found.update({f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value})
    return found


def _commit(bare: Path, name: str) -> bool:
    return git("--git-dir", str(bare), "rev-parse", "--quiet", "--verify", f"{name}^{{commit}}").ok


def _described(bare: Path, name: str) -> dict[str, str | int]:
    """The commit's hash and time, and the hash of what was named: that of a tag, where it is an annotated one."""
    shown = git("--git-dir", str(bare), "log", "-1", "--no-show-signature", "--format=%H %ct", f"{name}^{{commit}}")
    commit, time = shown.out.split()
    named = git("--git-dir", str(bare), "rev-parse", "--verify", name).out.strip()
    return {"commit": commit, "time": int(time), "object": named}


def _last(message: str) -> str:
    """The line of git's message that says why."""
    lines = [line for line in message.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines or ["git gave no reason"]
    before = [line for line in lines[: lines.index(telling[0])] if not line.startswith("hint:")][-1:]
    return " ".join([*before, telling[0]]).rstrip(".")


def _fetch_fault(repository: str, ref: str, message: str, environment: dict[str, str]) -> SourceError:
    shown = public(repository)
    address = without_user(repository)[0] if has_secret_user(repository) else repository
    heads = git(*PATIENT, "ls-remote", "--heads", "--tags", "--refs", "--", address, environment=environment)
    if heads.ok:
        names = [line.split("refs/", 1)[1].split("/", 1)[1] for line in heads.out.splitlines() if "refs/" in line]
        has = f"it has {listing(names)}" if names else "it has no branch and no tag yet"
        return SourceError(
            f"release_git_ref: {quote(ref)} does not exist in {shown} ({has}); name {REF_ACCEPTED} of that repository."
        )
    why = scrub(_last(heads.err or message), repository)
    return SourceError(
        f"release_git_repo: {shown} cannot be read ({why}); accepted is a repository that git on the controller can "
        "fetch without a question: a path, or an https or ssh address."
    )


def archive(bare: Path, commit: str, subdirectory: str, destination: Path) -> None:
    """Write the commit's files (export-ignore and export-subst respected) as a plain tar."""
    below = ["--", subdirectory] if subdirectory else []
    answer = git(*NEUTRAL, "--git-dir", str(bare), "archive", "--format=tar", "-o", str(destination), commit, *below)
    if not answer.ok:
        raise SourceError(f"release_git_repo: git archive failed for commit {commit}: {_last(answer.err)}.")


def has_directory(bare: Path, commit: str, path: str) -> bool:
    return git("--git-dir", str(bare), "cat-file", "-t", f"{commit}:{path}").out.strip() == "tree"


def submodules(bare: Path, commit: str, subdirectory: str) -> list[str]:
    """The paths of submodules: an archive holds them as empty directories."""
    below = ["--", subdirectory] if subdirectory else []
    listed = git("--git-dir", str(bare), "ls-tree", "-r", "-z", "--full-tree", commit, *below).out
    return [line.split("\t", 1)[1] for line in listed.split("\0") if line.startswith("160000 ")]


def work_tree(directory: Path, leaves_out: Callable[[str], bool]) -> WorkTree:
    """What git says about a directory: its last commit, when nothing in it that counts differs from it."""
    at = ("-C", str(directory), "-c", "core.fsmonitor=false")
    try:
        inside = git(*at, "rev-parse", "--is-inside-work-tree", "--show-prefix")
    except SourceError:
        return WorkTree()
    if not inside.ok and "not a git repository" not in inside.err:
        return WorkTree(fault=_last(inside.err))
    answer = inside.out.split("\n")
    if not inside.ok or answer[0] != "true" or not git(*at, "rev-parse", "--quiet", "--verify", "HEAD").ok:
        return WorkTree()
    prefix = answer[1]
    status = git(*at, "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames", "--", ".")
    if not status.ok:
        return WorkTree(fault=_last(status.err))
    changed = [line[3:].removeprefix(prefix) for line in status.out.split("\0") if line]
    if any(not leaves_out(path) for path in changed):
        return WorkTree()
    # At the root it is HEAD itself, merge commits included, so that a git source gives the same name.
    last = git(*at, "log", "-1", "--no-show-signature", "--format=%H %ct", *(("--", ".") if prefix else ()))
    if not last.out.strip():
        return WorkTree()
    commit, time = last.out.split()
    return WorkTree(commit, int(time))

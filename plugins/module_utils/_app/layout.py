# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The layout of one application on one host, its releases and its deploy lock.

Everything is read from the tree itself, so that it is true after any interruption: the link ``app`` says what is live,
``.deploy/releases/<name>.json`` what a release is, ``.deploy/activations.log`` in which order releases were live, and
``.deploy/environments/<name>`` which set of dependencies a release is to run with.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
import weakref

from ansible_collections.flaskops.production.plugins.module_utils._app import record as record_module
from ansible_collections.flaskops.production.plugins.module_utils._app.record import LogEntry, ReleaseRecord
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._files import links as links_module
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import (
    WRITE_PREFIX,
    open_directory,
    replace_file,
    sync_directory,
)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
ENVIRONMENT = re.compile(r"[0-9a-f]{12,64}\Z")
# Names under which half of something may lie in releases/ or venvs/; the next run removes it.
STAGING, REMOVED = ".staging-", ".removed-"
# The settings that a run has staged; the name of the run follows.
NEXT_SETTINGS = "next-"
# The directory in venvs/ that notes links from outside of the tree.
NOTES = ".links"
# Seconds to wait for a step that nobody waits for any more: longer than a candidate may take to start.
PATIENCE = 300


def now() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def archive_name(source: dict) -> str:
    """The file name under which a web server has the archive of a release: that of its bytes."""
    return source["sha256"] + ".tar.gz"


class Layout:
    """The tree of one application."""

    def __init__(self, root: str, run: dict[str, str] | None = None) -> None:
        self.root = root
        self.app = os.path.join(root, "app")
        self.next = os.path.join(root, "next")
        self.venv = os.path.join(root, "venv")
        self.venvs = os.path.join(root, "venvs")
        self.releases = os.path.join(root, "releases")
        self.shared = os.path.join(root, "shared")
        self.static = os.path.join(self.shared, "static")
        self.env_file = os.path.join(self.shared, ".env")
        self.socket = os.path.join(root, "run", "gunicorn.sock")
        self.gunicorn_config = os.path.join(root, "gunicorn.conf.py")
        self.state = os.path.join(root, ".deploy")
        self.records = os.path.join(self.state, "releases")
        self.environments = os.path.join(self.state, "environments")
        self.log = os.path.join(self.state, "activations.log")
        self.lock = os.path.join(self.state, "lock")
        # Locked while a step is at work. Root's alone: flock(2) takes no more than permission to read.
        self.guard = os.path.join(self.state, "guard")
        # The user whose data the runtime user has got, while a process of that user may still serve.
        self.former_user = os.path.join(self.state, "former_user.json")
        self.process = os.path.join(self.state, "process.json")
        self.settings = os.path.join(self.state, "settings")
        self.former_settings = os.path.join(self.settings, "former")
        # What this run has staged; empty where it is nobody's business.
        self.staged_settings = os.path.join(self.settings, NEXT_SETTINGS + run["run"]) if run else ""
        # Records that were found damaged, with the reason; each counts as missing.
        self.damaged: dict[str, Exception] = {}

    # What is there

    def next_settings_file(self, path: str) -> str:
        """Where a file of the settings is that this run is to activate: staged, or in its place."""
        staged = os.path.join(self.staged_settings, os.path.basename(path))
        return staged if self.staged_settings and os.path.lexists(staged) else path

    def list_env_files(self) -> list[str]:
        """Return the environment file, and the one that this run has staged, if any."""
        return list(dict.fromkeys((self.env_file, self.next_settings_file(self.env_file))))

    def release(self, name: str) -> str:
        """The directory of a release."""
        return os.path.join(self.releases, name)

    def linked_release(self, link: str) -> str | None:
        """The release that a link points at; None when there is no link or when it leads somewhere else."""
        try:
            target = os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link)))
        except OSError:
            return None
        parent, name = os.path.split(target)
        return name if parent == self.releases and NAME.match(name) else None

    def live(self) -> str | None:
        return self.linked_release(self.app)

    def record(self, name: str) -> ReleaseRecord | None:
        """What is recorded of a release; None when nothing is, or nothing that can be read."""
        path = os.path.join(self.records, name + ".json")
        try:
            with open(path, encoding="utf-8") as file:
                return record_module.parse_record(name, file.read())
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            self.damaged[path] = error
            return None

    def warnings(self) -> list[str]:
        """A sentence for each damaged record that was met."""
        return [
            f"The record {path} cannot be read and counts as missing: {getattr(error, 'strerror', None) or error}. "
            "Deploy its release again to record it anew; until then it is no target of a rollback."
            for path, error in sorted(self.damaged.items())
        ]

    def known(self) -> dict[str, ReleaseRecord]:
        """The releases that are complete on this host, by name. A directory without a record is not ours."""
        found = {}
        for name in _listed(self.releases):
            record = self.record(name) if NAME.match(name) and os.path.isdir(self.release(name)) else None
            if record:
                found[name] = record
        return found

    def with_digest(self, digest: str) -> str | None:
        """The complete release that holds these bits, the live one first."""
        names = [name for name, record in self.known().items() if record["digest"] == digest]
        return self.live() if self.live() in names else max(names, default=None)

    def environment(self, name: str) -> str | None:
        """The set of dependencies that a release is to run with, or runs with."""
        for link in (os.path.join(self.environments, name), os.path.join(self.release(name), ".venv")):
            try:
                return os.path.basename(os.readlink(link))
            except OSError:
                continue
        return None

    def proven_environment(self, name: str) -> str | None:
        """The set of dependencies that a release has been live with."""
        return (self.record(name) or {}).get("proven_environment")

    def activations(self) -> list[LogEntry]:
        """The activations, oldest first. A line that a power cut left half written is not counted."""
        try:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            return []
        found = (record_module.parse_log_entry(line) for line in lines)
        return [entry for entry in found if entry]

    def recorded(self) -> str | None:
        """The complete release that was activated last, as the log has it: app may be ahead of it for a moment."""
        known = self.known()
        last = self.activations()[-1:]
        if not last:
            # Without the log, the records know.
            return next((name for name, record in known.items() if record["state"] == "active"), None)
        return last[0]["release"] if last[0]["release"] in known else None

    def previous(self) -> str | None:
        """The release that a rollback returns to: the last good one that was live before the live one."""
        known, live = self.known(), self.live()
        before = before_live([(entry["release"], entry["action"]) for entry in self.activations()], live)
        good = (name for name in reversed(before) if name in known and known[name]["state"] != "bad")
        return next(good, None) or (None if before else self._superseded(known, live))

    def _superseded(self, known: dict[str, ReleaseRecord], live: str | None) -> str | None:
        """The last release that was live before, by the records: where the log is lost, they know."""
        if self.activations():
            return None
        names = [name for name, record in known.items() if record["state"] == "superseded" and name != live]
        return max(names, key=lambda name: (known[name].get("activated", ""), known[name]["staged"]), default=None)

    # What is written

    def prepare(self) -> None:
        """Make the directories that this collection keeps its state in."""
        for path in (self.releases, self.state, self.records, self.environments):
            os.makedirs(path, 0o755, exist_ok=True)
        os.close(self.open_guard())

    def open_guard(self) -> int:
        fd = os.open(self.guard, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.fchmod(fd, 0o600)
        return fd

    def write_record(self, name: str, record: ReleaseRecord) -> None:
        _write(os.path.join(self.records, name + ".json"), record_module.format_record(record))

    def set_state(self, name: str | None, state: str, **details: str) -> None:
        record = self.record(name) if name else None
        if record is None:
            return
        kept = {key: value for key, value in record.items() if key != "reason"}
        if {**kept, "state": state, **details} != record:
            self.write_record(name, {**kept, "state": state, **details})

    def record_activation(self, release: str | None, action: str, run: dict[str, str]) -> None:
        """Record which release is live now, unless that is what the log has already."""
        before = self.recorded()
        if release is None:
            return
        if before != release:
            self.append_activation(release=release, before=before, action=action, by=run["by"], run=run["run"])
        for name, record in self.known().items():
            if name != release and record["state"] == "active":
                self.set_state(name, "superseded")
        record = self.record(release) or {}
        since = record.get("activated", "") if record.get("state") == "active" else ""
        self.set_state(release, "active", proven_environment=self.environment(release) or "", activated=since or now())

    def append_activation(self, **entry: str | None) -> None:
        """Add one line to the log, on the disk before it counts."""
        line = (json.dumps({"time": now(), **entry}, sort_keys=True) + "\n").encode()
        fd = os.open(self.log, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                line = b"\n" + line
            os.write(fd, line)
            os.fsync(fd)
        finally:
            os.close(fd)

    # What is removed

    def leftovers(self) -> list[str]:
        """What interrupted runs left half done, and the sets of dependencies that no release names any more."""
        former = [self.former_settings] if os.path.lexists(self.former_settings) else []
        return self._half_done() + former + [os.path.join(self.venvs, name) for name in self._unnamed_environments()]

    def _half_done(self) -> list[str]:
        found = [
            os.path.join(directory, name)
            for directory in (self.releases, self.venvs)
            for name in _listed(directory)
            if name.startswith((STAGING, REMOVED))
        ]
        found += [os.path.join(self.state, name) for name in _listed(self.state) if name.startswith("lock.")]
        found += [
            os.path.join(directory, name)
            for directory in (self.state, self.records, self.settings)
            for name in _listed(directory)
            if name.startswith(WRITE_PREFIX)
        ]
        # What is noted of a release that is gone.
        found += [
            os.path.join(directory, name)
            for directory, end in ((self.environments, ""), (self.settings, ".json"))
            for name in _listed(directory)
            if name.endswith(end)
            and not os.path.isdir(self.release(name[: len(name) - len(end)]))
            # Unless they may only be unmounted.
            and os.path.isdir(self.releases)
        ]
        return found + self.foreign_settings()

    def foreign_settings(self) -> list[str]:
        """The settings that other runs have staged. While an activation is unfinished, units may name them."""
        if os.path.lexists(self.former_settings):
            return []
        staged = [
            os.path.join(self.settings, name) for name in _listed(self.settings) if name.startswith(NEXT_SETTINGS)
        ]
        return [path for path in staged if path != self.staged_settings]

    def sweep(self) -> None:
        """Remove what interrupted runs left half done. Only under the lock."""
        for path in self._half_done():
            _delete(path)
        self.known()
        for path, error in self.damaged.items():
            # A newer version of the collection reads its own records.
            if os.path.lexists(path) and not isinstance(error, record_module.FormatError):
                os.replace(path, path + ".damaged")
        for name in _listed(self.records):
            release = name[: -len(".json")] if name.endswith(".json") else None
            record = self.record(release) if release else None
            if record and record["state"] != "bad" and not os.path.isdir(self.release(release)):
                os.unlink(os.path.join(self.records, name))
        self._prune_environments()

    def prune(self, keep: int) -> list[str]:
        """Remove old releases, then the sets of dependencies that no release names; returns what was removed.

        Kept are the live release, the one that a rollback returns to, the last ``keep`` good ones, and every name that
        is not ours. The order is that of the activations, never that of times in the file system.
        """
        known, live, previous = self.known(), self.live(), self.previous()
        order = [entry["release"] for entry in self.activations()]
        last = {name: position for position, name in enumerate(order)}
        good = sorted(
            (name for name, record in known.items() if record["state"] != "bad"),
            key=lambda name: (last.get(name, -1), known[name]["staged"]),
        )
        kept = set(good[-keep:]) | {live, previous, self.linked_release(self.next)}
        removed = [name for name in known if name not in kept]
        for name in removed:
            self._remove(self.releases, name)
            _discard(os.path.join(self.environments, name))
            _discard(os.path.join(self.settings, name + ".json"))
            if known[name]["state"] != "bad":
                _discard(os.path.join(self.records, name + ".json"))
        return removed + self._prune_environments()

    def _unnamed_environments(self) -> list[str]:
        if not _listed(self.records):
            # Nothing has been deployed here yet: the sets are somebody else's.
            return []
        links = [self.venv, *noted_links(self.venvs)]
        links += [os.path.join(self.environments, name) for name in _listed(self.environments)]
        links += [os.path.join(self.release(name), ".venv") for name in _listed(self.releases)]
        named = {os.path.basename(os.path.realpath(link)) for link in links if os.path.islink(link)}
        return [name for name in _listed(self.venvs) if ENVIRONMENT.match(name) and name not in named]

    def _prune_environments(self) -> list[str]:
        """Remove the sets that no release names, unless one is being built at this moment."""
        removed = self._unnamed_environments()
        if not removed:
            return []
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(FileNotFoundError):
                fd = os.open(os.path.join(self.venvs, ".lock"), os.O_RDWR | os.O_CLOEXEC)
                stack.callback(os.close, fd)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return []
            for name in removed:
                self._remove(self.venvs, name)
        return removed

    def _remove(self, directory: str, name: str) -> None:
        """Remove a directory so that it is never seen half."""
        aside = os.path.join(directory, REMOVED + name)
        os.rename(os.path.join(directory, name), aside)
        _delete(aside)


def _delete(path: str) -> None:
    """Remove whatever is there, never what a link leads to: an adoption that was killed may have left one."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def before_live(activations: list[tuple[str, str]], live: str | None) -> list[str]:
    """The releases to return to, nearest last: a deploy goes on top, a rollback takes off what is above its target."""
    stack: list[str] = []
    for release, action in activations:
        if action == "rollback" and release in stack:
            del stack[stack.index(release) :]
        elif release in stack:
            stack.remove(release)
        stack.append(release)
    return stack[: stack.index(live)] if live in stack else stack


class LockedError(ReleaseError):
    """Another run holds the lock."""

    def __init__(self, path: str, holder: dict) -> None:
        super().__init__(
            f"Another deploy holds {path}: {holder['by']} on {holder['controller']} since {holder['time']}, "
            f"run {holder['run']}. Wait until it ends; if it is dead, run again with -e release_unlock=true."
        )
        self.holder = holder
        try:
            # By the times that one clock gives, whatever it says; a file of the future is as good as new.
            self.age = max(0.0, time.time() - os.stat(path).st_mtime)
        except FileNotFoundError:
            self.age = 0.0

    def result(self) -> dict:
        """What a module returns of it, for its other half on the controller."""
        return {"lock_holder": self.holder, "lock_age": self.age}


class Lock:
    """At most one deploy of an application at a time on a host: a file that names its holder."""

    def __init__(self, layout: Layout, run: dict[str, str]) -> None:
        self.layout, self.run = layout, run
        self.guard: weakref.finalize | None = None

    def holder(self) -> dict | None:
        unknown = dict.fromkeys(("run", "by", "controller", "time"), "unknown")
        try:
            with open(self.layout.lock, encoding="utf-8") as file:
                return {**unknown, **json.load(file)}
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return unknown

    def is_ours(self) -> bool:
        """Whether this run holds the lock."""
        holder = self.holder()
        return holder is not None and holder["run"] == self.run["run"]

    def check(self, force: bool = False) -> None:
        """Refuse while another run holds the lock, and leave it as it is."""
        holder = self.holder()
        if holder and not force and holder["run"] not in (self.run["run"], self.run.get("replaces")):
            raise LockedError(self.layout.lock, holder)

    def acquire(self, force: bool = False) -> None:
        """Take the lock, or go on when this run holds it. It names its holder from the moment it is there."""
        if self.guard is None:
            self.guard = self._guard(force)
        try:
            self._take(force)
        except BaseException:
            self.leave()
            raise

    def _take(self, force: bool) -> None:
        if self._may_be_taken(force):
            _discard(self.layout.lock)
        if self.is_ours():
            # Nothing is written, so that a run can release its lock on a full disk.
            return
        temporary = f"{self.layout.lock}.{os.getpid()}"
        try:
            _write(temporary, json.dumps({**self.run, "time": now()}, sort_keys=True) + "\n")
            os.link(temporary, self.layout.lock)
        except FileExistsError:
            holder = self.holder()
            if holder and holder["run"] != self.run["run"]:
                raise LockedError(self.layout.lock, holder) from None
        finally:
            _discard(temporary)

    def _may_be_taken(self, force: bool) -> bool:
        holder = self.holder()
        return holder is not None and (force or holder["run"] == self.run.get("replaces"))

    def _guard(self, force: bool) -> weakref.finalize:
        """Lock a file that no other user can open, for as long as this process works.

        The step of a run whose controller is gone may still be at work: it ends before this one begins. And of two runs
        that find a dead holder, only one takes its place.
        """
        fd = self.layout.open_guard()
        guard = weakref.finalize(self, os.close, fd)
        until = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return guard
            except BlockingIOError:
                holder = self.holder()
                if holder and holder["run"] != self.run["run"] and not self._may_be_taken(force):
                    raise LockedError(self.layout.lock, holder) from None
                if time.monotonic() > until:
                    raise ReleaseError(
                        f"A step of an earlier run has been at work in {self.layout.root} for {PATIENCE} s: wait until "
                        "it ends, or end it, and run again."
                    ) from None
            time.sleep(0.1)

    def release(self) -> None:
        """Give the lock back, if this run holds it."""
        if self.is_ours():
            os.unlink(self.layout.lock)
        self.leave()

    def leave(self) -> None:
        """Let the next step in, of this run or of another one that may take the lock."""
        if self.guard is not None:
            self.guard()
            self.guard = None


def note_link(venvs: str, link: str) -> None:
    """Note a link that is to lead to a set of dependencies, whoever uses it, so that the set stays as long as it does.

    The notes are links themselves: `ls -l` tells. Where a release is to run with a set, the tree tells it.
    """
    if os.path.dirname(link) == Layout(os.path.dirname(venvs)).environments:
        return
    notes = os.path.join(venvs, NOTES)
    os.makedirs(notes, 0o755, exist_ok=True)
    with open_directory(notes) as fd, contextlib.suppress(FileExistsError):
        os.symlink(link, hashlib.sha256(os.fsencode(link)).hexdigest()[:16], dir_fd=fd)
        sync_directory(fd)


def noted_links(venvs: str) -> list[str]:
    """The links that were noted, also those that are gone by now."""
    notes = [os.path.join(venvs, NOTES, name) for name in _listed(os.path.join(venvs, NOTES))]
    return [os.readlink(note) for note in notes if os.path.islink(note)]


def link_environment(layout: Layout, name: str, environment: str) -> None:
    """Point a release at its set of dependencies."""
    link = os.path.join(layout.release(name), ".venv")
    target = os.path.join("..", "..", "venvs", environment)
    if links_module.read_link(link) != target:
        links_module.swap_link(link, target)


def _write(path: str, text: str) -> None:
    replace_file(path, text.encode(), mode=0o644)


def _listed(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return []
        raise


def _discard(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)

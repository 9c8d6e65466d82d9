# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings that are activated with a release: environment file, Gunicorn's configuration and units.

    .deploy/settings/next-<run>/    staged by a run; the candidate starts with these files
    .deploy/settings/former/        the files as they were, from before the candidate starts until all is accepted
    .deploy/settings/previous/      the files as they were before the last accepted change
    .deploy/settings/<release>.json with which settings a release was live, as digests

Files that lie in several directories cannot be replaced in one step, but the unit of the service can, and it names all
others. So it is replaced twice: first by a text that names the files beside, and, when these are in their places, by
its own. Whenever the service starts, it starts with one set of files or with the other, and with its release. The
site of Nginx, which no unit can name, is put in place by that first text's own start, if the host is restarted then.

Nginx takes the new site over when nothing but the new release answers, and the old one before the old release answers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
import stat
from types import MappingProxyType
from typing import Callable, Iterator, Mapping

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import NEXT_SETTINGS, Layout, Lock
from ansible_collections.flaskops.production.plugins.module_utils._core.accounts import get_group_name, get_user_name
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._files.atomic import (
    open_directory,
    replace_file,
    sync_directory,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.entries import (
    Change,
    PathEntry,
    TreeError,
    apply_change,
    parse_entries,
    plan_changes,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.foreign import SITES, UNITS, read_application
from ansible_collections.flaskops.production.plugins.module_utils._files.links import read_link, swap_link
from ansible_collections.flaskops.production.plugins.module_utils._nginx.process import find_master, reload
from ansible_collections.flaskops.production.plugins.module_utils._nginx.site import (
    PREFIX,
    Fault,
    State,
    put,
    read_state,
)
from ansible_collections.flaskops.production.plugins.module_utils._systemd.manager import run_systemctl

_ASSIGNED = re.compile(r"(?m)^([A-Za-z_]\w*)[ \t]*=(?!=)(.*)$")
_DIRECTIVE = re.compile(r"(?m)^[ \t]*([a-z_]\w*)[ \t]+([^#;{}\n]*)[;{]")
# The option of a module that may put settings beside.
STAGED = {
    "type": "dict",
    "options": {
        "root": {"type": "path", "required": True},
        "name": {"type": "str", "required": True},
        "unlock": {"type": "bool", "default": False},
    },
}
# Puts a site in place. It is no part of what is kept.
SCRIPT = "site.sh"


class StagedSite:
    """The site of a set: what is to be at its path and links, and the Nginx that reads them."""

    def __init__(self, directory: str, known: dict) -> None:
        self.directory, self.known, self.path = directory, known, known["path"]
        self.beside = os.path.join(directory, os.path.basename(self.path))

    def wanted(self) -> State:
        content = None
        if not self.known["absent"]:
            with open(self.beside, "rb") as file:
                content = file.read()
        return State(content, self.known["mode"], tuple(self.known["owner"]), self.known["links"])

    def found(self) -> State:
        try:
            return read_state(self.path, list(self.known["links"]))
        except Fault as fault:
            raise ReleaseError(str(fault)) from fault

    def differs(self) -> bool:
        return self.found() != self.wanted()

    def put(self) -> bool:
        """Put it in place, without Nginx; whether that changed anything."""
        found, wanted = self.found(), self.wanted()
        if found != wanted:
            put(self.path, found, wanted)
        return found != wanted

    def take_over(self) -> None:
        """Let a running Nginx read it."""
        master = find_master(self.known["pid_file"])
        said = reload(master, self.known["error_log"]) if master else ""
        if said:
            raise ReleaseError(f"{self.path} is in place, but Nginx {said}")

    def script(self) -> str:
        """The same as a shell script, for a host that is restarted before the site is in place."""
        wanted, join = self.wanted(), shlex.join
        made = {link: target for link, target in wanted.links.items() if target is not None}
        lines = [join(["rm", "-f", link]) for link in wanted.links if link not in made]
        if wanted.content is None:
            lines.append(join(["rm", "-f", self.path]))
        else:
            uid, gid = map(str, wanted.owner)
            # In the form of temporary names, so that a later run removes it.
            beside = shlex.quote(os.path.join(os.path.dirname(self.path), PREFIX)) + "$$-site"
            text = '"${0%/*}"/' + shlex.quote(os.path.basename(self.beside))
            lines.append(f"{join(['install', '-o', uid, '-g', gid, '-m', f'{wanted.mode:04o}'])} {text} {beside}")
            lines.append(f"{join(['mv', '-f'])} {beside} {shlex.quote(self.path)}")
        lines += [join(["ln", "-sfnT", target, link]) for link, target in made.items()]
        lines.append(join(["systemctl", "--no-block", "try-reload-or-restart", "nginx.service"]))
        return "\n".join(["set -e", *lines, ""])


class SettingsSet:
    """Files that take effect together, in a directory beside their places. It is complete when it has a manifest."""

    def __init__(self, layout: Layout, name: str, directory: str) -> None:
        self.layout, self.directory = layout, directory
        self.unit, self.candidate = (os.path.join(UNITS, f"{name}{end}.service") for end in ("", "-next"))
        self.manifest = os.path.join(directory, "manifest.json")

    def exists(self) -> bool:
        return os.path.isfile(self.manifest)

    def beside(self, path: str) -> str:
        """Where the set has the file that belongs at a path."""
        return os.path.join(self.directory, os.path.basename(path))

    def read(self) -> dict:
        if not self.exists():
            return {"app": None, "entries": [], "site": None}
        with open(self.manifest, encoding="utf-8") as file:
            return json.load(file)

    def paths(self) -> list[str]:
        return [entry["path"] for entry in self.read()["entries"]]

    def add(self, entries: list[PathEntry], app: str | None = None) -> None:
        """Add files, or other versions of files, and the release that they are for. The manifest comes last."""
        self._make()
        known = {entry["path"]: entry for entry in self.read()["entries"]}
        for entry in entries:
            known[entry.path] = _described(entry)
            if entry.content is not None:
                # Systemd reads the environment file as root, Gunicorn reads its configuration as the application.
                replace_file(self.beside(entry.path), entry.content, 0o600 if entry.mode & 0o007 == 0 else 0o644)
        self._write(app=app, entries=list(known.values()))
        if app:
            swap_link(os.path.join(self.directory, "app"), os.path.join(self.layout.root, app))

    def add_site(self, state: State, **known: object) -> None:
        """Add the site as it is to be; known: its path, and how its Nginx is reached."""
        self._make()
        site = {
            **known,
            "absent": state.content is None,
            "mode": state.mode,
            "owner": state.owner,
            "links": state.links,
        }
        staged = StagedSite(self.directory, site)
        if state.content is not None:
            replace_file(staged.beside, state.content, 0o644)
        replace_file(os.path.join(self.directory, SCRIPT), staged.script().encode(), 0o600)
        self._write(site=site)

    def site(self) -> StagedSite | None:
        known = self.read().get("site")
        return StagedSite(self.directory, known) if known else None

    def _make(self) -> None:
        for directory in (self.layout.settings, self.directory):
            os.makedirs(directory, exist_ok=True)
            # The application reads Gunicorn's configuration there.
            os.chmod(directory, 0o755)

    def _write(self, **parts: object) -> None:
        text = json.dumps({**self.read(), **parts}, indent=2, sort_keys=True) + "\n"
        replace_file(self.manifest, text.encode(), 0o600)

    def text(self, path: str) -> str:
        with open(self.beside(path), encoding="utf-8", errors="surrogateescape") as file:
            return file.read()

    def pinned(self, path: str) -> str:
        """The text of a unit of this set, with the set's own files and release in the place of those in use."""
        return self.pin(self.text(path))

    def pin(self, text: str) -> str:
        places = {path: self.beside(path) for path in self.paths() if path in _read_at_start(self.layout)}
        if self.read()["app"]:
            root, app = self.layout.root, os.path.join(self.directory, "app")
            # The script of an adopted environment names the interpreter of the live one.
            text = text.replace(f"{root}/venv/bin/gunicorn", f"{app}/.venv/bin/python {app}/.venv/bin/gunicorn")
            places.update({f"{root}/app": app, f"{root}/venv": f"{app}/.venv"})
        for place, beside in places.items():
            text = re.sub(rf"(?<![\w.-]){re.escape(place)}(?![\w.-])", lambda _match, beside=beside: beside, text)
        return text

    def put(self, activate_release: Callable[[], None], put_site: Callable[[], object]) -> None:
        """Put all of it in place together with a release. A kill at any point leaves one set or the other to start."""
        entries = self.read()["entries"]
        units = [entry for entry in entries if entry["path"] == self.unit]
        if units:
            self._apply(units, {self.unit: self._with_site(self.pinned(self.unit))})
            reload_units()
        put_site()
        self._apply([entry for entry in entries if entry["path"] != self.unit])
        activate_release()
        if units:
            self._apply(units)
            reload_units()

    def _with_site(self, text: str) -> str:
        """The text of a unit that puts the site of this set in place when it starts."""
        if not self.site():
            return text
        run = f"ExecStartPre=-+/bin/sh {os.path.join(self.directory, SCRIPT)}"
        # When the host starts, Nginx would pass requests of the former site to this release.
        text = text.replace("[Unit]\n", "[Unit]\nBefore=nginx.service\n", 1)
        return text.replace("[Service]\n", f"[Service]\n{run}\n", 1)

    def put_candidate(self) -> None:
        """Let the unit of the candidate start with this set, and nothing else."""
        entries = [entry for entry in self.read()["entries"] if entry["path"] == self.candidate]
        self._apply(entries, {self.candidate: self.pinned(self.candidate)})
        reload_units()

    def differing(self) -> list[str]:
        """The paths that are not as this set has them."""
        site = self.site()
        paths = [change.entry.path for change in self._plan(self.read()["entries"])]
        return paths + ([site.path] if site and site.differs() else [])

    def _plan(self, entries: list[dict], texts: Mapping[str, str] = MappingProxyType({})) -> list[Change]:
        contents = {entry["path"]: self.text(entry["path"]) for entry in entries if entry["type"] == "file"}
        try:
            return plan_changes(parse_entries(entries, {**contents, **texts}))
        except TreeError as error:
            raise ReleaseError(str(error)) from error

    def _apply(self, entries: list[dict], texts: Mapping[str, str] = MappingProxyType({})) -> None:
        for change in self._plan(entries, texts):
            try:
                apply_change(change)
            except TreeError as error:
                raise ReleaseError(str(error)) from error


class SettingsChange:
    """The settings that a run has staged, on their way through an activation. Without any, the release goes alone."""

    def __init__(self, layout: Layout, name: str, release: str | None) -> None:
        self.layout = layout
        self.staged = SettingsSet(layout, name, layout.staged_settings)
        self.former = SettingsSet(layout, name, layout.former_settings)
        self.wanted = bool(release and layout.staged_settings) and self.staged.exists()

    def begin(self, before: str | None, after: str | None) -> None:
        """Keep what is in place, and give the candidate the new settings."""
        if not self.wanted:
            return
        there = self.staged.paths()
        units = [unit for unit in (self.staged.unit, self.staged.candidate) if unit not in there]
        self.staged.add([_found(path) for path in units], app=after)
        self._keep([_found(path) for path in self.staged.paths()], before)
        self.staged.put_candidate()

    def begin_site(self) -> None:
        """Keep the site that is in place, where nothing else changes."""
        self._keep([], None)

    def _keep(self, entries: list[PathEntry], app: str | None) -> None:
        # Complete or absent, like everything that a later run relies on.
        snapshot = SettingsSet(self.layout, "", os.path.join(self.layout.settings, f"{NEXT_SETTINGS}former"))
        _remove(snapshot.directory)
        snapshot.add(entries, app=app)
        site = self.staged.site()
        if site:
            ways = {name: site.known[name] for name in ("path", "pid_file", "error_log")}
            snapshot.add_site(site.found(), **ways)
        _rename(snapshot.directory, self.former.directory)

    def put(self, activate_release: Callable[[], None]) -> None:
        if not self.wanted:
            activate_release()
            return
        site = self.staged.site()
        self.staged.put(activate_release, site.put if site else lambda: None)

    def put_site(self) -> None:
        """Put the site in place alone."""
        site = self.staged.site()
        if site:
            site.put()

    def lead_visitors(self) -> None:
        """Let Nginx take the new site over."""
        site = self.staged.site() if self.wanted else None
        if site:
            site.take_over()

    def undo(self, activate_release: Callable[[], None] = lambda: None) -> None:
        """Put back what was in place before. Where that fails, the next run does it."""
        if not self.former.exists():
            activate_release()
            return
        put_former(self.former, activate_release)
        _forget_former(self.layout)

    def accept(self) -> None:
        """From here on, this is what is returned to. What was before is kept, one version of each file."""
        if not self.former.exists():
            return
        previous = os.path.join(self.layout.settings, "previous")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.former.directory, SCRIPT))
        for name in os.listdir(previous) if os.path.isdir(previous) else []:
            if not os.path.lexists(os.path.join(self.former.directory, name)):
                os.rename(os.path.join(previous, name), os.path.join(self.former.directory, name))
        _remove(previous)
        _rename(self.former.directory, previous)

    def end(self) -> None:
        """Remove what was staged, unless a unit may still name it."""
        if self.wanted:
            discard_staged(self.layout)


def is_live(layout: Layout, name: str) -> bool:
    """Whether there is a live application, whose settings change with an activation."""
    units = [f"{name}.socket", f"{name}.service", f"{name}-next.service"]
    return os.path.islink(layout.app) and all(os.path.isfile(os.path.join(UNITS, unit)) for unit in units)


def staged_settings(layout: Layout, name: str) -> list[str]:
    """The places of the files that this run has staged and that differ from what is in place."""
    staged = SettingsSet(layout, name, layout.staged_settings)
    return staged.differing() if layout.staged_settings and staged.exists() else []


def is_site_alone(layout: Layout, name: str) -> bool:
    """Whether nothing of what this run has staged differs but the site."""
    site = SettingsSet(layout, name, layout.staged_settings).site()
    return site is not None and staged_settings(layout, name) == [site.path]


def next_unit(layout: Layout, name: str, shown: str) -> str:
    """What `systemctl cat` shows of the service, as it will be with what this run has staged."""
    staged = SettingsSet(layout, name, layout.staged_settings)
    if not layout.staged_settings or not staged.exists():
        return shown
    if staged.unit in staged.paths():
        with open(staged.unit, encoding="utf-8", errors="replace") as file:
            shown = shown.replace(file.read(), staged.text(staged.unit))
    return staged.pin(shown)


def is_unfinished(layout: Layout) -> bool:
    """Whether an activation that was to change settings was interrupted."""
    return os.path.isdir(layout.former_settings)


def recover(layout: Layout, name: str) -> None:
    """Put back the settings and the release from before an activation that was interrupted. Only under the lock."""
    former = SettingsSet(layout, name, layout.former_settings)
    if former.exists():
        app = former.read()["app"]
        put_former(
            former, lambda: swap_link(layout.app, app) if app and read_link(layout.app) != app else None, read_site=True
        )
        _forget_former(layout)
    for path in layout.foreign_settings():
        _remove(path)


def put_former(former: SettingsSet, activate_release: Callable[[], None], read_site: bool = False) -> None:
    """Put back what was in place; read_site: whether Nginx may have read another site, even if this one is in place."""

    def put_site() -> None:
        site = former.site()
        if site and (site.put() or read_site):
            # An Nginx that refuses it goes on with what it has, and the release must not wait for that.
            with contextlib.suppress(ReleaseError):
                site.take_over()

    former.put(activate_release, put_site)


@contextlib.contextmanager
def staging(layout: Layout, name: str, run: dict, force: bool) -> Iterator[SettingsSet]:
    """What this run has staged, to add to. A module of a run whose controller is gone may still be at work."""
    os.umask(0o022)
    layout.prepare()
    lock = Lock(layout, run)
    held = lock.is_ours()
    lock.acquire(force=force)
    try:
        yield SettingsSet(layout, name, layout.staged_settings)
    finally:
        lock.leave() if held else lock.release()


def discard_staged(layout: Layout) -> None:
    """Remove what this run has staged, unless its activation is unfinished."""
    if layout.staged_settings and not is_unfinished(layout):
        _remove(layout.staged_settings)


def _forget_former(layout: Layout) -> None:
    """Remove what is in place again. It is never seen half."""
    undone = os.path.join(layout.settings, f"{NEXT_SETTINGS}undone")
    _rename(layout.former_settings, undone)
    _remove(undone)


def note_settings(layout: Layout, name: str, release: str) -> None:
    """Note with which settings a release is live. Only for root: a digest lets a weak secret be guessed."""
    os.makedirs(layout.settings, 0o755, exist_ok=True)
    text = json.dumps(_digests(layout, name), indent=2, sort_keys=True) + "\n"
    replace_file(os.path.join(layout.settings, f"{release}.json"), text.encode(), 0o600)


def differing_settings(layout: Layout, name: str, release: str) -> list[str]:
    """The names of settings that have changed since a release was live last. No value is returned."""
    try:
        with open(os.path.join(layout.settings, f"{release}.json"), encoding="utf-8") as file:
            noted = json.load(file)
    except (OSError, ValueError):
        return []
    found, now = [], _digests(layout, name)
    for path, before in sorted(noted.items()):
        after = now.get(path, {})
        names = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
        found += [f"{key} in {path}" for key in names]
    return found


def reload_units() -> None:
    code, said = run_systemctl("daemon-reload")
    if code:
        raise ReleaseError(f"systemctl daemon-reload failed: is systemd running on this host? {said}".rstrip())


def _read_at_start(layout: Layout) -> list[str]:
    return [layout.env_file, layout.gunicorn_config]


def _digests(layout: Layout, name: str) -> dict[str, dict[str, str]]:
    """What is assigned in the files of the settings, by path and name, as digests."""
    found: dict[str, dict[str, str]] = {}
    files = dict.fromkeys([*_read_at_start(layout), os.path.join(UNITS, f"{name}.service")], _ASSIGNED)
    site = os.path.join(SITES, f"{name}.conf")
    if read_application(site) == name:
        files[site] = _DIRECTIVE
    for path, setting in files.items():
        values: dict[str, list[str]] = {}
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as file:
            for key, value in setting.findall(file.read()):
                values.setdefault(key, []).append(value.strip())
        found[path] = {
            key: hashlib.sha256("\0".join(given).encode("utf-8", "surrogateescape")).hexdigest()
            for key, given in values.items()
        }
    return found


def _described(entry: PathEntry) -> dict:
    """An entry as an option of the module tree, without its content."""
    if entry.kind == "absent":
        return {"path": entry.path, "type": "absent"}
    return {
        "path": entry.path,
        "type": entry.kind,
        "owner": entry.owner,
        "group": entry.group,
        "mode": f"{entry.mode:04o}",
    }


def _found(path: str) -> PathEntry:
    """A path as it is, as an entry that makes it so."""
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return PathEntry(path, "absent", 0)
    mode, owner, group = stat.S_IMODE(info.st_mode), get_user_name(info.st_uid), get_group_name(info.st_gid)
    if stat.S_ISSOCK(info.st_mode):
        return PathEntry(path, "socket", mode, owner, group)
    with open(path, "rb") as file:
        return PathEntry(path, "file", mode, owner, group, content=file.read())


def _rename(old: str, new: str) -> None:
    _remove(new)
    os.rename(old, new)
    with open_directory(os.path.dirname(new)) as fd:
        sync_directory(fd)


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path)

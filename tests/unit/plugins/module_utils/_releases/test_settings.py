# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of settings, killed before each of its steps: what starts afterwards is one set of files or the other."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._core.errors import ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._files import foreign
from ansible_collections.flaskops.production.plugins.module_utils._files import links as links_module
from ansible_collections.flaskops.production.plugins.module_utils._files.entries import PathEntry
from ansible_collections.flaskops.production.plugins.module_utils._files.links import swap_link
from ansible_collections.flaskops.production.plugins.module_utils._nginx.site_state import SiteState
from ansible_collections.flaskops.production.plugins.module_utils._releases import settings as settings_module
from ansible_collections.flaskops.production.plugins.module_utils._releases import (
    settings_digests as settings_digests_module,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases import settings_set, staged_site
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings import SettingsChange
from ansible_collections.flaskops.production.plugins.module_utils._releases.settings_set import SettingsSet

RUN = {"run": "run-1", "by": "ada", "controller": "ci"}
UNIT = """# Ansible managed: written by flaskops.production for the application shop.
[Unit]
ConditionPathExists={root}/app
[Service]
EnvironmentFile={root}/shared/.env
WorkingDirectory={root}/app
ExecStart={root}/venv/bin/gunicorn --config {root}/gunicorn.conf.py wsgi:app
Nice={nice}
"""
NEXT = """[Service]
EnvironmentFile={root}/shared/.env
EnvironmentFile=-/run/shop-next.env
WorkingDirectory={root}/next
ExecStart={root}/next/.venv/bin/python {root}/next/.venv/bin/gunicorn --config {root}/gunicorn.conf.py wsgi:app
Nice={nice}
"""
# Everything that changes a file system.
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.chmod", "os.chown", "os.link"}
# A hook stays for ever; this one does nothing unless a test has set a number.
steps = {"left": -1, "seen": 0}


def count(event, arguments):
    if steps["left"] < 0:
        return
    if event in CHANGES or event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT:
        steps["seen"] += 1
        if steps["seen"] > steps["left"]:
            os._exit(9)


sys.addaudithook(count)


class Host:
    """A live application, and a change of its settings, release or both."""

    def __init__(self, directory, monkeypatch, release):
        self.root, self.units, self.release = directory / "shop", directory / "units", release
        for name in ("releases/v1", "releases/v2", "shared", "run", ".deploy"):
            (self.root / name).mkdir(parents=True)
        self.units.mkdir()
        self.nginx = directory / "nginx"
        for name in ("sites-available", "sites-enabled", "bin"):
            (self.nginx / name).mkdir(parents=True)
        (self.nginx / "bin/systemctl").symlink_to("/bin/true")
        self.site, self.default = self.nginx / "sites-available/shop.conf", self.nginx / "sites-enabled/default"
        monkeypatch.setattr(foreign, "UNITS", str(self.units))
        monkeypatch.setattr(foreign, "SITES", str(self.site.parent))
        monkeypatch.setattr(staged_site, "find_master", lambda pid_file: pid_file)
        monkeypatch.setattr(staged_site, "reload_nginx", self.reload)
        monkeypatch.setattr(settings_set, "run_systemctl", self.systemctl)
        self.layout = Layout(str(self.root), RUN)
        self.places = {
            str(self.root / "shared/.env"): 0o640,
            str(self.root / "gunicorn.conf.py"): 0o644,
            str(self.units / "shop.socket"): 0o644,
            str(self.units / "shop.service"): 0o644,
            str(self.units / "shop-next.service"): 0o644,
        }
        self.old, self.new = self.texts("old", 1), self.texts("new", 2)
        self.begin_again()

    def begin_again(self):
        for path, text in self.old.items():
            with open(path, "w") as file:
                file.write(text)
            os.chmod(path, self.places[path])
        swap_link(self.layout.app, "releases/v1", sync=False)
        self.systemctl("daemon-reload")
        self.site.write_text("old\n")
        swap_link(str(self.nginx / "sites-enabled/shop.conf"), "../sites-available", sync=False)
        swap_link(str(self.default), "../sites-available", sync=False)
        self.reload("", "")

    def reload(self, _master, _error_log):
        (self.nginx / "loaded").write_text(self.site.read_text() if self.site.exists() else "")
        return ""

    def visitors(self):
        """The site that Nginx has read."""
        return (self.nginx / "loaded").read_text()

    def site_state(self, text):
        """The site as a run wants it, and whether Debian's own is there beside it."""
        links = {str(self.default): None if text == "new" else "../sites-available"}
        return SiteState(f"{text}\n".encode(), 0o644, (os.geteuid(), os.getegid()), links)

    def stage_site(self, text="new"):
        staged = SettingsSet(self.layout, "shop", self.layout.staged_settings)
        staged.add_site(self.site_state(text), path=str(self.site), pid_file="nginx.pid", error_log="error.log")

    def site_in_place(self):
        """Which site a start of Nginx would read."""
        default = os.path.lexists(self.default)
        assert default == (self.site.read_text() == "old\n"), "half of a site is in place"
        return self.site.read_text()

    def texts(self, word, nice):
        texts = [f"MODE={word}\n", f"# {word}\nworkers = {nice}\n", f"[Socket]\nBacklog={nice}\n"]
        texts += [text.format(root=self.root, nice=nice) for text in (UNIT, NEXT)]
        return dict(zip(self.places, texts))

    def systemctl(self, verb):
        """systemd keeps what it has read until the next reload."""
        assert verb == "daemon-reload"
        for unit in ("shop.service", "shop-next.service"):
            (self.units.parent / f"loaded-{unit}").write_text((self.units / unit).read_text())
        return 0, ""

    def stage(self, texts=None):
        entries = [
            PathEntry(path, "file", self.places[path], content=text.encode())
            for path, text in (texts or self.new).items()
        ]
        SettingsSet(self.layout, "shop", self.layout.staged_settings).add_entries(entries)
        self.stage_site()

    def change(self, healthy=True):
        """An activation, without its processes."""
        settings_module.recover_settings(self.layout, "shop")
        change = SettingsChange(self.layout, "shop", self.release)
        swap_link(self.layout.next, f"releases/{self.release}")
        change.prepare("releases/v1", f"releases/{self.release}")
        change.install(lambda: swap_link(self.layout.app, f"releases/{self.release}"))
        change.reload_nginx()
        if healthy:
            change.accept()
        else:
            change.restore(lambda: swap_link(self.layout.app, "releases/v1"))
        os.unlink(self.layout.next)
        change.discard()

    def killed(self, step, **options):
        """Do it in a process that is killed before a step; whether it was."""
        pid = os.fork()
        if not pid:
            steps.update(left=step, seen=0)
            self.change(**options)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if sys.version_info >= (3, 9) else os.waitpid(pid, 0)[1]
        assert code in (0, 9, 9 << 8), code
        return code != 0

    def starts(self, text):
        """What a service with this unit would start with."""

        def read(path):
            with open(path) as file:
                return file.read()

        env = [read(path) for path in re.findall(r"(?m)^EnvironmentFile=(/.*)$", text)]
        directory = os.path.realpath(re.search(r"(?m)^WorkingDirectory=(.*)$", text)[1])
        conf = read(re.search(r"--config (\S+)", text)[1])
        program = os.path.realpath(os.path.dirname(re.search(r"(?m)^ExecStart=(\S+)", text)[1]) + "/..")
        return (*env, conf, os.path.basename(directory), re.search(r"Nice=.*", text)[0], os.path.basename(program))

    def served(self, word, nice, release):
        return (f"MODE={word}\n", f"# {word}\nworkers = {nice}\n", release, f"Nice={nice}", ".venv")

    def boots(self):
        """What a start of the host would start, and what a start of the service would: systemd reads units once."""
        unit, loaded = self.units / "shop.service", self.units.parent / "loaded-shop.service"
        return [tuple(found) for found in map(self.starts, (unit.read_text(), loaded.read_text()))]

    def starts_site(self, text):
        """What Nginx serves once a service with this unit has started."""
        for script in re.findall(r"(?m)^ExecStartPre=-[+]/bin/sh (.*)$", text):
            # A start of the host begins with the site, not with Nginx.
            assert "\nBefore=nginx.service\n" in text
            search = f"{self.nginx / 'bin'}:{os.environ['PATH']}"
            subprocess.run(["sh", script], check=True, env={"PATH": search})
        return self.site_in_place()

    def in_place(self):
        return {path: open(path).read() for path in self.places}

    def left(self):
        settings = self.root / ".deploy/settings"
        return sorted(os.listdir(settings)) if settings.exists() else []


@pytest.fixture(params=["v1", "v2"], ids=["settings alone", "with a release"])
def host(tmp_path, monkeypatch, request):
    # A killed process has lost nothing that a disk would have to keep.
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    monkeypatch.setattr(links_module, "sync_filesystem", lambda path: None)
    found = Host(tmp_path, monkeypatch, request.param)
    for release in ("v1", "v2"):
        (found.root / "releases" / release / ".venv/bin").mkdir(parents=True)
    swap_link(found.layout.venv, "app/.venv")
    return found


def test_a_change_that_is_accepted(host):
    host.stage()
    host.change()
    assert host.in_place() == host.new
    assert [oct(os.stat(path).st_mode & 0o777) for path in host.places] == ["0o640", "0o644", "0o644", "0o644", "0o644"]
    assert os.readlink(host.layout.app) == f"releases/{host.release}"
    assert (host.site_in_place(), host.visitors()) == ("new\n", "new\n")
    assert host.left() == ["previous"]
    names = {".env", "app", "gunicorn.conf.py", "manifest.json", "shop-next.service", "shop.service", "shop.socket"}
    assert {path.name for path in (host.root / ".deploy/settings/previous").iterdir()} == {*names, "shop.conf"}
    kept = host.root / ".deploy/settings/previous/.env"
    assert kept.read_text() == "MODE=old\n" and kept.stat().st_mode & 0o777 == 0o600


def test_a_change_that_is_undone(host):
    host.stage()
    host.change(healthy=False)
    assert host.in_place() == host.old
    assert os.readlink(host.layout.app) == "releases/v1"
    assert (host.site_in_place(), host.visitors()) == ("old\n", "old\n")
    assert host.left() == []


def test_what_is_staged_is_closed_to_others_and_the_candidate_starts_with_it(host):
    host.stage()
    change = SettingsChange(host.layout, "shop", host.release)
    change.prepare("releases/v1", f"releases/{host.release}")
    staged = host.root / ".deploy/settings/next-run-1"
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in staged.iterdir() if path.name != "app"} == {
        ".env": "0o600",
        "gunicorn.conf.py": "0o644",
        "manifest.json": "0o600",
        "shop-next.service": "0o644",
        "shop.conf": "0o644",
        "shop.service": "0o644",
        "shop.socket": "0o644",
        "site.sh": "0o600",
    }
    swap_link(host.layout.next, f"releases/{host.release}")
    candidate = (host.units.parent / "loaded-shop-next.service").read_text().replace("EnvironmentFile=-", "Env=")
    assert host.starts(candidate) == host.served("new", 2, host.release)
    assert host.boots() == [host.served("old", 1, "v1")] * 2
    assert (host.site_in_place(), host.visitors()) == ("old\n", "old\n")


@pytest.mark.parametrize("healthy", [True, False], ids=["accepted", "undone"])
def test_a_kill_at_any_point_leaves_one_set_or_the_other(host, healthy):
    old, new = host.served("old", 1, "v1"), host.served("new", 2, host.release)
    seen = set()
    for step in range(1000):
        host.stage()
        if not host.killed(step, healthy=healthy):
            break
        if healthy and host.visitors() == "new\n":
            assert host.boots() == [new, new], "the new site leads to the old release"
        for started in host.boots():
            assert started in (old, new), step
        # A start of the service, and then one of the host: each brings the site of its own set.
        for unit in (host.units.parent / "loaded-shop.service", host.units / "shop.service"):
            text = unit.read_text()
            word = "old" if host.starts(text) == old else "new"
            assert host.starts_site(text) == f"{word}\n", step
            seen.add((word, "ExecStartPre" in text))
        # The next run: of nothing at all, and of the same change.
        settings_module.recover_settings(host.layout, "shop")
        if host.boots()[0] == old:
            assert host.in_place() == host.old, step
        assert not settings_module.is_activation_unfinished(host.layout)
        host.stage()
        host.change()
        assert host.in_place() == host.new and host.boots() == [new, new], step
        assert (host.site_in_place(), host.visitors()) == ("new\n", "new\n"), step
        assert host.left() == ["previous"], step
        host.begin_again()
    assert 40 < step < 999
    # Both sets, and in between a unit that brings the site.
    brought = {("new", True)} if healthy else {("new", True), ("old", True)}
    assert seen == {("old", False), ("new", False), *brought}


def test_a_site_alone_leaves_the_unit_as_it_is(host):
    host.stage_site()
    change = SettingsChange(host.layout, "shop", "v1")
    loaded = host.boots()
    change.prepare_site()
    change.install_site()
    assert (host.site_in_place(), host.visitors()) == ("new\n", "old\n")
    change.reload_nginx()
    assert host.visitors() == "new\n"
    # Killed here, the next run begins with the site of before.
    settings_module.recover_settings(host.layout, "shop")
    assert (host.site_in_place(), host.visitors()) == ("old\n", "old\n")
    change.prepare_site()
    change.install_site()
    change.reload_nginx()
    change.accept()
    change.discard()
    assert (host.site_in_place(), host.visitors()) == ("new\n", "new\n")
    assert host.left() == ["previous"] and host.boots() == loaded and host.in_place() == host.old


def test_a_site_where_there_was_none_is_removed_when_it_is_rejected(host):
    host.site.unlink()
    host.stage()
    change = SettingsChange(host.layout, "shop", host.release)
    change.prepare("releases/v1", f"releases/{host.release}")
    change.install(lambda: None)
    assert host.site_in_place() == "new\n"
    change.restore(lambda: None)
    assert not host.site.exists() and host.visitors() == ""


def test_a_site_that_nginx_does_not_take_over_is_an_error_and_no_obstacle_on_the_way_back(host, monkeypatch):
    host.stage()
    change = SettingsChange(host.layout, "shop", host.release)
    change.prepare("releases/v1", f"releases/{host.release}")
    change.install(lambda: None)
    monkeypatch.setattr(staged_site, "reload_nginx", lambda *_arguments: "did not take it over within 15 s.")
    with pytest.raises(ReleaseError, match=rf"{host.site} is in place, but Nginx did not take it over"):
        change.reload_nginx()
    change.restore(lambda: None)
    change.discard()
    assert host.in_place() == host.old and host.site_in_place() == "old\n" and host.left() == []


def test_only_the_files_that_a_run_has_staged_are_replaced(host):
    env_file = str(host.root / "shared/.env")
    host.stage({env_file: "MODE=new\n"})
    host.change()
    assert host.in_place() == {**host.old, env_file: "MODE=new\n"}
    # Whoever changes a file by hand meanwhile keeps the change, also when an activation fails.
    (host.root / "gunicorn.conf.py").write_text("workers = 9\n")
    host.stage({env_file: "MODE=newer\n"})
    host.change(healthy=False)
    assert host.in_place() == {
        **host.old,
        env_file: "MODE=new\n",
        str(host.root / "gunicorn.conf.py"): "workers = 9\n",
    }
    # The environment file from before the last change of it stays, whatever else changes.
    host.stage({str(host.root / "gunicorn.conf.py"): "workers = 8\n"})
    host.change()
    assert (host.root / ".deploy/settings/previous/.env").read_text() == "MODE=old\n"


def test_a_path_is_replaced_as_a_whole(host):
    change = SettingsSet(host.layout, "shop", host.layout.staged_settings)
    change.add_entries([PathEntry(host.layout.env_file, "file", 0o640, content=b"")], app="releases/v1")
    root, staged = host.root, host.layout.staged_settings
    assert change.redirect_paths(f"{root}/apples {root}/app-1 /mnt{root}/app {root}/shared/.env.d") == (
        f"{root}/apples {root}/app-1 /mnt{root}/app {root}/shared/.env.d"
    )
    assert (
        change.redirect_paths(f"A={root}/app/config B={root}/shared/.env") == f"A={staged}/app/config B={staged}/.env"
    )


def test_without_anything_staged_the_release_goes_alone(host):
    host.change()
    assert host.in_place() == host.old and host.left() == []


def test_names_of_settings_that_differ_are_told_and_no_value(host):
    settings_digests_module.record_settings(host.layout, "shop", "v1")
    noted = host.root / ".deploy/settings/v1.json"
    assert noted.stat().st_mode & 0o777 == 0o600 and "old" not in noted.read_text()
    assert settings_digests_module.list_changed_settings(host.layout, "shop", "v1") == []
    (host.root / "shared/.env").write_text("MODE=new\nTOKEN=secret\n")
    (host.units / "shop.service").write_text(host.new[str(host.units / "shop.service")])
    root = host.root
    # Of a file that nothing was noted of, nothing is known.
    assert not [
        found
        for found in settings_digests_module.list_changed_settings(host.layout, "shop", "v1")
        if "shop.conf" in found
    ]
    header = "# Ansible managed: written by flaskops.production for the application shop.\n"
    host.site.write_text(header + "server {\n    listen 80;\n    client_max_body_size 1m;\n}\n")
    settings_digests_module.record_settings(host.layout, "shop", "v3")
    host.site.write_text(header + "server {\n    listen 80;\n    client_max_body_size 2m; # more\n}\n")
    assert settings_digests_module.list_changed_settings(host.layout, "shop", "v3") == [
        f"client_max_body_size in {host.site}"
    ]
    assert settings_digests_module.list_changed_settings(host.layout, "shop", "v1") == [
        f"MODE in {root}/shared/.env",
        f"TOKEN in {root}/shared/.env",
        f"Nice in {host.units}/shop.service",
    ]
    assert settings_digests_module.list_changed_settings(host.layout, "shop", "v2") == [], "of which nothing is known"

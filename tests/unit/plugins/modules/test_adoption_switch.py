# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to make way is kept and can be put back; the candidate's units. The switch itself is Molecule's to show."""

from __future__ import annotations

import json
import os
import re

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._adoption.data import Record
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._files.links import swap_file_link
from ansible_collections.flaskops.production.plugins.modules import adoption_switch
from ansible_collections.flaskops.production.plugins.modules.adoption_switch import Kept, candidate_units, put

UNITS = "/etc/systemd/system"


@pytest.fixture
def kept(tmp_path, as_root):
    layout = Layout(str(tmp_path / "shop"))
    os.makedirs(layout.state)
    return Kept(Record(layout))


def test_everything_comes_back_as_it_was(kept, tmp_path):
    unit, link, new, tree = (tmp_path / name for name in ("a.service", "enabled", "b.service", "app"))
    unit.write_text("old")
    unit.chmod(0o640)
    os.chown(unit, 0, 4711)
    link.symlink_to("../available/a")
    tree.mkdir()
    (tree / "wsgi.py").write_text("code")
    for path in (unit, link, new):
        kept.keep(str(path), "unit")
    kept.move(str(tree))
    put(str(unit), b"new")
    put(str(new), b"new")
    link.unlink()
    tree.symlink_to("releases/v1")

    assert kept.put_back("unit")
    assert kept.put_back("tree")
    assert unit.read_text() == "old"
    assert (unit.stat().st_gid, unit.stat().st_mode & 0o7777) == (4711, 0o640)
    assert os.readlink(link) == "../available/a"
    assert not new.exists()
    assert (tree / "wsgi.py").read_text() == "code" and not tree.is_symlink()


def test_a_linked_unit_makes_way_and_comes_back(kept, tmp_path):
    unit, own = tmp_path / "a.service", tmp_path / "of-ada.service"
    own.write_text("old")
    unit.symlink_to(own)
    kept.keep(str(unit), "unit")
    put(str(unit), b"new")
    put(str(tmp_path / "a.service.d/more/x.conf"), b"new")
    assert unit.read_text() == "new" and own.read_text() == "old" and not unit.is_symlink()
    kept.put_back("unit")
    assert os.readlink(unit) == str(own)


def test_no_file_is_kept_or_put_through_a_link_of_another_user(kept, tmp_path):
    (tmp_path / "ada").mkdir()
    (tmp_path / "private").mkdir()
    (tmp_path / "ada/conf").symlink_to(tmp_path / "private")
    (tmp_path / "private/site").write_text("kept")
    os.chown(tmp_path / "ada", 4711, 4711)
    for work in (lambda path: kept.keep(path, "unit"), kept.move, lambda path: put(path, b"new")):
        with pytest.raises(OSError, match="a user other than root can replace"):
            work(str(tmp_path / "ada/conf/site"))
    assert (tmp_path / "private/site").read_text() == "kept"


def test_what_is_kept_first_counts(kept, tmp_path):
    unit = tmp_path / "a.service"
    unit.write_text("old")
    kept.keep(str(unit), "unit")
    unit.write_text("new")
    kept.keep(str(unit), "unit")
    kept.put_back("unit")
    assert unit.read_text() == "old"


def test_putting_back_twice_changes_nothing(kept, tmp_path):
    tree, link = tmp_path / "app", tmp_path / "link"
    tree.mkdir()
    link.symlink_to("a")
    kept.move(str(tree))
    kept.keep(str(link), "tree")
    assert kept.put_back("tree")
    assert not kept.put_back("tree")
    assert tree.is_dir()


def test_only_root_looks_at_what_is_kept(kept):
    assert os.stat(kept.record.kept).st_mode & 0o777 == 0o700


UNIT_FILES = {
    f"{UNITS}/shop.socket": "[Socket]\nListenStream=/srv/shop/run/gunicorn.sock\n[Install]\nAlso=shop.service\n",
    f"{UNITS}/shop.service": "live",
    f"{UNITS}/shop-next.service": (
        "[Unit]\nRequires=shop.socket\n[Service]\nSockets=shop.socket\nWorkingDirectory=/srv/shop/next\n"
        "Type=oneshot\nExecStart=/srv/shop/next/.venv/bin/gunicorn --check-config --config /srv/shop/x.py a:b\n"
    ),
    "/srv/shop/gunicorn.conf.py": "workers = 1\n",
}


def test_the_candidate_has_a_socket_of_its_own_and_serves():
    found = candidate_units("shop", UNIT_FILES, "/srv/shop/run/gunicorn.sock", "/srv/shop/run/adoption.sock")
    runtime = adoption_switch.RUNTIME_UNITS
    assert sorted(found) == [
        f"{runtime}/shop-adoption.service",
        f"{runtime}/shop-adoption.socket",
    ]
    service, socket = found[f"{runtime}/shop-adoption.service"], found[f"{runtime}/shop-adoption.socket"]
    assert "ListenStream=/srv/shop/run/adoption.sock\n" in socket and "shop.service" not in socket
    assert "Requires=shop-adoption.socket\n" in service and "Sockets=shop-adoption.socket\n" in service
    # Whatever the handover will be, it has to serve now.
    assert "Type=notify" in service and "--check-config" not in service


# A run that was cut off


class Machine:
    """Systemd and Nginx, who only note what they are told."""

    def __init__(self, monkeypatch):
        self.told = []
        self.sites = []
        monkeypatch.setattr(adoption_switch, "run_systemctl", self.systemctl)
        monkeypatch.setattr(
            adoption_switch, "read_unit_properties", lambda _unit, *_names: {"MainPID": "0", "ActiveState": "active"}
        )
        monkeypatch.setattr(adoption_switch, "send_health_request", lambda *_where: 200)
        monkeypatch.setattr(adoption_switch, "sync_filesystem", lambda _path: None)
        monkeypatch.setattr(
            adoption_switch.Activation, "stop_candidate", lambda _self: self.told.append("candidate ends")
        )
        monkeypatch.setattr(adoption_switch, "Site", self.site)
        monkeypatch.setattr(adoption_switch, "NginxService", lambda *_arguments: FakeNginxService(self))
        monkeypatch.setattr(
            adoption_switch, "wait_for_exit", lambda workers, _seconds: self.told.append(f"waits for {workers}")
        )

    def systemctl(self, *words):
        self.told.append(" ".join(words))
        return 0, ""

    def site(self, _module, params):
        return FakeSite(self, params)


class FakeNginxService:
    replaced = ()

    def __init__(self, machine):
        self.machine = machine

    def read_main_file(self):
        return ""

    def find_master(self, _text):
        return "master"

    def reload(self, _master):
        self.machine.told.append("nginx reloads")
        self.replaced = ["worker 0"]
        return ""


class FakeSite:
    replaced = ()

    def __init__(self, machine, params):
        self.machine, self.params = machine, params

    def run(self, check_mode):
        self.machine.sites.append(self.params)
        self.replaced = ["worker 0"]

    def clean_up(self):
        pass


@pytest.fixture
def cut_off(kept, tmp_path, monkeypatch):
    """An adoption of web.service that was cut off while it switched."""
    machine = Machine(monkeypatch)
    root = str(tmp_path / "shop")
    monkeypatch.setattr(adoption_switch, "RUNTIME", str(tmp_path))
    monkeypatch.setattr(adoption_switch, "RUNTIME_UNITS", str(tmp_path / "run"))
    plan = {
        "from": "/home/ada/shop",
        "code": "/home/ada/shop",
        "unit": "web.service",
        "socket_unit": "",
        "listen": "unix:/home/ada/shop/shop.sock",
        "sites": [str(tmp_path / "nginx/ada.conf")],
        "moves": [],
        "dotenv": [],
        "environment": [],
        "shared": [],
        "outside": [],
        "variables": {"flask_app_user": "ada"},
    }
    site = {
        "path": str(tmp_path / "nginx/shop.conf"),
        "link": str(tmp_path / "nginx/enabled-shop"),
        "content": f"proxy_pass http://unix:{root}/run/gunicorn.sock;\n",
        "remove": [],
    }
    put(plan["sites"][0], b"by hand\n")
    kept.keep(plan["sites"][0], "nginx")
    kept.keep(site["path"], "nginx")
    os.unlink(plan["sites"][0])
    put(site["path"], b"the new one\n")
    kept.record.write(plan=plan, site=site)

    class Module:
        params = {"name": "shop", "health": None}

    def recover(state, **values):
        kept.record.write(state=state, **values)
        return adoption_switch.recover(Module, Layout(root))

    recover.takeover = adoption_switch.Takeover(Module, Layout(root), None, plan)
    recover.machine, recover.plan, recover.site, recover.record = machine, plan, site, kept.record
    return recover


def test_before_the_new_service_answered_the_old_one_comes_back(cut_off):
    assert cut_off("switching", installed=True) == "web.service serves again"
    told = cut_off.machine.told
    assert told.index("stop shop.socket shop.service") < told.index("start web.service") < told.index("nginx reloads")
    assert told.index("nginx reloads") < told.index("waits for ['worker 0']") < told.index("candidate ends")
    with open(cut_off.plan["sites"][0]) as file:
        assert file.read() == "by hand\n"
    assert not os.path.exists(cut_off.site["path"])
    assert cut_off.record.read()["state"] == "copying"
    # The next one begins anew.
    assert cut_off("copying") == ""


def test_after_a_restart_of_the_host_nginx_is_led_back_though_its_files_are(cut_off):
    """While the old deployment is replaced, its own site is on the disk again, and Nginx has read another one."""
    Kept(cut_off.record).put_back("nginx")
    assert cut_off("switching", installed=True, enabled=["web.service"]) == "web.service serves again"
    told = cut_off.machine.told
    assert told.index("disable shop.socket") < told.index("enable web.service") < told.index("start web.service")
    assert "nginx reloads" in told


def test_who_waits_at_that_moment_is_led_to_the_old_one(cut_off, monkeypatch):
    runtime = adoption_switch.RUNTIME_UNITS
    put(f"{runtime}/shop-adoption.socket", b"")
    put(f"{runtime}/shop-adoption.service", b"the release, on copies of the data")
    kill, seen = "kill --signal=SIGKILL shop-adoption.service", []

    def systemctl(*words):
        if " ".join(words) == kill:
            with open(f"{runtime}/shop-adoption.service") as unit:
                seen.append(unit.read())
        return cut_off.machine.systemctl(*words)

    monkeypatch.setattr(adoption_switch, "run_systemctl", systemctl)
    cut_off("switching", installed=True)
    told = cut_off.machine.told
    # Whoever waits makes systemd start the service again as soon as it has ended.
    assert "systemd-socket-proxyd" in seen[0] and seen[0].endswith(" /home/ada/shop/shop.sock\nLimitNOFILE=65536\n")
    assert told.index("start web.service") < told.index("nginx reloads") < told.index(kill)
    assert told.index("start shop-adoption.service") < told.index("waits for ['worker 0']")
    assert os.listdir(runtime) == []


@pytest.mark.parametrize("before", ["nothing", "a link", "a directory"])
def test_the_links_of_the_layout_go_again(cut_off, before):
    takeover = cut_off.takeover
    links = [takeover.layout.app, takeover.layout.venv]
    for link in links:
        if before == "a link":
            os.symlink("current", link)
        elif before == "a directory":
            os.makedirs(os.path.join(link, "code"))
    takeover.install({})
    for link in links:
        assert os.path.lexists(link) == (before == "a link")
        swap_file_link(link, "releases/adopted")
    takeover.put_back()
    for link in links:
        assert os.path.islink(link) == (before == "a link")
        assert os.path.isdir(os.path.join(link, "code")) == (before == "a directory")
        assert before != "a link" or os.readlink(link) == "current"


def test_a_new_service_that_was_never_installed_is_not_stopped(cut_off):
    cut_off("switching", installed=False)
    assert "stop shop.socket shop.service" not in cut_off.machine.told


def test_after_that_the_new_one_stays(cut_off):
    assert cut_off("switched", installed=True) == "shop.service serves"
    assert [site["content"] for site in cut_off.machine.sites] == [cut_off.site["content"]]
    assert cut_off.machine.sites[0]["remove_links"] == cut_off.plan["sites"]
    assert "enable shop.socket shop.service" in cut_off.machine.told
    assert "disable web.service" in cut_off.machine.told
    assert not any(words.startswith(("start web", "stop shop.")) for words in cut_off.machine.told)
    # What clients still send to the candidate's socket is waited for.
    told = cut_off.machine.told
    assert told.index("start shop-adoption.service") < told.index("waits for ['worker 0']")
    assert told.index("waits for ['worker 0']") < told.index("candidate ends")
    record = cut_off.record.read()
    assert (record["state"], record["variables"]) == ("done", {"flask_app_user": "ada"})


# Whether the application can write


@pytest.fixture
def writing(cut_off, tmp_path, monkeypatch):
    """A takeover of one directory, and a program that says this when it is started."""
    takeover, seen = cut_off.takeover, []
    (tmp_path / "shop/shared/media").mkdir(parents=True)
    move = {"kind": "uploads", "source": "/old/up", "target": "media", "link": "up", "via": "", "why": ""}
    takeover.plan["moves"] = [move]
    program, given, said, unit = takeover.writing_paths()

    def writes(*faults, code=0):
        def systemctl(*words):
            if words[0] == "start":
                with open(given) as file:
                    seen.extend(path for _kind, path in json.load(file))
                with open(unit) as file:
                    seen.append(file.read())
                with open(said, "w") as file:
                    file.write("".join(f"{fault}\n" for fault in faults))
                return code, "it failed"
            return 0, ""

        monkeypatch.setattr(adoption_switch, "run_systemctl", systemctl)
        takeover.prove_writes(UNIT_FILES, "/srv/release")

    writes.seen, writes.takeover, writes.paths = seen, takeover, [program, given, said, unit]
    return writes


def test_the_program_gets_every_place_and_leaves_no_file(writing):
    writing()
    *places, unit = writing.seen
    assert places == [f"{writing.takeover.layout.shared}/media", "/srv/release/up"]
    assert f"ExecStart={writing.takeover.layout.next}/.venv/bin/python -I {writing.paths[0]} {writing.paths[1]}" in unit
    assert not any(os.path.lexists(path) for path in writing.paths)


@pytest.mark.parametrize(
    ("faults", "code", "says"),
    [
        (["/srv/release/up (Read-only file system)"], 0, "the application cannot write to /srv/release/up (Read-only"),
        ([], 1, "it failed"),
    ],
)
def test_where_it_cannot_write_the_adoption_fails(writing, faults, code, says):
    with pytest.raises(adoption_switch.ActivationError, match="^" + re.escape(says)) as error:
        writing(*faults, code=code)
    assert error.value.phase == "writes"
    assert not any(os.path.lexists(path) for path in writing.paths)


def test_where_nothing_was_written_nothing_is_started(writing):
    writing.takeover.plan["moves"] = []
    writing("must not be said")
    assert writing.seen == []

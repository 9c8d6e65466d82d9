# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recovery from an interrupted activation, and the write check. Molecule tests the whole activation."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._adoption import (
    activation,
    candidate,
    routing,
    write_check,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.deployment import (
    OldDeployment,
    format_deployment,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import Move
from ansible_collections.flaskops.production.plugins.module_utils._adoption.record import (
    ACTIVATED,
    ACTIVATING,
    COPYING,
    DONE,
    AdoptionRecord,
    KeptFiles,
    write_root_file,
)
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._files.links import swap_file_link
from ansible_collections.flaskops.production.plugins.module_utils._releases.failure import ActivationError


class FakeHost:
    """Records the commands to systemd and Nginx."""

    def __init__(self, monkeypatch):
        self.commands = []
        self.sites = []
        for module in (activation, candidate, write_check):
            monkeypatch.setattr(module, "run_systemctl", self.run_systemctl)
            monkeypatch.setattr(module, "reload_units", lambda: None)
        for module in (activation, candidate):
            monkeypatch.setattr(
                module, "read_unit_properties", lambda _unit, *_names: {"MainPID": "0", "ActiveState": "active"}
            )
        monkeypatch.setattr(activation, "send_health_request", lambda *_arguments: 200)
        monkeypatch.setattr(activation, "sync_filesystem", lambda _path: None)
        monkeypatch.setattr(
            activation.Activation, "stop_candidate", lambda _self: self.commands.append("stop candidate")
        )
        monkeypatch.setattr(routing, "Site", lambda _module, params: FakeSite(self, params))
        monkeypatch.setattr(routing, "NginxService", lambda *_arguments: FakeNginx(self))
        monkeypatch.setattr(
            activation, "wait_for_exit", lambda workers, _seconds: self.commands.append(f"wait for {workers}")
        )

    def run_systemctl(self, *words):
        self.commands.append(" ".join(words))
        return 0, ""

    def find(self, *commands):
        """Return the positions of commands."""
        return [self.commands.index(command) for command in commands]


class FakeNginx:
    replaced = ()

    def __init__(self, host):
        self.host = host

    def read_main_file(self):
        return ""

    def find_master(self, _text):
        return "master"

    def reload(self, _master):
        self.host.commands.append("reload nginx")
        self.replaced = ["worker 0"]
        return ""


class FakeSite:
    replaced = ()

    def __init__(self, host, params):
        self.host, self.params = host, params

    def run(self, check_mode):
        self.host.sites.append(self.params)
        self.replaced = ["worker 0"]

    def clean_up(self):
        pass


class Interrupted:
    """An interrupted activation: the adoption of web.service by the application shop."""

    def __init__(self, path, monkeypatch):
        self.layout, self.host = Layout(str(path / "shop")), FakeHost(monkeypatch)
        os.makedirs(self.layout.state)
        self.record = AdoptionRecord(self.layout)
        self.deployment = OldDeployment(
            directory="/home/ada/shop",
            code="/home/ada/shop",
            unit="web.service",
            listen="unix:/home/ada/shop/shop.sock",
            sites=[str(path / "nginx/ada.conf")],
            variables={"flask_app_user": "ada"},
        )
        self.old_site = self.deployment.sites[0]
        self.site = {
            "path": str(path / "nginx/shop.conf"),
            "link": str(path / "nginx/enabled-shop"),
            "content": f"proxy_pass http://unix:{self.layout.socket};\n",
            "remove": [],
        }
        kept = KeptFiles(self.record)
        write_root_file(self.old_site, b"by hand\n")
        kept.keep(self.old_site, "nginx")
        kept.keep(self.site["path"], "nginx")
        os.unlink(self.old_site)
        write_root_file(self.site["path"], b"the new one\n")
        self.record.write(deployment=format_deployment(self.deployment), site=self.site)

    def make_activation(self, **changes):
        return activation.AdoptionActivation(None, self.layout, "shop", None, replace(self.deployment, **changes))

    def recover(self, state, **values):
        self.record.write(state=state, **values)
        return activation.recover(None, self.layout, "shop", None)


@pytest.fixture
def interrupted(tmp_path, as_root, monkeypatch):
    monkeypatch.setattr(write_check, "RUNTIME", str(tmp_path))
    monkeypatch.setattr(candidate, "RUNTIME_UNITS", str(tmp_path / "run"))
    return Interrupted(tmp_path, monkeypatch)


def test_before_the_new_service_answers_the_old_deployment_is_restored(interrupted):
    assert interrupted.recover(ACTIVATING, installed=True) == "web.service serves again"
    order = interrupted.host.find(
        "stop shop.socket shop.service", "start web.service", "reload nginx", "wait for ['worker 0']", "stop candidate"
    )
    assert order == sorted(order)
    with open(interrupted.old_site) as file:
        assert file.read() == "by hand\n"
    assert not os.path.exists(interrupted.site["path"])
    assert interrupted.record.read()["state"] == COPYING
    assert interrupted.recover(COPYING) == ""


def test_nginx_is_reloaded_even_if_its_files_are_restored(interrupted):
    """While the old service is replaced, the old site is on the disk, but Nginx has read the new one."""
    KeptFiles(interrupted.record).restore("nginx")
    assert interrupted.recover(ACTIVATING, installed=True, enabled=["web.service"]) == "web.service serves again"
    order = interrupted.host.find("disable shop.socket", "enable web.service", "start web.service", "reload nginx")
    assert order == sorted(order)


def test_waiting_requests_are_forwarded_to_the_old_service(interrupted, monkeypatch):
    write_root_file(candidate.get_runtime_path("shop-adoption.socket"), b"")
    write_root_file(candidate.get_runtime_path("shop-adoption.service"), b"the release, on copies of the data")
    kill, texts = "kill --signal=SIGKILL shop-adoption.service", []

    def run_systemctl(*words):
        if " ".join(words) == kill:
            with open(candidate.get_runtime_path("shop-adoption.service")) as unit:
                texts.append(unit.read())
        return interrupted.host.run_systemctl(*words)

    monkeypatch.setattr(candidate, "run_systemctl", run_systemctl)
    interrupted.recover(ACTIVATING, installed=True)
    # A waiting request starts the service again as soon as it has ended.
    assert "systemd-socket-proxyd" in texts[0] and texts[0].endswith(" /home/ada/shop/shop.sock\nLimitNOFILE=65536\n")
    order = interrupted.host.find(
        "start web.service", "reload nginx", kill, "start shop-adoption.service", "wait for ['worker 0']"
    )
    assert order == sorted(order)
    assert os.listdir(candidate.RUNTIME_UNITS) == []


@pytest.mark.parametrize("before", ["nothing", "a link", "a directory"])
def test_the_links_of_the_layout_are_removed_by_a_rollback(interrupted, before):
    links = [interrupted.layout.app, interrupted.layout.venv]
    for link in links:
        if before == "a link":
            os.symlink("current", link)
        elif before == "a directory":
            os.makedirs(os.path.join(link, "code"))
    adoption = interrupted.make_activation()
    adoption.install_units({})
    for link in links:
        assert os.path.lexists(link) == (before == "a link")
        swap_file_link(link, "releases/adopted")
    adoption.roll_back()
    for link in links:
        assert os.path.islink(link) == (before == "a link")
        assert os.path.isdir(os.path.join(link, "code")) == (before == "a directory")
        assert before != "a link" or os.readlink(link) == "current"


def test_a_service_that_was_never_installed_is_not_stopped(interrupted):
    interrupted.recover(ACTIVATING, installed=False)
    assert "stop shop.socket shop.service" not in interrupted.host.commands


def test_after_the_new_service_has_answered_the_activation_is_completed(interrupted):
    assert interrupted.recover(ACTIVATED, installed=True) == "shop.service serves"
    host = interrupted.host
    assert [site["content"] for site in host.sites] == [interrupted.site["content"]]
    assert host.sites[0]["remove_links"] == interrupted.deployment.sites
    assert "enable shop.socket shop.service" in host.commands
    assert "disable web.service" in host.commands
    assert not any(words.startswith(("start web", "stop shop.")) for words in host.commands)
    # Clients may still send requests to the candidate's socket.
    order = host.find("start shop-adoption.service", "wait for ['worker 0']", "stop candidate")
    assert order == sorted(order)
    record = interrupted.record.read()
    assert (record["state"], record["variables"]) == (DONE, {"flask_app_user": "ada"})


# The routing of requests


def test_requests_wait_for_the_candidate_and_uploads_stay_in_their_old_directory(interrupted, tmp_path):
    layout = interrupted.layout
    move = Move("uploads", r"/home/ada/shop/up\1", "media", "up", "", "")
    adoption = interrupted.make_activation(moves=[move, Move("data", "/home/ada/shop/data", "data", "data", "", "")])
    content = (
        f"proxy_pass http://unix:{layout.socket};\n"
        f"if (!-e {layout.app}) {{ return 503; }}\n"
        f"alias {layout.shared}/media/; disable_symlinks on from={layout.shared}/media;\n"
        f"alias {layout.shared}/media-of-others/; alias {layout.shared}/data/;\n"
    )
    site = routing.SiteFile(interrupted.site["path"], interrupted.site["link"], content, [])
    assert adoption.routing.route_to_candidate(site, "/run/other.sock") == ["worker 0"]
    assert interrupted.host.sites[-1]["content"] == (
        "proxy_pass http://unix:/run/other.sock;\n"
        f"if (!-e {layout.next}) {{ return 503; }}\n"
        f"alias {move.source}/; disable_symlinks on from={move.source};\n"
        f"alias {layout.shared}/media-of-others/; alias {layout.shared}/data/;\n"
    )
    adoption.routing.route_to_service(site)
    assert interrupted.host.sites[-1]["content"] == content


def test_old_sites_become_links_to_their_kept_copies(interrupted):
    """Nginx reads the kept copy until it has accepted the new site."""
    write_root_file(interrupted.old_site, b"by hand\n")
    adoption = interrupted.make_activation()
    adoption.routing.route_to_service(routing.SiteFile(**interrupted.site))
    assert os.readlink(interrupted.old_site) == adoption.kept.get_place(interrupted.old_site)
    assert interrupted.host.sites[-1]["remove_links"] == [interrupted.old_site]


# The write check


UNIT = "the unit of the check"


@pytest.fixture
def run_write_check(interrupted, tmp_path, monkeypatch):
    """Return a function that checks one directory, with a program that prints these failures."""
    (tmp_path / "shop/shared/media").mkdir(parents=True)
    move = Move("uploads", "/old/up", "media", "up", "", "")
    check, started = write_check.WriteCheck("shop"), []

    def run(*failures, code=0, moves=(move,)):
        def run_systemctl(*words):
            if words[0] == "start":
                with open(check.paths) as file:
                    started.extend(path for _kind, path in json.load(file))
                with open(candidate.get_runtime_path(check.unit)) as file:
                    started.append(file.read())
                with open(check.output, "w") as file:
                    file.write("".join(f"{failure}\n" for failure in failures))
                return code, "it failed"
            return 0, ""

        monkeypatch.setattr(write_check, "run_systemctl", run_systemctl)
        adoption = interrupted.make_activation(moves=list(moves))
        adoption.check_writes("/srv/release", {"shop-adoption-writes.service": UNIT})

    run.started, run.files, run.shared = started, check.list_files(), interrupted.layout.shared
    return run


def test_the_program_gets_every_path_and_leaves_no_file(run_write_check):
    run_write_check()
    assert run_write_check.started == [f"{run_write_check.shared}/media", "/srv/release/up", UNIT]
    assert not any(os.path.lexists(path) for path in run_write_check.files)


@pytest.mark.parametrize(
    ("failures", "code", "message"),
    [
        (["/srv/release/up (Read-only file system)"], 0, "the application cannot write to /srv/release/up (Read-only"),
        ([], 1, "it failed"),
    ],
)
def test_an_adoption_without_write_access_fails(run_write_check, failures, code, message):
    with pytest.raises(ActivationError, match="^" + re.escape(message)) as error:
        run_write_check(*failures, code=code)
    assert error.value.phase == "writes"
    assert not any(os.path.lexists(path) for path in run_write_check.files)


def test_without_data_no_check_is_started(run_write_check):
    run_write_check("a failure", moves=())
    assert run_write_check.started == []

# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results of the module adoption_plan."""

from __future__ import annotations

import json
import os

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._adoption import planner, surroundings
from ansible_collections.flaskops.production.plugins.module_utils._core.text import escape_text
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import Account, read_node, scan_tree
from ansible_collections.flaskops.production.plugins.module_utils._nginx import parser
from ansible_collections.flaskops.production.plugins.modules import adoption_plan


@pytest.fixture
def shop(tmp_path, as_root, monkeypatch):
    code = tmp_path / "shop"
    (code / "uploads").mkdir(parents=True)
    for name in ("wsgi.py", "requirements.txt", ".env", "uploads/cat.png"):
        (code / name).write_text("x")
    site = f"server {{ location / {{ proxy_pass http://unix:{code}/shop.sock; }} }}"
    files = {"/etc/nginx/nginx.conf": "http { include conf.d/*; }", "/etc/nginx/conf.d/shop.conf": site}

    def read(name, root, scanned=0):
        facts = Facts("shop", str(code), code=str(code), live=str(code), listen=f"unix:{code}/shop.sock")
        words = "/env/bin/gunicorn -b unix:shop.sock wsgi:app"
        facts.unit = {"Id": "old.service", "ActiveState": "active", "ExecStart": f"{{ argv[]={words} ; }}"}
        facts.tree, facts.truncated = scan_tree(str(code))
        facts.nodes = {str(code): read_node(str(code))}
        facts.runtime_user = Account("www-data", 33, (33,), "www-data")
        facts.config = parser.build_config(parser.resolve_includes(files, "/etc/nginx/nginx.conf"))
        facts.nginx_state = "valid"
        return facts

    monkeypatch.setattr(planner, "read_facts", read)
    monkeypatch.setattr(planner, "send_health_request", lambda *_where: 200)
    monkeypatch.setattr(planner, "read_unit_properties", lambda *_unit: {"LoadState": "not-found"})
    monkeypatch.setattr(planner, "read_unit_text", lambda _unit: (0, "[Service]\nLimitNOFILE=4096\nExecStartPre=/x\n"))
    monkeypatch.setattr(surroundings, "build_environment", lambda *_of: b"")
    monkeypatch.setattr(planner.HostSystem, "read_service_files", lambda _system: {})
    monkeypatch.setattr(planner, "list_unit_variables", lambda _unit: ["COLOUR", "SECRET_KEY"])
    return code


def make_plan(run_module):
    result = run_module(adoption_plan, {"name": "shop", "root": "/srv/tidy"})
    text = json.dumps(result, ensure_ascii=False)
    text.encode("utf-8")
    assert escape_text(text) == text
    return result


def test_the_plan_contains_the_input_of_the_copy(shop, run_module):
    result = make_plan(run_module)
    assert result["obstacles"] == []
    assert (result["adoption"]["tops"], result["adoption"]["user"]) == ([str(shop)], "www-data")
    message = "\n".join(result["plan"])
    assert f"{shop}/uploads -> /srv/tidy/shared/uploads (1 file, 1 B; uploads)" in message
    assert result["adoption"]["unit_variables"] == ["COLOUR", "SECRET_KEY"]
    for line in (
        "Environment= of old.service (COLOUR, SECRET_KEY) -> /srv/tidy/shared/.env (no value is shown)",
        "setting: gunicorn_systemd_limit_nofile: 4096",
        "CHECK: Not adopted from old.service: ExecStartPre.",
    ):
        assert line in message


def test_unprintable_names_of_uploads_and_code_are_accepted(shop, run_module):
    for directory in ("uploads", "."):
        for name in (b"caf\xe9.png", b"\x1b]0;owned\x07", "\u202egnp.exe".encode()):
            with open(os.path.join(os.fsencode(shop / directory), name), "wb"):
                pass
    os.symlink(b"/etc/\xff", os.path.join(os.fsencode(shop), b"link\xff"))
    result = make_plan(run_module)
    assert result["obstacles"] == []
    assert f"{shop}/uploads -> /srv/tidy/shared/uploads (4 files, 1 B; uploads)" in "\n".join(result["plan"])
    assert any("lead out of" in line and r"link\xff -> /etc/\xff" in line for line in result["plan"])


def test_an_unsafe_link_is_an_obstacle(shop, run_module):
    (shop / ".env").unlink()
    (shop / ".env").symlink_to("/etc/shadow")
    result = make_plan(run_module)
    assert len(result["obstacles"]) == 1 and "adoption" not in result
    assert result["plan"] == [f"OBSTACLE: {result['obstacles'][0]}"]
    assert f"{shop}/.env is a symbolic link to /etc/shadow, which leads out of {shop}" in result["plan"][0]


# Services and data beside it


@pytest.fixture
def beside(shop, monkeypatch):
    """An application in src/, with data beside it and a worker. Returns its directory and the states of its units."""
    top = shop.parent / "top"
    top.mkdir()
    shop.rename(top / "src")
    for name in ("data/words.txt", "releases/1/x.db", ".cache/x.db", "shared/x.txt"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text("x")
    read = planner.read_facts

    def read_beside(name, root, scanned=0):
        shop.symlink_to(top / "src")
        facts = read(name, root, scanned)
        shop.unlink()
        facts.root, facts.code, facts.live = str(top), str(top / "src"), str(top / "src")
        facts.releases = str(top / "releases")
        facts.tree, facts.truncated = scan_tree(facts.code)
        facts.nodes = {facts.code: read_node(facts.code)}
        facts.unit["Id"] = "shop-web.service"
        return facts

    states = {
        "shop-worker.service": {"ActiveState": "active", "UnitFileState": "enabled", "TriggeredBy": ""},
        "shop-web.service": {},
        "blog.service": {},
    }
    texts = {
        "shop-web.service": f"[Service]\nWorkingDirectory={top}/src\n",
        "shop-worker.service": f"[Service]\nExecStart=/x {top}/src/worker.py\n",
        "blog.service": f"[Service]\n# {top}\nWorkingDirectory={top}-blog\n",
    }
    monkeypatch.setattr(planner, "read_facts", read_beside)
    monkeypatch.setattr(planner.HostSystem, "read_service_files", lambda _system: texts)
    for module in (planner, surroundings):
        monkeypatch.setattr(
            module, "read_unit_properties", lambda unit, *_names: states.get(unit, {"LoadState": "not-found"})
        )
    return top, states


def plan_with(run_module, **more):
    return run_module(adoption_plan, {"name": "shop", "root": "/srv/tidy", **more})


def test_the_choice_between_several_services_is_an_obstacle(beside, run_module):
    top, _states = beside
    names = "shop-web.service and shop-worker.service"
    message = f"{names} run from {top}: set adopt_unit to the one that answers HTTP requests."
    assert plan_with(run_module)["obstacles"] == [message]
    assert plan_with(run_module, leave=["shop-worker.service"])["obstacles"] == []


@pytest.mark.parametrize(
    ("state", "runs"),
    [
        ({}, True),
        ({"ActiveState": "inactive"}, True),
        ({"ActiveState": "inactive", "UnitFileState": "disabled"}, False),
        ({"ActiveState": "failed", "UnitFileState": "static", "TriggeredBy": "shop-worker.timer"}, True),
    ],
)
def test_another_running_or_enabled_service_is_an_obstacle(beside, run_module, state, runs):
    _top, states = beside
    states["shop-worker.service"].update(state)
    states["shop-worker.timer"] = {"ActiveState": "active"}
    result = plan_with(run_module, unit="shop-web")
    assert [message.split()[0] for message in result["obstacles"]] == (["shop-worker.service"] if runs else [])
    assert runs or any("shop-worker.service names" in line for line in result["plan"])


def test_only_files_beside_the_code_are_scanned(beside, run_module):
    top, _states = beside
    facts = planner.read_facts("shop", "")
    found = {os.path.relpath(item.path, top) for item in surroundings.scan_beside(facts, "/srv/tidy")}
    assert {"data/words.txt", "shared/x.txt"} <= found
    assert not any(name.startswith(("src/", "releases/", ".cache/")) for name in found)
    # Data in shared/ stays there.
    found = {os.path.relpath(item.path, top) for item in surroundings.scan_beside(facts, str(top))}
    assert "data/words.txt" in found and "shared/x.txt" not in found


def test_data_that_a_variable_names_is_planned(beside, run_module, monkeypatch):
    top, states = beside
    states["shop-worker.service"].update(ActiveState="inactive", UnitFileState="disabled")
    text = f"WORDS={top}/data/words.txt\nSECRET=not-to-be-shown\n"
    monkeypatch.setattr(surroundings, "build_environment", lambda *_of: text.encode())
    result = plan_with(run_module, unit="shop-web")
    assert result["obstacles"] == []
    message = "\n".join(result["plan"])
    assert (
        f"{top}/data -> /srv/tidy/shared/data (1 file, 1 B; WORDS names it)" in message
        and "not-to-be-shown" not in message
    )
    assert [f"{top}/data", "/srv/tidy/shared/data"] in [list(pair) for pair in result["adoption"]["rewrites"]]

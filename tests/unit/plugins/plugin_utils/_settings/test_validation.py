# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of all roles in one step: types, kinds, rules between settings, and names."""

from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.plugin_utils._settings.specs import ROLES

ALL = ["flask_app", "layout", "venv", "gunicorn_systemd", "nginx_site", "release"]
PULL = {"release_transfer": "pull", "release_pull_url": "https://releases.example.org/"}
GOOD = [
    {},
    {
        "flask_app_name": "a" * 32,
        "flask_app_root": "/opt/apps/x",
        "flask_app_user": "web",
        "flask_app_group": "www-data",
    },
    {"flask_app_wsgi": "flaskr:create_app('x')", "flask_app_env": {"SCRIPT_NAME": "/shop", "A": "x\ny", "B": 1}},
    {"venv_python": "/opt/python/bin/python3.13", "venv_requirements": ["/etc/r.txt", "a/b.txt"]},
    {"venv_find_links": ["wheels", "/srv/wheels", "https://example.org/wheels"], "venv_uv": "/usr/bin/uv"},
    {"venv_installer": "uv", "venv_requirements": ["web/uv.lock"]},
    {"venv_index_url": "https://u:p@pypi.example.org/simple", "venv_extra_index_urls": ["file:///srv/simple"]},
    {"gunicorn_systemd_workers": "5", "gunicorn_systemd_memory_max": "40%", "gunicorn_systemd_tasks_max": 256},
    {"gunicorn_systemd_settings": {"keepalive": 75}, "gunicorn_systemd_hardening": {"PrivateTmp": False}},
    {"gunicorn_systemd_credentials": {"token": "/etc/app/token"}, "gunicorn_systemd_read_write_paths": ["/var/lib/x"]},
    {"gunicorn_systemd_timeout": "{{ 60 * 2 }}"},
    {"release_health_status": ["200", 204], "release_health_headers": {"X-A": "b"}, "release_health_interval": 0.5},
    {"release_rollback_to": "2026-04-21-120000-1a2b3c4", "flask_app_serial": [1, "25%"]},
    {"flask_app_serial": 2, "flask_app_max_fail_percentage": "12.5"},
    {**PULL, "release_pull_directory": str(ROLES)},
    {"flask_app_root": "/opt/my.app", "nginx_site_access_log": "/opt/myyapp/shared/access.log"},
    {"release_before_stage": [__file__], "release_pull_directory": "/nowhere"},
]
BAD = [
    # What is set, and parts of the only sentence.
    ({"flask_app_name": "my/app"}, "flask_app_name is 'my/app'", "1 to 32 characters"),
    ({"flask_app_name": "shop-next"}, "must not end in '-next'", "an application 'shop'"),
    ({"flask_app_name": "systemd-x"}, "is a unit of the system"),
    ({"flask_app_root": "/srv/x/"}, "flask_app_root is '/srv/x/'", "at least two levels"),
    ({"flask_app_root": "/home/x"}, "flask_app_root is '/home/x'", "outside /root, /home, /tmp"),
    (
        {"flask_app_user": "root", "flask_app_group": "web", "flask_app_owner": "me"},
        "flask_app_user is 'root'",
        "such as myapp",
    ),
    ({"flask_app_group": "root"}, "flask_app_group is 'root'"),
    ({"flask_app_owner": "my-app"}, "flask_app_owner is 'my-app'", "flask_app_user ('my-app')"),
    (
        {"flask_app_web_group": "www data", "gunicorn_systemd_socket_group": "www-data"},
        "flask_app_web_group is 'www data'",
    ),
    ({"flask_app_wsgi": "wsgi"}, "flask_app_wsgi is 'wsgi'", "wsgi:app"),
    ({"flask_app_env": {"SCRIPT_NAME": "shop/"}}, "flask_app_env.SCRIPT_NAME is 'shop/'", "such as /shop"),
    ({"flask_app_env": {"A": ["secret"]}}, "flask_app_env.A is a list"),
    ({"flask_app_env": ["A=1"]}, "flask_app_env", "dict"),
    ({"layout_create_account": "perhaps"}, "layout_create_account", "bool"),
    ({"venv_python": "pypy"}, "venv_python is 'pypy'", "python3.12"),
    ({"venv_packages": "gevent"}, "venv_packages: a string is set", "in brackets"),
    ({"venv_packages": ["-e https://u:secret@example.org/x"]}, "venv_packages has '-e https://****@example.org/x'"),
    ({"venv_requirements": ["../r.txt"]}, "venv_requirements has '../r.txt'", "without '..'"),
    ({"venv_requirements": ["a/uv.lock"]}, "venv_requirements has uv.lock", "venv_installer is 'pip'"),
    ({"venv_index_url": "u:secret@pypi.example.org"}, "venv_index_url is '****@pypi.example.org'", "https://"),
    ({"venv_extra_index_urls": ["ftp://u:secret@a.org"]}, "venv_extra_index_urls has 'ftp://****@a.org'"),
    ({"venv_timeout": 0}, "venv_timeout is 0,", "at least 1"),
    ({"venv_source": "app"}, "venv_source is 'app'", "absolute path"),
    ({"venv_environment": {"MY-CA": "x"}}, "venv_environment has the name 'MY-CA'"),
    ({"gunicorn_systemd_workers": 0}, "gunicorn_systemd_workers is 0,", "at least 1"),
    ({"gunicorn_systemd_workers": "many"}, "gunicorn_systemd_workers", "'many'", "int"),
    ({"gunicorn_systemd_handover": "blue"}, "gunicorn_systemd_handover", "overlap, restart", "blue"),
    ({"gunicorn_systemd_settings": {"bind": "x"}}, "gunicorn_systemd_settings has bind", "remove"),
    ({"gunicorn_systemd_settings": {"raw_env": ["SCRIPT_NAME=/x"]}}, "raw_env has SCRIPT_NAME", "flask_app_env"),
    ({"gunicorn_systemd_hardening": {"PrivateTMP": False}}, "has PrivateTMP", "PrivateTmp", "BindPaths"),
    ({"gunicorn_systemd_credentials": {"a/b": "/etc/x"}}, "gunicorn_systemd_credentials has a/b"),
    ({"gunicorn_systemd_unit_overrides": {"Nice": 5}}, "gunicorn_systemd_unit_overrides has Nice"),
    ({"gunicorn_systemd_timeout": 120, "nginx_site_proxy_read_timeout": "60s"}, "Nginx gives up after 60 s"),
    ({"gunicorn_systemd_graceful_timeout": 30}, "gunicorn_systemd_graceful_timeout is 30", "60 or more"),
    (
        {"gunicorn_systemd_credentials": {"token": "/srv/my-app/shared/instance/token"}},
        *("gunicorn_systemd_credentials has '/srv/my-app/shared/instance/token'", "/etc/credstore"),
    ),
    (
        {"flask_app_root": "/opt/my.app", "nginx_site_error_log": "/opt/my.app/run/error.log"},
        *("nginx_site_error_log is '/opt/my.app/run/error.log'", "opens its logs as root", "/var/log/nginx"),
    ),
    ({"release_keep": 0}, "release_keep is 0,", "at least 1"),
    ({"release_transfer": "pull"}, "release_pull_url is not set"),
    ({**PULL, "release_pull_directory": "/nowhere"}, "release_pull_directory is '/nowhere'", "an existing directory"),
    ({"release_pull_url": "ftp://a:p@ss@example.org/x?key"}, "'ftp://****@example.org/x?****'", "an http or https URL"),
    ({"release_rollback_to": "x", "release_rollback_rollout": True}, "only one of them"),
    ({"release_before_stage": ["drain.yml"]}, "release_before_stage has 'drain.yml'", "drain.yml"),
    ({"release_on_failure": ["/x/y.yml"]}, "release_on_failure has '/x/y.yml'", "no such file", "Correct the path."),
    ({"release_health_status": [42]}, "release_health_status is [42]", "100 to 599"),
    ({"release_health_headers": {"host": "a", "X Y": "1"}}, "release_health_headers has 'host', 'X Y'"),
    ({"flask_app_serial": [1, 0]}, "flask_app_serial is '1, 0'", "'25%'"),
    ({"flask_app_max_fail_percentage": "few"}, "flask_app_max_fail_percentage is 'few'", "0 to 100"),
    ({"release_helth_path": "/x"}, "release_helth_path is set, but no role reads it: release_health_path is meant."),
    ({"nginx_site_listen": "{{ port_of_mine }}"}, "nginx_site_listen cannot be evaluated", "port_of_mine"),
    ({"flask_app_name": None}, "flask_app_name cannot be evaluated", "Set flask_app_name to the name"),
]


@pytest.mark.parametrize("given", GOOD)
def test_valid_settings_are_accepted(find_problems, given):
    assert find_problems(ALL, given) == []


@pytest.mark.parametrize(("given", "parts"), [(given, parts) for given, *parts in BAD])
def test_a_message_names_the_accepted_values(find_problems, given, parts):
    (problem,) = find_problems(ALL, given)
    assert [part for part in parts if part not in problem] == []
    assert "secret" not in problem and "Traceback" not in problem


def test_all_problems_are_reported_at_once(find_problems):
    problems = find_problems(
        ALL, {"flask_app_wsgi": "x", "release_keep": "few", "venv_packages": "x", "nginx_site_listen": 0}
    )
    assert [problem.split()[0].rstrip(":") for problem in problems if not problem.startswith("argument")] == [
        "venv_packages",
        "flask_app_wsgi",
        "nginx_site_listen",
    ]
    assert any("release_keep" in problem for problem in problems)


def test_a_single_role_is_validated(find_problems):
    assert find_problems(["flask_app", "layout"], {"nginx_site_listen": 0}) == []
    # Nothing is known of Nginx.
    assert find_problems(["flask_app", "gunicorn_systemd"], {"gunicorn_systemd_graceful_timeout": 5}) == []
    assert find_problems(
        ["flask_app", "gunicorn_systemd"],
        {"gunicorn_systemd_graceful_timeout": 5, "nginx_site_proxy_read_timeout": "60s"},
    )


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"adopt_from": "shop"}, "adopt_from is 'shop'"),
        ({"adopt_from": "/srv/../x"}, "without '..'"),
        ({"adopt_unit": "a b"}, "adopt_unit is 'a b'"),
    ],
)
def test_settings_of_an_adoption(find_problems, given, part):
    assert part in " ".join(find_problems(["adopt"], given))
    assert find_problems(["adopt"], {"adopt_from": "/home/ada/shop", "adopt_unit": "shop.service"}) == []


def test_unknown_severities_are_rejected(find_problems):
    (problem,) = find_problems(["doctor"], {"doctor_fail_on": "all"})
    assert "doctor_fail_on" in problem and "error, warning, never" in problem and "all" in problem

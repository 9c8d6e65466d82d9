# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every setting of an old Gunicorn becomes one of the roles, or is named."""

from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._adoption.gunicorn import carry_gunicorn


def carried(words="gunicorn wsgi:app", text=""):
    return carry_gunicorn({"ExecStart": f"{{ argv[]=/env/bin/{words} ; }}"}, text)


@pytest.mark.parametrize(
    ("option", "line", "variable", "value"),
    [
        ("--graceful-timeout 90", "graceful_timeout = 90", "gunicorn_systemd_graceful_timeout", 90),
        ("--max-requests-jitter=50", "max_requests_jitter = 50", "gunicorn_systemd_max_requests_jitter", 50),
        ("--backlog 64", "backlog = 64", "gunicorn_systemd_backlog", 64),
        ("--log-level DEBUG", "loglevel = 'debug'", "gunicorn_systemd_log_level", "debug"),
        ("--keep-alive 75", "keepalive = 75", "gunicorn_systemd_settings", {"keepalive": 75}),
        (
            "--worker-connections 9",
            "worker_connections = 9",
            "gunicorn_systemd_settings",
            {"worker_connections": 9},
        ),
        ("-w 5", "workers: int = 5", "gunicorn_systemd_workers", 5),
        ("-k sync", "worker_class = 'sync'", "gunicorn_systemd_worker_class", "sync"),
        ("-k sync --threads 4", "worker_class = 'sync'\nthreads = 4", "gunicorn_systemd_worker_class", "gthread"),
        ("-k gevent", "worker_class = 'gevent'", "gunicorn_systemd_worker_class", "gevent"),
    ],
)
def test_a_setting_becomes_one_of_the_role(option, line, variable, value):
    for found in (carried(f"gunicorn {option} wsgi:app"), carried(text=line + "\n")):
        assert (found.variables[variable], found.wsgi, found.left) == (value, "wsgi:app", [])


def test_what_the_file_computes_is_named_and_never_run():
    text = (
        "import multiprocessing\nworkers = multiprocessing.cpu_count() * 2 + 1\n"
        "def on_starting(server):\n    raise SystemExit\ndef _own():\n    pass\nraw_env = ['A=1']\nbind = compute()\n"
    )
    found = carried(text=text)
    assert "gunicorn_systemd_workers" not in found.variables
    assert [name.split()[0] for name in found.left] == ["on-starting", "raw-env", "workers"] or [
        name.split()[0] for name in found.left
    ] == ["on_starting", "raw-env", "workers"]
    # The command line is stronger, and then nothing is computed.
    assert [name for name in carried("gunicorn -w 3 wsgi:app", text).left if "workers" in name] == []


@pytest.mark.parametrize("option", ["--preload", "--access-logfile /x", "--statsd-host x", "-k uvicorn.workers.Own"])
def test_what_no_setting_stands_for_is_named(option):
    assert [name in option or option.startswith("-k") for name in carried(f"gunicorn {option} wsgi:app").left] == [True]


def test_a_file_that_cannot_be_read_is_named():
    assert carried(text="workers = (").left == [
        "the whole file, which is not Python of this host's version (computed by its file)"
    ]

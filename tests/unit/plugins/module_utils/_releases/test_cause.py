# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The causes of program exits in logs of Gunicorn 21 to 27, Flask and systemd."""

from __future__ import annotations

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._releases.cause import find_cause

BOOT = """\
[2026-11-28 07:16:25 +0000] [13812] [INFO] Starting gunicorn 21.2.0
[2026-11-28 07:16:25 +0000] [13996] [INFO] Booting worker with pid: 13996
"""
GUNICORN = """\
[2026-11-28 07:16:25 +0000] [13996] [ERROR] Exception in worker process
Traceback (most recent call last):
  File "/srv/shop/venvs/1a2b/lib/python3.11/site-packages/gunicorn/arbiter.py", line 609, in spawn_worker
    worker.init_process()
  File "/srv/shop/venvs/1a2b/lib/python3.11/site-packages/gunicorn/util.py", line 371, in import_app
    mod = importlib.import_module(module)
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "<frozen importlib._bootstrap>", line 241, in _call_with_frames_removed
"""
OWN = """\
  File "/srv/shop/releases/v2/wsgi.py", line 4, in <module>
    {code}
    ^^^^^^^^
"""
REENTRANT = """\
Traceback (most recent call last):
  File "/srv/shop/venvs/1a2b/lib/python3.11/site-packages/gunicorn/arbiter.py", line 242, in handle_chld
    self.reap_workers()
  File "/usr/lib/python3.11/logging/__init__.py", line 1113, in emit
    self.flush()
RuntimeError: reentrant call inside <_io.BufferedWriter name='<stderr>'>
"""
ENDED = "[2026-11-28 07:16:26 +0000] [13812] [ERROR] Reason: Worker failed to boot.\n"


def worker(error, code="app = make()", between=""):
    """Return the log of two workers that fail with the same exception."""
    one = GUNICORN + OWN.format(code=code) + between + error + "\n"
    return BOOT + one + one + ENDED


def test_exception_and_frames_of_the_application_are_shown_once():
    found = find_cause(worker("ValueError: no such colour"))
    assert found.error == "ValueError: no such colour"
    assert found.lines == ('  File "/srv/shop/releases/v2/wsgi.py", line 4, in <module>', "    app = make()")
    assert not found.by_host and found.hint == ""


def test_noise_of_gunicorn_is_ignored():
    log = BOOT + REENTRANT + worker("PermissionError: [Errno 13] Permission denied: 'logs'") + REENTRANT
    assert find_cause(log).error == "PermissionError: [Errno 13] Permission denied: 'logs'"


def test_last_exception_of_a_chain_is_the_cause():
    first = GUNICORN + OWN.format(code="connect()") + "sqlite3.OperationalError: unable to open database file\n"
    chain = "\nThe above exception was the direct cause of the following exception:\n\n"
    second = GUNICORN.partition("\n")[2] + OWN.format(code="query()") + "sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) unable to open database file\n"  # fmt: skip # noqa: E501
    found = find_cause(BOOT + first + chain + second)
    assert found.error.startswith("sqlalchemy.exc.OperationalError")
    assert found.lines[-1] == "    query()"


def test_all_lines_of_an_exception_are_shown():
    error = "pydantic_core.ValidationError: 1 validation error for Settings\n  SECRET_KEY\n    Field required"
    assert "Field required" in find_cause(worker(error)).error


def test_at_most_ten_lines_of_the_application_are_shown():
    log = worker("RecursionError: maximum recursion depth exceeded", between=OWN.format(code="deeper()") * 20)
    assert len(find_cause(log).lines) == 10


def test_failed_health_check_is_shown_with_its_exception():
    """Flask logs the exception and answers 500, then the health check fails in the configuration of Gunicorn."""
    flask = "[2026-11-28 07:16:25,123] ERROR in app: Exception on /health [GET]\nTraceback (most recent call last):\n"
    check = '  File "/srv/shop/gunicorn.conf.py", line 80, in post_worker_init\n    raise RuntimeError(text)\n'
    log = BOOT + flask + OWN.format(code="query()") + "RuntimeError: no such table\n" + GUNICORN + check
    found = find_cause(log + "RuntimeError: GET /health answered 500, expected [200]\n")
    assert found.error == "GET /health answered 500, expected [200] (RuntimeError: no such table)"
    assert found.lines[-1] == "    query()"


def test_last_lines_are_shown_without_an_exception():
    found = find_cause(BOOT + "Waiting for the licence server\n")
    assert found.error == "" and found.lines[-1] == "Waiting for the licence server"
    assert len(find_cause("x\n" * 100).lines) == 10


def test_empty_log_has_no_cause():
    assert find_cause("") == ("", (), "", False)


@pytest.mark.parametrize("status", ["203/EXEC", "226/NAMESPACE", "200/CHDIR", "217/USER"])
def test_execution_failure_of_systemd_is_a_host_error(status):
    log = (
        "shop-next.service: Failed to execute /srv/shop/next/.venv/bin/gunicorn: Permission denied\n"
        f"shop-next.service: Main process exited, code=exited, status={status}\n"
    )
    found = find_cause(log)
    assert found.by_host
    assert found.error == (
        f"systemd could not execute it, status {status}: "
        "Failed to execute /srv/shop/next/.venv/bin/gunicorn: Permission denied"
    )


def test_missing_gunicorn_configuration_is_a_host_error():
    found = find_cause("Starting\n\nError: '/srv/shop/gunicorn.conf.py' doesn't exist\n")
    assert found.by_host and found.error == "its configuration /srv/shop/gunicorn.conf.py does not exist"
    assert "playbook site" in found.text()


HINTS = {
    "OSError: [Errno 30] Read-only file system: 'logs'": "'logs' in release_shared_paths",
    "PermissionError: [Errno 13] Permission denied: 'logs/app.log'": "'logs/app.log' in release_shared_paths",
    "FileNotFoundError: [Errno 2] No such file or directory: 'instance/app.db'": "release_shared_paths",
    "sqlite3.OperationalError: unable to open database file": "the database's directory",
    "sqlite3.OperationalError: attempt to write a readonly database": "the database's directory",
    "ModuleNotFoundError: No module named 'humanize'": "list it in the requirements file",
    "TypeError: app() missing 1 required positional argument: 'send'": "only WSGI is served",
    "TypeError: FastAPI.__call__() missing 1 required positional argument: 'send'": "only WSGI is served",
    "ImportError: _cffi_backend.so: failed to map segment from shared object": "noexec",
}


@pytest.mark.parametrize("error", HINTS)
def test_common_errors_have_a_hint(error):
    assert HINTS[error] in find_cause(worker(error)).hint


def test_missing_module_of_the_release_has_its_own_hint():
    found = find_cause(BOOT + GUNICORN + "ModuleNotFoundError: No module named 'wsgi'\n")
    assert found.hint == "the release has no module 'wsgi': set flask_app_wsgi to the one that defines the application"


def test_missing_environment_variable_is_named():
    frame = '  File "<frozen os>", line 679, in __getitem__\n'
    found = find_cause(worker("KeyError: 'SECRET_KEY'", code='os.environ["SECRET_KEY"]', between=frame))
    assert found.hint == "set the environment variable SECRET_KEY in flask_app_env"
    assert find_cause(worker("KeyError: 'colour'")).hint == ""


def test_missing_wsgi_application_is_reported():
    found = find_cause(BOOT + "Failed to find attribute 'app' in 'wsgi'.\n" + ENDED.replace("boot", "load"))
    assert found.error == "Failed to find attribute 'app' in 'wsgi'." and "flask_app_wsgi" in found.hint


@pytest.mark.parametrize(
    "error",
    ["OSError: [Errno 28] No space left on device", "OSError: [Errno 5] Input/output error: 'x'", "MemoryError"],
)
def test_host_errors_are_detected(error):
    assert find_cause(worker(error)).by_host

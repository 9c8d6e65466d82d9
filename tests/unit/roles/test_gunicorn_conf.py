# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gunicorn's configuration file, rendered by Ansible and executed."""

from __future__ import annotations

import itertools
import json
import logging
import os
import signal
import socket
import struct
import sys
import tempfile
import types

import pytest

# Their files are rendered once.
pytestmark = pytest.mark.xdist_group("gunicorn_conf")

SETTINGS = {
    "default": {},
    "everything": {
        "gunicorn_systemd_workers": "2",
        "gunicorn_systemd_threads": 1,
        "gunicorn_systemd_worker_class": "sync",
        "gunicorn_systemd_timeout": 31,
        "gunicorn_systemd_graceful_timeout": "32",
        "gunicorn_systemd_backlog": "3",
        "gunicorn_systemd_max_requests": 1000,
        "gunicorn_systemd_max_requests_jitter": 50,
        "gunicorn_systemd_log_level": "debug",
        "gunicorn_systemd_log_files": True,
    },
    "settings": {
        "gunicorn_systemd_settings": {
            "proc_name": 'a "quoted" \\ name\n',
            "keepalive": 75,
            "sendfile": False,
            "raw_env": ["A=1", "B=$x"],
            "forwarded_allow_ips": "*",
        }
    },
    "nested": {
        "gunicorn_systemd_settings": {
            "logconfig_dict": {"version": 1, "disable_existing_loggers": False, "filters": None},
        }
    },
    "nothing": {"gunicorn_systemd_settings": {"statsd_host": None}},
    "gevent": {"gunicorn_systemd_worker_class": "gevent"},
    "sync": {"gunicorn_systemd_worker_class": "sync", "gunicorn_systemd_threads": 4},
    "not ASCII": {"gunicorn_systemd_settings": {"proc_name": "Grüße 🚀"}},
}


@pytest.fixture(scope="module")
def texts(gunicorn_files):
    """The rendered file of each case."""
    return {name: files["/srv/my-app/gunicorn.conf.py"] for name, files in gunicorn_files(SETTINGS).items()}


@pytest.fixture
def execute(texts, tmp_path, monkeypatch):
    """Execute a rendered file as Gunicorn does, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    # The file completes the environment of its process.
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("RELEASE_HEALTH", raising=False)

    def run(name="default", notify=None, health=None):
        if notify:
            monkeypatch.setenv("NOTIFY_SOCKET", notify)
        if health:
            monkeypatch.setenv("RELEASE_HEALTH", json.dumps(health))
        conf = {"__name__": "gunicorn.conf"}
        exec(compile(texts[name], "gunicorn.conf.py", "exec"), conf)
        return conf

    return run


# The environment of the process


def test_a_process_sees_its_own_release_under_the_paths_of_the_live_one(execute, tmp_path, monkeypatch):
    monkeypatch.setenv("CONFIG", "/srv/my-app/app/config")
    monkeypatch.setenv("SEVERAL", "/srv/my-app/app:/srv/my-app/venv/lib,file:///srv/my-app/app/x?y")
    others = "/srv/my-app/app.cfg /srv/my-app/apps /mnt/srv/my-app/app /srv/my-app/venvs/1 /srv/my-app/app-2"
    monkeypatch.setenv("OTHERS", others)
    execute()
    prefix = os.path.realpath(sys.prefix)
    assert os.environ["CONFIG"] == f"{tmp_path}/config"
    assert os.environ["SEVERAL"] == f"{tmp_path}:{prefix}/lib,file://{tmp_path}/x?y"
    assert os.environ["OTHERS"] == others


def test_programs_of_the_venv_come_first_and_a_path_that_is_set_is_kept_behind_it(execute, monkeypatch):
    monkeypatch.setenv("PATH", "/opt/tools::/usr/bin")
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    prefix = os.path.realpath(sys.prefix)
    for _again in range(2):
        execute()
        assert os.environ["PATH"] == f"{prefix}/bin:/opt/tools:/usr/bin"
        assert os.environ["VIRTUAL_ENV"] == prefix
    monkeypatch.setenv("VIRTUAL_ENV", "/opt/venv")
    execute()
    assert os.environ["VIRTUAL_ENV"] == "/opt/venv"


@pytest.mark.parametrize(("pid", "listens"), [(1, "1"), (4711, "4700")])
def test_the_first_process_of_a_namespace_takes_the_socket_of_systemd(execute, monkeypatch, pid, listens):
    """With PrivatePIDs=, LISTEN_PID is the number outside, and Gunicorn would listen on a port instead."""
    monkeypatch.setenv("LISTEN_PID", "4700")
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setattr(os, "getpid", lambda: pid)
    execute()
    assert os.environ["LISTEN_PID"] == listens


@pytest.mark.parametrize("target", ["/health?a=b", "/shop/health?a=b"])
def test_a_candidate_below_a_prefix_is_asked_below_it(execute, monkeypatch, target):
    monkeypatch.setenv("SCRIPT_NAME", "/shop")
    seen = []

    def app(environ, start_response):
        seen.append((environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["QUERY_STRING"]))
        start_response("200 OK", [])
        return []

    assert execute()["answer"](app, target, "localhost") == 200
    assert seen == [("/shop", "/health", "a=b")]


@pytest.mark.parametrize(
    ("text", "lacks"),
    [
        ("import packages_of_nobody\n", "No module named 'packages_of_nobody'"),
        ("raise RuntimeError('gevent worker requires gevent 1.4 or higher')\n", "gevent worker requires gevent 1.4"),
    ],
)
def test_a_worker_class_without_its_packages_names_the_requirement(execute, tmp_path, monkeypatch, text, lacks):
    package = tmp_path / "lib/gunicorn/workers"
    package.mkdir(parents=True)
    for name in ("gunicorn/__init__.py", "gunicorn/workers/__init__.py"):
        (tmp_path / "lib" / name).write_text("")
    (package / "ggevent.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path / "lib")
    for name in [name for name in sys.modules if name.partition(".")[0] == "gunicorn"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError) as refused:
        execute("gevent")
    assert lacks in str(refused.value)
    assert str(refused.value).endswith("add gunicorn[gevent] to the requirements")
    (package / "ggevent.py").write_text("")
    assert execute("default")["worker_class"] == "gthread"
    for name in [name for name in sys.modules if name.partition(".")[0] == "gunicorn"]:
        monkeypatch.delitem(sys.modules, name)


# Settings


def test_the_header_says_who_manages_the_file(texts):
    assert texts["default"].startswith(
        "# Ansible managed: written by flaskops.production for the application my-app.\n"
    )


def test_numbers_are_numbers_and_logs_go_to_the_journal(execute):
    conf = execute()
    told = {name: conf[name] for name in ("workers", "threads", "timeout", "graceful_timeout", "max_requests")}
    assert told == {"workers": 3, "threads": 4, "timeout": 30, "graceful_timeout": 60, "max_requests": 0}
    assert (conf["worker_class"], conf["loglevel"], conf["errorlog"]) == ("gthread", "info", "-")
    assert "accesslog" not in conf
    assert conf["control_socket_disable"] is True and conf["worker_tmp_dir"] == "/dev/shm"


def test_sync_workers_have_one_thread(execute):
    """With more threads, Gunicorn would start workers of the class gthread."""
    assert execute("sync")["threads"] == 1


def test_every_setting_arrives(execute):
    conf = execute("everything")
    told = {name: conf[name] for name in ("workers", "threads", "timeout", "graceful_timeout", "max_requests")}
    assert told == {"workers": 2, "threads": 1, "timeout": 31, "graceful_timeout": 32, "max_requests": 1000}
    assert (conf["worker_class"], conf["loglevel"], conf["max_requests_jitter"]) == ("sync", "debug", 50)
    assert conf["errorlog"] == "/srv/my-app/shared/logs/gunicorn.error.log"
    assert conf["accesslog"] == "/srv/my-app/shared/logs/gunicorn.access.log"


@pytest.mark.parametrize("name", ["settings", "nested", "nothing", "not ASCII"])
def test_further_settings_arrive_as_they_were_written(execute, name):
    conf = execute(name)
    given = SETTINGS[name]["gunicorn_systemd_settings"]
    assert {key: conf[key] for key in given} == given


@pytest.mark.parametrize("before", [1, 20])
def test_as_many_connections_wait_as_is_set_also_on_a_socket_that_listens_already(execute, tmp_path, before):
    conf = execute("everything")
    clients = []
    with socket.socket(socket.AF_UNIX) as inherited:
        inherited.bind("sock")
        inherited.listen(before)
        conf["when_ready"](server(types.SimpleNamespace(sock=inherited)))
        with pytest.raises(BlockingIOError):
            for __ in range(30):
                clients.append(socket.socket(socket.AF_UNIX))
                clients[-1].setblocking(False)
                clients[-1].connect("sock")
    for client in clients:
        client.close()
    # The kernel lets one more wait than it is told, and the last one was refused.
    assert len(clients) - 1 == 3 + 1
    # Gunicorn before 27 asks for what its own setting says.
    assert conf["backlog"] == 3


# Code and interpreter belong together


def test_without_an_environment_in_the_release_nothing_is_compared(execute):
    execute()


def test_the_own_environment_of_the_release_is_accepted(execute, tmp_path):
    (tmp_path / ".venv").symlink_to(sys.prefix)
    execute()


@pytest.mark.parametrize("target", ["other", "missing"])
def test_another_environment_than_that_of_the_release_is_refused(execute, tmp_path, target):
    (tmp_path / "other").mkdir()
    (tmp_path / ".venv").symlink_to(target)
    with pytest.raises(SystemExit) as refused:
        execute()
    for word in (str(tmp_path), str(tmp_path / target), sys.prefix):
        assert word in str(refused.value.code)


# Readiness


class Config(dict):
    """Gunicorn's configuration."""

    set = dict.__setitem__


def server(*listeners):
    return types.SimpleNamespace(LISTENERS=list(listeners), cfg=Config(graceful_timeout=60))


class Worker:
    def __init__(self, application=None):
        self.wsgi = application
        self.log = logging.getLogger("test")
        self.cfg = Config(graceful_timeout=1)


@pytest.fixture
def systemd():
    """A socket to report readiness to, in a short path, and what arrived there."""
    with (
        tempfile.TemporaryDirectory(prefix="notify-") as directory,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end,
    ):
        end.setblocking(False)
        end.bind(os.path.join(directory, "notify"))
        yield end


@pytest.fixture(autouse=True)
def signals():
    """The signal by which a worker lets the main process know that it is ready."""
    before = signal.getsignal(signal.SIGRTMAX)
    yield
    signal.signal(signal.SIGRTMAX, before)


def boot(conf, worker, main=None):
    """Initialise a worker as Gunicorn does, in a child of the main process; its exit status."""
    conf["when_ready"](main or server())
    child = os.fork()
    if not child:
        try:
            conf["post_worker_init"](worker)
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


def received(end):
    try:
        return end.recv(100)
    except BlockingIOError:
        return None


def test_gunicorn_itself_finds_no_socket_to_report_to(execute, systemd):
    execute(notify=systemd.getsockname(), health={"path": "/", "host": "localhost", "status": [200]})
    assert "NOTIFY_SOCKET" not in os.environ
    assert "RELEASE_HEALTH" not in os.environ, "the application's environment is that of the service"
    assert received(systemd) is None, "reading the configuration is no readiness"


def test_a_worker_that_has_imported_the_application_reports_readiness(execute, systemd):
    systemd.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    conf = execute(notify=systemd.getsockname())
    boot(conf, Worker(application=None))
    boot(conf, Worker(application=None))
    data, credentials, _flags, _address = systemd.recvmsg(100, 100)
    assert data == b"READY=1"
    assert struct.unpack("3i", credentials[0][2])[0] == os.getpid(), "systemd believes the main process only"
    assert received(systemd) is None, "once is enough"


def test_readiness_reaches_an_abstract_socket(execute):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        name = f"flaskops-{os.getpid()}"
        end.bind("\0" + name)
        boot(execute(notify="@" + name), Worker())
        assert end.recv(100) == b"READY=1"


def test_outside_of_systemd_nobody_is_told(execute):
    assert boot(execute(), Worker()) == 0


def test_a_worker_whose_main_process_is_gone_signals_nobody(execute, monkeypatch):
    conf = execute()
    monkeypatch.setattr(os, "kill", lambda *_arguments: pytest.fail("another process was signalled"))
    monkeypatch.setattr(os, "getppid", lambda: 1)
    conf["post_worker_init"](Worker())


# Workers that do not boot


class HaltServer(BaseException):
    """Gunicorn's own, which is not installed here."""


@pytest.fixture
def gunicorn(monkeypatch):
    errors = types.SimpleNamespace(HaltServer=HaltServer)
    monkeypatch.setitem(sys.modules, "gunicorn", types.SimpleNamespace(errors=errors))
    monkeypatch.setitem(sys.modules, "gunicorn.errors", errors)


def test_the_first_worker_that_can_not_boot_ends_the_service(execute, gunicorn):
    with pytest.raises(HaltServer):
        execute()["child_exit"](types.SimpleNamespace(LISTENERS=["socket"]), Worker())


@pytest.mark.parametrize("case", ["ready", "stopping"])
def test_a_worker_that_ends_later_is_replaced_by_gunicorn(execute, gunicorn, case):
    conf = execute()
    if case == "ready":
        boot(conf, Worker())
    conf["child_exit"](types.SimpleNamespace(LISTENERS=[] if case == "stopping" else ["socket"]), Worker())


def test_gunicorn_waits_for_requests_only_once_a_worker_is_ready(execute):
    """Gunicorn before 24 may wait for a worker that has ended, and a release would be rejected a minute late."""
    conf, main, worker = execute(), server(), Worker()
    conf["when_ready"](main)
    assert main.cfg["graceful_timeout"] == 1
    boot(conf, Worker(), main)
    assert main.cfg["graceful_timeout"] == 60
    # The copy of the configuration in the worker.
    conf["post_worker_init"](worker)
    assert worker.cfg["graceful_timeout"] == 60


@pytest.mark.parametrize(("booted", "logged"), [(False, True), (True, False)])
def test_an_application_that_ends_itself_is_logged_with_its_line(execute, caplog, booted, logged):
    conf, worker = execute(), Worker()
    worker.booted = booted
    try:
        try:
            sys.exit("SECRET_KEY is not set")
        finally:
            conf["worker_exit"](None, worker)
    except SystemExit:
        pass
    assert ("SystemExit: SECRET_KEY is not set" in caplog.text) == logged


HEALTH = {"path": "/health", "host": "example.org", "status": [200, 204]}


@pytest.mark.parametrize("status", ["200 OK", "204 No Content"])
def test_a_candidate_reports_readiness_when_the_health_path_answers(execute, systemd, status):
    def application(environ, start_response):
        start_response(status, [])
        return [b""]

    boot(execute(notify=systemd.getsockname(), health=HEALTH), Worker(application))
    assert received(systemd) == b"READY=1"


@pytest.mark.parametrize("status", ["500 Internal Server Error", "302 Found", "404 Not Found"])
def test_a_candidate_that_answers_otherwise_is_never_ready(execute, systemd, status):
    def application(environ, start_response):
        start_response(status, [])
        return [b""]

    conf = execute(notify=systemd.getsockname(), health=HEALTH)
    with pytest.raises(RuntimeError, match=f"GET /health answered {status[:3]}"):
        conf["post_worker_init"](Worker(application))
    assert received(systemd) is None


def test_a_candidate_that_raises_is_never_ready(execute, systemd):
    def application(environ, start_response):
        raise KeyError("DATABASE_URL")

    conf = execute(notify=systemd.getsockname(), health=HEALTH)
    with pytest.raises(KeyError, match="DATABASE_URL"):
        conf["post_worker_init"](Worker(application))
    assert received(systemd) is None


@pytest.mark.parametrize(
    ("headers", "scheme", "port"),
    [({}, "http", "80"), ({"X-Forwarded-Proto": "https", "X-Tenant": "7"}, "https", "443")],
)
def test_a_candidate_is_asked_with_the_headers_that_are_set(execute, systemd, headers, scheme, port):
    asked = []

    def insists_on_https(environ, start_response):
        asked.append(environ)
        start_response("200 OK" if environ["wsgi.url_scheme"] == "https" else "301 Moved Permanently", [])
        return [b""]

    conf = execute(notify=systemd.getsockname(), health={**HEALTH, "status": [200, 301], "headers": headers})
    conf["post_worker_init"](Worker(insists_on_https))
    (environ,) = asked
    assert (environ["wsgi.url_scheme"], environ["SERVER_PORT"]) == (scheme, port)
    assert environ.get("HTTP_X_FORWARDED_PROTO") == headers.get("X-Forwarded-Proto")
    assert environ.get("HTTP_X_TENANT") == headers.get("X-Tenant")


# The question


def test_the_application_is_asked_as_a_server_asks(execute):
    asked = []

    def application(environ, start_response):
        asked.append(environ)
        assert environ["wsgi.input"].read() == b""
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]

    assert execute("everything")["answer"](application, "/a/b?x=1&y=%20", "example.org") == 200
    told = asked[0]
    assert (told["REQUEST_METHOD"], told["SCRIPT_NAME"]) == ("GET", "")
    assert (told["PATH_INFO"], told["QUERY_STRING"]) == ("/a/b", "x=1&y=%20")
    assert (told["HTTP_HOST"], told["SERVER_NAME"], told["SERVER_PORT"]) == ("example.org", "example.org", "80")
    assert (told["wsgi.multithread"], told["wsgi.multiprocess"]) == (False, True)
    assert told["wsgi.version"] == (1, 0) and told["wsgi.url_scheme"] == "http"


@pytest.mark.parametrize(
    ("target", "path"), [("/a%20b", "/a b"), ("/gr%C3%BC%C3%9Fe", "/grüße".encode().decode("latin-1"))]
)
def test_the_path_is_decoded_as_a_server_decodes_it(execute, target, path):
    asked = []

    def application(environ, start_response):
        asked.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return []

    execute()["answer"](application, target, "localhost")
    assert asked == [path]


def test_the_whole_body_is_read_and_closed(execute):
    class Body:
        closed, parts = False, 0

        def __iter__(self):
            for _part in range(3):
                Body.parts += 1
                yield b"part"

        def close(self):
            Body.closed = True

    def application(environ, start_response):
        start_response("200 OK", [])
        return Body()

    assert execute()["answer"](application, "/", "localhost") == 200
    assert (Body.parts, Body.closed) == (3, True)


def test_of_a_body_without_end_64_kilobytes_are_read(execute):
    def application(environ, start_response):
        start_response("200 OK", [])
        return itertools.repeat(b"x" * 1000)

    assert execute()["answer"](application, "/", "localhost") == 200


def test_a_body_that_breaks_off_is_closed_and_counts_as_a_failure(execute):
    closed = []

    class Body:
        def __iter__(self):
            yield b"part"
            raise OSError("connection to the database lost")

        def close(self):
            closed.append(True)

    def application(environ, start_response):
        start_response("200 OK", [])
        return Body()

    with pytest.raises(OSError, match="database"):
        execute()["answer"](application, "/", "localhost")
    assert closed == [True]


def test_an_application_may_answer_late_and_change_its_mind(execute):
    def application(environ, start_response):
        start_response("200 OK", [])
        try:
            raise ValueError
        except ValueError:
            write = start_response("500 Internal Server Error", [], sys.exc_info())
            write(b"sorry")
        yield b""

    assert execute()["answer"](application, "/", "localhost") == 500

# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the helpers for services with real sockets and processes."""

from __future__ import annotations

import contextlib
import http.server
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout, ReleaseError
from ansible_collections.flaskops.production.plugins.module_utils._systemd import service

HEALTH = {
    "path": "/health",
    "status": [200, 204],
    "host": "example.org",
    "headers": {},
    "attempts": 3,
    "interval": 0,
    "timeout": 1,
}


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers)))
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer == "hang":
            time.sleep(0.5)
        elif isinstance(answer, bytes):
            # Repeat until the client closes the connection.
            with contextlib.suppress(OSError):
                self.wfile.write(b"HTTP/1.0 200 OK\r\n")
                for _number in range(200):
                    self.wfile.write(answer)
                    time.sleep(0.02 if len(answer) < 100 else 0)
        elif answer == "garbage":
            self.wfile.write(b"SSH-2.0-OpenSSH\r\n")
        elif answer != "close":
            self.send_response(answer)
            self.end_headers()

    def address_string(self):
        return "unix"

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def layout():
    with tempfile.TemporaryDirectory(prefix="service-") as directory:
        os.mkdir(os.path.join(directory, "run"))
        yield Layout(directory)


@pytest.fixture
def server(layout):
    with socketserver.ThreadingUnixStreamServer(layout.socket, _Handler) as found:
        found.asked, found.answers = [], [200]
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


# The socket


def test_health_request_has_target_and_host(layout, server):
    assert service.send_health_request(layout.socket, "/health?x=1", "example.org", 1) == 200
    ((path, headers),) = server.asked
    assert path == "/health?x=1" and headers["Host"] == "example.org"


def test_health_request_has_the_configured_headers(layout, server):
    headers = {"X-Forwarded-Proto": "https", "X-Tenant": 7, "User-Agent": "probe"}
    assert service.find_health_failure(layout, {**HEALTH, "headers": headers}) is None
    ((_path, asked),) = server.asked
    assert (asked["X-Forwarded-Proto"], asked["X-Tenant"], asked["User-Agent"]) == ("https", "7", "probe")
    assert asked["Host"] == "example.org"


@pytest.mark.parametrize("status", [204, 302, 404, 500, 503])
def test_status_of_the_response_is_returned(layout, server, status):
    server.answers = [status]
    assert service.send_health_request(layout.socket, "/", "localhost", 1) == status


@pytest.mark.parametrize("answer", ["hang", "close", "garbage"])
def test_missing_response_is_described(layout, server, answer):
    server.answers = [answer]
    answer = service.send_health_request(layout.socket, "/", "localhost", 0.1)
    assert isinstance(answer, str) and answer


def test_missing_socket_and_refused_connection_are_described(layout):
    assert "No such file" in str(service.send_health_request(layout.socket, "/", "localhost", 1))
    assert service.check_health(layout, HEALTH).by_host
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(layout.socket)
    assert "refused" in str(service.send_health_request(layout.socket, "/", "localhost", 1))


def test_health_is_checked_on_another_socket(layout, server):
    other = os.path.join(layout.root, "run", "other.sock")
    os.rename(layout.socket, other)
    assert service.check_health(layout, HEALTH, socket_path=other).failure is None
    failure = service.check_health(layout, HEALTH, socket_path=f"{other}.missing").failure
    assert failure == f"GET /health was not answered: {other}.missing: No such file or directory"


@pytest.mark.parametrize("piece", [b"\r\n", b"X: y\r\n"], ids=["body", "headers"])
def test_slow_response_ends_at_the_deadline(layout, server, piece):
    server.answers = [piece]
    before = time.monotonic()
    answer = service.send_health_request(layout.socket, "/", "localhost", 0.3)
    assert "timed out" in str(answer)
    assert time.monotonic() - before < 1


def test_at_most_64_kilobytes_of_the_body_are_read(layout, server):
    server.answers = [b"\r\n" + b"x" * (1 << 20)]
    assert service.send_health_request(layout.socket, "/", "localhost", 5) == 200


def test_headers_above_the_limit_are_an_error(layout, server):
    server.answers = [b"X: " + b"y" * 60000 + b"\r\n"]
    assert "64 kB" in str(service.send_health_request(layout.socket, "/", "localhost", 5))


def test_listener_is_checked_before_the_request_is_sent(layout, server):
    answer = service.send_health_request(layout.socket, "/", "localhost", 1, listeners={1})
    assert (
        str(answer)
        == f"process {os.getpid()} of user {os.geteuid()} listens on {layout.socket}, which is not the service"
    )
    assert server.asked == []
    assert service.send_health_request(layout.socket, "/", "localhost", 1, listeners={1, os.getpid()}) == 200


@pytest.mark.parametrize("fault", ["missing", "stale", "regular file", None])
def test_unusable_socket_is_detected_without_a_connection(layout, fault, request):
    if fault is None:
        request.getfixturevalue("server")
        assert service.find_socket_failure(layout) is None
        return
    if fault == "stale":
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(layout.socket)
    elif fault == "regular file":
        Path(layout.socket).touch()
    reason = {"missing": "is missing", "stale": "no process listens on", "regular file": "is not a socket"}[fault]
    assert reason in service.find_socket_failure(layout)


@pytest.mark.parametrize(
    ("answers", "asked", "healthy"),
    [([200], 1, True), ([500, 204], 2, True), ([500, 500, 200], 3, True), ([500], 3, False), (["close", 200], 2, True)],
)
def test_health_check_repeats_until_success_or_the_last_attempt(layout, server, answers, asked, healthy):
    server.answers = answers
    failure = service.find_health_failure(layout, HEALTH)
    assert (failure is None) == healthy
    assert len(server.asked) == asked


def test_health_failure_names_path_status_and_expected_statuses(layout, server):
    server.answers = [500]
    assert service.find_health_failure(layout, HEALTH) == "GET /health answered 500, expected 200 or 204"


def test_no_request_is_sent_without_a_health_check(layout, server):
    server.answers = [500]
    assert service.find_health_failure(layout, None) is None and server.asked == []


def test_number_of_attempts_can_be_limited(layout, server):
    server.answers = [500, 200]
    assert service.find_health_failure(layout, HEALTH, attempts=1)


def test_health_check_waits_between_attempts(layout, server):
    server.answers = [500]
    before = time.monotonic()
    service.find_health_failure(layout, {**HEALTH, "interval": 0.1})
    assert time.monotonic() - before >= 0.2


# Processes


@pytest.fixture
def process(tmp_path):
    """Start a program under a given name in the temporary directory."""
    started = []

    def start(program="bin/python", name=None):
        (tmp_path / program).parent.mkdir(parents=True, exist_ok=True)
        if not (tmp_path / program).exists():
            shutil.copy(shutil.which("sleep"), tmp_path / program)
        running = subprocess.Popen([name or tmp_path / program, "60"], executable=tmp_path / program, cwd=tmp_path)
        started.append(running)
        # The command line is empty for a moment after the start.
        while not Path(f"/proc/{running.pid}/cmdline").read_bytes():
            time.sleep(0.001)
        return str(running.pid)

    yield start
    for running in started:
        running.kill()
        running.wait()


def test_working_directory_of_a_process_is_read(process, tmp_path):
    assert service.read_working_directory(process()) == str(tmp_path)


def test_missing_process_has_no_working_directory():
    assert service.read_working_directory("0") is None
    with subprocess.Popen(["true"]) as ended:
        pass
    assert service.read_working_directory(str(ended.pid)) is None


def test_venv_of_a_process_is_read_from_its_command_line(process, tmp_path):
    pid = process("venvs/abc/bin/python3")
    assert service.read_process_venv(pid) == str(tmp_path / "venvs/abc")
    (tmp_path / "venv").symlink_to("venvs/abc")
    assert service.read_process_venv(process("venv/bin/python3")) == str(tmp_path / "venvs/abc")


@pytest.mark.parametrize("name", ["gunicorn: master [wsgi:app]", "python3", ""])
def test_venv_of_a_renamed_process_is_unknown(process, name):
    assert service.read_process_venv(process("bin/python", name=name or " ")) is None


def test_missing_process_has_no_venv():
    assert service.read_process_venv("0") is None


# systemctl


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Install programs at the front of PATH."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)

    def install(name, script):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)

    return install


def test_systemctl_returns_the_status_and_both_streams(programs):
    programs("systemctl", 'echo "called with $*"; echo "Job failed" >&2; exit 3')
    code, output = service.run_systemctl("restart", "myapp.service")
    assert code == 3 and "Job failed" in output and "called with restart myapp.service" in output


@pytest.mark.parametrize("verb", ["show", "stop"])
def test_systemctl_is_ended_after_its_timeout(programs, verb, monkeypatch):
    monkeypatch.setattr(service, "QUERY_TIMEOUT", 0.2)
    monkeypatch.setattr(service, "JOB_TIMEOUT", 0.2)
    programs("systemctl", "exec sleep 20")
    assert service.run_systemctl(verb, "a.service") == (124, f"systemctl {verb} a.service did not end within 0 s")


@pytest.mark.parametrize(
    ("span", "length"),
    [("1min 30s", 90), ("40s", 40), ("500ms", 0.5), ("1h 5min", 3900), ("infinity", float("inf")), ("", 0)],
)
def test_time_spans_of_systemd_are_parsed(span, length):
    assert service.parse_time_span(span) == length


def test_property_values_may_contain_equals_signs(programs):
    programs("systemctl", "echo FragmentPath=/etc/a=b.service; echo MainPID=7; echo DropInPaths=")
    assert service.read_unit_properties("a.service") == {
        "FragmentPath": "/etc/a=b.service",
        "MainPID": "7",
        "DropInPaths": "",
    }


def test_failure_to_read_a_unit_names_the_unit(programs):
    programs("systemctl", "echo 'Failed to connect to bus' >&2; exit 1")
    with pytest.raises(service.ReleaseError, match=r"myapp\.service.*Failed to connect"):
        service.read_unit_properties("myapp.service")


def test_journal_is_read_from_the_given_time(programs, tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/.env").write_text('SECRET_KEY="hunter22"\n')
    programs("journalctl", f'echo "$@" > {tmp_path}/asked; echo last line with hunter22')
    assert service.read_journal(service.Layout(str(tmp_path)), "myapp.service", 1234.5) == "last line with ********"
    asked = (tmp_path / "asked").read_text()
    assert "_SYSTEMD_UNIT=myapp.service + " in asked and "--since=@1234.5" in asked
    assert " + OBJECT_SYSTEMD_UNIT=myapp.service _UID=0 + " in asked
    assert f" + UNIT=myapp.service MESSAGE_ID={service.SPAWN_FAILED}\n" in asked


def test_secrets_are_hidden_in_the_journal(programs, tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/.env").write_text("SECRET_KEY=from-env\n")
    (tmp_path / "token").write_text("from-file\n")
    programs("systemctl", f"printf '[Service]\\nLoadCredential=token:{tmp_path}/token\\n'")
    programs("journalctl", "echo it says from-env and from-file")
    assert service.read_journal(Layout(str(tmp_path)), "myapp.service", 0) == "it says ******** and ********"


def test_of_a_log_without_end_whole_lines_are_kept(programs, tmp_path, monkeypatch):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/.env").write_text("SECRET_KEY=0123456789abcdef\n")
    monkeypatch.setattr(service, "LOG_BYTES", 100)
    # The last 100 bytes begin in the middle of the secret.
    programs("journalctl", "yes 0123456789abcdef | head -n 200000; echo '" + "x" * 90 + "'")
    assert service.read_journal(Layout(str(tmp_path)), "myapp.service", 0) == "x" * 90


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ("LoadState=not-found", "does not exist"),
        ("LoadState=loaded ActiveState=failed", "failed"),
        ("LoadState=loaded ActiveState=activating", "activating"),
    ],
)
def test_service_that_does_not_run_is_outdated(layout, programs, properties, reason):
    programs("systemctl", f"for line in {properties}; do echo $line; done")
    assert reason in service.find_restart_reason(layout, "myapp")


def test_a_service_whose_interpreter_is_gone_is_outdated(layout, programs, monkeypatch):
    """As after an upgrade of the distribution: it answers from memory, and could not be started again."""
    programs("systemctl", "for line in LoadState=loaded ActiveState=active MainPID=1; do echo $line; done")
    monkeypatch.setattr(service, "read_working_directory", lambda _pid: os.path.realpath(layout.app))
    monkeypatch.setattr(service, "read_process_venv", lambda _pid: None)
    os.makedirs(os.path.join(layout.venv, "bin"))
    os.symlink("/usr/bin/python3.4", os.path.join(layout.venv, "bin/python"))
    assert "/usr/bin/python3.4, which does not exist" in service.find_restart_reason(layout, "myapp")


# Pausing


@pytest.fixture
def children():
    """Start processes in place of those of a unit."""
    started = [subprocess.Popen(["sleep", "60"]) for _number in range(3)]
    yield started
    for child in started:
        child.kill()
        child.wait()


def find_own_cgroup() -> str:
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        return next((line.strip().rpartition("/")[2] for line in file if not line.strip().endswith("/")), "")


@pytest.mark.skipif(not find_own_cgroup(), reason="the tests run in the root cgroup")
def test_processes_of_a_unit_are_those_of_its_cgroup(children):
    os.kill(children[0].pid, signal.SIGSTOP)
    os.waitpid(children[0].pid, os.WUNTRACED)
    found = service.read_process_states(find_own_cgroup())
    assert (found[children[0].pid], found[os.getpid()]) == ("T", "R")
    assert service.read_process_states(find_own_cgroup() + "-next") == {}


def read_states(children):
    found = {}
    for child in children:
        with open(f"/proc/{child.pid}/stat", encoding="ascii") as file:
            found[child.pid] = file.read().rpartition(")")[2].split()[0]
    return found


def test_processes_missed_by_the_first_signal_are_stopped(children, monkeypatch):
    """Each signal reaches one more child, and the last child appears late."""
    calls = []

    def systemctl(*words):
        calls.append(" ".join(words))
        for child in children[: len(calls)]:
            os.kill(child.pid, signal.SIGSTOP)
            os.waitpid(child.pid, os.WUNTRACED | os.WNOHANG)
        return 0, ""

    def states(_unit):
        seen = read_states(children[: 2 if len(calls) < 3 else 3])
        time.sleep(0.05)
        return seen

    monkeypatch.setattr(service, "run_systemctl", systemctl)
    monkeypatch.setattr(service, "read_process_states", states)
    service.pause_processes("shop.service")
    assert set(calls) == {"kill --signal=SIGSTOP shop.service"}
    assert set(read_states(children).values()) == {"T"}


@pytest.mark.parametrize(
    "code, states, message",
    [
        (1, {}, "Cannot stop the processes of shop.service: no such unit"),
        (0, {}, "shop.service ended before its processes could be stopped."),
        (0, {4711: "T", 4712: "S"}, "Cannot stop the processes of shop.service: they still run after 0 s."),
    ],
)
def test_failure_to_pause_names_the_unit(monkeypatch, code, states, message):
    monkeypatch.setattr(service, "run_systemctl", lambda *_words: (code, "no such unit"))
    monkeypatch.setattr(service, "read_process_states", lambda _unit: states)
    with pytest.raises(ReleaseError) as error:
        service.pause_processes("shop.service", patience=0.1)
    assert str(error.value) == message


# Below a prefix


@pytest.mark.parametrize(
    ("env", "path", "expected"),
    [
        ("", "/health", "/health"),
        ('A=1\nSCRIPT_NAME="/shop"\n', "/health", "/shop/health"),
        ("SCRIPT_NAME=/shop", "/shop/health?a=b", "/shop/health?a=b"),
        ("SCRIPT_NAME=/shop", "/shop", "/shop"),
        ("SCRIPT_NAME=/shop", "/shopping", "/shop/shopping"),
        ("SCRIPT_NAME=/shop", "/", "/shop/"),
        ("# SCRIPT_NAME=/shop", "/", "/"),
        ("SCRIPT_NAME=/a\nSCRIPT_NAME='/b'", "/", "/b/"),
        ("SCRIPT_NAME=", "/", "/"),
        (None, "/", "/"),
    ],
)
def test_health_path_is_prefixed_with_script_name(tmp_path, env, path, expected):
    env_file = tmp_path / ".env"
    if env is not None:
        env_file.write_text(env)
    assert service.add_script_name(path, str(env_file)) == expected


@pytest.mark.parametrize("planted", ["pipe", "link"])
def test_no_environment_file_of_others_stops_or_misleads_a_question(tmp_path, as_root, planted):
    env_file = tmp_path / ".env"
    if planted == "pipe":
        os.mkfifo(env_file)
    else:
        (tmp_path / "secret").write_text("SCRIPT_NAME=/secret\n")
        env_file.symlink_to(tmp_path / "secret")
        os.lchown(env_file, 4711, 4711)
    assert service.add_script_name("/health", str(env_file)) == "/health"
    assert service.compute_file_digests({}, [str(env_file)]) == {}


MAPS = """55d0-55d1 r--p 00000000 fe:01 1 /usr/bin/python3.11 (deleted)
55d1-55d2 r-xp 00001000 fe:01 1 /usr/bin/python3.11 (deleted)
7f00-7f01 r-xp 00000000 fe:01 2 /usr/lib/x86_64-linux-gnu/libssl.so.3
7f01-7f02 r-xp 00000000 fe:01 3 /usr/lib/x86_64-linux-gnu/libz.so.1 (deleted)
7f02-7f03 rw-s 00000000 00:01 4 /dev/zero (deleted)
7f03-7f04 r-xp 00000000 00:01 5 /memfd:libffi (deleted)
7f04-7f05 r-xp 00000000 00:00 0 [vdso]
"""


def test_replaced_programs_and_libraries_are_found(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7/maps").write_text(MAPS)
    found = service.find_replaced_files("7", str(tmp_path))
    assert found == ["/usr/bin/python3.11", "/usr/lib/x86_64-linux-gnu/libz.so.1"]
    assert service.find_replaced_files("8", str(tmp_path)) == []


def test_missing_interpreter_is_reported(tmp_path):
    assert service.find_missing_interpreter(str(tmp_path)) is None
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    python.symlink_to("/usr/bin/python3.4")
    assert "/usr/bin/python3.4, which does not exist" in service.find_missing_interpreter(str(tmp_path))
    python.unlink()
    python.touch()
    assert service.find_missing_interpreter(str(tmp_path)) is None

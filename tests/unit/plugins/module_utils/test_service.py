# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the socket answers and what a process runs, asked of real sockets and processes."""

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

from ansible_collections.flaskops.production.plugins.module_utils import _service
from ansible_collections.flaskops.production.plugins.module_utils._releases import Home, ReleaseError

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
            # Over and over again, until the other side has had enough.
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
def home():
    with tempfile.TemporaryDirectory(prefix="service-") as directory:
        os.mkdir(os.path.join(directory, "run"))
        yield Home(directory)


@pytest.fixture
def server(home):
    with socketserver.ThreadingUnixStreamServer(home.socket, _Handler) as found:
        found.asked, found.answers = [], [200]
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


# The socket


def test_the_question_is_that_of_a_client(home, server):
    assert _service.ask(home.socket, "/health?x=1", "example.org", 1) == 200
    ((path, headers),) = server.asked
    assert path == "/health?x=1" and headers["Host"] == "example.org"


def test_the_question_has_the_headers_that_are_set(home, server):
    headers = {"X-Forwarded-Proto": "https", "X-Tenant": 7, "User-Agent": "probe"}
    assert _service.fault(home, {**HEALTH, "headers": headers}) is None
    ((_path, asked),) = server.asked
    assert (asked["X-Forwarded-Proto"], asked["X-Tenant"], asked["User-Agent"]) == ("https", "7", "probe")
    assert asked["Host"] == "example.org"


@pytest.mark.parametrize("status", [204, 302, 404, 500, 503])
def test_the_answer_is_the_status_as_it_is(home, server, status):
    server.answers = [status]
    assert _service.ask(home.socket, "/", "localhost", 1) == status


@pytest.mark.parametrize("answer", ["hang", "close", "garbage"])
def test_no_answer_is_told_in_words(home, server, answer):
    server.answers = [answer]
    said = _service.ask(home.socket, "/", "localhost", 0.1)
    assert isinstance(said, str) and said


def test_a_socket_that_is_missing_or_that_nobody_listens_on_is_told_in_words(home):
    assert "No such file" in str(_service.ask(home.socket, "/", "localhost", 1))
    assert _service.probe(home, HEALTH).by_host
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(home.socket)
    assert "refused" in str(_service.ask(home.socket, "/", "localhost", 1))


@pytest.mark.parametrize("piece", [b"\r\n", b"X: y\r\n"], ids=["body", "headers"])
def test_an_answer_that_drips_ends_at_the_deadline(home, server, piece):
    server.answers = [piece]
    before = time.monotonic()
    said = _service.ask(home.socket, "/", "localhost", 0.3)
    assert "timed out" in str(said)
    assert time.monotonic() - before < 1


def test_of_an_answer_without_end_64_kilobytes_are_read(home, server):
    server.answers = [b"\r\n" + b"x" * (1 << 20)]
    assert _service.ask(home.socket, "/", "localhost", 5) == 200


def test_headers_without_end_are_no_answer(home, server):
    server.answers = [b"X: " + b"y" * 60000 + b"\r\n"]
    assert "64 kB" in str(_service.ask(home.socket, "/", "localhost", 5))


def test_who_listens_is_checked_before_a_word_is_said(home, server):
    said = _service.ask(home.socket, "/", "localhost", 1, listeners={1})
    assert (
        str(said) == f"process {os.getpid()} of user {os.geteuid()} listens on {home.socket}, which is not the service"
    )
    assert server.asked == []
    assert _service.ask(home.socket, "/", "localhost", 1, listeners={1, os.getpid()}) == 200


@pytest.mark.parametrize("lost", ["missing", "left over", "a file", None])
def test_a_socket_is_seen_to_be_lost_without_a_connection(home, lost, request):
    if lost is None:
        request.getfixturevalue("server")
        assert _service.socket_lost(home) is None
        return
    if lost == "left over":
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(home.socket)
    elif lost == "a file":
        Path(home.socket).touch()
    said = {"missing": "is missing", "left over": "no process listens on", "a file": "is not a socket"}[lost]
    assert said in _service.socket_lost(home)


@pytest.mark.parametrize(
    ("answers", "asked", "healthy"),
    [([200], 1, True), ([500, 204], 2, True), ([500, 500, 200], 3, True), ([500], 3, False), (["close", 200], 2, True)],
)
def test_the_gate_asks_until_the_answer_is_right_or_its_patience_ends(home, server, answers, asked, healthy):
    server.answers = answers
    seen = _service.fault(home, HEALTH)
    assert (seen is None) == healthy
    assert len(server.asked) == asked


def test_the_gate_says_what_was_asked_answered_and_expected(home, server):
    server.answers = [500]
    assert _service.fault(home, HEALTH) == "GET /health answered 500, expected 200 or 204"


def test_without_a_gate_nobody_is_asked(home, server):
    server.answers = [500]
    assert _service.fault(home, None) is None and server.asked == []


def test_one_attempt_can_be_asked_for(home, server):
    server.answers = [500, 200]
    assert _service.fault(home, HEALTH, attempts=1)


def test_between_two_attempts_the_gate_waits(home, server):
    server.answers = [500]
    before = time.monotonic()
    _service.fault(home, {**HEALTH, "interval": 0.1})
    assert time.monotonic() - before >= 0.2


# Processes


@pytest.fixture
def process(tmp_path):
    """Start a program under a name of its own, in a directory."""
    started = []

    def start(program="bin/python", name=None):
        (tmp_path / program).parent.mkdir(parents=True, exist_ok=True)
        if not (tmp_path / program).exists():
            shutil.copy(shutil.which("sleep"), tmp_path / program)
        running = subprocess.Popen([name or tmp_path / program, "60"], executable=tmp_path / program, cwd=tmp_path)
        started.append(running)
        # The kernel tells the command line a moment after the program has started.
        while not Path(f"/proc/{running.pid}/cmdline").read_bytes():
            time.sleep(0.001)
        return str(running.pid)

    yield start
    for running in started:
        running.kill()
        running.wait()


def test_a_process_tells_its_directory_also_through_a_link(process, tmp_path):
    assert _service.working_directory(process()) == str(tmp_path)


def test_no_process_has_no_directory():
    assert _service.working_directory("0") is None
    with subprocess.Popen(["true"]) as ended:
        pass
    assert _service.working_directory(str(ended.pid)) is None


def test_a_process_tells_the_environment_that_it_runs_in(process, tmp_path):
    pid = process("venvs/abc/bin/python3")
    assert _service.prefix(pid) == str(tmp_path / "venvs/abc")
    (tmp_path / "venv").symlink_to("venvs/abc")
    assert _service.prefix(process("venv/bin/python3")) == str(tmp_path / "venvs/abc")


@pytest.mark.parametrize("name", ["gunicorn: master [wsgi:app]", "python3", ""])
def test_a_process_that_renamed_itself_is_not_guessed_about(process, name):
    assert _service.prefix(process("bin/python", name=name or " ")) is None


def test_no_process_has_no_environment():
    assert _service.prefix("0") is None


# systemctl


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Programs of these names, found first."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)

    def install(name, script):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)

    return install


def test_systemctl_tells_its_status_and_both_streams(programs):
    programs("systemctl", 'echo "said $*"; echo "Job failed" >&2; exit 3')
    code, said = _service.systemctl("restart", "myapp.service")
    assert code == 3 and "Job failed" in said and "said restart myapp.service" in said


@pytest.mark.parametrize("verb", ["show", "stop"])
def test_a_call_that_does_not_end_is_given_up(programs, verb, monkeypatch):
    monkeypatch.setattr(_service, "ANSWER", 0.2)
    monkeypatch.setattr(_service, "JOB", 0.2)
    programs("systemctl", "exec sleep 20")
    assert _service.systemctl(verb, "a.service") == (124, f"systemctl {verb} a.service did not end within 0 s")


@pytest.mark.parametrize(
    ("span", "length"),
    [("1min 30s", 90), ("40s", 40), ("500ms", 0.5), ("1h 5min", 3900), ("infinity", float("inf")), ("", 0)],
)
def test_a_time_span_of_systemd_is_seconds(span, length):
    assert _service.seconds(span) == length


def test_values_may_hold_equals_signs(programs):
    programs("systemctl", "echo FragmentPath=/etc/a=b.service; echo MainPID=7; echo DropInPaths=")
    assert _service.show("a.service") == {"FragmentPath": "/etc/a=b.service", "MainPID": "7", "DropInPaths": ""}


def test_a_unit_that_can_not_be_asked_about_is_named(programs):
    programs("systemctl", "echo 'Failed to connect to bus' >&2; exit 1")
    with pytest.raises(_service.ReleaseError, match=r"myapp\.service.*Failed to connect"):
        _service.show("myapp.service")


def test_the_journal_is_read_from_a_moment_on(programs, tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/.env").write_text('SECRET_KEY="hunter22"\n')
    programs("journalctl", f'echo "$@" > {tmp_path}/asked; echo last line with hunter22')
    assert _service.journal(_service.Home(str(tmp_path)), "myapp.service", 1234.5) == "last line with ********"
    asked = (tmp_path / "asked").read_text()
    assert "_SYSTEMD_UNIT=myapp.service + " in asked and "--since=@1234.5" in asked
    assert f" + UNIT=myapp.service MESSAGE_ID={_service.SPAWN_FAILED} + " in asked


def test_the_journal_shows_neither_the_environment_nor_credentials(programs, tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/.env").write_text("SECRET_KEY=from-env\n")
    (tmp_path / "token").write_text("from-file\n")
    programs("systemctl", f"printf '[Service]\\nLoadCredential=token:{tmp_path}/token\\n'")
    programs("journalctl", "echo it says from-env and from-file")
    assert _service.journal(Home(str(tmp_path)), "myapp.service", 0) == "it says ******** and ********"


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ("LoadState=not-found", "does not exist"),
        ("LoadState=loaded ActiveState=failed", "failed"),
        ("LoadState=loaded ActiveState=activating", "activating"),
    ],
)
def test_a_service_that_does_not_run_is_outdated(home, programs, properties, said):
    programs("systemctl", f"for line in {properties}; do echo $line; done")
    assert said in _service.outdated(home, "myapp")


def test_a_service_whose_interpreter_is_gone_is_outdated(home, programs, monkeypatch):
    """As after an upgrade of the distribution: it answers from memory, and could not be started again."""
    programs("systemctl", "for line in LoadState=loaded ActiveState=active MainPID=1; do echo $line; done")
    monkeypatch.setattr(_service, "working_directory", lambda _pid: os.path.realpath(home.app))
    monkeypatch.setattr(_service, "prefix", lambda _pid: None)
    os.makedirs(os.path.join(home.venv, "bin"))
    os.symlink("/usr/bin/python3.4", os.path.join(home.venv, "bin/python"))
    assert "/usr/bin/python3.4, which is not there" in _service.outdated(home, "myapp")


# Halting


@pytest.fixture
def children():
    """Processes that stand for those of a unit."""
    started = [subprocess.Popen(["sleep", "60"]) for _number in range(3)]
    yield started
    for child in started:
        child.kill()
        child.wait()


def own_group() -> str:
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        return next((line.strip().rpartition("/")[2] for line in file if not line.strip().endswith("/")), "")


@pytest.mark.skipif(not own_group(), reason="the tests' own processes are in the topmost cgroup")
def test_the_processes_of_a_unit_are_those_of_its_cgroup(children):
    os.kill(children[0].pid, signal.SIGSTOP)
    os.waitpid(children[0].pid, os.WUNTRACED)
    found = _service.states(own_group())
    assert (found[children[0].pid], found[os.getpid()]) == ("T", "R")
    assert _service.states(own_group() + "-next") == {}


def states_of(children):
    found = {}
    for child in children:
        with open(f"/proc/{child.pid}/stat", encoding="ascii") as file:
            found[child.pid] = file.read().rpartition(")")[2].split()[0]
    return found


def test_who_was_missed_is_stopped_too(children, monkeypatch):
    """Each signal reaches one child more, and the last child is seen late."""
    told = []

    def systemctl(*words):
        told.append(" ".join(words))
        for child in children[: len(told)]:
            os.kill(child.pid, signal.SIGSTOP)
            os.waitpid(child.pid, os.WUNTRACED | os.WNOHANG)
        return 0, ""

    def states(_unit):
        seen = states_of(children[: 2 if len(told) < 3 else 3])
        time.sleep(0.05)
        return seen

    monkeypatch.setattr(_service, "systemctl", systemctl)
    monkeypatch.setattr(_service, "states", states)
    _service.halt("shop.service")
    assert set(told) == {"kill --signal=SIGSTOP shop.service"}
    assert set(states_of(children).values()) == {"T"}


@pytest.mark.parametrize(
    "code, states, message",
    [
        (1, {}, "shop.service could not be halted: no such unit"),
        (0, {}, "shop.service ended while it was to be halted."),
        (0, {4711: "T", 4712: "S"}, "shop.service could not be halted: after 0 s it still runs."),
    ],
)
def test_what_can_not_be_halted_is_told(monkeypatch, code, states, message):
    monkeypatch.setattr(_service, "systemctl", lambda *_words: (code, "no such unit"))
    monkeypatch.setattr(_service, "states", lambda _unit: states)
    with pytest.raises(ReleaseError) as error:
        _service.halt("shop.service", patience=0.1)
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
def test_the_health_path_is_asked_below_the_prefix(tmp_path, env, path, expected):
    env_file = tmp_path / ".env"
    if env is not None:
        env_file.write_text(env)
    assert _service.mounted_path(path, str(env_file)) == expected


MAPS = """55d0-55d1 r--p 00000000 fe:01 1 /usr/bin/python3.11 (deleted)
55d1-55d2 r-xp 00001000 fe:01 1 /usr/bin/python3.11 (deleted)
7f00-7f01 r-xp 00000000 fe:01 2 /usr/lib/x86_64-linux-gnu/libssl.so.3
7f01-7f02 r-xp 00000000 fe:01 3 /usr/lib/x86_64-linux-gnu/libz.so.1 (deleted)
7f02-7f03 rw-s 00000000 00:01 4 /dev/zero (deleted)
7f03-7f04 r-xp 00000000 00:01 5 /memfd:libffi (deleted)
7f04-7f05 r-xp 00000000 00:00 0 [vdso]
"""


def test_programs_and_libraries_that_were_replaced_are_found(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7/maps").write_text(MAPS)
    found = _service.replaced_files("7", str(tmp_path))
    assert found == ["/usr/bin/python3.11", "/usr/lib/x86_64-linux-gnu/libz.so.1"]
    assert _service.replaced_files("8", str(tmp_path)) == []


def test_an_interpreter_that_is_gone_is_told(tmp_path):
    assert _service.lost_interpreter(str(tmp_path)) is None
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    python.symlink_to("/usr/bin/python3.4")
    assert "/usr/bin/python3.4, which is not there" in _service.lost_interpreter(str(tmp_path))
    python.unlink()
    python.touch()
    assert _service.lost_interpreter(str(tmp_path)) is None

# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The switch, with real trees, links, processes and a real socket; only systemd is played by a small program."""

from __future__ import annotations

import http.server
import json
import multiprocessing
import os
import re
import shutil
import signal
import socketserver
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._app import health, live_process
from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.lock import DeployLock
from ansible_collections.flaskops.production.plugins.module_utils._app.rollout import read_rollout
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core import module as module_module
from ansible_collections.flaskops.production.plugins.module_utils._files import acl, foreign
from ansible_collections.flaskops.production.plugins.module_utils._files.entries import PathEntry
from ansible_collections.flaskops.production.plugins.module_utils._nginx.site_state import SiteState
from ansible_collections.flaskops.production.plugins.module_utils._releases import activation as activation_module
from ansible_collections.flaskops.production.plugins.module_utils._releases import settings as settings_module
from ansible_collections.flaskops.production.plugins.module_utils._releases import settings_set as settings_set_module
from ansible_collections.flaskops.production.plugins.module_utils._releases import staged_site, unit_jobs
from ansible_collections.flaskops.production.plugins.module_utils._releases.former_user import (
    OwnershipTransfer,
    start_transfer,
)
from ansible_collections.flaskops.production.plugins.module_utils._releases.site_check import SiteResult
from ansible_collections.flaskops.production.plugins.module_utils._systemd import manager
from ansible_collections.flaskops.production.plugins.modules import release_activate

MAIN, CANDIDATE = "myapp.service", "myapp-next.service"
RUN = {"run": "run-1", "by": "ada", "controller": "ci"}
OTHER_RUN = {"run": "run-2", "by": "grace", "controller": "laptop"}
HEALTH = {
    "path": "/health",
    "status": [200],
    "host": "example.org",
    "headers": {},
    "attempts": 2,
    "interval": 0,
    "timeout": 2,
}

# Plays systemctl: a unit is a process in the directory that its link names, and the file plan says what goes wrong.
SYSTEMCTL = r"""
verb=$1 unit=${{2:-}} state={state} root={root}
case $unit in *-next.service) link=next ;; *) link=app ;; esac
directory=$(readlink -f "$root/$link")
release=${{directory##*/}} pid=0 started=0 active=inactive
if [ -e "$state/$unit" ]; then . "$state/$unit"; fi

keep() {{
    # Rounded up: the kernel's clock of files is behind by less than a hundredth of a second.
    read -r uptime rest < /proc/uptime
    echo "pid=$1 started=$(( ${{uptime%.*}}${{uptime#*.}}0000 + 10000 - {suspended} )) active=$2" > "$state/$unit"
}}

stop() {{
    if [ "$pid" != 0 ]; then kill -KILL "$pid"; fi
    keep 0 inactive
}}

planned() {{
    grep -qxF "$1 $verb $unit $release" "$state/plan"
}}

if [ "$verb" != show ]; then
    live=$(readlink "$root/app") told=$release locked=
    if [ "$verb" != restart ]; then told=; fi
    if [ -e "$root/.deploy/lock" ]; then locked=lock; fi
    echo "$verb $unit $told app=${{live#releases/}} $locked" >> "$state/calls"
fi
(cd "$root" && sh -ec "$(sed -n "s|^do $verb $unit $release ||p" "$state/plan")") || exit 1
if planned fail; then
    if [ "$verb" = restart ]; then stop; fi
    echo "Job for $unit failed because the control process exited with error code." >&2
    exit 1
fi
case $verb in
restart)
    stop
    if planned oneshot; then exit 0; fi
    if planned elsewhere; then directory=/; fi
    cd "$directory" || exit 1
    setsid sleep 60 < /dev/null > /dev/null 2>&1 &
    keep $! active
    ;;
stop) stop ;;
show)
    reload=no type=notify result=exit-code load=loaded
    if grep -q "^oneshot restart $unit " "$state/plan"; then type=oneshot; fi
    if planned reload; then reload=yes; fi
    for word in $(sed -n "s|^result $unit ||p" "$state/plan"); do result=$word; done
    for word in $(sed -n "s|^load $unit ||p" "$state/plan"); do load=$word; done
    printf '%s\n' Type=$type LoadState=$load ActiveState=$active MainPID=$pid Result=$result \
        InvocationID=$pid TimeoutStartUSec=1s TimeoutStopUSec=500ms \
        ExecMainStartTimestampMonotonic=$started NeedDaemonReload=$reload FragmentPath=$state/unit DropInPaths=
    ;;
esac
"""

TRACEBACK = """[2026-11-28 12:00:00 +0000] [7] [ERROR] Exception in worker process
Traceback (most recent call last):
  File "/srv/myapp/venvs/1a2b/lib/python3.11/site-packages/gunicorn/arbiter.py", line 608, in spawn_worker
    worker.init_process()
  File "/srv/myapp/releases/v2/wsgi.py", line 3, in <module>
    import flask
ModuleNotFoundError: No module named 'flask'
"""
JOURNALCTL = r"""
case "$*" in *_SYSTEMD_UNIT=myapp*) cat {state}/journal ;; esac
"""


class Host:
    """A host with an application, its socket, and somebody who plays systemd."""

    def __init__(self, directory, run_module):
        self.run_module = run_module
        self.root, self.state = directory / "myapp", directory / "systemd"
        self.env_file = directory / "myapp-next.env"
        for path in (self.root / "venvs", self.root / "shared/static", self.root / "run", self.state):
            path.mkdir(parents=True)
        (self.root / "shared/.env").write_text("")
        self.layout = Layout(str(self.root))
        ReleaseStore(self.layout).create_directories()
        self.answers = {}
        self.asked = []
        self.log(TRACEBACK)
        self.plan()

    def log(self, text):
        """What the units log."""
        (self.state / "journal").write_text(text)

    def plan(self, *lines):
        """What goes wrong, or happens beside: a word, the call of systemctl with the release that it finds."""
        (self.state / "plan").write_text("".join(f"{line}\n" for line in lines))

    def process(self, unit):
        path = self.state / unit
        return int(re.search(r"pid=(\d+)", path.read_text())[1]) if path.exists() else 0

    def stage(self, name, static=None, environment="e" * 12, **record):
        release = self.root / "releases" / name
        release.mkdir()
        for path, text in (static or {}).items():
            (release / "static" / path).parent.mkdir(parents=True, exist_ok=True)
            (release / "static" / path).write_text(text)
        self.want(name, environment)
        given = {"release": name, "digest": name, "state": "staged", "staged": name, "static_paths": ["static"]}
        ReleaseStore(self.layout).write_record(name, {**given, **record})

    def want(self, name, environment):
        """As the role venv does: build it, and say that the release is to run with it."""
        (self.root / "venvs" / environment).mkdir(exist_ok=True)
        link = self.root / ".deploy/environments" / name
        link.unlink(missing_ok=True)
        link.symlink_to(f"../../venvs/{environment}")

    def activate(self, release=None, check=False, diff=False, **params):
        args = {"name": "myapp", "root": str(self.root), "health": HEALTH, "run": RUN, **params}
        return self.run_module(release_activate, {**args, "release": release} if release else args, check, diff)

    def deploy(self, *names):
        for name in names:
            self.stage(name)
            result = self.activate(name)
            assert result["changed"] and not result.get("failed"), result
        self.forget()

    def forget(self):
        (self.state / "calls").unlink(missing_ok=True)

    def calls(self, *verbs):
        """What systemd was told, without questions."""
        path = self.state / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split() for line in lines if line.split()[0] in (verbs or ("daemon-reload", "restart", "stop"))]

    def running(self, unit=MAIN):
        """The release whose directory the unit's process runs in."""
        pid = self.process(unit)
        return os.path.basename(os.readlink(f"/proc/{pid}/cwd")) if pid else None

    def environment(self, name):
        return os.path.basename(os.readlink(self.root / "releases" / name / ".venv"))

    def assert_serves(self, release):
        assert self.layout.find_live() == release
        assert self.running() == release
        self.assert_no_candidate()

    def assert_no_candidate(self):
        assert not os.path.lexists(self.layout.next)
        assert not self.env_file.exists()
        assert self.running(CANDIDATE) is None
        assert not os.path.exists(self.layout.lock)


class _Application(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        host = self.server.host
        host.asked.append((self.path, self.headers["Host"]))
        release = host.running() or host.running(CANDIDATE)
        by_name = host.answers.get((release, self.headers["Host"].partition(":")[0]))
        self.send_response(by_name or host.answers.get(release) or host.answers.get(host.environment(release), 200))
        self.end_headers()

    def address_string(self):
        return "unix"

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def host(run_module, monkeypatch, tmp_path):
    # A short path, for the socket, in memory, where flushing the file system takes no time.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp"
    directory = Path(tempfile.mkdtemp(prefix="release-", dir=memory))
    found = Host(directory, run_module)
    programs = tmp_path / "bin"
    programs.mkdir()
    suspended = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    systemctl = SYSTEMCTL.format(state=found.state, root=found.root, suspended=round(suspended * 1e6))
    for name, text in (("systemctl", systemctl), ("journalctl", JOURNALCTL.format(state=found.state))):
        program = programs / name
        program.write_text(f"#!/bin/sh{text}")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    # The tests play systemd, which opens the socket.
    monkeypatch.setattr(health, "SYSTEMD", os.getpid())
    monkeypatch.setattr(unit_jobs, "MARGIN", 1)
    # Where a test may write, instead of in /run.
    initialise = release_activate.Activation.__init__

    def elsewhere(activation, *arguments, **keywords):
        initialise(activation, *arguments, **keywords)
        assert activation.candidate_env == "/run/myapp-next.env"
        activation.candidate_env = str(found.env_file)

    monkeypatch.setattr(release_activate.Activation, "__init__", elsewhere)
    hangup = signal.getsignal(signal.SIGHUP)
    server = socketserver.ThreadingUnixStreamServer(found.layout.socket, _Application)
    server.host = found
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()
    signal.signal(signal.SIGHUP, hangup)
    for unit in (MAIN, CANDIDATE):
        if found.process(unit):
            os.kill(found.process(unit), signal.SIGKILL)
    shutil.rmtree(directory)


# The order of steps


def test_first_release_is_activated(host):
    host.stage("v1")
    result = host.activate("v1")
    assert (result["changed"], result["release"], result["previous"]) == (True, "v1", "")
    host.assert_serves("v1")
    assert os.readlink(host.layout.app) == "releases/v1"
    assert os.readlink(host.layout.venv) == "app/.venv"
    assert ReleaseStore(host.layout).read_record("v1")["state"] == "active"


def test_candidate_serves_until_the_service_runs_the_new_release(host):
    host.deploy("v1")
    host.stage("v2")
    host.activate("v2")
    assert host.calls()[:4] == [
        ["daemon-reload", "app=v1", "lock"],
        ["restart", CANDIDATE, "v2", "app=v1", "lock"],
        ["restart", MAIN, "v2", "app=v2", "lock"],
        ["stop", CANDIDATE, "app=v2", "lock"],
    ]
    assert host.calls("restart")[2:] == []
    host.assert_serves("v2")


def test_service_is_checked_over_the_socket(host):
    host.deploy("v1")
    host.asked.clear()
    host.stage("v2")
    host.activate("v2")
    assert ("/health", "example.org") in host.asked


def test_healthy_live_release_is_not_activated_again(host):
    host.deploy("v1")
    result = host.activate("v1", diff=True)
    assert not result["changed"] and result["reason"] == "" and "diff" not in result
    assert host.calls() == []


def test_check_mode_predicts_the_activation_and_changes_nothing(host):
    host.deploy("v1")
    host.stage("v2")
    result = host.activate("v2", check=True, diff=True)
    assert result["changed"]
    assert (result["diff"]["before"], result["diff"]["after"]) == ("releases/v1\n", "releases/v2\n")
    assert host.calls() == []
    host.assert_serves("v1")


def test_candidate_gets_the_health_check(host):
    host.stage("v1")
    host.plan(f"do restart {CANDIDATE} v1 cp {host.env_file} {host.state}/given")
    host.activate("v1", health={**HEALTH, "path": '/a"$b\\`c%20', "headers": {"X-A": 'b"'}})
    (line,) = (host.state / "given").read_text().splitlines()
    name, value = line.split("=", 1)
    assert name == "RELEASE_HEALTH" and value[0] == value[-1] == '"'
    # Read it as systemd does: a backslash keeps the next character as it is.
    inside, text = iter(value[1:-1]), ""
    for character in inside:
        text += next(inside) if character == "\\" else character
    assert json.loads(text) == {
        "path": '/a"$b\\`c%20',
        "host": "example.org",
        "status": [200],
        "headers": {"X-A": 'b"'},
    }


def test_hang_up_is_ignored_during_an_activation(host):
    host.deploy("v1")
    host.stage("v2")
    host.plan(f"do restart {MAIN} v2 kill -HUP {os.getpid()}")
    assert not host.activate("v2").get("failed")
    host.assert_serves("v2")


# Failures


@pytest.mark.parametrize(
    ("plan", "phase"),
    [
        ([f"fail restart {CANDIDATE} v2"], "candidate"),
        ([f"elsewhere restart {CANDIDATE} v2"], "candidate"),
    ],
)
def test_failed_candidate_leaves_the_live_release_unchanged(host, plan, phase):
    host.deploy("v1")
    host.stage("v2")
    host.plan(*plan)
    before = host.process(MAIN)
    result = host.activate("v2")
    assert result["failed"] and result["phase"] == phase and result["release"] == "v1"
    for word in ("v2", phase, "v1 is live and answers GET /health", "No module named 'flask'"):
        assert word in result["msg"]
    assert host.process(MAIN) == before, "the very same process serves"
    assert [call for call in host.calls() if MAIN in call] == []
    host.assert_serves("v1")
    assert (
        ReleaseStore(host.layout).read_record("v2")["state"] == "bad"
        and phase in ReleaseStore(host.layout).read_record("v2")["reason"]
    )
    assert ReleaseStore(host.layout).read_record("v1")["state"] == "active"
    assert [entry["release"] for entry in ReleaseStore(host.layout).read_activations()] == ["v1"]


@pytest.mark.parametrize(
    ("plan", "answers", "phase"),
    [
        ([f"fail restart {MAIN} v2"], {}, "service"),
        ([f"elsewhere restart {MAIN} v2"], {}, "service"),
        ([], {"v2": 500}, "health"),
        ([], {"v2": 302}, "health"),
    ],
)
def test_failure_after_the_swap_activates_the_previous_release(host, plan, answers, phase):
    host.deploy("v1")
    host.stage("v2")
    host.plan(*plan)
    host.answers = answers
    result = host.activate("v2")
    assert result["failed"] and result["phase"] == phase and result["release"] == "v1"
    assert host.calls("restart") == [
        ["restart", CANDIDATE, "v2", "app=v1", "lock"],
        ["restart", MAIN, "v2", "app=v2", "lock"],
        ["restart", MAIN, "v1", "app=v1", "lock"],
    ]
    assert host.calls()[-1][:2] == ["stop", CANDIDATE], "the candidate serves until the old release does"
    host.assert_serves("v1")
    assert ReleaseStore(host.layout).read_record("v2")["state"] == "bad"
    assert [entry["release"] for entry in ReleaseStore(host.layout).read_activations()] == ["v1"]


def test_rejected_release_is_no_rollback_target_and_the_next_release_is_activated(host):
    host.deploy("v1", "v2")
    host.stage("v3")
    host.answers = {"v3": 500}
    host.activate("v3")
    assert ReleaseStore(host.layout).find_previous() == "v1"
    host.deploy("v4")
    assert ReleaseStore(host.layout).find_previous() == "v2"


@pytest.mark.parametrize(
    ("plan", "answers"),
    [
        ([f"fail restart {CANDIDATE} v1"], {}),
        ([f"fail restart {MAIN} v1"], {}),
        ([], {"v1": 500}),
    ],
)
def test_failed_first_release_leaves_no_live_release(host, plan, answers):
    host.stage("v1")
    host.plan(*plan)
    host.answers = answers
    result = host.activate("v1")
    assert result["failed"] and "Nothing is live" in result["msg"]
    assert not os.path.lexists(host.layout.app) and host.running() is None
    host.assert_no_candidate()
    assert ReleaseStore(host.layout).read_record("v1")["state"] == "bad"
    assert ReleaseStore(host.layout).read_activations() == []


def test_failed_return_to_the_previous_release_reports_both_failures(host):
    host.deploy("v1")
    host.stage("v2")
    host.plan(f"fail restart {MAIN} v1", f"fail restart {MAIN} v2")
    result = host.activate("v2")
    assert result["failed"] and "v1" in result["msg"] and "v2" in result["msg"]
    assert host.layout.find_live() == "v1"
    host.assert_no_candidate()


# Faults of the host. What is served, what the message says, and that the next run has the release.


def assert_not_marked(host, result, *said, release="v2", state="staged"):
    assert result["failed"] and not result["rejected"], result
    for words in (*said, "not marked as rejected"):
        assert words in result["msg"], result["msg"]
    assert ReleaseStore(host.layout).read_record(release)["state"] == state
    host.assert_no_candidate()


def assert_next_run_works(host, release="v2"):
    host.plan()
    host.log("")
    assert not host.activate(release).get("failed")
    host.assert_serves(release)


def raised(error):
    return TRACEBACK.replace("ModuleNotFoundError: No module named 'flask'", error)


EXEC = "myapp-next.service: Main process exited, code=exited, status=203/EXEC\n"
HOST_FAULTS = {
    "noexec": (EXEC, [], "status 203/EXEC"),
    "no namespace": (EXEC.replace("203/EXEC", "226/NAMESPACE"), [], "status 226/NAMESPACE"),
    "no user": (EXEC.replace("203/EXEC", "217/USER"), [], "status 217/USER"),
    "disk full": (raised("OSError: [Errno 28] No space left on device"), [], "No space left on device"),
    "noexec library": (raised("ImportError: x.so: failed to map segment from shared object"), [], "mounted noexec"),
    "no memory": (raised("OSError: [Errno 12] Cannot allocate memory"), [], "Cannot allocate memory"),
    "out of memory": ("", [f"result {CANDIDATE} oom-kill"], "oom-kill"),
    "resources": ("", [f"result {CANDIDATE} resources"], "resources"),
    "dependency": ("", [f"result {CANDIDATE} success"], "Job for"),
    "start limit": ("", [f"result {CANDIDATE} start-limit-hit"], "start-limit-hit"),
    "masked unit": ("", [f"load {CANDIDATE} masked"], f"{CANDIDATE} is masked"),
    "missing unit": ("", [f"load {CANDIDATE} not-found"], f"{CANDIDATE} is not-found"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOST_FAULTS)
def test_release_is_not_rejected_if_the_host_prevents_the_start(host, kind):
    logged, plan, said = HOST_FAULTS[kind]
    host.deploy("v1")
    host.stage("v2")
    host.log(logged)
    host.plan(f"fail restart {CANDIDATE} v2", *plan)
    assert_not_marked(host, host.activate("v2"), said, "v1 is live and answers GET /health.")
    host.assert_serves("v1")
    assert_next_run_works(host)


OWN_FAULTS = {
    "exception": (TRACEBACK, "exit-code", "ModuleNotFoundError: No module named 'flask'"),
    "exception, and a next start": (TRACEBACK, "success", "ModuleNotFoundError: No module named 'flask'"),
    "signal": ("", "signal", "it did not start"),
    "core dump": ("", "core-dump", "it did not start"),
    "import without end": ("", "timeout", "within 1 s (gunicorn_systemd_start_timeout)"),
    "end without a word": ("", "protocol", "it did not start"),
}


@pytest.mark.parametrize("kind", OWN_FAULTS)
def test_release_is_rejected_if_its_candidate_fails(host, kind):
    logged, systemd_result, said = OWN_FAULTS[kind]
    host.deploy("v1")
    host.stage("v2")
    host.log(logged)
    host.plan(f"fail restart {CANDIDATE} v2", f"result {CANDIDATE} {systemd_result}")
    result = host.activate("v2")
    assert result["rejected"] and said in result["msg"]
    assert ReleaseStore(host.layout).read_record("v2")["state"] == "bad"
    host.assert_serves("v1")


def test_release_is_not_rejected_while_the_live_release_fails_too(host):
    """Such as without their database: the application is down, and no release is at fault."""
    host.deploy("v1")
    host.stage("v2")
    host.answers = {"v1": 500}
    host.plan(f"fail restart {CANDIDATE} v2")
    assert_not_marked(host, host.activate("v2"), "v1 is live, but does not serve: GET /health answered 500")
    host.answers = {}
    assert_next_run_works(host)


def test_release_is_not_rejected_if_the_previous_release_fails_too(host):
    host.deploy("v1")
    host.stage("v2")
    host.plan(f"fail restart {MAIN} v1", f"fail restart {MAIN} v2")
    assert_not_marked(host, host.activate("v2"), "v1, which was live before, fails too")
    assert_next_run_works(host)


def test_previous_release_is_kept_as_a_rollback_target_after_faults_of_the_host(host):
    host.deploy("v1", "v2")
    host.plan(f"fail restart {MAIN} v1", f"fail restart {MAIN} v2")
    result = host.activate("v1", action="rollback", keep=1)
    assert_not_marked(host, result, release="v1", state="superseded")
    host.plan()
    assert not host.activate("v2").get("failed")
    host.stage("v3")
    assert ReleaseStore(host.layout).find_previous() == "v1"


# Nginx, which is asked last


class _Nginx(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        host = self.server.host
        host.visited.append((self.path, self.headers["Host"]))
        self.send_response(host.answers.get("nginx") or host.answers.get((host.running(), "www.example.org"), 200))
        self.end_headers()

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def site(host):
    """A host with a site, whose Nginx answers as planned for "nginx", or else what the release answers to its name."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Nginx)
    server.host, host.visited = host, []
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    path = host.root / "site.conf"
    path.write_text(
        "# Ansible managed: written by flaskops.production for the application myapp.\n"
        f"server {{ listen {server.server_address[1]}; server_name www.example.org; }}\n"
    )
    yield str(path)
    server.shutdown()
    server.server_close()


def test_last_check_is_a_request_through_nginx(host, site):
    host.stage("v1")
    assert not host.activate("v1", site=site).get("failed")
    assert [(path, name.partition(":")[0]) for path, name in host.visited] == [("/health", "www.example.org")]
    # Nothing to do, nothing to check.
    host.activate("v1", site=site)
    assert len(host.visited) == 1


def test_fault_of_nginx_fails_the_activation_without_a_rejection(host, site):
    host.deploy("v1")
    host.stage("v2")
    host.answers = {"nginx": 502}
    result = host.activate("v2", site=site)
    assert result["phase"] == "site" and "journalctl --unit=nginx.service" in result["msg"]
    assert_not_marked(host, result, "through Nginx answered 502, expected 200, although Gunicorn answered 200")
    host.answers = {}
    assert_next_run_works(host)


def test_release_is_rejected_for_a_wrong_answer_to_the_name_of_the_site(host, site):
    host.deploy("v1")
    host.stage("v2")
    host.answers = {("v2", "www.example.org"): 400}
    result = host.activate("v2", site=site)
    assert (result["failed"], result["phase"], result["rejected"]) == (True, "site", True)
    assert "and Gunicorn answered 400 to Host www.example.org" in result["msg"]
    host.assert_serves("v1")
    assert ReleaseStore(host.layout).read_record("v2")["state"] == "bad"


def test_release_is_not_rejected_for_a_name_that_the_live_release_rejects_too(host, site):
    host.deploy("v1")
    host.stage("v2")
    host.answers = {("v1", "www.example.org"): 400, ("v2", "www.example.org"): 400}
    assert_not_marked(host, host.activate("v2", site=site), "and Gunicorn answered 400 to Host www.example.org")


# The socket


def lose_socket(host):
    """As `rm run/*`; systemd goes on listening where nobody comes."""
    os.rename(host.layout.socket, host.layout.socket + ".lost")


def restored(host):
    return f"do restart myapp.socket  mv {host.layout.socket}.lost {host.layout.socket}"


@pytest.mark.parametrize("release", ["v1", "v2"])
def test_missing_socket_is_restored_by_the_next_run(host, release):
    host.deploy("v1")
    host.stage("v2")
    lose_socket(host)
    # A unit without a process has no directory.
    host.plan(*(restored(host).replace("socket  ", f"socket {name} ") for name in ("v1", "v2")))
    assert "run/gunicorn.sock is missing" in host.activate(release, check=True)["reason"] or release == "v2"
    result = host.activate(release)
    assert not result.get("failed"), result
    assert host.calls("restart")[0][:2] == ["restart", "myapp.socket"]
    host.assert_serves(release)


def test_socket_that_cannot_be_restored_is_a_fault_of_the_host(host):
    host.deploy("v1")
    host.stage("v2")
    lose_socket(host)
    host.plan("fail restart myapp.socket v1")
    result = host.activate("v2")
    assert_not_marked(host, result, "(socket)", "run/gunicorn.sock is missing", "v1 is live, but does not serve")
    assert result["phase"] == "socket"


def test_socket_removed_during_the_activation_is_a_fault_of_the_host(host):
    host.deploy("v1")
    host.stage("v2")
    host.plan(f"do restart {MAIN} v2 mv run/gunicorn.sock run/gone")
    result = host.activate("v2")
    assert_not_marked(host, result, "No such file or directory", "v1 is live, but does not serve")
    assert host.layout.find_live() == "v1" and host.running() == "v1"


def test_foreign_listener_is_not_taken_for_the_application(host, monkeypatch):
    host.deploy("v1")
    host.stage("v2")
    monkeypatch.setattr(health, "SYSTEMD", 1)
    said = f"process {os.getpid()} of user {os.geteuid()} listens on {host.layout.socket}, which is not the service"
    host.forget()
    assert_not_marked(host, host.activate("v2"), said, "(socket)")
    assert [call[:2] for call in host.calls("restart")] == [["restart", "myapp.socket"]]
    assert said in host.activate("v1", check=True)["reason"]


def test_no_request_is_sent_to_a_stopped_service(host, monkeypatch):
    """systemd would start it, again and again without a live release, and give the socket up."""
    host.stage("v1")
    connected, connect = [], health.HealthConnection.connect
    monkeypatch.setattr(
        health.HealthConnection, "connect", lambda self: (connected.append(host.calls()), connect(self))
    )
    assert host.activate("v1")["changed"]
    assert connected and all(["restart", MAIN] in [call[:2] for call in calls] for calls in connected)


# Deadlines


@pytest.mark.parametrize(("verb", "unit"), [("restart", CANDIDATE), ("restart", MAIN)])
def test_release_that_extends_its_timeout_is_killed_and_the_previous_one_serves(host, verb, unit):
    """As with EXTEND_TIMEOUT_USEC: systemd waits, and the units' own timeouts do not end it."""
    host.deploy("v1")
    host.stage("v2")
    host.plan(f"do {verb} {unit} v2 exec sleep 60")
    started = time.monotonic()
    result = host.activate("v2")
    assert time.monotonic() - started < 20
    assert_not_marked(host, result, "did not start in time and was killed", "v1 is live and answers")
    assert ["kill", "--signal=SIGKILL"] in [call[:2] for call in host.calls("kill")]
    host.assert_serves("v1")


def test_activation_has_a_deadline(host):
    host.deploy("v1")
    host.stage("v2")
    host.plan(f"do restart {CANDIDATE} v2 sleep 1.2", f"do restart {MAIN} v2 exec sleep 60")
    started = time.monotonic()
    assert host.activate("v2", timeout=1)["failed"]
    assert time.monotonic() - started < 10
    host.assert_serves("v1")


def test_negative_timeout_is_refused(host):
    assert "release_activation_timeout" in host.activate("v1", timeout=-1)["msg"]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("rm app.css && mkdir app.css && touch app.css/x", id="conflict"),
        pytest.param("cd .. && mv static old && touch static", id="not a directory"),
    ],
)
def test_previous_release_is_activated_if_static_files_cannot_be_collected(host, command):
    """Such as on a full disk: what matters is that the release that served serves again."""
    host.stage("v1", static={"app.css": "one"})
    host.activate("v1")
    host.stage("v2", static={"app.css": "two"})
    host.answers = {"v2": 500}
    host.plan(f"do restart {MAIN} v2 cd shared/static && {command}")
    assert host.activate("v2")["failed"]
    host.assert_serves("v1")


def test_system_error_after_the_swap_activates_the_previous_release(host, monkeypatch):
    """An error that is no verdict on the release, such as a full disk when the link venv is to be written."""
    host.deploy("v1")
    host.stage("v2")
    os.unlink(host.layout.venv)
    os.mkdir(host.layout.venv)
    assert host.activate("v2")["failed"]
    host.assert_serves("v1")


def test_system_error_before_the_swap_reports_the_live_release(host):
    host.deploy("v1")
    host.stage("v2", static={"app.css": "two"})
    (host.root / "shared/static/app.css").mkdir()
    result = host.activate("v2")
    assert result["failed"] and "shared/static/app.css is a directory" in result["msg"]
    assert result["msg"].endswith("v1 is live and answers GET /health."), result["msg"]
    host.assert_serves("v1")


def test_failed_query_of_systemd_activates_the_previous_release(host):
    host.deploy("v1")
    host.stage("v2")
    host.plan(f"fail show {MAIN} v2")
    assert host.activate("v2")["failed"]
    assert host.layout.find_live() == "v1"
    host.assert_no_candidate()


def test_nothing_is_activated_without_systemd(host):
    host.deploy("v1")
    host.stage("v2")
    host.plan("fail daemon-reload  v1")
    result = host.activate("v2")
    assert result["failed"] and "systemd" in result["msg"]
    assert host.layout.find_live() == "v1" and not os.path.exists(host.layout.lock)


def test_candidate_of_the_handover_restart_does_not_serve(host):
    host.deploy("v1")
    host.stage("v2")
    host.plan(f"oneshot restart {CANDIDATE} v2")
    assert not host.activate("v2").get("failed")
    host.assert_serves("v2")
    host.stage("v3")
    host.plan(f"oneshot restart {CANDIDATE} v3", f"fail restart {CANDIDATE} v3")
    assert host.activate("v3")["phase"] == "candidate"
    host.assert_serves("v2")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda host: shutil.rmtree(host.layout.release("v2")), "not on this host"),
        (lambda host: os.unlink(os.path.join(host.layout.records, "v2.json")), "not on this host"),
        (lambda host: shutil.rmtree(os.path.join(host.layout.venvs, "f" * 12)), "no virtual environment"),
    ],
)
def test_incomplete_release_is_refused_before_any_change(host, spoil, said):
    host.deploy("v1")
    host.stage("v2", environment="f" * 12)
    spoil(host)
    result = host.activate("v2")
    assert result["failed"] and said in result["msg"] and "v2" in result["msg"]
    assert host.calls() == [] and not os.path.exists(host.layout.lock)
    assert host.layout.find_live() == "v1" and host.running() == "v1"


def test_activation_is_refused_while_another_run_holds_the_lock(host):
    host.deploy("v1")
    host.stage("v2")
    DeployLock(host.layout, OTHER_RUN).acquire()
    result = host.activate("v2")
    assert result["failed"] and "grace on laptop" in result["msg"] and result["lock_holder"]["run"] == "run-2"
    assert host.calls() == [] and host.running() == "v1"
    assert DeployLock(host.layout, {}).read_holder()["run"] == "run-2", "it is still theirs"
    assert not host.activate("v2", unlock=True).get("failed")
    host.assert_serves("v2")


@pytest.mark.parametrize("check", [True, False])
def test_lock_is_released_if_nothing_is_left_to_do(host, check):
    host.deploy("v1")
    DeployLock(host.layout, RUN).acquire()
    host.activate("v1", check=check)
    assert os.path.exists(host.layout.lock) == check


# Static files


def test_static_files_are_collected_and_old_ones_are_kept(host):
    host.stage("v1", static={"app.css": "one", "old.js": "old", "img/deep/logo.svg": "logo"})
    os.utime(host.root / "releases/v1/static/old.js", (1_700_000_000, 1_700_000_000))
    host.activate("v1")
    host.stage("v2", static={"app.css": "two", "new.js": "new", "img/deep/logo.svg": "logo"})
    static = host.root / "shared/static"
    same = (static / "img/deep/logo.svg").stat().st_ino
    host.activate("v2")
    found = {path.relative_to(static).as_posix(): path.read_text() for path in static.rglob("*") if path.is_file()}
    assert found == {"app.css": "two", "old.js": "old", "new.js": "new", "img/deep/logo.svg": "logo"}
    assert (static / "old.js").stat().st_mtime == 1_700_000_000
    assert (static / "img/deep/logo.svg").stat().st_ino == same, "the same bytes are not written again"
    assert {path.stat().st_mode & 0o777 for path in static.rglob("*") if path.is_file()} == {0o644}


def test_new_static_files_exist_before_the_candidate_serves(host):
    host.deploy("v1")
    host.stage("v2", static={"new.js": "new"})
    host.plan(f"do restart {MAIN} v2 test -f shared/static/new.js")
    assert not host.activate("v2").get("failed")


def test_failed_candidate_replaces_no_static_file(host):
    host.stage("v1", static={"app.js": "one"})
    host.activate("v1")
    host.stage("v2", static={"app.js": "broken"})
    host.plan(f"fail restart {CANDIDATE} v2")
    host.activate("v2")
    assert (host.root / "shared/static/app.js").read_text() == "one"


@pytest.mark.parametrize("action", ["deploy", "rollback"])
def test_static_files_match_the_release_after_a_rollback(host, action):
    host.stage("v1", static={"app.css": "one"})
    host.activate("v1")
    host.stage("v2", static={"app.css": "two"})
    if action == "deploy":
        host.answers = {"v2": 500}
        assert host.activate("v2")["phase"] == "health"
    else:
        host.activate("v2")
        host.activate("v1", action="rollback")
    assert (host.root / "shared/static/app.css").read_text() == "one"


def test_missing_static_directory_is_skipped(host):
    host.stage("v1", static_paths=["static", "frontend/dist"])
    assert not host.activate("v1").get("failed")
    assert os.listdir(host.root / "shared/static") == []


def test_nginx_can_enter_static_directories_with_any_umask(host):
    host.stage("v1", static={"img/logo.svg": "logo"})
    before = os.umask(0o077)
    try:
        host.activate("v1")
    finally:
        os.umask(before)
    assert (host.root / "shared/static/img").stat().st_mode & 0o777 == 0o755


def test_incomplete_static_files_of_a_killed_run_are_removed(host):
    host.stage("v1", static={"app.css": "one"})
    left = host.root / "shared/static" / (".flaskops-static-999999999-" + "a" * 16)
    left.write_text("half")
    os.utime(left, (1, 1))
    host.activate("v1")
    assert os.listdir(host.root / "shared/static") == ["app.css"]


# History


def test_activation_is_one_line_of_the_log(host):
    host.deploy("v1", "v2")
    host.activate("v1", action="rollback")
    told = [
        {key: entry[key] for key in ("release", "before", "action", "by", "run")}
        for entry in ReleaseStore(host.layout).read_activations()
    ]
    assert told == [
        {"release": "v1", "before": None, "action": "deploy", "by": "ada", "run": "run-1"},
        {"release": "v2", "before": "v1", "action": "deploy", "by": "ada", "run": "run-1"},
        {"release": "v1", "before": "v2", "action": "rollback", "by": "ada", "run": "run-1"},
    ]
    states = {name: record["state"] for name, record in ReleaseStore(host.layout).read_releases().items()}
    assert states == {"v1": "active", "v2": "superseded"}


def test_old_releases_are_removed_after_an_activation(host):
    host.deploy("v1", "v2")
    host.stage("v3")
    result = host.activate("v3", keep=1)
    assert result["removed"] == ["v1"]
    assert sorted(os.listdir(host.layout.releases)) == ["v2", "v3"]


@pytest.mark.parametrize("keep", [0, -1])
def test_number_of_kept_releases_below_one_is_refused(host, keep):
    host.deploy("v1", "v2")
    host.stage("v3")
    result = host.activate("v3", keep=keep)
    assert result["msg"] == f"keep is {keep}, but must be a whole number of at least 1 (release_keep)."
    assert host.layout.find_live() == "v2" and sorted(os.listdir(host.layout.releases)) == ["v1", "v2", "v3"]


def test_failed_removal_of_releases_is_a_warning(host, monkeypatch):
    host.deploy("v1", "v2")
    host.stage("v3")

    def refuse(_path):
        raise OSError(16, "Device or resource busy")

    warned = []
    # Where the controller's half of Ansible is loaded too, as by other tests, a warning is not part of the result.
    monkeypatch.setattr(module_module.AnsibleModule, "warn", lambda _module, text: warned.append(text))
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", refuse)
        result = host.activate("v3", keep=1)
    assert result["changed"] and not result.get("failed")
    assert any("busy" in text for text in warned)
    host.assert_serves("v3")


# Another process without another release


@pytest.mark.parametrize("release", ["v1", None])
@pytest.mark.parametrize(
    "change",
    [
        lambda host: (host.root / "shared/.env").write_text("A=2"),
        lambda host: (host.root / "gunicorn.conf.py").write_text("workers = 2"),
        lambda host: (host.state / "unit").write_text("[Service]"),
        lambda host: host.plan(f"reload show {MAIN} v1"),
        lambda host: os.symlink("releases/v1", host.layout.next),
        lambda host: (os.kill(host.process(MAIN), signal.SIGKILL), (host.state / MAIN).unlink()),
    ],
    ids=["environment", "configuration", "unit", "unit not reloaded", "interrupted activation", "not running"],
)
def test_process_that_does_not_match_the_layout_is_replaced(host, release, change):
    host.deploy("v1")
    change(host)
    result = host.activate(release)
    assert result["changed"] and result["reason"], result
    assert [call[:2] for call in host.calls("restart")] == [["restart", CANDIDATE], ["restart", MAIN]]
    host.assert_serves("v1")
    assert [entry["release"] for entry in ReleaseStore(host.layout).read_activations()] == ["v1"], (
        "nothing else went live"
    )


@pytest.mark.parametrize("case", ["clock set back", "touched", "restarted by systemd"])
def test_process_with_loaded_files_is_not_replaced(host, case, monkeypatch):
    """Times tell nothing: a clock may be set back, and a file written again as it was."""
    (host.root / "gunicorn.conf.py").write_text("workers = 1")
    (host.state / "unit").write_text("[Service]")
    host.deploy("v1")
    if case == "clock set back":
        monkeypatch.setattr(live_process, "compute_start_time", lambda _unit: 0.0)
    elif case == "touched":
        (host.root / "shared/.env").write_text("")
    else:
        monkeypatch.setattr(live_process, "compute_start_time", lambda _unit: 0.0)
        noted = live_process.read_process_record(host.layout)
        live_process.record_process(host.layout, "another", noted["files"])
    assert host.activate("v1")["reason"] == ""


def test_change_times_decide_for_a_process_restarted_by_others(host):
    host.deploy("v1")
    live_process.record_process(host.layout, "another", {})
    assert not host.activate("v1")["changed"], "it has started since"
    (host.root / "shared/.env").write_text("A=2")
    assert host.activate("v1", check=True)["reason"].endswith(".env changed since myapp.service started")


def test_record_of_a_process_is_readable_by_root_only(host):
    host.deploy("v1")
    assert os.stat(host.layout.process).st_mode & 0o777 == 0o600


def test_new_venv_of_the_live_release_is_activated_with_a_new_process(host):
    host.deploy("v1")
    host.want("v1", "f" * 12)
    assert "f" * 12 in host.activate("v1")["reason"]
    assert host.environment("v1") == "f" * 12
    assert os.path.basename(os.path.realpath(host.layout.venv)) == "f" * 12
    assert not host.activate("v1")["changed"]


def test_failed_venv_leaves_the_live_release_with_its_own(host):
    host.deploy("v1")
    host.want("v1", "f" * 12)
    host.plan(f"fail restart {CANDIDATE} v1")
    result = host.activate("v1")
    assert result["failed"] and result["phase"] == "candidate"
    assert host.environment("v1") == "e" * 12
    host.assert_serves("v1")
    assert ReleaseStore(host.layout).read_record("v1")["state"] == "active", "the release is not at fault"


def test_venv_that_fails_after_the_restart_is_replaced_by_the_previous_one(host):
    host.deploy("v1")
    host.want("v1", "f" * 12)
    host.answers = {"f" * 12: 500}
    host.plan(f"do restart {MAIN} v1 readlink app/.venv >> {host.state}/started")
    result = host.activate("v1")
    assert result["failed"] and result["phase"] == "health"
    assert host.environment("v1") == "e" * 12
    started = (host.state / "started").read_text().splitlines()
    assert [os.path.basename(line) for line in started] == ["f" * 12, "e" * 12], "the process runs with the good one"
    host.assert_serves("v1")


def test_unproven_venv_is_not_kept_after_a_kill(host):
    """Killed while the candidate starts: the next run must still know what the release ran well with."""
    host.deploy("v1")
    host.want("v1", "f" * 12)
    assert killed(host, "v1", at=f"restart {CANDIDATE} v1")
    host.plan(f"fail restart {CANDIDATE} v1")
    assert host.activate("v1", run={**OTHER_RUN, "replaces": "run-1"})["failed"]
    assert host.environment("v1") == "e" * 12


def test_new_process_removes_no_release(host):
    """The role gunicorn_systemd renews; only the role release knows how many releases its user keeps."""
    host.deploy("v1", "v2", "v3")
    for name in ("v4", "v5", "v6", "v7"):
        host.stage(name)
        host.activate(name, keep=20)
    (host.root / "shared/.env").write_text("A=2")
    assert host.activate()["changed"]
    assert sorted(os.listdir(host.layout.releases)) == [f"v{number}" for number in range(1, 8)]


def test_no_process_is_replaced_without_a_live_release(host):
    assert not host.activate()["changed"]
    assert host.calls() == []


# Interruptions


def _activate(host, release):
    os.setsid()
    host.activate(release)


def killed(host, release, at):
    """Activate in a process that is killed when systemd is told something; whether it came that far."""
    process = multiprocessing.get_context("fork").Process(target=_activate, args=(host, release))
    marker = host.state / "reached"
    host.plan(f"do {at} touch {marker}; exec sleep 60")
    process.start()
    while not marker.exists() and process.is_alive():
        process.join(0.02)
    reached = marker.exists()
    if process.is_alive():
        os.killpg(process.pid, signal.SIGKILL)
    process.join()
    host.plan()
    return reached


POINTS = {
    "while the candidate starts": f"restart {CANDIDATE} v2",
    "after the swap": f"restart {MAIN} v2",
    "before the candidate stops": f"stop {CANDIDATE} v2",
}


@pytest.mark.parametrize("at", POINTS.values(), ids=POINTS)
def test_killed_activation_is_completed_by_the_next_run(host, at):
    host.deploy("v1")
    host.stage("v2")
    assert killed(host, "v2", at)
    assert host.layout.find_live() in ("v1", "v2") and host.running() in ("v1", "v2")
    result = host.activate("v2", run={**OTHER_RUN, "replaces": "run-1"})
    assert result["changed"] and not result.get("failed")
    host.assert_serves("v2")
    assert not host.activate("v2")["changed"]
    assert sorted(path.name for path in host.root.iterdir()) == [
        ".deploy", "app", "releases", "run", "shared", "venv", "venvs",
    ]  # fmt: skip


@pytest.mark.parametrize("at", POINTS.values(), ids=POINTS)
def test_log_has_a_killed_activation_that_was_completed(host, at):
    host.deploy("v1")
    host.stage("v2")
    assert killed(host, "v2", at)
    host.activate("v2", run={**OTHER_RUN, "replaces": "run-1"})
    assert [entry["release"] for entry in ReleaseStore(host.layout).read_activations()] == ["v1", "v2"]
    assert ReleaseStore(host.layout).read_record("v1")["state"] == "superseded"
    host.deploy("v3")
    assert ReleaseStore(host.layout).find_previous() == "v2", "the way back leads to what was live, not further"


@pytest.mark.parametrize("at", POINTS.values(), ids=POINTS)
def test_unproven_release_of_a_killed_run_is_rejected(host, at):
    """Killed while a bad release is asked for its health: the next run rejects it and the old one serves again."""
    host.deploy("v1")
    host.stage("v2")
    assert killed(host, "v2", at)
    host.answers = {"v2": 500}
    result = host.activate("v2", run={**OTHER_RUN, "replaces": "run-1"})
    assert result["failed"]
    host.assert_serves("v1")
    assert ReleaseStore(host.layout).read_record("v2")["state"] == "bad"


@pytest.mark.parametrize("at", POINTS.values(), ids=POINTS)
def test_another_release_can_be_activated_after_a_kill(host, at):
    host.deploy("v1")
    host.stage("v2")
    assert killed(host, "v2", at)
    host.stage("v3")
    assert not host.activate("v3", run={**OTHER_RUN, "replaces": "run-1"}).get("failed")
    host.assert_serves("v3")


def test_missing_line_of_the_log_is_written_by_the_next_run(host, monkeypatch):
    """A full disk at the very end: the release is live and serves, and a later rollback must know it."""
    host.deploy("v1")
    host.stage("v2")

    def full(_home, **_entry):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(ReleaseStore, "append_activation", full)
        host.activate("v2")
    host.activate("v2")
    host.deploy("v3")
    assert ReleaseStore(host.layout).find_previous() == "v2"


# A former user of the application


def begin_handover(host, former_uid):
    """As the role layout does when flask_app_user has changed."""
    media = host.root / "shared/media"
    media.mkdir()
    (media / "upload").touch()
    for path in (media, media / "upload"):
        os.chown(path, former_uid, former_uid)
    start_transfer(host.layout, OwnershipTransfer((former_uid,), (former_uid,), 54712, 54712, 54712))
    return media / "upload"


def test_former_user_loses_access_after_its_process_is_replaced(host, as_root):
    host.deploy("v1")
    upload = begin_handover(host, 54711)
    if acl.read_acl(str(upload)) is None:
        pytest.skip("the file system keeps no access control lists")
    assert acl.get_user_rights(acl.read_acl(str(upload)))
    result = host.activate()
    assert result["reason"] == "a former user of the application still has access to its data"
    assert (acl.read_acl(str(upload)), os.stat(upload).st_uid) == ({}, 54712)
    assert host.activate()["changed"] is False


def test_former_user_keeps_access_while_its_process_serves(host, as_root):
    host.deploy("v1")
    # The processes of these tests are the tester's.
    upload = begin_handover(host, os.geteuid())
    shared = acl.read_acl(str(upload))
    assert host.activate()["changed"] is True
    assert acl.read_acl(str(upload)) == shared
    assert os.path.exists(host.layout.former_user)


def test_former_user_keeps_access_after_a_rejected_release(host, as_root):
    host.deploy("v1")
    upload = begin_handover(host, 54711)
    shared = acl.read_acl(str(upload))
    host.stage("v2")
    host.plan(f"fail restart {CANDIDATE} v2")
    assert host.activate("v2")["failed"]
    assert acl.read_acl(str(upload)) == shared
    host.assert_serves("v1")


def test_release_without_its_interpreter_is_refused_and_not_rejected(host):
    """As after an upgrade of the distribution."""
    host.deploy("v1")
    host.stage("v2", environment="f" * 12)
    python = host.root / "venvs" / ("f" * 12) / "bin/python"
    python.parent.mkdir()
    python.symlink_to("/usr/bin/python3.4")
    result = host.activate("v2")
    assert (
        result["failed"] and "python3.4, which does not exist" in result["msg"] and "Deploy it again" in result["msg"]
    )
    assert ReleaseStore(host.layout).read_record("v2")["state"] == "staged"
    host.assert_serves("v1")


def test_activation_of_a_rollout_keeps_the_lock_and_records_the_previous_release(host):
    host.deploy("v1")
    host.stage("v2")
    rollout = {"id": "7-run-1", "number": 7, "action": "deploy", "hosts": ["web1"]}
    host.activate("v2", rollout=rollout)
    found = read_rollout(host.layout)
    assert (found["release"], found["before"], found["state"]) == ("v2", "v1", "activating")
    assert DeployLock(host.layout, {}).read_holder()["run"] == "run-1"
    host.activate("v1", action="rollback", rollout={**rollout, "undo": True})
    assert read_rollout(host.layout) == {**found, "state": "undone"}


# Settings


UNIT_TEXT = "[Service]\nEnvironmentFile={root}/shared/.env\nWorkingDirectory={root}/app\nNice={nice}\n"


@pytest.fixture
def settings(host, monkeypatch):
    """A live release, and the files of new settings that a run has staged, by their places."""
    units = host.state / "units"
    units.mkdir()
    monkeypatch.setattr(foreign, "UNITS", str(units))
    for unit in ("myapp.socket", MAIN, CANDIDATE):
        (units / unit).write_text(UNIT_TEXT.format(root=host.root, nice=1))
    for path in (units / MAIN, host.root / "shared/.env"):
        path.chmod(0o640)
    host.deploy("v1")
    return {str(host.root / "shared/.env"): "MODE=new\n", str(units / MAIN): UNIT_TEXT.format(root=host.root, nice=2)}


def stage_settings(host, texts, run=None):
    layout = Layout(str(host.root), run or RUN)
    entries = [PathEntry(path, "file", 0o640, content=text.encode()) for path, text in texts.items()]
    settings_set_module.SettingsSet(layout, "myapp", layout.staged_settings).add_entries(entries)


def contents(paths):
    return {path: Path(path).read_text() for path in paths}


def left_of_settings(host):
    return sorted(name for name in os.listdir(host.layout.settings) if not name.endswith(".json"))


def test_settings_are_activated_like_a_release(host, settings):
    env_file, unit = settings
    stage_settings(host, settings)
    host.plan(
        f"do restart {CANDIDATE} v1 cat {env_file} {unit} > {host.state}/before",
        f"do restart {MAIN} v1 cat {env_file} {unit} > {host.state}/after",
    )
    result = host.activate("v1")
    assert result["reason"] == f"new settings are staged: {env_file}, {unit}"
    assert result["settings"] == [env_file, unit]
    # They come into their places between the start of the candidate and that of the service.
    assert (host.state / "before").read_text() == UNIT_TEXT.format(root=host.root, nice=1)
    assert (host.state / "after").read_text() == "".join(settings.values())
    assert contents(settings) == settings
    host.assert_serves("v1")
    assert left_of_settings(host) == ["previous"]
    assert not host.activate("v1")["changed"]


@pytest.mark.parametrize("release", ["v1", "v2"])
@pytest.mark.parametrize("unit", [CANDIDATE, MAIN])
def test_rejected_settings_are_removed(host, settings, unit, release):
    before = contents(settings)
    if release == "v2":
        host.stage("v2")
    stage_settings(host, settings)
    if unit == CANDIDATE:
        host.plan(f"fail restart {unit} {release}")
    else:
        # The first start fails, and the one with the settings of before does not.
        host.plan(f"do restart {unit} {release} grep -q MODE=new shared/.env && exit 1 || true")
    process = host.process(MAIN)
    result = host.activate(release)
    assert result["failed"] and result["rejected"]
    shown = ", ".join(settings)
    what = f"The change of {shown}" if release == "v1" else f"v2 with new settings ({shown})"
    phase = "candidate" if unit == CANDIDATE else "service"
    first = result["msg"].splitlines()[0]
    assert first == f"{what} was rejected ({phase}): it did not start: ModuleNotFoundError: No module named 'flask'."
    assert "The settings are as they were before." in result["msg"]
    assert "v1 is live and answers GET /health." in result["msg"]
    assert contents(settings) == before
    assert left_of_settings(host) == []
    assert (host.process(MAIN) == process) == (unit == CANDIDATE)
    host.assert_serves("v1")
    # Nothing is left to do for the live release.
    host.plan()
    assert not host.activate("v1")["changed"]


def test_start_timeout_is_that_of_the_new_units(host, settings, monkeypatch):
    stage_settings(host, settings)
    monkeypatch.setattr(unit_jobs, "ENDLESS", 5)
    # systemd tells the new limit once it has read the units with which the candidate starts.
    limits = iter(["1s"] * 2)
    given = []
    shown = unit_jobs.read_unit_properties

    def show(unit, *properties):
        found = shown(unit, *properties)
        return {**found, "TimeoutStartUSec": next(limits, "4s")} if "TimeoutStartUSec" in found else found

    def systemctl(verb, unit="", **options):
        given.append((verb, unit, options.get("timeout")))
        return manager.run_systemctl(verb, unit, **options)

    monkeypatch.setattr(unit_jobs, "read_unit_properties", show)
    monkeypatch.setattr(unit_jobs, "run_systemctl", systemctl)
    host.activate("v1")
    starts = {unit: limit for verb, unit, limit in given if verb == "restart"}
    assert starts[CANDIDATE] == starts[MAIN] == 1 + 4 + 0.5


def test_staged_secret_is_not_shown(host, settings):
    env_file = next(iter(settings))
    stage_settings(host, {env_file: 'TOKEN="correct-horse-battery"\n'})
    host.log("ValueError: 'correct-horse-battery' is no token\n")
    host.plan(f"fail restart {CANDIDATE} v1")
    result = host.activate("v1")
    assert "ValueError" in result["msg"] and "correct-horse" not in json.dumps(result)


def test_settings_staged_by_another_run_are_not_activated(host, settings):
    before = contents(settings)
    stage_settings(host, settings, OTHER_RUN)
    assert not host.activate("v1")["changed"]
    assert contents(settings) == before


def test_unchanged_settings_are_not_activated(host, settings):
    stage_settings(host, contents(settings))
    assert not host.activate("v1")["changed"]
    assert left_of_settings(host) == []


def test_interrupted_change_is_undone_before_the_next_activation(host, settings):
    before = contents(settings)
    stage_settings(host, settings)
    change = settings_module.SettingsChange(Layout(str(host.root), RUN), "myapp", "v1")
    change.prepare("releases/v1", "releases/v1")
    change.install(lambda: None)
    assert contents(settings) == settings
    reason = host.activate("v1", run=OTHER_RUN)["reason"]
    assert reason == "an activation was interrupted"
    assert contents(settings) == before and left_of_settings(host) == []
    host.assert_serves("v1")


def test_rollback_warns_about_changed_settings(host, settings, monkeypatch):
    warned = []
    monkeypatch.setattr(module_module.AnsibleModule, "warn", lambda _module, text: warned.append(text))
    env_file = next(iter(settings))
    host.stage("v2")
    stage_settings(host, {env_file: "MODE=new\n"})
    assert host.activate("v2")["settings_before"] == []
    result = host.activate("v1", action="rollback")
    assert result["settings_before"] == [f"MODE in {env_file}"]
    (warning,) = warned
    assert warning.startswith(f"v1 was live with other settings before: MODE in {env_file}. A rollback keeps")
    assert contents([env_file]) == {env_file: "MODE=new\n"}


@pytest.fixture
def nginx(host, settings, tmp_path, monkeypatch):
    """The file of the site, and each time that Nginx reads it: the site, and what runs by then."""
    path, read = tmp_path / "sites-available/myapp.conf", []
    path.parent.mkdir()
    path.write_text("old\n")
    monkeypatch.setattr(staged_site, "find_master", lambda pid_file: pid_file)

    def reload(_master, _error_log):
        read.append((path.read_text(), host.running(), host.running(CANDIDATE)))
        return ""

    monkeypatch.setattr(staged_site, "reload_nginx", reload)
    return SimpleNamespace(path=path, read=read)


def stage_site(host, nginx):
    layout = Layout(str(host.root), RUN)
    state = SiteState(b"new\n", 0o644, (os.geteuid(), os.getegid()), {})
    staged = settings_set_module.SettingsSet(layout, "myapp", layout.staged_settings)
    staged.add_site(state, path=str(nginx.path), pid_file="nginx.pid", error_log="error.log")


def test_nginx_reads_the_site_when_only_the_release_answers(host, settings, nginx):
    host.stage("v2")
    stage_site(host, nginx)
    assert host.activate("v2")["settings"] == [str(nginx.path)]
    assert nginx.read == [("new\n", "v2", None)]
    assert left_of_settings(host) == ["previous"]


def test_rejected_candidate_changes_no_site(host, settings, nginx):
    host.stage("v2")
    stage_site(host, nginx)
    host.plan(f"fail restart {CANDIDATE} v2")
    assert host.activate("v2")["rejected"]
    assert (nginx.path.read_text(), nginx.read, left_of_settings(host)) == ("old\n", [], [])
    host.assert_serves("v1")


def test_earlier_site_is_restored_before_the_earlier_release_answers(host, settings, nginx, monkeypatch):
    host.stage("v2")
    stage_site(host, nginx)
    wrong = SiteResult(
        "GET http://localhost/health through Nginx answered 418, expected 200, although Gunicorn answered 200"
    )
    monkeypatch.setattr(activation_module, "check_site", lambda *_arguments: wrong)
    result = host.activate("v2", site=str(nginx.path))
    what = (
        f"v2 with new settings ({nginx.path}) was rejected (site): GET http://localhost/health through Nginx answered"
    )
    assert result["phase"] == "site" and result["msg"].startswith(what)
    assert "The settings are as they were before." in result["msg"]
    assert "The release is not marked as rejected: Gunicorn answered as it should." in result["msg"]
    assert "Fix the release or the settings, and run again." in result["msg"]
    assert ReleaseStore(host.layout).read_record("v2")["state"] == "staged"
    assert [read[:2] for read in nginx.read] == [("new\n", "v2"), ("old\n", "v2")]
    assert (nginx.path.read_text(), left_of_settings(host)) == ("old\n", [])
    host.assert_serves("v1")


def test_change_of_the_site_keeps_the_process(host, settings, nginx):
    process = host.process(MAIN)
    stage_site(host, nginx)
    result = host.activate("v1")
    assert result["changed"] and result["settings"] == [str(nginx.path)]
    assert host.process(MAIN) == process
    assert nginx.read == [("new\n", "v1", None)]
    assert left_of_settings(host) == ["previous"]
    assert not host.activate("v1")["changed"]


@pytest.mark.parametrize("by_release", [True, False])
def test_site_that_does_not_reach_the_release_is_restored(host, settings, nginx, monkeypatch, by_release):
    stage_site(host, nginx)
    seen = [SiteResult("GET http://localhost/health through Nginx answered 404", by_release), SiteResult(None)]
    monkeypatch.setattr(activation_module, "check_site", lambda *_arguments: seen.pop(0))
    monkeypatch.setattr(release_activate, "check_site", lambda *_arguments: seen.pop(0))
    process = host.process(MAIN)
    # The role names the link, which Nginx reads.
    result = host.activate("v1", site=f"/etc/nginx/sites-enabled/{nginx.path.name}")
    assert result["msg"].startswith(f"The change of {nginx.path} was rejected (site): GET http://localhost/health")
    assert "The settings are as they were before." in result["msg"]
    assert "Fix the settings and run again." in result["msg"]
    assert [site for site, *_runs in nginx.read] == ["new\n", "old\n"]
    assert host.process(MAIN) == process and left_of_settings(host) == []
    # What serves is not to blame.
    assert ReleaseStore(host.layout).read_record("v1")["state"] == "active"
    assert not host.activate("v1")["changed"]

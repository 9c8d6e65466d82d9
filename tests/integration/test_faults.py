# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test faults of a host: the served release, the message of the run, and the next run."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import docker_hosts
import pytest
from build import image
from environment import CONTAINER_UV, docker, find_uv

from ansible_collections.flaskops.production.tests.integration.conftest import Host, PlaybookResult
from ansible_collections.flaskops.production.tests.unit.programs import require

pytestmark = pytest.mark.xdist_group("faults")

WSGI = '''\
import os

RELEASE = os.path.basename(os.getcwd())


def application(environ, start_response):
    """Fail if the shared data has a certain file."""
    start_response("500 Broken" if os.path.exists("instance/broken") else "200 OK", [("Content-Type", "text/plain")])
    return [RELEASE.encode()]
'''
RELEASES = ("one", "two")

# Functions for the scripts of the faults. $live is the live release, $other the other one.
PRELUDE = """
set -eu
app=/srv/myapp units=/etc/systemd/system
live=$(basename "$(readlink $app/app)")
[ "$live" = one ] && other=two || other=one
keep() { mkdir -p /root/kept; mv "$1" /root/kept/; }
give_back() { mv "/root/kept/$(basename "$1")" "$1"; }
drop_in() {
    mkdir -p "/run/systemd/system/$1.d"
    printf '[Service]\\n%s\\n' "$2" > "/run/systemd/system/$1.d/fault.conf"
    systemctl daemon-reload
}
no_drop_in() { rm -r "/run/systemd/system/$1.d"; systemctl daemon-reload; }
mask() { keep "$units/$1"; ln -s /dev/null "$units/$1"; systemctl daemon-reload; }
unmask() { rm "$units/$1"; give_back "$units/$1"; systemctl daemon-reload; }
remount() { mount --bind "$1" "$1"; mount -o "remount,bind,$2" "$1"; }
"""
LISTEN = "import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); time.sleep(90)"

OLD, NEW, NOTHING = "the live release", "the other release", "nothing"


class FaultCase(NamedTuple):
    """A fault of a host and the expected results.

    By default, the run during the fault deploys the other release. After the fault is removed, the same run must
    succeed.
    """

    plant: str
    serves: str
    says: tuple[str, ...] = ()
    heal: str = ""
    run: str = "deploy"
    release: str = NEW
    fails: bool = True


def repaired(plant: str, *says: str, heal: str = "", **more) -> FaultCase:
    """Return a fault that a deploy of the live release repairs."""
    return FaultCase(plant, OLD, says, heal, **{"release": OLD, "fails": False, **more})


def overcome(plant: str, *says: str, heal: str = "", **more) -> FaultCase:
    """Return a fault that does not prevent the activation of the other release."""
    return FaultCase(plant, NEW, says, heal, **{"fails": False, **more})


NOT_MARKED = "The release is not marked as rejected"

FAULTS = {
    # The socket
    "the path of the socket is gone": repaired("rm $app/run/gunicorn.sock", "run/gunicorn.sock is missing"),
    "everything in run/ is gone, and a release is due": overcome("rm -rf $app/run/*"),
    "run/ is gone": repaired("rm -r $app/run", "/srv/myapp/run", run="site"),
    "a file is where the socket was": FaultCase(
        "rm $app/run/gunicorn.sock; mkdir $app/run/gunicorn.sock",
        NOTHING,
        ("run/gunicorn.sock is not a socket", "a restart of myapp.socket did not help"),
        heal="rmdir $app/run/gunicorn.sock",
    ),
    "a foreign process listens on the path of the socket": repaired(
        f"rm $app/run/gunicorn.sock; setsid python3 -c '{LISTEN}' $app/run/gunicorn.sock > /dev/null 2>&1 & sleep 1",
        "which is not the service",
    ),
    "the socket has stopped": repaired("systemctl stop myapp.socket myapp.service", "myapp.service is inactive"),
    # The processes
    "the service has stopped": repaired("systemctl stop myapp.service", "myapp.service is inactive"),
    "a killed run has left its candidate": overcome(
        "ln -s releases/$live $app/next; systemctl start myapp-next.service"
    ),
    "settings were touched, or the clock was set back": repaired(
        "touch -d '1 day' $app/gunicorn.conf.py $app/shared/.env $units/myapp.service; systemctl daemon-reload",
        "changed=0",
    ),
    # systemd and the units
    "systemd does not answer": FaultCase(
        "mv /run/systemd/private /run/systemd/private.away",
        OLD,
        ("systemctl show myapp.service failed: Failed to connect",),
        heal="mv /run/systemd/private.away /run/systemd/private",
    ),
    "the unit of the candidate is masked": FaultCase(
        "mask myapp-next.service",
        OLD,
        ("myapp-next.service is masked", NOT_MARKED, "is live and answers GET /health."),
        heal="unmask myapp-next.service",
    ),
    "the unit of the service is masked": FaultCase(
        "mask myapp.service",
        OLD,
        ("myapp.service is masked", NOT_MARKED),
        heal="unmask myapp.service",
    ),
    "the unit of the service is gone": repaired(
        "rm $units/myapp.service; systemctl daemon-reload", "/etc/systemd/system/myapp.service", run="site"
    ),
    "the user of the application is gone": FaultCase(
        "drop_in myapp-next.service User=nobody-at-all",
        OLD,
        ("status 217/USER", NOT_MARKED, "is live and answers GET /health."),
        heal="no_drop_in myapp-next.service",
    ),
    "the sandbox cannot be set up": FaultCase(
        "drop_in myapp-next.service ReadWritePaths=/nowhere",
        OLD,
        ("status 226/NAMESPACE", NOT_MARKED, "is live and answers GET /health."),
        heal="no_drop_in myapp-next.service",
    ),
    "the environment file is gone": FaultCase(
        "keep $app/shared/.env",
        OLD,
        (NOT_MARKED, "is live and answers GET /health."),
        heal="give_back $app/shared/.env",
    ),
    "the configuration of Gunicorn is gone": FaultCase(
        "keep $app/gunicorn.conf.py",
        OLD,
        ("gunicorn.conf.py", NOT_MARKED, "is live and answers GET /health."),
        heal="give_back $app/gunicorn.conf.py",
    ),
    # The file system
    "/srv is mounted noexec": FaultCase(
        "remount $app/venvs noexec",
        OLD,
        ("status 203/EXEC", "Permission denied", NOT_MARKED, "is live and answers GET /health."),
        heal="umount $app/venvs",
    ),
    "/srv is mounted read-only": FaultCase(
        "remount $app ro", OLD, ("/srv/myapp/.deploy/guard: Read-only file system",), heal="umount --lazy $app"
    ),
    "the disk is full": FaultCase(
        "mount -t tmpfs -o size=4k,mode=0755 tmpfs $app/shared/static; echo > $app/shared/static/full",
        OLD,
        ("No space left on device", "is live and answers GET /health."),
        heal="umount $app/shared/static",
    ),
    "what every release needs is gone": FaultCase(
        "touch $app/shared/instance/broken",
        "500",
        ("is live, but does not serve: GET /health answered 500", NOT_MARKED),
        heal="rm $app/shared/instance/broken",
    ),
    # Records of releases
    "the record of the live release is damaged": repaired(
        "truncate -s 20 $app/.deploy/releases/$live.json", "cannot be read and counts as missing"
    ),
    "the record of the other release is damaged": overcome(
        "truncate -s 20 $app/.deploy/releases/$other.json", "cannot be read and counts as missing"
    ),
    "the log of activations is gone, and a rollback is due": overcome(
        "rm $app/.deploy/activations.log", run="rollback"
    ),
    "all that is known is gone": overcome("rm -r $app/.deploy"),
    "another run is dead and has left its lock": FaultCase(
        "echo '{}' > $app/.deploy/lock",
        OLD,
        ("Another deploy holds /srv/myapp/.deploy/lock", "release_unlock=true"),
        heal="rm $app/.deploy/lock",
    ),
    "a foreign user has locked the directory of the lock": overcome(
        "setsid setpriv --reuid=nobody --clear-groups flock $app/.deploy sleep 60 > /dev/null 2>&1 & sleep 1"
    ),
    "a killed run has left half a release": repaired(
        "mkdir $app/releases/.staging-x", "/srv/myapp/releases/.staging-x", run="site"
    ),
    # Releases and virtual environments
    "the link to the live release is gone": overcome("rm $app/app"),
    "the live release is gone": overcome("mv $app/releases/$live /root/$live"),
    "a package was removed by hand": repaired(
        "rm -r $app/venv/lib/python3*/site-packages/gunicorn", "are not in place", run="site"
    ),
    "a virtual environment is half built": repaired(
        "rm $(readlink -f $app/venv)/.complete", "are not in place", run="site"
    ),
    # Nginx
    "Nginx refuses its configuration": FaultCase(
        "echo 'listen;' > /etc/nginx/conf.d/fault.conf",
        OLD,
        ("/etc/nginx/conf.d/fault.conf", "listen"),
        heal="rm /etc/nginx/conf.d/fault.conf",
        run="site",
        release=OLD,
    ),
    "Nginx has stopped": repaired("systemctl stop nginx", "nginx.service is not running", run="site"),
}  # fmt: skip


class FaultyHost(Host):
    """A host with a live release and another one."""

    def __init__(self, container: str, place: Path) -> None:
        variables = {
            "flask_app_name": "myapp",
            "flask_app_wsgi": "wsgi:application",
            "flask_app_env": {"SECRET_KEY": "of the faults"},
            "release_health_path": "/health",
            "release_health_attempts": 2,
            "release_shared_paths": ["instance/"],
            "gunicorn_systemd_workers": 1,
            **({"venv_installer": "uv", "venv_uv": CONTAINER_UV} if find_uv() else {}),
        }
        super().__init__(container, place, variables)
        for name in RELEASES:
            (place / name / "static").mkdir(parents=True)
            (place / name / "wsgi.py").write_text(WSGI)
            (place / name / "requirements.txt").write_text("")
            # The file does not fit on a file system of 4 kB.
            (place / name / "static/site.css").write_text(f"/* {name} */" + " " * 9000)

    def shell(self, script: str) -> str:
        return docker("exec", self.container, "bash", "-c", PRELUDE + script)

    def run(self, playbook: str, release: str) -> PlaybookResult:
        variables = {"release_name": release, "release_directory": str(self.place / release)}
        return self.play(playbook, "-v", **({} if playbook == "rollback" else variables))

    def live(self) -> str:
        return self.shell("echo $live").strip()

    def served(self) -> str:
        """Return the response to a visitor: the name of a release, the status of an error, or nothing."""
        ask = "import sys, urllib.request as r; print(r.urlopen('http://127.0.0.1/health', timeout=20).read().decode())"
        command = ["docker", "exec", self.container, "python3", "-c", ask]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        failed = re.search(r"HTTP Error (\d+)", done.stderr)
        answered = failed[1] if failed else done.stdout.strip()
        return NOTHING if answered in ("502", "503", "504", "") else answered

    def states(self) -> dict[str, str]:
        records = self.shell("cat $app/.deploy/releases/*.json").replace("}\n{", "},{")
        return {record["release"]: record["state"] for record in json.loads(f"[{records}]")}

    def rejected(self) -> set[str]:
        return {release for release, state in self.states().items() if state == "bad"}


@pytest.fixture(scope="module")
def faulty(requires_docker, tmp_path_factory):
    require("docker")
    container = docker_hosts.start(image("debian13", ready=True))
    try:
        host = FaultyHost(container, tmp_path_factory.mktemp("faults"))
        for playbook, release in (("site", "one"), ("deploy", "two")):
            result = host.run(playbook, release)
            assert not result.failed, result.output
        yield host
    finally:
        docker_hosts.remove(container)


def normalise_output(result: PlaybookResult) -> str:
    """Return the output without line breaks and without escaped quotes."""
    return re.sub(r"(\\n|\s)+", " ", result.output).replace('\\"', '"')


@pytest.mark.parametrize("name", FAULTS)
def test_fault(faulty, name):
    fault = FAULTS[name]
    live = faulty.live()
    other = RELEASES[1 - RELEASES.index(live)]
    names = {OLD: live, NEW: other}
    wanted = names[fault.release]
    rejected = faulty.rejected()
    # $live and $other are the names before the fault.
    before = f"live={live} other={other}\n"
    faulty.shell(before + fault.plant)
    try:
        result = faulty.run(fault.run, wanted)
        served = faulty.served()
    finally:
        if fault.heal:
            faulty.shell(before + fault.heal)
    text = normalise_output(result)
    assert result.failed == fault.fails, text
    assert served == names.get(fault.serves, fault.serves), text
    assert [words for words in fault.says if words not in text] == [], text
    # No release is rejected because of the fault.
    assert faulty.rejected() <= rejected, text
    again = faulty.run("deploy" if fault.run == "rollback" else fault.run, wanted)
    assert not again.failed, normalise_output(again)
    assert faulty.served() == wanted, normalise_output(again)
    assert faulty.states()[wanted] == "active"
    assert fault.fails or not again.changed, normalise_output(again)


def test_at_least_25_faults_are_tested():
    assert len(FAULTS) >= 25

# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets are planted in every setting that may hold one, and looked for wherever somebody could read them.

Every place is also searched for something that is no secret and must be there, or finding nothing would prove nothing.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import tarfile

import pytest

from ansible_collections.flaskops.production.tests.integration.waiting import without_waiting
from ansible_collections.flaskops.production.tests.unit.programs import find, needs, reason

pytestmark = pytest.mark.xdist_group("site")

# As in conftest.py: how every secret starts, before what is a run's own.
PLANTED = "plantedsecret"
PLAIN = "plainlyvisible5e8a"
TLS_KEY = "/etc/ssl/private/planted.key"

SEARCH = """
import json, os, subprocess, sys

words = [word.encode() for word in json.load(sys.stdin)]
files = []
# The mounts that hold files; the container's own root is one of them.
for top in ("/", "/run", "/tmp", "/dev/shm"):
    device = os.stat(top).st_dev
    for directory, below, names in os.walk(top):
        below[:] = [name for name in below if os.lstat(os.path.join(directory, name)).st_dev == device]
        for name in names:
            path = os.path.join(directory, name)
            # The journal is read below, as a whole.
            if not os.path.isfile(path) or os.path.islink(path) or path.endswith((".journal", ".journal~")):
                continue
            with open(path, "rb") as file:
                content = file.read()
            files += [(path, os.stat(path).st_mode & 0o777, word.decode()) for word in words if word in content]
command = ["journalctl", "--no-pager", "--all", "--output=json"]
journal = []
for line in subprocess.run(command, capture_output=True, check=True).stdout.splitlines():
    entry = json.loads(line)
    # What an application says of itself is its own to answer for.
    if entry.get("_TRANSPORT") != "stdout" or not entry.get("_SYSTEMD_UNIT", "").startswith("myapp"):
        journal += [word.decode() for word in words if word in line]
print(json.dumps({"files": files, "journal": sorted(set(journal))}))
"""


@dataclasses.dataclass(frozen=True)
class Run:
    """A run, what is set for it, and a word of what it says; it fails unless `passes`. PORT is that of a server on the
    controller, which wants the user and the password of the repository."""

    title: str
    variables: dict
    said: str
    playbook: str = "deploy"
    options: tuple[str, ...] = ("--diff",)
    passes: bool = False
    # Whether it ends before the host is reached, so that one run of Ansible does for all such runs.
    early: bool = False
    programs: tuple[str, ...] = ()


CREDENTIALS = "plantedsecretGITUSER:plantedsecretGITPASSWORD"
ARCHIVE = {
    "release_git_repo": "",
    "release_archive": f"http://{CREDENTIALS}@127.0.0.1:PORT/app.tar.gz?token=plantedsecretQUERY",
}

RUNS = [
    # Settings that are refused
    Run(
        "An index without a scheme",
        {"venv_index_url": "plantedsecret:plantedsecret@pypi.example.org/simple"},
        "venv_index_url",
        early=True,
    ),
    Run(
        "An index list that is a string",
        {"venv_extra_index_urls": "https://plantedsecret@pypi.org/simple"},
        "venv_extra_index_urls",
        early=True,
    ),
    Run(
        "A value that is a list",
        {"flask_app_env": {"SECRET_KEY": ["plantedsecret"]}},
        "flask_app_env.SECRET_KEY",
        early=True,
    ),
    Run("An environment that is a list", {"flask_app_env": ["SECRET_KEY=plantedsecret"]}, "flask_app_env", early=True),
    Run(
        "Two sources",
        {"release_archive": "https://plantedsecret:plantedsecret@example.org/a.tar?plantedsecret"},
        "2 sources are set",
        early=True,
    ),
    # Sources that can't be read
    Run(
        "A repository whose password is wrong",
        {"release_git_repo": "http://plantedsecret:plantedsecret@127.0.0.1:PORT/app/.git"},
        "release_git_repo",
        early=True,
    ),
    Run(
        "A repository whose server is not there",
        {"release_git_repo": "https://plantedsecret:plantedsecret@127.0.0.1:1/app.git"},
        "127.0.0.1:1",
        early=True,
    ),
    Run(
        "An archive whose server is not there",
        {
            "release_git_repo": "",
            "release_archive": "https://plantedsecret:plantedsecret@127.0.0.1:1/a.tar?token=plantedsecret",
            "release_archive_checksum": "0" * 64,
        },
        "release_archive",
        early=True,
    ),
    Run(
        "An archive with another checksum",
        {**ARCHIVE, "release_archive_checksum": "0" * 64},
        "has the SHA-256",
        early=True,
    ),
    Run(
        "An archive whose signature is not there",
        {
            **ARCHIVE,
            "release_archive_signature": f"http://{CREDENTIALS}@127.0.0.1:PORT/none.minisig?token=plantedsecretQUERY",
            "release_archive_minisign_key": "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3",
        },
        "release_archive_signature",
        early=True,
        programs=("minisign",),
    ),
    Run(
        "An archive of another signer",
        {
            **ARCHIVE,
            "release_archive_signature": f"http://{CREDENTIALS}@127.0.0.1:PORT/app.minisig?token=plantedsecretQUERY",
            "release_archive_minisign_key": "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3",
        },
        "release_archive_signature",
        early=True,
        programs=("minisign",),
    ),
    # Dependencies that can't be installed
    Run(
        "A package that nobody has",
        {"venv_packages": ["no-such-package-of-anybody==1"]},
        "no-such-package-of-anybody",
    ),
    Run(
        "An index whose server is not there",
        {
            "venv_index_url": "http://plantedsecretINDEXUSER:plantedsecretINDEXPASSWORD@127.0.0.1:1/simple",
            "venv_packages": ["gunicorn>=24"],
            "venv_environment": {"PIP_RETRIES": "0", "INSTALLER_TOKEN": "plantedsecretINSTALLER"},
        },
        "127.0.0.1",
    ),
    # Releases that say what they were given
    Run(
        "A build that prints its environment",
        {"release_git_ref": "next", "release_build_command": "env; exit 3"},
        "SECRET_KEY=********",
    ),
    Run(
        "A migration that prints its environment",
        {"release_git_ref": "next", "release_migrate_command": "env; exit 3"},
        "SECRET_KEY=********",
    ),
    Run("An application that fails with a value", {"release_git_ref": "crash"}, "RuntimeError: ********"),
    # A site that can't be
    Run(
        "A TLS key that is none",
        {"nginx_site_tls_certificate": "/etc/ssl/planted.pem", "nginx_site_tls_certificate_key": TLS_KEY},
        "/etc/ssl/planted.pem",
        playbook="site",
    ),
    # What is right
    Run("The second run", {}, "changed=0", playbook="site", passes=True),
    Run(
        "The live release out of a signed archive",
        {
            **ARCHIVE,
            "release_archive_signature": f"http://{CREDENTIALS}@127.0.0.1:PORT/app.minisig?token=plantedsecretQUERY",
            "release_archive_minisign_key": "PLACE/signer.pub",
        },
        # The same bits are the same release, wherever they come from.
        "changed=0",
        passes=True,
        programs=("minisign",),
    ),
    Run(
        "A secret that is replaced in check mode",
        {"flask_app_env": {"SECRET_KEY": "plantedsecretOTHER"}},
        "secret content, new",
        playbook="site",
        options=("--check", "--diff"),
        passes=True,
    ),
]


def secrets_in(text: str) -> list[str]:
    """The lines that hold a secret: what a failed test shows."""
    return [line[:400] for line in text.splitlines() if PLANTED in line]


def filled(variables: dict, site) -> dict:
    """The variables with what is known only now."""
    text = json.dumps(variables).replace(PLANTED, site.planted)
    return json.loads(text.replace("PORT", str(site.port)).replace("PLACE", str(site.place)))


WRITE_KEY = """
import json, os, sys

path, content = json.load(sys.stdin)
os.umask(0o077)
open(path, "w").write(content)
open("/etc/ssl/planted.pem", "w")
print("null")
"""
CRASH = """import os

app = None
raise RuntimeError(os.environ["SECRET_KEY"])
"""


@pytest.fixture(scope="module")
def sources(site, converged):
    """A branch with another release, one that does not start, a signed archive, and on the host a key that is none."""
    repository, wsgi = site.repository, site.repository.path / "wsgi.py"
    good = wsgi.read_text()
    for branch, content in (("next", f"{good}\n# next\n"), ("crash", CRASH)):
        repository.git("checkout", "--quiet", "-b", branch, "main")
        wsgi.write_text(content)
        repository.commit()
    repository.git("checkout", "--quiet", "main")
    with tarfile.open(site.place / "app.tar.gz", "w:gz") as archive:
        archive.add(repository.path, ".", filter=lambda info: None if "/.git" in info.name else info)
    if find("minisign"):
        for arguments in (["-G", "-W", "-p", "signer.pub"], ["-S", "-m", "app.tar.gz", "-x", "app.minisig"]):
            command = ["minisign", *arguments, "-s", "signer.key"]
            subprocess.run(command, cwd=site.place, check=True, stdout=subprocess.DEVNULL)
    key = "-----BEGIN PRIVATE" + f" KEY-----\n{PLANTED}TLS\n-----END PRIVATE" + " KEY-----\n"
    site.python(WRITE_KEY, [TLS_KEY, key])


RUNNABLE = [run for run in RUNS if not reason(*run.programs)]


def case(run: Run) -> str:
    """The name of a run among others of one run of Ansible."""
    return run.title.lower().replace(" ", "-")


@pytest.fixture(scope="module")
def early(site, watch, sources):
    """The runs that end before the host is reached, in one run of Ansible, and what was to be seen of it."""
    cases = {case(run): filled(run.variables, site) for run in RUNNABLE if run.early}
    with watch() as seen:
        played = site.play_cases(without_waiting(site.place, "deploy"), cases, "--diff", "-vvvv")
    return played, seen


@pytest.fixture(scope="module")
def watched(site, watch, sources, request):
    """Watches a row run, once; what it said and whether it failed, and what was to be seen of all of the run."""
    done = {}

    def play(run: Run):
        if run.early:
            played, seen = request.getfixturevalue("early")
            said = re.search(rf"^fatal: \[{case(run)}\]: FAILED! => \{{.*?^\}}", played.output, re.M | re.S)
            return said.group() if said else "", bool(said), played, seen
        if run.title not in done:
            with watch() as seen:
                played = site.play(run.playbook, *run.options, "-vvvv", **filled(run.variables, site))
            done[run.title] = played.output, played.failed, played, seen
        return done[run.title]

    return play


def assert_silent(site, played, seen=None) -> None:
    assert not secrets_in(played.output)
    if seen:
        # Others may test on this machine too.
        lines = [*seen.command_lines(on_host=False), *seen.command_lines(on_host=True)]
        assert [line[:400] for line in lines if site.planted in line] == []
        assert seen.temporary_files(with_secret=True) == []


def test_check_mode_shows_no_secret_and_passes_on_an_empty_host(site, checked):
    assert not checked.failed, checked.output[-4000:]
    assert PLAIN in checked.output, "The output does not even hold what is no secret."
    assert_silent(site, checked)


def test_the_first_run_shows_no_secret(site, converged):
    played, seen = converged
    assert PLAIN in played.output, "The output does not even hold what is no secret."
    assert [line for line in seen.command_lines(True) if "pip" in line and "install" in line], "No installer was seen."
    assert [line for line in seen.command_lines(False) if "git" in line and "fetch" in line], "No git was seen."
    assert [path for path in seen.temporary_files(False) if path.endswith("release.tar.gz")], "No archive was seen."
    assert_silent(site, played, seen)


@pytest.mark.parametrize("run", [pytest.param(run, id=run.title, marks=needs(*run.programs)) for run in RUNS])
def test_a_run_shows_no_secret(site, watched, run):
    said, failed, played, seen = watched(run)
    assert run.said in said, played.output[-4000:]
    assert failed is not run.passes, played.output[-4000:]
    assert_silent(site, played, seen)
    assert [path for path in site.temporary.rglob("*") if path.is_file()] == [], "left behind on the controller"


def test_nobody_reads_a_secret_on_the_host(site, watched):
    """After all runs, those that failed too."""
    for run in RUNNABLE:
        watched(run)
    found = site.python(SEARCH, [PLANTED, PLAIN, "systemd"])
    environment_file = f"{site.variables['flask_app_root']}/shared/.env"
    holders = {path: oct(mode) for path, mode, word in found["files"] if word == PLANTED}
    # The environment file from before the last change.
    kept = f"{site.variables['flask_app_root']}/.deploy/settings/previous/.env"
    assert holders.pop(kept, "0o600") == "0o600"
    assert holders == {environment_file: "0o640", TLS_KEY: "0o600"}
    assert [path for path, mode, word in found["files"] if word == PLAIN and mode & 0o004]
    assert PLANTED not in found["journal"]
    assert "systemd" in found["journal"]

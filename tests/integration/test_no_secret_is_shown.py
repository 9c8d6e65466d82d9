# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that no secret in a setting appears in output, logs, command lines or files that other users can read.

Each search must also find a public value, to prove that it works.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import tarfile

import pytest

from ansible_collections.flaskops.production.tests.integration.free_strategy import copy_with_free_strategy
from ansible_collections.flaskops.production.tests.unit.programs import find, needs, reason

pytestmark = pytest.mark.xdist_group("site")

# The constant prefix of secrets, as in conftest.py.
PLANTED = "plantedsecret"
PLAIN = "plainlyvisible5e8a"
TLS_KEY = "/etc/ssl/private/planted.key"

SEARCH = """
import json, os, subprocess, sys

words = [word.encode() for word in json.load(sys.stdin)]
files = []
# Mounts with files, including the container's root.
for top in ("/", "/run", "/tmp", "/dev/shm"):
    device = os.stat(top).st_dev
    for directory, below, names in os.walk(top):
        below[:] = [name for name in below if os.lstat(os.path.join(directory, name)).st_dev == device]
        for name in names:
            path = os.path.join(directory, name)
            # The journal is read below.
            if not os.path.isfile(path) or os.path.islink(path) or path.endswith((".journal", ".journal~")):
                continue
            with open(path, "rb") as file:
                content = file.read()
            files += [(path, os.stat(path).st_mode & 0o777, word.decode()) for word in words if word in content]
command = ["journalctl", "--no-pager", "--all", "--output=json"]
journal = []
for line in subprocess.run(command, capture_output=True, check=True).stdout.splitlines():
    entry = json.loads(line)
    # Ignore the application's own output.
    if entry.get("_TRANSPORT") != "stdout" or not entry.get("_SYSTEMD_UNIT", "").startswith("myapp"):
        journal += [word.decode() for word in words if word in line]
print(json.dumps({"files": files, "journal": sorted(set(journal))}))
"""


@dataclasses.dataclass(frozen=True)
class SecretCase:
    """A run with its variables and a fragment of its output. It fails unless `passes` is true.

    PORT is the port of a server on the controller that requires the user and the password of the repository.
    """

    title: str
    variables: dict
    fragment: str
    playbook: str = "deploy"
    options: tuple[str, ...] = ("--diff",)
    passes: bool = False
    # Whether it ends before a host is contacted. One run of Ansible serves all such cases.
    early: bool = False
    programs: tuple[str, ...] = ()


CREDENTIALS = "plantedsecretGITUSER:plantedsecretGITPASSWORD"
ARCHIVE = {
    "release_git_repo": "",
    "release_archive": f"http://{CREDENTIALS}@127.0.0.1:PORT/app.tar.gz?token=plantedsecretQUERY",
}

SECRET_CASES = [
    # Refused settings
    SecretCase(
        "An index without a scheme",
        {"venv_index_url": "plantedsecret:plantedsecret@pypi.example.org/simple"},
        "venv_index_url",
        early=True,
    ),
    SecretCase(
        "An index list that is a string",
        {"venv_extra_index_urls": "https://plantedsecret@pypi.org/simple"},
        "venv_extra_index_urls",
        early=True,
    ),
    SecretCase(
        "A value that is a list",
        {"flask_app_env": {"SECRET_KEY": ["plantedsecret"]}},
        "flask_app_env.SECRET_KEY",
        early=True,
    ),
    SecretCase(
        "An environment that is a list", {"flask_app_env": ["SECRET_KEY=plantedsecret"]}, "flask_app_env", early=True
    ),
    SecretCase(
        "Two sources",
        {"release_archive": "https://plantedsecret:plantedsecret@example.org/a.tar?plantedsecret"},
        "2 sources are set",
        early=True,
    ),
    # Unreadable sources
    SecretCase(
        "A repository whose password is wrong",
        {"release_git_repo": "http://plantedsecret:plantedsecret@127.0.0.1:PORT/app/.git"},
        "release_git_repo",
        early=True,
    ),
    SecretCase(
        "A repository whose server is not there",
        {"release_git_repo": "https://plantedsecret:plantedsecret@127.0.0.1:1/app.git"},
        "127.0.0.1:1",
        early=True,
    ),
    SecretCase(
        "An archive whose server is not there",
        {
            "release_git_repo": "",
            "release_archive": "https://plantedsecret:plantedsecret@127.0.0.1:1/a.tar?token=plantedsecret",
            "release_archive_checksum": "0" * 64,
        },
        "release_archive",
        early=True,
    ),
    SecretCase(
        "An archive with another checksum",
        {**ARCHIVE, "release_archive_checksum": "0" * 64},
        "has the SHA-256",
        early=True,
    ),
    SecretCase(
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
    SecretCase(
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
    # Dependencies that cannot be installed
    SecretCase(
        "A package that nobody has",
        {"venv_packages": ["no-such-package-of-anybody==1"]},
        "no-such-package-of-anybody",
    ),
    SecretCase(
        "An index whose server is not there",
        {
            "venv_index_url": "http://plantedsecretINDEXUSER:plantedsecretINDEXPASSWORD@127.0.0.1:1/simple",
            "venv_packages": ["gunicorn>=24"],
            "venv_environment": {"PIP_RETRIES": "0", "INSTALLER_TOKEN": "plantedsecretINSTALLER"},
        },
        "127.0.0.1",
    ),
    # Releases that print their settings
    SecretCase(
        "A build that prints its environment",
        {"release_git_ref": "next", "release_build_command": "env; exit 3"},
        "SECRET_KEY=********",
    ),
    SecretCase(
        "A migration that prints its environment",
        {"release_git_ref": "next", "release_migrate_command": "env; exit 3"},
        "SECRET_KEY=********",
    ),
    SecretCase("An application that fails with a value", {"release_git_ref": "crash"}, "RuntimeError: ********"),
    # An invalid site
    SecretCase(
        "A TLS key that is none",
        {"nginx_site_tls_certificate": "/etc/ssl/planted.pem", "nginx_site_tls_certificate_key": TLS_KEY},
        "/etc/ssl/planted.pem",
        playbook="site",
    ),
    # Successful runs
    SecretCase("The second run", {}, "changed=0", playbook="site", passes=True),
    SecretCase(
        "The live release out of a signed archive",
        {
            **ARCHIVE,
            "release_archive_signature": f"http://{CREDENTIALS}@127.0.0.1:PORT/app.minisig?token=plantedsecretQUERY",
            "release_archive_minisign_key": "PLACE/signer.pub",
        },
        # The same content is the same release, for each kind of source.
        "changed=0",
        passes=True,
        programs=("minisign",),
    ),
    SecretCase(
        "A secret that is replaced in check mode",
        {"flask_app_env": {"SECRET_KEY": "plantedsecretOTHER"}},
        "secret content, new",
        playbook="site",
        options=("--check", "--diff"),
        passes=True,
    ),
]


def find_secrets(text: str) -> list[str]:
    """Return the lines with a secret."""
    return [line[:400] for line in text.splitlines() if PLANTED in line]


def complete_variables(variables: dict, site) -> dict:
    """Return the variables with the port and the secrets of this run."""
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
    """Create another release, one that does not start, a signed archive, and an invalid key on the host."""
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


RUNNABLE = [run for run in SECRET_CASES if not reason(*run.programs)]


def format_case(run: SecretCase) -> str:
    """Return the host name of a case in the common run."""
    return run.title.lower().replace(" ", "-")


@pytest.fixture(scope="module")
def early(site, watch, sources):
    """Run all early cases at once. Return the result and the public data of the run."""
    cases = {format_case(run): complete_variables(run.variables, site) for run in RUNNABLE if run.early}
    with watch() as public:
        result = site.play_cases(copy_with_free_strategy(site.place, "deploy"), cases, "--diff", "-vvvv")
    return result, public


@pytest.fixture(scope="module")
def watched(site, watch, sources, request):
    """Return a function that runs a case once and returns its output, its failure, the result and the public data."""
    done = {}

    def play(run: SecretCase):
        if run.early:
            result, public = request.getfixturevalue("early")
            failure = re.search(rf"^fatal: \[{format_case(run)}\]: FAILED! => \{{.*?^\}}", result.output, re.M | re.S)
            return failure.group() if failure else "", bool(failure), result, public
        if run.title not in done:
            with watch() as public:
                result = site.play(run.playbook, *run.options, "-vvvv", **complete_variables(run.variables, site))
            done[run.title] = result.output, result.failed, result, public
        return done[run.title]

    return play


def assert_no_secret(site, result, public=None) -> None:
    assert not find_secrets(result.output)
    if public:
        # Other processes on this host may run tests too.
        lines = [*public.command_lines(on_host=False), *public.command_lines(on_host=True)]
        assert [line[:400] for line in lines if site.planted in line] == []
        assert public.temporary_files(with_secret=True) == []


def test_check_mode_on_an_empty_host_shows_no_secret(site, checked):
    assert not checked.failed, checked.output[-4000:]
    assert PLAIN in checked.output, "The output lacks the public value."
    assert_no_secret(site, checked)


def test_first_run_shows_no_secret(site, converged):
    result, public = converged
    assert PLAIN in result.output, "The output lacks the public value."
    assert [line for line in public.command_lines(True) if "pip" in line and "install" in line], (
        "No installer was seen."
    )
    assert [line for line in public.command_lines(False) if "git" in line and "fetch" in line], "No git was seen."
    assert [path for path in public.temporary_files(False) if path.endswith("release.tar.gz")], "No archive was seen."
    assert_no_secret(site, result, public)


@pytest.mark.parametrize("run", [pytest.param(run, id=run.title, marks=needs(*run.programs)) for run in SECRET_CASES])
def test_run_shows_no_secret(site, watched, run):
    output, failed, result, public = watched(run)
    assert run.fragment in output, result.output[-4000:]
    assert failed is not run.passes, result.output[-4000:]
    assert_no_secret(site, result, public)
    assert [path for path in site.temporary.rglob("*") if path.is_file()] == [], "left behind on the controller"


def test_other_users_cannot_read_secrets_on_the_host(site, watched):
    """Checks the host after all runs, including failed ones."""
    for run in RUNNABLE:
        watched(run)
    found = site.python(SEARCH, [PLANTED, PLAIN, "systemd"])
    environment_file = f"{site.variables['flask_app_root']}/shared/.env"
    holders = {path: oct(mode) for path, mode, word in found["files"] if word == PLANTED}
    # The environment file before the last change.
    kept = f"{site.variables['flask_app_root']}/.deploy/settings/previous/.env"
    assert holders.pop(kept, "0o600") == "0o600"
    assert holders == {environment_file: "0o640", TLS_KEY: "0o600"}
    assert [path for path, mode, word in found["files"] if word == PLAIN and mode & 0o004]
    assert PLANTED not in found["journal"]
    assert "systemd" in found["journal"]

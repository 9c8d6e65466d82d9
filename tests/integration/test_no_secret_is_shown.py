# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets are planted in every setting that may hold one, and looked for wherever somebody could read them.

Every place is also searched for something that is no secret and must be there, or finding nothing would prove nothing.
"""

from __future__ import annotations

import pytest

# As in conftest.py: how every secret starts.
PLANTED = "plantedsecret"
PLAIN = "plainlyvisible5e8a"

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
            files += [(path, bool(os.stat(path).st_mode & 0o004), word.decode()) for word in words if word in content]
command = ["journalctl", "--no-pager", "--all", "--output=export"]
journal = subprocess.run(command, capture_output=True, check=True).stdout
print(json.dumps({"files": files, "journal": [word.decode() for word in words if word in journal]}))
"""


def secrets_in(text: str) -> list[str]:
    """The lines that hold a secret: what a failed test shows."""
    return [line[:400] for line in text.splitlines() if PLANTED in line]


def assert_silent(played) -> None:
    assert PLAIN in played.output, "The output does not even hold what is no secret."
    assert not secrets_in(played.output)


def test_check_mode_shows_no_secret_and_passes_on_an_empty_host(checked):
    assert not checked.failed, checked.output[-4000:]
    assert_silent(checked)


def test_the_first_run_shows_no_secret(converged):
    assert_silent(converged[0])


def test_the_second_run_shows_no_secret_and_changes_nothing(site, converged):
    played = site.play("site", "--diff", "-vvv")
    assert not played.failed, played.output[-4000:]
    assert_silent(played)
    assert played.changed == 0


FAILING = {
    "A package that nobody has": ({"venv_packages": ["no-such-package-of-anybody==1"]}, "no-such-package-of-anybody"),
    "An index without a scheme": (
        {"venv_index_url": "plantedsecret:plantedsecret@pypi.example.org/simple"},
        "venv_index_url",
    ),
    "An index list that is a string": (
        {"venv_extra_index_urls": "https://plantedsecret@pypi.org/simple"},
        "venv_extra_index_urls",
    ),
    "A password that is wrong": (
        {"release_git_repo": "http://plantedsecret:plantedsecret@127.0.0.1:PORT/app/.git"},
        "release_git_repo",
    ),
    "A server that is not there": (
        {"release_git_repo": "https://plantedsecret:plantedsecret@127.0.0.1:1/app.git"},
        "127.0.0.1:1",
    ),
    "A value of two lines": (
        {"flask_app_env": {"SECRET_KEY": "plantedsecret\nplantedsecret"}},
        "flask_app_env.SECRET_KEY",
    ),
    "An environment that is a list": ({"flask_app_env": ["SECRET_KEY=plantedsecret"]}, "flask_app_env"),
    "Two sources": (
        {"release_archive": "https://plantedsecret:plantedsecret@example.org/a.tar?plantedsecret"},
        "2 sources are set",
    ),
    "An archive that is not there": (
        {
            "release_git_repo": "",
            "release_archive": "https://plantedsecret:plantedsecret@127.0.0.1:1/a.tar?token=plantedsecret",
            "release_archive_checksum": "0" * 64,
        },
        "release_archive",
    ),
}


@pytest.mark.parametrize("title", FAILING)
def test_a_failing_run_shows_no_secret(site, converged, title):
    variables, told = FAILING[title]
    port = site.variables["release_git_repo"].rpartition("@127.0.0.1:")[2].partition("/")[0]
    variables = {
        name: value.replace("PORT", port) if isinstance(value, str) else value for name, value in variables.items()
    }
    played = site.play("deploy", "--diff", "-vvv", **variables)
    assert played.failed
    assert told in played.output
    assert not secrets_in(played.output)


def test_nobody_reads_a_secret_on_the_host(site, converged):
    found = site.python(SEARCH, [PLANTED, PLAIN, "systemd"])
    environment_file = f"{site.variables['flask_app_root']}/shared/.env"
    holders = {path: everyone for path, everyone, word in found["files"] if word == PLANTED}
    assert holders == {environment_file: False}
    assert [path for path, everyone, word in found["files"] if word == PLAIN and everyone]
    assert PLANTED not in found["journal"]
    assert "systemd" in found["journal"]


def test_no_command_line_on_the_host_holds_a_secret(converged):
    lines = converged[1].of_host()
    assert [line for line in lines if "pip" in line and "install" in line], "No command line of the installer was seen."
    assert not secrets_in("\n".join(lines))

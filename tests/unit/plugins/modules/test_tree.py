# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import socket
import stat
import tempfile

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._app.lock import DeployLock
from ansible_collections.flaskops.production.plugins.module_utils._app.store import ReleaseStore
from ansible_collections.flaskops.production.plugins.module_utils._core.accounts import get_group_name, get_user_name
from ansible_collections.flaskops.production.plugins.module_utils._files import acl, foreign
from ansible_collections.flaskops.production.plugins.module_utils._files import entries as entries_module
from ansible_collections.flaskops.production.plugins.module_utils._files.links import exchange_names
from ansible_collections.flaskops.production.plugins.modules import tree

NOBODY = 65534
USER, GROUP = get_user_name(os.geteuid()), get_group_name(os.getegid())
OWN = f"{USER}:{GROUP}"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app").chmod(0o755)
    return tmp_path / "app"


@pytest.fixture
def make(run_module, root):
    """Run the module on entries, whose paths may contain {root}. (path, mode) is short for a dictionary.

    A "secret" of an entry is passed apart from the entries.
    """

    def run(*entries, check=False, diff=True):
        given, secrets = [], {}
        for entry in entries:
            entry = {"path": entry[0], "mode": entry[1]} if isinstance(entry, tuple) else entry
            path = entry["path"].replace("{root}", str(root))
            if "secret" in entry:
                secrets[path] = entry["secret"]
            kept = {name: value for name, value in entry.items() if name != "secret"}
            given.append({"mode": "0755", **kept, "path": path})
        return run_module(tree, {"entries": given, "secret_contents": secrets}, check=check, diff=diff)

    return run


def mode(path):
    return f"{stat.S_IMODE(os.lstat(path).st_mode):04o}"


def owner(path):
    found = os.lstat(path)
    return found.st_uid, found.st_gid


def snapshot(directory):
    """Return everything below a directory that the module could change."""
    found = {}
    for place, directories, files in os.walk(directory):
        for name in [*directories, *files]:
            path = os.path.join(place, name)
            status = os.lstat(path)
            found[path] = (status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns)
    return found


def test_check_apply_repeat_and_change(root, make):
    entries = [
        {"path": "{root}", "mode": "0755"},
        {"path": "{root}/run", "mode": "2775"},
        {"path": "{root}/empty", "mode": "0600", "type": "file"},
        {"path": "{root}/page", "mode": "0640", "content": "one\n"},
    ]
    paths = [f"{root}/run", f"{root}/empty", f"{root}/page"]
    nothing = snapshot(root)
    checked = make(*entries, check=True)
    assert snapshot(root) == nothing
    applied = make(*entries)
    for result in (checked, applied):
        assert result["changed"] is True
        assert result["changed_paths"] == paths
        listed, page = result["diff"]
        assert listed["before"] == "".join(f"{path}  absent\n" for path in paths)
        assert listed["after"] == (
            f"{root}/run  directory {OWN} 2775\n{root}/empty  file {OWN} 0600\n{root}/page  file {OWN} 0640\n"
        )
        assert page == {"before_header": paths[2], "after_header": paths[2], "before": "", "after": "one\n"}
    assert [mode(path) for path in paths] == ["2775", "0600", "0640"]
    assert (root / "page").read_text() == "one\n"
    assert (root / "empty").read_bytes() == b""

    made = snapshot(root)
    again = make(*entries)
    assert (again["changed"], again["changed_paths"], again["diff"]) == (False, [], [])
    assert snapshot(root) == made

    entries[1]["mode"] = "0700"
    entries[3]["content"] = "two\n"
    checked = make(*entries, check=True)
    assert snapshot(root) == made
    changed = make(*entries)
    for result in (checked, changed):
        assert result["changed_paths"] == [paths[0], paths[2]]
        listed, page = result["diff"]
        assert listed["before"] == f"{root}/run  directory {OWN} 2775\n{root}/page  file {OWN} 0640\n"
        assert listed["after"] == f"{root}/run  directory {OWN} 0700\n{root}/page  file {OWN} 0640\n"
        assert (page["before"], page["after"]) == ("one\n", "two\n")
    assert mode(root / "run") == "0700"
    assert (root / "page").read_text() == "two\n"
    assert make(*entries)["changed"] is False
    assert sorted(os.listdir(root)) == ["empty", "page", "run"]


def test_no_diff_is_returned_without_diff_mode(make):
    assert "diff" not in make(("{root}/run", "0755"), diff=False)


def test_owner_and_group_are_set_and_shown(root, make, as_root):
    entries = [
        {"path": "{root}/run", "mode": "0775", "owner": "nobody", "group": str(NOBODY)},
        {"path": "{root}/page", "mode": "0640", "group": "nogroup", "content": "x"},
        {"path": "{root}/log", "mode": "4750", "owner": str(NOBODY), "type": "file"},
    ]
    result = make(*entries)
    assert owner(root / "run") == (NOBODY, NOBODY)
    assert owner(root / "page") == (0, NOBODY)
    assert (owner(root / "log"), mode(root / "log")) == ((NOBODY, 0), "4750")
    assert result["diff"][0]["after"] == (
        f"{root}/run  directory nobody:nogroup 0775\n"
        f"{root}/page  file root:nogroup 0640\n"
        f"{root}/log  file nobody:root 4750\n"
    )
    assert make(*entries)["changed"] is False


def test_omitted_owner_and_group_are_kept(root, make, as_root):
    for name in ("run", "data"):
        (root / name).mkdir()
    (root / "page").write_text("old")
    for name in ("run", "page"):
        os.chown(root / name, NOBODY, NOBODY)
        os.chmod(root / name, 0o700)
    make(("{root}/run", "0750"), {"path": "{root}/page", "mode": "0640", "content": "new"})
    assert (owner(root / "run"), mode(root / "run")) == ((NOBODY, NOBODY), "0750")
    assert (owner(root / "page"), mode(root / "page")) == ((NOBODY, NOBODY), "0640")


def test_new_path_inherits_no_group_or_mode_bit(root, make, as_root):
    os.chown(root, 0, NOBODY)
    os.chmod(root, 0o2775)
    make(("{root}/run", "0755"), {"path": "{root}/page", "mode": "0644", "content": "x"})
    assert (owner(root / "run"), mode(root / "run")) == ((0, 0), "0755")
    assert owner(root / "page") == (0, 0)


def test_umask_has_no_effect(root, make):
    before = os.umask(0o077)
    try:
        make(("{root}/run", "0777"), {"path": "{root}/page", "mode": "0666", "type": "file"})
    finally:
        os.umask(before)
    assert (mode(root / "run"), mode(root / "page")) == ("0777", "0666")


def test_paths_below_are_not_changed(root, make):
    (root / "media" / "deep").mkdir(parents=True)
    (root / "media" / "deep" / "upload").write_text("data")
    before = snapshot(root / "media")
    make(("{root}/media", "0700"))
    assert snapshot(root / "media") == before


def test_content_of_a_file_without_content_is_kept(root, make):
    (root / "page").write_text("kept")
    os.chmod(root / "page", 0o600)
    number = os.stat(root / "page").st_ino
    result = make({"path": "{root}/page", "mode": "0644", "type": "file"})
    assert result["changed"] is True
    assert (root / "page").read_text() == "kept"
    assert (mode(root / "page"), os.stat(root / "page").st_ino) == ("0644", number)


def test_mode_change_does_not_rewrite_the_content(root, make):
    (root / "page").write_text("same")
    os.chmod(root / "page", 0o600)
    number = os.stat(root / "page").st_ino
    result = make({"path": "{root}/page", "mode": "0644", "content": "same"})
    assert (mode(root / "page"), os.stat(root / "page").st_ino) == ("0644", number)
    assert len(result["diff"]) == 1


@pytest.mark.parametrize("content", ["", "no newline", "ünïcode\n", "a\r\nb\r\n", "  spaces  \n\n"])
def test_content_is_written_exactly(root, make, content):
    entry = {"path": "{root}/page", "mode": "0644", "content": content}
    assert make(entry)["changed"] is True
    assert (root / "page").read_bytes() == content.encode()
    assert make(entry)["changed"] is False


@pytest.mark.parametrize(
    ("old", "shown"),
    [
        (b"\0\1\2", "(3 bytes of binary content, not shown)\n"),
        (b"x" * 200_000, "(more than 102400 bytes, not shown)\n"),
        (b"caf\xe9\n", "caf\N{REPLACEMENT CHARACTER}\n"),
    ],
)
def test_diff_omits_binary_and_long_content(root, make, old, shown):
    (root / "page").write_bytes(old)
    result = make({"path": "{root}/page", "mode": "0644", "content": "new\n"})
    assert (result["diff"][1]["before"], result["diff"][1]["after"]) == (shown, "new\n")
    assert (root / "page").read_text() == "new\n"


def test_longer_file_with_the_same_start_is_a_change(root, make):
    (root / "page").write_text("same and more")
    assert make({"path": "{root}/page", "mode": "0644", "content": "same"})["changed"] is True
    assert (root / "page").read_text() == "same"


def test_secret_content_is_written_and_not_shown(root, make):
    entry = {"path": "{root}/.env", "mode": "0640", "secret": "SECRET_KEY=first-hidden\n"}
    results = [make(entry, check=True), make(entry)]
    assert (root / ".env").read_text() == "SECRET_KEY=first-hidden\n"
    for result in results:
        assert result["diff"][0]["after"] == f"{root}/.env  file {OWN} 0640  secret content, new\n"
        assert len(result["diff"]) == 1
    results.append(make(entry))
    assert results[-1]["changed"] is False
    entry["secret"] = "SECRET_KEY=second-hidden\n"
    results.append(make(entry))
    assert results[-1]["diff"][0]["before"] == f"{root}/.env  file {OWN} 0640  secret content, old\n"
    assert results[-1]["diff"][0]["after"] == f"{root}/.env  file {OWN} 0640  secret content, new\n"
    assert "hidden" not in json.dumps(results)


def test_missing_parents_are_created_on_request(root, make):
    entry = {"path": "{root}/srv/sites/blog", "mode": "0700", "parents": True}
    paths = [f"{root}/srv", f"{root}/srv/sites", f"{root}/srv/sites/blog"]
    checked = make(entry, check=True)
    assert os.listdir(root) == []
    applied = make(entry)
    for result in (checked, applied):
        assert result["changed_paths"] == paths
        assert result["diff"][0]["after"] == (
            f"{paths[0]}  directory {OWN} 0755\n{paths[1]}  directory {OWN} 0755\n{paths[2]}  directory {OWN} 0700\n"
        )
    assert [mode(path) for path in paths] == ["0755", "0755", "0700"]
    os.chmod(paths[0], 0o711)
    assert make(entry)["changed"] is False


def test_shared_parents_are_created_once(root, make):
    result = make(
        {"path": "{root}/a/b/one", "parents": True},
        {"path": "{root}/a/b/two", "parents": True},
        {"path": "{root}/a/c/d", "parents": True},
    )
    names = ["a", "a/b", "a/b/one", "a/b/two", "a/c", "a/c/d"]
    assert result["changed_paths"] == [f"{root}/{name}" for name in names]


def test_slashes_and_dots_are_normalized(root, make):
    result = make(("{root}//./run/", "0755"))
    assert result["changed_paths"] == [f"{root}/run"]


REFUSALS = {
    "relative": (
        [("srv/app", "0755")],
        "The path 'srv/app' in entries is relative; set an absolute path, such as /srv/myapp.",
    ),
    "dots": ([("{root}/../x", "0755")], "The path '{root}/../x' in entries contains '..'; set the path without it."),
    "the root": (
        [("//", "0755")],
        "The path '/' in entries is the root directory, which this module does not change.",
    ),
    "twice": (
        [("{root}/run", "0755"), ("{root}/run/", "0700")],
        "{root}/run is listed twice in entries; list each path once.",
    ),
    "content of a directory": (
        [{"path": "{root}/run", "type": "directory", "content": "x"}],
        "The entry {root}/run is a directory with content; remove content or set type to file.",
    ),
    "both contents": (
        [{"path": "{root}/x", "content": "x", "secret": "yyyy"}],
        "The entry {root}/x has content and is in secret_contents too; remove one of them.",
    ),
    "unknown owner": (
        [("{root}/run", "0755"), {"path": "{root}/log", "owner": "nosuchuser"}],
        "The owner 'nosuchuser' of {root}/log does not exist on this host. "
        "Create the user first, or name one that exists. Nothing was changed.",
    ),
    "unknown group": (
        [{"path": "{root}/log", "group": "nosuchgroup"}],
        "The group 'nosuchgroup' of {root}/log does not exist on this host. "
        "Create the group first, or name one that exists. Nothing was changed.",
    ),
    "parent missing": (
        [("{root}/run", "0755"), ("{root}/a/b/c", "0755")],
        "{root}/a/b/c cannot be created: the directory {root}/a is missing. "
        "List it earlier in entries, or set parents to true for {root}/a/b/c.",
    ),
    "parent later": (
        [("{root}/a/b", "0755"), ("{root}/a", "0755")],
        "{root}/a/b cannot be created: the directory {root}/a is missing. "
        "List it earlier in entries, or set parents to true for {root}/a/b.",
    ),
    "parent is a file": (
        [("{root}/run", "0755"), ("{root}/file/x", "0755")],
        "{root}/file/x cannot be created: {root}/file is not a directory. Move it away, or set another path.",
    ),
    "parent is listed as a file": (
        [{"path": "{root}/new", "type": "file"}, ("{root}/new/x", "0755")],
        "{root}/new/x cannot be created: {root}/new above it is listed as a file.",
    ),
    "file for a directory": (
        [("{root}/run", "0755"), ("{root}/file", "0755")],
        "{root}/file is a file, not a directory. It was not changed: move it away, or set type to its type.",
    ),
    "directory for a file": (
        [{"path": "{root}/dir", "content": "x"}],
        "{root}/dir is a directory, not a file. It was not changed: move it away, or set type to its type.",
    ),
    "pipe for a file": (
        [{"path": "{root}/pipe", "content": "x"}],
        "{root}/pipe is a named pipe, not a file. It was not changed: move it away, or set type to its type.",
    ),
    "socket for a directory": (
        [("{root}/socket", "0755")],
        "{root}/socket is a socket, not a directory. It was not changed: move it away, or set type to its type.",
    ),
    "link to a directory": (
        [("{root}/run", "0755"), ("{root}/link", "0700")],
        "{root}/link is a symbolic link to dir. It was not changed: "
        "remove the link, or list the path that it points to.",
    ),
    "link for a file": (
        [{"path": "{root}/filelink", "content": "x"}],
        "{root}/filelink is a symbolic link to file. It was not changed: "
        "remove the link, or list the path that it points to.",
    ),
    "link below a listed path": (
        [("{root}", "0700"), ("{root}/link/sub", "0700")],
        "{root}/link, above {root}/link/sub, is a symbolic link to dir, which is not followed. "
        "Replace it by a directory, or list the path that it points to.",
    ),
    "dangling link above": (
        [("{root}/dangling/sub", "0700")],
        "{root}/dangling/sub cannot be created: {root}/dangling is a symbolic link that does not lead to a directory.",
    ),
    "hard links": (
        [{"path": "{root}/hard", "mode": "0600", "type": "file"}],
        "{root}/hard has 2 hard links, and a change of owner or mode would affect all of them. "
        "Replace it by a copy (cp, then mv).",
    ),
}


# Check mode reports an account that does not exist yet as a change instead.
CASES = [(case, check) for case in REFUSALS for check in (False, True) if not (check and case.startswith("unknown"))]


@pytest.mark.parametrize(("case", "check"), CASES, ids=[f"{case}-{check}".replace(" ", "-") for case, check in CASES])
def test_invalid_entries_are_refused_before_the_first_change(root, make, case, check):
    entries, message = REFUSALS[case]
    (root / "dir" / "sub").mkdir(parents=True)
    (root / "file").write_text("kept")
    (root / "one").write_text("kept")
    os.link(root / "one", root / "hard")
    os.mkfifo(root / "pipe")
    (root / "link").symlink_to("dir")
    (root / "filelink").symlink_to("file")
    (root / "dangling").symlink_to("gone")
    here = os.getcwd()
    os.chdir(root)  # the length of a socket's path is limited
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        os.chdir(here)
        before = snapshot(root.parent)
        result = make(*entries, check=check)
    assert result["failed"] is True
    assert result["msg"] == message.format(root=root)
    assert snapshot(root.parent) == before
    if "exclusive" not in message:
        assert (result["changed"], result["changed_paths"]) == (False, [])


@pytest.mark.parametrize(
    "value", [755, 493, 0o755, "0o755", "u+x", "789", "7", "", "00755 ", "0888", True, None, ["0755"]]
)
def test_mode_must_be_a_quoted_octal_number(root, value):
    with pytest.raises(entries_module.TreeError) as refused:
        entries_module.parse_entries([{"path": "/srv/app", "mode": value}])
    assert str(refused.value) == (
        f"The mode {value!r} of /srv/app is not a quoted octal number; "
        'set three or four digits from 0 to 7 in quotes, such as "0755".'
    )


def test_unquoted_mode_is_passed_as_a_number(root, make):
    result = make({"path": "{root}/run", "mode": 420})
    assert result["msg"].startswith(f"The mode 420 of {root}/run is not a quoted octal number;")


@pytest.mark.parametrize(("text", "number"), [("755", 0o755), ("0755", 0o755), ("2750", 0o2750), ("02750", 0o2750)])
def test_octal_modes_are_parsed(text, number):
    assert entries_module.parse_mode("/srv/app", text) == number


def test_check_mode_reports_missing_accounts_as_changes(root, make, as_root):
    (root / "log").mkdir(mode=0o755)
    result = make({"path": "{root}/log", "owner": "nosuchuser", "group": "nosuchgroup"}, check=True)
    assert result["changed"] is True
    assert result["diff"][0]["after"] == f"{root}/log  directory nosuchuser:nosuchgroup 0755\n"
    assert owner(root / "log") == (0, 0)


def test_link_of_root_above_is_followed(root, make, as_root):
    (root / "real").mkdir()
    (root / "alias").symlink_to(root / "real")
    entries = [("{root}/alias/app", "0755"), ("{root}/alias/app/run", "0750")]
    assert make(*entries)["changed_paths"] == [f"{root}/alias/app", f"{root}/alias/app/run"]
    assert mode(root / "real" / "app" / "run") == "0750"
    assert make(*entries)["changed"] is False


def test_parents_are_created_behind_a_link_of_root(root, make, as_root):
    (root / "far" / "real").mkdir(parents=True)
    (root / "alias").symlink_to("far/real")
    result = make({"path": "{root}/alias/a/b/c", "mode": "0700", "parents": True})
    assert result["changed_paths"] == [f"{root}/alias/a", f"{root}/alias/a/b", f"{root}/alias/a/b/c"]
    assert mode(root / "far/real/a/b/c") == "0700"


@pytest.mark.parametrize("planted", ["link", "directory"])
def test_replaceable_link_above_is_refused(root, make, as_root, planted):
    (root / "home").mkdir()
    (root / "target").mkdir()
    (root / "home" / "app").symlink_to(root / "target")
    if planted == "link":
        os.lchown(root / "home" / "app", NOBODY, NOBODY)
    else:
        os.chown(root / "home", NOBODY, NOBODY)
    result = make(("{root}/home/app/run", "0755"))
    assert result["msg"] == (
        f"{root}/home/app, above {root}/home/app/run, is a symbolic link that a user other than root can replace. "
        "List the path that it points to, or give the link and its directory to root."
    )
    assert os.listdir(root / "target") == []


def test_directory_of_a_user_above_that_of_another_is_refused(root, make, as_root):
    (root / "data/inner/deeper").mkdir(parents=True)
    os.chown(root / "data", NOBODY, NOBODY)
    entry = {"path": "{root}/data/inner/deeper", "mode": "0700"}
    for check in (True, False):
        message = make(entry, check=check)["msg"]
        assert message.startswith(f"{root}/data/inner/deeper cannot be created: {root}/data/inner belongs to root, but")
    assert mode(root / "data/inner/deeper") == "0755"
    # The task itself says that the user owns the parent, or gives it to root first.
    assert make({"path": "{root}/data", "mode": "0755", "owner": str(NOBODY)}, entry)["changed"]
    assert make({"path": "{root}/data", "mode": "0755", "owner": "root"}, {**entry, "mode": "0711"})["changed"]
    assert (owner(root / "data"), mode(root / "data/inner/deeper")) == ((0, NOBODY), "0711")


def redirect(victim, target):
    """Changes that the owner of a directory can make between plan and application."""
    os.rename(victim, f"{victim}.aside")
    os.symlink(target, victim)


def redirect_after_the_plan(monkeypatch, victim, target):
    apply = tree.apply_change

    def race(change):
        redirect(str(victim), str(target))
        apply(change)

    monkeypatch.setattr(tree, "apply_change", race)


@pytest.mark.parametrize(
    ("victim", "entry"),
    [
        ("media", {"path": "{root}/media", "mode": "0777", "owner": str(NOBODY)}),
        ("media", {"path": "{root}/media/thumbs", "mode": "0777", "owner": str(NOBODY)}),
        ("media", {"path": "{root}/media/new", "mode": "0777", "owner": str(NOBODY)}),
        ("media", {"path": "{root}/media/page", "mode": "0666", "owner": str(NOBODY), "content": "x"}),
        ("media", {"path": "{root}/media/file", "mode": "0666", "owner": str(NOBODY), "type": "file"}),
        ("media/file", {"path": "{root}/media/file", "mode": "0666", "owner": str(NOBODY), "type": "file"}),
    ],
    ids=["itself", "a directory in it", "a new directory", "a new file", "a file in it", "the file itself"],
)
def test_link_created_after_the_plan_redirects_nothing(root, make, monkeypatch, as_root, victim, entry):
    for place in (root / "media", root / "precious"):
        (place / "thumbs").mkdir(parents=True)
        (place / "file").write_text("kept")
    target = root / "precious" / ("file" if victim.endswith("file") else "")
    before, top = snapshot(root / "precious"), os.lstat(root / "precious")
    redirect_after_the_plan(monkeypatch, root / victim, target)
    result = make(entry)
    assert result["failed"] is True
    assert result["msg"].startswith(entry["path"].format(root=root) + " could not be changed: ")
    assert snapshot(root / "precious") == before
    after = os.lstat(root / "precious")
    assert (after.st_mode, after.st_uid) == (top.st_mode, top.st_uid)


def test_new_content_replaces_a_link_created_after_the_plan(root, make, monkeypatch):
    (root / "page").write_text("old")
    (root / "precious").write_text("kept")
    redirect_after_the_plan(monkeypatch, root / "page", root / "precious")
    make({"path": "{root}/page", "mode": "0600", "content": "new"})
    assert (root / "precious").read_text() == "kept"
    assert not (root / "page").is_symlink() and (root / "page").read_text() == "new"


def test_hard_link_created_after_the_plan_is_not_changed(root, make, monkeypatch):
    (root / "page").write_text("old")
    (root / "precious").write_text("kept")
    os.chmod(root / "precious", 0o600)
    apply = tree.apply_change

    def race(change):
        os.unlink(root / "page")
        os.link(root / "precious", root / "page")
        apply(change)

    monkeypatch.setattr(tree, "apply_change", race)
    result = make({"path": "{root}/page", "mode": "0666", "type": "file"})
    assert result["msg"] == f"{root}/page got another hard link while the module ran, so it was not changed."
    assert mode(root / "precious") == "0600"


def _flip(directory, link, ready, stop):
    """Exchange a directory and a link repeatedly, as their owner can."""
    ready.set()
    while not stop.is_set():
        exchange_names(directory, link, sync=False)


def test_attacker_cannot_redirect_changes(root, make, as_root):
    (root / "media" / "thumbs").mkdir(parents=True)
    (root / "precious" / "thumbs").mkdir(parents=True)
    (root / "link").symlink_to("precious")
    before, top = snapshot(root / "precious"), mode(root / "precious")
    context = multiprocessing.get_context("fork")
    ready, stop = context.Event(), context.Event()
    attacker = context.Process(target=_flip, args=(str(root / "media"), str(root / "link"), ready, stop))
    attacker.start()
    outcomes = set()
    try:
        assert ready.wait(30)
        for turn in range(200):
            expected = "0700" if turn % 2 else "0711"
            result = make(("{root}", "0755"), ("{root}/media", expected), ("{root}/media/thumbs", expected), diff=False)
            outcomes.add(bool(result.get("failed")))
    finally:
        stop.set()
        attacker.join(30)
    assert attacker.exitcode == 0
    assert outcomes == {True, False}  # some attacks were detected, and some came too late
    assert (snapshot(root / "precious"), mode(root / "precious")) == (before, top)


def test_failure_reports_the_changed_paths(root, make, monkeypatch):
    apply = tree.apply_change

    def fail_second(change):
        if change.entry.path.endswith("two"):
            raise entries_module.TreeError("The disk is full.")
        apply(change)

    monkeypatch.setattr(tree, "apply_change", fail_second)
    result = make(("{root}/one", "0755"), ("{root}/two", "0755"), ("{root}/three", "0755"))
    assert (result["msg"], result["changed"], result["changed_paths"]) == ("The disk is full.", True, [f"{root}/one"])
    assert os.listdir(root) == ["one"]


@contextlib.contextmanager
def nobody():
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def test_unprivileged_user_is_advised_to_become_root(run_module, as_root):
    # other users cannot enter the directories of pytest
    with tempfile.TemporaryDirectory() as place:
        os.chown(place, NOBODY, NOBODY)
        os.mkdir(f"{place}/theirs", 0o755)

        def make(**entry):
            return run_module(tree, {"entries": [entry]})

        with nobody():
            given = make(path=f"{place}/new", mode="0755", owner="root")
            foreign = make(path=f"{place}/theirs", mode="0700")
            own = make(path=f"{place}/own", mode="0700")
        advice = f"the user {get_user_name(NOBODY)} lacks permission. Run the task with become: true."
        assert given["msg"] == f"{place}/new cannot be changed to root:{get_group_name(NOBODY)} 0755: {advice}"
        assert foreign["msg"] == f"{place}/theirs cannot be changed to root:root 0700: {advice}"
        assert (own["changed"], mode(f"{place}/own")) == (True, "0700")
        assert sorted(os.listdir(place)) == ["own", "theirs"]


def test_secret_for_an_unlisted_path_is_refused(run_module, root):
    arguments = {"entries": [{"path": str(root), "mode": "0755"}], "secret_contents": {f"{root}/.env": "hidden"}}
    result = run_module(tree, arguments)
    assert result["msg"] == f"secret_contents has {root}/.env, which is not in entries; list the path there too."
    assert not (root / ".env").exists()


# Removal of files


def absent(path):
    return {"path": path, "type": "absent", "mode": None}


def test_file_is_removed_once_and_not_in_check_mode(root, make):
    (root / "drop-in.conf").write_text("[Service]\n")
    (root / "drop-in.conf").chmod(0o640)
    (root / "other").write_text("kept")
    entry = absent("{root}/drop-in.conf")
    checked = make(entry, check=True)
    assert (root / "drop-in.conf").exists()
    done = make(entry)
    assert sorted(os.listdir(root)) == ["other"]
    assert checked["changed_paths"] == done["changed_paths"] == [f"{root}/drop-in.conf"]
    assert checked["diff"] == done["diff"]
    assert done["diff"][0]["before"] == f"{root}/drop-in.conf  file {OWN} 0640\n"
    assert done["diff"][0]["after"] == f"{root}/drop-in.conf  absent\n"
    assert (done["diff"][1]["before"], done["diff"][1]["after"]) == ("[Service]\n", "")
    again = make(entry)
    assert (again["changed"], again["changed_paths"], again["diff"]) == (False, [], [])


def test_absent_file_needs_no_directory(root, make):
    result = make(absent("{root}/a/b/file"), ("{root}/run", "0755"))
    assert result["changed_paths"] == [f"{root}/run"]
    assert os.listdir(root) == ["run"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dir", "is a directory, not a file. It was not changed"),
        ("link", "is a symbolic link to file. It was not changed"),
        ("file/below", "cannot be created: {root}/file is not a directory"),
    ],
)
def test_only_regular_files_are_removed(root, make, name, message):
    (root / "dir").mkdir()
    (root / "file").write_text("kept")
    (root / "link").symlink_to("file")
    before = snapshot(root)
    result = make(("{root}/run", "0755"), absent(f"{{root}}/{name}"))
    assert result["failed"] and message.format(root=root) in result["msg"]
    assert snapshot(root) == before


@pytest.mark.parametrize("option", [{"owner": "root"}, {"group": "root"}, {"mode": "0644"}, {"content": "x"}])
def test_absent_entry_accepts_no_other_option(root, make, option):
    (name,) = option
    result = make({**absent("{root}/x"), **option})
    assert result["msg"] == f"The entry {root}/x is absent and has {name}; set its path and type only."


def test_absent_entry_accepts_no_secret(root, make):
    result = make({**absent("{root}/x"), "secret": "hidden"})
    assert result["msg"] == f"The entry {root}/x is absent and has content; set its path and type only."


def test_unprivileged_user_cannot_remove_files(run_module, as_root):
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        with open(f"{place}/file", "w") as file:
            file.write("kept")
        with nobody():
            result = run_module(tree, {"entries": [{"path": f"{place}/file", "type": "absent"}]})
        assert result["msg"].startswith(f"{place}/file cannot be removed: the user {get_user_name(NOBODY)} lacks")
        assert os.listdir(place) == ["file"]


def test_link_in_place_of_a_removed_file_is_not_followed(root, make, monkeypatch):
    (root / "page").write_text("old")
    (root / "precious").write_text("kept")
    redirect_after_the_plan(monkeypatch, root / "page", root / "precious")
    make(absent("{root}/page"))
    assert (root / "precious").read_text() == "kept" and not os.path.lexists(root / "page")


@pytest.fixture
def listen(root, monkeypatch):
    """Listen on a socket below root, until the test ends."""
    listeners = []

    def bind(name, permissions=0o600):
        monkeypatch.chdir(root)  # the length of a socket's path is limited
        listeners.append(socket.socket(socket.AF_UNIX))
        listeners[-1].bind(name)
        os.chmod(name, permissions)

    yield bind
    for listener in listeners:
        listener.close()


def test_socket_is_corrected(root, make, listen, as_root):
    entry = {"path": "{root}/sock", "type": "socket", "mode": "0660", "owner": "root", "group": "nogroup"}
    listen("sock")
    os.chown(root / "sock", NOBODY, 0)
    before = snapshot(root)
    checked = make(entry, check=True)
    assert snapshot(root) == before
    number = os.lstat(root / "sock").st_ino
    for result in (checked, make(entry)):
        assert result["changed_paths"] == [f"{root}/sock"]
        assert result["diff"][0]["before"] == f"{root}/sock  socket nobody:root 0600\n"
        assert result["diff"][0]["after"] == f"{root}/sock  socket root:nogroup 0660\n"
    assert (owner(root / "sock"), mode(root / "sock")) == ((0, NOBODY), "0660")
    assert os.lstat(root / "sock").st_ino == number
    assert make(entry)["changed"] is False


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("path", ["{root}/sock", "{root}/run/deep/sock"])
def test_socket_is_never_created(root, make, path, check):
    result = make({"path": path, "type": "socket", "mode": "0660", "parents": True}, check=check)
    assert (result["changed"], result["changed_paths"], result["diff"]) == (False, [], [])
    assert os.listdir(root) == []


def test_group_of_a_missing_socket_must_exist(root, make):
    result = make(("{root}/run", "0755"), {"path": "{root}/sock", "type": "socket", "group": "nosuchgroup"})
    assert result["msg"] == (
        f"The group 'nosuchgroup' of {root}/sock does not exist on this host. "
        "Create the group first, or name one that exists. Nothing was changed."
    )
    assert os.listdir(root) == []


@pytest.mark.parametrize("planted", ["link", "hard link", "file"])
def test_file_in_place_of_a_socket_is_not_changed(root, make, listen, planted):
    precious = root / "precious"
    precious.write_text("kept")
    os.chmod(precious, 0o600)
    sentence = f"{root}/sock is a file, not a socket."
    if planted == "link":
        (root / "sock").symlink_to(precious)
        sentence = f"{root}/sock is a symbolic link to {precious}."
    elif planted == "hard link":
        listen("other")
        os.link(root / "other", root / "sock")
        sentence = f"{root}/sock has 2 hard links,"
    else:
        (root / "sock").write_text("")
    before = snapshot(root)
    result = make(("{root}/run", "0755"), {"path": "{root}/sock", "type": "socket", "mode": "0660"})
    assert result["failed"] is True and result["msg"].startswith(sentence)
    assert snapshot(root) == before


@pytest.mark.parametrize("planted", ["link", "hard link", "pipe"])
def test_file_created_in_place_of_a_socket_is_not_changed(root, make, listen, monkeypatch, planted):
    listen("sock")
    precious = root / "precious"
    precious.write_text("kept")
    os.chmod(precious, 0o600)
    apply = tree.apply_change

    def race(change):
        os.unlink(root / "sock")
        if planted == "link":
            os.symlink(precious, root / "sock")
        elif planted == "hard link":
            os.link(precious, root / "sock")
        else:
            os.mkfifo(root / "sock", 0o600)
        apply(change)

    monkeypatch.setattr(tree, "apply_change", race)
    result = make({"path": "{root}/sock", "type": "socket", "mode": "0666"})
    assert result["msg"] == f"{root}/sock was replaced while the module ran, so it was not changed. Run it again."
    assert mode(precious) == "0600"
    if planted != "link":
        assert mode(root / "sock") == "0600"


def test_socket_accepts_no_content():
    with pytest.raises(entries_module.TreeError, match="is a socket with content; remove content"):
        entries_module.parse_entries([{"path": "/srv/app/sock", "type": "socket", "mode": "0660", "content": "x"}])


def test_users_have_the_permissions_of_the_group(root, make, as_root):
    if acl.read_acl(str(root)) is None:
        pytest.skip("the file system keeps no access control lists")
    entry = {"path": "{root}/run", "mode": "1775", "users": ["nobody", "4711"]}
    checked = make(entry, check=True)
    applied = make(entry)
    for result in (checked, applied):
        assert result["diff"][0]["after"] == f"{root}/run  directory {OWN} 1775 4711=rwx nobody=rwx\n"
    assert acl.get_user_rights(acl.read_acl(f"{root}/run")) == {4711: 7, NOBODY: 7}
    assert mode(f"{root}/run") == "1775"
    assert make(entry)["changed"] is False

    # A different list is corrected, also together with the mode. Without users, it is kept.
    acl.write_acl(f"{root}/run", acl.add_user(acl.from_mode(0o775), 4712, 7))
    assert make({"path": "{root}/run", "mode": "0775"})["changed"] is True
    assert make({"path": "{root}/run", "mode": "0775"})["changed"] is False
    assert acl.get_user_rights(acl.read_acl(f"{root}/run")) == {4712: 7}
    assert make({**entry, "mode": "1755", "users": ["4711"]})["changed"] is True
    assert (acl.get_user_rights(acl.read_acl(f"{root}/run")), mode(f"{root}/run")) == ({4711: 5}, "1755")
    assert make({**entry, "mode": "1755", "users": []})["changed"] is True
    assert (acl.read_acl(f"{root}/run"), mode(f"{root}/run")) == ({}, "1755")


def test_users_are_ignored_without_access_control_lists(root, make, monkeypatch):
    monkeypatch.setattr(acl, "read_acl", lambda path, kind=acl.ACCESS: None)
    entry = {"path": "{root}/run", "mode": "1775", "users": [USER]}
    assert make(entry)["changed"] is True
    again = make(entry)
    assert (again["changed"], again["diff"]) == (False, [])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"path": "{root}/file", "mode": "0644", "type": "file", "users": ["nobody"]},
            "has users, but its type is file",
        ),
        ({"path": "{root}/run", "users": ["nosuchuser"]}, "The user 'nosuchuser' in users of"),
    ],
)
def test_invalid_users_are_refused(root, make, entry, message):
    assert message in make(entry)["msg"]
    assert os.listdir(root) == []


# Files and directories of an application

HEADER = "# Ansible managed: written by flaskops.production for the application shop.\n"


def shop_entry(**more):
    return {"path": "{root}/shop.service", "application": "shop", **more}


def test_file_of_the_application_is_replaced(root, make):
    file = root / "shop.service"
    assert make(shop_entry(content=HEADER))["changed"]
    assert make(shop_entry(content=HEADER + "more\n"))["changed"]
    assert file.read_text() == HEADER + "more\n"


@pytest.mark.parametrize(
    ("existing", "message"),
    [
        (HEADER.replace("shop", "blog"), "belongs to the application blog"),
        ("[Unit]\n", "exists and was not written by this collection"),
        ("", "exists and was not written by this collection"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_file_of_another_application_is_refused_before_the_first_change(root, make, existing, message, check):
    (root / "shop.service").write_text(existing)
    before = snapshot(root)
    result = make({"path": "{root}/first", "content": "x"}, shop_entry(content=HEADER), check=check)
    assert result["failed"] and message in result["msg"]
    assert snapshot(root) == before


def test_unmanaged_file_is_replaced_with_adopt_only(root, run_module):
    file = root / "shop.service"
    file.write_text("[Unit]\n")
    entry = {"path": str(file), "application": "shop", "content": HEADER, "mode": "0644"}
    assert run_module(tree, {"entries": [entry], "adopt": True})["changed"]
    assert file.read_text() == HEADER


@pytest.mark.parametrize(
    ("existing", "goes"), [(HEADER, True), ("by hand\n", False), (HEADER.replace("shop", "x"), False)]
)
def test_only_a_file_of_the_application_is_removed(root, make, existing, goes):
    file = root / "shop.service"
    file.write_text(existing)
    assert make({**absent(shop_entry()["path"]), "application": "shop"})["changed"] is goes
    assert file.exists() is not goes


# Staged settings

RUN = {"run": "run-1", "by": "ada", "controller": "ci"}
OTHER_RUN = {"run": "run-2", "by": "grace", "controller": "laptop"}


@pytest.fixture
def live(root, tmp_path, monkeypatch, run_module):
    """Create a live application with a setting, another file, and an environment file."""
    units = tmp_path / "units"
    units.mkdir()
    monkeypatch.setattr(foreign, "UNITS", str(units))
    for unit in ("shop.socket", "shop.service", "shop-next.service"):
        (units / unit).touch()
    (root / "releases/v1").mkdir(parents=True)
    (root / "app").symlink_to("releases/v1")

    def run(mode="new", plain="x", run=None, check=False, **stage):
        entries = [
            {"path": str(root / "gunicorn.conf.py"), "mode": "0644", "content": f"# {mode}\n", "setting": True},
            {"path": str(root / ".env"), "mode": "0640", "setting": True},
            {"path": str(root / "plain"), "mode": "0644", "content": plain},
        ]
        options = {"entries": entries, "secret_contents": {str(root / ".env"): f"MODE={mode}\n"}, "run": run or RUN}
        options["stage"] = {"root": str(root), "name": "shop", **stage}
        return run_module(tree, options, check=check, diff=True)

    (root / "app").unlink()
    assert run("old")["changed"]
    (root / "app").symlink_to("releases/v1")
    return run


def texts(root):
    return {name: (root / name).read_text() for name in (".env", "gunicorn.conf.py", "plain")}


def test_settings_of_a_live_application_are_staged(root, live):
    result = live("new", plain="y")
    names = [os.path.basename(path) for path in result["changed_paths"]]
    assert names == ["gunicorn.conf.py", ".env", "plain"] and result["changed"]
    assert texts(root) == {".env": "MODE=old\n", "gunicorn.conf.py": "# old\n", "plain": "y"}
    staged = root / ".deploy/settings/next-run-1"
    assert (staged / ".env").read_text() == "MODE=new\n" and mode(staged / ".env") == "0600"
    assert (staged / "gunicorn.conf.py").read_text() == "# new\n"
    assert "MODE=new" not in json.dumps(result)
    # The change is reported until an activation has applied it.
    assert live("new", plain="y")["changed"]


def test_check_mode_stages_nothing_and_shows_the_difference(root, live):
    result = live("new", check=True)
    assert result["changed"]
    assert [part["after"] for part in result["diff"] if part["after_header"].endswith("conf.py")] == ["# new\n"]
    assert not (root / ".deploy/settings").exists()


def test_equal_settings_are_not_staged(root, live):
    assert not live("old")["changed"]
    (root / ".env").chmod(0o600)
    assert live("old")["changed"] and mode(root / ".env") == "0640", "no process could refuse a mode"
    assert not (root / ".deploy/settings").exists()


def test_settings_without_a_live_application_are_applied(root, live):
    (root / "app").unlink()
    assert live("new")["changed"]
    assert texts(root)[".env"] == "MODE=new\n" and not (root / ".deploy/settings").exists()


def test_interrupted_settings_are_staged_again(root, live):
    (root / ".deploy/settings/former").mkdir(parents=True)
    assert not live("old")["changed"]
    assert (root / ".deploy/settings/next-run-1/.env").read_text() == "MODE=old\n"


def test_run_without_the_deploy_lock_cannot_stage(root, live):
    layout = Layout(str(root))
    ReleaseStore(layout).create_directories()
    lock = DeployLock(layout, OTHER_RUN)
    lock.acquire()
    lock.release_guard()
    result = live("new")
    assert result["failed"] and result["lock_holder"]["run"] == "run-2"
    assert not (root / ".deploy/settings").exists()
    assert live("new", unlock=True)["changed"]
    assert not os.path.exists(layout.lock), "the release takes it"

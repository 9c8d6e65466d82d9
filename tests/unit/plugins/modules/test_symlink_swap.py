# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._files.links import TEMPORARY_PREFIX
from ansible_collections.flaskops.production.plugins.modules import symlink_swap


@pytest.fixture
def root(tmp_path):
    for release in ("1", "2"):
        (tmp_path / "releases" / release).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def swap(run_module, root):
    """Return a function that runs the module on the link `app`. Options may contain {root}."""

    def run(path="{root}/app", src="releases/1", check=False, diff=True, **options):
        # A flush waits for all writes of the host, and no test needs durability.
        args = {"path": path, "src": src, "sync": False, **options}
        args = {key: value.format(root=root) if isinstance(value, str) else value for key, value in args.items()}
        return run_module(symlink_swap, args, check=check, diff=diff)

    return run


def test_system_error_is_formatted_as_a_sentence(root, swap, monkeypatch):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(symlink_swap, "swap_link", full)
    logged = swap()["msg"]
    assert logged == f"{root}/app: No space left on device. Make room on its file system, and run again."


def test_check_apply_repeat_and_change(root, swap):
    app, first, second = f"{root}/app", f"{root}/releases/1", f"{root}/releases/2"
    absent = {"path": app, "state": "absent"}
    link = {number: {"path": app, "state": "link", "target": f"releases/{number}"} for number in (1, 2)}

    checked = swap(check=True)
    assert not os.path.lexists(app)
    applied = swap()
    for result in (checked, applied):
        assert result["changed"] is True
        assert (result["path"], result["src"], result["target"]) == (app, first, "releases/1")
        assert (result["previous_src"], result["previous_target"]) == (None, None)
        assert result["diff"] == {"before": absent, "after": link[1]}
    assert os.readlink(app) == "releases/1"

    again = swap()
    assert again["changed"] is False
    assert (again["previous_src"], again["previous_target"]) == (first, "releases/1")
    assert again["diff"] == {"before": link[1], "after": link[1]}

    checked = swap(src="releases/2", check=True)
    assert os.readlink(app) == "releases/1"
    changed = swap(src="releases/2")
    for result in (checked, changed):
        assert result["changed"] is True
        assert (result["src"], result["target"]) == (second, "releases/2")
        assert (result["previous_src"], result["previous_target"]) == (first, "releases/1")
        assert result["diff"] == {"before": link[1], "after": link[2]}
    assert os.readlink(app) == "releases/2"


def test_no_diff_is_returned_without_diff_mode(swap):
    assert "diff" not in swap(diff=False)


@pytest.mark.parametrize("existing", ["releases/1", "./releases//1/", "{root}/releases/1", "{root}//releases/./1"])
@pytest.mark.parametrize("src", ["releases/1", "./releases/1/", "releases//1", "{root}/releases/1", "releases/2/../1"])
@pytest.mark.parametrize("relative", [True, False])
def test_equivalent_spellings_are_no_change(root, swap, existing, src, relative):
    existing = existing.format(root=root)
    os.symlink(existing, root / "app")
    result = swap(src=src, relative=relative)
    assert result["changed"] is False
    assert result["target"] == result["previous_target"] == existing
    assert result["src"] == result["previous_src"] == f"{root}/releases/1"
    assert os.readlink(root / "app") == existing


@pytest.mark.parametrize(
    "path", ["{root}//app", "{root}/app/", "{root}/./app", "{root}/releases/../app", "{root}/app/."]
)
def test_path_spellings_are_normalized(root, swap, path):
    swap()
    result = swap(path=path)
    assert (result["changed"], result["path"]) == (False, f"{root}/app")


@pytest.mark.parametrize(
    ("src", "relative", "text"),
    [
        ("{root}/releases/1", True, "releases/1"),
        ("releases/1", False, "{root}/releases/1"),
        ("/", True, None),
        ("/", False, "/"),
        (".", True, "."),
    ],
)
def test_relative_option_sets_the_form_of_the_target(root, swap, src, relative, text):
    result = swap(src=src, relative=relative)
    expected = os.path.relpath("/", root) if text is None else text.format(root=root)
    assert result["target"] == os.readlink(root / "app") == expected
    assert os.path.samefile(root / "app", result["src"])


def test_link_through_another_link_is_changed(root, swap):
    (root / "stable").symlink_to("releases/1")
    (root / "app").symlink_to("stable")
    result = swap()
    assert (result["changed"], result["previous_src"]) == (True, f"{root}/stable")
    assert os.readlink(root / "app") == "releases/1"


def test_src_that_is_a_link_keeps_its_name(root, swap):
    (root / "stable").symlink_to("releases/1")
    assert swap(src="stable")["target"] == "stable"
    assert swap(src="stable")["changed"] is False


def test_parent_directory_can_be_a_link(root, swap, tmp_path):
    (root / "deep" / "real").mkdir(parents=True)
    (root / "deep" / "releases").mkdir()
    (root / "alias").symlink_to("deep/real")
    outside = swap(path="{root}/alias/app", src="{root}/releases/1")
    assert outside["target"] == "../../releases/1"
    assert os.path.samefile(root / "deep/real/app", root / "releases/1")
    for src in ("../releases", "{root}/alias/../releases", "{root}/deep/releases"):
        result = swap(path="{root}/alias/app", src=src)
        assert result["src"] == f"{root}/deep/releases"
        assert os.path.samefile(root / "deep/real/app", root / "deep/releases")
    assert result["changed"] is False
    (root / "deep" / "real" / "1").mkdir()
    assert swap(path="{root}/alias/app", src="1")["target"] == "1"
    assert swap(path="{root}/alias/app", src="{root}/deep/real/1")["changed"] is False


def test_dangling_link_is_changed(root, swap):
    (root / "app").symlink_to("releases/gone")
    result = swap()
    assert (result["previous_src"], result["previous_target"]) == (f"{root}/releases/gone", "releases/gone")
    assert os.readlink(root / "app") == "releases/1"


@pytest.mark.parametrize("within", ["releases", "{root}/releases/", ".", "/", "alias"])
def test_src_below_within_is_accepted(root, swap, within):
    (root / "alias").symlink_to("releases")
    assert swap(within=within)["changed"] is True


REFUSALS = {
    "relative path": (
        {"path": "app"},
        "path is 'app', which is relative; set an absolute path, such as /srv/myapp/app.",
    ),
    "root directory": ({"path": "/"}, "path is '/', which is a directory; set the path of a link in it."),
    "path ends in ..": (
        {"path": "{root}/releases/.."},
        "path is '{root}/releases/..', which is a directory; set the path of a link in it.",
    ),
    "parent missing": (
        {"path": "{root}/gone/app"},
        "The directory {root}/gone of the link {root}/gone/app does not exist. Create it first, or correct path.",
    ),
    "parent is a file": (
        {"path": "{root}/file/app"},
        "{root}/file, the directory of the link {root}/file/app, is not a directory. Move it away, or correct path.",
    ),
    "file in the way": (
        {"path": "{root}/file"},
        "{root}/file is a file, not a symbolic link. It was not changed: "
        "move it away (mv {root}/file {root}/file.before) and run again.",
    ),
    "directory in the way": (
        {"path": "{root}/releases/2"},
        "{root}/releases/2 is a real directory, not a symbolic link. It was not changed: "
        "move it away (mv {root}/releases/2 {root}/releases/2.before) and run again.",
    ),
    "src missing": (
        {"src": "releases/3"},
        "src {root}/releases/3 does not exist. Create the directory first, or correct src.",
    ),
    "src is a file": ({"src": "file"}, "src {root}/file is not a directory. Set a directory."),
    "src dangles": (
        {"src": "dangling"},
        "src {root}/dangling is a link that does not lead to a directory. Set a directory.",
    ),
    "src is path": (
        {"src": "app"},
        "src {root}/app is path itself; the link would point at itself. Set a directory that does not need the link.",
    ),
    "src is path, spelled otherwise": (
        {"src": "{root}//./app/"},
        "src {root}/app is path itself; the link would point at itself. Set a directory that does not need the link.",
    ),
    "src needs path": (
        {"src": "venv"},
        "src {root}/venv is reached through {root}/app; the link would point at itself. "
        "Set a directory that does not need the link.",
    ),
    "src outside within": (
        {"src": "/usr", "within": "releases"},
        "src /usr is not below {root}/releases. Set a directory below it, or correct within.",
    ),
    "src is within": (
        {"src": "releases", "within": "releases"},
        "src {root}/releases is not below {root}/releases. Set a directory below it, or correct within.",
    ),
    "src beside within": (
        {"src": "releases-old", "within": "releases"},
        "src {root}/releases-old is not below {root}/releases. Set a directory below it, or correct within.",
    ),
    "src leads out of within": (
        {"src": "releases/out", "within": "releases"},
        "src {root}/releases/out leads to {root}/releases-old, which is not below {root}/releases. "
        "Set a directory below it, or correct within.",
    ),
    "within missing": (
        {"within": "gone"},
        "within {root}/gone is not a directory. Set the directory that src must be below.",
    ),
}


@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.replace(" ", "-"))
def test_invalid_options_are_refused(root, swap, case, check):
    options, message = REFUSALS[case]
    (root / "file").write_text("kept")
    (root / "app").symlink_to("releases/1")
    (root / "releases" / "1" / ".venv").mkdir()
    (root / "venv").symlink_to("app/.venv")
    (root / "dangling").symlink_to("releases/gone")
    (root / "releases-old").mkdir()
    (root / "releases" / "out").symlink_to("../releases-old")
    before = sorted(os.listdir(root))
    result = swap(check=check, **options)
    assert result["failed"] is True
    assert result["msg"] == message.format(root=root)
    assert sorted(os.listdir(root)) == before
    assert os.readlink(root / "app") == "releases/1"
    assert (root / "file").read_text() == "kept"


def test_mode_of_the_release_does_not_change(root, swap):
    os.chmod(root / "releases" / "1", 0o751)
    before = os.stat(root / "releases" / "1")
    swap()
    after = os.stat(root / "releases" / "1")
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


@pytest.mark.parametrize(("options", "sync"), [({}, True), ({"sync": True}, True), ({"sync": False}, False)])
def test_sync_is_passed_on(root, run_module, monkeypatch, options, sync):
    calls = []
    monkeypatch.setattr(symlink_swap, "swap_link", lambda *arguments: calls.append(arguments))
    run_module(symlink_swap, {"path": f"{root}/app", "src": "releases/1", **options})
    assert calls == [(f"{root}/app", "releases/1", sync)]


def test_leftover_is_removed_by_a_swap_and_not_in_check_mode(root, swap):
    leftover = root / f"{TEMPORARY_PREFIX}99999999-0123456789abcdef"
    leftover.symlink_to("releases/gone")
    swap(check=True)
    assert leftover.is_symlink()
    swap()
    assert not leftover.is_symlink()

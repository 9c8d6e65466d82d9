# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import functools
import http.server
import os
import shutil
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.plugin_utils._source import git as git_module
from ansible_collections.flaskops.production.plugins.plugin_utils._source.tree import SourceError

NOON = 1_776_772_800  # 2026-04-21 12:00:00 UTC
APP = {"wsgi.py": "app = 1\n", "requirements.txt": "flask==3.1.0\n", "main.py": ("link", "wsgi.py")}


def list_names(release) -> list[str]:
    with tarfile.open(release["archive"]) as archive:
        return archive.getnames()


@pytest.fixture
def history(repository):
    """A repository with two commits on main, a third on feature/x, and the tags v1 (annotated) and old on the first."""
    repository.first = repository.commit(APP)
    repository.run("tag", "old")
    repository.run("tag", "--annotate", "--message=one", "v1", time=NOON + 5)
    repository.second = repository.commit({"second.py": ""}, NOON + 60)
    repository.run("checkout", "--quiet", "-b", "feature/x")
    repository.third = repository.commit({"third.py": ""}, NOON + 120)
    repository.run("checkout", "--quiet", "main")
    return repository


REFS = {
    "default": ("HEAD", "second", "120100"),
    "branch": ("main", "second", "120100"),
    "branch with a slash": ("feature/x", "third", "120200"),
    "full ref": ("refs/heads/feature/x", "third", "120200"),
    "tag": ("old", "first", "120000"),
    "annotated tag": ("v1", "first", "120000"),
    "commit": ("{first}", "first", "120000"),
    "commit of a branch": ("{third}", "third", "120200"),
    "short commit": ("{first:.8}", "first", "120000"),
}


@pytest.mark.parametrize(("ref", "commit", "clock"), REFS.values(), ids=REFS)
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_refs_are_resolved(resolve, history, ref, commit, clock, scheme):
    ref = ref.format(first=history.first, third=history.third)
    release = resolve(git_repo=f"{scheme}{history.path}", git_ref=ref)
    wanted = getattr(history, commit)
    assert release["source"] == {"kind": "git", "location": f"{scheme}{history.path}", "revision": wanted, "ref": ref}
    assert release["name"] == f"2026-04-21-{clock}-{release['digest'][:7]}"
    assert ("third.py" in list_names(release)) == (commit == "third")
    assert release["warnings"] == []


def test_name_of_both_a_branch_and_a_tag_is_rejected(resolve, history):
    history.run("branch", "v1", "feature/x")
    with pytest.raises(SourceError) as refused:
        resolve(git_repo=history.path, git_ref="v1")
    assert str(refused.value) == (
        f'release_git_ref: "v1" is a branch and a tag of {history.path}, at different commits; write refs/heads/v1 or '
        "refs/tags/v1."
    )
    assert resolve(git_repo=history.path, git_ref="refs/heads/v1")["source"]["revision"] == history.third
    assert resolve(git_repo=history.path, git_ref="refs/tags/v1")["source"]["revision"] == history.first


@pytest.mark.parametrize("tag", ["v1", "old"])
def test_branch_and_tag_of_one_name_at_one_commit_are_accepted(resolve, history, tag):
    history.run("branch", "--force", tag, history.first)
    assert resolve(git_repo=history.path, git_ref=tag)["source"]["revision"] == history.first


def test_commit_without_a_branch_is_found(resolve, history):
    history.run("branch", "--force", "feature/x", "main")
    assert resolve(git_repo=history.path, git_ref=history.third)["source"]["revision"] == history.third


MISSING_REFS = {
    "branch": ("nope", ['release_git_ref: "nope"', "feature/x, main, old, v1", "a branch, a tag"]),
    "commit": ("0123456789" * 4, ["release_git_ref: ", "0123456789" * 4]),
    "short commit": ("0123456", ['release_git_ref: "0123456"']),
}


@pytest.mark.parametrize(("ref", "expected"), MISSING_REFS.values(), ids=MISSING_REFS)
def test_missing_ref_is_rejected(resolve, history, ref, expected):
    with pytest.raises(SourceError) as refusal:
        resolve(git_repo=history.path, git_ref=ref)
    message = str(refusal.value)
    assert [word for word in [*expected, f"does not exist in {history.path}"] if word not in message] == []


def test_tag_of_a_file_is_rejected(resolve, history):
    history.run("tag", "blob", "main:wsgi.py")
    with pytest.raises(SourceError, match='release_git_ref: "blob" of .* is not a commit'):
        resolve(git_repo=history.path, git_ref="blob")


def test_repository_without_a_commit_is_rejected(resolve, repository):
    with pytest.raises(SourceError, match="no branch and no tag yet"):
        resolve(git_repo=repository.path)


def test_directory_without_a_repository_is_rejected(resolve, tmp_path):
    (tmp_path / "plain").mkdir()
    with pytest.raises(SourceError, match=f"release_git_repo: {tmp_path}/plain cannot be read .*accepted is"):
        resolve(git_repo=tmp_path / "plain")


def test_unreachable_server_is_reported_without_credentials(resolve):
    with pytest.raises(SourceError) as refusal:
        resolve(git_repo="https://bob:hunter22@127.0.0.1:1/x.git", git_ref="main")
    message = str(refusal.value)
    assert "release_git_repo: https://127.0.0.1:1/x.git cannot be read" in message
    assert "hunter22" not in message
    assert "bob" not in message


def test_missing_subdirectory_is_rejected(resolve, history):
    with pytest.raises(SourceError, match='release_subdirectory: "web" is not a directory in .* at main'):
        resolve(git_repo=history.path, git_ref="main", subdirectory="web")


def test_link_out_of_the_release_is_rejected(resolve, repository):
    repository.commit({"x": ("link", "/etc/passwd")})
    with pytest.raises(SourceError, match=r'release_git_repo: .* at HEAD .* "x" to "/etc/passwd", which leads out'):
        resolve(git_repo=repository.path)


def test_missing_git_is_reported(resolve, repository, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="git is missing on the controller"):
        resolve(git_repo=repository.path)


def test_subdirectory_is_the_root_of_the_release(resolve, repository):
    repository.commit({f"apps/web/{name}": content for name, content in APP.items()} | {"apps/api/x.py": ""})
    release = resolve(git_repo=repository.path, subdirectory="apps/web")
    assert list_names(release) == ["main.py", "requirements.txt", "wsgi.py"]


def test_branch_is_resolved_once_per_run(resolve, history):
    before = resolve(git_repo=history.path, git_ref="main", requirements=("requirements.txt",))
    history.commit({"new.py": ""}, NOON + 180)
    assert resolve(git_repo=history.path, git_ref="main", requirements=("requirements.txt",)) == before
    other_app = resolve(git_repo=history.path, git_ref="main", name="other")
    assert other_app["source"]["revision"] == history.second
    assert resolve("next run", git_repo=history.path, git_ref="main")["source"]["revision"] != history.second


def test_submodules_cause_a_warning(resolve, history, tmp_path):
    history.run("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(history.path), "vendor/lib")
    history.run("commit", "--quiet", "--message=submodule")
    (warning,) = resolve(git_repo=history.path)["warnings"]
    assert "submodules" in warning
    assert "vendor/lib" in warning


def test_export_ignore_applies_and_user_configuration_does_not(resolve, repository, monkeypatch, tmp_path):
    repository.commit(
        {"a.txt": "one\ntwo\n", "tests/t.py": "", ".gitattributes": "tests export-ignore\n*.txt text filter=lfs\n"}
    )
    config = tmp_path / "gitconfig"
    config.write_text('[core]\n autocrlf = true\n[filter "lfs"]\n smudge = false\n process = false\n required = true\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    release = resolve(git_repo=repository.path)
    assert list_names(release) == [".gitattributes", "a.txt"]
    with tarfile.open(release["archive"]) as archive:
        assert archive.extractfile("a.txt").read() == b"one\ntwo\n"


# The name of a directory in a work tree


def test_clean_work_tree_is_named_after_its_commit(resolve, history):
    os.utime(history.path / "wsgi.py", (NOON + 9999, NOON + 9999))
    git = resolve(git_repo=history.path)
    directory = resolve(directory=history.path)
    assert (directory["name"], directory["sha256"]) == (git["name"], git["sha256"])
    assert directory["source"] == {
        "kind": "directory",
        "location": str(history.path),
        "revision": history.second,
        "ref": None,
    }


def test_variables_of_git_hooks_are_ignored(resolve, history, monkeypatch):
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, "/nowhere")
    assert resolve(directory=history.path)["source"]["revision"] == history.second
    assert resolve(git_repo=history.path)["source"]["revision"] == history.second


def test_work_tree_is_named_after_a_merge_commit(resolve, history):
    history.run("merge", "--quiet", "--no-ff", "--message=merge", "feature/x", time=NOON + 600)
    assert resolve(directory=history.path)["name"].startswith("2026-04-21-121000-")


def test_directory_is_named_after_the_last_commit_that_changed_it(resolve, repository):
    commit = repository.commit({"apps/web/wsgi.py": "1"})
    repository.commit({"apps/api/x.py": "1"}, NOON + 60)
    (repository.path / "apps/api/x.py").write_text("changed")
    for values in (
        {"directory": repository.path / "apps/web"},
        {"directory": repository.path, "subdirectory": "apps/web"},
    ):
        release = resolve(**values)
        assert release["name"].startswith("2026-04-21-120000-")
        assert release["source"]["revision"] == commit


UNCOMMITTED_CHANGES = {
    "changed": lambda path: (path / "wsgi.py").write_text("changed"),
    "untracked": lambda path: (path / "new.py").write_text(""),
    "deleted": lambda path: (path / "second.py").unlink(),
    "staged": lambda path: (
        (path / "wsgi.py").write_text("staged"),
        subprocess.run(["git", "-C", path, "add", "wsgi.py"], check=True),
    ),
}


@pytest.mark.parametrize("change", UNCOMMITTED_CHANGES.values(), ids=UNCOMMITTED_CHANGES)
def test_work_tree_with_changes_is_named_after_its_newest_file(resolve, history, change):
    for path in history.path.rglob("*"):
        os.utime(path, (NOON, NOON), follow_symlinks=False)
    change(history.path)
    newest = history.path / "requirements.txt"
    os.utime(newest, (4_000_000_000, 4_000_000_000))
    release = resolve(directory=history.path)
    assert release["name"].startswith("2096-10-02-070640-")
    assert release["source"]["revision"] is None


def test_excluded_files_do_not_count_as_changes(resolve, history):
    (history.path / ".env").write_text("SECRET=1")
    (history.path / "node_modules/x").mkdir(parents=True)
    (history.path / "node_modules/x/y.js").write_text("")
    assert resolve(directory=history.path)["source"]["revision"] == history.second


def test_ignored_directory_has_no_commit(resolve, repository):
    repository.commit({".gitignore": "build/\n"})
    (repository.path / "build").mkdir()
    (repository.path / "build/wsgi.py").write_text("")
    os.utime(repository.path / "build/wsgi.py", (NOON + 60, NOON + 60))
    release = resolve(directory=repository.path / "build")
    assert release["name"].startswith("2026-04-21-120100-")
    assert release["source"]["revision"] is None


def test_unreadable_work_tree_causes_a_warning(resolve, history, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    release = resolve(directory=history.path)
    assert "dubious ownership" in release["warnings"][0]
    assert "newest file" in release["warnings"][0]
    assert release["source"]["revision"] is None


def test_directory_is_resolved_without_git(resolve, history, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert resolve(directory=history.path)["source"]["revision"] is None


def test_git_does_not_prompt(monkeypatch, tmp_path):
    """A server that requires a password causes an error, not a prompt on the terminal."""
    seen = tmp_path / "environment"
    fake = tmp_path / "bin/git"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\nenv > {seen}\n[ "$1" = config ] && exit 1\nexit 0\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    assert git_module.run_git("fetch", environment=git_module._prepare_transport("git@example.com:x.git")[1]).ok
    lines = Path(seen).read_text().splitlines()
    assert "GIT_TERMINAL_PROMPT=0" in lines
    assert any(line.startswith("GIT_SSH_COMMAND=ssh -o BatchMode=yes") for line in lines)


# User and password of a URL


@pytest.fixture
def server(history):
    """Serve the repository with HTTP authentication, and record the credentials that are received."""
    history.run("update-server-info")

    class Handler(http.server.SimpleHTTPRequestHandler):
        wanted = "bob:p@ss/word"
        elsewhere = ""
        received = []

        def do_GET(self):
            given = self.headers.get("Authorization", "").removeprefix("Basic ")
            Handler.received.append((self.server.server_port, base64.b64decode(given).decode()))
            if Handler.elsewhere and self.server.server_port == httpd.server_port:
                self.send_response(302)
                self.send_header("Location", f"{Handler.elsewhere}{self.path}")
                self.end_headers()
            elif given and Handler.received[-1][1] == Handler.wanted:
                super().do_GET()
            else:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=history.path)
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd,
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as other,
    ):
        for each in (httpd, other):
            threading.Thread(target=each.serve_forever, args=(0.01,), daemon=True).start()
        Handler.port, Handler.other = httpd.server_port, other.server_port
        yield Handler
        for each in (httpd, other):
            each.shutdown()


@pytest.fixture
def command_log(monkeypatch, tmp_path):
    """Return a function that reads the command lines of git and its child processes."""
    log, real = tmp_path / "commands", shutil.which("git")
    spy = tmp_path / "spy/git"
    spy.parent.mkdir()
    script = f'for p in $$ $(pgrep -P $$); do tr "\\\\0" " " < /proc/$p/cmdline; echo; done >> {log} 2>/dev/null'
    spy.write_text(
        f'#!/bin/bash\n"{real}" "$@" & pid=$!\nwhile kill -0 $pid 2>/dev/null; do {script}; done\nwait $pid\n'
    )
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}:{os.environ['PATH']}")
    return log.read_text


def test_credentials_of_a_url_reach_the_server_but_no_command_line(resolve, history, server, command_log):
    release = resolve(git_repo=f"http://bob:p%40ss%2Fword@127.0.0.1:{server.port}/.git", git_ref="main")
    assert release["source"] == {
        "kind": "git",
        "location": f"http://127.0.0.1:{server.port}/.git",
        "revision": history.second,
        "ref": "main",
    }
    assert (server.port, server.wanted) in server.received
    assert f"fetch --quiet --depth=1 --no-tags -- http://127.0.0.1:{server.port}/.git" in command_log()
    assert [secret for secret in ("bob", "p%40ss", "p@ss") if secret in command_log()] == []


def test_rejected_credentials_are_not_shown(resolve, server, command_log):
    with pytest.raises(SourceError) as refusal:
        resolve(git_repo=f"http://bob:hunter22@127.0.0.1:{server.port}/.git", git_ref="main")
    assert "release_git_repo" in str(refusal.value)
    assert [secret for secret in ("bob", "hunter22") if secret in str(refusal.value) + command_log()] == []


def test_credentials_are_not_sent_to_other_servers(resolve, server):
    server.elsewhere = f"http://127.0.0.1:{server.other}"
    with pytest.raises(SourceError):
        resolve(git_repo=f"http://bob:p%40ss%2Fword@127.0.0.1:{server.port}/.git", git_ref="main")
    assert {value for port, value in server.received if port == server.other} == {""}


def test_credential_helpers_are_queried_only_without_a_password(resolve, server, monkeypatch, tmp_path):
    """If the URL has a password, helpers neither provide nor store one."""
    log = tmp_path / "helper"
    helper = f'!h() {{ echo "$1" >> {log}; grep username= >> {log}; [ "$1" != get ] || echo password=p@ss/word; }}; h'
    config = tmp_path / "gitconfig"
    subprocess.run(["git", "config", "--file", config, "credential.helper", helper], check=True)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    resolve(git_repo=f"http://bob@127.0.0.1:{server.port}/.git", git_ref="main")
    assert log.read_text().startswith("get\nusername=bob\n")
    log.write_text("")
    resolve("again", git_repo=f"http://bob:p%40ss%2Fword@127.0.0.1:{server.port}/.git", git_ref="main")
    assert log.read_text() == ""


def test_line_break_in_a_password_is_rejected(resolve):
    with pytest.raises(SourceError, match="release_git_repo: https://example.com/x.git has a user or a pass"):
        resolve(git_repo="https://bob:a%0Ahost=evil@example.com/x.git")


def test_git_configuration_of_the_environment_is_kept(monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    assert git_module._build_config_environment({"a.b": "c"}) == {
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_1": "a.b",
        "GIT_CONFIG_VALUE_1": "c",
    }

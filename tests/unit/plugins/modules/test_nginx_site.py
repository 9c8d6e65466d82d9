# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the module nginx_site, with a real Nginx on loopback ports if it is installed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from ansible_collections.flaskops.production.plugins.module_utils._app.layout import Layout
from ansible_collections.flaskops.production.plugins.module_utils._files import foreign
from ansible_collections.flaskops.production.plugins.module_utils._nginx import config as config_module
from ansible_collections.flaskops.production.plugins.module_utils._nginx import parser, process, site_state
from ansible_collections.flaskops.production.plugins.module_utils._nginx import site as site_module
from ansible_collections.flaskops.production.plugins.module_utils._releases import settings_set
from ansible_collections.flaskops.production.plugins.modules import nginx_site
from ansible_collections.flaskops.production.tests.unit.ports import hold_port
from ansible_collections.flaskops.production.tests.unit.programs import find, needs

NGINX = find("nginx")
needs_nginx = needs("nginx")


def wait_until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.02)


class Tree:
    """A configuration tree of Nginx as in Debian, below a temporary directory."""

    def __init__(self, root):
        self.root = root
        self.config = root / "nginx.conf"
        self.available = root / "sites-available"
        self.enabled = root / "sites-enabled"
        for directory in (self.available, self.enabled, root / "snippets", root / "temp"):
            directory.mkdir(parents=True)
        (root / "snippets" / "relative.conf").write_text("# relative to the main file\n")
        temporary = "".join(
            f"    {kind}_temp_path {root}/temp/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;\n" if os.geteuid() == 0 else ""
        self.config.write_text(
            f"{user}worker_processes 1;\npid {root}/nginx.pid;\nerror_log {root}/error.log;\n"
            "events {\n    worker_connections 64;\n}\n"
            f"http {{\n{temporary}    access_log off;\n"
            "    # include /nowhere/*.conf;\n"
            "    include snippets/relative.conf;\n"
            f"    include {self.enabled}/*;\n"
            "}\n"
        )
        self.held = hold_port()
        self.port = self.held.getsockname()[1]
        self.path = self.available / "app.conf"
        self.link = self.enabled / "app.conf"

    def site(self, text="one", name="_", port=None, options=""):
        listen = f"listen 127.0.0.1:{port or self.port}{options};"
        return f"server {{\n    {listen}\n    server_name {name};\n    return 200 {text};\n}}\n"

    def enable(self, name, content):
        (self.available / name).write_text(content)
        (self.enabled / name).symlink_to(f"../sites-available/{name}")

    def args(self, content, **more):
        return {"path": str(self.path), "link": str(self.link), "config": str(self.config), "content": content, **more}

    def names(self):
        return sorted(str(found.relative_to(self.root)) for found in self.root.rglob("*"))

    def snapshot(self):
        """Return the content or target of each file that Nginx reads."""
        entries = {}
        for directory in (self.root, self.available, self.enabled, self.root / "snippets"):
            for found in directory.iterdir():
                if found.name not in ("error.log", "nginx.pid") and (found.is_symlink() or found.is_file()):
                    entries[str(found)] = os.readlink(found) if found.is_symlink() else found.read_bytes()
        return entries

    def start(self):
        subprocess.run([NGINX, "-c", self.config], check=True, capture_output=True)
        wait_until(lambda: self.master() and process.find_workers(self.master()))

    def master(self):
        return process.find_master(str(self.root / "nginx.pid"))

    def stop(self):
        master = self.master()
        if master:
            os.kill(master.pid, signal.SIGTERM)
            wait_until(lambda: self.master() is None)

    def get(self, host="x", port=None):
        request = urllib.request.Request(f"http://127.0.0.1:{port or self.port}/", headers={"Host": host})
        with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read().decode()
        return None


@pytest.fixture
def tree(tmp_path):
    tree = Tree(tmp_path / "nginx")
    yield tree
    tree.stop()


@pytest.fixture
def no_nginx(monkeypatch):
    monkeypatch.setattr(nginx_site.AnsibleModule, "get_bin_path", lambda *args, **kwargs: None)


# Parsing


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("include a;", ["a"]),
        ("http{include a;include b ;}", ["a", "b"]),
        ("include 'a b';", ["a b"]),
        ('include\n  "a";', ["a"]),
        ("# include a;\ninclude b;", ["b"]),
        ("include # comment;\n a;", ["a"]),
        ("include a#b;\ninclude c;", ["a#b", "c"]),
        ("log_format x 'include a;' \"include b;\";", []),
        ("xinclude a; include_b c;", []),
        ("return 200 it's; include a;", ["a"]),
        ("rewrite ^/a#b$ /c; include d;", ["d"]),
    ],
)
def test_directives_are_found(text, expected):
    assert [words[0] for words in parser.find_directives(parser.parse_directives(text), "include")] == expected
    places = [match["include"] for match in config_module.INCLUDE.finditer(text) if match["include"]]
    assert [parser.parse_directives(place)[0].words[0] for place in places] == expected


def test_server_names_are_found():
    text = "server { server_name a.example  B.example 'c.example'; }"
    files = {"/x": text, "/y": "# server_name b.example;\nserver_name_in_redirect off;"}
    assert config_module.find_files_with_server_name("b.example", files) == ["/x"]
    assert config_module.find_files_with_server_name("d.example", files) == []


@pytest.mark.parametrize(
    ("listen", "port", "expected"),
    [
        ("80 default_server", "80", True),
        ("[::]:80 default_server ssl", "80", True),
        ("192.0.2.1:8080 ssl default_server", "8080", True),
        ("localhost default_server", "80", True),
        ("8080 default_server", "80", False),
        ("80", "80", False),
        ("", "80", False),
    ],
)
def test_default_servers_are_found(listen, port, expected):
    assert (
        config_module.find_files_with_default_server(port, {"/x": f"server {{ listen {listen}; }}"})
        == ["/x"] * expected
    )


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("/e/sites-enabled/*", "/e/sites-enabled/app.conf", True),
        ("/e/sites-enabled/*.conf", "/e/sites-enabled/app.conf", True),
        ("/e/sites-enabled/*.conf", "/e/sites-enabled/app", False),
        ("/e/sites-*/a?p.conf", "/e/sites-enabled/app.conf", True),
        ("/e/*", "/e/sites-enabled/app.conf", False),
        ("/e/sites-enabled/*", "/e/sites-enabled/.app.conf", False),
        ("/e/x/../sites-enabled/*", "/e/sites-enabled/app.conf", True),
        ("/e/sites-enabled/app.conf", "/e/sites-enabled/app.conf", True),
    ],
)
def test_include_patterns_match_files(pattern, name, expected):
    assert parser.matches_include(pattern, name) is expected


@pytest.mark.parametrize(
    ("started", "changed", "expected"),
    [([10.0], 11.0, True), ([10.0, 12.0], 11.0, False), ([11.0], 11.0, False), ([10.5], 10.505, False)],
)
def test_nginx_is_older_only_if_all_workers_are(started, changed, expected):
    assert process.are_older(started, changed) is expected


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (
            '[emerg] unknown directive "b" in /s:2',
            'says: [emerg] unknown directive "b" in /s:2 (Line 2 of the refused file: b;)',
        ),
        ("[emerg] x in /other:2", "says: [emerg] x in /other:2 (That is /other, not this site's file.)"),
        ("[warn] old in /s:1\n[emerg] no certificate\ntest failed", "says: [emerg] no certificate"),
        ("[emerg] x in /s:9", "says: [emerg] x in /s:9"),
        ("killed", "says: killed"),
    ],
)
def test_error_of_nginx_is_shown_with_the_line(output, expected):
    assert config_module.format_test_error("/s", "a;\n  b;\n", output, {}).endswith(expected)


# Installation of a site


@needs_nginx
def test_first_site_is_tested_written_and_enabled(tree, run_module):
    result = run_module(nginx_site, tree.args(tree.site()), diff=True)
    assert (result["changed"], result["validated"], result["reloaded"]) == (True, True, False)
    assert "test is successful" in result["nginx_output"]
    assert tree.path.read_text() == tree.site()
    assert tree.path.stat().st_mode & 0o7777 == 0o644
    assert os.readlink(tree.link) == "../sites-available/app.conf"
    assert [part["after_header"] for part in result["diff"]] == [str(tree.path), f"links of {tree.path}"]
    again = run_module(nginx_site, tree.args(tree.site()), diff=True)
    assert (again["changed"], again["validated"]) == (False, False)
    assert "diff" not in again


@needs_nginx
def test_temporary_files_are_removed(tree, run_module):
    before = set(tree.names())
    run_module(nginx_site, tree.args(tree.site()))
    run_module(nginx_site, tree.args("nonsense"))
    added = set(tree.names()) - before
    assert {name for name in added if not name.startswith(("temp/", "error.log", "nginx.pid"))} == {
        "sites-available/app.conf",
        "sites-enabled/app.conf",
    }


@needs_nginx
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("relative", [False, True])
def test_nested_and_relative_includes_are_supported(tree, run_module, nested, relative):
    pattern = "sites-enabled/a*.conf" if relative else f"{tree.enabled}/a*.conf"
    if nested:
        (tree.root / "sites.conf").write_text(f"# all sites\ninclude {pattern};\n")
        pattern = "sites.conf" if relative else f"{tree.root}/sites.conf"
    tree.config.write_text(tree.config.read_text().replace(f"{tree.enabled}/*", pattern))
    refused = run_module(nginx_site, tree.args("server {\n    nonsense;\n}\n"))
    assert refused["failed"]
    assert f"{tree.path}:2" in refused["msg"]
    assert not tree.path.exists()
    assert run_module(nginx_site, tree.args(tree.site()))["validated"]


@needs_nginx
def test_site_in_an_included_directory_needs_no_link(tree, run_module):
    path = tree.enabled / "app.conf"
    args = {"path": str(path), "config": str(tree.config), "content": tree.site()}
    assert run_module(nginx_site, args)["changed"]
    assert not path.is_symlink()
    assert run_module(nginx_site, {**args, "content": "nonsense"})["failed"]
    assert path.read_text() == tree.site()


@needs_nginx
def test_site_without_an_include_is_refused(tree, run_module):
    args = tree.args(tree.site())
    result = run_module(nginx_site, {**args, "link": str(tree.root / "snippets" / "app.conf")})
    assert result["failed"]
    assert "has no include that reads" in result["msg"]
    assert not tree.path.exists()


@needs_nginx
@pytest.mark.parametrize("first", [True, False])
def test_refused_site_changes_nothing(tree, run_module, first):
    if not first:
        run_module(nginx_site, tree.args(tree.site()))
    before = tree.snapshot()
    result = run_module(nginx_site, tree.args("server {\n    listen 80;\n    proxy_pas http://x;\n}\n"))
    assert result["failed"]
    assert 'unknown directive "proxy_pas"' in result["msg"]
    assert f"{tree.path}:3" in result["msg"]
    assert "Line 3 of the refused file: proxy_pas http://x;" in result["msg"]
    assert "the old configuration is still in place" in result["msg"]
    assert site_state.PREFIX not in result["msg"]
    assert tree.snapshot() == before


@needs_nginx
def test_error_in_another_file_names_the_file(tree, run_module):
    tree.enable("other.conf", "server {\n\n    nonsense on;\n}\n")
    result = run_module(nginx_site, tree.args(tree.site()))
    assert result["failed"]
    assert f"{tree.enabled}/other.conf:3" in result["msg"]
    assert "not this site's file" in result["msg"]
    assert not tree.path.exists()


@needs_nginx
def test_error_across_files_is_found(tree, run_module):
    tree.enable("default", tree.site(name="other", options=" default_server"))
    result = run_module(nginx_site, tree.args(tree.site(options=" default_server")))
    assert result["failed"]
    assert "a duplicate default server" in result["msg"]
    assert f"{tree.enabled}/default already has the default server of this port" in result["msg"]
    assert tree.link.is_symlink() is False


@needs_nginx
@pytest.mark.parametrize("other", ["a.conf", "z.conf"])
def test_server_name_of_another_file_is_an_error(tree, run_module, other):
    tree.enable(other, tree.site(name="www.example.org a.example.org"))
    before = tree.snapshot()
    result = run_module(nginx_site, tree.args(tree.site(name="b.example.org www.example.org")))
    assert result["failed"]
    assert '"www.example.org"' in result["msg"]
    assert f"is also in {tree.enabled}/{other}:" in result["msg"]
    assert tree.snapshot() == before


@needs_nginx
def test_duplicate_server_name_in_the_file_is_an_error(tree, run_module):
    result = run_module(nginx_site, tree.args(tree.site() + tree.site()))
    assert result["failed"]
    assert f"is also in {tree.path}:" in result["msg"]


@needs_nginx
def test_conflict_between_other_files_is_ignored(tree, run_module):
    tree.enable("a.conf", tree.site(name="a.example.org"))
    tree.enable("z.conf", tree.site(name="a.example.org"))
    result = run_module(nginx_site, tree.args(tree.site(name="b.example.org")))
    assert result["changed"]
    assert "conflicting server name" in result["nginx_output"]


@needs_nginx
def test_links_are_removed_in_the_same_call(tree, run_module):
    tree.enable("default", tree.site(options=" default_server"))
    args = tree.args(tree.site(options=" default_server"), remove_links=[str(tree.enabled / "default")])
    refused = run_module(nginx_site, {**args, "content": "nonsense"})
    assert refused["failed"]
    assert (tree.enabled / "default").is_symlink()
    result = run_module(nginx_site, args, diff=True)
    assert not (tree.enabled / "default").is_symlink()
    assert (tree.available / "default").is_file()
    assert result["diff"][1]["before"].splitlines() == [
        f"{tree.link} -> (absent)",
        f"{tree.enabled}/default -> ../sites-available/default",
    ]
    assert run_module(nginx_site, args)["changed"] is False


@needs_nginx
@pytest.mark.parametrize("target", ["/nowhere", "../sites-available/other.conf"])
def test_link_to_another_path_is_replaced(tree, run_module, target):
    tree.link.symlink_to(target)
    assert run_module(nginx_site, tree.args(tree.site()))["changed"]
    assert os.readlink(tree.link) == "../sites-available/app.conf"


@needs_nginx
def test_absolute_link_to_the_file_is_kept(tree, run_module):
    run_module(nginx_site, tree.args(tree.site()))
    tree.link.unlink()
    tree.link.symlink_to(tree.path)
    assert run_module(nginx_site, tree.args(tree.site()))["changed"] is False


@needs_nginx
def test_wrong_mode_is_corrected(tree, run_module):
    run_module(nginx_site, tree.args(tree.site()))
    tree.path.chmod(0o666)
    result = run_module(nginx_site, tree.args(tree.site()), diff=True)
    assert result["changed"]
    assert result["diff"][0]["before"].startswith("mode: 0666")
    assert tree.path.stat().st_mode & 0o7777 == 0o644


@needs_nginx
def test_new_log_files_are_not_world_readable(tree, run_module):
    log = tree.root / "app.access.log"
    run_module(nginx_site, tree.args(tree.site().replace("return", f"access_log {log};\n    return")))
    assert log.stat().st_mode & 0o7777 == 0o640


@needs_nginx
def test_files_of_killed_runs_are_ignored_and_removed(tree, run_module):
    maker = f".flaskops-{os.getpid()}"
    old, young = tree.available / f"{maker}-old", tree.root / f"{maker}-young"
    for leftover in (old, young):
        leftover.write_text("nonsense")
    os.utime(old, (1, 1))
    assert run_module(nginx_site, tree.args(tree.site()))["changed"]
    assert not old.exists()
    assert young.exists()


# Refusals


@pytest.mark.parametrize(
    ("prepare", "more", "message"),
    [
        (lambda tree: tree.link.write_text(""), {}, "sites-enabled/app.conf is not a symbolic link"),
        (lambda tree: tree.link.mkdir(), {}, "sites-enabled/app.conf is not a symbolic link"),
        (lambda tree: tree.path.symlink_to("x"), {}, "sites-available/app.conf is a symbolic link"),
        (lambda tree: tree.path.mkdir(), {}, "sites-available/app.conf is not a regular file"),
        (lambda tree: None, {"path": "relative.conf"}, "relative.conf must be an absolute path"),
        (lambda tree: None, {"link": "/etc/nginx/../x"}, "/etc/nginx/../x must be an absolute path"),
        (lambda tree: None, {"remove_links": ["x"]}, "x must be an absolute path"),
    ],
)
def test_invalid_options_are_refused(tree, run_module, monkeypatch, prepare, more, message):
    prepare(tree)
    before = tree.snapshot()
    result = run_module(nginx_site, tree.args(tree.site(), **more))
    assert result["failed"]
    assert message in result["msg"]
    assert tree.snapshot() == before


def test_regular_file_in_remove_links_is_not_removed(tree, run_module):
    (tree.enabled / "default").write_text("server {}")
    result = run_module(nginx_site, tree.args(tree.site(), remove_links=[str(tree.enabled / "default")]))
    assert result["failed"]
    assert (tree.enabled / "default").is_file()


def test_link_must_not_be_in_remove_links(tree, run_module):
    result = run_module(nginx_site, tree.args(tree.site(), remove_links=[str(tree.link)]))
    assert "is both link and one of remove_links" in result["msg"]


def test_missing_nginx_is_an_error(tree, run_module, no_nginx):
    result = run_module(nginx_site, tree.args(tree.site()))
    assert result["msg"].startswith("nginx was not found on this host")
    assert not tree.path.exists()


@needs_nginx
def test_error_names_a_missing_directory(tree, run_module):
    result = run_module(nginx_site, tree.args(tree.site(), path=str(tree.root / "missing" / "app.conf")))
    assert f"The directory {tree.root}/missing does not exist" in result["msg"]


@needs_nginx
def test_error_names_a_missing_main_file(tree, run_module):
    result = run_module(nginx_site, tree.args(tree.site(), config=str(tree.root / "missing.conf")))
    assert f"{tree.root}/missing.conf: No such file" in result["msg"]


# Check mode


def test_check_mode_works_on_an_empty_host(tmp_path, run_module, no_nginx):
    args = {
        "path": f"{tmp_path}/etc/nginx/sites-available/a.conf",
        "link": f"{tmp_path}/etc/nginx/sites-enabled/a.conf",
    }
    args.update(content="server {}", remove_links=[f"{tmp_path}/etc/nginx/sites-enabled/default"])
    result = run_module(nginx_site, args, check=True, diff=True)
    assert (result["changed"], result["installed"], result["validated"]) == (True, False, False)
    assert result["diff"][0]["after"] == "server {}\n"
    assert list(tmp_path.iterdir()) == []


def test_optional_missing_nginx_is_no_error(tmp_path, run_module, no_nginx):
    args = {"path": f"{tmp_path}/sites-available/a.conf", "content": "server {}", "required": False}
    result = run_module(nginx_site, args)
    assert (result["changed"], result["installed"]) == (False, False)
    assert (result["running"], result["enabled"]) == (False, False)
    assert list(tmp_path.iterdir()) == []


@needs_nginx
@pytest.mark.parametrize("enabled", [True, False])
def test_result_has_running_and_enabled(tree, run_module, tmp_path, monkeypatch, enabled):
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text(
        f'#!/bin/sh\n[ "$*" = "--quiet is-enabled nginx.service" ] && exit {0 if enabled else 1}\nexit 9\n'
    )
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{systemctl.parent}:{os.environ['PATH']}")
    stopped = run_module(nginx_site, tree.args(tree.site()))
    assert (stopped["installed"], stopped["running"], stopped["enabled"]) == (True, False, enabled)
    tree.start()
    started = run_module(nginx_site, tree.args(tree.site(), reload=False))
    assert (started["changed"], started["running"], started["enabled"]) == (False, True, enabled)


@needs_nginx
@pytest.mark.parametrize("check", [False, True])
def test_unchanged_site_with_an_invalid_configuration_is_an_error(tree, run_module, check):
    tree.start()
    assert run_module(nginx_site, tree.args(tree.site()))["changed"]
    (tree.enabled / "other.conf").write_text("listen;")
    result = run_module(nginx_site, tree.args(tree.site()), check=check)
    assert result["failed"] and f"{tree.enabled}/other.conf:1" in result["msg"] and "nginx -t" in result["msg"]
    assert tree.get() == "one", "Nginx serves"
    (tree.enabled / "other.conf").unlink()
    assert not run_module(nginx_site, tree.args(tree.site()), check=check)["changed"]


@needs_nginx
def test_check_mode_changes_nothing(tree, run_module):
    tree.enable("default", tree.site(name="other"))
    before = tree.names()
    args = tree.args(tree.site(), remove_links=[str(tree.enabled / "default")])
    predicted = run_module(nginx_site, args, check=True, diff=True)
    assert tree.names() == before
    done = run_module(nginx_site, args, diff=True)
    assert predicted["diff"] == done["diff"]
    assert run_module(nginx_site, args, check=True)["changed"] is False


# A running Nginx


@needs_nginx
def test_running_nginx_serves_the_new_site_when_the_module_returns(tree, run_module):
    tree.enable("first.conf", tree.site("first", name="first"))
    tree.start()
    for text in ("one", "two"):
        assert run_module(nginx_site, tree.args(tree.site(text)), check=True)["reloaded"]
        assert run_module(nginx_site, tree.args(tree.site(text)))["reloaded"]
        assert tree.get("_") == text
        again = run_module(nginx_site, tree.args(tree.site(text)))
        assert (again["changed"], again["reloaded"]) == (False, False)


def has_been_read(client):
    """Return whether the server has accepted the connection and read all data of the client."""
    ends = ("{:08X}:{:04X}".format(*struct.unpack("=I", socket.inet_aton(host)), port)
            for host, port in (client.getpeername(), client.getsockname()))  # fmt: skip
    start = " ".join(ends)
    (entry,) = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines() if f" {start} " in line]
    unread, inode = entry[4].partition(":")[2], entry[9]
    return int(unread, 16) == 0 and inode != "0"


@needs_nginx
def test_replaced_worker_is_awaited_while_a_client_sends(tree, run_module):
    tree.enable("first.conf", tree.site("first", name="first"))
    run_module(nginx_site, tree.args(tree.site("one")))
    tree.start()
    old = process.find_workers(tree.master())
    with socket.create_connection(("127.0.0.1", tree.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        wait_until(lambda: has_been_read(client))
        run_module(nginx_site, tree.args(tree.site("two")))
        assert not process.wait_for_exit(old, 0.3)
        client.sendall(b"Host: _\r\nConnection: close\r\n\r\n")
        assert b"one" in client.recv(4096)
    assert process.wait_for_exit(old, 60)


@needs_nginx
def test_run_interrupted_before_the_reload_is_completed(tree, run_module):
    run_module(nginx_site, tree.args(tree.site("one")))
    tree.start()
    assert run_module(nginx_site, tree.args(tree.site("one")))["changed"] is False
    time.sleep(0.1)
    run_module(nginx_site, tree.args(tree.site("two"), reload=False))
    assert tree.get() == "one"
    result = run_module(nginx_site, tree.args(tree.site("two")))
    assert (result["changed"], result["validated"], result["reloaded"]) == (True, True, True)
    assert tree.get() == "two"
    assert run_module(nginx_site, tree.args(tree.site("two")))["changed"] is False


@needs_nginx
def test_running_nginx_keeps_serving_if_the_new_site_is_refused(tree, run_module):
    run_module(nginx_site, tree.args(tree.site("one")))
    tree.start()
    master = tree.master()
    assert run_module(nginx_site, tree.args(tree.site("two") + "}"))["failed"]
    assert tree.get() == "one"
    assert tree.master() == master


@needs_nginx
def test_old_site_is_restored_if_nginx_cannot_load_the_new_one(tree, run_module, monkeypatch):
    monkeypatch.setattr(process, "RELOAD_TIMEOUT", 4.0)
    tree.enable("default", tree.site("default", name="other"))
    run_module(nginx_site, tree.args(tree.site("one")))
    tree.start()
    before = tree.snapshot()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        site = tree.site("two", port=other.getsockname()[1])
        result = run_module(nginx_site, tree.args(site, remove_links=[str(tree.enabled / "default")]))
    assert result["failed"]
    assert "Address already in use" in result["msg"]
    assert "The old configuration is back in place" in result["msg"]
    assert tree.snapshot() == before
    assert tree.get() == "one"


@needs_nginx
def test_stale_pid_file_is_no_running_nginx(tree, run_module):
    (tree.root / "nginx.pid").write_text(f"{os.getpid()}\n")
    result = run_module(nginx_site, tree.args(tree.site()))
    assert (result["changed"], result["reloaded"]) == (True, False)


@needs_nginx
def test_configuration_is_valid_at_every_moment(tree, run_module, monkeypatch):
    """Nginx accepts the configuration on disk after each change, so the module may be killed at any time."""
    tree.enable("default", tree.site(options=" default_server"))
    verdicts = []

    def watched(name):
        original = getattr(os, name)

        def call(*args, **kwargs):
            result = original(*args, **kwargs)
            test = subprocess.run([NGINX, "-t", "-c", tree.config], check=False, capture_output=True, text=True)
            verdicts.append((name, args, test.returncode, test.stderr))
            return result

        return call

    for name in ("replace", "unlink", "symlink", "fsync"):
        monkeypatch.setattr(site_module.os, name, watched(name))
    args = tree.args(tree.site(options=" default_server"), remove_links=[str(tree.enabled / "default")])
    assert run_module(nginx_site, {**args, "content": "nonsense"})["failed"]
    assert run_module(nginx_site, args)["changed"]
    assert run_module(nginx_site, {**args, "content": tree.site("two")})["changed"]
    assert len(verdicts) > 10
    assert [verdict for verdict in verdicts if verdict[2] != 0] == []


# Several versions of Nginx


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ((1, 22, 1), "listen 443 ssl http2;\nroot /x;"),
        ((1, 25, 1), "listen 443 ssl;\nhttp2 on;\nroot /x;"),
        ((1, 26), "listen 443 ssl;\nhttp2 on;\nroot /x;"),
        ((2, 0, 0), "listen 443 ssl;\nhttp2 on;\nroot /x;"),
    ],
)
def test_lines_are_selected_by_version(version, expected):
    text = (
        "listen 443 ssl http2;  # nginx < 1.25.1\nlisten 443 ssl;  # nginx >= 1.25.1\n"
        "http2 on; # nginx >= 1.25.1\nroot /x;"
    )
    assert config_module.select_lines(text, version) == expected


@pytest.mark.parametrize(
    "text", ["# nginx >= 1.25.1", "    # nginx < 1.0", "a; # since nginx >= 1.25.1", "a; # nginx > 1"]
)
def test_other_comments_are_kept(text):
    assert config_module.select_lines(text, (1, 24)) == text


@needs_nginx
def test_only_lines_for_the_installed_version_are_written(tree, run_module):
    text = tree.site().replace("return", "return 404;  # nginx < 1.0\n    return")
    result = run_module(nginx_site, tree.args(text))
    assert result["changed"]
    assert tree.path.read_text() == tree.site()
    assert run_module(nginx_site, tree.args(text))["changed"] is False


def test_check_mode_without_nginx_shows_the_lines_of_all_versions(tree, run_module, no_nginx):
    text = "server {\n    http2 on;  # nginx >= 1.25.1\n}\n"
    assert run_module(nginx_site, tree.args(text), check=True, diff=True)["diff"][0]["after"] == text


# Connections


@pytest.mark.parametrize(
    ("main", "processes", "files", "expected"),
    [
        ("events { worker_connections 768; }", 2, 1024, "2 worker(s) with worker_connections 768 allow 1536"),
        (
            "events { worker_connections 4096; }",
            2,
            1024,
            "2 worker(s) with worker_connections 4096 and 1024 open files allow 2048",
        ),
        ("events {}", 4, None, "4 worker(s) with worker_connections 512 allow 2048"),
        ("# worker_connections 9999;\nevents {}", 1, None, "worker_connections 512"),
        ("events { worker_connections 4096; }", 1, 4096, None),
        ("events { worker_connections 2048; }", 2, None, None),
    ],
)
def test_too_few_connections_for_the_backlog_are_reported(main, processes, files, expected):
    warning = process.check_connections(main, 2048, processes, files)
    assert expected in warning if expected else warning is None, warning


@needs_nginx
@pytest.mark.parametrize("running", [False, True])
def test_too_few_connections_cause_a_warning_and_no_change(tree, run_module, monkeypatch, running):
    if running:
        tree.enable("first.conf", tree.site("first", name="first"))
        tree.start()
    warnings = []
    # If other tests have loaded the controller's part of Ansible, warnings are not part of the result.
    monkeypatch.setattr(nginx_site.AnsibleModule, "warn", lambda _module, text: warnings.append(text))
    results = [run_module(nginx_site, tree.args(tree.site(), backlog=backlog)) for backlog in (0, 0, 32)]
    assert [result["changed"] for result in results] == [True, False, False]
    assert warnings == []
    assert run_module(nginx_site, tree.args(tree.site(), backlog=2048))["changed"] is False
    (warning,) = warnings
    assert "1 worker(s) with worker_connections 64 allow 64: further requests would fail." in warning
    assert f"Set worker_connections to 4096 and worker_rlimit_nofile to 8192 in {tree.config}." in warning


# Ownership by an application

HEADER = "# Ansible managed: written by flaskops.production for the application app.\n"


def test_site_of_the_application_is_replaced(tree, run_module, no_nginx):
    tree.path.write_text(HEADER)
    tree.link.symlink_to("../sites-available/app.conf")
    result = run_module(nginx_site, tree.args(HEADER + tree.site(), application="app"), check=True)
    assert result["changed"]


@pytest.mark.parametrize(
    ("text", "link", "message"),
    [
        ("server {}\n", "../sites-available/app.conf", "exists and was not written by this collection"),
        (HEADER.replace(" app.", " blog."), "../sites-available/app.conf", "belongs to the application blog"),
        (HEADER, "/srv/other.conf", "leads to /srv/other.conf"),
    ],
)
def test_site_of_another_owner_is_refused(tree, run_module, no_nginx, text, link, message):
    tree.path.write_text(text)
    tree.link.symlink_to(link)
    before = tree.snapshot()
    for check in (True, False):
        result = run_module(nginx_site, tree.args(HEADER, application="app"), check=check)
        assert result["failed"] and message in result["msg"]
    assert tree.snapshot() == before


def test_site_without_an_owner_is_replaced_on_adoption(tree, run_module, no_nginx):
    tree.path.write_text("server {}\n")
    tree.link.symlink_to("/srv/other.conf")
    result = run_module(nginx_site, tree.args(HEADER, application="app", adopt=True, required=False), check=True)
    assert result["changed"]


def test_port_in_use_is_refused_before_nginx_is_installed(tree, run_module, no_nginx):
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", tree.port))
        listener.listen()
        args = tree.args(tree.site(), application="app", required=False, remove_links=[site_module.DEFAULT_SITE])
        result = run_module(nginx_site, args)
    assert result["failed"] and f"Port {tree.port} is in use by " in result["msg"]
    assert "failed" not in run_module(nginx_site, args)


@needs_nginx
def test_nginx_outside_of_the_group_is_refused(tree, run_module, as_root):
    tree.config.write_text(tree.config.read_text().replace("user root;", "user nobody nogroup;"))
    tree.start()
    args = tree.args(tree.site(), application="app", group="www-data")
    result = run_module(nginx_site, args)
    assert result["failed"] and "flask_app_web_group is www-data, but Nginx runs as nobody" in result["msg"]
    assert "failed" not in run_module(nginx_site, {**args, "group": "nogroup"})


# A site that waits for an activation

RUN = {"run": "run-1", "by": "ada", "controller": "ci"}


@pytest.fixture
def live(tree, tmp_path, monkeypatch, run_module):
    """A live application with a site that a running Nginx serves, and a way to run the module for it."""
    units, root = tmp_path / "units", tmp_path / "shop"
    monkeypatch.setattr(foreign, "UNITS", str(units))
    units.mkdir()
    for unit in ("shop.socket", "shop.service", "shop-next.service"):
        (units / unit).touch()
    (root / "releases/v1").mkdir(parents=True)
    (root / "app").symlink_to("releases/v1")

    def run(text, check=False, options="", **more):
        stage = {"root": str(root), "name": "shop"}
        site = tree.site(text, options=options) + more.pop("after", "")
        return run_module(nginx_site, {**tree.args(site, run=RUN, **more), "stage": stage}, check=check)

    run_module(nginx_site, tree.args(tree.site("one")))
    tree.start()
    run.staged = root / ".deploy/settings/next-run-1"
    run.app = root / "app"
    return run


@needs_nginx
def test_the_site_of_a_live_application_is_staged(tree, live):
    before = tree.snapshot()
    result = live("two")
    assert result["changed"] and result["validated"] and not result["reloaded"]
    assert (tree.snapshot(), tree.get()) == (before, "one")
    assert "return 200 two;" in (live.staged / "app.conf").read_text()
    # It is reported until an activation has put it in place, which the running Nginx then takes over.
    assert live("two")["changed"]
    site = settings_set.SettingsSet(Layout(str(live.app.parent), RUN), "shop", str(live.staged)).read_site()
    assert site.install() and tree.get() == "one"
    site.reload_nginx()
    assert tree.get() == "two"
    assert not live("two")["changed"]


@needs_nginx
def test_a_site_that_nginx_rejects_is_not_staged(tree, live):
    assert "unexpected" in live("two", after="}")["msg"]
    assert tree.get() == "one" and not live.staged.exists()


@needs_nginx
def test_check_mode_stages_no_site(tree, live):
    assert live("two", check=True)["changed"]
    assert not live.staged.exists()


@needs_nginx
def test_a_wrong_mode_is_corrected_at_once(tree, live):
    tree.path.chmod(0o600)
    assert live("one")["changed"] and tree.path.stat().st_mode & 0o777 == 0o644
    assert not live.staged.exists()


@needs_nginx
def test_the_site_of_an_application_that_is_not_live_is_installed_at_once(tree, live):
    live.app.unlink()
    assert live("two")["reloaded"] and tree.get() == "two"
    assert not live.staged.exists()


@needs_nginx
def test_a_site_is_installed_at_once_if_nginx_does_not_run(tree, live):
    tree.stop()
    assert live("two")["changed"] and "return 200 two;" in tree.path.read_text()
    assert not live.staged.exists()


@needs_nginx
def test_the_script_for_a_restart_installs_the_same_site(tree, live, monkeypatch):
    tree.enable("default", tree.site("default", name="other"))
    live("two", remove_links=[str(tree.enabled / "default")])
    programs = tree.root / "programs"
    programs.mkdir()
    (programs / "systemctl").symlink_to("/bin/true")
    for _time in range(2):
        path = {"PATH": f"{programs}:{os.environ['PATH']}"}
        subprocess.run(["sh", live.staged / "site.sh"], check=True, env=path)
        site = settings_set.SettingsSet(Layout(str(live.app.parent), RUN), "shop", str(live.staged)).read_site()
        assert not site.is_different()
    assert not [name for name in tree.names() if ".flaskops-" in name]

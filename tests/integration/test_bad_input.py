# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that invalid input is refused before any connection, with the variable, its value and the accepted values."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest
from environment import tool_environment

from ansible_collections.flaskops.production.tests.integration.free_strategy import copy_with_free_strategy
from ansible_collections.flaskops.production.tests.unit.programs import find, needs

# One run serves all cases.
pytestmark = [pytest.mark.xdist_group("bad_input"), needs("git")]

FATAL = re.compile(r"^fatal: \[(\S+)\]: (FAILED|UNREACHABLE)! => (\{.*\})$", re.MULTILINE)
RECAP = re.compile(r"^(\S+)\s+: ok=\d+ +changed=(\d+) +unreachable=(\d+) +failed=(\d+)", re.MULTILINE)
# Text that no message may contain: errors of Python and Jinja, and placeholders.
NOISE = re.compile(r"Traceback|\{\{|\bundefined variable\b|object at 0x|An unhandled exception")

GOOD = {"flask_app_name": "myapp", "release_directory": "SOURCES/app"}
A_SUM = "0" * 64


@dataclasses.dataclass(frozen=True)
class BadInput:
    """Variables in addition to GOOD (None removes one), fragments of the message, and required programs."""

    title: str
    variables: dict
    fragments: tuple[str, ...]
    programs: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def bad_input(title: str, variables: dict, *fragments: str, programs: tuple[str, ...] = ()) -> BadInput:
    return BadInput(title, variables, fragments, programs)


def archive(name: str, **more: str) -> dict:
    """Return the variables of a release from an archive."""
    return {"release_directory": None, "release_archive": f"SOURCES/{name}", **more}


def repository(location: str, **more: str) -> dict:
    return {"release_directory": None, "release_git_repo": location, **more}


PULL = {"release_transfer": "pull", "release_pull_url": "https://releases.example.org/"}
ROOT_ACCEPTED = ("an absolute path of at least two levels", "/srv/myapp")
ROOT_REACHED = ("outside /root, /home, /tmp", "/srv/myapp")
ONE_SOURCE = "set exactly one of release_directory, release_archive and release_git_repo"
A_NAME = "1 to 32 characters: a lower-case letter, then lower-case letters, digits, '_' or '-'"

BAD_INPUTS = [
    # The application
    bad_input("No name", {"flask_app_name": None}, "flask_app_name"),
    bad_input("Name with a slash", {"flask_app_name": "my/app"}, "flask_app_name", "'my/app'", A_NAME),
    bad_input("Name with a space", {"flask_app_name": "my app"}, "flask_app_name", "'my app'", A_NAME),
    bad_input("Name in upper case", {"flask_app_name": "MyApp"}, "flask_app_name", "'MyApp'", A_NAME),
    bad_input("Name with a digit first", {"flask_app_name": "1app"}, "flask_app_name", "'1app'", A_NAME),
    bad_input("Name with a line break", {"flask_app_name": "app\n"}, "flask_app_name", A_NAME),
    bad_input("Empty name", {"flask_app_name": ""}, "flask_app_name", "''", A_NAME),
    bad_input("Name too long", {"flask_app_name": "a" * 33}, "flask_app_name", "a" * 33, A_NAME),
    bad_input(
        "Name of a candidate", {"flask_app_name": "shop-next"}, "'shop-next'", "must not end in '-next'", "'shop'"
    ),
    bad_input(
        "Name of a unit of the system", {"flask_app_name": "ssh"}, "flask_app_name is 'ssh'", "a unit of the system"
    ),
    bad_input("Name of a unit of systemd", {"flask_app_name": "systemd-x"}, "'systemd-x'", "a unit of the system"),
    bad_input(
        "Misspelt setting",
        {"release_helth_path": "/x", "gunicorn_systemd_worker": 5, "release_channel": "mine"},
        *("release_helth_path", "release_health_path is meant", "gunicorn_systemd_workers is meant"),
    ),
    bad_input("Name that is a number", {"flask_app_name": 42}, "flask_app_name", "'42'", A_NAME),
    bad_input("Root is the file system", {"flask_app_root": "/"}, "flask_app_root", "'/'", *ROOT_ACCEPTED),
    bad_input("Root of one level", {"flask_app_root": "/myapp"}, "flask_app_root", "'/myapp'", *ROOT_ACCEPTED),
    bad_input("Root below root", {"flask_app_root": "/root/x"}, "flask_app_root", "'/root/x'", *ROOT_REACHED),
    bad_input("Root below home", {"flask_app_root": "/home/x"}, "flask_app_root", "'/home/x'", *ROOT_REACHED),
    bad_input("Root below tmp", {"flask_app_root": "/tmp/x"}, "flask_app_root", "'/tmp/x'", *ROOT_REACHED),
    bad_input("Root below etc", {"flask_app_root": "/etc/x"}, "flask_app_root", "'/etc/x'", *ROOT_REACHED),
    bad_input("Relative root", {"flask_app_root": "srv/x"}, "flask_app_root", "'srv/x'", *ROOT_ACCEPTED),
    bad_input("Root with two dots", {"flask_app_root": "/srv/../x"}, "flask_app_root", "'/srv/../x'", *ROOT_ACCEPTED),
    bad_input(
        "Root with a space", {"flask_app_root": "/srv/my app"}, "flask_app_root", "'/srv/my app'", *ROOT_ACCEPTED
    ),
    bad_input("Root with a line break", {"flask_app_root": "/srv/x\n"}, "flask_app_root", *ROOT_ACCEPTED),
    bad_input("User root", {"flask_app_user": "root"}, "flask_app_user", "'root'", "a user name other than root"),
    bad_input(
        "Name that is no user's", {"flask_app_name": "root"}, "flask_app_user", "'root'", "a user name other than root"
    ),
    bad_input("User with a space", {"flask_app_user": "web server"}, "flask_app_user", "'web server'", "a user name"),
    bad_input("Group root", {"flask_app_group": "root"}, "flask_app_group", "'root'", "a group name other than root"),
    bad_input(
        "Owner is the runtime user",
        {"flask_app_owner": "myapp"},
        *("flask_app_owner", "'myapp'", "a user name other than flask_app_user"),
    ),
    bad_input("WSGI without a colon", {"flask_app_wsgi": "wsgi"}, "flask_app_wsgi", "'wsgi'", "module:callable"),
    bad_input(
        "WSGI module that is missing", {"flask_app_wsgi": "shop:app"}, "flask_app_wsgi", "no module 'shop'", "wsgi:app"
    ),
    bad_input(
        "WSGI callable that is missing", {"flask_app_wsgi": "wsgi:web"}, "flask_app_wsgi", "no 'web'", "wsgi:app"
    ),
    bad_input(
        "WSGI as a path", {"flask_app_wsgi": "web/wsgi.py:app"}, "flask_app_wsgi", "'web/wsgi.py:app'", "wsgi:app"
    ),
    bad_input(
        "Environment with a return", {"flask_app_env": {"MOTD": "a\r\n"}}, "flask_app_env.MOTD", "a control character"
    ),
    bad_input(
        "Environment name with a dash",
        {"flask_app_env": {"MY-KEY": "x"}},
        "flask_app_env",
        "'MY-KEY'",
        "digits and '_'",
    ),
    bad_input(
        "Environment value is a list",
        {"flask_app_env": {"HOSTS": ["a"]}},
        "flask_app_env.HOSTS",
        "a string or a number",
    ),
    bad_input(
        "Environment value is a boolean", {"flask_app_env": {"DEBUG": True}}, "flask_app_env.DEBUG", "put it in quotes"
    ),
    bad_input("Environment is a list", {"flask_app_env": ["A=1"]}, "flask_app_env", "list", "dict"),
    # Units
    bad_input("No worker", {"gunicorn_systemd_workers": 0}, "gunicorn_systemd_workers", " 0,", "at least 1"),
    bad_input("Many workers", {"gunicorn_systemd_workers": "many"}, "gunicorn_systemd_workers", "'many'", "int"),
    bad_input("No thread", {"gunicorn_systemd_threads": 0}, "gunicorn_systemd_threads", " 0,", "at least 1"),
    bad_input("No timeout", {"gunicorn_systemd_timeout": -1}, "gunicorn_systemd_timeout", "-1", "at least 1"),
    bad_input(
        "Unknown handover",
        {"gunicorn_systemd_handover": "blue"},
        "gunicorn_systemd_handover",
        "blue",
        "overlap, restart",
    ),
    bad_input(
        "Setting that the units decide",
        {"gunicorn_systemd_settings": {"bind": "0.0.0.0:80"}},
        *("gunicorn_systemd_settings", "bind", "remove"),
    ),
    bad_input(
        "Settings that have variables of their own",
        {"gunicorn_systemd_settings": {"workers": 2, "errorlog": "-"}},
        *("gunicorn_systemd_settings", "workers, errorlog", "use gunicorn_systemd_workers, gunicorn_systemd_log_files"),
    ),
    bad_input(
        "Setting with a line break",
        {"gunicorn_systemd_settings": {"keepalive\n": 75}},
        *("gunicorn_systemd_settings", "'keepalive\n'", "lower-case letters"),
    ),
    bad_input(
        "Path to write to without a list",
        {"gunicorn_systemd_read_write_paths": "/var/x"},
        *("gunicorn_systemd_read_write_paths: a string is set", "put the value in brackets"),
    ),
    bad_input(
        "Hardening without a name of the sandbox",
        {"gunicorn_systemd_hardening": {"PrivateTMP": False}},
        *("gunicorn_systemd_hardening", "PrivateTMP", "PrivateTmp", "gunicorn_systemd_unit_overrides"),
    ),
    bad_input(
        "Hardening with a mapping",
        {"gunicorn_systemd_hardening": {"PrivateTmp": {"a": 1}}},
        *("gunicorn_systemd_hardening.PrivateTmp", "true, false, a number, one line of text"),
    ),
    bad_input(
        "Override without a section",
        {"gunicorn_systemd_unit_overrides": {"Nice": 5}},
        *("gunicorn_systemd_unit_overrides", "Nice", "[Service] or [Unit]"),
    ),
    bad_input(
        "Relative path to write to",
        {"gunicorn_systemd_read_write_paths": ["data"]},
        *("gunicorn_systemd_read_write_paths", "'data'", "absolute paths"),
    ),
    bad_input(
        "Credential with a relative path",
        {"gunicorn_systemd_credentials": {"token": "secrets/token"}},
        *("gunicorn_systemd_credentials", "token", "absolute path of a file on the host"),
    ),
    bad_input(
        "Credential with a slash in its name",
        {"gunicorn_systemd_credentials": {"a/b": "/etc/token"}},
        *("gunicorn_systemd_credentials", "a/b", "letters, digits"),
    ),
    bad_input(
        "Credential where the application may write",
        {"gunicorn_systemd_credentials": {"token": "/srv/myapp/shared/instance/token"}},
        *("gunicorn_systemd_credentials", "'/srv/myapp/shared/instance/token'", "/etc/credstore"),
    ),
    bad_input(
        "Memory in words", {"gunicorn_systemd_memory_max": "much"}, "gunicorn_systemd_memory_max", "'much'", "512M"
    ),
    bad_input("Tasks in words", {"gunicorn_systemd_tasks_max": "few"}, "gunicorn_systemd_tasks_max", "'few'", "256"),
    bad_input(
        "Files in words", {"gunicorn_systemd_limit_nofile": "many"}, "gunicorn_systemd_limit_nofile", "'many'", "65536"
    ),
    bad_input("Quota without a unit", {"gunicorn_systemd_cpu_quota": "2"}, "gunicorn_systemd_cpu_quota", "'2'", "200%"),
    bad_input(
        "No rotation", {"gunicorn_systemd_log_rotations": 0}, "gunicorn_systemd_log_rotations", " 0,", "at least 1"
    ),
    bad_input(
        "Log format of two lines",
        {"gunicorn_systemd_access_log_format": "a\nb"},
        "gunicorn_systemd_access_log_format",
        "one line of text",
    ),
    # Its site
    bad_input(
        "Access log where the application may write",
        {"nginx_site_access_log": "/srv/myapp/shared/logs/nginx.log"},
        *("nginx_site_access_log", "'/srv/myapp/shared/logs/nginx.log'", "/var/log/nginx"),
    ),
    bad_input(
        "Error log where the application may write",
        {"flask_app_root": "/opt/my.app", "nginx_site_error_log": "/opt/my.app/run/error.log"},
        *("nginx_site_error_log", "'/opt/my.app/run/error.log'", "/var/log/nginx"),
    ),
    bad_input("Port 0", {"nginx_site_listen": 0}, "nginx_site_listen is 0,", "1 to 65535"),
    bad_input("Port 70000", {"nginx_site_listen": 70000}, "nginx_site_listen is 70000,", "1 to 65535"),
    bad_input("Port in words", {"nginx_site_listen": "http"}, "nginx_site_listen", "'http'", "int"),
    bad_input(
        "Server names with a comma",
        {"nginx_site_server_name": "a.org, b.org"},
        *("nginx_site_server_name", "'a.org, b.org'", "separated by single spaces"),
    ),
    bad_input(
        "Server name with a semicolon",
        {"nginx_site_server_name": "a.org; return 200"},
        *("nginx_site_server_name", "'a.org; return 200'", "host names"),
    ),
    bad_input(
        "Body size in words",
        {"nginx_site_client_max_body_size": "big"},
        *("nginx_site_client_max_body_size", "'big'", "such as 16m"),
    ),
    bad_input(
        "Static URL without slashes",
        {"nginx_site_static_url": "static"},
        "nginx_site_static_url",
        "'static'",
        "/static/",
    ),
    bad_input(
        "Certificate without a key",
        {"nginx_site_tls_certificate": "/etc/ssl/a.pem"},
        *("nginx_site_tls_certificate", "'/etc/ssl/a.pem'", "nginx_site_tls_certificate_key", "TLS needs both"),
    ),
    bad_input(
        "Key without a certificate",
        {"nginx_site_tls_certificate_key": "/etc/ssl/a.key"},
        *("nginx_site_tls_certificate", "'/etc/ssl/a.key'", "TLS needs both"),
    ),
    bad_input(
        "Relative certificate",
        {"nginx_site_tls_certificate": "a.pem", "nginx_site_tls_certificate_key": "/etc/ssl/a.key"},
        *("nginx_site_tls_certificate", "'a.pem'", "absolute path"),
    ),
    # Virtual environment
    bad_input("Unknown interpreter", {"venv_python": "pypy"}, "venv_python", "'pypy'", "python3", "absolute path"),
    bad_input("Unknown installer", {"venv_installer": "conda"}, "venv_installer", "conda", "pip, uv"),
    bad_input(
        "uv.lock without uv",
        {"venv_requirements": ["uv.lock"]},
        "venv_requirements",
        "uv.lock",
        "venv_installer",
        "'pip'",
    ),
    bad_input(
        "Requirements outside", {"venv_requirements": ["../r.txt"]}, "venv_requirements", "../r.txt", "without '..'"
    ),
    bad_input(
        "Requirements missing", {"venv_requirements": ["prod.txt"]}, "venv_requirements", "prod.txt", "requirements.txt"
    ),
    bad_input(
        "Include missing", {"release_directory": "SOURCES/include"}, "venv_requirements", "base.txt", "requirements.txt"
    ),
    bad_input("Requirement without a hash", {"venv_require_hashes": True}, "venv_require_hashes", "flask", "--hash"),
    bad_input("Packages in a string", {"venv_packages": "gevent"}, "venv_packages", "a string is set", "in brackets"),
    bad_input(
        "Indexes in a string", {"venv_extra_index_urls": "https://a.org/simple"}, "venv_extra_index_urls", "brackets"
    ),
    bad_input(
        "Index without a scheme",
        {"venv_index_url": "pypi.example.org"},
        "venv_index_url",
        "pypi.example.org",
        "https://",
    ),
    bad_input(
        "Index with a line break",
        {"venv_index_url": "https://a.org/simple\n"},
        "venv_index_url",
        "https://a.org/simple",
    ),
    bad_input(
        "Setting that Gunicorn does not have",
        {"gunicorn_systemd_settings": {"keep_alive": 5}},
        *("gunicorn_systemd_settings has keep_alive", "use keepalive"),
    ),
    bad_input(
        "Variable of Gunicorn", {"flask_app_env": {"WEB_CONCURRENCY": 5}}, "WEB_CONCURRENCY", "gunicorn_systemd_workers"
    ),
    bad_input("Hook that is missing", {"release_before_activate": ["/x/drain.yml"]}, "'/x/drain.yml'", "no such file"),
    bad_input(
        "Installer's environment", {"venv_environment": {"MY-CA": "x"}}, "venv_environment", "MY-CA", "digits and '_'"
    ),
    # Release
    bad_input("No source", {"release_directory": None}, "no source is set", "release_directory", ONE_SOURCE),
    bad_input(
        "Two sources",
        {"release_archive": "SOURCES/app.tar"},
        *("release_directory", "SOURCES/app", "release_archive", "SOURCES/app.tar", "2 sources are set", ONE_SOURCE),
    ),
    bad_input(
        "Three sources",
        {"release_archive": "SOURCES/app.tar", "release_git_repo": "SOURCES/git"},
        *("release_directory", "release_archive", "release_git_repo", "SOURCES/git", "3 sources are set", ONE_SOURCE),
    ),
    bad_input(
        "Directory missing",
        {"release_directory": "SOURCES/none"},
        *("release_directory", "SOURCES/none", "does not exist", "a directory on the controller"),
    ),
    bad_input(
        "Directory is a file",
        {"release_directory": "SOURCES/app.tar"},
        *("release_directory", "SOURCES/app.tar", "is not a directory", "release_archive"),
    ),
    bad_input(
        "Directory is empty",
        {"release_directory": "SOURCES/empty"},
        "release_directory",
        "SOURCES/empty",
        "at least one file",
    ),
    bad_input("Archive missing", archive("none.tar"), "release_archive", "SOURCES/none.tar", "does not exist", "a tar"),
    bad_input(
        "Archive with another checksum",
        archive("app.tar", release_archive_checksum=A_SUM),
        *("release_archive_checksum", "SOURCES/app.tar", A_SUM, "correct the checksum"),
    ),
    bad_input(
        "Checksum malformed",
        archive("app.tar", release_archive_checksum="md5:123"),
        *("release_archive_checksum", '"md5:123"', "sha256:<64 hexadecimal digits>"),
    ),
    bad_input(
        "URL without a checksum",
        {"release_directory": None, "release_archive": "https://example.org/app.tar.gz"},
        *("release_archive_checksum", "not set", "https://example.org/app.tar.gz", "sha256:<64 hexadecimal digits>"),
    ),
    bad_input(
        "URL of another kind",
        {
            "release_directory": None,
            "release_archive": "ftp://example.org/app.tar.gz",
            "release_archive_checksum": A_SUM,
        },
        *("release_archive", "ftp://example.org/app.tar.gz", "an https URL"),
    ),
    bad_input(
        "URL that nobody answers",
        {"release_directory": None, "release_archive": "https://127.0.0.1:1/a.tar", "release_archive_checksum": A_SUM},
        *("release_archive", "https://127.0.0.1:1/a.tar", "cannot be fetched"),
    ),
    bad_input(
        "Archive that was not signed",
        archive("app.tar", release_archive_minisign_key="SOURCES/signer.pub"),
        *("release_archive_signature", "not set", "SOURCES/app.tar.minisig"),
    ),
    bad_input(
        "Archive that was changed after it was signed",
        archive(
            "changed.tar",
            release_archive_signature="SOURCES/changed.tar.minisig",
            release_archive_minisign_key="SOURCES/signer.pub",
        ),
        *("release_archive_signature", "SOURCES/changed.tar", "it signs other content", "correct the key"),
        programs=("minisign",),
    ),
    bad_input(
        "Unknown verification", repository("SOURCES/git", release_git_verify="yes"), "release_git_verify", "commit, tag"
    ),
    bad_input(
        "Commit without a signature",
        repository("SOURCES/git", release_git_verify="commit", release_git_allowed_signers="SOURCES/signers"),
        *("release_git_verify", "SOURCES/git", "is not signed", "release_git_ref"),
    ),
    bad_input(
        "Verification without keys",
        repository("SOURCES/git", release_git_verify="tag"),
        *("release_git_verify", "tag", "release_git_gpg_keyring or release_git_allowed_signers"),
    ),
    bad_input(
        "Verification of a directory",
        {"release_git_verify": "commit", "release_git_allowed_signers": "SOURCES/signers"},
        *("release_git_verify", "commit", "release_directory", "leave it empty"),
    ),
    bad_input(
        "Private key in the source",
        archive("keys.tar", release_sensitive_files="refuse"),
        *("release_sensitive_files", "SOURCES/keys.tar", "(config/.env, tls/id_rsa)", "set drop"),
    ),
    bad_input(
        "Unknown treatment of secrets",
        {"release_sensitive_files": "allow"},
        *("release_sensitive_files", "allow", "warn, drop, refuse, ignore"),
    ),
    bad_input(
        "Not an archive", archive("app/wsgi.py"), "release_archive", "SOURCES/app/wsgi.py", "not an archive", "a tar"
    ),
    bad_input("Archive cut short", archive("short.tar"), "release_archive", "SOURCES/short.tar", "cut short"),
    bad_input("Absolute member", archive("absolute.tar"), "release_archive", '"/etc/cron.d/x"', "only relative paths"),
    bad_input("Member with two dots", archive("dots.tar"), "release_archive", '"app/../../x"', "'..' are not accepted"),
    bad_input(
        "Symbolic link out",
        archive("link.tar"),
        "release_archive",
        '"../../etc/passwd"',
        "only relative links inside it",
    ),
    bad_input(
        "Absolute symbolic link",
        archive("absolute-link.tar"),
        "release_archive",
        '"/etc/passwd"',
        "only relative links",
    ),
    bad_input("Hard link out", archive("hard-link.tar"), "release_archive", '"etc/shadow"', "only links inside it"),
    bad_input("Device", archive("device.tar"), "release_archive", '"console"', "only files, directories and links"),
    bad_input(
        "Repository missing",
        repository("SOURCES/none"),
        *("release_git_repo", "SOURCES/none", "does not exist", "https or ssh address"),
    ),
    bad_input(
        "Repository that nobody answers for",
        repository("https://127.0.0.1:1/app.git"),
        *("release_git_repo", "https://127.0.0.1:1/app.git", "cannot be read", "a path, or an https or ssh address"),
    ),
    bad_input(
        "Ref missing",
        repository("SOURCES/git", release_git_ref="v9"),
        *("release_git_ref", '"v9"', "does not exist", "it has main", "a branch, a tag, a commit's hash"),
    ),
    bad_input(
        "Ref with a space",
        repository("SOURCES/git", release_git_ref="a b"),
        *("release_git_ref", '"a b"', "a branch, a tag, a commit's hash"),
    ),
    bad_input(
        "Subdirectory missing", {"release_subdirectory": "web"}, "release_subdirectory", '"web"', "not a directory in"
    ),
    bad_input("Release name with a slash", {"release_name": "1/2"}, "release_name", '"1/2"', "1 to 64 letters"),
    bad_input("Release name that YAML reads", {"release_name": 1.10}, "release_name", "1.1", "in quotes"),
    bad_input("Unknown transfer", {"release_transfer": "torrent"}, "release_transfer", "torrent", "push, pull"),
    bad_input("Pull without a URL", {"release_transfer": "pull"}, "release_pull_url", "not set", "https://"),
    bad_input(
        "Pull over another scheme",
        {"release_transfer": "pull", "release_pull_url": "ftp://ada:p@ss@example.org/x?key"},
        *("release_pull_url", "'ftp://****@example.org/x?****'", "an http or https URL"),
    ),
    bad_input(
        "Pull directory missing",
        {**PULL, "release_pull_directory": "SOURCES/none"},
        *("release_pull_directory", "SOURCES/none", "an existing directory on the controller"),
    ),
    bad_input(
        "Pull directory relative",
        {**PULL, "release_pull_directory": "www"},
        *("release_pull_directory", "'www'", "the absolute path"),
    ),
    bad_input(
        "Absolute shared path",
        {"release_shared_paths": ["/var/x/"]},
        "release_shared_paths",
        '"/var/x/"',
        "inside the release",
    ),
    bad_input(
        "Shared path with two dots",
        {"release_shared_paths": ["../x"]},
        "release_shared_paths",
        '"../x"',
        "without '.' and '..'",
    ),
    bad_input(
        "Static path outside",
        {"release_static_paths": ["../x"]},
        "release_static_paths",
        '"../x"',
        "inside the release",
    ),
    bad_input(
        "Health path without a slash",
        {"release_health_path": "health"},
        "release_health_path",
        "'health'",
        "starts with '/'",
    ),
    bad_input(
        "Health header Host",
        {"release_health_headers": {"host": "example.org", "X Y": "1", "X-Lines": "a\nb"}},
        *("release_health_headers", "'host', 'X Y', 'X-Lines'", "release_health_host"),
    ),
    bad_input("Health headers in a list", {"release_health_headers": ["X-A: 1"]}, "release_health_headers", "dict"),
    bad_input("Health status 42", {"release_health_status": [42]}, "release_health_status", "[42]", "100 to 599"),
    bad_input("Health status in words", {"release_health_status": ["ok"]}, "release_health_status", "'ok'", "int"),
    bad_input(
        "Hook without a list",
        {"release_before_activate": "x"},
        *("release_before_activate: a string is set", "put the value in brackets"),
    ),
    bad_input(
        "Shared path without a list",
        {"release_shared_paths": "instance/"},
        *("release_shared_paths: a string is set", "put the value in brackets"),
    ),
    bad_input("Nothing kept", {"release_keep": 0}, "release_keep", " 0,", "at least 1"),
    bad_input(
        "Batch of a word", {"flask_app_serial": "all"}, "flask_app_serial", "'all'", "a share of them such as '25%'"
    ),
    bad_input("Batch of nobody", {"flask_app_serial": [1, 0]}, "flask_app_serial", "'1, 0'", "a number of hosts"),
    bad_input(
        "Failures by a word", {"flask_app_max_fail_percentage": "few"}, "percentage", "'few'", "a number from 0 to 100"
    ),
    # Several applications
    bad_input("No application", {"flask_apps": []}, "flask_apps", "a list of mappings"),
    bad_input(
        "Applications not in a list", {"flask_apps": {"flask_app_name": "shop"}}, "flask_apps", "a list of mappings"
    ),
    bad_input(
        "Application without a name", {"flask_apps": [{"flask_app_root": "/srv/x"}]}, "flask_apps", "flask_app_name"
    ),
    bad_input(
        "Two applications of one name",
        {"flask_apps": [{"flask_app_name": "shop"}, {"flask_app_name": "shop"}]},
        *("flask_apps", "shop more than once", "a flask_app_name of its own"),
    ),
    bad_input(
        "Two applications of one directory",
        {"flask_apps": [{"flask_app_name": n, "flask_app_root": "/opt/x"} for n in ("shop", "blog")]},
        *("flask_apps", "/opt/x more than once", "a flask_app_root of its own"),
    ),
    bad_input(
        "Unknown key of an application",
        {"flask_apps": [{"flask_app_name": "shop", "domain": "example.org"}]},
        *("flask_apps", "domain", "no variable of this collection"),
    ),
    bad_input(
        "Misspelt key of an application",
        {"flask_apps": [{"flask_app_name": "shop", "nginx_site_lisen": 8080}]},
        *("flask_apps", "nginx_site_lisen", "The nearest is nginx_site_listen"),
    ),
    bad_input(
        "Bad second application",
        {"flask_apps": [{"flask_app_name": "shop"}, {"flask_app_name": "blog", "flask_app_root": "/home/blog"}]},
        *("flask_app_root", "'/home/blog'", *ROOT_REACHED),
    ),
]


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def write_tar(path: Path, *members: tarfile.TarInfo, **contents: bytes) -> None:
    with tarfile.open(path, "w") as tar:
        for info in (member("wsgi.py"), member("requirements.txt"), *members):
            content = contents.get(Path(info.name).name, b"")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def sign(place: Path, name: str) -> None:
    for arguments in (["-G", "-W", "-p", "signer.pub"], ["-S", "-m", name]):
        command = ["minisign", *arguments, "-s", "signer.key"]
        subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL)


def write_sources(place: Path) -> None:
    for name, requirements in (("app", "flask==3.1.0\n"), ("include", "-r base.txt\n"), ("git", "flask\n")):
        (place / name).mkdir()
        (place / name / "wsgi.py").write_text("app = None\n")
        (place / name / "requirements.txt").write_text(requirements)
    (place / "empty").mkdir()
    write_tar(place / "app.tar")
    (place / "short.tar").write_bytes((place / "app.tar").read_bytes()[:600])
    write_tar(place / "absolute.tar", member("/etc/cron.d/x"))
    write_tar(place / "dots.tar", member("app/../../x"))
    write_tar(place / "link.tar", member("passwd", tarfile.SYMTYPE, "../../etc/passwd"))
    write_tar(place / "absolute-link.tar", member("passwd", tarfile.SYMTYPE, "/etc/passwd"))
    write_tar(place / "hard-link.tar", member("shadow", tarfile.LNKTYPE, "etc/shadow"))
    write_tar(place / "device.tar", member("console", tarfile.CHRTYPE))
    key = b"-----BEGIN OPENSSH PRIVATE KEY-----"
    write_tar(place / "keys.tar", member("tls/id_rsa"), member("config/.env"), id_rsa=key)
    write_tar(place / "changed.tar")
    if find("minisign"):
        sign(place, "changed.tar")
    write_tar(place / "changed.tar", member("another.py"))
    (place / "signers").write_text(
        "a@example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGm1Wvv8A0b1mY7iVhTqXkq4LgQ1s0rX1\n"
    )
    author = ["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "First"]):
        environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        subprocess.run(["git", *author, *arguments], cwd=place / "git", env=environment, check=True)


@dataclasses.dataclass(frozen=True)
class SiteRun:
    """The message and the recap (changed, unreachable, failed) of each host, and the hosts that were contacted."""

    messages: dict[str, str]
    recap: dict[str, tuple[int, int, int]]
    called: str
    output: str


def run_site(place: Path, hosts: dict[str, dict], playbook: str = "flaskops.production.site") -> SiteRun:
    """Run site.yml on hosts with an SSH program that records its calls and fails."""
    log, ssh = place / "called", place / "ssh"
    log.write_text("")
    ssh.write_text(f'#!/bin/sh\necho "$*" >> {log}\nexit 255\n')
    ssh.chmod(0o755)
    variables = {
        host: {name: value for name, value in {**GOOD, **given}.items() if value is not None}
        for host, given in hosts.items()
    }
    text = json.dumps({"flask": {"hosts": variables, "vars": {"ansible_ssh_executable": str(ssh)}}})
    inventory = place / "inventory.json"
    inventory.write_text(text.replace("SOURCES", str(place)))
    done = subprocess.run(
        ["ansible-playbook", "-i", str(inventory), "--forks=8", playbook],
        check=False,
        env=tool_environment(
            ANSIBLE_INJECT_FACT_VARS="false",
            ANSIBLE_STDOUT_CALLBACK="default",
            ANSIBLE_CALLBACK_RESULT_FORMAT="json",
            ANSIBLE_NOCOLOR="true",
            # The playbooks set their own strategy.
            ANSIBLE_STRATEGY="free",
        ),
        cwd=place,
        capture_output=True,
        text=True,
    )
    messages = {host: json.loads(result)["msg"] for host, __, result in FATAL.findall(done.stdout)}
    recap = {host: tuple(int(number) for number in numbers) for host, *numbers in RECAP.findall(done.stdout)}
    return SiteRun(messages, recap, log.read_text(), done.stdout + done.stderr)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("sources")
    write_sources(place)
    return place


@pytest.fixture(scope="module")
def run(place):
    hosts = {row.host: row.variables for row in BAD_INPUTS}
    return run_site(place, {**hosts, "good-input": {}}, copy_with_free_strategy(place, "site"))


@pytest.mark.parametrize("row", [pytest.param(row, id=row.host, marks=needs(*row.programs)) for row in BAD_INPUTS])
def test_bad_input_is_refused(run, place, row):
    assert row.host in run.recap, run.output
    message = run.messages.get(row.host, "no message")
    assert run.recap[row.host] == (0, 0, 1), f"{row.host} has (changed, unreachable, failed): {message}"
    assert f" {row.host} " not in run.called
    missing = [part for part in row.fragments if part.replace("SOURCES", str(place)) not in message]
    assert not missing, message
    assert not NOISE.search(message), message


def test_good_input_reaches_the_host(run):
    """The common variables are accepted, and a connection is recorded."""
    assert run.recap["good-input"] == (0, 1, 0), run.output
    assert " good-input " in run.called


def test_one_bad_host_stops_the_run_before_any_connection(place):
    run = run_site(place, {"good-1": {}, "bad": {"flask_app_name": "my/app"}, "good-2": {}})
    assert run.recap["bad"] == (0, 0, 1), run.output
    assert run.recap["good-1"] == run.recap["good-2"] == (0, 0, 0), run.output
    assert " good-1 " not in run.called and " good-2 " not in run.called

# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written for systemd arrives as it was meant: the factory in ExecStart=, values in the environment file."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from ansible_collections.flaskops.production.plugins.filter.environment import environment_file
from ansible_collections.flaskops.production.plugins.plugin_utils._settings.environment import check_environment
from ansible_collections.flaskops.production.tests.unit.programs import find, needs

# Their units are rendered once.
pytestmark = pytest.mark.xdist_group("systemd_quoting")
ANALYZE = find("systemd-analyze")


FACTORIES = [
    "wsgi:app",
    "flaskr.web:application.wsgi_app",
    "flaskr:create_app()",
    'flaskr:create_app("a b")',
    "flaskr:create_app('a b')",
    "flaskr:create_app('it''s')",
    'flaskr:create_app("100%", "%n", "%%")',
    'flaskr:create_app("$HOME", "${HOME}", "$$")',
    r'flaskr:create_app("C:\\new\\table", "\x41", "\"")',
    'flaskr:create_app("; rm -rf /", "# no comment")',
    "flaskr:create_app( 'two  blanks' )",
    "flaskr:create_app('Grüße')",
    "flaskr:create_app('tab\tin')",
    "flaskr:create_app('ends in backslash\\\\')",
]


@pytest.fixture(scope="module")
def units(gunicorn_files):
    """The rendered units of each factory: service and candidate."""
    factories = {wsgi: {"flask_app_wsgi": wsgi} for wsgi in FACTORIES}
    return gunicorn_files({**factories, "restart": {"gunicorn_systemd_handover": "restart"}})


def setting(unit, name):
    (line,) = [line for line in unit.splitlines() if line.startswith(name + "=")]
    return line.partition("=")[2]


def split(command):
    """Split a command line as systemd.service(5) and systemd.syntax(7) say, written from the manual.

    Words are separated by blanks, either quote keeps them together, a backslash begins a C escape also within quotes,
    %% is a per cent sign, $$ a dollar sign; any other % or $ would be replaced by something.
    """
    words, word, quote, characters = [], None, None, iter(command)
    for character in characters:
        if quote is None and character in " \t":
            words += [] if word is None else [word]
            word = None
            continue
        word = word or ""
        if character == "\\":
            escaped = next(characters)
            word += {"\\": "\\", '"': '"', "'": "'", "s": " ", "n": "\n", "t": "\t"}[escaped]
        elif quote is None and character in "\"'" and word == "":
            quote = character
        elif character == quote:
            quote = None
        elif character in "%$":
            assert next(characters) == character, f"{character} would be replaced"
            word += character
        else:
            word += character
    assert quote is None, "a quote is open"
    return words + ([] if word is None else [word])


@pytest.mark.parametrize(
    ("unit", "program"),
    [
        ("my-app.service", ["/srv/my-app/venv/bin/gunicorn"]),
        ("my-app-next.service", ["/srv/my-app/next/.venv/bin/gunicorn"]),
    ],
)
@pytest.mark.parametrize("wsgi", FACTORIES)
def test_the_factory_reaches_gunicorn_as_it_was_written(units, wsgi, unit, program):
    words = split(setting(units[wsgi][f"/etc/systemd/system/{unit}"], "ExecStart"))
    assert words[-1] == wsgi
    assert words[:-1] == [*program, "--config", "/srv/my-app/gunicorn.conf.py"]


@needs("systemd-analyze")
@pytest.mark.parametrize("wsgi", [*FACTORIES[2:7], "restart"])
def test_systemd_understands_the_units(units, wsgi, tmp_path):
    for path, text in units[wsgi].items():
        if path.endswith((".service", ".socket")):
            # The programs of a host that this is not.
            text = re.sub(r"^(Exec\w+=)\S+", r"\1/bin/true", text, flags=re.MULTILINE)
            (tmp_path / os.path.basename(path)).write_text(text)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["my-app-next.service", "my-app.service", "my-app.socket"]
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:", "SYSTEMD_LOG_LEVEL": "warning"}
    done = subprocess.run(
        [ANALYZE, "verify", "--man=no", *[str(tmp_path / name) for name in names]],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    complaints = [line for line in done.stderr.splitlines() if "my-app" in line]
    assert complaints == []


def test_what_the_handover_needs_is_in_the_units(units):
    overlap, restart = units["wsgi:app"], units["restart"]
    service, candidate = (overlap[f"/etc/systemd/system/my-app{part}.service"] for part in ("", "-next"))
    for unit in (service, candidate):
        assert setting(unit, "Type") == "notify" and setting(unit, "NotifyAccess") == "main"
        assert setting(unit, "Sockets") == "my-app.socket"
        assert setting(unit, "StartLimitIntervalSec") == "0"
        assert int(setting(unit, "TimeoutStopSec")) > 30
        assert setting(unit, "KillMode") == "mixed"
    assert setting(service, "WorkingDirectory") == "/srv/my-app/app"
    assert setting(candidate, "WorkingDirectory") == "/srv/my-app/next"
    assert (setting(service, "Restart"), setting(candidate, "Restart")) == ("always", "no")
    assert "[Install]" in service and "[Install]" not in candidate
    small = restart["/etc/systemd/system/my-app-next.service"]
    assert setting(small, "Type") == "oneshot" and "--check-config" in setting(small, "ExecStart")


# The environment file

VALUES = [
    "plain",
    "",
    "two words",
    " blanks around ",
    "tab\there",
    "it's",
    'say "hi"',
    "$HOME ${HOME} $(id) $$",
    "`id`",
    "C:\\new\\",
    "\\",
    '\\"',
    "\\$\\`",
    "%n %% 100%",
    "# no comment",
    "; no comment",
    "a=b=c",
    "!history",
    "postgresql://u:p%40ss'w\"rd@db/app?x=1&y=$z",
    "Grüße 🚀",
    "~",
    "*",
    "-1",
]


@pytest.mark.parametrize("shell", [name for name in ("sh", "bash", "dash") if shutil.which(name)])
def test_a_shell_reads_the_values_that_were_written(tmp_path, shell):
    """systemd.exec(5) says that the file is read as a shell would: an independent reader of the same quotes."""
    environment = {f"VALUE_{number}": value for number, value in enumerate(VALUES)}
    file = tmp_path / "env"
    file.write_text(environment_file(environment))
    command = [shell, "-c", 'set -a; . "$1"; exec "$2" -c "import json, os; print(json.dumps(dict(os.environ)))"', "sh"]
    plain = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
    done = subprocess.run([*command, str(file), sys.executable], env=plain, capture_output=True, check=True, text=True)
    assert done.stderr == ""
    read = json.loads(done.stdout)
    assert {name: read[name] for name in environment} == environment


def read_as_systemd(text):
    """Read an environment file as systemd's parser does, written from systemd.exec(5): within double quotes, a
    backslash keeps " \\ ` and $ and is itself kept before anything else; nothing is expanded."""
    found = {}
    for line in text.splitlines():
        name, __, rest = line.partition("=")
        assert rest[0] == rest[-1] == '"' and len(rest) > 1, "the whole value stands in one pair of quotes"
        value, characters = "", iter(rest[1:-1])
        for character in characters:
            assert character != '"', "the quotes end early"
            following = next(characters) if character == "\\" else None
            value += character if following is None else following if following in '"\\`$' else "\\" + following
        found[name] = value
    return found


def test_systemd_reads_the_values_that_were_written():
    environment = {f"VALUE_{number}": value for number, value in enumerate(VALUES)}
    assert read_as_systemd(environment_file(environment)) == environment


def test_the_file_is_sorted_one_variable_a_line_and_empty_without_any():
    assert environment_file({"B": 2, "A": 1.5, "_c": "x"}) == 'A="1.5"\nB="2"\n_c="x"\n'
    assert environment_file({}) == ""


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({"A": "two\r\nlines"}, "flask_app_env.A"),
        ({"A": "return\r"}, "flask_app_env.A"),
        ({"A": "nul\0"}, "flask_app_env.A"),
        ({"A": "escape\x1b"}, "flask_app_env.A"),
        ({"A": None}, "flask_app_env.A is nothing"),
        ({"A": True}, "true or false"),
        ({"A": ["x"]}, "a list"),
        ({"1A": "x"}, "'1A'"),
        ({"A B": "x"}, "'A B'"),
        ({"A\n": "x"}, "letters, digits"),
        ({"": "x"}, "letters, digits"),
        ("A=1", "a string"),
        (["A"], "a list"),
    ],
)
def test_messages_name_invalid_variables_without_their_values(environment, word):
    (problem,) = check_environment(environment)
    assert word in problem
    for secret in ("two", "lines", "return"):
        assert secret not in problem


def test_values_that_systemd_would_drop_are_rejected():
    """systemd ignores a line that is not UTF-8; a lone surrogate can't even be written."""
    assert check_environment({"A": "\udcff"})

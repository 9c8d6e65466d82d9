# Copyright (c) 2026 The flaskops.production contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each kind of requirement file, in each spelling, with the result of the check on the controller."""

from __future__ import annotations

import sys

import pytest

from ansible_collections.flaskops.production.plugins.plugin_utils._source.dependencies import find_excluded_packages
from ansible_collections.flaskops.production.plugins.plugin_utils._source.tree import SourceError

GUNICORN = {"packages": ("gunicorn>=24.1.1",)}
PROJECT = "[project]\nname = 'shop'\nversion = '1'\ndependencies = ['flask']\n"
PYLOCK = 'lock-version = "1.0"\ncreated-by = "test"\n'
DIRECTORY = '[[packages]]\nname = "shop"\ndirectory = { path = ".", editable = true }\n'
UV_LOCK = 'version = 1\nrequires-python = ">=3.9"\n'
EXTRAS = (
    "[project.optional-dependencies]\npg = ['psycopg']\n"
    "[dependency-groups]\nprod = ['sentry-sdk', {include-group = 'base'}]\nbase = ['redis']\n"
)
POETRY = "[tool.poetry]\nname = 'shop'\n[tool.poetry.dependencies]\nflask = '*'\n"
UV = {"installer": "uv"}


def lists(name: str, content, settings=None, **more):
    """Return the files of a source with one listed file, and the settings for it."""
    return {"app.py": "", name: content, **more}, {"requirements": (name,), **(settings or {})}


TEXT = "requirements.txt"
ACCEPTED = {
    "names and versions": lists(TEXT, "flask\nFlask_SQLAlchemy[x]>=3,<4 ; python_version > '3'\n"),
    "empty": lists(TEXT, ""),
    "continuation and hash": lists(TEXT, "flask==3.1.0 \\\n    --hash=sha256:aa\n"),
    "include": lists(TEXT, "-r more.txt\n-c limits.txt\n", None, **{"more.txt": "flask", "limits.txt": "flask<4"}),
    "include with a variable": lists(TEXT, "-r ${MORE}\n"),
    "include from a server": lists(TEXT, "-r https://example.org/requirements.txt\n"),
    "options": lists(TEXT, "--index-url https://example.org/simple\n--pre\nflask\n"),
    "branch": lists(TEXT, "x @ git+https://example.org/x.git@main\n"),
    "URL": lists(TEXT, "https://example.org/x-1.tar.gz\n"),
    "wheel of the release": lists(TEXT, "./w/x-1-py3-none-any.whl", None, **{"w/x-1-py3-none-any.whl": ""}),
    "wheel of the host": lists(TEXT, "/opt/wheels/x-1-py3-none-any.whl"),
    "path with a variable": lists(TEXT, "${HOME}/x\n"),
    "project": lists(TEXT, ".", None, **{"setup.py": ""}),
    "editable project": lists(TEXT, "-e .[pg]", None, **{"pyproject.toml": PROJECT}),
    "library of the release": lists(TEXT, "-e libs/x", None, **{"libs/x/pyproject.toml": PROJECT}),
    "path beside the file": lists("r/base.txt", "./x", None, **{"r/x/setup.py": ""}),
    "CRLF": lists(TEXT, b"flask\r\ngunicorn\r\n"),
    "UTF-8 with a byte order mark": lists(TEXT, b"\xef\xbb\xbf-e .\n", None, **{"setup.py": ""}),
    "UTF-16 of PowerShell": lists(TEXT, "gunicorn==23.0.0\r\n".encode("utf-16"), GUNICORN),
    "UTF-16 big endian": lists(TEXT, b"\xfe\xff" + "flask\n".encode("utf-16-be")),
    "coding comment": lists(TEXT, b"# -*- coding: latin-1 -*-\n# caf\xe9\nflask\n"),
    "pyproject.toml": lists("pyproject.toml", PROJECT),
    "pyproject.toml in src": lists(
        "pyproject.toml", PROJECT + "[build-system]\n", None, **{"src/shop/__init__.py": ""}
    ),
    "pyproject.toml of Poetry 2": lists("pyproject.toml", PROJECT + "[tool.poetry]\npackages = []\n"),
    "uv sources": lists(
        "pyproject.toml", PROJECT + "[tool.uv.sources]\nx = { path = 'x' }\n", UV, **{"x/setup.py": ""}
    ),
    "pyproject.toml for a known Python": lists(
        "pyproject.toml", PROJECT + "requires-python = '>=3.11'\n", {"python": "python3.11"}
    ),
    "pyproject.toml for an unknown Python": lists(
        "pyproject.toml", PROJECT + "requires-python = '>=3.99'\n", {"python": "python3"}
    ),
    "pyproject.toml for a patch of Python": lists(
        "pyproject.toml", PROJECT + "requires-python = '>=3.11.5'\n", {"python": "/opt/bin/python3.11"}
    ),
    "extras and groups": lists("pyproject.toml", PROJECT + EXTRAS, {"extras": ("PG",), "groups": ("prod",)}),
    "pylock.toml": lists("pylock.toml", PYLOCK),
    "pylock.toml with the project": lists("pylock.toml", PYLOCK + DIRECTORY, None, **{"pyproject.toml": PROJECT}),
    "named pylock.toml": lists("pylock.prod.toml", PYLOCK, UV),
    "uv.lock": lists("uv.lock", UV_LOCK, UV, **{"pyproject.toml": POETRY}),
    "no files": ({"app.py": ""}, {"requirements": ()}),
    "constraint that includes Gunicorn": lists(TEXT, "-c c.txt\nflask", GUNICORN, **{"c.txt": "gunicorn==24.2"}),
    "constraint of a listed package": lists(TEXT, "-c c.txt\ngunicorn", GUNICORN, **{"c.txt": "gunicorn==23.0"}),
}
REFUSED = {
    "missing file": (*lists("other.txt", ""), '"requirements.txt" is not in'),
    "missing include": (*lists(TEXT, "-r more.txt"), '"more.txt", which requirements.txt includes'),
    "project without a file": (
        *lists(TEXT, "flask\n."),
        "requirements.txt, line 2: '.' names a directory that is no project, because it has no pyproject.toml and no "
        "setup.py: remove the line.",
    ),
    "editable directory": (
        *lists(TEXT, "--editable=libs", None, **{"libs/x.py": ""}),
        "requirements.txt, line 1: '--editable=libs' names a directory that is no project",
    ),
    "missing path": (
        *lists(TEXT, "./libs/x"),
        "requirements.txt, line 1: './libs/x' names './libs/x', which is not in the release.",
    ),
    "missing wheel": (*lists(TEXT, "x @ file:w/x.whl"), "names 'w/x.whl', which is not in the release."),
    "poetry.lock": (
        *lists("poetry.lock", ""),
        "poetry.lock is the file of another tool: run 'poetry export --output requirements.txt' (with "
        "poetry-plugin-export), and set venv_requirements to [requirements.txt].",
    ),
    "Pipfile.lock": (*lists("Pipfile.lock", "{}"), "run 'pipenv requirements --hash > requirements.txt'"),
    "Pipfile": (*lists("Pipfile", ""), "Pipfile is the file of another tool: run 'pipenv requirements"),
    "pdm.lock": (*lists("pdm.lock", ""), "run 'pdm export --output requirements.txt'"),
    "environment of conda": (*lists("environment.yml", ""), "write the packages of PyPI to requirements.txt"),
    "setup.py": (*lists("setup.py", ""), "write '.' to requirements.txt, which installs the project"),
    "pyproject.toml of Poetry 1": (
        *lists("pyproject.toml", POETRY),
        "pyproject.toml has its dependencies in [tool.poetry] instead of [project]: run 'poetry export",
    ),
    "dynamic dependencies": (
        *lists("pyproject.toml", "[project]\nname = 'x'\ndynamic = ['dependencies']\n"),
        "pyproject.toml cannot be used: its dependencies are dynamic",
    ),
    "pyproject.toml without a project": (*lists("pyproject.toml", "[tool.x]\n"), "it has no [project] table"),
    "invalid TOML": (*lists("pyproject.toml", "[project\n"), "pyproject.toml is not valid TOML: "),
    "uv.lock without a project": (*lists("uv.lock", UV_LOCK, UV), '"pyproject.toml", which uv.lock includes'),
    "uv sources for pip": (
        *lists("pyproject.toml", PROJECT + "[tool.uv.sources]\nx = { path = 'x' }\n"),
        "pyproject.toml, line 6: 'x = { path = 'x' }' is in [tool.uv.sources], which only uv reads",
    ),
    "unknown extra": (
        *lists("pyproject.toml", PROJECT + EXTRAS, {"extras": ("mysql",)}),
        "pyproject.toml cannot be used: it has no extra 'mysql'; its extras are pg (venv_extras).",
    ),
    "unknown group": (
        *lists("pyproject.toml", PROJECT + EXTRAS, {"groups": ("dev",)}),
        "pyproject.toml cannot be used: it has no group 'dev'; its groups are prod, base (venv_groups).",
    ),
    "extra of a requirements file": (
        *lists(TEXT, "flask", {"extras": ("pg",)}),
        "venv_extras is set, but extras and groups are selected from pyproject.toml and uv.lock only: list one of them",
    ),
    "version of pylock.toml": (*lists("pylock.toml", 'lock-version = "2.0"\n'), "its lock-version is '2.0'"),
    "other directory in pylock.toml": (
        *lists("pylock.toml", PYLOCK + DIRECTORY.replace('"."', '"../x"'), UV),
        "names a directory outside of the release: name one in the release by a relative path.",
    ),
    "requires-python of pyproject.toml": (
        *lists("pyproject.toml", PROJECT + "requires-python = '>=3.13'\n", {"python": "python3.11"}),
        "pyproject.toml has requires-python = '>=3.13', but venv_python is python3.11; set venv_python to an accepted",
    ),
    "requires-python of uv.lock": (
        *lists("uv.lock", UV_LOCK, {**UV, "python": "/opt/bin/python3.8"}, **{"pyproject.toml": PROJECT}),
        "uv.lock has requires-python = '>=3.9', but venv_python is /opt/bin/python3.8",
    ),
    "invalid requires-python": (
        *lists("pylock.toml", PYLOCK + "requires-python = 'new'\n", {"python": "python3.11"}),
        "pylock.toml has requires-python = 'new', which is not a version specifier",
    ),
    "Latin-1": (*lists(TEXT, b"flask\n# caf\xe9\n"), '"requirements.txt" of'),
    "UTF-16 without a byte order mark": (*lists(TEXT, "flask".encode("utf-16-le")), "has null characters, like UTF-16"),
    "unknown encoding": (*lists(TEXT, b"# coding: klingon\n"), "names the unknown encoding klingon; save it as UTF-8"),
    "constraint that excludes Gunicorn": (
        *lists(TEXT, "-c c.txt\nflask", GUNICORN, **{"c.txt": "flask<4\ngunicorn==23.0.0\n"}),
        "c.txt, line 2: 'gunicorn==23.0.0' excludes 'gunicorn>=24.1.1' of venv_packages; change one of them, or name "
        "gunicorn in the requirements.",
    ),
}
REFUSED["missing file"] = (REFUSED["missing file"][0], {"requirements": (TEXT,)}, REFUSED["missing file"][2])


def check(files, resolve, tmp_path, content, settings):
    texts = {name: text for name, text in content.items() if isinstance(text, str)}
    files(tmp_path / "app", texts)
    for name in set(content) - set(texts):
        (tmp_path / "app" / name).write_bytes(content[name])
    return resolve(directory=tmp_path / "app", **settings)


@pytest.mark.parametrize("case", ACCEPTED)
def test_requirement_files_are_accepted(files, resolve, tmp_path, case):
    assert check(files, resolve, tmp_path, *ACCEPTED[case])["name"]


@pytest.mark.parametrize("case", REFUSED)
def test_requirement_files_are_refused_with_the_remedy(files, resolve, tmp_path, case):
    content, settings, expected = REFUSED[case]
    if sys.version_info < (3, 11) and (
        "cannot be used" in expected or "TOML" in expected or "lock-version" in expected
    ):
        pytest.skip("Python 3.10 has no TOML parser")
    with pytest.raises(SourceError) as refused:
        check(files, resolve, tmp_path, content, settings)
    message = str(refused.value)
    assert message.startswith("venv_requirements: ")
    assert expected in message


@pytest.mark.parametrize(
    ("package", "constraint", "compatible"),
    [
        ("gunicorn>=24.1.1", "gunicorn==23.0.0", False),
        ("gunicorn>=24.1.1", "Gunicorn==24.1.1", True),
        ("gunicorn>=24.1.1", "gunicorn<24", False),
        ("gunicorn>=24.1.1", "gunicorn<25", True),
        ("gunicorn>=24.1.1", "gunicorn~=23.0", False),
        ("gunicorn>=24.1.1", "gunicorn~=24.0", True),
        ("gunicorn>=24.1.1", "gunicorn==24.*", True),
        ("gunicorn>24,<25", "gunicorn!=24.1", True),
        ("gunicorn", "gunicorn==23.0.0", True),
        ("gunicorn>=24.1.1", "gunicorn==23 ; python_version < '3'", True),
        ("gunicorn>=24.1.1", "flask==2", True),
        ("gunicorn==24.1.1", "gunicorn===24.1.1", True),
        ("gunicorn>=24.1.1", "gunicorn==25.0rc1", True),
    ],
)
def test_constraints_are_compared_with_packages(package, constraint, compatible):
    texts = {"requirements.txt": "-c c.txt\n", "c.txt": constraint}
    assert (list(find_excluded_packages(texts, (package,))) == []) == compatible
